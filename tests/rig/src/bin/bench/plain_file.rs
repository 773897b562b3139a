//! The ceiling for a log: one file, group commit, nothing else. It can only be appended to.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use tokio::sync::oneshot;

/// A group is closed when it holds this many bytes, as in the log.
const GROUP_MAX_BYTES: usize = 8 << 20;

/// Length of a record's header: its own length.
pub(crate) const HEADER_BYTES: u64 = 4;

/// An append on its way to the writer.
struct Job {
    bytes: Bytes,
    answer: oneshot::Sender<Result<(), String>>,
}

/// A file that records are appended to, durably.
#[derive(Debug)]
pub(crate) struct PlainFile {
    jobs: Option<mpsc::Sender<Job>>,
    flushes: Arc<AtomicU64>,
    writer: Option<JoinHandle<()>>,
}

impl PlainFile {
    /// Creates the file.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let mut file = File::create(path).context("create the file")?;
        let (jobs, receiver) = mpsc::channel::<Job>();
        let flushes = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&flushes);
        let writer = std::thread::Builder::new().name("plain-writer".into()).spawn(move || {
            while let Ok(first) = receiver.recv() {
                let mut group = vec![first];
                let mut bytes = group[0].bytes.len();
                while bytes < GROUP_MAX_BYTES
                    && let Ok(job) = receiver.try_recv()
                {
                    bytes += job.bytes.len();
                    group.push(job);
                }
                let written = write(&mut file, &group, bytes).map_err(|error| error.to_string());
                counter.fetch_add(1, Ordering::Relaxed);
                for job in group {
                    // An appender that went away needs no answer.
                    let _ = job.answer.send(written.clone());
                }
            }
        })?;
        Ok(Self { jobs: Some(jobs), flushes, writer: Some(writer) })
    }

    /// Appends a record; afterwards it is durable.
    pub(crate) async fn append(&self, bytes: Bytes) -> Result<()> {
        let (answer, confirmed) = oneshot::channel();
        let jobs = self.jobs.as_ref().context("the file is closed")?;
        jobs.send(Job { bytes, answer }).map_err(|_| anyhow!("the writer stopped"))?;
        confirmed.await?.map_err(|error| anyhow!(error))
    }

    /// Flushes so far.
    pub(crate) fn flushes(&self) -> u64 {
        self.flushes.load(Ordering::Relaxed)
    }
}

fn write(file: &mut File, group: &[Job], bytes: usize) -> std::io::Result<()> {
    let mut buffer = Vec::with_capacity(bytes + group.len() * 4);
    for job in group {
        buffer.extend_from_slice(&u32::try_from(job.bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
        buffer.extend_from_slice(&job.bytes);
    }
    file.write_all(&buffer)?;
    file.sync_data()
}

impl Drop for PlainFile {
    fn drop(&mut self) {
        self.jobs.take();
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has already failed its appends.
            let _ = writer.join();
        }
    }
}
