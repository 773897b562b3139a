//! What a player's own sums add where events are missing.

use super::heard::SumsTold;
use super::places::Span;
use crate::simulate::timeline::{Ms, Phase, State};

/// Time or stalls that nobody heard of by themselves, counted where the player's sums were told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) at: Ms,
    pub(super) measure: &'static str,
    pub(super) n: i64,
}

/// The measures, in the order of [`SumsTold::values`].
const MEASURES: [&str; 5] = ["playing_ms", "rebuffer_ms", "seek_ms", "paused_ms", STALLS];
/// The one that is no time.
pub(super) const STALLS: &str = "rebuffer_count";

/// What a player told of all parts of a view, and what was counted of them.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// By measure: up to the last time that the player began anew, and since then.
    told: [(i64, i64); 5],
    counted: [i64; 5],
}

impl Ledger {
    /// What the sums of the next part add, given its time and its phases, of which short stalls are none.
    pub(super) fn claims(&mut self, sums: &[SumsTold], spans: &[Span], phases: &[Phase]) -> Vec<Claim> {
        let mut claims = Vec::new();
        let mut claimed = [0; 5];
        for SumsTold { at, values, is_believed } in sums {
            let heard = heard_by(*at, spans, phases);
            for (idx, measure) in MEASURES.into_iter().enumerate() {
                let Some(value) = values[idx] else { continue };
                let (before, last) = &mut self.told[idx];
                // Sums that fall began anew.
                *before += if value < *last { *last } else { 0 };
                *last = value;
                let n = *before + value - self.counted[idx] - heard[idx] - claimed[idx];
                if *is_believed && n > 0 {
                    claimed[idx] += n;
                    claims.push(Claim { at: *at, measure, n });
                }
            }
        }
        let heard = heard_by(Ms::MAX, spans, phases);
        for (idx, counted) in self.counted.iter_mut().enumerate() {
            *counted += heard[idx] + claimed[idx];
        }
        claims
    }
}

/// What is counted by then, by measure. A stall is one as soon as the first of its time is spent.
fn heard_by(at: Ms, spans: &[Span], phases: &[Phase]) -> [i64; 5] {
    let spent = |state: State| {
        spans.iter().filter(|span| span.state == state && span.to <= at).map(|span| span.to - span.from).sum::<Ms>()
    };
    let is_known = |stall: &Phase| spans.iter().any(|span| span.from == stall.from && span.to <= at);
    let stalls = phases.iter().filter(|phase| phase.state == State::Stalled);
    let number = stalls.filter(|stall| is_known(stall)).count();
    let times = [State::Playing, State::Stalled, State::Seeking, State::Paused].map(spent);
    [times[0], times[1], times[2], times[3], i64::try_from(number).unwrap_or_default()]
}
