//! `backup`, `backup verify` and `restore`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use diogenes_common::backup::{self, Bar, Keys, Source};
use diogenes_common::clock_system::SystemClock;
use diogenes_common::config::{DATA_DIR, DATABASE_URL, Flags, Settings};
use diogenes_common::exit::Failure;
use diogenes_common::files::{DataDir, Role};
use diogenes_common::shutdown;
use diogenes_common::store::{OpenOptions, Schema};

use crate::boot;

/// `backup`.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct Backup {
    #[command(subcommand)]
    verify: Option<Verify>,
    /// The directory in which backups are kept; each gets a name of its own.
    #[arg(required = true, value_name = "DIR")]
    place: Option<PathBuf>,
    /// Delete all but this many backups of this log, once the new one has verified.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keep: Option<u32>,
    /// The database: sqlite:// or postgres:// [default: log.db in the data directory].
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum Verify {
    /// Verify a backup: every hash, the chain, the root and the signature of its tree head.
    ///
    /// Exit code 1 if a single byte is not as it was written.
    ///
    /// Example: diogenes-follower backup verify /srv/backups
    Verify {
        /// One backup, or the directory in which they are kept: then the newest one.
        #[arg(value_name = "DIR")]
        backup: PathBuf,
        /// Where the backup's private keys are, if they are kept elsewhere.
        #[arg(long, value_name = "DIR")]
        keys: Option<PathBuf>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

/// `restore`.
#[derive(Args)]
pub(super) struct Restore {
    /// One backup, or the directory in which they are kept: then the newest one.
    #[arg(value_name = "DIR")]
    backup: PathBuf,
    /// Where the backup's private keys are, if they are kept elsewhere.
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
    /// The empty database: sqlite:// or postgres:// [default: log.db in the data directory].
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl Backup {
    pub(super) fn flags(&self, flags: Flags) -> Flags {
        flags.with(&DATABASE_URL, self.database_url.as_ref())
    }

    pub(super) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        if let Some(Verify::Verify { backup, keys, json }) = &self.verify {
            return verify(backup, keys.as_deref(), *json);
        }
        let place = self.place.as_deref().unwrap_or(Path::new("."));
        let data = DataDir::existing(&settings.value(&DATA_DIR), Role::Follower)?;
        let made = shutdown::block_on(Some(1), async {
            // Whoever copies a log does not change it.
            let options =
                OpenOptions { schema: Schema::Require, readers: 2, ..OpenOptions::default() };
            let store = boot::open_store_with(settings, options).await?;
            let source = Source {
                role: Role::Follower,
                version: env!("CARGO_PKG_VERSION"),
                data,
                store: store.clone(),
                signer: None,
                clock: Arc::new(SystemClock),
            };
            let keep = self.keep.map(|keep| keep as usize);
            let made = backup::make(&source, place, keep, &Bar::new()).await;
            store.close().await;
            Ok(made?)
        })?;
        if self.json {
            let deleted: Vec<_> =
                made.deleted.iter().map(|path| path.display().to_string()).collect();
            let mut summary = made.verified.to_json();
            summary["deleted"] = serde_json::json!(deleted);
            println!("{summary}");
            return Ok(());
        }
        println!("Backed up and verified {}", made.verified);
        for path in &made.deleted {
            println!("Deleted: {}", path.display());
        }
        println!("Whoever reads its keys/ is this follower: keep them apart.");
        Ok(())
    }
}

impl Restore {
    pub(super) fn flags(&self, flags: Flags) -> Flags {
        flags.with(&DATABASE_URL, self.database_url.as_ref())
    }

    pub(super) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let data_dir = settings.value(&DATA_DIR);
        backup::Vacancy::of(&data_dir)?;
        let (bar, path) = (Bar::new(), backup::find(&self.backup)?);
        let verified = backup::verify(&path, self.keys.as_deref(), &bar)?;
        let restored = shutdown::block_on(Some(1), async {
            backup::restore(&verified, Role::Follower, settings, &bar).await
        })?;
        drop(bar);
        let next = format!("diogenes-follower serve --data-dir {}", data_dir.display());
        if self.json {
            let mut summary = verified.to_json();
            summary["next"] = serde_json::json!(next);
            println!("{summary}");
            return Ok(());
        }
        println!("Restored {verified}");
        println!("Data directory: {}, with {} keys and secrets", data_dir.display(), restored.keys);
        println!("It goes on from there with:");
        println!("  {next}");
        Ok(())
    }
}

fn verify(backup: &Path, keys: Option<&Path>, json: bool) -> Result<(), Failure> {
    let bar = Bar::new();
    let verified = backup::verify(&backup::find(backup)?, keys, &bar)?;
    drop(bar);
    if json {
        println!("{}", verified.to_json());
        return Ok(());
    }
    println!("Verified {verified}");
    if *verified.keys() == Keys::Elsewhere {
        println!("Its keys are kept elsewhere and were not looked at: name them with --keys.");
    }
    Ok(())
}
