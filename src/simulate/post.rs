//! Posts uploads as devices do, and keeps the books.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt, stream};
use reqwest::{Client, StatusCode};
use serde_json::Value;
use tokio::sync::mpsc::Receiver;

use super::books::{Books, Fate, Ledger};
use super::fleet::Upload;
use super::sign_in::Issuer;
use super::wire;

/// Uploads whose devices may be under way at the same time. The next ones wait until all of them are taken, so that
/// arrival times rise but for these few.
const WINDOW: usize = 96;
/// Requests under way at once.
const AT_ONCE: usize = 8;
/// A post that gets no answer is tried again that often.
const PATIENCE: u64 = 15;
/// A post is tried that often.
const TRIES: u32 = 60;

/// Where uploads go.
#[derive(Debug)]
pub(super) struct Door {
    /// Servers that take uploads, at least one.
    pub(super) targets: Vec<String>,
    pub(super) key: String,
    /// Who signs tokens of users.
    pub(super) issuer: Option<Issuer>,
    pub(super) client: Client,
}

/// An upload that was taken.
#[derive(Debug)]
pub(super) struct Answered {
    books: Books,
    events: Range<usize>,
}

impl Ledger {
    /// An upload is about to be sent.
    pub(super) fn send(&mut self, upload: &Upload) {
        self.ids.note(upload.events.clone(), Fate::Sent);
    }

    /// An upload was taken.
    pub(super) fn take(&mut self, answered: &Answered) {
        self.books.add(&answered.books);
        self.ids.note(answered.events.clone(), Fate::Acked);
        if answered.books.refused + answered.books.unanswered > 0 {
            self.ids.refuse(answered.events.clone());
        }
    }
}

/// Posts all uploads, which come by rising arrival, as fast as they are taken; those of one device one after the other.
pub(super) async fn all(door: &Door, mut uploads: Receiver<Upload>, ledger: &mut Ledger) -> Result<()> {
    loop {
        let mut by_device: BTreeMap<usize, Vec<Upload>> = BTreeMap::new();
        for _ in 0..WINDOW {
            let Some(upload) = uploads.recv().await else { break };
            ledger.send(&upload);
            by_device.entry(upload.device).or_default().push(upload);
        }
        if by_device.is_empty() {
            return Ok(());
        }
        let lanes = by_device.into_values().map(|lane| in_turn(door, lane));
        let mut done = stream::iter(lanes).buffer_unordered(AT_ONCE);
        while let Some(lane) = done.try_next().await? {
            for answered in &lane {
                ledger.take(answered);
            }
        }
    }
}

async fn in_turn(door: &Door, lane: Vec<Upload>) -> Result<Vec<Answered>> {
    let mut answers = Vec::with_capacity(lane.len());
    for upload in lane {
        answers.push(door.post(upload).await?);
    }
    Ok(answers)
}

impl Door {
    /// Posts until it is taken.
    pub(super) async fn post(&self, upload: Upload) -> Result<Answered> {
        let Upload { device, events, tongue, headers, user, body } = upload;
        let count = events.len() as u64;
        let mut books = Books { uploads: 1, sent: count, ..Books::default() };
        for _ in 0..TRIES {
            // Whoever gets no answer tries the next one.
            let base = &self.targets[(device + usize::try_from(books.unanswered)?) % self.targets.len()];
            let mut request = self.client.post(format!("{base}{}", wire::path(tongue)));
            for (name, value) in &headers {
                request = request.header(*name, value);
            }
            if let Some((issuer, user)) = self.issuer.as_ref().zip(user.as_ref()) {
                request = request.bearer_auth(issuer.token(user)?);
            }
            let response = match request.header("x-api-key", &self.key).body(body.clone()).send().await {
                Ok(response) => response,
                Err(error) if books.unanswered >= PATIENCE => {
                    return Err(error).with_context(|| format!("post to {base}"));
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
                return Ok(Answered { books, events });
            }
            if status.is_success() {
                let receipt: Value = response.json().await.context("read a receipt")?;
                let results = receipt["results"].as_array().context("a receipt without results")?;
                let of = |word| results.iter().filter(|item| item["result"] == word).count() as u64;
                books.accepted = of("accepted");
                books.duplicate = of("duplicate");
                books.quarantined = of("quarantined");
                return Ok(Answered { books, events });
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
}
