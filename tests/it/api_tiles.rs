//! The log as tiles: what a client of other people's tile logs reads, from leader and follower,
//! on both databases.

use diogenes_common::checkpoint::{self, Checkpoint};
use diogenes_common::cosignature::verify_cosignature;
use diogenes_common::keys::SigningKey;
use diogenes_common::merkle::{Edge, Hash, TileId, TilePath, TreeSize};
use diogenes_common::note::{KeyKind, Note, Vkey};
use serde_json::json;

use crate::site::{Place, Running, Site, TOKEN, eventually, on_both};

on_both!(
    a_stranger_rebuilds_the_tree_from_bundles_and_finds_it_in_the_tiles,
    raw_bytes_are_added_and_answered_with_their_index,
    who_may_add_raw_bytes_is_the_operators_choice,
    a_mirror_shows_what_the_leader_published_and_cosigns_it_where_asked_to,
    what_the_leader_withholds_its_mirror_does_not_show,
);

async fn checkpoint(site: &Site, node: &Running) -> Checkpoint {
    let answer = node.get("/checkpoint").await;
    assert_eq!(answer.status, 200, "{answer}");
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    let text = String::from_utf8(answer.body).unwrap();
    checkpoint::open(&text, site.origin().as_str(), site.operator()).unwrap()
}

async fn bytes(node: &Running, path: &str) -> Vec<u8> {
    let answer = node.get(path).await;
    assert_eq!(answer.status, 200, "{path}: {answer}");
    assert_eq!(answer.header("content-type"), "application/octet-stream", "{path}");
    assert!(answer.header("cache-control").contains("immutable"), "{path}");
    answer.body
}

/// Hashes the entries of a bundle one after the other.
fn take_up(bundle: &[u8], edge: &mut Edge) -> usize {
    let (mut rest, mut count) = (bundle, 0);
    while let Some((length, after)) = rest.split_first_chunk() {
        let (leaf, after) = after.split_at(u16::from_be_bytes(*length).into());
        edge.push(Hash::of_leaf(leaf), &mut Vec::new());
        (rest, count) = (after, count + 1);
    }
    assert!(rest.is_empty(), "nothing follows the last entry");
    count
}

async fn a_stranger_rebuilds_the_tree_from_bundles_and_finds_it_in_the_tiles(place: Place) {
    let site = place.start().await;
    site.grow(300).await;
    let follower = site.follower().await;
    let early = checkpoint(&site, &site.leader).await.tree();
    site.grow(400).await;
    site.level(&follower).await;
    eventually("the follower shows the leader's checkpoint", async || {
        let text = follower.get("/checkpoint").await.body;
        String::from_utf8_lossy(&text).lines().nth(1) == Some("701")
    })
    .await;

    for node in [&site.leader, &follower] {
        let tree = checkpoint(&site, node).await.tree();
        assert_eq!(tree.size.get(), 701);
        let mut edge = Edge::empty();
        for path in ["000", "001", "002.p/189"] {
            take_up(&bytes(node, &format!("/tile/entries/{path}")).await, &mut edge);
            if edge.size().get() == 256 {
                // The tile that the first checkpoint implied is still there.
                let mut then = edge.clone();
                let partial = bytes(node, "/tile/entries/001.p/45").await;
                assert_eq!(take_up(&partial, &mut then), 45);
                assert_eq!(then.root(), early);
            }
        }
        assert_eq!(edge.root(), tree);
        for (tile, width) in TileId::incomplete(TreeSize::ZERO.plus(701)) {
            let path = TilePath::new(tile, u16::try_from(width).unwrap()).unwrap();
            let hashes = edge.tile(tile).unwrap().to_bytes();
            assert_eq!(bytes(node, &format!("/{path}")).await, hashes, "{path}");
        }
        for absent in ["/tile/0/002", "/tile/1/000", "/tile/entries/002.p/190", "/tile/0"] {
            let answer = node.get(absent).await;
            assert_eq!((answer.status, answer.problem().as_str()), (404, "not_found"), "{absent}");
        }
    }
}

async fn raw_bytes_are_added_and_answered_with_their_index(place: Place) {
    let site = place.start().await;
    let add = |bytes: Vec<u8>| {
        site.leader.request("POST", "/add").token(TOKEN).body("application/octet-stream", bytes)
    };

    let first = add(b"\x00any \xff bytes".to_vec()).send().await;
    let second = add(vec![b'x'; 48_000]).send().await;

    assert_eq!((first.status, first.body.as_slice()), (200, &b"1"[..]));
    assert_eq!(first.header("location"), "/api/v1/log/2");
    assert_eq!((second.status, second.body.as_slice()), (200, &b"2"[..]));
    let entry: serde_json::Value = site.leader.json("/api/v1/log/2").await;
    assert_eq!(entry["event_type"], "x-tlog:raw");
    assert_eq!(entry["payload"], json!({ "data": "AGFueSD/IGJ5dGVz" }));
    for (bytes, status, code) in [
        (vec![b'x'; 50_000], 413, "entry_too_large"),
        (vec![b'x'; 70_000], 413, "payload_too_large"),
        (Vec::new(), 422, "validation_failed"),
    ] {
        let refused = add(bytes).send().await;
        assert_eq!((refused.status, refused.problem().as_str()), (status, code));
    }
    assert_eq!(site.check().await, 3);
    let posted = json!({ "event_type": "x-tlog:raw", "payload": { "data": "" } });
    let refused = site.leader.post("/api/v1/log/entries", &posted).token(TOKEN).send().await;
    assert_eq!(refused.problem(), "event_type_reserved");
}

async fn who_may_add_raw_bytes_is_the_operators_choice(place: Place) {
    let site = place.start_with(&[("APPEND_POLICY", "open")]).await;
    let open = site.leader.request("POST", "/add").body("text/plain", *b"from anyone").send().await;
    assert_eq!(open.status, 200, "{open}");

    let closed = Place::sqlite().start().await;
    let add = || closed.leader.request("POST", "/add").body("text/plain", *b"from anyone");
    for refused in [add().send().await, add().token("wrong-token-of-16").send().await] {
        assert!([401, 403].contains(&refused.status), "{refused}");
    }
    let follower = closed.follower().await;
    let refused = follower.request("POST", "/add").body("text/plain", *b"x").send().await;
    assert_eq!((refused.status, refused.problem().as_str()), (403, "read_only_follower"));
}

async fn a_mirror_shows_what_the_leader_published_and_cosigns_it_where_asked_to(place: Place) {
    let site = place.start().await;
    let plain = site.follower().await;
    let mirror = site.follower_with(&[("MIRROR_NAME", "mirror.example")]).await;
    site.grow(20).await;

    eventually("both show the published checkpoint", async || {
        let published = site.leader.get("/checkpoint").await.body;
        let cosigned = mirror.get("/checkpoint").await.body;
        plain.get("/checkpoint").await.body == published
            && cosigned.starts_with(&published)
            && cosigned.len() > published.len()
    })
    .await;

    let text = String::from_utf8(mirror.get("/checkpoint").await.body).unwrap();
    let note = Note::parse(text.as_bytes()).unwrap();
    let opened = checkpoint::open(&text, site.origin().as_str(), site.operator()).unwrap();
    let key = SigningKey::from_pem(&mirror.file("mirror.pem")).unwrap();
    let line = note.signatures().last().unwrap();
    assert_eq!(line.name().as_str(), "mirror.example/mirror");
    assert!(verify_cosignature(line, &opened, key.public()).is_ok());
}

async fn what_the_leader_withholds_its_mirror_does_not_show(place: Place) {
    let key = SigningKey::from_seed([9; 32]);
    let silent = Vkey::new("silent".parse().unwrap(), KeyKind::Cosignature, key.public().clone());
    let policy = place.write("policy", &format!("witness silent {silent}\nquorum silent\n"));
    let settings = [("WITNESS_POLICY", policy.as_str()), ("WITNESS_MODE", "fail_closed")];
    let site = place.start_with(&settings).await;
    let follower = site.follower().await;
    site.grow(20).await;
    site.level(&follower).await;

    let leader = site.leader.get("/checkpoint").await;
    let mirror = follower.get("/checkpoint").await;

    assert_eq!((leader.status, leader.problem().as_str()), (503, "signing_paused"));
    assert_eq!((mirror.status, mirror.problem().as_str()), (503, "catching_up"));
    assert_eq!(follower.get("/tile/0/000.p/21").await.status, 200);
}
