//! The app in the background while its tiles are kept.

use super::super::view::{self, Stage};
use super::Script;
use crate::simulate::timeline::{Deed, End, MINUTE_MS, Ms, State, Tongue, View};

impl Script<'_> {
    /// In the background while tiles are kept: for less than an hour they go on, after more they are started anew.
    pub(super) fn away(&mut self) {
        self.enter_layout();
        let layout = self.session.layouts.len() - 1;
        self.stage(None);
        let goes_on = self.random.chance(50);
        let plays = |view: &View| view.phases.last().is_some_and(|phase| phase.state == State::Playing);
        let mut kept = Vec::new();
        for (place, view) in self.session.views.iter_mut().enumerate() {
            if view.layout == layout && view.end == End::Silent && plays(view) {
                kept.push(place);
                if goes_on {
                    let last = view.phases.last().map_or(0, |phase| phase.to);
                    let at = self.instants.take(last + self.random.between(1, 400));
                    view.turn(State::Paused, at);
                    self.now = self.now.max(at);
                }
            }
        }
        self.act(self.now + 10, Deed::Backgrounded);
        let minutes = if goes_on { (31, 50) } else { (61, 66) };
        let away_ms = self.random.between(minutes.0 * MINUTE_MS, minutes.1 * MINUTE_MS);
        self.act(self.now + away_ms, Deed::Foregrounded);
        let back = self.now;
        for place in kept {
            let over_at = if goes_on { self.go_on(place, back) } else { self.start_anew(place, back) };
            self.now = self.now.max(over_at);
        }
        let last = self.session.instants().last().copied().unwrap_or(back);
        self.now = self.now.max(last);
    }

    /// A paused view plays again and ends; when.
    fn go_on(&mut self, place: usize, back: Ms) -> Ms {
        let resumed = self.instants.take(back + self.random.between(50, 3_000));
        let at = self.instants.take(resumed + self.random.between(500, 60_000));
        let view = &mut self.session.views[place];
        view.turn(State::Playing, resumed);
        view.turn(State::Playing, at);
        view.phases.pop();
        view.end = End::Said { at, reason: "user_choice" };
        at
    }

    /// A view that was silent for too long begins another part; when it ends at the latest.
    fn start_anew(&mut self, place: usize, back: Ms) -> Ms {
        let View { id, part, layout, slot, stream, .. } = self.session.views[place];
        let until = back + self.random.between(20_000, 90_000);
        let (closing, again) = (Some("user_choice"), Some((id, part + 1)));
        let stage = Stage { tongue: Tongue::Native, from: back + 1, until, layout, slot, stream, closing, again };
        let view = view::draw(&stage, self.random, &mut self.instants);
        self.session.views.push(view);
        until
    }
}
