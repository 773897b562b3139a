//! Leaving out files that cannot hold a wanted row, by the bounds that the catalogue keeps.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, UInt64Array};
use arrow::datatypes::SchemaRef;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, ScalarValue};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use schemas::Timestamp;
use warehouse::DataFile;
use warehouse::tables::{ColumnType, LakeTable};

/// The files that may hold a row for which `predicate` is true.
pub(crate) fn prune(
    table: &'static LakeTable,
    files: &[DataFile],
    schema: SchemaRef,
    predicate: &Arc<dyn PhysicalExpr>,
) -> Vec<DataFile> {
    let bounds = Bounds { table, files };
    let pruning = PruningPredicateBuilder::new().with_file_schema(schema).build(Arc::clone(predicate));
    match pruning.map(|pruning| pruning.prune(&bounds)) {
        Some(Ok(kept)) => files.iter().zip(kept).filter(|(_, kept)| *kept).map(|(file, _)| file.clone()).collect(),
        // A predicate that bounds say nothing about leaves out nothing.
        None | Some(Err(_)) => files.to_vec(),
    }
}

struct Bounds<'a> {
    table: &'static LakeTable,
    files: &'a [DataFile],
}

impl Bounds<'_> {
    fn values(&self, column: &Column, side: impl Fn(&(String, String)) -> &str) -> Option<ArrayRef> {
        let idx = self.table.columns.iter().position(|candidate| candidate.name == column.name)?;
        let ty = self.table.columns[idx].ty;
        let values = self.files.iter().map(|file| scalar(ty, file.bounds[idx].as_ref().map(&side)));
        ScalarValue::iter_to_array(values).ok()
    }
}

/// A bound as the catalogue writes it, as a value of its column's type.
fn scalar(ty: ColumnType, text: Option<&str>) -> ScalarValue {
    match ty {
        ColumnType::Text | ColumnType::LongText => ScalarValue::Utf8(text.map(str::to_owned)),
        ColumnType::Time => {
            let at = text.and_then(Timestamp::parse_sql);
            ScalarValue::TimestampMicrosecond(at.map(Timestamp::micros), Some("UTC".into()))
        }
        ColumnType::Int32 => ScalarValue::Int32(text.and_then(|text| text.parse().ok())),
        ColumnType::Int64 => ScalarValue::Int64(text.and_then(|text| text.parse().ok())),
        ColumnType::Double => ScalarValue::Float64(None),
        ColumnType::Bytes => ScalarValue::Binary(None),
    }
}

impl PruningStatistics for Bounds<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, |(least, _)| least)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, |(_, greatest)| greatest)
    }

    fn num_containers(&self) -> usize {
        self.files.len()
    }

    fn null_counts(&self, _column: &Column) -> Option<ArrayRef> {
        None
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        let rows = self.files.iter().map(|file| u64::try_from(file.rows).unwrap_or(0));
        Some(Arc::new(UInt64Array::from_iter_values(rows)))
    }

    fn contained(&self, _column: &Column, _values: &HashSet<ScalarValue>) -> Option<arrow::array::BooleanArray> {
        None
    }
}
