//! Holds what the server answers against the truth.

mod bins;
mod facts;
mod report;
mod rollups;
mod server;
mod settle;

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::Value;

pub(super) use report::Report;
pub(super) use server::Reader;
pub(super) use settle::settle;

use super::post::Books;
use super::truth::Truth;
use rollups::RollupTable;

/// Every measure of the rollups of views and sessions.
const MEASURES: &[&str] = &[
    "attempts",
    "started",
    "startup_valid",
    "startup_failures",
    "startup_business",
    "ebvs",
    "abandoned_early",
    "left_unstarted",
    "playback_failures",
    "errors_fatal",
    "errors_warning",
    "rebuffer_count",
    "client_rebuffers",
    "sustained_rebuffers",
    "seeks",
    "rendition_changes",
    "shifts_up",
    "shifts_down",
    "dropped_frames",
    "rendered_frames",
    "join_ms",
    "playing_ms",
    "rebuffer_ms",
    "seek_ms",
    "paused_ms",
    "watch_ms",
    "watch_ms_rebuffer_capable",
    "media_ms",
    "bitrate_ms",
    "rated_media_ms",
    "focus_ms",
    "audible_ms",
    "attention_ms",
    "attention_rebuffer_ms",
    "latency_ms_sum",
    "latency_n",
    "views_ended",
    "views_with_rebuffer",
    "rebuffer_capable_views",
    "success_sum",
    "success_n",
    "startup_sum",
    "startup_n",
    "smoothness_sum",
    "smoothness_n",
    "video_quality_sum",
    "video_quality_n",
    "health_sum",
    "health_n",
    "health_healthy",
    "health_good",
    "health_warning",
    "health_error",
    "health_unknown",
    "views_at_start",
    "viewers_at_start",
    "viewer_ms",
    "sessions",
    "crashed_sessions",
    "failed_sessions",
    "stalled_sessions",
    "layouts_opened",
    "any_stall_ms",
    "all_stall_ms",
    "shifts_down_tile_count",
];

/// Measures that depend on where in a minute or hour something happens: unknown where a clock is wrong.
const OF_THE_CLOCK: &[&str] = &["views_at_start", "viewers_at_start", "late_events"];

const STREAM: RollupTable = RollupTable { name: "stream", keys: &["stream_id", "stream_platform"], measures: MEASURES };
const RELEASE: RollupTable = RollupTable {
    name: "release",
    keys: &["app_version", "device_platform", "os_major", "device_class", "network"],
    measures: MEASURES,
};
const LAYOUT: RollupTable = RollupTable { name: "layout", keys: &["layout_type", "tile_band"], measures: MEASURES };
const USAGE: RollupTable =
    RollupTable { name: "usage", keys: &["type", "feature"], measures: &["events", "late_events"] };
const ERROR: RollupTable = RollupTable {
    name: "error",
    keys: &["origin", "code", "domain", "severity", "app_version"],
    measures: &["errors"],
};

/// Compares everything that the server should know.
pub(super) async fn all(reader: &Reader, truth: &Truth, books: &Books, distinct: i64) -> Result<Report> {
    let mut report = Report::default();
    compare_books(reader, &mut report, books, distinct).await?;
    compare_kinds(reader, &mut report, truth).await?;
    compare_quality(reader, &mut report, truth, books).await?;
    let mut rollups = rollups::Comparison { reader, report: &mut report };
    rollups.sums(&USAGE, &truth.usage).await?;
    rollups.sums(&ERROR, &truth.errors).await?;
    for (table, grid) in [(&STREAM, &truth.stream), (&RELEASE, &truth.release), (&LAYOUT, &truth.layout)] {
        rollups.sums(table, grid).await?;
        rollups.distributions(table, grid).await?;
    }
    // Everything has a layout, if only an unknown one.
    rollups.slices(&truth.layout, MEASURES).await?;
    facts::compare(reader, &mut report, "views", "view_id", &truth.views).await?;
    facts::compare(reader, &mut report, "app_sessions", "session_id", &truth.app_sessions).await?;
    Ok(report)
}

/// What was sent must be what the server says it received, to the last event.
async fn compare_books(reader: &Reader, report: &mut Report, books: &Books, distinct: i64) -> Result<()> {
    let sent = i64::try_from(books.sent)?;
    report.numbers("books", "all", "taken", sent, i64::try_from(books.accepted + books.duplicate)?);
    report.numbers("books", "all", "quarantined", 0, i64::try_from(books.quarantined)?);
    let mut outcomes: BTreeMap<String, i64> = BTreeMap::new();
    for row in reader.rows("SELECT outcome, sum(events) AS n FROM ledger GROUP BY outcome").await? {
        let outcome = row.get("outcome").and_then(Value::as_str).unwrap_or_default().to_owned();
        outcomes.insert(outcome, row.get("n").and_then(server::whole).unwrap_or_default());
    }
    // What got no answer may have been taken all the same.
    let is_known = books.unanswered == 0;
    for (outcome, expected) in
        [("stored", distinct), ("duplicate", sent - distinct), ("quarantined", 0), ("suppressed", 0)]
    {
        if is_known || outcome != "duplicate" {
            report.numbers("ledger", "all", outcome, expected, outcomes.get(outcome).copied().unwrap_or_default());
        }
    }
    report.numbers("quarantine", "all", "rows", 0, reader.number("SELECT count(*) AS n FROM quarantine").await?);
    Ok(())
}

/// Stored events by kind.
async fn compare_kinds(reader: &Reader, report: &mut Report, truth: &Truth) -> Result<()> {
    let mut expected: BTreeMap<String, i64> = BTreeMap::new();
    for ((_, key), sums) in &truth.usage.sums {
        *expected.entry(key[0].clone()).or_default() += sums.get("events").copied().unwrap_or_default();
    }
    let mut got: BTreeMap<String, i64> = BTreeMap::new();
    for row in reader.rows("SELECT type, count(*) AS n FROM events GROUP BY type").await? {
        let kind = row.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
        got.insert(kind, row.get("n").and_then(server::whole).unwrap_or_default());
    }
    let kinds: std::collections::BTreeSet<&String> = expected.keys().chain(got.keys()).collect();
    for kind in kinds {
        let of = |counts: &BTreeMap<String, i64>| counts.get(kind).copied().unwrap_or_default();
        report.numbers("events", kind, "rows", of(&expected), of(&got));
    }
    Ok(())
}

/// Received events by format, kind and outcome.
async fn compare_quality(reader: &Reader, report: &mut Report, truth: &Truth, books: &Books) -> Result<()> {
    let mut got: BTreeMap<[String; 3], i64> = BTreeMap::new();
    let sql = "SELECT format, type, outcome, sum(events) AS n FROM rollup_quality_day GROUP BY format, type, outcome";
    for row in reader.rows(sql).await? {
        let text = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let key = ["format", "type", "outcome"].map(text);
        got.insert(key, row.get("n").and_then(server::whole).unwrap_or_default());
    }
    let keys: std::collections::BTreeSet<&[String; 3]> = truth.quality.keys().chain(got.keys()).collect();
    for key in keys.into_iter().filter(|key| books.unanswered == 0 || key[2] != "duplicate") {
        let of = |counts: &BTreeMap<[String; 3], i64>| counts.get(key).copied().unwrap_or_default();
        report.numbers("rollup_quality_day", &key.join(" "), "events", of(&truth.quality), of(&got));
    }
    Ok(())
}
