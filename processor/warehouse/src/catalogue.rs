//! The catalogue: its first rows, and what an older one lacks.

use std::collections::HashMap;

use schemas::Timestamp;
use uuid::Uuid;

use crate::commit::{CommitId, NewSnapshot, begin_snapshot};
use crate::database::{Transaction, sql};
use crate::open::OpenError;
use crate::tables::{LAKE_TABLES, LakeColumn, LakeTable};

/// The version of the lake format we write; any other is refused.
pub(crate) const DUCKLAKE_VERSION: &str = "1.0";

/// Creates the catalogue's first rows, or checks those that are there. Returns the newest commit.
pub(crate) async fn prepare_catalogue(
    transaction: &mut Transaction,
    root: &str,
) -> Result<Result<CommitId, OpenError>, sqlx::Error> {
    let known = sql("SELECT value, (SELECT value FROM ducklake_metadata WHERE key = 'data_path' AND scope IS NULL) \
                     FROM ducklake_metadata WHERE key = 'version' AND scope IS NULL");
    match known.first(transaction).await?.map(|row| (row.get::<String>(0), row.get::<Option<String>>(1))) {
        Some((found, _)) if found != DUCKLAKE_VERSION => return Ok(Err(OpenError::CatalogueVersion { found })),
        // The folder may have been moved since: its paths are relative to this one.
        Some((_, path)) => {
            if path.as_deref() != Some(root) && transaction.may_change("ducklake_metadata").await? {
                sql("UPDATE ducklake_metadata SET value = $1 WHERE key = 'data_path'")
                    .bind(root)
                    .run(transaction)
                    .await?;
            }
        }
        None => create_catalogue(transaction, root).await?,
    }
    bring_up_to_date(transaction).await?;
    Ok(Ok(CommitId(sql("SELECT max(snapshot_id) FROM ducklake_snapshot").value(transaction).await?)))
}

#[expect(clippy::disallowed_methods, reason = "the birth of the catalogue: nothing is computed from it")]
async fn create_catalogue(transaction: &mut Transaction, root: &str) -> Result<(), sqlx::Error> {
    let now = Timestamp::from(chrono::Utc::now());
    for (key, value) in [
        ("version", DUCKLAKE_VERSION),
        ("created_by", concat!("streamgauge ", env!("CARGO_PKG_VERSION"))),
        ("data_path", root),
        ("encrypted", "false"),
        ("data_inlining_row_limit", "0"),
    ] {
        let row = sql("INSERT INTO ducklake_metadata (key, value) VALUES ($1, $2)").bind(key).bind(value);
        row.run(transaction).await?;
    }
    sql("INSERT INTO ducklake_snapshot VALUES (0, $1, 0, 1, 0)").bind(now).run(transaction).await?;
    sql("INSERT INTO ducklake_schema VALUES (0, $1, 0, NULL, 'main', 'main/', TRUE)")
        .bind(Uuid::new_v4())
        .run(transaction)
        .await?;
    sql("INSERT INTO ducklake_snapshot_changes (snapshot_id, changes_made) VALUES (0, 'created_schema:\"main\"')")
        .run(transaction)
        .await?;
    Ok(())
}

/// Adds the tables, and to known tables the columns, that the catalogue does not have yet, in a snapshot of their own.
#[expect(clippy::disallowed_methods, reason = "the birth of tables: nothing is computed from it")]
async fn bring_up_to_date(transaction: &mut Transaction) -> Result<(), sqlx::Error> {
    let rows = sql("SELECT table_id, (SELECT count(*) FROM ducklake_column \
                    WHERE ducklake_column.table_id = ducklake_table.table_id AND end_snapshot IS NULL) \
                    FROM ducklake_table");
    let known: HashMap<i64, i64> = rows.rows(transaction).await?.iter().map(|row| (row.get(0), row.get(1))).collect();
    let mut changes = Vec::new();
    for table in LAKE_TABLES {
        match known.get(&table.id).map(|columns| usize::try_from(*columns).unwrap_or(0)) {
            None => changes.push((table, 0, format!("created_table:\"main\".\"{}\"", table.name))),
            Some(columns) if columns < table.columns.len() => {
                changes.push((table, columns, format!("altered_table:{}", table.id)));
            }
            Some(_) => {}
        }
    }
    if changes.is_empty() {
        return Ok(());
    }
    let made: Vec<&str> = changes.iter().map(|(_, _, change)| change.as_str()).collect();
    let snapshot = begin_snapshot(
        transaction,
        &NewSnapshot {
            now: Timestamp::from(chrono::Utc::now()),
            changes: made.join(","),
            schema_changes: 1,
            least_catalog_id: i64::try_from(LAKE_TABLES.len()).unwrap_or(0) + 1,
            ..NewSnapshot::default()
        },
    )
    .await?;
    for (table, columns, _) in changes {
        if columns == 0 {
            create_table(transaction, table, snapshot.id).await?;
        }
        sql("INSERT INTO ducklake_schema_versions VALUES ($1, $2, $3)")
            .bind(snapshot.id)
            .bind(snapshot.schema_version)
            .bind(table.id)
            .run(transaction)
            .await?;
        for (column, column_id) in table.columns.iter().zip(1_i64..).skip(columns) {
            create_column(transaction, table, (column, column_id), snapshot.id).await?;
        }
    }
    Ok(())
}

async fn create_table(transaction: &mut Transaction, table: &LakeTable, snapshot: i64) -> Result<(), sqlx::Error> {
    sql("INSERT INTO ducklake_table VALUES ($1, $2, $3, NULL, 0, $4, $5, TRUE)")
        .bind(table.id)
        .bind(Uuid::now_v7())
        .bind(snapshot)
        .bind(table.name)
        .bind(format!("{}/", table.name))
        .run(transaction)
        .await?;
    sql("INSERT INTO ducklake_table_stats VALUES ($1, 0, 0, 0)").bind(table.id).run(transaction).await?;
    sql("INSERT INTO ducklake_tag VALUES ($1, $2, NULL, 'comment', $3)")
        .bind(table.id)
        .bind(snapshot)
        .bind(table.doc)
        .run(transaction)
        .await?;
    Ok(())
}

/// Adds a column. In files from before it is null.
async fn create_column(
    transaction: &mut Transaction,
    table: &LakeTable,
    (column, column_id): (&LakeColumn, i64),
    snapshot: i64,
) -> Result<(), sqlx::Error> {
    sql("INSERT INTO ducklake_column (column_id, begin_snapshot, table_id, column_order, column_name, column_type, \
         default_value, nulls_allowed, default_value_type, default_value_dialect) \
         VALUES ($1, $2, $3, $4, $5, $6, 'NULL', TRUE, 'literal', 'duckdb')")
    .bind(column_id)
    .bind(snapshot)
    .bind(table.id)
    .bind(column_id)
    .bind(column.name)
    .bind(column.ty.ducklake())
    .run(transaction)
    .await?;
    sql("INSERT INTO ducklake_column_tag VALUES ($1, $2, $3, NULL, 'comment', $4)")
        .bind(table.id)
        .bind(column_id)
        .bind(snapshot)
        .bind(column.doc)
        .run(transaction)
        .await?;
    sql("INSERT INTO ducklake_table_column_stats \
         SELECT table_id, $1, record_count > 0, NULL, NULL, NULL, NULL FROM ducklake_table_stats WHERE table_id = $2")
    .bind(column_id)
    .bind(table.id)
    .run(transaction)
    .await?;
    Ok(())
}
