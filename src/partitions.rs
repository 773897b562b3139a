//! `partitions`: how far each partition of the log was taken in; orders to leave one where it is, and a record out.

use anyhow::Result;
use clap::{Args, Subcommand};
use processor::{EVENTS_TOPIC, Mended};
use serde_json::{Value, json};
use warehouse::{SkippedRecord, Warehouse};

use crate::cli::print;
use crate::clock::Clock;
use crate::config::Config;
use crate::stores;

/// Options of `partitions`.
#[derive(Debug, Args)]
pub(crate) struct PartitionsOptions {
    #[command(subcommand)]
    verb: Verb,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show how far each partition was taken in, and what was ordered.
    List,
    /// Take in nothing more of a partition; its records wait in the log.
    Pause {
        /// The partition.
        partition: u16,
        #[command(flatten)]
        why: Why,
    },
    /// Take it in again, from where it was.
    Resume {
        /// The partition.
        partition: u16,
    },
    /// Quarantine all events of a record of a paused partition instead of folding them. For good.
    Skip {
        /// The partition.
        partition: u16,
        /// The record's position.
        position: u64,
        #[command(flatten)]
        why: Why,
    },
    /// After the log lost its end: append once more what it was given since at positions that were taken in before.
    /// Processors must be stopped; ingests may go on.
    Mend,
    /// Go on with the first record that the log has: those before it, which a paused partition lacks, are gone.
    GiveUpLost {
        /// The partition.
        partition: u16,
        #[command(flatten)]
        why: Why,
    },
}

#[derive(Debug, Args)]
struct Why {
    /// Why, for those who come later.
    #[arg(long, value_name = "REASON", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    because: String,
}

/// Takes an order if one is given, and shows what holds.
pub(crate) async fn partitions(config: &Config, options: PartitionsOptions) -> Result<()> {
    let warehouse = stores::open_existing(config).await?;
    let now = Clock::System.now();
    let mut mended = Vec::new();
    match options.verb {
        Verb::List => {}
        Verb::Pause { partition, why } => warehouse.pause(EVENTS_TOPIC, partition, &why.because, now).await?,
        Verb::Resume { partition } => warehouse.resume(EVENTS_TOPIC, partition).await?,
        Verb::Skip { partition, position, why } => {
            let record = SkippedRecord { log_partition: partition, position, ordered_at: now, because: why.because };
            warehouse.skip(EVENTS_TOPIC, &record).await?;
        }
        Verb::Mend => {
            let log = stores::open_followed_log(config, &warehouse).await?;
            mended = processor::mend(&*log, &warehouse, now).await?;
        }
        Verb::GiveUpLost { partition, why } => {
            let ranges = stores::open_followed_log(config, &warehouse).await?.ranges();
            // The warehouse says so if there is no such partition.
            let low = ranges.get(usize::from(partition)).map_or(0, |range| range.low);
            warehouse.give_up_lost(EVENTS_TOPIC, partition, low, &why.because, now).await?;
        }
    }
    let listed = list(&warehouse, &mended, options.json).await?;
    warehouse.close().await;
    print(&listed)
}

async fn list(warehouse: &Warehouse, mended: &[Mended], as_json: bool) -> Result<String> {
    let checkpoints = warehouse.read().await?.checkpoints(EVENTS_TOPIC).await?;
    let (paused, skipped) = (warehouse.paused(EVENTS_TOPIC).await?, warehouse.skipped(EVENTS_TOPIC).await?);
    if as_json {
        let partition = |checkpoint: &warehouse::Checkpoint| {
            let paused = paused.iter().find(|paused| paused.log_partition == checkpoint.log_partition);
            let paused = paused.map(|paused| json!({ "since": paused.since, "because": paused.because }));
            json!({
                "partition": checkpoint.log_partition, "next": checkpoint.position, "log_time": checkpoint.log_time,
                "paused": paused,
            })
        };
        let record = |record: &SkippedRecord| {
            json!({
                "partition": record.log_partition, "position": record.position, "ordered_at": record.ordered_at,
                "because": record.because,
            })
        };
        let mended = mended.iter().map(|Mended { log_partition, filled, again }| {
            json!({ "partition": log_partition, "filled": filled, "again": again })
        });
        let mended: Vec<Value> = mended.collect();
        let partitions: Vec<Value> = checkpoints.iter().map(partition).collect();
        let skipped: Vec<Value> = skipped.iter().map(record).collect();
        return Ok(json!({ "mended": mended, "partitions": partitions, "skipped": skipped }).to_string());
    }
    let mended = mended.iter().map(|Mended { log_partition, filled, again }| {
        format!("mended: partition {log_partition}, {again} records appended once more, {filled} positions filled")
    });
    let mut lines: Vec<String> = mended.collect();
    for checkpoint in &checkpoints {
        let log_time = checkpoint.log_time.map_or_else(|| "none".to_owned(), |log_time| log_time.to_string());
        let mut line =
            format!("partition {}: next record {}, log time {log_time}", checkpoint.log_partition, checkpoint.position);
        if let Some(paused) = paused.iter().find(|paused| paused.log_partition == checkpoint.log_partition) {
            line.push_str(&format!(", paused since {}: {}", paused.since, paused.because));
        }
        lines.push(line);
    }
    for SkippedRecord { log_partition, position, ordered_at, because } in &skipped {
        lines
            .push(format!("left out: record {position} of partition {log_partition}, ordered {ordered_at}: {because}"));
    }
    Ok(lines.join("\n"))
}
