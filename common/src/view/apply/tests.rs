use super::super::testing::{Log, key};
use super::*;
use crate::event::OperatorEndorsement;
use crate::statement::Verb;

#[test]
fn a_registration_is_replaced_only_by_one_that_proves_more() {
    let (mut log, alice) = (Log::new(), key(2));

    assert_eq!(log.register(&alice, false), Effect::Applied);
    assert_eq!(log.register(&alice, false), Effect::None(NoEffect::KeyAlreadyRegistered));
    assert_eq!(log.register(&alice, true), Effect::Applied);
    assert_eq!(log.register(&alice, true), Effect::None(NoEffect::KeyAlreadyRegistered));

    let row = log.overlay.keys.find(&alice.fingerprint()).expect("a key");
    assert_eq!((row.entry_id, row.proven), (4, true));
    assert_eq!(log.overlay.without_effect.len(), 2);
}

#[test]
fn a_key_has_one_role_for_ever() {
    let (mut log, node) = (Log::new(), key(2));
    let other_role = Effect::None(NoEffect::KeyHasOtherRole);

    assert_eq!(log.endorse(&node, Category::Witness), Effect::Applied);
    assert_eq!(log.endorse(&node, Category::FederationOperator), other_role);
    assert_eq!(log.revoke(&node, Category::Witness, 2), Effect::Applied);
    assert_eq!(log.endorse(&node, Category::FederationOperator), other_role);
    assert_eq!(log.endorse(&node, Category::HumanAttestation), Effect::Applied);
    assert_eq!(log.endorse(&key(1), Category::Witness), other_role);
}

#[test]
fn an_endorsement_ends_once_and_may_begin_again() {
    let (mut log, node) = (Log::new(), key(2));

    assert_eq!(log.endorse(&node, Category::Witness), Effect::Applied);
    let again = log.endorse(&node, Category::Witness);
    assert_eq!(again, Effect::None(NoEffect::AlreadyEndorsed));
    let wrong_id = log.revoke(&node, Category::Witness, 3);
    assert_eq!(wrong_id, Effect::None(NoEffect::NotEndorsed));
    assert_eq!(log.revoke(&node, Category::Witness, 2), Effect::Applied);
    let twice = log.revoke(&node, Category::Witness, 2);
    assert_eq!(twice, Effect::None(NoEffect::NotEndorsed));
    assert_eq!(log.endorse(&node, Category::Witness), Effect::Applied);
    assert!(is_endorsed(&log.overlay, node.fingerprint(), Category::Witness));
}

#[test]
fn an_old_statement_of_the_operator_can_not_be_played_again() {
    let (mut log, node) = (Log::new(), key(2));
    let statement = log.statement(&node, Category::Witness, Verb::Endorse);
    let first = OperatorEndorsement::sign(statement, node.public().into(), &log.operator);

    assert_eq!(log.write(&first), Effect::Applied);
    assert_eq!(log.revoke(&node, Category::Witness, 2), Effect::Applied);

    assert_eq!(log.write(&first), Effect::None(NoEffect::StaleStatement));
}

#[test]
fn a_profile_needs_a_role_and_a_signer_that_may_speak_for_it() {
    let (mut log, node, other) = (Log::new(), key(2), key(3));
    let operator = key(1);

    let unknown = log.describe(&node, &node, 5);
    assert_eq!(unknown, Effect::None(NoEffect::UnknownSigner));
    let without_role = log.describe(&node, &operator, 5);
    assert_eq!(without_role, Effect::None(NoEffect::NotAuthorized));
    log.endorse(&node, Category::FederationOperator);
    log.endorse(&other, Category::FederationOperator);
    assert_eq!(log.describe(&node, &node, 5), Effect::Applied);
    let same_time = log.describe(&node, &operator, 5);
    assert_eq!(same_time, Effect::None(NoEffect::StaleProfile));
    let of_another = log.describe(&node, &other, 9);
    assert_eq!(of_another, Effect::None(NoEffect::UnknownSigner));
    assert_eq!(log.describe(&node, &operator, 9), Effect::Applied);
}

#[test]
fn a_witness_moves_forward_only_and_only_while_it_is_authorised() {
    let (mut log, witness) = (Log::new(), key(2));

    let stranger = log.witness(&witness, 1);
    assert_eq!(stranger, Effect::None(NoEffect::WitnessNotAuthorized));
    log.endorse(&witness, Category::Witness);
    assert_eq!(log.witness(&witness, 2), Effect::Applied);
    assert_eq!(log.witness(&witness, 2), Effect::None(NoEffect::WitnessStale));
    assert_eq!(log.witness(&witness, 3), Effect::Applied);
    log.revoke(&witness, Category::Witness, 3);
    let revoked = log.witness(&witness, 4);
    assert_eq!(revoked, Effect::None(NoEffect::WitnessNotAuthorized));

    let row = log.overlay.witnesses.find(&witness.fingerprint()).expect("a row");
    assert_eq!((row.tree_size.get(), row.proof_id), (3, 6));
}

#[test]
fn generic_entries_are_counted_and_unknown_ones_have_no_effect() {
    let mut log = Log::new();

    assert_eq!(log.write_raw("x-a:b", b"{}"), Effect::Applied);
    assert_eq!(log.write_raw("x-a:b", b"{}"), Effect::Applied);
    let newer = log.write_raw("something_newer", b"{}");

    assert_eq!(newer, Effect::None(NoEffect::UnknownType));
    assert_eq!(log.overlay.counts.get("x-a:b"), Some(&2));
    assert_eq!(log.overlay.last_event_id, 4);
}
