//! `static export`: the log as files.

mod export;
mod files;

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use diogenes_common::bundle::MAX_BUNDLE_BYTES;
use diogenes_common::config::{Settings, Value as _};
use diogenes_common::exit::Failure;
use diogenes_common::merkle::BundlePath;
use diogenes_common::note::MAX_NOTE_BYTES;
use diogenes_common::retry::Retry;
use diogenes_common::shutdown::{self, Tasks};
use diogenes_common::wire::node::WellKnown;

use super::client::{Leader, LeaderArgs};
use export::{Bundles, Export, ExportError, Grown, Log};

/// How often a running node is looked at.
const EVERY: &str = "1s";
/// The wait after the first of several failures.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// `static ...`.
#[derive(Subcommand)]
pub(super) enum Static {
    /// Write the log as static files: checkpoint, tiles and entry bundles (C2SP tlog-tiles).
    ///
    /// Only what is new is fetched; all of it is hashed and held against the signed checkpoint
    /// before a file gets its name, and the checkpoint comes last.
    ///
    /// Example: diogenes-leader static export /srv/www/log --watch
    Export {
        /// The directory; it is made if there is none.
        directory: PathBuf,
        /// Go on: follow the log until stopped.
        #[arg(long)]
        watch: bool,
        /// With --watch, look this often.
        #[arg(long, value_name = "TIME", default_value = EVERY)]
        interval: String,
        #[command(flatten)]
        leader: LeaderArgs,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

impl Static {
    pub(super) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let Self::Export { directory, watch, interval, leader, json } = self;
        let every = Duration::parse(interval).ok().filter(|every| !every.is_zero());
        let every = every
            .ok_or_else(|| Failure::usage(format!("--interval {interval}"), "like 1s or 5m"))?;
        let leader = Leader::connect(leader, settings)?;
        shutdown::block_on(Some(1), async {
            let known: WellKnown = leader.get("/.well-known/diogenes").await?;
            let log = Log { origin: known.origin.to_string(), key: known.operator_public_key };
            let mut export = Export::open(directory, log).map_err(failure)?;
            if *watch {
                return follow(&mut export, &leader, every).await;
            }
            let grown = update(&mut export, &leader).await?;
            show(grown, *json);
            Ok(())
        })
    }
}

fn show(grown: Option<Grown>, json: bool) {
    if json {
        let shown = grown.map(|grown| {
            serde_json::json!({
                "from": grown.from, "tree_size": grown.to.size, "root_hash": grown.to.hash,
            })
        });
        println!("{}", shown.unwrap_or(serde_json::Value::Null));
        return;
    }
    match grown {
        None => println!("Nothing new."),
        Some(Grown { from, to }) => {
            println!("{from} -> {} entries, root {}", to.size, to.hash);
        }
    }
}

async fn follow(export: &mut Export, leader: &Leader, every: Duration) -> Result<(), Failure> {
    let tasks = Tasks::new();
    tasks.stop_on_signals()?;
    let mut retry = Retry::new(FIRST_RETRY);
    while !tasks.is_stopping() {
        let pause = match update(export, leader).await {
            Ok(grown) => {
                retry.reset();
                if let Some(Grown { from, to }) = grown {
                    tracing::info!(tree.size = to.size.get(), "{from} -> {} entries", to.size);
                }
                every
            }
            Err(failure) => {
                tracing::warn!(help = failure.what_to_do(), "{}", failure.what());
                retry.next_delay()
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = tasks.stopping() => {}
        }
    }
    Ok(())
}

async fn update(export: &mut Export, leader: &Leader) -> Result<Option<Grown>, Failure> {
    let bytes = leader.bytes("/checkpoint", MAX_NOTE_BYTES).await?;
    let note = String::from_utf8_lossy(&bytes);
    export.update(&note, leader).await.map_err(failure)
}

impl Bundles for Leader {
    type Error = Failure;

    async fn bundle(&self, path: BundlePath) -> Result<Vec<u8>, Failure> {
        self.bytes(&format!("/{path}"), MAX_BUNDLE_BYTES).await
    }
}

fn failure(error: ExportError<Failure>) -> Failure {
    let help = match &error {
        ExportError::Source(failure) => return failure.clone(),
        ExportError::File(error) => return error.clone().into(),
        ExportError::OtherLog { .. } => "name an empty directory for this log",
        ExportError::Damaged(_) => "remove the directory's contents and export anew",
        ExportError::Shrunk { .. } => {
            "ask the node that the directory was made from, or wait until this one has caught up"
        }
        ExportError::Checkpoint(_) | ExportError::WrongRoot(_) | ExportError::Bundle { .. } => {
            "do not publish; verify the node: diogenes-leader log verify"
        }
    };
    Failure::refused("export_refused", error, help)
}
