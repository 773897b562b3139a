//! The files of a commit in the catalogue: which end, which begin, and what the tables hold then.
//!
//! All this is done while nobody else can commit, so it takes few statements, however many files there are.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::commit::{Commit, CommitError, SnapshotRow, count};
use crate::database::{MAX_VALUES, Transaction, composed, places};
use crate::lake::NewFile;
use crate::read::DataFile;
use crate::tables::{ColumnType, LAKE_TABLES, LakeTable};

/// What a commit adds to a table's statistics; negative if it takes away.
#[derive(Debug, Default)]
struct Change {
    rows: i64,
    new_rows: i64,
    bytes: i64,
}

/// Ends the files that a commit replaces and lists its new ones.
///
/// # Errors
///
/// [`CommitError::Replaced`] if one of the former is not live any more.
pub(crate) async fn change_files(
    transaction: &mut Transaction,
    snapshot: &SnapshotRow,
    commit: &Commit,
) -> Result<(), CommitError> {
    let files: Vec<(&LakeTable, &NewFile)> = commit
        .files
        .iter()
        .filter_map(|file| Some((*LAKE_TABLES.iter().find(|table| table.id == file.table_id)?, file)))
        .collect();
    let mut changes: BTreeMap<i64, Change> = BTreeMap::new();
    end_files(transaction, snapshot.id, &commit.replaced_files, &mut changes).await?;
    for (table, file) in &files {
        let change = changes.entry(table.id).or_default();
        change.rows += file.encoded.rows;
        change.new_rows += file.encoded.rows;
        change.bytes += count(file.encoded.bytes.len());
    }
    let next_row_ids = change_table_statistics(transaction, &changes).await?;
    insert_files(transaction, snapshot, &files, next_row_ids).await?;
    insert_file_statistics(transaction, snapshot, &files).await?;
    widen_table_statistics(transaction, &files).await?;
    Ok(())
}

async fn end_files(
    transaction: &mut Transaction,
    snapshot: i64,
    replaced: &[DataFile],
    changes: &mut BTreeMap<i64, Change>,
) -> Result<(), CommitError> {
    for replaced in replaced.chunks(MAX_VALUES - 1) {
        let list = places(1, replaced.len(), 2);
        let update = composed(format!(
            "UPDATE ducklake_data_file SET end_snapshot = $1 WHERE end_snapshot IS NULL AND data_file_id IN {list} \
             RETURNING data_file_id, table_id, record_count, file_size_bytes, path"
        ));
        let update = replaced.iter().fold(update.bind(snapshot), |update, file| update.bind(file.data_file_id));
        let mut ended: HashMap<i64, String> = HashMap::with_capacity(replaced.len());
        for row in update.rows(transaction).await? {
            ended.insert(row.get(0), row.get(4));
            let change = changes.entry(row.get(1)).or_default();
            change.rows -= row.get::<i64>(2);
            change.bytes -= row.get::<i64>(3);
        }
        // By its path, too: a database that lost commits gives their numbers to other files.
        let is_ended = |file: &&DataFile| ended.get(&file.data_file_id).is_some_and(|path| file.path.ends_with(path));
        if let Some(DataFile { data_file_id, .. }) = replaced.iter().find(|file| !is_ended(file)) {
            return Err(CommitError::Replaced { data_file_id: *data_file_id });
        }
    }
    Ok(())
}

/// Returns the next row id of each table, which is behind those of the new files.
async fn change_table_statistics(
    transaction: &mut Transaction,
    changes: &BTreeMap<i64, Change>,
) -> Result<HashMap<i64, i64>, sqlx::Error> {
    if changes.is_empty() {
        return Ok(HashMap::new());
    }
    let mut update = composed(format!(
        "UPDATE ducklake_table_stats AS t SET record_count = t.record_count + v.column2, \
         next_row_id = t.next_row_id + v.column3, file_size_bytes = t.file_size_bytes + v.column4 \
         FROM (VALUES {}) AS v WHERE t.table_id = v.column1 RETURNING table_id, next_row_id",
        places(changes.len(), 4, 1)
    ));
    for (table_id, change) in changes {
        update = update.bind(*table_id).bind(change.rows).bind(change.new_rows).bind(change.bytes);
    }
    Ok(update.rows(transaction).await?.iter().map(|row| (row.get(0), row.get(1))).collect())
}

async fn insert_files(
    transaction: &mut Transaction,
    snapshot: &SnapshotRow,
    files: &[(&LakeTable, &NewFile)],
    mut next_row_ids: HashMap<i64, i64>,
) -> Result<(), sqlx::Error> {
    // Row ids rise with the files, so the last one ends at the table's next.
    let mut rows = Vec::with_capacity(files.len());
    for (idx, (table, file)) in files.iter().enumerate().rev() {
        let next = next_row_ids.entry(table.id).or_default();
        *next -= file.encoded.rows;
        rows.push((snapshot.first_file_id + count(idx), *table, *file, *next));
    }
    rows.reverse();
    for rows in rows.chunks(MAX_VALUES / 10) {
        let mut insert = composed(format!(
            "INSERT INTO ducklake_data_file (data_file_id, table_id, begin_snapshot, path, path_is_relative, \
             file_format, record_count, file_size_bytes, footer_size, row_id_start) VALUES {}",
            places(rows.len(), 10, 1)
        ));
        for (data_file_id, table, file, row_id_start) in rows {
            insert = insert
                .bind(*data_file_id)
                .bind(table.id)
                .bind(snapshot.id)
                .bind(&file.path)
                .bind(true)
                .bind("parquet")
                .bind(file.encoded.rows)
                .bind(count(file.encoded.bytes.len()))
                .bind(file.encoded.footer_bytes)
                .bind(*row_id_start);
        }
        insert.run(transaction).await?;
    }
    Ok(())
}

async fn insert_file_statistics(
    transaction: &mut Transaction,
    snapshot: &SnapshotRow,
    files: &[(&LakeTable, &NewFile)],
) -> Result<(), sqlx::Error> {
    let columns: Vec<_> = files
        .iter()
        .zip(snapshot.first_file_id..)
        .flat_map(|((table, file), data_file_id)| {
            file.encoded.columns.iter().zip(1_i64..).map(move |(column, id)| (data_file_id, table.id, id, column))
        })
        .collect();
    for columns in columns.chunks(MAX_VALUES / 8) {
        let mut insert = composed(format!(
            "INSERT INTO ducklake_file_column_stats (data_file_id, table_id, column_id, column_size_bytes, \
             value_count, null_count, min_value, max_value) VALUES {}",
            places(columns.len(), 8, 1)
        ));
        for (data_file_id, table_id, column_id, column) in columns {
            let (least, greatest) = column.bounds.clone().unzip();
            insert = insert
                .bind(*data_file_id)
                .bind(*table_id)
                .bind(*column_id)
                .bind(column.bytes)
                .bind(column.values)
                .bind(column.nulls)
                .bind(least)
                .bind(greatest);
        }
        insert.run(transaction).await?;
    }
    Ok(())
}

/// Whether a column of a table holds nulls, its least and its greatest value, as far as they are known.
type KnownBounds = (Option<bool>, Option<String>, Option<String>);

/// The tables' bounds take in those of the files.
async fn widen_table_statistics(
    transaction: &mut Transaction,
    files: &[(&LakeTable, &NewFile)],
) -> Result<(), sqlx::Error> {
    if files.is_empty() {
        return Ok(());
    }
    let tables: HashSet<i64> = files.iter().map(|(table, _)| table.id).collect();
    let select = "SELECT table_id, column_id, contains_null, min_value, max_value FROM ducklake_table_column_stats";
    let rows = composed(select.to_owned()).rows(transaction).await?;
    let known: BTreeMap<(i64, i64), KnownBounds> = rows
        .iter()
        .map(|row| ((row.get(0), row.get(1)), (row.get(2), row.get(3), row.get(4))))
        .filter(|((table_id, _), _)| tables.contains(table_id))
        .collect();
    let mut wide = known.clone();
    for (table, file) in files {
        for ((column, bounds), column_id) in table.columns.iter().zip(&file.encoded.columns).zip(1_i64..) {
            let Some((contains_null, min, max)) = wide.get_mut(&(table.id, column_id)) else { continue };
            *contains_null = Some(*contains_null == Some(true) || bounds.nulls > 0);
            let Some((least, greatest)) = &bounds.bounds else { continue };
            if min.as_ref().is_none_or(|min| less(column.ty, least, min)) {
                *min = Some(least.clone());
            }
            if max.as_ref().is_none_or(|max| less(column.ty, max, greatest)) {
                *max = Some(greatest.clone());
            }
        }
    }
    let widened: Vec<_> = wide.into_iter().filter(|(column, bounds)| known.get(column) != Some(bounds)).collect();
    if widened.is_empty() {
        return Ok(());
    }
    let mut update = composed(format!(
        "UPDATE ducklake_table_column_stats AS t SET contains_null = v.column3, min_value = v.column4, \
         max_value = v.column5 FROM (VALUES {}) AS v WHERE t.table_id = v.column1 AND t.column_id = v.column2",
        places(widened.len(), 5, 1)
    ));
    for ((table_id, column_id), (contains_null, least, greatest)) in widened {
        update = update.bind(table_id).bind(column_id).bind(contains_null == Some(true)).bind(least).bind(greatest);
    }
    update.run(transaction).await?;
    Ok(())
}

/// Whether one bound, as the catalogue writes it, is less than another. Times are all of one form.
fn less(ty: ColumnType, one: &str, other: &str) -> bool {
    match ty {
        ColumnType::Int32 | ColumnType::Int64 => one.parse::<i64>().ok() < other.parse::<i64>().ok(),
        _ => one < other,
    }
}
