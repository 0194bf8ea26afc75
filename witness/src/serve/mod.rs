//! A witness that logs ask for cosignatures: its parts, put together.

mod answer;
mod board;
mod http;
pub(crate) mod lists;
mod metrics;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use diogenes_common::clock::Clock;
use diogenes_common::config::{ALLOW_HTTP, LISTEN, LOG_LISTS, Settings};
use diogenes_common::exit::Failure;
use diogenes_common::merkle::Hash;
use diogenes_common::server::Server;
use diogenes_common::server::https::HttpsPolicy;
use diogenes_common::server::limits::Limiter;
use diogenes_common::shutdown::Tasks;
use tokio::sync::{Mutex, OwnedMutexGuard};

use self::answer::{Cosignature, NotCosigned};
use self::board::Board;
use self::lists::Lists;
use self::metrics::Metrics;
use crate::add_checkpoint::{Refusal, Request};
use crate::log::LogName;
use crate::state::{Home, LogState, StateError};

/// How often the state is read for what another process did.
const LOOK: Duration = Duration::from_secs(60);

/// How long a stop waits for what was begun.
const GRACE: Duration = Duration::from_secs(10);

/// How many requests may wait for the disk at once; those of one log wait for each other.
const TURNS: usize = 64;

/// A witness that is up: it listens, and nothing is answered before [`Witness::run`].
pub(crate) struct Witness {
    app: App,
    server: Server,
    router: Router,
    lists: Lists,
}

/// What handlers work with. Clones share it.
#[derive(Clone)]
struct App(Arc<Parts>);

struct Parts {
    home: Arc<Home>,
    clock: Arc<dyn Clock>,
    tasks: Tasks,
    metrics: Metrics,
    board: Board,
    turns: Vec<Arc<Mutex<()>>>,
    /// Whether the state could be read the last time.
    is_ready: AtomicBool,
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl Witness {
    /// Listens, and reads the lists of logs that are files.
    pub(crate) async fn start(
        settings: &Settings,
        home: Arc<Home>,
        clock: Arc<dyn Clock>,
        tasks: Tasks,
    ) -> Result<Self, Failure> {
        let metrics = Metrics::new();
        let https = HttpsPolicy::from_settings(settings);
        let server = Server::bind(settings.value(&LISTEN), https, metrics.node().clone()).await?;
        let lists = Lists::new(&settings.value(&LOG_LISTS), settings.value(&ALLOW_HTTP))?;
        let turns = (0..TURNS).map(|_| Arc::default()).collect();
        let board = Board::default();
        let is_ready = AtomicBool::new(false);
        let app = App(Arc::new(Parts { home, clock, tasks, metrics, board, turns, is_ready }));
        lists.read_files(&app).await?;
        look(&app).await?;
        let router = http::router(app.clone(), &Limiter::from_settings(settings, |_| false));
        Ok(Self { app, server, router, lists })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Serves until the tasks are stopped, then finishes what was begun.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let Self { app, server, router, lists } = self;
        let tasks = app.tasks.clone();
        tasks.spawn_essential("state", look_now_and_then(app.clone()));
        tasks.spawn_essential("log lists", lists.follow(app));
        server.run(router, &tasks).await?;
        tasks.stop();
        tasks.finish(GRACE).await
    }
}

/// Answers a request to add a checkpoint, and says what it did.
async fn cosign(app: &App, body: &[u8]) -> Result<Cosignature, NotCosigned> {
    let request = match Request::parse(body) {
        Ok(request) => request,
        Err(malformed) => {
            let refused = NotCosigned::from(Refusal::from(malformed));
            app.metrics.refused(None, refused.reason());
            return Err(refused);
        }
    };
    let turn = app.turn(request.origin()).await;
    let held = app.clone();
    // What was begun is finished and told even if the log has hung up.
    let answered = app.tasks.spawn_blocking(move || {
        let answer = held.cosign(request);
        drop(turn);
        answer
    });
    answered.await.unwrap_or(Err(NotCosigned::Busy))
}

impl Parts {
    /// Waits until no other request of this log is worked on.
    async fn turn(&self, origin: &str) -> OwnedMutexGuard<()> {
        let place = usize::from(Hash::of(origin.as_bytes()).as_bytes()[0]) % TURNS;
        Arc::clone(&self.turns[place]).lock_owned().await
    }

    fn cosign(&self, request: Request) -> Result<Cosignature, NotCosigned> {
        let (origin, start) = (request.origin().to_owned(), Instant::now());
        let answer = answer::cosign(&self.home, request, &*self.clock);
        match &answer {
            Ok(cosignature) => {
                let size = cosignature.tree.size;
                self.metrics.cosigned(&origin, size, self.clock.now(), start.elapsed());
                if let Some(note) = &cosignature.note {
                    self.board.show(Hash::of(origin.as_bytes()), size, note);
                }
                tracing::info!(log.origin = origin, tree.size = size.get(), "cosigned");
            }
            Err(error) => self.tell(&origin, error),
        }
        answer
    }

    fn tell(&self, origin: &str, error: &NotCosigned) {
        let is_known = *error != NotCosigned::Refused(Refusal::UnknownLog);
        let reason = error.reason();
        self.metrics.refused(is_known.then_some(origin), reason);
        match error {
            NotCosigned::Refused(Refusal::Inconsistent(_) | Refusal::OtherRoot)
            | NotCosigned::Equivocated { .. } => {
                tracing::warn!(log.origin = origin, reason, "not cosigned: {error}");
            }
            _ => tracing::debug!(log.origin = origin, reason, "not cosigned: {error}"),
        }
        if let Some(failure) = error.fatal() {
            self.tasks.fail(failure);
        }
    }

    /// Shows what the state says.
    fn show(&self, logs: &BTreeMap<LogName, LogState>) {
        self.metrics.show(logs);
        let served: BTreeMap<Hash, &LogState> = logs
            .iter()
            .filter(|(_, state)| state.trusted().is_some())
            .map(|(log, state)| (log.hash(), state))
            .collect();
        for (log, state) in &served {
            if let Some(note) = self.home.published(state) {
                self.board.show(*log, state.tree().size, &note);
            }
        }
        self.board.keep(|log| served.contains_key(log));
    }
}

/// Reads the state, and shows what is new in it.
async fn look(app: &App) -> Result<(), StateError> {
    let held = app.clone();
    let looked = app.tasks.spawn_blocking(move || {
        let logs = held.home.logs();
        held.is_ready.store(logs.is_ok(), Ordering::Relaxed);
        held.show(&logs?);
        Ok(())
    });
    // It cannot panic, and is never aborted.
    looked.await.unwrap_or(Ok(()))
}

async fn look_now_and_then(app: App) -> Result<(), Failure> {
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = app.tasks.stopping() => return Ok(()),
        }
        let failure = look(&app).await.err().and_then(|error| NotCosigned::from(error).fatal());
        if let Some(failure) = failure {
            return Err(failure);
        }
    }
}
