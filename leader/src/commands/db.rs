//! `db status|migrate|check` and `rebuild-views`.

use std::time::Duration;

use clap::{Args, Subcommand};
use diogenes_common::batch::Trust;
use diogenes_common::config::{DATA_DIR, Settings};
use diogenes_common::exit::Failure;
use diogenes_common::files::{DataDir, Role};
use diogenes_common::shutdown;
use diogenes_common::store::{ChainError, MigrationStatus, OpenOptions, Schema};

use crate::boot::{self, read_key, store_failure};

/// `db ...`.
#[derive(Subcommand)]
pub(super) enum Db {
    /// Show which migrations the database has.
    ///
    /// Example: diogenes-leader db status --json
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Apply the pending migrations.
    ///
    /// Example: diogenes-leader db migrate --dry-run
    Migrate {
        /// Only show what would be applied.
        #[arg(long)]
        dry_run: bool,
    },
    /// Exit 0 if the schema is this version's, 78 if not.
    ///
    /// Example: diogenes-leader db check
    Check,
}

impl Db {
    pub(super) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        DataDir::existing(&settings.value(&DATA_DIR), Role::Leader)?;
        shutdown::block_on(Some(1), async {
            let options =
                OpenOptions { schema: Schema::Ignore, readers: 1, ..OpenOptions::default() };
            let store = boot::open_store_with(settings, options).await?;
            let status = store.migrations().await.map_err(store_failure)?;
            match self {
                Self::Status { json: true } => println!("{}", as_json(&status)),
                Self::Status { json: false } | Self::Migrate { dry_run: true } => show(&status),
                Self::Migrate { dry_run: false } => {
                    store.migrate().await.map_err(store_failure)?;
                    println!("Applied {} migrations.", status.pending.len());
                }
                Self::Check => {
                    status.check().map_err(store_failure)?;
                    println!("The schema is up to date.");
                }
            }
            store.close().await;
            Ok(())
        })
    }
}

/// `rebuild-views`.
#[derive(Args)]
pub(super) struct RebuildViews {}

impl RebuildViews {
    #[expect(clippy::unused_self, reason = "every command has this shape")]
    pub(super) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let data = DataDir::existing(&settings.value(&DATA_DIR), Role::Leader)?;
        let _lock = data.lock(Duration::from_secs(1))?;
        let operator = read_key(&data)?;
        shutdown::block_on(Some(1), async {
            let store = boot::open_store(settings).await?;
            let patience = Duration::from_secs(1);
            let _lock = store.lock_exclusive(patience).await.map_err(store_failure)?;
            let trust = Trust { operator: operator.fingerprint() };
            store.refresh_views(trust, true).await.map_err(|error| match error {
                ChainError::Store(error) => store_failure(error),
                ChainError::Resume(error) => {
                    Failure::unsafe_state("other_log", error, "check DATABASE_URL")
                }
            })?;
            println!("The views were made anew from the log.");
            store.close().await;
            Ok(())
        })
    }
}

fn as_json(status: &MigrationStatus) -> serde_json::Value {
    let names = |list: &[diogenes_common::store::MigrationId]| {
        list.iter().map(|id| serde_json::json!(id.to_string())).collect::<Vec<_>>()
    };
    serde_json::json!({
        "applied": names(&status.applied),
        "pending": names(&status.pending),
        "unknown": status.unknown,
    })
}

fn show(status: &MigrationStatus) {
    for id in &status.applied {
        println!("applied  {id}");
    }
    for id in &status.pending {
        println!("pending  {id}");
    }
    for version in &status.unknown {
        println!("unknown  {version} (made by a newer version)");
    }
}
