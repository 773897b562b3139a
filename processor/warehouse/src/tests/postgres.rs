//! What only Postgres can do: other processes, lost connections, roles.

use std::str::FromStr;
use std::time::Duration;

use schemas::fold::measures::{Bin, Metric};
use schemas::rollups::STREAM;
use sqlx::{AssertSqlSafe, Executor};

use super::conformance::{Setup, TOPIC, at, columns_by_table};
use super::place::Place;
use super::proxy::{Proxy, Trouble};
use crate::database::{Task, sql};
use crate::{
    Commit, CommitError, DatabaseConfig, Delta, DeltaRow, MergeError, MergePolicy, PostgresConfig, Successor,
    SuccessorError, Warehouse, WarehouseConfig,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_processes_may_open_a_fresh_database_at_once() {
    let Some(place) = Place::postgres().await else { return };
    let opened = futures::future::join_all((0..4).map(|_| place.open())).await;
    let newest: Vec<i64> = opened.iter().map(|warehouse| warehouse.newest_commit().borrow().0).collect();
    assert_eq!(newest, [1; 4], "the tables were made once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_of_other_processes_are_followed() {
    let Some(place) = Place::postgres().await else { return };
    let setup = Setup::new(place).await;
    let other = setup.place.open().await;
    let mut newest = other.newest_commit();
    for from in 0..3 {
        let landed = setup.land(from, 1, at(0)).await;
        tokio::time::timeout(Duration::from_secs(10), newest.wait_for(|commit| *commit >= landed))
            .await
            .unwrap()
            .unwrap();
        assert!(other.read().await.unwrap().commit() >= landed);
    }
    // Nobody says anything, and the follower is cut off: it comes back and looks by itself.
    let last = newest.borrow().0;
    let mut connection = setup.place.connect().await;
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    connection.execute(cut).await.unwrap();
    connection
        .execute(
            "INSERT INTO ducklake_snapshot SELECT snapshot_id + 1, now(), schema_version, next_catalog_id, \
                        next_file_id FROM ducklake_snapshot ORDER BY snapshot_id DESC LIMIT 1",
        )
        .await
        .unwrap();
    tokio::time::timeout(Duration::from_secs(30), newest.wait_for(|commit| commit.0 > last)).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tables_are_those_of_sqlite() {
    let (Some(place), Some(other)) = (Place::postgres().await, Place::sqlite().await) else { return };
    let (mut postgres, sqlite) =
        (columns_by_table(&place.open().await).await, columns_by_table(&other.open().await).await);
    // What `<rollup>_delta` is a view of.
    for rollup in schemas::rollups::ALL_STORED {
        let block = postgres.remove(&format!("{}_delta_block", rollup.name));
        assert_eq!(block.as_ref(), postgres.get(&format!("{}_delta", rollup.name)));
    }
    assert_eq!(postgres, sqlite);
    assert!(postgres.len() > 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_views_may_have_null_for_any_measure() {
    let Some(place) = Place::postgres().await else { return };
    let warehouse = place.open().await;
    let strict = "SELECT attrelid::regclass || '.' || attname FROM pg_attribute WHERE attnum > 0 AND (atthasdef OR attnotnull) \
                  AND attrelid = ANY('{stream_delta_block, release_delta_block, layout_delta_block, stream_merged, release_merged, \
                  layout_merged}'::regclass[]) AND attname = ANY($1)";
    let measures: Vec<&str> = schemas::fold::measures::MEASURES.iter().map(|measure| measure.name).collect();
    let mut connection = place.connect().await;
    let strict: Vec<String> = sqlx::query_scalar(strict).bind(measures).fetch_all(&mut connection).await.unwrap();
    assert_eq!(strict, Vec::<String>::new());
    warehouse.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deltas_are_stored_in_blocks_and_seen_row_by_row() {
    let Some(place) = Place::postgres().await else { return };
    let setup = Setup::new(place).await;
    let row = |project: &str, minute: i64, stream: &str, bins: Vec<Bin>| {
        let mut measures = vec![0; STREAM.measures.len()];
        measures[0] = minute;
        let keys = vec![stream.to_owned(), "twitch".to_owned()];
        DeltaRow { project: project.into(), bucket: at(60 * minute), keys, measures, bins }
    };
    let bin = (Metric::LatencyMs, 417, 3);
    // Blocks of more than one statement, one of them with several rows.
    let mut rows: Vec<DeltaRow> = (1..40).map(|minute| row("q", minute, "twitch:x", Vec::new())).collect();
    rows.extend([row("p", 7, "twitch:y", vec![bin]), row("p", 7, "twitch:a\0", Vec::new())]);
    let deltas = vec![Delta { rollup: &STREAM, rows }];
    setup.warehouse.commit(&Commit { deltas, ..setup.commit(0, 1, at(0)) }).await.unwrap();

    let mut connection = setup.place.connect().await;
    let shapes = "SELECT count(*), sum(cardinality(stream_id)), count(attempts), count(started), count(bins) FROM stream_delta_block";
    let shapes: (i64, i64, i64, i64, i64) = sqlx::query_as(shapes).fetch_one(&mut connection).await.unwrap();
    assert_eq!(shapes, (40, 41, 40, 0, 1), "null where a block has nothing");
    let seen = "SELECT stream_id, attempts, started, CAST(bins AS TEXT) FROM stream_delta WHERE project = 'p' ORDER BY stream_id";
    type Seen = (String, i64, Option<i64>, Option<String>);
    let seen: Vec<Seen> = sqlx::query_as(seen).fetch_all(&mut connection).await.unwrap();
    let bins = Some("{\"latency_ms:417\": 3}".to_owned());
    assert_eq!(seen, [("twitch:a\u{fffd}".into(), 7, None, None), ("twitch:y".into(), 7, None, bins)]);

    assert_eq!(setup.warehouse.merge_rollups(at(1000), Duration::ZERO).await.unwrap().deltas, 41);
    let mut started = row("p", 7, "twitch:y", Vec::new());
    (started.measures[0], started.measures[1]) = (0, 2);
    let deltas = vec![Delta { rollup: &STREAM, rows: vec![started] }];
    setup.warehouse.commit(&Commit { deltas, ..setup.commit(1, 1, at(0)) }).await.unwrap();
    assert_eq!(setup.warehouse.merge_rollups(at(1000), Duration::ZERO).await.unwrap().deltas, 1);
    let merged = "SELECT count(*), CAST(sum(attempts) AS BIGINT), count(bins), CAST(sum(started) AS BIGINT), count(seeks) \
                  FROM stream_merged WHERE grain = 'minute'";
    let merged: (i64, i64, i64, i64, i64) = sqlx::query_as(merged).fetch_one(&mut connection).await.unwrap();
    assert_eq!(merged, (41, (1..40).sum::<i64>() + 14, 1, 2, 0), "null is nothing, and grows");
    let left: i64 =
        sqlx::query_scalar("SELECT count(*) FROM stream_delta_block").fetch_one(&mut connection).await.unwrap();
    assert_eq!(left, 0);
}

/// The same commit again after its connection was lost, as the processor does it: the checkpoint tells.
async fn lands_in_the_end(setup: &Setup, trouble: Trouble) {
    let proxy = Proxy::start(setup.place.url()).await;
    let config = PostgresConfig::from_str(&proxy.url).unwrap();
    let behind = WarehouseConfig::postgres(config, setup.place.folder().join("lake"));
    let behind = Warehouse::open(&behind).await.unwrap();
    for from in 0..3 {
        let commit = setup.commit(from, 2, at(0));
        proxy.make(trouble);
        let lost = behind.commit(&commit).await.unwrap_err();
        assert!(matches!(lost, CommitError::Database(_)), "{lost}");
        proxy.make(Trouble::None);
        let position = behind.checkpoints(TOPIC, 1).await.unwrap()[0].position;
        assert_eq!(position, if trouble.lands() { from + 1 } else { from }, "what is read is final");
        if position == from {
            behind.commit(&commit).await.unwrap();
        }
    }
    assert_eq!(setup.counted().await, (6, 6));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_was_lost_has_landed() {
    let Some(place) = Place::postgres().await else { return };
    lands_in_the_end(&Setup::new(place).await, Trouble::AnswerLost).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_arrives_after_its_client_has_gone_is_waited_for() {
    let Some(place) = Place::postgres().await else { return };
    lands_in_the_end(&Setup::new(place).await, Trouble::CommitLate).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_never_arrives_is_ended_by_the_server_and_done_again() {
    let Some(place) = Place::postgres().await else { return };
    lands_in_the_end(&Setup::new(place).await, Trouble::CommitLost).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_server_process_is_killed_has_not_landed() {
    let Some(place) = Place::postgres().await else { return };
    let setup = Setup::new(place).await;
    let mut blocker = setup.place.connect().await;
    // Somebody has the next snapshot id and does not commit.
    let take = "BEGIN; INSERT INTO ducklake_snapshot SELECT max(snapshot_id) + 1 FROM ducklake_snapshot";
    blocker.execute(sqlx::raw_sql(take)).await.unwrap();
    let commit = setup.commit(0, 2, at(0));
    let kill = async {
        let waiting = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                       WHERE datname = current_database() AND wait_event_type = 'Lock'";
        while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut blocker).await.unwrap() == 0 {}
        blocker.execute("ROLLBACK").await.unwrap();
    };
    let (lost, ()) = tokio::join!(setup.warehouse.commit(&commit), kill);
    assert!(matches!(lost, Err(CommitError::Database(_))), "{lost:?}");
    assert_eq!(setup.warehouse.checkpoints(TOPIC, 2).await.unwrap()[0].position, 0);
    setup.warehouse.commit(&commit).await.unwrap();
    assert_eq!(setup.counted().await, (2, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_merged_by_one_process_at_a_time_and_by_none_that_lost_its_turn() {
    let Some(place) = Place::postgres().await else { return };
    let setup = Setup::new(place).await;
    for from in 0..4 {
        setup.land(from, 1, at(0)).await;
    }
    let other = setup.place.open().await;
    let turn = other.shared.database.take(Task::Files).await.unwrap().unwrap();
    let policy = MergePolicy { fan_in: 4, ..MergePolicy::default() };
    assert!(matches!(setup.warehouse.merge_once(policy, at(1)).await, Err(MergeError::Elsewhere)));
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted AND \
               database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    setup.place.connect().await.execute(cut).await.unwrap();
    assert!(turn.write(&other.shared.database).await.is_err());
    // The lock goes with the process that had it, which takes a moment.
    while matches!(setup.warehouse.merge_once(policy, at(1)).await, Err(MergeError::Elsewhere)) {}
    assert_eq!(setup.counted().await, (4, 4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_patient_process_folds_deltas_however_busy_others_are_with_them() {
    let Some(place) = Place::postgres().await else { return };
    let setup = Setup::new(place).await;
    setup.land(0, 3, at(0)).await;
    let other = setup.place.open().await;
    let held = other.shared.database.try_write_alone(Task::Rollup(0)).await.unwrap().unwrap();
    let folded = setup.warehouse.merge_rollups(at(1), Duration::ZERO).await.unwrap();
    assert!(folded.is_elsewhere);
    // Not for ever.
    setup.warehouse.be_patient(Duration::from_millis(300));
    assert!(setup.warehouse.merge_rollups(at(1), Duration::ZERO).await.unwrap().is_elsewhere);
    let patient = setup.place.open().await;
    patient.be_patient(Duration::from_secs(30));
    // Always one of the others has it: trying alone would never do.
    let busy = tokio::spawn(async move {
        let mut held = held;
        loop {
            let next = other.shared.database.write_alone(Task::Rollup(0));
            let (next, ()) = tokio::join!(next, async {
                tokio::time::sleep(Duration::from_millis(200)).await;
                held.commit().await.unwrap();
            });
            held = next.unwrap();
        }
    });
    let folded = patient.merge_rollups(at(1), Duration::ZERO).await.unwrap();
    assert!(!folded.is_elsewhere);
    busy.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_may_only_read_opens_and_reads_and_writes_nothing() {
    let Some(place) = Place::postgres().await else { return };
    let roles = include_str!("../../../../deploy/postgres/roles.sql");
    let refused = place.connect().await.execute(sqlx::raw_sql(roles)).await.unwrap_err();
    assert!(refused.to_string().contains("start a processor first"), "{refused}");
    let setup = Setup::new(place).await;
    setup.land(0, 3, at(0)).await;
    let mut connection = setup.place.connect().await;
    connection.execute(sqlx::raw_sql(roles)).await.unwrap();
    connection.execute("CREATE TABLE later_secrets (hash TEXT)").await.unwrap();
    let (reader, analyst) =
        (format!("r_{}", uuid::Uuid::new_v4().simple()), format!("a_{}", uuid::Uuid::new_v4().simple()));
    let logins = format!(
        "CREATE ROLE {reader} LOGIN IN ROLE streamgauge_reader; CREATE ROLE {analyst} LOGIN IN ROLE streamgauge_analyst"
    );
    connection.execute(sqlx::raw_sql(AssertSqlSafe(logins))).await.unwrap();
    let as_role = |role: &str| {
        let (_, server) = setup.place.url().split_once('@').expect("the URL names a user");
        let url = format!("postgres://{role}@{server}");
        WarehouseConfig::postgres(PostgresConfig::from_str(&url).unwrap(), setup.place.folder().join("lake"))
    };
    let warehouse = Warehouse::open(&as_role(&reader)).await.unwrap();
    assert_eq!(warehouse.read().await.unwrap().snapshot().await.unwrap().files(&crate::tables::QUARANTINE).len(), 1);
    warehouse.access().await.unwrap();
    assert!(warehouse.create_project("p", false, at(0)).await.is_err());
    assert!(matches!(warehouse.commit(&setup.commit(1, 1, at(0))).await, Err(CommitError::Database(_))));
    let warehouse = Warehouse::open(&as_role(&analyst)).await.unwrap();
    assert_eq!(warehouse.read().await.unwrap().books().await.unwrap().quarantine_rows, 3);
    assert!(warehouse.access().await.is_err(), "hashes of keys are not for analysts");
    assert!(matches!(warehouse.commit(&setup.commit(1, 1, at(0))).await, Err(CommitError::Database(_))));
    let may_read = "SELECT has_table_privilege($1, 'later_secrets', 'SELECT')";
    for (role, may) in [(&reader, true), (&analyst, false)] {
        let may_read: bool = sqlx::query_scalar(may_read).bind(role).fetch_one(&mut connection).await.unwrap();
        assert_eq!(may_read, may, "{role}");
    }
    assert_eq!(setup.counted().await, (3, 3));
    warehouse.close().await;
    let drop = format!("DROP ROLE {reader}; DROP ROLE {analyst}");
    connection.execute(sqlx::raw_sql(AssertSqlSafe(drop))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_everything_may_be_silent_meanwhile() {
    let Some(place) = Place::postgres().await else { return };
    let warehouse = place.open().await;
    for takes_its_time in [false, true] {
        let mut read = warehouse.shared.database.read().await.unwrap();
        sql("SET LOCAL idle_in_transaction_session_timeout = 1000").run(&mut read).await.unwrap();
        if takes_its_time {
            read.take_its_time().await.unwrap();
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(sql("SELECT 1").run(&mut read).await.is_ok(), takes_its_time);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrations_wait_for_a_database_that_is_busy_and_hold_up_nobody_for_long() {
    let Some(place) = Place::postgres().await else { return };
    let setup = Setup::new(place).await;
    // The last migration alters `checkpoint`, and somebody reads that.
    setup.tamper("DELETE FROM _sqlx_migrations WHERE version = 12".into()).await;
    for column in ["pauses", "paused_us", "paused_because"] {
        setup.tamper(format!("ALTER TABLE checkpoint DROP COLUMN {column}")).await;
    }
    setup.tamper("DROP TABLE skipped_record".into()).await;
    let mut reader = setup.place.connect().await;
    reader.execute("BEGIN").await.unwrap();
    reader.execute("SELECT * FROM checkpoint").await.unwrap();
    let opening = setup.place.open();
    let (other, ()) = tokio::join!(opening, async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        // Whoever comes later stands behind the migration until it lets go.
        let mut later = setup.place.connect().await;
        later.execute("SET statement_timeout = '30s'").await.unwrap();
        later.execute("SELECT * FROM checkpoint").await.unwrap();
        reader.execute("COMMIT").await.unwrap();
    });
    assert_eq!(other.checkpoints(TOPIC, 2).await.unwrap()[0].pauses, 0);
}

#[tokio::test]
async fn a_url_is_shown_without_its_password_and_a_successor_refused() {
    let config = PostgresConfig::from_str("postgres://me:hunter2@db.example:6543/w?sslmode=require").unwrap();
    assert_eq!(config.to_string(), "postgres://db.example:6543/w");
    let config = WarehouseConfig::postgres(config, std::path::Path::new("lake"));
    assert!(!format!("{config:?} {}", config.database).contains("hunter2"));
    assert!(matches!(config.database, DatabaseConfig::Postgres(_)));
    let refused = PostgresConfig::from_str("mysql://me:hunter2@db.example/w").unwrap_err();
    assert!(!format!("{refused} {refused:?}").contains("hunter2"));
    assert!(matches!(Successor::begin(config).await, Err(SuccessorError::NotAFile)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::disallowed_methods, reason = "a test is told of its tools by the environment")]
async fn duckdb_finds_the_same_rows_at_every_commit() {
    let Some(place) = Place::postgres().await else { return };
    let Ok(clients) = std::env::var("STREAMGAUGE_TEST_CLIENTS") else {
        return eprintln!("skipped: STREAMGAUGE_TEST_CLIENTS names no folder");
    };
    let setup = Setup::new(place).await;
    let mut commits = Vec::new();
    for from in 0..6 {
        commits.push(setup.land(from, 3, at(0)).await);
    }
    let policy = MergePolicy { fan_in: 4, ..MergePolicy::default() };
    let (merge, _) = setup.warehouse.merge_once(policy, at(1)).await.unwrap().unwrap();
    for (commit, rows) in commits.into_iter().chain([merge]).zip([3, 6, 9, 12, 15, 18, 18]) {
        let found = std::process::Command::new(format!("{clients}/venv/bin/python"))
            .args([format!("{clients}/ducklake.py"), setup.place.url().to_owned(), format!("--at={commit}")])
            .output()
            .unwrap();
        assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
        let found: serde_json::Value = serde_json::from_slice(&found.stdout).unwrap();
        assert_eq!(found["snapshot"], merge.0);
        assert_eq!((&found["tables"]["quarantine"], &found["tables"]["events"]), (&rows.into(), &0.into()), "{found}");
    }
}
