//! Reading a body: bounded in bytes, in time, and by a least rate.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};

use crate::admission::Reservation;

/// Bounds of a body as sent.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    /// Greatest size.
    pub max_bytes: usize,
    /// Longest time.
    pub deadline: Duration,
}

/// A body may pause this long at its start; after that it must keep [`LEAST_RATE_BYTES_S`] on average.
const START_GRACE: Duration = Duration::from_secs(10);
/// Slower than a phone on a 2G network (8 kbit/s) is an attack or of no use.
const LEAST_RATE_BYTES_S: usize = 1024;

/// Why a body was not read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// Larger than it may be; read and thrown away up to the limit.
    TooLarge,
    /// Too slow.
    TooSlow,
    /// The sender went away.
    Broken,
    /// No room for it among the bodies in flight; read and thrown away.
    Overloaded,
}

/// Reads a whole body; its bytes are taken from the reservation.
pub(crate) async fn read(body: Body, limits: BodyLimits, reservation: &mut Reservation) -> Result<Bytes, BodyError> {
    let mut chunks = Chunks::new(body, limits);
    let mut parts: Vec<Bytes> = Vec::new();
    while let Some(chunk) = chunks.next().await? {
        if reservation.grow(chunk.len()).is_err() {
            parts.clear();
            chunks.discard().await;
            return Err(BodyError::Overloaded);
        }
        parts.push(chunk);
    }
    Ok(match parts.as_mut_slice() {
        [] => Bytes::new(),
        [only] => std::mem::take(only),
        parts => parts.concat().into(),
    })
}

/// Reads a body and throws it away, so that the sender sees the answer instead of a broken connection.
pub async fn drain(body: Body, limits: BodyLimits) {
    Chunks::new(body, limits).discard().await;
}

struct Chunks {
    body: Body,
    limits: BodyLimits,
    begun: Instant,
    bytes: usize,
}

impl Chunks {
    fn new(body: Body, limits: BodyLimits) -> Self {
        Self { body, limits, begun: Instant::now(), bytes: 0 }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        loop {
            let earned = Duration::from_secs((self.bytes / LEAST_RATE_BYTES_S) as u64);
            let due = self.begun + self.limits.deadline.min(START_GRACE + earned);
            let frame = timeout_at(due, self.body.frame()).await.map_err(|_| BodyError::TooSlow)?;
            let Some(frame) = frame else { return Ok(None) };
            let Ok(chunk) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
            self.bytes += chunk.len();
            if self.bytes > self.limits.max_bytes {
                return Err(BodyError::TooLarge);
            }
            return Ok(Some(chunk));
        }
    }

    async fn discard(mut self) {
        while let Ok(Some(_)) = self.next().await {}
    }
}
