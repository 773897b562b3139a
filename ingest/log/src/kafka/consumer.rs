//! One member of the group of readers.
//!
//! Partitions change hands cooperatively: who joins or leaves moves a few of them. A partition that the group gives to this
//! member is assigned to the client library only when it is known where to start, and *at* that position, so that nothing
//! is ever fetched from a place that Kafka chose. One that the group takes away is given up only after the owner was told
//! ([`Polled::Revoking`]) and polls again; others do not have it before that.
//!
//! Whatever the library may still hand out of an older assignment: only the record at exactly the next position is taken.
//!
//! Records wait in two places, both bounded: in the library (`read_ahead_bytes`), and here by partition, so that partitions
//! take turns. While nobody polls, neither grows.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use rdkafka::consumer::{CommitMode, Consumer, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message, Offset, TopicPartitionList};

use super::Shared;
use super::group::{Change, Group};
use super::ranges::watermarks;
use super::report::refusal;
use super::topic::{client_error, number};
use crate::{LogConsumer, LogRecord, Partition, PartitionRange, PollError, Polled, Position};

/// Bytes that wait here to be handed out in turns: some of each partition.
const WAITING_MAX_BYTES: usize = 4 << 20;
/// How long the brokers may take to tell a partition's range.
const RANGE_WITHIN: Duration = Duration::from_secs(5);

/// A consumer of a [`super::KafkaLog`].
pub(super) struct KafkaConsumer {
    shared: Arc<Shared>,
    /// Made at the first poll.
    client: Option<Arc<StreamConsumer<Group>>>,
    /// What the group gave to this member; reading once it is known where to start.
    assigned: BTreeMap<Partition, Option<Reading>>,
    /// Whether an assignment was told.
    was_told: bool,
    /// Whether the library was told to fetch nothing for now.
    is_held: bool,
    /// To be given up at the next poll.
    revoking: Option<Vec<Partition>>,
    /// What Kafka was told last.
    noted: BTreeMap<Partition, Position>,
    waiting_bytes: usize,
    /// The partition that comes first at the next poll, so that none starves.
    turn: usize,
}

/// A partition that is read.
#[derive(Debug)]
struct Reading {
    /// What the library must hand out next.
    next: Position,
    waiting: VecDeque<LogRecord>,
}

impl fmt::Debug for KafkaConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let next =
            |(partition, reading): (&Partition, &Option<Reading>)| (*partition, reading.as_ref().map(|it| it.next));
        let assigned: BTreeMap<_, _> = self.assigned.iter().map(next).collect();
        f.debug_struct("KafkaConsumer").field("next", &assigned).finish_non_exhaustive()
    }
}

impl KafkaConsumer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let (assigned, noted) = (BTreeMap::new(), BTreeMap::new());
        Self {
            shared,
            client: None,
            assigned,
            was_told: false,
            is_held: false,
            revoking: None,
            noted,
            waiting_bytes: 0,
            turn: 0,
        }
    }

    /// The client, which joins the group when it is made.
    fn client(&mut self) -> Result<Arc<StreamConsumer<Group>>, PollError> {
        if let Some(client) = &self.client {
            return Ok(Arc::clone(client));
        }
        let config = &self.shared.config;
        let made: KafkaResult<StreamConsumer<Group>> = config.consumer().create_with_context(Group::new(config));
        let client = made.map_err(|error| PollError::Group(client_error(config, &error).to_string()))?;
        client.subscribe(&[&config.topic]).map_err(|error| group_error(&error))?;
        let client = Arc::new(client);
        self.client = Some(Arc::clone(&client));
        Ok(client)
    }

    async fn poll_once(&mut self, max_bytes: usize, wait: Duration) -> Result<Polled, PollError> {
        let client = self.client()?;
        let until = Instant::now() + wait;
        if std::mem::take(&mut self.is_held) {
            client.resume(&self.read_partitions()).map_err(|error| group_error(&error))?;
        }
        if let Some(partitions) = self.revoking.take() {
            self.give_up(&client, &partitions)?;
            return Ok(self.tell_assignment());
        }
        loop {
            self.read_ahead(&client)?;
            if let Some(polled) = self.change(&client)? {
                return Ok(polled);
            }
            if let Some(records) = self.take_turns(max_bytes) {
                return Ok(Polled::Records(records));
            }
            let changed = client.client().context().changed();
            let left = until.saturating_duration_since(Instant::now());
            let received = tokio::select! {
                biased;
                () = changed => continue,
                received = tokio::time::timeout(left, client.recv()) => received,
            };
            match received {
                Ok(received) => self.take_in(received)?,
                Err(_) => return Ok(Polled::Idle),
            }
        }
    }

    /// Takes in what the library holds already, as far as there is room.
    fn read_ahead(&mut self, client: &StreamConsumer<Group>) -> Result<(), PollError> {
        while self.waiting_bytes < WAITING_MAX_BYTES {
            match client.recv().now_or_never() {
                Some(received) => self.take_in(received)?,
                None => break,
            }
        }
        Ok(())
    }

    /// The partitions that are read.
    fn read_partitions(&self) -> TopicPartitionList {
        let mut read = TopicPartitionList::new();
        for (partition, _) in self.assigned.iter().filter(|(_, reading)| reading.is_some()) {
            read.add_partition(&self.shared.config.topic, number(*partition));
        }
        read
    }

    fn take_in(&mut self, received: KafkaResult<BorrowedMessage<'_>>) -> Result<(), PollError> {
        let message = match received {
            Ok(message) => message,
            Err(error) => return self.judge(&error),
        };
        let (Ok(partition), Ok(position)) =
            (Partition::try_from(message.partition()), Position::try_from(message.offset()))
        else {
            return Ok(());
        };
        let Some(Some(reading)) = self.assigned.get_mut(&partition) else { return Ok(()) };
        if position < reading.next {
            return Ok(());
        }
        if position > reading.next {
            let what = format!("record {} is missing, {position} comes next", reading.next);
            return Err(PollError::Backend { partition, position: reading.next, source: what.into() });
        }
        let bytes = Bytes::copy_from_slice(message.payload().unwrap_or_default());
        reading.next += 1;
        self.waiting_bytes += bytes.len();
        reading.waiting.push_back(LogRecord { partition, position, bytes });
        Ok(())
    }

    /// What an error of the library means for the reader: most end by themselves.
    fn judge(&self, error: &KafkaError) -> Result<(), PollError> {
        match error.rdkafka_error_code() {
            // One of the partitions; which one is not said.
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                Err(self.out_of_range(error))
            }
            Some(
                RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownPartition
                | RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed
                | RDKafkaErrorCode::Authentication,
            ) => Err(group_error(error)),
            _ if matches!(error, KafkaError::MessageConsumptionFatal(_)) => Err(group_error(error)),
            // Connections that broke are made again, a missed poll was noticed by polling. The library has said so itself.
            _ => Ok(()),
        }
    }

    /// Finds the partition whose next record is not in the log any more.
    fn out_of_range(&self, error: &KafkaError) -> PollError {
        for (partition, reading) in &self.assigned {
            if let Some(Reading { next, .. }) = reading
                && let Ok(range) = self.range_now(*partition, *next)
                && !(range.low..=range.high).contains(next)
            {
                return PollError::OutOfRange { partition: *partition, position: *next, range };
            }
        }
        group_error(error)
    }

    /// Handles what the group decided since the last poll.
    fn change(&mut self, client: &StreamConsumer<Group>) -> Result<Option<Polled>, PollError> {
        let Some(change) = client.client().context().take_change() else { return Ok(None) };
        match change {
            Change::Given(partitions) => {
                // They are assigned one by one, each at its start. This only answers the group.
                client.incremental_assign(&TopicPartitionList::new()).map_err(|error| group_error(&error))?;
                if partitions.is_empty() && self.was_told {
                    return Ok(None);
                }
                for partition in partitions {
                    self.assigned.entry(partition).or_default();
                }
                Ok(Some(self.tell_assignment()))
            }
            Change::Lost(partitions) => {
                tracing::warn!(?partitions, "lost partitions of the log: the group took this process for dead");
                self.give_up(client, &partitions)?;
                Ok(Some(self.tell_assignment()))
            }
            Change::Taken(partitions) => {
                self.revoking = Some(partitions.clone());
                Ok(Some(Polled::Revoking(partitions)))
            }
        }
    }

    fn tell_assignment(&mut self) -> Polled {
        self.was_told = true;
        Polled::Assigned(self.assigned.keys().copied().collect())
    }

    /// Lets partitions go; the answer that the group waits for.
    fn give_up(&mut self, client: &StreamConsumer<Group>, partitions: &[Partition]) -> Result<(), PollError> {
        let stopped = self.stop_reading(client, partitions);
        self.assigned.retain(|partition, _| !partitions.contains(partition));
        stopped
    }

    /// Has the library fetch no more of these partitions, and forgets what waits of them.
    fn stop_reading(&mut self, client: &StreamConsumer<Group>, partitions: &[Partition]) -> Result<(), PollError> {
        let mut stopped = TopicPartitionList::new();
        for partition in partitions {
            if let Some(before) = self.assigned.get_mut(partition).and_then(Option::take) {
                self.waiting_bytes -= bytes_of(&before.waiting);
                stopped.add_partition(&self.shared.config.topic, number(*partition));
            }
        }
        client.incremental_unassign(&stopped).map_err(|error| group_error(&error))
    }

    /// The same with one, if it is read: an unassignment of nothing would be taken for an answer to the group.
    fn stop_one(&mut self, client: &StreamConsumer<Group>, partition: Partition) -> Result<(), PollError> {
        match self.assigned.get(&partition) {
            Some(Some(_)) => self.stop_reading(client, &[partition]),
            _ => Ok(()),
        }
    }

    /// Records of about `max_bytes`, from each partition in turn; at least one if there is one.
    fn take_turns(&mut self, max_bytes: usize) -> Option<Vec<LogRecord>> {
        let partitions: Vec<Partition> = self.assigned.keys().copied().collect();
        let (mut records, mut bytes) = (Vec::new(), 0);
        for step in 0..partitions.len() {
            let partition = partitions[(self.turn + step) % partitions.len()];
            let Some(Some(reading)) = self.assigned.get_mut(&partition) else { continue };
            while (bytes < max_bytes || records.is_empty())
                && let Some(record) = reading.waiting.pop_front()
            {
                bytes += record.bytes.len();
                records.push(record);
            }
        }
        self.turn = (self.turn + 1) % partitions.len().max(1);
        self.waiting_bytes -= bytes;
        (!records.is_empty()).then_some(records)
    }

    /// What a partition holds: as last seen, or, if that does not hold the position, as the brokers say.
    fn range(&self, partition: Partition, position: Position) -> Result<PartitionRange, PollError> {
        let seen = self.shared.producer.ranges().of(partition);
        match seen.filter(|range| (range.low..=range.high).contains(&position)) {
            Some(range) => Ok(range),
            None => self.range_now(partition, position),
        }
    }

    fn range_now(&self, partition: Partition, position: Position) -> Result<PartitionRange, PollError> {
        let topic = &self.shared.config.topic;
        let seen = self.shared.producer.with_client(|client| watermarks(client, topic, partition, RANGE_WITHIN));
        let range = seen.map_err(|error| PollError::Backend { partition, position, source: error.into() })?;
        self.shared.producer.ranges().saw(partition, range);
        Ok(range)
    }

    fn start(&mut self, partition: Partition, position: Position) -> Result<(), PollError> {
        let range = self.range(partition, position)?;
        if !(range.low..=range.high).contains(&position) {
            return Err(PollError::OutOfRange { partition, position, range });
        }
        let client = self.client()?;
        self.stop_one(&client, partition)?;
        let Some(reading) = self.assigned.get_mut(&partition) else {
            return Err(PollError::Group(format!("partition {partition} is not assigned to this consumer")));
        };
        let failed = |error: KafkaError| PollError::Backend { partition, position, source: error.into() };
        let topic = &self.shared.config.topic;
        let mut started = TopicPartitionList::new();
        let offset = Offset::Offset(i64::try_from(position).unwrap_or(i64::MAX));
        started.add_partition_offset(topic, number(partition), offset).map_err(failed)?;
        client.incremental_assign(&started).map_err(failed)?;
        // It may have been paused by a stay, and stopped before the poll that ends the pause: the library remembers that.
        client.resume(&started).map_err(failed)?;
        *reading = Some(Reading { next: position, waiting: VecDeque::new() });
        Ok(())
    }
}

fn bytes_of(records: &VecDeque<LogRecord>) -> usize {
    records.iter().map(|record| record.bytes.len()).sum()
}

fn group_error(error: &KafkaError) -> PollError {
    PollError::Group(refusal(&error.to_string()))
}

impl LogConsumer for KafkaConsumer {
    fn poll(&mut self, max_bytes: usize, wait: Duration) -> BoxFuture<'_, Result<Polled, PollError>> {
        Box::pin(self.poll_once(max_bytes, wait))
    }

    fn start_at(&mut self, partition: Partition, position: Position) -> Result<(), PollError> {
        self.start(partition, position)
    }

    fn stop(&mut self, partition: Partition) -> Result<(), PollError> {
        let client = self.client()?;
        self.stop_one(&client, partition)
    }

    /// Polls with everything paused: that is what tells the group that this member is at work.
    fn stay(&mut self) -> Result<(), PollError> {
        let client = self.client()?;
        if !std::mem::replace(&mut self.is_held, true) {
            client.pause(&self.read_partitions()).map_err(|error| group_error(&error))?;
        }
        // This is heard. Nothing is delivered while all is paused.
        match client.recv().now_or_never() {
            Some(received) => self.take_in(received),
            None => Ok(()),
        }
    }

    fn note_committed(&mut self, partition: Partition, position: Position) {
        let (Some(client), Ok(offset)) = (&self.client, i64::try_from(position)) else { return };
        if self.noted.insert(partition, position) == Some(position) {
            return;
        }
        let mut offsets = TopicPartitionList::new();
        let noted = offsets
            .add_partition_offset(&self.shared.config.topic, number(partition), Offset::Offset(offset))
            .and_then(|()| client.commit(&offsets, CommitMode::Async));
        if let Err(error) = noted {
            tracing::debug!(error = %error, "a committed position was not noted in Kafka");
        }
    }
}

impl Drop for KafkaConsumer {
    /// Leaves the group, within [`super::KafkaLogConfig::close_timeout`].
    fn drop(&mut self) {
        let Some(client) = self.client.take() else { return };
        let group = client.client().context();
        group.close();
        // The library waits for answers to what the group decided before it lets go.
        let taken = match group.take_change() {
            Some(Change::Taken(partitions) | Change::Lost(partitions)) => Some(partitions),
            Some(Change::Given(_)) => {
                let _ = client.incremental_assign(&TopicPartitionList::new());
                None
            }
            None => None,
        };
        let taken: BTreeSet<Partition> = taken.into_iter().chain(self.revoking.take()).flatten().collect();
        if !taken.is_empty() && self.give_up(&client, &taken.into_iter().collect::<Vec<_>>()).is_err() {
            tracing::debug!("partitions of the log were not given up in order");
        }
        let (closed, wait) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            drop(client);
            let _ = closed.send(());
        });
        if wait.recv_timeout(self.shared.config.close_timeout).is_err() {
            tracing::warn!("the group of readers was not left in time: the brokers will notice by themselves");
        }
    }
}
