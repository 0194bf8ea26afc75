//! Backups: made while the node runs, put back elsewhere, on either database.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use diogenes_common::backup;
use diogenes_common::merkle::Hash;
use diogenes_common::store::DatabaseUrl;
use diogenes_tests::http::Node;
use diogenes_tests::process::{Ended, Machine, Process, eventually, free_address};
use diogenes_tests::stranger;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::site::durable_database;
use crate::view_rows;

const NODE: &str = env!("CARGO_BIN_EXE_diogenes-node");

/// How many clients append while a backup is made.
const CLIENTS: usize = 4;

/// Where a node keeps its log: in its directory, or in that PostgreSQL database.
#[derive(Clone, Default)]
struct Database(Option<String>);

impl Database {
    /// An empty one on PostgreSQL.
    async fn postgres() -> Option<Self> {
        Some(Self(Some(durable_database().await?)))
    }

    fn variables(&self) -> Vec<(&str, &str)> {
        self.0.iter().map(|url| ("DATABASE_URL", url.as_str())).collect()
    }

    fn url(&self, data: &Path) -> DatabaseUrl {
        match &self.0 {
            Some(url) => url.parse().unwrap(),
            None => DatabaseUrl::sqlite(data.join("log.db")),
        }
    }
}

/// A machine with nodes that are backed up.
struct Site {
    machine: Machine,
    place: PathBuf,
}

impl Site {
    fn new() -> Self {
        let machine = Machine::new(NODE);
        let place = machine.home().join("backups");
        Self { machine, place }
    }

    /// Starts a leader in the directory of that name.
    async fn leader(&self, name: &str, on: &Database, args: &[&str]) -> (Process, Node) {
        self.leader_with(name, &on.variables(), args).await
    }

    async fn leader_with(
        &self,
        name: &str,
        variables: &[(&str, &str)],
        args: &[&str],
    ) -> (Process, Node) {
        let address = free_address();
        let listen = address.to_string();
        let args = [&["serve", "--listen", listen.as_str()][..], args].concat();
        let mut leader = self.machine.start(name, "leader", &args, variables);
        let node = Node::local(address);
        leader.ready(&node).await;
        let token = fs::read_to_string(self.machine.data(name).join("operator-token")).unwrap();
        (leader, node.with_token(Some(token.trim().to_owned())))
    }

    /// Runs a command of a leader.
    fn run(&self, name: &str, on: &Database, args: &[&str]) -> Ended {
        self.machine.run(name, "leader", args, &on.variables())
    }

    /// Makes a backup, and answers what was said of it.
    fn back_up(&self, name: &str, on: &Database) -> Value {
        let place = self.place.to_str().unwrap();
        let said = self.run(name, on, &["backup", place, "--json"]).succeeded();
        serde_json::from_str(&said).unwrap()
    }

    fn restore(&self, name: &str, on: &Database) -> Ended {
        self.run(name, on, &["restore", self.place.to_str().unwrap()])
    }

    /// The names of the whole backups, oldest first.
    fn backups(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.place).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
        names.sort();
        names
    }

    /// A leader that was stopped after it appended a few entries, and its backup.
    async fn backed_up(&self) -> PathBuf {
        let (leader, node) = self.leader("leader", &Database::default(), &[]).await;
        grow(&node, 5).await;
        let made = self.back_up("leader", &Database::default());
        assert_eq!(leader.stop().await, Some(0));
        PathBuf::from(made["path"].as_str().unwrap())
    }
}

async fn grow(node: &Node, more: u64) {
    for n in 0..more {
        node.append("x-test:event", &json!({ "n": n })).await.unwrap();
    }
}

/// Appends from several clients at once until the set is dropped.
fn load(node: &Node) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let node = node.clone();
        clients.spawn(async move {
            for n in 0.. {
                let event = json!({ "client": client, "n": n });
                // A database that answers late is 503; what counts is what the backup holds.
                let _sent = node.append("x-test:event", &event).await;
            }
        });
    }
    clients
}

/// Runs what blocks beside what runs.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// A leader under load is backed up, put back elsewhere, compared and gone on with.
async fn round_trip(from: Database, to: Database) {
    let site = std::sync::Arc::new(Site::new());
    let (leader, node) = site.leader("leader", &from, &[]).await;
    // More than one run of hashes and more than a tile, and something in the views.
    append(&node, 5).await;
    let witness = json!({ "fingerprint": "0123456789abcdef", "name": "W" });
    assert!(node.post("/api/v1/operator/witnesses", &witness).await.unwrap().is_success());
    let clients = load(&node);
    let (working, source) = (site.clone(), from.clone());
    let made = blocking(move || working.back_up("leader", &source)).await;
    let size = made["tree_size"].as_u64().unwrap();
    eventually("the leader goes on", async || node.size().await.is_ok_and(|now| now > size)).await;
    drop(clients);
    assert!(size > 5_000, "{made}");

    let (working, target) = (site.clone(), to.clone());
    let restored = blocking(move || working.restore("copy", &target)).await.succeeded();

    assert!(restored.starts_with(&format!("Restored {size} entries of ")), "{restored}");
    let next = format!("--accept-size {size}");
    assert!(restored.contains(&next), "{restored}");
    let original = stranger::read_log(&node).await.unwrap();
    assert!(original.size() > size, "the leader went on meanwhile");
    let size_text = size.to_string();
    let (copy, copied) = site.leader("copy", &to, &["--accept-size", &size_text]).await;
    let log = stranger::read_log(&copied).await.unwrap();
    assert_eq!(log.root_at(size), original.root_at(size));
    assert_eq!(json!(log.root_at(size)), made["root_hash"]);
    grow(&copied, 1).await;
    assert_eq!(copied.size().await.unwrap(), size + 1);
    assert_eq!(copy.stop().await, Some(0));
    assert_eq!(leader.stop().await, Some(0));
    check_views(&site, &to).await;
}

/// Appends so many thousand events.
async fn append(node: &Node, thousands: usize) {
    let line = |n| json!({ "event_type": "x-test:event", "payload": { "n": n } }).to_string();
    let lines = (0..1_000).map(line).collect::<Vec<_>>().join("\n").into_bytes();
    for _ in 0..thousands {
        node.append_lines(lines.clone()).await.unwrap();
    }
}

/// The views of a restored leader are what its log gives.
async fn check_views(site: &Site, on: &Database) {
    let url = on.url(&site.machine.data("copy"));
    let restored = view_rows::dump(&url).await;
    site.run("copy", on, &["rebuild-views"]).succeeded();
    assert_eq!(restored, view_rows::dump(&url).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_under_load_is_backed_up_and_restored_elsewhere() {
    round_trip(Database::default(), Database::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_on_postgresql_is_backed_up_under_load_and_restored_elsewhere() {
    let Some(from) = Database::postgres().await else { return };
    let Some(to) = Database::postgres().await else { return };
    round_trip(from, to).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_sqlite_restores_into_postgresql() {
    let Some(to) = Database::postgres().await else { return };
    round_trip(Database::default(), to).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_postgresql_restores_into_sqlite() {
    let Some(from) = Database::postgres().await else { return };
    round_trip(from, Database::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_before_a_backup_is_in_it() {
    let site = Site::new();
    let (leader, node) = site.leader("leader", &Database::default(), &[]).await;
    grow(&node, 3).await;

    let made = site.back_up("leader", &Database::default());

    assert_eq!(made["tree_size"], 4);
    assert_eq!(made["has_keys"], true);
    assert_eq!(leader.stop().await, Some(0));
    let again = site.back_up("leader", &Database::default());
    assert_eq!(again["root_hash"], made["root_hash"], "a leader at rest is backed up as well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_leader_signs_nothing_before_its_operator_vouches_for_the_size() {
    let site = Site::new();
    let backup = site.backed_up().await;
    site.restore("copy", &Database::default()).succeeded();
    assert!(!site.machine.data("copy").join("signed-guard").exists());
    assert!(!backup.join("keys/signed-guard").exists());

    let address = free_address();
    let listen = address.to_string();
    let mut copy = site.machine.start("copy", "leader", &["serve", "--listen", &listen], &[]);
    let node = Node::local(address);
    copy.answers(&node, "/api/v1/log/sth").await;

    assert_eq!(node.size().await.unwrap(), 6);
    let refused = node.append("x-test:event", &json!({})).await;
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(copy.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_for_their_owner_alone() {
    let site = Site::new();
    let backup = site.backed_up().await;
    site.restore("copy", &Database::default()).succeeded();

    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(backup.clone()), 0o700);
    for name in ["operator.pem", "operator-token", "secret-key"] {
        let (kept, restored) =
            (backup.join("keys").join(name), site.machine.data("copy").join(name));
        assert_eq!(fs::read(&kept).unwrap(), fs::read(&restored).unwrap(), "{name}");
        assert_eq!((mode(kept), mode(restored)), (0o600, 0o600), "{name}");
    }
    let listed: Vec<_> = fs::read_dir(backup.join("keys")).unwrap().collect();
    assert_eq!(listed.len(), 3, "{listed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_as_many_backups_are_kept_as_were_asked_for() {
    let site = Site::new();
    let (leader, node) = site.leader("leader", &Database::default(), &[]).await;
    for _ in 0..3 {
        grow(&node, 1).await;
        site.back_up("leader", &Database::default());
    }
    assert_eq!(site.backups().len(), 3);
    fs::create_dir(site.place.join("mine")).unwrap();
    grow(&node, 1).await;

    let place = site.place.to_str().unwrap();
    let args = ["backup", place, "--keep", "2", "--json"];
    let said = site.run("leader", &Database::default(), &args).succeeded();

    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["deleted"].as_array().map(Vec::len), Some(2));
    let left = site.backups();
    assert_eq!(left.len(), 3, "{left:?}");
    assert!(left[0].starts_with("000000000004-") && left[1].starts_with("000000000005-"));
    assert_eq!(left[2], "mine");
    assert_eq!(leader.stop().await, Some(0));
}

/// Flips one bit of a file, looks, and puts the file back.
fn flipped<T>(file: &Path, at: usize, look: impl FnOnce() -> T) -> T {
    let whole = fs::read(file).unwrap();
    let mut bytes = whole.clone();
    bytes[at] ^= 1;
    fs::write(file, bytes).unwrap();
    let seen = look();
    fs::write(file, whole).unwrap();
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_anywhere_in_a_backup_is_found() {
    let site = Site::new();
    let backup = site.backed_up().await;
    let files = ["manifest.json", "entries.bin", "rows.ndjson"].map(|name| backup.join(name));
    let keys = ["operator.pem", "operator-token", "secret-key"];
    let keys = keys.map(|name| backup.join("keys").join(name));
    backup::verify(&backup, None, &()).unwrap();

    for file in files.iter().chain(&keys) {
        let length = fs::read(file).unwrap().len();
        // Every byte of what is small, some of what is not.
        let step = (length / 300).max(1);
        for at in (0..length).step_by(step) {
            let found = flipped(file, at, || backup::verify(&backup, None, &()));
            assert!(found.is_err(), "{}: byte {at}", file.display());
        }
        let said = flipped(file, length / 2, || {
            site.run(
                "leader",
                &Database::default(),
                &["backup", "verify", backup.to_str().unwrap()],
            )
        });
        assert_eq!(said.code, Some(1), "{}: {said:?}", file.display());
        assert!(said.errors.starts_with("error[backup_damaged]: "), "{said:?}");
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(said.errors.contains(name) || name == "manifest.json", "{said:?}");
    }
    let said = site.run(
        "leader",
        &Database::default(),
        &["backup", "verify", site.place.to_str().unwrap()],
    );
    assert!(said.succeeded().starts_with("Verified 6 entries of "));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_backup_is_not_restored_and_leaves_nothing_behind() {
    let site = Site::new();
    let backup = site.backed_up().await;

    let refused =
        flipped(&backup.join("entries.bin"), 100, || site.restore("copy", &Database::default()));

    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.errors.contains("backup_damaged"), "{refused:?}");
    assert!(!site.machine.data("copy").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_restored_over_something_else() {
    let site = Site::new();
    site.backed_up().await;
    let place = site.place.to_str().unwrap();

    let used = site.restore("leader", &Database::default());
    assert_eq!(used.code, Some(78), "{used:?}");
    assert!(used.errors.contains("error[not_empty]"), "{used:?}");

    let url = DatabaseUrl::sqlite(site.machine.data("leader").join("log.db"));
    let foreign = Database(Some(format!("sqlite://{}", url.sqlite_path().unwrap().display())));
    let used = site.restore("copy", &foreign);
    assert_eq!(used.code, Some(78), "{used:?}");
    assert!(used.errors.contains("the database is not empty"), "{used:?}");
    assert!(!site.machine.data("copy").join("restoring").exists());

    let other = site.machine.run("copy", "follower", &["restore", place], &[]);
    assert_ne!(other.code, Some(0), "{other:?}");
    let other = site.machine.run("mirror", "follower", &["restore", place], &[]);
    assert_eq!(other.code, Some(1), "{other:?}");
    assert!(other.errors.contains("use `diogenes-leader restore`"), "{other:?}");

    let none = site.run("copy", &Database::default(), &["restore", "/nowhere/at/all"]);
    assert!(none.errors.contains("error[no_backup]"), "{none:?}");
    site.restore("copy", &Database::default()).succeeded();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_may_be_kept_elsewhere() {
    let site = Site::new();
    let backup = site.backed_up().await;
    let vault = site.machine.home().join("vault");
    fs::rename(backup.join("keys"), &vault).unwrap();
    let place = site.place.to_str().unwrap();

    let verified = site.run("leader", &Database::default(), &["backup", "verify", place]);
    assert!(verified.succeeded().contains("keys are kept elsewhere"));
    let refused = site.restore("copy", &Database::default());
    assert!(refused.errors.contains("error[keys_missing]"), "{refused:?}");

    let with_keys = ["restore", place, "--keys", vault.to_str().unwrap()];
    site.run("copy", &Database::default(), &with_keys).succeeded();

    let restored = fs::read(site.machine.data("copy").join("operator.pem")).unwrap();
    assert_eq!(Hash::of(&restored), Hash::of(&fs::read(vault.join("operator.pem")).unwrap()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_restore_is_refused_by_a_start_and_finished_by_the_next_one() {
    let site = Site::new();
    let (leader, node) = site.leader("leader", &Database::default(), &[]).await;
    append(&node, 3).await;
    let made = site.back_up("leader", &Database::default());
    site.restore("copy", &Database::default()).succeeded();
    // As it stands where the power failed after the first entries: without keys, and marked.
    let copy = site.machine.data("copy");
    fs::write(copy.join("restoring"), made["path"].as_str().unwrap()).unwrap();
    for name in ["operator.pem", "operator-token", "secret-key"] {
        fs::remove_file(copy.join(name)).unwrap();
    }
    grow(&node, 3).await;
    let newer = site.back_up("leader", &Database::default());
    assert_eq!(leader.stop().await, Some(0));

    let refused = site.run("copy", &Database::default(), &["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(refused.code, Some(78), "{refused:?}");
    assert!(refused.errors.contains("restore_unfinished"), "{refused:?}");

    let other = Site::new();
    let stranger = other.backed_up().await;
    let wrong = site.run("copy", &Database::default(), &["restore", stranger.to_str().unwrap()]);
    assert!(wrong.errors.contains("not the beginning of this backup"), "{wrong:?}");

    site.restore("copy", &Database::default()).succeeded();
    assert!(!copy.join("restoring").exists());
    let verified = site.run("copy", &Database::default(), &["log", "verify", "--json"]).succeeded();
    let verified: Value = serde_json::from_str(&verified).unwrap();
    assert_eq!((&verified["root_hash"], &verified["valid"]), (&newer["root_hash"], &json!(true)));
    check_views(&site, &Database::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_is_backed_up_and_goes_on_elsewhere() {
    let site = Site::new();
    let (leader, node) = site.leader("leader", &Database::default(), &[]).await;
    grow(&node, 5).await;
    let fingerprint = node.well_known().await.unwrap().operator_fingerprint;
    let source = json!([{ "url": node.to_string(), "fingerprint": fingerprint }]).to_string();
    let variables = [("DIOGENES_FEDERATION_OPERATORS", &*source), ("DIOGENES_POLL", "50ms")];
    let start = |name: &str| {
        let address = free_address();
        let listen = address.to_string();
        let args = ["serve", "--listen", listen.as_str()];
        (site.machine.start(name, "follower", &args, &variables), Node::local(address))
    };
    let caught_up = async |mirror: &Node, size: u64| {
        eventually("the follower has everything", async || {
            mirror.size().await.is_ok_and(|held| held == size)
        })
        .await;
    };
    let (follower, mirror) = start("follower");
    caught_up(&mirror, 6).await;
    let place = site.place.to_str().unwrap();

    let said = site.machine.run("follower", "follower", &["backup", place], &variables);
    assert!(said.succeeded().starts_with("Backed up and verified 6 entries of "));
    assert_eq!(follower.stop().await, Some(0));
    grow(&node, 3).await;
    let said = site.machine.run("copy", "follower", &["restore", place], &variables);
    assert!(said.succeeded().contains("diogenes-follower serve --data-dir"));

    let (copy, mirror) = start("copy");
    caught_up(&mirror, 9).await;
    let [log, mirrored] = [&node, &mirror].map(stranger::read_log);
    assert_eq!(mirrored.await.unwrap().root_at(9), log.await.unwrap().root_at(9));
    let key = |name: &str| fs::read(site.machine.data(name).join("follower.pem")).unwrap();
    assert_eq!(key("copy"), key("follower"));
    assert_eq!(copy.stop().await, Some(0));
    assert_eq!(leader.stop().await, Some(0));
}

/// The value of a series without labels.
async fn metric(node: &Node, name: &str) -> i64 {
    let text = String::from_utf8(node.get("/metrics").await.unwrap().body).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} is not in\n{text}")).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_scheduled_happens_and_is_measured() {
    let site = Site::new();
    let place = site.place.to_str().unwrap();
    let variables = [
        ("VERIFY_SCHEDULE", "* * * * * *"),
        ("BACKUP_SCHEDULE", "* * * * * *"),
        ("BACKUP_DIR", place),
        ("BACKUP_KEEP", "2"),
    ];
    let (leader, node) = site.leader_with("leader", &variables, &[]).await;
    grow(&node, 3).await;

    eventually("the log is verified", async || {
        metric(&node, "diogenes_chain_verified_tree_size_entries").await >= 4
    })
    .await;
    eventually("backups are made and measured", async || {
        metric(&node, "diogenes_backup_last_success_timestamp_seconds").await > 0
    })
    .await;

    assert_eq!(metric(&node, "diogenes_chain_verification_errors").await, 0);
    assert!(metric(&node, "diogenes_chain_verified_timestamp_seconds").await > 0);
    eventually("older backups are deleted", async || site.backups().len() == 2).await;
    assert!(leader.log().contains("a backup was made and verified"), "{}", leader.log());
    assert_eq!(leader.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_fails_is_an_error_with_advice_and_stops_nothing() {
    let site = Site::new();
    fs::write(&site.place, "a file where the directory should be").unwrap();
    let place = site.place.to_str().unwrap();
    let variables =
        [("BACKUP_SCHEDULE", "* * * * * *"), ("BACKUP_DIR", place), ("LOG_FORMAT", "json")];
    let (leader, node) = site.leader_with("leader", &variables, &[]).await;

    eventually("the failure is told", async || leader.log().contains("no backup was made")).await;

    let log = leader.log();
    let line = log.lines().find(|line| line.contains("no backup was made")).unwrap();
    assert!(line.contains("ERROR") && line.contains("\"help\":"), "{line}");
    grow(&node, 1).await;
    assert_eq!(leader.stop().await, Some(0));
}

#[test]
fn a_schedule_without_a_place_for_backups_does_not_start() {
    let site = Site::new();
    let variables = [("BACKUP_SCHEDULE", "0 0 4 * * *")];

    let args = ["serve", "--listen", "127.0.0.1:0"];
    let refused = site.machine.run("leader", "leader", &args, &variables);

    assert_eq!(refused.code, Some(78), "{refused:?}");
    assert!(refused.errors.contains("set BACKUP_DIR"), "{refused:?}");
}
