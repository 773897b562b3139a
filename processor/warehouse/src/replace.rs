//! Replacing rows: the files that hold them are written again without them, for the same commit to list.

use std::collections::{HashMap, HashSet};

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Int32Type};
use schemas::Timestamp;

use crate::lake::{Lake, NewFile, may_hold_text, scan_parquet};
use crate::merge::{Failure, MergeError, read_whole, write_again};
use crate::open::Warehouse;
use crate::read::DataFile;
use crate::tables::LakeTable;

/// Joins the parts of a row's name; no text of a part can hold it.
const SEPARATOR: &str = "\0";

/// Which files take the place of which, and what the rows that are gone said of themselves.
#[derive(Debug, Default)]
pub struct Replacement {
    /// Files that hold the other rows of those that are replaced.
    pub files: Vec<NewFile>,
    /// The files that are replaced.
    pub replaced_files: Vec<DataFile>,
    /// Column `revision` of the rows that are gone, by [name](row_name).
    pub revisions: HashMap<String, i32>,
}

/// The name of a row: the values of [`LakeTable::row_key`].
#[must_use]
pub fn row_name(parts: &[&str]) -> String {
    parts.join(SEPARATOR)
}

impl Warehouse {
    /// Writes the live files that hold rows of these names again, without them. Nothing changes before a commit lists
    /// what is returned; if one of the files is replaced by somebody else meanwhile, that commit fails with
    /// [`Replaced`](crate::CommitError::Replaced), and this has to be done again.
    ///
    /// # Errors
    ///
    /// [`MergeError`].
    pub async fn rows_replaced(
        &self,
        table: &'static LakeTable,
        names: HashSet<String>,
        now: Timestamp,
    ) -> Result<Replacement, MergeError> {
        if names.is_empty() {
            return Ok(Replacement::default());
        }
        let files = self.read().await?.snapshot().await?.files(table);
        let lake = self.shared.lake.clone();
        let failed = |source| MergeError::Rewrite { table: table.name, source };
        let rewriting = tokio::task::spawn_blocking(move || {
            let mut replacement = Replacement::default();
            for file in files.iter() {
                rewrite_without(&lake, table, file, &names, now, &mut replacement)?;
            }
            Ok(replacement)
        });
        rewriting.await.map_err(|panic| failed(panic.into()))?.map_err(failed)
    }
}

fn rewrite_without(
    lake: &Lake,
    table: &'static LakeTable,
    file: &DataFile,
    names: &HashSet<String>,
    now: Timestamp,
    replacement: &mut Replacement,
) -> Result<(), Failure> {
    let filtered = table.row_key.iter().enumerate().find(|(_, column)| table.looked_up_by.contains(column));
    if let Some((place, column)) = filtered {
        let values: Vec<&str> = names.iter().filter_map(|name| name.split(SEPARATOR).nth(place)).collect();
        if !may_hold_text(lake, &file.path, &[column], &values)? {
            return Ok(());
        }
    }
    let mut holds_some = false;
    for batch in scan_parquet(lake, table, &file.path, table.row_key, 8192)? {
        holds_some |= names_of(table, &batch?)?.iter().any(|name| names.contains(name));
    }
    if !holds_some {
        return Ok(());
    }
    let rows = read_whole(lake, table, file)?;
    let revisions = rows.column(table.index_of("revision")).as_primitive::<Int32Type>();
    let mut stays = Vec::with_capacity(rows.num_rows());
    for (idx, name) in names_of(table, &rows)?.into_iter().enumerate() {
        stays.push(!names.contains(&name));
        if names.contains(&name) {
            replacement.revisions.insert(name, revisions.value(idx));
        }
    }
    let rest = filter_record_batch(&rows, &BooleanArray::from(stays))?;
    if rest.num_rows() > 0 {
        replacement.files.push(write_again(lake, table, [&rest], now)?);
    }
    replacement.replaced_files.push(file.clone());
    Ok(())
}

/// The names of all rows of a batch that has at least the columns of the name.
fn names_of(table: &LakeTable, batch: &RecordBatch) -> Result<Vec<String>, arrow::error::ArrowError> {
    let columns = table.row_key.iter().map(|name| {
        let column = batch.column_by_name(name).ok_or_else(|| {
            arrow::error::ArrowError::SchemaError(format!("column {name} is missing in {}", table.name))
        })?;
        cast(column, &DataType::Utf8)
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let name = |row: usize| {
        let text = |column: &std::sync::Arc<dyn Array>| {
            let column = column.as_string::<i32>();
            if column.is_null(row) { String::new() } else { column.value(row).to_owned() }
        };
        columns.iter().map(text).collect::<Vec<_>>().join(SEPARATOR)
    };
    Ok((0..batch.num_rows()).map(name).collect())
}
