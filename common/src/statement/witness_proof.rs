//! Witness proofs: a witness says that one tree head extends another.

use serde::{Deserialize, Serialize};

use super::{Claim, StatementError, Verified};
use crate::clock::Timestamp;
use crate::head::{HeadJson, Origin};
use crate::keys::{Fingerprint, PublicKey, Signature, SigningKey};
use crate::merkle::{Hash, TreeRoot, TreeSize};

/// What a witness signs: both roots lie on one history, the new one after the old.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WitnessClaim {
    /// The root that was checked.
    pub new_root: Hash,
    /// The size that was checked.
    pub new_tree_size: TreeSize,
    /// The root that the witness knew before; that of the empty tree at first contact.
    pub old_root: Hash,
    /// The size that the witness knew before.
    pub old_tree_size: TreeSize,
    /// The log.
    pub origin: Origin,
    /// When the witness signed.
    pub timestamp: Timestamp,
    /// The witness's key.
    pub witness: Fingerprint,
}

impl Claim for WitnessClaim {
    const FIRST_LINE: &'static str = "diogenes-witness-proof/v1\n";
}

impl WitnessClaim {
    /// The tree that the witness knew before.
    pub fn old_tree(&self) -> TreeRoot {
        TreeRoot { size: self.old_tree_size, hash: self.old_root }
    }

    /// The tree that the witness vouches for.
    pub fn new_tree(&self) -> TreeRoot {
        TreeRoot { size: self.new_tree_size, hash: self.new_root }
    }

    /// Signs the claim about `head` and makes the body to submit.
    pub fn into_proof(
        self,
        key: &SigningKey,
        head: HeadJson,
        cosignature: Option<String>,
    ) -> WitnessProof {
        let signature = self.sign(key);
        WitnessProof {
            cosignature,
            head,
            new_root: self.new_root,
            new_tree_size: self.new_tree_size,
            old_root: self.old_root,
            old_tree_size: self.old_tree_size,
            origin: self.origin,
            public_key: key.public().clone(),
            signature,
            timestamp: self.timestamp,
            witness: self.witness,
        }
    }
}

/// The body of `POST /api/v1/log/witness` and the payload of a `witness_proof` entry: the claim
/// with its signature, the head that it is about and a C2SP cosignature.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct WitnessProof {
    /// The `cosignature/v1` line over the checkpoint of the new size; its validity is not part of
    /// the proof's.
    pub cosignature: Option<String>,
    /// The tree head that the witness signed about, verbatim.
    pub head: HeadJson,
    /// The root that was checked.
    pub new_root: Hash,
    /// The size that was checked.
    pub new_tree_size: TreeSize,
    /// The root that the witness knew before.
    pub old_root: Hash,
    /// The size that the witness knew before.
    pub old_tree_size: TreeSize,
    /// The log.
    pub origin: Origin,
    /// The witness's key, whose fingerprint is `witness`.
    pub public_key: PublicKey,
    /// The witness's signature over the claim.
    pub signature: Signature,
    /// When the witness signed.
    pub timestamp: Timestamp,
    /// The witness's key.
    pub witness: Fingerprint,
}

impl WitnessProof {
    /// The members that the signature covers.
    pub fn claim(&self) -> WitnessClaim {
        WitnessClaim {
            new_root: self.new_root,
            new_tree_size: self.new_tree_size,
            old_root: self.old_root,
            old_tree_size: self.old_tree_size,
            origin: self.origin.clone(),
            timestamp: self.timestamp,
            witness: self.witness,
        }
    }

    /// The tree that the witness vouches for.
    pub fn new_tree(&self) -> TreeRoot {
        TreeRoot { size: self.new_tree_size, hash: self.new_root }
    }

    /// Checks everything but the head's own signature, which needs the operator's key.
    pub fn check(&self) -> Result<(), StatementError> {
        if self.public_key.fingerprint() != self.witness {
            return Err(StatementError::OtherKey);
        }
        if self.old_tree_size >= self.new_tree_size {
            return Err(StatementError::SizesReversed);
        }
        if self.old_tree_size == TreeSize::ZERO && self.old_root != Hash::EMPTY_TREE {
            return Err(StatementError::EmptyTreeRoot);
        }
        let head = (&self.head.origin, self.head.tree_size, self.head.root_hash);
        if head != (&self.origin, self.new_tree_size, self.new_root) {
            return Err(StatementError::OtherHead);
        }
        self.claim().check(&self.public_key, &self.signature)
    }

    /// [`WitnessProof::check`] for a proof that arrived and is to be used.
    pub fn verify(self) -> Result<Verified<Self>, StatementError> {
        self.check()?;
        Ok(Verified(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::TreeHead;

    fn proof() -> WitnessProof {
        let origin: Origin = "log.example/log-1".parse().expect("an origin");
        let operator = SigningKey::from_seed([1; 32]);
        let witness = SigningKey::from_seed([2; 32]);
        let timestamp = "2026-01-15T10:30:00.000Z".parse().expect("a time");
        let head = TreeHead {
            chain_head: Some(Hash::of(b"leaf")),
            epoch: 1,
            origin: origin.clone(),
            root_hash: Hash::of(b"root"),
            timestamp,
            tree_size: TreeSize::ZERO.plus(7),
        };
        let claim = WitnessClaim {
            new_root: head.root_hash,
            new_tree_size: head.tree_size,
            old_root: Hash::EMPTY_TREE,
            old_tree_size: TreeSize::ZERO,
            origin,
            timestamp,
            witness: witness.fingerprint(),
        };
        let head = head.sign(&operator).to_json(String::new(), 7);
        claim.into_proof(&witness, head, None)
    }

    #[test]
    fn the_signed_bytes_are_the_first_line_and_the_sorted_members() {
        let proof = proof();

        let text = String::from_utf8(proof.claim().signed_bytes()).expect("text");

        assert_eq!(
            text,
            format!(
                "diogenes-witness-proof/v1\n{{\"new_root\":\"{}\",\"new_tree_size\":7,\
                 \"old_root\":\"{}\",\"old_tree_size\":0,\"origin\":\"log.example/log-1\",\
                 \"timestamp\":\"2026-01-15T10:30:00.000Z\",\"witness\":\"{}\"}}",
                proof.new_root, proof.old_root, proof.witness
            )
        );
        assert_eq!(WitnessClaim::from_signed_bytes(text.as_bytes()), Some(proof.claim()));
        assert_eq!(WitnessClaim::from_signed_bytes(format!("{text} ").as_bytes()), None);
    }

    #[test]
    fn a_proof_holds_only_as_it_was_signed() {
        assert_eq!(proof().check(), Ok(()));
        let changed = |change: fn(&mut WitnessProof)| {
            let mut proof = proof();
            change(&mut proof);
            proof.verify().map(|_| ())
        };
        let later = changed(|p| p.timestamp = p.timestamp.plus_millis(1));
        assert_eq!(later, Err(StatementError::BadSignature));
        let other_key = changed(|p| p.public_key = SigningKey::from_seed([3; 32]).public().clone());
        assert_eq!(other_key, Err(StatementError::OtherKey));
        let backwards = changed(|p| p.old_tree_size = p.new_tree_size);
        assert_eq!(backwards, Err(StatementError::SizesReversed));
        let not_empty = changed(|p| p.old_root = Hash::of(b"x"));
        assert_eq!(not_empty, Err(StatementError::EmptyTreeRoot));
        let other_root = changed(|p| p.new_root = Hash::of(b"x"));
        assert_eq!(other_root, Err(StatementError::OtherHead));
        let other_log = changed(|p| {
            p.origin = "other.example".parse().expect("an origin");
        });
        assert_eq!(other_log, Err(StatementError::OtherHead));
    }
}
