//! `GET /v1/rollups/{name}`: flat rows of a rollup.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, Query as QueryString, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use chrono::NaiveDate;
use schemas::rollups::{self, Column, Grain, Rollup};
use schemas::{Principal, Problem, Scope as Permission, Timestamp};
use serde_json::{Map, Value};
use warehouse::{RollupQuery, RollupRow};

use crate::Query;
use crate::answer::{Answer, Refused};
use crate::local_time::Zone;
use crate::params::{self, Params};
use crate::pinned::Pinned;
use crate::scope::Scope;

/// Rows of a page when the caller asks for no number, and at most.
const DEFAULT_ROWS: u32 = 1_000;
const MAX_ROWS: u32 = 50_000;
/// Buckets that are summed up to local days: minutes of a month by some hundred keys.
const MAX_FINE_ROWS: u32 = 2_000_000;

pub(crate) async fn rollup(
    State(query): State<Query>,
    Extension(principal): Extension<Principal>,
    path: Result<Path<String>, PathRejection>,
    QueryString(params): QueryString<Params>,
) -> Result<Response, Refused> {
    let scope = Scope::of(&principal, Permission::StatsRead, None)?;
    if scope.person.is_some() {
        return Err(Problem::new(403, "project_only", "rollups are of the whole project").into());
    }
    let name = path.map(|Path(name)| name).unwrap_or_default();
    let Some(rollup) = rollups::named(&name) else {
        let names: Vec<&str> = rollups::ALL.iter().map(|rollup| rollup.name).collect();
        return Err(Problem::new(404, "no_such_rollup", format!("a rollup is one of {}", names.join(", "))).into());
    };
    let (asked, project) = (query.clone(), Arc::clone(&scope.project));
    query.turn(&project, async move { asked.rollup_rows(&scope, rollup, &params).await }).await
}

impl Query {
    async fn rollup_rows(&self, scope: &Scope, rollup: &'static Rollup, params: &Params) -> Result<Response, Refused> {
        let mut pinned = self.pin().await?;
        let request = Request::read(rollup, params, pinned.at.now)?;
        let (rows, next_cursor) = request.rows(&mut pinned, scope).await?;
        let meta = pinned.release().meta();
        match request.format {
            Format::Json => {
                let data: Vec<Map<String, Value>> = rows.iter().map(|row| request.object(row)).collect();
                Ok(Answer { data, meta, next_cursor }.into_response())
            }
            Format::Csv(cells) => {
                let mut headers = meta.headers();
                let csv = HeaderValue::from_static("text/csv; charset=utf-8; header=present");
                headers.insert(header::CONTENT_TYPE, csv);
                Ok((headers, request.csv(&rows, cells)).into_response())
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Format {
    Json,
    Csv(Cells),
}

/// How texts are written to a CSV.
#[derive(Debug, Clone, Copy)]
enum Cells {
    /// What a spreadsheet would take for a formula gets a leading `'`.
    Defused,
    /// With `raw=true`, for programs.
    Raw,
}

/// What is asked for.
struct Request {
    rollup: &'static Rollup,
    grain: Grain,
    from: Timestamp,
    to: Timestamp,
    group_by: Vec<&'static str>,
    measures: Vec<usize>,
    zone: Zone,
    limit: u32,
    after: Option<(i64, Vec<String>)>,
    format: Format,
}

impl Request {
    fn read(rollup: &'static Rollup, params: &Params, now: Timestamp) -> Result<Self, Problem> {
        let grain = params::text(params, "grain").map_or(Some(Grain::Hour), Grain::parse);
        let grain = grain
            .ok_or_else(|| Problem::new(400, "bad_grain", "grain is minute, hour or day").at("grain", "one_of"))?;
        let to = params::time(params, "to")?.unwrap_or(now + grain.length());
        let from = params::time(params, "from")?.unwrap_or(to.plus_millis(-24 * 3_600_000));
        if from > to {
            return Err(Problem::new(400, "bad_range", "from lies after to").at("from", "before_to"));
        }
        let format = match (params::text(params, "format").unwrap_or("json"), params::text(params, "raw")) {
            ("json", _) => Format::Json,
            ("csv", None | Some("false")) => Format::Csv(Cells::Defused),
            ("csv", Some("true")) => Format::Csv(Cells::Raw),
            ("csv", Some(_)) => return Err(Problem::new(400, "bad_raw", "raw is true or false").at("raw", "one_of")),
            _ => return Err(Problem::new(400, "bad_format", "format is json or csv").at("format", "one_of")),
        };
        let all_keys = || rollup.keys.iter().map(|key| key.name).collect();
        let group_by = match params.get("group_by") {
            None => all_keys(),
            Some(names) => pick(names, rollup.keys, "group_by")?.into_iter().map(|idx| rollup.keys[idx].name).collect(),
        };
        let measures = match params::text(params, "measures") {
            None => (0..rollup.measures.len()).collect(),
            Some(names) => pick(names, rollup.measures, "measures")?,
        };
        let zone = params::zone(params)?;
        let limit = params::limit(params, DEFAULT_ROWS, MAX_ROWS)?;
        let after = params::cursor(params)?;
        Ok(Self { rollup, grain, from, to, group_by, measures, zone, limit, after, format })
    }

    async fn rows(&self, pinned: &mut Pinned, scope: &Scope) -> Result<(Vec<RollupRow>, Option<String>), Refused> {
        let is_local_day = self.grain == Grain::Day && self.zone != Zone::UTC;
        let mut rows = if is_local_day {
            self.local_days(pinned, scope).await?
        } else {
            let query = RollupQuery {
                rollup: self.rollup,
                grain: self.grain,
                project: &scope.project,
                // A range that begins within a bucket takes the bucket in.
                from: self.from.floor(self.grain.length()),
                to: self.to,
                group_by: self.group_by.clone(),
                after: self.after.clone().map(|(us, keys)| (Timestamp::from_micros(us), keys)),
                limit: self.limit + 1,
            };
            pinned.read.rollup(&query).await?
        };
        let has_more = rows.len() > self.limit as usize;
        rows.truncate(self.limit as usize);
        let last = rows.last().filter(|_| has_more);
        let next_cursor = last.map(|row| params::to_cursor(&(row.bucket_start.micros(), &row.keys)));
        Ok((rows, next_cursor))
    }

    /// Days of the caller's zone, summed up from hours, or from minutes where its offset is no whole hour.
    async fn local_days(&self, pinned: &mut Pinned, scope: &Scope) -> Result<Vec<RollupRow>, Refused> {
        let from = self.zone.midnight(self.zone.date(self.from));
        let query = RollupQuery {
            rollup: self.rollup,
            grain: if self.zone.is_whole_hours(from, self.to) { Grain::Hour } else { Grain::Minute },
            project: &scope.project,
            from,
            to: self.to,
            group_by: self.group_by.clone(),
            after: None,
            limit: MAX_FINE_ROWS + 1,
        };
        let fine = pinned.read.rollup(&query).await?;
        if fine.len() > MAX_FINE_ROWS as usize {
            return Err(Problem::new(422, "range_too_large", "the range has too many buckets: ask for fewer days")
                .at("from", "max_rows")
                .into());
        }
        let mut days: BTreeMap<(NaiveDate, Vec<String>), Vec<i64>> = BTreeMap::new();
        for row in fine {
            let sums =
                days.entry((self.zone.date(row.bucket_start), row.keys)).or_insert_with(|| vec![0; row.measures.len()]);
            for (sum, measure) in sums.iter_mut().zip(row.measures) {
                *sum += measure;
            }
        }
        let rows = days.into_iter().map(|((day, keys), measures)| RollupRow {
            bucket_start: self.zone.midnight(day),
            keys,
            measures,
        });
        let after = self.after.clone().map(|(us, keys)| (Timestamp::from_micros(us), keys));
        let is_wanted =
            |row: &RollupRow| after.as_ref().is_none_or(|(at, keys)| (row.bucket_start, &row.keys) > (*at, keys));
        Ok(rows.filter(is_wanted).take(self.limit as usize + 1).collect())
    }

    fn object(&self, row: &RollupRow) -> Map<String, Value> {
        let mut object = Map::new();
        object.insert("bucket_start".into(), row.bucket_start.to_string().into());
        for (name, value) in self.group_by.iter().zip(&row.keys) {
            object.insert((*name).into(), value.clone().into());
        }
        for idx in &self.measures {
            object.insert(self.rollup.measures[*idx].name.into(), row.measures[*idx].into());
        }
        object
    }

    fn csv(&self, rows: &[RollupRow], cells: Cells) -> String {
        let names = self.measures.iter().map(|idx| self.rollup.measures[*idx].name);
        let header: Vec<&str> =
            ["bucket_start"].into_iter().chain(self.group_by.iter().copied()).chain(names).collect();
        let mut text = header.join(",") + "\n";
        for row in rows {
            let keys = row.keys.iter().map(|key| cells.write(key));
            let measures = self.measures.iter().map(|idx| row.measures[*idx].to_string());
            let cells: Vec<String> = [row.bucket_start.to_string()].into_iter().chain(keys).chain(measures).collect();
            text.push_str(&cells.join(","));
            text.push('\n');
        }
        text
    }
}

impl Cells {
    /// A text as a cell (RFC 4180).
    fn write(self, text: &str) -> String {
        let is_formula = matches!(self, Self::Defused) && text.starts_with(['=', '+', '-', '@', '\t', '\r']);
        let text = if is_formula { format!("'{text}") } else { text.to_owned() };
        if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
    }
}

/// Places of comma-separated names among columns.
fn pick(names: &str, columns: &[Column], parameter: &'static str) -> Result<Vec<usize>, Problem> {
    let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
    names
        .map(|name| {
            columns.iter().position(|column| column.name == name).ok_or_else(|| {
                let known: Vec<&str> = columns.iter().map(|column| column.name).collect();
                let detail = format!("`{name}` is none of {}", known.join(", "));
                Problem::new(400, "no_such_column", detail).at(parameter, "one_of")
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_are_defused_unless_raw_cells_are_asked_for() {
        for formula in ["=1+1", "+1", "-1", "@SUM(A1)", "\tx"] {
            assert_eq!(Cells::Defused.write(formula), format!("'{formula}"));
            assert_eq!(Cells::Raw.write(formula), formula);
        }
        assert_eq!(Cells::Defused.write("=HYPERLINK(\"x\",1)"), "\"'=HYPERLINK(\"\"x\"\",1)\"");
        assert_eq!(Cells::Defused.write("\rx"), "\"'\rx\"");
        assert_eq!(Cells::Defused.write("feature.used"), "feature.used");
    }
}
