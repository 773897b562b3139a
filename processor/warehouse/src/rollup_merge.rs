//! Merging rollups: deltas of older commits become merged rows of every grain.
//!
//! They are added up here and not by the database: for that it would read them once for each grain, and it takes ten times
//! as long to add up some sixty columns of which most are 0, or to take JSON apart and to put it together.

mod bins;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use schemas::Timestamp;
use schemas::rollups::{ALL_STORED, Grain, Rollup};

use self::bins::{Bins, Names};
use crate::cuts::{Cuts, cuts_of};
use crate::database::{Given, Row, Rows, Task, Transaction, Values, composed, sql};
use crate::deltas::{Part, Sum, parts, place_columns, stored_in};
use crate::open::Warehouse;
use crate::read::ReadError;
use crate::retain::has_retention;
use crate::retention::Kept;

/// A transaction goes on reading deltas, commit by commit, until there are so many of them, or on Postgres until they make
/// so many sums: the more of them, the fewer times a merged row is written again. Bounds the memory that it takes, and with
/// a file the time that all other writers wait. Few in tests, so that it goes on in another transaction.
const ROWS_PER_STEP: usize = if cfg!(test) { 5 } else { 65_536 };
/// Commits that a transaction reads at most: each is a statement.
const COMMITS_PER_STEP: usize = 1_024;

/// What was folded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FoldedDeltas {
    /// Deltas.
    pub deltas: u64,
    /// Some rollups were left out, since another process is at them.
    pub is_elsewhere: bool,
}

impl Warehouse {
    /// Folds deltas of commits older than `age` into merged rows of every grain. No answer changes by it.
    ///
    /// # Errors
    ///
    /// [`ReadError::Database`]; what was folded until then stays folded.
    pub async fn merge_rollups(&self, now: Timestamp, age: Duration) -> Result<FoldedDeltas, ReadError> {
        let mut read = self.shared.database.read().await?;
        let last = sql("SELECT commit_id FROM commits WHERE committed_at < $1 ORDER BY commit_id DESC LIMIT 1")
            .bind(now - age)
            .first(&mut read)
            .await?;
        drop(read);
        let Some(last) = last.map(|row| row.get::<i64>(0)) else { return Ok(FoldedDeltas::default()) };
        let mut folded = FoldedDeltas::default();
        for (place, rollup) in ALL_STORED.into_iter().enumerate() {
            loop {
                let transaction = self.shared.database.try_write_alone(Task::Rollup(place)).await?;
                let Some(mut transaction) = transaction else {
                    folded.is_elsewhere = true;
                    break;
                };
                let deltas = fold(&mut transaction, rollup, last).await?;
                if deltas == 0 {
                    break;
                }
                transaction.commit().await?;
                folded.deltas += deltas as u64;
            }
        }
        Ok(folded)
    }
}

/// Folds deltas until so many of them, and so many sums, are enough, or there are no further ones up to `last`. Returns how
/// many there were.
async fn fold(transaction: &mut Transaction, rollup: &'static Rollup, last: i64) -> Result<usize, ReadError> {
    let (mut sums, mut names, mut deltas) = (HashMap::new(), Names::default(), 0);
    let is_shared = transaction.is_shared();
    let mut read_to = None;
    for _ in 0..COMMITS_PER_STEP {
        if ROWS_PER_STEP <= if is_shared { sums.len() } else { deltas } {
            break;
        }
        let range = (read_to.unwrap_or(i64::MIN), last);
        let read = read_deltas(transaction, rollup, range, (&mut sums, &mut names)).await?;
        let Some((commit_id, of_commit)) = read else { break };
        deltas += of_commit;
        read_to = Some(commit_id);
    }
    let Some(read_to) = read_to else { return Ok(0) };
    write(transaction, rollup, sums, names).await?;
    let delete = format!("DELETE FROM {} WHERE commit_id <= $1", stored_in(rollup, transaction));
    composed(delete).bind(read_to).run(transaction).await?;
    Ok(deltas)
}

/// Adds sums of deltas to merged rows of every grain.
async fn write(
    transaction: &mut Transaction,
    rollup: &'static Rollup,
    mut sums: HashMap<Key, Added>,
    mut names: Names,
) -> Result<(), ReadError> {
    let cuts = cuts_of(transaction).await?;
    for grain in rollup.grains {
        sums = floored(sums, *grain);
        if rollup.bins.is_some() {
            add_merged_bins(transaction, rollup, *grain, (&mut sums, &mut names)).await?;
        }
        let mut kept: Vec<(&Key, &Added)> =
            sums.iter().filter(|(key, _)| !has_retention(rollup) || is_kept(&cuts, key, *grain)).collect();
        // In one order everywhere: nobody waits in a circle, and neighbours in the index come one after the other.
        kept.sort_unstable_by_key(|(key, _)| *key);
        for part in parts(rollup, &kept) {
            transaction.insert(merged(rollup, *grain, &part, &names)).await?;
        }
        transaction.insert(changed(rollup, *grain, &kept)).await?;
    }
    Ok(())
}

/// What is summed under.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key {
    project: String,
    bucket_us: i64,
    keys: Vec<String>,
}

/// What deltas add under one key.
#[derive(Debug, Default)]
struct Added {
    measures: Vec<i64>,
    bins: Bins,
    /// Bins that were merged before, if it adds any.
    merged_bins: Bins,
    /// The last commit of them.
    changed: i64,
}

impl Added {
    fn add(&mut self, other: Self) {
        if self.measures.is_empty() {
            *self = other;
            return;
        }
        for (sum, value) in self.measures.iter_mut().zip(&other.measures) {
            *sum += value;
        }
        self.bins.add(&other.bins);
        self.changed = self.changed.max(other.changed);
    }

    /// All bins as JSON, if it adds any.
    fn bins_now(&self, names: &Names) -> Option<String> {
        if self.bins.is_empty() {
            return None;
        }
        let mut bins = self.merged_bins.clone();
        bins.add(&self.bins);
        Some(names.write(&bins))
    }
}

impl Sum for (&Key, &Added) {
    fn project(&self) -> &str {
        &self.0.project
    }

    fn bucket_us(&self) -> i64 {
        self.0.bucket_us
    }

    fn keys(&self) -> &[String] {
        &self.0.keys
    }

    fn measures(&self) -> &[i64] {
        &self.1.measures
    }
}

/// Adds up sums of a finer grain, or of the same.
fn floored(sums: HashMap<Key, Added>, grain: Grain) -> HashMap<Key, Added> {
    let length_us = i64::try_from(grain.length().as_micros()).unwrap_or(i64::MAX);
    let mut floored: HashMap<Key, Added> = HashMap::new();
    for (key, mut added) in sums {
        added.merged_bins = Bins::default();
        let bucket_us = key.bucket_us - key.bucket_us.rem_euclid(length_us);
        floored.entry(Key { bucket_us, ..key }).or_default().add(added);
    }
    floored
}

fn is_kept(cuts: &Cuts, key: &Key, grain: Grain) -> bool {
    // A cut is a midnight, so a minute is before it if its hour and its day are.
    key.bucket_us >= cuts.kept_from(&key.project, Kept::of_grain(grain)).micros()
}

/// Adds up the deltas of the first commit after one and up to another, as far as their buckets and keys are the same.
/// Returns which commit it is, and how many they are; `None` if there are none.
async fn read_deltas(
    transaction: &mut Transaction,
    rollup: &Rollup,
    (after, last): (i64, i64),
    (sums, names): (&mut HashMap<Key, Added>, &mut Names),
) -> Result<Option<(i64, usize)>, ReadError> {
    let columns: String =
        rollup.keys.iter().chain(rollup.measures).map(|column| format!(", {}", column.name)).collect();
    let bins = if rollup.bins.is_some() { "bins" } else { "NULL" };
    let table = stored_in(rollup, transaction);
    let text = format!(
        "SELECT commit_id, project, bucket_us{columns}, {bins} FROM {table} \
         WHERE commit_id = (SELECT MIN(commit_id) FROM {table} WHERE commit_id > $1 AND commit_id <= $2)"
    );
    let (mut read, mut damaged) = (None, None);
    let take = |row: Row| {
        let (commit_id, deltas) = read.get_or_insert((row.get(0), 0));
        for (key, measures, bins) in deltas_in(rollup, &row) {
            *deltas += 1;
            match bins.map_or_else(|| Ok(Bins::default()), |bins| names.read(&bins)) {
                Ok(bins) => {
                    sums.entry(key).or_default().add(Added { measures, bins, changed: *commit_id, ..Added::default() });
                }
                Err(error) => damaged = Some(error),
            }
        }
    };
    composed(text).bind(after).bind(last).each(transaction, take).await?;
    intact(damaged)?;
    Ok(read)
}

/// The deltas in a row of commit, project, bucket, keys, measures and bins: where they are, what they add, their bins as JSON.
fn deltas_in(rollup: &Rollup, row: &Row) -> Vec<(Key, Vec<i64>, Option<String>)> {
    let (first_key, first_measure) = (3, 3 + rollup.keys.len());
    let behind = first_measure + rollup.measures.len();
    let (project, bucket_us): (String, i64) = (row.get(1), row.get(2));
    let mut keys: Vec<Vec<String>> = (first_key..first_measure).filter_map(|idx| row.get(idx)).collect();
    let measures: Vec<Option<Vec<Option<i64>>>> = (first_measure..behind).map(|idx| row.get(idx)).collect();
    let mut bins: Option<Vec<Option<String>>> = row.get(behind);
    let count = keys.first().map_or(0, Vec::len);
    let delta = |place: usize| {
        let keys = keys.iter_mut().filter_map(|keys| keys.get_mut(place).map(std::mem::take)).collect();
        let measure = |values: &Option<Vec<Option<i64>>>| *values.as_ref()?.get(place)?;
        let measures = measures.iter().map(|values| measure(values).unwrap_or(0)).collect();
        let bins = bins.as_mut().and_then(|bins| bins.get_mut(place)?.take());
        (Key { project: project.clone(), bucket_us, keys }, measures, bins)
    };
    (0..count).map(delta).collect()
}

/// Whether no row had bins that cannot be read.
fn intact(damaged: Option<serde_json::Error>) -> Result<(), ReadError> {
    damaged.map_or(Ok(()), |error| Err(sqlx::Error::Decode(error.into()).into()))
}

/// Reads the merged bins that these sums add bins to.
async fn add_merged_bins(
    transaction: &mut Transaction,
    rollup: &Rollup,
    grain: Grain,
    (sums, names): (&mut HashMap<Key, Added>, &mut Names),
) -> Result<(), ReadError> {
    let mut touched: Vec<(&Key, &Added)> = sums.iter().filter(|(_, added)| !added.bins.is_empty()).collect();
    touched.sort_unstable_by_key(|(key, _)| *key);
    let columns = place_columns(rollup, &touched.iter().collect::<Vec<_>>());
    let is_key: String = columns.iter().map(|(name, _)| format!("merged.{name} = given.{name} AND ")).collect();
    let read: String = columns.iter().map(|(name, _)| format!(", merged.{name}")).collect();
    let select = format!(
        "SELECT CAST(merged.bins AS TEXT){read} FROM given JOIN {}_merged AS merged \
         ON {is_key}merged.grain = '{}' WHERE merged.bins IS NOT NULL",
        rollup.name,
        grain.as_str()
    );
    let (mut found, mut damaged) = (Vec::new(), None);
    let take = |row: Row| match names.read(&row.get::<String>(0)) {
        Ok(bins) => {
            let keys = (3..3 + rollup.keys.len()).map(|idx| row.get(idx)).collect();
            found.push((Key { project: row.get(1), bucket_us: row.get(2), keys }, bins));
        }
        Err(error) => damaged = Some(error),
    };
    transaction.each_of(Given { count: touched.len(), columns, select }, take).await?;
    for (key, bins) in found {
        if let Some(added) = sums.get_mut(&key) {
            added.merged_bins = bins;
        }
    }
    intact(damaged)
}

/// Merged rows; sums that are there grow, bins are replaced by those that they are now.
fn merged<'a>(rollup: &Rollup, grain: Grain, part: &Part<'a, (&'a Key, &'a Added)>, names: &Names) -> Rows<'a> {
    let (table, count) = (format!("{}_merged", rollup.name), part.rows.len());
    let mut columns = vec![("grain", Values::Texts(vec![grain.as_str(); count]))];
    columns.extend(part.columns(rollup));
    columns.push(("last_commit", Values::Numbers(part.rows.iter().map(|(_, added)| added.changed).collect())));
    let measures = part.measures.iter().map(|place| rollup.measures[*place].name);
    let add = |name| format!("{name} = coalesce({table}.{name}, 0) + coalesce(excluded.{name}, 0), ");
    let mut adds: String = measures.map(add).collect();
    if rollup.bins.is_some() {
        columns.push(("bins", Values::Json(part.rows.iter().map(|(_, added)| added.bins_now(names)).collect())));
        adds.push_str(&format!("bins = coalesce(excluded.bins, {table}.bins), "));
    }
    let keys: String = rollup.keys.iter().map(|key| format!(", {}", key.name)).collect();
    let on_conflict = format!(
        "ON CONFLICT (grain, project, bucket_us{keys}) DO UPDATE SET {adds}last_commit = {}",
        later_commit(&table)
    );
    Rows { table, count, columns, on_conflict }
}

/// The later one of the commits of a row that is there and of the one in its place: the databases have no word in common.
fn later_commit(table: &str) -> String {
    format!(
        "CASE WHEN {table}.last_commit > excluded.last_commit THEN {table}.last_commit ELSE excluded.last_commit END"
    )
}

/// The last commit that changed each bucket.
fn changed<'a>(rollup: &'static Rollup, grain: Grain, kept: &[(&'a Key, &'a Added)]) -> Rows<'a> {
    let mut buckets: BTreeMap<(&str, i64), i64> = BTreeMap::new();
    for (key, added) in kept {
        let changed = buckets.entry((&key.project, key.bucket_us)).or_default();
        *changed = added.changed.max(*changed);
    }
    let count = buckets.len();
    let columns = vec![
        ("rollup", Values::Texts(vec![rollup.name; count])),
        ("grain", Values::Texts(vec![grain.as_str(); count])),
        ("project", Values::Texts(buckets.keys().map(|(project, _)| *project).collect())),
        ("bucket_us", Values::Numbers(buckets.keys().map(|(_, bucket_us)| *bucket_us).collect())),
        ("last_commit", Values::Numbers(buckets.values().copied().collect())),
    ];
    let table = "changed_buckets".to_owned();
    let on_conflict =
        format!("ON CONFLICT (rollup, grain, project, bucket_us) DO UPDATE SET last_commit = {}", later_commit(&table));
    Rows { table, count, columns, on_conflict }
}
