//! Tells whoever started the node how it is doing: systemd's notification protocol.
//!
//! ```text
//! READY=1                  it serves, or has taken its new settings
//! RELOADING=1              it reads its settings again
//! MONOTONIC_USEC=<number>  since when, on the clock that is never set
//! STOPPING=1               it finishes what was begun
//! WATCHDOG=1               it is alive
//! STATUS=<text>            how it stands, for people
//! ```
//! Each datagram holds one or more such lines, and goes to the socket that `NOTIFY_SOCKET` names: a
//! path, or `@` and a name that is in no file system. `WATCHDOG_USEC` says how long the node may be
//! silent before it is killed and started again.

use std::future::Future;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::config::Environment;
use crate::exit::Failure;
use crate::reload::Reloader;
use crate::shutdown::Tasks;

/// Who started the node, if that is somebody who listens. Clones speak to the same one.
#[derive(Clone, Debug, Default)]
pub struct Supervisor(Option<Arc<Wire>>);

#[derive(Debug)]
struct Wire {
    socket: UnixDatagram,
    address: SocketAddr,
    watchdog: Option<Duration>,
}

/// Why the socket of a supervisor cannot be spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum NotASocket {
    #[error("it is neither an absolute path nor an abstract name")]
    Kind,
    #[error("it is longer than a socket's name can be")]
    Name,
    #[error("this process can open no socket")]
    Own,
}

impl Supervisor {
    /// The supervisor that the environment names; a node without one runs as well.
    pub fn from_environment(environment: &Environment) -> Self {
        let variable = |name| environment.text(name).ok().flatten();
        let Some(name) = variable("NOTIFY_SOCKET") else { return Self(None) };
        let watchdog =
            watchdog(variable("WATCHDOG_USEC"), variable("WATCHDOG_PID"), std::process::id());
        match Wire::open(name, watchdog) {
            Ok(wire) => Self(Some(Arc::new(wire))),
            Err(error) => {
                tracing::warn!(socket = name, "NOTIFY_SOCKET is not spoken to: {error}");
                Self(None)
            }
        }
    }

    /// Looks after a node that serves until it stops: tells the supervisor how it does, and takes new
    /// settings on SIGHUP. `alive` says what is stuck, if something is.
    pub fn attend<F>(
        self,
        tasks: &Tasks,
        reloader: Reloader,
        status: String,
        alive: impl Fn() -> F + Send + 'static,
    ) -> Result<(), Failure>
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let reloading = reloader.on_hangup(tasks.clone(), self.clone(), status.clone())?;
        tasks.spawn(reloading);
        tasks.spawn(self.accompany(tasks.clone(), status, alive));
        Ok(())
    }

    /// Accompanies a node that serves to its end: says that it is ready, then that it is alive as
    /// often as the supervisor wants to hear it and as long as `alive` says so, then that it stops.
    async fn accompany<F>(self, tasks: Tasks, status: String, alive: impl Fn() -> F)
    where
        F: Future<Output = Result<(), String>>,
    {
        self.ready(&status);
        match self.0.as_ref().and_then(|wire| wire.watchdog) {
            None => tasks.stopping().await,
            Some(limit) => tokio::select! {
                () = tasks.stopping() => {}
                () = self.live(limit / 2, &status, alive) => {}
            },
        }
        self.send("STOPPING=1\nSTATUS=finishing what was begun");
    }

    /// Says that the node serves.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={}", one_line(status)));
    }

    /// Says that the node reads its settings again since that many microseconds.
    pub fn reloading(&self, monotonic_micros: u64) {
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={monotonic_micros}"));
    }

    async fn live<F>(&self, every: Duration, status: &str, alive: impl Fn() -> F)
    where
        F: Future<Output = Result<(), String>>,
    {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut was_alive = true;
        loop {
            ticks.tick().await;
            let answered = tokio::time::timeout(every, alive()).await;
            let answer = answered.unwrap_or_else(|_| Err("no answer in time".to_owned()));
            match &answer {
                Ok(()) if was_alive => self.send("WATCHDOG=1"),
                Ok(()) => self.send(&format!("WATCHDOG=1\nSTATUS={}", one_line(status))),
                Err(why) if was_alive => {
                    tracing::warn!("no sign of life is given: {why}");
                    self.send(&format!("STATUS=no sign of life: {}", one_line(why)));
                }
                Err(_) => {}
            }
            was_alive = answer.is_ok();
        }
    }

    fn send(&self, lines: &str) {
        let Some(wire) = &self.0 else { return };
        if let Err(error) = wire.socket.send_to_addr(lines.as_bytes(), &wire.address) {
            tracing::debug!(%error, "the supervisor was not told");
        }
    }
}

impl Wire {
    fn open(name: &str, watchdog: Option<Duration>) -> Result<Self, NotASocket> {
        let address = match name.as_bytes() {
            [b'/', ..] => SocketAddr::from_pathname(name).map_err(|_| NotASocket::Name)?,
            [b'@', name @ ..] => without_file(name)?,
            _ => return Err(NotASocket::Kind),
        };
        let socket = UnixDatagram::unbound().map_err(|_| NotASocket::Own)?;
        // A supervisor that does not listen must not hold the node up.
        socket.set_nonblocking(true).map_err(|_| NotASocket::Own)?;
        Ok(Self { socket, address, watchdog })
    }
}

#[cfg(target_os = "linux")]
fn without_file(name: &[u8]) -> Result<SocketAddr, NotASocket> {
    use std::os::linux::net::SocketAddrExt as _;
    SocketAddr::from_abstract_name(name).map_err(|_| NotASocket::Name)
}

#[cfg(not(target_os = "linux"))]
fn without_file(_: &[u8]) -> Result<SocketAddr, NotASocket> {
    Err(NotASocket::Kind)
}

/// How long this process may be silent; a limit that is meant for another one is not.
fn watchdog(micros: Option<&str>, of: Option<&str>, own: u32) -> Option<Duration> {
    if of.is_some_and(|of| of.parse::<u32>() != Ok(own)) {
        return None;
    }
    let micros = micros?.parse::<u64>().ok().filter(|micros| *micros > 0)?;
    Some(Duration::from_micros(micros))
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect()
}

/// Shows that a loop turns: the loop beats, and who watches it feels whether it did. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<Beats>);

#[derive(Debug, Default)]
struct Beats {
    counted: AtomicU64,
    felt: AtomicU64,
}

/// How often a loop beats that waits for something which may take long.
const WHILE_WAITING: Duration = Duration::from_millis(250);

impl Pulse {
    /// The loop turned.
    pub fn beat(&self) {
        self.0.counted.fetch_add(1, Ordering::Relaxed);
    }

    /// Beats as long as this is waited for.
    pub async fn while_waiting<F: Future>(&self, awaited: F) -> F::Output {
        let mut awaited = std::pin::pin!(awaited);
        loop {
            self.beat();
            tokio::select! {
                biased;
                output = awaited.as_mut() => return output,
                () = tokio::time::sleep(WHILE_WAITING) => {}
            }
        }
    }

    /// Whether it beat since this was asked last; what [`Supervisor::attend`] asks.
    pub fn felt(&self, name: &str) -> Result<(), String> {
        let counted = self.0.counted.load(Ordering::Relaxed);
        if self.0.felt.swap(counted, Ordering::Relaxed) == counted {
            return Err(format!("{name} does not turn"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    /// A supervisor that listens at a path, and what it was told.
    struct Listening {
        socket: tokio::net::UnixDatagram,
        path: String,
        _directory: tempfile::TempDir,
    }

    impl Listening {
        fn start() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("notify").to_str().unwrap().to_owned();
            let socket = tokio::net::UnixDatagram::bind(&path).unwrap();
            Self { socket, path, _directory: directory }
        }

        async fn told(&self) -> String {
            let mut bytes = [0; 1024];
            let waited =
                tokio::time::timeout(Duration::from_secs(10), self.socket.recv(&mut bytes));
            let length = waited.await.expect("it is told something").unwrap();
            String::from_utf8(bytes[..length].to_vec()).unwrap()
        }

        fn supervisor(&self, more: &[(&str, &str)]) -> Supervisor {
            let own = [("NOTIFY_SOCKET", self.path.as_str())];
            Supervisor::from_environment(&Environment::of(own.iter().chain(more).copied()))
        }
    }

    async fn fine() -> Result<(), String> {
        Ok(())
    }

    #[tokio::test]
    async fn a_node_says_when_it_is_ready_when_it_reloads_and_when_it_stops() {
        let (listening, tasks) = (Listening::start(), Tasks::new());
        let supervisor = listening.supervisor(&[]);
        let status = "serves\nhere".to_owned();
        let accompanied = tasks.spawn(supervisor.clone().accompany(tasks.clone(), status, fine));

        assert_eq!(listening.told().await, "READY=1\nSTATUS=serves here");
        supervisor.reloading(4711);
        assert_eq!(listening.told().await, "RELOADING=1\nMONOTONIC_USEC=4711");
        tasks.stop();
        assert_eq!(listening.told().await, "STOPPING=1\nSTATUS=finishing what was begun");
        accompanied.await.unwrap();
    }

    #[tokio::test]
    async fn a_sign_of_life_is_given_as_long_as_there_is_life() {
        let (listening, tasks) = (Listening::start(), Tasks::new());
        let supervisor = listening.supervisor(&[("WATCHDOG_USEC", "100000")]);
        let lives = Arc::new(AtomicBool::new(true));
        let alive = {
            let lives = lives.clone();
            move || {
                let answer = lives.load(Ordering::Relaxed);
                async move { if answer { Ok(()) } else { std::future::pending().await } }
            }
        };
        tasks.spawn(supervisor.accompany(tasks.clone(), "well".to_owned(), alive));
        listening.told().await;

        assert_eq!(listening.told().await, "WATCHDOG=1");
        assert_eq!(listening.told().await, "WATCHDOG=1");
        lives.store(false, Ordering::Relaxed);
        let mut told = listening.told().await;
        while told == "WATCHDOG=1" {
            told = listening.told().await;
        }
        assert_eq!(told, "STATUS=no sign of life: no answer in time");
        lives.store(true, Ordering::Relaxed);
        assert_eq!(listening.told().await, "WATCHDOG=1\nSTATUS=well");
        tasks.stop();
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_socket_without_a_file_is_spoken_to() {
        use std::os::linux::net::SocketAddrExt as _;
        let name = format!("diogenes-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        let environment = Environment::of([("NOTIFY_SOCKET", format!("@{name}"))]);

        Supervisor::from_environment(&environment).ready("well");

        let mut bytes = [0; 64];
        let length = socket.recv(&mut bytes).unwrap();
        assert_eq!(&bytes[..length], b"READY=1\nSTATUS=well");
    }

    #[test]
    fn without_a_socket_of_a_known_kind_nobody_is_told() {
        for name in ["", "vsock:2:1234", "relative/path"] {
            let environment = Environment::of([("NOTIFY_SOCKET", name)]);

            let supervisor = Supervisor::from_environment(&environment);

            assert!(supervisor.0.is_none(), "{name}");
            supervisor.ready("nobody hears this");
        }
    }

    #[test]
    fn the_watchdog_of_another_process_is_not_ours() {
        let ten = Some(Duration::from_secs(10));
        for (micros, of, limit) in [
            (Some("10000000"), None, ten),
            (Some("10000000"), Some("7"), ten),
            (Some("10000000"), Some("8"), None),
            (Some("0"), None, None),
            (Some("-1"), None, None),
            (None, Some("7"), None),
        ] {
            assert_eq!(watchdog(micros, of, 7), limit, "{micros:?} of {of:?}");
        }
    }

    #[tokio::test]
    async fn a_pulse_is_felt_while_a_loop_turns_or_waits_and_not_when_it_hangs() {
        let pulse = Pulse::default();

        assert!(pulse.felt("it").is_err());
        pulse.while_waiting(async {}).await;
        assert!(pulse.felt("it").is_ok());
        pulse.beat();
        assert!(pulse.felt("it").is_ok());
        assert_eq!(pulse.felt("it"), Err("it does not turn".to_owned()));
    }
}
