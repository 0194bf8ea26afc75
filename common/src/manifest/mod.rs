//! Manifests: what an attestation is about, and which bytes its signature covers.
//!
//! ```text
//! {"document":{"title":"...","content_hash":"sha256:...",<free metadata>},
//!  "attestations":[<what POST /attestations answered>,...]}
//!
//! manifest_hash = SHA-256(JCS(the manifest with "attestations":[]))
//! ```
//!
//! A manifest is at most 128 KiB of canonical JSON, nested to depth 32 and lists at most 100
//! attestations. Nothing stands beside the two members: a signature over the manifest would cover
//! it and nobody would show it.

mod binding;
mod identity;
mod listed;

use serde_json::{Map, Value};

pub use binding::{Bound, NotBound, Terms};
pub use identity::{
    AttestationId, AttestationType, Binds, Canonicalization, Identity, NotAShortId,
    NotAnAttestationType, ShortId,
};
pub use listed::{Intent, Listed, ListedFault};

use crate::canonical::{self, JsonError};
use crate::merkle::Hash;

/// The most bytes that a manifest has in canonical form.
pub const MAX_BYTES: usize = 128 * 1024;

/// How deeply a manifest is nested at most; the manifest itself is 1.
pub const MAX_DEPTH: usize = 32;

/// The most attestations that a manifest lists.
pub const MAX_LISTED: usize = 100;

/// The most characters that a document's title has.
pub const MAX_TITLE_CHARS: usize = 1_000;

/// A document's manifest. Exists only if every rule of one held.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    content_hash: Hash,
    title: Option<String>,
    listed: Vec<Listed>,
    hash: Hash,
    jcs: Spelled,
    legacy: Spelled,
}

/// Which rule of a manifest is broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// The bytes are no I-JSON.
    #[error("the manifest cannot be read: {0}")]
    Json(#[source] JsonError),
    /// Not an object.
    #[error("a manifest is an object with the members document and attestations")]
    NotAnObject,
    /// Something stands beside the two members.
    #[error(
        "a manifest has the members document and attestations alone: put `{name}` into document"
    )]
    UnknownMember {
        /// The member.
        name: String,
    },
    /// No `document`, or one that is no object.
    #[error("document is missing or not an object")]
    Document,
    /// No usable `document.content_hash`.
    #[error("content_hash is missing or not `sha256:` followed by 64 lower-case hex digits")]
    ContentHash,
    /// An unusable `document.title`.
    #[error("a title is a text of 1 to 1000 characters")]
    Title,
    /// No `attestations`, or one that is no array.
    #[error("attestations is missing or not an array: without any it is []")]
    Attestations,
    /// More than [`MAX_LISTED`].
    #[error("a manifest lists at most 100 attestations")]
    TooMany,
    /// A listed attestation lacks what is needed to check it.
    #[error("attestation {position} cannot be read: {fault}")]
    Listed {
        /// Its place in the list, from 0.
        position: usize,
        /// What is wrong.
        fault: ListedFault,
    },
    /// One attestation stands in the list twice.
    #[error("attestation {position} is listed before")]
    Twice {
        /// The second place, from 0.
        position: usize,
    },
    /// Objects and arrays are nested beyond [`MAX_DEPTH`].
    #[error("the manifest is nested more than 32 deep")]
    TooDeep,
    /// More than [`MAX_BYTES`].
    #[error("the manifest has more than 131072 bytes of canonical JSON")]
    TooLarge,
}

impl ManifestError {
    /// The JSON pointer from the manifest to what is wrong.
    pub fn pointer(&self) -> String {
        match self {
            Self::Json(_) | Self::NotAnObject | Self::TooDeep | Self::TooLarge => String::new(),
            Self::UnknownMember { name } => {
                format!("/{}", name.replace('~', "~0").replace('/', "~1"))
            }
            Self::Document => "/document".to_owned(),
            Self::ContentHash => "/document/content_hash".to_owned(),
            Self::Title => "/document/title".to_owned(),
            Self::Attestations | Self::TooMany => "/attestations".to_owned(),
            Self::Twice { position } => format!("/attestations/{position}/id"),
            Self::Listed { position, fault } => {
                format!("/attestations/{position}{}", fault.pointer())
            }
        }
    }
}

impl Manifest {
    /// Reads a manifest from its JSON in whichever spelling.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let value = canonical::parse(bytes, MAX_DEPTH).map_err(|error| match error {
            JsonError::TooDeep => ManifestError::TooDeep,
            other => ManifestError::Json(other),
        })?;
        Self::from_value(value)
    }

    /// Takes a value for a manifest; [`canonical::parse`] must have read it.
    pub fn from_value(value: Value) -> Result<Self, ManifestError> {
        if !is_within(&value, MAX_DEPTH) {
            return Err(ManifestError::TooDeep);
        }
        let Value::Object(mut members) = value else { return Err(ManifestError::NotAnObject) };
        let document = members.remove("document");
        let attestations = members.remove("attestations");
        if let Some((name, _)) = members.into_iter().next() {
            return Err(ManifestError::UnknownMember { name: name.chars().take(64).collect() });
        }
        let Some(Value::Object(document)) = document else { return Err(ManifestError::Document) };
        let content_hash = content_hash(&document)?;
        let title = title(&document)?;
        let Some(Value::Array(attestations)) = attestations else {
            return Err(ManifestError::Attestations);
        };
        let listed = read_listed(&attestations)?;

        let document = Value::Object(document);
        let jcs = Spelled::new(&document, &attestations, canonical::to_vec);
        if jcs.length() > MAX_BYTES {
            return Err(ManifestError::TooLarge);
        }
        let legacy = Spelled::new(&document, &attestations, canonical::to_legacy);
        let hash = Hash::of(&jcs.with(0));
        Ok(Self { content_hash, title, listed, hash, jcs, legacy })
    }

    /// The hash of the document.
    pub const fn content_hash(&self) -> Hash {
        self.content_hash
    }

    /// The document's title.
    pub fn title(&self) -> Option<&str> {
        self.title.as_deref()
    }

    /// The attestations that it lists, in its order.
    pub fn listed(&self) -> &[Listed] {
        &self.listed
    }

    /// The hash of the manifest without its attestations: the same whoever attests.
    pub const fn hash(&self) -> Hash {
        self.hash
    }

    /// The manifest with the first `count` of its attestations, as it is signed in this spelling.
    ///
    /// # Panics
    /// If fewer are listed.
    pub fn signed_bytes(&self, count: usize, spelling: Canonicalization) -> Vec<u8> {
        match spelling {
            Canonicalization::Jcs => self.jcs.with(count),
            Canonicalization::Legacy => self.legacy.with(count),
        }
    }
}

/// A manifest in one spelling, cut so that any number of attestations can be put between.
#[derive(Clone, Debug, PartialEq)]
struct Spelled {
    document: Vec<u8>,
    attestations: Vec<Vec<u8>>,
}

const BEFORE: &[u8] = b"{\"attestations\":[";
const BETWEEN: &[u8] = b"],\"document\":";
const AFTER: &[u8] = b"}";

impl Spelled {
    fn new(document: &Value, attestations: &[Value], write: impl Fn(&Value) -> Vec<u8>) -> Self {
        Self { document: write(document), attestations: attestations.iter().map(write).collect() }
    }

    fn with(&self, count: usize) -> Vec<u8> {
        let attestations = self.attestations[..count].join(&b',');
        [BEFORE, &attestations, BETWEEN, &self.document, AFTER].concat()
    }

    fn length(&self) -> usize {
        let attestations: usize = self.attestations.iter().map(|one| one.len() + 1).sum();
        let fixed = BEFORE.len() + BETWEEN.len() + AFTER.len();
        fixed + attestations.saturating_sub(1) + self.document.len()
    }
}

fn content_hash(document: &Map<String, Value>) -> Result<Hash, ManifestError> {
    let text = document.get("content_hash").and_then(Value::as_str);
    text.and_then(|text| text.parse().ok()).ok_or(ManifestError::ContentHash)
}

fn title(document: &Map<String, Value>) -> Result<Option<String>, ManifestError> {
    match document.get("title") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(title)) if (1..=MAX_TITLE_CHARS).contains(&title.chars().count()) => {
            Ok(Some(title.clone()))
        }
        Some(_) => Err(ManifestError::Title),
    }
}

fn read_listed(attestations: &[Value]) -> Result<Vec<Listed>, ManifestError> {
    if attestations.len() > MAX_LISTED {
        return Err(ManifestError::TooMany);
    }
    let mut listed: Vec<Listed> = Vec::with_capacity(attestations.len());
    for (position, value) in attestations.iter().enumerate() {
        let read =
            Listed::read(value).map_err(|fault| ManifestError::Listed { position, fault })?;
        if listed.iter().any(|before| before.id == read.id) {
            return Err(ManifestError::Twice { position });
        }
        listed.push(read);
    }
    Ok(listed)
}

/// Whether objects and arrays are nested to this depth at most.
fn is_within(value: &Value, depth: usize) -> bool {
    let deeper = |inner: &Value| depth > 0 && is_within(inner, depth - 1);
    match value {
        Value::Object(members) => depth > 0 && members.values().all(deeper),
        Value::Array(items) => depth > 0 && items.iter().all(deeper),
        _ => true,
    }
}

#[cfg(test)]
mod tests;
