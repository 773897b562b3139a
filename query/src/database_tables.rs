//! The tables of the database as SQL sees them: names and columns. How a statement reads them: [`scan`].

mod columns;
mod pushed;
pub(crate) mod scan;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use schemas::rollups::{self, Grain, LEDGER, Rollup};

/// A table of the database.
#[derive(Debug, Clone, Copy)]
pub(crate) enum DatabaseTable {
    Rollup(&'static Rollup, Grain),
    Ledger,
    Commits,
}

/// Names and tables of the database.
pub(crate) fn all() -> Vec<(String, DatabaseTable)> {
    let rollups = rollups::ALL.into_iter().flat_map(|rollup| {
        rollup
            .grains
            .iter()
            .map(|grain| (format!("rollup_{}_{}", rollup.name, grain.as_str()), DatabaseTable::Rollup(rollup, *grain)))
    });
    rollups
        .chain([("ledger".to_owned(), DatabaseTable::Ledger), ("commits".to_owned(), DatabaseTable::Commits)])
        .collect()
}

fn field(name: &str, ty: DataType, doc: &str) -> Field {
    Field::new(name, ty, true).with_metadata([("comment".to_owned(), doc.to_owned())].into())
}

fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

impl DatabaseTable {
    /// Its columns: those of rollups are project, bucket, keys, measures, and what is computed.
    pub(crate) fn schema(self) -> Schema {
        match self {
            Self::Rollup(rollup, _) => rollup_schema(rollup, "bucket_start"),
            Self::Ledger => rollup_schema(&LEDGER, "hour"),
            Self::Commits => Schema::new(vec![
                field("commit_id", DataType::Int64, "Names the commit: the id of its DuckLake snapshot."),
                field("committed_at", time_type(), "Server clock when it was made."),
                field(
                    "lane",
                    DataType::Utf8,
                    "events, or maintenance (merging changes no answer; retention takes rows away).",
                ),
                field("log_partition", DataType::Int32, "Partition that it moved; -1 if none."),
                field("from_position", DataType::Int64, "First record that it took in; null where projects share."),
                field("to_position", DataType::Int64, "The record after the last; null where projects share."),
                field("events", DataType::Int64, "Events in these records; null where projects share the warehouse."),
            ]),
        }
    }
}

fn rollup_schema(rollup: &'static Rollup, bucket: &str) -> Schema {
    let mut fields = vec![
        field("project", DataType::Utf8, "Isolation boundary."),
        field(bucket, time_type(), "Start of the bucket, UTC."),
    ];
    fields.extend(rollup.keys.iter().map(|key| field(key.name, key_type(key.name), key.doc)));
    fields.extend(rollup.measures.iter().map(|measure| field(measure.name, DataType::Int64, measure.doc)));
    fields.extend(rollup.derived.iter().map(|derived| field(derived.name, DataType::Float64, derived.doc)));
    Schema::new(fields)
}

pub(crate) fn key_type(name: &str) -> DataType {
    if name == "log_partition" { DataType::Int32 } else { DataType::Utf8 }
}
