//! The database beneath the warehouse: `SQLite` or Postgres. Nothing above this module knows which.
//!
//! One text of SQL serves both, with parameters `$1`, `$2`, ..; where the two differ, the difference is in
//! [`sqlite`] or [`postgres`]. All work is done in transactions: those that [write](Database::write), and those that
//! [read](Database::read) one state.

mod blocks;
mod bulk;
mod copying;
pub(crate) mod migrations;
pub(crate) mod postgres;
pub(crate) mod sqlite;
mod statement;

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;

pub(crate) use self::blocks::Block;
pub(crate) use self::bulk::{Column, Given, Rows, Values};
pub(crate) use self::statement::{MAX_VALUES, Row, Statement, composed, places, sql};
use crate::backup::BackupError;
use crate::backup::SQLITE_FILE;
use crate::commit::CommitId;

/// A database that is open.
#[derive(Debug)]
pub(crate) enum Database {
    Sqlite(sqlite::SqliteDatabase),
    Postgres(postgres::PostgresDatabase),
}

/// What one process at most does at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// Bringing the catalogue up to date.
    Catalogue,
    /// Merging, collecting and expiring files, and copying them for a backup.
    Files,
    /// Folding the deltas of a rollup, by its place in `ALL_STORED`.
    Rollup(usize),
}

impl Database {
    /// Begins to write. On `SQLite` writers queue for the only writing connection. On Postgres each statement sees what
    /// was committed before it, and waits for rows that another transaction has changed.
    pub(crate) async fn write(&self) -> Result<Transaction, sqlx::Error> {
        Ok(match self {
            Self::Sqlite(database) => Transaction::Sqlite(database.write().await?, None),
            Self::Postgres(database) => Transaction::Postgres(database.write().await?),
        })
    }

    /// Begins to write, once nobody else is at this task.
    pub(crate) async fn write_alone(&self, task: Task) -> Result<Transaction, sqlx::Error> {
        Ok(match self {
            Self::Sqlite(database) => Transaction::Sqlite(database.write().await?, None),
            Self::Postgres(database) => Transaction::Postgres(database.write_alone(task).await?),
        })
    }

    /// Begins to write, unless somebody else is, and stays, at this task.
    pub(crate) async fn try_write_alone(&self, task: Task) -> Result<Option<Transaction>, sqlx::Error> {
        Ok(match self {
            Self::Sqlite(database) => Some(Transaction::Sqlite(database.write().await?, None)),
            Self::Postgres(database) => database.try_write_alone(task).await?.map(Transaction::Postgres),
        })
    }

    /// Begins to read. All statements see one state, that of the first one.
    pub(crate) async fn read(&self) -> Result<Transaction, sqlx::Error> {
        Ok(match self {
            Self::Sqlite(database) => Transaction::Sqlite(database.read().await?, None),
            Self::Postgres(database) => Transaction::Postgres(database.read().await?),
        })
    }

    /// From now on whoever tries or takes a task waits for it so long.
    pub(crate) fn be_patient(&self, patience: Duration) {
        // Said once; a second time changes nothing.
        let _ = match self {
            Self::Sqlite(database) => database.patience.set(patience),
            Self::Postgres(database) => database.patience.set(patience),
        };
    }

    /// Takes a task that lasts longer than a transaction, unless somebody else is at it. With a file there is only
    /// [`Task::Files`]: everything else is one transaction.
    pub(crate) async fn take(&self, task: Task) -> Result<Option<Turn>, sqlx::Error> {
        Ok(match self {
            Self::Sqlite(database) => database.take().await?.map(Turn::Sqlite),
            Self::Postgres(database) => database.take(task).await?.map(Turn::Postgres),
        })
    }

    /// Copies all of it, as of one moment, into files of a folder.
    pub(crate) async fn copy_into(&self, folder: &Path) -> Result<Copy, BackupError> {
        match self {
            Self::Sqlite(database) => {
                let copy = database.copy_into(&folder.join(SQLITE_FILE)).await.map_err(Box::new)?;
                let transaction = Transaction::Sqlite(copy.read().await?, None);
                Ok(Copy { transaction, tables: Vec::new(), file: Some(copy) })
            }
            Self::Postgres(database) => {
                let mut session = database.read().await?;
                let tables = session.copy_into(folder).await?;
                Ok(Copy { transaction: Transaction::Postgres(session), tables, file: None })
            }
        }
    }

    /// Whether other processes may write at this moment.
    pub(crate) const fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// The version of the tables that this program makes.
    pub(crate) fn last_version(&self) -> i64 {
        match self {
            Self::Sqlite(_) => sqlite::last_version(),
            Self::Postgres(_) => postgres::PostgresDatabase::last_version(),
        }
    }

    /// Closes all connections.
    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite(database) => database.close().await,
            Self::Postgres(database) => database.close().await,
        }
    }
}

/// A table whose rows were copied into a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopiedTable {
    /// Its name.
    pub name: String,
    /// The columns of its rows, in the file's order.
    pub columns: Vec<String>,
}

impl CopiedTable {
    /// Name of the file.
    pub(crate) fn file_name(&self) -> String {
        format!("{}.copy", self.name)
    }
}

/// A copy of a database.
#[derive(Debug)]
pub(crate) struct Copy {
    /// Sees what was copied.
    pub(crate) transaction: Transaction,
    tables: Vec<CopiedTable>,
    /// The copy, if it is a file.
    file: Option<sqlite::SqliteDatabase>,
}

impl Copy {
    /// Ends the transaction; returns the tables and the names of the copy's files.
    pub(crate) async fn end(self) -> (Vec<CopiedTable>, Vec<String>) {
        let Self { transaction, tables, file } = self;
        drop(transaction);
        let names = match file {
            Some(file) => {
                file.close().await;
                vec![SQLITE_FILE.to_owned()]
            }
            None => tables.iter().map(CopiedTable::file_name).collect(),
        };
        (tables, names)
    }
}

/// The right to do a [`Task`]. It ends when it is given back, and some time after it was dropped or its session lost.
#[derive(Debug)]
pub(crate) enum Turn {
    Sqlite(sqlite::Lock),
    Postgres(postgres::Session),
}

impl Turn {
    /// Begins to write, if the turn is still ours. It ends with the transaction.
    pub(crate) async fn write(self, database: &Database) -> Result<Transaction, sqlx::Error> {
        match (self, database) {
            (Self::Postgres(session), _) => Ok(Transaction::Postgres(session.begin("BEGIN").await?)),
            (Self::Sqlite(lock), Database::Sqlite(database)) => {
                Ok(Transaction::Sqlite(database.write().await?, Some(lock)))
            }
            (Self::Sqlite(_), Database::Postgres(_)) => unreachable!("a turn is of the database that gave it"),
        }
    }

    /// Gives it back.
    pub(crate) async fn end(self) {
        if let Self::Postgres(mut session) = self {
            session.release().await;
        }
    }
}

/// A transaction; dropped before its commit it is rolled back.
#[derive(Debug)]
pub(crate) enum Transaction {
    /// With the turn that it ends.
    Sqlite(sqlx::Transaction<'static, sqlx::Sqlite>, Option<sqlite::Lock>),
    Postgres(postgres::Session),
}

/// What statements are run on.
pub(crate) enum Connection<'a> {
    Sqlite(&'a mut SqliteConnection),
    /// With how long its answers are waited for.
    Postgres(&'a mut PgConnection, Duration),
}

impl Transaction {
    fn connection(&mut self) -> Connection<'_> {
        match self {
            Self::Sqlite(transaction, _) => Connection::Sqlite(transaction),
            Self::Postgres(session) => {
                let limit = session.limit;
                Connection::Postgres(session.connection(), limit)
            }
        }
    }

    /// Whether other processes may write at this moment.
    pub(crate) const fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// Lets statements, and the pauses between them, take as long as they take: for what reads everything.
    pub(crate) async fn take_its_time(&mut self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(..) => Ok(()),
            Self::Postgres(session) => session.take_its_time().await,
        }
    }

    /// Inserts many rows.
    pub(crate) async fn insert(&mut self, rows: Rows<'_>) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(transaction, _) => rows.into_sqlite(transaction).await,
            Self::Postgres(session) => rows.into_postgres(session).await,
        }
    }

    /// Inserts blocks of a commit into a table of a [shared](Self::is_shared) database.
    pub(crate) async fn insert_blocks(
        &mut self,
        table: &str,
        commit_id: i64,
        blocks: &[Block<'_>],
    ) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(..) => unreachable!("it has no arrays"),
            Self::Postgres(session) => session.insert_blocks(table, commit_id, blocks).await,
        }
    }

    /// Hands over what is found for given rows.
    pub(crate) async fn each_of(&mut self, given: Given<'_>, take: impl FnMut(Row) + Send) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(transaction, _) => given.each_of_sqlite(transaction, take).await,
            Self::Postgres(session) => given.each_of_postgres(session, take).await,
        }
    }

    /// Locks the rows of a `SELECT`: what another transaction has changed is waited for.
    pub(crate) const fn for_update(&self) -> &'static str {
        match self {
            Self::Sqlite(..) => "",
            Self::Postgres(_) => " FOR UPDATE",
        }
    }

    /// Tells other processes of a commit, once it has landed.
    pub(crate) async fn tell(&mut self, commit: CommitId) -> Result<(), sqlx::Error> {
        if let Self::Postgres(_) = self {
            sql("SELECT pg_notify($1, $2)").bind(postgres::CHANNEL).bind(commit.to_string()).run(self).await?;
        }
        Ok(())
    }

    /// Whether the role may change rows of a table.
    pub(crate) async fn may_change(&mut self, table: &'static str) -> Result<bool, sqlx::Error> {
        match self {
            Self::Sqlite(..) => Ok(true),
            Self::Postgres(_) => sql("SELECT has_table_privilege($1, 'UPDATE')").bind(table).value(self).await,
        }
    }

    /// Commits. After an error the transaction may have been committed all the same.
    pub(crate) async fn commit(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(transaction, _lock) => transaction.commit().await,
            Self::Postgres(session) => session.commit().await,
        }
    }
}
