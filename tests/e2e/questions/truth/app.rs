//! What the app is told: watch times, streams, sessions, reports.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::{Asking, Of, Truth, answer, assert_ratio, float, minute_of, text};
use crate::questions::ZONE;
use crate::questions::shaped::{AHEAD_S, periods};

const DAY_MIN: i64 = 24 * 60;

/// A minute on the wall clock of [`ZONE`].
fn local(minute: i64) -> i64 {
    minute + i64::from(AHEAD_S) / 60
}

fn local_date(minute: i64) -> String {
    DateTime::from_timestamp(local(minute) * 60, 0).unwrap().date_naive().to_string()
}

/// Weekday, 1 is Monday, and hour.
fn local_hour(minute: i64) -> (i64, i64) {
    // 1970 began on a Thursday.
    ((local(minute).div_euclid(DAY_MIN) + 3) % 7 + 1, local(minute).rem_euclid(DAY_MIN) / 60)
}

impl Truth {
    /// Viewer and tile time of every period, day and hour.
    pub(super) async fn watch_times(&self, asking: &Asking<'_>, now: DateTime<Utc>) {
        let usage = asking.get(&format!("/v1/stats/usage?tz={ZONE}")).await.json();
        let names = ["daily", "weekly", "monthly"];
        for (name, start) in names.into_iter().zip(periods(now).map(|start| start.timestamp() / 60)) {
            let since = |minute: i64, _: &[String]| (minute >= start).then_some(());
            let watched = self.release.by(since).remove(&()).unwrap_or_default();
            // Nothing was played or tried to: not measured.
            let is_measured = ["attempts", "watch_ms", "paused_ms"].iter().any(|measure| watched.get(measure) > 0);
            let viewer_s = is_measured.then(|| float(watched.get("viewer_ms")) / 1000.0);
            assert_ratio(name, &usage[format!("{name}WatchTime")], viewer_s);
            let events = self.usage.by(since).remove(&()).unwrap_or_default().get("events");
            assert_eq!(usage[format!("{name}Events")], events, "{name}");
            if name == "monthly" {
                assert_ratio("tiles", &usage["tileTime"], Some(float(watched.get("playing_ms")) / 1000.0));
                let summary = answer(asking, "summary").await.remove(0);
                assert_eq!(
                    (&summary["viewer_ms"], &summary["tile_ms"]),
                    (&usage_ms(&usage, "viewerTime"), &usage_ms(&usage, "tileTime"))
                );
            }
        }
        let until = minute_of(asking.to);
        let by_day = self.release.by(|minute, _| (minute < until).then(|| local_date(minute)));
        let days = answer(asking, "activity").await;
        for row in &days {
            let of = &by_day[text(row, "day")];
            assert_eq!(
                (&row["viewer_ms"], &row["tile_ms"]),
                (&json!(of.get("viewer_ms")), &json!(of.get("playing_ms")))
            );
        }
        assert_eq!(days.len(), by_day.len());
        let by_hour = self.release.by(|minute, _| Some(local_hour(minute)));
        let hours: BTreeMap<(i64, i64), i64> =
            by_hour.iter().map(|(hour, of)| (*hour, of.get("viewer_ms"))).filter(|(_, ms)| *ms > 0).collect();
        let number = |row: &Value, column: &str| row[column].as_i64().unwrap();
        let answered = answer(asking, "hours").await;
        let answered = answered
            .iter()
            .map(|row| ((number(row, "weekday"), number(row, "hour")), number(row, "viewer_ms")))
            .collect();
        assert_eq!(hours, answered);
    }

    /// Streams, platforms and categories by tile time.
    pub(super) async fn what_was_watched(&self, asking: &Asking<'_>) {
        let Asking { from, to, .. } = asking;
        let path = format!("/v1/stats/streams?range=custom&start={from}&end={to}&limit=1000");
        let streams = asking.get(&path).await.json()["data"].as_array().unwrap().clone();
        let by_stream = self.stream.by(|_, key| Some(key.to_vec()));
        for row in &streams {
            let of = &by_stream[&["stream_id", "stream_platform"].map(|key| text(row, key).to_owned()).to_vec()];
            assert_eq!((&row["tile_ms"], &row["views"]), (&json!(of.get("playing_ms")), &json!(of.get("attempts"))));
        }
        let is_watched = |of: &&Of| of.get("playing_ms") > 0;
        assert_eq!(streams.len(), by_stream.values().filter(|of| is_watched(of) || of.get("attempts") > 0).count());
        let summary = answer(asking, "summary").await.remove(0);
        assert_eq!(summary["streams"], by_stream.values().filter(is_watched).count());

        let tile_ms = |rows: Vec<Value>, name: &str| -> BTreeMap<String, i64> {
            rows.iter().map(|row| (text(row, name).to_owned(), row["tile_ms"].as_i64().unwrap())).collect()
        };
        let by_platform = self.stream.by(|_, key| Some(key[1].clone()));
        let by_platform = by_platform.into_iter().map(|(platform, of)| (platform, of.get("playing_ms")));
        let by_platform: BTreeMap<String, i64> = by_platform.filter(|(_, ms)| *ms > 0).collect();
        assert_eq!(tile_ms(answer(asking, "platforms").await, "stream_platform"), by_platform);
        assert_eq!(summary["platforms"], by_platform.len());
        let mut by_category: BTreeMap<String, i64> = BTreeMap::new();
        for view in self.views.iter().filter(|view| !view.text("category").is_empty()) {
            *by_category.entry(view.text("category").to_owned()).or_default() += view.number("playing_ms");
        }
        by_category.retain(|_, ms| *ms > 0);
        assert_eq!(tile_ms(answer(asking, "categories").await, "category"), by_category);
    }

    /// Sessions that are over.
    pub(super) async fn sessions(&self, asking: &Asking<'_>) {
        let lengths: Vec<i64> = self.app_sessions.iter().map(|session| session.number("duration_ms")).collect();
        let mean = float(lengths.iter().sum()) / float(i64::try_from(lengths.len()).unwrap());
        let habits = answer(asking, "habits").await.remove(0);
        assert_eq!(
            (&habits["sessions"], &habits["longest_session_ms"]),
            (&json!(lengths.len()), &json!(lengths.iter().max()))
        );
        assert_ratio("session", &habits["avg_session_ms"], Some(mean));
        assert_ratio("session", &answer(asking, "summary").await[0]["avg_session_ms"], Some(mean));
        let by_hour = self.release.by(|minute, _| Some(local_hour(minute).1));
        let peak = by_hour.iter().max_by_key(|(hour, of)| (of.get("viewer_ms"), -**hour)).map(|(hour, _)| hour);
        let by_weekday = self.release.by(|minute, _| Some(local_hour(minute).0));
        let favourite = by_weekday.iter().max_by_key(|(day, of)| (of.get("viewer_ms"), -**day)).map(|(day, _)| day);
        assert_eq!((&habits["peak_hour"], &habits["favourite_weekday"]), (&json!(peak), &json!(favourite)));
    }

    /// The performance report.
    pub(super) async fn report(&self, asking: &Asking<'_>) {
        let Asking { from, to, .. } = asking;
        let report = asking.get(&format!("/v1/stats/performance?range=custom&start={from}&end={to}")).await.json();
        let played = self.release.by(|_, _| Some(())).remove(&()).unwrap();
        let events = self.usage.by(|_, _| Some(())).remove(&()).unwrap().get("events");
        let (stalls, errors) =
            (played.get("rebuffer_count"), played.get("errors_fatal") + played.get("errors_warning"));
        assert!(stalls > 0 && errors > 0);
        for (field, n) in [
            ("totalEvents", events),
            ("bufferingEvents", stalls),
            ("connectionErrors", errors),
            ("qualityChanges", played.get("rendition_changes")),
        ] {
            assert_eq!(report[field], n, "{field}");
        }
        let share = |n: i64| float(n) / float(events);
        let health = ((1.0 - 0.7 * share(errors)) + (1.0 - 0.3 * share(stalls))) / 2.0;
        assert_ratio("stall", &report["averageBufferTime"], played.ratio("rebuffer_ms", 1000 * stalls));
        assert_ratio("errors", &report["errorRate"], Some(share(errors)));
        assert_ratio("health", &report["healthScore"], Some(health));
    }
}

/// Seconds of `UsageStats` as milliseconds.
fn usage_ms(usage: &Value, field: &str) -> Value {
    #[expect(clippy::cast_possible_truncation, reason = "a day or two of a small fleet")]
    let whole = (usage[field].as_f64().unwrap() * 1000.0).round() as i64;
    json!(whole)
}
