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

/// How many entries one step of a rebuild takes, and about how many bytes of them.
const REBUILD_STEP: u64 = 4_096;
const REBUILD_BYTES: u64 = 8 * 1024 * 1024;

/// The views of one database, made from the entries of one: of the same, or of another.
#[derive(Debug)]
pub struct Fold {
    chain: Chain,
    last_event_id: u64,
}

impl Fold {
    /// Begins before the first entry; the database that it goes into has no views.
    pub fn new(trust: Trust) -> Self {
        Self { chain: Chain::new(trust), last_event_id: 0 }
    }

    /// How many entries it holds.
    pub fn size(&self) -> TreeSize {
        self.chain.size()
    }

    /// Adds the next entries, up to a size; answers how many bytes they are.
    ///
    /// The log was verified when it was stored; here its entries are read for what they say.
    pub async fn step(
        &mut self,
        from: &Store,
        into: &Store,
        upto: TreeSize,
    ) -> Result<u64, StoreError> {
        let after = self.size();
        let most = after.plus(REBUILD_STEP).min(upto);
        let leaves = from.entries(after.get(), most.get(), REBUILD_BYTES).await?;
        if leaves.is_empty() && after < most {
            return Err(StoreError::Corrupt { id: after.get() + 1 });
        }
        let bytes = leaves.iter().map(|leaf| leaf.bytes().len() as u64).sum();
        let mut overlay = Overlay::new(self.last_event_id);
        let mut entries = Vec::with_capacity(leaves.len());
        let mut needs = Needs::default();
        let mut completed = Vec::new();
        for leaf in leaves {
            let id = leaf.id();
            let entry =
                self.chain.append(leaf, &mut completed).map_err(|_| StoreError::Corrupt { id })?;
            completed.clear();
            view::needs(&entry.event, &mut needs);
            entries.push(entry);
        }
        if !needs.is_empty() {
            into.load_overlay(&needs, &mut overlay).await?;
        }
        for entry in &entries {
            view::apply(&mut overlay, entry);
        }
        self.last_event_id = overlay.last_event_id;
        into.rebuild_views(&overlay.changes(), after, self.size()).await?;
        Ok(bytes)
    }
}

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
        let mut fold = Fold::new(trust);
        while fold.size() < state.tree.size {
            fold.step(self, self, state.tree.size).await?;
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
