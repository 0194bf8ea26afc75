//! What the leader's tables hold, and the one transaction that changes them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::error::CommitError;
use super::guard;
use crate::clock::Timestamp;
use crate::head::{HeadJson, TreeHead};
use crate::leaf::Leaf;
use crate::merkle::{Edge, Hash, NodeId, Nodes as _, TileId, TileNodes, TreeRoot, TreeSize};
use crate::view;

/// Where the writer believes the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Guard {
    pub tree: TreeRoot,
    pub timestamp: Timestamp,
    pub writer: i64,
}

/// Where the log is after a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct NewState {
    pub tree: TreeRoot,
    pub chain_head: Option<Hash>,
    pub timestamp: Timestamp,
    pub epoch: u64,
}

/// A head as the table holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct HeadRow {
    pub tree: TreeRoot,
    pub chain_head: Option<Hash>,
    pub epoch: u64,
    pub timestamp: Timestamp,
    pub head_json: Option<String>,
}

impl HeadRow {
    /// The fields of a head before it is signed.
    pub fn unsigned(head: &TreeHead) -> Self {
        Self {
            tree: head.tree(),
            chain_head: head.chain_head,
            epoch: head.epoch,
            timestamp: head.timestamp,
            head_json: None,
        }
    }
}

/// The row that every commit compares with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct LogState {
    pub writer: i64,
    pub tree: TreeRoot,
    pub chain_head: Option<Hash>,
    pub timestamp: Timestamp,
    pub epoch: u64,
    pub last_event_id: u64,
}

/// Rows of the node's own: there are none here.
#[derive(Clone, Copy, Debug)]
pub enum LocalWrite {}

/// Everything that one batch writes.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Commit<'a> {
    pub guard: Guard,
    pub entries: &'a [Leaf],
    pub tiles: &'a [(TileId, Arc<TileNodes>)],
    pub state: NewState,
    pub heads: &'a [HeadRow],
    pub sign_previous: Option<(i64, TreeSize, &'a str)>,
    pub views: &'a view::Changes,
    pub local: &'a [LocalWrite],
}

impl Commit<'_> {
    pub(super) fn continues_log(&self) -> bool {
        let size = self.guard.tree.size.get();
        let ids = (size + 1..).zip(self.entries);
        size + self.entries.len() as u64 == self.state.tree.size.get()
            && ids.into_iter().all(|(id, leaf)| leaf.id() == id)
    }
}

/// A transaction on its way.
pub(crate) struct Write {
    guard: Guard,
    state: NewState,
    entries: Vec<Leaf>,
    tiles: Vec<(TileId, Arc<TileNodes>)>,
    heads: Vec<HeadRow>,
    sign_previous: Option<(i64, TreeSize, String)>,
    last_event_id: u64,
}

impl Write {
    pub(super) fn of(commit: &Commit<'_>) -> Self {
        let note = commit.sign_previous;
        Self {
            guard: commit.guard,
            state: commit.state,
            entries: commit.entries.to_vec(),
            tiles: commit.tiles.to_vec(),
            heads: commit.heads.to_vec(),
            sign_previous: note.map(|(second, size, json)| (second, size, json.to_owned())),
            last_event_id: commit.views.last_event_id,
        }
    }
}

/// What is durable.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    pub(crate) state: LogState,
    pub(crate) leaves: Vec<Leaf>,
    pub(crate) heads: BTreeMap<i64, HeadRow>,
    edges: Vec<Edge>,
    tiles: HashMap<TileId, Arc<TileNodes>>,
}

impl Database {
    /// The tables before the first entry.
    pub(crate) fn empty() -> Self {
        let state = LogState {
            writer: 0,
            tree: TreeRoot::EMPTY,
            chain_head: None,
            timestamp: Timestamp::from_millis(0).expect("1970 is a time"),
            epoch: 1,
            last_event_id: 0,
        };
        let (leaves, heads) = (Vec::new(), BTreeMap::new());
        Self { state, leaves, heads, edges: vec![Edge::empty()], tiles: HashMap::new() }
    }

    pub(super) fn write(&mut self, write: Write) -> Result<(), CommitError> {
        if !guard::holds(&self.state, &write.guard, &write.state) {
            return Err(CommitError::NotLeader);
        }
        let first = write.guard.tree.size.get();
        if first != self.leaves.len() as u64 && !write.entries.is_empty() {
            return Err(CommitError::Conflict("an entry with this id is there".to_owned()));
        }
        write.entries.into_iter().for_each(|leaf| self.push(leaf));
        if let Some((second, size, json)) = write.sign_previous
            && let Some(head) = self.heads.get_mut(&second)
            && head.tree.size == size
            && head.head_json.is_none()
        {
            head.head_json = Some(json);
        }
        for head in write.heads {
            self.heads.insert(head.timestamp.seconds(), head);
        }
        let NewState { tree, chain_head, timestamp, epoch } = write.state;
        let (writer, last_event_id) = (self.state.writer, write.last_event_id);
        self.state = LogState { writer, tree, chain_head, timestamp, epoch, last_event_id };
        Ok(())
    }

    pub(crate) fn push(&mut self, leaf: Leaf) {
        let mut edge = self.edges.last().cloned().unwrap_or_default();
        let mut completed = Vec::new();
        edge.push(leaf.leaf_hash(), &mut completed);
        self.tiles.extend(completed);
        self.edges.push(edge);
        self.leaves.push(leaf);
    }

    pub(crate) fn size(&self) -> u64 {
        self.leaves.len() as u64
    }

    /// The right edge of the tree that the entries up to a size make.
    pub(crate) fn edge(&self, size: TreeSize) -> Option<Edge> {
        self.edges.get(usize::try_from(size.get()).ok()?).cloned()
    }

    /// The tree that the entries up to a size make.
    pub(crate) fn tree(&self, size: TreeSize) -> Option<TreeRoot> {
        Some(self.edge(size)?.root())
    }

    pub(crate) fn nodes(&self, nodes: &[NodeId]) -> Option<Vec<Hash>> {
        let edge = self.edges.last()?;
        nodes.iter().map(|id| edge.node(*id).or_else(|| self.tiles.node(*id))).collect()
    }
}
