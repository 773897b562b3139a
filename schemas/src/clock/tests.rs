use proptest::prelude::*;

use super::*;

/// 2026-11-23T08:00:00Z.
const T0_MS: i64 = 1_795_420_800_000;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(T0_MS + ms).unwrap()
}

fn stamp(occurred_ms: i64) -> Stamp<'static> {
    Stamp {
        project: "p",
        install_id: Some("i"),
        session_id: Some("s"),
        source: "/s",
        boot_id: None,
        mono_ms: None,
        seq: None,
        occurred_at: at(occurred_ms),
    }
}

fn sent(received_ms: i64, sent_ms: i64) -> Transmission<'static> {
    Transmission {
        received_at: at(received_ms),
        log_time: at(received_ms),
        sent_at: Some(at(sent_ms)),
        sent_mono_ms: None,
        boot_id: None,
    }
}

fn skew(clocks: &mut Clocks, transmission: &Transmission<'_>, occurred_ms: i64) -> i64 {
    clocks.correct(transmission, &[stamp(occurred_ms)])[0].skew_ms
}

#[test]
fn a_fast_clock_is_believed_at_once() {
    let mut clocks = Clocks::default();
    let correction = clocks.correct(&sent(0, 3_600_000), &[stamp(3_599_000)])[0];
    assert_eq!((correction.skew_ms, correction.quality), (-3_600_000, TimeQuality::Offset));
    assert_eq!(correction.corrected_at, at(-1_000));
    assert!(!correction.future_clamped);
}

#[test]
fn a_slow_clock_is_believed_after_three_samples_30_s_apart() {
    let mut clocks = Clocks::default();
    for (n, expected) in [(0, 0), (10, 0), (31, 0), (62, 3_600_100)] {
        let sent_ms = n * 1000;
        assert_eq!(skew(&mut clocks, &sent(sent_ms + 3_600_100, sent_ms), sent_ms), expected, "{n}");
    }
    // A queue replayed at one moment: the samples differ by as much as the sent times, and prove nothing.
    let mut clocks = Clocks::default();
    for n in 0..10 {
        assert_eq!(skew(&mut clocks, &sent(7_200_000, n * 60_000), n * 60_000), 0);
    }
}

#[test]
fn a_stale_sent_time_cannot_spoil_a_minimum() {
    let mut clocks = Clocks::default();
    assert_eq!(skew(&mut clocks, &sent(50, 0), 0), 0);
    for hours in 1..5 {
        assert_eq!(skew(&mut clocks, &sent(hours * 3_600_000, 0), 0), 0);
    }
}

#[test]
fn without_a_sent_time_only_a_fast_clock_is_proved() {
    let stand_in = |received_ms| Transmission { sent_at: None, ..sent(received_ms, 0) };
    let mut clocks = Clocks::default();
    assert_eq!(skew(&mut clocks, &stand_in(86_400_000), 0), 0);
    assert_eq!(skew(&mut clocks, &stand_in(0), 60_000), -60_000);
}

#[test]
fn a_future_stamp_is_held_at_its_arrival() {
    // No sent time and the newest event an honest one: the future stamp proves nothing about the clock of the others.
    let mut clocks = Clocks::default();
    let transmission = Transmission { sent_at: Some(at(0)), ..sent(0, 0) };
    let correction = clocks.correct(&transmission, &[stamp(301_000)])[0];
    assert_eq!(correction.corrected_at, at(0));
    assert!(correction.future_clamped);
    assert!(!clocks.correct(&transmission, &[stamp(299_000)])[0].future_clamped);
}

#[test]
fn a_new_day_inherits_the_offset_in_use_and_a_step_back_ends_it() {
    let day = 86_400_000;
    let mut clocks = Clocks::default();
    assert_eq!(skew(&mut clocks, &sent(0, 60_000), 60_000), -60_000);
    // The next day's first upload was delayed by an hour: no sample of its own says otherwise yet.
    let delayed = sent(day + 3_600_000, day + 60_000);
    assert_eq!(skew(&mut clocks, &delayed, day + 60_000), -60_000);

    let mut clocks = Clocks::default();
    let numbered = |seq, occurred_ms| Stamp { seq: Some(seq), ..stamp(occurred_ms) };
    clocks.correct(&sent(0, 60_000), &[numbered(1, 60_000)]);
    let corrections = clocks.correct(&sent(5_000, 5_000), &[numbered(2, 64_000), numbered(3, 4_000)]);
    assert_eq!(corrections.iter().map(|correction| correction.skew_ms).collect::<Vec<_>>(), [-60_000, 0]);
}

#[test]
fn monotonic_time_is_immune_to_the_user_setting_the_clock() {
    let mut clocks = Clocks::default();
    let transmission = |received_ms: i64, mono_ms: u64, wall_ms: i64| Transmission {
        received_at: at(received_ms),
        log_time: at(received_ms),
        sent_at: Some(at(wall_ms)),
        sent_mono_ms: Some(mono_ms),
        boot_id: Some("b"),
    };
    let event = |mono_ms, wall_ms| Stamp { boot_id: Some("b"), mono_ms: Some(mono_ms), ..stamp(wall_ms) };
    // The wall clock is right at first, then set ahead by a day.
    let corrections =
        clocks.correct(&transmission(10_000, 10_000, 86_410_000), &[event(1_000, 1_000), event(9_000, 86_409_000)]);
    assert_eq!(
        corrections[0],
        Correction { corrected_at: at(1_000), skew_ms: 0, quality: TimeQuality::Device, future_clamped: false }
    );
    assert_eq!(
        corrections[1],
        Correction { corrected_at: at(9_000), skew_ms: -86_400_000, quality: TimeQuality::Mono, future_clamped: false }
    );
}

#[test]
fn forgotten_after_48_h_of_log_time_with_or_without_sweeping() {
    let hour = 3_600_000;
    let run = |sweep: bool| {
        let mut clocks = Clocks::default();
        skew(&mut clocks, &sent(0, 60_000), 60_000);
        let later = sent(49 * hour, 49 * hour - 5_000);
        if sweep {
            // Another device's upload moves log time on and frees this one's state.
            clocks.correct(&later, &[Stamp { install_id: Some("other"), ..stamp(49 * hour) }]);
            assert_eq!(clocks.len(), 1);
        }
        skew(&mut clocks, &later, 49 * hour - 6_000)
    };
    assert_eq!((run(false), run(true)), (0, 0));
}

#[test]
fn state_survives_its_bytes() {
    let mut clocks = Clocks::default();
    skew(&mut clocks, &sent(0, 60_000), 60_000);
    assert_eq!(Clocks::from_bytes(&clocks.to_bytes()), Some(clocks));
    assert_eq!(Clocks::from_bytes(b"nonsense"), None);
}

proptest! {
    /// The first clock rule: an honest clock within a second and delays below a second move nothing, in any order.
    #[test]
    fn honest_clocks_are_never_moved(
        skew_ms in -1_000_i64..=1_000,
        uploads in prop::collection::vec((0_i64..200_000_000, 0_i64..1_000), 1..40),
    ) {
        let mut clocks = Clocks::default();
        for (true_ms, delay_ms) in uploads {
            let device_ms = true_ms + skew_ms;
            let correction = clocks.correct(&sent(true_ms + delay_ms, device_ms), &[stamp(device_ms - 500)])[0];
            prop_assert_eq!(correction.skew_ms, 0);
        }
    }

    /// Otherwise delays move it by at most the smallest delay seen so far (on that day of the device) and 2 s.
    #[test]
    fn delays_move_a_wrong_clock_by_at_most_the_smallest_seen_and_2_s(
        skew_ms in prop_oneof![-90_000_000_i64..-2_000, 2_000_i64..90_000_000],
        uploads in prop::collection::vec((0_i64..80_000_000, 0_i64..100_000), 1..40),
    ) {
        let mut clocks = Clocks::default();
        let mut smallest_by_day = HashMap::new();
        for (true_ms, delay_ms) in uploads {
            let device_ms = true_ms - skew_ms;
            let smallest_ms = smallest_by_day.entry(at(device_ms).utc_day()).or_insert(delay_ms);
            *smallest_ms = delay_ms.min(*smallest_ms);
            let mut transmission = sent(true_ms + delay_ms, device_ms);
            transmission.log_time = at(0);
            let used_ms = clocks.correct(&transmission, &[stamp(device_ms)])[0].skew_ms;
            // Not believed yet, or off from the truth by a delay, which only ever adds.
            let bound = skew_ms..=skew_ms + *smallest_ms + 2_000;
            prop_assert!(used_ms == 0 || bound.contains(&used_ms), "{used_ms} for {skew_ms}");
        }
    }

    #[test]
    fn order_within_one_upload_is_kept(offsets in prop::collection::vec(0_i64..50_000, 2..20), skew_ms in -100_000_i64..100_000) {
        let mut sorted = offsets;
        sorted.sort_unstable();
        let mut clocks = Clocks::default();
        let stamps: Vec<_> = sorted.iter().map(|ms| stamp(ms + skew_ms)).collect();
        let corrections = clocks.correct(&sent(60_000, 55_000 + skew_ms), &stamps);
        prop_assert!(corrections.windows(2).all(|pair| pair[0].corrected_at <= pair[1].corrected_at));
    }
}

#[test]
fn a_stamp_of_another_century_moves_no_other_event() {
    let mut clocks = Clocks::default();
    let stand_in = Transmission { sent_at: None, ..sent(0, 0) };
    let century = Stamp { occurred_at: Timestamp::MAX, ..stamp(0) };
    let other_device = Stamp { install_id: Some("j"), ..stamp(-500) };
    let corrections = clocks.correct(&stand_in, &[stamp(-1_000), century, other_device]);
    assert_eq!((corrections[0].skew_ms, corrections[2].skew_ms), (0, 0));
    assert!(corrections[1].corrected_at <= at(0));
    assert_eq!(skew(&mut clocks, &sent(60_000, 60_000), 59_000), 0);
}

#[test]
fn sessions_of_one_boot_have_numbers_of_their_own() {
    let mut clocks = Clocks::default();
    let of = |session, seq, occurred_ms| Stamp {
        session_id: Some(session),
        boot_id: Some("b"),
        seq: Some(seq),
        ..stamp(occurred_ms)
    };
    let boot = Transmission { boot_id: Some("b"), ..sent(0, 3_600_000) };
    assert_eq!(clocks.correct(&boot, &[of("new", 0, 3_590_000)])[0].skew_ms, -3_600_000);
    // An older session is uploaded later, with higher numbers and earlier times: no step back, the offset stays.
    let boot = Transmission { boot_id: Some("b"), ..sent(1_000, 3_601_000) };
    assert_eq!(clocks.correct(&boot, &[of("old", 900, 3_000_000)])[0].skew_ms, -3_600_000);
}

#[test]
fn a_monotonic_clock_needs_its_boot_and_a_sane_value() {
    let mut clocks = Clocks::default();
    for sent_mono_ms in [u64::MAX, i64::MAX.unsigned_abs(), 0, 1 << 53] {
        let mono = Transmission { sent_mono_ms: Some(sent_mono_ms), boot_id: Some("b"), ..sent(0, 0) };
        let stamps = [Stamp { boot_id: Some("b"), mono_ms: Some(u64::MAX), ..stamp(-5) }];
        assert_eq!(clocks.correct(&mono, &stamps)[0].quality, TimeQuality::Device);
    }
    let mut clocks = Clocks::default();
    let mono = Transmission { sent_mono_ms: Some(9_000_000), ..sent(0, 0) };
    clocks.correct(&mono, &[Stamp { mono_ms: Some(8_999_000), ..stamp(-1_000) }]);
    // After a restart of the device its clock begins at zero again, and nobody says so.
    let mono = Transmission { sent_mono_ms: Some(2_000), ..sent(60_000, 60_000) };
    let correction = clocks.correct(&mono, &[Stamp { mono_ms: Some(1_000), ..stamp(59_000) }])[0];
    assert_eq!((correction.skew_ms, correction.quality), (0, TimeQuality::Device));
}

#[test]
fn made_up_sessions_do_not_grow_the_state_without_bound() {
    let mut clocks = Clocks::default();
    let sources: Vec<String> = (0..CHAINS_MAX + 10_000).map(|n| format!("/{n}")).collect();
    for (n, sources) in (0..).zip(sources.chunks(1000)) {
        let of_source = |source| Stamp { source, install_id: None, session_id: None, ..stamp(0) };
        let stamps: Vec<_> = sources.iter().map(|source| of_source(source)).collect();
        clocks.correct(&sent(n * 1000, n * 1000), &stamps);
        assert!(clocks.len() <= CHAINS_MAX);
    }
    assert_eq!(Clocks::from_bytes(&clocks.to_bytes()).as_ref(), Some(&clocks));
}
