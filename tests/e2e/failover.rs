//! A database that is lost under load, another one that takes its place, and a number of partitions that cannot be changed.

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rig::cluster::Cluster;
use rig::load;
use rig::server::{Start, repository, wait_until};
use serde_json::json;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};

use crate::assert_books_balance;
use crate::audit::run;
use crate::cluster::{cluster, steady_load};

/// A Postgres server of this test alone.
struct Postgres(TempDir);

impl Postgres {
    fn new() -> Self {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        // The server works as another user.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        Self(folder)
    }

    fn make(&self, verb: &str, of: Option<&Self>) {
        let mut command = Command::new(repository().join("deploy/postgres/postgres"));
        let output = command.arg(verb).arg(self.0.path()).args(of.map(|of| of.0.path())).output().unwrap();
        assert!(output.status.success(), "{verb}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// `host:port`.
    fn address(&self) -> String {
        let url = std::fs::read_to_string(self.0.path().join("url")).unwrap();
        url.split_once('@').unwrap().1.split_once('/').unwrap().0.to_owned()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.make("stop", None);
    }
}

/// An address that stays while the server behind it changes, as a virtual address or a name does.
#[derive(Clone)]
struct Address {
    listens: String,
    leads_to: Arc<Mutex<String>>,
}

impl Address {
    async fn leading_to(server: &Postgres) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listens = listener.local_addr().unwrap().to_string();
        let address = Self { listens, leads_to: Arc::new(Mutex::new(server.address())) };
        let own = address.clone();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let leads_to = own.leads_to.lock().unwrap().clone();
                tokio::spawn(async move {
                    let Ok(mut server) = TcpStream::connect(leads_to).await else { return };
                    // Either end may break off.
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        address
    }

    fn lead_to(&self, server: &Postgres) {
        *self.leads_to.lock().unwrap() = server.address();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_dies_under_load_is_replaced_by_its_standby_and_nothing_is_lost() {
    let Some((cluster, _alone)) = cluster().await else { return };
    let (first, second) = (Postgres::new(), Postgres::new());
    first.make("start", None);
    second.make("standby", Some(&first));
    let address = Address::leading_to(&first).await;
    let database = format!("postgres://streamgauge@{}/postgres", address.listens);
    let role = |name: &str| cluster.role(name).variable("STREAMGAUGE_WAREHOUSE_URL", &database);
    let ingest = role("ingest").start().await.unwrap();
    let processors = [role("processor").start().await.unwrap(), role("processor").start().await.unwrap()];
    let query = role("query").start().await.unwrap();
    let plan = steady_load(&ingest);
    let load = tokio::spawn(async move { load::run(&plan).await });
    // Answers fail while the database is away.
    let committed = async || {
        let reply = query.try_sql(&json!({ "sql": "SELECT count(*) AS n FROM events" })).await.json();
        reply["data"][0]["n"].as_i64().unwrap_or(0)
    };
    let more_than = async |before: i64| {
        let trouble = || format!("nothing is committed any more: {}", processors[0].log());
        wait_until(Duration::from_secs(40), trouble, async || committed().await > before).await;
        committed().await
    };

    let before = more_than(400).await;
    first.make("kill", None);
    tokio::time::sleep(Duration::from_secs(3)).await;
    second.make("promote", None);
    address.lead_to(&second);
    let before = more_than(before).await;
    // The same server again, after a crash of its own.
    second.make("kill", None);
    tokio::time::sleep(Duration::from_secs(2)).await;
    second.make("start", None);
    address.lead_to(&second);
    more_than(before).await;

    let books = load.await.unwrap().unwrap();
    assert!(books.refused.is_empty() && books.unanswered.is_empty(), "uploads go on: {:?}", books.refused);
    processors[0].settle().await;
    let all = i64::try_from(books.acked.len()).unwrap();
    let trouble = || format!("not all of {all} is there: {}", processors[0].log());
    wait_until(Duration::from_secs(30), trouble, async || committed().await >= all).await;
    assert_eq!(committed().await, all);
    assert_eq!(query.number("SELECT count(DISTINCT event_id) FROM events").await, all);
    assert_books_balance(&query).await;
    let brokers = [
        ingest.metric("streamgauge_log_brokers{state=\"up\"}").await,
        ingest.metric("streamgauge_log_brokers{state=\"down\"}").await,
    ];
    assert!(brokers[0].is_some_and(|up| up >= 1.0) && brokers[1] == Some(0.0), "{brokers:?}");
    let (code, said) = run(processors[0].start(), "audit").await;
    assert_eq!(code, 0, "{said}");
    for server in processors.into_iter().chain([ingest, query]) {
        assert!(server.stop().await.0.success());
    }
    cluster.end().await.unwrap();
}

/// Uploads one event and waits until it can be read.
async fn takes_one(start: &Start) {
    let server = start.start().await.unwrap();
    let event = rig::Device::new().event("feature.used", chrono::Utc::now(), json!({ "feature": "search" }));
    assert_eq!(server.upload(&[event]).await.status, 202);
    server.settle().await;
    let trouble = || format!("it is not there: {}", server.log());
    let is_there = async || server.number("SELECT count(*) FROM events").await == 1;
    wait_until(Duration::from_secs(20), trouble, is_there).await;
    assert!(server.stop().await.0.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_number_of_partitions_is_refused_by_name_and_begins_anew_in_a_place_of_its_own() {
    let Some((cluster, _alone)) = cluster().await else { return };
    let as_it_was = cluster.role("serve");
    takes_one(&as_it_was).await;
    let more = |cluster: &Cluster| cluster.role("serve").variable("STREAMGAUGE_LOG__PARTITIONS", "6");
    let refused = more(&cluster).start().await.unwrap_err().to_string();
    assert!(refused.contains("has partitions 4, and the configuration says 6"), "{refused}");
    // A topic under another name is none that this database has taken in.
    let prefix = format!("{}.six.", cluster.database().rsplit('/').next().unwrap());
    let renamed = more(&cluster).variable("STREAMGAUGE_KAFKA__TOPIC_PREFIX", prefix);
    let refused = renamed.start().await.unwrap_err().to_string();
    assert!(refused.contains("records of another log than this one"), "{refused}");
    let (database, lake) = cluster.second_place().await.unwrap();
    let anew = renamed.variable("STREAMGAUGE_WAREHOUSE_URL", database).variable("STREAMGAUGE_LAKE_URL", lake);
    takes_one(&anew).await;
    // What was stored before is still read where it is.
    let query = cluster.role("query").start().await.unwrap();
    assert_eq!(query.number("SELECT count(*) FROM events").await, 1);
    assert!(query.stop().await.0.success());
    cluster.end().await.unwrap();
}
