//! From the bytes of one event to a verdict: one adapter per wire format, one pure function over them.
//!
//! Splitting an upload's body into events is ingest's work; what one event means is decided here, so that ingest
//! (for the receipt) and the processor (for the truth, perhaps years later and by a newer vocabulary) ask the same
//! function.

mod attributes;
mod cloudevents;
mod cmcd;
mod legacy;
mod legacy_names;

use crate::event::{Event, Format, Rejection};
use crate::outcome::Reason;
use crate::record::{Fact, Item, Upload};
use crate::time::Timestamp;

pub use cloudevents::BINARY_PREFIX;
pub use cmcd::EVENT_MODE_PATH;

/// How the body of an upload is written. The tag stands in the log record and in `records.format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wire {
    /// CloudEvents as JSON objects, one per item.
    Cloudevents,
    /// One CloudEvent in binary mode: attributes in `ce-` headers (kept as facts), the item is its data.
    CloudeventsBinary,
    /// The app's analytics feed: one JSON object per item.
    StreamyyyAnalytics,
    /// The app's error feed: one JSON object per item.
    StreamyyyErrors,
    /// CMCD version 2, event mode: one RFC 8941 dictionary per item.
    Cmcd2,
}

impl Wire {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Cloudevents, Self::CloudeventsBinary, Self::StreamyyyAnalytics, Self::StreamyyyErrors, Self::Cmcd2];

    /// The tag.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cloudevents => "cloudevents",
            Self::CloudeventsBinary => "cloudevents_binary",
            Self::StreamyyyAnalytics => "streamyyy_analytics",
            Self::StreamyyyErrors => "streamyyy_errors",
            Self::Cmcd2 => "cmcd2",
        }
    }

    /// The wire format of that tag.
    #[must_use]
    pub fn parse(tag: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|wire| wire.as_str() == tag)
    }

    /// The format of events that cannot be read at all.
    #[must_use]
    pub const fn format(self) -> Format {
        match self {
            Self::Cloudevents | Self::CloudeventsBinary => Format::Cloudevents,
            Self::StreamyyyAnalytics | Self::StreamyyyErrors => Format::StreamyyyLegacy,
            Self::Cmcd2 => Format::Cmcd2,
        }
    }

    /// Whether a request header means something to this format, and so becomes a [`Fact`]. Names are in lower case.
    #[must_use]
    pub fn keeps_header(self, name: &str) -> bool {
        match self {
            Self::CloudeventsBinary => name.starts_with(BINARY_PREFIX) || name == "content-type",
            Self::StreamyyyAnalytics | Self::StreamyyyErrors => {
                matches!(name, "user-agent" | "x-platform" | "x-os-version" | "x-device-model")
            }
            Self::Cloudevents | Self::Cmcd2 => false,
        }
    }
}

/// What the server knows about the upload that an event came in.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// How it is written.
    pub wire: Wire,
    /// Server clock when the request arrived.
    pub received_at: Timestamp,
    /// The verified user, if a user token vouched.
    pub subject: Option<&'a str>,
    /// The request headers that the format gives meaning to.
    pub facts: &'a [Fact<'a>],
}

impl<'a> Received<'a> {
    /// What a log record says about its upload; `None` if its wire format is unknown to this program.
    #[must_use]
    pub fn of(upload: &'a Upload<'a>) -> Option<Self> {
        Some(Self {
            wire: Wire::parse(upload.wire)?,
            received_at: upload.received_at,
            subject: upload.subject,
            facts: &upload.facts,
        })
    }

    fn fact(&self, name: &str) -> Option<&'a str> {
        self.facts.iter().find(|fact| fact.name == name).map(|fact| fact.value)
    }
}

/// The verdict on one event.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "nearly all are accepted, and it lives on the stack of one loop")]
pub enum Verdict<'a> {
    /// It is valid.
    Accept(Event<'a>),
    /// It is kept with a reason.
    Quarantine(Rejection<'a>),
}

/// Judges one event. Pure: the same bytes and facts always give the same verdict.
#[must_use]
pub fn validate<'a>(received: &Received<'a>, item: &Item<'a>) -> Verdict<'a> {
    if let Some(oversize) = &item.oversize {
        let mut rejection = unreadable(received.wire, Reason::TooLarge, item.bytes);
        rejection.id = oversize.sha256[..oversize.sha256.len().min(32)].to_owned().into();
        return Verdict::Quarantine(rejection);
    }
    match received.wire {
        Wire::Cloudevents => cloudevents::structured(received, item.bytes),
        Wire::CloudeventsBinary => cloudevents::binary(received, item.bytes),
        Wire::StreamyyyAnalytics => legacy::analytics(received, item.bytes),
        Wire::StreamyyyErrors => legacy::error_report(received, item.bytes),
        Wire::Cmcd2 => cmcd::record(item.bytes),
    }
}

/// The rejection of bytes of which nothing can be read.
fn unreadable<'a>(wire: Wire, reason: Reason, bytes: &[u8]) -> Rejection<'a> {
    Rejection {
        reason,
        field: None,
        id: crate::digest::derived_id(&[bytes]).into(),
        source: None,
        kind: None,
        format: wire.format(),
        device_platform: None,
        app_version: None,
        partition_key: "".into(),
    }
}

#[cfg(test)]
pub(crate) mod tests;
