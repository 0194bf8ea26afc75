//! Who holds a key logs in with it, sets a password, and appends; nobody else does.

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD};
use diogenes_common::clock::Timestamp;
use diogenes_tests::http::Node;
use diogenes_tests::process::{Machine, free_address};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::api_federation::authorize;
use crate::attestations::{self, manifest};
use crate::people::{Ahead, Holder, login, refused, told};
use crate::raw::Answer;
use crate::site::{Place, Running, TOKEN, now, on_both};

on_both!(
    a_key_logs_in_with_an_answer_that_covers_the_login,
    of_many_logins_with_one_answer_one_succeeds,
    a_challenge_is_answered_once_in_time_and_for_what_it_was_asked,
    a_password_is_asked_for_once_it_is_set,
    a_session_ends_when_a_password_is_set,
    a_session_appends_what_its_key_sends,
);

const ENTRIES: &str = "/api/v1/log/entries";
const MINUTE: i64 = 60_000;

async fn renew(leader: &Running, token: &str) -> Answer {
    leader.request("POST", "/api/v1/auth/renew").token(token).send().await
}

fn with(mut body: Value, name: &str, value: &str) -> Value {
    body[name] = json!(value);
    body
}

async fn a_key_logs_in_with_an_answer_that_covers_the_login(place: Place) {
    let site = place.start().await;
    let leader = &site.leader;
    let alice = Holder::registered(leader, 1).await;
    let before = alice.legacy_login(leader).await;
    assert_eq!(before.status, 200, "{before}");

    let challenge = alice.challenge(leader, &json!({})).await;
    let asked = now();
    let answer = login(leader, &alice.login_body(&challenge)).await;

    let members: BTreeSet<_> = challenge.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "challenge_id",
        "nonce",
        "expires_at",
        "origin",
        "purpose",
        "recovery",
        "fingerprint",
        "signing_input",
    ];
    assert_eq!(members, expected.into());
    assert_eq!(challenge["nonce"].as_str().map(str::len), Some(43));
    let shown = BASE64.decode(challenge["signing_input"].as_str().unwrap()).unwrap();
    let shown = shown.strip_prefix(b"diogenes-challenge/v1\n").unwrap();
    let shown: Value = serde_json::from_slice(shown).unwrap();
    assert_eq!(shown["nonce"], challenge["nonce"]);
    assert_eq!((&shown["action"], &shown["payload_hash"]), (&Value::Null, &Value::Null));

    assert_eq!((answer.status, answer.header("cache-control")), (200, "no-store"), "{answer}");
    let session = answer.json();
    assert_eq!(session["fingerprint"], alice.fingerprint());
    assert_eq!(session["pseudonym"], "Alice");
    let ends: Timestamp = session["expires_at"].as_str().unwrap().parse().unwrap();
    let minutes = ends.millis_since(asked) / MINUTE;
    assert!((29..=30).contains(&minutes), "{minutes}");
    let renewed = renew(leader, session["token"].as_str().unwrap()).await;
    assert_eq!(renewed.status, 200, "{renewed}");
    assert_ne!(renewed.json()["token"], session["token"]);

    // Who has answered in the better form once may not fall back.
    let after = alice.legacy_login(leader).await;
    assert_eq!(told(&after), refused(403, "challenge_failed"));
    let metrics = String::from_utf8(leader.get("/metrics").await.body).unwrap();
    for line in
        ["diogenes_logins_total 2", "diogenes_auth_refusals_total{code=\"challenge_failed\"} 1"]
    {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
}

async fn of_many_logins_with_one_answer_one_succeeds(place: Place) {
    let site = place.start().await;
    let alice = Holder::registered(&site.leader, 1).await;
    let challenge = alice.challenge(&site.leader, &json!({})).await;
    let mut logins = JoinSet::new();
    for _ in 0..12 {
        let request = site.leader.post("/api/v1/auth/login", &alice.login_body(&challenge));
        logins.spawn(async move { request.send().await.status });
    }

    let mut statuses = logins.join_all().await;

    statuses.sort_unstable();
    let mut expected = vec![409; 12];
    expected[0] = 200;
    assert_eq!(statuses, expected);
}

async fn a_challenge_is_answered_once_in_time_and_for_what_it_was_asked(place: Place) {
    let clock = Ahead::default();
    let site = place.start_at(&[], Arc::new(clock.clone())).await;
    let leader = &site.leader;
    let alice = Holder::registered(leader, 1).await;
    let (used, late) =
        (alice.challenge(leader, &json!({})).await, alice.challenge(leader, &json!({})).await);

    assert_eq!(login(leader, &alice.login_body(&used)).await.status, 200);
    let again = login(leader, &alice.login_body(&used)).await;
    assert_eq!(told(&again), refused(409, "challenge_used"));
    let unknown = with(alice.login_body(&used), "challenge_id", "abc123");
    assert_eq!(told(&login(leader, &unknown).await), refused(404, "challenge_not_found"));

    let for_login = alice.challenge(leader, &json!({ "purpose": "login" })).await;
    let request = json!({ "password": "long enough" });
    let mut body = request.clone();
    body["challenge_id"] = for_login["challenge_id"].clone();
    body["challenge_signature"] = alice.answer(&for_login, "POST /auth/password", Some(&request));
    let other_purpose = leader.post("/api/v1/auth/password", &body).send().await;
    assert_eq!(told(&other_purpose), refused(422, "validation_failed"));
    let recovery = alice.challenge(leader, &json!({ "recovery": true })).await;
    let recovered = login(leader, &alice.login_body(&recovery)).await;
    assert_eq!(told(&recovered), refused(422, "validation_failed"));

    clock.pass(5 * MINUTE);
    let too_late = login(leader, &alice.login_body(&late)).await;
    assert_eq!(told(&too_late), refused(410, "challenge_expired"));
    let used_and_late = login(leader, &alice.login_body(&used)).await;
    assert_eq!(told(&used_and_late), refused(409, "challenge_used"));
}

async fn a_password_is_asked_for_once_it_is_set(place: Place) {
    const FIRST: &str = "correct horse";
    const SECOND: &str = "battery staple";
    let clock = Ahead::default();
    let site = place.start_at(&[], Arc::new(clock.clone())).await;
    let leader = &site.leader;
    let alice = Holder::registered(leader, 1).await;

    let short = alice.set_password(leader, &json!({ "password": "short" })).await;
    assert_eq!(told(&short), refused(422, "validation_failed"));
    let set = alice.set_password(leader, &json!({ "password": FIRST })).await;
    let expected = json!({ "fingerprint": alice.fingerprint(), "password_set": true });
    assert_eq!((set.status, set.json()), (200, expected), "{set}");

    let challenge = alice.challenge(leader, &json!({})).await;
    let body = alice.login_body(&challenge);
    assert_eq!(told(&login(leader, &body).await), refused(403, "password_required"));
    let wrong = login(leader, &with(body.clone(), "password", SECOND)).await;
    assert_eq!(told(&wrong), refused(403, "password_required"));
    let right = login(leader, &with(body.clone(), "password", FIRST)).await;
    assert_eq!(right.status, 200, "a refused password leaves the challenge good: {right}");

    // Another one is set only by who knows this one, and holds the key.
    let unknown = alice.set_password(leader, &json!({ "password": SECOND })).await;
    assert_eq!(told(&unknown), refused(403, "password_required"));
    let change = json!({ "password": SECOND, "current_password": "not this one" });
    let wrong = alice.set_password(leader, &change).await;
    assert_eq!(told(&wrong), refused(403, "password_required"));
    let change = json!({ "password": SECOND, "current_password": FIRST });
    let token = right.json()["token"].as_str().unwrap().to_owned();
    let by_token = leader.post("/api/v1/auth/password", &change).token(&token).send().await;
    assert_eq!(told(&by_token), refused(422, "validation_failed"));
    assert_eq!(alice.set_password(leader, &change).await.status, 200);

    // Ten wrong ones, two of them above, and the key waits; other keys do not.
    let challenge = alice.challenge(leader, &json!({})).await;
    let body = alice.login_body(&challenge);
    for _ in 0..8 {
        let old = login(leader, &with(body.clone(), "password", FIRST)).await;
        assert_eq!(told(&old), refused(403, "password_required"));
    }
    let eleventh = login(leader, &with(body, "password", SECOND)).await;
    assert_eq!(told(&eleventh), refused(429, "rate_limited"));
    let wait: i64 = eleventh.header("retry-after").parse().unwrap();
    assert!((1..=900).contains(&wait), "{wait}");
    let bob = Holder::registered(leader, 2).await;
    bob.login(leader).await;
    clock.pass(15 * MINUTE);
    let challenge = alice.challenge(leader, &json!({})).await;
    let body = with(alice.login_body(&challenge), "password", SECOND);
    assert_eq!(login(leader, &body).await.status, 200);
}

async fn a_session_ends_when_a_password_is_set(place: Place) {
    let clock = Ahead::default();
    let site = place.start_at(&[], Arc::new(clock.clone())).await;
    let leader = &site.leader;
    let alice = Holder::registered(leader, 1).await;
    let before = alice.login(leader).await;
    clock.pass(1_000);

    let set = alice.set_password(leader, &json!({ "password": "correct horse" })).await;

    assert_eq!(set.status, 200, "{set}");
    let revoked = leader.post("/api/v1/keys/revoke", &alice.revocation()).token(&before);
    assert_eq!(told(&revoked.send().await), refused(401, "unauthorized"));
    assert_eq!(told(&renew(leader, &before).await), refused(401, "unauthorized"));
    let challenge = alice.challenge(leader, &json!({})).await;
    let body = with(alice.login_body(&challenge), "password", "correct horse");
    let after = login(leader, &body).await.json();
    assert_eq!(renew(leader, after["token"].as_str().unwrap()).await.status, 200);
}

async fn a_session_appends_what_its_key_sends(place: Place) {
    let site = place.start().await;
    let leader = &site.leader;
    let (alice, bob) = (Holder::registered(leader, 1).await, Holder::registered(leader, 2).await);
    let (token, other) = (alice.login(leader).await, bob.login(leader).await);
    let event = json!({ "event_type": "x-it:event", "payload": { "n": 1 } });
    let post = |token: &str| leader.post(ENTRIES, &event).token(token);

    let appended = post(&token).header("idempotency-key", "k").send().await;
    let repeated = post(&token).header("idempotency-key", "k").send().await;
    let others = post(&other).header("idempotency-key", "k").send().await;
    let raw = leader.request("POST", "/add").token(&token).body("text/plain", "raw").send().await;
    let anonymous = leader.post(ENTRIES, &event).send().await;
    let stranger = post("a.b.c").send().await;

    assert_eq!(appended.status, 201, "{appended}");
    assert_eq!((repeated.status, &repeated.json()["id"]), (200, &appended.json()["id"]));
    assert_eq!(others.status, 201, "another key's idempotency keys are its own: {others}");
    assert_eq!(raw.status, 200, "{raw}");
    for answer in [&anonymous, &stranger] {
        assert_eq!(told(answer), refused(401, "unauthorized"));
        assert_eq!(answer.header("www-authenticate"), "Bearer");
    }
    site.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_operator_alone_appends_a_session_is_not_enough() {
    let site = Place::sqlite().start_with(&[("APPEND_POLICY", "operator")]).await;
    let token = Holder::registered(&site.leader, 1).await.login(&site.leader).await;
    let event = json!({ "event_type": "x-it:event", "payload": {} });

    let answer = site.leader.post(ENTRIES, &event).token(&token).send().await;

    assert_eq!(told(&answer), refused(403, "forbidden"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_do_not_tell_which_keys_the_log_knows() {
    let site = Place::sqlite().start().await;
    let leader = &site.leader;
    let (known, unknown) = (Holder::registered(leader, 1).await, Holder::new(2));
    let mut answers = Vec::new();
    for holder in [&known, &unknown] {
        let challenge = holder.challenge(leader, &json!({})).await;
        // Signed by a third key.
        let body = Holder::new(3).login_body(&challenge);
        let answer = login(leader, &body).await;
        assert_eq!(told(&answer), refused(403, "challenge_failed"));
        let mut problem = answer.json();
        problem["instance"] = Value::Null;
        let shape: Vec<_> = challenge
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name.clone(), value.to_string().len()))
            .collect();
        answers.push((shape, problem));
    }

    assert_eq!(answers[0], answers[1]);
    // The right signature of an unknown key is worth as little.
    let challenge = unknown.challenge(leader, &json!({})).await;
    let answer = login(leader, &unknown.login_body(&challenge)).await;
    assert_eq!(told(&answer), refused(403, "challenge_failed"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_say_something_else_are_refused() {
    let site = Place::sqlite().start().await;
    let fingerprint = Holder::new(1).fingerprint();
    for (path, body) in [
        ("challenge", json!({})),
        ("challenge", json!({ "fingerprint": "sha256:00" })),
        ("challenge", json!({ "fingerprint": fingerprint, "purpose": "other" })),
        ("challenge", json!({ "fingerprint": fingerprint, "extra": 1 })),
        ("login", json!({ "challenge_id": "abc" })),
        ("login", json!({ "challenge_id": "a b", "challenge_signature": "AA==" })),
        ("password", json!({ "challenge_id": "abc", "challenge_signature": "AA==" })),
    ] {
        let path = format!("/api/v1/auth/{path}");
        let answer = site.leader.post(&path, &body).send().await;
        assert_eq!(answer.status, 422, "{body}: {answer}");
        answer.problem();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bare_nonce_is_an_answer_only_of_keys_that_know_no_better() {
    let site = Place::sqlite().start().await;
    let leader = &site.leader;
    let role = Holder::registered(leader, 1).await;
    assert_eq!(role.legacy_login(leader).await.status, 200);
    authorize(&site, "federation", json!({ "fingerprint": role.fingerprint() })).await;
    let with_role = role.legacy_login(leader).await;
    assert_eq!(told(&with_role), refused(403, "challenge_failed"));
    role.login(leader).await;

    let strict = Place::sqlite().start_with(&[("LEGACY_CHALLENGE", "false")]).await;
    let alice = Holder::registered(&strict.leader, 2).await;
    let legacy = alice.legacy_login(&strict.leader).await;
    assert_eq!(told(&legacy), refused(403, "challenge_failed"));
    alice.login(&strict.leader).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_signs_wrongly_ten_times_waits() {
    let clock = Ahead::default();
    let site = Place::sqlite().start_at(&[], Arc::new(clock.clone())).await;
    let leader = &site.leader;
    let alice = Holder::registered(leader, 1).await;
    let challenge = alice.challenge(leader, &json!({})).await;
    let forged = Holder::new(2).login_body(&challenge);
    for _ in 0..10 {
        assert_eq!(told(&login(leader, &forged).await), refused(403, "challenge_failed"));
    }

    let answer = login(leader, &alice.login_body(&challenge)).await;

    assert_eq!(told(&answer), refused(429, "rate_limited"));
    assert!(!answer.header("retry-after").is_empty());
    clock.pass(15 * MINUTE);
    alice.login(leader).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_opens_until_its_time_its_session_or_its_key_is_over() {
    let clock = Ahead::default();
    let site = Place::sqlite().start_at(&[], Arc::new(clock.clone())).await;
    let leader = &site.leader;
    let (alice, brief) = (Holder::registered(leader, 1).await, Holder::new(2));
    brief.register(leader, Some(now().plus_millis(10 * MINUTE))).await;
    let (token, dying) = (alice.login(leader).await, brief.login(leader).await);
    assert_eq!(renew(leader, &dying).await.status, 200);

    clock.pass(11 * MINUTE);
    assert_eq!(told(&renew(leader, &dying).await), refused(401, "unauthorized"));
    let challenge = brief.challenge(leader, &json!({})).await;
    let expired = login(leader, &brief.login_body(&challenge)).await;
    assert_eq!(told(&expired), refused(403, "key_not_active"));
    clock.pass(20 * MINUTE);
    assert_eq!(told(&renew(leader, &token).await), refused(401, "unauthorized"));

    let mut token = alice.login(leader).await;
    for _ in 0..28 {
        clock.pass(25 * MINUTE);
        let renewed = renew(leader, &token).await;
        assert_eq!(renewed.status, 200, "{renewed}");
        renewed.json()["token"].as_str().unwrap().clone_into(&mut token);
    }
    clock.pass(21 * MINUTE);
    assert_eq!(told(&renew(leader, &token).await), refused(401, "unauthorized"));
    assert_eq!(told(&renew(leader, TOKEN).await), refused(401, "unauthorized"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_was_altered_opens_nothing() {
    let site = Place::sqlite().start().await;
    let token = Holder::registered(&site.leader, 1).await.login(&site.leader).await;
    let parts: Vec<&str> = token.split('.').collect();
    let other = Holder::registered(&site.leader, 2).await;
    let claims = URL_SAFE_NO_PAD.decode(parts[1]).unwrap();
    let mut claims: Value = serde_json::from_slice(&claims).unwrap();
    claims["sub"] = json!(other.fingerprint());
    let claims = URL_SAFE_NO_PAD.encode(claims.to_string());
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"diogenes+jwt"}"#);

    let altered = [
        format!("{}.{claims}.{}", parts[0], parts[2]),
        format!("{none}.{claims}."),
        format!("{none}.{}.{}", parts[1], parts[2]),
        format!("{}.{}.", parts[0], parts[1]),
        "x".repeat(9_000),
    ];

    assert_eq!(renew(&site.leader, &token).await.status, 200);
    for token in altered {
        assert_eq!(told(&renew(&site.leader, &token).await), refused(401, "unauthorized"));
    }
    let basic = site.leader.request("POST", "/api/v1/auth/renew");
    let basic = basic.header("authorization", "Basic YTpi").send().await;
    assert_eq!(told(&basic), refused(401, "unauthorized"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_outlive_a_restart_but_not_another_secret() {
    let site = Place::sqlite().start().await;
    let token = Holder::registered(&site.leader, 1).await.login(&site.leader).await;

    let site = site.stop().start().await;
    assert_eq!(renew(&site.leader, &token).await.status, 200);
    let secret = "another secret of at least 32 bytes";
    let site = site.stop().start_with(&[("SECRET_KEY", secret)]).await;
    assert_eq!(told(&renew(&site.leader, &token).await), refused(401, "unauthorized"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_log_line_holds_a_secret() {
    const PASSWORD: &str = "correct horse battery";
    let (machine, address) = (Machine::new(env!("CARGO_BIN_EXE_diogenes-node")), free_address());
    let listen = address.to_string();
    let settings = [
        ("LOG_LEVEL", "trace"),
        ("DIOGENES_ORIGIN", "log.example/it"),
        ("DIOGENES_LISTEN", listen.as_str()),
    ];
    let mut process = machine.start("leader", "leader", &["serve"], &settings);
    let node = Node::local(address);
    process.ready(&node).await;
    let (alice, leader) = (Holder::new(1), Running::of(address));
    alice.register(&leader, None).await;

    assert_eq!(alice.set_password(&leader, &json!({ "password": PASSWORD })).await.status, 200);
    let challenge = alice.challenge(&leader, &json!({})).await;
    let body = with(alice.login_body(&challenge), "password", PASSWORD);
    let forged = with(body.clone(), "challenge_signature", "Zm9yZ2VkIHNpZ25hdHVyZQ==");
    assert_eq!(login(&leader, &forged).await.status, 403);
    let session = login(&leader, &body).await;
    assert_eq!(session.status, 200, "{session}");
    let session = session.json();
    let token = session["token"].as_str().unwrap();
    assert_eq!(renew(&leader, token).await.status, 200);
    assert_eq!(renew(&leader, &token[1..]).await.status, 401);
    assert_eq!(process.stop().await, Some(0));

    let log = std::fs::read_to_string(machine.home().join("leader.log")).unwrap();
    assert!(log.contains("/api/v1/auth/login"), "requests are logged at this level\n{log}");
    let secrets = [
        PASSWORD,
        token,
        &token[1..40],
        challenge["nonce"].as_str().unwrap(),
        body["challenge_signature"].as_str().unwrap(),
        "Zm9yZ2VkIHNpZ25hdHVyZQ",
        "argon2",
    ];
    for secret in secrets {
        assert!(!log.contains(secret), "{secret} is in\n{log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sends_a_signature_of_others_again_keeps_nobody_from_logging_in() {
    let site = Place::sqlite().start().await;
    let leader = &site.leader;
    let alice = Holder::registered(leader, 1).await;
    let set = alice.set_password(leader, &json!({ "password": "correct horse" })).await;
    assert_eq!(set.status, 200, "{set}");
    let public = attestations::body(&alice, &manifest("On locks", &[]), "all", &json!({}));
    let guess = with(public, "password", "a guess of a stranger");
    for _ in 0..10 {
        let answer = leader.post("/api/v1/attestations", &guess).send().await;
        assert_eq!(told(&answer), refused(403, "password_required"));
    }
    let eleventh = leader.post("/api/v1/attestations", &guess).send().await;
    assert_eq!(told(&eleventh), refused(429, "rate_limited"));

    let challenge = alice.challenge(leader, &json!({})).await;
    let body = with(alice.login_body(&challenge), "password", "correct horse");
    let answer = login(leader, &body).await;

    assert_eq!(answer.status, 200, "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_a_revoked_key_opens_nothing_from_that_moment_on() {
    let site = Place::sqlite().start().await;
    let leader = &site.leader;
    let alice = Holder::registered(leader, 1).await;
    let token = alice.login(leader).await;
    assert_eq!(renew(leader, &token).await.status, 200);

    let revoked = alice.end(leader, "revoke", &alice.revocation()).await;

    assert!(revoked.status < 300, "{revoked}");
    assert_eq!(told(&renew(leader, &token).await), refused(401, "unauthorized"));
    let event = json!({ "event_type": "x-it:event", "payload": {} });
    let answer = leader.post(ENTRIES, &event).token(&token).send().await;
    assert_eq!(told(&answer), refused(401, "unauthorized"));
    let challenge = alice.challenge(leader, &json!({})).await;
    let again = login(leader, &alice.login_body(&challenge)).await;
    assert_eq!(told(&again), refused(403, "key_not_active"));
}
