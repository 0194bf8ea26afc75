//! The command line of `diogenes-witness`.

mod check;
mod doctor;
mod evidence;
mod export;
mod fingerprint;
mod history;
mod log_list;
mod profile;
mod proof;
mod recover;
mod run;
mod serve;
mod status;
mod submit;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory as _, Parser, Subcommand};
use diogenes_common::clock::Clock;
use diogenes_common::clock_system::SystemClock;
use diogenes_common::config::{
    ALLOW_HTTP, DATA_DIR, Environment, Flags, GlobalArgs, Loader, Settings, WITNESS_NAME,
    WITNESS_OPERATOR, WORKERS,
};
use diogenes_common::exit::{self, Failure};
use diogenes_common::files::{self, Role};
use diogenes_common::keys::Fingerprint;
use diogenes_common::note::KeyName;
use diogenes_common::server::tls::Identity;
use diogenes_common::telemetry::{self, LogTo, Logging};
use serde::Serialize;

use crate::agent::Agent;
use crate::http::{HttpServer, servers};
use crate::source::LogServer;
use crate::state::{Home, Uninterrupted};

/// A witness: checks that a transparency log only grows, and signs that it does.
#[derive(Parser)]
#[command(name = "diogenes-witness", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    /// Allow plain http to other machines (private networks only).
    #[arg(long, global = true)]
    allow_http: bool,
    /// Print the answer as JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show this witness's key, which is made at first use.
    #[command(after_help = "Example: diogenes-witness fingerprint")]
    Fingerprint(fingerprint::Fingerprint),
    /// Check and sign the log's newest head once.
    #[command(after_help = "Example: diogenes-witness submit --server https://leader.example.com")]
    Submit(submit::Submit),
    /// Check and sign again and again.
    #[command(
        after_help = "Example: diogenes-witness run --server https://leader.example.com --interval 60s"
    )]
    Run(run::Run),
    /// Cosign checkpoints for every log of a list that asks (C2SP tlog-witness).
    #[command(
        after_help = "Example: diogenes-witness serve --log-list https://witness-network.example/list.1"
    )]
    Serve(serve::Serve),
    /// Show or change which logs may ask for cosignatures.
    #[command(subcommand)]
    LogList(log_list::LogListCommand),
    /// Compare what this witness knows with what a server knows about it.
    #[command(after_help = "Example: diogenes-witness status --server https://leader.example.com")]
    Status(status::Status),
    /// List what this witness has signed, newest first.
    #[command(after_help = "Example: diogenes-witness history --limit 10")]
    History(history::History),
    /// Check a log and everybody who vouches for it; needs no key and no token.
    #[command(
        after_help = "Example: diogenes-witness check --server https://leader.example.com --quorum 2 --entry 42"
    )]
    Check(check::Check),
    /// Say how this witness wants to be shown.
    #[command(
        after_help = "Example: diogenes-witness set-profile --display-name \"Community Witness\" --server https://leader.example.com"
    )]
    SetProfile(profile::SetProfile),
    /// Move a state that was lost up to what this key has signed already.
    #[command(
        after_help = "Example: diogenes-witness recover --forward --server https://leader.example.com"
    )]
    Recover(recover::Recover),
    /// Check or read a file of evidence; needs no network.
    #[command(subcommand)]
    Evidence(evidence::Evidence),
    /// Check that an entry is in a log, from files alone; needs no network.
    #[command(subcommand)]
    Proof(proof::Proof),
    /// Check an exported audit trail, from the file alone; needs no network.
    #[command(subcommand)]
    Export(export::Export),
    /// Look at the whole set-up, and say of each fault what to do; changes nothing.
    #[command(after_help = "Example: diogenes-witness doctor --server https://leader.example.com")]
    Doctor(doctor::Doctor),
    /// Check or show the settings.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print completions for a shell.
    #[command(
        after_help = "Example: diogenes-witness completions bash > /etc/bash_completion.d/diogenes-witness"
    )]
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Check the settings without starting.
    #[command(after_help = "Example: diogenes-witness config check --config witness.toml")]
    Check,
    /// Print every effective setting with its source, secrets redacted.
    #[command(after_help = "Example: diogenes-witness config show --json")]
    Show,
}

/// The log that a command is about.
#[derive(clap::Args)]
struct LogArgs {
    /// A server of the log: the leader, or a follower.
    #[arg(long, value_name = "URL")]
    server: String,
    #[command(flatten)]
    trust: TrustArgs,
}

/// Whom a command believes.
#[derive(clap::Args)]
struct TrustArgs {
    /// The fingerprint that the log's operator key must have [default: pinned at first contact].
    #[arg(long, value_name = "SHA256")]
    operator: Option<String>,
    /// Another server of the same log, to compare with; may be given several times.
    #[arg(long, value_name = "URL")]
    vantage: Vec<String>,
}

/// Runs one command line, the program's name first.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors, and go to standard output.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    exit::run(|| run(cli))
}

fn run(cli: Cli) -> Result<(), Failure> {
    let flags = cli.global.flags().with(&ALLOW_HTTP, cli.allow_http.then_some(true));
    let json = cli.json;
    let at = |flags, to| Bench::load(flags, to, json);
    match cli.command {
        Command::Fingerprint(command) => command.run(&at(flags, LogTo::Stderr)?),
        Command::Submit(command) => {
            let flags = command.log.trust.flags(flags);
            command.run(&at(flags, LogTo::Stderr)?)
        }
        Command::Run(command) => {
            let flags = command.trust.flags(flags);
            command.run(&at(flags, LogTo::Stdout)?)
        }
        Command::Serve(command) => {
            let flags = command.flags(flags);
            command.run(&at(flags, LogTo::Stdout)?)
        }
        Command::LogList(command) => command.run(&at(flags, LogTo::Stderr)?),
        Command::Status(command) => command.run(&at(flags, LogTo::Stderr)?),
        Command::History(command) => command.run(&at(flags, LogTo::Stderr)?),
        Command::Check(command) => {
            let flags = command.flags(flags);
            command.run(&at(flags, LogTo::Stderr)?)
        }
        Command::SetProfile(command) => command.run(&at(flags, LogTo::Stderr)?),
        Command::Recover(command) => {
            let flags = command.log.trust.flags(flags);
            command.run(&at(flags, LogTo::Stderr)?)
        }
        Command::Evidence(command) => command.run(json),
        Command::Proof(command) => command.run(json),
        Command::Export(command) => command.run(json),
        Command::Doctor(command) => command.run(flags, json),
        Command::Config(ConfigCommand::Check) => {
            let settings = loader(flags).load()?;
            Identity::from_settings(&settings, SystemClock.now())?;
            println!("{}", settings.check_summary());
            Ok(())
        }
        Command::Config(ConfigCommand::Show) => {
            let settings = loader(flags).load()?;
            if json {
                print_json(&settings.show_json());
            } else {
                print!("{}", settings.show());
            }
            Ok(())
        }
        Command::Completions { shell } => {
            let mut command = Cli::command();
            clap_complete::generate(
                shell,
                &mut command,
                "diogenes-witness",
                &mut std::io::stdout(),
            );
            Ok(())
        }
    }
}

fn loader(flags: Flags) -> Loader {
    Loader::new(Role::Witness, flags, Environment::of_process())
}

/// What every command works with.
struct Bench {
    loader: Loader,
    settings: Settings,
    logging: Logging,
    clock: Arc<dyn Clock>,
    json: bool,
}

impl Bench {
    fn load(flags: Flags, to: LogTo, json: bool) -> Result<Self, Failure> {
        let loader = loader(flags);
        let settings = loader.load()?;
        let logging = telemetry::init_logging(&settings, to);
        Ok(Self { loader, settings, logging, clock: Arc::new(SystemClock), json })
    }

    /// This witness, which is made at first use.
    fn home(&self) -> Result<Arc<Home>, Failure> {
        let name = self.name()?;
        let home = Home::open(
            &self.settings.value(&DATA_DIR),
            name.as_ref(),
            files::random::<32>,
            self.clock.now(),
            Arc::new(Uninterrupted),
        )?;
        Ok(Arc::new(home))
    }

    /// This witness, if there is one.
    fn existing_home(&self) -> Result<Arc<Home>, Failure> {
        let path = self.settings.value(&DATA_DIR);
        if !path.join("index.jsonl").exists() && !path.join("witness.pem").exists() {
            return Err(Failure::refused(
                "no_witness",
                format!("there is no witness in {}", path.display()),
                "make one with: diogenes-witness fingerprint",
            ));
        }
        let home = Home::existing(&path, self.name()?.as_ref(), Arc::new(Uninterrupted))?;
        Ok(Arc::new(home))
    }

    fn name(&self) -> Result<Option<KeyName>, Failure> {
        let parse = |name: String| {
            name.parse().map_err(|error| {
                Failure::unsafe_state("config_invalid", error, "change DIOGENES_WITNESS_NAME")
            })
        };
        self.settings.value(&WITNESS_NAME).map(parse).transpose()
    }

    fn servers(&self, urls: &[String]) -> Result<Vec<LogServer<HttpServer>>, Failure> {
        servers(urls, self.settings.value(&ALLOW_HTTP))
    }

    fn server(&self, url: &str) -> Result<LogServer<HttpServer>, Failure> {
        let mut servers = self.servers(&[url.to_owned()])?;
        servers.pop().ok_or_else(|| Failure::usage("no server was given", "give --server URL"))
    }

    /// The operator key that logs must have, if one was set.
    fn pin(&self) -> Result<Option<Fingerprint>, Failure> {
        let parse = |text: String| {
            text.parse().map_err(|error| {
                Failure::usage(
                    format!("--operator {text}: {error}"),
                    "give the operator's full fingerprint: sha256:<64 hex digits>",
                )
            })
        };
        self.settings.value(&WITNESS_OPERATOR).map(parse).transpose()
    }

    fn agent(
        &self,
        home: &Arc<Home>,
        server: &str,
        vantages: &[String],
    ) -> Result<Agent<HttpServer>, Failure> {
        let vantages = self.servers(vantages)?.into();
        let clock = Arc::clone(&self.clock);
        Ok(Agent::new(Arc::clone(home), clock, self.server(server)?, vantages, self.pin()?))
    }

    fn block_on<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let workers = self.settings.value(&WORKERS).and_then(|count| usize::try_from(count).ok());
        diogenes_common::shutdown::block_on(workers, work)
    }
}

impl TrustArgs {
    fn flags(&self, flags: Flags) -> Flags {
        flags.with(&WITNESS_OPERATOR, self.operator.as_ref())
    }
}

fn print_json(value: &impl Serialize) {
    // What commands print is texts and numbers, which always have a JSON form.
    println!("{}", serde_json::to_string(value).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_of_a_walk_through_is_understood_as_typed() {
        for typed in [
            "fingerprint",
            "fingerprint --full",
            "fingerprint --vkey --json",
            "submit --server http://localhost:8000",
            "status --server http://localhost:8000",
            "history --server http://localhost:8000 --limit 10",
            "set-profile --type witness --display-name W --server http://localhost:8000",
            "run --server http://localhost:8000 --server http://localhost:8001 --interval 1s",
            "run --server http://localhost:8000 --vantage http://localhost:8001",
            "check --server http://localhost:8000 --quorum 2 --entry 7",
            "recover --forward --server http://localhost:8000",
            "serve",
            "serve --server http://localhost:8000 --vantage http://localhost:8001",
            "serve --listen 127.0.0.1:8002 --log-list one.txt --log-list https://x.example/list.1",
            "log-list add https://x.example/list.1",
            "log-list remove log.example",
            "log-list list --json",
            "evidence verify fork.json --log-id x --fingerprint y",
            "evidence explain fork.json",
            "proof verify 42.tlog-proof --policy trust.policy",
            "proof verify 42.tlog-proof --policy trust.policy --entry 42.json --json",
            "doctor",
            "doctor --server http://localhost:8000 --server http://localhost:8001 --json",
            "config check",
            "config show --json",
            "completions bash",
        ] {
            let words = std::iter::once("diogenes-witness").chain(typed.split(' '));
            assert!(Cli::try_parse_from(words).is_ok(), "{typed}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for typed in [
            "submit",
            "recover --server http://localhost:8000",
            "set-profile --type federation --display-name W --server http://localhost:8000",
            "run --server http://localhost:8000 --interval 1s --schedule x",
            "check --server http://localhost:8000 --entry 0",
            "proof verify 42.tlog-proof",
            "log-list add",
            "log-list add --vkey x",
            "log-list add list.1 --origin x",
        ] {
            let words = std::iter::once("diogenes-witness").chain(typed.split(' '));
            assert!(Cli::try_parse_from(words).is_err(), "{typed}");
        }
    }
}
