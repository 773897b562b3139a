//! What the app's event names mean, with their traps.

use serde_json::{Map, Value};

/// An analytics event in the vocabulary's terms. Its data keeps the properties as sent and adds the kind's fields.
#[derive(Debug, PartialEq)]
pub(super) struct Mapped {
    pub(super) kind: String,
    pub(super) data: Map<String, Value>,
    pub(super) stream_id: Option<String>,
    pub(super) stream_platform: Option<String>,
    pub(super) partial: bool,
}

/// Maps a name and its properties.
///
/// Names without a kind are kept under their own name, which the vocabulary does not know: counted by name, in no
/// typed metric. `stream_quality` is among them on purpose: the app fills it with random numbers.
pub(super) fn map(name: &str, properties: Map<String, Value>) -> Mapped {
    let text = |key: &str| properties.get(key).and_then(Value::as_str).map(str::to_owned);
    let number = |key: &str| properties.get(key).and_then(Value::as_f64);
    let mut fields: Vec<(&'static str, Option<Value>)> = Vec::new();
    let mut partial = false;
    let kind = match name {
        "session_start" => {
            fields.push(("first_session", properties.get("is_first_launch").and_then(truth)));
            "session.started"
        }
        "session_end" => {
            fields.push(("duration_ms", number("session_duration").and_then(seconds_to_ms)));
            "session.ended"
        }
        "app_backgrounded" => "app.backgrounded",
        "app_foregrounded" => "app.foregrounded",
        "user_sign_up" | "user_sign_in" => "identity.signed_in",
        "user_sign_out" => "identity.signed_out",
        "stream_added" => "stream.added",
        "stream_removed" => "stream.removed",
        "stream_viewed" => {
            fields.push(("playing_ms", number("duration").and_then(seconds_to_ms)));
            partial = true;
            "playback.view_ended"
        }
        // These mean added, removed, went live or went offline, never playback: they must not make views.
        "stream_start" | "stream_end" | "stream_status_change" => {
            fields.push(("live", properties.get("is_live").and_then(truth)));
            "stream.status_changed"
        }
        "layout_changed" => {
            fields.push(("from_type", text("from_layout").map(|layout| layout_type(&layout).into())));
            fields.push(("to_type", text("to_layout").map(|layout| layout_type(&layout).into())));
            "layout.switched"
        }
        "fullscreen_entered" | "fullscreen_exited" => {
            let mode = if name == "fullscreen_entered" { "fullscreen" } else { "tile" };
            fields.push(("mode", Some(mode.into())));
            partial = true;
            "playback.mode_changed"
        }
        "search_performed" => {
            fields.push(("results", properties.get("results_count").cloned()));
            fields.push(("query_len", properties.get("query_length").cloned()));
            "search.performed"
        }
        "feature_used" => {
            fields.push(("feature", text("feature_name").map(Value::from)));
            "feature.used"
        }
        "error_occurred" => {
            let domain = text("error_domain").or_else(|| text("error_category"));
            let code = properties.get("error_code").and_then(|code| match code {
                Value::String(code) => Some(code.clone()),
                Value::Number(code) => Some(code.to_string()),
                _ => None,
            });
            fields.push(("code", code.map(Value::from)));
            fields.push(("domain", domain.map(Value::from)));
            fields.push(("retryable", properties.get("is_retryable").and_then(truth)));
            "app.error"
        }
        "crash" => {
            let signature = text("error").map(|error| error.chars().take(256).collect::<String>());
            fields.push(("signature", signature.map(Value::from)));
            "app.crashed"
        }
        "memory_usage" if properties.get("warning").and_then(truth) == Some(true.into()) => "app.memory_warning",
        // Sent after every health check, passed or failed, without the outcome.
        "connection_error" => "stream.probe",
        "analytics_enabled" | "analytics_disabled" => {
            fields.push(("analytics", Some((name == "analytics_enabled").into())));
            "consent.changed"
        }
        // The day stands in the name: as a key it would grow without bound.
        _ if name.strip_prefix("retention_day_").is_some_and(|day| day.bytes().all(|byte| byte.is_ascii_digit())) => {
            "retention_day"
        }
        other => other,
    };
    let stream_id = text("stream_id");
    let stream_platform = text("platform");
    let mut data = properties;
    for (field, value) in fields {
        if let Some(value) = value {
            data.insert(field.to_owned(), value);
        }
    }
    if kind != name {
        data.insert("legacy_name".into(), name.into());
    }
    Mapped { kind: kind.to_owned(), data, stream_id, stream_platform, partial }
}

/// A truth value, also as the text that the app sometimes sends.
fn truth(value: &Value) -> Option<Value> {
    match value {
        Value::Bool(_) => Some(value.clone()),
        Value::String(text) if text == "true" => Some(true.into()),
        Value::String(text) if text == "false" => Some(false.into()),
        _ => None,
    }
}

/// Seconds as whole milliseconds, rounded.
fn seconds_to_ms(seconds: f64) -> Option<Value> {
    let ms = (seconds * 1000.0).round();
    #[expect(clippy::cast_possible_truncation, reason = "guarded: below 2^53")]
    (ms.is_finite() && ms.abs() < 9e15).then(|| Value::from(ms as i64))
}

/// The vocabulary's name of a layout type that the app calls otherwise.
fn layout_type(name: &str) -> &str {
    match name {
        "1x1" => "single",
        "2x2" => "grid2x2",
        "3x3" => "grid3x3",
        "4x4" => "grid4x4",
        "stacked" => "stack",
        other => other,
    }
}
