//! `compact`, `expire` and `collect`: what maintenance does by itself every now and then, at once and to its end. They
//! work beside running processes or without one: at the files of the lake is one process at a time.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use clap::Args;
use serde_json::{Value, json};
use warehouse::{CommitError, CommitId, MergeError, MergePolicy, Merged, Warehouse};

use crate::cli::print;
use crate::clock::Clock;
use crate::config::Config;
use crate::stores;

/// How often it is tried again.
const RETRY: Duration = Duration::from_millis(100);

/// Options of each of them.
#[derive(Debug, Args)]
struct Manner {
    /// How long to wait for another process that is at work on the files: a merge takes seconds, a backup longer.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = humantime::parse_duration)]
    wait: Duration,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Options of `compact`.
#[derive(Debug, Args)]
pub(crate) struct CompactOptions {
    /// Merge that many files of one size and day, from 2 on; else as `maintenance.merge_fan_in` says.
    #[arg(long, value_name = "FILES", value_parser = clap::value_parser!(u16).range(2..=64))]
    fan_in: Option<u16>,
    #[command(flatten)]
    manner: Manner,
}

/// Options of `expire`.
#[derive(Debug, Args)]
pub(crate) struct ExpireOptions {
    /// Commits older than this; else as `maintenance.snapshot_retention` says. The newest one always stays.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    older_than: Option<Duration>,
    /// Delete files that have been waiting for so long; else as `maintenance.file_grace` says. Longer than any query, or
    /// queries under way fail.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    grace: Option<Duration>,
    #[command(flatten)]
    manner: Manner,
}

/// Options of `collect`.
#[derive(Debug, Args)]
pub(crate) struct CollectOptions {
    /// Only files of this age, at least 1s; else as `maintenance.orphan_grace` says. On a cluster it is at least 10 minutes, and
    /// an hour for what merging left.
    #[arg(long, value_name = "DURATION", value_parser = grace)]
    grace: Option<Duration>,
    #[command(flatten)]
    manner: Manner,
}

/// No age at all would also take files that a commit under way is about to list.
fn grace(text: &str) -> Result<Duration> {
    match humantime::parse_duration(text)? {
        grace if grace < Duration::from_secs(1) => bail!("at least 1s"),
        grace => Ok(grace),
    }
}

/// Merges all files that there are until there is nothing to merge, and folds all rollup deltas. What commits add while it
/// is at work is for the next time: they may be faster.
pub(crate) async fn compact(config: &Config, options: &CompactOptions) -> Result<()> {
    let warehouse = options.manner.open(config).await?;
    let fan_in = options.fan_in.map_or(config.maintenance.merge_fan_in, usize::from);
    let policy = MergePolicy { fan_in, ..MergePolicy::default() };
    let begun = warehouse.read().await?.commit();
    let (mut merges, mut all) = (BTreeSet::new(), Merged::default());
    while let Some((commit, merged)) = options
        .manner
        .in_turn(async || merge(&warehouse, policy, |commit| commit <= begun || merges.contains(&commit)).await)
        .await?
    {
        merges.insert(commit);
        all = Merged {
            sources: all.sources + merged.sources,
            files: all.files + merged.files,
            rows: all.rows + merged.rows,
        };
    }
    let (merges, mut deltas) = (merges.len(), 0);
    options
        .manner
        .in_turn(async || {
            let folded = warehouse.merge_rollups(Clock::System.now(), Duration::ZERO).await?;
            deltas += folded.deltas;
            Ok((!folded.is_elsewhere).then_some(()))
        })
        .await?;
    let commit = warehouse.read().await?.commit().0;
    warehouse.close().await;
    let facts = json!({
        "merges": merges, "merged_files": all.sources, "written_files": all.files, "rows": all.rows,
        "folded_deltas": deltas, "commit": commit,
    });
    options.manner.say(&facts, &format!(
        "merged {} files into {} in {merges} merges, and folded {deltas} rollup deltas; the newest commit is {commit}",
        all.sources, all.files
    ))
}

/// One merge, or that there is none to do; `None` if another process is at it, or was faster with one of the files.
async fn merge(
    warehouse: &Warehouse,
    policy: MergePolicy,
    is_among: impl Fn(CommitId) -> bool + Send,
) -> Result<Option<Option<(CommitId, Merged)>>> {
    match warehouse.merge_among(policy, Clock::System.now(), is_among).await {
        Ok(merged) => Ok(Some(merged)),
        Err(MergeError::Elsewhere | MergeError::Commit(CommitError::Replaced { .. })) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Takes away rows that are past their retention and old commits, and deletes files that nothing lists any more.
pub(crate) async fn expire(config: &Config, options: &ExpireOptions) -> Result<()> {
    let warehouse = options.manner.open(config).await?;
    let retained = warehouse.retain(Clock::System.now(), &config.retention.policy()).await?;
    let rows: u64 = retained.tables.iter().map(|table| table.rows).sum();
    let keep = options.older_than.unwrap_or(config.maintenance.snapshot_retention.0);
    let grace = options.grace.unwrap_or(config.maintenance.file_grace.0);
    let expired = options
        .manner
        .in_turn(async || {
            let expired = warehouse.expire(Clock::System.now(), keep, grace).await?;
            Ok((!expired.is_elsewhere).then_some(expired))
        })
        .await?;
    warehouse.close().await;
    let facts = json!({
        "rows": rows, "erased_events": retained.erased(), "rollup_rows": retained.rollup_rows, "snapshots": expired.snapshots,
        "scheduled_files": expired.scheduled, "deleted_files": expired.deleted,
    });
    options.manner.say(
        &facts,
        &format!(
            "{rows} rows and {} rows of rollups were past their retention; expired {} commits; {} files wait for their deletion from now on, {} were deleted",
            retained.rollup_rows, expired.snapshots, expired.scheduled, expired.deleted
        ),
    )
}

/// Deletes files that no commit lists. Says whether the lake has all files and no others than it should.
pub(crate) async fn collect(config: &Config, options: &CollectOptions) -> Result<bool> {
    let warehouse = options.manner.open(config).await?;
    let grace = options.grace.unwrap_or(config.maintenance.orphan_grace.0.max(Duration::from_secs(1)));
    let collected = options
        .manner
        .in_turn(async || {
            let collected = warehouse.collect_orphans(grace).await?;
            Ok((!collected.is_elsewhere).then_some(collected))
        })
        .await?;
    warehouse.close().await;
    let facts = json!({
        "collected_files": collected.files, "missing_files": collected.missing, "lake_is_ahead": collected.is_ahead,
    });
    let said = if collected.is_ahead {
        "nothing was collected: the lake holds commits that the database has not".to_owned()
    } else {
        format!("collected {} files; {} files that a commit lists are missing", collected.files, collected.missing)
    };
    options.manner.say(&facts, &said)?;
    Ok(collected.missing == 0 && !collected.is_ahead)
}

impl Manner {
    /// Opens the warehouse; at its files this process waits for its turn.
    async fn open(&self, config: &Config) -> Result<Warehouse> {
        let warehouse = stores::open_existing(config).await?;
        ensure!(
            !warehouse.is_outdated().await?,
            "a later version has migrated the database: this one would write anew only what it knows of"
        );
        warehouse.be_patient(self.wait);
        Ok(warehouse)
    }

    /// Tries until it is this process's turn.
    async fn in_turn<T>(&self, mut attempt: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
        let begun = Instant::now();
        loop {
            if let Some(done) = attempt().await? {
                return Ok(done);
            }
            if begun.elapsed() >= self.wait {
                let wait = humantime::format_duration(self.wait);
                bail!(
                    "another process merges, expires, collects or backs up files (waited for {wait}): try again later"
                );
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    fn say(&self, facts: &Value, text: &str) -> Result<()> {
        if self.json { print(&facts.to_string()) } else { print(text) }
    }
}
