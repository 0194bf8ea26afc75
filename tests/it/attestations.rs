//! People attest documents: the log keeps what they signed, and what it covers.

use serde_json::{Value, json};

use crate::people::{Holder, refused, told};
use crate::raw::Answer;
use crate::site::{Place, Running, on_both};

on_both!(
    an_attestation_is_recorded_with_what_its_signature_binds,
    the_same_attestation_again_is_the_same_entry,
    a_signature_that_does_not_cover_the_type_stands_for_one_type,
    the_key_of_an_attestation_is_registered_with_it,
);

const ATTESTATIONS: &str = "/api/v1/attestations";

pub(crate) fn manifest(title: &str, listed: &[&Value]) -> Value {
    let content_hash = diogenes_common::merkle::Hash::of(title.as_bytes());
    json!({
        "document": { "title": title, "content_hash": content_hash, "pages": 3 },
        "attestations": listed,
    })
}

fn without_attestations(manifest: &Value) -> Value {
    json!({ "document": manifest["document"], "attestations": [] })
}

/// The body of an attestation by a signature over the manifest in the named form.
pub(crate) fn body(holder: &Holder, manifest: &Value, binds: &str, more: &Value) -> Value {
    let listed = manifest["attestations"].as_array().unwrap();
    let parents: Vec<&Value> = listed.iter().map(|listed| &listed["id"]).collect();
    let hash = diogenes_common::merkle::Hash::of(&diogenes_common::canonical::to_vec(
        &without_attestations(manifest),
    ));
    let mut body = json!({
        "manifest": manifest,
        "public_key_pem": holder.0.public().to_pem(),
        "attestation_type": "authorship",
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body["signature"] = match binds {
        "manifest" => holder.sign_claim("", &without_attestations(manifest)),
        "manifest+parents" => holder.sign_claim("", manifest),
        _ => holder.sign_claim(
            "diogenes-attestation/v1\n",
            &json!({
                "content_hash": manifest["document"]["content_hash"],
                "intent_statement": body["intent_statement"],
                "manifest_hash": hash,
                "parents": parents,
                "type": body["attestation_type"],
            }),
        ),
    };
    body
}

async fn attest(leader: &Running, body: &Value) -> Answer {
    leader.post(ATTESTATIONS, body).send().await
}

async fn an_attestation_is_recorded_with_what_its_signature_binds(place: Place) {
    let site = place.start().await;
    let leader = &site.leader;
    let (alice, bob) = (Holder::registered(leader, 1).await, Holder::registered(leader, 2).await);
    let paper = manifest("On lamps", &[]);

    let first =
        attest(leader, &body(&alice, &paper, "manifest", &json!({ "intent_statement": "mine" })))
            .await;

    assert_eq!(first.status, 201, "{first}");
    let first = first.json();
    let attestation = &first["attestation"];
    assert_eq!(attestation["type"], json!("authorship"));
    assert_eq!(attestation["scope"]["content_hash"], paper["document"]["content_hash"]);
    assert_eq!(attestation["signer_key_fingerprint"], json!(alice.fingerprint()));
    assert_eq!(attestation["signature_algorithm"], json!("ed25519"));
    assert_eq!(attestation["id"].as_str().map(str::len), Some(32));
    assert_eq!(
        (&first["fingerprint"], &first["pseudonym"]),
        (&json!(alice.fingerprint()), &json!("Alice"))
    );
    assert_eq!(attestation["binds"], json!("manifest"));
    assert_eq!(attestation["intent_statement"], Value::Null, "nobody signed it");
    assert_eq!(attestation["submitter_claims"]["intent_statement"], json!("mine"));
    let both = manifest("On lamps", &[attestation]);
    let review = json!({ "attestation_type": "peer_review", "intent_statement": "I read it" });
    let second = attest(
        leader,
        &body(&bob, &both, "manifest+parents", &json!({ "attestation_type": "editorial_review" })),
    )
    .await
    .json();
    assert_eq!(second["attestation"]["binds"], json!("manifest+parents"));
    assert_eq!(second["attestation"]["parents"], json!([attestation["id"]]));
    let third = attest(leader, &body(&bob, &both, "all", &review)).await.json();
    assert_eq!(third["attestation"]["binds"], json!("all"));
    assert_eq!(third["attestation"]["intent_statement"], json!("I read it"));
    let follower = site.follower().await;
    site.level(&follower).await;
    site.check().await;
}

async fn the_same_attestation_again_is_the_same_entry(place: Place) {
    let site = place.start().await;
    let leader = &site.leader;
    let alice = Holder::registered(leader, 1).await;
    let body = body(&alice, &manifest("On tubs", &[]), "all", &json!({}));

    let (first, again) = (attest(leader, &body).await, attest(leader, &body).await);
    let event = json!({ "event_type": "attestation", "payload": body });
    let as_event = leader.post("/api/v1/log/entries", &event).send().await;

    assert_eq!((first.status, again.status, as_event.status), (201, 200, 200));
    assert_eq!(first.json(), again.json());
    assert_eq!(first.json()["log_entry_id"], as_event.json()["id"]);
}

async fn a_signature_that_does_not_cover_the_type_stands_for_one_type(place: Place) {
    let site = place.start().await;
    let leader = &site.leader;
    let alice = Holder::registered(leader, 1).await;
    let paper = manifest("On theft", &[]);
    let of = |kind: &str| body(&alice, &paper, "manifest", &json!({ "attestation_type": kind }));
    assert_eq!(attest(leader, &of("authorship")).await.status, 201);

    let relabelled = attest(leader, &of("publication")).await;

    assert_eq!(told(&relabelled), refused(409, "type_not_signed"));
    let token = alice.login(leader).await;
    let meant = leader.post(ATTESTATIONS, &of("publication")).token(&token).send().await;
    assert_eq!(meant.status, 201, "{meant}");
    assert_eq!(meant.json()["attestation"]["leader_asserted"], json!(true));
    let back = attest(leader, &of("editorial_review")).await;
    assert_eq!(told(&back), refused(409, "type_not_signed"));
}

async fn the_key_of_an_attestation_is_registered_with_it(place: Place) {
    let site = place.start().await;
    let leader = &site.leader;
    let alice = Holder::new(1);
    let paper = manifest("On names", &[]);
    let nameless = attest(leader, &body(&alice, &paper, "all", &json!({}))).await;
    assert_eq!(told(&nameless), refused(422, "validation_failed"));
    let before = site.size().await;

    let answer =
        attest(leader, &body(&alice, &paper, "all", &json!({ "pseudonym": "Alice" }))).await;

    assert_eq!(answer.status, 201, "{answer}");
    assert_eq!(answer.json()["log_entry_id"], json!(before + 2), "after the registration");
    assert_eq!(answer.json()["pseudonym"], json!("Alice"));
    let key: Value = leader.json(&format!("/api/v1/keys/{}", alice.fingerprint())).await;
    assert_eq!(key["proof_of_possession"], json!(false), "nobody signed the name");
    let renamed =
        body(&alice, &manifest("On fame", &[]), "all", &json!({ "pseudonym": "Mallory" }));
    assert_eq!(attest(leader, &renamed).await.json()["pseudonym"], json!("Alice"));
}

#[tokio::test]
async fn what_is_wrong_with_an_attestation_is_said() {
    let site = Place::sqlite().start().await;
    let leader = &site.leader;
    let alice = Holder::registered(leader, 1).await;
    let paper = manifest("On errors", &[]);
    let good = body(&alice, &paper, "all", &json!({}));
    let with = |name: &str, value: Value| {
        let mut body = good.clone();
        body[name] = value;
        body
    };
    let mut untitled = paper.clone();
    untitled["document"]["content_hash"] = json!("sha256:no");
    let unlisted = body(
        &alice,
        &manifest(
            "On errors",
            &[&json!({
                "id": "0".repeat(32), "type": "authorship", "signature": "AAAA",
                "signer_key_fingerprint": alice.fingerprint(),
            })],
        ),
        "all",
        &json!({}),
    );
    let private = alice.0.to_pem().to_string();

    for (body, status, code) in [
        (with("public_key_pem", json!("no key")), 422, "invalid_public_key"),
        (with("public_key_pem", json!(private)), 422, "private_key_in_request"),
        (with("attestation_type", json!("praise")), 422, "validation_failed"),
        (with("attestation_type", json!("publication")), 422, "invalid_signature"),
        (with("intent_statement", json!("not signed")), 422, "invalid_signature"),
        (with("signature", json!("AAAA")), 422, "invalid_signature"),
        (with("manifest", json!([])), 422, "invalid_manifest"),
        (with("manifest", untitled), 422, "invalid_manifest"),
        (with("surprise", json!(1)), 422, "unknown_field"),
        (unlisted, 422, "invalid_manifest"),
    ] {
        let answer = attest(leader, &body).await;
        assert_eq!(told(&answer), refused(status, code), "{answer}");
    }
    alice.end(leader, "revoke", &alice.revocation()).await;
    assert_eq!(told(&attest(leader, &good).await), refused(403, "key_not_active"));
}

#[tokio::test]
async fn a_key_with_a_password_attests_with_it() {
    let site = Place::sqlite().start().await;
    let leader = &site.leader;
    let alice = Holder::registered(leader, 1).await;
    let set = alice.set_password(leader, &json!({ "password": "correct horse" })).await;
    assert_eq!(set.status, 200, "{set}");
    let of = |more: Value| body(&alice, &manifest("On secrets", &[]), "all", &more);

    let without = attest(leader, &of(json!({}))).await;
    let wrong = attest(leader, &of(json!({ "password": "wrong horse" }))).await;
    let right = attest(leader, &of(json!({ "password": "correct horse" }))).await;

    assert_eq!(told(&without), refused(403, "password_required"));
    assert_eq!(told(&wrong), refused(403, "password_required"));
    assert_eq!(right.status, 201, "{right}");
}

#[tokio::test]
async fn a_manifest_that_can_be_verified_can_be_attested() {
    let site = Place::sqlite().start().await;
    let leader = &site.leader;
    let alice = Holder::registered(leader, 1).await;
    let mut paper = manifest("On depth", &[]);
    paper["document"]["height"] = json!(0.382_766_992_447_229_56);
    let as_event = body(&alice, &paper, "manifest", &json!({}));
    paper["document"]["notes"] = (0..30).fold(json!(1), |inner, _| json!([inner]));
    let deep = body(&alice, &paper, "manifest", &json!({}));

    let event = json!({ "event_type": "attestation", "payload": as_event });
    let as_event = leader.post("/api/v1/log/entries", &event).send().await;

    assert_eq!(as_event.status, 201, "{as_event}");
    let answer = attest(leader, &deep).await;
    assert_eq!(answer.status, 201, "{answer}");
    let listed = &answer.json()["attestation"];
    paper["attestations"] = json!([listed]);
    let question = json!({ "manifest": paper, "source_hash": paper["document"]["content_hash"] });
    let verdict = leader.post("/api/v1/verify", &question).send().await;
    assert_eq!(verdict.json()["overall_status"], json!("valid"), "{verdict}");
}
