//! Adding up signed rows: `slices` has a row for each commit that changed a contribution, and its readers sum them.
//! Merging sums those that came together in one file.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take};
use arrow::datatypes::Int64Type;
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};

use crate::tables::{ColumnType, LakeTable, SLICES};

/// Rows with equal keys as one row with the sum of each measure, in the order in which the keys first appear; other
/// tables as they are. A sum of nothing but nulls (not measured then) is null, a sum of 0 stays a row: its key was told.
///
/// # Errors
///
/// What Arrow says; only a batch of another schema can make it fail.
pub(crate) fn added_up(table: &LakeTable, batches: Vec<RecordBatch>) -> Result<Vec<RecordBatch>, ArrowError> {
    if table.id != SLICES.id {
        return Ok(batches);
    }
    let rows = concat_batches(&table.schema(), &batches)?;
    let is_measure = |idx: &usize| table.columns[*idx].ty == ColumnType::Int64;
    let keys: Vec<usize> = (0..rows.num_columns()).filter(|idx| !is_measure(idx)).collect();
    let fields = keys.iter().map(|idx| SortField::new(rows.column(*idx).data_type().clone())).collect();
    let columns: Vec<ArrayRef> = keys.iter().map(|idx| Arc::clone(rows.column(*idx))).collect();
    let encoded = RowConverter::new(fields)?.convert_columns(&columns)?;
    let (mut groups, mut firsts) = (HashMap::with_capacity(rows.num_rows()), Vec::new());
    let mut group_of = Vec::with_capacity(rows.num_rows());
    for (key, row) in encoded.iter().zip(0_u32..) {
        let next = firsts.len();
        let group = *groups.entry(key).or_insert(next);
        if group == next {
            firsts.push(row);
        }
        group_of.push(group);
    }
    if firsts.len() == rows.num_rows() {
        return Ok(vec![rows]);
    }
    let count = firsts.len();
    let firsts = UInt32Array::from(firsts);
    let columns = (0..rows.num_columns()).map(|idx| {
        if is_measure(&idx) {
            Ok(sums(rows.column(idx), &group_of, count))
        } else {
            take(rows.column(idx), &firsts, None)
        }
    });
    Ok(vec![RecordBatch::try_new(rows.schema(), columns.collect::<Result<_, _>>()?)?])
}

fn sums(measure: &ArrayRef, group_of: &[usize], count: usize) -> ArrayRef {
    let values = measure.as_primitive::<Int64Type>();
    let mut sums: Vec<Option<i64>> = vec![None; count];
    for (row, group) in group_of.iter().enumerate() {
        if values.is_valid(row) {
            *sums[*group].get_or_insert(0) += values.value(row);
        }
    }
    Arc::new(Int64Array::from(sums))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, StringArray, TimestampMicrosecondArray, new_null_array};

    use super::*;
    use crate::tables::EVENTS;

    /// Rows of `slices`: view, quarter of an hour, attempts and, as a measure that came later, layouts opened.
    fn slices(rows: &[(Option<&str>, i64, i64, Option<i64>)]) -> RecordBatch {
        let schema = SLICES.schema();
        let columns = schema.fields().iter().map(|field| -> ArrayRef {
            match field.name().as_str() {
                "view_id" => Arc::new(StringArray::from_iter(rows.iter().map(|row| row.0))),
                "part" => Arc::new(Int32Array::from(vec![0; rows.len()])),
                "bucket_start" => {
                    let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.1));
                    Arc::new(times.with_timezone("UTC"))
                }
                "attempts" => Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.2))),
                "layouts_opened" => Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.3))),
                _ => new_null_array(field.data_type(), rows.len()),
            }
        });
        RecordBatch::try_new(SLICES.schema(), columns.collect()).unwrap()
    }

    #[test]
    fn equal_keys_are_added_up_and_nothing_else_is() {
        let (a, b) = (Some("a"), Some("b"));
        let rows = slices(&[
            (a, 0, 1, None),
            (None, 0, 5, None),
            (b, 0, 2, Some(3)),
            (a, 0, -1, None),
            (a, 9, 4, None),
            (b, 0, 7, None),
        ]);
        let expected = slices(&[(a, 0, 0, None), (None, 0, 5, None), (b, 0, 9, Some(3)), (a, 9, 4, None)]);
        assert_eq!(added_up(&SLICES, vec![rows]).unwrap(), [expected]);
    }

    #[test]
    fn other_tables_are_left_alone() {
        let columns = EVENTS.schema().fields().iter().map(|field| new_null_array(field.data_type(), 2)).collect();
        let rows = RecordBatch::try_new(EVENTS.schema(), columns).unwrap();
        assert_eq!(added_up(&EVENTS, vec![rows.clone()]).unwrap(), [rows]);
    }
}
