//! The nodes that are attacked, and what an attack does to them.

use std::fmt::{self, Write as _};
use std::fs;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use diogenes_tests::http::Node;
use diogenes_tests::process::{Machine, Process, free_address};
use serde_json::json;
use tokio::task::LocalSet;

use crate::attack::Attack;
use crate::honest::{Asks, Honest};
use crate::hostile::Lure;
use crate::report::Row;
use crate::vitals::Vitals;
use crate::wire::Field;

/// Whom attacks are made on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Leader,
    Follower,
    Witness,
}

/// A node on a machine of its own, with whom it needs.
pub(crate) struct Arena {
    machine: Machine,
    process: Process,
    node: Node,
    asks: Asks,
    lure: Option<Rc<Lure>>,
    /// Open files before the first attack.
    files: u64,
}

/// The limits of rates that a node has by default; those of tests have none.
const RATES: [(&str, &str); 4] = [
    ("RATE_LIMIT_LOG_READ", "6000"),
    ("RATE_LIMIT_FEDERATION", "600"),
    ("RATE_LIMIT_API_QUERY", "60"),
    ("RATE_LIMIT_KEY_REGISTRATION", "10"),
];

/// How long a node has to give back what the attackers held.
const RECOVERY: Duration = Duration::from_secs(15);

/// Files that may be open more than before: what a database opens at need.
const FILES_MORE: u64 = 16;

/// Entries with 1 KiB, and with 32 KiB, so that reads are dear.
const SMALL: usize = 5_000;
const LARGE: usize = 300;

impl Stage {
    pub(crate) const ALL: [Self; 3] = [Self::Leader, Self::Follower, Self::Witness];

    fn role(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Follower => "follower",
            Self::Witness => "witness",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.role())
    }
}

impl Arena {
    /// Starts the node of a stage, and gives it something to serve.
    pub(crate) async fn open(stage: Stage, program: PathBuf) -> anyhow::Result<Self> {
        let (machine, address) = (Machine::new(program), free_address());
        let lure = match stage {
            Stage::Follower => Some(Rc::new(Lure::lay().await?)),
            Stage::Leader | Stage::Witness => None,
        };
        let sources = lure.as_ref().map(|lure| lure.sources()).unwrap_or_default();
        let mut variables = RATES.to_vec();
        if lure.is_some() {
            variables.push(("DIOGENES_FEDERATION_OPERATORS", &sources));
        }
        let (role, listen) = (stage.role(), address.to_string());
        let mut process = machine.start(role, role, &["serve", "--listen", &listen], &variables);
        let node = Node::local(address);
        process.ready(&node).await;
        let token = match stage {
            Stage::Leader => {
                let file = machine.data(role).join("operator-token");
                let token = fs::read_to_string(&file).context("the operator's token")?;
                Some(token.trim().to_owned())
            }
            Stage::Follower | Stage::Witness => None,
        };
        if token.is_some() {
            fill(&node.clone().with_token(token.clone())).await?;
        }
        let paths = match stage {
            Stage::Witness => vec!["/healthz".to_owned()],
            Stage::Leader | Stage::Follower => reads(node.size().await?),
        };
        let asks = Asks { address, paths, token };
        let vitals = Vitals::of(process.id());
        let files = vitals.files()?;
        Ok(Self { machine, process, node, asks, lure, files })
    }

    /// Lets an attack go on for so long, and says how the node and the honest client did.
    pub(crate) async fn suffer(
        &mut self,
        attack: &Attack,
        lasting: Duration,
    ) -> anyhow::Result<Row> {
        let vitals = Vitals::of(self.process.id());
        vitals.forget_peak();
        let honest = Honest::start(&self.asks);
        let field = Rc::new(Field::new(self.node.clone(), lasting, self.lure.clone()));
        let attacking = LocalSet::new();
        attacking.run_until((attack.make)(field.clone())).await;
        field.pause(lasting).await;
        let served = honest.stop();
        // Whatever still stands of the attack ends with it.
        drop(attacking);
        let over = Instant::now();
        ensure!(self.process.is_running(), "the node died");
        while !self.node.is_ready().await {
            ensure!(over.elapsed() < RECOVERY, "the node is not ready again");
        }
        let ready_ms = over.elapsed().as_secs_f64() * 1000.0;
        let allowed = self.files + FILES_MORE;
        while vitals.files()? > allowed && over.elapsed() < RECOVERY {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(Row {
            attack: attack.name,
            stage: attack.stage,
            tally: field.tally(),
            requests: served.times.len(),
            p50_ms: served.percentile(50),
            p99_ms: served.percentile(99),
            max_ms: served.percentile(100),
            failures: served.failures,
            peak_mb: vitals.peak_mb()?,
            ready_ms,
            files: vitals.files()?,
            files_allowed: allowed,
            threads: vitals.threads()?,
        })
    }

    /// The last lines of what the node said.
    pub(crate) fn log_tail(&self) -> String {
        let log = self.process.log();
        let lines: Vec<&str> = log.lines().rev().take(5).collect();
        format!("{} said: {}", self.machine.home().display(), lines.join(" | "))
    }
}

/// What an honest client reads of a log of this size.
fn reads(size: u64) -> Vec<String> {
    let mut paths = Vec::new();
    for step in 1..=16 {
        let id = (size * step / 16).max(1);
        paths.push(format!("/api/v1/log/{id}"));
        paths.push("/api/v1/log/sth".to_owned());
        paths.push(format!("/api/v1/log/inclusion-proof?entry_id={id}"));
    }
    paths
}

/// Appends entries, small ones and large ones.
async fn fill(leader: &Node) -> anyhow::Result<()> {
    for (count, length, at_once) in [(SMALL, 1024, 1000), (LARGE, 32 * 1024, 100)] {
        for begin in (0..count).step_by(at_once) {
            let mut lines = String::new();
            for number in begin..begin + at_once {
                let payload = json!({ "number": number, "text": "x".repeat(length) });
                let event = json!({ "event_type": "x-limits:some", "payload": payload });
                writeln!(lines, "{event}")?;
            }
            leader.append_lines(lines.into_bytes()).await?;
        }
    }
    Ok(())
}
