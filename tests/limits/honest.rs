//! Somebody who uses the node meanwhile, at a steady rate, and notes how it is served.
//!
//! Each request has the instant at which it is due, and its time runs from there. Every tenth one
//! comes over a new connection, as a newcomer's would.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::wire::Line;

/// Reads in a second: half of what a node answers an address.
const READS: u32 = 50;

/// Appends in a second.
const APPENDS: u32 = 10;

/// So many requests go over one connection.
const PER_CONNECTION: u64 = 10;

/// Whom the honest client asks, and for what.
#[derive(Clone, Debug)]
pub(crate) struct Asks {
    pub(crate) address: SocketAddr,
    /// What it reads, one after the other.
    pub(crate) paths: Vec<String>,
    /// With whose right it appends; none only reads.
    pub(crate) token: Option<String>,
}

/// A client that goes about its business until it is asked how it was.
pub(crate) struct Honest {
    over: Arc<AtomicBool>,
    busy: Vec<JoinHandle<Served>>,
}

/// How it was served.
#[derive(Clone, Debug, Default)]
pub(crate) struct Served {
    /// How long each request took.
    pub(crate) times: Vec<Duration>,
    /// What was answered instead.
    pub(crate) failures: Vec<String>,
}

impl Honest {
    /// Begins, on threads of its own: the attackers' work is not what is measured.
    pub(crate) fn start(asks: &Asks) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let paths = asks.paths.clone();
        let reading = move |n: u64| {
            let path = &paths[usize::try_from(n).unwrap_or(0) % paths.len()];
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").into_bytes()
        };
        let mut busy = vec![spawn(asks.address, 1, READS, over.clone(), reading)];
        if let Some(token) = asks.token.clone() {
            let appending = move |_| event(&token);
            busy.push(spawn(asks.address, 2, APPENDS, over.clone(), appending));
        }
        Self { over, busy }
    }

    /// Ends; answers how it was served.
    pub(crate) fn stop(self) -> Served {
        self.over.store(true, Ordering::Relaxed);
        let mut served = Served::default();
        for busy in self.busy {
            // A panic in there is a failure like any other.
            let one = busy.join().unwrap_or_else(|_| Served {
                failures: vec!["the client died".to_owned()],
                ..Served::default()
            });
            served.times.extend(one.times);
            served.failures.extend(one.failures);
        }
        served.times.sort_unstable();
        served
    }
}

impl Served {
    /// The time within which so many of a hundred requests were served, in milliseconds.
    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        let rank = (self.times.len() * percent).div_ceil(100).max(1);
        self.times.get(rank - 1).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
    }
}

/// Numbers of events, none twice in a process.
static EVENTS: AtomicU64 = AtomicU64::new(0);

fn event(token: &str) -> Vec<u8> {
    let number = EVENTS.fetch_add(1, Ordering::Relaxed);
    let body = format!(r#"{{"event_type":"x-limits:honest","payload":{{"number":{number}}}}}"#);
    format!(
        "POST /api/v1/log/entries HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer \
         {token}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn spawn(
    address: SocketAddr,
    host: u8,
    rate: u32,
    over: Arc<AtomicBool>,
    request: impl Fn(u64) -> Vec<u8> + Send + 'static,
) -> JoinHandle<Served> {
    let from = Ipv4Addr::new(127, 7, 7, host);
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => runtime.block_on(go_on(address, from, rate, &over, request)),
            Err(error) => Served { failures: vec![error.to_string()], ..Served::default() },
        }
    })
}

async fn go_on(
    address: SocketAddr,
    from: Ipv4Addr,
    rate: u32,
    over: &AtomicBool,
    request: impl Fn(u64) -> Vec<u8>,
) -> Served {
    let (start, mut open, mut served) = (Instant::now(), None, Served::default());
    for number in 0.. {
        let due = start + Duration::from_secs(1) * u32::try_from(number).unwrap_or(0) / rate;
        tokio::time::sleep_until(due.into()).await;
        if over.load(Ordering::Relaxed) {
            break;
        }
        if number % PER_CONNECTION == 0 {
            open = None;
        }
        match ask(&mut open, from, address, &request(number)).await {
            Ok(200 | 201) => served.times.push(due.elapsed()),
            Ok(status) => served.failures.push(status.to_string()),
            Err(error) => {
                open = None;
                served.failures.push(error.kind().to_string());
            }
        }
    }
    served
}

async fn ask(
    open: &mut Option<Line>,
    from: Ipv4Addr,
    to: SocketAddr,
    request: &[u8],
) -> io::Result<u16> {
    let line = match open {
        Some(line) => line,
        None => open.insert(Line::open(from, to).await?),
    };
    line.send(request).await?;
    line.status().await
}
