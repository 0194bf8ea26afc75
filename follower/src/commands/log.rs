//! `log verify`: the whole chain and tree, in a running follower or at rest; `log repair`.

use std::sync::Arc;
use std::time::Duration;

use clap::Subcommand;
use diogenes_common::batch::{Chain, Trust};
use diogenes_common::client::BaseUrl;
use diogenes_common::clock_system::SystemClock;
use diogenes_common::config::{DATA_DIR, Settings, Source as From};
use diogenes_common::event::Event;
use diogenes_common::exit::Failure;
use diogenes_common::files::{DataDir, Role};
use diogenes_common::head::HeadJson;
use diogenes_common::merkle::{Hash, TreeSize};
use diogenes_common::scrub::{AtRest, Peers};
use diogenes_common::shutdown;
use diogenes_common::store::{LogState, OpenOptions, Schema, Store, StoreError};
use diogenes_common::wire::log::VerifyReport;

use super::{node, refused};
use crate::boot;
use crate::sync::store_failure;

/// How many bytes of entries are read at once.
const STEP_BYTES: u64 = 4 * 1024 * 1024;
/// How many entries are read at once.
const STEP: u64 = 10_000;
/// Where a follower listens unless told otherwise.
const DEFAULT_FOLLOWER: &str = "http://127.0.0.1:8001";
/// How long a running follower may take.
const PATIENCE: Duration = Duration::from_secs(3600);
/// How long locks are waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// `log ...`.
#[derive(Subcommand)]
pub(super) enum Log {
    /// Verify every entry, the chain, the tree and the newest stored head.
    ///
    /// With --data-dir every entry is read as it lies there. Without it the running follower is
    /// asked, which reads only what was added since a whole run of the last 24 hours, and says so.
    /// Exit code 1 if anything is wrong.
    ///
    /// Example: diogenes-follower log verify --data-dir ~/.diogenes/follower
    Verify {
        #[arg(
            long,
            value_name = "URL",
            help = "The running follower to ask [default: http://127.0.0.1:8001]"
        )]
        server: Option<String>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Look at everything that is stored, and make anew what is damaged.
    ///
    /// The follower must not run: a running one does the same by itself. What another node sends is
    /// taken only if it hashes to what was signed. Exit code 1 if something stays damaged.
    ///
    /// Example: `diogenes-follower log repair --from https://log.example`
    Repair {
        #[arg(
            long,
            value_name = "URL",
            help = "A node that has the whole log; may be given more than once [default: the sources]"
        )]
        from: Vec<String>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

/// What verification found.
struct Found {
    size: TreeSize,
    root: Hash,
    error: Option<(u64, String)>,
}

impl Log {
    pub(super) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let (server, json) = match self {
            Self::Verify { server, json } => (server, json),
            Self::Repair { from, json } => {
                return shutdown::block_on(Some(1), repair(settings, from, *json));
            }
        };
        if matches!(settings.source(&DATA_DIR), From::Flag(_)) {
            if server.is_some() {
                return Err(Failure::usage(
                    "--data-dir verifies at rest, --server asks a running follower",
                    "give one of them",
                ));
            }
            return shutdown::block_on(Some(1), at_rest(settings, *json));
        }
        let (client, url) = node(settings, server.as_deref().unwrap_or(DEFAULT_FOLLOWER))?;
        shutdown::block_on(Some(1), async {
            let asking = client.post(&url, "/api/v1/log/verify").within(PATIENCE);
            let report: VerifyReport = asking
                .with_body("application/json", &b"{}"[..])
                .json()
                .await
                .map_err(|error| refused(&url, &error))?;
            if *json {
                println!("{}", serde_json::json!(report));
            } else if report.valid {
                println!("{}", verified(&report));
            }
            if report.valid {
                return Ok(());
            }
            Err(invalid(&serde_json::json!(report.errors).to_string()))
        })
    }
}

async fn repair(settings: &Settings, from: &[String], json: bool) -> Result<(), Failure> {
    let data = DataDir::existing(&settings.value(&DATA_DIR), Role::Follower)?;
    let _directory_lock = data.lock(LOCK_PATIENCE)?;
    let upstream = boot::upstream(settings);
    let urls: Vec<BaseUrl> = if from.is_empty() {
        upstream.as_ref().map_err(Clone::clone)?.sources.iter().map(|of| of.base()).collect()
    } else {
        let reach = boot::reach(settings);
        from.iter().map(|url| BaseUrl::parse(url, reach)).collect::<Result<_, _>>()?
    };
    let store = boot::open_store(settings).await?;
    let _database_lock = store.lock_exclusive(LOCK_PATIENCE).await.map_err(store_failure)?;
    let trust = match upstream {
        Ok(upstream) => upstream.trust(),
        Err(_) => trust(settings, &store).await?,
    };
    let at_rest = AtRest {
        store: store.clone(),
        trust,
        peers: Peers::new(boot::client(settings)?, move || urls.clone()),
        clock: Arc::new(SystemClock),
        scratch: data.path().to_owned(),
        is_leader: false,
    };
    let mended = at_rest.mend().await;
    store.close().await;
    let mended = mended.map_err(|error| error.into_failure(store_failure))?;
    println!("{}", mended.text(json));
    mended.judged()
}

/// Says which entries were read, and no more than that.
fn verified(report: &VerifyReport) -> String {
    let found = format!("Verified {}; the root is {}.", report.entries_read(), report.root_hash);
    match report.verified_from {
        0 => found,
        before => format!(
            "{found}\nEntries 1 to {before} were not read again: --data-dir reads all of them."
        ),
    }
}

async fn at_rest(settings: &Settings, json: bool) -> Result<(), Failure> {
    DataDir::existing(&settings.value(&DATA_DIR), Role::Follower)?;
    let options = OpenOptions { schema: Schema::Require, ..OpenOptions::default() };
    let store = boot::open_store_with(settings, options).await?;
    let found = verify(settings, &store).await;
    store.close().await;
    let found = found?;
    if json {
        let errors: Vec<_> = found
            .error
            .iter()
            .map(|(id, detail)| serde_json::json!({ "entry_id": id, "detail": detail }))
            .collect();
        let answer = serde_json::json!({
            "valid": errors.is_empty(), "entry_count": found.size, "errors": errors,
            "root_hash": found.root, "verified_from": 0,
        });
        println!("{answer}");
    }
    match found.error {
        Some((id, detail)) => Err(invalid(&format!("entry {id}: {detail}"))),
        None if json => Ok(()),
        None => {
            println!("Verified {} entries; the root is {}.", found.size, found.root);
            Ok(())
        }
    }
}

fn invalid(detail: &str) -> Failure {
    Failure::refused(
        "log_invalid",
        format!("the stored log does not verify: {detail}"),
        "stop the follower and run `log repair`; check the disk",
    )
}

async fn verify(settings: &Settings, store: &Store) -> Result<Found, Failure> {
    let state = store.state().await.map_err(store_failure)?;
    let Some(state) = state.filter(|state| state.tree.size > TreeSize::ZERO) else {
        return Ok(Found { size: TreeSize::ZERO, root: Hash::EMPTY_TREE, error: None });
    };
    let trust = trust(settings, store).await?;
    let (mut chain, mut completed) = (Chain::new(trust), Vec::new());
    while chain.size() < state.tree.size {
        let after = chain.size().get();
        let upto = (after + STEP).min(state.tree.size.get());
        let leaves = match store.leaves(after, upto, STEP_BYTES).await {
            Ok(leaves) if leaves.is_empty() => {
                return Ok(broken(&chain, after + 1, "it is missing"));
            }
            Ok(leaves) => leaves,
            Err(error @ StoreError::Corrupt { id }) => {
                return Ok(broken(&chain, id, &error.to_string()));
            }
            Err(error) => return Err(store_failure(error)),
        };
        for leaf in leaves {
            if let Err(fault) = chain.extend(leaf, &mut completed) {
                return Ok(broken(&chain, fault.id, &fault.rule.to_string()));
            }
        }
        completed.clear();
        tracing::debug!(tree.size = %chain.size(), "verified");
    }
    against(store, &chain, &state).await
}

/// Holds what was recomputed against the stored state and the newest stored head.
async fn against(store: &Store, chain: &Chain, state: &LogState) -> Result<Found, Failure> {
    let last = chain.size().get();
    if chain.tree() != state.tree || chain.chain_head() != state.chain_head {
        return Ok(broken(chain, last, "the entries do not give the stored root"));
    }
    let row = store.head_at_most(state.tree.size).await.map_err(store_failure)?;
    let json = row.and_then(|row| row.head_json);
    let head = json.and_then(|json| serde_json::from_str::<HeadJson>(&json).ok());
    if let (Some(head), Some(log)) = (head, chain.log()) {
        let verified = head.verify(log.operator(), log.origin());
        let root = crate::sync::own_root(store, chain.edge(), head.tree_size).await?;
        if verified.is_err() || root != head.root_hash {
            return Ok(broken(chain, head.tree_size.get(), "the stored tree head does not hold"));
        }
    }
    Ok(Found { size: chain.size(), root: chain.tree().hash, error: None })
}

fn broken(chain: &Chain, id: u64, detail: &str) -> Found {
    let tree = chain.tree();
    Found { size: tree.size, root: tree.hash, error: Some((id, detail.to_owned())) }
}

/// The configured operator, else the one that the stored genesis names.
pub(super) async fn trust(settings: &Settings, store: &Store) -> Result<Trust, Failure> {
    if let Ok(upstream) = boot::upstream(settings) {
        return Ok(upstream.trust());
    }
    let genesis = store.entry(1).await.map_err(store_failure)?;
    let event = genesis.and_then(|leaf| Event::parse(leaf.event_type(), leaf.payload()).ok());
    match event {
        Some(Event::Genesis(genesis)) => Ok(Trust { operator: genesis.operator_fingerprint }),
        _ => Err(invalid("the first entry is no genesis")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_run_names_the_entries_that_it_read() {
        let report = |before| VerifyReport {
            valid: true,
            entry_count: 2000,
            errors: Vec::new(),
            root_hash: Hash::EMPTY_TREE,
            verified_from: before,
        };
        for (before, expected) in [
            (0, "Verified 2000 entries;"),
            (1000, "Verified entries 1001 to 2000;"),
            (2000, "Verified no new entry;"),
        ] {
            let text = verified(&report(before));

            assert!(text.starts_with(expected), "{text}");
            let rest = format!("\nEntries 1 to {before} were not read again");
            assert_eq!(text.contains(&rest), before > 0, "{text}");
        }
    }
}
