//! What was stored of a unit before: its events, read back from the lake.

use std::collections::{HashMap, HashSet};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use schemas::fold::{Input, Stored, UnitKey};
use schemas::{Format, Timestamp};
use warehouse::tables::EVENTS;
use warehouse::{Lake, ScanError, Snapshot, scan_parquet};

/// Columns that say which unit an event belongs to.
const KEY_COLUMNS: [&str; 8] =
    ["project", "received_at", "install_id", "session_id", "seq", "view_id", "format", "log_partition"];

/// And those that the fold looks at.
const INPUT_COLUMNS: [&str; 22] = [
    "project",
    "type",
    "occurred_at",
    "corrected_at",
    "received_at",
    "device_platform",
    "app_version",
    "install_id",
    "session_id",
    "seq",
    "boot_id",
    "mono_ms",
    "person_id",
    "view_id",
    "layout_id",
    "stream_id",
    "stream_platform",
    "data",
    "format",
    "log_partition",
    "log_position",
    "log_index",
];

/// Rows per batch.
const BATCH_ROWS: usize = 8192;

/// A unit of a log partition.
pub(crate) type PartitionUnit = (u16, UnitKey);

/// The units of these partitions that had an arrival at or after the partition's instant.
pub(crate) fn units_since(
    lake: &Lake,
    snapshot: &Snapshot,
    since: &HashMap<u16, Timestamp>,
) -> Result<HashSet<PartitionUnit>, ScanError> {
    let mut units = HashSet::new();
    let Some(earliest) = since.values().min().copied().map(Timestamp::to_sql) else { return Ok(units) };
    let received_at = EVENTS.index_of("received_at");
    for file in snapshot.files(&EVENTS).iter() {
        let may_hold = |bounds: &Option<(String, String)>| bounds.as_ref().is_none_or(|(_, last)| *last >= earliest);
        if !file.bounds.get(received_at).is_none_or(may_hold) {
            continue;
        }
        for batch in scan_parquet(lake, &file.path, &KEY_COLUMNS, BATCH_ROWS)? {
            let rows = Rows::of(&batch?);
            let is_recent =
                |row: &usize| since.get(&rows.partition(*row)).is_some_and(|since| rows.received_at(*row) >= *since);
            units.extend((0..rows.len).filter(is_recent).filter_map(|row| rows.unit(row)));
        }
    }
    Ok(units)
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
    for file in snapshot.files(&EVENTS).iter() {
        let mut holds_some = false;
        for batch in scan_parquet(lake, &file.path, &KEY_COLUMNS, BATCH_ROWS)? {
            let rows = Rows::of(&batch?);
            holds_some |= (0..rows.len).filter_map(|row| rows.unit(row)).any(|unit| units.contains(&unit));
        }
        if !holds_some {
            continue;
        }
        for batch in scan_parquet(lake, &file.path, &INPUT_COLUMNS, BATCH_ROWS)? {
            let rows = Rows::of(&batch?);
            for row in 0..rows.len {
                let partition = rows.partition(row);
                if let Some((key, input)) = Input::of(&rows.stored(row)) {
                    let unit = (partition, key);
                    if units.contains(&unit) {
                        inputs.entry(unit).or_default().push(input);
                    }
                }
            }
        }
    }
    for inputs in inputs.values_mut() {
        inputs.sort_unstable_by_key(|input| input.place);
    }
    Ok(inputs)
}

/// Rows of `events`, some of its columns.
struct Rows {
    batch: RecordBatch,
    len: usize,
}

impl Rows {
    fn of(batch: &RecordBatch) -> Self {
        Self { batch: batch.clone(), len: batch.num_rows() }
    }

    fn text(&self, column: &str, row: usize) -> Option<&str> {
        let values = self.batch.column_by_name(column)?.as_string::<i32>();
        (!values.is_null(row)).then(|| values.value(row))
    }

    fn int32(&self, column: &str, row: usize) -> Option<i32> {
        let values = self.batch.column_by_name(column)?.as_primitive::<Int32Type>();
        (!values.is_null(row)).then(|| values.value(row))
    }

    fn int64(&self, column: &str, row: usize) -> Option<i64> {
        let values = self.batch.column_by_name(column)?.as_primitive::<Int64Type>();
        (!values.is_null(row)).then(|| values.value(row))
    }

    fn time(&self, column: &str, row: usize) -> Timestamp {
        let values = self.batch.column_by_name(column).map(AsArray::as_primitive::<TimestampMicrosecondType>);
        values
            .filter(|values| !values.is_null(row))
            .map_or_else(Timestamp::default, |values| Timestamp::from_micros(values.value(row)))
    }

    fn partition(&self, row: usize) -> u16 {
        self.int32("log_partition", row).and_then(|partition| u16::try_from(partition).ok()).unwrap_or_default()
    }

    fn received_at(&self, row: usize) -> Timestamp {
        self.time("received_at", row)
    }

    fn unit(&self, row: usize) -> Option<PartitionUnit> {
        Some((self.partition(row), UnitKey::of(&self.stored(row))?))
    }

    /// The row as the fold sees it; columns that were not read are empty.
    fn stored(&self, row: usize) -> Stored<'_> {
        let format = self.text("format", row).unwrap_or_default();
        Stored {
            project: self.text("project", row).unwrap_or_default(),
            format: Format::ALL.into_iter().find(|known| known.as_str() == format).unwrap_or(Format::Cloudevents),
            kind: self.text("type", row).unwrap_or_default(),
            seq: self.int64("seq", row).and_then(|seq| u32::try_from(seq).ok()),
            boot_id: self.text("boot_id", row),
            mono_ms: self.int64("mono_ms", row),
            occurred_at: self.time("occurred_at", row),
            corrected_at: self.time("corrected_at", row),
            received_at: self.received_at(row),
            install_id: self.text("install_id", row),
            session_id: self.text("session_id", row),
            view_id: self.text("view_id", row),
            layout_id: self.text("layout_id", row),
            person_id: self.text("person_id", row),
            stream_id: self.text("stream_id", row),
            stream_platform: self.text("stream_platform", row),
            device_platform: self.text("device_platform", row),
            app_version: self.text("app_version", row),
            data: self.text("data", row).unwrap_or("{}"),
            address: (
                self.int64("log_position", row).and_then(|position| u64::try_from(position).ok()).unwrap_or_default(),
                self.int32("log_index", row).and_then(|index| u32::try_from(index).ok()).unwrap_or_default(),
            ),
        }
    }
}
