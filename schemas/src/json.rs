//! Reading hostile JSON: strictly, borrowed, and without building a tree.

mod quick;
mod typed;

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::outcome::Reason;
use quick::Reader;

pub(crate) use typed::{typed, typed_of_fields};

/// Any JSON value of which only scalars are kept.
///
/// Arrays and objects are walked to the end, so that everything below them was held against the rules (grammar, UTF-8,
/// no lone surrogate, no NUL, no number beyond f64, at most 128 levels), but not built.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number that fits an i64.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// A text.
    Text(Cow<'a, str>),
    /// An array or an object.
    Composite,
}

impl<'a> Scalar<'a> {
    /// The text, if it is one.
    #[must_use]
    pub fn text(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The whole number: also of a float without a fraction, as some encoders write them.
    #[must_use]
    pub fn integer(&self) -> Option<i64> {
        match *self {
            Self::Int(value) => Some(value),
            #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
            Self::Float(value) if value.fract() == 0.0 && value.abs() < 9e15 => Some(value as i64),
            _ => None,
        }
    }

    /// The number as a float.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "the reader asked for a float")]
    pub const fn number(&self) -> Option<f64> {
        match *self {
            Self::Int(value) => Some(value as f64),
            Self::Float(value) => Some(value),
            _ => None,
        }
    }
}

/// Marks a NUL in a text, so that [`reason_of`] can tell it from a grammar error.
const NUL_MESSAGE: &str = "text holds U+0000";

/// The error for a text that holds U+0000.
fn nul<E: de::Error>() -> E {
    E::custom(NUL_MESSAGE)
}

/// Which rule a parse error stands for.
#[must_use]
pub(crate) fn reason_of(error: &serde_json::Error) -> Reason {
    if error.is_data() && error.to_string().starts_with(NUL_MESSAGE) {
        Reason::InvalidText
    } else {
        Reason::InvalidJson
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Scalar::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Scalar::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Scalar::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        #[expect(clippy::cast_precision_loss, reason = "beyond i64 only its size matters")]
        Ok(i64::try_from(value).map_or(Scalar::Float(value as f64), Scalar::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Scalar::Float(value))
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        if text.contains('\0') { Err(nul()) } else { Ok(Scalar::Text(Cow::Borrowed(text))) }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        if text.contains('\0') { Err(nul()) } else { Ok(Scalar::Text(Cow::Owned(text.to_owned()))) }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<Scalar<'de>>()?.is_some() {}
        Ok(Scalar::Composite)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<Key<'de>, Scalar<'de>>()?.is_some() {}
        Ok(Scalar::Composite)
    }
}

impl<'de> Deserialize<'de> for Scalar<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

/// An object's key, borrowed where it has no escape.
#[derive(Debug)]
struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_str(ScalarVisitor)? {
            Scalar::Text(text) => Ok(Self(text)),
            _ => Err(de::Error::custom("a key is a text")),
        }
    }
}

/// The members of one JSON object in their order: keys read, values still text.
#[derive(Debug)]
pub struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Members<'a> {
    /// Splits an object.
    ///
    /// # Errors
    ///
    /// The rule that the text breaks. The values are only split here; [`scalar`] holds each against the rules.
    pub fn parse(text: &'a str) -> Result<Self, Reason> {
        let members: Self = serde_json::from_str(text).map_err(|error| reason_of(&error))?;
        Ok(members)
    }

    /// The members in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(key, value)| (key.as_ref(), *value))
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;
        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::with_capacity(24);
                while let Some((Key(key), value)) = map.next_entry()? {
                    members.push((key, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(MembersVisitor)
    }
}

/// The value of a member that is [read at once](read_once).
#[derive(Debug)]
pub enum Value<'a> {
    /// Read, and held against the rules.
    Scalar(Scalar<'a>),
    /// As text: of an array or an object only its end was looked for.
    Text(&'a str),
}

/// Reads an object in one pass, and hands on its members in their order: those named by `is_text` as text, all others
/// read. Returns whether that went well: no rule was broken, but perhaps within a member that is handed on as text, and
/// `take` refused none of them. Where it did not, reading value by value ([`Members::parse`], [`scalar`]) tells which
/// member it was, and why.
pub fn read_once<'a>(text: &'a str, is_text: fn(&str) -> bool, mut take: impl FnMut(&str, Value<'a>) -> bool) -> bool {
    let mut reader = Reader::new(text);
    while let Some(member) = reader.member(is_text) {
        let Some((name, value)) = member else { return true };
        if !take(&name, value) {
            return false;
        }
    }
    false
}

/// Reads one value strictly, down to its last leaf.
///
/// # Errors
///
/// The rule that it breaks.
pub fn scalar(value: &RawValue) -> Result<Scalar<'_>, Reason> {
    serde_json::from_str(value.get()).map_err(|error| reason_of(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Scalar<'_>, Reason> {
        serde_json::from_str(text).map_err(|error| reason_of(&error))
    }

    #[test]
    fn hostile_values_break_a_named_rule() {
        let deep = "[".repeat(200) + &"]".repeat(200);
        for text in ["NaN", "1e999", "-1e999", r#""\ud800""#, r#"{"a":"\udc00x"}"#, "[1,", "'x'", "01", deep.as_str()] {
            assert_eq!(read(text), Err(Reason::InvalidJson), "{text}");
        }
        assert_eq!(read(r#"{"a":["x\u0000"]}"#), Err(Reason::InvalidText));
        assert_eq!(read(r#"{"\u0000":1}"#), Err(Reason::InvalidText));
    }

    #[test]
    fn scalars_keep_their_kind() {
        assert_eq!(read("18446744073709551615"), Ok(Scalar::Float(18_446_744_073_709_551_615.0)));
        assert_eq!(read("-3").map(|scalar| scalar.integer()), Ok(Some(-3)));
        assert_eq!(read("3.0").map(|scalar| scalar.integer()), Ok(Some(3)));
        assert_eq!(read("3.5").map(|scalar| scalar.integer()), Ok(None));
        assert_eq!(read(r#""\u00e9""#), Ok(Scalar::Text("é".into())));
        assert_eq!(read(r#"{"a":[{"b":null}]}"#), Ok(Scalar::Composite));
    }

    proptest::proptest! {
        #[test]
        fn what_is_read_at_once_is_what_is_read_value_by_value(
            members in proptest::collection::vec(("[abcd\u{e9}]{1,2}", 0..VALUES.len()), 0..6), cut in 0..60_usize, garbled: bool
        ) {
            let members: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\": {}", VALUES[*value])).collect();
            let mut text = format!(" {{{}}}\n", members.join(" ,"));
            if garbled {
                text = text.chars().take(cut).collect();
            }
            let mut once = Vec::new();
            let is_read = read_once(&text, |name| name == "a", |name, value| {
                // A text is looked at by whoever takes it.
                let is_good = !matches!(value, Value::Text(text) if read(text).is_err());
                once.push((name.to_owned(), format!("{value:?}")));
                is_good
            });
            let slowly = Members::parse(&text).and_then(|members| {
                let read = |(name, raw): (&str, &'_ RawValue)| Ok((name.to_owned(), match name {
                    "a" => scalar(raw).map(|_| format!("Text({:?})", raw.get()))?,
                    _ => format!("Scalar({:?})", scalar(raw)?),
                }));
                members.iter().map(read).collect::<Result<Vec<_>, Reason>>()
            });
            proptest::prop_assert_eq!(is_read.then_some(once), slowly.ok(), "{}", text);
        }
    }

    const VALUES: [&str; 34] = [
        "1",
        "0",
        "-0",
        "-7",
        "01",
        "-",
        "-01",
        "1.0",
        "-2.5e3",
        "1E2",
        "1.",
        "999999999999999999",
        "-999999999999999999",
        "1000000000000000000",
        "9223372036854775808",
        "1e999",
        "null",
        "nul",
        "true",
        "false",
        "truefalse",
        "\"\"",
        "\"a text of more than eight bytes \u{e9}\"",
        "\"x\\u00e9\"",
        "\"\\\\\"",
        "\"a\tb\"",
        "\"\\ud800\"",
        "[1,{\"k\":[]}]",
        "[1,]",
        "{\"a\":\"\\u0000\"}",
        "{\"}\":\"\\\"]\"}",
        "{]",
        "[}",
        "",
    ];
}
