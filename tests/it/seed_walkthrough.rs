//! The commands of the federation guide, typed in its order with its flags from empty directories.
//!
//! They run through `deploy/diogenes`, as they are written. Only the port is another one, since a
//! test can't own 8000; so the commands that go to the default leader name it too.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use diogenes_common::statement::FollowerStatus;
use diogenes_common::wire::log::VerifyReport;
use diogenes_common::wire::status::{LeaderStatus, MirrorStatus, ReplicationStatus};
use diogenes_tests::http::Node;
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
    for path in ["/api/v1/log", "/api/v1/log/1", "/api/v1/log/head", "/api/v1/log/witnesses"] {
        assert_eq!(follower.get(path).await.unwrap().status, 200, "{path}");
    }
    stranger::prove(&follower, &mirrored, 1).await.unwrap();
    let verified = follower.post("/api/v1/log/verify", &json!({})).await.unwrap();
    let report: VerifyReport = serde_json::from_slice(&verified.body).unwrap();
    assert!(report.valid && report.entry_count == log.size(), "{report:?}");
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
