//! Merging small files: many files of one size become one of the next, split by day; signed rows with equal keys are added
//! up.

mod split;

use std::cmp::Reverse;
use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use schemas::Timestamp;
use thiserror::Error;

use self::split::split;
use crate::add_up::added_up;
use crate::commit::{Commit, CommitError, CommitId, Lane};
use crate::database::{Task, Turn};
use crate::lake::{FileName, Lake, NewFile, Origin, ScanError, encode_parquet, plain_bytes, scan_parquet};
use crate::open::Warehouse;
use crate::read::{DataFile, ReadError};
use crate::tables::{LAKE_TABLES, LakeTable};

/// When files are merged.
#[derive(Debug, Clone, Copy)]
pub struct MergePolicy {
    /// That many files of one size (and day) are merged.
    pub fan_in: usize,
    /// At most that many at once.
    pub max_files: usize,
    /// A merge reads at most this many rows ..
    pub max_rows: i64,
    /// .. this many bytes of files ..
    pub max_bytes: u64,
    /// .. and this many bytes as they are in memory, which is held about twice.
    pub max_plain_bytes: u64,
}

impl Default for MergePolicy {
    fn default() -> Self {
        Self { fan_in: 8, max_files: 64, max_rows: 200_000, max_bytes: 32 << 20, max_plain_bytes: 128 << 20 }
    }
}

/// What was merged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Merged {
    /// Files read.
    pub sources: usize,
    /// Files written.
    pub files: usize,
    /// Rows written; of `slices`, after those with equal keys were added up.
    pub rows: i64,
}

/// Why nothing was merged. Nothing is lost by it: the sources stay listed.
#[derive(Debug, Error)]
pub enum MergeError {
    /// The catalogue could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A source could not be read, or the rows do not add up.
    #[error("merge files of `{table}`")]
    Rewrite {
        /// The table.
        table: &'static str,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another program deleted rows. We do not read its deletes, and a merge would bring the rows back.
    #[error("the catalogue lists deleted rows, which this program never writes: it was attached for writing elsewhere")]
    ForeignDeletes,
    /// Another process merges, collects, expires or copies files.
    #[error("another process is at work on the files of the lake")]
    Elsewhere,
    /// The merge did not land.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl Warehouse {
    /// Merges one group of files, if there is one. A merge is a commit of its own and changes no answer.
    ///
    /// # Errors
    ///
    /// [`MergeError`], among them that another process is at it.
    pub async fn merge_once(
        &self,
        policy: MergePolicy,
        now: Timestamp,
    ) -> Result<Option<(CommitId, Merged)>, MergeError> {
        self.merge_among(policy, now, |_| true).await
    }

    /// Merges one group of the files of some commits, if there is one. What other commits add meanwhile, faster perhaps
    /// than it can be merged, is left to others.
    ///
    /// # Errors
    ///
    /// [`MergeError`], among them that another process is at it.
    pub async fn merge_among(
        &self,
        policy: MergePolicy,
        now: Timestamp,
        is_among: impl Fn(CommitId) -> bool + Send,
    ) -> Result<Option<(CommitId, Merged)>, MergeError> {
        let Some(turn) = self.shared.database.take(Task::Files).await.map_err(ReadError::from)? else {
            return Err(MergeError::Elsewhere);
        };
        match self.merge_some(policy, now, is_among).await {
            Ok(Some((group, files))) => Ok(Some(self.commit_merge(turn, &group, files, now).await?)),
            other => {
                turn.end().await;
                other.map(|_| None)
            }
        }
    }

    /// Finds a group and writes its rows again.
    async fn merge_some(
        &self,
        policy: MergePolicy,
        now: Timestamp,
        is_among: impl Fn(CommitId) -> bool + Send,
    ) -> Result<Option<(Vec<DataFile>, Vec<NewFile>)>, MergeError> {
        let mut read = self.read().await?;
        if read.has_deletes().await? {
            return Err(MergeError::ForeignDeletes);
        }
        let snapshot = read.snapshot().await?;
        drop(read);
        let mut waiting = Vec::new();
        for table in LAKE_TABLES {
            let files = snapshot.files(table);
            let files = files.iter().filter(|file| is_among(file.since));
            waiting.extend(groups(table, files, policy).into_iter().map(|group| (table, group)));
        }
        // What makes the list shorter comes first: small tables never wait for long ones.
        waiting.sort_by_key(|(_, group)| Reverse(group.len()));
        // A file that cannot be read keeps its own group from being merged, and no other.
        let mut failed = None;
        for (table, group) in waiting {
            match self.merge_group(table, group, policy, now).await {
                Ok(Some(written)) => return Ok(Some(written)),
                Ok(None) => {}
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(None), Err)
    }

    /// Reads the files of a group and writes theirs, if there is something to merge.
    async fn merge_group(
        &self,
        table: &'static LakeTable,
        mut group: Vec<DataFile>,
        policy: MergePolicy,
        now: Timestamp,
    ) -> Result<Option<(Vec<DataFile>, Vec<NewFile>)>, MergeError> {
        let lake = self.shared.lake.clone();
        let rewriting = tokio::task::spawn_blocking(move || {
            shorten(&lake, &mut group, policy.max_plain_bytes)?;
            let files = if group.len() < 2 { Vec::new() } else { rewrite(&lake, table, &group, now)? };
            Ok((group, files))
        });
        let failed = |source| MergeError::Rewrite { table: table.name, source };
        let (group, files) = rewriting.await.map_err(|panic| failed(panic.into()))?.map_err(failed)?;
        Ok(Some((group, files)).filter(|(_, files)| !files.is_empty()))
    }

    /// Commits a merge, if its turn has not been lost: then others may have taken its files for leftovers.
    async fn commit_merge(
        &self,
        turn: Turn,
        group: &[DataFile],
        files: Vec<NewFile>,
        now: Timestamp,
    ) -> Result<(CommitId, Merged), MergeError> {
        let merged =
            Merged { sources: group.len(), files: files.len(), rows: files.iter().map(|file| file.encoded.rows).sum() };
        let commit = Commit {
            lane: Lane::Maintenance,
            now,
            advances: Vec::new(),
            files,
            replaced_files: group.to_vec(),
            deltas: Vec::new(),
            id_runs: Vec::new(),
            state_files: Vec::new(),
        };
        let transaction = turn.write(&self.shared.database).await.map_err(CommitError::from)?;
        Ok((self.commit_in(transaction, &commit).await?.id, merged))
    }
}

/// The groups that can be merged, the one that has waited longest first: files of one size class that lie in one and
/// the same day, or files that span days.
fn groups<'a>(table: &LakeTable, files: impl Iterator<Item = &'a DataFile>, policy: MergePolicy) -> Vec<Vec<DataFile>> {
    let is_small = |file: &&DataFile| file.rows * 2 <= policy.max_rows && file.bytes * 2 <= policy.max_bytes;
    let mut groups: BTreeMap<(Option<String>, u32), Vec<&DataFile>> = BTreeMap::new();
    for file in files.filter(is_small) {
        groups.entry((single_day(table, file), size_class(file.bytes))).or_default().push(file);
    }
    let mut groups: Vec<Vec<&DataFile>> = groups.into_values().filter(|group| group.len() >= policy.fan_in).collect();
    groups.sort_by_key(|group| group[0].since);
    let bounded = groups.into_iter().map(|group| {
        let (mut rows, mut bytes) = (0, 0);
        let fits = |file: &&DataFile| {
            rows += file.rows;
            bytes += file.bytes;
            rows <= policy.max_rows && bytes <= policy.max_bytes
        };
        group.into_iter().take(policy.max_files).take_while(fits).cloned().collect::<Vec<_>>()
    });
    bounded.filter(|group| group.len() >= 2).collect()
}

/// Leaves out the last files of a group so that the rest fits into memory.
fn shorten(lake: &Lake, group: &mut Vec<DataFile>, max_plain_bytes: u64) -> Result<(), ScanError> {
    let mut bytes = 0;
    for (count, file) in group.iter().enumerate() {
        bytes += plain_bytes(lake, &file.path)?;
        if bytes > max_plain_bytes {
            group.truncate(count);
            return Ok(());
        }
    }
    Ok(())
}

/// The day all rows of a file lie in, if it is one.
fn single_day(table: &LakeTable, file: &DataFile) -> Option<String> {
    let (least, greatest) = file.bounds.get(table.index_of(table.day_column))?.as_ref()?;
    let day = least.get(..10)?;
    (greatest.get(..10) == Some(day)).then(|| day.to_owned())
}

/// 0 below 64 KiB, then one more for each factor of 8.
fn size_class(bytes: u64) -> u32 {
    (bytes >> 16).checked_ilog2().map_or(0, |log| 1 + log / 3)
}

/// What reading, sorting or writing said.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

fn rewrite(
    lake: &Lake,
    table: &'static LakeTable,
    sources: &[DataFile],
    now: Timestamp,
) -> Result<Vec<NewFile>, Failure> {
    let rows = added_up(table, read_batches(lake, table, sources)?)?;
    split(table, rows)?.iter().map(|part| write_again(lake, table, part, now)).collect()
}

/// All rows of some files.
///
/// # Errors
///
/// Also if there are other than those that are listed: what is written in their place would lose or invent some.
fn read_batches(lake: &Lake, table: &'static LakeTable, files: &[DataFile]) -> Result<Vec<RecordBatch>, Failure> {
    let (mut batches, mut rows, mut listed) = (Vec::new(), 0, 0);
    for file in files {
        for batch in scan_parquet(lake, table, &file.path, &[], 8192)? {
            let batch = batch?;
            rows += i64::try_from(batch.num_rows())?;
            batches.push(batch);
        }
        listed += file.rows;
    }
    if rows != listed {
        return Err(format!("{rows} rows were read and {listed} are listed").into());
    }
    Ok(batches)
}

/// All rows of a file, as one batch.
///
/// # Errors
///
/// As [`read_batches`].
pub(crate) fn read_whole(lake: &Lake, table: &'static LakeTable, file: &DataFile) -> Result<RecordBatch, Failure> {
    Ok(concat_batches(&table.schema(), &read_batches(lake, table, std::slice::from_ref(file))?)?)
}

/// Writes rows that were in other files before.
pub(crate) fn write_again<'a>(
    lake: &Lake,
    table: &'static LakeTable,
    rows: impl IntoIterator<Item = &'a RecordBatch>,
    now: Timestamp,
) -> Result<NewFile, Failure> {
    let encoded = encode_parquet(table, rows)?;
    let path = FileName::new(Origin::Merge, now).path("parquet");
    lake.write(&Lake::table_path(table, &path), &encoded.bytes)?;
    Ok(NewFile { table_id: table.id, path, encoded })
}
