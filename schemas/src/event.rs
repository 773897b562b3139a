//! One event as the pipeline sees it, borrowed from the sender's bytes.

use std::borrow::Cow;
use std::fmt;

use crate::dedup::IdTime;
use crate::json::Scalar;
use crate::kinds::KindSpec;
use crate::outcome::Reason;
use crate::time::Timestamp;

/// A valid event: the envelope of `CloudEvents` 1.0 with our extensions, whatever format it came in.
///
/// A missing or unusable optional attribute is `None`, never a default.
#[derive(Debug, Clone, PartialEq)]
pub struct Event<'a> {
    /// Unique within `source`; derived from the sender's bytes where the sender gave none.
    pub id: Cow<'a, str>,
    /// Where the id's time comes from, for the [dedup key](crate::dedup::EventKey).
    pub id_time: IdTime,
    /// Who numbers its events: a URI reference of at most 128 characters.
    pub source: Cow<'a, str>,
    /// The name of the kind, also of an unknown one: at most 64 of `[a-z0-9_.]`.
    pub kind: Cow<'a, str>,
    /// The vocabulary's entry for `kind`; `None` for unknown kinds.
    pub spec: Option<&'static KindSpec>,
    /// How the event was written.
    pub format: Format,
    /// Device clock when it happened; the server's receive time where the sender gave none.
    pub occurred_at: Timestamp,
    /// Device platform, one of [`DEVICE_PLATFORMS`].
    pub device_platform: Option<&'static str>,
    /// Application version, at most 32 characters.
    pub app_version: Option<Cow<'a, str>>,
    /// The app install, a UUID in lower case.
    pub install_id: Option<Cow<'a, str>>,
    /// The session, at most 64 characters.
    pub session_id: Option<Cow<'a, str>>,
    /// Sequence number within (install, session); for CMCD `sn` within the view.
    pub seq: Option<u32>,
    /// The boot or process whose monotonic clock `mono_ms` is.
    pub boot_id: Option<Cow<'a, str>>,
    /// Monotonic clock in ms; its zero is unknown.
    pub mono_ms: Option<u64>,
    /// Guest identity, a UUID in lower case.
    pub anon_id: Option<Cow<'a, str>>,
    /// Signed-in identity as the body says it, not verified here.
    pub user_id: Option<Cow<'a, str>>,
    /// One playback attempt in one tile.
    pub view_id: Option<Cow<'a, str>>,
    /// The layout on screen.
    pub layout_id: Option<Cow<'a, str>>,
    /// Tile within the layout, 0–63.
    pub slot: Option<u8>,
    /// The stream, `{platform}:{channel}`.
    pub stream_id: Option<Cow<'a, str>>,
    /// The stream's platform, one of [`STREAM_PLATFORMS`].
    pub stream_platform: Option<&'static str>,
    /// `data.feature` of `feature.used`.
    pub feature: Option<Cow<'a, str>>,
    /// The data as JSON, an object for all known kinds; fields out of range are null.
    pub data: Cow<'a, str>,
    /// [The fields](crate::kinds::Checked::fields) that were read of the data, if any were kept.
    pub fields: Vec<Scalar<'a>>,
    /// What was noticed.
    pub flags: Flags,
}

impl Event<'_> {
    /// What decides the partition: the install, else the session, else the view, else the source.
    #[must_use]
    pub fn partition_key(&self) -> &str {
        self.install_id.as_deref().or(self.session_id.as_deref()).or(self.view_id.as_deref()).unwrap_or(&self.source)
    }
}

/// An event that cannot be used, with the reason and whatever could still be read of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection<'a> {
    /// Why.
    pub reason: Reason,
    /// The attribute or field (`data.` before fields of the data) that broke the rule.
    pub field: Option<Cow<'a, str>>,
    /// Its id, derived from the bytes where there is none that is valid.
    pub id: Cow<'a, str>,
    /// Its source, if readable.
    pub source: Option<Cow<'a, str>>,
    /// Its kind, if readable and well formed.
    pub kind: Option<Cow<'a, str>>,
    /// Its format.
    pub format: Format,
    /// Device platform, if readable.
    pub device_platform: Option<&'static str>,
    /// Application version, if readable.
    pub app_version: Option<Cow<'a, str>>,
    /// The partition key that could be read; empty if none.
    pub partition_key: Cow<'a, str>,
}

/// How an event was written. The tag stands in the column `format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// A CloudEvent with all native attributes.
    Native,
    /// A CloudEvent that lacks at least one of them.
    Cloudevents,
    /// The app's feeds of today (`/api/v1/analytics`, `/api/v1/errors`).
    StreamyyyLegacy,
    /// CMCD version 2, event mode.
    Cmcd2,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Native, Self::Cloudevents, Self::StreamyyyLegacy, Self::Cmcd2];

    /// The tag.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Cloudevents => "cloudevents",
            Self::StreamyyyLegacy => "streamyyy_legacy",
            Self::Cmcd2 => "cmcd2",
        }
    }
}

/// Who vouches for an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trust {
    /// Only an upload key or a guest token.
    Anonymous,
    /// A verified user token.
    Authenticated,
}

impl Trust {
    /// The word in the column `trust`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Authenticated => "authenticated",
        }
    }
}

/// What was done to an event's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimeQuality {
    /// As the device said.
    Device,
    /// Moved by the offset of the device's wall clock.
    Offset,
    /// Set from the device's monotonic clock.
    Mono,
}

impl TimeQuality {
    /// The word in the column `time_quality`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Offset => "offset",
            Self::Mono => "mono",
        }
    }
}

/// Something noticed about an event that does not make it invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Flag {
    /// It arrived more than an hour after it happened.
    Late = 1,
    /// Its corrected time lay more than 5 min after its arrival and was held there.
    FutureClamped = 2,
    /// The same content as another event, under another id.
    DupSuspect = 4,
    /// Its kind is not in the vocabulary: kept, in no typed metric.
    UnknownType = 8,
    /// Too little for its typed metrics.
    Partial = 16,
    /// A field was outside its range and became null.
    Range = 32,
}

impl Flag {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Late, "late"),
        (Self::FutureClamped, "future_clamped"),
        (Self::DupSuspect, "dup_suspect"),
        (Self::UnknownType, "unknown_type"),
        (Self::Partial, "partial"),
        (Self::Range, "range"),
    ];
}

/// A set of [`Flag`]s; prints as their words, comma-separated, in a fixed order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(u8);

impl Flags {
    /// No flag.
    pub const NONE: Self = Self(0);

    /// Adds a flag.
    pub const fn insert(&mut self, flag: Flag) {
        self.0 |= flag as u8;
    }

    /// This set and one more flag.
    #[must_use]
    pub const fn with(self, flag: Flag) -> Self {
        Self(self.0 | flag as u8)
    }

    /// Whether the flag is in the set.
    #[must_use]
    pub const fn contains(self, flag: Flag) -> bool {
        self.0 & flag as u8 != 0
    }

    /// Whether no flag is set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (flag, word) in Flag::ALL {
            if self.contains(flag) {
                write!(f, "{separator}{word}")?;
                separator = ",";
            }
        }
        Ok(())
    }
}

/// Device platforms.
pub const DEVICE_PLATFORMS: [&str; 7] = ["ios", "ipados", "tvos", "macos", "android", "web", "other"];

/// Stream platforms.
pub const STREAM_PLATFORMS: [&str; 14] = [
    "twitch",
    "youtube",
    "rumble",
    "kick",
    "tiktok",
    "instagram",
    "facebook",
    "discord",
    "mixer",
    "dlive",
    "trovo",
    "nimo",
    "bigo",
    "other",
];

/// The stream platform of that name in any case; `other` for a name that is not in the list.
#[must_use]
pub fn stream_platform(name: &str) -> &'static str {
    STREAM_PLATFORMS.into_iter().find(|known| known.eq_ignore_ascii_case(name)).unwrap_or("other")
}

/// Greatest length of a stream id in its one form, characters.
pub const STREAM_ID_CHARS_MAX: usize = 128;

/// A stream id in its one form `{platform}:{channel}`, and its platform. The platform is the prefix if that is a known
/// one, else `stated`, else `other`. `None` for an empty id, or where the form has more than
/// [`STREAM_ID_CHARS_MAX`] characters.
#[must_use]
pub fn stream_identity<'a>(id: &'a str, stated: Option<&str>) -> Option<(Cow<'a, str>, &'static str)> {
    if id.is_empty() {
        return None;
    }
    let (id, platform) = stream_form(id, stated);
    has_at_most_chars(&id, STREAM_ID_CHARS_MAX).then_some((id, platform))
}

fn stream_form<'a>(id: &'a str, stated: Option<&str>) -> (Cow<'a, str>, &'static str) {
    if let Some((prefix, channel)) = id.split_once(':')
        && !channel.is_empty()
        && let Some(platform) = STREAM_PLATFORMS.into_iter().find(|known| known.eq_ignore_ascii_case(prefix))
    {
        let id = if prefix == platform { Cow::Borrowed(id) } else { Cow::Owned(format!("{platform}:{channel}")) };
        return (id, platform);
    }
    let platform = stated.map_or("other", stream_platform);
    (Cow::Owned(format!("{platform}:{id}")), platform)
}

/// Whether a text has at most that many characters; counts them only where its bytes leave room for doubt.
pub(crate) fn has_at_most_chars(text: &str, max_chars: usize) -> bool {
    text.len() <= max_chars || text.chars().count() <= max_chars
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_print_in_a_fixed_order() {
        assert_eq!(Flags::NONE.to_string(), "");
        assert_eq!(Flags::NONE.with(Flag::Range).with(Flag::Late).to_string(), "late,range");
    }

    #[test]
    fn stream_ids_have_one_form() {
        let of = |id, stated| stream_identity(id, stated).map(|(id, platform)| (id.into_owned(), platform));
        assert_eq!(of("twitch:chan0", None), Some(("twitch:chan0".into(), "twitch")));
        assert_eq!(of("chan0", Some("Twitch")), Some(("twitch:chan0".into(), "twitch")));
        assert_eq!(of("Kick:x", Some("twitch")), Some(("kick:x".into(), "kick")));
        assert_eq!(of("abc:def", Some("nowhere")), Some(("other:abc:def".into(), "other")));
        assert_eq!(of("", Some("twitch")), None);
    }

    #[test]
    fn stream_ids_are_measured_in_characters_with_their_platform() {
        let fits = |id: &str, stated| stream_identity(id, stated).is_some();
        let channel = |n_chars| "é".repeat(n_chars);
        assert!(fits(&format!("twitch:{}", channel(121)), None), "128 characters, 249 bytes");
        assert!(!fits(&format!("twitch:{}", channel(122)), None));
        assert!(fits(&channel(121), Some("twitch")), "the platform counts");
        assert!(!fits(&channel(122), Some("twitch")));
        assert!(fits(&channel(122), None), "`other` is one shorter");
        assert!(!fits(&channel(123), None));
    }
}
