//! One byte of a node's database is another: it is noticed, never served, made anew from what was
//! verified or from another node, and told. A node that sends other bytes changes nothing.

use std::time::Duration;

use diogenes_common::clock::Clock as _;
use diogenes_common::clock_system::SystemClock;
use diogenes_common::store::{DatabaseUrl, Incident, Kind, OpenOptions, Schema, Store, VIEWS};
use diogenes_tests::book::Book;
use diogenes_tests::http::Node;
use diogenes_tests::liar::Liar;
use diogenes_tests::process::{Machine, Process, free_address};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _, SqliteConnection};

use crate::site::{Place, Running, eventually};

const NODE: &str = env!("CARGO_BIN_EXE_diogenes-node");

/// A scrub that is always at it.
const EAGER: [(&str, &str); 2] = [("SCRUB_BYTES_PER_SECOND", "1 GiB"), ("SCRUB_INTERVAL", "100ms")];

/// The id of the entry whose payload holds this number.
const SEVENTH: u64 = 7;

/// A database, as somebody sees it who writes into its file.
struct File(DatabaseUrl);

impl File {
    async fn connect(&self) -> SqliteConnection {
        let path = self.0.sqlite_path().unwrap();
        let options = SqliteConnectOptions::new().filename(path);
        options.busy_timeout(Duration::from_secs(20)).connect().await.unwrap()
    }

    async fn run(&self, sql: &str) {
        let mut connection = self.connect().await;
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    /// What SQLite prints for these rows, each field in quotes.
    async fn read(&self, table: &str, fields: &str, filter: &str) -> Vec<String> {
        let mut connection = self.connect().await;
        let quoted = fields.split(", ").map(|field| format!("quote({field})"));
        let all = quoted.collect::<Vec<_>>().join(" || ',' || ");
        let sql = format!("SELECT {all} FROM {table} WHERE {filter} ORDER BY 1");
        let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Makes one bit of a field another.
    async fn flip(&self, table: &str, field: &str, filter: &str, byte: usize) {
        let mut connection = self.connect().await;
        let sql =
            format!("SELECT CAST({field} AS BLOB), typeof({field}) FROM {table} WHERE {filter}");
        let row = sqlx::query(AssertSqlSafe(sql)).fetch_one(&mut connection).await.unwrap();
        let (mut bytes, kind): (Vec<u8>, String) = (row.get(0), row.get(1));
        bytes[byte] ^= 1;
        let sql = format!("UPDATE {table} SET {field} = CAST($1 AS {kind}) WHERE {filter}");
        sqlx::query(AssertSqlSafe(sql)).bind(bytes).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    async fn incidents(&self) -> Vec<Incident> {
        let open = OpenOptions { schema: Schema::Ignore, readers: 1, require_durable: false };
        let store = Store::open(&self.0, open).await.unwrap();
        let incidents = store.incidents(false).await.unwrap();
        store.close().await;
        incidents.into_iter().filter(|incident| incident.kind == "damaged").collect()
    }

    /// Waits until damage was told and is over; answers what is told of it.
    async fn repaired(&self, subject: &str) -> String {
        let told = async || {
            let incidents = self.incidents().await;
            let same = incidents.into_iter().find(|incident| incident.subject == subject);
            same.filter(|incident| incident.acked_at.is_some())
        };
        eventually(&format!("{subject} is repaired"), async || told().await.is_some()).await;
        told().await.unwrap().detail
    }
}

/// Where a bit is flipped, and what the incident names.
struct Harm {
    table: &'static str,
    fields: &'static str,
    field: &'static str,
    filter: &'static str,
    byte: usize,
    subject: &'static str,
}

const ENTRY: &str = "id, leaf, entry_hash, event_type, timestamp";

/// Harm below the right edge of a log of more than 256 entries; what is there afterwards is what
/// was there before.
const HARMS: [Harm; 6] = [
    Harm {
        table: "log_entries",
        fields: ENTRY,
        field: "leaf",
        filter: "id = 7",
        byte: 60,
        subject: "entry 7",
    },
    Harm {
        table: "log_entries",
        fields: ENTRY,
        field: "entry_hash",
        filter: "id = 8",
        byte: 31,
        subject: "entry 8",
    },
    Harm {
        table: "log_entries",
        fields: ENTRY,
        field: "event_type",
        filter: "id = 9",
        byte: 2,
        subject: "entry 9",
    },
    Harm {
        table: "log_entries",
        fields: ENTRY,
        field: "leaf",
        filter: "id = 1",
        byte: 90,
        subject: "entry 1",
    },
    Harm {
        table: "log_tiles",
        fields: "level, idx, hashes",
        field: "hashes",
        filter: "idx = 0",
        byte: 700,
        subject: "tile 0/0",
    },
    Harm {
        table: "log_heads",
        fields: "tree_size, root_hash, head_json",
        field: "root_hash",
        filter: "tree_size = 300",
        byte: 0,
        subject: "head 300",
    },
];

/// Harms a node everywhere, one place after the other.
async fn harm_everywhere(node: &Running, others: &[Harm]) {
    let file = File(node.database().clone());
    for Harm { table, fields, field, filter, byte, subject } in HARMS.iter().chain(others) {
        let whole = file.read(table, fields, filter).await;
        assert!(!whole.is_empty(), "{table}: {filter}");
        file.flip(table, field, filter, *byte).await;

        let served = node.get(&format!("/api/v1/log/{SEVENTH}")).await;
        let is_right = served.status == 200 && served.json()["payload"]["n"] == 5;
        assert!(is_right || served.status == 503, "{subject}: {served}");
        let detail = file.repaired(subject).await;

        assert_eq!(file.read(table, fields, filter).await, whole, "{subject}: {detail}");
        file.run("DELETE FROM local_incidents").await;
    }
}

/// Puts a strange row into every view, and counts one event too many.
async fn harm_views(node: &Running) {
    let file = File(node.database().clone());
    file.run("UPDATE view_event_counts SET count = count + 1 WHERE event_type = 'log_genesis'")
        .await;
    file.repaired("view view_event_counts").await;
    let counted = file.read("view_event_counts", "count", "event_type = 'log_genesis'").await;
    assert_eq!(counted, ["1"]);
    file.run("DELETE FROM local_incidents").await;
    for table in VIEWS {
        let (name, columns) = (table.name, table.columns);
        let names = columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        let fields = columns.iter().map(|(_, kind)| match kind {
            Kind::Int => "999",
            Kind::Text | Kind::Bytes => "'zz'",
        });
        let fields = fields.collect::<Vec<_>>().join(", ");
        let whole = file.read(name, &names, "true").await;
        file.run(&format!("INSERT INTO {name} ({names}) VALUES ({fields})")).await;

        file.repaired(&format!("view {name}")).await;

        assert_eq!(file.read(name, &names, "true").await, whole, "{name}");
    }
}

/// A damaged signature can't be made again: the head is dropped, and never served.
async fn harm_signature(node: &Running) {
    let file = File(node.database().clone());
    let oldest = "second = (SELECT MIN(second) FROM log_heads WHERE head_json IS NOT NULL)";
    let text = file.read("log_heads", "head_json", oldest).await.remove(0);
    let size = file.read("log_heads", "tree_size", oldest).await.remove(0);
    let at = text.find("\"signature\":\"").unwrap() - 1 + "\"signature\":\"".len();
    file.flip("log_heads", "head_json", oldest, at + 5).await;

    let detail = file.repaired(&format!("head {size}")).await;

    assert!(detail.contains("dropped"), "{detail}");
    let left = file.read("log_heads", "head_json", "head_json IS NOT NULL").await;
    assert!(left.iter().all(|head| *head != text), "{left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_byte_of_a_leaders_database_flips_is_made_anew_from_its_follower() {
    let mirror = free_address().to_string();
    let peers = format!("http://{mirror}");
    let settings = [EAGER[0], EAGER[1], ("DIOGENES_PEERS", peers.as_str())];
    let site = Place::sqlite().start_with(&settings).await;
    site.grow(299).await;
    let follower = site.follower_with(&[("DIOGENES_LISTEN", &mirror)]).await;
    assert_eq!(follower.address().to_string(), mirror);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    site.append(&json!({ "last": true })).await;

    harm_everywhere(&site.leader, &[]).await;
    harm_views(&site.leader).await;
    harm_signature(&site.leader).await;

    assert_eq!(site.check().await, 301);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_byte_of_a_followers_database_flips_is_made_anew_from_its_leader() {
    let edge = [
        Harm {
            table: "log_entries",
            fields: ENTRY,
            field: "leaf",
            filter: "id = 299",
            byte: 60,
            subject: "edge 299",
        },
        Harm {
            table: "log_state",
            fields: "root_hash, chain_head, tree_size",
            field: "root_hash",
            filter: "id = 1",
            byte: 3,
            subject: "log_state",
        },
        Harm {
            table: "log_state",
            fields: "root_hash, chain_head, tree_size",
            field: "chain_head",
            filter: "id = 1",
            byte: 3,
            subject: "log_state",
        },
        Harm {
            table: "log_state",
            fields: "root_hash, chain_head, tree_size",
            field: "tree_size",
            filter: "id = 1",
            byte: 1,
            subject: "log_state",
        },
    ];
    let site = Place::sqlite().start().await;
    site.grow(299).await;
    let follower = site.follower_with(&EAGER).await;

    harm_everywhere(&follower, &edge).await;
    harm_views(&follower).await;

    site.append(&json!({ "last": true })).await;
    site.level(&follower).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_sends_other_bytes_changes_nothing() {
    let mut book = Book::new(SystemClock.now());
    book.grow(19);
    let liar = Liar::start(book).await;
    let machine = Machine::new(NODE);
    let (follower, node) = follow(&machine, &liar).await;
    let file = File(DatabaseUrl::sqlite(machine.data("follower").join("log.db")));
    let right = file.read("log_entries", ENTRY, "id = 7").await;
    liar.story().garble = Some(|batch| {
        for leaf in &mut batch.leaves {
            if let Some(byte) = leaf.last_mut() {
                *byte ^= 1;
            }
        }
    });
    file.flip("log_entries", "leaf", "id = 7", 60).await;
    let damaged = file.read("log_entries", ENTRY, "id = 7").await;

    eventually("the damage is told", async || {
        let incidents = file.incidents().await;
        incidents.iter().any(|of| of.subject == "edge 7" && of.acked_at.is_none())
    })
    .await;
    assert_eq!(file.read("log_entries", ENTRY, "id = 7").await, damaged);
    let answer = node.get("/api/v1/log/7").await.unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (503, "entry_corrupt"));

    liar.story().garble = None;
    file.repaired("edge 7").await;
    assert_eq!(file.read("log_entries", ENTRY, "id = 7").await, right);
    assert_eq!(node.get("/api/v1/log/7").await.unwrap().status, 200);
    assert_eq!(follower.stop().await, Some(0));
}

/// Starts a follower of the liar's log.
async fn follow(machine: &Machine, liar: &Liar) -> (Process, Node) {
    let operator = liar.story().book.operator().fingerprint();
    let sources = json!([{ "url": liar.node().to_string(), "fingerprint": operator }]).to_string();
    let variables = [("DIOGENES_FEDERATION_OPERATORS", sources.as_str()), EAGER[0], EAGER[1]];
    let address = free_address();
    let args = ["serve", "--listen", &address.to_string()];
    let mut follower = machine.start("follower", "follower", &args, &variables);
    let mirror = Node::local(address);
    follower.ready(&mirror).await;
    (follower, mirror)
}

/// A leader that runs, one of its mirrors, and what a start of either takes.
struct Pair {
    machine: Machine,
    mirror: String,
    operator: String,
}

impl Pair {
    async fn leader(&self, further: &[(&str, &str)]) -> (Process, Node) {
        let address = free_address();
        let args = ["serve", "--listen", &address.to_string()];
        let mut leader = self.machine.start("leader", "leader", &args, further);
        let node = Node::local(address);
        leader.ready(&node).await;
        let token = self.machine.data("leader").join("operator-token");
        let token = std::fs::read_to_string(token).unwrap();
        (leader, node.with_token(Some(token.trim().to_owned())))
    }

    async fn follower(&self, of: &Node) -> Process {
        let sources = json!([{ "url": of.to_string(), "fingerprint": self.operator }]).to_string();
        let variables = [("DIOGENES_FEDERATION_OPERATORS", sources.as_str())];
        let args = ["serve", "--listen", self.mirror.trim_start_matches("http://")];
        let mut follower = self.machine.start("follower", "follower", &args, &variables);
        let mirror = Node::local(args[2].parse().unwrap());
        follower.ready(&mirror).await;
        let size = of.size().await.unwrap();
        eventually("the follower is level", async || mirror.size().await.unwrap_or(0) >= size)
            .await;
        follower
    }
}

/// What a leader signs next rests on the right edge: it ends where the disk lies about that, and
/// starts again once the edge is what was signed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_right_edge_is_damaged_ends_and_is_repaired_by_hand() {
    let machine = Machine::new(NODE);
    let mirror = format!("http://{}", free_address());
    let mut pair = Pair { machine, mirror, operator: String::new() };
    let (leader, node) = pair.leader(&[]).await;
    for n in 0..9 {
        node.append("x-test:event", &json!({ "n": n })).await.unwrap();
    }
    pair.operator = node.well_known().await.unwrap().operator_fingerprint.to_string();
    let follower = pair.follower(&node).await;
    let file = File(DatabaseUrl::sqlite(pair.machine.data("leader").join("log.db")));
    let whole = file.read("log_entries", ENTRY, "true").await;
    assert_eq!(leader.stop().await, Some(0));

    let (mut leader, _) = pair.leader(&EAGER).await;
    file.flip("log_entries", "leaf", "id = 5", 60).await;
    assert_eq!(leader.ended().await.code(), Some(74));
    assert!(leader.log().contains("edge_damaged"), "{}", leader.log());

    for (table, field, filter, byte) in [
        ("log_entries", "leaf", "id = 10", 60),
        ("log_entries", "leaf", "id = 1", 90),
        ("log_state", "root_hash", "id = 1", 9),
        ("log_state", "tree_size", "id = 1", 0),
    ] {
        if table == "log_state" {
            file.flip(table, field, filter, byte).await;
            let refused = ["serve", "--listen", "127.0.0.1:0"];
            assert_eq!(pair.machine.run("leader", "leader", &refused, &[]).code, Some(78));
        } else {
            file.flip(table, field, filter, byte).await;
        }
        let words = ["log", "repair", "--from", &pair.mirror, "--json"];
        let told = pair.machine.run("leader", "leader", &words, &[]).succeeded();
        let told: Value = serde_json::from_str(&told).unwrap();
        assert_eq!(told["whole"], true, "{told}");
        assert_eq!(file.read("log_entries", ENTRY, "true").await, whole, "{told}");
    }

    let (leader, node) = pair.leader(&[]).await;
    node.append("x-test:event", &json!({ "n": "after" })).await.unwrap();
    assert_eq!(diogenes_tests::stranger::read_log(&node).await.unwrap().size(), 11);
    assert_eq!(leader.stop().await, Some(0));
    assert_eq!(follower.stop().await, Some(0));
}
