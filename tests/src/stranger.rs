//! Verifying a log as somebody would who has nothing but its URL: everything is read and
//! recomputed through the public verifier.

use anyhow::{Context as _, ensure};
use diogenes_common::batch::{Chain, Trust, verify_batch};
use diogenes_common::clock::Clock as _;
use diogenes_common::clock_system::SystemClock;
use diogenes_common::head::{SignedHead, contradiction};
use diogenes_common::keys::Fingerprint;
use diogenes_common::leaf::Leaf;
use diogenes_common::merkle::{Edge, Hash, verify_inclusion};
use diogenes_common::wire::log::InclusionProof;

use crate::http::Node;

/// A log that was read from its first entry to the last, and verified.
#[derive(Debug)]
pub struct ReadLog {
    chain: Chain,
    head: SignedHead,
    /// Entry hash and leaf hash of each entry.
    hashes: Vec<(Hash, Hash)>,
}

/// Reads and verifies the whole log of a node.
pub async fn read_log(node: &Node) -> anyhow::Result<ReadLog> {
    visit_log(node, |_| {}).await
}

/// The same, showing each entry once its batch is verified.
pub async fn visit_log(node: &Node, mut visit: impl FnMut(&Leaf)) -> anyhow::Result<ReadLog> {
    let operator = node.well_known().await?.operator_fingerprint;
    let mut chain = Chain::new(Trust { operator });
    let mut hashes = Vec::new();
    // The heads so far: a log that contradicts itself while it is read does not verify.
    let mut heads: Vec<SignedHead> = Vec::new();
    loop {
        let after = chain.size().get();
        let batch = node.replicate(after).await?;
        let verified = verify_batch(&chain, batch, &heads, SystemClock.now())
            .with_context(|| format!("{node} after {after}"))?;
        for entry in &verified.entries {
            hashes.push((entry.leaf.entry_hash(), entry.leaf.leaf_hash()));
            visit(&entry.leaf);
        }
        chain = verified.chain;
        ensure!(
            !verified.has_more || chain.size().get() > after,
            "{node} says that there is more after {after}, and sends nothing"
        );
        let is_complete = !verified.has_more && verified.head.head().tree() == chain.tree();
        if is_complete {
            return Ok(ReadLog { chain, head: verified.head, hashes });
        }
        heads.retain(|head| head.head().tree_size > chain.size());
        if heads.last() != Some(&verified.head) {
            heads.push(verified.head);
        }
    }
}

/// Asks for the inclusion proof of an entry and verifies it against the signed head of `log`.
pub async fn prove(node: &Node, log: &ReadLog, id: u64) -> anyhow::Result<()> {
    let size = log.size();
    let path = format!("/api/v1/log/inclusion-proof?entry_id={id}&tree_size={size}");
    let proof: InclusionProof = node.read(&path).await?;
    let index = id.checked_sub(1).context("ids begin at 1")?;
    let leaf = log.leaf_hash(id).with_context(|| format!("the log has no entry {id}"))?;
    verify_inclusion(index, &leaf, &log.head.head().tree(), &proof.hashes)
        .with_context(|| format!("the inclusion proof of entry {id}"))
}

impl ReadLog {
    /// How many entries it has.
    pub fn size(&self) -> u64 {
        self.chain.size().get()
    }

    /// The head that covers all of them.
    pub fn head(&self) -> &SignedHead {
        &self.head
    }

    /// The operator's fingerprint.
    pub fn operator(&self) -> Fingerprint {
        self.chain.trust().operator
    }

    /// The hash of an entry.
    pub fn entry_hash(&self, id: u64) -> Option<Hash> {
        Some(self.of(id)?.0)
    }

    /// The root that the log had at a size.
    pub fn root_at(&self, size: u64) -> Option<Hash> {
        self.roots_at([size]).next().flatten()
    }

    /// The first of the heads that were seen earlier and are not on this history, if there is one.
    pub fn contradicted<'a>(&self, seen: &'a [SignedHead]) -> Option<&'a SignedHead> {
        let mut seen: Vec<_> = seen.iter().collect();
        seen.sort_by_key(|head| head.head().tree_size);
        let roots = self.roots_at(seen.iter().map(|head| head.head().tree_size.get()));
        seen.iter().zip(roots).find_map(|(seen, root)| {
            let head = seen.head();
            let agrees = root == Some(head.root_hash)
                && self.entry_hash(head.tree_size.get()) == head.chain_head
                && contradiction(seen, &self.head).is_none();
            (!agrees).then_some(*seen)
        })
    }

    /// The roots at sizes that do not decrease, in one pass; `None` beyond the log.
    pub fn roots_at(
        &self,
        sizes: impl IntoIterator<Item = u64>,
    ) -> impl Iterator<Item = Option<Hash>> {
        let mut edge = Edge::empty();
        let mut completed = Vec::new();
        sizes.into_iter().map(move |size| {
            let from = usize::try_from(edge.size().get()).ok()?;
            for (_, leaf) in self.hashes.get(from..usize::try_from(size).ok()?)? {
                edge.push(*leaf, &mut completed);
                completed.clear();
            }
            Some(edge.root().hash)
        })
    }

    fn leaf_hash(&self, id: u64) -> Option<Hash> {
        Some(self.of(id)?.1)
    }

    fn of(&self, id: u64) -> Option<&(Hash, Hash)> {
        self.hashes.get(usize::try_from(id.checked_sub(1)?).ok()?)
    }
}
