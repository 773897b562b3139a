//! Rows to Parquet, with what the catalogue wants to know about the file.

use arrow::array::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnPath;
use schemas::Timestamp;

use crate::commit::count;
use crate::tables::{ColumnType, LakeTable};

/// Measured with rows in the order of the log: the next levels take more time and more room, 6 takes as much room.
const ZSTD_LEVEL: i32 = 1;
/// Rows of a row group: large enough to compress, small enough to skip.
const ROW_GROUP_ROWS: usize = 131_072;

/// A Parquet file in memory, and what the catalogue says about it.
#[derive(Clone, PartialEq)]
pub struct EncodedFile {
    /// The file.
    pub bytes: Vec<u8>,
    /// Its rows.
    pub rows: i64,
    /// Length of the footer's metadata.
    pub footer_bytes: i64,
    /// By column, in the table's order.
    pub columns: Vec<ColumnBounds>,
}

impl std::fmt::Debug for EncodedFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EncodedFile")
            .field("rows", &self.rows)
            .field("bytes", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

/// Statistics of one column of a file, bounds as the catalogue writes them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ColumnBounds {
    /// Bytes it takes in the file.
    pub bytes: i64,
    /// Values, nulls among them.
    pub values: i64,
    /// Nulls.
    pub nulls: i64,
    /// Least and greatest value, if there is one and the type keeps bounds.
    pub bounds: Option<(String, String)>,
}

/// A Parquet file in the making, in memory: zstd, field ids, statistics per column.
pub struct ParquetEncoder {
    table: &'static LakeTable,
    writer: ArrowWriter<Vec<u8>>,
    rows: usize,
    /// By column, in the table's order.
    nulls: Vec<usize>,
}

impl std::fmt::Debug for ParquetEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParquetEncoder")
            .field("table", &self.table.name)
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

impl ParquetEncoder {
    /// A file for rows of this table.
    ///
    /// # Errors
    ///
    /// What the writer says.
    pub fn new(table: &'static LakeTable) -> Result<Self, ParquetError> {
        let writer = ArrowWriter::try_new(Vec::new(), table.schema(), Some(properties(table)?))?;
        Ok(Self { table, writer, rows: 0, nulls: vec![0; table.columns.len()] })
    }

    /// Adds rows.
    ///
    /// # Errors
    ///
    /// What the writer says; only a batch of another schema can make it fail.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), ParquetError> {
        self.writer.write(batch)?;
        self.rows += batch.num_rows();
        for (nulls, values) in self.nulls.iter_mut().zip(batch.columns()) {
            *nulls += values.null_count();
        }
        Ok(())
    }

    /// The file.
    ///
    /// # Errors
    ///
    /// What the writer says.
    pub fn finish(mut self) -> Result<EncodedFile, ParquetError> {
        let about = self.writer.finish()?;
        let bytes = std::mem::take(self.writer.inner_mut());
        let footer_bytes =
            bytes.len().checked_sub(8).and_then(|at| bytes.get(at..at + 4)?.try_into().ok()).map(u32::from_le_bytes);
        Ok(EncodedFile {
            rows: count(self.rows),
            footer_bytes: footer_bytes.unwrap_or(0).into(),
            columns: (self.table.columns.iter().zip(self.nulls).enumerate())
                .map(|(idx, (column, nulls))| ColumnBounds { nulls: count(nulls), ..bounds_of(&about, idx, column.ty) })
                .collect(),
            bytes,
        })
    }
}

/// Writes batches as one Parquet file.
///
/// # Errors
///
/// As [`ParquetEncoder`].
pub fn encode_parquet<'a>(
    table: &'static LakeTable,
    batches: impl IntoIterator<Item = &'a RecordBatch>,
) -> Result<EncodedFile, ParquetError> {
    let mut encoder = ParquetEncoder::new(table)?;
    for batch in batches {
        encoder.write(batch)?;
    }
    encoder.finish()
}

fn properties(table: &LakeTable) -> Result<WriterProperties, ParquetError> {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_statistics_truncate_length(None)
        .set_column_index_truncate_length(None)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS));
    for column in table.columns {
        let path = ColumnPath::from(column.name);
        properties = match column.ty {
            // Rising or close numbers: differences are smaller than a dictionary.
            ColumnType::Time | ColumnType::Int64 => properties
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED),
            ColumnType::LongText | ColumnType::Bytes => properties
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_statistics_enabled(path, EnabledStatistics::None),
            // Unique: a dictionary would be built only to be thrown away.
            ColumnType::Text if column.name == "event_id" => properties.set_column_dictionary_enabled(path, false),
            ColumnType::Text | ColumnType::Int32 | ColumnType::Double => properties,
        };
    }
    for column in table.looked_up_by {
        properties = properties.set_column_bloom_filter_enabled(ColumnPath::from(*column), true);
    }
    Ok(properties.build())
}

fn bounds_of(about: &ParquetMetaData, idx: usize, ty: ColumnType) -> ColumnBounds {
    let mut column = ColumnBounds::default();
    let mut least: Option<Bound> = None;
    let mut greatest: Option<Bound> = None;
    for row_group in about.row_groups() {
        let chunk = row_group.column(idx);
        column.bytes += chunk.compressed_size();
        column.values += chunk.num_values();
        let Some(statistics) = chunk.statistics() else { continue };
        if let Some((min, max)) = Bound::of(statistics) {
            least = Some(least.map_or(min.clone(), |least| least.min(min)));
            greatest = Some(greatest.map_or(max.clone(), |greatest| greatest.max(max)));
        }
    }
    if ty.has_bounds() {
        column.bounds = least.zip(greatest).map(|(least, greatest)| (least.print(ty), greatest.print(ty)));
    }
    column
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Bound {
    Number(i64),
    Bytes(Vec<u8>),
}

impl Bound {
    fn of(statistics: &Statistics) -> Option<(Self, Self)> {
        match statistics {
            Statistics::Int32(values) => {
                Some((Self::Number((*values.min_opt()?).into()), Self::Number((*values.max_opt()?).into())))
            }
            Statistics::Int64(values) => Some((Self::Number(*values.min_opt()?), Self::Number(*values.max_opt()?))),
            Statistics::ByteArray(values) => {
                Some((Self::Bytes(values.min_opt()?.data().to_vec()), Self::Bytes(values.max_opt()?.data().to_vec())))
            }
            _ => None,
        }
    }

    fn print(&self, ty: ColumnType) -> String {
        match self {
            Self::Number(us) if ty == ColumnType::Time => Timestamp::from_micros(*us).to_sql(),
            Self::Number(number) => number.to_string(),
            Self::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        }
    }
}
