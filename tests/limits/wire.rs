//! Connections as an attacker makes them: from any address of the loopback, byte by byte.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use diogenes_tests::http::Node;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::hostile::Lure;

/// How many addresses the attackers have.
const ATTACKERS: usize = 250;

/// How long an attacker waits for anything.
const PATIENCE: Duration = Duration::from_secs(5);

/// Files that are left for everything that is no attacker's connection.
const RESERVED: u64 = 256;

/// Where an attack is made, and what came of it.
pub(crate) struct Field {
    /// The node.
    pub(crate) node: Node,
    /// When it is over.
    pub(crate) until: Instant,
    /// The follower's leader, where the attack is made by it.
    pub(crate) lure: Option<Rc<Lure>>,
    next: Cell<usize>,
    tally: RefCell<Tally>,
}

/// Counts of an attack.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) opened: u64,
    pub(crate) requests: u64,
    /// The most connections that stood at once at the attacker's end.
    pub(crate) standing: u64,
    /// Statuses, and how connections ended.
    pub(crate) outcomes: BTreeMap<String, u64>,
}

/// Raises the limit of open files as far as it goes; answers how many connections that allows.
pub(crate) fn raise_open_files() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // Without a new limit the attackers have as many as before.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let now = getrlimit(Resource::Nofile).current.or(current);
    now.unwrap_or(u64::MAX).saturating_sub(RESERVED)
}

impl Field {
    pub(crate) fn new(node: Node, lasting: Duration, lure: Option<Rc<Lure>>) -> Self {
        let until = Instant::now() + lasting;
        Self { node, until, lure, next: Cell::new(0), tally: RefCell::default() }
    }

    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// Sleeps, but not longer than the attack lasts.
    pub(crate) async fn pause(&self, time: Duration) {
        tokio::time::sleep(time.min(self.until.saturating_duration_since(Instant::now()))).await;
    }

    /// What came of it so far.
    pub(crate) fn tally(&self) -> Tally {
        self.tally.borrow().clone()
    }

    pub(crate) fn note(&self, outcome: impl Display) {
        *self.tally.borrow_mut().outcomes.entry(outcome.to_string()).or_default() += 1;
    }

    pub(crate) fn standing(&self, connections: u64) {
        let mut tally = self.tally.borrow_mut();
        tally.standing = tally.standing.max(connections);
    }

    pub(crate) fn asked(&self) {
        self.tally.borrow_mut().requests += 1;
    }

    /// Opens a connection from the next of the attackers' addresses.
    pub(crate) async fn open(&self) -> io::Result<Line> {
        let number = self.next.get();
        self.next.set(number.wrapping_add(1));
        let from = Ipv4Addr::new(127, 66, 0, u8::try_from(1 + number % ATTACKERS).unwrap_or(1));
        let opened = Line::open(from, self.node.address()).await;
        match &opened {
            Ok(_) => self.tally.borrow_mut().opened += 1,
            Err(error) => self.note(format_args!("not opened: {}", error.kind())),
        }
        opened
    }

    /// Lets so many attackers do the same thing until it is over.
    pub(crate) async fn crowd<F: Future<Output = ()> + 'static>(
        self: &Rc<Self>,
        attackers: usize,
        act: impl Fn(Rc<Self>) -> F + Clone + 'static,
    ) {
        let mut crowd = JoinSet::new();
        for _ in 0..attackers {
            let (field, act) = (self.clone(), act.clone());
            crowd.spawn_local(async move {
                while !field.is_over() {
                    let round = tokio::time::timeout_at(field.until.into(), act(field.clone()));
                    // What is not over with the attack is given up.
                    let _ = round.await;
                    tokio::task::yield_now().await;
                }
            });
        }
        while crowd.join_next().await.is_some() {}
    }

    /// Sends a request on a connection of its own, and notes what is answered.
    pub(crate) async fn shoot(&self, request: &[u8]) {
        let Ok(mut line) = self.open().await else { return self.breathe().await };
        self.asked();
        // A node that refuses early reads no further, and what it said is still to be read.
        let _ = line.send(request).await;
        match line.status().await {
            Ok(status) => self.note(status),
            Err(error) => self.note(error.kind()),
        }
    }

    /// What cannot be opened now is not tried again at once.
    pub(crate) async fn breathe(&self) {
        self.pause(Duration::from_millis(20)).await;
    }
}

/// One connection.
pub(crate) struct Line {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Line {
    /// Opens it from an address of the loopback. It ends without ceremony, so that no port stays
    /// taken.
    pub(crate) async fn open(from: Ipv4Addr, to: SocketAddr) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_zero_linger()?;
        socket.bind(SocketAddr::from((from, 0)))?;
        let stream = tokio::time::timeout(PATIENCE, socket.connect(to)).await??;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        tokio::time::timeout(PATIENCE, self.stream.write_all(bytes)).await?
    }

    /// Whether the node has not closed it, as far as has been heard.
    pub(crate) fn stands(&self) -> bool {
        let mut byte = [0];
        matches!(self.stream.try_read(&mut byte), Err(error) if error.kind() == ErrorKind::WouldBlock)
    }

    /// Reads one answer to its end, if it says where that is; answers its status.
    pub(crate) async fn status(&mut self) -> io::Result<u16> {
        Ok(self.answer().await?.0)
    }

    /// The same, with the body.
    pub(crate) async fn answer(&mut self) -> io::Result<(u16, Vec<u8>)> {
        tokio::time::timeout(PATIENCE, self.whole_answer()).await?
    }

    async fn whole_answer(&mut self) -> io::Result<(u16, Vec<u8>)> {
        self.buffer.clear();
        let (status, end, length) = loop {
            if let Some(head) = head(&self.buffer)? {
                break head;
            }
            self.more().await?;
        };
        while self.buffer.len() < end + length {
            self.more().await?;
        }
        Ok((status, self.buffer.split_off(end)))
    }

    async fn more(&mut self) -> io::Result<()> {
        self.buffer.reserve(64 * 1024);
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// Status, length of the head and length of the body; `None` while the head is not complete.
fn head(bytes: &[u8]) -> io::Result<Option<(u16, usize, usize)>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let status = text.get(9..12).and_then(|status| status.parse().ok());
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let status = status.ok_or(ErrorKind::InvalidData)?;
    Ok(Some((status, end + 4, length.unwrap_or(0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_says_where_its_answer_ends() {
        let answer = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 12\r\n\r\nabc";
        assert_eq!(head(&answer[..20]).unwrap(), None);
        assert_eq!(head(answer).unwrap(), Some((503, answer.len() - 3, 12)));
        assert!(head(b"rubbish\r\n\r\n").is_err());
    }
}
