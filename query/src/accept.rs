//! Which format a caller accepts (RFC 9110, the parts that clients use).

use axum::http::{HeaderMap, header};
use schemas::Problem;

use crate::output::Format;

const MEDIA_TYPES: [(&str, Format); 8] = [
    ("application/json", Format::Json),
    ("application/x-ndjson", Format::Ndjson),
    ("application/ndjson", Format::Ndjson),
    ("text/csv", Format::Csv),
    ("application/vnd.apache.arrow.stream", Format::Arrow),
    ("application/vnd.apache.parquet", Format::Parquet),
    ("application/*", Format::Json),
    ("*/*", Format::Json),
];
/// How many of them are formats, not patterns.
const NAMED: usize = 6;

/// The format that is wanted most among all `Accept` headers, the first of equals; JSON without any.
pub(crate) fn accepted(headers: &HeaderMap) -> Result<Format, Problem> {
    let mut best: Option<(f32, Format)> = None;
    let mut is_asked = false;
    for value in headers.get_all(header::ACCEPT) {
        is_asked = true;
        for range in value.to_str().unwrap_or_default().split(',') {
            let Some((wanted, format)) = wanted(range) else { continue };
            if wanted > best.map_or(0.0, |(wanted, _)| wanted) {
                best = Some((wanted, format));
            }
        }
    }
    match best {
        Some((_, format)) => Ok(format),
        None if !is_asked => Ok(Format::Json),
        None => {
            let known: Vec<&str> = MEDIA_TYPES[..NAMED].iter().map(|(media_type, _)| *media_type).collect();
            let detail = format!("a result can be {}", known.join(", "));
            Err(Problem::new(406, "not_acceptable", detail).at("accept", "one_of"))
        }
    }
}

/// How much a range is wanted, from 0 (not at all) to 1, and the format of ours that it means.
fn wanted(range: &str) -> Option<(f32, Format)> {
    let mut parts = range.split(';').map(str::trim);
    let media_type = parts.next()?.to_ascii_lowercase();
    let (_, format) = MEDIA_TYPES.iter().find(|(known, _)| *known == media_type)?;
    let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    Some((weight.map_or(Some(1.0), |weight| weight.parse().ok())?, *format))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(values: &[&'static str]) -> Option<Format> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::ACCEPT, axum::http::HeaderValue::from_static(value));
        }
        accepted(&headers).ok()
    }

    #[test]
    fn weights_order_and_repeated_headers_count() {
        assert_eq!(format(&[]), Some(Format::Json));
        assert_eq!(format(&["text/csv, application/json"]), Some(Format::Csv));
        assert_eq!(format(&["text/csv;q=0.5, application/json;q=0.9"]), Some(Format::Json));
        assert_eq!(format(&["text/html", "application/vnd.apache.parquet"]), Some(Format::Parquet));
        assert_eq!(format(&["text/csv;q=0, */*;q=0.1"]), Some(Format::Json));
        assert_eq!(format(&["Application/X-NDJSON; charset=utf-8; q=0.2"]), Some(Format::Ndjson));
        assert_eq!(format(&["text/html"]), None);
        assert_eq!(format(&["text/csv;q=0"]), None);
    }
}
