//! What really happened to the fleet, by `simulate --truth`, and what the questions therefore have to answer.
//!
//! The truth is made from timelines by code that shares nothing with the server (`src/simulate/truth`).

mod app;
mod beside;
mod dashboard;
mod health;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use query::questions::ALL;
use serde::Deserialize;
use serde_json::Value;

use super::{Asking, rows};

/// The file's contents, as far as questions are about them.
#[derive(Debug, Deserialize)]
pub(super) struct Truth {
    stream: Grid,
    release: Grid,
    layout: Grid,
    usage: Grid,
    errors: Grid,
    quality: Vec<Received>,
    views: Vec<Fact>,
    app_sessions: Vec<Fact>,
    #[serde(flatten)]
    beside: beside::Beside,
}

/// MinuteSums and distributions by minute and key.
#[derive(Debug, Deserialize)]
struct Grid {
    sums: Vec<MinuteSums>,
    values: Vec<MinuteValues>,
}

#[derive(Debug, Deserialize)]
struct MinuteSums {
    /// Since 1970; unknown of devices with a wrong clock.
    minute: Option<i64>,
    key: Vec<String>,
    sums: BTreeMap<String, i64>,
}

#[derive(Debug, Deserialize)]
struct MinuteValues {
    minute: Option<i64>,
    key: Vec<String>,
    metric: String,
    /// Each value and how often.
    values: Vec<(i64, i64)>,
}

/// Events that were received.
#[derive(Debug, Deserialize)]
struct Received {
    format: String,
    #[serde(rename = "type")]
    kind: String,
    outcome: String,
    events: i64,
}

/// A view or a session.
#[derive(Debug, Deserialize)]
struct Fact {
    fact: BTreeMap<String, Value>,
}

impl Fact {
    fn text(&self, column: &str) -> &str {
        self.fact.get(column).and_then(Value::as_str).unwrap_or_default()
    }

    fn number(&self, column: &str) -> i64 {
        self.fact[column].as_i64().unwrap()
    }
}

/// MinuteSums of a group.
#[derive(Debug, Default)]
struct Of(BTreeMap<String, i64>);

impl Of {
    fn get(&self, measure: &str) -> i64 {
        self.0.get(measure).copied().unwrap_or_default()
    }

    /// `None` where there is nothing to divide by.
    fn ratio(&self, part: &str, whole: i64) -> Option<f64> {
        (whole != 0).then(|| float(self.get(part)) / float(whole))
    }

    fn rebuffer_ratio(&self) -> Option<f64> {
        self.ratio("rebuffer_ms", self.get("watch_ms_rebuffer_capable"))
    }

    fn rebuffers_per_min(&self) -> Option<f64> {
        self.ratio("rebuffer_count", self.get("watch_ms_rebuffer_capable")).map(|per_ms| 60_000.0 * per_ms)
    }

    fn failure_rate(&self) -> Option<f64> {
        self.ratio("playback_failures", self.get("attempts"))
    }

    fn ebvs_rate(&self) -> Option<f64> {
        self.ratio("ebvs", self.get("attempts") - self.get("abandoned_early") - self.get("left_unstarted"))
    }
}

impl Grid {
    /// MinuteSums by what a minute and a key belong to.
    fn by<K: Ord>(&self, group: impl Fn(i64, &[String]) -> Option<K>) -> BTreeMap<K, Of> {
        let mut groups: BTreeMap<K, Of> = BTreeMap::new();
        for MinuteSums { minute, key, sums } in &self.sums {
            let Some(group) = minute.and_then(|minute| group(minute, key)) else { continue };
            let of = groups.entry(group).or_default();
            for (measure, n) in sums {
                *of.0.entry(measure.clone()).or_default() += n;
            }
        }
        groups
    }

    /// Distributions by what a minute and a key belong to.
    fn distributions<K: Ord>(
        &self,
        metric: &str,
        group: impl Fn(i64, &[String]) -> Option<K>,
    ) -> BTreeMap<K, BTreeMap<i64, i64>> {
        let mut groups: BTreeMap<K, BTreeMap<i64, i64>> = BTreeMap::new();
        for MinuteValues { minute, key, values, .. } in self.values.iter().filter(|values| values.metric == metric) {
            let Some(group) = minute.and_then(|minute| group(minute, key)) else { continue };
            let of = groups.entry(group).or_default();
            for (value, n) in values {
                *of.entry(*value).or_default() += n;
            }
        }
        groups
    }
}

impl Truth {
    /// Asserts that the answers are what happened.
    pub(super) async fn hold(mut self, asking: &Asking<'_>, now: DateTime<Utc>) {
        self.watch_times(asking, now).await;
        self.received(asking).await;
        // What lets log time pass at the end is after the range.
        let until = Some(minute_of(asking.to));
        for grid in [&mut self.stream, &mut self.release, &mut self.layout, &mut self.usage, &mut self.errors] {
            grid.sums.retain(|sums| sums.minute < until);
            grid.values.retain(|values| values.minute < until);
        }
        self.what_was_watched(asking).await;
        self.sessions(asking).await;
        self.report(asking).await;
        self.concurrency(asking).await;
        self.startup(asking).await;
        self.stalls(asking).await;
        self.releases(asking).await;
        self.exits(asking).await;
        self.errors(asking).await;
        self.persons(asking).await;
        self.templates_and_samples(asking).await;
        self.layouts(asking).await;
        self.latencies(asking).await;
        self.models(asking).await;
        self.numbers(asking).await;
        self.clocks(asking).await;
        self.freshness(asking, now).await;
    }

    /// Asserts the same of a fleet of which events are lost and clocks are wrong, as far as that is known then.
    pub(super) async fn hold_what_is_heard(self, asking: &Asking<'_>, now: DateTime<Utc>) {
        self.health(asking, now).await;
        self.models(asking).await;
        self.numbers(asking).await;
        self.clocks(asking).await;
    }
}

/// The answer of a question of `/v1/stats/{name}`.
async fn answer(asking: &Asking<'_>, name: &str) -> Vec<Value> {
    let question = ALL.iter().find(|question| question.name == name).unwrap();
    rows(&asking.endpoint(question).await)
}

fn text<'a>(row: &'a Value, column: &str) -> &'a str {
    row[column].as_str().unwrap_or_default()
}

/// Number of a minute since 1970.
fn minute_of(stamp: &str) -> i64 {
    DateTime::parse_from_rfc3339(stamp).unwrap().timestamp().div_euclid(60)
}

/// Asserts that a ratio is that one, but for the last digits.
fn assert_ratio(what: &str, answer: &Value, truth: Option<f64>) {
    assert_within(what, answer, truth, 1e-9);
}

/// Asserts that a number is that one within a relative error.
fn assert_within(what: &str, answer: &Value, truth: Option<f64>, error: f64) {
    let is_so = match (answer.as_f64(), truth) {
        (None, None) => true,
        (Some(answer), Some(truth)) => (answer - truth).abs() <= error * truth.abs().max(1e-3),
        _ => false,
    };
    assert!(is_so, "{what}: {answer}, and the truth is {truth:?}");
}

/// Asserts that percentiles are within 1 % of the values of their ranks.
fn assert_percentiles(what: &str, row: &Value, metric: &str, values: &BTreeMap<i64, i64>) {
    for percent in [50, 95, 99] {
        let Some(answer) = row.get(format!("{metric}_p{percent}")) else { continue };
        assert_within(&format!("{what} p{percent}"), answer, percentile(values, percent), 0.010_001);
    }
}

/// Of n sorted values, counted from 0, the one at p · (n − 1), rounded down.
fn percentile(values: &BTreeMap<i64, i64>, percent: i64) -> Option<f64> {
    let n: i64 = values.values().sum();
    let rank = (n - 1) * percent / 100;
    let mut seen = 0;
    let at_rank = values.iter().find(|(_, n)| {
        seen += **n;
        seen > rank
    });
    at_rank.map(|(value, _)| float(*value))
}

#[expect(clippy::cast_precision_loss, reason = "sums of a small fleet")]
fn float(n: i64) -> f64 {
    n as f64
}
