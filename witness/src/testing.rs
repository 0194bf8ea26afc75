//! What the tests of this crate share: two histories of one log.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use diogenes_common::checkpoint::{Checkpoint, sign_checkpoint};
use diogenes_common::clock::{Clock, Timestamp};
use diogenes_common::event::{Genesis, Payload as _};
use diogenes_common::head::{Origin, TreeHead};
use diogenes_common::keys::SigningKey;
use diogenes_common::leaf::Leaf;
use diogenes_common::merkle::{Hash, TreeRoot, TreeSize};

use crate::judge::Seen;
use crate::log::{LogKey, LogName};
use crate::log_list::ListedLog;
use crate::state::{
    Adoption, Asker, Home, Interrupt, Interrupted, LogState, Moment, Uninterrupted,
};

/// How many entries a history has.
const ENTRIES: u64 = 24;

/// A log's history, small and computed the slow way.
pub(crate) struct History {
    leaves: Vec<Leaf>,
    operator: SigningKey,
    origin: Origin,
}

/// The instant so many seconds after the histories begin.
pub(crate) fn at(seconds: i64) -> Timestamp {
    let start: Timestamp = "2026-01-15T10:00:00.000Z".parse().expect("a time");
    start.plus_millis(seconds * 1000)
}

/// A clock that the test sets.
pub(crate) struct SetClock(AtomicI64);

impl SetClock {
    pub(crate) fn new(time: Timestamp) -> Self {
        Self(AtomicI64::new(time.millis()))
    }

    pub(crate) fn set(&self, time: Timestamp) {
        self.0.store(time.millis(), Ordering::Relaxed);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed)).expect("a time")
    }

    fn steady_millis(&self) -> i64 {
        self.now().millis()
    }
}

impl History {
    /// What every honest node sees.
    pub(crate) fn honest() -> Self {
        Self::with_fork(ENTRIES)
    }

    /// The same key, and other entries from this index on.
    pub(crate) fn forked_at(index: u64) -> Self {
        Self::with_fork(index)
    }

    fn with_fork(fork: u64) -> Self {
        let operator = SigningKey::from_seed([42; 32]);
        let origin: Origin = "log.example/log-1".parse().expect("an origin");
        let mut leaves: Vec<Leaf> = Vec::new();
        for index in 0..ENTRIES {
            let story = if index < fork { "true" } else { "false" };
            let (kind, payload) = if index == 0 && fork > 0 {
                let genesis = Genesis::new(operator.public(), origin.clone());
                ("log_genesis", genesis.to_payload())
            } else {
                ("x-test:event", format!("{{\"n\":{index},\"story\":\"{story}\"}}").into_bytes())
            };
            let previous = leaves.last().map(Leaf::entry_hash);
            let kind = kind.parse().expect("an event type");
            leaves.push(Leaf::build(index + 1, previous, at(0), &kind, &payload).expect("a leaf"));
        }
        Self { leaves, operator, origin }
    }

    pub(crate) fn origin(&self) -> Origin {
        self.origin.clone()
    }

    pub(crate) fn operator(&self) -> &SigningKey {
        &self.operator
    }

    pub(crate) fn leaf_bytes(&self, index: usize) -> &[u8] {
        self.leaves[index].bytes()
    }

    pub(crate) fn leaf(&self, index: usize) -> Hash {
        self.leaves[index].leaf_hash()
    }

    pub(crate) fn tree(&self, size: u64) -> TreeRoot {
        TreeRoot { size: TreeSize::ZERO.plus(size), hash: root(&self.hashes(size)) }
    }

    pub(crate) fn head(&self, size: u64, timestamp: Timestamp) -> TreeHead {
        TreeHead {
            chain_head: Some(self.leaves[index(size) - 1].entry_hash()),
            epoch: 1,
            origin: self.origin(),
            root_hash: self.tree(size).hash,
            timestamp,
            tree_size: self.tree(size).size,
        }
    }

    pub(crate) fn seen(&self, size: u64, timestamp: Timestamp) -> Seen {
        let note = self.checkpoint(size);
        let json = self.head(size, timestamp).sign(&self.operator).to_json(note, size);
        Seen::recognise(json, self.operator.public(), &self.origin).expect("an own head")
    }

    /// The log's name, as it is for any log.
    pub(crate) fn name(&self) -> LogName {
        LogName::from(&self.origin)
    }

    /// The key under which the log signs its checkpoints.
    pub(crate) fn log_key(&self) -> LogKey {
        LogKey::of_operator(&self.origin, self.operator.public()).expect("a key name")
    }

    /// The signed checkpoint of a size.
    pub(crate) fn checkpoint(&self, size: u64) -> String {
        let origin = self.origin.as_str();
        let checkpoint = Checkpoint::new(origin, self.tree(size)).expect("a checkpoint");
        sign_checkpoint(&checkpoint, &origin.parse().expect("a key name"), &self.operator)
    }

    /// What the log sends to a witness that stands at `old`.
    pub(crate) fn body(&self, old: u64, new: u64) -> Vec<u8> {
        let proof = if old == 0 || old >= new { Vec::new() } else { self.consistency(old, new) };
        body(old, &proof, &self.checkpoint(new))
    }

    pub(crate) fn consistency(&self, old: u64, new: u64) -> Vec<Hash> {
        subproof(index(old), &self.hashes(new), true)
    }

    fn hashes(&self, size: u64) -> Vec<Hash> {
        self.leaves[..index(size)].iter().map(Leaf::leaf_hash).collect()
    }
}

/// A request to add a checkpoint.
pub(crate) fn body(old: u64, proof: &[Hash], note: &str) -> Vec<u8> {
    let mut lines = vec![format!("old {old}")];
    lines.extend(proof.iter().map(Hash::to_base64));
    format!("{}\n\n{note}", lines.join("\n")).into_bytes()
}

fn index(size: u64) -> usize {
    usize::try_from(size).expect("a small size")
}

fn split(count: usize) -> usize {
    count.next_power_of_two() / 2
}

/// `MTH` of RFC 6962 section 2.1.
fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash::EMPTY_TREE,
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            Hash::of_node(&root(left), &root(right))
        }
    }
}

/// `SUBPROOF` of RFC 6962 section 2.1.2.
fn subproof(old: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
    if old == leaves.len() {
        return if whole { Vec::new() } else { vec![root(leaves)] };
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    let (mut proof, sibling) = if old <= left.len() {
        (subproof(old, left, whole), right)
    } else {
        (subproof(old - left.len(), right, false), left)
    };
    proof.push(root(sibling));
    proof
}

/// Stops a witness once: when it has come to a moment for the given time.
pub(crate) struct StopAfter {
    moment: Moment,
    left: AtomicI64,
}

impl StopAfter {
    pub(crate) fn new(moment: Moment, nth: i64) -> Self {
        Self { moment, left: AtomicI64::new(nth) }
    }

    pub(crate) fn has_stopped(&self) -> bool {
        self.left.load(Ordering::Relaxed) <= 0
    }
}

impl Interrupt for StopAfter {
    fn after(&self, moment: Moment) -> Result<(), Interrupted> {
        if moment == self.moment && self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            return Err(Interrupted(moment));
        }
        Ok(())
    }
}

/// A witness's directory, and the log that may ask it for cosignatures.
pub(crate) struct Listed {
    root: tempfile::TempDir,
    pub(crate) history: History,
    pub(crate) clock: Arc<SetClock>,
}

impl Listed {
    /// A new witness, whose operator listed the log.
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().expect("a directory");
        let listed =
            Self { root, history: History::honest(), clock: Arc::new(SetClock::new(at(200))) };
        listed.list(&listed.open(), listed.history.name(), listed.history.log_key());
        listed
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.root.path().join("witness")
    }

    /// Another start of the witness.
    pub(crate) fn open(&self) -> Arc<Home> {
        self.open_with(Arc::new(Uninterrupted))
    }

    pub(crate) fn open_with(&self, interrupt: Arc<dyn Interrupt>) -> Arc<Home> {
        let home = Home::open(&self.path(), None, || Ok([9; 32]), at(0), interrupt);
        Arc::new(home.expect("a home"))
    }

    pub(crate) fn list(&self, home: &Home, origin: LogName, key: LogKey) -> Adoption {
        let log = ListedLog { origin, key };
        home.enlist(&[log], Asker::Operator, self.clock.now()).expect("a line")
    }

    /// Where the witness stands with the log, as another process reads it.
    pub(crate) fn state(&self) -> LogState {
        let state = self.open().log(self.history.name().as_str()).expect("a state");
        state.expect("a log")
    }
}
