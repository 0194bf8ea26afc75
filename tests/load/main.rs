//! `load`: drives a node over HTTP and says how fast it answers, as a line or as JSON.
//!
//! Requests are prebuilt and answers barely parsed, all on one thread, so that the machine's time
//! goes to the node that is measured.

#[cfg(feature = "ceiling")]
mod ceiling;
mod connection;
mod drive;
mod keyring;
mod keys;
mod pace;
mod report;
mod verify;
mod work;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use diogenes_common::merkle::TileId;
use diogenes_tests::http::Node;

use drive::{Until, drive};
use keys::KeyOptions;
use report::Report;
use work::{Mode, Plan, Prebuilt};

/// The allocator of the nodes, so that the ceiling has it too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Puts load on a node and measures it.
#[derive(Parser)]
#[command(name = "load", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Append single events; each answer means that its event is durable.
    ///
    /// Example: load append --clients 256 --token-file ~/.diogenes/leader/operator-token
    Append(Options),
    /// Append batches of 1,000 events as NDJSON.
    Batch(Options),
    /// Read the whole log in replication batches and discard it.
    Replicate {
        #[command(flatten)]
        options: Options,
        /// In which form.
        #[arg(long, value_enum, default_value = "binary")]
        format: Format,
    },
    /// Ask for inclusion proofs of random entries.
    Proofs(Options),
    /// Read random complete tiles of leaf hashes.
    Tiles(Options),
    /// Read random complete entry bundles, 256 entries each.
    Bundles {
        #[command(flatten)]
        options: Options,
        /// Without compression.
        #[arg(long)]
        plain: bool,
    },
    /// Seven appends, two proofs and one read of an entry out of ten requests.
    Mixed(Options),
    /// Register keys until the log holds many, then ask for their states at a fixed rate, list and
    /// find them, and register more in every way, beside plain appends.
    ///
    /// Fills logs on this machine only. Example: load keys --keys 1000000 --token-file
    /// ~/.diogenes/leader/operator-token
    Keys(KeyOptions),
    /// Measure a leader in this process that stores nothing: no leader can be faster here.
    ///
    /// Needs a build with `--features ceiling`.
    Ceiling(Options),
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Binary,
    Json,
}

#[derive(Args, Clone)]
struct Options {
    /// The node.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8000")]
    server: Node,
    /// How many connections, each with one request at a time [default: 64; batch 4; replicate 1].
    #[arg(long, value_name = "N")]
    clients: Option<usize>,
    /// For how long [default: 10 seconds].
    #[arg(long, value_name = "S", conflicts_with = "count")]
    seconds: Option<f64>,
    /// Until so many entries are appended, or so many answers read.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// The operator token; its requests are not rate limited.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The size of one event as it is sent.
    #[arg(long, value_name = "N", default_value_t = 423)]
    event_bytes: usize,
    /// Check afterwards, as a stranger, that every acknowledged entry is in the log, provably.
    #[arg(long)]
    verify: bool,
    /// A follower that must hold them too, within a minute; implies --verify.
    #[arg(long, value_name = "URL")]
    follower: Option<Node>,
    /// The result as JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Append(options) => measure(options, Mode::Append, 64),
        Command::Batch(options) => measure(options, Mode::Batch, 4),
        Command::Proofs(options) => measure(options, Mode::Proofs, 64),
        Command::Tiles(options) => measure(options, Mode::Tiles, 64),
        Command::Bundles { options, plain } => {
            measure(options, Mode::Bundles { plain: *plain }, 64)
        }
        Command::Mixed(options) => measure(options, Mode::Mixed, 64),
        Command::Keys(asked) => measure_keys(asked),
        Command::Replicate { options, format } => {
            measure(options, Mode::Replicate { binary: *format == Format::Binary }, 1)
        }
        #[cfg(feature = "ceiling")]
        Command::Ceiling(options) => ceiling::measure(options),
        #[cfg(not(feature = "ceiling"))]
        Command::Ceiling(_) => bail!(
            "this build has no ceiling: cargo run --release -p diogenes-tests --features ceiling \
             --bin load -- ceiling"
        ),
    }
}

fn measure(options: &Options, mode: Mode, clients: usize) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(measured(options, mode, clients))?;
    report.print(options.json);
    if report.entries == 0 {
        bail!("not one request succeeded");
    }
    Ok(())
}

fn measure_keys(asked: &KeyOptions) -> anyhow::Result<()> {
    let options = &asked.options;
    let (server, token) = server(options)?;
    let plan = plan(options, Mode::Prebuilt, &server, token);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(keys::measure(asked, plan, server))
}

/// The node, and the token that it is asked with.
fn server(options: &Options) -> anyhow::Result<(Node, Option<String>)> {
    let read = |path: &PathBuf| {
        fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))
    };
    let token = options.token_file.as_ref().map(read).transpose()?;
    let token = token.map(|text| text.trim().to_owned());
    Ok((options.server.clone().with_token(token.clone()), token))
}

fn plan(options: &Options, mode: Mode, server: &Node, token: Option<String>) -> Plan {
    Plan {
        mode,
        host: server.authority().to_owned(),
        token,
        event_bytes: options.event_bytes,
        size: 0,
        keep_receipts: options.verify || options.follower.is_some(),
        prebuilt: Prebuilt::default(),
    }
}

async fn measured(options: &Options, mode: Mode, clients: usize) -> anyhow::Result<Report> {
    let (server, token) = server(options)?;
    let size = match mode {
        Mode::Proofs | Mode::Mixed => server.size().await?,
        Mode::Tiles | Mode::Bundles { .. } => {
            let size = server.size().await?;
            if size < TileId::WIDTH as u64 {
                bail!("the log has {size} entries, and its first complete tile 256; append more");
            }
            size
        }
        _ => 0,
    };
    let plan = Plan { size, ..plan(options, mode, &server, token) };
    let verify = plan.keep_receipts;
    let until = match (options.count, mode) {
        (Some(count), _) => Until::Count(count),
        (None, Mode::Replicate { .. }) if options.seconds.is_none() => Until::Done,
        (None, _) => Until::Elapsed(Duration::from_secs_f64(options.seconds.unwrap_or(10.0))),
    };
    let clients = options.clients.unwrap_or(clients).max(1);
    let (mut report, receipts) = drive(server.address(), plan, clients, until).await;
    if verify {
        let verified = verify::all(&server, options.follower.as_ref(), &receipts).await?;
        report.verified = Some(verified);
    }
    Ok(report)
}
