//! From records of the log to the content of a commit. Pure but for the lookup of keys.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use event_log::LogRecord;
use schemas::clock::{Clocks, Correction, Stamp, Transmission};
use schemas::dedup::{EventKey, IdTime};
use schemas::fold::measures::Sums;
use schemas::fold::{Input, Stored, UnitName, error_keys};
use schemas::kinds;
use schemas::record::{self, Item, Record, Upload};
use schemas::rollups::{ERROR, LEDGER, QUALITY, USAGE};
use schemas::{Event, Format, Outcome, Reason, Received, Rejection, TimeQuality, Timestamp, Verdict, validate};
use warehouse::{Delta, RetentionPolicy};

use crate::dedup::{DedupError, KeyIndex};
use crate::rows::{Address, OutcomeCounts, Rows, UNREADABLE_FORMAT, is_late};
use crate::runner::RunError;
use crate::tallies::{Tally, ViewTallies, word};
use crate::units::{Inputs, PutAway, Units};

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
    let judged: Vec<Vec<Judged<'_>>> = batch.iter().map(Entry::judge).collect();
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

    fn judge(&self) -> Vec<Judged<'_>> {
        let Self::Upload { upload, .. } = self else { return Vec::new() };
        upload.items.iter().map(|item| judge(upload, item)).collect()
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

fn judge<'a>(upload: &'a Upload<'a>, item: &Item<'a>) -> Judged<'a> {
    let verdict = match Received::of(upload) {
        Some(received) => validate(&received, item),
        // Written by a newer program: kept, and judged again by one that knows the format.
        None => Verdict::Quarantine(unreadable(item.bytes)),
    };
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

fn unreadable<'a>(bytes: &[u8]) -> Rejection<'a> {
    Rejection {
        reason: Reason::InvalidRecord,
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

/// A record that cannot be read counts as one quarantined event of no project.
fn settle_unreadable(state: &PartitionState, pending: &mut Pending, log_record: &LogRecord) {
    let upload = Upload {
        batch_id: "",
        part: 0,
        parts: 1,
        log_time: state.log_time,
        received_at: state.log_time,
        sent_at: None,
        sent_mono_ms: None,
        boot_id: None,
        project: "",
        subject: None,
        wire: UNREADABLE_WIRE,
        facts: Vec::new(),
        items: Vec::new(),
    };
    let mut place = Place { log_record, upload: &upload, payload: &log_record.bytes }.settling(pending);
    let rejection = unreadable(&log_record.bytes);
    place.quarantine(0, &rejection, "", &log_record.bytes);
    place.finish();
}

/// A record on its way into the commit.
#[derive(Clone, Copy)]
struct Place<'a> {
    log_record: &'a LogRecord,
    upload: &'a Upload<'a>,
    payload: &'a [u8],
}

impl<'a> Place<'a> {
    fn settling<'p>(self, pending: &'p mut Pending) -> Settling<'a, 'p> {
        let (outcomes, unknown_kinds) = (OutcomeCounts::default(), HashSet::new());
        Settling { place: self, pending, outcomes, lines: Vec::new(), unknown_kinds }
    }

    /// The event as the fold of views and sessions sees it.
    fn stored<'e>(
        self,
        index: usize,
        event: &'e Event<'_>,
        correction: &Correction,
        person_id: Option<&'e str>,
    ) -> Stored<'e>
    where
        'a: 'e,
    {
        Stored {
            project: self.upload.project,
            format: event.format,
            kind: &event.kind,
            seq: event.seq,
            boot_id: event.boot_id.as_deref(),
            mono_ms: event.mono_ms.and_then(|ms| i64::try_from(ms).ok()),
            occurred_at: event.occurred_at,
            corrected_at: correction.corrected_at,
            received_at: self.upload.received_at,
            install_id: event.install_id.as_deref(),
            session_id: event.session_id.as_deref(),
            view_id: event.view_id.as_deref(),
            layout_id: event.layout_id.as_deref(),
            person_id,
            stream_id: event.stream_id.as_deref(),
            stream_platform: event.stream_platform,
            device_platform: event.device_platform,
            app_version: event.app_version.as_deref(),
            data: &event.data,
            address: (self.log_record.position, u32::try_from(index).unwrap_or(u32::MAX)),
        }
    }

    fn settle(
        self,
        state: &mut PartitionState,
        pending: &mut Pending,
        judged: &[Judged<'_>],
        seen: &[bool],
        retention: &RetentionPolicy,
    ) {
        let corrections = correct(self.upload, &mut state.clocks, judged);
        // From the record alone, and before its copies are looked at: it is the same whatever is still remembered.
        let oldest = retention.of(self.upload.project).oldest_event(self.upload.log_time);
        let mut settling = self.settling(pending);
        let mut corrections = corrections.into_iter();
        for (index, (judged, seen)) in judged.iter().zip(seen).enumerate() {
            match &judged.verdict {
                Verdict::Accept(event) => {
                    let correction = corrections.next().expect("one correction for each valid event");
                    let kind = settling.counted_kind(&event.kind);
                    if oldest.is_some_and(|oldest| correction.corrected_at < oldest) {
                        settling.line(event.format, kind, Outcome::Suppressed, Some(Reason::Expired), [0; 3]);
                    } else if *seen {
                        settling.line(event.format, kind, Outcome::Duplicate, None, [0; 3]);
                    } else {
                        settling.store(index, event, kind, &correction);
                    }
                }
                Verdict::Quarantine(rejection) => {
                    let kind = settling.counted_kind(rejection.kind.as_deref().unwrap_or_default());
                    if *seen {
                        settling.line(rejection.format, kind, Outcome::Duplicate, None, [0; 3]);
                    } else {
                        let raw = self.upload.items.get(index).map_or(&[][..], |item| item.bytes);
                        settling.quarantine(index, rejection, kind, raw);
                    }
                }
            }
        }
        settling.finish();
    }
}

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

/// What the books say about some events of one record.
struct Line {
    format: Format,
    kind: String,
    outcome: Outcome,
    reason: Option<Reason>,
    events: i64,
    /// Late, clamped, corrected by an offset.
    measures: [i64; 3],
}

/// The events of one record while they are written down.
struct Settling<'a, 'p> {
    place: Place<'a>,
    pending: &'p mut Pending,
    outcomes: OutcomeCounts,
    lines: Vec<Line>,
    /// Kinds that are not in the vocabulary, as far as they are counted under their own name.
    unknown_kinds: HashSet<String>,
}

/// Unknown kinds of one record that have rows of their own in the rollups; the others are counted as [`kinds::OTHER`]. A
/// record has a few kinds, or a sender that makes them up: then the rollups must not grow as the events do. Per record,
/// so that it depends on nothing but the record. The events themselves keep their kind.
const UNKNOWN_KINDS_MAX: usize = 50;

impl Settling<'_, '_> {
    fn address(&self, index: usize) -> Address {
        let LogRecord { partition, position, .. } = self.place.log_record;
        Address { partition: *partition, position: *position, index }
    }

    /// Stores an event that is counted under `kind`.
    fn store(&mut self, index: usize, event: &Event<'_>, kind: &str, correction: &Correction) {
        let upload = self.place.upload;
        let late = is_late(upload.received_at, correction);
        let person_id = person_of(upload, event);
        self.pending.rows.event(upload, event, correction, person_id.as_deref(), self.address(index));
        let stored = self.place.stored(index, event, correction, person_id.as_deref());
        if let Some(unit) = UnitName::of(&stored) {
            let inputs = self.pending.inputs.entry(self.place.log_record.partition).or_default();
            if let Some(inputs) = inputs.get_mut(&unit) {
                inputs.extend(Input::behind(&stored, unit.order(), inputs));
            } else {
                let input = Input::behind(&stored, unit.order(), &[]);
                inputs.insert((&unit).into(), input.into_iter().collect());
            }
        }
        if let Some([origin, code, domain, severity]) = error_keys(&event.kind, event.format, &event.data) {
            let app_version = event.app_version.as_deref().unwrap_or_default();
            let keys = [&*origin, &code, &domain, &severity, app_version];
            self.pending.error.add(upload.project, correction.corrected_at, &keys, [1]);
        }
        let feature = event.feature.as_deref().unwrap_or_default();
        let keys = [kind, feature];
        self.pending.usage.add(upload.project, correction.corrected_at, &keys, [1, late.into()]);
        let measures =
            [late.into(), correction.future_clamped.into(), (correction.quality != TimeQuality::Device).into()];
        self.line(event.format, kind, Outcome::Stored, None, measures);
    }

    /// Quarantines an event that is counted under `kind`.
    fn quarantine(&mut self, index: usize, rejection: &Rejection<'_>, kind: &str, raw: &[u8]) {
        self.pending.rows.quarantined(self.place.upload, rejection, raw, self.address(index));
        self.line(rejection.format, kind, Outcome::Quarantined, Some(rejection.reason), [0; 3]);
    }

    /// The name under which a kind is counted.
    fn counted_kind<'k>(&mut self, kind: &'k str) -> &'k str {
        if kind.is_empty() || kinds::named(kind).is_some() || self.unknown_kinds.contains(kind) {
            return kind;
        }
        if self.unknown_kinds.len() == UNKNOWN_KINDS_MAX {
            return kinds::OTHER;
        }
        self.unknown_kinds.insert(kind.to_owned());
        kind
    }

    /// Counts one event under its [counted kind](Self::counted_kind): exactly one line per event, so that the books balance.
    fn line(&mut self, format: Format, kind: &str, outcome: Outcome, reason: Option<Reason>, measures: [i64; 3]) {
        match outcome {
            Outcome::Stored => self.outcomes.stored += 1,
            Outcome::Duplicate => self.outcomes.duplicate += 1,
            Outcome::Quarantined => self.outcomes.quarantined += 1,
            Outcome::Suppressed => self.outcomes.suppressed += 1,
            Outcome::Erased => unreachable!("nothing is erased when it arrives"),
        }
        let same = |line: &&mut Line| {
            line.kind == kind && line.format == format && line.outcome == outcome && line.reason == reason
        };
        match self.lines.iter_mut().find(same) {
            Some(line) => {
                line.events += 1;
                for (sum, measure) in line.measures.iter_mut().zip(measures) {
                    *sum += measure;
                }
            }
            None => self.lines.push(Line { format, kind: kind.to_owned(), outcome, reason, events: 1, measures }),
        }
    }

    /// Writes the record's row and its lines in the books.
    fn finish(self) {
        let Place { upload, payload, .. } = self.place;
        let address = self.address(0);
        let Self { pending, outcomes, lines, .. } = self;
        pending.rows.record(upload, payload, &outcomes, address);
        *pending.events.entry(address.partition).or_default() += u64::try_from(outcomes.events()).unwrap_or(0);
        let partition = address.partition.to_string();
        for line in lines {
            let [late, clamped, offset] = line.measures;
            let keys = [line.format.as_str(), &line.kind, line.outcome.as_str(), word(line.reason)];
            pending.quality.add(upload.project, upload.received_at, &keys, [line.events, late, clamped, offset]);
            let keys = [&partition, line.format.as_str(), &line.kind, line.outcome.as_str(), word(line.reason)];
            pending.ledger.add(upload.project, upload.received_at, &keys, [line.events]);
            let events = u64::try_from(line.events).unwrap_or(0);
            *pending.outcomes.entry((line.outcome, line.reason)).or_default() += events;
        }
    }
}

/// The verified user, else the guest.
fn person_of<'a>(upload: &Upload<'a>, event: &Event<'_>) -> Option<Cow<'a, str>> {
    let guest = || event.anon_id.as_deref().map(|anon_id| Cow::Owned(["anon:", anon_id].concat()));
    upload.subject.map(Cow::Borrowed).or_else(guest)
}

/// Takes a record that was folded before into the clocks again: what a state file saves.
pub(crate) fn replay_clocks(clocks: &mut Clocks, payload: &[u8]) {
    let Ok(Record::Upload(upload)) = record::decode_payload(payload) else { return };
    let judged: Vec<Judged<'_>> = upload.items.iter().map(|item| judge(&upload, item)).collect();
    correct(&upload, clocks, &judged);
}
