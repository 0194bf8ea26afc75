//! `docs/metrics.md` is compared with what running nodes answer under `/metrics`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use diogenes_common::merkle::TreeRoot;
use diogenes_tests::cosigner::{Cosigner, Mood};
use diogenes_tests::http::Node;
use diogenes_tests::process::{Machine, free_address};
use serde_json::json;

use crate::api_federation::{Peer, authorize, submit};
use crate::site::{Place, Running, eventually};

const NODE: &str = env!("CARGO_BIN_EXE_diogenes-node");

/// Name to type.
type Families = BTreeMap<String, String>;

/// What a section of the document says.
fn documented(section: &str) -> Families {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/metrics.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, rest) = text.split_once(&format!("\n## {section}\n")).expect("the section exists");
    let section = rest.split("\n## ").next().unwrap();
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let name = cells.next()?.strip_suffix('`')?.to_owned();
        Some((name, cells.next()?.to_owned()))
    };
    section.lines().filter_map(row).collect()
}

/// What a node answers.
async fn answered(node: &Running) -> Families {
    families(&String::from_utf8(node.get("/metrics").await.body).unwrap())
}

fn families(text: &str) -> Families {
    let family = |line: &str| {
        let (name, kind) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
        name.starts_with("diogenes_").then(|| (name.to_owned(), kind.to_owned()))
    };
    text.lines().filter_map(family).collect()
}

fn compare(role: &str, answered: &Families) {
    let mut documented = documented(role);
    if role != "Witness" {
        documented.extend(self::documented("Leader and follower"));
    }
    documented.extend(self::documented("Every role"));
    let strange: Vec<_> =
        answered.iter().filter(|(name, _)| !documented.contains_key(*name)).collect();
    assert!(strange.is_empty(), "{role}: answered and not documented: {strange:?}");
    for (name, kind) in answered {
        assert_eq!(documented.get(name), Some(kind), "{role}: {name}");
        assert!(!(kind == "gauge" && name.ends_with("_total")), "{name} is no counter");
    }
    let missing: BTreeSet<_> =
        documented.keys().filter(|name| !answered.contains_key(*name)).collect();
    assert!(missing.is_empty(), "{role}: documented and not answered: {missing:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_metric_is_documented_and_every_documented_one_is_there() {
    let (place, cosigner) = (Place::sqlite(), Cosigner::start(62, Mood::Honest).await);
    let path = place.write("policy.txt", &format!("{}quorum none\n", cosigner.line().0));
    let site = place.start_with(&[("WITNESS_POLICY", &path)]).await;
    // Families with labels show with their first series: a follower's and a witness's.
    let (mirror, witness) = (Peer::new(60), Peer::new(61));
    mirror.register(&site.leader).await;
    authorize(&site, "federation", json!({ "fingerprint": mirror.fingerprint() })).await;
    authorize(&site, "witnesses", json!({ "public_key": witness.public_key() })).await;
    let head = site.head_json().await;
    assert_eq!(submit(&site.leader, &witness.prove(TreeRoot::EMPTY, &head)).await.status, 201);
    let follower = site.follower().await;
    eventually("the status shows both", async || {
        let status = site.leader.get("/api/v1/log/replication-status").await.json();
        status["followers"][0].is_object() && status["witnesses"][0].is_object()
    })
    .await;
    eventually("the witness of the policy cosigns", async || cosigner.size() > 0).await;

    compare("Leader", &answered(&site.leader).await);
    compare("Follower", &answered(&follower).await);
}

#[tokio::test]
async fn every_metric_of_a_witness_is_documented_and_every_documented_one_is_there() {
    let (machine, address) = (Machine::new(NODE), free_address());
    let vkey = "log.example/golden+4e415220+AYqI4910CfGV/VLbLTy6XXLKZwm/HZQSG/N0iAG0D29c";
    machine.run("witness", "witness", &["log-list", "add", "--vkey", vkey], &[]).succeeded();
    let listen = address.to_string();
    let mut witness = machine.start("witness", "witness", &["serve", "--listen", &listen], &[]);
    let node = Node::local(address);
    witness.ready(&node).await;

    let text = String::from_utf8(node.get("/metrics").await.unwrap().body).unwrap();

    compare("Witness", &families(&text));
    assert_eq!(witness.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_measured_is_what_happened() {
    let site = Place::sqlite().start().await;
    site.grow(5).await;
    let _ = site.leader.get("/no/such/route").await;
    let text = String::from_utf8(site.leader.get("/metrics").await.body).unwrap();

    for line in [
        "diogenes_tree_size_entries 6",
        "diogenes_epoch 1",
        "diogenes_entries_appended_total{event_type=\"x\"} 5",
        "diogenes_http_requests_total{method=\"GET\",route=\"other\",status=\"404\"} 1",
        "diogenes_http_requests_total{method=\"POST\",route=\"/api/v1/log/entries\",status=\"201\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alerts_find_the_newest_event_the_disk_and_every_check_before_it_fails() {
    let site = Place::sqlite().start().await;
    site.grow(5).await;
    let follower = site.follower().await;

    eventually("the newest event and the disk are measured", async || {
        let text = String::from_utf8(site.leader.get("/metrics").await.body).unwrap();
        let disk = text.lines().find_map(|line| {
            line.strip_prefix("diogenes_fsync_duration_seconds_count ")?.parse::<u64>().ok()
        });
        let event = text.lines().any(|line| line == "diogenes_last_event_tree_size_entries 6");
        event && disk > Some(0)
    })
    .await;
    let text = String::from_utf8(follower.get("/metrics").await.body).unwrap();
    for check in ["bad_batch", "wrong_origin", "inconsistent_unproven", "fork_prefix"] {
        let line = format!("diogenes_verification_failures_total{{check=\"{check}\"}} 0");
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}
