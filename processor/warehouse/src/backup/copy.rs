//! Copying a warehouse into a set.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::Path;

use schemas::Timestamp;
use uuid::Uuid;

use super::{BackupError, BackupSet, DATABASE, DatabaseKind, FORMAT, LAKE, MANIFEST, MARKER, SetFile, TakenIn};
use super::{about, files, flush, make_folder, write};
use crate::database::{Task, Transaction, sql};
use crate::followed_log::{Followed, followed};
use crate::lake::Lake;
use crate::open::Warehouse;
use crate::read::unsigned;
use crate::tables::LAKE_TABLES;

/// A set that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackedUp {
    /// What it holds.
    pub set: BackupSet,
    /// Bytes that were copied; files of the lake that a former backup had copied are not copied again.
    pub copied_bytes: u64,
}

impl Warehouse {
    /// Copies database and lake at the newest commit into a folder, which is empty or holds an older set of the same; `others`
    /// are further files of the set, by their names. Until it has ended no files are merged, expired or collected.
    ///
    /// # Errors
    ///
    /// [`BackupError`]; then an older set in the folder is as it was.
    pub async fn back_up(
        &self,
        folder: &Path,
        others: Vec<(String, Vec<u8>)>,
        now: Timestamp,
    ) -> Result<BackedUp, BackupError> {
        let Some(turn) = self.shared.database.take(Task::Files).await? else { return Err(BackupError::Elsewhere) };
        let backed_up = self.back_up_alone(folder, others, now).await;
        turn.end().await;
        backed_up
    }

    async fn back_up_alone(
        &self,
        folder: &Path,
        others: Vec<(String, Vec<u8>)>,
        now: Timestamp,
    ) -> Result<BackedUp, BackupError> {
        let former = claim(folder)?;
        let id = Uuid::new_v4().simple().to_string();
        let database_folder = folder.join(DATABASE).join(&id);
        make_folder(&database_folder)?;
        let mut copy = self.shared.database.copy_into(&database_folder).await?;
        let (commit, version) = about_database(&mut copy.transaction).await?;
        let taken_in = taken_in(&mut copy.transaction).await?;
        let listed = listed(&mut copy.transaction).await?;
        let (tables, names) = copy.end().await;
        let (lake, place) = (self.shared.lake.clone(), folder.to_owned());
        let copying = tokio::task::spawn_blocking(move || {
            let mut set_files = Vec::new();
            for name in names {
                set_files.push(about(&place, &format!("{DATABASE}/{id}/{name}"))?);
                fs::File::open(database_folder.join(&name)).and_then(|file| file.sync_all()).map_err(files(&place))?;
            }
            flush(&database_folder).map_err(files(&database_folder))?;
            let mut copied_bytes = set_files.iter().map(|file| file.bytes).sum();
            set_files.extend(copy_lake(&lake, &listed, &place, former.as_ref(), &mut copied_bytes)?);
            // These have the names that an older set gave them: last, right before the manifest.
            for (name, bytes) in others {
                set_files.push(write(&place, &name, &bytes)?);
            }
            Ok((set_files, copied_bytes))
        });
        let (set_files, copied_bytes) = copying.await.unwrap_or_else(|panic| Err(panicked(folder, panic)))?;
        let set = BackupSet {
            format: FORMAT,
            program: env!("CARGO_PKG_VERSION").into(),
            created_at: now,
            commit,
            database: if self.shared.database.is_shared() { DatabaseKind::Postgres } else { DatabaseKind::Sqlite },
            version,
            tables,
            taken_in,
            files: set_files,
        };
        let manifest = serde_json::to_vec_pretty(&set).map_err(|error| files(&folder.join(MANIFEST))(error.into()))?;
        write(folder, MANIFEST, &manifest)?;
        remove_others(folder, &set)?;
        Ok(BackedUp { set, copied_bytes })
    }
}

fn panicked(folder: &Path, panic: tokio::task::JoinError) -> BackupError {
    files(folder)(io::Error::other(panic))
}

/// Marks an empty folder as a backup; returns the set that is in one that was marked before.
fn claim(folder: &Path) -> Result<Option<BackupSet>, BackupError> {
    make_folder(folder)?;
    let marker = folder.join(MARKER);
    if !marker.try_exists().map_err(files(&marker))? {
        // One that was killed while it marked the folder leaves the beginning of the mark.
        let begun = format!("{MARKER}.new");
        for entry in fs::read_dir(folder).map_err(files(folder))? {
            if entry.map_err(files(folder))?.file_name() != *begun {
                return Err(BackupError::NotOurs { folder: folder.to_owned() });
            }
        }
        write(folder, MARKER, b"A backup by streamgauge. What is in it, manifest.json says.\n")?;
    }
    match BackupSet::read(folder) {
        Ok(set) => Ok(Some(set)),
        // Nothing is taken over from it: all files are copied again.
        Err(BackupError::NoSet { .. } | BackupError::Damaged { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn about_database(copy: &mut Transaction) -> Result<(i64, i64), BackupError> {
    let row =
        sql("SELECT (SELECT max(snapshot_id) FROM ducklake_snapshot), (SELECT max(version) FROM _sqlx_migrations)");
    let row = row.row(copy).await?;
    Ok((row.get(0), row.get(1)))
}

async fn taken_in(copy: &mut Transaction) -> Result<Vec<TakenIn>, BackupError> {
    let rows =
        sql("SELECT topic, position, log_time_us FROM checkpoint ORDER BY topic, log_partition").rows(copy).await?;
    let mut topics: Vec<TakenIn> = Vec::new();
    for row in &rows {
        let topic: String = row.get(0);
        if topics.last().is_none_or(|last| last.topic != topic) {
            let Followed { identity, bases, .. } = followed(copy, &topic).await?;
            let log_time = Timestamp::from_micros(0);
            topics.push(TakenIn { topic, identity, bases, positions: Vec::new(), log_time });
        }
        if let Some(of_topic) = topics.last_mut() {
            of_topic.positions.push(unsigned(row.get(1)));
            of_topic.log_time = of_topic.log_time.max(Timestamp::from_micros(row.get(2)));
        }
    }
    Ok(topics)
}

/// A file that the database lists.
struct Listed {
    path: String,
    /// Its length, where the database knows it.
    bytes: Option<u64>,
    /// Without it the set is of no use; else it only saves time.
    is_needed: bool,
}

/// Every file that a query, also one as of an older commit, or the processor could ask for.
async fn listed(copy: &mut Transaction) -> Result<Vec<Listed>, BackupError> {
    let mut listed = Vec::new();
    for row in sql("SELECT table_id, path, file_size_bytes FROM ducklake_data_file").rows(copy).await? {
        if let Some(table) = LAKE_TABLES.iter().find(|table| table.id == row.get::<i64>(0)) {
            let path = Lake::table_path(table, &row.get::<String>(1));
            listed.push(Listed { path, bytes: Some(unsigned(row.get(2))), is_needed: true });
        }
    }
    let runs = sql("SELECT DISTINCT path FROM id_run").rows(copy).await?;
    listed.extend(runs.iter().map(|row| Listed { path: row.get(0), bytes: None, is_needed: true }));
    let states = sql("SELECT DISTINCT path FROM state_file").rows(copy).await?;
    listed.extend(states.iter().map(|row| Listed { path: row.get(0), bytes: None, is_needed: false }));
    Ok(listed)
}

fn copy_lake(
    lake: &Lake,
    listed: &[Listed],
    folder: &Path,
    former: Option<&BackupSet>,
    copied_bytes: &mut u64,
) -> Result<Vec<SetFile>, BackupError> {
    let former: HashMap<&str, &SetFile> =
        former.iter().flat_map(|set| &set.files).map(|file| (file.path.as_str(), file)).collect();
    let mut set_files = Vec::with_capacity(listed.len());
    for Listed { path, bytes, is_needed } in listed {
        let set_path = format!("{LAKE}/{path}");
        let is_there =
            |file: &&&SetFile| fs::metadata(folder.join(&set_path)).is_ok_and(|found| found.len() == file.bytes);
        // A name is used once, so the same name is the same content.
        if let Some(known) = former.get(set_path.as_str()).filter(is_there) {
            set_files.push(SetFile::clone(known));
            continue;
        }
        let content = match lake.read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !is_needed => continue,
            read => read.map_err(|source| BackupError::Lake { path: path.clone(), source })?,
        };
        if let Some(bytes) = bytes.filter(|bytes| *bytes != content.len() as u64) {
            let what = format!("it has {} bytes, and {bytes} are listed", content.len());
            return Err(BackupError::Damaged { path: path.clone(), what });
        }
        *copied_bytes += content.len() as u64;
        set_files.push(write(folder, &set_path, &content)?);
    }
    Ok(set_files)
}

/// Removes what an older set or a backup that was cut off left in the folder.
fn remove_others(folder: &Path, set: &BackupSet) -> Result<(), BackupError> {
    let kept: HashSet<std::path::PathBuf> = set.files.iter().map(|file| folder.join(&file.path)).collect();
    for of_ours in [DATABASE, LAKE] {
        remove_below(&folder.join(of_ours), &kept)?;
    }
    Ok(())
}

fn remove_below(folder: &Path, kept: &HashSet<std::path::PathBuf>) -> Result<(), BackupError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(files(folder))?,
    };
    for entry in entries {
        let path = entry.map_err(files(folder))?.path();
        if path.is_dir() {
            remove_below(&path, kept)?;
            // Only an empty one goes.
            let _ = fs::remove_dir(&path);
        } else if !kept.contains(&path) {
            fs::remove_file(&path).map_err(files(&path))?;
        }
    }
    Ok(())
}
