//! The production checklist: what an operator ticks before going live, as far as a node can know.

use std::fmt;

use serde_json::{Value, json};

/// The boxes, in their order.
const ITEMS: [&str; 9] = [
    "Enable HTTPS enforcement",
    "Set a strong SECRET_KEY",
    "Configure rate limits appropriate for your traffic patterns",
    "Place behind a reverse proxy with TLS termination",
    "Restrict database access to the application server only",
    "Enable PostgreSQL SSL connections",
    "Set up automated database backups",
    "Monitor the health endpoint",
    "Schedule periodic log chain verification",
];

/// The ticked, the empty and the unknown boxes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checklist([Tick; 9]);

/// A box: whether it is done, and a word why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tick {
    /// Whether it is done.
    pub answer: Answer,
    /// Why doctor says so.
    pub why: String,
}

/// Whether something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// `[x]`
    Done,
    /// `[ ]`
    Open,
    /// `[?]`: a node cannot know.
    Unknown,
}

impl Tick {
    fn new(answer: Answer, why: &str) -> Self {
        Self { answer, why: why.to_owned() }
    }

    fn done(why: &str) -> Self {
        Self::new(Answer::Done, why)
    }

    fn open(why: &str) -> Self {
        Self::new(Answer::Open, why)
    }

    fn unknown(why: &str) -> Self {
        Self::new(Answer::Unknown, why)
    }
}

/// What the boxes are ticked by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a box's own fact")]
pub(super) struct Setup {
    /// Whether the role has a database and sessions: a witness has neither.
    pub(super) has_database: bool,
    /// `ENFORCE_HTTPS`.
    pub(super) enforces_https: bool,
    /// Whether no check found a secret weak or missing.
    pub(super) secrets_are_strong: bool,
    /// What was done about rate limits.
    pub(super) limits: Limits,
    /// Where TLS ends.
    pub(super) tls: TlsEnd,
    /// How the database is reached; `None` if it does not answer.
    pub(super) database: Option<DatabaseAccess>,
    /// Whether backups are scheduled into a directory and the newest is young.
    pub(super) backs_up: bool,
    /// Whether the chain is verified by a valid schedule.
    pub(super) verifies: bool,
}

/// What was done about rate limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limits {
    /// All have their defaults.
    Defaults,
    /// Some were set.
    Chosen,
    /// At least one was switched off.
    Off,
}

/// Where TLS ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TlsEnd {
    /// At a proxy that `TRUSTED_PROXIES` names.
    Proxy,
    /// At this node.
    Own,
    /// Nowhere.
    Nowhere,
}

/// How a database is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseAccess {
    /// A file, which is its owner's alone or not.
    File {
        /// Whether it is.
        is_private: bool,
    },
    /// A server on this machine.
    LocalServer,
    /// A server elsewhere.
    RemoteServer {
        /// Whether the connection is encrypted.
        is_encrypted: bool,
    },
}

/// Ticks the boxes.
pub(super) fn checklist(setup: &Setup) -> Checklist {
    Checklist([
        https(setup.enforces_https),
        secret(setup),
        limits(setup.limits),
        proxy(setup.tls),
        access(setup),
        database_tls(setup),
        backups(setup),
        Tick::unknown("nobody sees from here who asks /healthz, /readyz and /metrics"),
        verification(setup),
    ])
}

fn https(enforced: bool) -> Tick {
    if enforced {
        Tick::done("ENFORCE_HTTPS is true")
    } else {
        Tick::open("ENFORCE_HTTPS is false")
    }
}

fn secret(setup: &Setup) -> Tick {
    match (setup.has_database, setup.secrets_are_strong) {
        (false, _) => Tick::done("a witness has no sessions to sign"),
        (true, true) => Tick::done("random enough, as far as a reader can tell"),
        (true, false) => Tick::open("see the check secrets"),
    }
}

fn limits(limits: Limits) -> Tick {
    match limits {
        Limits::Defaults => Tick::unknown("the defaults hold; only you know your traffic"),
        Limits::Chosen => Tick::done("RATE_LIMIT_* are set"),
        Limits::Off => Tick::open("a RATE_LIMIT_* is 0: no limit"),
    }
}

fn proxy(tls: TlsEnd) -> Tick {
    match tls {
        TlsEnd::Proxy => Tick::done("TRUSTED_PROXIES names it"),
        TlsEnd::Own => Tick::done("the node speaks TLS itself"),
        TlsEnd::Nowhere => Tick::open("neither TRUSTED_PROXIES nor TLS_CERT is set"),
    }
}

fn access(setup: &Setup) -> Tick {
    match setup.database {
        _ if !setup.has_database => Tick::done("a witness has no database"),
        None => Tick::unknown("the database does not answer"),
        Some(DatabaseAccess::File { is_private: true }) => Tick::done("a file, its owner's alone"),
        Some(DatabaseAccess::File { is_private: false }) => {
            Tick::open("the file is open to others")
        }
        Some(DatabaseAccess::LocalServer | DatabaseAccess::RemoteServer { .. }) => {
            Tick::unknown("look at pg_hba.conf and the firewall of the server")
        }
    }
}

fn database_tls(setup: &Setup) -> Tick {
    match setup.database {
        _ if !setup.has_database => Tick::done("a witness has no database"),
        None => Tick::unknown("the database does not answer"),
        Some(DatabaseAccess::File { .. }) => Tick::done("SQLite: no connection to encrypt"),
        Some(DatabaseAccess::LocalServer) => Tick::done("the connection stays on this machine"),
        Some(DatabaseAccess::RemoteServer { is_encrypted: true }) => Tick::done("it is encrypted"),
        Some(DatabaseAccess::RemoteServer { is_encrypted: false }) => {
            Tick::open("the connection is not encrypted")
        }
    }
}

fn backups(setup: &Setup) -> Tick {
    match (setup.has_database, setup.backs_up) {
        (false, _) => Tick::unknown("a witness is its directory: see its page on copies"),
        (true, true) => Tick::done("scheduled, and the newest is young"),
        (true, false) => Tick::open("see the check backups"),
    }
}

fn verification(setup: &Setup) -> Tick {
    match (setup.has_database, setup.verifies) {
        (false, _) => Tick::done("a witness verifies with every round"),
        (true, true) => Tick::done("VERIFY_SCHEDULE"),
        (true, false) => Tick::open("VERIFY_SCHEDULE is empty or not valid"),
    }
}

impl Checklist {
    /// Nothing is known, for one reason.
    pub fn unknown(why: &str) -> Self {
        Self([(); 9].map(|()| Tick::unknown(why)))
    }

    /// The boxes with their items.
    pub fn boxes(&self) -> impl Iterator<Item = (&'static str, &Tick)> {
        ITEMS.into_iter().zip(&self.0)
    }

    pub(super) fn json(&self) -> Value {
        let boxes = self.boxes().map(|(item, ticked)| {
            let done = match ticked.answer {
                Answer::Done => Some(true),
                Answer::Open => Some(false),
                Answer::Unknown => None,
            };
            json!({ "item": item, "done": done, "why": ticked.why })
        });
        boxes.collect::<Vec<_>>().into()
    }
}

impl fmt::Display for Checklist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Production checklist")?;
        for (item, ticked) in self.boxes() {
            let mark = match ticked.answer {
                Answer::Done => 'x',
                Answer::Open => ' ',
                Answer::Unknown => '?',
            };
            writeln!(f, "[{mark}] {item} - {}", ticked.why)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Setup = Setup {
        has_database: true,
        enforces_https: true,
        secrets_are_strong: true,
        limits: Limits::Chosen,
        tls: TlsEnd::Proxy,
        database: Some(DatabaseAccess::RemoteServer { is_encrypted: true }),
        backs_up: true,
        verifies: true,
    };

    fn marks(setup: &Setup) -> String {
        let marks = checklist(setup).to_string();
        marks.lines().skip(1).filter_map(|line| line.chars().nth(1)).collect()
    }

    #[test]
    fn a_node_in_production_has_every_box_ticked_that_can_be_seen_from_here() {
        assert_eq!(marks(&GOOD), "xxxx?xx?x");
    }

    #[test]
    fn each_fact_empties_its_own_box_and_no_other() {
        let file = |is_private| Some(DatabaseAccess::File { is_private });
        let plain = Some(DatabaseAccess::RemoteServer { is_encrypted: false });
        for (setup, expected) in [
            (Setup { enforces_https: false, ..GOOD }, " xxx?xx?x"),
            (Setup { secrets_are_strong: false, ..GOOD }, "x xx?xx?x"),
            (Setup { limits: Limits::Off, ..GOOD }, "xx x?xx?x"),
            (Setup { limits: Limits::Defaults, ..GOOD }, "xx?x?xx?x"),
            (Setup { tls: TlsEnd::Nowhere, ..GOOD }, "xxx ?xx?x"),
            (Setup { tls: TlsEnd::Own, ..GOOD }, "xxxx?xx?x"),
            (Setup { database: file(true), ..GOOD }, "xxxxxxx?x"),
            (Setup { database: file(false), ..GOOD }, "xxxx xx?x"),
            (Setup { database: plain, ..GOOD }, "xxxx? x?x"),
            (Setup { database: Some(DatabaseAccess::LocalServer), ..GOOD }, "xxxx?xx?x"),
            (Setup { database: None, ..GOOD }, "xxxx??x?x"),
            (Setup { backs_up: false, ..GOOD }, "xxxx?x ?x"),
            (Setup { verifies: false, ..GOOD }, "xxxx?xx? "),
        ] {
            assert_eq!(marks(&setup), expected, "{setup:?}");
        }
    }

    #[test]
    fn what_a_witness_does_not_have_needs_no_care() {
        let witness = Setup {
            has_database: false,
            secrets_are_strong: false,
            database: None,
            backs_up: false,
            verifies: false,
            ..GOOD
        };

        assert_eq!(marks(&witness), "xxxxxx??x");
    }
}
