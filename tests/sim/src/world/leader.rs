//! The leader: the production sequencer and its start, over the simulated database and disk.

use std::cell::RefCell;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::book;
use crate::clock::{Clock, Timestamp};
use crate::event::{Event, Genesis};
use crate::exit::Failure;
use crate::files::{DataDir, Role};
use crate::keys::SigningKey;
use crate::leaf::Leaf;
use crate::merkle::TreeSize;
use crate::metrics::Metrics;
use crate::read::{Published, Snapshot};
use crate::sequencer::{
    AppendError, Appended, ClockGuard, Command, Context, Decision, GuardKeeper, Handle, NewEntry,
    NotSigning, Parts, Sequencer, SignedGuard,
};
use crate::start::{self, Found, FoundLog, Plan};
use crate::store::{ExclusiveLock, Store};
use crate::task::Tasks;
use crate::telemetry;
use crate::time;
use crate::view::{Needs, Overlay};

/// The directory of its key and guard.
pub(crate) const HOME: &str = "/sim/leader";

/// The clock of one machine: virtual time, and what an administrator did to it.
#[derive(Default)]
pub(crate) struct MachineClock {
    pub(crate) offset: AtomicI64,
}

impl Clock for MachineClock {
    fn now(&self) -> Timestamp {
        let now = book::START + self.steady_millis() + self.offset.load(Ordering::Relaxed);
        Timestamp::from_millis(now).expect("a time of this century")
    }

    fn steady_millis(&self) -> i64 {
        i64::try_from(time::elapsed()).expect("a short run")
    }
}

/// One process of the leader.
pub(crate) struct Process {
    pub(crate) tasks: Tasks,
    pub(crate) published: Arc<Published>,
    handle: Rc<RefCell<Option<Handle>>>,
    /// How it ended, once it did.
    pub(crate) exit: Rc<RefCell<Option<Failure>>>,
    /// Why it signs nothing, if it started like that.
    pub(crate) not_signing: Rc<RefCell<Option<NotSigning>>>,
}

/// What callers were told.
#[derive(Clone, Default)]
pub(crate) struct Answers(Rc<RefCell<Vec<Appended>>>);

impl Answers {
    pub(crate) fn take(&self) -> Vec<Appended> {
        std::mem::take(&mut self.0.borrow_mut())
    }
}

/// Makes the directory, the key and the guard of a log of its genesis alone.
pub(crate) fn initialise(store: &Store, clock: &dyn Clock) {
    let data = DataDir::open(Path::new(HOME), Role::Leader).expect("an empty disk");
    let now = clock.now();
    let genesis = book::genesis(now);
    let head = book::head_at(&genesis, 1, now);
    store.server().database = genesis;
    guard_of(&head, &store.server().database.leaves[0]).write(data.path()).expect("a whole disk");
}

fn guard_of(head: &crate::head::TreeHead, genesis: &Leaf) -> SignedGuard {
    SignedGuard {
        origin: head.origin.clone(),
        log_id: genesis.entry_hash(),
        tree_size: head.tree_size,
        root: head.root_hash,
        timestamp: head.timestamp,
    }
}

impl Process {
    /// Starts one; what becomes of it is seen later.
    pub(crate) fn start(
        store: &Store,
        clock: &Arc<MachineClock>,
        accept_size: Option<u64>,
    ) -> Self {
        let process = Self {
            tasks: Tasks::default(),
            published: Arc::default(),
            handle: Rc::default(),
            exit: Rc::default(),
            not_signing: Rc::default(),
        };
        let (exit, not_signing) = (process.exit.clone(), process.not_signing.clone());
        let (handle, published) = (process.handle.clone(), process.published.clone());
        let (store, clock, tasks) = (store.clone(), clock.clone(), process.tasks.clone());
        process.tasks.spawn(async move {
            let started = serve(&store, clock, published, &tasks, accept_size, &not_signing).await;
            let ended = match started {
                Ok((sequencer, given)) => {
                    *handle.borrow_mut() = Some(given);
                    sequencer.run(CancellationToken::new()).await
                }
                Err(failure) => Err(failure),
            };
            *exit.borrow_mut() = ended.err();
        });
        process
    }

    /// Hands in some events; whoever asked is told in `answers`.
    pub(crate) fn append(&self, texts: Vec<String>, answers: &Answers) {
        let Some(handle) = self.handle.borrow().clone() else { return };
        let answers = answers.clone();
        self.tasks.spawn(async move {
            let answer = handle.submit(Note { texts }).await;
            if let Ok(crate::sequencer::Outcome::Appended(appended)) = answer {
                answers.0.borrow_mut().push(appended);
            }
        });
    }

    /// What readers are shown.
    pub(crate) fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.published.snapshot()
    }

    /// Whether it went down by itself.
    pub(crate) fn has_ended(&self) -> bool {
        self.exit.borrow().is_some()
    }

    /// Ends it where it is.
    pub(crate) fn kill(&self) {
        self.tasks.kill();
    }
}

/// What `boot` and `serve` of the leader do, without their locks, settings and sockets.
async fn serve(
    store: &Store,
    clock: Arc<MachineClock>,
    published: Arc<Published>,
    tasks: &Tasks,
    accept_size: Option<u64>,
    not_signing: &RefCell<Option<NotSigning>>,
) -> Result<(Sequencer, Handle), Failure> {
    let unreadable = |error: &dyn std::fmt::Display| Failure::refused("sim", error, "try again");
    let home = Path::new(HOME);
    let guard = SignedGuard::read(home).map_err(|error| unreadable(&error))?;
    let log = find_log(store, guard.as_ref());
    let key = book::operator();
    let found = Found {
        key: Some(key.fingerprint()),
        initialising: false,
        guard: guard.clone(),
        log,
        accept_size,
    };
    let plan = start::plan(&found)?;
    let reason = match plan {
        Plan::ReadOnly(reason) => Some(reason),
        Plan::Go | Plan::Initialise => None,
    };
    *not_signing.borrow_mut() = reason;
    let opened = start::reopen(store, &key).await.map_err(|error| unreadable(&error))?;
    let last_head = Some(opened.head.timestamp);
    let stop = CancellationToken::new();
    let (keeper, writes) = GuardKeeper::start(PathBuf::from(HOME), telemetry::Metrics, stop);
    tasks.spawn(writes);
    let clock_guard = ClockGuard::start(&*clock, last_head, false);
    let epoch = Timestamp::from_millis(0).expect("1970 is a time");
    Sequencer::new(Parts {
        store: store.clone(),
        opened: Some(opened),
        database_lock: ExclusiveLock,
        operator: Arc::new(key),
        clock_guard,
        clock,
        floor: guard.map_or(epoch, |guard| guard.timestamp),
        guard: keeper,
        // Often, so that a copy may lack some.
        heartbeat: Duration::from_secs(2),
        published,
        metrics: Arc::new(Metrics::default()),
        not_signing: reason,
    })
    .await
}

fn find_log(store: &Store, guard: Option<&SignedGuard>) -> Option<FoundLog> {
    let server = store.server();
    let first = server.database.leaves.first()?;
    let Ok(Event::Genesis(genesis)) = Event::parse(first.event_type(), first.payload()) else {
        return None;
    };
    let size = server.database.state.tree.size;
    let within = guard.map(|guard| guard.tree_size).filter(|signed| *signed <= size);
    Some(FoundLog {
        operator: genesis.operator_fingerprint,
        log_id: first.entry_hash(),
        size,
        root_at_guard: within.and_then(|signed| Some(server.database.tree(signed)?.hash)),
    })
}

/// A request to append events that no rule of state concerns.
struct Note {
    texts: Vec<String>,
}

impl Command for Note {
    type Refusal = Infallible;

    fn needs(&self, _: &mut Needs) {}

    fn decide(&mut self, _: &Context<'_>, _: &Overlay) -> Result<Decision, Infallible> {
        let event_type: crate::leaf::EventType = "x-sim:note".parse().expect("a type");
        let entry = |text: &String| {
            let payload = format!("{{\"text\":\"{text}\"}}").into_bytes();
            NewEntry::plain(event_type.clone(), payload)
        };
        let entries = self.texts.iter().map(entry).collect();
        Ok(Decision::Append { entries, local: Vec::new() })
    }

    fn bytes(&self) -> usize {
        self.texts.iter().map(|text| text.len() + 320).sum()
    }

    fn entries(&self) -> usize {
        self.texts.len()
    }

    fn is_generic(&self) -> bool {
        true
    }
}
