use super::super::timeline::{End, State};
use super::*;

const WISH: Wish = Wish { seed: 5, devices: 20, days: 2, wrong_clocks: true, users: true };

#[test]
fn a_seed_gives_the_same_plan() {
    assert_eq!(fleet(&WISH), fleet(&WISH));
    assert_ne!(fleet(&WISH), fleet(&Wish { seed: 6, ..WISH }));
}

#[test]
fn a_session_is_drawn_again_by_itself() {
    for number in 0..WISH.devices {
        let Drawn { device, origins } = device(&WISH, number);
        let bare = Device { sessions: Vec::new(), ..device.clone() };
        assert_eq!(origins.iter().map(|origin| again(&bare, origin)).collect::<Vec<_>>(), device.sessions);
    }
}

#[test]
fn a_larger_fleet_begins_with_the_smaller_one() {
    let larger = fleet(&Wish { devices: 21, ..WISH });
    assert_eq!(larger[..20], fleet(&WISH)[..]);
}

#[test]
fn no_two_things_of_a_session_happen_at_once_and_no_session_meets_the_next() {
    for device in &fleet(&WISH) {
        let mut before = 0;
        for session in &device.sessions {
            let instants = session.instants();
            assert!(instants.windows(2).all(|pair| pair[0] < pair[1]));
            assert!(before < instants[0]);
            before = instants[instants.len() - 1];
        }
    }
}

#[test]
fn states_have_no_hole_and_last_until_the_end() {
    let mut seen = 0;
    for view in fleet(&WISH).iter().flat_map(|device| &device.sessions).flat_map(|session| &session.views) {
        assert_eq!(view.phases[0].state, State::Joining);
        assert!(view.phases.windows(2).all(|pair| pair[0].to == pair[1].from && pair[0].state != pair[1].state));
        let inputs = view.inputs();
        assert_eq!(view.phases[view.phases.len() - 1].to, inputs[inputs.len() - 1]);
        if view.end == End::Silent {
            assert_ne!(view.phases[view.phases.len() - 1].state, State::Stalled);
        }
        seen += 1;
    }
    assert!(seen > 100);
}
