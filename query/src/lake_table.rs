//! A table of the lake at one commit, as one caller may see it.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{DFSchema, DataFusionError, Result, Statistics};
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
use datafusion::physical_plan::union::UnionExec;
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
/// The restriction is applied by this table's own scan, below whatever is planned on it; in files that have rows of one
/// project only, by leaving out those of others.
pub(crate) struct LakeScan {
    table: &'static LakeTable,
    files: Arc<[DataFile]>,
    /// The columns that may be seen.
    schema: SchemaRef,
    project: Arc<str>,
    /// True for the rows of the person whose rows may be seen, if that is not everybody.
    of_person: Option<Expr>,
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
        let of_person = scope.person.as_ref().map(|person| col("person_id").eq(lit(person.as_ref())));
        Some(Self { table, files: snapshot.files(table), schema, project: Arc::clone(&scope.project), of_person })
    }

    /// Reads files of which only rows for which `restriction` is true may be seen.
    fn read(
        &self,
        state: &dyn Session,
        files: &[DataFile],
        restriction: Option<Expr>,
        (wanted, filters): (&[usize], &[Expr]),
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let full = self.table.schema();
        // Read what is wanted and what the restriction looks at; give out only what is wanted.
        let mut read: Vec<usize> =
            wanted.iter().map(|idx| full.index_of(self.schema.field(*idx).name())).collect::<Result<_, _>>()?;
        for column in restriction.iter().flat_map(Expr::column_refs) {
            let idx = full.index_of(&column.name)?;
            if !read.contains(&idx) {
                read.push(idx);
            }
        }
        let mut source = ParquetSource::new(Arc::clone(&full));
        // The restriction comes first: rows that may not be seen never reach a filter of the caller's, whose failure
        // would tell about them.
        if let Some(wanted_rows) = conjunction(restriction.iter().chain(filters).cloned()) {
            let df_schema = DFSchema::try_from(full.as_ref().clone())?;
            source = source.with_predicate(state.create_physical_expr(wanted_rows, &df_schema)?);
        }
        let rows = files.iter().map(|file| usize::try_from(file.rows).unwrap_or(0)).sum();
        let statistics = Statistics { num_rows: Precision::Exact(rows), ..Statistics::new_unknown(&full) };
        let config = FileScanConfigBuilder::new(ObjectStoreUrl::parse(LAKE_URL)?, Arc::new(source))
            .with_file_groups(groups(files, state.config().target_partitions()))
            .with_projection_indices(Some(read.clone()))?
            .with_statistics(statistics)
            .build();
        let scan = DataSourceExec::from_data_source(config);
        let Some(restriction) = restriction else { return Ok(scan) };
        let read_schema = DFSchema::try_from(full.project(&read)?)?;
        let filter = FilterExecBuilder::new(state.create_physical_expr(restriction, &read_schema)?, scan)
            .apply_projection(Some((0..wanted.len()).collect()))?
            .build()
            .map_err(|error| DataFusionError::Context("restrict a table to its scope".into(), Box::new(error)))?;
        Ok(Arc::new(filter))
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
        let of_project = col("project").eq(lit(self.project.as_ref()));
        let restriction = self.of_person.iter().cloned().fold(of_project, Expr::and);
        let wanted_rows = filters.iter().cloned().fold(restriction.clone(), Expr::and);
        let pruning = state.create_physical_expr(wanted_rows, &DFSchema::try_from(full.as_ref().clone())?)?;
        let files = prune(self.table, &self.files, full, &pruning);
        // Whose rows they are need not be looked at in files that have no others.
        let is_of_project = |file: &DataFile| file.project.as_deref() == Some(&*self.project);
        let (of_project, mixed): (Vec<DataFile>, Vec<DataFile>) = files.into_iter().partition(is_of_project);
        let mut parts = Vec::with_capacity(2);
        for (files, restriction) in [(of_project, self.of_person.clone()), (mixed, Some(restriction))] {
            if !files.is_empty() {
                parts.push(self.read(state, &files, restriction, (&wanted, filters))?);
            }
        }
        match parts.len() {
            0 => Ok(Arc::new(EmptyExec::new(Arc::new(self.schema.project(&wanted)?)))),
            1 => Ok(parts.remove(0)),
            _ => UnionExec::try_new(parts),
        }
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

    #[tokio::test]
    async fn each_project_sees_its_rows_in_files_of_its_own_and_in_mixed_ones() {
        let of = |project: &str, ids: &[&str]| -> Vec<_> {
            ids.iter().map(|id| row(project, &[("event_id", id)])).collect()
        };
        let fixture = Fixture::with_events(&[of("ours", &["a"]), of("theirs", &["b"])].concat()).await;
        fixture.land(&of("ours", &["c", "d"])).await;
        fixture.land(&of("theirs", &["e"])).await;
        // What is of no project is nobody's.
        let nobodys = vec![("event_id", "f".to_owned())];
        fixture.land(&[of("ours", &["g"]), vec![nobodys]].concat()).await;
        for (project, ids) in [("ours", &["a", "c", "d", "g"][..]), ("theirs", &["b", "e"]), ("nobody", &[])] {
            let rows = fixture.rows(project, "SELECT event_id FROM events ORDER BY event_id").await.unwrap();
            let expected: Vec<_> = ids.iter().map(|id| serde_json::json!({ "event_id": id })).collect();
            assert_eq!(rows, serde_json::Value::from(expected), "{project}");
            for (sql, n) in [
                ("SELECT count(*) AS n FROM events", ids.len()),
                ("SELECT count(*) AS n FROM events WHERE project = 'ours'", if project == "ours" { 4 } else { 0 }),
                ("SELECT count(*) AS n FROM events WHERE event_id >= 'c'", ids.iter().filter(|id| **id >= "c").count()),
            ] {
                assert_eq!(
                    fixture.rows(project, sql).await.unwrap(),
                    serde_json::json!([{ "n": n }]),
                    "{project}: {sql}"
                );
            }
        }
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
            // The catalogue knows how many rows there are.
            "SELECT count(*) AS n FROM events",
            "SELECT count(DISTINCT session_id) AS n FROM events",
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
        assert!(asked[1] > 0 && asked.iter().all(|gets| *gets <= 4), "{asked:?}");
        assert_eq!((asked[0], asked[2], asked[4]), (0, 0, 0), "{asked:?}");
    }
}
