//! Many rows at once, column by column.

use std::ops::Range;

use futures::TryStreamExt;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnection};
use sqlx::{AssertSqlSafe, Postgres, SqlSafeStr, SqlStr, Sqlite};

use super::postgres::{Session, kept, limited};
use super::statement::Row;

/// A column of many rows: its name, and a value for each of them.
pub(crate) type Column<'a> = (&'static str, Values<'a>);

/// Rows to insert: of each column a value for each row. Names are constants of this program.
#[derive(Debug)]
pub(crate) struct Rows<'a> {
    pub(crate) table: String,
    pub(crate) count: usize,
    pub(crate) columns: Vec<Column<'a>>,
    /// What is done with rows that are there already: `ON CONFLICT ..`, or nothing.
    pub(crate) on_conflict: String,
}

/// Rows that a statement reads as its table `given`.
#[derive(Debug)]
pub(crate) struct Given<'a> {
    pub(crate) count: usize,
    pub(crate) columns: Vec<Column<'a>>,
    /// A `SELECT`, which may be asked several times, of some of the rows each time.
    pub(crate) select: String,
}

/// Values of one column.
#[derive(Debug)]
pub(crate) enum Values<'a> {
    Numbers(Vec<i64>),
    /// Null in Postgres where it is 0, which saves the room of a number. `SQLite` has none for a 0.
    Sparse(Vec<i64>),
    Texts(Vec<&'a str>),
    Json(Vec<Option<String>>),
}

/// Rows of one statement on `SQLite`: one text, prepared once, for all but the last rows.
const SQLITE_ROWS: usize = 64;
/// Rows that are sent to Postgres together.
const POSTGRES_ROWS: usize = 4096;

pub(super) fn names(columns: &[Column<'_>]) -> String {
    columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

fn chunks(count: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    (0..count).step_by(most).map(move |from| from..(from + most).min(count))
}

/// Statements for as many rows as there are; that for [`SQLITE_ROWS`] is kept.
struct SqliteTexts<'a, T> {
    text: T,
    columns: &'a [Column<'a>],
    whole: Option<SqlStr>,
}

impl<'a, T: Fn(&str) -> String> SqliteTexts<'a, T> {
    /// The texts that `text` makes of the rows in parentheses, as after `VALUES`.
    const fn new(columns: &'a [Column<'a>], text: T) -> Self {
        Self { text, columns, whole: None }
    }

    fn query(&mut self, rows: Range<usize>) -> Query<'a, Sqlite, SqliteArguments> {
        let is_whole = rows.len() == SQLITE_ROWS;
        let text = || {
            let row = format!("({})", vec!["?"; self.columns.len()].join(","));
            AssertSqlSafe((self.text)(&vec![row; rows.len()].join(","))).into_sql_str()
        };
        let text = if is_whole { self.whole.get_or_insert_with(text).clone() } else { text() };
        let mut query = sqlx::query(text).persistent(is_whole);
        for row in rows {
            for (_, values) in self.columns {
                query = match values {
                    Values::Numbers(numbers) | Values::Sparse(numbers) => query.bind(numbers[row]),
                    Values::Texts(texts) => query.bind(texts[row]),
                    Values::Json(texts) => query.bind(texts[row].as_deref()),
                };
            }
        }
        query
    }
}

/// `unnest` of each column as one array.
fn arrays(columns: &[Column<'_>]) -> String {
    let types = columns.iter().map(|(_, values)| match values {
        Values::Numbers(_) | Values::Sparse(_) => "bigint[]",
        Values::Texts(_) => "text[]",
        Values::Json(_) => "jsonb[]",
    });
    let arrays: Vec<String> = types.zip(1..).map(|(ty, place)| format!("${place}::{ty}")).collect();
    format!("unnest({})", arrays.join(", "))
}

fn postgres_query<'a>(text: &str, columns: &'a [Column<'a>], rows: &Range<usize>) -> Query<'a, Postgres, PgArguments> {
    let mut query = sqlx::query(AssertSqlSafe(text.to_owned()));
    for (_, values) in columns {
        query = match values {
            Values::Numbers(numbers) => query.bind(&numbers[rows.clone()]),
            Values::Sparse(numbers) => query.bind(sparse(&numbers[rows.clone()])),
            Values::Texts(texts) => query.bind(texts[rows.clone()].iter().map(|text| kept(text)).collect::<Vec<_>>()),
            Values::Json(texts) => query.bind(&texts[rows.clone()]),
        };
    }
    query
}

/// Null for 0.
pub(super) fn sparse(numbers: &[i64]) -> Vec<Option<i64>> {
    numbers.iter().map(|number| Some(*number).filter(|number| *number != 0)).collect()
}

impl Rows<'_> {
    pub(super) async fn into_sqlite(self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let Self { table, count, columns, on_conflict } = &self;
        let names = names(columns);
        let text = |rows: &str| format!("INSERT INTO {table} ({names}) VALUES {rows} {on_conflict}");
        let mut texts = SqliteTexts::new(columns, text);
        for rows in chunks(*count, SQLITE_ROWS) {
            texts.query(rows).execute(&mut *connection).await?;
        }
        Ok(())
    }

    /// Not by `COPY`: it sends its data and its end apart, the driver leaves Nagle's algorithm on, and so each of some
    /// ten tables would wait 40 ms for an acknowledgement that the server delays.
    pub(super) async fn into_postgres(self, session: &mut Session) -> Result<(), sqlx::Error> {
        let Self { table, count, columns, on_conflict } = &self;
        let (names, arrays) = (names(columns), arrays(columns));
        let text = format!("INSERT INTO {table} ({names}) SELECT * FROM {arrays} AS given WHERE true {on_conflict}");
        for rows in chunks(*count, POSTGRES_ROWS) {
            let limit = session.limit;
            limited(limit, postgres_query(&text, columns, &rows).execute(session.connection())).await?;
        }
        Ok(())
    }
}

impl Given<'_> {
    pub(super) async fn each_of_sqlite(
        self,
        connection: &mut SqliteConnection,
        mut take: impl FnMut(Row) + Send,
    ) -> Result<(), sqlx::Error> {
        let Self { count, columns, select } = &self;
        let names = names(columns);
        let text = |rows: &str| format!("WITH given ({names}) AS (VALUES {rows}) {select}");
        let mut texts = SqliteTexts::new(columns, text);
        for rows in chunks(*count, SQLITE_ROWS) {
            let mut found = texts.query(rows).fetch(&mut *connection);
            while let Some(row) = found.try_next().await? {
                take(Row::Sqlite(row));
            }
        }
        Ok(())
    }

    pub(super) async fn each_of_postgres(
        self,
        session: &mut Session,
        mut take: impl FnMut(Row) + Send,
    ) -> Result<(), sqlx::Error> {
        let Self { count, columns, select } = &self;
        let (names, arrays) = (names(columns), arrays(columns));
        let text = format!("WITH given ({names}) AS (SELECT * FROM {arrays}) {select}");
        for rows in chunks(*count, POSTGRES_ROWS) {
            let limit = session.limit;
            let mut found = postgres_query(&text, columns, &rows).fetch(session.connection());
            while let Some(row) = limited(limit, found.try_next()).await? {
                take(Row::Postgres(row));
            }
        }
        Ok(())
    }
}
