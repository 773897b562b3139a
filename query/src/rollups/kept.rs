//! Answers that were given before: good for as long as none of their buckets changed, which the database says in a moment.
//!
//! A dashboard asks the same again and again, and most of its buckets are over. An answer is kept with the commit that it
//! was read at; at a later one it is given out again if no commit in between touched a bucket of its range.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::body::Bytes;
use axum::http::HeaderValue;
use serde_json::value::RawValue;
use warehouse::CommitId;

/// Bytes of all answers that are kept.
const MAX_BYTES: usize = 32 << 20;
/// A larger answer is not kept: a few of them would drive out all others.
const MAX_ANSWER_BYTES: usize = 4 << 20;

/// What was answered, as it was written.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) data: Data,
    pub(super) next_cursor: Option<String>,
    /// The tag of both.
    pub(super) tag: HeaderValue,
}

/// The data of an answer.
#[derive(Debug)]
pub(super) enum Data {
    Json(Box<RawValue>),
    Csv(Bytes),
}

impl Given {
    fn bytes(&self) -> usize {
        match &self.data {
            Data::Json(json) => json.get().len(),
            Data::Csv(text) => text.len(),
        }
    }
}

/// Answers by what was asked.
#[derive(Debug, Default)]
pub(crate) struct Kept(Mutex<Answers>);

#[derive(Debug, Default)]
struct Answers {
    by_request: HashMap<String, Entry>,
    bytes: usize,
    /// Counts uses: what was used longest ago goes first.
    uses: u64,
}

/// How often the database was replaced by an older one until then, and the commit: its number means nothing in another one.
pub(super) type At = (u64, CommitId);

#[derive(Debug)]
struct Entry {
    given: Arc<Given>,
    at: At,
    used: u64,
}

impl Kept {
    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// What was answered to this request, and when.
    pub(super) fn find(&self, request: &str) -> Option<(Arc<Given>, At)> {
        let mut answers = self.answers();
        answers.uses += 1;
        let used = answers.uses;
        let entry = answers.by_request.get_mut(request)?;
        entry.used = used;
        Some((Arc::clone(&entry.given), entry.at))
    }

    /// Keeps an answer that is right at this commit, unless one is kept that is right at this or a later one.
    pub(super) fn keep(&self, request: String, given: &Arc<Given>, at: At) {
        if given.bytes() > MAX_ANSWER_BYTES {
            return;
        }
        let mut answers = self.answers();
        if answers.by_request.get(&request).is_some_and(|entry| entry.at >= at) {
            return;
        }
        answers.uses += 1;
        let entry = Entry { given: Arc::clone(given), at, used: answers.uses };
        answers.bytes += request.len() + given.bytes();
        answers.remove(&request);
        answers.by_request.insert(request, entry);
        while answers.bytes > MAX_BYTES {
            let oldest =
                answers.by_request.iter().min_by_key(|(_, entry)| entry.used).map(|(request, _)| request.clone());
            let Some(oldest) = oldest else { break };
            answers.remove(&oldest);
        }
    }
}

impl Answers {
    fn remove(&mut self, request: &str) {
        if let Some((request, entry)) = self.by_request.remove_entry(request) {
            self.bytes -= request.len() + entry.given.bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn csv(text: &str) -> Arc<Given> {
        let (data, tag) = (Data::Csv(text.to_owned().into()), HeaderValue::from_static("W/\"\""));
        Arc::new(Given { data, next_cursor: None, tag })
    }

    fn found(kept: &Kept, request: &str) -> Option<(usize, i64)> {
        kept.find(request).map(|(given, (_, commit))| (given.bytes(), commit.0))
    }

    fn at(commit: i64) -> At {
        (0, CommitId(commit))
    }

    #[test]
    fn the_newest_answer_stays_and_what_was_not_used_for_longest_goes() {
        let kept = Kept::default();
        kept.keep("a".into(), &csv("one"), at(5));
        kept.keep("a".into(), &csv("older"), at(4));
        assert_eq!(found(&kept, "a"), Some((3, 5)));
        kept.keep("b".into(), &csv("one"), at(5));
        kept.keep("b".into(), &csv("after it was replaced"), (1, CommitId(3)));
        assert_eq!(found(&kept, "b"), Some((21, 3)));
        kept.keep("huge".into(), &csv(&"x".repeat(MAX_ANSWER_BYTES + 1)), at(5));
        assert_eq!(found(&kept, "huge"), None);
        let large = csv(&"x".repeat(MAX_ANSWER_BYTES));
        for number in 0..7 {
            kept.keep(format!("large {number}"), &large, at(6));
        }
        assert!(found(&kept, "a").is_some() && found(&kept, "large 0").is_some());
        kept.keep("large 7".into(), &large, at(6));
        assert_eq!(found(&kept, "large 1"), None, "the only one that was not used since");
        assert!(found(&kept, "a").is_some() && found(&kept, "large 0").is_some() && found(&kept, "large 7").is_some());
        assert!(kept.answers().bytes <= MAX_BYTES);
    }
}
