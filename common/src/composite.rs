//! Composite documents: several documents in an order, under one hash.
//!
//! ```text
//! leaf i = SHA-256(0x00 || the 32 bytes of part i's content hash)      RFC 6962 section 2.1
//! node   = SHA-256(0x01 || left || right)
//!
//!                  content_hash of the whole
//!                   /                    \
//!                node                   leaf 2
//!               /    \                     |
//!          leaf 0    leaf 1             content hash of part 2
//!            |          |
//!         part 0     part 1
//!
//! manifest = {"document":{"composite":"rfc6962-sha256","content_hash":"sha256:<root>",
//!                         "metadata":{...}?,"parts":[{"content_hash","label","manifest_hash"?},...],
//!                         "title"},
//!             "attestations":[...]}
//! ```
//!
//! Pure. The hash covers the parts and their order; labels, title and metadata are covered by the
//! manifest's hash. Who holds one part and its proof can show that it belongs to the whole without
//! showing any other. The manifest names every part's hash, so proofs follow from it and are left
//! out there.

use serde_json::{Map, Value, json};

use crate::event::text::{Name, NotAName};
use crate::manifest::{Manifest, ManifestError};
use crate::merkle::{Edge, Hash, Nodes, ProofError, ProofPlan, TreeRoot, verify_inclusion};

/// The most parts that a composite document has.
pub const MAX_PARTS: usize = 256;

/// The most characters of its title.
pub use crate::manifest::MAX_TITLE_CHARS;

/// How a manifest says that its content hash is the root over its parts.
pub const CONSTRUCTION: &str = "rfc6962-sha256";

/// One part. If it came with a manifest, that is about this very document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    label: Name,
    content_hash: Hash,
    manifest_hash: Option<Hash>,
}

/// A composite document. Exists only if it can be compiled into a manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct Composite {
    title: String,
    parts: Vec<Part>,
    metadata: Option<Map<String, Value>>,
    root: TreeRoot,
    proofs: Vec<Vec<Hash>>,
}

/// What is wrong with one part.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartFault {
    /// Its label cannot be shown.
    #[error("its label cannot be used: {0}")]
    Label(#[from] NotAName),
    /// A part before it has the same label.
    #[error("a part before it has the same label")]
    LabelTwice,
    /// Its manifest is none.
    #[error("its manifest cannot be used: {0}")]
    Manifest(#[from] ManifestError),
    /// Its manifest has another content hash.
    #[error("its manifest is about another document, {about}")]
    OtherDocument {
        /// Which one.
        about: Hash,
    },
    /// The hash of a manifest that is not there, or is not the hash of the one that is.
    #[error("its manifest_hash is not that of a manifest that comes with it")]
    ManifestHash,
    /// Its proof does not lead to the content hash of the whole.
    #[error("its proof does not lead to the content hash of the whole: {0}")]
    Proof(#[from] ProofError),
}

/// Why there is no such composite document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompositeError {
    /// No part, or more than [`MAX_PARTS`].
    #[error("a composite document has from 1 to 256 parts")]
    PartCount,
    /// Empty, or longer than [`MAX_TITLE_CHARS`].
    #[error("a title has from 1 to 1000 characters")]
    Title,
    /// One of the parts.
    #[error("part {position}: {fault}")]
    Part {
        /// Its place, from 0.
        position: usize,
        /// What is wrong with it.
        fault: PartFault,
    },
    /// The content hash is not the root over the parts.
    #[error("content_hash is not the root over the parts, which is {root}")]
    Root {
        /// The root.
        root: Hash,
    },
    /// All of it together makes no manifest: it is too large or too deep.
    #[error("it cannot be compiled: {0}")]
    Manifest(#[source] ManifestError),
}

/// Why a composite document and attestations make no manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// One of the attestations, or the size of it all.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// An attestation says that it is about something else.
    #[error("attestation {position} is about another document, {about}")]
    OtherDocument {
        /// Its place, from 0.
        position: usize,
        /// What it is about.
        about: Hash,
    },
}

/// The tree over content hashes in their order.
pub fn root_over(parts: &[Hash]) -> TreeRoot {
    tree_over(parts).1.root()
}

/// Checks that a part stands at a place of the whole: `whole.size` is how many parts there are.
pub fn verify_part(
    whole: &TreeRoot,
    index: u64,
    content_hash: &Hash,
    proof: &[Hash],
) -> Result<(), ProofError> {
    verify_inclusion(index, &leaf_of(content_hash), whole, proof)
}

impl Part {
    /// A part whose manifest, if it has one, is about the same document.
    pub fn new(
        label: String,
        content_hash: Hash,
        manifest: Option<&Value>,
    ) -> Result<Self, PartFault> {
        let label = Name::try_from(label)?;
        let manifest = manifest.cloned().map(Manifest::from_value).transpose()?;
        match &manifest {
            Some(manifest) if manifest.content_hash() != content_hash => {
                Err(PartFault::OtherDocument { about: manifest.content_hash() })
            }
            _ => Ok(Self { label, content_hash, manifest_hash: manifest.map(|it| it.hash()) }),
        }
    }

    /// What it is called within the whole.
    pub const fn label(&self) -> &Name {
        &self.label
    }

    /// The hash of the part's bytes.
    pub const fn content_hash(&self) -> Hash {
        self.content_hash
    }

    /// The hash of its manifest without attestations.
    pub const fn manifest_hash(&self) -> Option<Hash> {
        self.manifest_hash
    }

    fn to_json(&self) -> Value {
        let mut json = json!({ "content_hash": self.content_hash, "label": self.label });
        if let Some(hash) = self.manifest_hash {
            json["manifest_hash"] = json!(hash);
        }
        json
    }
}

impl Composite {
    /// Puts parts together in the order in which they are given.
    pub fn assemble(
        title: String,
        parts: Vec<Part>,
        metadata: Option<Map<String, Value>>,
    ) -> Result<Self, CompositeError> {
        if !(1..=MAX_PARTS).contains(&parts.len()) {
            return Err(CompositeError::PartCount);
        }
        if !(1..=MAX_TITLE_CHARS).contains(&title.chars().count()) {
            return Err(CompositeError::Title);
        }
        if let Some(position) = label_twice(&parts) {
            return Err(CompositeError::Part { position, fault: PartFault::LabelTwice });
        }
        let hashes: Vec<Hash> = parts.iter().map(Part::content_hash).collect();
        let (proofs, root) = proofs_over(&hashes);
        let composite = Self { title, parts, metadata, root, proofs };
        Manifest::from_value(composite.manifest(&[])).map_err(CompositeError::Manifest)?;
        Ok(composite)
    }

    /// What the whole is called.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// The parts in their order.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// What else is said about the whole.
    pub const fn metadata(&self) -> Option<&Map<String, Value>> {
        self.metadata.as_ref()
    }

    /// The number of parts and the root over them.
    pub const fn root(&self) -> TreeRoot {
        self.root
    }

    /// For each part, in order, the proof that it belongs to the whole.
    pub fn proofs(&self) -> &[Vec<Hash>] {
        &self.proofs
    }

    /// The manifest of the whole, with what the log answered to attestations of it.
    pub fn compile(&self, attestations: &[Value]) -> Result<(Value, Manifest), CompileError> {
        let value = self.manifest(attestations);
        let manifest = Manifest::from_value(value.clone())?;
        let mut about = manifest.listed().iter().map(|listed| listed.content_hash).enumerate();
        let other = about.find_map(|(position, about)| {
            Some((position, about?)).filter(|it| it.1 != self.root.hash)
        });
        match other {
            Some((position, about)) => Err(CompileError::OtherDocument { position, about }),
            None => Ok((value, manifest)),
        }
    }

    fn manifest(&self, attestations: &[Value]) -> Value {
        let parts: Vec<Value> = self.parts.iter().map(Part::to_json).collect();
        let mut document = json!({
            "composite": CONSTRUCTION,
            "content_hash": self.root.hash,
            "parts": parts,
            "title": self.title,
        });
        if let Some(metadata) = &self.metadata {
            document["metadata"] = Value::Object(metadata.clone());
        }
        json!({ "attestations": attestations, "document": document })
    }
}

impl CompositeError {
    /// The JSON pointer from the composite document to what is wrong.
    pub fn pointer(&self) -> String {
        match self {
            Self::PartCount => "/parts".to_owned(),
            Self::Title => "/title".to_owned(),
            Self::Root { .. } => "/content_hash".to_owned(),
            Self::Manifest(ManifestError::TooDeep) => "/metadata".to_owned(),
            Self::Manifest(_) => String::new(),
            Self::Part { position, fault } => {
                let member = match fault {
                    PartFault::Label(_) | PartFault::LabelTwice => "/label".to_owned(),
                    PartFault::Manifest(error) => format!("/manifest{}", error.pointer()),
                    PartFault::OtherDocument { .. } => "/manifest/document/content_hash".to_owned(),
                    PartFault::ManifestHash => "/manifest_hash".to_owned(),
                    PartFault::Proof(_) => "/proof".to_owned(),
                };
                format!("/parts/{position}{member}")
            }
        }
    }
}

impl CompileError {
    /// The JSON pointer from the manifest to what is wrong.
    pub fn pointer(&self) -> String {
        match self {
            Self::Manifest(error) => error.pointer(),
            Self::OtherDocument { position, .. } => {
                format!("/attestations/{position}/scope/content_hash")
            }
        }
    }
}

/// The first part whose label another one has before it.
fn label_twice(parts: &[Part]) -> Option<usize> {
    let mut seen = std::collections::HashSet::with_capacity(parts.len());
    parts.iter().position(|part| !seen.insert(&part.label))
}

fn leaf_of(content_hash: &Hash) -> Hash {
    Hash::of_leaf(content_hash.as_bytes())
}

/// The nodes of a tree, and its right edge.
fn tree_over(parts: &[Hash]) -> (impl Nodes, Edge) {
    let (mut edge, mut tiles) = (Edge::empty(), Vec::new());
    for part in parts {
        edge.push(leaf_of(part), &mut tiles);
    }
    let complete: std::collections::HashMap<_, _> = tiles.into_iter().collect();
    ((complete, edge.clone()), edge)
}

fn proofs_over(parts: &[Hash]) -> (Vec<Vec<Hash>>, TreeRoot) {
    let (nodes, edge) = tree_over(parts);
    let proof = |index| ProofPlan::inclusion(index, edge.size()).ok()?.read(&nodes);
    let proofs = (0..edge.size().get()).map(|index| proof(index).unwrap_or_default());
    (proofs.collect(), edge.root())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::TreeSize;

    fn hash(number: usize) -> Hash {
        Hash::of(number.to_string().as_bytes())
    }

    fn part(number: usize) -> Part {
        Part::new(format!("part {number}"), hash(number), None).unwrap()
    }

    fn assemble(parts: Vec<Part>) -> Result<Composite, CompositeError> {
        Composite::assemble("Thesis".to_owned(), parts, None)
    }

    fn whole(count: usize) -> Composite {
        assemble((0..count).map(part).collect()).unwrap()
    }

    /// RFC 6962 section 2.1, as it stands there.
    fn recursive_root(parts: &[Hash]) -> Hash {
        match parts {
            [] => Hash::EMPTY_TREE,
            [only] => Hash::of_leaf(only.as_bytes()),
            more => {
                let left = more.len().next_power_of_two() / 2;
                let (left, right) = more.split_at(left);
                Hash::of_node(&recursive_root(left), &recursive_root(right))
            }
        }
    }

    fn manifest_of(content_hash: Hash) -> Value {
        json!({ "document": { "content_hash": content_hash }, "attestations": [] })
    }

    fn about(content_hash: Option<Hash>) -> Value {
        json!({
            "id": "0123456789abcdef0123456789abcdef",
            "type": "authorship",
            "scope": { "content_hash": content_hash },
            "signer_key_fingerprint": hash(0),
            "signature": "c2ln",
        })
    }

    #[test]
    fn the_content_hash_is_the_root_over_the_parts_hashes() {
        for count in [1, 2, 3, 7, 8, 255, 256] {
            let parts: Vec<Hash> = (0..count).map(hash).collect();
            let root = whole(count).root();
            assert_eq!(root.hash, recursive_root(&parts), "{count}");
            assert_eq!((root.size.get(), root), (count as u64, root_over(&parts)));
        }
    }

    #[test]
    fn every_part_is_proven_at_its_own_place_and_at_no_other() {
        for count in [1, 2, 5, 256] {
            let whole = whole(count);
            for (index, (part, proof)) in whole.parts().iter().zip(whole.proofs()).enumerate() {
                let check = |index| verify_part(&whole.root(), index, &part.content_hash(), proof);
                assert_eq!(check(index as u64), Ok(()), "{index} of {count}");
                assert!(check(index as u64 ^ 1).is_err(), "{index} of {count}");
            }
        }
        let (five, four) = (whole(5), TreeSize::new(4).unwrap());
        let fewer = TreeRoot { size: four, ..five.root() };
        assert!(verify_part(&fewer, 0, &hash(0), &five.proofs()[0]).is_err());
    }

    #[test]
    fn the_order_of_the_parts_is_part_of_the_hash() {
        let swapped = assemble(vec![part(1), part(0)]).unwrap();
        assert_ne!(swapped.root(), whole(2).root());
    }

    #[test]
    fn a_composite_has_some_parts_and_each_has_its_own_label() {
        assert_eq!(assemble(vec![]), Err(CompositeError::PartCount));
        assert_eq!(assemble((0..257).map(part).collect()), Err(CompositeError::PartCount));
        let twice = assemble(vec![part(0), part(1), part(0)]).unwrap_err();
        assert_eq!(twice, CompositeError::Part { position: 2, fault: PartFault::LabelTwice });
        assert_eq!(twice.pointer(), "/parts/2/label");
        let same_bytes = Part::new("again".to_owned(), hash(0), None).unwrap();
        assert!(assemble(vec![part(0), same_bytes]).is_ok());
        for bad in ["", "a\nb", "e\u{301}"] {
            assert!(matches!(Part::new(bad.to_owned(), hash(0), None), Err(PartFault::Label(_))));
        }
    }

    #[test]
    fn a_title_is_neither_missing_nor_endless() {
        let titled = |title: String| Composite::assemble(title, vec![part(0)], None).map(|_| ());
        assert_eq!(titled(String::new()), Err(CompositeError::Title));
        assert_eq!(titled("ä".repeat(1000)), Ok(()));
        assert_eq!(titled("ä".repeat(1001)), Err(CompositeError::Title));
    }

    #[test]
    fn a_parts_manifest_is_about_that_part() {
        let own = manifest_of(hash(1));
        let part = Part::new("a".to_owned(), hash(1), Some(&own)).unwrap();
        assert_eq!(part.manifest_hash(), Some(Manifest::from_value(own.clone()).unwrap().hash()));
        assert_eq!(
            Part::new("a".to_owned(), hash(2), Some(&own)),
            Err(PartFault::OtherDocument { about: hash(1) })
        );
        let none = json!({ "document": {}, "attestations": [] });
        assert_eq!(
            Part::new("a".to_owned(), hash(2), Some(&none)),
            Err(PartFault::Manifest(ManifestError::ContentHash))
        );
    }

    #[test]
    fn what_would_make_no_manifest_is_not_assembled() {
        let with = |metadata: Value| {
            let metadata = metadata.as_object().cloned();
            Composite::assemble("t".to_owned(), vec![part(0)], metadata).map(|_| ())
        };
        assert_eq!(with(json!({ "journal": "x" })), Ok(()));
        let large = CompositeError::Manifest(ManifestError::TooLarge);
        assert_eq!(with(json!({ "x": "x".repeat(128 * 1024) })), Err(large));
        let deep = (0..31).fold(json!({}), |inner, _| json!({ "x": inner }));
        let refused = with(deep).unwrap_err();
        assert_eq!(refused, CompositeError::Manifest(ManifestError::TooDeep));
        assert_eq!(refused.pointer(), "/metadata");
    }

    #[test]
    fn the_manifest_names_every_part_and_how_they_were_hashed() {
        let own = manifest_of(hash(1));
        let attested = Part::new("b".to_owned(), hash(1), Some(&own)).unwrap();
        let metadata = json!({ "year": 2026 }).as_object().cloned();
        let whole =
            Composite::assemble("T".to_owned(), vec![part(0), attested.clone()], metadata).unwrap();

        let (value, manifest) = whole.compile(&[about(None)]).unwrap();

        assert_eq!(manifest.content_hash(), whole.root().hash);
        assert_eq!((manifest.title(), manifest.listed().len()), (Some("T"), 1));
        assert_eq!(
            value["document"],
            json!({
                "composite": "rfc6962-sha256",
                "content_hash": whole.root().hash,
                "metadata": { "year": 2026 },
                "parts": [
                    { "content_hash": hash(0), "label": "part 0" },
                    { "content_hash": hash(1), "label": "b",
                      "manifest_hash": attested.manifest_hash() },
                ],
                "title": "T",
            })
        );
    }

    #[test]
    fn attestations_of_something_else_are_not_taken_in() {
        let whole = whole(3);
        assert!(whole.compile(&[about(Some(whole.root().hash))]).is_ok());
        let refused = whole.compile(&[about(Some(hash(0)))]).unwrap_err();
        assert_eq!(refused, CompileError::OtherDocument { position: 0, about: hash(0) });
        assert_eq!(refused.pointer(), "/attestations/0/scope/content_hash");
        let refused = whole.compile(&[json!({})]).unwrap_err();
        assert_eq!(refused.pointer(), "/attestations/0/id");
    }
}
