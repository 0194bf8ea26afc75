//! A running leader: its parts, put together.

use std::collections::HashSet;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use diogenes_common::backup::{self, Scheduled};
use diogenes_common::clock::{Clock, Timestamp};
use diogenes_common::config::{
    APPEND_POLICY, DATA_DIR, ENDORSEMENT_ACTIVATION_DELAY_SECONDS, HEARTBEAT, LEGACY_CHALLENGE,
    LISTEN, Loader, MAX_QUIET, MIN_FREE, OPERATOR_TOKEN, REQUIRE_KEY_PROOF, Settings,
};
use diogenes_common::describe::{describe, limited};
use diogenes_common::exit::Failure;
use diogenes_common::files::{self, DataDir, FileLock, Role};
use diogenes_common::head::{EPOCH, Origin};
use diogenes_common::keys::SigningKey;
use diogenes_common::note::{KeyKind, Vkey};
use diogenes_common::read::{
    self, Facts, GraphSetup, LogFacts, Published, Reads, Setup, StatusBoard,
};
use diogenes_common::reload::Reloader;
use diogenes_common::schedule::Ticks;
use diogenes_common::server::Server;
use diogenes_common::server::https::HttpsPolicy;
use diogenes_common::server::limits::{Class, Limiter};
use diogenes_common::server::tls::Tls;
use diogenes_common::shutdown::Tasks;
use diogenes_common::supervisor::Supervisor;
use diogenes_common::telemetry::{self, Logging};
use diogenes_common::wire::node::{NodeRole, QuorumRule};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;

use crate::alive::alive;
use crate::app::{App, Parts as AppParts};
use crate::attestations;
use crate::auth::{self, Auth, OperatorToken};
use crate::boot::{self, Booted};
use crate::cosigning::{self, Asked, Cosigning, Decided, Publisher};
use crate::metrics::Metrics;
use crate::peers::{self, Confirmation, Identity, Peers};
use crate::sequencer::{ClockGuard, GuardKeeper, Parts, Sequencer};
use crate::webhooks::{self, Webhooks};
use crate::{
    anchor, claims, composite, endorsements, entries, federation, keys, operator, scrub, trust,
    witnessing,
};

/// What `serve` takes besides the settings.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// The operator vouches that the database has this many entries and is the newest.
    pub accept_size: Option<u64>,
    /// The operator vouches for the clock.
    pub accept_clock: bool,
}

/// A leader that is up: it listens, and nothing is answered before [`Leader::run`].
pub struct Leader {
    tasks: Tasks,
    server: Server,
    router: Router,
    app: App,
    sequencer: Sequencer,
    cosigned: Publisher,
    asked: Vec<Asked>,
    guard_task: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>,
    stop_writing: CancellationToken,
    stop_guard: CancellationToken,
    min_free: u64,
    settings: Settings,
    data: DataDir,
    operator: Arc<SigningKey>,
    verifications: Option<Ticks>,
    backups: Option<Scheduled>,
    is_new: bool,
    confirmation: Confirmation,
    _directory_lock: FileLock,
}

impl Leader {
    /// Opens or makes the log, and listens.
    pub async fn start(
        settings: &Settings,
        options: Options,
        clock: Arc<dyn Clock>,
        tasks: Tasks,
    ) -> Result<Self, Failure> {
        let tls = Tls::from_settings(settings, clock.clone())?;
        let mut booted = boot::boot(settings, options.accept_size, &*clock).await?;
        let verifications = read::verify_schedule(settings).await?;
        let backups = Scheduled::of(settings).await?;
        let node_metrics = telemetry::Metrics::new(Role::Leader, env!("CARGO_PKG_VERSION"));
        let metrics = Arc::new(Metrics::register(&node_metrics));
        let server = bind(settings, node_metrics.clone()).await?.with_tls(tls);
        let confirmation = confirmed(settings, &mut booted, &*clock).await?;
        let Booted { data, store, operator, opened, not_signing, is_new, floor, .. } = booted;
        let token = token(settings, &data)?;
        let vkey = log_vkey(&opened.head.origin, &operator);
        let decided = Decided::from_settings(settings, &vkey)?;
        let cosigned = Publisher::start(&decided, vkey, &store, &opened, &*clock).await?;
        let published = Arc::new(Published::default());
        let (stop_writing, stop_guard) = (CancellationToken::new(), CancellationToken::new());
        let (guard, guard_task) =
            GuardKeeper::start(data.path().to_owned(), node_metrics.clone(), stop_guard.clone());
        let (origin, log_id) = (opened.head.origin.clone(), opened.log_id);
        let last_head = (!is_new).then_some(opened.head.timestamp);
        let heartbeat = settings.value(&HEARTBEAT);
        let (sequencer, handle) = Sequencer::new(Parts {
            store: store.clone(),
            opened: Some(opened),
            database_lock: booted.database_lock,
            operator: operator.clone(),
            clock: clock.clone(),
            clock_guard: ClockGuard::start(&*clock, last_head, options.accept_clock),
            floor: floor.unwrap_or(Timestamp::from_millis(0).expect("1970 is a time")),
            guard,
            heartbeat,
            published: published.clone(),
            metrics: metrics.clone(),
            not_signing,
        })
        .await?;
        let (log_origin, key) = (origin.clone(), operator.public().clone());
        let log = LogFacts { origin: log_origin, log_id, epoch: EPOCH, operator: key };
        let (facts, _) = watch::channel(Arc::new(facts(log, heartbeat)));
        let round = watch::Sender::new(None);
        let reads = Reads::new(Setup {
            store: store.clone(),
            published: published.clone(),
            round: round.subscribe(),
            facts: facts.subscribe(),
            checkpoints: cosigned.board().clone(),
            board: StatusBoard::default(),
            clock: clock.clone(),
            graph: GraphSetup::new(settings, &node_metrics),
            tasks: tasks.clone(),
        });
        let limiter = Limiter::from_settings(settings, move |headers| token.is_in(headers));
        let app = App::new(AppParts {
            store,
            sequencer: handle,
            reads,
            published,
            round,
            facts,
            cosigning: Cosigning::new(&decided),
            webhooks: Webhooks::from_settings(settings, clock.clone(), origin.clone())?,
            limiter,
            operator: operator.public().clone(),
            auth: Auth::new(&booted.session_key, &origin, settings.value(&LEGACY_CHALLENGE)),
            origin,
            token,
            append_policy: settings.value(&APPEND_POLICY),
            activation_delay_millis: 1_000
                * i64::from(settings.value(&ENDORSEMENT_ACTIVATION_DELAY_SECONDS)),
            require_key_proof: settings.value(&REQUIRE_KEY_PROOF),
            heartbeat,
            max_quiet: settings.value(&MAX_QUIET),
            clock,
            metrics,
            node_metrics,
            running: Mutex::new(HashSet::new()),
        });
        Ok(Self {
            tasks,
            server,
            router: router(&app),
            app,
            sequencer,
            guard_task: Box::pin(guard_task),
            stop_writing,
            stop_guard,
            cosigned,
            asked: decided.asked,
            min_free: settings.value(&MIN_FREE).bytes(),
            settings: settings.clone(),
            data,
            operator,
            verifications,
            backups,
            is_new,
            confirmation,
            _directory_lock: booted.directory_lock,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The same as a URL.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// From now on takes new settings on SIGHUP, and tells the supervisor that the environment names
    /// how the leader does.
    pub fn attend(&self, loader: Loader, logging: Logging) -> Result<(), Failure> {
        let supervisor = Supervisor::from_environment(loader.environment());
        let reloader = Reloader::new(loader, &self.settings)
            .with(self.app.limiter.clone())
            .with_some(self.server.tls().cloned())
            .with(logging);
        let status = format!("leads {} at {}", self.origin(), self.url());
        let app = self.app.clone();
        supervisor.attend(&self.tasks, reloader, status, move || alive(app.clone()))
    }

    /// Whether this start made the log.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// The log's name.
    pub fn origin(&self) -> &str {
        self.app.origin.as_str()
    }

    /// Serves until the tasks are stopped, then finishes what was begun.
    pub async fn run(self) -> Result<(), Failure> {
        self.run_with(Sequencer::run).await
    }

    /// The same, but nothing is stored: for measuring what the database costs.
    #[cfg(feature = "ceiling")]
    pub async fn run_storing_nothing(self) -> Result<(), Failure> {
        self.run_with(Sequencer::run_storing_nothing).await
    }

    async fn run_with<W>(
        self,
        write: impl FnOnce(Sequencer, CancellationToken) -> W,
    ) -> Result<(), Failure>
    where
        W: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let (app, tasks) = (self.app, self.tasks);
        #[expect(clippy::disallowed_methods, reason = "both outlive the tracked tasks")]
        let (writer, guard) = (
            tokio::task::spawn(write(self.sequencer, self.stop_writing.clone())),
            tokio::task::spawn(self.guard_task),
        );
        let rounds = witnessing::rounds(app.clone(), self.cosigned, tasks.token());
        tasks.spawn_essential("witness rounds", rounds);
        for witness in self.asked {
            let asking = cosigning::ask(app.clone(), witness, tasks.token());
            tasks.spawn_essential("cosignatures", asking);
        }
        let peers = peers::watch(app.clone(), self.confirmation, tasks.token());
        tasks.spawn_essential("peers", peers);
        tasks.spawn_essential("status", federation::status(app.clone(), tasks.token()));
        tasks.spawn_essential("checkpoints", app.store.clone().keep_folded(tasks.token()));
        tasks.spawn_essential("webhooks", webhooks::tell(app.clone(), tasks.token()));
        tasks.spawn_essential("upkeep", upkeep(app.clone(), tasks.token()));
        let verifications = app.reads.clone().verify_when_due(self.verifications, tasks.token());
        tasks.spawn_essential("verifications", verifications);
        let scrub = scrub::task(&self.settings, &app)?;
        tasks.spawn_essential("scrub", scrub.run(tasks.token()));
        let last_backup = app.metrics.backups.clone().keep(app.store.clone(), tasks.token());
        tasks.spawn_essential("last backup", last_backup);
        if let Some(backups) = self.backups {
            let source = backup_source(app.clone(), self.data, self.operator);
            tasks.spawn_essential("backups", backups.run(tasks.clone(), source));
        }
        let data_dir = self.settings.value(&DATA_DIR);
        tasks.spawn_essential("disk", watch_disk(data_dir, self.min_free, tasks.token()));
        // The writer outlives the server, so that what was begun is also answered; but without
        // the writer the server has no purpose.
        let watch = tasks.clone();
        let writer = tasks.spawn(async move {
            let result = writer.await.unwrap_or_else(|error| {
                Err(Failure::refused("sequencer", error, "report this as a bug, with the log"))
            });
            if let Err(failure) = &result {
                watch.fail(failure.clone());
            }
            result
        });
        self.server.run(self.router, &tasks).await?;
        tasks.stop();
        self.stop_writing.cancel();
        let written = writer.await.unwrap_or(Ok(()));
        // The last heads of the writer go into the guard as well.
        self.stop_guard.cancel();
        let _ = guard.await;
        app.store.close().await;
        written?;
        tasks.finish(Duration::from_secs(5)).await
    }
}

/// Asks the peers what our own key signed, before this start signs anything itself.
async fn confirmed(
    settings: &Settings,
    booted: &mut Booted,
    clock: &dyn Clock,
) -> Result<Confirmation, Failure> {
    let peers = Peers::from_settings(settings)?;
    // Of a key that was made just now nobody can have seen anything.
    if booted.is_new {
        return Ok(Confirmation::alone(peers, booted.not_signing));
    }
    let key = booted.operator.public().clone();
    let identity = Identity { key, origin: booted.opened.head.origin.clone() };
    let held = (&booted.store, booted.opened.chain.edge());
    let confirmation = peers::confirm(peers, booted.not_signing, &identity, held, clock).await?;
    booted.decided(confirmation.not_signing).await?;
    booted.floor = booted.floor.max(confirmation.floor);
    Ok(confirmation)
}

/// What is backed up, now. The newest head is signed only if the leader signs at all.
fn backup_source(
    app: App,
    data: DataDir,
    operator: Arc<SigningKey>,
) -> impl Fn() -> backup::Source {
    move || backup::Source {
        role: Role::Leader,
        version: env!("CARGO_PKG_VERSION"),
        data: data.clone(),
        store: app.store.clone(),
        signer: app.sequencer.not_signing().is_none().then(|| operator.clone()),
        clock: app.clock.clone(),
    }
}

/// What the leader says about itself before it knows any witness.
fn facts(log: LogFacts, heartbeat: Duration) -> Facts {
    Facts {
        role: NodeRole::Leader,
        version: env!("CARGO_PKG_VERSION"),
        log: Some(log),
        leader_url: None,
        heartbeat_seconds: heartbeat.as_secs().max(1),
        witness_quorum: QuorumRule { required: 0, of: 0 },
    }
}

async fn bind(settings: &Settings, metrics: telemetry::Metrics) -> Result<Server, Failure> {
    let https = HttpsPolicy::from_settings(settings);
    Server::bind(settings.value(&LISTEN), https, metrics).await
}

/// The operator's token: from the settings, else from the data directory, where it is made.
fn token(settings: &Settings, data: &DataDir) -> Result<OperatorToken, Failure> {
    match settings.value(&OPERATOR_TOKEN) {
        Some(secret) if secret.expose().len() < 16 => Err(Failure::unsafe_state(
            "weak_secret",
            "OPERATOR_TOKEN has fewer than 16 characters",
            "use 32 random bytes, or leave it out: a token is made in the data directory",
        )),
        Some(secret) => Ok(OperatorToken::new(secret.expose())),
        None => Ok(OperatorToken::new(&data.secret("operator-token")?)),
    }
}

/// The log's key as C2SP writes it, named after the log.
fn log_vkey(origin: &Origin, operator: &SigningKey) -> Vkey {
    let name = origin.as_str().parse().expect("an origin is a key name");
    Vkey::new(name, KeyKind::Ed25519, operator.public().clone())
}

fn router(app: &App) -> Router {
    let (router, document) = routes(&app.limiter).split_for_parts();
    router.merge(read::openapi(&document)).with_state(app.clone())
}

/// The `OpenAPI` document of everything that a leader answers.
pub(crate) fn openapi_json() -> Result<String, Failure> {
    let limiter = Limiter::unlimited();
    let (_, document) = routes(&limiter).split_for_parts();
    serde_json::to_string_pretty(&describe(&document))
        .map_err(|error| Failure::refused("openapi", error, "report this as a bug"))
}

fn routes(limiter: &Limiter) -> OpenApiRouter<App> {
    let of = |class, routes| limited(limiter, class, routes);
    OpenApiRouter::new()
        .merge(of(Class::Query, entries::router()))
        .merge(of(Class::Query, anchor::router()))
        .merge(of(Class::Query, auth::router()))
        .merge(of(Class::Query, keys::router()))
        .merge(of(Class::Query, attestations::router()))
        .merge(of(Class::Query, endorsements::router()))
        .merge(of(Class::Query, trust::router()))
        .merge(of(Class::Query, claims::router()))
        .merge(of(Class::Query, composite::router()))
        .merge(of(Class::Federation, witnessing::router()))
        .merge(of(Class::Federation, federation::router()))
        .merge(of(Class::Query, operator::router()))
        .merge(of(Class::Query, webhooks::router()))
        .merge(read::router(limiter))
}

/// Now and then: old heads and cosignatures are thinned, old idempotency keys and challenges
/// forgotten.
async fn upkeep(app: App, stop: CancellationToken) -> Result<(), Failure> {
    let mut ticks = tokio::time::interval(Duration::from_secs(600));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return Ok(()),
        }
        let now = app.clock.now();
        if let Err(error) = app.store.thin_heads(now).await {
            tracing::warn!(%error, "old heads could not be thinned");
        }
        if let Err(error) = app.store.expire_remembered(now).await {
            tracing::warn!(%error, "old idempotency keys could not be deleted");
        }
        if let Err(error) = webhooks::tidy(&app, now).await {
            tracing::warn!(%error, "old deliveries could not be deleted");
        }
        if let Err(error) = auth::forget_challenges(&app, now).await {
            tracing::warn!(%error, "old challenges could not be deleted");
        }
        if let Err(error) = app.store.thin_cosignatures(app.cosigning.quorum_size()).await {
            tracing::warn!(%error, "old cosignatures could not be thinned");
        }
    }
}

/// Stops the leader before the disk is full: a log that can't be written must not half work.
async fn watch_disk(
    data_dir: std::path::PathBuf,
    min_free: u64,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let mut ticks = tokio::time::interval(Duration::from_secs(10));
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return Ok(()),
        }
        let free = files::free_space(&data_dir)?;
        if free < min_free {
            return Err(Failure::disk(
                "disk_full",
                format!(
                    "{free} bytes are free where {} is kept, less than MIN_FREE",
                    data_dir.display()
                ),
                "free some space, or lower MIN_FREE, then start again",
            ));
        }
    }
}
