//! Databases of every commit of this repository that changed migrations: they get the tables of a new one, and work.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, SqlSafeStr};

use super::conformance::{Setup, at};
use super::place::Place;
use crate::database::migrations::{of_postgres, of_sqlite};
use crate::database::{Database, sql};
use crate::{DatabaseConfig, Warehouse};

/// How the SHA-384 of each text begins: whoever adds a migration adds to this.
const TEXTS_OF_SQLITE: &str = "c8df05ae7a76 ca8aad1638c5 20e4be1838e8 6b674d83ac14 07fbbf2b5f82 70352b0a6e4d \
     a98afb627d2d 7fc3b97a01e7 63f9e1361567 3325af82ff05 b37dbb2f1d87";

const TEXTS_OF_POSTGRES: &str = "a31d3b94f384 8eb58805c165 a35b3cd9ac08 fed287cce0ae 457060e1575a 78c6890e7521 \
     63f9e1361567 bb14b18a8918 c024e8bdbf32 dc2598ff16c6 82ea7e3ddf30 dc9f87e3df64";

#[test]
fn no_migration_is_edited_once_a_commit_has_it() {
    for (migrator, texts) in [(of_sqlite(), TEXTS_OF_SQLITE), (of_postgres(), TEXTS_OF_POSTGRES)] {
        let begin = |migration: &Migration| migration.checksum[..6].iter().map(|byte| format!("{byte:02x}")).collect();
        let found: Vec<String> = migrator.iter().map(begin).collect();
        assert_eq!(found.join(" "), texts);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_notices_that_a_later_version_has_migrated_its_database() {
    let (Some(now), Some(later)) = (Place::postgres().await, Place::postgres_of_later().await) else { return };
    assert!(!now.open().await.is_outdated().await.unwrap());
    let warehouse = later.open().await;
    assert!(warehouse.is_outdated().await.unwrap());
    assert!(later.open().await.is_outdated().await.unwrap());
}

pub(crate) async fn a_migration_of_another_text_stops_the_start_by_name(place: Place) {
    let setup = Setup::new(place).await;
    let other = "(SELECT checksum FROM _sqlx_migrations WHERE version = 1)";
    setup.tamper(format!("UPDATE _sqlx_migrations SET checksum = {other} WHERE version = 2")).await;
    let refused = Warehouse::open(&setup.place.config()).await.unwrap_err();
    let said = std::error::Error::source(&refused).unwrap().to_string();
    assert!(said.contains("migration 2 was previously applied but has been modified"), "{said}");
}

pub(crate) async fn a_database_of_any_earlier_commit_gets_the_tables_of_today_and_works(place: Place) {
    let today = described(&place.open().await).await;
    assert!(today.len() > 500, "{}", today.len());
    for (commit, migrations) in commits(&place) {
        let place = place.another().await;
        make(&place, migrations).await;
        let setup = Setup::new(place).await;
        let described = described(&setup.warehouse).await;
        assert_eq!(described.difference(&today).collect::<Vec<_>>(), Vec::<&String>::new(), "{commit} has these alone");
        assert_eq!(today.difference(&described).collect::<Vec<_>>(), Vec::<&String>::new(), "{commit} lacks these");
        setup.land(0, 3, at(0)).await;
        let setup = setup.reopened().await;
        assert_eq!(setup.counted().await, (3, 3), "{commit}");
    }
}

pub(crate) async fn processes_of_today_may_open_a_database_of_an_earlier_commit_at_once(place: Place) {
    for (commit, migrations) in commits(&place).into_iter().filter(|(commit, _)| commit.contains('-')) {
        let place = place.another().await;
        make(&place, migrations).await;
        let warehouses = futures::future::join_all((0..4).map(|_| place.open())).await;
        let setup = Setup::new(place).await;
        setup.land(0, 3, at(0)).await;
        assert_eq!(setup.counted().await, (3, 3), "{commit}");
        drop(warehouses);
    }
}

/// The migrations of each commit: those of today up to some version, and what `tests/fixtures/migrations` keeps of commits
/// that had some in another text, in a folder `<how many they had>-<commit>`.
fn commits(place: &Place) -> Vec<(String, Migrator)> {
    let (kind, today) = match place.config().database {
        DatabaseConfig::Sqlite(_) => ("sqlite", of_sqlite()),
        DatabaseConfig::Postgres(_) => ("postgres", of_postgres()),
    };
    let up_to = |last: i64| today.iter().filter(move |migration| migration.version <= last).cloned();
    let mut commits: Vec<(String, Migrator)> =
        today.iter().map(|last| (last.version.to_string(), up_to(last.version).collect())).map(with_migrator).collect();
    let fixtures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/migrations").join(kind);
    let mut folders = 0;
    for folder in std::fs::read_dir(&fixtures).unwrap() {
        let folder = folder.unwrap();
        let name = folder.file_name().into_string().unwrap();
        let last = name.split_once('-').unwrap().0.parse().unwrap();
        let mut migrations: BTreeMap<i64, Migration> = up_to(last).map(|today| (today.version, today)).collect();
        for text in std::fs::read_dir(folder.path()).unwrap() {
            let path = text.unwrap().path();
            let file = path.file_stem().unwrap().to_str().unwrap();
            let (version, name) = file.split_once('_').unwrap();
            let version = version.parse().unwrap();
            let text = AssertSqlSafe(std::fs::read_to_string(&path).unwrap()).into_sql_str();
            let former = Migration::new(version, name.to_owned().into(), MigrationType::Simple, text, false);
            migrations.insert(version, former);
        }
        commits.push(with_migrator((name, migrations.into_values().collect())));
        folders += 1;
    }
    assert!(folders > 3, "{}", fixtures.display());
    commits
}

fn with_migrator((commit, migrations): (String, Vec<Migration>)) -> (String, Migrator) {
    (commit, Migrator::with_migrations(migrations))
}

/// Makes the database by these migrations.
async fn make(place: &Place, migrations: Migrator) {
    match place.config().database {
        DatabaseConfig::Sqlite(path) => {
            let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
            let options = options.journal_mode(SqliteJournalMode::Wal);
            let mut connection: SqliteConnection = options.connect().await.unwrap();
            migrations.run(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        }
        DatabaseConfig::Postgres(_) => migrations.run(&mut place.connect().await).await.unwrap(),
    }
}

/// Columns, keys, indexes, views and the migrations that were run, a line each. What a column or an index is like is
/// part of its line; at which place of its table a column is, is not.
async fn described(warehouse: &Warehouse) -> BTreeSet<String> {
    let select = match warehouse.shared.database {
        Database::Sqlite(_) => {
            "SELECT concat_ws(' ', t.name, c.name, c.type, c.\"notnull\", c.dflt_value, c.pk) \
             FROM sqlite_schema t JOIN pragma_table_info(t.name) c WHERE t.type IN ('table', 'view') \
             UNION ALL SELECT concat_ws(' ', name, sql) FROM sqlite_schema WHERE type IN ('index', 'view') \
             UNION ALL SELECT concat_ws(' ', version, description, hex(checksum)) FROM _sqlx_migrations"
        }
        Database::Postgres(_) => {
            "SELECT concat_ws(' ', c.relname, c.reloptions, a.attname, format_type(a.atttypid, a.atttypmod), \
                a.attnotnull, a.attidentity, a.attcompression, a.attcollation::regcollation, \
                pg_get_expr(d.adbin, d.adrelid)) \
             FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'v') \
             LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
             WHERE c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped \
             UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' \
             UNION ALL SELECT concat_ws(' ', viewname, definition) FROM pg_views WHERE schemaname = 'public' \
             UNION ALL SELECT concat_ws(' ', conrelid::regclass, pg_get_constraintdef(oid)) FROM pg_constraint \
                WHERE connamespace = 'public'::regnamespace \
             UNION ALL SELECT concat_ws(' ', version, description, encode(checksum, 'hex')) FROM _sqlx_migrations"
        }
    };
    let rows = sql(select).rows(&mut warehouse.shared.database.read().await.unwrap()).await.unwrap();
    rows.iter().map(|row| row.get::<String>(0)).collect()
}
