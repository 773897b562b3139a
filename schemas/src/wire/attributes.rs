//! Rules for single attribute values, shared by the formats.

use std::borrow::Cow;

use crate::event;

/// A UUID in lower case with hyphens; accepts upper case.
pub(super) fn uuid(text: Cow<'_, str>) -> Option<Cow<'_, str>> {
    if text.len() != 36 {
        return None;
    }
    uuid::Uuid::try_parse(&text).ok()?;
    Some(if text.bytes().any(|byte| byte.is_ascii_uppercase()) { Cow::Owned(text.to_ascii_lowercase()) } else { text })
}

/// A text of 1 to `max_chars` characters without control characters.
pub(super) fn opaque(text: Cow<'_, str>, max_chars: usize) -> Option<Cow<'_, str>> {
    let fits = !text.is_empty() && event::has_at_most_chars(&text, max_chars);
    (fits && (is_printed_ascii(&text) || !text.chars().any(char::is_control))).then_some(text)
}

/// Whether all characters are of ASCII, and none is a control character or a space. All bytes are looked at, without a
/// way out: so they are looked at many at a time.
fn is_printed_ascii(text: &str) -> bool {
    text.bytes().fold(true, |is_printed, byte| is_printed & (0x21..0x7f).contains(&byte))
}

/// An event id: 1 to 64 of `[A-Za-z0-9._:-]`.
pub(super) fn event_id(text: Cow<'_, str>) -> Option<Cow<'_, str>> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-');
    ((1..=64).contains(&text.len()) && text.bytes().all(allowed)).then_some(text)
}

/// Greatest length of a kind's name.
const KIND_CHARS_MAX: usize = 64;

/// A kind's name: 1 to 64 of `[a-z0-9_.]`.
pub(super) fn kind_name(text: Cow<'_, str>) -> Option<Cow<'_, str>> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'.');
    ((1..=KIND_CHARS_MAX).contains(&text.len()) && text.bytes().all(allowed)).then_some(text)
}

/// The name of a kind that a foreign name is kept under: in lower case, `_` for other characters, cut to 64.
pub(super) fn as_kind_name(name: &str) -> String {
    let kept = |letter: char| match letter.to_ascii_lowercase() {
        letter @ ('a'..='z' | '0'..='9' | '_' | '.') => letter,
        _ => '_',
    };
    name.chars().take(KIND_CHARS_MAX).map(kept).collect()
}

/// A source: a URI reference of 1 to 128 characters, that is without white space.
pub(super) fn source(text: Cow<'_, str>) -> Option<Cow<'_, str>> {
    opaque(text, 128).filter(|text| is_printed_ascii(text) || !text.chars().any(char::is_whitespace))
}

/// A device platform of the list, in any case.
pub(super) fn device_platform(text: &str) -> Option<&'static str> {
    event::DEVICE_PLATFORMS.into_iter().find(|known| known.eq_ignore_ascii_case(text))
}
