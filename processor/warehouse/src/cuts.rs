//! From when on rows are kept: what retention has decided, in the database.
//!
//! A cut is recorded in the transaction that takes the first rows away, so whoever reads at a commit knows which rows can
//! be missing there. It never moves back: what is gone stays gone when a retention is made longer.

use std::collections::HashMap;
use std::sync::Arc;

use schemas::Timestamp;

use crate::database::{Transaction, sql};
use crate::read::{Read, ReadError};
use crate::retention::Kept;

/// Rows of a project that are older than an instant go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) project: Arc<str>,
    pub(crate) kept: Kept,
    /// Rows of before this are gone, or going.
    pub(crate) kept_from: Timestamp,
}

/// What is recorded of a cut: from when on rows are kept, and up to when all older ones are gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub(crate) kept_from: Timestamp,
    pub(crate) swept: Timestamp,
}

/// All cuts at a commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cuts(HashMap<(Arc<str>, Kept), Recorded>);

impl Cuts {
    /// From when on rows of a project are kept; the epoch if all are.
    pub(crate) fn kept_from(&self, project: &str, kept: Kept) -> Timestamp {
        self.of(project, kept).kept_from
    }

    pub(crate) fn of(&self, project: &str, kept: Kept) -> Recorded {
        self.0.get(&(project.into(), kept)).copied().unwrap_or_default()
    }

    /// All of them, those that were swept too.
    pub(crate) fn all(&self) -> Vec<Cut> {
        let cut = |((project, kept), recorded): (&(Arc<str>, Kept), &Recorded)| Cut {
            project: Arc::clone(project),
            kept: *kept,
            kept_from: recorded.kept_from,
        };
        self.0.iter().map(cut).collect()
    }
}

impl Read {
    /// What retention has taken away.
    pub(crate) async fn cuts(&mut self) -> Result<Cuts, ReadError> {
        Ok(cuts_of(&mut self.transaction).await?)
    }
}

/// What retention has taken away, as a transaction sees it.
pub(crate) async fn cuts_of(transaction: &mut Transaction) -> Result<Cuts, sqlx::Error> {
    let rows = sql("SELECT project, kept, kept_from_us, swept_us FROM retention_cut");
    let mut cuts = Cuts::default();
    for row in rows.rows(transaction).await? {
        // One that a later program recorded is none of this program's business.
        let Some(kept) = Kept::named(&row.get::<String>(1)) else { continue };
        let at = |column: usize| Timestamp::from_micros(row.get(column));
        cuts.0.insert((row.get::<String>(0).into(), kept), Recorded { kept_from: at(2), swept: at(3) });
    }
    Ok(cuts)
}

/// Records cuts, in the transaction that begins with them.
pub(crate) async fn record(transaction: &mut Transaction, cuts: &[Cut]) -> Result<(), sqlx::Error> {
    let insert = "INSERT INTO retention_cut (project, kept, kept_from_us, swept_us) VALUES ($1, $2, $3, 0) \
                  ON CONFLICT (project, kept) DO UPDATE SET kept_from_us = excluded.kept_from_us \
                  WHERE excluded.kept_from_us > retention_cut.kept_from_us";
    for_each(cuts, insert, transaction).await
}

/// Notes that nothing older than these is there any more.
pub(crate) async fn note_swept(transaction: &mut Transaction, cuts: &[Cut]) -> Result<(), sqlx::Error> {
    let update = "UPDATE retention_cut SET swept_us = $3 WHERE project = $1 AND kept = $2 AND swept_us < $3";
    for_each(cuts, update, transaction).await
}

/// Runs a statement for each cut, with its project, what is kept, and from when on.
async fn for_each(cuts: &[Cut], text: &'static str, transaction: &mut Transaction) -> Result<(), sqlx::Error> {
    for Cut { project, kept, kept_from } in cuts {
        sql(text).bind(&**project).bind(kept.as_str()).bind(kept_from.micros()).run(transaction).await?;
    }
    Ok(())
}
