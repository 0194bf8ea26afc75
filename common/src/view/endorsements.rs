//! What endorsements and alerts do to the views.
//!
//! Each `may_...` is the whole rule of its event: every node asks it when the entry is applied, the
//! leader before the entry is in the log.

use super::apply::{NoEffect, has_role, refer};
use super::circle::{Circle, MAX_RECEIVED};
use super::identity::note_v1;
use super::lifecycle;
use super::overlay::{Needs, Overlay};
use super::rows::KeyRow;
use super::trust_rows::{
    Acceptance, AlertRow, EndorsementEnd, EndorsementEnding, EndorsementRow, EndorsementState,
};
use crate::batch::Entry;
use crate::clock::Timestamp;
use crate::event::{
    Asked, EndorsementAcceptance, EndorsementAcceptanceRevocation, EndorsementOffer,
    EndorsementRevocationAlert, EndorsementWithdrawal,
};
use crate::keys::Fingerprint;

/// For how long after its end an endorsement lets its endorser raise an alert: 30 days.
const ALERT_MILLIS: i64 = 30 * 24 * 60 * 60 * 1_000;

/// The key that asks, if it is active and meant it.
pub(super) fn may_ask<'a>(
    overlay: &'a Overlay,
    event: &impl Asked,
    at: Timestamp,
) -> Result<&'a KeyRow, NoEffect> {
    let signer = overlay.keys.find(&event.signer()).ok_or(NoEffect::UnknownKey)?;
    lifecycle::is_active(signer, at)?;
    lifecycle::authorize(signer, has_role(overlay, event.signer()), event.authorization(), at)?;
    Ok(signer)
}

/// Notes that the signer's key signed something that says all it is about, and that the entry is
/// about it.
pub(super) fn asked(overlay: &mut Overlay, entry: &Entry, event: &impl Asked) {
    if !event.authorization().is_leader_asserted() {
        note_v1(overlay, event.signer());
    }
    refer(overlay, entry, event.signer());
}

pub(super) fn needs_of_offer(event: &EndorsementOffer, needs: &mut Needs) {
    needs.circle(event.endorser_fingerprint);
    needs.key(event.endorsed_fingerprint);
}

/// Whether this offer has an effect in an entry of this time.
pub fn may_offer(
    overlay: &Overlay,
    event: &EndorsementOffer,
    at: Timestamp,
) -> Result<(), NoEffect> {
    let endorser = may_ask(overlay, event, at)?;
    let endorsed = overlay.keys.find(&event.endorsed_fingerprint).ok_or(NoEffect::UnknownKey)?;
    lifecycle::is_active(endorsed, at)?;
    // The operator endorses by statements of its own, and needs nobody's endorsement.
    if endorser.is_operator() || endorsed.is_operator() {
        return Err(NoEffect::KeyHasOtherRole);
    }
    if event.valid_until.is_some_and(|end| end <= at) {
        return Err(NoEffect::AlreadyExpired);
    }
    let circle = Circle::of(overlay, event.endorser_fingerprint, at);
    let is_same = |row: &EndorsementRow| {
        row.endorsed == event.endorsed_fingerprint && row.category == event.category
    };
    if circle.given().any(is_same) {
        return Err(NoEffect::AlreadyEndorsed);
    }
    if circle.given().count() >= circle.capacity() as usize {
        return Err(NoEffect::CapacityExceeded);
    }
    Ok(())
}

pub(super) fn offer(
    overlay: &mut Overlay,
    entry: &Entry,
    event: &EndorsementOffer,
) -> Result<(), NoEffect> {
    let at = entry.leaf.timestamp();
    may_offer(overlay, event, at)?;
    write_down_expiry(overlay, event.endorser_fingerprint, entry);
    overlay.endorsements.put(EndorsementRow {
        offer_id: entry.leaf.id(),
        endorser: event.endorser_fingerprint,
        endorsed: event.endorsed_fingerprint,
        category: event.category,
        institution: event.institution(),
        offered_at: at,
        valid_until: event.valid_until,
        leader_asserted: event.authorization.is_leader_asserted(),
        accepted: None,
        ended: None,
    });
    asked(overlay, entry, event);
    refer(overlay, entry, event.endorsed_fingerprint);
    Ok(())
}

pub(super) fn needs_of_acceptance(event: &EndorsementAcceptance, needs: &mut Needs) {
    needs.offers.insert(event.offer_entry_id);
    needs.circle(event.endorser_fingerprint);
    needs.circle(event.endorsed_fingerprint);
}

/// Whether this acceptance has an effect in an entry of this time; answers the offer.
pub fn may_accept<'a>(
    overlay: &'a Overlay,
    event: &EndorsementAcceptance,
    at: Timestamp,
) -> Result<&'a EndorsementRow, NoEffect> {
    may_ask(overlay, event, at)?;
    let offer = overlay.endorsements.find(event.offer_entry_id);
    let offer = offer.filter(|row| {
        row.endorsed == event.endorsed_fingerprint && row.endorser == event.endorser_fingerprint
    });
    let offer = offer.ok_or(NoEffect::UnknownOffer)?;
    if offer.state_at(at) != EndorsementState::Offered {
        return Err(NoEffect::OfferNotOpen);
    }
    let endorser = overlay.keys.find(&offer.endorser).ok_or(NoEffect::UnknownKey)?;
    lifecycle::is_active(endorser, at)?;
    if Circle::of(overlay, offer.endorsed, at).accepted().count() >= MAX_RECEIVED {
        return Err(NoEffect::EndorsementLimit);
    }
    Ok(offer)
}

pub(super) fn acceptance(
    overlay: &mut Overlay,
    entry: &Entry,
    event: &EndorsementAcceptance,
) -> Result<(), NoEffect> {
    let at = entry.leaf.timestamp();
    let offer = may_accept(overlay, event, at)?.clone();
    let accepted = Acceptance {
        entry_id: entry.leaf.id(),
        at,
        active_from: event.active_from.max(at),
        level: Circle::of(overlay, offer.endorser, at).level(),
    };
    write_down_expiry(overlay, offer.endorsed, entry);
    overlay.endorsements.put(EndorsementRow {
        leader_asserted: offer.leader_asserted || event.authorization.is_leader_asserted(),
        accepted: Some(accepted),
        ..offer
    });
    asked(overlay, entry, event);
    refer(overlay, entry, event.endorser_fingerprint);
    Ok(())
}

pub(super) fn needs_of_withdrawal(event: &EndorsementWithdrawal, needs: &mut Needs) {
    needs.key(event.endorser_fingerprint);
    needs.offers.insert(event.original_offer_entry_id);
    needs.alerts.insert((event.endorser_fingerprint, event.endorsed_fingerprint));
}

/// Whether this withdrawal has an effect in an entry of this time; answers what it ends.
pub fn may_withdraw<'a>(
    overlay: &'a Overlay,
    event: &EndorsementWithdrawal,
    at: Timestamp,
) -> Result<&'a EndorsementRow, NoEffect> {
    may_ask(overlay, event, at)?;
    let row = overlay.endorsements.find(event.original_offer_entry_id);
    let row = row.filter(|row| {
        row.endorser == event.endorser_fingerprint && row.endorsed == event.endorsed_fingerprint
    });
    let row = row.ok_or(NoEffect::UnknownOffer)?;
    if row.state_at(at).is_live() { Ok(row) } else { Err(NoEffect::EndorsementOver) }
}

pub(super) fn withdrawal(
    overlay: &mut Overlay,
    entry: &Entry,
    event: &EndorsementWithdrawal,
) -> Result<(), NoEffect> {
    let row = may_withdraw(overlay, event, entry.leaf.timestamp())?.clone();
    end(overlay, entry, row, EndorsementEnding::Withdrawn);
    let pair = (event.endorser_fingerprint, event.endorsed_fingerprint);
    let alert = overlay.alerts.find(&pair).filter(|alert| alert.withdrawn_by.is_none()).cloned();
    if let Some(alert) = alert {
        overlay.alerts.put(AlertRow { withdrawn_by: Some(entry.leaf.id()), ..alert });
    }
    asked(overlay, entry, event);
    refer(overlay, entry, event.endorsed_fingerprint);
    Ok(())
}

pub(super) fn needs_of_revocation(event: &EndorsementAcceptanceRevocation, needs: &mut Needs) {
    needs.key(event.endorsed_fingerprint);
    needs.offers.insert(event.original_offer_entry_id);
}

/// Whether this has an effect in an entry of this time; answers what it ends.
pub fn may_revoke_acceptance<'a>(
    overlay: &'a Overlay,
    event: &EndorsementAcceptanceRevocation,
    at: Timestamp,
) -> Result<&'a EndorsementRow, NoEffect> {
    may_ask(overlay, event, at)?;
    let row = overlay.endorsements.find(event.original_offer_entry_id);
    let row = row.filter(|row| row.endorsed == event.endorsed_fingerprint);
    let row = row.ok_or(NoEffect::UnknownOffer)?;
    match row.state_at(at) {
        EndorsementState::Accepted | EndorsementState::Active => Ok(row),
        EndorsementState::Offered => Err(NoEffect::NotAccepted),
        _ => Err(NoEffect::EndorsementOver),
    }
}

pub(super) fn acceptance_revocation(
    overlay: &mut Overlay,
    entry: &Entry,
    event: &EndorsementAcceptanceRevocation,
) -> Result<(), NoEffect> {
    let row = may_revoke_acceptance(overlay, event, entry.leaf.timestamp())?.clone();
    let endorser = row.endorser;
    end(overlay, entry, row, EndorsementEnding::AcceptanceRevoked);
    asked(overlay, entry, event);
    refer(overlay, entry, endorser);
    Ok(())
}

pub(super) fn needs_of_alert(event: &EndorsementRevocationAlert, needs: &mut Needs) {
    let pair = (event.endorser_fingerprint, event.compromised_fingerprint);
    needs.key(event.endorser_fingerprint);
    needs.keys.insert(event.compromised_fingerprint);
    needs.pairs.insert(pair);
    needs.alerts.insert(pair);
}

/// Whether this alert has an effect in an entry of this time.
pub fn may_alert(
    overlay: &Overlay,
    event: &EndorsementRevocationAlert,
    at: Timestamp,
) -> Result<(), NoEffect> {
    may_ask(overlay, event, at)?;
    let pair = (event.endorser_fingerprint, event.compromised_fingerprint);
    overlay.keys.find(&pair.1).ok_or(NoEffect::UnknownKey)?;
    if overlay.alerts.find(&pair).is_some_and(|alert| alert.withdrawn_by.is_none()) {
        return Err(NoEffect::AlreadyAlerted);
    }
    let since = at.plus_millis(-ALERT_MILLIS);
    if overlay.endorsements.of_pair(pair).any(|row| row.was_active_within(since, at)) {
        Ok(())
    } else {
        Err(NoEffect::NotItsEndorser)
    }
}

pub(super) fn alert(
    overlay: &mut Overlay,
    entry: &Entry,
    event: &EndorsementRevocationAlert,
) -> Result<(), NoEffect> {
    may_alert(overlay, event, entry.leaf.timestamp())?;
    overlay.alerts.put(AlertRow {
        endorser: event.endorser_fingerprint,
        compromised: event.compromised_fingerprint,
        entry_id: entry.leaf.id(),
        at: entry.leaf.timestamp(),
        withdrawn_by: None,
    });
    asked(overlay, entry, event);
    refer(overlay, entry, event.compromised_fingerprint);
    Ok(())
}

/// What a key gives and has accepted ends with it.
pub(super) fn void(overlay: &mut Overlay, key: Fingerprint, entry: &Entry) {
    for row in unended(overlay, key) {
        end(overlay, entry, row, EndorsementEnding::Void);
    }
}

/// Frees a key of what somebody else had, who named it the successor without its holder.
pub(super) fn disown(overlay: &mut Overlay, key: Fingerprint, entry: &Entry) {
    void(overlay, key, entry);
    for alert in alerts_about(overlay, key) {
        overlay.alerts.put(AlertRow { withdrawn_by: Some(entry.leaf.id()), ..alert });
    }
}

/// The alerts by and of a key that stand.
fn alerts_about(overlay: &Overlay, key: Fingerprint) -> Vec<AlertRow> {
    let is_of = |row: &&AlertRow| {
        row.withdrawn_by.is_none() && (row.endorser == key || row.compromised == key)
    };
    overlay.alerts.rows().filter(is_of).cloned().collect()
}

/// What a key gives and has accepted passes to its successor, and so do the warnings by and of it.
/// What is expired stays where it is, and what the two gave each other ends.
pub(super) fn hand_over(overlay: &mut Overlay, old: Fingerprint, new: Fingerprint, entry: &Entry) {
    write_down_expiry(overlay, old, entry);
    let renamed = |key| if key == old { new } else { key };
    for row in unended(overlay, old) {
        let (endorser, endorsed) = (renamed(row.endorser), renamed(row.endorsed));
        if endorser == endorsed {
            end(overlay, entry, row, EndorsementEnding::Void);
        } else {
            overlay.endorsements.put(EndorsementRow { endorser, endorsed, ..row });
        }
    }
    for alert in alerts_about(overlay, old) {
        let (endorser, compromised) = (renamed(alert.endorser), renamed(alert.compromised));
        overlay.alerts.put(AlertRow { withdrawn_by: Some(entry.leaf.id()), ..alert.clone() });
        let known = overlay.alerts.find(&(endorser, compromised));
        let is_newer = known
            .is_none_or(|known| known.withdrawn_by.is_some() || known.entry_id < alert.entry_id);
        if endorser != compromised && is_newer {
            overlay.alerts.put(AlertRow { endorser, compromised, ..alert });
        }
    }
}

/// The endorsements of a key that no entry has ended, but for offers that it never answered: of
/// those anybody can make as many as they like.
fn unended(overlay: &Overlay, key: Fingerprint) -> Vec<EndorsementRow> {
    let is_its = |row: &&EndorsementRow| {
        row.ended.is_none() && (row.endorser == key || row.accepted.is_some())
    };
    overlay.endorsements.of(key).filter(is_its).cloned().collect()
}

/// Ends an endorsement, or writes down that its time had passed.
fn end(overlay: &mut Overlay, entry: &Entry, row: EndorsementRow, how: EndorsementEnding) {
    let now = entry.leaf.timestamp();
    let (how, at) = match row.valid_until {
        Some(until) if until <= now => (EndorsementEnding::Expired, until),
        _ => (how, now),
    };
    let ended = Some(EndorsementEnd { how, entry_id: entry.leaf.id(), at });
    overlay.endorsements.put(EndorsementRow { ended, ..row });
}

/// Writes down which endorsements of a key are expired, so that they need not be loaded again.
fn write_down_expiry(overlay: &mut Overlay, key: Fingerprint, entry: &Entry) {
    let now = entry.leaf.timestamp();
    for row in unended(overlay, key) {
        if row.state_at(now) == EndorsementState::Expired {
            end(overlay, entry, row, EndorsementEnding::Expired);
        }
    }
}

#[cfg(test)]
mod tests;
