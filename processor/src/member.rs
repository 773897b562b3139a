//! A member of the group of processors that share the partitions of the log.
//!
//! It outlives what it knows of its partitions: a commit that fails or is fenced drops that, and the member stays in the
//! group and begins anew from the checkpoints. Were it to leave and join again, every failure would move partitions of
//! others too.

use std::pin::Pin;
use std::time::{Duration, Instant};

use event_log::{LogConsumer, PollError, Polled};
use schemas::Timestamp;
use tokio::time::timeout;
use warehouse::Warehouse;

use crate::EVENTS_TOPIC;
use crate::assignment::{Assignment, Meanwhile};
use crate::metrics::ProcessorMetrics;
use crate::runner::{ProcessorConfig, RunError, Step};

/// Bytes per poll, as the log keeps them.
const POLL_BYTES: usize = 2 << 20;
/// While a partition is paused it is asked so often whether it still is. A pause that begins is told by the fence.
const PAUSES_INTERVAL: Duration = Duration::from_secs(2);
/// After a step that did not come to its end (a panic) each record is committed by itself for so long.
const CAREFUL_FOR: Duration = Duration::from_secs(10);

/// While a partition is made ready the group is told so often that this member is there.
const STAY_EVERY: Duration = Duration::from_secs(2);

/// What a step works on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Site<'a> {
    pub(crate) warehouse: &'a Warehouse,
    pub(crate) config: &'a ProcessorConfig,
    pub(crate) metrics: &'a ProcessorMetrics,
    /// The time of a commit.
    pub(crate) now: Timestamp,
}

impl Site<'_> {
    async fn commit(&self, assignment: &mut Assignment, meanwhile: Meanwhile) -> Result<Step, RunError> {
        assignment.commit(self.warehouse, self.config, self.metrics, self.now, meanwhile).await
    }
}

/// The consumer, what it was assigned, and what is known of that.
#[derive(Debug)]
pub(crate) struct Member {
    consumer: Box<dyn LogConsumer>,
    log_partitions: u16,
    /// The log's name; `None` for one that is nobody else's.
    identity: Option<String>,
    /// What the log gave to this member; `None` until it said so.
    partitions: Option<Vec<u16>>,
    assignment: Option<Assignment>,
    /// Whether a step is under way, or did not come to its end.
    is_stepping: bool,
    careful_until: Option<Instant>,
    /// When it was last asked which partitions are paused.
    asked_for_pauses: Instant,
}

impl Member {
    /// A member that reads a log of `log_partitions`. Of a log with a name it reads on as long as the warehouse follows it.
    pub(crate) fn new(consumer: Box<dyn LogConsumer>, log_partitions: u16, identity: Option<String>) -> Self {
        Self {
            consumer,
            log_partitions,
            identity,
            partitions: None,
            assignment: None,
            is_stepping: false,
            careful_until: None,
            asked_for_pauses: Instant::now(),
        }
    }

    /// How many positions of the log are folded, over its partitions.
    pub(crate) fn positions(&self) -> u64 {
        self.assignment.as_ref().map_or(0, Assignment::positions)
    }

    /// Whether something is folded and not committed.
    pub(crate) fn has_pending(&self) -> bool {
        self.assignment.as_ref().is_some_and(|assignment| assignment.pending.records > 0)
    }

    /// Does the next thing: takes partitions or gives them up, folds what is there, commits what is due. Waits at most
    /// `wait` for something to happen.
    pub(crate) async fn step(&mut self, site: &Site<'_>, wait: Duration) -> Result<Step, RunError> {
        if self.is_stepping {
            self.careful_until = Some(Instant::now() + CAREFUL_FOR);
        }
        self.is_stepping = true;
        let step = self.next_step(site, wait).await;
        self.is_stepping = false;
        step
    }

    async fn next_step(&mut self, site: &Site<'_>, wait: Duration) -> Result<Step, RunError> {
        // Out of its place for the time of the step: whatever ends that early (an error, a panic, a dropped future) leaves
        // nothing that a later commit could take for the whole.
        let mut assignment = match self.assignment.take() {
            Some(assignment) => assignment,
            None => match self.begin(site, wait).await? {
                Some(assignment) => assignment,
                None => return Ok(Step::Idle),
            },
        };
        let step = if self.pauses_changed(&assignment, site).await? {
            self.begin_again(&mut assignment, site).await?
        } else {
            self.step_with(&mut assignment, site, wait).await?
        };
        self.assignment = Some(assignment);
        Ok(step)
    }

    /// Whether a partition that was paused is not any more.
    async fn pauses_changed(&mut self, assignment: &Assignment, site: &Site<'_>) -> Result<bool, RunError> {
        if assignment.paused().is_empty() || self.asked_for_pauses.elapsed() < PAUSES_INTERVAL {
            return Ok(false);
        }
        self.asked_for_pauses = Instant::now();
        let paused = site.warehouse.paused(EVENTS_TOPIC).await?;
        let is_paused = |own: &u16| paused.iter().any(|paused| paused.log_partition == *own);
        Ok(!assignment.paused().iter().all(is_paused))
    }

    /// Commits what is folded, and takes all partitions anew.
    async fn begin_again(&mut self, assignment: &mut Assignment, site: &Site<'_>) -> Result<Step, RunError> {
        let mut step = Step::Idle;
        if assignment.pending.records > 0 {
            step = self.commit(assignment, site, Meanwhile::Wait).await?;
        }
        let partitions: Vec<u16> = assignment.partitions().into_iter().collect();
        *assignment = self.take(&partitions, site).await?;
        Ok(step)
    }

    /// Commits what is folded, whether it is due or not.
    pub(crate) async fn flush(&mut self, site: &Site<'_>) -> Result<Step, RunError> {
        if !self.has_pending() {
            return Ok(Step::Idle);
        }
        let Some(mut assignment) = self.assignment.take() else { return Ok(Step::Idle) };
        let step = self.commit(&mut assignment, site, Meanwhile::Wait).await?;
        self.assignment = Some(assignment);
        Ok(step)
    }

    /// Begins anew with whatever partitions this member has by now. `None` if it was not told of any yet.
    async fn begin(&mut self, site: &Site<'_>, wait: Duration) -> Result<Option<Assignment>, RunError> {
        let wait = if self.partitions.is_some() { Duration::ZERO } else { wait };
        let told = match self.consumer.poll(POLL_BYTES, wait).await? {
            // Nothing is pending that could be committed: the next poll gives them up.
            Polled::Revoking(_) => self.consumer.poll(POLL_BYTES, wait).await?,
            told => told,
        };
        // Records are read again, from the checkpoints.
        if let Polled::Assigned(partitions) = told {
            self.partitions = Some(partitions);
        }
        let Some(partitions) = self.partitions.clone() else { return Ok(None) };
        Ok(Some(self.take(&partitions, site).await?))
    }

    async fn take(&mut self, partitions: &[u16], site: &Site<'_>) -> Result<Assignment, RunError> {
        let taking = Assignment::take(partitions, self.log_partitions, site.warehouse, site.config);
        let mut assignment = stay_during(&mut *self.consumer, Box::pin(taking)).await?;
        self.check_log(site).await?;
        for (partition, position) in assignment.committed() {
            self.read_on(partition, position)?;
        }
        for partition in assignment.paused() {
            tracing::warn!(partition, "is not taken in: paused by order");
            self.consumer.stop(*partition)?;
        }
        self.asked_for_pauses = Instant::now();
        assignment.be_careful_until(self.careful_until);
        assignment.measure(site.metrics);
        site.metrics.partitions.set(i64::try_from(partitions.len()).unwrap_or(i64::MAX));
        tracing::info!(?partitions, "took partitions of the log");
        Ok(assignment)
    }

    /// Reads a partition from its checkpoint on, and before that the last record below it, if the log still has it.
    fn read_on(&mut self, partition: u16, position: u64) -> Result<(), PollError> {
        let last = position.checked_sub(1).map(|last| self.consumer.start_at(partition, last));
        match last {
            None | Some(Err(PollError::OutOfRange { .. })) => self.consumer.start_at(partition, position),
            Some(started) => started,
        }
    }

    /// Positions that were just read from the warehouse mean nothing in a log that has lost its place to another.
    async fn check_log(&self, site: &Site<'_>) -> Result<(), RunError> {
        if let Some(identity) = &self.identity {
            site.warehouse.still_follows(EVENTS_TOPIC, identity).await?;
        }
        Ok(())
    }

    async fn step_with(
        &mut self,
        assignment: &mut Assignment,
        site: &Site<'_>,
        wait: Duration,
    ) -> Result<Step, RunError> {
        let due = assignment.due_in(site.config);
        // Also before a commit: while it is on its way what was polled is folded.
        if !assignment.has_backlog() {
            match self.consumer.poll(POLL_BYTES, due.unwrap_or(wait).min(wait)).await? {
                Polled::Records(records) => assignment.take_in(records)?,
                Polled::Idle => {}
                Polled::Revoking(partitions) => return self.hand_over(assignment, &partitions, site).await,
                Polled::Assigned(partitions) => return self.change(assignment, partitions, site).await,
            }
        }
        let folded = due != Some(Duration::ZERO) && assignment.fold_next(site.metrics)?;
        if assignment.due_in(site.config) == Some(Duration::ZERO) {
            let meanwhile = if assignment.is_careful() { Meanwhile::Wait } else { Meanwhile::Fold };
            return self.commit(assignment, site, meanwhile).await;
        }
        Ok(if folded { Step::Folded } else { Step::Idle })
    }

    async fn commit(
        &mut self,
        assignment: &mut Assignment,
        site: &Site<'_>,
        meanwhile: Meanwhile,
    ) -> Result<Step, RunError> {
        let step = site.commit(assignment, meanwhile).await?;
        for (partition, position) in assignment.committed() {
            self.consumer.note_committed(partition, position);
        }
        Ok(step)
    }

    /// Partitions are about to go to another member: commits what is pending, with the state that the other one begins with.
    async fn hand_over(
        &mut self,
        assignment: &mut Assignment,
        partitions: &[u16],
        site: &Site<'_>,
    ) -> Result<Step, RunError> {
        tracing::info!(?partitions, "partitions of the log go to another processor");
        if assignment.pending.records == 0 {
            return Ok(Step::Idle);
        }
        assignment.ask_for_state();
        self.commit(assignment, site, Meanwhile::Wait).await
    }

    /// Goes on with other partitions than before; those that stayed keep what is known of them.
    async fn change(
        &mut self,
        assignment: &mut Assignment,
        partitions: Vec<u16>,
        site: &Site<'_>,
    ) -> Result<Step, RunError> {
        let before = assignment.partitions();
        self.partitions = Some(partitions.clone());
        if before.iter().any(|partition| !partitions.contains(partition)) {
            if assignment.pending.records > 0 {
                // They went without notice, and what is pending is of all of them: it cannot be committed for the rest.
                *assignment = self.take(&partitions, site).await?;
                return Ok(Step::Idle);
            }
            assignment.keep(&partitions);
        }
        let added: Vec<u16> = partitions.iter().copied().filter(|partition| !before.contains(partition)).collect();
        if !added.is_empty() {
            let adding = assignment.add(&added, self.log_partitions, site.warehouse, site.config);
            stay_during(&mut *self.consumer, Box::pin(adding)).await?;
            self.check_log(site).await?;
            for (partition, position) in assignment.committed().filter(|(partition, _)| added.contains(partition)) {
                self.read_on(partition, position)?;
            }
        }
        assignment.measure(site.metrics);
        site.metrics.partitions.set(i64::try_from(partitions.len()).unwrap_or(i64::MAX));
        tracing::info!(?partitions, "goes on with other partitions of the log");
        Ok(Step::Idle)
    }
}

/// Works at something that may take longer than the group waits for a poll, and stays in the group.
async fn stay_during<T>(
    consumer: &mut dyn LogConsumer,
    mut work: Pin<Box<impl Future<Output = Result<T, RunError>>>>,
) -> Result<T, RunError> {
    loop {
        match timeout(STAY_EVERY, &mut work).await {
            Ok(done) => return done,
            Err(_) => consumer.stay()?,
        }
    }
}

#[cfg(test)]
mod tests;
