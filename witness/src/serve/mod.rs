//! A witness that logs ask for cosignatures: its parts, put together.

mod answer;
mod board;
mod http;
pub(crate) mod lists;
mod memory;
mod metrics;
mod pace;
#[cfg(test)]
mod tests;
mod turns;

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use diogenes_common::clock::Clock;
use diogenes_common::config::{ALLOW_HTTP, LISTEN, LOG_LISTS, Loader, Settings};
use diogenes_common::exit::Failure;
use diogenes_common::merkle::Hash;
use diogenes_common::reload::Reloader;
use diogenes_common::server::Server;
use diogenes_common::server::https::HttpsPolicy;
use diogenes_common::server::limits::Limiter;
use diogenes_common::server::tls::Tls;
use diogenes_common::shutdown::Tasks;
use diogenes_common::supervisor::{Pulse, Supervisor};
use diogenes_common::telemetry::Logging;
use diogenes_common::trace::Trace;
use tokio::sync::OwnedMutexGuard;

use self::answer::{Cosignature, NotCosigned};
use self::board::Board;
use self::lists::Lists;
use self::memory::Confirmed;
use self::metrics::Metrics;
use self::pace::Pace;
use self::turns::{Turn, Turns};
use crate::add_checkpoint::{Refusal, Request, recognise};
use crate::agent::Agent;
use crate::log::LogName;
use crate::source::Transport;
use crate::state::{Home, LogState, StateError};

/// How often the state is read for what another process did.
const LOOK: Duration = Duration::from_secs(60);

/// How long a stop waits for what was begun.
const GRACE: Duration = Duration::from_secs(10);

/// How long a request waits for the others of its log.
const PATIENCE: Duration = Duration::from_secs(10);

/// A witness that is up: it listens, and nothing is answered before [`Witness::run`].
pub(crate) struct Witness {
    app: App,
    server: Server,
    router: Router,
    lists: Lists,
    limiter: Limiter,
    settings: Settings,
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
    turns: Turns,
    confirmed: Confirmed,
    /// Whether the state could be read the last time.
    is_ready: AtomicBool,
    /// Shows that the state is read again and again.
    pulse: Pulse,
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
        let tls = Tls::from_settings(settings, clock.clone())?;
        let metrics = Metrics::new();
        let https = HttpsPolicy::from_settings(settings);
        let server = Server::bind(settings.value(&LISTEN), https, metrics.node().clone()).await?;
        let server = server.with_tls(tls);
        let lists = Lists::new(&settings.value(&LOG_LISTS), settings.value(&ALLOW_HTTP))?;
        let (turns, board) = (Turns::default(), Board::default());
        let is_ready = AtomicBool::new(false);
        let (confirmed, pulse) = (Confirmed::default(), Pulse::default());
        let parts = Parts { home, clock, tasks, metrics, board, turns, confirmed, is_ready, pulse };
        let app = App(Arc::new(parts));
        lists.read_files(&app).await?;
        look(&app).await?;
        let limiter = Limiter::from_settings(settings, |_| false);
        let router = http::router(app.clone(), &limiter);
        Ok(Self { app, server, router, lists, limiter, settings: settings.clone() })
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> String {
        self.server.url()
    }

    /// From now on takes new settings on SIGHUP, and tells the supervisor that the environment names
    /// how the witness does.
    pub(crate) fn attend(&self, loader: Loader, logging: Logging) -> Result<(), Failure> {
        let supervisor = Supervisor::from_environment(loader.environment());
        let reloader = Reloader::new(loader, &self.settings)
            .with(self.limiter.clone())
            .with_some(self.server.tls().cloned())
            .with(logging);
        let (status, pulse) = (format!("cosigns at {}", self.url()), self.app.pulse.clone());
        supervisor.attend(&self.app.tasks, reloader, status, move || {
            std::future::ready(pulse.felt("the reading of the state"))
        })
    }

    /// Asks a server of a log of this kind what it holds under the own key; the log is cosigned
    /// once it has answered.
    pub(crate) fn confirm<T: Transport>(&self, agent: Agent<T>) {
        self.app.tasks.spawn(memory::confirm(self.app.clone(), agent));
    }

    /// Serves until the tasks are stopped, then finishes what was begun.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let Self { app, server, router, lists, .. } = self;
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
    let turn = match app.turn(&request).await {
        Ok(turn) => turn,
        Err((label, refused)) => {
            app.tell(request.origin(), label, &refused);
            return Err(refused);
        }
    };
    let (held, trace) = (app.clone(), Trace::current());
    // What was begun is finished and told even if the log has hung up.
    let answered =
        app.tasks.spawn_blocking(move || Trace::carry(trace, || held.cosign(request, turn)));
    answered.await.unwrap_or(Err(NotCosigned::Busy))
}

/// Whether refusals may be counted under the name of the log: only those of listed logs, because
/// strangers choose the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Label {
    Own,
    Shared,
}

impl App {
    /// Waits until no other request of this log is worked on; who is not known, or did not sign,
    /// waits for nobody and keeps nobody waiting.
    async fn turn(&self, request: &Request) -> Result<OwnedMutexGuard<Pace>, (Label, NotCosigned)> {
        let turn = match self.recognised(request) {
            Ok(turn) => turn,
            // Another process may have listed the log, or another key of it, a moment ago.
            Err(_) if self.turns.may_look(Instant::now()) => {
                self.look_up(request.origin().to_owned())
                    .await
                    .map_err(|error| (Label::Shared, error.into()))?;
                self.recognised(request)?
            }
            Err(refused) => return Err(refused),
        };
        let waited = tokio::time::timeout(PATIENCE, turn.lock_owned()).await;
        waited.map_err(|_| (Label::Own, NotCosigned::Busy))
    }

    /// Finds a log that is listed and signed this.
    fn recognised(&self, request: &Request) -> Result<Turn, (Label, NotCosigned)> {
        let Some((keys, turn)) = self.turns.of(request.origin()) else {
            return Err((Label::Shared, Refusal::UnknownLog.into()));
        };
        recognise(request.clone(), Some(&keys)).map_err(|refusal| (Label::Own, refusal.into()))?;
        Ok(turn)
    }

    /// Reads of one log whether it may ask.
    async fn look_up(&self, origin: String) -> Result<(), StateError> {
        let held = self.clone();
        let looked = self.tasks.spawn_blocking(move || {
            let state = held.home.log(&origin)?;
            if let Some(keys) = state.and_then(|state| state.trusted()) {
                held.turns.know(&origin, keys);
            }
            Ok(())
        });
        looked.await.unwrap_or(Ok(()))
    }
}

impl Parts {
    fn cosign(
        &self,
        request: Request,
        mut turn: OwnedMutexGuard<Pace>,
    ) -> Result<Cosignature, NotCosigned> {
        if self.tasks.is_stopping() {
            // Perhaps because the state of all logs was put back.
            return Err(NotCosigned::Busy);
        }
        let (origin, start) = (request.origin().to_owned(), Instant::now());
        let (grows, quota) = (request.asks_to_grow(), self.turns.quota(request.origin()));
        let answer = match turn.wait(quota, start).filter(|_| grows) {
            Some(wait) => Err(NotCosigned::TooOften { retry_after: wait.as_secs() + 1 }),
            None => answer::cosign(&self.home, request, &self.confirmed, &*self.clock),
        };
        if grows && answer.is_ok() {
            turn.step(quota, start);
        }
        drop(turn);
        match &answer {
            Ok(cosignature) => {
                let size = cosignature.tree.size;
                self.metrics.cosigned(&origin, size, self.clock.now(), start.elapsed());
                if let Some(note) = &cosignature.note {
                    self.board.show(Hash::of(origin.as_bytes()), size, note);
                }
                tracing::info!(log.origin = origin, tree.size = size.get(), "cosigned");
            }
            Err(error) => self.tell(&origin, Label::Own, error),
        }
        answer
    }

    fn tell(&self, origin: &str, label: Label, error: &NotCosigned) {
        let is_delisted = *error == NotCosigned::Refused(Refusal::UnknownLog);
        let is_own = label == Label::Own && !is_delisted;
        let reason = error.reason();
        self.metrics.refused(is_own.then_some(origin), reason);
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
        self.turns.show(logs);
        let served: BTreeMap<Hash, &LogState> = logs
            .iter()
            .filter(|(_, state)| state.trusted().is_some())
            .map(|(log, state)| (log.hash(), state))
            .collect();
        for (log, state) in &served {
            match self.home.published(state) {
                Some(note) => self.board.show(*log, state.tree().size, &note),
                None if state.has_signed_nothing() => self.board.show_nothing(*log),
                None => {}
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
            () = app.pulse.while_waiting(tokio::time::sleep(LOOK)) => {}
            () = app.tasks.stopping() => return Ok(()),
        }
        let failure = look(&app).await.err().and_then(|error| NotCosigned::from(error).fatal());
        if let Some(failure) = failure {
            return Err(failure);
        }
    }
}
