//! `rebuild`: what was concluded from the records is concluded again, while the server is stopped.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;
use warehouse::{Successor, Warehouse};

use crate::cli::print;
use crate::clock::Clock;
use crate::config::{Config, Profile};
use crate::data_dir::DataDir;
use crate::stores::warehouse_config;

/// Takes the data directory, so that no server writes meanwhile. What is refused here is wrong usage.
pub(crate) fn take(config: &Config) -> Result<DataDir> {
    if config.profile()? == Profile::Cluster {
        bail!("rebuild works on the embedded profile only, in this version");
    }
    let database = config.database_file();
    if !database.exists() {
        bail!("there is no warehouse at `{}`", database.display());
    }
    DataDir::take(&config.data_dir)
}

/// Folds all records of the lake into a new warehouse, and puts it in the place of the old one.
pub(crate) async fn rebuild(config: &Config, data_dir: DataDir, as_json: bool) -> Result<()> {
    let begun = Instant::now();
    let place = warehouse_config(config)?;
    let successor = Successor::begin(place.clone()).await?;
    let (settings, mut progress) = (config.processor_settings(), Progress { shown: None });
    let (live, next) = (successor.live(), successor.next());
    let rebuilt =
        processor::rebuild(live, next, &settings, || Clock::System.now(), |done, of| progress.show(done, of)).await;
    let rebuilt = rebuilt.context("the warehouse is as it was")?;
    progress.end();
    successor.take_over().await.context("the warehouse is as it was")?;
    let warehouse = Warehouse::open(&place).await?;
    let commit = warehouse.newest_commit().borrow().0;
    // The files of the old one: nothing lists them any more.
    let collected = warehouse.collect_orphans(Duration::ZERO).await?;
    warehouse.close().await;
    drop(data_dir);
    let seconds = begun.elapsed().as_secs_f64();
    if as_json {
        let facts = json!({
            "records": rebuilt.records, "events": rebuilt.events, "commits": rebuilt.commits, "commit": commit,
            "collected_files": collected.files, "seconds": (seconds * 1000.0).round() / 1000.0,
        });
        return print(&facts.to_string());
    }
    let (records, events) = (rebuilt.records, rebuilt.events);
    print(&format!(
        "rebuilt from {records} records with {events} events in {seconds:.1} s; the newest commit is {commit}"
    ))
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
