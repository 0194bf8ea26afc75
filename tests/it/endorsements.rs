//! People endorse each other: whoever may, may; everybody else is told what to change; and a
//! follower takes all of it.

use std::sync::Arc;

use diogenes_common::clock::Timestamp;
use serde_json::{Value, json};

use crate::people::{Ahead, Holder, refused, told};
use crate::raw::Answer;
use crate::site::{Place, Running, Site, now, on_both};
use crate::view_rows;

on_both!(
    an_endorsement_is_offered_accepted_and_ended_with_the_members_of_the_reference,
    endorsements_come_through_the_log_too,
    a_holder_authorises_in_each_of_three_ways_and_nobody_else_does,
    what_is_signed_for_one_thing_is_worth_nothing_for_another,
    a_repeat_with_its_idempotency_key_finds_what_was_appended,
    rules_of_state_are_told_with_what_to_change,
    an_endorser_warns_of_a_key_until_thirty_days_after,
    offers_are_limited_by_the_day_whichever_way_they_come,
);

const OFFER: &str = "/endorsements/offer";
const ACCEPT: &str = "/endorsements/accept";
const WITHDRAW: &str = "/endorsements/withdraw";
const REVOKE: &str = "/endorsements/revoke-acceptance";
const ALERT: &str = "/endorsements/revocation-alert";
const ENTRIES: &str = "/api/v1/log/entries";
const DAY: i64 = 24 * 60 * 60 * 1_000;
/// Endorsements count at once.
const AT_ONCE: [(&str, &str); 1] = [("ENDORSEMENT_ACTIVATION_DELAY_SECONDS", "0")];

fn offer(from: &Holder, to: &Holder) -> Value {
    json!({
        "endorser_fingerprint": from.fingerprint(),
        "endorsed_fingerprint": to.fingerprint(),
        "category": "x-diogenes:human_attestation",
    })
}

fn acceptance(offer: u64, of: &Holder) -> Value {
    json!({ "offer_entry_id": offer, "endorsed_fingerprint": of.fingerprint() })
}

fn withdrawal(offer: u64, from: &Holder, to: &Holder) -> Value {
    json!({
        "endorser_fingerprint": from.fingerprint(),
        "endorsed_fingerprint": to.fingerprint(),
        "original_offer_entry_id": offer,
        "note": "we parted",
    })
}

fn revocation(offer: u64, of: &Holder) -> Value {
    json!({
        "endorsed_fingerprint": of.fingerprint(),
        "original_offer_entry_id": offer,
        "note": "a mistake",
    })
}

fn alert(from: &Holder, of: &Holder) -> Value {
    json!({
        "endorser_fingerprint": from.fingerprint(),
        "compromised_fingerprint": of.fingerprint(),
        "reason": "its key was stolen",
    })
}

fn with(mut body: Value, member: &str, value: Value) -> Value {
    body[member] = value;
    body
}

async fn people<const N: usize>(leader: &Running) -> [Holder; N] {
    let mut people = Vec::new();
    for seed in 1..=u8::try_from(N).unwrap() {
        people.push(Holder::registered(leader, seed).await);
    }
    people.try_into().unwrap_or_else(|_| unreachable!())
}

/// The number of the entry that was appended.
fn entry(answer: &Answer) -> u64 {
    assert_eq!(answer.status, 201, "{answer}");
    answer.json()["id"].as_u64().unwrap()
}

/// An endorsement that counts if the site's do at once; answers the entry of its offer.
async fn endorsed(leader: &Running, from: &Holder, to: &Holder) -> u64 {
    let id = entry(&from.ask(leader, OFFER, &offer(from, to)).await);
    entry(&to.ask(leader, ACCEPT, &acceptance(id, to)).await);
    id
}

/// A follower takes the whole log, and holds the same rows.
async fn followed(site: &Site) {
    followed_at(site, Ahead::default()).await;
}

async fn followed_at(site: &Site, clock: Ahead) {
    site.check().await;
    let follower = site.follower_at(&[], Arc::new(clock)).await;
    site.level(&follower).await;
    let ours = view_rows::dump(site.leader.database()).await;
    let theirs = view_rows::dump(follower.database()).await;
    assert!(!ours["view_endorsements"].is_empty());
    for (table, rows) in &ours {
        assert_eq!(rows, &theirs[table], "{table}");
    }
    assert!(ours["view_no_effect"].is_empty(), "{ours:?}");
}

async fn an_endorsement_is_offered_accepted_and_ended_with_the_members_of_the_reference(
    place: Place,
) {
    let site = place.start_with(&AT_ONCE).await;
    let leader = &site.leader;
    let [alice, bob] = people(leader).await;
    let full = json!({
        "endorser_fingerprint": alice.fingerprint(),
        "endorsed_fingerprint": bob.fingerprint(),
        "category": "x-diogenes:institutional_endorsement",
        "valid_until": "2099-01-15T00:00:00+01:00",
        "institutional_metadata": { "name": "Academy", "seat": "Athens" },
        "external_identifiers": [{ "type": "orcid", "value": "0000-0002-1825-0097" }],
    });

    let answer = alice.ask(leader, OFFER, &full).await;

    let id = entry(&answer);
    assert_eq!(answer.header("location"), format!("/api/v1/log/{id}"));
    let shown = answer.json();
    assert_eq!(shown, leader.json::<Value>(&format!("/api/v1/log/{id}")).await);
    let payload = &shown["payload"];
    assert_eq!(shown["event_type"], "endorsement_offer");
    for member in ["endorser_fingerprint", "category", "external_identifiers"] {
        assert_eq!(payload[member], full[member], "{member}");
    }
    assert_eq!(payload["institutional_metadata"], full["institutional_metadata"]);
    assert_eq!(payload["valid_until"], "2099-01-14T23:00:00.000Z");
    assert_eq!(payload["authorization"]["form"], "signed");
    assert_eq!(payload["authorization"]["request"], full, "as it was received");
    assert_eq!(payload["public_key"], json!(alice.0.public().to_pem()));

    let accepted = bob.ask(leader, ACCEPT, &acceptance(id, &bob)).await;
    entry(&accepted);
    let accepted = accepted.json();
    assert_eq!(accepted["event_type"], "endorsement_acceptance");
    assert_eq!(accepted["payload"]["endorser_fingerprint"], alice.fingerprint());
    assert!(accepted["payload"]["active_from"].is_string());
    let warned = alice.ask(leader, ALERT, &alert(&alice, &bob)).await;
    assert_eq!(warned.status, 201, "{warned}");
    assert_eq!(warned.json()["event_type"], "endorsement_revocation_alert");
    let ended = bob.ask(leader, REVOKE, &revocation(id, &bob)).await;
    assert_eq!(ended.status, 201, "{ended}");
    assert_eq!(ended.json()["event_type"], "endorsement_acceptance_revocation");
    let second = endorsed(leader, &alice, &bob).await;
    let ended = alice.ask(leader, WITHDRAW, &withdrawal(second, &alice, &bob)).await;
    assert_eq!(ended.status, 201, "{ended}");
    assert_eq!(ended.json()["payload"]["note"], "we parted");
    followed(&site).await;
}

async fn endorsements_come_through_the_log_too(place: Place) {
    let site = place.start_with(&AT_ONCE).await;
    let leader = &site.leader;
    let [alice, bob] = people(leader).await;
    let submit = async |by: &Holder, event_type: &str, path: &str, request: Value| {
        let auth = by.auth(leader, &format!("POST {path}"), &request).await;
        let event = json!({ "event_type": event_type, "payload": request, "auth": auth });
        leader.post(ENTRIES, &event).send().await
    };

    let id = entry(&submit(&alice, "endorsement_offer", OFFER, offer(&alice, &bob)).await);
    let accepted = acceptance(id, &bob);
    let again = submit(&alice, "endorsement_offer", OFFER, offer(&alice, &bob)).await;
    assert_eq!(told(&again), refused(409, "endorsement_conflict"));
    entry(&submit(&bob, "endorsement_acceptance", ACCEPT, accepted).await);
    let warned = alert(&alice, &bob);
    entry(&submit(&alice, "endorsement_revocation_alert", ALERT, warned).await);
    let ended = revocation(id, &bob);
    entry(&submit(&bob, "endorsement_acceptance_revocation", REVOKE, ended).await);
    let second = entry(&submit(&alice, "endorsement_offer", OFFER, offer(&alice, &bob)).await);
    let ended = withdrawal(second, &alice, &bob);
    entry(&submit(&alice, "endorsement_withdrawal", WITHDRAW, ended).await);

    let wrong = with(offer(&alice, &bob), "category", json!("x-diogenes:witness"));
    let reserved = submit(&alice, "endorsement_offer", OFFER, wrong).await;
    assert_eq!(told(&reserved), refused(403, "category_reserved"));
    let inside = with(offer(&alice, &bob), "auth", json!({}));
    let strict = submit(&alice, "endorsement_offer", OFFER, inside).await;
    assert_eq!(strict.status, 422, "{strict}");
    followed(&site).await;
}

async fn a_holder_authorises_in_each_of_three_ways_and_nobody_else_does(place: Place) {
    let site = place.start().await;
    let leader = &site.leader;
    let [alice, bob, carol, dave] = people(leader).await;
    let url = format!("/api/v1{OFFER}");
    let form = |answer: &Answer| answer.json()["payload"]["authorization"].clone();

    let bare = alice.ask_barely(leader, OFFER, &offer(&alice, &bob)).await;
    assert_eq!((bare.status, form(&bare)), (201, json!({ "form": "legacy" })), "{bare}");
    let (token, other) = (alice.login(leader).await, bob.login(leader).await);
    let request = offer(&alice, &carol);
    let by_session = leader.post(&url, &request).token(&token).send().await;
    assert_eq!((by_session.status, form(&by_session)), (201, json!({ "form": "session" })));
    let null = with(offer(&alice, &dave), "auth", Value::Null);
    assert_eq!(leader.post(&url, &null).token(&token).send().await.status, 201);
    let again = alice.ask_barely(leader, OFFER, &offer(&alice, &dave)).await;
    assert_eq!(told(&again), refused(403, "challenge_failed"), "it can do better");

    let request = offer(&alice, &bob);
    let nothing = leader.post(&url, &request).send().await;
    assert_eq!(told(&nothing), refused(401, "unauthorized"));
    assert_eq!(nothing.header("www-authenticate"), "Bearer");
    let others = leader.post(&url, &request).token(&other).send().await;
    assert_eq!(told(&others), refused(403, "forbidden"));
    let broken = leader.post(&url, &request).token("a.b.c").send().await;
    assert_eq!(told(&broken), refused(401, "unauthorized"));
    let auth = bob.auth(leader, &format!("POST {OFFER}"), &request).await;
    let answered = leader.post(&url, &with(request.clone(), "auth", auth)).send().await;
    assert_eq!(told(&answered), refused(403, "challenge_failed"));

    let set = carol.set_password(leader, &json!({ "password": "correct horse" })).await;
    assert_eq!(set.status, 200, "{set}");
    let request = offer(&carol, &alice);
    let mut auth = carol.auth(leader, &format!("POST {OFFER}"), &request).await;
    let without = leader.post(&url, &with(request.clone(), "auth", auth.clone())).send().await;
    assert_eq!(told(&without), refused(403, "password_required"));
    auth["password"] = json!("correct horse");
    let right = leader.post(&url, &with(request, "auth", auth)).send().await;
    assert_eq!(right.status, 201, "{right}");
    followed(&site).await;
}

async fn what_is_signed_for_one_thing_is_worth_nothing_for_another(place: Place) {
    let clock = Ahead::default();
    let site = place.start_at(&AT_ONCE, Arc::new(clock.clone())).await;
    let leader = &site.leader;
    let [alice, bob, carol] = people(leader).await;
    let (url, action) = (format!("/api/v1{OFFER}"), format!("POST {OFFER}"));
    let size = site.size().await;
    let request = offer(&alice, &bob);
    let sent = async |body: &Value, auth: &Value| {
        leader.post(&url, &with(body.clone(), "auth", auth.clone())).send().await
    };

    for (action, signed) in [
        ("POST /endorsements/accept", request.clone()),
        ("POST /keys/revoke", request.clone()),
        ("login", request.clone()),
        (action.as_str(), offer(&alice, &carol)),
        (action.as_str(), with(request.clone(), "category", json!("human_attestation"))),
        (action.as_str(), with(request.clone(), "valid_until", Value::Null)),
    ] {
        let auth = alice.auth(leader, action, &signed).await;
        let answer = sent(&request, &auth).await;
        assert_eq!(told(&answer), refused(403, "challenge_failed"), "{action} {signed}");
    }
    let for_login = alice.challenge(leader, &json!({ "purpose": "login" })).await;
    let auth = json!({
        "challenge_id": for_login["challenge_id"],
        "challenge_signature": alice.answer(&for_login, &action, Some(&request)),
    });
    assert_eq!(told(&sent(&request, &auth).await), refused(422, "validation_failed"));
    let late = alice.auth(leader, &action, &request).await;
    clock.pass(5 * 60_000);
    assert_eq!(told(&sent(&request, &late).await), refused(410, "challenge_expired"));
    assert_eq!(site.size().await, size, "nothing was appended");

    let once = alice.auth(leader, &action, &request).await;
    assert_eq!(sent(&request, &once).await.status, 201);
    let twice = sent(&offer(&alice, &carol), &once).await;
    assert_eq!(told(&twice), refused(409, "challenge_used"));
}

async fn a_repeat_with_its_idempotency_key_finds_what_was_appended(place: Place) {
    let site = place.start_with(&[("RATE_LIMIT_ENDORSEMENT_OFFER", "1")]).await;
    let leader = &site.leader;
    let [alice, bob, carol] = people(leader).await;
    let url = format!("/api/v1{OFFER}");
    let request = offer(&alice, &bob);
    let auth = alice.auth(leader, &format!("POST {OFFER}"), &request).await;
    let body = with(request, "auth", auth);
    let send = |body: &Value| leader.post(&url, body).header("idempotency-key", "\"k-1\"").send();

    let first = send(&body).await;
    let repeat = send(&body).await;
    let request = offer(&alice, &carol);
    let auth = alice.auth(leader, &format!("POST {OFFER}"), &request).await;
    let other = send(&with(request, "auth", auth)).await;

    let id = entry(&first);
    assert_eq!((repeat.status, &repeat.json()), (200, &first.json()), "{repeat}");
    assert_eq!(told(&other), refused(422, "idempotency_conflict"));
    assert_eq!(site.size().await, id, "one entry came of it");
}

async fn rules_of_state_are_told_with_what_to_change(place: Place) {
    let clock = Ahead::default();
    let site = place.start_at(&[], Arc::new(clock.clone())).await;
    let leader = &site.leader;
    let [alice, bob, carol, dave, eve, frank, grace] = people(leader).await;
    let stranger = Holder::new(99);
    let id = entry(&alice.ask(leader, OFFER, &offer(&alice, &bob)).await);
    let conflict = || refused(409, "endorsement_conflict");

    let again = alice.ask(leader, OFFER, &offer(&alice, &bob)).await;
    assert_eq!(told(&again), conflict());
    let unknown = alice.ask(leader, OFFER, &offer(&alice, &stranger)).await;
    assert_eq!(told(&unknown), refused(403, "key_not_active"));
    let early = alice.ask(leader, ALERT, &alert(&alice, &bob)).await;
    assert_eq!(told(&early), refused(403, "forbidden"));
    let early = bob.ask(leader, REVOKE, &revocation(id, &bob)).await;
    assert_eq!(told(&early), conflict());
    let not_his = carol.ask(leader, ACCEPT, &acceptance(id, &carol)).await;
    assert_eq!(told(&not_his), refused(404, "not_found"));
    let none = bob.ask(leader, ACCEPT, &acceptance(id + 1_000, &bob)).await;
    assert_eq!(told(&none), refused(404, "not_found"));
    let not_hers = carol.ask(leader, WITHDRAW, &withdrawal(id, &carol, &bob)).await;
    assert_eq!(told(&not_hers), refused(404, "not_found"));
    entry(&bob.ask(leader, ACCEPT, &acceptance(id, &bob)).await);
    let twice = bob.ask(leader, ACCEPT, &acceptance(id, &bob)).await;
    assert_eq!(told(&twice), conflict());

    for to in [&carol, &dave, &eve, &frank] {
        entry(&alice.ask(leader, OFFER, &offer(&alice, to)).await);
    }
    let sixth = alice.ask(leader, OFFER, &offer(&alice, &grace)).await;
    assert_eq!(told(&sixth), refused(409, "endorsement_capacity_exceeded"));
    let detail = sixth.json()["detail"].to_string();
    assert!(detail.contains("withdraw"), "{detail}");
    entry(&alice.ask(leader, WITHDRAW, &withdrawal(id, &alice, &bob)).await);
    let over = alice.ask(leader, WITHDRAW, &withdrawal(id, &alice, &bob)).await;
    assert_eq!(told(&over), conflict());
    entry(&alice.ask(leader, OFFER, &offer(&alice, &grace)).await);

    assert_eq!(dave.end(leader, "revoke", &dave.revocation()).await.status, 201);
    let to_gone = carol.ask(leader, OFFER, &offer(&carol, &dave)).await;
    assert_eq!(told(&to_gone), refused(403, "key_not_active"));
    let by_gone = dave.ask(leader, OFFER, &offer(&dave, &carol)).await;
    assert_eq!(told(&by_gone), refused(403, "key_not_active"));
    let until: Timestamp = now().plus_millis(DAY);
    let short = with(offer(&carol, &eve), "valid_until", json!(until));
    let short = entry(&carol.ask(leader, OFFER, &short).await);
    clock.pass(DAY);
    let late = eve.ask(leader, ACCEPT, &acceptance(short, &eve)).await;
    assert_eq!(told(&late), conflict());
    followed_at(&site, clock).await;
}

async fn an_endorser_warns_of_a_key_until_thirty_days_after(place: Place) {
    let clock = Ahead::default();
    let site = place.start_at(&AT_ONCE, Arc::new(clock.clone())).await;
    let leader = &site.leader;
    let [alice, bob, carol] = people(leader).await;
    let by_alice = endorsed(leader, &alice, &bob).await;
    endorsed(leader, &carol, &bob).await;

    entry(&alice.ask(leader, ALERT, &alert(&alice, &bob)).await);
    let twice = alice.ask(leader, ALERT, &alert(&alice, &bob)).await;
    assert_eq!(told(&twice), refused(409, "endorsement_conflict"));
    entry(&alice.ask(leader, WITHDRAW, &withdrawal(by_alice, &alice, &bob)).await);
    let evidence = with(alert(&alice, &bob), "evidence", json!("é".repeat(5_000)));
    entry(&alice.ask(leader, ALERT, &evidence).await);
    assert_eq!(bob.end(leader, "revoke", &bob.revocation()).await.status, 201);
    clock.pass(31 * DAY);
    let late = carol.ask(leader, ALERT, &alert(&carol, &bob)).await;
    assert_eq!(told(&late), refused(403, "forbidden"));
    assert!(late.json()["detail"].to_string().contains("30 days"), "{late}");
    followed_at(&site, clock).await;
}

async fn offers_are_limited_by_the_day_whichever_way_they_come(place: Place) {
    let site = place.start_with(&[("RATE_LIMIT_ENDORSEMENT_OFFER", "2")]).await;
    let leader = &site.leader;
    let [alice, bob, carol, dave] = people(leader).await;
    let request = offer(&alice, &carol);
    let auth = alice.auth(leader, &format!("POST {OFFER}"), &request).await;
    let event = json!({ "event_type": "endorsement_offer", "payload": request, "auth": auth });

    entry(&alice.ask(leader, OFFER, &offer(&alice, &bob)).await);
    entry(&leader.post(ENTRIES, &event).send().await);
    let third = alice.ask(leader, OFFER, &offer(&alice, &dave)).await;
    let request = offer(&alice, &dave);
    let auth = alice.auth(leader, &format!("POST {OFFER}"), &request).await;
    let event = json!({ "event_type": "endorsement_offer", "payload": request, "auth": auth });
    let fourth = leader.post(ENTRIES, &event).send().await;

    for answer in [&third, &fourth] {
        assert_eq!(told(answer), refused(429, "rate_limited"));
        assert!(answer.header("retry-after").parse::<u64>().unwrap() > 0);
        assert_eq!(answer.header("ratelimit-policy"), "\"endorsement-offer\";q=2;w=86400");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_can_not_be_are_refused_with_a_pointer_to_the_fault() {
    let site = Place::sqlite().start().await;
    let leader = &site.leader;
    let [alice, bob] = people(leader).await;
    let id = endorsed(leader, &alice, &bob).await;
    let size = site.size().await;
    let many = vec![json!({ "type": "github", "value": "diogenes" }); 17];
    let (plain, taken) = (offer(&alice, &bob), acceptance(id, &bob));
    let (parted, back) = (withdrawal(id, &alice, &bob), revocation(id, &bob));
    let warned = alert(&alice, &bob);
    let invalid = "validation_failed";
    let cases = [
        (OFFER, &plain, "category", json!("x-diogenes:witness"), 403, "category_reserved"),
        (OFFER, &plain, "category", json!("federation_operator"), 403, "category_reserved"),
        (OFFER, &plain, "category", json!("friend"), 422, invalid),
        (OFFER, &plain, "category", json!(7), 422, invalid),
        (OFFER, &plain, "endorsed_fingerprint", json!(alice.fingerprint()), 422, invalid),
        (OFFER, &plain, "endorsed_fingerprint", json!("sha256:12"), 422, invalid),
        (OFFER, &plain, "valid_until", json!("tomorrow"), 422, invalid),
        (OFFER, &plain, "institutional_metadata", json!([]), 422, invalid),
        (OFFER, &plain, "institutional_metadata", json!({ "name": "" }), 422, invalid),
        (OFFER, &plain, "institutional_metadata", json!({ "a": "x".repeat(4_096) }), 422, invalid),
        (OFFER, &plain, "external_identifiers", json!(many), 422, invalid),
        (
            OFFER,
            &plain,
            "external_identifiers",
            json!([{ "type": "isbn", "value": "1" }]),
            422,
            invalid,
        ),
        (OFFER, &plain, "friends", json!(1), 422, "unknown_field"),
        (ACCEPT, &taken, "offer_entry_id", json!("7"), 422, invalid),
        (ACCEPT, &taken, "offer_entry_id", json!(-1), 422, invalid),
        (ACCEPT, &taken, "endorser_fingerprint", json!(alice.fingerprint()), 422, "unknown_field"),
        (WITHDRAW, &parted, "note", json!(""), 422, invalid),
        (WITHDRAW, &parted, "note", json!("x".repeat(1_001)), 422, invalid),
        (WITHDRAW, &parted, "note", Value::Null, 422, invalid),
        (REVOKE, &back, "note", json!("x".repeat(1_001)), 422, invalid),
        (REVOKE, &back, "original_offer_entry_id", json!(1.5), 422, invalid),
        (ALERT, &warned, "reason", json!("x".repeat(1_001)), 422, invalid),
        (ALERT, &warned, "evidence", json!("x".repeat(5_001)), 422, invalid),
        (ALERT, &warned, "compromised_fingerprint", json!(alice.fingerprint()), 422, invalid),
        (ALERT, &warned, "proof", json!("x"), 422, "unknown_field"),
    ];

    for (path, request, member, value, status, code) in cases {
        let by = if [ACCEPT, REVOKE].contains(&path) { &bob } else { &alice };
        let body = with(request.clone(), member, value.clone());
        let answer = by.ask(leader, path, &body).await;
        assert_eq!(told(&answer), refused(status, code), "{path} {member} {value}: {answer}");
        let pointer = answer.json()["errors"][0]["pointer"].clone();
        let pointer = pointer.as_str().unwrap_or_default();
        assert!(pointer.starts_with(&format!("#/{member}")), "{path} {member} {value}: {answer}");
    }
    for (path, request) in [(OFFER, plain), (ACCEPT, taken), (WITHDRAW, parted), (REVOKE, back)] {
        for member in request.as_object().unwrap().keys() {
            let mut body = request.clone();
            body.as_object_mut().unwrap().remove(member);
            let answer = alice.ask(leader, path, &body).await;
            assert_eq!(told(&answer), refused(422, invalid), "{path} without {member}");
            assert!(answer.json()["detail"].to_string().contains(member), "{member}: {answer}");
        }
    }
    let past = with(offer(&bob, &alice), "valid_until", json!("2020-01-01T00:00:00Z"));
    let past = bob.ask(leader, OFFER, &past).await;
    assert_eq!(told(&past), refused(422, invalid));
    assert!(past.json()["detail"].to_string().contains("valid_until"), "{past}");
    assert_eq!(site.size().await, size, "nothing was appended");
}
