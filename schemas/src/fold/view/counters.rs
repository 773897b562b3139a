//! The player's own counters: what they add where inputs are missing.

use serde::{Deserialize, Serialize};

use super::{Around, Part, State};
use crate::fold::input::Totals;
use crate::fold::measures::Measure;

/// A counter of a player: it begins anew when it falls.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Counter {
    base: i64,
    last: i64,
}

impl Counter {
    fn reads(&mut self, value: i64) -> i64 {
        if value < self.last {
            self.base += self.last;
        }
        self.last = value;
        self.base + value
    }
}

/// What goes on from one part of a view to the next: the player's counters, and what of them was counted.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in crate::fold) struct Counters {
    pub(super) playing: Counter,
    pub(super) rebuffer: Counter,
    pub(super) rebuffers: Counter,
    pub(super) seek: Counter,
    pub(super) paused: Counter,
    pub(super) dropped: Counter,
    pub(super) rendered: Counter,
    pub(super) counted: Counted,
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Counted {
    pub(super) playing_ms: i64,
    pub(super) rebuffer_ms: i64,
    pub(super) rebuffers: i64,
    pub(super) seek_ms: i64,
    pub(super) paused_ms: i64,
    pub(super) dropped: i64,
    pub(super) rendered: i64,
}

impl Part {
    /// The player's counters: of frames always, of times and stalls where inputs are missing.
    pub(super) fn totals(&mut self, totals: &Totals, dropped: i64, around: &mut Around<'_>) {
        let counters = &mut self.counters;
        let frames = |counter: Option<&mut Counter>, told: Option<i64>, counted: &mut i64, one_by_one: i64| {
            let known = match (counter, told) {
                (Some(counter), Some(told)) => counter.reads(told),
                _ => *counted + one_by_one,
            };
            let grown = (known - *counted).max(0);
            *counted += grown;
            grown
        };
        let dropped_counter = Some(&mut counters.dropped);
        let dropped = frames(dropped_counter, totals.dropped_frames, &mut counters.counted.dropped, dropped);
        let rendered = frames(Some(&mut counters.rendered), totals.rendered_frames, &mut counters.counted.rendered, 0);
        self.sums.dropped += dropped;
        self.sums.rendered += rendered;
        self.here(Measure::DroppedFrames, dropped, around);
        self.here(Measure::RenderedFrames, rendered, around);

        let counters = &mut self.counters;
        let counted = counters.counted;
        let excess = |counter: &mut Counter, told: Option<i64>, counted: i64| {
            told.map_or(0, |told| (counter.reads(told) - counted).max(0))
        };
        let playing = excess(&mut counters.playing, totals.playing_ms, counted.playing_ms);
        let rebuffer = excess(&mut counters.rebuffer, totals.rebuffer_ms, counted.rebuffer_ms);
        let rebuffers = excess(&mut counters.rebuffers, totals.rebuffer_count, counted.rebuffers);
        let seek = excess(&mut counters.seek, totals.seek_ms, counted.seek_ms);
        let paused = excess(&mut counters.paused, totals.paused_ms, counted.paused_ms);
        let tells = totals.playing_ms.or(totals.rebuffer_ms).or(totals.rebuffer_count).is_some();
        if !(tells && std::mem::take(&mut self.totals_gap)) || self.state == State::Idle {
            return;
        }
        for (measure, ms) in [
            (Measure::PlayingMs, playing),
            (Measure::RebufferMs, rebuffer),
            (Measure::SeekMs, seek),
            (Measure::PausedMs, paused),
        ] {
            self.count_ms(measure, self.last_ms, ms, around);
        }
        self.sums.rebuffer_count += rebuffers;
        self.counters.counted.rebuffers += rebuffers;
        self.here(Measure::RebufferCount, rebuffers, around);
    }
}
