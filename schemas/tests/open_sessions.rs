//! What a session under way takes in memory. A binary of its own: nothing else allocates meanwhile.

use std::collections::HashMap;

use schemas::Timestamp;
use schemas::event::Format;
use schemas::fold::{Folded, Input, Order, Stored, Unit, UnitKey};

/// Sessions that are under way at once.
const SESSIONS: usize = 5_000;
/// 2026-03-02T10:00:00Z.
const BASE_MS: i64 = 1_772_445_600_000;

fn key(session: usize) -> UnitKey {
    UnitKey {
        project: "default".into(),
        order: Order::Session,
        install_id: format!("00000000-0000-4000-8000-{session:012}").into(),
        session_id: format!("00000000-0000-4000-9000-{session:012}").into(),
    }
}

/// The events of a session: what the app tells of itself, and tiles that play for five minutes.
fn inputs(session: usize, tiles: usize) -> Vec<Input> {
    let UnitKey { install_id, session_id, .. } = key(session);
    let views: Vec<String> = (0..tiles).map(|tile| format!("00000000-0000-4000-a000-{session:08}{tile:04}")).collect();
    let mut told: Vec<(i64, &str, Option<usize>, String)> = vec![
        (0, "session.started", None, "{}".to_owned()),
        (3, "device.context", None, r#"{"os_version":"18.1","device_class":"phone","network":"wifi"}"#.to_owned()),
        (90, "layout.created", None, r#"{"layout_type":"grid2x2","slots":4}"#.to_owned()),
    ];
    for tile in 0..tiles {
        told.push((
            100,
            "playback.view_started",
            Some(tile),
            format!(r#"{{"category":"Games","tile_width_px":{}}}"#, 640),
        ));
        told.push((900, "playback.first_frame", Some(tile), r#"{"startup_ms":800,"bitrate_kbps":2300}"#.to_owned()));
        for beat in 1..=10 {
            let data = format!(
                r#"{{"period_ms":30000,"state":"playing","latency_ms":{},"bitrate_kbps":2300,"playing_ms":{}}}"#,
                3_000 + 10 * beat,
                30_000 * beat
            );
            told.push((30_000 * beat, "playback.heartbeat", Some(tile), data));
        }
    }
    told.sort_by_key(|(at, ..)| *at);
    let inputs = told.iter().enumerate().filter_map(|(seq, (at, kind, tile, data))| {
        let at = Timestamp::from_millis(BASE_MS + at)?;
        let (_, input) = Input::of(&Stored {
            project: "default",
            format: Format::Native,
            kind,
            seq: u32::try_from(seq).ok(),
            boot_id: None,
            mono_ms: None,
            occurred_at: at,
            corrected_at: at,
            received_at: at,
            install_id: Some(&install_id),
            session_id: Some(&session_id),
            view_id: tile.map(|tile| &*views[tile]),
            layout_id: tile.map(|_| "00000000-0000-4000-b000-000000000000"),
            person_id: Some("anon:00000000-0000-4000-c000-000000000000"),
            stream_id: tile.map(|_| "twitch:speedrun"),
            stream_platform: tile.map(|_| "twitch"),
            device_platform: Some("ios"),
            app_version: Some("2.4.1"),
            data,
            fields: &[],
            address: (session as u64, 0),
        })?;
        Some(input)
    });
    inputs.collect()
}

/// Resident memory of this process, bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

/// Figures of `docs/views.md`.
#[test]
#[cfg(target_os = "linux")]
fn a_session_under_way_stays_within_its_budget() {
    let before = resident();
    let put_away: HashMap<UnitKey, Timestamp> = (0..100_000).map(|session| (key(session), Timestamp::MIN)).collect();
    let each = resident().saturating_sub(before) / put_away.len();
    println!("put away: {each} bytes");
    assert!(each <= 350, "{each} bytes for one that is put away");

    let mut all = Vec::new();
    for (tiles, most) in [(1, 7_500), (4, 16_000), (16, 50_000)] {
        let before = resident();
        let mut units: HashMap<UnitKey, Unit> = HashMap::new();
        for session in 0..SESSIONS {
            let mut unit = Unit::new(&key(session));
            unit.fold(&inputs(session, tiles), &mut Folded::default());
            units.insert(key(session), unit);
        }
        let each = resident().saturating_sub(before) / SESSIONS;
        println!("{tiles} tiles: {each} bytes");
        assert!(each <= most, "{each} bytes for a session of {tiles} tiles");
        all.push(units);
    }
}
