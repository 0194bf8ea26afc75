//! The database of a leader or follower: the log, the views that follow from it, and what only
//! this node knows.
//!
//! SQLite and PostgreSQL run the same statements (`$n` parameters); only the schema, locking and
//! `bulk` know the dialect. Table names say who owns the rows: `log_*` is the log itself and is
//! written by [`Store::commit`] alone, `view_*` is a pure function of the log, `local_*` is
//! neither replicated nor rebuilt.

mod auth;
mod bulk;
mod commit;
mod edges;
mod endorsement_edges;
mod error;
mod evidence;
mod extend;
mod graph_nodes;
mod identity;
mod key_lists;
mod local;
mod look;
mod mend;
mod migrate;
mod pool;
mod portable;
mod raw;
mod read;
mod resume;
mod search;
mod standing;
mod suspects;
mod tiles;
mod trust;
mod trust_lists;
mod url;
mod views;
mod webhooks;

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, SqlitePool};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use bulk::{Session as _, Sql, Value, values};
use pool::{Pool, on_pool, patiently};
use suspects::Suspects;
use tiles::TileCache;
use url::Target;

use crate::config::{AUTO_MIGRATE, Settings};
use crate::exit::Failure;

pub use auth::ChallengeRow;
pub use commit::{Commit, Guard, HeadRow, LogState, NewState};
pub use edges::Moment;
pub use endorsement_edges::{EdgeFilter, EdgeRow};
pub use error::{CommitError, StoreError};
pub use evidence::{EvidenceRow, Kept, OBSERVATION};
pub use extend::{Extension, Tip};
pub use graph_nodes::NodeRow;
pub use local::{
    Cosignature, Evidence, Incident, KeptHead, LocalWrite, NewEvidence, NewIncident, PendingKey,
    PendingOutcome, Remembered, ReportRow, ReservedKey,
};
pub use look::Server;
pub use mend::RowChange;
pub use migrate::{MigrationId, MigrationStatus};
pub use portable::{Cell, Frozen, Kind, Refill, TABLES, Table, VIEWS};
pub use raw::{HeadTable, LogEnd, RawEntry, RawHead, RawState};
pub use read::{Filter, Order};
pub use resume::{ChainError, Fold};
pub use search::{MAX_FOUND, Matches, Referent, Span};
pub use standing::Standing;
pub use trust_lists::{EndorsementSide, Window};
pub use url::{DatabaseUrl, UrlError};
pub use webhooks::{
    Advance, Announcement, Attempt, DeliveryRow, DueMessage, Subscription, TurnRecord, WebhookKeys,
    WebhookPut, WebhookRow, WebhookState,
};

/// A node's database. Clones share connections and caches.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    url: DatabaseUrl,
    /// One connection on SQLite, which has one writer.
    writers: Pool,
    readers: Pool,
    tiles: TileCache,
    suspects: Suspects,
    statements: AtomicU64,
    /// A connection of its own for checkpoints, on SQLite.
    checkpoints: Option<SqlitePool>,
}

/// How a database is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenOptions {
    /// What to do with a schema that is not this version's.
    pub schema: Schema,
    /// How many connections read at once.
    pub readers: u32,
    /// Whether a PostgreSQL server that may forget what it confirmed is refused.
    pub require_durable: bool,
}

/// What opening a database does about its schema. A newer one is always refused, except by
/// [`Schema::Ignore`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schema {
    /// Apply what is pending: the default.
    Migrate,
    /// Refuse a schema with pending migrations.
    Require,
    /// Open whatever is there, to look at it.
    Ignore,
}

impl Schema {
    /// What these settings say that a node does.
    pub fn of(settings: &Settings) -> Self {
        if settings.value(&AUTO_MIGRATE) { Self::Migrate } else { Self::Require }
    }
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self { schema: Schema::Migrate, readers: 4, require_durable: true }
    }
}

/// The lock of the log's one writer; given up when dropped.
#[derive(Debug)]
pub struct ExclusiveLock(Option<PgConnection>);

/// The advisory lock's number: "diogenes" in ASCII.
const LOCK_KEY: i64 = i64::from_be_bytes(*b"diogenes");

/// How long a connection may take to come about.
const ACQUIRE_PATIENCE: Duration = Duration::from_secs(3);

/// A connection that rested for so long is asked whether it still lives before it is used.
const RESTED: Duration = Duration::from_secs(2);

impl Store {
    /// Opens the database; an SQLite file is created, readable for its owner alone.
    pub async fn open(url: &DatabaseUrl, options: OpenOptions) -> Result<Self, StoreError> {
        let (writers, readers, checkpoints) = match url.target() {
            Target::Sqlite(path) => open_sqlite(path, options).await?,
            Target::Postgres(target) => {
                let (writers, readers) = open_postgres(target, options).await?;
                (writers, readers, None)
            }
        };
        let store = Self(Arc::new(Inner {
            url: url.clone(),
            writers,
            readers,
            tiles: TileCache::default(),
            suspects: Suspects::default(),
            statements: AtomicU64::new(0),
            checkpoints,
        }));
        store.prepare(options.schema).await?;
        Ok(store)
    }

    /// Does about the schema what is asked. [`Store::open`] does it by itself; a node first locks the
    /// database, so that it changes no schema under another one.
    pub async fn prepare(&self, schema: Schema) -> Result<(), StoreError> {
        match schema {
            Schema::Migrate => self.migrate().await,
            Schema::Require => self.migrations().await?.check(),
            Schema::Ignore => Ok(()),
        }
    }

    /// Where the database is; shows no password.
    pub fn url(&self) -> &DatabaseUrl {
        &self.0.url
    }

    /// Says which migrations the database has.
    pub async fn migrations(&self) -> Result<MigrationStatus, StoreError> {
        migrate::status(&self.0.writers).await
    }

    /// Applies the pending migrations.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        match self.migrations().await?.check() {
            Err(StoreError::Outdated { .. }) => migrate::migrate(&self.0.writers).await,
            other => other,
        }
    }

    /// Asks the database for a sign of life.
    pub async fn ping(&self) -> Result<(), StoreError> {
        on_pool!(&self.0.readers, db => db.ping())
    }

    /// Locks the log against other processes on the same database, waiting up to `wait`.
    ///
    /// On SQLite the lock of the data directory does that, and this makes sure that what is found is
    /// on the disk.
    pub async fn lock_exclusive(&self, wait: Duration) -> Result<ExclusiveLock, StoreError> {
        const SQL: &str = "SELECT pg_try_advisory_lock($1)";
        let pool = match &self.0.writers {
            Pool::Postgres(pool) => pool,
            Pool::Sqlite(pool) => {
                write_again(pool).await?;
                return Ok(ExclusiveLock(None));
            }
        };
        let mut connection = pool.acquire().await?.detach();
        let taken = async {
            while !sqlx::query_scalar::<_, bool>(SQL)
                .bind(LOCK_KEY)
                .fetch_one(&mut connection)
                .await?
            {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Ok::<_, StoreError>(())
        };
        match tokio::time::timeout(wait, taken).await {
            Ok(taken) => taken?,
            Err(_) => return Err(StoreError::Locked),
        }
        Ok(ExclusiveLock(Some(connection)))
    }

    /// How many statements commits have run so far, `BEGIN` and `COMMIT` included.
    pub fn commit_statements(&self) -> u64 {
        self.0.statements.load(Ordering::Relaxed)
    }

    /// Closes all connections; on SQLite this also folds the write-ahead log into the file.
    pub async fn close(&self) {
        if let Some(pool) = &self.0.checkpoints {
            pool.close().await;
        }
        self.0.readers.close().await;
        self.0.writers.close().await;
    }

    /// Folds SQLite's write-ahead log into its file until `stop` is cancelled, as far as that
    /// disturbs nobody, so that commits need not. PostgreSQL does this by itself.
    pub async fn keep_folded(self, stop: CancellationToken) -> Result<(), Failure> {
        let Some(pool) = &self.0.checkpoints else {
            stop.cancelled().await;
            return Ok(());
        };
        let mut ticks = tokio::time::interval(FOLD_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut folded = 0;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => return Ok(()),
            }
            let statements = self.commit_statements();
            if statements == folded {
                continue;
            }
            folded = statements;
            // What makes this fail, fails the commits as well, and is told there.
            if let Err(error) = sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").execute(pool).await {
                tracing::debug!(%error, "the write-ahead log is left to the commits");
            }
        }
    }

    /// Runs one statement that writes; answers how many rows it touched.
    async fn write(&self, sql: Sql, values: Vec<Value>) -> Result<u64, StoreError> {
        on_pool!(&self.0.writers, db => db.run(sql, values))
    }

    fn count_statements(&self, statements: u64) {
        self.0.statements.fetch_add(statements, Ordering::Relaxed);
    }
}

impl ExclusiveLock {
    /// Whether the lock is still held: it is lost with its connection.
    pub async fn is_held(&mut self) -> bool {
        let Some(connection) = &mut self.0 else { return true };
        let asked = async { connection.ping().await.map_err(StoreError::from) };
        patiently(ACQUIRE_PATIENCE, asked).await.is_ok()
    }
}

/// Of a new file: half as many system calls for a batch as with SQLite's own 4 KiB, while a single
/// event, which touches a handful of pages, does not get slower.
const PAGE_BYTES: u32 = 8192;

/// From so many pages of write-ahead log on (32 MiB) a commit itself folds them into the file;
/// below, [`Store::keep_folded`] does it beside the commits.
const WAL_PAGES: &str = "4096";

/// How often the write-ahead log is folded beside the commits.
const FOLD_EVERY: Duration = Duration::from_millis(200);

/// How many rows a reading thread may be ahead of whoever takes them: each hand-over costs two
/// context switches.
const ROW_BUFFER: usize = 512;

async fn open_sqlite(
    path: &Path,
    open: OpenOptions,
) -> Result<(Pool, Pool, Option<SqlitePool>), StoreError> {
    create_private(path).map_err(|error| StoreError::Disk(error.to_string()))?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .page_size(PAGE_BYTES)
        .pragma("wal_autocheckpoint", WAL_PAGES)
        .pragma("temp_store", "MEMORY")
        .busy_timeout(Duration::from_secs(10))
        .disable_statement_logging();
    let writers = SqlitePoolOptions::new()
        .max_connections(1)
        .acquire_timeout(Duration::from_secs(30))
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .connect_with(options.clone().pragma("cache_size", "-32768"))
        .await?;
    let checkpoints = SqlitePoolOptions::new()
        .max_connections(1)
        .test_before_acquire(false)
        .connect_lazy_with(options.clone());
    let readers = SqlitePoolOptions::new()
        .max_connections(open.readers.max(1))
        .acquire_timeout(ACQUIRE_PATIENCE)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .connect_with(
            options
                .pragma("cache_size", "-8192")
                .pragma("query_only", "ON")
                .row_buffer_size(ROW_BUFFER),
        )
        .await?;
    Ok((Pool::Sqlite(writers), Pool::Sqlite(readers), Some(checkpoints)))
}

/// Writes what the write-ahead log holds into the file, and syncs it.
///
/// After a failed fsync the system goes on showing bytes that are on no disk, and a later fsync of
/// them succeeds. So whoever goes on from what another process left writes it once more. PostgreSQL
/// does the same when it starts.
async fn write_again(pool: &SqlitePool) -> Result<(), StoreError> {
    let (busy, _, _): (i64, i64, i64) =
        sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(pool).await?;
    if busy != 0 {
        tracing::warn!("another process reads the database: its write-ahead log stays as it is");
    }
    Ok(())
}

/// Makes the file, if need be, so that nobody else may read it; SQLite gives its companions the
/// same mode.
fn create_private(path: &Path) -> io::Result<()> {
    match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

async fn open_postgres(
    target: &PgConnectOptions,
    open: OpenOptions,
) -> Result<(Pool, Pool), StoreError> {
    // A node that vanished without a word must not keep its locks for long.
    let options = target
        .clone()
        .application_name("diogenes")
        .options([
            ("idle_in_transaction_session_timeout", "10000"),
            ("tcp_keepalives_idle", "10"),
            ("tcp_keepalives_interval", "5"),
            ("tcp_keepalives_count", "3"),
        ])
        .disable_statement_logging();
    let pool = |connections: u32| {
        PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(ACQUIRE_PATIENCE)
            .test_before_acquire(false)
            .before_acquire(|connection, meta| {
                Box::pin(async move {
                    if meta.idle_for > RESTED {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
    };
    let writers =
        pool(4).connect_with(options.clone().options([("statement_timeout", "30000")])).await?;
    let readers = pool(open.readers.max(1) * 2)
        .connect_lazy_with(options.options([("statement_timeout", "5000")]));
    let mut connection = writers.acquire().await?;
    check_server(&mut connection, open.require_durable).await?;
    drop(connection);
    Ok((Pool::Postgres(writers), Pool::Postgres(readers)))
}

/// Refuses a server that is too old or that may forget what it confirmed.
async fn check_server(connection: &mut PgConnection, durable: bool) -> Result<(), StoreError> {
    const SQL: Sql = Sql::same("SELECT current_setting('server_version_num')::int8 / 10000");
    const SETTINGS: &str = "SELECT current_setting($1)";
    let version = connection.number(SQL, values![]).await?.unwrap_or(0);
    if version < 14 {
        return Err(StoreError::TooOld { version });
    }
    for setting in ["fsync", "synchronous_commit", "full_page_writes"] {
        let value: String =
            sqlx::query_scalar(SETTINGS).bind(setting).fetch_one(&mut *connection).await?;
        if durable && value == "off" {
            return Err(StoreError::NotDurable { setting });
        }
    }
    Ok(())
}
