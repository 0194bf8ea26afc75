//! Composite documents: what is assembled, what comes of it, and what it is compiled into.
//!
//! ```text
//! assemble  {"title","parts":[{"label","content_hash","manifest"?},...],"metadata"?}
//!        -> {"title","content_hash","parts":[{"label","content_hash","proof":[base64,...],
//!            "manifest"?,"manifest_hash"?},...],"metadata"?}
//! compile   {"composite":<that answer>,"attestations"?:[...]}
//!        -> {"manifest":{...},"manifest_hash":"sha256:...","content_hash":"sha256:..."}
//! ```

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::log::base64_list;
use crate::composite::{Composite, CompositeError, Part, PartFault, verify_part};
use crate::keys::Fingerprint;
use crate::merkle::Hash;

/// `POST /api/v1/composite/assemble`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct AssembleRequest {
    /// What the whole is called: 1 to 1000 characters.
    pub title: String,
    /// The parts in their order: 1 to 256.
    pub parts: Vec<GivenPart>,
    /// What else is said about the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "shell", schema(value_type = Option<Object>))]
    pub metadata: Option<Map<String, Value>>,
}

/// A part that is to be put into a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct GivenPart {
    /// What it is called within the whole: 1 to 100 characters, no two the same.
    pub label: String,
    /// The SHA-256 of its bytes.
    pub content_hash: Hash,
    /// Its own manifest, if it has one: it must be about the same bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "shell", schema(value_type = Option<Object>))]
    pub manifest: Option<Value>,
}

/// A composite document with the proof of each part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct CompositeView {
    /// What the whole is called.
    pub title: String,
    /// The RFC 6962 root over the parts' content hashes.
    pub content_hash: Hash,
    /// The parts in their order.
    pub parts: Vec<PartView>,
    /// What else is said about the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "shell", schema(value_type = Option<Object>))]
    pub metadata: Option<Map<String, Value>>,
}

/// A part of a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct PartView {
    /// What it is called within the whole.
    pub label: String,
    /// The SHA-256 of its bytes.
    pub content_hash: Hash,
    /// The RFC 9162 inclusion path from it to the whole's content hash, in base64.
    #[serde(with = "base64_list")]
    #[cfg_attr(feature = "shell", schema(value_type = Vec<crate::wire::Base64>))]
    pub proof: Vec<Hash>,
    /// Its own manifest, as it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "shell", schema(value_type = Option<Object>))]
    pub manifest: Option<Value>,
    /// The hash of its manifest without attestations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_hash: Option<Hash>,
}

/// `POST /api/v1/composite/compile`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(
    feature = "shell",
    derive(utoipa::ToSchema),
    schema(examples(json!({
        "composite": {
            "title": "Thesis",
            "content_hash": "sha256:8a7deab2cc5ee003b6394337538a52b3198f1a6ddeb10c7daf62fe1c9834b43b",
            "parts": [{
                "label": "text",
                "content_hash": "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
                "proof": [],
            }],
        },
        "attestations": [],
        "record": true,
        "fingerprint": "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    })))
)]
pub struct CompileRequest {
    /// What `POST /api/v1/composite/assemble` answered.
    pub composite: CompositeView,
    /// What `POST /api/v1/attestations` answered as `attestation`, in order: at most 100.
    #[serde(default)]
    #[cfg_attr(feature = "shell", schema(value_type = Vec<Object>))]
    pub attestations: Vec<Value>,
    /// Whether the log is to record it.
    #[serde(default)]
    pub record: bool,
    /// Who puts it together, if it is to be recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
}

/// The manifest of a composite document, to be attested and verified as any other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct CompiledManifest {
    /// The manifest.
    #[cfg_attr(feature = "shell", schema(value_type = Object))]
    pub manifest: Value,
    /// Its hash without attestations: what signatures that bind all name.
    pub manifest_hash: Hash,
    /// The content hash of the whole.
    pub content_hash: Hash,
    /// The entry that records it, if that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_entry_id: Option<u64>,
    /// The hash of that entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry_hash: Option<Hash>,
}

impl AssembleRequest {
    /// Puts the parts together and proves each.
    pub fn assemble(self) -> Result<CompositeView, CompositeError> {
        let parts = self.parts.iter().enumerate().map(|(position, given)| {
            Part::new(given.label.clone(), given.content_hash, given.manifest.as_ref())
                .map_err(|fault| CompositeError::Part { position, fault })
        });
        let composite =
            Composite::assemble(self.title, parts.collect::<Result<_, _>>()?, self.metadata)?;
        let manifests = self.parts.into_iter().map(|given| given.manifest);
        let proven = composite.parts().iter().zip(composite.proofs()).zip(manifests);
        let parts = proven.map(|((part, proof), manifest)| PartView {
            label: part.label().to_string(),
            content_hash: part.content_hash(),
            proof: proof.clone(),
            manifest,
            manifest_hash: part.manifest_hash(),
        });
        Ok(CompositeView {
            title: composite.title().to_owned(),
            content_hash: composite.root().hash,
            parts: parts.collect(),
            metadata: composite.metadata().cloned(),
        })
    }
}

impl CompositeView {
    /// Takes it for a composite document, after everything that it states was checked.
    pub fn check(self) -> Result<Composite, CompositeError> {
        let mut parts = Vec::with_capacity(self.parts.len());
        for (position, shown) in self.parts.iter().enumerate() {
            let part = shown.check().map_err(|fault| CompositeError::Part { position, fault })?;
            parts.push(part);
        }
        let composite = Composite::assemble(self.title, parts, self.metadata)?;
        let root = composite.root();
        if root.hash != self.content_hash {
            return Err(CompositeError::Root { root: root.hash });
        }
        for (position, shown) in self.parts.iter().enumerate() {
            verify_part(&root, position as u64, &shown.content_hash, &shown.proof)
                .map_err(|error| CompositeError::Part { position, fault: error.into() })?;
        }
        Ok(composite)
    }
}

impl PartView {
    fn check(&self) -> Result<Part, PartFault> {
        let part = Part::new(self.label.clone(), self.content_hash, self.manifest.as_ref())?;
        if self.manifest_hash.is_some() && self.manifest_hash != part.manifest_hash() {
            return Err(PartFault::ManifestHash);
        }
        Ok(part)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn assembled() -> CompositeView {
        let hash = |text: &str| Hash::of(text.as_bytes());
        let request = json!({
            "title": "Thesis",
            "parts": [
                { "label": "text", "content_hash": hash("text") },
                { "label": "data", "content_hash": hash("data"), "manifest":
                    { "document": { "content_hash": hash("data") }, "attestations": [] } },
                { "label": "code", "content_hash": hash("code") },
            ],
            "metadata": { "year": 2026 },
        });
        serde_json::from_value::<AssembleRequest>(request).unwrap().assemble().unwrap()
    }

    #[test]
    fn what_was_assembled_passes_its_own_check() {
        let view = assembled();
        let json = serde_json::to_value(&view).unwrap();
        assert_eq!(json["parts"][0]["proof"].as_array().map(Vec::len), Some(2));
        let read: CompositeView = serde_json::from_value(json).unwrap();
        assert_eq!(read, view);
        let composite = read.check().unwrap();
        assert_eq!(composite.root().hash, view.content_hash);
        assert_eq!(composite.parts()[1].manifest_hash(), view.parts[1].manifest_hash);
    }

    #[test]
    fn nothing_that_a_composite_states_can_be_changed_unnoticed() {
        let (good, other) = (assembled(), Hash::of(b"other"));
        let pointer = |change: fn(&mut CompositeView, Hash)| {
            let mut view = good.clone();
            change(&mut view, other);
            view.check().unwrap_err().pointer()
        };
        assert_eq!(pointer(|view, other| view.content_hash = other), "/content_hash");
        assert_eq!(pointer(|view, other| view.parts[0].content_hash = other), "/content_hash");
        assert_eq!(pointer(|view, other| view.parts[2].proof[0] = other), "/parts/2/proof");
        assert_eq!(pointer(|view, other| view.parts[2].proof.push(other)), "/parts/2/proof");
        assert_eq!(pointer(|view, _| view.parts.swap(0, 2)), "/content_hash");
        assert_eq!(pointer(|view, _| drop(view.parts.pop())), "/content_hash");
        assert_eq!(
            pointer(|view, other| view.parts[1].manifest_hash = Some(other)),
            "/parts/1/manifest_hash"
        );
        assert_eq!(pointer(|view, _| view.parts[1].manifest = None), "/parts/1/manifest_hash");
        assert_eq!(
            pointer(|view, other| view.parts[1].content_hash = other),
            "/parts/1/manifest/document/content_hash"
        );
        assert_eq!(pointer(|view, _| view.title.clear()), "/title");
        assert_eq!(pointer(|view, _| view.parts[2].label = "text".to_owned()), "/parts/2/label");
    }

    #[test]
    fn requests_have_no_other_members() {
        let mut json = serde_json::to_value(assembled()).unwrap();
        json["parts"][0]["size"] = json!(1);
        assert!(serde_json::from_value::<CompositeView>(json).is_err());
        let odd = json!({ "title": "a", "parts": [], "record": true });
        assert!(serde_json::from_value::<AssembleRequest>(odd).is_err());
    }
}
