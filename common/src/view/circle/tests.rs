use super::super::Effect;
use super::super::testing::{Log, acceptance_of, key, offer_by, withdrawal_of};
use super::*;
use crate::event::EndorsementOffer;
use crate::keys::SigningKey;

impl Log {
    fn circle(&self, of: &SigningKey) -> Circle<'_> {
        Circle::of(&self.overlay, of.fingerprint(), self.now())
    }

    fn level_of(&self, key: &SigningKey) -> Option<u8> {
        self.circle(key).level().map(Level::get)
    }

    /// Somebody whom the operator endorses.
    fn people_of_standing<const N: usize>(&mut self, first: u8) -> [SigningKey; N] {
        let people = self.holders(first);
        for holder in &people {
            assert_eq!(self.endorse(holder, Category::HumanAttestation), Effect::Applied);
        }
        people
    }
}

#[test]
fn a_level_is_one_more_than_the_endorsers_and_ends_after_four() {
    let mut log = Log::new();
    let [first] = log.people_of_standing(2);
    let [b, c, d, e] = log.holders(3);
    for (by, of) in [(&first, &b), (&b, &c), (&c, &d), (&d, &e)] {
        log.endorsed(by, of);
    }

    assert_eq!(log.level_of(&log.operator.clone()), Some(0));
    assert_eq!(
        [&first, &b, &c, &d, &e].map(|key| log.level_of(key)),
        [Some(1), Some(2), Some(3), Some(4), None]
    );
    assert_eq!(log.circle(&e).capacity(), 7, "its endorser has standing, so it counts");
    log.endorsed(&first, &d);
    assert_eq!(log.level_of(&d), Some(2), "the lowest counts");
    assert_eq!(log.level_of(&e), None, "and what was written before stays");
}

#[test]
fn a_level_ends_with_the_last_endorsement_that_gives_it() {
    let mut log = Log::new();
    let [first] = log.people_of_standing(2);
    let [bob] = log.holders(3);
    let until = log.now().plus_millis(1_000);
    log.write(&EndorsementOffer { valid_until: Some(until), ..offer_by(&first, &bob) });
    let acceptance = acceptance_of(log.newest(), &first, &bob);
    let active_from = until.plus_millis(-2);
    log.write(&crate::event::EndorsementAcceptance { active_from, ..acceptance });

    let level_at = |at| Circle::of(&log.overlay, bob.fingerprint(), at).level().map(Level::get);

    assert_eq!(level_at(active_from.plus_millis(-1)), None, "it does not count yet");
    assert_eq!(level_at(active_from), Some(2));
    assert_eq!(level_at(until.plus_millis(-1)), Some(2));
    assert_eq!(level_at(until), None);
}

#[test]
fn capacity_grows_by_endorsers_of_standing_whom_one_does_not_endorse() {
    let mut log = Log::new();
    let [a, b, c] = log.people_of_standing(2);
    let [alice, fresh] = log.holders(6);
    assert_eq!(log.circle(&alice).capacity(), 5);

    log.endorsed(&fresh, &alice);
    assert_eq!(log.circle(&alice).capacity(), 5, "a fresh key can't mint it");
    let first = log.endorsed(&a, &alice);
    let twice =
        EndorsementOffer { category: Category::InstitutionalEndorsement, ..offer_by(&a, &alice) };
    log.write(&twice);
    log.write(&acceptance_of(log.newest(), &a, &alice));
    log.endorsed(&b, &alice);
    log.endorsed(&c, &alice);
    assert_eq!(log.circle(&alice).capacity(), 11, "each endorser counts once");
    let back = log.offered(&alice, &b);
    assert_eq!(log.circle(&alice).capacity(), 9, "not one that it endorses itself");
    log.write(&withdrawal_of(back, &alice, &b));
    assert_eq!(log.circle(&alice).capacity(), 11);
    log.write(&log.revocation(&c));
    log.write(&withdrawal_of(first, &a, &alice));
    assert_eq!(log.circle(&alice).capacity(), 9, "the other category of the first still stands");
    log.endorse(&alice, Category::HumanAttestation);
    assert_eq!(log.circle(&alice).capacity(), 11, "the operator is an endorser too");
}

#[test]
fn whoever_gave_more_than_they_may_now_offers_nothing_but_keeps_what_stands() {
    let mut log = Log::new();
    let [first] = log.people_of_standing(2);
    let [alice] = log.holders(3);
    let support = log.endorsed(&first, &alice);
    let others: [SigningKey; 7] = log.holders(10);
    let [next] = log.holders(20);
    for of in &others {
        log.offered(&alice, of);
    }
    let newest = log.newest();
    log.write(&withdrawal_of(support, &first, &alice));

    assert_eq!((log.circle(&alice).capacity(), log.circle(&alice).given().count()), (5, 7));
    let refused = Effect::None(super::super::NoEffect::CapacityExceeded);
    assert_eq!(log.write(&offer_by(&alice, &next)), refused);
    for (offer, of) in [(newest, &others[6]), (newest - 1, &others[5])] {
        log.write(&withdrawal_of(offer, &alice, of));
    }
    assert_eq!(log.write(&offer_by(&alice, &next)), refused, "five stand");
    log.write(&withdrawal_of(newest - 2, &alice, &others[4]));
    assert_eq!(log.write(&offer_by(&alice, &next)), Effect::Applied);
}

#[test]
fn an_institution_that_the_operator_endorses_gives_a_thousand() {
    let mut log = Log::new();
    let [alice] = log.holders(2);
    let endorsement = log.newest() + 1;
    log.endorse(&alice, Category::InstitutionalEndorsement);
    assert_eq!((log.circle(&alice).capacity(), log.level_of(&alice)), (1_000, Some(1)));

    log.revoke(&alice, Category::InstitutionalEndorsement, endorsement);

    assert_eq!((log.circle(&alice).capacity(), log.level_of(&alice)), (5, None));
}

#[test]
fn a_successor_holds_nothing_until_it_showed_to_have_its_key() {
    let mut log = Log::new();
    let [a, b] = log.people_of_standing(2);
    let [alice, carol] = log.holders(5);
    log.endorsed(&a, &alice);
    log.endorsed(&b, &alice);
    let new = key(9);
    log.write(&log.succession(&alice, &new, false));

    assert_eq!((log.level_of(&new), log.circle(&new).capacity()), (None, 5));
    let offer = log.endorsed(&new, &carol);
    let accepted = log.overlay.endorsements.find(offer).and_then(|row| row.accepted);
    assert_eq!(accepted.map(|of| of.level), Some(None), "a session shows nothing");

    let request = serde_json::json!({
        "endorser_fingerprint": new.fingerprint(), "endorsed_fingerprint": carol.fingerprint(),
        "original_offer_entry_id": offer, "note": "we parted",
    });
    let authorization = log.signed(&new, crate::event::authorization::Action::Withdraw, request);
    let withdrawal = withdrawal_of(offer, &new, &carol);
    let signed = crate::event::EndorsementWithdrawal { authorization, ..withdrawal };
    assert_eq!(log.write(&signed), Effect::Applied);
    assert_eq!((log.level_of(&new), log.circle(&new).capacity()), (Some(2), 9));
    assert_eq!(log.level_of(&alice), None);
}
