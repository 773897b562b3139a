//! `bench processor`: from the log to committed rows, without anything beside it.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use rig::cluster::Cluster;
use serde_json::Value;
use tokio::process::Command;

use crate::machine::Neighbours;
use crate::prepare::{Prepared, prepare};
use crate::table::{Table, float};
use crate::{Options, progress};

/// The variant whose cost is the figure to reach; without servers it is that with a file.
pub(crate) const ON_POSTGRES: &str = "no copies, on Postgres";
/// The same with a file.
pub(crate) const NO_COPIES: &str = "no copies";
/// The figure to reach.
pub(crate) const EVENTS_PER_CPU_S: &str = "events per CPU-s";

const FIGURES: [&str; 18] = [
    EVENTS_PER_CPU_S,
    "events/s",
    "CPU per event, µs",
    "fold, µs of time per event",
    "encode and write files, µs",
    "facts, µs",
    "database, µs",
    "CPU of Postgres per event, µs",
    "rollup deltas per event",
    "commits",
    "files",
    "`events`, bytes per row",
    "`records`, bytes per event",
    "id runs, bytes per stored event",
    "sessions open at the end",
    "keys in memory",
    "filters in memory, KiB",
    "memory at the peak, MiB",
];

/// A log and how the processor is set for it.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    name: String,
    copies: f64,
    hot_keys: usize,
    on_postgres: bool,
}

/// What the program has as its default.
const HOT_KEYS: usize = 250_000;

impl Log {
    /// Those whose figures are kept; that on Postgres where there are servers.
    pub(crate) fn all() -> Vec<Self> {
        let log = |name: &str, copies| Self { name: name.into(), copies, hot_keys: HOT_KEYS, on_postgres: false };
        let mut logs = vec![
            log(NO_COPIES, 0.0),
            log("30 % copies", 0.3),
            Self { hot_keys: 10_000, ..log("30 % copies, most of old events", 0.3) },
        ];
        if rig::cluster::has_servers() {
            logs.insert(1, Self { on_postgres: true, ..log(ON_POSTGRES, 0.0) });
        }
        logs
    }

    /// One with this share of copies.
    pub(crate) fn with_copies(copies: f64) -> Self {
        Self { name: format!("{:.0} % copies", copies * 100.0), copies, hot_keys: HOT_KEYS, on_postgres: false }
    }
}

/// Measures all logs.
pub(crate) async fn run(options: &Options, (events, devices): (usize, usize), logs: &[Log]) -> Result<Table> {
    let neighbours = Neighbours::watch();
    let folder = tempfile::tempdir()?;
    let mut prepared: Vec<(f64, Prepared)> = Vec::new();
    for log in logs {
        if prepared.iter().all(|(copies, _)| copies.total_cmp(&log.copies).is_ne()) {
            progress(&format!("processor: preparing a log of {events} events, {}", log.name));
            prepared.push((log.copies, prepare(&log_folder(folder.path(), log), events, devices, log.copies).await?));
        }
    }
    let mut table = Table::new("processor", "The processor", &FIGURES);
    for run in 1..=options.runs {
        for log in logs {
            progress(&format!("processor, run {run} of {}: {}", options.runs, log.name));
            let about = prepared.iter().find(|(copies, _)| copies.total_cmp(&log.copies).is_eq());
            let (_, about) = about.context("a prepared log")?;
            let drained = drain(options, log, &log_folder(folder.path(), log)).await?;
            check(about, &drained)?;
            table.add(&log.name, figures(about, &drained));
        }
    }
    let (_, about) = prepared.first().context("no log")?;
    table.notes.push(format!(
        "A log of {events} events of an audience of {devices} devices in records of 100, {:.0} bytes of JSON each ({:.0} in the \
         log), is taken into a fresh warehouse with the default settings: read, decode, validate, deduplicate, correct \
         clocks, fold views and sessions, add up, encode (zstd 1), write and flush files, commit. CPU is of a process that does nothing else; \
         merging of files is in the end-to-end figures.",
        float(about.json_bytes) / float(about.events),
        float(about.record_bytes) / float(about.events),
    ));
    table.notes.push(
        "Copies are uploads sent again, drawn from all earlier ones; in the last column the keys of most are no longer \
         in memory and are looked up in the runs on disk."
            .into(),
    );
    table.notes.push("Checked: events stored, duplicates and rows are exactly those that were prepared.".into());
    table.notes.push(format!("Others kept {:.2} cores busy meanwhile.", neighbours.cores()));
    Ok(table)
}

fn log_folder(folder: &Path, log: &Log) -> std::path::PathBuf {
    folder.join(format!("log-{:.0}", log.copies * 1000.0))
}

/// Runs the processor in a process of its own on a fresh warehouse.
async fn drain(options: &Options, log: &Log, folder: &Path) -> Result<Value> {
    let warehouse = tempfile::tempdir()?;
    let cluster = if log.on_postgres { Cluster::new(&options.binary).await? } else { None };
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["drain", "--hot-keys", &log.hot_keys.to_string(), "--log"]).arg(folder);
    command.arg("--warehouse").arg(warehouse.path());
    if let Some(cluster) = &cluster {
        command.args(["--database", &cluster.database()]);
    }
    let output = command.stderr(std::process::Stdio::inherit()).output().await?;
    ensure!(output.status.success(), "the processor's run ended with {}", output.status);
    if let Some(cluster) = cluster {
        cluster.end().await?;
    }
    serde_json::from_slice(&output.stdout).context("read what the run printed")
}

fn number(drained: &Value, name: &str) -> f64 {
    drained[name].as_f64().unwrap_or(f64::NAN)
}

fn check(about: &Prepared, drained: &Value) -> Result<()> {
    let unique = float(about.events - about.copies);
    for (name, expected) in [
        ("stored", unique),
        ("event_rows", unique),
        ("duplicate", float(about.copies)),
        ("views_begun", float(about.views)),
        ("quarantined", 0.0),
        ("unaccounted", 0.0),
    ] {
        let found = number(drained, name);
        ensure!((found - expected).abs() < 0.5, "{name}: {found} instead of {expected}");
    }
    Ok(())
}

fn figures(about: &Prepared, drained: &Value) -> [f64; FIGURES.len()] {
    let events = float(about.events);
    let stored = float(about.events - about.copies);
    let value = |name| number(drained, name);
    [
        events / value("cpu_s"),
        events / value("wall_s"),
        value("cpu_s") * 1e6 / events,
        value("fold_s") * 1e6 / events,
        value("encode_s") * 1e6 / events,
        value("facts_s") * 1e6 / events,
        value("database_s") * 1e6 / events,
        value("postgres_cpu_s") * 1e6 / events,
        value("deltas") / events,
        value("commits"),
        value("files"),
        value("events_bytes") / stored,
        value("records_bytes") / events,
        value("ids_bytes") / stored,
        value("open_sessions"),
        value("hot_keys"),
        value("filter_bytes") / 1024.0,
        value("memory_mib"),
    ]
}
