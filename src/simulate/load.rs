//! Load at a fixed rate, open loop: each upload has an instant at which it is due, whatever became of the others, and its
//! latency is counted from there. A server that falls behind is seen to, and so is a client that does.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use tokio::sync::mpsc::Receiver;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::books::Ledger;
use super::fleet::Upload;
use super::histogram::Histogram;
use super::post::{Answered, Door};

/// Requests under way at once.
const CONNECTIONS: usize = 64;
/// Uploads that are due and not answered. Beyond it none is begun, since their bodies are in memory.
const UNDER_WAY: usize = 2_048;
/// An upload that is begun so long after it is due is late.
const LATE: Duration = Duration::from_millis(100);

/// What became of a run at a fixed rate.
#[derive(Debug, Default)]
pub(super) struct Load {
    /// Events a second that were wanted.
    wanted: f64,
    /// Events, copies included, and the time from the first to be due until the last was answered.
    events: u64,
    took: Duration,
    /// From when an upload is due until it is answered with 2xx, repetitions included.
    latency: Histogram,
    /// Uploads that were begun late, and by how much the last of them.
    late: u64,
    latest: Duration,
}

/// An upload that was posted.
struct Posted {
    answered: Result<Answered>,
    /// How long after it was due it was begun and answered.
    begun: Duration,
    done: Duration,
}

/// Posts all uploads at `rate` events a second; those of one device one after the other.
pub(super) async fn all(door: Door, mut uploads: Receiver<Upload>, rate: f64, ledger: &mut Ledger) -> Result<Load> {
    let door = Arc::new(door);
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    let mut load = Load { wanted: rate, ..Load::default() };
    // Of each device, when its last upload is answered.
    let mut turns: HashMap<usize, oneshot::Receiver<()>> = HashMap::new();
    let mut posts = JoinSet::new();
    let mut upload = uploads.recv().await;
    let begun = Instant::now();
    while let Some(next) = upload {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let due = begun + Duration::from_secs_f64(load.events as f64 / rate);
        load.events += next.events.len() as u64;
        tokio::time::sleep_until(due).await;
        while posts.len() >= UNDER_WAY {
            load.note(posts.join_next().await, ledger)?;
        }
        ledger.send(&next);
        let (done, turn) = oneshot::channel::<()>();
        let before = turns.insert(next.device, turn);
        let (door, connections) = (Arc::clone(&door), Arc::clone(&connections));
        posts.spawn(async move {
            if let Some(before) = before {
                // An error says that it is over, too.
                let _ = before.await;
            }
            let connection = connections.acquire().await;
            let begun = due.elapsed();
            let answered = door.post(next).await;
            drop((connection, done));
            Posted { answered, begun, done: due.elapsed() }
        });
        while let Some(posted) = posts.try_join_next() {
            load.note(Some(posted), ledger)?;
        }
        upload = uploads.recv().await;
    }
    while let Some(posted) = posts.join_next().await {
        load.note(Some(posted), ledger)?;
    }
    load.took = begun.elapsed();
    Ok(load)
}

impl Load {
    fn note(&mut self, posted: Option<Result<Posted, JoinError>>, ledger: &mut Ledger) -> Result<()> {
        let Some(posted) = posted else { return Ok(()) };
        let Posted { answered, begun, done } = posted?;
        ledger.take(&answered?);
        self.latency.add(done);
        self.latest = self.latest.max(begun);
        self.late += u64::from(begun > LATE);
        Ok(())
    }

    /// Events a second that were answered.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    fn rate(&self) -> f64 {
        self.events as f64 / self.took.as_secs_f64().max(1e-9)
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "wanted_events_per_s": self.wanted,
            "events_per_s": self.rate(),
            "late_uploads": self.late,
            "latest_us": u64::try_from(self.latest.as_micros()).unwrap_or(u64::MAX),
            "latency": self.latency.to_json(),
        })
    }

    pub(super) fn to_text(&self) -> String {
        #[expect(clippy::cast_precision_loss, reason = "to be read")]
        let ms = |us: u64| us as f64 / 1_000.0;
        let of = |percent| ms(self.latency.percentile_us(percent));
        let mut text = format!(
            "{:.0} events/s wanted, {:.0} events/s answered; latency from when an upload was due: \
             p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
            self.wanted,
            self.rate(),
            of(50),
            of(90),
            of(99),
            ms(self.latency.max_us()),
        );
        if self.late > 0 {
            text += &format!(
                "\nthe rate could not be kept: {} uploads were begun over {} ms late, one of them {:.0} ms",
                self.late,
                LATE.as_millis(),
                self.latest.as_secs_f64() * 1_000.0
            );
        }
        text
    }
}
