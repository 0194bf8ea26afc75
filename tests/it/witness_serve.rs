//! A witness that cosigns for any log, killed between and during requests: one history, and times
//! that never run back.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use diogenes_common::checkpoint::{Checkpoint, sign_checkpoint};
use diogenes_common::cosignature::verify_cosignature;
use diogenes_common::keys::SigningKey;
use diogenes_common::merkle::{Hash, TreeRoot, TreeSize};
use diogenes_common::note::{KeyKind, Vkey, parse_signature_lines};
use diogenes_tests::http::Node;
use diogenes_tests::process::{Machine, Process, free_address};
use http::Method;
use tokio::task::JoinSet;

const NODE: &str = env!("CARGO_BIN_EXE_diogenes-node");
const ORIGIN: &str = "go.sum database tree";

/// A foreign log whose trees have 1, 2 and 4 leaves, so that each is the left half of the next.
struct Log {
    key: SigningKey,
    trees: [TreeRoot; 3],
    /// The right half that leads from each tree to the next: the whole consistency proof.
    halves: [Hash; 2],
}

impl Log {
    fn of(story: &str) -> Self {
        let leaf = |n: u8| Hash::of_leaf(format!("{story} {n}").as_bytes());
        let (one, second) = (Hash::of_leaf(b"shared"), leaf(1));
        let (two, right) = (Hash::of_node(&one, &second), Hash::of_node(&leaf(2), &leaf(3)));
        let four = Hash::of_node(&two, &right);
        let tree = |size, hash| TreeRoot { size: TreeSize::new(size).unwrap(), hash };
        Self {
            key: SigningKey::from_seed([21; 32]),
            trees: [tree(1, one), tree(2, two), tree(4, four)],
            halves: [second, right],
        }
    }

    fn vkey(&self) -> Vkey {
        Vkey::new("sum.example".parse().unwrap(), KeyKind::Ed25519, self.key.public().clone())
    }

    fn checkpoint(&self, at: usize) -> Checkpoint {
        Checkpoint::new(ORIGIN, self.trees[at]).unwrap()
    }

    /// A request to cosign a tree by a witness that stands at the tree before it, or at that tree.
    fn body(&self, from: Option<usize>, to: usize) -> Vec<u8> {
        let old = from.map_or(0, |from| self.trees[from].size.get());
        let mut body = format!("old {old}\n");
        if let Some(from) = from.filter(|from| *from < to) {
            writeln!(body, "{}", self.halves[from].to_base64()).unwrap();
        }
        let note = sign_checkpoint(&self.checkpoint(to), self.vkey().name(), &self.key);
        format!("{body}\n{note}").into_bytes()
    }
}

async fn serve(machine: &Machine, address: SocketAddr) -> (Process, Node) {
    let listen = address.to_string();
    let mut witness = machine.start("witness", "witness", &["serve", "--listen", &listen], &[]);
    let node = Node::local(address);
    witness.ready(&node).await;
    (witness, node)
}

async fn add(node: &Node, body: Vec<u8>) -> Option<(u16, String)> {
    let reply = node.ask(Method::POST, "/add-checkpoint", Some(("text/plain", body))).await.ok()?;
    Some((reply.status, String::from_utf8(reply.body).unwrap()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_witness_that_is_killed_while_it_cosigns_keeps_to_one_history() {
    let (machine, address) = (Machine::new(NODE), free_address());
    let (log, fork) = (Log::of("true"), Log::of("false"));
    let vkey = log.vkey().to_string();
    let listed = ["log-list", "add", "--vkey", &vkey, "--origin", ORIGIN];
    machine.run("witness", "witness", &listed, &[]).succeeded();
    let shown = machine.run("witness", "witness", &["fingerprint", "--vkey"], &[]).succeeded();
    let own: Vkey = shown.trim().parse().unwrap();
    let mut last = 0;

    for to in 0..3_usize {
        let (witness, node) = serve(&machine, address).await;
        let from = to.checked_sub(1);
        let mut asking = JoinSet::new();
        let (asked, body) = (node.clone(), log.body(from, to));
        asking.spawn(async move { add(&asked, body).await });
        tokio::time::sleep(Duration::from_millis(u64::try_from(to).unwrap() * 3)).await;
        witness.kill();
        let _cut_or_not = asking.join_next().await;

        let (witness, node) = serve(&machine, address).await;
        // Whether the step was durable or not, asking again leads to the same tree.
        let (status, _) = add(&node, log.body(from, to)).await.unwrap();
        assert!(status == 200 || status == 409, "{status}");
        let (status, lines) = add(&node, log.body(Some(to), to)).await.unwrap();
        assert_eq!(status, 200, "{lines}");
        let line = &parse_signature_lines(&lines).unwrap()[0];
        let time = verify_cosignature(line, &log.checkpoint(to), own.key()).unwrap();
        assert!(time >= last, "{time} is before {last}");
        last = time;
        if to > 0 {
            let (status, _) = add(&node, fork.body(Some(to), to)).await.unwrap();
            assert_eq!(status, 422, "another root at the size that was cosigned");
        }
        witness.kill();
    }
}
