use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::routing::any;
use http::header::{HeaderValue, LOCATION, RETRY_AFTER};
use http::{HeaderName, StatusCode};
use tokio::net::TcpListener;

use super::*;
use crate::config::{Networks, Value as _};
use crate::shutdown::Tasks;

/// Answers one list of addresses after the other, the last for ever.
struct Names {
    answers: Mutex<Vec<Vec<&'static str>>>,
    asked: AtomicUsize,
}

impl Names {
    fn of(answers: &[&[&'static str]]) -> Arc<Self> {
        let answers = answers.iter().rev().map(|answer| answer.to_vec()).collect();
        Arc::new(Self { answers: Mutex::new(answers), asked: AtomicUsize::new(0) })
    }
}

impl Resolve for Names {
    fn resolve(&self, _: Name) -> Resolving {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut answers = self.answers.lock().unwrap();
        let answer = if answers.len() > 1 { answers.pop().unwrap() } else { answers[0].clone() };
        let found: Vec<SocketAddr> =
            answer.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 0)).collect();
        Box::pin(async move { Ok(Box::new(found.into_iter()) as Addrs) })
    }
}

/// A receiver; counts its visitors.
async fn receiver(ip: &str, answer: (StatusCode, Vec<(HeaderName, &'static str)>)) -> Receiver {
    let visitors = Arc::new(AtomicUsize::new(0));
    let listener = TcpListener::bind((ip.parse::<IpAddr>().unwrap(), 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let counted = visitors.clone();
    let handler = any(async move || {
        counted.fetch_add(1, Ordering::SeqCst);
        let mut headers = HeaderMap::new();
        headers.extend(answer.1.iter().map(|(n, v)| (n.clone(), HeaderValue::from_static(v))));
        (answer.0, headers, "x".repeat(100_000))
    });
    Tasks::new().spawn(async move {
        axum::serve(listener, Router::new().fallback(handler)).await.unwrap();
    });
    Receiver { port, visitors }
}

struct Receiver {
    port: u16,
    visitors: Arc<AtomicUsize>,
}

impl Receiver {
    fn visitors(&self) -> usize {
        self.visitors.load(Ordering::SeqCst)
    }
}

fn rules(listed: &str) -> Rules {
    Rules { listed: Networks::parse(listed).unwrap(), ..Rules::default() }
}

/// One delivery by a courier of its own.
async fn post(url: &str, listed: &str, names: Arc<Names>) -> Result<Answered, Undelivered> {
    let patience = Duration::from_secs(5);
    let names: Arc<dyn Resolve> = names;
    let courier = Courier::with_names("test", "0", rules(listed), &names, patience).unwrap();
    let target = Target::parse(url, &rules(listed)).unwrap();
    courier.post(&target, HeaderMap::new(), Bytes::from_static(b"{}")).await
}

#[tokio::test]
async fn of_a_name_every_address_must_be_allowed() {
    let inside = receiver("127.0.0.1", (StatusCode::OK, Vec::new())).await;
    let url = format!("http://receiver.example:{}/", inside.port);

    for (addresses, expected) in [
        (&["127.0.0.1"][..], Refused::NotListed),
        (&["127.0.0.2", "127.0.0.1"], Refused::NotListed),
        (&["::ffff:127.0.0.1"], Refused::NotListed),
        (&["169.254.169.254"], Refused::NotListed),
        (&[], Refused::NoAddress),
    ] {
        let answer = post(&url, "127.0.0.2", Names::of(&[addresses])).await;
        assert_eq!(answer, Err(Undelivered::Refused(expected)), "{addresses:?}");
    }
    let public = post("https://receiver.example/", "", Names::of(&[&["10.0.0.1"]])).await;
    assert_eq!(public, Err(Undelivered::Refused(Refused::NotPublic)));
    assert_eq!(inside.visitors(), 0);
}

#[tokio::test]
async fn a_name_that_changes_its_mind_is_not_asked_twice_for_one_connection() {
    let allowed = receiver("127.0.0.2", (StatusCode::NO_CONTENT, Vec::new())).await;
    let names = Names::of(&[&["127.0.0.2"], &["127.0.0.1"]]);
    let url = format!("http://receiver.example:{}/", allowed.port);

    let first = post(&url, "127.0.0.2", names.clone()).await;
    let asked = names.asked.load(Ordering::SeqCst);
    let second = post(&url, "127.0.0.2", names.clone()).await;

    assert_eq!(first.map(|answer| answer.status), Ok(204));
    assert_eq!(asked, 1);
    assert_eq!(second, Err(Undelivered::Refused(Refused::NotListed)));
    assert_eq!(allowed.visitors(), 1);
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let secret = receiver("127.0.0.1", (StatusCode::OK, Vec::new())).await;
    let to: &'static str = format!("http://127.0.0.1:{}/", secret.port).leak();
    let answer = (StatusCode::TEMPORARY_REDIRECT, vec![(LOCATION, to)]);
    let elsewhere = receiver("127.0.0.2", answer).await;
    let url = format!("http://127.0.0.2:{}/", elsewhere.port);

    let answer = post(&url, "127.0.0.0/8", Names::of(&[&[]])).await;

    assert_eq!(answer.map(|answer| answer.status), Ok(307));
    assert_eq!((elsewhere.visitors(), secret.visitors()), (1, 0));
}

#[tokio::test]
async fn a_receiver_says_when_to_come_back() {
    let busy = (StatusCode::TOO_MANY_REQUESTS, vec![(RETRY_AFTER, "7")]);
    let busy = receiver("127.0.0.2", busy).await;
    let url = format!("http://127.0.0.2:{}/", busy.port);

    let answer = post(&url, "127.0.0.2", Names::of(&[&[]])).await;

    let retry_after = Some(Duration::from_secs(7));
    assert_eq!(answer, Ok(Answered { status: 429, retry_after }));
}

#[tokio::test]
async fn who_is_gone_or_silent_is_a_fault_of_the_network() {
    let silent = TcpListener::bind("127.0.0.2:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let names: Arc<dyn Resolve> = Names::of(&[&[]]);
    let rules = rules("127.0.0.2");
    let patience = Duration::from_millis(100);
    let courier = Courier::with_names("test", "0", rules.clone(), &names, patience).unwrap();
    let send = async |url: &str| {
        let target = Target::parse(url, &rules).unwrap();
        courier.post(&target, HeaderMap::new(), Bytes::new()).await
    };

    let slow = send(&format!("http://127.0.0.2:{port}/")).await;
    drop(silent);
    let gone = format!("http://127.0.0.2:{port}/");
    let gone = post(&gone, "127.0.0.2", Names::of(&[&[]])).await;

    assert_eq!(slow, Err(Undelivered::Network(NetworkFault::Timeout)));
    assert_eq!(gone, Err(Undelivered::Network(NetworkFault::Connect)));
}
