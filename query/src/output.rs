//! Rows in a format, up to a number of bytes.

use std::io::{self, Write};

use arrow::array::RecordBatch;
use arrow::csv::WriterBuilder as CsvWriterBuilder;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use arrow::json::writer::{JsonArray, LineDelimited, WriterBuilder};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use schemas::Problem;
use serde::Serialize;

use crate::answer::{Meta, Refused};
use crate::engine::{Rows, result_too_large};
use crate::failures::internal;

/// Formats of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// `{"data": .., "meta": {..}}`.
    Json,
    Ndjson,
    /// Raw cells.
    Csv,
    Arrow,
    Parquet,
}

impl Format {
    pub(crate) const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Arrow => "application/vnd.apache.arrow.stream",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }

    /// Refuses a result with a column that cannot be written in this format.
    pub(crate) fn check(self, schema: &Schema) -> Result<(), Problem> {
        let Some(column) = schema.fields().iter().find(|field| !self.can_write(field.data_type())) else {
            return Ok(());
        };
        let detail = format!(
            "column `{}` is a {} and cannot be written as {}: cast it, or ask for another format",
            column.name(),
            column.data_type(),
            self.media_type()
        );
        Err(Problem::new(400, "column_not_writable", detail).at("/sql", "writable"))
    }

    fn can_write(self, ty: &DataType) -> bool {
        match self {
            Self::Arrow => true,
            Self::Csv => !ty.is_nested(),
            Self::Json | Self::Ndjson => !holds(ty, &|ty| matches!(ty, DataType::Union(..))),
            Self::Parquet => !holds(ty, &|ty| matches!(ty, DataType::Union(..) | DataType::Interval(_))),
        }
    }

    /// The rows in this format.
    ///
    /// # Errors
    ///
    /// 422 beyond `max_bytes`.
    pub(crate) fn encode(self, rows: &Rows, meta: &Meta, max_bytes: usize) -> Result<Vec<u8>, Refused> {
        let mut capped = Capped { bytes: Vec::new(), max_bytes, is_full: false };
        let encoded = match self {
            Self::Json => json_answer(&mut capped, rows, meta),
            Self::Ndjson => ndjson(&mut capped, &rows.batches),
            Self::Csv => csv(&mut capped, rows),
            Self::Arrow => arrow_stream(&mut capped, rows),
            Self::Parquet => parquet(&mut capped, &rows.schema, &rows.batches),
        };
        capped.end(encoded)
    }
}

/// Whether a type is or contains one of these.
fn holds(ty: &DataType, is_it: &dyn Fn(&DataType) -> bool) -> bool {
    let within = |field: &arrow::datatypes::FieldRef| holds(field.data_type(), is_it);
    is_it(ty)
        || match ty {
            DataType::List(field)
            | DataType::LargeList(field)
            | DataType::FixedSizeList(field, _)
            | DataType::Map(field, _) => within(field),
            DataType::Struct(fields) => fields.iter().any(within),
            DataType::Dictionary(_, value) => holds(value, is_it),
            _ => false,
        }
}

/// Bytes up to a number: the write that would exceed it fails.
struct Capped {
    bytes: Vec<u8>,
    max_bytes: usize,
    is_full: bool,
}

impl Write for Capped {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + part.len() > self.max_bytes {
            self.is_full = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Capped {
    fn end(self, encoded: Result<(), ArrowError>) -> Result<Vec<u8>, Refused> {
        match encoded {
            Ok(()) => Ok(self.bytes),
            Err(_) if self.is_full => Err(result_too_large(self.max_bytes)),
            Err(_) => {
                tracing::error!("a result could not be encoded");
                Err(internal())
            }
        }
    }
}

fn json_builder() -> WriterBuilder {
    WriterBuilder::new().with_explicit_nulls(true)
}

/// Rows as a JSON array of objects, of at most `max_bytes`; null is written, not left out.
///
/// # Errors
///
/// 422 beyond `max_bytes`.
pub(crate) fn json_array(batches: &[RecordBatch], max_bytes: usize) -> Result<Vec<u8>, Refused> {
    let mut capped = Capped { bytes: Vec::new(), max_bytes, is_full: false };
    let encoded = write_json_array(&mut capped, batches);
    capped.end(encoded)
}

fn write_json_array(out: &mut Capped, batches: &[RecordBatch]) -> Result<(), ArrowError> {
    let mut writer = json_builder().build::<_, JsonArray>(out);
    for batch in batches {
        writer.write(batch)?;
    }
    writer.finish()
}

fn json_answer(out: &mut Capped, rows: &Rows, meta: &Meta) -> Result<(), ArrowError> {
    out.write_all(b"{\"data\":")?;
    write_json_array(out, &rows.batches)?;
    out.write_all(b",\"meta\":")?;
    meta.serialize(&mut serde_json::Serializer::new(&mut *out)).map_err(io::Error::from)?;
    Ok(out.write_all(b"}")?)
}

fn ndjson(out: &mut Capped, batches: &[RecordBatch]) -> Result<(), ArrowError> {
    let mut writer = json_builder().build::<_, LineDelimited>(out);
    for batch in batches {
        writer.write(batch)?;
    }
    writer.finish()
}

fn csv(out: &mut Capped, rows: &Rows) -> Result<(), ArrowError> {
    let mut writer = CsvWriterBuilder::new().with_header(true).build(out);
    // The header comes always.
    writer.write(&RecordBatch::new_empty(SchemaRef::clone(&rows.schema)))?;
    rows.batches.iter().try_for_each(|batch| writer.write(batch))
}

fn arrow_stream(out: &mut Capped, rows: &Rows) -> Result<(), ArrowError> {
    let mut writer = StreamWriter::try_new(out, &rows.schema)?;
    for batch in &rows.batches {
        writer.write(batch)?;
    }
    writer.finish()
}

fn parquet(out: &mut Capped, schema: &SchemaRef, batches: &[RecordBatch]) -> Result<(), ArrowError> {
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    let mut writer = ArrowWriter::try_new(out, SchemaRef::clone(schema), Some(properties))?;
    for batch in batches {
        writer.write(batch)?;
    }
    writer.close()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use arrow::datatypes::{Field, UnionFields, UnionMode};
    use warehouse::CommitId;

    use super::*;

    const ALL: [Format; 5] = [Format::Json, Format::Ndjson, Format::Csv, Format::Arrow, Format::Parquet];

    fn meta() -> Meta {
        Meta { commit: CommitId(7), complete_through: None, lag_ms: None, exact: true, rel_error: 0.0 }
    }

    fn rows(texts: &[&str]) -> Rows {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values((1..).take(texts.len())));
        let texts: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
        let batch = RecordBatch::try_from_iter([("n", numbers), ("t", texts)]).unwrap();
        Rows { schema: batch.schema(), batches: vec![batch], truncated: false }
    }

    #[test]
    fn a_result_ends_at_its_bytes_in_every_format() {
        let texts: Vec<String> =
            (0..64_u64).map(|n| format!("{:064x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
        let rows = rows(&texts.iter().map(String::as_str).collect::<Vec<_>>());
        for format in ALL {
            assert!(format.encode(&rows, &meta(), 1 << 20).is_ok(), "{format:?}");
            let Err(Refused(problem)) = format.encode(&rows, &meta(), 500) else { panic!("{format:?}") };
            assert_eq!((problem.status, problem.code), (422, "result_too_large"), "{format:?}");
        }
    }

    #[test]
    fn json_is_an_answer_and_csv_has_its_header_also_without_rows() {
        let empty = Rows { batches: Vec::new(), ..rows(&["x"]) };
        let text =
            |format: Format, rows: &Rows| String::from_utf8(format.encode(rows, &meta(), 4096).unwrap()).unwrap();
        let about =
            "\"meta\":{\"commit\":7,\"complete_through\":null,\"lag_ms\":null,\"exact\":true,\"rel_error\":0.0}}";
        assert_eq!(text(Format::Json, &empty), format!("{{\"data\":[],{about}"));
        assert_eq!(text(Format::Json, &rows(&["x"])), format!("{{\"data\":[{{\"n\":1,\"t\":\"x\"}}],{about}"));
        assert_eq!(text(Format::Csv, &empty), "n,t\n");
        assert_eq!(text(Format::Csv, &rows(&["=1"])), "n,t\n1,=1\n");
        assert_eq!(text(Format::Ndjson, &empty), "");
    }

    #[test]
    fn a_column_that_cannot_be_written_is_named() {
        let item = Arc::new(Field::new("item", DataType::Utf8, true));
        let member = Field::new("s", DataType::Utf8, true);
        let union = DataType::Union(UnionFields::try_new([0], [member]).unwrap(), UnionMode::Sparse);
        let refused = |ty: &DataType| {
            let schema =
                Schema::new(vec![Field::new("good", DataType::Int64, true), Field::new("bad", ty.clone(), true)]);
            ALL.map(|format| format.check(&schema).is_err_and(|problem| problem.detail.contains("`bad`")))
        };
        assert_eq!(refused(&DataType::List(item)), [false, false, true, false, false]);
        assert_eq!(refused(&union), [true, true, true, false, true]);
        assert_eq!(refused(&DataType::Utf8), [false; 5]);
    }
}
