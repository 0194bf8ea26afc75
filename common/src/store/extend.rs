//! Storing entries that were verified, as a restore and a recovery do: one transaction for each
//! step, with tiles, views and heads.

use std::sync::Arc;

use super::commit::{Commit, Guard, HeadRow, NewState};
use super::{CommitError, Store, StoreError};
use crate::batch::Entry;
use crate::merkle::{TileId, TileNodes};
use crate::view::{self, Needs, Overlay};

/// Where a database is whose log grows.
#[derive(Clone, Copy, Debug)]
pub struct Tip {
    /// What the next transaction must find.
    pub guard: Guard,
    /// The newest entry that is neither a witness proof nor an anchor.
    pub last_event_id: u64,
}

/// Verified entries, and where the log is with them.
#[derive(Debug)]
pub struct Extension<'a> {
    /// The entries, in order.
    pub entries: Vec<Entry>,
    /// The tiles that they complete.
    pub tiles: &'a [(TileId, Arc<TileNodes>)],
    /// The log after them.
    pub state: NewState,
    /// Heads to store.
    pub heads: &'a [HeadRow],
}

impl Store {
    /// Claims the log for this process, and says where it is.
    pub async fn claim_tip(&self) -> Result<Tip, StoreError> {
        let writer = self.raise_writer().await?;
        let state = self.state().await?.ok_or(StoreError::Malformed { table: "log_state" })?;
        let guard = Guard { tree: state.tree, timestamp: state.timestamp, writer };
        Ok(Tip { guard, last_event_id: state.last_event_id })
    }

    /// Stores verified entries with the views that follow from them, all or nothing; answers where
    /// the log is then.
    pub async fn extend(&self, tip: Tip, extension: Extension<'_>) -> Result<Tip, CommitError> {
        let Extension { entries, tiles, state, heads } = extension;
        let mut needs = Needs::default();
        for entry in &entries {
            view::needs(&entry.event, &mut needs);
        }
        let mut overlay = Overlay::new(tip.last_event_id);
        if !needs.is_empty() {
            self.load_overlay(&needs, &mut overlay).await?;
        }
        for entry in &entries {
            view::apply(&mut overlay, entry);
        }
        let entries: Vec<_> = entries.into_iter().map(|entry| entry.leaf).collect();
        let commit = Commit {
            guard: tip.guard,
            entries: &entries,
            tiles,
            state,
            heads,
            sign_previous: None,
            views: &overlay.changes(),
            local: &[],
        };
        self.commit(&commit).await?;
        let guard = Guard { tree: state.tree, timestamp: state.timestamp, ..tip.guard };
        Ok(Tip { guard, last_event_id: overlay.last_event_id })
    }
}
