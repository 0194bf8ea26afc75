//! Which bytes a signature covers: found by trying, the widest known form of each last.
//!
//! ```text
//! manifest            the manifest with "attestations":[], in JCS or in the legacy form
//! manifest+parents    the manifest with exactly the attestations before it, in either form
//! all                 "diogenes-attestation/v1\n" || JCS({"content_hash","intent_statement",
//!                                                         "manifest_hash","parents","type"})
//! ```
//!
//! Signers need not say which they signed, and what they say would prove nothing.

use super::{AttestationId, AttestationType, Binds, Canonicalization, Identity, Manifest, ShortId};
use crate::event::AttestationClaim;
use crate::keys::{HolderKey, HolderSignature};
use crate::statement::Claim as _;

/// What a signature may cover beside the manifest.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// How many of the listed attestations were there before this one.
    pub position: usize,
    /// In which part its signer attests.
    pub attestation_type: &'a AttestationType,
    /// What its signer says about it.
    pub intent_statement: Option<&'a str>,
    /// The attestations that it stands on if it covers all; `None` for those before it.
    pub parents: Option<&'a [ShortId]>,
}

/// What a signature was found to cover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The form.
    pub binds: Binds,
    /// The spelling of the signed bytes; of `all` there is one.
    pub canonicalization: Canonicalization,
    /// The attestations that the signature names or covers.
    pub parents: Vec<ShortId>,
    /// The identity of the attestation.
    pub id: AttestationId,
    /// The signature as the log keeps it.
    pub signature: HolderSignature,
}

/// The signature covers none of the forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the signature covers none of the three: the manifest with `attestations` empty, the manifest \
     as it was sent, the statement that binds all"
)]
pub struct NotBound;

impl Manifest {
    /// Finds what a signature of this key covers.
    ///
    /// The forms are tried in the order of the page above; the first that verifies counts.
    ///
    /// # Panics
    /// If fewer attestations are listed than `terms.position`.
    pub fn bind(
        &self,
        key: &HolderKey,
        signature: &[u8],
        terms: &Terms<'_>,
    ) -> Result<Bound, NotBound> {
        let before: Vec<ShortId> = self.listed[..terms.position].iter().map(|of| of.id).collect();
        let (binds, canonicalization, signature) = self
            .over_manifest(0, Binds::Manifest, key, signature)
            .or_else(|| match terms.position {
                0 => None,
                count => self.over_manifest(count, Binds::ManifestAndParents, key, signature),
            })
            .or_else(|| self.over_all(&before, key, signature, terms))
            .ok_or(NotBound)?;
        let parents = match binds {
            Binds::Manifest => Vec::new(),
            Binds::ManifestAndParents => before,
            Binds::All => terms.parents.map_or(before, <[ShortId]>::to_vec),
        };
        let id = Identity {
            form: binds,
            manifest_hash: self.hash,
            parents: &parents,
            signer: key.fingerprint(),
            attestation_type: terms.attestation_type,
        }
        .id();
        Ok(Bound { binds, canonicalization, parents, id, signature })
    }

    fn over_manifest(
        &self,
        count: usize,
        binds: Binds,
        key: &HolderKey,
        signature: &[u8],
    ) -> Option<(Binds, Canonicalization, HolderSignature)> {
        let jcs = self.signed_bytes(count, Canonicalization::Jcs);
        if let Ok(kept) = key.accept(&jcs, signature) {
            return Some((binds, Canonicalization::Jcs, kept));
        }
        let legacy = self.signed_bytes(count, Canonicalization::Legacy);
        if legacy == jcs {
            return None;
        }
        let kept = key.accept(&legacy, signature).ok()?;
        Some((binds, Canonicalization::Legacy, kept))
    }

    fn over_all(
        &self,
        before: &[ShortId],
        key: &HolderKey,
        signature: &[u8],
        terms: &Terms<'_>,
    ) -> Option<(Binds, Canonicalization, HolderSignature)> {
        let claim = AttestationClaim {
            content_hash: self.content_hash,
            intent_statement: terms.intent_statement.map(str::to_owned),
            manifest_hash: self.hash,
            parents: terms.parents.unwrap_or(before).to_vec(),
            attestation_type: terms.attestation_type.clone(),
        };
        let kept = key.accept(&claim.signed_bytes(), signature).ok()?;
        Some((Binds::All, Canonicalization::Jcs, kept))
    }
}
