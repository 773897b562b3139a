//! The upload endpoints.

use std::time::Instant;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router, middleware};
use bytes::Bytes;
use event_log::AppendError;
use schemas::receipt::Receipt;
use schemas::record::Fact;
use schemas::{Principal, Problem, Timestamp, Wire};
use uuid::Uuid;

use crate::admission::Reservation;
use crate::body::{self, BodyError};
use crate::encoding::{Encoding, InflateError};
use crate::quota::Spent;
use crate::split::{self, EVENT_COST_BYTES, EVENTS_MAX, Shape};
use crate::upload::Envelope;
use crate::{Ingest, ReceivedAt, cors};

/// Paths that take uploads.
pub const UPLOAD_PATHS: [&str; 5] =
    ["/v1/events", "/api/v1/analytics", "/api/v1/errors", "/cmcd/event-mode", "/cmcd/v2/events"];

/// The routes of ingest. Each request must bring a [`Principal`] and a [`ReceivedAt`] as extensions.
pub fn router(ingest: Ingest) -> Router {
    Router::new()
        .route("/v1/events", post(events).options(preflight))
        .route("/api/v1/analytics", post(analytics).options(preflight))
        .route("/api/v1/errors", post(error_reports).options(preflight))
        .route("/cmcd/event-mode", post(cmcd).options(preflight))
        .route("/cmcd/v2/events", post(cmcd).options(preflight))
        .route_layer(middleware::from_fn(cors::allow_any_origin))
        .with_state(ingest)
}

/// A browser asks whether its page may post; what it may is added to every answer.
async fn preflight() -> StatusCode {
    StatusCode::NO_CONTENT
}

type Caller = (Extension<Principal>, Extension<ReceivedAt>);

/// What is posted to.
#[derive(Debug, Clone, Copy)]
enum Door {
    /// CloudEvents: a batch, one event, binary mode, or one event per line.
    Events,
    /// The app's analytics feed: an array of events.
    Analytics,
    /// The app's error feed: an array of reports.
    Errors,
    /// CMCD version 2, event mode: one record per line.
    Cmcd,
}

async fn events(State(ingest): State<Ingest>, caller: Caller, headers: HeaderMap, body: Body) -> Response {
    match take(&ingest, &caller, &headers, body, Door::Events).await {
        Ok(receipt) => (StatusCode::ACCEPTED, Json(receipt)).into_response(),
        Err(problem) => refuse(problem),
    }
}

async fn analytics(State(ingest): State<Ingest>, caller: Caller, headers: HeaderMap, body: Body) -> Response {
    match take(&ingest, &caller, &headers, body, Door::Analytics).await {
        Ok(receipt) => Json(receipt).into_response(),
        Err(problem) => refuse(problem),
    }
}

async fn error_reports(State(ingest): State<Ingest>, caller: Caller, headers: HeaderMap, body: Body) -> Response {
    match take(&ingest, &caller, &headers, body, Door::Errors).await {
        Ok(receipt) => Json(receipt).into_response(),
        Err(problem) => refuse(problem),
    }
}

async fn cmcd(State(ingest): State<Ingest>, caller: Caller, headers: HeaderMap, body: Body) -> Response {
    match take(&ingest, &caller, &headers, body, Door::Cmcd).await {
        Ok(_) => StatusCode::NO_CONTENT.into_response(),
        Err(problem) => refuse(problem),
    }
}

/// A problem as an answer.
pub fn refuse(problem: Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let retry_after = problem.retry_after_s;
    // The rest of a body that was not read to its end stands in the way of the next request.
    let is_unread = matches!(problem.code, "body_too_large" | "body_too_slow" | "body_broken");
    let mut response = (status, Json(problem)).into_response();
    let headers = response.headers_mut();
    if is_unread {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if let Some(seconds) = retry_after {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// Wire format and events of a body.
type Cut<'a> = Result<(Wire, Vec<&'a [u8]>), Refusal>;

/// What all uploads have in common.
async fn take(
    ingest: &Ingest,
    (Extension(principal), Extension(received_at)): &Caller,
    headers: &HeaderMap,
    body: Body,
    door: Door,
) -> Result<Receipt, Problem> {
    let started = Instant::now();
    let shared = &ingest.shared;
    let mut reservation = shared.budget.reserve();
    let refused = |refusal: Refusal| {
        shared.metrics.count_refusal(refusal.reason());
        refusal.problem(ingest)
    };
    if let Err(spent) = shared.quotas.take(&principal.project, 0, started) {
        body::drain(body, shared.config.body_limits()).await;
        return Err(refused(Refusal::Quota(spent)));
    }
    let body = read_decoded(ingest, headers, body, &mut reservation).await.map_err(refused)?;
    let used = i64::try_from(shared.budget.used_bytes()).unwrap_or(i64::MAX);
    shared.metrics.in_flight_bytes.set(used);
    let (wire, events) = door.cut(headers, &body).map_err(refused)?;
    if events.len() > EVENTS_MAX {
        return Err(refused(Refusal::TooManyEvents));
    }
    let taken = shared.quotas.take(&principal.project, events.len(), Instant::now());
    taken.map_err(|spent| refused(Refusal::Quota(spent)))?;
    reservation.grow(events.len() * EVENT_COST_BYTES).map_err(|_| refused(Refusal::Overloaded))?;
    let facts = facts(wire, headers);
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let envelope = Envelope {
        principal,
        wire,
        received_at: received_at.0,
        batch_id: text("idempotency-key").filter(|key| is_batch_id(key)).map_or_else(new_batch_id, str::to_owned),
        sent_at: text("streamgauge-sent-at").and_then(Timestamp::parse_rfc3339),
        boot_id: text("streamgauge-boot-id").filter(|boot_id| (1..=64).contains(&boot_id.len())),
        sent_mono_ms: text("streamgauge-sent-mono").and_then(|ms| ms.parse().ok()),
        facts,
    };
    let receipt = ingest.take(&envelope, &events).await.map_err(|error| refused(error.into()))?;
    shared.metrics.request_duration_seconds.observe(started.elapsed().as_secs_f64());
    Ok(receipt)
}

/// A name for the batch: what a sender may choose, so that it can ask for it later.
fn is_batch_id(key: &str) -> bool {
    (1..=64).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/')
}

fn new_batch_id() -> String {
    Uuid::now_v7().to_string()
}

fn facts(wire: Wire, headers: &HeaderMap) -> Vec<Fact<'_>> {
    let kept = headers.iter().filter(|(name, _)| wire.keeps_header(name.as_str()));
    kept.filter_map(|(name, value)| Some(Fact { name: name.as_str(), value: value.to_str().ok()? })).collect()
}

async fn read_decoded(
    ingest: &Ingest,
    headers: &HeaderMap,
    body: Body,
    reservation: &mut Reservation,
) -> Result<Bytes, Refusal> {
    let config = &ingest.shared.config;
    let limits = config.body_limits();
    let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
    let coding = codings.next().map_or(Some(""), |value| value.to_str().ok());
    let encoding = coding.filter(|_| codings.next().is_none()).and_then(Encoding::parse);
    let Some(encoding) = encoding else {
        body::drain(body, limits).await;
        return Err(Refusal::UnsupportedEncoding);
    };
    let encoded = body::read(body, limits, reservation).await?;
    ingest.shared.metrics.received_bytes.inc_by(encoded.len() as u64);
    let max_bytes = config.max_decoded_bytes;
    // A large body would keep a worker from its other connections.
    let inflated = if encoding != Encoding::Identity && encoded.len() > 256 * 1024 {
        tokio::task::block_in_place(|| encoding.inflate(encoded, max_bytes, reservation))
    } else {
        encoding.inflate(encoded, max_bytes, reservation)
    };
    inflated.map_err(|error| match error {
        InflateError::TooLarge => Refusal::TooLarge,
        InflateError::Corrupt => Refusal::CorruptEncoding(encoding),
        InflateError::Overloaded => Refusal::Overloaded,
    })
}

impl Door {
    fn cut<'a>(self, headers: &HeaderMap, body: &'a [u8]) -> Cut<'a> {
        match self {
            Self::Events => cut_cloudevents(headers, body),
            Self::Analytics => cut_legacy(Wire::StreamyyyAnalytics, body),
            // The app sends a body again for ever unless it reads exactly 200, so any body is taken: what cannot be
            // read is one quarantined event.
            Self::Errors => cut_legacy(Wire::StreamyyyErrors, body).or(Ok((Wire::StreamyyyErrors, vec![body]))),
            Self::Cmcd => Ok((Wire::Cmcd2, split::lines(body))),
        }
    }
}

/// Senders label their bodies wrongly or not at all, so the body's own shape decides where it can.
fn cut_cloudevents<'a>(headers: &HeaderMap, body: &'a [u8]) -> Cut<'a> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let media_type = content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    let is_binary = headers.keys().any(|name| name.as_str().starts_with("ce-"));
    if is_binary && !media_type.starts_with("application/cloudevents") {
        return Ok((Wire::CloudeventsBinary, vec![body]));
    }
    let is_lines = matches!(media_type.as_str(), "application/x-ndjson" | "application/ndjson" | "application/jsonl");
    let (trimmed, shape) = split::shape(body);
    let events = match shape {
        Shape::Empty => return Err(Refusal::Empty),
        _ if is_lines => split::lines(body),
        Shape::Array => split::array_elements(trimmed).ok_or(Refusal::Undecodable)?,
        Shape::Object if split::is_one_object(trimmed) => vec![trimmed],
        Shape::Object if memchr::memchr(b'\n', trimmed).is_some() => split::lines(trimmed),
        Shape::Object | Shape::Other => return Err(Refusal::Undecodable),
    };
    Ok((Wire::Cloudevents, events))
}

fn cut_legacy(wire: Wire, body: &[u8]) -> Cut<'_> {
    let (trimmed, shape) = split::shape(body);
    let events = match shape {
        Shape::Empty => return Err(Refusal::Empty),
        Shape::Array => split::array_elements(trimmed).ok_or(Refusal::Undecodable)?,
        Shape::Object => vec![trimmed],
        Shape::Other if serde_json::from_slice::<serde_json::Value>(trimmed).is_ok() => vec![trimmed],
        Shape::Other => return Err(Refusal::Undecodable),
    };
    Ok((wire, events))
}

/// Why an upload is refused as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Refusal {
    Quota(Spent),
    Empty,
    Undecodable,
    TooLarge,
    TooManyEvents,
    TooSlow,
    Broken,
    Overloaded,
    UnsupportedEncoding,
    CorruptEncoding(Encoding),
    Log(AppendError),
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge => Self::TooLarge,
            BodyError::TooSlow => Self::TooSlow,
            BodyError::Broken => Self::Broken,
            BodyError::Overloaded => Self::Overloaded,
        }
    }
}

impl From<AppendError> for Refusal {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Overloaded => Self::Overloaded,
            error => Self::Log(error),
        }
    }
}

impl Refusal {
    const fn reason(&self) -> &'static str {
        match self {
            Self::Quota(_) => "quota",
            Self::Empty => "empty",
            Self::Undecodable => "undecodable",
            Self::TooLarge | Self::TooManyEvents => "too_large",
            Self::TooSlow => "too_slow",
            Self::Broken => "broken",
            Self::Overloaded => "overloaded",
            Self::UnsupportedEncoding => "unsupported_encoding",
            Self::CorruptEncoding(_) => "corrupt_encoding",
            Self::Log(_) => "log_unavailable",
        }
    }

    fn problem(&self, ingest: &Ingest) -> Problem {
        let config = &ingest.shared.config;
        match self {
            Self::Quota(Spent { retry_after_s }) => {
                Problem::new(429, "project_quota", "the project posts more events than its quota allows, try again")
                    .retry_after(*retry_after_s)
            }
            Self::Empty => Problem::new(400, "empty_body", "the body is empty").at("/", "not_empty"),
            Self::Undecodable => Problem::new(
                400,
                "undecodable_body",
                "the body is neither a JSON array, a JSON object nor lines of JSON objects",
            )
            .at("/", "json"),
            Self::TooLarge => Problem::new(
                413,
                "body_too_large",
                format!(
                    "a body may have {} bytes as sent and {} bytes after inflation",
                    config.max_body_bytes, config.max_decoded_bytes
                ),
            )
            .at("/", "max_bytes"),
            Self::TooManyEvents => Problem::new(413, "too_many_events", format!("a body may have {EVENTS_MAX} events"))
                .at("/", "max_events"),
            Self::TooSlow => Problem::new(408, "body_too_slow", "the body did not arrive in time").at("/", "deadline"),
            Self::Broken => Problem::new(400, "body_broken", "the body ended before its length").at("/", "complete"),
            Self::Overloaded => Problem::new(503, "overloaded", "too much is in flight, try again").retry_after(1),
            Self::UnsupportedEncoding => {
                Problem::new(415, "unsupported_encoding", "at most one of gzip, deflate, br, zstd can be undone")
                    .at("content-encoding", "one_of")
            }
            Self::CorruptEncoding(encoding) => {
                Problem::new(400, "corrupt_encoding", format!("the body is not {}, or was cut off", encoding.name()))
                    .at("content-encoding", "complete")
            }
            // What the disk or the broker said is for the operator; the log itself has told it.
            Self::Log(AppendError::TooLarge { .. }) => {
                Problem::new(413, "event_too_large", "an event is too large for the log")
            }
            Self::Log(_) => {
                Problem::new(503, "log_unavailable", "the log cannot take events now, try again").retry_after(5)
            }
        }
    }
}
