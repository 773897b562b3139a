//! Finding the events in a body without copying them, and without understanding them.

use memchr::{memchr, memchr2};

/// Elements of a JSON array may nest this deep; the parser refuses events beyond 128 levels anyway.
const DEPTH_MAX: usize = 512;

/// Events of one upload at most: what is kept per event beside its bytes (about [`EVENT_COST_BYTES`]) must stay small
/// against a whole body in flight, whatever the body is made of. The largest body of real events has a tenth of it.
pub(crate) const EVENTS_MAX: usize = 100_000;
/// Bytes that one event costs beside its own: slice, item, line of the receipt, key. Counted on a 64-bit machine.
pub(crate) const EVENT_COST_BYTES: usize = 384;

/// What a body is, by its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Nothing but white space.
    Empty,
    /// Begins like an array.
    Array,
    /// Begins like an object.
    Object,
    /// Anything else.
    Other,
}

/// The body without a byte order mark and white space around it, and its shape.
pub(crate) fn shape(body: &[u8]) -> (&[u8], Shape) {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii();
    let shape = match body.first() {
        None => Shape::Empty,
        Some(b'[') => Shape::Array,
        Some(b'{') => Shape::Object,
        Some(_) => Shape::Other,
    };
    (body, shape)
}

/// Whether the body is one JSON object and nothing behind it.
pub(crate) fn is_one_object(body: &[u8]) -> bool {
    value_end(body, 0).is_some_and(|end| body[end..].trim_ascii().is_empty())
}

/// The elements of a JSON array. A torn array gives its whole elements, then the torn rest as one more: `None` if
/// there is no whole element to save. Ends one element beyond [`EVENTS_MAX`].
pub(crate) fn array_elements(body: &[u8]) -> Option<Vec<&[u8]>> {
    let mut elements = Vec::with_capacity((body.len() / 256).min(EVENTS_MAX));
    let mut at = 1;
    loop {
        if elements.len() > EVENTS_MAX {
            return Some(elements);
        }
        at += leading_space(&body[at..]);
        match body.get(at) {
            Some(b']') => {
                return body[at + 1..].trim_ascii().is_empty().then_some(elements);
            }
            Some(b',') if !elements.is_empty() => {
                at += 1;
                at += leading_space(&body[at..]);
                if at == body.len() {
                    return Some(elements);
                }
            }
            None => return (!elements.is_empty()).then_some(elements),
            Some(_) if elements.is_empty() => {}
            // No comma between two elements: what follows cannot be told apart.
            Some(_) => {
                elements.push(&body[at..]);
                return Some(elements);
            }
        }
        match value_end(body, at) {
            Some(end) => {
                elements.push(body[at..end].trim_ascii_end());
                at = end;
            }
            None if elements.is_empty() => return None,
            None => {
                elements.push(&body[at..]);
                return Some(elements);
            }
        }
    }
}

/// The lines of a body that are not empty, without white space around them. Ends one line beyond [`EVENTS_MAX`].
pub(crate) fn lines(body: &[u8]) -> Vec<&[u8]> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let mut lines = Vec::with_capacity((body.len() / 256).min(EVENTS_MAX));
    let mut rest = body;
    while !rest.is_empty() && lines.len() <= EVENTS_MAX {
        let (line, tail) = match memchr(b'\n', rest) {
            Some(end) => (&rest[..end], &rest[end + 1..]),
            None => (rest, &[][..]),
        };
        let line = line.trim_ascii();
        if !line.is_empty() {
            lines.push(line);
        }
        rest = tail;
    }
    lines
}

fn leading_space(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| byte.is_ascii_whitespace()).count()
}

/// Where the value that begins at `at` ends: brackets and quotes are followed, nothing else is understood. `None` if it
/// is torn or nests too deep.
fn value_end(body: &[u8], mut at: usize) -> Option<usize> {
    match body.get(at)? {
        b'{' | b'[' => {}
        b'"' => return string_end(body, at),
        // A number or a word: up to the next separator.
        _ => {
            let end = body[at..].iter().position(|byte| matches!(byte, b',' | b']' | b'}'))?;
            return (end > 0).then_some(at + end);
        }
    }
    let mut depth = 0_usize;
    loop {
        match body.get(at)? {
            b'"' => {
                at = string_end(body, at)?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
        if depth > DEPTH_MAX {
            return None;
        }
    }
}

fn string_end(body: &[u8], at: usize) -> Option<usize> {
    let mut next = at + 1;
    loop {
        let found = next + memchr2(b'"', b'\\', body.get(next..)?)?;
        if body[found] == b'"' {
            return Some(found + 1);
        }
        next = found + 2;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn elements(body: &str) -> Option<Vec<&str>> {
        array_elements(body.as_bytes())
            .map(|elements| elements.into_iter().map(|element| std::str::from_utf8(element).unwrap()).collect())
    }

    #[test]
    fn arrays_are_cut_at_their_commas() {
        assert_eq!(elements("[]"), Some(vec![]));
        assert_eq!(elements("[ ]"), Some(vec![]));
        assert_eq!(
            elements(r#"[{"a":"],[\"}"} , [1,2],"x", 3 ]"#),
            Some(vec![r#"{"a":"],[\"}"}"#, "[1,2]", r#""x""#, "3"])
        );
        // Bad elements are elements all the same.
        assert_eq!(elements(r#"[NaN,{"a":tru}]"#), Some(vec!["NaN", r#"{"a":tru}"#]));
    }

    #[test]
    fn torn_arrays_give_what_is_whole_and_then_the_rest() {
        assert_eq!(elements(r#"[{"a":1},{"b":"#), Some(vec![r#"{"a":1}"#, r#"{"b":"#]));
        assert_eq!(elements(r#"[{"a":1},"#), Some(vec![r#"{"a":1}"#]));
        assert_eq!(elements(r#"[{"a":1}"#), Some(vec![r#"{"a":1}"#]));
        assert_eq!(elements(r#"[{"a":1} {"b":2}]"#), Some(vec![r#"{"a":1}"#, r#"{"b":2}]"#]));
        assert_eq!(elements(r#"[{"a":"#), None);
        assert_eq!(elements("["), None);
        assert_eq!(elements("[] x"), None);
    }

    #[test]
    fn cutting_ends_when_there_are_too_many() {
        let zeros = format!("[{}0]", "0,".repeat(3 * EVENTS_MAX));
        assert_eq!(array_elements(zeros.as_bytes()).unwrap().len(), EVENTS_MAX + 1);
        assert_eq!(lines("a\n".repeat(3 * EVENTS_MAX).as_bytes()).len(), EVENTS_MAX + 1);
    }

    #[test]
    fn lines_are_trimmed_and_empty_ones_left_out() {
        assert_eq!(lines(b"\n a=1 \r\n\nb\n"), [&b"a=1"[..], b"b"]);
        assert_eq!(lines(b""), Vec::<&[u8]>::new());
    }

    #[test]
    fn one_object_is_told_from_lines_of_objects() {
        assert!(is_one_object(b"{\"a\":{\"b\":\"}\"}}\n"));
        assert!(!is_one_object(b"{}\n{}"));
        assert!(!is_one_object(b"{"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_cut_without_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = array_elements(&[b"[".as_slice(), &body].concat());
            let _ = lines(&body);
            let _ = is_one_object(&body);
        }

        #[test]
        fn what_a_serializer_writes_comes_back(values in prop::collection::vec("[ -~]{0,12}", 1..8)) {
            let array = serde_json::to_string(&values.iter().map(|value| serde_json::json!({"v": value})).collect::<Vec<_>>()).unwrap();
            let cut = elements(&array).unwrap();
            prop_assert_eq!(cut.len(), values.len());
            for (element, value) in cut.iter().zip(&values) {
                let read: serde_json::Value = serde_json::from_str(element).unwrap();
                prop_assert_eq!(read["v"].as_str(), Some(value.as_str()));
            }
        }
    }
}
