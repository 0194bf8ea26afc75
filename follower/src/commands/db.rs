//! `db status|migrate|check` and `rebuild-views`.

use std::time::Duration;

use clap::{Args, Subcommand};
use diogenes_common::config::{DATA_DIR, Settings};
use diogenes_common::exit::Failure;
use diogenes_common::files::{DataDir, Role};
use diogenes_common::shutdown;
use diogenes_common::store::{MigrationId, MigrationStatus, OpenOptions, Schema};

use super::log::trust;
use crate::boot;
use crate::sync::{chain_failure, store_failure};

/// How long a command waits for a follower that is about to stop.
const PATIENCE: Duration = Duration::from_secs(1);

/// `db ...`.
#[derive(Subcommand)]
pub(super) enum Db {
    /// Show which migrations the database has.
    ///
    /// Example: diogenes-follower db status --json
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Apply the pending migrations.
    ///
    /// Example: diogenes-follower db migrate --dry-run
    Migrate {
        /// Only show what would be applied.
        #[arg(long)]
        dry_run: bool,
    },
    /// Exit 0 if the schema is this version's, 78 if not.
    ///
    /// Example: diogenes-follower db check
    Check,
}

impl Db {
    pub(super) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        DataDir::existing(&settings.value(&DATA_DIR), Role::Follower)?;
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
        let data = DataDir::existing(&settings.value(&DATA_DIR), Role::Follower)?;
        let _directory_lock = data.lock(PATIENCE)?;
        shutdown::block_on(Some(1), async {
            let store = boot::open_store(settings).await?;
            let _database_lock = store.lock_exclusive(PATIENCE).await.map_err(store_failure)?;
            let trust = trust(settings, &store).await?;
            store.refresh_views(trust, true).await.map_err(chain_failure)?;
            store.close().await;
            println!("The views were made anew from the log.");
            Ok(())
        })
    }
}

fn as_json(status: &MigrationStatus) -> serde_json::Value {
    let names = |list: &[MigrationId]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
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
