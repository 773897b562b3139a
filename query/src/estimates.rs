//! Whether a plan reads anything that is right within [`RELATIVE_ERROR`] only: a percentile.
//!
//! [`RELATIVE_ERROR`]: schemas::fold::sketch::RELATIVE_ERROR

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan};
use schemas::rollups::OF_VIEWS;

use crate::functions::PERCENTILE_OF_BINS;

/// Whether there are estimates in an optimized plan: its tables give out no more columns than it needs.
pub(crate) fn are_in(plan: &LogicalPlan) -> bool {
    let mut found = false;
    let _ = plan.apply_with_subqueries(|node| {
        found |= match node {
            LogicalPlan::TableScan(scan) => {
                scan.projected_schema.fields().iter().any(|field| is_percentile(field.name()))
            }
            LogicalPlan::Aggregate(aggregate) => aggregate.aggr_expr.iter().any(is_estimate),
            LogicalPlan::Window(window) => window.window_expr.iter().any(is_estimate),
            _ => false,
        };
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    found
}

/// Columns of rollups, and of `views`, which names its own likewise.
fn is_percentile(column: &str) -> bool {
    OF_VIEWS.iter().any(|derived| derived.is_percentile() && derived.name == column)
}

fn is_estimate(expr: &Expr) -> bool {
    expr.exists(|part| {
        Ok(match part {
            Expr::AggregateFunction(call) => call.func.name() == PERCENTILE_OF_BINS,
            Expr::WindowFunction(call) => call.fun.name() == PERCENTILE_OF_BINS,
            _ => false,
        })
    })
    .unwrap_or(true)
}
