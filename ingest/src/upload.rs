//! From the events of one upload to durable records and a receipt.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use event_log::{AppendError, NewRecord, Partition};
use schemas::dedup::EventKey;
use schemas::digest::sha256_hex;
use schemas::partition::partition_of;
use schemas::receipt::{Receipt, ReceiptItem, ReceiptResult};
use schemas::record::{self, EVENT_MAX_BYTES, Fact, Item, OVERSIZE_KEPT_BYTES, Oversize, RECORD_TARGET_BYTES, Record};
use schemas::{Outcome, Principal, Received, Timestamp, Verdict, Wire, validate};

use crate::Ingest;

/// What the request says about the upload, beside its events.
#[derive(Debug)]
pub(crate) struct Envelope<'a> {
    pub(crate) principal: &'a Principal,
    pub(crate) wire: Wire,
    pub(crate) received_at: Timestamp,
    pub(crate) batch_id: String,
    pub(crate) sent_at: Option<Timestamp>,
    pub(crate) boot_id: Option<&'a str>,
    pub(crate) sent_mono_ms: Option<u64>,
    pub(crate) facts: Vec<Fact<'a>>,
}

/// More events than this are judged beside the network's other work (a millisecond or two), not between it.
const EVENTS_AT_ONCE: usize = 1_000;
/// Bytes of a record beside its events.
const RECORD_HEADER_BYTES: usize = 1024;

impl Ingest {
    /// Judges the events, appends them, and returns the receipt once all are durable.
    pub(crate) async fn take(&self, envelope: &Envelope<'_>, events: &[&[u8]]) -> Result<Receipt, AppendError> {
        let (receipt, records) = if events.len() > EVENTS_AT_ONCE {
            tokio::task::block_in_place(|| self.prepare(envelope, events))
        } else {
            self.prepare(envelope, events)
        };
        self.shared.log.append(records).await?;
        Ok(receipt)
    }

    /// The receipt, and the records that it stands for.
    fn prepare(&self, envelope: &Envelope<'_>, events: &[&[u8]]) -> (Receipt, Vec<NewRecord>) {
        // Rare, so the digests lie beside the items, which borrow them.
        let oversize: HashMap<usize, String> = events
            .iter()
            .enumerate()
            .filter(|(_, event)| event.len() > EVENT_MAX_BYTES)
            .map(|(place, event)| (place, sha256_hex(event)))
            .collect();
        let items = (0..).zip(events).enumerate().map(|(place, (index, event))| match oversize.get(&place) {
            None => Item { index, bytes: event, oversize: None },
            Some(sha256) => {
                let about = Oversize { length_bytes: event.len() as u64, sha256 };
                Item { index, bytes: &event[..OVERSIZE_KEPT_BYTES], oversize: Some(about) }
            }
        });
        let mut receipt = Receipt { batch_id: envelope.batch_id.clone(), results: Vec::with_capacity(events.len()) };
        let parts = self.judge(envelope, items.collect(), &mut receipt);
        (receipt, self.encode(envelope, parts))
    }

    /// Writes the receipt's lines, and groups the events by partition into records of bounded size.
    fn judge<'a>(
        &self,
        envelope: &Envelope<'_>,
        items: Vec<Item<'a>>,
        receipt: &mut Receipt,
    ) -> Vec<(Partition, Vec<Item<'a>>)> {
        let received = Received {
            wire: envelope.wire,
            received_at: envelope.received_at,
            subject: envelope.principal.subject(),
            facts: &envelope.facts,
        };
        let project = &*envelope.principal.project;
        let partitions = self.shared.log.partitions();
        let mut open: BTreeMap<Partition, (usize, Vec<Item<'a>>)> = BTreeMap::new();
        let mut closed = Vec::new();
        let mut seen = HashSet::new();
        for item in items {
            let (partition, line, outcome) = match validate(&received, &item) {
                Verdict::Accept(event) => {
                    let partition = partition_of(project, event.partition_key(), partitions);
                    let key = EventKey::new(project, &event.source, &event.id, event.id_time);
                    let result = if seen.insert(key) { ReceiptResult::Accepted } else { ReceiptResult::Duplicate };
                    let outcome = if result == ReceiptResult::Accepted { Outcome::Stored } else { Outcome::Duplicate };
                    let line =
                        ReceiptItem { index: item.index, id: event.id.into_owned(), result, reason: None, field: None };
                    (partition, line, (event.format, outcome))
                }
                Verdict::Quarantine(rejection) => {
                    let partition = partition_of(project, &rejection.partition_key, partitions);
                    let field = rejection.field.map(Cow::into_owned);
                    let id = rejection.id.into_owned();
                    let line = ReceiptItem::quarantined(item.index, id, rejection.reason, field);
                    (partition, line, (rejection.format, Outcome::Quarantined))
                }
            };
            self.shared.metrics.count_event(outcome.0, outcome.1);
            receipt.results.push(line);
            let (bytes, of_partition) = open.entry(partition).or_default();
            if *bytes + item.bytes.len() + RECORD_HEADER_BYTES > RECORD_TARGET_BYTES && !of_partition.is_empty() {
                closed.push((partition, std::mem::take(of_partition)));
                *bytes = 0;
            }
            *bytes += item.bytes.len() + 16;
            of_partition.push(item);
        }
        closed.extend(open.into_iter().map(|(partition, (_, items))| (partition, items)));
        closed
    }

    fn encode(&self, envelope: &Envelope<'_>, parts: Vec<(Partition, Vec<Item<'_>>)>) -> Vec<NewRecord> {
        let log_time = (self.shared.now)();
        let count = u32::try_from(parts.len()).unwrap_or(u32::MAX);
        let records = (0..).zip(parts).map(|(part, (partition, items))| {
            let upload = record::Upload {
                batch_id: &envelope.batch_id,
                part,
                parts: count,
                log_time,
                received_at: envelope.received_at,
                sent_at: envelope.sent_at,
                sent_mono_ms: envelope.sent_mono_ms,
                boot_id: envelope.boot_id,
                project: &envelope.principal.project,
                subject: envelope.principal.subject(),
                wire: envelope.wire.as_str(),
                facts: envelope.facts.clone(),
                items,
            };
            NewRecord { partition, log_time, bytes: Bytes::from(record::encode(&Record::Upload(upload))) }
        });
        records.collect()
    }
}
