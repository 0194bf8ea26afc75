//! What somebody claims is hidden until its text is shown.

use diogenes_common::canonical;
use diogenes_common::merkle::Hash;
use serde_json::{Value, json};

use crate::people::{Holder, refused, told};
use crate::raw::Answer;
use crate::site::{Place, on_both};
use crate::view_rows;

on_both!(
    a_claim_is_revealed_once_by_whoever_knows_its_text,
    claims_and_reveals_come_through_the_log_too,
);

const CLAIMS: &str = "/claims";
const ENTRIES: &str = "/api/v1/log/entries";

fn bound(of: &Holder, plaintext: &Value) -> Hash {
    let committed = json!({
        "claimant": of.fingerprint(), "origin": "log.example/it", "plaintext": plaintext,
    });
    Hash::of(&[b"diogenes-claim/v1\n".to_vec(), canonical::to_vec(&committed)].concat())
}

fn claim(of: &Holder, commitment: Hash) -> Value {
    json!({
        "claimant_fingerprint": of.fingerprint(),
        "commitment": commitment,
        "ciphertext": "c2VjcmV0",
        "encryption": { "algorithm": "age", "recipients": ["age1somebody"] },
    })
}

fn salted() -> Value {
    json!({ "holds": "a passport", "salt": "00112233445566778899aabbccddeeff" })
}

/// The entry of a claim that was posted.
fn posted(answer: &Answer, commitment: Hash) -> u64 {
    assert_eq!(answer.status, 201, "{answer}");
    let body = answer.json();
    let id = body["entry_id"].as_u64().unwrap();
    assert_eq!(body, json!({ "entry_id": id, "commitment": commitment }));
    assert_eq!(answer.header("location"), format!("/api/v1/log/{id}"));
    id
}

async fn a_claim_is_revealed_once_by_whoever_knows_its_text(place: Place) {
    let site = place.start().await;
    let leader = &site.leader;
    let (alice, bob) = (Holder::registered(leader, 1).await, Holder::registered(leader, 2).await);
    let carol = Holder::registered(leader, 3).await;
    let hidden = bound(&alice, &salted());
    let reveal = async |id: u64, plaintext: &Value| {
        let body = json!({ "plaintext": plaintext });
        leader.post(&format!("/api/v1/claims/{id}/reveal"), &body).send().await
    };

    let id = posted(&alice.ask(leader, CLAIMS, &claim(&alice, hidden)).await, hidden);
    let again = alice.ask(leader, CLAIMS, &claim(&alice, hidden)).await;
    assert_eq!(told(&again), refused(409, "conflict"));
    let copied = bob.ask(leader, CLAIMS, &claim(&bob, hidden)).await;
    assert_eq!(told(&copied), refused(409, "conflict"));
    let stolen = bob.ask(leader, CLAIMS, &claim(&alice, bound(&alice, &json!({})))).await;
    assert_eq!(told(&stolen), refused(403, "challenge_failed"));
    let size = site.size().await;
    let wrong = reveal(id, &json!({ "holds": "nothing" })).await;
    assert_eq!((wrong.status, wrong.json()), (200, json!({ "valid": false })));
    assert_eq!(told(&reveal(1, &salted()).await), refused(404, "not_found"));
    assert_eq!(site.size().await, size, "nothing was recorded");

    let right = reveal(id, &salted()).await;

    assert_eq!(right.status, 201, "{right}");
    let body = right.json();
    assert_eq!((&body["valid"], &body["bound"]), (&json!(true), &json!(true)));
    assert_eq!(body.get("warnings"), None);
    assert_eq!(told(&reveal(id, &salted()).await), refused(409, "conflict"));
    let loose = Hash::of(&canonical::to_vec(&json!({ "n": 1 })));
    let old = posted(&carol.ask_barely(leader, CLAIMS, &claim(&carol, loose)).await, loose);
    let body = reveal(old, &json!({ "n": 1 })).await.json();
    assert_eq!((&body["valid"], &body["bound"]), (&json!(true), &json!(false)));
    assert_eq!(body["warnings"], json!(["unsalted"]));

    let follower = site.follower().await;
    site.level(&follower).await;
    let ours = view_rows::dump(leader.database()).await;
    assert_eq!(ours["view_claims"].len(), 2);
    assert_eq!(ours["view_claims"], view_rows::dump(follower.database()).await["view_claims"]);
}

async fn claims_and_reveals_come_through_the_log_too(place: Place) {
    let site = place.start().await;
    let leader = &site.leader;
    let alice = Holder::registered(leader, 1).await;
    let request = claim(&alice, bound(&alice, &salted()));
    let auth = alice.auth(leader, "POST /claims", &request).await;
    let event = json!({ "event_type": "encrypted_claim", "payload": request, "auth": auth });

    let answer = leader.post(ENTRIES, &event).send().await;

    assert_eq!(answer.status, 201, "{answer}");
    let payload = json!({ "claim_entry_id": answer.json()["id"], "plaintext": salted() });
    let event = json!({ "event_type": "claim_reveal", "payload": payload });
    let other = json!({ "claim_entry_id": answer.json()["id"], "plaintext": {} });
    let other = json!({ "event_type": "claim_reveal", "payload": other });
    assert_eq!(leader.post(ENTRIES, &other).send().await.status, 422);
    let revealed = leader.post(ENTRIES, &event).send().await;
    assert_eq!(revealed.status, 201, "{revealed}");
    assert_eq!(told(&leader.post(ENTRIES, &event).send().await), refused(409, "conflict"));
    site.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_that_can_not_be_are_refused_with_a_pointer_to_the_fault() {
    let site = Place::sqlite().start().await;
    let leader = &site.leader;
    let alice = Holder::registered(leader, 1).await;
    let request = claim(&alice, bound(&alice, &salted()));
    let id = posted(&alice.ask(leader, CLAIMS, &request).await, bound(&alice, &salted()));
    let size = site.size().await;
    let many = vec!["age1somebody"; 17];
    let cases = [
        ("commitment", json!("12"), "validation_failed"),
        ("ciphertext", json!("not base64"), "validation_failed"),
        ("ciphertext", json!("A".repeat(43_696)), "validation_failed"),
        ("encryption", json!({ "algorithm": "" }), "validation_failed"),
        ("encryption", json!({ "algorithm": "age", "recipients": many }), "validation_failed"),
        ("plaintext", json!({}), "unknown_field"),
    ];

    for (member, value, code) in cases {
        let mut body = request.clone();
        body[member] = value;
        let answer = alice.ask(leader, CLAIMS, &body).await;
        assert_eq!(told(&answer), refused(422, code), "{member}: {answer}");
        let pointer = answer.json()["errors"][0]["pointer"].clone();
        let place = format!("#/{member}");
        assert!(pointer.as_str().is_some_and(|at| at.starts_with(&place)), "{member}: {answer}");
    }
    for body in [json!({}), json!({ "plaintext": "text" }), json!({ "plaintext": {}, "auth": 1 })] {
        let answer = leader.post(&format!("/api/v1/claims/{id}/reveal"), &body).send().await;
        assert_eq!(answer.status, 422, "{body}: {answer}");
    }
    assert_eq!(site.size().await, size, "nothing was appended");
}
