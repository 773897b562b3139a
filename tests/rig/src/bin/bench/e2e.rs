//! `bench e2e`: everything at once, from the first byte of an upload to committed rows.

use std::time::Instant;

use anyhow::{Result, ensure};

use crate::audience::DEVICES;
use crate::drive::{Bodies, Load, Measured, Pace, Watch, measure, middle};
use crate::machine::Neighbours;
use crate::subject::{Subject, fresh};
use crate::table::{Table, float, percentile_ms};
use crate::{Options, progress};

/// The variant and the figure to reach.
pub(crate) const SUSTAINED: &str = "as fast as it is committed";
/// It cannot flatter: what waits at the end is in the time.
pub(crate) const COMMITTED_PER_S: &str = "events/s from the first post to the last commit";

pub(crate) const EVENTS_PER_POST: usize = 100;
/// Two commits of the default size: while more than this waits, the sender pauses.
pub(crate) const HOLD_ABOVE_RECORDS: f64 = 2_000.0;
/// A fixed rate that leaves a fifth of the machine.
const STEADY_SHARE: f64 = 0.8;

pub(crate) const WAITING_S: &str = "from acknowledged to committed, s: mean";

const FIGURES: [&str; 18] = [
    "events acknowledged/s",
    COMMITTED_PER_S,
    "records waiting: median",
    "records waiting: at the end",
    WAITING_S,
    "p50, ms",
    "p99, ms",
    "max, ms",
    "CPU per event, µs: requests",
    "CPU per event, µs: log writer",
    "CPU per event, µs: log storage",
    "CPU per event, µs: processor",
    "CPU per event, µs: SQLite",
    "CPU per event, µs: all of the program",
    "cores used by the client",
    "catching up afterwards, s",
    "RSS afterwards, MiB",
    "RSS at the peak, MiB",
];

/// Measures all variants.
pub(crate) async fn run(options: &Options) -> Result<Table> {
    let neighbours = Neighbours::watch();
    let seconds = options.measured(30).as_secs_f64();
    let mut table = Table::new("e2e", "End to end", &FIGURES);
    for run in 1..=options.runs {
        let said = |name: &str| progress(&format!("e2e, run {run} of {}: {name}", options.runs));
        said(SUSTAINED);
        let held = Watch { hold_above: Some(HOLD_ABOVE_RECORDS), ..Watch::default() };
        table.add(SUSTAINED, one(options, Pace::Closed, held).await?);
        said("at a fixed rate");
        let rate = table.median(SUSTAINED, COMMITTED_PER_S).unwrap_or(10_000.0) * STEADY_SHARE;
        #[expect(clippy::cast_precision_loss, reason = "100")]
        let posts_per_s = (rate / EVENTS_PER_POST as f64).max(1.0);
        let steady = one(options, Pace::Open(posts_per_s), Watch::default()).await?;
        ensure!(steady[3] <= HOLD_ABOVE_RECORDS, "at a fixed rate of {rate:.0} events/s the lag grows");
        table.add("at 80 % of that", steady);
        said("as fast as it is acknowledged");
        table.add("as fast as it is acknowledged", one(options, Pace::Closed, Watch::default()).await?);
    }
    table.notes.push(format!(
        "The program with its defaults on a fresh data directory, an audience of {DEVICES} \
         devices that posts {EVENTS_PER_POST} events at a time over 16 connections for {seconds} s after a warm-up; merging and all other maintenance go on meanwhile. In the first \
         column the sender pauses while more than {HOLD_ABOVE_RECORDS} records wait to be committed, so the rate is one \
         that can go on for ever; the second is an open loop; in the last it posts as fast as it is acknowledged, and \
         what waits grows."
    ));
    table.notes.push(
        "Checked for every run: all posts answered 2xx; rows, rollups and ledger hold exactly the acknowledged events."
            .into(),
    );
    table.notes.push(format!("Others kept {:.2} cores busy meanwhile.", neighbours.cores()));
    Ok(table)
}

async fn one(options: &Options, pace: Pace, mut watch: Watch) -> Result<[f64; FIGURES.len()]> {
    let measured = options.measured(30);
    let subject = Subject::start(&fresh(options)?.test_clock()).await?;
    let load = Load {
        target: subject.target(),
        connections: 16,
        events: EVENTS_PER_POST,
        bodies: Bodies::Live,
        pace,
        warm_up: measured / 5,
        measured,
    };
    let begun = Instant::now();
    let result = measure(&subject, load, Some(&mut watch)).await?;
    let catching_up = subject.settle().await?;
    let whole_s = begun.elapsed().as_secs_f64();
    let (after_mib, peak_mib) = rig::process::resident_mib(subject.server.pid);
    subject.check(&result.taken).await?;
    subject.stop().await?;
    let Measured { taken, seconds, posts, events, cpu, client_s, .. } = &result;
    let last_lag = watch.sort();
    let per_event = |cpu_s: f64| cpu_s * 1e6 / events;
    Ok([
        events / seconds,
        float(taken.acked_events) / whole_s,
        middle(&watch.lag_records),
        last_lag,
        watch.waiting_s(posts / seconds),
        percentile_ms(&taken.latency_us, 0.5),
        percentile_ms(&taken.latency_us, 0.99),
        percentile_ms(&taken.latency_us, 1.0),
        per_event(cpu.http),
        per_event(cpu.log_writer),
        per_event(cpu.log_storage),
        per_event(cpu.processor),
        per_event(cpu.database),
        per_event(cpu.total()),
        client_s / seconds,
        catching_up.as_secs_f64(),
        after_mib,
        peak_mib,
    ])
}
