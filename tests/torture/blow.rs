//! One log from its first start to its end: blow after blow, each followed by a check.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use diogenes_tests::ledger::Ledger;
use diogenes_tests::postgres::Cluster;
use diogenes_tests::process::Machine;
use diogenes_tests::random::Random;
use serde_json::json;

use crate::check::{self, Rebuild};
use crate::federation::{Federation, eventually};
use crate::harm::{self, Dress, Tools};
use crate::plan::{Cycle, Fault, Harm, Plan, Role, TOLERATED_SECONDS};
use crate::power::{self, Unsynced};

/// How long a fault may take to happen.
const FAULT_PATIENCE: Duration = Duration::from_millis(1_500);

/// What was done and looked at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Cycles with kills and clock jumps.
    pub(crate) cycles: usize,
    /// SIGKILLs while a node ran.
    pub(crate) kills: BTreeMap<&'static str, usize>,
    /// SIGKILLs while a node started.
    pub(crate) cut_starts: usize,
    /// Disk faults that happened.
    pub(crate) faults: BTreeMap<&'static str, usize>,
    /// Disk faults that were set up and met no call.
    pub(crate) missed: usize,
    pub(crate) jumps: usize,
    pub(crate) power_cuts: usize,
    /// What was written and not synced when the power went.
    pub(crate) lost_bytes: u64,
    pub(crate) entries: usize,
    pub(crate) sizes: usize,
    pub(crate) logs: usize,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.cycles += other.cycles;
        self.cut_starts += other.cut_starts;
        self.missed += other.missed;
        self.jumps += other.jumps;
        self.power_cuts += other.power_cuts;
        self.lost_bytes += other.lost_bytes;
        self.entries += other.entries;
        self.sizes += other.sizes;
        self.logs += other.logs;
        for (name, count) in &other.kills {
            *self.kills.entry(name).or_default() += count;
        }
        for (name, count) in &other.faults {
            *self.faults.entry(name).or_default() += count;
        }
    }

    pub(crate) fn happened(&self) -> usize {
        self.faults.values().sum()
    }

    pub(crate) fn killed(&self) -> usize {
        self.kills.values().sum()
    }
}

/// A log that is tortured.
pub(crate) struct Victim<'a> {
    federation: Federation,
    tools: &'a Tools,
    tally: Tally,
}

impl<'a> Victim<'a> {
    /// Makes the log.
    pub(crate) async fn found(
        machine: Machine,
        cluster: Option<&'static Cluster>,
        plan: &Plan,
        tools: &'a Tools,
    ) -> anyhow::Result<Self> {
        let federation =
            Federation::found(machine, cluster, &plan.cut_starts).await.context("start")?;
        let cut_starts = plan.cut_starts.len();
        Ok(Self { federation, tools, tally: Tally { cut_starts, logs: 1, ..Tally::default() } })
    }

    /// One blow, and the check after it.
    pub(crate) async fn cycle(&mut self, cycle: &Cycle) -> anyhow::Result<()> {
        let copies = match &cycle.harm {
            Harm::Kill { victims, cut_starts } => self.kill(cycle, victims, cut_starts).await?,
            Harm::Power { victim, lives, percent, salt } => {
                let mut random = Random::new(*salt);
                self.cut_power(cycle, *victim, lives, *percent, &mut random).await?
            }
            Harm::Disk { victim, fault } => self.fail_disk(cycle, *victim, *fault).await?,
            Harm::Clock { seconds, killed } => self.jump(cycle, *seconds, *killed).await?,
        };
        for copy in copies {
            copy.check().await.context("views equal to a rebuild")?;
        }
        check::check(&mut self.federation).await?;
        if matches!(cycle.harm, Harm::Kill { .. } | Harm::Clock { .. }) {
            self.tally.cycles += 1;
        }
        Ok(())
    }

    /// The log is whole at its end, and the witness signed all of it.
    pub(crate) async fn finish(mut self) -> anyhow::Result<Tally> {
        check::witness_catches_up(&mut self.federation).await?;
        check::check(&mut self.federation).await?;
        self.tally.entries = self.federation.promises.acknowledged();
        self.tally.sizes = self.federation.promises.look(Ledger::sizes);
        Ok(self.tally)
    }

    async fn kill(
        &mut self,
        cycle: &Cycle,
        victims: &[Role],
        cut_starts: &[Duration],
    ) -> anyhow::Result<Vec<Rebuild>> {
        self.press(cycle, async |this| {
            tokio::time::sleep(cycle.after).await;
            for role in victims {
                this.federation.kill(*role)?;
                *this.tally.kills.entry(role.name()).or_default() += 1;
            }
            for cut in cut_starts {
                this.dress(victims, &Dress::default());
                tokio::time::sleep(*cut).await;
                for role in victims {
                    this.federation.kill(*role)?;
                    this.tally.cut_starts += 1;
                }
            }
            Ok(())
        })
        .await?;
        self.revive(victims).await
    }

    /// Restarts a node so that its disk fails, and lets it run into that.
    async fn fail_disk(
        &mut self,
        cycle: &Cycle,
        victim: Role,
        fault: Fault,
    ) -> anyhow::Result<Vec<Rebuild>> {
        let data = self.federation.data(victim);
        let strace = self.tools.strace.as_deref().context("disk faults need strace")?;
        self.federation.kill(victim)?;
        // Where a file's size is limited, what the node says must not be what meets the limit.
        let said = data.with_extension("log");
        std::fs::rename(&said, said.with_extension("log.before"))?;
        self.dress(&[victim], &harm::dress(fault, victim, &data, strace));
        if matches!(fault, Fault::Short { .. }) {
            self.federation.comes_up(victim).await?;
            harm::restrict(fault, victim, &data, self.federation.process(victim)?);
        }
        self.press(cycle, async |this| {
            let deadline = Instant::now() + FAULT_PATIENCE;
            while Instant::now() < deadline && this.federation.process(victim)?.is_running() {
                tokio::time::sleep(Duration::from_millis(20)).await;
                if harm::happened(fault, &data, None) {
                    // A node that can live with it goes on for a while.
                    tokio::time::sleep(cycle.after).await;
                    break;
                }
            }
            Ok(())
        })
        .await?;
        let ended = self.federation.end(victim)?;
        if let Some(ended) = ended {
            harm::may_end(fault, ended).with_context(|| format!("{fault:?}"))?;
        }
        if harm::happened(fault, &data, ended) {
            *self.tally.faults.entry(victim.name()).or_default() += 1;
        } else {
            self.tally.missed += 1;
        }
        self.revive(&[victim]).await
    }

    /// Notes what a node writes and syncs, kills it at once, perhaps in several lives, and takes from
    /// its disk what no sync had covered.
    async fn cut_power(
        &mut self,
        cycle: &Cycle,
        victim: Role,
        lives: &[Duration],
        percent: usize,
        random: &mut Random,
    ) -> anyhow::Result<Vec<Rebuild>> {
        let data = self.federation.data(victim);
        let strace = self.tools.strace.as_deref().context("power cuts need strace")?;
        let record = data.with_extension("writes");
        // A file that is not there when strace starts is found all the same, by its name.
        let _none_yet = std::fs::remove_file(&record);
        let wrapper = power::wrapper(strace, &data, &record);
        let dress = Dress { wrapper, variables: Vec::new() };
        self.federation.kill(victim)?;
        self.press(cycle, async |this| {
            for (number, life) in lives.iter().enumerate() {
                this.dress(&[victim], &dress);
                if number + 1 == lives.len() {
                    this.federation.comes_up(victim).await?;
                }
                tokio::time::sleep(*life).await;
                let pid = this.federation.process(victim)?.pid().context("it runs")?;
                this.federation.kill(victim)?;
                power::wait_for_record(&record, pid).await?;
            }
            Ok(())
        })
        .await?;
        let unsynced = Unsynced::of(&std::fs::read_to_string(&record)?);
        self.tally.lost_bytes += unsynced.lose(percent, random)?;
        self.tally.power_cuts += 1;
        // What lies in memory that is shared goes with the power too.
        let _not_everywhere = std::fs::remove_file(data.join("log.db-shm"));
        self.revive(&[victim]).await
    }

    /// Moves the leader's clock while it runs, and puts it right again.
    async fn jump(
        &mut self,
        cycle: &Cycle,
        seconds: i64,
        killed: bool,
    ) -> anyhow::Result<Vec<Rebuild>> {
        let Some(library) = &self.tools.clock else { return Ok(Vec::new()) };
        let offset = self.federation.data(Role::Leader).with_extension("clock");
        let dress = Dress {
            wrapper: Vec::new(),
            variables: vec![
                ("LD_PRELOAD", library.display().to_string()),
                ("TORTURE_CLOCK", offset.display().to_string()),
            ],
        };
        harm::move_clock(&offset, 0)?;
        self.federation.kill(Role::Leader)?;
        self.dress(&[Role::Leader], &dress);
        self.federation.comes_up(Role::Leader).await?;
        self.press(cycle, async |_| {
            tokio::time::sleep(cycle.after).await;
            harm::move_clock(&offset, seconds)
        })
        .await?;
        if seconds.unsigned_abs() > TOLERATED_SECONDS {
            self.stamps_nothing().await?;
        }
        if killed {
            self.federation.kill(Role::Leader)?;
            self.dress(&[Role::Leader], &dress);
            self.stamps_nothing().await?;
        }
        check::reads_go_on(&self.federation.leader).await?;
        harm::move_clock(&offset, 0)?;
        eventually(&mut self.federation, "a right clock is believed", async |of| {
            of.promises.append(&of.leader, &of.known).await.is_some()
        })
        .await?;
        self.federation.kill(Role::Leader)?;
        *self.tally.kills.entry(Role::Leader.name()).or_default() += 1;
        self.tally.jumps += 1;
        self.revive(&[Role::Leader]).await
    }

    /// The leader, whose clock is wrong, refuses to append and says why.
    async fn stamps_nothing(&mut self) -> anyhow::Result<()> {
        eventually(&mut self.federation, "the leader does not believe its clock", async |of| {
            let event = json!({ "event_type": "x-crash:event", "payload": {} });
            let refused = of.leader.post("/api/v1/log/entries", &event).await;
            refused.is_ok_and(|reply| (reply.status, reply.code().as_str()) == (503, "clock_step"))
        })
        .await
    }

    /// Starts nodes without waiting for them.
    fn dress(&mut self, roles: &[Role], dress: &Dress) {
        for role in roles {
            self.federation.start(*role, dress);
        }
    }

    /// Copies what dead nodes left, and starts them as they are in peace.
    async fn revive(&mut self, roles: &[Role]) -> anyhow::Result<Vec<Rebuild>> {
        let mut copies = Vec::new();
        for role in roles {
            copies.extend(Rebuild::copy(&self.federation, *role)?);
            self.federation.start(*role, &Dress::default());
        }
        for role in roles {
            self.federation.comes_up(*role).await?;
        }
        Ok(copies)
    }

    /// Does something while clients append.
    async fn press(
        &mut self,
        cycle: &Cycle,
        meanwhile: impl AsyncFnOnce(&mut Self) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let promises = self.federation.promises.clone();
        let (leader, known) = (self.federation.leader.clone(), self.federation.known.clone());
        promises.under_load(cycle.load, &leader, &known, meanwhile(self)).await?;
        ensure!(promises.unbroken().is_ok(), "{:?}", promises.unbroken());
        Ok(())
    }
}
