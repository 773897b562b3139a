//! Cross-origin uploads: players in web pages post to us from any origin.

use axum::extract::Request;
use axum::http::{HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::Response;

/// Everything an upload may carry. CMCD's media type is not a simple one, so browsers ask first.
const ALLOWED_HEADERS: &str = "content-type, authorization, content-encoding, x-api-key, idempotency-key, \
    streamgauge-sent-at, streamgauge-boot-id, streamgauge-sent-mono, CMCD-Request, CMCD-Object, CMCD-Status, CMCD-Session";

/// Lets any page post and read the answers. Uploads carry no cookie, so this opens nothing.
pub(crate) async fn allow_any_origin(request: Request, next: Next) -> Response {
    let is_preflight = request.method() == Method::OPTIONS;
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    if is_preflight {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST, OPTIONS"));
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(ALLOWED_HEADERS));
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    }
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after"));
    response
}
