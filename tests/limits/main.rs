//! `limits`: attacks nodes on this machine, one attack after the other, and measures what an honest
//! client notices meanwhile.
//!
//! Every node runs as a process in a temporary directory with the limits that nodes have by
//! default. A bound that is broken makes the exit code 1.

mod arena;
mod attack;
mod bodies;
mod connections;
mod heads;
mod honest;
mod hostile;
mod report;
mod vitals;
mod wire;
mod work;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::{Parser, Subcommand};

use arena::{Arena, Stage};
use attack::{ATTACKS, Attack};
use report::{Bounds, Row};

/// Attacks nodes on this machine and measures what an honest client notices.
#[derive(Parser)]
#[command(name = "limits", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the attacks.
    List,
    /// Make the attacks of these names, one after the other.
    ///
    /// Example: `limits run idle_connections slow_heads`
    Run {
        /// The names.
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        #[command(flatten)]
        options: Options,
    },
    /// Make all attacks.
    All(Options),
}

#[derive(clap::Args, Clone)]
struct Options {
    /// For how long, each.
    #[arg(long, value_name = "S", default_value_t = 5.0)]
    seconds: f64,
    /// The 99th percentile that an honest client's requests may have, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 250.0)]
    p99: f64,
    /// The resident memory that the node may reach, in MB.
    #[arg(long, value_name = "MB", default_value_t = 500.0)]
    memory: f64,
    /// The node to start [default: diogenes-node beside this program].
    #[arg(long, value_name = "FILE")]
    node: Option<PathBuf>,
    /// One object a line, an attack each; the last line is the verdict.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let ran = match &cli.command {
        Command::List => {
            for attack in &ATTACKS {
                println!("{:<22} {:<9} {}", attack.name, attack.stage, attack.what);
            }
            Ok(true)
        }
        Command::Run { names, options } => run(names, options),
        Command::All(options) => run(&[], options),
    };
    match ran {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Makes the attacks of these names, or all; answers whether every bound held.
fn run(names: &[String], options: &Options) -> anyhow::Result<bool> {
    let chosen = chosen(names)?;
    ensure!((0.1..=60.0).contains(&options.seconds), "--seconds is from 0.1 to 60");
    let node = match &options.node {
        Some(node) => node.clone(),
        None => std::env::current_exe()?.with_file_name("diogenes-node"),
    };
    ensure!(node.is_file(), "{} is not there: cargo build --bins makes it", node.display());
    let bounds = Bounds { p99_ms: options.p99, memory_mb: options.memory };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let files = wire::raise_open_files();
    if !options.json {
        println!("{}", report::heading(&bounds, options.seconds, files));
    }
    let mut broken = Vec::new();
    for stage in Stage::ALL {
        let attacks: Vec<&Attack> =
            chosen.iter().copied().filter(|attack| attack.stage == stage).collect();
        if attacks.is_empty() {
            continue;
        }
        let mut arena = runtime.block_on(Arena::open(stage, node.clone()))?;
        for attack in attacks {
            let lasting = Duration::from_secs_f64(options.seconds);
            let row: Row = runtime
                .block_on(arena.suffer(attack, lasting))
                .with_context(|| format!("{}: {}", attack.name, arena.log_tail()))?;
            println!("{}", row.shown(options.json, &bounds));
            if !row.breaks(&bounds).is_empty() {
                broken.push(attack.name);
            }
        }
    }
    println!("{}", report::verdict(options.json, chosen.len(), &broken));
    Ok(broken.is_empty())
}

fn chosen(names: &[String]) -> anyhow::Result<Vec<&'static Attack>> {
    if names.is_empty() {
        return Ok(ATTACKS.iter().collect());
    }
    let find = |name: &String| {
        let found = ATTACKS.iter().find(|attack| attack.name == name);
        found.with_context(|| format!("there is no attack {name}: see limits list"))
    };
    names.iter().map(find).collect()
}
