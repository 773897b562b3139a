//! The edge that every request passes: draining, arrival time, authentication, body limits of refusals.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use ingest::{BodyLimits, ReceivedAt, UPLOAD_PATHS, drain};
use prometheus::{IntCounterVec, Opts, Registry};
use schemas::{Problem, Timestamp};

use super::Authentication;
use crate::clock::Clock;

/// What the edge needs.
#[derive(Debug, Clone)]
pub(crate) struct Edge {
    pub(crate) authentication: Arc<Authentication>,
    pub(crate) clock: Clock,
    pub(crate) draining: Arc<AtomicBool>,
    pub(crate) body_limits: BodyLimits,
    pub(crate) metrics: EdgeMetrics,
}

/// What the edge tells about itself.
#[derive(Debug, Clone)]
pub(crate) struct EdgeMetrics {
    refused: IntCounterVec,
}

/// Why the edge refuses requests: the codes of its problems.
const REFUSALS: [&str; 6] =
    ["draining", "unauthorized", "project_mismatch", "keyless_quota", "no_such_path", "method_not_allowed"];

impl EdgeMetrics {
    /// Registers all metrics, zero from the start.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let help = "Requests refused before they reached a role, by code.";
        let refused = IntCounterVec::new(Opts::new("streamgauge_edge_refused_total", help), &["code"])?;
        registry.register(Box::new(refused.clone()))?;
        for code in REFUSALS {
            refused.with_label_values(&[code]).reset();
        }
        Ok(Self { refused })
    }
}

/// With the test clock, when the request arrived.
const TEST_RECEIVED_AT: &str = "streamgauge-test-received-at";

/// Puts a [`schemas::Principal`] and a [`ReceivedAt`] into the request, or answers it.
pub(crate) async fn authenticate(State(edge): State<Edge>, mut request: Request, next: Next) -> Response {
    let received_at = arrival(&edge.clock, request.headers());
    if edge.draining.load(Ordering::Acquire) {
        let problem = Problem::new(503, "draining", "the server is about to stop, try again").retry_after(1);
        return refuse(&edge, problem, request).await;
    }
    // A preflight carries no credential.
    if request.method() == Method::OPTIONS {
        return next.run(request).await;
    }
    let path = request.uri().path();
    let query = Query::<HashMap<String, String>>::try_from_uri(request.uri()).map(|query| query.0).unwrap_or_default();
    let authentication = &edge.authentication;
    let is_upload = request.method() == Method::POST && UPLOAD_PATHS.contains(&path);
    let principal = if is_upload {
        authentication.uploader(request.headers(), &query, path.starts_with("/api/v1/")).await
    } else {
        authentication.reader(request.headers(), &query, path.starts_with("/v1/batches/")).await
    };
    match principal {
        Ok(principal) => {
            request.extensions_mut().insert(principal);
            request.extensions_mut().insert(ReceivedAt(received_at));
            next.run(request).await
        }
        Err(problem) => refuse(&edge, problem, request).await,
    }
}

fn arrival(clock: &Clock, headers: &HeaderMap) -> Timestamp {
    let said = headers.get(TEST_RECEIVED_AT).filter(|_| clock.is_test());
    match said.and_then(|value| Timestamp::parse_rfc3339(value.to_str().ok()?)) {
        Some(at) => {
            clock.advance(at);
            at
        }
        None => clock.now(),
    }
}

/// Answers after the body has been read, so that the sender sees the answer.
async fn refuse(edge: &Edge, problem: Problem, request: Request) -> Response {
    debug_assert!(REFUSALS.contains(&problem.code), "{}", problem.code);
    edge.metrics.refused.with_label_values(&[problem.code]).inc();
    drain(request.into_body(), edge.body_limits).await;
    let mut response = ingest::refuse(problem);
    let is_unauthorized = response.status() == StatusCode::UNAUTHORIZED;
    let headers = response.headers_mut();
    // Players in web pages must be able to read why, and when to come back.
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after"));
    if is_unauthorized {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// No route has this path.
pub(crate) async fn no_route(State(edge): State<Edge>, request: Request) -> Response {
    let problem = Problem::new(404, "no_such_path", "there is nothing at this path");
    refuse(&edge, problem, request).await
}

/// The path has no such method.
pub(crate) async fn no_method(State(edge): State<Edge>, request: Request) -> Response {
    let problem = Problem::new(405, "method_not_allowed", "this path does not take this method");
    refuse(&edge, problem, request).await
}
