//! Whether backups are made, and how old the newest is.
//!
//! ```text
//! BACKUP_DIR/000000000042-20260115T103000Z/     tree size, time of the backup
//! ```

use std::path::PathBuf;

use super::{Check, Finding, or_ok};
use crate::clock::Timestamp;

/// The settings about backups, and what is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Backups {
    /// Whether a backup is made by a schedule.
    pub(super) is_scheduled: bool,
    /// `BACKUP_DIR`, and what it holds.
    pub(super) directory: Option<(PathBuf, Result<Kept, String>)>,
}

/// What a directory of backups holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// Its permission bits: there are keys in it.
    pub(super) mode: u32,
    /// Whether it is on the file system of the data directory.
    pub(super) is_same_disk: bool,
    /// The names in it.
    pub(super) names: Vec<String>,
}

/// A newest backup that is older than this was forgotten.
const OLD_MS: i64 = 48 * 3_600_000;

/// Judges backups.
pub(super) fn backups(found: &Backups, now: Timestamp) -> Vec<Finding> {
    let check = Check::Backups;
    let Some((path, kept)) = &found.directory else {
        let advice = "set BACKUP_SCHEDULE and BACKUP_DIR, on another disk; `backup DIR` makes one \
                      now";
        return vec![if found.is_scheduled {
            Finding::fail(check, "BACKUP_SCHEDULE is set, but BACKUP_DIR is not", "set BACKUP_DIR")
        } else {
            Finding::warn(check, "this node makes no backups by itself", advice)
        }];
    };
    let path = path.display();
    let kept = match kept {
        Ok(kept) => kept,
        Err(why) => {
            return vec![Finding::fail(
                check,
                format!("BACKUP_DIR {path} cannot be read: {why}"),
                "make the directory, owned by the node's user: mkdir -m 700",
            )];
        }
    };
    let mut findings = place(&path.to_string(), kept);
    if !found.is_scheduled {
        findings.push(Finding::warn(
            check,
            "BACKUP_DIR is set, but BACKUP_SCHEDULE is not",
            "set BACKUP_SCHEDULE, like \"0 43 2 * * *\"",
        ));
    }
    let Some((name, made)) = newest(kept) else {
        findings.push(Finding::warn(
            check,
            format!("{path} holds no backup yet"),
            format!("make one now and verify it: backup {path}, then backup verify {path}"),
        ));
        return findings;
    };
    let hours = now.millis_since(made).max(0) / 3_600_000;
    if now.millis_since(made) > OLD_MS {
        findings.push(Finding::fail(
            check,
            format!("the newest backup, {name}, is {} days old", hours / 24),
            "look for `backup` in the node's log, and for room on that disk",
        ));
    }
    or_ok(findings, check, format!("the newest, {name}, is {hours} hours old"))
}

fn place(path: &str, kept: &Kept) -> Vec<Finding> {
    let check = Check::Backups;
    let mut findings = Vec::new();
    if kept.mode & 0o077 != 0 {
        findings.push(Finding::fail(
            check,
            format!("{path} holds keys, and is open to others (mode {:04o})", kept.mode),
            format!("make sure that nobody read them, then: chmod 700 {path}"),
        ));
    }
    if kept.is_same_disk {
        findings.push(Finding::warn(
            check,
            format!("{path} is on the disk of the data directory: both are lost together"),
            "mount another disk there, or copy the backups to another machine",
        ));
    }
    findings
}

fn newest(kept: &Kept) -> Option<(&str, Timestamp)> {
    let made = kept.names.iter().filter_map(|name| Some((name.as_str(), time_of(name)?)));
    made.max_by_key(|(name, made)| (*made, *name))
}

/// The time in the name of a backup: `<size, 12 digits>-<UTC yyyymmddThhmmssZ>`.
fn time_of(name: &str) -> Option<Timestamp> {
    let (size, time) = name.split_once('-')?;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let fits = size.len() == 12 && digits(size) && time.len() == 16 && time.is_ascii();
    let (date, clock) = time.strip_suffix('Z').filter(|_| fits)?.split_once('T')?;
    if date.len() != 8 || clock.len() != 6 {
        return None;
    }
    let text = format!(
        "{}-{}-{}T{}:{}:{}.000Z",
        &date[..4],
        &date[4..6],
        &date[6..],
        &clock[..2],
        &clock[2..4],
        &clock[4..]
    );
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    fn now() -> Timestamp {
        "2026-01-15T10:30:00.000Z".parse().unwrap()
    }

    fn kept(names: &[&str]) -> Kept {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Kept { mode: 0o700, is_same_disk: false, names }
    }

    fn found(kept: Kept) -> Backups {
        Backups { is_scheduled: true, directory: Some(("/backup".into(), Ok(kept))) }
    }

    const YOUNG: &str = "000000000042-20260115T003000Z";
    const OLD: &str = "000000000041-20260101T003000Z";

    #[test]
    fn scheduled_backups_of_which_the_newest_is_young_are_well() {
        let found = found(kept(&[OLD, YOUNG, ".part-000000000043-20260115T103000Z"]));

        let findings = backups(&found, now());

        assert_eq!(findings.iter().map(|f| f.level).collect::<Vec<_>>(), [Level::Ok]);
        assert!(findings[0].message.contains("10 hours old"), "{findings:?}");
    }

    #[test]
    fn each_way_to_be_without_a_backup_is_told() {
        let none = Backups { is_scheduled: false, directory: None };
        let nowhere = Backups { is_scheduled: true, directory: None };
        let gone = Err("not there".to_owned());
        let gone = Backups { is_scheduled: true, directory: Some(("/backup".into(), gone)) };
        for (found, expected) in [
            (none, Level::Warn),
            (nowhere, Level::Fail),
            (gone, Level::Fail),
            (found(kept(&[])), Level::Warn),
            (found(kept(&[OLD])), Level::Fail),
            (found(Kept { mode: 0o755, ..kept(&[YOUNG]) }), Level::Fail),
            (found(Kept { is_same_disk: true, ..kept(&[YOUNG]) }), Level::Warn),
            (Backups { is_scheduled: false, ..found(kept(&[YOUNG])) }, Level::Warn),
        ] {
            let findings = backups(&found, now());

            assert_eq!(findings.iter().map(|f| f.level).max(), Some(expected), "{found:?}");
            assert!(findings.iter().all(|finding| finding.level > Level::Ok), "{findings:?}");
        }
    }

    #[test]
    fn only_whole_backups_have_a_time() {
        let time = |name| time_of(name).map(|time| time.to_string());

        assert_eq!(time(YOUNG).as_deref(), Some("2026-01-15T00:30:00.000Z"));
        for name in [
            ".part-000000000042-20260115T003000Z",
            "42-20260115T003000Z",
            "000000000042-20260115T003000",
            "000000000042-20261315T003000Z",
            "000000000042-2026011500T3000Z",
            "keys",
        ] {
            assert_eq!(time(name), None, "{name}");
        }
    }
}
