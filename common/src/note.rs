//! Signed notes: a text and the signature lines below it (C2SP signed-note v1.0.0).
//!
//! ```text
//! <text, one or more lines>
//!
//! — <key name> <base64 of key ID and signature>
//! ```
//!
//! Parsing says nothing about who signed: only [`Note::verify`] does.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::cosignature;
use crate::keys::{KeyError, PublicKey, Signature, SigningKey};
use crate::merkle::Hash;

/// The longest note that is looked at.
pub const MAX_NOTE_BYTES: usize = 1 << 20;

/// No note has more signature lines than this, as in Go's implementation.
pub const MAX_SIGNATURES: usize = 100;

/// The longest key name: one length byte must hold it in an ML-DSA cosignature.
pub const MAX_NAME_BYTES: usize = 255;

/// An em dash and a space.
const SIGNATURE_PREFIX: &str = "\u{2014} ";

/// A text with at least one signature line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<SignatureLine>,
}

/// Why bytes are not a signed note, or a text and lines cannot become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// More than [`MAX_NOTE_BYTES`].
    #[error("the note is longer than 1 MiB")]
    TooLong,
    /// Not UTF-8.
    #[error("the note is not UTF-8")]
    NotUtf8,
    /// A character below U+0020 other than the line feed; a carriage return, for instance.
    #[error("the note has a control character")]
    ControlCharacter,
    /// The text or the last signature line does not end with a line feed.
    #[error("the last line is not terminated")]
    NotTerminated,
    /// No empty line with signature lines after it.
    #[error("the note has no signature")]
    NoSignature,
    /// More than [`MAX_SIGNATURES`].
    #[error("the note has more than 100 signatures")]
    TooManySignatures,
    /// A line after the last empty line is no signature.
    #[error(transparent)]
    Line(#[from] LineError),
}

/// Why none of a note's signatures can be relied upon.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// No line names a known key.
    #[error("the note has no signature of a known key")]
    NoKnownSignature,
    /// A line names a known key but is not by it: the whole note is refused.
    #[error("the signature of {name} ({id}) does not verify")]
    BadSignature {
        /// The known key's name.
        name: KeyName,
        /// The known key's ID.
        id: KeyId,
    },
    /// Two known keys share a name and an ID, so the line cannot say which one is meant.
    #[error("two known keys have the name {name} and the ID {id}")]
    AmbiguousKey {
        /// The name that they share.
        name: KeyName,
        /// The ID that they share.
        id: KeyId,
    },
}

/// A signature line that a known key made over the text of its note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified<'a> {
    /// The known key.
    pub key: &'a Vkey,
    /// Its line.
    pub line: &'a SignatureLine,
}

impl Note {
    /// Puts a first signature under a text, which ends with a line feed.
    pub fn new(text: String, signature: SignatureLine) -> Result<Self, NoteError> {
        refuse_control_characters(&text)?;
        if !text.ends_with('\n') {
            return Err(NoteError::NotTerminated);
        }
        Self { text, signatures: Vec::new() }.with(signature)
    }

    /// Adds a signature line; it replaces an earlier one of the same key name and ID, of which
    /// verifiers would look at the first only.
    pub fn with(mut self, signature: SignatureLine) -> Result<Self, NoteError> {
        match self.signatures.iter_mut().find(|line| line.names_key_of(&signature)) {
            Some(earlier) => *earlier = signature,
            None => self.signatures.push(signature),
        }
        if self.signatures.len() > MAX_SIGNATURES {
            return Err(NoteError::TooManySignatures);
        }
        if self.to_string().len() > MAX_NOTE_BYTES {
            return Err(NoteError::TooLong);
        }
        Ok(self)
    }

    /// Reads a note; every line after its last empty line must be a signature.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > MAX_NOTE_BYTES {
            return Err(NoteError::TooLong);
        }
        let note = str::from_utf8(bytes).map_err(|_| NoteError::NotUtf8)?;
        refuse_control_characters(note)?;
        let (text, lines) = note.rsplit_once("\n\n").ok_or(NoteError::NoSignature)?;
        let signatures = parse_signature_lines(lines)?;
        Ok(Self { text: format!("{text}\n"), signatures })
    }

    /// What is signed, its last line feed included.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// All signature lines, those of unknown keys and repeats included.
    pub fn signatures(&self) -> &[SignatureLine] {
        &self.signatures
    }

    /// Finds the signatures of known keys, of which there must be one and all must verify.
    ///
    /// A key is known by its name and ID together; lines of other keys are passed over. Of the
    /// lines of one key only the first counts.
    pub fn verify<'a>(&'a self, known: &'a [Vkey]) -> Result<Vec<Verified<'a>>, VerifyError> {
        let mut verified: Vec<Verified<'_>> = Vec::new();
        for line in &self.signatures {
            let mut named = known.iter().filter(|key| key.name == line.name && key.id == line.id);
            let Some(key) = named.next() else { continue };
            if named.any(|other| other != key) {
                let (name, id) = (key.name.clone(), key.id);
                return Err(VerifyError::AmbiguousKey { name, id });
            }
            if verified.iter().any(|earlier| earlier.key == key) {
                continue;
            }
            if !key.made(&self.text, line) {
                let (name, id) = (key.name.clone(), key.id);
                return Err(VerifyError::BadSignature { name, id });
            }
            verified.push(Verified { key, line });
        }
        if verified.is_empty() {
            return Err(VerifyError::NoKnownSignature);
        }
        Ok(verified)
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// Reads signature lines that stand alone, as a witness answers them: one or more, each
/// terminated.
pub fn parse_signature_lines(text: &str) -> Result<Vec<SignatureLine>, NoteError> {
    if text.is_empty() {
        return Err(NoteError::NoSignature);
    }
    if text.len() > MAX_NOTE_BYTES {
        return Err(NoteError::TooLong);
    }
    let lines = text.strip_suffix('\n').ok_or(NoteError::NotTerminated)?;
    let mut signatures = Vec::new();
    for line in lines.split('\n') {
        if signatures.len() == MAX_SIGNATURES {
            return Err(NoteError::TooManySignatures);
        }
        signatures.push(line.parse()?);
    }
    Ok(signatures)
}

/// One signature of a note: who claims to have made it, and the bytes.
///
/// Shown as its line without the line feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureLine {
    name: KeyName,
    id: KeyId,
    signature: Vec<u8>,
}

/// Why a line is not a signature line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// It does not start with an em dash and a space.
    #[error("a signature line starts with an em dash and a space")]
    NoDash,
    /// What stands before the signature is no key name.
    #[error(transparent)]
    BadName(#[from] BadKeyName),
    /// What follows the name is not padded standard base64.
    #[error("the signature is not base64")]
    NotBase64,
    /// Nothing follows the key ID.
    #[error("the signature has less than five bytes")]
    TooShort,
}

impl SignatureLine {
    /// Signs the text of a note with a plain Ed25519 key.
    pub fn sign(text: &str, name: &KeyName, key: &SigningKey) -> Self {
        let signature = key.sign(text.as_bytes()).as_bytes().to_vec();
        Self::new(&Vkey::new(name.clone(), KeyKind::Ed25519, key.public().clone()), signature)
    }

    pub(crate) fn new(key: &Vkey, signature: Vec<u8>) -> Self {
        Self { name: key.name.clone(), id: key.id, signature }
    }

    /// The name of the key.
    pub fn name(&self) -> &KeyName {
        &self.name
    }

    /// The ID of the key.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// What follows the key ID; its form depends on the kind of the key.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    fn names_key_of(&self, other: &Self) -> bool {
        self.name == other.name && self.id == other.id
    }
}

impl fmt::Display for SignatureLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&self.id.0, &self.signature[..]].concat();
        write!(f, "{SIGNATURE_PREFIX}{} {}", self.name, BASE64.encode(bytes))
    }
}

impl FromStr for SignatureLine {
    type Err = LineError;

    fn from_str(line: &str) -> Result<Self, LineError> {
        let line = line.strip_prefix(SIGNATURE_PREFIX).ok_or(LineError::NoDash)?;
        let (name, signature) = line.split_once(' ').unwrap_or((line, ""));
        let name = name.parse()?;
        let bytes = BASE64.decode(signature).map_err(|_| LineError::NotBase64)?;
        match bytes.split_first_chunk() {
            Some((id, signature)) if !signature.is_empty() => {
                Ok(Self { name, id: KeyId(*id), signature: signature.to_vec() })
            }
            _ => Err(LineError::TooShort),
        }
    }
}

/// The name of a key: of a log (its origin, as a rule) or of a cosigner.
///
/// 1 to 255 bytes without white space, control characters and `+`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyName(String);

/// Why a text is not a key name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key name has 1 to 255 bytes, no white space, no control character and no `+`")]
pub struct BadKeyName;

impl KeyName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for KeyName {
    type Err = BadKeyName;

    fn from_str(name: &str) -> Result<Self, BadKeyName> {
        let refused = |c: char| c.is_whitespace() || c < ' ' || c == '+';
        if name.is_empty() || name.len() > MAX_NAME_BYTES || name.contains(refused) {
            return Err(BadKeyName);
        }
        Ok(Self(name.to_owned()))
    }
}

/// Four bytes that tell the keys of one name apart; shown as 8 hex digits.
///
/// They are a hint for the lookup and prove nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId([u8; 4]);

impl KeyId {
    /// The ID itself.
    pub const fn as_bytes(&self) -> &[u8; 4] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

/// What a key of a note signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// The text of the note itself: the key of a log (type 0x01).
    Ed25519,
    /// The text and a time: the key of a witness, `cosignature/v1` (type 0x04).
    Cosignature,
}

impl KeyKind {
    const fn type_byte(self) -> u8 {
        match self {
            Self::Ed25519 => 0x01,
            Self::Cosignature => 0x04,
        }
    }
}

/// A public key of a note with its name and kind.
///
/// Shown and read as `<name>+<key ID>+<base64 of type and key>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vkey {
    name: KeyName,
    kind: KeyKind,
    key: PublicKey,
    id: KeyId,
}

/// Why a text is not a usable vkey.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VkeyError {
    /// Not three parts with `+` between them.
    #[error("a vkey is <name>+<8 hex digits>+<base64>")]
    Malformed,
    /// The first part is no key name.
    #[error(transparent)]
    BadName(#[from] BadKeyName),
    /// The last part is not padded standard base64.
    #[error("the key is not base64")]
    NotBase64,
    /// A key of a kind that is not supported: neither plain Ed25519 nor cosignature/v1.
    #[error("the key is neither of type 0x01 nor 0x04")]
    UnknownType,
    /// The bytes after the type are no good Ed25519 key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The key ID is not that of this name and key.
    #[error("the key ID does not belong to this name and key")]
    WrongId,
}

impl Vkey {
    /// Names a key and says what it signs.
    pub fn new(name: KeyName, kind: KeyKind, key: PublicKey) -> Self {
        let input = [name.0.as_bytes(), &[b'\n', kind.type_byte()], &key.as_bytes()[..]].concat();
        let hash = Hash::of(&input);
        let [a, b, c, d, ..] = *hash.as_bytes();
        Self { name, kind, key, id: KeyId([a, b, c, d]) }
    }

    /// The name.
    pub fn name(&self) -> &KeyName {
        &self.name
    }

    /// What the key signs.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The key itself.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The ID: the first bytes of a hash over name, type and key.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Whether this key made the signature of the line over a note's text.
    fn made(&self, text: &str, line: &SignatureLine) -> bool {
        let signed = match self.kind {
            KeyKind::Ed25519 => Signature::from_slice(&line.signature)
                .map(|signature| (signature, text.as_bytes().to_vec())),
            KeyKind::Cosignature => {
                cosignature::split(&line.signature).map(|(seconds, signature)| {
                    (signature, cosignature::signed_message(text, seconds))
                })
            }
        };
        signed.is_some_and(|(signature, message)| {
            self.key.verify_lenient(&message, &signature).is_ok()
        })
    }
}

impl fmt::Display for Vkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&[self.kind.type_byte()], &self.key.as_bytes()[..]].concat();
        write!(f, "{}+{}+{}", self.name, self.id, BASE64.encode(bytes))
    }
}

impl FromStr for Vkey {
    type Err = VkeyError;

    fn from_str(text: &str) -> Result<Self, VkeyError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(VkeyError::Malformed);
        };
        let name: KeyName = name.parse()?;
        let bytes = BASE64.decode(key).map_err(|_| VkeyError::NotBase64)?;
        let (kind, key) = match bytes.split_first() {
            Some((0x01, key)) => (KeyKind::Ed25519, key),
            Some((0x04, key)) => (KeyKind::Cosignature, key),
            _ => return Err(VkeyError::UnknownType),
        };
        let key = key.try_into().map_err(|_| KeyError::Malformed)?;
        let vkey = Self::new(name, kind, PublicKey::from_bytes(key)?);
        if vkey.id.to_string() == id { Ok(vkey) } else { Err(VkeyError::WrongId) }
    }
}

fn refuse_control_characters(text: &str) -> Result<(), NoteError> {
    let refused = text.bytes().any(|byte| byte < b' ' && byte != b'\n');
    if refused { Err(NoteError::ControlCharacter) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_two_known_keys_could_have_made_is_not_guessed_at() {
        let name: KeyName = "log".parse().unwrap();
        let [one, two] = [[1; 32], [2; 32]].map(SigningKey::from_seed);
        let line = SignatureLine::sign("text\n", &name, &one);
        let id = line.id;
        let known = [&one, &two].map(|key| Vkey {
            id,
            ..Vkey::new(name.clone(), KeyKind::Ed25519, key.public().clone())
        });
        let note = Note::new("text\n".to_owned(), line).unwrap();

        assert_eq!(note.verify(&known), Err(VerifyError::AmbiguousKey { name, id }));
        assert!(note.verify(&[known[0].clone(), known[0].clone()]).is_ok());
    }
}
