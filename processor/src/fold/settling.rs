//! One record on its way into the commit: what became of each of its events, and the lines of the books that say so.

use std::borrow::Cow;
use std::collections::HashSet;

use event_log::LogRecord;
use schemas::clock::Correction;
use schemas::fold::{Input, Stored, UnitName, error_keys};
use schemas::kinds;
use schemas::record::Upload;
use schemas::{Event, Format, Outcome, Reason, Rejection, TimeQuality, Verdict};
use warehouse::RetentionPolicy;

use super::{Judged, PartitionState, Pending, UNREADABLE_WIRE, correct, unread};
use crate::rows::{Address, OutcomeCounts, is_late};
use crate::tallies::word;

/// A record on its way into the commit.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) log_record: &'a LogRecord,
    pub(super) upload: &'a Upload<'a>,
    pub(super) payload: &'a [u8],
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
            fields: &event.fields,
            address: (self.log_record.position, u32::try_from(index).unwrap_or(u32::MAX)),
        }
    }

    /// Writes down what became of its events.
    pub(super) fn settle(
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

/// A record that cannot be read counts as one quarantined event of no project.
pub(super) fn settle_unreadable(state: &PartitionState, pending: &mut Pending, log_record: &LogRecord) {
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
    let rejection = unread(&log_record.bytes, Reason::InvalidRecord);
    place.quarantine(0, &rejection, "", &log_record.bytes);
    place.finish();
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
