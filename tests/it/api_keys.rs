//! Keys as the REST API shows them: listed, searched for and told as of any instant of the log,
//! on both databases, by leader and follower alike.

use std::sync::Arc;

use diogenes_common::clock::Timestamp;
use diogenes_common::keys::{Fingerprint, SigningKey};
use diogenes_common::wire::keys::{KeyList, KeyRecord, KeyState, KeyStatus};
use serde_json::{Value, json};

use crate::people::Ahead;
use crate::site::{Place, Running, Site, now, on_both};

on_both!(
    keys_are_listed_with_the_members_of_the_reference,
    names_are_found_by_any_part_of_them_in_any_case,
    a_list_goes_on_after_the_last_key_seen,
    a_key_is_told_as_it_was_at_any_instant_of_the_log,
);

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed([seed; 32])
}

async fn register(
    site: &Site,
    seed: u8,
    pseudonym: &str,
    expires: Option<Timestamp>,
) -> Fingerprint {
    let key = key(seed);
    let body = json!({ "payload": {
        "public_key": key.public().to_pem(),
        "pseudonym": pseudonym,
        "key_algorithm": "ed25519",
        "expiration_date": expires,
    }});
    let answer = site.leader.post("/api/v1/keys/register", &body).send().await;
    assert_eq!(answer.status, 201, "{answer}");
    key.fingerprint()
}

fn names(list: &KeyList) -> Vec<&str> {
    list.keys.iter().map(|key| key.pseudonym.as_str()).collect()
}

async fn refused(node: &Running, path: &str) -> (u16, String) {
    let answer = node.get(path).await;
    (answer.status, answer.problem())
}

async fn keys_are_listed_with_the_members_of_the_reference(place: Place) {
    let site = place.start().await;
    let expires = "2127-01-15T00:00:00.000Z".parse().unwrap();
    let alice = register(&site, 8, "Alice Scholar", Some(expires)).await;
    register(&site, 9, "Bob", None).await;
    let follower = site.follower().await;

    let of_leader: KeyList = site.leader.json("/api/v1/keys").await;
    for node in [&site.leader, &follower] {
        let list: Value = node.json("/api/v1/keys").await;
        let shown = &list["keys"][1];
        let record: Value = node.json(&format!("/api/v1/keys/{alice}")).await;
        for member in
            ["fingerprint", "pseudonym", "algorithm", "status", "registered_at", "expires_at"]
        {
            assert_eq!(shown[member], record[member], "{member}");
        }
        assert_eq!(shown["fingerprint"], json!(alice));
        assert_eq!((&shown["status"], &shown["algorithm"]), (&json!("active"), &json!("ed25519")));
        assert_eq!(shown["expires_at"], json!(expires));
        assert_eq!((&list["page"], &list["per_page"]), (&json!(1), &json!(1000)));
        let entry: Value = node.json("/api/v1/log/2").await;
        assert_eq!(
            (&shown["log_entry_id"], &shown["registered_at"]),
            (&json!(2), &entry["timestamp"])
        );

        let list: KeyList = serde_json::from_value(list).unwrap();
        assert_eq!(names(&list)[1..], ["Alice Scholar", "Bob"]);
        assert_eq!((list.total, &list.keys), (3, &of_leader.keys));
        assert_eq!(list.keys[0].fingerprint, site.operator().fingerprint());
    }
}

async fn names_are_found_by_any_part_of_them_in_any_case(place: Place) {
    let site = place.start().await;
    register(&site, 8, "Žofie Straße", None).await;
    register(&site, 9, "100%_sure", None).await;
    register(&site, 10, "ΟΔΥΣΣΕΥΣ", None).await;
    let follower = site.follower().await;

    for node in [&site.leader, &follower] {
        let search = async |part: &str| -> Vec<String> {
            let url = format!("/api/v1/keys/search?pseudonym={part}");
            let list: KeyList = node.json(&url).await;
            assert_eq!(list.total, list.keys.len() as u64);
            list.keys.into_iter().map(|key| key.pseudonym).collect()
        };
        assert_eq!(search("%C5%BEOFIE").await, ["Žofie Straße"]);
        assert_eq!(search("Z%CC%8Cofie").await, ["Žofie Straße"], "as some keyboards write it");
        assert_eq!(search("strasse").await, ["Žofie Straße"]);
        let odysseus = "%CE%BF%CE%B4%CF%85%CF%83%CF%83%CE%B5%CF%85%CF%82";
        assert_eq!(search(odysseus).await, ["ΟΔΥΣΣΕΥΣ"], "final sigma and all");
        assert_eq!(search("0%25_s").await, ["100%_sure"], "% and _ are themselves");
        assert_eq!(search("1%25s").await, [""; 0]);
        assert_eq!(search("nobody").await, [""; 0]);
        let missing = refused(node, "/api/v1/keys/search").await;
        assert_eq!(missing, (422, "validation_failed".to_owned()));
    }
}

async fn a_list_goes_on_after_the_last_key_seen(place: Place) {
    let site = place.start().await;
    for seed in 8..15 {
        register(&site, seed, &format!("key {seed}"), None).await;
        site.grow(1).await;
    }
    let follower = site.follower().await;

    for node in [&site.leader, &follower] {
        let whole: KeyList = node.json("/api/v1/keys").await;
        let mut seen = Vec::new();
        let mut after = 0;
        loop {
            let url = format!("/api/v1/keys?per_page=3&after={after}");
            let list: KeyList = node.json(&url).await;
            assert_eq!(list.total, 8 - seen.len() as u64);
            let Some(newest) = list.keys.last() else { break };
            after = newest.first_entry_id;
            seen.extend(list.keys);
        }
        assert_eq!(seen, whole.keys);

        let mut url = "/api/v1/keys/search?pseudonym=key&per_page=3".to_owned();
        let mut found = Vec::new();
        loop {
            let answer = node.get(&url).await;
            let list: KeyList = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(list.total, 7);
            found.extend(list.keys);
            match answer.header("link").strip_prefix('<').and_then(|link| link.split_once('>')) {
                Some((next, _)) => next.clone_into(&mut url),
                None => break,
            }
        }
        assert_eq!(found, whole.keys[1..]);
        let deep = refused(node, "/api/v1/keys?page=11").await;
        assert_eq!(deep, (422, "page_too_deep".to_owned()));
    }
}

async fn a_key_is_told_as_it_was_at_any_instant_of_the_log(place: Place) {
    let clock = Ahead::default();
    let site = place.start_at(&[], Arc::new(clock.clone())).await;
    site.grow(1).await;
    clock.pass(5);
    let end = now().plus_millis(10 * 60_000);
    let key = register(&site, 8, "Alice", Some(end)).await;
    clock.pass(11 * 60_000);
    site.grow(1).await;
    let follower = site.follower_at(&[], Arc::new(clock)).await;

    for node in [&site.leader, &follower] {
        let url = format!("/api/v1/keys/{key}");
        let head: Timestamp = serde_json::from_value(
            node.json::<Value>("/api/v1/log/sth").await["timestamp"].clone(),
        )
        .unwrap();
        let now: KeyRecord = node.json(&url).await;
        assert_eq!((now.status, now.expires_at), (KeyState::Expired, Some(end)));
        assert!(now.as_of >= head);
        for (as_of, expected) in [
            (now.registered_at, KeyState::Active),
            (end.plus_millis(-1), KeyState::Active),
            (end, KeyState::Expired),
        ] {
            let status: KeyStatus = node.json(&format!("{url}/status?as_of={as_of}")).await;
            assert_eq!((status.status, status.as_of), (expected, as_of));
            let list: KeyList = node.json(&format!("/api/v1/keys?as_of={as_of}")).await;
            assert_eq!((list.keys[1].status, list.total), (expected, 2));
        }
        let before = now.registered_at.plus_millis(-1);
        let earlier = refused(node, &format!("{url}?as_of={before}")).await;
        assert_eq!(earlier, (404, "not_found".to_owned()));
        let list: KeyList = node.json(&format!("/api/v1/keys?as_of={before}")).await;
        assert_eq!(names(&list), ["log.example/it"]);
        let future = refused(node, &format!("{url}/status?as_of=9999-01-01T00:00:00Z")).await;
        assert_eq!(future, (422, "validation_failed".to_owned()));
    }
}
