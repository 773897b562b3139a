//! Endpoints with a shape of their own give the numbers of their texts, all of them and no others.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Days, DurationRound, FixedOffset, Months, NaiveTime, SecondsFormat, TimeDelta, Utc};
use query::questions::{Bound, Shaped};
use rig::server::wait_until;
use rig::{Device, Server};
use serde_json::{Map, Value, json};

use super::{Asking, ZONE, rows};
use crate::start;
use crate::views::{base, session, upload_at};

/// What [`ZONE`] is ahead of UTC, s.
pub(super) const AHEAD_S: i32 = (5 * 60 + 45) * 60;
/// What is told beside the numbers.
const BESIDE: [&str; 2] = ["topCategories", "lastUpdated"];

fn stamp(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn instant(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).unwrap().to_utc()
}

/// The server's clock: of a test its newest arrival.
pub(super) async fn now(asking: &Asking<'_>) -> DateTime<Utc> {
    let newest = asking.sql("SELECT max(received_at) AS now FROM records", Vec::new()).await;
    instant(rows(&newest)[0]["now"].as_str().unwrap())
}

/// A server on which two streams were watched in the last minutes, one of them still is at the last whole one.
pub(super) async fn watching() -> Server {
    let server = start().test_clock().start().await.unwrap();
    upload_at(&server, &session(&mut Device::new(), base()), base() + TimeDelta::seconds(202)).await;
    server.settle().await;
    let health = async |query: &str| server.get(&format!("/v1/health/streams?{query}")).await.json()["data"].clone();
    let is_complete = async || health("window=5m").await[0]["views_now"] == 1;
    wait_until(Duration::from_secs(20), || server.log(), is_complete).await;
    // The worst alone has the startup time that it has beside others.
    let worst = health("window=5m&limit=1").await;
    assert!(worst[0]["startup_ms_p95"].is_number() && worst == json!([health("window=5m").await[0]]), "{worst}");
    server
}

/// Local midnight of today, a week before and a month before.
pub(super) fn periods(now: DateTime<Utc>) -> [DateTime<Utc>; 3] {
    let zone = FixedOffset::east_opt(AHEAD_S).unwrap();
    let today = now.with_timezone(&zone).date_naive();
    [today, today - Days::new(7), today - Months::new(1)]
        .map(|day| day.and_time(NaiveTime::MIN).and_local_timezone(zone).unwrap().to_utc())
}

/// The request of a question, over the range at hand.
fn request(asking: &Asking<'_>, shaped: &Shaped) -> String {
    let (path, to) = (shaped.path, asking.to);
    let start = if shaped.name == "performance-of-events" { just_after(asking.from) } else { asking.from.to_owned() };
    match shaped.name {
        "usage" | "top-categories" => format!("{path}?tz={ZONE}"),
        "health" => format!("{path}?window=5m"),
        _ => format!("{path}?range=custom&start={start}&end={to}&limit=1000"),
    }
}

/// Within a quarter of an hour: single events are counted then.
fn just_after(from: &str) -> String {
    stamp(instant(from) + TimeDelta::seconds(1))
}

fn bound(asking: &Asking<'_>, shaped: &Shaped, (now, complete): (DateTime<Utc>, DateTime<Utc>), bound: Bound) -> Value {
    let minute = |at: DateTime<Utc>| at.duration_trunc(TimeDelta::minutes(1)).unwrap();
    let [today, week, month] = periods(now);
    json!(match bound {
        Bound::Today => stamp(today),
        Bound::Week => stamp(week),
        Bound::Month => stamp(month),
        Bound::Start if shaped.name == "performance-of-events" => just_after(asking.from),
        Bound::Start => asking.from.to_owned(),
        Bound::End => asking.to.to_owned(),
        Bound::WindowStart => stamp(minute(now) - TimeDelta::minutes(5)),
        Bound::WindowEnd => stamp(minute(now) + TimeDelta::minutes(1)),
        Bound::Minute => stamp(minute(complete.min(now)) - TimeDelta::minutes(1)),
    })
}

/// Asserts that the endpoint's numbers are those of its text, and returns these.
pub(super) async fn hold(asking: &Asking<'_>, shaped: &Shaped, now: DateTime<Utc>) -> Vec<Value> {
    let reply = asking.get(&request(asking, shaped)).await;
    assert_eq!(reply.status, 200, "{}: {}", shaped.name, reply.text());
    let body = reply.json();
    let complete = body["meta"]["complete_through"].as_str().map_or(now, instant);
    let params = shaped.params.iter().map(|param| bound(asking, shaped, (now, complete), *param)).collect();
    let by_text = rows(&asking.sql(shaped.sql, params).await);
    let by_endpoint = numbers(shaped, body);
    assert_eq!(by_endpoint.len(), by_text.len(), "{}: {by_endpoint:?} {by_text:?}", shaped.name);
    for (ours, text) in by_endpoint.iter().zip(&by_text) {
        let (ours, text) = (ours.as_object().unwrap(), text.as_object().unwrap());
        let fields = |row: &Map<String, Value>| row.keys().cloned().collect::<BTreeSet<_>>();
        assert_eq!(fields(ours), fields(text), "{}", shaped.name);
        for (field, value) in ours {
            assert!(is_same(value, &text[field]), "{} {field}: {value} and {}", shaped.name, text[field]);
        }
    }
    match shaped.name {
        "performance" => assert!(reply.header("streamgauge-not-counted").contains("without order")),
        "performance-of-events" => assert!(reply.header("streamgauge-not-counted").contains("CMCD")),
        _ => {}
    }
    by_text
}

/// Whole numbers and words are the same; others within rounding.
pub(super) fn is_same(ours: &Value, text: &Value) -> bool {
    match (ours, text) {
        (Value::Number(one), Value::Number(other)) if one.is_i64() && other.is_i64() => one == other,
        (Value::Number(one), Value::Number(other)) => {
            let (one, other) = (one.as_f64().unwrap(), other.as_f64().unwrap());
            (one - other).abs() <= 1e-12 * one.abs().max(1.0)
        }
        _ => ours == text,
    }
}

/// The answer as rows with the columns of its text.
fn numbers(shaped: &Shaped, body: Value) -> Vec<Value> {
    let list = |value: &Value| value.as_array().unwrap().clone();
    match shaped.name {
        "top-categories" => list(&body["topCategories"]).iter().map(|name| json!({ "category": name })).collect(),
        "streams" | "health" => list(&body["data"]),
        "export" => list(&body).into_iter().map(exported).collect(),
        _ => {
            let mut row = body;
            row.as_object_mut().unwrap().retain(|field, _| !BESIDE.contains(&field.as_str()));
            vec![row]
        }
    }
}

/// A row of the app's export, its metadata beside its other fields.
fn exported(mut row: Value) -> Value {
    let fields = row.as_object_mut().unwrap();
    let metadata = fields.remove("metadata").unwrap();
    fields.insert("kind".to_owned(), metadata["kind"].clone());
    fields.insert("stream_id".to_owned(), metadata["stream_id"].clone());
    row
}

/// Asserts that an export has the events that `UsageStats` counts, and each of its formats the same rows.
pub(super) async fn totals_are_the_same(asking: &Asking<'_>, now: DateTime<Utc>) {
    let usage = asking.get(&format!("/v1/stats/usage?tz={ZONE}")).await.json();
    let export = async |start: DateTime<Utc>, format: &str| {
        let (start, end) = (stamp(start), stamp(now));
        asking.get(&format!("/v1/stats/export?range=custom&start={start}&end={end}&format={format}")).await
    };
    for (period, start) in ["dailyEvents", "weeklyEvents", "monthlyEvents"].into_iter().zip(periods(now)) {
        assert_eq!(export(start, "report").await.json()["totalEvents"], usage[period], "{period}");
    }
    let (rows, csv) = (export(periods(now)[2], "json").await.json(), export(periods(now)[2], "csv").await.text());
    assert!(!rows.as_array().unwrap().is_empty());
    for (row, line) in rows.as_array().unwrap().iter().zip(csv.lines().skip(1)) {
        let timestamp = row["timestamp"].as_str().unwrap().replace('T', " ").replace('Z', " +0000");
        let begin = format!("{timestamp},{},", row["event"].as_str().unwrap());
        assert!(line.starts_with(&begin), "{line} is not {row}");
    }
    assert_eq!(csv.lines().count(), rows.as_array().unwrap().len() + 1);
}
