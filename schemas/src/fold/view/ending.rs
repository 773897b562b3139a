//! How a part ends: outcome, scores, and the fact.

use std::sync::Arc;

use super::{ACTIVE_STALL_MS, Around, LINGERS_MS, PATIENCE_MS, Part, State};
use crate::fold::facts::ViewFact;
use crate::fold::measures::Measure;
use crate::fold::scores::{Outcome, Scored, Scores, health_status, hundredths};
use crate::fold::sketch::quantile;

impl Part {
    /// Ends the part at its last input.
    pub(super) fn end(&mut self, reason: &str, around: &mut Around<'_>) {
        if self.has_ended() {
            return;
        }
        self.enter(State::Ended, around);
        self.ended_ms = self.last_ms;
        self.exit_reason = reason.into();
        let Some((attempt_ms, _)) = self.attempt else { return };
        let outcome = self.outcome(attempt_ms, around.sibling_started);
        if let Some(measure) = outcome.measure {
            self.at_attempt(measure, around);
        }
        self.here(Measure::ViewsEnded, 1, around);
        self.here(Measure::ViewsWithRebuffer, (self.so_far(Measure::RebufferCount) > 0).into(), around);
        self.here(Measure::RebufferCapableViews, (!self.state_only).into(), around);
        let scores = self.scores(&outcome);
        for (sum, number, score) in [
            (Measure::SuccessSum, Measure::SuccessN, scores.success),
            (Measure::StartupSum, Measure::StartupN, scores.startup),
            (Measure::SmoothnessSum, Measure::SmoothnessN, scores.smoothness),
            (Measure::VideoQualitySum, Measure::VideoQualityN, scores.video_quality),
            (Measure::HealthSum, Measure::HealthN, scores.health),
        ] {
            if let Some(score) = score {
                self.here(sum, hundredths(score), around);
                self.here(number, 1, around);
            }
        }
        let status = match health_status(scores.health.map(hundredths)) {
            "healthy" => Measure::HealthHealthy,
            "good" => Measure::HealthGood,
            "warning" => Measure::HealthWarning,
            "error" => Measure::HealthError,
            _ => Measure::HealthUnknown,
        };
        self.here(status, 1, around);
        self.settled = Some((outcome.word, scores));
    }

    /// Nothing came for too long: the part ended with its last input.
    pub(in crate::fold) fn time_out(&mut self, around: &mut Around<'_>) {
        if self.has_ended() {
            return;
        }
        // It ends with its last input, and is counted as things were then.
        around.band = self.last_band;
        self.settle_stall(around);
        let is_active = !matches!(self.state, State::Idle | State::Paused);
        let lingers_ms = (3 * self.period_ms).min(LINGERS_MS);
        if is_active {
            let to = self.last_ms + lingers_ms;
            let to = self.stall.as_ref().map_or(to, |stall| to.min(stall.from_ms + ACTIVE_STALL_MS + 1));
            self.active(self.last_ms, to, around);
        }
        self.end("timeout", around);
    }

    fn outcome(&self, attempt_ms: i64, sibling_started: bool) -> AttemptOutcome {
        let of = |word, measure, scored| AttemptOutcome { word, measure, scored };
        match (self.started, self.failure) {
            (true, Some(false)) => of("playback_failure", None, Some(Outcome::Failed)),
            (true, _) => of("played", None, Some(Outcome::Played)),
            (false, Some(false)) => of("startup_failure", Some(Measure::StartupFailures), Some(Outcome::Failed)),
            (false, Some(true)) => of("startup_business", Some(Measure::StartupBusiness), Some(Outcome::Failed)),
            (false, None) if &*self.exit_reason == "layout_switch" && sibling_started => {
                of("left_unstarted", Some(Measure::LeftUnstarted), None)
            }
            (false, None) if self.ended_ms - attempt_ms >= PATIENCE_MS => {
                of("ebvs", Some(Measure::Ebvs), Some(Outcome::Ebvs))
            }
            (false, None) => of("abandoned_early", Some(Measure::AbandonedEarly), None),
        }
    }

    fn scores(&self, outcome: &AttemptOutcome) -> Scores {
        Scores::of(&Scored {
            outcome: outcome.scored,
            startup_ms: self.startup_ms,
            rebuffer_count: self.so_far(Measure::RebufferCount),
            rebuffer_ms: self.so_far(Measure::RebufferMs),
            capable_watch_ms: if self.state_only { 0 } else { self.so_far(Measure::WatchMs) },
            upscale: self.upscales(),
        })
    }

    /// Upscaling over the part: greatest, and mean over playing time.
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of one view")]
    fn upscales(&self) -> Option<(f64, f64)> {
        let extremes = &self.extremes;
        let mean = || extremes.upscale_sum as f64 / extremes.upscale_ms as f64 / 10_000.0;
        (extremes.upscale_ms > 0).then(|| (extremes.upscale_max as f64 / 10_000.0, mean()))
    }

    /// The fact of a part that is over; `None` without an attempt.
    pub(in crate::fold) fn fact(&self) -> Option<ViewFact> {
        let (outcome, scores) = self.settled?;
        let (started_ms, _) = self.attempt?;
        let extremes = &self.extremes;
        Some(ViewFact {
            dims: Arc::clone(&self.dims),
            started_ms,
            ended_ms: self.ended_ms,
            outcome,
            exit_reason: self.exit_reason.clone(),
            started: self.started,
            playback_failure: self.failure == Some(false),
            startup_ms: self.startup_ms,
            reported_startup_ms: self.reported_startup_ms,
            is_rebuffer_capable: !self.state_only,
            values: self.own.clone(),
            max_rebuffer_ms: extremes.max_rebuffer_ms,
            upscales: self.upscales(),
            latency_ms_max: extremes.latency_max,
            latency_ms_p50: quantile(&extremes.latency_bins, 0.5),
            latency_ms_p95: quantile(&extremes.latency_bins, 0.95),
            scores,
        })
    }
}

/// How an attempt went.
struct AttemptOutcome {
    word: &'static str,
    measure: Option<Measure>,
    scored: Option<Outcome>,
}
