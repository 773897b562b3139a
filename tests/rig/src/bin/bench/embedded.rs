//! `bench embedded`: what somebody notices who starts the program on a small machine.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rig::Device;
use rig::load::Post;
use rig::server::send;
use serde_json::json;

use crate::machine::Neighbours;
use crate::subject::{Subject, fresh};
use crate::table::{Table, percentile_ms};
use crate::{Options, now, progress};

/// The variant and the figures to reach.
pub(crate) const DEFAULTS: &str = "defaults";
pub(crate) const COLD_START_MS: &str = "start on an empty directory to ready, ms";
pub(crate) const IDLE_MIB: &str = "RSS after 10 s of idling, MiB";
pub(crate) const SQL_P99_MS: &str = "2xx to visible in SQL, p99, ms";
pub(crate) const ROLLUP_P99_MS: &str = "2xx to visible in rollups, p99, ms";

const FIGURES: [&str; 8] = [
    COLD_START_MS,
    "start on a used directory to ready, ms",
    "start after kill -9 to ready, ms",
    IDLE_MIB,
    "2xx to visible in SQL, p50, ms",
    SQL_P99_MS,
    "2xx to visible in rollups, p50, ms",
    ROLLUP_P99_MS,
];

/// Events whose way is watched in each run.
const SAMPLES: u64 = 50;
/// Events of 100 posts before a later start.
const USED_POSTS: usize = 200;

/// Measures starts, memory and visibility.
pub(crate) async fn run(options: &Options) -> Result<Table> {
    let neighbours = Neighbours::watch();
    let mut table = Table::new("embedded", "The embedded default", &FIGURES);
    for run in 1..=options.runs {
        progress(&format!("embedded, run {run} of {}: starts", options.runs));
        let (cold_ms, idle_mib, later_ms, crashed_ms) = starts(options).await?;
        progress(&format!("embedded, run {run} of {}: visibility", options.runs));
        let seen = visibility(options).await?;
        let p = |latency_us: &[u64], share| percentile_ms(latency_us, share);
        table.add(
            DEFAULTS,
            [
                cold_ms,
                later_ms,
                crashed_ms,
                idle_mib,
                p(&seen.sql_us, 0.5),
                p(&seen.sql_us, 0.99),
                p(&seen.rollup_us, 0.5),
                p(&seen.rollup_us, 0.99),
            ],
        );
    }
    table.notes.push(format!(
        "Ready is when the program has written `run.json`. A used directory holds {} events. For visibility single \
         events are posted to an idle server, {SAMPLES} in a run, at any moment of its second; SQL and rollups are asked \
         every few milliseconds until they show the event.",
        USED_POSTS * 100
    ));
    table.notes.push(format!("Others kept {:.2} cores busy meanwhile.", neighbours.cores()));
    Ok(table)
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Cold start and idle memory, then a later start, then one after a crash.
async fn starts(options: &Options) -> Result<(f64, f64, f64, f64)> {
    let subject = Subject::start(&fresh(options)?).await?;
    let cold_ms = ms(subject.server.ready_in);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let (idle_mib, _) = rig::process::resident_mib(subject.server.pid);
    for _ in 0..USED_POSTS {
        let post = Post::heartbeats(&mut Device::new(), 100);
        let reply = subject.server.post("/v1/events", "application/json", post.body).await;
        ensure!(reply.status == 202, "an upload was answered {}: {}", reply.status, reply.text());
    }
    subject.settle().await?;
    let subject = Subject::start(&subject.stop().await?).await?;
    let later_ms = ms(subject.server.ready_in);
    let start = subject.server.kill().await;
    let subject = Subject::start(&start).await?;
    let crashed_ms = ms(subject.server.ready_in);
    subject.settle().await?;
    let stored = subject.number("SELECT count(*) FROM events").await?;
    ensure!(stored == (USED_POSTS * 100) as u64, "{stored} events are left of {}", USED_POSTS * 100);
    subject.stop().await?;
    Ok((cold_ms, idle_mib, later_ms, crashed_ms))
}

/// From the answer to an upload until its event is seen, sorted.
#[derive(Debug, Default)]
struct Seen {
    sql_us: Vec<u64>,
    rollup_us: Vec<u64>,
}

async fn visibility(options: &Options) -> Result<Seen> {
    let subject = Subject::start(&fresh(options)?).await?;
    let mut device = Device::new();
    let mut seen = Seen::default();
    for number in 1..=SAMPLES {
        // Steps that do not divide a second, so that commits are met at all their moments.
        tokio::time::sleep(Duration::from_millis(137 * (number % 11))).await;
        let event = device.event("layout.saved", now().to_chrono(), json!({}));
        let id = event["id"].as_str().context("an id")?.to_owned();
        let reply = subject.server.upload(&[event]).await;
        ensure!(reply.status == 202, "an upload was answered {}: {}", reply.status, reply.text());
        let answered = Instant::now();
        let (sql, rollup) = tokio::join!(until_in_sql(&subject, &id), until_in_rollup(&subject, number));
        for (seen, at) in [(&mut seen.sql_us, sql?), (&mut seen.rollup_us, rollup?)] {
            seen.push(u64::try_from((at - answered).as_micros())?);
        }
    }
    seen.sql_us.sort_unstable();
    seen.rollup_us.sort_unstable();
    subject.stop().await?;
    Ok(seen)
}

const POLL: Duration = Duration::from_millis(3);
const GIVE_UP: Duration = Duration::from_secs(30);

async fn until_in_sql(subject: &Subject, id: &str) -> Result<Instant> {
    let begun = Instant::now();
    let sql = format!("SELECT count(*) FROM events WHERE event_id = '{id}'");
    loop {
        match subject.number(&sql).await? {
            0 => {}
            1 => return Ok(Instant::now()),
            rows => anyhow::bail!("one event has {rows} rows"),
        }
        ensure!(begun.elapsed() < GIVE_UP, "an event is not in SQL after {GIVE_UP:?}");
        tokio::time::sleep(POLL).await;
    }
}

async fn until_in_rollup(subject: &Subject, expected: u64) -> Result<Instant> {
    let begun = Instant::now();
    loop {
        let request = subject.server.request("GET", "/v1/rollups/usage?grain=day&measures=events");
        let reply = send(request.bearer_auth(&subject.server.read_token)).await?;
        ensure!(reply.status == 200, "the rollup was answered {}: {}", reply.status, reply.text());
        let answer = reply.json();
        let rows = answer["data"].as_array().into_iter().flatten();
        let counted: u64 = rows.filter_map(|row| row["events"].as_u64()).sum();
        ensure!(counted <= expected, "{expected} events were posted, and the rollup counts {counted}");
        if counted == expected {
            return Ok(Instant::now());
        }
        ensure!(begun.elapsed() < GIVE_UP, "an event is not in the rollup after {GIVE_UP:?}: {answer:?}");
        tokio::time::sleep(POLL).await;
    }
}
