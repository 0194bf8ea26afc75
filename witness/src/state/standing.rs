//! Where the witness stands with one log.

use diogenes_common::clock::Timestamp;
use diogenes_common::evidence::Bytes;
use diogenes_common::head::{HeadJson, SignedHead};
use diogenes_common::keys::PublicKey;
use diogenes_common::merkle::{Hash, TreeRoot, TreeSize};
use diogenes_common::note::Vkey;
use diogenes_common::statement::{Reason, WitnessProof};
use serde::{Deserialize, Serialize};

use super::StateError;
use super::line::{Forgotten, Step};
use super::projection::BrokenLine;
use crate::judge::Known;
use crate::log::{LogIdentity, LogKey, LogName};

/// Where the witness stands with one log: one of this kind, one of a list, or both at once.
///
/// Genesis, id and operator key are there for a log of this kind that was seen; the listing is
/// there once the operator let the log ask for cosignatures. Both share one tree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogState {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cosigned: Option<Cosigned>,
    /// The newest time in a signature that belongs to no step: a refusal's, or one that a recovery
    /// was shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    emitted_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    forgotten: Option<Forgotten>,
    genesis: Option<Bytes>,
    halted: Option<Reason>,
    head: Option<HeadJson>,
    last_signed: Option<Signed>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    listing: Option<Listing>,
    log_id: Option<Hash>,
    operator_key: Option<PublicKey>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refreshed: Option<Cosigned>,
    root_hash: Hash,
    submission: Option<Submission>,
    tree_size: TreeSize,
}

/// The newest step that was made to be signed, and the time in its signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Signed {
    #[serde(flatten)]
    pub(super) step: Step,
    pub(super) time: Timestamp,
}

/// The last body that was made for submission, and whether it still has to be sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Submission {
    /// Whether a log answered it, whatever the answer was.
    pub answered: bool,
    /// What is sent, byte for byte the same each time.
    pub body: WitnessProof,
}

/// A checkpoint that is durable and may be cosigned with this time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cosigned {
    /// The checkpoint with the log's verified signatures.
    pub checkpoint: String,
    /// The time in the cosignature.
    pub time: Timestamp,
    /// The checkpoint's size.
    pub tree_size: TreeSize,
}

/// What lets a log ask for cosignatures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listing {
    /// The keys that may sign its checkpoints; none ever goes away.
    pub keys: Vec<LogKey>,
    /// False once the operator removed the log: it is kept and not answered.
    pub served: bool,
}

impl LogState {
    /// Nothing is known about the log but its name.
    pub(super) fn unknown() -> Self {
        Self {
            cosigned: None,
            emitted_at: None,
            forgotten: None,
            genesis: None,
            halted: None,
            head: None,
            last_signed: None,
            listing: None,
            log_id: None,
            operator_key: None,
            refreshed: None,
            root_hash: Hash::EMPTY_TREE,
            submission: None,
            tree_size: TreeSize::ZERO,
        }
    }

    /// The largest tree that this witness vouches for.
    pub fn tree(&self) -> TreeRoot {
        TreeRoot { size: self.tree_size, hash: self.root_hash }
    }

    /// The head of that tree, where it is known.
    pub fn head(&self) -> Option<&HeadJson> {
        self.head.as_ref()
    }

    /// The pinned key of a log of this kind.
    pub fn operator_key(&self) -> Option<&PublicKey> {
        self.operator_key.as_ref()
    }

    /// Entry 1 of a log of this kind.
    pub fn genesis(&self) -> Option<&[u8]> {
        self.genesis.as_ref().map(|genesis| &genesis.0[..])
    }

    /// Why this key never signs this log again, if it does not.
    pub fn halted(&self) -> Option<&Reason> {
        self.halted.as_ref()
    }

    /// The largest tree that this key is known to have signed, if the state does not reach it.
    pub fn forgotten(&self) -> Option<TreeRoot> {
        self.forgotten.as_ref().map(Forgotten::tree)
    }

    /// Whether, as far as the state goes, this key never signed anything of the log.
    pub fn has_signed_nothing(&self) -> bool {
        self.tree() == TreeRoot::EMPTY && self.forgotten.is_none() && self.halted.is_none()
    }

    /// Says why this key signs nothing for the log, if it does not.
    pub fn check_signing(&self, origin: &LogName) -> Result<(), StateError> {
        if let Some(reason) = self.halted.clone() {
            return Err(StateError::Halted { origin: origin.clone(), reason });
        }
        match self.forgotten() {
            None => Ok(()),
            Some(signed) => {
                let (origin, known) = (origin.clone(), self.tree_size);
                Err(StateError::Forgotten { origin, known, signed })
            }
        }
    }

    /// What lets the log ask for cosignatures, if it was ever let.
    pub fn listing(&self) -> Option<&Listing> {
        self.listing.as_ref()
    }

    /// The keys that may sign its checkpoints; `None` if it is not answered.
    pub fn trusted(&self) -> Option<Vec<Vkey>> {
        let listing = self.listing.as_ref().filter(|listing| listing.served)?;
        Some(listing.keys.iter().map(|key| key.vkey().clone()).collect())
    }

    /// The time in the newest signature.
    pub fn last_signed_at(&self) -> Option<Timestamp> {
        let refreshed = self.refreshed.as_ref().map(|refreshed| refreshed.time);
        self.last_signed.map(|signed| signed.time).max(refreshed)
    }

    /// The newest time that this key is known to have emitted, before which nothing is signed.
    pub fn last_emitted_at(&self) -> Option<Timestamp> {
        self.last_signed_at().max(self.emitted_at)
    }

    /// The newest checkpoint that was cosigned, if it is that of the tree.
    pub fn cosigned(&self) -> Option<&Cosigned> {
        let of_tree = |cosigned: &&Cosigned| cosigned.tree_size == self.tree_size;
        let newest = self.refreshed.iter().chain(&self.cosigned).filter(of_tree);
        newest.max_by_key(|cosigned| cosigned.time)
    }

    /// The last body that was made, if it is that of the newest signed step.
    pub fn submission(&self) -> Option<&Submission> {
        let newest = self.last_signed?.step.new_tree().size;
        self.submission.as_ref().filter(|kept| kept.body.new_tree_size == newest)
    }

    pub(super) fn last_signed(&self) -> Option<Signed> {
        self.last_signed
    }

    pub(super) fn keep(&mut self, submission: Submission) {
        self.submission = Some(submission);
    }

    pub(super) fn emit(&mut self, time: Timestamp) {
        self.emitted_at = self.emitted_at.max(Some(time));
    }

    /// A cosignature over the same tree was refreshed: the latest one counts.
    pub(super) fn refresh(&mut self, refreshed: Cosigned) {
        if self.refreshed.as_ref().is_none_or(|last| last.time <= refreshed.time) {
            self.refreshed = Some(refreshed);
        }
    }

    /// Takes over what only the state file knows.
    pub(super) fn keep_of_file(&mut self, file: &Self) {
        self.submission.clone_from(&file.submission);
        self.refreshed.clone_from(&file.refreshed);
        self.emitted_at = file.emitted_at;
    }

    /// The same without what only the state file knows.
    pub(super) fn of_index(&self) -> Self {
        Self { submission: None, refreshed: None, emitted_at: None, ..self.clone() }
    }

    /// Says whether a log of this kind, with this operator, may not take the name because it is
    /// listed under another key.
    ///
    /// A list of somebody else's must not hold a name for ever: what the operator of this witness
    /// removed gives way as long as nothing was signed under it.
    pub(super) fn is_taken_from(&self, operator: &PublicKey) -> bool {
        let gives_way = |listing: &Listing| !listing.served && self.tree_size == TreeSize::ZERO;
        self.is_listed_beside(operator) && !self.listing.as_ref().is_some_and(gives_way)
    }

    fn is_listed_beside(&self, operator: &PublicKey) -> bool {
        let keys = self.listing.as_ref().map(|listing| &listing.keys[..]).unwrap_or_default();
        keys.iter().any(|key| key.vkey().key() != operator)
    }

    /// The log shows itself as one of this kind; a listed key must be its operator's.
    pub(super) fn introduce(&mut self, log: &LogIdentity) -> Result<(), BrokenLine> {
        if self.genesis.is_some() || self.is_taken_from(log.operator()) {
            return Err(BrokenLine::Log);
        }
        if self.is_listed_beside(log.operator()) {
            self.listing = None;
        }
        self.genesis = Some(Bytes(log.genesis().bytes().to_vec()));
        self.log_id = Some(log.log_id());
        self.operator_key = Some(log.operator().clone());
        Ok(())
    }

    /// The log may ask for cosignatures under these keys: those of before, and perhaps more; for a
    /// log of this kind its operator's alone.
    pub(super) fn list(&mut self, keys: &[LogKey]) -> Result<(), BrokenLine> {
        let before = self.listing.as_ref().map(|listing| &listing.keys[..]).unwrap_or_default();
        let is_kept = before.iter().all(|key| keys.contains(key));
        let is_operators = |key: &LogKey| {
            self.operator_key.as_ref().is_none_or(|operator| operator == key.vkey().key())
        };
        if keys.is_empty() || !is_kept || !keys.iter().all(is_operators) {
            return Err(BrokenLine::Listed);
        }
        self.listing = Some(Listing { keys: keys.to_vec(), served: true });
        Ok(())
    }

    /// The log may no longer ask.
    pub(super) fn delist(&mut self) -> Result<(), BrokenLine> {
        let listing = self.listing.as_mut().filter(|listing| listing.served);
        listing.ok_or(BrokenLine::Listed)?.served = false;
        Ok(())
    }

    pub(super) fn halt(&mut self, reason: Reason) {
        self.halted = Some(reason);
    }

    /// Somebody showed what this key signed beyond the tree: nothing is signed until a recovery
    /// reaches it.
    pub(super) fn forget(&mut self, signed: Forgotten) -> Result<(), BrokenLine> {
        let beyond = self.forgotten().map_or(self.tree_size, |tree| tree.size);
        if signed.tree().size <= beyond {
            return Err(BrokenLine::Step);
        }
        self.forgotten = Some(signed);
        Ok(())
    }

    /// Moves on to a tree that was signed before; whoever signed it reached all that is known.
    pub(super) fn recover(
        &mut self,
        step: Step,
        head: Option<&HeadJson>,
    ) -> Result<(), BrokenLine> {
        let new = step.new_tree();
        if self.forgotten().is_some_and(|tree| tree.size == new.size && tree != new) {
            return Err(BrokenLine::Step);
        }
        self.take(step, head)?;
        self.forgotten = self.forgotten.filter(|forgotten| forgotten.tree().size > new.size);
        Ok(())
    }

    /// Moves on to a tree that is signed.
    pub(super) fn advance(
        &mut self,
        step: Step,
        time: Timestamp,
        head: Option<&HeadJson>,
        cosigned: Option<Cosigned>,
    ) -> Result<(), BrokenLine> {
        let is_stopped = self.halted.is_some() || self.forgotten.is_some();
        if is_stopped || self.last_signed.is_some_and(|last| last.time > time) {
            return Err(BrokenLine::Step);
        }
        self.take(step, head)?;
        self.cosigned = cosigned;
        self.last_signed = Some(Signed { step, time });
        Ok(())
    }

    /// Moves on. Signatures are not looked at again for every line of the past: the chain of
    /// hashes covers them, and the newest head is verified whenever it is used.
    fn take(&mut self, step: Step, head: Option<&HeadJson>) -> Result<(), BrokenLine> {
        if head.is_some_and(|head| head.claim().tree() != step.new_tree()) {
            return Err(BrokenLine::Head);
        }
        if step.old() != self.tree() || step.new_tree().size <= self.tree_size {
            return Err(BrokenLine::Step);
        }
        self.tree_size = step.new_tree().size;
        self.root_hash = step.new_tree().hash;
        self.head = head.cloned();
        Ok(())
    }
}

/// What [`crate::judge::judge`] compares a new head with.
pub fn known<'a>(tree: TreeRoot, head: Option<&'a SignedHead>, log: &LogIdentity) -> Known<'a> {
    Known { tree, head, genesis: log.genesis().leaf_hash() }
}
