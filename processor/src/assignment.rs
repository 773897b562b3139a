//! What is known of the partitions that this processor has: from records to commits. Who gives it partitions and takes them
//! away is none of its business ([`crate::member`]).

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use event_log::LogRecord;
use schemas::{Timestamp, record};
use tokio::task::JoinHandle;
use warehouse::{Advance, Commit, CommitError, Committed, FileName, Lane, Origin, RetentionPolicy, Warehouse};

use crate::EVENTS_TOPIC;
use crate::files;
use crate::fold::{PartitionState, Pending, fold};
use crate::metrics::ProcessorMetrics;
use crate::runner::{ProcessorConfig, RunError, Step};
use crate::units::{self, Facts};

/// How long the first event after a pause waits for company.
const LINGER: Duration = Duration::from_millis(40);
/// Plain bytes per fold: bounds its time and memory, whatever a record inflates to.
const FOLD_BYTES: usize = 1 << 20;
/// Plain bytes of records whose rows are encoded at once.
const ENCODED_BYTES: usize = 4 << 20;
/// Id runs are merged so often per commit at most: what has piled up must not hold up the next commits.
const RUN_MERGES: usize = 4;

/// What is done while a commit is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meanwhile {
    /// What was polled is folded for the next one.
    Fold,
    /// Nothing: afterwards nothing must be pending.
    Wait,
}

/// Everything that is void once an assignment ends.
#[derive(Debug)]
pub(crate) struct Assignment {
    /// Polled, not folded yet.
    backlog: VecDeque<LogRecord>,
    partitions: BTreeMap<u16, PartitionState>,
    /// Assigned, and by order not taken in for now.
    paused: BTreeSet<u16>,
    /// Positions at the last commit.
    committed: BTreeMap<u16, u64>,
    pub(crate) pending: Pending,
    pending_since: Option<Instant>,
    /// Until then each record is folded and committed by itself, so that one that cannot be is known by its address.
    careful_until: Option<Instant>,
    retention: Arc<RetentionPolicy>,
    last_commit: Option<Instant>,
    /// `None` for long ago: the next commit writes state files.
    last_state: Option<Instant>,
}

impl Assignment {
    /// Takes these partitions of a log of `log_partitions`, at the positions that the warehouse has.
    pub(crate) async fn take(
        partitions: &[u16],
        log_partitions: u16,
        warehouse: &Warehouse,
        config: &ProcessorConfig,
    ) -> Result<Self, RunError> {
        let mut taken = Self {
            backlog: VecDeque::new(),
            partitions: BTreeMap::new(),
            paused: BTreeSet::new(),
            committed: BTreeMap::new(),
            pending: Pending::new(),
            pending_since: None,
            careful_until: None,
            retention: Arc::clone(&config.retention),
            last_commit: None,
            last_state: Some(Instant::now()),
        };
        taken.add(partitions, log_partitions, warehouse, config).await?;
        Ok(taken)
    }

    /// Takes more partitions.
    pub(crate) async fn add(
        &mut self,
        partitions: &[u16],
        log_partitions: u16,
        warehouse: &Warehouse,
        config: &ProcessorConfig,
    ) -> Result<(), RunError> {
        let checkpoints = warehouse.checkpoints(EVENTS_TOPIC, log_partitions).await?;
        let (mut added, mut from) = (BTreeMap::new(), HashMap::new());
        let mut skipped = warehouse.skipped_positions(EVENTS_TOPIC).await?;
        for checkpoint in checkpoints.iter().filter(|checkpoint| partitions.contains(&checkpoint.log_partition)) {
            if checkpoint.is_paused {
                self.paused.insert(checkpoint.log_partition);
                continue;
            }
            let skipped = skipped.remove(&checkpoint.log_partition).unwrap_or_default();
            let (state, restored_from) = PartitionState::open(warehouse, config, checkpoint, skipped).await?;
            from.extend(restored_from.map(|position| (state.partition, position)));
            added.insert(state.partition, state);
        }
        let open: usize = self.partitions.values().map(|state| state.units.len()).sum();
        units::restore(warehouse, &mut added, from, config.open_sessions.saturating_sub(open)).await?;
        self.committed.extend(added.values().map(|state| (state.partition, state.position)));
        self.partitions.extend(added);
        units::make_room(&mut self.partitions, config.open_sessions);
        Ok(())
    }

    /// Forgets all partitions but these. What is pending must have been committed: it is of all of them.
    pub(crate) fn keep(&mut self, partitions: &[u16]) {
        debug_assert!(self.pending.records == 0, "what is pending would be committed without its partition");
        self.partitions.retain(|partition, _| partitions.contains(partition));
        self.paused.retain(|partition| partitions.contains(partition));
        self.committed.retain(|partition, _| partitions.contains(partition));
        self.backlog.retain(|record| partitions.contains(&record.partition));
    }

    /// The partitions taken, paused ones among them.
    pub(crate) fn partitions(&self) -> BTreeSet<u16> {
        self.partitions.keys().chain(&self.paused).copied().collect()
    }

    /// Those that are not taken in for now.
    pub(crate) const fn paused(&self) -> &BTreeSet<u16> {
        &self.paused
    }

    /// The position at the last commit of each partition.
    pub(crate) fn committed(&self) -> impl Iterator<Item = (u16, u64)> {
        self.committed.iter().map(|(partition, position)| (*partition, *position))
    }

    /// Lets the next commit write state files: the next owner of a partition begins with them.
    pub(crate) fn ask_for_state(&mut self) {
        self.last_state = None;
    }

    /// Has records folded and committed one by one for a while.
    pub(crate) const fn be_careful_until(&mut self, until: Option<Instant>) {
        self.careful_until = until;
    }

    pub(crate) fn is_careful(&self) -> bool {
        self.careful_until.is_some_and(|until| Instant::now() < until)
    }

    pub(crate) fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Takes in what was polled. Reading begins with the last record that was committed, which is only looked at: is this
    /// still the log that the checkpoint was made of?
    pub(crate) fn take_in(&mut self, records: Vec<LogRecord>) -> Result<(), RunError> {
        for record in records {
            match self.partitions.get(&record.partition) {
                Some(state) if record.position < state.position => state.recognise(&record)?,
                _ => self.backlog.push_back(record),
            }
        }
        Ok(())
    }

    /// How many positions of the log are folded, over all partitions.
    pub(crate) fn positions(&self) -> u64 {
        self.partitions.values().map(|state| state.position).sum()
    }

    /// How long until a commit is due; `None` while nothing is pending.
    pub(crate) fn due_in(&self, config: &ProcessorConfig) -> Option<Duration> {
        let since = self.pending_since?;
        if self.is_full(config) {
            return Some(Duration::ZERO);
        }
        let since_last = self.last_commit.map_or(config.commit_interval, |last| last.elapsed());
        let linger = LINGER.saturating_sub(since.elapsed());
        Some(config.commit_interval.saturating_sub(since_last).max(linger))
    }

    fn is_full(&self, config: &ProcessorConfig) -> bool {
        self.is_careful() || self.pending.rows.len() >= config.commit_rows || self.pending.bytes >= config.commit_bytes
    }

    /// Folds what is next in the backlog; whether there was something.
    pub(crate) fn fold_next(&mut self, metrics: &ProcessorMetrics) -> Result<bool, RunError> {
        let records = self.next_records();
        if records.is_empty() {
            return Ok(false);
        }
        self.fold(&records, metrics)?;
        Ok(true)
    }

    /// The next records of the backlog, of [`FOLD_BYTES`] when they are opened; at least one if there is one.
    fn next_records(&mut self) -> Vec<LogRecord> {
        let mut bytes = 0;
        let most = if self.is_careful() { 1 } else { FOLD_BYTES };
        let fits = |record: &&LogRecord| {
            let fits = bytes < most;
            bytes += record::plain_bytes(&record.bytes);
            fits
        };
        let count = self.backlog.iter().take_while(fits).count();
        self.backlog.drain(..count).collect()
    }

    fn fold(&mut self, records: &[LogRecord], metrics: &ProcessorMetrics) -> Result<(), RunError> {
        let timer = metrics.stage_duration_seconds.with_label_values(&["fold"]).start_timer();
        for of_partition in records.chunk_by(|one, other| one.partition == other.partition) {
            if let Some(state) = self.partitions.get_mut(&of_partition[0].partition) {
                let from = of_partition[0].position;
                let _told = ToldOnPanic { partition: state.partition, from, to: from + of_partition.len() as u64 };
                fold(state, &mut self.pending, of_partition, &self.retention)?;
            }
        }
        timer.observe_duration();
        self.pending_since.get_or_insert_with(Instant::now);
        if self.pending.bytes - self.pending.encoded_bytes >= ENCODED_BYTES {
            let _timer = metrics.stage_duration_seconds.with_label_values(&["encode"]).start_timer();
            self.pending.encode()?;
        }
        Ok(())
    }

    /// Commits what is folded. Afterwards, or after an error, nothing of it is pending; what is folded meanwhile is, and
    /// void after an error.
    pub(crate) async fn commit(
        &mut self,
        warehouse: &Warehouse,
        config: &ProcessorConfig,
        metrics: &ProcessorMetrics,
        now: Timestamp,
        meanwhile: Meanwhile,
    ) -> Result<Step, RunError> {
        let timer = metrics.commit_duration_seconds.start_timer();
        self.pending_since = None;
        self.last_commit = Some(Instant::now());
        let mut pending = std::mem::replace(&mut self.pending, Pending::new());
        let advances = self.advances(&pending);
        let facts = self.fold_units(warehouse, config, metrics, &mut pending).await?;
        if pending.rows.len() == 0 && facts.is_empty() {
            warehouse.advance(&advances).await?;
            self.note_committed(&advances);
            metrics.commits.with_label_values(&["ticks"]).inc();
            timer.stop_and_discard();
            return Ok(Step::Advanced);
        }
        let lead = advances.iter().find(|advance| advance.events > 0).unwrap_or(&advances[0]);
        let name = FileName::new(Origin::Commit { partition: lead.log_partition, from: lead.from }, now);
        let lake = warehouse.lake();
        let encode = metrics.stage_duration_seconds.with_label_values(&["encode"]).start_timer();
        let files = files::write_rows(lake, &name, pending.rows.take()?)?;
        std::mem::swap(&mut self.pending.rows, &mut pending.rows);
        let id_runs = files::write_id_runs(lake, &name, self.partitions.values_mut())?;
        let state_files = if self.last_state.is_some_and(|last| last.elapsed() < config.state_interval) {
            Vec::new()
        } else {
            self.last_state = Some(Instant::now());
            files::write_state(lake, &name, self.partitions.values())?
        };
        encode.observe_duration();
        let commit = Commit {
            lane: Lane::Events,
            now,
            advances,
            files,
            replaced_files: Vec::new(),
            deltas: pending.take_deltas(),
            id_runs,
            state_files,
        };
        let (advances, committed, folded) =
            self.commit_with(warehouse, config, metrics, meanwhile, (commit, &facts)).await?;
        for run in committed.id_runs {
            if let Some(state) = self.partitions.get_mut(&run.run.log_partition) {
                state.keys.committed(run)?;
            }
        }
        self.note_committed(&advances);
        metrics.commits.with_label_values(&["landed"]).inc();
        for ((outcome, reason), events) in &pending.outcomes {
            metrics.events.with_label_values(&[outcome.as_str()]).inc_by(*events);
            if let Some(reason) = reason.filter(|_| *outcome == schemas::Outcome::Quarantined) {
                metrics.quarantined.with_label_values(&[reason.as_str()]).inc_by(*events);
            }
        }
        timer.observe_duration();
        folded?;
        self.merge_id_runs(warehouse, now).await?;
        self.measure(metrics);
        Ok(Step::Committed(committed.id))
    }

    /// Writes the facts and commits. Merging may replace a file with facts that are to be replaced: then they are found in
    /// its successor. Returns also how far that moved the partitions, and what came of folding meanwhile.
    async fn commit_with(
        &mut self,
        warehouse: &Warehouse,
        config: &ProcessorConfig,
        metrics: &ProcessorMetrics,
        meanwhile: Meanwhile,
        (mut commit, facts): (Commit, &Facts),
    ) -> Result<(Vec<Advance>, Committed, Result<(), RunError>), RunError> {
        let rows = commit.files.len();
        for attempt in 1.. {
            let timer = metrics.stage_duration_seconds.with_label_values(&["facts"]).start_timer();
            commit.files.truncate(rows);
            list_facts(warehouse, &mut commit, facts).await?;
            timer.observe_duration();
            let timer = metrics.stage_duration_seconds.with_label_values(&["database"]).start_timer();
            let database = warehouse.clone();
            let committing = tokio::spawn(async move { (database.commit(&commit).await, commit) });
            let folded = match meanwhile {
                Meanwhile::Fold => self.fold_until(&committing, config, metrics),
                Meanwhile::Wait => Ok(()),
            };
            let ended = committing.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
            commit = ended.1;
            match ended.0 {
                Err(CommitError::Replaced { .. }) if attempt < REPLACE_TRIES => {
                    timer.stop_and_discard();
                    folded?;
                }
                landed => {
                    timer.observe_duration();
                    return Ok((commit.advances, landed?, folded));
                }
            }
        }
        unreachable!("the last attempt returns")
    }

    /// Folds what was polled until a commit has ended or the next one is full: else processor and database would wait for
    /// each other.
    fn fold_until<T>(
        &mut self,
        committing: &JoinHandle<T>,
        config: &ProcessorConfig,
        metrics: &ProcessorMetrics,
    ) -> Result<(), RunError> {
        while !committing.is_finished() && !self.is_full(config) && self.fold_next(metrics)? {}
        Ok(())
    }

    /// Folds new inputs into views and sessions.
    async fn fold_units(
        &mut self,
        warehouse: &Warehouse,
        config: &ProcessorConfig,
        metrics: &ProcessorMetrics,
        pending: &mut Pending,
    ) -> Result<Facts, RunError> {
        let (mut facts, mut late) = (Facts::default(), Vec::new());
        let mut inputs = std::mem::take(&mut pending.inputs);
        for state in self.partitions.values_mut() {
            let inputs = inputs.remove(&state.partition).unwrap_or_default();
            let from = self.committed.get(&state.partition).copied().unwrap_or(0);
            let _told = ToldOnPanic { partition: state.partition, from, to: state.position };
            late.extend(units::fold_open(state, inputs, pending, &mut facts)?);
        }
        metrics.refolded_sessions.inc_by(late.len() as u64);
        let open = units::refold(warehouse, late, pending, &mut facts).await?;
        units::keep_open(&mut self.partitions, open);
        units::make_room(&mut self.partitions, config.open_sessions);
        Ok(facts)
    }

    /// How far each partition moved since the last commit.
    fn advances(&self, pending: &Pending) -> Vec<Advance> {
        let moved = self.partitions.values().filter_map(|state| {
            let from = self.committed.get(&state.partition).copied().unwrap_or(0);
            (state.position > from).then(|| Advance {
                topic: EVENTS_TOPIC,
                log_partition: state.partition,
                from,
                to: state.position,
                log_time: state.log_time,
                pauses: state.pauses,
                events: pending.events.get(&state.partition).copied().unwrap_or(0),
            })
        });
        moved.collect()
    }

    fn note_committed(&mut self, advances: &[Advance]) {
        for advance in advances {
            self.committed.insert(advance.log_partition, advance.to);
            if let Some(state) = self.partitions.get_mut(&advance.log_partition) {
                state.committed_log_time = advance.log_time;
            }
        }
    }

    async fn merge_id_runs(&mut self, warehouse: &Warehouse, now: Timestamp) -> Result<(), RunError> {
        let mut merges = 0;
        for (partition, state) in &mut self.partitions {
            while merges < RUN_MERGES
                && let Some(run_ids) = state.keys.mergeable()
            {
                // Named like a file of the commit that comes next: until that has landed nobody takes it for a leftover.
                let from = self.committed.get(partition).copied().unwrap_or(0);
                let origin = Origin::Commit { partition: *partition, from };
                let run = state.keys.write_merged(&run_ids, &FileName::new(origin, now))?;
                let listed = warehouse.replace_id_runs(&run_ids, &run, now).await?;
                state.keys.merged(&run_ids, listed)?;
                merges += 1;
            }
        }
        Ok(())
    }

    /// Tells how much is in memory.
    pub(crate) fn measure(&self, metrics: &ProcessorMetrics) {
        let (mut hot, mut cold, mut memory, mut epochs, mut open, mut away) = (0, 0, 0, 0, 0, 0);
        for state in self.partitions.values() {
            let sizes = state.keys.sizes();
            hot += sizes.0;
            cold += sizes.1;
            memory += sizes.2;
            epochs += state.clocks.len();
            open += state.units.len();
            away += state.put_away.len();
        }
        let gauge = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        metrics.dedup_hot_keys.set(gauge(hot));
        metrics.dedup_cold_keys.set(i64::try_from(cold).unwrap_or(i64::MAX));
        metrics.dedup_memory_bytes.set(gauge(memory));
        metrics.clock_epochs.set(gauge(epochs));
        metrics.open_sessions.set(gauge(open));
        metrics.put_away_sessions.set(gauge(away));
        metrics.paused_partitions.set(gauge(self.paused.len()));
    }
}

/// Says at which records of a partition the processor was, up to before `to`, when it is dropped by a panic.
struct ToldOnPanic {
    partition: u16,
    from: u64,
    to: u64,
}

impl Drop for ToldOnPanic {
    fn drop(&mut self) {
        let Self { partition, from, to } = *self;
        if std::thread::panicking() {
            tracing::error!(partition, from, to, "the processor panicked at these records");
        }
    }
}

/// How often a commit is tried again because merging replaced a file under it.
const REPLACE_TRIES: usize = 5;

/// Writes the facts, and lists their files in the commit.
async fn list_facts(warehouse: &Warehouse, commit: &mut Commit, facts: &Facts) -> Result<(), RunError> {
    let (mut fact_rows, replacements) = facts.rows(warehouse, commit.now).await?;
    let lead = commit.advances.first().map_or((0, 0), |advance| (advance.log_partition, advance.from));
    let name = FileName::new(Origin::Commit { partition: lead.0, from: lead.1 }, commit.now);
    commit.files.extend(files::write_rows(warehouse.lake(), &name, fact_rows.take()?)?);
    commit.replaced_files.clear();
    for replacement in replacements {
        commit.files.extend(replacement.files);
        commit.replaced_files.extend(replacement.replaced_files);
    }
    Ok(())
}
