//! Load on a server, and what it cost while the load was steady.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::audience::{Audience, DEVICES, Share, scripts};
use crate::client::{Coding, Connection, Prepared, Target};
use crate::cost::Cpu;
use crate::machine;
use crate::subject::Subject;
use crate::table::float;

/// What is posted, how often, for how long.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    /// Where to.
    pub(crate) target: Target,
    /// Connections, among which the devices of an audience are shared out.
    pub(crate) connections: usize,
    /// Events of a post.
    pub(crate) events: usize,
    /// The bodies.
    pub(crate) bodies: Bodies,
    /// When they are posted.
    pub(crate) pace: Pace,
    /// Posted before anything is measured.
    pub(crate) warm_up: Duration,
    /// How long is measured.
    pub(crate) measured: Duration,
}

/// Where bodies come from.
#[derive(Debug, Clone)]
pub(crate) enum Bodies {
    /// Plain, written when they are due.
    Live,
    /// Compressed beforehand; each is posted once.
    Prepared(Coding, Arc<Vec<Prepared>>),
}

/// When bodies are posted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// Closed loop: a connection posts as soon as it has the answer to its last post.
    Closed,
    /// Open loop: so many posts a second, each due at its time; what starts late counts as waiting.
    Open(f64),
}

/// What came of a load.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// Events of all posts that were answered 2xx.
    pub(crate) acked_events: u64,
    /// Views that begin in them.
    pub(crate) acked_views: u64,
    /// Posts answered otherwise, by status.
    pub(crate) refused: BTreeMap<u16, u64>,
    /// Of the posts answered within the measured time, sorted: from the due time to the answer.
    pub(crate) latency_us: Vec<u64>,
}

/// A load and what the server spent meanwhile.
#[derive(Debug)]
pub(crate) struct Measured {
    /// What came of all posts.
    pub(crate) taken: Taken,
    /// Length of the measured time.
    pub(crate) seconds: f64,
    /// Posts acknowledged in it.
    pub(crate) posts: f64,
    /// Events acknowledged in it.
    pub(crate) events: f64,
    /// Flushes of the log in it.
    pub(crate) flushes: f64,
    /// CPU of the server in it.
    pub(crate) cpu: Cpu,
    /// CPU-seconds of this process in it.
    pub(crate) client_s: f64,
}

/// Looks at the server's lag while the load goes on.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// While more records than this wait to be committed, nothing is posted.
    pub(crate) hold_above: Option<f64>,
    /// Records that wait, as seen during the measured time.
    pub(crate) lag_records: Vec<f64>,
}

impl Watch {
    /// Sorts what was seen; returns the last lag of all.
    pub(crate) fn sort(&mut self) -> f64 {
        let last = self.lag_records.last().copied().unwrap_or(f64::NAN);
        self.lag_records.sort_by(f64::total_cmp);
        last
    }

    /// How long a record waited on average, s, where so many were committed a second: Little's law.
    pub(crate) fn waiting_s(&self, records_per_s: f64) -> f64 {
        let sum: f64 = self.lag_records.iter().sum();
        sum / float(self.lag_records.len() as u64) / records_per_s
    }
}

/// The middle one of sorted values.
pub(crate) fn middle(sorted: &[f64]) -> f64 {
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

#[derive(Debug)]
struct Shared {
    load: Load,
    window: Range<Instant>,
    acked_posts: AtomicU64,
    next_body: AtomicUsize,
    held: AtomicBool,
}

/// Puts the load on the server and measures.
pub(crate) async fn measure(subject: &Subject, load: Load, mut watch: Option<&mut Watch>) -> Result<Measured> {
    let events_per_post = load.events as u64;
    let from = Instant::now() + load.warm_up;
    let shared = Arc::new(Shared {
        window: from..from + load.measured,
        load,
        acked_posts: AtomicU64::new(0),
        next_body: AtomicUsize::new(0),
        held: AtomicBool::new(false),
    });
    let thread = std::thread::Builder::new().name("load".into()).spawn({
        let shared = Arc::clone(&shared);
        move || run(&shared)
    })?;
    wait(subject, &shared, shared.window.start, watch.as_deref_mut()).await?;
    if let Some(watch) = watch.as_deref_mut() {
        watch.lag_records.clear();
    }
    let before = Sample::take(subject, &shared).await?;
    wait(subject, &shared, shared.window.end, watch).await?;
    let after = Sample::take(subject, &shared).await?;
    let taken = tokio::task::spawn_blocking(move || thread.join()).await?;
    let taken = taken.map_err(|_| anyhow!("the load panicked"))??;
    let posts = float(after.posts - before.posts);
    Ok(Measured {
        taken,
        seconds: (after.at - before.at).as_secs_f64(),
        posts,
        events: posts * float(events_per_post),
        flushes: after.flushes - before.flushes,
        cpu: after.cpu.since(&before.cpu),
        client_s: after.client_s - before.client_s,
    })
}

/// Waits; with a watch it looks at the lag ten times a second, and holds the load back where that is asked for.
async fn wait(subject: &Subject, shared: &Shared, until: Instant, watch: Option<&mut Watch>) -> Result<()> {
    let Some(watch) = watch else {
        tokio::time::sleep_until(until.into()).await;
        return Ok(());
    };
    while Instant::now() < until {
        let metrics = subject.metrics().await?;
        let lag = metrics.lag_records()?;
        shared.held.store(watch.hold_above.is_some_and(|limit| lag > limit), Ordering::Relaxed);
        watch.lag_records.push(lag);
        tokio::time::sleep_until(until.min(Instant::now() + Duration::from_millis(100)).into()).await;
    }
    Ok(())
}

struct Sample {
    at: Instant,
    posts: u64,
    flushes: f64,
    cpu: Cpu,
    client_s: f64,
}

impl Sample {
    async fn take(subject: &Subject, shared: &Shared) -> Result<Self> {
        let metrics = subject.metrics().await?;
        Ok(Self {
            flushes: metrics.value("streamgauge_log_flushes_total")?,
            client_s: machine::cpu_seconds(),
            cpu: Cpu::of(subject.server.pid),
            posts: shared.acked_posts.load(Ordering::Relaxed),
            at: Instant::now(),
        })
    }
}

/// Due times of an open loop; `None` for a closed one.
type Schedule = Option<Arc<Mutex<UnboundedReceiver<Instant>>>>;

/// The load, on one thread.
fn run(shared: &Arc<Shared>) -> Result<Taken> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let schedule = schedule(shared)?;
    runtime.block_on(async {
        let scripts = scripts(shared.load.events)?;
        let (begin_ms, step) = (crate::now().millis(), shared.load.connections);
        let connections = (0..step).map(|first| {
            let (shared, schedule) = (Arc::clone(shared), schedule.clone());
            let audience = Audience::new(&scripts, Share { first, step, devices: DEVICES }, begin_ms);
            tokio::spawn(async move { drive(&shared, schedule, audience).await })
        });
        let mut taken = Taken::default();
        for connection in connections.collect::<Vec<_>>() {
            let of_connection = connection.await??;
            taken.acked_events += of_connection.acked_events;
            taken.acked_views += of_connection.acked_views;
            taken.latency_us.extend(of_connection.latency_us);
            for (status, posts) in of_connection.refused {
                *taken.refused.entry(status).or_default() += posts;
            }
        }
        taken.latency_us.sort_unstable();
        Ok(taken)
    })
}

/// A thread keeps the time of an open loop: a timer of the runtime would be late by up to a millisecond. What is due comes
/// until the end.
pub(crate) fn pace(per_second: f64, end: Instant) -> Result<UnboundedReceiver<Instant>> {
    let (sender, receiver) = unbounded_channel();
    std::thread::Builder::new().name("pacer".into()).spawn(move || {
        let begun = Instant::now();
        for number in 0_u32.. {
            let due = begun + Duration::from_secs_f64(f64::from(number) / per_second);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if due >= end || sender.send(due).is_err() {
                return;
            }
        }
    })?;
    Ok(receiver)
}

/// What is due next, for one of many connections; `None` at the end.
pub(crate) async fn next_due(due: &Mutex<UnboundedReceiver<Instant>>) -> Option<Instant> {
    due.lock().await.recv().await
}

fn schedule(shared: &Shared) -> Result<Schedule> {
    let Pace::Open(posts_per_second) = shared.load.pace else { return Ok(None) };
    Ok(Some(Arc::new(Mutex::new(pace(posts_per_second, shared.window.end)?))))
}

/// One connection of the load.
async fn drive(shared: &Shared, schedule: Schedule, mut audience: Audience) -> Result<Taken> {
    let Load { target, events, bodies, .. } = &shared.load;
    let mut connection = Connection::open(&target.address).await?;
    let (mut body, mut request) = (Vec::new(), Vec::new());
    let mut taken = Taken::default();
    while let Some(due) = next(shared, schedule.as_ref()).await {
        let views = match bodies {
            Bodies::Live => {
                let upload = audience.next(&mut body);
                target.request(Coding::Identity, &body, &upload, &mut request);
                upload.views
            }
            Bodies::Prepared(coding, bodies) => {
                let prepared = bodies.get(shared.next_body.fetch_add(1, Ordering::Relaxed));
                prepared.context("too few bodies were prepared")?.request(target, *coding, &mut request)
            }
        };
        let status = connection.exchange(&request).await?;
        let answered = Instant::now();
        if !(200..300).contains(&status) {
            *taken.refused.entry(status).or_default() += 1;
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        }
        taken.acked_events += *events as u64;
        taken.acked_views += views;
        shared.acked_posts.fetch_add(1, Ordering::Relaxed);
        if shared.window.contains(&answered) {
            taken.latency_us.push(u64::try_from((answered - due).as_micros()).unwrap_or(u64::MAX));
        }
    }
    Ok(taken)
}

/// When the next post is due; `None` at the end.
async fn next(shared: &Shared, schedule: Option<&Arc<Mutex<UnboundedReceiver<Instant>>>>) -> Option<Instant> {
    if let Some(schedule) = schedule {
        return next_due(schedule).await;
    }
    while shared.held.load(Ordering::Relaxed) && Instant::now() < shared.window.end {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let now = Instant::now();
    (now < shared.window.end).then_some(now)
}
