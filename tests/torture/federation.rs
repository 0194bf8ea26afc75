//! A leader, a follower and a witness as processes that can be killed and started again.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use diogenes_common::keys::{PublicKey, SigningKey};
use diogenes_common::store::DatabaseUrl;
use diogenes_common::wire::node::WellKnown;
use diogenes_tests::http::Node;
use diogenes_tests::postgres::Cluster;
use diogenes_tests::process::{Machine, Process};
use diogenes_tests::promises::Promises;
use serde_json::json;

use crate::harm::Dress;
use crate::plan::Role;

/// How long something may take to be as it must be.
const PATIENCE: Duration = Duration::from_secs(60);

/// A log, and who keeps it.
pub(crate) struct Federation {
    machine: Machine,
    /// The leader, asked with the operator's token.
    pub(crate) leader: Node,
    pub(crate) follower: Node,
    pub(crate) known: WellKnown,
    /// The witness's key.
    pub(crate) witness: PublicKey,
    pub(crate) promises: Rc<Promises>,
    /// What the witness's index held when it was read last.
    pub(crate) index: Vec<u8>,
    /// Where the leader keeps the log, if not in its directory.
    database: Option<(&'static Cluster, DatabaseUrl)>,
    running: BTreeMap<Role, Process>,
}

impl Role {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Follower => "follower",
            Self::Witness => "witness",
        }
    }
}

impl Federation {
    /// Makes a log, whose first starts are cut off after these times, and starts all three.
    pub(crate) async fn found(
        machine: Machine,
        cluster: Option<&'static Cluster>,
        cut_starts: &[Duration],
    ) -> anyhow::Result<Self> {
        let (leader, follower) = (Node::local(address()), Node::local(address()));
        let database = cluster.map(|of| anyhow::Ok((of, of.database()?))).transpose()?;
        let url = database.as_ref().map(|(_, url)| url);
        for cut in cut_starts {
            let process = start_leader(&machine, &leader, url, &Dress::default());
            tokio::time::sleep(*cut).await;
            process.kill();
        }
        let mut process = start_leader(&machine, &leader, url, &Dress::default());
        process.comes_up(&leader, "/readyz").await?;
        let known = leader.well_known().await?;
        let token = fs::read_to_string(machine.data("leader").join("operator-token"))?;
        let leader = leader.with_token(Some(token.trim().to_owned()));
        let witness = authorize_witness(&machine, &leader)?;
        let mut federation = Self {
            machine,
            leader,
            follower,
            known,
            witness,
            promises: Rc::default(),
            index: Vec::new(),
            database,
            running: BTreeMap::from([(Role::Leader, process)]),
        };
        for role in [Role::Follower, Role::Witness] {
            federation.start(role, &Dress::default());
        }
        federation.comes_up(Role::Follower).await?;
        Ok(federation)
    }

    /// The data directory of a node.
    pub(crate) fn data(&self, role: Role) -> PathBuf {
        self.machine.data(role.name())
    }

    pub(crate) fn machine(&self) -> &Machine {
        &self.machine
    }

    pub(crate) fn database(&self) -> Option<&(&'static Cluster, DatabaseUrl)> {
        self.database.as_ref()
    }

    /// Starts a node.
    pub(crate) fn start(&mut self, role: Role, dress: &Dress) {
        let url = self.database.as_ref().map(|(_, url)| url);
        let (machine, leader) = (&self.machine, &self.leader);
        let process = match role {
            Role::Leader => start_leader(machine, leader, url, dress),
            Role::Follower => start_follower(machine, leader, &self.follower, &self.known, dress),
            Role::Witness => start_witness(machine, leader, dress),
        };
        self.running.insert(role, process);
    }

    /// Waits until a node that was started serves.
    pub(crate) async fn comes_up(&mut self, role: Role) -> anyhow::Result<()> {
        let (node, path) = match role {
            Role::Leader => (&self.leader, "/readyz"),
            Role::Follower => (&self.follower, "/healthz"),
            Role::Witness => return Ok(()),
        };
        self.running.get_mut(&role).context("it was started")?.comes_up(node, path).await
    }

    /// Kills a node, which must be running.
    pub(crate) fn kill(&mut self, role: Role) -> anyhow::Result<()> {
        self.all_run()?;
        self.running.remove(&role).context("it was started")?.kill();
        Ok(())
    }

    /// Says how a node ended that may have ended by itself, and ends it otherwise.
    pub(crate) fn end(&mut self, role: Role) -> anyhow::Result<Option<ExitStatus>> {
        let mut process = self.running.remove(&role).context("it was started")?;
        let ended = process.has_ended();
        process.kill();
        Ok(ended)
    }

    pub(crate) fn process(&mut self, role: Role) -> anyhow::Result<&mut Process> {
        self.running.get_mut(&role).context("it was started")
    }

    /// Fails if a node that was started has ended by itself.
    pub(crate) fn all_run(&mut self) -> anyhow::Result<()> {
        for (role, process) in &mut self.running {
            if let Some(status) = process.has_ended() {
                bail!("the {} ended by itself: {status}", role.name());
            }
        }
        Ok(())
    }
}

/// Waits until something holds, for as long as every node runs.
pub(crate) async fn eventually(
    federation: &mut Federation,
    what: &str,
    condition: impl AsyncFn(&Federation) -> bool,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !condition(federation).await {
        federation.all_run()?;
        ensure!(Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

fn start_leader(
    machine: &Machine,
    at: &Node,
    database: Option<&DatabaseUrl>,
    dress: &Dress,
) -> Process {
    let url = database.map(ToString::to_string);
    let mut variables: Vec<_> = url.iter().map(|url| ("DATABASE_URL", url.as_str())).collect();
    variables.extend(dress.variables.iter().map(|(name, value)| (*name, value.as_str())));
    let args = ["serve", "--listen", at.authority()];
    machine.start_under(&dress.wrapper, "leader", "leader", &args, &variables)
}

fn start_follower(
    machine: &Machine,
    leader: &Node,
    at: &Node,
    known: &WellKnown,
    dress: &Dress,
) -> Process {
    let source = json!([{ "url": leader.to_string(), "fingerprint": known.operator_fingerprint }]);
    let source = source.to_string();
    let variables = [("DIOGENES_FEDERATION_OPERATORS", source.as_str()), ("DIOGENES_POLL", "50ms")];
    let args = ["serve", "--listen", at.authority()];
    machine.start_under(&dress.wrapper, "follower", "follower", &args, &variables)
}

fn start_witness(machine: &Machine, leader: &Node, dress: &Dress) -> Process {
    let server = leader.to_string();
    let args = ["run", "--server", server.as_str(), "--interval", "100ms"];
    machine.start_under(&dress.wrapper, "witness", "witness", &args, &[])
}

fn authorize_witness(machine: &Machine, leader: &Node) -> anyhow::Result<PublicKey> {
    let made = machine.run("witness", "witness", &["fingerprint"], &[]);
    ensure!(made.code == Some(0), "{}", made.errors);
    let pem = fs::read_to_string(machine.data("witness").join("witness.pem"))?;
    let key = SigningKey::from_pem(&pem)?.public().clone();
    let (fingerprint, server) = (key.fingerprint().to_string(), leader.to_string());
    let args = ["operator", "authorize-witness", &fingerprint, "--server", &server];
    let done = machine.run("leader", "leader", &args, &[]);
    ensure!(done.code == Some(0), "{}", done.errors);
    Ok(key)
}

/// An address that no other node of this run gets, below the ports that the kernel gives to
/// clients: one of theirs could take it while its node is down.
fn address() -> SocketAddr {
    const PORTS: u32 = 14_000;
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    loop {
        let turn = TAKEN.fetch_add(1, Ordering::Relaxed).wrapping_add(std::process::id());
        let port = u16::try_from(18_000 + turn % PORTS).unwrap_or(18_000);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// Copies a node's directory as it lies on the disk now.
pub(crate) fn copy(federation: &Federation, role: Role, to: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;

    diogenes_tests::process::copy_files(&federation.data(role), to, |name| name != "lock");
    fs::set_permissions(to, fs::Permissions::from_mode(0o700))?;
    Ok(())
}
