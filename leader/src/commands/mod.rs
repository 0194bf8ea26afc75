//! The command line of `diogenes-leader`.

mod append;
mod backup;
mod client;
mod db;
mod doctor;
mod key;
mod log;
mod operator;
mod recover;
mod run;
mod static_export;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use diogenes_common::clock::Clock as _;
use diogenes_common::clock_system::SystemClock;
use diogenes_common::config::{Environment, Flags, GlobalArgs, Loader, Settings};
use diogenes_common::exit::{self, Failure};
use diogenes_common::files::Role;
use diogenes_common::server::tls::Identity;
use diogenes_common::telemetry::{self, LogTo};

/// The leader of a Diogenes transparency log: the only writer.
#[derive(Parser)]
#[command(name = "diogenes-leader", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the leader; an empty data directory is initialised first.
    ///
    /// Example: diogenes-leader serve --listen 127.0.0.1:8000
    Serve(run::Serve),
    /// Make the key, the token and the genesis entry without serving.
    ///
    /// Example: diogenes-leader init --origin log.example.org/2026
    Init(run::Init),
    /// Append events from NDJSON: on each line a payload, or an event type with one.
    ///
    /// Example: diogenes-leader append --event-type x-app:login events.ndjson
    Append(append::Append),
    /// Verify or export the log.
    #[command(subcommand)]
    Log(log::Log),
    /// Write the log as static files.
    #[command(subcommand)]
    Static(static_export::Static),
    /// Authorise followers and witnesses, and look after them.
    #[command(subcommand)]
    Operator(operator::Operator),
    /// Show the operator's key.
    #[command(subcommand)]
    Key(key::Key),
    /// Make a backup while the leader runs, or verify one.
    ///
    /// Example: diogenes-leader backup /srv/backups --keep 7
    Backup(backup::Backup),
    /// Put a backup back into an empty data directory and an empty database.
    ///
    /// With --as-follower a mirror of the log is made of it instead, without any key of the leader.
    ///
    /// Example: diogenes-leader restore /srv/backups --data-dir ~/.diogenes/leader
    Restore(backup::Restore),
    /// Fetch what this leader signed and its database lost from a follower; it must be stopped.
    ///
    /// Every batch is verified as a follower verifies it, up to the newest head that this leader's
    /// key signed, as far as that follower and the nodes of `DIOGENES_PEERS` know. What was cut short
    /// goes on with the same command.
    ///
    /// Example: diogenes-leader recover --from `https://mirror.example.org`
    Recover(recover::Recover),
    /// Look at the database's schema, or bring it up to date.
    #[command(subcommand)]
    Db(db::Db),
    /// Make the views anew from the log; the leader must be stopped.
    ///
    /// Example: diogenes-leader rebuild-views --data-dir ~/.diogenes/leader
    RebuildViews(db::RebuildViews),
    /// Look at the whole set-up, and say of each fault what to do; changes nothing.
    ///
    /// Ends with 1 if a check failed. With the settings of the leader itself, in the same
    /// environment, it works while the leader runs and while it is down.
    ///
    /// Example: diogenes-leader doctor --url `https://log.example.org`
    Doctor(doctor::Doctor),
    /// Check or show the settings.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print the `OpenAPI` document of the REST API.
    ///
    /// Example: diogenes-leader openapi > openapi.json
    Openapi,
    /// Print completions for a shell.
    ///
    /// Example: diogenes-leader completions bash > /etc/bash_completion.d/diogenes-leader
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Check the settings without starting.
    ///
    /// Example: diogenes-leader config check --config leader.toml
    Check,
    /// Print every effective setting with its source, secrets redacted.
    ///
    /// Example: diogenes-leader config show --json
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
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    exit::run(|| run(cli))
}

fn run(cli: Cli) -> Result<(), Failure> {
    let flags = cli.global.flags();
    match cli.command {
        Command::Serve(serve) => serve.run(loader(serve.flags(flags))),
        Command::Init(init) => init.run(&logged(init.flags(flags))?),
        Command::Append(append) => append.run(&logged(flags)?),
        Command::Log(log) => log.run(&logged(flags)?),
        Command::Static(command) => command.run(&logged(flags)?),
        Command::Operator(operator) => operator.run(&logged(flags)?),
        Command::Key(key) => key.run(&logged(flags)?),
        Command::Backup(backup) => backup.run(&logged(backup.flags(flags))?),
        Command::Restore(restore) => restore.run(&logged(restore.flags(flags))?),
        Command::Recover(recover) => recover.run(&logged(recover.flags(flags))?),
        Command::Db(db) => db.run(&logged(flags)?),
        Command::RebuildViews(rebuild) => rebuild.run(&logged(flags)?),
        Command::Doctor(doctor) => doctor.run(flags),
        Command::Config(ConfigCommand::Check) => {
            let settings = load(flags)?;
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
        Command::Openapi => {
            println!("{}", crate::serve::openapi_json()?);
            Ok(())
        }
        Command::Completions { shell } => {
            let mut command = Cli::command();
            clap_complete::generate(shell, &mut command, "diogenes-leader", &mut std::io::stdout());
            Ok(())
        }
    }
}

fn load(flags: Flags) -> Result<Settings, Failure> {
    Ok(loader(flags).load()?)
}

fn loader(flags: Flags) -> Loader {
    Loader::new(Role::Leader, flags, Environment::of_process())
}

/// The settings of a command other than `serve`, which logs to standard error.
fn logged(flags: Flags) -> Result<Settings, Failure> {
    let settings = load(flags)?;
    telemetry::init_logging(&settings, LogTo::Stderr);
    Ok(settings)
}
