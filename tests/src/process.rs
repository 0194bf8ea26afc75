//! The roles as processes: started from empty directories with a clean environment, killed, looked at.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use rustix::process::{Pid, Signal, getppid, kill_process};

use crate::http::Node;

/// How long a process may take to be up, or to end.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Where nodes listen.
const FIRST_PORT: u16 = 20_000;
const PORTS: u32 = 12_000;

/// A directory of its own to run nodes in, as a user's home.
#[derive(Debug)]
pub struct Machine {
    programs: Programs,
    home: PathBuf,
    /// Removes the home at the end, where nobody else looks after it.
    _temporary: Option<tempfile::TempDir>,
}

/// Where the programs of the three roles are.
#[derive(Clone, Debug)]
pub enum Programs {
    /// `diogenes-node`, which has all of them and which only the tests themselves know.
    One(PathBuf),
    /// Those that are released, in one directory; who uses them calls [`become_child`] first.
    In(PathBuf),
}

impl From<PathBuf> for Programs {
    fn from(node: PathBuf) -> Self {
        Self::One(node)
    }
}

impl<P: AsRef<Path> + ?Sized> From<&P> for Programs {
    fn from(node: &P) -> Self {
        Self::One(node.as_ref().to_owned())
    }
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
    /// An empty one.
    ///
    /// # Panics
    /// When no temporary directory can be made.
    pub fn new(programs: impl Into<Programs>) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory is made");
        Self { programs: programs.into(), home: home.path().to_owned(), _temporary: Some(home) }
    }

    /// One in a directory that outlives it.
    pub fn within(programs: impl Into<Programs>, home: PathBuf) -> Self {
        Self { programs: programs.into(), home, _temporary: None }
    }

    /// The same home, which this one does not remove.
    #[must_use]
    pub fn again(&self) -> Self {
        Self::within(self.programs.clone(), self.home.clone())
    }

    /// The home directory.
    pub fn home(&self) -> &Path {
        &self.home
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
        self.start_under(&[], name, role, args, variables)
    }

    /// The same by a program that becomes the node: the words of its command line up to the
    /// node's.
    ///
    /// # Panics
    /// When it can't be started.
    pub fn start_under(
        &self,
        wrapper: &[String],
        name: &str,
        role: &str,
        args: &[&str],
        variables: &[(&str, &str)],
    ) -> Process {
        let log = self.home().join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log).expect("a log file");
        let mut command = self.command(wrapper, role, args, variables);
        command.arg("--data-dir").arg(self.data(name));
        command.stdout(file.try_clone().expect("a second handle")).stderr(file);
        let child = spawn(command).expect("a node starts");
        Process { name: name.to_owned(), child, log }
    }

    /// Runs a command of a role to its end, in the data directory of a node.
    ///
    /// # Panics
    /// When it can't be started.
    pub fn run(&self, name: &str, role: &str, args: &[&str], variables: &[(&str, &str)]) -> Ended {
        let mut command = self.command(&[], role, args, variables);
        command.arg("--data-dir").arg(self.data(name));
        Ended::of(&mut command)
    }

    fn command(
        &self,
        wrapper: &[String],
        role: &str,
        args: &[&str],
        variables: &[(&str, &str)],
    ) -> Command {
        let (node, its_role) = match &self.programs {
            Programs::One(node) => (node.clone(), Some(role)),
            Programs::In(place) => (place.join(format!("diogenes-{role}")), None),
        };
        let mut command = match (wrapper, its_role) {
            ([program, rest @ ..], _) => {
                let mut command = Command::new(program);
                command.args(rest).arg(node);
                command
            }
            ([], Some(_)) => Command::new(node),
            ([], None) => child(node),
        };
        command.args(its_role).args(args).current_dir(self.home()).stdin(Stdio::null());
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
        if let Err(error) = self.comes_up(node, path).await {
            panic!("{error}\n{}", self.log());
        }
    }

    /// The same for one that may have been harmed.
    pub async fn comes_up(&mut self, node: &Node, path: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !node.get(path).await.is_ok_and(|reply| reply.is_success()) {
            if let Some(status) = self.has_ended() {
                bail!("{} ended early: {status}", self.name);
            }
            ensure!(Instant::now() < deadline, "{} is not ready", self.name);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
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
            if let Some(status) = self.has_ended() {
                return status;
            }
            assert!(Instant::now() < deadline, "{} does not end\n{}", self.name, self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.has_ended().is_none()
    }

    /// How it ended, if it did.
    ///
    /// # Panics
    /// When the kernel does not know it.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be asked")
    }

    /// Its number, under which the system knows it.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        // One that has ended already needs no signal.
        let _ = self.pid().map(|pid| kill_process(pid, signal));
    }

    /// Its number; it stays its own until its end was waited for.
    pub fn pid(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
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

/// The first argument of a process that is about to become another program.
const AS_CHILD: &str = "--as-child";

/// Runs a program so that it ends with this process, which calls [`become_child`] when it starts.
///
/// # Panics
/// When this program does not know where it is.
pub fn child(program: impl AsRef<OsStr>) -> Command {
    let own = std::env::current_exe().expect("a program knows where it is");
    let mut command = Command::new(own);
    command.arg(AS_CHILD).arg(std::process::id().to_string()).arg(program);
    command
}

/// In a process that [`child`] started: becomes the program, so that it ends with its parent.
///
/// Only returns a code if that failed; `None` in every other process.
pub fn become_child(args: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut args = args.into_iter().skip(1);
    if args.next()? != AS_CHILD {
        return None;
    }
    let parent = args.next()?;
    let program = args.next()?;
    crate::die_with_parent();
    let is_orphan =
        getppid().map(Pid::as_raw_nonzero).map(|pid| pid.to_string().into()) != Some(parent);
    if !is_orphan {
        let error = Command::new(&program).args(args).exec();
        eprintln!("{}: {error}", program.display());
    }
    Some(ExitCode::FAILURE)
}

/// Starts a process from a thread that stays until this process ends: the kernel ends children with
/// the thread that made them, and the threads of a runtime come and go.
fn spawn(command: Command) -> io::Result<Child> {
    type Job = (Command, mpsc::Sender<io::Result<Child>>);
    static SPAWNER: OnceLock<Mutex<mpsc::Sender<Job>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (jobs, waiting) = mpsc::channel::<Job>();
        std::thread::spawn(move || {
            for (mut command, answer) in waiting {
                // Whoever asked is waiting below.
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(jobs)
    });
    let (answer, started) = mpsc::channel();
    let jobs = spawner.lock().unwrap_or_else(PoisonError::into_inner).clone();
    jobs.send((command, answer)).map_err(io::Error::other)?;
    started.recv().map_err(io::Error::other)?
}

/// A port of the loopback that was free a moment ago, below those that the system gives to whoever
/// asks for any (32,768 on).
///
/// # Panics
/// When there is none.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(61);
    let next = |_| {
        let next = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % PORTS;
        let port = FIRST_PORT + u16::try_from(next).expect("there are not as many");
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    };
    let is_free = |address: &SocketAddr| TcpListener::bind(address).is_ok();
    (0..PORTS).map(next).find(is_free).expect("a free port")
}

/// Waits until a condition holds.
///
/// # Panics
/// When it does not within ninety seconds: longer than a node sets a source aside.
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
