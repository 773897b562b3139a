//! What the app's event names mean, with their traps.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::attributes;
use crate::kinds::{self, KindSpec};

/// An analytics event in the vocabulary's terms. Its data keeps the properties as sent and adds the kind's fields.
#[derive(Debug, PartialEq)]
pub(super) struct Mapped {
    /// The kind's name; for an event without a kind its own name, as far as that can be one.
    pub(super) kind: Cow<'static, str>,
    /// The vocabulary's entry; `None` for an event without a kind, even where its name is spelt like one.
    pub(super) spec: Option<&'static KindSpec>,
    pub(super) data: Map<String, Value>,
    pub(super) stream_id: Option<String>,
    pub(super) stream_platform: Option<String>,
    pub(super) partial: bool,
}

/// What the table of names says about one of them.
struct Row {
    name: &'static str,
    /// `None`: kept under its own name, in no typed metric.
    kind: Option<&'static str>,
    /// Whether its property `stream_id` names a stream.
    has_stream: bool,
    /// Whether its property `platform` is a stream's platform.
    has_platform: bool,
    partial: bool,
}

impl Row {
    const fn new(name: &'static str, kind: &'static str) -> Self {
        Self { name, kind: Some(kind), has_stream: false, has_platform: false, partial: false }
    }

    const fn raw(name: &'static str) -> Self {
        Self { name, kind: None, has_stream: false, has_platform: false, partial: false }
    }

    const fn stream(self) -> Self {
        Self { has_stream: true, ..self }
    }

    const fn platform(self) -> Self {
        Self { has_platform: true, ..self }
    }

    const fn partial(self) -> Self {
        Self { partial: true, ..self }
    }
}

/// The names of today's app that mean something, as its source has them.
const ROWS: &[Row] = &[
    Row::new("session_start", "session.started"),
    Row::new("session_end", "session.ended"),
    Row::new("app_backgrounded", "app.backgrounded"),
    Row::new("app_foregrounded", "app.foregrounded"),
    Row::new("user_sign_up", "identity.signed_in"),
    Row::new("user_sign_in", "identity.signed_in"),
    Row::new("user_sign_out", "identity.signed_out"),
    Row::new("stream_added", "stream.added").platform(),
    Row::new("stream_removed", "stream.removed").platform(),
    Row::new("stream_viewed", "playback.view_ended").stream().platform().partial(),
    // These mean added, removed, went live or went offline, never playback: they must not make views.
    Row::new("stream_start", "stream.status_changed").stream().platform(),
    Row::new("stream_end", "stream.status_changed").stream().platform(),
    Row::new("stream_status_change", "stream.status_changed").stream().platform(),
    Row::new("layout_changed", "layout.switched"),
    Row::new("fullscreen_entered", "playback.mode_changed").stream().partial(),
    Row::new("fullscreen_exited", "playback.mode_changed").stream().partial(),
    Row::new("search_performed", "search.performed").platform(),
    Row::new("feature_used", "feature.used"),
    Row::new("error_occurred", "app.error"),
    Row::new("crash", "app.crashed"),
    Row::new("memory_usage", "app.memory_warning"),
    // Sent after every health check, passed or failed, without the outcome.
    Row::new("connection_error", "stream.probe").stream().platform(),
    // The app fills it with random numbers.
    Row::raw("stream_quality").stream().platform(),
    Row::new("analytics_enabled", "consent.changed"),
    Row::new("analytics_disabled", "consent.changed"),
];

/// What names that are not in the table say: nothing, so that a property `platform` of theirs is none of a stream.
const UNLISTED: Row = Row::raw("");

/// Maps a name and its properties.
///
/// Names without a kind are kept under their own name: counted by name, in no typed metric.
pub(super) fn map(name: &str, properties: Map<String, Value>) -> Mapped {
    let row = ROWS.iter().find(|row| row.name == name).filter(|row| applies(row, &properties)).unwrap_or(&UNLISTED);
    let kind = row.kind.map_or_else(|| Cow::Owned(own_name(name)), Cow::Borrowed);
    let stream_id = row.has_stream.then(|| text(&properties, "stream_id")).flatten();
    let stream_platform = row.has_platform.then(|| text(&properties, "platform")).flatten();
    let fields = fields(name, &properties);
    let mut data = properties;
    if row.kind.is_some() {
        data.extend(fields.into_iter().filter_map(|(field, value)| Some((field.to_owned(), value?))));
    }
    if kind != name {
        data.insert("legacy_name".into(), name.into());
    }
    let spec = row.kind.and_then(kinds::named);
    Mapped { kind, spec, data, stream_id, stream_platform, partial: row.partial }
}

/// Whether an event is one of its row: memory was asked for only where the app says so.
fn applies(row: &Row, properties: &Map<String, Value>) -> bool {
    row.name != "memory_usage" || truth(properties, "warning") == Some(Value::Bool(true))
}

/// The name that an event without a kind is counted under.
fn own_name(name: &str) -> String {
    // The day stands in the name: as a key it would grow without bound.
    if let Some(day) = name.strip_prefix("retention_day_")
        && !day.is_empty()
        && day.bytes().all(|byte| byte.is_ascii_digit())
    {
        return "retention_day".to_owned();
    }
    attributes::as_kind_name(name)
}

/// The kind's fields, as the properties give them.
fn fields(name: &str, properties: &Map<String, Value>) -> Vec<(&'static str, Option<Value>)> {
    let text = |key| text(properties, key).map(Value::from);
    let truth = |key| truth(properties, key);
    let ms = |key| properties.get(key).and_then(Value::as_f64).and_then(seconds_to_ms);
    match name {
        "session_start" => vec![("first_session", truth("is_first_launch"))],
        "session_end" => vec![("duration_ms", ms("session_duration"))],
        "stream_viewed" => vec![("playing_ms", ms("duration"))],
        "stream_start" | "stream_end" | "stream_status_change" => vec![("live", truth("is_live"))],
        "layout_changed" => vec![("from_type", text("from_layout")), ("to_type", text("to_layout"))],
        "fullscreen_entered" => vec![("mode", Some("fullscreen".into()))],
        "fullscreen_exited" => vec![("mode", Some("tile".into()))],
        "search_performed" => vec![
            ("results", properties.get("results_count").cloned()),
            ("query_len", properties.get("query_length").cloned()),
        ],
        "feature_used" => vec![("feature", text("feature_name"))],
        "error_occurred" => vec![
            ("code", code(properties.get("error_code")).map(Value::from)),
            ("domain", text("error_domain").or_else(|| text("error_category"))),
            ("retryable", truth("is_retryable")),
        ],
        "crash" => vec![("signature", signature(properties))],
        "analytics_enabled" => vec![("analytics", Some(true.into()))],
        "analytics_disabled" => vec![("analytics", Some(false.into()))],
        _ => Vec::new(),
    }
}

/// A text; an empty one is missing.
fn text(properties: &Map<String, Value>, key: &str) -> Option<String> {
    properties.get(key)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// The error's text, cut to what identifies a crash; it stays whole beside it.
pub(super) fn signature(properties: &Map<String, Value>) -> Option<Value> {
    text(properties, "error").map(|error| cut(&error, 256).into())
}

/// A truth value, also as the text that the app sometimes sends.
fn truth(properties: &Map<String, Value>, key: &str) -> Option<Value> {
    match properties.get(key)? {
        Value::Bool(value) => Some((*value).into()),
        Value::String(text) if text == "true" => Some(true.into()),
        Value::String(text) if text == "false" => Some(false.into()),
        _ => None,
    }
}

/// An error code, which the feeds send as a number or as text.
pub(super) fn code(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(code) if !code.is_empty() => Some(code.clone()),
        Value::Number(code) => Some(code.to_string()),
        _ => None,
    }
}

/// The text's first `max_chars` characters.
pub(super) fn cut(text: &str, max_chars: usize) -> String {
    text.chars().take(max_chars).collect()
}

/// Seconds as whole milliseconds, rounded.
fn seconds_to_ms(seconds: f64) -> Option<Value> {
    let ms = (seconds * 1000.0).round();
    #[expect(clippy::cast_possible_truncation, reason = "guarded: below 2^53")]
    (ms.is_finite() && ms.abs() < 9e15).then(|| Value::from(ms as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_leads_to_a_kind_of_the_vocabulary() {
        for row in ROWS {
            assert!(row.kind.is_none_or(|kind| kinds::named(kind).is_some()), "{}", row.name);
            assert_eq!(ROWS.iter().filter(|other| other.name == row.name).count(), 1, "{}", row.name);
        }
    }
}
