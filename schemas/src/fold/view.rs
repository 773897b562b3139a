//! One part of a view: the machine of states, and what time and events in it add up to.
//!
//! The table of states is in `docs/views.md`. Time between two inputs is spent in the state that the first of them left.

mod counters;
mod ending;
mod spending;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use spending::Manner;

use super::input::{Act, Fault, ViewInput};
use super::measures::{Band, Dims, MEASURE_COUNT, Measure, Metric, Sums, Values, boxed_values};
use super::scores::Scores;
use super::session_time::SessionTime;
use super::sketch::bin_of;
use crate::kinds::RebufferEnd;

pub(super) use counters::Counters;

/// A stall shorter than this is none (Mux's shipped SDK).
pub const STALL_MIN_MS: i64 = 250;
/// From here on a stall is sustained (Mux's shipped SDK).
pub const SUSTAINED_MS: i64 = 1_000;
/// Who leaves before the first frame within this time was not kept waiting (Mux).
pub const PATIENCE_MS: i64 = 1_000;
/// A buffer that runs dry so soon after a seek belongs to the seek (hls.js).
pub const SEEK_SETTLES_MS: i64 = 500;
/// A view is active while it stalls for at most this long.
pub const ACTIVE_STALL_MS: i64 = 300_000;
/// A latency, and a throughput, holds for so long.
pub const LATENCY_HOLDS_MS: i64 = 60_000;
/// Without an end event a view is taken to be active this long after its last input, or for three heartbeats.
pub const LINGERS_MS: i64 = 90_000;

/// What a part is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum State {
    /// Nothing was heard yet.
    #[default]
    Idle,
    /// Told to play, nothing shown yet.
    Joining,
    /// Plays.
    Playing,
    /// The buffer ran dry.
    Rebuffering,
    /// Seeks.
    Seeking,
    /// Paused or hidden.
    Paused,
    /// Over.
    Ended,
}

impl State {
    /// The word in a timeline.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Joining => "joining",
            Self::Playing => "playing",
            Self::Rebuffering => "rebuffering",
            Self::Seeking => "seeking",
            Self::Paused => "paused",
            Self::Ended => "ended",
        }
    }
}

/// What a part shares with its session while it takes in an input.
pub(super) struct Around<'a> {
    pub(super) sums: &'a mut Sums,
    pub(super) time: &'a mut SessionTime,
    /// The session's own dimensions.
    pub(super) session: &'a Arc<Dims>,
    /// Parts that have begun and not ended.
    pub(super) band: Band,
    /// Whether another part with the same layout has started.
    pub(super) sibling_started: bool,
    /// A stall that was counted during this input.
    pub(super) stalled: Option<Stalled>,
}

/// A stall of a part: when it began, and where it is counted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Stalled {
    pub(super) from_ms: i64,
    pub(super) dims: Arc<Dims>,
    pub(super) band: Band,
}

/// A stall under way.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Stall {
    from_ms: i64,
    band: Band,
    counted: bool,
    sustained: bool,
    /// As things were until the last input: should it end there, it is counted like that.
    session: Arc<Dims>,
    manner: Manner,
}

/// One part of a view.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is one thing that was told")]
pub(super) struct Part {
    pub(super) dims: Arc<Dims>,
    pub(super) layout_id: Option<Box<str>>,
    pub(super) state: State,
    before_seek: State,
    /// Time of the last input.
    pub(super) last_ms: i64,
    /// Parts that were under way at that input.
    pub(super) last_band: Band,
    attempt: Option<(i64, Band)>,
    start_ms: Option<i64>,
    /// Whether any change of state was ever told.
    is_stateful: bool,
    pub(super) started: bool,
    startup_broken: bool,
    startup_ms: Option<i64>,
    reported_startup_ms: Option<i64>,
    state_only: bool,
    stall: Option<Stall>,
    seek_at_ms: Option<i64>,
    manner: Manner,
    period_ms: i64,
    /// When the last live latency was told, and what it was, ms.
    latency: Option<(i64, i64)>,
    /// When the last throughput was told, and what it was, kbit/s.
    throughput: Option<(i64, i64)>,
    /// A number was missing before an input since the state was last told, and since totals were last told.
    pub(super) state_gap: bool,
    pub(super) totals_gap: bool,
    pub(super) counters: Counters,
    /// Whether it ended by an error; then whether that was business.
    failure: Option<bool>,
    ended_ms: i64,
    exit_reason: Box<str>,
    /// How it went, once it is over; a part that is over is put away at once.
    #[serde(skip)]
    settled: Option<(&'static str, Scores)>,
    /// The measures of its fact, over all buckets.
    #[serde(with = "boxed_values")]
    own: Box<Values>,
    extremes: Extremes,
}

/// What the part's fact will say beside its measures.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Extremes {
    max_rebuffer_ms: i64,
    /// Upscaling in ten-thousandths: greatest, and times playing time; and the time it was known.
    upscale_max: i64,
    upscale_sum: i64,
    upscale_ms: i64,
    latency_max: Option<i64>,
    latency_bins: Vec<(i32, i64)>,
}

impl Part {
    pub(super) fn new(dims: Arc<Dims>, layout_id: Option<Box<str>>, now_ms: i64, counters: Counters) -> Self {
        Self {
            dims,
            layout_id,
            state: State::Idle,
            before_seek: State::Playing,
            last_ms: now_ms,
            last_band: Band::UNKNOWN,
            attempt: None,
            start_ms: None,
            is_stateful: false,
            started: false,
            startup_broken: false,
            startup_ms: None,
            reported_startup_ms: None,
            state_only: false,
            stall: None,
            seek_at_ms: None,
            manner: Manner::UNKNOWN,
            period_ms: 30_000,
            latency: None,
            throughput: None,
            // The state that a first heartbeat tells is believed.
            state_gap: true,
            totals_gap: false,
            counters,
            failure: None,
            ended_ms: now_ms,
            exit_reason: Box::default(),
            settled: None,
            own: Box::new([0; MEASURE_COUNT]),
            extremes: Extremes::default(),
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Whether it failed. A business error after the first frame is no failure.
    pub(super) fn failed(&self) -> bool {
        self.failure.is_some_and(|is_business| !is_business || !self.started)
    }

    /// A measure of the fact so far.
    pub(super) fn so_far(&self, measure: Measure) -> i64 {
        self.own[measure as usize]
    }

    /// Whether there was an attempt.
    pub(super) const fn is_attempt(&self) -> bool {
        self.attempt.is_some()
    }

    /// The latency, if the part plays and it was told not long before.
    pub(super) fn latency_at(&self, now_ms: i64) -> Option<i64> {
        let (at, latency_ms) = self.latency.filter(|_| self.state == State::Playing)?;
        (now_ms - at <= LATENCY_HOLDS_MS).then_some(latency_ms)
    }

    /// The bitrate, and the throughput if it was told not long before, kbit/s each, of a part that plays.
    pub(super) fn demand_at(&self, now_ms: i64) -> Option<(i64, Option<i64>)> {
        let throughput = self.throughput.filter(|(at, _)| now_ms - at <= LATENCY_HOLDS_MS).map(|(_, kbps)| kbps);
        (self.state == State::Playing).then(|| (self.manner.kbps.unwrap_or(0), throughput))
    }

    /// Whether the part is one of the tiles that play or would play.
    pub(super) fn is_active(&self) -> bool {
        matches!(self.state, State::Playing | State::Rebuffering)
    }

    /// Spends the time until `now_ms` in the state that the part is in.
    pub(super) fn spend_until(&mut self, now_ms: i64, around: &mut Around<'_>) {
        let (from, to) = (self.last_ms, now_ms.max(self.last_ms));
        self.last_ms = now_ms;
        match self.state {
            State::Idle | State::Ended => {}
            State::Joining => self.spend(Measure::JoinMs, from, to, around),
            State::Playing => self.play(from, to, around),
            State::Rebuffering => self.stall_until(from, to, around),
            State::Seeking => self.spend(Measure::SeekMs, from, to, around),
            State::Paused => self.spend(Measure::PausedMs, from, to, around),
        }
    }

    /// Takes in what an input tells, at the time that was [spent until](Self::spend_until).
    pub(super) fn take(&mut self, input: &ViewInput, around: &mut Around<'_>) {
        self.last_band = around.band;
        if let Some(act) = &input.act {
            self.is_stateful = true;
            let before = self.state;
            self.act(act, around);
            self.state_gap &= self.state == before;
        } else if let Some(state) = &input.state {
            self.is_stateful = true;
            if std::mem::take(&mut self.state_gap) {
                self.act(state, around);
            }
        }
        self.note(input);
        if let Some(error) = input.error {
            self.error(error, around);
        }
        if let Some(ms) = input.startup_ms {
            self.reported(ms, around);
        }
        self.bitrate(input, around);
        if let Some(latency_ms) = input.latency_ms.filter(|_| self.state == State::Playing) {
            self.latency(latency_ms, around);
        }
        let ends = if let Some(Act::End(reason)) = &input.act { Some(reason) } else { None };
        if ends.is_some() {
            // What a stall was is known before the player's totals are compared with what was counted.
            self.stall_ends(around);
        }
        self.totals(&input.totals, input.dropped, around);
        if let Some(reason) = ends {
            self.end(reason, around);
        }
    }

    /// What is valid from this input on.
    fn note(&mut self, input: &ViewInput) {
        self.state_only = input.state_only.unwrap_or(self.state_only);
        let manner = &mut self.manner;
        manner.tile = input.tile.or(manner.tile);
        manner.video = input.video.or(manner.video);
        manner.rate_milli = input.rate_milli.unwrap_or(manner.rate_milli);
        manner.focused = input.focused.unwrap_or(manner.focused);
        manner.audible = input.audible.unwrap_or(manner.audible);
        self.period_ms = input.period_ms.unwrap_or(self.period_ms);
        self.throughput = input.throughput_kbps.map(|kbps| (self.last_ms, kbps)).or(self.throughput);
    }

    fn attempt(&mut self, around: &mut Around<'_>) {
        if self.attempt.is_none() {
            self.attempt = Some((self.last_ms, around.band));
            self.at_attempt(Measure::Attempts, around);
        }
    }

    /// Counts in the minute of the attempt.
    fn at_attempt(&self, measure: Measure, around: &mut Around<'_>) {
        if let Some((at, band)) = self.attempt {
            around.sums.add(&self.dims, band, at, measure, 1);
        }
    }

    /// Counts in this minute.
    fn here(&self, measure: Measure, value: i64, around: &mut Around<'_>) {
        around.sums.add(&self.dims, around.band, self.last_ms, measure, value);
    }

    /// Counts in this minute, and in the fact.
    fn count(&mut self, measure: Measure, value: i64, around: &mut Around<'_>) {
        self.own[measure as usize] += value;
        self.here(measure, value, around);
    }

    fn act(&mut self, act: &Act, around: &mut Around<'_>) {
        use State::{Ended, Idle, Joining, Paused, Playing, Rebuffering, Seeking};
        match act {
            Act::Buffer if self.state != Ended => self.attempt(around),
            Act::Seek => self.seek_at_ms = Some(self.last_ms),
            _ => {}
        }
        let next = match (act, self.state) {
            (_, Ended) | (Act::End(_), _) => return,
            (Act::Start, state) => {
                if self.start_ms.is_none() && !self.started {
                    self.start_ms = Some(self.last_ms);
                    self.attempt(around);
                }
                if state == Idle { Joining } else { state }
            }
            (Act::Resume, Joining) | (Act::Buffer | Act::Wait | Act::Seek, Idle) => Joining,
            (Act::Resume, Paused) if !self.started => Joining,
            (Act::Play | Act::Resume, _) => {
                self.attempt(around);
                self.first_play(around);
                Playing
            }
            (Act::Buffer, Playing) => {
                let is_of_seek = self.seek_at_ms.is_some_and(|at| self.last_ms - at <= SEEK_SETTLES_MS);
                if is_of_seek { Seeking } else { Rebuffering }
            }
            (Act::BufferEnd(by), Rebuffering) => match by {
                RebufferEnd::Resumed => Playing,
                RebufferEnd::Paused => Paused,
                RebufferEnd::Seeked => Seeking,
                RebufferEnd::Exit => Rebuffering,
            },
            (Act::Seek, Joining) => {
                self.startup_broken = true;
                Joining
            }
            (Act::Seek, state @ (Playing | Rebuffering | Paused)) => {
                self.before_seek = if state == Rebuffering { Playing } else { state };
                self.startup_broken |= !self.started;
                self.count(Measure::Seeks, 1, around);
                Seeking
            }
            (Act::SeekEnd, Seeking) => self.before_seek,
            (Act::Pause, state) => {
                self.startup_broken |= state == Joining;
                Paused
            }
            (_, state) => state,
        };
        self.enter(next, around);
    }

    fn enter(&mut self, next: State, around: &mut Around<'_>) {
        if self.state == State::Rebuffering && next != State::Rebuffering {
            self.stall_ends(around);
        }
        if next == State::Rebuffering && self.state != State::Rebuffering {
            self.stall = Some(Stall {
                from_ms: self.last_ms,
                band: around.band,
                counted: false,
                sustained: false,
                session: Arc::clone(around.session),
                manner: self.manner,
            });
        }
        self.state = next;
    }

    fn first_play(&mut self, around: &mut Around<'_>) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        self.at_attempt(Measure::Started, around);
        let measured = self.start_ms.filter(|_| !self.startup_broken).map(|start| self.last_ms - start);
        let reported = self.reported_startup_ms.filter(|_| self.start_ms.is_none());
        if let Some(ms) = measured.or(reported) {
            self.valid_startup(ms, around);
        }
    }

    fn valid_startup(&mut self, ms: i64, around: &mut Around<'_>) {
        self.startup_ms = Some(ms);
        self.at_attempt(Measure::StartupValid, around);
        if let Some((at, band)) = self.attempt {
            around.sums.observe(&self.dims, band, at, Metric::StartupMs, ms);
        }
    }

    /// A startup time that the player measured: used only where no start was seen.
    fn reported(&mut self, ms: i64, around: &mut Around<'_>) {
        if self.reported_startup_ms.is_some() || self.has_ended() {
            return;
        }
        self.reported_startup_ms = Some(ms);
        self.attempt(around);
        if !self.is_stateful && !std::mem::replace(&mut self.started, true) {
            self.at_attempt(Measure::Started, around);
        }
        if self.started && self.start_ms.is_none() && self.startup_ms.is_none() {
            self.valid_startup(ms, around);
        }
    }

    fn error(&mut self, Fault { is_fatal, is_business }: Fault, around: &mut Around<'_>) {
        if is_fatal {
            self.count(Measure::ErrorsFatal, 1, around);
            if self.failure.is_none() {
                self.failure = Some(is_business);
                if !is_business {
                    self.at_attempt(Measure::PlaybackFailures, around);
                }
            }
        } else {
            self.count(Measure::ErrorsWarning, 1, around);
        }
    }

    fn bitrate(&mut self, input: &ViewInput, around: &mut Around<'_>) {
        let Some(kbps) = input.kbps else { return };
        if let Some(from) = input.rendition
            && let Some(before) = self.manner.kbps.or(from)
            && before != kbps
        {
            self.count(Measure::RenditionChanges, 1, around);
            self.count(if kbps > before { Measure::ShiftsUp } else { Measure::ShiftsDown }, 1, around);
            self.count(Measure::ShiftsDownTileCount, (kbps < before && input.is_of_tile_count).into(), around);
        }
        self.manner.kbps = Some(kbps);
        if input.is_heartbeat && self.state == State::Playing {
            around.sums.observe(&self.dims, around.band, self.last_ms, Metric::BitrateKbps, kbps);
        }
    }

    fn latency(&mut self, latency_ms: i64, around: &mut Around<'_>) {
        self.latency = Some((self.last_ms, latency_ms));
        self.count(Measure::LatencyMsSum, latency_ms, around);
        self.count(Measure::LatencyN, 1, around);
        around.sums.observe(&self.dims, around.band, self.last_ms, Metric::LatencyMs, latency_ms);
        let Extremes { latency_max, latency_bins, .. } = &mut self.extremes;
        *latency_max = (*latency_max).max(Some(latency_ms));
        let bin = bin_of(latency_ms);
        match latency_bins.binary_search_by_key(&bin, |(bin, _)| *bin) {
            Ok(idx) => latency_bins[idx].1 += 1,
            Err(idx) => latency_bins.insert(idx, (bin, 1)),
        }
    }

    /// Adds time in a state to the minute of an instant, and to the fact.
    fn count_ms(&mut self, measure: Measure, at_ms: i64, ms: i64, around: &mut Around<'_>) {
        if ms == 0 {
            return;
        }
        let values = &mut around.sums.cell(&self.dims, around.band, at_ms).values;
        let mut add = |measure: Measure| {
            self.own[measure as usize] += ms;
            values[measure as usize] += ms;
        };
        add(measure);
        if measure != Measure::PausedMs {
            add(Measure::WatchMs);
            if !self.state_only {
                values[Measure::WatchMsRebufferCapable as usize] += ms;
            }
        }
    }
}
