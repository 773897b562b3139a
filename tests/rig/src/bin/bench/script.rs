//! A session of a device as bytes, written once and played by many devices: all that differs among them has a fixed width
//! and is written into its place.

use std::ops::Range;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use rig::Device;
use rig::device::with;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::random::Random;

/// Tiles of a session, each with one view.
pub(crate) const TILES: usize = 4;
/// Between two events of a session, ms: with four tiles a heartbeat of each every 10 s.
pub(crate) const SPACING_MS: i64 = 2_500;
/// Streams that can be written into a session.
pub(crate) const STREAMS: usize = 2_000;
/// Between the first events, with which a session opens, ms.
const OPENING_MS: i64 = 150;
/// Opened, started, context, layout, and start and first frame of each view.
const OPENING: usize = 4 + 2 * TILES;
/// The end of each view and of the session.
const ENDING: usize = TILES + 1;
/// Before the session begins the device was up for so long, ms.
const UP_MS: i64 = 3_600_000;

/// Stand for what is different in every session. They occur nowhere else in an event.
const TIME: &str = "2000-01-01T00:00:00.000Z";
const STREAM: &str = "bench0000";
/// Length of a UUID as text.
pub(crate) const ID_BYTES: usize = 36;
const EVENT: Uuid = Uuid::from_u128(0xe0);
const INSTALL: Uuid = Uuid::from_u128(0xe1);
const ANON: Uuid = Uuid::from_u128(0xe2);
const SESSION: Uuid = Uuid::from_u128(0xe3);
const BOOT: Uuid = Uuid::from_u128(0xe4);
const LAYOUT: Uuid = Uuid::from_u128(0xe5);
const VIEWS: [Uuid; TILES] =
    [Uuid::from_u128(0xf0), Uuid::from_u128(0xf1), Uuid::from_u128(0xf2), Uuid::from_u128(0xf3)];

/// What belongs into a place.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Part {
    /// A new id, of this many ms after the session's begin.
    Event(i64),
    /// That instant.
    Time(i64),
    Install,
    Anon,
    Session,
    Boot,
    Layout,
    View(usize),
    /// Four digits of the tile's stream.
    Stream(usize),
}

/// Some events of a session: the body of one upload.
#[derive(Debug, Default)]
pub(crate) struct Piece {
    /// A JSON array.
    pub(crate) bytes: Vec<u8>,
    /// Where the events are in it.
    pub(crate) events: Vec<Range<usize>>,
    /// Where something belongs, and what.
    pub(crate) places: Vec<(usize, Part)>,
    /// Views that begin in it.
    pub(crate) views: u64,
}

/// A whole session.
#[derive(Debug)]
pub(crate) struct Script {
    /// Its uploads.
    pub(crate) pieces: Vec<Piece>,
    /// Events of each upload.
    pub(crate) events_per_piece: usize,
}

/// What a player has counted.
#[derive(Debug, Clone, Copy, Default)]
struct Player {
    /// Instant of the last event of the view, ms; none before the first frame.
    told_ms: i64,
    is_stalled: bool,
    playing_ms: i64,
    rebuffer_ms: i64,
    rebuffers: i64,
    kbps: i64,
    dropped: i64,
    rendered: i64,
}

impl Script {
    /// Draws a session of 200 to 1000 events, which are posted so many at a time: 1, 10 or 100.
    pub(crate) fn draw(random: &mut Random, events_per_piece: usize) -> Result<Self> {
        let events = 100 * (2 + random.below(9));
        let mut writer = Writer::new(random);
        let drawn = (0..events).map(|number| writer.event(number, events)).collect::<Vec<_>>();
        let pieces = drawn.chunks(events_per_piece).map(Piece::of).collect::<Result<_>>()?;
        Ok(Self { pieces, events_per_piece })
    }

    /// What the device's monotonic clock says so long after the session's begin, ms.
    pub(crate) const fn mono_ms(at_ms: i64) -> i64 {
        UP_MS + at_ms
    }
}

/// When an event happens, ms after the session's begin.
fn instant(number: usize) -> i64 {
    let spacing_ms = if number < OPENING { OPENING_MS } else { SPACING_MS };
    i64::try_from(number).unwrap_or(0) * spacing_ms
}

/// Writes the events of one session in their order.
struct Writer<'a> {
    device: Device,
    random: &'a mut Random,
    players: [Player; TILES],
    version: String,
    platform: &'static str,
}

impl<'a> Writer<'a> {
    fn new(random: &'a mut Random) -> Self {
        Self {
            device: Device { install: INSTALL, anon: ANON, session: SESSION, seq: 0 },
            version: format!("2.{}.0", random.below(8)),
            platform: ["ios", "ipados", "tvos"][random.below(3)],
            players: [Player { kbps: 4_500, ..Player::default() }; TILES],
            random,
        }
    }

    /// The event of this number of so many, and its instant.
    fn event(&mut self, number: usize, of: usize) -> (i64, Value) {
        let at = instant(number);
        let tile = number % TILES;
        let (kind, data, tile) = match number {
            0 => ("app.opened", json!({"cold": true, "launch_ms": 640, "from_background": false}), None),
            1 => ("session.started", json!({"first_session": false, "entry": "icon"}), None),
            2 => ("device.context", self.context(), None),
            3 => ("layout.created", json!({"layout_type": "grid2x2", "slots": TILES}), None),
            4..8 => ("playback.view_started", started(tile), Some(tile)),
            8..OPENING => {
                self.players[tile].told_ms = at;
                ("playback.first_frame", json!({"startup_ms": OPENING_MS * 4, "bitrate_kbps": 4_500}), Some(tile))
            }
            _ if number == of - 1 => ("session.ended", json!({"reason": "background"}), None),
            _ if number + ENDING >= of => {
                let tile = number + ENDING - of;
                let mut data = self.players[tile].count(at).totals();
                data["reason"] = "user_choice".into();
                ("playback.view_ended", data, Some(tile))
            }
            _ => {
                let (kind, data) = self.incident_or_heartbeat(at, tile);
                (kind, data, Some(tile))
            }
        };
        let mut event = self.device.event(kind, DateTime::<Utc>::UNIX_EPOCH, data);
        event["id"] = EVENT.to_string().into();
        event["time"] = TIME.into();
        event["bootid"] = BOOT.to_string().into();
        event["mono"] = Script::mono_ms(at).into();
        event["platform"] = self.platform.into();
        event["appversion"] = self.version.as_str().into();
        if let Some(tile) = tile {
            event["viewid"] = VIEWS[tile].to_string().into();
            event["slot"] = tile.into();
        }
        if number >= 3 {
            event = with(event, "layoutid", LAYOUT.to_string());
        }
        (at, event)
    }

    fn context(&mut self) -> Value {
        json!({
            "os_name": self.platform, "os_version": format!("18.{}", self.random.below(3)), "device_model": "iPhone16,2",
            "device_class": "phone", "screen_w": 1179, "screen_h": 2556, "locale": "en_GB", "timezone": "Europe/Berlin",
            "network": "wifi", "app_build": "417",
        })
    }

    /// Nine of ten are heartbeats.
    fn incident_or_heartbeat(&mut self, at: i64, tile: usize) -> (&'static str, Value) {
        let dice = self.random.below(100);
        let player = &mut self.players[tile];
        if player.is_stalled {
            player.count(at);
            player.is_stalled = false;
            return ("playback.rebuffer_ended", json!({"ended_by": "resumed"}));
        }
        match dice {
            0..3 => {
                player.count(at);
                player.is_stalled = true;
                player.rebuffers += 1;
                ("playback.rebuffer_started", json!({"buffer_ms": 0, "cause": "network"}))
            }
            3..5 => {
                let from = player.kbps;
                player.kbps = if from == 4_500 { 2_300 } else { 4_500 };
                let data = json!({"from_kbps": from, "to_kbps": player.kbps, "width_px": 1280, "height_px": 720, "reason": "abr"});
                ("playback.rendition_changed", data)
            }
            5 => ("playback.error", json!({"code": "HLS_SEGMENT_404", "severity": "warning", "domain": "network"})),
            _ => ("playback.heartbeat", self.heartbeat(at, tile)),
        }
    }

    fn heartbeat(&mut self, at: i64, tile: usize) -> Value {
        let mut some = |least: i64, spread: usize| least + i64::try_from(self.random.below(spread)).unwrap_or(0);
        let (latency, throughput, buffer) = (some(2_800, 900), some(9_000, 8_000), some(7_000, 3_000));
        let dropped = some(0, 6);
        let player = &mut self.players[tile];
        player.dropped += dropped;
        player.rendered += 599;
        let mut data = player.count(at).totals();
        let more = json!({
            "period_ms": 10_000, "state": "playing", "dropped_frames": player.dropped, "rendered_frames": player.rendered,
            "playhead_ms": player.playing_ms, "buffer_ms": buffer, "bitrate_kbps": player.kbps,
            "throughput_kbps": throughput, "latency_ms": latency, "playback_rate": 1.0, "muted": tile != 0,
            "focused": tile == 0, "visible": true, "tile_count": TILES,
        });
        if let (Value::Object(data), Value::Object(more)) = (&mut data, more) {
            data.extend(more);
        }
        data
    }
}

impl Player {
    /// Counts up to an instant.
    const fn count(&mut self, at: i64) -> &Self {
        let passed = at - self.told_ms;
        self.told_ms = at;
        *if self.is_stalled { &mut self.rebuffer_ms } else { &mut self.playing_ms } += passed;
        self
    }

    /// As a player tells them.
    fn totals(&self) -> Value {
        json!({
            "playing_ms": self.playing_ms, "rebuffer_ms": self.rebuffer_ms, "rebuffer_count": self.rebuffers, "seek_ms": 0,
            "paused_ms": 0,
        })
    }
}

fn started(tile: usize) -> Value {
    let platform = ["twitch", "youtube", "kick", "rumble"][tile];
    json!({
        "stream_id": format!("{platform}:{STREAM}"), "stream_platform": platform, "category": "chess", "content_type": "live",
        "intent": "user", "player": "avplayer", "telemetry_level": "full", "tile_width_px": 640, "tile_height_px": 360,
    })
}

impl Piece {
    fn of(events: &[(i64, Value)]) -> Result<Self> {
        let mut piece = Self { bytes: vec![b'['], ..Self::default() };
        for (at, event) in events {
            let text = event.to_string();
            let begin = piece.bytes.len() + usize::from(piece.bytes.len() > 1);
            if piece.bytes.len() > 1 {
                piece.bytes.push(b',');
            }
            piece.bytes.extend_from_slice(text.as_bytes());
            piece.events.push(begin..piece.bytes.len());
            piece.views += u64::from(event["type"] == "playback.view_started");
            let tile = event["slot"].as_u64().map(usize::try_from).transpose()?;
            piece.find(&text, begin, *at, tile);
        }
        piece.bytes.push(b']');
        Ok(piece)
    }

    /// Notes all places of one event.
    fn find(&mut self, text: &str, begin: usize, at: i64, tile: Option<usize>) {
        let mut note = |stands: &str, skip: usize, part: Part| {
            self.places.extend(text.match_indices(stands).map(|(found, _)| (begin + found + skip, part)));
        };
        note(TIME, 0, Part::Time(at));
        let ids = [
            (EVENT, Part::Event(at)),
            (INSTALL, Part::Install),
            (ANON, Part::Anon),
            (SESSION, Part::Session),
            (BOOT, Part::Boot),
            (LAYOUT, Part::Layout),
        ];
        for (id, part) in ids {
            note(&id.to_string(), 0, part);
        }
        if let Some(tile) = tile {
            note(&VIEWS[tile].to_string(), 0, Part::View(tile));
            note(STREAM, STREAM.len() - 4, Part::Stream(tile));
        }
    }
}

/// Sessions for a load: enough of them that their texts differ as those of devices do.
pub(crate) fn draw(events_per_piece: usize) -> Result<Vec<Script>> {
    let mut random = Random::seeded(0x5c21_9700_d1ce);
    (0..32).map(|_| Script::draw(&mut random, events_per_piece)).collect::<Result<_>>().context("draw sessions")
}
