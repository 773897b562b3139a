//! The notation in which kinds and word lists are declared.

use serde::de::{DeserializeOwned, Deserializer, Error};
use serde::{Deserialize, Serialize};

use crate::json::Scalar;
use crate::time::Timestamp;

/// How a field of a kind's type is read: whatever [`check`](super::check()) lets pass, this reads.
pub(super) trait FieldValue: DeserializeOwned {
    /// Reads the value; `None` for null.
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Self>, D::Error> {
        Option::deserialize(deserializer)
    }
}

impl FieldValue for bool {}
impl FieldValue for f64 {}
impl FieldValue for String {}
impl FieldValue for Timestamp {}
impl FieldValue for ScalarValue {}

/// Whole floats are whole numbers: some encoders write `1240.0`.
impl FieldValue for i64 {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Self>, D::Error> {
        match Scalar::deserialize(deserializer)? {
            Scalar::Null => Ok(None),
            scalar => scalar.integer().map(Some).ok_or_else(|| Error::custom("not a whole number")),
        }
    }
}

/// Reads a field; what the types' `deserialize_with` names.
pub(super) fn read<'de, D: Deserializer<'de>, T: FieldValue>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::read(deserializer)
}

/// A text, a number or a truth value: what a setting may hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ScalarValue {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Decimal(f64),
    /// A text.
    Text(String),
}

/// Declares closed lists of words as enums that print as these words, and read them and their aliases:
/// `Name { Variant = "word" | "alias" }`.
macro_rules! words {
    ($($(#[doc = $doc:literal])+ $name:ident { $($variant:ident = $word:literal $(| $alias:literal)*),+ $(,)? })+) => {$(
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        #[allow(missing_docs, reason = "each variant is its word")]
        pub enum $name { $(#[serde(rename = $word $(, alias = $alias)*)] $variant),+ }

        impl $name {
            /// The words.
            pub const WORDS: &'static [&'static str] = &[$($word),+];
            /// Other words that clients use, each with the one it means.
            pub const ALIASES: &'static [(&'static str, &'static str)] = &[$($(($alias, $word),)*)+];
        }

        impl $crate::kinds::declare::FieldValue for $name {}
    )+};
}

/// Declares kinds: `"name" Type { field: type[bounds], field: type[bounds] required }`, with `never_stored[names]` before
/// the brace where fields must not be kept.
///
/// Field types: `bool`, `int[min, max]`, `decimal[min, max]`, `text[max_chars]`, `scalar[max_chars]`, `word[Enum]`,
/// `stream`, `time`.
macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $name:literal $kind:ident $(never_stored[$($gone:ident),+])? {
        $($(#[doc = $field_doc:literal])+ $field:ident: $ty:ident $([$($arg:tt)*])? $($mark:ident)?),* $(,)?
    })+) => {
        $(
            $(#[doc = $doc])+
            #[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
            pub struct $kind {
                $(
                    $(#[doc = $field_doc])+
                    #[serde(
                        default,
                        deserialize_with = "crate::kinds::declare::read",
                        skip_serializing_if = "Option::is_none"
                    )]
                    pub $field: Option<$crate::kinds::declare::rust_type!($ty $($($arg)*)?)>,
                )*
            }
        )+

        /// The kinds of this module.
        pub(super) const KINDS: &[$crate::kinds::KindSpec] = &[$(
            $crate::kinds::KindSpec {
                name: $name,
                doc: concat!($($doc),+),
                fields: &[$(
                    $crate::kinds::FieldSpec {
                        name: stringify!($field),
                        doc: concat!($($field_doc),+),
                        required: $crate::kinds::declare::required!($($mark)?),
                        ty: $crate::kinds::declare::field_type!($ty $($($arg)*)?),
                    },
                )*],
                never_stored: &[$($(stringify!($gone)),+)?],
            },
        )+];

        /// Reads data of one of this module's kinds into its type and writes it back: what tests hold schemas, rules
        /// and types together with. `None` if the kind belongs to another module.
        #[cfg(test)]
        pub(super) fn through_its_type(name: &str, data: &str) -> Option<serde_json::Result<serde_json::Value>> {
            match name {
                $($name => {
                    let typed = serde_json::from_str::<$kind>(data);
                    assert_eq!($crate::json::typed::<$kind>(data), typed.as_ref().ok().cloned(), "{data}");
                    let checked = $crate::kinds::check($crate::kinds::named(name), Some(data.into()), $crate::kinds::Strictness::Lenient);
                    if let Ok(checked) = checked {
                        let of_fields = $crate::json::typed_of_fields::<$kind>(&checked.fields);
                        assert_eq!(of_fields, $crate::json::typed(&checked.data), "{data}");
                    }
                    Some(typed.and_then(|typed| serde_json::to_value(&typed)))
                })+
                _ => None,
            }
        }
    };
}

macro_rules! required {
    () => {
        false
    };
    (required) => {
        true
    };
}

macro_rules! rust_type {
    (bool) => {
        bool
    };
    (int $min:expr, $max:expr) => {
        i64
    };
    (decimal $min:expr, $max:expr) => {
        f64
    };
    (text $max:expr) => {
        String
    };
    (scalar $max:expr) => {
        $crate::kinds::ScalarValue
    };
    (stream) => {
        String
    };
    (word $words:ident) => {
        $crate::kinds::$words
    };
    (time) => {
        $crate::time::Timestamp
    };
}

macro_rules! field_type {
    (bool) => {
        $crate::kinds::FieldType::Bool
    };
    (int $min:expr, $max:expr) => {
        $crate::kinds::FieldType::Int { min: $min, max: $max }
    };
    (decimal $min:expr, $max:expr) => {
        $crate::kinds::FieldType::Decimal { min: $min, max: $max }
    };
    (text $max:expr) => {
        $crate::kinds::FieldType::Text { max_chars: $max }
    };
    (scalar $max:expr) => {
        $crate::kinds::FieldType::Scalar { max_chars: $max }
    };
    (stream) => {
        $crate::kinds::FieldType::Stream
    };
    (word $words:ident) => {
        $crate::kinds::FieldType::Word { words: $crate::kinds::$words::WORDS, aliases: $crate::kinds::$words::ALIASES }
    };
    (time) => {
        $crate::kinds::FieldType::Time
    };
}

pub(super) use {field_type, kinds, required, rust_type, words};
