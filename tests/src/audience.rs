//! A follower and a witness that trusted a liar until now.

use std::cell::Cell;
use std::time::{Duration, Instant};

use diogenes_common::clock::Clock as _;
use diogenes_common::clock_system::SystemClock;
use diogenes_common::statement::FollowerStatus;
use diogenes_common::wire::status::{MirrorStatus, ReplicationStatus};
use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::book::Book;
use crate::http::Node;
use crate::liar::Liar;
use crate::lies::LEVEL;
use crate::process::{Ended, Machine, PATIENCE, Process, Programs, eventually, free_address};

/// The liar and those who listen to it; needs a runtime of several threads.
pub struct Audience {
    /// Where the nodes run.
    pub machine: Machine,
    /// Who will lie.
    pub liar: Liar,
    /// The follower, to ask.
    pub mirror: Node,
    _follower: Process,
}

/// An incident of a follower, and the file that it keeps with it.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The incident, as `incident list --json` shows it.
    pub incident: Value,
    /// The file.
    pub file: Vec<u8>,
}

impl Audience {
    /// A follower and a witness that believe the first entries of a log.
    ///
    /// # Panics
    /// When they do not come to believe them.
    pub async fn start(programs: impl Into<Programs>) -> Self {
        let book = Book::new(SystemClock.now().plus_millis(-1_000));
        Self::of(programs, book, |_| {}).await
    }

    /// The same, with a book and a liar that are prepared.
    ///
    /// # Panics
    /// When they do not come to believe it.
    pub async fn of(
        programs: impl Into<Programs>,
        mut book: Book,
        prepare: impl FnOnce(&Liar),
    ) -> Self {
        book.grow(LEVEL - book.size());
        let liar = Liar::start(book).await;
        prepare(&liar);
        let machine = Machine::new(programs);
        let (follower, mirror) = follow(&machine, &liar, &liar.node()).await;
        let audience = Self { machine, liar, mirror, _follower: follower };
        audience.synced_at(LEVEL).await;
        audience.witness_submits().succeeded();
        audience
    }

    /// What the follower says about itself.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn status(&self) -> MirrorStatus {
        status(&self.mirror).await
    }

    /// What the follower says once this holds, or at the end of so many seconds: a source errs and
    /// recovers in turn, so that a later answer may be another one.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn seen(&self, seconds: u64, holds: impl Fn(&MirrorStatus) -> bool) -> MirrorStatus {
        let patience = Instant::now() + Duration::from_secs(seconds);
        loop {
            let status = self.status().await;
            if holds(&status) || Instant::now() > patience {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the follower is in step.
    ///
    /// # Panics
    /// When it does not get there.
    pub async fn synced_at(&self, size: u64) {
        let in_step = |status: &MirrorStatus| {
            status.status == FollowerStatus::Synced && status.tree_size.get() == size
        };
        let status = self.seen(PATIENCE.as_secs(), in_step).await;
        assert!(in_step(&status), "in vain: SYNCED at {size}: {status:?}");
    }

    /// What the witness does with the head that it is shown.
    pub fn witness_submits(&self) -> Ended {
        let server = self.liar.node().to_string();
        self.run("witness", "witness", &["submit", "--server", &server])
    }

    /// Waits until an incident is open for this reason; answers one whose file the follower keeps,
    /// with that.
    ///
    /// # Panics
    /// When there is none in time.
    pub async fn kept(&self, reason: &str) -> Kept {
        let found = Cell::new(None);
        let find = || {
            let listed = self.incidents();
            let mut all = listed.as_array().cloned().unwrap_or_default();
            all.retain(|incident| incident["reason"] == reason);
            let is_open = all.iter().any(|incident| incident["acked_at"].is_null());
            // A source whose heads hold errs and recovers in turn: not each time is a file kept.
            let shown = all.into_iter().find(|incident| incident["evidence_id"].is_i64());
            shown.filter(|_| is_open)
        };
        eventually("an incident is open and has a file", async || {
            // It may be closed again a moment later: a source errs and recovers in turn.
            found.set(find());
            let incident = found.take();
            let is_there = incident.is_some();
            found.set(incident);
            is_there
        })
        .await;
        let incident = found.take().expect("one was found");
        let path = format!("/api/v1/evidence/{}", incident["evidence_id"]);
        let answer = self.mirror.get(&path).await.expect("the follower answers");
        assert!(answer.is_success(), "GET {path}: {answer}");
        Kept { incident, file: answer.body }
    }

    /// What the follower's operator is shown of its incidents.
    ///
    /// # Panics
    /// When that is no JSON.
    pub fn incidents(&self) -> Value {
        let listed = self.run("follower", "follower", &["incident", "list", "--all", "--json"]);
        serde_json::from_str(&listed.succeeded()).expect("incidents in JSON")
    }

    /// What a stranger with no network is told of a file.
    ///
    /// # Panics
    /// When the file can't be written.
    pub fn judged(&self, file: &[u8], log_id: &str) -> Ended {
        judged(&self.machine, file, log_id)
    }

    fn run(&self, name: &str, role: &str, args: &[&str]) -> Ended {
        block_in_place(|| self.machine.run(name, role, args, &[]))
    }
}

/// What a stranger with no network is told of a file.
///
/// # Panics
/// When the file can't be written.
pub fn judged(machine: &Machine, file: &[u8], log_id: &str) -> Ended {
    let path = machine.home().join("kept.json");
    std::fs::write(&path, file).expect("a file is written");
    let path = path.to_string_lossy();
    let words = ["evidence", "verify", &path, "--log-id", log_id];
    block_in_place(|| machine.run("stranger", "witness", &words, &[]))
}

/// Starts a follower of the liar's log that reads from `source`.
///
/// # Panics
/// When it does not come up.
pub async fn follow(machine: &Machine, liar: &Liar, source: &Node) -> (Process, Node) {
    let (mut follower, mirror) = follow_any(machine, liar, &[source]).await;
    follower.ready(&mirror).await;
    (follower, mirror)
}

/// Starts a follower of the liar's log that reads from several sources, and does not wait until it
/// has read something.
///
/// # Panics
/// When it does not come up.
pub async fn follow_any(machine: &Machine, liar: &Liar, sources: &[&Node]) -> (Process, Node) {
    let operator = liar.story().book.operator().fingerprint();
    let source = |node: &&Node| json!({ "url": node.to_string(), "fingerprint": operator });
    let sources = sources.iter().map(source).collect::<Value>().to_string();
    let variables =
        [("DIOGENES_FEDERATION_OPERATORS", sources.as_str()), ("DIOGENES_POLL", "50ms")];
    let address = free_address();
    let listen = address.to_string();
    let args = ["serve", "--listen", listen.as_str()];
    let mut follower = machine.start("follower", "follower", &args, &variables);
    let mirror = Node::local(address);
    follower.answers(&mirror, "/healthz").await;
    (follower, mirror)
}

/// What a follower says about itself.
///
/// # Panics
/// When it does not answer, or is none.
pub async fn status(mirror: &Node) -> MirrorStatus {
    stands(mirror).await.expect("a follower that has verified something")
}

/// What a follower says about itself; `None` before it verified anything.
pub async fn stands(mirror: &Node) -> Option<MirrorStatus> {
    match mirror.read("/api/v1/log/replication-status").await {
        Ok(ReplicationStatus::Follower(status)) => Some(*status),
        _ => None,
    }
}
