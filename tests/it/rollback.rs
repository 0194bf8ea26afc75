//! State that went back: leaders and witnesses restored from old copies refuse, say how to recover,
//! and after that no two histories were ever signed. Peers that lie stop nobody.

mod hostile;
mod recovery;
mod witness;

use std::cell::RefCell;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;

use diogenes_common::head::{HeadJson, SignedHead};
use diogenes_common::wire::node::WellKnown;
use diogenes_tests::http::Node;
use diogenes_tests::process::{Machine, Process, copy_files, eventually, free_address};
use diogenes_tests::stranger;
use serde_json::{Value, json};

const NODE: &str = env!("CARGO_BIN_EXE_diogenes-node");

/// A leader at one address, whatever directory it runs in, and a follower of it.
struct Site {
    machine: Machine,
    address: SocketAddr,
    mirror: SocketAddr,
    known: RefCell<Option<WellKnown>>,
    /// Every head that anybody was ever shown.
    heads: RefCell<Vec<SignedHead>>,
}

impl Site {
    fn new() -> Self {
        let (address, mirror) = (free_address(), free_address());
        let (known, heads) = (RefCell::default(), RefCell::default());
        Self { machine: Machine::new(NODE), address, mirror, known, heads }
    }

    /// What the leader is told of its peers.
    fn peers(&self) -> String {
        format!("http://{}", self.mirror)
    }

    /// Starts a leader in the directory of that name; it may serve reads alone.
    async fn leader(&self, name: &str, args: &[&str], peers: &str) -> (Process, Node) {
        let listen = self.address.to_string();
        let args = [&["serve", "--listen", &listen], args].concat();
        let mut leader = self.machine.start(name, "leader", &args, &[("DIOGENES_PEERS", peers)]);
        let node = Node::local(self.address);
        leader.answers(&node, "/api/v1/log/sth").await;
        let token = fs::read_to_string(self.machine.data(name).join("operator-token")).unwrap();
        self.known.replace(Some(node.well_known().await.unwrap()));
        (leader, node.with_token(Some(token.trim().to_owned())))
    }

    async fn follower(&self, name: &str) -> Process {
        let fingerprint = self.known.borrow().as_ref().unwrap().operator_fingerprint;
        let url = format!("http://{}", self.address);
        let source = json!([{ "url": url, "fingerprint": fingerprint }]).to_string();
        let variables =
            [("DIOGENES_FEDERATION_OPERATORS", source.as_str()), ("DIOGENES_POLL", "50ms")];
        let listen = self.mirror.to_string();
        let args = ["serve", "--listen", listen.as_str()];
        let mut follower = self.machine.start(name, "follower", &args, &variables);
        follower.answers(&Node::local(self.mirror), "/healthz").await;
        follower
    }

    /// Appends events, and keeps every head that is shown meanwhile.
    async fn grow(&self, node: &Node, more: u64) {
        for n in 0..more {
            let answer = node.append("x-test:event", &json!({ "n": n })).await.unwrap();
            self.keep(&serde_json::from_value(answer["receipt"]["tree_head"].clone()).unwrap());
        }
        self.keep(&node.head().await.unwrap());
    }

    fn keep(&self, head: &HeadJson) {
        let known = self.known.borrow();
        let known = known.as_ref().unwrap();
        let head = head.verify(&known.operator_public_key, &known.origin).unwrap();
        self.heads.borrow_mut().push(head);
    }

    /// Waits until the follower shows all that the leader has.
    async fn mirrored(&self, node: &Node) {
        let (size, mirror) = (node.size().await.unwrap(), Node::local(self.mirror));
        eventually("the follower has everything", async || {
            mirror.size().await.is_ok_and(|held| held >= size)
        })
        .await;
        self.keep(&mirror.head().await.unwrap());
    }

    /// A leader of a few entries and a follower that has them all; both are at rest again.
    async fn level_at_rest(&self) {
        let (leader, node) = self.leader("leader", &[], "").await;
        let follower = self.follower("mirror").await;
        self.grow(&node, 3).await;
        self.mirrored(&node).await;
        assert_eq!(leader.stop().await, Some(0));
        assert_eq!(follower.stop().await, Some(0));
    }

    /// Asserts that every head that was ever shown lies on what the node serves now.
    async fn assert_one_history(&self, node: &Node) -> u64 {
        self.keep(&node.head().await.unwrap());
        let log = stranger::read_log(node).await.unwrap();
        let contradicted = log.contradicted(&self.heads.borrow()).cloned();
        assert_eq!(contradicted, None, "two histories were signed");
        log.size()
    }

    /// Copies a node's directory as it is at rest.
    fn copy(&self, from: &str, to: &str) {
        copy_files(&self.machine.data(from), &self.machine.data(to), |name| name != "lock");
        private(&self.machine, to);
    }
}

fn private(machine: &Machine, name: &str) {
    fs::set_permissions(machine.data(name), fs::Permissions::from_mode(0o700)).unwrap();
}

/// Asserts that a leader serves reads, signs nothing, and says what to do.
async fn assert_reads_only(node: &Node, says: &str) {
    let event = json!({ "event_type": "x-test:event", "payload": {} });
    let refused = node.post("/api/v1/log/entries", &event).await.unwrap();
    assert_eq!((refused.status, refused.code().as_str()), (503, "signing_paused"), "{refused}");
    assert!(refused.to_string().contains(says), "{refused}");
    assert_eq!(node.get("/readyz").await.unwrap().status, 503);
    assert!(node.get("/api/v1/log/1").await.unwrap().is_success(), "entries are served on");
}

async fn open_incidents(node: &Node) -> Vec<String> {
    let list: Value = node.read("/api/v1/operator/incidents").await.unwrap();
    let open = list["incidents"].as_array().unwrap();
    open.iter().map(|incident| incident["kind"].as_str().unwrap().to_owned()).collect()
}
