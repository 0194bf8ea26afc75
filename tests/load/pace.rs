//! Requests at a fixed rate, whether the answers keep up or not.
//!
//! Each request has the instant at which it is due, and its time runs from there: what waits for a
//! free connection, behind a slow answer or on this program itself, waits as a client would.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, mpsc};
use tokio::task::{JoinSet, LocalSet};

use crate::connection::Connection;
use crate::report::{Report, Tally};

/// How long an answer may take before its request counts as failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often, and how many times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Requests in a second.
    pub(crate) rate: u32,
    /// How many in all.
    pub(crate) count: u64,
}

impl Pace {
    /// When a request is due, after the start.
    fn due(self, number: u64) -> Duration {
        let nanos = u128::from(number) * 1_000_000_000 / u128::from(self.rate.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// What the connections share: they all live on one thread.
struct Run<F> {
    address: SocketAddr,
    /// The instants at which requests are due.
    due: Mutex<mpsc::UnboundedReceiver<Instant>>,
    next: RefCell<F>,
    tally: RefCell<Tally>,
}

/// Sends the requests that `next` makes over so many connections.
pub(crate) async fn paced<F: FnMut() -> Vec<u8> + 'static>(
    name: &'static str,
    address: SocketAddr,
    pace: Pace,
    connections: usize,
    next: F,
) -> Report {
    // As many instants as there are requests: the caller bounds both.
    let (ticks, due) = mpsc::unbounded_channel();
    let run = Rc::new(Run {
        address,
        due: Mutex::new(due),
        next: RefCell::new(next),
        tally: RefCell::default(),
    });
    let started = Instant::now();
    // The runtime's timer has steps of a millisecond; a thread that sleeps is more exact.
    let metronome = thread::spawn(move || {
        for due in (0..pace.count).map(|number| started + pace.due(number)) {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if ticks.send(due).is_err() {
                return;
            }
        }
    });
    let all = async {
        let mut running = JoinSet::new();
        for _ in 0..connections {
            running.spawn_local(connection(run.clone()));
        }
        running.join_all().await;
    };
    LocalSet::new().run_until(all).await;
    // It ended, since every instant was received.
    let _ = metronome.join();
    run.tally.borrow_mut().report(name, connections, started.elapsed())
}

/// Sends what is due, one request at a time, until nothing will be.
async fn connection<F: FnMut() -> Vec<u8>>(run: Rc<Run<F>>) {
    let mut open = None;
    while let Some(due) = run.next_due().await {
        let request = (run.next.borrow_mut())();
        let answer = tokio::time::timeout(PATIENCE, ask(run.address, &mut open, &request));
        let answer = answer.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let took = due.elapsed();
        let mut tally = run.tally.borrow_mut();
        match answer {
            Ok(200) => tally.success(1, took),
            Ok(status) => tally.error(status.to_string()),
            Err(error) => {
                open = None;
                tally.error(error.kind().to_string());
            }
        }
    }
}

async fn ask(
    address: SocketAddr,
    open: &mut Option<Connection>,
    request: &[u8],
) -> io::Result<u16> {
    let connection = match open {
        Some(connection) => connection,
        None => open.insert(Connection::open(address).await?),
    };
    Ok(connection.exchange(request).await?.status)
}

impl<F> Run<F> {
    /// Waits until a request is due; `None` when the last one was.
    async fn next_due(&self) -> Option<Instant> {
        self.due.lock().await.recv().await
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn requests_are_due_at_equal_distances() {
        let pace = Pace { rate: 1_000, count: 3 };
        let due: Vec<u128> = (0..3).map(|number| pace.due(number).as_micros()).collect();
        assert_eq!(due, [0, 1_000, 2_000]);
        assert_eq!(Pace { rate: 3, count: 9 }.due(9), Duration::from_secs(3));
    }

    #[tokio::test]
    async fn waiting_for_a_slow_answer_counts() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 64];
            for nth in 0..3 {
                let length = stream.read(&mut request).unwrap();
                assert!(length > 0);
                if nth == 0 {
                    thread::sleep(Duration::from_millis(100));
                }
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
            }
        });

        let pace = Pace { rate: 100, count: 3 };
        let report = paced("test", address, pace, 1, || b"GET / HTTP/1.1\r\n\r\n".to_vec()).await;

        server.join().unwrap();
        assert_eq!((report.entries, report.is_clean()), (3, true));
        assert!(report.p50_ms >= 80.0, "due at 10 ms, answered after 100: {}", report.p50_ms);
    }
}
