//! Manifests: what an attestation is about, and which bytes its signature covers.

mod identity;

pub use identity::{
    AttestationId, AttestationType, Binds, Canonicalization, Identity, NotAShortId,
    NotAnAttestationType, ShortId,
};
