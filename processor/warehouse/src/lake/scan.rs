//! Parquet to rows, for merging and for folding records again. Queries do not come through here.

use std::io;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowPredicateFn, ParquetRecordBatchReaderBuilder, RowFilter};
use parquet::file::metadata::RowGroupMetaData;
use thiserror::Error;

use super::Lake;
use crate::tables::LakeTable;

/// Why a file of the lake could not be read.
#[derive(Debug, Error)]
pub enum ScanError {
    /// It is missing or unreadable.
    #[error("open lake file `{path}`")]
    Open {
        /// The file.
        path: String,
        /// What the file system or the store said.
        #[source]
        source: io::Error,
    },
    /// It is damaged.
    #[error("read lake file `{path}`")]
    Read {
        /// The file.
        path: String,
        /// What the reader said.
        #[source]
        source: parquet::errors::ParquetError,
    },
}

/// What the rows of a file take before compression, as its footer says.
pub(crate) fn plain_bytes(lake: &Lake, path: &str) -> Result<u64, ScanError> {
    let file = lake.open_file(path).map_err(|source| ScanError::Open { path: path.to_owned(), source })?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file)
        .map_err(|source| ScanError::Read { path: path.to_owned(), source })?;
    let bytes: i64 = builder.metadata().row_groups().iter().map(RowGroupMetaData::total_byte_size).sum();
    Ok(u64::try_from(bytes).unwrap_or(0))
}

/// Whether a file may hold one of these values in one of these columns, as far as its Bloom filters tell.
///
/// # Errors
///
/// [`ScanError`].
pub fn may_hold_text(lake: &Lake, path: &str, columns: &[&str], values: &[&str]) -> Result<bool, ScanError> {
    let failed = |source| ScanError::Read { path: path.to_owned(), source };
    let file = lake.open_file(path).map_err(|source| ScanError::Open { path: path.to_owned(), source })?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(failed)?;
    for row_group in 0..builder.metadata().num_row_groups() {
        for column in columns {
            let schema = builder.parquet_schema();
            let Some(idx) = schema.columns().iter().position(|known| known.name() == *column) else { return Ok(true) };
            match builder.get_row_group_column_bloom_filter(row_group, idx).map_err(failed)? {
                Some(filter) if !values.iter().any(|value| filter.check(*value)) => {}
                _ => return Ok(true),
            }
        }
    }
    Ok(false)
}

/// Reads a file of a table in batches of `batch_rows`, these columns only (all if empty), in the table's order. A column that
/// the table did not have when the file was written is null.
///
/// # Errors
///
/// [`ScanError`]; a damaged file never gives wrong rows silently, its pages carry checksums of their compression.
pub fn scan_parquet(
    lake: &Lake,
    table: &'static LakeTable,
    path: &str,
    columns: &[&str],
    batch_rows: usize,
) -> Result<impl Iterator<Item = Result<RecordBatch, ScanError>> + use<>, ScanError> {
    scan(lake, table, path, columns, batch_rows, None)
}

/// Which rows are wanted, by some of their columns.
pub(crate) type Wanted<'a> = (&'a [&'a str], Box<dyn FnMut(&RecordBatch) -> BooleanArray + Send>);

/// The same with wanted rows only. What lies in pages without any is not even decompressed.
///
/// # Errors
///
/// [`ScanError`].
pub(crate) fn scan_parquet_where(
    lake: &Lake,
    table: &'static LakeTable,
    path: &str,
    columns: &[&str],
    batch_rows: usize,
    wanted: Wanted<'_>,
) -> Result<impl Iterator<Item = Result<RecordBatch, ScanError>> + use<>, ScanError> {
    scan(lake, table, path, columns, batch_rows, Some(wanted))
}

fn scan(
    lake: &Lake,
    table: &'static LakeTable,
    path: &str,
    columns: &[&str],
    batch_rows: usize,
    wanted: Option<Wanted<'_>>,
) -> Result<impl Iterator<Item = Result<RecordBatch, ScanError>> + use<>, ScanError> {
    let is_whole = columns.is_empty() && wanted.is_none();
    let file = if is_whole { lake.open_whole(path) } else { lake.open_file(path) };
    let file = file.map_err(|source| ScanError::Open { path: path.to_owned(), source })?;
    let failed = {
        let path = path.to_owned();
        move |source| ScanError::Read { path: path.clone(), source }
    };
    let mut builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(&failed)?;
    let mask = |columns: &[&str]| ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
    let projection = (!columns.is_empty()).then(|| mask(columns));
    let predicate = wanted.map(|(of, mut wanted)| ArrowPredicateFn::new(mask(of), move |batch| Ok(wanted(&batch))));
    if let Some(projection) = projection {
        builder = builder.with_projection(projection);
    }
    if let Some(predicate) = predicate {
        builder = builder.with_row_filter(RowFilter::new(vec![Box::new(predicate)]));
    }
    let reader = builder.with_batch_size(batch_rows).build().map_err(&failed)?;
    let wanted = table.schema();
    let fields = wanted.fields().iter().filter(|field| columns.is_empty() || columns.contains(&field.name().as_str()));
    let wanted = Arc::new(Schema::new(fields.cloned().collect::<Vec<_>>()));
    Ok(reader.map(move |batch| batch.and_then(|batch| widened(&batch, &wanted)).map_err(|error| failed(error.into()))))
}

/// The batch with exactly these columns.
fn widened(batch: &RecordBatch, wanted: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let rows = batch.num_rows();
    let columns = wanted.fields().iter().map(|field| {
        let column = batch.column_by_name(field.name());
        column.map_or_else(|| new_null_array(field.data_type(), rows), Arc::clone)
    });
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(wanted), columns.collect(), &options)
}
