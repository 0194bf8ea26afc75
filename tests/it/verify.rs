//! People verify documents: leader and follower judge them alike, each from its own data.

use serde_json::{Value, json};

use crate::attestations::{body, manifest};
use crate::people::Holder;
use crate::site::{Place, Running, Site, on_both};

on_both!(
    a_document_with_attestations_in_every_form_is_valid_on_leader_and_follower,
    what_was_changed_is_told_apart_from_what_was_never_logged,
    what_was_signed_before_a_key_ended_stays_valid_and_its_successor_is_named,
    what_cannot_be_judged_is_refused_alike,
);

const VERIFY: &str = "/api/v1/verify";

fn question(manifest: &Value) -> Value {
    json!({ "manifest": manifest, "source_hash": manifest["document"]["content_hash"] })
}

async fn attest(leader: &Running, holder: &Holder, paper: &mut Value, binds: &str, more: &Value) {
    let answer =
        leader.post("/api/v1/attestations", &body(holder, paper, binds, more)).send().await;
    assert_eq!(answer.status, 201, "{answer}");
    let attestation = answer.json()["attestation"].clone();
    assert_eq!(attestation["binds"], binds);
    paper["attestations"].as_array_mut().unwrap().push(attestation);
}

async fn verdict(node: &Running, question: &Value) -> Value {
    let answer = node.post(VERIFY, question).send().await;
    assert_eq!(answer.status, 200, "{answer}");
    answer.json()
}

/// The verdict of a follower, after the leader's was seen to be the same.
async fn alike(leader: &Running, follower: &Running, question: &Value) -> Value {
    let (of_leader, of_follower) =
        (verdict(leader, question).await, verdict(follower, question).await);
    for member in
        ["layer1", "layer2", "overall_status", "attestation_graph", "manifest_hash", "content_hash"]
    {
        assert_eq!(of_leader[member], of_follower[member], "{member}");
    }
    of_follower
}

/// A paper that three people attested to, in three forms.
async fn paper(site: &Site) -> (Value, [Holder; 3]) {
    let leader = &site.leader;
    let holders = [
        Holder::registered(leader, 1).await,
        Holder::registered(leader, 2).await,
        Holder::registered(leader, 3).await,
    ];
    let mut paper = manifest("Über Lampen \u{1f4a1}", &[]);
    let review = json!({ "attestation_type": "peer_review", "intent_statement": "I read it" });
    let edited = json!({ "attestation_type": "editorial_review" });
    attest(leader, &holders[0], &mut paper, "manifest", &json!({})).await;
    attest(leader, &holders[1], &mut paper, "manifest+parents", &edited).await;
    attest(leader, &holders[2], &mut paper, "all", &review).await;
    (paper, holders)
}

async fn a_document_with_attestations_in_every_form_is_valid_on_leader_and_follower(place: Place) {
    let site = place.start().await;
    let (paper, _) = paper(&site).await;
    let follower = site.follower().await;

    let found = alike(&site.leader, &follower, &question(&paper)).await;

    assert_eq!(found["overall_status"], "valid", "{found}");
    let binds: Vec<&Value> = found["layer1"]["attestations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|attestation| &attestation["binds"])
        .collect();
    assert_eq!(binds, ["manifest", "manifest+parents", "all"]);
    let ids: Vec<&Value> =
        paper["attestations"].as_array().unwrap().iter().map(|listed| &listed["id"]).collect();
    let edge = |from: usize, to: usize| json!({ "from": ids[from], "to": ids[to] });
    assert_eq!(found["attestation_graph"]["edges"], json!([edge(0, 1), edge(0, 2), edge(1, 2)]));
    assert_eq!(found["log"]["replicated"], json!(site.size().await));
    assert_eq!(found["log"]["witnessed_tree_size"], Value::Null);
    let mut required = question(&paper);
    required["require"] = json!({ "witnesses": 1 });
    let found = alike(&site.leader, &follower, &required).await;
    assert_eq!(found["overall_status"], "unwitnessed");
    site.check().await;
}

async fn what_was_changed_is_told_apart_from_what_was_never_logged(place: Place) {
    let site = place.start().await;
    let (paper, _) = paper(&site).await;
    let follower = site.follower().await;
    let judged = async |change: &dyn Fn(&mut Value)| {
        let mut question = question(&paper);
        change(&mut question);
        let found = alike(&site.leader, &follower, &question).await;
        (found["layer1"]["status"].clone(), found["layer2"]["status"].clone())
    };
    let told = |layer1: &str, layer2: &str| (json!(layer1), json!(layer2));

    let other = judged(&|of| of["source_hash"] = json!("0".repeat(64))).await;
    assert_eq!(other, told("invalid", "valid"));
    let retitled = judged(&|of| of["manifest"]["document"]["title"] = json!("On ramps")).await;
    assert_eq!(retitled, told("invalid", "not_logged"));
    let promoted =
        judged(&|of| of["manifest"]["attestations"][0]["type"] = json!("publication")).await;
    assert_eq!(promoted, told("invalid", "not_logged"));
    let reworded =
        judged(&|of| of["manifest"]["attestations"][2]["intent_statement"] = json!("Great")).await;
    assert_eq!(reworded, told("invalid", "valid"));
    let forgetful = judged(&|of| {
        let listed = of["manifest"]["attestations"][2].as_object_mut().unwrap();
        for member in ["intent_statement", "parents", "binds", "manifest_hash"] {
            assert!(listed.remove(member).is_some(), "{member}");
        }
    })
    .await;
    assert_eq!(forgetful, told("valid", "valid"), "old clients keep less");
    let stranger = Holder::new(9);
    let signed = body(&stranger, &manifest("Über Lampen \u{1f4a1}", &[]), "manifest", &json!({}));
    let forged = judged(&|of| {
        let listed = &mut of["manifest"]["attestations"][0];
        listed["signature"] = signed["signature"].clone();
        listed["signer_key_fingerprint"] = json!(stranger.fingerprint());
    })
    .await;
    assert_eq!(forged, told("invalid", "unknown_key"), "the second one signed the first");
    let bare = judged(&|of| of["manifest"]["attestations"] = json!([])).await;
    assert_eq!(bare, told("no_attestations", "no_attestations"));
}

async fn what_was_signed_before_a_key_ended_stays_valid_and_its_successor_is_named(place: Place) {
    let site = place.start().await;
    let leader = &site.leader;
    let (mut paper, [alice, bob, _]) = paper(&site).await;
    let heir = Holder::new(4);
    let succession = alice.succession(&heir, true);
    let succeeded = alice.end(leader, "succeed", &succession).await;
    assert!(succeeded.status < 300, "{succeeded}");
    let revoked = bob.end(leader, "revoke", &bob.revocation()).await;
    assert!(revoked.status < 300, "{revoked}");
    let follower = site.follower().await;

    let found = alike(leader, &follower, &question(&paper)).await;

    assert_eq!(found["overall_status"], "valid", "{found}");
    let findings = &found["layer2"]["attestations"];
    assert_eq!(findings[0]["key_status_at_entry"], "active");
    assert_eq!(findings[0]["key_status_now"], "succeeded");
    assert_eq!(findings[0]["succeeded_by"], json!(heir.fingerprint()));
    assert_eq!(findings[0]["successors_confirmed"], true);
    assert_eq!(findings[1]["key_status_now"], "revoked");

    let late = body(&bob, &paper, "all", &json!({}));
    let refused = leader.post("/api/v1/attestations", &late).send().await;
    assert_eq!((refused.status, refused.problem().as_str()), (403, "key_not_active"));
    let mut claimed = paper["attestations"][1].clone();
    claimed["id"] = json!("0".repeat(32));
    claimed["signature"] = late["signature"].clone();
    paper["attestations"].as_array_mut().unwrap().push(claimed);
    let found = alike(leader, &follower, &question(&paper)).await;
    assert_eq!(found["layer2"]["attestations"][3]["status"], "not_logged");
}

async fn what_cannot_be_judged_is_refused_alike(place: Place) {
    let site = place.start().await;
    let follower = site.follower().await;
    let paper = manifest("On lamps", &[]);
    for (member, value, code) in [
        ("manifest", json!({ "document": {}, "attestations": [] }), "invalid_manifest"),
        ("manifest", json!({ "document": {}, "x": [] }), "unknown_field"),
        ("source_hash", json!("md5"), "validation_failed"),
        ("trust_config", json!({}), "validation_failed"),
        ("source", json!("the document itself"), "unknown_field"),
    ] {
        let mut question = question(&paper);
        question[member] = value;
        for node in [&site.leader, &follower] {
            let answer = node.post(VERIFY, &question).send().await;
            assert_eq!((answer.status, answer.problem().as_str()), (422, code), "{member}");
        }
    }
}
