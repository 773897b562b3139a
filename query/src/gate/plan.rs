//! A plan: only what reads, and no expression that grows out of proportion when the optimizer moves it.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr::{Cast, ScalarFunction, TryCast};
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan, Operator};
use schemas::Problem;

use super::statement::only_select;
use super::{COLUMNS_MAX, refused, too_many};
use crate::functions;

/// Nodes of a plan.
const NODES_MAX: usize = 2000;
/// Parts of an expression once what its columns stand for is put in. The optimizer does that when it moves a filter
/// down, and `x + x` over `x + x` over .. doubles with every level.
const EXPANDED_MAX: usize = 1000;
/// Bytes of constant texts in the columns of one node; each is repeated for every row of a batch.
const CONSTANTS_MAX_BYTES: usize = 64 * 1024;

/// Holds a plan against the allow list, before it is optimized. Returns how many calls it has that make a value.
pub(crate) fn check_plan(plan: &LogicalPlan) -> Result<usize, Problem> {
    let mut walk = Walk::default();
    let walked = plan.apply_with_subqueries(|node| {
        Ok(match walk.visit(node) {
            Ok(()) => TreeNodeRecursion::Continue,
            Err(problem) => {
                walk.refused = Some(problem);
                TreeNodeRecursion::Stop
            }
        })
    });
    if let Some(problem) = walk.refused {
        return Err(problem);
    }
    walked.map_err(|_| only_select())?;
    expanded_sizes(plan)?;
    Ok(walk.calls)
}

#[derive(Debug, Default)]
struct Walk {
    nodes: usize,
    calls: usize,
    refused: Option<Problem>,
}

impl Walk {
    fn visit(&mut self, node: &LogicalPlan) -> Result<(), Problem> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(too_many(NODES_MAX, "steps, with its CTEs put in", "max_nodes"));
        }
        if node.schema().fields().len() > COLUMNS_MAX * 2 {
            return Err(too_many(COLUMNS_MAX * 2, "columns in any of its parts", "max_columns"));
        }
        if self.nodes == 1 && node.schema().fields().len() > COLUMNS_MAX {
            return Err(too_many(COLUMNS_MAX, "columns in its result", "max_columns"));
        }
        if !is_reading(node) {
            return Err(only_select());
        }
        // A subquery in an expression is no input of its node.
        if let LogicalPlan::Subquery(subquery) = node {
            expanded_sizes(&subquery.subquery)?;
        }
        let mut refused = None;
        let walked = node.apply_expressions(|top| {
            top.apply(|expr| {
                Ok(match self.check(expr) {
                    Ok(()) => TreeNodeRecursion::Continue,
                    Err(problem) => {
                        refused = Some(problem);
                        TreeNodeRecursion::Stop
                    }
                })
            })
        });
        match refused {
            Some(problem) => Err(problem),
            None => walked.map(|_| ()).map_err(|_| only_select()),
        }
    }

    fn check(&mut self, expr: &Expr) -> Result<(), Problem> {
        match expr {
            Expr::ScalarFunction(call) => {
                self.calls += 1;
                check_call(call)
            }
            Expr::Case(_) => {
                self.calls += 1;
                Ok(())
            }
            Expr::Cast(Cast { field, .. }) | Expr::TryCast(TryCast { field, .. }) => {
                self.calls += 1;
                check_type(field.data_type())
            }
            Expr::BinaryExpr(binary) => match binary.op {
                Operator::RegexMatch | Operator::RegexIMatch | Operator::RegexNotMatch | Operator::RegexNotIMatch => {
                    check_pattern(&binary.right)
                }
                // `functions` plans it as a call that is bounded.
                Operator::StringConcat => Err(not_allowed("this form of ||")),
                _ => Ok(()),
            },
            Expr::SimilarTo(like) => check_pattern(&like.pattern),
            Expr::GroupingSet(_) => Err(not_allowed("CUBE, ROLLUP and GROUPING SETS")),
            Expr::HigherOrderFunction(_) | Expr::Lambda(_) | Expr::LambdaVariable(_) => Err(not_allowed("a lambda")),
            Expr::Unnest(_) => Err(not_allowed("UNNEST")),
            Expr::ScalarVariable(..) => Err(not_allowed("a variable")),
            _ => Ok(()),
        }
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
    )
}

/// Syntax reaches functions that were never registered: the list is held against the plan, too.
fn check_call(call: &ScalarFunction) -> Result<(), Problem> {
    let name = call.func.name();
    if !functions::is_allowed(name) {
        return Err(refused("sql_not_allowed", format!("the function {name} cannot be used here"), "allowed"));
    }
    match call.args.get(1) {
        Some(pattern) if name.starts_with("regexp_") => check_pattern(pattern),
        _ => Ok(()),
    }
}

/// Every pattern that is compiled is kept while its batch is worked on, and each may take megabytes.
fn check_pattern(pattern: &Expr) -> Result<(), Problem> {
    match pattern {
        Expr::Literal(..) | Expr::Placeholder(_) => Ok(()),
        Expr::Alias(alias) => check_pattern(&alias.expr),
        Expr::Cast(Cast { expr, .. }) | Expr::TryCast(TryCast { expr, .. }) => check_pattern(expr),
        _ => Err(not_allowed("a regular expression that is no constant")),
    }
}

/// A type with a length in it is as long as the caller says, for every row.
fn check_type(ty: &DataType) -> Result<(), Problem> {
    if ty.is_nested() || matches!(ty, DataType::FixedSizeBinary(_)) {
        return Err(refused("sql_not_allowed", format!("nothing can be cast to {ty} here"), "allowed"));
    }
    Ok(())
}

fn not_allowed(what: &'static str) -> Problem {
    refused("sql_not_allowed", format!("{what} cannot be used here"), "allowed")
}

/// For each column of a node, how many parts its expression has once everything below is put in.
fn expanded_sizes(node: &LogicalPlan) -> Result<Vec<usize>, Problem> {
    let inputs: Vec<Vec<usize>> = node.inputs().into_iter().map(expanded_sizes).collect::<Result<_, _>>()?;
    let first = || inputs.first().cloned().unwrap_or_default();
    let mut sizes = match node {
        LogicalPlan::Projection(of) => of.expr.iter().map(|expr| size(expr, of.input.schema(), &first())).collect(),
        LogicalPlan::Aggregate(of) => {
            of.group_expr.iter().map(|expr| size(expr, of.input.schema(), &first())).collect()
        }
        LogicalPlan::Filter(of) => {
            at_most(size(&of.predicate, of.input.schema(), &first()))?;
            first()
        }
        LogicalPlan::Union(_) => {
            let columns = inputs.iter().map(Vec::len).max().unwrap_or(0);
            (0..columns)
                .map(|idx| inputs.iter().filter_map(|input| input.get(idx)).copied().max().unwrap_or(1))
                .collect()
        }
        LogicalPlan::Join(of) => {
            let both = inputs.concat();
            if let (Some(filter), Ok(schema)) = (&of.filter, of.left.schema().join(of.right.schema())) {
                at_most(size(filter, &schema, &both))?;
            }
            both
        }
        LogicalPlan::Window(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Subquery(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Distinct(Distinct::All(_)) => first(),
        _ => Vec::new(),
    };
    sizes.resize(node.schema().fields().len(), 1);
    sizes.iter().try_for_each(|size| at_most(*size))?;
    Ok(sizes)
}

fn at_most(size: usize) -> Result<(), Problem> {
    if size > EXPANDED_MAX {
        return Err(too_many(EXPANDED_MAX, "parts in an expression, with what its columns stand for", "max_expanded"));
    }
    Ok(())
}

/// Parts of an expression; a column counts as what it stands for, a list of constants as one.
fn size(expr: &Expr, schema: &DFSchema, columns: &[usize]) -> usize {
    let mut parts: usize = 0;
    let _ = expr.apply(|part| {
        parts = parts.saturating_add(match part {
            Expr::Column(column) => {
                schema.maybe_index_of_column(column).and_then(|idx| columns.get(idx)).copied().unwrap_or(1)
            }
            Expr::Literal(..) => 0,
            // Its type is worked out anew at every step of the way.
            Expr::ScalarFunction(_) => 3,
            _ => 1,
        });
        Ok(TreeNodeRecursion::Continue)
    });
    parts.max(1)
}

/// Holds an optimized plan against the bytes of its constants. Whatever made them (literals, parameters, functions of
/// them, columns of another query) they are literals by then.
pub(crate) fn check_constants(plan: &LogicalPlan) -> Result<(), Problem> {
    let mut longest = 0;
    let _ = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Projection(projection) = node {
            longest = longest.max(projection.expr.iter().map(constant_bytes).sum());
        }
        Ok(TreeNodeRecursion::Continue)
    });
    if longest > CONSTANTS_MAX_BYTES {
        return Err(too_many(CONSTANTS_MAX_BYTES, "bytes of constants in one SELECT", "max_constants"));
    }
    Ok(())
}

fn constant_bytes(expr: &Expr) -> usize {
    let mut bytes = 0;
    let _ = expr.apply(|part| {
        if let Expr::Literal(value, _) = part {
            bytes += value_bytes(value);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    bytes
}

fn value_bytes(value: &ScalarValue) -> usize {
    value.size() - size_of::<ScalarValue>().min(value.size())
}
