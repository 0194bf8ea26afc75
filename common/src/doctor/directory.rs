//! The data directory, its files and the node's own key.

use std::io;
use std::path::{Path, PathBuf};

use super::{Check, Finding, or_ok};
use crate::files::Role;

/// A data directory as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Directory {
    /// Where.
    pub(super) path: PathBuf,
    /// Its permission bits.
    pub(super) mode: u32,
    /// Its owner's number.
    pub(super) owner: u32,
    /// The role that it is marked with.
    pub(super) role: Option<String>,
    /// The files in it.
    pub(super) files: Vec<FileFact>,
}

/// A file of a data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileFact {
    /// Its name.
    pub(super) name: String,
    /// Its permission bits.
    pub(super) mode: u32,
    /// Its owner's number.
    pub(super) owner: u32,
}

/// What the file of the node's own key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeyFile {
    /// It is not there.
    Missing,
    /// No key that this node can use, and why.
    Unusable(String),
    /// A key with this fingerprint.
    Usable(String),
}

/// Root, which may read everything.
const ROOT: u32 = 0;

/// Judges a data directory; `me` is the user of this process.
pub(super) fn directory(role: Role, me: u32, found: &Directory) -> Vec<Finding> {
    let Directory { path, mode, owner, role: marker, .. } = found;
    let (path, check) = (path.display(), Check::DataDirectory);
    let mut findings = Vec::new();
    if mode & 0o077 != 0 {
        findings.push(Finding::fail(
            check,
            format!("{path} is open to others (mode {mode:04o}); no node starts on it"),
            format!("make sure that nobody read the keys in it, then: chmod 700 {path}"),
        ));
    }
    if *owner != me && me != ROOT {
        findings.push(Finding::fail(
            check,
            format!("{path} belongs to user {owner}, and this is user {me}"),
            "run the node and doctor as the directory's owner",
        ));
    }
    match marker {
        Some(marker) if marker != role.name() => findings.push(Finding::fail(
            check,
            format!("{path} holds the data of a {marker}, not of a {}", role.name()),
            "give each node a --data-dir of its own",
        )),
        None => findings.push(Finding::warn(
            check,
            format!("{path} holds no node yet"),
            "the first start makes what is missing; if a node should be here, check --data-dir",
        )),
        Some(_) => {}
    }
    let mut all = or_ok(findings, check, format!("{path} is its owner's alone ({mode:04o})"));
    all.extend(files(found));
    all
}

/// Judges a data directory that cannot be read.
pub(super) fn absent(path: &Path, error: &io::Error) -> Finding {
    let (check, path) = (Check::DataDirectory, path.display());
    match error.kind() {
        io::ErrorKind::NotFound => Finding::warn(
            check,
            format!("{path} is not there yet"),
            "the first start makes it; if a node should be here, check --data-dir",
        ),
        io::ErrorKind::NotADirectory => {
            Finding::fail(check, format!("{path} is not a directory"), "choose another --data-dir")
        }
        _ => Finding::fail(
            check,
            format!("{path} cannot be read: {error}"),
            "run doctor as the user of the node",
        ),
    }
}

fn files(found: &Directory) -> Vec<Finding> {
    let check = Check::Files;
    let at = |name: &str| found.path.join(name).display().to_string();
    let mut findings = Vec::new();
    for file in &found.files {
        let FileFact { name, mode, owner } = file;
        if mode & 0o077 != 0 && is_secret(name) {
            findings.push(Finding::fail(
                check,
                format!("{name} is open to others (mode {mode:04o})"),
                format!("make sure that nobody read it, then: chmod 600 {}", at(name)),
            ));
        } else if mode & 0o077 != 0 {
            findings.push(Finding::warn(
                check,
                format!("{name} is open to others (mode {mode:04o})"),
                format!("chmod 600 {}", at(name)),
            ));
        }
        if *owner != found.owner {
            findings.push(Finding::fail(
                check,
                format!("{name} belongs to user {owner}, the directory to user {}", found.owner),
                format!("chown {} {}", found.owner, at(name)),
            ));
        }
    }
    let all = match found.files.len() {
        1 => "the one file is its owner's alone".to_owned(),
        many => format!("all {many} files are their owner's alone"),
    };
    or_ok(findings, check, all)
}

/// Whether a file's content lets its reader act as this node, or as its operator.
fn is_secret(name: &str) -> bool {
    name.contains(".pem") || ["secret-key", "operator-token"].contains(&name)
}

/// Judges the node's own key.
pub(super) fn key(role: Role, found: &KeyFile) -> Finding {
    let (check, name) = (Check::Key, role.key_file());
    match found {
        KeyFile::Missing => Finding::warn(
            check,
            format!("{name} is not there yet"),
            "the first start makes it; if this node had a key, restore it from a backup instead",
        ),
        KeyFile::Unusable(why) => Finding::fail(
            check,
            format!("{name} cannot be used: {why}"),
            "restore it from a backup; a new key is a new identity",
        ),
        KeyFile::Usable(fingerprint) => Finding::ok(check, format!("{name} is {fingerprint}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    const ME: u32 = 1000;

    fn file(name: &str, mode: u32) -> FileFact {
        FileFact { name: name.to_owned(), mode, owner: ME }
    }

    fn healthy() -> Directory {
        Directory {
            path: "/var/lib/diogenes".into(),
            mode: 0o700,
            owner: ME,
            role: Some("leader".to_owned()),
            files: vec![file("operator.pem", 0o600), file("log.db", 0o600)],
        }
    }

    fn worst(found: &Directory) -> Vec<(Check, Level)> {
        let all = directory(Role::Leader, ME, found).into_iter();
        all.filter(|f| f.level > Level::Ok).map(|f| (f.check, f.level)).collect()
    }

    #[test]
    fn a_private_directory_of_the_right_role_is_well() {
        assert_eq!(worst(&healthy()), []);
        assert_eq!(directory(Role::Leader, ROOT, &healthy()).len(), 2);
    }

    #[test]
    fn each_fault_of_a_directory_is_named_with_what_to_do() {
        let (directory, files) = (Check::DataDirectory, Check::Files);
        let with = |file| Directory { files: vec![file], ..healthy() };
        let (fail, warn) = (Level::Fail, Level::Warn);
        for (found, expected) in [
            (Directory { mode: 0o755, ..healthy() }, vec![(directory, fail)]),
            (Directory { role: Some("witness".into()), ..healthy() }, vec![(directory, fail)]),
            (Directory { role: None, ..healthy() }, vec![(directory, warn)]),
            (with(file("operator.pem", 0o644)), vec![(files, fail)]),
            (with(file("operator-token", 0o640)), vec![(files, fail)]),
            (with(file("log.db", 0o604)), vec![(files, warn)]),
            (with(FileFact { owner: 0, ..file("secret-key", 0o600) }), vec![(files, fail)]),
            (Directory { owner: 7, files: Vec::new(), ..healthy() }, vec![(directory, fail)]),
        ] {
            assert_eq!(worst(&found), expected, "{found:?}");
        }
    }

    #[test]
    fn a_directory_that_is_not_there_may_come_and_one_that_cannot_be_read_does_not() {
        for (kind, expected) in [
            (io::ErrorKind::NotFound, Level::Warn),
            (io::ErrorKind::NotADirectory, Level::Fail),
            (io::ErrorKind::PermissionDenied, Level::Fail),
        ] {
            assert_eq!(absent(Path::new("d"), &kind.into()).level, expected);
        }
    }

    #[test]
    fn a_key_that_cannot_be_read_is_a_failure_and_none_at_all_is_not() {
        let level = |found| key(Role::Witness, &found).level;

        assert_eq!(level(KeyFile::Usable("sha256:00".into())), Level::Ok);
        assert_eq!(level(KeyFile::Missing), Level::Warn);
        assert_eq!(level(KeyFile::Unusable("no PEM".into())), Level::Fail);
    }
}
