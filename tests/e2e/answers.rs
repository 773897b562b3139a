//! What is answered from views and sessions: watch times, reports, top streams, ratios, percentiles, health.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use rig::{Device, Server};
use serde_json::{Value, json};

use crate::start;
use crate::views::{base, session, upload_at};

/// A server with one session of two views: see `session`.
async fn with_a_session(device: &mut Device) -> Server {
    let server = start().test_clock().start().await.unwrap();
    let events = session(device, base());
    upload_at(&server, &events, base() + TimeDelta::seconds(202)).await;
    server.settle().await;
    server
}

/// A view that plays from an instant to another, `startup_ms` after it was started.
fn view(
    device: &mut Device,
    name: &str,
    stream: &str,
    (from, to): (DateTime<Utc>, DateTime<Utc>),
    startup_ms: i64,
) -> [Value; 3] {
    let started = from - TimeDelta::milliseconds(startup_ms);
    [
        device.view_event(name, "playback.view_started", started, json!({ "stream_id": stream })),
        device.view_event(name, "playback.first_frame", from, json!({})),
        device.view_event(name, "playback.view_ended", to, json!({ "reason": "completed" })),
    ]
}

async fn json(server: &Server, path: &str) -> Value {
    let reply = server.get(path).await;
    assert_eq!(reply.status, 200, "{path}: {}", reply.text());
    reply.json()
}

fn assert_near(value: &Value, expected: f64) {
    let value = value.as_f64().unwrap_or_else(|| panic!("{value} is no number"));
    assert!((value - expected).abs() <= 0.01 * expected, "{value} is not within 1 % of {expected}");
}

#[tokio::test]
async fn watch_times_are_seconds_of_viewers_or_null_where_nothing_was_played() {
    let mut device = Device::new();
    let server = with_a_session(&mut device).await;
    let person = format!("/v1/stats/usage?person=anon:{}", device.anon);
    for path in ["/v1/stats/usage", &person] {
        let usage = json(&server, path).await;
        for time in ["dailyWatchTime", "weeklyWatchTime", "monthlyWatchTime", "viewerTime", "tileTime"] {
            assert_eq!(usage[time], 196.1, "{path} {time}");
        }
        assert_eq!(usage["topCategories"], json!(["chess"]), "{path}");
    }

    // Another person tried and saw nothing: measured, and none. A third used the app only: not measured.
    let (mut tried, mut idle) = (Device::new(), Device::new());
    let at = base() + TimeDelta::seconds(203);
    let events = [
        tried.view_event("tried", "playback.view_started", at, json!({"stream_id": "kick:x"})),
        tried.view_event("tried", "playback.view_ended", at + TimeDelta::seconds(3), json!({"reason": "user_choice"})),
        idle.event("feature.used", at, json!({"feature": "search"})),
    ];
    upload_at(&server, &events, at + TimeDelta::seconds(4)).await;
    server.settle().await;
    let of = async |device: &Device| json(&server, &format!("/v1/stats/usage?person=anon:{}", device.anon)).await;
    let (tried, idle) = (of(&tried).await, of(&idle).await);
    for time in ["dailyWatchTime", "weeklyWatchTime", "monthlyWatchTime", "viewerTime", "tileTime"] {
        assert_eq!((&tried[time], &idle[time]), (&json!(0.0), &Value::Null), "{time}");
    }
    assert_eq!((&idle["dailyEvents"], &idle["topCategories"]), (&json!(1), &json!([])));
    // A week later the day has nothing, the month still has it.
    upload_at(&server, &[Device::new().event("settings.changed", base(), json!({}))], base() + TimeDelta::days(9))
        .await;
    server.settle().await;
    let later = json(&server, "/v1/stats/usage").await;
    assert_eq!((&later["dailyWatchTime"], &later["weeklyWatchTime"]), (&Value::Null, &Value::Null));
    assert_eq!(later["monthlyWatchTime"], 196.1);
}

#[tokio::test]
async fn local_days_begin_at_midnight_in_kathmandu() {
    let server = start().test_clock().start().await.unwrap();
    // Midnight there is 18:15 in UTC: five minutes of the view are of one day, five of the next.
    let at = |minute: i64| base() + TimeDelta::minutes(8 * 60 + minute);
    let events = view(&mut Device::new(), "v", "twitch:a", (at(10), at(20)), 500);
    upload_at(&server, &events, at(21)).await;
    server.settle().await;
    for zone in ["Asia/Kathmandu", "%2B05:45"] {
        let usage = json(&server, &format!("/v1/stats/usage?tz={zone}")).await;
        assert_eq!((&usage["dailyWatchTime"], &usage["weeklyWatchTime"]), (&json!(300.0), &json!(600.0)), "{zone}");
    }
    assert_eq!(json(&server, "/v1/stats/usage").await["dailyWatchTime"], 600.0);
    assert_eq!(server.get("/v1/stats/usage?tz=%2B05:47").await.status, 400);

    let path = "/v1/rollups/stream?grain=day&tz=Asia/Kathmandu&group_by=&limit=1&from=2026-03-02T00:00:00Z\
                &measures=attempts,playing_ms,mean_concurrent_views,startup_ms_p50";
    let first = json(&server, path).await;
    let next = json(&server, &format!("{path}&cursor={}", first["next_cursor"].as_str().unwrap())).await;
    let mean = 300_000.0 / 86_400_000.0;
    assert_eq!(
        (&first["data"][0]["bucket_start"], &next["data"][0]["bucket_start"]),
        (&json!("2026-03-01T18:15:00.000Z"), &json!("2026-03-02T18:15:00.000Z"))
    );
    for page in [&first, &next] {
        assert_eq!((&page["data"][0]["playing_ms"], &page["data"].as_array().unwrap().len()), (&json!(300_000), &1));
        assert_near(&page["data"][0]["mean_concurrent_views"], mean);
    }
    // The start, and with it its startup time, is of the first day.
    assert_near(&first["data"][0]["startup_ms_p50"], 500.0);
    assert_eq!((&next["data"][0]["attempts"], &next["data"][0]["startup_ms_p50"]), (&json!(0), &Value::Null));
    assert_eq!(next["next_cursor"], Value::Null);
}

#[tokio::test]
async fn a_report_of_whole_quarters_counts_what_was_played() {
    let server = with_a_session(&mut Device::new()).await;
    let today = server.get("/v1/stats/performance?range=today").await;
    let report = today.json();
    assert_eq!((&report["bufferingEvents"], &report["connectionErrors"]), (&json!(1), &json!(1)));
    assert_eq!((&report["averageBufferTime"], &report["qualityChanges"]), (&json!(2.0), &json!(0)));
    assert!(today.header("streamgauge-not-counted").contains("without order"));
    assert_eq!(json(&server, "/v1/stats/export?format=report").await, report);
    // The player did not tell the length of its stall, and a week does not begin at a border.
    let week = server.get("/v1/stats/performance?range=week").await;
    assert_eq!((&week.json()["bufferingEvents"], &week.json()["connectionErrors"]), (&json!(0), &json!(1)));
    assert!(week.header("streamgauge-not-counted").contains("CMCD"));
    let custom = "/v1/stats/performance?range=custom&start=2026-03-02T09:45:00Z&end=2026-03-02T10:00:00Z";
    assert_eq!(json(&server, custom).await["bufferingEvents"], 0);
}

#[tokio::test]
async fn streams_come_by_tile_time() {
    let mut device = Device::new();
    let server = with_a_session(&mut device).await;
    let answer = json(&server, "/v1/stats/streams?range=week").await;
    let row = |row: usize, column: &str| answer["data"][row][column].clone();
    assert_eq!((row(0, "stream_id"), row(0, "category")), (json!("twitch:chess"), json!("chess")));
    assert_eq!((row(0, "tile_ms"), row(0, "views")), (json!(196_100), json!(1)));
    assert_eq!((row(1, "stream_id"), row(1, "category")), (json!("kick:x"), Value::Null));
    assert_eq!((row(1, "tile_ms"), row(1, "views"), row(2, "views")), (json!(0), json!(1), Value::Null));
    // Now minus a week lies within a quarter of an hour, all of which is counted.
    assert_eq!(
        (&answer["range"]["start"], &answer["meta"]["exact"]),
        (&json!("2026-02-23T10:00:00.000Z"), &json!(true))
    );
    let first = json(&server, &format!("/v1/stats/streams?limit=1&person=anon:{}", device.anon)).await;
    assert_eq!(first["data"], json!([answer["data"][0]]));
    assert_eq!(json(&server, "/v1/stats/streams?person=anon:nobody").await["data"], json!([]));
    assert_eq!(server.get("/v1/stats/streams?limit=1001").await.status, 400);
}

#[tokio::test]
async fn ratios_are_divided_at_read_and_percentiles_are_within_one_percent() {
    let server = start().test_clock().start().await.unwrap();
    let mut device = Device::new();
    let events: Vec<Value> = (1..=100)
        .flat_map(|n| {
            let from = base() + TimeDelta::seconds(3 * n);
            view(&mut device, &format!("v{n}"), "twitch:a", (from, from + TimeDelta::seconds(1)), 10 * n)
        })
        .collect();
    upload_at(&server, &events, base() + TimeDelta::minutes(10)).await;
    server.settle().await;

    let path = "/v1/rollups/stream?grain=day&from=2026-03-02T00:00:00Z";
    let plain = json(&server, path).await;
    let row = &plain["data"][0];
    assert_eq!(
        (&row["attempts"], &row["failure_rate"], &row["start_success_rate"]),
        (&json!(100), &json!(0.0), &json!(1.0))
    );
    assert_eq!((&row["latency_ms_mean"], &row["dropped_ratio"]), (&Value::Null, &Value::Null));
    assert!(row.get("startup_ms_p95").is_none());
    assert_eq!(plain["meta"]["exact"], true);

    let percentiles = "startup_ms_p50,startup_ms_p95,startup_ms_p99,latency_ms_p95,rebuffer_ratio";
    let answer = json(&server, &format!("{path}&measures={percentiles}")).await;
    let row = &answer["data"][0];
    assert_near(&row["startup_ms_p50"], 500.0);
    assert_near(&row["startup_ms_p95"], 950.0);
    assert_near(&row["startup_ms_p99"], 990.0);
    assert_eq!((&row["latency_ms_p95"], &row["rebuffer_ratio"]), (&Value::Null, &json!(0.0)));
    assert_eq!((&answer["meta"]["exact"], &answer["meta"]["rel_error"]), (&json!(false), &json!(0.01)));
    let csv = server.get(&format!("{path}&format=csv&measures=attempts,ebvs_rate,latency_ms_p95")).await;
    assert!(csv.text().ends_with(",100,0.0,\n"), "{}", csv.text());
    assert_eq!(csv.header("streamgauge-rel-error"), "0.01");

    // SQL has the same columns; the answer is exact if it can have no percentile in it.
    let sql = async |sql: &str| server.try_sql(&json!({ "sql": sql })).await.json();
    let by_name = sql("SELECT startup_ms_p95, failure_rate FROM rollup_release_hour").await;
    assert_near(&by_name["data"][0]["startup_ms_p95"], 950.0);
    assert_eq!((&by_name["data"][0]["failure_rate"], &by_name["meta"]["exact"]), (&json!(0.0), &json!(false)));
    let all = sql("SELECT * FROM rollup_layout_day WHERE attempts > 0").await;
    assert_near(&all["data"][0]["startup_ms_p99"], 990.0);
    let counted = sql("SELECT count(*) AS n, sum(attempts) AS a FROM rollup_stream_minute").await;
    assert_eq!((&counted["data"][0]["a"], &counted["meta"]["exact"]), (&json!(100), &json!(true)));
    let described = sql("SELECT data_type FROM information_schema.columns WHERE table_name = 'rollup_stream_day' AND \
         column_name IN ('startup_ms_p95', 'failure_rate')")
    .await;
    assert_eq!(described["data"], json!([{"data_type": "double precision"}, {"data_type": "double precision"}]));
}

#[tokio::test]
async fn streams_are_told_worst_first() {
    let server = with_a_session(&mut Device::new()).await;
    // Until everything of this minute is in, the newest whole minute is an older one.
    let until = Instant::now() + Duration::from_secs(10);
    let answer = loop {
        let answer = json(&server, "/v1/health/streams?window=5m").await;
        if answer["data"][0]["views_now"] == 1 {
            break answer;
        }
        assert!(Instant::now() < until, "one view was active at 10:02: {answer}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let [worst, other] = &answer["data"].as_array().unwrap()[..] else { panic!("two streams: {answer}") };
    assert_eq!((&worst["stream_id"], &worst["status"]), (&json!("twitch:chess"), &json!("error")));
    assert_eq!(
        (&worst["attempts"], &worst["failure_rate"], &worst["ebvs_rate"]),
        (&json!(1), &json!(1.0), &json!(0.0))
    );
    assert_near(&worst["rebuffer_ratio"], 2_000.0 / 199_900.0);
    assert_near(&worst["rebuffers_per_min"], 60_000.0 / 199_900.0);
    assert_near(&worst["startup_ms_p95"], 800.0);
    assert_eq!((&worst["health_score"], &other["health_score"]), (&json!(0.0), &json!(50.0)));
    assert_eq!((&other["stream_id"], &other["status"]), (&json!("kick:x"), &json!("healthy")));
    assert_eq!((&other["ebvs_rate"], &other["startup_ms_p95"]), (&json!(1.0), &Value::Null));
    assert_eq!((&answer["meta"]["exact"], &answer["meta"]["rel_error"]), (&json!(false), &json!(0.01)));
    let by_name = json(&server, "/v1/health/streams?order=name&limit=1").await;
    assert_eq!(by_name["data"], json!([other]));
    for refused in ["streams?window=0m", "streams?window=25h", "streams?order=best", "streams?limit=0", "stream"] {
        assert_eq!(server.get(&format!("/v1/health/{refused}")).await.status, 400, "{refused}");
    }
}

#[tokio::test]
async fn one_stream_is_told_again_with_every_commit() {
    let server = start().test_clock().start().await.unwrap();
    let request = server.request("GET", "/v1/health/stream?stream_id=twitch:chess").bearer_auth(&server.read_token);
    let mut live = request.send().await.unwrap();
    let mut text = String::new();
    let mut next = async || {
        while !text.contains("\n\n") {
            text.push_str(&String::from_utf8_lossy(&live.chunk().await.unwrap().unwrap()));
        }
        let (line, rest) = text.split_once("\n\n").map(|(line, rest)| (line.to_owned(), rest.to_owned())).unwrap();
        text = rest;
        let data = line.strip_prefix("event: health\ndata: ").unwrap_or_else(|| panic!("{line}"));
        serde_json::from_str::<Value>(data).unwrap()
    };
    let first = next().await;
    assert_eq!((&first["data"]["stream_id"], &first["data"]["status"]), (&json!("twitch:chess"), &json!("unknown")));
    upload_at(&server, &session(&mut Device::new(), base()), base() + TimeDelta::seconds(202)).await;
    let told = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            let told = next().await;
            if told["data"]["status"] != "unknown" {
                break told;
            }
        }
    });
    let told = told.await.expect("the commit is told");
    assert_eq!((&told["data"]["status"], &told["data"]["attempts"]), (&json!("error"), &json!(1)));
    assert!(told["meta"]["commit"].as_i64() > first["meta"]["commit"].as_i64());
}

#[tokio::test]
async fn rows_of_a_rollup_can_be_asked_for_by_a_key_and_follow_what_is_committed() {
    let mut device = Device::new();
    let server = with_a_session(&mut device).await;
    let range = "from=2026-03-02T00:00:00Z&to=2026-03-03T00:00:00Z";
    let path = format!("/v1/rollups/stream?grain=day&{range}&measures=attempts,startup_ms_p50&stream_id=");
    let of = async |stream: &str| json(&server, &format!("{path}{stream}")).await;
    let chess = of("twitch:chess").await;
    assert_eq!((chess["data"].as_array().unwrap().len(), &chess["data"][0]["attempts"]), (1, &json!(1)));
    assert_near(&chess["data"][0]["startup_ms_p50"], 800.0);
    assert_eq!(of("twitch:unknown").await["data"], json!([]));
    assert_eq!(
        json(&server, &format!("{path}&stream_platform=kick")).await["data"],
        json!([]),
        "empty is a value, too"
    );

    // Another stream changes the same bucket: what is kept is read again, and says the same.
    let mut other = Device::new();
    upload_at(&server, &session(&mut other, base()), base() + TimeDelta::seconds(203)).await;
    server.settle().await;
    let again = of("twitch:chess").await;
    assert_eq!(again["data"][0]["attempts"], 2, "one more");
    assert!(again["meta"]["commit"].as_i64() > chess["meta"]["commit"].as_i64());
    // A day that nothing happens on stays as it is, under a newer commit.
    let empty = "/v1/rollups/stream?grain=day&from=2026-02-01T00:00:00Z&to=2026-02-02T00:00:00Z";
    let before = json(&server, empty).await;
    upload_at(&server, &session(&mut Device::new(), base()), base() + TimeDelta::seconds(204)).await;
    server.settle().await;
    let after = json(&server, empty).await;
    assert!(before["data"] == after["data"] && before["meta"]["commit"] != after["meta"]["commit"]);
    assert_eq!(of("twitch:chess").await["data"][0]["attempts"], 3);
}
