//! The tables of the lake: columns, types and what they hold.
//!
//! From here come the Arrow schemas, the catalogue's rows (with the documentation as comments) and the users' manual.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

/// A table of the lake. Its number and its columns' numbers are part of the catalogue: append, never reorder.
#[derive(Debug)]
pub struct LakeTable {
    /// `table_id` in the catalogue.
    pub id: i64,
    /// Its name.
    pub name: &'static str,
    /// What one row is.
    pub doc: &'static str,
    /// Its columns; number n has `column_id` n + 1 and the same Parquet field id.
    pub columns: &'static [LakeColumn],
    /// Columns by which rows are sorted within a file.
    pub sorted_by: &'static [&'static str],
    schema: LazyLock<SchemaRef>,
}

/// A column of a lake table.
#[derive(Debug)]
pub struct LakeColumn {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub ty: ColumnType,
    /// What it holds, with unit and range.
    pub doc: &'static str,
}

/// Types of lake columns: those that `DuckDB`, Postgres and `DataFusion` read alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// UTF-8 text with statistics.
    Text,
    /// UTF-8 text that may be long: no statistics.
    LongText,
    /// An instant, microseconds, UTC.
    Time,
    /// 32-bit whole number.
    Int32,
    /// 64-bit whole number.
    Int64,
    /// Bytes: no statistics.
    Bytes,
}

impl ColumnType {
    /// The Arrow type.
    #[must_use]
    pub fn arrow(self) -> DataType {
        match self {
            Self::Text | Self::LongText => DataType::Utf8,
            Self::Time => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Int32 => DataType::Int32,
            Self::Int64 => DataType::Int64,
            Self::Bytes => DataType::Binary,
        }
    }

    /// The name of the type in the catalogue.
    #[must_use]
    pub const fn ducklake(self) -> &'static str {
        match self {
            Self::Text | Self::LongText => "varchar",
            Self::Time => "timestamptz",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Bytes => "blob",
        }
    }

    /// Whether minimum and maximum are kept per file.
    #[must_use]
    pub const fn has_bounds(self) -> bool {
        !matches!(self, Self::LongText | Self::Bytes)
    }
}

impl LakeTable {
    /// The Arrow schema, with field ids and comments.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// The place of a column.
    ///
    /// # Panics
    ///
    /// If there is no such column: names are constants of this program.
    #[must_use]
    pub fn index_of(&self, column: &str) -> usize {
        self.columns.iter().position(|candidate| candidate.name == column).expect("a column of this table")
    }
}

fn schema_of(columns: &[LakeColumn]) -> SchemaRef {
    let fields = columns.iter().zip(1..).map(|(column, field_id): (_, i32)| {
        Field::new(column.name, column.ty.arrow(), true).with_metadata(
            [("PARQUET:field_id".to_owned(), field_id.to_string()), ("comment".to_owned(), column.doc.to_owned())]
                .into(),
        )
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

macro_rules! columns {
    ($($name:ident $ty:ident $doc:literal),+ $(,)?) => {
        &[$(LakeColumn { name: stringify!($name), ty: ColumnType::$ty, doc: $doc }),+]
    };
}

macro_rules! table {
    ($id:literal $name:literal $doc:literal sorted by $sorted:expr, $columns:expr) => {
        LakeTable {
            id: $id,
            name: $name,
            doc: $doc,
            columns: $columns,
            sorted_by: &$sorted,
            schema: LazyLock::new(|| schema_of($columns)),
        }
    };
}

/// `events`: what devices reported, typed and deduplicated.
pub static EVENTS: LakeTable = table!(1 "events" "One stored event." sorted by ["project", "corrected_at"], columns![
    project Text "Isolation boundary the event belongs to.",
    event_id Text "Id given by the sender, else derived from the event; unique within source.",
    source Text "Who numbers its events: a URI reference.",
    type Text "Kind of the event.",
    occurred_at Time "Device clock when it happened.",
    corrected_at Time "When it happened as far as can be known; never after received_at. Buckets and ranges use it.",
    sent_at Time "Device clock when this attempt was sent; null if not told.",
    received_at Time "Server clock when the request arrived.",
    device_platform Text "ios, ipados, tvos, macos, android, web or other.",
    app_version Text "Version of the app.",
    install_id Text "The app install.",
    session_id Text "The session as the sender names it.",
    seq Int64 "Sequence number within install and session; for CMCD within the view.",
    boot_id Text "The boot whose monotonic clock mono_ms is.",
    mono_ms Int64 "Monotonic clock, ms; its zero is unknown.",
    anon_id Text "Guest identity.",
    user_id Text "Signed-in identity as the body says it; equals the verified one where trust is authenticated.",
    person_id Text "The verified user, else anon: and the guest identity; null if neither is known.",
    view_id Text "One playback attempt in one tile.",
    layout_id Text "Layout on screen.",
    slot Int32 "Tile within the layout, 0 to 63.",
    stream_id Text "The stream: platform:channel.",
    stream_platform Text "Platform of the stream.",
    data LongText "Data of the event, JSON; fields out of range are null.",
    format Text "How it was written: native, cloudevents, streamyyy_legacy or cmcd2.",
    trust Text "Who vouches: anonymous (a key) or authenticated (a verified user token).",
    time_quality Text "What was done to the time: device (nothing), offset or mono.",
    skew_ms Int64 "Clock offset that was added to occurred_at, ms.",
    flags Text "Comma-separated: late, future_clamped, dup_suspect, unknown_type, partial, range.",
    log_partition Int32 "Address in the log: partition.",
    log_position Int64 "Address in the log: record.",
    log_index Int32 "Address in the log: place within the record.",
]);

/// `quarantine`: events that cannot be used, each with the reason.
pub static QUARANTINE: LakeTable = table!(2 "quarantine" "One event that cannot be used, kept with the reason."
    sorted by ["project", "received_at"], columns![
    project Text "Isolation boundary the event belongs to.",
    event_id Text "Id given by the sender, else derived from the bytes.",
    source Text "Source, if readable.",
    type Text "Kind, if readable.",
    received_at Time "Server clock when the request arrived.",
    format Text "How it was written.",
    reason Text "The rule it breaks.",
    field Text "The attribute or field (data. before fields of the data) that breaks it.",
    device_platform Text "Device platform, if readable.",
    app_version Text "Version of the app, if readable.",
    raw Bytes "The sender's bytes; of an oversized event the first 64 KiB. Needs scope pii:read.",
    log_partition Int32 "Address in the log: partition.",
    log_position Int64 "Address in the log: record.",
    log_index Int32 "Address in the log: place within the record.",
]);

/// `records`: the event store. What the log held, after the log has forgotten it.
pub static RECORDS: LakeTable = table!(3 "records" "One record of the log: events of one upload for one partition."
    sorted by ["log_partition", "log_position"], columns![
    log_partition Int32 "Address in the log: partition.",
    log_position Int64 "Address in the log: record.",
    log_time Time "Server's stamp in the record; as a running maximum it is the partition's time.",
    received_at Time "Server clock when the request arrived.",
    sent_at Time "Device clock when this attempt was sent; null if not told.",
    boot_id Text "Boot of the sender, if told.",
    project Text "Isolation boundary the upload belongs to.",
    batch_id Text "Names the upload: Idempotency-Key, else an id of ours.",
    part Int32 "Number of this record within the upload, from 0.",
    parts Int32 "Into how many records the upload was split.",
    format Text "How the upload was written.",
    events Int32 "Events in the record.",
    stored Int32 "Of these: stored.",
    duplicate Int32 "Of these: copies of earlier events.",
    quarantined Int32 "Of these: quarantined.",
    suppressed Int32 "Of these: left out by a rule.",
    body Bytes "The record as the log held it (CBOR), the sender's bytes among it. Needs scope pii:read.",
]);

/// All tables of the lake, by rising id.
pub static LAKE_TABLES: [&LakeTable; 3] = [&EVENTS, &QUARANTINE, &RECORDS];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_numbered_and_columns_named_once() {
        for (table, id) in LAKE_TABLES.iter().zip(1..) {
            assert_eq!(table.id, id);
            let names: std::collections::BTreeSet<_> = table.columns.iter().map(|column| column.name).collect();
            assert_eq!(names.len(), table.columns.len(), "{}", table.name);
            assert!(table.sorted_by.iter().all(|column| names.contains(column)), "{}", table.name);
        }
    }

    #[test]
    fn no_column_must_be_quoted() {
        // Words reserved in DuckDB, Postgres or DataFusion that an analyst would stumble over.
        let reserved = [
            "at", "order", "group", "user", "table", "select", "from", "to", "limit", "offset", "end", "default",
            "desc",
        ];
        for column in LAKE_TABLES.iter().flat_map(|table| table.columns) {
            assert!(!reserved.contains(&column.name), "{}", column.name);
        }
    }
}
