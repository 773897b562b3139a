//! What SQL may be: held against limits as text, then against an allow list as a plan.

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use schemas::Problem;

/// Planning is quadratic in operators and never yields (2 000 terms took 3 s), so the text is bounded before it.
const TEXT_MAX_BYTES: usize = 64 * 1024;
const OPERATORS_MAX: usize = 500;
const COMMAS_MAX: usize = 10_000;
const SET_OPERATIONS_MAX: usize = 50;
const JOINS_MAX: usize = 20;
const NESTING_MAX: usize = 50;
/// A long literal in a function that multiplies it is a bomb.
const LITERAL_MAX_BYTES: usize = 1024;
/// Columns of a result.
const COLUMNS_MAX: usize = 200;

/// Holds the text against the limits.
pub(crate) fn check_text(sql: &str) -> Result<(), Problem> {
    if sql.len() > TEXT_MAX_BYTES {
        return Err(refused("sql_too_long", format!("a statement may have {TEXT_MAX_BYTES} bytes"), "max_bytes"));
    }
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, sql)
        .tokenize()
        .map_err(|error| refused("sql_invalid", error.to_string(), "syntax"))?;
    let (mut operators, mut commas, mut set_operations, mut joins, mut depth, mut deepest) = (0, 0, 0, 0, 0_usize, 0);
    for token in &tokens {
        match token {
            Token::Comma => commas += 1,
            Token::LParen | Token::LBracket => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            Token::RParen | Token::RBracket => depth = depth.saturating_sub(1),
            Token::Word(word) => match word.keyword {
                Keyword::AND | Keyword::OR | Keyword::NOT | Keyword::CASE | Keyword::WHEN => operators += 1,
                Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT => set_operations += 1,
                Keyword::JOIN => joins += 1,
                _ => {}
            },
            Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text) if text.len() > LITERAL_MAX_BYTES => {
                return Err(too_many(format!("a text literal may have {LITERAL_MAX_BYTES} bytes"), "max_literal"));
            }
            Token::Whitespace(_)
            | Token::Number(..)
            | Token::SingleQuotedString(_)
            | Token::DoubleQuotedString(_)
            | Token::Period
            | Token::SemiColon
            | Token::Placeholder(_) => {}
            _ => operators += 1,
        }
    }
    for (count, max, what, rule) in [
        (operators, OPERATORS_MAX, "operators", "max_operators"),
        (commas, COMMAS_MAX, "list items", "max_list_items"),
        (set_operations, SET_OPERATIONS_MAX, "set operations", "max_set_operations"),
        (joins, JOINS_MAX, "joins", "max_joins"),
        (deepest, NESTING_MAX, "levels of nesting", "max_nesting"),
    ] {
        if count > max {
            return Err(too_many(format!("a statement may have {max} {what}, this one has {count}"), rule));
        }
    }
    Ok(())
}

/// Holds the plan against the allow list: only reading.
pub(crate) fn check_plan(plan: &LogicalPlan) -> Result<(), Problem> {
    if plan.schema().fields().len() > COLUMNS_MAX {
        return Err(too_many(format!("a result may have {COLUMNS_MAX} columns"), "max_columns"));
    }
    let mut refused_node = None;
    let walked = plan.apply_with_subqueries(|node| {
        if is_reading(node) {
            return Ok(TreeNodeRecursion::Continue);
        }
        refused_node = Some(node.display().to_string());
        Ok(TreeNodeRecursion::Stop)
    });
    match (walked, refused_node) {
        (Ok(_), None) => Ok(()),
        _ => Err(refused("sql_not_allowed", "only SELECT is allowed, and no recursion", "read_only")),
    }
}

const fn is_reading(node: &LogicalPlan) -> bool {
    matches!(
        node,
        LogicalPlan::Projection(_)
            | LogicalPlan::Filter(_)
            | LogicalPlan::Window(_)
            | LogicalPlan::Aggregate(_)
            | LogicalPlan::Sort(_)
            | LogicalPlan::Join(_)
            | LogicalPlan::Union(_)
            | LogicalPlan::TableScan(_)
            | LogicalPlan::EmptyRelation(_)
            | LogicalPlan::Subquery(_)
            | LogicalPlan::SubqueryAlias(_)
            | LogicalPlan::Limit(_)
            | LogicalPlan::Values(_)
            | LogicalPlan::Distinct(_)
            | LogicalPlan::Repartition(_)
            | LogicalPlan::Unnest(_)
    )
}

fn too_many(detail: String, rule: &'static str) -> Problem {
    refused("sql_too_large", detail, rule)
}

pub(crate) fn refused(
    code: &'static str,
    detail: impl Into<std::borrow::Cow<'static, str>>,
    rule: &'static str,
) -> Problem {
    Problem::new(400, code, detail).at("/sql", rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(sql: &str) -> Option<&'static str> {
        check_text(sql).err().map(|problem| problem.errors[0].rule)
    }

    #[test]
    fn ordinary_statements_pass() {
        for sql in [
            "SELECT count(*) FROM events",
            "SELECT type, count(*) FROM events WHERE corrected_at > '2026-11-01' AND data ->> 'x' = 'y' GROUP BY 1 ORDER BY 2 DESC LIMIT 10",
            "WITH a AS (SELECT 1 AS x) SELECT * FROM a WHERE x IN ($1, $2)",
        ] {
            assert_eq!(code(sql), None, "{sql}");
        }
    }

    #[test]
    fn statements_that_would_stall_the_planner_are_refused_by_their_limit() {
        let many = |part: &str, count: usize| format!("SELECT {}1", part.repeat(count));
        assert_eq!(code(&many("1+", 501)), Some("max_operators"));
        assert_eq!(code(&format!("SELECT 1 WHERE {}true", "true OR ".repeat(501))), Some("max_operators"));
        assert_eq!(code(&many("1,", 10_001)), Some("max_list_items"));
        assert_eq!(code(&"SELECT 1 UNION ALL ".repeat(51)), Some("max_set_operations"));
        assert_eq!(code(&format!("SELECT {}1{}", "(".repeat(51), ")".repeat(51))), Some("max_nesting"));
        assert_eq!(code(&format!("SELECT '{}'", "x".repeat(1025))), Some("max_literal"));
        assert_eq!(code(&"x".repeat(70_000)), Some("max_bytes"));
        assert_eq!(code("SELECT 'open"), Some("syntax"));
    }
}
