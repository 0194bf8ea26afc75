//! The roles as processes: started from empty directories with a clean environment, killed, looked at.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::http::Node;

/// How long a process may take to be up, or to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// A directory of its own to run nodes in, as a user's home.
#[derive(Debug)]
pub struct Machine {
    /// `diogenes-node`, which only the tests themselves know.
    node: PathBuf,
    home: tempfile::TempDir,
}

/// A node that runs until it is ended, at the latest with the test.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

/// How a process ended, and what it said.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub output: String,
    /// Its standard error.
    pub errors: String,
}

/// Settings without which a busy test on a small disk would not get far.
const SETTINGS: [(&str, &str); 5] = [
    ("MIN_FREE", "0"),
    ("RATE_LIMIT_LOG_READ", "0"),
    ("RATE_LIMIT_FEDERATION", "0"),
    ("RATE_LIMIT_API_QUERY", "0"),
    ("RATE_LIMIT_KEY_REGISTRATION", "0"),
];

impl Machine {
    /// An empty one; `node` is the path of `diogenes-node`.
    pub fn new(node: impl Into<PathBuf>) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory is made");
        Self { node: node.into(), home }
    }

    /// The home directory.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The data directory of a node.
    pub fn data(&self, name: &str) -> PathBuf {
        self.home().join(name)
    }

    /// Starts a node in a data directory of its own name.
    ///
    /// # Panics
    /// When it can't be started.
    pub fn start(
        &self,
        name: &str,
        role: &str,
        args: &[&str],
        variables: &[(&str, &str)],
    ) -> Process {
        let log = self.home().join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log).expect("a log file");
        let mut command = self.command(role, args, variables);
        command.arg("--data-dir").arg(self.data(name));
        command.stdout(file.try_clone().expect("a second handle")).stderr(file);
        let child = command.spawn().expect("diogenes-node starts");
        Process { name: name.to_owned(), child, log }
    }

    /// Runs a command of a role to its end, in the data directory of a node.
    ///
    /// # Panics
    /// When it can't be started.
    pub fn run(&self, name: &str, role: &str, args: &[&str], variables: &[(&str, &str)]) -> Ended {
        let mut command = self.command(role, args, variables);
        command.arg("--data-dir").arg(self.data(name));
        Ended::of(&mut command)
    }

    fn command(&self, role: &str, args: &[&str], variables: &[(&str, &str)]) -> Command {
        let mut command = Command::new(&self.node);
        command.arg(role).args(args).current_dir(self.home()).stdin(Stdio::null());
        command.env_clear().env("HOME", self.home()).envs(SETTINGS);
        command.envs(variables.iter().copied());
        command
    }
}

impl Process {
    /// Waits until a node that this process serves is ready.
    ///
    /// # Panics
    /// When it ends first, or is not ready in a minute.
    pub async fn ready(&mut self, node: &Node) {
        self.answers(node, "/readyz").await;
    }

    /// Waits until this process answers a path with success.
    ///
    /// # Panics
    /// When it ends first, or does not answer in a minute.
    pub async fn answers(&mut self, node: &Node, path: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !node.get(path).await.is_ok_and(|reply| reply.is_success()) {
            if let Some(status) = self.child.try_wait().expect("a child can be asked") {
                panic!("{} ended early: {status}\n{}", self.name, self.log());
            }
            assert!(Instant::now() < deadline, "{} is not ready\n{}", self.name, self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends it as a power failure would, as far as the process is concerned.
    pub fn kill(mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    /// Asks it to end, and waits until it did; answers its exit code.
    ///
    /// # Panics
    /// When it takes a minute.
    pub async fn stop(mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        self.ended().await.code()
    }

    /// Waits until it ends by itself; answers its exit code.
    ///
    /// # Panics
    /// When it takes a minute.
    pub async fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be asked") {
                return status;
            }
            assert!(Instant::now() < deadline, "{} does not end\n{}", self.name, self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child can be asked").is_none()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        // One that has ended already needs no signal.
        let _ = pid.map(|pid| kill_process(pid, signal));
    }

    /// Everything that it and its predecessors of the same name said.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {} said:\n{}", self.name, self.log());
        }
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// Runs a command to its end.
    ///
    /// # Panics
    /// When it can't be started.
    pub fn of(command: &mut Command) -> Self {
        let output = command.output().expect("a command starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert_eq!(output.status.signal(), None, "{}", text(&output.stderr));
        Self {
            code: output.status.code(),
            output: text(&output.stdout),
            errors: text(&output.stderr),
        }
    }

    /// What it printed, where it had to succeed.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn succeeded(self) -> String {
        assert_eq!(self.code, Some(0), "{}\n{}", self.output, self.errors);
        self.output
    }
}

/// A port of the loopback that was free a moment ago.
///
/// # Panics
/// When there is none.
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("a listener has an address")
}

/// Waits until a condition holds.
///
/// # Panics
/// When it does not within a minute.
pub async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Copies the files of a directory, for a backup that a test makes by hand.
///
/// # Panics
/// When that fails.
pub fn copy_files(from: &Path, to: &Path, chosen: impl Fn(&OsStr) -> bool) {
    fs::create_dir_all(to).expect("a directory is made");
    for file in fs::read_dir(from).expect("a directory is read") {
        let file = file.expect("a directory is read");
        if file.path().is_file() && chosen(&file.file_name()) {
            fs::copy(file.path(), to.join(file.file_name())).expect("a file is copied");
        }
    }
}
