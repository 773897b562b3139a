//! Rows of a Postgres table that hold many rows each: a column of theirs is an array.
//!
//! The server writes, reads and deletes a row of arrays in a tenth of the time that it takes for its elements as rows of
//! their own, and keeps it compressed.

use sqlx::AssertSqlSafe;

use super::bulk::{Column, Values, names, sparse};
use super::postgres::{Session, kept, limited};
use super::statement::places;

/// Rows with the same commit, project and bucket, as one row of arrays.
#[derive(Debug)]
pub(crate) struct Block<'a> {
    pub(crate) project: &'a str,
    pub(crate) bucket_us: i64,
    /// Of each column a value for each row. The columns of all blocks of a table are the same.
    pub(crate) columns: Vec<Column<'a>>,
}

/// Blocks of one statement, at most; a power of two.
const BLOCKS: usize = 16;

impl Session {
    /// Inserts blocks of a commit. A 0 is null, which takes a bit; an array of nothing else is null itself.
    pub(super) async fn insert_blocks(
        &mut self,
        table: &str,
        commit_id: i64,
        mut blocks: &[Block<'_>],
    ) -> Result<(), sqlx::Error> {
        let Some(Block { columns, .. }) = blocks.first() else { return Ok(()) };
        let (names, width) = (names(columns), 3 + columns.len());
        while !blocks.is_empty() {
            // Powers of two: few statements to prepare, and few to send.
            let at_once = BLOCKS.min(1 << blocks.len().ilog2());
            let (first, rest) = blocks.split_at(at_once);
            let rows = places(at_once, width, 1);
            let text = format!("INSERT INTO {table} (commit_id, project, bucket_us, {names}) VALUES {rows}");
            let mut query = sqlx::query(AssertSqlSafe(text));
            for Block { project, bucket_us, columns } in first {
                query = query.bind(commit_id).bind(kept(project)).bind(bucket_us);
                for (_, values) in columns {
                    query = match values {
                        Values::Numbers(numbers) | Values::Sparse(numbers) => {
                            query.bind(numbers.iter().any(|number| *number != 0).then(|| sparse(numbers)))
                        }
                        Values::Texts(texts) => query.bind(texts.iter().map(|text| kept(text)).collect::<Vec<_>>()),
                        Values::Json(texts) => {
                            query.bind(Some(texts).filter(|texts| texts.iter().any(Option::is_some)))
                        }
                    };
                }
            }
            let limit = self.limit;
            limited(limit, query.execute(self.connection())).await?;
            blocks = rest;
        }
        Ok(())
    }
}
