//! `diogenes-quickstart`: a whole federation on this machine, with real entries in its log.
//!
//! One leader, two followers and three witnesses run as processes of their own, as they would on
//! machines of their own, and end with this one. See `deploy/quickstart`.

mod children;
mod federation;
mod feed;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Parser;
use diogenes_tests::process;
use tokio::signal::unix::{SignalKind, signal};

use children::Children;
use federation::{Federation, Standing};

/// Where the nodes keep their data and logs.
const DATA: &str = ".quickstart";

/// Starts a leader, two followers and three witnesses on this machine.
///
/// Data and logs are kept under ./.quickstart/; a leader that is found there is continued.
#[derive(Parser)]
#[command(name = "diogenes-quickstart", max_term_width = 100)]
struct Cli {
    /// Stop when all nodes agree; the last line of standard output is the result as JSON.
    #[arg(long)]
    once: bool,
    /// The leader's port; the followers take the next two.
    #[arg(long, value_name = "N", default_value_t = 8000, value_parser = clap::value_parser!(u16).range(1..=65533))]
    port_base: u16,
}

fn main() -> ExitCode {
    if let Some(code) = process::become_child(std::env::args_os()) {
        return code;
    }
    let cli = Cli::parse();
    // One thread, this one: the kernel ends the children when the thread that made them ends.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ran = runtime.context("no runtime").and_then(|runtime| runtime.block_on(run(&cli)));
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: &Cli) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut children = Children::new(Path::new(DATA))?;
    let interrupted = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    let result = tokio::select! {
        result = show(cli, &mut children, started) => result,
        () = interrupted => Ok(None),
    };
    println!("Stopping.");
    let stopped = children.stop().await;
    let summary = result?;
    stopped?;
    if let Some(summary) = summary {
        println!("{summary}");
    }
    Ok(())
}

/// Brings everything up; answers the last line with `--once`, else goes on until a node dies.
async fn show(
    cli: &Cli,
    children: &mut Children,
    started: Instant,
) -> anyhow::Result<Option<String>> {
    let federation = Federation::start(children, cli.port_base).await?;
    let standing = federation.wait_until_all_agree(children).await?;
    let seconds = started.elapsed().as_secs_f64();
    tell(&federation, &standing, seconds);
    if cli.once {
        return Ok(Some(standing.to_json(seconds)));
    }
    println!("\nCtrl-C stops all of it; the log stays in ./{DATA} and is continued next time.");
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        children.check()?;
    }
}

fn tell(federation: &Federation, standing: &Standing, seconds: f64) {
    let leader = federation.leader();
    let data = format!("--data-dir {DATA}/leader --server {leader}");
    let token = format!("--token-file {DATA}/leader/operator-token --server {leader}");
    println!(
        "\nAfter {seconds:.1} s: {} entries with the root {} on the leader and {} followers, signed \
         by {} witnesses.",
        standing.tree_size,
        standing.root_hash,
        standing.followers.len(),
        standing.witnesses,
    );
    println!("\nLook at it:   {leader}/");
    println!("\nTry:");
    println!("  deploy/diogenes log verify {token}");
    println!("  deploy/diogenes operator list-followers {data}");
    println!("  deploy/diogenes witness check --server {leader}");
    println!(
        "  echo '{{\"hello\":\"world\"}}' | deploy/diogenes append --event-type x-demo:hello {data}"
    );
    println!("  curl {leader}/api/v1/log/sth");
}
