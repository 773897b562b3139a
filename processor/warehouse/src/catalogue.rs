//! The catalogue: its first rows, and what an older one lacks.

use std::collections::HashMap;

use schemas::Timestamp;
use sqlx::{Executor, SqliteConnection};
use uuid::Uuid;

use crate::commit::CommitId;
use crate::database::OpenError;
use crate::tables::{LAKE_TABLES, LakeColumn, LakeTable};

/// The version of the lake format we write; any other is refused.
pub(crate) const DUCKLAKE_VERSION: &str = "1.0";

/// Creates the catalogue's first rows, or checks those that are there. Returns the newest commit.
pub(crate) async fn prepare_catalogue(
    connection: &mut SqliteConnection,
    root: &str,
) -> Result<Result<CommitId, OpenError>, sqlx::Error> {
    connection.execute("BEGIN IMMEDIATE").await?;
    let version: Option<String> =
        sqlx::query_scalar("SELECT value FROM ducklake_metadata WHERE key = 'version' AND scope IS NULL")
            .fetch_optional(&mut *connection)
            .await?;
    match version {
        Some(found) if found != DUCKLAKE_VERSION => {
            connection.execute("ROLLBACK").await?;
            return Ok(Err(OpenError::CatalogueVersion { found }));
        }
        // The folder may have been moved since: its paths are relative to this one.
        Some(_) => {
            sqlx::query("UPDATE ducklake_metadata SET value = ? WHERE key = 'data_path' AND value <> ?")
                .bind(root)
                .bind(root)
                .execute(&mut *connection)
                .await?;
        }
        None => create_catalogue(connection, root).await?,
    }
    bring_up_to_date(connection).await?;
    let newest: i64 =
        sqlx::query_scalar("SELECT max(snapshot_id) FROM ducklake_snapshot").fetch_one(&mut *connection).await?;
    connection.execute("COMMIT").await?;
    Ok(Ok(CommitId(newest)))
}

#[expect(clippy::disallowed_methods, reason = "the birth of the catalogue: nothing is computed from it")]
async fn create_catalogue(connection: &mut SqliteConnection, root: &str) -> Result<(), sqlx::Error> {
    let now = Timestamp::from(chrono::Utc::now()).to_sql();
    for (key, value) in [
        ("version", DUCKLAKE_VERSION),
        ("created_by", concat!("streamgauge ", env!("CARGO_PKG_VERSION"))),
        ("data_path", root),
        ("encrypted", "false"),
        ("data_inlining_row_limit", "0"),
    ] {
        sqlx::query("INSERT INTO ducklake_metadata (key, value) VALUES (?, ?)")
            .bind(key)
            .bind(value)
            .execute(&mut *connection)
            .await?;
    }
    sqlx::query("INSERT INTO ducklake_snapshot VALUES (0, ?, 0, 1, 0)").bind(&now).execute(&mut *connection).await?;
    sqlx::query("INSERT INTO ducklake_schema VALUES (0, ?, 0, NULL, 'main', 'main/', 1)")
        .bind(Uuid::new_v4().to_string())
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "INSERT INTO ducklake_snapshot_changes (snapshot_id, changes_made) VALUES (0, 'created_schema:\"main\"')",
    )
    .execute(&mut *connection)
    .await?;
    Ok(())
}

/// Adds the tables, and to known tables the columns, that the catalogue does not have yet, in a snapshot of their own.
#[expect(clippy::disallowed_methods, reason = "the birth of tables: nothing is computed from it")]
async fn bring_up_to_date(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let known: HashMap<i64, i64> = sqlx::query_as(
        "SELECT table_id, (SELECT count(*) FROM ducklake_column \
         WHERE ducklake_column.table_id = ducklake_table.table_id AND end_snapshot IS NULL) FROM ducklake_table",
    )
    .fetch_all(&mut *connection)
    .await?
    .into_iter()
    .collect();
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
    let next_catalog_id = i64::try_from(LAKE_TABLES.len()).unwrap_or(0) + 1;
    let (snapshot, schema_version): (i64, i64) = sqlx::query_as(
        "INSERT INTO ducklake_snapshot SELECT snapshot_id + 1, ?, schema_version + 1, max(next_catalog_id, ?), next_file_id \
         FROM ducklake_snapshot WHERE snapshot_id = (SELECT max(snapshot_id) FROM ducklake_snapshot) \
         RETURNING snapshot_id, schema_version",
    )
    .bind(Timestamp::from(chrono::Utc::now()).to_sql())
    .bind(next_catalog_id)
    .fetch_one(&mut *connection)
    .await?;
    let made: Vec<&str> = changes.iter().map(|(_, _, change)| change.as_str()).collect();
    sqlx::query("INSERT INTO ducklake_snapshot_changes (snapshot_id, changes_made) VALUES (?, ?)")
        .bind(snapshot)
        .bind(made.join(","))
        .execute(&mut *connection)
        .await?;
    for (table, columns, _) in changes {
        if columns == 0 {
            create_table(connection, table, snapshot).await?;
        }
        sqlx::query("INSERT INTO ducklake_schema_versions VALUES (?, ?, ?)")
            .bind(snapshot)
            .bind(schema_version)
            .bind(table.id)
            .execute(&mut *connection)
            .await?;
        for (column, column_id) in table.columns.iter().zip(1_i64..).skip(columns) {
            create_column(connection, table, (column, column_id), snapshot).await?;
        }
    }
    Ok(())
}

async fn create_table(connection: &mut SqliteConnection, table: &LakeTable, snapshot: i64) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO ducklake_table VALUES (?, ?, ?, NULL, 0, ?, ?, 1)")
        .bind(table.id)
        .bind(Uuid::now_v7().to_string())
        .bind(snapshot)
        .bind(table.name)
        .bind(format!("{}/", table.name))
        .execute(&mut *connection)
        .await?;
    sqlx::query("INSERT INTO ducklake_table_stats VALUES (?, 0, 0, 0)")
        .bind(table.id)
        .execute(&mut *connection)
        .await?;
    sqlx::query("INSERT INTO ducklake_tag VALUES (?, ?, NULL, 'comment', ?)")
        .bind(table.id)
        .bind(snapshot)
        .bind(table.doc)
        .execute(&mut *connection)
        .await?;
    Ok(())
}

/// Adds a column. In files from before it is null.
async fn create_column(
    connection: &mut SqliteConnection,
    table: &LakeTable,
    (column, column_id): (&LakeColumn, i64),
    snapshot: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO ducklake_column (column_id, begin_snapshot, table_id, column_order, column_name, column_type, \
         default_value, nulls_allowed, default_value_type, default_value_dialect) \
         VALUES (?, ?, ?, ?, ?, ?, 'NULL', 1, 'literal', 'duckdb')",
    )
    .bind(column_id)
    .bind(snapshot)
    .bind(table.id)
    .bind(column_id)
    .bind(column.name)
    .bind(column.ty.ducklake())
    .execute(&mut *connection)
    .await?;
    sqlx::query("INSERT INTO ducklake_column_tag VALUES (?, ?, ?, NULL, 'comment', ?)")
        .bind(table.id)
        .bind(column_id)
        .bind(snapshot)
        .bind(column.doc)
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "INSERT INTO ducklake_table_column_stats \
         SELECT table_id, ?, record_count > 0, NULL, NULL, NULL, NULL FROM ducklake_table_stats WHERE table_id = ?",
    )
    .bind(column_id)
    .bind(table.id)
    .execute(&mut *connection)
    .await?;
    Ok(())
}
