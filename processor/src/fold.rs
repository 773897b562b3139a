//! From records of the log to the content of a commit. Pure but for the lookup of keys.

mod settling;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use event_log::LogRecord;
use schemas::clock::{Clocks, Correction, Stamp, Transmission};
use schemas::dedup::{EventKey, IdTime};
use schemas::fold::measures::Sums;
use schemas::record::{self, Item, Record, Upload};
use schemas::rollups::{ERROR, LEDGER, QUALITY, USAGE};
use schemas::{Event, Format, Outcome, Reason, Received, Rejection, Timestamp, Verdict, validate};
use warehouse::{Delta, RetentionPolicy};

use crate::dedup::{DedupError, KeyIndex};
use crate::rows::{Rows, UNREADABLE_FORMAT};
use crate::runner::RunError;
use crate::tallies::{Tally, ViewTallies};
use crate::units::{Inputs, PutAway, Units};
use settling::{Place, settle_unreadable};

/// What is known of one log partition at a position.
#[derive(Debug)]
pub(crate) struct PartitionState {
    pub(crate) partition: u16,
    /// The next record to fold.
    pub(crate) position: u64,
    /// Running maximum of the records' log times.
    pub(crate) log_time: Timestamp,
    /// The same at the last commit.
    pub(crate) committed_log_time: Timestamp,
    pub(crate) clocks: Clocks,
    pub(crate) keys: KeyIndex,
    /// Views and sessions that are not over.
    pub(crate) units: Units,
    /// Those of them that are not in memory.
    pub(crate) put_away: PutAway,
    /// Records whose events are quarantined by order.
    pub(crate) skipped: BTreeSet<u64>,
    /// How often it had been paused when its checkpoint was read.
    pub(crate) pauses: u64,
}

/// The content of the next commit.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) rows: Rows,
    /// What views and sessions are folded from, by partition.
    pub(crate) inputs: HashMap<u16, Inputs>,
    usage: Tally,
    quality: Tally,
    ledger: Tally,
    error: Tally,
    views: ViewTallies,
    /// Records folded, ticks among them.
    pub(crate) records: u64,
    /// Plain bytes of the records folded.
    pub(crate) bytes: usize,
    /// Those of them whose rows are encoded.
    pub(crate) encoded_bytes: usize,
    /// Events by partition.
    pub(crate) events: HashMap<u16, u64>,
    /// Events by outcome and reason, for metrics.
    pub(crate) outcomes: HashMap<(Outcome, Option<Reason>), u64>,
}

impl PartitionState {
    /// Takes a record that was committed before for what it is, or says that it is another one: log time is the running
    /// maximum, so no record below a checkpoint can be above its log time. Of one that cannot be read nothing is known.
    pub(crate) fn recognise(&self, record: &LogRecord) -> Result<(), RunError> {
        let has_log_time = self.log_time > Timestamp::default();
        if has_log_time && log_time_of(record).is_some_and(|(stamped, _)| stamped > self.log_time) {
            return Err(RunError::WrittenOver { partition: self.partition, position: record.position });
        }
        Ok(())
    }
}

/// The log time of a record that can be read, and whether it is a tick.
pub(crate) fn log_time_of(record: &LogRecord) -> Option<(Timestamp, bool)> {
    let payload = record::open(&record.bytes).ok()?;
    let record = record::decode_payload(&payload).ok()?;
    Some((record.log_time(), matches!(record, Record::Tick { .. })))
}

impl Pending {
    pub(crate) fn new() -> Self {
        Self {
            rows: Rows::new(),
            inputs: HashMap::new(),
            usage: Tally::new(&USAGE),
            quality: Tally::new(&QUALITY),
            ledger: Tally::new(&LEDGER),
            error: Tally::new(&ERROR),
            views: ViewTallies::new(),
            records: 0,
            bytes: 0,
            encoded_bytes: 0,
            events: HashMap::new(),
            outcomes: HashMap::new(),
        }
    }

    /// Encodes the rows of what is folded so far.
    pub(crate) fn encode(&mut self) -> Result<(), RunError> {
        self.encoded_bytes = self.bytes;
        self.rows.encode()
    }

    /// The contributions to all rollups.
    pub(crate) fn take_deltas(&mut self) -> Vec<Delta> {
        let of_events = [&mut self.usage, &mut self.quality, &mut self.ledger, &mut self.error];
        of_events.into_iter().map(Tally::take).chain(self.views.take()).collect()
    }

    /// Adds what a view or session contributes to rollups and slices.
    pub(crate) fn contribute(&mut self, project: &Arc<str>, sums: &Sums) {
        self.views.add(project, sums);
        self.rows.slices(project, sums);
    }
}

/// A judged event: its verdict, and whether it was taken in before.
struct Judged<'a> {
    verdict: Verdict<'a>,
    key: EventKey,
}

/// Folds consecutive records of one partition. Nothing of it counts before it is committed.
///
/// # Errors
///
/// [`DedupError`]: then `state` and `pending` are void.
pub(crate) fn fold(
    state: &mut PartitionState,
    pending: &mut Pending,
    records: &[LogRecord],
    retention: &RetentionPolicy,
) -> Result<(), DedupError> {
    let payloads: Vec<Result<Vec<u8>, &LogRecord>> =
        records.iter().map(|record| record::open(&record.bytes).map_err(|_| record)).collect();
    let mut batch = Vec::with_capacity(records.len());
    for (log_record, payload) in records.iter().zip(&payloads) {
        batch.push(match payload {
            Ok(payload) => Entry::read(log_record, payload),
            Err(log_record) => Entry::Unreadable { log_record },
        });
    }
    let judged: Vec<Vec<Judged<'_>>> = batch.iter().map(|entry| entry.judge(&state.skipped)).collect();
    let keys: Vec<EventKey> = judged.iter().flatten().map(|judged| judged.key).collect();
    let seen = state.keys.take_in(&keys)?;
    let mut seen = seen.into_iter();
    for (entry, judged) in batch.iter().zip(&judged) {
        let seen: Vec<bool> = seen.by_ref().take(judged.len()).collect();
        entry.settle(state, pending, judged, &seen, retention);
    }
    Ok(())
}

/// One record of the log, read as far as it can be.
enum Entry<'a> {
    Tick { log_record: &'a LogRecord, log_time: Timestamp },
    Upload { log_record: &'a LogRecord, payload: &'a [u8], upload: Upload<'a> },
    Unreadable { log_record: &'a LogRecord },
}

impl<'a> Entry<'a> {
    fn read(log_record: &'a LogRecord, payload: &'a [u8]) -> Self {
        match record::decode_payload(payload) {
            Ok(Record::Tick { log_time }) => Self::Tick { log_record, log_time },
            Ok(Record::Upload(upload)) => Self::Upload { log_record, payload, upload },
            Err(_) => Self::Unreadable { log_record },
        }
    }

    fn judge(&self, skipped: &BTreeSet<u64>) -> Vec<Judged<'_>> {
        let Self::Upload { upload, log_record, .. } = self else { return Vec::new() };
        judge(upload, skipped.contains(&log_record.position))
    }

    /// Writes down what became of the record and its events.
    fn settle(
        &self,
        state: &mut PartitionState,
        pending: &mut Pending,
        judged: &[Judged<'_>],
        seen: &[bool],
        retention: &RetentionPolicy,
    ) {
        let (log_record, log_time) = match self {
            Self::Tick { log_record, log_time } => (log_record, *log_time),
            Self::Upload { log_record, upload, .. } => (log_record, upload.log_time),
            Self::Unreadable { log_record } => (log_record, state.log_time),
        };
        state.log_time = state.log_time.max(log_time);
        state.position = log_record.position + 1;
        pending.records += 1;
        pending.bytes += record::plain_bytes(&log_record.bytes);
        match self {
            Self::Tick { .. } => {}
            Self::Upload { payload, upload, .. } => {
                let place = Place { log_record, upload, payload };
                place.settle(state, pending, judged, seen, retention);
            }
            Self::Unreadable { log_record } => settle_unreadable(state, pending, log_record),
        }
    }
}

/// Judges the events of an upload; if it is skipped by order, none is looked at.
fn judge<'a>(upload: &'a Upload<'a>, is_skipped: bool) -> Vec<Judged<'a>> {
    let judge = |item: &Item<'a>| {
        let verdict = match Received::of(upload) {
            _ if is_skipped => Verdict::Quarantine(unread(item.bytes, Reason::Skipped)),
            Some(received) => validate(&received, item),
            // Written by a newer program: kept, and judged again by one that knows the format.
            None => Verdict::Quarantine(unread(item.bytes, Reason::InvalidRecord)),
        };
        with_key(upload, verdict)
    };
    upload.items.iter().map(judge).collect()
}

fn with_key<'a>(upload: &Upload<'_>, verdict: Verdict<'a>) -> Judged<'a> {
    let key = match &verdict {
        Verdict::Accept(event) => EventKey::new(upload.project, &event.source, &event.id, event.id_time),
        // Keys of their own: a corrected event under the same id must not be a copy of the broken one.
        Verdict::Quarantine(rejection) => {
            let source = format!("\u{1}{}", rejection.source.as_deref().unwrap_or_default());
            EventKey::new(upload.project, &source, &rejection.id, IdTime::FromId)
        }
    };
    Judged { verdict, key }
}

/// Of what was not read nothing is known but its bytes.
fn unread<'a>(bytes: &[u8], reason: Reason) -> Rejection<'a> {
    Rejection {
        reason,
        field: None,
        id: schemas::digest::derived_id(&[bytes]).into(),
        source: None,
        kind: None,
        format: UNREADABLE_FORMAT,
        device_platform: None,
        app_version: None,
        partition_key: "".into(),
    }
}

/// What `records.format` says of a record that cannot be read.
pub(crate) const UNREADABLE_WIRE: &str = "unreadable";

/// Corrects the clocks of all valid events, copies among them: each attempt is a sample.
fn correct(upload: &Upload<'_>, clocks: &mut Clocks, judged: &[Judged<'_>]) -> Vec<Correction> {
    let transmission = Transmission {
        received_at: upload.received_at,
        log_time: upload.log_time,
        sent_at: upload.sent_at,
        sent_mono_ms: upload.sent_mono_ms,
        boot_id: upload.boot_id,
    };
    let stamps: Vec<Stamp<'_>> = judged
        .iter()
        .filter_map(|judged| match &judged.verdict {
            Verdict::Accept(event) => Some(stamp(upload.project, event)),
            Verdict::Quarantine(_) => None,
        })
        .collect();
    clocks.correct(&transmission, &stamps)
}

fn stamp<'a>(project: &'a str, event: &'a Event<'_>) -> Stamp<'a> {
    Stamp {
        project,
        install_id: event.install_id.as_deref(),
        session_id: event.session_id.as_deref(),
        source: &event.source,
        boot_id: event.boot_id.as_deref(),
        mono_ms: event.mono_ms,
        // CMCD numbers the records of a view, and a session has several views.
        seq: event.seq.filter(|_| event.format != Format::Cmcd2),
        occurred_at: event.occurred_at,
    }
}

/// Takes a record that was folded before into the clocks again: what a state file saves.
pub(crate) fn replay_clocks(clocks: &mut Clocks, payload: &[u8], is_skipped: bool) {
    let Ok(Record::Upload(upload)) = record::decode_payload(payload) else { return };
    correct(&upload, clocks, &judge(&upload, is_skipped));
}
