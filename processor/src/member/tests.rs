use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use event_log::{
    AppendError, EventLog, LogRecord, LogStats, NewRecord, Partition, PartitionRange, PollError, Position,
};
use futures::future::BoxFuture;
use schemas::record::{self, Record};
use warehouse::{CommitError, WarehouseConfig};

use super::*;
use crate::Processor;

/// A log that tells what a test has written down, one thing a poll. Which partitions a real one gives to whom, and when, is
/// not in a test's hand.
#[derive(Debug, Clone, Default)]
struct Script(Arc<Mutex<Told>>);

#[derive(Debug, Default)]
struct Told {
    next: VecDeque<Polled>,
    consumers: usize,
    started: Vec<(Partition, Position)>,
    stopped: Vec<Partition>,
    /// The next poll panics.
    panics: bool,
    noted: Vec<(Partition, Position)>,
}

const PARTITIONS: Partition = 4;

impl Script {
    fn tell(&self, next: impl IntoIterator<Item = Polled>) {
        self.0.lock().unwrap().next.extend(next);
    }

    /// Where partitions were started since this was asked last.
    fn started(&self) -> Vec<(Partition, Position)> {
        std::mem::take(&mut self.0.lock().unwrap().started)
    }
}

impl LogConsumer for Script {
    fn poll(&mut self, _max_bytes: usize, _wait: Duration) -> BoxFuture<'_, Result<Polled, PollError>> {
        let (panics, next) = {
            let mut told = self.0.lock().unwrap();
            (std::mem::take(&mut told.panics), told.next.pop_front())
        };
        assert!(!panics, "as the test says");
        Box::pin(async move { Ok(next.unwrap_or(Polled::Idle)) })
    }

    fn start_at(&mut self, partition: Partition, position: Position) -> Result<(), PollError> {
        self.0.lock().unwrap().started.push((partition, position));
        Ok(())
    }

    fn stop(&mut self, partition: Partition) -> Result<(), PollError> {
        self.0.lock().unwrap().stopped.push(partition);
        Ok(())
    }

    fn note_committed(&mut self, partition: Partition, position: Position) {
        self.0.lock().unwrap().noted.push((partition, position));
    }
}

impl EventLog for Script {
    fn identity(&self) -> &'static str {
        "script"
    }

    fn partitions(&self) -> Partition {
        PARTITIONS
    }

    fn append(&self, _records: Vec<NewRecord>) -> BoxFuture<'_, Result<Vec<Position>, AppendError>> {
        Box::pin(async { Err(AppendError::ReadOnly("a script is only read".into())) })
    }

    fn subscribe(&self) -> Box<dyn LogConsumer> {
        self.0.lock().unwrap().consumers += 1;
        Box::new(self.clone())
    }

    fn ranges(&self) -> Vec<PartitionRange> {
        vec![PartitionRange { low: 0, high: 0 }; PARTITIONS.into()]
    }

    fn forget(&self, _protected: &[Position], _before: Timestamp) -> Result<u64, AppendError> {
        Ok(0)
    }

    fn stats(&self) -> LogStats {
        LogStats::default()
    }
}

/// A record that nobody can read: one quarantined event.
fn records(places: &[(Partition, Position)]) -> Polled {
    let record = |(partition, position): &(Partition, Position)| LogRecord {
        partition: *partition,
        position: *position,
        bytes: format!("{partition}/{position}").into(),
    };
    Polled::Records(places.iter().map(record).collect())
}

const NOW: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);

struct Bench {
    warehouse: Warehouse,
    metrics: ProcessorMetrics,
    _folder: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (database, lake) = (folder.path().join("warehouse.db"), folder.path().join("lake"));
        let warehouse = Warehouse::open(&WarehouseConfig::sqlite(database, lake)).await.unwrap();
        Self { warehouse, metrics: ProcessorMetrics::new().unwrap(), _folder: folder }
    }

    /// A processor whose commits are only made when they must be.
    fn processor(&self, script: &Script) -> Processor {
        let config = ProcessorConfig { commit_interval: Duration::MAX, ..ProcessorConfig::default() };
        Processor::new(Arc::new(script.clone()), self.warehouse.clone(), config, self.metrics.clone())
    }

    async fn positions(&self) -> Vec<u64> {
        let checkpoints = self.warehouse.checkpoints(EVENTS_TOPIC, PARTITIONS).await.unwrap();
        checkpoints.iter().map(|checkpoint| checkpoint.position).collect()
    }
}

/// Steps until the script is told to its end.
async fn run(processor: &mut Processor, script: &Script) -> Vec<Step> {
    let mut steps = Vec::new();
    loop {
        steps.push(processor.step(NOW, Duration::ZERO).await.unwrap());
        if script.0.lock().unwrap().next.is_empty() {
            return steps;
        }
    }
}

#[tokio::test]
async fn only_what_was_assigned_is_begun_and_moved() {
    let (bench, script) = (Bench::new().await, Script::default());
    let mut processor = bench.processor(&script);
    script.tell([Polled::Assigned(vec![1, 3]), records(&[(1, 0), (1, 1), (3, 0)])]);
    run(&mut processor, &script).await;
    assert_eq!(script.started(), [(1, 0), (3, 0)]);
    assert!(matches!(processor.flush(NOW).await, Ok(Step::Committed(_))));
    assert_eq!(bench.positions().await, [0, 2, 0, 1]);
    assert_eq!(script.0.lock().unwrap().noted, [(1, 2), (3, 1)]);
    assert_eq!(bench.metrics.partitions.get(), 2);
}

#[tokio::test]
async fn without_a_partition_it_waits_for_one() {
    let (bench, script) = (Bench::new().await, Script::default());
    let mut processor = bench.processor(&script);
    script.tell([Polled::Idle, Polled::Assigned(vec![]), Polled::Idle, Polled::Idle]);
    assert!(run(&mut processor, &script).await.iter().all(|step| *step == Step::Idle));
    assert_eq!(processor.flush(NOW).await.unwrap(), Step::Idle);
    script.tell([Polled::Assigned(vec![2]), records(&[(2, 0)])]);
    run(&mut processor, &script).await;
    assert_eq!(script.started(), [(2, 0)]);
    processor.flush(NOW).await.unwrap();
    assert_eq!(bench.positions().await, [0, 0, 1, 0]);
}

#[tokio::test]
async fn what_is_pending_is_committed_before_partitions_go() {
    let (bench, script) = (Bench::new().await, Script::default());
    let mut processor = bench.processor(&script);
    script.tell([Polled::Assigned(vec![0, 1]), records(&[(0, 0), (1, 0)]), Polled::Revoking(vec![0])]);
    assert!(matches!(run(&mut processor, &script).await.last(), Some(Step::Committed(_))));
    assert_eq!(bench.positions().await, [1, 1, 0, 0]);
    assert!(bench.warehouse.state_file(0).await.unwrap().is_some_and(|state| state.position == 1));
    script.started();
    // What stayed goes on without being started again.
    script.tell([Polled::Assigned(vec![1]), records(&[(1, 1)])]);
    run(&mut processor, &script).await;
    processor.flush(NOW).await.unwrap();
    assert_eq!(script.started(), []);
    assert_eq!(bench.positions().await, [1, 2, 0, 0]);
}

#[tokio::test]
async fn what_was_polled_is_folded_while_a_commit_is_on_its_way_but_not_if_partitions_go() {
    let (bench, script) = (Bench::new().await, Script::default());
    let config = ProcessorConfig { commit_interval: Duration::ZERO, ..ProcessorConfig::default() };
    let log = Arc::new(script.clone());
    let mut processor = Processor::new(log, bench.warehouse.clone(), config, bench.metrics.clone());
    script.tell([Polled::Assigned(vec![0, 1]), records(&[(0, 0)])]);
    run(&mut processor, &script).await;
    let mut positions = Vec::new();
    for next in [records(&[(0, 1), (1, 0)]), records(&[(0, 2)]), Polled::Revoking(vec![0])] {
        // Until the first one need not wait for company any more.
        tokio::time::sleep(Duration::from_millis(60)).await;
        script.tell([next]);
        assert!(matches!(processor.step(NOW, Duration::ZERO).await, Ok(Step::Committed(_))));
        positions.push(bench.positions().await[..2].to_vec());
    }
    assert_eq!(positions, [[1, 0], [2, 1], [3, 1]]);
    assert_eq!(processor.flush(NOW).await.unwrap(), Step::Idle, "partition 0 may go");
    let rows = bench.warehouse.read().await.unwrap().books().await.unwrap();
    assert_eq!((rows.quarantine_rows, rows.unaccounted()), (4, 0));
}

#[tokio::test]
async fn what_is_pending_of_partitions_that_went_without_notice_is_never_committed() {
    let (bench, script) = (Bench::new().await, Script::default());
    let mut processor = bench.processor(&script);
    script.tell([Polled::Assigned(vec![0, 1]), records(&[(0, 0), (1, 0)]), Polled::Assigned(vec![1])]);
    run(&mut processor, &script).await;
    // The one that stayed begins anew too: what was folded of it went with the rest.
    assert_eq!(script.started(), [(0, 0), (1, 0), (1, 0)]);
    assert_eq!(processor.flush(NOW).await.unwrap(), Step::Idle);
    assert_eq!(bench.positions().await, [0, 0, 0, 0]);
    script.tell([records(&[(1, 0)])]);
    run(&mut processor, &script).await;
    processor.flush(NOW).await.unwrap();
    assert_eq!(bench.positions().await, [0, 1, 0, 0]);
}

#[tokio::test]
async fn more_partitions_join_what_is_pending() {
    let (bench, script) = (Bench::new().await, Script::default());
    let mut processor = bench.processor(&script);
    script.tell([Polled::Assigned(vec![0]), records(&[(0, 0)]), Polled::Assigned(vec![0, 3]), records(&[(3, 0)])]);
    run(&mut processor, &script).await;
    assert_eq!(script.started(), [(0, 0), (3, 0)]);
    processor.flush(NOW).await.unwrap();
    assert_eq!(bench.positions().await, [1, 0, 0, 1]);
}

#[tokio::test]
async fn a_fenced_commit_drops_what_is_known_and_not_the_membership() {
    let (bench, script, other_script) = (Bench::new().await, Script::default(), Script::default());
    let (mut frozen, mut other) = (bench.processor(&script), bench.processor(&other_script));
    script.tell([Polled::Assigned(vec![0]), records(&[(0, 0), (0, 1)])]);
    run(&mut frozen, &script).await;
    script.started();
    // Meanwhile another has the partition.
    other_script.tell([Polled::Assigned(vec![0]), records(&[(0, 0)])]);
    run(&mut other, &other_script).await;
    other.flush(NOW).await.unwrap();

    let fenced = frozen.flush(NOW).await.unwrap_err();
    assert!(matches!(fenced, RunError::Commit(CommitError::Fenced { .. })), "{fenced}");
    assert_eq!(bench.metrics.commits.with_label_values(&["fenced"]).get(), 1);
    assert_eq!(bench.positions().await, [1, 0, 0, 0]);
    // It still has the partition as far as it knows, and begins where the other one ended.
    script.tell([Polled::Idle, records(&[(0, 1)])]);
    run(&mut frozen, &script).await;
    assert_eq!(script.started(), [(0, 0)], "and once more the last one that was committed");
    frozen.flush(NOW).await.unwrap();
    assert_eq!(bench.positions().await, [2, 0, 0, 0]);
    assert_eq!(script.0.lock().unwrap().consumers, 1);
}

#[tokio::test]
async fn a_record_below_the_checkpoint_that_came_after_it_is_no_part_of_this_log() {
    let (bench, script) = (Bench::new().await, Script::default());
    let tick = |position, seconds: i64| {
        let log_time = Timestamp::from_micros(NOW.micros() + seconds * 1_000_000);
        let bytes = record::encode(&Record::Tick { log_time }).into();
        Polled::Records(vec![LogRecord { partition: 0, position, bytes }])
    };
    let mut before = bench.processor(&script);
    script.tell([Polled::Assigned(vec![0]), tick(0, 5), tick(1, 3)]);
    run(&mut before, &script).await;
    before.flush(NOW).await.unwrap();
    assert_eq!(bench.positions().await, [2, 0, 0, 0]);

    // Whatever is not above the log time of the checkpoint may have been there.
    for known in [3, 5] {
        let mut after = bench.processor(&script);
        script.tell([Polled::Assigned(vec![0]), tick(1, known), tick(2, 7)]);
        assert!(run(&mut after, &script).await.contains(&Step::Folded));
    }
    let mut after = bench.processor(&script);
    script.tell([Polled::Assigned(vec![0]), tick(1, 6)]);
    let refused = after.step(NOW, Duration::ZERO).await.unwrap_err();
    assert!(matches!(refused, RunError::WrittenOver { partition: 0, position: 1 }), "{refused}");
    assert_eq!(bench.positions().await, [2, 0, 0, 0]);
}

#[tokio::test]
async fn after_a_failure_only_partitions_that_are_still_its_own_are_begun() {
    let (bench, script, other_script) = (Bench::new().await, Script::default(), Script::default());
    let (mut frozen, mut other) = (bench.processor(&script), bench.processor(&other_script));
    script.tell([Polled::Assigned(vec![0, 1]), records(&[(0, 0)])]);
    run(&mut frozen, &script).await;
    other_script.tell([Polled::Assigned(vec![0]), records(&[(0, 0)])]);
    run(&mut other, &other_script).await;
    other.flush(NOW).await.unwrap();
    frozen.flush(NOW).await.unwrap_err();
    script.started();
    script.tell([Polled::Revoking(vec![0]), Polled::Assigned(vec![1]), Polled::Idle]);
    run(&mut frozen, &script).await;
    assert_eq!(script.started(), [(1, 0)]);
}

#[tokio::test]
async fn a_paused_partition_stays_where_it_is_and_the_others_go_on() {
    let (bench, script) = (Bench::new().await, Script::default());
    let mut processor = bench.processor(&script);
    script.tell([Polled::Assigned(vec![0, 1]), records(&[(0, 0), (1, 0)])]);
    run(&mut processor, &script).await;
    bench.warehouse.pause(EVENTS_TOPIC, 0, "looked at", NOW).await.unwrap();
    let refused = processor.flush(NOW).await.unwrap_err();
    assert!(matches!(refused, RunError::Commit(CommitError::Paused { log_partition: 0, .. })), "{refused}");
    assert_eq!(refused.to_string(), "partition 0 of `events` is paused: looked at");
    script.started();
    script.tell([Polled::Idle, records(&[(1, 0)])]);
    run(&mut processor, &script).await;
    assert_eq!((script.started(), script.0.lock().unwrap().stopped.clone()), (vec![(1, 0)], vec![0]));
    assert_eq!(bench.metrics.paused_partitions.get(), 1);
    processor.flush(NOW).await.unwrap();
    assert_eq!(bench.positions().await, [0, 1, 0, 0]);

    // What is pending of the others is committed when it goes on.
    script.tell([records(&[(1, 1)])]);
    run(&mut processor, &script).await;
    bench.warehouse.resume(EVENTS_TOPIC, 0).await.unwrap();
    tokio::time::sleep(PAUSES_INTERVAL).await;
    assert!(matches!(processor.step(NOW, Duration::ZERO).await, Ok(Step::Committed(_))));
    assert_eq!(script.started(), [(0, 0), (1, 1)]);
    script.tell([records(&[(0, 0)])]);
    run(&mut processor, &script).await;
    processor.flush(NOW).await.unwrap();
    assert_eq!(bench.positions().await, [1, 2, 0, 0]);
    assert_eq!(bench.metrics.paused_partitions.get(), 0);
}

#[tokio::test]
async fn what_was_folded_before_a_pause_is_not_committed_after_it() {
    let (bench, script) = (Bench::new().await, Script::default());
    let mut processor = bench.processor(&script);
    script.tell([Polled::Assigned(vec![0]), records(&[(0, 0)])]);
    run(&mut processor, &script).await;
    bench.warehouse.pause(EVENTS_TOPIC, 0, "looked at", NOW).await.unwrap();
    bench.warehouse.resume(EVENTS_TOPIC, 0).await.unwrap();
    let refused = processor.flush(NOW).await.unwrap_err();
    assert!(matches!(refused, RunError::Commit(CommitError::Paused { .. })), "{refused}");
    script.tell([Polled::Idle, records(&[(0, 0)])]);
    run(&mut processor, &script).await;
    processor.flush(NOW).await.unwrap();
    assert_eq!(bench.positions().await, [1, 0, 0, 0]);
}

#[tokio::test]
async fn after_a_panic_records_are_committed_one_by_one() {
    let (bench, script) = (Bench::new().await, Script::default());
    let mut processor = bench.processor(&script);
    script.tell([Polled::Assigned(vec![0]), records(&[(0, 0), (0, 1)])]);
    run(&mut processor, &script).await;
    script.0.lock().unwrap().panics = true;
    let step = std::panic::AssertUnwindSafe(processor.step(NOW, Duration::ZERO));
    assert!(futures::FutureExt::catch_unwind(step).await.is_err());
    script.tell([Polled::Idle, records(&[(0, 0), (0, 1), (0, 2)])]);
    for position in 1..=3 {
        assert!(matches!(processor.step(NOW, Duration::ZERO).await, Ok(Step::Committed(_))));
        assert_eq!(bench.positions().await[0], position);
    }
}
