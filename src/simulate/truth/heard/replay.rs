//! One view, input by input.

use std::collections::BTreeSet;
use std::ops::Bound;

use super::{SumsTold, Telling};
use crate::simulate::timeline::{End, Ms, Note, State, Stream, Tongue, Totals, Turn, View, What};

/// A buffer that runs dry so soon after a seek was told belongs to the seek.
const SEEK_SETTLES_MS: Ms = 500;

/// Nobody said which.
const UNKNOWN: Stream = Stream { id: "", platform: "", category: "", is_live: false };

/// What an input tells.
#[derive(Debug, Clone, Copy)]
enum Told {
    Turn(Turn),
    Note(What),
    Over(&'static str),
    Failed { code: &'static str, domain: &'static str },
}

/// A view as far as it is heard.
pub(super) struct Replay<'a> {
    /// What really happens.
    real: &'a View,
    tongue: Tongue,
    /// What is missing from the numbers of its inputs.
    lost: &'a BTreeSet<Ms>,
    view: View,
    telling: Telling,
    /// When it was told to play, if that was heard.
    start: Option<Ms>,
    /// Whether something came between start and first frame.
    is_spoilt: bool,
    /// The state that a seek goes back to, and when the last one was told.
    before_seek: State,
    sought: Option<Ms>,
    /// When the state last changed or was told by a heartbeat; when sums were last told.
    state_known: Option<Ms>,
    sums_known: Option<Ms>,
}

impl<'a> Replay<'a> {
    /// The view and what is known of it beyond; nothing if no input of it begins a part.
    pub(super) fn of(real: &'a View, tongue: Tongue, lost: &'a BTreeSet<Ms>) -> Option<(View, Telling)> {
        let view = View {
            // CMCD says with each record what it plays.
            stream: if tongue == Tongue::Cmcd { real.stream } else { UNKNOWN },
            is_state_only: false,
            phases: Vec::new(),
            notes: Vec::new(),
            end: End::Silent,
            ..real.clone()
        };
        let mut replay = Self {
            real,
            tongue,
            lost,
            view,
            telling: Telling::default(),
            start: None,
            is_spoilt: false,
            before_seek: State::Playing,
            sought: None,
            state_known: None,
            sums_known: None,
        };
        for (at, told) in inputs(real, tongue).into_iter().filter(|(at, _)| !lost.contains(at)) {
            replay.take(at, told);
        }
        replay.finish()
    }

    fn state(&self) -> Option<State> {
        self.view.phases.last().map(|phase| phase.state)
    }

    /// Whether something is missing between two instants; before the first one, everything may be.
    fn has_gap(&self, since: Option<Ms>, at: Ms) -> bool {
        let missing = |since| self.lost.range((Bound::Excluded(since), Bound::Excluded(at))).next();
        since.is_none_or(|since| missing(since).is_some())
    }

    fn take(&mut self, at: Ms, told: Told) {
        let turn = self.turn(at, told);
        let is_under_way = self.state().is_some() && self.view.end == End::Silent;
        let begins = self.state().is_none() && turn.is_some_and(begins);
        if !is_under_way && !begins {
            return;
        }
        self.telling.inputs.push(at);
        if let Some(turn) = turn {
            self.enter(at, turn);
        }
        match told {
            Told::Turn(_) => {}
            Told::Note(what) => {
                self.view.notes.push(Note { at, what });
                if matches!(what, What::Heartbeat(_)) {
                    self.state_known = self.real.said_at(at).map(|_| at).or(self.state_known);
                    self.sums(at);
                }
            }
            Told::Over(reason) => {
                self.sums(at);
                self.view.end = End::Said { at, reason };
            }
            Told::Failed { code, domain } => self.view.end = End::Fatal { at, code, domain, said_at: None },
        }
    }

    /// What it means for the state. A heartbeat's word counts only where a change may have been missed.
    fn turn(&self, at: Ms, told: Told) -> Option<Turn> {
        match told {
            Told::Turn(turn) => Some(turn),
            Told::Note(What::BufferingAnyway) => Some(Turn::RanDry),
            Told::Note(What::SeekWhileJoining) => Some(Turn::SeekBegan),
            Told::Note(What::Heartbeat(_)) => self.real.said_at(at).filter(|_| self.has_gap(self.state_known, at)),
            _ => None,
        }
    }

    /// A row of the table, and what stands beside it.
    fn enter(&mut self, at: Ms, turn: Turn) {
        let state = self.state();
        match turn {
            Turn::Started => self.started(at),
            Turn::Plays if self.real.first_play() == Some(at) => {
                self.telling.frame = Some(at);
                self.telling.reported_ms = Some(at - self.real.begin());
            }
            Turn::SeekBegan => self.sought = Some(at),
            _ => {}
        }
        let next = self.next(at, turn, state);
        if matches!(turn, Turn::Started | Turn::RanDry) || next == State::Playing {
            self.telling.attempt = self.telling.attempt.or(Some(at));
        }
        if matches!(turn, Turn::Paused | Turn::SeekBegan) {
            self.is_spoilt |= state == Some(State::Joining);
        }
        if turn == Turn::SeekBegan && next == State::Seeking && state != Some(next) {
            self.telling.seeks.push(at);
            self.before_seek = if state == Some(State::Paused) { State::Paused } else { State::Playing };
        }
        if state != Some(next) {
            self.view.turn(next, at);
            self.state_known = Some(at);
        }
    }

    fn next(&self, at: Ms, turn: Turn, state: Option<State>) -> State {
        use State::{Joining, Paused, Playing, Seeking, Stalled};
        match (turn, state) {
            (Turn::Paused, _) => Paused,
            (Turn::Resumed, Some(Joining)) => Joining,
            (Turn::Resumed, Some(Paused)) if self.view.first_play().is_none() => Joining,
            (Turn::Plays | Turn::Resumed, _) => Playing,
            (Turn::RanDry, Some(Playing)) => {
                let is_of_seek = self.sought.is_some_and(|sought| at - sought <= SEEK_SETTLES_MS);
                if is_of_seek { Seeking } else { Stalled }
            }
            (Turn::Recovered(after), Some(Stalled)) => after,
            (Turn::SeekBegan, Some(Playing | Stalled | Paused)) => Seeking,
            (Turn::SeekOver, Some(Seeking)) => self.before_seek,
            (_, Some(state)) => state,
            (_, None) => Joining,
        }
    }

    /// The start tells what the view is, and that nothing was counted before it.
    fn started(&mut self, at: Ms) {
        (self.start, self.sums_known) = (Some(at), Some(at));
        self.telling.tile = Some(self.real.tile);
        self.view.stream = self.real.stream;
        self.view.is_state_only = self.real.is_state_only;
    }

    /// The player tells its sums.
    fn sums(&mut self, at: Ms) {
        let Totals { playing_ms, stalled_ms, seeking_ms, paused_ms, stalls } = self.real.totals_at(at);
        let (is_native, is_full) = (self.tongue == Tongue::Native, !self.real.is_state_only);
        let values = [
            is_native.then_some(playing_ms),
            is_full.then_some(stalled_ms),
            (is_native && is_full).then_some(seeking_ms),
            is_native.then_some(paused_ms),
            is_full.then_some(stalls),
        ];
        let is_believed = self.has_gap(self.sums_known, at);
        self.telling.sums.push(SumsTold { at, values, is_believed });
        self.sums_known = Some(at);
    }

    fn finish(mut self) -> Option<(View, Telling)> {
        let last = *self.telling.inputs.last()?;
        if let Some(phase) = self.view.phases.last_mut() {
            phase.to = last;
        }
        self.telling.startup_ms = match (self.start, self.view.first_play()) {
            (Some(start), Some(first)) => Some(first - start).filter(|_| !self.is_spoilt),
            (Some(_), None) => None,
            // Nobody saw it start: what the player measured is all there is.
            (None, _) => self.telling.reported_ms,
        };
        Some((self.view, self.telling))
    }
}

/// Whether a part can begin with it.
const fn begins(turn: Turn) -> bool {
    !matches!(turn, Turn::Recovered(_) | Turn::SeekOver)
}

/// Everything that the player tells of the view, by time. What CMCD says before the start is no input.
fn inputs(view: &View, tongue: Tongue) -> Vec<(Ms, Told)> {
    let turns = view.phases.iter().enumerate();
    let mut all: Vec<(Ms, Told)> =
        turns.map(|(place, phase)| (phase.from, Told::Turn(view.turn_at(place, tongue)))).collect();
    let notes = view.notes.iter().filter(|note| note.what != What::Preload);
    all.extend(notes.map(|note| (note.at, Told::Note(note.what))));
    match view.end {
        End::Said { at, reason } => all.push((at, Told::Over(reason))),
        End::Fatal { at, code, domain, said_at } => {
            all.push((at, Told::Failed { code, domain }));
            all.extend(said_at.map(|at| (at, Told::Over("error"))));
        }
        End::Silent => {}
    }
    all.sort_unstable_by_key(|(at, _)| *at);
    all
}
