//! Where the records lie: segments, each a keyspace whose keys are (partition, position) in big endian.

use std::fmt;
use std::path::PathBuf;
use std::sync::RwLock;

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use minicbor::{Decode, Encode};
use schemas::Timestamp;
use uuid::Uuid;

use super::{DiskLogConfig, OpenError};
use crate::{LogRecord, Partition, Position};

const PARTITIONS_KEY: &[u8] = b"partitions";
const IDENTITY_KEY: &[u8] = b"identity";
const SEGMENT_PREFIX: &[u8] = b"segment/";
const KEYSPACE_PREFIX: &str = "segment-";

/// All segments, oldest first; the last one is written to.
pub(super) struct Segments {
    database: Database,
    meta: Keyspace,
    identity: String,
    list: RwLock<Vec<Segment>>,
}

#[derive(Clone)]
struct Segment {
    number: u64,
    about: About,
    records: Keyspace,
}

/// What is stored about a segment.
#[derive(Debug, Clone, Encode, Decode)]
struct About {
    /// First position of each partition.
    #[n(0)]
    first: Vec<Position>,
    /// Log time of its oldest record.
    #[n(1)]
    oldest: Timestamp,
    /// Log time of its newest record; set when it is closed.
    #[n(2)]
    newest: Option<Timestamp>,
}

impl fmt::Debug for Segments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = read(&self.list);
        f.debug_struct("Segments")
            .field("numbers", &list.iter().map(|segment| segment.number).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl Segments {
    pub(super) fn open(database: Database, meta: Keyspace, config: &DiskLogConfig) -> Result<Self, OpenError> {
        let storage = |source| OpenError::Storage { folder: config.folder.clone(), source };
        match meta.get(PARTITIONS_KEY).map_err(storage)? {
            Some(stored) => check_partitions(&stored, config)?,
            None => {
                meta.insert(PARTITIONS_KEY, config.partitions.to_be_bytes()).map_err(storage)?;
                meta.insert(IDENTITY_KEY, Uuid::new_v4().to_string()).map_err(storage)?;
                database.persist(PersistMode::SyncAll).map_err(storage)?;
            }
        }
        let identity = meta.get(IDENTITY_KEY).map_err(storage)?;
        let identity = identity.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let mut list = Vec::new();
        for entry in meta.prefix(SEGMENT_PREFIX) {
            let (key, value) = entry.into_inner().map_err(storage)?;
            let corrupt = || OpenError::Corrupt { folder: config.folder.clone(), what: "segment list".into() };
            let number =
                key.get(SEGMENT_PREFIX.len()..).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
            let number = number.ok_or_else(corrupt)?;
            let about: About = minicbor::decode(&value).map_err(|_| corrupt())?;
            let records = database.keyspace(&keyspace_name(number), segment_options).map_err(storage)?;
            list.push(Segment { number, about, records });
        }
        drop_unlisted(&database, &list).map_err(storage)?;
        Ok(Self { database, meta, identity, list: RwLock::new(list) })
    }

    /// The next position of each partition.
    pub(super) fn high_positions(&self) -> Result<Vec<Position>, fjall::Error> {
        let list = read(&self.list);
        let Some(last) = list.last() else { return Ok(vec![0; usize::from(self.partitions()?)]) };
        let mut high = last.about.first.clone();
        for (partition, position) in (0..).zip(high.iter_mut()) {
            if let Some(newest) = last.records.prefix(Partition::to_be_bytes(partition)).next_back() {
                let key = newest.key()?;
                *position = key_position(&key).map_or(*position, |newest| newest + 1);
            }
        }
        Ok(high)
    }

    fn partitions(&self) -> Result<Partition, fjall::Error> {
        let stored = self.meta.get(PARTITIONS_KEY)?;
        Ok(stored.and_then(|bytes| bytes.as_ref().try_into().ok()).map_or(0, Partition::from_be_bytes))
    }

    pub(super) fn identity(&self) -> &str {
        &self.identity
    }

    /// The oldest position kept of each partition.
    pub(super) fn low_positions(&self) -> Vec<Position> {
        match read(&self.list).first() {
            Some(oldest) => oldest.about.first.clone(),
            None => vec![0; usize::from(self.partitions().unwrap_or(0))],
        }
    }

    pub(super) fn database(&self) -> &Database {
        &self.database
    }

    /// The segment to write to.
    pub(super) fn newest(&self) -> Option<Keyspace> {
        read(&self.list).last().map(|segment| segment.records.clone())
    }

    /// Log time of the oldest record in the segment that is written to.
    pub(super) fn newest_began(&self) -> Option<Timestamp> {
        read(&self.list).last().map(|segment| segment.about.oldest)
    }

    /// Closes the segment that is written to, and begins another at these positions.
    pub(super) fn begin(&self, first: &[Position], log_time: Timestamp) -> Result<Keyspace, fjall::Error> {
        let mut list = write(&self.list);
        let number = list.last().map_or(0, |segment| segment.number + 1);
        let records = self.database.keyspace(&keyspace_name(number), segment_options)?;
        if let Some(closed) = list.last_mut() {
            closed.about.newest = Some(log_time);
            self.meta.insert(segment_key(closed.number), to_bytes(&closed.about))?;
        }
        let about = About { first: first.to_vec(), oldest: log_time, newest: None };
        self.meta.insert(segment_key(number), to_bytes(&about))?;
        self.database.persist(PersistMode::SyncAll)?;
        list.push(Segment { number, about, records: records.clone() });
        Ok(records)
    }

    /// Reads records of a partition from a position on, below `high`, until `max_bytes` are exceeded (at least one). A
    /// record that should be there and is not is an error, never passed over.
    pub(super) fn read(
        &self,
        partition: Partition,
        from: Position,
        high: Position,
        max_bytes: usize,
    ) -> Result<Vec<LogRecord>, Box<dyn std::error::Error + Send + Sync>> {
        let list = read(&self.list).clone();
        let index = usize::from(partition);
        let missing = |position: Position| format!("record {position} of partition {partition} is missing in the log");
        let begin = list.iter().rposition(|segment| segment.about.first[index] <= from).ok_or_else(|| missing(from))?;
        let mut records = Vec::new();
        let mut bytes = 0;
        let mut next = from;
        for segment in &list[begin..] {
            if bytes >= max_bytes || next >= high {
                break;
            }
            for entry in segment.records.range(key(partition, next)..key(partition, high)) {
                let (stored_key, value) = entry.into_inner()?;
                let position = key_position(&stored_key).filter(|position| *position == next);
                let position = position.ok_or_else(|| missing(next))?;
                bytes += value.len();
                next = position + 1;
                records.push(LogRecord { partition, position, bytes: Bytes::copy_from_slice(&value) });
                if bytes >= max_bytes {
                    break;
                }
            }
        }
        if records.is_empty() {
            return Err(missing(from).into());
        }
        Ok(records)
    }

    /// Drops the oldest closed segments that hold nothing protected and nothing as new as `before`.
    pub(super) fn forget(&self, protected: &[Position], before: Timestamp) -> Result<u64, fjall::Error> {
        let mut forgotten = 0;
        let mut list = write(&self.list);
        while let [oldest, next, ..] = &list[..] {
            let is_old = oldest.about.newest.is_some_and(|newest| newest < before);
            let is_free = next.about.first.iter().zip(protected).all(|(end, protected)| end <= protected);
            if !is_old || !is_free {
                break;
            }
            let records: u64 = oldest.about.first.iter().zip(&next.about.first).map(|(from, to)| to - from).sum();
            let oldest = list.remove(0);
            self.meta.remove(segment_key(oldest.number))?;
            self.database.persist(PersistMode::SyncAll)?;
            self.database.delete_keyspace(oldest.records)?;
            forgotten += records;
        }
        Ok(forgotten)
    }
}

/// Drops segments that are not in the list any more: forgetting was cut off before their folder went.
fn drop_unlisted(database: &Database, list: &[Segment]) -> Result<(), fjall::Error> {
    let listed: Vec<String> = list.iter().map(|segment| keyspace_name(segment.number)).collect();
    for name in database.list_keyspace_names() {
        let name: &str = &name;
        if name.starts_with(KEYSPACE_PREFIX) && !listed.iter().any(|listed| listed == name) {
            database.delete_keyspace(database.keyspace(name, segment_options)?)?;
        }
    }
    Ok(())
}

fn check_partitions(stored: &[u8], config: &DiskLogConfig) -> Result<(), OpenError> {
    let folder = || PathBuf::from(&config.folder);
    let found = <[u8; 2]>::try_from(stored).map(Partition::from_be_bytes);
    let found = found.map_err(|_| OpenError::Corrupt { folder: folder(), what: "number of partitions".into() })?;
    if found == config.partitions {
        return Ok(());
    }
    Err(OpenError::Partitions { folder: folder(), found, wanted: config.partitions })
}

/// Values stay with their keys: kept apart they showed no gain, and the folder of separated values is not flushed
/// before the journal that holds them is dropped (fjall 3.1).
fn segment_options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default().manual_journal_persist(true).max_memtable_size(16 << 20)
}

fn keyspace_name(number: u64) -> String {
    format!("{KEYSPACE_PREFIX}{number:010}")
}

fn segment_key(number: u64) -> Vec<u8> {
    [SEGMENT_PREFIX, &number.to_be_bytes()].concat()
}

pub(super) fn key(partition: Partition, position: Position) -> [u8; 10] {
    let mut key = [0; 10];
    key[..2].copy_from_slice(&partition.to_be_bytes());
    key[2..].copy_from_slice(&position.to_be_bytes());
    key
}

fn key_position(key: &[u8]) -> Option<Position> {
    key.get(2..10)?.try_into().ok().map(Position::from_be_bytes)
}

fn to_bytes(about: &About) -> Vec<u8> {
    minicbor::to_vec(about).expect("writing to a vector cannot fail")
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(std::sync::PoisonError::into_inner)
}
