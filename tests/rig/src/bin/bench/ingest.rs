//! `bench ingest`: what taking uploads costs, by size of the batch and coding of the body.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use crate::audience::DEVICES;
use crate::client::{self, Coding, prepare};
use crate::drive::{Bodies, Load, Measured, Pace, measure};
use crate::machine::Neighbours;
use crate::subject::{Subject, fresh};
use crate::table::{Table, percentile_ms};
use crate::{Options, progress};

/// The variants and figures to reach.
pub(crate) const SINGLE: &str = "1 event";
pub(crate) const HUNDRED: &str = "100 events";
pub(crate) const EVENTS_PER_CPU_S: &str = "events per CPU-s";
pub(crate) const POSTS_PER_CPU_S: &str = "posts per CPU-s";

const FIGURES: [&str; 14] = [
    "posts/s",
    "events/s",
    EVENTS_PER_CPU_S,
    POSTS_PER_CPU_S,
    "CPU per post, µs: requests",
    "CPU per post, µs: log writer",
    "CPU per post, µs: log storage",
    "p50, ms",
    "p99, ms",
    "max, ms",
    "posts per flush",
    "cores used by ingest",
    "cores used by processor and client",
    "RSS at the peak, MiB",
];

/// A rate that is well below the maximum, for latency.
const STEADY_EVENTS_PER_S: f64 = 50_000.0;
/// So many times the bodies that plain posts took: rates of runs differ.
const HEADROOM: f64 = 1.3;

type Prepared = Arc<Vec<client::Prepared>>;

/// How a variant posts.
struct Variant {
    name: &'static str,
    events: usize,
    connections: usize,
    coding: Coding,
    /// Share of the closed loop's rate that this name reached, or posts per second; none for a closed loop.
    open: Option<Rate>,
}

enum Rate {
    Posts(f64),
    ShareOf(&'static str, f64),
}

fn variants() -> [Variant; 7] {
    let closed = |name, events, connections, coding| Variant { name, events, connections, coding, open: None };
    let plain = Coding::Identity;
    [
        closed(SINGLE, 1, 64, plain),
        closed("10 events", 10, 32, plain),
        closed(HUNDRED, 100, 16, plain),
        closed("100 events, gzip", 100, 16, Coding::Gzip),
        closed("100 events, zstd", 100, 16, Coding::Zstd),
        Variant { open: Some(Rate::ShareOf(SINGLE, 0.5)), ..closed("1 event, half the maximum", 1, 64, plain) },
        Variant {
            open: Some(Rate::Posts(STEADY_EVENTS_PER_S / 100.0)),
            ..closed("100 events, 50 K events/s", 100, 16, plain)
        },
    ]
}

/// Measures all variants.
pub(crate) async fn run(options: &Options) -> Result<Table> {
    let neighbours = Neighbours::watch();
    let measured = options.measured(10);
    let mut table = Table::new("ingest", "Ingest over HTTP", &FIGURES);
    let mut prepared: Vec<(Coding, Prepared)> = Vec::new();
    for run in 1..=options.runs {
        for variant in variants() {
            progress(&format!("ingest, run {run} of {}: {}", options.runs, variant.name));
            let bodies = match (variant.coding, prepared.iter().find(|(coding, _)| *coding == variant.coding)) {
                (Coding::Identity, _) => Bodies::Live,
                (coding, Some((_, bodies))) => Bodies::Prepared(coding, Arc::clone(bodies)),
                (coding, None) => {
                    // Compressed bodies are never taken faster than plain ones, which were measured just before.
                    let plain = table.median(HUNDRED, "posts/s").unwrap_or(1000.0);
                    let bodies = Arc::new(prepare_for(coding, plain * HEADROOM * (measured * 6 / 5).as_secs_f64())?);
                    prepared.push((coding, Arc::clone(&bodies)));
                    Bodies::Prepared(coding, bodies)
                }
            };
            let pace = match variant.open {
                None => Pace::Closed,
                Some(Rate::Posts(posts_per_second)) => Pace::Open(posts_per_second),
                Some(Rate::ShareOf(name, share)) => {
                    Pace::Open((table.median(name, "posts/s").unwrap_or(1000.0) * share).max(1.0))
                }
            };
            table.add(variant.name, one(options, &variant, bodies, pace, measured).await?);
        }
    }
    table.notes.push(format!(
        "The program with its defaults, but for maintenance, which is put off, on a fresh data directory; the \
         uploads of {DEVICES} devices, about 900 bytes of JSON for an event, over keep-alive connections for {} s after a \
         warm-up. The client is one thread. CPU of ingest is all of the program's but the processor's, SQLite's and \
         the query engine's threads. The closed loops run the machine at its limit, processor and client on the same \
         cores, so their latency is that of a full queue; the last two columns are open loops.",
        measured.as_secs_f64()
    ));
    table.notes.push(
        "Checked for every run: all posts answered 2xx; rows, rollups and ledger hold exactly the acknowledged events."
            .into(),
    );
    table.notes.push(format!("Others kept {:.2} cores busy meanwhile.", neighbours.cores()));
    Ok(table)
}

/// About so many compressed bodies of 100 events.
fn prepare_for(coding: Coding, bodies: f64) -> Result<Vec<client::Prepared>> {
    progress(&format!("ingest: preparing {bodies:.0} bodies, {coding:?}"));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some thousands")]
    prepare(coding, 100, bodies as usize)
}

async fn one(
    options: &Options,
    variant: &Variant,
    bodies: Bodies,
    pace: Pace,
    measured: Duration,
) -> Result<[f64; FIGURES.len()]> {
    let start = fresh(options)?.test_clock().variable("STREAMGAUGE_MAINTENANCE__INTERVAL", "1h");
    let subject = Subject::start(&start).await?;
    let load = Load {
        target: subject.target(),
        connections: variant.connections,
        events: variant.events,
        bodies,
        pace,
        warm_up: measured / 5,
        measured,
    };
    let result = measure(&subject, load, None).await?;
    let (_, peak_mib) = rig::process::resident_mib(subject.server.pid);
    subject.check(&result.taken).await?;
    subject.stop().await?;
    Ok(figures(&result, peak_mib))
}

fn figures(result: &Measured, peak_mib: f64) -> [f64; FIGURES.len()] {
    let Measured { taken, seconds, posts, events, flushes, cpu, client_s, .. } = result;
    [
        posts / seconds,
        events / seconds,
        events / cpu.ingest(),
        posts / cpu.ingest(),
        cpu.http * 1e6 / posts,
        cpu.log_writer * 1e6 / posts,
        cpu.log_storage * 1e6 / posts,
        percentile_ms(&taken.latency_us, 0.5),
        percentile_ms(&taken.latency_us, 0.99),
        percentile_ms(&taken.latency_us, 1.0),
        posts / flushes.max(1.0),
        cpu.ingest() / seconds,
        (cpu.processor + cpu.database + cpu.query + client_s) / seconds,
        peak_mib,
    ]
}
