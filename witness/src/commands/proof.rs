//! `proof verify`: whether an entry is in a log, from three files and without a network.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use diogenes_common::batch::recover_leaf;
use diogenes_common::checkpoint::Checkpoint;
use diogenes_common::exit::{Exit, Failure};
use diogenes_common::merkle::{Hash, TreeSize};
use diogenes_common::policy::{MAX_POLICY_BYTES, Policy};
use diogenes_common::proof::{MAX_TLOG_PROOF_BYTES, ProofFileError, TlogProof};
use serde::Serialize;

use super::print_json;

/// The longest entry that is looked at; those of our logs have at most 64 KiB.
const MAX_ENTRY_BYTES: usize = 1 << 20;

#[derive(clap::Subcommand)]
pub(super) enum Proof {
    /// Check that an entry is in a log that a trust policy believes.
    ///
    /// Exit code 0: proven. 1: not proven. 2: a file cannot be read, or --entry is missing.
    #[command(
        after_help = "Example: diogenes-witness proof verify 42.tlog-proof --policy trust.policy --entry 42.json"
    )]
    Verify {
        /// The proof (C2SP tlog-proof).
        file: PathBuf,
        /// The logs and witnesses that are believed (C2SP tlog-policy).
        #[arg(long, value_name = "FILE")]
        policy: PathBuf,
        /// The entry itself: its very bytes, or its JSON as the API of a log shows it.
        #[arg(long, value_name = "FILE")]
        entry: Option<PathBuf>,
    },
}

/// What was proven, and who vouches for it.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Inclusion {
    proven: bool,
    origin: String,
    tree_size: TreeSize,
    root_hash: Hash,
    leaf_index: u64,
    leaf_hash: Hash,
    /// The witnesses of the policy that cosigned, by their names there.
    witnesses: Vec<String>,
    required_witnesses: usize,
}

impl Proof {
    pub(super) fn run(&self, json: bool) -> Result<(), Failure> {
        let Self::Verify { file, policy, entry } = self;
        let proven = verify(file, policy, entry.as_deref())?;
        if json {
            print_json(&proven);
        } else {
            print!("{}", proven.text());
        }
        Ok(())
    }
}

fn verify(file: &Path, policy: &Path, entry: Option<&Path>) -> Result<Inclusion, Failure> {
    let read_policy = Policy::parse(&read(policy, MAX_POLICY_BYTES)?)
        .map_err(|error| unreadable(policy, error, "give a trust policy (C2SP tlog-policy)"))?;
    let proof = TlogProof::parse(&read(file, MAX_TLOG_PROOF_BYTES)?)
        .map_err(|error| unreadable(file, error, "give a proof file (C2SP tlog-proof)"))?;
    let Some(entry) = entry else {
        return Err(without_entry(&proof, &read_policy));
    };
    let bytes = read(entry, MAX_ENTRY_BYTES)?;
    if bytes.len() > MAX_ENTRY_BYTES {
        return Err(unreadable(entry, "it is longer than 1 MiB", "give one entry"));
    }
    judge(&proof, &read_policy, &bytes).map_err(not_proven)
}

/// Finds the entry, read as bytes or as a JSON view, at its place in a log that the policy
/// believes.
fn judge(proof: &TlogProof, policy: &Policy, entry: &[u8]) -> Result<Inclusion, ProofFileError> {
    let bytes = Hash::of_leaf(entry);
    let (leaf, checkpoint) = match (proof.verify(&bytes, policy), leaf_of_view(entry)) {
        (Err(ProofFileError::Inclusion(_)), Some(leaf)) => (leaf, proof.verify(&leaf, policy)?),
        (verdict, _) => (bytes, verdict?),
    };
    Ok(Inclusion::new(proof, policy, &checkpoint, leaf))
}

/// The hash of the leaf that a JSON view shows; what is no part of the leaf is not hashed.
fn leaf_of_view(entry: &[u8]) -> Option<Hash> {
    let view = std::str::from_utf8(entry).ok()?;
    recover_leaf(view.trim_ascii()).ok().map(|leaf| Hash::of_leaf(&leaf))
}

impl Inclusion {
    fn new(proof: &TlogProof, policy: &Policy, checkpoint: &Checkpoint, leaf: Hash) -> Self {
        // The policy has just looked at the same lines and found none that is bad.
        let cosigners = policy.cosigners(proof.checkpoint()).unwrap_or_default();
        Self {
            proven: true,
            origin: checkpoint.origin().to_owned(),
            tree_size: checkpoint.tree().size,
            root_hash: checkpoint.tree().hash,
            leaf_index: proof.index(),
            leaf_hash: leaf,
            witnesses: cosigners.iter().map(|witness| witness.name().to_owned()).collect(),
            required_witnesses: policy.required(),
        }
    }

    fn text(&self) -> String {
        let Self { origin, tree_size, root_hash, leaf_index, leaf_hash, .. } = self;
        let cosigned = match &self.witnesses[..] {
            [] => "none".to_owned(),
            names => names.join(", "),
        };
        let asked = match self.required_witnesses {
            0 => "the policy asks for none: only the log itself vouches for this".to_owned(),
            required => format!("the policy asks for {required} or more"),
        };
        let text = format!(
            "Log:        {origin}\n\
             Tree:       size {tree_size}, root {root_hash}\n\
             Witnesses:  {cosigned} ({asked})\n\
             Entry:      index {leaf_index} (the first is 0), leaf hash {leaf_hash}\n\
             Proven: the entry is in the log.\n"
        );
        // Names may come from a stranger's file and must not steer a terminal.
        text.chars().filter(|c| *c == '\n' || !c.is_control()).collect()
    }
}

/// What a proof says without the entry that it is about: nothing about any entry.
fn without_entry(proof: &TlogProof, policy: &Policy) -> Failure {
    match policy.open(proof.checkpoint()) {
        Err(error) => not_proven(error.into()),
        Ok(checkpoint) => Failure::usage(
            format!(
                "the policy believes the checkpoint of {} at size {}, but a proof file does not \
                 hold the entry that it is about, so nothing is proven",
                checkpoint.origin(),
                checkpoint.tree().size,
            ),
            "give --entry FILE: the bytes of the entry, or its JSON as the log's API shows it",
        ),
    }
}

fn not_proven(error: ProofFileError) -> Failure {
    let what_to_do = match &error {
        ProofFileError::Policy(_) => "ask for a proof of a log of the policy, cosigned as it asks",
        ProofFileError::Inclusion(_) => {
            "compare the entry and the proof: they do not belong together"
        }
    };
    Failure::refused("not_proven", error, what_to_do)
}

/// Reads a file, and of one that is too long one byte too many, so that it is seen to be.
fn read(path: &Path, most: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(most as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| unreadable(path, error, "give a file that can be read"))?;
    Ok(bytes)
}

fn unreadable(path: &Path, error: impl std::fmt::Display, what_to_do: &str) -> Failure {
    let what = format!("cannot read {}: {error}", path.display());
    Failure::new(Exit::Usage, "unreadable", what, what_to_do)
}

#[cfg(test)]
mod tests {
    use diogenes_common::clock::Timestamp;
    use diogenes_common::cosignature::cosign;
    use diogenes_common::keys::SigningKey;
    use diogenes_common::leaf::Leaf;
    use diogenes_common::merkle::{Edge, ProofPlan};
    use diogenes_common::note::{KeyKind, KeyName, Note, SignatureLine, Vkey};

    use super::*;
    use crate::testing::History;

    const ORIGIN: &str = "log.example/files";

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed([seed; 32])
    }

    fn name(name: &str) -> KeyName {
        name.parse().unwrap()
    }

    /// A log of a few entries, witnessed by `w`, and the proof of its third.
    struct Files {
        directory: tempfile::TempDir,
        leaf: Leaf,
    }

    impl Files {
        fn new() -> Self {
            let history = History::honest();
            let leaves: Vec<&[u8]> = (0..5).map(|index| history.leaf_bytes(index)).collect();
            let mut edge = Edge::empty();
            for leaf in &leaves {
                edge.push(Hash::of_leaf(leaf), &mut Vec::new());
            }
            let checkpoint = Checkpoint::new(ORIGIN, edge.root()).unwrap();
            let text = checkpoint.to_string();
            let line = SignatureLine::sign(&text, &name(ORIGIN), &key(1));
            let time = Timestamp::from_millis(1_700_000_000_000).unwrap();
            let cosignature = cosign(&checkpoint, time, &name("w"), &key(2));
            let note = Note::new(text, line).unwrap().with(cosignature).unwrap();
            let hashes = ProofPlan::inclusion(2, edge.size()).unwrap().read(&edge).unwrap();
            let proof = TlogProof::new(TreeSize::new(2).unwrap(), hashes, note).unwrap();
            let files = Self {
                directory: tempfile::tempdir().unwrap(),
                leaf: Leaf::parse(leaves[2]).unwrap(),
            };
            files.write("proof", &proof.to_string());
            let log = Vkey::new(name(ORIGIN), KeyKind::Ed25519, key(1).public().clone());
            let w = Vkey::new(name("w"), KeyKind::Cosignature, key(2).public().clone());
            let other = Vkey::new(name("o"), KeyKind::Cosignature, key(3).public().clone());
            let known = format!("log {log}\nwitness one {w}\nwitness two {other}\n");
            files.write("one", &format!("{known}quorum one\n"));
            files.write("both", &format!("{known}group g all one two\nquorum g\n"));
            files.write("none", &format!("log {log}\nquorum none\n"));
            files.write("leaf", std::str::from_utf8(files.leaf.bytes()).unwrap());
            files.write("view", &format!("{}\n", files.leaf.to_json()));
            files
        }

        fn path(&self, name: &str) -> PathBuf {
            self.directory.path().join(name)
        }

        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.path(name), text).unwrap();
        }

        fn verify(&self, proof: &str, policy: &str, entry: Option<&str>) -> Verdict {
            let entry = entry.map(|name| self.path(name));
            verify(&self.path(proof), &self.path(policy), entry.as_deref())
                .map_err(|failure| (failure.exit(), failure.reason()))
        }
    }

    type Verdict = Result<Inclusion, (Exit, &'static str)>;

    const NOT_PROVEN: Verdict = Err((Exit::Refused, "not_proven"));
    const UNREADABLE: Verdict = Err((Exit::Usage, "unreadable"));

    #[test]
    fn an_entry_is_proven_by_its_bytes_and_by_its_json() {
        let files = Files::new();
        for entry in ["leaf", "view"] {
            let proven = files.verify("proof", "one", Some(entry)).unwrap();

            assert_eq!(proven.leaf_hash, files.leaf.leaf_hash());
            assert_eq!((proven.leaf_index, proven.required_witnesses), (2, 1));
            assert_eq!((proven.origin.as_str(), proven.witnesses.len()), (ORIGIN, 1));
        }
        let view = files.leaf.to_json();
        let spaced =
            view.replace("\",\"", "\" ,\n \"").replacen('{', "{\"ots_proof\":\"AAAA\",", 1);
        files.write("spaced", &spaced);
        assert!(files.verify("proof", "one", Some("spaced")).is_ok());
    }

    #[test]
    fn what_was_proven_is_said_in_words_and_in_json() {
        let files = Files::new();
        let proven = files.verify("proof", "one", Some("leaf")).unwrap();
        let alone = files.verify("proof", "none", Some("leaf")).unwrap();

        let text = proven.text();

        assert!(text.contains("\nWitnesses:  one (the policy asks for 1 or more)\n"), "{text}");
        assert!(text.ends_with("\nProven: the entry is in the log.\n"), "{text}");
        assert!(
            alone.text().contains("\nWitnesses:  none (the policy asks for none: only the log")
        );
        let shown = serde_json::to_value(&proven).unwrap();
        assert_eq!(shown["proven"], true);
        assert_eq!(shown["tree_size"], 5);
        assert_eq!(shown["witnesses"], serde_json::json!(["one"]));
        assert_eq!(shown["leaf_hash"], files.leaf.leaf_hash().to_string());
        let steering = Inclusion { origin: "a\u{1b}[2Jb\u{9b}".to_owned(), ..proven };
        assert!(steering.text().starts_with("Log:        a[2Jb\n"));
    }

    #[test]
    fn another_entry_is_not_proven() {
        let files = Files::new();
        let view = files.leaf.to_json();
        let leaf = std::str::from_utf8(files.leaf.bytes()).unwrap();
        for (name, text) in [
            ("empty", String::new()),
            ("longer", format!("{leaf}\n")),
            ("other hash", view.replace("entry_hash\":\"sha256:", "entry_hash\":\"sha256:0")),
            ("other id", view.replace("\"id\":3", "\"id\":4")),
            ("first", Leaf::parse(History::honest().leaf_bytes(0)).unwrap().to_json()),
        ] {
            files.write(name, &text);
            assert_eq!(files.verify("proof", "none", Some(name)), NOT_PROVEN, "{name}");
        }
    }

    #[test]
    fn a_checkpoint_that_the_policy_does_not_believe_proves_nothing() {
        let files = Files::new();
        files.write("nobody", "quorum none\n");

        for policy in ["both", "nobody"] {
            assert_eq!(files.verify("proof", policy, Some("leaf")), NOT_PROVEN);
            assert_eq!(files.verify("proof", policy, None), NOT_PROVEN);
        }
    }

    #[test]
    fn without_the_entry_nothing_is_proven() {
        let files = Files::new();

        let verdict = files.verify("proof", "one", None);

        assert_eq!(verdict, Err((Exit::Usage, "usage")));
    }

    #[test]
    fn files_that_are_something_else_are_unreadable() {
        let files = Files::new();
        let long = "a".repeat(MAX_ENTRY_BYTES + 1);
        files.write("long", &long);

        assert_eq!(files.verify("missing", "one", Some("leaf")), UNREADABLE);
        assert_eq!(files.verify("proof", "missing", Some("leaf")), UNREADABLE);
        assert_eq!(files.verify("proof", "one", Some("missing")), UNREADABLE);
        assert_eq!(files.verify("one", "one", Some("leaf")), UNREADABLE);
        assert_eq!(files.verify("proof", "proof", Some("leaf")), UNREADABLE);
        assert_eq!(files.verify("proof", "one", Some("long")), UNREADABLE);
        for json in [true, false] {
            let (file, policy) = (files.path("proof"), files.path("one"));
            let command = Proof::Verify { file, policy, entry: Some(files.path("view")) };
            assert_eq!(command.run(json), Ok(()));
        }
    }
}
