//! `POST /v1/sql`.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use datafusion::catalog::MemorySchemaProvider;
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use schemas::{Principal, Problem, Scope as Permission};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use warehouse::CommitId;
use warehouse::tables::LAKE_TABLES;

use crate::answer::{Answer, Refused};
use crate::database_tables::{self, DatabaseTable};
use crate::engine::{Rows, refusal};
use crate::gate;
use crate::lake_table::LakeScan;
use crate::output::Format;
use crate::pinned::Pinned;
use crate::scope::Scope;
use crate::{Query, engine};

/// Rows of a result when the caller asks for no number.
const DEFAULT_ROWS: usize = 10_000;

/// What is posted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement {
    sql: String,
    /// Values of `$1`, `$2`, ..
    #[serde(default)]
    params: Vec<Value>,
    /// Lake tables as of this commit.
    as_of: Option<i64>,
    /// At most that many rows.
    limit: Option<usize>,
}

pub(crate) async fn sql(
    State(query): State<Query>,
    Extension(principal): Extension<Principal>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refused> {
    let started = Instant::now();
    let answered = answer(&query, &principal, &headers, &body).await;
    match &answered {
        Ok(_) => query.shared.metrics.answered(started.elapsed().as_secs_f64()),
        Err(Refused(problem)) => query.shared.metrics.rejected(problem.code),
    }
    answered
}

async fn answer(query: &Query, principal: &Principal, headers: &HeaderMap, body: &[u8]) -> Result<Response, Refused> {
    let scope = Scope::of(principal, Permission::SqlRead, None)?;
    let format = Format::accepted(headers)?;
    let statement: Statement = serde_json::from_slice(body).map_err(|error| {
        Problem::new(
            400,
            "bad_statement",
            format!("the body is {{\"sql\", \"params\", \"as_of\", \"limit\"}}: {error}"),
        )
        .at("/", "statement")
    })?;
    gate::check_text(&statement.sql)?;
    let mut pinned = match statement.as_of {
        Some(commit) => query.pin_as_of(CommitId(commit)).await?,
        None => query.pin().await?,
    };
    let context = session(query, &mut pinned, &scope, &statement).await?;
    let meta = pinned.meta();
    drop(pinned);
    let limit = statement.limit.unwrap_or(DEFAULT_ROWS);
    let rows = query.shared.engine.run(limit, move || plan(context, statement)).await?;
    let mut response = encode(format, &rows, meta)?;
    let truncated = HeaderValue::from_static(if rows.truncated { "true" } else { "false" });
    response.headers_mut().insert("streamgauge-truncated", truncated);
    Ok(response)
}

/// A session with the tables that the statement names.
async fn session(
    query: &Query,
    pinned: &mut Pinned,
    scope: &Scope,
    statement: &Statement,
) -> Result<SessionContext, Refused> {
    let context = query.shared.engine.session()?;
    for table in LAKE_TABLES {
        if let Some(scan) = LakeScan::new(table, &pinned.snapshot, scope) {
            context.register_table(table.name, Arc::new(scan)).map_err(refusal)?;
        }
    }
    let named = names(&context, &statement.sql)?;
    for (name, table) in database_tables::all() {
        if !named.contains(&name) {
            continue;
        }
        if statement.as_of.is_some() {
            let detail = format!(
                "`{name}` is kept as of the newest commit only; older commits can be asked in the lake's tables"
            );
            return Err(gate::refused("not_as_of", detail, "lake_tables_only").into());
        }
        let rows = table.load(pinned, scope).await?;
        context.register_table(name.as_str(), Arc::new(rows)).map_err(refusal)?;
    }
    describe(&context, scope)?;
    Ok(context)
}

/// The tables that a statement names, without their schema.
fn names(context: &SessionContext, sql: &str) -> Result<Vec<String>, Refused> {
    let state = context.state();
    let dialect = state.config().options().sql_parser.dialect;
    let parsed = state.sql_to_statement(sql, &dialect).map_err(refusal)?;
    let references = state.resolve_table_references(&parsed).map_err(refusal)?;
    Ok(references.iter().map(|reference| reference.table().to_owned()).collect())
}

async fn plan(context: SessionContext, statement: Statement) -> Result<datafusion::dataframe::DataFrame, Refused> {
    let state = context.state();
    let plan = state.create_logical_plan(&statement.sql).await.map_err(refusal)?;
    gate::check_plan(&plan)?;
    let plan = if statement.params.is_empty() {
        plan
    } else {
        let values: Result<Vec<ScalarValue>, Problem> = statement.params.iter().enumerate().map(param).collect();
        plan.with_param_values(ParamValues::from(values?)).map_err(refusal)?
    };
    context.execute_logical_plan(plan).await.map_err(refusal)
}

fn param((idx, value): (usize, &Value)) -> Result<ScalarValue, Problem> {
    match value {
        Value::Null => Ok(ScalarValue::Null),
        Value::Bool(value) => Ok(ScalarValue::Boolean(Some(*value))),
        Value::String(text) => Ok(ScalarValue::Utf8(Some(text.clone()))),
        Value::Number(number) => Ok(match number.as_i64() {
            Some(number) => ScalarValue::Int64(Some(number)),
            None => ScalarValue::Float64(number.as_f64()),
        }),
        Value::Array(_) | Value::Object(_) => {
            Err(Problem::new(400, "bad_param", "a parameter is a text, a number, true, false or null")
                .at(format!("/params/{idx}"), "scalar"))
        }
    }
}

fn encode(format: Format, rows: &Rows, meta: crate::answer::Meta) -> Result<Response, Refused> {
    let bytes = format.encode(rows).map_err(|error| {
        tracing::error!(error = %error, "a result could not be encoded");
        engine::internal()
    })?;
    if format == Format::Json {
        let text = String::from_utf8(bytes).map_err(|_| engine::internal())?;
        let data = RawValue::from_string(text).map_err(|_| engine::internal())?;
        return Ok(Answer { data, meta, next_cursor: None }.into_response());
    }
    let mut response = (meta.headers(), bytes).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
    Ok(response)
}

/// `information_schema.tables` and `.columns`: what there is and what it means, nothing about the server.
fn describe(context: &SessionContext, scope: &Scope) -> Result<(), Refused> {
    let mut tables: Vec<(String, &str)> = Vec::new();
    let mut columns: Vec<(String, String, String, String)> = Vec::new();
    let mut add = |name: &str, schema: &Schema| {
        for field in schema.fields() {
            let comment = field.metadata().get("comment").cloned().unwrap_or_default();
            columns.push((name.to_owned(), field.name().clone(), type_name(field.data_type()).to_owned(), comment));
        }
    };
    for table in LAKE_TABLES {
        if context.table_exist(table.name).unwrap_or(false) {
            tables.push((table.name.to_owned(), table.doc));
            let visible = |name: &str| scope.sees_bytes || !matches!(name, "body" | "raw");
            let fields =
                table.schema().fields().iter().filter(|field| visible(field.name())).cloned().collect::<Vec<_>>();
            add(table.name, &Schema::new(fields));
        }
    }
    for (name, table) in database_tables::all() {
        let doc = match table {
            DatabaseTable::Rollup(rollup, _) => rollup.doc,
            DatabaseTable::Ledger => schemas::rollups::LEDGER.doc,
            DatabaseTable::Commits => "One commit and one log partition that it moved.",
        };
        add(&name, &table.schema());
        tables.push((name, doc));
    }
    let schema = MemorySchemaProvider::new();
    let texts = |names: &[&str], values: Vec<Vec<String>>| -> Result<MemTable, Refused> {
        let fields: Vec<Field> = names.iter().map(|name| Field::new(*name, DataType::Utf8, false)).collect();
        let schema = Arc::new(Schema::new(fields));
        let arrays = values.into_iter().map(|column| Arc::new(StringArray::from(column)) as _).collect();
        let batch = RecordBatch::try_new(Arc::clone(&schema), arrays).map_err(|error| refusal(error.into()))?;
        MemTable::try_new(schema, vec![vec![batch]]).map_err(refusal)
    };
    let (names, docs) = tables.into_iter().map(|(name, doc)| (name, doc.to_owned())).unzip();
    let tables = texts(&["table_name", "comment"], vec![names, docs])?;
    let mut lists = vec![Vec::new(), Vec::new(), Vec::new(), Vec::new()];
    for (table, column, ty, comment) in columns {
        for (list, value) in lists.iter_mut().zip([table, column, ty, comment]) {
            list.push(value);
        }
    }
    let columns = texts(&["table_name", "column_name", "data_type", "comment"], lists)?;
    use datafusion::catalog::SchemaProvider;
    schema.register_table("tables".into(), Arc::new(tables)).map_err(refusal)?;
    schema.register_table("columns".into(), Arc::new(columns)).map_err(refusal)?;
    if let Some(catalog) = context.catalog(engine::CATALOGUE) {
        catalog.register_schema("information_schema", Arc::new(schema)).map_err(refusal)?;
    }
    Ok(())
}

/// The SQL name of a type.
const fn type_name(ty: &DataType) -> &'static str {
    match ty {
        DataType::Timestamp(..) => "timestamptz",
        DataType::Int32 => "integer",
        DataType::Int64 => "bigint",
        DataType::Binary => "bytea",
        _ => "text",
    }
}
