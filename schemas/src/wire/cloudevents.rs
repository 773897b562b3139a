//! CloudEvents 1.0 (JSON format and HTTP binary mode) with the native extensions.

use std::borrow::Cow;

use super::{Received, Verdict, Wire, attributes, unreadable};
use crate::dedup::IdTime;
use crate::digest::derived_id;
use crate::event::{Event, Flag, Flags, Format, Rejection};
use crate::json::{self, Members, Scalar};
use crate::kinds::{self, Checked, KindSpec, Strictness};
use crate::outcome::Reason;
use crate::time::Timestamp;

/// What attribute headers begin with in binary mode.
pub const BINARY_PREFIX: &str = "ce-";

/// The attributes we read. Others are held against the rules of JSON and kept only in the sender's bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Name {
    Specversion,
    Id,
    Source,
    Type,
    Time,
    Installid,
    Sessionid,
    Seq,
    Bootid,
    Mono,
    Anonid,
    Userid,
    Viewid,
    Layoutid,
    Slot,
    Platform,
    Appversion,
}

impl Name {
    const COUNT: usize = Self::Appversion as usize + 1;

    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "specversion" => Self::Specversion,
            "id" => Self::Id,
            "source" => Self::Source,
            "type" => Self::Type,
            "time" => Self::Time,
            "installid" => Self::Installid,
            "sessionid" => Self::Sessionid,
            "seq" => Self::Seq,
            "bootid" => Self::Bootid,
            "mono" => Self::Mono,
            "anonid" => Self::Anonid,
            "userid" => Self::Userid,
            "viewid" => Self::Viewid,
            "layoutid" => Self::Layoutid,
            "slot" => Self::Slot,
            "platform" => Self::Platform,
            "appversion" => Self::Appversion,
            _ => return None,
        })
    }
}

/// The attributes of one event as sent (null too, so that a second value is noticed), and its data still as text.
#[derive(Default)]
struct Envelope<'a> {
    values: [Option<Scalar<'a>>; Name::COUNT],
    data: Option<Cow<'a, str>>,
}

/// A rule broken before the envelope could be judged.
struct Fault {
    reason: Reason,
    field: Option<String>,
}

impl<'a> Envelope<'a> {
    /// Reads an event whose attributes break no rule; its data is only found.
    fn at_once(text: &'a str) -> Option<Self> {
        let mut envelope = Self::default();
        let is_data = |name: &str| name == "data" || name == "data_base64";
        let is_read = json::read_once(text, is_data, |name, value| match value {
            json::Value::Text(text) => envelope.data.replace(Cow::Borrowed(text)).is_none(),
            json::Value::Scalar(value) => envelope.set(name, value).is_ok(),
        });
        is_read.then_some(envelope)
    }

    /// Reads any event, and says which rule is broken by which attribute.
    fn value_by_value(text: &'a str) -> Result<Self, Fault> {
        let members = Members::parse(text).map_err(|reason| Fault { reason, field: None })?;
        let mut envelope = Self::default();
        for (name, raw) in members.iter() {
            let fault = |reason| Fault { reason, field: Some(name.to_owned()) };
            if name == "data" || name == "data_base64" {
                if envelope.data.replace(Cow::Borrowed(raw.get())).is_some() {
                    return Err(fault(Reason::DuplicateAttribute));
                }
                continue;
            }
            let value = json::scalar(raw).map_err(fault)?;
            envelope.set(name, value).map_err(fault)?;
        }
        Ok(envelope)
    }

    fn from_headers(received: &Received<'a>, body: &'a str) -> Result<Self, Fault> {
        let mut envelope = Self::default();
        for fact in received.facts {
            let Some(name) = fact.name.strip_prefix(BINARY_PREFIX) else { continue };
            let value = Scalar::Text(percent_decoded(fact.value));
            envelope.set(name, value).map_err(|reason| Fault { reason, field: Some(fact.name.to_owned()) })?;
        }
        let body = body.trim();
        if !body.is_empty() {
            let is_json = serde_json::from_str::<Scalar<'_>>(body).is_ok();
            let as_text = || serde_json::to_string(body).unwrap_or_default();
            envelope.data = Some(if is_json { Cow::Borrowed(body) } else { Cow::Owned(as_text()) });
        }
        Ok(envelope)
    }

    fn set(&mut self, name: &str, value: Scalar<'a>) -> Result<(), Reason> {
        let Some(known) = Name::of(name) else { return Ok(()) };
        let slot = &mut self.values[known as usize];
        if slot.is_some() {
            return Err(Reason::DuplicateAttribute);
        }
        *slot = Some(value);
        Ok(())
    }

    fn text(&mut self, name: Name) -> Option<Cow<'a, str>> {
        self.values[name as usize].take()?.text()
    }

    /// An optional attribute. One outside its range becomes null like any field, and the event says so.
    fn optional<T>(&mut self, name: Name, flags: &mut Flags, read: impl FnOnce(Scalar<'a>) -> Option<T>) -> Option<T> {
        let value = read(self.values[name as usize].take().filter(|value| *value != Scalar::Null)?);
        if value.is_none() {
            flags.insert(Flag::Range);
        }
        value
    }
}

/// A whole number, also where it is written as text (in headers everything is).
fn whole(value: &Scalar<'_>) -> Option<i64> {
    match value {
        Scalar::Text(text) => text.parse().ok(),
        scalar => scalar.integer(),
    }
}

/// One event in the JSON format.
pub(super) fn structured<'a>(received: &Received<'a>, bytes: &'a [u8]) -> Verdict<'a> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Verdict::Quarantine(unreadable(received.wire, Reason::InvalidJson, bytes));
    };
    let text = text.trim_start_matches('\u{feff}');
    match Envelope::at_once(text).map(|envelope| judge(received, bytes, Ok(envelope))) {
        Some(Verdict::Accept(event)) => Verdict::Accept(event),
        // Whatever is not accepted is judged by what reads value by value, and knows the reason.
        _ => judge(received, bytes, Envelope::value_by_value(text)),
    }
}

/// One event in binary mode.
pub(super) fn binary<'a>(received: &Received<'a>, bytes: &'a [u8]) -> Verdict<'a> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Verdict::Quarantine(unreadable(received.wire, Reason::InvalidJson, bytes));
    };
    judge(received, bytes, Envelope::from_headers(received, text))
}

fn judge<'a>(received: &Received<'a>, bytes: &'a [u8], envelope: Result<Envelope<'a>, Fault>) -> Verdict<'a> {
    match envelope {
        Ok(envelope) => Reading::of(received, bytes, envelope).verdict(received),
        Err(fault) => {
            let rejection = unreadable(received.wire, fault.reason, bytes);
            Verdict::Quarantine(Rejection { field: fault.field.map(Cow::Owned), ..rejection })
        }
    }
}

/// An envelope whose attributes have been read, each on its own.
struct Reading<'a> {
    specversion_ok: bool,
    source: Option<Cow<'a, str>>,
    kind: Option<Cow<'a, str>>,
    id: Option<Cow<'a, str>>,
    derived_id: Option<String>,
    time: Option<Timestamp>,
    install_id: Option<Cow<'a, str>>,
    session_id: Option<Cow<'a, str>>,
    session_is_uuid: bool,
    seq: Option<u32>,
    boot_id: Option<Cow<'a, str>>,
    mono_ms: Option<u64>,
    anon_id: Option<Cow<'a, str>>,
    user_id: Option<Cow<'a, str>>,
    view_id: Option<Cow<'a, str>>,
    layout_id: Option<Cow<'a, str>>,
    slot: Option<u8>,
    device_platform: Option<&'static str>,
    app_version: Option<Cow<'a, str>>,
    data: Option<Cow<'a, str>>,
    flags: Flags,
}

impl<'a> Reading<'a> {
    fn of(received: &Received<'a>, bytes: &'a [u8], mut envelope: Envelope<'a>) -> Self {
        let source = envelope.text(Name::Source).and_then(attributes::source);
        let id = envelope.text(Name::Id).and_then(attributes::event_id);
        let derived = id.is_none().then(|| derive_id(received, bytes));
        let session_id = envelope.text(Name::Sessionid).and_then(|text| attributes::opaque(text, 64));
        let session_uuid = session_id.clone().and_then(attributes::uuid);
        let mut flags = Flags::NONE;
        let boot_id = envelope.optional(Name::Bootid, &mut flags, |value| attributes::opaque(value.text()?, 64));
        let mono_ms = envelope.optional(Name::Mono, &mut flags, |value| u64::try_from(whole(&value)?).ok());
        let view_id = envelope.optional(Name::Viewid, &mut flags, |value| attributes::opaque(value.text()?, 64));
        let layout_id = envelope.optional(Name::Layoutid, &mut flags, |value| attributes::opaque(value.text()?, 64));
        let user_id = envelope.optional(Name::Userid, &mut flags, |value| attributes::opaque(value.text()?, 128));
        let slot = envelope
            .optional(Name::Slot, &mut flags, |value| u8::try_from(whole(&value)?).ok().filter(|slot| *slot < 64));
        Self {
            specversion_ok: envelope.text(Name::Specversion).is_some_and(|version| version == "1.0"),
            source,
            kind: envelope.text(Name::Type).and_then(attributes::kind_name),
            id,
            derived_id: derived,
            time: envelope.text(Name::Time).and_then(|text| Timestamp::parse_rfc3339(&text)),
            install_id: envelope.text(Name::Installid).and_then(attributes::uuid),
            session_is_uuid: session_uuid.is_some(),
            session_id: session_uuid.or(session_id),
            seq: envelope.values[Name::Seq as usize].take().and_then(|value| u32::try_from(whole(&value)?).ok()),
            boot_id,
            mono_ms,
            anon_id: envelope.text(Name::Anonid).and_then(attributes::uuid),
            user_id,
            view_id,
            layout_id,
            slot,
            device_platform: envelope.text(Name::Platform).and_then(|text| attributes::device_platform(&text)),
            app_version: envelope.text(Name::Appversion).and_then(|text| attributes::opaque(text, 32)),
            data: envelope.data,
            flags,
        }
    }

    /// Whether every native attribute is there and well formed.
    fn is_native(&self) -> bool {
        self.id.is_some()
            && self.time.is_some()
            && self.install_id.is_some()
            && self.session_is_uuid
            && self.seq.is_some()
            && self.anon_id.is_some()
            && self.device_platform.is_some()
            && self.app_version.is_some()
    }

    fn verdict(self, received: &Received<'a>) -> Verdict<'a> {
        let spec = self.kind.as_deref().and_then(kinds::named);
        if let Some((reason, attribute)) = self.fault(received.subject, spec) {
            return Verdict::Quarantine(self.rejection(reason, attribute));
        }
        let checked = match kinds::check(spec, self.data.clone(), Strictness::Strict) {
            Ok(checked) => checked,
            Err((reason, field)) => return Verdict::Quarantine(self.rejection(reason, field)),
        };
        if differs(received.subject, checked.user_id.as_deref()) {
            return Verdict::Quarantine(self.rejection(Reason::UserMismatch, "data.userid"));
        }
        Verdict::Accept(self.event(received.received_at, spec, checked))
    }

    /// The rule that the attributes break, and the attribute that breaks it.
    fn fault(&self, subject: Option<&str>, spec: Option<&'static KindSpec>) -> Option<(Reason, &'static str)> {
        let missing = |attribute| Some((Reason::MissingAttribute, attribute));
        if !self.specversion_ok {
            return missing("specversion");
        }
        if self.source.is_none() {
            return missing("source");
        }
        if self.kind.is_none() {
            return missing("type");
        }
        if differs(subject, self.user_id.as_deref()) {
            return Some((Reason::UserMismatch, "userid"));
        }
        if spec.is_some_and(KindSpec::needs_view) && self.view_id.is_none() {
            return missing("viewid");
        }
        None
    }

    fn all_flags(&self, spec: Option<&'static KindSpec>, checked: &Checked<'_>) -> Flags {
        let mut flags = self.flags;
        if checked.out_of_range {
            flags.insert(Flag::Range);
        }
        if spec.is_none() {
            flags.insert(Flag::UnknownType);
        }
        if !self.is_native() {
            flags.insert(Flag::Partial);
        }
        flags
    }

    /// The event, once no rule is broken.
    fn event(self, received_at: Timestamp, spec: Option<&'static KindSpec>, checked: Checked<'a>) -> Event<'a> {
        let flags = self.all_flags(spec, &checked);
        let format = self.format();
        let (id, id_time) = match (self.id, self.derived_id) {
            (Some(id), _) => (id, IdTime::FromId),
            (None, derived) => {
                (Cow::Owned(derived.unwrap_or_default()), self.time.map_or(IdTime::FromId, IdTime::Derived))
            }
        };
        Event {
            id,
            id_time,
            source: self.source.unwrap_or_default(),
            kind: self.kind.unwrap_or_default(),
            spec,
            format,
            occurred_at: self.time.unwrap_or(received_at),
            device_platform: self.device_platform,
            app_version: self.app_version,
            install_id: self.install_id,
            session_id: self.session_id,
            seq: self.seq,
            boot_id: self.boot_id,
            mono_ms: self.mono_ms,
            anon_id: self.anon_id,
            user_id: self.user_id,
            view_id: self.view_id,
            layout_id: self.layout_id,
            slot: self.slot,
            stream_platform: checked.stream_platform,
            stream_id: checked.stream_id.map(Cow::Owned),
            feature: checked.feature.map(Cow::Owned),
            data: checked.data,
            fields: checked.fields,
            flags,
        }
    }

    fn format(&self) -> Format {
        if self.is_native() { Format::Native } else { Format::Cloudevents }
    }

    fn rejection(&self, reason: Reason, field: impl Into<Cow<'a, str>>) -> Rejection<'a> {
        let partition_key = self.install_id.as_ref().or(self.session_id.as_ref()).or(self.view_id.as_ref());
        Rejection {
            reason,
            field: Some(field.into()),
            id: self.id.clone().unwrap_or_else(|| Cow::Owned(self.derived_id.clone().unwrap_or_default())),
            source: self.source.clone(),
            kind: self.kind.clone(),
            format: self.format(),
            device_platform: self.device_platform,
            app_version: self.app_version.clone(),
            partition_key: partition_key.or(self.source.as_ref()).cloned().unwrap_or_default(),
        }
    }
}

/// Whether a user that the body names is another than the verified one.
fn differs(subject: Option<&str>, user_id: Option<&str>) -> bool {
    subject.zip(user_id).is_some_and(|(subject, user_id)| subject != user_id)
}

/// The id of an event that brings none: a hash of everything the sender wrote.
fn derive_id(received: &Received<'_>, bytes: &[u8]) -> String {
    let mut parts: Vec<&[u8]> = vec![bytes];
    if received.wire == Wire::CloudeventsBinary {
        for fact in received.facts {
            parts.push(fact.name.as_bytes());
            parts.push(fact.value.as_bytes());
        }
    }
    derived_id(&parts)
}

/// A header value with `%XX` read as UTF-8 bytes, as the HTTP binding writes text beyond ASCII; unchanged if that
/// does not give text.
fn percent_decoded(value: &str) -> Cow<'_, str> {
    if !value.contains('%') {
        return Cow::Borrowed(value);
    }
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = tail.get(..2).filter(|_| first == b'%').and_then(|pair| std::str::from_utf8(pair).ok());
        if let Some(byte) = escaped.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            bytes.push(byte);
            rest = &tail[2..];
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).map_or(Cow::Borrowed(value), Cow::Owned)
}
