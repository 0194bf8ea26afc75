//! The body of `POST /add-checkpoint` and what it is answered (C2SP tlog-witness, section
//! add-checkpoint).
//!
//! ```text
//! old <size>
//! <base64 of a hash of the consistency proof>      (0 to 63 of these lines)
//!
//! <signed checkpoint>
//! ```
//!
//! The order of the checks is the specification's: [`Request::parse`], [`recognise`], [`judge`].
//! Only [`judge`] makes the [`Accepted`] without which the state does not advance and nothing is
//! cosigned.

use diogenes_common::canonical::MAX_SAFE_INTEGER;
use diogenes_common::checkpoint::{Checkpoint, CheckpointError, parse_size};
use diogenes_common::merkle::{Hash, ProofError, TreeRoot, TreeSize, verify_consistency};
use diogenes_common::note::{Note, NoteError, VerifyError, Vkey};

/// The longest body that is read.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// The most hashes of a proof.
pub const MAX_HASHES: usize = 63;

/// The longest text of a checkpoint: the state keeps the newest of each log.
pub const MAX_CHECKPOINT_BYTES: usize = 4 * 1024;

/// A request as it arrived: well-formed, and nothing else is known about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    old: TreeSize,
    proof: Vec<Hash>,
    checkpoint: Checkpoint,
    note: Note,
}

/// A request whose checkpoint a trusted key of the log signed; only [`recognise`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    old: TreeSize,
    proof: Vec<Hash>,
    checkpoint: Checkpoint,
    note: Note,
}

/// A checkpoint that extends the tree that the witness knew; only [`judge`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    old: TreeRoot,
    checkpoint: Checkpoint,
    note: Note,
}

/// Why bytes are not a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not UTF-8.
    #[error("the body is not UTF-8")]
    NotUtf8,
    /// No empty line parts the proof from the checkpoint.
    #[error("an empty line stands between the proof and the checkpoint")]
    NoEmptyLine,
    /// The first line is not `old` and a size.
    #[error("the first line is `old` and a decimal size without leading zeros")]
    OldLine,
    /// More than [`MAX_HASHES`].
    #[error("a proof has at most 63 hashes")]
    TooManyHashes,
    /// A line of the proof is not the base64 of 32 bytes.
    #[error("a line of the proof is the base64 of 32 bytes")]
    HashLine,
    /// What follows the empty line is no signed note.
    #[error("the checkpoint is not a signed note: {0}")]
    Note(#[from] NoteError),
    /// The text of the note is no checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// More than [`MAX_CHECKPOINT_BYTES`].
    #[error("the text of a checkpoint has at most 4096 bytes here")]
    CheckpointTooLong,
    /// More than [`MAX_SAFE_INTEGER`]: what is cosigned is kept in canonical JSON, which holds no
    /// larger number, and no log has so many entries.
    #[error("the size of a tree is at most 2^53 - 1 here")]
    SizeTooLarge,
}

/// Why a request is not answered with a cosignature, in the order in which it is checked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is not a request.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The log is not one of those that are witnessed here.
    #[error("this witness does not know the log")]
    UnknownLog,
    /// No trusted key signed, or what is said to be its signature is not.
    #[error("the log did not sign this checkpoint: {0}")]
    NotSigned(#[source] VerifyError),
    /// The request contradicts itself.
    #[error("the old size is beyond the checkpoint's")]
    OldBeyondNew,
    /// The log is not where the witness is; it may ask again from there.
    #[error("the last size cosigned is {known}")]
    Stale {
        /// The size that the witness stands at.
        known: TreeSize,
    },
    /// Size 0 with a root that is not the hash of the empty tree.
    #[error("the root of the empty tree is another one")]
    WrongEmptyRoot,
    /// Nothing proves that a tree extends the empty one.
    #[error("a proof from size 0 is empty")]
    ProofFromNothing,
    /// The log did not show that it only appended.
    #[error("the tree is not shown to extend the one cosigned last: {0}")]
    Inconsistent(#[source] ProofError),
    /// The size is the known one, the root is not.
    #[error("the root at this size is not the one that was cosigned")]
    OtherRoot,
}

impl Request {
    /// Reads a body.
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let text = std::str::from_utf8(body).map_err(|_| Malformed::NotUtf8)?;
        let (head, note) = text.split_once("\n\n").ok_or(Malformed::NoEmptyLine)?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| line.strip_prefix("old ")).and_then(parse_size);
        let old = old.ok_or(Malformed::OldLine)?;
        let mut proof = Vec::new();
        for line in lines {
            if proof.len() == MAX_HASHES {
                return Err(Malformed::TooManyHashes);
            }
            proof.push(Hash::from_base64(line).ok_or(Malformed::HashLine)?);
        }
        let note = Note::parse(note.as_bytes())?;
        if note.text().len() > MAX_CHECKPOINT_BYTES {
            return Err(Malformed::CheckpointTooLong);
        }
        let checkpoint: Checkpoint = note.text().parse()?;
        if old.max(checkpoint.tree().size).get() > MAX_SAFE_INTEGER {
            return Err(Malformed::SizeTooLarge);
        }
        Ok(Self { old, proof, checkpoint, note })
    }

    /// Which log the checkpoint says that it is of.
    pub fn origin(&self) -> &str {
        self.checkpoint.origin()
    }

    /// Says whether the checkpoint is larger than what the log says that the witness knows.
    pub fn asks_to_grow(&self) -> bool {
        self.old < self.checkpoint.tree().size
    }

    /// The tree of the checkpoint, if this key cosigned it.
    ///
    /// Anybody may write a line under a note: one that does not verify says nothing.
    pub fn cosigned_by(&self, cosigner: &Vkey) -> Option<TreeRoot> {
        let verified = self.note.verify(std::slice::from_ref(cosigner)).is_ok();
        verified.then(|| self.checkpoint.tree())
    }
}

/// Checks who says it: the log must be known, and one of its trusted keys must have signed.
///
/// Lines of other keys are passed over; a line of a trusted key that does not verify spoils all.
pub fn recognise(request: Request, trusted: Option<&[Vkey]>) -> Result<Signed, Refusal> {
    let trusted = trusted.ok_or(Refusal::UnknownLog)?;
    let verified = request.note.verify(trusted).map_err(Refusal::NotSigned)?;
    // What is kept is what was verified, without the lines of strangers.
    let mut lines = verified.into_iter().map(|verified| verified.line.clone());
    let first = lines.next().ok_or(Refusal::NotSigned(VerifyError::NoKnownSignature))?;
    let note = Note::new(request.note.text().to_owned(), first)
        .and_then(|note| lines.try_fold(note, Note::with))
        .map_err(Malformed::Note)?;
    let Request { old, proof, checkpoint, .. } = request;
    Ok(Signed { old, proof, checkpoint, note })
}

/// Says whether a witness that stands at `known` may cosign the checkpoint.
///
/// A witness that never cosigned stands at the empty tree. The caller must make the new tree
/// durable, on the condition that `known` still holds, before any signature leaves the machine.
pub fn judge(signed: Signed, known: TreeRoot) -> Result<Accepted, Refusal> {
    let Signed { old, proof, checkpoint, note } = signed;
    let new = checkpoint.tree();
    if old > new.size {
        return Err(Refusal::OldBeyondNew);
    }
    if old != known.size {
        return Err(Refusal::Stale { known: known.size });
    }
    if new.size == TreeSize::ZERO && new.hash != Hash::EMPTY_TREE {
        return Err(Refusal::WrongEmptyRoot);
    }
    if old == TreeSize::ZERO {
        if !proof.is_empty() {
            return Err(Refusal::ProofFromNothing);
        }
    } else {
        verify_consistency(&known, &new, &proof).map_err(|error| match error {
            ProofError::RootsDiffer => Refusal::OtherRoot,
            error => Refusal::Inconsistent(error),
        })?;
    }
    Ok(Accepted { old: known, checkpoint, note })
}

impl Accepted {
    /// The tree that the witness knew.
    pub fn old(&self) -> TreeRoot {
        self.old
    }

    /// What is cosigned: what was read, written anew.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The note with the log's verified signatures alone.
    pub fn note(&self) -> &Note {
        &self.note
    }
}

#[cfg(test)]
pub(crate) mod tests;
