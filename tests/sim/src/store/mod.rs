//! The database of the leader, under the names that production imports from the store.
//!
//! A transaction is atomic and durable when it returns. It takes its time, its answer may be lost,
//! and it may still be under way when the process that waited for it is gone. The condition of its
//! first statement is read out of the production source: see `guard`.

mod error;
mod guard;
mod table;

use std::cell::{RefCell, RefMut};
use std::rc::Rc;
use std::time::Duration;

pub use error::{ChainError, CommitError, StoreError};
pub use table::{Commit, Guard, HeadRow, LocalWrite, LogState, NewState};

use crate::batch::{Chain, Stored, Trust};
use crate::merkle::{Edge, Hash, NodeId, Nodes as _, TreeSize};
use crate::rng::Rng;
use crate::time::sleep;
use crate::view::{Needs, Overlay};
pub(crate) use table::{Database, Write};

/// A connection to the database. Clones are the same database.
#[derive(Clone)]
pub struct Store(Rc<RefCell<Server>>);

/// The database, and how well it is.
pub(crate) struct Server {
    pub(crate) database: Database,
    pub(crate) faults: Faults,
    pub(crate) rng: Rng,
    /// A transaction that was sent, and is not done although nobody waits for it any more.
    pub(crate) limbo: Option<Write>,
}

/// What goes wrong at the moment, in percent of the commits.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// It does not answer at all.
    pub(crate) is_down: bool,
    /// The commit happens and its answer is lost.
    pub(crate) lost_answer: u64,
    /// The commit happens later, or never, and nobody is told.
    pub(crate) limbo: u64,
    /// The disk fails.
    pub(crate) disk: u64,
}

/// The lock of the one writer.
pub struct ExclusiveLock;

impl ExclusiveLock {
    /// Whether it is still held.
    pub async fn is_held(&mut self) -> bool {
        true
    }
}

impl Server {
    /// Does what was under way when its process stopped waiting, or lets it go.
    pub(crate) fn settle(&mut self) {
        if let Some(write) = self.limbo.take()
            && self.rng.percent(50)
        {
            // A fence that was raised meanwhile refuses it.
            self.database.write(write).ok();
        }
    }
}

impl Store {
    pub(crate) fn new(database: Database, rng: Rng) -> Self {
        let server = Server { database, faults: Faults::default(), rng, limbo: None };
        Self(Rc::new(RefCell::new(server)))
    }

    pub(crate) fn server(&self) -> RefMut<'_, Server> {
        self.0.borrow_mut()
    }

    fn answers(&self) -> Result<(), StoreError> {
        if self.0.borrow().faults.is_down {
            return Err(StoreError::Unreachable("it is down".to_owned()));
        }
        Ok(())
    }

    async fn takes(&self, least: u64, most: u64) {
        let delay = self.server().rng.between(least, most);
        sleep(Duration::from_millis(delay)).await;
    }

    /// One transaction: all of it or nothing, and only where the guard says that the log is.
    pub async fn commit(&self, commit: &Commit<'_>) -> Result<(), CommitError> {
        if !commit.continues_log() {
            return Err(CommitError::Gap);
        }
        self.answers()?;
        self.takes(1, 8).await;
        let write = Write::of(commit);
        let done = {
            let mut server = self.server();
            let faults = server.faults;
            if server.rng.percent(faults.disk) {
                return Err(CommitError::Disk("input/output error".to_owned()));
            }
            if faults.is_down || server.rng.percent(faults.limbo) {
                server.limbo = Some(write);
                Err(CommitError::OutcomeUnknown("the connection broke".to_owned()))
            } else {
                let done = server.database.write(write);
                if server.rng.percent(faults.lost_answer) {
                    Err(CommitError::OutcomeUnknown("the connection broke".to_owned()))
                } else {
                    done
                }
            }
        };
        self.takes(0, 4).await;
        done
    }

    /// Fences every process that claimed the log before; waits for a transaction under way.
    pub async fn raise_writer(&self) -> Result<i64, StoreError> {
        self.answers()?;
        self.takes(0, 3).await;
        let mut server = self.server();
        server.settle();
        server.database.state.writer += 1;
        Ok(server.database.state.writer)
    }

    /// Where the log is.
    pub async fn state(&self) -> Result<Option<LogState>, StoreError> {
        self.answers()?;
        Ok(Some(self.0.borrow().database.state))
    }

    /// The verifier's state at the newest entry.
    pub async fn resume_chain(&self, trust: Trust) -> Result<Option<Chain>, ChainError> {
        self.answers()?;
        let server = self.0.borrow();
        let leaves = &server.database.leaves;
        let (Some(genesis), Some(last)) = (leaves.first(), leaves.last()) else {
            return Ok(None);
        };
        let edge = server.database.edge(server.database.state.tree.size);
        let stored = Stored {
            genesis: genesis.clone(),
            last: last.clone(),
            edge: edge.ok_or(StoreError::Corrupt { id: leaves.len() as u64 })?,
            roles: crate::event::RoleKeys::new(),
        };
        Ok(Some(Chain::resume(trust, stored)?))
    }

    /// The newest head with a signature.
    pub async fn newest_signed_head(&self) -> Result<Option<HeadRow>, StoreError> {
        self.answers()?;
        let server = self.0.borrow();
        Ok(server.database.heads.values().rfind(|head| head.head_json.is_some()).cloned())
    }

    /// Nodes of the tree.
    pub async fn nodes(&self, nodes: &[NodeId], _: &Edge) -> Result<Vec<Hash>, StoreError> {
        self.answers()?;
        let server = self.0.borrow();
        let missing = StoreError::CorruptTile { level: 0, index: 0 };
        server.database.nodes(nodes).ok_or(missing)
    }

    /// No rule of these events reads a view.
    pub async fn load_overlay(&self, _: &Needs, _: &mut Overlay) -> Result<(), StoreError> {
        self.answers()
    }

    /// Takes the lock of the one writer.
    pub async fn lock_exclusive(&self, _: Duration) -> Result<ExclusiveLock, StoreError> {
        self.answers()?;
        Ok(ExclusiveLock)
    }
}
