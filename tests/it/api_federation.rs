//! Federation and witnessing as the log's peers see them: heads, batches, proofs, reports, profiles
//! and what the operator decides, on both databases.

#![expect(clippy::too_many_lines, reason = "a promise about a protocol is told in one go")]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use diogenes_common::batch::{Chain, Encoding, Trust, decode, verify_batch};
use diogenes_common::checkpoint::{self, Checkpoint};
use diogenes_common::clock::Timestamp;
use diogenes_common::cosignature::cosign;
use diogenes_common::head::{HeadJson, SignedHead, TreeHead, contradiction};
use diogenes_common::keys::SigningKey;
use diogenes_common::merkle::{Hash, TreeRoot, TreeSize};
use diogenes_common::statement::{
    FollowerStatus, Profile, ProfileClaim, ProfileType, ReplicationReport, ReportClaim,
    WitnessClaim, WitnessProof,
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::raw::Answer;
use crate::site::{Place, Running, Site, TOKEN, consistent, eventually, now, on_both};

const WITNESS: &str = "/api/v1/log/witness";
const REPORT: &str = "/api/v1/log/replication-report";

on_both!(
    the_signed_head_has_the_members_of_the_reference_and_a_checkpoint,
    both_forms_of_a_batch_verify_from_the_first_entry_to_the_head,
    a_witness_submits_once_it_is_authorised_and_every_proof_is_listed,
    a_place_is_reserved_for_a_witness_that_was_only_named,
    a_proof_that_does_not_hold_is_refused_with_its_code_and_not_recorded,
    a_followers_reports_show_in_the_status,
    a_report_is_taken_once_within_two_minutes_and_from_the_authorised_alone,
    a_report_of_another_root_is_shown_and_stops_nothing,
    a_head_of_our_own_key_that_we_do_not_hold_stops_signing,
    the_operator_decides_who_mirrors_and_who_witnesses,
    a_profile_is_signed_by_its_key_or_the_operator,
    heartbeats_that_race_appends_never_contradict_each_other,
);

/// A node's key with what it signs.
pub(crate) struct Peer {
    key: SigningKey,
}

impl Peer {
    pub(crate) fn new(seed: u8) -> Self {
        Self { key: SigningKey::from_seed([seed; 32]) }
    }

    pub(crate) fn fingerprint(&self) -> String {
        self.key.fingerprint().to_string()
    }

    pub(crate) fn public_key(&self) -> String {
        self.key.public().to_pem()
    }

    fn short(&self) -> String {
        self.key.fingerprint().short().to_string()
    }

    /// What a witness says that knew `old` and saw `head`.
    fn claim(&self, old: TreeRoot, head: &HeadJson) -> WitnessClaim {
        WitnessClaim {
            new_root: head.root_hash,
            new_tree_size: head.tree_size,
            old_root: old.hash,
            old_tree_size: old.size,
            origin: head.origin.clone(),
            timestamp: now(),
            witness: self.key.fingerprint(),
        }
    }

    /// The claim as it is submitted, with a cosignature over the head's checkpoint.
    pub(crate) fn prove(&self, old: TreeRoot, head: &HeadJson) -> WitnessProof {
        let claim = self.claim(old, head);
        let checkpoint = Checkpoint::new(head.origin.as_str(), claim.new_tree()).unwrap();
        let name = format!("witness-{}", self.short()).parse().unwrap();
        let line = cosign(&checkpoint, claim.timestamp, &name, &self.key);
        claim.into_proof(&self.key, head.clone(), Some(line.to_string()))
    }

    /// What a follower says that verified everything up to `head`.
    fn synced(&self, head: &HeadJson, timestamp: Timestamp) -> ReportClaim {
        ReportClaim {
            follower: self.key.fingerprint(),
            head_timestamp: Some(head.timestamp),
            leader_tree_size: Some(head.tree_size),
            origin: head.origin.clone(),
            reason: None,
            root_hash: head.root_hash,
            status: FollowerStatus::Synced,
            timestamp,
            tree_size: head.tree_size,
        }
    }

    pub(crate) async fn register(&self, leader: &Running) {
        let payload = json!({
            "public_key": self.public_key(),
            "pseudonym": "A node",
            "key_algorithm": "ed25519",
        });
        let body = json!({ "payload": payload });
        let answer = leader.post("/api/v1/keys/register", &body).send().await;
        assert_eq!(answer.status, 201, "{answer}");
    }
}

pub(crate) async fn operator(
    leader: &Running,
    method: &str,
    path: &str,
    body: Option<Value>,
) -> Answer {
    let request = leader.request(method, &format!("/api/v1/operator/{path}")).token(TOKEN);
    match body {
        Some(body) => request.json(&body).send().await,
        None => request.send().await,
    }
}

pub(crate) async fn authorize(site: &Site, kind: &str, body: Value) -> Value {
    let answer = operator(&site.leader, "POST", kind, Some(body)).await;
    assert_eq!(answer.status, 201, "{answer}");
    answer.json()
}

pub(crate) async fn submit(node: &Running, proof: &WitnessProof) -> Answer {
    node.post(WITNESS, &serde_json::to_value(proof).unwrap()).send().await
}

async fn report(site: &Site, report: &ReplicationReport) -> Answer {
    site.leader.post(REPORT, &serde_json::to_value(report).unwrap()).send().await
}

fn members(value: &Value) -> BTreeSet<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

fn refused(answer: &Answer) -> (u16, String) {
    (answer.status, answer.problem())
}

fn told(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

async fn the_signed_head_has_the_members_of_the_reference_and_a_checkpoint(place: Place) {
    let site = place.start().await;
    site.grow(4).await;
    let follower = site.follower().await;

    for node in [&site.leader, &follower] {
        let shown: Value = node.json("/api/v1/log/sth").await;
        let names = [
            "chain_head",
            "checkpoint",
            "epoch",
            "key_fingerprint",
            "last_event_id",
            "origin",
            "root_hash",
            "signature",
            "timestamp",
            "tree_size",
        ];
        assert_eq!(members(&shown), names.into());
        let head: HeadJson = serde_json::from_value(shown).unwrap();
        let signed = site.verified(&head);
        assert_eq!((head.tree_size.get(), head.last_event_id), (5, 5));
        let note = checkpoint::open(&head.checkpoint, head.origin.as_str(), site.operator());
        assert_eq!(note.unwrap().tree(), signed.head().tree());
        let entry: Value = node.json("/api/v1/log/5").await;
        assert_eq!(entry["entry_hash"], json!(head.chain_head));
    }
    eventually("the round's head reaches the follower", async || {
        follower.get("/api/v1/log/sth?for=witness").await.status == 200
    })
    .await;
    let round: HeadJson = site.leader.json("/api/v1/log/sth?for=witness").await;
    site.verified(&round);
}

async fn both_forms_of_a_batch_verify_from_the_first_entry_to_the_head(place: Place) {
    let site = place.start().await;
    site.grow(700).await;
    let follower = site.follower().await;

    for node in [&site.leader, &follower] {
        for encoding in [Encoding::Json, Encoding::Binary] {
            let mut chain = Chain::new(Trust { operator: site.operator().fingerprint() });
            loop {
                let after = chain.size();
                let path = format!("/api/v1/log/replicate?after={after}&limit=300");
                let answer =
                    node.request("GET", &path).header("accept", encoding.media_type()).send().await;
                assert_eq!(
                    answer.header("content-type"),
                    encoding.media_type(),
                    "{}",
                    answer.status
                );
                if encoding == Encoding::Json {
                    let names = [
                        "entries",
                        "after",
                        "next_after",
                        "has_more",
                        "tree_head",
                        "consistency_proof",
                    ];
                    assert_eq!(members(&answer.json()), names.into());
                }
                let batch = decode(&answer.body, encoding).unwrap();
                let verified = verify_batch(&chain, batch, &[], now()).unwrap();
                chain = verified.chain;
                if !verified.has_more {
                    assert_eq!(verified.head.head().tree(), chain.tree());
                    break;
                }
            }
            assert_eq!(chain.size().get(), 701);
        }
        let usual: Value = node.json("/api/v1/log/replicate").await;
        assert_eq!(usual["entries"].as_array().unwrap().len(), 100, "the default limit");
        assert_eq!((&usual["after"], &usual["next_after"]), (&json!(0), &json!(100)));
        assert_eq!(usual["has_more"], true);
        for query in ["after=702", "limit=0", "limit=10001", "after=x", "after=1&after=2"] {
            let answer = node.get(&format!("/api/v1/log/replicate?{query}")).await;
            assert_eq!(refused(&answer), told(422, "validation_failed"), "{query}");
        }
    }
}

async fn a_witness_submits_once_it_is_authorised_and_every_proof_is_listed(place: Place) {
    let site = place.start().await;
    site.grow(3).await;
    let witness = Peer::new(40);
    let head = site.head_json().await;
    let first = witness.prove(TreeRoot::EMPTY, &head);

    let stranger = submit(&site.leader, &first).await;
    let pending = operator(&site.leader, "GET", "pending", None).await.json();
    let known: Value =
        site.leader.json(&format!("/api/v1/log/witnesses/{}", witness.short())).await;
    let entry = authorize(
        &site,
        "witnesses",
        json!({ "fingerprint": witness.short(), "name": "Community Witness" }),
    )
    .await;
    let recorded = submit(&site.leader, &first).await;
    let again = submit(&site.leader, &first).await;

    assert_eq!(refused(&stranger), told(403, "witness_not_authorized"));
    assert_eq!(pending["pending"][0]["fingerprint"], witness.fingerprint());
    assert_eq!(known["state"], "pending");
    assert_eq!(entry["event_type"], "operator_endorsement");
    assert_eq!(entry["payload"]["category"], "x-diogenes:witness");
    assert_eq!(entry["payload"]["fingerprint"], witness.fingerprint(), "authorised in full");
    assert_eq!(recorded.status, 201, "{recorded}");
    let proof_id = recorded.json()["proof_id"].as_u64().unwrap();
    assert_eq!(recorded.json(), json!({ "proof_id": proof_id, "recorded": true }));
    assert_eq!(recorded.header("location"), format!("/api/v1/log/{proof_id}"));
    assert_eq!((again.status, again.json()), (200, recorded.json()));
    let logged: Value = site.leader.json(recorded.header("location")).await;
    assert_eq!(logged["event_type"], "witness_proof");
    assert_eq!(logged["payload"], serde_json::to_value(&first).unwrap());

    // Nothing but the proof itself happened since: the next one is kept, not recorded.
    let quiet = site.head_json().await;
    let quiet = submit(&site.leader, &witness.prove(first.new_tree(), &quiet)).await;
    assert_eq!(quiet.status, 201, "the authorisation is an event: {quiet}");
    let second_id = quiet.json()["proof_id"].as_u64().unwrap();
    let newest = site.head_json().await;
    let known_tree = TreeRoot {
        size: TreeSize::ZERO.plus(second_id - 1),
        hash: root(&site, second_id - 1).await,
    };
    let kept = submit(&site.leader, &witness.prove(known_tree, &newest)).await;
    assert_eq!((kept.status, kept.json()), (200, json!({ "proof_id": null, "recorded": false })));
    let stale = submit(&site.leader, &first).await;
    assert_eq!(refused(&stale), told(409, "witness_stale"));

    let follower = site.follower().await;
    for node in [&site.leader, &follower] {
        let page: Value = node.json("/api/v1/log/witnesses").await;
        assert_eq!(members(&page), ["proofs", "page", "per_page", "total"].into());
        assert_eq!((&page["total"], &page["per_page"]), (&json!(2), &json!(50)));
        let shown = &page["proofs"][0];
        for name in [
            "proof_id",
            "witness",
            "short_fingerprint",
            "display_name",
            "origin",
            "old_tree_size",
            "old_root",
            "new_tree_size",
            "new_root",
            "timestamp",
            "public_key",
            "signature",
            "head",
            "cosignature",
            "recorded_at",
            "authorized",
        ] {
            assert!(members(shown).contains(name), "{name} is missing in {shown}");
        }
        assert_eq!(shown["short_fingerprint"], witness.short());
        assert_eq!(
            (&shown["display_name"], &shown["authorized"]),
            (&json!("Community Witness"), &json!(true))
        );
        let newest: Value = node.json("/api/v1/log/witnesses?order=desc&per_page=1").await;
        assert_eq!(newest["proofs"][0]["proof_id"], second_id);
        let own = format!("/api/v1/log/witnesses?witness={}", witness.fingerprint());
        assert_eq!(node.json::<Value>(&own).await["total"], 2);
        let other = format!("/api/v1/log/witnesses?witness={}", Peer::new(41).fingerprint());
        assert_eq!(node.json::<Value>(&other).await["total"], 0);
        let too_many = node.get("/api/v1/log/witnesses?per_page=201").await;
        assert_eq!(refused(&too_many), told(422, "validation_failed"));
        for name in [witness.short(), witness.fingerprint()] {
            let record: Value = node.json(&format!("/api/v1/log/witnesses/{name}")).await;
            let names = [
                "fingerprint",
                "state",
                "since",
                "display_name",
                "server",
                "vkey",
                "last_proof",
                "last_cosignature",
            ];
            assert_eq!(members(&record), names.into());
            assert_eq!(
                (&record["state"], &record["fingerprint"]),
                (&json!("authorized"), &json!(witness.fingerprint()))
            );
            assert_eq!(record["last_proof"]["proof_id"], second_id);
        }
    }
    let record: Value =
        site.leader.json(&format!("/api/v1/log/witnesses/{}", witness.short())).await;
    assert_eq!(record["last_cosignature"]["tree_size"], newest.tree_size.get(), "the kept one");
    site.check().await;
}

/// The root at a size, as the leader proves it.
async fn root(site: &Site, at: u64) -> Hash {
    let newest = site.head().await.head().tree();
    let path = format!("/api/v1/log/consistency-proof?first={at}&second={}", newest.size);
    let shown: Value = site.leader.json(&path).await;
    consistent(&shown, &newest);
    serde_json::from_value(shown["first_root"].clone()).unwrap()
}

async fn a_place_is_reserved_for_a_witness_that_was_only_named(place: Place) {
    let site = place.start().await;
    let witness = Peer::new(42);
    let body = json!({ "fingerprint": witness.short(), "name": "Reserved" });

    let reserved = operator(&site.leader, "POST", "witnesses", Some(body)).await;
    let waiting = operator(&site.leader, "GET", "pending", None).await.json();
    let known: Value =
        site.leader.json(&format!("/api/v1/log/witnesses/{}", witness.short())).await;
    site.grow(1).await;
    let head = site.head_json().await;
    let recorded = submit(&site.leader, &witness.prove(TreeRoot::EMPTY, &head)).await;

    assert_eq!((reserved.status, reserved.json()), (202, json!({ "reserved": witness.short() })));
    assert_eq!(waiting["reserved"][0]["key"], witness.short());
    assert_eq!(known["state"], "reserved");
    assert_eq!(
        (recorded.status, recorded.json()["proof_id"].clone()),
        (201, json!(4)),
        "{recorded}"
    );
    let endorsement: Value = site.leader.json("/api/v1/log/3").await;
    assert_eq!(endorsement["payload"]["fingerprint"], witness.fingerprint());
    assert_eq!(endorsement["payload"]["name"], "Reserved");
    let rest = operator(&site.leader, "GET", "pending", None).await.json();
    assert_eq!((&rest["reserved"], &rest["pending"]), (&json!([]), &json!([])));
    site.check().await;
}

async fn a_proof_that_does_not_hold_is_refused_with_its_code_and_not_recorded(place: Place) {
    let site = place.start().await;
    site.grow(5).await;
    let witness = Peer::new(43);
    authorize(&site, "witnesses", json!({ "public_key": witness.public_key() })).await;
    site.grow(5).await;
    let head = site.head_json().await;
    let before = site.size().await;
    let good = serde_json::to_value(witness.prove(TreeRoot::EMPTY, &head)).unwrap();
    let empty = TreeRoot::EMPTY;
    // What a witness could sign itself.
    let signed = |change: &dyn Fn(&mut WitnessClaim)| {
        let mut claim = witness.claim(empty, &head);
        change(&mut claim);
        serde_json::to_value(claim.into_proof(&witness.key, head.clone(), None)).unwrap()
    };
    // What somebody changed afterwards.
    let tampered = |pointer: &str, value: Value| {
        let mut body = good.clone();
        *body.pointer_mut(pointer).unwrap() = value;
        body
    };
    let other_root = Hash::of(b"another root");
    let mut more = good.clone();
    more["note"] = json!("hello");
    let mut headless = good.clone();
    headless.as_object_mut().unwrap().remove("head");

    for (what, body, status, code) in [
        (
            "another log",
            signed(&|c| c.origin = "log.example/other".parse().unwrap()),
            422,
            "validation_failed",
        ),
        (
            "sizes reversed",
            signed(&|c| c.old_tree_size = c.new_tree_size),
            422,
            "validation_failed",
        ),
        ("another new root", signed(&|c| c.new_root = other_root), 409, "proof_disagrees"),
        (
            "another old root",
            signed(&|c| (c.old_root, c.old_tree_size) = (other_root, TreeSize::ZERO.plus(3))),
            409,
            "proof_disagrees",
        ),
        (
            "a size beyond",
            signed(&|c| c.new_tree_size = TreeSize::ZERO.plus(999)),
            409,
            "proof_disagrees",
        ),
        (
            "the future",
            signed(&|c| c.timestamp = now().plus_millis(180_000)),
            422,
            "statement_from_future",
        ),
        (
            "another time than signed",
            tampered("/timestamp", json!("2026-01-15T10:30:00.000Z")),
            422,
            "invalid_signature",
        ),
        (
            "a time without fraction",
            tampered("/timestamp", json!("2026-01-15T10:30:00Z")),
            422,
            "validation_failed",
        ),
        (
            "another head signature",
            tampered("/head/signature", good["signature"].clone()),
            422,
            "invalid_signature",
        ),
        (
            "no cosignature line",
            tampered("/cosignature", json!("nonsense")),
            422,
            "invalid_signature",
        ),
        (
            "a short fingerprint",
            tampered("/witness", json!(witness.short())),
            422,
            "validation_failed",
        ),
        ("a key that is none", tampered("/public_key", json!("PEM")), 422, "validation_failed"),
        ("an unknown member", more, 422, "unknown_field"),
        ("no head", headless, 422, "validation_failed"),
    ] {
        let answer = site.leader.post(WITNESS, &body).send().await;
        assert_eq!(refused(&answer), told(status, code), "{what}: {answer}");
    }

    assert_eq!(site.size().await, before, "nothing was recorded");
    let fine = site.leader.post(WITNESS, &good).send().await;
    assert_eq!(fine.status, 201, "{fine}");
}

async fn a_followers_reports_show_in_the_status(place: Place) {
    let site = place.start().await;
    site.grow(10).await;
    let (follower, witness) = (Peer::new(50), Peer::new(51));
    follower.register(&site.leader).await;
    authorize(
        &site,
        "federation",
        json!({ "fingerprint": follower.fingerprint(), "name": "EU Mirror" }),
    )
    .await;
    authorize(&site, "witnesses", json!({ "public_key": witness.public_key() })).await;
    site.grow(1).await;
    let head = site.head_json().await;

    let before: Value = status_with(&site, |status| status["followers"][0].is_object()).await;
    let taken = report(
        &site,
        &follower.synced(&head, now()).into_report(&follower.key, Some(head.clone())),
    )
    .await;
    submit(&site.leader, &witness.prove(TreeRoot::EMPTY, &head)).await;
    let status = status_with(&site, |status| {
        status["followers"][0]["tree_size"].is_u64() && status["witnesses"][0]["tree_size"].is_u64()
    })
    .await;

    assert_eq!(before["followers"][0]["tree_size"], Value::Null, "unknown is null");
    assert_eq!((taken.status, taken.body.len()), (204, 0), "{taken}");
    for name in [
        "role",
        "status",
        "origin",
        "tree_size",
        "root_hash",
        "head_timestamp",
        "head_age_seconds",
        "entries_at_risk",
        "unwitnessed_entries",
        "witness_quorum",
        "followers",
        "witnesses",
        "incidents_open",
    ] {
        assert!(members(&status).contains(name), "{name} is missing in {status}");
    }
    assert_eq!((&status["role"], &status["status"]), (&json!("leader"), &json!("SYNCED")));
    assert_eq!(members(&status["witness_quorum"]), ["required", "current"].into());
    let row = &status["followers"][0];
    let names = [
        "fingerprint",
        "display_name",
        "server",
        "status",
        "reason",
        "tree_size",
        "root_hash",
        "root_matches",
        "lag_entries",
        "lag_seconds",
        "entries_per_second",
        "eta_seconds",
        "last_report",
        "report_age_seconds",
    ];
    assert_eq!(members(row), names.into());
    assert_eq!((&row["display_name"], &row["status"]), (&json!("EU Mirror"), &json!("SYNCED")));
    assert_eq!(
        (&row["tree_size"], &row["root_matches"]),
        (&json!(head.tree_size.get()), &json!(true))
    );
    let row = &status["witnesses"][0];
    let names = [
        "fingerprint",
        "short_fingerprint",
        "display_name",
        "server",
        "status",
        "tree_size",
        "root_hash",
        "last_proof_id",
        "last_proof_at",
        "age_seconds",
        "proofs_24h",
    ];
    assert_eq!(members(row), names.into());
    assert_eq!((&row["status"], &row["proofs_24h"]), (&json!("current"), &json!(1)));
    assert_eq!(row["tree_size"], head.tree_size.get());
    assert_eq!(row["root_hash"], json!(head.root_hash));
    assert_eq!(status["unwitnessed_entries"], 0);

    let mirror = site.follower().await;
    let mirror: Value = eventually_json(&mirror, "/api/v1/log/replication-status", |status| {
        status["status"] == "SYNCED"
    })
    .await;
    for name in [
        "role",
        "status",
        "reason",
        "class",
        "since",
        "retry_at",
        "evidence",
        "next_action",
        "origin",
        "fingerprint",
        "display_name",
        "tree_size",
        "root_hash",
        "leader_tree_size",
        "head_timestamp",
        "last_contact",
        "lag_entries",
        "lag_seconds",
        "entries_per_second",
        "eta_seconds",
        "upstreams",
    ] {
        assert!(members(&mirror).contains(name), "{name} is missing in {mirror}");
    }
    assert_eq!(mirror["role"], "follower");
    assert_eq!(
        members(&mirror["upstreams"][0]),
        ["url", "fingerprint", "last_contact", "error"].into()
    );
}

/// The leader's status once it is as expected: it is computed once a second.
async fn status_with(site: &Site, is_expected: impl Fn(&Value) -> bool) -> Value {
    eventually_json(&site.leader, "/api/v1/log/replication-status", is_expected).await
}

async fn eventually_json(
    node: &Running,
    path: &str,
    is_expected: impl Fn(&Value) -> bool,
) -> Value {
    let last = Mutex::new(Value::Null);
    let found = async || {
        let answer = node.get(path).await;
        *last.lock().unwrap() = answer.json();
        answer.status == 200 && is_expected(&answer.json())
    };
    tokio::time::timeout(Duration::from_secs(20), eventually(path, found))
        .await
        .unwrap_or_else(|_| panic!("not in time: {}", last.lock().unwrap()));
    last.into_inner().unwrap()
}

async fn a_report_is_taken_once_within_two_minutes_and_from_the_authorised_alone(place: Place) {
    let site = place.start().await;
    site.grow(3).await;
    let follower = Peer::new(52);
    let head = site.head_json().await;
    let sign = |claim: ReportClaim| claim.into_report(&follower.key, Some(head.clone()));
    let at = now();

    let early = report(&site, &sign(follower.synced(&head, at))).await;
    follower.register(&site.leader).await;
    authorize(&site, "federation", json!({ "fingerprint": follower.short() })).await;
    let first = report(&site, &sign(follower.synced(&head, at))).await;
    let again = report(&site, &sign(follower.synced(&head, at))).await;
    let older = report(&site, &sign(follower.synced(&head, at.plus_millis(-1_000)))).await;
    let newer = report(&site, &sign(follower.synced(&head, at.plus_millis(1)))).await;
    let future = report(&site, &sign(follower.synced(&head, at.plus_millis(180_000)))).await;
    let ancient = report(&site, &sign(follower.synced(&head, at.plus_millis(-180_000)))).await;

    assert_eq!(refused(&early), told(403, "follower_not_authorized"));
    assert_eq!((first.status, newer.status), (204, 204), "{first}");
    assert_eq!(refused(&again), told(409, "conflict"));
    assert_eq!(refused(&older), told(409, "conflict"));
    assert_eq!(refused(&future), told(422, "statement_from_future"));
    assert_eq!(refused(&ancient), told(422, "validation_failed"));
    let other = follower.synced(&head, now()).into_report(&Peer::new(53).key, Some(head.clone()));
    assert_eq!(refused(&report(&site, &other).await), told(422, "invalid_signature"));
    let headless = follower.synced(&head, now()).into_report(&follower.key, None);
    assert_eq!(refused(&report(&site, &headless).await), told(422, "validation_failed"));
    let mut other_log = follower.synced(&head, now());
    other_log.origin = "log.example/other".parse().unwrap();
    assert_eq!(refused(&report(&site, &sign(other_log)).await), told(422, "validation_failed"));
}

async fn a_report_of_another_root_is_shown_and_stops_nothing(place: Place) {
    let site = place.start().await;
    site.grow(3).await;
    let follower = Peer::new(54);
    follower.register(&site.leader).await;
    authorize(&site, "federation", json!({ "fingerprint": follower.fingerprint() })).await;
    let head = site.head_json().await;
    let send = async |millis: i64| {
        let mut claim = follower.synced(&head, now().plus_millis(millis));
        claim.root_hash = Hash::of(b"another root");
        report(&site, &claim.into_report(&follower.key, Some(head.clone()))).await
    };

    assert_eq!((send(0).await.status, send(10).await.status), (204, 204));
    let status = status_with(&site, |status| status["followers"][0]["root_matches"] == false).await;
    let incidents = operator(&site.leader, "GET", "incidents", None).await.json();

    assert_eq!(status["followers"][0]["reason"], "peer_disagrees");
    let open = incidents["incidents"].as_array().unwrap();
    assert_eq!(open.len(), 1, "one for each peer: {incidents}");
    assert_eq!(
        (&open[0]["kind"], &open[0]["subject"]),
        (&json!("peer_disagrees"), &json!(follower.fingerprint()))
    );
    site.append(&json!({ "goes": "on" })).await;
    let id = open[0]["id"].as_i64().unwrap();
    let acked = operator(&site.leader, "POST", &format!("incidents/{id}/ack"), None).await;
    assert_eq!(acked.status, 200, "{acked}");
    let twice = operator(&site.leader, "POST", &format!("incidents/{id}/ack"), None).await;
    assert_eq!(refused(&twice), told(404, "not_found"));
    let open = operator(&site.leader, "GET", "incidents", None).await.json();
    let all = operator(&site.leader, "GET", "incidents?all=true", None).await.json();
    assert_eq!(open["incidents"], json!([]));
    assert_eq!(all["incidents"][0]["id"], id);
}

async fn a_head_of_our_own_key_that_we_do_not_hold_stops_signing(place: Place) {
    let site = place.start().await;
    site.grow(3).await;
    let key = SigningKey::from_pem(&site.file("operator.pem")).unwrap();
    let newest = site.head().await.head().clone();
    let ahead = TreeHead {
        tree_size: newest.tree_size.plus(100),
        root_hash: Hash::of(b"what was lost"),
        chain_head: Some(Hash::of(b"the entry that was lost")),
        timestamp: now(),
        ..newest.clone()
    };
    let lost = ahead.sign(&key).to_json(String::new(), 100);
    let messenger = Peer::new(55);

    // Whoever brings it: the signature alone counts.
    let brought = messenger.synced(&lost, now()).into_report(&messenger.key, Some(lost.clone()));
    let answer = report(&site, &brought).await;
    let body = json!({ "event_type": "x-it:event", "payload": {} });
    let append = site.leader.post("/api/v1/log/entries", &body).token(TOKEN).send().await;
    let ready = site.leader.get("/readyz?verbose").await;

    assert_eq!(refused(&answer), told(503, "signing_paused"));
    assert_eq!(refused(&append), told(503, "signing_paused"));
    assert_eq!(refused(&ready), told(503, "signing_paused"));
    assert_eq!(site.leader.get("/api/v1/log/2").await.status, 200, "reads go on");
    assert_eq!(*site.head().await.head(), newest, "and nothing is signed");
    let incidents = operator(&site.leader, "GET", "incidents", None).await.json();
    assert_eq!(incidents["incidents"][0]["kind"], "self_rolled_back");
}

async fn the_operator_decides_who_mirrors_and_who_witnesses(place: Place) {
    let site = place.start().await;
    let (follower, witness) = (Peer::new(56), Peer::new(57));
    let body = json!({ "fingerprint": follower.fingerprint(), "name": "EU Mirror" });
    let post = async |path: &str, body: &Value| {
        operator(&site.leader, "POST", path, Some(body.clone())).await
    };

    for (method, path) in [
        ("POST", "federation".to_owned()),
        ("POST", "witnesses".to_owned()),
        ("POST", "endorsements".to_owned()),
        ("DELETE", format!("federation/{}", follower.short())),
        ("PUT", "profile".to_owned()),
        ("GET", "followers".to_owned()),
        ("GET", "witnesses".to_owned()),
        ("GET", "pending".to_owned()),
        ("GET", "incidents".to_owned()),
        ("POST", "incidents/1/ack".to_owned()),
    ] {
        let request = site.leader.request(method, &format!("/api/v1/operator/{path}"));
        let answer = request.token("wrong").json(&body).send().await;
        assert_eq!(refused(&answer), told(401, "unauthorized"), "{method} {path}");
    }
    let unregistered = post("federation", &body).await;
    follower.register(&site.leader).await;
    let first = post("federation", &body).await;
    let again = post("federation", &body).await;
    let other_role = post("witnesses", &json!({ "fingerprint": follower.fingerprint() })).await;
    let own = site.operator().fingerprint();
    let own = post("witnesses", &json!({ "fingerprint": own })).await;

    assert_eq!(refused(&unregistered), told(422, "validation_failed"));
    assert_eq!((first.status, again.status), (201, 200), "{first}");
    assert_eq!(first.json()["id"], again.json()["id"]);
    assert_eq!(first.json()["payload"]["category"], "x-diogenes:federation_operator");
    assert_eq!(first.header("location"), format!("/api/v1/log/{}", first.json()["id"]));
    assert_eq!(refused(&other_role), told(409, "key_has_other_role"));
    assert_eq!(refused(&own), told(409, "key_has_other_role"));
    for bad in [
        json!({}),
        json!({ "fingerprint": "xyz" }),
        json!({ "fingerprint": follower.short(), "public_key": follower.public_key() }),
        json!({ "fingerprint": follower.short(), "category": "witness" }),
    ] {
        assert_eq!(
            refused(&post("federation", &bad).await),
            told(422, "validation_failed"),
            "{bad}"
        );
    }
    let nobody =
        post("endorsements", &json!({ "fingerprint": follower.short(), "category": "witness" }))
            .await;
    assert_eq!(refused(&nobody), told(422, "validation_failed"));
    let standing = json!({ "fingerprint": follower.short(), "category": "human_attestation" });
    assert_eq!(post("endorsements", &standing).await.status, 201);

    let by_key =
        post("witnesses", &json!({ "public_key": witness.public_key(), "name": "W" })).await;
    assert_eq!(by_key.status, 201, "a witness need not be registered: {by_key}");
    let profile = json!({
        "fingerprint": witness.short(),
        "type": "witness",
        "display_name": "Community Witness",
        "server": "https://witness.example",
    });
    let put = operator(&site.leader, "PUT", "profile", Some(profile)).await;
    assert_eq!(
        (put.status, put.json()["event_type"].clone()),
        (201, json!("operator_profile")),
        "{put}"
    );
    let followers = operator(&site.leader, "GET", "followers", None).await;
    let is_shown = async || {
        let witnesses = operator(&site.leader, "GET", "witnesses", None).await;
        witnesses.json()["witnesses"][0]["server"] == "https://witness.example"
    };
    eventually("the list shows the profile", is_shown).await;
    let witnesses = operator(&site.leader, "GET", "witnesses", None).await;
    assert_eq!(followers.header("cache-control"), "no-store");
    assert_eq!(followers.json()["followers"][0]["name"], "EU Mirror");
    assert_eq!(followers.json()["followers"][0]["fingerprint"], follower.fingerprint());
    let row = &witnesses.json()["witnesses"][0];
    assert_eq!(
        (&row["display_name"], &row["server"]),
        (&json!("Community Witness"), &json!("https://witness.example"))
    );

    let ended =
        operator(&site.leader, "DELETE", &format!("witnesses/{}", witness.short()), None).await;
    let twice =
        operator(&site.leader, "DELETE", &format!("witnesses/{}", witness.short()), None).await;
    assert_eq!(ended.status, 201, "{ended}");
    assert_eq!(ended.json()["event_type"], "operator_endorsement_revocation");
    assert_eq!(ended.json()["payload"]["endorsement_id"], by_key.json()["id"]);
    assert_eq!(refused(&twice), told(404, "not_found"));
    let record: Value =
        site.leader.json(&format!("/api/v1/log/witnesses/{}", witness.short())).await;
    assert_eq!(record["state"], "revoked");
    let head = site.head_json().await;
    let late = submit(&site.leader, &witness.prove(TreeRoot::EMPTY, &head)).await;
    assert_eq!(refused(&late), told(403, "witness_not_authorized"));
    site.check().await;
}

async fn a_profile_is_signed_by_its_key_or_the_operator(place: Place) {
    let site = place.start().await;
    let (follower, stranger) = (Peer::new(58), Peer::new(59));
    follower.register(&site.leader).await;
    authorize(&site, "federation", json!({ "fingerprint": follower.fingerprint() })).await;
    let at = now();
    let claim = |peer: &Peer, millis: i64| ProfileClaim {
        display_name: "EU Mirror".to_owned().try_into().unwrap(),
        fingerprint: peer.key.fingerprint(),
        origin: site.origin().clone(),
        server: Some("https://mirror.example".to_owned().try_into().unwrap()),
        timestamp: at.plus_millis(millis),
        kind: ProfileType::Federation,
    };
    let put = async |peer: &Peer, profile: &Profile| {
        let path = format!("/api/v1/profiles/{}", peer.fingerprint());
        let body = serde_json::to_value(profile).unwrap();
        site.leader.request("PUT", &path).json(&body).send().await
    };

    let set = put(&follower, &claim(&follower, 0).into_profile(&follower.key)).await;
    let again = put(&follower, &claim(&follower, 0).into_profile(&follower.key)).await;
    let by_stranger = put(&follower, &claim(&follower, 1).into_profile(&stranger.key)).await;
    let unauthorised = put(&stranger, &claim(&stranger, 1).into_profile(&stranger.key)).await;
    let elsewhere = put(&stranger, &claim(&follower, 2).into_profile(&follower.key)).await;
    let future = put(&follower, &claim(&follower, 180_000).into_profile(&follower.key)).await;
    let mut forged = claim(&follower, 3).into_profile(&follower.key);
    forged.timestamp = at.plus_millis(4);
    let forged = put(&follower, &forged).await;
    let mut as_witness = claim(&follower, 5);
    as_witness.kind = ProfileType::Witness;
    let as_witness = put(&follower, &as_witness.into_profile(&follower.key)).await;

    assert_eq!(set.status, 201, "{set}");
    assert_eq!(set.json()["payload"]["display_name"], "EU Mirror");
    assert_eq!(set.header("location"), format!("/api/v1/log/{}", set.json()["id"]));
    assert_eq!(refused(&again), told(409, "conflict"));
    assert_eq!(refused(&by_stranger), told(403, "forbidden"));
    assert_eq!(refused(&unauthorised), told(403, "follower_not_authorized"));
    assert_eq!(refused(&elsewhere), told(422, "validation_failed"));
    assert_eq!(refused(&future), told(422, "statement_from_future"));
    assert_eq!(refused(&forged), told(422, "invalid_signature"));
    assert_eq!(refused(&as_witness), told(403, "witness_not_authorized"));
    let status = status_with(&site, |status| status["followers"][0]["server"].is_string()).await;
    assert_eq!(status["followers"][0]["server"], "https://mirror.example");
    site.check().await;
}

/// Heads are signed all the time while many append: every head that anybody ever saw lies on one
/// history, and each is proven to extend the one before.
async fn heartbeats_that_race_appends_never_contradict_each_other(place: Place) {
    let site = Arc::new(place.start_with(&[("DIOGENES_HEARTBEAT", "2ms")]).await);
    let done = Arc::new(AtomicBool::new(false));
    let (mut readers, mut writers) = (JoinSet::new(), JoinSet::new());
    for path in [
        "/api/v1/log/sth",
        "/api/v1/log/tree-head",
        "/api/v1/log/sth?for=witness",
        "/api/v1/log/replicate?limit=1",
    ] {
        let (site, done) = (site.clone(), done.clone());
        readers.spawn(async move {
            let mut seen: Vec<HeadJson> = Vec::new();
            while !done.load(Ordering::Relaxed) {
                let answer = site.leader.get(path).await;
                if answer.status == 200 {
                    let body = answer.json();
                    let head = body.get("tree_head").unwrap_or(&body).clone();
                    let head = serde_json::from_value(head).unwrap();
                    if seen.last() != Some(&head) {
                        seen.push(head);
                    }
                }
            }
            seen
        });
    }
    for writer in 0..4 {
        let site = site.clone();
        writers.spawn(async move {
            let mut heads = Vec::new();
            for n in 0..60 {
                let receipt = site.append(&json!({ "writer": writer, "n": n })).await;
                let head = receipt["receipt"]["tree_head"].clone();
                heads.push(serde_json::from_value::<HeadJson>(head).unwrap());
                if n % 8 == 0 {
                    // A gap, in which heartbeats alone sign.
                    tokio::time::sleep(Duration::from_millis(7)).await;
                }
            }
            heads
        });
    }

    let mut seen = writers.join_all().await.concat();
    done.store(true, Ordering::Relaxed);
    seen.extend(readers.join_all().await.concat());

    let mut heads: Vec<SignedHead> = Vec::new();
    for head in &seen {
        let head = site.verified(head);
        if !heads.contains(&head) {
            heads.push(head);
        }
    }
    assert!(heads.len() > 100, "{} heads: too few to say anything", heads.len());
    for (nth, one) in heads.iter().enumerate() {
        for other in &heads[nth + 1..] {
            assert_eq!(contradiction(one, other), None, "{:?} {:?}", one.head(), other.head());
        }
    }
    heads.sort_by_key(|head| (head.head().tree_size, head.head().timestamp));
    let mut trees: Vec<TreeRoot> = heads.iter().map(|head| head.head().tree()).collect();
    trees.dedup();
    assert!(heads.len() > trees.len(), "no heartbeat was seen at all");
    for pair in trees.windows(2) {
        let path =
            format!("/api/v1/log/consistency-proof?first={}&second={}", pair[0].size, pair[1].size);
        let shown: Value = site.leader.json(&path).await;
        consistent(&shown, &pair[1]);
        assert_eq!(shown["first_root"], json!(pair[0].hash));
    }
    assert_eq!(site.check().await, 241);
}
