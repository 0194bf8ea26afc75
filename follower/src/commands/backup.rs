//! `backup`, `backup verify` and `restore`.

use std::path::Path;
use std::sync::Arc;

use clap::{Args, Subcommand};
use diogenes_common::backup::{self, MakeArgs, Next, RestoreArgs, Source, Verified, VerifyArgs};
use diogenes_common::clock_system::SystemClock;
use diogenes_common::config::{DATA_DIR, Flags, Settings};
use diogenes_common::exit::Failure;
use diogenes_common::files::{DataDir, Role};
use diogenes_common::shutdown;

use crate::boot;

/// `backup`.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct Backup {
    #[command(subcommand)]
    verify: Option<Verify>,
    #[command(flatten)]
    make: MakeArgs,
}

#[derive(Subcommand)]
enum Verify {
    /// Verify a backup: every hash, the chain, the root and the signature of its tree head.
    ///
    /// Exit code 1 if a single byte is not as it was written.
    ///
    /// Example: diogenes-follower backup verify /srv/backups
    Verify(VerifyArgs),
}

/// `restore`.
#[derive(Args)]
pub(super) struct Restore {
    #[command(flatten)]
    restore: RestoreArgs,
}

/// What is said of the keys in a backup.
const CLOSING: &str = "Whoever reads its keys/ is this follower: keep them apart.";

impl Backup {
    pub(super) fn flags(&self, flags: Flags) -> Flags {
        self.make.flags(flags)
    }

    pub(super) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        if let Some(Verify::Verify(verify)) = &self.verify {
            println!("{}", verify.run()?);
            return Ok(());
        }
        let data = DataDir::existing(&settings.value(&DATA_DIR), Role::Follower)?;
        let made = shutdown::block_on(Some(1), async {
            let store = boot::open_store_with(settings, backup::database()).await?;
            let source = Source {
                role: Role::Follower,
                version: env!("CARGO_PKG_VERSION"),
                signer: None,
                data,
                store,
                clock: Arc::new(SystemClock),
            };
            self.make.make(&source).await
        })?;
        println!("{}", self.make.told(&made, CLOSING));
        Ok(())
    }
}

impl Restore {
    pub(super) fn flags(&self, flags: Flags) -> Flags {
        self.restore.flags(flags)
    }

    pub(super) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        println!("{}", self.restore.run(settings, Role::Follower, next)?);
        Ok(())
    }
}

fn next(data_dir: &Path, _: &Verified) -> Next {
    Next {
        before: "It goes on from there with:".to_owned(),
        command: format!("diogenes-follower serve --data-dir {}", data_dir.display()),
        after: None,
    }
}
