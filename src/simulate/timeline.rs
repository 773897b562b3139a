//! What really happens to the simulated devices: states and the instants between them. Events are made from it, and
//! the truth is computed from it, neither from the other.
//!
//! Times are Unix milliseconds of the **device's** clock. No two instants of a session are equal, so their order is
//! never in doubt.

use uuid::Uuid;

/// Unix milliseconds of a clock.
pub(super) type Ms = i64;

/// A minute.
pub(super) const MINUTE_MS: Ms = 60_000;
/// An hour.
pub(super) const HOUR_MS: Ms = 60 * MINUTE_MS;
/// A day of UTC.
pub(super) const DAY_MS: Ms = 24 * HOUR_MS;

/// All simulated devices.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fleet {
    /// Those that live through the simulated days.
    pub(super) devices: Vec<Device>,
}

/// One device.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Device {
    pub(super) install: Uuid,
    pub(super) anon: Uuid,
    pub(super) tongue: Tongue,
    pub(super) platform: &'static str,
    pub(super) app_version: &'static str,
    pub(super) os_version: &'static str,
    pub(super) class: &'static str,
    /// Device clock − true time, ms.
    pub(super) skew_ms: i64,
    /// The boot, if the device tells it.
    pub(super) boot: Option<Boot>,
    pub(super) sessions: Vec<Session>,
    /// Whether log time ends before its sessions are over: so for devices that only move time on.
    pub(super) stays_open: bool,
}

impl Device {
    /// Whether its clock needs no correction, so that its times are known to the millisecond.
    pub(super) const fn is_timed(&self) -> bool {
        self.skew_ms.abs() <= 1_000
    }
}

/// The format that a device reports in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tongue {
    /// CloudEvents with all native attributes.
    Native,
    /// CMCD version 2, event mode.
    Cmcd,
    /// The app's feed of today.
    Legacy,
}

/// A boot and its monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Boot {
    pub(super) id: Uuid,
    /// Device time of the clock's zero.
    pub(super) zero: Ms,
}

/// One session of the app.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Session {
    pub(super) id: Uuid,
    pub(super) layouts: Vec<Layout>,
    /// What happens beside the views, by rising time.
    pub(super) acts: Vec<Act>,
    /// By rising begin.
    pub(super) views: Vec<View>,
}

impl Session {
    /// Every instant at which the session reports something, rising.
    pub(super) fn instants(&self) -> Vec<Ms> {
        let acts = self.acts.iter().map(|act| act.at);
        let mut all: Vec<Ms> = acts.chain(self.views.iter().flat_map(View::reports)).collect();
        all.sort_unstable();
        all
    }
}

/// How tiles are arranged.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Layout {
    pub(super) id: Uuid,
    pub(super) kind: &'static str,
    pub(super) slots: u8,
}

/// Something that happens beside the views.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Act {
    pub(super) at: Ms,
    pub(super) deed: Deed,
}

/// What happens beside the views.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    Opened,
    Started,
    Context {
        network: &'static str,
    },
    NetworkChanged {
        from: &'static str,
        to: &'static str,
    },
    /// The first layout; a place in [`Session::layouts`].
    LayoutCreated {
        layout: usize,
    },
    LayoutSwitched {
        from: usize,
        to: usize,
    },
    Heartbeat,
    FeatureUsed {
        feature: &'static str,
    },
    Searched,
    StreamAdded {
        stream: Stream,
    },
    MemoryWarning,
    AppError,
    Backgrounded,
    Foregrounded,
    Crashed,
    Ended {
        reason: &'static str,
    },
}

/// A stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stream {
    pub(super) id: &'static str,
    pub(super) platform: &'static str,
    pub(super) category: &'static str,
    pub(super) is_live: bool,
}

/// One stream in one tile.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct View {
    pub(super) id: Uuid,
    pub(super) stream: Stream,
    /// A place in [`Session::layouts`].
    pub(super) layout: usize,
    pub(super) slot: u8,
    /// Whether the player tells no more than its state.
    pub(super) is_state_only: bool,
    pub(super) tile: Size,
    /// What the first frame says of the video.
    pub(super) first_video: Option<Video>,
    /// States without a hole between them. The first one is joining, and each begins with an event.
    pub(super) phases: Vec<Phase>,
    /// What else is reported of it, by rising time.
    pub(super) notes: Vec<Note>,
    pub(super) end: End,
}

/// Width and height in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) width_px: i64,
    pub(super) height_px: i64,
}

/// A rendition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Video {
    pub(super) kbps: i64,
    pub(super) size: Size,
}

/// What a view is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Joining,
    Playing,
    Stalled,
    Seeking,
    Paused,
}

/// A state from one instant to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Phase {
    pub(super) state: State,
    pub(super) from: Ms,
    pub(super) to: Ms,
}

/// Something that a view reports without changing its state.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Note {
    pub(super) at: Ms,
    pub(super) what: What,
}

/// What a view reports without changing its state.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum What {
    /// CMCD: the player loads before it was told to play. No part of the view yet.
    Preload,
    Heartbeat(Beat),
    Rendition {
        from: Video,
        to: Video,
    },
    Warning {
        code: &'static str,
        domain: &'static str,
    },
    FramesDropped {
        frames: i64,
    },
    Latency {
        ms: i64,
    },
    Audio {
        is_muted: bool,
    },
    Resized {
        tile: Size,
    },
    /// The buffer runs dry before the first frame, or within a seek: no stall.
    BufferingAnyway,
    /// A seek before the first frame: the startup time becomes invalid.
    SeekWhileJoining,
    /// CMCD: an answer was received.
    Response,
}

/// What a heartbeat says of its moment; its totals follow from the phases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Beat {
    pub(super) kbps: Option<i64>,
    pub(super) latency_ms: Option<i64>,
    pub(super) is_focused: Option<bool>,
    pub(super) is_muted: Option<bool>,
    /// Playback rate, a whole number, so that no rounding is in doubt.
    pub(super) rate: Option<i64>,
    pub(super) dropped: Option<i64>,
    pub(super) rendered: Option<i64>,
}

/// How a view ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// With an end event.
    Said { at: Ms, reason: &'static str },
    /// With a fatal error, and perhaps an end event behind it that changes nothing.
    Fatal { at: Ms, code: &'static str, domain: &'static str, said_at: Option<Ms> },
    /// Nothing more is heard of it.
    Silent,
}

/// How often views send heartbeats.
pub(super) const HEARTBEAT_MS: Ms = 10_000;

impl View {
    /// When it was told to play.
    pub(super) fn begin(&self) -> Ms {
        self.phases.first().map_or(0, |phase| phase.from)
    }

    /// When its first frame was shown.
    pub(super) fn first_play(&self) -> Option<Ms> {
        self.phases.iter().find(|phase| phase.state == State::Playing).map(|phase| phase.from)
    }

    /// When it said that it was over.
    pub(super) const fn ended(&self) -> Option<Ms> {
        match self.end {
            End::Said { at, .. } | End::Fatal { at, .. } => Some(at),
            End::Silent => None,
        }
    }

    /// Its own instants, rising: begin, changes of state, notes, end.
    pub(super) fn inputs(&self) -> Vec<Ms> {
        let notes = self.notes.iter().filter(|note| note.what != What::Preload).map(|note| note.at);
        let mut all: Vec<Ms> = self.phases.iter().map(|phase| phase.from).chain(notes).chain(self.ended()).collect();
        all.sort_unstable();
        all
    }

    /// Every instant at which it reports something, also those that are none of its inputs.
    fn reports(&self) -> Vec<Ms> {
        let mut all = self.inputs();
        all.extend(self.notes.iter().filter(|note| note.what == What::Preload).map(|note| note.at));
        if let End::Fatal { said_at, .. } = self.end {
            all.extend(said_at);
        }
        all
    }

    /// The state at that instant, a change at it included.
    pub(super) fn state_at(&self, at: Ms) -> Option<State> {
        self.phases.iter().find(|phase| phase.from <= at && at < phase.to).map(|phase| phase.state)
    }
}
