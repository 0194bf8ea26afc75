//! `doctor`: a healthy federation has no failure, every fault that is planted is found under its
//! name with what to do, and looking changes nothing.

mod faults;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use diogenes_tests::http::Node;
use diogenes_tests::process::{Ended, Machine, Process, copy_files, free_address};
use serde_json::{Value, json};

const NODE: &str = env!("CARGO_BIN_EXE_diogenes-node");

/// What doctor said.
struct Seen {
    ended: Ended,
    report: Value,
}

impl Seen {
    /// Runs doctor for the node of that name.
    fn of(machine: &Machine, name: &str, role: &str, variables: &[(&str, &str)]) -> Self {
        Self::with(machine, name, role, &[], variables)
    }

    fn with(
        machine: &Machine,
        name: &str,
        role: &str,
        more: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        let args = [&["doctor", "--json"], more].concat();
        let ended = machine.run(name, role, &args, variables);
        let report = serde_json::from_str(&ended.output).unwrap_or_else(|_| panic!("{ended:?}"));
        Self { ended, report }
    }

    /// The findings of a level, as check and message.
    fn all(&self, level: &str) -> Vec<(&str, &str)> {
        let findings = self.report["findings"].as_array().unwrap().iter();
        findings
            .filter(|finding| finding["level"] == level)
            .map(|finding| {
                let text = |name: &str| finding[name].as_str().unwrap();
                (text("check"), text("message"))
            })
            .collect()
    }

    fn has(&self, check: &str, level: &str) -> bool {
        self.all(level).iter().any(|(found, _)| *found == check)
    }

    /// The box of the production checklist that begins like this.
    fn ticked(&self, item: &str) -> &Value {
        let boxes = self.report["checklist"].as_array().unwrap().iter();
        let mut named = boxes.filter(|one| one["item"].as_str().unwrap().starts_with(item));
        &named.next().unwrap()["done"]
    }

    #[track_caller]
    fn is_healthy(&self) {
        assert_eq!(self.all("fail"), [], "{:?}", self.report);
        assert_eq!(self.ended.code, Some(0), "{:?}", self.ended);
        assert_eq!(self.report["ok"], true);
    }

    /// Asserts that a fault is named with advice, and that the exit code is of its level.
    #[track_caller]
    fn names(&self, fault: &str, check: &str, level: &str) {
        assert!(self.has(check, level), "{fault}: {:#}", self.report);
        let failed = !self.all("fail").is_empty();
        assert_eq!(self.ended.code, Some(i32::from(failed)), "{fault}: {:?}", self.ended);
        assert_eq!(self.report["ok"], !failed, "{fault}");
        for finding in self.report["findings"].as_array().unwrap() {
            assert_eq!(finding["level"] == "ok", finding["advice"].is_null(), "{fault}: {finding}");
        }
    }
}

/// Everything in a directory: modes, times and contents.
fn snapshot(directory: &Path) -> BTreeMap<String, (u32, SystemTime, Vec<u8>)> {
    let files = fs::read_dir(directory).unwrap().map(Result::unwrap);
    files
        .map(|file| {
            let metadata = file.metadata().unwrap();
            let content = fs::read(file.path()).unwrap_or_default();
            let name = file.file_name().into_string().unwrap();
            (name, (metadata.permissions().mode(), metadata.modified().unwrap(), content))
        })
        .collect()
}

async fn serve_leader(machine: &Machine, variables: &[(&str, &str)]) -> (Process, Node) {
    let address = free_address();
    let listen = address.to_string();
    let mut leader = machine.start("leader", "leader", &["serve", "--listen", &listen], variables);
    let node = Node::local(address);
    leader.ready(&node).await;
    let token = fs::read_to_string(machine.data("leader").join("operator-token")).unwrap();
    (leader, node.with_token(Some(token.trim().to_owned())))
}

/// Enough events for one whole tile and a right edge beside it, and a second whose head is kept
/// with its signature, which the next commit writes.
async fn grow(node: &Node, events: u64) {
    append(node, 1).await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    append(node, events - 1).await;
}

async fn append(node: &Node, events: u64) {
    let lines: String = (0..events)
        .map(|n| json!({ "event_type": "x-test:event", "payload": { "n": n } }).to_string() + "\n")
        .collect();
    node.append_lines(lines.into_bytes()).await.unwrap();
}

/// Copies the directory of a node that is at rest, for a fault to be planted in.
fn copy(machine: &Machine, from: &str, to: &str) {
    copy_files(&machine.data(from), &machine.data(to), |name| name != "lock");
    fs::set_permissions(machine.data(to), fs::Permissions::from_mode(0o700)).unwrap();
}

fn source(leader: SocketAddr, fingerprint: &str) -> String {
    json!([{ "url": format!("http://{leader}"), "fingerprint": fingerprint }]).to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_healthy_federation_has_no_failure_running_or_at_rest() {
    let machine = Machine::new(NODE);
    let (leader, node) = serve_leader(&machine, &[]).await;
    grow(&node, 300).await;
    let operator = node.well_known().await.unwrap().operator_fingerprint.to_string();
    let url = node.to_string();
    let sources = source(node.address(), &operator);
    let follower_address = free_address();
    let listen = follower_address.to_string();
    let of_follower =
        [("DIOGENES_FEDERATION_OPERATORS", sources.as_str()), ("DIOGENES_LISTEN", &listen)];
    let mut follower = machine.start("follower", "follower", &["serve"], &of_follower);
    follower.ready(&Node::local(follower_address)).await;
    machine.run("witness", "witness", &["fingerprint"], &[]).succeeded();
    let witness = ["run", "--server", &url, "--interval", "200ms", "--operator", &operator];
    let witness = machine.start("witness", "witness", &witness, &[]);
    let signed = async || fs::read_to_string(machine.data("witness").join("state.json")).is_ok();
    diogenes_tests::process::eventually("the witness signs", signed).await;

    let own = node.address().to_string();
    let peers = format!("http://{follower_address}");
    let of_leader = [
        ("DIOGENES_LISTEN", own.as_str()),
        ("DIOGENES_PEERS", &peers),
        ("LEGACY_CHALLENGE", "false"),
    ];
    let running = Seen::with(&machine, "leader", "leader", &["--url", &url], &of_leader);
    running.is_healthy();
    for check in ["chain", "guard", "clock", "listener", "peers", "public_url", "database"] {
        assert!(running.has(check, "ok"), "{check}: {:#}", running.report);
    }
    assert_eq!(running.ticked("Enable HTTPS"), true);
    assert_eq!(running.ticked("Set up automated"), false);
    assert_eq!(running.ticked("Monitor"), &Value::Null);
    let running = Seen::of(&machine, "follower", "follower", &of_follower);
    running.is_healthy();
    for check in ["chain", "clock", "listener", "sources"] {
        assert!(running.has(check, "ok"), "{check}: {:#}", running.report);
    }
    let running = Seen::with(&machine, "witness", "witness", &["--server", &url], &[]);
    running.is_healthy();
    for check in ["state", "key", "clock", "log_servers"] {
        assert!(running.has(check, "ok"), "{check}: {:#}", running.report);
    }

    witness.stop().await;
    assert_eq!(follower.stop().await, Some(0));
    let before = ["follower", "witness"].map(|name| snapshot(&machine.data(name)));
    Seen::of(&machine, "follower", "follower", &of_follower).is_healthy();
    Seen::of(&machine, "witness", "witness", &[]).is_healthy();
    assert_eq!(leader.stop().await, Some(0));
    let leader_before = snapshot(&machine.data("leader"));
    Seen::of(&machine, "leader", "leader", &of_leader).is_healthy();

    let after = ["follower", "witness"].map(|name| snapshot(&machine.data(name)));
    assert_eq!(after, before, "looking changes nothing");
    assert_eq!(snapshot(&machine.data("leader")), leader_before, "looking changes nothing");
}

#[test]
fn a_node_that_was_never_started_is_told_so_and_nothing_is_made() {
    let machine = Machine::new(NODE);
    let operators = source("127.0.0.1:1".parse().unwrap(), &format!("sha256:{}", "0".repeat(64)));
    for role in ["leader", "follower", "witness"] {
        let variables = [("DIOGENES_FEDERATION_OPERATORS", operators.as_str())];
        let seen = Seen::of(&machine, role, role, &variables);

        seen.names("no directory", "data_directory", "warn");
        assert!(!machine.data(role).exists(), "{role}");
    }
}

#[test]
fn the_report_for_people_ends_with_the_checklist() {
    let machine = Machine::new(NODE);

    let listen = free_address().to_string();
    let ended = machine.run("leader", "leader", &["doctor"], &[("DIOGENES_LISTEN", &listen)]);

    let text = ended.succeeded();
    assert!(text.contains("\n[ ok ]   configuration     "), "{text}");
    assert!(text.contains("\nProduction checklist\n[x] Enable HTTPS enforcement"), "{text}");
}

#[test]
fn the_help_of_every_role_has_an_example() {
    let machine = Machine::new(NODE);
    for role in ["leader", "follower", "witness"] {
        let mut command = std::process::Command::new(NODE);
        let ended = Ended::of(command.args([role, "doctor", "--help"]).current_dir(machine.home()));

        let help = ended.succeeded();
        assert!(help.contains(&format!("Example: diogenes-{role} doctor")), "{help}");
    }
}

#[test]
fn every_check_is_documented() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = fs::read_to_string(root.join("docs/operating/doctor.md")).unwrap();

    for check in diogenes_common::doctor::Check::ALL {
        let row = format!("\n| `{}` |", check.name());
        assert!(page.contains(&row), "docs/operating/doctor.md has no row for {}", check.name());
    }
}
