//! Which commits this process knows of. They only follow one another, unless the database is replaced by one that had not
//! got all of them, as a standby that was behind: then numbers are given a second time, and what is remembered by the number
//! of a commit is not to be trusted.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::commit::CommitId;

/// The newest commit, when it was made, when the one that was known until now was made, and the least log time of all
/// partitions. Its parameter is the number of the one that was known.
pub(crate) const LOOK: &str = "SELECT snapshot_id, CAST(snapshot_time AS TEXT), \
    (SELECT CAST(snapshot_time AS TEXT) FROM ducklake_snapshot WHERE snapshot_id = $1), \
    (SELECT min(log_time_us) FROM checkpoint) \
    FROM ducklake_snapshot ORDER BY snapshot_id DESC LIMIT 1";

/// What a transaction sees with [`LOOK`].
#[derive(Debug)]
pub(crate) struct Look {
    pub(crate) newest: CommitId,
    pub(crate) made_at: Option<String>,
    /// Of the commit that was known.
    pub(crate) known_made_at: Option<String>,
}

/// The newest commit that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) commit: CommitId,
    /// As the catalogue writes times; `None` before the first look.
    made_at: Option<String>,
    /// How often the database was replaced until then.
    replaced: u64,
}

#[derive(Debug)]
pub(crate) struct History {
    /// The newest commit, of this process at once.
    newest: watch::Sender<CommitId>,
    known: Mutex<Known>,
}

impl History {
    pub(crate) fn new(newest: CommitId) -> Self {
        let known = Known { commit: newest, made_at: None, replaced: 0 };
        Self { newest: watch::Sender::new(newest), known: Mutex::new(known) }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a look is compared with: taken before the transaction that looks begins.
    pub(crate) fn known(&self) -> Known {
        self.lock().clone()
    }

    pub(crate) fn replaced(&self) -> u64 {
        self.lock().replaced
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<CommitId> {
        self.newest.subscribe()
    }

    /// A commit of this process has landed.
    pub(crate) fn made(&self, commit: CommitId, made_at: Option<String>) {
        let mut known = self.lock();
        if commit > known.commit {
            *known = Known { commit, made_at, ..*known };
        }
        self.announce(commit);
    }

    /// Tells of a commit, unless a newer one is known.
    fn announce(&self, commit: CommitId) {
        self.newest.send_if_modified(|newest| {
            let is_newer = commit > *newest;
            *newest = commit.max(*newest);
            is_newer
        });
    }

    /// Takes in what a transaction saw. Returns how often the database was replaced until then.
    pub(crate) fn note(&self, before: &Known, look: Look) -> u64 {
        let is_lost = look.newest < before.commit;
        // One that has expired since is not there either, but then there are newer ones.
        let is_another =
            before.made_at.is_some() && look.known_made_at.is_some() && look.known_made_at != before.made_at;
        let mut known = self.lock();
        // What was noticed since is of the one that is there now.
        let is_first = known.replaced == before.replaced;
        if (is_lost || is_another) && is_first {
            tracing::error!(
                known = before.commit.0,
                newest = look.newest.0,
                "the database lacks commits that were read from it, as a standby does that was behind; their records are \
                 taken in again, if the log has them"
            );
            *known = Known { commit: look.newest, made_at: look.made_at, replaced: before.replaced + 1 };
            self.newest.send_replace(look.newest);
        } else if is_first && look.newest >= known.commit {
            *known = Known { commit: look.newest, made_at: look.made_at, ..*known };
            self.announce(look.newest);
        }
        known.replaced
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(newest: i64, made_at: &str, known_made_at: Option<&str>) -> Look {
        let text = str::to_owned;
        Look { newest: CommitId(newest), made_at: Some(text(made_at)), known_made_at: known_made_at.map(text) }
    }

    #[test]
    fn a_database_without_a_known_commit_or_with_another_of_its_number_is_another_one() {
        let history = History::new(CommitId(5));
        let newest = history.subscribe();
        let see = |look: Look| (history.note(&history.known(), look), newest.borrow().0);
        assert_eq!(see(look(5, "a", Some("a"))), (0, 5));
        assert_eq!(see(look(7, "c", Some("a"))), (0, 7));
        assert_eq!(see(look(6, "b", None)), (1, 6), "7 is gone");
        assert_eq!(see(look(9, "e", Some("b"))), (1, 9));
        assert_eq!(see(look(9, "E", Some("E"))), (2, 9), "9 is another one");
        assert_eq!(see(look(12, "h", Some("E"))), (2, 12));
        assert_eq!(see(look(40, "z", None)), (2, 40), "12 has expired");
    }

    #[test]
    fn what_is_noticed_by_many_counts_once_and_a_late_look_takes_nothing_back() {
        let history = History::new(CommitId(5));
        history.note(&history.known(), look(8, "d", Some("a")));
        let (before, newest) = (history.known(), history.subscribe());
        assert_eq!(history.note(&before, look(6, "b", None)), 1);
        assert_eq!(history.note(&before, look(6, "b", None)), 1);
        history.made(CommitId(7), Some("c".to_owned()));
        assert_eq!((history.note(&before, look(6, "b", None)), newest.borrow().0), (1, 7));
        let before = history.known();
        history.note(&before, look(9, "e", Some("c")));
        assert_eq!((history.note(&before, look(8, "d", Some("c"))), history.known().commit.0), (1, 9));
        // Another look was faster, and saw commits that are gone now.
        let before = history.known();
        history.note(&before, look(11, "g", Some("e")));
        assert_eq!((history.note(&before, look(10, "F", Some("E"))), newest.borrow().0), (2, 10));
        // A commit of its own is gone before anybody looked.
        history.made(CommitId(12), Some("h".to_owned()));
        assert_eq!((history.note(&history.known(), look(10, "F", None)), newest.borrow().0), (3, 10));
    }
}
