//! Devices that watch streams around the clock for a day, after a month with little: what reading benchmarks read.
//!
//! Every time and count follows from the numbers of the fleet, so answers can be checked without asking the server twice.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use rig::Device;
use rig::device::with;
use rig::server::send;
use serde_json::{Value, json};

use crate::now;
use crate::subject::Subject;

/// A view begins at each of these; the last ones end before the day does.
const TURN: TimeDelta = TimeDelta::minutes(30);
const TURNS: i64 = 48;
/// From the first frame to the end.
const WATCHED: TimeDelta = TimeDelta::minutes(28);
/// From the start to the first frame.
const STARTUP: TimeDelta = TimeDelta::milliseconds(800);
const BEAT: TimeDelta = TimeDelta::seconds(30);
/// Days before, with one short view of each stream.
const QUIET_DAYS: i64 = 29;
const QUIET_WATCHED: TimeDelta = TimeDelta::minutes(2);
/// Posts under way at once.
const CONNECTIONS: usize = 8;

const STREAM_PLATFORMS: [&str; 4] = ["twitch", "youtube", "kick", "rumble"];
const DEVICE_PLATFORMS: [&str; 3] = ["ios", "ipados", "tvos"];

/// Who watches what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fleet {
    /// Streams.
    pub(crate) streams: usize,
    /// Devices that watch one stream at the same time.
    pub(crate) viewers: usize,
    /// The end of the day, a whole minute.
    pub(crate) end: DateTime<Utc>,
}

/// What was posted, and therefore must be found.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Posted {
    /// Events.
    pub(crate) events: u64,
    /// Views.
    pub(crate) views: u64,
    /// Playing time.
    pub(crate) playing_ms: u64,
}

/// One view, all of it in one post.
#[derive(Debug, Clone, Copy)]
struct Turn {
    stream: usize,
    viewer: usize,
    begin: DateTime<Utc>,
    watched: TimeDelta,
}

impl Fleet {
    /// One whose day ends now.
    pub(crate) fn ending_now(streams: usize, viewers: usize) -> Self {
        let now = now().to_chrono();
        Self { streams, viewers, end: now - TimeDelta::milliseconds(now.timestamp_millis().rem_euclid(60_000)) }
    }

    /// Streams of this many platforms.
    pub(crate) const PLATFORMS: usize = STREAM_PLATFORMS.len();

    /// The stream of this number; numbers with the same remainder by the number of platforms have one platform.
    pub(crate) fn stream(number: usize) -> String {
        format!("{}:bench{number}", STREAM_PLATFORMS[number % STREAM_PLATFORMS.len()])
    }

    /// Views in the order of time.
    fn turns(&self) -> Vec<Turn> {
        let day = self.end - TURN * i32::try_from(TURNS).unwrap_or(0);
        let mut turns = Vec::new();
        for days in (1..=QUIET_DAYS).rev() {
            let begin = day - TimeDelta::days(days);
            turns.extend((0..self.streams).map(|stream| Turn { stream, viewer: 0, begin, watched: QUIET_WATCHED }));
        }
        for turn in 0..TURNS {
            for device in 0..self.streams * self.viewers {
                // Not all at the same second.
                let late = TimeDelta::seconds(i64::try_from(device * 7 % 60).unwrap_or(0));
                let begin = day + TURN * i32::try_from(turn).unwrap_or(0) + late;
                let (stream, viewer) = (device % self.streams, device / self.streams);
                turns.push(Turn { stream, viewer, begin, watched: WATCHED });
            }
        }
        turns
    }

    /// What a rollup must say of a range, which is whole buckets of this length: rows, and the playing time of all of them.
    /// `key` gives the rollup's key of a stream, `None` if it is not asked for.
    pub(crate) fn expected(
        &self,
        range: &Range<DateTime<Utc>>,
        bucket: TimeDelta,
        key: impl Fn(usize) -> Option<usize>,
    ) -> (usize, u64) {
        let (mut rows, mut playing_ms) = (BTreeSet::new(), 0);
        for turn in self.turns() {
            let Some(key) = key(turn.stream) else { continue };
            let played = (turn.begin + STARTUP).max(range.start)..turn.ended().min(range.end);
            playing_ms += (played.end - played.start).num_milliseconds().max(0).unsigned_abs();
            let number = |at: DateTime<Utc>| at.timestamp_millis().div_euclid(bucket.num_milliseconds());
            let touched = number(turn.begin).max(number(range.start))..=number(turn.ended()).min(number(range.end) - 1);
            rows.extend(touched.map(|bucket| (key, bucket)));
        }
        (rows.len(), playing_ms)
    }

    /// Posts everything as if it arrived when it happened. The server must be started with the test clock.
    pub(crate) async fn post(&self, subject: &Subject) -> Result<Posted> {
        let turns = Arc::new(self.turns());
        let next = Arc::new(AtomicUsize::new(0));
        let url = format!("{}/v1/events", subject.server.http);
        let client = rig::server::client();
        let connections = (0..CONNECTIONS).map(|_| {
            let (turns, next, url, client) = (Arc::clone(&turns), Arc::clone(&next), url.clone(), client.clone());
            let key = subject.server.upload_key.clone();
            tokio::spawn(async move {
                let mut posted = Posted::default();
                while let Some(turn) = turns.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let events = turn.events();
                    let stamp = (turn.ended() + TimeDelta::seconds(1)).to_rfc3339_opts(SecondsFormat::Millis, true);
                    let post = client.post(&url).header("x-api-key", &key).header("streamgauge-sent-at", &stamp);
                    let post = post.header("streamgauge-test-received-at", &stamp).body(serde_json::to_vec(&events)?);
                    deliver(post).await?;
                    posted.events += events.len() as u64;
                    posted.views += 1;
                    posted.playing_ms += turn.watched.num_milliseconds().unsigned_abs();
                }
                anyhow::Ok(posted)
            })
        });
        let mut posted = Posted::default();
        for connection in connections.collect::<Vec<_>>() {
            let of_connection = connection.await??;
            posted.events += of_connection.events;
            posted.views += of_connection.views;
            posted.playing_ms += of_connection.playing_ms;
        }
        Ok(posted)
    }
}

/// Sends until it is taken: the server may be busier than we wait for.
async fn deliver(post: reqwest::RequestBuilder) -> Result<()> {
    loop {
        let again = post.try_clone().ok_or_else(|| anyhow::anyhow!("a body in memory"))?;
        let reply = send(again.header("content-type", "application/cloudevents-batch+json")).await?;
        if reply.status == 202 {
            return Ok(());
        }
        ensure!(reply.status == 503, "an upload was answered {}: {}", reply.status, reply.text());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

impl Turn {
    fn ended(&self) -> DateTime<Utc> {
        self.begin + STARTUP + self.watched
    }

    /// Events of a session with one view: its start, heartbeats, its end.
    fn events(&self) -> Vec<Value> {
        let mut device = Device::new();
        // The same guest in every session of this viewer.
        let number = (self.viewer as u128) << 64 | self.stream as u128;
        device.anon = uuid::Uuid::from_u128(number << 1 | 1);
        let view = device.session.to_string();
        let shown = self.begin + STARTUP;
        let stream = json!({"stream_id": Fleet::stream(self.stream), "category": "chess"});
        let context = json!({"os_version": "18.1", "device_class": "phone", "network": "wifi"});
        let layout = json!({"layout_type": "grid2x2", "slots": 4});
        let mut events = vec![
            device.event("device.context", self.begin, context),
            device.event("layout.created", self.begin, layout),
            device.view_event(&view, "playback.view_started", self.begin, stream),
            device.view_event(&view, "playback.first_frame", shown, json!({"bitrate_kbps": 4_500})),
        ];
        let mut at = shown + BEAT;
        while at < self.ended() {
            events.push(device.heartbeat(&view, at));
            at += BEAT;
        }
        events.push(device.view_event(&view, "playback.view_ended", self.ended(), json!({"reason": "user_choice"})));
        let platform = DEVICE_PLATFORMS[self.viewer % DEVICE_PLATFORMS.len()];
        let version = format!("2.{}.0", self.stream % 40);
        events
            .into_iter()
            .map(|event| with(with(event, "platform", platform), "appversion", version.as_str()))
            .collect()
    }
}
