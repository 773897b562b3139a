//! Window functions keep what they read, and the engine does not count it: this does.

use std::fmt;
use std::sync::Arc;

use arrow::array::Array;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, internal_err};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
};
use futures::StreamExt;

/// Puts [`Counted`] below every window function.
#[derive(Debug)]
pub(crate) struct CountWindows;

impl PhysicalOptimizerRule for CountWindows {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            if !node.is::<WindowAggExec>() && !node.is::<BoundedWindowAggExec>() {
                return Ok(Transformed::no(node));
            }
            let inputs = node.children().into_iter().map(|input| {
                let input: Arc<dyn ExecutionPlan> = Arc::new(Counted { input: Arc::clone(input) });
                input
            });
            let inputs = inputs.collect();
            let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep);
            node.replace_children(inputs, options).map(Transformed::yes)
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "count_windows"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Passes everything on, and reserves as much of the memory pool while it does.
#[derive(Debug)]
struct Counted {
    input: Arc<dyn ExecutionPlan>,
}

impl DisplayAs for Counted {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Counted")
    }
}

impl ExecutionPlan for Counted {
    fn name(&self) -> &'static str {
        "Counted"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match <[_; 1]>::try_from(children) {
            Ok([input]) => Ok(Arc::new(Self { input })),
            Err(_) => internal_err!("one input is counted"),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let reservation = MemoryConsumer::new("WindowInput").register(context.memory_pool());
        let input = self.input.execute(partition, context)?;
        // Batches may be parts of one another, or the same one again and again, and are copied one behind the other: each
        // counts as what it shows.
        let counted = input.map(move |batch| {
            let batch = batch?;
            for column in batch.columns() {
                reservation.try_grow(column.to_data().get_slice_memory_size()?)?;
            }
            Ok(batch)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.input.schema(), counted)))
    }
}
