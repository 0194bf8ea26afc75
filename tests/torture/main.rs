//! `torture`: kills leaders, followers and witnesses under load, lets their disks fail and their
//! clocks jump, and checks after every blow that nothing acknowledged is lost and nothing was
//! signed twice (docs/reliability.md, "Power cuts").
//!
//! What happens to a log follows from the seed and the log's number; how far a node is at that
//! moment does not, so a repetition meets the same blows at moments that are only nearly the same.

mod blow;
mod check;
mod federation;
mod harm;
mod plan;
mod power;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Parser;
use diogenes_common::files;
use diogenes_tests::postgres;
use diogenes_tests::process::Machine;

use blow::{Tally, Victim};
use harm::Tools;
use plan::{CYCLES, Kind, LogId, Plan};

/// Tortures real nodes and checks that they keep every promise.
///
/// Example: torture --cycles 100 --faults 20
#[derive(Clone, Debug, Parser)]
#[command(name = "torture", max_term_width = 100)]
struct Options {
    /// What decides everything that happens; drawn and printed if not given.
    #[arg(long)]
    seed: Option<u64>,
    /// How many cycles with kills and clock jumps, 20 to a log.
    #[arg(long, default_value_t = 100)]
    cycles: usize,
    /// How many disk faults; 0 needs no strace.
    #[arg(long, default_value_t = 20)]
    faults: usize,
    /// Begins no other log after so many minutes, and fails if something is left to do.
    #[arg(long)]
    minutes: Option<u64>,
    /// How many logs at once.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// The leaders keep their logs in a throw-away PostgreSQL.
    #[arg(long)]
    postgres: bool,
    /// One log of an earlier run with this seed, like kills:3 or faults:0.
    #[arg(long, value_name = "LOG", requires = "seed")]
    log: Option<LogId>,
    /// Shows what would happen to the log, and does nothing.
    #[arg(long, requires = "log")]
    plan: bool,
    /// Where the nodes keep their data; a disk whose fsync is real.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// A run: what is left to do, and what was done.
struct Run {
    options: Options,
    seed: u64,
    node: PathBuf,
    place: PathBuf,
    tools: Tools,
    cluster: Option<&'static postgres::Cluster>,
    began: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The number of the next log of each kind.
    kills: u64,
    faults: u64,
    /// Cycles that logs have taken on.
    taken: usize,
    tally: Tally,
    failed: bool,
}

fn main() -> ExitCode {
    match run(Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> anyhow::Result<bool> {
    let seed = match options.seed {
        Some(seed) => seed,
        None => u64::from(u32::from_be_bytes(files::random()?)),
    };
    if let (Some(log), true) = (options.log, options.plan) {
        println!("{:#?}", Plan::new(seed, log));
        return Ok(true);
    }
    let run = Run::new(options, seed)?;
    println!("seed {seed}, in {}", run.place.display());
    std::thread::scope(|scope| {
        for _ in 0..run.options.jobs.max(1) {
            scope.spawn(|| run.work());
        }
    });
    let state = run.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    let seconds = run.began.elapsed().as_secs();
    println!("{}", summary(&state.tally, seed, seconds));
    if state.failed {
        return Ok(false);
    }
    let _left_to_the_system = std::fs::remove_dir_all(&run.place);
    let short = run.options.log.is_none()
        && (state.tally.cycles < run.options.cycles || state.tally.happened() < run.options.faults);
    if short {
        println!("time was up before everything was done");
    }
    Ok(!short)
}

impl Run {
    fn new(options: Options, seed: u64) -> anyhow::Result<Self> {
        let node = std::env::current_exe()?.with_file_name("diogenes-node");
        ensure!(node.exists(), "{} is missing: build it too", node.display());
        let place = match &options.dir {
            Some(dir) => tempfile::Builder::new().prefix("torture-").tempdir_in(dir)?.keep(),
            None => tempfile::Builder::new().prefix("torture-").tempdir()?.keep(),
        };
        let tools = Tools::find(&place)?;
        let needs_strace = match options.log {
            Some(log) => log.kind == Kind::Faults,
            None => options.faults > 0,
        };
        ensure!(!needs_strace || tools.strace.is_some(), "disk faults need strace: --faults 0");
        if tools.clock.is_none() {
            println!("no clock jumps: a C compiler is needed for them");
        }
        let cluster = options.postgres.then(cluster).transpose()?;
        let (began, state) = (Instant::now(), Mutex::default());
        Ok(Self { options, seed, node, place, tools, cluster, began, state })
    }

    /// Takes log after log until all is done, time is up, or something was broken.
    fn work(&self) {
        while let Some((log, cycles)) = self.next() {
            let home = self.place.join(log.to_string().replace(':', "-"));
            // A thread of its own: what panics there is a failure like any other.
            let done =
                std::thread::scope(|scope| scope.spawn(|| self.torture(log, cycles, &home)).join());
            let mut state = self.state();
            match done.unwrap_or_else(|_| Err(anyhow::anyhow!("it panicked"))) {
                Ok(tally) => {
                    state.tally.add(&tally);
                    let _left_to_the_system = std::fs::remove_dir_all(&home);
                    println!(
                        "{log}: {}",
                        summary(&tally, self.seed, self.began.elapsed().as_secs())
                    );
                }
                Err(error) => {
                    state.failed = true;
                    println!("{log}: BROKEN: {error:#}");
                    println!("what the nodes left is in {}", home.display());
                    println!("again: {}", self.again(log));
                }
            }
        }
    }

    /// The next log, and how many cycles it lives.
    fn next(&self) -> Option<(LogId, usize)> {
        let mut state = self.state();
        let minutes = self.options.minutes.unwrap_or(u64::MAX / 60);
        let late = self.began.elapsed() >= Duration::from_secs(minutes * 60);
        if state.failed || late {
            return None;
        }
        if let Some(log) = self.options.log {
            let first = state.taken == 0;
            state.taken += 1;
            return first.then_some((log, CYCLES));
        }
        let kills = self.options.cycles.saturating_sub(state.taken);
        if kills > 0 {
            let cycles = kills.min(CYCLES);
            state.taken += cycles;
            state.kills += 1;
            return Some((LogId { kind: Kind::Kills, number: state.kills - 1 }, cycles));
        }
        let faults = self.options.faults.saturating_sub(state.tally.happened());
        (faults > 0).then(|| {
            state.faults += 1;
            // Some faults meet no call.
            let cycles = (faults + faults / 2).min(CYCLES);
            (LogId { kind: Kind::Faults, number: state.faults - 1 }, cycles)
        })
    }

    fn torture(&self, log: LogId, cycles: usize, home: &Path) -> anyhow::Result<Tally> {
        std::fs::create_dir(home)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let plan = Plan::new(self.seed, log);
        let machine = Machine::within(&self.node, home.to_owned());
        runtime.block_on(async {
            let mut victim = Victim::found(machine, self.cluster, &plan, &self.tools).await?;
            for (number, cycle) in plan.cycles.iter().take(cycles).enumerate() {
                victim
                    .cycle(cycle)
                    .await
                    .with_context(|| format!("cycle {number}, {:?}", cycle.harm))?;
            }
            victim.finish().await.context("at the end")
        })
    }

    fn again(&self, log: LogId) -> String {
        let postgres = if self.options.postgres { " --postgres" } else { "" };
        format!("torture --seed {} --log {log}{postgres}", self.seed)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A PostgreSQL of this run that makes durable what it confirms.
fn cluster() -> anyhow::Result<&'static postgres::Cluster> {
    static CLUSTER: std::sync::OnceLock<postgres::Cluster> = std::sync::OnceLock::new();
    let cluster = postgres::Cluster::start_own()?;
    Ok(CLUSTER.get_or_init(|| cluster))
}

fn summary(tally: &Tally, seed: u64, seconds: u64) -> String {
    let by = |counts: &std::collections::BTreeMap<&str, usize>| {
        let parts: Vec<_> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
        parts.join(", ")
    };
    format!(
        "seed {seed}: {} cycles on {} logs, {} kills ({}), {} during a start, {} clock jumps, \
         {} power cuts ({} bytes lost), {} disk faults ({}; {} met no call), {} entries acknowledged, {} sizes signed, {seconds} s",
        tally.cycles,
        tally.logs,
        tally.killed(),
        by(&tally.kills),
        tally.cut_starts,
        tally.jumps,
        tally.power_cuts,
        tally.lost_bytes,
        tally.happened(),
        by(&tally.faults),
        tally.missed,
        tally.entries,
        tally.sizes,
    )
}
