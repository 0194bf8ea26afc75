//! The faults, planted one by one in copies of real data directories.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use diogenes_common::shutdown::Tasks;
use diogenes_tests::postgres;
use diogenes_tests::process::{Machine, free_address};
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _, SqliteConnection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::{NODE, Seen, copy, grow, serve_leader, source};

/// What is done to a copy of a node's directory, under which settings doctor then runs, and what
/// it must say.
struct Fault {
    name: &'static str,
    plant: Plant,
    variables: Vec<(&'static str, String)>,
    check: &'static str,
    level: &'static str,
}

enum Plant {
    Nothing,
    /// Of the directory itself if the name is empty.
    Mode(&'static str, u32),
    Owner(&'static str),
    Content(&'static str, &'static str),
    Replace(&'static str, &'static str, &'static str),
    Json(&'static str, fn(&mut Value)),
    Remove(&'static str),
    Sql(&'static str),
}

impl Plant {
    async fn apply(&self, directory: &Path) {
        let at = |name: &str| directory.join(name);
        match self {
            Self::Nothing => {}
            Self::Mode(name, mode) => {
                fs::set_permissions(at(name), fs::Permissions::from_mode(*mode)).unwrap();
            }
            Self::Owner(name) => chown(at(name), Some(65_534), None).unwrap(),
            Self::Content(name, content) => fs::write(at(name), content).unwrap(),
            Self::Replace(name, from, to) => {
                let text = fs::read_to_string(at(name)).unwrap();
                assert!(text.contains(from), "{text}");
                fs::write(at(name), text.replace(from, to)).unwrap();
            }
            Self::Json(name, change) => {
                let text = fs::read_to_string(at(name)).unwrap();
                let mut value = serde_json::from_str(&text).unwrap();
                change(&mut value);
                fs::write(at(name), value.to_string()).unwrap();
            }
            Self::Remove(name) => fs::remove_file(at(name)).unwrap(),
            Self::Sql(sql) => tamper(&at("log.db"), sql).await,
        }
    }
}

async fn tamper(database: &Path, sql: &'static str) {
    let url = format!("sqlite://{}", database.display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    let done = connection.execute(sql).await.unwrap();
    assert!(done.rows_affected() > 0, "{sql}");
    connection.close().await.unwrap();
}

fn planted(name: &'static str, plant: Plant, check: &'static str, level: &'static str) -> Fault {
    Fault { name, plant, variables: Vec::new(), check, level }
}

fn configured(
    name: &'static str,
    variables: &[(&'static str, &str)],
    check: &'static str,
    level: &'static str,
) -> Fault {
    let variables = variables.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Fault { name, plant: Plant::Nothing, variables, check, level }
}

/// Plants each fault in a copy of its own and asks doctor.
async fn find_all(machine: &Machine, role: &str, usual: &[(&'static str, &str)], all: Vec<Fault>) {
    for (n, fault) in all.into_iter().enumerate() {
        let name = format!("{role}-{n}");
        copy(machine, role, &name);
        fault.plant.apply(&machine.data(&name)).await;
        let own = fault.variables.iter().map(|(name, value)| (*name, value.as_str()));
        let kept =
            usual.iter().copied().filter(|(name, _)| own.clone().all(|(own, _)| own != *name));
        let variables: Vec<_> = kept.chain(own.clone()).collect();

        let seen = Seen::of(machine, &name, role, &variables);

        seen.names(fault.name, fault.check, fault.level);
        fs::remove_dir_all(machine.data(&name)).unwrap();
    }
}

fn is_root() -> bool {
    std::os::unix::fs::MetadataExt::uid(&fs::metadata("/proc/self").unwrap()) == 0
}

const OTHER: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
const WEAK: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const RANDOM: &str = "q7YB2w8mJ0x_uTn4sKp9ZfV1cRd5eGh6";

fn faults_of_files() -> Vec<Fault> {
    let mut all = vec![
        planted("an open directory", Plant::Mode("", 0o755), "data_directory", "fail"),
        planted("another role", Plant::Content("role", "witness\n"), "data_directory", "fail"),
        planted("an open key", Plant::Mode("operator.pem", 0o644), "files", "fail"),
        planted("an open key is not used", Plant::Mode("operator.pem", 0o644), "key", "fail"),
        planted("an open token", Plant::Mode("operator-token", 0o640), "files", "fail"),
        planted("an open database", Plant::Mode("log.db", 0o644), "files", "warn"),
        planted("no key any more", Plant::Content("operator.pem", "torn"), "key", "fail"),
        planted("a short secret", Plant::Content("secret-key", "short"), "secrets", "fail"),
        planted("no database", Plant::Remove("log.db"), "database", "fail"),
        planted(
            "no database at all",
            Plant::Content("log.db", "torn by a disk"),
            "database",
            "fail",
        ),
        planted("no key at all", Plant::Remove("operator.pem"), "guard", "fail"),
        planted("no guard", Plant::Remove("signed-guard"), "guard", "warn"),
        planted("a torn guard", Plant::Content("signed-guard", "{"), "guard", "fail"),
        planted(
            "a guard of a larger log",
            Plant::Json("signed-guard", |guard| guard["tree_size"] = json!(302)),
            "guard",
            "fail",
        ),
        planted(
            "a guard of another history",
            Plant::Json("signed-guard", |guard| guard["root"] = json!(OTHER)),
            "guard",
            "fail",
        ),
        planted(
            "a guard of another log",
            Plant::Json("signed-guard", |guard| guard["log_id"] = json!(OTHER)),
            "guard",
            "fail",
        ),
    ];
    if is_root() {
        all.push(planted("another owner", Plant::Owner("secret-key"), "files", "fail"));
    }
    all
}

fn faults_of_rows() -> Vec<Fault> {
    let newer = "INSERT INTO _sqlx_migrations SELECT 99, description, installed_on, success, \
                 checksum, execution_time FROM _sqlx_migrations WHERE version = 1";
    let older = "DELETE FROM _sqlx_migrations WHERE version = \
                 (SELECT max(version) FROM _sqlx_migrations)";
    let altered = "UPDATE _sqlx_migrations SET checksum = x'00' WHERE version = 1";
    let head = "UPDATE log_heads SET head_json = replace(head_json, 'timestamp\":\"20', \
                'timestamp\":\"21') WHERE head_json IS NOT NULL";
    let tile = "UPDATE log_tiles SET hashes = zeroblob(length(hashes)) WHERE level = 0";
    let entry = "UPDATE log_entries SET leaf = x'00' WHERE id = (SELECT max(id) FROM log_entries)";
    vec![
        planted("a newer schema", Plant::Sql(newer), "schema", "fail"),
        planted("an older schema", Plant::Sql(older), "schema", "warn"),
        planted("an altered schema", Plant::Sql(altered), "schema", "fail"),
        planted(
            "another root",
            Plant::Sql("UPDATE log_state SET root_hash = zeroblob(32)"),
            "chain",
            "fail",
        ),
        planted(
            "another chain head",
            Plant::Sql("UPDATE log_state SET chain_head = zeroblob(32)"),
            "chain",
            "fail",
        ),
        planted("a head that was changed", Plant::Sql(head), "chain", "fail"),
        planted("a damaged tile", Plant::Sql(tile), "chain", "fail"),
        planted("no tile", Plant::Sql("DELETE FROM log_tiles"), "chain", "fail"),
        planted("a damaged entry", Plant::Sql(entry), "chain", "fail"),
    ]
}

fn faults_of_settings(machine: &Machine) -> Vec<Fault> {
    let nobody = format!("http://{}", free_address());
    let backups = |name: &str, mode: u32| -> String {
        let path = machine.home().join(name);
        fs::create_dir_all(path.join("000000000042-20200101T000000Z")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.display().to_string()
    };
    let installed = |name: &str, to: &str, mode: u32| -> String {
        let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/tls");
        let path = machine.home().join(to);
        fs::copy(vectors.join(name), &path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.display().to_string()
    };
    let cert = installed("one.cert.pem", "cert.pem", 0o644);
    let fitting = installed("one.key.pem", "key.pem", 0o600);
    let other = installed("other.key.pem", "other.pem", 0o600);
    let bare = installed("one.key.pem", "bare.pem", 0o644);
    let (private, open) = (backups("backups", 0o700), backups("open", 0o755));
    let nightly = ("BACKUP_SCHEDULE", "0 43 2 * * *");
    vec![
        configured("no setting", &[("DIOGENES_LISTN", "x")], "configuration", "fail"),
        configured("a bad value", &[("MIN_FREE", "plenty")], "configuration", "fail"),
        configured("no cron", &[("VERIFY_SCHEDULE", "daily")], "configuration", "fail"),
        configured(
            "another name",
            &[("DIOGENES_ORIGIN", "other.example")],
            "configuration",
            "warn",
        ),
        configured("minute 99", &[("VERIFY_SCHEDULE", "0 99 3 * * *")], "schedules", "fail"),
        configured("30 February", &[("VERIFY_SCHEDULE", "0 0 3 30 2 *")], "schedules", "fail"),
        configured("a weak secret", &[("SECRET_KEY", WEAK)], "secrets", "fail"),
        configured("a short secret", &[("SECRET_KEY", "hunter2")], "secrets", "fail"),
        configured("a weak token", &[("OPERATOR_TOKEN", WEAK)], "secrets", "fail"),
        configured(
            "one secret for both",
            &[("SECRET_KEY", RANDOM), ("OPERATOR_TOKEN", RANDOM)],
            "secrets",
            "fail",
        ),
        configured("a full disk", &[("MIN_FREE", "900000 TiB")], "disk_space", "fail"),
        configured("no such database", &[("DATABASE_URL", "mysql://h/d")], "database", "fail"),
        configured("an open port", &[("DIOGENES_LISTEN", "0.0.0.0:19400")], "https", "fail"),
        configured("everybody a proxy", &[("TRUSTED_PROXIES", "0.0.0.0/0")], "https", "fail"),
        configured("half of TLS", &[("TLS_CERT", "cert.pem")], "tls", "fail"),
        configured("no certificate", &[("TLS_CERT", "no"), ("TLS_KEY", "no")], "tls", "fail"),
        configured("TLS", &[("TLS_CERT", &cert), ("TLS_KEY", &fitting)], "tls", "ok"),
        configured("another's key", &[("TLS_CERT", &cert), ("TLS_KEY", &other)], "tls", "fail"),
        configured("an open TLS key", &[("TLS_CERT", &cert), ("TLS_KEY", &bare)], "tls", "fail"),
        configured("plain http", &[("ENFORCE_HTTPS", "false")], "https", "warn"),
        configured("no backups", &[], "backups", "warn"),
        configured("nowhere to back up", &[nightly], "backups", "fail"),
        configured("lost backups", &[nightly, ("BACKUP_DIR", "lost")], "backups", "fail"),
        configured("old backups", &[nightly, ("BACKUP_DIR", &private)], "backups", "fail"),
        configured("open backups", &[nightly, ("BACKUP_DIR", &open)], "backups", "fail"),
        configured("backups by hand", &[("BACKUP_DIR", &private)], "backups", "warn"),
        configured("anybody appends", &[("APPEND_POLICY", "open")], "append_policy", "warn"),
        configured("bare nonces", &[], "legacy_challenge", "warn"),
        configured("many lines", &[("LOG_LEVEL", "trace")], "log_level", "warn"),
        configured("no peers", &[], "peers", "warn"),
        configured("a silent peer", &[("DIOGENES_PEERS", &nobody)], "peers", "warn"),
        configured("http", &[("DIOGENES_PEERS", "http://peer.example")], "peers", "fail"),
    ]
}

/// Every fault of a leader that a file, a row or a setting makes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_of_a_leader_is_found() {
    let machine = Machine::new(NODE);
    let (leader, node) = serve_leader(&machine, &[]).await;
    grow(&node, 300).await;
    assert_eq!(leader.stop().await, Some(0));
    let free = free_address().to_string();
    let usual = [("DIOGENES_LISTEN", free.as_str())];

    find_all(&machine, "leader", &usual, faults_of_files()).await;
    find_all(&machine, "leader", &usual, faults_of_rows()).await;
    find_all(&machine, "leader", &usual, faults_of_settings(&machine)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_of_a_follower_is_found() {
    let machine = Machine::new(NODE);
    let (leader, node) = serve_leader(&machine, &[]).await;
    let operator = node.well_known().await.unwrap().operator_fingerprint.to_string();
    let (own, free) = (source(node.address(), &operator), free_address().to_string());
    let usual = [("DIOGENES_FEDERATION_OPERATORS", own.as_str()), ("DIOGENES_LISTEN", &free)];
    let mut follower = machine.start("follower", "follower", &["serve"], &usual);
    follower.ready(&diogenes_tests::http::Node::local(free.parse().unwrap())).await;
    assert_eq!(follower.stop().await, Some(0));

    let other = format!("sha256:{}", "ab".repeat(32));
    let (wrong, silent) = (source(node.address(), &other), source(free_address(), &operator));
    let name = "DIOGENES_FEDERATION_OPERATORS";
    let faults = vec![
        configured("a wrong fingerprint", &[(name, &wrong)], "sources", "fail"),
        configured("the log of another operator", &[(name, &wrong)], "chain", "fail"),
        configured("a silent source", &[(name, &silent)], "sources", "fail"),
        configured("no source", &[(name, "")], "sources", "fail"),
        configured("a weak secret", &[("SECRET_KEY", WEAK)], "secrets", "fail"),
        planted("an open key", Plant::Mode("follower.pem", 0o644), "files", "fail"),
        planted("no database", Plant::Remove("log.db"), "database", "warn"),
        planted(
            "another root",
            Plant::Sql("UPDATE log_state SET root_hash = zeroblob(32)"),
            "chain",
            "fail",
        ),
    ];
    find_all(&machine, "follower", &usual, faults).await;
    assert_eq!(leader.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_of_a_witness_is_found() {
    let machine = Machine::new(NODE);
    let (leader, node) = serve_leader(&machine, &[]).await;
    let url = node.to_string();
    machine.run("witness", "witness", &["fingerprint"], &[]).succeeded();
    // Not authorised, and yet its state has a line.
    machine.run("witness", "witness", &["submit", "--server", &url], &[]);

    let faults = vec![
        planted("an open directory", Plant::Mode("", 0o750), "data_directory", "fail"),
        planted("an open key", Plant::Mode("witness.pem", 0o604), "files", "fail"),
        planted("a torn key", Plant::Content("witness.pem", ""), "key", "fail"),
        planted("a torn state", Plant::Content("state.json", "{"), "state", "fail"),
        planted("no index", Plant::Remove("index.jsonl"), "state", "fail"),
        planted("an emptied index", Plant::Content("index.jsonl", ""), "state", "fail"),
        planted("a changed line", Plant::Replace("index.jsonl", "\"20", "\"21"), "state", "fail"),
        configured("no name", &[("DIOGENES_WITNESS_NAME", "a b")], "configuration", "fail"),
        configured("no key", &[("DIOGENES_WITNESS_OPERATOR", "x")], "configuration", "fail"),
        configured("no list", &[("LOG_LISTS", "gone.list")], "log_servers", "fail"),
        configured("an open port", &[("DIOGENES_LISTEN", "0.0.0.0:19401")], "https", "fail"),
    ];
    find_all(&machine, "witness", &[], faults).await;

    let silent = format!("http://{}", free_address());
    let other = format!("sha256:{}", "ab".repeat(32));
    let pinned = [("DIOGENES_WITNESS_OPERATOR", other.as_str())];
    for (fault, server, variables) in
        [("a silent server", &silent, &[][..]), ("another operator", &url, &pinned)]
    {
        let seen = Seen::with(&machine, "witness", "witness", &["--server", server], variables);

        seen.names(fault, "log_servers", "fail");
    }
    assert_eq!(leader.stop().await, Some(0));
}

/// A server that gives every request the same answer.
async fn answering(answer: &'static str) -> (SocketAddr, Tasks) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (address, tasks) = (listener.local_addr().unwrap(), Tasks::new());
    tasks.spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _head = client.read(&mut request).await;
            let _sent = client.write_all(answer.as_bytes()).await;
        }
    });
    (address, tasks)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_answer_is_judged() {
    let machine = Machine::new(NODE);
    machine.run("leader", "leader", &["init"], &[]).succeeded();
    let (early, _early) = answering(
        "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 3\r\n\
         Connection: close\r\n\r\nok\n",
    )
    .await;
    let (stranger, _stranger) =
        answering("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
    let (sent_back, _sent_back) = answering(
        "HTTP/1.1 308 Permanent Redirect\r\nLocation: https://log.example/\r\nContent-Length: 0\r\n\
         Connection: close\r\n\r\n",
    )
    .await;

    let peer = format!("http://{early}");
    let seen = Seen::of(&machine, "leader", "leader", &[("DIOGENES_PEERS", &peer)]);
    seen.names("a peer with another clock", "clock", "fail");

    let listen = stranger.to_string();
    let seen = Seen::of(&machine, "leader", "leader", &[("DIOGENES_LISTEN", &listen)]);
    seen.names("another program on the port", "listener", "fail");

    let listen = early.to_string();
    let seen = Seen::of(&machine, "leader", "leader", &[("DIOGENES_LISTEN", &listen)]);
    seen.names("another node on the port", "listener", "fail");

    let url = format!("http://{sent_back}");
    let seen = Seen::with(&machine, "leader", "leader", &["--url", &url], &[]);
    seen.names("a proxy without X-Forwarded-Proto", "public_url", "fail");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_leader_that_does_not_answer_where_it_should_is_found() {
    let machine = Machine::new(NODE);
    let (leader, node) = serve_leader(&machine, &[]).await;
    let (other, elsewhere) = (free_address().to_string(), Machine::new(NODE));
    let (stranger, of_stranger) = serve_leader(&elsewhere, &[]).await;

    let seen = Seen::of(&machine, "leader", "leader", &[("DIOGENES_LISTEN", &other)]);
    seen.names("another address", "listener", "fail");

    let (own, peer) = (node.address().to_string(), of_stranger.to_string());
    let variables = [("DIOGENES_LISTEN", own.as_str()), ("DIOGENES_PEERS", peer.as_str())];
    let seen = Seen::of(&machine, "leader", "leader", &variables);
    seen.names("a peer of another log", "peers", "fail");

    let variables = [("DIOGENES_LISTEN", own.as_str())];
    let seen = Seen::with(&machine, "leader", "leader", &["--url", &peer], &variables);
    seen.names("the URL of another log", "public_url", "fail");
    assert_eq!(stranger.stop().await, Some(0));
    assert_eq!(leader.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_faults_of_a_postgresql_server_are_found() {
    if tokio::task::spawn_blocking(postgres::cluster).await.unwrap().is_none() {
        return;
    }
    let machine = Machine::new(NODE);
    let cluster = tokio::task::spawn_blocking(postgres::Cluster::start_own).await.unwrap().unwrap();
    let url = cluster.database().unwrap().to_string();
    let database = [("DATABASE_URL", url.as_str())];
    let (leader, node) = serve_leader(&machine, &database).await;
    grow(&node, 300).await;
    let listen = node.address().to_string();
    let variables = [("DATABASE_URL", url.as_str()), ("DIOGENES_LISTEN", &listen)];

    let seen = Seen::of(&machine, "leader", "leader", &variables);
    seen.is_healthy();
    for check in ["database", "schema", "durability", "database_tls", "chain", "guard"] {
        assert!(seen.has(check, "ok"), "{check}: {:#}", seen.report);
    }
    seen.names("a superuser", "database_rights", "warn");

    let name = url.rsplit('/').next().unwrap().to_owned();
    cluster.sql("postgres", "CREATE ROLE reader LOGIN").unwrap();
    cluster.sql(&name, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader").unwrap();
    let read_only = url.replace("postgres@", "reader@");
    let seen = Seen::of(
        &machine,
        "leader",
        "leader",
        &[("DATABASE_URL", &read_only), ("DIOGENES_LISTEN", &listen)],
    );
    seen.names("a user who may not write", "database_rights", "fail");

    assert_eq!(leader.stop().await, Some(0));
    cluster.sql("postgres", "ALTER SYSTEM SET synchronous_commit = off").unwrap();
    cluster.sql("postgres", "SELECT pg_reload_conf()").unwrap();
    let forgetful =
        async || Seen::of(&machine, "leader", "leader", &database).has("durability", "fail");
    diogenes_tests::process::eventually("the server reads its settings", forgetful).await;

    cluster.sql(&name, "UPDATE log_state SET root_hash = decode(repeat('00', 32), 'hex')").unwrap();
    Seen::of(&machine, "leader", "leader", &database).names("another root", "chain", "fail");

    cluster.stop_server().unwrap();
    Seen::of(&machine, "leader", "leader", &database).names("no server", "database", "fail");
}
