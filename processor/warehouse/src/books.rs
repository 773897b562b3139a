//! The books: what the ledger says against what the files hold.

use crate::database::sql;
use crate::read::{Read, ReadError};
use crate::tables::{EVENTS, QUARANTINE};

/// Sums of the ledger and rows of the files at one commit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Books {
    /// Events that the ledger says were stored.
    pub stored: i64,
    /// Events that the ledger says were quarantined.
    pub quarantined: i64,
    /// Rows of the live files of `events`.
    pub event_rows: i64,
    /// Rows of the live files of `quarantine`.
    pub quarantine_rows: i64,
}

impl Books {
    /// Events that one side has and the other has not. 0, or something is wrong.
    #[must_use]
    pub const fn unaccounted(&self) -> u64 {
        self.stored.abs_diff(self.event_rows) + self.quarantined.abs_diff(self.quarantine_rows)
    }
}

impl Read {
    /// Balances the books of all projects.
    ///
    /// # Errors
    ///
    /// [`ReadError::Database`].
    pub async fn books(&mut self) -> Result<Books, ReadError> {
        let row = sql("WITH lines AS (SELECT outcome, events FROM ledger_merged WHERE grain = 'hour' \
             UNION ALL SELECT outcome, events FROM ledger_delta), \
             files AS (SELECT table_id, record_count FROM ducklake_data_file WHERE end_snapshot IS NULL) \
             SELECT coalesce((SELECT CAST(sum(events) AS BIGINT) FROM lines WHERE outcome = 'stored'), 0), \
             coalesce((SELECT CAST(sum(events) AS BIGINT) FROM lines WHERE outcome = 'quarantined'), 0), \
             coalesce((SELECT CAST(sum(record_count) AS BIGINT) FROM files WHERE table_id = $1), 0), \
             coalesce((SELECT CAST(sum(record_count) AS BIGINT) FROM files WHERE table_id = $2), 0)")
        .bind(EVENTS.id)
        .bind(QUARANTINE.id)
        .row(&mut self.transaction)
        .await?;
        Ok(Books { stored: row.get(0), quarantined: row.get(1), event_rows: row.get(2), quarantine_rows: row.get(3) })
    }
}
