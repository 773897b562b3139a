//! Brokers that die under load, one after the other and all at once.

use std::collections::BTreeSet;
use std::time::Duration;

use rig::load;
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::cluster::{assert_all_once, cluster, steady_load};
use crate::deploy;

/// Three brokers of this test alone: three copies of each record, of which two must be there.
struct Kafka(TempDir);

impl Kafka {
    fn start() -> Self {
        let kafka = Self(tempfile::tempdir().unwrap());
        kafka.make("start", &["3"]);
        kafka
    }

    fn make(&self, verb: &str, of: &[&str]) {
        let folder = self.0.path().to_str().unwrap();
        deploy("kafka/kafka", [verb, folder].iter().chain(of));
    }

    fn bootstrap(&self) -> String {
        std::fs::read_to_string(self.0.path().join("bootstrap")).unwrap().trim().to_owned()
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        self.make("stop", &[]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn brokers_die_one_after_the_other_and_all_at_once_and_nothing_acknowledged_is_lost() {
    let Some((cluster, _alone)) = cluster().await else { return };
    let kafka = Kafka::start();
    let cluster = cluster.on_brokers(kafka.bootstrap());
    let ingest = cluster.role("ingest").start().await.unwrap();
    let processors = cluster.start("processor", 2).await.unwrap();
    let query = cluster.role("query").start().await.unwrap();

    let mut plan = steady_load(&ingest);
    (plan.duration, plan.give_up) = (Duration::from_secs(3), Duration::from_secs(60));
    let (over, mut is_over) = oneshot::channel();
    let load = tokio::spawn(async move {
        let mut books = Vec::new();
        while is_over.try_recv().is_err() {
            books.push(load::run(&plan).await.unwrap());
        }
        books
    });
    for node in ["1", "2", "3"] {
        tokio::time::sleep(Duration::from_secs(2)).await;
        kafka.make("kill-node", &[node]);
        // The others take its partitions over.
        tokio::time::sleep(Duration::from_secs(4)).await;
        kafka.make("start-node", &[node]);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    for node in ["1", "2", "3"] {
        kafka.make("kill-node", &[node]);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    // As a cluster: one alone waits for a second one before it takes requests.
    kafka.make("start", &["3"]);
    over.send(()).unwrap();

    let books = load.await.unwrap();
    let refused: BTreeSet<u16> = books.iter().flat_map(|books| books.refused.keys()).copied().collect();
    // Nobody took anything while all were away, and the answer says so.
    assert_eq!(refused, BTreeSet::from([503]));
    assert!(books.iter().all(|books| books.unanswered.is_empty()));
    let acked = books.iter().map(|books| books.acked.len()).sum();
    assert!(acked > 10_000, "{acked} acknowledged");
    assert_all_once(&cluster, &query, &processors, acked).await;
    for server in processors.into_iter().chain([ingest, query]) {
        assert!(server.stop().await.0.success());
    }
    cluster.end().await.unwrap();
}
