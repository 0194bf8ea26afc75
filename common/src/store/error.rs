//! What can go wrong between a node and its database.

use sqlx::error::ErrorKind;
use sqlx::migrate::MigrateError;
use sqlx::sqlite::SqliteError;

/// Why the store gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The database does not answer, or not in time. Trying again later is right.
    #[error("the database cannot be reached: {0}")]
    Unreachable(String),
    /// An entry's bytes are not what was logged.
    #[error("entry {id} is damaged: its stored bytes do not match its hash")]
    Corrupt {
        /// The damaged entry.
        id: u64,
    },
    /// A tile that a complete tree must have is missing or is not 256 hashes.
    #[error("tile {index} of level {level} is damaged or missing")]
    CorruptTile {
        /// The tile's level.
        level: u8,
        /// Its place in the level.
        index: u64,
    },
    /// A row holds something that no version of this program writes.
    #[error("a row of {table} is not readable")]
    Malformed {
        /// The table.
        table: &'static str,
    },
    /// The disk or the file system failed (or the file is no database any more).
    #[error("the disk failed under the database: {0}")]
    Disk(String),
    /// The row exists already, or the statement lost against another writer.
    #[error("the database refused a row that contradicts one that it has: {0}")]
    Conflict(String),
    /// A newer version of the program made this database.
    #[error("the database has migration {version}, which this version does not know: upgrade")]
    Newer {
        /// The unknown migration.
        version: i64,
    },
    /// Migrations are waiting and the caller did not ask to apply them.
    #[error("{pending} migrations are waiting: run `db migrate`")]
    Outdated {
        /// How many.
        pending: usize,
    },
    /// A migration that was applied is not the one that this version knows.
    #[error("migration {version} was applied in another form, or only in part")]
    Altered {
        /// The migration.
        version: i64,
    },
    /// The server is set up to lose what it confirmed.
    #[error("PostgreSQL has {setting} off: what it confirms would not survive a crash")]
    NotDurable {
        /// The setting to switch on.
        setting: &'static str,
    },
    /// Another process holds the lock of this log.
    #[error("another process writes to this database")]
    Locked,
    /// The server is older than PostgreSQL 14.
    #[error("PostgreSQL {version} is too old: 14 is the least")]
    TooOld {
        /// The server's major version.
        version: i64,
    },
    /// The database did not understand a statement: a defect, or not our database.
    #[error("the database refused a statement: {0}")]
    Refused(String),
}

/// Why a commit did not happen, or may not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// The log is not where the writer believes it is: another one wrote. Never retry.
    #[error("the log moved under this writer: another one is the leader")]
    NotLeader,
    /// The connection broke while the commit was on its way: it happened or it did not.
    #[error("whether the last batch was committed is unknown: {0}")]
    OutcomeUnknown(String),
    /// Nothing was committed, the database does not answer.
    #[error("the database cannot be reached, nothing was written: {0}")]
    Unreachable(String),
    /// Nothing may be trusted any more: the disk failed.
    #[error("the disk failed under the database: {0}")]
    Disk(String),
    /// Nothing was committed: a row contradicts one that is there.
    #[error("nothing was written: {0}")]
    Conflict(String),
    /// Nothing was committed: the entries do not follow the guard's size, or the new state does
    /// not follow from both.
    #[error("nothing was written: the batch does not continue the log")]
    Gap,
    /// Nothing was committed: the database did not understand a statement.
    #[error("nothing was written, the database refused a statement: {0}")]
    Refused(String),
}

impl From<StoreError> for CommitError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unreachable(cause) => Self::Unreachable(cause),
            StoreError::Disk(cause) => Self::Disk(cause),
            StoreError::Conflict(cause) => Self::Conflict(cause),
            other => Self::Refused(other.to_string()),
        }
    }
}

impl From<sqlx::Error> for CommitError {
    fn from(error: sqlx::Error) -> Self {
        StoreError::from(error).into()
    }
}

impl From<CommitError> for StoreError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Unreachable(cause) | CommitError::OutcomeUnknown(cause) => {
                Self::Unreachable(cause)
            }
            CommitError::Disk(cause) => Self::Disk(cause),
            CommitError::Conflict(cause) => Self::Conflict(cause),
            other @ (CommitError::NotLeader | CommitError::Gap | CommitError::Refused(_)) => {
                Self::Refused(other.to_string())
            }
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let cause = error.to_string();
        match error {
            sqlx::Error::Database(error) => {
                if error.kind() == ErrorKind::UniqueViolation {
                    return Self::Conflict(cause);
                }
                let code = error.code().unwrap_or_default();
                match error.try_downcast_ref::<SqliteError>() {
                    Some(_) => from_sqlite(code.parse().unwrap_or(0), cause),
                    None => from_postgres(&code, cause),
                }
            }
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Unreachable(cause),
            sqlx::Error::Migrate(error) => (*error).into(),
            _ => Self::Refused(cause),
        }
    }
}

impl From<MigrateError> for StoreError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
            MigrateError::VersionMissing(version) | MigrateError::VersionTooNew(version, _) => {
                Self::Newer { version }
            }
            MigrateError::VersionMismatch(version) | MigrateError::Dirty(version) => {
                Self::Altered { version }
            }
            other => Self::Refused(other.to_string()),
        }
    }
}

/// Judges an SQLite result code; the low byte is the primary one.
fn from_sqlite(code: i32, cause: String) -> StoreError {
    const BUSY: i32 = 5;
    const LOCKED: i32 = 6;
    const READONLY: i32 = 8;
    const IOERR: i32 = 10;
    const CORRUPT: i32 = 11;
    const FULL: i32 = 13;
    const CANTOPEN: i32 = 14;
    const CONSTRAINT: i32 = 19;
    const NOTADB: i32 = 26;
    match code & 0xff {
        BUSY | LOCKED => StoreError::Unreachable(cause),
        READONLY | IOERR | CORRUPT | FULL | CANTOPEN | NOTADB => StoreError::Disk(cause),
        CONSTRAINT => StoreError::Conflict(cause),
        _ => StoreError::Refused(cause),
    }
}

/// Judges an SQLSTATE: its first two characters are the class.
fn from_postgres(code: &str, cause: String) -> StoreError {
    match code {
        // A standby that answers in place of the primary.
        "25006" => StoreError::Unreachable(cause),
        // Damaged data and damaged indexes.
        "XX001" | "XX002" => StoreError::Disk(cause),
        _ => match code.get(..2) {
            // Connection, rollback by the server, resources, cancellation and shutdown, system.
            Some("08" | "40" | "53" | "55" | "57" | "58") => StoreError::Unreachable(cause),
            Some("21" | "23") => StoreError::Conflict(cause),
            _ => StoreError::Refused(cause),
        },
    }
}
