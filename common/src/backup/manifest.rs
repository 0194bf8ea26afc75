//! What a backup says about itself.
//!
//! ```text
//! {
//!   "format": "diogenes-backup/v1",
//!   "role": "leader",
//!   "version": "0.1.0",                       of the program that made it
//!   "origin": "log.example/2026",
//!   "log_id": "sha256:...",
//!   "operator_fingerprint": "sha256:...",
//!   "tree_size": 1234,
//!   "root_hash": "sha256:...",
//!   "chain_head": "sha256:...",
//!   "head": { ... },                          the signed tree head of that size
//!   "made_at": "2026-01-15T10:30:00.000Z",
//!   "files": [ { "name": "entries.bin", "bytes": 1, "sha256": "sha256:..." }, ... ],
//!   "seal": "sha256:..."                      of all of the above as written here
//! }
//! ```
//!
//! It is written in one way only: two spaces a level, members in this order, a line feed at the
//! end. Text that would be written otherwise is refused, so that no byte of it can change unseen.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::files::Role;
use crate::head::{HeadJson, Origin};
use crate::keys::Fingerprint;
use crate::merkle::{Hash, TreeSize};

/// The only format that this version reads and writes.
const FORMAT: &str = "diogenes-backup/v1";

/// The longest manifest that is read.
pub(super) const MAX_MANIFEST_BYTES: u64 = 256 * 1024;

/// The most files that one lists.
const MAX_FILES: usize = 32;

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Whose backup it is.
    pub role: Role,
    /// The version of the program that made it.
    pub version: String,
    /// The log's name.
    pub origin: Origin,
    /// The hash of entry 1.
    pub log_id: Hash,
    /// The key of the log's operator.
    pub operator: Fingerprint,
    /// The signed head of the newest entry in it.
    pub head: HeadJson,
    /// When it was made.
    pub made_at: Timestamp,
    /// Its files.
    pub files: Vec<FileEntry>,
}

/// A file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Its name within the backup.
    pub name: String,
    /// How long it is.
    pub bytes: u64,
    /// The hash of what it holds.
    pub sha256: Hash,
}

/// Why a text is no manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// It is not JSON of that form.
    #[error("it is not readable: {0}")]
    Malformed(String),
    /// Another program, or a newer one, wrote it.
    #[error("its format is `{0}`, this version reads {FORMAT}")]
    OtherFormat(String),
    /// It names a role that there is not.
    #[error("it names no role of a node that has a log")]
    NoRole,
    /// It lists more files than a backup has.
    #[error("it lists more than {MAX_FILES} files")]
    TooManyFiles,
    /// Its own size, root or chain head are not those of its head.
    #[error("it contradicts the tree head in it")]
    OtherHead,
    /// It was changed after it was written.
    #[error("it was changed after it was written")]
    Changed,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    format: String,
    role: String,
    version: String,
    origin: Origin,
    log_id: Hash,
    operator_fingerprint: Fingerprint,
    tree_size: TreeSize,
    root_hash: Hash,
    chain_head: Option<Hash>,
    head: HeadJson,
    made_at: Timestamp,
    files: Vec<FileEntry>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    seal: Option<Hash>,
}

impl Manifest {
    /// Reads what [`Manifest::print`] wrote, and nothing else.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let read: Text = serde_json::from_str(text)
            .map_err(|error| ManifestError::Malformed(error.to_string()))?;
        if read.format != FORMAT {
            return Err(ManifestError::OtherFormat(read.format));
        }
        if read.files.len() > MAX_FILES {
            return Err(ManifestError::TooManyFiles);
        }
        let head = (read.head.tree_size, read.head.root_hash, read.head.chain_head);
        if (read.tree_size, read.root_hash, read.chain_head) != head {
            return Err(ManifestError::OtherHead);
        }
        let role = Role::from_name(&read.role).filter(|role| *role != Role::Witness);
        let manifest = Self {
            role: role.ok_or(ManifestError::NoRole)?,
            version: read.version,
            origin: read.origin,
            log_id: read.log_id,
            operator: read.operator_fingerprint,
            head: read.head,
            made_at: read.made_at,
            files: read.files,
        };
        if manifest.print() == text { Ok(manifest) } else { Err(ManifestError::Changed) }
    }

    /// Writes it, sealed.
    pub fn print(&self) -> String {
        let mut text = Text {
            format: FORMAT.to_owned(),
            role: self.role.name().to_owned(),
            version: self.version.clone(),
            origin: self.origin.clone(),
            log_id: self.log_id,
            operator_fingerprint: self.operator,
            tree_size: self.head.tree_size,
            root_hash: self.head.root_hash,
            chain_head: self.head.chain_head,
            head: self.head.clone(),
            made_at: self.made_at,
            files: self.files.clone(),
            seal: None,
        };
        text.seal = Some(Hash::of(pretty(&text).as_bytes()));
        pretty(&text)
    }

    /// How many entries it holds.
    pub fn tree_size(&self) -> TreeSize {
        self.head.tree_size
    }

    /// The file of that name.
    pub fn file(&self, name: &str) -> Option<&FileEntry> {
        self.files.iter().find(|file| file.name == name)
    }

    /// How long all files are together.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

fn pretty(text: &Text) -> String {
    let mut json = serde_json::to_string_pretty(text).expect("text and numbers serialise");
    json.push('\n');
    json
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;
    use crate::head::TreeHead;
    use crate::keys::SigningKey;

    pub(crate) fn manifest(size: u64, second: i64) -> Manifest {
        let key = SigningKey::from_seed([7; 32]);
        let origin: Origin = "log.example/2026".parse().unwrap();
        let made_at = Timestamp::from_millis(1_768_473_000_000 + second * 1000).unwrap();
        let head = TreeHead {
            chain_head: Some(Hash::of(b"chain")),
            epoch: 1,
            origin: origin.clone(),
            root_hash: Hash::of(b"root"),
            timestamp: made_at,
            tree_size: TreeSize::ZERO.plus(size),
        };
        Manifest {
            role: Role::Leader,
            version: "0.1.0".to_owned(),
            origin,
            log_id: Hash::of(b"genesis"),
            operator: key.fingerprint(),
            head: head.sign(&key).to_json(String::new(), size),
            made_at,
            files: vec![FileEntry {
                name: "entries.bin".to_owned(),
                bytes: 12,
                sha256: Hash::of(b"entries"),
            }],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_printed_is_read_again() {
        let manifest = testing::manifest(3, 0);

        assert_eq!(Manifest::parse(&manifest.print()), Ok(manifest));
    }

    #[test]
    fn no_byte_can_change_unseen() {
        let text = testing::manifest(3, 0).print();
        for at in 0..text.len() {
            for flip in [1, 0x20] {
                let mut bytes = text.clone().into_bytes();
                bytes[at] ^= flip;
                let read = String::from_utf8(bytes).ok().map(|text| Manifest::parse(&text));
                assert!(!matches!(read, Some(Ok(_))), "byte {at} of\n{text}");
            }
        }
    }

    #[test]
    fn another_format_is_named() {
        let text = testing::manifest(3, 0).print().replace("backup/v1", "backup/v2");

        let read = Manifest::parse(&text);

        assert_eq!(read, Err(ManifestError::OtherFormat("diogenes-backup/v2".to_owned())));
    }

    #[test]
    fn a_witness_has_no_log_to_back_up() {
        let text = testing::manifest(3, 0).print().replace("\"leader\"", "\"witness\"");

        assert_eq!(Manifest::parse(&text), Err(ManifestError::NoRole));
    }

    #[test]
    fn a_manifest_agrees_with_its_head() {
        let text =
            testing::manifest(3, 0).print().replacen("\"tree_size\": 3", "\"tree_size\": 4", 1);

        assert_eq!(Manifest::parse(&text), Err(ManifestError::OtherHead));
    }
}
