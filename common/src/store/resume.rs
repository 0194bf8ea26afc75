//! Going on where the database ends: the verifier's state, and views made anew.

use super::Store;
use super::error::StoreError;
use crate::batch::{Chain, ResumeError, Stored, Trust};
use crate::event::{RoleKey, RoleKeys};
use crate::keys::PublicKey;
use crate::merkle::TreeSize;
use crate::statement::Category;
use crate::view::{self, Needs, Overlay};

/// Why a stored chain can't be gone on with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What it holds is no chain of this operator.
    #[error(transparent)]
    Resume(#[from] ResumeError),
}

/// How many entries one step of a rebuild takes.
const REBUILD_STEP: u64 = 4_096;

impl Store {
    /// The verifier's state at the newest stored entry; `None` for an empty log.
    ///
    /// The right edge is recomputed from stored entries and tiles; compare its root with the
    /// stored state's before trusting either.
    pub async fn resume_chain(&self, trust: Trust) -> Result<Option<Chain>, ChainError> {
        let Some(state) = self.state().await? else { return Ok(None) };
        if state.tree.size == TreeSize::ZERO {
            return Ok(None);
        }
        let size = state.tree.size;
        let missing = |id| StoreError::Corrupt { id };
        let genesis = self.entry(1).await?.ok_or_else(|| missing(1))?;
        let last = self.entry(size.get()).await?.ok_or_else(|| missing(size.get()))?;
        let edge = self.load_edge(size).await?;
        let roles = self.role_keys().await?;
        Ok(Some(Chain::resume(trust, Stored { genesis, last, edge, roles })?))
    }

    /// Makes the views anew from the log alone if another version of the program made them, or
    /// when `always`; answers whether it did.
    pub async fn refresh_views(&self, trust: Trust, always: bool) -> Result<bool, ChainError> {
        let Some(state) = self.state().await? else { return Ok(false) };
        if !always && self.view_version().await? == Some(view::VERSION) {
            return Ok(false);
        }
        self.wipe_views().await?;
        let size = state.tree.size.get();
        // The log was verified when it was stored; here its entries are read for what they say.
        let mut chain = Chain::new(trust);
        let mut last_event_id = 0;
        let mut completed = Vec::new();
        let mut after = 0;
        while after < size {
            let upto = (after + REBUILD_STEP).min(size);
            let leaves = self.entries(after, upto, u64::MAX).await?;
            let mut overlay = Overlay::new(last_event_id);
            let mut entries = Vec::with_capacity(leaves.len());
            let mut needs = Needs::default();
            for leaf in leaves {
                let id = leaf.id();
                let entry =
                    chain.append(leaf, &mut completed).map_err(|_| StoreError::Corrupt { id })?;
                completed.clear();
                view::needs(&entry.event, &mut needs);
                entries.push(entry);
            }
            if !needs.is_empty() {
                self.load_overlay(&needs, &mut overlay).await?;
            }
            for entry in &entries {
                view::apply(&mut overlay, entry);
            }
            last_event_id = overlay.last_event_id;
            let [from, to] = [after, upto].map(|size| TreeSize::ZERO.plus(size));
            self.rebuild_views(&overlay.changes(), from, to).await?;
            after = upto;
        }
        self.views_rebuilt(view::VERSION).await?;
        Ok(true)
    }

    /// The keys whose statements the log takes: those that the operator's endorsements give a
    /// role now.
    async fn role_keys(&self) -> Result<RoleKeys, StoreError> {
        let mut roles = RoleKeys::new();
        for category in [Category::FederationOperator, Category::Witness] {
            for row in self.endorsed(category.as_str()).await? {
                if row.revoked_by.is_none() {
                    let key = PublicKey::from_pem(&row.public_key)
                        .map_err(|_| StoreError::Malformed { table: "view_endorsed" })?;
                    roles.insert(row.fingerprint, RoleKey { key, entry_id: row.entry_id });
                }
            }
        }
        Ok(roles)
    }
}
