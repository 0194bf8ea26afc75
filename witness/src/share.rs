//! Which proofs were told to whom: a fork that one witness keeps to itself warns nobody.
//!
//! ```text
//! evidence-told.json   {"<server>": ["<file name>", ...], ...}
//! ```
//!
//! A server that answered for a file is not sent it again, over restarts too. Two processes may forget
//! each other's marks; then a server is told twice, and says that it knows.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use diogenes_common::evidence::{self, MAX_EVIDENCE_BYTES};
use diogenes_common::files::{self, FileError};
use diogenes_common::merkle::Hash;

/// The file of the marks.
const TOLD: &str = "evidence-told.json";

type Marks = BTreeMap<String, BTreeSet<String>>;

/// A proof that a server has not answered for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Untold {
    /// The file's name.
    pub(crate) name: String,
    /// The file.
    pub(crate) bytes: Vec<u8>,
}

/// The proofs against a log that a server has not answered for.
pub(crate) fn untold(home: &Path, server: &str, log_id: Hash) -> Result<Vec<Untold>, FileError> {
    let names = evidence_files(home)?;
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let told = marks(home).remove(server).unwrap_or_default();
    let mut found = Vec::new();
    for name in names.into_iter().filter(|name| !told.contains(name)) {
        let path = directory(home).join(&name);
        let is_short = fs::metadata(&path).is_ok_and(|of| of.len() <= MAX_EVIDENCE_BYTES as u64);
        let Some(bytes) = is_short.then(|| fs::read(&path).ok()).flatten() else { continue };
        if evidence::verify(&bytes, Some(log_id), None).is_ok() {
            found.push(Untold { name, bytes });
        }
    }
    Ok(found)
}

/// Remembers that a server answered for a file.
pub(crate) fn mark(home: &Path, server: &str, name: &str) -> Result<(), FileError> {
    let kept = evidence_files(home)?;
    let mut marks = marks(home);
    marks.entry(server.to_owned()).or_default().insert(name.to_owned());
    for told in marks.values_mut() {
        told.retain(|name| kept.contains(name));
    }
    let path = home.join(TOLD);
    let bytes = serde_json::to_vec_pretty(&marks)
        .map_err(|_| FileError::Malformed { path: path.clone(), expected: "names of files" })?;
    files::replace(&path, &bytes)
}

/// A file of marks that cannot be read is one without marks: servers are told again.
fn marks(home: &Path) -> Marks {
    let bytes = fs::read(home.join(TOLD)).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

fn evidence_files(home: &Path) -> Result<BTreeSet<String>, FileError> {
    let directory = directory(home);
    let failed = |error: std::io::Error| FileError::Io {
        doing: "list",
        path: directory.clone(),
        kind: error.kind(),
    };
    let entries = match fs::read_dir(&directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
        other => other.map_err(failed)?,
    };
    let names = entries.map(|entry| Ok(entry.map_err(failed)?.file_name().into_string().ok()));
    let names = names.collect::<Result<Vec<_>, FileError>>()?;
    Ok(names.into_iter().flatten().filter(|name| is_json(name)).collect())
}

fn is_json(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "json")
}

fn directory(home: &Path) -> PathBuf {
    home.join("evidence")
}
