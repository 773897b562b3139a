//! Postgres: several processes read and write at the same time.
//!
//! No wait is without a limit. The server ends statements, waits for locks and transactions whose client is silent; a
//! server that does not answer at all is given up here. A session whose end is uncertain is closed, not used again.

use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use sqlx::error::DatabaseError;
use sqlx::migrate::MigrateError;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgListener, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, Postgres};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::Task;
use super::migrations::{self, AMENDED, APPLIED, Amendment, FORMER_OF_POSTGRES, amendments};
use crate::commit::CommitId;
use crate::history::{History, LOOK, Look};
use crate::open::OpenError;

/// The oldest server that is supported, as `server_version_num` tells it.
const MIN_VERSION: i32 = 150_000;

/// Tells apart our advisory locks from those of others in the same database.
const LOCKS: i32 = 0x5347;

/// A commit says so here.
pub(super) const CHANNEL: &str = "streamgauge_commit";

/// New commits of other processes are looked for at least so often.
const SWEEP: Duration = Duration::from_secs(1);

/// A statement, unless the settings say otherwise. Merging rollups is what takes longest.
const STATEMENT_LIMIT: Duration = Duration::from_secs(60);

/// A writer that is silent within its transaction is taken for dead.
const WRITER_SILENCE: Duration = Duration::from_secs(5);

/// A reader may look into files meanwhile.
const READER_SILENCE: Duration = Duration::from_secs(60);

/// Longer than [`WRITER_SILENCE`]: who waits for a dead writer outlives it.
const LOCK_LIMIT: Duration = Duration::from_secs(15);

/// A statement over everything there is, in a transaction that may take its time.
const UNHURRIED_LIMIT: Duration = Duration::from_secs(6 * 3600);

/// Ending a transaction that did not come to its commit.
const ROLLBACK_LIMIT: Duration = Duration::from_secs(5);

/// Another process may be migrating a large database.
const OPEN_LIMIT: Duration = Duration::from_secs(600);

/// Waiting for tables that another process makes, and for what is in them from the start.
pub(crate) const TABLES_LIMIT: Duration = Duration::from_secs(60);
/// They are looked for so often.
pub(crate) const TABLES_RETRY: Duration = Duration::from_millis(500);

/// Waiting for a connection; while the server refuses, it is asked again in growing intervals.
const ACQUIRE_LIMIT: Duration = Duration::from_secs(10);

/// Between two tries to open it; twice as long after each, up to the last.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LAST: Duration = Duration::from_secs(2);

/// Connections are renewed: a server process keeps what it has seen.
const LIFETIME: Duration = Duration::from_secs(1800);

/// One commits, one merges files, one folds rollups, one reads checkpoints.
const WRITERS: u32 = 4;

/// Which Postgres database, and how it is used.
#[derive(Clone)]
pub struct PostgresConfig {
    options: Box<PgConnectOptions>,
    /// Connections for reading; writing takes up to four more, and following other processes' commits one.
    pub readers: u32,
    /// A statement is ended by the server after this.
    pub statement_timeout: Duration,
}

/// Why a URL does not name a Postgres database. Does not show the URL: it may hold a password.
#[derive(Debug, thiserror::Error)]
#[error("not a Postgres URL: `postgres://user:password@host:port/database?sslmode=..`")]
pub struct PostgresUrlError;

impl FromStr for PostgresConfig {
    type Err = PostgresUrlError;

    /// From `postgres://user:password@host:port/database?sslmode=verify-full&sslrootcert=..`. What it leaves out comes
    /// from `PGHOST`, `PGPASSWORD` and the like, and from the password file, as with every Postgres client.
    fn from_str(url: &str) -> Result<Self, PostgresUrlError> {
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(PostgresUrlError);
        }
        let options = PgConnectOptions::from_str(url).map_err(|_| PostgresUrlError)?;
        Ok(Self { options: options.into(), readers: 8, statement_timeout: STATEMENT_LIMIT })
    }
}

impl fmt::Display for PostgresConfig {
    /// Where it is, without user or password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = &self.options;
        let database = options.get_database().unwrap_or(options.get_username());
        write!(f, "postgres://{}:{}/{database}", options.get_host(), options.get_port())
    }
}

impl fmt::Debug for PostgresConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresConfig")
            .field("url", &format_args!("{self}"))
            .field("readers", &self.readers)
            .field("statement_timeout", &self.statement_timeout)
            .finish_non_exhaustive()
    }
}

impl PostgresConfig {
    /// Options of a connection whose transactions may be silent for so long.
    fn options(&self, silence: Duration) -> PgConnectOptions {
        self.limited_options(self.statement_timeout, silence)
    }

    fn limited_options(&self, statement: Duration, silence: Duration) -> PgConnectOptions {
        let ms = |limit: Duration| limit.as_millis().to_string();
        let name = self.options.get_application_name().unwrap_or("streamgauge").to_owned();
        PgConnectOptions::clone(&self.options).application_name(&name).statement_cache_capacity(256).options([
            ("statement_timeout", ms(statement)),
            ("lock_timeout", ms(LOCK_LIMIT)),
            ("idle_in_transaction_session_timeout", ms(silence)),
            // Whatever the server's default is: a second writer goes on with what the first has committed.
            ("default_transaction_isolation", "read committed".to_owned()),
            // A client that is gone does not hold its locks until its statement is through.
            ("client_connection_check_interval", ms(WRITER_SILENCE)),
            ("tcp_keepalives_idle", "10".to_owned()),
            ("tcp_keepalives_interval", "5".to_owned()),
            ("tcp_keepalives_count", "3".to_owned()),
            ("search_path", "public".to_owned()),
            // Its estimates are far off for expressions over many columns: compiling took longer than all the rest.
            ("jit", "off".to_owned()),
        ])
    }

    /// A connection beside the pools, whose statements may take long.
    pub(super) async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        limited(ACQUIRE_LIMIT, self.limited_options(Duration::ZERO, READER_SILENCE).connect()).await
    }

    /// How long an answer is waited for: the server gives up before.
    pub(super) fn answer_limit(&self) -> Duration {
        self.statement_timeout + Duration::from_secs(5)
    }
}

/// Waits for a server at most so long.
pub(super) async fn limited<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    let silent = || sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, "the database does not answer"));
    timeout(limit, answer).await.unwrap_or_else(|_| Err(silent()))
}

/// An open database.
#[derive(Debug)]
pub(crate) struct PostgresDatabase {
    writers: PgPool,
    readers: PgPool,
    limit: Duration,
    /// How long another process's task is waited for; not at all unless somebody says so.
    pub(super) patience: OnceLock<Duration>,
}

impl PostgresDatabase {
    pub(crate) async fn open(config: &PostgresConfig) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Database { database: config.to_string(), source };
        let (mut begun, mut patience, mut pause) = (Instant::now(), Duration::ZERO, RETRY_FIRST);
        loop {
            let migrated = limited(OPEN_LIMIT, Box::pin(migrate(config))).await;
            // Counted anew where something else is in the way.
            if let Some(other) = migrated.as_ref().err().map(patience_with).filter(|other| *other != patience) {
                (begun, patience) = (Instant::now(), other);
            }
            match migrated {
                Err(error) if begun.elapsed() < patience => {
                    tracing::warn!(%error, "the database is not ready yet");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RETRY_LAST);
                }
                migrated => break migrated.map_err(failed)??,
            }
        }
        let pool = |connections: u32| {
            PgPoolOptions::new().max_connections(connections).acquire_timeout(ACQUIRE_LIMIT).max_lifetime(LIFETIME)
        };
        let writers = pool(WRITERS).connect_with(config.options(WRITER_SILENCE)).await.map_err(failed)?;
        let readers = pool(config.readers + 1).connect_lazy_with(config.options(READER_SILENCE));
        Ok(Self { writers, readers, limit: config.answer_limit(), patience: OnceLock::new() })
    }

    pub(crate) async fn write(&self) -> Result<Session, sqlx::Error> {
        self.session(&self.writers).await?.begin("BEGIN").await
    }

    pub(crate) async fn write_alone(&self, task: Task) -> Result<Session, sqlx::Error> {
        let mut session = self.write().await?;
        let limit = format!("SET LOCAL lock_timeout = {0}; SET LOCAL statement_timeout = {0}", OPEN_LIMIT.as_millis());
        session.connection().execute(AssertSqlSafe(limit)).await?;
        let lock = sqlx::query("SELECT pg_advisory_xact_lock($1, $2)").bind(LOCKS).bind(number_of(task));
        limited(OPEN_LIMIT, lock.execute(session.connection())).await?;
        Ok(session)
    }

    pub(crate) async fn try_write_alone(&self, task: Task) -> Result<Option<Session>, sqlx::Error> {
        let mut session = self.write().await?;
        let is_ours = session.lock(self.patience(), task).await?;
        Ok(is_ours.then_some(session))
    }

    /// Takes a task with a session of its own, which must [release](Session::release) it; else the session is closed.
    pub(crate) async fn take(&self, task: Task) -> Result<Option<Session>, sqlx::Error> {
        let mut session = self.session(&self.writers).await?;
        session.holds_lock = true;
        let is_ours = session.lock(self.patience(), task).await?;
        session.holds_lock = is_ours;
        Ok(is_ours.then_some(session))
    }

    fn patience(&self) -> Option<Duration> {
        self.patience.get().copied().filter(|patience| !patience.is_zero())
    }

    pub(crate) async fn read(&self) -> Result<Session, sqlx::Error> {
        self.session(&self.readers).await?.begin("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await
    }

    async fn session(&self, pool: &PgPool) -> Result<Session, sqlx::Error> {
        let connection = Some(pool.acquire().await?);
        Ok(Session { connection, limit: self.limit, is_in_transaction: false, holds_lock: false })
    }

    /// Follows the commits of all processes until the returned task is aborted or the database closed.
    pub(crate) fn follow(&self, history: Arc<History>) -> AbortHandle {
        let (pool, limit) = (self.readers.clone(), self.limit);
        let following = async move {
            let mut sees = true;
            while !pool.is_closed() {
                let Err(error) = follow(&pool, limit, &history, &mut sees).await;
                if sees && !pool.is_closed() {
                    tracing::warn!(%error, "commits of other processes are not seen until the database answers");
                }
                sees = false;
                tokio::time::sleep(SWEEP).await;
            }
        };
        tokio::spawn(following).abort_handle()
    }

    /// The version of the tables that this program makes.
    pub(crate) fn last_version() -> i64 {
        migrations::last_of(&migrations::of_postgres())
    }

    pub(crate) async fn close(&self) {
        self.readers.close().await;
        self.writers.close().await;
    }
}

/// What the server says when a lock is not free in time.
const LOCK_NOT_AVAILABLE: &str = "55P03";
/// What it says to a role that may not do what it asks for.
const INSUFFICIENT_PRIVILEGE: &str = "42501";

/// Whether the role may not do what it asked for.
pub(crate) fn is_denied(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(DatabaseError::code).as_deref() == Some(INSUFFICIENT_PRIVILEGE)
}

/// How long opening is tried again after this.
fn patience_with(error: &sqlx::Error) -> Duration {
    const DEADLOCK: &str = "40P01";
    const CANNOT_CONNECT_NOW: &str = "57P03";
    const TOO_MANY_CONNECTIONS: &str = "53300";
    let error = match error {
        sqlx::Error::Migrate(error) => match &**error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error,
            _ => return Duration::ZERO,
        },
        error => error,
    };
    match error {
        sqlx::Error::Io(_) => ACQUIRE_LIMIT,
        sqlx::Error::Database(error) => match error.code().as_deref() {
            Some(LOCK_NOT_AVAILABLE | DEADLOCK) => OPEN_LIMIT,
            Some(CANNOT_CONNECT_NOW | TOO_MANY_CONNECTIONS) => ACQUIRE_LIMIT,
            // Who may only read waits for whoever makes the tables.
            Some(INSUFFICIENT_PRIVILEGE) => TABLES_LIMIT,
            _ => Duration::ZERO,
        },
        _ => Duration::ZERO,
    }
}

const fn number_of(task: Task) -> i32 {
    match task {
        Task::Catalogue => 0,
        Task::Files => 1,
        #[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "there are some ten rollups")]
        Task::Rollup(place) => 16 + place as i32,
    }
}

/// Tells of new commits: at once when one says so, and at the latest with the next sweep.
async fn follow(pool: &PgPool, limit: Duration, history: &History, sees: &mut bool) -> Result<Infallible, sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    limited(limit, listener.listen(CHANNEL)).await?;
    loop {
        let known = history.known();
        let look = sqlx::query_as(LOOK).bind(known.commit.0);
        let (newest, made_at, known_made_at, _): (_, _, _, Option<i64>) =
            limited(limit, look.fetch_one(&mut listener)).await?;
        history.note(&known, Look { newest: CommitId(newest), made_at, known_made_at });
        *sees = true;
        if let Ok(heard) = timeout(SWEEP, listener.try_recv()).await {
            heard?;
            // What was said meanwhile is answered by one look.
            while listener.next_buffered().is_some() {}
        }
    }
}

/// A connection for one transaction or one task.
#[derive(Debug)]
pub(crate) struct Session {
    connection: Option<PoolConnection<Postgres>>,
    pub(super) limit: Duration,
    is_in_transaction: bool,
    holds_lock: bool,
}

impl Session {
    pub(super) fn connection(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect("it is given away only when the session is dropped")
    }

    pub(super) async fn begin(mut self, statement: &'static str) -> Result<Self, sqlx::Error> {
        self.is_in_transaction = true;
        let limit = self.limit;
        limited(limit, self.connection().execute(statement)).await?;
        Ok(self)
    }

    /// Lifts the limits of the transaction, but for a server that is silent for hours.
    pub(super) async fn take_its_time(&mut self) -> Result<(), sqlx::Error> {
        let limit = self.limit;
        let lift = "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0";
        limited(limit, self.connection().execute(lift)).await?;
        self.limit = UNHURRIED_LIMIT;
        Ok(())
    }

    /// Takes a task until the transaction ends, if there is one, else until it is [released](Self::release). Whether it
    /// was free, or became free in time.
    async fn lock(&mut self, patience: Option<Duration>, task: Task) -> Result<bool, sqlx::Error> {
        let [wait, attempt] = if self.is_in_transaction {
            ["SELECT pg_advisory_xact_lock($1, $2)", "SELECT pg_try_advisory_xact_lock($1, $2)"]
        } else {
            ["SELECT pg_advisory_lock($1, $2)", "SELECT pg_try_advisory_lock($1, $2)"]
        };
        match patience {
            Some(patience) => self.lock_within(patience, wait, task).await,
            None => self.try_lock(attempt, task).await,
        }
    }

    async fn try_lock(&mut self, statement: &'static str, task: Task) -> Result<bool, sqlx::Error> {
        let limit = self.limit;
        let lock = sqlx::query_scalar(statement).bind(LOCKS).bind(number_of(task));
        limited(limit, lock.fetch_one(self.connection())).await
    }

    /// Queues for a lock: whoever only tries has to stand back meanwhile. A transaction that did not get it can only end.
    async fn lock_within(
        &mut self,
        patience: Duration,
        statement: &'static str,
        task: Task,
    ) -> Result<bool, sqlx::Error> {
        let limit = self.limit;
        let set = format!("SET lock_timeout = {}; SET statement_timeout = 0", patience.as_millis().max(1));
        limited(limit, self.connection().execute(AssertSqlSafe(set))).await?;
        let lock = sqlx::query(statement).bind(LOCKS).bind(number_of(task));
        let locked = limited(patience + limit, lock.execute(self.connection())).await;
        let is_ours = match locked {
            Ok(_) => true,
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(LOCK_NOT_AVAILABLE) => false,
            Err(error) => return Err(error),
        };
        if is_ours || !self.is_in_transaction {
            limited(limit, self.connection().execute("RESET lock_timeout; RESET statement_timeout")).await?;
        }
        Ok(is_ours)
    }

    /// Commits. After an error nobody knows whether the transaction was committed; its connection is closed, so that
    /// the server ends it.
    pub(super) async fn commit(mut self) -> Result<(), sqlx::Error> {
        let limit = self.limit;
        limited(limit, self.connection().execute("COMMIT")).await?;
        self.is_in_transaction = false;
        if self.holds_lock {
            self.release().await;
        }
        Ok(())
    }

    /// Gives a task back at once.
    pub(super) async fn release(&mut self) {
        let limit = self.limit;
        let released = limited(limit, self.connection().execute("SELECT pg_advisory_unlock_all()")).await;
        self.holds_lock = released.is_err();
    }
}

/// A text as Postgres keeps it: without NUL. What devices send has none.
pub(super) fn kept(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        if self.holds_lock {
            connection.close_on_drop();
        } else if self.is_in_transaction {
            tokio::spawn(async move {
                let ended = timeout(ROLLBACK_LIMIT, connection.execute("ROLLBACK")).await;
                if !matches!(ended, Ok(Ok(_))) {
                    connection.close_on_drop();
                }
            });
        }
    }
}

/// Brings the tables up to date, one process at a time. Where nothing is to be done nothing is written: a role that may
/// only read can open what others have made, those of a later program too: what it changes for others is in the changelog.
async fn migrate(config: &PostgresConfig) -> Result<Result<(), OpenError>, sqlx::Error> {
    let mut connection = config.connect().await?;
    let (version, commits, is_known): (i32, String, bool) = sqlx::query_as(
        "SELECT current_setting('server_version_num')::int4, current_setting('synchronous_commit'), \
         to_regclass('public._sqlx_migrations') IS NOT NULL",
    )
    .fetch_one(&mut connection)
    .await?;
    if version < MIN_VERSION {
        return Ok(Err(OpenError::PostgresVersion { found: version / 10_000 }));
    }
    if commits == "off" {
        return Ok(Err(OpenError::NotDurable));
    }
    let migrator = migrations::of_postgres();
    let applied = if is_known { sqlx::query_as(APPLIED).fetch_all(&mut connection).await? } else { Vec::new() };
    if !migrations::are_all(&applied, &migrator) {
        for Amendment { applied, today, statements } in amendments(applied, &FORMER_OF_POSTGRES, &migrator) {
            let mut transaction = connection.begin().await?;
            let amended = sqlx::query(AMENDED).bind(today.version).bind(today.description).bind(today.checksum);
            let amended = amended.bind(applied.0).bind(applied.1).execute(&mut *transaction).await?;
            if amended.rows_affected() > 0 {
                transaction.execute(sqlx::raw_sql(statements)).await?;
            }
            transaction.commit().await?;
        }
        migrator.run(&mut connection).await?;
    }
    connection.close().await?;
    Ok(Ok(()))
}
