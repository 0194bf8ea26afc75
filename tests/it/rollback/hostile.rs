//! Peers that invent sizes, roots and keys, send garbage or nothing: an honest leader starts and
//! signs.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use diogenes_common::clock::Clock as _;
use diogenes_common::clock_system::SystemClock;
use diogenes_common::shutdown::Tasks;
use diogenes_tests::book::Book;
use diogenes_tests::liar::Liar;
use diogenes_tests::process::eventually;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::{Site, open_incidents};

/// A server that answers everybody with the same bytes, or with none at all.
async fn answers(with: Option<&'static [u8]>, tasks: &Tasks) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let within = tasks.clone();
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            within.spawn(async move {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                if let Some(bytes) = with {
                    let _ = stream.write_all(bytes).await;
                } else {
                    tokio::time::sleep(Duration::from_secs(600)).await;
                }
            });
        }
    });
    address
}

const GARBAGE: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\nconnection: close\r\n\r\n\xff\xfe{\"tree_si\"";
const ENDLESS: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\nconnection: close\r\n\r\n{";
const NOT_FOUND: &[u8] =
    b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_invention_of_a_peer_stops_an_honest_leader() {
    let site = Site::new();
    let (leader, node) = site.leader("leader", &[], "").await;
    site.grow(&node, 3).await;
    assert_eq!(leader.stop().await, Some(0));
    let tasks = Tasks::new();
    let mut book = Book::new(SystemClock.now().plus_millis(-3_600_000));
    book.grow(50);
    // Another log under another key, and our own name under it.
    let (foreign, forged) = (Liar::start(book.clone()).await, Liar::start(book.clone()).await);
    let mut claim = book.claim(50);
    let known = site.known.borrow().clone().unwrap();
    claim.origin = known.origin;
    let mut head = book.sign(claim);
    head.key_fingerprint = known.operator_fingerprint;
    forged.story().head = head;
    let mut urls = vec![foreign.node().to_string(), forged.node().to_string()];
    for bytes in [Some(GARBAGE), Some(ENDLESS), Some(NOT_FOUND), None] {
        urls.push(format!("http://{}", answers(bytes, &tasks).await));
    }

    let began = Instant::now();
    let (mut leader, node) = site.leader("leader", &[], &urls.join(",")).await;
    leader.ready(&node).await;

    assert!(began.elapsed() < Duration::from_secs(120), "it took {:?}", began.elapsed());
    site.grow(&node, 3).await;
    assert_eq!(site.assert_one_history(&node).await, 7);
    let disagreeing = async || {
        let open = open_incidents(&node).await;
        open.iter().filter(|kind| *kind == "peer_disagrees").count()
    };
    eventually("each that invents is told", async || disagreeing().await >= 5).await;
    let open = open_incidents(&node).await;
    assert_eq!(disagreeing().await, 5, "none for the silent one: {open:?}");
    assert!(open.iter().any(|kind| kind == "start_unconfirmed"), "{open:?}");
    assert!(!open.iter().any(|kind| kind == "self_rolled_back"), "{open:?}");
    assert_eq!(leader.stop().await, Some(0));
    tasks.stop();
}

#[tokio::test]
async fn a_start_that_nobody_confirmed_says_so_until_somebody_does() {
    let site = Site::new();
    site.level_at_rest().await;

    let (mut leader, node) = site.leader("leader", &[], &site.peers()).await;
    leader.ready(&node).await;
    assert_eq!(open_incidents(&node).await, ["start_unconfirmed"]);
    site.grow(&node, 1).await;

    let follower = site.follower("mirror").await;
    eventually("the follower confirmed it", async || open_incidents(&node).await.is_empty()).await;
    assert_eq!(site.assert_one_history(&node).await, 5);
    assert_eq!(leader.stop().await, Some(0));
    drop(follower);
}

#[tokio::test]
async fn a_first_start_waits_for_nobody() {
    let site = Site::new();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    silent.set_nonblocking(true).unwrap();
    let peers = format!("http://{}", silent.local_addr().unwrap());

    let (mut leader, node) = site.leader("leader", &[], &peers).await;

    leader.ready(&node).await;
    assert!(silent.accept().is_err(), "nobody was asked");
    assert!(open_incidents(&node).await.is_empty());
    assert_eq!(leader.stop().await, Some(0));
}
