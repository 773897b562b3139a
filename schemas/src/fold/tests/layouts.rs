//! What the tiles of a layout do together: how it comes up, when they stall, what they ask of the connection.

use serde_json::json;

use super::{Told, end, folded, simple, sorted, start, told, totals};
use crate::fold::Folded;
use crate::fold::measures::{Measure, Metric};
use crate::fold::sketch::bin_of;

fn play(seq: u32, at: i64, view: &'static str) -> Told {
    simple(seq, at, "playback.first_frame", view)
}

fn beat(seq: u32, at: i64, view: &'static str, data: serde_json::Value) -> Told {
    told(seq, at, "playback.heartbeat", view, data)
}

/// The bands and bins in which something was observed.
fn observed(folded: &Folded, metric: Metric) -> Vec<(&'static str, i32)> {
    let (_, bins) = sorted(&folded.sums);
    bins.into_iter()
        .filter(|((_, of, _), _)| *of == metric)
        .map(|((key, _, bin), _)| (key.band.as_str(), bin))
        .collect()
}

#[test]
fn a_layout_is_up_when_its_first_its_focused_most_and_all_of_its_tiles_play() {
    let events = [
        start(0, 0, "a"),
        start(1, 100, "b"),
        start(2, 2_000, "c"),
        // Too late to be one of the tiles that it opened with.
        start(3, 2_001, "d"),
        play(4, 2_500, "d"),
        play(5, 3_000, "b"),
        play(6, 4_000, "c"),
        beat(7, 5_000, "c", json!({"state": "playing", "focused": true})),
        play(8, 9_000, "a"),
        beat(9, 10_000, "b", json!({"state": "playing", "focused": true})),
    ];
    let folded = folded(&events, true);
    assert_eq!(totals(&folded, [Measure::LayoutsOpened]), [1]);
    let of = |metric| observed(&folded, metric);
    assert_eq!(of(Metric::LayoutFirstMs), [("3-4", bin_of(3_000))], "d does not count");
    assert_eq!(of(Metric::LayoutFocusedMs), [("3-4", bin_of(4_000))], "the first that had the focus");
    assert_eq!(of(Metric::LayoutMostMs), [("3-4", bin_of(9_000))], "90 % of three are three");
    assert_eq!(of(Metric::LayoutAllMs), [("3-4", bin_of(9_000))]);
}

#[test]
fn a_tile_that_never_starts_leaves_the_layout_incomplete_and_an_empty_screen_opens_it_anew() {
    let events = [
        start(0, 0, "a"),
        start(1, 1, "b"),
        play(2, 500, "a"),
        end(3, 9_000, "b", "user_choice"),
        end(4, 9_500, "a", "user_choice"),
        start(5, 20_000, "a"),
        play(6, 20_700, "a"),
    ];
    let folded = folded(&events, true);
    assert_eq!(totals(&folded, [Measure::LayoutsOpened]), [2]);
    let of = |metric| observed(&folded, metric);
    assert_eq!(of(Metric::LayoutFirstMs), [("1", bin_of(700)), ("2", bin_of(500))]);
    assert_eq!(of(Metric::LayoutAllMs), [("1", bin_of(700))], "the first opening was never complete");
    assert_eq!(of(Metric::LayoutFocusedMs), []);
}

#[test]
fn any_tile_stalls_and_all_tiles_stall() {
    let events = [
        start(0, 0, "a"),
        start(1, 0, "b"),
        play(2, 0, "a"),
        play(3, 0, "b"),
        simple(4, 10_000, "playback.rebuffer_started", "a"),
        simple(5, 12_000, "playback.rebuffer_started", "b"),
        simple(6, 13_000, "playback.rebuffer_ended", "a"),
        simple(7, 17_000, "playback.rebuffer_ended", "b"),
        // None at all.
        simple(8, 18_000, "playback.rebuffer_started", "b"),
        simple(9, 18_249, "playback.rebuffer_ended", "b"),
        end(10, 20_000, "a", "user_choice"),
        end(11, 20_000, "b", "user_choice"),
    ];
    let folded = folded(&events, true);
    assert_eq!(
        totals(&folded, [Measure::AnyStallMs, Measure::AllStallMs, Measure::ViewerMs, Measure::RebufferMs]),
        [7_000, 1_000, 19_000, 8_000]
    );
}

#[test]
fn the_demand_is_the_bitrate_of_all_tiles_that_play_of_the_greatest_throughput() {
    let tells = |seq, at, view, kbps: i64, throughput: i64| {
        let data = json!({"state": "playing", "bitrate_kbps": kbps, "throughput_kbps": throughput});
        beat(seq, at, view, data)
    };
    let events = [
        start(0, 0, "a"),
        play(1, 0, "a"),
        start(2, 0, "b"),
        play(3, 0, "b"),
        tells(4, 1_000, "a", 3_000, 10_000),
        tells(5, 2_000, "b", 2_000, 4_000),
        // What the first tile measured holds no longer, its bitrate does.
        tells(6, 61_001, "b", 2_000, 4_000),
        // Nothing is known of a connection that lets nothing through.
        tells(7, 61_002, "b", 2_000, 0),
        end(8, 62_000, "a", "user_choice"),
        tells(9, 63_000, "b", 1_000, 0),
    ];
    let bins = observed(&folded(&events, true), Metric::DemandPct);
    assert_eq!(bins, [("2", bin_of(30)), ("2", bin_of(50)), ("2", bin_of(125))]);
}

#[test]
fn a_shift_for_the_number_of_tiles_is_told_apart() {
    let shift = |seq, at, from: i64, to: i64, reason: &str| {
        let data = json!({"from_kbps": from, "to_kbps": to, "reason": reason});
        told(seq, at, "playback.rendition_changed", "v", data)
    };
    let events = [
        start(0, 0, "v"),
        play(1, 0, "v"),
        shift(2, 1_000, 3_000, 1_000, "tile_count"),
        shift(3, 2_000, 1_000, 500, "abr"),
        shift(4, 3_000, 500, 2_000, "tile_count"),
    ];
    let shifts = [Measure::ShiftsUp, Measure::ShiftsDown, Measure::ShiftsDownTileCount];
    assert_eq!(totals(&folded(&events, true), shifts), [1, 2, 1]);
}
