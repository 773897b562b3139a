//! CMCD version 2, event mode (CTA-5004-B): one RFC 8941 dictionary per record.
//!
//! The adapter is stateless: it names the kind after the event type and keeps the keys; what a sequence of records
//! means is the view's business.

use std::borrow::Cow;

use serde_json::{Map, Number, Value};
use sfv::{BareItem, Dictionary, Item, ListEntry, Parser};

use super::{Verdict, Wire, attributes, unreadable};
use crate::dedup::IdTime;
use crate::digest::derived_id;
use crate::event::{self, Event, Flag, Flags, Format, Rejection};
use crate::kinds;
use crate::outcome::Reason;
use crate::time::Timestamp;

/// The canonical path; part of every event id, whatever alias an upload used.
pub const EVENT_MODE_PATH: &str = "/cmcd/event-mode";

/// The type that the specification gives a key.
#[derive(Clone, Copy)]
enum KeyType {
    Bool,
    Int,
    Decimal,
    /// A text of at most this many bytes.
    Text(usize),
    Token,
    /// Inner list of numbers, each with an optional object type.
    NumberList,
    /// Inner list of texts.
    TextList,
}

/// The keys of event mode (CTA-5004-B) with their types. Others are ignored, unless custom.
const KEYS: &[(&str, KeyType)] = {
    use KeyType::{Bool, Decimal, Int, NumberList, Text, TextList, Token};
    &[
        ("ab", NumberList),
        ("bg", Bool),
        ("bl", NumberList),
        ("br", NumberList),
        ("bs", Bool),
        ("bsa", NumberList),
        ("bsd", NumberList),
        ("bsda", NumberList),
        ("cdn", Text(128)),
        ("cen", Text(64)),
        ("cid", Text(128)),
        ("cmsdd", Text(MAX)),
        ("cmsds", Text(MAX)),
        ("cs", Text(MAX)),
        ("d", Int),
        ("dfa", Int),
        ("dl", Int),
        ("e", Token),
        ("ec", TextList),
        ("h", Text(128)),
        ("lab", NumberList),
        ("lb", NumberList),
        ("ltc", Int),
        ("msd", Int),
        ("mtp", NumberList),
        ("nor", TextList),
        ("nr", Bool),
        ("nrr", Text(MAX)),
        ("ot", Token),
        ("pb", NumberList),
        ("pr", Decimal),
        ("pt", Int),
        ("rc", Int),
        ("rtp", Int),
        ("sf", Token),
        ("sid", Text(64)),
        ("smrt", Text(MAX)),
        ("sn", Int),
        ("st", Token),
        ("sta", Token),
        ("su", Bool),
        ("tab", NumberList),
        ("tb", NumberList),
        ("tbl", NumberList),
        ("tpb", NumberList),
        ("ts", Int),
        ("ttfb", Int),
        ("ttfbb", Int),
        ("ttlb", Int),
        ("url", Text(MAX)),
        ("v", Int),
    ]
};

/// Texts without a limit of their own: an event's size bounds them.
const MAX: usize = usize::MAX;

/// One record.
pub(super) fn record(bytes: &[u8]) -> Verdict<'_> {
    let trimmed = bytes.trim_ascii();
    let Ok(dictionary) = Parser::new(trimmed).parse::<Dictionary>() else {
        return Verdict::Quarantine(unreadable(Wire::Cmcd2, Reason::InvalidRecord, trimmed));
    };
    let mut data = Map::new();
    for (key, entry) in &dictionary {
        if let Some(value) = typed(key.as_str(), entry) {
            data.insert(key.as_str().to_owned(), value);
        }
    }
    if let Some(Value::String(url)) = data.get_mut("url") {
        // A query string may carry credentials or personal data.
        url.truncate(url.find('?').unwrap_or(url.len()));
    }
    let reading = Reading::of(&data);
    match reading.fault(&data) {
        Some((reason, field)) => Verdict::Quarantine(reading.rejection(reason, field, trimmed)),
        None => Verdict::Accept(reading.event(data, trimmed)),
    }
}

/// The keys that become columns.
struct Reading {
    event_type: Option<String>,
    at: Option<Timestamp>,
    view_id: Option<String>,
    seq: Option<u32>,
    install_id: Option<String>,
    session_id: Option<String>,
    layout_id: Option<String>,
    slot: Option<u8>,
}

impl Reading {
    fn of(data: &Map<String, Value>) -> Self {
        let text = |key: &str, max_chars| {
            let text = data.get(key)?.as_str()?.to_owned();
            attributes::opaque(Cow::Owned(text), max_chars).map(Cow::into_owned)
        };
        let uuid = |text: String| attributes::uuid(Cow::Owned(text)).map(Cow::into_owned);
        let integer = |key: &str| data.get(key).and_then(Value::as_i64);
        let slot = integer("com.streamyyy-slot")
            .or_else(|| data.get("com.streamyyy-slot")?.as_str()?.parse().ok())
            .and_then(|slot| u8::try_from(slot).ok())
            .filter(|slot| *slot < 64);
        Self {
            event_type: data.get("e").and_then(Value::as_str).map(str::to_owned),
            at: integer("ts").and_then(Timestamp::from_millis),
            view_id: text("sid", 64),
            seq: integer("sn").and_then(|sn| u32::try_from(sn).ok()),
            install_id: text("com.streamyyy-install", 64).and_then(uuid),
            session_id: text("com.streamyyy-session", 64).map(|session| uuid(session.clone()).unwrap_or(session)),
            layout_id: text("com.streamyyy-layout", 64),
            slot,
        }
    }

    /// The rule that the record breaks, and the key that breaks it.
    fn fault(&self, data: &Map<String, Value>) -> Option<(Reason, &'static str)> {
        if data.get("v").and_then(Value::as_i64) != Some(2) {
            return Some((Reason::CmcdVersion, "v"));
        }
        let Some(event_type) = self.event_type.as_deref() else { return Some((Reason::CmcdMissingKey, "e")) };
        if self.at.is_none() {
            return Some((Reason::CmcdMissingKey, "ts"));
        }
        let needed = match event_type {
            "ps" => "sta",
            "e" => "ec",
            "ce" => "cen",
            _ => return None,
        };
        (!data.contains_key(needed)).then_some((Reason::CmcdMissingKey, needed))
    }

    fn kind(&self) -> Option<String> {
        let name = format!("cmcd.{}", self.event_type.as_deref()?.to_ascii_lowercase());
        attributes::kind_name(Cow::Owned(name)).map(Cow::into_owned)
    }

    fn source(&self) -> String {
        format!("/cmcd2/{}", self.install_id.as_deref().or(self.view_id.as_deref()).unwrap_or_default())
    }

    /// From (path, sid, sn, e, ts); without `sn` from the line.
    fn id(&self, line: &[u8]) -> String {
        match (self.seq, self.at) {
            (Some(sn), Some(at)) => derived_id(&[
                EVENT_MODE_PATH.as_bytes(),
                self.view_id.as_deref().unwrap_or_default().as_bytes(),
                sn.to_string().as_bytes(),
                self.event_type.as_deref().unwrap_or_default().as_bytes(),
                at.millis().to_string().as_bytes(),
            ]),
            _ => derived_id(&[EVENT_MODE_PATH.as_bytes(), line]),
        }
    }

    fn rejection<'a>(self, reason: Reason, field: &'static str, line: &[u8]) -> Rejection<'a> {
        let key = self.install_id.as_ref().or(self.session_id.as_ref()).or(self.view_id.as_ref());
        Rejection {
            reason,
            field: Some(field.into()),
            id: self.id(line).into(),
            source: Some(self.source().into()),
            kind: self.kind().map(Cow::Owned),
            format: Format::Cmcd2,
            device_platform: None,
            app_version: None,
            partition_key: key.cloned().unwrap_or_default().into(),
        }
    }

    fn event<'a>(self, data: Map<String, Value>, line: &[u8]) -> Event<'a> {
        let kind = self.kind().unwrap_or_else(|| "cmcd.unknown".to_owned());
        let spec = kinds::named(&kind);
        let occurred_at = self.at.unwrap_or(Timestamp::MIN);
        let stream = data
            .get("cid")
            .and_then(Value::as_str)
            .and_then(|cid| event::stream_identity(cid, None).map(|(id, platform)| (id.into_owned(), platform)));
        let mut flags = Flags::NONE;
        if spec.is_none() {
            flags.insert(Flag::UnknownType);
        }
        if self.view_id.is_none() {
            flags.insert(Flag::Partial);
        }
        Event {
            id: self.id(line).into(),
            id_time: IdTime::Derived(occurred_at),
            source: self.source().into(),
            kind: kind.into(),
            spec,
            format: Format::Cmcd2,
            occurred_at,
            device_platform: None,
            app_version: None,
            install_id: self.install_id.map(Cow::Owned),
            session_id: self.session_id.map(Cow::Owned),
            seq: self.seq,
            boot_id: None,
            mono_ms: None,
            anon_id: None,
            user_id: None,
            view_id: self.view_id.map(Cow::Owned),
            layout_id: self.layout_id.map(Cow::Owned),
            slot: self.slot,
            stream_platform: stream.as_ref().map(|(_, platform)| *platform),
            stream_id: stream.map(|(id, _)| Cow::Owned(id)),
            feature: None,
            data: Value::Object(data).to_string().into(),
            flags,
        }
    }
}

/// Stands for the object type in `br=(400)`: in JSON `{"br":{"_":400}}`, and `{"br":{"v":5000,"a":320}}` with types.
const UNTAGGED: &str = "_";

/// The value of a key as JSON, `None` if it is unknown or of the wrong type (then only this key is lost).
fn typed(key: &str, entry: &ListEntry) -> Option<Value> {
    let Some((_, ty)) = KEYS.iter().find(|(known, _)| *known == key) else {
        return key.contains('-').then(|| custom(entry)).flatten();
    };
    match (ty, entry) {
        (KeyType::Bool, ListEntry::Item(item)) => item.bare_item.as_boolean().map(Value::from),
        (KeyType::Int, ListEntry::Item(item)) => integer(item).map(Value::from),
        (KeyType::Decimal, ListEntry::Item(item)) => decimal(item),
        (KeyType::Text(max_bytes), ListEntry::Item(item)) => item
            .bare_item
            .as_string()
            .map(|text| text.as_str())
            .filter(|text| text.len() <= *max_bytes)
            .map(Value::from),
        (KeyType::Token, ListEntry::Item(item)) => item.bare_item.as_token().map(|token| token.as_str().into()),
        (KeyType::NumberList, ListEntry::InnerList(list)) => {
            let mut values = Map::new();
            for item in &list.items {
                let value = decimal(item)?;
                let object_type = item.params.keys().next().map_or(UNTAGGED, |key| key.as_str());
                values.insert(object_type.to_owned(), value);
            }
            Some(Value::Object(values))
        }
        (KeyType::TextList, ListEntry::InnerList(list)) => {
            let texts: Option<Vec<Value>> =
                list.items.iter().map(|item| item.bare_item.as_string().map(|text| text.as_str().into())).collect();
            texts.map(Value::Array)
        }
        _ => None,
    }
}

/// A custom key: a text or token of at most 64 characters, a number or a truth value.
fn custom(entry: &ListEntry) -> Option<Value> {
    let ListEntry::Item(item) = entry else { return None };
    match &item.bare_item {
        BareItem::String(text) => Some(text.as_str()).filter(|text| text.len() <= 64).map(Value::from),
        BareItem::Token(token) => Some(token.as_str()).filter(|token| token.len() <= 64).map(Value::from),
        BareItem::Boolean(value) => Some((*value).into()),
        BareItem::Integer(_) => integer(item).map(Value::from),
        BareItem::Decimal(_) => decimal(item),
        _ => None,
    }
}

fn integer(item: &Item) -> Option<i64> {
    item.bare_item.as_integer().map(i64::from)
}

fn decimal(item: &Item) -> Option<Value> {
    if let Some(whole) = integer(item) {
        return Some(whole.into());
    }
    let value = item.bare_item.as_decimal()?.to_string().parse::<f64>().ok()?;
    Number::from_f64(value).map(Value::Number)
}
