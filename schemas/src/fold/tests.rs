//! Views and sessions, by example and by property.

mod gaps;
mod layouts;

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::measures::{Measure, Metric, SumKey, Sums, Values};
use super::{Folded, Input, Stored, Unit, UnitKey, ViewFact, units_from_bytes, units_to_bytes};
use crate::event::Format;
use crate::time::Timestamp;

/// 2026-03-02T10:00:00Z.
const BASE_MS: i64 = 1_772_445_600_000;

/// One event of a native session, `at` ms after the base.
#[derive(Debug, Clone)]
struct Told {
    seq: u32,
    at: i64,
    kind: &'static str,
    view: &'static str,
    data: Value,
}

fn told(seq: u32, at: i64, kind: &'static str, view: &'static str, data: Value) -> Told {
    Told { seq, at, kind, view, data }
}

fn time(ms: i64) -> Timestamp {
    Timestamp::from_millis(BASE_MS + ms).unwrap()
}

impl Told {
    fn input(&self) -> (UnitKey, Input) {
        let data = self.data.to_string();
        let is_cmcd = self.kind.starts_with("cmcd.");
        Input::of(&Stored {
            project: "p",
            format: if is_cmcd { Format::Cmcd2 } else { Format::Native },
            kind: self.kind,
            seq: Some(self.seq),
            boot_id: None,
            mono_ms: None,
            occurred_at: time(self.at),
            corrected_at: time(self.at),
            received_at: time(self.at),
            install_id: (!is_cmcd).then_some("install"),
            session_id: (!is_cmcd).then_some("session"),
            view_id: Some(self.view).filter(|view| !view.is_empty()),
            layout_id: Some("layout"),
            person_id: Some("anon:a"),
            stream_id: Some("twitch:x").filter(|_| !self.view.is_empty()),
            stream_platform: Some("twitch").filter(|_| !self.view.is_empty()),
            device_platform: Some("ios"),
            app_version: Some("1.0"),
            data: &data,
            fields: &[],
            address: (u64::from(self.seq), 0),
        })
        .unwrap()
    }
}

fn folded(events: &[Told], is_closed: bool) -> Folded {
    let mut inputs: Vec<(UnitKey, Input)> = events.iter().map(Told::input).collect();
    inputs.sort_by_key(|(_, input)| input.place);
    let mut unit = Unit::new(&inputs[0].0);
    let inputs: Vec<Input> = inputs.into_iter().map(|(_, input)| input).collect();
    let mut folded = Folded::default();
    unit.fold(&inputs, &mut folded);
    if is_closed {
        unit.close(&mut folded);
    }
    folded
}

fn total(sums: &Sums, measure: Measure) -> i64 {
    sums.cells.values().map(|cell| cell.values[measure as usize]).sum()
}

fn totals<const N: usize>(folded: &Folded, measures: [Measure; N]) -> [i64; N] {
    measures.map(|measure| total(&folded.sums, measure))
}

fn start(seq: u32, at: i64, view: &'static str) -> Told {
    told(seq, at, "playback.view_started", view, json!({"stream_id": "twitch:x", "category": "chess"}))
}

fn end(seq: u32, at: i64, view: &'static str, reason: &str) -> Told {
    told(seq, at, "playback.view_ended", view, json!({"reason": reason}))
}

fn beat(seq: u32, at: i64, view: &'static str, state: &str) -> Told {
    told(seq, at, "playback.heartbeat", view, json!({"state": state, "period_ms": 10_000}))
}

fn simple(seq: u32, at: i64, kind: &'static str, view: &'static str) -> Told {
    told(seq, at, kind, view, json!({}))
}

#[test]
fn a_plain_view_with_a_short_and_a_long_stall() {
    let events = [
        start(0, 0, "v"),
        simple(1, 1_200, "playback.first_frame", "v"),
        simple(2, 10_000, "playback.rebuffer_started", "v"),
        simple(3, 10_249, "playback.rebuffer_ended", "v"),
        simple(4, 20_000, "playback.rebuffer_started", "v"),
        beat(5, 20_900, "v", "buffering"),
        simple(6, 21_500, "playback.rebuffer_ended", "v"),
        end(7, 61_000, "v", "user_choice"),
    ];
    let folded = folded(&events, false);
    use Measure::{
        Attempts, JoinMs, PlayingMs, RebufferCount, RebufferMs, Started, StartupValid, SustainedRebuffers, ViewerMs,
        ViewsAtStart, ViewsEnded, WatchMs,
    };
    assert_eq!(totals(&folded, [Attempts, Started, StartupValid, ViewsEnded]), [1, 1, 1, 1]);
    assert_eq!(totals(&folded, [JoinMs, RebufferMs, PlayingMs, WatchMs]), [1_200, 1_500, 58_300, 61_000]);
    assert_eq!(totals(&folded, [RebufferCount, SustainedRebuffers, ViewerMs]), [1, 1, 58_300]);
    // The view begins at the first instant of a minute, and lasts over the next.
    assert_eq!(totals(&folded, [ViewsAtStart, Measure::ViewersAtStart]), [2, 2]);
    let [fact] = &folded.views[..] else { panic!("one part") };
    assert_eq!((fact.startup_ms, fact.outcome, fact.max_rebuffer_ms), (Some(1_200), "played", 1_500));
    assert_eq!((&*fact.dims.category, fact.dims.part), ("chess", 0));
    assert_eq!((fact.started_ms, fact.ended_ms), (BASE_MS, BASE_MS + 61_000));
}

#[test]
fn how_attempts_end() {
    let outcome = |events: &[Told]| folded(events, true).views.into_iter().map(|fact| fact.outcome).next();
    let error = |seq, at, domain: &str| {
        told(seq, at, "playback.error", "v", json!({"code": "x", "severity": "fatal", "domain": domain}))
    };
    assert_eq!(outcome(&[start(0, 0, "v"), end(1, 999, "v", "user_choice")]), Some("abandoned_early"));
    assert_eq!(outcome(&[start(0, 0, "v"), end(1, 1_000, "v", "user_choice")]), Some("ebvs"));
    assert_eq!(outcome(&[start(0, 0, "v"), error(1, 5, "network")]), Some("startup_failure"));
    assert_eq!(outcome(&[start(0, 0, "v"), error(1, 5, "business")]), Some("startup_business"));
    let played = simple(1, 500, "playback.first_frame", "v");
    assert_eq!(outcome(&[start(0, 0, "v"), played.clone(), error(2, 5_000, "decode")]), Some("playback_failure"));
    assert_eq!(outcome(&[start(0, 0, "v"), played]), Some("played"), "timed out");
    // A sibling of the same layout has started, or has not.
    let sibling = [start(0, 0, "w"), simple(1, 10, "playback.first_frame", "w")];
    let left = [start(2, 20, "v"), end(3, 5_000, "v", "layout_switch")];
    assert_eq!(outcome(&[&sibling[..], &left].concat()), Some("left_unstarted"));
    assert_eq!(outcome(&[&sibling[..1], &left].concat()), Some("ebvs"));
}

#[test]
fn the_startup_time_is_null_after_a_pause_or_without_a_start() {
    let startup = |events: &[Told]| folded(events, true).views[0].startup_ms;
    let paused = simple(1, 100, "playback.paused", "v");
    let play = simple(2, 900, "playback.first_frame", "v");
    assert_eq!(startup(&[start(0, 0, "v"), play.clone()]), Some(900));
    assert_eq!(startup(&[start(0, 0, "v"), paused, play.clone()]), None);
    assert_eq!(startup(&[play]), None);
    let reported = told(2, 900, "playback.first_frame", "v", json!({"startup_ms": 750}));
    assert_eq!(startup(std::slice::from_ref(&reported)), Some(750), "used where no start was seen");
    assert_eq!(startup(&[start(0, 0, "v"), reported]), Some(900));
}

#[test]
fn silence_cuts_a_view_into_parts_and_a_session_in_two() {
    let hour = 3_600_000;
    let events = [
        start(0, 0, "v"),
        simple(1, 1_000, "playback.first_frame", "v"),
        beat(2, 11_000, "v", "playing"),
        beat(3, 11_000 + hour + 1, "v", "playing"),
        beat(4, 21_000 + hour, "v", "playing"),
    ];
    let folded = folded(&events, true);
    let parts: Vec<_> =
        folded.views.iter().map(|fact| (fact.dims.part, fact.of(Measure::PlayingMs), &*fact.exit_reason)).collect();
    assert_eq!(parts, [(0, 10_000, "timeout"), (1, 9_999, "timeout")]);
    let sessions: Vec<_> = folded.sessions.iter().map(|fact| (fact.part, fact.ended_ms - fact.started_ms)).collect();
    assert_eq!(sessions, [(0, 11_000), (1, 9_999)]);
}

#[test]
fn the_order_is_the_numbers_and_never_the_time() {
    let events = [
        start(0, 0, "v"),
        simple(1, 1_000, "playback.first_frame", "v"),
        // The wall clock was set back by an hour: the time goes on from there, nothing is counted twice.
        beat(2, 1_000 - 3_600_000, "v", "playing"),
        end(3, 11_000 - 3_600_000, "v", "completed"),
    ];
    let folded = folded(&events, false);
    assert_eq!(totals(&folded, [Measure::PlayingMs, Measure::JoinMs]), [10_000, 1_000]);
}

#[test]
fn counters_are_believed_where_numbers_are_missing() {
    let heartbeat = |seq, at, playing: i64, rebuffer: i64, count: i64| {
        told(
            seq,
            at,
            "playback.heartbeat",
            "v",
            json!({"state": "playing", "playing_ms": playing, "rebuffer_ms": rebuffer, "rebuffer_count": count,
                   "dropped_frames": count * 10, "rendered_frames": playing / 20}),
        )
    };
    let stall = |seq, at| simple(seq, at, "playback.rebuffer_started", "v");
    let over = |seq, at| simple(seq, at, "playback.rebuffer_ended", "v");
    let first = [start(0, 0, "v"), simple(1, 0, "playback.first_frame", "v")];
    let known = [&first[..], &[stall(2, 4_000), over(3, 7_000), heartbeat(4, 10_000, 7_000, 3_000, 1)]].concat();
    let lost = [&first[..], &[heartbeat(4, 10_000, 7_000, 3_000, 1)]].concat();
    let of = |events: &[Told]| {
        totals(&folded(events, false), [Measure::PlayingMs, Measure::RebufferMs, Measure::RebufferCount])
    };
    assert_eq!(of(&known), [7_000, 3_000, 1]);
    assert_eq!(of(&lost), [10_000, 3_000, 1], "the larger of both");
    let frames = folded(&known, false);
    assert_eq!(totals(&frames, [Measure::DroppedFrames, Measure::RenderedFrames]), [10, 350]);
    // The player began anew: its counters fell.
    let restarted = [&known[..], &[heartbeat(5, 20_000, 2_000, 0, 0)]].concat();
    assert_eq!(totals(&folded(&restarted, false), [Measure::RenderedFrames]), [450]);
}

#[test]
fn cmcd_is_folded_by_view_in_the_order_of_sn() {
    let state = |sn, at, sta: &str| told(sn, at, "cmcd.ps", "v", json!({"sta": sta, "e": "ps"}));
    let events = [
        state(0, 0, "d"),
        state(1, 10, "s"),
        told(2, 10, "cmcd.rr", "v", json!({"sta": "s", "e": "rr"})),
        state(3, 700, "p"),
        told(4, 5_000, "cmcd.bc", "v", json!({"br": {"_": 400}, "sta": "p"})),
        told(5, 6_000, "cmcd.bc", "v", json!({"br": {"_": 800}, "sta": "p"})),
        // hls.js: seeking, then buffering at once, then playing.
        state(6, 8_000, "k"),
        state(7, 8_002, "r"),
        state(8, 8_300, "p"),
        state(9, 10_000, "r"),
        state(10, 10_400, "p"),
        state(11, 12_000, "e"),
    ];
    let folded = folded(&events, false);
    let [fact] = &folded.views[..] else { panic!("one part") };
    assert_eq!(
        (fact.startup_ms, fact.of(Measure::JoinMs), fact.of(Measure::SeekMs), fact.of(Measure::RebufferMs)),
        (Some(690), 690, 300, 400)
    );
    assert_eq!(
        (fact.of(Measure::PlayingMs), fact.of(Measure::RebufferCount), fact.of(Measure::ShiftsUp)),
        (10_600, 1, 1)
    );
    assert_eq!((&*fact.exit_reason, fact.outcome), ("completed", "played"));
    assert!(folded.sessions.is_empty());
}

#[test]
fn two_tiles_are_one_viewer() {
    let events = [
        start(0, 0, "v"),
        start(1, 0, "w"),
        simple(2, 0, "playback.first_frame", "v"),
        simple(3, 10_000, "playback.first_frame", "w"),
        end(4, 30_000, "v", "removed"),
        end(5, 40_000, "w", "removed"),
    ];
    let folded = folded(&events, true);
    assert_eq!(totals(&folded, [Measure::PlayingMs, Measure::ViewerMs, Measure::Attempts]), [60_000, 40_000, 2]);
    let [session] = &folded.sessions[..] else { panic!("one session") };
    assert_eq!((session.viewer_ms, session.tile_ms, session.views, session.layouts), (40_000, 60_000, 2, 1));
}

#[test]
fn stalls_of_half_the_tiles_at_once_are_the_devices_own() {
    let stall = |seq, at, view| simple(seq, at, "playback.rebuffer_started", view);
    let over = |seq, at, view| simple(seq, at, "playback.rebuffer_ended", view);
    let tiles = ["a", "b", "c", "d"];
    let plays = (0..8).map(|n| {
        let view = tiles[n as usize / 2];
        if n % 2 == 0 { start(n, 0, view) } else { simple(n, 0, "playback.first_frame", view) }
    });
    let plays: Vec<Told> = plays.collect();
    let of = |stalls: &[Told]| {
        let folded = folded(&[&plays[..], stalls].concat(), false);
        totals(&folded, [Measure::RebufferCount, Measure::ClientRebuffers])
    };
    let alone = [stall(8, 5_000, "a"), over(9, 6_000, "a"), stall(10, 8_001, "b"), over(11, 9_000, "b")];
    assert_eq!(of(&alone), [2, 0], "more than 2 s apart");
    let together = [stall(8, 5_000, "a"), stall(9, 7_000, "b"), over(10, 8_000, "a"), over(11, 8_000, "b")];
    assert_eq!(of(&together), [2, 2], "two of four within 2 s");
    let short = [stall(8, 5_000, "a"), stall(9, 7_000, "b"), over(10, 8_000, "a"), over(11, 7_249, "b")];
    assert_eq!(of(&short), [2, 2], "the time of an input never falls: b stalled until 8 000");
}

#[test]
fn stalled_time_that_was_watched_is_told_apart() {
    let audio = |seq, at, is_muted: bool| told(seq, at, "playback.audio_changed", "v", json!({"muted": is_muted}));
    let events = [
        start(0, 0, "v"),
        simple(1, 100, "playback.first_frame", "v"),
        audio(2, 20_000, true),
        simple(3, 21_000, "playback.rebuffer_started", "v"),
        simple(4, 23_002, "playback.rebuffer_ended", "v"),
        audio(5, 40_000, false),
        simple(6, 41_000, "playback.rebuffer_started", "v"),
        simple(7, 43_004, "playback.rebuffer_ended", "v"),
        end(8, 60_000, "v", "user_choice"),
    ];
    let sums = totals(&folded(&events, true), [Measure::RebufferMs, Measure::AttentionRebufferMs]);
    assert_eq!(sums, [4_006, 2_004]);
}

#[test]
fn an_app_session_has_the_stalls_and_failures_that_came_in_it() {
    // The first view stalls and is not heard of again; the second one ends with a business error while it plays.
    let silence = 2_400_000;
    let business = json!({"severity": "fatal", "domain": "business"});
    let events = [
        start(0, 0, "v"),
        simple(1, 100, "playback.first_frame", "v"),
        simple(2, 1_000, "playback.rebuffer_started", "v"),
        simple(3, 3_000, "playback.rebuffer_ended", "v"),
        start(4, silence, "w"),
        simple(5, silence + 100, "playback.first_frame", "w"),
        told(6, silence + 5_000, "playback.error", "w", business.clone()),
    ];
    let sessions = |events: &[Told]| {
        totals(&folded(events, true), [Measure::Sessions, Measure::StalledSessions, Measure::FailedSessions])
    };
    assert_eq!(sessions(&events), [2, 1, 0]);
    // Before the first frame it is a failure to start.
    let unstarted = [start(0, 0, "v"), told(1, 500, "playback.error", "v", business)];
    assert_eq!(sessions(&unstarted), [1, 0, 1]);
}

#[test]
fn a_stall_too_short_to_be_one_is_not_claimed_again_by_the_totals_of_the_end() {
    let ended = json!({"reason": "user_choice", "playing_ms": 9_934, "rebuffer_ms": 66, "rebuffer_count": 1});
    let events = [
        start(0, 0, "v"),
        simple(1, 0, "playback.first_frame", "v"),
        simple(3, 10_000, "playback.rebuffer_started", "v"),
        told(4, 10_066, "playback.view_ended", "v", ended),
    ];
    let sums = totals(&folded(&events, true), [Measure::PlayingMs, Measure::RebufferMs, Measure::RebufferCount]);
    assert_eq!(sums, [10_066, 66, 1], "what the player says of stalls is believed after the gap");
}

#[test]
fn what_the_first_input_after_a_silence_tells_is_not_known_of_the_session_before() {
    let network = |seq, at, to: &str| told(seq, at, "device.network_changed", "", json!({"from": "none", "to": to}));
    let events = [network(0, 0, "wifi"), network(1, 1_800_001, "ethernet")];
    let networks: Vec<_> = folded(&events, true).sessions.iter().map(|fact| fact.dims.network.clone()).collect();
    assert_eq!(networks, ["wifi".into(), "ethernet".into()]);
}

#[test]
fn the_sync_spread_is_that_of_tiles_that_play() {
    let latency = |seq, at, view, latency_ms: i64| {
        told(seq, at, "playback.heartbeat", view, json!({"state": "playing", "latency_ms": latency_ms}))
    };
    let events = [
        start(0, 0, "v"),
        simple(1, 0, "playback.first_frame", "v"),
        start(2, 0, "w"),
        simple(3, 0, "playback.first_frame", "w"),
        latency(4, 1_000, "v", 3_000),
        latency(5, 1_100, "w", 4_500),
        latency(6, 70_000, "v", 3_000),
    ];
    let folded = folded(&events, false);
    let (_, bins) = sorted(&folded.sums);
    let spreads: Vec<_> = bins
        .into_iter()
        .filter(|((_, metric, _), _)| *metric == Metric::SyncSpreadMs)
        .map(|((_, _, bin), count)| (bin, count))
        .collect();
    assert_eq!(spreads, [(super::sketch::bin_of(1_500), 1)], "the last one is older than a minute");
}

/// Any sequence of a session's events with up to three views.
fn any_session() -> impl Strategy<Value = Vec<Told>> {
    let step = (0..14_usize, 0..3_usize, 0..20_000_i64, any::<bool>());
    prop::collection::vec(step, 1..60).prop_map(|steps| {
        let mut at = 0;
        let events = steps.into_iter().zip(0_u32..).map(|((what, view, later, flag), seq)| {
            // Now and then a long pause.
            at += if later > 19_800 { later * 200 } else { later };
            let view = ["a", "b", "c"][view];
            match what {
                0 | 1 => start(seq, at, view),
                2 | 3 => simple(seq, at, "playback.first_frame", view),
                4 => simple(seq, at, "playback.rebuffer_started", view),
                5 => simple(seq, at, "playback.rebuffer_ended", view),
                6 => simple(seq, at, "playback.paused", view),
                7 => simple(seq, at, "playback.resumed", view),
                8 => simple(seq, at, "playback.seek_started", view),
                9 => simple(seq, at, "playback.seek_ended", view),
                10 => beat(seq, at, view, if flag { "playing" } else { "buffering" }),
                11 => end(seq, at, view, if flag { "layout_switch" } else { "completed" }),
                12 => {
                    let severity = if flag { "fatal" } else { "warning" };
                    told(
                        seq,
                        at,
                        "playback.error",
                        view,
                        json!({"code": "x", "severity": severity, "domain": "network"}),
                    )
                }
                _ => told(seq, at, "layout.switched", "", json!({"to_type": if flag { "grid2x2" } else { "focus" }})),
            }
        });
        events.collect()
    })
}

/// Sums in one order, without those that are nothing.
type SortedSums = (BTreeMap<SumKey, Values>, BTreeMap<(SumKey, Metric, i32), i64>);

fn sorted(sums: &Sums) -> SortedSums {
    let rows = sums.cells.iter().filter(|(_, cell)| cell.values.iter().any(|value| *value != 0));
    let bins = sums.cells.iter().flat_map(|(key, cell)| cell.bins.iter().map(move |bin| (key, bin)));
    let bins = bins.filter(|(_, (_, _, count))| *count != 0);
    (
        rows.map(|(key, cell)| (key.clone(), *cell.values)).collect(),
        bins.map(|(key, (metric, bin, count))| ((key.clone(), *metric, *bin), *count)).collect(),
    )
}

/// What folding gave, in one order.
fn result(folded: &Folded) -> (SortedSums, Vec<ViewFact>, usize) {
    let mut views = folded.views.clone();
    views.sort_by(|one, other| one.dims.cmp(&other.dims));
    (sorted(&folded.sums), views, folded.sessions.len())
}

proptest! {
    #[test]
    fn however_inputs_are_dealt_out_the_sums_are_the_same(events in any_session(), cuts in prop::collection::vec(1..10_usize, 1..20)) {
        let whole = folded(&events, true);
        let (key, _) = events[0].input();
        let (mut unit, mut parts) = (Unit::new(&key), Folded::default());
        let (mut rest, mut cuts) = (&events[..], cuts.into_iter().cycle());
        while !rest.is_empty() {
            let (now, later) = rest.split_at(cuts.next().unwrap().min(rest.len()));
            let inputs: Vec<Input> = now.iter().map(|event| event.input().1).collect();
            prop_assert!(unit.continues_with(&inputs));
            unit.fold(&inputs, &mut parts);
            // Also when it was put away in between.
            let last_received = unit.last_received();
            let bytes = units_to_bytes(std::iter::once((&key, &unit)), std::iter::once((&key, &last_received)));
            let (mut units, put_away) = units_from_bytes(&bytes).unwrap();
            prop_assert_eq!(put_away, [(key.clone(), last_received)]);
            unit = units.remove(0).1;
            rest = later;
        }
        unit.close(&mut parts);
        prop_assert_eq!(result(&parts), result(&whole));
    }

    #[test]
    fn invariants_hold_in_every_minute(events in any_session(), is_closed in any::<bool>()) {
        let folded = folded(&events, is_closed);
        let (rows, bins) = sorted(&folded.sums);
        use Measure::{
            AbandonedEarly, Attempts, Ebvs, HealthError, HealthGood, HealthHealthy, HealthUnknown, HealthWarning,
            JoinMs, LeftUnstarted, PlayingMs, RebufferMs, SeekMs, Started, StartupBusiness, StartupFailures,
            StartupValid, ViewsEnded, WatchMs,
        };
        let mut open = 0;
        for values in rows.values() {
            let of = |measure: Measure| values[measure as usize];
            prop_assert_eq!(of(WatchMs), of(JoinMs) + of(PlayingMs) + of(RebufferMs) + of(SeekMs));
            let settled = of(Started) + of(StartupFailures) + of(StartupBusiness) + of(Ebvs) + of(AbandonedEarly)
                + of(LeftUnstarted);
            prop_assert!((0..=of(Attempts)).contains(&settled));
            open += of(Attempts) - settled;
            prop_assert!(of(StartupValid) <= of(Started));
            let bands = of(HealthHealthy) + of(HealthGood) + of(HealthWarning) + of(HealthError) + of(HealthUnknown);
            prop_assert_eq!(bands, of(ViewsEnded));
        }
        if is_closed {
            prop_assert_eq!(open, 0);
            prop_assert_eq!(total(&folded.sums, Attempts), i64::try_from(folded.views.len()).unwrap());
        }
        prop_assert!(bins.values().all(|count| *count > 0));
        // Union, sum, and tiles times union.
        let (union, sum) = (total(&folded.sums, Measure::ViewerMs), total(&folded.sums, PlayingMs));
        prop_assert!(union <= sum && sum <= 3 * union);
        let mut facts: BTreeMap<(&str, u32), i64> = BTreeMap::new();
        for fact in &folded.views {
            *facts.entry((&fact.dims.view_id, fact.dims.part)).or_default() += fact.of(Measure::PlayingMs);
        }
        if is_closed {
            prop_assert_eq!(facts.values().sum::<i64>(), sum);
        }
    }
}
