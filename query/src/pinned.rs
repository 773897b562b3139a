//! One read transaction, and what an answer made in it stands for.

use std::sync::Arc;

use schemas::Timestamp;
use warehouse::{CommitId, Read, Snapshot};

use crate::Query;
use crate::answer::{Meta, Refused};

/// A read transaction at the newest commit. It holds one of few connections: whoever goes on with the lake alone
/// [releases](Self::release) it first.
#[derive(Debug)]
pub(crate) struct Pinned {
    pub(crate) read: Read,
    pub(crate) at: AtCommit,
}

/// The lake at one commit, and how complete that is.
#[derive(Debug, Clone)]
pub(crate) struct AtCommit {
    pub(crate) snapshot: Arc<Snapshot>,
    /// Known of the newest commit only.
    complete_through: Option<Timestamp>,
    pub(crate) now: Timestamp,
}

impl Query {
    /// Begins to read at the newest commit.
    pub(crate) async fn pin(&self) -> Result<Pinned, Refused> {
        let mut read = self.shared.warehouse.read().await?;
        let snapshot = read.snapshot().await?;
        let at = AtCommit { snapshot, complete_through: read.complete_through(), now: (self.shared.now)() };
        Ok(Pinned { read, at })
    }

    /// Begins to read; files of the lake as of an older commit.
    pub(crate) async fn pin_as_of(&self, commit: CommitId) -> Result<Pinned, Refused> {
        let mut read = self.shared.warehouse.read().await?;
        let snapshot = read.snapshot_at(commit).await?;
        // How far the log was taken in by then is not kept.
        let complete_through = read.complete_through().filter(|_| commit == read.commit());
        let at = AtCommit { snapshot, complete_through, now: (self.shared.now)() };
        Ok(Pinned { read, at })
    }
}

impl Pinned {
    /// Ends the read transaction.
    pub(crate) fn release(self) -> AtCommit {
        self.at
    }
}

impl AtCommit {
    /// What an exact answer stands for.
    pub(crate) fn meta(&self) -> Meta {
        Meta {
            commit: self.snapshot.commit,
            complete_through: self.complete_through,
            lag_ms: self.complete_through.map(|through| self.now.millis_since(through).max(0)),
            exact: true,
            rel_error: 0.0,
        }
    }
}
