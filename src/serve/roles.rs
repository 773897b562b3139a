//! The loops that run beside the requests: processor, maintenance, ticks, credentials.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use processor::{Maintenance, MaintenanceConfig, Processor, ProcessorConfig, Step};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use warehouse::MergePolicy;

use super::startup::Parts;
use super::tls::Reloading;
use crate::clock::Clock;
use crate::config::Config;

/// How often keys, tokens and certificates are read again.
const CREDENTIALS_INTERVAL: Duration = Duration::from_secs(1);
/// How often an issuer's keys are fetched again.
const USER_KEYS_INTERVAL: Duration = Duration::from_secs(3600);
/// A step of the processor waits this long for records, so the end of the process waits for it no longer.
const STEP_WAIT: Duration = Duration::from_millis(500);
/// After a failure the processor waits this long, doubled up to a limit.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_LAST: Duration = Duration::from_secs(10);
/// At the end the processor tries to commit what is in the log for at most this long.
const LAST_COMMITS: Duration = Duration::from_secs(8);

/// The running loops.
pub(super) struct Roles {
    processor: std::thread::JoinHandle<()>,
    tasks: Vec<JoinHandle<()>>,
}

impl Roles {
    /// Waits for all of them.
    pub(super) async fn join(self) {
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::error!(error = %error, "a loop of the server panicked");
            }
        }
        let processor = self.processor;
        if tokio::task::spawn_blocking(move || processor.join()).await.is_ok_and(|joined| joined.is_err()) {
            tracing::error!("the processor panicked");
        }
    }
}

/// Starts all loops; they end with `stop`.
pub(super) fn spawn(config: &Config, parts: &Parts, tls: Option<Reloading>, stop: &CancellationToken) -> Result<Roles> {
    let maintenance = Arc::new(maintenance(config, parts));
    // Until this is dropped nothing may write to the lake: leftovers are told from work in progress by nothing else.
    let (collected, leftovers_gone) = tokio::sync::oneshot::channel::<()>();
    let processor = Processor::new(
        Arc::clone(&parts.log),
        parts.warehouse.clone(),
        processor_config(config),
        parts.processor_metrics.clone(),
    );
    let runtime = tokio::runtime::Handle::current();
    let processor = std::thread::Builder::new()
        .name("processor".into())
        .spawn({
            let (clock, stop, maintenance) = (parts.clock.clone(), stop.clone(), Arc::clone(&maintenance));
            move || {
                runtime.block_on(async {
                    maintenance.collect_leftovers().await;
                    drop(collected);
                    run_processor(processor, clock, stop).await;
                });
            }
        })
        .context("start the processor's thread")?;
    let tasks = vec![
        tokio::spawn(tick(parts.ingest.clone(), parts.clock.clone(), config.ingest.tick_interval.0, stop.clone())),
        tokio::spawn({
            let (clock, every, stop) = (parts.clock.clone(), config.maintenance.interval.0, stop.clone());
            async move {
                // An error means dropped, which is the signal.
                let _ = leftovers_gone.await;
                maintain(maintenance, clock, every, stop).await;
            }
        }),
        tokio::spawn(refresh_credentials(parts, tls, stop.clone())),
        tokio::spawn(refresh_user_keys(parts, stop.clone())),
    ];
    Ok(Roles { processor, tasks })
}

fn processor_config(config: &Config) -> ProcessorConfig {
    ProcessorConfig {
        commit_interval: config.processor.commit_interval.0,
        commit_rows: config.processor.commit_rows,
        commit_bytes: config.processor.commit_bytes.0,
        hot_keys: config.processor.hot_keys,
        state_interval: config.processor.state_interval.0,
    }
}

fn maintenance(config: &Config, parts: &Parts) -> Maintenance {
    let settings = MaintenanceConfig {
        merge: MergePolicy { fan_in: config.maintenance.merge_fan_in, ..MergePolicy::default() },
        rollup_delta_age: config.maintenance.rollup_delta_age.0,
        orphan_grace: config.maintenance.orphan_grace.0,
        log_retention: config.log.retention.0,
    };
    Maintenance::new(Arc::clone(&parts.log), parts.warehouse.clone(), settings, parts.processor_metrics.clone())
}

/// Steps until told to stop, then commits what the log still holds. A step is never cut off: it may be a commit.
async fn run_processor(mut processor: Processor, clock: Clock, stop: CancellationToken) {
    let mut retry = RETRY_FIRST;
    while !stop.is_cancelled() {
        match processor.step(clock.now(), STEP_WAIT).await {
            Ok(_) => retry = RETRY_FIRST,
            Err(error) => {
                tracing::error!(error = %format!("{:#}", anyhow::Error::new(error)), "the processor begins anew from the checkpoints");
                tokio::select! {
                    () = tokio::time::sleep(retry) => {}
                    () = stop.cancelled() => break,
                }
                retry = (retry * 2).min(RETRY_LAST);
            }
        }
    }
    let until = Instant::now() + LAST_COMMITS;
    while Instant::now() < until {
        match processor.step(clock.now(), Duration::ZERO).await {
            Ok(Step::Idle) => break,
            Ok(_) => {}
            Err(_) => return,
        }
    }
    if let Err(error) = processor.flush(clock.now()).await {
        tracing::warn!(error = %format!("{:#}", anyhow::Error::new(error)), "the last commit did not land; the next start takes its records from the log");
    }
}

async fn tick(ingest: ingest::Ingest, clock: Clock, every: Duration, stop: CancellationToken) {
    let mut timer = timer(every);
    while next(&mut timer, &stop).await {
        if let Err(error) = ingest::tick(&ingest, clock.now()).await {
            tracing::warn!(error = %error, "a tick was not appended");
        }
    }
}

async fn maintain(maintenance: Arc<Maintenance>, clock: Clock, every: Duration, stop: CancellationToken) {
    let mut timer = timer(every);
    timer.reset();
    while next(&mut timer, &stop).await {
        maintenance.pass(clock.now()).await;
    }
}

fn refresh_credentials(
    parts: &Parts,
    tls: Option<Reloading>,
    stop: CancellationToken,
) -> impl Future<Output = ()> + use<> {
    let (authentication, warehouse) = (Arc::clone(&parts.authentication), parts.warehouse.clone());
    async move {
        let mut timer = timer(CREDENTIALS_INTERVAL);
        while next(&mut timer, &stop).await {
            if let Err(error) = authentication.refresh(&warehouse).await {
                tracing::warn!(error = %format!("{error:#}"), "keys and tokens could not be read; the last ones hold");
            }
            if let Some(tls) = &tls {
                tls.reload_if_changed();
            }
        }
    }
}

fn refresh_user_keys(parts: &Parts, stop: CancellationToken) -> impl Future<Output = ()> + use<> {
    let authentication = Arc::clone(&parts.authentication);
    async move {
        let mut timer = timer(USER_KEYS_INTERVAL);
        while next(&mut timer, &stop).await {
            authentication.refresh_user_keys().await;
        }
    }
}

fn timer(every: Duration) -> tokio::time::Interval {
    let mut timer = interval(every);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    timer
}

/// Waits for the timer; false when it is time to stop.
async fn next(timer: &mut tokio::time::Interval, stop: &CancellationToken) -> bool {
    tokio::select! {
        _ = timer.tick() => true,
        () = stop.cancelled() => false,
    }
}
