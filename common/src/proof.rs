//! Proof files: that an entry is in a log, for a verifier without a network (C2SP tlog-proof, at
//! commit 5ba5ee8).
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! extra <base64>              may be missing; nobody signed it
//! index <decimal>
//! <base64 of a hash>          one line each, from the leaf's sibling to the root's child
//!
//! <signed checkpoint>
//! ```

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::checkpoint::{Checkpoint, parse_size};
use crate::merkle::{Hash, MAX_PROOF_LEN, ProofError, TreeSize, verify_inclusion};
use crate::note::{MAX_NOTE_BYTES, Note, NoteError};
use crate::policy::{Policy, PolicyOpenError};

/// The longest proof file that is looked at.
pub const MAX_TLOG_PROOF_BYTES: usize = MAX_NOTE_BYTES + 128 * 1024;

/// The most bytes of extra data, decoded.
pub const MAX_EXTRA_BYTES: usize = 64 * 1024;

/// The first line.
const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// Where an entry stands in a log, and the proof of it.
///
/// Reading one proves nothing: only [`TlogProof::verify`] does. Shown as exactly the bytes that it
/// was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlogProof {
    index: TreeSize,
    proof: Vec<Hash>,
    extra: Option<Vec<u8>>,
    checkpoint: Note,
}

/// Why bytes are not a proof file, or parts cannot become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlogProofError {
    /// More than [`MAX_TLOG_PROOF_BYTES`].
    #[error("the proof is longer than 1152 KiB")]
    TooLong,
    /// Not UTF-8.
    #[error("the proof is not UTF-8")]
    NotUtf8,
    /// The first line is another.
    #[error("the first line is not `c2sp.org/tlog-proof@v1`")]
    NoHeader,
    /// The extra data is not padded standard base64.
    #[error("the extra data is not base64")]
    BadExtra,
    /// More than [`MAX_EXTRA_BYTES`].
    #[error("the extra data is longer than 64 KiB")]
    ExtraTooLong,
    /// The line before the hashes is another.
    #[error("there is no line `index <decimal>` where it belongs")]
    NoIndex,
    /// The index is no decimal number, has leading zeros or is beyond 63 bits.
    #[error("the index is not a decimal number below 2^63 without leading zeros")]
    BadIndex,
    /// A line before the empty one is no hash.
    #[error("a hash is not the base64 of 32 bytes")]
    BadHash,
    /// More than [`MAX_PROOF_LEN`].
    #[error("the proof has more than 64 hashes")]
    TooManyHashes,
    /// The file ends before the empty line.
    #[error("there is no empty line, and no checkpoint below it")]
    NoCheckpoint,
    /// What follows the empty line is no signed note.
    #[error("the checkpoint cannot be read: {0}")]
    Checkpoint(#[from] NoteError),
}

/// Why a proof does not show that a leaf is in a log that the policy believes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofFileError {
    /// The checkpoint is not to be believed.
    #[error("the checkpoint is not believed: {0}")]
    Policy(#[from] PolicyOpenError),
    /// The checkpoint is good, and the leaf is not where the proof says.
    #[error("the entry is not shown to be in the log: {0}")]
    Inclusion(#[from] ProofError),
}

impl TlogProof {
    /// Joins what a log answers into one proof without extra data.
    pub fn new(
        index: TreeSize,
        proof: Vec<Hash>,
        checkpoint: Note,
    ) -> Result<Self, TlogProofError> {
        if proof.len() > MAX_PROOF_LEN {
            return Err(TlogProofError::TooManyHashes);
        }
        Ok(Self { index, proof, extra: None, checkpoint })
    }

    /// Adds data for the application; nothing vouches for it.
    pub fn with_extra(mut self, extra: Vec<u8>) -> Result<Self, TlogProofError> {
        if extra.len() > MAX_EXTRA_BYTES {
            return Err(TlogProofError::ExtraTooLong);
        }
        self.extra = Some(extra);
        Ok(self)
    }

    /// Reads a proof file.
    pub fn parse(bytes: &[u8]) -> Result<Self, TlogProofError> {
        if bytes.len() > MAX_TLOG_PROOF_BYTES {
            return Err(TlogProofError::TooLong);
        }
        let text = str::from_utf8(bytes).map_err(|_| TlogProofError::NotUtf8)?;
        let (header, rest) = text.split_once('\n').ok_or(TlogProofError::NoHeader)?;
        if header != HEADER {
            return Err(TlogProofError::NoHeader);
        }
        let (extra, rest) = take_extra(rest)?;
        let (index, rest) = take_index(rest)?;
        let (proof, checkpoint) = take_hashes(rest)?;
        Ok(Self { extra, ..Self::new(index, proof, Note::parse(checkpoint.as_bytes())?)? })
    }

    /// The place of the entry in the log, from 0, as the file says.
    pub fn index(&self) -> u64 {
        self.index.get()
    }

    /// The hashes from the leaf's sibling to the root's child.
    pub fn proof(&self) -> &[Hash] {
        &self.proof
    }

    /// What the application put beside the proof: the word of whoever made the file.
    pub fn extra(&self) -> Option<&[u8]> {
        self.extra.as_deref()
    }

    /// The signed checkpoint, verified by nobody.
    pub fn checkpoint(&self) -> &Note {
        &self.checkpoint
    }

    /// Checks that a log of the policy, cosigned as it asks, has a leaf with this hash at the
    /// index.
    ///
    /// Nothing is said about what the leaf means: the caller hashed it, and may rely on exactly
    /// the bytes that it hashed.
    pub fn verify(&self, leaf: &Hash, policy: &Policy) -> Result<Checkpoint, ProofFileError> {
        let checkpoint = policy.open(&self.checkpoint)?;
        verify_inclusion(self.index(), leaf, &checkpoint.tree(), &self.proof)?;
        Ok(checkpoint)
    }
}

impl fmt::Display for TlogProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", BASE64.encode(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        self.proof.iter().try_for_each(|hash| writeln!(f, "{}", hash.to_base64()))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

impl FromStr for TlogProof {
    type Err = TlogProofError;

    fn from_str(text: &str) -> Result<Self, TlogProofError> {
        Self::parse(text.as_bytes())
    }
}

fn take_extra(text: &str) -> Result<(Option<Vec<u8>>, &str), TlogProofError> {
    let Some(rest) = text.strip_prefix("extra ") else { return Ok((None, text)) };
    let (extra, rest) = rest.split_once('\n').ok_or(TlogProofError::NoIndex)?;
    // Four characters for three bytes.
    if extra.len() > MAX_EXTRA_BYTES.div_ceil(3) * 4 {
        return Err(TlogProofError::ExtraTooLong);
    }
    let extra = BASE64.decode(extra).map_err(|_| TlogProofError::BadExtra)?;
    if extra.len() > MAX_EXTRA_BYTES {
        return Err(TlogProofError::ExtraTooLong);
    }
    Ok((Some(extra), rest))
}

fn take_index(text: &str) -> Result<(TreeSize, &str), TlogProofError> {
    let rest = text.strip_prefix("index ").ok_or(TlogProofError::NoIndex)?;
    let (index, rest) = rest.split_once('\n').ok_or(TlogProofError::NoCheckpoint)?;
    Ok((parse_size(index).ok_or(TlogProofError::BadIndex)?, rest))
}

fn take_hashes(text: &str) -> Result<(Vec<Hash>, &str), TlogProofError> {
    let mut proof = Vec::new();
    let mut rest = text;
    loop {
        let (line, below) = rest.split_once('\n').ok_or(TlogProofError::NoCheckpoint)?;
        if line.is_empty() {
            return Ok((proof, below));
        }
        if proof.len() == MAX_PROOF_LEN {
            return Err(TlogProofError::TooManyHashes);
        }
        proof.push(Hash::from_base64(line).ok_or(TlogProofError::BadHash)?);
        rest = below;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::sign_checkpoint;
    use crate::keys::SigningKey;
    use crate::merkle::{Edge, ProofPlan, TreeRoot};
    use crate::note::{KeyKind, SignatureLine, VerifyError, Vkey};

    const ORIGIN: &str = "log.example/proofs";

    fn key() -> SigningKey {
        SigningKey::from_seed([7; 32])
    }

    fn policy(rest: &str) -> Policy {
        let name = ORIGIN.parse().unwrap();
        let vkey = Vkey::new(name, KeyKind::Ed25519, key().public().clone());
        format!("log {vkey}\n{rest}").parse().unwrap()
    }

    fn leaf(n: u64) -> Hash {
        Hash::of_leaf(&n.to_be_bytes())
    }

    fn size(leaves: u64) -> TreeSize {
        TreeSize::new(leaves).unwrap()
    }

    fn note(tree: TreeRoot) -> Note {
        let checkpoint = Checkpoint::new(ORIGIN, tree).unwrap();
        let signed = sign_checkpoint(&checkpoint, &ORIGIN.parse().unwrap(), &key());
        Note::parse(signed.as_bytes()).unwrap()
    }

    /// The proof of a leaf in a tree of at most 256.
    fn proof(index: u64, leaves: u64) -> TlogProof {
        let mut edge = Edge::empty();
        (0..leaves).for_each(|n| edge.push(leaf(n), &mut Vec::new()));
        let hashes = ProofPlan::inclusion(index, size(leaves)).unwrap().read(&edge).unwrap();
        TlogProof::new(size(index), hashes, note(edge.root())).unwrap()
    }

    #[test]
    fn every_leaf_is_proven_and_the_file_survives() {
        for (index, leaves) in [(0, 1), (0, 2), (1, 2), (6, 7), (3, 7), (199, 200)] {
            let made = proof(index, leaves);

            let read: TlogProof = made.to_string().parse().unwrap();

            assert_eq!(read, made);
            let checkpoint = read.verify(&leaf(index), &policy("quorum none\n")).unwrap();
            assert_eq!(checkpoint.tree().size, size(leaves));
        }
    }

    #[test]
    fn the_file_is_the_one_of_the_specification() {
        let made = proof(2, 3).with_extra(b"sibling".to_vec()).unwrap();
        let sibling = Hash::of_node(&leaf(0), &leaf(1)).to_base64();
        let checkpoint = made.checkpoint().to_string();

        let text = made.to_string();

        let expected = format!(
            "c2sp.org/tlog-proof@v1\nextra c2libGluZw==\nindex 2\n{sibling}\n\n{checkpoint}"
        );
        assert_eq!(text, expected);
        let read: TlogProof = text.parse().unwrap();
        assert_eq!((read.index(), read.extra()), (2, Some(&b"sibling"[..])));
    }

    #[test]
    fn the_checkpoint_is_judged_before_the_inclusion() {
        let stranger = TlogProof { checkpoint: note(TreeRoot::EMPTY), ..proof(1, 3) };
        let other = Vkey::new("w".parse().unwrap(), KeyKind::Cosignature, key().public().clone());
        let strict = policy(&format!("witness w {other}\nquorum w\n"));
        let nobody: Policy = "quorum none\n".parse().unwrap();

        let unsigned = PolicyOpenError::Log(VerifyError::NoKnownSignature);
        assert_eq!(stranger.verify(&leaf(0), &nobody), Err(unsigned.into()));
        let alone = PolicyOpenError::NoQuorum { got: 0, required: 1 };
        assert_eq!(stranger.verify(&leaf(0), &strict), Err(alone.into()));
        assert_eq!(
            stranger.verify(&leaf(1), &policy("quorum none\n")),
            Err(ProofError::IndexBeyondTree.into())
        );
    }

    #[test]
    fn another_leaf_index_or_hash_is_not_proven() {
        let good = proof(3, 7);
        let policy = policy("quorum none\n");
        let wrong = |proof: &TlogProof, leaf| proof.verify(&leaf, &policy).unwrap_err();

        assert_eq!(wrong(&good, leaf(2)), ProofError::WrongRoot.into());
        for index in [0, 1, 2, 4, 5] {
            let moved = TlogProof { index: size(index), ..good.clone() };
            assert_eq!(wrong(&moved, leaf(3)), ProofError::WrongRoot.into());
        }
        let (expected, got) = (2, 3);
        let last = TlogProof { index: size(6), ..good.clone() };
        assert_eq!(wrong(&last, leaf(3)), ProofError::WrongLength { expected, got }.into());
        let beyond = TlogProof { index: size(7), ..good.clone() };
        assert_eq!(wrong(&beyond, leaf(3)), ProofError::IndexBeyondTree.into());
        let (expected, got) = (3, 2);
        let mut short = good;
        short.proof.pop();
        assert_eq!(wrong(&short, leaf(3)), ProofError::WrongLength { expected, got }.into());
    }

    #[test]
    fn only_the_exact_file_is_a_proof() {
        let good = proof(1, 2).to_string();
        let (head, checkpoint) = good.split_once("\n\n").unwrap();
        let hash = leaf(0).to_base64();
        let with = |head: &str| format!("{head}\n\n{checkpoint}").parse::<TlogProof>().err();
        let start = "c2sp.org/tlog-proof@v1\n";

        assert_eq!(with(head), None);
        assert_eq!(with(&format!("{start}extra \nindex 1\n{hash}")), None);
        for other in ["", "c2sp.org/tlog-proof@v2\nindex 1", "c2sp.org/tlog-proof@v1 \nindex 1"] {
            assert_eq!(with(other), Some(TlogProofError::NoHeader), "{other}");
        }
        for other in ["", "Index 1", "index", "index\t1", "extra\nindex 1", "extra AA==\n\nindex 1"]
        {
            assert_eq!(with(&format!("{start}{other}")), Some(TlogProofError::NoIndex), "{other}");
        }
        for other in ["", "01", "+1", "-1", " 1", "1 ", "1\r", "9223372036854775808"] {
            let index = format!("{start}index {other}");
            assert_eq!(with(&index), Some(TlogProofError::BadIndex), "{other}");
        }
        for other in ["AA", "AA=", "AB==", "AA==\r", " AA==", "A_=="] {
            let extra = format!("{start}extra {other}\nindex 1");
            assert_eq!(with(&extra), Some(TlogProofError::BadExtra), "{other}");
        }
        for other in [&hash[1..], &format!("{hash} "), &format!("{hash}\r"), "extra AA=="] {
            let line = format!("{start}index 1\n{other}");
            assert_eq!(with(&line), Some(TlogProofError::BadHash), "{other}");
        }
        assert_eq!(head.parse::<TlogProof>(), Err(TlogProofError::NoCheckpoint));
        let unsigned = format!("{head}\n\n").parse::<TlogProof>();
        assert_eq!(unsigned, Err(TlogProofError::Checkpoint(NoteError::NoSignature)));
        assert_eq!(TlogProof::parse(b"\xff"), Err(TlogProofError::NotUtf8));
    }

    #[test]
    fn every_part_is_bounded() {
        let checkpoint = note(TreeRoot::EMPTY);
        let file = |extra: &[u8], hashes: usize| {
            let line = leaf(0).to_base64() + "\n";
            let (extra, lines) = (BASE64.encode(extra), line.repeat(hashes));
            format!("{HEADER}\nextra {extra}\nindex 1\n{lines}\n{checkpoint}")
        };
        let parse = |text: String| text.parse::<TlogProof>().map(|proof| proof.to_string() == text);

        assert_eq!(parse(file(&vec![0; MAX_EXTRA_BYTES], 64)), Ok(true));
        assert_eq!(parse(file(&[], 65)), Err(TlogProofError::TooManyHashes));
        for length in [MAX_EXTRA_BYTES + 1, MAX_EXTRA_BYTES + 4] {
            assert_eq!(parse(file(&vec![0; length], 0)), Err(TlogProofError::ExtraTooLong));
        }
        let many = vec![leaf(0); 65];
        let made = TlogProof::new(size(0), many, checkpoint);
        assert_eq!(made, Err(TlogProofError::TooManyHashes));
        let extra = proof(0, 1).with_extra(vec![0; MAX_EXTRA_BYTES + 1]);
        assert_eq!(extra, Err(TlogProofError::ExtraTooLong));
        let long = vec![b'a'; MAX_TLOG_PROOF_BYTES + 1];
        assert_eq!(TlogProof::parse(&long), Err(TlogProofError::TooLong));
    }

    #[test]
    fn the_longest_parts_make_a_file_that_can_be_read() {
        let name = ORIGIN.parse().unwrap();
        let room = MAX_NOTE_BYTES - 200;
        let text = "a".repeat(room) + "\n";
        let line = SignatureLine::sign(&text, &name, &key());
        let checkpoint = Note::new(text, line).unwrap();
        let made = TlogProof::new(TreeSize::MAX, vec![leaf(0); 64], checkpoint).unwrap();
        let made = made.with_extra(vec![0; MAX_EXTRA_BYTES]).unwrap();

        assert_eq!(made.to_string().parse(), Ok(made));
    }
}
