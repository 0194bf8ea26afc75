//! What is proven is told to the others, who check it themselves and stop where they must; what is
//! not proven changes nothing.

use std::sync::Arc;

use diogenes_common::batch::{Encoding, decode};
use diogenes_common::clock::Clock as _;
use diogenes_common::clock_system::SystemClock;
use diogenes_common::evidence::{self, Kind};
use diogenes_common::keys::SigningKey;
use diogenes_common::merkle::{Hash, TreeRoot};
use diogenes_common::wire::evidence::EvidenceList;
use diogenes_tests::book::Book;
use diogenes_tests::liar::Liar;
use diogenes_tests::process::{Machine, Process, free_address};
use serde_json::{Value, json};

use crate::api_federation::{Peer, authorize, operator, submit};
use crate::raw::Answer;
use crate::site::{Place, Running, Site, TOKEN, eventually};

const EVIDENCE: &str = "/api/v1/evidence";
const NODE: &str = env!("CARGO_BIN_EXE_diogenes-node");
/// How many entries everybody has before the lie.
const LEVEL: u64 = 10;

/// A real leader of the log that a liar can tell otherwise.
async fn site() -> Site {
    let site = Place::sqlite().start_with(&[("DIOGENES_ORIGIN", Book::origin().as_str())]).await;
    site.grow(LEVEL - 1).await;
    site
}

/// The leader's log, with the key that only it should have.
async fn stolen(site: &Site) -> Book {
    let operator = SigningKey::from_pem(&site.file("operator.pem")).unwrap();
    let path = "/api/v1/log/replicate?after=0&limit=1000";
    let media_type = Encoding::Binary.media_type();
    let answer = site.leader.request("GET", path).header("accept", media_type).send().await;
    Book::copy(operator, decode(&answer.body, Encoding::Binary).unwrap().leaves)
}

/// Another history of the same log from the entry after `size` on.
fn otherwise(book: &Book, size: u64, until: u64) -> Book {
    let mut other = book.cut(size);
    while other.size() < until {
        other.push("x-test:event", br#"{"told":"otherwise"}"#);
    }
    other
}

async fn send(node: &Running, file: &[u8]) -> Answer {
    node.request("POST", EVIDENCE).body("application/json", file).send().await
}

async fn kept(node: &Running) -> EvidenceList {
    node.json(EVIDENCE).await
}

/// The hashes of the proofs that a node keeps.
async fn proofs(node: &Running) -> Vec<Hash> {
    let list = kept(node).await.evidence;
    list.into_iter().filter(|item| item.proof).map(|item| item.sha256).collect()
}

async fn append(site: &Site) -> Answer {
    let event = json!({ "event_type": "x-it:event", "payload": { "n": 1 } });
    site.leader.post("/api/v1/log/entries", &event).token(TOKEN).send().await
}

async fn latched(node: &Running, reason: &str) {
    eventually(reason, async || {
        let status: Value = node.json("/api/v1/log/replication-status").await;
        status["reason"] == reason && status["class"] == "latched"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_follower_proves_stops_the_leader_and_latches_the_others() {
    let site = site().await;
    let honest = stolen(&site).await;
    let liar = Liar::start(honest.clone()).await;
    let other = site.follower().await;
    let fingerprint = site.operator().fingerprint();
    let source = |url: String| json!({ "url": url, "fingerprint": fingerprint });
    let leader = format!("http://{}", site.leader.address());
    let sources = json!([source(liar.node().to_string()), source(leader)]).to_string();
    let peers = format!("http://{}", other.address());
    let finder =
        site.follower_of(&sources, &[("DIOGENES_PEERS", &peers)], Arc::new(SystemClock)).await;

    liar.tell(otherwise(&honest, LEVEL / 2, LEVEL + 2));

    latched(&finder, "fork_prefix").await;
    latched(&other, "fork_prefix").await;
    // Asked with an append, a leader that was not told yet would take it.
    eventually("the leader knows", async || site.leader.get("/readyz").await.status == 503).await;
    let refused = append(&site).await;
    assert_eq!((refused.status, refused.problem().as_str()), (503, "signing_paused"));
    let found = proofs(&finder).await;
    assert_eq!(found.len(), 1);
    assert_eq!(proofs(&other).await, found, "the very file");
    assert_eq!(proofs(&site.leader).await, found);
    let file = site.leader.get("/api/v1/evidence/1").await;
    let log_id = Some(honest.log_id());
    let proven = evidence::verify(&file.body, log_id, Some(fingerprint)).unwrap();
    assert_eq!(proven.kind, Kind::ForkPrefix);
    assert_eq!(Hash::of(&file.body), found[0]);
    let listed = operator(&site.leader, "GET", "incidents", None).await.json();
    assert_eq!(listed["incidents"][0]["reason"], "fork_prefix", "{listed}");
    assert_eq!(listed["incidents"][0]["class"], "latched");
    // Reads go on, and those who tell each other have come to rest.
    assert_eq!(site.check().await, LEVEL);
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    for node in [&finder, &other, &site.leader] {
        assert_eq!(proofs(node).await, found);
    }

    // A start with the same files signs nothing either.
    let place = site.stop();
    let site = place.start_with(&[("DIOGENES_ORIGIN", Book::origin().as_str())]).await;
    assert_eq!(append(&site).await.problem(), "signing_paused");
    assert_eq!(proofs(&site.leader).await, found);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_proven_of_this_log_changes_nothing() {
    let site = site().await;
    let follower = site.follower_with(&[("RATE_LIMIT_FEDERATION", "0")]).await;
    let honest = stolen(&site).await;
    let fork = |book: &Book, other: &Book| {
        let verified = |book: &Book| {
            let head = book.head(LEVEL);
            head.verify(book.operator().public(), &Book::origin()).unwrap()
        };
        let genesis = diogenes_common::leaf::Leaf::parse(book.leaf(1)).unwrap();
        let accused = evidence::Accused::log(book.operator().public(), &genesis);
        let observed = evidence::Observed { at: SystemClock.now(), by: "a test".to_owned() };
        let heads = [&verified(book), &verified(other)];
        let found = diogenes_common::head::Contradiction::ForkSameSize;
        evidence::contradiction(found, accused, heads, &observed).to_bytes()
    };
    let proof = fork(&honest, &otherwise(&honest, LEVEL / 2, LEVEL));
    let told = fork(&honest, &honest);
    let mut elsewhere = Book::new(SystemClock.now());
    elsewhere.grow(LEVEL - 1);
    let foreign = fork(&elsewhere, &otherwise(&elsewhere, LEVEL / 2, LEVEL));
    let cut = &proof[..proof.len() / 2];
    let long = [proof.clone(), vec![b' '; 1024 * 1024]].concat();

    for node in [&site.leader, &follower] {
        for (file, status, code) in [
            (&b"garbage"[..], 422, "evidence_unreadable"),
            (cut, 422, "evidence_unreadable"),
            (&told, 422, "evidence_unproven"),
            (&foreign, 422, "evidence_foreign"),
            (&long, 413, "payload_too_large"),
        ] {
            let answer = send(node, file).await;
            assert_eq!((answer.status, answer.problem()), (status, code.to_owned()), "{answer}");
        }
        assert_eq!(kept(node).await.evidence, []);
    }
    assert_eq!(append(&site).await.status, 201, "the leader signs on");
    site.level(&follower).await;

    assert_eq!(send(&site.leader, &proof).await.status, 204);
    assert_eq!(send(&site.leader, &proof).await.status, 204);
    assert_eq!(append(&site).await.problem(), "signing_paused");
    assert_eq!(proofs(&site.leader).await, [Hash::of(&proof)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_witness_that_contradicts_itself_is_proven_and_stops_nothing() {
    let site = site().await;
    let witness = Peer::new(40);
    authorize(&site, "witnesses", json!({ "public_key": witness.public_key() })).await;
    let head = site.head_json().await;
    assert_eq!(submit(&site.leader, &witness.prove(TreeRoot::EMPTY, &head)).await.status, 201);
    let follower = site.follower_with(&[("RATE_LIMIT_FEDERATION", "0")]).await;
    let mut other = site.head_json().await;
    other.tree_size = head.tree_size;
    other.root_hash = Hash::of(b"another history");

    let answer = submit(&follower, &witness.prove(TreeRoot::EMPTY, &other)).await;

    assert_eq!(answer.json()["error"]["code"], "proof_disagrees", "the leader's word: {answer}");
    for node in [&site.leader, &follower] {
        let proofs = async || -> Vec<_> {
            kept(node).await.evidence.into_iter().filter(|item| item.proof).collect()
        };
        let list = proofs().await;
        let [item] = &list[..] else { panic!("{list:?}") };
        assert_eq!(item.kind, "witness_equivocated");
        let file = node.get(&item.href).await;
        let proven = evidence::verify(&file.body, None, None).unwrap();
        assert_eq!(proven.fingerprint.to_string(), witness.fingerprint());
        assert_eq!(send(node, &file.body).await.status, 204, "known already");
        assert_eq!(proofs().await.len(), 1);
    }
    assert_eq!(append(&site).await.status, 201, "the log goes on");
    site.level(&follower).await;
}

/// Starts a follower of the liar's log.
fn follow(machine: &Machine, name: &str, liar: &Liar, variables: &[(&str, &str)]) -> Process {
    let operator = liar.story().book.operator().fingerprint();
    let source = json!([{ "url": liar.node().to_string(), "fingerprint": operator }]).to_string();
    let mut all =
        vec![("DIOGENES_FEDERATION_OPERATORS", source.as_str()), ("DIOGENES_POLL", "50ms")];
    all.extend(variables.iter().filter(|(name, _)| *name != "LISTEN"));
    let listen = variables.iter().find(|(name, _)| *name == "LISTEN").expect("an address").1;
    let args = ["serve", "--listen", listen];
    machine.start(name, "follower", &args, &all)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proof_that_nobody_took_is_told_after_a_restart() {
    let mut honest = Book::new(SystemClock.now().plus_millis(-1_000));
    honest.grow(LEVEL - 1);
    let liar = Liar::start(honest.clone()).await;
    let machine = Machine::new(NODE);
    let [own, peer] = [free_address(), free_address()];
    let (at, peers) = (own.to_string(), format!("http://{peer}"));
    let variables = [("LISTEN", at.as_str()), ("DIOGENES_PEERS", peers.as_str())];
    let (finder, other) = (Running::of(own), Running::of(peer));
    let mut process = follow(&machine, "finder", &liar, &variables);
    process.ready(&diogenes_tests::http::Node::local(own)).await;
    eventually("it is level", async || {
        let status: Value = finder.json("/api/v1/log/replication-status").await;
        status["tree_size"] == LEVEL
    })
    .await;
    liar.tell(otherwise(&honest, LEVEL / 2, LEVEL));
    latched(&finder, "fork_same_size").await;
    process.kill();

    liar.tell(honest);
    let listen = peer.to_string();
    let mut waiting = follow(&machine, "other", &liar, &[("LISTEN", &listen)]);
    waiting.ready(&diogenes_tests::http::Node::local(peer)).await;
    let mut again = follow(&machine, "finder", &liar, &variables);
    // It is latched, and so not ready.
    again.answers(&diogenes_tests::http::Node::local(own), "/healthz").await;

    latched(&other, "fork_same_size").await;
    let found = proofs(&finder).await;
    assert_eq!(proofs(&other).await, found);
    let file = machine.data("finder").join("evidence/1.json");
    let words = ["evidence", "explain", file.to_str().unwrap()];
    let said = machine.run("other", "follower", &words, &[]).succeeded();
    assert!(said.contains("Therefore: the same 10 entries cannot be both"), "{said}");
    assert!(said.contains("Held here: the first entry that differs is one of 1 to 10"), "{said}");
}
