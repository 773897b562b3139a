use super::super::timeline::{End, MINUTE_MS, Phase, Session, Size, State, Stream, View};
use super::*;
use uuid::Uuid;

const STREAM: Stream = Stream { id: "twitch:one", platform: "twitch", category: "Games", is_live: true };

/// A view with these states, ended at the last instant.
fn view(states: &[(State, Ms)], end: Ms) -> View {
    let ends = states.iter().skip(1).map(|(_, at)| *at).chain([end]);
    View {
        id: Uuid::from_u128(7),
        part: 0,
        stream: STREAM,
        layout: 0,
        slot: 0,
        is_state_only: false,
        tile: Size { width_px: 640, height_px: 360 },
        first_video: None,
        phases: states.iter().zip(ends).map(|((state, from), to)| Phase { state: *state, from: *from, to }).collect(),
        notes: Vec::new(),
        end: End::Said { at: end, reason: "user_choice" },
    }
}

fn truth_of(views: Vec<View>) -> Truth {
    let session = Session { id: Uuid::from_u128(1), layouts: Vec::new(), acts: Vec::new(), views };
    let device = Device {
        install: Uuid::from_u128(2),
        anon: Uuid::from_u128(3),
        is_signed_in: false,
        tongue: Tongue::Native,
        platform: "ios",
        app_version: "1.0",
        os_version: "18.1",
        class: "phone",
        model: "iPhone17,1",
        skew_ms: 0,
        boot: None,
        sessions: vec![session],
        stays_open: false,
    };
    let mut truth = Truth::default();
    truth.add(&device, &BTreeSet::new());
    truth
}

/// A measure of the one stream by minute.
fn by_minute(truth: &Truth, measure: &str) -> Vec<(i64, i64)> {
    let cells = truth.stream.sums.iter().filter(|((_, key), _)| key[0] == STREAM.id);
    cells.filter_map(|((minute, _), sums)| Some(((*minute)?, *sums.get(measure)?))).collect()
}

#[test]
fn time_in_a_state_is_split_at_minutes() {
    let states = [(State::Joining, 59_000), (State::Playing, 61_000), (State::Paused, 130_000)];
    let truth = truth_of(vec![view(&states, 131_000)]);
    assert_eq!(by_minute(&truth, "join_ms"), [(0, 1_000), (1, 1_000)]);
    assert_eq!(by_minute(&truth, "playing_ms"), [(1, 59_000), (2, 10_000)]);
    assert_eq!(by_minute(&truth, "paused_ms"), [(2, 1_000)]);
    assert_eq!(by_minute(&truth, "watch_ms"), [(0, 1_000), (1, 60_000), (2, 10_000)]);
    assert_eq!(by_minute(&truth, "views_at_start"), [(1, 1), (2, 1)]);
}

#[test]
fn a_short_stall_is_playing_and_a_long_one_counts_where_it_begins() {
    let states = [
        (State::Joining, 0),
        (State::Playing, 100),
        (State::Stalled, 1_000),
        (State::Playing, 1_249),
        (State::Stalled, 59_900),
        (State::Playing, 61_000),
    ];
    let truth = truth_of(vec![view(&states, 62_000)]);
    assert_eq!(by_minute(&truth, "rebuffer_count"), [(0, 1)]);
    assert_eq!(by_minute(&truth, "sustained_rebuffers"), [(0, 1)]);
    assert_eq!(by_minute(&truth, "rebuffer_ms"), [(0, 100), (1, 1_000)]);
    assert_eq!(by_minute(&truth, "playing_ms"), [(0, 59_800), (1, 1_000)]);
}

#[test]
fn two_tiles_at_once_are_one_viewer() {
    let one = view(&[(State::Joining, 0), (State::Playing, 1_000)], 10_000);
    let two = View { id: Uuid::from_u128(8), ..view(&[(State::Joining, 1), (State::Playing, 5_000)], 20_000) };
    let truth = truth_of(vec![one, two]);
    let sum = |measure: &str| -> i64 { truth.layout.sums.values().filter_map(|sums| sums.get(measure)).sum() };
    assert_eq!((sum("playing_ms"), sum("viewer_ms"), sum("attempts")), (24_000, 19_000, 2));
    let bands = |band: &str, measure: &str| {
        let key = (Some(0), std::sync::Arc::new(vec![String::new(), band.to_owned()]));
        truth.layout.sums.get(&key).and_then(|sums| sums.get(measure)).copied()
    };
    assert_eq!((bands("1", "viewer_ms"), bands("2", "viewer_ms")), (Some(14_000), Some(5_000)));
    // Tiles are counted when the time is spent: the first one ends beside the second, which ends alone.
    assert_eq!((bands("2", "playing_ms"), bands("1", "playing_ms")), (Some(9_000), Some(15_000)));
    let (start, end) = truth.app_sessions.values().map(|fact| (&fact["viewer_ms"], &fact["tile_ms"])).next().unwrap();
    assert_eq!((start, end), (&json!(19_000), &json!(24_000)));
}

#[test]
fn who_leaves_unstarted_is_counted_once() {
    let waited = |ms| by_minute(&truth_of(vec![view(&[(State::Joining, 0)], ms)]), "ebvs");
    assert_eq!((waited(999), waited(1_000)), (vec![], vec![(0, 1)]));
    let left = View { end: End::Said { at: 5_000, reason: "layout_switch" }, ..view(&[(State::Joining, 0)], 5_000) };
    let sibling = View { id: Uuid::from_u128(8), ..view(&[(State::Joining, 1), (State::Playing, 4_000)], 5_001) };
    assert_eq!(by_minute(&truth_of(vec![left.clone(), sibling]), "left_unstarted"), [(0, 1)]);
    assert_eq!(by_minute(&truth_of(vec![left]), "ebvs"), [(0, 1)]);
}

#[test]
fn a_silent_view_lasts_a_little_longer_for_concurrency_alone() {
    let states = [(State::Joining, 50_000), (State::Playing, 55_000)];
    let silent = View { end: End::Silent, ..view(&states, 55_000) };
    let truth = truth_of(vec![silent]);
    assert_eq!(by_minute(&truth, "views_at_start"), [(1, 1), (2, 1)]);
    assert_eq!(by_minute(&truth, "playing_ms"), []);
    assert!(truth.stream.sums.keys().all(|(minute, _)| *minute < Some(145_000 / MINUTE_MS + 1)));
}

#[test]
fn the_truth_of_a_fleet_keeps_the_invariants() {
    let wish = super::super::plan::Wish { seed: 8, devices: 20, days: 1, wrong_clocks: true, users: true };
    let mut truth = Truth::default();
    for device in &super::super::plan::fleet(&wish) {
        truth.add(device, &BTreeSet::new());
    }
    for grid in [&truth.stream, &truth.release, &truth.layout] {
        for sums in grid.sums.values() {
            let of = |measure: &str| sums.get(measure).copied().unwrap_or_default();
            assert_eq!(of("watch_ms"), of("join_ms") + of("playing_ms") + of("rebuffer_ms") + of("seek_ms"));
            let unstarted = ["startup_failures", "startup_business", "ebvs", "abandoned_early", "left_unstarted"];
            assert_eq!(of("attempts"), of("started") + unstarted.into_iter().map(of).sum::<i64>());
            assert!(of("startup_valid") <= of("started") && of("playback_failures") <= of("attempts"));
            assert!(of("views_with_rebuffer") <= of("rebuffer_capable_views"));
        }
        let total = |measure: &str| -> i64 { grid.sums.values().filter_map(|sums| sums.get(measure)).sum() };
        let counted = |metric: &str| -> i64 {
            grid.values
                .iter()
                .filter(|((.., name), _)| *name == metric)
                .flat_map(|(_, values)| values.iter())
                .map(|(_, n)| n)
                .sum()
        };
        assert_eq!(counted("startup_ms"), total("startup_valid"));
        assert_eq!(counted("rebuffer_ms"), total("rebuffer_count"));
        assert!(total("client_rebuffers") <= total("rebuffer_count"));
        assert_eq!(counted("tile_count"), total("viewer_ms"));
        let viewer_ms = total("viewer_ms");
        assert!(viewer_ms <= total("playing_ms") && (viewer_ms == 0 || total("playing_ms") <= 32 * viewer_ms));
        for measure in ["started", "playing_ms", "rebuffer_count", "seeks"] {
            let facts: i64 = truth.views.values().filter_map(|fact| fact.get(measure)?.as_i64()).sum();
            assert_eq!(facts, total(measure), "{measure}");
        }
    }
    // A fleet of this size has met nearly everything.
    let met = |measure: &str| truth.layout.sums.values().any(|sums| sums.get(measure).is_some_and(|n| *n > 0));
    for measure in ["ebvs", "abandoned_early", "left_unstarted", "startup_failures", "seeks", "client_rebuffers"] {
        assert!(met(measure), "{measure}");
    }
}
