//! Holds an event's data against the rules of its kind.

use std::borrow::Cow;

use serde_json::Value;

use super::{FieldSpec, FieldType, KindSpec};
use crate::event;
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
    /// The data as JSON: the sender's own text, or a copy in which unusable fields are null, aliases are the words they
    /// mean, and what must not be stored is gone.
    pub data: Cow<'a, str>,
    /// Whether a field was outside its range.
    pub out_of_range: bool,
    /// `stream_id` of the data in its one form, whatever the kind.
    pub stream_id: Option<String>,
    /// The platform of that stream, else `stream_platform` of the data, whatever the kind.
    pub stream_platform: Option<&'static str>,
    /// `userid` of `identity.signed_in`.
    pub user_id: Option<String>,
    /// `feature` of `feature.used`.
    pub feature: Option<String>,
    /// What `data` has of the kind's fields, in their order, null where it has none. Only if it was borrowed: else it is
    /// empty, and only the text tells.
    pub fields: Vec<Scalar<'a>>,
}

/// A broken rule, and the field that breaks it (`data.` before its name).
type Broken = (Reason, String);

/// Holds `data`, the text of one JSON value, against the rules of `kind`; data of unknown kinds only against those of
/// JSON. Missing data is an empty object, and so is null.
///
/// # Errors
///
/// The rule that makes the event unusable, and the field that broke it (`data.` before its name).
pub fn check<'a>(
    kind: Option<&'static KindSpec>,
    data: Option<Cow<'a, str>>,
    strictness: Strictness,
) -> Result<Checked<'a>, Broken> {
    let data = data.filter(|data| data != "null").unwrap_or(Cow::Borrowed("{}"));
    if !data.starts_with('{') {
        not_an_object(kind, &data)?;
        return Ok(Checked { data, ..Checked::default() });
    }
    match data {
        Cow::Borrowed(data) => check_object(kind, data, strictness),
        Cow::Owned(data) => {
            let checked = check_object(kind, &data, strictness)?;
            let is_as_sent = matches!(checked.data, Cow::Borrowed(_));
            let Checked { out_of_range, stream_id, stream_platform, user_id, feature, .. } = checked;
            let data = if is_as_sent { data } else { checked.data.into_owned() };
            let fields = Vec::new();
            Ok(Checked { data: data.into(), out_of_range, stream_id, stream_platform, user_id, feature, fields })
        }
    }
}

fn check_object<'a>(
    kind: Option<&'static KindSpec>,
    data: &'a str,
    strictness: Strictness,
) -> Result<Checked<'a>, Broken> {
    let (walk, rewritten) = walk(kind, data, strictness)?;
    let lifted = walk.lifted;
    Ok(Checked {
        data: rewritten.map_or(Cow::Borrowed(data), Cow::Owned),
        out_of_range: walk.edits.iter().any(|(_, edit)| *edit == Edit::Null),
        stream_platform: walk
            .stream
            .as_ref()
            .map(|(_, platform)| *platform)
            .or_else(|| lifted.stream_platform.as_deref().map(event::stream_platform)),
        stream_id: walk.stream.map(|(id, _)| id),
        user_id: lifted.user_id,
        feature: lifted.feature,
        fields: walk.values,
    })
}

/// A known kind's data is an object; that of an unknown one is any JSON.
fn not_an_object(kind: Option<&'static KindSpec>, data: &str) -> Result<(), Broken> {
    if kind.is_some() {
        return Err((Reason::MissingField, "data".to_owned()));
    }
    serde_json::from_str::<Scalar<'_>>(data).map(|_| ()).map_err(|error| (json::reason_of(&error), "data".to_owned()))
}

/// Walks the object once; returns what was found and, where something must change, the object's new text.
fn walk<'a>(
    kind: Option<&'static KindSpec>,
    data: &'a str,
    strictness: Strictness,
) -> Result<(Walk<'a>, Option<String>), Broken> {
    let members = || Members::parse(data).map_err(|reason| (reason, "data".to_owned()));
    let mut walk = Walk::new(kind, strictness);
    let is_read = json::read_once(
        data,
        |_| false,
        |name, value| match value {
            json::Value::Scalar(scalar) => walk.take(name, scalar).is_ok(),
            json::Value::Text(_) => false,
        },
    );
    if !is_read {
        // Once more, for which rule is broken by which field.
        walk = Walk::new(kind, strictness);
        for (name, raw) in members()?.iter() {
            let scalar = json::scalar(raw).map_err(|reason| broken(reason, name))?;
            walk.take(name, scalar)?;
        }
    }
    walk.judge_stream()?;
    walk.judge_missing()?;
    let rewritten = if walk.edits.is_empty() { None } else { Some(rewritten(&members()?, &walk.edits)) };
    Ok((walk, rewritten))
}

/// What happens to a field of the data before it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edit {
    /// It is outside its range and becomes null.
    Null,
    /// It is an alias and becomes the word it means.
    Word(&'static str),
    /// It is taken out.
    Remove,
}

/// The few values that have columns of their own, as sent.
#[derive(Default)]
struct Lifted {
    stream_id: Option<String>,
    stream_platform: Option<String>,
    user_id: Option<String>,
    feature: Option<String>,
}

/// What one walk over an object has found so far.
struct Walk<'a> {
    kind: Option<&'static KindSpec>,
    fields: &'static [FieldSpec],
    strictness: Strictness,
    /// The field behind the one that was met last.
    next: usize,
    /// Fields that were met, one bit each.
    met: u64,
    /// Fields that were met with a value, one bit each.
    present: u64,
    /// What the fields are now, null before they are met.
    values: Vec<Scalar<'a>>,
    edits: Vec<(&'static str, Edit)>,
    lifted: Lifted,
    stream: Option<(String, &'static str)>,
}

impl<'a> Walk<'a> {
    fn new(kind: Option<&'static KindSpec>, strictness: Strictness) -> Self {
        let fields = kind.map_or(&[][..], |kind| kind.fields);
        Self {
            kind,
            fields,
            strictness,
            next: 0,
            met: 0,
            present: 0,
            values: fields.iter().map(|_| Scalar::Null).collect(),
            edits: Vec::new(),
            lifted: Lifted::default(),
            stream: None,
        }
    }

    /// Takes in one member of the object.
    fn take(&mut self, name: &str, scalar: Scalar<'a>) -> Result<(), Broken> {
        let Some(idx) = self.position(name) else {
            if let Some(name) = self.never_stored(name) {
                self.edits.push((name, Edit::Remove));
            } else {
                self.lift(name, &scalar);
            }
            return Ok(());
        };
        if self.met & (1 << idx) != 0 {
            return Err(broken(Reason::DuplicateAttribute, name));
        }
        self.met |= 1 << idx;
        let field = &self.fields[idx];
        self.values[idx] = match fit(field, &scalar) {
            Fit::Missing => {
                self.values[idx] = scalar;
                return Ok(());
            }
            Fit::Unusable => return self.unusable(field),
            Fit::Fits => {
                self.lift(name, &scalar);
                scalar
            }
            Fit::Means(word) => {
                self.edits.push((field.name, Edit::Word(word)));
                Scalar::Text(Cow::Borrowed(word))
            }
        };
        self.present |= 1 << idx;
        Ok(())
    }

    /// The field of that name. Most senders keep to the order of the declaration, so the search begins behind the last.
    fn position(&mut self, name: &str) -> Option<usize> {
        let (before, behind) = self.fields.split_at(self.next.min(self.fields.len()));
        let is_it = |field: &FieldSpec| field.name == name;
        let idx =
            behind.iter().position(is_it).map(|idx| before.len() + idx).or_else(|| before.iter().position(is_it))?;
        self.next = idx + 1;
        Some(idx)
    }

    /// The name, if it may not be stored. That is no fault of the event, so it gets no flag `range`: none of its fields
    /// is less usable than the sender meant it to be, and a flag would only count how many clients are too talkative.
    fn never_stored(&self, name: &str) -> Option<&'static str> {
        self.kind?.never_stored.iter().copied().find(|gone| *gone == name)
    }

    fn unusable(&mut self, field: &'static FieldSpec) -> Result<(), Broken> {
        if field.required && self.strictness == Strictness::Strict {
            return Err(broken(Reason::OutOfRange, field.name));
        }
        self.edits.push((field.name, Edit::Null));
        Ok(())
    }

    fn lift(&mut self, name: &str, scalar: &Scalar<'_>) {
        let place = match (name, self.kind.map(|kind| kind.name)) {
            ("stream_id", _) => &mut self.lifted.stream_id,
            ("stream_platform", _) => &mut self.lifted.stream_platform,
            ("userid", Some("identity.signed_in")) => &mut self.lifted.user_id,
            ("feature", Some("feature.used")) => &mut self.lifted.feature,
            _ => return,
        };
        if let Scalar::Text(text) = scalar
            && !text.is_empty()
        {
            *place = Some(text.clone().into_owned());
        }
    }

    /// Gives the stream its one form. Only at the end: `stream_platform` may follow `stream_id`, and its length counts.
    fn judge_stream(&mut self) -> Result<(), Broken> {
        let Some(id) = self.lifted.stream_id.take() else { return Ok(()) };
        self.stream = event::stream_identity(&id, self.lifted.stream_platform.as_deref())
            .map(|(id, platform)| (id.into_owned(), platform));
        match self.fields.iter().position(|field| field.ty == FieldType::Stream) {
            Some(idx) if self.stream.is_none() => {
                self.values[idx] = Scalar::Null;
                self.unusable(&self.fields[idx])
            }
            _ => Ok(()),
        }
    }

    fn judge_missing(&self) -> Result<(), Broken> {
        let is_missing = |(idx, field): &(usize, &FieldSpec)| field.required && self.present & (1 << idx) == 0;
        match self.fields.iter().enumerate().find(is_missing) {
            Some((_, field)) if self.strictness == Strictness::Strict => Err(broken(Reason::MissingField, field.name)),
            _ => Ok(()),
        }
    }
}

fn broken(reason: Reason, name: &str) -> Broken {
    (reason, format!("data.{name}"))
}

/// How a value stands to its field's rules.
enum Fit {
    /// It says nothing.
    Missing,
    /// It is as it should be.
    Fits,
    /// It is another word for this one.
    Means(&'static str),
    /// It breaks them.
    Unusable,
}

fn fit(field: &FieldSpec, scalar: &Scalar<'_>) -> Fit {
    let text = match scalar {
        Scalar::Null => return Fit::Missing,
        Scalar::Text(text) => Some(text.as_ref()),
        _ => None,
    };
    let fits = match field.ty {
        FieldType::Bool => matches!(scalar, Scalar::Bool(_)),
        FieldType::Int { min, max } => scalar.integer().is_some_and(|value| (min..=max).contains(&value)),
        FieldType::Decimal { min, max } => scalar.number().is_some_and(|value| (min..=max).contains(&value)),
        FieldType::Text { max_chars } => text.is_some_and(|text| event::has_at_most_chars(text, max_chars)),
        FieldType::Scalar { max_chars } => match scalar {
            Scalar::Composite => false,
            _ => text.is_none_or(|text| event::has_at_most_chars(text, max_chars)),
        },
        FieldType::Word { words, aliases } => return text.map_or(Fit::Unusable, |text| fit_word(text, words, aliases)),
        FieldType::Stream if text == Some("") => return Fit::Missing,
        FieldType::Stream => text.is_some(),
        FieldType::Time => text.is_some_and(|text| Timestamp::parse_rfc3339(text).is_some()),
    };
    if fits { Fit::Fits } else { Fit::Unusable }
}

fn fit_word(text: &str, words: &[&str], aliases: &[(&str, &'static str)]) -> Fit {
    if words.contains(&text) {
        return Fit::Fits;
    }
    aliases.iter().find(|(alias, _)| *alias == text).map_or(Fit::Unusable, |(_, word)| Fit::Means(word))
}

/// The same object with these members edited; the others keep the sender's text.
fn rewritten(members: &Members<'_>, edits: &[(&'static str, Edit)]) -> String {
    let members = members.iter().filter_map(|(name, raw)| {
        let value = match edits.iter().find(|(edited, _)| *edited == name) {
            Some((_, Edit::Remove)) => return None,
            Some((_, Edit::Null)) => Cow::Borrowed("null"),
            Some((_, Edit::Word(word))) => Cow::Owned(Value::from(*word).to_string()),
            None => Cow::Borrowed(raw.get()),
        };
        Some(format!("{}:{value}", Value::from(name)))
    });
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}
