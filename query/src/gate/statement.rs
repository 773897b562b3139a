//! A parsed statement: one query, small in every direction, and no larger when its CTEs are put in.

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;

use datafusion::execution::session_state::SessionState;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, FunctionArguments, GroupByExpr, Ident, ObjectName, OrderByKind, Query, Select,
    Statement as SqlStatement, Visit, Visitor,
};
use schemas::Problem;

use super::{COLUMNS_MAX, OPERATORS_MAX, refused, too_many};
use crate::answer::Refused;
use crate::engine::{CATALOGUE, SCHEMA};
use crate::failures::refusal;

/// Tables that a statement may read: every mention counts, a CTE as often as it is mentioned.
const TABLES_MAX: usize = 20;
/// SELECTs of a statement, counted the same way.
const SELECTS_MAX: usize = 200;
/// Arguments of a function, items of a list, expressions to group or sort by.
const ARGUMENTS_MAX: usize = 64;
/// How deep an expression can get by operators, and by brackets.
const DEPTH_MAX: usize = OPERATORS_MAX + 20;
/// JSON operators one after the other, and WITHs in one another: the planner's work doubles with each.
const DOUBLING_MAX: usize = 8;
/// `catalogue.schema.table.column`.
const NAME_PARTS_MAX: usize = 4;

/// A statement that may be planned.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) statement: Statement,
    /// The tables of ours that it reads, by name.
    pub(crate) tables: BTreeSet<String>,
}

/// Parses a text and holds the statement against the limits.
pub(crate) fn parse(state: &SessionState, sql: &str) -> Result<Parsed, Refused> {
    let dialect = state.config().options().sql_parser.dialect;
    let statement = state.sql_to_statement(sql, &dialect).map_err(refusal)?;
    let query = match &statement {
        Statement::Statement(inner) => match inner.as_ref() {
            SqlStatement::Query(query) => query,
            _ => return Err(only_select().into()),
        },
        _ => return Err(only_select().into()),
    };
    let mut reading = Reading::default();
    match query.visit(&mut reading) {
        ControlFlow::Continue(()) => Ok(Parsed { tables: reading.tables, statement }),
        ControlFlow::Break(problem) => Err(problem.into()),
    }
}

pub(super) fn only_select() -> Problem {
    refused("sql_not_allowed", "only SELECT is allowed, and not everything in it", "read_only")
}

fn not_allowed(what: &'static str) -> ControlFlow<Problem> {
    ControlFlow::Break(refused("sql_not_allowed", format!("{what} cannot be used here"), "allowed"))
}

/// What a query comes to when the CTEs it mentions are put in: the planner does that.
#[derive(Debug, Clone, Copy, Default)]
struct Weight {
    tables: usize,
    selects: usize,
}

/// Walks a statement.
#[derive(Debug, Default)]
struct Reading {
    tables: BTreeSet<String>,
    /// CTEs that can be mentioned here, innermost last.
    known: Vec<(String, Weight)>,
    /// Queries under way, innermost last, and how many CTEs were known before each.
    open: Vec<(Weight, usize)>,
    /// CTEs whose query is not walked yet, by the address of the query.
    bodies: HashMap<usize, String>,
    /// SELECTs as written.
    selects: usize,
    depth: usize,
    json_depth: usize,
    with_depth: usize,
}

impl Reading {
    fn add(&mut self, weight: Weight) -> ControlFlow<Problem> {
        let Some((sum, _)) = self.open.last_mut() else { return ControlFlow::Continue(()) };
        sum.tables = sum.tables.saturating_add(weight.tables);
        sum.selects = sum.selects.saturating_add(weight.selects);
        if sum.tables > TABLES_MAX {
            return ControlFlow::Break(too_many(TABLES_MAX, "tables, with its CTEs put in", "max_tables"));
        }
        at_most(sum.selects, SELECTS_MAX, "SELECTs, with its CTEs put in", "max_selects")
    }
}

fn at_most(count: usize, max: usize, what: &str, rule: &'static str) -> ControlFlow<Problem> {
    if count > max { ControlFlow::Break(too_many(max, what, rule)) } else { ControlFlow::Continue(()) }
}

fn address(query: &Query) -> usize {
    std::ptr::from_ref(query).addr()
}

/// A name as the planner compares it.
fn normalized(name: &Ident) -> String {
    if name.quote_style.is_some() { name.value.clone() } else { name.value.to_lowercase() }
}

const fn is_json_operator(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::BinaryOp {
            op: BinaryOperator::Arrow
                | BinaryOperator::LongArrow
                | BinaryOperator::HashArrow
                | BinaryOperator::HashLongArrow
                | BinaryOperator::Question,
            ..
        }
    )
}

impl Visitor for Reading {
    type Break = Problem;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Problem> {
        self.open.push((Weight::default(), self.known.len()));
        if let Some(with) = &query.with {
            if with.recursive {
                return not_allowed("WITH RECURSIVE");
            }
            self.with_depth += 1;
            at_most(self.with_depth, DOUBLING_MAX, "WITHs in one another", "max_nesting")?;
            let bodies = with.cte_tables.iter().map(|cte| (address(&cte.query), normalized(&cte.alias.name)));
            self.bodies.extend(bodies);
        }
        match query.order_by.as_ref().map(|order| &order.kind) {
            Some(OrderByKind::Expressions(terms)) => {
                at_most(terms.len(), ARGUMENTS_MAX, "expressions to sort by", "max_arguments")
            }
            _ => ControlFlow::Continue(()),
        }
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<Problem> {
        self.with_depth -= usize::from(query.with.is_some());
        let Some((weight, known_before)) = self.open.pop() else { return ControlFlow::Continue(()) };
        self.known.truncate(known_before);
        match self.bodies.remove(&address(query)) {
            Some(name) => {
                self.known.push((name, weight));
                ControlFlow::Continue(())
            }
            None => self.add(weight),
        }
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Problem> {
        self.selects += 1;
        at_most(self.selects, SELECTS_MAX, "SELECTs", "max_selects")?;
        at_most(select.projection.len(), COLUMNS_MAX, "columns in a SELECT", "max_columns")?;
        if let GroupByExpr::Expressions(terms, _) = &select.group_by {
            at_most(terms.len(), ARGUMENTS_MAX, "expressions to group by", "max_arguments")?;
        }
        self.add(Weight { tables: 0, selects: 1 })
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<Problem> {
        let parts: Option<Vec<String>> = relation.0.iter().map(|part| part.as_ident().map(normalized)).collect();
        let parts = parts.unwrap_or_default();
        match parts.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            [name] => {
                if let Some((_, weight)) = self.known.iter().rev().find(|(known, _)| known == name) {
                    return self.add(*weight);
                }
                self.tables.insert((*name).to_owned());
            }
            [SCHEMA, name] | [CATALOGUE, SCHEMA, name] => {
                self.tables.insert((*name).to_owned());
            }
            // Nothing of ours, or nothing at all: the planner says so.
            _ => {}
        }
        self.add(Weight { tables: 1, selects: 0 })
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Problem> {
        self.depth += 1;
        at_most(self.depth, DEPTH_MAX, "operators in one another", "max_operators")?;
        self.json_depth += usize::from(is_json_operator(expr));
        at_most(self.json_depth, DOUBLING_MAX, "JSON operators one after the other", "max_operators")?;
        match expr {
            Expr::Function(function) => match &function.args {
                FunctionArguments::List(list) => {
                    at_most(list.args.len(), ARGUMENTS_MAX, "arguments of a function", "max_arguments")
                }
                _ => ControlFlow::Continue(()),
            },
            Expr::Array(array) => at_most(array.elem.len(), ARGUMENTS_MAX, "items in an array", "max_arguments"),
            Expr::CompoundIdentifier(parts) => {
                at_most(parts.len(), NAME_PARTS_MAX, "parts of a name", "max_identifier")
            }
            Expr::Cube(_) | Expr::Rollup(_) | Expr::GroupingSets(_) => not_allowed("CUBE, ROLLUP and GROUPING SETS"),
            _ => ControlFlow::Continue(()),
        }
    }

    fn post_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Problem> {
        self.depth -= 1;
        self.json_depth -= usize::from(is_json_operator(expr));
        ControlFlow::Continue(())
    }
}
