//! Rows in the format that the caller accepts.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::csv::WriterBuilder as CsvWriterBuilder;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use arrow::json::writer::{JsonArray, LineDelimited, WriterBuilder};
use axum::http::{HeaderMap, header};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use schemas::Problem;

use crate::engine::Rows;

/// Formats of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Ndjson,
    Csv,
    Arrow,
    Parquet,
}

const MEDIA_TYPES: [(&str, Format); 8] = [
    ("application/json", Format::Json),
    ("application/x-ndjson", Format::Ndjson),
    ("application/ndjson", Format::Ndjson),
    ("text/csv", Format::Csv),
    ("application/vnd.apache.arrow.stream", Format::Arrow),
    ("application/vnd.apache.parquet", Format::Parquet),
    ("application/*", Format::Json),
    ("*/*", Format::Json),
];

impl Format {
    /// The first format of the `Accept` header that we have; JSON without the header.
    pub(crate) fn accepted(headers: &HeaderMap) -> Result<Self, Problem> {
        let Some(accept) = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()) else {
            return Ok(Self::Json);
        };
        let wanted = accept.split(',').map(|range| range.split(';').next().unwrap_or("").trim().to_ascii_lowercase());
        for media_type in wanted {
            if let Some((_, format)) = MEDIA_TYPES.iter().find(|(known, _)| *known == media_type) {
                return Ok(*format);
            }
        }
        let known: Vec<&str> = MEDIA_TYPES[..6].iter().map(|(media_type, _)| *media_type).collect();
        Err(Problem::new(406, "not_acceptable", format!("a result can be {}", known.join(", "))).at("accept", "one_of"))
    }

    pub(crate) const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Arrow => "application/vnd.apache.arrow.stream",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }

    /// The rows in this format; JSON is the array alone.
    pub(crate) fn encode(self, rows: &Rows) -> Result<Vec<u8>, ArrowError> {
        match self {
            Self::Json => json_array(&rows.batches),
            Self::Ndjson => {
                let mut writer = json_builder().build::<_, LineDelimited>(Vec::new());
                writer.write_batches(&rows.batches.iter().collect::<Vec<_>>())?;
                writer.finish()?;
                Ok(writer.into_inner())
            }
            Self::Csv => csv(rows),
            Self::Arrow => {
                let mut writer = StreamWriter::try_new(Vec::new(), &rows.schema)?;
                for batch in &rows.batches {
                    writer.write(batch)?;
                }
                writer.into_inner()
            }
            Self::Parquet => parquet(&rows.schema, &rows.batches),
        }
    }
}

fn json_builder() -> WriterBuilder {
    WriterBuilder::new().with_explicit_nulls(true)
}

/// Rows as a JSON array of objects; null is written, not left out.
pub(crate) fn json_array(batches: &[RecordBatch]) -> Result<Vec<u8>, ArrowError> {
    let mut writer = json_builder().build::<_, JsonArray>(Vec::new());
    writer.write_batches(&batches.iter().collect::<Vec<_>>())?;
    writer.finish()?;
    let bytes = writer.into_inner();
    Ok(if bytes.is_empty() { b"[]".to_vec() } else { bytes })
}

fn csv(rows: &Rows) -> Result<Vec<u8>, ArrowError> {
    let builder = CsvWriterBuilder::new().with_header(true);
    let mut writer = builder.build(Vec::new());
    if rows.batches.is_empty() {
        // The header comes always.
        writer.write(&RecordBatch::new_empty(Arc::clone(&rows.schema)))?;
    }
    for batch in &rows.batches {
        writer.write(batch)?;
    }
    Ok(writer.into_inner())
}

fn parquet(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Vec<u8>, ArrowError> {
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, Arc::clone(schema), Some(properties))?;
    for batch in batches {
        writer.write(batch)?;
    }
    writer.close()?;
    Ok(bytes)
}
