//! The shape of answers: data with what it stands for, or a problem.

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemas::{Problem, Timestamp};
use serde::Serialize;
use warehouse::{CommitId, ReadError};

/// What an answer stands for.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Meta {
    /// The commit it was read at.
    #[serde(serialize_with = "number")]
    pub(crate) commit: CommitId,
    /// Everything that arrived before this is in it; null while nothing can be said.
    pub(crate) complete_through: Option<Timestamp>,
    /// Now minus that, ms.
    pub(crate) lag_ms: Option<i64>,
    /// Whether its numbers are exact.
    pub(crate) exact: bool,
    /// Else by how much they may be off, relatively.
    pub(crate) rel_error: f64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn number<S: serde::Serializer>(commit: &CommitId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_i64(commit.0)
}

impl Meta {
    /// For an answer whose numbers may be off by this, relatively.
    pub(crate) fn within(self, rel_error: f64) -> Self {
        Self { exact: false, rel_error, ..self }
    }

    /// The same facts as headers, for answers whose body has a shape of its own.
    pub(crate) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("streamgauge-commit", self.commit.0.into());
        if let Some(through) = self.complete_through
            && let Ok(value) = HeaderValue::from_str(&through.to_string())
        {
            headers.insert("streamgauge-complete-through", value);
        }
        if let Some(lag_ms) = self.lag_ms {
            headers.insert("streamgauge-lag-ms", lag_ms.into());
        }
        if !self.exact
            && let Ok(value) = HeaderValue::from_str(&self.rel_error.to_string())
        {
            headers.insert("streamgauge-rel-error", value);
        }
        headers
    }
}

/// `{"data": .., "meta": {..}}`.
#[derive(Debug, Serialize)]
pub(crate) struct Answer<T> {
    pub(crate) data: T,
    pub(crate) meta: Meta,
    /// Where the list goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_cursor: Option<String>,
}

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        (self.meta.headers(), Json(self)).into_response()
    }
}

/// A refusal, on its way to the caller.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) Problem);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.detail)
    }
}

/// A table that the engine reads may refuse, too: the refusal passes through it.
impl std::error::Error for Refused {}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<ReadError> for Refused {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::NoSuchCommit { commit, oldest, newest } => Self(
                Problem::new(
                    404,
                    "no_such_commit",
                    format!("commit {commit} does not exist or has expired; {oldest} to {newest} can be read"),
                )
                .at("as_of", "known_commit"),
            ),
            error @ (ReadError::Database(_) | ReadError::Lake(_) | ReadError::OtherLog { .. }) => {
                tracing::error!(error = %error, "the warehouse database could not be read");
                Self(Problem::new(503, "warehouse_unavailable", "the warehouse cannot be read now").retry_after(2))
            }
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Self(problem) = self;
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after = problem.retry_after_s;
        let mut response = (status, Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}
