//! Merging of rollup deltas, in a process of its own: its CPU is then that of merging alone.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};
use warehouse::{Warehouse, WarehouseConfig};

use crate::{machine, now};

/// Where.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The data directory of a server that does not run.
    #[arg(long)]
    data_dir: PathBuf,
}

/// Folds all deltas into merged rows, and says what that took.
pub(crate) async fn run(arguments: &Arguments) -> Result<Value> {
    let folder = &arguments.data_dir;
    let config = WarehouseConfig::sqlite(folder.join("warehouse.db"), folder.join("lake"));
    let warehouse = Warehouse::open(&config).await?;
    let (begun, cpu_before) = (Instant::now(), machine::cpu_seconds());
    let deltas = warehouse.merge_rollups(now(), Duration::ZERO).await?.deltas;
    let (wall_s, cpu_s) = (begun.elapsed().as_secs_f64(), machine::cpu_seconds() - cpu_before);
    let left = warehouse.merge_rollups(now(), Duration::ZERO).await?.deltas;
    warehouse.close().await;
    Ok(json!({ "deltas": deltas, "left": left, "wall_s": wall_s, "cpu_s": cpu_s }))
}
