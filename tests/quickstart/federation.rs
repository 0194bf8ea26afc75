//! Starting the nodes, authorising them, and waiting until they agree.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use diogenes_common::keys::{Fingerprint, SigningKey};
use diogenes_common::merkle::{Hash, TreeSize};
use diogenes_common::statement::FollowerStatus;
use diogenes_common::wire::status::{LeaderStatus, MirrorStatus, ReplicationStatus};
use diogenes_tests::http::Node;

use crate::children::Children;
use crate::feed;

/// How long a node may take to answer.
const READY: Duration = Duration::from_secs(60);
/// How long it may take until all agree.
const AGREED: Duration = Duration::from_secs(180);
/// How often it is looked.
const PAUSE: Duration = Duration::from_millis(100);

const FOLLOWERS: [(&str, &str); 2] =
    [("follower-1", "First Mirror"), ("follower-2", "Second Mirror")];
const WITNESSES: [(&str, &str); 3] = [
    ("witness-1", "First Witness"),
    ("witness-2", "Second Witness"),
    ("witness-3", "Third Witness"),
];

/// The nodes that serve.
pub(crate) struct Federation {
    leader: Node,
    followers: Vec<Node>,
}

/// What all nodes agree on.
pub(crate) struct Standing {
    pub(crate) tree_size: u64,
    pub(crate) root_hash: Hash,
    pub(crate) followers: Vec<(FollowerStatus, Hash)>,
    pub(crate) witnesses: usize,
}

/// Not there yet: which node, and what is missing.
struct NotYet(String, String);

impl Federation {
    /// Starts the leader and what belongs to it, and feeds the log.
    pub(crate) async fn start(children: &mut Children, port: u16) -> anyhow::Result<Self> {
        let address = |offset| SocketAddr::from((Ipv4Addr::LOCALHOST, port + offset));
        for offset in 0..3 {
            let address = address(offset);
            TcpListener::bind(address).with_context(|| {
                format!("{address} is taken; stop what listens there, or use --port-base")
            })?;
        }
        let leader = Node::local(address(0));
        println!("Starting the leader at {leader}");
        let listen = address(0).to_string();
        children.start("leader", "leader", &["serve", "--listen", &listen], &[])?;
        wait_for(children, "leader", &leader, "/readyz").await?;
        let token = fs::read_to_string(children.data_of("leader").join("operator-token"))
            .with_context(|| children.blame("leader"))?;
        let leader = leader.with_token(Some(token.trim().to_owned()));
        let operator = leader.well_known().await?.operator_fingerprint.to_string();

        let mut federation = Self { leader, followers: Vec::new() };
        for ((node, name), offset) in FOLLOWERS.into_iter().zip(1..) {
            federation.add_follower(children, node, name, address(offset), &operator).await?;
        }
        for (nth, (node, name)) in WITNESSES.into_iter().enumerate() {
            // The last one watches a follower alone, which passes its proofs on to the leader.
            let is_last = nth + 1 == WITNESSES.len();
            let watched = if is_last { &federation.followers[0] } else { &federation.leader };
            let watched = watched.to_string();
            federation.add_witness(children, node, name, &watched, &operator).await?;
        }
        let fed = feed::feed(&federation.leader).await.context("feeding the log")?;
        println!("{fed}");
        Ok(federation)
    }

    /// The leader.
    pub(crate) fn leader(&self) -> &Node {
        &self.leader
    }

    /// Waits until both followers have the leader's root and every witness signed every event.
    pub(crate) async fn wait_until_all_agree(
        &self,
        children: &mut Children,
    ) -> anyhow::Result<Standing> {
        println!("Waiting until all agree");
        let deadline = Instant::now() + AGREED;
        loop {
            children.check()?;
            match self.look().await {
                Ok(standing) => return Ok(standing),
                Err(NotYet(node, why)) if Instant::now() > deadline => {
                    bail!("{node} {why}; {}", children.blame(&node));
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    async fn add_follower(
        &mut self,
        children: &mut Children,
        node: &str,
        name: &str,
        address: SocketAddr,
        operator: &str,
    ) -> anyhow::Result<()> {
        let follower = Node::local(address);
        println!("Starting {node} at {follower}");
        let server = self.leader.to_string();
        let source = serde_json::json!([{ "url": server, "fingerprint": operator }]).to_string();
        let variables = [("DIOGENES_FEDERATION_OPERATORS", source.as_str())];
        if !self.lists_follower(own_key(children, node)).await? {
            children.run(node, "follower", &["register", "--pseudonym", name], &variables)?;
            let own = own_key(children, node);
            let own = own.with_context(|| format!("{node} has no key"))?.to_string();
            let words = ["operator", "authorize-federation", &own, "--name", name];
            children.run(
                "leader",
                "leader",
                &[&words[..], &["--server", &server]].concat(),
                &[],
            )?;
        }
        let listen = address.to_string();
        children.start(node, "follower", &["serve", "--listen", &listen], &variables)?;
        wait_for(children, node, &follower, "/healthz").await?;
        self.followers.push(follower);
        Ok(())
    }

    async fn lists_follower(&self, key: Option<Fingerprint>) -> anyhow::Result<bool> {
        let listed = leader_status(&self.leader).await?.followers;
        Ok(listed.iter().any(|row| Some(row.fingerprint) == key))
    }

    async fn add_witness(
        &self,
        children: &mut Children,
        node: &str,
        name: &str,
        watched: &str,
        operator: &str,
    ) -> anyhow::Result<()> {
        println!("Starting {node} on {watched}");
        let printed = children.run(node, "witness", &["fingerprint", "--full"], &[])?;
        let own = printed.split_whitespace().last().unwrap_or_default();
        let known = leader_status(&self.leader).await?.witnesses;
        if known.iter().all(|row| row.fingerprint.to_string() != own) {
            let server = self.leader.to_string();
            let words = ["operator", "authorize-witness", own, "--name", name];
            children.run(
                "leader",
                "leader",
                &[&words[..], &["--server", &server]].concat(),
                &[],
            )?;
        }
        let words = ["run", "--server", watched, "--interval", "1s", "--operator", operator];
        children.start(node, "witness", &words, &[])
    }

    /// What the nodes agree on at this moment.
    async fn look(&self) -> Result<Standing, NotYet> {
        let of_leader = |error: anyhow::Error| NotYet("leader".to_owned(), format!("{error:#}"));
        let head = self.leader.head().await.map_err(of_leader)?;
        let status = leader_status(&self.leader).await.map_err(of_leader)?;
        let (last_event, root) = (head.last_event_id, head.root_hash);
        let mut signed = 0;
        for row in &status.witnesses {
            let size = row.tree_size.map_or(0, TreeSize::get);
            if size >= last_event {
                signed += 1;
            } else if let Some(name) = &row.display_name {
                let node = WITNESSES.iter().find(|(_, known)| known == name);
                if let Some((node, _)) = node {
                    let why =
                        format!("signed {size} entries, and event {last_event} is not signed");
                    return Err(NotYet((*node).to_owned(), why));
                }
            }
        }
        if signed < WITNESSES.len() {
            let why = format!("lists {signed} of {} witnesses that signed", WITNESSES.len());
            return Err(NotYet("leader".to_owned(), why));
        }
        let mut followers = Vec::new();
        for ((node, _), follower) in FOLLOWERS.iter().zip(&self.followers) {
            let not_yet = |why| NotYet((*node).to_owned(), why);
            let own = mirror(follower).await.map_err(|error| not_yet(format!("{error:#}")))?;
            if own.status != FollowerStatus::Synced || own.root_hash != root {
                let why = format!("is {:?} with {} entries", own.status, own.tree_size);
                return Err(not_yet(why));
            }
            followers.push((own.status, own.root_hash));
        }
        Ok(Standing {
            tree_size: head.tree_size.get(),
            root_hash: root,
            followers,
            witnesses: signed,
        })
    }
}

impl Standing {
    pub(crate) fn to_json(&self, seconds: f64) -> String {
        let followers: Vec<_> = self
            .followers
            .iter()
            .map(|(status, root_hash)| serde_json::json!({ "status": status, "root_hash": root_hash }))
            .collect();
        serde_json::json!({
            "tree_size": self.tree_size,
            "root_hash": self.root_hash,
            "followers": followers,
            "witnesses": self.witnesses,
            "seconds": (seconds * 1000.0).round() / 1000.0,
        })
        .to_string()
    }
}

/// The key that a follower made for itself earlier.
fn own_key(children: &Children, node: &str) -> Option<Fingerprint> {
    let pem = fs::read_to_string(children.data_of(node).join("follower.pem")).ok()?;
    Some(SigningKey::from_pem(&pem).ok()?.fingerprint())
}

async fn leader_status(leader: &Node) -> anyhow::Result<LeaderStatus> {
    match leader.read("/api/v1/log/replication-status").await? {
        ReplicationStatus::Leader(status) => Ok(*status),
        ReplicationStatus::Follower(_) => bail!("{leader} is not a leader"),
    }
}

async fn mirror(follower: &Node) -> anyhow::Result<MirrorStatus> {
    match follower.read("/api/v1/log/replication-status").await? {
        ReplicationStatus::Follower(status) => Ok(*status),
        ReplicationStatus::Leader(_) => bail!("{follower} is not a follower"),
    }
}

async fn wait_for(
    children: &mut Children,
    name: &str,
    node: &Node,
    path: &str,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + READY;
    while !node.get(path).await.is_ok_and(|reply| reply.is_success()) {
        children.check()?;
        if Instant::now() > deadline {
            bail!("{name} does not answer at {node}; {}", children.blame(name));
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}
