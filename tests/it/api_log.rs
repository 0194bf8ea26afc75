//! The log's REST API as its reference tells it: every request with its answer's members, on both
//! databases, the reads on a follower too.

use std::collections::BTreeSet;
use std::time::Duration;

use diogenes_common::config::Secret;
use diogenes_common::event::KeyRegistration;
use diogenes_common::head::HeadJson;
use diogenes_common::keys::{HolderKey, KeyAlgorithm, SigningKey};
use diogenes_common::leaf::Leaf;
use diogenes_common::merkle::{Hash, verify_inclusion};
use diogenes_common::wire::log::{EntryView, InclusionProof, LogPage, VerifyReport};
use diogenes_tests::http::concrete;
use diogenes_tests::postgres::Cluster;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::site::{Place, Running, TOKEN, consistent, eventually, on_both};

const ENTRIES: &str = "/api/v1/log/entries";

on_both!(
    every_read_has_the_members_of_the_reference_on_leader_and_follower,
    an_event_is_answered_with_a_receipt_that_proves_it,
    many_events_are_appended_all_or_none_from_an_array_or_lines,
    the_log_is_paged_filtered_and_searched,
    what_the_log_holds_about_a_key_and_a_time_is_told,
    what_never_changes_is_cached_and_what_is_known_is_not_sent_again,
    proofs_lead_from_every_entry_and_every_size_to_the_signed_head,
    verifying_says_that_all_is_well_and_where_it_began,
    a_repeated_request_finds_what_the_first_one_appended,
    of_equal_requests_at_once_one_appends,
    who_may_append_is_the_operators_choice,
    a_key_is_registered_once_and_found,
    a_proof_of_possession_is_better_than_none,
    types_of_the_log_itself_cannot_be_posted,
    limits_are_told_and_kept,
    registrations_are_limited_by_event_whichever_way_they_come,
    every_route_that_is_documented_answers,
    a_caller_that_hangs_up_and_comes_again_harms_nobody,
);

fn members(value: &Value) -> BTreeSet<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

fn has(value: &Value, names: &[&str]) {
    let missing: Vec<_> = names.iter().filter(|name| !members(value).contains(**name)).collect();
    assert!(missing.is_empty(), "{missing:?} missing in {value}");
}

fn event(payload: &Value) -> Value {
    json!({ "event_type": "x-it:event", "payload": payload })
}

fn ids(page: &LogPage) -> Vec<u64> {
    page.entries.iter().map(|entry| entry.id).collect()
}

/// The hash that is the leaf of an entry as the API shows it.
fn leaf_of(entry: &Value) -> Leaf {
    let mut members = entry.as_object().unwrap().clone();
    let hash = members.remove("entry_hash").unwrap();
    let leaf = Leaf::parse(diogenes_common::canonical::to_vec(&members.into())).unwrap();
    assert_eq!(json!(leaf.entry_hash()), hash);
    leaf
}

async fn every_read_has_the_members_of_the_reference_on_leader_and_follower(place: Place) {
    let site = place.start().await;
    site.append(&json!({ "hello": "world" })).await;
    let follower = site.follower().await;

    for node in [&site.leader, &follower] {
        let health: Value = node.json("/api/v1/health").await;
        assert_eq!(health["status"], "ok");
        assert!(health["version"].is_string());

        let page: Value = node.json("/api/v1/log").await;
        assert_eq!(members(&page), ["entries", "page", "per_page", "total"].into());
        assert_eq!(
            (&page["page"], &page["per_page"], &page["total"]),
            (&json!(1), &json!(50), &json!(2))
        );
        let entry = &page["entries"][1];
        let names = ["id", "timestamp", "event_type", "payload", "previous_hash", "entry_hash"];
        assert_eq!(members(entry), names.into());
        assert_eq!(entry["payload"], json!({ "hello": "world" }));
        assert_eq!(page["entries"][0]["previous_hash"], Value::Null);
        assert_eq!(entry["previous_hash"], page["entries"][0]["entry_hash"]);
        assert_eq!(node.json::<Value>("/api/v1/log/2").await, *entry);
        leaf_of(entry);

        let head: Value = node.json("/api/v1/log/head").await;
        assert_eq!(members(&head), ["head", "entry_count"].into());
        assert_eq!(head["entry_count"], 2);
        assert_eq!(members(&head["head"]), ["id", "entry_hash", "event_type", "timestamp"].into());
        assert_eq!(head["head"]["entry_hash"], entry["entry_hash"]);

        let tree_head: Value = node.json("/api/v1/log/tree-head").await;
        has(&tree_head, &["tree_size", "root_hash", "signature", "timestamp"]);
        let head: HeadJson = serde_json::from_value(tree_head).unwrap();
        assert_eq!(site.verified(&head).head().tree_size.get(), 2);

        let report = node.post("/api/v1/log/verify", &json!({})).send().await;
        assert_eq!(report.status, 200, "{report}");
        let report = report.json();
        has(&report, &["valid", "entry_count", "errors"]);
        assert_eq!(report["valid"], true);
        assert_eq!((&report["entry_count"], &report["errors"]), (&json!(2), &json!([])));

        assert_eq!(node.get("/api/v1/log/3").await.problem(), "not_found");
        assert_eq!(node.get("/api/v1/log/0").await.status, 404);
        assert_eq!(node.get("/healthz").await.status, 200);
        assert_eq!(node.get("/readyz").await.status, 200);
    }
    let refused = follower.post(ENTRIES, &event(&json!({}))).token(TOKEN).send().await;
    assert_eq!((refused.status, refused.problem().as_str()), (403, "read_only_follower"));
}

async fn an_event_is_answered_with_a_receipt_that_proves_it(place: Place) {
    let site = place.start().await;
    site.grow(6).await;

    let answer = site.leader.post(ENTRIES, &event(&json!({ "n": 1 }))).token(TOKEN).send().await;

    assert_eq!(answer.status, 201, "{answer}");
    assert_eq!(answer.header("location"), "/api/v1/log/8");
    let body = answer.json();
    has(&body, &["id", "entry_hash", "event_type", "timestamp"]);
    has(&body, &["tree_size", "previous_hash", "receipt"]);
    assert_eq!((&body["id"], &body["event_type"]), (&json!(8), &json!("x-it:event")));
    let receipt = &body["receipt"];
    assert_eq!(
        members(receipt),
        ["leaf_index", "tree_size", "inclusion_proof", "tree_head"].into()
    );
    let head: HeadJson = serde_json::from_value(receipt["tree_head"].clone()).unwrap();
    let head = site.verified(&head);
    let entry: Value = site.leader.json(answer.header("location")).await;
    assert_eq!(entry["entry_hash"], body["entry_hash"]);
    assert_eq!(entry["timestamp"], body["timestamp"]);
    let proof: Vec<Hash> = receipt["inclusion_proof"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hash| Hash::from_base64(hash.as_str().unwrap()).unwrap())
        .collect();
    let index = receipt["leaf_index"].as_u64().unwrap();
    let verified =
        verify_inclusion(index, &leaf_of(&entry).leaf_hash(), &head.head().tree(), &proof);
    assert_eq!(verified, Ok(()));
    assert_eq!(json!(head.head().tree_size.get()), receipt["tree_size"]);
    assert_eq!(site.check().await, 8);
}

async fn many_events_are_appended_all_or_none_from_an_array_or_lines(place: Place) {
    let site = place.start().await;
    let good = event(&json!({}));
    let bad = json!({ "event_type": "log_genesis", "payload": {} });
    let post = async |kind: &str, body: String| {
        site.leader.request("POST", ENTRIES).token(TOKEN).body(kind, body).send().await
    };

    let array = post("application/json", json!([good, good, good]).to_string()).await;
    let lines = post("application/x-ndjson", format!("{good}\n\n{good}\r\n")).await;
    let refused = post("application/json", json!([good, bad]).to_string()).await;
    let broken = post("application/x-ndjson", format!("{good}\n{{")).await;

    assert_eq!((array.status, array.header("location")), (201, "/api/v1/log/2"), "{array}");
    let body = array.json();
    assert_eq!(members(&body), ["first_id", "last_id", "entries", "tree_size", "tree_head"].into());
    assert_eq!((&body["first_id"], &body["last_id"]), (&json!(2), &json!(4)));
    for (nth, entry) in body["entries"].as_array().unwrap().iter().enumerate() {
        assert_eq!(members(entry), ["id", "entry_hash", "event_type", "timestamp"].into());
        let shown: Value = site.leader.json(&format!("/api/v1/log/{}", 2 + nth)).await;
        assert_eq!(shown["entry_hash"], entry["entry_hash"]);
    }
    let head: HeadJson = serde_json::from_value(body["tree_head"].clone()).unwrap();
    assert_eq!(site.verified(&head).head().tree_size.get(), body["tree_size"].as_u64().unwrap());
    assert_eq!((lines.status, lines.json()["last_id"].clone()), (201, json!(6)));
    assert_eq!((refused.status, refused.problem().as_str()), (403, "event_type_reserved"));
    assert_eq!((broken.status, broken.problem().as_str()), (400, "invalid_json"));
    assert!(broken.json()["detail"].as_str().unwrap().contains("line 2"), "{broken}");
    assert_eq!(site.check().await, 6);
}

async fn the_log_is_paged_filtered_and_searched(place: Place) {
    let site = place.start().await;
    let key = SigningKey::from_seed([9; 32]);
    register(&site.leader, &key, "Älice 100%_sure").await;
    site.grow(205).await;
    let follower = site.follower().await;
    let hash = site.leader.json::<EntryView>("/api/v1/log/100").await.entry_hash.to_hex();

    for node in [&site.leader, &follower] {
        let page = async |query: &str| -> LogPage {
            let mut page: LogPage = node.json(&format!("/api/v1/log?{query}")).await;
            page.entries.iter_mut().for_each(|entry| entry.payload = Value::Null);
            page
        };
        let third = page("page=3&per_page=100").await;
        assert_eq!((ids(&third), third.total), ((201..=207).collect(), 207));
        let newest = page("order=desc&per_page=2").await;
        assert_eq!((ids(&newest), newest.per_page), (vec![207, 206], 2));
        assert!(page("page=9").await.entries.is_empty());
        assert_eq!(ids(&page("after=205").await), [206, 207]);

        let keys = page("event_type=key_registration").await;
        assert_eq!((ids(&keys), keys.total), (vec![2], 1));
        let events = page("event_type=x-it:event&order=desc&per_page=1").await;
        assert_eq!((ids(&events), events.total), (vec![207], 205));
        assert_eq!(ids(&page("event_type=attestation").await), Vec::<u64>::new());

        assert_eq!(ids(&page(&format!("search={}", &hash[..12])).await), [100]);
        assert_eq!(ids(&page(&format!("search=sha256:{hash}")).await), [100]);
        let fingerprint = key.fingerprint().to_string();
        assert_eq!(ids(&page(&format!("search={}", &fingerprint[7..15])).await), [2]);
        assert_eq!(ids(&page("search=%C3%A4LICE").await), [2], "case is folded by Unicode");
        assert_eq!(ids(&page("search=100%25_").await), [2], "% and _ are themselves");
        assert_eq!(ids(&page("search=1%25_s").await), Vec::<u64>::new());
        assert_eq!(ids(&page("search=207").await), [207]);

        let first = node.get("/api/v1/log?per_page=100&event_type=x-it:event").await;
        assert_eq!(
            first.header("link"),
            "</api/v1/log?per_page=100&event_type=x-it:event&page=2>; rel=\"next\""
        );
        let last = node.get("/api/v1/log?per_page=100&event_type=x-it:event&page=3").await;
        assert_eq!(
            (last.header("link"), last.json()["entries"][4]["id"].clone()),
            ("", json!(207))
        );

        for query in ["page=101&per_page=100&event_type=x-it:event", "page=201&search=1"] {
            let deep = node.get(&format!("/api/v1/log?{query}")).await;
            assert_eq!((deep.status, deep.problem().as_str()), (422, "page_too_deep"), "{query}");
            assert!(deep.json()["detail"].as_str().unwrap().contains("after="), "{deep}");
        }
        assert_eq!(node.get("/api/v1/log?page=201").await.status, 200, "no filter, no end");
    }
}

async fn what_the_log_holds_about_a_key_and_a_time_is_told(place: Place) {
    let site = place.start().await;
    let key = SigningKey::from_seed([9; 32]);
    let fingerprint = key.fingerprint();
    site.grow(3).await;
    register(&site.leader, &key, "Alice").await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    site.grow(3).await;
    let follower = site.follower().await;
    let registered = site.leader.json::<EntryView>("/api/v1/log/5").await.timestamp;

    for node in [&site.leader, &follower] {
        let entry: Value = node.json("/api/v1/log/5").await;
        let list: Value = node.json(&format!("/api/v1/log/by-fingerprint/{fingerprint}")).await;
        assert_eq!(list["entries"], json!([entry]));
        let stranger = SigningKey::from_seed([8; 32]).fingerprint();
        let list: Value = node.json(&format!("/api/v1/log/by-fingerprint/{stranger}")).await;
        assert_eq!((&list["entries"], &list["total"]), (&json!([]), &json!(0)));
        let bad = node.get("/api/v1/log/by-fingerprint/abc").await;
        assert_eq!((bad.status, bad.problem().as_str()), (422, "validation_failed"));

        let trail = async |query: &str| -> LogPage {
            node.json(&format!("/api/v1/log/audit-trail?{query}")).await
        };
        let whole = node.json::<LogPage>("/api/v1/log").await;
        assert_eq!(trail("start_date=2000-01-01").await, whole);
        assert_eq!(ids(&trail(&format!("fingerprint={fingerprint}")).await), [5]);
        let until = trail(&format!("end_date={registered}&order=desc&per_page=1")).await;
        assert_eq!((ids(&until), until.total), (vec![5], 5));
        let since = trail(&format!("start_date={registered}")).await;
        assert_eq!((since.entries[0].id, since.total), (8 - since.total + 1, since.total));
        assert!(since.entries.iter().all(|entry| entry.timestamp >= registered));
        let later = registered.plus_millis(1);
        let none = trail(&format!("fingerprint={fingerprint}&start_date={later}")).await;
        assert_eq!((ids(&none), none.total), (vec![], 0));
        let none = trail(&format!("document_hash={fingerprint}")).await;
        assert_eq!(ids(&none), Vec::<u64>::new(), "a key is no document");
        let nothing = node.get("/api/v1/log/audit-trail?page=1").await;
        assert_eq!((nothing.status, nothing.problem().as_str()), (422, "validation_failed"));
    }
}

async fn what_never_changes_is_cached_and_what_is_known_is_not_sent_again(place: Place) {
    let site = place.start().await;
    site.grow(1).await;
    let follower = site.follower().await;

    for node in [&site.leader, &follower] {
        let entry = node.get("/api/v1/log/2").await;
        assert!(entry.header("cache-control").contains("immutable"), "{entry}");
        for path in ["/api/v1/log/2", "/api/v1/log/sth", "/api/v1/log/tree-head"] {
            let first = node.get(path).await;
            let tag = first.header("etag");
            assert!(tag.starts_with('"') && tag.len() > 10, "{path}: a strong tag, {tag}");
            let again = node.request("GET", path).header("if-none-match", tag).send().await;
            assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
            assert_eq!(again.header("etag"), tag);
        }
        let head = node.get("/api/v1/log/sth").await;
        let age = head.header("cache-control").rsplit("max-age=").next().unwrap();
        assert!(age.parse::<u32>().unwrap() <= 5, "{head}");
        assert_eq!(head.header("access-control-allow-origin"), "*");
        assert_eq!(head.header("access-control-allow-credentials"), "");
        let answer = node.request("HEAD", "/api/v1/log/2").send().await;
        assert_eq!((answer.status, answer.body.len()), (200, 0));
    }
    let tag = site.leader.get("/api/v1/log/sth").await.header("etag").to_owned();
    site.grow(1).await;
    let changed =
        site.leader.request("GET", "/api/v1/log/sth").header("if-none-match", &tag).send().await;
    assert_eq!(changed.status, 200);
}

async fn proofs_lead_from_every_entry_and_every_size_to_the_signed_head(place: Place) {
    let site = place.start().await;
    site.grow(299).await;
    let follower = site.follower().await;
    let head = site.head().await;
    let tree = head.head().tree();

    for node in [&site.leader, &follower] {
        for id in [1, 2, 255, 256, 257, 299, 300] {
            let path = format!("/api/v1/log/inclusion-proof?entry_id={id}&tree_size=300");
            let shown: Value = node.json(&path).await;
            assert_eq!(
                members(&shown),
                ["entry_id", "leaf_index", "tree_size", "leaf_hash", "root_hash", "hashes"].into()
            );
            let proof: InclusionProof = serde_json::from_value(shown).unwrap();
            let entry: Value = node.json(&format!("/api/v1/log/{id}")).await;
            let leaf = leaf_of(&entry).leaf_hash();
            assert_eq!((proof.leaf_hash, proof.root_hash), (leaf, tree.hash));
            assert_eq!(verify_inclusion(id - 1, &leaf, &tree, &proof.hashes), Ok(()), "{id}");
        }
        for first in [0, 1, 128, 255, 256, 257, 299, 300] {
            let path = format!("/api/v1/log/consistency-proof?first={first}&second=300");
            let shown: Value = node.json(&path).await;
            assert_eq!(
                members(&shown),
                ["first", "second", "first_root", "second_root", "hashes"].into()
            );
            consistent(&shown, &tree);
        }
        for query in [
            "inclusion-proof?entry_id=5&tree_size=4",
            "inclusion-proof",
            "consistency-proof?first=301",
            "consistency-proof?first=5&second=4",
            "consistency-proof?second=4",
        ] {
            let refused = node.get(&format!("/api/v1/log/{query}")).await;
            assert_eq!(
                (refused.status, refused.problem().as_str()),
                (422, "validation_failed"),
                "{query}"
            );
        }
        let beyond = node.get("/api/v1/log/inclusion-proof?entry_id=301").await;
        assert_eq!((beyond.status, beyond.problem().as_str()), (404, "not_found"));
    }
}

async fn verifying_says_that_all_is_well_and_where_it_began(place: Place) {
    let site = place.start().await;
    site.grow(20).await;
    let verify = async |body: Option<Value>, operator: bool| -> VerifyReport {
        let mut request = site.leader.request("POST", "/api/v1/log/verify");
        if operator {
            request = request.token(TOKEN);
        }
        let request = match body {
            Some(body) => request.json(&body),
            None => request.header("content-length", "0"),
        };
        let answer = request.send().await;
        assert_eq!(answer.status, 200, "{answer}");
        serde_json::from_slice(&answer.body).unwrap()
    };

    let first = verify(None, false).await;
    let second = verify(None, false).await;
    let whole = verify(None, true).await;
    let since = verify(Some(json!({ "since": 15 })), true).await;

    let root = site.head().await.head().root_hash;
    for report in [&first, &second, &whole, &since] {
        assert!(report.valid && report.errors.is_empty(), "{report:?}");
        assert_eq!((report.entry_count, report.root_hash), (21, root));
    }
    assert_eq!((first.verified_from, second.verified_from), (0, 21), "strangers share the work");
    assert_eq!((whole.verified_from, since.verified_from), (0, 15));
    let lines = site.leader.request("POST", "/api/v1/log/verify").token(TOKEN);
    let lines = lines.header("accept", "application/x-ndjson").header("content-length", "0");
    let lines = lines.send().await;
    assert_eq!(lines.header("content-type"), "application/x-ndjson");
    let last = String::from_utf8(lines.body).unwrap().lines().last().unwrap().to_owned();
    assert_eq!(serde_json::from_str::<VerifyReport>(&last).unwrap(), whole);
    let wrong = site.leader.post("/api/v1/log/verify", &json!({ "from": 3 })).send().await;
    assert_eq!((wrong.status, wrong.problem().as_str()), (422, "unknown_field"));
    for blank in [" ", "\n", "\u{c}"] {
        let blank =
            site.leader.request("POST", "/api/v1/log/verify").body("application/json", blank);
        let blank = blank.send().await;
        assert_eq!((blank.status, blank.problem().as_str()), (400, "invalid_json"));
    }
}

async fn a_repeated_request_finds_what_the_first_one_appended(place: Place) {
    let site = place.start().await;
    let send = async |key: &str, body: &Value| {
        let request = site.leader.post(ENTRIES, body).token(TOKEN).header("idempotency-key", key);
        request.send().await
    };
    let (one, many) = (event(&json!({ "n": 1 })), json!([event(&json!({})), event(&json!({}))]));

    let first = send("\"one\"", &one).await;
    let several = send("several", &many).await;
    // Two batches: the tile of the first entry is complete, and no longer that of the last batch.
    site.grow(300).await;
    site.grow(1).await;
    let again = send("\"one\"", &one).await;
    let bare = send("one", &one).await;
    let several_again = send("several", &many).await;
    let other_body = send("one", &event(&json!({ "n": 2 }))).await;

    assert_eq!((first.status, several.status), (201, 201));
    assert_eq!((again.status, bare.status, several_again.status), (200, 200, 200), "{again}");
    for member in ["id", "entry_hash", "event_type", "timestamp", "previous_hash"] {
        assert_eq!(again.json()[member], first.json()[member], "{member}");
    }
    assert_eq!(again.json()["receipt"]["leaf_index"], first.json()["receipt"]["leaf_index"]);
    let head: HeadJson =
        serde_json::from_value(again.json()["receipt"]["tree_head"].clone()).unwrap();
    let tree = site.verified(&head).head().tree();
    let leaf = leaf_of(&site.leader.json("/api/v1/log/2").await).leaf_hash();
    let proof: Vec<Hash> = again.json()["receipt"]["inclusion_proof"]
        .as_array()
        .expect("a replayed receipt proves as the first one did")
        .iter()
        .map(|hash| Hash::from_base64(hash.as_str().unwrap()).unwrap())
        .collect();
    assert_eq!(verify_inclusion(1, &leaf, &tree, &proof), Ok(()));
    assert_eq!(several_again.json()["entries"], several.json()["entries"]);
    assert_eq!((other_body.status, other_body.problem().as_str()), (422, "idempotency_conflict"));
    for bad in ["", "a b", &"k".repeat(256)] {
        let refused = send(bad, &one).await;
        assert_eq!((refused.status, refused.problem().as_str()), (400, "idempotency_key_invalid"));
    }
    assert_eq!(site.check().await, 305);
}

async fn a_caller_that_hangs_up_and_comes_again_harms_nobody(place: Place) {
    let site = place.start().await;
    let events = Value::from(vec![event(&json!({ "d": "d".repeat(100) })); 300]);
    let rounds = 10;

    for round in 0..rounds {
        let key = format!("hangs-up-{round}");
        let send = async || {
            let request = site.leader.post(ENTRIES, &events).token(TOKEN);
            request.header("idempotency-key", &key).send().await
        };
        let _gone = tokio::time::timeout(Duration::from_millis(round % 5), send()).await;
        let other = event(&json!({ "round": round }));
        let (mut again, other) =
            tokio::join!(send(), site.leader.post(ENTRIES, &other).token(TOKEN).send());
        assert_eq!(other.status, 201, "{other}");
        while again.status == 409 {
            again = send().await;
        }
        assert!([200, 201].contains(&again.status), "{again}");
    }

    assert_eq!(site.check().await, 1 + rounds * 301);
}

async fn of_equal_requests_at_once_one_appends(place: Place) {
    let site = place.start().await;
    let events = Value::from(vec![event(&json!({ "d": "d".repeat(500) })); 1_000]);
    let mut seen = BTreeSet::new();
    let mut rounds = 0;

    while !seen.contains(&409) && rounds < 20 {
        rounds += 1;
        let key = format!("round-{rounds}");
        let mut requests = JoinSet::new();
        for _ in 0..8 {
            let request = site.leader.post(ENTRIES, &events).token(TOKEN);
            requests.spawn(request.header("idempotency-key", &key).send());
        }
        let mut created = 0;
        for answer in requests.join_all().await {
            seen.insert(answer.status);
            match answer.status {
                201 => created += 1,
                200 => {}
                409 => assert_eq!(answer.problem(), "idempotency_in_progress"),
                // Whoever waits too long for a turn is sent away, before anything happens.
                503 => assert_eq!(answer.problem(), "overloaded"),
                _ => panic!("{answer}"),
            }
        }
        assert_eq!(created, 1);
    }

    assert!(seen.contains(&409), "twenty rounds without two requests at once: {seen:?}");
    assert_eq!(site.size().await, 1 + 1_000 * rounds);
}

async fn who_may_append_is_the_operators_choice(place: Place) {
    let site = place.start_with(&[("APPEND_POLICY", "operator")]).await;
    let body = event(&json!({}));
    let anonymous = site.leader.post(ENTRIES, &body).send().await;
    let stranger = site.leader.post(ENTRIES, &body).token("wrong").send().await;
    let operator = site.leader.post(ENTRIES, &body).token(TOKEN).send().await;
    let registration = registration(&SigningKey::from_seed([9; 32]), "Alice");
    let lifecycle = json!({ "event_type": "key_registration", "payload": registration });
    let anybody = site.leader.post(ENTRIES, &lifecycle).send().await;

    for refused in [&anonymous, &stranger] {
        assert_eq!((refused.status, refused.problem().as_str()), (401, "unauthorized"));
        assert_eq!(refused.header("www-authenticate"), "Bearer");
    }
    assert_eq!(operator.status, 201);
    assert_eq!(anybody.status, 201, "lifecycle events follow their own rules: {anybody}");

    let open = Place::sqlite().start_with(&[("APPEND_POLICY", "open")]).await;
    assert_eq!(open.leader.post(ENTRIES, &body).send().await.status, 201);
    let authenticated = Place::sqlite().start_with(&[("APPEND_POLICY", "authenticated")]).await;
    assert_eq!(authenticated.leader.post(ENTRIES, &body).send().await.status, 401);
    assert_eq!(authenticated.leader.post(ENTRIES, &body).token(TOKEN).send().await.status, 201);
}

fn registration(key: &SigningKey, pseudonym: &str) -> Value {
    json!({
        "public_key": key.public().to_pem(),
        "pseudonym": pseudonym,
        "key_algorithm": "ed25519",
        "expiration_date": "2127-01-15T00:00:00Z",
    })
}

async fn register(leader: &Running, key: &SigningKey, pseudonym: &str) -> Value {
    let body = json!({ "payload": registration(key, pseudonym) });
    let answer = leader.post("/api/v1/keys/register", &body).send().await;
    assert_eq!(answer.status, 201, "{answer}");
    answer.json()
}

async fn a_key_is_registered_once_and_found(place: Place) {
    let site = place.start().await;
    let key = SigningKey::from_seed([9; 32]);
    let fingerprint = key.fingerprint().to_string();

    let answer = register(&site.leader, &key, "Alice Scholar").await;

    assert_eq!(
        members(&answer),
        ["fingerprint", "pseudonym", "algorithm", "log_entry_id", "entry_hash"].into()
    );
    assert_eq!(
        (&answer["fingerprint"], &answer["algorithm"]),
        (&json!(fingerprint), &json!("ed25519"))
    );
    assert_eq!(answer["log_entry_id"], 2);
    let entry: Value = site.leader.json("/api/v1/log/2").await;
    assert_eq!(entry["event_type"], "key_registration");
    assert_eq!(entry["entry_hash"], answer["entry_hash"]);
    let follower = site.follower().await;
    for node in [&site.leader, &follower] {
        let record: Value = node.json(&format!("/api/v1/keys/{fingerprint}")).await;
        has(&record, &["fingerprint", "public_key", "pseudonym", "algorithm", "status"]);
        has(&record, &["registered_at", "expires_at", "log_entry_id"]);
        assert_eq!(
            (&record["status"], &record["pseudonym"]),
            (&json!("active"), &json!("Alice Scholar"))
        );
        assert_eq!(record["expires_at"], "2127-01-15T00:00:00.000Z");
        let status: Value = node.json(&format!("/api/v1/keys/{fingerprint}/status")).await;
        has(&status, &["fingerprint", "status", "expires_at"]);
        let other = SigningKey::from_seed([8; 32]).fingerprint();
        assert_eq!(node.get(&format!("/api/v1/keys/{other}")).await.problem(), "not_found");
    }
    let body = json!({ "payload": registration(&key, "Alice again") });
    let again = site.leader.post("/api/v1/keys/register", &body).send().await;
    assert_eq!((again.status, again.problem().as_str()), (409, "key_already_registered"));
    let refused = async |change: &dyn Fn(&mut Value)| {
        let mut payload = registration(&SigningKey::from_seed([10; 32]), "Bob");
        change(&mut payload);
        let body = json!({ "payload": payload });
        let answer = site.leader.post("/api/v1/keys/register", &body).send().await;
        assert_eq!(answer.status, 422, "{answer}");
        answer.problem()
    };
    assert_eq!(refused(&|p| p["pseudonym"] = json!("")).await, "validation_failed");
    assert_eq!(refused(&|p| p["pseudonym"] = json!("a\u{202e}b")).await, "validation_failed");
    assert_eq!(
        refused(&|p| p["expiration_date"] = json!("2020-01-01T00:00:00Z")).await,
        "validation_failed"
    );
    assert_eq!(refused(&|p| p["key_algorithm"] = json!("dsa")).await, "validation_failed");
    assert_eq!(refused(&|p| p["public_key"] = json!("nonsense")).await, "invalid_public_key");
    assert_eq!(refused(&|p| p["nickname"] = json!("B")).await, "unknown_field");
    assert_eq!(
        refused(&|p| drop(p.as_object_mut().unwrap().remove("pseudonym"))).await,
        "validation_failed"
    );
    let text = Secret::new(key.to_pem().to_string());
    let private = |p: &mut Value| p["public_key"] = json!(text.expose());
    assert_eq!(refused(&private).await, "private_key_in_request");
    assert_eq!(site.check().await, 2);
}

async fn a_proof_of_possession_is_better_than_none(place: Place) {
    let site = place.start().await;
    let key = SigningKey::from_seed([9; 32]);
    register(&site.leader, &key, "Mallory").await;
    let unproven = KeyRegistration {
        expiration_date: None,
        fingerprint: key.fingerprint(),
        key_algorithm: KeyAlgorithm::Ed25519,
        proof: None,
        pseudonym: "Alice".to_owned().try_into().unwrap(),
        public_key: HolderKey::from(key.public()),
    };
    let proven = unproven.clone().proven(site.origin(), &key);
    let elsewhere = unproven.proven(&"log.example/other".parse().unwrap(), &key);
    let post = async |registration: &KeyRegistration| {
        let mut payload = serde_json::to_value(registration).unwrap();
        payload.as_object_mut().unwrap().remove("fingerprint");
        let body = json!({ "payload": payload });
        site.leader.post("/api/v1/keys/register", &body).send().await
    };

    let wrong = post(&elsewhere).await;
    let better = post(&proven).await;
    let again = post(&proven).await;

    assert_eq!((wrong.status, wrong.problem().as_str()), (422, "invalid_signature"));
    assert_eq!(better.status, 201, "{better}");
    assert_eq!((again.status, again.problem().as_str()), (409, "key_already_registered"));
    let record: Value = site.leader.json(&format!("/api/v1/keys/{}", key.fingerprint())).await;
    assert_eq!((&record["pseudonym"], &record["log_entry_id"]), (&json!("Alice"), &json!(3)));
    assert_eq!(record["proof_of_possession"], true);
    assert_eq!(site.check().await, 3);
}

async fn types_of_the_log_itself_cannot_be_posted(place: Place) {
    let site = place.start().await;

    for kind in [
        "log_genesis",
        "leader_epoch",
        "witness_proof",
        "operator_endorsement",
        "operator_endorsement_revocation",
        "operator_profile",
        "x-diogenes:note",
        "x-tlog:note",
        "x-oversight:note",
    ] {
        let body = json!({ "event_type": kind, "payload": {} });
        let refused = site.leader.post(ENTRIES, &body).token(TOKEN).send().await;
        assert_eq!(
            (refused.status, refused.problem().as_str()),
            (403, "event_type_reserved"),
            "{kind}"
        );
    }
    assert_eq!(site.size().await, 1);
}

async fn limits_are_told_and_kept(place: Place) {
    let site =
        place.start_with(&[("RATE_LIMIT_LOG_READ", "4"), ("RATE_LIMIT_API_QUERY", "2")]).await;

    let first = site.leader.get("/api/v1/log").await;
    assert_eq!(first.status, 200);
    assert_eq!(first.header("x-ratelimit-limit"), "2");
    assert_eq!(first.header("x-ratelimit-remaining"), "1");
    assert!(first.header("x-ratelimit-reset").parse::<u64>().is_ok_and(|at| at > 0));
    assert_eq!(first.header("ratelimit-policy"), "\"query\";q=2;w=60");
    assert!(first.header("ratelimit").starts_with("\"query\";r=1;t="), "{first}");
    let error = site.leader.get("/api/v1/log?page=0").await;
    assert_eq!((error.status, error.header("x-ratelimit-remaining")), (422, "0"));
    let refused = site.leader.get("/api/v1/log").await;
    assert_eq!((refused.status, refused.problem().as_str()), (429, "rate_limited"));
    assert_eq!(refused.header("x-ratelimit-remaining"), "0");
    assert!(refused.header("retry-after").parse::<u64>().is_ok_and(|wait| wait > 0));

    let log = site.leader.get("/api/v1/log/sth").await;
    assert_eq!((log.status, log.header("x-ratelimit-limit")), (200, "4"), "classes are apart");
    for path in ["/api/v1/health", "/healthz", "/readyz", "/metrics", "/"] {
        for _ in 0..5 {
            let free = site.leader.get(path).await;
            assert_eq!((free.status, free.header("x-ratelimit-limit")), (200, ""), "{path}");
        }
    }
    for _ in 0..5 {
        let operator = site.leader.request("GET", "/api/v1/log").token(TOKEN).send().await;
        assert_eq!(operator.status, 200, "the operator is not limited");
    }
}

async fn registrations_are_limited_by_event_whichever_way_they_come(place: Place) {
    let site = place.start_with(&[("RATE_LIMIT_KEY_REGISTRATION", "3")]).await;
    let payload = |n: u8| registration(&SigningKey::from_seed([n; 32]), "Somebody");
    let post = async |n: u8| {
        let body = json!({ "payload": payload(n) });
        site.leader.post("/api/v1/keys/register", &body).send().await
    };
    let submit = async |numbers: &[u8], token: Option<&str>| {
        let event = |n: &u8| json!({ "event_type": "key_registration", "payload": payload(*n) });
        let events: Vec<Value> = numbers.iter().map(event).collect();
        let request = site.leader.post(ENTRIES, &events.into());
        let request = if let Some(token) = token { request.token(token) } else { request };
        request.send().await
    };

    assert_eq!(post(11).await.status, 201);
    let too_many = submit(&[12, 13, 14], None).await;
    let fitting = submit(&[12, 13], None).await;
    let full = post(15).await;
    let operator = submit(&[16, 17, 18, 19], Some(TOKEN)).await;

    assert_eq!((too_many.status, too_many.problem().as_str()), (429, "rate_limited"));
    assert_eq!(fitting.status, 201, "{fitting}");
    assert_eq!((full.status, full.problem().as_str()), (429, "rate_limited"));
    assert!(!full.header("retry-after").is_empty());
    let told = (full.header("ratelimit-policy"), full.header("x-ratelimit-remaining"));
    assert_eq!(told, ("\"key-registration\";q=3;w=3600", "0"), "the limit that was reached");
    assert_eq!(operator.status, 201, "{operator}");
    assert_eq!(site.size().await, 8);
}

async fn every_route_that_is_documented_answers(place: Place) {
    let site = place.start().await;
    let document: Value = site.leader.json("/openapi.json").await;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut asked = 0;

    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in members(methods)
            .iter()
            .filter(|method| ["get", "post", "put", "delete"].contains(method))
        {
            if path == "/events" {
                continue;
            }
            let concrete = concrete(path, &site.operator().fingerprint().to_string());
            let answer =
                site.leader.request(&method.to_uppercase(), &concrete).token(TOKEN).send().await;
            let cannot = answer.json()["error"]["code"] == "anchoring_not_configured";
            let is_answered = (answer.status < 500 || cannot) && answer.status != 405;
            assert!(is_answered, "{method} {path}: {answer}");
            if answer.status >= 400 {
                answer.problem();
            }
            asked += 1;
        }
        let wrong = site.leader.request("PATCH", &path.replace(['{', '}'], "")).send().await;
        if wrong.status == 405 {
            assert_eq!(wrong.problem(), "method_not_allowed");
            assert!(!wrong.header("allow").is_empty(), "{path}");
        }
    }

    assert!(asked >= 30, "{asked}");
}

/// A server of its own is stopped under the leader: what needs the log says so, what does not
/// answers, and everything goes on when it is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreachable_database_is_said_and_healed_without_a_restart() {
    if diogenes_tests::postgres::cluster().is_none() {
        return;
    }
    let cluster = tokio::task::spawn_blocking(|| Cluster::start_own().unwrap()).await.unwrap();
    let database = cluster.database().unwrap().to_string();
    let site = Place::sqlite().start_with(&[("DATABASE_URL", &database)]).await;
    site.grow(3).await;
    let signal = |name: &str| {
        // What the server forked between the look and the signal is there at the second look; what
        // ended meanwhile is no fault.
        for _ in 0..2 {
            let pids = cluster.pids().unwrap();
            let _done = std::process::Command::new("kill").arg(name).args(&pids).status();
        }
    };

    signal("-STOP");
    let body = event(&json!({ "while": "stopped" }));
    let (entry, append, health, alive) = tokio::join!(
        site.leader.get("/api/v1/log/2"),
        site.leader.post(ENTRIES, &body).token(TOKEN).send(),
        site.leader.get("/api/v1/health"),
        site.leader.get("/healthz"),
    );
    signal("-CONT");

    for refused in [&entry, &append] {
        assert_eq!(
            (refused.status, refused.problem().as_str()),
            (503, "log_unreachable"),
            "{refused}"
        );
        assert_eq!(refused.json()["title"], "Transparency log unreachable");
        assert!(!refused.header("retry-after").is_empty(), "{refused}");
    }
    assert_eq!((health.status, alive.status), (200, 200));
    eventually("the leader appends again", async || {
        site.leader.post(ENTRIES, &body).token(TOKEN).send().await.status == 201
    })
    .await;
    site.check().await;
}
