//! The quick way through an object: one pass over its bytes, without a parser's state.
//!
//! Nearly all values of events are texts without escapes, whole numbers, truth values and null. These are read here;
//! any other value is left to the general parser, which tells where it ends. What breaks a rule only ends the pass: the
//! slow way says which rule it was.

use std::borrow::Cow;

use super::{Scalar, Value};

/// A place in the text of one object.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    text: &'a str,
    at: usize,
    is_begun: bool,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self { text, at: 0, is_begun: false }
    }

    /// The next member, its value as text if it is named so; `Some(None)` behind the last one. `None` where the text is
    /// not one object.
    #[expect(clippy::option_option, reason = "the inner one is that of an iterator")]
    pub(super) fn member(&mut self, is_text: fn(&str) -> bool) -> Option<Option<(Cow<'a, str>, Value<'a>)>> {
        self.skip_space();
        let is_over = if self.is_begun {
            match self.next()? {
                b',' => false,
                b'}' => true,
                _ => return None,
            }
        } else {
            self.token(b'{')?;
            self.is_begun = true;
            self.skip_space();
            let is_empty = self.peek()? == b'}';
            self.at += usize::from(is_empty);
            is_empty
        };
        self.skip_space();
        if is_over {
            return (self.at == self.text.len()).then_some(None);
        }
        let name = self.string()?;
        self.skip_space();
        self.token(b':')?;
        self.skip_space();
        let value = if is_text(&name) { Value::Text(self.extent()?) } else { Value::Scalar(self.scalar()?) };
        Some(Some((name, value)))
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn token(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    fn scalar(&mut self) -> Option<Scalar<'a>> {
        match self.peek()? {
            b'"' => self.string().map(Scalar::Text),
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.word("true", Scalar::Bool(true)),
            b'f' => self.word("false", Scalar::Bool(false)),
            b'n' => self.word("null", Scalar::Null),
            _ => self.general(),
        }
    }

    fn word(&mut self, word: &str, value: Scalar<'a>) -> Option<Scalar<'a>> {
        self.text.as_bytes()[self.at..].starts_with(word.as_bytes()).then(|| {
            self.at += word.len();
            value
        })
    }

    /// A text, borrowed if it has no escape.
    fn string(&mut self) -> Option<Cow<'a, str>> {
        let bytes = self.text.as_bytes();
        if self.peek()? == b'"' {
            let begin = self.at + 1;
            let end = begin + plain_bytes(&bytes[begin..]);
            if bytes.get(end) == Some(&b'"') {
                self.at = end + 1;
                return self.text.get(begin..end).map(Cow::Borrowed);
            }
        }
        self.general()?.text()
    }

    /// A number: whole ones of at most 18 digits here.
    fn number(&mut self) -> Option<Scalar<'a>> {
        const MOST_DIGITS: usize = 18;
        let bytes = &self.text.as_bytes()[self.at..];
        let is_negative = bytes[0] == b'-';
        let digits = &bytes[usize::from(is_negative)..];
        let (mut value, mut length) = (0_i64, 0);
        while let Some(digit) = digits.get(length).filter(|byte| byte.is_ascii_digit()) {
            if length == MOST_DIGITS {
                return self.general();
            }
            value = value * 10 + i64::from(digit - b'0');
            length += 1;
        }
        let begins_with_zero = digits.first() == Some(&b'0');
        let is_plain = match length {
            0 => false,
            // The parser keeps the sign of a zero.
            1 => !(begins_with_zero && is_negative),
            _ => !begins_with_zero,
        };
        if !is_plain || matches!(digits.get(length), Some(b'.' | b'e' | b'E')) {
            return self.general();
        }
        self.at += length + usize::from(is_negative);
        Some(Scalar::Int(if is_negative { -value } else { value }))
    }

    /// Any value, by the general parser.
    fn general(&mut self) -> Option<Scalar<'a>> {
        let mut values = serde_json::Deserializer::from_str(self.text.get(self.at..)?).into_iter::<Scalar<'a>>();
        let value = values.next()?.ok()?;
        self.at += values.byte_offset();
        Some(value)
    }

    /// The text of a value. Of arrays and objects only brackets and quotes are looked at.
    fn extent(&mut self) -> Option<&'a str> {
        let begin = self.at;
        if !matches!(self.peek()?, b'{' | b'[') {
            self.scalar()?;
            return self.text.get(begin..self.at);
        }
        let mut depth = 0_usize;
        loop {
            match self.next()? {
                b'"' => self.skip_string()?,
                b'{' | b'[' => depth += 1,
                b'}' | b']' => {
                    depth -= 1;
                    if depth == 0 {
                        return self.text.get(begin..self.at);
                    }
                }
                _ => {}
            }
        }
    }

    /// From behind the first quote of a text to behind its last one.
    fn skip_string(&mut self) -> Option<()> {
        loop {
            self.at += plain_bytes(&self.text.as_bytes()[self.at..]);
            match self.next()? {
                b'"' => return Some(()),
                b'\\' => _ = self.next()?,
                _ => return None,
            }
        }
    }
}

/// How many bytes stand before the first quote, escape or control character. Eight at a time: a byte that is wanted is
/// the first whose high bit a subtraction sets.
fn plain_bytes(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH_BITS: u64 = ONES << 7;
    const BELOW_SPACE: u64 = ONES * 0x20;
    let mut at = 0;
    while let Some(eight) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*eight);
        let (quote, escape) = (word ^ (ONES * 0x22), word ^ (ONES * 0x5c));
        let found = (quote.wrapping_sub(ONES) & !quote)
            | (escape.wrapping_sub(ONES) & !escape)
            | (word.wrapping_sub(BELOW_SPACE) & !word);
        if found & HIGH_BITS != 0 {
            return at + (found & HIGH_BITS).trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let is_plain = |byte: &&u8| **byte >= b' ' && **byte != b'"' && **byte != b'\\';
    at + bytes[at..].iter().take_while(is_plain).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn plain_bytes_end_where_a_byte_is_not_plain(bytes in prop::collection::vec(any::<u8>(), 0..40), plain in 0..40_usize) {
            let bytes: Vec<u8> = std::iter::repeat_n(b'\xe9', plain).chain(bytes).collect();
            let wanted = bytes.iter().position(|byte| *byte < 0x20 || *byte == b'"' || *byte == b'\\');
            prop_assert_eq!(plain_bytes(&bytes), wanted.unwrap_or(bytes.len()));
        }
    }
}
