//! Witnesses whose state went back, and witnesses that a leader asks.

use std::net::SocketAddr;

use diogenes_tests::http::Node;
use diogenes_tests::process::{Ended, Process, eventually, free_address};

use super::{Site, assert_reads_only};

/// A leader with an authorised witness; the follower is its vantage point.
fn authorised(site: &Site, node: &Node) {
    let printed = site.machine.run("witness", "witness", &["fingerprint", "--full"], &[]);
    let printed = printed.succeeded();
    let fingerprint = printed.split_whitespace().last().unwrap().to_owned();
    let server = node.to_string();
    let args = ["operator", "authorize-witness", &fingerprint, "--server", &server];
    site.machine.run("leader", "leader", &args, &[]).succeeded();
}

fn witness(site: &Site, node: &Node, args: &[&str]) -> Ended {
    let (server, vantage) = (node.to_string(), site.peers());
    let args = [args, &["--server", &server, "--vantage", &vantage]].concat();
    site.machine.run("witness", "witness", &args, &[])
}

/// Waits until the follower knows the newest proof, then submits another.
async fn submit_at_the_newest(site: &Site, node: &Node) {
    let size = node.size().await.unwrap();
    eventually("the round's head is the newest", async || {
        let round: serde_json::Value =
            node.read("/api/v1/log/sth?for=witness").await.unwrap_or_default();
        round["tree_size"].as_u64() >= Some(size)
    })
    .await;
    witness(site, node, &["submit"]).succeeded();
    site.mirrored(node).await;
}

#[tokio::test]
async fn a_witness_restored_from_an_old_copy_refuses_recovers_and_goes_on() {
    let site = Site::new();
    let (leader, node) = site.leader("leader", &[], "").await;
    let follower = site.follower("mirror").await;
    authorised(&site, &node);
    site.grow(&node, 3).await;
    submit_at_the_newest(&site, &node).await;
    site.copy("witness", "old");
    site.grow(&node, 3).await;
    submit_at_the_newest(&site, &node).await;
    site.copy("old", "witness");
    site.grow(&node, 3).await;

    for command in [&["submit"][..], &["run"]] {
        let refused = witness(&site, &node, command);
        assert_eq!(refused.code, Some(78), "{refused:?}");
        assert!(refused.errors.contains("error[state_rolled_back]"), "{refused:?}");
        assert!(refused.errors.contains("recover --forward"), "{refused:?}");
    }

    let said = witness(&site, &node, &["recover", "--forward"]).succeeded();
    assert!(said.contains(" -> "), "{said}");
    submit_at_the_newest(&site, &node).await;
    let proofs: serde_json::Value = node.read("/api/v1/log/witnesses").await.unwrap();
    let sizes: Vec<[u64; 2]> = proofs["proofs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|proof| ["old_tree_size", "new_tree_size"].map(|name| proof[name].as_u64().unwrap()))
        .collect();
    assert_eq!(sizes.len(), 3, "{proofs}");
    assert!(sizes.windows(2).all(|pair| pair[0][1] == pair[1][0]), "one chain of steps: {sizes:?}");
    site.assert_one_history(&node).await;
    assert_eq!(leader.stop().await, Some(0));
    drop(follower);
}

async fn serve(site: &Site, address: SocketAddr) -> Process {
    let args = ["serve", "--listen", &address.to_string()];
    let mut serving = site.machine.start("witness", "witness", &args, &[]);
    serving.ready(&Node::local(address)).await;
    serving
}

/// A witness holds no entries, but its checkpoint carries our own signature.
#[tokio::test]
async fn a_witness_that_serves_knows_what_a_restored_leader_signed() {
    let site = Site::new();
    let (leader, node) = site.leader("leader", &[], "").await;
    site.grow(&node, 3).await;
    let key = site.machine.run("leader", "leader", &["key", "vkey"], &[]).succeeded();
    let vkey = key.split_whitespace().last().unwrap().to_owned();
    let origin = node.head().await.unwrap().origin.to_string();
    let listed = ["log-list", "add", "--vkey", &vkey, "--origin", &origin];
    site.machine.run("witness", "witness", &listed, &[]).succeeded();
    let address = free_address();
    let serving = serve(&site, address).await;
    assert_eq!(leader.stop().await, Some(0));
    site.copy("leader", "old");
    let peers = format!("http://{address}");

    // "None yet" is an answer: without its guard the leader signs as soon as it has it.
    std::fs::remove_file(site.machine.data("leader").join("signed-guard")).unwrap();
    let (mut leader, node) = site.leader("leader", &[], &peers).await;
    leader.ready(&node).await;
    site.grow(&node, 3).await;
    let size = node.size().await.unwrap();
    let server = node.to_string();
    authorised(&site, &node);
    eventually("a round", async || {
        let round: serde_json::Value =
            node.read("/api/v1/log/sth?for=witness").await.unwrap_or_default();
        round["tree_size"].as_u64() >= Some(size)
    })
    .await;
    site.machine.run("witness", "witness", &["submit", "--server", &server], &[]).succeeded();
    assert_eq!(leader.stop().await, Some(0));
    // What another process of the witness signed is shown a minute later, or at the next start.
    assert_eq!(serving.stop().await, Some(0));
    let serving = serve(&site, address).await;

    let (leader, node) = site.leader("old", &[], &peers).await;

    assert_reads_only(&node, "recover --from").await;
    assert_eq!(leader.stop().await, Some(0));
    drop(serving);
}
