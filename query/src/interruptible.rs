//! What makes many rows of few gives others their turn: only then can a query be ended.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;

/// Puts a [`CooperativeExec`] above every join. The engine has one above each scan alone, and between two batches of a scan a
/// join may make billions of rows.
#[derive(Debug)]
pub(crate) struct InterruptibleJoins;

impl PhysicalOptimizerRule for InterruptibleJoins {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            // All that has more than one input, so that no kind of join is forgotten.
            if node.children().len() < 2 {
                return Ok(Transformed::no(node));
            }
            Ok(Transformed::yes(Arc::new(CooperativeExec::new(node)) as Arc<dyn ExecutionPlan>))
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "interruptible_joins"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::QueryConfig;
    use crate::answer::Refused;
    use crate::testing::{Fixture, row};

    #[tokio::test]
    async fn a_join_that_makes_many_rows_of_few_ends_and_gives_its_place_back() {
        let rows: Vec<_> = (0..300).map(|n| row("p", &[("event_id", &format!("{n}"))])).collect();
        let config = QueryConfig { concurrent: 1, timeout: Duration::from_secs(1), ..QueryConfig::default() };
        let fixture = Fixture::with_config(&rows, config).await;
        let tables = "events a, events b, events c, events d, events e";
        let endless = format!("SELECT max(a.event_id || e.event_id) AS n FROM {tables}");
        let Err(Refused(problem)) = fixture.rows("p", &endless).await else { panic!("it ended") };
        assert_eq!((problem.status, problem.code), (504, "query_timeout"));
        // It has stopped, so the next one finds the only place free.
        let counted = fixture.rows("p", &format!("SELECT count(*) AS n FROM {tables}")).await.unwrap();
        assert_eq!(counted, serde_json::json!([{ "n": 300_i64.pow(5) }]));
    }
}
