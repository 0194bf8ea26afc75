//! The one function that changes views, and which rows it reads.

use std::fmt;

use super::overlay::{Needs, Overlay};
use super::rows::{EndorsedRow, KeyRow, ProfileRow, Reference, Row as _, WitnessRow};
use super::{endorsements, identity, policies};
use crate::batch::Entry;
use crate::checkpoint::Checkpoint;
use crate::cosignature::verify_cosignature;
use crate::event::{Event, OperatorEndorsement, OperatorEndorsementRevocation, SignerKnown};
use crate::keys::Fingerprint;
use crate::merkle::{Hash, TreeSize};
use crate::note::SignatureLine;
use crate::statement::{Category, Profile, ProfileType, WitnessProof};

/// What an entry did to the views.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// What its type says.
    Applied,
    /// Nothing, since it breaks a rule of state. A leader never writes such an entry; on a
    /// follower it is stored, shown with its reason and raises an incident.
    None(NoEffect),
}

/// Which rule of state an entry breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoEffect {
    /// The type is not known to this version.
    UnknownType,
    /// The key is registered already, and not for want of proof.
    KeyAlreadyRegistered,
    /// No such key is registered.
    UnknownKey,
    /// The key is expired, succeeded or revoked.
    KeyNotActive,
    /// The key is not expired, so there is nothing to recover.
    KeyNotExpired,
    /// The challenge had expired when the entry was logged.
    ChallengeExpired,
    /// An answer to a bare nonce, of a key that is held to better ones.
    LegacyRefused,
    /// The attestation is in the log already.
    AlreadyAttested,
    /// An attestation that this one stands on is not in the log, or is about another manifest.
    UnknownParent,
    /// The signer attested this manifest with another type, and the signature covers neither.
    TypeNotSigned,
    /// The key has another role in this log.
    KeyHasOtherRole,
    /// The key is endorsed in this category already, or an offer of it is open.
    AlreadyEndorsed,
    /// An offer that would be expired when it is made.
    AlreadyExpired,
    /// The key gives as many endorsements as it may.
    CapacityExceeded,
    /// The key accepted as many endorsements as it may.
    EndorsementLimit,
    /// There is no such offer of these keys.
    UnknownOffer,
    /// The offer was answered, or it is over.
    OfferNotOpen,
    /// The offer was not accepted.
    NotAccepted,
    /// The endorsement is over.
    EndorsementOver,
    /// The key is warned of by this endorser already.
    AlreadyAlerted,
    /// Who warns did not endorse the key within the last 30 days.
    NotItsEndorser,
    /// The key has no trust policy.
    NoTrustConfig,
    /// Somebody committed to the same already.
    CommitmentExists,
    /// There is no such claim.
    UnknownClaim,
    /// The claim is revealed already.
    AlreadyRevealed,
    /// The endorsement to be ended is not one that stands.
    NotEndorsed,
    /// A later statement about this key is in the log.
    StaleStatement,
    /// The signer is neither the operator nor an authorised node.
    UnknownSigner,
    /// The profile's key has no such role.
    NotAuthorized,
    /// A profile as new or newer is in the log.
    StaleProfile,
    /// The witness is not authorised.
    WitnessNotAuthorized,
    /// A proof of this witness that reaches as far is in the log.
    WitnessStale,
}

impl NoEffect {
    /// The reason as it is stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownType => "unknown_type",
            Self::KeyAlreadyRegistered => "key_already_registered",
            Self::UnknownKey => "unknown_key",
            Self::KeyNotActive => "key_not_active",
            Self::KeyNotExpired => "key_not_expired",
            Self::ChallengeExpired => "challenge_expired",
            Self::LegacyRefused => "legacy_refused",
            Self::AlreadyAttested => "already_attested",
            Self::UnknownParent => "unknown_parent",
            Self::TypeNotSigned => "type_not_signed",
            Self::KeyHasOtherRole => "key_has_other_role",
            Self::AlreadyEndorsed => "already_endorsed",
            Self::AlreadyExpired => "already_expired",
            Self::CapacityExceeded => "endorsement_capacity_exceeded",
            Self::EndorsementLimit => "endorsement_limit_reached",
            Self::UnknownOffer => "unknown_offer",
            Self::OfferNotOpen => "offer_not_open",
            Self::NotAccepted => "not_accepted",
            Self::EndorsementOver => "endorsement_over",
            Self::AlreadyAlerted => "already_alerted",
            Self::NotItsEndorser => "not_its_endorser",
            Self::NoTrustConfig => "no_trust_config",
            Self::CommitmentExists => "commitment_exists",
            Self::UnknownClaim => "unknown_claim",
            Self::AlreadyRevealed => "already_revealed",
            Self::NotEndorsed => "not_endorsed",
            Self::StaleStatement => "stale_statement",
            Self::UnknownSigner => "unknown_signer",
            Self::NotAuthorized => "not_authorized",
            Self::StaleProfile => "stale_profile",
            Self::WitnessNotAuthorized => "witness_not_authorized",
            Self::WitnessStale => "witness_stale",
        }
    }
}

impl fmt::Display for NoEffect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Adds the rows that [`apply`] reads for this event.
pub fn needs(event: &Event, needs: &mut Needs) {
    match event {
        Event::Namespaced | Event::Unknown => {}
        Event::Genesis(genesis) => needs.key(genesis.operator_fingerprint),
        Event::KeyRegistration(registration) => match registration.proof {
            None => needs.key(registration.fingerprint),
            Some(_) => needs.estate(registration.fingerprint),
        },
        Event::KeySuccession(succession) => {
            needs.estate(succession.old_fingerprint);
            needs.estate(succession.new_fingerprint);
        }
        Event::KeyRevocation(revocation) => needs.circle(revocation.fingerprint),
        Event::Attestation(attestation) => identity::needs_of_attestation(attestation, needs),
        Event::EndorsementOffer(event) => endorsements::needs_of_offer(event, needs),
        Event::EndorsementAcceptance(event) => endorsements::needs_of_acceptance(event, needs),
        Event::EndorsementWithdrawal(event) => endorsements::needs_of_withdrawal(event, needs),
        Event::EndorsementAcceptanceRevocation(event) => {
            endorsements::needs_of_revocation(event, needs);
        }
        Event::EndorsementRevocationAlert(event) => endorsements::needs_of_alert(event, needs),
        Event::TrustConfig(event) => policies::needs_of_config(&**event, needs),
        Event::TrustConfigRevocation(event) => policies::needs_of_config(&**event, needs),
        Event::EncryptedClaim(event) => policies::needs_of_claim(event, needs),
        Event::ClaimReveal(event) => {
            needs.claims.insert(event.commitment);
        }
        Event::CompositeDocument(event) => needs.key(event.fingerprint),
        Event::OperatorEndorsement(endorsement) => needs.key(endorsement.fingerprint),
        Event::OperatorEndorsementRevocation(revocation) => needs.key(revocation.fingerprint),
        Event::OperatorProfile(profile) => {
            needs.key(profile.fingerprint);
            needs.keys.insert(profile.signer);
            needs.profiles.insert(profile.fingerprint);
        }
        Event::WitnessProof(proof) => {
            needs.key(proof.witness);
            needs.witnesses.insert(proof.witness);
        }
    }
}

/// Brings the views from before an entry to after it. Pure; the rows named by [`needs`] must be
/// loaded.
pub fn apply(overlay: &mut Overlay, entry: &Entry) -> Effect {
    let id = entry.leaf.id();
    let event_type = entry.leaf.event_type();
    match overlay.counts.get_mut(event_type) {
        Some(count) => *count += 1,
        None => {
            overlay.counts.insert(event_type.to_owned(), 1);
        }
    }
    if !matches!(event_type, "witness_proof" | "anchor") {
        overlay.last_event_id = id;
    }
    let broken = match &entry.event {
        Event::Namespaced => return Effect::Applied,
        Event::Unknown => Err(NoEffect::UnknownType),
        Event::Genesis(event) => {
            identity::genesis(overlay, entry, event);
            Ok(())
        }
        Event::KeyRegistration(event) => identity::key_registration(overlay, entry, event),
        Event::KeySuccession(event) => identity::key_succession(overlay, entry, event),
        Event::KeyRevocation(event) => identity::key_revocation(overlay, entry, event),
        Event::Attestation(event) => identity::attestation(overlay, entry, event),
        Event::EndorsementOffer(event) => endorsements::offer(overlay, entry, event),
        Event::EndorsementAcceptance(event) => endorsements::acceptance(overlay, entry, event),
        Event::EndorsementWithdrawal(event) => endorsements::withdrawal(overlay, entry, event),
        Event::EndorsementAcceptanceRevocation(event) => {
            endorsements::acceptance_revocation(overlay, entry, event)
        }
        Event::EndorsementRevocationAlert(event) => endorsements::alert(overlay, entry, event),
        Event::TrustConfig(event) => policies::trust_config(overlay, entry, event),
        Event::TrustConfigRevocation(event) => {
            policies::trust_config_revocation(overlay, entry, event)
        }
        Event::EncryptedClaim(event) => policies::encrypted_claim(overlay, entry, event),
        Event::ClaimReveal(event) => policies::claim_reveal(overlay, entry, event),
        Event::CompositeDocument(event) => policies::composite_document(overlay, entry, event),
        Event::OperatorEndorsement(event) => endorsement(overlay, entry, event),
        Event::OperatorEndorsementRevocation(event) => revocation(overlay, entry, event),
        Event::OperatorProfile(event) => profile(overlay, entry, event),
        Event::WitnessProof(event) => witness_proof(overlay, entry, event),
    };
    match broken {
        Ok(()) => Effect::Applied,
        Err(reason) => {
            overlay.without_effect.push((id, reason.as_str()));
            Effect::None(reason)
        }
    }
}

fn endorsement(
    overlay: &mut Overlay,
    entry: &Entry,
    event: &OperatorEndorsement,
) -> Result<(), NoEffect> {
    let role = event.category.gives_role();
    if role && event.fingerprint == event.operator {
        return Err(NoEffect::KeyHasOtherRole);
    }
    for other in of_key(overlay, event.fingerprint) {
        if other.after >= event.after {
            return Err(NoEffect::StaleStatement);
        }
        if other.category == event.category.as_str() {
            if other.revoked_by.is_none() {
                return Err(NoEffect::AlreadyEndorsed);
            }
        } else if role && gives_role(&other.category) {
            return Err(NoEffect::KeyHasOtherRole);
        }
    }
    overlay.endorsed.put(EndorsedRow {
        fingerprint: event.fingerprint,
        category: event.category.as_str().to_owned(),
        public_key: event.public_key.to_pem(),
        name: event.name.as_ref().map(ToString::to_string),
        entry_id: entry.leaf.id(),
        since: entry.leaf.timestamp(),
        revoked_by: None,
        after: event.after,
    });
    refer(overlay, entry, event.fingerprint);
    Ok(())
}

fn revocation(
    overlay: &mut Overlay,
    entry: &Entry,
    event: &OperatorEndorsementRevocation,
) -> Result<(), NoEffect> {
    let newest = of_key(overlay, event.fingerprint).map(|row| row.after).max();
    if newest.unwrap_or(TreeSize::ZERO) >= event.after {
        return Err(NoEffect::StaleStatement);
    }
    let key = (event.fingerprint, event.category.as_str().to_owned());
    match overlay.endorsed.find(&key) {
        Some(row) if row.revoked_by.is_none() && row.entry_id == event.endorsement_id => {
            let ended = EndorsedRow {
                revoked_by: Some(entry.leaf.id()),
                after: event.after,
                ..row.clone()
            };
            overlay.endorsed.put(ended);
            refer(overlay, entry, event.fingerprint);
            Ok(())
        }
        _ => Err(NoEffect::NotEndorsed),
    }
}

fn profile(overlay: &mut Overlay, entry: &Entry, event: &Profile) -> Result<(), NoEffect> {
    if entry.signer == SignerKnown::No {
        return Err(NoEffect::UnknownSigner);
    }
    let category = category_of(event.kind);
    if !is_endorsed(overlay, event.fingerprint, category) {
        return Err(NoEffect::NotAuthorized);
    }
    // The genesis registers the operator's key, and nothing else is entry 1.
    let by_operator = overlay.keys.find(&event.signer).is_some_and(KeyRow::is_operator);
    if event.signer != event.fingerprint && !by_operator {
        return Err(NoEffect::UnknownSigner);
    }
    let known = overlay.profiles.find(&event.fingerprint);
    if known.is_some_and(|known| known.timestamp >= event.timestamp) {
        return Err(NoEffect::StaleProfile);
    }
    overlay.profiles.put(ProfileRow {
        fingerprint: event.fingerprint,
        kind: event.kind.as_str().to_owned(),
        display_name: event.display_name.to_string(),
        server: event.server.as_ref().map(ToString::to_string),
        timestamp: event.timestamp,
        entry_id: entry.leaf.id(),
    });
    refer(overlay, entry, event.fingerprint);
    Ok(())
}

fn witness_proof(
    overlay: &mut Overlay,
    entry: &Entry,
    event: &WitnessProof,
) -> Result<(), NoEffect> {
    if !is_endorsed(overlay, event.witness, Category::Witness) {
        return Err(NoEffect::WitnessNotAuthorized);
    }
    let known = overlay.witnesses.find(&event.witness);
    if known.is_some_and(|known| known.tree_size >= event.new_tree_size) {
        return Err(NoEffect::WitnessStale);
    }
    let cosigner = known.and_then(|known| known.cosigner.clone());
    overlay.witnesses.put(WitnessRow {
        fingerprint: event.witness,
        proof_id: entry.leaf.id(),
        tree_size: event.new_tree_size,
        root_hash: event.new_root,
        signed_at: event.timestamp,
        recorded_at: entry.leaf.timestamp(),
        cosigner: cosigner.or_else(|| cosigner_name(event)),
    });
    refer(overlay, entry, event.witness);
    overlay.references.push(Reference {
        kind: "witness",
        value: event.witness.to_string(),
        id: entry.leaf.id(),
    });
    Ok(())
}

/// The name under which the witness cosigned, if its cosignature verifies.
fn cosigner_name(event: &WitnessProof) -> Option<String> {
    let line: SignatureLine = event.cosignature.as_deref()?.trim_end_matches('\n').parse().ok()?;
    let checkpoint = Checkpoint::new(event.origin.to_string(), event.claim().new_tree()).ok()?;
    verify_cosignature(&line, &checkpoint, &event.public_key).ok()?;
    Some(line.name().to_string())
}

/// The category that makes a profile of this type a known node's.
pub const fn category_of(kind: ProfileType) -> Category {
    match kind {
        ProfileType::Federation => Category::FederationOperator,
        ProfileType::Witness => Category::Witness,
    }
}

/// Whether the operator's endorsement of a key in this category stands.
pub fn is_endorsed(overlay: &Overlay, key: Fingerprint, category: Category) -> bool {
    overlay
        .endorsed
        .find(&(key, category.as_str().to_owned()))
        .is_some_and(|row| row.revoked_by.is_none())
}

/// Whether the operator gave a key a role that stands, or the key is the operator's.
pub fn has_role(overlay: &Overlay, key: Fingerprint) -> bool {
    overlay.keys.find(&key).is_some_and(KeyRow::is_operator)
        || of_key(overlay, key).any(EndorsedRow::gives_role)
}

fn of_key(overlay: &Overlay, key: Fingerprint) -> impl Iterator<Item = &EndorsedRow> {
    overlay.endorsed.rows().filter(move |row| row.key().0 == key)
}

impl EndorsedRow {
    /// Whether it gives the key a role, and stands.
    pub fn gives_role(&self) -> bool {
        self.revoked_by.is_none() && gives_role(&self.category)
    }
}

fn gives_role(category: &str) -> bool {
    [Category::FederationOperator, Category::Witness].iter().any(|role| role.as_str() == category)
}

pub(super) fn refer(overlay: &mut Overlay, entry: &Entry, key: Fingerprint) {
    let (value, id) = (key.to_string(), entry.leaf.id());
    overlay.references.push(Reference { kind: "fingerprint", value, id });
}

pub(super) fn refer_to_document(overlay: &mut Overlay, entry: &Entry, hash: Hash) {
    let (value, id) = (hash.to_string(), entry.leaf.id());
    overlay.references.push(Reference { kind: "document", value, id });
}

#[cfg(test)]
mod tests;
