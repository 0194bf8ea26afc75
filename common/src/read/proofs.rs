//! Inclusion and consistency proofs.

use std::collections::HashMap;

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;

use super::answer::{Freshness, json};
use super::query::Params;
use super::reads::Reads;
use super::snapshot::Snapshot;
use crate::leaf::Leaf;
use crate::merkle::{Hash, NodeId, Nodes as _, ProofPlan, TreeRoot, TreeSize, verify_inclusion};
use crate::server::problem::{Code, Problem};
use crate::store::{Store, StoreError};
use crate::wire::log::{ConsistencyProof, InclusionProof};

/// The proof that an entry is in the tree of a size.
#[utoipa::path(
    get,
    path = "/api/v1/log/inclusion-proof",
    tag = "log",
    extensions(("x-problems" = json!(["not_found"]))),
    params(
        ("entry_id" = u64, Query, description = "The entry"),
        ("tree_size" = Option<u64>, Query, description = "The size of the tree; that of the newest head by default"),
    ),
    responses(
        (status = 200, description = "The proof", body = InclusionProof, headers(("ETag"))),
        (status = 404, description = "No such entry"),
    )
)]
pub(super) async fn inclusion(
    State(reads): State<Reads>,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let snapshot = reads.snapshot()?;
    let newest = snapshot.size();
    let entry_id = params.required("entry_id", 1..=u64::MAX)?;
    if entry_id > newest.get() {
        return Err(Problem::new(Code::NotFound, format!("the log has {newest} entries")));
    }
    let size = params.number("tree_size", entry_id..=newest.get())?;
    let size = size.and_then(TreeSize::new).unwrap_or(newest);
    let proof = inclusion_proof(reads.store(), &snapshot, entry_id, size).await?;
    Ok(json(&proof, freshness(size, newest), &headers))
}

/// The proof that the tree of one size extends that of another.
#[utoipa::path(
    get,
    path = "/api/v1/log/consistency-proof",
    tag = "log",
    params(
        ("first" = u64, Query, description = "The smaller size"),
        ("second" = Option<u64>, Query, description = "The larger size; that of the newest head by default"),
    ),
    responses(
        (status = 200, description = "The proof", body = ConsistencyProof, headers(("ETag"))),
    )
)]
pub(super) async fn consistency(
    State(reads): State<Reads>,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let snapshot = reads.snapshot()?;
    let newest = snapshot.size();
    let second = params.number("second", 0..=newest.get())?;
    let second = second.and_then(TreeSize::new).unwrap_or(newest);
    let first = params.required("first", 0..=second.get())?;
    let first = TreeSize::new(first).unwrap_or_default();
    let store = reads.store();
    let proof = ConsistencyProof {
        first,
        second,
        first_root: root_at(store, &snapshot, first).await?,
        second_root: root_at(store, &snapshot, second).await?,
        hashes: consistency_proof(store, &snapshot, first, second).await?,
    };
    Ok(json(&proof, freshness(second, newest), &headers))
}

/// The proof that an entry is in the tree of a size; neither may lie beyond the snapshot.
pub async fn inclusion_proof(
    store: &Store,
    snapshot: &Snapshot,
    entry_id: u64,
    size: TreeSize,
) -> Result<InclusionProof, StoreError> {
    let leaf_index = entry_id.saturating_sub(1);
    let Ok(path) = ProofPlan::inclusion(leaf_index, size) else {
        return Err(StoreError::Corrupt { id: entry_id });
    };
    // Leaf, path and root in one read.
    let root = if size == snapshot.size() { None } else { Some(ProofPlan::root(size)) };
    let mut ids = vec![NodeId { height: 0, index: leaf_index }];
    ids.extend_from_slice(path.nodes());
    ids.extend_from_slice(root.as_ref().map_or(&[], |plan| plan.nodes()));
    let hashes = nodes(store, snapshot, &ids).await?;
    let (leaf, rest) = hashes.split_at(1);
    let (on_path, under_root) = rest.split_at(path.nodes().len());
    Ok(InclusionProof {
        entry_id,
        leaf_index,
        tree_size: size,
        leaf_hash: leaf[0],
        root_hash: match root {
            None => snapshot.head.head().root_hash,
            Some(plan) => folded(&plan, under_root),
        },
        hashes: path.assemble(on_path),
    })
}

/// The paths from entries of the log to the snapshot's root, in order; their nodes are read at
/// once, and every path was followed to its end.
pub(super) async fn inclusion_paths(
    store: &Store,
    snapshot: &Snapshot,
    entries: &[Leaf],
) -> Result<Vec<Vec<Hash>>, StoreError> {
    let tree = TreeRoot { size: snapshot.size(), hash: snapshot.head.head().root_hash };
    let corrupt = |leaf: &Leaf| StoreError::Corrupt { id: leaf.id() };
    let plan =
        |leaf: &Leaf| ProofPlan::inclusion(leaf.id() - 1, tree.size).map_err(|_| corrupt(leaf));
    let plans = entries.iter().map(plan).collect::<Result<Vec<_>, _>>()?;
    let mut ids: Vec<NodeId> = plans.iter().flat_map(ProofPlan::nodes).copied().collect();
    ids.sort_unstable();
    ids.dedup();
    let read = nodes(store, snapshot, &ids).await?;
    let known: HashMap<NodeId, Hash> = ids.into_iter().zip(read).collect();
    let path = |(leaf, plan): (&Leaf, &ProofPlan)| {
        let hashes = plan.nodes().iter().map(|id| known.get(id).copied());
        let hashes: Vec<Hash> = hashes.collect::<Option<_>>().ok_or_else(|| corrupt(leaf))?;
        let path = plan.assemble(&hashes);
        let followed = verify_inclusion(leaf.id() - 1, &leaf.leaf_hash(), &tree, &path);
        followed.map(|()| path).map_err(|_| corrupt(leaf))
    };
    entries.iter().zip(&plans).map(path).collect()
}

/// The root that the log had at a size which the snapshot covers.
pub async fn root_at(
    store: &Store,
    snapshot: &Snapshot,
    size: TreeSize,
) -> Result<Hash, StoreError> {
    if size == snapshot.size() {
        return Ok(snapshot.head.head().root_hash);
    }
    let plan = ProofPlan::root(size);
    Ok(folded(&plan, &nodes(store, snapshot, plan.nodes()).await?))
}

/// The proof from one size to another; empty from size 0, which nothing can prove.
pub async fn consistency_proof(
    store: &Store,
    snapshot: &Snapshot,
    first: TreeSize,
    second: TreeSize,
) -> Result<Vec<Hash>, StoreError> {
    let Ok(plan) = ProofPlan::consistency(first, second) else { return Ok(Vec::new()) };
    Ok(plan.assemble(&nodes(store, snapshot, plan.nodes()).await?))
}

/// Nodes from memory where the snapshot has them, else from the tiles.
async fn nodes(
    store: &Store,
    snapshot: &Snapshot,
    ids: &[NodeId],
) -> Result<Vec<Hash>, StoreError> {
    let held: Vec<Option<Hash>> = ids.iter().map(|id| snapshot.node(*id)).collect();
    let lacking: Vec<NodeId> =
        ids.iter().zip(&held).filter(|(_, hash)| hash.is_none()).map(|(id, _)| *id).collect();
    if lacking.is_empty() {
        return Ok(held.into_iter().flatten().collect());
    }
    let mut read = store.nodes(&lacking, &snapshot.edge).await?.into_iter();
    Ok(held.into_iter().filter_map(|hash| hash.or_else(|| read.next())).collect())
}

fn folded(plan: &ProofPlan, hashes: &[Hash]) -> Hash {
    plan.assemble(hashes).first().copied().unwrap_or(Hash::EMPTY_TREE)
}

/// A proof about a size that was asked for by its number never changes; without one, the next
/// head may make another.
fn freshness(size: TreeSize, newest: TreeSize) -> Freshness {
    if size == newest { Freshness::Brief } else { Freshness::Immutable(format!("size-{size}")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::verify_consistency;
    use crate::read::testing::TestNode;

    #[tokio::test]
    async fn every_proof_of_a_log_verifies_against_its_roots() {
        let node = TestNode::with_entries(700).await;
        for size in [1_u64, 2, 3, 255, 256, 257, 511, 512, 699, 700] {
            for entry in [1, 2, 100, 256, 257, 600, 700].into_iter().filter(|id| *id <= size) {
                let url = format!("/api/v1/log/inclusion-proof?entry_id={entry}&tree_size={size}");
                let proof: InclusionProof = node.get(&url).await;
                let tree = TreeRoot { size: proof.tree_size, hash: proof.root_hash };
                assert_eq!(tree, node.tree_at(size), "{url}");
                assert_eq!(proof.leaf_hash, node.leaf(entry).leaf_hash());
                let checked = verify_inclusion(entry - 1, &proof.leaf_hash, &tree, &proof.hashes);
                assert_eq!(checked, Ok(()), "{url}");
            }
            let url = format!("/api/v1/log/consistency-proof?first={size}&second=700");
            let proof: ConsistencyProof = node.get(&url).await;
            let trees = (node.tree_at(size), node.tree_at(700));
            assert_eq!((proof.first_root, proof.second_root), (trees.0.hash, trees.1.hash));
            assert_eq!(verify_consistency(&trees.0, &trees.1, &proof.hashes), Ok(()), "{url}");
        }
    }

    #[tokio::test]
    async fn proofs_default_to_the_newest_head_and_begin_at_nothing() {
        let node = TestNode::with_entries(5).await;
        let proof: InclusionProof = node.get("/api/v1/log/inclusion-proof?entry_id=2").await;
        assert_eq!(proof.tree_size.get(), 5);
        let proof: ConsistencyProof = node.get("/api/v1/log/consistency-proof?first=0").await;
        assert_eq!((proof.first_root, proof.hashes.len()), (Hash::EMPTY_TREE, 0));
        assert_eq!(proof.second.get(), 5);
    }

    #[tokio::test]
    async fn proofs_out_of_range_are_refused() {
        let node = TestNode::with_entries(5).await;
        for (query, code) in [
            ("inclusion-proof", Code::ValidationFailed),
            ("inclusion-proof?entry_id=0", Code::ValidationFailed),
            ("inclusion-proof?entry_id=6", Code::NotFound),
            ("inclusion-proof?entry_id=3&tree_size=2", Code::ValidationFailed),
            ("inclusion-proof?entry_id=3&tree_size=6", Code::ValidationFailed),
            ("consistency-proof?second=3", Code::ValidationFailed),
            ("consistency-proof?first=4&second=3", Code::ValidationFailed),
            ("consistency-proof?first=1&second=6", Code::ValidationFailed),
            ("consistency-proof?first=-1", Code::ValidationFailed),
        ] {
            assert_eq!(node.refusal(&format!("/api/v1/log/{query}")).await, code, "{query}");
        }
    }
}
