//! Events that never arrive.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::random::Random;
use super::timeline::{Device, Ms, Session, View};

/// The instants of a device whose events are lost on the way.
///
/// A view that is started anew loses none, so that its parts are the same for whoever hears of them.
pub(super) fn draw(device: &Device, random: &mut Random) -> BTreeSet<Ms> {
    let mut lost = BTreeSet::new();
    for session in &device.sessions {
        let kept = of_parts(session);
        if random.chance(70) {
            for view in session.views.iter().filter(|view| !kept.contains(&view.id)) {
                lose_of_view(view, random, &mut lost);
            }
            lose_in_a_row(session, random, &mut lost);
        }
        let views = session.views.iter().filter(|view| kept.contains(&view.id));
        for at in views.flat_map(View::reports) {
            lost.remove(&at);
        }
    }
    lost
}

/// The views that have several parts.
fn of_parts(session: &Session) -> BTreeSet<Uuid> {
    session.views.iter().filter(|view| view.part > 0).map(|view| view.id).collect()
}

/// Its first events, its last ones, or some in its midst.
fn lose_of_view(view: &View, random: &mut Random, lost: &mut BTreeSet<Ms>) {
    let mut reports = view.reports();
    reports.sort_unstable();
    let count = 1 + random.place(4);
    let first = match random.below(100) {
        0..8 => 0,
        8..16 => reports.len().saturating_sub(count),
        16..45 => random.place(reports.len()),
        _ => return,
    };
    lost.extend(reports.into_iter().skip(first).take(count));
}

/// An upload's worth of events of the whole session.
fn lose_in_a_row(session: &Session, random: &mut Random, lost: &mut BTreeSet<Ms>) {
    let instants = session.instants();
    for _ in 0..random.below(3) {
        let (first, count) = (random.place(instants.len()), 1 + random.place(12));
        lost.extend(instants.iter().skip(first).take(count));
    }
}
