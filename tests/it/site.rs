//! A leader, and a follower of it, in this process, on a database of the test's own.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use diogenes_common::clock::{Clock, Timestamp};
use diogenes_common::clock_system::SystemClock;
use diogenes_common::config::{Environment, Flags, Settings};
use diogenes_common::exit::Failure;
use diogenes_common::files::Role;
use diogenes_common::head::{HeadJson, Origin, SignedHead};
use diogenes_common::keys::PublicKey;
use diogenes_common::merkle::{TreeRoot, verify_consistency};
use diogenes_common::shutdown::Tasks;
use diogenes_common::store::{DatabaseUrl, OpenOptions, Schema, Store};
use diogenes_common::wire::log::ConsistencyProof;
use diogenes_common::wire::node::WellKnown;
use diogenes_follower::Follower;
use diogenes_leader::{Leader, Options};
use diogenes_tests::http::Node;
pub(crate) use diogenes_tests::process::eventually;
use diogenes_tests::{postgres, stranger};
use serde_json::Value;
use tempfile::TempDir;

use crate::raw::{Answer, Request};

/// The token of the operator of every site.
pub(crate) const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Makes two tests of each promise: one on SQLite and, where there is one, one on PostgreSQL.
macro_rules! on_both {
    ($($promise:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                super::$promise($crate::site::Place::sqlite()).await;
            })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                if let Some(place) = $crate::site::Place::postgres().await {
                    super::$promise(place).await;
                }
            })+
        }
    };
}
pub(crate) use on_both;

/// Where a leader keeps everything.
pub(crate) struct Place {
    directory: TempDir,
    database: Option<String>,
}

/// A leader that runs until the site is dropped.
pub(crate) struct Site {
    pub(crate) leader: Running,
    operator: PublicKey,
    origin: Origin,
    place: Place,
}

/// A node that runs until this is dropped.
pub(crate) struct Running {
    address: SocketAddr,
    tasks: Tasks,
    directory: Option<TempDir>,
    database: Option<DatabaseUrl>,
}

impl Place {
    pub(crate) fn sqlite() -> Self {
        Self { directory: TempDir::new().unwrap(), database: None }
    }

    pub(crate) async fn postgres() -> Option<Self> {
        let database = Some(durable_database().await?);
        Some(Self { directory: TempDir::new().unwrap(), database })
    }

    /// Starts a leader with the usual settings: no limits, only the operator appends.
    pub(crate) async fn start(self) -> Site {
        self.start_with(&[]).await
    }

    /// Starts a leader with further settings.
    pub(crate) async fn start_with(self, settings: &[(&str, &str)]) -> Site {
        self.start_at(settings, Arc::new(SystemClock)).await
    }

    /// Starts a leader with further settings and a clock of the test's own.
    pub(crate) async fn start_at(self, settings: &[(&str, &str)], clock: Arc<dyn Clock>) -> Site {
        let tasks = Tasks::new();
        // One before on the same files takes a while to end.
        let deadline = Instant::now() + Duration::from_secs(90);
        let leader = loop {
            match self.leader(settings, clock.clone(), &tasks).await {
                Ok(leader) => break leader,
                Err(failure) => {
                    let is_held = ["locked", "not_leader"].contains(&failure.reason());
                    assert!(is_held && Instant::now() < deadline, "{failure:?}");
                }
            }
        };
        let address = leader.address();
        // Not one of its own tasks, or it would wait for its own end.
        Tasks::new().spawn(async move { leader.run().await.unwrap() });
        let database = Some(database(self.directory.path(), self.database.as_deref()));
        let leader = Running { address, tasks, directory: None, database };
        let known: WellKnown = leader.json("/.well-known/diogenes").await;
        let (operator, origin) = (known.operator_public_key, known.origin);
        Site { leader, operator, origin, place: self }
    }

    /// Why a leader does not start with these settings.
    pub(crate) async fn refusal(&self, settings: &[(&str, &str)]) -> Failure {
        let started = self.leader(settings, Arc::new(SystemClock), &Tasks::new()).await;
        started.err().expect("the leader starts")
    }

    async fn leader(
        &self,
        settings: &[(&str, &str)],
        clock: Arc<dyn Clock>,
        tasks: &Tasks,
    ) -> Result<Leader, Failure> {
        let mut all = vec![
            ("OPERATOR_TOKEN", TOKEN),
            ("DIOGENES_ORIGIN", "log.example/it"),
            ("RATE_LIMIT_LOG_READ", "0"),
            ("RATE_LIMIT_FEDERATION", "0"),
            ("RATE_LIMIT_API_QUERY", "0"),
            ("RATE_LIMIT_KEY_REGISTRATION", "0"),
        ];
        if let Some(database) = &self.database {
            all.push(("DATABASE_URL", database));
        }
        all.retain(|(name, _)| settings.iter().all(|(set, _)| set != name));
        all.extend(settings);
        let settings = load(Role::Leader, self.directory.path(), &all);
        Leader::start(&settings, Options::default(), clock, tasks.clone()).await
    }

    /// The same data directory with another database.
    pub(crate) fn with_database(self, url: String) -> Self {
        Self { database: Some(url), ..self }
    }

    /// Writes a file beside the data directory; answers its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

/// A leader refuses a server that does not make durable what it says is committed, as the cluster
/// of the store's tests does for speed: this one does.
fn durable_cluster() -> Option<&'static postgres::Cluster> {
    static CLUSTER: OnceLock<Option<postgres::Cluster>> = OnceLock::new();
    let start = || {
        postgres::cluster()?;
        Some(postgres::Cluster::start_own().expect("a second cluster starts"))
    };
    CLUSTER.get_or_init(start).as_ref()
}

/// A new database of that cluster; `None` where there is no PostgreSQL.
pub(crate) async fn durable_database() -> Option<String> {
    let made = || durable_cluster().map(|cluster| cluster.database().unwrap().to_string());
    tokio::task::spawn_blocking(made).await.unwrap()
}

/// A node's database: the one on PostgreSQL, or else the file in its data directory.
fn database(directory: &Path, on_postgres: Option<&str>) -> DatabaseUrl {
    match on_postgres {
        Some(url) => url.parse().unwrap(),
        None => DatabaseUrl::sqlite(directory.join("data").join("log.db")),
    }
}

fn load(role: Role, directory: &Path, settings: &[(&str, &str)]) -> Settings {
    let directory = directory.join("data");
    let own = [
        ("DIOGENES_DATA_DIR", directory.to_str().unwrap()),
        ("DIOGENES_LISTEN", "127.0.0.1:0"),
        ("MIN_FREE", "0"),
    ];
    let all = own.iter().chain(settings).copied();
    Settings::load(role, Flags::new(), &Environment::of(all)).unwrap()
}

impl Site {
    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Stops the leader; what it kept can be started again, as soon as it gave up its locks.
    pub(crate) fn stop(self) -> Place {
        self.place
    }

    /// A file of the leader's data directory.
    pub(crate) fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.place.directory.path().join("data").join(name)).unwrap()
    }

    /// The leader's database.
    pub(crate) async fn store(&self) -> Store {
        let open = OpenOptions { schema: Schema::Ignore, readers: 1, require_durable: false };
        Store::open(self.leader.database(), open).await.unwrap()
    }

    pub(crate) fn operator(&self) -> &PublicKey {
        &self.operator
    }

    /// Starts a follower, with a database of the leader's kind, and waits until it has verified
    /// what the leader has now.
    pub(crate) async fn follower(&self) -> Running {
        self.follower_with(&[]).await
    }

    /// The same with further settings.
    pub(crate) async fn follower_with(&self, further: &[(&str, &str)]) -> Running {
        self.follower_at(further, Arc::new(SystemClock)).await
    }

    /// The same with a clock of the test's own.
    pub(crate) async fn follower_at(
        &self,
        further: &[(&str, &str)],
        clock: Arc<dyn Clock>,
    ) -> Running {
        let fingerprint = self.operator.fingerprint();
        let source = format!(
            r#"[{{"url":"http://{}","fingerprint":"{fingerprint}"}}]"#,
            self.leader.address
        );
        self.follower_of(&source, further, clock).await
    }

    /// The same of other sources.
    pub(crate) async fn follower_of(
        &self,
        sources: &str,
        further: &[(&str, &str)],
        clock: Arc<dyn Clock>,
    ) -> Running {
        let directory = TempDir::new().unwrap();
        // Its own: two nodes lock each other out of one.
        let on_postgres = self.place.database.is_some();
        let own = if on_postgres { durable_database().await } else { None };
        let mut settings = vec![
            ("DIOGENES_FEDERATION_OPERATORS", sources),
            ("DIOGENES_POLL", "50ms"),
            ("RATE_LIMIT_LOG_READ", "0"),
            ("RATE_LIMIT_API_QUERY", "0"),
        ];
        settings.extend(further);
        settings.extend(own.as_deref().map(|own| ("DATABASE_URL", own)));
        let settings = load(Role::Follower, directory.path(), &settings);
        let tasks = Tasks::new();
        let follower = Follower::start(&settings, clock, tasks.clone()).await;
        let follower = follower.unwrap_or_else(|failure| panic!("{failure:?}"));
        let address = follower.address();
        tasks.spawn(async move { follower.run().await.unwrap() });
        let database = Some(database(directory.path(), own.as_deref()));
        let follower = Running { address, tasks, directory: Some(directory), database };
        self.level(&follower).await;
        follower
    }

    /// Waits until a follower has verified what the leader has now.
    pub(crate) async fn level(&self, follower: &Running) {
        let size = self.size().await;
        eventually("the follower is level", async || {
            let answer = follower.get("/api/v1/log/sth").await;
            answer.status == 200 && answer.json()["tree_size"].as_u64() >= Some(size)
        })
        .await;
    }

    /// Appends one generic event; answers the leader's words.
    pub(crate) async fn append(&self, payload: &Value) -> Value {
        let event = serde_json::json!({ "event_type": "x-it:event", "payload": payload });
        self.taken(&event).await.json()
    }

    /// Appends so many generic events at once.
    pub(crate) async fn grow(&self, more: u64) {
        let event = |n| serde_json::json!({ "event_type": "x-it:event", "payload": { "n": n } });
        let events: Vec<Value> = (0..more).map(event).collect();
        for some in events.chunks(1_000) {
            self.taken(&Value::from(some.to_vec())).await;
        }
    }

    /// Appends once, though a machine that stalls has the leader say that PostgreSQL is silent.
    async fn taken(&self, events: &Value) -> Answer {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let key = format!("site-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        for _ in 0..30 {
            let request = self.leader.post("/api/v1/log/entries", events).token(TOKEN);
            let answer = request.header("idempotency-key", &key).send().await;
            match answer.status {
                200 | 201 => return answer,
                409 | 503 => tokio::time::sleep(Duration::from_millis(500)).await,
                _ => panic!("{answer}"),
            }
        }
        panic!("the leader does not append");
    }

    /// The newest head, its signature verified.
    pub(crate) async fn head(&self) -> SignedHead {
        self.verified(&self.head_json().await)
    }

    pub(crate) async fn head_json(&self) -> HeadJson {
        self.leader.json("/api/v1/log/sth").await
    }

    /// A head that anybody showed, its signature verified.
    pub(crate) fn verified(&self, head: &HeadJson) -> SignedHead {
        head.verify(&self.operator, &self.origin).unwrap()
    }

    pub(crate) async fn size(&self) -> u64 {
        self.head().await.head().tree_size.get()
    }

    /// Reads the whole log as a stranger would, and verifies it; answers its size.
    pub(crate) async fn check(&self) -> u64 {
        stranger::read_log(&Node::local(self.leader.address)).await.unwrap().size()
    }
}

impl Running {
    /// A node that somebody else ends.
    pub(crate) fn of(address: SocketAddr) -> Self {
        Self { address, tasks: Tasks::new(), directory: None, database: None }
    }

    /// A file of the follower's data directory.
    pub(crate) fn file(&self, name: &str) -> String {
        let directory = self.directory.as_ref().expect("a follower has one");
        std::fs::read_to_string(directory.path().join("data").join(name)).unwrap()
    }

    /// Where the node keeps its data.
    pub(crate) fn database(&self) -> &DatabaseUrl {
        self.database.as_ref().expect("a node of a site has one")
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> Request {
        Request::new(self.address, method, path)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.request("GET", path).send().await
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Request {
        self.request("POST", path).json(body)
    }

    /// GET of something that must be there.
    pub(crate) async fn json<T: serde::de::DeserializeOwned>(&self, path: &str) -> T {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {answer}");
        serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{path}: {error}"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

/// Verifies a consistency proof as the API shows it: the one to `tree`.
pub(crate) fn consistent(shown: &Value, tree: &TreeRoot) {
    let proof: ConsistencyProof = serde_json::from_value(shown.clone()).unwrap();
    let first = TreeRoot { size: proof.first, hash: proof.first_root };
    let second = TreeRoot { size: proof.second, hash: proof.second_root };
    assert_eq!(second, *tree);
    if first == TreeRoot::EMPTY {
        assert!(proof.hashes.is_empty(), "every tree extends the empty one");
    } else {
        assert_eq!(verify_consistency(&first, &second, &proof.hashes), Ok(()), "{shown}");
    }
}

/// Now, as statements say it.
pub(crate) fn now() -> Timestamp {
    SystemClock.now()
}
