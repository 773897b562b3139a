//! `backup` and `restore`: database, lake and log as one set.
//!
//! The set holds database and lake at one commit that covers everything acknowledged before the backup began. So nothing
//! of the log is in it but the positions: a restored log begins where the commit ends.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use event_log::rebased;
use processor::{EVENTS_TOPIC, Processor, ProcessorMetrics, Step};
use prometheus::Registry;
use reqwest::Client;
use serde_json::json;
use warehouse::{BackupSet, DatabaseKind, TakenIn, Warehouse};

use crate::cli::print;
use crate::clock::Clock;
use crate::config::{Config, Profile};
use crate::data_dir::{self, DataDir, read_run};
use crate::serve::OpenLog;
use crate::stores::{self, warehouse_config};

/// How often it is looked whether what is waited for is so.
const RETRY: Duration = Duration::from_millis(50);

/// Options of `backup`.
#[derive(Debug, Args)]
pub(crate) struct BackupOptions {
    /// The folder: a new one, or one with an older backup, whose place this one takes.
    folder: PathBuf,
    /// How long to wait until everything acknowledged so far is committed, and then for another process that is at work on the
    /// files.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = humantime::parse_duration)]
    wait: Duration,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Options of `restore`.
#[derive(Debug, Args)]
pub(crate) struct RestoreOptions {
    /// The backup's folder.
    folder: PathBuf,
    /// Only compare every file of the backup with its manifest.
    #[arg(long)]
    check: bool,
    /// On a cluster: also where the topic is lost. What was stored can be read then; nothing is added before `adopt` names
    /// the log that is lost.
    #[arg(long)]
    without_log: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Writes a backup.
pub(crate) async fn backup(config: &Config, options: &BackupOptions) -> Result<()> {
    let begun = Instant::now();
    let warehouse = stores::open_existing(config).await?;
    cover(config, &warehouse, options.wait).await.context("nothing was backed up")?;
    warehouse.be_patient(options.wait);
    let others = data_dir::credentials_file(&config.data_dir)?.into_iter().collect();
    let backed_up = warehouse.back_up(&options.folder, others, Clock::System.now()).await;
    let backed_up = backed_up.context("nothing was backed up")?;
    warehouse.close().await;
    let (commit, files, bytes) = (backed_up.set.commit, backed_up.set.files.len(), backed_up.set.bytes());
    let (copied, seconds) = (backed_up.copied_bytes, begun.elapsed().as_secs_f64());
    if options.json {
        let seconds = (seconds * 1000.0).round() / 1000.0;
        let facts = json!({
            "commit": commit, "files": files, "bytes": bytes, "copied_bytes": copied, "seconds": seconds,
            "taken_in": backed_up.set.taken_in,
        });
        return print(&facts.to_string());
    }
    print(&format!(
        "backed up commit {commit}: {files} files, {bytes} bytes, of which {copied} were copied now, in {seconds:.1} s"
    ))
}

/// Returns once everything that the log has now is committed.
async fn cover(config: &Config, warehouse: &Warehouse, wait: Duration) -> Result<()> {
    let log = match config.profile()? {
        Profile::Cluster => OpenLog::of(&*stores::open_followed_log(config, warehouse).await?),
        Profile::Embedded => match DataDir::take(&config.data_dir) {
            Ok(data_dir) => return commit_rest(config, warehouse, data_dir).await,
            Err(taken) => ask_for_log(config).await.map_err(|error| taken.context(format!("{error:#}")))?,
        },
    };
    warehouse.bind_log(EVENTS_TOPIC, &log.identity).await?;
    let begun = Instant::now();
    loop {
        let positions = warehouse.read().await?.positions(EVENTS_TOPIC).await?;
        let at = |partition: usize| positions.get(partition).copied().unwrap_or(0);
        let Some((partition, high)) = log.high.iter().enumerate().find(|(partition, high)| at(*partition) < **high)
        else {
            return Ok(());
        };
        if begun.elapsed() >= wait {
            bail!(
                "partition {partition} of the log is committed up to {} of {high} after {}: is a processor at work?",
                at(partition),
                humantime::format_duration(wait)
            );
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Asks the server that holds the data directory.
async fn ask_for_log(config: &Config) -> Result<OpenLog> {
    let run = read_run(&config.data_dir).context("its server is not ready")?;
    let admin = run.admin.context("its server has no admin port")?;
    let client = Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?;
    let answer = client.get(format!("http://{admin}/log")).send().await?.error_for_status()?;
    Ok(answer.json().await?)
}

/// Commits what a server left in its log, as its next start would.
async fn commit_rest(config: &Config, warehouse: &Warehouse, data_dir: DataDir) -> Result<()> {
    let folder = config.log_folder();
    ensure!(folder.exists(), "there is no log at `{}`", folder.display());
    let log = stores::open_followed_log(config, warehouse).await?;
    let high = OpenLog::of(&*log).high;
    // Nobody scrapes them.
    let metrics = ProcessorMetrics::register(&Registry::new())?;
    let mut processor = Processor::new(log, warehouse.clone(), config.processor_settings(), metrics);
    let mut before = None;
    loop {
        let positions = warehouse.read().await?.positions(EVENTS_TOPIC).await?;
        if positions == high {
            break;
        }
        ensure!(
            before.as_ref() != Some(&positions),
            "the log is committed up to {positions:?} of {high:?} and no further: is a partition paused?"
        );
        before = Some(positions);
        while processor.step(Clock::System.now(), Duration::ZERO).await? != Step::Idle {}
        processor.flush(Clock::System.now()).await?;
    }
    // A server may start from now on: the files have their own lock.
    drop(processor);
    drop(data_dir);
    Ok(())
}

/// A place for a backup, and what is to be put there.
pub(crate) struct Place {
    set: BackupSet,
    /// Held until the end, on the embedded profile.
    data_dir: Option<DataDir>,
    taken_in: Option<TakenIn>,
}

/// Looks whether the backup can be restored. What is refused here is wrong usage.
pub(crate) async fn find_place(config: &Config, options: &RestoreOptions) -> Result<Place> {
    let set = BackupSet::read(&options.folder)?;
    let taken_in = set.taken_in.iter().find(|of| of.topic == EVENTS_TOPIC).cloned();
    let mut data_dir = None;
    if !options.check {
        if config.profile()? == Profile::Embedded {
            ensure!(!options.without_log, "--without-log belongs to the cluster profile: here the log is made anew");
            ensure!(set.database == DatabaseKind::Sqlite, "the backup is of a cluster, and the settings name none");
            data_dir = Some(DataDir::take(&config.data_dir)?);
            for path in [config.log_folder(), data_dir::credentials_path(&config.data_dir)] {
                ensure!(
                    !path.try_exists()?,
                    "`{}` is there already: a backup is restored where nothing is",
                    path.display()
                );
            }
            if let Some(taken_in) = &taken_in {
                let (found, wanted) = (taken_in.positions.len(), config.log.partitions);
                ensure!(
                    found == usize::from(wanted),
                    "the backup has {found} partitions, and log.partitions is {wanted}"
                );
            }
        } else if let Some(taken_in) = taken_in.as_ref().filter(|_| !options.without_log) {
            same_topic(config, taken_in).await?;
        }
        warehouse::find_place(&set, &warehouse_config(config)?).await?;
    }
    Ok(Place { set, data_dir, taken_in })
}

/// Asserts that the topic is the one that the set's positions are of, and still has what follows them.
async fn same_topic(config: &Config, taken_in: &TakenIn) -> Result<()> {
    let log = stores::open_log(config.clone()).await?;
    if let Some(identity) = &taken_in.identity {
        ensure!(
            log.identity() == identity,
            "the topic is {} and the backup's positions are of topic {identity}: a topic cannot begin at the positions of \
             another one. `--without-log` restores what was stored, to be read; `streamgauge adopt` then lets it go on with \
             another topic",
            log.identity()
        );
    }
    ensure!(
        taken_in.positions.len() == usize::from(log.partitions()),
        "the backup has {} partitions, and the topic {}",
        taken_in.positions.len(),
        log.partitions()
    );
    let log = rebased(log, taken_in.bases.clone());
    for ((partition, range), position) in log.ranges().iter().enumerate().zip(&taken_in.positions) {
        ensure!(
            (range.low..=range.high).contains(position),
            "the backup ends at {position} of partition {partition}, and the topic has {}..{}: records between are lost. \
             `--without-log` restores what was stored, to be read; `streamgauge adopt` then lets it go on with another topic",
            range.low,
            range.high
        );
    }
    Ok(())
}

/// Verifies a backup and puts it in its place.
pub(crate) async fn restore(config: &Config, options: &RestoreOptions, place: Place) -> Result<()> {
    let Place { set, data_dir, taken_in } = place;
    let (verified, folder) = (set.clone(), options.folder.clone());
    tokio::task::spawn_blocking(move || verified.verify(&folder)).await??;
    if !options.check {
        put(config, options, &set, data_dir.as_ref(), taken_in.as_ref()).await?;
    }
    let (commit, files, bytes) = (set.commit, set.files.len(), set.bytes());
    if options.json {
        let facts = json!({ "commit": commit, "created_at": set.created_at, "files": files, "bytes": bytes });
        return print(&facts.to_string());
    }
    let done = if options.check { "the backup is whole" } else { "restored" };
    print(&format!("{done}: commit {commit} of {}, {files} files, {bytes} bytes", set.created_at))
}

async fn put(
    config: &Config,
    options: &RestoreOptions,
    set: &BackupSet,
    data_dir: Option<&DataDir>,
    taken_in: Option<&TakenIn>,
) -> Result<()> {
    let place = warehouse_config(config)?;
    if let Some(data_dir) = data_dir {
        data_dir.begin_restore()?;
    }
    warehouse::restore(&options.folder, set, &place).await?;
    // Also writes where the lake is now, for readers that are not ours.
    let warehouse = Warehouse::open(&place).await?;
    if let Some(data_dir) = data_dir {
        if let Some(TakenIn { positions, log_time, .. }) = taken_in {
            let identity = stores::create_log(config, positions.clone(), *log_time).await?;
            warehouse.follow_log(EVENTS_TOPIC, &identity).await?;
        }
        if let Some(credentials) = data_dir::read_credentials(&options.folder)? {
            data_dir.write_credentials(&credentials)?;
        }
        data_dir.restored()?;
    }
    warehouse.close().await;
    Ok(())
}
