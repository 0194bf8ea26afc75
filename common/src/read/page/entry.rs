//! One entry: everything that was hashed, and the proof that the log holds it.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use serde_json::Value;

use super::commands::{Check, check};
use super::frame::{Fault, Frame, answer};
use super::text::{beginning, grouped, indented, spoken, visible};
use crate::keys::Fingerprint;
use crate::leaf::Leaf;
use crate::read::entries::numbered;
use crate::read::proofs::inclusion_proof;
use crate::read::reads::Reads;
use crate::server::body::Path;
use crate::store::{Store, StoreError};

/// How much of a payload is shown before somebody asks for all of it, in characters.
const EXCERPT: usize = 4000;

/// How many fingerprints in a payload are looked up.
const KEYS: usize = 16;

/// `GET /entries/{id}`.
pub(super) async fn page(
    State(reads): State<Reads>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let entry = view(&reads, &id, &headers).await;
    answer(&reads, entry)
}

#[derive(Template)]
#[template(path = "entry.html")]
#[expect(clippy::struct_field_names, reason = "`entry_hash` is its name in the API")]
struct Entry {
    frame: Frame,
    id: u64,
    newest: u64,
    event_type: String,
    timestamp: String,
    spoken: String,
    entry_hash: String,
    previous_hash: Option<String>,
    leaf_hash: String,
    /// Why it changes nothing, if it does not.
    without_effect: Option<String>,
    keys: Vec<KeyLink>,
    payload: Payload,
    proof: Proof,
    check: Option<Check>,
}

/// A registered key that the payload names.
#[derive(Debug, PartialEq, Eq)]
struct KeyLink {
    member: String,
    pseudonym: String,
    fingerprint: String,
}

/// The payload with a line for each member.
#[derive(Debug, PartialEq, Eq)]
struct Payload {
    bytes: String,
    text: String,
    /// The beginning, if it is long.
    excerpt: Option<String>,
}

/// The way from the leaf to the root of the newest head.
struct Proof {
    leaf_index: u64,
    tree_size: String,
    root_hash: String,
    hashes: Vec<String>,
}

async fn view(reads: &Reads, id: &str, headers: &HeaderMap) -> Result<Entry, Fault> {
    let snapshot = reads.snapshot()?;
    let (store, size) = (reads.store(), snapshot.size());
    let id = numbered(id, size)?;
    let leaf = store.entry(id).await?.ok_or(StoreError::Corrupt { id })?;
    let without_effect = store.without_effect(&[id]).await?.pop().map(|(_, reason)| reason);
    let proof = inclusion_proof(store, &snapshot, id, size).await?;
    Ok(Entry {
        frame: Frame::of(reads, Some(&format!("Entry {id}"))),
        id,
        newest: size.get(),
        event_type: leaf.event_type().to_owned(),
        timestamp: leaf.timestamp().to_string(),
        spoken: spoken(leaf.timestamp()),
        entry_hash: leaf.entry_hash().to_string(),
        previous_hash: leaf.previous_hash().map(|hash| hash.to_string()),
        leaf_hash: leaf.leaf_hash().to_hex(),
        without_effect,
        keys: key_links(store, &leaf, size.get()).await?,
        payload: payload(&leaf),
        proof: Proof {
            leaf_index: proof.leaf_index,
            tree_size: grouped(proof.tree_size.get()),
            root_hash: proof.root_hash.to_string(),
            hashes: proof.hashes.iter().map(crate::merkle::Hash::to_hex).collect(),
        },
        check: check(&reads.facts(), headers, Some(id)),
    })
}

fn payload(leaf: &Leaf) -> Payload {
    let text = indented(&String::from_utf8_lossy(leaf.payload()));
    let (start, is_all) = beginning(&text, EXCERPT);
    let excerpt = (!is_all).then(|| format!("{start}…"));
    Payload { bytes: grouped(leaf.payload().len() as u64), excerpt, text }
}

/// The registered keys that an entry names, in the order of its payload.
async fn key_links(store: &Store, leaf: &Leaf, size: u64) -> Result<Vec<KeyLink>, StoreError> {
    let named = fingerprints(leaf.payload());
    let keys: Vec<Fingerprint> = named.iter().map(|(_, key)| *key).collect();
    let rows = store.keys(&keys).await?;
    let link = |(member, key): &(String, Fingerprint)| {
        let row = rows.iter().find(|row| row.fingerprint == *key && row.first_entry_id <= size)?;
        Some(KeyLink {
            member: visible(member).replace('_', " "),
            pseudonym: visible(&row.pseudonym),
            fingerprint: key.to_string(),
        })
    };
    Ok(named.iter().filter_map(link).collect())
}

/// The fingerprints in a payload, each once, with the names of the members that hold them.
fn fingerprints(payload: &[u8]) -> Vec<(String, Fingerprint)> {
    let mut found = Vec::new();
    if let Ok(value) = serde_json::from_slice(payload) {
        collect("", &value, &mut found);
    }
    found
}

fn collect(member: &str, value: &Value, found: &mut Vec<(String, Fingerprint)>) {
    if found.len() >= KEYS {
        return;
    }
    match value {
        Value::String(text) => {
            if let Ok(key) = text.parse::<Fingerprint>()
                && !found.iter().any(|(_, known)| *known == key)
            {
                found.push((member.chars().take(64).collect(), key));
            }
        }
        // A payload is at most 32 deep.
        Value::Array(values) => values.iter().for_each(|value| collect(member, value, found)),
        Value::Object(members) => {
            members.iter().for_each(|(name, value)| collect(name, value, found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SigningKey;

    #[test]
    fn each_fingerprint_is_named_once_by_its_member() {
        let [one, two] = [1, 2].map(|seed| SigningKey::from_seed([seed; 32]).fingerprint());
        let payload =
            format!(r#"{{"a":"{one}","b":[{{"signer":"{two}"}},"{one}"],"c":"sha256:abc","d":3}}"#);
        let found = fingerprints(payload.as_bytes());
        assert_eq!(found, [("a".to_owned(), one), ("signer".to_owned(), two)]);
    }

    #[test]
    fn only_so_many_are_looked_up() {
        let keys: Vec<String> = (0..40)
            .map(|seed| format!("\"{}\"", SigningKey::from_seed([seed; 32]).fingerprint()))
            .collect();
        let found = fingerprints(format!("[{}]", keys.join(",")).as_bytes());
        assert_eq!(found.len(), KEYS);
    }
}
