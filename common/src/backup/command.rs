//! What `backup`, `backup verify` and `restore` take and print, alike for every role.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Bar, Keys, Made, RestoreAs, Source, Vacancy, Verified};
use crate::config::{self, DATA_DIR, DATABASE_URL, Flags, Settings};
use crate::exit::Failure;
use crate::files::Role;
use crate::shutdown;
use crate::store::{OpenOptions, Schema};

/// `backup`.
#[derive(Args, Debug)]
pub struct MakeArgs {
    /// The directory in which backups are kept; each gets a name of its own.
    #[arg(required = true, value_name = "DIR")]
    place: Option<PathBuf>,
    /// Delete all but this many backups of this log, once the new one has verified.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keep: Option<u32>,
    /// The database: sqlite:// or postgres:// [default: log.db in the data directory].
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// `backup verify`.
#[derive(Args, Debug)]
pub struct VerifyArgs {
    /// One backup, or the directory in which they are kept: then the newest one.
    #[arg(value_name = "DIR")]
    backup: PathBuf,
    /// Where the backup's private keys are, if they are kept elsewhere.
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// `restore`.
#[derive(Args, Debug)]
pub struct RestoreArgs {
    /// One backup, or the directory in which they are kept: then the newest one.
    #[arg(value_name = "DIR")]
    backup: PathBuf,
    /// Where the backup's private keys are, if they are kept elsewhere.
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
    /// Make a follower of the log instead, with no key of the node that was backed up.
    #[arg(long, conflicts_with = "keys")]
    as_follower: bool,
    /// The empty database: sqlite:// or postgres:// [default: log.db in the data directory].
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// What an operator does after a restore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Next {
    /// What is said before the command.
    pub before: String,
    /// The command.
    pub command: String,
    /// What is said after it.
    pub after: Option<String>,
}

/// How whoever copies a log opens its database: nothing is changed.
pub fn database() -> OpenOptions {
    OpenOptions { schema: Schema::Require, readers: 2, ..OpenOptions::default() }
}

impl MakeArgs {
    /// The settings among the flags.
    #[must_use]
    pub fn flags(&self, flags: Flags) -> Flags {
        flags.with(&DATABASE_URL, self.database_url.as_ref())
    }

    /// Makes the backup, and closes the database.
    pub async fn make(&self, source: &Source) -> Result<Made, Failure> {
        let place = self.place.as_deref().unwrap_or(Path::new("."));
        let keep = self.keep.map(|keep| keep as usize);
        let made = super::make(source, place, keep, &Bar::new()).await;
        source.store.close().await;
        Ok(made?)
    }

    /// Says what was made; `closing` says what its keys are.
    pub fn told(&self, made: &Made, closing: &str) -> String {
        if self.json {
            let deleted: Vec<_> =
                made.deleted.iter().map(|path| path.display().to_string()).collect();
            let mut summary = made.verified.to_json();
            summary["deleted"] = serde_json::json!(deleted);
            return summary.to_string();
        }
        let mut lines = vec![format!("Backed up and verified {}", made.verified)];
        lines.extend(made.deleted.iter().map(|path| format!("Deleted: {}", path.display())));
        lines.push(closing.to_owned());
        lines.join("\n")
    }
}

impl VerifyArgs {
    /// Verifies the backup, and says what it holds.
    pub fn run(&self) -> Result<String, Failure> {
        let bar = Bar::new();
        let verified = super::verify(&super::find(&self.backup)?, self.keys.as_deref(), &bar)?;
        drop(bar);
        if self.json {
            return Ok(verified.to_json().to_string());
        }
        let unseen = match verified.keys() {
            Keys::In(_) => "",
            Keys::Elsewhere => {
                "\nIts keys are kept elsewhere and were not looked at: name them with --keys."
            }
        };
        Ok(format!("Verified {verified}{unseen}"))
    }
}

impl RestoreArgs {
    /// The settings among the flags.
    #[must_use]
    pub fn flags(&self, flags: Flags) -> Flags {
        flags.with(&DATABASE_URL, self.database_url.as_ref())
    }

    /// Restores the backup of a node of this role, or makes a follower of it, and says what was done;
    /// `next` says how the node goes on that was restored as itself.
    pub fn run(
        &self,
        settings: &Settings,
        role: Role,
        next: impl Fn(&Path, &Verified) -> Next,
    ) -> Result<String, Failure> {
        let purpose = if self.as_follower { RestoreAs::Follower } else { RestoreAs::Itself(role) };
        let data_dir = settings.value(&DATA_DIR);
        if purpose.role() != role && *settings.source(&DATA_DIR) == config::Source::Default {
            return Err(Failure::usage(
                format!("{} is the directory of a {}", data_dir.display(), role.name()),
                "name an empty one for the follower: --data-dir DIR",
            ));
        }
        Vacancy::of(&data_dir)?;
        let (bar, path) = (Bar::new(), super::find(&self.backup)?);
        let verified = super::verify(&path, self.keys.as_deref(), &bar)?;
        let restored = shutdown::block_on(Some(1), async {
            super::restore(&verified, purpose, settings, &bar).await
        })?;
        drop(bar);
        let next = match purpose {
            RestoreAs::Itself(_) => next(&data_dir, &verified),
            RestoreAs::Follower => mirror(&data_dir, &verified),
        };
        if self.json {
            let mut summary = verified.to_json();
            summary["restored_as"] = serde_json::json!(purpose.role().name());
            summary["next"] = serde_json::json!(next.command);
            return Ok(summary.to_string());
        }
        let (directory, keys) = (data_dir.display(), restored.keys);
        let mut lines = vec![
            format!("Restored {verified}"),
            format!("Data directory: {directory}, with {keys} keys and secrets"),
            next.before,
            format!("  {}", next.command),
        ];
        lines.extend(next.after);
        Ok(lines.join("\n"))
    }
}

/// How a follower goes on that was made from a backup.
fn mirror(data_dir: &Path, verified: &Verified) -> Next {
    let operator = verified.manifest().operator;
    Next {
        before: "It is a follower without a key yet, and mirrors on from there with:".to_owned(),
        command: format!("diogenes-follower serve --data-dir {}", data_dir.display()),
        after: Some(format!(
            "Set DIOGENES_FEDERATION_OPERATORS='[{{\"url\":\"https://LEADER\",\"fingerprint\":\"{operator}\"}}]' first."
        )),
    }
}
