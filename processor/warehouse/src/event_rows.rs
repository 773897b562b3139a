//! Rows of `events` as the fold of views and sessions sees them.

use arrow::array::{
    Array, AsArray, Int32Array, Int64Array, PrimitiveArray, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::ArrowPrimitiveType;
use schemas::fold::Stored;
use schemas::{Format, Timestamp};

/// Rows of `events`, some of its columns, in any order. Columns are found once, not once per row.
#[derive(Debug)]
pub struct EventRows {
    len: usize,
    project: Option<StringArray>,
    kind: Option<StringArray>,
    format: Option<StringArray>,
    seq: Option<Int64Array>,
    boot_id: Option<StringArray>,
    mono_ms: Option<Int64Array>,
    occurred_at: Option<TimestampMicrosecondArray>,
    corrected_at: Option<TimestampMicrosecondArray>,
    received_at: Option<TimestampMicrosecondArray>,
    install_id: Option<StringArray>,
    session_id: Option<StringArray>,
    view_id: Option<StringArray>,
    layout_id: Option<StringArray>,
    person_id: Option<StringArray>,
    stream_id: Option<StringArray>,
    stream_platform: Option<StringArray>,
    device_platform: Option<StringArray>,
    app_version: Option<StringArray>,
    data: Option<StringArray>,
    log_partition: Option<Int32Array>,
    log_position: Option<Int64Array>,
    log_index: Option<Int32Array>,
}

fn text(values: Option<&StringArray>, row: usize) -> Option<&str> {
    values.filter(|values| !values.is_null(row)).map(|values| values.value(row))
}

fn number<T: ArrowPrimitiveType>(values: Option<&PrimitiveArray<T>>, row: usize) -> Option<T::Native> {
    values.filter(|values| !values.is_null(row)).map(|values| values.value(row))
}

fn time(values: Option<&TimestampMicrosecondArray>, row: usize) -> Timestamp {
    number(values, row).map_or_else(Timestamp::default, Timestamp::from_micros)
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
        let text = |name: &str| batch.column_by_name(name).map(|column| column.as_string().clone());
        let time = |name: &str| batch.column_by_name(name).map(|column| column.as_primitive().clone());
        let int32 = |name: &str| batch.column_by_name(name).map(|column| column.as_primitive().clone());
        let int64 = |name: &str| batch.column_by_name(name).map(|column| column.as_primitive().clone());
        Self {
            len: batch.num_rows(),
            project: text("project"),
            kind: text("type"),
            format: text("format"),
            seq: int64("seq"),
            boot_id: text("boot_id"),
            mono_ms: int64("mono_ms"),
            occurred_at: time("occurred_at"),
            corrected_at: time("corrected_at"),
            received_at: time("received_at"),
            install_id: text("install_id"),
            session_id: text("session_id"),
            view_id: text("view_id"),
            layout_id: text("layout_id"),
            person_id: text("person_id"),
            stream_id: text("stream_id"),
            stream_platform: text("stream_platform"),
            device_platform: text("device_platform"),
            app_version: text("app_version"),
            data: text("data"),
            log_partition: int32("log_partition"),
            log_position: int64("log_position"),
            log_index: int32("log_index"),
        }
    }

    /// How many they are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The log partition of a row.
    #[must_use]
    pub fn partition(&self, row: usize) -> u16 {
        number(self.log_partition.as_ref(), row).and_then(|partition| u16::try_from(partition).ok()).unwrap_or_default()
    }

    /// The record of a row's event, by its position in the partition.
    #[must_use]
    pub fn position(&self, row: usize) -> u64 {
        number(self.log_position.as_ref(), row).and_then(|position| u64::try_from(position).ok()).unwrap_or_default()
    }

    /// When a row's event arrived.
    #[must_use]
    pub fn received_at(&self, row: usize) -> Timestamp {
        time(self.received_at.as_ref(), row)
    }

    /// The row as the fold sees it; columns that were not read are empty.
    #[must_use]
    pub fn stored(&self, row: usize) -> Stored<'_> {
        let text = |values| text(Option::as_ref(values), row);
        let format = text(&self.format).unwrap_or_default();
        Stored {
            project: text(&self.project).unwrap_or_default(),
            format: Format::ALL.into_iter().find(|known| known.as_str() == format).unwrap_or(Format::Cloudevents),
            kind: text(&self.kind).unwrap_or_default(),
            seq: number(self.seq.as_ref(), row).and_then(|seq| u32::try_from(seq).ok()),
            boot_id: text(&self.boot_id),
            mono_ms: number(self.mono_ms.as_ref(), row),
            occurred_at: time(self.occurred_at.as_ref(), row),
            corrected_at: time(self.corrected_at.as_ref(), row),
            received_at: self.received_at(row),
            install_id: text(&self.install_id),
            session_id: text(&self.session_id),
            view_id: text(&self.view_id),
            layout_id: text(&self.layout_id),
            person_id: text(&self.person_id),
            stream_id: text(&self.stream_id),
            stream_platform: text(&self.stream_platform),
            device_platform: text(&self.device_platform),
            app_version: text(&self.app_version),
            data: text(&self.data).unwrap_or("{}"),
            fields: &[],
            address: (
                self.position(row),
                number(self.log_index.as_ref(), row).and_then(|index| u32::try_from(index).ok()).unwrap_or_default(),
            ),
        }
    }
}
