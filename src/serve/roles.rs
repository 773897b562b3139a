//! The loops that run beside the requests: processor, maintenance, ticks, credentials.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use event_log::EventLog;
use futures::FutureExt;
use processor::{Maintenance, MaintenanceConfig, Processor, RunError, Step};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use warehouse::MergePolicy;

use super::startup::Parts;
use super::tls::Reloading;
use crate::clock::Clock;
use crate::config::{Config, Profile};
use crate::telemetry::Repeated;

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
    processor: Option<std::thread::JoinHandle<()>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Roles {
    /// Starts all loops; they end with `stop`.
    pub(super) fn spawn(
        config: &Config,
        parts: &Parts,
        tls: Option<Reloading>,
        stop: &CancellationToken,
    ) -> Result<Self> {
        let mut tasks = vec![
            tokio::spawn(refresh_credentials(parts, tls, stop.clone())),
            tokio::spawn(refresh_user_keys(parts, stop.clone())),
        ];
        if let Some(ingest) = &parts.ingest {
            let every = config.ingest.tick_interval.0;
            tasks.push(tokio::spawn(tick(ingest.clone(), parts.clock.clone(), every, stop.clone())));
        }
        let log = parts.log.as_ref().filter(|_| parts.role.processes());
        let processor = match log {
            Some(log) => {
                let (processor, maintenance) = process(config, parts, log, stop)?;
                tasks.push(maintenance);
                Some(processor)
            }
            None => None,
        };
        Ok(Self { processor, tasks })
    }

    /// Waits for all of them.
    pub(super) async fn join(self) {
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::error!(error = %error, "a loop of the server panicked");
            }
        }
        let Some(processor) = self.processor else { return };
        if tokio::task::spawn_blocking(move || processor.join()).await.is_ok_and(|joined| joined.is_err()) {
            tracing::error!("the processor panicked");
        }
    }
}

/// Starts the processor on a thread of its own, and the maintenance beside it.
fn process(
    config: &Config,
    parts: &Parts,
    log: &Arc<dyn EventLog>,
    stop: &CancellationToken,
) -> Result<(std::thread::JoinHandle<()>, JoinHandle<()>)> {
    let maintenance = Arc::new(maintenance(config, parts, log));
    // Where one process holds the lake, nothing else tells leftovers from work in progress: until this is dropped nothing
    // may write to it. Others may be at work in the lake of a cluster, and leftovers are known by their age there.
    let is_alone = config.profile()? == Profile::Embedded;
    let (collected, leftovers_gone) = tokio::sync::oneshot::channel::<()>();
    let (settings, metrics) = (config.processor_settings(), parts.processor_metrics.clone());
    let processor = Processor::new(Arc::clone(log), parts.warehouse.clone(), settings, metrics);
    let runtime = tokio::runtime::Handle::current();
    let thread = std::thread::Builder::new().name("processor".into()).spawn({
        let (clock, stop, maintenance) = (parts.clock.clone(), stop.clone(), Arc::clone(&maintenance));
        move || {
            runtime.block_on(async {
                if is_alone {
                    maintenance.collect_leftovers().await;
                }
                drop(collected);
                run_processor(processor, clock, stop).await;
            });
        }
    });
    let maintaining = tokio::spawn({
        let (clock, every, stop) = (parts.clock.clone(), config.maintenance.interval.0, stop.clone());
        async move {
            // An error of the channel means dropped, which is the signal.
            if stop.run_until_cancelled(leftovers_gone).await.is_some() {
                maintain(maintenance, clock, every, stop).await;
            }
        }
    });
    Ok((thread.context("start the processor's thread")?, maintaining))
}

fn maintenance(config: &Config, parts: &Parts, log: &Arc<dyn EventLog>) -> Maintenance {
    let settings = MaintenanceConfig {
        merge: MergePolicy { fan_in: config.maintenance.merge_fan_in, ..MergePolicy::default() },
        rollup_delta_age: config.maintenance.rollup_delta_age.0,
        orphan_grace: config.maintenance.orphan_grace.0,
        snapshot_retention: config.maintenance.snapshot_retention.0,
        file_grace: config.maintenance.file_grace.0,
        log_retention: config.log.retention.0,
        retention: config.retention.policy(),
    };
    Maintenance::new(Arc::clone(log), parts.warehouse.clone(), settings, parts.processor_metrics.clone())
}

/// Steps until told to stop, then commits what the log still holds. A step is never cut off: it may be a commit.
async fn run_processor(mut processor: Processor, clock: Clock, stop: CancellationToken) {
    let mut retry = RETRY_FIRST;
    let mut said = String::new();
    while !stop.is_cancelled() {
        match step(&mut processor, &clock).await {
            // Only a commit shows that what failed works again.
            Ok(Step::Committed(_) | Step::Advanced) => {
                retry = RETRY_FIRST;
                said.clear();
            }
            Ok(Step::Idle | Step::Folded) => {}
            Err(error) => {
                // Each reason once, also one that comes of another; with other numbers it is the same.
                let reason = format!("{error:#}");
                let kind = reason.replace(|char: char| char.is_ascii_digit(), "");
                if said != kind {
                    tracing::error!(error = reason, "the processor begins anew from the checkpoints");
                    said = kind;
                }
                stop.run_until_cancelled(tokio::time::sleep(retry)).await;
                retry = (retry * 2).min(RETRY_LAST);
            }
        }
    }
    if let Err(error) = last_commits(&mut processor, &clock).await {
        let error = anyhow::Error::new(error);
        tracing::warn!(error = %format_args!("{error:#}"), "the last commit did not land: the next start makes it");
    }
}

/// One step. A panic is an error like any other: the processor has dropped all state by then, and uploads go on being
/// taken while `/readyz` says that it is behind.
async fn step(processor: &mut Processor, clock: &Clock) -> Result<Step> {
    match AssertUnwindSafe(processor.step(clock.now(), STEP_WAIT)).catch_unwind().await {
        Ok(step) => Ok(step?),
        Err(_) => bail!("the processor panicked"),
    }
}

async fn last_commits(processor: &mut Processor, clock: &Clock) -> Result<(), RunError> {
    let until = Instant::now() + LAST_COMMITS;
    while Instant::now() < until && processor.step(clock.now(), Duration::ZERO).await? != Step::Idle {}
    processor.flush(clock.now()).await.map(drop)
}

/// Ticks. The log may take long over one, and the end does not wait for it.
async fn tick(ingest: ingest::Ingest, clock: Clock, every: Duration, stop: CancellationToken) {
    let appending = Repeated::new("appending a tick to the log");
    let mut timer = timer(every);
    while next(&mut timer, &stop).await {
        let Some(at) = clock.tick() else { continue };
        if let Some(appended) = stop.run_until_cancelled(ingest::tick(&ingest, at)).await {
            appending.note(appended);
        }
    }
}

/// Passes. One that is under way at the end is dropped: its transaction is rolled back, its files are collected later.
async fn maintain(maintenance: Arc<Maintenance>, clock: Clock, every: Duration, stop: CancellationToken) {
    let mut timer = timer(every);
    timer.reset();
    while next(&mut timer, &stop).await {
        stop.run_until_cancelled(maintenance.pass(clock.now())).await;
    }
}

fn refresh_credentials(
    parts: &Parts,
    tls: Option<Reloading>,
    stop: CancellationToken,
) -> impl Future<Output = ()> + use<> {
    let (authentication, warehouse) = (Arc::clone(&parts.authentication), parts.warehouse.clone());
    let reading = Repeated::new("reading keys and tokens, the last ones hold");
    async move {
        let mut timer = timer(CREDENTIALS_INTERVAL);
        while next(&mut timer, &stop).await {
            if let Some(read) = stop.run_until_cancelled(authentication.refresh(&warehouse)).await {
                reading.note(read);
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
            stop.run_until_cancelled(authentication.refresh_user_keys()).await;
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
    stop.run_until_cancelled(timer.tick()).await.is_some()
}
