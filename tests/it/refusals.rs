//! Whoever is refused is told what to change, and where it stands.

use std::sync::Arc;

use diogenes_common::clock::Timestamp;
use serde_json::{Value, json};

use crate::people::{Ahead, Holder, login, refused, told};
use crate::raw::Answer;
use crate::site::{Place, Running, TOKEN, now};

const REGISTER: &str = "/api/v1/keys/register";
const SUCCEED: &str = "/api/v1/keys/succeed";
const CHALLENGE: &str = "/api/v1/auth/challenge";
const ATTESTATIONS: &str = "/api/v1/attestations";
const ENTRIES: &str = "/api/v1/log/entries";
const VERIFY: &str = "/api/v1/verify";
const MINUTE: i64 = 60_000;

/// The pointers of the values that a refusal names.
fn pointers(answer: &Answer) -> Vec<String> {
    let errors = answer.json()["errors"].as_array().cloned().unwrap_or_default();
    errors.iter().map(|error| error["pointer"].as_str().unwrap().to_owned()).collect()
}

fn detail(answer: &Answer) -> String {
    answer.json()["detail"].as_str().unwrap().to_owned()
}

async fn post(leader: &Running, path: &str, body: Value) -> Answer {
    leader.post(path, &body).send().await
}

#[tokio::test]
async fn a_value_that_does_not_fit_is_named_where_it_stands() {
    let site = Place::sqlite().start().await;
    let key = Holder::new(1);
    let (pem, fingerprint) = (key.0.public().to_pem(), key.fingerprint());
    let registration = json!({
        "public_key": pem, "pseudonym": 7, "key_algorithm": "ed25519",
    });
    let event = |payload: Value, kind: &str| json!({ "event_type": kind, "payload": payload });
    let succession = json!({
        "old_fingerprint": "sha256:1", "new_public_key": pem, "new_algorithm": "ed25519",
    });
    let revocation = json!({ "fingerprint": fingerprint });
    let cases = [
        (CHALLENGE, json!({ "fingerprint": "a1b2" }), "#/fingerprint"),
        (CHALLENGE, json!({ "fingerprint": fingerprint, "purpose": "sale" }), "#/purpose"),
        (REGISTER, json!({ "payload": {} }), "#/payload/public_key"),
        (REGISTER, json!({ "payload": { "name": "Alice" } }), "#/payload/name"),
        (REGISTER, json!({ "payload": registration }), "#/payload/pseudonym"),
        (REGISTER, json!({ "payload": "x" }), "#/payload"),
        (SUCCEED, json!({ "payload": succession }), "#/payload/old_fingerprint"),
        (
            SUCCEED,
            json!({ "payload": succession, "auth": { "challenge_id": "c" } }),
            "#/auth/challenge_signature",
        ),
        (ATTESTATIONS, json!({ "manifest": {}, "signature": null }), "#/signature"),
        (ENTRIES, event(registration.clone(), "key_registration"), "#/payload/pseudonym"),
        (ENTRIES, json!([event(registration, "key_registration")]), "#/0/payload/pseudonym"),
        (ENTRIES, event(json!({ "manifest": {} }), "attestation"), "#/payload/public_key_pem"),
        (
            ENTRIES,
            json!([{ "event_type": "key_revocation", "payload": revocation, "auth": { "x": 1 } }]),
            "#/0/auth/x",
        ),
        (VERIFY, json!({ "manifest": {}, "source_hash": 1 }), "#/source_hash"),
        (
            VERIFY,
            json!({ "manifest": {}, "source_hash": "", "require": { "witnesses": -1 } }),
            "#/require",
        ),
    ];

    for (path, body, pointer) in cases {
        let answer = post(&site.leader, path, body.clone()).await;
        assert_eq!((answer.status, pointers(&answer)), (422, vec![pointer.to_owned()]), "{answer}");
        assert!(!detail(&answer).contains(" at line "), "{answer}");
    }
}

#[tokio::test]
async fn optional_members_may_be_null() {
    let site = Place::sqlite().start().await;
    let leader = &site.leader;
    let alice = Holder::registered(leader, 1).await;

    let challenge = alice.challenge(leader, &json!({ "recovery": null, "purpose": null })).await;
    let signature = alice.answer(&challenge, "POST /keys/revoke", Some(&alice.revocation()));
    let mut body = alice.revocation();
    body["auth"] = json!({
        "challenge_id": challenge["challenge_id"], "challenge_signature": signature,
        "recovery": null, "password": null,
    });

    assert_eq!(challenge["purpose"], "general");
    let revoked = leader.post("/api/v1/keys/revoke", &body).send().await;
    assert_eq!(revoked.status, 201, "{revoked}");
}

#[tokio::test]
async fn who_is_not_believed_is_told_what_is_missing() {
    let clock = Ahead::default();
    let site = Place::sqlite().start_at(&[], Arc::new(clock.clone())).await;
    let leader = &site.leader;
    let alice = Holder::new(1);
    let expires: Timestamp = now().plus_millis(10 * MINUTE);
    alice.register(leader, Some(expires)).await;

    let unnamed = leader.request("POST", "/api/v1/auth/renew").send().await;
    assert_eq!(told(&unnamed), refused(401, "unauthorized"));
    assert!(detail(&unnamed).contains("token to renew"), "{unnamed}");
    let first = json!({ "password": "correct horse" });
    assert_eq!(alice.set_password(leader, &first).await.status, 200);
    let second = alice.set_password(leader, &json!({ "password": "battery staple" })).await;
    assert_eq!(told(&second), refused(403, "password_required"));
    assert!(detail(&second).contains("`current_password`"), "{second}");
    let challenge = alice.challenge(leader, &json!({ "recovery": true })).await;
    let recovering = login(leader, &alice.login_body(&challenge)).await;
    assert_eq!(pointers(&recovering), ["#/challenge_id"]);

    let request = alice.succession(&Holder::new(2), true);
    let signature = alice.answer(&challenge, "POST /keys/succeed", Some(&request));
    let mut body = request;
    body["auth"] = json!({
        "challenge_id": challenge["challenge_id"], "challenge_signature": signature,
        "recovery": true, "password": "correct horse",
    });
    let early = post(leader, SUCCEED, body).await;
    assert_eq!(told(&early), refused(403, "key_not_active"));
    assert!(detail(&early).contains("leave `recovery` out"), "{early}");
    clock.pass(11 * MINUTE);
    let challenge = alice.challenge(leader, &json!({})).await;
    let late = login(leader, &alice.login_body(&challenge)).await;
    assert_eq!(told(&late), refused(403, "key_not_active"));
    assert!(detail(&late).contains("with `recovery`"), "{late}");
}

#[tokio::test]
async fn of_several_events_the_one_whose_holder_did_not_agree_is_named() {
    let site = Place::sqlite().start().await;
    let leader = &site.leader;
    let (alice, bob) = (Holder::registered(leader, 1).await, Holder::registered(leader, 2).await);
    let before = site.size().await;
    let event = async |holder: &Holder, by: &Holder| {
        let mut event = holder.revocation();
        event["auth"] = by.auth(leader, "POST /keys/revoke", &holder.revocation()).await;
        event["event_type"] = json!("key_revocation");
        event
    };

    let events = json!([event(&alice, &alice).await, event(&bob, &alice).await]);
    let answer = post(leader, ENTRIES, events).await;

    assert_eq!(told(&answer), refused(403, "challenge_failed"));
    assert!(detail(&answer).starts_with("event 1: "), "{answer}");
    assert_eq!(site.size().await, before);
}

#[tokio::test]
async fn nothing_is_anchored_while_no_calendar_is_configured() {
    let site = Place::sqlite().start().await;
    let before = site.size().await;

    let anonymous = site.leader.request("POST", "/api/v1/log/anchor").send().await;
    let operator = site.leader.request("POST", "/api/v1/log/anchor").token(TOKEN).send().await;

    assert_eq!((anonymous.status, &*anonymous.problem()), (401, "unauthorized"));
    assert_eq!((operator.status, &*operator.problem()), (503, "anchoring_not_configured"));
    assert!(operator.json()["setting"].is_string(), "{operator}");
    assert_eq!(site.size().await, before);
}
