//! CMCD version 2, event mode (CTA-5004-B): one RFC 8941 dictionary per record.
//!
//! The adapter is stateless: it names the kind after the event type and keeps the keys; what a sequence of records
//! means is the view's business.

use std::borrow::Cow;

use serde_json::{Map, Number, Value};
use sfv::{BareItem, Dictionary, InnerList, Item, ListEntry, Parser, StringRef, Version};

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
    // CMCD is written in RFC 8941; its successor's dates and display strings are no part of it.
    let Ok(dictionary) = Parser::new(trimmed).with_version(Version::Rfc8941).parse::<Dictionary>() else {
        return Verdict::Quarantine(unreadable(Wire::Cmcd2, Reason::InvalidRecord, trimmed));
    };
    let mut data = Map::new();
    for (key, entry) in &dictionary {
        if let Some(value) = typed(key.as_str(), entry) {
            data.insert(key.as_str().to_owned(), value);
        }
    }
    strip_queries(&mut data);
    let reading = Reading::of(&data);
    if reading.slot_out_of_range {
        data.insert(SLOT.to_owned(), Value::Null);
    }
    match reading.fault(&data) {
        Some((reason, field)) => Verdict::Quarantine(reading.rejection(reason, field, trimmed)),
        None => Verdict::Accept(reading.event(data, trimmed)),
    }
}

/// Cuts query and fragment off every URL: they may carry credentials or personal data.
fn strip_queries(data: &mut Map<String, Value>) {
    if let Some(Value::String(url)) = data.get_mut("url") {
        url.truncate(url.find(['?', '#']).unwrap_or(url.len()));
    }
    for next in data.get_mut("nor").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Value::String(url) = next {
            url.truncate(query_start(url));
        }
    }
}

/// Where a next object's query or fragment begins. These URLs are sent percent-encoded by some clients and plain by
/// others, so both spellings end the path.
fn query_start(url: &str) -> usize {
    let encoded = |at: &usize| {
        let rest = &url.as_bytes()[*at..];
        rest.starts_with(b"%23") || rest.get(..3).is_some_and(|code| code.eq_ignore_ascii_case(b"%3f"))
    };
    let plain = |at: &usize| matches!(url.as_bytes()[*at], b'?' | b'#');
    (0..url.len()).find(|at| plain(at) || encoded(at)).unwrap_or(url.len())
}

/// Our own key for the tile; the format has none.
const SLOT: &str = "com.streamyyy-slot";

/// The tile, 0 to 63, also where it is written as text.
fn slot(value: &Value) -> Option<u8> {
    let slot = value.as_u64().or_else(|| value.as_str()?.parse().ok())?;
    u8::try_from(slot).ok().filter(|slot| *slot < 64)
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
    /// Whether there is a slot, but none that a layout has.
    slot_out_of_range: bool,
}

impl Reading {
    fn of(data: &Map<String, Value>) -> Self {
        let text = |key: &str, max_chars| {
            let text = data.get(key)?.as_str()?.to_owned();
            attributes::opaque(Cow::Owned(text), max_chars).map(Cow::into_owned)
        };
        let uuid = |text: String| attributes::uuid(Cow::Owned(text)).map(Cow::into_owned);
        let integer = |key: &str| data.get(key).and_then(Value::as_i64);
        let slot = data.get(SLOT).and_then(slot);
        Self {
            event_type: data.get("e").and_then(Value::as_str).map(str::to_owned),
            at: integer("ts").and_then(Timestamp::from_millis),
            view_id: text("sid", 64),
            seq: integer("sn").and_then(|sn| u32::try_from(sn).ok()),
            install_id: text("com.streamyyy-install", 64).and_then(uuid),
            session_id: text("com.streamyyy-session", 64).map(|session| uuid(session.clone()).unwrap_or(session)),
            layout_id: text("com.streamyyy-layout", 64),
            slot_out_of_range: slot.is_none() && data.contains_key(SLOT),
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
        (!data.get(needed).is_some_and(says_something)).then_some((Reason::CmcdMissingKey, needed))
    }

    /// The kind after the event type. Tokens are case-sensitive and kinds are in lower case, so a type with another
    /// character, such as `PS`, is an unknown one that only the data names.
    fn kind(&self) -> Option<String> {
        let name = format!("cmcd.{}", self.event_type.as_deref()?);
        Some(attributes::kind_name(Cow::Owned(name)).map_or_else(|| UNKNOWN_KIND.to_owned(), Cow::into_owned))
    }

    fn source(&self) -> String {
        format!("/cmcd2/{}", self.install_id.as_deref().or(self.view_id.as_deref()).unwrap_or_default())
    }

    /// From (path, sid, sn, e, ts). Without `sn` from the line, and without `sid` too: then `sn` counts nobody's
    /// records, and those of two devices would be copies of each other.
    fn id(&self, line: &[u8]) -> String {
        match (&self.view_id, self.seq, self.at) {
            (Some(sid), Some(sn), Some(at)) => derived_id(&[
                EVENT_MODE_PATH.as_bytes(),
                sid.as_bytes(),
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
        let kind = self.kind().unwrap_or_else(|| UNKNOWN_KIND.to_owned());
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
        if self.slot_out_of_range {
            flags.insert(Flag::Range);
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
            fields: Vec::new(),
            flags,
        }
    }
}

/// The kind of records whose event type cannot be part of a kind's name.
const UNKNOWN_KIND: &str = "cmcd.unknown";

/// Whether a needed key holds anything: `ec=()` lists no error and `cen=""` names nothing.
fn says_something(value: &Value) -> bool {
    match value {
        Value::Array(values) => !values.is_empty(),
        Value::String(text) => !text.is_empty(),
        _ => true,
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
        (KeyType::Text(max_bytes), ListEntry::Item(item)) => {
            item.bare_item.as_string().map(StringRef::as_str).filter(|text| text.len() <= *max_bytes).map(Value::from)
        }
        (KeyType::Token, ListEntry::Item(item)) => item.bare_item.as_token().map(|token| token.as_str().into()),
        (KeyType::NumberList, ListEntry::InnerList(list)) => numbers(list),
        (KeyType::TextList, ListEntry::InnerList(list)) => {
            let texts: Option<Vec<Value>> =
                list.items.iter().map(|item| item.bare_item.as_string().map(|text| text.as_str().into())).collect();
            texts.map(Value::Array)
        }
        _ => None,
    }
}

/// The numbers of a list by object type. One of a type stands alone, several of a type are an array in their order:
/// `br=(5000;v 2500;v 320;a)` is `{"v":[5000,2500],"a":320}`. `None` if an entry is no number.
fn numbers(list: &InnerList) -> Option<Value> {
    let mut values = Map::new();
    for item in &list.items {
        let value = decimal(item)?;
        let object_type = item.params.keys().next().map_or(UNTAGGED, |key| key.as_str());
        match values.get_mut(object_type) {
            None => {
                values.insert(object_type.to_owned(), value);
            }
            Some(Value::Array(several)) => several.push(value),
            Some(single) => *single = Value::Array(vec![single.take(), value]),
        }
    }
    Some(Value::Object(values))
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
