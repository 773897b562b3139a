//! The tables of the database as SQL sees them: read in the answer's transaction, the caller's project only.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::datasource::MemTable;
use schemas::rollups::{self, Derived, Grain, LEDGER, Rollup};
use schemas::{Problem, Timestamp};
use warehouse::{RollupQuery, RollupRow};

use crate::answer::Refused;
use crate::derived::{self, Distributions};
use crate::failures::refusal;
use crate::gate::Parsed;
use crate::pinned::Pinned;
use crate::scope::Scope;

/// A table of the database.
#[derive(Debug, Clone, Copy)]
pub(crate) enum DatabaseTable {
    Rollup(&'static Rollup, Grain),
    Ledger,
    Commits,
}

/// A statement reads at most this many rows of a database table; larger ones are for the rollup endpoint.
const MAX_ROWS: u32 = 200_000;

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
    /// All its columns.
    pub(crate) fn schema(self) -> Schema {
        self.schema_with(&self.derived().iter().collect::<Vec<_>>())
    }

    const fn derived(self) -> &'static [Derived] {
        match self {
            Self::Rollup(rollup, _) => rollup.derived,
            Self::Ledger | Self::Commits => &[],
        }
    }

    /// The computed columns that a statement may read. Distributions are many rows: they are read for who names a
    /// percentile, or all columns.
    fn derived_for(self, parsed: &Parsed) -> Vec<&'static Derived> {
        self.derived().iter().filter(|derived| !derived.is_percentile() || parsed.may_read(derived.name)).collect()
    }

    /// Whether a statement may read a column of it that is right within 1 % only.
    pub(crate) fn has_percentiles_for(self, parsed: &Parsed) -> bool {
        self.derived_for(parsed).iter().any(|derived| derived.is_percentile())
    }

    /// Its columns, with these of the computed ones.
    fn schema_with(self, derived: &[&Derived]) -> Schema {
        match self {
            Self::Rollup(rollup, _) => rollup_schema(rollup, "bucket_start", derived),
            Self::Ledger => rollup_schema(&LEDGER, "hour", derived),
            Self::Commits => Schema::new(vec![
                field("commit_id", DataType::Int64, "Names the commit: the id of its DuckLake snapshot."),
                field("committed_at", time_type(), "Server clock when it was made."),
                field("lane", DataType::Utf8, "events, or maintenance (merging: changes no answer)."),
                field("log_partition", DataType::Int32, "Partition that it moved; -1 if none."),
                field("from_position", DataType::Int64, "First record that it took in; null where projects share."),
                field("to_position", DataType::Int64, "The record after the last; null where projects share."),
                field("events", DataType::Int64, "Events in these records; null where projects share the warehouse."),
            ]),
        }
    }

    /// Its rows, as `scope` may see them and a statement may read them.
    pub(crate) async fn load(self, pinned: &mut Pinned, scope: &Scope, parsed: &Parsed) -> Result<MemTable, Refused> {
        let derived = self.derived_for(parsed);
        let schema = Arc::new(self.schema_with(&derived));
        let arrays = match self {
            Self::Rollup(rollup, grain) => rollup_arrays(pinned, scope, rollup, grain, &derived).await?,
            Self::Ledger => rollup_arrays(pinned, scope, &LEDGER, Grain::Hour, &derived).await?,
            Self::Commits => commit_arrays(pinned).await?,
        };
        let batch = RecordBatch::try_new(Arc::clone(&schema), arrays).map_err(|error| refusal(error.into()))?;
        MemTable::try_new(schema, vec![vec![batch]]).map_err(refusal)
    }
}

fn rollup_schema(rollup: &'static Rollup, bucket: &str, derived: &[&Derived]) -> Schema {
    let mut fields = vec![
        field("project", DataType::Utf8, "Isolation boundary."),
        field(bucket, time_type(), "Start of the bucket, UTC."),
    ];
    fields.extend(rollup.keys.iter().map(|key| field(key.name, key_type(key.name), key.doc)));
    fields.extend(rollup.measures.iter().map(|measure| field(measure.name, DataType::Int64, measure.doc)));
    fields.extend(derived.iter().map(|derived| field(derived.name, DataType::Float64, derived.doc)));
    Schema::new(fields)
}

fn key_type(name: &str) -> DataType {
    if name == "log_partition" { DataType::Int32 } else { DataType::Utf8 }
}

async fn rollup_arrays(
    pinned: &mut Pinned,
    scope: &Scope,
    rollup: &'static Rollup,
    grain: Grain,
    derived: &[&Derived],
) -> Result<Vec<ArrayRef>, Refused> {
    let query = RollupQuery {
        group_by: rollup.keys.iter().map(|key| key.name).collect(),
        limit: MAX_ROWS + 1,
        ..RollupQuery::new(rollup, grain, &scope.project, (Timestamp::MIN, Timestamp::MAX))
    };
    let rows = pinned.read.rollup(&query).await?;
    if rows.len() > MAX_ROWS as usize {
        let detail =
            format!("more than {MAX_ROWS} rows: take a coarser grain, or /v1/rollups/{} with a range", rollup.name);
        return Err(Problem::new(422, "rollup_too_large", detail).at("/sql", "max_rows").into());
    }
    let mut arrays: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(rows.iter().map(|_| scope.project.as_ref()))),
        Arc::new(times(rows.iter().map(|row| Some(row.bucket_start)))),
    ];
    for (idx, key) in rollup.keys.iter().enumerate() {
        arrays.push(match key_type(key.name) {
            DataType::Int32 => {
                Arc::new(Int32Array::from_iter(rows.iter().map(|row| row.keys[idx].parse::<i32>().ok())))
            }
            _ => Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.keys[idx].as_str()))),
        });
    }
    for idx in 0..rollup.measures.len() {
        let measure = |row: &RollupRow| row.measures[idx];
        arrays.push(Arc::new(Int64Array::from_iter_values(rows.iter().map(measure))));
    }
    let mut bins = Distributions::new("/sql");
    bins.read(&mut pinned.read, &query, derived).await?;
    for derived in derived {
        let value = |row| derived::value(derived, row, grain.length(), &bins);
        arrays.push(Arc::new(Float64Array::from_iter(rows.iter().map(value))));
    }
    Ok(arrays)
}

async fn commit_arrays(pinned: &mut Pinned) -> Result<Vec<ArrayRef>, Refused> {
    // How much a commit took in is a sum over projects: told only where there is one.
    let is_alone = pinned.read.project_count().await? <= 1;
    let alone = |value: i64| is_alone.then_some(value);
    let rows = pinned.read.commits(MAX_ROWS).await?;
    let committed_at = rows.iter().map(|row| Timestamp::parse_sql(&row.committed_at));
    Ok(vec![
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.commit.0))),
        Arc::new(times(committed_at)),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.lane.as_str()))),
        Arc::new(Int32Array::from_iter(rows.iter().map(|row| i32::try_from(row.log_partition).ok()))),
        Arc::new(Int64Array::from_iter(rows.iter().map(|row| alone(row.from_position)))),
        Arc::new(Int64Array::from_iter(rows.iter().map(|row| alone(row.to_position)))),
        Arc::new(Int64Array::from_iter(rows.iter().map(|row| alone(row.events)))),
    ])
}

fn times(values: impl Iterator<Item = Option<Timestamp>>) -> TimestampMicrosecondArray {
    TimestampMicrosecondArray::from_iter(values.map(|at| at.map(Timestamp::micros))).with_timezone("UTC")
}
