//! Load at a fixed rate with exact books: what was sent, what was acknowledged, what was refused.
//!
//! Open loop: a post is due at its scheduled time, and a late start counts as latency. A post that is refused or gets no
//! answer is sent again with the same events, as a phone does, until it is acknowledged or the run is given up.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use chrono::Utc;
use reqwest::Client;
use serde_json::Value;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::Device;

/// One post: its body and what is in it.
#[derive(Debug, Clone)]
pub struct Post {
    /// JSON array of CloudEvents.
    pub body: String,
    /// Ids of its events.
    pub ids: Vec<String>,
}

impl Post {
    /// `events` heartbeats of one device.
    #[must_use]
    pub fn heartbeats(device: &mut Device, events: usize) -> Self {
        let view = format!("view-{}", device.session);
        let events: Vec<Value> = (0..events).map(|_| device.heartbeat(&view, Utc::now())).collect();
        Self::of(&events)
    }

    /// A post of these events.
    #[must_use]
    pub fn of(events: &[Value]) -> Self {
        let ids = events.iter().map(|event| event["id"].as_str().unwrap_or_default().to_owned()).collect();
        Self { body: Value::from(events.to_vec()).to_string(), ids }
    }

    /// The same post with new event ids: text only, so that making load costs less than taking it.
    #[must_use]
    pub fn renewed(&self) -> Self {
        let mut body = String::with_capacity(self.body.len());
        let mut rest = self.body.as_str();
        let mut ids = Vec::with_capacity(self.ids.len());
        for id in &self.ids {
            let Some((before, after)) = rest.split_once(id.as_str()) else { break };
            let new = Uuid::now_v7().to_string();
            body.push_str(before);
            body.push_str(&new);
            ids.push(new);
            rest = after;
        }
        body.push_str(rest);
        Self { body, ids }
    }
}

/// How a run is made.
#[derive(Debug, Clone)]
pub struct Plan {
    /// `http://host:port`.
    pub target: String,
    /// The upload key.
    pub upload_key: String,
    /// Posts per second; 0 = as fast as `connections` allow (closed loop).
    pub posts_per_second: f64,
    /// Events per post.
    pub events_per_post: usize,
    /// How long.
    pub duration: Duration,
    /// Posts under way at once.
    pub connections: usize,
    /// A post is tried again for so long.
    pub give_up: Duration,
}

/// What came of a run.
#[derive(Debug, Default)]
pub struct Books {
    /// Ids of events whose post was answered 2xx.
    pub acked: Vec<String>,
    /// Ids of events whose post never was.
    pub unanswered: Vec<String>,
    /// Tries that were refused or got no answer, by status (0 = no answer).
    pub refused: std::collections::BTreeMap<u16, usize>,
    /// Latency of the acknowledged posts from their scheduled time to the answer, microseconds, sorted.
    pub latency_us: Vec<u64>,
    /// From the first post to the last answer.
    pub elapsed: Duration,
    /// Bytes of the bodies that were acknowledged.
    pub bytes: usize,
}

impl Books {
    /// The latency that a share of the posts stayed below, milliseconds.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a count"
    )]
    pub fn latency_ms(&self, share: f64) -> f64 {
        let last = self.latency_us.len().saturating_sub(1);
        let idx = ((last as f64) * share).round() as usize;
        self.latency_us.get(idx).map_or(0.0, |us| *us as f64 / 1000.0)
    }

    fn add(&mut self, other: Self) {
        self.acked.extend(other.acked);
        self.unanswered.extend(other.unanswered);
        for (status, tries) in other.refused {
            *self.refused.entry(status).or_default() += tries;
        }
        self.latency_us.extend(other.latency_us);
        self.bytes += other.bytes;
    }
}

/// Posts after a plan.
///
/// # Errors
///
/// If a post was answered 4xx: the load itself is wrong.
pub async fn run(plan: &Plan) -> Result<Books> {
    let plan = Arc::new(plan.clone());
    let client = crate::server::client();
    let begun = Instant::now();
    let limit = Arc::new(Semaphore::new(plan.connections));
    let made = Arc::new(AtomicUsize::new(0));
    let template = Post::heartbeats(&mut Device::new(), plan.events_per_post);
    let mut tasks = Vec::new();
    while begun.elapsed() < plan.duration {
        let permit = Arc::clone(&limit).acquire_owned().await?;
        let number = made.fetch_add(1, Ordering::Relaxed);
        let due = if plan.posts_per_second > 0.0 {
            #[expect(clippy::cast_precision_loss, reason = "a count of posts")]
            let due = begun + Duration::from_secs_f64(number as f64 / plan.posts_per_second);
            tokio::time::sleep_until(due.into()).await;
            due
        } else {
            Instant::now()
        };
        let (plan, client, post) = (Arc::clone(&plan), client.clone(), template.renewed());
        tasks.push(tokio::spawn(async move {
            let _permit = permit;
            deliver(&plan, &client, post, due).await
        }));
    }
    let mut books = Books::default();
    for task in tasks {
        books.add(task.await??);
    }
    books.elapsed = begun.elapsed();
    books.latency_us.sort_unstable();
    Ok(books)
}

/// Posts until it is acknowledged.
async fn deliver(plan: &Plan, client: &Client, post: Post, due: Instant) -> Result<Books> {
    let mut books = Books::default();
    let url = format!("{}/v1/events", plan.target);
    while due.elapsed() < plan.give_up {
        let request = client.post(&url).header("x-api-key", &plan.upload_key).timeout(Duration::from_secs(10));
        let request = request.header("content-type", "application/cloudevents-batch+json").body(post.body.clone());
        let answer = match request.send().await {
            Ok(response) => {
                let status = response.status().as_u16();
                // An answer that breaks off is none.
                response.bytes().await.map_or(0, |_| status)
            }
            Err(_) => 0,
        };
        match answer {
            200..=299 => {
                books.latency_us.push(u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX));
                books.bytes = post.body.len();
                books.acked = post.ids;
                return Ok(books);
            }
            400..=428 | 430..=499 => bail!("a post was answered {answer}"),
            _ => *books.refused.entry(answer).or_default() += 1,
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    books.unanswered = post.ids;
    Ok(books)
}
