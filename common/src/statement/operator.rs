//! Operator statements: the operator endorses a key for a role, or ends that.

use serde::{Deserialize, Serialize};

use super::{Claim, StatementError, Verified};
use crate::clock::Timestamp;
use crate::event::text::Name;
use crate::head::Origin;
use crate::keys::{Fingerprint, PublicKey, Signature};
use crate::merkle::TreeSize;

/// What the operator does to a key; an entry's event type says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// The key is endorsed from now on (`operator_endorsement`).
    Endorse,
    /// The endorsement ends (`operator_endorsement_revocation`).
    Revoke,
}

/// What the operator endorses a key as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Category {
    /// It may mirror the log and report about it.
    #[serde(rename = "x-diogenes:federation_operator")]
    FederationOperator,
    /// It may witness the log.
    #[serde(rename = "x-diogenes:witness")]
    Witness,
    /// A human being holds it.
    #[serde(rename = "x-diogenes:human_attestation")]
    HumanAttestation,
    /// An institution stands behind it.
    #[serde(rename = "x-diogenes:institutional_endorsement")]
    InstitutionalEndorsement,
}

impl Category {
    /// Every category.
    pub const ALL: [Self; 4] = [
        Self::FederationOperator,
        Self::Witness,
        Self::HumanAttestation,
        Self::InstitutionalEndorsement,
    ];

    /// The category as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FederationOperator => "x-diogenes:federation_operator",
            Self::Witness => "x-diogenes:witness",
            Self::HumanAttestation => "x-diogenes:human_attestation",
            Self::InstitutionalEndorsement => "x-diogenes:institutional_endorsement",
        }
    }

    /// The category of this name that anybody may endorse in; the prefix may be left out.
    pub fn of_trust(name: &str) -> Option<Self> {
        let name = name.strip_prefix("x-diogenes:").unwrap_or(name);
        [Self::HumanAttestation, Self::InstitutionalEndorsement]
            .into_iter()
            .find(|category| category.as_str().strip_prefix("x-diogenes:") == Some(name))
    }

    /// Whether the endorsed key gets a role in the federation, and so may sign statements of it.
    pub const fn gives_role(self) -> bool {
        matches!(self, Self::FederationOperator | Self::Witness)
    }
}

/// What the operator signs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatorStatement {
    /// The log's size when it was decided, above that of the last statement about this key.
    pub after: TreeSize,
    /// What the key is endorsed as.
    pub category: Category,
    /// Always null for both verbs.
    pub display_name: (),
    /// The key that the statement is about.
    pub fingerprint: Fingerprint,
    /// The name that the operator gives it.
    pub name: Option<Name>,
    /// The log.
    pub origin: Origin,
    /// Always null for both verbs.
    pub server: (),
    /// When it was signed.
    pub timestamp: Timestamp,
    /// Whether the endorsement begins or ends.
    pub verb: Verb,
}

impl Claim for OperatorStatement {
    const FIRST_LINE: &'static str = "diogenes-operator-statement/v1\n";
}

impl OperatorStatement {
    /// Checks the operator's signature over a statement that is to be used.
    pub fn verify(
        self,
        operator: &PublicKey,
        signature: &Signature,
    ) -> Result<Verified<Self>, StatementError> {
        self.check(operator, signature)?;
        Ok(Verified(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SigningKey;

    #[test]
    fn the_verb_is_signed_and_so_is_every_null() {
        let operator = SigningKey::from_seed([1; 32]);
        let subject = SigningKey::from_seed([2; 32]).fingerprint();
        let endorse = OperatorStatement {
            after: TreeSize::ZERO.plus(3),
            category: Category::Witness,
            display_name: (),
            fingerprint: subject,
            name: None,
            origin: "log.example/log-1".parse().expect("an origin"),
            server: (),
            timestamp: "2026-01-15T10:30:00.000Z".parse().expect("a time"),
            verb: Verb::Endorse,
        };
        let signature = endorse.sign(&operator);

        assert_eq!(
            String::from_utf8(endorse.signed_bytes()),
            Ok(format!(
                "diogenes-operator-statement/v1\n{{\"after\":3,\"category\":\"x-diogenes:witness\",\
                 \"display_name\":null,\"fingerprint\":\"{subject}\",\"name\":null,\
                 \"origin\":\"log.example/log-1\",\"server\":null,\
                 \"timestamp\":\"2026-01-15T10:30:00.000Z\",\"verb\":\"endorse\"}}"
            ))
        );
        let revoke = OperatorStatement { verb: Verb::Revoke, ..endorse.clone() };
        assert!(endorse.verify(operator.public(), &signature).is_ok());
        assert_eq!(revoke.verify(operator.public(), &signature), Err(StatementError::BadSignature));
    }

    #[test]
    fn categories_are_written_as_they_are_read() {
        for category in [
            Category::FederationOperator,
            Category::Witness,
            Category::HumanAttestation,
            Category::InstitutionalEndorsement,
        ] {
            let text = format!("\"{}\"", category.as_str());
            assert_eq!(serde_json::from_str::<Category>(&text).ok(), Some(category));
        }
    }
}
