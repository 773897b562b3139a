//! Rows of `events` as the fold of views and sessions sees them.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use schemas::fold::Stored;
use schemas::{Format, Timestamp};

/// Rows of `events`, some of its columns, in any order.
#[derive(Debug)]
pub struct EventRows {
    batch: RecordBatch,
}

impl EventRows {
    /// Columns that say which unit an event belongs to.
    pub const KEY_COLUMNS: [&'static str; 8] =
        ["project", "received_at", "install_id", "session_id", "seq", "view_id", "format", "log_partition"];

    /// Columns that the fold looks at, and those that say where in the log an event stands.
    pub const INPUT_COLUMNS: [&'static str; 22] = [
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

    /// These rows.
    #[must_use]
    pub fn of(batch: &RecordBatch) -> Self {
        Self { batch: batch.clone() }
    }

    /// How many they are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.batch.num_rows()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
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

    /// The log partition of a row.
    #[must_use]
    pub fn partition(&self, row: usize) -> u16 {
        self.int32("log_partition", row).and_then(|partition| u16::try_from(partition).ok()).unwrap_or_default()
    }

    /// The record of a row's event, by its position in the partition.
    #[must_use]
    pub fn position(&self, row: usize) -> u64 {
        self.int64("log_position", row).and_then(|position| u64::try_from(position).ok()).unwrap_or_default()
    }

    /// When a row's event arrived.
    #[must_use]
    pub fn received_at(&self, row: usize) -> Timestamp {
        self.time("received_at", row)
    }

    /// The row as the fold sees it; columns that were not read are empty.
    #[must_use]
    pub fn stored(&self, row: usize) -> Stored<'_> {
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
                self.position(row),
                self.int32("log_index", row).and_then(|index| u32::try_from(index).ok()).unwrap_or_default(),
            ),
        }
    }
}
