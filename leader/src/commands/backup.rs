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
    /// Example: diogenes-leader backup verify /srv/backups
    Verify(VerifyArgs),
}

/// `restore`.
#[derive(Args)]
pub(super) struct Restore {
    #[command(flatten)]
    restore: RestoreArgs,
}

/// What is said of the keys in a backup.
const CLOSING: &str = "Whoever reads its keys/ is the log: keep them apart, and a copy elsewhere.";

impl Backup {
    pub(super) fn flags(&self, flags: Flags) -> Flags {
        self.make.flags(flags)
    }

    pub(super) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        if let Some(Verify::Verify(verify)) = &self.verify {
            println!("{}", verify.run()?);
            return Ok(());
        }
        let data = DataDir::existing(&settings.value(&DATA_DIR), Role::Leader)?;
        let made = shutdown::block_on(Some(1), async {
            let store = boot::open_store_with(settings, backup::database()).await?;
            let source = Source {
                role: Role::Leader,
                version: env!("CARGO_PKG_VERSION"),
                signer: boot::signer(&data, &store).await?.map(Arc::new),
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
        println!("{}", self.restore.run(settings, Role::Leader, next)?);
        Ok(())
    }
}

/// A backup is older than the accident: what was signed since has to be looked for first.
fn next(data_dir: &Path, verified: &Verified) -> Next {
    let (directory, size) = (data_dir.display(), verified.manifest().tree_size());
    Next {
        before: format!(
            "\nA follower or witness may hold more than {size} entries. Name them in DIOGENES_PEERS, and:"
        ),
        command: format!("diogenes-leader recover --from https://FOLLOWER --data-dir {directory}"),
        after: Some(format!(
            "Only if no follower and no other copy has more:\n  \
             diogenes-leader serve --data-dir {directory} --accept-size {size}\n\
             Without either the leader serves what it has, and signs nothing before every peer \
             has answered."
        )),
    }
}
