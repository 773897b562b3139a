//! What a commit writes into the lake before it lists it: rows, id runs, state.

use arrow::array::RecordBatch;
use schemas::clock::Clocks;
use warehouse::tables::LakeTable;
use warehouse::{FileName, Lake, NewFile, NewIdRun, StateFile, encode_parquet};

use crate::dedup::encode_run;
use crate::fold::PartitionState;
use crate::runner::RunError;

/// A commit's files live for minutes until they are merged: the fastest level.
const COMMIT_ZSTD_LEVEL: i32 = 1;

/// Encodes and writes the rows of a commit, one file per table.
pub(crate) fn write_rows(
    lake: &Lake,
    name: &FileName,
    rows: &[(&'static LakeTable, RecordBatch)],
) -> Result<Vec<NewFile>, RunError> {
    let mut files = Vec::with_capacity(rows.len());
    for (table, batch) in rows {
        let encoded = encode_parquet(table, batch, COMMIT_ZSTD_LEVEL)
            .map_err(|source| RunError::Encode { table: table.name, source: source.into() })?;
        let path = name.path("parquet");
        write(lake, Lake::table_path(table, &path), &encoded.bytes)?;
        files.push(NewFile { table_id: table.id, path, encoded });
    }
    Ok(files)
}

fn write(lake: &Lake, path: String, bytes: &[u8]) -> Result<(), RunError> {
    lake.write(&path, bytes).map_err(|source| RunError::Write { path, source })
}

/// The state of a state file and the position it holds; `None` if it is missing or damaged: then records are folded
/// again instead.
pub(crate) fn read_state(lake: &Lake, state: &StateFile) -> Option<(Clocks, u64)> {
    let bytes = lake.read(&state.path).ok()?;
    let (crc, bytes) = bytes.split_at_checked(4)?;
    let clocks = (crc32fast::hash(bytes).to_be_bytes() == crc).then(|| Clocks::from_bytes(bytes)).flatten();
    if clocks.is_none() {
        tracing::warn!(file.path = state.path, "a state file is damaged: its records are folded again");
    }
    Some((clocks?, state.position))
}

/// Writes the fresh keys of all partitions as one file, a run each.
pub(crate) fn write_id_runs<'a>(
    lake: &Lake,
    name: &FileName,
    partitions: impl Iterator<Item = &'a PartitionState>,
) -> Result<Vec<NewIdRun>, RunError> {
    let path = format!("ids/{}", name.path("run"));
    let mut bytes = Vec::new();
    let mut runs = Vec::new();
    for state in partitions {
        let keys = state.keys.fresh_sorted();
        if !keys.is_empty() {
            let offset_bytes = bytes.len() as u64;
            bytes.extend(encode_run(&keys));
            let (log_partition, path) = (state.partition, path.clone());
            runs.push(NewIdRun { log_partition, level: 0, path, offset_bytes, keys: keys.len() as u64 });
        }
    }
    if !bytes.is_empty() {
        write(lake, path, &bytes)?;
    }
    Ok(runs)
}

/// Writes the clocks of all partitions, a file each.
pub(crate) fn write_state<'a>(
    lake: &Lake,
    name: &FileName,
    partitions: impl Iterator<Item = &'a PartitionState>,
) -> Result<Vec<StateFile>, RunError> {
    let mut files = Vec::new();
    for state in partitions {
        let path = format!("state/{}", name.path(&format!("{}.clocks", state.partition)));
        let bytes = state.clocks.to_bytes();
        write(lake, path.clone(), &[&crc32fast::hash(&bytes).to_be_bytes()[..], &bytes].concat())?;
        files.push(StateFile { log_partition: state.partition, position: state.position, path });
    }
    Ok(files)
}
