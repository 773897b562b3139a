//! What a commit writes into the lake before it lists it: rows, id runs, state.

use std::io;

use schemas::clock::Clocks;
use schemas::fold::{units_from_bytes, units_to_bytes};
use warehouse::tables::LakeTable;
use warehouse::{EncodedFile, FileName, Lake, NewFile, NewIdRun, ScanError, StateFile};

use crate::dedup::encode_run;
use crate::fold::PartitionState;
use crate::runner::RunError;
use crate::units::{PutAway, Units};

/// Writes the rows of a commit, one file per table.
pub(crate) fn write_rows(
    lake: &Lake,
    name: &FileName,
    rows: Vec<(&'static LakeTable, EncodedFile)>,
) -> Result<Vec<NewFile>, RunError> {
    let new_file = |(table, encoded): (&LakeTable, EncodedFile)| {
        let path = name.path("parquet");
        (Lake::table_path(table, &path), NewFile { table_id: table.id, path, encoded })
    };
    let (paths, files): (Vec<String>, Vec<NewFile>) = rows.into_iter().map(new_file).unzip();
    let bytes = files.iter().map(|file| file.encoded.bytes.as_slice());
    write(lake, &paths.into_iter().zip(bytes).collect::<Vec<_>>())?;
    Ok(files)
}

fn write(lake: &Lake, files: &[(String, &[u8])]) -> Result<(), RunError> {
    lake.write_all(files).map_err(|(path, source)| RunError::Write { path, source })
}

/// What is known of a partition at a position.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) position: u64,
    pub(crate) clocks: Clocks,
    pub(crate) units: Units,
    pub(crate) put_away: PutAway,
}

impl State {
    /// Length of the clocks, clocks, units.
    fn from_bytes(bytes: &[u8], position: u64) -> Option<Self> {
        let (length, bytes) = bytes.split_first_chunk::<4>()?;
        let (clocks, units) = bytes.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        let (units, put_away) = units_from_bytes(units)?;
        let (units, put_away) = (units.into_iter().collect(), put_away.into_iter().collect());
        Some(Self { position, clocks: Clocks::from_bytes(clocks)?, units, put_away })
    }
}

/// The state of a state file; `None` if it is missing or damaged: then records are folded again instead. That is dear, so
/// a lake that does not answer is an error.
pub(crate) fn read_state(lake: &Lake, state: &StateFile) -> Result<Option<State>, ScanError> {
    let bytes = match lake.read(&state.path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(ScanError::Open { path: state.path.clone(), source }),
    };
    let found = bytes.split_at_checked(4).and_then(|(crc, bytes)| {
        (crc32fast::hash(bytes).to_be_bytes() == crc).then(|| State::from_bytes(bytes, state.position)).flatten()
    });
    if found.is_none() {
        tracing::warn!(file.path = state.path, "a state file is damaged: its records are folded again");
    }
    Ok(found)
}

/// Writes the fresh keys of all partitions as one file, a run each.
pub(crate) fn write_id_runs<'a>(
    lake: &Lake,
    name: &FileName,
    partitions: impl Iterator<Item = &'a mut PartitionState>,
) -> Result<Vec<NewIdRun>, RunError> {
    let path = format!("ids/{}", name.path("run"));
    let mut bytes = Vec::new();
    let mut runs = Vec::new();
    for state in partitions {
        let keys = state.keys.begin_commit();
        if !keys.is_empty() {
            let offset_bytes = bytes.len() as u64;
            bytes.extend(encode_run(keys));
            let (log_partition, path) = (state.partition, path.clone());
            runs.push(NewIdRun { log_partition, level: 0, path, offset_bytes, keys: keys.len() as u64 });
        }
    }
    if !bytes.is_empty() {
        write(lake, &[(path, &bytes)])?;
    }
    Ok(runs)
}

/// Writes the clocks and open units of all partitions, a file each.
pub(crate) fn write_state<'a>(
    lake: &Lake,
    name: &FileName,
    partitions: impl Iterator<Item = &'a PartitionState>,
) -> Result<Vec<StateFile>, RunError> {
    let (mut files, mut contents) = (Vec::new(), Vec::new());
    for state in partitions {
        let path = format!("state/{}", name.path(&format!("{}.state", state.partition)));
        let clocks = state.clocks.to_bytes();
        let length = u32::try_from(clocks.len()).unwrap_or(u32::MAX);
        let units = units_to_bytes(state.units.iter(), state.put_away.iter());
        let bytes = [&length.to_be_bytes()[..], &clocks, &units].concat();
        contents.push((path.clone(), [&crc32fast::hash(&bytes).to_be_bytes()[..], &bytes].concat()));
        files.push(StateFile { log_partition: state.partition, position: state.position, path });
    }
    write(lake, &contents.iter().map(|(path, bytes)| (path.clone(), bytes.as_slice())).collect::<Vec<_>>())?;
    Ok(files)
}
