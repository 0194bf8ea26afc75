//! What readers see: one verified, signed state of the log, replaced as a whole.

use std::sync::Arc;

use tokio::sync::watch;

use crate::head::{HeadJson, SignedHead};
use crate::merkle::{Edge, Hash, NodeId, Nodes, TileId, TileNodes, TreeSize};

/// The log under one signed head.
///
/// A reader takes a snapshot once per request and answers from it alone: whatever is appended
/// meanwhile, entries up to its size never change.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The newest signed head that may be shown; on a follower not above the verified size.
    pub head: SignedHead,
    /// That head as JSON, shared by all answers that carry it.
    pub head_text: Arc<str>,
    /// That head as a checkpoint, with the signatures that came with it.
    pub checkpoint: Arc<str>,
    /// The newest entry under the head that is neither a witness proof nor an anchor.
    pub last_event_id: u64,
    /// The right edge of the tree; on a follower it may lie beyond the head.
    pub edge: Edge,
    /// Tiles that the last batch completed, so that its receipts need no database.
    fresh: Vec<(TileId, Arc<TileNodes>)>,
}

impl Snapshot {
    /// A state of the log: `edge` must hold at least the head's size.
    pub fn new(
        head: SignedHead,
        json: &HeadJson,
        edge: Edge,
        fresh: Vec<(TileId, Arc<TileNodes>)>,
    ) -> Self {
        let head_text = serde_json::to_string(json).expect("a head is plain data").into();
        let checkpoint = json.checkpoint.as_str().into();
        Self { head, head_text, checkpoint, last_event_id: json.last_event_id, edge, fresh }
    }

    /// The head's tree size: what every answer refers to.
    pub fn size(&self) -> TreeSize {
        self.head.head().tree_size
    }
}

impl Nodes for Snapshot {
    fn node(&self, id: NodeId) -> Option<Hash> {
        self.edge.node(id).or_else(|| {
            let tile = id.tile();
            let (_, nodes) = self.fresh.iter().find(|(fresh, _)| *fresh == tile)?;
            nodes.node(id)
        })
    }
}

/// Where the newest snapshot is published.
#[derive(Debug)]
pub struct Published {
    newest: watch::Sender<Option<Arc<Snapshot>>>,
}

impl Default for Published {
    fn default() -> Self {
        Self { newest: watch::Sender::new(None) }
    }
}

impl Published {
    /// The newest snapshot; `None` before the first.
    pub fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.newest.borrow().clone()
    }

    /// Replaces what readers see.
    pub fn set(&self, snapshot: Arc<Snapshot>) {
        self.newest.send_replace(Some(snapshot));
    }

    /// Waits for news.
    pub fn subscribe(&self) -> watch::Receiver<Option<Arc<Snapshot>>> {
        self.newest.subscribe()
    }
}
