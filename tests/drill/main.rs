//! `diogenes-drill`: every attack that the federation must notice, played against real nodes.
//!
//! Each drill is a private federation on this machine's loopback, in a temporary directory of its
//! own: see docs/operating/drill.md. The attackers live here; no node contains their code.

mod attacks;
mod drill;
mod evidence;
mod report;
mod stage;
mod table;
mod verdict;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use diogenes_tests::process::{Programs, become_child};

use drill::{Drill, Outcome};

/// Plays attacks against nodes of its own on this machine, and says whether they were noticed.
///
/// The programs of leader, follower and witness are taken from the directory of this one.
#[derive(Parser)]
#[command(name = "diogenes-drill", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// One JSON object a line; the last line is the summary.
    #[arg(long, global = true)]
    json: bool,
    /// One program that has all three roles, for the tests of this one.
    #[arg(long, global = true, hide = true, value_name = "FILE")]
    node: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Lists the attacks, with the rule that each breaks and what must become of it.
    List,
    /// Plays some of them.
    ///
    /// Example: diogenes-drill run fork-prefix batch-bomb
    Run {
        /// Their names.
        #[arg(required = true)]
        names: Vec<String>,
        /// Judge by another reason than the table's: shows that a drill can fail.
        #[arg(long, value_name = "REASON")]
        expect: Option<String>,
    },
    /// Plays all of them.
    All {
        /// How many at a time.
        #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=32))]
        jobs: u8,
    },
}

fn main() -> ExitCode {
    if let Some(code) = become_child(std::env::args_os()) {
        return code;
    }
    let cli = Cli::parse();
    match &cli.command {
        Command::List => {
            report::list(&table::drills(), cli.json);
            ExitCode::SUCCESS
        }
        Command::Run { names, expect } => match chosen(names) {
            Ok(drills) => {
                let expect = expect.as_deref();
                play(drills.into_iter().map(|drill| drill.expecting(expect)), 1, &cli)
            }
            Err(unknown) => {
                eprintln!("error: there is no attack {unknown}; these are there:");
                report::names(&table::drills());
                ExitCode::from(2)
            }
        },
        Command::All { jobs } => play(table::drills(), usize::from(*jobs), &cli),
    }
}

/// The drills of these names, in the order of the names; an unknown name is the error.
fn chosen(names: &[String]) -> Result<Vec<Drill>, &String> {
    let find = |name: &String| table::drills().into_iter().find(|drill| drill.name == name);
    names.iter().map(|name| find(name).ok_or(name)).collect()
}

fn play(drills: impl IntoIterator<Item = Drill>, jobs: usize, cli: &Cli) -> ExitCode {
    let began = Instant::now();
    let programs = match programs(cli) {
        Ok(programs) => programs,
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let report = report::Report::begin(cli.json);
    let outcomes = drill::play(drills, &programs, jobs, |outcome: &Outcome| report.row(outcome));
    report.end(&outcomes, began.elapsed());
    if outcomes.iter().all(Outcome::is_right) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Where the programs of the roles are: beside this one.
fn programs(cli: &Cli) -> anyhow::Result<Programs> {
    if let Some(node) = &cli.node {
        return Ok(Programs::One(node.clone()));
    }
    let own = std::env::current_exe().context("where this program is")?;
    let place = own.parent().context("a program is in a directory")?;
    for role in ["leader", "follower", "witness"] {
        let program = place.join(format!("diogenes-{role}"));
        anyhow::ensure!(
            program.exists(),
            "{} is missing; cargo build --release --locked --bins",
            program.display()
        );
    }
    Ok(Programs::In(place.to_owned()))
}
