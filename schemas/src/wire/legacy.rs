//! What the app sends today: the analytics feed and the error feed.
//!
//! Both carry device times as seconds since 2001 and neither carries an install id; the session stands in for it.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::{Received, Verdict, attributes, legacy_names, unreadable};
use crate::dedup::IdTime;
use crate::digest::derived_id;
use crate::event::{self, Event, Flag, Flags, Format, Rejection};
use crate::json::Scalar;
use crate::kinds::{self, Strictness};
use crate::outcome::Reason;
use crate::time::Timestamp;

/// 2001-01-01T00:00:00Z in Unix seconds: the epoch of Swift's default date encoding (Apple,
/// `Date.timeIntervalSinceReferenceDate`).
const SWIFT_EPOCH_S: f64 = 978_307_200.0;

/// One event of the analytics feed: `{name, properties, timestamp?, sessionId?, userId?, isCritical}`.
pub(super) fn analytics<'a>(received: &Received<'a>, bytes: &'a [u8]) -> Verdict<'a> {
    let mut object = match object(bytes) {
        Ok(object) => object,
        Err(reason) => return Verdict::Quarantine(unreadable(received.wire, reason, bytes)),
    };
    let session = session(&object);
    let seconds = object.get("timestamp").and_then(Value::as_f64);
    let name = match object.get("name").and_then(Value::as_str) {
        Some(name) => name.to_owned(),
        None => return reject(received, bytes, Reason::MissingAttribute, "name", session),
    };
    let properties = match object.remove("properties") {
        Some(Value::Object(properties)) => properties,
        _ => Map::new(),
    };
    let occurred = seconds.and_then(|seconds| Timestamp::from_secs_f64(seconds + SWIFT_EPOCH_S));
    let id = derived_id(&[
        session.as_deref().unwrap_or_default().as_bytes(),
        name.as_bytes(),
        seconds.map_or_else(String::new, |seconds| seconds.to_string()).as_bytes(),
        Value::Object(properties.clone()).to_string().as_bytes(),
    ]);
    let mapped = legacy_names::map(&name, properties);
    // A name that stays as it is means no kind, even where it is spelt like one.
    let spec = if mapped.kind == name { None } else { kinds::named(&mapped.kind) };
    let Some(kind) = attributes::kind_name(Cow::Owned(mapped.kind)) else {
        return reject(received, bytes, Reason::MissingAttribute, "name", session);
    };
    let stated_version = mapped.data.get("app_version").and_then(Value::as_str).map(str::to_owned);
    let stream_id = mapped.stream_id.as_deref().and_then(|id| {
        event::stream_identity(id, mapped.stream_platform.as_deref()).map(|(id, platform)| (id.into_owned(), platform))
    });
    let mut flags = Flags::NONE;
    if mapped.partial {
        flags.insert(Flag::Partial);
    }
    build(
        received,
        Parts {
            id,
            id_time: occurred.map_or(IdTime::FromId, IdTime::Derived),
            kind,
            spec,
            occurred,
            session,
            app_version: stated_version,
            stream_platform: stream_id
                .as_ref()
                .map(|(_, platform)| *platform)
                .or_else(|| mapped.stream_platform.as_deref().map(event::stream_platform)),
            stream_id: stream_id.map(|(id, _)| id),
            data: Value::Object(mapped.data).to_string(),
            flags,
        },
    )
}

/// One report of the error feed.
pub(super) fn error_report<'a>(received: &Received<'a>, bytes: &'a [u8]) -> Verdict<'a> {
    let report = match object(bytes) {
        Ok(report) => report,
        Err(reason) => return Verdict::Quarantine(unreadable(received.wire, reason, bytes)),
    };
    let session = session(&report);
    let text = |name: &str| report.get(name).and_then(Value::as_str);
    let occurred = report
        .get("timestamp")
        .and_then(Value::as_f64)
        .and_then(|seconds| Timestamp::from_secs_f64(seconds + SWIFT_EPOCH_S));
    let sent_id = text("id").and_then(|id| attributes::event_id(Cow::Borrowed(id))).map(Cow::into_owned);
    let app_version =
        report.get("deviceInfo").and_then(|device| device.get("appVersion")).and_then(Value::as_str).map(str::to_owned);
    let is_crash = report.get("isCrash").and_then(Value::as_bool).unwrap_or(false);
    let mut data = Map::new();
    if is_crash {
        if let Some(error) = text("error") {
            data.insert("signature".into(), cut(error, 256).into());
        }
    } else {
        let domain = text("errorDomain");
        let number = match report.get("errorCode") {
            Some(Value::Number(number)) => Some(number.to_string()),
            Some(Value::String(number)) => Some(number.clone()),
            _ => None,
        };
        if domain.is_some() || number.is_some() {
            let code = format!("{}:{}", domain.unwrap_or_default(), number.unwrap_or_default());
            data.insert("code".into(), cut(&code, 64).into());
        }
        if let Some(domain) = domain {
            data.insert("domain".into(), cut(domain, 64).into());
        }
        if let Some(recovered) = report.get("isRecovered").and_then(Value::as_bool) {
            data.insert("retryable".into(), recovered.into());
        }
    }
    let (id, id_time) = match sent_id {
        Some(id) => (id, IdTime::FromId),
        None => (derived_id(&[bytes]), occurred.map_or(IdTime::FromId, IdTime::Derived)),
    };
    data.insert("report".into(), Value::Object(report));
    build(
        received,
        Parts {
            id,
            id_time,
            kind: Cow::Borrowed(if is_crash { "app.crashed" } else { "app.error" }),
            spec: kinds::named(if is_crash { "app.crashed" } else { "app.error" }),
            occurred,
            session,
            app_version,
            stream_id: None,
            stream_platform: None,
            data: Value::Object(data).to_string(),
            flags: Flags::NONE,
        },
    )
}

/// The text's first `max_chars` characters.
fn cut(text: &str, max_chars: usize) -> String {
    text.chars().take(max_chars).collect()
}

fn object(bytes: &[u8]) -> Result<Map<String, Value>, Reason> {
    let text = std::str::from_utf8(bytes).map_err(|_| Reason::InvalidJson)?;
    // First strictly, then as a tree: what is built has passed the rules.
    serde_json::from_str::<Scalar<'_>>(text).map_err(|error| crate::json::reason_of(&error))?;
    serde_json::from_str(text).map_err(|_| Reason::InvalidJson)
}

/// The session in lower case, if it is usable.
fn session(object: &Map<String, Value>) -> Option<String> {
    let text = object.get("sessionId")?.as_str()?;
    attributes::opaque(Cow::Borrowed(text), 64).map(|text| text.to_ascii_lowercase())
}

fn source(session: Option<&str>) -> String {
    format!("/legacy/{}", session.unwrap_or_default())
}

fn reject<'a>(
    received: &Received<'a>,
    bytes: &'a [u8],
    reason: Reason,
    field: &'static str,
    session: Option<String>,
) -> Verdict<'a> {
    Verdict::Quarantine(Rejection {
        field: Some(field.into()),
        source: Some(source(session.as_deref()).into()),
        device_platform: received.fact("x-platform").and_then(attributes::device_platform),
        partition_key: session.unwrap_or_default().into(),
        ..unreadable(received.wire, reason, bytes)
    })
}

/// What the two feeds have in common once they are read.
struct Parts<'a> {
    id: String,
    id_time: IdTime,
    kind: Cow<'a, str>,
    spec: Option<&'static kinds::KindSpec>,
    occurred: Option<Timestamp>,
    session: Option<String>,
    app_version: Option<String>,
    stream_id: Option<String>,
    stream_platform: Option<&'static str>,
    data: String,
    flags: Flags,
}

fn build<'a>(received: &Received<'a>, parts: Parts<'a>) -> Verdict<'a> {
    let spec = parts.spec;
    let source = source(parts.session.as_deref());
    let checked = match kinds::check(spec, Some(Cow::Owned(parts.data)), Strictness::Lenient) {
        Ok(checked) => checked,
        Err((reason, field)) => {
            return Verdict::Quarantine(Rejection {
                reason,
                field: Some(field.into()),
                id: parts.id.into(),
                source: Some(source.into()),
                kind: Some(parts.kind),
                format: Format::StreamyyyLegacy,
                device_platform: received.fact("x-platform").and_then(attributes::device_platform),
                app_version: None,
                partition_key: parts.session.unwrap_or_default().into(),
            });
        }
    };
    let mut flags = parts.flags;
    if checked.out_of_range {
        flags.insert(Flag::Range);
    }
    if spec.is_none() {
        flags.insert(Flag::UnknownType);
    }
    let from_agent = received.fact("user-agent").and_then(|agent| agent.strip_prefix("StreamyyyApp/"));
    let app_version = parts.app_version.or_else(|| from_agent.map(str::to_owned));
    Verdict::Accept(Event {
        id: parts.id.into(),
        id_time: parts.id_time,
        source: source.into(),
        kind: parts.kind,
        spec,
        format: Format::StreamyyyLegacy,
        occurred_at: parts.occurred.unwrap_or(received.received_at),
        device_platform: received.fact("x-platform").and_then(attributes::device_platform),
        app_version: app_version.and_then(|version| attributes::opaque(version.into(), 32)),
        install_id: None,
        session_id: parts.session.map(Cow::Owned),
        seq: None,
        boot_id: None,
        mono_ms: None,
        anon_id: None,
        user_id: None,
        view_id: None,
        layout_id: None,
        slot: None,
        stream_id: parts.stream_id.map(Cow::Owned),
        stream_platform: parts.stream_platform,
        feature: checked.feature,
        data: checked.data,
        flags,
    })
}
