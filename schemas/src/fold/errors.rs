//! What the rollup of errors counts: the keys of a stored error event.

use serde_json::Value;

use super::input::word;
use crate::event::Format;
use crate::json;
use crate::kinds::{AppCrashed, AppError, PlaybackError};

/// Whether events of this kind are errors, whatever they tell. Of CMCD events others are errors, too.
#[must_use]
pub fn is_error(kind: &str) -> bool {
    matches!(kind, "playback.error" | "app.error" | "app.crashed")
}

/// Origin, code, domain and severity of an error event, from its kind, format and data; `None` for other events. What is not
/// told is empty.
#[must_use]
pub fn error_keys(kind: &str, format: Format, data: &str) -> Option<[String; 4]> {
    let keys = |origin: &str, code: Option<String>, domain: Option<String>, severity: Option<String>| {
        Some([origin.to_owned(), code.unwrap_or_default(), domain.unwrap_or_default(), severity.unwrap_or_default()])
    };
    match kind {
        "playback.error" => {
            let error: PlaybackError = json::typed(data)?;
            keys("playback", error.code, error.domain.as_ref().map(word), error.severity.as_ref().map(word))
        }
        "app.error" => {
            let error: AppError = json::typed(data)?;
            keys("app", error.code, error.domain, None)
        }
        "app.crashed" => {
            let crash: AppCrashed = json::typed(data)?;
            keys("app", crash.signature, Some("crash".into()), Some("fatal".into()))
        }
        _ if format == Format::Cmcd2 && data.contains("\"ec\"") => {
            let data: Value = serde_json::from_str(data).ok()?;
            let code = data.get("ec")?.as_array()?.first()?.as_str()?.to_owned();
            let is_fatal = data.get("sta").and_then(Value::as_str) == Some("f");
            keys("playback", Some(code), None, Some(if is_fatal { "fatal" } else { "warning" }.into()))
        }
        _ => None,
    }
}
