//! The log of the embedded default: on the storage crate fjall, with group commit.
//!
//! One thread owns all writing. It takes every append that waits, writes them as one batch, flushes the journal to the
//! disk once, and answers them all: one fsync serves many uploads. Records lie in segments (a fjall keyspace each), so
//! that forgetting the oldest is dropping a folder.

mod consumer;
mod segments;
mod torn;
mod writer;

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use fjall::{Database, KeyspaceCreateOptions};
use futures::future::BoxFuture;
use schemas::Timestamp;
use schemas::record::FRAME_MAX_BYTES;
use thiserror::Error;
use tokio::sync::{oneshot, watch};

use crate::{AppendError, EventLog, LogConsumer, LogStats, NewRecord, Partition, PartitionRange, Position};
use segments::Segments;

/// Settings of a [`DiskLog`].
#[derive(Debug, Clone)]
pub struct DiskLogConfig {
    /// Folder of the log.
    pub folder: PathBuf,
    /// Number of partitions; must be what the folder was created with.
    pub partitions: Partition,
    /// A segment is closed when it holds this many bytes ...
    pub segment_bytes: u64,
    /// ... or when this much log time has passed in it.
    pub segment_span: Duration,
    /// Appends beyond this many bytes waiting for the disk are refused as [`AppendError::Overloaded`].
    pub queue_bytes: usize,
    /// While less than this is free on the disk, appends are refused as [`AppendError::Unavailable`]: what is in the log
    /// can still be taken in by then, and nothing breaks in the middle of a write.
    pub reserve_bytes: u64,
}

impl DiskLogConfig {
    /// The defaults: 4 partitions, segments of 256 MiB or 6 h, a queue of 64 MiB, 256 MiB left free.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            partitions: 4,
            segment_bytes: 256 << 20,
            segment_span: Duration::from_secs(6 * 3600),
            queue_bytes: 64 << 20,
            reserve_bytes: 256 << 20,
        }
    }
}

/// Why a log could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process has the folder.
    #[error("the log in `{folder}` is in use by another process: stop it first")]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// The storage failed.
    #[error("open the log in `{folder}`")]
    Storage {
        /// The folder.
        folder: PathBuf,
        /// What it said.
        #[source]
        source: fjall::Error,
    },
    /// The folder was created with another number of partitions; an event's partition would change.
    #[error("the log in `{folder}` has {found} partitions, and the configuration says {wanted}")]
    Partitions {
        /// The folder.
        folder: PathBuf,
        /// What it has.
        found: Partition,
        /// What was asked for.
        wanted: Partition,
    },
    /// What it says about itself cannot be read.
    #[error("the log in `{folder}` is corrupt: {what}")]
    Corrupt {
        /// The folder.
        folder: PathBuf,
        /// Where.
        what: String,
    },
}

/// An on-disk log in this process.
#[derive(Debug)]
pub struct DiskLog {
    shared: Arc<Shared>,
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    writer: Mutex<Option<std::thread::JoinHandle<()>>>,
}

/// What the writer thread, appenders and consumers share.
#[derive(Debug)]
struct Shared {
    config: DiskLogConfig,
    segments: Segments,
    /// Next position of each partition, moved after the flush: what is below is readable.
    high: watch::Sender<Vec<Position>>,
    queued_bytes: AtomicUsize,
    appended_records: AtomicU64,
    appended_bytes: AtomicU64,
    flushes: AtomicU64,
    flush_us: AtomicU64,
    read_only: Mutex<Option<String>>,
    /// Why nothing is appended until there is room again.
    no_room: Mutex<Option<String>>,
}

/// One call of `append` on its way to the writer.
#[derive(Debug)]
struct Job {
    records: Vec<NewRecord>,
    bytes: usize,
    answer: oneshot::Sender<Result<Vec<Position>, AppendError>>,
}

impl DiskLog {
    /// Opens the log, or creates it.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; among them that another process holds the folder.
    pub fn open(config: DiskLogConfig) -> Result<Self, OpenError> {
        let folder = config.folder.clone();
        let storage = |source| OpenError::Storage { folder: folder.clone(), source };
        if !config.folder.exists() {
            create(&config, None)?;
        }
        let segments = open_segments(&config)?;
        let high = segments.high_positions().map_err(storage)?;
        let shared = Arc::new(Shared {
            segments,
            high: watch::Sender::new(high),
            queued_bytes: AtomicUsize::new(0),
            appended_records: AtomicU64::new(0),
            appended_bytes: AtomicU64::new(0),
            flushes: AtomicU64::new(0),
            flush_us: AtomicU64::new(0),
            read_only: Mutex::new(None),
            no_room: Mutex::new(None),
            config,
        });
        let (sender, receiver) = mpsc::channel();
        let writer = std::thread::Builder::new()
            .name("log-writer".into())
            .spawn({
                let shared = Arc::clone(&shared);
                move || writer::run(&shared, &receiver)
            })
            .map_err(|error| storage(error.into()))?;
        Ok(Self { shared, jobs: Mutex::new(Some(sender)), writer: Mutex::new(Some(writer)) })
    }

    /// Makes an empty log whose next records get these positions, one for each partition, as if all before them had been
    /// forgotten: for who goes on where another log was lost. `log_time` is about that of the record before them. Returns
    /// its identity, which is its own.
    ///
    /// # Errors
    ///
    /// [`OpenError`], also if the folder is there already, or if there are not as many positions as partitions.
    pub fn create_at(config: &DiskLogConfig, positions: &[Position], log_time: Timestamp) -> Result<String, OpenError> {
        let found = Partition::try_from(positions.len()).unwrap_or(Partition::MAX);
        if found != config.partitions {
            return Err(OpenError::Partitions { folder: config.folder.clone(), found, wanted: config.partitions });
        }
        if config.folder.exists() {
            let source = std::io::Error::from(std::io::ErrorKind::AlreadyExists).into();
            return Err(OpenError::Storage { folder: config.folder.clone(), source });
        }
        create(config, Some((positions, log_time)))
    }

    async fn append_records(&self, records: Vec<NewRecord>) -> Result<Vec<Position>, AppendError> {
        if let Some(large) = records.iter().find(|record| record.bytes.len() > FRAME_MAX_BYTES) {
            return Err(AppendError::TooLarge { bytes: large.bytes.len(), max_bytes: FRAME_MAX_BYTES });
        }
        if records.is_empty() {
            return Ok(Vec::new());
        }
        if let Some(reason) = self.shared.read_only() {
            return Err(AppendError::ReadOnly(reason));
        }
        let bytes: usize = records.iter().map(|record| record.bytes.len()).sum();
        if self.shared.queued_bytes.fetch_add(bytes, Ordering::AcqRel) + bytes > self.shared.config.queue_bytes {
            self.shared.queued_bytes.fetch_sub(bytes, Ordering::AcqRel);
            return Err(AppendError::Overloaded);
        }
        let (answer, confirmed) = oneshot::channel();
        let job = Job { records, bytes, answer };
        let sent = lock(&self.jobs).as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
        if !sent {
            return Err(AppendError::ReadOnly("the log is closed".into()));
        }
        match tokio::time::timeout(CONFIRM_WITHIN, confirmed).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(AppendError::Unavailable("the writer stopped".into())),
            Err(_) => Err(AppendError::Unavailable("the disk does not answer".into())),
        }
    }
}

/// A group takes milliseconds. A disk that stands still this long is for the sender to try again later.
const CONFIRM_WITHIN: Duration = Duration::from_secs(5);

/// Makes an empty log, which begins at 0 or at these positions and this log time; returns its identity. It gets its name
/// only when it is complete: a crash on the way leaves nothing that cannot be opened.
fn create(config: &DiskLogConfig, begin: Option<(&[Position], Timestamp)>) -> Result<String, OpenError> {
    let storage = |source: std::io::Error| OpenError::Storage { folder: config.folder.clone(), source: source.into() };
    let fresh = DiskLogConfig { folder: config.folder.with_extension("new"), ..config.clone() };
    if fresh.folder.exists() {
        std::fs::remove_dir_all(&fresh.folder).map_err(storage)?;
    }
    let parent = fresh.folder.parent().unwrap_or(&fresh.folder);
    std::fs::create_dir_all(parent).map_err(storage)?;
    let segments = open_segments(&fresh)?;
    if let Some((positions, log_time)) = begin {
        let begun = segments.begin(positions, log_time);
        begun.map_err(|source| OpenError::Storage { folder: config.folder.clone(), source })?;
    }
    let identity = segments.identity().to_owned();
    drop(segments);
    std::fs::rename(&fresh.folder, &config.folder).map_err(storage)?;
    File::open(parent).and_then(|parent| parent.sync_all()).map_err(storage)?;
    Ok(identity)
}

fn open_segments(config: &DiskLogConfig) -> Result<Segments, OpenError> {
    let storage = |source| match source {
        fjall::Error::Locked => OpenError::InUse { folder: config.folder.clone() },
        source => OpenError::Storage { folder: config.folder.clone(), source },
    };
    // Small memtables and a small journal keep both the idle memory and the recovery after a crash short.
    let open = || {
        Database::builder(&config.folder)
            .manual_journal_persist(true)
            .max_journaling_size(128 << 20)
            .cache_size(8 << 20)
            .worker_threads(1)
            .open()
    };
    let database = match open() {
        Err(fjall::Error::JournalRecovery(error)) => match torn::mend(&config.folder) {
            Ok(Some(torn_bytes)) => {
                tracing::warn!(
                    torn_bytes,
                    "cut an unconfirmed batch off the journal: the power went while it was written"
                );
                open().map_err(storage)?
            }
            _ => return Err(storage(fjall::Error::JournalRecovery(error))),
        },
        opened => opened.map_err(storage)?,
    };
    let meta = database.keyspace("meta", KeyspaceCreateOptions::default).map_err(storage)?;
    Segments::open(database, meta, config)
}

impl Shared {
    fn read_only(&self) -> Option<String> {
        lock(&self.read_only).clone()
    }
}

/// Locks, also after a panic elsewhere: what these mutexes guard is valid between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl EventLog for DiskLog {
    fn identity(&self) -> &str {
        self.shared.segments.identity()
    }

    fn partitions(&self) -> Partition {
        self.shared.config.partitions
    }

    fn append(&self, records: Vec<NewRecord>) -> BoxFuture<'_, Result<Vec<Position>, AppendError>> {
        Box::pin(self.append_records(records))
    }

    fn subscribe(&self) -> Box<dyn LogConsumer> {
        Box::new(consumer::DiskConsumer::new(Arc::clone(&self.shared)))
    }

    fn ranges(&self) -> Vec<PartitionRange> {
        let low = self.shared.segments.low_positions();
        let high = self.shared.high.borrow();
        low.into_iter().zip(high.iter()).map(|(low, high)| PartitionRange { low, high: *high }).collect()
    }

    fn forget(&self, protected: &[Position], before: Timestamp) -> Result<u64, AppendError> {
        self.shared.segments.forget(protected, before).map_err(|error| AppendError::Unavailable(error.to_string()))
    }

    fn stats(&self) -> LogStats {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LogStats {
            appended_records: load(&self.shared.appended_records),
            appended_bytes: load(&self.shared.appended_bytes),
            flushes: load(&self.shared.flushes),
            flush_us: load(&self.shared.flush_us),
            queued_bytes: self.shared.queued_bytes.load(Ordering::Relaxed) as u64,
            read_only: self.shared.read_only().or_else(|| lock(&self.shared.no_room).clone()),
            brokers: None,
        }
    }
}

impl Drop for DiskLog {
    /// Waits for the writer: every append that was taken is answered before the folder is free again.
    fn drop(&mut self) {
        lock(&self.jobs).take();
        if let Some(writer) = lock(&self.writer).take() {
            // A writer that panicked has already failed its appends.
            let _ = writer.join();
        }
    }
}

#[cfg(test)]
mod tests;
