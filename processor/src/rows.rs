//! Judged events as rows of the lake's tables, in the order of their columns.

mod columns;
mod facts;

use schemas::clock::Correction;
use schemas::record::Upload;
use schemas::{Event, Flag, Format, Rejection, Timestamp, Trust};
use warehouse::EncodedFile;
use warehouse::tables::{EVENTS, LakeTable, QUARANTINE, RECORDS, SLICES};

use crate::runner::RunError;

use columns::{Columns, Value};
pub(crate) use facts::FactRows;

/// Where an event stands in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) partition: u16,
    pub(crate) position: u64,
    pub(crate) index: usize,
}

/// What became of the events of one record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct OutcomeCounts {
    pub(crate) stored: i32,
    pub(crate) duplicate: i32,
    pub(crate) quarantined: i32,
    pub(crate) suppressed: i32,
}

impl OutcomeCounts {
    pub(crate) const fn events(&self) -> i32 {
        self.stored + self.duplicate + self.quarantined + self.suppressed
    }
}

/// The rows of one commit.
pub(crate) struct Rows {
    events: Columns,
    quarantine: Columns,
    records: Columns,
    slices: Columns,
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows")
            .field("events", &self.events.len())
            .field("records", &self.records.len())
            .finish_non_exhaustive()
    }
}

impl Rows {
    pub(crate) fn new() -> Self {
        Self {
            events: Columns::new(&EVENTS),
            quarantine: Columns::new(&QUARANTINE),
            records: Columns::new(&RECORDS),
            slices: Columns::new(&SLICES),
        }
    }

    /// Rows in all tables.
    pub(crate) const fn len(&self) -> usize {
        self.events.len() + self.quarantine.len() + self.records.len() + self.slices.len()
    }

    /// Encodes what has come in so far. In portions it is still in the processor's cache, and does not take memory until
    /// the commit.
    pub(crate) fn encode(&mut self) -> Result<(), RunError> {
        [&mut self.events, &mut self.quarantine, &mut self.records].into_iter().try_for_each(Columns::encode)
    }

    /// The files by table; tables without rows are left out. What is left has the room that they took.
    pub(crate) fn take(&mut self) -> Result<Vec<(&'static LakeTable, EncodedFile)>, RunError> {
        take([&mut self.events, &mut self.quarantine, &mut self.records, &mut self.slices])
    }

    /// A stored event.
    pub(crate) fn event(
        &mut self,
        upload: &Upload<'_>,
        event: &Event<'_>,
        correction: &Correction,
        person_id: Option<&str>,
        at: Address,
    ) {
        use Value::{Int32, Int64, Text, Time};
        let trust = if upload.subject.is_some() { Trust::Authenticated } else { Trust::Anonymous };
        let mut flags = event.flags;
        if is_late(upload.received_at, correction) {
            flags.insert(Flag::Late);
        }
        if correction.future_clamped {
            flags.insert(Flag::FutureClamped);
        }
        let flags = flags.to_string();
        self.events.push([
            Text(Some(upload.project)),
            Text(Some(&event.id)),
            Text(Some(&event.source)),
            Text(Some(&event.kind)),
            Time(Some(event.occurred_at)),
            Time(Some(correction.corrected_at)),
            Time(upload.sent_at),
            Time(Some(upload.received_at)),
            Text(event.device_platform),
            Text(event.app_version.as_deref()),
            Text(event.install_id.as_deref()),
            Text(event.session_id.as_deref()),
            Int64(event.seq.map(Into::into)),
            Text(event.boot_id.as_deref()),
            Int64(event.mono_ms.and_then(|ms| i64::try_from(ms).ok())),
            Text(event.anon_id.as_deref()),
            Text(upload.subject.or(event.user_id.as_deref())),
            Text(person_id),
            Text(event.view_id.as_deref()),
            Text(event.layout_id.as_deref()),
            Int32(event.slot.map(Into::into)),
            Text(event.stream_id.as_deref()),
            Text(event.stream_platform),
            Text(Some(&event.data)),
            Text(Some(event.format.as_str())),
            Text(Some(trust.as_str())),
            Text(Some(correction.quality.as_str())),
            Int64(Some(correction.skew_ms)),
            Text(Some(&flags)),
            Int32(Some(at.partition.into())),
            Int64(Some(signed(at.position))),
            Int32(Some(small(at.index))),
        ]);
    }

    /// A quarantined event.
    pub(crate) fn quarantined(&mut self, upload: &Upload<'_>, rejection: &Rejection<'_>, raw: &[u8], at: Address) {
        let Rejection { reason, field, id, source, kind, format, device_platform, app_version, .. } = rejection;
        use Value::{Bytes, Int32, Int64, Text, Time};
        self.quarantine.push([
            Text(Some(upload.project)),
            Text(Some(id)),
            Text(source.as_deref()),
            Text(kind.as_deref()),
            Time(Some(upload.received_at)),
            Text(Some(format.as_str())),
            Text(Some(reason.as_str())),
            Text(field.as_deref()),
            Text(*device_platform),
            Text(app_version.as_deref()),
            Bytes(raw),
            Int32(Some(at.partition.into())),
            Int64(Some(signed(at.position))),
            Int32(Some(small(at.index))),
        ]);
    }

    /// A record of the log with what became of its events.
    pub(crate) fn record(&mut self, upload: &Upload<'_>, payload: &[u8], outcomes: &OutcomeCounts, at: Address) {
        use Value::{Bytes, Int32, Int64, Text, Time};
        self.records.push([
            Int32(Some(at.partition.into())),
            Int64(Some(signed(at.position))),
            Time(Some(upload.log_time)),
            Time(Some(upload.received_at)),
            Time(upload.sent_at),
            Text(upload.boot_id),
            Text(Some(upload.project)),
            Text(Some(upload.batch_id)),
            Int32(Some(i32::try_from(upload.part).unwrap_or(i32::MAX))),
            Int32(Some(i32::try_from(upload.parts).unwrap_or(i32::MAX))),
            Text(Some(upload.wire)),
            Int32(Some(outcomes.events())),
            Int32(Some(outcomes.stored)),
            Int32(Some(outcomes.duplicate)),
            Int32(Some(outcomes.quarantined)),
            Int32(Some(outcomes.suppressed)),
            Bytes(payload),
        ]);
    }
}

/// The files of those tables that have rows.
fn take<const TABLES: usize>(
    tables: [&mut Columns; TABLES],
) -> Result<Vec<(&'static LakeTable, EncodedFile)>, RunError> {
    tables.into_iter().filter_map(|columns| columns.take().transpose()).collect()
}

/// Whether an event arrived more than an hour after it happened.
pub(crate) fn is_late(received_at: Timestamp, correction: &Correction) -> bool {
    received_at.millis_since(correction.corrected_at) > 3_600_000
}

/// The format of what cannot be read as a record at all.
pub(crate) const UNREADABLE_FORMAT: Format = Format::Cloudevents;

fn signed(position: u64) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}

fn small(index: usize) -> i32 {
    i32::try_from(index).unwrap_or(i32::MAX)
}
