//! What trust policies, encrypted claims and composite documents do to the views.

use super::apply::{NoEffect, refer, refer_to_document};
use super::endorsements::{asked, may_ask};
use super::overlay::{Needs, Overlay};
use super::trust_rows::{ClaimRow, TrustConfigRow};
use crate::batch::Entry;
use crate::clock::Timestamp;
use crate::event::{
    Asked, ClaimReveal, CompositeDocument, EncryptedClaim, TrustConfig, TrustConfigRevocation,
};
use crate::keys::Fingerprint;

/// Adds the rows that an event about the policy of a key reads.
pub(super) fn needs_of_config(event: &impl Asked, needs: &mut Needs) {
    needs.key(event.signer());
    needs.trust_configs.insert(event.signer());
}

pub(super) fn trust_config(
    overlay: &mut Overlay,
    entry: &Entry,
    event: &TrustConfig,
) -> Result<(), NoEffect> {
    may_ask(overlay, event, entry.leaf.timestamp())?;
    overlay.trust_configs.put(TrustConfigRow {
        fingerprint: event.fingerprint,
        entry_id: entry.leaf.id(),
        at: entry.leaf.timestamp(),
        revoked_by: None,
    });
    asked(overlay, entry, event);
    Ok(())
}

/// Whether this revocation has an effect in an entry of this time; answers what it ends.
pub fn may_revoke_config(
    overlay: &Overlay,
    event: &TrustConfigRevocation,
    at: Timestamp,
) -> Result<TrustConfigRow, NoEffect> {
    may_ask(overlay, event, at)?;
    let known = overlay.trust_configs.find(&event.fingerprint);
    known.filter(|row| row.revoked_by.is_none()).copied().ok_or(NoEffect::NoTrustConfig)
}

pub(super) fn trust_config_revocation(
    overlay: &mut Overlay,
    entry: &Entry,
    event: &TrustConfigRevocation,
) -> Result<(), NoEffect> {
    let row = may_revoke_config(overlay, event, entry.leaf.timestamp())?;
    overlay.trust_configs.put(TrustConfigRow { revoked_by: Some(entry.leaf.id()), ..row });
    asked(overlay, entry, event);
    Ok(())
}

/// Frees a key of a policy that somebody else set, who named it the successor without its holder.
pub(super) fn disown(overlay: &mut Overlay, key: Fingerprint, entry: &Entry) {
    let row = overlay.trust_configs.find(&key).filter(|row| row.revoked_by.is_none()).copied();
    if let Some(row) = row {
        overlay.trust_configs.put(TrustConfigRow { revoked_by: Some(entry.leaf.id()), ..row });
    }
}

/// The policy of a key passes to its successor, unless that one has its own.
pub(super) fn hand_over(overlay: &mut Overlay, old: Fingerprint, new: Fingerprint, entry: &Entry) {
    let standing =
        |key| overlay.trust_configs.find(&key).filter(|row| row.revoked_by.is_none()).copied();
    let (Some(row), own) = (standing(old), standing(new)) else { return };
    overlay.trust_configs.put(TrustConfigRow { revoked_by: Some(entry.leaf.id()), ..row });
    if own.is_none() {
        overlay.trust_configs.put(TrustConfigRow { fingerprint: new, ..row });
    }
}

pub(super) fn needs_of_claim(event: &EncryptedClaim, needs: &mut Needs) {
    needs.key(event.claimant_fingerprint);
    needs.claims.insert(event.commitment);
}

/// Whether this claim has an effect in an entry of this time.
pub fn may_claim(overlay: &Overlay, event: &EncryptedClaim, at: Timestamp) -> Result<(), NoEffect> {
    may_ask(overlay, event, at)?;
    match overlay.claims.find(&event.commitment) {
        None => Ok(()),
        Some(_) => Err(NoEffect::CommitmentExists),
    }
}

pub(super) fn encrypted_claim(
    overlay: &mut Overlay,
    entry: &Entry,
    event: &EncryptedClaim,
) -> Result<(), NoEffect> {
    may_claim(overlay, event, entry.leaf.timestamp())?;
    overlay.claims.put(ClaimRow {
        commitment: event.commitment,
        entry_id: entry.leaf.id(),
        claimant: event.claimant_fingerprint,
        at: entry.leaf.timestamp(),
        revealed_by: None,
    });
    asked(overlay, entry, event);
    Ok(())
}

/// Whether this reveal has an effect; answers the claim.
pub fn may_reveal(overlay: &Overlay, event: &ClaimReveal) -> Result<ClaimRow, NoEffect> {
    let claim = overlay.claims.find(&event.commitment).filter(|claim| {
        claim.entry_id == event.claim_entry_id && claim.claimant == event.claimant_fingerprint
    });
    match claim {
        None => Err(NoEffect::UnknownClaim),
        Some(claim) if claim.revealed_by.is_some() => Err(NoEffect::AlreadyRevealed),
        Some(claim) => Ok(*claim),
    }
}

pub(super) fn claim_reveal(
    overlay: &mut Overlay,
    entry: &Entry,
    event: &ClaimReveal,
) -> Result<(), NoEffect> {
    let claim = may_reveal(overlay, event)?;
    overlay.claims.put(ClaimRow { revealed_by: Some(entry.leaf.id()), ..claim });
    refer(overlay, entry, event.claimant_fingerprint);
    Ok(())
}

pub(super) fn composite_document(
    overlay: &mut Overlay,
    entry: &Entry,
    event: &CompositeDocument,
) -> Result<(), NoEffect> {
    may_ask(overlay, event, entry.leaf.timestamp())?;
    asked(overlay, entry, event);
    refer_to_document(overlay, entry, event.content_hash);
    refer_to_document(overlay, entry, event.manifest_hash);
    Ok(())
}

#[cfg(test)]
mod tests;
