//! `adopt`: the log is lost, and what was taken in of it is there. A new log goes on where that one was taken in to.

use anyhow::{Result, bail, ensure};
use clap::Args;
use processor::EVENTS_TOPIC;
use serde_json::json;
use warehouse::{NewLog, Warehouse};

use crate::cli::print;
use crate::config::{Config, Profile};
use crate::data_dir::DataDir;
use crate::stores;

/// Options of `adopt`.
#[derive(Debug, Args)]
pub(crate) struct AdoptOptions {
    /// The log that is lost, by the name that a refused start says. What it holds and was not taken in is given up.
    #[arg(long, value_name = "LOG")]
    instead_of: String,
    /// Also if the first records of the new log are gone already.
    #[arg(long)]
    accept_loss: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Lets the log that the settings name take the place of a lost one.
pub(crate) async fn adopt(config: &Config, options: &AdoptOptions) -> Result<()> {
    let warehouse = stores::open_existing(config).await?;
    let identity = match config.profile()? {
        Profile::Cluster => adopt_topic(config, options, &warehouse).await?,
        Profile::Embedded => make_anew(config, options, &warehouse).await?,
    };
    let positions = warehouse.read().await?.positions(EVENTS_TOPIC).await?;
    warehouse.close().await;
    if options.json {
        return print(
            &json!({ "log": identity, "instead_of": options.instead_of, "positions": positions }).to_string(),
        );
    }
    print(&format!("log {identity} takes the place of log {}: positions go on from {positions:?}", options.instead_of))
}

async fn adopt_topic(config: &Config, options: &AdoptOptions, warehouse: &Warehouse) -> Result<String> {
    let log = stores::open_log(config.clone()).await?;
    let low: Vec<u64> = log.ranges().iter().map(|range| range.low).collect();
    if let Some((partition, low)) = low.iter().enumerate().find(|(_, low)| **low > 0).filter(|_| !options.accept_loss) {
        bail!(
            "the topic begins at record {low} of partition {partition}: those before are gone. `--accept-loss` goes on without \
             them"
        );
    }
    let new = NewLog { identity: log.identity(), low, instead_of: &options.instead_of };
    warehouse.adopt_log(EVENTS_TOPIC, &new).await?;
    Ok(log.identity().to_owned())
}

/// A log on disk can begin anywhere: it is made where the lost one was.
async fn make_anew(config: &Config, options: &AdoptOptions, warehouse: &Warehouse) -> Result<String> {
    let _held = DataDir::take(&config.data_dir)?;
    // Says so if it is another one that was lost.
    warehouse.still_follows(EVENTS_TOPIC, &options.instead_of).await?;
    let folder = config.log_folder();
    if folder.try_exists()? {
        // A start that was refused has made one, in which nothing can be.
        let log = stores::open_log(config.clone()).await?;
        let is_empty = log.ranges().iter().all(|range| range.high == 0);
        ensure!(
            is_empty && log.identity() != options.instead_of,
            "there is log {} at `{}`, which holds records or held some: move it away if it shall be given up",
            log.identity(),
            folder.display()
        );
        drop(log);
        std::fs::remove_dir_all(&folder)?;
    }
    let checkpoints = warehouse.read().await?.checkpoints(EVENTS_TOPIC).await?;
    let (found, wanted) = (checkpoints.len(), usize::from(config.log.partitions));
    ensure!(found == wanted, "the warehouse follows {found} partitions, and log.partitions is {wanted}");
    let positions = checkpoints.iter().map(|checkpoint| checkpoint.position).collect();
    let log_time = checkpoints.iter().filter_map(|checkpoint| checkpoint.log_time).max().unwrap_or_default();
    let identity = stores::create_log(config, positions, log_time).await?;
    warehouse.follow_log(EVENTS_TOPIC, &identity).await?;
    Ok(identity)
}
