//! The commands of the federation guide, typed in its order with its flags from empty directories.
//!
//! They run through `deploy/diogenes`, as they are written. Only the port is another one, since a
//! test can't own 8000; so the commands that go to the default leader name it too.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use diogenes_common::statement::FollowerStatus;
use diogenes_common::wire::log::VerifyReport;
use diogenes_common::wire::status::{LeaderStatus, MirrorStatus, ReplicationStatus};
use diogenes_tests::http::{Node, concrete};
use diogenes_tests::process::{Ended, Machine, Process, eventually, free_address};
use diogenes_tests::stranger;
use serde_json::{Value, json};

const NODE: &str = env!("CARGO_BIN_EXE_diogenes-node");
const DISPATCHER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/diogenes");

/// A user at a shell, with `diogenes` in the PATH.
struct Shell {
    machine: Machine,
    variables: Vec<(&'static str, String)>,
}

impl Shell {
    fn new() -> Self {
        let machine = Machine::new(NODE);
        let programs = machine.home().join("bin");
        fs::create_dir(&programs).unwrap();
        fs::copy(DISPATCHER, programs.join("diogenes")).unwrap();
        for role in ["leader", "follower", "witness"] {
            let program = programs.join(format!("diogenes-{role}"));
            fs::write(&program, format!("#!/bin/sh\nexec '{NODE}' {role} \"$@\"\n")).unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { machine, variables: Vec::new() }
    }

    /// Types a line; answers what it printed.
    #[track_caller]
    fn types(&self, line: &str) -> String {
        self.tries(line).succeeded()
    }

    fn tries(&self, line: &str) -> Ended {
        let home = self.machine.home();
        let path = format!("{}/bin:/usr/bin:/bin", home.display());
        let mut command = Command::new("/bin/sh");
        command.args(["-c", line]).current_dir(home).env_clear();
        command.env("HOME", home).env("PATH", path);
        command.envs(self.variables.iter().map(|(name, value)| (*name, value.as_str())));
        Ended::of(&mut command)
    }

    /// Serves a role in its default directory.
    async fn serves(&self, role: &str, address: &str, variables: &[(&str, &str)]) -> Process {
        let name = format!(".diogenes/{role}");
        fs::create_dir_all(self.machine.home().join(".diogenes")).unwrap();
        let mut process =
            self.machine.start(&name, role, &["serve", "--listen", address], variables);
        process.answers(&local(address), "/healthz").await;
        process
    }
}

fn local(address: &str) -> Node {
    format!("http://{address}").parse().unwrap()
}

async fn leader_status(leader: &Node) -> LeaderStatus {
    match leader.read("/api/v1/log/replication-status").await.unwrap() {
        ReplicationStatus::Leader(status) => *status,
        ReplicationStatus::Follower(status) => panic!("not a leader: {status:?}"),
    }
}

async fn mirror_status(follower: &Node) -> Option<MirrorStatus> {
    match follower.read("/api/v1/log/replication-status").await.ok()? {
        ReplicationStatus::Follower(status) => Some(*status),
        ReplicationStatus::Leader(status) => panic!("not a follower: {status:?}"),
    }
}

/// Every read that a node documents is answered, of entry 1 and of a registered key.
async fn assert_every_read(node: &Node, fingerprint: &str) {
    let document: Value = node.read("/openapi.json").await.unwrap();
    let mut asked = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        // Events go on for as long as somebody listens; there is no evidence, and the key has no
        // trust configuration.
        let skipped = ["/events", "/api/v1/evidence/{id}", "/api/v1/trust-configs/{fingerprint}"];
        if methods["get"].is_null() || skipped.contains(&path.as_str()) {
            continue;
        }
        let path = concrete(path, fingerprint);
        let answer = node.get(&path).await.unwrap();
        assert_eq!(answer.status, 200, "{path}: {answer}");
        asked += 1;
    }
    assert!(asked > 15, "{asked}");

    let mut events = TcpStream::connect(node.address()).unwrap();
    events.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    write!(events, "GET /events HTTP/1.1\r\nhost: {}\r\n\r\n", node.authority()).unwrap();
    let mut status = [0; 12];
    events.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
}

#[tokio::test]
async fn a_follower_joins_as_the_guide_says_and_serves_while_its_leader_is_down() {
    let mut shell = Shell::new();
    let (at, mirror_at) = (free_address().to_string(), free_address().to_string());
    let leader_process = shell.serves("leader", &at, &[]).await;
    let leader = local(&at);
    let operator = leader.well_known().await.unwrap().operator_fingerprint;
    let source = format!(r#"[{{"url": "http://{at}", "fingerprint": "{operator}"}}]"#);

    // 1. Authorize a follower: it registers a key, then the operator authorizes it.
    shell.variables = vec![
        ("DIOGENES_FEDERATION_ROLE", "follower".to_owned()),
        ("DIOGENES_FEDERATION_OPERATORS", source.clone()),
    ];
    let told = shell.types(r#"diogenes follower register --pseudonym "EU Mirror""#);
    shell.variables.clear();
    let line = told.lines().find(|line| line.contains("authorize-federation")).unwrap().trim();
    let fingerprint = line.split_whitespace().nth(3).unwrap();
    shell.types(&format!(
        "diogenes operator authorize-federation {fingerprint} --name \"EU Mirror\" --server http://{at}"
    ));

    // 2. Configure the follower.
    let variables = [
        ("DIOGENES_FEDERATION_ROLE", "follower"),
        ("DIOGENES_FEDERATION_OPERATORS", source.as_str()),
        ("DIOGENES_POLL", "100ms"),
    ];
    let _follower_process = shell.serves("follower", &mirror_at, &variables).await;
    let follower = local(&mirror_at);

    // 3. Set a profile.
    shell.types(&format!(
        "diogenes operator set-profile --type federation --display-name \"EU Mirror\" \
         --server http://follower.example.com:8000 --leader http://{at}"
    ));

    // 4. Monitor federation.
    let listed = shell.types(&format!("diogenes operator list-followers --server http://{at}"));
    assert!(listed.contains("EU Mirror"), "{listed}");
    eventually("the follower is SYNCED on the leader's list", async || {
        let status = leader_status(&leader).await;
        let is_level = status.followers.iter().any(|row| {
            row.root_matches == Some(true) && row.lag_entries == Some(0) && row.server.is_some()
        });
        is_level && status.status == FollowerStatus::Synced
    })
    .await;
    let status = leader_status(&leader).await;
    let [row] = &status.followers[..] else { panic!("one follower: {status:?}") };
    assert_eq!(row.fingerprint.to_string(), fingerprint);
    assert_eq!(row.display_name.as_deref(), Some("EU Mirror"));
    assert_eq!(row.server.as_deref(), Some("http://follower.example.com:8000"));

    // The log stays available when the leader goes offline.
    let log = stranger::read_log(&leader).await.unwrap();
    assert_eq!(leader_process.stop().await, Some(0));
    eventually("the follower says that its leader is unreachable", async || {
        let status = mirror_status(&follower).await.unwrap();
        status.status == FollowerStatus::Behind && status.reason.as_deref() == Some("unreachable")
    })
    .await;
    let mirrored = stranger::read_log(&follower).await.unwrap();
    assert_eq!(mirrored.size(), log.size());
    assert_eq!(mirrored.contradicted(std::slice::from_ref(log.head())), None);
    assert_every_read(&follower, fingerprint).await;
    stranger::prove(&follower, &mirrored, 1).await.unwrap();
    let verified = follower.post("/api/v1/log/verify", &json!({})).await.unwrap();
    let report: VerifyReport = serde_json::from_slice(&verified.body).unwrap();
    assert!(report.valid && report.entry_count == log.size(), "{report:?}");
    let relayed = follower.post("/api/v1/log/witness", &json!({})).await.unwrap();
    let said = (relayed.status, relayed.code());
    assert_eq!(said, (502, "leader_unreachable".to_owned()), "{relayed}");
}

#[tokio::test]
async fn a_witness_is_set_up_as_the_guide_says() {
    let shell = Shell::new();
    let at = free_address().to_string();
    let _leader_process = shell.serves("leader", &at, &[]).await;
    let leader = local(&at);

    // 1. Generate the witness key.
    let printed = shell.types("diogenes witness fingerprint");
    let short = printed.trim().strip_prefix("Witness fingerprint: ").unwrap();
    assert!(short.len() == 16 && short.bytes().all(|byte| byte.is_ascii_hexdigit()), "{printed}");

    // 2. Authorize the witness.
    shell.types(&format!("diogenes operator authorize-witness {short} --server http://{at}"));

    // 3. Submit a proof: the baseline is 0, and each submission chains from the one before.
    let submit = format!("diogenes witness submit --server http://{at}");
    let first = shell.types(&submit);
    assert!(first.contains("0 -> "), "{first}");
    let known = leader.head().await.unwrap().tree_size;
    let token = fs::read_to_string(shell.machine.home().join(".diogenes/leader/operator-token"));
    let operator = leader.clone().with_token(Some(token.unwrap().trim().to_owned()));
    operator.append("x-walk:event", &json!({ "n": 1 })).await.unwrap();
    eventually("the next head is the round's", async || {
        leader.read::<Value>("/api/v1/log/sth?for=witness").await.unwrap()["tree_size"].as_u64()
            > Some(known.get())
    })
    .await;
    let second = shell.types(&submit);
    assert!(second.contains(" -> ") && !second.contains("0 -> "), "{second}");

    // 4. Check status and history.
    shell.types(&format!("diogenes witness status --server http://{at}"));
    let history = shell.types(&format!("diogenes witness history --server http://{at} --limit 10"));
    assert!(history.lines().count() >= 2, "{history}");

    // 5. Set a display profile.
    shell.types(&format!(
        "diogenes operator set-profile --type witness --display-name \"Community Witness\" \
         --server http://{at} --leader http://{at}"
    ));
    let proofs: Value = leader.read("/api/v1/log/witnesses").await.unwrap();
    assert_eq!(proofs["total"], 2, "{proofs}");
    assert!(
        proofs["proofs"].as_array().unwrap().iter().all(|proof| {
            proof["short_fingerprint"] == short
                && proof["display_name"] == "Community Witness"
                && proof["authorized"] == true
        }),
        "{proofs}"
    );
}

#[tokio::test]
async fn a_witness_that_knows_only_a_follower_gets_its_proof_onto_the_leader() {
    let shell = Shell::new();
    let (at, mirror_at) = (free_address().to_string(), free_address().to_string());
    let _leader_process = shell.serves("leader", &at, &[]).await;
    let leader = local(&at);
    let operator = leader.well_known().await.unwrap().operator_fingerprint;
    let source = format!(r#"[{{"url": "http://{at}", "fingerprint": "{operator}"}}]"#);
    let variables =
        [("DIOGENES_FEDERATION_OPERATORS", source.as_str()), ("DIOGENES_POLL", "100ms")];
    let mut follower_process = shell.serves("follower", &mirror_at, &variables).await;
    follower_process.ready(&local(&mirror_at)).await;
    let printed = shell.types("diogenes witness fingerprint --full");
    let full = printed.split_whitespace().last().unwrap();
    shell.types(&format!("diogenes operator authorize-witness {full} --server http://{at}"));

    shell.types(&format!("diogenes witness submit --server http://{mirror_at}"));

    let proofs: Value = leader.read("/api/v1/log/witnesses").await.unwrap();
    assert_eq!(proofs["proofs"][0]["witness"], full, "{proofs}");
}

#[tokio::test]
async fn a_role_that_is_not_the_binarys_is_named() {
    let mut shell = Shell::new();
    shell.variables = vec![("DIOGENES_FEDERATION_ROLE", "follower".to_owned())];

    let ended = shell.tries("diogenes leader serve --listen 127.0.0.1:0");

    assert_eq!(ended.code, Some(78), "{ended:?}");
    assert!(ended.errors.contains("diogenes-follower"), "{}", ended.errors);
}

#[tokio::test]
async fn a_leaders_log_is_verified_and_exported_as_its_help_says() {
    let mut shell = Shell::new();
    let at = free_address().to_string();
    let leader_process = shell.serves("leader", &at, &[]).await;
    let data = shell.machine.home().join(".diogenes/leader");
    for secret in ["operator-token", "secret-key"] {
        let mode = fs::metadata(data.join(secret)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{secret}");
    }
    let line = format!("{}\n", json!({ "text": "x".repeat(50_000) }));
    fs::write(shell.machine.home().join("events.ndjson"), line.repeat(30)).unwrap();
    shell.types(&format!(
        "diogenes append --event-type x-walk:large events.ndjson --server http://{at}"
    ));

    // More than a megabyte in one answer.
    let exported = shell.types(&format!("diogenes log export --server http://{at}"));
    assert_eq!(exported.lines().filter(|line| line.contains("x-walk:large")).count(), 30);

    // The operator's run reads everything, a stranger's what was added since.
    let verify = format!("diogenes log verify --server http://{at}");
    let token = "--token-file .diogenes/leader/operator-token";
    let whole = shell.types(&format!("{verify} {token}"));
    assert!(whole.starts_with("Valid: 31 entries"), "{whole}");
    shell.variables = vec![("DIOGENES_DATA_DIR", "elsewhere".to_owned())];
    let partial = shell.types(&verify);
    assert!(partial.starts_with("Valid: no new entry"), "{partial}");
    shell.variables.clear();

    // At rest and from a server at once is no question that has an answer.
    for role in ["leader", "follower"] {
        let both = format!("diogenes {role} log verify --data-dir elsewhere --server http://{at}");
        let refused = shell.tries(&both);
        assert_eq!(refused.code, Some(2), "{refused:?}");
    }
    assert_eq!(leader_process.stop().await, Some(0));
    let at_rest = shell.types(&format!("diogenes log verify --data-dir {}", data.display()));
    assert!(at_rest.starts_with("Valid: 31 entries"), "{at_rest}");
}

#[tokio::test]
async fn the_database_of_another_role_is_left_alone() {
    let shell = Shell::new();
    shell.types("diogenes witness fingerprint");
    let foreign = shell.machine.home().join(".diogenes/witness");

    for command in ["status", "migrate", "check"] {
        let ended = shell.tries(&format!("diogenes db {command} --data-dir {}", foreign.display()));

        assert_eq!(ended.code, Some(78), "{ended:?}");
        assert!(ended.errors.contains("other_role"), "{}", ended.errors);
    }
    assert!(!foreign.join("log.db").exists());
}
