//! The data directory: who holds it, where the server listens, the first credentials.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// The directory, held by this process.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: File,
}

/// `run.json`: where the running server listens.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) pid: u32,
    pub(crate) http: Option<SocketAddr>,
    pub(crate) admin: Option<SocketAddr>,
    pub(crate) pgwire: Option<SocketAddr>,
}

/// `credentials.json`: what the first start made.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Credentials {
    pub(crate) project: String,
    pub(crate) upload_key: String,
    pub(crate) read_token: String,
}

const RUN_FILE: &str = "run.json";
const CREDENTIALS_FILE: &str = "credentials.json";
const LOCK_FILE: &str = "lock";
/// While a backup is restored, and after one that was cut off.
const RESTORING_FILE: &str = "restoring";

impl DataDir {
    /// Takes the directory; a second process is refused by name. What a crashed one said about itself is removed.
    pub(crate) fn take(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("create the data directory `{}`", path.display()))?;
        let lock_file = path.join(LOCK_FILE);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_file)
            .with_context(|| format!("open `{}`", lock_file.display()))?;
        if lock.try_lock().is_err() {
            let mut holder = String::new();
            let _ = lock.read_to_string(&mut holder);
            bail!("the data directory `{}` is in use by process {}", path.display(), holder.trim());
        }
        lock.set_len(0)?;
        write!(lock, "{}", std::process::id())?;
        if path.join(RESTORING_FILE).try_exists()? {
            bail!(
                "a restore into the data directory `{}` did not come to its end: empty the directory and restore again",
                path.display()
            );
        }
        let data_dir = Self { path: path.to_owned(), _lock: lock };
        data_dir.remove_run();
        Ok(data_dir)
    }

    /// Nothing but a restore uses the directory until [`Self::restored`].
    pub(crate) fn begin_restore(&self) -> Result<()> {
        File::create_new(self.path.join(RESTORING_FILE))
            .and_then(|file| file.sync_all())
            .context("begin the restore")?;
        Ok(File::open(&self.path)?.sync_all()?)
    }

    /// The restore is complete.
    pub(crate) fn restored(&self) -> Result<()> {
        fs::remove_file(self.path.join(RESTORING_FILE)).context("end the restore")?;
        Ok(File::open(&self.path)?.sync_all()?)
    }

    /// Tells other programs where the server listens. Written whole or not at all.
    pub(crate) fn write_run(&self, run: &Run) -> Result<()> {
        let temporary = self.path.join(format!("{RUN_FILE}.new"));
        fs::write(&temporary, serde_json::to_vec(run)?)?;
        fs::rename(&temporary, self.path.join(RUN_FILE)).context("write run.json")
    }

    /// The server listens no more.
    pub(crate) fn remove_run(&self) {
        let _ = fs::remove_file(self.path.join(RUN_FILE));
    }

    /// Keeps the credentials, readable by their owner only.
    pub(crate) fn write_credentials(&self, credentials: &Credentials) -> Result<()> {
        let path = self.path.join(CREDENTIALS_FILE);
        let temporary = self.path.join(format!("{CREDENTIALS_FILE}.new"));
        let _ = fs::remove_file(&temporary);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(&serde_json::to_vec_pretty(credentials)?)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        File::open(&self.path)?.sync_all()?;
        Ok(())
    }

    /// Where the credentials are.
    pub(crate) fn credentials_path(&self) -> PathBuf {
        credentials_path(&self.path)
    }
}

/// Whether a process holds a data directory. What is in `run.json` may be of one that was killed.
pub(crate) fn is_taken(data_dir: &Path) -> bool {
    File::open(data_dir.join(LOCK_FILE)).is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)))
}

/// The running server of a data directory, for commands that talk to it.
pub(crate) fn read_run(data_dir: &Path) -> Result<Run> {
    read_json(&data_dir.join(RUN_FILE)).with_context(|| format!("no server runs on `{}`", data_dir.display()))
}

/// Where the credentials of a data directory are.
pub(crate) fn credentials_path(data_dir: &Path) -> PathBuf {
    data_dir.join(CREDENTIALS_FILE)
}

/// The bytes of the credentials' file, and its name; `None` if it is not there.
pub(crate) fn credentials_file(data_dir: &Path) -> Result<Option<(String, Vec<u8>)>> {
    match fs::read(data_dir.join(CREDENTIALS_FILE)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        read => Ok(Some((CREDENTIALS_FILE.to_owned(), read.context("read credentials.json")?))),
    }
}

/// The credentials in a data directory; `None` if the file is not there.
pub(crate) fn read_credentials(data_dir: &Path) -> Result<Option<Credentials>> {
    let path = data_dir.join(CREDENTIALS_FILE);
    if path.try_exists()? { read_json(&path).map(Some) } else { Ok(None) }
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T> {
    let bytes = fs::read(path).with_context(|| format!("read `{}`", path.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("read `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn credentials_are_for_their_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = DataDir::take(folder.path()).unwrap();
        let credentials = Credentials { project: "p".into(), upload_key: "k".into(), read_token: "t".into() };
        data_dir.write_credentials(&credentials).unwrap();
        let mode = fs::metadata(data_dir.credentials_path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(read_credentials(folder.path()).unwrap().unwrap().upload_key, "k");
    }

    #[test]
    fn a_second_process_is_refused_by_name_and_a_crashed_one_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read_credentials(folder.path()).unwrap().is_none());
        let run = Run { pid: 1, http: None, admin: None, pgwire: None };
        let data_dir = DataDir::take(folder.path()).unwrap();
        data_dir.write_run(&run).unwrap();
        let refused = DataDir::take(folder.path()).unwrap_err().to_string();
        assert!(refused.contains(&format!("in use by process {}", std::process::id())), "{refused}");
        assert!(read_run(folder.path()).is_ok(), "the refused one removed nothing");
        drop(data_dir);
        let _data_dir = DataDir::take(folder.path()).unwrap();
        assert!(read_run(folder.path()).is_err());
    }
}
