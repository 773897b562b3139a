//! What the app sends today: the analytics feed and the error feed.
//!
//! Both carry device times as seconds since 2001 and neither carries an install id; the session stands in for it.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::legacy_names::{self, Mapped, cut};
use super::{Received, Verdict, attributes, unreadable};
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
    let Some(name) = object.get("name").and_then(Value::as_str).filter(|name| !name.is_empty()).map(str::to_owned)
    else {
        return reject(received, bytes, Reason::MissingAttribute, "name", session);
    };
    let occurred = occurred(&object);
    let properties = match object.remove("properties") {
        None => Ok(Map::new()),
        Some(Value::Object(properties)) => Ok(properties),
        Some(other) => Err(other),
    };
    let id = match (object.get("timestamp").and_then(Value::as_f64), occurred, &properties) {
        (Some(seconds), Some(_), Ok(properties)) => analytics_id(session.as_deref(), &name, seconds, properties),
        // Without a time, or with properties that cannot be compared, only equal bytes are the same event.
        _ => derived_id(&[bytes]),
    };
    // What is no object means nothing, and is kept as it is.
    let properties = properties.unwrap_or_else(|other| Map::from_iter([("properties".to_owned(), other)]));
    let mapped = legacy_names::map(&name, properties);
    build(received, analytics_parts(mapped, id, occurred, session))
}

/// From (session, name, time, properties with sorted keys): the feed has no ids, and its key order is not stable.
fn analytics_id(session: Option<&str>, name: &str, seconds: f64, properties: &Map<String, Value>) -> String {
    let mut properties = Value::Object(properties.clone());
    properties.sort_all_objects();
    derived_id(&[
        session.unwrap_or_default().as_bytes(),
        name.as_bytes(),
        seconds.to_string().as_bytes(),
        properties.to_string().as_bytes(),
    ])
}

fn analytics_parts<'a>(mapped: Mapped, id: String, occurred: Option<Timestamp>, session: Option<String>) -> Parts<'a> {
    let stated = mapped.stream_platform.as_deref();
    let stream = mapped.stream_id.as_deref().and_then(|id| event::stream_identity(id, stated));
    Parts {
        id,
        id_time: occurred.map_or(IdTime::FromId, IdTime::Derived),
        kind: mapped.kind,
        spec: mapped.spec,
        occurred,
        session,
        app_version: mapped.data.get("app_version").and_then(Value::as_str).map(str::to_owned),
        stream_platform: stream.as_ref().map(|(_, platform)| *platform).or_else(|| stated.map(event::stream_platform)),
        stream_id: stream.map(|(id, _)| id.into_owned()),
        data: Value::Object(mapped.data).to_string(),
        flags: if mapped.partial { Flags::NONE.with(Flag::Partial) } else { Flags::NONE },
    }
}

/// One report of the error feed.
pub(super) fn error_report<'a>(received: &Received<'a>, bytes: &'a [u8]) -> Verdict<'a> {
    let report = match object(bytes) {
        Ok(report) => report,
        Err(reason) => return Verdict::Quarantine(unreadable(received.wire, reason, bytes)),
    };
    let session = session(&report);
    let occurred = occurred(&report);
    let sent_id = report.get("id").and_then(Value::as_str).and_then(|id| attributes::event_id(Cow::Borrowed(id)));
    let (id, id_time) = match sent_id {
        Some(id) => (id.into_owned(), IdTime::FromId),
        None => (derived_id(&[bytes]), occurred.map_or(IdTime::FromId, IdTime::Derived)),
    };
    let app_version = report.get("deviceInfo").and_then(|device| device.get("appVersion")).and_then(Value::as_str);
    let app_version = app_version.map(str::to_owned);
    let is_crash = report.get("isCrash").and_then(Value::as_bool).unwrap_or(false);
    let kind = if is_crash { "app.crashed" } else { "app.error" };
    let mut data = Map::new();
    if !is_crash {
        data = error_fields(&report);
    } else if let Some(signature) = legacy_names::signature(&report) {
        data.insert("signature".into(), signature);
    }
    data.insert("report".into(), Value::Object(report));
    build(
        received,
        Parts {
            id,
            id_time,
            kind: Cow::Borrowed(kind),
            spec: kinds::named(kind),
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

/// The fields of `app.error`.
fn error_fields(report: &Map<String, Value>) -> Map<String, Value> {
    let mut data = Map::new();
    let domain = report.get("errorDomain").and_then(Value::as_str);
    let number = legacy_names::code(report.get("errorCode"));
    if domain.is_some() || number.is_some() {
        data.insert("code".into(), error_code(domain.unwrap_or_default(), &number.unwrap_or_default()).into());
    }
    if let Some(domain) = domain {
        data.insert("domain".into(), cut(domain, 64).into());
    }
    if let Some(recovered) = report.get("isRecovered").and_then(Value::as_bool) {
        data.insert("retryable".into(), recovered.into());
    }
    data
}

/// Greatest length of `app.error`'s code, characters.
const CODE_CHARS_MAX: usize = 64;

/// `{domain}:{code}`. Where that is too long the domain is cut: the code tells errors of one domain apart.
fn error_code(domain: &str, code: &str) -> String {
    let code = cut(code, CODE_CHARS_MAX - 1);
    let domain = cut(domain, CODE_CHARS_MAX - 1 - code.chars().count());
    format!("{domain}:{code}")
}

/// When it happened: the outer `timestamp`, seconds since 2001.
fn occurred(object: &Map<String, Value>) -> Option<Timestamp> {
    Timestamp::from_secs_f64(object.get("timestamp")?.as_f64()? + SWIFT_EPOCH_S)
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
        feature: checked.feature.map(Cow::Owned),
        data: checked.data,
        fields: Vec::new(),
        flags,
    })
}
