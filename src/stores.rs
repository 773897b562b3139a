//! Log and warehouse of the configured profile.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use event_log::{DiskLog, DiskLogConfig, EventLog, KafkaLog, KafkaLogConfig, rebased};
use processor::EVENTS_TOPIC;
use schemas::Timestamp;
use warehouse::{LakeLocation, PostgresConfig, S3Location, Warehouse, WarehouseConfig, successor_file};

use crate::config::{Config, Profile};

/// How long Kafka keeps records whose time a test chose.
const TEST_RETENTION: Duration = Duration::from_secs(36_500 * 86_400);

fn disk(config: &Config) -> DiskLogConfig {
    DiskLogConfig {
        partitions: config.log.partitions,
        queue_bytes: config.log.queue_bytes.0,
        reserve_bytes: config.log.disk_reserve.0 as u64,
        ..DiskLogConfig::new(config.log_folder())
    }
}

/// Makes an empty log on disk that begins at these positions; returns its identity.
pub(crate) async fn create_log(config: &Config, positions: Vec<u64>, log_time: Timestamp) -> Result<String> {
    let log_config = disk(config);
    let creating = move || DiskLog::create_at(&log_config, &positions, log_time);
    Ok(tokio::task::spawn_blocking(creating).await??)
}

/// Refuses settings of the log that cannot work.
pub(crate) fn check_log(config: &Config) -> Result<()> {
    match config.profile()? {
        Profile::Embedded => Ok(()),
        Profile::Cluster => kafka(config).check().context("kafka.properties"),
    }
}

/// Opens the log, or creates it. Its positions are its own.
pub(crate) async fn open_log(config: Config) -> Result<Arc<dyn EventLog>> {
    match config.profile()? {
        Profile::Embedded => {
            let log_config = disk(&config);
            Ok(Arc::new(tokio::task::spawn_blocking(move || DiskLog::open(log_config)).await??))
        }
        Profile::Cluster => Ok(Arc::new(KafkaLog::open(kafka(&config)).await?)),
    }
}

/// Opens the log, which must be the one that the warehouse follows.
pub(crate) async fn open_followed_log(config: &Config, warehouse: &Warehouse) -> Result<Arc<dyn EventLog>> {
    follow(open_log(config.clone()).await?, warehouse).await
}

/// Asserts that the warehouse follows this log, or that it has not begun; from then on it does. The log's positions are those
/// of the warehouse.
pub(crate) async fn follow(log: Arc<dyn EventLog>, warehouse: &Warehouse) -> Result<Arc<dyn EventLog>> {
    let bases = warehouse.bind_log(EVENTS_TOPIC, log.identity()).await?;
    Ok(rebased(log, bases))
}

/// The same for who only looks: nothing is tied.
pub(crate) async fn look(log: Arc<dyn EventLog>, warehouse: &Warehouse) -> Result<Arc<dyn EventLog>> {
    let bases = warehouse.check_log(EVENTS_TOPIC, log.identity()).await?;
    Ok(rebased(log, bases))
}

/// Opens the log if there is one, to look at it: creates none.
pub(crate) async fn open_existing_log(config: Config) -> Result<Option<Arc<dyn EventLog>>> {
    if config.profile()? == Profile::Cluster {
        let log = KafkaLog::open_existing(kafka(&config)).await?;
        return Ok(log.map(|log| -> Arc<dyn EventLog> { Arc::new(log) }));
    }
    if !config.log_folder().exists() {
        return Ok(None);
    }
    open_log(config).await.map(Some)
}

/// Where the log is, for who shall look for it.
pub(crate) fn log_name(config: &Config) -> Result<String> {
    Ok(match config.profile()? {
        Profile::Embedded => format!("folder `{}`", config.log_folder().display()),
        Profile::Cluster => format!("topic `{}`", kafka(config).topic),
    })
}

fn kafka(config: &Config) -> KafkaLogConfig {
    let settings = &config.kafka;
    let properties = settings.properties.iter().map(|property| (property.name.clone(), property.value.clone()));
    KafkaLogConfig {
        topic: format!("{}{EVENTS_TOPIC}", settings.topic_prefix),
        group: settings.group.clone(),
        partitions: config.log.partitions,
        replication: settings.replication,
        min_in_sync: settings.min_in_sync,
        // Kafka counts from the records' own time, and a test's days may be past.
        retention: if config.test_clock { TEST_RETENTION } else { config.log.retention.0 },
        queue_bytes: config.log.queue_bytes.0,
        append_timeout: settings.message_timeout.0,
        compression: settings.compression,
        session_timeout: settings.session_timeout.0,
        poll_timeout: settings.max_poll_interval.0,
        properties: properties.collect(),
        ..KafkaLogConfig::new(config.brokers())
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

/// Opens database and lake beside a running server, or without one.
///
/// # Errors
///
/// Also if there is no warehouse, or one that is being rebuilt.
pub(crate) async fn open_existing(config: &Config) -> Result<Warehouse> {
    let place = warehouse_config(config)?;
    if config.profile()? == Profile::Embedded {
        let database = config.database_file();
        if !database.exists() {
            bail!("there is no warehouse at `{}`: start the server first", database.display());
        }
        if successor_file(&place).is_some_and(|successor| successor.exists()) {
            bail!("the warehouse is being rebuilt: wait for it, or start the server if it was cut off");
        }
    }
    Ok(Warehouse::open(&place).await?)
}

/// Where the lake is: on the embedded profile a folder, and on a cluster a bucket or a folder that all processes share.
fn lake(config: &Config) -> Result<LakeLocation> {
    if config.lake_url.0.starts_with("s3://") {
        return Ok(config.lake_url.0.parse::<S3Location>().context("lake_url")?.into());
    }
    Ok(config.lake_folder().into())
}

/// Where database and lake are.
pub(crate) fn warehouse_config(config: &Config) -> Result<WarehouseConfig> {
    Ok(match config.profile()? {
        Profile::Embedded => WarehouseConfig::sqlite(config.database_file(), config.lake_folder()),
        Profile::Cluster => {
            let mut database: PostgresConfig = config.warehouse_url.0.parse().context("warehouse_url")?;
            database.readers = config.postgres.readers;
            database.statement_timeout = config.postgres.statement_timeout.0;
            WarehouseConfig::postgres(database, lake(config)?)
        }
    })
}
