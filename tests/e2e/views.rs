//! Views and sessions through the whole product: numbers from uploads, late events, restarts.

use chrono::{DateTime, TimeDelta, Utc};
use rig::device::with;
use rig::{Device, Server};
use serde_json::{Value, json};

use crate::fixtures::replay;
use crate::{numbers, start};

/// When the tests of this file happen.
pub(crate) fn base() -> DateTime<Utc> {
    DateTime::parse_from_rfc3339("2026-03-02T10:00:00Z").unwrap().to_utc()
}

/// Uploads as of an instant of the test clock.
pub(crate) async fn upload_at(server: &Server, events: &[Value], received_at: DateTime<Utc>) {
    let stamp = received_at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    let request = server
        .request("POST", &format!("/v1/events?key={}", server.upload_key))
        .header("content-type", "application/cloudevents-batch+json")
        .header("streamgauge-test-received-at", &stamp)
        .header("streamgauge-sent-at", &stamp)
        .body(serde_json::to_vec(events).unwrap());
    assert_eq!(rig::server::send(request).await.unwrap().status, 202);
}

/// Lets log time pass in every partition, by uploads of installs that do nothing else.
async fn pass_time(server: &Server, received_at: DateTime<Utc>) {
    let events: Vec<Value> = (0..64).map(|_| Device::new().event("settings.changed", received_at, json!({}))).collect();
    upload_at(server, &events, received_at).await;
    server.settle().await;
}

/// A session with two views: one with a stall, a seek and an error; one that is left before it starts.
pub(crate) fn session(device: &mut Device, begin: DateTime<Utc>) -> Vec<Value> {
    let at = |ms: i64| begin + TimeDelta::milliseconds(ms);
    let (one, other) = (format!("view-{}-1", device.session), format!("view-{}-2", device.session));
    let stream = json!({"stream_id": "twitch:chess", "category": "chess", "tile_width_px": 640, "tile_height_px": 360});
    let mut events = vec![
        device.event("session.started", at(0), json!({})),
        device.event(
            "device.context",
            at(1),
            json!({"os_version": "18.1", "device_class": "phone", "network": "wifi"}),
        ),
        device.event("layout.created", at(2), json!({"layout_type": "grid2x2", "slots": 4})),
        device.view_event(&one, "playback.view_started", at(100), stream),
        device.view_event(&one, "playback.first_frame", at(900), json!({"bitrate_kbps": 2000})),
        device.view_event(&other, "playback.view_started", at(1_000), json!({"stream_id": "kick:x"})),
        device.view_event(&one, "playback.rebuffer_started", at(20_000), json!({})),
        device.view_event(&one, "playback.rebuffer_ended", at(22_000), json!({"ended_by": "resumed"})),
        device.view_event(&other, "playback.view_ended", at(30_000), json!({"reason": "user_choice"})),
        device.view_event(&one, "playback.seek_started", at(59_500), json!({})),
        device.view_event(&one, "playback.seek_ended", at(60_500), json!({})),
    ];
    for n in 1..=12 {
        events.push(device.view_event(
            &one,
            "playback.heartbeat",
            at(60_500 + n * 10_000),
            json!({"state": "playing", "period_ms": 10_000, "bitrate_kbps": 2000, "latency_ms": 2_000 + n}),
        ));
    }
    let error = json!({"code": "E7", "severity": "fatal", "domain": "network"});
    events.push(device.view_event(&one, "playback.error", at(200_000), error));
    events
}

#[tokio::test]
async fn a_session_becomes_facts_slices_and_rollups() {
    let server = start().test_clock().start().await.unwrap();
    let mut device = Device::new();
    let mut events = session(&mut device, base());
    events.push(device.event("session.ended", base() + TimeDelta::seconds(201), json!({"reason": "user_exit"})));
    for chunk in events.chunks(7) {
        upload_at(&server, chunk, base() + TimeDelta::seconds(202)).await;
    }
    server.settle().await;

    let views = server.sql("SELECT * FROM views ORDER BY started_at").await;
    let [one, other] = &views[..] else { panic!("two views: {views:?}") };
    assert_eq!((&one["outcome"], &other["outcome"]), (&json!("playback_failure"), &json!("ebvs")));
    assert_eq!((&one["startup_ms"], &other["startup_ms"]), (&json!(800), &Value::Null));
    assert_eq!((&one["join_ms"], &one["rebuffer_ms"], &one["seek_ms"]), (&json!(800), &json!(2_000), &json!(1_000)));
    assert_eq!((&one["playing_ms"], &one["watch_ms"]), (&json!(196_100), &json!(199_900)));
    assert_eq!(
        (&one["layout_type"], &one["os_major"], &one["category"]),
        (&json!("grid2x2"), &json!("18"), &json!("chess"))
    );
    assert_eq!(
        (&one["health_score"], &one["health"], &other["health_score"]),
        (&json!(0.0), &json!("error"), &json!(50.0))
    );
    assert_eq!(one["avg_bitrate_kbps"], json!(2000.0));

    let sessions = server.sql("SELECT * FROM app_sessions").await;
    let [session] = &sessions[..] else { panic!("one session: {sessions:?}") };
    assert_eq!((&session["duration_ms"], &session["exit_reason"]), (&json!(201_000), &json!("user_exit")));
    assert_eq!(
        (&session["viewer_ms"], &session["tile_ms"], &session["views"]),
        (&json!(196_100), &json!(196_100), &json!(2))
    );

    // Minutes, hours, days and slices agree.
    for sums in [
        "SELECT sum(attempts) AS a, sum(playing_ms) AS p, sum(rebuffer_count) AS r FROM rollup_stream_minute",
        "SELECT sum(attempts) AS a, sum(playing_ms) AS p, sum(rebuffer_count) AS r FROM rollup_stream_day",
        "SELECT sum(attempts) AS a, sum(playing_ms) AS p, sum(rebuffer_count) AS r FROM rollup_release_hour",
        "SELECT sum(attempts) AS a, sum(playing_ms) AS p, sum(rebuffer_count) AS r FROM rollup_layout_minute",
        "SELECT sum(attempts) AS a, sum(playing_ms) AS p, sum(rebuffer_count) AS r FROM slices",
    ] {
        assert_eq!(server.sql(sums).await, [json!({"a": 2, "p": 196_100, "r": 1})], "{sums}");
    }
    assert_eq!(
        server.sql("SELECT code, domain, severity, errors FROM rollup_error_day").await,
        [json!({"code": "E7", "domain": "network", "severity": "fatal", "errors": 1})]
    );
    assert_eq!(server.number("SELECT sum(n) FROM rollup_stream_bins_day WHERE metric = 'startup_ms'").await, 1);
    assert_eq!(server.number("SELECT sum(viewer_ms) FROM slices WHERE view_id IS NULL").await, 196_100);
}

#[tokio::test]
async fn a_view_is_told_from_its_first_input_to_its_last() {
    let server = start().test_clock().start().await.unwrap();
    let mut device = Device::new();
    let events = session(&mut device, base());
    // An event that lacks the sender's order is in no view, and hides none.
    let stray = json!({"specversion": "1.0", "id": "stray", "source": "/stray", "type": "playback.paused",
                       "viewid": format!("view-{}-1", device.session), "data": {}});
    upload_at(&server, &[stray], base()).await;
    // Without the error, the view is still open.
    upload_at(&server, &events[..events.len() - 1], base() + TimeDelta::minutes(4)).await;
    server.settle().await;
    let view = format!("view-{}-1", device.session);
    let answer = server.get(&format!("/v1/views/{view}")).await.json();
    let data = &answer["data"];
    assert_eq!((&data["open"], &data["parts"][0]["playing_ms"]), (&json!(true), &json!(176_600)), "{answer}");
    let timeline = data["timeline"].as_array().unwrap();
    let states: Vec<_> = timeline.iter().take(6).map(|step| step["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["joining", "playing", "rebuffering", "playing", "seeking", "playing"]);
    assert_eq!((timeline.len(), &timeline[1]["contributions"]["join_ms"]), (18, &json!(800)));

    upload_at(&server, &events[events.len() - 1..], base() + TimeDelta::minutes(4)).await;
    server.settle().await;
    let closed = server.get(&format!("/v1/views/{view}")).await.json();
    let fact = server.sql("SELECT * FROM views WHERE exit_reason = 'error'").await.remove(0);
    assert_eq!(closed["data"]["open"], json!(false));
    assert_told_as(&closed, &fact);
    assert_eq!(server.get("/v1/views/nobody-knows-it").await.status, 404);
}

/// The newest part of a view is told as the table `views` has it.
fn assert_told_as(answer: &Value, fact: &Value) {
    for (name, value) in answer["data"]["parts"][0].as_object().unwrap() {
        let time = |value: &Value| value.as_str().and_then(|text| DateTime::parse_from_rfc3339(text).ok());
        assert!(value == &fact[name] || (time(value).is_some() && time(value) == time(&fact[name])), "{name}");
    }
}

#[tokio::test]
async fn a_view_that_outlives_its_session_is_told_as_its_fact() {
    let server = start().test_clock().start().await.unwrap();
    let mut device = Device::new();
    let view = format!("view-{}", device.session);
    let at = |ms| base() + TimeDelta::milliseconds(ms);
    // The session ends within a stall that is still too short to be one.
    let mut events = vec![
        device.view_event(&view, "playback.view_started", at(0), json!({"stream_id": "twitch:outlives"})),
        device.view_event(&view, "playback.first_frame", at(1_000), json!({})),
        device.view_event(&view, "playback.rebuffer_started", at(10_000), json!({})),
        device.event("session.ended", at(10_200), json!({"reason": "background"})),
    ];
    upload_at(&server, &events, at(10_250)).await;
    events = vec![
        device.view_event(&view, "playback.rebuffer_ended", at(10_300), json!({})),
        device.view_event(&view, "playback.view_ended", at(12_000), json!({"reason": "removed"})),
    ];
    upload_at(&server, &events, at(12_000)).await;
    server.settle().await;
    let fact = server.sql("SELECT * FROM views").await.remove(0);
    assert_eq!((&fact["rebuffer_count"], &fact["rebuffer_ms"]), (&json!(1), &json!(300)));
    assert_told_as(&server.get(&format!("/v1/views/{view}")).await.json(), &fact);
}

#[tokio::test]
async fn late_events_and_restarts_give_the_numbers_of_a_single_run() {
    let mut devices: Vec<Device> = (0..12).map(|_| Device::new()).collect();
    let sessions: Vec<Vec<Value>> =
        (0_i64..).zip(&mut devices).map(|(n, device)| session(device, base() + TimeDelta::seconds(17 * n))).collect();
    let all: Vec<Value> = sessions.concat();
    let arrival = base() + TimeDelta::minutes(10);
    let close = base() + TimeDelta::hours(3);

    let once = start().test_clock().start().await.unwrap();
    upload_at(&once, &all, arrival).await;
    pass_time(&once, close).await;
    let expected = sums(&once).await;

    // Every third event comes late: half of these while the sessions are open, half after they were closed.
    let mut server = start().test_clock().start().await.unwrap();
    let (early, late): (Vec<_>, Vec<_>) = all.iter().cloned().enumerate().partition(|(n, _)| n % 3 != 1);
    let of = |events: &[(usize, Value)]| events.iter().map(|(_, event)| event.clone()).collect::<Vec<_>>();
    let (early, late) = (of(&early), of(&late));
    for chunk in early.chunks(29) {
        upload_at(&server, chunk, arrival).await;
        server.settle().await;
    }
    server = server.crash_and_restart().await;
    let (open, closed) = late.split_at(late.len() / 2);
    for chunk in open.chunks(23) {
        upload_at(&server, chunk, arrival).await;
        server.settle().await;
    }
    let (_, stopped) = server.stop().await;
    server = stopped.start().await.unwrap();
    pass_time(&server, close).await;
    upload_at(&server, &[closed, &early].concat(), close).await;
    server.settle().await;
    assert!(server.number("SELECT max(revision) FROM views").await > 0, "facts were replaced");
    pass_time(&server, close + TimeDelta::hours(2)).await;
    assert_eq!(sums(&server).await, expected);
    duckdb_reads_the_same(&server).await;
    // And again from the files alone.
    let server = server.crash_and_restart().await;
    assert_eq!(sums(&server).await, expected);
}

/// A reader that shares no code with us sees the same facts, replaced ones among them, and the same sums.
pub(crate) async fn duckdb_reads_the_same(server: &Server) {
    let Some(seen) = crate::clients::through_duckdb(server, None).await else { return };
    for (table, columns) in [
        ("views", &[("playing_ms", "playing_ms"), ("rebuffer_ms", "rebuffer_ms"), ("revisions", "revision")][..]),
        (
            "slices",
            &[
                ("attempts", "attempts"),
                ("playing_ms", "playing_ms"),
                ("viewer_ms", "viewer_ms"),
                ("any_stall_ms", "any_stall_ms"),
            ],
        ),
        ("app_sessions", &[("duration_ms", "duration_ms"), ("viewer_ms", "viewer_ms")]),
    ] {
        assert_eq!(seen["tables"][table], server.number(&format!("SELECT count(*) FROM {table}")).await, "{table}");
        for (name, column) in columns {
            let ours = server.number(&format!("SELECT coalesce(sum({column}), 0) FROM {table}")).await;
            assert_eq!(seen[table][name], ours, "{table}.{name}");
        }
    }
}

/// Facts without ids of chance and revisions, and sums that do not depend on when something arrived.
async fn sums(server: &Server) -> Vec<Vec<Value>> {
    let mut all = Vec::new();
    for sql in [
        "SELECT * FROM views ORDER BY view_id, part",
        "SELECT * FROM app_sessions WHERE views > 0 ORDER BY session_id, part",
        "SELECT * FROM rollup_stream_minute ORDER BY bucket_start, stream_id",
        "SELECT * FROM rollup_stream_bins_day ORDER BY bucket_start, stream_id, metric, bin",
        "SELECT * FROM rollup_release_minute WHERE os_major <> '' ORDER BY bucket_start, app_version, os_major",
        "SELECT * FROM rollup_layout_minute WHERE layout_type <> '' ORDER BY bucket_start, layout_type, tile_band",
        "SELECT view_id, session_id, bucket_start, sum(attempts) AS a, sum(playing_ms) AS p, sum(viewer_ms) AS v, \
         sum(ebvs) AS e, sum(views_at_start) AS s FROM slices WHERE os_major IS NOT NULL GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
    ] {
        let mut rows = server.sql(sql).await;
        assert!(!rows.is_empty(), "{sql}");
        for row in rows.iter_mut().filter_map(Value::as_object_mut) {
            row.remove("revision");
        }
        all.push(rows);
    }
    all
}

#[tokio::test]
async fn a_very_late_event_changes_its_own_buckets_only() {
    let server = start().test_clock().start().await.unwrap();
    let mut device = Device::new();
    let view = "late-view";
    let started = device.view_event(view, "playback.view_started", base(), json!({"stream_id": "twitch:a"}));
    let played = device.view_event(view, "playback.first_frame", base() + TimeDelta::seconds(1), json!({}));
    let ended =
        device.view_event(view, "playback.view_ended", base() + TimeDelta::seconds(11), json!({"reason": "completed"}));
    upload_at(&server, &[started, played], base() + TimeDelta::seconds(12)).await;
    let mut other = Device::new();
    let events = session(&mut other, base() + TimeDelta::days(1));
    upload_at(&server, &events, base() + TimeDelta::days(1) + TimeDelta::minutes(5)).await;
    pass_time(&server, base() + TimeDelta::days(1) + TimeDelta::hours(3)).await;
    let days = "SELECT * FROM rollup_stream_day ORDER BY bucket_start, stream_id";
    let before = server.sql(days).await;
    assert_eq!((&before[0]["playing_ms"], &before[0]["views_ended"]), (&json!(0), &json!(1)), "it timed out");
    assert_eq!(
        server.sql("SELECT exit_reason, revision FROM views WHERE view_id = 'late-view'").await,
        [json!({"exit_reason": "timeout", "revision": 0})]
    );

    let commit = server.get("/v1/stats/usage").await.header("streamgauge-commit").to_owned();
    let of_day =
        |day: u8| format!("/v1/rollups/stream?grain=minute&from=2026-03-0{day}T00:00:00Z&to=2026-03-0{day}T23:00:00Z");
    let (late_day, other_day) = (server.get(&of_day(2)).await, server.get(&of_day(3)).await);
    upload_at(&server, &[ended], base() + TimeDelta::days(40)).await;
    server.settle().await;
    let changes = server.get(&format!("/v1/rollups/changes?since={commit}&rollup=stream&grain=day")).await.json();
    let changed: Vec<_> = changes["data"].as_array().unwrap().iter().map(|change| &change["bucket_start"]).collect();
    assert_eq!(changed, [&json!("2026-03-02T00:00:00.000Z")], "{changes}");
    // Page by page it is the same list.
    let all = server.get("/v1/rollups/changes?since=0&limit=50000").await.json();
    let (mut pages, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = server.get(&format!("/v1/rollups/changes?since=0&limit=3{cursor}")).await.json();
        pages.extend(page["data"].as_array().unwrap().iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert!(pages.len() > 30 && all["data"] == json!(pages), "{} of {}", pages.len(), all["data"]);
    // Tags of buckets that changed are others, tags of the rest are the same.
    assert_ne!(server.get(&of_day(2)).await.header("etag"), late_day.header("etag"));
    assert_eq!(server.get(&of_day(3)).await.header("etag"), other_day.header("etag"));
    let again = server.request("GET", &of_day(3)).bearer_auth(&server.read_token);
    let again = rig::server::send(again.header("if-none-match", other_day.header("etag"))).await.unwrap();
    assert_eq!((again.status, again.text().len()), (304, 0));
    let newest = &changes["meta"]["commit"];
    let nothing = server.get(&format!("/v1/rollups/changes?since={newest}")).await.json();
    assert_eq!(nothing["data"], json!([]));
    assert_eq!(server.get("/v1/rollups/changes").await.status, 400);
    assert_eq!(server.metric("streamgauge_refolded_sessions_total").await, Some(1.0));
    let after = server.sql(days).await;
    assert_eq!((&after[0]["playing_ms"], &after[0]["views_ended"]), (&json!(10_000), &json!(1)));
    assert_eq!(after[1..], before[1..]);
    assert_eq!(
        server.sql("SELECT exit_reason, playing_ms, revision FROM views WHERE view_id = 'late-view'").await,
        [json!({"exit_reason": "completed", "playing_ms": 10_000, "revision": 1})]
    );
}

#[tokio::test]
async fn the_common_media_library_folds_to_its_totals() {
    let server = start().test_clock().start().await.unwrap();
    replay(&server, "cml-cmcd-2.7.0.json").await;
    let views = server.sql("SELECT * FROM views").await;
    let [view] = &views[..] else { panic!("one view: {views:?}") };
    assert_eq!((&view["startup_ms"], &view["reported_startup_ms"]), (&json!(346), &json!(812)));
    assert_eq!(
        (&view["playing_ms"], &view["watch_ms"], &view["rebuffer_count"]),
        (&json!(2_504), &json!(2_850), &json!(0))
    );
    assert_eq!(
        (&view["exit_reason"], &view["outcome"], &view["errors_warning"]),
        (&json!("user_choice"), &json!("played"), &json!(1))
    );
    assert_eq!(
        server.sql("SELECT code, errors FROM rollup_error_day").await,
        [json!({"code": "HLS_404", "errors": 1})]
    );
}

#[tokio::test]
async fn hls_js_folds_to_its_totals() {
    let server = start().test_clock().start().await.unwrap();
    replay(&server, "hls-js-1.7.4.json").await;
    let newest = server.sql("SELECT max(received_at) AS at FROM events").await[0]["at"].as_str().unwrap().to_owned();
    pass_time(&server, DateTime::parse_from_rfc3339(&newest).unwrap().to_utc() + TimeDelta::hours(2)).await;
    let rows = server
        .sql(
            "SELECT stream_id, startup_ms, playing_ms, seek_ms, paused_ms, watch_ms, rebuffer_count, exit_reason \
             FROM views ORDER BY stream_id",
        )
        .await;
    let row = |stream: &str, startup: i64, playing: i64, seek: i64, paused: i64, watch: i64| {
        json!({"stream_id": stream, "startup_ms": startup, "playing_ms": playing, "seek_ms": seek, "paused_ms": paused,
               "watch_ms": watch, "rebuffer_count": 0, "exit_reason": "timeout"})
    };
    assert_eq!(
        rows,
        [row("twitch:chan0", 432, 11_550, 16, 0, 11_998), row("twitch:chan1", 482, 5_521, 0, 5_996, 6_003)]
    );
}

#[tokio::test]
async fn facts_and_sums_are_the_same_after_a_crash() {
    let server = start().start().await.unwrap();
    let begin = Utc::now() - TimeDelta::minutes(10);
    for n in 0..40 {
        let mut device = Device::new();
        let events = session(&mut device, begin + TimeDelta::seconds(n));
        let events: Vec<Value> =
            events.into_iter().map(|event| with(event, "appversion", format!("1.{}", n % 3))).collect();
        assert_eq!(server.upload(&events).await.status, 202);
        server.settle().await;
    }
    let before = numbers(&server).await;
    assert_eq!(server.number("SELECT count(*) FROM views").await, 80);
    let server = server.crash_and_restart().await;
    assert_eq!(numbers(&server).await, before);
}
