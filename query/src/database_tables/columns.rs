//! The columns of a table of the database while they are filled, row by row.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Builder, Int32Array, Int32Builder, Int64Array, Int64Builder, StringArray, StringBuilder,
    TimestampMicrosecondArray, TimestampMicrosecondBuilder,
};
use arrow::datatypes::DataType;
use schemas::Timestamp;
use schemas::rollups::{Derived, Grain, Rollup};
use warehouse::RollupRow;

use super::key_type;
use crate::answer::Refused;
use crate::derived::{self, Distributions};
use crate::pinned::Pinned;

/// Some columns of a rollup.
pub(crate) struct RollupColumns {
    project: Arc<str>,
    grain: Grain,
    columns: Vec<Column>,
}

/// A column: which part of a row it takes, and what it has so far.
enum Column {
    Project(StringBuilder),
    Bucket(TimestampMicrosecondBuilder),
    Text(usize, StringBuilder),
    Number(usize, Int32Builder),
    Measure(usize, Int64Builder),
    Derived(&'static Derived, Float64Builder),
}

impl Column {
    /// The column at this place of the table.
    fn at(place: usize, rollup: &'static Rollup) -> Option<Self> {
        let (keys, measures) = (rollup.keys.len(), rollup.measures.len());
        Some(match place {
            0 => Self::Project(StringBuilder::new()),
            1 => Self::Bucket(TimestampMicrosecondBuilder::new()),
            _ if place < 2 + keys && key_type(rollup.keys[place - 2].name) == DataType::Int32 => {
                Self::Number(place - 2, Int32Builder::new())
            }
            _ if place < 2 + keys => Self::Text(place - 2, StringBuilder::new()),
            _ if place < 2 + keys + measures => Self::Measure(place - 2 - keys, Int64Builder::new()),
            _ => Self::Derived(rollup.derived.get(place - 2 - keys - measures)?, Float64Builder::new()),
        })
    }

    fn finish(self) -> ArrayRef {
        match self {
            Self::Project(mut texts) | Self::Text(_, mut texts) => Arc::new(texts.finish()),
            Self::Bucket(mut times) => Arc::new(times.finish().with_timezone("UTC")),
            Self::Number(_, mut numbers) => Arc::new(numbers.finish()),
            Self::Measure(_, mut numbers) => Arc::new(numbers.finish()),
            Self::Derived(_, mut numbers) => Arc::new(numbers.finish()),
        }
    }
}

impl RollupColumns {
    /// The columns at these places of the table.
    pub(crate) fn new(rollup: &'static Rollup, grain: Grain, project: &Arc<str>, wanted: &[usize]) -> Self {
        let columns = wanted.iter().filter_map(|place| Column::at(*place, rollup)).collect();
        Self { project: Arc::clone(project), grain, columns }
    }

    /// Those that are computed.
    pub(crate) fn derived(&self) -> Vec<&'static Derived> {
        let derived = self.columns.iter().filter_map(|column| match column {
            Column::Derived(derived, _) => Some(*derived),
            _ => None,
        });
        derived.collect()
    }

    pub(crate) fn push(&mut self, row: &RollupRow, bins: &Distributions) {
        for column in &mut self.columns {
            match column {
                Column::Project(texts) => texts.append_value(&self.project),
                Column::Bucket(times) => times.append_value(row.bucket_start.micros()),
                Column::Text(key, texts) => texts.append_value(&row.keys[*key]),
                Column::Number(key, numbers) => numbers.append_option(row.keys[*key].parse().ok()),
                Column::Measure(measure, numbers) => numbers.append_value(row.measures[*measure]),
                Column::Derived(derived, numbers) => {
                    numbers.append_option(derived::value(derived, row, self.grain.length(), bins));
                }
            }
        }
    }

    pub(crate) fn finish(self) -> Vec<ArrayRef> {
        self.columns.into_iter().map(Column::finish).collect()
    }
}

/// All columns of `commits`, the newest rows.
pub(crate) async fn commit_arrays(pinned: &mut Pinned, limit: u32) -> Result<Vec<ArrayRef>, Refused> {
    // How much a commit took in is a sum over projects: told only where there is one.
    let is_alone = pinned.read.project_count().await? <= 1;
    let alone = |value: i64| is_alone.then_some(value);
    let rows = pinned.read.commits(limit).await?;
    let committed_at = rows.iter().map(|row| Timestamp::parse_sql(&row.committed_at).map(Timestamp::micros));
    Ok(vec![
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.commit.0))),
        Arc::new(TimestampMicrosecondArray::from_iter(committed_at).with_timezone("UTC")),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.lane.as_str()))),
        Arc::new(Int32Array::from_iter(rows.iter().map(|row| i32::try_from(row.log_partition).ok()))),
        Arc::new(Int64Array::from_iter(rows.iter().map(|row| alone(row.from_position)))),
        Arc::new(Int64Array::from_iter(rows.iter().map(|row| alone(row.to_position)))),
        Arc::new(Int64Array::from_iter(rows.iter().map(|row| alone(row.events)))),
    ])
}
