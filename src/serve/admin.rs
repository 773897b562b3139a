//! The admin port: is it alive, is it ready, what does it count.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use event_log::{EventLog, records_behind};
use processor::{EVENTS_TOPIC, ProcessorMetrics};
use prometheus::{Encoder, Gauge, IntCounter, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};
use schemas::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use warehouse::Warehouse;

use super::role::Role;
use super::startup::Parts;
use crate::clock::Clock;
use crate::config::Config;
use crate::disk::DiskMetrics;

/// Committed log time may be this far behind before the processor counts as not ready: ticks come every few seconds.
const READY_AGE: Duration = Duration::from_secs(30);

/// What the admin port looks at.
#[derive(Clone)]
pub(super) struct AdminState {
    role: Role,
    log: Option<Arc<dyn EventLog>>,
    warehouse: Warehouse,
    registry: Registry,
    processor: ProcessorMetrics,
    log_metrics: Arc<LogMetrics>,
    /// What the clock says at a scrape.
    time: Gauge,
    disk: Arc<DiskMetrics>,
    draining: Arc<AtomicBool>,
    clock: Clock,
    retention: Duration,
    /// When this process began to look.
    begun: Timestamp,
    /// What was committed through when the warehouse could be read last.
    through: Arc<Mutex<Option<Timestamp>>>,
}

/// The log's figures as metrics, taken over at each scrape.
struct LogMetrics {
    appended_records: IntCounter,
    appended_bytes: IntCounter,
    flushes: IntCounter,
    flush_us: IntCounter,
    queued_bytes: IntGauge,
    read_only: IntGauge,
    retention: Gauge,
    retention_headroom: Gauge,
    lag: IntGaugeVec,
    /// Has values only where there are brokers.
    brokers: IntGaugeVec,
}

impl LogMetrics {
    fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            appended_records: IntCounter::new("streamgauge_log_appended_records_total", "Records made durable.")?,
            appended_bytes: IntCounter::new("streamgauge_log_appended_bytes_total", "Bytes of these records.")?,
            flushes: IntCounter::new(
                "streamgauge_log_flushes_total",
                "Groups of appends made durable by one flush each.",
            )?,
            flush_us: IntCounter::new("streamgauge_log_flush_microseconds_total", "Time spent in these groups.")?,
            queued_bytes: IntGauge::new("streamgauge_log_queued_bytes", "Bytes waiting for the disk.")?,
            read_only: IntGauge::new("streamgauge_log_read_only", "1 if the log takes no more records.")?,
            retention: Gauge::new(
                "streamgauge_log_retention_seconds",
                "How long the log keeps records (log.retention).",
            )?,
            retention_headroom: Gauge::new(
                "streamgauge_log_retention_headroom_seconds",
                "How long the log still keeps the oldest record that is not committed, by its retention.",
            )?,
            lag: IntGaugeVec::new(
                Opts::new("streamgauge_log_lag_records", "Records that are not committed yet, by partition."),
                &["partition"],
            )?,
            brokers: IntGaugeVec::new(
                Opts::new("streamgauge_log_brokers", "Brokers that this process needs, by whether it is connected."),
                &["state"],
            )?,
        };
        registry.register(Box::new(metrics.appended_records.clone()))?;
        registry.register(Box::new(metrics.appended_bytes.clone()))?;
        registry.register(Box::new(metrics.flushes.clone()))?;
        registry.register(Box::new(metrics.flush_us.clone()))?;
        registry.register(Box::new(metrics.queued_bytes.clone()))?;
        registry.register(Box::new(metrics.read_only.clone()))?;
        registry.register(Box::new(metrics.retention.clone()))?;
        registry.register(Box::new(metrics.retention_headroom.clone()))?;
        registry.register(Box::new(metrics.lag.clone()))?;
        registry.register(Box::new(metrics.brokers.clone()))?;
        Ok(metrics)
    }

    fn take_over(&self, log: &dyn EventLog) {
        let stats = log.stats();
        for (counter, value) in [
            (&self.appended_records, stats.appended_records),
            (&self.appended_bytes, stats.appended_bytes),
            (&self.flushes, stats.flushes),
            (&self.flush_us, stats.flush_us),
        ] {
            counter.inc_by(value.saturating_sub(counter.get()));
        }
        self.queued_bytes.set(i64::try_from(stats.queued_bytes).unwrap_or(i64::MAX));
        self.read_only.set(stats.read_only.is_some().into());
        if let Some(brokers) = stats.brokers {
            self.brokers.with_label_values(&["up"]).set(brokers.up.into());
            self.brokers.with_label_values(&["down"]).set(brokers.down.into());
        }
    }
}

impl AdminState {
    pub(super) fn new(parts: &Parts, draining: Arc<AtomicBool>, config: &Config) -> Self {
        let retention = config.log.retention.0;
        let disk = DiskMetrics::register(&parts.registry, config.disk_places()).expect("the names are ours alone");
        let log_metrics = LogMetrics::register(&parts.registry).expect("the names are ours alone");
        log_metrics.retention.set(retention.as_secs_f64());
        log_metrics.retention_headroom.set(retention.as_secs_f64());
        let time = Gauge::new("streamgauge_time_seconds", "The clock of this process, seconds since 1970.");
        let time = time.expect("the name is one");
        parts.registry.register(Box::new(time.clone())).expect("the names are ours alone");
        Self {
            role: parts.role,
            log: parts.log.clone(),
            warehouse: parts.warehouse.clone(),
            registry: parts.registry.clone(),
            processor: parts.processor_metrics.clone(),
            log_metrics: Arc::new(log_metrics),
            time,
            disk: Arc::new(disk),
            draining,
            clock: parts.clock.clone(),
            begun: parts.clock.now(),
            retention,
            through: Arc::default(),
        }
    }

    /// Now minus the committed log time, in seconds; `None` while nothing was committed.
    async fn commit_age(&self) -> Result<Option<f64>, warehouse::ReadError> {
        let through = self.warehouse.read().await?.complete_through();
        *self.through.lock().unwrap_or_else(PoisonError::into_inner) = through;
        Ok(through.map(|through| self.age_of(through)))
    }

    #[expect(clippy::cast_precision_loss, reason = "seconds")]
    fn age_of(&self, through: Timestamp) -> f64 {
        self.clock.now().millis_since(through).max(0) as f64 / 1000.0
    }

    /// The age and what follows from it. While the warehouse cannot be read nothing is committed: the age grows.
    async fn observe_age(&self) {
        let age = match self.commit_age().await {
            Ok(age) => age,
            Err(_) => self.through.lock().unwrap_or_else(PoisonError::into_inner).map(|through| self.age_of(through)),
        };
        if let Some(age) = age {
            self.processor.observe_commit_age(age);
        }
        // Where nothing was committed yet, what waits has waited since this process began, or longer.
        let waits = || self.log.as_ref().is_some_and(|log| log.ranges().iter().any(|range| range.low < range.high));
        if let Some(age) = age.or_else(|| waits().then(|| self.age_of(self.begun))) {
            self.log_metrics.retention_headroom.set(self.retention.as_secs_f64() - age);
        }
    }

    /// Last before an answer: whoever asks compares it with the moment of asking.
    #[expect(clippy::cast_precision_loss, reason = "microseconds of this century")]
    fn observe_time(&self) {
        self.time.set(self.clock.now().micros() as f64 / 1e6);
    }

    /// Records in the log that are not committed. While the warehouse cannot be read the last numbers stay.
    async fn observe_lag(&self, log: &dyn EventLog) {
        // The log first: what is appended in between must not look committed.
        let ranges = log.ranges();
        let Ok(mut read) = self.warehouse.read().await else { return };
        let Ok(positions) = read.positions(EVENTS_TOPIC).await else { return };
        let behind = records_behind(&ranges, &positions);
        for (partition, records) in behind.iter().enumerate() {
            let gauge = self.log_metrics.lag.with_label_values(&[partition.to_string()]);
            gauge.set(i64::try_from(*records).unwrap_or(i64::MAX));
        }
        self.processor.observe_lag(behind.iter().sum());
    }
}

/// The log that this process has open, and what it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OpenLog {
    pub(crate) identity: String,
    /// Where the next record of each partition will be appended.
    pub(crate) high: Vec<u64>,
}

impl OpenLog {
    /// What a log holds now.
    pub(crate) fn of(log: &dyn EventLog) -> Self {
        Self { identity: log.identity().to_owned(), high: log.ranges().iter().map(|range| range.high).collect() }
    }
}

/// The routes of the admin port.
pub(super) fn router(state: AdminState) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/log", get(log))
        .with_state(state)
}

/// 200 if everything is ready, else 503 with what is not.
async fn readyz(State(state): State<AdminState>) -> Response {
    let mut parts = Map::new();
    if let Some(log) = &state.log {
        parts.insert("log".into(), log.stats().read_only.as_deref().unwrap_or("ok").into());
    }
    // Uploads are taken while the warehouse is away.
    if state.role != Role::Ingest {
        let (warehouse, processor) = match state.commit_age().await {
            Err(_) => ("cannot be read".to_owned(), "unknown".to_owned()),
            Ok(Some(age)) if age > READY_AGE.as_secs_f64() => ("ok".to_owned(), format!("{age:.0} s behind")),
            Ok(_) => ("ok".to_owned(), "ok".to_owned()),
        };
        parts.insert("warehouse".into(), warehouse.into());
        if state.role.processes() {
            parts.insert("processor".into(), processor.into());
        }
    }
    let draining = state.draining.load(Ordering::Acquire);
    parts.insert("requests".into(), if draining { "draining" } else { "ok" }.into());
    let is_ready = parts.values().all(|part| part == "ok");
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": is_ready, "parts": Value::Object(parts) }))).into_response()
}

/// Everything acknowledged before the answer is below its positions.
async fn log(State(state): State<AdminState>) -> Response {
    let Some(log) = &state.log else { return StatusCode::NOT_FOUND.into_response() };
    Json(OpenLog::of(&**log)).into_response()
}

async fn metrics(State(state): State<AdminState>) -> Response {
    state.observe_age().await;
    if let Some(log) = &state.log {
        state.log_metrics.take_over(&**log);
        state.observe_lag(&**log).await;
    }
    state.disk.observe();
    state.observe_time();
    let mut text = Vec::new();
    if TextEncoder::new().encode(&state.registry.gather(), &mut text).is_err() {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
