//! Benchmarks of the product. Each checks its own answers and fails if they are wrong: a fast wrong answer is not a
//! figure.
//!
//! `cargo run --release -p rig --bin bench -- <name>`; `all` runs every one and writes `docs/benchmarks.md`. Costs are
//! stated in CPU-seconds (user and system) first: a rate depends on what else runs, a cost hardly does.

mod appender;
mod audience;
mod client;
mod cluster;
mod cost;
mod document;
mod drain;
mod drive;
mod e2e;
mod embedded;
mod fleet;
mod ingest;
mod log;
mod machine;
mod merge;
mod plain_file;
mod prepare;
mod processor;
mod query;
mod random;
mod reads;
mod rollups;
mod script;
mod subject;
mod suite;
mod table;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use schemas::Timestamp;
use tikv_jemallocator::Jemalloc;

use crate::audience::DEVICES;
use crate::processor::Log;
use crate::table::Table;

/// The program's own: parts of it are measured in processes of this one.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Measures the product and checks what it answers.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Arguments {
    /// The program under test; else `streamgauge` beside this program.
    #[arg(long, global = true, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// How often everything is measured; the figures are medians.
    #[arg(long, global = true, default_value_t = 5)]
    runs: usize,
    /// Seconds of one measurement, after a warm-up of a fifth of them; each benchmark has its own default.
    #[arg(long, global = true)]
    seconds: Option<f64>,
    /// Print JSON with the figures of every run.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    name: Name,
}

#[derive(Debug, Subcommand)]
enum Name {
    /// The log on disk against a plain file: rate, cost, latency, flushes, recovery, size.
    Log,
    /// Uploads over HTTP: batches of 1, 10 and 100 events, plain and compressed, closed and open loop.
    Ingest,
    /// The processor over a prepared log.
    Processor {
        /// Events in the log.
        #[arg(long, default_value_t = 500_000)]
        events: usize,
        /// Devices that they come from.
        #[arg(long, default_value_t = DEVICES)]
        devices: usize,
        /// Measure only a log in which this share of the events are copies; else three logs and settings.
        #[arg(long)]
        duplicates: Option<f64>,
    },
    /// Everything at once: the highest rate at which what is acknowledged is also committed.
    E2e,
    /// Starts, idle memory, and how soon an event is seen.
    Embedded,
    /// The cluster profile, with client, Kafka, Postgres and all roles on this machine.
    Cluster {
        /// Measure only with so many processors, 1 or 2; else with both.
        #[arg(long, value_parser = clap::value_parser!(u8).range(1..=2))]
        processors: Option<u8>,
    },
    /// Rollups: deltas, merging, size, and answers at a fixed rate.
    Rollups {
        /// Streams that are watched.
        #[arg(long, default_value_t = 200)]
        streams: usize,
        /// Devices that watch each of them.
        #[arg(long, default_value_t = 3)]
        viewers: usize,
    },
    /// Ten statements beside DuckDB over the same files, and the app's screens at a fixed rate.
    Query {
        /// About how many events are in the lake.
        #[arg(long, default_value_t = 2_000_000)]
        events: usize,
    },
    /// All of them, the cluster where its servers are named; writes the document.
    All {
        /// The document.
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Appends to a log, in a process of its own.
    #[command(hide = true)]
    Append(appender::Arguments),
    /// One run of the processor over a log that is there, in a process of its own.
    #[command(hide = true)]
    Drain(drain::Arguments),
    /// Merges the rollups of a data directory, in a process of its own.
    #[command(hide = true)]
    Merge(merge::Arguments),
}

/// What all benchmarks are told.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// The program under test.
    pub(crate) binary: PathBuf,
    /// How often everything is measured.
    pub(crate) runs: usize,
    /// Seconds of one measurement, if the caller says so.
    pub(crate) seconds: Option<Duration>,
}

impl Options {
    /// How long one measurement takes.
    pub(crate) fn measured(&self, default_seconds: u64) -> Duration {
        self.seconds.unwrap_or(Duration::from_secs(default_seconds))
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    ensure!(arguments.runs > 0, "at least one run");
    let binary = match arguments.binary {
        Some(binary) => binary,
        None => std::env::current_exe().context("find this program")?.with_file_name("streamgauge"),
    };
    let seconds = arguments.seconds.map(Duration::try_from_secs_f64).transpose().context("--seconds")?;
    let options = Options { binary, runs: arguments.runs, seconds };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let tables = runtime.block_on(measure(&options, &arguments.name))?;
    runtime.shutdown_timeout(Duration::from_secs(1));
    if arguments.json {
        print(&serde_json::to_string_pretty(&tables.iter().map(Table::json).collect::<Vec<_>>())?);
    } else if !matches!(arguments.name, Name::Drain(_) | Name::Merge(_)) {
        for table in &tables {
            print(&table.markdown());
        }
    }
    Ok(())
}

async fn measure(options: &Options, name: &Name) -> Result<Vec<Table>> {
    match name {
        Name::Log => log::run(options).await,
        Name::Ingest => Ok(vec![ingest::run(options).await?]),
        Name::Processor { events, devices, duplicates } => {
            let logs = duplicates.map_or_else(Log::all, |share| vec![Log::with_copies(share)]);
            Ok(vec![processor::run(options, (*events, *devices), &logs).await?])
        }
        Name::E2e => Ok(vec![e2e::run(options).await?]),
        Name::Embedded => Ok(vec![embedded::run(options).await?]),
        Name::Cluster { processors } => Ok(vec![cluster::run(options, processors.map(usize::from)).await?]),
        Name::Rollups { streams, viewers } => rollups::run(options, *streams, *viewers).await,
        Name::Query { events } => query::run(options, *events).await,
        Name::All { output } => {
            let mut tables = log::run(options).await?;
            tables.push(processor::run(options, (500_000, DEVICES), &Log::all()).await?);
            tables.push(ingest::run(options).await?);
            tables.push(e2e::run(options).await?);
            tables.push(embedded::run(options).await?);
            tables.extend(rollups::run(options, 200, 3).await?);
            tables.extend(query::run(options, 2_000_000).await?);
            if rig::cluster::has_servers() {
                tables.push(cluster::run(options, None).await?);
            }
            document::write(output.as_deref(), &tables, options)?;
            Ok(tables)
        }
        Name::Append(arguments) => {
            let (appended, _target) = appender::run(arguments).await?;
            print(&serde_json::to_string(&appended)?);
            // With everything open, until it is killed.
            std::future::pending().await
        }
        Name::Merge(arguments) => {
            print(&serde_json::to_string(&merge::run(arguments).await?)?);
            Ok(Vec::new())
        }
        Name::Drain(arguments) => {
            print(&serde_json::to_string(&drain::run(arguments).await?)?);
            Ok(Vec::new())
        }
    }
}

/// The system's clock.
#[expect(clippy::disallowed_methods, reason = "a benchmark has no clock of the server's")]
pub(crate) fn now() -> Timestamp {
    Timestamp::from(chrono::Utc::now())
}

#[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
fn print(text: &str) {
    println!("{text}");
}

/// Says on standard error what is going on: a whole run takes half an hour.
#[expect(clippy::print_stderr, reason = "beside the figures")]
pub(crate) fn progress(text: &str) {
    eprintln!("bench: {text}");
}
