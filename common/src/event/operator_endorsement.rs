//! `operator_endorsement` and `operator_endorsement_revocation`: who mirrors and who witnesses.

use serde::{Deserialize, Serialize};

use super::text::Name;
use super::{CarriedFault, Event, EventError, Payload, Signers};
use crate::clock::Timestamp;
use crate::head::Origin;
use crate::keys::{Fingerprint, HolderKey, KeyError, Signature, SigningKey};
use crate::merkle::TreeSize;
use crate::statement::{Category, Claim as _, OperatorStatement, Verb};

/// The payload of an `operator_endorsement` entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatorEndorsement {
    /// The log's size when it was decided.
    pub after: TreeSize,
    /// What the key is endorsed as.
    pub category: Category,
    /// The endorsed key.
    pub fingerprint: Fingerprint,
    /// The name that the operator gives it.
    pub name: Option<Name>,
    /// The operator's key.
    pub operator: Fingerprint,
    /// The log.
    pub origin: Origin,
    /// The endorsed key in PEM.
    pub public_key: HolderKey,
    /// The operator's signature over [`OperatorEndorsement::statement`].
    pub signature: Signature,
    /// When it was signed.
    pub timestamp: Timestamp,
}

impl OperatorEndorsement {
    /// Signs a statement about a key; the statement's fingerprint is that of the key.
    pub fn sign(statement: OperatorStatement, subject: HolderKey, operator: &SigningKey) -> Self {
        Self {
            signature: statement.sign(operator),
            after: statement.after,
            category: statement.category,
            fingerprint: statement.fingerprint,
            name: statement.name,
            operator: operator.fingerprint(),
            origin: statement.origin,
            public_key: subject,
            timestamp: statement.timestamp,
        }
    }

    /// What the operator signed.
    pub fn statement(&self) -> OperatorStatement {
        self.said(Verb::Endorse)
    }

    fn said(&self, verb: Verb) -> OperatorStatement {
        OperatorStatement {
            after: self.after,
            category: self.category,
            display_name: (),
            fingerprint: self.fingerprint,
            name: self.name.clone(),
            origin: self.origin.clone(),
            server: (),
            timestamp: self.timestamp,
            verb,
        }
    }

    pub(super) fn check_signature(
        &self,
        verb: Verb,
        signers: &Signers<'_>,
    ) -> Result<(), CarriedFault> {
        signers.expect_origin(&self.origin)?;
        if self.operator != signers.operator.fingerprint() {
            return Err(CarriedFault::OtherKey);
        }
        self.said(verb)
            .check(signers.operator, &self.signature)
            .map_err(|_| CarriedFault::BadSignature)
    }
}

impl Payload for OperatorEndorsement {
    const EVENT_TYPE: &'static str = "operator_endorsement";

    fn check(&self) -> Result<(), EventError> {
        if self.public_key.fingerprint() != self.fingerprint {
            return Err(EventError::OtherKey);
        }
        // A key with a role signs statements that every node must be able to check.
        if self.category.gives_role() {
            self.public_key.ed25519().ok_or(EventError::Key(KeyError::WrongAlgorithm))?;
        }
        Ok(())
    }
}

impl From<OperatorEndorsement> for Event {
    fn from(endorsement: OperatorEndorsement) -> Self {
        Self::OperatorEndorsement(Box::new(endorsement))
    }
}

/// The payload of an `operator_endorsement_revocation` entry: the members of the endorsement, in
/// the words of a new statement, and the id of the entry that it ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatorEndorsementRevocation {
    /// The log's size when it was decided.
    pub after: TreeSize,
    /// What the key was endorsed as.
    pub category: Category,
    /// The entry that endorsed it.
    pub endorsement_id: u64,
    /// The key that was endorsed.
    pub fingerprint: Fingerprint,
    /// The name that the operator gave it.
    pub name: Option<Name>,
    /// The operator's key.
    pub operator: Fingerprint,
    /// The log.
    pub origin: Origin,
    /// The endorsed key in PEM.
    pub public_key: HolderKey,
    /// The operator's signature over [`OperatorEndorsementRevocation::statement`].
    pub signature: Signature,
    /// When it was signed.
    pub timestamp: Timestamp,
}

impl OperatorEndorsementRevocation {
    /// Signs a statement that ends an endorsement.
    pub fn sign(
        statement: OperatorStatement,
        subject: HolderKey,
        endorsement_id: u64,
        operator: &SigningKey,
    ) -> Self {
        let signed = OperatorEndorsement::sign(statement, subject, operator);
        Self {
            after: signed.after,
            category: signed.category,
            endorsement_id,
            fingerprint: signed.fingerprint,
            name: signed.name,
            operator: signed.operator,
            origin: signed.origin,
            public_key: signed.public_key,
            signature: signed.signature,
            timestamp: signed.timestamp,
        }
    }

    /// What the operator signed.
    pub fn statement(&self) -> OperatorStatement {
        self.members().said(Verb::Revoke)
    }

    /// The members that it shares with an endorsement.
    pub(super) fn members(&self) -> OperatorEndorsement {
        OperatorEndorsement {
            after: self.after,
            category: self.category,
            fingerprint: self.fingerprint,
            name: self.name.clone(),
            operator: self.operator,
            origin: self.origin.clone(),
            public_key: self.public_key.clone(),
            signature: self.signature,
            timestamp: self.timestamp,
        }
    }
}

impl Payload for OperatorEndorsementRevocation {
    const EVENT_TYPE: &'static str = "operator_endorsement_revocation";

    fn check(&self) -> Result<(), EventError> {
        Payload::check(&self.members())
    }
}

impl From<OperatorEndorsementRevocation> for Event {
    fn from(revocation: OperatorEndorsementRevocation) -> Self {
        Self::OperatorEndorsementRevocation(Box::new(revocation))
    }
}
