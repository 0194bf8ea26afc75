//! What strangers may do to a leader and it goes on: each limit answers with a refusal or a closed
//! connection, soon, and takes nothing from others.
//!
//! How well honest clients are served meanwhile is measured by the program `limits`.

use std::net::SocketAddr;
use std::time::Duration;

use diogenes_common::batch::MAX_ENTRIES;
use diogenes_tests::http::Node;
use diogenes_tests::process::{Machine, Process, free_address};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const NODE: &str = env!("CARGO_BIN_EXE_diogenes-node");

/// Long enough for a slow machine, and below the half minute that the node has for dawdlers.
const SOON: Duration = Duration::from_secs(25);
/// Below the ten seconds that the node waits for a head.
const AT_ONCE: Duration = Duration::from_secs(8);

/// A leader with its operator's client.
struct Site {
    _machine: Machine,
    _leader: Process,
    address: SocketAddr,
    operator: Node,
}

async fn leader() -> Site {
    let (machine, address) = (Machine::new(NODE), free_address());
    let listen = address.to_string();
    let mut leader = machine.start("leader", "leader", &["serve", "--listen", &listen], &[]);
    let node = Node::local(address);
    leader.ready(&node).await;
    let token = std::fs::read_to_string(machine.data("leader").join("operator-token")).unwrap();
    let operator = node.with_token(Some(token.trim().to_owned()));
    Site { _machine: machine, _leader: leader, address, operator }
}

impl Site {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Everything that is said to these bytes until the node closes, which it has to, at once; one
    /// of three times is enough on a machine that stalls.
    async fn said_to(&self, bytes: &[u8]) -> String {
        for _ in 0..3 {
            let (mut reader, mut writer) = self.connect().await.into_split();
            let mut said = Vec::new();
            let talk = async {
                // A node that refuses early does not read on, and may reset what it closes.
                let (_, _) = tokio::join!(writer.write_all(bytes), reader.read_to_end(&mut said));
            };
            if tokio::time::timeout(AT_ONCE, talk).await.is_ok() {
                return String::from_utf8_lossy(&said).into_owned();
            }
        }
        panic!("it is not closed");
    }

    async fn append_soon(&self) {
        let payload = json!({ "after": "all that" });
        let appending = self.operator.append("x-it:event", &payload);
        tokio::time::timeout(SOON, appending).await.expect("in time").expect("appended");
    }
}

#[tokio::test]
async fn a_request_whose_length_is_said_twice_hides_no_second_one() {
    let site = leader().await;
    for lengths in [
        "content-length: 4\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 4\r\n",
        "content-length: 5\r\ncontent-length: 50\r\n",
        "content-length: 5, 50\r\n",
        "content-length: +5\r\n",
        "content-length : 5\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding:\x0bchunked\r\n",
        " transfer-encoding: chunked\r\n",
    ] {
        let said = site
            .said_to(
                format!(
                    "POST /api/v1/log/verify HTTP/1.1\r\nhost: localhost\r\n{lengths}\r\n0\r\n\r\n\
                     GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"
                )
                .as_bytes(),
            )
            .await;
        assert!(said.matches("HTTP/1.1 ").count() <= 1, "{lengths:?}: {said}");
    }
    site.append_soon().await;
}

#[tokio::test]
async fn a_head_that_is_too_much_is_refused_before_it_ends() {
    let site = leader().await;
    let many = "x: y\r\n".repeat(101);
    for (what, head) in [
        ("a long header", format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(64 * 1024))),
        ("many headers", format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\n{many}\r\n")),
        ("a long path", format!("GET /{}", "y".repeat(64 * 1024))),
        ("a long name", format!("GET / HTTP/1.1\r\n{}", "y".repeat(64 * 1024))),
        ("a long method", "G".repeat(64 * 1024)),
    ] {
        let said = site.said_to(head.as_bytes()).await;
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{what}: {said}");
    }
    site.append_soon().await;
}

#[tokio::test]
async fn http_2_is_not_spoken_so_it_can_not_be_abused() {
    let site = leader().await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

    let said = site.said_to(&[&preface[..], &[0; 4096]].concat()).await;

    assert!(!said.contains(" 200 ") && !said.starts_with('\0'), "{said:?}");
}

#[tokio::test]
async fn a_packed_body_is_not_unpacked() {
    let site = leader().await;
    let zstd = zstd::bulk::compress(&vec![b' '; 64 * 1024 * 1024], 1).unwrap();
    let head = format!(
        "POST /api/v1/log/entries HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-encoding: zstd\r\ncontent-length: {}\r\n\r\n",
        zstd.len()
    );

    let said = site.said_to(&[head.as_bytes(), &zstd].concat()).await;

    assert!(said.starts_with("HTTP/1.1 400 "), "{said}");
    assert!(said.contains("invalid_json"), "{said}");
}

#[tokio::test]
async fn bodies_that_dawdle_take_no_room_from_others() {
    let site = leader().await;
    let length = 4 * 1024 * 1024;
    let head = format!(
        "POST /api/v1/log/entries HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n"
    );
    let body = [head.as_bytes(), &vec![b' '; length - 1]].concat();
    let mut dawdlers = Vec::new();
    // More than there is room for, also if only what is announced were counted.
    for _ in 0..20 {
        let mut dawdler = site.connect().await;
        let begun = tokio::time::timeout(SOON, dawdler.write_all(&body)).await;
        assert!(begun.is_ok(), "bodies are read");
        dawdlers.push(dawdler);
    }

    site.append_soon().await;

    let mut first = String::new();
    let told = tokio::time::timeout(SOON, dawdlers[0].read_to_string(&mut first)).await;
    assert!(told.is_err() || first.starts_with("HTTP/1.1 503 "), "{first}");
}

#[tokio::test]
async fn batches_that_nobody_reads_keep_no_follower_waiting() {
    let site = leader().await;
    for _ in 0..3 {
        let payload = json!({ "text": "x".repeat(60_000) });
        let event = json!({ "event_type": "x-it:event", "payload": payload });
        let lines = format!("{event}\n").repeat(60);
        site.operator.append_lines(lines.into_bytes()).await.unwrap();
    }
    let mut deaf = Vec::new();
    for _ in 0..24 {
        let mut reader = site.connect().await;
        let asked = format!(
            "GET /api/v1/log/replicate?limit={MAX_ENTRIES} HTTP/1.1\r\nhost: localhost\r\n\r\n"
        );
        reader.write_all(asked.as_bytes()).await.unwrap();
        deaf.push(reader);
    }
    for reader in &deaf {
        // Each has the beginning of its answer, or was refused.
        tokio::time::timeout(Duration::from_secs(60), reader.readable()).await.unwrap().unwrap();
    }

    let batch = tokio::time::timeout(SOON, site.operator.replicate(0)).await;

    assert!(batch.expect("in time").expect("a batch").leaves.len() > 10);
    drop(deaf);
}
