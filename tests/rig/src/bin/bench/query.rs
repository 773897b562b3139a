//! `bench query`: SQL over the lake beside DuckDB over the same files, and what the app asks for.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chrono::TimeDelta;
use rig::server::{Start, send};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::cost::Cpu;
use crate::fleet::{Fleet, Posted};
use crate::machine::Neighbours;
use crate::subject::{Subject, fresh};
use crate::suite::{NAMES, STATEMENTS, Statement, statements};
use crate::table::{Table, float_len};
use crate::{Options, progress, reads};

/// The variants and the figure to reach.
pub(crate) const OURS_CPU: &str = "CPU, ms";
pub(crate) const DUCKDB_CPU: &str = "DuckDB: CPU, ms";
pub(crate) const SUM: &str = "sum of the ten";
/// Our CPU time over that of DuckDB.
pub(crate) const GOAL_RATIO: f64 = 0.85;

/// Runs of a statement after one that is not counted: a tick of the system's accounting is 10 ms.
const REPEATS: usize = 10;
/// Answers of the app's screens in a second.
const SCREENS_PER_S: f64 = 20.0;
/// Events that one viewer of a stream makes in a day.
const EVENTS_PER_VIEWER: usize = 48 * 60;
const STREAMS: usize = 200;

const SCREENS: [(&str, &str); 4] = [
    ("usage", "/v1/stats/usage"),
    ("performance", "/v1/stats/performance?range=today"),
    ("streams", "/v1/stats/streams?range=today"),
    ("health", "/v1/health/streams"),
];

/// Measures both.
pub(crate) async fn run(options: &Options, events: usize) -> Result<Vec<Table>> {
    let neighbours = Neighbours::watch();
    let fleet =
        Fleet::ending_now(STREAMS.min(events / EVENTS_PER_VIEWER).max(4), events.div_ceil(STREAMS * EVENTS_PER_VIEWER));
    progress(&format!("query: a lake of about {events} events"));
    let (start, posted) = lake(options, &fleet).await?;
    let statements = statements(fleet.end - TimeDelta::hours(6));
    let figures: Vec<&'static str> = NAMES.into_iter().chain([SUM, "RSS at the peak, MiB"]).collect();
    let mut sql = Table::new("query", "SQL", &figures);
    let mut screens = Table::new(
        "screens",
        "What the app asks for",
        &["answers/s", "first answer, ms", "CPU per answer, ms", "p50, ms", "p99, ms", "max, ms"],
    );
    let mut peer = None;
    for run in 1..=options.runs {
        progress(&format!("query, run {run} of {}: SQL", options.runs));
        let subject = Subject::start(&start).await?;
        let ours = all_of_ours(&subject, &statements, &posted).await?;
        add(&mut sql, [OURS_CPU, "time, ms"], &ours);
        subject.stop().await?;
        progress(&format!("query, run {run} of {}: DuckDB", options.runs));
        if let Some(theirs) = duckdb(&start, &statements).await? {
            compare(&statements, &ours, &theirs)?;
            add(&mut sql, [DUCKDB_CPU, "DuckDB: time, ms"], &theirs);
            peer = Some(theirs.version);
        }
        progress(&format!("query, run {run} of {}: the app", options.runs));
        let subject = Subject::start(&start).await?;
        for (name, path) in SCREENS {
            screens.add(name, screen(&subject, path, options.measured(10)).await?);
        }
        subject.stop().await?;
    }
    sql.notes.push(format!(
        "{} events of {} streams, with {} at a time watching each for a day, after a month with little, posted and merged as usual; then \
         nothing is written any more. Each statement {REPEATS} times in turn after one that is not counted: CPU of the \
         whole server, mean; time until the answer as JSON is there, median.",
        posted.events, fleet.streams, fleet.viewers
    ));
    sql.notes.push(match peer {
        Some(version) => format!(
            "DuckDB {version} reads the same files by the same catalogue in a process of its own (`tests/clients/queries.py`), \
             with as many threads as there are processors, and fetches rows into Python. Checked: rows and sums of every \
             number are equal, but for approximate percentiles (5 %)."
        ),
        None => "DuckDB was not there: `STREAMGAUGE_TEST_CLIENTS` names no folder.".into(),
    });
    let ratio = sql.median(OURS_CPU, SUM).zip(sql.median(DUCKDB_CPU, SUM)).map(|(ours, theirs)| ours / theirs);
    if let Some(ratio) = ratio {
        sql.notes.push(format!("CPU of the ten over that of DuckDB: {ratio:.2}; the goal is {GOAL_RATIO} or less."));
    }
    sql.notes.push(format!("Others kept {:.2} cores busy meanwhile.", neighbours.cores()));
    screens.notes.push(format!(
        "The same lake, the project's own numbers, {SCREENS_PER_S} requests a second for each path, one path after the \
         other; each request is due at its time."
    ));
    Ok(vec![sql, screens])
}

/// A data directory with a lake in it, and how to start a server on it that changes nothing.
async fn lake(options: &Options, fleet: &Fleet) -> Result<(Start, Posted)> {
    let subject = Subject::start(&fresh(options)?.test_clock()).await?;
    let posted = fleet.post(&subject).await?;
    subject.settle().await?;
    // Merging goes on until there is nothing to merge.
    let merges = "SELECT count(*) FROM commits WHERE lane = 'maintenance'";
    let mut seen = subject.number(merges).await?;
    loop {
        tokio::time::sleep(Duration::from_secs(35)).await;
        let now = subject.number(merges).await?;
        if now == seen {
            break;
        }
        seen = now;
    }
    let stored = subject.number("SELECT count(*) FROM events").await?;
    ensure!(stored == posted.events, "{} events were posted, and {stored} are stored", posted.events);
    let start = subject.stop().await?.variable("STREAMGAUGE_MAINTENANCE__INTERVAL", "1d");
    Ok((start, posted))
}

/// What a statement cost and gave.
#[derive(Debug)]
struct Answered {
    wall_ms: f64,
    cpu_ms: f64,
    rows: usize,
    /// Columns of numbers, each added up.
    sums: Vec<(String, f64)>,
}

/// All statements by one engine.
#[derive(Debug)]
struct Suite {
    version: String,
    answers: Vec<Answered>,
    peak_mib: f64,
}

fn add(table: &mut Table, [cpu, wall]: [&str; 2], suite: &Suite) {
    let column = |value: fn(&Answered) -> f64| {
        let mut figures = [f64::NAN; STATEMENTS + 2];
        for (figure, answered) in figures.iter_mut().zip(&suite.answers) {
            *figure = value(answered);
        }
        figures[STATEMENTS] = suite.answers.iter().map(value).sum();
        figures
    };
    let mut of_cpu = column(|answered| answered.cpu_ms);
    of_cpu[STATEMENTS + 1] = suite.peak_mib;
    table.add(cpu, of_cpu);
    table.add(wall, column(|answered| answered.wall_ms));
}

async fn all_of_ours(subject: &Subject, statements: &[Statement], posted: &Posted) -> Result<Suite> {
    let mut answers = Vec::new();
    for statement in statements {
        answers.push(ours(subject, &statement.ours).await?);
    }
    let counted = answers[0].sums.first().map_or(f64::NAN, |(_, sum)| *sum);
    ensure!((counted - crate::table::float(posted.events)).abs() < 0.5, "{counted} events are counted");
    let (_, peak_mib) = rig::process::resident_mib(subject.server.pid);
    Ok(Suite { version: String::new(), answers, peak_mib })
}

async fn ours(subject: &Subject, sql: &str) -> Result<Answered> {
    let statement = json!({ "sql": sql, "limit": 1_000_000 });
    let ask = async || {
        let request = subject.server.request("POST", "/v1/sql").bearer_auth(&subject.server.read_token);
        let reply = send(request.json(&statement)).await?;
        ensure!(reply.status == 200, "`{sql}` was answered {}: {}", reply.status, reply.text());
        Ok(reply)
    };
    let mut answer = ask().await?;
    let (mut walls, before) = (Vec::new(), Cpu::of(subject.server.pid));
    for _ in 0..REPEATS {
        let begun = Instant::now();
        answer = ask().await?;
        walls.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    let cpu_ms = Cpu::of(subject.server.pid).since(&before).total() * 1e3 / float_len(REPEATS);
    walls.sort_by(f64::total_cmp);
    let answer = answer.json();
    let rows = answer["data"].as_array().context("rows")?;
    let first = rows.first().and_then(Value::as_object).context("a row")?;
    let sums = first.keys().filter(|name| rows.iter().all(|row| row[name.as_str()].is_number()));
    let sum = |name: &String| rows.iter().filter_map(|row| row[name.as_str()].as_f64()).sum();
    let sums = sums.map(|name| (name.clone(), sum(name))).collect();
    Ok(Answered { wall_ms: walls[REPEATS / 2], cpu_ms, rows: rows.len(), sums })
}

/// The same by DuckDB; `None` if it is not installed.
async fn duckdb(start: &Start, statements: &[Statement]) -> Result<Option<Suite>> {
    let Some(folder) = std::env::var_os("STREAMGAUGE_TEST_CLIENTS").map(std::path::PathBuf::from) else {
        return Ok(None);
    };
    let threads = std::thread::available_parallelism()?.to_string();
    let mut child = Command::new(folder.join("venv/bin/python"))
        .arg(folder.join("queries.py"))
        .arg(start.data_dir().join("warehouse.db"))
        .args([threads, REPEATS.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("run DuckDB: is `tests/clients/setup.sh` up to date?")?;
    let texts: Vec<&str> = statements.iter().map(|statement| statement.duckdb.as_str()).collect();
    child.stdin.take().context("its input")?.write_all(serde_json::to_string(&texts)?.as_bytes()).await?;
    let output = child.wait_with_output().await?;
    ensure!(output.status.success(), "DuckDB ended with {}", output.status);
    let said: Value = serde_json::from_slice(&output.stdout).context("read what DuckDB's run printed")?;
    let answers = said["queries"].as_array().context("queries")?.iter().map(|query| {
        let number = |name: &str| query[name].as_f64().context("a number");
        let sums = query["sums"].as_object().context("sums")?.iter();
        Ok(Answered {
            wall_ms: number("wall_ms")?,
            cpu_ms: number("cpu_ms")?,
            rows: usize::try_from(query["rows"].as_u64().context("rows")?)?,
            sums: sums.map(|(name, sum)| (name.clone(), sum.as_f64().unwrap_or(f64::NAN))).collect(),
        })
    });
    Ok(Some(Suite {
        version: said["version"].as_str().unwrap_or_default().to_owned(),
        answers: answers.collect::<Result<_>>()?,
        peak_mib: said["rss_mib"].as_f64().unwrap_or(f64::NAN),
    }))
}

/// Whether both gave the same.
fn compare(statements: &[Statement], ours: &Suite, theirs: &Suite) -> Result<()> {
    ensure!(ours.answers.len() == theirs.answers.len(), "an answer is missing");
    for (statement, (ours, theirs)) in statements.iter().zip(ours.answers.iter().zip(&theirs.answers)) {
        let name = statement.name;
        ensure!(ours.rows == theirs.rows, "{name}: {} rows, DuckDB has {}", ours.rows, theirs.rows);
        ensure!(ours.sums.len() == theirs.sums.len(), "{name}: {:?}, DuckDB has {:?}", ours.sums, theirs.sums);
        for (column, sum) in &ours.sums {
            let other = theirs.sums.iter().find(|(other, _)| other == column).map_or(f64::NAN, |(_, sum)| *sum);
            let apart = (sum - other).abs() / other.abs().max(1.0);
            ensure!(apart <= statement.tolerance, "{name}: `{column}` adds up to {sum}, in DuckDB to {other}");
        }
    }
    Ok(())
}

/// One path at a fixed rate.
async fn screen(subject: &Subject, path: &str, measured: Duration) -> Result<[f64; 6]> {
    let begun = Instant::now();
    let reply = send(subject.server.request("GET", path).bearer_auth(&subject.server.read_token)).await?;
    let first_ms = begun.elapsed().as_secs_f64() * 1e3;
    ensure!(reply.status == 200, "`{path}` was answered {}: {}", reply.status, reply.text());
    let read = reads::at_rate(subject, path, SCREENS_PER_S, measured).await?;
    Ok([read.per_s, first_ms, read.cpu_s * 1e3, read.ms(0.5), read.ms(0.99), read.ms(1.0)])
}
