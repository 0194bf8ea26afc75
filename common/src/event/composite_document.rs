//! `composite_document`: somebody put a document together from parts.
//!
//! The entry holds the root over the hashes of the parts, so that whoever has the parts can prove
//! each of them. A signed request names the parts too; in a session they stay outside of the log.

use serde::{Deserialize, Serialize};

use super::asked::Asked;
use super::authorization::{Action, Authorization};
use super::text::Words;
use super::{Event, EventError, Payload};
use crate::composite::MAX_PARTS;
use crate::keys::{Fingerprint, HolderKey};
use crate::merkle::Hash;
use crate::wire::composite::CompileRequest;

/// The payload of a `composite_document` entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompositeDocument {
    /// How the holder of the key authorised it.
    pub authorization: Authorization,
    /// The RFC 6962 root over the hashes of the parts.
    pub content_hash: Hash,
    /// Who put it together.
    pub fingerprint: Fingerprint,
    /// The hash of its manifest without attestations.
    pub manifest_hash: Hash,
    /// How many parts it has.
    pub parts: u64,
    /// The key.
    pub public_key: HolderKey,
    /// Its title.
    pub title: Words<1, 1_000>,
}

impl CompositeDocument {
    /// The event of a request; nothing if what it states does not hold, or if it names no key.
    pub fn of(
        request: CompileRequest,
        public_key: HolderKey,
        authorization: Authorization,
    ) -> Option<Self> {
        let fingerprint = request.fingerprint?;
        let composite = request.composite.check().ok()?;
        let (_, manifest) = composite.compile(&request.attestations).ok()?;
        Some(Self {
            authorization,
            content_hash: manifest.content_hash(),
            fingerprint,
            manifest_hash: manifest.hash(),
            parts: composite.parts().len() as u64,
            public_key,
            title: composite.title().to_owned().try_into().ok()?,
        })
    }
}

impl Asked for CompositeDocument {
    const ACTION: Action = Action::Composite;
    type Request = CompileRequest;

    fn signer(&self) -> Fingerprint {
        self.fingerprint
    }

    fn public_key(&self) -> &HolderKey {
        &self.public_key
    }

    fn authorization(&self) -> &Authorization {
        &self.authorization
    }

    fn follows_from(&self, request: CompileRequest) -> bool {
        let (key, by) = (self.public_key.clone(), self.authorization.clone());
        request.record && Self::of(request, key, by).as_ref() == Some(self)
    }
}

impl From<CompositeDocument> for Event {
    fn from(event: CompositeDocument) -> Self {
        Self::CompositeDocument(Box::new(event))
    }
}

impl Payload for CompositeDocument {
    const EVENT_TYPE: &'static str = "composite_document";

    fn check(&self) -> Result<(), EventError> {
        if !(1..=MAX_PARTS as u64).contains(&self.parts) {
            return Err(EventError::Members);
        }
        self.check_key()
    }
}
