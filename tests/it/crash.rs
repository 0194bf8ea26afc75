//! kill -9 under load: what was acknowledged stays, no released head is ever contradicted, and
//! everybody goes on by itself.
//!
//! `DIOGENES_KILLS` sets how often each node is killed (3), `DIOGENES_SEED` when.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use diogenes_common::client::FetchError;
use diogenes_common::wire::node::WellKnown;
use diogenes_tests::http::{Node, Reply};
use diogenes_tests::process::{Machine, Process, eventually, free_address};
use diogenes_tests::promises::{Load, Promises};
use diogenes_tests::random::Random;
use diogenes_tests::{postgres, stranger};
use serde_json::{Value, json};

const NODE: &str = env!("CARGO_BIN_EXE_diogenes-node");
const LOAD: Load = Load { clients: 8, pause: Duration::ZERO };

/// Where a leader and its follower keep their logs; in their directories where nothing is named.
#[derive(Default)]
struct Databases {
    leader: Option<String>,
    follower: Option<String>,
}

impl Databases {
    /// One for each: two nodes lock each other out of one.
    fn of(cluster: &postgres::Cluster) -> Self {
        let database = || Some(cluster.database().unwrap().to_string());
        Self { leader: database(), follower: database() }
    }
}

/// A leader that can be killed and started again at the same place.
struct Site {
    machine: Machine,
    address: SocketAddr,
    databases: Databases,
    node: Node,
    known: WellKnown,
    promises: Rc<Promises>,
    random: RefCell<Random>,
}

impl Site {
    async fn start(databases: Databases) -> (Self, Process) {
        let machine = Machine::new(NODE);
        let address = free_address();
        let mut leader = start_leader(&machine, address, databases.leader.as_deref());
        let node = Node::local(address);
        leader.ready(&node).await;
        let token = std::fs::read_to_string(machine.data("leader").join("operator-token")).unwrap();
        let known = node.well_known().await.unwrap();
        let node = node.with_token(Some(token.trim().to_owned()));
        let seed = number("DIOGENES_SEED", u64::from(std::process::id()));
        println!("DIOGENES_SEED={seed}");
        let random = RefCell::new(Random::new(seed));
        let promises = Rc::default();
        (Self { machine, address, databases, node, known, promises, random }, leader)
    }

    async fn restart(&self) -> Process {
        let database = self.databases.leader.as_deref();
        let mut leader = start_leader(&self.machine, self.address, database);
        leader.ready(&self.node).await;
        leader
    }

    async fn follower(&self, address: SocketAddr) -> Process {
        let fingerprint = self.known.operator_fingerprint;
        let source = json!([{ "url": self.node.to_string(), "fingerprint": fingerprint }]);
        let source = source.to_string();
        let mut variables =
            vec![("DIOGENES_FEDERATION_OPERATORS", source.as_str()), ("DIOGENES_POLL", "50ms")];
        variables.extend(self.databases.follower.as_deref().map(|url| ("DATABASE_URL", url)));
        let listen = address.to_string();
        let args = ["serve", "--listen", listen.as_str()];
        let mut follower = self.machine.start("follower", "follower", &args, &variables);
        follower.answers(&Node::local(address), "/healthz").await;
        follower
    }

    /// Appends from several clients at once for as long as `meanwhile` takes.
    async fn under_load<T>(&self, meanwhile: impl Future<Output = T>) -> T {
        self.promises.under_load(LOAD, &self.node, &self.known, meanwhile).await
    }

    /// A moment between 0.1 and 0.9 seconds from now.
    async fn some_time(&self) {
        let more = self.random.borrow_mut().below(800);
        tokio::time::sleep(Duration::from_millis(100 + u64::try_from(more).unwrap())).await;
    }

    /// The log verifies as a whole, and every promise is kept in it.
    async fn check(&self, node: &Node) -> stranger::ReadLog {
        let log = stranger::read_log(node).await.unwrap();
        assert_eq!(self.promises.are_kept_by(&log), Ok(()));
        log
    }

    /// A follower gets there by itself, and keeps every promise too.
    async fn check_follower(&self, address: SocketAddr) -> stranger::ReadLog {
        let follower = Node::local(address);
        let size = self.node.size().await.unwrap();
        eventually("the follower has everything", async || {
            follower.size().await.is_ok_and(|held| held >= size)
        })
        .await;
        self.check(&follower).await
    }

    /// Asks both nodes for something that takes their database; says how long the answers took.
    async fn ask_both(&self, mirror: &Node) -> ([Result<Reply, FetchError>; 2], Duration) {
        let event = json!({ "event_type": "x-crash:event", "payload": { "n": "asked" } });
        let asked = Instant::now();
        let (append, read) = tokio::join!(
            self.node.post("/api/v1/log/entries", &event),
            mirror.get("/api/v1/log/1"),
        );
        ([append, read], asked.elapsed())
    }

    /// Both nodes go on by themselves, and hold one log.
    async fn check_recovery(&self, mirror: SocketAddr) {
        eventually("the leader appends again", async || {
            self.promises.append(&self.node, &self.known).await.is_some()
        })
        .await;
        let log = self.check(&self.node).await;
        let mirrored = self.check_follower(mirror).await;
        assert_eq!(mirrored.root_at(log.size()), Some(log.head().head().root_hash));
    }
}

/// Both nodes said in time that their database does not answer.
fn assert_unreachable((answers, took): ([Result<Reply, FetchError>; 2], Duration)) {
    for (node, answer) in ["leader", "follower"].into_iter().zip(answers) {
        let answer = answer.unwrap();
        let said = (answer.status, answer.code());
        assert_eq!(said, (503, "log_unreachable".to_owned()), "{node}: {answer}");
    }
    // They wait 4 s for the database; a client gives up after 30.
    assert!(took < Duration::from_secs(20), "it took {took:?}");
}

fn start_leader(machine: &Machine, address: SocketAddr, database: Option<&str>) -> Process {
    let listen = address.to_string();
    let variables: Vec<_> = database.map(|url| ("DATABASE_URL", url)).into_iter().collect();
    machine.start("leader", "leader", &["serve", "--listen", &listen], &variables)
}

fn number(variable: &str, default: u64) -> u64 {
    let text = std::env::var_os(variable).and_then(|value| value.into_string().ok());
    text.map_or(default, |text| text.parse().unwrap())
}

fn kills() -> u64 {
    number("DIOGENES_KILLS", 3)
}

async fn a_killed_leader_keeps_every_promise(databases: Databases) {
    let (site, mut leader) = Site::start(databases).await;
    let mirror = free_address();
    let _follower = site.follower(mirror).await;

    for _ in 0..kills() {
        let before = site.promises.acknowledged();
        site.under_load(async {
            site.some_time().await;
            eventually("entries are acknowledged", async || {
                site.promises.acknowledged() > before + 10
            })
            .await;
            leader.kill();
        })
        .await;
        leader = site.restart().await;
        site.check(&site.node).await;
        site.check_follower(mirror).await;
    }

    assert_eq!(leader.stop().await, Some(0));
}

#[tokio::test]
async fn a_leader_killed_under_load_keeps_every_promise_on_sqlite() {
    a_killed_leader_keeps_every_promise(Databases::default()).await;
}

#[tokio::test]
async fn a_leader_killed_under_load_keeps_every_promise_on_postgresql() {
    let Some(cluster) = durable_cluster().await else { return };
    a_killed_leader_keeps_every_promise(Databases::of(cluster)).await;
}

async fn a_killed_follower_goes_on_where_it_was(databases: Databases) {
    let (site, _leader) = Site::start(databases).await;
    let mirror = free_address();
    let mut follower = site.follower(mirror).await;

    for _ in 0..kills() {
        site.under_load(async {
            site.some_time().await;
            follower.kill();
        })
        .await;
        follower = site.follower(mirror).await;
        site.check_follower(mirror).await;
    }

    assert_eq!(follower.stop().await, Some(0));
}

#[tokio::test]
async fn a_follower_killed_under_load_goes_on_where_it_was_on_sqlite() {
    a_killed_follower_goes_on_where_it_was(Databases::default()).await;
}

#[tokio::test]
async fn a_follower_killed_under_load_goes_on_where_it_was_on_postgresql() {
    let Some(cluster) = durable_cluster().await else { return };
    a_killed_follower_goes_on_where_it_was(Databases::of(cluster)).await;
}

#[tokio::test]
async fn a_witness_killed_at_any_moment_goes_on_signing_one_history() {
    let (site, _leader) = Site::start(Databases::default()).await;
    let server = site.node.to_string();
    let run = ["run", "--server", server.as_str(), "--interval", "1s"];
    let fingerprint = site.machine.run("witness", "witness", &["fingerprint", "--full"], &[]);
    let fingerprint = fingerprint.succeeded();
    let key = fingerprint.split_whitespace().last().unwrap();
    let authorize = ["operator", "authorize-witness", key, "--server", server.as_str()];
    site.machine.run("leader", "leader", &authorize, &[]).succeeded();

    for _ in 0..kills() {
        let mut witness = site.machine.start("witness", "witness", &run, &[]);
        site.under_load(site.some_time()).await;
        site.some_time().await;
        assert!(witness.is_running(), "{}", witness.log());
        witness.kill();
    }

    let mut witness = site.machine.start("witness", "witness", &run, &[]);
    let last_event = site.node.head().await.unwrap().last_event_id;
    eventually("the witness signed every event", async || {
        let path = format!("/api/v1/log/witnesses/{key}");
        let record: Value = site.node.read(&path).await.unwrap();
        record["last_proof"]["new_tree_size"].as_u64() >= Some(last_event)
    })
    .await;
    assert!(witness.is_running(), "{}", witness.log());
    site.check(&site.node).await;
}

#[tokio::test]
async fn postgresql_may_stop_under_a_running_leader_and_follower() {
    // Its own: the other tests need theirs meanwhile.
    let Some(cluster) = tokio::task::spawn_blocking(start_cluster).await.unwrap() else { return };
    let (site, mut leader) = Site::start(Databases::of(&cluster)).await;
    let address = free_address();
    let mut follower = site.follower(address).await;
    let mirror = Node::local(address);
    site.under_load(site.some_time()).await;
    site.check_recovery(address).await;

    // It hangs: connections stay open and nothing comes back.
    signal_all(&cluster, "-STOP");
    let answers = site.ask_both(&mirror).await;
    signal_all(&cluster, "-CONT");
    assert_unreachable(answers);
    site.check_recovery(address).await;

    // It ends: connections break, and new ones are refused.
    cluster.stop_server().unwrap();
    assert_unreachable(site.ask_both(&mirror).await);
    cluster.start_server().unwrap();
    site.check_recovery(address).await;

    assert!(leader.is_running() && follower.is_running());
}

/// A cluster whose commits are durable, for several tests; `None` where there is no PostgreSQL.
async fn durable_cluster() -> Option<&'static postgres::Cluster> {
    static CLUSTER: OnceLock<Option<postgres::Cluster>> = OnceLock::new();
    let start = || CLUSTER.get_or_init(start_cluster).as_ref();
    tokio::task::spawn_blocking(start).await.unwrap()
}

fn start_cluster() -> Option<postgres::Cluster> {
    postgres::cluster()?;
    Some(postgres::Cluster::start_own().expect("a second cluster starts"))
}

fn signal_all(cluster: &postgres::Cluster, signal: &str) {
    // What the server forked between the look and the signal is there at the second look.
    for _ in 0..2 {
        let pids = cluster.pids().unwrap();
        let done = std::process::Command::new("kill").arg(signal).args(&pids).status();
        // A backend may have ended between the look and the signal.
        drop(done);
    }
}
