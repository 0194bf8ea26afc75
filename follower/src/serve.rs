//! A running follower: its parts, put together.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use diogenes_common::backup::{self, Scheduled};
use diogenes_common::clock::Clock;
use diogenes_common::config::{
    LISTEN, Loader, MIN_FREE, POLL, REPLICATE_FORMAT, ReplicateFormat, Settings,
};
use diogenes_common::exit::Failure;
use diogenes_common::files::{DataDir, FileLock, Role};
use diogenes_common::head::EPOCH;
use diogenes_common::keys::{Fingerprint, SigningKey};
use diogenes_common::read::{
    self, CheckpointBoard, Facts, GraphSetup, LogFacts, Reads, StatusBoard,
};
use diogenes_common::reload::Reloader;
use diogenes_common::schedule::Ticks;
use diogenes_common::scrub::{Parts, Peers, ScrubTask};
use diogenes_common::server::Server;
use diogenes_common::server::https::HttpsPolicy;
use diogenes_common::server::limits::Limiter;
use diogenes_common::server::tls::Tls;
use diogenes_common::shutdown::Tasks;
use diogenes_common::store::ExclusiveLock;
use diogenes_common::supervisor::Supervisor;
use diogenes_common::telemetry::Logging;
use diogenes_common::wire::node::{NodeRole, QuorumRule};
use diogenes_common::wire::status::{
    Colour, ErrorClass, MirrorStatus, ReplicationStatus, Upstream as UpstreamStatus, Verdict,
};
use tokio::sync::watch;
use utoipa_axum::router::OpenApiRouter;

use crate::boot::{self, Booted, Upstream};
use crate::http::{self as routes, App};
use crate::metrics::Metrics;
use crate::mirror::Mirror;
use crate::moved::Moving;
use crate::published::Follow;
use crate::replica::{Class, Event, Now};
use crate::report;
use crate::share;
use crate::sync::source::Source;
use crate::sync::{self, Shared, Stages};

/// The first wait after a failure of a source.
const FIRST_RETRY: Duration = Duration::from_millis(500);
/// How often the sources are asked what they say about themselves.
const FACTS_EVERY: Duration = Duration::from_secs(300);
/// How often old heads are thinned.
const UPKEEP_EVERY: Duration = Duration::from_secs(600);
/// How long the status waits for the database.
const STORE_PATIENCE: Duration = Duration::from_millis(500);
/// How soon again if none answered.
const FACTS_RETRY: Duration = Duration::from_secs(5);

/// A follower that is up: it listens, and nothing is answered or fetched before
/// [`Follower::run`].
pub struct Follower {
    tasks: Tasks,
    server: Server,
    router: Router,
    app: App,
    stages: Stages,
    published: Follow,
    key: Arc<SigningKey>,
    operator: Fingerprint,
    facts: watch::Sender<Arc<Facts>>,
    round: watch::Sender<Option<Arc<str>>>,
    data: DataDir,
    verifications: Option<Ticks>,
    backups: Option<Scheduled>,
    limiter: Limiter,
    settings: Settings,
    listeners: Vec<Arc<Source>>,
    _database_lock: ExclusiveLock,
    _directory_lock: FileLock,
}

/// Starts a follower and serves until the tasks are stopped.
pub async fn serve(
    settings: &Settings,
    clock: Arc<dyn Clock>,
    tasks: Tasks,
) -> Result<(), Failure> {
    Follower::start(settings, clock, tasks).await?.run().await
}

impl Follower {
    /// Opens or makes the data directory, checks what it holds, and listens.
    pub async fn start(
        settings: &Settings,
        clock: Arc<dyn Clock>,
        tasks: Tasks,
    ) -> Result<Self, Failure> {
        let tls = Tls::from_settings(settings, clock.clone())?;
        let Booted { data, key, store, upstream, database_lock, directory_lock } =
            boot::boot(settings).await?;
        let verifications = read::verify_schedule(settings).await?;
        let backups = Scheduled::of(settings).await?;
        let metrics = Metrics::new();
        let https = HttpsPolicy::from_settings(settings);
        let server = Server::bind(settings.value(&LISTEN), https, metrics.node().clone()).await?;
        let server = server.with_tls(tls);
        let min_free = settings.value(&MIN_FREE).bytes();
        let (shared, stages) = sync::open(sync::Setup {
            store: store.clone(),
            trust: upstream.trust(),
            sources: upstream.sources.clone(),
            poll: settings.value(&POLL),
            first_retry: FIRST_RETRY,
            clock: clock.clone(),
            tasks: tasks.clone(),
            metrics,
            data_dir: data.path().to_owned(),
            min_free: (min_free > 0).then_some(min_free),
            name: format!("follower {}", key.fingerprint()),
            json_only: settings.value(&REPLICATE_FORMAT) == ReplicateFormat::Json,
        })
        .await?;
        let mirror = Mirror::of(settings, &data)?;
        if let Some(mirror) = &mirror {
            tracing::info!(vkey = %mirror.vkey(), "published checkpoints are cosigned as mirrored");
        }
        let checkpoints = CheckpointBoard::default();
        let facts = watch::Sender::new(Arc::new(first_facts(&upstream, &shared)));
        let round = watch::Sender::new(None);
        let reads = Reads::new(read::Setup {
            store,
            published: shared.published.clone(),
            round: round.subscribe(),
            facts: facts.subscribe(),
            checkpoints: checkpoints.clone(),
            board: StatusBoard::default(),
            clock,
            graph: GraphSetup::new(settings, shared.metrics.node()),
            tasks: tasks.clone(),
        });
        let published = Follow::start(
            shared.clone(),
            &upstream.sources,
            checkpoints,
            mirror,
            settings.value(&POLL),
        )
        .await;
        let app = App { reads, shared, sources: upstream.sources.clone().into() };
        let limiter = Limiter::from_settings(settings, |_| false);
        let router = router(&app, &limiter);
        let operator = upstream.operator;
        let listeners = share::listeners(settings, &upstream.sources)?;
        Ok(Self {
            tasks,
            server,
            router,
            app,
            stages,
            published,
            key,
            operator,
            facts,
            round,
            data,
            verifications,
            backups,
            limiter,
            settings: settings.clone(),
            listeners,
            _database_lock: database_lock,
            _directory_lock: directory_lock,
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
    /// how the follower does.
    pub fn attend(&self, loader: Loader, logging: Logging) -> Result<(), Failure> {
        let supervisor = Supervisor::from_environment(loader.environment());
        let reloader = Reloader::new(loader, &self.settings)
            .with(Moving {
                shared: self.app.shared.clone(),
                sources: self.app.sources.clone(),
                operator: self.operator,
            })
            .with(self.limiter.clone())
            .with_some(self.server.tls().cloned())
            .with(logging);
        let status = format!("mirrors {} at {}", self.app.sources[0].url(), self.url());
        let pulse = self.app.shared.pulse.clone();
        supervisor.attend(&self.tasks, reloader, status, move || {
            std::future::ready(pulse.felt("replication"))
        })
    }

    /// The fingerprint of this follower's own key.
    pub fn fingerprint(&self) -> Fingerprint {
        self.key.fingerprint()
    }

    /// Mirrors and serves until the tasks are stopped, then finishes what was begun.
    pub async fn run(self) -> Result<(), Failure> {
        let Self { tasks, app, key, operator, facts, round, data, .. } = self;
        let shared = app.shared.clone();
        self.stages.start();
        let sources = app.sources.to_vec();
        let store = shared.store.clone();
        tasks.spawn_essential("checkpoints", store.keep_folded(tasks.token()));
        tasks.spawn_essential("upkeep", upkeep(shared.clone()));
        tasks.spawn_essential("published checkpoint", self.published.run());
        tasks.spawn_essential("report", report::run(shared.clone(), sources.clone(), key.clone()));
        tasks.spawn_essential("facts", keep_facts(shared.clone(), sources, facts));
        for listener in self.listeners {
            tasks.spawn_essential("evidence", share::run(shared.clone(), listener));
        }
        tasks.spawn_essential("rounds", show_rounds(shared.clone(), round));
        tasks.spawn_essential("status", keep_status(app.clone(), key.fingerprint(), operator));
        let verifications = app.reads.clone().verify_when_due(self.verifications, tasks.token());
        tasks.spawn_essential("verifications", verifications);
        let scrub = scrub(&self.settings, &app)?;
        tasks.spawn_essential("scrub", scrub.run(tasks.token()));
        let last_backup = shared.metrics.backups().clone();
        let last_backup = last_backup.keep(shared.store.clone(), tasks.token());
        tasks.spawn_essential("last backup", last_backup);
        if let Some(backups) = self.backups {
            let source = backup_source(shared.clone(), data);
            tasks.spawn_essential("backups", backups.run(tasks.clone(), source));
        }
        let served = self.server.run(self.router, &tasks).await;
        tasks.stop();
        let ended = tasks.finish(Duration::from_secs(10)).await;
        shared.store.close().await;
        served.and(ended)
    }
}

/// The scrub, which asks the sources for what is damaged.
fn scrub(settings: &Settings, app: &App) -> Result<ScrubTask, Failure> {
    let sources = app.sources.clone();
    let urls = move || sources.iter().map(|source| source.base()).collect();
    let parts = Parts {
        reads: app.reads.clone(),
        peers: Peers::new(boot::client(settings)?, urls),
        clock: app.shared.clock.clone(),
        metrics: app.shared.metrics.scrub().clone(),
        is_leader: false,
    };
    Ok(ScrubTask::new(settings, parts))
}

/// What is backed up, now.
fn backup_source(shared: Arc<Shared>, data: DataDir) -> impl Fn() -> backup::Source {
    move || backup::Source {
        role: Role::Follower,
        version: env!("CARGO_PKG_VERSION"),
        data: data.clone(),
        store: shared.store.clone(),
        signer: None,
        clock: shared.clock.clone(),
    }
}

fn router(app: &App, limiter: &Limiter) -> Router {
    let (router, document) = OpenApiRouter::<App>::new()
        .merge(routes::router(limiter))
        .merge(read::router(limiter))
        .split_for_parts();
    router
        .merge(read::openapi(&document))
        .fallback(routes::elsewhere)
        .method_not_allowed_fallback(routes::other_method)
        .layer(axum::middleware::from_fn_with_state(app.reads.clone(), read::verified_headers))
        .with_state(app.clone())
}

fn first_facts(upstream: &Upstream, shared: &Shared) -> Facts {
    Facts {
        role: NodeRole::Follower,
        version: env!("CARGO_PKG_VERSION"),
        log: log_facts(shared),
        leader_url: Some(upstream.leader().url()),
        heartbeat_seconds: 60,
        witness_quorum: QuorumRule::default(),
    }
}

fn log_facts(shared: &Shared) -> Option<LogFacts> {
    shared.log().map(|log| LogFacts {
        origin: log.origin().clone(),
        log_id: log.id(),
        epoch: EPOCH,
        operator: log.operator().clone(),
    })
}

/// Thins old heads now and then.
async fn upkeep(shared: Arc<Shared>) -> Result<(), Failure> {
    loop {
        tokio::select! {
            () = shared.tasks.stopping() => return Ok(()),
            () = tokio::time::sleep(UPKEEP_EVERY) => {}
        }
        if let Err(error) = shared.store.thin_heads(shared.clock.now()).await {
            tracing::warn!(%error, "old heads could not be thinned");
        }
    }
}

/// Keeps what this node says about its log up to date. What sources say about themselves is
/// advice: shown, used for intervals, never dialled.
async fn keep_facts(
    shared: Arc<Shared>,
    sources: Vec<Arc<Source>>,
    facts: watch::Sender<Arc<Facts>>,
) -> Result<(), Failure> {
    let mut stored = shared.stored.subscribe();
    loop {
        let heard = ask_for_facts(&shared, &sources, &facts).await;
        // Not what the store knows: it may have learnt it while the sources were asked.
        let known = facts.borrow().log.is_some();
        let pause = if heard { FACTS_EVERY } else { FACTS_RETRY };
        tokio::select! {
            () = shared.tasks.stopping() => return Ok(()),
            // Entry 1 says which log it is, and is not waited for.
            changed = stored.changed(), if !known => {
                if changed.is_err() {
                    return Ok(());
                }
            }
            () = tokio::time::sleep(pause) => {}
        }
        let log = log_facts(&shared);
        facts.send_if_modified(|facts| {
            let news = facts.log.is_none() && log.is_some();
            if news {
                *facts = Arc::new(Facts { log, ..(**facts).clone() });
            }
            news
        });
    }
}

async fn ask_for_facts(
    shared: &Shared,
    sources: &[Arc<Source>],
    facts: &watch::Sender<Arc<Facts>>,
) -> bool {
    for source in sources {
        let known = tokio::select! {
            known = source.well_known() => known,
            () = shared.tasks.stopping() => return false,
        };
        let Ok(known) = known else { continue };
        shared.replica().set_heartbeat(known.heartbeat_seconds);
        let leader_url = match known.role {
            NodeRole::Leader => Some(source.url()),
            NodeRole::Follower => known.leader_url.filter(|url| url.len() <= 255),
        };
        facts.send_modify(|facts| {
            *facts = Arc::new(Facts {
                leader_url: leader_url.or_else(|| facts.leader_url.clone()),
                heartbeat_seconds: known.heartbeat_seconds.clamp(1, 600),
                witness_quorum: known.witness_quorum,
                ..(**facts).clone()
            });
        });
        return true;
    }
    false
}

/// Renders the head of the witnesses' round once for all who ask.
async fn show_rounds(
    shared: Arc<Shared>,
    shown: watch::Sender<Option<Arc<str>>>,
) -> Result<(), Failure> {
    let mut rounds = shared.round.subscribe();
    loop {
        let head = rounds.borrow_and_update().clone();
        let json = head.and_then(|head| serde_json::to_string(&head.json).ok());
        shown.send_replace(json.map(Arc::from));
        tokio::select! {
            () = shared.tasks.stopping() => return Ok(()),
            changed = rounds.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
            }
        }
    }
}

/// Judges and shows the status once a second.
async fn keep_status(app: App, own: Fingerprint, operator: Fingerprint) -> Result<(), Failure> {
    let stop = app.shared.tasks.token();
    let board = app.reads.board().clone();
    board.keep(stop, move || status(app.clone(), own, operator)).await;
    Ok(())
}

async fn status(app: App, own: Fingerprint, operator: Fingerprint) -> Option<ReplicationStatus> {
    let shared = &app.shared;
    shared.on(Event::Tick);
    let now = Now::of(&*shared.clock);
    // The status is shown whether or not the database answers.
    let asked = async {
        let incidents = shared.store.incidents(true).await.unwrap_or_default();
        let profiles = shared.store.profiles([&own]).await.unwrap_or_default();
        (incidents, profiles.into_iter().next())
    };
    let (incidents, profile) =
        tokio::time::timeout(STORE_PATIENCE, asked).await.unwrap_or_default();
    let status = shared.replica().status(now);
    shared.metrics.show(&status);
    shared.metrics.incidents(&incidents);
    let upstreams =
        app.sources.iter().zip(&status.upstreams).map(|(source, upstream)| UpstreamStatus {
            url: source.url(),
            fingerprint: operator,
            last_contact: upstream.last_contact,
            error: upstream.error.map(str::to_owned),
        });
    let mirror = MirrorStatus {
        status: status.verdict.status,
        reason: status.verdict.reason.map(str::to_owned),
        class: status.verdict.class.map(|class| match class {
            Class::Transient => ErrorClass::Transient,
            Class::Latched => ErrorClass::Latched,
        }),
        since: Some(status.since),
        retry_at: status.retry_at,
        evidence: status.evidence.map(read::href),
        next_action: status.next_action.map(str::to_owned),
        origin: shared.log().map(|log| log.origin().clone()),
        fingerprint: Some(own),
        display_name: profile.map(|profile| profile.display_name),
        tree_size: status.tree.size,
        root_hash: status.tree.hash,
        leader_tree_size: status.leader_tree_size,
        head_timestamp: status.head_timestamp,
        last_contact: status.last_contact,
        lag_entries: status.lag_entries,
        lag_seconds: status.lag_seconds,
        entries_per_second: status.entries_per_second,
        eta_seconds: status.eta_seconds,
        upstreams: upstreams.collect(),
        incidents_open: incidents.len() as u64,
        verdict: Verdict { colour: Colour::Amber, sentence: String::new() },
    };
    Some(ReplicationStatus::Follower(Box::new(mirror.judged(now.wall))))
}

#[cfg(test)]
mod tests {
    use ::http::Method;
    use diogenes_common::client::{BaseUrl, Client, FetchError, Reach};
    use diogenes_common::config::{
        DATA_DIR, Environment, FEDERATION_OPERATORS, FEDERATION_ROLE, Flags,
    };
    use diogenes_common::head::HeadJson;
    use diogenes_common::statement::FollowerStatus;
    use tempfile::TempDir;

    use super::*;
    use crate::sync::testing::{FakeLeader, TestClock, TestLog, at, eventually};

    struct Running {
        client: Client,
        url: BaseUrl,
        tasks: Tasks,
        ended: tokio::task::JoinHandle<Result<(), Failure>>,
        fingerprint: Fingerprint,
        _directory: TempDir,
    }

    fn settings(directory: &TempDir, operators: &str) -> Settings {
        let flags = Flags::new()
            .with(&DATA_DIR, Some(directory.path().join("follower").display()))
            .with(&LISTEN, Some("127.0.0.1:0"))
            .with(&FEDERATION_OPERATORS, Some(operators))
            .with(&POLL, Some("50ms"))
            .with(&MIN_FREE, Some("0"));
        Settings::load(Role::Follower, flags, &Environment::default()).expect("settings")
    }

    fn operators(leader: &FakeLeader) -> String {
        let fingerprint = leader.script().log.key.fingerprint();
        format!(r#"[{{"url":"{}","fingerprint":"{fingerprint}"}}]"#, leader.url())
    }

    async fn start(leader: &FakeLeader) -> Running {
        let directory = tempfile::tempdir().expect("a directory");
        let settings = settings(&directory, &operators(leader));
        let tasks = Tasks::new();
        let clock = Arc::new(TestClock::new(at(10)));
        let follower = Follower::start(&settings, clock, tasks.clone()).await.expect("it starts");
        let url = format!("http://{}", follower.address());
        let fingerprint = follower.fingerprint();
        let client = Client::new("test", "0", Reach::Configured).expect("a client");
        let ended = Tasks::new().spawn(follower.run());
        let url = BaseUrl::parse(&url, Reach::Configured).expect("a URL");
        Running { client, url, tasks, ended, fingerprint, _directory: directory }
    }

    impl Running {
        async fn synced(&self) -> MirrorStatus {
            for _ in 0..9_000 {
                let path = "/api/v1/log/replication-status";
                match self.client.get_json(&self.url, path).await {
                    Ok(ReplicationStatus::Follower(status))
                        if status.status == FollowerStatus::Synced =>
                    {
                        return *status;
                    }
                    _ => {}
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            panic!("not synced in time");
        }

        async fn refusal(&self, method: Method, path: &str) -> (u16, Option<String>) {
            let asking = self.client.ask(method, &self.url, path);
            match asking.with_body("application/json", &b"{}"[..]).send().await {
                Err(FetchError::Status(fault)) => (fault.status, fault.code),
                other => panic!("{path}: {other:?}"),
            }
        }

        async fn stop(self) {
            self.tasks.stop();
            assert_eq!(self.ended.await.expect("it does not panic"), Ok(()));
        }
    }

    fn log(size: u64) -> TestLog {
        let mut log = TestLog::new(1);
        log.grow(size, "honest");
        log
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_follower_serves_the_leaders_head_and_reports_to_it() {
        let log = log(30);
        let leader = FakeLeader::start(log.clone(), 5).await;
        let running = start(&leader).await;

        let status = running.synced().await;

        assert_eq!((status.tree_size, status.root_hash), (log.tree().size, log.tree().hash));
        assert_eq!((status.lag_entries, status.lag_seconds), (Some(0), Some(0)));
        let head: HeadJson =
            running.client.get_json(&running.url, "/api/v1/log/sth").await.expect("a head");
        assert_eq!(head, leader.script().head);
        let answer =
            running.client.get(&running.url, "/api/v1/log/2").send().await.expect("an entry");
        assert_eq!(answer.headers["diogenes-verified-size"], "30");
        assert!(answer.headers.contains_key("diogenes-head-timestamp"));
        eventually("a report", || {
            let script = leader.script();
            script.reports.iter().any(|report| {
                report.follower == running.fingerprint
                    && report.status == FollowerStatus::Synced
                    && report.tree_size == log.tree().size
            })
        })
        .await;
        running.stop().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_would_append_and_what_is_the_leaders_own_is_refused_with_its_url() {
        let leader = FakeLeader::start(log(5), 5).await;
        let running = start(&leader).await;
        running.synced().await;

        for (method, path) in [
            (Method::POST, "/api/v1/log/entries"),
            (Method::POST, "/api/v1/log/replication-report"),
            (Method::POST, "/api/v1/keys/register"),
            (Method::PUT, "/api/v1/profiles/x"),
            (Method::DELETE, "/api/v1/webhooks/1"),
            (Method::GET, "/api/v1/webhooks"),
            (Method::GET, "/api/v1/operator/pending"),
            (Method::POST, "/api/v1/operator/witnesses"),
        ] {
            let refusal = running.refusal(method, path).await;
            assert_eq!(refusal, (403, Some("read_only_follower".to_owned())), "{path}");
        }
        assert_eq!(running.refusal(Method::GET, "/api/v1/nothing").await.0, 404);
        assert_eq!(running.refusal(Method::GET, "/api/v1/operators").await.0, 404);
        running.stop().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_witness_may_submit_through_a_follower() {
        let leader = FakeLeader::start(log(5), 5).await;
        let running = start(&leader).await;
        running.synced().await;
        let path = "/api/v1/log/witness";
        let body = &br#"{"proof":1}"#[..];
        let send =
            || running.client.post(&running.url, path).with_body("application/json", body).send();

        let answer = send().await.expect("it is relayed");

        assert_eq!(
            (answer.status, &answer.body[..]),
            (201, &br#"{"proof_id":7,"recorded":true}"#[..])
        );
        assert_eq!(leader.script().relayed, [body.to_vec()]);
        leader.script().refuse = Some(::http::StatusCode::FORBIDDEN);
        let refused = send().await.expect_err("the leader refuses");
        assert_eq!((refused.status(), refused.code()), (Some(403), Some("witness_not_authorized")));
        drop(leader);
        let mut code = None;
        for _ in 0..3_000 {
            code = send().await.expect_err("nobody is there").code().map(str::to_owned);
            if code.as_deref() == Some("leader_unreachable") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(code.as_deref(), Some("leader_unreachable"));
        running.stop().await;
    }

    #[tokio::test]
    async fn a_start_without_a_log_to_mirror_says_what_to_set() {
        let directory = tempfile::tempdir().expect("a directory");
        let settings = settings(&directory, "");
        let clock = Arc::new(TestClock::new(at(10)));

        let failure = Follower::start(&settings, clock, Tasks::new()).await.err();

        let failure = failure.expect("it does not start");
        assert_eq!(failure.reason(), "no_upstream");
        assert_eq!(failure.exit().code(), 78);
        assert!(failure.what().contains("DIOGENES_FEDERATION_OPERATORS"));
        assert!(!directory.path().join("follower").exists(), "nothing is made");
    }

    #[test]
    fn another_roles_setting_is_named() {
        let flags = Flags::new().with(&FEDERATION_ROLE, Some("leader"));
        let flags = flags.with(&DATA_DIR, Some("/nowhere"));
        let settings =
            Settings::load(Role::Follower, flags, &Environment::default()).expect("settings");
        let failure = Failure::from(settings.check_role().expect_err("it is another role"));
        assert_eq!(failure.exit().code(), 78);
        assert!(failure.what_to_do().contains("diogenes-leader"));
    }
}
