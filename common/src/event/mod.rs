//! What entries say: one payload per event type, parsed strictly, and the signatures they carry.
//!
//! Parsing looks at a payload alone. [`Event::check_signatures`] needs the keys that the log knows
//! at that point. What an event *does* is not decided here but in the views.

mod asked;
mod attestation;
pub mod authorization;
mod checked;
mod claim;
mod composite_document;
mod endorsement;
mod endorsement_alert;
mod endorsement_end;
mod genesis;
mod key_registration;
mod key_revocation;
mod key_succession;
mod operator_endorsement;
mod operator_profile;
pub mod text;
mod trust_config;
mod witness_proof;

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use asked::Asked;
pub use attestation::{Attestation, AttestationClaim, MAX_TEXT, SubmitterClaims, is_short};
pub use authorization::Authorization;
pub use checked::{CheckedPayload, Unfit};
pub use claim::{
    ClaimRequest, ClaimReveal, EncryptedClaim, Encryption, bound_commitment, loose_commitment,
};
pub use composite_document::CompositeDocument;
pub use endorsement::{
    AcceptRequest, EndorsementAcceptance, EndorsementOffer, Metadata, OfferRequest,
};
pub use endorsement_alert::{AlertRequest, EndorsementRevocationAlert};
pub use endorsement_end::{
    EndorsementAcceptanceRevocation, EndorsementWithdrawal, RevokeAcceptanceRequest,
    WithdrawRequest,
};
pub use genesis::Genesis;
pub use key_registration::KeyRegistration;
pub use key_revocation::{KeyRevocation, RevocationRequest};
pub use key_succession::{BadRequest, KeySuccession, SuccessionRequest, SuccessorKey};
pub use operator_endorsement::{OperatorEndorsement, OperatorEndorsementRevocation};
pub use trust_config::{
    TrustConfig, TrustConfigRequest, TrustConfigRevocation, TrustConfigRevocationRequest,
};

use crate::canonical;
use crate::head::{HeadError, Origin};
use crate::keys::{Fingerprint, KeyError, PublicKey};
use crate::statement::{Profile, StatementError, Verb, WitnessProof};

/// A payload of one event type.
pub trait Payload: Serialize + DeserializeOwned {
    /// The event type of entries that carry it.
    const EVENT_TYPE: &'static str;

    /// Checks what the types of the members cannot say.
    fn check(&self) -> Result<(), EventError>;

    /// The canonical JSON of the payload, optional members written as null.
    ///
    /// # Panics
    /// Never: payloads hold texts, integers, nulls and nothing else.
    fn to_payload(&self) -> Vec<u8> {
        let value = serde_json::to_value(self).expect("a payload is a JSON object");
        canonical::to_vec(&value)
    }

    /// Reads a payload, which must be exactly what [`Payload::to_payload`] writes.
    fn from_payload(payload: &[u8]) -> Result<Self, EventError> {
        let parsed: Self = serde_json::from_slice(payload).map_err(|_| EventError::Members)?;
        parsed.check()?;
        if parsed.to_payload() != payload {
            return Err(EventError::NotExact);
        }
        Ok(parsed)
    }
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// `log_genesis`.
    Genesis(Box<Genesis>),
    /// `key_registration`.
    KeyRegistration(Box<KeyRegistration>),
    /// `key_succession`.
    KeySuccession(Box<KeySuccession>),
    /// `key_revocation`.
    KeyRevocation(Box<KeyRevocation>),
    /// `attestation`.
    Attestation(Box<Attestation>),
    /// `endorsement_offer`.
    EndorsementOffer(Box<EndorsementOffer>),
    /// `endorsement_acceptance`.
    EndorsementAcceptance(Box<EndorsementAcceptance>),
    /// `endorsement_withdrawal`.
    EndorsementWithdrawal(Box<EndorsementWithdrawal>),
    /// `endorsement_acceptance_revocation`.
    EndorsementAcceptanceRevocation(Box<EndorsementAcceptanceRevocation>),
    /// `endorsement_revocation_alert`.
    EndorsementRevocationAlert(Box<EndorsementRevocationAlert>),
    /// `trust_config`.
    TrustConfig(Box<TrustConfig>),
    /// `trust_config_revocation`.
    TrustConfigRevocation(Box<TrustConfigRevocation>),
    /// `encrypted_claim`.
    EncryptedClaim(Box<EncryptedClaim>),
    /// `claim_reveal`.
    ClaimReveal(Box<ClaimReveal>),
    /// `composite_document`.
    CompositeDocument(Box<CompositeDocument>),
    /// `operator_endorsement`.
    OperatorEndorsement(Box<OperatorEndorsement>),
    /// `operator_endorsement_revocation`.
    OperatorEndorsementRevocation(Box<OperatorEndorsementRevocation>),
    /// `operator_profile`.
    OperatorProfile(Box<Profile>),
    /// `witness_proof`.
    WitnessProof(Box<WitnessProof>),
    /// An event of somebody's namespace (`x-...:...`), whose payload is any JSON object.
    Namespaced,
    /// A type that this version does not know; the entry is kept and has no effect.
    Unknown,
}

/// Why a payload is not one of its event type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// A member is missing, unknown, or not of its type.
    #[error("the payload's members are not those of its event type")]
    Members,
    /// The payload could be written in another way, for instance with a null left out.
    #[error("the payload is not written in its one exact form")]
    NotExact,
    /// A fingerprint and the key beside it do not belong together.
    #[error("the fingerprint is that of another key")]
    OtherKey,
    /// The key is not one of the algorithm that is asked for.
    #[error("the key cannot be used: {0}")]
    Key(#[source] KeyError),
    /// An algorithm and the key beside it do not belong together.
    #[error("the algorithm is not that of the key")]
    OtherAlgorithm,
    /// An attestation under the id of another one.
    #[error("the attestation's id is not that of its members")]
    OtherId,
    /// Members that cannot stand beside each other.
    #[error("the payload's members contradict each other")]
    Contradiction,
    /// A text that is empty or too long.
    #[error("a text of the payload is empty or too long")]
    TextLength,
    /// The genesis begins another epoch than the first.
    #[error("a log begins with epoch 1")]
    Epoch,
}

impl Event {
    /// Reads the payload of an entry of this type.
    pub fn parse(event_type: &str, payload: &[u8]) -> Result<Self, EventError> {
        // Namespaced events are the bulk of a log and have no shape to look at.
        if event_type.starts_with("x-") {
            return Ok(Self::Namespaced);
        }
        Ok(match event_type {
            Genesis::EVENT_TYPE => Genesis::from_payload(payload)?.into(),
            KeyRegistration::EVENT_TYPE => KeyRegistration::from_payload(payload)?.into(),
            KeySuccession::EVENT_TYPE => KeySuccession::from_payload(payload)?.into(),
            KeyRevocation::EVENT_TYPE => KeyRevocation::from_payload(payload)?.into(),
            Attestation::EVENT_TYPE => Attestation::from_payload(payload)?.into(),
            EndorsementOffer::EVENT_TYPE => EndorsementOffer::from_payload(payload)?.into(),
            EndorsementAcceptance::EVENT_TYPE => {
                EndorsementAcceptance::from_payload(payload)?.into()
            }
            EndorsementWithdrawal::EVENT_TYPE => {
                EndorsementWithdrawal::from_payload(payload)?.into()
            }
            EndorsementAcceptanceRevocation::EVENT_TYPE => {
                EndorsementAcceptanceRevocation::from_payload(payload)?.into()
            }
            EndorsementRevocationAlert::EVENT_TYPE => {
                EndorsementRevocationAlert::from_payload(payload)?.into()
            }
            TrustConfig::EVENT_TYPE => TrustConfig::from_payload(payload)?.into(),
            TrustConfigRevocation::EVENT_TYPE => {
                TrustConfigRevocation::from_payload(payload)?.into()
            }
            EncryptedClaim::EVENT_TYPE => EncryptedClaim::from_payload(payload)?.into(),
            ClaimReveal::EVENT_TYPE => ClaimReveal::from_payload(payload)?.into(),
            CompositeDocument::EVENT_TYPE => CompositeDocument::from_payload(payload)?.into(),
            OperatorEndorsement::EVENT_TYPE => OperatorEndorsement::from_payload(payload)?.into(),
            OperatorEndorsementRevocation::EVENT_TYPE => {
                OperatorEndorsementRevocation::from_payload(payload)?.into()
            }
            Profile::EVENT_TYPE => Profile::from_payload(payload)?.into(),
            WitnessProof::EVENT_TYPE => WitnessProof::from_payload(payload)?.into(),
            _ => Self::Unknown,
        })
    }

    /// Checks every signature that the entry carries, with the keys that the log knows before it.
    pub fn check_signatures(&self, signers: &Signers<'_>) -> Result<SignerKnown, CarriedFault> {
        if let Some(checked) = self.check_holders(signers.origin) {
            return checked.map(|()| SignerKnown::Yes);
        }
        match self {
            Self::Genesis(_)
            | Self::Namespaced
            | Self::Unknown
            | Self::KeyRegistration(_)
            | Self::KeySuccession(_)
            | Self::KeyRevocation(_)
            | Self::Attestation(_)
            | Self::EndorsementOffer(_)
            | Self::EndorsementAcceptance(_)
            | Self::EndorsementWithdrawal(_)
            | Self::EndorsementAcceptanceRevocation(_)
            | Self::EndorsementRevocationAlert(_)
            | Self::TrustConfig(_)
            | Self::TrustConfigRevocation(_)
            | Self::EncryptedClaim(_)
            | Self::ClaimReveal(_)
            | Self::CompositeDocument(_) => {}
            Self::OperatorEndorsement(event) => event.check_signature(Verb::Endorse, signers)?,
            Self::OperatorEndorsementRevocation(event) => {
                event.members().check_signature(Verb::Revoke, signers)?;
            }
            Self::OperatorProfile(event) => {
                return operator_profile::check_signature(event, signers);
            }
            Self::WitnessProof(event) => witness_proof::check_signature(event, signers)?,
        }
        Ok(SignerKnown::Yes)
    }

    /// Checks the signatures of an event that the holders of keys sign and that names those keys
    /// itself, so that no entry before it matters; `None` for every other event.
    fn check_holders(&self, origin: &Origin) -> Option<Result<(), CarriedFault>> {
        match self {
            Self::KeyRegistration(event) => Some(event.check_proof(origin)),
            Self::KeySuccession(event) => Some(event.check_signatures(origin)),
            Self::KeyRevocation(event) => Some(event.check_signatures(origin)),
            Self::Attestation(event) => Some(event.check_signature()),
            Self::EndorsementOffer(event) => Some(event.check_signature(origin)),
            Self::EndorsementAcceptance(event) => Some(event.check_signature(origin)),
            Self::EndorsementWithdrawal(event) => Some(event.check_signature(origin)),
            Self::EndorsementAcceptanceRevocation(event) => Some(event.check_signature(origin)),
            Self::EndorsementRevocationAlert(event) => Some(event.check_signature(origin)),
            Self::TrustConfig(event) => Some(event.check_signature(origin)),
            Self::TrustConfigRevocation(event) => Some(event.check_signature(origin)),
            Self::EncryptedClaim(event) => Some(event.check_signature(origin)),
            Self::CompositeDocument(event) => Some(event.check_signature(origin)),
            Self::ClaimReveal(event) => Some(event.check_commitment(origin)),
            Self::Genesis(_)
            | Self::OperatorEndorsement(_)
            | Self::OperatorEndorsementRevocation(_)
            | Self::OperatorProfile(_)
            | Self::WitnessProof(_)
            | Self::Namespaced
            | Self::Unknown => None,
        }
    }
}

/// Keys that the log gave a role, with the entries that did, by fingerprint.
pub type RoleKeys = BTreeMap<Fingerprint, RoleKey>;

/// A key that the log gave a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleKey {
    /// The key.
    pub key: PublicKey,
    /// The entry that endorsed it.
    pub entry_id: u64,
}

/// Whose signatures an entry may carry.
#[derive(Clone, Copy, Debug)]
pub struct Signers<'a> {
    /// The log.
    pub origin: &'a Origin,
    /// The key that signs the log's heads.
    pub operator: &'a PublicKey,
    /// The keys with a role.
    pub roles: &'a RoleKeys,
}

impl Signers<'_> {
    fn key(&self, fingerprint: Fingerprint) -> Option<PublicKey> {
        if fingerprint == self.operator.fingerprint() {
            return Some(self.operator.clone());
        }
        self.roles.get(&fingerprint).map(|role| role.key.clone())
    }

    fn expect_origin(&self, origin: &Origin) -> Result<(), CarriedFault> {
        if origin == self.origin { Ok(()) } else { Err(CarriedFault::OtherOrigin) }
    }
}

/// Whether the key that signed what an entry carries is known to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignerKnown {
    /// It is, and what it signed verified; or the entry carries no signature.
    Yes,
    /// It is not: the entry is kept and has no effect.
    No,
}

/// Why what an entry carries does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CarriedFault {
    /// A signature does not verify: the one fault of these that proves a bad entry.
    #[error("a signature that the entry carries does not verify")]
    BadSignature,
    /// A statement is about another log.
    #[error("the entry carries a statement about another log")]
    OtherOrigin,
    /// A statement names another key than the one that must sign it.
    #[error("the entry carries a statement of another key")]
    OtherKey,
    /// An authorization is about another action or request than the entry.
    #[error("the entry carries an authorization of something else")]
    OtherRequest,
    /// A plaintext is not the one that its claimant committed to.
    #[error("the entry reveals another plaintext than was committed to")]
    OtherCommitment,
    /// A statement contradicts itself.
    #[error("the entry carries a statement that cannot hold: {0}")]
    Statement(#[source] StatementError),
    /// The tree head that a witness signed about is none of this log.
    #[error("the entry carries a tree head that does not hold: {0}")]
    Head(#[source] HeadError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SigningKey;
    use crate::merkle::TreeSize;
    use crate::statement::{Category, OperatorStatement};

    fn operator() -> SigningKey {
        SigningKey::from_seed([1; 32])
    }

    fn origin() -> Origin {
        "log.example/log-1".parse().expect("an origin")
    }

    fn statement(verb: Verb) -> OperatorStatement {
        OperatorStatement {
            after: TreeSize::ZERO.plus(1),
            category: Category::FederationOperator,
            display_name: (),
            fingerprint: SigningKey::from_seed([2; 32]).fingerprint(),
            name: None,
            origin: origin(),
            server: (),
            timestamp: "2026-01-15T10:30:00.000Z".parse().expect("a time"),
            verb,
        }
    }

    fn endorsement() -> OperatorEndorsement {
        let subject = SigningKey::from_seed([2; 32]).public().into();
        OperatorEndorsement::sign(statement(Verb::Endorse), subject, &operator())
    }

    fn checked(event: &Event) -> Result<SignerKnown, CarriedFault> {
        let operator = operator();
        let roles = RoleKeys::new();
        event.check_signatures(&Signers {
            origin: &origin(),
            operator: operator.public(),
            roles: &roles,
        })
    }

    #[test]
    fn a_payload_has_one_exact_form() {
        let payload = endorsement().to_payload();
        let text = String::from_utf8(payload.clone()).expect("text");
        let parse = |text: &str| Event::parse("operator_endorsement", text.as_bytes());

        assert_eq!(parse(&text), Ok(endorsement().into()));
        assert_eq!(parse(&text.replace("\"name\":null,", "")), Err(EventError::NotExact));
        assert_eq!(parse(&text.replace(":null,", ": null,")), Err(EventError::NotExact));
        assert_eq!(parse(&text.replace("\"name\"", "\"nick\"")), Err(EventError::Members));
        assert_eq!(parse(&text.replace(".000Z", "Z")), Err(EventError::Members));
        assert_eq!(parse("[]"), Err(EventError::Members));
    }

    #[test]
    fn every_log_begins_with_a_genesis_that_names_its_own_key() {
        let genesis = Genesis::new(operator().public(), origin());
        let payload = genesis.to_payload();
        assert_eq!(Event::parse("log_genesis", &payload), Ok(genesis.clone().into()));

        let epoch = Genesis { epoch: 2, ..genesis.clone() };
        assert_eq!(Genesis::from_payload(&epoch.to_payload()), Err(EventError::Epoch));
        let stranger = SigningKey::from_seed([9; 32]).fingerprint();
        let other = Genesis { operator_fingerprint: stranger, ..genesis };
        assert_eq!(Genesis::from_payload(&other.to_payload()), Err(EventError::OtherKey));
    }

    #[test]
    fn the_verb_comes_from_the_event_type() {
        let subject = || SigningKey::from_seed([2; 32]).public().into();
        let endorsed = endorsement();
        let revoked =
            OperatorEndorsementRevocation::sign(statement(Verb::Revoke), subject(), 7, &operator());
        let wrong = OperatorEndorsementRevocation::sign(
            statement(Verb::Endorse),
            subject(),
            7,
            &operator(),
        );

        assert_eq!(checked(&endorsed.into()), Ok(SignerKnown::Yes));
        assert_eq!(checked(&revoked.into()), Ok(SignerKnown::Yes));
        assert_eq!(checked(&wrong.into()), Err(CarriedFault::BadSignature));
    }

    #[test]
    fn only_the_operator_endorses_and_only_in_its_own_log() {
        let mut elsewhere = endorsement();
        elsewhere.origin = "other.example".parse().expect("an origin");
        assert_eq!(checked(&elsewhere.into()), Err(CarriedFault::OtherOrigin));
        let mut usurped = endorsement();
        usurped.operator = SigningKey::from_seed([3; 32]).fingerprint();
        assert_eq!(checked(&usurped.into()), Err(CarriedFault::OtherKey));
    }

    #[test]
    fn other_types_are_kept_without_a_look() {
        assert_eq!(Event::parse("x-acme:deployed", b"{}"), Ok(Event::Namespaced));
        assert_eq!(Event::parse("leader_epoch", b"{}"), Ok(Event::Unknown));
    }
}
