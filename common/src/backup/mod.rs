//! Backups: everything of a node that can't be made anew, in a form that either database takes.
//!
//! ```text
//! <place>/
//!   <tree size, 12 digits>-<yyyymmddThhmmssZ>/     one backup, named when it is whole and durable
//!     manifest.json     what it is, the signed tree head, the hash of every other file
//!     entries.bin       the entries
//!     rows.ndjson       heads, and what this node alone knows
//!     keys/             private keys and secrets (0600); may be kept elsewhere
//! ```
//!
//! Views and tiles follow from the entries and are not in it. Neither is what says how far this
//! node signed: a copy would be older than the truth, which is the one thing it must never be.
//!
//! A backup is written beside its name, verified, and only then named. [`verify()`] recomputes
//! every hash up to the root that the operator's key signed; only what it gave can be restored.

mod command;
mod entries;
mod error;
mod make;
mod manifest;
mod place;
mod progress;
mod restore;
mod rows;
mod schedule;
mod verify;

pub use command::{MakeArgs, Next, RestoreArgs, VerifyArgs, database};
pub use entries::FrameError;
pub use error::{BackupError, Damage};
pub use make::{Made, Source, last_success, make};
pub use manifest::{FileEntry, Manifest, ManifestError};
pub use place::{find, thin};
pub use progress::{Bar, Progress};
pub use restore::{RestoreAs, Restored, Vacancy, refuse_unfinished, restore};
pub use rows::RowError;
pub use schedule::{BackupMetrics, Scheduled};
pub use verify::{Keys, Verified, verify};

use crate::files::Role;

/// The file that names and seals all others.
const MANIFEST: &str = "manifest.json";
const ENTRIES: &str = "entries.bin";
const ROWS: &str = "rows.ndjson";
/// The folder of what must stay secret.
const KEYS: &str = "keys";

/// The files of a data directory that nobody can make anew, the node's own key first. What says
/// how far this node signed is not among them, on purpose.
const fn secrets(role: Role) -> &'static [&'static str] {
    match role {
        Role::Leader => &["operator.pem", "operator-token", "secret-key"],
        Role::Follower => &["follower.pem", "mirror.pem", "secret-key"],
        Role::Witness => &[],
    }
}
