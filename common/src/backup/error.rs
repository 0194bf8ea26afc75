//! Why there is no backup, or why one is not to be restored.

use std::path::PathBuf;

use super::entries::FrameError;
use super::manifest::ManifestError;
use super::rows::RowError;
use crate::batch::EntryFault;
use crate::exit::Failure;
use crate::files::{FileError, Role};
use crate::head::HeadError;
use crate::merkle::TreeSize;
use crate::store::{ChainError, StoreError};

/// Why a backup was not made, did not verify or was not restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The directory holds no backup.
    #[error("there is no backup in {}", .0.display())]
    None(PathBuf),
    /// The directory holds backups of several logs.
    #[error("{} holds backups of several logs", .0.display())]
    SeveralLogs(PathBuf),
    /// The manifest is not to be read.
    #[error("{} is damaged: {error}", path.display())]
    Manifest {
        /// Which one.
        path: PathBuf,
        /// Why.
        error: ManifestError,
    },
    /// A file that every backup has is not in the manifest, or one that none has is.
    #[error("the manifest does not list the files of a backup: `{0}`")]
    OtherFiles(String),
    /// A file that the manifest lists is not there.
    #[error("{} is missing", .0.display())]
    Missing(PathBuf),
    /// A file holds something else than what was written.
    #[error("{} is damaged: {detail}", path.display())]
    Damaged {
        /// Which one.
        path: PathBuf,
        /// How that was found.
        detail: Damage,
    },
    /// The private keys are kept elsewhere, and it was not said where.
    #[error("the keys of {} are kept elsewhere", .0.display())]
    KeysElsewhere(PathBuf),
    /// The backup is one of another role.
    #[error("this is the backup of a {}, not of a {}", found.name(), expected.name())]
    OtherRole {
        /// Who is asking.
        expected: Role,
        /// Whose it is.
        found: Role,
    },
    /// There is nothing to back up.
    #[error("the database holds no log with a signed tree head")]
    Empty,
    /// The data directory is in use.
    #[error("{} is not empty", .0.display())]
    DirectoryNotEmpty(PathBuf),
    /// The database is in use.
    #[error("the database is not empty")]
    DatabaseNotEmpty,
    /// What an interrupted restore left is not the beginning of this backup.
    #[error("the database holds {held} entries that are not the beginning of this backup")]
    OtherBeginning {
        /// How many.
        held: TreeSize,
    },
    /// A restore was interrupted here.
    #[error("a restore into {} was not finished", .0.display())]
    Unfinished(PathBuf),
    /// The clock named two backups alike.
    #[error("{} is there already", .0.display())]
    Exists(PathBuf),
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How a file shows that it is damaged.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// An entry is cut off, or of no possible length.
    #[error("entry {id}: {error}")]
    Frame {
        /// Its id.
        id: u64,
        /// Why.
        error: FrameError,
    },
    /// An entry breaks a rule of the log.
    #[error("{0}")]
    Entry(#[from] EntryFault),
    /// There are fewer or more entries than the head has.
    #[error("it holds {0} entries, not those of the tree head")]
    Count(TreeSize),
    /// The entries do not give the root or the chain head that was signed.
    #[error("its entries do not give the root that was signed")]
    Root,
    /// Entry 1 is that of another log.
    #[error("its first entry is that of another log")]
    OtherLog,
    /// The head does not verify.
    #[error("{0}")]
    Head(#[from] HeadError),
    /// A line is no row.
    #[error("line {line}: {error}")]
    Row {
        /// Its number.
        line: u64,
        /// Why.
        error: RowError,
    },
    /// The file is not what was hashed.
    #[error("it is not what was written")]
    Hash,
    /// The key is not the one of the log.
    #[error("it does not hold the operator key of the log")]
    OtherKey,
}

impl From<ChainError> for BackupError {
    fn from(error: ChainError) -> Self {
        match error {
            ChainError::Store(error) => Self::Store(error),
            ChainError::Resume(_) => Self::DatabaseNotEmpty,
        }
    }
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        match error {
            BackupError::File(error) => error.into(),
            BackupError::Store(error) => store_failure(&error),
            BackupError::DirectoryNotEmpty(_) => Self::unsafe_state(
                "not_empty",
                &error,
                "name an empty --data-dir; nothing is ever overwritten",
            ),
            BackupError::DatabaseNotEmpty => Self::unsafe_state(
                "not_empty",
                &error,
                "point DATABASE_URL at an empty database; nothing is ever overwritten",
            ),
            BackupError::OtherBeginning { .. } => Self::unsafe_state(
                "not_empty",
                &error,
                "restore the same backup again, or empty the data directory and the database",
            ),
            BackupError::Unfinished(_) => Self::unsafe_state(
                "restore_unfinished",
                &error,
                "run the same `restore` again: it goes on where it stopped",
            ),
            BackupError::None(_) => Self::refused(
                "no_backup",
                &error,
                "name a backup, or the directory in which backups are kept",
            ),
            BackupError::SeveralLogs(_) => {
                Self::refused("several_logs", &error, "name the one backup that is meant")
            }
            BackupError::KeysElsewhere(_) => {
                Self::refused("keys_missing", &error, "name their directory with --keys")
            }
            BackupError::OtherRole { found, .. } => {
                let what_to_do = format!(
                    "use `diogenes-{} restore`, or --as-follower for a mirror without its keys",
                    found.name()
                );
                Self::refused("other_role", &error, what_to_do)
            }
            BackupError::Empty => Self::refused(
                "empty",
                &error,
                "check --data-dir and DATABASE_URL; a new node has nothing to lose yet",
            ),
            BackupError::Exists(_) => {
                Self::refused("backup_exists", &error, "wait a second, then try again")
            }
            BackupError::Manifest { .. }
            | BackupError::OtherFiles(_)
            | BackupError::Missing(_)
            | BackupError::Damaged { .. } => Self::refused(
                "backup_damaged",
                &error,
                "use another backup; `backup verify` says which ones are whole",
            ),
        }
    }
}

fn store_failure(error: &StoreError) -> Failure {
    match error {
        StoreError::Disk(_) => Failure::disk("disk", error, "check the disk, then try again"),
        StoreError::Locked => Failure::unsafe_state("locked", error, "stop the other process"),
        StoreError::Unreachable(_) => {
            Failure::refused("log_unreachable", error, "start the database, check DATABASE_URL")
        }
        StoreError::Outdated { .. } => {
            Failure::unsafe_state("schema_outdated", error, "run `db migrate` first")
        }
        StoreError::Corrupt { .. }
        | StoreError::CorruptTile { .. }
        | StoreError::Malformed { .. } => Failure::unsafe_state(
            "entry_corrupt",
            error,
            "keep the backups that there are: this database is damaged; run `log verify`",
        ),
        _ => Failure::unsafe_state("database", error, "check DATABASE_URL and the database"),
    }
}
