//! Log and warehouse of the configured profile.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use event_log::{DiskLog, DiskLogConfig, EventLog};
use warehouse::{Warehouse, WarehouseConfig};

use crate::config::{Config, Profile};

/// Opens the log, or creates it.
pub(crate) async fn open_log(config: Config) -> Result<Arc<dyn EventLog>> {
    match config.profile()? {
        Profile::Embedded => {
            let log_config = DiskLogConfig {
                partitions: config.log.partitions,
                queue_bytes: config.log.queue_bytes.0,
                ..DiskLogConfig::new(config.log_folder())
            };
            Ok(Arc::new(tokio::task::spawn_blocking(move || DiskLog::open(log_config)).await??))
        }
        Profile::Cluster => bail!("the cluster profile is not wired yet"),
    }
}

/// Opens database and lake, or creates them.
pub(crate) async fn open_warehouse(config: &Config) -> Result<Warehouse> {
    let place = warehouse_config(config)?;
    if config.profile()? == Profile::Embedded {
        warehouse::remove_unfinished(&place).context("remove what a rebuild left behind")?;
    }
    Ok(Warehouse::open(&place).await?)
}

/// Where database and lake are.
pub(crate) fn warehouse_config(config: &Config) -> Result<WarehouseConfig> {
    match config.profile()? {
        Profile::Embedded => Ok(WarehouseConfig { database: config.database_file(), lake: config.lake_folder() }),
        Profile::Cluster => bail!("the cluster profile is not wired yet"),
    }
}
