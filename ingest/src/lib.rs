//! Ingest: HTTP in, log out. Answers 2xx only after every event of an upload is durable in the log.
//!
//! The path of an upload: [`quota`] asks whether its project may post, [`admission`] takes its bytes from one budget,
//! [`body`] reads it against the clock, [`encoding`] inflates it up to a cap, [`split`] finds the events in it without
//! copying, [`upload`] judges each (`schemas::validate`), groups them into log records, appends, and writes the receipt.
//!
//! Invariants:
//!
//! - one bad event never fails its upload: it is quarantined, and the others are taken;
//! - what is not decodable at all is refused as a whole, with the rule it breaks, after it has been read;
//! - every refusal for load is 429 or 503 with `Retry-After`; nothing queues without a bound.
//!
//! It has no store, verifies no credential (a [`schemas::Principal`] comes with the request), and never asks what was
//! stored before: copies are the processor's business.

mod admission;
mod body;
mod cors;
mod encoding;
mod metrics;
mod quota;
mod routes;
mod split;
mod ticker;
mod upload;

use std::sync::Arc;
use std::time::Duration;

use event_log::EventLog;
use schemas::Timestamp;
use schemas::time::Now;

pub use body::{BodyLimits, drain};
pub use metrics::IngestMetrics;
pub use quota::{Quota, QuotaPolicy, Spent};
pub use routes::{UPLOAD_PATHS, refuse, router};
pub use ticker::tick;

use admission::Budget;
use quota::Quotas;

/// When the headers of a request had arrived, by the server's clock. A request extension, set by the program.
#[derive(Debug, Clone, Copy)]
pub struct ReceivedAt(pub Timestamp);

/// Limits of ingest.
#[derive(Debug, Clone)]
pub struct IngestConfig {
    /// A body as sent may have this many bytes.
    pub max_body_bytes: usize,
    /// And this many after inflation.
    pub max_decoded_bytes: usize,
    /// Bytes of all bodies in flight together; beyond it uploads are answered 503.
    pub max_in_flight_bytes: usize,
    /// A body must be complete within this, whatever its size and rate.
    pub body_deadline: Duration,
    /// How often a tick is appended to every partition.
    pub tick_interval: Duration,
    /// How many events a project may post.
    pub quotas: QuotaPolicy,
}

impl IngestConfig {
    /// Those of a body as it is sent.
    #[must_use]
    pub const fn body_limits(&self) -> BodyLimits {
        BodyLimits { max_bytes: self.max_body_bytes, deadline: self.body_deadline }
    }
}

impl Default for IngestConfig {
    fn default() -> Self {
        Self {
            max_body_bytes: 16 << 20,
            max_decoded_bytes: 32 << 20,
            max_in_flight_bytes: 128 << 20,
            body_deadline: Duration::from_secs(60),
            tick_interval: Duration::from_secs(2),
            quotas: QuotaPolicy::default(),
        }
    }
}

/// What all requests share.
#[derive(Debug, Clone)]
pub struct Ingest {
    shared: Arc<Shared>,
}

struct Shared {
    log: Arc<dyn EventLog>,
    config: IngestConfig,
    budget: Budget,
    quotas: Quotas,
    metrics: IngestMetrics,
    now: Now,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("log", &self.log).field("config", &self.config).finish_non_exhaustive()
    }
}

impl Ingest {
    /// Ingest into `log`. `now` is the server's clock: it stamps the records.
    #[must_use]
    pub fn new(log: Arc<dyn EventLog>, config: IngestConfig, metrics: IngestMetrics, now: Now) -> Self {
        let budget = Budget::new(config.max_in_flight_bytes);
        let quotas = Quotas::new(config.quotas.clone());
        Self { shared: Arc::new(Shared { log, config, budget, quotas, metrics, now }) }
    }
}
