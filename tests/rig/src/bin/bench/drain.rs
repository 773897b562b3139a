//! One run of the processor over a prepared log, in a process of its own: its CPU and its memory are then the
//! processor's alone.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use event_log::{DiskLog, DiskLogConfig, EventLog};
use processor::{Processor, ProcessorConfig, ProcessorMetrics, Step};
use prometheus::{Registry, TextEncoder};
use schemas::Timestamp;
use schemas::rollups::{self, Grain};
use serde_json::{Value, json};
use warehouse::{PostgresConfig, RollupQuery, Warehouse, WarehouseConfig};

use crate::prepare::PROJECT;
use crate::subject::Metrics;
use crate::{machine, now};

/// What is drained where.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Folder of the log.
    #[arg(long)]
    log: PathBuf,
    /// Folder of the warehouse, which is created.
    #[arg(long)]
    warehouse: PathBuf,
    /// Keys that each partition keeps in memory.
    #[arg(long)]
    hot_keys: usize,
    /// An empty Postgres database, in the place of a file in the folder of the warehouse. Then CPU of all processes named
    /// `postgres` is told too.
    #[arg(long)]
    database: Option<PostgresConfig>,
}

/// Commits everything that is in the log, and says what that took.
pub(crate) async fn run(arguments: &Arguments) -> Result<Value> {
    let log: Arc<dyn EventLog> = Arc::new(DiskLog::open(DiskLogConfig::new(&arguments.log))?);
    fs::create_dir_all(&arguments.warehouse)?;
    let lake = arguments.warehouse.join("lake");
    let config = match &arguments.database {
        Some(database) => WarehouseConfig::postgres(database.clone(), lake),
        None => WarehouseConfig::sqlite(arguments.warehouse.join("warehouse.db"), lake),
    };
    let warehouse = Warehouse::open(&config).await?;
    let registry = Registry::new();
    let metrics = ProcessorMetrics::register(&registry)?;
    let config = ProcessorConfig { hot_keys: arguments.hot_keys, ..ProcessorConfig::default() };
    let mut processor = Processor::new(log, warehouse.clone(), config, metrics);
    let (idle_mib, _) = rig::process::resident_mib(std::process::id());
    let spent = Spent::so_far();
    while processor.step(now(), Duration::ZERO).await? != Step::Idle {}
    processor.flush(now()).await?;
    let spent = spent.since();
    let (_, peak_mib) = rig::process::resident_mib(std::process::id());

    let metrics = Metrics(TextEncoder::new().encode_to_string(&registry.gather())?);
    let stage = |name: &str| {
        metrics.value(&format!("streamgauge_processor_stage_duration_seconds_sum{{stage=\"{name}\"}}")).unwrap_or(0.0)
    };
    let outcome = |name: &str| metrics.value(&format!("streamgauge_processor_events_total{{outcome=\"{name}\"}}"));
    let books = warehouse.read().await?.books().await?;
    let views_begun = views_begun(&warehouse).await?;
    let (events_bytes, events_files) = size_of(&warehouse, "main/events/")?;
    let (records_bytes, records_files) = size_of(&warehouse, "main/records/")?;
    let (ids_bytes, _) = size_of(&warehouse, "ids/")?;
    let of_merging = Spent::so_far();
    let deltas = warehouse.merge_rollups(now(), Duration::ZERO).await?.deltas;
    let of_merging = of_merging.since();
    Ok(json!({
        "wall_s": spent.wall_s,
        "cpu_s": spent.cpu_s,
        "postgres_cpu_s": spent.postgres_cpu_s,
        "fold_s": stage("fold"),
        "encode_s": stage("encode"),
        "facts_s": stage("facts"),
        "database_s": stage("database"),
        "commits": metrics.value("streamgauge_commits_total{result=\"landed\"}")?,
        "stored": outcome("stored")?,
        "duplicate": outcome("duplicate")?,
        "quarantined": outcome("quarantined")?,
        "event_rows": books.event_rows,
        "unaccounted": books.unaccounted(),
        "events_bytes": events_bytes,
        "records_bytes": records_bytes,
        "ids_bytes": ids_bytes,
        "files": events_files + records_files,
        "deltas": deltas,
        "merge_wall_s": of_merging.wall_s,
        "merge_cpu_s": of_merging.cpu_s,
        "merge_postgres_cpu_s": of_merging.postgres_cpu_s,
        "views_begun": views_begun,
        "open_sessions": metrics.value("streamgauge_open_sessions")?,
        "hot_keys": metrics.value("streamgauge_dedup_hot_keys")?,
        "filter_bytes": metrics.value("streamgauge_dedup_memory_bytes")?,
        "memory_mib": peak_mib - idle_mib,
    }))
}

/// Time that something took: on the clock, of this process, of the database server.
struct Spent {
    begun: Instant,
    wall_s: f64,
    cpu_s: f64,
    postgres_cpu_s: f64,
}

impl Spent {
    fn so_far() -> Self {
        let postgres_cpu_s = rig::process::cpu_seconds_of_all("postgres");
        Self { begun: Instant::now(), wall_s: 0.0, cpu_s: machine::cpu_seconds(), postgres_cpu_s }
    }

    fn since(&self) -> Self {
        let now = Self::so_far();
        Self {
            wall_s: now.begun.duration_since(self.begun).as_secs_f64(),
            cpu_s: now.cpu_s - self.cpu_s,
            postgres_cpu_s: now.postgres_cpu_s - self.postgres_cpu_s,
            ..now
        }
    }
}

/// Views that the rollup counts, of all days.
async fn views_begun(warehouse: &Warehouse) -> Result<i64> {
    let always = (Timestamp::default(), now().plus_millis(i64::from(u32::MAX) * 1_000));
    let query = RollupQuery::new(&rollups::STREAM, Grain::Day, PROJECT, always);
    let attempts = rollups::STREAM.measures.iter().position(|measure| measure.name == "attempts");
    let attempts = attempts.context("a measure `attempts`")?;
    let rows = warehouse.read().await?.rollup(&query).await?;
    Ok(rows.iter().map(|row| row.measures[attempts]).sum())
}

/// Bytes and number of the lake's files below a folder.
fn size_of(warehouse: &Warehouse, folder: &str) -> Result<(u64, u64)> {
    let lake = warehouse.lake();
    let (mut bytes, mut files) = (0, 0);
    for file in lake.list()?.iter().filter(|file| file.path.starts_with(folder)) {
        bytes += file.bytes;
        files += 1;
    }
    Ok((bytes, files))
}
