//! Which rows go into which file of a merge, and in which order.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::interleave_record_batch;
use arrow::datatypes::TimestampMicrosecondType;
use arrow::error::ArrowError;
use arrow::row::{RowConverter, Rows, SortField};
use schemas::Timestamp;

use crate::tables::LakeTable;

/// A day with fewer rows than this gets no file of its own: events of a thousand days must not become a thousand files.
const DAY_MIN_ROWS: usize = 4096;

/// Which batch, and which of its rows.
type Place = (usize, usize);

/// The rows of each day with many of them, and those of all other days together, in the order of [`LakeTable::sorted_by`].
/// Where that is equal they keep their order: what a device sends together resembles itself, and events take half the room
/// that they take in the order of time.
pub(super) fn split(table: &LakeTable, batches: Vec<RecordBatch>) -> Result<Vec<Vec<RecordBatch>>, ArrowError> {
    let keys = sort_keys(table, &batches)?;
    let key = |(batch, row): &Place| keys[*batch].row(*row);
    let mut parts = places_by_day(table, &batches);
    if let [only] = parts.as_slice()
        && only.is_sorted_by_key(key)
    {
        return Ok(vec![batches]);
    }
    let sorted = |places: &mut Vec<Place>| {
        places.sort_by_key(key);
        rows_at(&batches, places)
    };
    parts.iter_mut().map(sorted).collect()
}

/// Rows that stay side by side in so many on average are not copied.
const MIN_RUN_ROWS: usize = 8;

/// The rows at these places.
fn rows_at(batches: &[RecordBatch], places: &[Place]) -> Result<Vec<RecordBatch>, ArrowError> {
    let runs: Vec<&[Place]> =
        places.chunk_by(|(batch, row), (next_batch, next)| batch == next_batch && row + 1 == *next).collect();
    if runs.len() * MIN_RUN_ROWS <= places.len() {
        let run = |run: &[Place]| batches[run[0].0].slice(run[0].1, run.len());
        return Ok(runs.into_iter().map(run).collect());
    }
    Ok(vec![interleave_record_batch(&batches.iter().collect::<Vec<_>>(), places)?])
}

/// What each row is sorted by.
fn sort_keys(table: &LakeTable, batches: &[RecordBatch]) -> Result<Vec<Rows>, ArrowError> {
    let columns: Vec<usize> = table.sorted_by.iter().map(|name| table.index_of(name)).collect();
    let fields = columns.iter().map(|column| SortField::new(table.columns[*column].ty.arrow())).collect();
    let converter = RowConverter::new(fields)?;
    let values =
        |batch: &RecordBatch| columns.iter().map(|column| Arc::clone(batch.column(*column))).collect::<Vec<_>>();
    batches.iter().map(|batch| converter.convert_columns(&values(batch))).collect()
}

/// The places of the rows of each day with many of them, and of those of all other days together, each in their order.
fn places_by_day(table: &LakeTable, batches: &[RecordBatch]) -> Vec<Vec<Place>> {
    let column = table.index_of(table.day_column);
    let mut days: BTreeMap<i64, Vec<Place>> = BTreeMap::new();
    for (idx, batch) in batches.iter().enumerate() {
        for (row, time) in batch.column(column).as_primitive::<TimestampMicrosecondType>().values().iter().enumerate() {
            days.entry(Timestamp::from_micros(*time).utc_day()).or_default().push((idx, row));
        }
    }
    if days.len() == 1 {
        return days.into_values().collect();
    }
    let (mut parts, few): (Vec<_>, Vec<_>) = days.into_values().partition(|places| places.len() >= DAY_MIN_ROWS);
    let mut rest = few.concat();
    rest.sort_unstable();
    parts.push(rest);
    parts.retain(|places| !places.is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray, new_null_array};
    use arrow::datatypes::Int64Type;

    use super::*;
    use crate::tables::{EVENTS, RECORDS};

    const DAY_US: i64 = 86_400_000_000;

    /// Rows with these columns and nulls in all others.
    fn rows(table: &LakeTable, known: &[(&str, ArrayRef)]) -> RecordBatch {
        let columns = table.columns.iter().map(|column| {
            let values = known.iter().find(|(name, _)| *name == column.name).map(|(_, values)| Arc::clone(values));
            values.unwrap_or_else(|| new_null_array(&column.ty.arrow(), known[0].1.len()))
        });
        RecordBatch::try_new(table.schema(), columns.collect()).unwrap()
    }

    fn times(micros: impl Iterator<Item = i64>) -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone("UTC"))
    }

    /// Events: project, `corrected_at` and, to know them by, `seq`.
    fn events(told: &[(&str, i64, i64)]) -> RecordBatch {
        let projects: ArrayRef = Arc::new(StringArray::from_iter_values(told.iter().map(|event| event.0)));
        let seqs: ArrayRef = Arc::new(Int64Array::from_iter_values(told.iter().map(|event| event.2)));
        rows(
            &EVENTS,
            &[("project", projects), ("corrected_at", times(told.iter().map(|event| event.1))), ("seq", seqs)],
        )
    }

    /// The numbers of the rows of each part.
    fn numbers(table: &LakeTable, column: &str, batches: Vec<RecordBatch>) -> Vec<Vec<i64>> {
        let of = |batch: &RecordBatch| batch[column].as_primitive::<Int64Type>().values().to_vec();
        split(table, batches).unwrap().iter().map(|part| part.iter().flat_map(of).collect()).collect()
    }

    #[test]
    fn events_of_one_project_and_day_stay_as_they_came() {
        let batches = vec![events(&[("a", 9, 1), ("a", 3, 2)]), events(&[("a", 5, 3)])];
        assert_eq!(split(&EVENTS, batches.clone()).unwrap(), [batches]);
    }

    #[test]
    fn events_of_a_project_lie_side_by_side_in_the_order_in_which_they_came() {
        let batches = vec![events(&[("b", 9, 1), ("a", 8, 2), ("b", 3, 3)]), events(&[("a", 1, 4), ("b", 2, 5)])];
        assert_eq!(numbers(&EVENTS, "seq", batches), [[2, 4, 1, 3, 5]]);
    }

    #[test]
    fn rows_that_stay_side_by_side_are_not_copied() {
        let many = i64::try_from(MIN_RUN_ROWS).unwrap();
        let of = |project, seqs: std::ops::Range<i64>| events(&seqs.map(|seq| (project, 0, seq)).collect::<Vec<_>>());
        let batches = vec![of("b", 0..many), of("a", many..3 * many)];
        let parts = split(&EVENTS, batches.clone()).unwrap();
        assert_eq!(parts, [[batches[1].clone(), batches[0].clone()]]);
        let seqs = |batch: &RecordBatch| batch["seq"].to_data().buffers()[0].as_ptr();
        assert_eq!(parts[0].iter().map(seqs).collect::<Vec<_>>(), [seqs(&batches[1]), seqs(&batches[0])]);
    }

    #[test]
    fn records_lie_in_the_order_of_the_log_whatever_the_order_of_their_files() {
        let records = |partitions: [i32; 3], positions: [i64; 3]| {
            let partitions: ArrayRef = Arc::new(Int32Array::from_iter_values(partitions));
            let positions: ArrayRef = Arc::new(Int64Array::from_iter_values(positions));
            let log_time = times([0; 3].into_iter());
            rows(&RECORDS, &[("log_partition", partitions), ("log_position", positions), ("log_time", log_time)])
        };
        let batches = vec![records([1, 1, 0], [70, 71, 8]), records([0, 0, 1], [6, 7, 60])];
        assert_eq!(numbers(&RECORDS, "log_position", batches), [[6, 7, 8, 60, 70, 71]]);
    }

    #[test]
    fn a_day_with_many_rows_has_a_file_and_all_others_share_one() {
        let many = i64::try_from(DAY_MIN_ROWS).unwrap();
        let mut told: Vec<_> = (0..many).map(|seq| ("a", DAY_US + seq, seq)).collect();
        told.insert(0, ("b", 7 * DAY_US, -1));
        told.push(("a", 0, -2));
        assert_eq!(numbers(&EVENTS, "seq", vec![events(&told)]), [(0..many).collect(), vec![-2, -1]]);
    }
}
