//! Reading rollups: deltas that commits append, and merged rows that a merger folds them into.

use schemas::Timestamp;
use schemas::rollups::{Grain, Rollup};

use crate::commit::CommitId;
use crate::database::{Row, composed};
use crate::deltas::stored_in;
use crate::read::{Read, ReadError};
use crate::retain::has_retention;
use crate::retention::Kept;

/// What to read of a rollup.
#[derive(Debug, Clone)]
pub struct RollupQuery<'a> {
    /// The rollup.
    pub rollup: &'static Rollup,
    /// Length of a bucket.
    pub grain: Grain,
    /// Whose rows.
    pub project: &'a str,
    /// Buckets that start in `[from, to)`.
    pub from: Timestamp,
    /// End of the range.
    pub to: Timestamp,
    /// Keys to group by, names of the rollup's keys; others are summed over.
    pub group_by: Vec<&'static str>,
    /// Only rows behind this one, in the order of bucket and keys.
    pub after: Option<(Timestamp, Vec<String>)>,
    /// At most that many rows.
    pub limit: u32,
    /// Only rows whose key has one of these values.
    pub only: Vec<(&'static str, Vec<String>)>,
    /// Whether all buckets are added up to one, which starts at `from`.
    pub as_one: bool,
    /// Only these measures, in this order, and only rows in which one of them is not 0; `None` for all.
    pub measures: Option<Vec<&'static str>>,
}

impl<'a> RollupQuery<'a> {
    /// The sums over all keys of the buckets that start in `[from, to)`.
    #[must_use]
    pub const fn new(
        rollup: &'static Rollup,
        grain: Grain,
        project: &'a str,
        (from, to): (Timestamp, Timestamp),
    ) -> Self {
        Self {
            rollup,
            grain,
            project,
            from,
            to,
            group_by: Vec::new(),
            after: None,
            limit: u32::MAX,
            only: Vec::new(),
            as_one: false,
            measures: None,
        }
    }

    /// The measures that are read.
    fn measures(&self) -> Vec<&'static str> {
        let all = || self.rollup.measures.iter().map(|measure| measure.name).collect();
        self.measures.clone().unwrap_or_else(all)
    }

    /// The statement; its parameters beyond the sixth are the places of `after`, then the values of `only`.
    fn statement(&self) -> String {
        let [merged, deltas] = ["merged", "delta"].map(|table| source(self.rollup, table));
        let keys: String = self.group_by.iter().map(|key| format!(", {key}")).collect();
        let names = self.measures();
        let measures: String = names.iter().map(|measure| format!(", {measure}")).collect();
        // Deltas on Postgres have null for 0.
        let sums: String =
            names.iter().map(|measure| format!(", CAST(coalesce(SUM({measure}), 0) AS BIGINT)")).collect();
        // What was taken away again is nothing.
        let is_something: Vec<String> = names.iter().map(|measure| format!("SUM({measure}) <> 0")).collect();
        let is_something = is_something.join(" OR ");
        let mut places = 7..;
        let mut list = |count: usize| -> String {
            let places: Vec<String> = places.by_ref().take(count).map(|place| format!("${place}")).collect();
            places.join(", ")
        };
        let after = self
            .after
            .as_ref()
            .map_or_else(String::new, |(_, values)| format!("WHERE (bucket_us{keys}) > ({})", list(1 + values.len())));
        let only: String =
            self.only.iter().map(|(key, values)| format!(" AND {key} IN ({})", list(values.len()))).collect();
        // A delta is in the bucket that its minute is floored to.
        let floored = format!("(bucket_us - bucket_us % {})", self.grain.length().as_micros());
        let kept = kept(self.rollup, self.grain, "$2");
        let (of_merged, of_delta) = if self.as_one { ("$3", "$3") } else { ("bucket_us", floored.as_str()) };
        format!(
            "SELECT bucket_us{keys}{sums} FROM (\
               SELECT {of_merged} AS bucket_us{keys}{measures} FROM {merged} \
               WHERE grain = $1 AND project = $2 AND bucket_us >= $3 AND bucket_us < $4{kept}{only} \
               UNION ALL \
               SELECT {of_delta} AS bucket_us{keys}{measures} FROM {deltas} \
               WHERE project = $2 AND bucket_us >= $3 AND bucket_us < $5 \
               AND {floored} >= $3 AND {floored} < $4{kept}{only}) AS contributions \
             {after} GROUP BY bucket_us{keys} HAVING {is_something} ORDER BY bucket_us{keys} LIMIT $6",
        )
    }
}

/// Where the rows of a rollup are read: distributions bin by bin.
fn source(rollup: &Rollup, table: &str) -> String {
    let each = if rollup.is_distribution() { "_each" } else { "" };
    format!("{}_{table}{each}", rollup.name)
}

/// A row of a rollup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RollupRow {
    /// Start of the bucket.
    pub bucket_start: Timestamp,
    /// Values of [`RollupQuery::group_by`].
    pub keys: Vec<String>,
    /// Values of the measures that were asked for.
    pub measures: Vec<i64>,
}

impl Read {
    /// Reads a rollup: merged rows and the deltas that are not merged yet, added.
    ///
    /// # Errors
    ///
    /// [`ReadError::Database`].
    pub async fn rollup(&mut self, query: &RollupQuery<'_>) -> Result<Vec<RollupRow>, ReadError> {
        let mut rows = Vec::new();
        self.each_rollup_row(query, |row| rows.push(row)).await?;
        Ok(rows)
    }

    /// The same, row by row: for readers that keep a part of each only.
    ///
    /// # Errors
    ///
    /// [`ReadError::Database`].
    pub async fn each_rollup_row(
        &mut self,
        query: &RollupQuery<'_>,
        mut take: impl FnMut(RollupRow) + Send,
    ) -> Result<(), ReadError> {
        let mut statement = composed(query.statement())
            .bind(query.grain.as_str())
            .bind(query.project)
            .bind(query.from.micros())
            .bind(query.to.micros())
            .bind((query.to + query.grain.length()).micros())
            .bind(query.limit);
        if let Some((bucket, keys)) = &query.after {
            statement = statement.bind(bucket.micros());
            for key in keys {
                statement = statement.bind(key);
            }
        }
        for value in query.only.iter().flat_map(|(_, values)| values) {
            statement = statement.bind(value);
        }
        let (key_count, measure_count) = (query.group_by.len(), query.measures().len());
        let row = |row: &Row| RollupRow {
            bucket_start: Timestamp::from_micros(row.get(0)),
            keys: (1..=key_count).map(|idx| row.get(idx)).collect(),
            measures: (0..measure_count).map(|idx| row.get(1 + key_count + idx)).collect(),
        };
        Ok(statement.each(&mut self.transaction, |found| take(row(&found))).await?)
    }
}

/// Which changed buckets to list.
#[derive(Debug, Clone, Copy)]
pub struct ChangedQuery<'a> {
    /// The rollup.
    pub rollup: &'static Rollup,
    /// Length of a bucket.
    pub grain: Grain,
    /// Whose rows.
    pub project: &'a str,
    /// Changed by commits after this one.
    pub since: CommitId,
    /// Only buckets that start in `[from, to)`.
    pub from: Timestamp,
    /// End of the range.
    pub to: Timestamp,
    /// At most that many.
    pub limit: u32,
}

/// A bucket of a rollup and the last commit that changed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangedBucket {
    /// Start of the bucket.
    pub bucket_start: Timestamp,
    /// The commit.
    pub commit: CommitId,
}

impl Read {
    /// The buckets that commits changed, by their start. Merging changes none. A bucket of distributions is taken to change
    /// with that of their sums.
    ///
    /// # Errors
    ///
    /// [`ReadError::Database`].
    pub async fn changed_buckets(&mut self, query: &ChangedQuery<'_>) -> Result<Vec<ChangedBucket>, ReadError> {
        let length_us = query.grain.length().as_micros();
        let rollup = query.rollup.stored_with();
        let (name, deltas) = (rollup.name, stored_in(rollup, &self.transaction));
        let kept = kept(query.rollup, query.grain, "$2");
        let text = format!(
            "SELECT bucket, MAX(changed) FROM (\
               SELECT bucket_us AS bucket, last_commit AS changed FROM changed_buckets \
               WHERE rollup = '{name}' AND grain = $1 AND project = $2 AND last_commit > $3{kept} \
               UNION ALL \
               SELECT bucket_us - bucket_us % {length_us}, commit_id FROM {deltas} \
               WHERE project = $2 AND commit_id > $3{kept}) AS changes \
             WHERE bucket >= $4 AND bucket < $6 GROUP BY bucket ORDER BY bucket LIMIT $5"
        );
        let rows = composed(text)
            .bind(query.grain.as_str())
            .bind(query.project)
            .bind(query.since.0)
            .bind(query.from.micros())
            .bind(query.limit)
            .bind(query.to.micros())
            .rows(&mut self.transaction)
            .await?;
        let bucket = |row: &Row| ChangedBucket {
            bucket_start: Timestamp::from_micros(row.get(0)),
            commit: CommitId(row.get(1)),
        };
        Ok(rows.iter().map(bucket).collect())
    }
}

/// Leaves out buckets that are older than the retention of their grain: what a late event adds there is not the whole.
pub(crate) fn kept(rollup: &Rollup, grain: Grain, project: &str) -> String {
    if !has_retention(rollup) {
        return String::new();
    }
    let kept = Kept::of_grain(grain);
    // A cut is a midnight, so a minute is before it if its hour and its day are.
    format!(
        " AND bucket_us >= coalesce((SELECT kept_from_us FROM retention_cut \
         WHERE retention_cut.project = {project} AND kept = '{kept}'), 0)"
    )
}
