//! Checkpoints: the tree head of a log as the text of a signed note (C2SP tlog-checkpoint v1.0.0).
//!
//! ```text
//! <origin>
//! <size>
//! <base64 of the root>
//! <extension lines, as a rule none>
//! ```

use std::fmt;
use std::str::FromStr;

use crate::keys::{PublicKey, SigningKey};
use crate::merkle::{Hash, TreeRoot, TreeSize};
use crate::note::{
    BadKeyName, KeyKind, KeyName, Note, NoteError, SignatureLine, VerifyError, Vkey,
};

/// What a log says about itself: its name, and the size and root of its tree.
///
/// Shown as the text of a note. What was parsed is shown as exactly the same bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    origin: String,
    tree: TreeRoot,
    extensions: Vec<String>,
}

/// Why a text is not a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Fewer than three lines, or the last one is not terminated.
    #[error("a checkpoint has at least three terminated lines")]
    TooFewLines,
    /// Two line feeds in a row.
    #[error("a checkpoint has no empty line")]
    EmptyLine,
    /// A character below U+0020 other than the line feed.
    #[error("a checkpoint has no control characters")]
    ControlCharacter,
    /// The second line is no decimal number, has leading zeros or is beyond 63 bits.
    #[error("the size is not a decimal number below 2^63 without leading zeros")]
    BadSize,
    /// The third line is not the base64 of 32 bytes.
    #[error("the root is not the base64 of 32 bytes")]
    BadRoot,
}

/// Why a signed checkpoint is not one of the expected log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It is no signed note.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The log's origin cannot be the name of its key, so no signature can be found.
    #[error("the origin cannot name a key: {0}")]
    Name(#[from] BadKeyName),
    /// The log did not sign it.
    #[error(transparent)]
    Unverified(#[from] VerifyError),
    /// The log signed something else.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// It is about another log.
    #[error("the checkpoint is of another origin")]
    OtherOrigin,
}

/// Signs a checkpoint as a log does: the note with one plain Ed25519 signature.
pub fn sign_checkpoint(checkpoint: &Checkpoint, name: &KeyName, key: &SigningKey) -> String {
    let text = checkpoint.to_string();
    let line = SignatureLine::sign(&text, name, key);
    format!("{text}\n{line}\n")
}

/// Opens the checkpoint of a log whose key is named after its origin, as the keys of our logs are.
pub fn open(note: &str, origin: &str, key: &PublicKey) -> Result<Checkpoint, OpenError> {
    let vkey = Vkey::new(origin.parse()?, KeyKind::Ed25519, key.clone());
    open_known(&Note::parse(note.as_bytes())?, origin, &[vkey])
}

/// Opens the checkpoint of a log that has one or more keys of any name.
pub fn open_known(note: &Note, origin: &str, known: &[Vkey]) -> Result<Checkpoint, OpenError> {
    note.verify(known)?;
    let checkpoint: Checkpoint = note.text().parse()?;
    if checkpoint.origin == origin { Ok(checkpoint) } else { Err(OpenError::OtherOrigin) }
}

impl Checkpoint {
    /// A checkpoint without extension lines, of an origin that is one line.
    pub fn new(origin: impl Into<String>, tree: TreeRoot) -> Result<Self, CheckpointError> {
        let origin = origin.into();
        refuse_control_characters(&origin)?;
        if origin.is_empty() {
            return Err(CheckpointError::EmptyLine);
        }
        Ok(Self { origin, tree, extensions: Vec::new() })
    }

    /// The name of the log.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The size and root that it had.
    pub fn tree(&self) -> TreeRoot {
        self.tree
    }

    /// The lines after the root, which mean nothing to us.
    pub fn extensions(&self) -> &[String] {
        &self.extensions
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n{}", self.origin, self.tree.size, self.tree.hash.to_base64())?;
        self.extensions.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl FromStr for Checkpoint {
    type Err = CheckpointError;

    fn from_str(text: &str) -> Result<Self, CheckpointError> {
        let lines = text.strip_suffix('\n').ok_or(CheckpointError::TooFewLines)?;
        let mut lines = lines.split('\n').map(|line| match line {
            "" => Err(CheckpointError::EmptyLine),
            line => refuse_control_characters(line).map(|()| line),
        });
        let mut line = || lines.next().unwrap_or(Err(CheckpointError::TooFewLines));
        let origin = line()?.to_owned();
        let size = parse_size(line()?).ok_or(CheckpointError::BadSize)?;
        let hash = Hash::from_base64(line()?).ok_or(CheckpointError::BadRoot)?;
        let extensions = lines.map(|line| line.map(str::to_owned)).collect::<Result<_, _>>()?;
        Ok(Self { origin, tree: TreeRoot { size, hash }, extensions })
    }
}

/// Reads a size as checkpoints and witness requests write it: no sign, no leading zeros.
pub fn parse_size(text: &str) -> Option<TreeSize> {
    let canonical = text == "0" || !text.starts_with('0');
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if canonical && digits { text.parse().ok().and_then(TreeSize::new) } else { None }
}

fn refuse_control_characters(line: &str) -> Result<(), CheckpointError> {
    let refused = line.bytes().any(|byte| byte < b' ');
    if refused { Err(CheckpointError::ControlCharacter) } else { Ok(()) }
}
