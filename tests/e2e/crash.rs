//! Kill -9 under load, and what is left afterwards.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use rig::load::{self, Books, Plan};
use rig::server::Start;
use rig::{Device, Server};
use serde_json::{Value, json};

use crate::clients::through_duckdb;
use crate::{ALONE, assert_books_balance, numbers, start};

/// Kills of a run; `STREAMGAUGE_TEST_KILLS` sets another number.
fn kills() -> usize {
    std::env::var("STREAMGAUGE_TEST_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(50)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_kills_under_load_lose_nothing_and_count_nothing_twice() {
    let _alone = ALONE.lock().await;
    let how = start()
        .variable("STREAMGAUGE_PROCESSOR__COMMIT_INTERVAL", "150ms")
        .variable("STREAMGAUGE_PROCESSOR__STATE_INTERVAL", "300ms")
        .variable("STREAMGAUGE_PROCESSOR__HOT_KEYS", "2000")
        .variable("STREAMGAUGE_MAINTENANCE__INTERVAL", "200ms")
        .variable("STREAMGAUGE_MAINTENANCE__ROLLUP_DELTA_AGE", "1s");
    let mut server = how.start().await.unwrap();
    let plan = Plan {
        target: server.http.clone(),
        upload_key: server.upload_key.clone(),
        posts_per_second: 120.0,
        events_per_post: 20,
        duration: Duration::from_millis(450) * u32::try_from(kills()).unwrap(),
        connections: 32,
        give_up: Duration::from_secs(30),
    };
    let loading = tokio::spawn(async move { load::run(&plan).await });
    let mut slowest = Duration::ZERO;
    for kill in 0..kills() {
        // Different moments of a commit, of a merge and of the start itself.
        tokio::time::sleep(Duration::from_millis(40 + 37 * (kill as u64 % 13))).await;
        server = server.crash_and_restart().await;
        slowest = slowest.max(server.ready_in);
    }
    let books = loading.await.unwrap().unwrap();
    assert!(books.acked.len() > 10_000 && books.unanswered.is_empty(), "{} acknowledged", books.acked.len());
    server.settle().await;
    check(&server, &books).await;
    let merges = server.number("SELECT count(*) FROM commits WHERE lane = 'maintenance'").await;
    assert!(merges > 10, "only {merges} merges ran beside it");
    assert!(!server.log().contains("were not merged"), "{:?}", server.log_lines("WARN"));
    assert!(slowest < Duration::from_secs(1), "ready after {slowest:?}");

    // Everything but log, database, lake and credentials only saves time.
    let before = numbers(&server).await;
    let stopped = server.kill().await;
    delete_caches(&stopped);
    let server = stopped.start().await.unwrap();
    server.settle().await;
    for (name, rows) in numbers(&server).await {
        assert_eq!(rows.len(), before[name].len(), "{name}");
        assert_eq!(rows, before[name], "{name}");
    }
    check(&server, &books).await;
}

/// Every acknowledged event exactly once, none that was never sent, and the books balance.
async fn check(server: &Server, books: &Books) {
    let sent: BTreeSet<&str> = books.acked.iter().map(String::as_str).collect();
    assert_eq!(sent.len(), books.acked.len());
    let statement = json!({ "sql": "SELECT event_id FROM events", "limit": 1_000_000 });
    let rows = server.try_sql(&statement).await.json()["data"].as_array().cloned().unwrap_or_default();
    let mut found: HashMap<&str, usize> = HashMap::new();
    for row in &rows {
        *found.entry(row["event_id"].as_str().unwrap_or_default()).or_default() += 1;
    }
    let lost: Vec<_> = sent.iter().filter(|id| !found.contains_key(**id)).take(5).collect();
    let twice: Vec<_> = found.iter().filter(|(_, count)| **count > 1).take(5).collect();
    let unknown: Vec<_> = found.keys().filter(|id| !sent.contains(**id)).take(5).collect();
    assert!(
        lost.is_empty() && twice.is_empty() && unknown.is_empty(),
        "lost {lost:?}, twice {twice:?}, unknown {unknown:?}"
    );
    assert_books_balance(server).await;
    // And an independent reader finds the same.
    if let Some(seen) = through_duckdb(server, None).await {
        assert_eq!(
            (&seen["tables"]["events"], &seen["events"]["distinct_event_ids"]),
            (&json!(sent.len()), &json!(sent.len()))
        );
    }
}

/// What ARCHITECTURE.md calls derived.
fn delete_caches(stopped: &Start) {
    let data = stopped.data_dir();
    for entry in std::fs::read_dir(&data).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        let is_kept = ["log", "lake", "credentials.json"].contains(&name.as_str()) || name.starts_with("warehouse.db");
        if !is_kept && entry.path().is_file() {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    let state = data.join("lake/state");
    assert!(state.is_dir(), "the run wrote state files");
    std::fs::remove_dir_all(state).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_fsync_serves_many_uploads_and_none_is_left_out() {
    let Ok(version) = std::process::Command::new("strace").arg("-V").output() else {
        return println!("skipped: there is no strace");
    };
    assert!(version.status.success());
    // No ticks and no processor's commits in between: the processor waits for a minute.
    let server = start()
        .variable("STREAMGAUGE_INGEST__TICK_INTERVAL", "1h")
        .variable("STREAMGAUGE_PROCESSOR__COMMIT_INTERVAL", "60s")
        .start()
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let trace = tempfile::NamedTempFile::new().unwrap();
    let mut strace = tokio::process::Command::new("strace")
        .args(["-f", "-qq", "-y", "-e", "trace=fsync,fdatasync,sync_file_range,msync", "-o"])
        .arg(trace.path())
        .args(["-p", &server.pid.to_string()])
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    tokio::time::sleep(Duration::from_millis(700)).await;
    let fsyncs = || {
        let text = std::fs::read_to_string(trace.path()).unwrap();
        text.lines().filter(|line| line.contains("sync(") && line.contains("/data/log/")).count()
    };
    // One after the other: each upload needs a flush of its own.
    let mut device = Device::new();
    for _ in 0..10 {
        assert_eq!(server.upload(&[device.event("layout.saved", chrono::Utc::now(), json!({}))]).await.status, 202);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let alone = fsyncs();
    assert!(alone >= 10, "{alone} flushes for 10 uploads in a row");
    // Many at once share them.
    let events: Vec<Value> = (0..200).map(|_| device.event("layout.saved", chrono::Utc::now(), json!({}))).collect();
    let begun = Instant::now();
    let replies =
        futures::future::join_all(events.iter().map(|event| server.upload(std::slice::from_ref(event)))).await;
    assert!(replies.iter().all(|reply| reply.status == 202));
    tokio::time::sleep(Duration::from_millis(300)).await;
    let together = fsyncs() - alone;
    // How many depends on how fast they come; that they share is what counts.
    assert!((1..200).contains(&together), "{together} flushes for 200 uploads at once in {:?}", begun.elapsed());
    let _ = strace.kill().await;
}

#[tokio::test]
async fn a_log_that_was_made_anew_stops_the_start_by_name() {
    let server = start().start().await.unwrap();
    assert_eq!(server.upload(&[Device::new().event("layout.saved", chrono::Utc::now(), json!({}))]).await.status, 202);
    server.settle().await;
    let (_, stopped) = server.stop().await;
    let log = stopped.data_dir().join("log");
    let kept = stopped.data_dir().join("kept");
    std::fs::rename(&log, &kept).unwrap();
    let refused = stopped.start().await.unwrap_err().to_string();
    assert!(refused.contains("another log"), "{refused}");
    std::fs::remove_dir_all(&log).unwrap();
    std::fs::rename(&kept, &log).unwrap();
    let server = stopped.start().await.unwrap();
    assert_eq!(server.number("SELECT count(*) FROM events").await, 1);
}
