use super::super::places::Places;
use super::*;
use crate::simulate::loss;
use crate::simulate::plan::{Wish, fleet};
use crate::simulate::random::Random;
use crate::simulate::timeline::{HOUR_MS, Phase, State};

const WISH: Wish = Wish { seed: 6, devices: 40, days: 1, wrong_clocks: false, users: true };

#[test]
fn who_hears_everything_hears_what_happens() {
    for device in fleet(&WISH) {
        for session in &device.sessions {
            let heard = of(&device, session, &BTreeSet::new());
            assert_eq!(heard.session.acts, session.acts);
            assert_eq!(heard.session.views.len(), session.views.len());
            for (real, (view, telling)) in session.views.iter().zip(heard.views()) {
                assert_eq!((&view.phases, view.ended(), view.stream), (&real.phases, real.ended(), real.stream));
                assert_eq!((&telling.inputs, telling.attempt), (&real.inputs(), Some(real.begin())));
                assert!(view.notes.iter().eq(real.notes.iter().filter(|note| note.what != What::Preload)));
                assert!(telling.sums.iter().all(|sums| !sums.is_believed));
            }
        }
    }
}

/// What a fleet that loses events has met.
#[derive(Debug, Default, PartialEq)]
struct Met {
    claimed_stalls: usize,
    claimed_ms: usize,
    adopted: usize,
    timed_out: usize,
    startless: usize,
    unheard: usize,
}

#[test]
fn a_fleet_that_loses_events_meets_every_way_to_miss_something() {
    let mut met = Met::default();
    for (number, device) in (0..).zip(fleet(&WISH)) {
        let lost = loss::draw(&device, &mut Random::new(number));
        for session in &device.sessions {
            let heard = of(&device, session, &lost);
            met.unheard += session.views.len() - heard.session.views.len();
            let places = Places::of_session(&device, &heard);
            for (view, settled) in places.views() {
                let claimed = |measure: &str| settled.claims.iter().any(|claim| claim.measure == measure);
                met.claimed_stalls += usize::from(claimed("rebuffer_count"));
                met.claimed_ms += usize::from(claimed("playing_ms"));
                let real = session.views.iter().find(|real| (real.id, real.part) == (view.id, view.part)).unwrap();
                met.timed_out += usize::from(view.end == End::Silent && real.end != End::Silent);
                met.startless += usize::from(view.begin() > real.begin());
                let is_beat = |phase: &Phase| view.notes.iter().any(|note| note.at == phase.from);
                met.adopted +=
                    view.phases.iter().filter(|phase| phase.state != State::Joining && is_beat(phase)).count();
                assert!(settled.telling.inputs.windows(2).all(|pair| pair[1] - pair[0] < HOUR_MS));
            }
        }
    }
    let Met { claimed_stalls, claimed_ms, adopted, timed_out, startless, unheard } = met;
    for (number, what) in [claimed_stalls, claimed_ms, adopted, timed_out, startless, unheard].into_iter().zip(1..) {
        assert!(number > 3, "{what}: {met:?}");
    }
}
