//! Taking away what is older than its project's retention.
//!
//! A file whose rows are all too old ends; of one that holds others too, the others are written again. Both in commits of
//! lane `maintenance`, beside commits and readers like a merge: an older commit still has the rows until it expires, and
//! then the files go (`expire.rs`). What goes from `events` and `quarantine` moves in the ledger by the same commit, from
//! `stored` or `quarantined` to `erased`, in the hour and partition in which it arrived: the books balance at every commit.
//!
//! A pass looks at the files of a table once a day, since cuts are midnights. If it is interrupted, the next one goes on.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::TimestampMicrosecondType;
use schemas::Timestamp;
use schemas::rollups::{ALL_STORED, Grain, LEDGER, Rollup};

use crate::commit::{Commit, CommitError, Delta, Lane};
use crate::cuts::{Cut, note_swept, record};
use crate::database::{Task, Transaction, Turn, composed};
use crate::erased::Erased;
use crate::lake::{Lake, NewFile, scan_parquet};
use crate::merge::{Failure, MergeError, read_whole, write_again};
use crate::open::Warehouse;
use crate::read::{DataFile, Read, ReadError};
use crate::retention::{Kept, RetentionPolicy};
use crate::rollup_store::RollupQuery;
use crate::tables::{EVENTS, LAKE_TABLES, LakeTable, QUARANTINE, RECORDS};

/// At most so many files are written again by one commit: bounds how much is done in vain if one of them was replaced
/// meanwhile. Their rows are held one file at a time.
const FILES_PER_COMMIT: usize = 32;
/// Files that end whole cost little.
const ENDS_PER_COMMIT: usize = 256;
/// How often a commit is tried again because somebody else replaced one of its files.
const TRIES: usize = 5;

/// What retention took away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retained {
    /// By table of the lake, in their order.
    pub tables: Vec<RetainedTable>,
    /// Rows of rollups, over all of them.
    pub rollup_rows: u64,
}

/// What retention took away from a table of the lake, and what is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetainedTable {
    /// The table.
    pub table: &'static str,
    /// Rows that are gone.
    pub rows: u64,
    /// Files that ended, those that were written again among them.
    pub files: u64,
    /// The oldest row that is left, by the time that retention goes by.
    pub oldest: Option<Timestamp>,
}

impl Retained {
    /// Rows of `events` and `quarantine` that are gone: what the ledger calls `erased`.
    #[must_use]
    pub fn erased(&self) -> u64 {
        let of_events = |table: &&RetainedTable| table.table == EVENTS.name || table.table == QUARANTINE.name;
        self.tables.iter().filter(of_events).map(|table| table.rows).sum()
    }
}

/// The time of a row that retention goes by.
fn time_column(table: &LakeTable) -> &'static str {
    // Records by arrival like the ledger, so that an hour of it has all its records or none.
    if table.id == RECORDS.id { "received_at" } else { table.day_column }
}

impl Warehouse {
    /// Takes away what is older than the policy says, counted from `now` or from the time up to which everything is
    /// taken in, whichever is earlier: a clock that is ahead takes nothing away. What another process is at is left to it.
    ///
    /// # Errors
    ///
    /// [`MergeError`]; what was done until then stays done, and the next call goes on.
    pub async fn retain(&self, now: Timestamp, policy: &RetentionPolicy) -> Result<Retained, MergeError> {
        let mut read = self.read().await?;
        let due = match read.complete_through() {
            Some(complete_through) => read.due_cuts(policy, complete_through.min(now)).await?,
            None => Vec::new(),
        };
        drop(read);
        self.sweep(&due, now).await
    }

    /// Takes away again what was taken away before: after everything was concluded anew.
    ///
    /// # Errors
    ///
    /// As [`Self::retain`].
    pub async fn retain_again(&self, now: Timestamp) -> Result<Retained, MergeError> {
        let cuts = self.read().await?.cuts().await?.all();
        self.sweep(&cuts, now).await
    }

    /// A project whose oldest records retention took away, and from when on it has all of them; `None` if there is none. The
    /// ledger tells: it has events of before then.
    ///
    /// # Errors
    ///
    /// [`ReadError::Database`].
    pub async fn records_kept_from(&self) -> Result<Option<(Arc<str>, Timestamp)>, ReadError> {
        let mut read = self.read().await?;
        for cut in read.cuts().await?.all().into_iter().filter(|cut| cut.kept == Kept::Records) {
            let before = (Timestamp::from_micros(0), cut.kept_from);
            let mut query = RollupQuery::new(&LEDGER, Grain::Hour, &cut.project, before);
            query.limit = 1;
            if !read.rollup(&query).await?.is_empty() {
                return Ok(Some((cut.project, cut.kept_from)));
            }
        }
        Ok(None)
    }

    async fn sweep(&self, cuts: &[Cut], now: Timestamp) -> Result<Retained, MergeError> {
        let mut retained = Retained::default();
        let mut removed: HashMap<i64, (u64, u64)> = HashMap::new();
        // A file that cannot be read keeps rows of its own kind, and no others.
        let mut failed = None;
        for kept in Kept::ALL {
            let cuts: Vec<Cut> = cuts.iter().filter(|cut| cut.kept == kept).cloned().collect();
            if !cuts.is_empty() {
                let swept = self.sweep_kept(kept, &cuts, &mut retained, &mut removed, now).await;
                failed = failed.or(swept.err());
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        let snapshot = self.read().await?.snapshot().await?;
        for table in LAKE_TABLES {
            let (rows, files) = removed.get(&table.id).copied().unwrap_or_default();
            let bounds = snapshot.files(table).iter().filter_map(|file| bounds(table, file)).collect::<Vec<_>>();
            let oldest = bounds.into_iter().map(|(least, _)| least).min();
            retained.tables.push(RetainedTable { table: table.name, rows, files, oldest });
        }
        Ok(retained)
    }

    /// Takes away what is of one kind, and says so once all of it is gone.
    async fn sweep_kept(
        &self,
        kept: Kept,
        cuts: &[Cut],
        retained: &mut Retained,
        removed: &mut HashMap<i64, (u64, u64)>,
        now: Timestamp,
    ) -> Result<(), MergeError> {
        let mut is_done = true;
        for table in kept.tables() {
            let swept = self.sweep_table(table, cuts, now).await?;
            removed.insert(table.id, (swept.rows, swept.files));
            is_done &= swept.is_done;
        }
        if let Some(grain) = Grain::ALL.into_iter().find(|grain| Kept::of_grain(*grain) == kept) {
            let (rows, is_all) = self.sweep_rollups(grain, cuts).await?;
            retained.rollup_rows += rows;
            is_done &= is_all;
        }
        if is_done {
            let mut transaction = self.shared.database.write().await.map_err(ReadError::from)?;
            record(&mut transaction, cuts).await.map_err(ReadError::from)?;
            note_swept(&mut transaction, cuts).await.map_err(ReadError::from)?;
            transaction.commit().await.map_err(ReadError::from)?;
        }
        Ok(())
    }

    /// Takes rows away from all files of a table.
    async fn sweep_table(&self, table: &'static LakeTable, cuts: &[Cut], now: Timestamp) -> Result<Swept, MergeError> {
        let old: Old = cuts.iter().map(|cut| (Arc::clone(&cut.project), cut.kept_from)).collect();
        let (mut swept, mut tries) = (Swept::default(), 0);
        let mut after = -1;
        loop {
            let Some(turn) = self.shared.database.take(Task::Files).await.map_err(ReadError::from)? else {
                return Ok(swept);
            };
            let step = match self.rewrite_some(table, &old, after, now).await {
                Ok(Some(step)) => step,
                Ok(None) => {
                    turn.end().await;
                    return Ok(Swept { is_done: true, ..swept });
                }
                Err(error) => {
                    turn.end().await;
                    return Err(error);
                }
            };
            let (rows, files, last) = (step.rows, step.replaced_files.len() as u64, step.last);
            match self.commit_step(turn, table, cuts, step, now).await {
                Ok(()) => {
                    (after, tries) = (last, 0);
                    swept.rows += rows;
                    swept.files += files;
                }
                // A commit or a merge was faster: its files have higher numbers.
                Err(MergeError::Commit(CommitError::Replaced { .. })) if tries < TRIES => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Finds files with old rows, numbered after `after`, and writes their other rows again; `None` if there is no more.
    async fn rewrite_some(
        &self,
        table: &'static LakeTable,
        old: &Old,
        after: i64,
        now: Timestamp,
    ) -> Result<Option<Step>, MergeError> {
        let mut read = self.read().await?;
        if read.has_deletes().await? {
            return Err(MergeError::ForeignDeletes);
        }
        let snapshot = read.snapshot().await?;
        drop(read);
        let mut files: Vec<DataFile> =
            snapshot.files(table).iter().filter(|file| file.data_file_id > after).cloned().collect();
        files.sort_by_key(|file| file.data_file_id);
        files.retain(|file| may_hold_old(table, file, old));
        if files.is_empty() {
            return Ok(None);
        }
        let (lake, old) = (self.shared.lake.clone(), old.clone());
        let failed = |source| MergeError::Rewrite { table: table.name, source };
        let rewriting = tokio::task::spawn_blocking(move || {
            let mut step = Step::default();
            for file in &files {
                if step.files.len() == FILES_PER_COMMIT || step.replaced_files.len() == ENDS_PER_COMMIT {
                    break;
                }
                step.cut(&lake, table, file, &old, now)?;
                step.last = file.data_file_id;
            }
            Ok(step)
        });
        Ok(Some(rewriting.await.map_err(|panic| failed(panic.into()))?.map_err(failed)?))
    }

    /// Commits what was written again, if the turn has not been lost, together with its lines in the ledger.
    async fn commit_step(
        &self,
        turn: Turn,
        table: &LakeTable,
        cuts: &[Cut],
        step: Step,
        now: Timestamp,
    ) -> Result<(), MergeError> {
        if step.replaced_files.is_empty() {
            turn.end().await;
            return Ok(());
        }
        let mut read = self.read().await?;
        let rows = step.erased.lines(&mut read).await?;
        drop(read);
        let commit = Commit {
            lane: Lane::Retention { table_id: table.id },
            now,
            advances: Vec::new(),
            files: step.files,
            replaced_files: step.replaced_files,
            deltas: vec![Delta { rollup: &LEDGER, rows }],
            id_runs: Vec::new(),
            state_files: Vec::new(),
        };
        let mut transaction = turn.write(&self.shared.database).await.map_err(CommitError::from)?;
        record(&mut transaction, cuts).await.map_err(CommitError::from)?;
        self.commit_in(transaction, &commit).await?;
        Ok(())
    }

    /// Takes old buckets of a grain away from all rollups; whether nobody else was at one of them. Readers do not see
    /// them from the moment the cut is recorded.
    async fn sweep_rollups(&self, grain: Grain, cuts: &[Cut]) -> Result<(u64, bool), MergeError> {
        let mut transaction = self.shared.database.write().await.map_err(ReadError::from)?;
        record(&mut transaction, cuts).await.map_err(ReadError::from)?;
        transaction.commit().await.map_err(ReadError::from)?;
        let (mut rows, mut is_all) = (0, true);
        let of_grain = |(_, rollup): &(usize, &&Rollup)| rollup.grains.contains(&grain) && has_retention(rollup);
        for (place, rollup) in ALL_STORED.iter().enumerate().filter(of_grain) {
            let alone = self.shared.database.try_write_alone(Task::Rollup(place)).await.map_err(ReadError::from)?;
            let Some(mut transaction) = alone else {
                is_all = false;
                continue;
            };
            for cut in cuts {
                rows += sweep(&mut transaction, rollup, grain, cut).await.map_err(ReadError::from)?;
            }
            transaction.commit().await.map_err(ReadError::from)?;
        }
        Ok((rows, is_all))
    }
}

/// Takes the old buckets of one rollup away.
async fn sweep(transaction: &mut Transaction, rollup: &Rollup, grain: Grain, cut: &Cut) -> Result<u64, sqlx::Error> {
    let behind = "grain = $1 AND project = $2 AND bucket_us < $3";
    let of_cut = |text: String| composed(text).bind(grain.as_str()).bind(&*cut.project).bind(cut.kept_from.micros());
    let changes = format!("DELETE FROM changed_buckets WHERE rollup = '{}' AND {behind}", rollup.name);
    of_cut(changes).run(transaction).await?;
    of_cut(format!("DELETE FROM {}_merged WHERE {behind}", rollup.name)).run(transaction).await
}

/// Whether buckets of a rollup ever go. The books stay: they say what became of everything that was ever received.
pub(crate) fn has_retention(rollup: &Rollup) -> bool {
    rollup.name != LEDGER.name
}

impl Read {
    /// The cuts that the policy wants at this log time and that are not done yet.
    async fn due_cuts(&mut self, policy: &RetentionPolicy, complete_through: Timestamp) -> Result<Vec<Cut>, ReadError> {
        let recorded = self.cuts().await?;
        // What belongs to no project are records that cannot be read.
        let projects = self.projects().await?.into_iter().chain([String::new()]);
        let mut due = Vec::new();
        for project in projects {
            let retention = policy.of(&project);
            for kept in Kept::ALL {
                let known = recorded.of(&project, kept);
                let wanted = retention.kept_from(kept, complete_through).unwrap_or_default();
                let kept_from = wanted.max(known.kept_from);
                if kept_from > known.swept {
                    due.push(Cut { project: project.as_str().into(), kept, kept_from });
                }
            }
        }
        Ok(due)
    }
}

/// From when on rows are kept, by project.
type Old = HashMap<Arc<str>, Timestamp>;

#[derive(Debug, Default)]
struct Swept {
    rows: u64,
    files: u64,
    /// Whether all files were looked at.
    is_done: bool,
}

/// Least and greatest time of a file's rows.
fn bounds(table: &LakeTable, file: &DataFile) -> Option<(Timestamp, Timestamp)> {
    let (least, greatest) = file.bounds.get(table.index_of(time_column(table)))?.as_ref()?;
    Some((Timestamp::parse_sql(least)?, Timestamp::parse_sql(greatest)?))
}

/// Whether a file may hold rows that are too old, as far as the catalogue knows.
fn may_hold_old(table: &LakeTable, file: &DataFile, old: &Old) -> bool {
    let Some((least, _)) = bounds(table, file) else { return true };
    let projects = file.bounds.get(table.index_of("project")).and_then(Option::as_ref);
    let may_hold = |project: &str| projects.is_none_or(|(first, last)| (first.as_str()..=last).contains(&project));
    old.iter().any(|(project, kept_from)| least < *kept_from && may_hold(project))
}

/// What one commit takes away.
#[derive(Debug, Default)]
struct Step {
    files: Vec<NewFile>,
    replaced_files: Vec<DataFile>,
    rows: u64,
    erased: Erased,
    /// The last file that was looked at.
    last: i64,
}

impl Step {
    fn cut(
        &mut self,
        lake: &Lake,
        table: &'static LakeTable,
        file: &DataFile,
        old: &Old,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let mut columns = vec!["project", time_column(table)];
        columns.extend(Erased::columns(table));
        let (mut rows, mut gone) = (0, 0);
        for batch in scan_parquet(lake, table, &file.path, &columns, 8192)? {
            let batch = batch?;
            let is_old = are_old(table, &batch, old);
            rows += batch.num_rows();
            gone += is_old.true_count();
            self.erased.add(table, &batch, &is_old);
        }
        if i64::try_from(rows)? != file.rows {
            return Err(format!("{rows} rows were read and {} are listed", file.rows).into());
        }
        if gone == 0 {
            return Ok(());
        }
        if gone < rows {
            let all = read_whole(lake, table, file)?;
            let stays: BooleanArray =
                are_old(table, &all, old).iter().map(|is_old| is_old.map(|is_old| !is_old)).collect();
            self.files.push(write_again(lake, table, [&filter_record_batch(&all, &stays)?], now)?);
        }
        self.replaced_files.push(file.clone());
        self.rows += gone as u64;
        Ok(())
    }
}

/// Which rows of a batch, which has at least project and time, are too old.
fn are_old(table: &LakeTable, batch: &RecordBatch, old: &Old) -> BooleanArray {
    let column = |name: &str| batch.column_by_name(name).expect("it was asked for");
    let projects = column("project").as_string::<i32>();
    let times = column(time_column(table)).as_primitive::<TimestampMicrosecondType>();
    let is_old = |row: usize| {
        let project = if projects.is_null(row) { "" } else { projects.value(row) };
        old.get(project).is_some_and(|kept_from| times.is_valid(row) && times.value(row) < kept_from.micros())
    };
    (0..batch.num_rows()).map(is_old).collect::<Vec<bool>>().into()
}
