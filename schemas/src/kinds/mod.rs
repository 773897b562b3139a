//! The vocabulary: every kind of event, its data as a Rust type, and the rules its fields are held against.
//!
//! A kind is declared once, in [`declare`]'s notation, and that declaration makes the Rust type, the rules and the
//! JSON Schema in `schemas/json/`. Units are part of the field's name. A field outside its range becomes null and the
//! event gets flag `range`; a `required` field that is missing or out of range quarantines the event, and so does a
//! field that stands twice. A word's alias becomes the word.

mod app;
mod check;
mod declare;
mod json_schema;
mod playback;
mod stream;
mod words;
mod workspace;

use std::collections::HashMap;
use std::sync::LazyLock;

pub use app::*;
pub use check::{Checked, Strictness, check};
pub use declare::ScalarValue;
pub use json_schema::json_schema;
pub use playback::*;
pub use stream::*;
pub use words::*;
pub use workspace::*;

/// One kind of event.
#[derive(Debug, PartialEq)]
pub struct KindSpec {
    /// Its name on the wire.
    pub name: &'static str,
    /// What it reports.
    pub doc: &'static str,
    /// The fields of its data; others are kept as they are.
    pub fields: &'static [FieldSpec],
    /// Fields that are taken out of the data before it is stored, because they would say more about a person than the
    /// pipeline may know.
    pub never_stored: &'static [&'static str],
}

impl KindSpec {
    /// Whether events of this kind are about one view and need `viewid`.
    #[must_use]
    pub fn needs_view(&self) -> bool {
        self.name.starts_with("playback.")
    }

    /// The rules of a field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'static FieldSpec> {
        self.fields.iter().find(|field| field.name == name)
    }
}

/// One field of a kind's data.
#[derive(Debug, PartialEq)]
pub struct FieldSpec {
    /// Its name, with the unit.
    pub name: &'static str,
    /// What it holds.
    pub doc: &'static str,
    /// Whether the event means nothing without it.
    pub required: bool,
    /// What it may hold.
    pub ty: FieldType,
}

/// What a field may hold. Bounds are inclusive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FieldType {
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Int {
        /// Least value.
        min: i64,
        /// Greatest value.
        max: i64,
    },
    /// A number.
    Decimal {
        /// Least value.
        min: f64,
        /// Greatest value.
        max: f64,
    },
    /// A text of at most this many characters.
    Text {
        /// Greatest length.
        max_chars: usize,
    },
    /// A text of at most this many characters, a number or a truth value.
    Scalar {
        /// Greatest length of a text.
        max_chars: usize,
    },
    /// One of a list of words.
    Word {
        /// The words.
        words: &'static [&'static str],
        /// Other words that clients use, each with the one it means.
        aliases: &'static [(&'static str, &'static str)],
    },
    /// A stream: a text that is not empty and whose [identity](crate::event::stream_identity) has at most 128
    /// characters.
    Stream,
    /// An RFC 3339 time.
    Time,
}

/// Every kind of the vocabulary, in the order of the documentation.
pub fn all() -> impl Iterator<Item = &'static KindSpec> {
    [playback::KINDS, stream::KINDS, app::KINDS, workspace::KINDS].into_iter().flatten().chain(CMCD_KINDS)
}

/// Under this name events of kinds that are not in the vocabulary are counted, where one record has too many of them.
pub const OTHER: &str = "other";

/// The kind of that name.
#[must_use]
pub fn named(name: &str) -> Option<&'static KindSpec> {
    static BY_NAME: LazyLock<HashMap<&'static str, &'static KindSpec>> =
        LazyLock::new(|| all().map(|kind| (kind.name, kind)).collect());
    BY_NAME.get(name).copied()
}

/// The event types of CMCD version 2, event mode (CTA-5004-B). Their data is the record's keys; the adapter checks
/// the keys' types, so they have no field rules of their own.
const CMCD_KINDS: &[KindSpec] = &{
    const fn cmcd(name: &'static str, doc: &'static str) -> KindSpec {
        KindSpec { name, doc, fields: &[], never_stored: &[] }
    }
    [
        cmcd("cmcd.ps", "Play state change."),
        cmcd("cmcd.t", "Time interval."),
        cmcd("cmcd.e", "Error."),
        cmcd("cmcd.rr", "Response received; its time is when the request started."),
        cmcd("cmcd.bc", "Bitrate change."),
        cmcd("cmcd.ce", "Custom event, named by `cen`."),
        cmcd("cmcd.pr", "Playback rate change."),
        cmcd("cmcd.m", "Muted."),
        cmcd("cmcd.um", "Unmuted."),
        cmcd("cmcd.pe", "Player expanded."),
        cmcd("cmcd.pc", "Player collapsed."),
        cmcd("cmcd.b", "Backgrounded if `bg`, else foregrounded."),
        cmcd("cmcd.c", "Content id changed."),
        cmcd("cmcd.h", "Hostname changed."),
        cmcd("cmcd.abs", "Ad break started."),
        cmcd("cmcd.abe", "Ad break ended."),
        cmcd("cmcd.as", "Ad started."),
        cmcd("cmcd.ae", "Ad ended."),
        cmcd("cmcd.sk", "Ad skipped."),
    ]
};

#[cfg(test)]
mod tests;
