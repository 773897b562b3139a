//! What happens in one tile.

use uuid::Uuid;

use super::{Ms, Stream, Tongue};

/// One stream in one tile.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::simulate) struct View {
    pub(in crate::simulate) id: Uuid,
    /// Number among the parts with this id: it was started anew after its end or a long silence.
    pub(in crate::simulate) part: i64,
    pub(in crate::simulate) stream: Stream,
    /// A place among the layouts of its session.
    pub(in crate::simulate) layout: usize,
    pub(in crate::simulate) slot: u8,
    /// Whether the player tells no more than its state.
    pub(in crate::simulate) is_state_only: bool,
    pub(in crate::simulate) tile: Size,
    /// What the first frame says of the video.
    pub(in crate::simulate) first_video: Option<Video>,
    /// States without a hole between them. The first one is joining, and each begins with an event.
    pub(in crate::simulate) phases: Vec<Phase>,
    /// What else is reported of it, by rising time.
    pub(in crate::simulate) notes: Vec<Note>,
    pub(in crate::simulate) end: End,
}

/// Width and height in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::simulate) struct Size {
    pub(in crate::simulate) width_px: i64,
    pub(in crate::simulate) height_px: i64,
}

/// A rendition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::simulate) struct Video {
    pub(in crate::simulate) kbps: i64,
    pub(in crate::simulate) size: Size,
}

/// What a view is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::simulate) enum State {
    Joining,
    Playing,
    Stalled,
    Seeking,
    Paused,
}

/// A state from one instant to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::simulate) struct Phase {
    pub(in crate::simulate) state: State,
    pub(in crate::simulate) from: Ms,
    pub(in crate::simulate) to: Ms,
}

/// Something that a view reports without changing its state.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::simulate) struct Note {
    pub(in crate::simulate) at: Ms,
    pub(in crate::simulate) what: What,
}

/// What a view reports without changing its state.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::simulate) enum What {
    /// CMCD: the player loads before it was told to play. No part of the view yet.
    Preload,
    Heartbeat(Beat),
    Rendition {
        from: Video,
        to: Video,
        /// Whether the app wanted it because of the number of tiles.
        is_of_tile_count: bool,
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
pub(in crate::simulate) struct Beat {
    pub(in crate::simulate) kbps: Option<i64>,
    pub(in crate::simulate) latency_ms: Option<i64>,
    pub(in crate::simulate) throughput_kbps: Option<i64>,
    pub(in crate::simulate) is_focused: Option<bool>,
    pub(in crate::simulate) is_muted: Option<bool>,
    /// Playback rate, a whole number, so that no rounding is in doubt.
    pub(in crate::simulate) rate: Option<i64>,
    pub(in crate::simulate) dropped: Option<i64>,
    pub(in crate::simulate) rendered: Option<i64>,
    /// CMCD: the code of an error since the last report.
    pub(in crate::simulate) error: Option<&'static str>,
}

/// How a player tells that its state changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::simulate) enum Turn {
    /// It was told to play.
    Started,
    /// The first frame; CMCD: it plays.
    Plays,
    Resumed,
    /// The buffer ran dry.
    RanDry,
    /// A stall is over; what comes after it.
    Recovered(State),
    SeekBegan,
    SeekOver,
    Paused,
}

/// What a player has counted since the view, or this part of it, was told to play.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::simulate) struct Totals {
    pub(in crate::simulate) playing_ms: Ms,
    pub(in crate::simulate) stalled_ms: Ms,
    pub(in crate::simulate) seeking_ms: Ms,
    pub(in crate::simulate) paused_ms: Ms,
    pub(in crate::simulate) stalls: i64,
}

/// How a view ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::simulate) enum End {
    /// With an end event.
    Said { at: Ms, reason: &'static str },
    /// With a fatal error, and perhaps an end event behind it that changes nothing.
    Fatal { at: Ms, code: &'static str, domain: &'static str, said_at: Option<Ms> },
    /// Nothing more is heard of it.
    Silent,
}

/// A buffer that runs dry so soon after a seek began belongs to the seek.
const SEEK_SETTLES_MS: Ms = 500;

/// How often views send heartbeats.
pub(in crate::simulate) const HEARTBEAT_MS: Ms = 10_000;

impl View {
    /// The state changes.
    pub(in crate::simulate) fn turn(&mut self, state: State, at: Ms) {
        if let Some(last) = self.phases.last_mut() {
            last.to = at;
        }
        self.phases.push(Phase { state, from: at, to: at });
    }

    /// When it was told to play.
    pub(in crate::simulate) fn begin(&self) -> Ms {
        self.phases.first().map_or(0, |phase| phase.from)
    }

    /// When its first frame was shown.
    pub(in crate::simulate) fn first_play(&self) -> Option<Ms> {
        self.phases.iter().find(|phase| phase.state == State::Playing).map(|phase| phase.from)
    }

    /// Whether this phase is a buffer that ran dry just after a seek: the rest of the seek, and no new one.
    pub(in crate::simulate) fn settles(&self, place: usize) -> bool {
        let Some([seek, between, phase]) = place.checked_sub(2).and_then(|first| self.phases.get(first..=place)) else {
            return false;
        };
        (seek.state, between.state, phase.state) == (State::Seeking, State::Playing, State::Seeking)
            && phase.from - seek.from <= SEEK_SETTLES_MS
    }

    /// How it tells that this phase begins.
    pub(in crate::simulate) fn turn_at(&self, place: usize, tongue: Tongue) -> Turn {
        let phase = self.phases[place];
        let before = place.checked_sub(1).map(|before| self.phases[before].state);
        let is_native = tongue == Tongue::Native;
        match (before, phase.state) {
            (None, _) => Turn::Started,
            (_, State::Seeking) if self.settles(place) => Turn::RanDry,
            (_, State::Playing) if !is_native || self.first_play() == Some(phase.from) => Turn::Plays,
            (Some(State::Stalled), State::Playing | State::Paused) if is_native => Turn::Recovered(phase.state),
            (Some(State::Seeking), State::Playing | State::Paused) if is_native => Turn::SeekOver,
            (_, State::Playing | State::Joining) => Turn::Resumed,
            (_, State::Stalled) => Turn::RanDry,
            (_, State::Seeking) => Turn::SeekBegan,
            (_, State::Paused) => Turn::Paused,
        }
    }

    /// What it has counted by then.
    pub(in crate::simulate) fn totals_at(&self, at: Ms) -> Totals {
        let spent = |state: State| {
            let phases = self.phases.iter().filter(|phase| phase.state == state);
            phases.map(|phase| (phase.to.min(at) - phase.from).max(0)).sum::<Ms>()
        };
        let stalls = self.phases.iter().filter(|phase| phase.state == State::Stalled && phase.from < at).count();
        Totals {
            playing_ms: spent(State::Playing),
            stalled_ms: spent(State::Stalled),
            seeking_ms: spent(State::Seeking),
            paused_ms: spent(State::Paused),
            stalls: i64::try_from(stalls).unwrap_or_default(),
        }
    }

    /// What a heartbeat says of the state: that it plays, buffers, or is paused; or nothing of these.
    pub(in crate::simulate) fn said_at(&self, at: Ms) -> Option<Turn> {
        match self.state_after(at)? {
            State::Joining => None,
            State::Playing => Some(Turn::Plays),
            State::Stalled | State::Seeking => Some(Turn::RanDry),
            State::Paused => Some(Turn::Paused),
        }
    }

    /// When it said that it was over.
    pub(in crate::simulate) const fn ended(&self) -> Option<Ms> {
        match self.end {
            End::Said { at, .. } | End::Fatal { at, .. } => Some(at),
            End::Silent => None,
        }
    }

    /// Its own instants, rising: begin, changes of state, notes, end.
    pub(in crate::simulate) fn inputs(&self) -> Vec<Ms> {
        let notes = self.notes.iter().filter(|note| note.what != What::Preload).map(|note| note.at);
        let mut all: Vec<Ms> = self.phases.iter().map(|phase| phase.from).chain(notes).chain(self.ended()).collect();
        all.sort_unstable();
        all
    }

    /// Every instant at which it reports something, also those that are none of its inputs.
    pub(in crate::simulate) fn reports(&self) -> Vec<Ms> {
        let mut all = self.inputs();
        all.extend(self.notes.iter().filter(|note| note.what == What::Preload).map(|note| note.at));
        if let End::Fatal { said_at, .. } = self.end {
            all.extend(said_at);
        }
        all
    }

    /// The last state that began until then, also when the view is over.
    pub(in crate::simulate) fn state_after(&self, at: Ms) -> Option<State> {
        self.phases.iter().take_while(|phase| phase.from <= at).last().map(|phase| phase.state)
    }

    /// The state at that instant, a change at it included.
    pub(in crate::simulate) fn state_at(&self, at: Ms) -> Option<State> {
        self.phases.iter().find(|phase| phase.from <= at && at < phase.to).map(|phase| phase.state)
    }
}
