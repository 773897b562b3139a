//! `GET /v1/stats/export`: the app's three export shapes, at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::TimestampMicrosecondType;
use axum::Json;
use axum::extract::{Extension, Query as QueryString, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use schemas::{Principal, Problem, Scope as Permission, Timestamp};
use serde::Serialize;
use serde_json::Value;

use crate::Query;
use crate::answer::Refused;
use crate::engine::Rows;
use crate::fixed::time_param;
use crate::params::{self, Params};
use crate::performance::{self, LEFT_OUT_OF_EVENTS};
use crate::scope::Scope;
use crate::usage::whole_seconds;

/// More rows than this are for an export job.
const MAX_ROWS: usize = 100_000;

const ROWS: &str = "SELECT event_id, corrected_at, type, data, stream_id FROM events \
    WHERE corrected_at >= $1 AND corrected_at <= $2 AND type IN ('playback.view_started', 'playback.view_ended', \
    'playback.rendition_changed', 'playback.rebuffer_ended', 'playback.error', 'playback.mode_changed', \
    'playback.audio_changed') ORDER BY corrected_at, log_partition, log_position, log_index";

/// One row of the app's own shape; all fields are required by its decoder.
#[derive(Debug, PartialEq, Serialize)]
struct ExportRow {
    id: String,
    timestamp: String,
    event: &'static str,
    value: f64,
    metadata: BTreeMap<&'static str, String>,
}

pub(crate) async fn export(
    State(query): State<Query>,
    Extension(principal): Extension<Principal>,
    QueryString(params): QueryString<Params>,
) -> Result<Response, Refused> {
    let scope = Scope::of(&principal, Permission::StatsRead, params::text(&params, "person"))?;
    let format = match params::text(&params, "format").unwrap_or("json") {
        "json" => Format::Json,
        "csv" => Format::Csv,
        "report" => Format::Report,
        _ => {
            let problem = Problem::new(400, "bad_format", "format is json, csv or report").at("format", "one_of");
            return Err(problem.into());
        }
    };
    let (asked, project) = (query.clone(), Arc::clone(&scope.project));
    query.turn(&project, async move { asked.export(&scope, &params, format).await }).await
}

/// The shapes.
#[derive(Debug, Clone, Copy)]
enum Format {
    Json,
    Csv,
    Report,
}

impl Query {
    async fn export(&self, scope: &Scope, params: &Params, format: Format) -> Result<Response, Refused> {
        let at = self.pin().await?.release();
        let range = performance::range(params, at.now)?;
        if matches!(format, Format::Report) {
            return self.performance_report(&at, scope, range).await;
        }
        let mut headers = at.meta().headers();
        headers.insert("streamgauge-not-counted", HeaderValue::from_static(LEFT_OUT_OF_EVENTS));
        let range = vec![time_param(range.start), time_param(range.end)];
        let rows = self.over_lake(&at, scope, MAX_ROWS, ROWS, range).await?;
        if rows.truncated {
            let detail = format!("more than {MAX_ROWS} rows: ask for a shorter range");
            return Err(Problem::new(422, "export_too_large", detail).at("range", "max_rows").into());
        }
        let rows = export_rows(&rows);
        if matches!(format, Format::Json) {
            let rows: Vec<ExportRow> = rows.into_iter().map(|(row, _)| row).collect();
            return Ok((headers, Json(rows)).into_response());
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8; header=present"));
        Ok((headers, csv(&rows)).into_response())
    }
}

fn export_rows(rows: &Rows) -> Vec<(ExportRow, Timestamp)> {
    let mut exported = Vec::with_capacity(rows.count());
    for batch in &rows.batches {
        let text = |column: usize| batch.column(column).as_string::<i32>();
        let times = batch.column(1).as_primitive::<TimestampMicrosecondType>();
        for row in 0..batch.num_rows() {
            let data: Value = serde_json::from_str(text(3).value(row)).unwrap_or_default();
            let kind = text(2).value(row);
            let Some((event, value)) = app_event(kind, &data) else { continue };
            let mut metadata = BTreeMap::from([("kind", kind.to_owned())]);
            if !text(4).is_null(row) {
                metadata.insert("stream_id", text(4).value(row).to_owned());
            }
            let at = Timestamp::from_micros(times.value(row));
            let id = text(0).value(row).to_owned();
            exported.push((ExportRow { id, timestamp: whole_seconds(at), event, value, metadata }, at));
        }
    }
    exported
}

/// The app's name for an event and its value; `None` for what has no place in this shape.
fn app_event(kind: &str, data: &Value) -> Option<(&'static str, f64)> {
    let seconds = |field: &str| data[field].as_f64().map_or(0.0, |ms| ms / 1000.0);
    match kind {
        "playback.view_started" => Some(("stream_start", 0.0)),
        "playback.view_ended" => Some(("stream_end", seconds("playing_ms"))),
        "playback.rendition_changed" => Some(("quality_change", data["to_kbps"].as_f64().unwrap_or(0.0))),
        "playback.rebuffer_ended" if data["duration_ms"].as_i64() >= Some(250) => {
            Some(("buffering_event", seconds("duration_ms")))
        }
        "playback.error" if data["severity"] == "fatal" || data["domain"] == "network" => {
            Some(("connection_error", 1.0))
        }
        "playback.mode_changed" if data["mode"] == "pip" => Some(("pip_toggle", 1.0)),
        "playback.mode_changed" => Some(("fullscreen_toggle", f64::from(data["mode"] == "fullscreen"))),
        "playback.audio_changed" => match (data["muted"].as_bool(), data["volume"].as_f64()) {
            (None, Some(volume)) => Some(("volume_change", volume)),
            (muted, _) => Some(("mute_toggle", f64::from(muted.unwrap_or(false)))),
        },
        _ => None,
    }
}

/// The app's CSV: metadata always quoted, quotes inside doubled, which the app itself forgets.
fn csv(rows: &[(ExportRow, Timestamp)]) -> String {
    let mut text = String::from("timestamp,event,value,metadata\n");
    for (row, at) in rows {
        let pairs: Vec<String> = row.metadata.iter().map(|(key, value)| format!("{key}:{value}")).collect();
        let metadata = pairs.join(";").replace('"', "\"\"");
        let at = at.to_chrono().format("%Y-%m-%d %H:%M:%S +0000");
        text.push_str(&format!("{at},{},{},\"{metadata}\"\n", row.event, row.value));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn kinds_become_the_apps_twelve_names() {
        assert_eq!(app_event("playback.view_ended", &json!({"playing_ms": 1500})), Some(("stream_end", 1.5)));
        assert_eq!(app_event("playback.rebuffer_ended", &json!({"duration_ms": 249})), None);
        assert_eq!(app_event("playback.rebuffer_ended", &json!({"duration_ms": 250})), Some(("buffering_event", 0.25)));
        assert_eq!(app_event("playback.error", &json!({"severity": "warning", "domain": "drm"})), None);
        assert_eq!(app_event("playback.audio_changed", &json!({"volume": 0.5})), Some(("volume_change", 0.5)));
        assert_eq!(app_event("layout.saved", &json!({})), None);
    }

    #[test]
    fn csv_has_the_apps_header_and_times() {
        let at = Timestamp::parse_rfc3339("2026-11-23T08:56:01.250Z").unwrap();
        let row = ExportRow {
            id: "1".into(),
            timestamp: whole_seconds(at),
            event: "stream_start",
            value: 0.0,
            metadata: [("kind", "playback.view_started".to_owned()), ("stream_id", "twitch:a\"b".to_owned())].into(),
        };
        assert_eq!(
            csv(&[(row, at)]),
            "timestamp,event,value,metadata\n\
             2026-11-23 08:56:01 +0000,stream_start,0,\"kind:playback.view_started;stream_id:twitch:a\"\"b\"\n"
        );
    }
}
