//! Requests that read, at a fixed rate.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::sync::Mutex;

use crate::client::Connection;
use crate::cost::Cpu;
use crate::drive::{next_due, pace};
use crate::subject::Subject;
use crate::table::{float_len, percentile_ms};

/// As many as one project may have under way or waiting; more would be refused.
pub(crate) const CONNECTIONS: usize = 16;

/// What came of it.
#[derive(Debug)]
pub(crate) struct Read {
    /// From when a request was due to the end of its answer, of the measured time, sorted.
    pub(crate) latency_us: Vec<u64>,
    /// CPU-seconds of the server for one answer.
    pub(crate) cpu_s: f64,
    /// Answers a second.
    pub(crate) per_s: f64,
}

impl Read {
    /// The latency that a share of the answers does not exceed, milliseconds.
    pub(crate) fn ms(&self, share: f64) -> f64 {
        percentile_ms(&self.latency_us, share)
    }
}

/// Asks for a path so many times a second, each request due at its time; a late start counts as latency. Everything must be
/// answered 200.
pub(crate) async fn at_rate(subject: &Subject, path: &str, per_second: f64, measured: Duration) -> Result<Read> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\r\n",
        subject.target().address,
        subject.server.read_token
    );
    let from = Instant::now() + measured / 5;
    let end = from + measured;
    let due = Arc::new(Mutex::new(pace(per_second, end)?));
    let connections = (0..CONNECTIONS).map(|_| {
        let (request, due, address) = (request.clone(), Arc::clone(&due), subject.target().address);
        tokio::spawn(async move {
            let mut connection = Connection::open(&address).await?;
            let (mut latency_us, mut statuses) = (Vec::new(), BTreeMap::<u16, u64>::new());
            while let Some(due) = next_due(&due).await {
                *statuses.entry(connection.exchange(request.as_bytes()).await?).or_default() += 1;
                if due >= from {
                    latency_us.push(u64::try_from(due.elapsed().as_micros())?);
                }
            }
            anyhow::Ok((latency_us, statuses))
        })
    });
    let connections: Vec<_> = connections.collect();
    tokio::time::sleep_until(from.into()).await;
    let (before, begun) = (Cpu::of(subject.server.pid), Instant::now());
    let mut latency_us = Vec::new();
    for connection in connections {
        let (of_connection, statuses) = connection.await??;
        ensure!(statuses.keys().all(|status| *status == 200), "`{path}` was answered {statuses:?}");
        latency_us.extend(of_connection);
    }
    ensure!(!latency_us.is_empty(), "`{path}` was never asked for");
    let answers = float_len(latency_us.len());
    let cpu_s = Cpu::of(subject.server.pid).since(&before).total() / answers;
    latency_us.sort_unstable();
    Ok(Read { latency_us, cpu_s, per_s: answers / begun.elapsed().as_secs_f64() })
}
