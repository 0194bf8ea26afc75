//! A witness whose newest statement excludes what this log recorded of it before.

use super::evidence::{Latching, is_witness};
use super::proofs::{consistency_proof, root_at};
use super::reads::Reads;
use super::snapshot::Snapshot;
use crate::event::Event;
use crate::evidence::{
    Accused, Evidence, Identity, Kind, Observed, Proof, Statement, witness_equivocated,
};
use crate::merkle::TreeRoot;
use crate::statement::WitnessProof;
use crate::store::{Store, StoreError};

impl Reads {
    /// Looks whether a proof that disagrees with this log contradicts the newest one that the log
    /// records of the same witness; if so, keeps the evidence. `by` is how this node names itself.
    ///
    /// A disagreement alone may be the work of a leader that showed the witness another history:
    /// only two statements of the witness itself prove anything against it.
    pub async fn judge_witness(&self, said: &WitnessProof, by: &str) -> Result<(), StoreError> {
        let Ok(snapshot) = self.snapshot() else { return Ok(()) };
        let witness = said.witness;
        if said.check().is_err() || !is_witness(self.store(), witness).await? {
            return Ok(());
        }
        let Some(recorded) = newest_recorded(self.store(), said).await? else { return Ok(()) };
        let at = self.now();
        let observed = Observed { at, by: by.to_owned() };
        for tree in [said.claim().new_tree(), said.claim().old_tree()] {
            let evidence = exclude(self.store(), &snapshot, said, tree, &recorded, &observed);
            let Some(evidence) = evidence.await? else { continue };
            let file = evidence.to_bytes();
            let Some(identity) = Identity::of(&file) else { continue };
            let proof = Latching { kind: Kind::WitnessEquivocated, file: file.into(), at };
            return self.keep_equivocation(witness, identity, &proof).await;
        }
        Ok(())
    }
}

/// The newest proof of the same witness in the log.
async fn newest_recorded(
    store: &Store,
    said: &WitnessProof,
) -> Result<Option<WitnessProof>, StoreError> {
    let Some(row) = store.witnesses([&said.witness]).await?.pop() else { return Ok(None) };
    let Some(leaf) = store.entry(row.proof_id).await? else { return Ok(None) };
    Ok(match Event::parse(leaf.event_type(), leaf.payload()) {
        Ok(Event::WitnessProof(recorded)) => Some(*recorded),
        _ => None,
    })
}

/// Evidence that a tree which the witness vouched for is no beginning of the larger one that it
/// vouched for before, as far as this log can show it.
async fn exclude(
    store: &Store,
    snapshot: &Snapshot,
    said: &WitnessProof,
    tree: TreeRoot,
    recorded: &WitnessProof,
    observed: &Observed,
) -> Result<Option<Evidence>, StoreError> {
    let reached = recorded.claim().new_tree();
    if tree.size.get() == 0 || tree.size > reached.size || reached.size > snapshot.edge.size() {
        return Ok(None);
    }
    let own = TreeRoot { size: tree.size, hash: root_at(store, snapshot, tree.size).await? };
    if own == tree {
        return Ok(None);
    }
    let mut proofs = Vec::new();
    if tree.size < reached.size {
        let hashes = consistency_proof(store, snapshot, tree.size, reached.size).await?;
        proofs.push(Proof::consistency(own, reached, hashes));
    }
    let statements = [Statement::from(said), Statement::from(recorded)];
    let accused = Accused::witness(&said.public_key);
    Ok(Some(witness_equivocated(accused, statements, proofs, observed)))
}
