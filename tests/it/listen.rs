//! How nodes listen and are looked after: their own TLS, new settings while they run, what they tell
//! the supervisor, the way of a request through all of them, and the farewell.

mod client;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use diogenes_tests::http::Node;
use diogenes_tests::process::{Machine, Process, eventually, free_address};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixDatagram};
use tokio::task::JoinSet;

use client::Connection;

const NODE: &str = env!("CARGO_BIN_EXE_diogenes-node");

/// Puts a test certificate and its key into a machine's home, private as they have to be.
fn install(machine: &Machine, name: &str) -> [PathBuf; 2] {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/tls");
    ["cert", "key"].map(|kind| {
        let to = machine.home().join(format!("{kind}.pem"));
        let bytes = fs::read(from.join(format!("{name}.{kind}.pem"))).unwrap();
        fs::write(&to, bytes).unwrap();
        fs::set_permissions(&to, fs::Permissions::from_mode(0o600)).unwrap();
        to
    })
}

/// The certificate that clients trust.
fn certificate(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("vectors/tls/{name}.cert.pem"))
}

/// Waits until a node answers over TLS that it is ready.
async fn ready(node: &mut Process, address: SocketAddr) {
    for _ in 0..3_000 {
        if let Ok(mut connection) = Connection::open(address, &certificate("one")).await
            && connection.ask("GET", "/readyz").await.is_ok_and(|it| it.starts_with("HTTP/1.1 200"))
        {
            return;
        }
        assert!(node.is_running(), "{}", node.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it is not ready\n{}", node.log());
}

/// The lines of a node's log that hold all of these.
fn lines(log: &str, parts: &[&str]) -> Vec<Value> {
    let found = log.lines().filter(|line| parts.iter().all(|part| line.contains(part)));
    found.map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn logged(node: &Process, parts: &[&str]) {
    eventually(&parts.join(" "), async || !lines(&node.log(), parts).is_empty()).await;
}

/// The operator's fingerprint of a leader's log.
fn operator(machine: &Machine) -> String {
    let shown = machine.run("leader", "leader", &["key", "fingerprint"], &[]).succeeded();
    shown.split_whitespace().last().unwrap().to_owned()
}

#[tokio::test]
async fn nodes_speak_tls_themselves_and_mirror_and_witness_over_it() {
    let machine = Machine::new(NODE);
    let [cert, key] = install(&machine, "one").map(|path| path.to_str().unwrap().to_owned());
    let own =
        [("TLS_CERT", cert.as_str()), ("TLS_KEY", key.as_str()), ("SSL_CERT_FILE", cert.as_str())];
    let (leader_at, follower_at, witness_at) = (free_address(), free_address(), free_address());
    // Open to the network, which plain HTTP would not be allowed to be.
    let listen = format!("0.0.0.0:{}", leader_at.port());
    let mut leader = machine.start("leader", "leader", &["serve", "--listen", &listen], &own);
    ready(&mut leader, leader_at).await;
    let server = format!("https://localhost:{}", leader_at.port());
    let sources = json!([{ "url": server, "fingerprint": operator(&machine) }]).to_string();
    let listen = follower_at.to_string();
    let mut variables = own.to_vec();
    variables.push(("DIOGENES_FEDERATION_OPERATORS", sources.as_str()));
    let mut follower =
        machine.start("follower", "follower", &["serve", "--listen", &listen], &variables);
    let listen = witness_at.to_string();
    let mut witness = machine.start("witness", "witness", &["serve", "--listen", &listen], &own);

    for (node, address) in [(&mut follower, follower_at), (&mut witness, witness_at)] {
        ready(node, address).await;
    }
    let submitted = machine.run("other", "witness", &["submit", "--server", &server], &own);
    assert!(submitted.errors.contains("authorize-witness"), "its proof arrived: {submitted:?}");
    let stranger = machine.run("third", "witness", &["submit", "--server", &server], &[]);
    assert!(stranger.errors.contains("cannot connect"), "nobody else trusts it: {stranger:?}");

    for address in [leader_at, follower_at, witness_at] {
        let mut connection = Connection::open(address, &certificate("one")).await.unwrap();
        let answer = connection.ask("GET", "/healthz").await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.contains("\r\nstrict-transport-security: max-age=31536000\r\n"), "{answer}");
        assert_eq!(connection.protocol(), Some(&b"http/1.1"[..]));
        let other = Connection::open(address, &certificate("other")).await;
        assert!(other.is_err(), "it shows a certificate that is not its own");
    }
}

#[tokio::test]
async fn what_is_no_handshake_stops_nothing() {
    let (machine, address) = (Machine::new(NODE), free_address());
    let [cert, key] = install(&machine, "one").map(|path| path.to_str().unwrap().to_owned());
    let own = [("TLS_CERT", cert.as_str()), ("TLS_KEY", key.as_str())];
    let listen = address.to_string();
    let mut leader = machine.start("leader", "leader", &["serve", "--listen", &listen], &own);
    ready(&mut leader, address).await;

    for bytes in [&b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"[..], &[0x16, 3, 1, 0xff, 0xff], b""]
    {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _reset_or_closed = stream.read_to_end(&mut answer).await;
        assert!(!String::from_utf8_lossy(&answer).contains("HTTP/1.1"), "{answer:?}");
    }
    let h2 = Connection::open_with(address, &certificate("one"), rustls::ALL_VERSIONS, b"h2").await;
    assert!(h2.is_err(), "only HTTP/1.1 is spoken");

    let silent = TcpStream::connect(address).await.unwrap();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let cert = certificate("one");
        let opened = Connection::open_with(address, &cert, &[version], b"http/1.1").await;
        let answer = opened.unwrap().ask("GET", "/healthz").await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    drop(silent);
}

#[tokio::test]
async fn a_node_does_not_start_with_a_certificate_that_it_can_not_show() {
    let machine = Machine::new(NODE);
    let [cert, key] = install(&machine, "one").map(|path| path.to_str().unwrap().to_owned());
    let other = machine.home().join("other.pem").to_str().unwrap().to_owned();
    let from = certificate("other").with_file_name("other.key.pem");
    fs::write(&other, fs::read(from).unwrap()).unwrap();
    let refused = |pairs: &[(&str, &str)]| {
        let mut said = Vec::new();
        for role in ["leader", "witness"] {
            for command in [&["serve", "--listen", "127.0.0.1:0"][..], &["config", "check"]] {
                let ended = machine.run(role, role, command, pairs);
                assert_eq!(ended.code, Some(78), "{role} {command:?}: {ended:?}");
                said.push(ended.errors);
            }
        }
        said.concat()
    };

    let alone = refused(&[("TLS_CERT", &cert)]);
    let open = refused(&[("TLS_CERT", &cert), ("TLS_KEY", &other)]);
    fs::set_permissions(&other, fs::Permissions::from_mode(0o600)).unwrap();
    let mismatch = refused(&[("TLS_CERT", &cert), ("TLS_KEY", &other)]);
    let missing = refused(&[("TLS_CERT", "/no/such/file"), ("TLS_KEY", &key)]);

    assert!(alone.contains("help: set TLS_KEY too, or neither"), "{alone}");
    assert!(open.contains("chmod 600"), "{open}");
    assert!(mismatch.contains("is not that of the certificate"), "{mismatch}");
    assert!(missing.contains("TLS_CERT cannot be read: /no/such/file"), "{missing}");
}

#[tokio::test]
async fn a_reload_takes_everything_or_nothing() {
    let (machine, address) = (Machine::new(NODE), free_address());
    let [cert, key] = install(&machine, "one").map(|path| path.to_str().unwrap().to_owned());
    let file = machine.home().join("leader.toml");
    let settings = |more: &str| {
        fs::write(&file, format!("tls_cert = \"{cert}\"\ntls_key = \"{key}\"\n{more}")).unwrap();
    };
    settings("");
    let (listen, config) = (address.to_string(), file.to_str().unwrap());
    let args = ["serve", "--listen", &listen, "--config", config];
    let mut leader = machine.start("leader", "leader", &args, &[]);
    ready(&mut leader, address).await;
    let mut standing = Connection::open(address, &certificate("one")).await.unwrap();

    settings("log_level = \"loud\"\n");
    install(&machine, "other");
    leader.signal(Signal::HUP);
    logged(&leader, &["ERROR", "config_invalid", "LOG_LEVEL"]).await;
    // A connection may be silent for ten seconds.
    standing.ask("GET", "/healthz").await.unwrap();
    assert!(Connection::open(address, &certificate("one")).await.is_ok(), "nothing changed");

    settings("log_level = \"debug\"\nworkers = 3\n");
    leader.signal(Signal::HUP);
    logged(&leader, &["INFO", "LOG_LEVEL, certificate until 2126-01-01"]).await;
    logged(&leader, &["WARN", "WORKERS", "restart the node"]).await;
    standing.ask("GET", "/healthz").await.unwrap();
    let mut fresh = Connection::open(address, &certificate("other")).await.unwrap();
    assert!(fresh.ask("GET", "/healthz").await.unwrap().starts_with("HTTP/1.1 200 "));
    assert!(Connection::open(address, &certificate("one")).await.is_err());
    logged(&leader, &["DEBUG", "answered", "/healthz"]).await;
    let answer = standing.ask("GET", "/healthz").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "what was open stays open: {answer}");
    assert_eq!(leader.stop().await, Some(0));
}

/// A follower whose source moves, and a reload of limits, over plain HTTP.
#[tokio::test]
async fn a_follower_takes_the_new_place_of_its_source_and_new_limits() {
    let (machine, leader_at, follower_at) = (Machine::new(NODE), free_address(), free_address());
    let listen = leader_at.to_string();
    let mut leader = machine.start("leader", "leader", &["serve", "--listen", &listen], &[]);
    leader.ready(&Node::local(leader_at)).await;
    let fingerprint = operator(&machine);
    let file = machine.home().join("follower.toml");
    let settings = |port: u16, fingerprint: &str, more: &str| {
        let source = format!("url = \"http://127.0.0.1:{port}\"\nfingerprint = \"{fingerprint}\"");
        fs::write(&file, format!("{more}\n[[federation_operators]]\n{source}\n")).unwrap();
    };
    let nobody = free_address();
    settings(nobody.port(), &fingerprint, "");
    let (listen, config) = (follower_at.to_string(), file.to_str().unwrap());
    let args = ["serve", "--listen", &listen, "--config", config];
    let mut follower = machine.start("follower", "follower", &args, &[("LOG_LEVEL", "info")]);
    let node = Node::local(follower_at);
    follower.answers(&node, "/healthz").await;

    settings(leader_at.port(), &format!("sha256:{}", "ab".repeat(32)), "");
    follower.signal(Signal::HUP);
    logged(&follower, &["ERROR", "other_log"]).await;
    settings(leader_at.port(), &fingerprint, "");
    follower.signal(Signal::HUP);

    logged(&follower, &["INFO", "DIOGENES_FEDERATION_OPERATORS"]).await;
    follower.ready(&node).await;
    assert_eq!(follower.stop().await, Some(0));
}

/// A supervisor that listens.
struct Supervisor {
    socket: UnixDatagram,
    path: String,
}

impl Supervisor {
    fn start(machine: &Machine, name: &str) -> Self {
        let path = machine.home().join(name).to_str().unwrap().to_owned();
        Self { socket: UnixDatagram::bind(&path).unwrap(), path }
    }

    /// The next message that begins so; others are passed over.
    async fn told(&self, beginning: &str) -> String {
        let listening = async {
            loop {
                let mut bytes = [0; 2048];
                let length = self.socket.recv(&mut bytes).await.unwrap();
                let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
                if text.starts_with(beginning) {
                    return text;
                }
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(60), listening).await;
        waited.unwrap_or_else(|_| panic!("{beginning} was not told"))
    }
}

#[tokio::test]
async fn a_supervisor_hears_of_every_role_that_it_is_ready_lives_reloads_and_stops() {
    let (machine, leader_at, follower_at) = (Machine::new(NODE), free_address(), free_address());
    let (listen, follows) = (leader_at.to_string(), follower_at.to_string());
    let server = format!("http://{leader_at}");
    machine.run("leader", "leader", &["init"], &[]).succeeded();
    let sources = json!([{ "url": server, "fingerprint": operator(&machine) }]).to_string();
    let runs: [(&str, &str, &[&str], &str); 4] = [
        ("leader", "leader", &["serve", "--listen", &listen], "leads "),
        ("follower", "follower", &["serve", "--listen", &follows], "mirrors http://"),
        ("witness", "witness", &["serve", "--listen", "127.0.0.1:0"], "cosigns at http://"),
        (
            "watcher",
            "witness",
            &["run", "--server", &server, "--interval", "1h"],
            "watches http://",
        ),
    ];
    let mut running = Vec::new();
    for (name, role, args, status) in runs {
        let supervisor = Supervisor::start(&machine, &format!("{name}.notify"));
        let variables = [
            ("NOTIFY_SOCKET", supervisor.path.as_str()),
            ("WATCHDOG_USEC", "4000000"),
            ("DIOGENES_FEDERATION_OPERATORS", sources.as_str()),
        ];
        let variables = if role == "follower" { &variables[..] } else { &variables[..2] };
        let node = machine.start(name, role, args, variables);
        let told = supervisor.told("READY=1\n").await;
        assert!(told.starts_with(&format!("READY=1\nSTATUS={status}")), "{told}");
        running.push((name, node, supervisor));
    }

    for (name, node, supervisor) in &running {
        supervisor.told("WATCHDOG=1").await;
        supervisor.told("WATCHDOG=1").await;
        node.signal(Signal::HUP);
        let told = supervisor.told("RELOADING=1\nMONOTONIC_USEC=").await;
        let micros = told.rsplit('=').next().unwrap();
        assert!(micros.parse::<u64>().unwrap() > 0, "{name}: {told}");
        supervisor.told("READY=1\n").await;
    }
    for (name, mut node, supervisor) in running.into_iter().rev() {
        node.signal(Signal::TERM);
        supervisor.told("STOPPING=1").await;
        assert_eq!(node.ended().await.code(), Some(0), "{name}");
    }
}

#[tokio::test]
async fn a_witnesss_proof_can_be_followed_through_the_logs_of_every_node() {
    let (machine, leader_at, follower_at) = (Machine::new(NODE), free_address(), free_address());
    let debug = ("LOG_LEVEL", "debug");
    let listen = leader_at.to_string();
    let mut leader = machine.start("leader", "leader", &["serve", "--listen", &listen], &[debug]);
    leader.ready(&Node::local(leader_at)).await;
    let (leader_url, follower_url) =
        (format!("http://{leader_at}"), format!("http://{follower_at}"));
    let sources = json!([{ "url": leader_url, "fingerprint": operator(&machine) }]).to_string();
    let variables = [debug, ("DIOGENES_FEDERATION_OPERATORS", sources.as_str())];
    let listen = follower_at.to_string();
    let mut follower =
        machine.start("follower", "follower", &["serve", "--listen", &listen], &variables);
    follower.ready(&Node::local(follower_at)).await;
    let shown = machine.run("witness", "witness", &["fingerprint", "--full"], &[]).succeeded();
    let witness = shown.split_whitespace().last().unwrap();
    let authorize = ["operator", "authorize-witness", witness, "--server", leader_url.as_str()];
    machine.run("leader", "leader", &authorize, &[]).succeeded();

    let submit = ["submit", "--server", follower_url.as_str()];
    let submitted = machine.run("witness", "witness", &submit, &[debug, ("LOG_FORMAT", "json")]);

    let path = "/api/v1/log/witness\"";
    let sent = lines(&submitted.errors, &["asked", "POST", path]);
    let [sent] = &sent[..] else { panic!("one proof: {submitted:?}") };
    let trace = sent["trace_id"].as_str().unwrap();
    assert_eq!(trace.len(), 32);
    let heads = lines(&submitted.errors, &["asked", "/api/v1/log/sth"]);
    assert!(heads.iter().all(|line| line["trace_id"] == trace), "one round is one trace");
    for (node, parts) in [
        (&follower, ["answered", "POST", path, trace]),
        (&follower, ["asked", "POST", path, trace]),
        (&leader, ["answered", "POST", path, trace]),
    ] {
        logged(node, &parts).await;
    }
    let answered = lines(&leader.log(), &["answered", path, trace]);
    assert!(answered[0]["request.id"].as_str().is_some_and(|id| id.len() == 17), "{answered:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_stopped_under_load_answers_what_it_was_asked() {
    let (machine, address) = (Machine::new(NODE), free_address());
    let listen = address.to_string();
    let mut leader = machine.start("leader", "leader", &["serve", "--listen", &listen], &[]);
    leader.ready(&Node::local(address)).await;
    let mut clients = JoinSet::new();
    let asked = Arc::new(AtomicU32::new(0));
    for _ in 0..16 {
        clients.spawn(ask_until_told_to_go(address, asked.clone()));
    }
    eventually("all of them ask", async || asked.load(Ordering::Relaxed) > 160).await;

    leader.signal(Signal::TERM);

    while let Some(client) = clients.join_next().await {
        client.unwrap().unwrap_or_else(|lost| panic!("a request was lost: {lost}"));
    }
    assert_eq!(leader.ended().await.code(), Some(0));
}

/// Asks again and again on one connection until an answer says that it was the last; an error is a
/// request without an answer.
async fn ask_until_told_to_go(address: SocketAddr, asked: Arc<AtomicU32>) -> std::io::Result<()> {
    const FAREWELL: Duration = Duration::from_millis(300);
    let mut stream = TcpStream::connect(address).await?;
    let mut idle_since = Instant::now();
    loop {
        let answer = async {
            stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await?;
            client::answer(&mut stream).await
        };
        let answer = match answer.await {
            Ok(answer) => answer,
            // This machine was so slow that the node closed what was idle for long.
            Err(_) if idle_since.elapsed() > FAREWELL => return Ok(()),
            Err(lost) => return Err(lost),
        };
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        idle_since = Instant::now();
        asked.fetch_add(1, Ordering::Relaxed);
        if answer.contains("connection: close\r\n") {
            return Ok(());
        }
        // A moment in which the connection is idle, as it is most of the time.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
