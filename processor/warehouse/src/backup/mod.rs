//! Backup and restore: database and lake at one commit, as a set of files in a folder.
//!
//! The database is copied first, in one transaction; then the files that this copy lists, which never change, while the
//! turn at files is held, so that nobody deletes one meanwhile. The manifest is written last and in one piece: a set whose
//! backup was cut off is either the one before or none.
//!
//! ```text
//! streamgauge-backup        says what the folder is, from the first moment on
//! manifest.json             the set; without it there is none
//! database/{id}/..          a file of SQLite, or the rows of each table of Postgres
//! lake/..                   files of the lake, by their paths
//! ```

mod copy;
mod restore;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use schemas::{Timestamp, digest};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

pub use copy::BackedUp;
pub(crate) use restore::{SQLITE_FILE, assert_empty};
pub use restore::{find_place, restore};

use crate::commit::CommitId;
use crate::database::CopiedTable;
use crate::open::{OpenError, WarehouseConfig};
use crate::read::ReadError;

const MARKER: &str = "streamgauge-backup";
const MANIFEST: &str = "manifest.json";
const DATABASE: &str = "database";
const LAKE: &str = "lake";

/// The form of sets that this program writes and reads.
const FORMAT: u32 = 1;

/// Why there is no backup, or nothing was restored.
#[derive(Debug, Error)]
pub enum BackupError {
    /// Reading or writing a file of the set.
    #[error("`{path}`")]
    Files {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// Reading or writing a file of the lake.
    #[error("`{path}` in the lake")]
    Lake {
        /// The file.
        path: String,
        /// What the file system or the store said.
        #[source]
        source: io::Error,
    },
    /// The folder holds something else.
    #[error("`{folder}` is neither empty nor a backup of this program")]
    NotOurs {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder holds no set, or one whose backup was cut off.
    #[error("there is no finished backup in `{folder}`")]
    NoSet {
        /// The folder.
        folder: PathBuf,
    },
    /// A later program wrote the set.
    #[error("the backup has format {format} and database version {version}: a later program made it")]
    Later {
        /// Its format.
        format: u32,
        /// Version of its tables.
        version: i64,
    },
    /// A file of the set is not there.
    #[error("the backup is incomplete: `{path}` is missing")]
    Missing {
        /// The file.
        path: String,
    },
    /// A file of the set, or a listed one of the lake, is not what it was.
    #[error("`{path}` is damaged: {what}")]
    Damaged {
        /// The file.
        path: String,
        /// How it differs.
        what: String,
    },
    /// Another process merges, expires, collects or copies files.
    #[error("another process is at work on the files of the lake")]
    Elsewhere,
    /// A set is restored only where nothing is.
    #[error("{what} is not empty: a backup is restored where nothing is")]
    NotEmpty {
        /// What.
        what: String,
    },
    /// A set of one database for another.
    #[error("the backup is of {found} and the settings name {wanted}")]
    OtherDatabase {
        /// The set's.
        found: &'static str,
        /// The place's.
        wanted: &'static str,
    },
    /// The database.
    #[error("copy the warehouse database")]
    Database(#[from] sqlx::Error),
    /// Opening a copy of the database.
    #[error(transparent)]
    Open(#[from] Box<OpenError>),
    /// Reading the database.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Which database a set is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DatabaseKind {
    /// A file of `SQLite`.
    Sqlite,
    /// Rows of Postgres.
    Postgres,
}

impl DatabaseKind {
    /// The database of this place.
    #[must_use]
    pub fn of(config: &WarehouseConfig) -> Self {
        if config.sqlite_file().is_some() { Self::Sqlite } else { Self::Postgres }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "Postgres",
        }
    }
}

/// How far a topic was taken in, and of which log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenIn {
    /// The topic.
    pub topic: String,
    /// The log's identity; `None` if the warehouse was never bound to one.
    pub identity: Option<String>,
    /// The position of that log's first record, by partition; empty if that is 0 in all of them.
    #[serde(default)]
    pub bases: Vec<u64>,
    /// The next position of each partition.
    pub positions: Vec<u64>,
    /// The greatest log time.
    pub log_time: Timestamp,
}

/// A file of a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetFile {
    /// Path below the set's folder.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of its content, in hexadecimal.
    pub sha256: String,
}

/// What a set holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupSet {
    /// The form of the set.
    pub format: u32,
    /// Version of the program that made it.
    pub program: String,
    /// When.
    pub created_at: Timestamp,
    /// The commit that it holds, with all before.
    pub commit: i64,
    /// Of which database.
    pub database: DatabaseKind,
    /// Version of its tables.
    pub version: i64,
    /// Tables of Postgres, in an order that respects their references.
    pub tables: Vec<CopiedTable>,
    /// How far each topic was taken in.
    pub taken_in: Vec<TakenIn>,
    /// All files.
    pub files: Vec<SetFile>,
}

impl BackupSet {
    /// The set in a folder.
    ///
    /// # Errors
    ///
    /// [`BackupError::NoSet`], [`BackupError::Later`]; [`BackupError::Damaged`] if the manifest cannot be read.
    pub fn read(folder: &Path) -> Result<Self, BackupError> {
        let path = folder.join(MANIFEST);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(BackupError::NoSet { folder: folder.to_owned() });
            }
            read => read.map_err(files(&path))?,
        };
        let damaged =
            |error: serde_json::Error| BackupError::Damaged { path: MANIFEST.into(), what: error.to_string() };
        #[derive(Deserialize)]
        struct Head {
            format: u32,
            version: i64,
        }
        let head: Head = serde_json::from_slice(&bytes).map_err(damaged)?;
        if head.format != FORMAT {
            return Err(BackupError::Later { format: head.format, version: head.version });
        }
        let set: Self = serde_json::from_slice(&bytes).map_err(damaged)?;
        let is_within = |path: &str| Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
        match set.files.iter().find(|file| !is_within(&file.path)) {
            Some(file) => {
                let what = format!("`{}` is no path within the folder", file.path);
                Err(BackupError::Damaged { path: MANIFEST.into(), what })
            }
            None => Ok(set),
        }
    }

    /// Its commit.
    #[must_use]
    pub const fn commit(&self) -> CommitId {
        CommitId(self.commit)
    }

    /// Bytes of all its files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Reads every file of the set and compares it with the manifest.
    ///
    /// # Errors
    ///
    /// The first file that is missing or differs, by its name.
    pub fn verify(&self, folder: &Path) -> Result<(), BackupError> {
        for SetFile { path, bytes, sha256 } in &self.files {
            let found = match about(folder, path) {
                Err(BackupError::Files { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    return Err(BackupError::Missing { path: path.clone() });
                }
                found => found?,
            };
            let damaged = |what: String| Err(BackupError::Damaged { path: path.clone(), what });
            if found.bytes != *bytes {
                return damaged(format!("it has {} bytes instead of {bytes}", found.bytes));
            }
            if found.sha256 != *sha256 {
                return damaged("its content is another".into());
            }
        }
        Ok(())
    }

    /// The file below `database/` with this name.
    fn database_file(&self, name: &str) -> Result<&SetFile, BackupError> {
        let is_it = |file: &&SetFile| {
            let path = Path::new(&file.path);
            path.starts_with(DATABASE) && path.file_name().is_some_and(|of_file| of_file == name)
        };
        let found = self.files.iter().find(is_it);
        found.ok_or_else(|| BackupError::Missing { path: format!("{DATABASE}/{name}") })
    }
}

fn files(path: &Path) -> impl Fn(io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::Files { path: path.clone(), source }
}

/// Length and hash of a file of the set.
fn about(folder: &Path, path: &str) -> Result<SetFile, BackupError> {
    let place = folder.join(path);
    let mut file = File::open(&place).map_err(files(&place))?;
    let (mut hasher, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 20]);
    loop {
        let read = file.read(&mut buffer).map_err(files(&place))?;
        if read == 0 {
            break;
        }
        bytes += read as u64;
        hasher.update(&buffer[..read]);
    }
    Ok(SetFile { path: path.to_owned(), bytes, sha256: digest::hex(&hasher.finalize()) })
}

/// Makes a folder, readable by its owner only: a backup holds what devices sent.
fn make_folder(path: &Path) -> Result<(), BackupError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(files(path))
}

/// Writes a file of the set: whole, durable, for its owner only, in the place of another.
fn write(folder: &Path, path: &str, bytes: &[u8]) -> Result<SetFile, BackupError> {
    let place = folder.join(path);
    let within = place.parent().unwrap_or(folder);
    make_folder(within)?;
    let fresh = within.join(format!("{}.new", place.file_name().unwrap_or_default().to_string_lossy()));
    let written = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh);
    let written = written.and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.and_then(|()| fs::rename(&fresh, &place)).and_then(|()| flush(within)).map_err(files(&place))?;
    Ok(SetFile { path: path.to_owned(), bytes: bytes.len() as u64, sha256: digest::sha256_hex(bytes) })
}

/// Makes the names in a folder durable.
fn flush(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
