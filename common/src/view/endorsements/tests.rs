use super::super::testing::{
    Log, acceptance_of, alert_by, key, offer_by, rejection_of, withdrawal_of,
};
use super::super::trust_rows::TrustConfigRow;
use super::super::{Acceptance, Effect};
use super::*;
use crate::event::authorization::Action;
use crate::event::{Authorization, KeyRegistration};
use crate::keys::SigningKey;
use crate::statement::Category;
use crate::trust::Level;

const DAY: i64 = 24 * 60 * 60 * 1_000;

fn none(reason: NoEffect) -> Effect {
    Effect::None(reason)
}

impl Log {
    fn edge(&self, offer: u64) -> &EndorsementRow {
        self.overlay.endorsements.find(offer).expect("an endorsement")
    }

    /// The state that the next entry meets.
    fn meets(&self, offer: u64) -> EndorsementState {
        self.edge(offer).state_at(self.time(self.newest() + 1))
    }

    fn ends(&self, offer: u64) -> Option<(EndorsementEnding, u64, Timestamp)> {
        self.edge(offer).ended.map(|end| (end.how, end.entry_id, end.at))
    }

    fn warned(&self, by: &SigningKey, of: &SigningKey) -> bool {
        let alert = self.overlay.alerts.find(&(by.fingerprint(), of.fingerprint()));
        alert.is_some_and(|alert| alert.withdrawn_by.is_none())
    }

    /// Gives way to a key that proves itself.
    fn succeeded(&mut self, old: &SigningKey, new: &SigningKey) {
        assert_eq!(self.write(&self.succession(old, new, true)), Effect::Applied);
    }

    /// One that is expired from this instant on.
    fn holder_until(&mut self, n: u8, end: Timestamp) -> SigningKey {
        let holder = key(n);
        let event = KeyRegistration { expiration_date: Some(end), ..self.expiring(&holder, 0) };
        assert_eq!(self.write(&event), Effect::Applied);
        holder
    }
}

#[test]
fn an_endorsement_counts_from_the_instant_in_its_acceptance() {
    let mut log = Log::new();
    let [alice, bob] = log.holders(2);
    let offer = log.offered(&alice, &bob);
    assert_eq!(log.meets(offer), EndorsementState::Offered);
    let active_from = log.now().plus_millis(3 * DAY);
    let acceptance = acceptance_of(offer, &alice, &bob);

    let written = log.write(&EndorsementAcceptance { active_from, ..acceptance });

    assert_eq!(written, Effect::Applied);
    let (accepted, at) = (log.newest(), log.now());
    log.wait_for(active_from.plus_millis(-1));
    assert_eq!(log.meets(offer), EndorsementState::Accepted);
    log.wait_for(active_from);
    assert_eq!(log.meets(offer), EndorsementState::Active);
    let expected = Acceptance { entry_id: accepted, at, active_from, level: None };
    assert_eq!(log.edge(offer).accepted, Some(expected));
    assert!(log.edge(offer).leader_asserted, "both asked for it in sessions");
}

#[test]
fn no_endorsement_counts_before_it_is_accepted() {
    let mut log = Log::new();
    let [alice, bob] = log.holders(2);
    let offer = log.offered(&alice, &bob);
    let active_from = log.time(0).plus_millis(-DAY);
    let acceptance = acceptance_of(offer, &alice, &bob);

    log.write(&EndorsementAcceptance { active_from, ..acceptance });

    assert_eq!(log.edge(offer).accepted.map(|of| of.active_from), Some(log.now()));
}

#[test]
fn only_active_people_offer_and_only_to_active_people() {
    let mut log = Log::new();
    let [alice, gone] = log.holders(2);
    let (stranger, operator) = (key(9), log.operator.clone());
    let end = log.now().plus_millis(DAY);
    let expiring = log.holder_until(8, end);
    log.write(&log.revocation(&gone));
    let tried = |log: &mut Log, by, of| log.write(&offer_by(by, of));

    assert_eq!(tried(&mut log, &stranger, &alice), none(NoEffect::UnknownKey));
    assert_eq!(tried(&mut log, &alice, &stranger), none(NoEffect::UnknownKey));
    assert_eq!(tried(&mut log, &gone, &alice), none(NoEffect::KeyNotActive));
    assert_eq!(tried(&mut log, &alice, &gone), none(NoEffect::KeyNotActive));
    assert_eq!(tried(&mut log, &operator, &alice), none(NoEffect::KeyHasOtherRole));
    assert_eq!(tried(&mut log, &alice, &operator), none(NoEffect::KeyHasOtherRole));
    log.wait_for(end.plus_millis(-1));
    assert_eq!(tried(&mut log, &alice, &expiring), Effect::Applied);
    assert_eq!(tried(&mut log, &expiring, &alice), none(NoEffect::KeyNotActive));
    log.write(&withdrawal_of(log.newest() - 1, &alice, &expiring));
    assert_eq!(tried(&mut log, &alice, &expiring), none(NoEffect::KeyNotActive));
}

#[test]
fn an_authorization_counts_as_for_keys() {
    let mut log = Log::new();
    let [alice, bob] = log.holders(2);
    log.register(&key(7), true);
    let request = serde_json::json!({
        "endorser_fingerprint": alice.fingerprint(), "endorsed_fingerprint": bob.fingerprint(),
        "category": "human_attestation",
    });
    let authorization = log.signed(&alice, Action::Offer, request);
    let signed = EndorsementOffer { authorization, ..offer_by(&alice, &bob) };
    let bare = |offer| EndorsementOffer { authorization: Authorization::Legacy {}, ..offer };

    let proven = bare(offer_by(&key(7), &bob));
    assert_eq!(log.write(&proven), none(NoEffect::LegacyRefused));
    assert_eq!(log.write(&bare(offer_by(&alice, &bob))), Effect::Applied);
    let first = log.newest();
    log.write(&withdrawal_of(first, &alice, &bob));
    assert_eq!(log.write(&signed), Effect::Applied);
    assert!(!log.edge(log.newest()).leader_asserted && log.edge(first).leader_asserted);
    log.write(&withdrawal_of(log.newest(), &alice, &bob));
    let again = bare(offer_by(&alice, &bob));
    assert_eq!(log.write(&again), none(NoEffect::LegacyRefused), "it signed better before");
    log.passed += 5 * 60_000;
    assert_eq!(log.write(&signed), none(NoEffect::ChallengeExpired));
}

#[test]
fn an_offer_lasts_until_the_very_instant_of_its_end() {
    let mut log = Log::new();
    let [alice, bob, carol] = log.holders(3);
    let until = log.now().plus_millis(DAY);
    let ending = |of| EndorsementOffer { valid_until: Some(until), ..offer_by(&alice, of) };
    log.write(&ending(&bob));
    let offer = log.newest();

    log.wait_for(until.plus_millis(-1));
    assert_eq!(log.meets(offer), EndorsementState::Offered);
    assert_eq!(log.write(&ending(&carol)), Effect::Applied);
    let late = log.newest();
    assert_eq!(log.write(&acceptance_of(late, &alice, &carol)), none(NoEffect::OfferNotOpen));
    assert_eq!(log.write(&acceptance_of(offer, &alice, &bob)), none(NoEffect::OfferNotOpen));
    assert_eq!(log.write(&ending(&bob)), none(NoEffect::AlreadyExpired));
    assert_eq!(log.ends(offer), None, "nothing that had an effect looked at it since");

    let anew = log.offered(&alice, &bob);

    assert_eq!(log.ends(offer), Some((EndorsementEnding::Expired, anew, until)));
    assert_eq!(log.ends(late), Some((EndorsementEnding::Expired, anew, until)));
}

#[test]
fn an_acceptance_writes_down_what_the_endorsed_key_held_until_then() {
    let mut log = Log::new();
    let [alice, bob, carol] = log.holders(3);
    let until = log.now().plus_millis(DAY);
    log.write(&EndorsementOffer { valid_until: Some(until), ..offer_by(&alice, &bob) });
    let old = log.newest();
    log.write(&acceptance_of(old, &alice, &bob));
    let new = log.offered(&carol, &bob);
    log.wait_for(until);

    log.write(&acceptance_of(new, &carol, &bob));

    assert_eq!(log.ends(old), Some((EndorsementEnding::Expired, log.newest(), until)));
    assert_eq!(log.ends(new), None);
}

#[test]
fn a_key_endorses_another_once_in_each_category() {
    let mut log = Log::new();
    let [alice, bob] = log.holders(2);
    let offer = log.offered(&alice, &bob);
    let again = offer_by(&alice, &bob);
    let other =
        EndorsementOffer { category: Category::InstitutionalEndorsement, ..offer_by(&alice, &bob) };

    assert_eq!(log.write(&again), none(NoEffect::AlreadyEndorsed));
    assert_eq!(log.write(&other), Effect::Applied);
    assert_eq!(log.write(&offer_by(&bob, &alice)), Effect::Applied);
    log.write(&acceptance_of(offer, &alice, &bob));
    assert_eq!(log.write(&again), none(NoEffect::AlreadyEndorsed));
    log.write(&rejection_of(offer, &bob));
    assert_eq!(log.write(&again), Effect::Applied);
}

#[test]
fn whoever_gave_all_they_may_offers_again_after_a_withdrawal() {
    let mut log = Log::new();
    let [alice, next] = log.holders(7);
    let others: [SigningKey; 5] = log.holders(10);
    for of in &others {
        log.offered(&alice, of);
    }

    assert_eq!(log.write(&offer_by(&alice, &next)), none(NoEffect::CapacityExceeded));
    let newest_offer = log.newest() - 1;
    assert_eq!(log.write(&withdrawal_of(newest_offer, &alice, &others[4])), Effect::Applied);
    assert_eq!(log.write(&offer_by(&alice, &next)), Effect::Applied);
    let sixth = offer_by(&alice, &others[4]);
    assert_eq!(log.write(&sixth), none(NoEffect::CapacityExceeded));
}

#[test]
fn only_the_endorsed_key_accepts_and_only_once() {
    let mut log = Log::new();
    let [alice, bob, carol] = log.holders(3);
    let offer = log.offered(&alice, &bob);
    let withdrawn = log.offered(&alice, &carol);
    log.write(&withdrawal_of(withdrawn, &alice, &carol));
    let stranger = key(9);
    let accepted = |log: &mut Log, offer, by, of| log.write(&acceptance_of(offer, by, of));

    assert_eq!(accepted(&mut log, offer, &alice, &stranger), none(NoEffect::UnknownKey));
    assert_eq!(accepted(&mut log, offer + 90, &alice, &bob), none(NoEffect::UnknownOffer));
    assert_eq!(accepted(&mut log, offer, &alice, &carol), none(NoEffect::UnknownOffer));
    assert_eq!(accepted(&mut log, offer, &carol, &bob), none(NoEffect::UnknownOffer));
    assert_eq!(accepted(&mut log, withdrawn, &alice, &carol), none(NoEffect::OfferNotOpen));
    assert_eq!(accepted(&mut log, offer, &alice, &bob), Effect::Applied);
    assert_eq!(accepted(&mut log, offer, &alice, &bob), none(NoEffect::OfferNotOpen));
}

#[test]
fn the_offer_of_a_key_that_is_over_is_not_accepted() {
    let mut log = Log::new();
    let [bob, carol] = log.holders(3);
    let end = log.now().plus_millis(DAY);
    let expiring = log.holder_until(8, end);
    let (by_expiring, by_carol) = (log.offered(&expiring, &bob), log.offered(&carol, &bob));
    log.write(&log.revocation(&carol));

    let void = log.write(&acceptance_of(by_carol, &carol, &bob));
    log.wait_for(end);
    let expired = log.write(&acceptance_of(by_expiring, &expiring, &bob));

    assert_eq!(void, none(NoEffect::OfferNotOpen));
    assert_eq!(expired, none(NoEffect::KeyNotActive));
}

#[test]
fn a_key_holds_a_thousand_accepted_endorsements_and_no_more() {
    let mut log = Log::new();
    let [alice, bob, carol] = log.holders(3);
    let offer = log.offered(&alice, &bob);
    let held = log.endorsed(&carol, &bob);
    for more in 1..MAX_RECEIVED as u64 {
        let row = EndorsementRow { offer_id: 10_000 + more, ..log.edge(held).clone() };
        log.overlay.endorsements.put(row);
    }

    let refused = log.write(&acceptance_of(offer, &alice, &bob));
    log.write(&rejection_of(held, &bob));

    assert_eq!(refused, none(NoEffect::EndorsementLimit));
    assert_eq!(log.write(&acceptance_of(offer, &alice, &bob)), Effect::Applied);
}

#[test]
fn the_endorser_withdraws_from_every_state_that_is_not_the_end() {
    let mut log = Log::new();
    let [alice, bob, carol, dave] = log.holders(4);
    let (offered, active) = (log.offered(&alice, &bob), log.endorsed(&alice, &carol));
    let accepted = log.offered(&alice, &dave);
    let active_from = log.now().plus_millis(DAY);
    let acceptance = acceptance_of(accepted, &alice, &dave);
    log.write(&EndorsementAcceptance { active_from, ..acceptance });

    for (offer, of) in [(offered, &bob), (accepted, &dave), (active, &carol)] {
        let by_another = withdrawal_of(offer, &carol, of);
        assert_eq!(log.write(&by_another), none(NoEffect::UnknownOffer));
        assert_eq!(log.write(&withdrawal_of(offer, &alice, of)), Effect::Applied);
        let (how, at) = (EndorsementEnding::Withdrawn, log.now());
        assert_eq!(log.ends(offer), Some((how, log.newest(), at)));
        let again = withdrawal_of(offer, &alice, of);
        assert_eq!(log.write(&again), none(NoEffect::EndorsementOver));
    }
    let elsewhere = withdrawal_of(active, &alice, &bob);
    assert_eq!(log.write(&elsewhere), none(NoEffect::UnknownOffer));
}

#[test]
fn the_endorsed_key_takes_back_what_it_accepted() {
    let mut log = Log::new();
    let [alice, bob] = log.holders(2);
    let offer = log.offered(&alice, &bob);

    assert_eq!(log.write(&rejection_of(offer, &bob)), none(NoEffect::NotAccepted));
    log.write(&acceptance_of(offer, &alice, &bob));
    assert_eq!(log.write(&rejection_of(offer, &alice)), none(NoEffect::UnknownOffer));
    assert_eq!(log.write(&rejection_of(offer, &bob)), Effect::Applied);
    let (how, at) = (EndorsementEnding::AcceptanceRevoked, log.now());
    assert_eq!(log.ends(offer), Some((how, log.newest(), at)));
    assert_eq!(log.write(&rejection_of(offer, &bob)), none(NoEffect::EndorsementOver));
}

#[test]
fn an_endorser_warns_once_until_it_withdraws() {
    let mut log = Log::new();
    let [alice, bob] = log.holders(2);
    let offer = log.offered(&alice, &bob);
    let active_from = log.now().plus_millis(DAY);

    let alert = alert_by(&alice, &bob);
    assert_eq!(log.write(&alert_by(&alice, &key(9))), none(NoEffect::UnknownKey));
    assert_eq!(log.write(&alert), none(NoEffect::NotItsEndorser), "it is only offered");
    let acceptance = acceptance_of(offer, &alice, &bob);
    log.write(&EndorsementAcceptance { active_from, ..acceptance });
    log.wait_for(active_from.plus_millis(-1));
    assert_eq!(log.write(&alert), none(NoEffect::NotItsEndorser), "it does not count yet");
    assert_eq!(log.write(&alert), Effect::Applied);
    let at = log.now();
    assert_eq!(log.write(&alert_by(&bob, &alice)), none(NoEffect::NotItsEndorser));
    assert_eq!(log.write(&alert), none(NoEffect::AlreadyAlerted));
    let pair = (alice.fingerprint(), bob.fingerprint());
    assert_eq!(log.overlay.alerts.find(&pair).map(|row| row.at), Some(at));

    log.write(&withdrawal_of(offer, &alice, &bob));
    assert!(!log.warned(&alice, &bob));
    assert_eq!(log.write(&alert), Effect::Applied, "it endorsed the key just now");
    assert!(log.warned(&alice, &bob));
}

#[test]
fn an_endorser_warns_until_thirty_days_after_the_end_and_of_revoked_keys_too() {
    let mut log = Log::new();
    let [alice, bob, carol] = log.holders(3);
    let offers = [&alice, &carol].map(|by| log.endorsed(by, &bob));
    log.write(&log.revocation(&bob));
    let end = log.now();
    assert_eq!(offers.map(|offer| log.ends(offer).map(|end| end.2)), [Some(end); 2]);

    log.wait_for(end.plus_millis(30 * DAY - 1));
    assert_eq!(log.write(&alert_by(&alice, &bob)), Effect::Applied);
    assert_eq!(log.now(), end.plus_millis(30 * DAY - 1));
    assert_eq!(log.write(&alert_by(&carol, &bob)), none(NoEffect::NotItsEndorser));
}

#[test]
fn both_sides_of_endorsements_pass_to_the_successor() {
    let mut log = Log::new();
    let [alice, bob, carol] = log.holders(3);
    let new = key(9);
    let (given, received) = (log.endorsed(&alice, &bob), log.endorsed(&carol, &alice));
    let (offered, over) = (log.offered(&alice, &carol), log.endorsed(&bob, &alice));
    log.write(&rejection_of(over, &alice));

    log.succeeded(&alice, &new);

    let ends = |log: &Log, offer| (log.edge(offer).endorser, log.edge(offer).endorsed);
    assert_eq!(ends(&log, given), (new.fingerprint(), bob.fingerprint()));
    assert_eq!(ends(&log, received), (carol.fingerprint(), new.fingerprint()));
    assert_eq!(ends(&log, offered), (new.fingerprint(), carol.fingerprint()));
    assert_eq!(ends(&log, over), (bob.fingerprint(), alice.fingerprint()), "what is over stays");
    assert_eq!(log.meets(given), EndorsementState::Active);
    let as_before = acceptance_of(offered, &alice, &carol);
    assert_eq!(log.write(&as_before), none(NoEffect::UnknownOffer));
    assert_eq!(log.write(&acceptance_of(offered, &new, &carol)), Effect::Applied);
    assert_eq!(log.write(&withdrawal_of(given, &new, &bob)), Effect::Applied);
    assert_eq!(log.write(&rejection_of(received, &new)), Effect::Applied);
}

#[test]
fn who_registers_with_proof_owes_nothing_to_whoever_named_the_key_a_successor() {
    let mut log = Log::new();
    let [mallory, sock, friend] = log.holders(2);
    let victim = key(8);
    let given = log.endorsed(&mallory, &sock);
    log.endorsed(&friend, &mallory);
    log.write(&alert_by(&friend, &mallory));
    assert_eq!(log.write(&log.succession(&mallory, &victim, false)), Effect::Applied);
    assert_eq!(log.edge(given).endorser, victim.fingerprint());

    assert_eq!(log.register(&victim, true), Effect::Applied);

    assert_eq!(log.meets(given), EndorsementState::Void);
    assert!(!log.warned(&friend, &victim));
    assert_eq!(log.row(&victim).succeeds, None);
}

#[test]
fn what_is_expired_does_not_pass_to_the_successor() {
    let mut log = Log::new();
    let [alice, bob] = log.holders(2);
    let (until, new) = (log.now().plus_millis(DAY), key(9));
    log.write(&EndorsementOffer { valid_until: Some(until), ..offer_by(&alice, &bob) });
    let offer = log.newest();
    log.write(&acceptance_of(offer, &alice, &bob));
    log.wait_for(until);

    log.succeeded(&alice, &new);

    assert_eq!(log.edge(offer).endorser, alice.fingerprint());
    assert_eq!(log.ends(offer), Some((EndorsementEnding::Expired, log.newest(), until)));
}

#[test]
fn offers_that_a_key_never_answered_do_not_pass_on() {
    let mut log = Log::new();
    let [alice, bob] = log.holders(2);
    let new = key(9);
    let offer = log.offered(&alice, &bob);

    log.succeeded(&bob, &new);

    assert_eq!(log.write(&acceptance_of(offer, &alice, &new)), none(NoEffect::UnknownOffer));
    assert_eq!(log.write(&acceptance_of(offer, &alice, &bob)), none(NoEffect::KeyNotActive));
    assert_eq!(log.write(&withdrawal_of(offer, &alice, &bob)), Effect::Applied);
}

#[test]
fn nobody_endorses_themselves_by_succession() {
    let mut log = Log::new();
    let [alice, bob] = log.holders(2);
    let there = log.endorsed(&alice, &bob);
    let back = log.endorsed(&bob, &alice);
    log.write(&alert_by(&alice, &bob));

    log.succeeded(&alice, &bob);

    for offer in [there, back] {
        assert_eq!(log.meets(offer), EndorsementState::Void);
        assert_ne!(log.edge(offer).endorser, log.edge(offer).endorsed, "who they were is told");
    }
    assert!(!log.warned(&alice, &bob) && !log.warned(&bob, &bob));
}

#[test]
fn alerts_by_and_of_a_key_pass_to_its_successor() {
    let mut log = Log::new();
    let [alice, bob, carol] = log.holders(3);
    let new = key(9);
    let of_alice = log.endorsed(&bob, &alice);
    log.endorsed(&alice, &carol);
    log.write(&alert_by(&bob, &alice));
    log.write(&alert_by(&alice, &carol));

    log.succeeded(&alice, &new);

    assert!(log.warned(&bob, &new) && !log.warned(&bob, &alice));
    assert!(log.warned(&new, &carol) && !log.warned(&alice, &carol));
    assert_eq!(log.write(&withdrawal_of(of_alice, &bob, &new)), Effect::Applied);
    assert!(!log.warned(&bob, &new));
}

#[test]
fn of_two_alerts_about_one_key_the_newer_one_is_kept() {
    let mut log = Log::new();
    let [alice, new, carol] = log.holders(3);
    log.endorsed(&alice, &carol);
    log.endorsed(&new, &carol);
    log.write(&alert_by(&alice, &carol));
    log.write(&alert_by(&new, &carol));
    let newer = log.newest();

    log.succeeded(&alice, &new);

    let pair = (new.fingerprint(), carol.fingerprint());
    assert_eq!(log.overlay.alerts.find(&pair).map(|row| row.entry_id), Some(newer));
    assert!(log.warned(&new, &carol) && !log.warned(&alice, &carol));
}

#[test]
fn what_a_revoked_key_gave_and_accepted_is_void() {
    let mut log = Log::new();
    let [alice, bob, carol] = log.holders(3);
    let until = log.now().plus_millis(DAY);
    let (given, received) = (log.endorsed(&alice, &bob), log.endorsed(&carol, &alice));
    let offered = log.offered(&alice, &carol);
    let unanswered = log.offered(&bob, &alice);
    log.write(&EndorsementOffer { valid_until: Some(until), ..offer_by(&carol, &bob) });
    let other = log.newest();
    let short = EndorsementOffer { valid_until: Some(until), ..offer_by(&alice, &key(9)) };
    log.register(&key(9), false);
    log.write(&short);
    let expired = log.newest();
    log.wait_for(until);

    log.write(&log.revocation(&alice));

    let void = Some((EndorsementEnding::Void, log.newest(), log.now()));
    assert_eq!([given, received, offered].map(|offer| log.ends(offer)), [void; 3]);
    assert_eq!(log.ends(expired), Some((EndorsementEnding::Expired, log.newest(), until)));
    assert_eq!([unanswered, other].map(|offer| log.ends(offer)), [None; 2]);
}

#[test]
fn the_level_of_the_endorser_is_written_down_when_its_endorsement_is_accepted() {
    let mut log = Log::new();
    let [alice, bob, carol] = log.holders(3);
    let level = |log: &Log, offer| log.edge(offer).accepted.expect("an acceptance").level;
    let early = log.endorsed(&alice, &carol);
    let endorsement = log.newest() + 1;
    assert_eq!(log.endorse(&alice, Category::HumanAttestation), Effect::Applied);

    let late = log.endorsed(&alice, &bob);
    log.revoke(&alice, Category::HumanAttestation, endorsement);

    assert_eq!(level(&log, early), None, "the endorser had none then");
    assert_eq!(level(&log, late), Some(Level::ENDORSED_BY_OPERATOR));
    let at = log.now();
    let of = |key: &SigningKey| Circle::of(&log.overlay, key.fingerprint(), at).level();
    assert_eq!(
        [of(&alice), of(&bob), of(&carol)].map(|l| l.map(Level::get)),
        [None, Some(2), None]
    );
}

#[test]
fn the_policy_of_a_key_passes_to_a_successor_without_one() {
    let mut log = Log::new();
    let [alice, bob, carol, own] = log.holders(4);
    let policy = |key: &SigningKey, entry_id| TrustConfigRow {
        fingerprint: key.fingerprint(),
        entry_id,
        at: Timestamp::from_millis(entry_id.cast_signed()).expect("a time"),
        revoked_by: None,
    };
    for (key, entry) in [(&alice, 1), (&bob, 2), (&own, 3)] {
        log.overlay.trust_configs.put(policy(key, entry));
    }
    let new = key(9);

    log.succeeded(&alice, &new);
    log.succeeded(&bob, &own);
    log.succeeded(&carol, &key(10));

    let of =
        |log: &Log, key: &SigningKey| log.overlay.trust_configs.find(&key.fingerprint()).copied();
    assert_eq!(
        of(&log, &new),
        Some(TrustConfigRow { fingerprint: new.fingerprint(), ..policy(&alice, 1) })
    );
    assert_eq!(of(&log, &own), Some(policy(&own, 3)));
    assert!(
        [&alice, &bob].iter().all(|key| of(&log, key).is_some_and(|row| row.revoked_by.is_some()))
    );
    assert_eq!(of(&log, &key(10)), None);
}
