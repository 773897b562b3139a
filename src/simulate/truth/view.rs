//! What one view adds: its time in each state, what happened to it, and how good it was.

use std::collections::BTreeMap;

use super::claims::{Claim, STALLS};
use super::fact;
use super::grid::{minute_of, starts};
use super::places::{Dims, Places, Settled};
use super::scores::{self, Outcome, Report};
use super::stretch::{Force, stretches, upscale};
use super::{Place, Truth};
use crate::simulate::timeline::{End, MINUTE_MS, Ms, Note, State, Tongue, Video, View, What};

/// From this on a stall is sustained.
const SUSTAINED_MS: Ms = 1_000;
/// Who waits shorter than this before leaving is in no rate.
const WAIT_MIN_MS: Ms = 1_000;

/// Adds a view to the sums and its fact to the facts.
pub(super) fn add(truth: &mut Truth, places: &Places<'_>, view: &View) {
    let Some(settled) = places.settled_of(view) else { return };
    let dims = places.dims_of(view);
    let mut teller = Teller { truth, places, view, settled, dims: &dims, fact: BTreeMap::new() };
    teller.time();
    teller.stalls_and_seeks();
    teller.notes();
    teller.claims();
    teller.starts();
    if let Some(begin) = settled.telling.attempt {
        teller.attempt(begin);
        let upscale = if teller.is_native() { upscale(view, settled) } else { None };
        let report = teller.end(begin, upscale);
        let fact = fact::of(&teller, begin, upscale, &report);
        truth.views.insert((view.id.to_string(), view.part), fact);
    }
}

/// Tells what one view adds.
pub(super) struct Teller<'a> {
    truth: &'a mut Truth,
    pub(super) places: &'a Places<'a>,
    pub(super) view: &'a View,
    pub(super) settled: &'a Settled<'a>,
    pub(super) dims: &'a Dims,
    /// Its sums.
    pub(super) fact: BTreeMap<&'static str, i64>,
}

impl Teller<'_> {
    pub(super) fn is_native(&self) -> bool {
        self.places.device.tongue == Tongue::Native
    }

    /// Counts something at an instant, under the tiles that are open then.
    fn count(&mut self, measure: &'static str, at: Ms, n: i64) {
        let place = Place { dims: self.dims, band: self.places.band_at(at) };
        self.truth.count(place, measure, at, n);
        *self.fact.entry(measure).or_default() += n;
    }

    fn spend(&mut self, measure: &'static str, from: Ms, to: Ms, weight: i64) {
        // Time is spent when the later input comes.
        let place = Place { dims: self.dims, band: self.places.band_at(to) };
        self.truth.spend(place, measure, from, to, weight);
        *self.fact.entry(measure).or_default() += (to - from) * weight;
    }

    fn value(&mut self, metric: &'static str, at: Ms, value: i64) {
        let place = Place { dims: self.dims, band: self.places.band_at(at) };
        self.truth.value(place, metric, minute_of(at), value, 1);
    }

    fn attempt(&mut self, begin: Ms) {
        let startup_ms = self.settled.telling.startup_ms;
        self.count("attempts", begin, 1);
        self.count("started", begin, i64::from(self.view.first_play().is_some()));
        self.count("startup_valid", begin, i64::from(startup_ms.is_some()));
        if let Some(startup_ms) = startup_ms {
            self.value("startup_ms", begin, startup_ms);
        }
    }

    fn time(&mut self) {
        let is_capable = !self.view.is_state_only;
        for (from, to, state, force) in stretches(self.view, self.settled) {
            let measure = match state {
                State::Joining => "join_ms",
                State::Playing => "playing_ms",
                State::Stalled => "rebuffer_ms",
                State::Seeking => "seek_ms",
                State::Paused => "paused_ms",
            };
            self.spend(measure, from, to, 1);
            if state != State::Paused {
                self.spend("watch_ms", from, to, 1);
                self.spend("watch_ms_rebuffer_capable", from, to, i64::from(is_capable));
            }
            let is_attended = i64::from(force.is_focused || force.is_audible);
            if state == State::Stalled {
                self.spend("attention_rebuffer_ms", from, to, is_attended);
            }
            if state == State::Playing {
                self.spend("rated_media_ms", from, to, force.kbps.map_or(0, |_| force.rate));
                self.spend("media_ms", from, to, force.rate);
                self.spend("bitrate_ms", from, to, force.rate * force.kbps.unwrap_or_default());
                self.spend("focus_ms", from, to, i64::from(force.is_focused));
                self.spend("audible_ms", from, to, i64::from(force.is_audible));
                self.spend("attention_ms", from, to, is_attended);
            }
        }
    }

    fn stalls_and_seeks(&mut self) {
        for phase in self.settled.stalls() {
            let length = phase.to - phase.from;
            self.count("rebuffer_count", phase.from, 1);
            self.count("sustained_rebuffers", phase.from, i64::from(length >= SUSTAINED_MS));
            self.value("rebuffer_ms", phase.from, length);
        }
        for at in &self.settled.telling.seeks {
            self.count("seeks", *at, 1);
        }
    }

    fn notes(&mut self) {
        let (mut dropped, mut rendered) = (0, 0);
        let mut known = Force::first(self.settled);
        let mut inputs = self.settled.telling.inputs.iter().peekable();
        for &Note { at, what } in &self.view.notes {
            while let Some(before) = inputs.next_if(|input| **input < at) {
                known.learn(self.view, self.settled, *before);
            }
            match what {
                What::Heartbeat(beat) => {
                    let is_native = self.is_native();
                    let grown = |now: i64, before: i64| if now < before { now } else { now - before };
                    if let Some(now) = beat.dropped {
                        self.count("dropped_frames", at, grown(now, dropped));
                        dropped = now;
                    }
                    if let Some(now) = beat.rendered.filter(|_| is_native) {
                        self.count("rendered_frames", at, grown(now, rendered));
                        rendered = now;
                    }
                    self.count("errors_warning", at, i64::from(beat.error.is_some()));
                    self.latency(at, beat.latency_ms);
                    if let Some(kbps) = beat.kbps.filter(|_| self.plays_at(at)) {
                        self.value("bitrate_kbps", at, kbps);
                    }
                }
                What::Rendition { from, to, is_of_tile_count } => {
                    self.rendition(at, known.kbps, (from, to), is_of_tile_count);
                }
                What::Warning { .. } => self.count("errors_warning", at, 1),
                What::FramesDropped { frames } => self.count("dropped_frames", at, frames),
                What::Latency { ms } => self.latency(at, Some(ms)),
                _ => {}
            }
        }
        if let End::Fatal { at, .. } = self.view.end {
            self.count("errors_fatal", at, 1);
        }
    }

    /// Whether it is known to play from that input on.
    fn plays_at(&self, at: Ms) -> bool {
        self.view.state_after(at) == Some(State::Playing)
    }

    /// From the bitrate that is known, else from the one that the change tells; CMCD tells none.
    fn rendition(&mut self, at: Ms, known: Option<i64>, (from, to): (Video, Video), is_of_tile_count: bool) {
        let told = Some(from.kbps).filter(|_| self.is_native());
        if let Some(before) = known.or(told).filter(|before| *before != to.kbps) {
            let is_up = to.kbps > before;
            self.count("rendition_changes", at, 1);
            self.count(if is_up { "shifts_up" } else { "shifts_down" }, at, 1);
            let is_told = is_of_tile_count && self.is_native();
            self.count("shifts_down_tile_count", at, i64::from(is_told && !is_up));
        }
    }

    fn latency(&mut self, at: Ms, latency_ms: Option<i64>) {
        if let Some(ms) = latency_ms.filter(|_| self.plays_at(at)) {
            self.count("latency_ms_sum", at, ms);
            self.count("latency_n", at, 1);
            self.value("latency_ms", at, ms);
        }
    }

    /// What the player's own sums add.
    fn claims(&mut self) {
        for &Claim { at, measure, n } in &self.settled.claims {
            self.count(measure, at, n);
            if measure != STALLS && measure != "paused_ms" {
                self.count("watch_ms", at, n);
                self.count("watch_ms_rebuffer_capable", at, if self.view.is_state_only { 0 } else { n });
            }
        }
    }

    /// Whether it is watched at the first instants of minutes.
    fn starts(&mut self) {
        for minute in starts(self.view.begin(), self.settled.lingers_until()) {
            let at = minute * MINUTE_MS;
            if self.settled.is_active_at(at) {
                let later = self.settled.spent_at(at).unwrap_or_else(|| self.settled.last());
                let place = Place { dims: self.dims, band: self.places.band_at(later) };
                self.truth.count(place, "views_at_start", at, 1);
            }
        }
    }

    fn end(&mut self, begin: Ms, upscale: Option<(f64, f64, f64)>) -> Report {
        let end = self.settled.last();
        let startup_ms = self.settled.telling.startup_ms;
        let has_started = self.view.first_play().is_some();
        let fatal_domain = match self.view.end {
            // CMCD has no domains.
            End::Fatal { domain, .. } => Some(if self.is_native() { domain } else { "" }),
            _ => None,
        };
        let mut report = Report { startup_ms, is_state_only: self.view.is_state_only, upscale, ..Report::default() };
        report.outcome = match fatal_domain {
            Some("business") | None if has_started => Outcome::Played,
            Some("business") => Outcome::StartupBusiness,
            Some(_) if has_started => Outcome::PlaybackFailure,
            Some(_) => Outcome::StartupFailure,
            None => self.exit(end - begin),
        };
        let measure = match report.outcome {
            Outcome::Played | Outcome::PlaybackFailure => None,
            Outcome::StartupFailure => Some("startup_failures"),
            outcome => Some(outcome.word()),
        };
        if let Some(measure) = measure {
            self.count(measure, begin, 1);
        }
        let is_failure = matches!(report.outcome, Outcome::PlaybackFailure | Outcome::StartupFailure);
        self.count("playback_failures", begin, i64::from(is_failure));
        let of = |measure: &str| self.fact.get(measure).copied().unwrap_or_default();
        (report.rebuffers, report.rebuffer_ms, report.watch_ms) =
            (of("rebuffer_count"), of("rebuffer_ms"), of("watch_ms"));
        self.count("views_ended", end, 1);
        self.count("views_with_rebuffer", end, i64::from(report.rebuffers > 0));
        self.count("rebuffer_capable_views", end, i64::from(!report.is_state_only));
        self.scores(&report, end);
        report
    }

    /// What it is to end without having started.
    fn exit(&self, waited_ms: Ms) -> Outcome {
        let is_switch = matches!(self.view.end, End::Said { reason: "layout_switch", .. });
        let by_then = |other: &&View| other.first_play().is_some_and(|first| first < self.settled.last());
        let mut siblings = self.places.session.into_iter().flat_map(|session| &session.views);
        if is_switch && siblings.any(|other| other.layout == self.view.layout && by_then(&other)) {
            Outcome::LeftUnstarted
        } else if waited_ms >= WAIT_MIN_MS {
            Outcome::Ebvs
        } else {
            Outcome::AbandonedEarly
        }
    }

    fn scores(&mut self, report: &Report, end: Ms) {
        let health = scores::health(report);
        let all = [
            ("success_sum", "success_n", scores::success(report)),
            ("startup_sum", "startup_n", scores::startup(report)),
            ("smoothness_sum", "smoothness_n", scores::smoothness(report)),
            ("video_quality_sum", "video_quality_n", scores::video_quality(report)),
            ("health_sum", "health_n", health),
        ];
        for (sum, number, points) in all {
            if let Some(points) = points {
                self.count(sum, end, scores::hundredths(points));
                self.count(number, end, 1);
            }
        }
        self.count(scores::band(health.map(scores::hundredths)), end, 1);
    }
}
