//! Columns that grow row by row, and are encoded in portions: what is encoded while it is in the processor's cache costs
//! less, and what waits for a commit is small.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryBuilder, Float64Builder, GenericByteBuilder, Int32Builder, Int64Builder, PrimitiveBuilder,
    RecordBatch, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{ArrowPrimitiveType, ByteArrayType};
use parquet::errors::ParquetError;
use schemas::Timestamp;
use warehouse::tables::{ColumnType, LakeTable};
use warehouse::{EncodedFile, ParquetEncoder};

use crate::runner::RunError;

/// Rows of a lake table in the making: the last ones as columns, those before them encoded already.
pub(super) struct Columns {
    table: &'static LakeTable,
    builders: Vec<Column>,
    /// Rows in the columns.
    rows: usize,
    encoder: Option<Box<ParquetEncoder>>,
    /// Rows that are encoded.
    encoded: usize,
}

enum Column {
    Text(StringBuilder),
    Time(TimestampMicrosecondBuilder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Double(Float64Builder),
    Bytes(BinaryBuilder),
}

/// One value, on its way into the next column.
pub(super) enum Value<'a> {
    Text(Option<&'a str>),
    Time(Option<Timestamp>),
    Int32(Option<i32>),
    Int64(Option<i64>),
    Double(Option<f64>),
    Bytes(&'a [u8]),
}

impl Columns {
    pub(super) fn new(table: &'static LakeTable) -> Self {
        let builders = table.columns.iter().map(|column| match column.ty {
            ColumnType::Text | ColumnType::LongText => Column::Text(StringBuilder::new()),
            ColumnType::Time => Column::Time(TimestampMicrosecondBuilder::new().with_timezone("UTC")),
            ColumnType::Int32 => Column::Int32(Int32Builder::new()),
            ColumnType::Int64 => Column::Int64(Int64Builder::new()),
            ColumnType::Double => Column::Double(Float64Builder::new()),
            ColumnType::Bytes => Column::Bytes(BinaryBuilder::new()),
        });
        Self { table, builders: builders.collect(), rows: 0, encoder: None, encoded: 0 }
    }

    /// Appends a row: its values in the order of the table's columns.
    pub(super) fn push<'v>(&mut self, row: impl IntoIterator<Item = Value<'v>>) {
        let mut values = row.into_iter();
        for builder in &mut self.builders {
            let value = values.next().expect("a row has all columns of its table");
            match (builder, value) {
                (Column::Text(builder), Value::Text(value)) => builder.append_option(value),
                (Column::Time(builder), Value::Time(value)) => builder.append_option(value.map(Timestamp::micros)),
                (Column::Int32(builder), Value::Int32(value)) => builder.append_option(value),
                (Column::Int64(builder), Value::Int64(value)) => builder.append_option(value),
                (Column::Double(builder), Value::Double(value)) => builder.append_option(value),
                (Column::Bytes(builder), Value::Bytes(value)) => builder.append_value(value),
                _ => unreachable!("a row has the types of its table"),
            }
        }
        debug_assert!(values.next().is_none(), "a row has the columns of its table");
        self.rows += 1;
    }

    pub(super) const fn len(&self) -> usize {
        self.encoded + self.rows
    }

    /// Encodes what is in the columns; they keep their room.
    pub(super) fn encode(&mut self) -> Result<(), RunError> {
        if self.rows == 0 {
            return Ok(());
        }
        self.encoded += std::mem::take(&mut self.rows);
        let arrays: Vec<ArrayRef> = self.builders.iter_mut().map(Column::take).collect();
        let batch =
            RecordBatch::try_new(self.table.schema(), arrays).expect("columns of one length and the table's types");
        let failed = failed(self.table);
        let encoder = match &mut self.encoder {
            Some(encoder) => encoder,
            none => none.insert(Box::new(ParquetEncoder::new(self.table).map_err(failed)?)),
        };
        encoder.write(&batch).map_err(failed)
    }

    /// The file of all rows; `None` without rows.
    pub(super) fn take(&mut self) -> Result<Option<(&'static LakeTable, EncodedFile)>, RunError> {
        self.encode()?;
        self.encoded = 0;
        let Some(encoder) = self.encoder.take() else { return Ok(None) };
        Ok(Some((self.table, encoder.finish().map_err(failed(self.table))?)))
    }
}

fn failed(table: &LakeTable) -> impl Fn(ParquetError) -> RunError + Copy {
    let table = table.name;
    move |source| RunError::Encode { table, source: source.into() }
}

impl Column {
    /// Its values. What comes next finds as much room as they took, and a little more.
    fn take(&mut self) -> ArrayRef {
        match self {
            Self::Text(builder) => take_bytes(builder),
            Self::Bytes(builder) => take_bytes(builder),
            Self::Time(builder) => take_numbers(builder),
            Self::Int32(builder) => take_numbers(builder),
            Self::Int64(builder) => take_numbers(builder),
            Self::Double(builder) => take_numbers(builder),
        }
    }
}

fn take_numbers<T: ArrowPrimitiveType>(builder: &mut PrimitiveBuilder<T>) -> ArrayRef {
    let values = builder.finish();
    *builder = PrimitiveBuilder::with_capacity(room(values.len())).with_data_type(values.data_type().clone());
    Arc::new(values)
}

fn take_bytes<T: ByteArrayType>(builder: &mut GenericByteBuilder<T>) -> ArrayRef {
    let values = builder.finish();
    *builder = GenericByteBuilder::with_capacity(room(values.len()), room(values.value_data().len()));
    Arc::new(values)
}

const fn room(len: usize) -> usize {
    len + len / 8
}
