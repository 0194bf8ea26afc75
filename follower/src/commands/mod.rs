//! The command line of `diogenes-follower`.

mod backup;
mod db;
mod doctor;
mod evidence;
mod incident;
mod join;
mod log;
mod run;
mod status;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use diogenes_common::client::{BaseUrl, Client, FetchError};
use diogenes_common::clock::Clock as _;
use diogenes_common::clock_system::SystemClock;
use diogenes_common::config::{Environment, Flags, GlobalArgs, Loader, Settings};
use diogenes_common::exit::{self, Failure};
use diogenes_common::files::Role;
use diogenes_common::server::tls::Identity;
use diogenes_common::telemetry::{self, LogTo};

use crate::boot;

/// The follower of a Diogenes transparency log: a read-only mirror that verifies everything.
#[derive(Parser)]
#[command(name = "diogenes-follower", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Mirror a log and serve it; an empty data directory is initialised first.
    ///
    /// The log is named by `DIOGENES_FEDERATION_OPERATORS` or the flag of that name.
    ///
    /// Example: diogenes-follower serve --listen 127.0.0.1:8001 --data-dir ~/.diogenes/follower
    Serve(run::Serve),
    /// Put this follower's key on the leader's log, and print what the operator types next.
    ///
    /// Example: diogenes-follower register --pseudonym "EU Mirror"
    Register(join::Register),
    /// Set the name and the URL under which the leader lists this follower.
    ///
    /// Example: `diogenes-follower set-profile --display-name "EU Mirror" --server https://eu.example`
    SetProfile(join::SetProfile),
    /// Show how a running follower stands.
    ///
    /// Example: diogenes-follower status --watch
    Status(status::Status),
    /// Verify the stored log.
    #[command(subcommand)]
    Log(log::Log),
    /// List incidents, or acknowledge one.
    #[command(subcommand)]
    Incident(incident::Incident),
    /// Explain a file of evidence with what this follower verified.
    #[command(subcommand)]
    Evidence(evidence::Evidence),
    /// Make a backup while the follower runs, or verify one.
    ///
    /// Example: diogenes-follower backup /srv/backups --keep 7
    Backup(backup::Backup),
    /// Put a backup back into an empty data directory and an empty database.
    ///
    /// Example: diogenes-follower restore /srv/backups --data-dir ~/.diogenes/follower
    Restore(backup::Restore),
    /// Look at the database's schema, or bring it up to date.
    #[command(subcommand)]
    Db(db::Db),
    /// Make the views anew from the log; the follower must be stopped.
    ///
    /// Example: diogenes-follower rebuild-views --data-dir ~/.diogenes/follower
    RebuildViews(db::RebuildViews),
    /// Look at the whole set-up, and say of each fault what to do; changes nothing.
    ///
    /// Ends with 1 if a check failed. With the settings of the follower itself, in the same
    /// environment, it works while the follower runs and while it is down.
    ///
    /// Example: diogenes-follower doctor --url `https://mirror.example.org`
    Doctor(doctor::Doctor),
    /// Check or show the settings.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print completions for a shell.
    ///
    /// Example: diogenes-follower completions bash > /etc/bash_completion.d/diogenes-follower
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Check the settings without starting.
    ///
    /// Example: diogenes-follower config check --config follower.toml
    Check,
    /// Print every effective setting with its source, secrets redacted.
    ///
    /// Example: diogenes-follower config show --json
    Show {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Runs one command line, the program's name first.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors, and go to standard output.
            error.print().ok();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    exit::run(|| run(cli))
}

fn run(cli: Cli) -> Result<(), Failure> {
    let flags = cli.global.flags();
    match cli.command {
        Command::Serve(serve) => serve.run(loader(serve.flags(flags))),
        Command::Register(register) => register.run(&logged(flags)?),
        Command::SetProfile(profile) => profile.run(&logged(flags)?),
        Command::Status(status) => status.run(&logged(flags)?),
        Command::Log(log) => log.run(&logged(flags)?),
        Command::Incident(incident) => incident.run(&logged(flags)?),
        Command::Evidence(evidence) => evidence.run(&logged(flags)?),
        Command::Backup(backup) => backup.run(&logged(backup.flags(flags))?),
        Command::Restore(restore) => restore.run(&logged(restore.flags(flags))?),
        Command::Db(db) => db.run(&logged(flags)?),
        Command::RebuildViews(rebuild) => rebuild.run(&logged(flags)?),
        Command::Doctor(doctor) => doctor.run(flags),
        Command::Config(ConfigCommand::Check) => {
            let settings = load(flags)?;
            boot::upstream(&settings)?;
            Identity::from_settings(&settings, SystemClock.now())?;
            println!("{}", settings.check_summary());
            Ok(())
        }
        Command::Config(ConfigCommand::Show { json }) => {
            let settings = load(flags)?;
            if json {
                println!("{:#}", settings.show_json());
            } else {
                print!("{}", settings.show());
            }
            Ok(())
        }
        Command::Completions { shell } => {
            let mut command = Cli::command();
            let name = "diogenes-follower";
            clap_complete::generate(shell, &mut command, name, &mut std::io::stdout());
            Ok(())
        }
    }
}

fn load(flags: Flags) -> Result<Settings, Failure> {
    Ok(loader(flags).load()?)
}

fn loader(flags: Flags) -> Loader {
    Loader::new(Role::Follower, flags, Environment::of_process())
}

/// The settings of a command other than `serve`, which logs to standard error.
fn logged(flags: Flags) -> Result<Settings, Failure> {
    let settings = load(flags)?;
    telemetry::init_logging(&settings, LogTo::Stderr);
    Ok(settings)
}

/// A node that the command line names.
fn node(settings: &Settings, url: &str) -> Result<(Client, BaseUrl), Failure> {
    let url = BaseUrl::parse(url, boot::reach(settings))
        .map_err(|error| Failure::usage(error, "give a URL like https://log.example"))?;
    Ok((boot::client(settings)?, url))
}

/// Why a request of a command failed.
fn refused(url: &BaseUrl, error: &FetchError) -> Failure {
    match error {
        FetchError::Network { .. } => Failure::refused(
            "unreachable",
            format!("{url} cannot be reached: {error}"),
            "check that the node runs, and the URL",
        ),
        error => Failure::refused(
            "refused",
            format!("{url} {error}"),
            "read what it answered; nothing was changed here",
        ),
    }
}
