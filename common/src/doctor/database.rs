//! The database: whether it answers, has the right schema, keeps what it confirms, and is reached
//! safely.

use super::checklist::DatabaseAccess;
use super::{Check, Finding};
use crate::store::{Server, StoreError};

/// What is known about a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Database {
    /// The file of SQLite is not there yet.
    NoFile {
        /// Where it should be.
        place: String,
        /// Whether a leader has a key, and so had a database.
        is_lost: bool,
    },
    /// It could not be opened.
    Closed {
        /// Where it is, without a password.
        place: String,
        /// Why.
        error: StoreError,
    },
    /// It answers.
    Open {
        /// Where it is, without a password.
        place: String,
        /// Whether its schema is this version's.
        schema: Result<(), StoreError>,
        /// What a PostgreSQL server says about itself.
        server: Option<Server>,
        /// Whether nobody else may read the file of SQLite.
        is_private: bool,
    },
}

impl Database {
    /// How it is reached, as the production checklist asks.
    pub(super) fn access(&self) -> Option<DatabaseAccess> {
        let Self::Open { server, is_private, .. } = self else { return None };
        Some(match server {
            None => DatabaseAccess::File { is_private: *is_private },
            Some(server) if server.is_remote => {
                DatabaseAccess::RemoteServer { is_encrypted: server.is_encrypted }
            }
            Some(_) => DatabaseAccess::LocalServer,
        })
    }
}

/// The oldest PostgreSQL.
const OLDEST: i64 = 14;

/// Judges a database; `binary` is the program that brings it up to date.
pub(super) fn database(found: &Database, binary: &str) -> Vec<Finding> {
    let check = Check::Database;
    match found {
        Database::NoFile { place, is_lost: false } => vec![Finding::warn(
            check,
            format!("{place} is not there yet"),
            "the first start makes it; if a log should be there, check DATABASE_URL",
        )],
        Database::NoFile { place, is_lost: true } => vec![Finding::fail(
            check,
            format!("{place} is gone, but the leader has a key"),
            "bring the database back, or restore a backup; a new one is not made beside an old key",
        )],
        Database::Closed { place, error } => vec![Finding::fail(
            check,
            format!("{place}: {error}"),
            "start the database, and check DATABASE_URL, its user and its password",
        )],
        Database::Open { place, schema, server, .. } => {
            let mut findings = vec![reached(place, server.as_ref())];
            findings.push(self::schema(schema, binary));
            match server {
                None => findings.push(Finding::ok(
                    Check::Durability,
                    "SQLite makes every commit durable (synchronous=FULL)",
                )),
                Some(server) => findings.extend([durability(server), tls(server), rights(server)]),
            }
            findings
        }
    }
}

fn reached(place: &str, server: Option<&Server>) -> Finding {
    let check = Check::Database;
    match server {
        None => Finding::ok(check, format!("{place} can be read")),
        Some(server) if server.version < OLDEST => Finding::fail(
            check,
            format!("{place} is PostgreSQL {}: {OLDEST} is the least", server.version),
            "upgrade the server",
        ),
        Some(server) => {
            Finding::ok(check, format!("{place} answers (PostgreSQL {})", server.version))
        }
    }
}

fn schema(schema: &Result<(), StoreError>, binary: &str) -> Finding {
    let check = Check::Schema;
    match schema {
        Ok(()) => Finding::ok(check, "up to date"),
        Err(error @ StoreError::Outdated { .. }) => Finding::warn(
            check,
            error.to_string(),
            format!("make a backup, then: {binary} db migrate (a start does it by itself)"),
        ),
        Err(error @ StoreError::Newer { .. }) => {
            Finding::fail(check, error.to_string(), format!("upgrade {binary}"))
        }
        Err(error) => Finding::fail(
            check,
            error.to_string(),
            "check that DATABASE_URL names this node's database; restore a backup if it does",
        ),
    }
}

fn durability(server: &Server) -> Finding {
    if server.not_durable.is_empty() {
        return Finding::ok(Check::Durability, "fsync and synchronous_commit are on");
    }
    let names = server.not_durable.join(" and ");
    Finding::fail(
        Check::Durability,
        format!("PostgreSQL has {names} off: what it confirms would not survive a crash"),
        "switch it on in postgresql.conf and reload the server; a leader does not start before",
    )
}

fn tls(server: &Server) -> Finding {
    let (check, mode) = (Check::DatabaseTls, server.sslmode);
    let strict = "add ?sslmode=verify-full&sslrootcert=<file> to DATABASE_URL";
    match (server.is_remote, server.is_encrypted, mode) {
        (false, false, _) => Finding::ok(check, "the connection stays on this machine"),
        (true, false, _) => Finding::fail(
            check,
            format!("the connection to another machine is not encrypted (sslmode={mode})"),
            format!("switch ssl on at the server, and {strict}"),
        ),
        (_, true, "verify-full" | "verify-ca") => {
            Finding::ok(check, format!("encrypted, the server is verified (sslmode={mode})"))
        }
        (false, true, _) => Finding::ok(check, format!("encrypted (sslmode={mode})")),
        (true, true, _) => Finding::warn(
            check,
            format!("encrypted, but the server is not verified (sslmode={mode})"),
            strict,
        ),
    }
}

fn rights(server: &Server) -> Finding {
    let (check, user) = (Check::DatabaseRights, &server.user);
    if !server.may_write {
        return Finding::fail(
            check,
            format!("the user {user} may not write the log"),
            "make the user the owner of the database and its tables",
        );
    }
    if server.is_superuser {
        return Finding::warn(
            check,
            format!("the user {user} is a superuser of the whole server"),
            "make a user that owns this database alone: CREATE ROLE diogenes LOGIN; ALTER DATABASE \
             ... OWNER TO diogenes",
        );
    }
    Finding::ok(check, format!("the user {user} may do what it must, and is no superuser"))
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    fn server() -> Server {
        Server {
            version: 16,
            user: "diogenes".to_owned(),
            is_superuser: false,
            may_write: true,
            is_encrypted: true,
            is_remote: true,
            sslmode: "verify-full",
            not_durable: Vec::new(),
        }
    }

    fn open(server: Option<Server>) -> Database {
        Database::Open { place: "there".to_owned(), schema: Ok(()), server, is_private: true }
    }

    fn bad(found: &Database) -> Vec<(Check, Level)> {
        let all = database(found, "diogenes-leader").into_iter();
        all.filter(|f| f.level > Level::Ok).map(|f| (f.check, f.level)).collect()
    }

    #[test]
    fn both_databases_can_be_well() {
        assert_eq!(bad(&open(None)), []);
        assert_eq!(bad(&open(Some(server()))), []);
        let local = Server { is_remote: false, is_encrypted: false, ..server() };
        assert_eq!(bad(&open(Some(local))), []);
    }

    #[test]
    fn each_fault_of_a_server_is_named() {
        let (fail, warn) = (Level::Fail, Level::Warn);
        for (found, expected) in [
            (Server { version: 13, ..server() }, (Check::Database, fail)),
            (Server { not_durable: vec!["fsync".into()], ..server() }, (Check::Durability, fail)),
            (
                Server { is_encrypted: false, sslmode: "prefer", ..server() },
                (Check::DatabaseTls, fail),
            ),
            (Server { sslmode: "require", ..server() }, (Check::DatabaseTls, warn)),
            (Server { is_superuser: true, ..server() }, (Check::DatabaseRights, warn)),
            (Server { may_write: false, ..server() }, (Check::DatabaseRights, fail)),
        ] {
            assert_eq!(bad(&open(Some(found.clone()))), [expected], "{found:?}");
        }
    }

    #[test]
    fn a_schema_of_another_version_is_told_with_the_way_out() {
        for (error, expected) in [
            (StoreError::Outdated { pending: 1 }, Level::Warn),
            (StoreError::Newer { version: 99 }, Level::Fail),
            (StoreError::Altered { version: 1 }, Level::Fail),
        ] {
            let schema = Err(error);
            let found =
                Database::Open { place: String::new(), schema, server: None, is_private: true };
            assert_eq!(bad(&found), [(Check::Schema, expected)]);
        }
    }

    #[test]
    fn a_database_that_is_not_there_is_a_failure_if_it_was_there_before() {
        let file = |is_lost| Database::NoFile { place: "log.db".to_owned(), is_lost };
        let error = StoreError::Unreachable("refused".to_owned());

        assert_eq!(bad(&file(false)), [(Check::Database, Level::Warn)]);
        assert_eq!(bad(&file(true)), [(Check::Database, Level::Fail)]);
        let closed = Database::Closed { place: "postgres://h/d".to_owned(), error };
        assert_eq!(bad(&closed), [(Check::Database, Level::Fail)]);
    }

    #[test]
    fn the_checklist_hears_how_the_database_is_reached() {
        let plain = Server { is_encrypted: false, ..server() };
        let local = Server { is_remote: false, ..server() };
        for (found, expected) in [
            (open(None), Some(DatabaseAccess::File { is_private: true })),
            (open(Some(plain)), Some(DatabaseAccess::RemoteServer { is_encrypted: false })),
            (open(Some(local)), Some(DatabaseAccess::LocalServer)),
            (Database::NoFile { place: String::new(), is_lost: true }, None),
        ] {
            assert_eq!(found.access(), expected);
        }
    }
}
