//! The cluster profile: roles apart, several of each, on real Kafka and Postgres servers.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use chrono::Utc;
use rig::cluster::{Cluster, READ_TOKEN, UPLOAD_KEY};
use rig::load::{self, Plan};
use rig::server::{Start, signal, wait_until};
use rig::{Device, Server};
use serde_json::{Value, json};
use tokio::sync::MutexGuard;

use crate::clients::through_duckdb_on_cluster;
use crate::maintenance::run;
use crate::views::{base, session, upload_at};
use crate::{ALONE, assert_books_balance, clients, numbers, start};

/// A fresh cluster; `None` skips the test by name.
pub(crate) async fn cluster() -> Option<(Cluster, MutexGuard<'static, ()>)> {
    let cluster = Cluster::new(env!("CARGO_BIN_EXE_streamgauge")).await.unwrap();
    let Some(cluster) = cluster else {
        println!(
            "skipped: STREAMGAUGE_TEST_KAFKA and STREAMGAUGE_TEST_POSTGRES name no servers, ./deploy/test starts them"
        );
        return None;
    };
    Some((cluster, ALONE.lock().await))
}

async fn stop(servers: impl IntoIterator<Item = Server>) {
    for server in servers {
        let log = server.log_lines("ERROR");
        let (status, _) = server.stop().await;
        assert!(status.success(), "{status}");
        assert!(log.is_empty(), "{log:?}");
    }
}

/// The use of a feature, now.
fn feature(device: &mut Device, name: &str) -> Value {
    device.event("feature.used", Utc::now(), json!({ "feature": name }))
}

/// Waits until a processor is ready to be asked and everything in the log is committed.
async fn settle(processors: &[Server]) {
    processors[0].settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_apart_are_one_product_in_whatever_order_they_start() {
    let Some((cluster, _alone)) = cluster().await else { return };
    let queries = cluster.start("query", 2).await.unwrap();
    let processors = cluster.start("processor", 2).await.unwrap();
    let ingests = cluster.start("ingest", 2).await.unwrap();
    let mut sent = BTreeSet::new();
    for n in 0..40 {
        let mut device = Device::new();
        let events = [feature(&mut device, "multi_view"), feature(&mut device, "search")];
        let reply = ingests[n % 2].upload(&events).await;
        assert_eq!(reply.status, 202, "{}", reply.text());
        sent.extend(events.iter().map(|event| event["id"].as_str().unwrap().to_owned()));
    }
    // A copy that comes through the other door is a copy all the same.
    let mut device = Device::new();
    let event = feature(&mut device, "share");
    for ingest in &ingests {
        assert_eq!(ingest.upload(std::slice::from_ref(&event)).await.status, 202);
    }
    sent.insert(event["id"].as_str().unwrap().to_owned());
    settle(&processors).await;
    for query in &queries {
        let trouble = || format!("not all is there: {}", query.log());
        let all = i64::try_from(sent.len()).unwrap();
        wait_until(Duration::from_secs(20), trouble, async || query.number("SELECT count(*) FROM events").await == all)
            .await;
        let ids = query.sql("SELECT event_id FROM events").await;
        assert_eq!(ids.iter().map(|row| row["event_id"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>(), sent);
        assert_books_balance(query).await;
        assert_eq!(query.number("SELECT sum(events) FROM ledger WHERE outcome = 'duplicate'").await, 1);
    }
    // Each role has its own doors only.
    assert_eq!(ingests[0].get("/v1/stats/usage").await.status, 404);
    assert_eq!(queries[0].upload(&[event]).await.status, 405);
    if let Some(seen) = through_duckdb_on_cluster(&cluster, None).await {
        assert_eq!(seen["tables"]["events"], json!(sent.len()));
        assert_eq!(seen["records"]["duplicate"], json!(1));
    }
    stop(ingests.into_iter().chain(processors).chain(queries)).await;
    cluster.end().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn query_services_and_ingests_that_may_only_read_do_all_of_their_work() {
    let Some((cluster, _alone)) = cluster().await else { return };
    let reader = format!("reader_{}", std::process::id());
    let database = cluster.database();
    let (_, server) = database.split_once('@').expect("the URL names a user");
    let as_reader = |role: &str| {
        let start = cluster.role(role);
        start.variable("STREAMGAUGE_WAREHOUSE_URL", format!("postgres://{reader}@{server}"))
    };
    cluster.execute(&format!("CREATE ROLE {reader} LOGIN")).await.unwrap();
    // Before there is anything to read: it waits for the tables, and for the right to read them.
    let early = as_reader("query");
    let early = tokio::spawn(async move { early.start().await });
    let processor = cluster.role("processor").start().await.unwrap();
    let roles = std::fs::read_to_string(rig::server::repository().join("deploy/postgres/roles.sql")).unwrap();
    cluster.execute(&roles).await.unwrap();
    cluster.execute(&format!("GRANT streamgauge_reader TO {reader}")).await.unwrap();
    let query = early.await.unwrap().unwrap();
    let ingest = as_reader("ingest").start().await.unwrap();

    let mut device = Device::new();
    assert_eq!(ingest.upload(&[feature(&mut device, "share")]).await.status, 202);
    settle(std::slice::from_ref(&processor)).await;
    let trouble = || query.log();
    wait_until(Duration::from_secs(20), trouble, async || query.number("SELECT count(*) FROM events").await == 1).await;
    assert_books_balance(&query).await;
    assert_eq!(query.get("/v1/stats/usage?days=1").await.status, 200);
    let refused = run(&as_reader("query"), &["keys", "create", "--project", "default"]).await;
    assert!(refused.0 == 1 && refused.1.to_string().contains("permission denied"), "{refused:?}");
    stop([ingest, query, processor]).await;
    cluster.execute(&format!("DROP OWNED BY {reader}; DROP ROLE {reader}")).await.unwrap();
    cluster.end().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_profiles_give_the_same_numbers() {
    let Some((cluster, _alone)) = cluster().await else { return };
    let both = [start().test_clock(), cluster.role("serve").test_clock()];
    let mut devices: Vec<Device> = (0..12).map(|_| Device::new()).collect();
    let uploads: Vec<_> = devices.iter_mut().map(|device| session(device, base())).collect();
    let mut seen = Vec::new();
    for start in both {
        let server = start.start().await.unwrap();
        for (minute, events) in uploads.iter().enumerate() {
            let received_at = base() + chrono::TimeDelta::minutes(3 + i64::try_from(minute).unwrap());
            let (early, late) = events.split_at(events.len() / 2);
            upload_at(&server, late, received_at).await;
            upload_at(&server, early, received_at + chrono::TimeDelta::seconds(20)).await;
        }
        server.settle().await;
        assert_books_balance(&server).await;
        let mut numbers = numbers(&server).await;
        // Ticks lie between the records: at which position one lies is the log's own affair.
        numbers.remove("records");
        for row in numbers.get_mut("events").unwrap().iter_mut().filter_map(Value::as_object_mut) {
            row.remove("log_position");
        }
        seen.push(numbers);
        stop([server]).await;
    }
    let (embedded, on_cluster) = (&seen[0], &seen[1]);
    for (name, rows) in embedded {
        assert_eq!(rows, &on_cluster[name], "{name}");
    }
    assert!(!embedded["views"].is_empty() && !embedded["streams"].is_empty());
    cluster.end().await.unwrap();
}

/// What a cluster takes while something is done to it.
pub(crate) fn steady_load(ingest: &Server) -> Plan {
    Plan {
        target: ingest.http.clone(),
        upload_key: ingest.upload_key.clone(),
        posts_per_second: 40.0,
        events_per_post: 20,
        duration: Duration::from_secs(24),
        connections: 16,
        give_up: Duration::from_secs(30),
    }
}

/// So many events are there, each once, to whoever reads.
pub(crate) async fn assert_all_once(cluster: &Cluster, query: &Server, processors: &[Server], acked: usize) {
    settle(processors).await;
    let all = i64::try_from(acked).unwrap();
    let trouble = || format!("not all is there: {}", processors[0].log());
    wait_until(Duration::from_secs(30), trouble, async || query.number("SELECT count(*) FROM events").await >= all)
        .await;
    assert_eq!(query.number("SELECT count(*) FROM events").await, all);
    assert_eq!(query.number("SELECT count(DISTINCT event_id) FROM events").await, all);
    assert_books_balance(query).await;
    if let Some(seen) = through_duckdb_on_cluster(cluster, None).await {
        assert_eq!(seen["tables"]["events"], json!(all));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_processor_that_froze_finds_its_partitions_taken_and_changes_nothing() {
    let Some((cluster, _alone)) = cluster().await else { return };
    let ingest = cluster.role("ingest").start().await.unwrap();
    let query = cluster.role("query").start().await.unwrap();
    let how = || {
        cluster
            .role("processor")
            .variable("STREAMGAUGE_PROCESSOR__COMMIT_INTERVAL", "200ms")
            .variable("STREAMGAUGE_KAFKA__SESSION_TIMEOUT", "6s")
    };
    let mut processors = Vec::new();
    for _ in 0..2 {
        processors.push(how().start().await.unwrap());
    }
    let partitions = async |processor: &Server| processor.metric("streamgauge_processor_partitions").await;
    let shares = async || partitions(&processors[0]).await > Some(0.0) && partitions(&processors[1]).await > Some(0.0);
    wait_until(Duration::from_secs(30), || processors[1].log(), shares).await;
    let all = partitions(&processors[0]).await.zip(partitions(&processors[1]).await).map(|(one, other)| one + other);

    let plan = steady_load(&ingest);
    let load = tokio::spawn(async move { load::run(&plan).await });
    tokio::time::sleep(Duration::from_secs(2)).await;
    signal(processors[0].pid, "STOP").await;
    let taken = async || partitions(&processors[1]).await == all;
    wait_until(Duration::from_secs(30), || processors[1].log(), taken).await;
    // The other one has gone on for a while when it wakes up with what it had folded.
    tokio::time::sleep(Duration::from_secs(2)).await;
    signal(processors[0].pid, "CONT").await;
    wait_until(Duration::from_secs(30), || processors[0].log(), shares).await;

    let books = load.await.unwrap().unwrap();
    assert!(books.acked.len() > 5_000 && books.unanswered.is_empty(), "{} acknowledged", books.acked.len());
    assert_all_once(&cluster, &query, &processors, books.acked.len()).await;
    stop([ingest, query]).await;
    for processor in processors {
        assert!(processor.stop().await.0.success());
    }
    cluster.end().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processors_that_come_go_and_are_killed_lose_nothing_and_count_nothing_twice() {
    let Some((cluster, _alone)) = cluster().await else { return };
    let quick = |start: Start| {
        start
            .variable("STREAMGAUGE_PROCESSOR__COMMIT_INTERVAL", "200ms")
            .variable("STREAMGAUGE_PROCESSOR__STATE_INTERVAL", "1s")
            .variable("STREAMGAUGE_MAINTENANCE__INTERVAL", "500ms")
            .variable("STREAMGAUGE_MAINTENANCE__ROLLUP_DELTA_AGE", "2s")
    };
    let ingests = cluster.start("ingest", 2).await.unwrap();
    let query = cluster.role("query").start().await.unwrap();
    let mut processors = vec![quick(cluster.role("processor")).start().await.unwrap()];
    let loads = ingests.iter().map(|ingest| {
        let plan = steady_load(ingest);
        tokio::spawn(async move { load::run(&plan).await })
    });
    let loads: Vec<_> = loads.collect();
    // One becomes three; then one is killed and started again, three times; then one of them leaves in peace.
    for _ in 0..2 {
        processors.push(quick(cluster.role("processor")).start().await.unwrap());
    }
    for round in 0..3 {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let killed = processors.remove(round % 2).kill().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        processors.push(killed.start().await.unwrap());
    }
    let leaving = processors.remove(0);
    assert!(leaving.stop().await.0.success());
    let mut acked = BTreeSet::new();
    for load in loads {
        let books = load.await.unwrap().unwrap();
        assert!(books.acked.len() > 5_000 && books.unanswered.is_empty(), "{} acknowledged", books.acked.len());
        acked.extend(books.acked);
    }
    assert_all_once(&cluster, &query, &processors, acked.len()).await;
    for processor in &processors {
        assert_eq!(processor.metric("streamgauge_missing_files").await, Some(0.0));
    }
    stop(ingests.into_iter().chain([query])).await;
    for processor in processors {
        assert!(processor.stop().await.0.success());
    }
    cluster.end().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answers_of_a_cluster_are_the_truth_while_its_processors_are_killed() {
    let Some((cluster, _alone)) = cluster().await else { return };
    check_while_processors_are_killed(cluster, "14").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_with_its_lake_in_a_bucket_gives_the_truth_while_its_processors_are_killed() {
    let Some((cluster, _alone)) = cluster().await else { return };
    let cluster = cluster.in_bucket();
    if cluster.is_in_bucket() {
        check_while_processors_are_killed(cluster, "15").await;
    } else {
        println!("skipped: STREAMGAUGE_TEST_S3 names no store, ./deploy/test starts one");
        cluster.end().await.unwrap();
    }
}

/// How many devices post, how fast, and how often a processor is killed meanwhile, at most so many times.
struct Siege {
    devices: String,
    rate: Option<&'static str>,
    pause: Duration,
    kills: usize,
}

impl Siege {
    /// Ten devices, as fast as they are taken. With `STREAMGAUGE_TEST_SOAK` that many, of some 700 events each, at 1000
    /// events a second.
    fn chosen() -> Self {
        match std::env::var("STREAMGAUGE_TEST_SOAK") {
            Ok(devices) => Self { devices, rate: Some("1000"), pause: Duration::from_secs(10), kills: usize::MAX },
            Err(_) => Self { devices: "10".into(), rate: None, pause: Duration::from_secs(4), kills: 6 },
        }
    }
}

/// A fleet posts to two doors, its answers are held against the truth, and meanwhile one processor after the other is killed.
async fn check_while_processors_are_killed(cluster: Cluster, seed: &str) {
    let quick = |start: Start| {
        start
            .test_clock()
            .variable("STREAMGAUGE_PROCESSOR__COMMIT_INTERVAL", "200ms")
            .variable("STREAMGAUGE_PROCESSOR__STATE_INTERVAL", "600ms")
            .variable("STREAMGAUGE_MAINTENANCE__INTERVAL", "1s")
            .variable("STREAMGAUGE_MAINTENANCE__ROLLUP_DELTA_AGE", "3s")
    };
    let start = async |role: &str| quick(cluster.role(role)).start().await.unwrap();
    let ingests = [start("ingest").await, start("ingest").await];
    let queries = [start("query").await, start("query").await];
    let mut processors = vec![start("processor").await, start("processor").await, start("processor").await];
    let targets = format!("{},{}", ingests[0].http, ingests[1].http);
    let mut command = ingests[0].start().command();
    let siege = Siege::chosen();
    command.args(["simulate", "--check", "--devices", &siege.devices, "--days", "1", "--seed", seed]);
    command.args(siege.rate.iter().flat_map(|rate| ["--rate", rate]));
    command.args(["--disturb", "duplicates,recut,reorder,offline,clocks,lost", "--target", &targets]);
    command.args(["--reader", &queries[1].http, "--key", UPLOAD_KEY, "--token", READ_TOKEN]);
    if let Some(duckdb) = clients::duckdb() {
        let attach = format!("ducklake:postgres:{}", cluster.database());
        command.args(["--catalogue", &attach, "--duckdb", duckdb.to_str().unwrap()]);
    }
    let mut simulation = tokio::spawn(command.stdin(Stdio::null()).output());
    let mut kills = 0;
    let output = loop {
        tokio::select! {
            output = &mut simulation => break output.unwrap().unwrap(),
            () = tokio::time::sleep(siege.pause), if kills < siege.kills => {
                let killed = processors.remove(0).kill().await;
                processors.push(killed.start().await.unwrap());
                kills += 1;
            }
        }
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "{said}{:?}", queries[1].log_lines("ERROR"));
    assert!(kills > 0, "the simulation was over before a processor was killed");
    println!("{kills} kills; {said}");
    for query in &queries {
        assert_books_balance(query).await;
    }
    let (one, other) = (numbers(&queries[0]).await, numbers(&queries[1]).await);
    assert!(one == other, "two query services do not answer the same");
    travel_in_time(&cluster, &queries[0]).await;
    stop(ingests.into_iter().chain(queries)).await;
    for processor in processors {
        assert!(processor.stop().await.0.success());
    }
    cluster.end().await.unwrap();
}

/// As of commits at the beginning, in the middle and at the end DuckDB counts and adds up what we do.
async fn travel_in_time(cluster: &Cluster, query: &Server) {
    let commits = query.sql("SELECT DISTINCT commit_id FROM commits WHERE events > 0 ORDER BY commit_id").await;
    let commits: Vec<i64> = commits.iter().map(|row| row["commit_id"].as_i64().unwrap()).collect();
    let last = commits.len() - 1;
    let mut seen_events = BTreeSet::new();
    for commit in [last / 4, last / 2, last].map(|place| commits[place]) {
        let Some(seen) = through_duckdb_on_cluster(cluster, Some(commit)).await else { return };
        for (pointer, sql) in [
            ("/tables/events", "SELECT count(*) AS n FROM events"),
            ("/tables/slices", "SELECT count(*) AS n FROM slices"),
            ("/tables/views", "SELECT count(*) AS n FROM views"),
            ("/records/stored", "SELECT coalesce(sum(stored), 0) AS n FROM records"),
            ("/slices/attempts", "SELECT coalesce(sum(attempts), 0) AS n FROM slices"),
            ("/slices/playing_ms", "SELECT coalesce(sum(playing_ms), 0) AS n FROM slices"),
            ("/views/rebuffer_ms", "SELECT coalesce(sum(rebuffer_ms), 0) AS n FROM views"),
            ("/app_sessions/duration_ms", "SELECT coalesce(sum(duration_ms), 0) AS n FROM app_sessions"),
        ] {
            let ours = query.try_sql(&json!({ "sql": sql, "as_of": commit })).await;
            assert_eq!(ours.status, 200, "{commit}: {}", ours.text());
            assert_eq!(seen.pointer(pointer).unwrap(), &ours.json()["data"][0]["n"], "{commit}: {sql}");
        }
        seen_events.insert(seen["tables"]["events"].as_i64().unwrap());
    }
    assert_eq!(seen_events.len(), 3, "the lake grew between the commits: {seen_events:?}");
}
