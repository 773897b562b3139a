//! Merging rollups: deltas of older commits become merged rows of every grain.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use schemas::Timestamp;
use schemas::rollups::{ALL_STORED, Grain, Rollup};

use crate::cuts::cuts_of;
use crate::database::{MAX_VALUES, Row, Statement, Task, Transaction, composed, places, sql};
use crate::open::Warehouse;
use crate::read::ReadError;
use crate::retention::Kept;
use crate::rollup_store::kept;

/// Commits whose deltas are folded in one transaction, so that other writers need not wait long.
const COMMITS_PER_STEP: i64 = 16;

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
        for (place, rollup) in ALL_STORED.iter().enumerate() {
            loop {
                let transaction = self.shared.database.try_write_alone(Task::Rollup(place)).await?;
                let Some(mut transaction) = transaction else {
                    folded.is_elsewhere = true;
                    break;
                };
                let first = composed(format!("SELECT MIN(commit_id) FROM {}_delta", rollup.name));
                let first = first.value::<Option<i64>>(&mut transaction).await?.filter(|first| *first <= last);
                let Some(first) = first else { break };
                let step = last.min(first + COMMITS_PER_STEP - 1);
                folded.deltas += fold(&mut transaction, rollup, step).await?;
                transaction.commit().await?;
                if step == last {
                    break;
                }
            }
        }
        Ok(folded)
    }
}

/// Folds the deltas up to a commit; returns how many there were.
async fn fold(transaction: &mut Transaction, rollup: &Rollup, last: i64) -> Result<u64, ReadError> {
    if rollup.is_distribution() {
        fold_bins(transaction, rollup, last).await?;
    } else {
        for grain in rollup.grains {
            composed(fold_statement(rollup, *grain)).bind(last).run(transaction).await?;
        }
    }
    let delete = format!("DELETE FROM {}_delta WHERE commit_id <= $1", rollup.name);
    Ok(composed(delete).bind(last).run(transaction).await?)
}

/// Folds deltas up to commit `$1`.
fn fold_statement(rollup: &Rollup, grain_of: Grain) -> String {
    let names = |columns: &[schemas::rollups::Column], form: &dyn Fn(&str) -> String| -> String {
        columns.iter().map(|column| form(column.name)).collect()
    };
    let keys = names(rollup.keys, &|key| format!(", {key}"));
    let measures = names(rollup.measures, &|measure| format!(", {measure}"));
    let sums = names(rollup.measures, &|measure| format!(", CAST(SUM({measure}) AS BIGINT)"));
    let (name, length_us, grain) = (rollup.name, grain_of.length().as_micros(), grain_of.as_str());
    let kept = kept(rollup, grain_of, &format!("{name}_delta.project"));
    let adds = names(rollup.measures, &|measure| format!("{measure} = {name}_merged.{measure} + excluded.{measure}, "));
    format!(
        "INSERT INTO {name}_merged (grain, project, bucket_us{keys}{measures}, last_commit) \
         SELECT '{grain}', project, bucket_us - bucket_us % {length_us} AS bucket{keys}{sums}, MAX(commit_id) \
         FROM {name}_delta WHERE commit_id <= $1{kept} GROUP BY project, bucket{keys} \
         ON CONFLICT (grain, project, bucket_us{keys}) \
         DO UPDATE SET {adds}last_commit = CASE WHEN {name}_merged.last_commit > excluded.last_commit \
         THEN {name}_merged.last_commit ELSE excluded.last_commit END"
    )
}

/// Project, bucket and keys of a row.
type Key = (String, i64, Vec<String>);

/// Bins under their names in JSON, and the last commit that changed them.
#[derive(Debug, Clone, Default)]
struct Bins {
    counts: BTreeMap<String, i64>,
    changed: i64,
}

impl Bins {
    fn add(&mut self, other: &Self) {
        for (bin, count) in &other.counts {
            match self.counts.get_mut(bin) {
                Some(sum) => *sum += count,
                None => _ = self.counts.insert(bin.clone(), *count),
            }
        }
        self.changed = self.changed.max(other.changed);
    }
}

/// The same for distributions. They are added up here: databases take ten times as long to take JSON apart and to put it
/// together.
async fn fold_bins(transaction: &mut Transaction, rollup: &Rollup, last: i64) -> Result<(), ReadError> {
    let keys: Vec<&str> = rollup.stored_keys().iter().map(|key| key.name).collect();
    let columns = |table: &str| -> String { keys.iter().map(|key| format!(", {table}{key}")).collect() };
    let (name, of_rows) = (rollup.name, columns(""));
    let told = composed(format!(
        "SELECT project, bucket_us{of_rows}, CAST(bins AS TEXT), commit_id FROM {name}_delta WHERE commit_id <= $1"
    ));
    let told = read_bins(told.bind(last), keys.len(), transaction).await?;
    let is_key: String = keys.iter().map(|key| format!(" AND merged.{key} = touched.{key}")).collect();
    let cuts = cuts_of(transaction).await?;
    for of_grain in rollup.grains {
        let (length_us, grain) = (of_grain.length().as_micros(), of_grain.as_str());
        let is_kept =
            |(project, bucket_us, _): &Key| *bucket_us >= cuts.kept_from(project, Kept::of_grain(*of_grain)).micros();
        let merged = composed(format!(
            "SELECT merged.project, merged.bucket_us{}, CAST(merged.bins AS TEXT), merged.last_commit FROM (\
               SELECT DISTINCT project, bucket_us - bucket_us % {length_us} AS bucket{of_rows} \
               FROM {name}_delta WHERE commit_id <= $1) AS touched \
             JOIN {name}_merged AS merged ON merged.grain = $2 AND merged.project = touched.project \
             AND merged.bucket_us = touched.bucket{is_key}",
            columns("merged.")
        ));
        let mut rows: HashMap<Key, Bins> = HashMap::new();
        let length_us = i64::try_from(length_us).unwrap_or(i64::MAX);
        let merged = read_bins(merged.bind(last).bind(grain), keys.len(), transaction).await?;
        for ((project, bucket, keys), bins) in told.iter().filter(|(key, _)| is_kept(key)).chain(&merged) {
            rows.entry((project.clone(), bucket - bucket % length_us, keys.clone())).or_default().add(bins);
        }
        // What was added and taken away again is nothing.
        for bins in rows.values_mut() {
            bins.counts.retain(|_, count| *count != 0);
        }
        write_bins(rows, rollup, grain, transaction).await?;
    }
    Ok(())
}

/// Rows of project, bucket, keys, bins and commit.
async fn read_bins(
    statement: Statement,
    keys: usize,
    transaction: &mut Transaction,
) -> Result<Vec<(Key, Bins)>, ReadError> {
    let (mut rows, mut damaged) = (Vec::new(), None);
    let take = |row: Row| match serde_json::from_str(&row.get::<String>(2 + keys)) {
        Ok(counts) => {
            let key = (row.get(0), row.get(1), (2..2 + keys).map(|place| row.get(place)).collect());
            rows.push((key, Bins { counts, changed: row.get(3 + keys) }));
        }
        Err(error) => damaged = Some(error),
    };
    statement.each(transaction, take).await?;
    match damaged {
        None => Ok(rows),
        Some(error) => Err(sqlx::Error::Decode(error.into()).into()),
    }
}

/// Writes merged rows of a grain, in the place of those that are there.
async fn write_bins(
    rows: HashMap<Key, Bins>,
    rollup: &Rollup,
    grain: &str,
    transaction: &mut Transaction,
) -> Result<(), ReadError> {
    let mut rows: Vec<(Key, Bins)> = rows.into_iter().collect();
    rows.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    let keys: String = rollup.stored_keys().iter().map(|key| format!(", {}", key.name)).collect();
    let columns = 5 + rollup.stored_keys().len();
    let names: String = (1..columns - 1).map(|column| format!("column{column}, ")).collect();
    let (name, as_json) = (rollup.name, transaction.as_json());
    for rows in rows.chunks(MAX_VALUES / columns) {
        let mut statement = composed(format!(
            "INSERT INTO {name}_merged (grain, project, bucket_us{keys}, bins, last_commit) \
             SELECT {names}column{}{as_json}, column{columns} FROM (VALUES {}) AS folded WHERE true \
             ON CONFLICT (grain, project, bucket_us{keys}) \
             DO UPDATE SET bins = excluded.bins, last_commit = excluded.last_commit",
            columns - 1,
            places(rows.len(), columns, 1)
        ));
        for ((project, bucket, keys), bins) in rows {
            statement = statement.bind(grain).bind(project).bind(*bucket);
            statement = keys.iter().fold(statement, Statement::bind);
            let json = serde_json::to_string(&bins.counts).map_err(|error| sqlx::Error::Encode(error.into()))?;
            statement = statement.bind(json).bind(bins.changed);
        }
        statement.run(transaction).await?;
    }
    Ok(())
}
