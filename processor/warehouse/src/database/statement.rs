//! A statement, its values and its rows, in either database.

use futures::TryStreamExt;
use schemas::Timestamp;
use sqlx::postgres::PgRow;
use sqlx::query::Query;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row as _, SqlSafeStr, SqlStr};
use uuid::Uuid;

use super::postgres::{kept, limited};
use super::{Connection, Transaction};

/// A statement of this text, a constant of this program.
pub(crate) fn sql(text: &'static str) -> Statement {
    Statement::new(SqlStr::from_static(text))
}

/// A statement whose text was put together from constants of this program.
pub(crate) fn composed(text: String) -> Statement {
    Statement::new(AssertSqlSafe(text).into_sql_str())
}

/// Parameters for rows of `columns` values each, from `$first` on: `($1, $2), ($3, $4)`.
pub(crate) fn places(rows: usize, columns: usize, first: usize) -> String {
    let row = |row: usize| {
        let places = (0..columns).map(|column| format!("${}", first + row * columns + column));
        format!("({})", places.collect::<Vec<_>>().join(", "))
    };
    (0..rows).map(row).collect::<Vec<_>>().join(", ")
}

/// At most that many values are bound in one statement: `SQLite` takes 32 766, Postgres 65 535.
pub(crate) const MAX_VALUES: usize = 32_766;

/// Statements with more values than this are not kept prepared: their texts are as many as the numbers of their rows.
const KEPT_VALUES: usize = 512;

/// The same text with parameters that have no numbers. `SQLite` looks numbered ones up by name, one after the other, when
/// it prepares them and again when they are bound: with thousands of them that takes longer than all else. `None` unless
/// each is there once, in order.
fn unnumbered(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut parts = text.split('$');
    plain.push_str(parts.next()?);
    for (number, part) in (1_usize..).zip(parts) {
        let rest = part.strip_prefix(&number.to_string())?;
        if rest.starts_with(|next: char| next.is_ascii_digit()) {
            return None;
        }
        plain.push('?');
        plain.push_str(rest);
    }
    Some(plain)
}

/// One statement and the values of its parameters.
#[must_use = "a statement does nothing until it is run"]
#[derive(Debug)]
pub(crate) struct Statement {
    text: SqlStr,
    values: Vec<Value>,
}

/// A value of a parameter.
#[derive(Debug)]
pub(crate) enum Value {
    Number(i64),
    Text(String),
    NoText,
    Flag(bool),
    /// `timestamptz`; on `SQLite` the text that the catalogue writes times as.
    Time(Timestamp),
    /// `uuid`; on `SQLite` its text.
    Uuid(Uuid),
}

impl Statement {
    const fn new(text: SqlStr) -> Self {
        Self { text, values: Vec::new() }
    }

    /// Gives the next parameter its value.
    pub(crate) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Runs it. Returns how many rows it inserted, updated or deleted.
    pub(crate) async fn run(self, transaction: &mut Transaction) -> Result<u64, sqlx::Error> {
        Ok(match transaction.connection() {
            Connection::Sqlite(connection) => self.for_sqlite().execute(connection).await?.rows_affected(),
            Connection::Postgres(connection, limit) => {
                limited(limit, self.for_postgres().execute(connection)).await?.rows_affected()
            }
        })
    }

    /// All rows of its result.
    pub(crate) async fn rows(self, transaction: &mut Transaction) -> Result<Vec<Row>, sqlx::Error> {
        let mut rows = Vec::new();
        self.each(transaction, |row| rows.push(row)).await?;
        Ok(rows)
    }

    /// Hands over the rows of its result; each is let go of before the next one is read.
    pub(crate) async fn each(
        self,
        transaction: &mut Transaction,
        mut take: impl FnMut(Row) + Send,
    ) -> Result<(), sqlx::Error> {
        match transaction.connection() {
            Connection::Sqlite(connection) => {
                let mut rows = self.for_sqlite().fetch(connection);
                while let Some(row) = rows.try_next().await? {
                    take(Row::Sqlite(row));
                }
            }
            Connection::Postgres(connection, limit) => {
                let mut rows = self.for_postgres().fetch(connection);
                while let Some(row) = limited(limit, rows.try_next()).await? {
                    take(Row::Postgres(row));
                }
            }
        }
        Ok(())
    }

    /// The first row of its result, if there is one.
    pub(crate) async fn first(self, transaction: &mut Transaction) -> Result<Option<Row>, sqlx::Error> {
        Ok(match transaction.connection() {
            Connection::Sqlite(connection) => self.for_sqlite().fetch_optional(connection).await?.map(Row::Sqlite),
            Connection::Postgres(connection, limit) => {
                limited(limit, self.for_postgres().fetch_optional(connection)).await?.map(Row::Postgres)
            }
        })
    }

    /// The only row of its result; an error if there is none.
    pub(crate) async fn row(self, transaction: &mut Transaction) -> Result<Row, sqlx::Error> {
        self.first(transaction).await?.ok_or(sqlx::Error::RowNotFound)
    }

    /// The only value of its result; an error if there is none.
    pub(crate) async fn value<T: Column>(self, transaction: &mut Transaction) -> Result<T, sqlx::Error> {
        Ok(self.row(transaction).await?.get(0))
    }

    fn for_sqlite(self) -> Query<'static, sqlx::Sqlite, sqlx::sqlite::SqliteArguments> {
        let is_kept = self.values.len() <= KEPT_VALUES;
        let text = Some(&self.text).filter(|_| !is_kept).and_then(|text| unnumbered(text.as_str()));
        let text = text.map_or(self.text, |text| AssertSqlSafe(text).into_sql_str());
        let query = sqlx::query(text).persistent(is_kept);
        self.values.into_iter().fold(query, |query, value| match value {
            Value::Number(number) => query.bind(number),
            Value::Text(text) => query.bind(text),
            Value::NoText => query.bind(None::<String>),
            Value::Flag(flag) => query.bind(flag),
            Value::Time(at) => query.bind(at.to_sql()),
            Value::Uuid(uuid) => query.bind(uuid.to_string()),
        })
    }

    fn for_postgres(self) -> Query<'static, sqlx::Postgres, sqlx::postgres::PgArguments> {
        let query = sqlx::query(self.text).persistent(self.values.len() <= KEPT_VALUES);
        self.values.into_iter().fold(query, |query, value| match value {
            Value::Number(number) => query.bind(number),
            Value::Text(text) => query.bind(kept(&text)),
            Value::NoText => query.bind(None::<String>),
            Value::Flag(flag) => query.bind(flag),
            Value::Time(at) => query.bind(at.to_chrono()),
            Value::Uuid(uuid) => query.bind(uuid),
        })
    }
}

macro_rules! numbers {
    ($($ty:ty),+) => {$(
        impl From<$ty> for Value {
            fn from(number: $ty) -> Self {
                Self::Number(number.into())
            }
        }
    )+};
}
numbers!(i64, u32, u16);

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Option<String>> for Value {
    fn from(text: Option<String>) -> Self {
        text.map_or(Self::NoText, Self::Text)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<Timestamp> for Value {
    fn from(at: Timestamp) -> Self {
        Self::Time(at)
    }
}

impl From<Uuid> for Value {
    fn from(uuid: Uuid) -> Self {
        Self::Uuid(uuid)
    }
}

/// A row of a result.
#[derive(Debug)]
pub(crate) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Row {
    /// The value of a column, which is of this type: a matter of the statement and the migrations, not of the data.
    pub(crate) fn get<T: Column>(&self, idx: usize) -> T {
        T::of(self, idx)
    }
}

/// A type that columns are read as.
pub(crate) trait Column: Sized {
    fn of(row: &Row, idx: usize) -> Self;
}

macro_rules! columns {
    ($($ty:ty),+) => {$(
        impl Column for $ty {
            fn of(row: &Row, idx: usize) -> Self {
                match row {
                    Row::Sqlite(row) => row.get(idx),
                    Row::Postgres(row) => row.get(idx),
                }
            }
        }
    )+};
}
columns!(i64, Option<i64>, String, Option<String>, bool, Option<bool>);

/// Columns of a [`Block`](super::Block). A row of `SQLite`, which has no arrays, is a block of one.
macro_rules! block_columns {
    ($($ty:ty),+) => {$(
        impl Column for Option<Vec<$ty>> {
            fn of(row: &Row, idx: usize) -> Self {
                match row {
                    Row::Sqlite(row) => Some(vec![row.get(idx)]),
                    Row::Postgres(row) => row.get(idx),
                }
            }
        }
    )+};
}
block_columns!(Option<i64>, String, Option<String>);

impl Column for Option<Timestamp> {
    fn of(row: &Row, idx: usize) -> Self {
        match row {
            Row::Sqlite(row) => row.get::<Option<&str>, _>(idx).and_then(Timestamp::parse_sql),
            Row::Postgres(row) => row.get::<Option<chrono::DateTime<chrono::Utc>>, _>(idx).map(Timestamp::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_lose_their_numbers_only_where_each_is_there_once_in_order() {
        let places = format!("VALUES {}", places(6, 2, 1));
        assert_eq!(unnumbered(&places).unwrap(), "VALUES (?, ?), (?, ?), (?, ?), (?, ?), (?, ?), (?, ?)");
        assert_eq!(unnumbered("SELECT 1").unwrap(), "SELECT 1");
        for text in ["$1, $1", "$2, $1", "$1, $3", "$12", "$name"] {
            assert_eq!(unnumbered(text), None, "{text}");
        }
    }
}
