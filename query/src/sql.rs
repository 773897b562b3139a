//! `POST /v1/sql`.
//!
//! The path of a statement: permission, body, limits of the text; then, in the project's turn on the engine's threads:
//! parsing, planning, the allow list; tables of the database are read in one read transaction, which ends before anything
//! runs; running, encoding.
//!
//! `as_of` reads the lake's tables as of an older commit. Tables of the database (rollups, ledger, commits) are kept as
//! of the newest commit only, so a statement that names one is refused with `as_of`: sums over `events` answer the same.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::dataframe::DataFrame;
use datafusion::prelude::SessionContext;
use schemas::fold::sketch::RELATIVE_ERROR;
use schemas::{Principal, Problem, Scope as Permission};
use serde::Deserialize;
use serde_json::Value;
use warehouse::CommitId;

use crate::Query;
use crate::accept::accepted;
use crate::answer::{Meta, Refused};
use crate::bounded::{CONSTANT_MAX_BYTES, Sharing};
use crate::database_tables::scan::{DatabaseScan, Reading};
use crate::engine::Planned;
use crate::failures::refusal;
use crate::gate::{self, Parsed};
use crate::lake_table::add_lake;
use crate::output::Format;
use crate::scope::Scope;
use crate::{body, catalogue, database_tables};

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
    body: Body,
) -> Result<Response, Refused> {
    let started = Instant::now();
    let answered = answer(&query, &principal, &headers, body).await;
    match &answered {
        Ok(_) => query.shared.metrics.answered(started.elapsed().as_secs_f64()),
        Err(Refused(problem)) => query.shared.metrics.rejected(problem.code),
    }
    answered
}

async fn answer(query: &Query, principal: &Principal, headers: &HeaderMap, body: Body) -> Result<Response, Refused> {
    let allowed = Scope::of(principal, Permission::SqlRead, None).and_then(|scope| Ok((scope, accepted(headers)?)));
    let (scope, format) = match allowed {
        Ok(allowed) => allowed,
        Err(problem) => {
            body::discard(body).await;
            return Err(problem.into());
        }
    };
    let statement: Statement = serde_json::from_slice(&body::read(body).await?).map_err(|error| {
        let detail = format!("the body is {{\"sql\", \"params\", \"as_of\", \"limit\"}}: {error}");
        Problem::new(400, "bad_statement", detail).at("/", "statement")
    })?;
    gate::check_text(&statement.sql)?;
    let params: Vec<ScalarValue> = statement.params.iter().enumerate().map(param).collect::<Result<_, _>>()?;
    let (asked, project) = (query.clone(), Arc::clone(&scope.project));
    let work = async move {
        let limit = statement.limit.unwrap_or(DEFAULT_ROWS);
        let statement = Asked { sql: &statement.sql, params, as_of: statement.as_of.map(CommitId), limit };
        asked.run_statement(&scope, statement, format).await
    };
    query.turn(&project, work).await
}

/// A statement that may be asked.
pub(crate) struct Asked<'a> {
    pub(crate) sql: &'a str,
    /// Values of `$1`, `$2`, ..
    pub(crate) params: Vec<ScalarValue>,
    /// Lake tables as of this commit.
    pub(crate) as_of: Option<CommitId>,
    /// At most that many rows.
    pub(crate) limit: usize,
}

/// A statement that is ready to run, and what its answer stands for.
struct Prepared {
    planned: Planned,
    meta: Meta,
    /// Holds what was read until the statement has run.
    _reading: Reading,
}

impl Query {
    /// Runs a statement and writes its rows in a format.
    pub(crate) async fn run_statement(
        &self,
        scope: &Scope,
        asked: Asked<'_>,
        format: Format,
    ) -> Result<Response, Refused> {
        let engine = &self.shared.engine;
        let Prepared { planned, meta, _reading } = self.prepare(scope, asked).await?;
        format.check(&planned.schema())?;
        let rows = engine.execute(planned).await?;
        let bytes = format.encode(&rows, &meta, engine.config.max_result_bytes)?;
        let mut response = (meta.headers(), bytes).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
        let truncated = HeaderValue::from_static(if rows.truncated { "true" } else { "false" });
        headers.insert("streamgauge-truncated", truncated);
        Ok(response)
    }

    /// Plans a statement over the tables that `scope` may see, and reads those of the database.
    async fn prepare(&self, scope: &Scope, asked: Asked<'_>) -> Result<Prepared, Refused> {
        let engine = &self.shared.engine;
        let context = engine.session()?;
        let parsed = gate::parse(&context.state(), asked.sql)?;
        let pinned = match asked.as_of {
            Some(commit) => self.pin_as_of(commit).await?,
            None => self.pin().await?,
        };
        let reading = Reading::new(pinned);
        if add_tables(&context, &reading, scope, &parsed, asked.as_of.is_some())? == 0 {
            reading.end().await;
        }
        let frame = plan(&context, parsed, asked.params).await?;
        let planned = engine.plan(frame, asked.limit).await;
        reading.end().await;
        let (planned, meta) = (planned?, reading.at().meta());
        let meta = if planned.is_exact { meta } else { meta.within(RELATIVE_ERROR) };
        Ok(Prepared { planned, meta, _reading: reading })
    }
}

/// Puts the tables that a statement names into its session. Returns how many of them are of the database.
fn add_tables(
    context: &SessionContext,
    reading: &Reading,
    scope: &Scope,
    parsed: &Parsed,
    is_as_of: bool,
) -> Result<usize, Refused> {
    add_lake(context, &reading.at().snapshot, scope).map_err(refusal)?;
    let mut count = 0;
    for (name, table) in database_tables::all() {
        if !parsed.tables.contains(&name) {
            continue;
        }
        if is_as_of {
            let detail = format!(
                "`{name}` is kept as of the newest commit only; older commits can be asked in the lake's tables"
            );
            return Err(gate::refused("not_as_of", detail, "lake_tables_only").into());
        }
        if let Some(table) = DatabaseScan::new(table, scope, reading) {
            context.register_table(name.as_str(), Arc::new(table)).map_err(refusal)?;
            count += 1;
        }
    }
    catalogue::describe(context, scope)?;
    Ok(count)
}

/// Plans a statement, parameters put in, and holds the plan against the allow list.
async fn plan(context: &SessionContext, parsed: Parsed, params: Vec<ScalarValue>) -> Result<DataFrame, Refused> {
    let mut state = context.state();
    let mut plan = state.statement_to_plan(parsed.statement).await.map_err(refusal)?;
    if !params.is_empty() {
        plan = plan.with_param_values(ParamValues::from(params)).map_err(refusal)?;
    }
    let calls = gate::check_plan(&plan)?;
    state.config_mut().options_mut().extensions.insert(Sharing { calls });
    Ok(DataFrame::new(state, plan))
}

fn param((idx, value): (usize, &Value)) -> Result<ScalarValue, Problem> {
    let refused = |detail: String, rule| Err(Problem::new(400, "bad_param", detail).at(format!("/params/{idx}"), rule));
    match value {
        Value::Null => Ok(ScalarValue::Null),
        Value::Bool(value) => Ok(ScalarValue::Boolean(Some(*value))),
        Value::String(text) if text.len() > CONSTANT_MAX_BYTES => {
            refused(format!("a parameter may have {CONSTANT_MAX_BYTES} bytes"), "max_literal")
        }
        Value::String(text) => Ok(ScalarValue::Utf8(Some(text.clone()))),
        Value::Number(number) => Ok(match number.as_i64() {
            Some(number) => ScalarValue::Int64(Some(number)),
            None => ScalarValue::Float64(number.as_f64()),
        }),
        Value::Array(_) | Value::Object(_) => {
            refused("a parameter is a text, a number, true, false or null".into(), "scalar")
        }
    }
}
