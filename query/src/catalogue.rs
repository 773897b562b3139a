//! `information_schema.tables` and `.columns`: what there is and what it means, nothing about the server.

use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::{MemorySchemaProvider, SchemaProvider};
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use warehouse::tables::LAKE_TABLES;

use crate::answer::Refused;
use crate::database_tables::{self, DatabaseTable};
use crate::engine::CATALOGUE;
use crate::failures::refusal;
use crate::lake_table::visible_schema;
use crate::scope::Scope;

/// Adds the two tables to a session, with what `scope` may see.
pub(crate) fn describe(context: &SessionContext, scope: &Scope) -> Result<(), Refused> {
    let mut tables = [Vec::new(), Vec::new()];
    let mut columns = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
    let mut add = |name: &str, doc: &str, schema: &Schema| {
        push(&mut tables, [name, doc]);
        for field in schema.fields() {
            let comment = field.metadata().get("comment").map_or("", String::as_str);
            push(&mut columns, [name, field.name(), type_name(field.data_type()), comment]);
        }
    };
    for table in LAKE_TABLES {
        if let Some(schema) = visible_schema(table, scope) {
            add(table.name, table.doc, &schema);
        }
    }
    for (name, table) in database_tables::all() {
        let doc = match table {
            DatabaseTable::Rollup(rollup, _) => rollup.doc,
            DatabaseTable::Ledger => schemas::rollups::LEDGER.doc,
            DatabaseTable::Commits => "One commit and one log partition that it moved.",
        };
        add(&name, doc, &table.schema());
    }
    let schema = MemorySchemaProvider::new();
    let tables = texts(&["table_name", "comment"], tables)?;
    let columns = texts(&["table_name", "column_name", "data_type", "comment"], columns)?;
    schema.register_table("tables".into(), Arc::new(tables)).map_err(refusal)?;
    schema.register_table("columns".into(), Arc::new(columns)).map_err(refusal)?;
    if let Some(catalogue) = context.catalog(CATALOGUE) {
        catalogue.register_schema("information_schema", Arc::new(schema)).map_err(refusal)?;
    }
    Ok(())
}

fn push<const N: usize>(lists: &mut [Vec<String>; N], values: [&str; N]) {
    for (list, value) in lists.iter_mut().zip(values) {
        list.push(value.to_owned());
    }
}

fn texts<const N: usize>(names: &[&str; N], lists: [Vec<String>; N]) -> Result<MemTable, Refused> {
    let fields: Vec<Field> = names.iter().map(|name| Field::new(*name, DataType::Utf8, false)).collect();
    let schema = Arc::new(Schema::new(fields));
    let arrays = lists.into_iter().map(|list| Arc::new(StringArray::from(list)) as _).collect();
    let batch = RecordBatch::try_new(Arc::clone(&schema), arrays).map_err(|error| refusal(error.into()))?;
    MemTable::try_new(schema, vec![vec![batch]]).map_err(refusal)
}

/// The SQL name of a type.
const fn type_name(ty: &DataType) -> &'static str {
    match ty {
        DataType::Timestamp(..) => "timestamptz",
        DataType::Int32 => "integer",
        DataType::Int64 => "bigint",
        DataType::Float64 => "double precision",
        DataType::Binary => "bytea",
        _ => "text",
    }
}
