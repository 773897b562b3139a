//! What was stored of a unit before: its events, read back from the lake.

use std::collections::{HashMap, HashSet};

use schemas::Timestamp;
use schemas::fold::{Input, UnitKey};
use warehouse::tables::EVENTS;
use warehouse::{EventRows, Lake, ScanError, Snapshot, may_hold_text, scan_parquet};

/// Rows per batch.
const BATCH_ROWS: usize = 8192;

/// A unit of a log partition.
pub(crate) type PartitionUnit = (u16, UnitKey);

fn unit(rows: &EventRows, row: usize) -> Option<PartitionUnit> {
    Some((rows.partition(row), UnitKey::of(&rows.stored(row))?))
}

/// The units of these partitions that had an arrival at or after the partition's instant, and the last of these.
pub(crate) fn units_since(
    lake: &Lake,
    snapshot: &Snapshot,
    since: &HashMap<u16, Timestamp>,
) -> Result<HashMap<PartitionUnit, Timestamp>, ScanError> {
    let mut units = HashMap::new();
    let Some(earliest) = since.values().min().copied().map(Timestamp::to_sql) else { return Ok(units) };
    let received_at = EVENTS.index_of("received_at");
    for file in snapshot.files(&EVENTS).iter() {
        let may_hold = |bounds: &Option<(String, String)>| bounds.as_ref().is_none_or(|(_, last)| *last >= earliest);
        if !file.bounds.get(received_at).is_none_or(may_hold) {
            continue;
        }
        for batch in scan_parquet(lake, &EVENTS, &file.path, &EventRows::KEY_COLUMNS, BATCH_ROWS)? {
            let rows = EventRows::of(&batch?);
            let is_recent =
                |row: &usize| since.get(&rows.partition(*row)).is_some_and(|since| rows.received_at(*row) >= *since);
            for row in (0..rows.len()).filter(is_recent) {
                if let Some(unit) = unit(&rows, row) {
                    let last_received = units.entry(unit).or_insert(Timestamp::MIN);
                    *last_received = rows.received_at(row).max(*last_received);
                }
            }
        }
    }
    Ok(units)
}

/// The stored inputs of these partitions from a position on, by unit, each in the sender's order.
pub(crate) fn inputs_from(
    lake: &Lake,
    snapshot: &Snapshot,
    from: &HashMap<u16, u64>,
) -> Result<HashMap<PartitionUnit, Vec<Input>>, ScanError> {
    let mut inputs: HashMap<PartitionUnit, Vec<Input>> = HashMap::new();
    let Some(earliest) = from.values().min() else { return Ok(inputs) };
    let log_position = EVENTS.index_of("log_position");
    for file in snapshot.files(&EVENTS).iter() {
        let last = file.bounds.get(log_position).and_then(|bounds| bounds.as_ref()?.1.parse::<u64>().ok());
        if last.is_some_and(|last| last < *earliest) {
            continue;
        }
        for batch in scan_parquet(lake, &EVENTS, &file.path, &EventRows::INPUT_COLUMNS, BATCH_ROWS)? {
            let rows = EventRows::of(&batch?);
            for row in 0..rows.len() {
                let partition = rows.partition(row);
                if from.get(&partition).is_some_and(|from| rows.position(row) >= *from)
                    && let Some((key, input)) = Input::of(&rows.stored(row))
                {
                    inputs.entry((partition, key)).or_default().push(input);
                }
            }
        }
    }
    sort(&mut inputs);
    Ok(inputs)
}

fn sort(inputs: &mut HashMap<PartitionUnit, Vec<Input>>) {
    for inputs in inputs.values_mut() {
        inputs.sort_unstable_by_key(|input| input.place);
    }
}

/// All stored inputs of these units, each in the sender's order.
pub(crate) fn inputs_of(
    lake: &Lake,
    snapshot: &Snapshot,
    units: &HashSet<PartitionUnit>,
) -> Result<HashMap<PartitionUnit, Vec<Input>>, ScanError> {
    let mut inputs: HashMap<PartitionUnit, Vec<Input>> = HashMap::new();
    if units.is_empty() {
        return Ok(inputs);
    }
    // Of a CMCD view without a session the unit is named by the view.
    let sessions: Vec<&str> = units.iter().map(|(_, key)| &*key.session_id).collect();
    for file in snapshot.files(&EVENTS).iter() {
        if !may_hold_text(lake, &file.path, &["session_id", "view_id"], &sessions)? {
            continue;
        }
        let mut holds_some = false;
        for batch in scan_parquet(lake, &EVENTS, &file.path, &EventRows::KEY_COLUMNS, BATCH_ROWS)? {
            let rows = EventRows::of(&batch?);
            holds_some |= (0..rows.len()).filter_map(|row| unit(&rows, row)).any(|unit| units.contains(&unit));
        }
        if !holds_some {
            continue;
        }
        for batch in scan_parquet(lake, &EVENTS, &file.path, &EventRows::INPUT_COLUMNS, BATCH_ROWS)? {
            let rows = EventRows::of(&batch?);
            for row in 0..rows.len() {
                // Reading what an event tells costs more than finding out whose it is.
                if let Some(unit) = unit(&rows, row).filter(|unit| units.contains(unit))
                    && let Some((_, input)) = Input::of(&rows.stored(row))
                {
                    inputs.entry(unit).or_default().push(input);
                }
            }
        }
    }
    sort(&mut inputs);
    Ok(inputs)
}
