//! Holds an event's data against the rules of its kind.

use std::borrow::Cow;

use serde_json::Value;

use super::{FieldSpec, FieldType, KindSpec};
use crate::json::{self, Members, Scalar};
use crate::outcome::Reason;
use crate::time::Timestamp;

/// What a missing or unusable `required` field means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    /// The event is quarantined.
    Strict,
    /// It becomes null like any other: for formats that never carry it, whose events are flagged `partial`.
    Lenient,
}

/// Data that was held against its kind's rules.
#[derive(Debug, Default, PartialEq)]
pub struct Checked<'a> {
    /// The data as JSON: the sender's own text, or a copy in which unusable fields are null.
    pub data: Cow<'a, str>,
    /// Whether a field was outside its range.
    pub out_of_range: bool,
    /// `stream_id` of the data, whatever the kind.
    pub stream_id: Option<Cow<'a, str>>,
    /// `stream_platform` of the data, whatever the kind.
    pub stream_platform: Option<Cow<'a, str>>,
    /// `feature` of `feature.used`.
    pub feature: Option<Cow<'a, str>>,
}

/// Holds `data`, the text of one JSON value, against the rules of `kind`; data of unknown kinds only against those of
/// JSON. Missing data is an empty object.
///
/// # Errors
///
/// The rule that makes the event unusable, and the field that broke it (`data.` before its name).
pub fn check<'a>(
    kind: Option<&'static KindSpec>,
    data: Option<Cow<'a, str>>,
    strictness: Strictness,
) -> Result<Checked<'a>, (Reason, String)> {
    let data = data.unwrap_or(Cow::Borrowed("{}"));
    let mut checked = Checked::default();
    let mut unusable: Vec<&'static str> = Vec::new();
    if data.starts_with('{') {
        let fields = kind.map_or(&[][..], |kind| kind.fields);
        unusable = check_fields(fields, &data, strictness, &mut checked)?;
        if kind.is_none_or(|kind| kind.name != "feature.used") {
            checked.feature = None;
        }
    } else if kind.is_some() {
        return Err((Reason::MissingField, "data".to_owned()));
    } else if let Err(error) = serde_json::from_str::<Scalar<'_>>(&data) {
        return Err((json::reason_of(&error), "data".to_owned()));
    }
    checked.out_of_range = !unusable.is_empty();
    checked.data = if unusable.is_empty() { data } else { Cow::Owned(without(&data, &unusable)) };
    Ok(checked)
}

/// Walks the object once; returns the fields that must become null.
fn check_fields(
    fields: &'static [FieldSpec],
    data: &str,
    strictness: Strictness,
    checked: &mut Checked<'_>,
) -> Result<Vec<&'static str>, (Reason, String)> {
    let members = Members::parse(data).map_err(|reason| (reason, "data".to_owned()))?;
    let mut unusable = Vec::new();
    let mut present: u64 = 0;
    for (name, raw) in members.iter() {
        let scalar = json::scalar(raw).map_err(|reason| (reason, format!("data.{name}")))?;
        let Some(idx) = fields.iter().position(|field| field.name == name) else {
            lift(name, &scalar, checked);
            continue;
        };
        let field = &fields[idx];
        match fit(field, &scalar) {
            Fit::Null => {}
            Fit::Fits => {
                present |= 1 << idx;
                lift(name, &scalar, checked);
            }
            Fit::Unusable if field.required && strictness == Strictness::Strict => {
                return Err((Reason::OutOfRange, format!("data.{name}")));
            }
            Fit::Unusable => unusable.push(field.name),
        }
    }
    let missing = fields.iter().enumerate().find(|(idx, field)| field.required && present & (1 << idx) == 0);
    match missing {
        Some((_, field)) if strictness == Strictness::Strict => {
            Err((Reason::MissingField, format!("data.{}", field.name)))
        }
        _ => Ok(unusable),
    }
}

/// Keeps the few values that have columns of their own.
fn lift(name: &str, scalar: &Scalar<'_>, checked: &mut Checked<'_>) {
    let place = match name {
        "stream_id" => &mut checked.stream_id,
        "stream_platform" => &mut checked.stream_platform,
        "feature" => &mut checked.feature,
        _ => return,
    };
    if let Scalar::Text(text) = scalar
        && (1..=128).contains(&text.len())
    {
        *place = Some(Cow::Owned(text.clone().into_owned()));
    }
}

enum Fit {
    Null,
    Fits,
    Unusable,
}

fn fit(field: &FieldSpec, scalar: &Scalar<'_>) -> Fit {
    if *scalar == Scalar::Null {
        return Fit::Null;
    }
    let text = if let Scalar::Text(text) = scalar { Some(text.as_ref()) } else { None };
    let fits = match field.ty {
        FieldType::Bool => matches!(scalar, Scalar::Bool(_)),
        FieldType::Int { min, max } => scalar.integer().is_some_and(|value| (min..=max).contains(&value)),
        FieldType::Decimal { min, max } => scalar.number().is_some_and(|value| (min..=max).contains(&value)),
        FieldType::Text { max_chars } => text.is_some_and(|text| fits_chars(text, max_chars)),
        FieldType::Word(words) => text.is_some_and(|text| words.contains(&text)),
        FieldType::Time => text.is_some_and(|text| Timestamp::parse_rfc3339(text).is_some()),
    };
    if fits { Fit::Fits } else { Fit::Unusable }
}

/// Whether a text has at most that many characters.
fn fits_chars(text: &str, max_chars: usize) -> bool {
    text.len() <= max_chars || text.chars().count() <= max_chars
}

/// The same object with these members null.
fn without(data: &str, names: &[&str]) -> String {
    let Ok(members) = Members::parse(data) else { return data.to_owned() };
    let members = members.iter().map(|(key, raw)| {
        let value = if names.contains(&key) { "null" } else { raw.get() };
        format!("{}:{value}", Value::from(key))
    });
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}
