//! A phone that makes native events.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// One app install with a session under way.
#[derive(Debug, Clone)]
pub struct Device {
    /// The install.
    pub install: Uuid,
    /// Its guest identity.
    pub anon: Uuid,
    /// Its session.
    pub session: Uuid,
    /// Sequence number of the next event.
    pub seq: u32,
}

impl Default for Device {
    fn default() -> Self {
        Self::new()
    }
}

impl Device {
    /// A new install.
    #[must_use]
    pub fn new() -> Self {
        Self { install: Uuid::new_v4(), anon: Uuid::new_v4(), session: Uuid::new_v4(), seq: 0 }
    }

    /// An event of this kind that happened at `at`, with all native attributes.
    pub fn event(&mut self, kind: &str, at: DateTime<Utc>, data: Value) -> Value {
        let seq = self.seq;
        self.seq += 1;
        json!({
            "specversion": "1.0",
            "id": Uuid::now_v7().to_string(),
            "source": format!("/app/ios/{}", self.install),
            "type": kind,
            "time": at.to_rfc3339_opts(SecondsFormat::Millis, true),
            "installid": self.install.to_string(),
            "sessionid": self.session.to_string(),
            "seq": seq,
            "anonid": self.anon.to_string(),
            "platform": "ios",
            "appversion": "2.4.0",
            "data": data,
        })
    }

    /// An event of a view: as [`Self::event`], with `viewid`.
    pub fn view_event(&mut self, view: &str, kind: &str, at: DateTime<Utc>, data: Value) -> Value {
        with(self.event(kind, at, data), "viewid", view)
    }

    /// A heartbeat of a view, the most frequent event there is, about 700 bytes as JSON.
    pub fn heartbeat(&mut self, view: &str, at: DateTime<Utc>) -> Value {
        let seq = i64::from(self.seq);
        let data = json!({
            "period_ms": 10_000, "playing_ms": seq * 10_000, "rebuffer_ms": seq * 31, "rebuffer_count": seq / 9,
            "seek_ms": 0, "paused_ms": 0, "dropped_frames": seq * 2, "rendered_frames": seq * 599, "state": "playing",
            "playhead_ms": seq * 10_000, "buffer_ms": 8_200 + seq % 700, "bitrate_kbps": 4_500,
            "throughput_kbps": 12_000 + seq % 1_000, "latency_ms": 3_100 + seq % 300, "playback_rate": 1.0, "muted": false,
            "focused": true, "visible": true, "tile_count": 4,
        });
        self.view_event(view, "playback.heartbeat", at, data)
    }
}

/// The event with one more attribute.
#[must_use]
pub fn with(mut event: Value, name: &str, value: impl Into<Value>) -> Value {
    event[name] = value.into();
    event
}

/// The event without an attribute.
#[must_use]
pub fn without(mut event: Value, name: &str) -> Value {
    event.as_object_mut().map(|attributes: &mut Map<String, Value>| attributes.remove(name));
    event
}
