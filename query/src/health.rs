//! `GET /v1/health/streams`: how the streams of the project do now, from rollup minutes.

pub(crate) mod live;

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, Query as QueryString, State};
use schemas::fold::measures::Measure;
use schemas::fold::sketch::RELATIVE_ERROR;
use schemas::rollups::{
    Derived, EBVS_RATE, FAILURE_RATE, Grain, HEALTH_SCORE, REBUFFER_RATIO, REBUFFERS_PER_MIN, STARTUP_MS_P95, STREAM,
};
use schemas::{Principal, Problem, Scope as Permission, Timestamp};
use serde::Serialize;
use warehouse::{RollupQuery, RollupRow};

use crate::Query;
use crate::answer::{Answer, Meta, Refused};
use crate::derived::{self, Distributions};
use crate::params::{self, Params};
use crate::pinned::Pinned;
use crate::scope::Scope;

const DEFAULT_ROWS: u32 = 100;
const MAX_ROWS: u32 = 1_000;
/// Streams that are looked at to find the worst of them.
const MAX_STREAMS: u32 = 50_000;
const STREAM_ID: &str = "stream_id";
/// Without parameter `window`, min.
const DEFAULT_WINDOW_MIN: u32 = 5;
/// The longest window, min.
const MAX_WINDOW_MIN: u32 = 24 * 60;

/// How a stream does, worst first.
///
/// The thresholds are those that the app has. Its own ratios grow by a tenth with every event; these are shares of
/// attempts and of watch time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    /// More than a tenth of attempts failed.
    Error,
    /// Stalled for more than three tenths of watch time.
    Warning,
    /// Neither healthy nor worse.
    Good,
    /// No attempt failed, and stalled for less than a tenth of watch time.
    Healthy,
    /// No attempts and no watch time.
    Unknown,
}

impl Status {
    fn of(row: &RollupRow, failure_rate: Option<f64>, rebuffer_ratio: Option<f64>) -> Self {
        let measure = |measure: Measure| row.measures[measure as usize];
        // Where stalls cannot be seen, none was.
        let (failure_rate, rebuffer_ratio) = (failure_rate.unwrap_or(0.0), rebuffer_ratio.unwrap_or(0.0));
        if measure(Measure::Attempts) <= 0 && measure(Measure::WatchMs) <= 0 {
            Self::Unknown
        } else if failure_rate > 0.1 {
            Self::Error
        } else if rebuffer_ratio > 0.3 {
            Self::Warning
        } else if measure(Measure::PlaybackFailures) <= 0 && rebuffer_ratio < 0.1 {
            Self::Healthy
        } else {
            Self::Good
        }
    }
}

/// Which of two streams comes first.
type Order = fn(&StreamHealth, &StreamHealth) -> Ordering;

/// A stream over a window. Ratios are 0 to 1, and null where there is nothing to divide by.
#[derive(Debug, Serialize)]
struct StreamHealth {
    stream_id: String,
    stream_platform: String,
    status: Status,
    /// Active views at the start of the newest minute that is complete.
    views_now: i64,
    attempts: i64,
    failure_rate: Option<f64>,
    ebvs_rate: Option<f64>,
    rebuffer_ratio: Option<f64>,
    rebuffers_per_min: Option<f64>,
    /// Within 1 %.
    startup_ms_p95: Option<f64>,
    /// 0 to 100, of attempts that ended.
    health_score: Option<f64>,
}

impl StreamHealth {
    /// Without its startup time, which needs bins.
    fn of(row: &RollupRow, views_now: i64, window: Duration) -> Self {
        let none = Distributions::new("window");
        let value = |derived: &Derived| derived::value(derived, row, window, &none);
        let (failure_rate, rebuffer_ratio) = (value(&FAILURE_RATE), value(&REBUFFER_RATIO));
        let key = |idx: usize| row.keys.get(idx).cloned().unwrap_or_default();
        Self {
            stream_id: key(0),
            stream_platform: key(1),
            status: Status::of(row, failure_rate, rebuffer_ratio),
            views_now,
            attempts: row.measures[Measure::Attempts as usize],
            failure_rate,
            ebvs_rate: value(&EBVS_RATE),
            rebuffer_ratio,
            rebuffers_per_min: value(&REBUFFERS_PER_MIN),
            startup_ms_p95: None,
            health_score: value(&HEALTH_SCORE),
        }
    }

    /// A stream of which nothing is known.
    fn unknown(stream_id: &str) -> Self {
        let keys = vec![stream_id.to_owned(), String::new()];
        let row = RollupRow { bucket_start: Timestamp::MIN, keys, measures: vec![0; STREAM.measures.len()] };
        Self::of(&row, 0, Duration::ZERO)
    }

    fn by_name(&self, other: &Self) -> Ordering {
        self.stream_id.cmp(&other.stream_id).then_with(|| self.stream_platform.cmp(&other.stream_platform))
    }

    /// By status, then by stalled time; equals by name.
    fn worst_first(&self, other: &Self) -> Ordering {
        let stalled = |health: &Self| health.rebuffer_ratio.unwrap_or(0.0);
        let by_stalls = || stalled(other).total_cmp(&stalled(self));
        self.status.cmp(&other.status).then_with(by_stalls).then_with(|| self.by_name(other))
    }
}

/// The window of a request: `5m`, `2h`; from a minute to a day.
fn window(params: &Params) -> Result<Duration, Problem> {
    let Some(text) = params::text(params, "window") else {
        return Ok(Duration::from_secs(60 * u64::from(DEFAULT_WINDOW_MIN)));
    };
    let minutes = match (text.strip_suffix('m'), text.strip_suffix('h')) {
        (Some(minutes), _) => minutes.parse().ok(),
        (_, Some(hours)) => hours.parse::<u32>().ok().and_then(|hours| hours.checked_mul(60)),
        _ => None,
    };
    let minutes = minutes.filter(|minutes: &u32| (1..=MAX_WINDOW_MIN).contains(minutes)).ok_or_else(|| {
        Problem::new(400, "bad_window", "window is minutes or hours like 5m or 2h, from 1m to 24h")
            .at("window", "range")
    })?;
    Ok(Duration::from_secs(60 * u64::from(minutes)))
}

/// The caller's scope: rollups know no persons.
fn scope(principal: &Principal) -> Result<Scope, Problem> {
    Scope::of_project(principal, Permission::StatsRead, "the health of streams is of the whole project")
}

pub(crate) async fn streams(
    State(query): State<Query>,
    Extension(principal): Extension<Principal>,
    QueryString(params): QueryString<Params>,
) -> Result<Answer<Vec<impl Serialize>>, Refused> {
    let scope = scope(&principal)?;
    let (window, limit) = (window(&params)?, params::limit(&params, DEFAULT_ROWS, MAX_ROWS)? as usize);
    let is_by_name = match params::text(&params, "order").unwrap_or("worst") {
        "worst" => false,
        "name" => true,
        _ => return Err(Problem::new(400, "bad_order", "order is worst or name").at("order", "one_of").into()),
    };
    let (asked, project) = (query.clone(), Arc::clone(&scope.project));
    let work = async move {
        let order = if is_by_name { StreamHealth::by_name } else { StreamHealth::worst_first };
        let (data, meta) = asked.health(&scope, window, None, (order, limit)).await?;
        Ok(Answer { data, meta, next_cursor: None })
    };
    query.turn(&project, work).await
}

impl Query {
    /// The first streams, in an order, of those that something is known of; or one of them.
    async fn health(
        &self,
        scope: &Scope,
        window: Duration,
        stream_id: Option<&str>,
        (order, limit): (Order, usize),
    ) -> Result<(Vec<StreamHealth>, Meta), Refused> {
        let mut pinned = self.pin().await?;
        let minute = Grain::Minute.length();
        // The whole minutes of the window, and the one under way.
        let this_minute = pinned.at.now.floor(minute);
        let over = |range| RollupQuery {
            group_by: STREAM.keys.iter().map(|key| key.name).collect(),
            limit: MAX_STREAMS + 1,
            only: stream_id.iter().map(|stream_id| (STREAM_ID, vec![(*stream_id).to_owned()])).collect(),
            as_one: true,
            ..RollupQuery::new(&STREAM, Grain::Minute, &scope.project, range)
        };
        let over_window = over((this_minute - window, this_minute + minute));
        let rows = pinned.read.rollup(&over_window).await?;
        if rows.len() > MAX_STREAMS as usize {
            let detail = format!("more than {MAX_STREAMS} streams: ask for a shorter window");
            return Err(Problem::new(422, "range_too_large", detail).at("window", "max_streams").into());
        }
        let meta = pinned.at.meta().within(RELATIVE_ERROR);
        let through = meta.complete_through.map_or(pinned.at.now, |through| through.min(pinned.at.now));
        let complete = through.floor(minute) - minute;
        let views = views_at(&mut pinned, &over((complete, complete + minute))).await?;
        let judged = rows.into_iter().map(|row| {
            let views_now = views.get(&row.keys).copied().unwrap_or(0);
            (StreamHealth::of(&row, views_now, window), row)
        });
        let mut judged: Vec<(StreamHealth, RollupRow)> = judged.collect();
        judged.sort_by(|(health, _), (other, _)| order(health, other));
        judged.truncate(limit);
        let mut bins = Distributions::new("window");
        if !judged.is_empty() {
            let answered = judged.iter().map(|(health, _)| health.stream_id.clone()).collect();
            let of_answered = RollupQuery { only: vec![(STREAM_ID, answered)], ..over_window };
            bins.read(&mut pinned.read, &of_answered, &[&STARTUP_MS_P95]).await?;
        }
        let data = judged.into_iter().map(|(health, row)| {
            let startup_ms_p95 = derived::value(&STARTUP_MS_P95, &row, window, &bins);
            StreamHealth { startup_ms_p95, ..health }
        });
        Ok((data.collect(), meta))
    }
}

/// Active views by stream at the start of a minute.
async fn views_at(pinned: &mut Pinned, minute: &RollupQuery<'_>) -> Result<HashMap<Vec<String>, i64>, Refused> {
    let rows = pinned.read.rollup(minute).await?;
    Ok(rows.into_iter().map(|row| (row.keys, row.measures[Measure::ViewsAtStart as usize])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(stream_id: &str, values: &[(Measure, i64)]) -> StreamHealth {
        let keys = vec![stream_id.to_owned(), "twitch".to_owned()];
        let mut row = RollupRow { bucket_start: Timestamp::MIN, keys, measures: vec![0; STREAM.measures.len()] };
        for (measure, value) in values {
            row.measures[*measure as usize] = *value;
        }
        StreamHealth::of(&row, 0, Duration::from_secs(300))
    }

    fn stalled(stream_id: &str, rebuffer_ms: i64) -> StreamHealth {
        let watched = [(Measure::WatchMs, 1_000), (Measure::WatchMsRebufferCapable, 1_000)];
        health(stream_id, &[watched[0], watched[1], (Measure::RebufferMs, rebuffer_ms)])
    }

    fn failed(stream_id: &str, attempts: i64, failures: i64) -> StreamHealth {
        health(stream_id, &[(Measure::Attempts, attempts), (Measure::PlaybackFailures, failures)])
    }

    #[test]
    fn status_follows_the_apps_thresholds() {
        assert_eq!(StreamHealth::unknown("x").status, Status::Unknown);
        assert_eq!((failed("x", 10, 0).status, failed("x", 10, 1).status), (Status::Healthy, Status::Good));
        assert_eq!((failed("x", 9, 1).status, stalled("x", 99).status), (Status::Error, Status::Healthy));
        assert_eq!((stalled("x", 100).status, stalled("x", 300).status), (Status::Good, Status::Good));
        assert_eq!(stalled("x", 301).status, Status::Warning);
        // Stalls that cannot be seen are no reason to worry.
        assert_eq!(health("x", &[(Measure::WatchMs, 1_000)]).status, Status::Healthy);
    }

    #[test]
    fn the_worst_comes_first() {
        let mut streams = [
            StreamHealth::unknown("unknown"),
            stalled("healthy", 10),
            stalled("less stalled", 400),
            stalled("more stalled", 500),
            failed("failed", 1, 1),
            stalled("good", 200),
        ];
        streams.sort_by(StreamHealth::worst_first);
        let names = streams.map(|stream| stream.stream_id);
        assert_eq!(names, ["failed", "more stalled", "less stalled", "good", "healthy", "unknown"]);
    }

    #[test]
    fn a_window_is_minutes_or_hours() {
        let window =
            |text: &str| window(&[("window".to_owned(), text.to_owned())].into()).ok().map(|window| window.as_secs());
        assert_eq!((window("1m"), window("24h"), window("90m")), (Some(60), Some(86_400), Some(5_400)));
        for refused in ["0m", "25h", "1441m", "5", "m", "-1m", "5s", "99999999h"] {
            assert_eq!(window(refused), None, "{refused}");
        }
    }
}
