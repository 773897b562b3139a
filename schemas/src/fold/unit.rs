//! A unit: the views and the app sessions of one session id, folded in the sender's order.

mod app_session;
mod clock;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::facts::{SessionFact, ViewFact};
use super::input::{Act, Input, Place, ViewInput, What};
use super::measures::{Band, Dims, Measure, Sums};
use super::opening::Openings;
use super::session_time::SessionTime;
use super::together::{Together, demand, sync_spread};
use super::unit_key::{Order, UnitKey};
use super::view::{Around, Counters, Part, State};
use crate::time::Timestamp;

use app_session::AppSession;
use clock::UnitClock;

/// Silence that cuts a view into parts, and after which, in log time, a unit is closed.
pub const VIEW_SILENCE_MS: i64 = 3_600_000;
/// Layouts that are remembered per unit.
const LAYOUTS_MAX: usize = 64;

/// The first byte of units as bytes: another one for every change of the rules or of the state. Bytes of another version
/// are no state, and the units are folded again from their events.
const STATE_VERSION: u8 = 7;

/// Whether a unit with this last arrival is over at a log time.
#[must_use]
pub fn is_silent(last_received: Timestamp, log_time: Timestamp) -> bool {
    log_time.millis_since(last_received) >= VIEW_SILENCE_MS
}

/// Units as bytes, and those that were put away with their last arrivals.
#[must_use]
pub fn units_to_bytes<'a>(
    units: impl Iterator<Item = (&'a UnitKey, &'a Unit)>,
    put_away: impl Iterator<Item = (&'a UnitKey, &'a Timestamp)>,
) -> Vec<u8> {
    let units: Vec<(&UnitKey, &Unit)> = units.collect();
    let put_away: Vec<(&UnitKey, &Timestamp)> = put_away.collect();
    let mut bytes = vec![STATE_VERSION];
    bytes.extend(postcard::to_stdvec(&(units, put_away)).unwrap_or_default());
    bytes
}

/// Units, and those that were put away with their last arrivals.
pub type StoredUnits = (Vec<(UnitKey, Unit)>, Vec<(UnitKey, Timestamp)>);

/// The units of these bytes; `None` if they are not units of this version.
#[must_use]
pub fn units_from_bytes(bytes: &[u8]) -> Option<StoredUnits> {
    postcard::from_bytes(bytes.strip_prefix(&[STATE_VERSION])?).ok()
}

/// What folding gives: sums to add, facts to write.
#[derive(Debug, Default, Clone)]
pub struct Folded {
    /// Contributions.
    pub sums: Sums,
    /// Parts that are over.
    pub views: Vec<ViewFact>,
    /// App sessions that are over.
    pub sessions: Vec<SessionFact>,
}

/// State of a unit. What it gives depends on the set of inputs alone, not on how they were dealt out to calls, as long
/// as they come [in order](Self::continues_with).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Unit {
    order: Order,
    clock: UnitClock,
    last: Option<Place>,
    session: Arc<Dims>,
    /// Boxed: a node of the map has room for eleven, and most sessions have a few.
    views: BTreeMap<Box<str>, Box<View>>,
    live: usize,
    time: SessionTime,
    together: Together,
    openings: Openings,
    app: Option<AppSession>,
    started_layouts: Vec<Box<str>>,
    last_received: Timestamp,
}

/// A view of the unit.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct View {
    parts: u32,
    live: Option<Box<Part>>,
    /// Whether an event ended the last part: then only a start or a play begins another.
    has_ended: bool,
    counters: Counters,
    /// CMCD: the view's own order and clock.
    last: Option<Place>,
    clock: UnitClock,
}

impl Unit {
    /// A unit without inputs.
    #[must_use]
    pub fn new(key: &UnitKey) -> Self {
        let session = Dims { session_id: key.session_id.clone(), ..Dims::default() };
        Self {
            order: key.order,
            clock: UnitClock::default(),
            last: None,
            session: Arc::new(session),
            views: BTreeMap::new(),
            live: 0,
            time: SessionTime::default(),
            together: Together::default(),
            openings: Openings::default(),
            app: None,
            started_layouts: Vec::new(),
            last_received: Timestamp::MIN,
        }
    }

    /// Whether nothing arrived for so long, in log time, that the unit is to be [closed](Self::close).
    #[must_use]
    pub fn is_silent(&self, log_time: Timestamp) -> bool {
        is_silent(self.last_received, log_time)
    }

    /// Its last arrival.
    #[must_use]
    pub const fn last_received(&self) -> Timestamp {
        self.last_received
    }

    /// The newest part of a view and its state; `None` before its first part.
    #[must_use]
    pub fn view_state(&self, view_id: &str) -> Option<(u32, State)> {
        let view = self.views.get(view_id)?;
        let part = view.parts.checked_sub(1)?;
        Some((part, view.live.as_ref().map_or(State::Ended, |part| part.state)))
    }

    /// Whether sorted inputs all stand behind those that were folded, and change nothing that was written: otherwise all
    /// inputs must be folded anew.
    #[must_use]
    pub fn continues_with(&self, inputs: &[Input]) -> bool {
        let Some(first) = inputs.first() else { return true };
        match self.order {
            Order::View => {
                let is_behind = |input: &Input| {
                    let view = input.about.view_id.as_ref().and_then(|view_id| self.views.get(view_id));
                    view.is_none_or(|view| view.last < Some(input.place))
                };
                inputs.iter().all(is_behind)
            }
            _ => self.last < Some(first.place) && !self.app.as_ref().is_some_and(|app| app.is_written),
        }
    }

    /// Folds inputs, which are sorted by place and [continue](Self::continues_with) those before.
    pub fn fold(&mut self, inputs: &[Input], folded: &mut Folded) {
        for input in inputs {
            self.step(input, folded);
        }
        self.write_ended_session(folded);
    }

    /// Closes the unit: nothing is expected any more.
    pub fn close(&mut self, folded: &mut Folded) {
        let view_ids: Vec<Box<str>> = self.views.keys().cloned().collect();
        for view_id in view_ids {
            self.time_out(&view_id, folded);
        }
        self.end_session(folded);
    }

    /// Folds one input, more of which follow: a session that it ends is written with the last one ([`fold`](Self::fold)), or when the
    /// unit is closed. Until then what follows may still belong to it.
    pub fn step(&mut self, input: &Input, folded: &mut Folded) {
        self.last_received = self.last_received.max(input.received_at);
        if self.order == Order::View {
            if let Some(view_id) = &input.about.view_id {
                let view = self.views.entry(view_id.clone()).or_default();
                let has_gap = view.last.is_some_and(|last| last.number + 1 < input.place.number);
                view.last = Some(input.place);
                let now_ms = view.clock.advance(input, false);
                self.take_view(input, now_ms, has_gap, folded);
            }
            return;
        }
        let has_gap =
            self.order == Order::Session && self.last.is_some_and(|last| last.number + 1 < input.place.number);
        self.last = Some(input.place);
        let now_ms = self.clock.advance(input, true);
        if has_gap {
            for part in self.views.values_mut().filter_map(|view| view.live.as_mut()) {
                part.state_gap = true;
                part.totals_gap = true;
            }
        }
        if self.app.as_ref().is_some_and(|app| app.is_over(now_ms)) {
            // Before anything is known that this input tells.
            self.end_session(folded);
        }
        self.know(input);
        self.openings.advance(now_ms, &mut folded.sums);
        self.app_session(input, now_ms, folded);
        self.take_view(input, now_ms, has_gap, folded);
    }

    /// Brings the session's dimensions up to date. Who holds the old ones keeps them.
    fn know(&mut self, input: &Input) {
        let session = &mut self.session;
        let differs = |known: &str, told: &str| !told.is_empty() && known != told;
        if differs(&session.person_id, &input.about.person_id) {
            Arc::make_mut(session).person_id = input.about.person_id.clone();
        }
        if differs(&session.app_version, &input.about.app_version) {
            Arc::make_mut(session).app_version = input.about.app_version.clone();
        }
        if differs(session.device_platform, input.about.device_platform) {
            Arc::make_mut(session).device_platform = input.about.device_platform;
        }
        match &input.what {
            What::Device { os_major, device_class, network } => {
                let dims = Arc::make_mut(session);
                for (known, told) in [
                    (&mut dims.os_major, os_major),
                    (&mut dims.device_class, device_class),
                    (&mut dims.network, network),
                ] {
                    if let Some(told) = told {
                        known.clone_from(told);
                    }
                }
            }
            What::Layout(layout_type) => Arc::make_mut(session).layout_type = layout_type.clone(),
            _ => {}
        }
    }

    /// Takes an input into the app session under way, or into the next one.
    fn app_session(&mut self, input: &Input, now_ms: i64, folded: &mut Folded) {
        let app = match self.app.take() {
            Some(app) if !app.is_over(now_ms) => app,
            before => {
                folded.sums.add(&self.session, Band::UNKNOWN, now_ms, Measure::Sessions, 1);
                let part = before.map_or(0, |app| app.part + 1);
                AppSession::new(part, &self.session, now_ms, self.time.viewer_ms)
            }
        };
        self.app.insert(app).take_in(input, now_ms, &mut folded.sums);
    }

    /// A session that its sender ended is written; what comes later in it is folded anew.
    fn write_ended_session(&mut self, folded: &mut Folded) {
        if self.app.as_ref().is_some_and(|app| app.ended.is_some()) {
            self.end_session(folded);
        }
    }

    fn end_session(&mut self, folded: &mut Folded) {
        // Before its fact is written: tile and viewer time of stalls that were too short to be one are part of it.
        let live = self.views.iter().filter(|(_, view)| view.live.is_some());
        let view_ids: Vec<Box<str>> = live.map(|(view_id, _)| view_id.clone()).collect();
        for view_id in view_ids {
            self.with_part(&view_id, folded, Part::settle_stall);
        }
        if let Some(app) = &mut self.app {
            folded.sessions.extend(app.end(&self.session, self.time.viewer_ms, &mut folded.sums));
        }
    }

    /// Takes in what an input tells of its view, if it does. `has_gap` says that numbers are missing before it.
    fn take_view(&mut self, input: &Input, now_ms: i64, has_gap: bool, folded: &mut Folded) {
        let (Some(view_id), What::View(told)) = (&input.about.view_id, &input.what) else { return };
        let live = self.views.get(view_id).and_then(|view| view.live.as_ref());
        if live.is_some_and(|part| now_ms - part.last_ms > VIEW_SILENCE_MS) {
            self.time_out(view_id, folded);
        }
        self.with_part(view_id, folded, |part, around| {
            part.state_gap |= has_gap;
            part.totals_gap |= has_gap;
            part.spend_until(now_ms, around);
        });
        if !self.begin(view_id, input, told, now_ms) {
            return;
        }
        self.with_part(view_id, folded, |part, around| part.take(told, around));
        self.settle(view_id, folded);
        if self.order == Order::Session {
            self.compare(view_id, told, now_ms, &mut folded.sums);
        }
    }

    /// Holds the tiles of the session against each other, where an input tells something to compare.
    fn compare(&mut self, view_id: &str, told: &ViewInput, now_ms: i64, sums: &mut Sums) {
        let part = self.views.get(view_id).and_then(|view| view.live.as_ref());
        if let Some(layout_id) = part.and_then(|part| part.layout_id.as_ref()).filter(|_| told.focused == Some(true)) {
            self.openings.focus(layout_id, view_id);
        }
        if told.latency_ms.is_some() {
            sync_spread(sums, &self.session, now_ms, self.parts().filter_map(|part| part.latency_at(now_ms)));
        }
        if told.throughput_kbps.is_some() {
            demand(sums, &self.session, now_ms, self.parts().filter_map(|part| part.demand_at(now_ms)));
        }
    }

    /// How many parts of a layout are under way.
    fn on_screen(&self, layout_id: &str) -> usize {
        self.parts().filter(|part| part.layout_id.as_deref() == Some(layout_id)).count()
    }

    /// Begins a part, if none is under way and the input can begin one. Whether one is under way.
    fn begin(&mut self, view_id: &str, input: &Input, told: &ViewInput, now_ms: i64) -> bool {
        let view = self.views.entry(view_id.into()).or_default();
        if view.live.is_some() {
            return true;
        }
        let begins = match &told.act {
            Some(Act::Start | Act::Play | Act::Resume) => true,
            Some(Act::Buffer | Act::Wait | Act::Seek | Act::Pause) => !view.has_ended,
            Some(_) => false,
            None => !view.has_ended && (told.state.is_some() || told.startup_ms.is_some()),
        };
        if !begins {
            return false;
        }
        let dims = Dims {
            view_id: view_id.into(),
            part: view.parts,
            person_id: input.about.person_id.clone(),
            stream_id: input.about.stream_id.clone(),
            stream_platform: input.about.stream_platform,
            category: told.category.clone().unwrap_or_default(),
            app_version: input.about.app_version.clone(),
            device_platform: input.about.device_platform,
            ..(*self.session).clone()
        };
        let counters = std::mem::take(&mut view.counters);
        let mut part = Part::new(Arc::new(dims), input.about.layout_id.clone(), now_ms, counters);
        part.totals_gap = told.act != Some(Act::Start);
        view.parts += 1;
        view.has_ended = false;
        view.live = Some(Box::new(part));
        self.live += 1;
        if let Some(layout_id) = input.about.layout_id.as_ref().filter(|_| self.order == Order::Session) {
            let is_first = self.on_screen(layout_id) == 1;
            self.openings.begin(layout_id, view_id, is_first, now_ms, &self.session);
        }
        true
    }

    /// Does something with the part under way, and notes what it means for the session.
    fn with_part(&mut self, view_id: &str, folded: &mut Folded, work: impl FnOnce(&mut Part, &mut Around<'_>)) {
        let Some(part) = self.views.get_mut(view_id).and_then(|view| view.live.as_mut()) else { return };
        let sibling_started = part.layout_id.as_ref().is_some_and(|layout| self.started_layouts.contains(layout));
        let mut around = Around {
            sums: &mut folded.sums,
            time: &mut self.time,
            session: &self.session,
            band: if self.order == Order::Session { Band::of(self.live) } else { Band::UNKNOWN },
            sibling_started,
            stalled: None,
        };
        let was_attempt = part.is_attempt();
        let (was_started, had_failed) = (part.started, part.failed());
        let before = [Measure::PlayingMs, Measure::RebufferCount].map(|measure| part.so_far(measure));
        work(part, &mut around);
        let after = [Measure::PlayingMs, Measure::RebufferCount].map(|measure| part.so_far(measure));
        let stalled = around.stalled;
        if let Some(layout_id) = part.layout_id.as_ref().filter(|_| part.started && !was_started) {
            self.openings.play(layout_id, view_id, part.last_ms);
        }
        if let Some(layout_id) = part.layout_id.as_ref().filter(|_| part.started && !sibling_started) {
            if self.started_layouts.len() == LAYOUTS_MAX {
                self.started_layouts.remove(0);
            }
            self.started_layouts.push(layout_id.clone());
        }
        if let Some(app) = &mut self.app {
            app.views += i64::from(part.is_attempt() && !was_attempt);
            app.tile_ms += after[0] - before[0];
            // What came in an earlier app session is not this one's.
            if part.failed() && !had_failed {
                app.note(&mut folded.sums, Measure::FailedSessions);
            }
            if after[1] > before[1] {
                app.note(&mut folded.sums, Measure::StalledSessions);
            }
        }
        if let Some(stalled) = stalled.filter(|_| self.order == Order::Session) {
            let active = self.parts().filter(|part| part.is_active()).count();
            self.together.stall(&mut folded.sums, stalled, active);
        }
    }

    /// The parts under way.
    fn parts(&self) -> impl Iterator<Item = &Part> {
        self.views.values().filter_map(|view| view.live.as_deref())
    }

    /// Puts away a part that has ended.
    fn settle(&mut self, view_id: &str, folded: &mut Folded) {
        let Some(view) = self.views.get_mut(view_id) else { return };
        if let Some(part) = view.live.take_if(|part| part.has_ended()) {
            self.live -= 1;
            view.has_ended = true;
            folded.views.extend(part.fact());
            view.counters = part.counters();
            if let Some(layout_id) = part.layout_id.as_ref().filter(|layout_id| self.on_screen(layout_id) == 0) {
                self.openings.over(layout_id, &mut folded.sums);
            }
        }
    }

    fn time_out(&mut self, view_id: &str, folded: &mut Folded) {
        self.with_part(view_id, folded, Part::time_out);
        self.settle(view_id, folded);
        if let Some(view) = self.views.get_mut(view_id) {
            view.has_ended = false;
        }
    }
}
