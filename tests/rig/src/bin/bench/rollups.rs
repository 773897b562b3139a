//! `bench rollups`: what keeping rollups costs, and how fast they are read.

use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use rig::server::{Start, send};
use serde_json::Value;
use tokio::process::Command;

use crate::cost::Cpu;
use crate::fleet::{Fleet, Posted};
use crate::machine::Neighbours;
use crate::subject::{Subject, fresh};
use crate::table::{Table, float, float_len};
use crate::{Options, progress, reads};

/// The variants and the figure to reach.
pub(crate) const STREAM_DAY: &str = "a stream, 24 h of minutes";
pub(crate) const PROJECT_MONTH: &str = "the project, 30 days";
pub(crate) const P99_MS: &str = "p99, ms";
/// What `/v1/rollups` shall answer within, and how often (goal G9).
pub(crate) const GOAL_MS: f64 = 10.0;
const GOAL_PER_S: f64 = 2_000.0;

const COSTS: [&str; 11] = [
    "events",
    "delta rows per event",
    "the database, bytes per event",
    "processor, µs of CPU per event",
    "SQLite, µs of CPU per event",
    "merging: delta rows",
    "merging: delta rows per CPU-s",
    "merging: CPU, s",
    "merging: time, s",
    "the database after merging, bytes per event",
    "the server's RSS at the peak, MiB",
];
const READS: [&str; 10] = [
    "rows",
    "answer, KiB",
    "first answer out of deltas, ms",
    "first answer out of merged rows, ms",
    "asked/s",
    "answered/s",
    "CPU per answer, ms",
    "p50, ms",
    P99_MS,
    "p99 in shares of the goal (10 ms at 2 K/s)",
];

/// One kind of answer.
struct Question {
    name: &'static str,
    path: String,
    rows: usize,
    /// Playing time over all of its rows.
    playing_ms: u64,
    per_s: f64,
}

/// Measures both.
pub(crate) async fn run(options: &Options, streams: usize, viewers: usize) -> Result<Vec<Table>> {
    ensure!(streams >= 4 && viewers >= 1, "at least four streams, each with a viewer");
    let neighbours = Neighbours::watch();
    let mut costs = Table::new("rollups", "Rollups: what they cost", &COSTS);
    let mut answers = Table::new("rollup-reads", "Rollups: reading", &READS);
    for run in 1..=options.runs {
        progress(&format!("rollups, run {run} of {}: a month of {streams} streams", options.runs));
        one(options, Fleet::ending_now(streams, viewers), (&mut costs, &mut answers)).await?;
    }
    costs.notes.push(format!(
        "{streams} streams around the clock for a day, each watched by {viewers} devices in views of 28 min with a \
         heartbeat every 30 s, and a view of 2 min a day in the 29 days before; posted as if it arrived when it happened, \
         as fast as it is taken. Maintenance is put off, so all deltas wait; then they are merged in a process of its own. \
         The database is all of it: also catalogue, ledger and free pages."
    ));
    costs.notes.push(
        "Checked: events, attempts and playing time in the rollups are those of the plan, before and after merging."
            .into(),
    );
    costs.notes.push(format!("Others kept {:.2} cores busy meanwhile.", neighbours.cores()));
    answers.notes.push(format!(
        "`/v1/rollups/stream` with three measures, of the same data: after a start the first answer, then the same request \
         at a fixed rate over {} connections, each due at its time, out of merged rows while nothing is committed; from \
         the second one on the server has the answer. Client on the same machine.",
        reads::CONNECTIONS
    ));
    answers.notes.push("Checked: rows and playing time of each answer are those of the plan.".into());
    Ok(vec![costs, answers])
}

async fn one(options: &Options, fleet: Fleet, (costs, answers): (&mut Table, &mut Table)) -> Result<()> {
    let at_rest = fresh(options)?.test_clock().variable("STREAMGAUGE_MAINTENANCE__INTERVAL", "1d");
    let subject = Subject::start(&at_rest).await?;
    let before = Cpu::of(subject.server.pid);
    let posted = fleet.post(&subject).await?;
    subject.settle().await?;
    let cpu = Cpu::of(subject.server.pid).since(&before);
    let (_, peak_mib) = rig::process::resident_mib(subject.server.pid);
    check(&subject, &posted).await?;
    let (at_rest, unmerged_bytes) = stop(subject).await?;

    let questions = questions(&fleet);
    let subject = Subject::start(&at_rest).await?;
    let mut out_of_deltas = Vec::new();
    for question in &questions {
        out_of_deltas.push(question.ask(&subject).await?.0);
    }
    stop(subject).await?;

    let merged = merge(&at_rest.data_dir()).await?;
    let subject = Subject::start(&at_rest).await?;
    check(&subject, &posted).await?;
    for (question, of_deltas) in questions.iter().zip(out_of_deltas) {
        progress(&format!("rollups: {}", question.name));
        let (of_merged, bytes) = question.ask(&subject).await?;
        let read = reads::at_rate(&subject, &question.path, question.per_s, options.measured(10)).await?;
        let p99_ms = read.ms(0.99);
        let figures = [
            float_len(question.rows),
            float_len(bytes) / 1024.0,
            of_deltas.as_secs_f64() * 1e3,
            of_merged.as_secs_f64() * 1e3,
            question.per_s,
            read.per_s,
            read.cpu_s * 1e3,
            read.ms(0.5),
            p99_ms,
            if question.per_s < GOAL_PER_S { f64::NAN } else { p99_ms / GOAL_MS },
        ];
        answers.add(question.name, figures);
    }
    let (_, merged_bytes) = stop(subject).await?;

    let events = float(posted.events);
    let value = |name: &str| merged[name].as_f64().unwrap_or(f64::NAN);
    costs.add(
        "a month",
        [
            events,
            value("deltas") / events,
            float(unmerged_bytes) / events,
            cpu.processor * 1e6 / events,
            cpu.database * 1e6 / events,
            value("deltas"),
            value("deltas") / value("cpu_s"),
            value("cpu_s"),
            value("wall_s"),
            float(merged_bytes) / events,
            peak_mib,
        ],
    );
    Ok(())
}

/// Ends the server; returns how to start it again, and the size of its database.
async fn stop(subject: Subject) -> Result<(Start, u64)> {
    let start = subject.stop().await?;
    let bytes = std::fs::metadata(start.data_dir().join("warehouse.db")).context("the database")?.len();
    Ok((start, bytes))
}

/// Merges all deltas in a process of its own.
async fn merge(data_dir: &Path) -> Result<Value> {
    let mut command = Command::new(std::env::current_exe()?);
    let output =
        command.args(["merge", "--data-dir"]).arg(data_dir).stderr(std::process::Stdio::inherit()).output().await?;
    ensure!(output.status.success(), "merging ended with {}", output.status);
    let merged: Value = serde_json::from_slice(&output.stdout).context("read what merging printed")?;
    ensure!(merged["left"] == 0, "deltas are left: {merged}");
    Ok(merged)
}

/// Sums of the rollups against what was posted.
async fn check(subject: &Subject, posted: &Posted) -> Result<()> {
    for (sql, expected) in [
        ("SELECT count(*) FROM events", posted.events),
        ("SELECT sum(events) FROM rollup_usage_day", posted.events),
        ("SELECT sum(attempts) FROM rollup_stream_day", posted.views),
        ("SELECT sum(playing_ms) FROM rollup_stream_hour", posted.playing_ms),
        ("SELECT sum(playing_ms) FROM rollup_layout_day", posted.playing_ms),
    ] {
        let found = subject.number(sql).await?;
        ensure!(found == expected, "`{sql}` gives {found}, and {expected} were posted");
    }
    let errors = subject.server.log_lines("ERROR");
    ensure!(errors.is_empty(), "the server logged errors: {errors:?}");
    Ok(())
}

fn questions(fleet: &Fleet) -> [Question; 4] {
    let (minute, whole_day) = (TimeDelta::minutes(1), TimeDelta::days(1));
    let midnight = |at: DateTime<Utc>| at - TimeDelta::milliseconds(at.timestamp_millis().rem_euclid(86_400_000));
    let last = |length: TimeDelta| fleet.end - length..fleet.end;
    let month = midnight(fleet.end - TimeDelta::days(30))..midnight(fleet.end) + whole_day;
    let question = |name, per_s, range: &Range<DateTime<Utc>>, (rows, playing_ms), more: &str| {
        let stamp = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Secs, true);
        let grain = if range == &month { "day" } else { "minute" };
        let path = format!(
            "/v1/rollups/stream?grain={grain}&from={}&to={}&measures=attempts,playing_ms,rebuffer_ms&limit=50000{more}",
            stamp(range.start),
            stamp(range.end)
        );
        Question { name, path, rows, playing_ms, per_s }
    };
    let (day, hour) = (last(whole_day), last(TimeDelta::hours(1)));
    let of_stream = fleet.expected(&day, minute, |stream| (stream == 0).then_some(0));
    let of_project = fleet.expected(&month, whole_day, |stream| Some(stream % Fleet::PLATFORMS));
    let filter = format!("&stream_id={}", Fleet::stream(0));
    [
        question(STREAM_DAY, GOAL_PER_S, &day, of_stream, &filter),
        question(PROJECT_MONTH, GOAL_PER_S, &month, of_project, "&group_by=stream_platform"),
        question("all streams, 60 minutes", 20.0, &hour, fleet.expected(&hour, minute, Some), ""),
        question("all streams, 30 days", 20.0, &month, fleet.expected(&month, whole_day, Some), ""),
    ]
}

impl Question {
    /// Asks once and checks; returns how long the answer took, and its bytes.
    async fn ask(&self, subject: &Subject) -> Result<(Duration, usize)> {
        let begun = Instant::now();
        let request = subject.server.request("GET", &self.path).bearer_auth(&subject.server.read_token);
        let reply = send(request).await?;
        let took = begun.elapsed();
        ensure!(reply.status == 200, "`{}` was answered {}: {}", self.path, reply.status, reply.text());
        let answer = reply.json();
        let rows = answer["data"].as_array().context("rows")?;
        let playing_ms: u64 = rows.iter().filter_map(|row| row["playing_ms"].as_u64()).sum();
        ensure!(
            (rows.len(), playing_ms) == (self.rows, self.playing_ms),
            "{}: {} rows with {playing_ms} ms of playing instead of {} with {}",
            self.name,
            rows.len(),
            self.rows,
            self.playing_ms
        );
        Ok((took, reply.bytes.len()))
    }
}
