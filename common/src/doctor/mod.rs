//! What an operator asks when something is wrong, or before going live: is this node set up as it
//! should be?
//!
//! ```text
//! settings, files, database, other nodes --gather--> facts --judge--> findings --> report
//! ```
//! Each check is a pure function from facts to findings, in a file of its own with its facts.
//! [`gather`] collects the facts, changes nothing, and waits for nothing longer than a few seconds.
//! All of it works while the node runs and while it is down.

mod backups;
mod chain;
mod checklist;
mod clock;
mod database;
mod directory;
mod disk;
mod examination;
pub mod gather;
mod listener;
mod nodes;
mod policy;
mod public;
mod report;
mod schedules;
mod secrets;
mod tls;

pub use chain::{Chain, Found, SignedHead, chain};
pub use checklist::{Answer, Checklist, DatabaseAccess, Tick};
pub use clock::{Sample, clock};
pub use examination::{Examination, misconfigured};
pub use nodes::{Answered, NodeAnswer, Pinned, log_servers, peers, sources};
pub use report::Report;

/// What doctor looks at. The names are part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Check {
    /// The settings can be read.
    Configuration,
    /// The data directory is there, is the owner's alone, and is this role's.
    DataDirectory,
    /// The files in it are their owner's alone.
    Files,
    /// The node's own key can be used.
    Key,
    /// `SECRET_KEY` and `OPERATOR_TOKEN` cannot be guessed.
    Secrets,
    /// The disks have more free space than the node stops at.
    DiskSpace,
    /// The database answers.
    Database,
    /// Its schema is this version's.
    Schema,
    /// It does not forget what it confirmed.
    Durability,
    /// The way to it is encrypted.
    DatabaseTls,
    /// Its user may do what a node does, and no more.
    DatabaseRights,
    /// The stored log holds together: right edge, chain head, newest signed head.
    Chain,
    /// The database agrees with the newest head that this leader signed.
    Guard,
    /// A witness's state agrees with its index.
    State,
    /// The own clock agrees with other nodes' clocks and with the newest head.
    Clock,
    /// The node answers where it should listen, or nobody else does.
    Listener,
    /// Who must use HTTPS, and which proxies are believed.
    Https,
    /// The certificate and the key of the own TLS listener.
    Tls,
    /// What clients see through the public URL.
    PublicUrl,
    /// A follower's sources answer, for the log that is pinned.
    Sources,
    /// A witness's log servers answer, for the log that is pinned.
    LogServers,
    /// The nodes that a leader asks at start answer.
    Peers,
    /// Schedules are valid, and when they are due.
    Schedules,
    /// Backups are made, and the newest is young.
    Backups,
    /// Who may append.
    AppendPolicy,
    /// Whether bare nonces are accepted.
    LegacyChallenge,
    /// Whether the log lines say enough, and not too much.
    LogLevel,
}

impl Check {
    /// Every check, in the order of the report.
    pub const ALL: [Self; 27] = [
        Self::Configuration,
        Self::DataDirectory,
        Self::Files,
        Self::Key,
        Self::Secrets,
        Self::DiskSpace,
        Self::Database,
        Self::Schema,
        Self::Durability,
        Self::DatabaseTls,
        Self::DatabaseRights,
        Self::Chain,
        Self::Guard,
        Self::State,
        Self::Clock,
        Self::Listener,
        Self::Https,
        Self::Tls,
        Self::PublicUrl,
        Self::Sources,
        Self::LogServers,
        Self::Peers,
        Self::Schedules,
        Self::Backups,
        Self::AppendPolicy,
        Self::LegacyChallenge,
        Self::LogLevel,
    ];

    /// Its name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::DataDirectory => "data_directory",
            Self::Files => "files",
            Self::Key => "key",
            Self::Secrets => "secrets",
            Self::DiskSpace => "disk_space",
            Self::Database => "database",
            Self::Schema => "schema",
            Self::Durability => "durability",
            Self::DatabaseTls => "database_tls",
            Self::DatabaseRights => "database_rights",
            Self::Chain => "chain",
            Self::Guard => "guard",
            Self::State => "state",
            Self::Clock => "clock",
            Self::Listener => "listener",
            Self::Https => "https",
            Self::Tls => "tls",
            Self::PublicUrl => "public_url",
            Self::Sources => "sources",
            Self::LogServers => "log_servers",
            Self::Peers => "peers",
            Self::Schedules => "schedules",
            Self::Backups => "backups",
            Self::AppendPolicy => "append_policy",
            Self::LegacyChallenge => "legacy_challenge",
            Self::LogLevel => "log_level",
        }
    }
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, and should be looked at.
    Warn,
    /// It does not work, or is not safe.
    Fail,
}

impl Level {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// What a check says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which check.
    pub check: Check,
    /// How bad it is.
    pub level: Level,
    /// What was found, in one line.
    pub message: String,
    /// What to do about it; always there unless all is well.
    pub advice: Option<String>,
}

impl Finding {
    /// All is well.
    pub fn ok(check: Check, message: impl Into<String>) -> Self {
        Self { check, level: Level::Ok, message: one_line(&message.into()), advice: None }
    }

    /// It works, but.
    pub fn warn(check: Check, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::bad(check, Level::Warn, &message.into(), &advice.into())
    }

    /// It does not work, or is not safe.
    pub fn fail(check: Check, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::bad(check, Level::Fail, &message.into(), &advice.into())
    }

    fn bad(check: Check, level: Level, message: &str, advice: &str) -> Self {
        let advice = Some(one_line(advice));
        Self { check, level, message: one_line(message), advice }
    }
}

/// What others sent is quoted in findings: it must not steer a terminal or fill it.
fn one_line(text: &str) -> String {
    const LONGEST: usize = 600;
    let clean = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    clean.take(LONGEST).collect()
}

/// The findings, or that all is well where there is none.
fn or_ok(found: Vec<Finding>, check: Check, message: impl Into<String>) -> Vec<Finding> {
    if found.is_empty() { vec![Finding::ok(check, message)] } else { found }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_check_has_a_name_of_its_own_and_a_place_in_the_report() {
        let names: BTreeSet<_> = Check::ALL.map(Check::name).into();

        assert_eq!(names.len(), Check::ALL.len());
        assert!(Check::ALL.is_sorted());
    }

    #[test]
    fn what_others_sent_stays_one_line_of_bounded_length() {
        let finding = Finding::warn(Check::Peers, "a\r\n\x1b[2Jb", "x".repeat(5000));

        assert_eq!(finding.message, "a   [2Jb");
        assert_eq!(finding.advice.map(|advice| advice.len()), Some(600));
    }
}
