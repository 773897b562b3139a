//! Many rows at once, column by column.

use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, SqlSafeStr};

use super::postgres::{Session, kept, limited};

/// Rows to insert: of each column a value for each row. Names are constants of this program.
#[derive(Debug)]
pub(crate) struct Rows<'a> {
    pub(crate) table: String,
    pub(crate) count: usize,
    pub(crate) columns: Vec<(&'static str, Values<'a>)>,
    /// What is done with rows that are there already: `ON CONFLICT ..`, or nothing.
    pub(crate) on_conflict: String,
}

/// Values of one column.
#[derive(Debug)]
pub(crate) enum Values<'a> {
    Numbers(Vec<i64>),
    Texts(Vec<&'a str>),
    Json(Vec<Option<String>>),
}

/// Rows of one statement on `SQLite`: one text, prepared once, for all but the last rows.
const SQLITE_ROWS: usize = 64;
/// Rows that are sent to Postgres together.
const POSTGRES_ROWS: usize = 4096;

impl Rows<'_> {
    fn names(&self) -> String {
        self.columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }

    pub(super) async fn into_sqlite(self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let Self { table, count, columns, on_conflict } = &self;
        let row = format!("({})", vec!["?"; columns.len()].join(","));
        let text = |rows: usize| {
            let rows = vec![row.as_str(); rows].join(",");
            AssertSqlSafe(format!("INSERT INTO {table} ({}) VALUES {rows} {on_conflict}", self.names())).into_sql_str()
        };
        let mut whole = None;
        for from in (0..*count).step_by(SQLITE_ROWS) {
            let to = (from + SQLITE_ROWS).min(*count);
            let is_whole = to - from == SQLITE_ROWS;
            let text = if is_whole { whole.get_or_insert_with(|| text(SQLITE_ROWS)).clone() } else { text(to - from) };
            let mut query = sqlx::query(text).persistent(is_whole);
            for row in from..to {
                for (_, values) in columns {
                    query = match values {
                        Values::Numbers(numbers) => query.bind(numbers[row]),
                        Values::Texts(texts) => query.bind(texts[row]),
                        Values::Json(texts) => query.bind(texts[row].as_deref()),
                    };
                }
            }
            query.execute(&mut *connection).await?;
        }
        Ok(())
    }

    /// Each column as one array.
    ///
    /// Not by `COPY`: it sends its data and its end apart, the driver leaves Nagle's algorithm on, and so each of some
    /// ten tables would wait 40 ms for an acknowledgement that the server delays.
    pub(super) async fn into_postgres(self, session: &mut Session) -> Result<(), sqlx::Error> {
        let types = self.columns.iter().map(|(_, values)| match values {
            Values::Numbers(_) => "bigint[]",
            Values::Texts(_) => "text[]",
            Values::Json(_) => "jsonb[]",
        });
        let arrays: Vec<String> = types.zip(1..).map(|(ty, place)| format!("${place}::{ty}")).collect();
        let Self { table, count, columns, on_conflict } = &self;
        let text = format!(
            "INSERT INTO {table} ({}) SELECT * FROM unnest({}) AS given WHERE true {on_conflict}",
            self.names(),
            arrays.join(", ")
        );
        for from in (0..*count).step_by(POSTGRES_ROWS) {
            let rows = from..(from + POSTGRES_ROWS).min(*count);
            let mut query = sqlx::query(AssertSqlSafe(text.clone()));
            for (_, values) in columns {
                query = match values {
                    Values::Numbers(numbers) => query.bind(&numbers[rows.clone()]),
                    Values::Texts(texts) => {
                        query.bind(texts[rows.clone()].iter().map(|text| kept(text)).collect::<Vec<_>>())
                    }
                    Values::Json(texts) => query.bind(&texts[rows.clone()]),
                };
            }
            let limit = session.limit;
            limited(limit, query.execute(session.connection())).await?;
        }
        Ok(())
    }
}
