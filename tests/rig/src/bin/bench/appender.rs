//! Appending from many tasks at once, in a process of its own: its CPU is then the log's and the tasks' alone, and it can
//! be ended as a crash ends it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use clap::Args;
use event_log::{DiskLog, DiskLogConfig, EventLog, NewRecord};
use serde::{Deserialize, Serialize};

use crate::plain_file::PlainFile;
use crate::random::Random;
use crate::table::{float, float_len, percentile_ms};
use crate::{machine, now};

/// What is appended where.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The log's folder, or the plain file.
    #[arg(long)]
    path: PathBuf,
    /// Append to a plain file.
    #[arg(long)]
    plain: bool,
    /// Bytes of a record.
    #[arg(long)]
    bytes: usize,
    /// Tasks that append.
    #[arg(long)]
    appenders: usize,
    /// Seconds measured.
    #[arg(long)]
    measured: f64,
}

/// What was measured.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Appended {
    /// Records confirmed, those before the measured time among them.
    pub(crate) records: u64,
    pub(crate) appends_per_s: f64,
    pub(crate) cpu_us: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
    pub(crate) appends_per_flush: f64,
    pub(crate) flushes_per_s: f64,
}

/// What is appended to.
pub(crate) enum Target {
    Plain(PlainFile),
    Disk(Box<DiskLog>),
}

impl Target {
    /// The log in this folder with its defaults, or a plain file.
    pub(crate) fn open(path: &Path, plain: bool) -> Result<Self> {
        Ok(if plain {
            Self::Plain(PlainFile::create(path)?)
        } else {
            Self::Disk(Box::new(DiskLog::open(DiskLogConfig::new(path))?))
        })
    }

    async fn append(&self, partition: u16, bytes: Bytes) -> Result<()> {
        match self {
            Self::Plain(file) => file.append(bytes).await,
            Self::Disk(log) => {
                log.append(vec![NewRecord { partition, log_time: now(), bytes }]).await?;
                Ok(())
            }
        }
    }

    fn flushes(&self) -> u64 {
        match self {
            Self::Plain(file) => file.flushes(),
            Self::Disk(log) => log.stats().flushes,
        }
    }
}

/// Appends for a while; leaves everything open.
pub(crate) async fn run(arguments: &Arguments) -> Result<(Appended, Arc<Target>)> {
    let target = Arc::new(Target::open(&arguments.path, arguments.plain)?);
    let measured = Duration::try_from_secs_f64(arguments.measured)?;
    let from = Instant::now() + measured / 5;
    let until = from + measured;
    let limit = Limit { records: u64::MAX, until };
    let appending = tokio::spawn(append_all(Arc::clone(&target), arguments.bytes, arguments.appenders, limit));
    tokio::time::sleep_until(from.into()).await;
    let (cpu_before, flushes_before) = (machine::cpu_seconds(), target.flushes());
    tokio::time::sleep_until(until.into()).await;
    let (cpu_s, flushes) = (machine::cpu_seconds() - cpu_before, target.flushes() - flushes_before);
    let all = appending.await??;
    let in_time = all.iter().filter(|(at, _)| (from..until).contains(at));
    let mut latency_us: Vec<u64> = in_time.map(|(_, us)| *us).collect();
    latency_us.sort_unstable();
    ensure!(!latency_us.is_empty(), "nothing was appended");
    let appends = float_len(latency_us.len());
    let appended = Appended {
        records: all.len() as u64,
        appends_per_s: appends / measured.as_secs_f64(),
        cpu_us: cpu_s * 1e6 / appends,
        p50_ms: percentile_ms(&latency_us, 0.5),
        p99_ms: percentile_ms(&latency_us, 0.99),
        max_ms: percentile_ms(&latency_us, 1.0),
        appends_per_flush: appends / float(flushes.max(1)),
        flushes_per_s: float(flushes) / measured.as_secs_f64(),
    };
    Ok((appended, target))
}

/// When appenders end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit {
    pub(crate) records: u64,
    pub(crate) until: Instant,
}

/// Appends from many tasks at once; returns when each append was confirmed, and after how many microseconds.
pub(crate) async fn append_all(
    target: Arc<Target>,
    bytes: usize,
    appenders: usize,
    limit: Limit,
) -> Result<Vec<(Instant, u64)>> {
    let mut random = Random::new();
    let noise: Vec<u8> = (0..1 << 17).flat_map(|_| random.next().to_be_bytes()).collect();
    let noise = Bytes::from(noise);
    let begun = Arc::new(AtomicU64::new(0));
    let tasks = (0..appenders).map(|number| {
        let (target, noise, begun) = (Arc::clone(&target), noise.clone(), Arc::clone(&begun));
        let partition = u16::try_from(number % 4).unwrap_or(0);
        tokio::spawn(async move {
            let mut random = Random::new();
            let mut confirmed = Vec::new();
            while Instant::now() < limit.until && begun.fetch_add(1, Ordering::Relaxed) < limit.records {
                let at = random.below(noise.len() - bytes);
                let started = Instant::now();
                target.append(partition, noise.slice(at..at + bytes)).await?;
                let ended = Instant::now();
                confirmed.push((ended, u64::try_from((ended - started).as_micros()).unwrap_or(u64::MAX)));
            }
            anyhow::Ok(confirmed)
        })
    });
    let mut all = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        all.extend(task.await??);
    }
    Ok(all)
}
