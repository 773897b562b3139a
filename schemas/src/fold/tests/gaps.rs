//! What is made of a view of which inputs are missing.

use serde_json::json;

use super::{Told, beat, end, folded, simple, start, told, totals};
use crate::fold::measures::Measure::{
    self, Attempts, Ebvs, FocusMs, PausedMs, PlayingMs, RebufferCount, RebufferMs, SeekMs, StartupValid,
};
use crate::fold::{Folded, Unit};

fn playback(seq: u32, at: i64, kind: &'static str) -> Told {
    simple(seq, at, kind, "v")
}

/// A view that plays from the second 1 on.
fn plays() -> [Told; 2] {
    [start(0, 0, "v"), playback(1, 1_000, "playback.first_frame")]
}

#[test]
fn a_heartbeat_after_a_gap_ends_a_seek() {
    let seek = playback(2, 3_000, "playback.seek_started");
    let events = |seq| {
        [&plays()[..], &[seek.clone(), beat(seq, 10_000, "v", "playing"), end(seq + 1, 15_000, "v", "removed")]]
            .concat()
    };
    assert_eq!(totals(&folded(&events(4), false), [PlayingMs, SeekMs]), [7_000, 7_000], "its end is missing");
    assert_eq!(totals(&folded(&events(3), false), [PlayingMs, SeekMs]), [2_000, 12_000], "nothing is missing");
}

#[test]
fn an_input_that_changes_nothing_does_not_close_a_gap() {
    // Missing is the end of the seek; a stall within a seek is none.
    let events = [
        &plays()[..],
        &[
            playback(2, 3_000, "playback.seek_started"),
            playback(4, 5_000, "playback.rebuffer_started"),
            playback(5, 6_000, "playback.rebuffer_ended"),
            beat(6, 10_000, "v", "playing"),
            end(7, 15_000, "v", "removed"),
        ],
    ]
    .concat();
    assert_eq!(totals(&folded(&events, false), [PlayingMs, SeekMs]), [7_000, 7_000]);
}

#[test]
fn a_buffer_is_an_attempt_whatever_came_before_it() {
    let events = [
        playback(1, 0, "playback.seek_started"),
        playback(2, 500, "playback.rebuffer_started"),
        end(3, 2_000, "v", "user_choice"),
    ];
    assert_eq!(totals(&folded(&events, false), [Attempts, Ebvs]), [1, 1]);
}

#[test]
fn a_pause_that_goes_on_leaves_the_startup_time_valid() {
    let paused = |seq, at| playback(seq, at, "playback.paused");
    let events = |second: Told| {
        [
            paused(0, 0),
            start(1, 100, "v"),
            second,
            playback(3, 900, "playback.first_frame"),
            end(4, 2_000, "v", "removed"),
        ]
    };
    assert_eq!(totals(&folded(&events(paused(2, 200)), false), [StartupValid]), [1]);
}

#[test]
fn a_buffer_that_runs_dry_just_after_a_seek_was_told_belongs_to_it() {
    // The end of the first seek is missing, so that the second one begins within it.
    let events = [
        &plays()[..],
        &[
            playback(2, 3_000, "playback.seek_started"),
            playback(4, 9_000, "playback.seek_started"),
            playback(5, 9_100, "playback.seek_ended"),
            playback(6, 9_300, "playback.rebuffer_started"),
            playback(7, 9_900, "playback.seek_ended"),
            end(8, 10_900, "v", "removed"),
        ],
    ]
    .concat();
    assert_eq!(totals(&folded(&events, false), [SeekMs, RebufferMs, PlayingMs]), [6_700, 0, 3_200]);
}

#[test]
fn a_short_stall_at_the_end_is_playing_once() {
    let over =
        told(4, 10_100, "playback.view_ended", "v", json!({"reason": "removed", "playing_ms": 9_100, "paused_ms": 0}));
    let events = [&plays()[..], &[playback(3, 10_000, "playback.rebuffer_started"), over]].concat();
    assert_eq!(totals(&folded(&events, false), [PlayingMs, RebufferMs, RebufferCount]), [9_100, 0, 0]);
}

#[test]
fn what_a_heartbeat_tells_holds_from_then_on() {
    let focused = told(4, 10_100, "playback.heartbeat", "v", json!({"state": "playing", "focused": true}));
    let events =
        [&plays()[..], &[playback(2, 10_000, "playback.rebuffer_started"), focused, end(5, 11_100, "v", "removed")]]
            .concat();
    assert_eq!(totals(&folded(&events, false), [PlayingMs, FocusMs]), [10_100, 1_000]);
}

#[test]
fn totals_are_believed_once_also_if_the_start_is_missing() {
    let heartbeat = |seq, at, playing: i64, paused: i64| {
        let data = json!({"state": "playing", "playing_ms": playing, "paused_ms": paused});
        told(seq, at, "playback.heartbeat", "v", data)
    };
    let events = [heartbeat(5, 20_000, 17_000, 3_000), heartbeat(6, 30_000, 30_000, 3_000)];
    assert_eq!(totals(&folded(&events, false), [PlayingMs, PausedMs]), [27_000, 3_000]);
    let whole = [start(0, 10_000, "v"), heartbeat(1, 20_000, 17_000, 3_000)];
    assert_eq!(totals(&folded(&whole, false), [PlayingMs, PausedMs]), [0, 0], "nothing is missing");
}

/// A view falls silent within a stall that is too short to be one; of what comes later it shall know nothing.
fn silent_in_a_short_stall(later: &[Told]) -> Folded {
    let events = [
        told(0, 0, "layout.created", "", json!({"layout_type": "single", "slots": 1})),
        start(1, 0, "v"),
        simple(2, 1_000, "playback.first_frame", "v"),
        simple(3, 10_000, "playback.rebuffer_started", "v"),
        told(4, 10_200, "playback.heartbeat", "v", json!({"state": "buffering", "focused": true, "bitrate_kbps": 900})),
    ];
    let mut all: Vec<Told> = events.into();
    all.extend(later.iter().map(|told| Told { data: told.data.clone(), ..*told }));
    folded(&all, true)
}

#[test]
fn a_short_stall_at_a_silent_end_is_playing_as_things_were_then() {
    let switched = |at| told(5, at, "layout.switched", "", json!({"to_type": "grid2x2"}));
    let ended = |at| told(5, at, "session.ended", "", json!({"reason": "background"}));
    // Soon, and in an app session of its own; or the session ends in the middle of it.
    for later in [vec![], vec![switched(20_000)], vec![switched(31 * 60_000)], vec![ended(10_210)]] {
        let folded = silent_in_a_short_stall(&later);
        assert_eq!(totals(&folded, [Measure::PlayingMs, Measure::ViewerMs, Measure::RebufferCount]), [9_200, 9_200, 0]);
        assert_eq!(
            totals(&folded, [FocusMs, Measure::RatedMediaMs]),
            [0, 0],
            "what the last input tells comes after it"
        );
        let [first, ..] = &folded.sessions[..] else { panic!("an app session") };
        assert_eq!((first.tile_ms, first.viewer_ms), (9_200, 9_200), "{:?}", later.first().map(|told| told.at));
        for (key, cell) in &folded.sums.cells {
            let is_known = &*key.dims.layout_type == "single";
            assert!(is_known || cell.values[Measure::ViewerMs as usize] == 0, "{key:?}");
        }
    }
}

#[test]
fn a_session_is_over_only_when_nothing_follows() {
    let events = [
        &plays()[..],
        &[
            playback(2, 10_000, "playback.rebuffer_started"),
            told(3, 10_200, "session.ended", "", json!({"reason": "background"})),
            playback(4, 10_300, "playback.rebuffer_ended"),
            end(5, 12_000, "v", "removed"),
        ],
    ]
    .concat();
    let at_once = folded(&events, true);
    assert_eq!(totals(&at_once, [PlayingMs, RebufferMs, RebufferCount]), [10_700, 300, 1]);
    let mut unit = Unit::new(&events[0].input().0);
    let mut stepped = Folded::default();
    for told in &events {
        unit.step(&told.input().1, &mut stepped);
    }
    assert!(stepped.sessions.is_empty());
    unit.close(&mut stepped);
    assert_eq!(totals(&stepped, [PlayingMs, RebufferMs, RebufferCount]), [10_700, 300, 1]);
    assert_eq!((stepped.views, stepped.sessions), (at_once.views, at_once.sessions));
}
