//! A small lake, made by hand.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, new_null_array};
use datafusion::dataframe::DataFrame;
use prometheus::Registry;
use schemas::principal::Caller;
use schemas::{Principal, Scope as Permission, Timestamp};
use serde_json::Value;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use warehouse::tables::EVENTS;
use warehouse::{
    Commit, FileName, Lake, LakeLocation, Lane, NewFile, Origin, Warehouse, WarehouseConfig, encode_parquet,
};

use crate::answer::Refused;
use crate::engine::Rows;
use crate::failures::refusal;
use crate::lake_table::LakeScan;
use crate::output::json_array;
use crate::scope::Scope;
use crate::{Query, QueryConfig, QueryMetrics, gate};

/// Texts of a row by column; all other columns are null.
pub(crate) type Row = Vec<(&'static str, String)>;

/// An event of a project.
pub(crate) fn row(project: &str, columns: &[(&'static str, &str)]) -> Row {
    let columns = columns.iter().map(|(column, value)| (*column, (*value).to_owned()));
    [("project", project.to_owned())].into_iter().chain(columns).collect()
}

/// A query service over a lake of its own.
pub(crate) struct Fixture {
    pub(crate) query: Query,
    place: WarehouseConfig,
    _folder: TempDir,
}

impl Fixture {
    /// The service with these events in one file.
    pub(crate) async fn with_events(rows: &[Row]) -> Self {
        Self::with_config(rows, QueryConfig::default()).await
    }

    pub(crate) async fn with_config(rows: &[Row], config: QueryConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let lake = folder.path().join("lake").into();
        Self::with_lake(folder, lake, rows, config).await
    }

    /// The service over a lake at another place than the folder of the database.
    pub(crate) async fn with_lake(folder: TempDir, lake: LakeLocation, rows: &[Row], config: QueryConfig) -> Self {
        let place = WarehouseConfig::sqlite(folder.path().join("w.db"), lake);
        let warehouse = Warehouse::open(&place).await.unwrap();
        let fixture = Self { query: service(warehouse, config), place, _folder: folder };
        fixture.land(rows).await;
        fixture
    }

    /// Commits events as one more file.
    pub(crate) async fn land(&self, rows: &[Row]) {
        let warehouse = &self.query.shared.warehouse;
        let now = Timestamp::parse_rfc3339("2026-11-23T09:00:00Z").unwrap();
        let path = FileName::new(Origin::Commit { partition: 0, from: 0 }, now).path("parquet");
        let encoded = encode_parquet(&EVENTS, [&batch(rows)]).unwrap();
        warehouse.lake().write(&Lake::table_path(&EVENTS, &path), &encoded.bytes).unwrap();
        let commit = Commit {
            lane: Lane::Events,
            now,
            advances: Vec::new(),
            files: vec![NewFile { table_id: EVENTS.id, path, encoded }],
            replaced_files: Vec::new(),
            deltas: Vec::new(),
            id_runs: Vec::new(),
            state_files: Vec::new(),
        };
        warehouse.commit(&commit).await.unwrap();
    }

    /// The same as another process: it has read nothing yet.
    pub(crate) async fn reopened(self) -> Self {
        let warehouse = Warehouse::open(&self.place).await.unwrap();
        Self { query: service(warehouse, QueryConfig::default()), ..self }
    }

    /// The rows of a statement as JSON, for a caller of `project`, through the gate and the engine.
    pub(crate) async fn rows(&self, project: &str, sql: &str) -> Result<Value, Refused> {
        let (query, scope, sql) = (self.query.clone(), scope(project), sql.to_owned());
        let work = async move { query.gated(&scope, &sql).await };
        let rows = self.query.turn(&project.into(), work).await?;
        Ok(serde_json::from_slice(&json_array(&rows.batches, usize::MAX)?).unwrap())
    }
}

impl Query {
    async fn gated(&self, scope: &Scope, sql: &str) -> Result<Rows, Refused> {
        gate::check_text(sql)?;
        let context = self.shared.engine.session()?;
        let parsed = gate::parse(&context.state(), sql)?;
        let at = self.pin().await?.release();
        context.register_table("events", Arc::new(LakeScan::new(&EVENTS, &at.snapshot, scope).unwrap())).unwrap();
        let state = context.state();
        let plan = state.statement_to_plan(parsed.statement).await.map_err(refusal)?;
        gate::check_plan(&plan)?;
        self.shared.engine.collect(DataFrame::new(state, plan), 1000).await
    }
}

fn service(warehouse: Warehouse, config: QueryConfig) -> Query {
    let metrics = QueryMetrics::register(&Registry::new()).unwrap();
    let now = Timestamp::parse_rfc3339("2026-11-23T09:00:00Z").unwrap();
    Query::new(warehouse, config, metrics, Arc::new(move || now), CancellationToken::new()).unwrap()
}

/// A caller of a project that may read by SQL.
pub(crate) fn scope(project: &str) -> Scope {
    let caller = Caller::Service([Permission::SqlRead].into());
    Scope::of(&Principal { project: project.into(), caller }, Permission::SqlRead, None).unwrap()
}

fn batch(rows: &[Row]) -> RecordBatch {
    let schema = EVENTS.schema();
    let column = |name: &str| -> Vec<Option<&str>> {
        rows.iter().map(|row| row.iter().find(|(column, _)| *column == name).map(|(_, value)| value.as_str())).collect()
    };
    let arrays: Vec<ArrayRef> = schema
        .fields()
        .iter()
        .map(|field| match column(field.name()) {
            texts if texts.iter().any(Option::is_some) => Arc::new(StringArray::from(texts)) as ArrayRef,
            _ => new_null_array(field.data_type(), rows.len()),
        })
        .collect();
    RecordBatch::try_new(schema, arrays).unwrap()
}
