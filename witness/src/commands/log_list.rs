//! `log-list`: which logs may ask this witness for cosignatures.

use diogenes_common::config::ALLOW_HTTP;
use diogenes_common::exit::Failure;
use serde::Serialize;

use super::{Bench, print_json};
use crate::log::{LogKey, LogName};
use crate::log_list::ListedLog;
use crate::serve::lists::Lists;
use crate::state::{Adoption, Asker, LogState};

#[derive(clap::Subcommand)]
pub(super) enum LogListCommand {
    /// Let logs ask for cosignatures: those of a list, or one under its key.
    #[command(
        after_help = "Examples: diogenes-witness log-list add https://witness-network.example/list.1\n          diogenes-witness log-list add --vkey log.example+1a2b3c4d+AX..."
    )]
    Add(Add),
    /// Answer a log no longer; what was signed stays known.
    #[command(after_help = "Example: diogenes-witness log-list remove \"go.sum database tree\"")]
    Remove {
        /// The log's origin.
        origin: LogName,
    },
    /// Show the logs and where this witness stands with them.
    #[command(after_help = "Example: diogenes-witness log-list list --json")]
    List,
}

#[derive(clap::Args)]
pub(super) struct Add {
    /// A list of logs in the format logs/v0; `serve --log-list` follows one.
    #[arg(value_name = "FILE|URL", required_unless_present = "vkey", conflicts_with = "vkey")]
    list: Option<String>,
    /// The key of one log, `<name>+<8 hex digits>+<base64>`.
    #[arg(long, value_name = "VKEY")]
    vkey: Option<LogKey>,
    /// The log's origin, where it is not the key's name.
    #[arg(long, value_name = "ORIGIN", requires = "vkey", conflicts_with = "list")]
    origin: Option<LogName>,
}

/// A log as it is shown.
#[derive(Serialize)]
struct Row<'a> {
    origin: &'a LogName,
    served: bool,
    vkeys: &'a [LogKey],
    tree_size: u64,
    root_hash: diogenes_common::merkle::Hash,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_signed_at: Option<diogenes_common::clock::Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    halted: Option<&'a str>,
}

impl LogListCommand {
    pub(super) fn run(&self, bench: &Bench) -> Result<(), Failure> {
        match self {
            Self::Add(add) => add.run(bench),
            Self::Remove { origin } => remove(bench, origin),
            Self::List => list(bench),
        }
    }
}

impl Add {
    fn run(&self, bench: &Bench) -> Result<(), Failure> {
        let logs = self.logs(bench)?;
        let home = bench.home()?;
        let adoption = home.enlist(&logs, Asker::Operator, bench.clock.now())?;
        if bench.json {
            print_json(&serde_json::json!({
                "listed": logs.len(),
                "added": adoption.added,
                "passed_over": passed_over(&adoption),
            }));
        } else {
            for (origin, keys) in &adoption.added {
                let keys: Vec<String> = keys.iter().map(LogKey::to_string).collect();
                println!("{origin}: cosigned under {}", keys.join(" and "));
            }
            let (listed, added) = (logs.len(), adoption.added.len());
            println!("{added} of {listed} added; the others were on the list before.");
            for problem in passed_over(&adoption) {
                eprintln!("warning: {problem}");
            }
        }
        if adoption.passed_over.is_empty() {
            return Ok(());
        }
        Err(Failure::refused(
            "log_not_listed",
            format!("{} of {} logs were not added", adoption.passed_over.len(), logs.len()),
            "see the warnings; a log's key is only changed by its operator's word, with --vkey",
        ))
    }

    fn logs(&self, bench: &Bench) -> Result<Vec<ListedLog>, Failure> {
        if let Some(key) = &self.vkey {
            let name = key.vkey().name().as_str().parse();
            let origin = self.origin.clone().map_or(name, Ok);
            let origin = origin.map_err(|error| Failure::usage(error, "give --origin"))?;
            return Ok(vec![ListedLog { origin, key: key.clone() }]);
        }
        let places: Vec<String> = self.list.iter().cloned().collect();
        let lists = Lists::new(&places, bench.settings.value(&ALLOW_HTTP))?;
        let read = bench.block_on(async { lists.read_all().await })?;
        for fault in read.iter().flat_map(|list| &list.faults) {
            eprintln!("warning: a log is left out: {fault}");
        }
        Ok(read.into_iter().flat_map(|list| list.logs).collect())
    }
}

fn passed_over(adoption: &Adoption) -> Vec<String> {
    adoption.passed_over.iter().map(ToString::to_string).collect()
}

fn remove(bench: &Bench, origin: &LogName) -> Result<(), Failure> {
    let removed = bench.existing_home()?.delist(origin, bench.clock.now())?;
    if !removed {
        return Err(Failure::refused(
            "log_not_listed",
            format!("{origin} is not on the list"),
            "see which logs are: diogenes-witness log-list list",
        ));
    }
    if bench.json {
        print_json(&serde_json::json!({ "removed": origin }));
    } else {
        println!(
            "{origin} is answered no longer. What was signed stays known, and signing goes on"
        );
        println!("from there when it is added again.");
    }
    Ok(())
}

fn list(bench: &Bench) -> Result<(), Failure> {
    let logs = bench.existing_home()?.logs()?;
    let rows: Vec<Row<'_>> = logs.iter().filter_map(|(log, state)| row(log, state)).collect();
    if bench.json {
        print_json(&rows);
        return Ok(());
    }
    if rows.is_empty() {
        println!("No log may ask this witness for cosignatures.");
    }
    for row in rows {
        let mark = match (row.halted, row.served) {
            (Some(_), _) => "  (never signed again)",
            (None, false) => "  (removed)",
            (None, true) => "",
        };
        println!("{}  size {}{mark}", row.origin, row.tree_size);
    }
    Ok(())
}

fn row<'a>(origin: &'a LogName, state: &'a LogState) -> Option<Row<'a>> {
    let listing = state.listing()?;
    Some(Row {
        origin,
        served: listing.served,
        vkeys: &listing.keys,
        tree_size: state.tree().size.get(),
        root_hash: state.tree().hash,
        last_signed_at: state.last_signed_at(),
        halted: state.halted().map(diogenes_common::statement::Reason::as_str),
    })
}
