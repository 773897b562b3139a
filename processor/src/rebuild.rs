//! Rebuilding: everything that was concluded from the records is concluded again, into an empty warehouse.

use std::sync::Arc;
use std::time::Duration;

use schemas::{Outcome, Timestamp};
use thiserror::Error;
use warehouse::tables::RECORDS;
use warehouse::{Checkpoint, MergeError, MergePolicy, ReadError, ScanError, Snapshot, StoredRecord, Warehouse};

use crate::EVENTS_TOPIC;
use crate::member::{Member, Site};
use crate::metrics::ProcessorMetrics;
use crate::runner::{ProcessorConfig, RunError, Step};
use crate::stored_log::StoredLog;

/// Files are merged and rollups folded after so many commits: what piles up until then is small beside the rest.
const COMMITS_PER_UPKEEP: u64 = 16;

/// What was rebuilt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// Records folded.
    pub records: u64,
    /// Events in them.
    pub events: u64,
    /// Commits that it took.
    pub commits: u64,
}

/// Why nothing was rebuilt.
#[derive(Debug, Error)]
pub enum RebuildError {
    /// Folding or committing.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Reading either warehouse.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Reading the records.
    #[error("read the records of the lake")]
    Records(#[from] ScanError),
    /// Merging files of the new one.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// Retention took records away: what was concluded from them could not be concluded again, and would be lost.
    #[error(
        "records of project `{project}` from before {kept_from} are gone: sums of that time could not be made again"
    )]
    RecordsGone {
        /// The project.
        project: Arc<str>,
        /// Its oldest records are of then.
        kept_from: Timestamp,
    },
    /// What was rebuilt does not hold what it was made from.
    #[error("what was rebuilt is not complete: {0}")]
    Differs(String),
}

/// Folds all records of `live` into `next`, which is empty, up to the checkpoints that `live` has at the beginning, and asserts
/// that `next` holds the same records and that its books balance. `progress` is told how many positions of the log are behind,
/// of how many. Others may commit to `live` meanwhile, as long as nobody deletes its files.
///
/// # Errors
///
/// [`RebuildError`]; then `next` is of no use.
pub async fn rebuild(
    live: &Warehouse,
    next: &Warehouse,
    config: &ProcessorConfig,
    now: impl Fn() -> Timestamp,
    mut progress: impl FnMut(u64, u64),
) -> Result<Rebuilt, RebuildError> {
    // Registered nowhere: only their values are looked at.
    let metrics = ProcessorMetrics::new().map_err(|error| RebuildError::Differs(error.to_string()))?;
    if let Some((project, kept_from)) = live.records_kept_from().await? {
        return Err(RebuildError::RecordsGone { project, kept_from });
    }
    let mut read = live.read().await?;
    let (checkpoints, snapshot) = (read.checkpoints(EVENTS_TOPIC).await?, read.snapshot().await?);
    drop(read);
    let records: i64 = snapshot.files(&RECORDS).iter().map(|file| file.rows).sum();
    let positions = checkpoints.iter().map(|checkpoint| checkpoint.position).sum();
    let log = StoredLog::new(live.lake().clone(), Arc::clone(&snapshot), &checkpoints);
    let log_partitions = u16::try_from(checkpoints.len()).unwrap_or(u16::MAX);
    // Nobody waits for a commit: each is as large as it may be.
    let config = ProcessorConfig { commit_interval: Duration::MAX, ..config.clone() };
    let mut member = Member::new(Box::new(log), log_partitions, None);
    let mut rebuilt = Rebuilt::default();
    loop {
        let site = Site { warehouse: next, config: &config, metrics: &metrics, now: now() };
        match member.step(&site, Duration::ZERO).await? {
            Step::Idle => break,
            Step::Folded | Step::Advanced => {}
            Step::Committed(_) => {
                rebuilt.commits += 1;
                if rebuilt.commits.is_multiple_of(COMMITS_PER_UPKEEP) {
                    keep_up(next, now()).await?;
                }
            }
        }
        progress(member.positions(), positions);
    }
    if member.has_pending() {
        // With the state at the end: the first start has nothing to fold again.
        let config = ProcessorConfig { state_interval: Duration::ZERO, ..config };
        let step = member.flush(&Site { warehouse: next, config: &config, metrics: &metrics, now: now() }).await?;
        rebuilt.commits += u64::from(matches!(step, Step::Committed(_)));
    }
    keep_up(next, now()).await?;
    next.retain_again(now()).await?;
    rebuilt.records = u64::try_from(records).unwrap_or(0);
    rebuilt.events =
        Outcome::ALL.iter().map(|outcome| metrics.events.with_label_values(&[outcome.as_str()]).get()).sum();
    assert_complete((live, snapshot), next, &checkpoints).await?;
    Ok(rebuilt)
}

/// What maintenance does beside a running server. Nobody reads the new warehouse yet, so nothing has to wait.
async fn keep_up(next: &Warehouse, now: Timestamp) -> Result<(), RebuildError> {
    while next.merge_once(MergePolicy::default(), now).await?.is_some() {}
    // Later than any commit so far.
    let now = now.plus_millis(1);
    next.merge_rollups(now, Duration::ZERO).await?;
    next.expire(now, Duration::ZERO, Duration::ZERO).await?;
    Ok(())
}

/// The event store must have come over as it was, up to the same positions: it is the only copy of what the log forgot.
async fn assert_complete(
    (live, snapshot): (&Warehouse, Arc<Snapshot>),
    next: &Warehouse,
    checkpoints: &[Checkpoint],
) -> Result<(), RebuildError> {
    let mut read = next.read().await?;
    let (reached, rebuilt) = (read.checkpoints(EVENTS_TOPIC).await?, read.snapshot().await?);
    let books = read.books().await?;
    drop(read);
    // Pauses are of the live one.
    let end = |end: &Checkpoint| Checkpoint { is_paused: false, pauses: 0, ..*end };
    let ends: Vec<Checkpoint> = checkpoints.iter().map(end).collect();
    if reached != ends {
        return Err(RebuildError::Differs(format!("it ends at {reached:?} and not at {checkpoints:?}")));
    }
    for Checkpoint { log_partition, .. } in checkpoints {
        let live = digest(live, Arc::clone(&snapshot), *log_partition).await?;
        let next = digest(next, Arc::clone(&rebuilt), *log_partition).await?;
        if live != next {
            let what = format!("partition {log_partition} has {next:?} of {live:?}");
            return Err(RebuildError::Differs(what));
        }
    }
    if books.unaccounted() > 0 {
        return Err(RebuildError::Differs(format!("its books do not balance: {books:?}")));
    }
    Ok(())
}

/// Stands for the records of a partition.
#[derive(Debug, PartialEq, Eq)]
struct Digest {
    records: u64,
    crc: u32,
}

async fn digest(warehouse: &Warehouse, snapshot: Arc<Snapshot>, log_partition: u16) -> Result<Digest, RebuildError> {
    let digest = warehouse.scan_at(snapshot, move |lake, snapshot| {
        let (mut records, mut crc) = (0, crc32fast::Hasher::new());
        for record in snapshot.records(lake, log_partition, 0)? {
            let StoredRecord { position, log_time, format, body } = record?;
            records += 1;
            crc.update(&position.to_be_bytes());
            crc.update(&log_time.micros().to_be_bytes());
            crc.update(format.as_bytes());
            crc.update(&body);
        }
        Ok(Digest { records, crc: crc.finalize() })
    });
    Ok(digest.await?)
}
