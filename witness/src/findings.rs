//! What a witness keeps about heads that it did not sign: signed refusals and evidence files.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use diogenes_common::evidence::{self, Evidence};
use diogenes_common::files::{self, FileError, private_dir, sync_parent};
use diogenes_common::merkle::Hash;
use diogenes_common::statement::Refusal;

/// When the file of refusals is this long, a new one is begun and the one before is kept.
const MAX_REFUSALS_BYTES: u64 = 4 * 1024 * 1024;

/// The most evidence files that are kept; each proves enough by itself.
const MAX_EVIDENCE_FILES: usize = 256;

/// Keeps a refusal, unless the last one said the same about the same head.
///
/// Says whether it is a new one.
pub fn keep_refusal(home: &Path, refusal: &Refusal) -> Result<bool, FileError> {
    let path = home.join("refusals.jsonl");
    let last = last_line(&path)?;
    let last: Option<Refusal> = last.and_then(|line| serde_json::from_slice(&line).ok());
    let same = |last: &Refusal| {
        (&last.origin, &last.reason, &last.head_sha256)
            == (&refusal.origin, &refusal.reason, &refusal.head_sha256)
    };
    if last.as_ref().is_some_and(same) {
        return Ok(false);
    }
    if fs::metadata(&path).is_ok_and(|file| file.len() > MAX_REFUSALS_BYTES) {
        fs::rename(&path, home.join("refusals.1.jsonl")).map_err(io_error("rename", &path))?;
    }
    let mut line = serde_json::to_vec(refusal)
        .map_err(|_| FileError::Malformed { path: path.clone(), expected: "refusals" })?;
    line.push(b'\n');
    files::append(&path, &line)?;
    Ok(true)
}

/// Keeps evidence that really proves what it says; answers where, or `None` if it does not
/// or if too many files are there already.
///
/// The same finding has the same name, however often it is made.
pub fn keep_evidence(
    home: &Path,
    evidence: &Evidence,
    identity: &[u8],
) -> Result<Option<PathBuf>, FileError> {
    let bytes = evidence.to_bytes();
    if evidence::verify(&bytes, None, None).is_err() {
        return Ok(None);
    }
    let directory = home.join("evidence");
    private_dir(&directory)?;
    let name = format!("{}-{}.json", evidence.kind().as_str(), &Hash::of(identity).to_hex()[..16]);
    let path = directory.join(name);
    if path.exists() {
        // Whoever wrote it may not have come to making its name durable.
        sync_parent(&path)?;
    } else {
        let kept = fs::read_dir(&directory).map_err(io_error("list", &directory))?.count();
        if kept >= MAX_EVIDENCE_FILES {
            return Ok(None);
        }
        files::replace(&path, &bytes)?;
    }
    Ok(Some(path))
}

fn last_line(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    const MOST: u64 = 16 * 1024;
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(io_error("open", path))?,
    };
    let mut bytes = Vec::new();
    let length = file.metadata().map_err(io_error("read", path))?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MOST)))
        .and_then(|_| file.read_to_end(&mut bytes))
        .map_err(io_error("read", path))?;
    Ok(bytes.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().map(<[u8]>::to_vec))
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    move |error| FileError::Io { doing, path: path.to_owned(), kind: error.kind() }
}

#[cfg(test)]
mod tests {
    use diogenes_common::evidence::{Observed, contradiction};
    use diogenes_common::head::Contradiction;
    use diogenes_common::merkle::TreeRoot;
    use diogenes_common::statement::{Reason, RefusalClaim};

    use super::*;
    use crate::judge::Seen;
    use crate::log::LogIdentity;
    use crate::testing::{History, at};

    fn refusal(head: &str, seconds: i64) -> Refusal {
        let history = History::honest();
        let claim = RefusalClaim {
            head_sha256: Hash::of(head.as_bytes()),
            old_root: TreeRoot::EMPTY.hash,
            old_tree_size: TreeRoot::EMPTY.size,
            origin: history.origin(),
            reason: Reason::try_from("leader_stale").unwrap(),
            timestamp: at(seconds),
            witness: history.operator().fingerprint(),
        };
        claim.into_refusal(history.operator())
    }

    #[test]
    fn a_refusal_that_only_repeats_the_last_one_is_not_kept() {
        let home = tempfile::tempdir().unwrap();
        let keep = |head, seconds| keep_refusal(home.path(), &refusal(head, seconds));

        assert_eq!(keep("one", 1), Ok(true));
        assert_eq!(keep("one", 2), Ok(false));
        assert_eq!(keep("two", 3), Ok(true));
        assert_eq!(keep("one", 4), Ok(true));

        let text = fs::read_to_string(home.path().join("refusals.jsonl")).unwrap();
        assert_eq!(text.lines().count(), 3);
    }

    #[test]
    fn the_file_of_refusals_stays_small() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("refusals.jsonl");
        File::create(&path).unwrap().set_len(MAX_REFUSALS_BYTES + 1).unwrap();

        keep_refusal(home.path(), &refusal("one", 1)).unwrap();

        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 1);
        assert!(home.path().join("refusals.1.jsonl").exists());
    }

    #[test]
    fn what_proves_nothing_is_not_kept_as_evidence() {
        let home = tempfile::tempdir().unwrap();
        let (honest, fork) = (History::honest(), History::forked_at(3));
        let log = LogIdentity::of_genesis(honest.leaf_bytes(0)).unwrap();
        let observed = Observed { at: at(3), by: "a test".into() };
        let keep = |other: &Seen| {
            let one = honest.seen(5, at(1));
            let heads = [one.signed(), other.signed()];
            let kind = Contradiction::ForkSameSize;
            let evidence = contradiction(kind, log.accused(), heads, &observed);
            keep_evidence(home.path(), &evidence, b"identity")
        };

        assert_eq!(keep(&honest.seen(5, at(2))), Ok(None));
        let kept = keep(&fork.seen(5, at(2))).unwrap().unwrap();
        assert!(kept.exists());
        assert_eq!(keep(&fork.seen(5, at(2))), Ok(Some(kept)));
    }
}
