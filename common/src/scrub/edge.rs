//! The right edge of a signed tree, when none is in memory.

use super::peers::Peers;
use crate::merkle::{Edge, Hash, TreeRoot};
use crate::store::{Store, StoreError};

/// How many entries are read at once.
const STEP: u64 = 1_024;

/// The edge whose root is that of the tree: as stored, from another node, or from all entries.
pub(super) async fn edge_of(
    store: &Store,
    peers: &Peers,
    tree: TreeRoot,
) -> Result<Option<Edge>, StoreError> {
    match store.load_edge(tree.size).await {
        Ok(edge) if edge.root() == tree => return Ok(Some(edge)),
        Ok(_)
        | Err(
            StoreError::Corrupt { .. }
            | StoreError::CorruptTile { .. }
            | StoreError::Malformed { .. },
        ) => {}
        Err(error) => return Err(error),
    }
    if let Some((edge, url)) = peers.edge(tree).await {
        tracing::info!(peer.url = url, "the right edge of the signed tree came from a peer");
        return Ok(Some(edge));
    }
    let mut edge = Edge::empty();
    let mut completed = Vec::new();
    while edge.size() < tree.size {
        let after = edge.size().get();
        let rows = store.raw_entries(after, tree.size.get().min(after + STEP)).await?;
        if rows.is_empty() {
            return Ok(None);
        }
        for row in rows {
            edge.push(Hash::of_leaf(&row.leaf), &mut completed);
        }
        completed.clear();
    }
    Ok(Some(edge).filter(|edge| edge.root() == tree))
}
