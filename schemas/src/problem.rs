//! HTTP errors as `application/problem+json` (RFC 9457) with a stable `code`.

use std::borrow::Cow;

use serde::Serialize;

/// An error answer. `code` is stable; `detail` is for people and never shows internals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// `urn:streamgauge:problem:{code}`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: &'static str,
    /// The HTTP status code.
    pub status: u16,
    /// What went wrong, with the value and the rule.
    pub detail: Cow<'static, str>,
    /// Stable and snake_case.
    pub code: &'static str,
    /// The places that broke a rule.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Fault>,
    /// For 429 and 503: whole seconds until a retry makes sense.
    #[serde(skip)]
    pub retry_after_s: Option<u32>,
}

/// One place that broke a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// A JSON pointer, a query parameter or a header.
    pub pointer: Cow<'static, str>,
    /// Stable and snake_case.
    pub rule: &'static str,
}

impl Problem {
    /// An error answer with this status, code and detail.
    #[must_use]
    pub fn new(status: u16, code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind: format!("urn:streamgauge:problem:{code}"),
            title: title(status),
            status,
            detail: detail.into(),
            code,
            errors: Vec::new(),
            retry_after_s: None,
        }
    }

    /// Names a place that broke a rule.
    #[must_use]
    pub fn at(mut self, pointer: impl Into<Cow<'static, str>>, rule: &'static str) -> Self {
        self.errors.push(Fault { pointer: pointer.into(), rule });
        self
    }

    /// Tells the caller when to come back.
    #[must_use]
    pub const fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }
}

const fn title(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        507 => "Insufficient Storage",
        _ => "Internal Server Error",
    }
}
