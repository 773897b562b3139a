//! Rows of Postgres as files, and back: what a backup has of it. The server writes and reads them itself (`COPY`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::TryStreamExt;
use sqlx::{AssertSqlSafe, Connection, Executor, Postgres, Transaction};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::CopiedTable;
use super::migrations;
use super::postgres::{PostgresConfig, PostgresDatabase, Session, limited};
use crate::backup::BackupError;

/// Every table but the list of migrations; one that refers to another comes after it.
const TABLES: &str = "SELECT c.relname::text, array_agg(a.attname::text ORDER BY a.attnum) \
     FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
     WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relname <> '_sqlx_migrations' \
     GROUP BY c.oid, c.relname \
     ORDER BY (SELECT count(*) FROM pg_constraint k WHERE k.contype = 'f' AND k.conrelid = c.oid), c.relname";

/// Columns that number their rows.
const NUMBERED: &str = "SELECT table_name::text, column_name::text FROM information_schema.columns \
     WHERE table_schema = 'public' AND is_identity = 'YES'";

impl Session {
    /// Copies the rows of all tables, as this transaction sees them, into files of a folder.
    pub(super) async fn copy_into(&mut self, folder: &Path) -> Result<Vec<CopiedTable>, BackupError> {
        let limit = self.limit;
        // A large table takes as long as it takes; a server that is silent is given up all the same.
        limited(limit, self.connection().execute("SET LOCAL statement_timeout = 0")).await?;
        let tables: Vec<(String, Vec<String>)> =
            limited(limit, sqlx::query_as(TABLES).fetch_all(self.connection())).await?;
        let tables = tables.into_iter().map(|(name, columns)| CopiedTable { name, columns });
        let tables: Vec<CopiedTable> = tables.collect();
        for table in &tables {
            let path = folder.join(table.file_name());
            let failed = |source| BackupError::Files { path: path.clone(), source };
            let mut file = File::create(&path).await.map_err(failed)?;
            let copy = format!("COPY {} TO STDOUT", target(table));
            let mut rows = limited(limit, self.connection().copy_out_raw(&copy)).await?;
            while let Some(bytes) = limited(limit, rows.try_next()).await? {
                file.write_all(&bytes).await.map_err(failed)?;
            }
            file.sync_all().await.map_err(failed)?;
        }
        Ok(tables)
    }
}

impl PostgresDatabase {
    /// Whether no warehouse was ever begun in it.
    pub(crate) async fn is_empty(config: &PostgresConfig) -> Result<bool, sqlx::Error> {
        let mut connection = config.connect().await?;
        let has_tables = sqlx::query_scalar("SELECT to_regclass('public.ducklake_metadata') IS NOT NULL");
        let has_tables: bool = limited(config.answer_limit(), has_tables.fetch_one(&mut connection)).await?;
        connection.close().await?;
        Ok(!has_tables)
    }

    /// Replaces the rows of these tables by those of another database, in an order that respects their references. What a
    /// later version has added to the other's is left out. The tables are small.
    pub(crate) async fn copy_from(&self, other: &Self, tables: &[&str]) -> Result<(), sqlx::Error> {
        let (mut from, mut to) = (other.read().await?, self.write().await?);
        let limit = to.limit;
        for table in tables.iter().rev() {
            limited(limit, to.connection().execute(AssertSqlSafe(format!("DELETE FROM {table}")))).await?;
        }
        let all: Vec<(String, Vec<String>)> = limited(limit, sqlx::query_as(TABLES).fetch_all(to.connection())).await?;
        for (name, columns) in tables.iter().filter_map(|table| all.iter().find(|(name, _)| name == table)) {
            let table = target(&CopiedTable { name: name.clone(), columns: columns.clone() });
            let mut rows = Vec::new();
            let mut copied = limited(limit, from.connection().copy_out_raw(&format!("COPY {table} TO STDOUT"))).await?;
            while let Some(bytes) = limited(limit, copied.try_next()).await? {
                rows.extend_from_slice(&bytes);
            }
            drop(copied);
            let mut copy = limited(limit, to.connection().copy_in_raw(&format!("COPY {table} FROM STDIN"))).await?;
            limited(limit, copy.send(rows)).await?;
            limited(limit, copy.finish()).await?;
        }
        to.commit().await
    }

    /// Makes the tables of this version in an empty database and fills them, in one transaction.
    pub(crate) async fn restore(
        config: &PostgresConfig,
        version: i64,
        tables: &[(&CopiedTable, PathBuf)],
    ) -> Result<(), BackupError> {
        let limit = config.answer_limit();
        let mut connection = config.connect().await?;
        let mut transaction = limited(limit, connection.begin()).await?;
        limited(limit, transaction.execute("SET LOCAL search_path = public; SET LOCAL statement_timeout = 0")).await?;
        migrations::of_postgres().run_to(version, &mut *transaction).await.map_err(sqlx::Error::from)?;
        fill(&mut transaction, limit, tables).await?;
        limited(limit, transaction.commit()).await?;
        // Its planner knows nothing of the new rows yet.
        connection.execute("ANALYZE").await?;
        Ok(connection.close().await?)
    }
}

/// Read and sent at once.
const CHUNK_BYTES: usize = 1 << 20;

async fn fill(
    transaction: &mut Transaction<'_, Postgres>,
    limit: Duration,
    tables: &[(&CopiedTable, PathBuf)],
) -> Result<(), BackupError> {
    let mut chunk = vec![0; CHUNK_BYTES];
    for (table, path) in tables {
        let failed = |source| BackupError::Files { path: path.clone(), source };
        let mut file = File::open(path).await.map_err(failed)?;
        let statement = format!("COPY {} FROM STDIN", target(table));
        let mut copy = limited(limit, transaction.copy_in_raw(&statement)).await?;
        loop {
            let read = file.read(&mut chunk).await.map_err(failed)?;
            if read == 0 {
                break;
            }
            limited(limit, copy.send(&chunk[..read])).await?;
        }
        copy.finish().await?;
    }
    let numbered = limited(limit, sqlx::query_as(NUMBERED).fetch_all(&mut **transaction)).await?;
    let numbered: Vec<(String, String)> = numbered;
    for (table, column) in numbered {
        let next = format!(
            "SELECT setval(pg_get_serial_sequence('{table}', '{column}'), (SELECT coalesce(max({column}), 0) + 1 FROM {table}), false)"
        );
        limited(limit, transaction.execute(AssertSqlSafe(next))).await?;
    }
    Ok(())
}

/// A table and its columns, as `COPY` names them.
fn target(table: &CopiedTable) -> String {
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let columns: Vec<String> = table.columns.iter().map(|column| quoted(column)).collect();
    format!("{} ({})", quoted(&table.name), columns.join(", "))
}
