//! `export verify`: whether the entries of an exported audit trail are in a log, without a network.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use diogenes_common::exit::{Exit, Failure};
use diogenes_common::export::verify::{
    Expected, MAX_EXPORT_BYTES, NotProven, Proven, Unreadable, verify,
};
use diogenes_common::head::Origin;
use diogenes_common::note::{KeyKind, Vkey};
use serde_json::{Value, json};

use super::print_json;

#[derive(clap::Subcommand)]
pub(super) enum Export {
    /// Check that every entry of an exported audit trail is in the log, as the file shows it.
    ///
    /// The file is one of `GET /api/v1/audit/export?proofs=true`, as JSON or NDJSON. Whose log it
    /// is, the file says itself: name the key to be sure. Exit code 0: proven. 1: not proven. 2: the
    /// file cannot be read, or carries no proofs.
    #[command(
        after_help = "Example: diogenes-witness export verify audit-all-1.json --operator sha256:..."
    )]
    Verify {
        /// The file.
        file: PathBuf,
        #[command(flatten)]
        of: Of,
    },
}

/// Whose log it must be.
#[derive(clap::Args, Default)]
pub(super) struct Of {
    /// The fingerprint that the log's operator key must have.
    #[arg(long, value_name = "SHA256", visible_alias = "fingerprint")]
    operator: Option<String>,
    /// The log's key as a C2SP verifier key: its name and key must be those of the file.
    #[arg(long, value_name = "VKEY", conflicts_with = "operator")]
    log_key: Option<String>,
}

impl Export {
    pub(super) fn run(&self, json: bool) -> Result<(), Failure> {
        let Self::Verify { file, of } = self;
        let expected = of.parse()?;
        let proven = verify(&read(file)?, &expected).map_err(|error| failure(file, &error))?;
        if json {
            print_json(&shown(&proven));
        } else {
            print!("{}", text(&proven, &expected));
        }
        Ok(())
    }
}

impl Of {
    fn parse(&self) -> Result<Expected, Failure> {
        if let Some(text) = &self.log_key {
            return of_vkey(text);
        }
        let operator = self.operator.as_deref().map(str::parse).transpose().map_err(|error| {
            Failure::usage(format!("--operator: {error}"), "give sha256:<64 hex digits>")
        })?;
        Ok(Expected { operator, origin: None })
    }
}

fn of_vkey(text: &str) -> Result<Expected, Failure> {
    let wrong = |error: &dyn std::fmt::Display| {
        let what_to_do = "give the log's verifier key: `diogenes-leader key vkey` prints it";
        Failure::usage(format!("--log-key: {error}"), what_to_do)
    };
    let vkey: Vkey = text.parse().map_err(|error| wrong(&error))?;
    if vkey.kind() != KeyKind::Ed25519 {
        return Err(wrong(&"this is the key of a witness"));
    }
    let origin: Origin = vkey.name().as_str().parse().map_err(|error| wrong(&error))?;
    Ok(Expected { operator: Some(vkey.key().fingerprint()), origin: Some(origin) })
}

fn failure(file: &Path, error: &NotProven) -> Failure {
    let what_to_do = match error {
        NotProven::Unreadable(Unreadable::Csv | Unreadable::NoProofs) => {
            "export it again with format=json&proofs=true, or format=ndjson&proofs=true"
        }
        NotProven::Unreadable(_) => "give a file of GET /api/v1/audit/export?proofs=true",
        NotProven::OtherLog { .. } | NotProven::OtherKey { .. } => {
            "compare the log's name and key with what you know of it"
        }
        NotProven::Head(_) | NotProven::Count { .. } | NotProven::Entry { .. } => {
            "the file was changed, or never was what it says; export it again from the log itself"
        }
    };
    match error {
        NotProven::Unreadable(reason) => {
            let what = format!("cannot check {}: {reason}", file.display());
            Failure::new(Exit::Usage, "unreadable", what, what_to_do)
        }
        other => Failure::refused("not_proven", other, what_to_do),
    }
}

/// Reads a file, and of one that is too long one byte too many, so that it is seen to be.
fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = File::open(path)
        .and_then(|file| file.take(MAX_EXPORT_BYTES as u64 + 1).read_to_end(&mut bytes));
    read.map_err(|error| {
        let what = format!("cannot read {}: {error}", path.display());
        Failure::new(Exit::Usage, "unreadable", what, "give a file that can be read")
    })?;
    Ok(bytes)
}

fn shown(proven: &Proven) -> Value {
    json!({
        "proven": true,
        "origin": proven.origin,
        "operator": proven.operator,
        "tree_size": proven.tree.size,
        "root_hash": proven.tree.hash,
        "head_timestamp": proven.head_time,
        "entries": proven.entries,
        "first_id": proven.ids.map(|(first, _)| first),
        "last_id": proven.ids.map(|(_, last)| last),
        "gapless": proven.is_gapless,
    })
}

fn text(proven: &Proven, expected: &Expected) -> String {
    let Proven { origin, operator, tree, head_time, entries, .. } = proven;
    let named = match expected.operator {
        Some(_) => "the key that was named",
        None => "compare it with what you know of the log",
    };
    let (which, whole) = match proven.ids {
        None => ("none".to_owned(), "nothing is shown"),
        Some((first, last)) if proven.is_gapless => {
            (format!("{entries}, ids {first} to {last}"), "none between them is missing")
        }
        Some((first, last)) => (
            format!("{entries}, ids {first} to {last}"),
            "nobody can tell from the file whether others should be between them",
        ),
    };
    format!(
        "Log:        {origin}\n\
         Key:        {operator} ({named})\n\
         Head:       size {}, root {}, of {head_time}: its signature verifies\n\
         Entries:    {which} ({whole})\n\
         Proven: each of them is in the log under that head, as the file shows it.\n",
        tree.size, tree.hash,
    )
}

#[cfg(test)]
mod tests {
    use diogenes_common::clock::Timestamp;
    use diogenes_common::export::{self, Exported, Scope};
    use diogenes_common::head::TreeHead;
    use diogenes_common::keys::SigningKey;
    use diogenes_common::leaf::Leaf;
    use diogenes_common::merkle::{Edge, ProofPlan};
    use diogenes_common::wire::export::{ExportFilters, ExportHeader};

    use super::*;
    use crate::testing::{History, at};

    const ORIGIN: &str = "log.example/export";

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed([seed; 32])
    }

    /// An export of the first three of five entries.
    fn exported(proofs: bool) -> String {
        let history = History::honest();
        let leaves: Vec<Leaf> =
            (0..5).map(|index| Leaf::parse(history.leaf_bytes(index)).unwrap()).collect();
        let mut edge = Edge::empty();
        for leaf in &leaves {
            edge.push(leaf.leaf_hash(), &mut Vec::new());
        }
        let head = TreeHead {
            chain_head: Some(leaves[4].entry_hash()),
            epoch: 1,
            origin: ORIGIN.parse().unwrap(),
            root_hash: edge.root().hash,
            timestamp: at(9),
            tree_size: edge.size(),
        };
        let header = ExportHeader {
            count: 3,
            filters: ExportFilters {
                scope: Scope::All,
                fingerprint: None,
                document_hash: None,
                start_date: None,
                end_date: None,
                after: 0,
            },
            generated_at: Timestamp::from_millis(0).unwrap(),
            next: None,
            operator_public_key: key(1).public().clone(),
            page: 1,
            page_size: 3,
            proofs,
            total: 5,
            total_capped: false,
            tree_head: head.sign(&key(1)).to_json(String::new(), 0),
        };
        let entries: Vec<Exported> = (0..3)
            .map(|index| Exported {
                leaf: leaves[index].clone(),
                proof: ProofPlan::inclusion(index as u64, edge.size()).unwrap().read(&edge),
            })
            .collect();
        export::ndjson(&header, &entries)
    }

    fn run(text: &str, of: Of) -> Result<(), (Exit, &'static str)> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("audit.ndjson");
        std::fs::write(&file, text).unwrap();
        let result = Export::Verify { file, of }.run(false);
        result.map_err(|failure| (failure.exit(), failure.reason()))
    }

    fn operator(fingerprint: &impl ToString) -> Of {
        Of { operator: Some(fingerprint.to_string()), log_key: None }
    }

    fn log_key(name: &str, kind: KeyKind, seed: u8) -> Of {
        let vkey = Vkey::new(name.parse().unwrap(), kind, key(seed).public().clone());
        Of { operator: None, log_key: Some(vkey.to_string()) }
    }

    #[test]
    fn an_export_is_proven_not_proven_or_unreadable() {
        let good = exported(true);
        let changed = good.replacen("\"previous_hash\":null", "\"previous_hash\": 0 ", 1);

        assert_eq!(run(&good, Of::default()), Ok(()));
        assert_eq!(run(&changed, Of::default()), Err((Exit::Refused, "not_proven")));
        assert_eq!(run("{}", Of::default()), Err((Exit::Usage, "unreadable")));
        assert_eq!(run("\"id\",\"x\"", Of::default()), Err((Exit::Usage, "unreadable")));
        assert_eq!(run(&exported(false), Of::default()), Err((Exit::Usage, "unreadable")));
        let missing = Export::Verify { file: "/nonexistent/audit".into(), of: Of::default() };
        assert_eq!(missing.run(true).unwrap_err().exit(), Exit::Usage);
    }

    #[test]
    fn an_export_is_of_the_log_that_was_named() {
        let good = exported(true);
        let refused = Err((Exit::Refused, "not_proven"));
        let usage = Err((Exit::Usage, "usage"));

        assert_eq!(run(&good, operator(&key(1).fingerprint())), Ok(()));
        assert_eq!(run(&good, operator(&key(2).fingerprint())), refused);
        assert_eq!(run(&good, operator(&"x")), usage);
        assert_eq!(run(&good, log_key(ORIGIN, KeyKind::Ed25519, 1)), Ok(()));
        assert_eq!(run(&good, log_key(ORIGIN, KeyKind::Ed25519, 2)), refused);
        assert_eq!(run(&good, log_key("log.example/other", KeyKind::Ed25519, 1)), refused);
        assert_eq!(run(&good, log_key(ORIGIN, KeyKind::Cosignature, 1)), usage);
    }

    #[test]
    fn what_was_proven_is_said_in_words_and_in_json() {
        let proven = verify(exported(true).as_bytes(), &Expected::default()).unwrap();

        let words = text(&proven, &Expected::default());

        assert!(words.contains("(compare it with what you know of the log)\n"), "{words}");
        assert!(words.contains("\nEntries:    3, ids 1 to 3 (none between them is missing)\n"));
        let shown = shown(&proven);
        assert_eq!((&shown["proven"], &shown["last_id"]), (&json!(true), &json!(3)));
    }
}
