//! The graph of endorsements over HTTP, on a database that is filled with view rows directly: many
//! keys with random endorsements, and some that all endorse each other.
//!
//! `cargo bench -p diogenes-tests --bench graph`; `--keys`, `--edges`, `--clique` and `--roots`
//! change the sizes. `DATABASE_URL` names a database to use, of PostgreSQL too: it is filled if it
//! is empty, and as it is if not, so that the filling is done once.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::Parser;
use diogenes_common::clock::{Clock as _, Timestamp};
use diogenes_common::clock_system::SystemClock;
use diogenes_common::config::{Environment, Flags, Settings};
use diogenes_common::files::Role;
use diogenes_common::head::TreeHead;
use diogenes_common::keys::{Fingerprint, SigningKey};
use diogenes_common::merkle::{Edge, Hash, TreeSize};
use diogenes_common::read::{
    self, CheckpointBoard, Facts, GraphSetup, Latching, LogFacts, Node, Published, Reads, ReadyAsk,
    Setup, Snapshot, StatusBoard,
};
use diogenes_common::server::limits::Limiter;
use diogenes_common::server::problem::Problem;
use diogenes_common::shutdown::Tasks;
use diogenes_common::statement::Category;
use diogenes_common::store::{Commit, DatabaseUrl, Guard, NewState, OpenOptions, Store};
use diogenes_common::telemetry::Metrics;
use diogenes_common::view::{Acceptance, Changes, EndorsementRow, KeyRow};
use diogenes_common::wire::graph::EndorsementGraph;
use diogenes_common::wire::node::{Check, NodeRole, QuorumRule};
use diogenes_tests::http;
use tokio::sync::watch;

#[derive(Parser)]
struct Sizes {
    /// How many keys have random endorsements.
    #[arg(long, default_value_t = 100_000)]
    keys: u64,
    /// How many endorsements these have.
    #[arg(long, default_value_t = 1_000_000)]
    edges: u64,
    /// How many keys all endorse each other.
    #[arg(long, default_value_t = 1_000)]
    clique: u64,
    /// From how many keys each kind of walk begins.
    #[arg(long, default_value_t = 300)]
    roots: u64,
    /// A database to keep, filled if it is empty; a new file of SQLite unless given.
    #[arg(long, env = "DATABASE_URL")]
    database: Option<String>,
    /// What cargo passes to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

const ROWS_AT_ONCE: usize = 20_000;

/// The entries that the rows claim to come from lie below this.
const SIZE: u64 = 1 << 40;

fn key(number: u64) -> Fingerprint {
    Fingerprint::new(Hash::of(&number.to_be_bytes()))
}

/// A sequence that looks random (`SplitMix64`).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

#[derive(Clone)]
struct App(Reads, Metrics);

impl Node for App {
    fn reads(&self) -> &Reads {
        &self.0
    }

    fn metrics(&self) -> &Metrics {
        &self.1
    }

    async fn refresh_metrics(&self) {}

    async fn checks(&self, _: ReadyAsk) -> Vec<Check> {
        Vec::new()
    }

    fn is_operator(&self, _: &::http::HeaderMap) -> bool {
        false
    }

    async fn latch(&self, _: Latching) -> Result<(), Problem> {
        Ok(())
    }
}

/// Writes view rows as the sequencer does, under no entries.
struct Filler {
    store: Store,
    guard: Guard,
    at: Timestamp,
}

impl Filler {
    async fn new(store: Store, at: Timestamp) -> anyhow::Result<Self> {
        store.initialise().await?;
        let writer = store.raise_writer().await?;
        let timestamp = Timestamp::from_millis(0).expect("1970 is a time");
        let guard = Guard { tree: Edge::empty().root(), timestamp, writer };
        Ok(Self { store, guard, at })
    }

    async fn write(&mut self, views: &Changes) -> anyhow::Result<()> {
        let tree = self.guard.tree;
        let state = NewState { tree, chain_head: None, timestamp: self.at, epoch: 1 };
        self.store
            .commit(&Commit {
                guard: self.guard,
                entries: &[],
                tiles: &[],
                state,
                heads: &[],
                sign_previous: None,
                views,
                local: &[],
            })
            .await?;
        self.guard.timestamp = self.at;
        Ok(())
    }

    async fn keys(&mut self, numbers: std::ops::Range<u64>) -> anyhow::Result<()> {
        let at = self.at;
        let row = |number: u64| KeyRow {
            fingerprint: key(number),
            public_key: "x".repeat(113),
            algorithm: "ed25519".to_owned(),
            pseudonym: format!("Scholar {number:09} of Sinope"),
            pseudonym_folded: format!("scholar {number:09} of sinope"),
            registered_at: at,
            expires_at: None,
            entry_id: number + 2,
            proven: true,
            first_entry_id: number + 2,
            used_v1: false,
            succeeds: None,
            ended: None,
        };
        let rows: Vec<KeyRow> = numbers.map(row).collect();
        for rows in rows.chunks(ROWS_AT_ONCE) {
            self.write(&Changes { keys: rows.to_vec(), ..Changes::default() }).await?;
        }
        println!("{} keys", rows.len());
        Ok(())
    }

    async fn edges(
        &mut self,
        first: u64,
        pairs: impl Iterator<Item = (u64, u64)>,
    ) -> anyhow::Result<()> {
        let at = self.at;
        let row = |(offer_id, (from, to)): (u64, (u64, u64))| {
            let entry_id = offer_id + 1;
            EndorsementRow {
                offer_id,
                endorser: key(from),
                endorsed: key(to),
                category: Category::HumanAttestation,
                institution: None,
                offered_at: at,
                valid_until: None,
                leader_asserted: false,
                accepted: Some(Acceptance { entry_id, at, active_from: at, level: None }),
                ended: None,
            }
        };
        let mut rows = (first..).step_by(2).zip(pairs).map(row).peekable();
        let mut written = 0;
        while rows.peek().is_some() {
            let endorsements: Vec<_> = rows.by_ref().take(ROWS_AT_ONCE).collect();
            written += endorsements.len();
            self.write(&Changes { endorsements, ..Changes::default() }).await?;
            if written.is_multiple_of(10 * ROWS_AT_ONCE) {
                println!("{written} endorsements");
            }
        }
        Ok(())
    }
}

async fn fill(store: &Store, sizes: &Sizes, at: Timestamp) -> anyhow::Result<()> {
    let mut filler = Filler::new(store.clone(), at).await?;
    filler.keys(0..sizes.keys + sizes.clique).await?;
    let mut random = Random(1);
    let pairs = (0..sizes.edges).map(|_| (random.below(sizes.keys), random.below(sizes.keys)));
    filler.edges(10_000_000, pairs).await?;
    let members = sizes.keys..sizes.keys + sizes.clique;
    let all = members.clone().flat_map(|from| members.clone().map(move |to| (from, to)));
    filler.edges(100_000_000, all.filter(|(from, to)| from != to)).await
}

/// A node that serves what is in the database under a head of its own.
async fn serve(store: Store, at: Timestamp) -> anyhow::Result<SocketAddr> {
    let operator = SigningKey::from_seed([1; 32]);
    let head = TreeHead {
        chain_head: Some(Hash::EMPTY_TREE),
        epoch: 1,
        origin: "log.example/bench".parse()?,
        root_hash: Hash::EMPTY_TREE,
        timestamp: at,
        tree_size: TreeSize::new(SIZE).expect("trees grow as large"),
    };
    let log = LogFacts {
        origin: head.origin.clone(),
        log_id: Hash::EMPTY_TREE,
        epoch: 1,
        operator: operator.public().clone(),
    };
    let facts = Facts {
        role: NodeRole::Leader,
        version: "bench",
        log: Some(log),
        leader_url: None,
        heartbeat_seconds: 60,
        witness_quorum: QuorumRule { required: 0, of: 0 },
    };
    let signed = head.sign(&operator);
    let json = signed.to_json(String::new(), 0);
    let published = Arc::new(Published::default());
    published.set(Arc::new(Snapshot::new(signed, &json, Edge::empty(), Vec::new())));
    let minute = Duration::from_secs(60);
    let reads = Reads::new(Setup {
        store,
        published,
        round: watch::channel(None).1,
        checkpoints: CheckpointBoard::default(),
        facts: watch::channel(Arc::new(facts)).1,
        board: StatusBoard::default(),
        clock: Arc::new(SystemClock),
        graph: GraphSetup::uncounted(Duration::from_secs(10), minute),
        tasks: Tasks::new(),
    });
    let environment = Environment::of([("HOME", "/nonexistent"), ("RATE_LIMIT_API_QUERY", "0")]);
    let settings = Settings::load(Role::Leader, Flags::new(), &environment)
        .map_err(|failure| anyhow::anyhow!("{failure:?}"))?;
    let limiter = Limiter::from_settings(&settings, |_| false);
    let (router, _) = read::router::<App>(&limiter).split_for_parts();
    let router = router.with_state(App(reads, Metrics::new(Role::Leader, "bench")));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    Tasks::new().spawn(async move { axum::serve(listener, service).await });
    Ok(address)
}

struct Asked {
    took: Vec<Duration>,
    nodes: usize,
    edges: usize,
    truncated: usize,
}

/// Asks for the graphs around keys, one after the other.
async fn ask(node: &http::Node, roots: &[u64], query: &str) -> anyhow::Result<Asked> {
    let mut asked = Asked { took: Vec::new(), nodes: 0, edges: 0, truncated: 0 };
    for root in roots {
        let path = format!("/api/v1/graph/{}?{query}", key(*root));
        let begun = Instant::now();
        let reply = node.get(&path).await?;
        asked.took.push(begun.elapsed());
        ensure!(reply.is_success(), "{path}: {reply}");
        let graph: EndorsementGraph = serde_json::from_slice(&reply.body)?;
        asked.nodes += graph.nodes.len();
        asked.edges += graph.edges.len();
        asked.truncated += usize::from(graph.truncated);
    }
    asked.took.sort_unstable();
    Ok(asked)
}

impl Asked {
    fn show(&self, what: &str) {
        let count = self.took.len();
        let at = |part: usize| self.took[(count * part / 100).min(count - 1)].as_secs_f64() * 1e3;
        println!(
            "{what:<44} p50 {:>7.1} ms  p99 {:>7.1} ms  keys {:>5}  endorsements {:>5}  truncated {}/{count}",
            at(50),
            at(99),
            self.nodes / count,
            self.edges / count,
            self.truncated,
        );
    }
}

/// The most memory that this process had, client and all.
fn peak() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.unwrap_or("unknown").trim().to_owned()
}

async fn run(sizes: Sizes) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let url: DatabaseUrl = match &sizes.database {
        Some(url) => url.parse()?,
        None => DatabaseUrl::sqlite(directory.path().join("log.db")),
    };
    let options = OpenOptions { require_durable: false, ..OpenOptions::default() };
    let store = Store::open(&url, options).await?;
    let at = SystemClock.now();
    let begun = Instant::now();
    if store.key(&key(0)).await?.is_none() {
        fill(&store, &sizes, at).await?;
    }
    println!("filled in {:.0} s; peak memory {}", begun.elapsed().as_secs_f64(), peak());
    let node = http::Node::local(serve(store, at).await?);

    let mut random = Random(2);
    let roots: Vec<u64> = (0..sizes.roots).map(|_| random.below(sizes.keys)).collect();
    for query in [
        "max_depth=3&direction=out",
        "max_depth=3&direction=in&status=active",
        "max_depth=2",
        "max_depth=3",
    ] {
        ask(&node, &roots, query).await?.show(query);
    }
    // Asked for once more, one at a time, so that each is kept.
    let mut kept = Asked { took: Vec::new(), nodes: 0, edges: 0, truncated: 0 };
    for root in &roots {
        ask(&node, &[*root], "max_depth=3&type=human_attestation").await?;
        let again = ask(&node, &[*root], "max_depth=3&type=human_attestation").await?;
        kept.took.extend(again.took);
        kept.nodes += again.nodes;
        kept.edges += again.edges;
        kept.truncated += again.truncated;
    }
    kept.took.sort_unstable();
    kept.show("max_depth=3, kept");
    println!("peak memory {}", peak());
    let worst = [sizes.keys];
    for query in ["max_depth=8", "max_depth=8&institution=nobody", "max_depth=8&direction=in"] {
        ask(&node, &worst, query).await?.show(&format!("all of {}: {query}", sizes.clique));
    }
    println!("peak memory {}", peak());
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let sizes = Sizes::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(sizes))
}
