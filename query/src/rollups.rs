//! `GET /v1/rollups/{name}`: flat rows of a rollup, with ratios and percentiles.

mod kept;
mod table;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, Query as QueryString, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use chrono::NaiveDate;
use schemas::rollups::{self, Grain, Rollup};
use schemas::{Principal, Problem, Scope as Permission, Timestamp};
use serde_json::value::to_raw_value;
use serde_json::{Map, Value};
use warehouse::{ChangedQuery, RollupQuery, RollupRow};

use crate::Query;
use crate::answer::{Answer, Refused};
use crate::derived::Distributions;
use crate::etag;
use crate::failures::internal;
use crate::local_time::{QUARTER, Zone};
use crate::params::{self, Params};
use crate::pinned::Pinned;
use crate::scope::Scope;

pub(crate) use kept::Kept;
use kept::{At, Data, Given};
use table::{Cells, Columns};

/// Rows of a page when the caller asks for no number, and at most.
const DEFAULT_ROWS: u32 = 1_000;
const MAX_ROWS: u32 = 50_000;
/// Local days of one request; each is a read of its own.
const MAX_DAYS: usize = 1_100;

pub(crate) async fn rollup(
    State(query): State<Query>,
    Extension(principal): Extension<Principal>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    QueryString(params): QueryString<Params>,
) -> Result<Response, Refused> {
    let scope = Scope::of_project(&principal, Permission::StatsRead, "rollups are of the whole project")?;
    let name = path.map(|Path(name)| name).unwrap_or_default();
    let Some(rollup) = rollups::named(&name) else {
        let names: Vec<&str> = rollups::ALL.iter().map(|rollup| rollup.name).collect();
        return Err(Problem::new(404, "no_such_rollup", format!("a rollup is one of {}", names.join(", "))).into());
    };
    let (asked, project) = (query.clone(), Arc::clone(&scope.project));
    query.turn(&project, async move { asked.rollup_rows(&scope, rollup, &params, &headers).await }).await
}

impl Query {
    async fn rollup_rows(
        &self,
        scope: &Scope,
        rollup: &'static Rollup,
        params: &Params,
        asked: &HeaderMap,
    ) -> Result<Response, Refused> {
        let mut pinned = self.pin().await?;
        let request = Request::read(rollup, params, pinned.at.now)?;
        let name = request.name(scope, params);
        let given = match self.shared.kept.find(&name) {
            Some((given, at)) if !request.has_changed(&mut pinned, scope, at).await? => given,
            _ => Arc::new(request.give(&mut pinned, scope).await?),
        };
        let at = pinned.release();
        self.shared.kept.keep(name, &given, (at.snapshot.replaced, at.snapshot.commit));
        let mut meta = at.meta();
        if let Some(rel_error) = request.columns.rel_error() {
            meta = meta.within(rel_error);
        }
        let (mut headers, tag) = (meta.headers(), given.tag.clone());
        match &given.data {
            Data::Json(data) => {
                let answer = Answer { data, meta, next_cursor: given.next_cursor.clone() };
                Ok(etag::answer(asked, tag, headers, answer))
            }
            Data::Csv(text) => {
                let csv = HeaderValue::from_static("text/csv; charset=utf-8; header=present");
                headers.insert(header::CONTENT_TYPE, csv);
                Ok(etag::answer(asked, tag, headers, text.clone()))
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Format {
    Json,
    Csv(Cells),
}

/// What is asked for.
struct Request {
    rollup: &'static Rollup,
    grain: Grain,
    from: Timestamp,
    to: Timestamp,
    columns: Columns,
    zone: Zone,
    limit: u32,
    /// The last row of the page before.
    after: Option<(Timestamp, Vec<String>)>,
    format: Format,
    /// Keys and the values that they must have.
    only: Vec<(&'static str, Vec<String>)>,
}

/// Whether buckets are days that no table has.
fn is_of_local_days(grain: Grain, zone: Zone) -> bool {
    grain == Grain::Day && zone != Zone::UTC
}

/// Parameters with a meaning of their own: a key of this name cannot be asked for by its value.
const RESERVED: [&str; 10] = ["from", "to", "grain", "group_by", "measures", "tz", "limit", "cursor", "format", "raw"];

impl Request {
    fn read(rollup: &'static Rollup, params: &Params, now: Timestamp) -> Result<Self, Problem> {
        let grain = params::grain(params, Grain::Hour)?;
        let zone = params::zone(params)?;
        // Buckets that the range touches are in it, whole. Midnights lie on quarters of an hour in every zone.
        let unit = if is_of_local_days(grain, zone) { QUARTER } else { grain.length() };
        let (from, to) = (params::time(params, "from")?, params::time(params, "to")?.unwrap_or(now));
        if from.is_some_and(|from| from > to) {
            return Err(Problem::new(400, "bad_range", "from lies after to").at("from", "before_to"));
        }
        let to = to.ceil(unit);
        let from = from.unwrap_or(to.plus_millis(-24 * 3_600_000)).floor(unit);
        let format = match (params::text(params, "format").unwrap_or("json"), params::text(params, "raw")) {
            ("json", _) => Format::Json,
            ("csv", None | Some("false")) => Format::Csv(Cells::Defused),
            ("csv", Some("true")) => Format::Csv(Cells::Raw),
            ("csv", Some(_)) => return Err(Problem::new(400, "bad_raw", "raw is true or false").at("raw", "one_of")),
            _ => return Err(Problem::new(400, "bad_format", "format is json or csv").at("format", "one_of")),
        };
        let group_by = params.get("group_by").map(String::as_str);
        let columns = Columns::pick(rollup, group_by, params::text(params, "measures"))?;
        let limit = params::limit(params, DEFAULT_ROWS, MAX_ROWS)?;
        let after: Option<(i64, Vec<String>)> = params::cursor(params)?;
        let after = after.map(|(us, keys)| (Timestamp::from_micros(us), keys));
        if after.as_ref().is_some_and(|(_, keys)| keys.len() != columns.keys.len()) {
            return Err(params::bad_cursor());
        }
        let keys = rollup.keys.iter().map(|key| key.name).filter(|key| !RESERVED.contains(key));
        let only = keys.filter_map(|key| Some((key, vec![params.get(key)?.clone()]))).collect();
        Ok(Self { rollup, grain, from, to, columns, zone, limit, after, format, only })
    }

    /// What is asked for, as a text that is the same for whoever asks for the same.
    fn name(&self, scope: &Scope, params: &Params) -> String {
        let others: BTreeMap<&String, &String> =
            params.iter().filter(|(name, _)| !["from", "to"].contains(&name.as_str())).collect();
        format!("{:?}", (&scope.project, self.rollup.name, self.from.micros(), self.to.micros(), others))
    }

    /// Whether a commit after this one changed a bucket of the range, as far as can be told.
    async fn has_changed(&self, pinned: &mut Pinned, scope: &Scope, (replaced, since): At) -> Result<bool, Refused> {
        let snapshot = &pinned.at.snapshot;
        if replaced != snapshot.replaced {
            return Ok(true);
        }
        if since == snapshot.commit {
            return Ok(false);
        }
        // Local days are made of minutes, and lie within a day of these of UTC.
        let (grain, margin_ms) = if self.has_local_days() { (Grain::Minute, 2 * 86_400_000) } else { (self.grain, 0) };
        let query = ChangedQuery {
            rollup: self.rollup,
            grain,
            project: &scope.project,
            since,
            from: self.from.plus_millis(-margin_ms),
            to: self.to.plus_millis(margin_ms),
            limit: 1,
        };
        Ok(!pinned.read.changed_buckets(&query).await?.is_empty())
    }

    /// The answer, from the database.
    async fn give(&self, pinned: &mut Pinned, scope: &Scope) -> Result<Given, Refused> {
        let (rows, next_cursor) = self.rows(pinned, scope).await?;
        let bins = self.distributions(pinned, scope, &rows).await?;
        match self.format {
            Format::Json => {
                let object = |row| self.columns.object(row, self.length(row), &bins);
                let data: Vec<Map<String, Value>> = rows.iter().map(object).collect();
                // Written once: for the tag, and as part of the answer. No cursor holds a bracket, so no two pairs are alike.
                let data = to_raw_value(&data).map_err(|_| internal())?;
                let tag = etag::of([data.get(), next_cursor.as_deref().unwrap_or_default()].concat().as_bytes());
                Ok(Given { data: Data::Json(data), next_cursor, tag })
            }
            Format::Csv(cells) => {
                let line = |row| self.columns.csv_line(row, self.length(row), &bins, cells);
                let lines: String = rows.iter().map(line).collect();
                let text = self.columns.csv_header() + &lines;
                let tag = etag::of(text.as_bytes());
                Ok(Given { data: Data::Csv(text.into()), next_cursor, tag })
            }
        }
    }

    /// Whether buckets are days of the caller's zone, which no table has.
    fn has_local_days(&self) -> bool {
        is_of_local_days(self.grain, self.zone)
    }

    /// How long the bucket of a row is: a local day may have 23 or 25 hours.
    fn length(&self, row: &RollupRow) -> Duration {
        if !self.has_local_days() {
            return self.grain.length();
        }
        let (from, to) = self.local_day(self.zone.date(row.bucket_start));
        Duration::from_millis(u64::try_from(to.millis_since(from)).unwrap_or(0))
    }

    fn query<'a>(&self, scope: &'a Scope, grain: Grain, range: (Timestamp, Timestamp)) -> RollupQuery<'a> {
        let group_by = self.columns.keys.clone();
        RollupQuery { group_by, only: self.only.clone(), ..RollupQuery::new(self.rollup, grain, &scope.project, range) }
    }

    async fn rows(&self, pinned: &mut Pinned, scope: &Scope) -> Result<(Vec<RollupRow>, Option<String>), Refused> {
        let mut rows = if self.has_local_days() {
            self.local_days(pinned, scope).await?
        } else {
            let query = self.query(scope, self.grain, (self.from, self.to));
            let query = RollupQuery { after: self.after.clone(), limit: self.limit + 1, ..query };
            pinned.read.rollup(&query).await?
        };
        let has_more = rows.len() > self.limit as usize;
        rows.truncate(self.limit as usize);
        let last = rows.last().filter(|_| has_more);
        let next_cursor = last.map(|row| params::to_cursor(&(row.bucket_start.micros(), &row.keys)));
        Ok((rows, next_cursor))
    }

    /// Rows of local days, each added up by the database, one more than asked for if there are more.
    async fn local_days(&self, pinned: &mut Pinned, scope: &Scope) -> Result<Vec<RollupRow>, Refused> {
        let mut rows = Vec::new();
        let from = self.after.as_ref().map_or(self.from, |(at, _)| (*at).clamp(self.from, self.to));
        for (count, day) in self.zone.date(from).iter_days().enumerate() {
            let missing = (self.limit + 1).saturating_sub(u32::try_from(rows.len()).unwrap_or(u32::MAX));
            if self.zone.midnight(day) >= self.to || missing == 0 {
                break;
            }
            if count == MAX_DAYS {
                let detail = format!("a request may span {MAX_DAYS} local days: ask for fewer");
                return Err(Problem::new(422, "range_too_large", detail).at("from", "max_days").into());
            }
            let query = self.of_local_day(scope, day);
            let query = RollupQuery { after: self.after.clone(), limit: missing, ..query };
            rows.extend(pinned.read.rollup(&query).await?);
        }
        Ok(rows)
    }

    /// From a local midnight to the next.
    fn local_day(&self, day: NaiveDate) -> (Timestamp, Timestamp) {
        let next = day.succ_opt().unwrap_or(day);
        (self.zone.midnight(day), self.zone.midnight(next))
    }

    /// The sums of a local day: from hours, or from minutes where a midnight is within an hour.
    fn of_local_day<'a>(&self, scope: &'a Scope, day: NaiveDate) -> RollupQuery<'a> {
        let (from, to) = self.local_day(day);
        let hour = Grain::Hour.length();
        let grain = if [from, to].iter().all(|at| at.floor(hour) == *at) { Grain::Hour } else { Grain::Minute };
        RollupQuery { as_one: true, ..self.query(scope, grain, (from, to)) }
    }

    /// What percentiles of these rows are computed from; nothing is read where none is asked for.
    async fn distributions(
        &self,
        pinned: &mut Pinned,
        scope: &Scope,
        rows: &[RollupRow],
    ) -> Result<Distributions, Refused> {
        let mut bins = Distributions::new("measures");
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(bins) };
        let columns = self.columns.derived();
        if self.has_local_days() {
            let mut days: Vec<NaiveDate> = rows.iter().map(|row| self.zone.date(row.bucket_start)).collect();
            days.dedup();
            for day in days {
                bins.read(&mut pinned.read, &self.of_local_day(scope, day), &columns).await?;
            }
        } else {
            let range = (first.bucket_start, last.bucket_start + self.grain.length());
            bins.read(&mut pinned.read, &self.query(scope, self.grain, range), &columns).await?;
        }
        Ok(bins)
    }
}
