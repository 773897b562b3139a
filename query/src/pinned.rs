//! One read transaction, and what an answer made in it stands for.

use std::sync::Arc;

use schemas::Timestamp;
use warehouse::{CommitId, Read, Snapshot};

use crate::Query;
use crate::answer::{Meta, Refused};

/// A read transaction at the newest commit.
#[derive(Debug)]
pub(crate) struct Pinned {
    pub(crate) read: Read,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) now: Timestamp,
}

impl Query {
    /// Begins to read at the newest commit.
    pub(crate) async fn pin(&self) -> Result<Pinned, Refused> {
        let mut read = self.shared.warehouse.read().await?;
        let snapshot = read.snapshot().await?;
        Ok(Pinned { read, snapshot, now: (self.shared.now)() })
    }

    /// Begins to read; files of the lake as of an older commit.
    pub(crate) async fn pin_as_of(&self, commit: CommitId) -> Result<Pinned, Refused> {
        let mut read = self.shared.warehouse.read().await?;
        let snapshot = read.snapshot_at(commit).await?;
        Ok(Pinned { read, snapshot, now: (self.shared.now)() })
    }
}

impl Pinned {
    /// What an exact answer stands for.
    pub(crate) fn meta(&self) -> Meta {
        let complete_through = self.read.complete_through();
        Meta {
            commit: self.snapshot.commit,
            complete_through,
            lag_ms: complete_through.map(|through| self.now.millis_since(through).max(0)),
            exact: true,
            rel_error: 0.0,
        }
    }
}
