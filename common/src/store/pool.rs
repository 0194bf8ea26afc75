//! The two databases behind one name, and the macros that write a statement once for both.

use std::future::Future;
use std::time::Duration;

use sqlx::{PgPool, SqlitePool};

use super::error::StoreError;

/// Connections to one of the two databases.
#[derive(Clone, Debug)]
pub(super) enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// How long PostgreSQL may take for one statement. A server that was stopped answers nothing at
/// all, so the limit is kept on this side of the wire.
pub(super) const POSTGRES_PATIENCE: Duration = Duration::from_secs(4);

/// How long SQLite may take. The disk is ours: waiting is better than an unknown outcome.
pub(super) const SQLITE_PATIENCE: Duration = Duration::from_secs(60);

impl Pool {
    /// How long one step may take.
    pub(super) fn patience(&self) -> Duration {
        match self {
            Self::Sqlite(_) => SQLITE_PATIENCE,
            Self::Postgres(_) => POSTGRES_PATIENCE,
        }
    }

    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

/// Waits for an answer of the database, but not for ever.
pub(super) async fn patiently<T, E: From<StoreError>>(
    patience: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    match tokio::time::timeout(patience, work).await {
        Ok(done) => done,
        Err(_) => {
            Err(StoreError::Unreachable(format!("no answer within {} s", patience.as_secs()))
                .into())
        }
    }
}

/// Runs `$work` with `$db`, a connection of the pool, whichever database it leads to.
///
/// `$work` is a future of `Result<T, sqlx::Error>`; the answer is `Result<T, StoreError>`. A
/// connection that did not answer is closed, not given back.
macro_rules! on_pool {
    ($pool:expr, $db:ident => $work:expr) => {
        on_pool!($pool, $pool.patience(), $db => $work)
    };
    ($pool:expr, $patience:expr, $db:ident => $work:expr) => {
        match $pool {
            $crate::store::pool::Pool::Sqlite(pool) => {
                $crate::store::pool::on_connection!(pool, $patience, $db => $work)
            }
            $crate::store::pool::Pool::Postgres(pool) => {
                $crate::store::pool::on_connection!(pool, $patience, $db => $work)
            }
        }
    };
}

macro_rules! on_connection {
    ($pool:expr, $patience:expr, $db:ident => $work:expr) => {
        match $pool.acquire().await {
            Err(error) => Err($crate::store::StoreError::from(error)),
            Ok(mut held) => {
                let done = {
                    let $db = &mut *held;
                    $crate::store::pool::patiently($patience, async {
                        $work.await.map_err($crate::store::StoreError::from)
                    })
                    .await
                };
                if matches!(done, Err($crate::store::StoreError::Unreachable(_))) {
                    drop(held.detach());
                }
                done
            }
        }
    };
}

/// Runs `$work` with `$tx`, a connection within a transaction that may write, and commits.
///
/// `$work` is a future of `Result<T, CommitError>`, and so is the answer. Any error rolls back;
/// only a commit that got no answer leaves the outcome unknown. SQLite takes its write lock at
/// once (`BEGIN IMMEDIATE`), so that no statement finds the database changed under it.
macro_rules! in_transaction {
    ($pool:expr, $patience:expr, $tx:ident => $work:expr) => {
        match $pool {
            $crate::store::pool::Pool::Sqlite(pool) => $crate::store::pool::transaction_on!(
                pool, "BEGIN IMMEDIATE", $patience, $tx => $work
            ),
            $crate::store::pool::Pool::Postgres(pool) => {
                $crate::store::pool::transaction_on!(pool, "BEGIN", $patience, $tx => $work)
            }
        }
    };
}

macro_rules! transaction_on {
    ($pool:expr, $begin:literal, $patience:expr, $tx:ident => $work:expr) => {
        match $pool.acquire().await {
            Err(error) => Err($crate::store::CommitError::from(error)),
            Ok(mut held) => {
                let done = async {
                    use sqlx::Connection as _;
                    let begun = async {
                        held.begin_with($begin).await.map_err($crate::store::CommitError::from)
                    };
                    let mut transaction = $crate::store::pool::patiently($patience, begun).await?;
                    let value = {
                        let $tx = &mut *transaction;
                        $crate::store::pool::patiently($patience, $work).await?
                    };
                    let commit = async {
                        transaction.commit().await.map_err($crate::store::CommitError::from)
                    };
                    match $crate::store::pool::patiently($patience, commit).await {
                        Err(
                            $crate::store::CommitError::Unreachable(cause)
                            | $crate::store::CommitError::Refused(cause),
                        ) => Err($crate::store::CommitError::OutcomeUnknown(cause)),
                        other => other.map(|()| value),
                    }
                }
                .await;
                if matches!(
                    done,
                    Err($crate::store::CommitError::Unreachable(_)
                        | $crate::store::CommitError::OutcomeUnknown(_))
                ) {
                    drop(held.detach());
                }
                done
            }
        }
    };
}

pub(super) use {in_transaction, on_connection, on_pool, transaction_on};
