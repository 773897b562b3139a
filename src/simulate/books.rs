//! What was sent and what was answered: in sums, and event by event.

use std::ops::Range;

use serde::Serialize;
use serde_json::{Value, json};

use super::wire::EventId;

/// Sums of what was sent and answered.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub(super) struct Books {
    pub(super) uploads: u64,
    /// Events, copies included.
    pub(super) sent: u64,
    pub(super) accepted: u64,
    /// Copies within one upload.
    pub(super) duplicate: u64,
    pub(super) quarantined: u64,
    /// Attempts that were refused and repeated.
    pub(super) refused: u64,
    /// Attempts without an answer that were repeated: their events may be there twice.
    pub(super) unanswered: u64,
}

impl Books {
    pub(super) const fn add(&mut self, other: &Self) {
        self.uploads += other.uploads;
        self.sent += other.sent;
        self.accepted += other.accepted;
        self.duplicate += other.duplicate;
        self.quarantined += other.quarantined;
        self.refused += other.refused;
        self.unanswered += other.unanswered;
    }
}

/// What is known of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fate {
    /// Not sent yet.
    Waits,
    /// Sent, and never answered with 2xx.
    Sent,
    /// Answered with 2xx at least once.
    Acked,
}

/// Every event, each once, by its place.
#[derive(Debug, Default)]
pub(super) struct Ids {
    known: Vec<EventId>,
    fates: Vec<Fate>,
    /// Whether an attempt to send it ended otherwise than with 2xx.
    was_refused: Vec<bool>,
}

/// How many different events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Counts {
    pub(super) sent: usize,
    pub(super) acked: usize,
    /// Of which at least one attempt was refused or had no answer.
    pub(super) refused: usize,
    pub(super) never_acked: usize,
}

impl Ids {
    /// Adds the events of a device; returns the place of the first one.
    pub(super) fn add(&mut self, ids: impl Iterator<Item = EventId>) -> usize {
        let first = self.known.len();
        self.known.extend(ids);
        self.fates.resize(self.known.len(), Fate::Waits);
        self.was_refused.resize(self.known.len(), false);
        first
    }

    /// Something happened to the events of an upload. What was answered once stays so.
    pub(super) fn note(&mut self, events: Range<usize>, fate: Fate) {
        for known in &mut self.fates[events] {
            *known = fate.max(*known);
        }
    }

    /// An attempt to send these failed.
    pub(super) fn refuse(&mut self, events: Range<usize>) {
        self.was_refused[events].fill(true);
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// All events with what is known of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (EventId, Fate)> {
        self.known.iter().copied().zip(self.fates.iter().copied())
    }

    pub(super) fn counts(&self) -> Counts {
        let of = |least: Fate| self.fates.iter().filter(|fate| **fate >= least).count();
        let (sent, acked) = (of(Fate::Sent), of(Fate::Acked));
        let refused = self.was_refused.iter().filter(|was_refused| **was_refused).count();
        Counts { sent, acked, refused, never_acked: sent - acked }
    }
}

/// The books of a run.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) books: Books,
    pub(super) ids: Ids,
}

impl Ledger {
    /// For programs: the sums, and how many different events they are of.
    pub(super) fn to_json(&self) -> Value {
        let mut said = json!(self.books);
        said["ids"] = json!(self.ids.counts());
        said
    }
}
