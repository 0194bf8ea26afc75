//! The same by hand, on a database that no node has open.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use super::Finding;
use super::edge::edge_of;
use super::heads::{Authority, verified};
use super::pace::Pace;
use super::peers::Peers;
use super::scrubber::{Reference, Scrubber};
use crate::batch::Trust;
use crate::clock::Clock;
use crate::event::Event;
use crate::exit::Failure;
use crate::leaf::Leaf;
use crate::merkle::{Hash, TreeRoot};
use crate::store::{HeadTable, Store, StoreError};

/// A database at rest.
pub struct AtRest {
    /// The database.
    pub store: Store,
    /// Whose log it is.
    pub trust: Trust,
    /// Who is asked for what is damaged.
    pub peers: Peers,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// A directory for a database that lives as long as one comparison of the views.
    pub scratch: PathBuf,
    /// Whether the node signs heads.
    pub is_leader: bool,
}

/// Why nothing was repaired.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Neither the database nor a peer has entry 1 of this operator's log.
    #[error("entry 1, which names the log, is damaged, and no peer sent it")]
    NoGenesis,
    /// Neither the database nor a peer has a head that the operator signed.
    #[error("no stored tree head verifies, and no peer sent one of at most this size")]
    NoHead,
    /// The tree of the newest signed head can't be had.
    #[error(
        "the entries do not give the root of the signed head of {size} entries, and no peer's do"
    )]
    NoEdge {
        /// The head's size.
        size: u64,
    },
}

/// What was found and done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mended {
    /// How many entries the signed head covers that everything was held against.
    pub tree_size: u64,
    /// Its root.
    pub root_hash: Hash,
    /// Whether nothing is damaged any more.
    pub whole: bool,
    /// What was damaged.
    pub damaged: Vec<Line>,
}

/// One damaged place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Where: `entry 5-9`, `tile 0/3`, `view view_keys`.
    pub place: String,
    /// What was wrong.
    pub reason: String,
    /// Whether it was made anew.
    pub repaired: bool,
    /// From what; or why not.
    pub detail: String,
}

impl AtRest {
    /// Looks at everything once, and makes anew what is damaged.
    pub async fn mend(self) -> Result<Mended, RestError> {
        let authority = self.authority().await?;
        let tree = self.signed_tree(&authority).await?;
        let edge = edge_of(&self.store, &self.peers, tree).await?;
        let edge = edge.ok_or(RestError::NoEdge { size: tree.size.get() })?;
        let Authority { operator, origin } = authority;
        let reference = Reference { edge, operator, origin };
        let Self { store, peers, clock, scratch, is_leader, .. } = self;
        let mut scrubber =
            Scrubber::new(store, peers, Pace::unbounded(), clock, scratch, is_leader);
        scrubber.pass(&reference).await?;
        let damaged: Vec<Line> = scrubber.take_findings().iter().map(Line::from).collect();
        let whole = damaged.iter().all(|line| line.repaired);
        Ok(Mended { tree_size: tree.size.get(), root_hash: tree.hash, whole, damaged })
    }

    /// The key and the name that entry 1 gives, whoever has it: its key is the one that is trusted.
    async fn authority(&self) -> Result<Authority, RestError> {
        let rows = self.store.raw_entries(0, 1).await?;
        let own = rows.into_iter().next().and_then(|row| Leaf::parse(row.leaf).ok());
        if let Some(authority) = own.as_ref().and_then(|leaf| self.named_by(leaf)) {
            return Ok(authority);
        }
        let sent = self.peers.geneses().await;
        sent.iter().find_map(|leaf| self.named_by(leaf)).ok_or(RestError::NoGenesis)
    }

    fn named_by(&self, leaf: &Leaf) -> Option<Authority> {
        match Event::parse(leaf.event_type(), leaf.payload()) {
            Ok(Event::Genesis(genesis)) if genesis.operator_fingerprint == self.trust.operator => {
                Some(Authority { operator: genesis.operator_public_key, origin: genesis.origin })
            }
            _ => None,
        }
    }

    /// The largest tree that the operator signed, of those that were stored; else a peer's, if it
    /// is not larger than what is stored.
    async fn signed_tree(&self, authority: &Authority) -> Result<TreeRoot, RestError> {
        let mut newest: Option<TreeRoot> = None;
        for table in [HeadTable::Recent, HeadTable::Pinned] {
            let mut after = (i64::MIN, i64::MIN);
            loop {
                let rows = self.store.raw_heads(table, after, 1_000).await?;
                let Some(last) = rows.last() else { break };
                after = (last.place, last.timestamp);
                let trees = rows.iter().filter_map(|row| verified(row, authority));
                newest = newest.into_iter().chain(trees).max_by_key(|tree| tree.size);
            }
        }
        if let Some(tree) = newest {
            return Ok(tree);
        }
        let held = self.store.log_end().await?.map_or(0, |end| end.newest_id);
        let sent = self.peers.head(authority).await.map(|(head, _)| head.head().tree());
        sent.filter(|tree| tree.size.get() <= held).ok_or(RestError::NoHead)
    }
}

impl Mended {
    /// What a command prints.
    pub fn text(&self, as_json: bool) -> String {
        if as_json { serde_json::to_string(self).unwrap_or_default() } else { self.to_string() }
    }

    /// A failure if something is still damaged.
    pub fn judged(&self) -> Result<(), Failure> {
        if self.whole {
            return Ok(());
        }
        let left = self.damaged.iter().filter(|line| !line.repaired).count();
        Err(Failure::refused(
            "unrepaired",
            format!("{left} damaged places could not be repaired"),
            "name a node that has the whole log with --from, or restore a backup",
        ))
    }
}

impl RestError {
    /// What a command says about it; `store` says what a failure of the database means.
    pub fn into_failure(self, store: impl FnOnce(StoreError) -> Failure) -> Failure {
        match self {
            Self::Store(error) => store(error),
            other => Failure::refused(
                "unrepaired",
                other,
                "name a node that has the whole log with --from, or restore a backup",
            ),
        }
    }
}

impl From<&Finding> for Line {
    fn from(finding: &Finding) -> Self {
        Self {
            place: finding.damage.to_string(),
            reason: finding.reason.to_owned(),
            repaired: finding.is_repaired(),
            detail: finding.detail().to_owned(),
        }
    }
}

/// What a person reads.
impl fmt::Display for Mended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Line { place, repaired, detail, .. } in &self.damaged {
            let became = if *repaired { "repaired" } else { "NOT repaired" };
            writeln!(f, "{place}: {became}: {detail}")?;
        }
        let found = match self.damaged.len() {
            0 => "nothing was damaged".to_owned(),
            found => format!("{found} places were damaged"),
        };
        write!(f, "Read {} entries under root {}: {found}.", self.tree_size, self.root_hash)
    }
}
