//! The clients: each sends its next request when the answer before came.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::{JoinSet, LocalSet};

use crate::connection::Connection;
use crate::report::{Report, Tally};
use crate::work::{Came, Plan, Receipt, Work};

/// How long a client waits after an error.
const PAUSE: Duration = Duration::from_millis(10);
/// When nothing has succeeded for so long, the run ends.
const PATIENCE: Duration = Duration::from_secs(30);

/// When a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// After that time.
    Elapsed(Duration),
    /// After that many entries.
    Count(u64),
    /// When every client has read all there is.
    Done,
}

/// What the clients of a run share: they all live on one thread.
struct Run {
    plan: Plan,
    address: SocketAddr,
    tally: RefCell<Tally>,
    receipts: RefCell<Vec<Receipt>>,
    /// The number of the next event.
    number: Cell<u64>,
    /// How many entries may still be asked for.
    left: Cell<u64>,
    ends_at: Option<Instant>,
    last_success: Cell<Instant>,
}

/// Runs the clients and says what came of it.
pub(crate) async fn drive(
    address: SocketAddr,
    plan: Plan,
    clients: usize,
    until: Until,
) -> (Report, Vec<Receipt>) {
    let started = Instant::now();
    let name = plan.name();
    let (left, ends_at) = match until {
        Until::Count(count) => (count, None),
        Until::Elapsed(time) => (u64::MAX, Some(started + time)),
        Until::Done => (u64::MAX, None),
    };
    let run = Rc::new(Run {
        plan,
        address,
        tally: RefCell::default(),
        receipts: RefCell::default(),
        number: Cell::new(0),
        left: Cell::new(left),
        ends_at,
        last_success: Cell::new(started),
    });
    let all = async {
        let mut running = JoinSet::new();
        for number in 0..clients {
            running.spawn_local(client(run.clone(), number));
        }
        running.join_all().await;
    };
    LocalSet::new().run_until(all).await;
    let report = run.tally.borrow_mut().report(name, clients, started.elapsed());
    let receipts = run.receipts.take();
    (report, receipts)
}

async fn client(run: Rc<Run>, number: usize) {
    let mut work = Work::new(&run.plan, number);
    let mut connection = None;
    while let Some(weight) = run.claim(work.weight()) {
        match run.request(&mut connection, &mut work, weight).await {
            Ok(Turn::Next) => {}
            Ok(Turn::Last) => return,
            Ok(Turn::Again) => {
                run.give_back(weight);
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => {
                connection = None;
                run.give_back(weight);
                run.tally.borrow_mut().error(error.kind().to_string());
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// How a client goes on.
enum Turn {
    Next,
    /// The request failed and does not count.
    Again,
    /// There is nothing left to read.
    Last,
}

impl Run {
    /// Takes entries off what is to be done; `None` when the run is over.
    fn claim(&self, weight: u64) -> Option<u64> {
        let now = Instant::now();
        let over = self.ends_at.is_some_and(|end| now >= end)
            || now.duration_since(self.last_success.get()) > PATIENCE
            || self.left.get() == 0;
        (!over).then(|| {
            self.left.set(self.left.get().saturating_sub(weight));
            weight
        })
    }

    fn give_back(&self, weight: u64) {
        self.left.set(self.left.get().saturating_add(weight));
    }

    async fn request(
        &self,
        connection: &mut Option<Connection>,
        work: &mut Work<'_>,
        weight: u64,
    ) -> io::Result<Turn> {
        let connection = match connection {
            Some(connection) => connection,
            None => connection.insert(Connection::open(self.address).await?),
        };
        let number = self.number.get();
        self.number.set(number + weight);
        let sent = Instant::now();
        let answer = connection.exchange(work.next(number)).await?;
        let took = sent.elapsed();
        let mut tally = self.tally.borrow_mut();
        if !(200..300).contains(&answer.status) {
            tally.error(answer.status.to_string());
            return Ok(Turn::Again);
        }
        match work.came(answer.body, &mut self.receipts.borrow_mut()) {
            Came::Entries { count, last } => {
                tally.success(count, took);
                self.last_success.set(Instant::now());
                Ok(if last { Turn::Last } else { Turn::Next })
            }
            Came::Nonsense => {
                tally.error("not understood".to_owned());
                Ok(Turn::Again)
            }
        }
    }
}
