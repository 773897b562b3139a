//! A table of the lake at one commit, as one caller may see it.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DFSchema, DataFusionError, Result};
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, col, lit};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::filter::FilterExecBuilder;
use datafusion::prelude::SessionContext;
use warehouse::tables::{LAKE_TABLES, LakeTable};
use warehouse::{DataFile, Snapshot};

use crate::prune::prune;
use crate::scope::Scope;

/// The object store that the engine reads the lake through.
pub(crate) const LAKE_URL: &str = "lake://files";

/// Columns that need scope `pii:read`.
const BYTES_COLUMNS: [&str; 2] = ["body", "raw"];

/// A table of the lake at one commit, restricted to what a scope may see.
///
/// The restriction is applied by this table's own scan, below whatever is planned on it.
pub(crate) struct LakeScan {
    table: &'static LakeTable,
    files: Arc<[DataFile]>,
    /// The columns that may be seen.
    schema: SchemaRef,
    /// True for the rows that may be seen.
    restriction: Expr,
}

impl fmt::Debug for LakeScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LakeScan")
            .field("table", &self.table.name)
            .field("files", &self.files.len())
            .finish_non_exhaustive()
    }
}

/// The columns of a table that `scope` may see. With a person only tables that know persons can be seen.
pub(crate) fn visible_schema(table: &LakeTable, scope: &Scope) -> Option<SchemaRef> {
    let full = table.schema();
    if scope.person.is_some() {
        full.field_with_name("person_id").ok()?;
    }
    let visible =
        full.fields().iter().filter(|field| scope.sees_bytes || !BYTES_COLUMNS.contains(&field.name().as_str()));
    Some(Arc::new(Schema::new(visible.cloned().collect::<Vec<_>>())))
}

impl LakeScan {
    /// The table as `scope` may see it.
    pub(crate) fn new(table: &'static LakeTable, snapshot: &Snapshot, scope: &Scope) -> Option<Self> {
        let schema = visible_schema(table, scope)?;
        let mut restriction = col("project").eq(lit(scope.project.as_ref()));
        if let Some(person) = &scope.person {
            restriction = restriction.and(col("person_id").eq(lit(person.as_ref())));
        }
        Some(Self { table, files: snapshot.files(table), schema, restriction })
    }
}

/// Puts all tables of the lake that `scope` may see into a session.
pub(crate) fn add_lake(context: &SessionContext, snapshot: &Snapshot, scope: &Scope) -> Result<()> {
    for table in LAKE_TABLES {
        if let Some(scan) = LakeScan::new(table, snapshot, scope) {
            context.register_table(table.name, Arc::new(scan))?;
        }
    }
    Ok(())
}

#[async_trait]
impl TableProvider for LakeScan {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let full = self.table.schema();
        let wanted: Vec<usize> = match projection {
            Some(projection) => projection.clone(),
            None => (0..self.schema.fields().len()).collect(),
        };
        let output = Arc::new(self.schema.project(&wanted)?);
        let df_schema = DFSchema::try_from(full.as_ref().clone())?;
        // The restriction comes first: rows that may not be seen never reach a filter of the caller's, whose failure
        // would tell about them.
        let all_filters = std::iter::once(self.restriction.clone()).chain(filters.iter().cloned());
        let wanted_rows = conjunction(all_filters).unwrap_or_else(|| lit(true));
        let pruning = state.create_physical_expr(wanted_rows, &df_schema)?;
        let files = prune(self.table, &self.files, Arc::clone(&full), &pruning);
        if files.is_empty() {
            return Ok(Arc::new(EmptyExec::new(output)));
        }

        // Read what is wanted and what the restriction looks at; give out only what is wanted.
        let mut read: Vec<usize> =
            wanted.iter().map(|idx| full.index_of(self.schema.field(*idx).name())).collect::<Result<_, _>>()?;
        for column in self.restriction.column_refs() {
            let idx = full.index_of(&column.name)?;
            if !read.contains(&idx) {
                read.push(idx);
            }
        }
        let source = ParquetSource::new(Arc::clone(&full)).with_predicate(pruning);
        let url = ObjectStoreUrl::parse(LAKE_URL)?;
        let config = FileScanConfigBuilder::new(url, Arc::new(source))
            .with_file_groups(groups(&files, state.config().target_partitions()))
            .with_projection_indices(Some(read.clone()))?
            .build();
        let scan = DataSourceExec::from_data_source(config);
        let read_schema = DFSchema::try_from(full.project(&read)?)?;
        let restriction = state.create_physical_expr(self.restriction.clone(), &read_schema)?;
        let filter = FilterExecBuilder::new(restriction, scan)
            .apply_projection(Some((0..wanted.len()).collect()))?
            .build()
            .map_err(|error| DataFusionError::Context("restrict a table to its scope".into(), Box::new(error)))?;
        Ok(Arc::new(filter))
    }
}

/// The files dealt out to `count` groups that are read at once, the largest first to the group with the least bytes.
fn groups(files: &[DataFile], count: usize) -> Vec<FileGroup> {
    let mut by_size: Vec<&DataFile> = files.iter().collect();
    by_size.sort_unstable_by_key(|file| (std::cmp::Reverse(file.bytes), file.data_file_id));
    let mut groups: Vec<(u64, Vec<PartitionedFile>)> = vec![(0, Vec::new()); count.clamp(1, files.len())];
    for file in by_size {
        if let Some(group) = groups.iter_mut().min_by_key(|(bytes, _)| *bytes) {
            group.0 += file.bytes;
            group.1.push(PartitionedFile::new(file.path.clone(), file.bytes));
        }
    }
    groups.into_iter().map(|(_, files)| FileGroup::new(files)).collect()
}

#[cfg(test)]
mod tests {
    use warehouse::{AccessKeys, S3Location};

    use crate::QueryConfig;
    use crate::answer::Refused;
    use crate::testing::{Fixture, row};

    #[tokio::test]
    async fn a_row_of_another_project_never_reaches_the_callers_filter() {
        let fixture = Fixture::with_events(&[
            row("ours", &[("event_id", "7")]),
            row("theirs", &[("event_id", "theirs-and-no-number")]),
        ])
        .await;
        for sql in [
            "SELECT event_id FROM events WHERE CAST(event_id AS bigint) = 7",
            "SELECT event_id FROM events WHERE CAST(event_id AS bigint) > 0 AND project <> 'x'",
            "SELECT event_id FROM (SELECT event_id, CAST(event_id AS bigint) AS n FROM events) WHERE n > 0",
            "SELECT a.event_id FROM events a JOIN events b ON CAST(a.event_id AS bigint) = CAST(b.event_id AS bigint)",
        ] {
            assert_eq!(fixture.rows("ours", sql).await.unwrap(), serde_json::json!([{"event_id": "7"}]), "{sql}");
        }
        // Its own project sees the failure, and as its own mistake.
        let sql = "SELECT event_id FROM events WHERE CAST(event_id AS bigint) = 7";
        let Err(Refused(problem)) = fixture.rows("theirs", sql).await else { panic!("it is no number") };
        assert_eq!((problem.status, problem.code), (400, "sql_failed"));
    }

    /// Needs a server, as `deploy/s3/s3` starts one.
    #[tokio::test]
    async fn a_bucket_is_asked_once_for_what_is_read_again_and_again() {
        let Some(endpoint) = std::env::var_os("STREAMGAUGE_TEST_S3").and_then(|value| value.into_string().ok()) else {
            println!("skipped: STREAMGAUGE_TEST_S3 is not set");
            return;
        };
        let folder = tempfile::tempdir().unwrap();
        let name = folder.path().file_name().unwrap().to_str().unwrap().trim_start_matches('.').to_owned();
        let mut lake: S3Location = format!("s3://streamgauge/test/query/{name}").parse().unwrap();
        lake.endpoint = Some(endpoint);
        lake.keys = Some(AccessKeys { id: "test".into(), secret: "test".into() });
        // Texts that do not compress: the file has several blocks.
        let digits = |n: u64| format!("{:016x}", n.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29) ^ (n << 40));
        let rows: Vec<_> = (0..30_000)
            .map(|n| {
                let (id, long) = (digits(n), [digits(n * 7), digits(n * 11), digits(n * 13)].concat());
                row("p", &[("event_id", &id), ("session_id", &digits(n / 100)), ("data", &long)])
            })
            .collect();
        let fixture = Fixture::with_lake(folder, lake.into(), &rows, QueryConfig::default()).await.reopened().await;
        let gets = || fixture.query.shared.warehouse.lake().requests().gets;
        let mut asked = Vec::new();
        for sql in [
            "SELECT count(*) AS n FROM events",
            "SELECT count(*) AS n FROM events",
            "SELECT count(DISTINCT session_id) AS n FROM events",
            "SELECT max(data) AS n FROM events",
            "SELECT max(data) AS n FROM events",
            "SELECT count(DISTINCT event_id) AS n FROM events WHERE data > '8'",
        ] {
            let before = gets();
            let rows = fixture.rows("p", sql).await.unwrap();
            assert!(rows[0]["n"].as_i64() != Some(0), "{sql} {rows}");
            asked.push(gets() - before);
        }
        println!("requests by query: {asked:?}");
        assert!(asked[0] > 0 && asked[0] <= 3, "{asked:?}");
        assert!(asked.iter().all(|gets| *gets <= 4), "{asked:?}");
        assert_eq!((asked[1], asked[4]), (0, 0), "{asked:?}");
    }
}
