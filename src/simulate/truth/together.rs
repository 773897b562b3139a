//! What tiles of one native session do together: stalls that are the device's own, and how far apart tiles are.

use super::places::{Places, Settled, band};
use super::stretch::force_at;
use super::{Place, Truth, minute_of};
use crate::simulate::timeline::{Beat, Ms, State, View, What};

/// Stalls that begin within this time of each other came together.
const TOGETHER_MS: Ms = 2_000;
/// A latency, and a throughput, holds for so long.
const HOLDS_MS: Ms = 60_000;

/// A stall, and when it is first known to be one.
pub(super) struct Stall<'a> {
    pub(super) view: &'a View,
    pub(super) from: Ms,
    pub(super) known: Ms,
}

/// The stalls of a unit by the instants at which they are known.
pub(super) fn stalls<'a>(places: &Places<'a>) -> Vec<Stall<'a>> {
    let mut stalls = Vec::new();
    for (view, settled) in places.views() {
        for phase in settled.stalls() {
            let known = settled.spent_at(phase.from).unwrap_or(phase.to);
            stalls.push(Stall { view, from: phase.from, known });
        }
    }
    stalls.sort_by_key(|stall| stall.known);
    stalls
}

/// Adds what tiles do together.
pub(super) fn add(truth: &mut Truth, places: &Places<'_>) {
    client_rebuffers(truth, places);
    sync_spread(truth, places);
    demand(truth, places);
}

fn client_rebuffers(truth: &mut Truth, places: &Places<'_>) {
    let stalls = stalls(places);
    let mut is_counted = vec![false; stalls.len()];
    for (place, stall) in stalls.iter().enumerate() {
        let is_near = |other: &Stall<'_>| (other.from - stall.from).abs() <= TOGETHER_MS;
        let near: Vec<usize> = (0..=place).filter(|other| is_near(&stalls[*other])).collect();
        let views: std::collections::BTreeSet<_> = near.iter().map(|other| stalls[*other].view.id).collect();
        let is_active = |state: State| matches!(state, State::Playing | State::Stalled);
        let active =
            places.settled().filter(|settled| settled.known_before(stall.known).is_some_and(is_active)).count();
        if views.len() < 2 || 2 * views.len() < active {
            continue;
        }
        for other in near {
            if !std::mem::replace(&mut is_counted[other], true) {
                let Stall { view, from, .. } = stalls[other];
                let dims = places.dims_of(view);
                let place = Place { dims: &dims, band: places.band_at(from) };
                truth.count(place, "client_rebuffers", from, 1);
            }
        }
    }
}

/// Latencies that a view tells.
fn latencies(view: &View) -> impl DoubleEndedIterator<Item = (Ms, i64)> {
    view.notes.iter().filter_map(|note| match note.what {
        What::Heartbeat(Beat { latency_ms, .. }) => latency_ms.map(|ms| (note.at, ms)),
        What::Latency { ms } => Some((note.at, ms)),
        _ => None,
    })
}

fn sync_spread(truth: &mut Truth, places: &Places<'_>) {
    let told = places.views().flat_map(|(view, _)| latencies(view)).map(|(at, _)| at);
    for now in told {
        let of_tile = |(view, settled): (&View, &Settled<'_>)| {
            settled.known_at(now).filter(|state| *state == State::Playing)?;
            let is_taken = |at: Ms| at <= now && settled.known_at(at) == Some(State::Playing);
            let (at, ms) = latencies(view).rfind(|(at, _)| is_taken(*at))?;
            (now - at <= HOLDS_MS).then_some(ms)
        };
        let known: Vec<i64> = places.views().filter_map(of_tile).collect();
        if let (2.., Some(least), Some(greatest)) = (known.len(), known.iter().min(), known.iter().max()) {
            let dims = places.dims_at(now);
            let place = Place { dims: &dims, band: band(known.len()) };
            truth.value(place, "sync_spread_ms", minute_of(now), greatest - least, 1);
        }
    }
}

/// Throughputs that a view tells.
fn throughputs(view: &View) -> impl DoubleEndedIterator<Item = (Ms, i64)> {
    view.notes.iter().filter_map(|note| match note.what {
        What::Heartbeat(Beat { throughput_kbps, .. }) => throughput_kbps.map(|kbps| (note.at, kbps)),
        _ => None,
    })
}

fn demand(truth: &mut Truth, places: &Places<'_>) {
    let told = places.views().flat_map(|(view, _)| throughputs(view)).map(|(at, _)| at);
    for now in told {
        let is_playing = |settled: &Settled<'_>| settled.known_at(now) == Some(State::Playing);
        let playing: Vec<_> = places.views().filter(|(_, settled)| is_playing(settled)).collect();
        let wanted: i64 = playing.iter().filter_map(|(view, settled)| force_at(view, settled, now).kbps).sum();
        let measured = playing.iter().filter_map(|(view, _)| throughputs(view).rfind(|(at, _)| *at <= now));
        let measured = measured.filter(|(at, _)| now - at <= HOLDS_MS).map(|(_, kbps)| kbps).max();
        if let Some(throughput) = measured.filter(|_| wanted > 0) {
            let dims = places.dims_at(now);
            let place = Place { dims: &dims, band: band(playing.len()) };
            truth.value(place, "demand_pct", minute_of(now), 100 * wanted / throughput, 1);
        }
    }
}
