//! `log verify`, `log repair` and `log export`.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use clap::Subcommand;
use diogenes_common::batch::Trust;
use diogenes_common::clock_system::SystemClock;
use diogenes_common::config::{DATA_DIR, Settings, Source};
use diogenes_common::exit::Failure;
use diogenes_common::files::{DataDir, Role};
use diogenes_common::head::TreeHead;
use diogenes_common::read::{
    CheckpointBoard, Facts, GraphSetup, Published, Reads, Setup, Snapshot, StatusBoard,
};
use diogenes_common::scrub::AtRest;
use diogenes_common::shutdown::{self, Tasks};
use diogenes_common::store::{OpenOptions, Schema, Store};
use diogenes_common::wire::log::VerifyReport;
use diogenes_common::wire::node::{NodeRole, QuorumRule};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::watch;

use super::client::{Leader, LeaderArgs};
use crate::boot::{self, read_key, store_failure};
use crate::scrub;

/// How long a running leader may take to verify its log.
const PATIENCE: Duration = Duration::from_secs(3600);

/// How long locks are waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// `log ...`.
#[derive(Subcommand)]
pub(super) enum Log {
    /// Verify the whole chain and tree of a running leader, or with --data-dir at rest.
    ///
    /// Without the operator's token a running leader reads only what was added since a whole run
    /// of the last 24 hours, and says so.
    ///
    /// Example: diogenes-leader log verify --data-dir ~/.diogenes/leader
    Verify {
        #[command(flatten)]
        leader: LeaderArgs,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Look at everything that is stored, and make anew what is damaged.
    ///
    /// The leader must not run: a running one does the same by itself, with the nodes of
    /// `DIOGENES_PEERS`. What another node sends is taken only if it hashes to what was signed. Exit
    /// code 1 if something stays damaged.
    ///
    /// Example: `diogenes-leader log repair --from https://mirror.example`
    Repair {
        /// A node that has the whole log; may be given more than once.
        #[arg(long, value_name = "URL", required = true)]
        from: Vec<String>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write every entry as a line of JSON to standard output.
    ///
    /// Example: diogenes-leader log export > log.ndjson
    Export {
        #[command(flatten)]
        leader: LeaderArgs,
        /// Begin after this entry.
        #[arg(long, default_value_t = 0, value_name = "ID")]
        after: u64,
    },
}

impl Log {
    pub(super) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        match self {
            Self::Verify { leader, json } => {
                let at_rest = matches!(settings.source(&DATA_DIR), Source::Flag(_));
                if at_rest && leader.names_leader() {
                    return Err(Failure::usage(
                        "--data-dir verifies at rest, --server asks a running leader",
                        "give one of them; --token-file names the token of a running leader",
                    ));
                }
                let report = shutdown::block_on(None, async {
                    if at_rest {
                        return verify_at_rest(settings).await;
                    }
                    let leader = Leader::connect(leader, settings)?;
                    leader.post_within("/api/v1/log/verify", PATIENCE).await
                })?;
                show(&report, *json)
            }
            Self::Repair { from, json } => shutdown::block_on(None, async {
                let data = DataDir::existing(&settings.value(&DATA_DIR), Role::Leader)?;
                let _directory_lock = data.lock(LOCK_PATIENCE)?;
                let peers = scrub::peers(settings, from)?;
                let trust = Trust { operator: read_key(&data)?.fingerprint() };
                let store = boot::open_store(settings).await?;
                let _database_lock =
                    store.lock_exclusive(LOCK_PATIENCE).await.map_err(store_failure)?;
                let at_rest = AtRest {
                    store: store.clone(),
                    trust,
                    peers,
                    clock: Arc::new(SystemClock),
                    scratch: data.path().to_owned(),
                    is_leader: true,
                };
                let mended = at_rest.mend().await;
                store.close().await;
                let mended = mended.map_err(|error| error.into_failure(store_failure))?;
                println!("{}", mended.text(*json));
                mended.judged()
            }),
            Self::Export { leader, after } => {
                let leader = Leader::connect(leader, settings)?;
                shutdown::block_on(Some(1), export(&leader, *after))
            }
        }
    }
}

fn show(report: &VerifyReport, json: bool) -> Result<(), Failure> {
    if json {
        println!("{}", serde_json::to_string(report).unwrap_or_default());
    } else if report.valid {
        println!("{}", valid(report));
    } else {
        for error in &report.errors {
            println!("entry {}: {} ({})", error.entry_id, error.detail, error.code);
        }
    }
    if report.valid {
        return Ok(());
    }
    Err(Failure::refused(
        "invalid",
        format!("the log is not what was signed: {} errors", report.errors.len()),
        "stop the leader and run `log repair --from URL` with the URL of a follower, or restore a backup",
    ))
}

/// Says which entries were read, and no more than that.
fn valid(report: &VerifyReport) -> String {
    let found = format!("Valid: {}, root {}", report.entries_read(), report.root_hash);
    match report.verified_from {
        0 => found,
        before => format!(
            "{found}\nEntries 1 to {before} were not read again: the operator's token or \
             --data-dir makes a whole run"
        ),
    }
}

async fn verify_at_rest(settings: &Settings) -> Result<VerifyReport, Failure> {
    let data = DataDir::existing(&settings.value(&DATA_DIR), Role::Leader)?;
    // Whoever looks at a log does not change it.
    let options = OpenOptions { schema: Schema::Require, ..OpenOptions::default() };
    let store = boot::open_store_with(settings, options).await?;
    let published = Arc::new(Published::default());
    published.set(newest(&data, &store).await?);
    let (_, facts) = watch::channel(Arc::new(Facts {
        role: NodeRole::Leader,
        version: env!("CARGO_PKG_VERSION"),
        log: None,
        leader_url: None,
        heartbeat_seconds: 60,
        witness_quorum: QuorumRule { required: 0, of: 0 },
    }));
    let (_, round) = watch::channel(None);
    let reads = Reads::new(Setup {
        store: store.clone(),
        published,
        round,
        facts,
        checkpoints: CheckpointBoard::default(),
        board: StatusBoard::default(),
        clock: Arc::new(SystemClock),
        graph: GraphSetup::uncounted(Duration::ZERO, Duration::ZERO),
        tasks: Tasks::new(),
    });
    let report = reads.verify_log(true).await.map_err(|problem| {
        Failure::refused("log_unreachable", problem, "check DATABASE_URL and the database")
    })?;
    store.close().await;
    Ok(report)
}

/// The newest committed state under the signature that it has or would get: signing is
/// deterministic.
async fn newest(data: &DataDir, store: &Store) -> Result<Arc<Snapshot>, Failure> {
    let empty = || Failure::refused("empty", "the database holds no log", "check DATABASE_URL");
    let operator = read_key(data)?;
    let state = store.state().await.map_err(store_failure)?.ok_or_else(empty)?;
    let origin = boot::stored_origin(store).await?.ok_or_else(empty)?;
    let edge = store.load_edge(state.tree.size).await.map_err(store_failure)?;
    let head = TreeHead {
        chain_head: state.chain_head,
        epoch: state.epoch,
        origin,
        root_hash: state.tree.hash,
        timestamp: state.timestamp,
        tree_size: state.tree.size,
    };
    let signed = head.sign(&operator);
    let json = signed.to_json(String::new(), state.last_event_id);
    Ok(Arc::new(Snapshot::new(signed, &json, edge, Vec::new())))
}

/// A page of the log with its entries as they came.
#[derive(Deserialize)]
struct Page {
    entries: Vec<Box<RawValue>>,
    next_after: u64,
    has_more: bool,
}

async fn export(leader: &Leader, mut after: u64) -> Result<(), Failure> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    loop {
        let path = format!("/api/v1/log/replicate?after={after}&limit=1000");
        let page: Page = leader.get_batch(&path).await?;
        for entry in &page.entries {
            if writeln!(out, "{}", entry.get()).is_err() {
                // Whoever read us has enough.
                return Ok(());
            }
        }
        after = page.next_after;
        if !page.has_more {
            let _ = out.flush();
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use diogenes_common::merkle::Hash;

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
            (0, "Valid: 2000 entries, root"),
            (1000, "Valid: entries 1001 to 2000, root"),
            (2000, "Valid: no new entry, root"),
        ] {
            let text = valid(&report(before));

            assert!(text.starts_with(expected), "{text}");
            let rest = format!("\nEntries 1 to {before} were not read again");
            assert_eq!(text.contains(&rest), before > 0, "{text}");
        }
    }
}
