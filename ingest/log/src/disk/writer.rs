//! The one thread that writes: group commit.

use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use fjall::{Keyspace, PersistMode};
use schemas::Timestamp;

use super::segments::key;
use super::{Job, Shared, lock};
use crate::{AppendError, Position};

/// A group is closed when it holds this many bytes: bounds the memory and the time of one flush.
const GROUP_MAX_BYTES: usize = 8 << 20;

/// Takes appends until all senders are gone.
pub(super) fn run(shared: &Shared, jobs: &Receiver<Job>) {
    let mut writer = Writer { shared, high: shared.high.borrow().clone(), segment: None, segment_bytes: 0 };
    while let Ok(first) = jobs.recv() {
        let mut group = vec![first];
        let mut bytes = group[0].bytes;
        while bytes < GROUP_MAX_BYTES
            && let Ok(job) = jobs.try_recv()
        {
            bytes += job.bytes;
            group.push(job);
        }
        writer.commit(group, bytes);
    }
}

struct Writer<'a> {
    shared: &'a Shared,
    high: Vec<Position>,
    segment: Option<Keyspace>,
    segment_bytes: u64,
}

impl Writer<'_> {
    /// Makes a group of `queued_bytes` durable, and answers its appends.
    fn commit(&mut self, group: Vec<Job>, queued_bytes: usize) {
        let started = Instant::now();
        let refused = self.shared.read_only().map(AppendError::ReadOnly).or_else(|| self.no_room());
        let written = match refused {
            Some(refused) => Err(refused),
            None => self.write(&group).map_err(|error| self.failed(&error)),
        };
        // Before the answers: who has one finds room for the next.
        self.shared.queued_bytes.fetch_sub(queued_bytes, Ordering::AcqRel);
        match written {
            Ok(positions) => {
                let (records, bytes) = group.iter().fold((0, 0), |(records, bytes), job| {
                    (records + job.records.len() as u64, bytes + job.bytes as u64)
                });
                self.shared.appended_records.fetch_add(records, Ordering::Relaxed);
                self.shared.appended_bytes.fetch_add(bytes, Ordering::Relaxed);
                self.shared.flushes.fetch_add(1, Ordering::Relaxed);
                let us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
                self.shared.flush_us.fetch_add(us, Ordering::Relaxed);
                self.shared.high.send_replace(self.high.clone());
                for (job, positions) in group.into_iter().zip(positions) {
                    // An appender that went away still has its records in the log.
                    let _ = job.answer.send(Ok(positions));
                }
            }
            Err(refused) => answer_all(group, &refused),
        }
    }

    /// What the page cache holds after a failed flush is unknown: this log takes no more records, and never tries that
    /// flush again.
    fn failed(&self, error: &fjall::Error) -> AppendError {
        let reason = format!("a write to the disk failed: {error}");
        tracing::error!(error = %error, "the log is read-only from now on: a write to the disk failed");
        *lock(&self.shared.read_only) = Some(reason.clone());
        AppendError::ReadOnly(reason)
    }

    /// Looks whether the disk has less free than is to be left. Ticks come every few seconds, so it is noticed without uploads,
    /// and so is room that was made.
    fn no_room(&self) -> Option<AppendError> {
        let config = &self.shared.config;
        // What cannot be asked is no reason to refuse.
        let free = rustix::fs::statvfs(&config.folder).map_or(u64::MAX, |space| space.f_bavail * space.f_frsize);
        let reason = (free < config.reserve_bytes).then(|| {
            let (free, reserve) = (free >> 20, config.reserve_bytes >> 20);
            format!("the disk has {free} MiB free, and {reserve} MiB are to be left")
        });
        let mut known = lock(&self.shared.no_room);
        match (&*known, &reason) {
            (None, Some(reason)) => tracing::error!(reason, "the log takes no more records until there is room"),
            (Some(_), None) => tracing::info!("there is room again: the log takes records"),
            _ => {}
        }
        known.clone_from(&reason);
        reason.map(AppendError::Unavailable)
    }

    /// Writes a group as one batch with one flush; returns the positions of each job's records.
    fn write(&mut self, group: &[Job]) -> Result<Vec<Vec<Position>>, fjall::Error> {
        let log_time = group.iter().flat_map(|job| &job.records).map(|record| record.log_time).max();
        let segment = self.segment(log_time.unwrap_or_default())?;
        let mut batch = self.shared.segments.database().batch().durability(Some(PersistMode::SyncAll));
        let mut high = self.high.clone();
        let mut positions = Vec::with_capacity(group.len());
        let mut bytes = 0;
        for job in group {
            let mut of_job = Vec::with_capacity(job.records.len());
            for record in &job.records {
                let next = &mut high[usize::from(record.partition)];
                batch.insert(&segment, key(record.partition, *next), record.bytes.as_ref());
                of_job.push(*next);
                *next += 1;
            }
            bytes += job.bytes as u64;
            positions.push(of_job);
        }
        batch.commit()?;
        self.high = high;
        self.segment_bytes += bytes;
        Ok(positions)
    }

    /// The segment for the next records; begins a new one where the current is full or spans too much time.
    fn segment(&mut self, log_time: Timestamp) -> Result<Keyspace, fjall::Error> {
        let config = &self.shared.config;
        let segments = &self.shared.segments;
        let current = self.segment.take().or_else(|| segments.newest());
        let is_long = segments.newest_began().is_some_and(|began| log_time > began + config.segment_span);
        let segment = match current {
            Some(segment) if self.segment_bytes < config.segment_bytes && !is_long => segment,
            _ => {
                self.segment_bytes = 0;
                segments.begin(&self.high, log_time)?
            }
        };
        self.segment = Some(segment.clone());
        Ok(segment)
    }
}

fn answer_all(group: Vec<Job>, error: &AppendError) {
    for job in group {
        // An appender that went away needs no answer.
        let _ = job.answer.send(Err(error.clone()));
    }
}
