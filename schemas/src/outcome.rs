//! What became of an event, and why, in closed sets of words.
//!
//! The same words stand in receipts, in the columns `outcome` and `reason`, in metric labels and in the documentation;
//! they are never renamed.

use std::fmt;

/// What became of one received event. Every event ends in exactly one (promise 4 of ARCHITECTURE.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// In `events`, counted once.
    Stored,
    /// A copy of an event that was stored or quarantined before it.
    Duplicate,
    /// In `quarantine` with a reason.
    Quarantined,
    /// Left out by a rule (older than its project's retention, or without consent).
    Suppressed,
    /// Was stored or quarantined, and taken away later because it was older than its project's retention.
    Erased,
}

impl Outcome {
    /// All of them, in the order of the ledger.
    pub const ALL: [Self; 5] = [Self::Stored, Self::Duplicate, Self::Quarantined, Self::Suppressed, Self::Erased];

    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Duplicate => "duplicate",
            Self::Quarantined => "quarantined",
            Self::Suppressed => "suppressed",
            Self::Erased => "erased",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why an event was quarantined, suppressed or erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The bytes are not one JSON object: syntax, encoding, a number beyond f64, more than 128 levels.
    InvalidJson,
    /// A text holds U+0000, which no database can keep.
    InvalidText,
    /// A name of the envelope or of the kind's fields stands twice, so that readers would disagree about its value.
    DuplicateAttribute,
    /// `specversion`, `source`, `type` or an attribute that the kind needs is missing or malformed.
    MissingAttribute,
    /// A field of the data without which the kind means nothing is missing or malformed.
    MissingField,
    /// Such a field is outside its range.
    OutOfRange,
    /// `userid`, or the user that `identity.signed_in` links, differs from the verified token's subject.
    UserMismatch,
    /// One event above 960 KiB; its SHA-256 and first 64 KiB are kept.
    TooLarge,
    /// The line is not an RFC 8941 dictionary.
    InvalidRecord,
    /// The CMCD version is missing or not 2.
    CmcdVersion,
    /// A CMCD record lacks a key that its event type needs.
    CmcdMissingKey,
    /// An operator ordered that its record is left out.
    Skipped,
    /// Suppressed or erased: older than its project's retention.
    Expired,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::InvalidJson,
        Self::InvalidText,
        Self::DuplicateAttribute,
        Self::MissingAttribute,
        Self::MissingField,
        Self::OutOfRange,
        Self::UserMismatch,
        Self::TooLarge,
        Self::InvalidRecord,
        Self::CmcdVersion,
        Self::CmcdMissingKey,
        Self::Skipped,
        Self::Expired,
    ];

    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidJson => "invalid_json",
            Self::InvalidText => "invalid_text",
            Self::DuplicateAttribute => "duplicate_attribute",
            Self::MissingAttribute => "missing_attribute",
            Self::MissingField => "missing_field",
            Self::OutOfRange => "out_of_range",
            Self::UserMismatch => "user_mismatch",
            Self::TooLarge => "too_large",
            Self::InvalidRecord => "invalid_record",
            Self::CmcdVersion => "cmcd_version",
            Self::CmcdMissingKey => "cmcd_missing_key",
            Self::Skipped => "skipped",
            Self::Expired => "expired",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
