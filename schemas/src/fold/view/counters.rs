//! The player's own counters: what they add where inputs are missing.

use serde::{Deserialize, Serialize};

use super::{Around, Part, State};
use crate::fold::input::Totals;
use crate::fold::measures::Measure;

/// What players count themselves.
const COUNTED: [Measure; 7] = [
    Measure::DroppedFrames,
    Measure::RenderedFrames,
    Measure::PlayingMs,
    Measure::RebufferMs,
    Measure::SeekMs,
    Measure::PausedMs,
    Measure::RebufferCount,
];

/// A counter of a player: it begins anew when it falls.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Counter {
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

/// What goes on from one part of a view to the next, by [`COUNTED`]: the player's counters, and what earlier parts counted.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in crate::fold) struct Counters {
    told: [Counter; COUNTED.len()],
    earlier: [i64; COUNTED.len()],
}

impl Part {
    /// The player's counters: of frames always, of times and stalls where inputs are missing.
    pub(super) fn totals(&mut self, totals: &Totals, dropped: i64, around: &mut Around<'_>) {
        let told = [
            totals.dropped_frames,
            totals.rendered_frames,
            totals.playing_ms,
            totals.rebuffer_ms,
            totals.seek_ms,
            totals.paused_ms,
            totals.rebuffer_count,
        ];
        let mut excess = [0; COUNTED.len()];
        for (idx, measure) in COUNTED.into_iter().enumerate() {
            let counted = self.counters.earlier[idx] + self.so_far(measure);
            excess[idx] = told[idx].map_or(0, |told| (self.counters.told[idx].reads(told) - counted).max(0));
        }
        let [counted_dropped, rendered, playing, rebuffer, seek, paused, stalls] = excess;
        let dropped = totals.dropped_frames.map_or(dropped, |_| counted_dropped);
        self.count(Measure::DroppedFrames, dropped, around);
        self.count(Measure::RenderedFrames, rendered, around);
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
        self.count(Measure::RebufferCount, stalls, around);
    }

    /// What the next part of the view goes on from.
    pub(in crate::fold) fn counters(&self) -> Counters {
        let mut counters = self.counters.clone();
        for (earlier, measure) in counters.earlier.iter_mut().zip(COUNTED) {
            *earlier += self.so_far(measure);
        }
        counters
    }
}
