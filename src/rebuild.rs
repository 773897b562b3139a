//! `rebuild`: what was concluded from the records is concluded again. A server is stopped meanwhile, and has the result in
//! its place; a cluster goes on, and has it in another place.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use processor::Rebuilt;
use serde_json::json;
use warehouse::{Another, Successor, Warehouse, WarehouseConfig};

use crate::cli::print;
use crate::clock::Clock;
use crate::config::{Address, Config, Profile};
use crate::data_dir::DataDir;
use crate::stores::warehouse_config;

/// Options of `rebuild`.
#[derive(Debug, Args)]
pub(crate) struct RebuildOptions {
    /// On a cluster: an empty database for the result, `postgres://..`.
    #[arg(long, value_name = "URL")]
    into_warehouse: Option<String>,
    /// On a cluster: an empty lake for the result, `s3://..` or `file:`.
    #[arg(long, value_name = "URL")]
    into_lake: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Where the result goes.
pub(crate) enum Target {
    /// In the place of what is there. The data directory is held, so that no server writes meanwhile.
    Here(DataDir),
    /// In another place.
    There(Box<WarehouseConfig>),
}

/// Finds the place of the result. What is refused here is wrong usage.
pub(crate) fn target(config: &Config, options: &RebuildOptions) -> Result<Target> {
    match (config.profile()?, &options.into_warehouse, &options.into_lake) {
        (Profile::Cluster, Some(database), Some(lake)) => {
            let (warehouse_url, lake_url) = (Address(database.clone()), Address(lake.clone()));
            let there = Config { warehouse_url, lake_url, ..config.clone() };
            ensure!(there.profile()? == Profile::Cluster, "--into-warehouse names no Postgres database");
            Ok(Target::There(Box::new(warehouse_config(&there)?)))
        }
        (Profile::Cluster, ..) => bail!(
            "a cluster is rebuilt in another place while it goes on: --into-warehouse and --into-lake name an empty database \
             and an empty lake"
        ),
        (Profile::Embedded, None, None) => Ok(Target::Here(take(config)?)),
        (Profile::Embedded, ..) => bail!("--into-warehouse and --into-lake belong to the cluster profile"),
    }
}

fn take(config: &Config) -> Result<DataDir> {
    let database = config.database_file();
    if !database.exists() {
        bail!("there is no warehouse at `{}`", database.display());
    }
    DataDir::take(&config.data_dir)
}

/// Folds all records of the lake into a new warehouse.
pub(crate) async fn rebuild(config: &Config, target: Target, options: &RebuildOptions) -> Result<()> {
    let begun = Instant::now();
    let (rebuilt, commit, collected) = match target {
        Target::Here(data_dir) => here(config, data_dir).await?,
        Target::There(place) => there(config, &place).await?,
    };
    let seconds = begun.elapsed().as_secs_f64();
    if options.json {
        let facts = json!({
            "records": rebuilt.records, "events": rebuilt.events, "commits": rebuilt.commits, "commit": commit,
            "collected_files": collected, "seconds": (seconds * 1000.0).round() / 1000.0,
        });
        return print(&facts.to_string());
    }
    let (records, events) = (rebuilt.records, rebuilt.events);
    print(&format!(
        "rebuilt from {records} records with {events} events in {seconds:.1} s; the newest commit is {commit}"
    ))
}

/// In another place, beside running processes. Also returns the newest commit there.
async fn there(config: &Config, place: &WarehouseConfig) -> Result<(Rebuilt, i64, u64)> {
    let another = Another::begin(&warehouse_config(config)?, place).await?;
    let rebuilt = fold(config, another.live(), another.next()).await?;
    let commit = another.next().read().await?.commit().0;
    another.end().await?;
    Ok((rebuilt, commit, 0))
}

async fn fold(config: &Config, live: &Warehouse, next: &Warehouse) -> Result<Rebuilt> {
    ensure!(!live.is_outdated().await?, "a later version has migrated the database: rebuild with that one");
    let (settings, mut progress) = (config.processor_settings(), Progress { shown: None });
    let rebuilt =
        processor::rebuild(live, next, &settings, || Clock::System.now(), |done, of| progress.show(done, of)).await;
    progress.end();
    rebuilt.context("the warehouse is as it was")
}

/// In the place of the old one.
async fn here(config: &Config, data_dir: DataDir) -> Result<(Rebuilt, i64, u64)> {
    let place = warehouse_config(config)?;
    let successor = Successor::begin(place.clone()).await?;
    let rebuilt = fold(config, successor.live(), successor.next()).await?;
    successor.take_over().await.context("the warehouse is as it was")?;
    let warehouse = Warehouse::open(&place).await?;
    let commit = warehouse.newest_commit().borrow().0;
    // The files of the old one: nothing lists them any more.
    let collected = warehouse.collect_orphans(Duration::ZERO).await?;
    warehouse.close().await;
    drop(data_dir);
    Ok((rebuilt, commit, collected.files))
}

/// How far it is, on a terminal.
struct Progress {
    shown: Option<u64>,
}

#[expect(clippy::print_stderr, reason = "progress goes to the person who gave the command")]
impl Progress {
    fn show(&mut self, done: u64, of: u64) {
        let percent = done * 100 / of.max(1);
        if self.shown != Some(percent) && std::io::stderr().is_terminal() {
            eprint!("\rrebuilding: {percent} %");
            let _ = std::io::stderr().flush();
            self.shown = Some(percent);
        }
    }

    fn end(&self) {
        if self.shown.is_some() {
            eprintln!();
        }
    }
}
