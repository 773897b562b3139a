//! What each partition holds, as it was last seen, and the thread that looks again.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::client::{Client, ClientContext};
use rdkafka::error::KafkaError;

use super::identity::topic_id;
use super::topic::number;
use super::{Shared, lock};
use crate::{Partition, PartitionRange, Position};

/// The ranges are this old at most, while the brokers answer.
const REFRESH: Duration = Duration::from_secs(1);
/// One request of the thread; the end of a log waits for it no longer than this.
const REQUEST: Duration = Duration::from_secs(1);
/// The topic's id is looked at again each time after so many refreshes.
const IDENTIFY_EVERY: u32 = 10;

/// The ranges of all partitions, by partition number.
#[derive(Debug)]
pub(super) struct Ranges(Mutex<Vec<PartitionRange>>);

impl Ranges {
    pub(super) fn new(partitions: Partition) -> Self {
        Self(Mutex::new(vec![PartitionRange { low: 0, high: 0 }; partitions.into()]))
    }

    pub(super) fn all(&self) -> Vec<PartitionRange> {
        lock(&self.0).clone()
    }

    pub(super) fn of(&self, partition: Partition) -> Option<PartitionRange> {
        lock(&self.0).get(usize::from(partition)).copied()
    }

    pub(super) fn set_all(&self, ranges: Vec<PartitionRange>) {
        *lock(&self.0) = ranges;
    }

    /// Takes over what was seen. Neither end goes back: an older look may come later.
    pub(super) fn saw(&self, partition: Partition, seen: PartitionRange) {
        if let Some(range) = lock(&self.0).get_mut(usize::from(partition)) {
            *range = PartitionRange { low: range.low.max(seen.low), high: range.high.max(seen.high) };
        }
    }

    /// A record was appended below `high`.
    pub(super) fn appended(&self, partition: Partition, high: Position) {
        self.saw(partition, PartitionRange { low: 0, high });
    }
}

/// Asks the brokers. Blocks at most `timeout`.
pub(super) fn watermarks<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    partition: Partition,
    timeout: Duration,
) -> Result<PartitionRange, KafkaError> {
    let (low, high) = client.fetch_watermarks(topic, number(partition), timeout)?;
    let position = |offset: i64| Position::try_from(offset).unwrap_or(0);
    Ok(PartitionRange { low: position(low), high: position(high) })
}

/// The thread.
#[derive(Debug)]
pub(super) struct Watch {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Watch {
    pub(super) fn start(shared: Arc<Shared>) -> std::io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::Builder::new().name("log-ranges".into()).spawn(move || {
            let mut refreshes = 0u32;
            while stopped.recv_timeout(REFRESH) == Err(RecvTimeoutError::Timeout) {
                refresh(&shared);
                refreshes = refreshes.wrapping_add(1);
                if refreshes.is_multiple_of(IDENTIFY_EVERY) {
                    identify(&shared);
                }
            }
        })?;
        Ok(Self { stop, thread })
    }

    pub(super) fn stop(self) {
        drop(self.stop);
        // If it panicked there is nothing to wait for.
        let _ = self.thread.join();
    }
}

fn refresh(shared: &Shared) {
    for partition in 0..shared.config.partitions {
        let seen = shared.producer.with_client(|client| watermarks(client, &shared.config.topic, partition, REQUEST));
        match seen {
            Ok(range) => shared.producer.ranges().saw(partition, range),
            // The brokers are away. The client itself says so.
            Err(_) => return,
        }
    }
}

/// A topic that was made anew under the name of this one holds other records under the same positions: nothing may go to it
/// before somebody has looked.
fn identify(shared: &Shared) {
    let topic = &shared.config.topic;
    let Ok(id) = shared.producer.with_client(|client| topic_id(client, topic, REQUEST)) else { return };
    if id != shared.identity && shared.read_only().is_none() {
        tracing::error!(topic, "the log is read-only from now on: its topic was deleted and made anew");
        *lock(&shared.read_only) = Some(format!("topic `{topic}` was deleted and made anew"));
    }
}
