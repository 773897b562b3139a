//! Where time goes: what a stretch in a state adds.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{ACTIVE_STALL_MS, Around, Part, STALL_MIN_MS, SUSTAINED_MS, Stall, Stalled};
use crate::fold::measures::{Dims, Measure, Metric, minute_starts, minutes};

/// How a part plays, as far as it was told.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Manner {
    pub(super) rate_milli: i64,
    pub(super) kbps: Option<i64>,
    pub(super) tile: Option<(i64, i64)>,
    pub(super) video: Option<(i64, i64)>,
    pub(super) focused: bool,
    pub(super) audible: bool,
}

impl Manner {
    pub(super) const UNKNOWN: Self =
        Self { rate_milli: 1000, kbps: None, tile: None, video: None, focused: false, audible: false };

    /// How much the video is stretched beyond its own size, in ten-thousandths.
    fn upscale(&self) -> Option<i64> {
        let ((tile_w, tile_h), (video_w, video_h)) = self.tile.zip(self.video)?;
        Some(((tile_w * 10_000 / video_w).min(tile_h * 10_000 / video_h) - 10_000).max(0))
    }
}

impl Part {
    pub(super) fn spend(&mut self, measure: Measure, from: i64, to: i64, around: &mut Around<'_>) {
        for (at, ms) in minutes(from, to) {
            self.count_ms(measure, at, ms, around);
        }
        if measure != Measure::PausedMs && measure != Measure::RebufferMs {
            self.active(from, to, around);
        }
    }

    /// Counts the view in the minutes that begin in `[from, to)`.
    pub(super) fn active(&self, from: i64, to: i64, around: &mut Around<'_>) {
        for minute in minute_starts(from, to) {
            around.sums.add(&self.dims, around.band, minute, Measure::ViewsAtStart, 1);
            around.time.active_at(around.sums, around.session, minute);
        }
    }

    pub(super) fn play(&mut self, from: i64, to: i64, around: &mut Around<'_>) {
        let (session, manner) = (around.session, self.manner);
        self.play_as(session, manner, from, to, around);
    }

    /// Plays while the session had these dimensions, in that manner.
    fn play_as(&mut self, session: &Arc<Dims>, manner: Manner, from: i64, to: i64, around: &mut Around<'_>) {
        self.spend(Measure::PlayingMs, from, to, around);
        around.time.play(around.sums, session, from, to);
        let upscale = manner.upscale();
        let Manner { rate_milli, kbps, focused, audible, .. } = manner;
        for (at, ms) in minutes(from, to) {
            let media_ms = ms * rate_milli / 1000;
            let values = &mut around.sums.cell(&self.dims, around.band, at).values;
            let mut add = |measure: Measure, value: i64| {
                self.own[measure as usize] += value;
                values[measure as usize] += value;
            };
            add(Measure::MediaMs, media_ms);
            if let Some(kbps) = kbps {
                add(Measure::RatedMediaMs, media_ms);
                add(Measure::BitrateMs, kbps * media_ms);
            }
            add(Measure::FocusMs, if focused { ms } else { 0 });
            add(Measure::AudibleMs, if audible { ms } else { 0 });
            add(Measure::AttentionMs, if focused || audible { ms } else { 0 });
            if let Some(upscale) = upscale {
                let extremes = &mut self.extremes;
                extremes.upscale_max = extremes.upscale_max.max(upscale);
                extremes.upscale_sum += upscale * ms;
                extremes.upscale_ms += ms;
            }
        }
    }

    pub(super) fn stall_until(&mut self, from: i64, to: i64, around: &mut Around<'_>) {
        let Some(mut stall) = self.stall.clone() else { return };
        let length = to - stall.from_ms;
        if length < STALL_MIN_MS {
            (stall.session, stall.manner) = (Arc::clone(around.session), self.manner);
            self.stall = Some(stall);
            return;
        }
        let begin = if stall.counted { from } else { stall.from_ms };
        if !stall.counted {
            stall.counted = true;
            self.count_stall(Measure::RebufferCount, &stall, around);
            let (from_ms, dims, band) = (stall.from_ms, Arc::clone(&self.dims), stall.band);
            around.stalled = Some(Stalled { from_ms, dims, band });
        }
        if length >= SUSTAINED_MS && !stall.sustained {
            stall.sustained = true;
            self.count_stall(Measure::SustainedRebuffers, &stall, around);
        }
        let active_until = stall.from_ms + ACTIVE_STALL_MS + 1;
        self.stall = Some(stall);
        self.spend(Measure::RebufferMs, begin, to, around);
        around.time.stall(around.sums, around.session, begin, to);
        if self.manner.focused || self.manner.audible {
            for (at, ms) in minutes(begin, to) {
                around.sums.add(&self.dims, around.band, at, Measure::AttentionRebufferMs, ms);
            }
        }
        self.active(begin, to.min(active_until), around);
    }

    /// Counts where a stall began, and in the fact.
    fn count_stall(&mut self, measure: Measure, stall: &Stall, around: &mut Around<'_>) {
        self.own[measure as usize] += 1;
        around.sums.add(&self.dims, stall.band, stall.from_ms, measure, 1);
    }

    /// Nothing may come any more before the session ends: what a stall was so far is counted, as things were at the last
    /// input. Below the least length it was playing; what comes after all is a stall that begins there.
    pub(in crate::fold) fn settle_stall(&mut self, around: &mut Around<'_>) {
        let Some(stall) = self.stall.clone().filter(|stall| !stall.counted) else { return };
        around.band = self.last_band;
        self.play_as(&stall.session, stall.manner, stall.from_ms, self.last_ms, around);
        self.stall = Some(Stall { from_ms: self.last_ms, ..stall });
    }

    pub(super) fn stall_ends(&mut self, around: &mut Around<'_>) {
        let Some(stall) = self.stall.take() else { return };
        if stall.counted {
            let length = self.last_ms - stall.from_ms;
            self.extremes.max_rebuffer_ms = self.extremes.max_rebuffer_ms.max(length);
            around.sums.observe(&self.dims, stall.band, stall.from_ms, Metric::RebufferMs, length);
        } else {
            self.play(stall.from_ms, self.last_ms, around);
        }
    }
}
