//! `bench cluster`: the cluster profile, with client, Kafka, Postgres and all roles on this machine.
//!
//! The servers are those that `STREAMGAUGE_TEST_KAFKA` and `STREAMGAUGE_TEST_POSTGRES` name: `deploy/kafka/kafka start DIR 3` and
//! `deploy/postgres/postgres start DIR` start them.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use rig::Server;
use rig::cluster::Cluster;

use crate::audience::DEVICES;
use crate::drive::{Bodies, Load, Measured, Pace, Taken, Watch, measure, middle};
use crate::e2e::{COMMITTED_PER_S, EVENTS_PER_POST, HOLD_ABOVE_RECORDS, WAITING_S};
use crate::machine::Neighbours;
use crate::subject::Subject;
use crate::table::{Table, float, percentile_ms};
use crate::{Options, progress};

/// The variants, and the figure to reach.
pub(crate) const VARIANTS: [&str; 2] = ["one processor", "two processors"];

const FIGURES: [&str; 13] = [
    "events acknowledged/s",
    COMMITTED_PER_S,
    "records waiting: median",
    "records waiting: at the end",
    WAITING_S,
    "p50, ms",
    "p99, ms",
    "CPU per event, µs: ingest",
    "CPU per event, µs: processor",
    "CPU per event, µs: Kafka",
    "CPU per event, µs: Postgres",
    "cores used by the client",
    "catching up afterwards, s",
];

/// Measures the highest rate at which what is acknowledged is also committed: with so many processors, else with one and two.
pub(crate) async fn run(options: &Options, only: Option<usize>) -> Result<Table> {
    let neighbours = Neighbours::watch();
    let seconds = options.measured(30).as_secs_f64();
    let mut table = Table::new("cluster", "The cluster profile", &FIGURES);
    for run in 1..=options.runs {
        let is_wanted = |(_, processors): &(&str, usize)| only.is_none_or(|only| only == *processors);
        for (variant, processors) in VARIANTS.into_iter().zip(1..).filter(is_wanted) {
            progress(&format!("cluster, run {run} of {}: {processors} processors", options.runs));
            let figures = one(options, processors).await?;
            table.add(variant, figures);
        }
    }
    table.notes.push(format!(
        "One ingest, one query service, and processors on a fresh topic, database and shared lake folder, everything on this machine; \
         an audience of {DEVICES} devices that posts {EVENTS_PER_POST} events at a time over 16 connections for {seconds} s after a warm-up. The sender pauses while more than \
         {HOLD_ABOVE_RECORDS} records wait to be committed, so the rate is one that can go on for ever."
    ));
    table.notes.push(
        "Checked for every run: all posts answered 2xx; rows, rollups and ledger hold exactly the acknowledged events."
            .into(),
    );
    table
        .notes
        .push(format!("Others, Kafka and Postgres among them, kept {:.2} cores busy meanwhile.", neighbours.cores()));
    Ok(table)
}

async fn one(options: &Options, processors: usize) -> Result<[f64; FIGURES.len()]> {
    let measured = options.measured(30);
    let cluster = Cluster::new(&options.binary).await?;
    let cluster = cluster.context("STREAMGAUGE_TEST_KAFKA and STREAMGAUGE_TEST_POSTGRES name no servers")?;
    let role = |role: &str| cluster.role(role).test_clock().variable("STREAMGAUGE_INGEST__TICK_INTERVAL", "2s");
    let ingest = Subject::start(&role("ingest")).await?;
    let processor = Subject::start(&role("processor")).await?;
    let mut others: Vec<Server> = Vec::new();
    for _ in 1..processors {
        others.push(role("processor").start().await?);
    }
    let query = Subject::start(&role("query")).await?;
    let load = Load {
        target: ingest.target(),
        connections: 16,
        events: EVENTS_PER_POST,
        bodies: Bodies::Live,
        pace: Pace::Closed,
        warm_up: measured / 5,
        measured,
    };
    let mut watch = Watch { hold_above: Some(HOLD_ABOVE_RECORDS), ..Watch::default() };
    let spent = || {
        let of_others: f64 = others.iter().map(|other| rig::process::cpu_seconds(other.pid)).sum();
        let of = |subject: &Subject| rig::process::cpu_seconds(subject.server.pid);
        [
            of(&ingest),
            of(&processor) + of_others,
            rig::process::cpu_seconds_of_all("java"),
            rig::process::cpu_seconds_of_all("postgres"),
        ]
    };
    let (begun, before) = (Instant::now(), spent());
    let result = measure(&processor, load, Some(&mut watch)).await?;
    let catching_up = processor.settle().await?;
    let (whole_s, after) = (begun.elapsed().as_secs_f64(), spent());
    let Measured { taken, seconds, posts, events, client_s, .. } = &result;
    check(&query, taken).await?;
    ensure!(taken.refused.is_empty(), "posts were refused: {:?}", taken.refused);
    query.stop().await?;
    ingest.stop().await?;
    for other in others {
        ensure!(other.stop().await.0.success(), "a processor ended in failure");
    }
    processor.stop().await?;
    cluster.end().await?;
    let last_lag = watch.sort();
    let acked = float(taken.acked_events);
    let per_event = |role: usize| (after[role] - before[role]) * 1e6 / acked;
    Ok([
        events / seconds,
        acked / whole_s,
        middle(&watch.lag_records),
        last_lag,
        watch.waiting_s(posts / seconds),
        percentile_ms(&taken.latency_us, 0.5),
        percentile_ms(&taken.latency_us, 0.99),
        per_event(0),
        per_event(1),
        per_event(2),
        per_event(3),
        client_s / seconds,
        catching_up.as_secs_f64(),
    ])
}

/// Exactly the acknowledged events are stored and counted.
async fn check(query: &Subject, taken: &Taken) -> Result<()> {
    // The query service hears of the last commit within a second.
    let begun = Instant::now();
    while query.number("SELECT count(*) FROM events").await? < taken.acked_events && begun.elapsed().as_secs() < 10 {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    query.check_sums(taken).await
}
