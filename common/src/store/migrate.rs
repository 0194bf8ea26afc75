//! The schema's versions. Both dialects have the same migrations, by number and name.

use std::fmt;
use std::sync::LazyLock;

use sqlx::SqlSafeStr as _;
use sqlx::migrate::{Migrate, Migration, MigrationType, Migrator};

use super::bulk::{Session as _, Sql};
use super::error::StoreError;
use super::pool::{Pool, on_pool};

/// Which migrations a database has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MigrationStatus {
    /// Applied and known, oldest first.
    pub applied: Vec<MigrationId>,
    /// Known and not applied yet.
    pub pending: Vec<MigrationId>,
    /// Applied by a newer version of the program.
    pub unknown: Vec<i64>,
}

/// The number and name of a migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationId {
    /// Counts from 1.
    pub version: i64,
    /// What it does.
    pub name: String,
}

impl fmt::Display for MigrationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04} {}", self.version, self.name)
    }
}

impl MigrationStatus {
    /// Refuses a schema that is not exactly the one this program was built for.
    pub fn check(&self) -> Result<(), StoreError> {
        match self.unknown.first() {
            Some(&version) => Err(StoreError::Newer { version }),
            None if self.pending.is_empty() => Ok(()),
            None => Err(StoreError::Outdated { pending: self.pending.len() }),
        }
    }
}

macro_rules! migrations {
    ($dialect:literal: $($version:literal $file:literal $name:literal),+ $(,)?) => {
        LazyLock::new(|| {
            Migrator::with_migrations(vec![$(Migration::new(
                $version,
                $name.into(),
                MigrationType::Simple,
                include_str!(concat!("../../migrations/", $dialect, "/", $file)).into_sql_str(),
                false,
            )),+])
        })
    };
}

static SQLITE: LazyLock<Migrator> = migrations!("sqlite":
    1 "0001_initial.sql" "initial",
    2 "0002_identity.sql" "identity",
    3 "0003_auth.sql" "auth",
    4 "0004_trust.sql" "trust",
    5 "0005_webhooks.sql" "webhooks",
);
static POSTGRES: LazyLock<Migrator> = migrations!("postgres":
    1 "0001_initial.sql" "initial",
    2 "0002_identity.sql" "identity",
    3 "0003_auth.sql" "auth",
    4 "0004_trust.sql" "trust",
    5 "0005_webhooks.sql" "webhooks",
);

fn migrator(pool: &Pool) -> &'static Migrator {
    match pool {
        Pool::Sqlite(_) => &SQLITE,
        Pool::Postgres(_) => &POSTGRES,
    }
}

/// Says which migrations the database has; refuses one that was applied in another form.
pub(super) async fn status(pool: &Pool) -> Result<MigrationStatus, StoreError> {
    let migrator = migrator(pool);
    let table = migrator.table_name.as_ref();
    let applied = if is_there(pool, table).await? {
        on_pool!(pool, db => async {
            db.list_applied_migrations(table).await.map_err(sqlx::Error::from)
        })?
    } else {
        Vec::new()
    };
    let mut status = MigrationStatus::default();
    for known in migrator.iter() {
        let id = MigrationId { version: known.version, name: known.description.to_string() };
        match applied.iter().find(|applied| applied.version == known.version) {
            Some(applied) if applied.checksum != known.checksum => {
                return Err(StoreError::Altered { version: known.version });
            }
            Some(_) => status.applied.push(id),
            None => status.pending.push(id),
        }
    }
    let unknown = applied.iter().map(|applied| applied.version);
    status.unknown = unknown.filter(|version| !migrator.version_exists(*version)).collect();
    Ok(status)
}

/// Whether the database has a table: to look must not make it.
async fn is_there(pool: &Pool, table: &str) -> Result<bool, StoreError> {
    const SQL: Sql = Sql {
        sqlite: "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = $1",
        postgres: "SELECT (to_regclass($1) IS NOT NULL)::int4::int8",
    };
    let tables: i64 =
        on_pool!(pool, db => sqlx::query_scalar(db.text(SQL)).bind(table).fetch_one(db))?;
    Ok(tables > 0)
}

/// Applies what is pending. May take long: no patience limit.
pub(super) async fn migrate(pool: &Pool) -> Result<(), StoreError> {
    let migrator = migrator(pool);
    match pool {
        Pool::Sqlite(pool) => migrator.run(pool).await?,
        Pool::Postgres(pool) => {
            let mut connection = pool.acquire().await?.detach();
            sqlx::query("SET statement_timeout = 0").execute(&mut connection).await?;
            migrator.run(&mut connection).await?;
        }
    }
    Ok(())
}
