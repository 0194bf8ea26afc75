//! `attestation`: somebody signed a document's manifest.
//!
//! ```text
//! binds "all" signs "diogenes-attestation/v1\n" || JCS({content_hash, intent_statement,
//!                                                       manifest_hash, parents, type})
//! ```
//! The other two forms sign the manifest itself, which the log does not hold: whoever verifies the
//! document checks them.

use serde::{Deserialize, Serialize};

use super::authorization::Authorization;
use super::{CarriedFault, Event, EventError, Payload};
use crate::keys::{Fingerprint, HolderKey, HolderSignature, KeyAlgorithm};
use crate::manifest::{AttestationId, AttestationType, Binds, Canonicalization, Identity, ShortId};
use crate::merkle::Hash;
use crate::statement::Claim;

/// How many characters a title or a statement of intent has at most.
pub const MAX_TEXT: usize = 1_000;

/// The payload of an `attestation` entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attestation {
    /// Its identity.
    pub attestation_id: AttestationId,
    /// `{"form":"session"}` if it was sent in a session of its signer.
    pub authorization: Option<Authorization>,
    /// What the signature covers.
    pub binds: Binds,
    /// In which spelling the signed bytes were.
    pub canonicalization: Canonicalization,
    /// The hash of the document.
    pub content_hash: Hash,
    /// What the signer says about it, signed or authorised.
    pub intent_statement: Option<String>,
    /// The hash of the manifest without its attestations.
    pub manifest_hash: Hash,
    /// The attestations that this one stands on.
    pub parents: Vec<ShortId>,
    /// The signer's key.
    pub public_key: HolderKey,
    /// The signature.
    pub signature: HolderSignature,
    /// The algorithm of `public_key`.
    pub signature_algorithm: KeyAlgorithm,
    /// The fingerprint of `public_key`.
    pub signer: Fingerprint,
    /// What came with it and nobody signed.
    pub submitter_claims: Option<SubmitterClaims>,
    /// The document's title, as the manifest gives it.
    pub title: Option<String>,
    /// In which part its signer attests.
    #[serde(rename = "type")]
    pub attestation_type: AttestationType,
}

/// What whoever sent an attestation said, without the signer's word for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubmitterClaims {
    /// A statement of intent.
    pub intent_statement: String,
}

/// What a signature that binds all covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttestationClaim {
    /// The hash of the document.
    pub content_hash: Hash,
    /// What the signer says about it.
    pub intent_statement: Option<String>,
    /// The hash of the manifest without its attestations.
    pub manifest_hash: Hash,
    /// The attestations that this one stands on, in the manifest's order.
    pub parents: Vec<ShortId>,
    /// In which part its signer attests.
    #[serde(rename = "type")]
    pub attestation_type: AttestationType,
}

impl Claim for AttestationClaim {
    const FIRST_LINE: &'static str = "diogenes-attestation/v1\n";
}

impl Attestation {
    /// Whether its signer is known to stand for type and intent: by signature or by session.
    pub const fn is_authorised(&self) -> bool {
        matches!(self.binds, Binds::All) || self.authorization.is_some()
    }

    /// Whether type or intent rest on the leader's word that its signer sent it.
    pub const fn is_leader_asserted(&self) -> bool {
        !matches!(self.binds, Binds::All) && self.authorization.is_some()
    }

    /// Checks the signature if the entry holds all that it covers.
    pub(super) fn check_signature(&self) -> Result<(), CarriedFault> {
        if self.binds != Binds::All {
            return Ok(());
        }
        let claim = AttestationClaim {
            content_hash: self.content_hash,
            intent_statement: self.intent_statement.clone(),
            manifest_hash: self.manifest_hash,
            parents: self.parents.clone(),
            attestation_type: self.attestation_type.clone(),
        };
        self.public_key
            .verify(&claim.signed_bytes(), &self.signature)
            .map_err(|_| CarriedFault::BadSignature)
    }

    fn identity(&self) -> AttestationId {
        Identity {
            form: self.binds,
            manifest_hash: self.manifest_hash,
            parents: &self.parents,
            signer: self.signer,
            attestation_type: &self.attestation_type,
        }
        .id()
    }
}

impl Payload for Attestation {
    const EVENT_TYPE: &'static str = "attestation";

    fn check(&self) -> Result<(), EventError> {
        if self.public_key.fingerprint() != self.signer {
            return Err(EventError::OtherKey);
        }
        if self.public_key.algorithm() != self.signature_algorithm {
            return Err(EventError::OtherAlgorithm);
        }
        if self.identity() != self.attestation_id {
            return Err(EventError::OtherId);
        }
        let claimed = self.submitter_claims.as_ref().map(|claims| &claims.intent_statement);
        let texts = [self.title.as_ref(), self.intent_statement.as_ref(), claimed];
        if !texts.into_iter().flatten().all(|text| is_short(text)) {
            return Err(EventError::TextLength);
        }
        let session = matches!(self.authorization, None | Some(Authorization::Session {}));
        let spelling = self.binds != Binds::All || self.canonicalization == Canonicalization::Jcs;
        let parents = self.binds != Binds::Manifest || self.parents.is_empty();
        let signed = self.is_authorised() || self.intent_statement.is_none();
        let claims = !self.is_authorised() || self.submitter_claims.is_none();
        if session && spelling && parents && signed && claims {
            Ok(())
        } else {
            Err(EventError::Contradiction)
        }
    }
}

/// Whether a title or a statement of intent may stand in the log.
pub fn is_short(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_TEXT * 4 && text.chars().count() <= MAX_TEXT
}

impl From<Attestation> for Event {
    fn from(attestation: Attestation) -> Self {
        Self::Attestation(Box::new(attestation))
    }
}
