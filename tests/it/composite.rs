//! A thesis of several files is put together, attested as one document and verified.

use diogenes_common::composite::{root_over, verify_part};
use diogenes_common::merkle::Hash;
use diogenes_common::wire::composite::CompositeView;
use serde_json::{Value, json};

use crate::attestations::body;
use crate::people::{Holder, refused, told};
use crate::raw::Answer;
use crate::site::{Place, Running, on_both};

on_both!(
    a_composite_document_is_attested_and_verified_as_any_other,
    a_composite_that_contradicts_itself_is_refused_at_its_place,
    who_put_it_together_may_have_that_recorded,
);

const FILES: [&str; 3] = ["text", "data", "code"];

fn request() -> Value {
    let parts =
        FILES.map(|name| json!({ "label": name, "content_hash": Hash::of(name.as_bytes()) }));
    json!({ "title": "Thesis", "parts": parts, "metadata": { "year": 2026, "share": 0.5 } })
}

async fn assemble(leader: &Running, request: &Value) -> Answer {
    leader.post("/api/v1/composite/assemble", request).send().await
}

async fn compile(leader: &Running, request: &Value) -> Answer {
    leader.post("/api/v1/composite/compile", request).send().await
}

async fn a_composite_document_is_attested_and_verified_as_any_other(place: Place) {
    let site = place.start().await;
    let leader = &site.leader;
    let alice = Holder::registered(leader, 1).await;
    let entries = leader.json::<Value>("/api/v1/log/head").await["entry_count"].clone();

    let assembled = assemble(leader, &request()).await;
    let compiled = compile(leader, &json!({ "composite": assembled.json() })).await;

    assert_eq!((assembled.status, compiled.status), (200, 200), "{compiled}");
    let whole = root_over(&FILES.map(|name| Hash::of(name.as_bytes())));
    let view: CompositeView = serde_json::from_value(assembled.json()).unwrap();
    assert_eq!(view.content_hash, whole.hash);
    for (index, part) in view.parts.iter().enumerate() {
        assert_eq!(verify_part(&whole, index as u64, &part.content_hash, &part.proof), Ok(()));
    }
    let now = leader.json::<Value>("/api/v1/log/head").await["entry_count"].clone();
    assert_eq!(now, entries, "neither of them appends");

    let manifest = &compiled.json()["manifest"];
    let attested = leader.post("/api/v1/attestations", &body(&alice, manifest, "all", &json!({})));
    let attested = attested.send().await;
    assert_eq!(attested.status, 201, "{attested}");
    let attestation = &attested.json()["attestation"];
    assert_eq!(attestation["manifest_hash"], compiled.json()["manifest_hash"]);
    let full = json!({ "composite": assembled.json(), "attestations": [attestation] });
    let full = compile(leader, &full).await.json();
    let question = json!({ "manifest": full["manifest"], "source_hash": whole.hash });
    let follower = site.follower().await;
    site.level(&follower).await;
    for node in [leader, &follower] {
        let verdict = node.post("/api/v1/verify", &question).send().await.json();
        assert_eq!(verdict["overall_status"], json!("valid"), "{verdict}");
    }
    site.check().await;
}

async fn a_composite_that_contradicts_itself_is_refused_at_its_place(place: Place) {
    let site = place.start().await;
    let leader = &site.leader;
    let composite = assemble(leader, &request()).await.json();
    let changed = |pointer: &str, value: Value| {
        let mut body = json!({ "composite": composite, "attestations": [], "record": false });
        *body.pointer_mut(pointer).unwrap() = value;
        body
    };
    let elsewhere = json!(Hash::of(b"elsewhere"));
    let stranger = json!([{
        "id": "0".repeat(32), "type": "authorship", "scope": { "content_hash": elsewhere },
        "signer_key_fingerprint": elsewhere, "signature": "c2ln",
    }]);
    for (body, code, pointer) in [
        (
            changed("/composite/content_hash", elsewhere.clone()),
            "validation_failed",
            "#/composite/content_hash",
        ),
        (
            changed("/composite/parts/1/proof", json!([])),
            "validation_failed",
            "#/composite/parts/1/proof",
        ),
        (
            changed("/composite/parts/1/label", json!("text")),
            "validation_failed",
            "#/composite/parts/1/label",
        ),
        (
            changed("/composite/parts/2", json!({ "name": 1 })),
            "unknown_field",
            "#/composite/parts/2/name",
        ),
        (changed("/composite/parts/2", json!(7)), "validation_failed", "#/composite/parts/2"),
        (changed("/composite/title", json!(7)), "validation_failed", "#/composite/title"),
        (changed("/composite", json!([])), "validation_failed", "#/composite"),
        (
            changed("/attestations", stranger),
            "invalid_manifest",
            "#/attestations/0/scope/content_hash",
        ),
        (changed("/attestations", json!([7])), "invalid_manifest", "#/attestations/0"),
        (changed("/record", json!(true)), "validation_failed", "#/fingerprint"),
    ] {
        let answer = compile(leader, &body).await;
        assert_eq!(told(&answer), refused(422, code));
        assert_eq!(answer.json()["errors"][0]["pointer"], json!(pointer), "{answer}");
    }
    let mut unknown = request();
    unknown["parts"][1]["size"] = json!(1);
    let answer = assemble(leader, &unknown).await;
    assert_eq!(told(&answer), refused(422, "unknown_field"));
    assert_eq!(answer.json()["errors"][0]["pointer"], json!("#/parts/1/size"));
    let empty = assemble(leader, &json!({ "title": "t", "parts": [] })).await;
    assert_eq!(told(&empty), refused(422, "validation_failed"));
    site.check().await;
}

async fn who_put_it_together_may_have_that_recorded(place: Place) {
    let site = place.start().await;
    let leader = &site.leader;
    let follower = site.follower().await;
    let alice = Holder::registered(leader, 1).await;
    let composite = assemble(leader, &request()).await.json();
    let request = json!({
        "composite": composite, "attestations": [], "record": true,
        "fingerprint": alice.fingerprint(),
    });

    let nobody = compile(leader, &request).await;
    assert_eq!(told(&nobody), refused(401, "unauthorized"));
    let mut body = request.clone();
    body["auth"] = alice.auth(leader, "POST /composite/compile", &request).await;
    let answer = compile(leader, &body).await;

    assert_eq!(answer.status, 201, "{answer}");
    let recorded = answer.json();
    let id = &recorded["log_entry_id"];
    assert_eq!(answer.header("location"), format!("/api/v1/log/{id}"));
    site.level(&follower).await;
    let entry: Value = follower.json(&format!("/api/v1/log/{id}")).await;
    assert_eq!(entry["event_type"], "composite_document");
    assert_eq!(entry["payload"]["content_hash"], composite["content_hash"]);
    assert_eq!(entry["payload"]["manifest_hash"], recorded["manifest_hash"]);
    assert_eq!(entry["payload"]["parts"], json!(composite["parts"].as_array().unwrap().len()));
    assert_eq!(entry["effect"], Value::Null);
    let content = composite["content_hash"].as_str().unwrap();
    let trail = format!("/api/v1/log/audit-trail?document_hash={content}");
    assert_eq!(leader.json::<Value>(&trail).await["entries"][0]["id"], *id);

    // In a session the entry holds hashes alone.
    let session = format!("Bearer {}", alice.login(leader).await);
    let path = "/api/v1/composite/compile";
    let answer = leader.post(path, &request).header("authorization", &session).send().await;
    assert_eq!(answer.status, 201, "{answer}");
    site.check().await;
}
