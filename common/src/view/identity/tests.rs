use super::super::testing::{Log, key, origin};
use super::super::{Effect, KeyState};
use super::*;
use crate::batch::BrokenRule;
use crate::event::authorization::Action;
use crate::event::{AttestationClaim, CarriedFault, EventError, SubmitterClaims};
use crate::keys::{KeyAlgorithm, SigningKey};
use crate::manifest::{AttestationType, Canonicalization, Identity, ShortId};
use crate::merkle::Hash;
use crate::statement::Claim as _;

const MINUTE: u64 = 60_000;

fn none(reason: NoEffect) -> Effect {
    Effect::None(reason)
}

fn attestation(
    by: &SigningKey,
    binds: Binds,
    kind: AttestationType,
    parents: &[ShortId],
) -> Attestation {
    let (manifest_hash, content_hash) = (Hash::of(b"manifest"), Hash::of(b"content"));
    let identity = Identity {
        form: binds,
        manifest_hash,
        parents,
        signer: by.fingerprint(),
        attestation_type: &kind,
    };
    let claim = AttestationClaim {
        content_hash,
        intent_statement: None,
        manifest_hash,
        parents: parents.to_vec(),
        attestation_type: kind.clone(),
    };
    Attestation {
        attestation_id: identity.id(),
        authorization: None,
        binds,
        canonicalization: Canonicalization::Jcs,
        content_hash,
        intent_statement: None,
        manifest_hash,
        parents: parents.to_vec(),
        public_key: by.public().into(),
        signature: claim.sign(by).into(),
        signature_algorithm: KeyAlgorithm::Ed25519,
        signer: by.fingerprint(),
        submitter_claims: None,
        title: None,
        attestation_type: kind,
    }
}

#[test]
fn a_key_ends_once_and_stays_ended() {
    let mut log = Log::new();
    let [alice, bob, carol] = [2, 3, 4].map(key);
    for holder in [&alice, &bob] {
        log.register(holder, true);
    }

    let succession = log.succession(&alice, &carol, true);
    assert_eq!(log.write(&succession), Effect::Applied);
    assert_eq!(log.write(&log.revocation(&bob)), Effect::Applied);

    assert_eq!((log.state(&alice), log.state(&bob)), (KeyState::Succeeded, KeyState::Revoked));
    let dave = key(5);
    for ended in [&alice, &bob] {
        let more = log.succession(ended, &dave, true);
        assert_eq!(log.write(&more), none(NoEffect::KeyNotActive));
        assert_eq!(log.write(&log.revocation(ended)), none(NoEffect::KeyNotActive));
        assert_eq!(log.register(ended, true), none(NoEffect::KeyAlreadyRegistered));
        let back = log.succession(&carol, ended, true);
        assert_eq!(log.write(&back), none(NoEffect::KeyAlreadyRegistered));
        let signed = attestation(ended, Binds::All, AttestationType::Authorship, &[]);
        assert_eq!(log.write(&signed), none(NoEffect::KeyNotActive));
    }
    assert_eq!(log.overlay.new_keys, 4, "the operator and three more");
}

#[test]
fn an_expired_key_is_recovered_and_does_nothing_else() {
    let mut log = Log::new();
    let [alice, bob] = [2, 3].map(key);
    log.write(&log.expiring(&alice, MINUTE));
    let early = KeySuccession { recovery: true, ..log.succession(&alice, &bob, true) };
    let early = KeySuccession { authorization: Authorization::Legacy {}, ..early };
    assert_eq!(log.write(&early), none(NoEffect::KeyNotExpired));

    log.passed = 2 * MINUTE;

    let legacy = Authorization::Legacy {};
    let revocation = KeyRevocation { authorization: legacy.clone(), ..log.revocation(&alice) };
    assert_eq!(log.write(&revocation), none(NoEffect::KeyNotActive));
    let plain = log.succession(&alice, &bob, true);
    let plain = KeySuccession { recovery: false, authorization: legacy, ..plain };
    assert_eq!(log.write(&plain), none(NoEffect::KeyNotActive));
    let recovery = log.succession(&alice, &bob, true);
    assert_eq!(log.write(&recovery), Effect::Applied);
    assert_eq!(log.state(&alice), KeyState::Succeeded);
    assert_eq!(log.row(&bob).pseudonym, "Alice");
}

#[test]
fn the_state_of_a_key_is_told_as_of_any_entry_and_instant() {
    let mut log = Log::new();
    let alice = key(2);
    log.register(&alice, true);
    log.write(&log.revocation(&alice));
    let (row, revoked_at) = (log.row(&alice), log.time(3));

    assert_eq!(row.state_at(revoked_at), KeyState::Revoked);
    assert_eq!(row.state_at(revoked_at.plus_millis(-1)), KeyState::Active);
    assert_eq!(row.state_before(3, revoked_at), KeyState::Active, "for its own entry");
    assert_eq!(row.state_before(4, revoked_at), KeyState::Revoked);
}

#[test]
fn an_authorization_counts_in_time_and_a_bare_nonce_only_where_nothing_better_is_known() {
    let mut log = Log::new();
    let [alice, proven, node] = [2, 3, 4].map(key);
    log.register(&alice, false);
    log.register(&proven, true);
    log.register(&node, false);
    log.endorse(&node, crate::statement::Category::Witness);
    let legacy = |log: &Log, of: &SigningKey| KeyRevocation {
        authorization: Authorization::Legacy {},
        ..log.revocation(of)
    };

    for better in [&proven, &node] {
        assert_eq!(log.write(&legacy(&log, better)), none(NoEffect::LegacyRefused));
    }
    let late = log.revocation(&alice);
    log.passed = 6 * MINUTE;
    assert_eq!(log.write(&late), none(NoEffect::ChallengeExpired));
    assert_eq!(log.write(&legacy(&log, &alice)), Effect::Applied);
    assert!(log.row(&alice).ended.is_some_and(|ended| ended.leader_asserted));
}

#[test]
fn the_operators_key_never_ends() {
    let mut log = Log::new();
    let operator = key(1);

    let succession = log.succession(&operator, &key(2), true);
    assert_eq!(log.write(&succession), none(NoEffect::KeyHasOtherRole));
    assert_eq!(log.write(&log.revocation(&operator)), none(NoEffect::KeyHasOtherRole));
}

#[test]
fn a_squatter_gives_way_to_who_proves_possession() {
    let mut log = Log::new();
    let [mallory, owner, other] = [2, 3, 4].map(key);
    log.register(&mallory, false);
    log.register(&other, false);

    let squatted = log.succession(&mallory, &owner, false);
    assert_eq!(log.write(&squatted), Effect::Applied);
    assert_eq!(log.row(&owner).succeeds, Some(mallory.fingerprint()));
    assert_eq!(log.register(&owner, true), Effect::Applied);

    let row = log.row(&owner);
    assert_eq!((row.succeeds, row.proven, row.first_entry_id), (None, true, 4));
    let again = log.succession(&other, &owner, true);
    assert_eq!(log.write(&again), none(NoEffect::KeyAlreadyRegistered));
    let onto_itself = log.succession(&other, &other, true);
    assert_eq!(log.write(&onto_itself), none(NoEffect::KeyAlreadyRegistered));
}

#[test]
fn an_attestation_that_may_be_of_another_log_makes_nobody_a_successor() {
    let mut log = Log::new();
    let [mallory, owner] = [2, 3].map(key);
    log.register(&mallory, false);
    assert_eq!(log.write(&log.succession(&mallory, &owner, false)), Effect::Applied);

    let elsewhere = attestation(&owner, Binds::All, AttestationType::Authorship, &[]);
    assert_eq!(log.write(&elsewhere), Effect::Applied);

    assert!(!log.row(&owner).holds_what_it_was_given());
}

#[test]
fn attestations_stand_on_others_of_the_same_manifest() {
    let mut log = Log::new();
    let [alice, bob] = [2, 3].map(key);
    log.register(&alice, false);
    let first = attestation(&alice, Binds::All, AttestationType::Authorship, &[]);
    let parents = [first.attestation_id.short()];
    let second = attestation(&alice, Binds::All, AttestationType::PeerReview, &parents);

    assert_eq!(log.write(&second), none(NoEffect::UnknownParent));
    assert_eq!(log.write(&first), Effect::Applied);
    assert_eq!(log.write(&first), none(NoEffect::AlreadyAttested));
    assert_eq!(log.write(&second), Effect::Applied);
    let stranger = attestation(&bob, Binds::All, AttestationType::Authorship, &[]);
    assert_eq!(log.write(&stranger), none(NoEffect::UnknownKey));
    assert!(log.row(&alice).used_v1);
}

#[test]
fn a_type_that_is_not_signed_is_one_type_unless_its_signer_sends_it() {
    let mut log = Log::new();
    let alice = key(2);
    log.register(&alice, false);
    let of = |kind| attestation(&alice, Binds::Manifest, kind, &[]);
    let meant = |kind| Attestation { authorization: Some(Authorization::Session {}), ..of(kind) };

    assert_eq!(log.write(&of(AttestationType::Publication)), Effect::Applied);
    let relabelled = log.write(&of(AttestationType::PeerReview));
    assert_eq!(relabelled, none(NoEffect::TypeNotSigned));
    assert_eq!(log.write(&meant(AttestationType::Authorship)), Effect::Applied);
    let by_the_way = log.write(&of(AttestationType::EditorialReview));
    assert_eq!(by_the_way, none(NoEffect::TypeNotSigned));
    let all = attestation(&alice, Binds::All, AttestationType::EditorialReview, &[]);
    assert_eq!(log.write(&all), Effect::Applied);
    assert!(!log.row(&alice).proven);
}

#[test]
fn no_node_takes_an_entry_that_its_signatures_do_not_cover() {
    let mut log = Log::new();
    let [alice, bob, carol] = [2, 3, 4].map(key);
    log.register(&alice, true);
    let forged = BrokenRule::Carried(CarriedFault::BadSignature);
    let other = BrokenRule::Carried(CarriedFault::OtherRequest);
    let good = log.succession(&alice, &bob, true);

    let signed_by_bob = log.signed(&alice, Action::Succeed, serde_json::json!({}));
    let Authorization::Signed(mut signed) = signed_by_bob else { panic!("it is signed") };
    signed.signature = signed.claim(&origin(), alice.fingerprint()).sign(&bob).into();
    let usurped = Authorization::Signed(signed);
    assert_eq!(log.refusal(&KeySuccession { authorization: usurped, ..good.clone() }), forged);
    let proof_of_another = log.succession(&alice, &carol, true).new_key_proof;
    let unproven = KeySuccession { new_key_proof: proof_of_another, ..good.clone() };
    assert_eq!(log.refusal(&unproven), forged);
    let to_carol = log.succession(&alice, &carol, true);
    let redirected = KeySuccession { authorization: good.authorization.clone(), ..to_carol };
    assert_eq!(log.refusal(&redirected), other);
    let recovered = KeySuccession { recovery: true, ..good.clone() };
    assert_eq!(log.refusal(&recovered), other);
    let expiring =
        KeySuccession { expiration_date: Some(log.time(0)), new_key_proof: None, ..good };
    assert_eq!(log.refusal(&expiring), other);
    let revocation = log.revocation(&alice);
    let for_another_action = log.signed(
        &alice,
        Action::Login,
        serde_json::json!({"payload":{"fingerprint": alice.fingerprint()}}),
    );
    let moved = KeyRevocation { authorization: for_another_action, ..revocation };
    assert_eq!(log.refusal(&moved), other);
    let signed = attestation(&alice, Binds::All, AttestationType::Authorship, &[]);
    let intended = Attestation { intent_statement: Some("never said".to_owned()), ..signed };
    assert_eq!(log.refusal(&intended), forged);
}

#[test]
fn no_attestation_claims_more_than_its_form() {
    let log = Log::new();
    let alice = key(2);
    let wrong = BrokenRule::Event(EventError::Contradiction);
    let loose = attestation(&alice, Binds::Manifest, AttestationType::Authorship, &[]);
    let claims = || Some(SubmitterClaims { intent_statement: "mine".to_owned() });
    let session = || Some(Authorization::Session {});

    let intended = Attestation { intent_statement: Some("mine".to_owned()), ..loose.clone() };
    assert_eq!(log.refusal(&intended), wrong, "nobody stands for the intent");
    let both =
        Attestation { authorization: session(), submitter_claims: claims(), ..loose.clone() };
    assert_eq!(log.refusal(&both), wrong);
    let by_nonce = Attestation { authorization: Some(Authorization::Legacy {}), ..loose.clone() };
    assert_eq!(log.refusal(&by_nonce), wrong);
    let spelled = attestation(&alice, Binds::All, AttestationType::Authorship, &[]);
    let spelled = Attestation { canonicalization: Canonicalization::Legacy, ..spelled };
    assert_eq!(log.refusal(&spelled), wrong);
    let renamed = Attestation { attestation_type: AttestationType::Publication, ..loose.clone() };
    assert_eq!(log.refusal(&renamed), BrokenRule::Event(EventError::OtherId));
    let wordy = Attestation { title: Some("x".repeat(1_001)), ..loose };
    assert_eq!(log.refusal(&wordy), BrokenRule::Event(EventError::TextLength));
}
