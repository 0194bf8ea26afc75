//! What a document's attestations are worth: two layers of checks over a manifest and what the log
//! says, without any reading of its own.
//!
//! Layer 1 asks mathematics: whether the signatures cover the manifest and the document is the one
//! that it is about. Layer 2 asks the log: whether it holds the attestations, and what its keys
//! were before the entries that hold them. Both look at every attestation by itself.

mod graph;
mod keys;
mod signatures;

use std::collections::{BTreeMap, BTreeSet};

use crate::clock::Timestamp;
use crate::keys::Fingerprint;
use crate::manifest::{Bound, Listed, Manifest, ShortId};
use crate::merkle::{Hash, TreeSize};
use crate::view::{AttestationRow, Ended, Ending, KeyRow};
use crate::wire::verify::{AttestationGraph, KeyLayer, SignatureLayer, VerifyStatus};

/// The most keys that are followed from one to its successor.
pub const MAX_SUCCESSORS: usize = 32;

/// What the log says about the attestations of one manifest.
#[derive(Clone, Debug)]
pub struct LogEvidence {
    /// The size that the verdict rests on: what later entries say is not seen.
    pub size: TreeSize,
    /// The time of the head of that size.
    pub as_of: Timestamp,
    /// The signers' keys and their successors.
    pub keys: BTreeMap<Fingerprint, KeyRow>,
    /// The logged attestations.
    pub attestations: BTreeMap<ShortId, AttestationRow>,
    /// The statements of intent of logged attestations that are listed without one.
    pub intents: BTreeMap<ShortId, String>,
    /// How many witnesses must have signed a size that covers each entry.
    pub witnesses_required: u64,
    /// The largest size that so many signed.
    pub witnessed_size: Option<TreeSize>,
}

/// What came out.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// What mathematics says.
    pub layer1: SignatureLayer,
    /// What the log says.
    pub layer2: KeyLayer,
    /// The worst of both.
    pub overall: VerifyStatus,
    /// How the attestations stand on each other.
    pub graph: AttestationGraph,
}

/// Judges a manifest for a document of that hash.
pub fn judge(manifest: &Manifest, source: Hash, log: &LogEvidence) -> Judgement {
    let bound: Vec<Option<Bound>> =
        (0..manifest.listed().len()).map(|at| signatures::bind(manifest, at, log)).collect();
    let layer1 = signatures::layer(manifest, source, &bound, log);
    let layer2 = keys::layer(manifest, &bound, log);
    let overall = layer1.status.max(layer2.status);
    let graph = graph::of(&layer1, &layer2);
    Judgement { layer1, layer2, overall, graph }
}

/// The largest size that so many of the witnesses signed, at least one of them.
pub fn witnessed_size(
    sizes: impl IntoIterator<Item = TreeSize>,
    required: u64,
) -> Option<TreeSize> {
    let mut sizes: Vec<TreeSize> = sizes.into_iter().collect();
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    let last = usize::try_from(required.max(1) - 1).ok()?;
    sizes.get(last).copied()
}

impl LogEvidence {
    /// The successors of known keys that are not known themselves.
    pub fn missing_successors(&self) -> BTreeSet<Fingerprint> {
        let successors = self.keys.values().filter_map(|key| self.successor(key));
        successors.filter(|by| !self.keys.contains_key(by)).collect()
    }

    /// The key of a signer, if it is registered.
    fn key(&self, signer: &Fingerprint) -> Option<&KeyRow> {
        self.keys.get(signer).filter(|key| key.first_entry_id <= self.size.get())
    }

    /// The logged attestation that a listed one is, as far as it says itself.
    fn logged(&self, manifest: &Manifest, listed: &Listed) -> Option<&AttestationRow> {
        self.attestations.get(&listed.id).filter(|row| {
            row.entry_id <= self.size.get()
                && row.manifest_hash == manifest.hash()
                && row.content_hash == manifest.content_hash()
                && row.signer == listed.signer
                && row.attestation_type == listed.attestation_type.as_str()
        })
    }

    fn ended(&self, key: &KeyRow) -> Option<Ended> {
        key.ended.filter(|ended| ended.entry_id <= self.size.get())
    }

    fn successor(&self, key: &KeyRow) -> Option<Fingerprint> {
        match self.ended(key)?.how {
            Ending::Succeeded { by } => Some(by),
            Ending::Revoked => None,
        }
    }
}

/// The status and sentence of a layer: the worst finding speaks for all, the first of several.
fn worst<'a>(
    findings: impl Iterator<Item = (ShortId, VerifyStatus, &'a str)>,
    all_is_well: &str,
) -> (VerifyStatus, String) {
    let mut worst: Option<(ShortId, VerifyStatus, &str)> = None;
    for finding in findings {
        if worst.is_none_or(|(_, status, _)| finding.1 > status) {
            worst = Some(finding);
        }
    }
    match worst {
        None => (VerifyStatus::NoAttestations, "The manifest lists no attestations.".to_owned()),
        Some((_, VerifyStatus::Valid, _)) => (VerifyStatus::Valid, all_is_well.to_owned()),
        Some((id, status, details)) => (status, format!("Attestation {id}: {details}")),
    }
}

#[cfg(test)]
mod tests;
