//! Views and sessions: the open units of a partition, and what a commit adds to them.
//!
//! A unit is open from its first input until nothing has arrived for it for an hour of log time. Inputs that do not
//! continue what is in memory (late ones, or of a unit that was closed) have the unit read back from the lake and folded
//! without and with them, in the same commit: the difference is what they change.
//!
//! Open units are in memory up to a number. Beyond it those that are quiet for the longest time are put away: only their
//! names and last arrivals are kept. They are read back in the same way, also to close them: without inputs, the
//! difference is the closing.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::RandomState;
use schemas::Timestamp;
use schemas::dedup::EventKey;
use schemas::fold::{Folded, Input, SessionFact, Unit, UnitKey, VIEW_SILENCE_MS, ViewFact, is_silent};
use warehouse::tables::{APP_SESSIONS, VIEWS};
use warehouse::{Lake, MergeError, Replacement, ScanError, Snapshot, Warehouse, row_name};

use crate::dedup::DedupError;
use crate::fold::{PartitionState, Pending};
use crate::history::{PartitionUnit, inputs_from, inputs_of, units_since};
use crate::rows::FactRows;
use crate::runner::RunError;

/// Units that are read back at once: bounds the memory that it takes.
const UNITS_READ: usize = 8_192;

/// The open units of one partition that are in memory.
pub(crate) type Units = HashMap<UnitKey, Unit, RandomState>;

/// The open units of one partition that are not, and their last arrivals.
pub(crate) type PutAway = HashMap<UnitKey, Timestamp, RandomState>;

/// New inputs by unit.
pub(crate) type Inputs = hashbrown::HashMap<UnitKey, Vec<Input>, RandomState>;

/// Facts that a commit writes, and the names of those that they replace.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    views: Vec<(Arc<str>, ViewFact)>,
    sessions: Vec<(Arc<str>, SessionFact)>,
    gone_views: HashSet<String>,
    gone_sessions: HashSet<String>,
}

/// A unit whose inputs do not continue what is in memory, or that is over and not in memory.
#[derive(Debug)]
pub(crate) struct Late {
    unit: PartitionUnit,
    inputs: Vec<Input>,
    /// Log time up to which everything is committed.
    committed: Timestamp,
    /// Log time that this commit moves to.
    log_time: Timestamp,
}

/// Folds new inputs into the open units of a partition, and closes those that fell silent. Returns the units that must
/// be read back; they are not in memory any more.
pub(crate) fn fold_open(
    state: &mut PartitionState,
    inputs: Inputs,
    pending: &mut Pending,
    facts: &mut Facts,
) -> Result<Vec<Late>, DedupError> {
    let mut late = Vec::new();
    let mut unknown = Vec::new();
    for (key, mut inputs) in inputs {
        inputs.sort_unstable_by_key(|input| input.place);
        match state.units.get_mut(&key) {
            Some(unit) if unit.continues_with(&inputs) => {
                let mut folded = Folded::default();
                unit.fold(&inputs, &mut folded);
                add(pending, facts, &key, folded);
            }
            Some(_) => {
                state.units.remove(&key);
                late.push((key, inputs));
            }
            None => unknown.push((key, inputs)),
        }
    }
    let event_keys: Vec<EventKey> = unknown.iter().map(|(key, _)| key.event_key()).collect();
    let was_begun = state.keys.take_in(&event_keys)?;
    for ((key, inputs), was_begun) in unknown.into_iter().zip(was_begun) {
        if was_begun {
            state.put_away.remove(&key);
            late.push((key, inputs));
            continue;
        }
        let (mut unit, mut folded) = (Unit::new(&key), Folded::default());
        unit.fold(&inputs, &mut folded);
        add(pending, facts, &key, folded);
        state.units.insert(key, unit);
    }
    let silent = |(key, unit): (&UnitKey, &Unit)| unit.is_silent(state.log_time).then(|| key.clone());
    let silent: Vec<UnitKey> = state.units.iter().filter_map(silent).collect();
    for key in silent {
        if let Some(mut unit) = state.units.remove(&key) {
            let mut folded = Folded::default();
            unit.close(&mut folded);
            add(pending, facts, &key, folded);
        }
    }
    let (partition, committed, log_time) = (state.partition, state.committed_log_time, state.log_time);
    let over = state.put_away.extract_if(|_, last_received| is_silent(*last_received, log_time));
    late.extend(over.map(|(key, _)| (key, Vec::new())));
    let late = late.into_iter().map(|(key, inputs)| Late { unit: (partition, key), inputs, committed, log_time });
    Ok(late.collect())
}

/// Reads late units back, folds them without and with their new inputs, and adds the difference. Returns those that are
/// open now.
pub(crate) async fn refold(
    warehouse: &Warehouse,
    mut late: Vec<Late>,
    pending: &mut Pending,
    facts: &mut Facts,
) -> Result<Vec<(PartitionUnit, Unit)>, RunError> {
    let mut open = Vec::new();
    while !late.is_empty() {
        let some = late.split_off(late.len().saturating_sub(UNITS_READ));
        let wanted: HashSet<PartitionUnit> = some.iter().map(|late| late.unit.clone()).collect();
        let mut stored = read_back(warehouse, move |lake, snapshot| inputs_of(lake, snapshot, &wanted)).await?;
        for Late { unit: name, inputs, committed, log_time } in some {
            let mut all = stored.remove(&name).unwrap_or_default();
            let (_, before) = fold_all(&name.1, &all, committed);
            all.extend(inputs);
            all.sort_unstable_by_key(|input| input.place);
            let (unit, after) = fold_all(&name.1, &all, log_time);
            add_difference(pending, facts, &name.1, before, after);
            open.extend(unit.map(|unit| (name, unit)));
        }
    }
    Ok(open)
}

/// Brings the open units of partitions to their checkpoints, from what the lake holds: where there was a state file from
/// its position on (`from`), else from the beginning of the units that had an arrival of late. Of these at most `room` are
/// read back, the others are put away.
pub(crate) async fn restore(
    warehouse: &Warehouse,
    partitions: &mut BTreeMap<u16, PartitionState>,
    from: HashMap<u16, u64>,
    room: usize,
) -> Result<(), RunError> {
    let is_unread = |state: &&PartitionState| state.position > 0 && !from.contains_key(&state.partition);
    let since = partitions.values().filter(is_unread);
    let since = since.map(|state| (state.partition, state.log_time.plus_millis(-VIEW_SILENCE_MS))).collect();
    let (news, recent) = read_back(warehouse, move |lake, snapshot| {
        Ok((inputs_from(lake, snapshot, &from)?, units_since(lake, snapshot, &since)?))
    })
    .await?;
    let mut unknown = put_away_but(partitions, recent, room);
    for ((partition, key), inputs) in news {
        let Some(state) = partitions.get_mut(&partition) else { continue };
        match state.units.get_mut(&key) {
            Some(unit) if unit.continues_with(&inputs) => unit.fold(&inputs, &mut Folded::default()),
            _ => {
                state.units.remove(&key);
                state.put_away.remove(&key);
                unknown.insert((partition, key));
            }
        }
    }
    let log_times: HashMap<u16, Timestamp> =
        partitions.values().map(|state| (state.partition, state.log_time)).collect();
    let open = read_back(warehouse, move |lake, snapshot| {
        let of = |(name, inputs): (PartitionUnit, Vec<Input>)| {
            let log_time = log_times.get(&name.0).copied().unwrap_or_default();
            fold_all(&name.1, &inputs, log_time).0.map(|unit| (name, unit))
        };
        Ok(inputs_of(lake, snapshot, &unknown)?.into_iter().filter_map(of).collect::<Vec<_>>())
    });
    keep_open(partitions, open.await?);
    for state in partitions.values_mut() {
        // These were closed by a commit.
        state.units.retain(|_, unit| !unit.is_silent(state.log_time));
        state.put_away.retain(|_, last_received| !is_silent(*last_received, state.log_time));
    }
    Ok(())
}

/// Puts away all of these units but `room` with the newest last arrivals. Returns those.
fn put_away_but(
    partitions: &mut BTreeMap<u16, PartitionState>,
    units: HashMap<PartitionUnit, Timestamp>,
    room: usize,
) -> HashSet<PartitionUnit> {
    let mut by_age: Vec<(PartitionUnit, Timestamp)> = units.into_iter().collect();
    by_age.sort_unstable_by_key(|(_, last_received)| std::cmp::Reverse(*last_received));
    for ((partition, key), last_received) in by_age.split_off(by_age.len().min(room)) {
        if let Some(state) = partitions.get_mut(&partition) {
            state.put_away.insert(key, last_received);
        }
    }
    by_age.into_iter().map(|(unit, _)| unit).collect()
}

/// Puts away the open units with the oldest last arrivals if there are more than `most`; an eighth more than must be, so
/// that this is not done with every commit.
pub(crate) fn make_room(partitions: &mut BTreeMap<u16, PartitionState>, most: usize) {
    let open: usize = partitions.values().map(|state| state.units.len()).sum();
    if open <= most {
        return;
    }
    let units = partitions.values().flat_map(|state| state.units.values());
    let mut arrivals: Vec<Timestamp> = units.map(Unit::last_received).collect();
    let mut surplus = open - (most - most / 8);
    let (_, newest, _) = arrivals.select_nth_unstable(surplus - 1);
    for state in partitions.values_mut() {
        let away = state.units.extract_if(|_, unit| {
            let is_away = surplus > 0 && unit.last_received() <= *newest;
            surplus -= usize::from(is_away);
            is_away
        });
        state.put_away.extend(away.map(|(key, unit)| (key, unit.last_received())));
    }
}

/// Puts units that were read back among the open ones of their partitions.
pub(crate) fn keep_open(partitions: &mut BTreeMap<u16, PartitionState>, open: Vec<(PartitionUnit, Unit)>) {
    for ((partition, key), unit) in open {
        if let Some(state) = partitions.get_mut(&partition) {
            state.units.insert(key, unit);
        }
    }
}

async fn read_back<T: Send + 'static>(
    warehouse: &Warehouse,
    read: impl FnOnce(&Lake, &Snapshot) -> Result<T, ScanError> + Send + 'static,
) -> Result<T, RunError> {
    warehouse.scan(read).await?.map_err(RunError::History)
}

/// Folds all inputs of a unit, and closes it if it is silent at a log time; else it is returned too.
fn fold_all(key: &UnitKey, inputs: &[Input], log_time: Timestamp) -> (Option<Unit>, Folded) {
    let (mut unit, mut folded) = (Unit::new(key), Folded::default());
    if inputs.is_empty() {
        return (None, folded);
    }
    unit.fold(inputs, &mut folded);
    if unit.is_silent(log_time) {
        unit.close(&mut folded);
        return (None, folded);
    }
    (Some(unit), folded)
}

fn add(pending: &mut Pending, facts: &mut Facts, key: &UnitKey, folded: Folded) {
    let project: Arc<str> = (*key.project).into();
    pending.contribute(&project, &folded.sums);
    facts.views.extend(folded.views.into_iter().map(|fact| (Arc::clone(&project), fact)));
    facts.sessions.extend(folded.sessions.into_iter().map(|fact| (Arc::clone(&project), fact)));
}

fn add_difference(pending: &mut Pending, facts: &mut Facts, key: &UnitKey, before: Folded, mut after: Folded) {
    after.sums.add_all(&before.sums, -1);
    let (gone, new) = differing(before.views, after.views, |fact| view_name(&key.project, fact));
    facts.gone_views.extend(gone);
    after.views = new;
    let (gone, new) = differing(before.sessions, after.sessions, |fact| session_name(&key.project, fact));
    facts.gone_sessions.extend(gone);
    after.sessions = new;
    add(pending, facts, key, after);
}

/// Names of the facts of `before` that are not in `after`, and the facts of `after` that were not in `before`.
fn differing<F: PartialEq>(before: Vec<F>, after: Vec<F>, name: impl Fn(&F) -> String) -> (Vec<String>, Vec<F>) {
    let known: HashMap<String, F> = before.into_iter().map(|fact| (name(&fact), fact)).collect();
    let mut gone: HashSet<String> = known.keys().cloned().collect();
    let mut new = Vec::new();
    for fact in after {
        let name = name(&fact);
        if known.get(&name) == Some(&fact) {
            gone.remove(&name);
        } else {
            new.push(fact);
        }
    }
    (gone.into_iter().collect(), new)
}

fn view_name(project: &str, fact: &ViewFact) -> String {
    row_name(&[project, &fact.dims.session_id, &fact.dims.view_id, &fact.dims.part.to_string()])
}

fn session_name(project: &str, fact: &SessionFact) -> String {
    row_name(&[project, &fact.dims.session_id, &fact.part.to_string()])
}

impl Facts {
    /// Writes the files again that hold facts that are replaced; what they become is in the rows.
    pub(crate) async fn rows(
        &self,
        warehouse: &Warehouse,
        now: Timestamp,
    ) -> Result<(FactRows, Vec<Replacement>), MergeError> {
        let views = warehouse.rows_replaced(&VIEWS, self.gone_views.clone(), now).await?;
        let sessions = warehouse.rows_replaced(&APP_SESSIONS, self.gone_sessions.clone(), now).await?;
        let mut rows = FactRows::new();
        let revision = |replacement: &Replacement, name: &str| replacement.revisions.get(name).map_or(0, |old| old + 1);
        for (project, fact) in &self.views {
            rows.view(project, fact, revision(&views, &view_name(project, fact)));
        }
        for (project, fact) in &self.sessions {
            rows.session(project, fact, revision(&sessions, &session_name(project, fact)));
        }
        Ok((rows, vec![views, sessions]))
    }

    /// Whether there is nothing to write or to replace.
    pub(crate) fn is_empty(&self) -> bool {
        self.views.is_empty() && self.sessions.is_empty() && self.gone_views.is_empty() && self.gone_sessions.is_empty()
    }
}
