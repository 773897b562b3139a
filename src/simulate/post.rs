//! Posts uploads as devices do, and keeps the books.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt, stream};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde::Serialize;
use serde_json::Value;

use super::delivery::Delivery;
use super::timeline::{Device, Tongue};
use super::wire::{self, Event};

/// Uploads whose devices may be under way at the same time. The next ones wait until all of them are taken, so that
/// arrival times rise but for these few.
const WINDOW: usize = 96;
/// Requests under way at once.
const AT_ONCE: usize = 8;
/// A post that gets no answer is tried again that often.
const PATIENCE: u64 = 15;
/// A post is tried that often.
const TRIES: u32 = 60;

/// What was sent and what was answered.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub(super) struct Books {
    pub(super) uploads: u64,
    /// Events, copies included.
    pub(super) sent: u64,
    pub(super) accepted: u64,
    /// Copies within one upload.
    pub(super) duplicate: u64,
    pub(super) quarantined: u64,
    /// Attempts that were refused and repeated.
    pub(super) refused: u64,
    /// Attempts without an answer that were repeated: their events may be there twice.
    pub(super) unanswered: u64,
}

impl Books {
    pub(super) const fn add(&mut self, other: &Self) {
        self.uploads += other.uploads;
        self.sent += other.sent;
        self.accepted += other.accepted;
        self.duplicate += other.duplicate;
        self.quarantined += other.quarantined;
        self.refused += other.refused;
        self.unanswered += other.unanswered;
    }
}

/// Where uploads go.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) base: String,
    pub(super) key: String,
    pub(super) client: Client,
}

/// A device with its events.
#[derive(Debug)]
pub(super) struct Sender {
    pub(super) device: Device,
    pub(super) events: Vec<Event>,
}

/// Posts all uploads, given by rising arrival; those of one device one after the other.
pub(super) async fn all(door: &Door, senders: &[Sender], deliveries: &[Delivery]) -> Result<Books> {
    let mut books = Books::default();
    for window in deliveries.chunks(WINDOW) {
        let mut by_device: BTreeMap<usize, Vec<&Delivery>> = BTreeMap::new();
        for delivery in window {
            by_device.entry(delivery.device).or_default().push(delivery);
        }
        let lanes = by_device.into_iter().map(|(device, lane)| in_turn(door, &senders[device], lane));
        let done: Vec<Books> = stream::iter(lanes).buffer_unordered(AT_ONCE).try_collect().await?;
        for lane in &done {
            books.add(lane);
        }
    }
    Ok(books)
}

async fn in_turn(door: &Door, sender: &Sender, lane: Vec<&Delivery>) -> Result<Books> {
    let mut books = Books::default();
    for delivery in lane {
        books.add(&post(door, sender, delivery).await?);
    }
    Ok(books)
}

async fn post(door: &Door, sender: &Sender, delivery: &Delivery) -> Result<Books> {
    let tongue = sender.device.tongue;
    let count = delivery.events.len() as u64;
    let body = wire::body(tongue, sender.events[delivery.events.clone()].iter());
    let mut books = Books { uploads: 1, sent: count, ..Books::default() };
    for _ in 0..TRIES {
        let request = headers(door, &sender.device, delivery).body(body.clone());
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) if books.unanswered >= PATIENCE => {
                return Err(error).with_context(|| format!("post to {}", door.base));
            }
            Err(_) => {
                books.unanswered += 1;
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        let status = response.status();
        if status == StatusCode::NO_CONTENT {
            books.accepted += count;
            return Ok(books);
        }
        if status.is_success() {
            let receipt: Value = response.json().await.context("read a receipt")?;
            let results = receipt["results"].as_array().context("a receipt without results")?;
            let of = |word| results.iter().filter(|item| item["result"] == word).count() as u64;
            (books.accepted, books.duplicate, books.quarantined) = (of("accepted"), of("duplicate"), of("quarantined"));
            return Ok(books);
        }
        if status != StatusCode::TOO_MANY_REQUESTS && status != StatusCode::SERVICE_UNAVAILABLE {
            bail!("an upload was answered {status}: {}", response.text().await.unwrap_or_default());
        }
        books.refused += 1;
        let after = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        tokio::time::sleep(Duration::from_secs(after.unwrap_or(1))).await;
    }
    bail!("an upload was refused {TRIES} times")
}

fn headers(door: &Door, device: &Device, delivery: &Delivery) -> RequestBuilder {
    let request = door
        .client
        .post(format!("{}{}", door.base, wire::path(device.tongue)))
        .header("x-api-key", &door.key)
        .header("content-type", wire::content_type(device.tongue))
        .header("streamgauge-test-received-at", wire::rfc3339(delivery.received));
    let sent_at = delivery.sent + device.skew_ms;
    match device.tongue {
        Tongue::Native => {
            let request = request.header("streamgauge-sent-at", wire::rfc3339(sent_at));
            match device.boot {
                Some(boot) => request
                    .header("streamgauge-boot-id", boot.id.to_string())
                    .header("streamgauge-sent-mono", (sent_at - boot.zero).to_string()),
                None => request,
            }
        }
        Tongue::Cmcd => request,
        Tongue::Legacy => request
            .header("x-platform", device.platform)
            .header("user-agent", format!("StreamyyyApp/{}", device.app_version)),
    }
}
