//! Layer 2: whether the log holds an attestation, and what its key was before that entry.

use super::{LogEvidence, MAX_SUCCESSORS, worst};
use crate::keys::Fingerprint;
use crate::manifest::{Bound, Listed, Manifest};
use crate::view::{AttestationRow, KeyRow, KeyState};
use crate::wire::verify::{KeyFinding, KeyLayer, VerifyStatus};

pub(super) fn layer(manifest: &Manifest, bound: &[Option<Bound>], log: &LogEvidence) -> KeyLayer {
    let attestations: Vec<KeyFinding> = manifest
        .listed()
        .iter()
        .zip(bound)
        .map(|(listed, bound)| finding(manifest, listed, bound.as_ref(), log))
        .collect();
    let all_is_well = "The log holds every attestation, and each key was active before its entry.";
    let findings = attestations.iter().map(|of| (of.attestation_id, of.status, &*of.details));
    let (status, details) = worst(findings, all_is_well);
    KeyLayer { status, details, attestations }
}

fn finding(
    manifest: &Manifest,
    listed: &Listed,
    bound: Option<&Bound>,
    log: &LogEvidence,
) -> KeyFinding {
    let key = log.key(&listed.signer);
    let row = log.logged(manifest, listed);
    // What was signed is what must be logged.
    let row = row.filter(|row| bound.is_none_or(|bound| bound.id == row.attestation_id));
    let (status, details) = judge(key, row, log);
    let (successors, successors_confirmed) =
        key.map(|key| succession(key, log)).unwrap_or_default();
    KeyFinding {
        attestation_id: listed.id,
        signer_key_fingerprint: listed.signer,
        status,
        details,
        binds: row.map(|row| row.binds),
        log_entry_id: row.map(|row| row.entry_id),
        logged_at: row.map(|row| row.at),
        leader_asserted: row.is_some_and(|row| row.leader_asserted),
        key_status_at_entry: key.zip(row).map(|(key, row)| key.state_before(row.entry_id, row.at)),
        key_status_now: key.map(|key| key.state_before(log.size.get() + 1, log.as_of)),
        succeeded_by: successors.first().copied(),
        successors,
        successors_confirmed,
    }
}

fn judge(
    key: Option<&KeyRow>,
    row: Option<&AttestationRow>,
    log: &LogEvidence,
) -> (VerifyStatus, String) {
    let Some(key) = key else {
        let details = "The log knows no key with its signer's fingerprint.";
        return (VerifyStatus::UnknownKey, details.to_owned());
    };
    let Some(row) = row else {
        let details = "The log does not hold it, so that nobody knows when it was signed.";
        return (VerifyStatus::NotLogged, details.to_owned());
    };
    let entry_id = row.entry_id;
    if key.first_entry_id >= entry_id {
        let details = format!("Entry {entry_id} logged it before its key was registered.");
        return (VerifyStatus::UnknownKey, details);
    }
    let state = key.state_before(entry_id, row.at);
    if state != KeyState::Active {
        let details = format!("Its key was {} before entry {entry_id}.", state.as_str());
        return (VerifyStatus::KeyNotActive, details);
    }
    let is_covered = log.witnessed_size.is_some_and(|size| entry_id <= size.get());
    if log.witnesses_required > 0 && !is_covered {
        let details = match log.witnesses_required {
            1 => format!("No authorised witness has signed a tree that holds entry {entry_id}."),
            many => format!(
                "Fewer than {many} authorised witnesses have signed a tree that holds entry \
                 {entry_id}."
            ),
        };
        return (VerifyStatus::Unwitnessed, details);
    }
    let now = key.state_before(log.size.get() + 1, log.as_of);
    let details = match now {
        KeyState::Active => {
            format!("Entry {entry_id} holds it; its key was active then and is now.")
        }
        later => {
            let later = later.as_str();
            format!("Entry {entry_id} holds it; its key was active then and was {later} later.")
        }
    };
    (VerifyStatus::Valid, details)
}

/// The keys that took a key's place, one after the other, and whether each of them says so.
///
/// Anybody's key can be named as a successor: only one that proved its possession when it was named
/// says so itself. One that was registered anew, with a proof of possession, says so no more.
fn succession(key: &KeyRow, log: &LogEvidence) -> (Vec<Fingerprint>, Option<bool>) {
    let mut chain = Vec::new();
    let mut current = key;
    while let Some(by) = log.successor(current) {
        if chain.len() == MAX_SUCCESSORS || by == key.fingerprint || chain.contains(&by) {
            return (chain, Some(false));
        }
        chain.push(by);
        match log.key(&by) {
            Some(next) if next.proven && next.succeeds == Some(current.fingerprint) => {
                current = next;
            }
            _ => return (chain, Some(false)),
        }
    }
    let confirmed = (!chain.is_empty()).then_some(true);
    (chain, confirmed)
}
