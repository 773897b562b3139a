//! The promises of ARCHITECTURE.md, each as a test that can fail.

use std::time::{Duration, Instant};

use chrono::{DateTime, Days, Utc};
use rig::device::with;
use rig::load::{self, Plan, Post};
use rig::{Device, Server};
use serde_json::{Value, json};

use crate::{assert_books_balance, numbers, start};

/// A small generator (xorshift64*): tests that shuffle say by which seed.
struct Seed(u64);

impl Seed {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(drawn).unwrap_or(0) % bound.max(1)
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for idx in (1..items.len()).rev() {
            items.swap(idx, self.below(idx + 1));
        }
    }
}

/// Events of some devices over some minutes, good and bad ones.
fn mixed_events(devices: usize, per_device: usize) -> Vec<Value> {
    let begin = Utc::now() - chrono::TimeDelta::minutes(50);
    let mut events = Vec::new();
    for number in 0..devices {
        let mut device = Device::new();
        let view = format!("view-{number}");
        for n in 0..per_device {
            let at = begin + chrono::TimeDelta::seconds(i64::try_from(n).unwrap() * 7);
            events.push(match n % 5 {
                0 => device.event("feature.used", at, json!({"feature": format!("f{}", n % 3)})),
                1 => device.view_event(
                    &view,
                    "playback.view_started",
                    at,
                    json!({"stream_id": "twitch:a", "stream_platform": "twitch"}),
                ),
                2 => device.heartbeat(&view, at),
                3 => with(device.heartbeat(&view, at), "viewid", Value::Null),
                _ => device.event("custom.kind", at, json!({"n": n})),
            });
        }
    }
    events
}

async fn post_all(server: &Server, posts: &[Vec<Value>]) {
    for post in posts {
        let reply = server.upload(post).await;
        assert_eq!(reply.status, 202, "{}", reply.text());
    }
}

#[tokio::test]
async fn promise_1_what_was_answered_2xx_survives_a_crash_at_once() {
    let mut server = start().start().await.unwrap();
    let mut acked = 0;
    for _ in 0..5 {
        let mut device = Device::new();
        for _ in 0..20 {
            let reply = server.upload(&[device.event("layout.saved", Utc::now(), json!({}))]).await;
            assert_eq!(reply.status, 202);
            acked += 1;
        }
        // Nothing but the log can have it by now.
        server = server.crash_and_restart().await;
    }
    server.settle().await;
    assert_eq!(server.number("SELECT count(*) FROM events").await, acked);
}

#[tokio::test]
async fn promise_2_copies_count_once_however_they_are_cut_shuffled_and_restarted() {
    let events = mixed_events(12, 250);
    let first: Vec<Vec<Value>> = events.chunks(40).map(<[Value]>::to_vec).collect();
    let once = start().variable("STREAMGAUGE_PROCESSOR__HOT_KEYS", "250").start().await.unwrap();
    post_all(&once, &first).await;
    once.settle().await;
    let expected_usage =
        once.sql("SELECT type, feature, sum(events) AS n FROM rollup_usage_day GROUP BY 1, 2 ORDER BY 1, 2").await;
    let expected_minutes =
        once.sql("SELECT bucket_start, type, feature, events FROM rollup_usage_minute ORDER BY 1, 2, 3").await;
    let expected_reasons = once.sql("SELECT reason, count(*) AS n FROM quarantine GROUP BY 1 ORDER BY 1").await;
    let stored = once.number("SELECT count(*) FROM events").await;
    assert!(stored > 2000 && !expected_reasons.is_empty());

    // The hot set holds a third of the keys, so most copies are looked for in the runs.
    let mut server = start().variable("STREAMGAUGE_PROCESSOR__HOT_KEYS", "250").start().await.unwrap();
    let mut seed = Seed(0x5eed_0002);
    for round in 0..3 {
        let mut again = events.clone();
        seed.shuffle(&mut again);
        let posts: Vec<Vec<Value>> = again.chunks(17 + 30 * round).map(<[Value]>::to_vec).collect();
        let (early, late) = posts.split_at(seed.below(posts.len()));
        post_all(&server, early).await;
        server = server.crash_and_restart().await;
        post_all(&server, late).await;
        server.settle().await;
        let (_, stopped) = server.stop().await;
        server = stopped.start().await.unwrap();
    }
    assert_eq!(server.number("SELECT count(*) FROM events").await, stored);
    assert_eq!(server.number("SELECT sum(events) FROM records").await, 3 * i64::try_from(events.len()).unwrap());
    assert_eq!(
        server.sql("SELECT type, feature, sum(events) AS n FROM rollup_usage_day GROUP BY 1, 2 ORDER BY 1, 2").await,
        expected_usage
    );
    assert_eq!(
        server.sql("SELECT bucket_start, type, feature, events FROM rollup_usage_minute ORDER BY 1, 2, 3").await,
        expected_minutes
    );
    assert_eq!(
        server.sql("SELECT reason, count(*) AS n FROM quarantine GROUP BY 1 ORDER BY 1").await,
        expected_reasons
    );
    assert_books_balance(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_3_every_answer_is_one_whole_commit() {
    let server = start().start().await.unwrap();
    let plan = Plan {
        target: server.http.clone(),
        upload_key: server.upload_key.clone(),
        posts_per_second: 40.0,
        events_per_post: 50,
        duration: Duration::from_secs(5),
        connections: 4,
        give_up: Duration::from_secs(20),
    };
    let loading = tokio::spawn(async move { load::run(&plan).await });
    let mut counted: Vec<(i64, i64)> = Vec::new();
    while !loading.is_finished() {
        // Files of two tables, the books and two rollups: read by one statement they agree at any moment.
        let reply = server
            .try_sql(&json!({ "sql": "SELECT (SELECT count(*) FROM events) AS events, \
                (SELECT coalesce(sum(stored), 0) FROM records) AS records, \
                (SELECT coalesce(sum(events), 0) FROM ledger WHERE outcome = 'stored') AS ledger, \
                (SELECT coalesce(sum(events), 0) FROM rollup_usage_minute) AS minutes, \
                (SELECT coalesce(sum(events), 0) FROM rollup_usage_day) AS days" }))
            .await
            .json();
        let row = &reply["data"][0];
        for name in ["records", "ledger", "minutes", "days"] {
            assert_eq!(row[name], row["events"], "{row}");
        }
        counted.push((reply["meta"]["commit"].as_i64().unwrap(), row["events"].as_i64().unwrap()));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    loading.await.unwrap().unwrap();
    counted.dedup();
    assert!(counted.len() >= 3, "{counted:?}");
    // An older commit still answers as it did.
    for (commit, events) in counted {
        let statement = json!({ "sql": "SELECT count(*) AS n FROM events", "as_of": commit });
        let reply = server.try_sql(&statement).await.json();
        assert_eq!((&reply["data"][0]["n"], &reply["meta"]["commit"]), (&json!(events), &json!(commit)), "{reply}");
    }
    let never = server.try_sql(&json!({ "sql": "SELECT 1", "as_of": 999_999 })).await;
    assert_eq!((never.status, never.json()["code"].as_str()), (404, Some("no_such_commit")));
    let rollup = server.try_sql(&json!({ "sql": "SELECT * FROM ledger", "as_of": 2 })).await;
    assert_eq!((rollup.status, rollup.json()["code"].as_str()), (400, Some("not_as_of")));
}

#[tokio::test]
async fn promise_4_every_event_ends_in_one_outcome_and_the_books_balance() {
    let server = start().variable("STREAMGAUGE_MAINTENANCE__INTERVAL", "1s").start().await.unwrap();
    let events = mixed_events(5, 100);
    post_all(&server, &[events.clone(), events[..70].to_vec()]).await;
    // What is no JSON at all in the middle of lines is kept, and costs its neighbours nothing.
    let lines = format!(
        "{}\n{{\"torn\": \n{}\n",
        with(events[0].clone(), "id", "line-1"),
        with(events[5].clone(), "id", "line-2")
    );
    assert_eq!(server.post("/v1/events", "application/x-ndjson", lines).await.status, 202);
    server.settle().await;
    assert_eq!(server.number("SELECT sum(events) FROM ledger").await, 573);
    assert_eq!(server.number("SELECT sum(events) FROM ledger WHERE outcome = 'duplicate'").await, 70);
    assert_eq!(server.number("SELECT count(*) FROM quarantine WHERE reason = 'invalid_json'").await, 1);
    assert_books_balance(&server).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(server.metric("streamgauge_unaccounted_events").await, Some(0.0));
}

#[tokio::test]
async fn promise_5_a_late_event_changes_its_own_bucket_and_no_other() {
    let server = start().start().await.unwrap();
    let mut device = Device::new();
    let now = Utc::now();
    let old = now.checked_sub_days(Days::new(40)).unwrap();
    server.upload(&[device.event("layout.saved", now, json!({})), device.event("layout.saved", old, json!({}))]).await;
    server.settle().await;
    let minutes = "SELECT bucket_start, sum(events) AS n FROM rollup_usage_minute GROUP BY 1 ORDER BY 1";
    let before = server.sql(minutes).await;
    assert_eq!(before.len(), 2);
    let mut other = Device::new();
    let late = other.event("layout.saved", old, json!({}));
    server.upload(&[late]).await;
    server.settle().await;
    let after = server.sql(minutes).await;
    assert_eq!((after.len(), &after[0]["n"], &after[1]), (2, &json!(2), &before[1]));
    let flagged = server.number("SELECT count(*) FROM events WHERE flags = 'late'").await;
    assert_eq!(flagged, 2);
    assert_eq!(server.number("SELECT sum(late_events) FROM rollup_usage_day").await, 2);
}

#[tokio::test]
async fn promise_6_projecting_the_log_again_gives_the_same_rows_and_sums() {
    let server = start().start().await.unwrap();
    let events = mixed_events(8, 120);
    let mut seed = Seed(0x5eed_0006);
    for _ in 0..2 {
        let mut shuffled = events.clone();
        seed.shuffle(&mut shuffled);
        for post in shuffled.chunks(60) {
            let sent_at = (Utc::now() - chrono::TimeDelta::seconds(30)).to_rfc3339();
            let request = server.request("POST", "/v1/events").header("x-api-key", &server.upload_key);
            let request = request.header("streamgauge-sent-at", sent_at).json(&post);
            assert_eq!(rig::server::send(request).await.unwrap().status, 202);
        }
        server.settle().await;
    }
    let live = numbers(&server).await;
    let (_, stopped) = server.stop().await;
    let data = stopped.data_dir();
    for file in ["warehouse.db", "warehouse.db-wal", "warehouse.db-shm"] {
        let _ = std::fs::remove_file(data.join(file));
    }
    std::fs::remove_dir_all(data.join("lake")).unwrap();
    let rebuilt = stopped.start().await.unwrap();
    rebuilt.settle().await;
    for (name, rows) in numbers(&rebuilt).await {
        assert_eq!(rows, live[name], "{name}");
    }
}

#[tokio::test]
async fn promise_7_answers_say_what_they_stand_for() {
    let server = start().start().await.unwrap();
    let before = server.get("/v1/stats/usage").await;
    assert_eq!(before.json()["dailyEvents"], 0);
    let sent = Utc::now();
    server.upload(&[Device::new().event("layout.saved", sent, json!({}))]).await;
    server.settle().await;
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let usage = server.get("/v1/stats/usage").await;
        let through: Option<DateTime<Utc>> = usage.header("streamgauge-complete-through").parse().ok();
        if through.is_some_and(|through| through > sent) {
            // Counted, and watch time is not measured, which is not the same as none.
            assert_eq!(usage.json()["dailyEvents"], 1);
            assert_eq!(usage.json()["dailyWatchTime"], Value::Null);
            assert!(
                usage.header("streamgauge-commit").parse::<i64>().unwrap()
                    > before.header("streamgauge-commit").parse().unwrap()
            );
            assert!(usage.header("streamgauge-lag-ms").parse::<i64>().unwrap() < 5_000);
            break;
        }
        assert!(Instant::now() < until, "an idle server is complete all the same: {usage:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let rollup = server.get("/v1/rollups/usage?grain=day").await.json();
    assert_eq!((&rollup["meta"]["exact"], &rollup["meta"]["rel_error"]), (&json!(true), &json!(0.0)));
    assert_eq!(rollup["data"][0]["events"], 1);
}

#[tokio::test]
async fn promise_8_a_caller_sees_its_own_project_only() {
    let server = start().start().await.unwrap();
    let created =
        server.start().command().args(["keys", "create", "--project", "other", "--json"]).output().await.unwrap();
    let other_key: Value = serde_json::from_slice(&created.stdout).unwrap_or_else(|_| panic!("{created:?}"));
    let made =
        server.start().command().args(["tokens", "create", "--project", "other", "--json"]).output().await.unwrap();
    let other_token: Value = serde_json::from_slice(&made.stdout).unwrap();
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let canary = "canary-7f3a9be2c41d";
    let secret = with(Device::new().event("feature.used", Utc::now(), json!({"feature": canary})), "id", canary);
    let request =
        server.request("POST", "/v1/events").header("x-api-key", other_key["key"].as_str().unwrap()).json(&[secret]);
    let receipt = rig::server::send(request).await.unwrap();
    assert_eq!(receipt.status, 202, "{}", receipt.text());
    let bad = server
        .request("POST", "/v1/events")
        .header("x-api-key", other_key["key"].as_str().unwrap())
        .json(&json!([{"id": canary}]));
    rig::server::send(bad).await.unwrap();
    server.settle().await;
    let batch = receipt.json()["batch_id"].as_str().unwrap().to_owned();
    let mut answers = Vec::new();
    for path in [
        "/v1/stats/usage",
        "/v1/stats/performance",
        "/v1/stats/export",
        "/v1/stats/export?format=csv",
        "/v1/stats/streams",
        "/v1/health/streams",
        "/v1/events",
        "/v1/rollups/usage",
        "/v1/rollups/quality",
        "/v1/rollups/stream",
        "/v1/stats/usage?person=anon:x",
    ] {
        answers.push(server.get(path).await);
    }
    assert_eq!(server.get(&format!("/v1/batches/{batch}")).await.status, 404);
    for sql in [
        "SELECT * FROM events",
        "SELECT * FROM quarantine",
        "SELECT * FROM records",
        "SELECT * FROM ledger",
        "SELECT * FROM rollup_usage_minute",
        "SELECT * FROM rollup_usage_hour",
        "SELECT * FROM rollup_quality_day",
        "SELECT * FROM commits",
        "SELECT * FROM events WHERE project = 'other' OR true",
        "SELECT * FROM streamgauge.main.events WHERE project <> 'default'",
        "WITH e AS (SELECT * FROM events UNION ALL SELECT * FROM events) SELECT * FROM e",
        "SELECT max(data), max(event_id), count(*) FROM events",
        "SELECT * FROM information_schema.tables",
        "SELECT * FROM information_schema.columns",
    ] {
        let reply = server.try_sql(&json!({ "sql": sql })).await;
        assert_eq!(reply.status, 200, "{sql}: {}", reply.text());
        answers.push(reply);
    }
    for reply in answers {
        assert!(!reply.text().contains(canary) && !reply.text().contains("\"other\""), "{}", reply.text());
    }
    assert_eq!(server.number("SELECT count(*) FROM events").await, 0);
    assert_eq!(server.number("SELECT coalesce(sum(events), 0) FROM ledger").await, 0);
    let own = server.request("POST", "/v1/sql").bearer_auth(other_token["token"].as_str().unwrap());
    let own = rig::server::send(own.json(&json!({"sql": "SELECT count(*) AS n FROM events"}))).await.unwrap();
    assert_eq!(own.json()["data"][0]["n"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promise_9_what_is_too_much_is_refused_and_memory_stays_flat() {
    let server = start()
        .variable("STREAMGAUGE_INGEST__MAX_IN_FLIGHT_BYTES", "16MiB")
        .variable("STREAMGAUGE_INGEST__MAX_DECODED_BYTES", "8MiB")
        .start()
        .await
        .unwrap();
    let post = Post::heartbeats(&mut Device::new(), 100);
    assert_eq!(server.post("/v1/events", "application/json", post.body).await.status, 202);
    let (before_mib, _) = rig::process::resident_mib(server.pid);
    // 1 GiB of zeros in about 1 MB, in four encodings' strongest form.
    let bomb = gzip(&vec![0; 1 << 30]);
    let bombs = (0..8).map(|_| {
        let request = server.request("POST", "/v1/events").header("x-api-key", &server.upload_key);
        rig::server::send(request.header("content-encoding", "gzip").body(bomb.clone()))
    });
    for reply in futures::future::join_all(bombs).await {
        let reply = reply.unwrap();
        assert!(matches!(reply.status, 413 | 503), "{}", reply.text());
        assert_eq!(reply.header("content-type"), "application/problem+json");
        assert!(reply.status != 503 || reply.header("retry-after").parse::<u32>().is_ok());
    }
    let (_, peak_mib) = rig::process::resident_mib(server.pid);
    assert!(peak_mib - before_mib < 96.0, "{before_mib} MiB before, {peak_mib} MiB at the peak");
    let large = server.post("/v1/events", "application/json", vec![b' '; 17 << 20]).await;
    assert_eq!((large.status, large.json()["code"].as_str()), (413, Some("body_too_large")));
    let endless = server
        .try_sql(&json!({"sql": "SELECT sum(a.seq + e.seq) FROM events a, events b, events c, events d, events e"}))
        .await;
    assert!(matches!(endless.status, 422 | 504), "{}", endless.text());
    // And it goes on as if nothing had been.
    assert_eq!(server.upload(&[Device::new().event("layout.saved", Utc::now(), json!({}))]).await.status, 202);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
