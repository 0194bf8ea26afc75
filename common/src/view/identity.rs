//! What keys and attestations do to the views.
//!
//! Each `may_...` is the whole rule of its event: the leader asks it before it writes the entry,
//! and every node asks it again when the entry is applied.

use super::apply::{NoEffect, has_role, refer, refer_to_document};
use super::lifecycle::{self, Ended, Ending};
use super::overlay::{Needs, Overlay};
use super::rows::{AttestationRow, AttestedTypeRow, KeyRow, Row as _};
use super::{endorsements, policies};
use crate::batch::Entry;
use crate::clock::Timestamp;
use crate::event::text::folded;
use crate::event::{
    Attestation, Authorization, Genesis, KeyRegistration, KeyRevocation, KeySuccession,
};
use crate::keys::{Fingerprint, HolderKey};
use crate::manifest::Binds;

pub(super) fn genesis(overlay: &mut Overlay, entry: &Entry, event: &Genesis) {
    let pseudonym = event.origin.to_string();
    let key = HolderKey::from(&event.operator_public_key);
    put_key(overlay, entry, NewKey { key: &key, pseudonym, expires_at: None, proven: true });
    refer(overlay, entry, event.operator_fingerprint);
}

/// Whether this registration has an effect.
pub fn may_register(overlay: &Overlay, event: &KeyRegistration) -> Result<(), NoEffect> {
    lifecycle::register(overlay.keys.find(&event.fingerprint), event.proof.is_some())
}

pub(super) fn key_registration(
    overlay: &mut Overlay,
    entry: &Entry,
    event: &KeyRegistration,
) -> Result<(), NoEffect> {
    may_register(overlay, event)?;
    let known = overlay.keys.find(&event.fingerprint);
    if known.is_some_and(|known| !known.holds_what_it_was_given()) {
        endorsements::disown(overlay, event.fingerprint, entry);
        policies::disown(overlay, event.fingerprint, entry);
    }
    put_key(
        overlay,
        entry,
        NewKey {
            key: &event.public_key,
            pseudonym: event.pseudonym.to_string(),
            expires_at: event.expiration_date,
            proven: event.proof.is_some(),
        },
    );
    refer(overlay, entry, event.fingerprint);
    Ok(())
}

/// Whether this succession has an effect in an entry of this time; answers the old key.
pub fn may_succeed<'a>(
    overlay: &'a Overlay,
    event: &KeySuccession,
    at: Timestamp,
) -> Result<&'a KeyRow, NoEffect> {
    let old = overlay.keys.find(&event.old_fingerprint).ok_or(NoEffect::UnknownKey)?;
    lifecycle::succeed(old, event.recovery, at)?;
    let role = has_role(overlay, event.old_fingerprint);
    lifecycle::authorize(old, role, &event.authorization, at)?;
    if event.new_fingerprint == event.old_fingerprint {
        return Err(NoEffect::KeyAlreadyRegistered);
    }
    let new = overlay.keys.find(&event.new_fingerprint);
    lifecycle::register(new, event.new_key_proof.is_some())?;
    Ok(old)
}

pub(super) fn key_succession(
    overlay: &mut Overlay,
    entry: &Entry,
    event: &KeySuccession,
) -> Result<(), NoEffect> {
    let old = may_succeed(overlay, event, entry.leaf.timestamp())?.clone();
    put_key(
        overlay,
        entry,
        NewKey {
            key: &event.new_public_key,
            pseudonym: old.pseudonym.clone(),
            expires_at: event.expiration_date,
            proven: event.new_key_proof.is_some(),
        },
    );
    if let Some(new) = overlay.keys.find(&event.new_fingerprint).cloned() {
        overlay.keys.put(KeyRow { succeeds: Some(event.old_fingerprint), ..new });
    }
    let how = Ending::Succeeded { by: event.new_fingerprint };
    end_key(overlay, entry, old, how, &event.authorization);
    endorsements::hand_over(overlay, event.old_fingerprint, event.new_fingerprint, entry);
    policies::hand_over(overlay, event.old_fingerprint, event.new_fingerprint, entry);
    refer(overlay, entry, event.old_fingerprint);
    refer(overlay, entry, event.new_fingerprint);
    Ok(())
}

/// Whether this revocation has an effect in an entry of this time.
pub fn may_revoke<'a>(
    overlay: &'a Overlay,
    event: &KeyRevocation,
    at: Timestamp,
) -> Result<&'a KeyRow, NoEffect> {
    let key = overlay.keys.find(&event.fingerprint).ok_or(NoEffect::UnknownKey)?;
    lifecycle::revoke(key, at)?;
    lifecycle::authorize(key, has_role(overlay, event.fingerprint), &event.authorization, at)?;
    Ok(key)
}

pub(super) fn key_revocation(
    overlay: &mut Overlay,
    entry: &Entry,
    event: &KeyRevocation,
) -> Result<(), NoEffect> {
    let key = may_revoke(overlay, event, entry.leaf.timestamp())?.clone();
    end_key(overlay, entry, key, Ending::Revoked, &event.authorization);
    endorsements::void(overlay, event.fingerprint, entry);
    refer(overlay, entry, event.fingerprint);
    Ok(())
}

/// Adds the rows that an attestation reads.
pub(super) fn needs_of_attestation(event: &Attestation, needs: &mut Needs) {
    needs.key(event.signer);
    needs.attestations.insert(event.attestation_id.short());
    needs.attestations.extend(&event.parents);
    needs.attested_types.insert((event.manifest_hash, event.signer, event.binds));
}

/// Whether this attestation has an effect in an entry of this time.
pub fn may_attest(overlay: &Overlay, event: &Attestation, at: Timestamp) -> Result<(), NoEffect> {
    let signer = overlay.keys.find(&event.signer).ok_or(NoEffect::UnknownKey)?;
    lifecycle::is_active(signer, at)?;
    if overlay.attestations.find(&event.attestation_id.short()).is_some() {
        return Err(NoEffect::AlreadyAttested);
    }
    let is_of_this_manifest = |id| {
        overlay.attestations.find(id).is_some_and(|row| row.manifest_hash == event.manifest_hash)
    };
    if !event.parents.iter().all(is_of_this_manifest) {
        return Err(NoEffect::UnknownParent);
    }
    let known = overlay.attested_types.find(&(event.manifest_hash, event.signer, event.binds));
    let is_other = known.is_some_and(|row| row.attestation_type != event.attestation_type.as_str());
    if is_other && !event.is_authorised() {
        return Err(NoEffect::TypeNotSigned);
    }
    Ok(())
}

pub(super) fn attestation(
    overlay: &mut Overlay,
    entry: &Entry,
    event: &Attestation,
) -> Result<(), NoEffect> {
    may_attest(overlay, event, entry.leaf.timestamp())?;
    let attestation_type = event.attestation_type.to_string();
    if event.binds != Binds::All {
        let row = AttestedTypeRow {
            manifest_hash: event.manifest_hash,
            signer: event.signer,
            binds: event.binds,
            attestation_type: attestation_type.clone(),
        };
        // An unauthorised one names no other type than the one that stands.
        if event.is_authorised() || overlay.attested_types.find(&row.key()).is_none() {
            overlay.attested_types.put(row);
        }
    }
    overlay.attestations.put(AttestationRow {
        attestation_id: event.attestation_id,
        manifest_hash: event.manifest_hash,
        content_hash: event.content_hash,
        signer: event.signer,
        attestation_type,
        binds: event.binds,
        canonicalization: event.canonicalization,
        entry_id: entry.leaf.id(),
        at: entry.leaf.timestamp(),
        leader_asserted: event.is_leader_asserted(),
    });
    // It names no log: anybody may bring it here from another one, so it makes nobody the
    // successor whom somebody named without asking.
    let signer = overlay.keys.find(&event.signer);
    if event.binds == Binds::All && signer.is_some_and(KeyRow::holds_what_it_was_given) {
        note_v1(overlay, event.signer);
    }
    refer(overlay, entry, event.signer);
    refer_to_document(overlay, entry, event.content_hash);
    refer_to_document(overlay, entry, event.manifest_hash);
    Ok(())
}

/// What an entry says of a key that it registers.
struct NewKey<'a> {
    key: &'a HolderKey,
    pseudonym: String,
    expires_at: Option<Timestamp>,
    proven: bool,
}

/// Registers a key, or replaces what an unproven registration said of it.
fn put_key(overlay: &mut Overlay, entry: &Entry, new: NewKey<'_>) {
    let NewKey { key, pseudonym, expires_at, proven } = new;
    let id = entry.leaf.id();
    let known = overlay.keys.find(&key.fingerprint());
    let (first_entry_id, used_v1) = known.map_or((id, false), |k| (k.first_entry_id, k.used_v1));
    if known.is_none() {
        overlay.new_keys += 1;
    }
    overlay.keys.put(KeyRow {
        fingerprint: key.fingerprint(),
        public_key: key.to_pem(),
        algorithm: key.algorithm().as_str().to_owned(),
        pseudonym_folded: folded(&pseudonym),
        pseudonym,
        registered_at: entry.leaf.timestamp(),
        expires_at,
        entry_id: id,
        proven,
        first_entry_id,
        used_v1,
        succeeds: None,
        ended: None,
    });
}

fn end_key(overlay: &mut Overlay, entry: &Entry, key: KeyRow, how: Ending, by: &Authorization) {
    let ended = Ended {
        how,
        entry_id: entry.leaf.id(),
        at: entry.leaf.timestamp(),
        leader_asserted: by.is_leader_asserted(),
    };
    let used_v1 = key.used_v1 || !by.is_leader_asserted();
    overlay.keys.put(KeyRow { ended: Some(ended), used_v1, ..key });
}

/// From its first signature that says all it is about, a key is held to such signatures.
pub(super) fn note_v1(overlay: &mut Overlay, signer: Fingerprint) {
    if let Some(key) = overlay.keys.find(&signer).filter(|key| !key.used_v1).cloned() {
        overlay.keys.put(KeyRow { used_v1: true, ..key });
    }
}

#[cfg(test)]
mod tests;
