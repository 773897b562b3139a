//! Which events were taken in before, at any age, within a bound of memory.
//!
//! Keys of the newest commits are in a hash set (the hot set). Every commit also writes its keys as a sorted run into
//! the lake, listed in the same transaction; runs merge in levels. What the hot set does not know is looked up
//! in the older runs: by range, then by filter, and only where a filter says «perhaps» by reading one block.

mod run;

use std::collections::VecDeque;
use std::io;

use foldhash::fast::RandomState;
use hashbrown::HashSet;
use schemas::dedup::EventKey;
use thiserror::Error;
use warehouse::{FileName, IdRun, Lake, NewIdRun};

use run::Run;
pub(crate) use run::encode_run;

/// That many runs of a level become one of the next.
const FAN_IN: usize = 8;
/// Runs are not merged beyond this many keys: bounds the memory of a merge to 64 MiB.
const MAX_RUN_KEYS: u64 = 4 << 20;

/// Why keys could not be looked up. The batch is given up and tried again: an unknown must not become «new».
#[derive(Debug, Error)]
pub enum DedupError {
    /// A run cannot be read.
    #[error("read id run `{path}`")]
    Read {
        /// Its file.
        path: String,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// A run is damaged.
    #[error("id run `{path}` is corrupt: {what}")]
    Corrupt {
        /// Its file.
        path: String,
        /// What is wrong.
        what: &'static str,
    },
}

/// The keys of one log partition.
#[derive(Debug)]
pub(crate) struct KeyIndex {
    lake: Lake,
    log_partition: u16,
    hot_limit: usize,
    hot: HashSet<EventKey, RandomState>,
    /// Keys of the hot set by commit, oldest first: what to forget next.
    hot_commits: VecDeque<HotCommit>,
    /// Keys taken in since the last commit began; in the hot set too.
    fresh: Vec<EventKey>,
    /// Those of a commit that is on its way.
    committing: Vec<EventKey>,
    runs: Vec<Run>,
}

#[derive(Debug)]
struct HotCommit {
    run_id: i64,
    keys: Vec<EventKey>,
}

impl KeyIndex {
    /// The index over the runs that are listed.
    pub(crate) fn open(
        lake: Lake,
        log_partition: u16,
        listed: Vec<IdRun>,
        hot_limit: usize,
    ) -> Result<Self, DedupError> {
        let runs = listed.into_iter().map(|run| Run::open(&lake, run)).collect::<Result<_, _>>()?;
        Ok(Self {
            lake,
            log_partition,
            hot_limit,
            hot: HashSet::default(),
            hot_commits: VecDeque::new(),
            fresh: Vec::new(),
            committing: Vec::new(),
            runs,
        })
    }

    /// Says for each key whether it was taken in before (or stands earlier in `keys`), and takes in the others.
    pub(crate) fn take_in(&mut self, keys: &[EventKey]) -> Result<Vec<bool>, DedupError> {
        let mut seen = self.cold(keys)?;
        for (key, seen) in keys.iter().zip(&mut seen) {
            if *seen {
                continue;
            }
            if self.hot.insert(*key) {
                self.fresh.push(*key);
            } else {
                *seen = true;
            }
        }
        Ok(seen)
    }

    /// Which of the keys are in runs that the hot set does not cover.
    fn cold(&mut self, keys: &[EventKey]) -> Result<Vec<bool>, DedupError> {
        let mut seen = vec![false; keys.len()];
        let mut order: Vec<usize> = (0..keys.len()).filter(|&idx| !self.hot.contains(&keys[idx])).collect();
        // Sorted, so that neighbours share a block.
        order.sort_unstable_by_key(|&idx| keys[idx]);
        for run in self.runs.iter_mut().filter(|run| !run.is_hot) {
            let mut block = None;
            for &idx in &order {
                if !seen[idx] && run.may_hold(&keys[idx]) {
                    seen[idx] = run.holds(&self.lake, &keys[idx], &mut block)?;
                }
            }
        }
        Ok(seen)
    }

    /// A commit begins: the keys taken in since the last one began, sorted, are its run.
    pub(crate) fn begin_commit(&mut self) -> &[EventKey] {
        self.committing = std::mem::take(&mut self.fresh);
        self.committing.sort_unstable();
        &self.committing
    }

    /// The commit that was begun has landed with this run.
    pub(crate) fn committed(&mut self, run: IdRun) -> Result<(), DedupError> {
        let keys = std::mem::take(&mut self.committing);
        let run_id = run.run_id;
        let mut opened = Run::open(&self.lake, run)?;
        opened.is_hot = true;
        self.runs.push(opened);
        self.hot_commits.push_back(HotCommit { run_id, keys });
        while self.hot.len() > self.hot_limit
            && let Some(oldest) = self.hot_commits.pop_front()
        {
            for key in &oldest.keys {
                self.hot.remove(key);
            }
            for run in self.runs.iter_mut().filter(|run| run.listed.run_id == oldest.run_id) {
                run.is_hot = false;
            }
        }
        Ok(())
    }

    /// The oldest runs of a level that has enough of them.
    pub(crate) fn mergeable(&self) -> Option<Vec<i64>> {
        let mut levels: Vec<u32> = self.runs.iter().map(|run| run.listed.run.level).collect();
        levels.sort_unstable();
        levels.dedup();
        levels.into_iter().find_map(|level| {
            // A run too large for any merge must not stand in the way of the others.
            let is_small = |run: &&Run| run.listed.run.keys <= MAX_RUN_KEYS / FAN_IN as u64;
            let of_level = self.runs.iter().filter(|run| run.listed.run.level == level).filter(is_small);
            let oldest: Vec<i64> = of_level.take(FAN_IN).map(|run| run.listed.run_id).collect();
            (oldest.len() == FAN_IN).then_some(oldest)
        })
    }

    /// Writes one run that holds the keys of these; listing it is the caller's.
    pub(crate) fn write_merged(&self, run_ids: &[i64], name: &FileName) -> Result<NewIdRun, DedupError> {
        let mut keys = Vec::new();
        let mut level = 0;
        for run in self.runs.iter().filter(|run| run_ids.contains(&run.listed.run_id)) {
            level = level.max(run.listed.run.level + 1);
            keys.extend(run.read_all(&self.lake)?);
        }
        keys.sort_unstable();
        keys.dedup();
        let path = format!("ids/{}", name.path("run"));
        self.lake.write(&path, &encode_run(&keys)).map_err(|source| DedupError::Read { path: path.clone(), source })?;
        Ok(NewIdRun { log_partition: self.log_partition, level, path, offset_bytes: 0, keys: keys.len() as u64 })
    }

    /// The runs were replaced by this one.
    pub(crate) fn merged(&mut self, run_ids: &[i64], run: IdRun) -> Result<(), DedupError> {
        let opened = Run::open(&self.lake, run)?;
        self.runs.retain(|run| !run_ids.contains(&run.listed.run_id));
        self.runs.push(opened);
        Ok(())
    }

    /// Keys in the hot set, and keys in runs with the bytes their filters take.
    pub(crate) fn sizes(&self) -> (usize, u64, usize) {
        let cold = self.runs.iter().map(|run| run.listed.run.keys).sum();
        (self.hot.len(), cold, self.runs.iter().map(Run::memory_bytes).sum())
    }
}

#[cfg(test)]
mod tests;
