//! Refusals: a witness says which head it did not sign, and why.

use serde::{Deserialize, Serialize};

use super::{Claim, Reason, StatementError, Verified};
use crate::clock::Timestamp;
use crate::head::Origin;
use crate::keys::{Fingerprint, PublicKey, Signature, SigningKey};
use crate::merkle::{Hash, TreeSize};

/// What a witness signs instead of a proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefusalClaim {
    /// SHA-256 of the refused head's signed bytes.
    pub head_sha256: Hash,
    /// The root that the witness stands at.
    pub old_root: Hash,
    /// The size that the witness stands at.
    pub old_tree_size: TreeSize,
    /// The log.
    pub origin: Origin,
    /// Why it refused.
    pub reason: Reason,
    /// When it refused.
    pub timestamp: Timestamp,
    /// The witness's key.
    pub witness: Fingerprint,
}

impl Claim for RefusalClaim {
    const FIRST_LINE: &'static str = "diogenes-witness-refusal/v1\n";
}

impl RefusalClaim {
    /// Signs the claim and makes the refusal to keep and serve.
    pub fn into_refusal(self, key: &SigningKey) -> Refusal {
        let signature = self.sign(key);
        Refusal {
            head_sha256: self.head_sha256,
            old_root: self.old_root,
            old_tree_size: self.old_tree_size,
            origin: self.origin,
            public_key: key.public().clone(),
            reason: self.reason,
            signature,
            timestamp: self.timestamp,
            witness: self.witness,
        }
    }
}

/// A signed refusal, as a witness keeps and serves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// SHA-256 of the refused head's signed bytes.
    pub head_sha256: Hash,
    /// The root that the witness stands at.
    pub old_root: Hash,
    /// The size that the witness stands at.
    pub old_tree_size: TreeSize,
    /// The log.
    pub origin: Origin,
    /// The witness's key, whose fingerprint is `witness`.
    pub public_key: PublicKey,
    /// Why it refused.
    pub reason: Reason,
    /// The witness's signature over the claim.
    pub signature: Signature,
    /// When it refused.
    pub timestamp: Timestamp,
    /// The witness's key.
    pub witness: Fingerprint,
}

impl Refusal {
    /// The members that the signature covers.
    pub fn claim(&self) -> RefusalClaim {
        RefusalClaim {
            head_sha256: self.head_sha256,
            old_root: self.old_root,
            old_tree_size: self.old_tree_size,
            origin: self.origin.clone(),
            reason: self.reason.clone(),
            timestamp: self.timestamp,
            witness: self.witness,
        }
    }

    /// Checks the refusal under the key that it carries.
    pub fn verify(self) -> Result<Verified<Self>, StatementError> {
        if self.public_key.fingerprint() != self.witness {
            return Err(StatementError::OtherKey);
        }
        self.claim().check(&self.public_key, &self.signature)?;
        Ok(Verified(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_holds_only_as_it_was_signed() {
        let key = SigningKey::from_seed([4; 32]);
        let refusal = RefusalClaim {
            head_sha256: Hash::of(b"head"),
            old_root: Hash::EMPTY_TREE,
            old_tree_size: TreeSize::ZERO,
            origin: "log.example/log-1".parse().expect("an origin"),
            reason: Reason::try_from("inconsistent").expect("a reason"),
            timestamp: "2026-01-15T10:30:00.000Z".parse().expect("a time"),
            witness: key.fingerprint(),
        }
        .into_refusal(&key);

        assert!(refusal.clone().verify().is_ok());
        let other_head = Refusal { head_sha256: Hash::of(b"other"), ..refusal.clone() };
        assert_eq!(other_head.verify(), Err(StatementError::BadSignature));
        let other_key =
            Refusal { public_key: SigningKey::from_seed([5; 32]).public().clone(), ..refusal };
        assert_eq!(other_key.verify(), Err(StatementError::OtherKey));
    }
}
