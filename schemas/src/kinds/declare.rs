//! The notation in which kinds and word lists are declared.

/// Declares closed lists of words as enums that read and print as these words.
macro_rules! words {
    ($($(#[doc = $doc:literal])+ $name:ident { $($variant:ident = $word:literal),+ $(,)? })+) => {$(
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        #[allow(missing_docs, reason = "each variant is its word")]
        pub enum $name { $(#[serde(rename = $word)] $variant),+ }

        impl $name {
            /// The words.
            pub const WORDS: &'static [&'static str] = &[$($word),+];
        }
    )+};
}

/// Declares kinds: `"name" Type { field: type[bounds], field: type[bounds] required }`.
///
/// Field types: `bool`, `int[min, max]`, `decimal[min, max]`, `text[max_chars]`, `word[Enum]`, `time`.
macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $name:literal $kind:ident {
        $($(#[doc = $field_doc:literal])+ $field:ident: $ty:ident $([$($arg:tt)*])? $($mark:ident)?),* $(,)?
    })+) => {
        $(
            $(#[doc = $doc])+
            #[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
            pub struct $kind {
                $(
                    $(#[doc = $field_doc])+
                    #[serde(default, skip_serializing_if = "Option::is_none")]
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
            },
        )+];

        /// Reads data of one of this module's kinds into its type and writes it back: what tests hold schemas, rules
        /// and types together with. `None` if the kind belongs to another module.
        #[cfg(test)]
        pub(super) fn through_its_type(name: &str, data: &str) -> Option<serde_json::Result<serde_json::Value>> {
            match name {
                $($name => Some(serde_json::from_str::<$kind>(data).and_then(|typed| serde_json::to_value(&typed))),)+
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
    (word $words:ident) => {
        $crate::kinds::FieldType::Word($crate::kinds::$words::WORDS)
    };
    (time) => {
        $crate::kinds::FieldType::Time
    };
}

pub(super) use {field_type, kinds, required, rust_type, words};
