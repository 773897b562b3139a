//! A log on disk for the processor to work through.

use std::path::Path;

use anyhow::Result;
use bytes::Bytes;
use event_log::{DiskLog, DiskLogConfig, EventLog, NewRecord};
use rig::Device;
use schemas::partition::partition_of;
use schemas::record::{Item, Record, Upload, encode};
use schemas::{Timestamp, Wire};

use crate::client::Random;
use crate::now;

/// Events of a record: what a device sends at once.
const RECORD_EVENTS: usize = 100;
/// Devices that take turns.
const DEVICES: usize = 1_000;
const PROJECT: &str = "default";

/// What is in a prepared log.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Prepared {
    /// Events, copies among them.
    pub(crate) events: u64,
    /// Events that are copies of earlier ones.
    pub(crate) copies: u64,
    /// Bytes of the events as devices wrote them.
    pub(crate) json_bytes: u64,
    /// Bytes of the records.
    pub(crate) record_bytes: u64,
}

/// Appends heartbeats of many devices in records of 100. A share of the records are uploads sent again: any earlier
/// one, under another batch id.
pub(crate) async fn prepare(folder: &Path, events: usize, copies: f64) -> Result<Prepared> {
    let log = DiskLog::open(DiskLogConfig::new(folder))?;
    let mut devices: Vec<Device> = (0..DEVICES).map(|_| Device::new()).collect();
    let mut random = Random::seeded(0x0bad_5eed);
    let mut prepared = Prepared::default();
    let mut originals: Vec<(usize, Vec<String>)> = Vec::new();
    let records = events.div_ceil(RECORD_EVENTS);
    // Ten minutes of traffic that end now.
    let span_ms = 600_000;
    let end = now();
    let mut waiting = Vec::new();
    for number in 0..records {
        let behind_ms = i64::try_from(span_ms * (records - number) / records)?;
        let log_time = end.plus_millis(-behind_ms);
        let is_copy = !originals.is_empty() && below(&mut random, copies);
        let chosen = if is_copy {
            prepared.copies += RECORD_EVENTS as u64;
            random.below(originals.len())
        } else {
            let device = number % DEVICES;
            originals.push((device, heartbeats(&mut devices[device], log_time)));
            originals.len() - 1
        };
        let (device, bodies) = &originals[chosen];
        prepared.events += bodies.len() as u64;
        prepared.json_bytes += bodies.iter().map(|body| body.len() as u64).sum::<u64>();
        let install = devices[*device].install.to_string();
        let record = record(number, &install, bodies, log_time, log.partitions());
        prepared.record_bytes += record.bytes.len() as u64;
        waiting.push(record);
        if waiting.len() == 64 || number + 1 == records {
            log.append(std::mem::take(&mut waiting)).await?;
        }
    }
    Ok(prepared)
}

/// True with this probability.
fn below(random: &mut Random, probability: f64) -> bool {
    f64::from(u32::try_from(random.next() >> 32).unwrap_or(0)) < probability * f64::from(u32::MAX)
}

/// A hundred heartbeats, one a second, the last one just now.
fn heartbeats(device: &mut Device, log_time: Timestamp) -> Vec<String> {
    let view = format!("view-{}", device.session);
    let ages_s = (0_i64..).take(RECORD_EVENTS).collect::<Vec<_>>().into_iter().rev();
    ages_s.map(|age_s| device.heartbeat(&view, log_time.plus_millis(-age_s * 1000).to_chrono()).to_string()).collect()
}

fn record(number: usize, install: &str, bodies: &[String], log_time: Timestamp, partitions: u16) -> NewRecord {
    let items = (0..).zip(bodies).map(|(index, body)| Item { index, bytes: body.as_bytes(), oversize: None });
    let upload = Upload {
        batch_id: &format!("batch-{number}"),
        part: 0,
        parts: 1,
        log_time,
        received_at: log_time,
        sent_at: None,
        sent_mono_ms: None,
        boot_id: None,
        project: PROJECT,
        subject: None,
        wire: Wire::Cloudevents.as_str(),
        facts: Vec::new(),
        items: items.collect(),
    };
    let bytes = Bytes::from(encode(&Record::Upload(upload)));
    NewRecord { partition: partition_of(PROJECT, install, partitions), log_time, bytes }
}
