//! A log on disk for the processor to work through.

use std::path::Path;

use anyhow::Result;
use bytes::Bytes;
use event_log::{DiskLog, DiskLogConfig, EventLog, NewRecord};
use schemas::partition::partition_of;
use schemas::record::{Item, Record, encode};
use schemas::{Timestamp, Wire, record};

use crate::audience::{Audience, Share, Upload, scripts};
use crate::now;
use crate::random::Random;

/// Events of a record: what a device sends at once.
const RECORD_EVENTS: usize = 100;
pub(crate) const PROJECT: &str = "default";

/// What is in a prepared log.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Prepared {
    /// Events, copies among them.
    pub(crate) events: u64,
    /// Events that are copies of earlier ones.
    pub(crate) copies: u64,
    /// Views that begin.
    pub(crate) views: u64,
    /// Bytes of the events as devices wrote them.
    pub(crate) json_bytes: u64,
    /// Bytes of the records.
    pub(crate) record_bytes: u64,
}

/// Appends what an audience of so many devices sends, in records of 100 events. A share of the records are uploads sent
/// again: any earlier one, under another batch id.
pub(crate) async fn prepare(folder: &Path, events: usize, devices: usize, copies: f64) -> Result<Prepared> {
    let log = DiskLog::open(DiskLogConfig::new(folder))?;
    let mut audience = Audience::new(&scripts(RECORD_EVENTS)?, Share::whole(devices), now().millis());
    let mut random = Random::seeded(0x0bad_5eed);
    let mut prepared = Prepared::default();
    let mut originals: Vec<(Upload, Vec<u8>)> = Vec::new();
    let mut newest_ms = 0;
    let records = events.div_ceil(RECORD_EVENTS);
    let mut waiting = Vec::new();
    for number in 0..records {
        let is_copy = !originals.is_empty() && random.chance(copies);
        let chosen = if is_copy {
            prepared.copies += RECORD_EVENTS as u64;
            random.below(originals.len())
        } else {
            let mut body = Vec::new();
            let upload = audience.next(&mut body);
            newest_ms = upload.arrives_ms;
            prepared.views += upload.views;
            // Only what may be sent again is kept.
            if copies <= 0.0 {
                originals.clear();
            }
            originals.push((upload, body));
            originals.len() - 1
        };
        let (upload, body) = &originals[chosen];
        let items: Vec<&[u8]> = audience.events(upload, body).collect();
        prepared.events += items.len() as u64;
        prepared.json_bytes += items.iter().map(|bytes| bytes.len() as u64).sum::<u64>();
        let record = record(number, upload, &items, newest_ms, log.partitions());
        prepared.record_bytes += record.bytes.len() as u64;
        waiting.push(record);
        if waiting.len() == 64 || number + 1 == records {
            log.append(std::mem::take(&mut waiting)).await?;
        }
    }
    Ok(prepared)
}

/// An upload as ingest appends it when it arrives.
fn record(number: usize, upload: &Upload, items: &[&[u8]], arrives_ms: i64, partitions: u16) -> NewRecord {
    let at = |unix_ms| Timestamp::from_millis(unix_ms).unwrap_or_default();
    let log_time = at(arrives_ms);
    let install = upload.install.to_string();
    let boot = upload.boot.to_string();
    let items = (0..).zip(items).map(|(index, bytes)| Item { index, bytes, oversize: None });
    let batch_id = format!("batch-{number}");
    let record = record::Upload {
        batch_id: &batch_id,
        part: 0,
        parts: 1,
        log_time,
        received_at: log_time,
        sent_at: Some(at(upload.sent_ms())),
        sent_mono_ms: u64::try_from(upload.mono_ms).ok(),
        boot_id: Some(&boot),
        project: PROJECT,
        subject: None,
        wire: Wire::Cloudevents.as_str(),
        facts: Vec::new(),
        items: items.collect(),
    };
    let bytes = Bytes::from(encode(&Record::Upload(record)));
    NewRecord { partition: partition_of(PROJECT, &install, partitions), log_time, bytes }
}
