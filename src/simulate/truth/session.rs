//! What a session adds by itself: viewers, tiles at once, app sessions.

use serde_json::{Value, json};

use super::grid::{minute_of, split, starts};
use super::places::{Places, Settled};
use super::{Place, Truth};
use crate::simulate::timeline::{Deed, MINUTE_MS, Ms, State, Tongue};
use crate::simulate::wire::rfc3339;

/// Longer silence than this divides app sessions.
const APP_SESSION_GAP_MS: Ms = 30 * MINUTE_MS;

/// Time with a tile playing, tiles at once, and viewers at the start of minutes.
pub(super) fn add_viewer(truth: &mut Truth, places: &Places<'_>) {
    for pair in places.instants.windows(2) {
        let (from, to) = (pair[0], pair[1]);
        let tiles = places.playing_for_sure_at(from);
        if tiles > 0 {
            let dims = places.dims_at(from);
            let place = Place { dims: &dims, band: places.band(tiles) };
            truth.spend(place, "viewer_ms", from, to, 1);
            for (minute, ms) in split(from, to) {
                truth.value(place, "tile_count", minute, i64::try_from(tiles).unwrap_or_default(), ms);
            }
        }
    }
    let first = places.instants.first().copied().unwrap_or_default();
    let last = places.settled().map(Settled::lingers_until).max().unwrap_or(first);
    for minute in starts(first, last) {
        let at = minute * MINUTE_MS;
        if places.settled().any(|settled| settled.is_active_at(at)) {
            let dims = places.dims_at(at);
            let place = Place { dims: &dims, band: places.band(places.playing_at(at)) };
            truth.count(place, "viewers_at_start", at, 1);
        }
    }
}

/// Stretches without a long silence.
pub(super) fn add_app_sessions(truth: &mut Truth, places: &Places<'_>) {
    let stretches = places.instants.chunk_by(|one, next| next - one <= APP_SESSION_GAP_MS);
    for (part, stretch) in stretches.enumerate() {
        let (Some(&from), Some(&to)) = (stretch.first(), stretch.last()) else { continue };
        add_app_session(truth, places, i64::try_from(part).unwrap_or_default(), (from, to));
    }
}

fn add_app_session(truth: &mut Truth, places: &Places<'_>, part: i64, (from, to): (Ms, Ms)) {
    let Some(session) = places.session else { return };
    let is_within = |at: Ms| from <= at && at <= to;
    let views: Vec<_> = session.views.iter().filter(|view| is_within(view.begin())).collect();
    let has = |column: &str| {
        let count = |id: String| truth.views.get(&(id, 0))?.get(column)?.as_i64();
        views.iter().any(|view| count(view.id.to_string()) > Some(0))
    };
    let (has_failed, has_stalled) = (has("playback_failures"), has("rebuffer_count"));
    let has_crashed = session.acts.iter().any(|act| is_within(act.at) && act.deed == Deed::Crashed);
    let dims = places.dims_at(from);
    let place = Place { dims: &dims, band: places.band(0) };
    truth.count(place, "sessions", from, 1);
    truth.count(place, "crashed_sessions", from, i64::from(has_crashed));
    truth.count(place, "failed_sessions", from, i64::from(has_failed));
    truth.count(place, "stalled_sessions", from, i64::from(has_stalled));
    if places.device.stays_open {
        return;
    }
    truth.value(place, "session_ms", minute_of(from), to - from, 1);
    let mut fact: std::collections::BTreeMap<&'static str, Value> = std::collections::BTreeMap::from([
        ("duration_ms", json!(to - from)),
        ("viewer_ms", json!(viewer_ms(places, from, to))),
        ("tile_ms", json!(tile_ms(places, from, to))),
        ("views", json!(views.len())),
        ("exit_reason", json!(exit_reason(places, from, to))),
    ]);
    if places.device.is_timed() {
        fact.extend([("started_at", json!(rfc3339(from))), ("ended_at", json!(rfc3339(to)))]);
    }
    if places.device.tongue == Tongue::Native {
        let enters = |deed| matches!(deed, Deed::LayoutCreated { .. } | Deed::LayoutSwitched { .. });
        let layouts = session.acts.iter().filter(|act| is_within(act.at) && enters(act.deed)).count();
        fact.insert("layouts", json!(layouts));
        fact.insert("person_id", json!(format!("anon:{}", places.device.anon)));
    }
    truth.app_sessions.insert((session.id.to_string(), part), fact);
}

fn viewer_ms(places: &Places<'_>, from: Ms, to: Ms) -> i64 {
    let pairs = places.instants.windows(2).filter(|pair| from <= pair[0] && pair[1] <= to);
    pairs.filter(|pair| places.playing_for_sure_at(pair[0]) > 0).map(|pair| pair[1] - pair[0]).sum()
}

fn tile_ms(places: &Places<'_>, from: Ms, to: Ms) -> i64 {
    let phases = places.settled().flat_map(|settled| &settled.phases);
    let playing = phases.filter(|phase| phase.state == State::Playing && from <= phase.from && phase.to <= to);
    playing.map(|phase| phase.to - phase.from).sum()
}

fn exit_reason(places: &Places<'_>, from: Ms, to: Ms) -> &'static str {
    let acts = places.session.into_iter().flat_map(|session| &session.acts);
    let mut ended = None;
    let mut last = "timeout";
    for act in acts.filter(|act| from <= act.at && act.at <= to) {
        match act.deed {
            Deed::Ended { reason } => ended = Some(reason),
            Deed::Crashed => last = "crash",
            Deed::Backgrounded => last = "background",
            Deed::Foregrounded => last = "timeout",
            _ => {}
        }
    }
    ended.unwrap_or(last)
}
