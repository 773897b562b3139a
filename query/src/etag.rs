//! Entity tags: they change when, and only when, the data of an answer do. The commit that an answer names is no data.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use xxhash_rust::xxh3::xxh3_128;

/// The tag of data as they are written. Weak (RFC 9110, 8.8.3): the answer around them names its own commit.
pub(crate) fn of(data: &[u8]) -> HeaderValue {
    let tag = format!("W/\"{:032x}\"", xxh3_128(data));
    HeaderValue::from_str(&tag).unwrap_or_else(|_| HeaderValue::from_static("W/\"\""))
}

/// The answer with its tag; 304 without a body if the caller has these data already.
pub(crate) fn answer(asked: &HeaderMap, tag: HeaderValue, mut headers: HeaderMap, full: impl IntoResponse) -> Response {
    let known = asked.get(header::IF_NONE_MATCH).and_then(|known| known.to_str().ok()).unwrap_or_default();
    let has_it = known.split(',').map(str::trim).any(|known| known == "*" || known.as_bytes() == tag.as_bytes());
    headers.insert(header::ETAG, tag);
    if has_it { (StatusCode::NOT_MODIFIED, headers).into_response() } else { (headers, full).into_response() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_the_data_gets_none() {
        let tag = of(b"[1]");
        assert_ne!(tag, of(b"[2]"));
        let status = |known: &str| {
            let asked = HeaderMap::from_iter([(header::IF_NONE_MATCH, HeaderValue::from_str(known).unwrap())]);
            answer(&asked, tag.clone(), HeaderMap::new(), "[1]").status()
        };
        let tag = tag.to_str().unwrap();
        assert_eq!(status(tag), StatusCode::NOT_MODIFIED);
        assert_eq!(status(&format!("W/\"0\", {tag}")), StatusCode::NOT_MODIFIED);
        assert_eq!(status("*"), StatusCode::NOT_MODIFIED);
        assert_eq!(status("W/\"0\""), StatusCode::OK);
    }
}
