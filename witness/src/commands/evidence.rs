//! `evidence verify` and `evidence explain`: files that a stranger made, checked offline.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use diogenes_common::evidence::{self, EvidenceError, MAX_EVIDENCE_BYTES, Proven};
use diogenes_common::exit::{Exit, Failure};
use diogenes_common::keys::Fingerprint;
use diogenes_common::merkle::Hash;
use serde_json::Value;

use super::print_json;

#[derive(clap::Subcommand)]
pub(super) enum Evidence {
    /// Check a file of evidence from its bytes alone.
    ///
    /// Exit code 0: proven. 1: not proven. 2: not a file of evidence.
    #[command(
        after_help = "Example: diogenes-witness evidence verify fork.json --log-id sha256:..."
    )]
    Verify {
        /// The file.
        file: PathBuf,
        #[command(flatten)]
        about: About,
    },
    /// Say in plain words what a file of evidence claims, and whether it proves it.
    #[command(after_help = "Example: diogenes-witness evidence explain fork.json")]
    Explain {
        /// The file.
        file: PathBuf,
        #[command(flatten)]
        about: About,
    },
}

/// Whom the evidence must be about.
#[derive(clap::Args)]
pub(super) struct About {
    /// The id of the log that the evidence must be about.
    #[arg(long, value_name = "HASH")]
    log_id: Option<String>,
    /// The fingerprint of the key that must be accused.
    #[arg(long, value_name = "SHA256")]
    fingerprint: Option<String>,
}

impl Evidence {
    pub(super) fn run(&self, json: bool) -> Result<(), Failure> {
        let (Self::Verify { file, about } | Self::Explain { file, about }) = self;
        let (log_id, fingerprint) = about.parse()?;
        let bytes = read(file)?;
        let verdict = evidence::verify(&bytes, log_id, fingerprint);
        if let (Self::Explain { .. }, false) = (self, json) {
            print!("{}", evidence::explain(&bytes).unwrap_or_default());
        }
        match &verdict {
            Ok(proven) if json => print_json(&shown(proven)),
            Ok(proven) => print!("{}", proven_text(proven, log_id)),
            Err(_) => {}
        }
        match verdict {
            Ok(_) => Ok(()),
            Err(error @ EvidenceError::Unreadable) => {
                Err(Failure::new(Exit::Usage, "unreadable", error, "give a file of evidence"))
            }
            Err(error @ EvidenceError::NotProven(_)) => Err(Failure::refused(
                "not_proven",
                error,
                "the file proves nothing against anybody; ask whoever gave it to you",
            )),
        }
    }
}

impl About {
    fn parse(&self) -> Result<(Option<Hash>, Option<Fingerprint>), Failure> {
        let wrong = |flag: &str, error| {
            Failure::usage(format!("{flag}: {error}"), "give sha256:<64 hex digits>")
        };
        let log_id = self.log_id.as_deref().map(str::parse).transpose();
        let fingerprint = self.fingerprint.as_deref().map(str::parse).transpose();
        Ok((
            log_id.map_err(|error| wrong("--log-id", error))?,
            fingerprint.map_err(|error| wrong("--fingerprint", error))?,
        ))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let unreadable = |error: std::io::Error| {
        let what = format!("cannot read {}: {error}", path.display());
        Failure::new(Exit::Usage, "unreadable", what, "give a file of evidence")
    };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_EVIDENCE_BYTES as u64 + 1).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    Ok(bytes)
}

fn shown(proven: &Proven) -> Value {
    serde_json::json!({
        "proven": true,
        "log_id": proven.log_id,
        "fingerprint": proven.fingerprint,
        "kind": proven.kind,
    })
}

fn proven_text(proven: &Proven, named: Option<Hash>) -> String {
    let log = match (proven.log_id, named) {
        (Some(id), Some(_)) => format!("Log id {id}, the one that was named.\n"),
        (Some(id), None) => format!("Of log id {id}: compare it.\n"),
        (None, _) => "The file names no log.\n".to_owned(),
    };
    format!("{log}Proven: {} by key {}.\n", proven.kind.as_str(), proven.fingerprint)
}

#[cfg(test)]
mod tests {
    use diogenes_common::evidence::{Observed, contradiction};
    use diogenes_common::head::Contradiction;

    use super::*;
    use crate::log::LogIdentity;
    use crate::testing::{History, at};

    fn fork() -> Vec<u8> {
        let (honest, fork) = (History::honest(), History::forked_at(3));
        let log = LogIdentity::of_genesis(honest.leaf_bytes(0)).unwrap();
        let (one, other) = (honest.seen(5, at(1)), fork.seen(5, at(2)));
        let observed = Observed { at: at(3), by: "a test".into() };
        let heads = [one.signed(), other.signed()];
        contradiction(Contradiction::ForkSameSize, log.accused(), heads, &observed).to_bytes()
    }

    fn run(bytes: &[u8], log_id: Option<&str>) -> Result<(), (Exit, &'static str)> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("evidence.json");
        std::fs::write(&file, bytes).unwrap();
        let about = About { log_id: log_id.map(str::to_owned), fingerprint: None };
        let result = Evidence::Verify { file, about }.run(false);
        result.map_err(|failure| (failure.exit(), failure.reason()))
    }

    #[test]
    fn evidence_is_proven_not_proven_or_unreadable() {
        let other_log = Hash::EMPTY_TREE.to_string();
        let log_id = Hash::of(History::honest().leaf_bytes(0)).to_string();
        let tampered = String::from_utf8(fork()).unwrap().replace("fork_same_size", "truncated");

        assert_eq!(run(&fork(), None), Ok(()));
        assert_eq!(run(&fork(), Some(&log_id)), Ok(()));
        assert_eq!(run(&fork(), Some(&other_log)), Err((Exit::Refused, "not_proven")));
        assert_eq!(run(tampered.as_bytes(), None), Err((Exit::Refused, "not_proven")));
        assert_eq!(run(b"{}", None), Err((Exit::Usage, "unreadable")));
        assert_eq!(run(&fork(), Some("x")), Err((Exit::Usage, "usage")));
    }

    #[test]
    fn an_explanation_says_what_was_signed_and_where_the_histories_part() {
        let text = evidence::explain(&fork()).unwrap();

        assert!(text.starts_with("Claim:     fork_same_size: one size of the log was signed"));
        assert_eq!(text.matches("a tree head of log.example").count(), 2, "{text}");
        assert!(text.contains("the histories part at entry 5 or before"), "{text}");
    }
}
