//! Views, held against those that the entries give: folded anew into a database of its own.

use std::path::Path;

use futures_util::future::BoxFuture;

use super::rows::Differ;
use super::scrubber::{Reference, Scrubber};
use super::{Damage, Outcome, Place};
use crate::batch::Trust;
use crate::merkle::TreeSize;
use crate::store::{
    DatabaseUrl, Fold, Frozen, OpenOptions, RowChange, Store, StoreError, Table, VIEWS,
};

/// The name of the database of a comparison.
const SCRATCH: &str = "scrub-views.db";

/// More damaged rows of one view are not patched.
const MOST_CHANGES: usize = 10_000;

/// The view that is not folded, but looked at beside the entries.
const HASHES: &str = "view_entry_hashes";

impl Scrubber {
    /// Looks at one run of the prefixes of entries' hashes.
    pub(super) async fn check_run(&mut self, run: u64) -> Result<(), StoreError> {
        if self.store.damaged_runs(run, run + 1).await?.is_empty() {
            return Ok(());
        }
        self.store.mend_run(run).await?;
        let damage = Damage { place: Place::View(HASHES), first: run, last: run };
        let detail = format!("run {run} was made anew from the entries");
        self.note(damage, "rows", Outcome::Repaired(detail)).await
    }

    /// Compares the views with those of a fold over all entries.
    pub(super) fn check_views<'a>(
        &'a mut self,
        reference: &'a Reference,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let path = self.scratch.join(SCRATCH);
            remove(&path);
            let url = DatabaseUrl::sqlite(&path);
            let options = OpenOptions { readers: 1, ..OpenOptions::default() };
            let scratch = apart(move || async move { Store::open(&url, options).await }).await?;
            let compared = self.compare_views(&scratch, reference).await;
            scratch.close().await;
            remove(&path);
            match compared {
                // An entry that could not be repaired: what it says is not known.
                Err(StoreError::Corrupt { id }) => {
                    tracing::warn!(id, "the views can't be compared while an entry is damaged");
                    Ok(())
                }
                other => other,
            }
        })
    }

    async fn compare_views(
        &mut self,
        scratch: &Store,
        reference: &Reference,
    ) -> Result<(), StoreError> {
        scratch.initialise().await?;
        let trust = Trust { operator: reference.operator.fingerprint() };
        let mut folding =
            Folding { fold: Fold::new(trust), from: self.store.clone(), into: scratch.clone() };
        while folding.fold.size() < reference.edge.size() {
            self.rest(reference).await?;
            let (next, bytes) = folding.step(reference.edge.size()).await?;
            self.spend(bytes);
            folding = next;
        }
        let mut found = self.store.freeze().await?;
        let Some(state) = found.state().await? else { return Ok(()) };
        // What was committed since is little; the moment is not held while the budget is waited for.
        while folding.fold.size() < state.tree.size {
            (folding, _) = folding.step(state.tree.size).await?;
        }
        if folding.fold.size() > state.tree.size {
            return Ok(());
        }
        let mut right = scratch.freeze().await?;
        let mut damaged = Vec::new();
        for table in VIEWS {
            let changes = differences(&mut found, &mut right, table, state.tree.size).await?;
            if !changes.is_empty() {
                damaged.push((table, changes));
            }
        }
        drop((found, right));
        for (table, changes) in damaged {
            self.mend_view(table, &changes).await?;
        }
        Ok(())
    }

    async fn mend_view(
        &mut self,
        table: &'static Table,
        changes: &[RowChange],
    ) -> Result<(), StoreError> {
        let damage = Damage { place: Place::View(table.name), first: 0, last: 0 };
        let outcome = if changes.len() >= MOST_CHANGES {
            Outcome::Left("too many rows differ: stop the node and run rebuild-views".to_owned())
        } else {
            self.store.mend_rows(table, changes).await?;
            Outcome::Repaired(format!("{} rows were made anew from the log", changes.len()))
        };
        self.note(damage, "rows", outcome).await
    }
}

/// A fold from one database into another.
struct Folding {
    fold: Fold,
    from: Store,
    into: Store,
}

impl Folding {
    /// Adds the next entries, up to a size; answers how many bytes they are.
    ///
    /// Checking what they carry takes milliseconds, in which a thread that serves would answer
    /// nobody else.
    async fn step(mut self, upto: TreeSize) -> Result<(Self, u64), StoreError> {
        let work = move || async move {
            let bytes = self.fold.step(&self.from, &self.into, upto).await?;
            Ok((self, bytes))
        };
        apart(work).await
    }
}

/// Does work on a thread that serves nobody.
async fn apart<T, F>(work: impl FnOnce() -> F + Send + 'static) -> Result<T, StoreError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, StoreError>>,
{
    let runtime = tokio::runtime::Handle::current();
    let done = tokio::task::spawn_blocking(move || runtime.block_on(work())).await;
    done.unwrap_or_else(|_| Err(StoreError::Unreachable("given up".to_owned())))
}

async fn differences(
    found: &mut Frozen,
    right: &mut Frozen,
    table: &Table,
    size: TreeSize,
) -> Result<Vec<RowChange>, StoreError> {
    let (mut differ, mut changes) = (Differ::default(), Vec::new());
    let (mut last_found, mut last_right) = (None, None);
    while changes.len() < MOST_CHANGES {
        if differ.lacks_found() {
            let page = found.rows(table, size, last_found.as_deref()).await?;
            last_found = page.last().cloned().or(last_found);
            differ.add_found(page);
        }
        if differ.lacks_right() {
            let page = right.rows(table, size, last_right.as_deref()).await?;
            last_right = page.last().cloned().or(last_right);
            differ.add_right(page);
        }
        if differ.lacks_found() && differ.lacks_right() {
            break;
        }
        differ.compare(table, &mut changes);
    }
    Ok(changes)
}

/// Removes a database that nobody needs, with the files beside it.
fn remove(path: &Path) {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        // What is not there needs no removing, and what stays is made anew.
        let _ = std::fs::remove_file(name);
    }
}
