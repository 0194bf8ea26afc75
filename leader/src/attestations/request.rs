//! Reading an attestation: the request, what its signature covers, the event. Pure.

use diogenes_common::canonical;
use diogenes_common::event::text::Name;
use diogenes_common::event::{
    Attestation, Authorization, KeyRegistration, SubmitterClaims, is_short,
};
use diogenes_common::keys::{HolderKey, HolderSignature, KeyError};
use diogenes_common::leaf::MAX_PAYLOAD_DEPTH;
use diogenes_common::manifest::{
    AttestationType, Binds, Manifest, ManifestError, NotAnAttestationType, NotBound, Terms,
};
use diogenes_common::shape::{self, Misfit};
use serde::Deserialize;

use crate::auth::Sensitive;

/// The body of `POST /attestations`, or the payload of an `attestation` event.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AttestationRequest {
    /// The document's manifest: `{"document": {"title", "content_hash", ...}, "attestations": [...]}`.
    #[schema(value_type = diogenes_common::wire::ManifestShape)]
    pub(super) manifest: serde_json::Value,
    /// The signer's public key, PEM `SubjectPublicKeyInfo`.
    pub(super) public_key_pem: String,
    /// The signature, base64: over the manifest without attestations, over the manifest with those
    /// before this one, or over the statement that binds all.
    pub(super) signature: String,
    /// `authorship` (if left out), `editorial_review`, `peer_review`, `publication`, or
    /// `x-<namespace>:<name>`.
    #[serde(default)]
    pub(super) attestation_type: Option<String>,
    /// The name to register the key under if it is not registered yet.
    #[serde(default)]
    pub(super) pseudonym: Option<String>,
    /// What the signer says about it.
    #[serde(default)]
    pub(super) intent_statement: Option<String>,
    /// The key's password, if it has one.
    #[serde(default)]
    pub(super) password: Option<Sensitive>,
}

/// Why a request is no attestation, whatever the log holds.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadAttestation {
    /// A member is missing, unknown, or not of its type.
    #[error(transparent)]
    Shape(#[from] Misfit),
    /// The manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The signer's key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The type.
    #[error(transparent)]
    Type(#[from] NotAnAttestationType),
    /// Another member.
    #[error("{member}: {detail}")]
    Member {
        /// Its name.
        member: &'static str,
        /// What to change.
        detail: String,
    },
    /// The signature covers nothing that it could.
    #[error(transparent)]
    NotBound(#[from] NotBound),
}

/// An attestation whose signature holds.
pub(crate) struct Signed {
    pub(super) event: Attestation,
    /// The registration to put before it if the key is not registered.
    pub(super) registration: Option<KeyRegistration>,
    pub(super) password: Option<Sensitive>,
}

impl AttestationRequest {
    /// Reads the payload of an `attestation` event.
    pub(crate) fn read(payload: &[u8]) -> Result<Self, BadAttestation> {
        // By the log's own reader: another one may read a fraction's last digit otherwise, and so
        // make another manifest of it.
        let payload = canonical::parse(payload, MAX_PAYLOAD_DEPTH).unwrap_or_default();
        Ok(shape::read(&payload)?)
    }

    /// Checks everything that does not depend on the log's state.
    pub(crate) fn check(self) -> Result<Signed, BadAttestation> {
        let member = |member, detail: String| BadAttestation::Member { member, detail };
        let manifest = Manifest::from_value(self.manifest)?;
        let key = HolderKey::from_pem(&self.public_key_pem)?;
        let attestation_type: AttestationType =
            self.attestation_type.as_deref().map(str::parse).transpose()?.unwrap_or_default();
        let signature = HolderSignature::from_base64(&self.signature)
            .map_err(|error| member("signature", error.to_string()))?;
        let pseudonym = self
            .pseudonym
            .map(Name::try_from)
            .transpose()
            .map_err(|error| member("pseudonym", error.to_string()))?;
        if self.intent_statement.as_deref().is_some_and(|text| !is_short(text)) {
            return Err(member("intent_statement", "give 1 to 1,000 characters".to_owned()));
        }
        let terms = Terms {
            position: manifest.listed().len(),
            attestation_type: &attestation_type,
            intent_statement: self.intent_statement.as_deref(),
            parents: None,
        };
        let bound = manifest.bind(&key, signature.as_bytes(), &terms)?;
        let is_signed = bound.binds == Binds::All;
        let (intent_statement, claimed) =
            if is_signed { (self.intent_statement, None) } else { (None, self.intent_statement) };
        let event = Attestation {
            attestation_id: bound.id,
            authorization: None,
            binds: bound.binds,
            canonicalization: bound.canonicalization,
            content_hash: manifest.content_hash(),
            intent_statement,
            manifest_hash: manifest.hash(),
            parents: bound.parents,
            signature: bound.signature,
            signature_algorithm: key.algorithm(),
            signer: key.fingerprint(),
            submitter_claims: claimed.map(|intent_statement| SubmitterClaims { intent_statement }),
            title: manifest.title().map(str::to_owned),
            attestation_type,
            public_key: key.clone(),
        };
        let registration = pseudonym.map(|pseudonym| KeyRegistration {
            expiration_date: None,
            fingerprint: key.fingerprint(),
            key_algorithm: key.algorithm(),
            proof: None,
            pseudonym,
            public_key: key,
        });
        Ok(Signed { event, registration, password: self.password })
    }
}

impl Signed {
    /// The signer sent it in a session, and so stands for what the signature does not cover.
    pub(super) fn in_session(mut self) -> Self {
        if self.event.binds != Binds::All {
            self.event.authorization = Some(Authorization::Session {});
            let claims = self.event.submitter_claims.take();
            self.event.intent_statement = claims.map(|claims| claims.intent_statement);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_of_an_event_has_the_fractions_that_were_sent() {
        let payload =
            br#"{"manifest":{"height":0.38276699244722956},"public_key_pem":"","signature":""}"#;

        let request = AttestationRequest::read(payload).unwrap();

        assert_eq!(canonical::to_vec(&request.manifest), br#"{"height":0.38276699244722956}"#);
    }
}
