//! Opening a database to look at it: nothing in it changes, and no missing file is made.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

use super::error::StoreError;
use super::pool::{Pool, on_pool};
use super::suspects::Suspects;
use super::tiles::TileCache;
use super::url::Target;
use super::{ACQUIRE_PATIENCE, DatabaseUrl, Inner, Store};

/// What a PostgreSQL server says about itself and about the connection to it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Server {
    /// Its major version.
    pub version: i64,
    /// The user of the connection.
    pub user: String,
    /// Whether that user may do everything on the whole server.
    pub is_superuser: bool,
    /// Whether that user may write what a node writes.
    pub may_write: bool,
    /// Whether the connection is encrypted.
    pub is_encrypted: bool,
    /// Whether the connection leaves this machine.
    pub is_remote: bool,
    /// `sslmode` of the address.
    pub sslmode: &'static str,
    /// The settings among `fsync`, `synchronous_commit` and `full_page_writes` that are off.
    pub not_durable: Vec<String>,
}

impl Store {
    /// Opens a database that is there, for reading alone.
    ///
    /// A closed SQLite database is read as a file that nobody writes, so that no companion file
    /// comes into being beside it.
    pub async fn look(url: &DatabaseUrl) -> Result<Self, StoreError> {
        let pool = match url.target() {
            Target::Sqlite(path) => look_at_sqlite(path).await?,
            Target::Postgres(target) => look_at_postgres(target).await?,
        };
        Ok(Self(Arc::new(Inner {
            url: url.clone(),
            writers: pool.clone(),
            readers: pool,
            tiles: TileCache::default(),
            suspects: Suspects::default(),
            statements: AtomicU64::new(0),
            checkpoints: None,
        })))
    }

    /// What the server says about itself; `None` for SQLite, which has none.
    pub async fn server(&self) -> Result<Option<Server>, StoreError> {
        let Target::Postgres(target) = self.0.url.target() else { return Ok(None) };
        let (version, user, is_superuser, may_write, is_encrypted, is_remote, off): About =
            on_pool!(&self.0.readers, db => sqlx::query_as(ABOUT).fetch_one(db))?;
        let not_durable = off.split(',').filter(|name| !name.is_empty()).map(str::to_owned);
        Ok(Some(Server {
            version,
            user,
            is_superuser,
            may_write,
            is_encrypted,
            is_remote,
            sslmode: sslmode(target),
            not_durable: not_durable.collect(),
        }))
    }
}

type About = (i64, String, bool, bool, bool, bool, String);

const ABOUT: &str = "SELECT current_setting('server_version_num')::int8 / 10000,
    current_user::text,
    COALESCE((SELECT rolsuper FROM pg_roles WHERE rolname = current_user), false),
    to_regclass('log_state') IS NULL
        OR (has_table_privilege('log_state', 'UPDATE') AND has_table_privilege('log_state', 'SELECT')),
    COALESCE((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false),
    NOT (inet_client_addr() IS NULL OR inet_client_addr() <<= inet '127.0.0.0/8'
        OR inet_client_addr() = inet '::1'),
    COALESCE((SELECT string_agg(name, ',' ORDER BY name) FROM pg_settings
        WHERE name IN ('fsync', 'synchronous_commit', 'full_page_writes') AND setting = 'off'), '')";

fn sslmode(target: &PgConnectOptions) -> &'static str {
    match target.get_ssl_mode() {
        PgSslMode::Disable => "disable",
        PgSslMode::Allow => "allow",
        PgSslMode::Prefer => "prefer",
        PgSslMode::Require => "require",
        PgSslMode::VerifyCa => "verify-ca",
        PgSslMode::VerifyFull => "verify-full",
    }
}

async fn look_at_sqlite(path: &Path) -> Result<Pool, StoreError> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let is_closed = !PathBuf::from(log).exists();
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .read_only(true)
        .immutable(is_closed)
        .pragma("query_only", "ON")
        .disable_statement_logging();
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .acquire_timeout(ACQUIRE_PATIENCE)
        .connect_with(options)
        .await?;
    Ok(Pool::Sqlite(pool))
}

async fn look_at_postgres(target: &PgConnectOptions) -> Result<Pool, StoreError> {
    let options = target
        .clone()
        .application_name("diogenes doctor")
        .options([("default_transaction_read_only", "on"), ("statement_timeout", "5000")])
        .disable_statement_logging();
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(ACQUIRE_PATIENCE)
        .connect_with(options)
        .await?;
    Ok(Pool::Postgres(pool))
}
