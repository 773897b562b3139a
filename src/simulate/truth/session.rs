//! What a session adds by itself: viewers, tiles at once, app sessions.

use serde_json::{Value, json};

use super::claims::{Claim, STALLS};
use super::grid::{minute_of, split, starts};
use super::places::{Dims, Places, Settled, band};
use super::together::stalls;
use super::{Place, Truth};
use crate::simulate::timeline::{Deed, End, MINUTE_MS, Ms, State, Tongue, View};
use crate::simulate::wire::rfc3339;

/// Longer silence than this divides app sessions.
const APP_SESSION_GAP_MS: Ms = 30 * MINUTE_MS;

/// Time with a tile playing, tiles at once, and viewers at the start of minutes.
pub(super) fn add_viewer(truth: &mut Truth, places: &Places<'_>) {
    for pair in places.instants.windows(2) {
        let (from, to) = (pair[0], pair[1]);
        let (tiles, stalled) = (places.playing_at(from).count(), places.stalled_at(from).count());
        let busy = places.playing_at(from).chain(places.stalled_at(from));
        // It counts under what is known when the last of these tiles spends the time.
        let Some(spent) = busy.filter_map(|settled| settled.spent_at(from)).max() else { continue };
        let dims = places.dims_at(spent);
        let place = Place { dims: &dims, band: band(tiles + stalled) };
        truth.spend(place, "any_stall_ms", from, to, i64::from(stalled > 0));
        truth.spend(place, "all_stall_ms", from, to, i64::from(stalled > 0 && tiles == 0));
        if tiles > 0 {
            let place = Place { dims: &dims, band: band(tiles) };
            truth.spend(place, "viewer_ms", from, to, 1);
            truth.beside.watch(places, &dims.layout_type, to - from);
            for (minute, ms) in split(from, to) {
                truth.value(place, "tile_count", minute, i64::try_from(tiles).unwrap_or_default(), ms);
            }
        }
    }
    let first = places.instants.first().copied().unwrap_or_default();
    let last = places.settled().map(Settled::lingers_until).max().unwrap_or(first);
    for minute in starts(first, last) {
        let at = minute * MINUTE_MS;
        // It counts under what is known when the first of the active views spends the time.
        let active = places.settled().filter(|settled| settled.is_active_at(at));
        let known = active.map(|settled| settled.spent_at(at).or(settled.replaced()).unwrap_or(Ms::MAX)).min();
        if let Some(known) = known {
            let dims = places.dims_at(known);
            truth.count(Place { dims: &dims, band: "" }, "viewers_at_start", at, 1);
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
    let attempts = places.settled().filter_map(|settled| settled.telling.attempt);
    let has_failed = session.views.iter().filter_map(failed).any(is_within);
    let is_claimed = claims(places).any(|claim| claim.measure == STALLS && is_within(claim.at));
    let has_stalled = is_claimed || stalls(places).iter().any(|stall| is_within(stall.known));
    let has_crashed = session.acts.iter().any(|act| is_within(act.at) && act.deed == Deed::Crashed);
    let dims = places.dims_at(from);
    let place = Place { dims: &dims, band: "" };
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
        ("views", json!(attempts.filter(|at| is_within(*at)).count())),
        ("exit_reason", json!(exit_reason(places, from, to))),
    ]);
    if places.device.is_timed() {
        fact.extend([("started_at", json!(rfc3339(from))), ("ended_at", json!(rfc3339(to)))]);
    }
    if places.device.tongue == Tongue::Native {
        let entered = session.acts.iter().filter(|act| is_within(act.at)).filter_map(|act| match act.deed {
            Deed::LayoutCreated { layout, .. } | Deed::LayoutSwitched { to: layout, .. } => Some(layout),
            _ => None,
        });
        let shown = places.shown.iter().filter(|(at, _)| is_within(*at)).map(|(_, layout)| *layout);
        let layouts: std::collections::BTreeSet<usize> = entered.chain(shown).collect();
        fact.insert("layouts", json!(layouts.len()));
        let Dims { release, .. } = places.dims_at(to);
        let columns = ["app_version", "device_platform", "os_major", "device_class", "network"];
        fact.extend(columns.into_iter().zip(release).map(|(column, word)| (column, json!(word))));
        fact.insert("person_id", json!(places.device.person()));
    }
    truth.app_sessions.insert((session.id.to_string(), part), fact);
}

/// When a view failed. A business error after the first frame is no failure.
fn failed(view: &View) -> Option<Ms> {
    match view.end {
        End::Fatal { at, domain, .. } if domain != "business" || view.first_play().is_none() => Some(at),
        _ => None,
    }
}

/// Errors and crashes of the app.
pub(super) fn add_errors(truth: &mut Truth, places: &Places<'_>) {
    let is_native = places.device.tongue == Tongue::Native;
    for act in places.session.into_iter().flat_map(|session| &session.acts) {
        let keys = match act.deed {
            Deed::AppError if is_native => ["app", "SYNC_409", "sync", ""],
            Deed::AppError => ["app", "-1001", "NSURLErrorDomain", ""],
            Deed::Crashed if is_native => ["app", "EXC_BAD_ACCESS renderer", "crash", "fatal"],
            Deed::Crashed => ["app", "SIGABRT", "crash", "fatal"],
            _ => continue,
        };
        truth.error(places.device, act.at, keys);
    }
}

/// What players claim in the unit.
fn claims<'a>(places: &'a Places<'_>) -> impl Iterator<Item = &'a Claim> {
    places.settled().flat_map(|settled| &settled.claims)
}

/// Time with a tile playing. It is the session's in which the first of these tiles spends it.
fn viewer_ms(places: &Places<'_>, from: Ms, to: Ms) -> i64 {
    let is_spent = |at: Ms| {
        let spent = places.playing_at(at).filter_map(|settled| settled.spent_at(at)).min();
        spent.is_some_and(|spent| from <= spent && spent <= to)
    };
    places.instants.windows(2).filter(|pair| is_spent(pair[0])).map(|pair| pair[1] - pair[0]).sum()
}

fn tile_ms(places: &Places<'_>, from: Ms, to: Ms) -> i64 {
    let is_within = |at: Ms| from <= at && at <= to;
    let spans = places.settled().flat_map(|settled| &settled.spans);
    let playing = spans.filter(|span| span.state == State::Playing && is_within(span.to));
    let claimed = claims(places).filter(|claim| claim.measure == "playing_ms" && is_within(claim.at));
    playing.map(|span| span.to - span.from).sum::<Ms>() + claimed.map(|claim| claim.n).sum::<i64>()
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
