//! Stored events as the fold sees them: what an event tells of a view or a session, and when.

mod cmcd;

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::unit_key::{Order, UnitKey};
use crate::event::{Format, stream_platform};
use crate::json::{self, Scalar};
use crate::kinds::{self, ErrorDomain, Network, PlayerState, RebufferEnd, RenditionReason, Severity, TelemetryLevel};
use crate::time::Timestamp;

/// The columns of a stored event that the fold looks at.
#[derive(Debug, Clone, Copy)]
pub struct Stored<'a> {
    /// The project.
    pub project: &'a str,
    /// How it was written.
    pub format: Format,
    /// Its kind.
    pub kind: &'a str,
    /// `seq`, for CMCD `sn`.
    pub seq: Option<u32>,
    /// Boot of the monotonic clock.
    pub boot_id: Option<&'a str>,
    /// Monotonic clock, ms.
    pub mono_ms: Option<i64>,
    /// Device clock.
    pub occurred_at: Timestamp,
    /// Corrected, for good.
    pub corrected_at: Timestamp,
    /// When it arrived.
    pub received_at: Timestamp,
    /// The install.
    pub install_id: Option<&'a str>,
    /// The session.
    pub session_id: Option<&'a str>,
    /// The view.
    pub view_id: Option<&'a str>,
    /// The layout on screen.
    pub layout_id: Option<&'a str>,
    /// The person.
    pub person_id: Option<&'a str>,
    /// The stream.
    pub stream_id: Option<&'a str>,
    /// Its platform.
    pub stream_platform: Option<&'a str>,
    /// Platform of the device.
    pub device_platform: Option<&'a str>,
    /// Version of the app.
    pub app_version: Option<&'a str>,
    /// The data, JSON.
    pub data: &'a str,
    /// [The fields](kinds::Checked::fields) that were read of it; empty if none were kept.
    pub fields: &'a [Scalar<'a>],
    /// Place in the log: record, index in it.
    pub address: (u64, u32),
}

impl<'a> Stored<'a> {
    /// The boot, if its clock is monotonic.
    fn monotonic_boot(&self) -> Option<&'a str> {
        self.boot_id.filter(|_| self.mono_ms.is_some())
    }

    /// The data of an event of this kind; the type's defaults if it cannot be read.
    fn typed<T: DeserializeOwned + Default>(&self) -> T {
        let typed = if self.fields.is_empty() { json::typed(self.data) } else { json::typed_of_fields(self.fields) };
        typed.unwrap_or_default()
    }
}

/// One input of a unit.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    /// Where it stands among the inputs of its unit (CMCD: of its view).
    pub place: Place,
    /// The clock: monotonic or of the wall, ms.
    pub clock_ms: i64,
    /// Corrected time, ms.
    pub corrected_ms: i64,
    /// When it arrived.
    pub received_at: Timestamp,
    /// Who says it, and of what.
    pub about: Arc<About>,
    /// What it tells.
    pub what: What,
}

/// Who says something, and of what: the same for most inputs of a view, which share it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// The boot, if its clock is monotonic.
    pub boot: Option<Box<str>>,
    /// The view.
    pub view_id: Option<Box<str>>,
    /// The layout on screen.
    pub layout_id: Option<Box<str>>,
    /// The person; empty if unknown.
    pub person_id: Box<str>,
    /// The stream; empty if unknown.
    pub stream_id: Box<str>,
    /// Its platform.
    pub stream_platform: &'static str,
    /// Platform of the device.
    pub device_platform: &'static str,
    /// Version of the app.
    pub app_version: Box<str>,
}

impl About {
    fn of(event: &Stored<'_>) -> Self {
        Self {
            boot: event.monotonic_boot().map(Into::into),
            view_id: event.view_id.map(Into::into),
            layout_id: event.layout_id.map(Into::into),
            person_id: event.person_id.unwrap_or_default().into(),
            stream_id: event.stream_id.unwrap_or_default().into(),
            stream_platform: event.stream_platform.map_or("", stream_platform),
            device_platform: event.device_platform.map_or("", device_platform),
            app_version: event.app_version.unwrap_or_default().into(),
        }
    }

    /// Whether it is what the event says. One with a platform that is not in the list is never taken for another's.
    fn is_of(&self, event: &Stored<'_>) -> bool {
        self.view_id.as_deref() == event.view_id
            && self.boot.as_deref() == event.monotonic_boot()
            && self.layout_id.as_deref() == event.layout_id
            && *self.person_id == *event.person_id.unwrap_or_default()
            && *self.stream_id == *event.stream_id.unwrap_or_default()
            && self.stream_platform == event.stream_platform.unwrap_or_default()
            && self.device_platform == event.device_platform.unwrap_or_default()
            && *self.app_version == *event.app_version.unwrap_or_default()
    }
}

/// Order of inputs: the sender's number, then the address in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// `seq`, `sn`, or the clock in ms.
    pub number: i64,
    /// Record and index.
    pub address: (u64, u32),
}

/// What an input tells.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// Something about a view.
    View(Box<ViewInput>),
    /// The device: what is `None` is not told.
    Device {
        /// Major version of the system.
        os_major: Option<Box<str>>,
        /// Class.
        device_class: Option<Box<str>>,
        /// Network.
        network: Option<Box<str>>,
    },
    /// The type of the layout on screen.
    Layout(Box<str>),
    /// The app came to the front.
    Foregrounded,
    /// The app left the front.
    Backgrounded,
    /// The app crashed.
    Crashed,
    /// The session is over, for this reason.
    SessionEnded(Box<str>),
    /// It shows that the session goes on.
    Sign,
}

/// What an input tells of its view. A record of CMCD can tell several things at once.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ViewInput {
    /// What happened to the state.
    pub act: Option<Act>,
    /// What the state is said to be.
    pub state: Option<Act>,
    /// An error.
    pub error: Option<Fault>,
    /// Startup time as the player measured it, ms.
    pub startup_ms: Option<i64>,
    /// Category of the content.
    pub category: Option<Box<str>>,
    /// Whether the player tells its state only.
    pub state_only: Option<bool>,
    /// Tile, pixels.
    pub tile: Option<(i64, i64)>,
    /// Video, pixels.
    pub video: Option<(i64, i64)>,
    /// Bitrate, kbit/s.
    pub kbps: Option<i64>,
    /// Playback rate, thousandths.
    pub rate_milli: Option<i64>,
    /// Live latency, ms.
    pub latency_ms: Option<i64>,
    /// Throughput as the player measured it, kbit/s, at least 1.
    pub throughput_kbps: Option<i64>,
    /// Whether the tile has the focus.
    pub focused: Option<bool>,
    /// Whether it can be heard.
    pub audible: Option<bool>,
    /// Period of heartbeats, ms.
    pub period_ms: Option<i64>,
    /// Whether it is a heartbeat: then its bitrate is counted.
    pub is_heartbeat: bool,
    /// Whether it tells of a change of the bitrate, and the bitrate before, kbit/s.
    pub rendition: Option<Option<i64>>,
    /// Whether the app wanted that change because of the number of tiles.
    pub is_of_tile_count: bool,
    /// Totals since the view began.
    pub totals: Totals,
    /// Frames that were dropped, told one by one.
    pub dropped: i64,
}

/// An error of playback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Whether it ended playback.
    pub is_fatal: bool,
    /// Whether it is no technical one, but the user's business.
    pub is_business: bool,
}

/// Counters that only grow while a player lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Playing, ms.
    pub playing_ms: Option<i64>,
    /// Rebuffering, ms.
    pub rebuffer_ms: Option<i64>,
    /// Rebuffers.
    pub rebuffer_count: Option<i64>,
    /// Seeking, ms.
    pub seek_ms: Option<i64>,
    /// Paused, ms.
    pub paused_ms: Option<i64>,
    /// Frames dropped.
    pub dropped_frames: Option<i64>,
    /// Frames shown.
    pub rendered_frames: Option<i64>,
}

/// The rows of the table of states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Told to play.
    Start,
    /// Plays.
    Play,
    /// Resumed after a pause.
    Resume,
    /// The buffer ran dry.
    Buffer,
    /// The stall is over.
    BufferEnd(RebufferEnd),
    /// Waits, undefined by the specification.
    Wait,
    /// A seek began.
    Seek,
    /// A seek ended.
    SeekEnd,
    /// Paused, or hidden.
    Pause,
    /// Over, for this reason.
    End(Box<str>),
}

/// An input may share what it is about with so many before it: the tiles of a layout take turns.
const SHARED_WITH: usize = 16;

impl Input {
    /// The unit and the input that a stored event is; `None` for events that are in no unit.
    #[must_use]
    pub fn of(event: &Stored<'_>) -> Option<(UnitKey, Self)> {
        let key = UnitKey::of(event)?;
        let input = Self::behind(event, key.order, &[])?;
        Some((key, input))
    }

    /// The input that an event of a unit with this order is, behind others of the unit.
    #[must_use]
    pub fn behind(event: &Stored<'_>, order: Order, others: &[Self]) -> Option<Self> {
        let number = match order {
            Order::Clock => event.occurred_at.millis(),
            Order::Session | Order::View => event.seq?.into(),
        };
        let clock_ms = event.monotonic_boot().and(event.mono_ms).unwrap_or_else(|| event.occurred_at.millis());
        let mut shared = others.iter().rev().take(SHARED_WITH).map(|other| &other.about);
        let about = shared.find(|about| about.is_of(event)).map_or_else(|| Arc::new(About::of(event)), Arc::clone);
        Some(Self {
            place: Place { number, address: event.address },
            clock_ms,
            corrected_ms: event.corrected_at.millis(),
            received_at: event.received_at,
            about,
            what: what(event),
        })
    }
}

fn device_platform(name: &str) -> &'static str {
    crate::event::DEVICE_PLATFORMS.into_iter().find(|known| *known == name).unwrap_or("other")
}

fn what(event: &Stored<'_>) -> What {
    if event.format == Format::Cmcd2 {
        return What::View(Box::new(cmcd::record(event.kind, event.data)));
    }
    let is_native = event.format == Format::Native && event.view_id.is_some();
    if let Some(name) = event.kind.strip_prefix("playback.") {
        return if is_native { What::View(Box::new(playback(name, event))) } else { What::Sign };
    }
    match event.kind {
        "device.context" => {
            let context: kinds::DeviceContext = event.typed();
            What::Device {
                os_major: context.os_version.map(|version| version.split('.').next().unwrap_or_default().into()),
                device_class: context.device_class.map(|class| word(&class).into()),
                network: context.network.map(|network| word(&network).into()),
            }
        }
        "device.network_changed" => {
            let changed: kinds::DeviceNetworkChanged = event.typed();
            let network = changed.to.map(|network: Network| word(&network).into());
            What::Device { os_major: None, device_class: None, network }
        }
        "layout.created" => layout(event.typed::<kinds::LayoutCreated>().layout_type),
        "layout.switched" => layout(event.typed::<kinds::LayoutSwitched>().to_type),
        "app.foregrounded" => What::Foregrounded,
        "app.backgrounded" => What::Backgrounded,
        "app.crashed" => What::Crashed,
        "session.ended" => {
            let ended: kinds::SessionEnded = event.typed();
            What::SessionEnded(ended.reason.map_or_else(|| "unknown".into(), |reason| word(&reason).into()))
        }
        _ => What::Sign,
    }
}

fn layout(layout_type: Option<kinds::LayoutType>) -> What {
    layout_type.map_or(What::Sign, |layout_type| What::Layout(word(&layout_type).into()))
}

/// The word of a value of a closed list.
pub(super) fn word<T: serde::Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        _ => String::new(),
    }
}

fn pair(one: Option<i64>, other: Option<i64>) -> Option<(i64, i64)> {
    one.zip(other).filter(|(one, other)| *one > 0 && *other > 0)
}

fn playback(name: &str, event: &Stored<'_>) -> ViewInput {
    let mut input = ViewInput::default();
    match name {
        "view_started" => {
            let data: kinds::PlaybackViewStarted = event.typed();
            input.act = Some(Act::Start);
            input.category = data.category.map(Into::into);
            input.state_only = Some(data.telemetry_level == Some(TelemetryLevel::StateOnly));
            input.tile = pair(data.tile_width_px, data.tile_height_px);
        }
        "first_frame" => {
            let data: kinds::PlaybackFirstFrame = event.typed();
            input.act = Some(Act::Play);
            input.startup_ms = data.startup_ms;
            input.kbps = data.bitrate_kbps;
            input.video = pair(data.width_px, data.height_px);
        }
        "rebuffer_started" => input.act = Some(Act::Buffer),
        "rebuffer_ended" => {
            let data: kinds::PlaybackRebufferEnded = event.typed();
            input.act = Some(Act::BufferEnd(data.ended_by.unwrap_or(RebufferEnd::Resumed)));
        }
        "paused" => input.act = Some(Act::Pause),
        "resumed" => input.act = Some(Act::Resume),
        "seek_started" => input.act = Some(Act::Seek),
        "seek_ended" => input.act = Some(Act::SeekEnd),
        "rendition_changed" => {
            let data: kinds::PlaybackRenditionChanged = event.typed();
            input.kbps = data.to_kbps;
            input.rendition = Some(data.from_kbps);
            input.is_of_tile_count = data.reason == Some(RenditionReason::TileCount);
            input.video = pair(data.width_px, data.height_px);
        }
        "error" => {
            let data: kinds::PlaybackError = event.typed();
            let is_fatal = data.severity == Some(Severity::Fatal);
            input.error = Some(Fault { is_fatal, is_business: data.domain == Some(ErrorDomain::Business) });
            input.act = is_fatal.then(|| Act::End("error".into()));
        }
        "heartbeat" => heartbeat(event.typed(), &mut input),
        "frames_dropped" => input.dropped = event.typed::<kinds::PlaybackFramesDropped>().dropped.unwrap_or(0),
        "latency_sampled" => input.latency_ms = event.typed::<kinds::PlaybackLatencySampled>().latency_ms,
        "mode_changed" => {
            let data: kinds::PlaybackModeChanged = event.typed();
            input.tile = pair(data.tile_width_px, data.tile_height_px);
        }
        "audio_changed" => {
            let data: kinds::PlaybackAudioChanged = event.typed();
            input.audible = data.audible.or(data.muted.map(|muted| !muted));
        }
        "view_ended" => {
            let data: kinds::PlaybackViewEnded = event.typed();
            let reason = data.reason.as_ref().map_or_else(|| "unknown".to_owned(), word);
            input.act = Some(Act::End(reason.into()));
            input.totals = Totals {
                playing_ms: data.playing_ms,
                rebuffer_ms: data.rebuffer_ms,
                rebuffer_count: data.rebuffer_count,
                seek_ms: data.seek_ms,
                paused_ms: data.paused_ms,
                dropped_frames: data.dropped_frames,
                rendered_frames: data.rendered_frames,
            };
        }
        _ => {}
    }
    input
}

fn heartbeat(data: kinds::PlaybackHeartbeat, input: &mut ViewInput) {
    input.is_heartbeat = true;
    input.state = match data.state {
        Some(PlayerState::Playing) => Some(Act::Play),
        Some(PlayerState::Buffering) => Some(Act::Buffer),
        Some(PlayerState::Paused) => Some(Act::Pause),
        _ => None,
    };
    input.kbps = data.bitrate_kbps;
    input.latency_ms = data.latency_ms;
    input.throughput_kbps = data.throughput_kbps.filter(|kbps| *kbps > 0);
    #[expect(clippy::cast_possible_truncation, reason = "0 to 16")]
    let rate = data.playback_rate.map(|rate| (rate * 1000.0).round() as i64);
    input.rate_milli = rate;
    input.focused = data.focused;
    input.audible = data.muted.map(|muted| !muted);
    input.period_ms = data.period_ms;
    input.totals = Totals {
        playing_ms: data.playing_ms,
        rebuffer_ms: data.rebuffer_ms,
        rebuffer_count: data.rebuffer_count,
        seek_ms: data.seek_ms,
        paused_ms: data.paused_ms,
        dropped_frames: data.dropped_frames,
        rendered_frames: data.rendered_frames,
    };
}
