//! A key lives: its holder registers it, replaces it, recovers it, revokes it; nobody else does.

use diogenes_common::clock::Timestamp;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::people::{Ahead, Holder, login, refused, told};
use crate::site::{Place, Running, now, on_both};

use std::sync::Arc;

on_both!(
    a_key_gives_way_to_its_successor_and_signs_nothing_new,
    a_revoked_key_never_comes_back,
    an_expired_key_is_recovered_with_a_challenge_for_that_alone,
    of_two_successions_of_one_key_one_succeeds,
    of_many_registrations_of_one_key_one_succeeds,
    a_squatted_registration_and_succession_give_way_to_the_owners_proof,
    lifecycle_events_obey_the_same_rules_whichever_way_they_come,
);

const SUCCEED: &str = "/api/v1/keys/succeed";
const REVOKE: &str = "/api/v1/keys/revoke";
const MINUTE: i64 = 60_000;

async fn status(node: &Running, holder: &Holder) -> String {
    let path = format!("/api/v1/keys/{}/status", holder.fingerprint());
    let status: Value = node.json(&path).await;
    status["status"].as_str().unwrap().to_owned()
}

async fn record(node: &Running, holder: &Holder) -> Value {
    node.json(&format!("/api/v1/keys/{}", holder.fingerprint())).await
}

async fn a_key_gives_way_to_its_successor_and_signs_nothing_new(place: Place) {
    let site = place.start().await;
    let leader = &site.leader;
    let (old, new) = (Holder::registered(leader, 1).await, Holder::new(2));

    let answer = old.end(leader, "succeed", &old.succession(&new, true)).await;

    assert_eq!(answer.status, 201, "{answer}");
    let answer = answer.json();
    assert_eq!(answer["old_fingerprint"], json!(old.fingerprint()));
    assert_eq!(answer["new_fingerprint"], json!(new.fingerprint()));
    assert!(answer["log_entry_id"].is_u64() && answer["entry_hash"].is_string());
    assert_eq!(
        (status(leader, &old).await, status(leader, &new).await),
        ("succeeded".into(), "active".into())
    );
    let record = record(leader, &new).await;
    assert_eq!(record["pseudonym"], json!("Alice"), "the name passes on");
    assert_eq!(record["proof_of_possession"], json!(true));
    let again = old.end(leader, "revoke", &old.revocation()).await;
    assert_eq!(told(&again), refused(403, "key_not_active"));
    let challenge = old.challenge(leader, &json!({})).await;
    assert_eq!(login(leader, &old.login_body(&challenge)).await.status, 403);
    let follower = site.follower().await;
    site.level(&follower).await;
    assert_eq!(status(&follower, &old).await, "succeeded");
}

async fn a_revoked_key_never_comes_back(place: Place) {
    let site = place.start().await;
    let leader = &site.leader;
    let alice = Holder::registered(leader, 1).await;

    let answer = alice.end(leader, "revoke", &alice.revocation()).await;

    assert_eq!(answer.status, 201, "{answer}");
    assert_eq!(answer.json()["status"], json!("revoked"));
    assert_eq!(answer.json()["fingerprint"], json!(alice.fingerprint()));
    assert_eq!(status(leader, &alice).await, "revoked");
    let proven = alice.prove(leader, "Alice").await;
    assert_eq!(told(&proven), refused(409, "key_already_registered"));
    let as_successor = Holder::registered(leader, 2).await;
    let back = as_successor.succession(&alice, true);
    let back = as_successor.end(leader, "succeed", &back).await;
    assert_eq!(told(&back), refused(409, "key_already_registered"));
    assert_eq!(status(leader, &alice).await, "revoked");
    assert_eq!(status(leader, &as_successor).await, "active");
}

async fn an_expired_key_is_recovered_with_a_challenge_for_that_alone(place: Place) {
    let clock = Ahead::default();
    let site = place.start_at(&[], Arc::new(clock.clone())).await;
    let leader = &site.leader;
    let (alice, new) = (Holder::new(1), Holder::new(2));
    alice.register(leader, Some(now().plus_millis(5 * MINUTE))).await;
    let request = alice.succession(&new, true);
    let early = recovery(leader, &alice, &request).await;
    assert_eq!(early.status, 403, "{early}");

    clock.pass(6 * MINUTE);
    site.append(&json!({})).await;

    assert_eq!(status(leader, &alice).await, "expired");
    let plain = alice.end(leader, "succeed", &request).await;
    assert_eq!(told(&plain), refused(403, "key_not_active"));
    let revoked = alice.end(leader, "revoke", &alice.revocation()).await;
    assert_eq!(told(&revoked), refused(403, "key_not_active"));
    let answer = recovery(leader, &alice, &request).await;
    assert_eq!(answer.status, 201, "{answer}");
    assert_eq!(
        (status(leader, &alice).await, status(leader, &new).await),
        ("succeeded".into(), "active".into())
    );
    let past: Timestamp = now();
    let mut body = new.succession(&Holder::new(3), false);
    body["payload"]["expiration_date"] = json!(past);
    let late = new.end(leader, "succeed", &body).await;
    assert_eq!(told(&late), refused(422, "validation_failed"));
}

async fn recovery(leader: &Running, holder: &Holder, request: &Value) -> crate::raw::Answer {
    let challenge = holder.challenge(leader, &json!({ "recovery": true })).await;
    let signature = holder.answer(&challenge, "POST /keys/succeed", Some(request));
    let mut body = request.clone();
    body["auth"] = json!({
        "challenge_id": challenge["challenge_id"],
        "challenge_signature": signature,
        "recovery": true,
    });
    leader.post(SUCCEED, &body).send().await
}

async fn of_two_successions_of_one_key_one_succeeds(place: Place) {
    let site = place.start().await;
    let alice = Holder::registered(&site.leader, 1).await;
    let mut racing = JoinSet::new();
    for seed in 2..10 {
        let request = alice.succession(&Holder::new(seed), true);
        let mut body = request.clone();
        body["auth"] = alice.auth(&site.leader, "POST /keys/succeed", &request).await;
        let sent = site.leader.post(SUCCEED, &body);
        racing.spawn(async move { sent.send().await.status });
    }

    let mut statuses = racing.join_all().await;

    statuses.sort_unstable();
    assert_eq!(statuses, [201, 403, 403, 403, 403, 403, 403, 403]);
    assert_eq!(status(&site.leader, &alice).await, "succeeded");
}

async fn of_many_registrations_of_one_key_one_succeeds(place: Place) {
    let site = place.start().await;
    let alice = Holder::new(1);
    let body = json!({ "payload": {
        "public_key": alice.0.public().to_pem(), "pseudonym": "Alice", "key_algorithm": "ed25519",
    }});
    let mut racing = JoinSet::new();
    for _ in 0..8 {
        let sent = site.leader.post("/api/v1/keys/register", &body);
        racing.spawn(async move { sent.send().await.status });
    }

    let mut statuses = racing.join_all().await;

    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409, 409, 409, 409, 409]);
}

async fn a_squatted_registration_and_succession_give_way_to_the_owners_proof(place: Place) {
    let site = place.start().await;
    let leader = &site.leader;
    let (owner, other, mallory) =
        (Holder::new(1), Holder::new(2), Holder::registered(leader, 3).await);
    owner.register(leader, Some(now().plus_millis(MINUTE))).await;
    let squatted = mallory.end(leader, "succeed", &mallory.succession(&other, false)).await;
    assert_eq!(squatted.status, 201, "{squatted}");
    assert_eq!(record(leader, &other).await["proof_of_possession"], json!(false));

    for (holder, name) in [(&owner, "The Owner"), (&other, "The Other")] {
        let answer = holder.prove(leader, name).await;

        assert_eq!(answer.status, 201, "{answer}");
        let record = record(leader, holder).await;
        assert_eq!(record["pseudonym"], json!(name));
        assert_eq!(record["expires_at"], Value::Null);
        assert_eq!(record["proof_of_possession"], json!(true));
        assert_eq!(
            told(&holder.prove(leader, "Again").await),
            refused(409, "key_already_registered")
        );
    }
}

async fn lifecycle_events_obey_the_same_rules_whichever_way_they_come(place: Place) {
    let site = place.start().await;
    let leader = &site.leader;
    let (alice, new) = (Holder::registered(leader, 1).await, Holder::new(2));
    let event = async |event_type: &str, request: &Value, auth: Value| {
        let mut event = request.clone();
        event["event_type"] = json!(event_type);
        event["auth"] = auth;
        leader.post("/api/v1/log/entries", &event).send().await
    };
    let request = alice.succession(&new, true);

    let unauthorised = event("key_succession", &request, Value::Null).await;
    assert_eq!(told(&unauthorised), refused(401, "unauthorized"));
    let of_another = new.auth(leader, "POST /keys/succeed", &request).await;
    let of_another = event("key_succession", &request, of_another).await;
    assert_eq!(told(&of_another), refused(403, "challenge_failed"));
    let auth = alice.auth(leader, "POST /keys/succeed", &request).await;
    let done = event("key_succession", &request, auth.clone()).await;
    assert_eq!(done.status, 201, "{done}");
    let replayed = event("key_succession", &request, auth).await;
    assert_eq!(told(&replayed), refused(409, "challenge_used"));
    let revocation = new.revocation();
    let auth = new.auth(leader, "POST /keys/revoke", &revocation).await;
    assert_eq!(event("key_revocation", &revocation, auth).await.status, 201);
    assert_eq!(status(leader, &new).await, "revoked");
    let entry: Value = leader.json("/api/v1/log?event_type=key_revocation").await;
    let by = &entry["entries"][0]["payload"]["authorization"];
    assert_eq!((&by["form"], &by["request"]), (&json!("signed"), &revocation));
    site.check().await;
}

#[tokio::test]
async fn an_answer_is_good_for_one_request_one_purpose_and_one_server() {
    let site = Place::sqlite().start().await;
    let leader = &site.leader;
    let (alice, bob) = (Holder::registered(leader, 1).await, Holder::registered(leader, 2).await);
    let request = alice.revocation();
    let send = async |auth: Value| {
        let mut body = request.clone();
        body["auth"] = auth;
        leader.post(REVOKE, &body).send().await
    };
    alice.login(leader).await;

    let elsewhere = alice.succession(&Holder::new(9), false);
    let moved = alice.auth(leader, "POST /keys/revoke", &elsewhere).await;
    assert_eq!(told(&send(moved).await), refused(403, "challenge_failed"));
    let other_action = alice.auth(leader, "POST /keys/succeed", &request).await;
    assert_eq!(told(&send(other_action).await), refused(403, "challenge_failed"));
    let of_bob = bob.auth(leader, "POST /keys/revoke", &request).await;
    assert_eq!(told(&send(of_bob).await), refused(403, "challenge_failed"));
    let challenge = alice.challenge(leader, &json!({})).await;
    let bare = alice.legacy_body(&challenge);
    assert_eq!(told(&send(bare).await), refused(403, "challenge_failed"), "it has used v1");
    let challenge = alice.challenge(leader, &json!({ "purpose": "login" })).await;
    let signature = alice.answer(&challenge, "POST /keys/revoke", Some(&request));
    let for_login =
        json!({ "challenge_id": challenge["challenge_id"], "challenge_signature": signature });
    assert_eq!(send(for_login).await.status, 422);
    let challenge = alice.challenge(leader, &json!({})).await;
    let mut relayed = challenge.clone();
    relayed["nonce"] = json!("another-servers-nonce");
    let signature = alice.answer(&relayed, "POST /keys/revoke", Some(&request));
    let relayed =
        json!({ "challenge_id": challenge["challenge_id"], "challenge_signature": signature });
    assert_eq!(told(&send(relayed).await), refused(403, "challenge_failed"));
    assert_eq!(status(leader, &alice).await, "active");
}

#[tokio::test]
async fn what_only_the_leader_says_is_marked() {
    let site = Place::sqlite().start().await;
    let leader = &site.leader;
    let (alice, bob) = (Holder::registered(leader, 1).await, Holder::registered(leader, 2).await);
    let token = alice.login(leader).await;
    let by_session = leader.post(REVOKE, &alice.revocation()).token(&token).send().await;
    assert_eq!(by_session.status, 201, "{by_session}");
    let challenge = bob.challenge(leader, &json!({})).await;
    let mut body = bob.revocation();
    body["auth"] = bob.legacy_body(&challenge);
    let by_nonce = leader.post(REVOKE, &body).send().await;
    assert_eq!(by_nonce.status, 201, "{by_nonce}");

    for holder in [&alice, &bob] {
        assert_eq!(record(leader, holder).await["leader_asserted"], json!(true));
    }
    let dead = leader.post(REVOKE, &alice.revocation()).token(&token).send().await;
    assert_eq!(told(&dead), refused(401, "unauthorized"));
}

#[tokio::test]
async fn a_log_that_asks_for_proof_takes_no_registration_without_it() {
    let site = Place::sqlite().start_with(&[("REQUIRE_KEY_PROOF", "true")]).await;
    let alice = Holder::new(1);
    let body = json!({ "payload": {
        "public_key": alice.0.public().to_pem(), "pseudonym": "Alice", "key_algorithm": "ed25519",
    }});

    let refusal = site.leader.post("/api/v1/keys/register", &body).send().await;

    assert_eq!(told(&refusal), refused(422, "validation_failed"));
    assert_eq!(alice.prove(&site.leader, "Alice").await.status, 201);
}

#[tokio::test]
async fn a_log_that_wants_proof_takes_no_successor_without_it() {
    let site = Place::sqlite().start_with(&[("REQUIRE_KEY_PROOF", "true")]).await;
    let leader = &site.leader;
    let (alice, victim) = (Holder::new(1), Holder::new(2));
    assert_eq!(alice.prove(leader, "Alice").await.status, 201);

    let squatted = alice.end(leader, "succeed", &alice.succession(&victim, false)).await;

    assert_eq!(told(&squatted), refused(422, "validation_failed"));
    let proven = alice.end(leader, "succeed", &alice.succession(&victim, true)).await;
    assert_eq!(proven.status, 201, "{proven}");
}
