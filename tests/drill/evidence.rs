//! Trying a file of evidence: as it is, for another log, and with every byte changed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use diogenes_common::evidence::{Evidence, verify};
use diogenes_common::merkle::Hash;
use diogenes_tests::audience::judged;
use diogenes_tests::process::Machine;
use serde_json::Value;
use tokio::task::block_in_place;

use crate::verdict::{Left, ProofTrial};

/// The members that prove; the others can be changed by anyone and change nothing.
const PROVING: [&str; 4] = ["accused", "kind", "proofs", "statements"];
/// What the program says of a file that is no proof: 1, or 2 where it is not even evidence.
const REFUSALS: [Option<i32>; 2] = [Some(1), Some(2)];

/// Lets the released program judge a file that should be proof, and the function that it uses each
/// changed copy of it.
pub(crate) fn proof(machine: &Machine, file: &[u8], log_id: Hash) -> Left {
    let verdict = judged(machine, file, &log_id.to_string());
    let elsewhere = judged(machine, file, &Hash::of(b"another log").to_string());
    let (copies, slipped) = block_in_place(|| try_changed(file, log_id));
    let kind = serde_json::from_slice::<Evidence>(file).map(|file| file.kind().as_str());
    Left::Proof(ProofTrial {
        kind: kind.unwrap_or_default().to_owned(),
        accepted: verdict.code == Some(0) && verdict.output.contains(&log_id.to_string()),
        bound: elsewhere.code == Some(1),
        changed: copies,
        slipped,
    })
}

/// Lets the released program judge a file that proves nothing.
pub(crate) fn observation(machine: &Machine, file: &[u8], log_id: Hash) -> Left {
    let verdict = judged(machine, file, &log_id.to_string());
    let proves_nothing = says_why(file) && REFUSALS.contains(&verdict.code);
    Left::Observation { proves_nothing }
}

/// Whether a file is an observation or a refusal at all: both give a reason.
fn says_why(file: &[u8]) -> bool {
    let first = serde_json::Deserializer::from_slice(file).into_iter::<Value>().next();
    first.and_then(Result::ok).is_some_and(|said| said["reason"].is_string())
}

/// How many changed copies were tried, and how many were accepted that say something else.
fn try_changed(file: &[u8], log_id: Hash) -> (usize, usize) {
    let Ok(whole) = serde_json::from_slice(file) else { return (0, 0) };
    let original = meaning(file);
    let (mut tried, mut slipped) = (0, 0);
    for copy in changed_bytes(file).chain(changed_parts(&whole)) {
        tried += 1;
        if meaning(&copy) != original && verify(&copy, Some(log_id), None).is_ok() {
            slipped += 1;
        }
    }
    (tried, slipped)
}

/// What a file says, without what proves nothing; `None` if it is not evidence.
fn meaning(file: &[u8]) -> Option<Value> {
    let read: Evidence = serde_json::from_slice(file).ok()?;
    let mut said = serde_json::to_value(&read).ok()?;
    said.as_object_mut()?.retain(|member, _| PROVING.contains(&member.as_str()));
    Some(said)
}

/// The file with each of its bytes changed in turn.
fn changed_bytes(file: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..file.len()).map(|at| {
        let mut copy = file.to_vec();
        copy[at] ^= 1;
        copy
    })
}

/// The file with each byte that it holds in base64 changed in turn: signed bytes, signatures,
/// leaves, hashes of proofs, the genesis.
fn changed_parts(whole: &Value) -> impl Iterator<Item = Vec<u8>> {
    let mut found = Vec::new();
    for member in PROVING {
        collect(whole, &format!("/{member}"), &mut found);
    }
    found.into_iter().flat_map(move |(pointer, bytes)| {
        let whole = whole.clone();
        (0..bytes.len()).filter_map(move |at| {
            let (mut copy, mut bytes) = (whole.clone(), bytes.clone());
            bytes[at] ^= 0x80;
            *copy.pointer_mut(&pointer)? = Value::from(BASE64.encode(bytes));
            serde_json::to_vec(&copy).ok()
        })
    })
}

/// Every text of base64 below a place, with where it is.
fn collect(whole: &Value, at: &str, found: &mut Vec<(String, Vec<u8>)>) {
    match whole.pointer(at) {
        Some(Value::Array(items)) => {
            for index in 0..items.len() {
                collect(whole, &format!("{at}/{index}"), found);
            }
        }
        Some(Value::Object(members)) => {
            for name in members.keys() {
                collect(whole, &format!("{at}/{name}"), found);
            }
        }
        Some(Value::String(text)) => {
            // A shorter text is a word that happens to be base64.
            if let Some(bytes) = BASE64.decode(text).ok().filter(|bytes| bytes.len() >= 32) {
                found.push((at.to_owned(), bytes));
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use diogenes_common::clock::Timestamp;
    use diogenes_common::evidence::{self, Accused, Observed};
    use diogenes_common::head::Contradiction;
    use diogenes_common::leaf::Leaf;
    use diogenes_tests::book::Book;

    use super::*;

    fn file() -> (Vec<u8>, Hash) {
        let start: Timestamp = "2026-01-15T10:30:00.000Z".parse().unwrap();
        let mut book = Book::new(start);
        book.grow(3);
        let [larger, smaller] = [4, 2].map(|size| {
            let mut claim = book.claim(size);
            claim.timestamp = start.plus_millis(100 - i64::try_from(size).unwrap());
            claim.sign(book.operator())
        });
        let genesis = Leaf::parse(book.leaf(1)).unwrap();
        let accused = Accused::log(book.operator().public(), &genesis);
        let observed = Observed { at: start, by: "a test".to_owned() };
        let found = Contradiction::Truncated;
        let evidence = evidence::contradiction(found, accused, [&larger, &smaller], &observed);
        (evidence.to_bytes(), book.log_id())
    }

    #[test]
    fn no_changed_copy_of_a_proof_is_accepted() {
        let (file, log_id) = file();
        assert!(verify(&file, Some(log_id), None).is_ok());

        let (tried, slipped) = try_changed(&file, log_id);

        assert!(tried > file.len() + 500, "{tried}");
        assert_eq!(slipped, 0);
    }

    #[test]
    fn every_signed_byte_signature_and_genesis_is_among_what_is_changed() {
        let (file, _) = file();
        let mut found = Vec::new();
        let whole: Value = serde_json::from_slice(&file).unwrap();
        for name in PROVING {
            collect(&whole, &format!("/{name}"), &mut found);
        }

        let places: Vec<_> = found.iter().map(|(place, _)| place.as_str()).collect();

        for place in ["/accused/genesis", "/statements/0/signed", "/statements/1/signature"] {
            assert!(places.contains(&place), "{place} is not among {places:?}");
        }
    }

    #[test]
    fn what_gives_no_reason_is_no_observation() {
        assert!(says_why(b"{\"reason\":\"bad_batch\"}\n{}\n"));
        for file in [&b"{\"error\":{\"code\":\"not_found\"}}"[..], b"", b"<html>"] {
            assert!(!says_why(file));
        }
    }

    #[test]
    fn what_proves_nothing_is_no_part_of_the_meaning() {
        let (file, log_id) = file();
        let mut other: Value = serde_json::from_slice(&file).unwrap();
        other["explanation"] = "something else".into();
        let other = serde_json::to_vec(&other).unwrap();

        assert_eq!(meaning(&other), meaning(&file));
        assert!(verify(&other, Some(log_id), None).is_ok());
    }
}
