//! Real entries for the log: this repository's commits, or the files where there is no git.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use diogenes_common::merkle::Hash;
use diogenes_tests::http::Node;
use diogenes_tests::stranger;
use serde_json::{Value, json};

const COMMIT: &str = "x-git:commit";
const DIGEST: &str = "x-file:digest";
/// The most events in one request.
const BATCH: usize = 1_000;
/// The most files that are read, and how large one may be.
const MAX_FILES: usize = 10_000;
const MAX_BYTES: u64 = 64 << 20;

/// What was added to the log.
pub(crate) struct Fed {
    what: &'static str,
    new: usize,
    known: usize,
}

impl fmt::Display for Fed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Appended {} {} ({} were in the log)", self.new, self.what, self.known)
    }
}

/// Appends what the log does not hold yet; the log is read and verified to find that out.
pub(crate) async fn feed(leader: &Node) -> anyhow::Result<Fed> {
    let mut known = BTreeSet::new();
    stranger::visit_log(leader, |leaf| {
        if [COMMIT, DIGEST].contains(&leaf.event_type()) {
            let payload = serde_json::from_slice(leaf.payload()).unwrap_or_default();
            known.insert(name_of(&payload));
        }
    })
    .await?;
    let here = Path::new(".");
    let (what, event_type, all) = match commits(here) {
        Some(commits) => ("commits of this repository", COMMIT, commits),
        None => ("files of this directory", DIGEST, files(here)),
    };
    let new: Vec<_> = all.iter().filter(|payload| !known.contains(&name_of(payload))).collect();
    for batch in new.chunks(BATCH) {
        let mut lines = Vec::new();
        for payload in batch {
            let event = json!({ "event_type": event_type, "payload": payload });
            writeln!(lines, "{event}")?;
        }
        leader.append_lines(lines).await?;
    }
    Ok(Fed { what, new: new.len(), known: all.len() - new.len() })
}

/// What tells two payloads apart.
fn name_of(payload: &Value) -> String {
    let text = |name: &str| payload[name].as_str().unwrap_or_default().to_owned();
    [text("commit"), text("path"), text("sha256")].join("\n")
}

/// The commits of the repository around `directory`, oldest first; `None` without git.
fn commits(directory: &Path) -> Option<Vec<Value>> {
    let output = Command::new("git")
        .arg("-C")
        .arg(directory)
        .args(["log", "--reverse", "-z", "--format=%H%x1f%T%x1f%an%x1f%aI%x1f%s"])
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout);
    Some(text.split('\0').filter_map(commit).collect())
}

fn commit(record: &str) -> Option<Value> {
    let mut fields = record.trim_matches('\n').split('\x1f');
    let mut next = || fields.next().map(|field| field.chars().take(1_000).collect::<String>());
    let (commit, tree) = (next()?, next()?);
    let (author, date, subject) = (next()?, next()?, next()?);
    Some(json!({
        "author": author, "commit": commit, "date": date, "subject": subject, "tree": tree,
    }))
}

/// The files below `directory` with their digests, in the order of their names.
fn files(directory: &Path) -> Vec<Value> {
    let mut found = Vec::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(directory) = waiting.pop() {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let is_ours = !name.to_string_lossy().starts_with('.') && name != "target";
            match entry.file_type() {
                Ok(kind) if is_ours && kind.is_dir() => waiting.push(entry.path()),
                Ok(kind) if is_ours && kind.is_file() && found.len() < MAX_FILES => {
                    found.push(entry.path());
                }
                _ => {}
            }
        }
    }
    found.sort();
    found.iter().filter_map(|path| digest(directory, path)).collect()
}

fn digest(directory: &Path, path: &Path) -> Option<Value> {
    let length = path.metadata().ok().filter(|file| file.len() <= MAX_BYTES)?.len();
    let bytes = fs::read(path).ok()?;
    let name = path.strip_prefix(directory).unwrap_or(path).to_string_lossy().into_owned();
    Some(json!({ "path": name, "sha256": Hash::of(&bytes), "size": length }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_read_field_by_field() {
        let record = "c0ffee\x1f7ree\x1fAda\x1f2026-01-15T10:00:00+00:00\x1fSubject, \"quoted\"";
        let payload = commit(record).unwrap();
        assert_eq!(payload["commit"], "c0ffee");
        assert_eq!(payload["subject"], "Subject, \"quoted\"");
        assert_eq!(commit(""), None);
    }

    #[test]
    fn without_git_the_files_are_the_events() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("b")).unwrap();
        for (name, text) in [("b/x", "x"), ("a", ""), (".hidden", "")] {
            fs::write(directory.path().join(name), text).unwrap();
        }
        let found = files(directory.path());
        let names: Vec<_> = found.iter().map(|file| file["path"].as_str().unwrap()).collect();
        assert_eq!(names, ["a", "b/x"]);
        assert_eq!(found[0]["sha256"], Hash::of(b"").to_string());
    }
}
