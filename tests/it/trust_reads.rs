//! What is read of endorsements, alerts, policies and claims, on leader and follower alike, and
//! what a verifier makes of it.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::attestations::{body, manifest};
use crate::people::{Ahead, Holder};
use crate::raw::Answer;
use crate::site::{Place, Running, Site, TOKEN, on_both};

on_both!(
    endorsements_are_listed_with_their_states_on_leader_and_follower,
    a_summary_says_what_a_key_may_give_and_what_each_of_its_endorsements_weighs,
    alerts_stand_until_their_author_withdraws_the_endorsement,
    trust_follows_the_endorsements_from_the_verifiers_anchors,
    policies_are_listed_and_pass_to_the_successor,
    claims_are_read_in_a_session_and_revealed_by_whoever_knows_them,
);

pub(crate) const DAY: i64 = 24 * 60 * 60 * 1_000;

pub(crate) async fn ask(leader: &Running, holder: &Holder, path: &str, request: &Value) -> Answer {
    let mut body = request.clone();
    body["auth"] = holder.auth(leader, &format!("POST {path}"), request).await;
    leader.post(&format!("/api/v1{path}"), &body).send().await
}

/// Appends what a holder asks for; answers the entry's id.
pub(crate) async fn appended(
    leader: &Running,
    holder: &Holder,
    path: &str,
    request: &Value,
) -> u64 {
    let answer = ask(leader, holder, path, request).await;
    assert_eq!(answer.status, 201, "{answer}");
    let entry = answer.json();
    assert_eq!(answer.header("location"), format!("/api/v1/log/{}", entry["id"]));
    entry["id"].as_u64().unwrap()
}

pub(crate) async fn offer(leader: &Running, from: &Holder, to: &Holder, more: &Value) -> u64 {
    let mut request = json!({
        "endorser_fingerprint": from.fingerprint(),
        "endorsed_fingerprint": to.fingerprint(),
        "category": "x-diogenes:human_attestation",
    });
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    appended(leader, from, "/endorsements/offer", &request).await
}

pub(crate) async fn accept(leader: &Running, to: &Holder, offer: u64) {
    let request = json!({ "offer_entry_id": offer, "endorsed_fingerprint": to.fingerprint() });
    appended(leader, to, "/endorsements/accept", &request).await;
}

pub(crate) async fn endorse(leader: &Running, from: &Holder, to: &Holder) -> u64 {
    let id = offer(leader, from, to, &json!({})).await;
    accept(leader, to, id).await;
    id
}

pub(crate) async fn withdraw(leader: &Running, from: &Holder, to: &Holder, offer: u64) {
    let request = json!({
        "endorser_fingerprint": from.fingerprint(),
        "endorsed_fingerprint": to.fingerprint(),
        "original_offer_entry_id": offer,
        "note": "we parted ways",
    });
    appended(leader, from, "/endorsements/withdraw", &request).await;
}

pub(crate) async fn operator_endorses(leader: &Running, holder: &Holder, category: &str) {
    let body = json!({ "fingerprint": holder.fingerprint(), "category": category });
    let request = leader.post("/api/v1/operator/endorsements", &body);
    let answer = request.header("authorization", &format!("Bearer {TOKEN}")).send().await;
    assert_eq!(answer.status, 201, "{answer}");
}

pub(crate) async fn people(leader: &Running, seeds: std::ops::Range<u8>) -> Vec<Holder> {
    let mut people = Vec::new();
    for seed in seeds {
        let holder = Holder::new(seed);
        let answer = holder.prove(leader, &format!("Person {seed}")).await;
        assert_eq!(answer.status, 201, "{answer}");
        people.push(holder);
    }
    people
}

/// An answer of the follower, after the leader's was seen to be the same.
pub(crate) async fn alike(site: &Site, follower: &Running, path: &str) -> Value {
    site.level(follower).await;
    let (ours, theirs) = (site.leader.get(path).await, follower.get(path).await);
    assert_eq!((ours.status, theirs.status), (200, 200), "{path}: {ours} {theirs}");
    let (mut ours, mut theirs) = (ours.json(), theirs.json());
    for answer in [&mut ours, &mut theirs] {
        if let Some(answer) = answer.as_object_mut() {
            answer.remove("as_of");
        }
    }
    assert_eq!(ours, theirs, "{path}");
    ours
}

pub(crate) const SOON: [(&str, &str); 1] = [("ENDORSEMENT_ACTIVATION_DELAY_SECONDS", "0")];

async fn endorsements_are_listed_with_their_states_on_leader_and_follower(place: Place) {
    let clock = Ahead::default();
    let site = place.start_at(&[], Arc::new(clock.clone())).await;
    let leader = &site.leader;
    let follower = site.follower_at(&[], Arc::new(clock.clone())).await;
    let people = people(leader, 1..5).await;
    let [alice, bob, carol, dave] = &people[..] else { unreachable!() };
    operator_endorses(leader, alice, "human_attestation").await;
    let metadata = json!({ "institutional_metadata": { "name": "Agora", "room": 7 },
        "category": "institutional_endorsement",
        "external_identifiers": [{ "type": "github", "value": "diogenes" }] });
    let open = offer(leader, bob, alice, &metadata).await;
    let taken = endorse(leader, carol, alice).await;
    let gone = offer(leader, dave, alice, &json!({})).await;
    withdraw(leader, dave, alice, gone).await;

    let path = format!("/api/v1/endorsements/{}", alice.fingerprint());
    let list = alike(&site, &follower, &path).await;

    assert_eq!(
        (&list["total"], &list["page"], &list["per_page"]),
        (&json!(4), &json!(1), &json!(1000))
    );
    let seen: Vec<_> = list["endorsements"]
        .as_array()
        .unwrap()
        .iter()
        .map(|of| (of["offer_entry_id"].as_u64().unwrap(), of["status"].as_str().unwrap()))
        .collect();
    assert_eq!(seen[1..], [(open, "offered"), (taken, "accepted"), (gone, "withdrawn")]);
    assert_eq!(seen[0].1, "active");
    let first = &list["endorsements"][1];
    assert_eq!(first["category"], "x-diogenes:institutional_endorsement");
    assert_eq!(first["endorser_fingerprint"], bob.fingerprint());
    assert_eq!(first["institutional_metadata"], metadata["institutional_metadata"]);
    assert_eq!(first["external_identifiers"], metadata["external_identifiers"]);
    assert_eq!((&first["weight"], &first["accepted_at"]), (&Value::Null, &Value::Null));

    clock.pass(3 * DAY);
    site.grow(1).await;
    let list = alike(&site, &follower, &path).await;
    assert_eq!(list["endorsements"][2]["status"], "active");
    assert_eq!(list["endorsements"][2]["weight"], json!(1));
    let second = alike(&site, &follower, &format!("{path}?per_page=2&page=2")).await;
    assert_eq!(
        second["endorsements"].as_array().unwrap()[..],
        list["endorsements"].as_array().unwrap()[2..]
    );
    let issued =
        alike(&site, &follower, &format!("/api/v1/endorsements/{}/issued", carol.fingerprint()))
            .await;
    assert_eq!(issued["endorsements"][0], list["endorsements"][2]);
    let page = leader.get(&format!("{path}?per_page=2")).await;
    assert_eq!(page.header("link"), format!("<{path}?per_page=2&page=2>; rel=\"next\""));
}

async fn a_summary_says_what_a_key_may_give_and_what_each_of_its_endorsements_weighs(place: Place) {
    let site = place.start_with(&SOON).await;
    let leader = &site.leader;
    let follower = site.follower().await;
    let people = people(leader, 1..10).await;
    let status = |holder: &Holder| format!("/api/v1/endorsements/{}/status", holder.fingerprint());

    // Whom the operator endorses has level 1 and passes standing on: two more for each endorser.
    for holder in &people[..2] {
        operator_endorses(leader, holder, "human_attestation").await;
    }
    let first = endorse(leader, &people[0], &people[2]).await;
    endorse(leader, &people[1], &people[2]).await;
    let summary = alike(&site, &follower, &status(&people[2])).await;
    assert_eq!((&summary["capacity"], &summary["used"]), (&json!(9), &json!(0)));
    assert_eq!((&summary["level"], &summary["received"]["active"]), (&json!(2), &json!(2)));

    for to in &people[3..9] {
        endorse(leader, &people[2], to).await;
    }
    withdraw(leader, &people[0], &people[2], first).await;
    withdraw(leader, &people[1], &people[2], {
        let list: Value =
            leader.json(&format!("/api/v1/endorsements/{}", people[2].fingerprint())).await;
        list["endorsements"][1]["offer_entry_id"].as_u64().unwrap()
    })
    .await;

    // Nobody stands for the key any more: it may give 5, gave 6, and each of them weighs 5/6.
    let summary = alike(&site, &follower, &status(&people[2])).await;
    assert_eq!(summary["received"]["withdrawn"], json!(2));
    assert_eq!((&summary["capacity"], &summary["used"]), (&json!(5), &json!(6)));
    assert_eq!((&summary["discount"], &summary["level"]), (&json!(0.833_333), &Value::Null));
    assert_eq!(summary["issued"]["active"], json!(6));
    let issued = format!("/api/v1/endorsements/{}/issued", people[2].fingerprint());
    let list = alike(&site, &follower, &issued).await;
    assert_eq!(list["endorsements"][5]["weight"], json!(0.833_333));
    let answer = ask(
        leader,
        &people[2],
        "/endorsements/offer",
        &json!({
            "endorser_fingerprint": people[2].fingerprint(),
            "endorsed_fingerprint": people[0].fingerprint(),
            "category": "human_attestation",
        }),
    )
    .await;
    assert_eq!((answer.status, answer.problem().as_str()), (409, "endorsement_capacity_exceeded"));
    let nobody =
        leader.get(&format!("/api/v1/endorsements/sha256:{}/status", "0".repeat(64))).await;
    assert_eq!((nobody.status, nobody.problem().as_str()), (404, "not_found"));
}

async fn alerts_stand_until_their_author_withdraws_the_endorsement(place: Place) {
    let site = place.start_with(&SOON).await;
    let leader = &site.leader;
    let follower = site.follower().await;
    let people = people(leader, 1..3).await;
    let [alice, bob] = &people[..] else { unreachable!() };
    let offered = endorse(leader, alice, bob).await;
    let alert = json!({
        "endorser_fingerprint": alice.fingerprint(),
        "compromised_fingerprint": bob.fingerprint(),
        "reason": "his laptop was stolen",
        "evidence": "he told me so",
    });
    let id = appended(leader, alice, "/endorsements/revocation-alert", &alert).await;

    let path = format!("/api/v1/endorsements/revocation-alerts/{}", bob.fingerprint());
    let list = alike(&site, &follower, &path).await;
    assert_eq!(list["total"], 1);
    let shown = &list["alerts"][0];
    assert_eq!((&shown["entry_id"], &shown["reason"]), (&json!(id), &alert["reason"]));
    assert_eq!(shown["endorser_fingerprint"], alice.fingerprint());
    assert_eq!(shown["evidence"], alert["evidence"]);
    let record = alike(&site, &follower, &format!("/api/v1/keys/{}", bob.fingerprint())).await;
    assert_eq!(record["alerts"], 1);
    let again = ask(leader, alice, "/endorsements/revocation-alert", &alert).await;
    assert_eq!((again.status, again.problem().as_str()), (409, "endorsement_conflict"));

    withdraw(leader, alice, bob, offered).await;
    assert_eq!(alike(&site, &follower, &path).await["alerts"], json!([]));
}

async fn trust_follows_the_endorsements_from_the_verifiers_anchors(place: Place) {
    let site = place.start_with(&SOON).await;
    let leader = &site.leader;
    let follower = site.follower().await;
    let people = people(leader, 1..5).await;
    let [verifier, friend, author, stranger] = &people[..] else { unreachable!() };
    let first = endorse(leader, verifier, friend).await;
    let second = endorse(leader, friend, author).await;
    let mut paper = manifest("On trust", &[]);
    for holder in [author, stranger] {
        let answer = leader
            .post("/api/v1/attestations", &body(holder, &paper, "all", &json!({})))
            .send()
            .await;
        assert_eq!(answer.status, 201, "{answer}");
        paper["attestations"].as_array_mut().unwrap().push(answer.json()["attestation"].clone());
    }
    let question = |more: Value| {
        let mut question = json!({
            "manifest": paper,
            "source_hash": paper["document"]["content_hash"],
        });
        question.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        question
    };
    site.level(&follower).await;
    let layer = async |more: Value| {
        let question = question(more);
        let mut layers = Vec::new();
        for node in [leader, &follower] {
            let answer = node.post("/api/v1/verify", &question).send().await;
            assert_eq!(answer.status, 200, "{answer}");
            let mut verdict = answer.json();
            assert_eq!(verdict["overall_status"], "valid", "{verdict}");
            verdict["layer3"].as_object_mut().unwrap().remove("as_of");
            layers.push(verdict["layer3"].take());
        }
        assert_eq!(layers[0], layers[1]);
        layers.remove(0)
    };

    let found = layer(json!({ "verifier_fingerprint": verifier.fingerprint() })).await;
    assert_eq!(found["status"], "untrusted");
    let [of_author, of_stranger] = [&found["attestations"][0], &found["attestations"][1]];
    assert_eq!((&of_author["status"], &of_author["score"]), (&json!("trusted"), &json!(0.25)));
    let path: Vec<_> = of_author["best_path"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["offer_entry_id"].as_u64().unwrap())
        .collect();
    assert_eq!(path, [first, second]);
    assert_eq!((&of_stranger["status"], &of_stranger["score"]), (&json!("untrusted"), &json!(0)));
    let found = layer(
        json!({ "trust_config": { "anchors": [friend.fingerprint(), stranger.fingerprint()] } }),
    )
    .await;
    assert_eq!(
        (&found["status"], &found["attestations"][0]["score"]),
        (&json!("trusted"), &json!(0.5))
    );
    assert_eq!(found["verifier_fingerprint"], Value::Null);

    // The verifier's own policy counts where the question brings none.
    let config = json!({ "anchors": [verifier.fingerprint()], "min_score": 0.3 });
    let request = json!({ "fingerprint": verifier.fingerprint(), "config": config });
    appended(leader, verifier, "/trust-configs", &request).await;
    site.level(&follower).await;
    let found = layer(json!({ "verifier_fingerprint": verifier.fingerprint() })).await;
    assert_eq!(found["attestations"][0]["status"], "untrusted");
    assert_eq!(found["policy"], config);

    // What a key was given passes to its successor, for signers and for anchors alike.
    let (heir, of_verifier) = (Holder::new(50), Holder::new(51));
    let answer = author.end(leader, "succeed", &author.succession(&heir, true)).await;
    assert_eq!(answer.status, 201, "{answer}");
    let answer = verifier.end(leader, "succeed", &verifier.succession(&of_verifier, true)).await;
    assert_eq!(answer.status, 201, "{answer}");
    site.level(&follower).await;
    let found = layer(json!({ "trust_config": { "anchors": [verifier.fingerprint()] } })).await;
    assert_eq!(found["attestations"][0]["status"], "trusted", "{found}");
    assert_eq!(found["attestations"][0]["assessed_fingerprint"], heir.fingerprint());

    for (wrong, pointer) in [
        (json!({ "trust_config": { "anchors": [] } }), "#/trust_config/anchors"),
        (
            json!({ "trust_config": { "anchors": [friend.fingerprint()], "decay": 2 } }),
            "#/trust_config/decay",
        ),
        (json!({ "verifier_fingerprint": "nobody" }), "#/verifier_fingerprint"),
    ] {
        let answer = leader.post("/api/v1/verify", &question(wrong)).send().await;
        assert_eq!(answer.status, 422, "{answer}");
        assert_eq!(answer.json()["errors"][0]["pointer"], pointer, "{answer}");
    }
}

async fn policies_are_listed_and_pass_to_the_successor(place: Place) {
    let site = place.start().await;
    let leader = &site.leader;
    let follower = site.follower().await;
    let people = people(leader, 1..3).await;
    let [alice, bob] = &people[..] else { unreachable!() };
    let config = json!({ "anchors": [bob.fingerprint()], "categories": ["human_attestation"] });
    let request = json!({ "fingerprint": alice.fingerprint(), "config": config });
    let id = appended(leader, alice, "/trust-configs", &request).await;

    let path = |holder: &Holder| format!("/api/v1/trust-configs/{}", holder.fingerprint());
    let one = alike(&site, &follower, &path(alice)).await;
    assert_eq!((&one["config"], &one["log_entry_id"]), (&config, &json!(id)));
    assert_eq!(one["fingerprint"], alice.fingerprint());
    let list = alike(&site, &follower, "/api/v1/trust-configs").await;
    assert_eq!((&list["trust_configs"][0], &list["total"]), (&one, &json!(1)));
    assert_eq!(leader.get(&path(bob)).await.status, 404);

    let heir = Holder::new(60);
    let answer = alice.end(leader, "succeed", &alice.succession(&heir, true)).await;
    assert_eq!(answer.status, 201, "{answer}");
    assert_eq!(alike(&site, &follower, &path(&heir)).await["config"], config);
    assert_eq!(leader.get(&path(alice)).await.status, 404);
    let end = json!({ "fingerprint": heir.fingerprint() });
    appended(leader, &heir, "/trust-configs/revoke", &end).await;
    assert_eq!(leader.get(&path(&heir)).await.status, 404);
    let again = ask(leader, &heir, "/trust-configs/revoke", &end).await;
    assert_eq!((again.status, again.problem().as_str()), (404, "not_found"));
}

async fn claims_are_read_in_a_session_and_revealed_by_whoever_knows_them(place: Place) {
    let site = place.start().await;
    let leader = &site.leader;
    let people = people(leader, 1..3).await;
    let [alice, bob] = &people[..] else { unreachable!() };
    let plaintext = json!({ "salt": "00112233445566778899aabbccddeeff", "value": "it was me" });
    let bound = {
        let claim = json!({ "claimant": alice.fingerprint(), "origin": "log.example/it", "plaintext": plaintext });
        let mut bytes = b"diogenes-claim/v1\n".to_vec();
        bytes.extend(diogenes_common::canonical::to_vec(&claim));
        diogenes_common::merkle::Hash::of(&bytes).to_string()
    };
    let request = json!({
        "claimant_fingerprint": alice.fingerprint(),
        "commitment": bound,
        "ciphertext": "AAECAw==",
        "encryption": { "algorithm": "x25519-chacha20poly1305" },
    });
    let answer = ask(leader, alice, "/claims", &request).await;
    assert_eq!(answer.status, 201, "{answer}");
    let id = answer.json()["entry_id"].as_u64().unwrap();
    assert_eq!(answer.json()["commitment"], bound);
    let again = ask(leader, bob, "/claims", &{
        let mut copied = request.clone();
        copied["claimant_fingerprint"] = json!(bob.fingerprint());
        copied
    })
    .await;
    assert_eq!((again.status, again.problem().as_str()), (409, "conflict"));

    let one = format!("/api/v1/claims/{id}");
    for path in ["/api/v1/claims", &one] {
        let answer = leader.get(path).await;
        assert_eq!((answer.status, answer.problem().as_str()), (401, "unauthorized"));
    }
    let session = format!("Bearer {}", bob.login(leader).await);
    let read = async |path: &str| {
        let answer = leader.request("GET", path).header("authorization", &session).send().await;
        assert_eq!((answer.status, answer.header("cache-control")), (200, "no-store"), "{answer}");
        answer.json()
    };
    let list: Value = read("/api/v1/claims").await;
    assert_eq!((&list["total"], &list["claims"][0]["entry_id"]), (&json!(1), &json!(id)));
    let claim: Value = read(&one).await;
    assert_eq!(
        (&claim["ciphertext"], &claim["encryption"]),
        (&request["ciphertext"], &request["encryption"])
    );
    assert_eq!(claim["revealed_by"], Value::Null);
    let none: Value = read(&format!("/api/v1/claims?claimant={}", bob.fingerprint())).await;
    assert_eq!(none["claims"], json!([]));

    let reveal = async |plaintext: &Value| {
        leader.post(&format!("{one}/reveal"), &json!({ "plaintext": plaintext })).send().await
    };
    let size = site.size().await;
    let wrong = reveal(&json!({ "value": "it was you" })).await;
    assert_eq!((wrong.status, wrong.json()), (200, json!({ "valid": false })));
    assert_eq!(site.size().await, size);
    let right = reveal(&plaintext).await;
    assert_eq!(right.status, 201, "{right}");
    assert_eq!((&right.json()["valid"], &right.json()["bound"]), (&json!(true), &json!(true)));
    let claim: Value = read(&one).await;
    assert_eq!(claim["revealed_by"], right.json()["entry_id"]);
    let again = reveal(&plaintext).await;
    assert_eq!((again.status, again.problem().as_str()), (409, "conflict"));
    let nothing = leader.post("/api/v1/claims/1/reveal", &json!({ "plaintext": {} })).send().await;
    assert_eq!(nothing.status, 404);
}
