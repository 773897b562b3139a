//! How the tables of a database come to be: its migrations, each of which runs once, in this order.
//!
//! A migration that a commit of this repository has is not edited any more. Some were, before this was a rule, and one
//! was given another number: a database that such a commit made has the [`Former`] one, and is amended first.

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

pub(crate) fn of_sqlite() -> Migrator {
    Migrator::with_migrations(vec![
        migration(1, "ducklake", include_str!("../../migrations/sqlite/0001_ducklake.sql")),
        migration(2, "streamgauge", include_str!("../../migrations/sqlite/0002_streamgauge.sql")),
        migration(3, "views", include_str!("../../migrations/sqlite/0003_views.sql")),
        migration(4, "layouts", include_str!("../../migrations/sqlite/0004_layouts.sql")),
        migration(5, "lookups", include_str!("../../migrations/sqlite/0005_lookups.sql")),
        migration(6, "bins", include_str!("../../migrations/sqlite/0006_bins.sql")),
        migration(7, "retention", include_str!("../../migrations/sqlite/0007_retention.sql")),
        migration(8, "adopted logs", include_str!("../../migrations/sqlite/0008_adopted_logs.sql")),
        migration(9, "delta commits", include_str!("../../migrations/sqlite/0009_delta_commits.sql")),
        migration(10, "one row", include_str!("../../migrations/sqlite/0010_one_row.sql")),
        migration(11, "partition orders", include_str!("../../migrations/sqlite/0011_partition_orders.sql")),
    ])
}

pub(crate) fn of_postgres() -> Migrator {
    Migrator::with_migrations(vec![
        migration(1, "ducklake", include_str!("../../migrations/postgres/0001_ducklake.sql")),
        migration(2, "streamgauge", include_str!("../../migrations/postgres/0002_streamgauge.sql")),
        migration(3, "rollups", include_str!("../../migrations/postgres/0003_rollups.sql")),
        migration(4, "bins", include_str!("../../migrations/postgres/0004_bins.sql")),
        migration(5, "retention", include_str!("../../migrations/postgres/0005_retention.sql")),
        migration(6, "adopted logs", include_str!("../../migrations/postgres/0006_adopted_logs.sql")),
        migration(7, "delta commits", include_str!("../../migrations/postgres/0007_delta_commits.sql")),
        migration(8, "one row", include_str!("../../migrations/postgres/0008_one_row.sql")),
        migration(9, "sparse deltas", include_str!("../../migrations/postgres/0009_sparse_deltas.sql")),
        migration(10, "delta blocks", include_str!("../../migrations/postgres/0010_delta_blocks.sql")),
        migration(11, "sparse merged", include_str!("../../migrations/postgres/0011_sparse_merged.sql")),
        migration(12, "partition orders", include_str!("../../migrations/postgres/0012_partition_orders.sql")),
    ])
}

fn migration(version: i64, name: &'static str, text: &'static str) -> Migration {
    Migration::new(version, name.into(), MigrationType::Simple, SqlStr::from_static(text), false)
}

/// The last version of the tables that there is.
pub(super) fn last_of(migrator: &Migrator) -> i64 {
    migrator.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// A migration as an earlier commit had it.
pub(super) struct Former {
    version: i64,
    /// How the SHA-384 of its text begins.
    checksum: &'static str,
    /// The version that it is today.
    today: i64,
    /// Makes of what it made what the next text of that version made.
    amendment: &'static str,
}

const fn former(version: i64, checksum: &'static str, today: i64, amendment: &'static str) -> Former {
    Former { version, checksum, today, amendment }
}

/// Texts of one version one after the other, the oldest first.
pub(super) const FORMER_OF_SQLITE: [Former; 7] = [
    former(1, "cddf3a0b781e", 1, include_str!("../../migrations/sqlite/former/0001-cddf3a0b781e.sql")),
    former(2, "114013564d40", 2, include_str!("../../migrations/sqlite/former/0002-114013564d40.sql")),
    former(2, "f0668af40dd7", 2, include_str!("../../migrations/sqlite/former/0002-f0668af40dd7.sql")),
    former(3, "d8d823ca398f", 3, include_str!("../../migrations/sqlite/former/0003-d8d823ca398f.sql")),
    former(3, "1a66832907e7", 3, include_str!("../../migrations/sqlite/former/0003-1a66832907e7.sql")),
    former(6, "a98afb627d2d", 7, ""),
    former(11, "6581ff3e9f7c", 11, include_str!("../../migrations/sqlite/former/0011-6581ff3e9f7c.sql")),
];

/// Texts of one version one after the other, the oldest first.
pub(super) const FORMER_OF_POSTGRES: [Former; 4] = [
    former(1, "98acdbfc0f19", 1, include_str!("../../migrations/postgres/former/0001-98acdbfc0f19.sql")),
    former(4, "457060e1575a", 5, ""),
    former(10, "11262882e5dc", 10, include_str!("../../migrations/postgres/former/0010-11262882e5dc.sql")),
    former(12, "fcee9e5d1b24", 12, include_str!("../../migrations/postgres/former/0012-fcee9e5d1b24.sql")),
];

/// What a database has: version and checksum of each migration.
pub(super) const APPLIED: &str = "SELECT version, checksum FROM _sqlx_migrations WHERE success";

/// Whether a database that has these has all that there are, as they are. It may have more, of a later program.
pub(super) fn are_all(applied: &[(i64, Vec<u8>)], migrator: &Migrator) -> bool {
    let is_applied = |migration: &Migration| {
        applied.iter().any(|(version, checksum)| migration.version == *version && *migration.checksum == **checksum)
    };
    migrator.iter().all(is_applied)
}

/// Says that an [`Amendment`] was made, unless another process has said so.
pub(super) const AMENDED: &str = "UPDATE _sqlx_migrations SET version = $1, description = $2, checksum = $3 \
     WHERE version = $4 AND checksum = $5";

/// What a database needs that has a [`Former`] migration.
pub(super) struct Amendment {
    /// Version and checksum as it has them.
    pub(super) applied: (i64, Vec<u8>),
    pub(super) today: Migration,
    pub(super) statements: SqlStr,
}

/// What a database needs that has these migrations, before those it lacks are run.
pub(super) fn amendments(applied: Vec<(i64, Vec<u8>)>, former: &[Former], today: &Migrator) -> Vec<Amendment> {
    let of = |applied: (i64, Vec<u8>)| {
        let checksum: String = applied.1.iter().map(|byte| format!("{byte:02x}")).collect();
        let is = |text: &Former| text.version == applied.0 && checksum.starts_with(text.checksum);
        let texts = &former[former.iter().position(is)?..];
        let today = today.iter().find(|migration| migration.version == texts[0].today)?.clone();
        let texts = texts.iter().take_while(|text| text.version == applied.0);
        let statements: String = texts.map(|text| text.amendment).collect();
        Some(Amendment { applied, today, statements: AssertSqlSafe(statements).into_sql_str() })
    };
    applied.into_iter().filter_map(of).collect()
}
