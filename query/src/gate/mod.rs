//! What SQL may be. Three layers, each of which holds alone: [`text`] before parsing, [`statement`] before planning,
//! [`plan`] before running.
//!
//! What they leave out on purpose, beside everything that writes: recursion, `UNNEST`, `CUBE`, `ROLLUP` and
//! `GROUPING SETS`, structs, nested lists, regular expressions that are no constants, and the functions that
//! [`crate::functions`] does not list. Each of them can make the server work or allocate without a bound.

mod plan;
mod statement;
#[cfg(test)]
mod tests;
mod text;

use std::borrow::Cow;

use schemas::Problem;

pub(crate) use plan::{check_constants, check_plan};
pub(crate) use statement::{Parsed, parse};
pub(crate) use text::check_text;

/// A long literal in a function that multiplies it is a bomb.
const LITERAL_MAX_BYTES: usize = 1024;
/// And-chains and sums: planning is quadratic in them and never yields (2 000 terms took 3 s).
const OPERATORS_MAX: usize = 500;
/// Columns of a result, and of every part of a statement.
const COLUMNS_MAX: usize = 200;

fn too_many(max: usize, what: &str, rule: &'static str) -> Problem {
    refused("sql_too_large", format!("a statement may have {max} {what}"), rule)
}

pub(crate) fn refused(code: &'static str, detail: impl Into<Cow<'static, str>>, rule: &'static str) -> Problem {
    Problem::new(400, code, detail).at("/sql", rule)
}
