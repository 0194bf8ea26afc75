//! A throw-away PostgreSQL cluster for the tests of one process.
//!
//! The first test that needs it starts it: `initdb` into a fresh temporary directory, TCP on a
//! free port of the loopback, and a template database with the schema in it, from which every
//! test gets a database of its own. It ends with the process however that dies: a watchdog waits
//! for the end of a pipe that the process holds open.

use std::env;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use diogenes_common::store::{DatabaseUrl, OpenOptions, Store};
use rustix::process::{Pid, Signal, kill_process};

use crate::process::free_address;

/// The oldest version that the product supports.
const OLDEST: u32 = 14;

/// How long the server may take to be up, or to end.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    programs: PathBuf,
    directory: PathBuf,
    port: u16,
    /// Whether the server makes durable what it confirms.
    durable: bool,
    databases: AtomicU32,
    /// As whom the children run, when the tests run as root.
    user: Option<(u32, u32)>,
    server: Mutex<Option<Server>>,
}

/// A server, and what ends it with this process.
#[derive(Debug)]
struct Server {
    process: Child,
    /// Closed by the kernel when this process ends: the watchdog's sign.
    alive: ChildStdin,
}

/// The cluster of this test process, started on first use.
///
/// Without PostgreSQL on the machine: `None`, said once; with `CI` set the test fails instead.
pub fn cluster() -> Option<&'static Cluster> {
    static CLUSTER: OnceLock<Option<Cluster>> = OnceLock::new();
    CLUSTER
        .get_or_init(|| {
            let Some(programs) = find_programs() else {
                assert!(env::var_os("CI").is_none(), "CI must have PostgreSQL >= {OLDEST}");
                eprintln!("skipped: no PostgreSQL");
                return None;
            };
            Some(Cluster::start(programs, false).expect("a fresh cluster starts"))
        })
        .as_ref()
}

/// A new database with the schema in it; `None` where there is no PostgreSQL.
pub async fn database() -> Option<DatabaseUrl> {
    let cluster = cluster()?;
    let made = tokio::task::spawn_blocking(|| cluster.database());
    Some(made.await.expect("the task does not panic").expect("a database is made"))
}

impl Cluster {
    /// Starts another cluster, for a test that harms its server. `fsync` is on.
    pub fn start_own() -> anyhow::Result<Self> {
        Self::start(find_programs().context("no PostgreSQL")?, true)
    }

    fn start(programs: PathBuf, durable: bool) -> anyhow::Result<Self> {
        let user = unprivileged()?;
        let directory = fresh_directory(user)?;
        let port = free_address().port();
        let (databases, server) = (AtomicU32::new(0), Mutex::new(None));
        let cluster = Self { programs, directory, port, durable, databases, user, server };
        cluster.initialise()?;
        cluster.start_server()?;
        cluster.make_template()?;
        Ok(cluster)
    }

    /// Makes a database from the migrated template.
    pub fn database(&self) -> anyhow::Result<DatabaseUrl> {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name} TEMPLATE migrated"))?;
        Ok(self.url(&name))
    }

    /// Copies a database whose clients are gone, or killed and not yet missed.
    pub fn copy(&self, of: &DatabaseUrl) -> anyhow::Result<DatabaseUrl> {
        let url = of.to_string();
        let path = url.split('?').next().unwrap_or_default();
        let from = path.rsplit('/').next().context("an address with a database")?;
        let to = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let ended = format!(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{from}'"
        );
        self.sql("postgres", &ended)?;
        self.sql("postgres", &format!("CREATE DATABASE {to} TEMPLATE {from}"))?;
        Ok(self.url(&to))
    }

    /// Runs SQL as the superuser; answers what `psql` printed.
    pub fn sql(&self, database: &str, sql: &str) -> anyhow::Result<String> {
        let port = self.port.to_string();
        let output = self
            .command("psql")
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1"])
            .args(["-p", &port, "-U", "postgres", "-d", database, "-c", sql])
            .output()?;
        ensure!(output.status.success(), "psql: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// Where a database of this cluster is.
    pub fn url(&self, database: &str) -> DatabaseUrl {
        format!("postgres://postgres@127.0.0.1:{}/{database}?sslmode=disable", self.port)
            .parse()
            .expect("the address is well formed")
    }

    /// The processes of the server, itself first, to stop, continue or kill them.
    pub fn pids(&self) -> anyhow::Result<Vec<String>> {
        let file = fs::read_to_string(self.directory.join("data/postmaster.pid"))?;
        let server = file.lines().next().context("an empty pid file")?.to_owned();
        let children = fs::read_to_string(format!("/proc/{server}/task/{server}/children"))?;
        let children: Vec<_> = children.split_whitespace().map(str::to_owned).collect();
        Ok([vec![server], children].concat())
    }

    /// Stops the server as its operator would: clients are cut off, what was confirmed stays.
    pub fn stop_server(&self) -> anyhow::Result<()> {
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        let process = &mut server.as_mut().context("no server was started")?.process;
        let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.context("a process has a number")?, Signal::INT)?;
        let deadline = Instant::now() + PATIENCE;
        while process.try_wait()?.is_none() {
            ensure!(Instant::now() < deadline, "PostgreSQL does not stop: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Starts the server; one that was stopped comes back on its port with its databases.
    pub fn start_server(&self) -> anyhow::Result<()> {
        let process = self.serve()?;
        let alive = watchdog(&process, &self.directory)?;
        let started = Server { process, alive };
        let before = self.server.lock().unwrap_or_else(PoisonError::into_inner).replace(started);
        if let Some(mut before) = before {
            // Its watchdog would remove the directory under the new one.
            before.alive.write_all(b"relieved\n")?;
        }
        self.wait_until_ready()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(&self.directory).env_clear().env("LC_ALL", "C");
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command
    }

    fn initialise(&self) -> anyhow::Result<()> {
        let output = self
            .command("initdb")
            .args(["-D", "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"])
            .output()?;
        ensure!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    fn serve(&self) -> anyhow::Result<Child> {
        let log = self.directory.join("log");
        let log = fs::File::options().create(true).append(true).open(log)?;
        let mut command = self.command("postgres");
        command.args(["-D", "data", "-c", "listen_addresses=127.0.0.1"]);
        command.args(["-c", "unix_socket_directories=", "-c", "max_connections=300"]);
        command.args(["-c", &format!("port={}", self.port)]);
        if !self.durable {
            command.args(["-c", "fsync=off", "-c", "full_page_writes=off"]);
        }
        let (output, errors) = (log.try_clone()?, log);
        Ok(command.stdin(Stdio::null()).stdout(output).stderr(errors).spawn()?)
    }

    fn wait_until_ready(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = self.sql("postgres", "SELECT 1") {
            if Instant::now() > deadline {
                bail!("PostgreSQL does not start: {error}\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    fn make_template(&self) -> anyhow::Result<()> {
        self.sql("postgres", "CREATE DATABASE migrated")?;
        let url = self.url("migrated");
        // A runtime of its own: the caller may be within one, and this one ends here.
        let migrated = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let open = OpenOptions { require_durable: false, ..OpenOptions::default() };
                Store::open(&url, open).await?.close().await;
                anyhow::Ok(())
            })
        });
        migrated.join().expect("migrating does not panic")
    }
}

/// Finds the directory of `initdb` and `postgres`: `PG_BINDIR`, then `PATH`, then Debian's place.
fn find_programs() -> Option<PathBuf> {
    let named = env::var_os("PG_BINDIR").map(PathBuf::from);
    let path = env::var_os("PATH").unwrap_or_default();
    let mut debian: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin")))
        })
        .collect();
    debian.sort();
    named
        .into_iter()
        .chain(env::split_paths(&path))
        .chain(debian.into_iter().rev().map(|(_, directory)| directory))
        .filter(|directory| ["initdb", "psql"].iter().all(|name| directory.join(name).exists()))
        .find(|directory| version(directory).is_some_and(|version| version >= OLDEST))
}

/// The major version of `postgres (PostgreSQL) 15.18 (Debian ...)`.
fn version(directory: &Path) -> Option<u32> {
    let output = Command::new(directory.join("postgres")).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.split_whitespace().nth(2)?.split(['.', 'b', 'r', 'd']).next()?.parse().ok()
}

/// PostgreSQL refuses to run as root: the user to be instead, if the tests are root.
fn unprivileged() -> anyhow::Result<Option<(u32, u32)>> {
    let owner = |path: &str| fs::metadata(path).map(|of| std::os::unix::fs::MetadataExt::uid(&of));
    if owner("/proc/self")? != 0 {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd")?;
    let ids = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    let user = ids("postgres").or_else(|| ids("nobody"));
    Ok(Some(user.context("neither a user `postgres` nor `nobody`")?))
}

fn fresh_directory(user: Option<(u32, u32)>) -> io::Result<PathBuf> {
    let name = format!("diogenes-postgres-{}-", std::process::id());
    let directory = tempfile::Builder::new().prefix(&name).tempdir()?.keep();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700))?;
    if let Some((user, group)) = user {
        chown(&directory, Some(user), Some(group))?;
    }
    Ok(directory)
}

/// Ends the server and removes its directory once this process is gone, however it died: then the
/// kernel closes the pipe, and `read` in the watchdog fails. A line relieves the watchdog.
fn watchdog(server: &Child, directory: &Path) -> anyhow::Result<ChildStdin> {
    const SCRIPT: &str = "trap '' INT TERM HUP; read line && exit; kill -CONT \"$1\"; \
                          kill -QUIT \"$1\"; sleep 1; kill -KILL \"$1\" 2>/dev/null; rm -rf \"$2\"";
    let mut watchdog = Command::new("/bin/sh")
        .args(["-c", SCRIPT, "watchdog", &server.id().to_string()])
        .arg(directory)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    watchdog.stdin.take().context("the watchdog has a pipe")
}
