//! `bench log`: the log on disk against its ceiling, a plain file under the same group commit.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use event_log::{DiskLog, DiskLogConfig, EventLog, Polled};
use schemas::Timestamp;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::appender::{Appended, Limit, Target, append_all};
use crate::machine::Neighbours;
use crate::plain_file;
use crate::table::{Table, float, float_len};
use crate::{Options, progress};

/// Sizes of a record, and how many append at once: one event, and a batch of 100 after compression.
const LOADS: [(usize, usize, &str); 3] =
    [(300, 64, "300 B × 64"), (8 * 1024, 16, "8 KiB × 16"), (8 * 1024, 64, "8 KiB × 64")];

const FIGURES: [&str; 8] = [
    "appends/s",
    "CPU per append, µs",
    "p50, ms",
    "p99, ms",
    "max, ms",
    "appends per flush",
    "flushes/s",
    "opening after a crash, ms",
];

/// What is appended before old records are forgotten.
const RETENTION_RECORDS: u64 = 131_072;

/// Measures everything.
pub(crate) async fn run(options: &Options) -> Result<Vec<Table>> {
    let neighbours = Neighbours::watch();
    let measured = options.measured(6);
    let mut rates = Table::new("log", "The log on disk against a plain file", &FIGURES);
    let mut sizes = Table::new(
        "log",
        "The log after its retention",
        &[
            "appended, MiB",
            "on disk, MiB",
            "records kept, MiB",
            "on disk afterwards, MiB",
            "forgetting, ms",
            "opening afterwards, ms",
        ],
    );
    for run in 1..=options.runs {
        for (bytes, appenders, name) in LOADS {
            for (kind, is_plain) in [("plain file", true), ("log", false)] {
                progress(&format!("log, run {run} of {}: {name}, {kind}", options.runs));
                let figures = rate(is_plain, bytes, appenders, measured).await?;
                rates.add(&format!("{name}, {kind}"), figures);
            }
        }
        progress(&format!("log, run {run} of {}: retention", options.runs));
        sizes.add("8 KiB × 64", retention().await?);
    }
    rates.notes.push(format!(
        "Tasks append and wait ({} s each, after a warm-up); one writer takes what waits, writes it and flushes once. \
         The plain file is the ceiling: the same group commit with nothing but `write` and `fdatasync`. CPU is of the \
         whole process, the tasks and their wake-ups included.",
        measured.as_secs_f64()
    ));
    rates.notes.push(
        "Checked: the process is ended with kill -9, and the log then holds every record that was confirmed, in order."
            .into(),
    );
    sizes.notes.push(
        "1 GiB in records of 8 KiB, then everything but the segment that is written to is forgotten. Size is what the \
         file system has given out."
            .into(),
    );
    rates.notes.push(format!("Others kept {:.2} cores busy meanwhile.", neighbours.cores()));
    Ok(vec![rates, sizes])
}

/// Appends in a process of its own, which then ends as in a crash; checks what is left.
async fn rate(is_plain: bool, bytes: usize, appenders: usize, measured: Duration) -> Result<[f64; FIGURES.len()]> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("log");
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("append").args(is_plain.then_some("--plain")).arg("--path").arg(&path);
    for (name, value) in [
        ("--bytes", bytes.to_string()),
        ("--appenders", appenders.to_string()),
        ("--measured", measured.as_secs_f64().to_string()),
    ] {
        command.args([name, &value]);
    }
    let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let output = child.stdout.take().context("the output of the process")?;
    let line = BufReader::new(output).lines().next_line().await?.context("the process said nothing")?;
    child.kill().await?;
    let appended: Appended = serde_json::from_str(&line)?;
    let opening_ms = if is_plain {
        check_file(&path, appended.records, bytes as u64)?;
        f64::NAN
    } else {
        check_log(&path, appended.records, bytes as u64).await?
    };
    Ok([
        appended.appends_per_s,
        appended.cpu_us,
        appended.p50_ms,
        appended.p99_ms,
        appended.max_ms,
        appended.appends_per_flush,
        appended.flushes_per_s,
        opening_ms,
    ])
}

fn check_file(path: &Path, records: u64, record_bytes: u64) -> Result<()> {
    let expected = records * (record_bytes + plain_file::HEADER_BYTES);
    let found = fs::metadata(path)?.len();
    ensure!(found == expected, "the plain file has {found} bytes instead of {expected}");
    Ok(())
}

/// Checks that every confirmed record is there, in order. Returns how long opening took, in milliseconds.
async fn check_log(path: &Path, records: u64, record_bytes: u64) -> Result<f64> {
    let started = Instant::now();
    let log = DiskLog::open(DiskLogConfig::new(path))?;
    let opening_ms = started.elapsed().as_secs_f64() * 1000.0;
    let held: u64 = log.ranges().iter().map(|range| range.high - range.low).sum();
    ensure!(held == records, "{records} records were confirmed, and the log holds {held} after a crash");
    let (read, bytes) = read_all(&log).await?;
    ensure!(read == records, "{records} records were confirmed, and {read} can be read");
    ensure!(bytes == records * record_bytes, "the records have {bytes} bytes instead of {}", records * record_bytes);
    Ok(opening_ms)
}

/// Reads a log to its end; returns records and their bytes.
async fn read_all(log: &DiskLog) -> Result<(u64, u64)> {
    let mut consumer = log.subscribe();
    let (mut records, mut bytes) = (0, 0);
    let mut next: Vec<u64> = log.ranges().iter().map(|range| range.low).collect();
    loop {
        match consumer.poll(4 << 20, Duration::ZERO).await? {
            Polled::Assigned(partitions) => {
                for partition in partitions {
                    consumer.start_at(partition, next[usize::from(partition)])?;
                }
            }
            Polled::Records(polled) => {
                for record in polled {
                    let expected = &mut next[usize::from(record.partition)];
                    ensure!(record.position == *expected, "position {} comes after {expected}", record.position);
                    *expected += 1;
                    records += 1;
                    bytes += record.bytes.len() as u64;
                }
            }
            Polled::Idle | Polled::Revoking(_) => return Ok((records, bytes)),
        }
    }
}

async fn retention() -> Result<[f64; 6]> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("log");
    let record_bytes = 8 * 1024;
    let target = Arc::new(Target::open(&path, false)?);
    let limit = Limit { records: RETENTION_RECORDS, until: Instant::now() + Duration::from_secs(300) };
    let appended = append_all(Arc::clone(&target), record_bytes, 64, limit).await?.len() as u64;
    ensure!(appended == RETENTION_RECORDS, "only {appended} records in five minutes");
    let before = disk_mib(&path)?;
    let Some(Target::Disk(log)) = Arc::into_inner(target) else { anyhow::bail!("an appender is still there") };
    let high: Vec<u64> = log.ranges().iter().map(|range| range.high).collect();
    let started = Instant::now();
    let forgotten = log.forget(&high, Timestamp::MAX)?;
    let forgetting_ms = started.elapsed().as_secs_f64() * 1000.0;
    ensure!(forgotten > 0, "nothing was forgotten");
    // Folders are deleted in the background.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = disk_mib(&path)?;
    drop(log);
    let started = Instant::now();
    let log = DiskLog::open(DiskLogConfig::new(&path))?;
    let opening_ms = started.elapsed().as_secs_f64() * 1000.0;
    let (kept, _) = read_all(&log).await?;
    ensure!(kept + forgotten == appended, "{appended} records = {forgotten} forgotten + {kept} kept");
    let mib = |records| float(records) * float_len(record_bytes) / f64::from(1 << 20);
    Ok([mib(appended), before, mib(kept), after, forgetting_ms, opening_ms])
}

/// What the file system has given out for a folder, MiB.
fn disk_mib(folder: &Path) -> Result<f64> {
    let mut folders = vec![folder.to_owned()];
    let mut blocks = 0;
    while let Some(folder) = folders.pop() {
        // A folder or a file may be deleted meanwhile.
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let entry = entry?;
            match entry.metadata() {
                Ok(about) if about.is_dir() => folders.push(entry.path()),
                Ok(about) => blocks += about.blocks(),
                Err(_) => {}
            }
        }
    }
    Ok(float(blocks) * 512.0 / f64::from(1 << 20))
}
