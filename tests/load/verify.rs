//! `--verify`: what was acknowledged is in the log, provably, and on the follower.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use diogenes_tests::http::Node;
use diogenes_tests::stranger::{self, ReadLog};
use serde::Serialize;

use crate::work::Receipt;

/// How many inclusion proofs are asked for; the whole log is read in any case.
const PROOFS: usize = 1_000;
/// How long a follower may need.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was verified.
#[derive(Debug, Serialize)]
pub(crate) struct Verified {
    /// Entries that the node had acknowledged.
    acknowledged: usize,
    /// Of those, how many were shown by an inclusion proof of their own.
    proven: usize,
    /// The size at which the whole log was read and gave the signed root.
    tree_size: u64,
    /// Whether a follower holds the same.
    follower: bool,
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "verified: all {} acknowledged entries are in the log of {} entries, {} shown by a proof{}",
            self.acknowledged,
            self.tree_size,
            self.proven,
            if self.follower { ", and on the follower" } else { "" },
        )
    }
}

/// Reads the whole log as a stranger would, and finds every receipt in it.
pub(crate) async fn all(
    server: &Node,
    follower: Option<&Node>,
    receipts: &[Receipt],
) -> anyhow::Result<Verified> {
    let log = stranger::read_log(server).await.context("the log does not verify")?;
    held(&log, receipts).context("on the server")?;
    let step = receipts.len().div_ceil(PROOFS).max(1);
    let mut proven = 0;
    for receipt in receipts.iter().step_by(step) {
        stranger::prove(server, &log, receipt.id).await?;
        proven += 1;
    }
    if let Some(follower) = follower {
        let mirror = mirrored(follower, log.size()).await.context("on the follower")?;
        held(&mirror, receipts).context("on the follower")?;
        ensure!(
            mirror.root_at(log.size()) == log.root_at(log.size()),
            "the follower has another root"
        );
    }
    let (acknowledged, tree_size) = (receipts.len(), log.size());
    Ok(Verified { acknowledged, proven, tree_size, follower: follower.is_some() })
}

fn held(log: &ReadLog, receipts: &[Receipt]) -> anyhow::Result<()> {
    for receipt in receipts {
        let held = log.entry_hash(receipt.id);
        ensure!(
            held == Some(receipt.entry_hash),
            "entry {} was acknowledged with the hash {}, but the log holds {held:?}",
            receipt.id,
            receipt.entry_hash
        );
    }
    Ok(())
}

/// Waits until the follower has as much, then reads its log.
async fn mirrored(follower: &Node, size: u64) -> anyhow::Result<ReadLog> {
    let deadline = Instant::now() + PATIENCE;
    while follower.size().await.is_ok_and(|held| held < size) && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let log = stranger::read_log(follower).await?;
    ensure!(log.size() >= size, "it has {} of {size} entries after a minute", log.size());
    Ok(log)
}
