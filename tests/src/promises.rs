//! Clients that append for as long as something happens to the log, and note what it promises.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use diogenes_common::head::HeadJson;
use diogenes_common::wire::node::WellKnown;
use serde_json::{Value, json};
use tokio::task::{JoinSet, LocalSet};

use crate::http::Node;
use crate::ledger::{Ledger, Source, Violation};
use crate::stranger::ReadLog;

/// How long a client waits after a leader that does not answer.
const AFTER_SILENCE: Duration = Duration::from_millis(10);

/// What a leader promised: entries that it acknowledged and heads that it signed.
#[derive(Debug, Default)]
pub struct Promises {
    ledger: RefCell<Ledger>,
    broken: Cell<Option<Violation>>,
    number: Cell<u64>,
}

/// How hard clients press.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// How many there are.
    pub clients: usize,
    /// How long each waits between two entries.
    pub pause: Duration,
}

impl Promises {
    /// Notes something; the first promise that is broken is remembered.
    pub fn note<T>(&self, note: impl FnOnce(&mut Ledger) -> Result<T, Violation>) -> Option<T> {
        let noted = note(&mut self.ledger.borrow_mut());
        noted.map_err(|broken| self.broken.set(self.broken.get().or(Some(broken)))).ok()
    }

    /// Looks at what is noted.
    pub fn look<T>(&self, look: impl FnOnce(&Ledger) -> T) -> T {
        look(&self.ledger.borrow())
    }

    /// How many entries were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.look(Ledger::acknowledged)
    }

    /// The first promise that was broken, so far.
    pub fn unbroken(&self) -> Result<(), Violation> {
        self.broken.get().map_or(Ok(()), Err)
    }

    /// Every promise was kept, and is kept by the log as it is read.
    pub fn are_kept_by(&self, log: &ReadLog) -> Result<(), Violation> {
        self.note(|ledger| ledger.see(Source::Leader, log.head()));
        self.note(|ledger| ledger.is_kept_by(log));
        self.unbroken()
    }

    /// One append and a look at the newest head; `None` when the leader did not answer.
    ///
    /// # Panics
    /// When the answer is none that a leader gives, or its signature is not the log's.
    pub async fn append(&self, node: &Node, known: &WellKnown) -> Option<()> {
        let n = self.number.replace(self.number.get() + 1);
        let answer: Value = node.append("x-crash:event", &json!({ "n": n })).await.ok()?;
        let entry_hash = answer["entry_hash"].as_str()?.parse().expect("a hash");
        let id = answer["id"].as_u64()?;
        self.note(|ledger| ledger.acknowledge(id, entry_hash));
        // Most heads are shown in receipts, some are read.
        let (source, head): (_, HeadJson) = if n.is_multiple_of(4) {
            (Source::Leader, node.head().await.ok()?)
        } else {
            let head = answer["receipt"]["tree_head"].clone();
            (Source::Receipt, serde_json::from_value(head).expect("a head"))
        };
        let head = head.verify(&known.operator_public_key, &known.origin).expect("a signed head");
        self.note(|ledger| ledger.see(source, &head))
    }

    /// Appends from several clients at once for as long as `meanwhile` takes.
    pub async fn under_load<T>(
        self: &Rc<Self>,
        load: Load,
        node: &Node,
        known: &WellKnown,
        meanwhile: impl Future<Output = T>,
    ) -> T {
        let local = LocalSet::new();
        let mut clients = JoinSet::new();
        for _ in 0..load.clients {
            let (promises, node, known) = (self.clone(), node.clone(), known.clone());
            clients.spawn_local_on(
                async move {
                    loop {
                        let answered = promises.append(&node, &known).await.is_some();
                        tokio::time::sleep(if answered { load.pause } else { AFTER_SILENCE }).await;
                    }
                },
                &local,
            );
        }
        let done = local.run_until(meanwhile).await;
        clients.abort_all();
        done
    }
}
