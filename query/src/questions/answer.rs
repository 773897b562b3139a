//! `GET /v1/stats/{name}`: the answer to a question.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, Query as QueryString, State};
use axum::response::Response;
use datafusion::common::ScalarValue;
use schemas::{Principal, Problem, Scope as Permission, Timestamp};

use super::{Asks, Param, Question, named};
use crate::Query;
use crate::answer::Refused;
use crate::local_time::Zone;
use crate::output::Format;
use crate::params::{self, Params};
use crate::scope::Scope;
use crate::sql::Asked;

const DEFAULT_ROWS: u32 = 1_000;
const MAX_ROWS: u32 = 10_000;
const DAY: Duration = Duration::from_secs(86_400);
/// A year and some, as the longest range of the app's dashboard is.
const MAX_DAYS: u32 = 400;
/// Streams with fewer attempts are judged by chance.
const DEFAULT_MIN_ATTEMPTS: u32 = 25;
const MAX_MIN_ATTEMPTS: u32 = 1_000_000;

pub(crate) async fn answer(
    State(query): State<Query>,
    Extension(principal): Extension<Principal>,
    name: Result<Path<String>, PathRejection>,
    QueryString(params): QueryString<Params>,
) -> Result<Response, Refused> {
    let question = name.ok().and_then(|Path(name)| named(&name)).ok_or_else(|| {
        Problem::new(404, "no_such_question", "there are no such statistics: docs/questions.md lists them")
    })?;
    let scope = match question.asks {
        Asks::App => Scope::of(&principal, Permission::StatsRead, params::text(&params, "person"))?,
        Asks::Project => Scope::of_project(&principal, Permission::StatsRead, "this is asked of whole projects")?,
    };
    let limit = params::limit(&params, DEFAULT_ROWS, MAX_ROWS)? as usize;
    let values = values(question, &params, (query.shared.now)())?;
    let (asked, project) = (query.clone(), Arc::clone(&scope.project));
    let work = async move {
        let statement = Asked { sql: question.sql, params: values, as_of: None, limit };
        asked.run_statement(&scope, statement, Format::Json).await
    };
    query.turn(&project, work).await
}

/// The values of a question's parameters, as texts and numbers like those of `/v1/sql`.
fn values(question: &Question, params: &Params, now: Timestamp) -> Result<Vec<ScalarValue>, Problem> {
    let zone = zone(params)?;
    let to = params::time(params, "to")?.unwrap_or(now);
    let from = params::time(params, "from")?.unwrap_or(to - DAY * question.days);
    if from >= to {
        return Err(Problem::new(400, "bad_range", "from lies before to").at("from", "before_end"));
    }
    let length = Duration::from_micros(to.micros().abs_diff(from.micros()));
    if length > DAY * MAX_DAYS {
        let detail = format!("a range has at most {MAX_DAYS} days");
        return Err(Problem::new(422, "range_too_large", detail).at("from", "max_days"));
    }
    let named = ("min_attempts", "bad_min_attempts");
    let min_attempts = params::number(params, named, DEFAULT_MIN_ATTEMPTS, MAX_MIN_ATTEMPTS)?;
    let value = |param: &Param| match param {
        Param::From => ScalarValue::from(from.to_string()),
        Param::To => ScalarValue::from(to.to_string()),
        Param::Before => ScalarValue::from((from - length).to_string()),
        Param::Zone => ScalarValue::from(zone.as_str()),
        Param::MinAttempts => ScalarValue::from(i64::from(min_attempts)),
    };
    Ok(question.params.iter().map(value).collect())
}

/// The zone as SQL takes it: the sign of an offset may have become a blank on the way.
fn zone(params: &Params) -> Result<String, Problem> {
    let Some(text) = params::text(params, "tz") else { return Ok("UTC".to_owned()) };
    Zone::parse(text)?;
    let is_bare = text.starts_with(|first: char| first.is_ascii_digit());
    Ok(if is_bare { format!("+{text}") } else { text.to_owned() })
}
