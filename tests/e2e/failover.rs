//! A database that is lost under load, another one that takes its place, and a number of partitions that cannot be changed.

use std::ffi::OsStr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rig::Server;
use rig::cluster::Cluster;
use rig::load::{self, Books};
use rig::server::{Start, wait_until};
use serde_json::json;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::audit::run;
use crate::cluster::{cluster, steady_load};
use crate::{assert_books_balance, deploy};

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
        let folders = [self].into_iter().chain(of).map(|of| of.0.path().as_os_str());
        deploy("postgres/postgres", [OsStr::new(verb)].into_iter().chain(folders));
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

/// All roles of a cluster over a database that has a standby, and uploads that go on.
struct UnderLoad {
    first: Postgres,
    second: Postgres,
    address: Address,
    ingest: Server,
    processors: [Server; 2],
    query: Server,
    load: JoinHandle<anyhow::Result<Books>>,
}

impl UnderLoad {
    async fn start(cluster: &Cluster) -> Self {
        let (first, second) = (Postgres::new(), Postgres::new());
        first.make("start", None);
        second.make("standby", Some(&first));
        let address = Address::leading_to(&first).await;
        let database = format!("postgres://streamgauge@{}/postgres", address.listens);
        let role = |name: &str| {
            let role = cluster.role(name).variable("STREAMGAUGE_WAREHOUSE_URL", &database);
            role.variable("STREAMGAUGE_MAINTENANCE__INTERVAL", "500ms")
        };
        let ingest = role("ingest").start().await.unwrap();
        let processors = [role("processor").start().await.unwrap(), role("processor").start().await.unwrap()];
        let query = role("query").start().await.unwrap();
        let plan = steady_load(&ingest);
        let load = tokio::spawn(async move { load::run(&plan).await });
        Self { first, second, address, ingest, processors, query, load }
    }

    /// The standby takes over.
    fn promote(&self) {
        self.second.make("promote", None);
        self.address.lead_to(&self.second);
    }

    /// Answers fail while the database is away.
    async fn committed(&self) -> i64 {
        let reply = self.query.try_sql(&json!({ "sql": "SELECT count(*) AS n FROM events" })).await.json();
        reply["data"][0]["n"].as_i64().unwrap_or(0)
    }

    async fn more_than(&self, before: i64) -> i64 {
        let trouble = || format!("nothing is committed any more: {}", self.processors[0].log());
        wait_until(Duration::from_secs(40), trouble, async || self.committed().await > before).await;
        self.committed().await
    }

    /// The events that the rollups count.
    async fn counted(&self) -> i64 {
        let reply =
            self.query.get("/v1/rollups/usage?grain=day&from=2026-01-01T00:00:00Z&measures=events").await.json();
        reply["data"].as_array().unwrap().iter().filter_map(|row| row["events"].as_i64()).sum()
    }

    /// Uploads were taken in all the time, each event is there once, and all books say so.
    async fn ends_with_everything(mut self) {
        let books = (&mut self.load).await.unwrap().unwrap();
        assert!(books.refused.is_empty() && books.unanswered.is_empty(), "uploads go on: {:?}", books.refused);
        self.processors[0].settle().await;
        let all = i64::try_from(books.acked.len()).unwrap();
        let trouble = || format!("not all of {all} is there: {}", self.processors[0].log());
        wait_until(Duration::from_secs(30), trouble, async || self.committed().await >= all).await;
        assert_eq!(self.committed().await, all);
        assert_eq!(self.query.number("SELECT count(DISTINCT event_id) FROM events").await, all);
        assert_eq!(self.counted().await, all);
        assert_books_balance(&self.query).await;
        let brokers = [
            self.ingest.metric("streamgauge_log_brokers{state=\"up\"}").await,
            self.ingest.metric("streamgauge_log_brokers{state=\"down\"}").await,
        ];
        assert!(brokers[0].is_some_and(|up| up >= 1.0) && brokers[1] == Some(0.0), "{brokers:?}");
        let (code, said) = run(self.processors[0].start(), "audit").await;
        assert_eq!(code, 0, "{said}");
        for server in self.processors.into_iter().chain([self.ingest, self.query]) {
            assert!(server.stop().await.0.success());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_dies_under_load_is_replaced_by_its_standby_and_nothing_is_lost() {
    let Some((cluster, _alone)) = cluster().await else { return };
    let roles = UnderLoad::start(&cluster).await;

    let before = roles.more_than(400).await;
    roles.first.make("kill", None);
    tokio::time::sleep(Duration::from_secs(3)).await;
    roles.promote();
    let before = roles.more_than(before).await;
    // The same server again, after a crash of its own.
    roles.second.make("kill", None);
    tokio::time::sleep(Duration::from_secs(2)).await;
    roles.second.make("start", None);
    roles.address.lead_to(&roles.second);
    roles.more_than(before).await;

    roles.ends_with_everything().await;
    cluster.end().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_standby_lacks_that_was_behind_is_noticed_and_taken_in_again() {
    let Some((cluster, _alone)) = cluster().await else { return };
    let roles = UnderLoad::start(&cluster).await;

    let before = roles.more_than(400).await;
    roles.second.make("behind", Some(&roles.first));
    // Everybody reads commits that only the first one has, and remembers them.
    let before = roles.more_than(before + 1600).await;
    assert!(roles.counted().await >= before);
    roles.first.make("kill", None);
    roles.promote();
    roles.more_than(before).await;
    for server in roles.processors.iter().chain([&roles.query]) {
        let trouble = || format!("nobody noticed: {}", server.log());
        let has_noticed = async || server.log().contains("the database lacks commits that were read from it");
        wait_until(Duration::from_secs(20), trouble, has_noticed).await;
    }

    roles.ends_with_everything().await;
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
