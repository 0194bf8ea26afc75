//! The leaf: the exact bytes of an entry that are hashed into the chain and into the tree.
//!
//! [`Leaf::parse`] holds every rule that a leaf obeys by itself; what relates it to its neighbours
//! (the next id, the previous hash, the time) is for the verifier of a chain.

use std::fmt;
use std::io::Write as _;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::canonical::{self, JsonError, MAX_SAFE_INTEGER};
use crate::clock::Timestamp;
use crate::merkle::Hash;

/// The most bytes that a leaf has.
pub const MAX_LEAF_BYTES: usize = 65_535;

/// How deeply a payload is nested at most; the payload itself is 1.
pub const MAX_PAYLOAD_DEPTH: usize = 32;

/// One entry as it was hashed: `{"event_type":..,"id":..,"payload":..,"previous_hash":..,
/// "timestamp":..}` in canonical JSON.
///
/// Exists only if every rule held. Clones share the bytes; both hashes are computed once.
#[derive(Clone)]
pub struct Leaf {
    bytes: Arc<[u8]>,
    id: u64,
    timestamp: Timestamp,
    previous_hash: Option<Hash>,
    entry_hash: Hash,
    tree_hash: Hash,
    event_type_end: usize,
    payload: Range<usize>,
}

/// Which rule of a leaf is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    /// More than [`MAX_LEAF_BYTES`].
    #[error("the entry has {length} bytes, at most 65535 are allowed")]
    TooLarge {
        /// How many bytes it has.
        length: usize,
    },
    /// The bytes are not UTF-8.
    #[error("the entry is not UTF-8")]
    NotUtf8,
    /// Not the five members in canonical form and order.
    #[error("the entry is not made of its five members: {missing} is missing at byte {offset}")]
    Shape {
        /// What should stand there.
        missing: &'static str,
        /// Where.
        offset: usize,
    },
    /// The event type does not follow the grammar of event types.
    #[error(transparent)]
    EventType(#[from] NotAnEventType),
    /// The id is not a plain integer from 1 to 2^53 - 1.
    #[error("the id is not an integer from 1 to 2^53 - 1")]
    Id,
    /// The payload is JSON, but no object.
    #[error("the payload is not an object")]
    PayloadNotAnObject,
    /// The payload is not canonical JSON; offsets count from its start.
    #[error("the payload is refused: {0}")]
    Payload(#[source] JsonError),
    /// Neither null nor the text of a hash.
    #[error("the previous hash is neither null nor hash text")]
    PreviousHash,
    /// The first entry names a predecessor, or a later one names none.
    #[error("the previous hash must be null in entry 1 and in no other")]
    PreviousHashOfFirst,
    /// Not a time in the log's text form.
    #[error("the timestamp is not of the form 2026-01-15T10:30:00.000Z")]
    Timestamp,
}

impl Leaf {
    /// Checks the bytes of one entry against every rule of a leaf.
    pub fn parse(bytes: impl Into<Arc<[u8]>>) -> Result<Self, LeafError> {
        let bytes = bytes.into();
        if bytes.len() > MAX_LEAF_BYTES {
            return Err(LeafError::TooLarge { length: bytes.len() });
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| LeafError::NotUtf8)?;
        let mut scan = Scan { text, at: 0 };

        scan.skip(EVENT_TYPE)?;
        let event_type = scan.until('"', "the end of the event type")?;
        event_type_is_valid(event_type)?;
        let event_type_end = scan.at;
        scan.skip(ID)?;
        let id = parse_id(scan.until(',', "the end of the id")?)?;
        scan.skip(PAYLOAD)?;
        let payload = scan.payload()?;
        scan.skip(PREVIOUS_HASH)?;
        let previous = scan.until(',', "the end of the previous hash")?;
        let previous_hash = parse_previous(previous)?;
        scan.skip(TIMESTAMP)?;
        let timestamp = scan.until('"', "the end of the timestamp")?;
        let timestamp = timestamp.parse().map_err(|_| LeafError::Timestamp)?;
        scan.skip("\"}")?;
        if scan.at != text.len() {
            return Err(LeafError::Shape { missing: "the end of the entry", offset: scan.at });
        }
        if previous_hash.is_none() != (id == 1) {
            return Err(LeafError::PreviousHashOfFirst);
        }

        let (entry_hash, tree_hash) = (Hash::of(&bytes), Hash::of_leaf(&bytes));
        Ok(Self {
            bytes,
            id,
            timestamp,
            previous_hash,
            entry_hash,
            tree_hash,
            event_type_end,
            payload,
        })
    }

    /// Makes the leaf of a new entry out of its parts; `payload` is canonical JSON.
    ///
    /// Everything passes through [`Leaf::parse`]: what a leader builds, a follower takes.
    pub fn build(
        id: u64,
        previous: Option<Hash>,
        timestamp: Timestamp,
        event_type: &EventType,
        payload: &[u8],
    ) -> Result<Self, LeafError> {
        // A payload beyond the limit is refused before it is copied.
        if payload.len() > MAX_LEAF_BYTES {
            return Err(LeafError::TooLarge { length: payload.len() });
        }
        let mut bytes = Vec::with_capacity(payload.len() + 320);
        let written = write!(bytes, "{EVENT_TYPE}{event_type}{ID}{id}{PAYLOAD}").and_then(|()| {
            bytes.extend_from_slice(payload);
            match previous {
                Some(hash) => write!(bytes, "{PREVIOUS_HASH}\"{hash}\""),
                None => write!(bytes, "{PREVIOUS_HASH}null"),
            }?;
            write!(bytes, "{TIMESTAMP}{timestamp}\"}}")
        });
        written.expect("a vector takes every byte");
        Self::parse(bytes)
    }

    /// The number of the entry, from 1; its index in the tree is one less.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// When the leader appended it.
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// What kind of event it records.
    pub fn event_type(&self) -> &str {
        std::str::from_utf8(&self.bytes[EVENT_TYPE.len()..self.event_type_end])
            .expect("an event type is ASCII")
    }

    /// The event: a canonical JSON object.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[self.payload.clone()]
    }

    /// The entry hash of the entry before; `None` in entry 1 alone.
    pub fn previous_hash(&self) -> Option<Hash> {
        self.previous_hash
    }

    /// The link of the hash chain, `SHA-256(leaf)`.
    pub fn entry_hash(&self) -> Hash {
        self.entry_hash
    }

    /// The leaf of the tree, `SHA-256(0x00 || leaf)`.
    pub fn leaf_hash(&self) -> Hash {
        self.tree_hash
    }

    /// Exactly what was hashed.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The JSON view of the entry: the five members and `entry_hash`.
    pub fn to_json(&self) -> String {
        let members = std::str::from_utf8(&self.bytes[1..]).expect("a leaf is UTF-8");
        format!("{{\"entry_hash\":\"{}\",{members}", self.entry_hash)
    }
}

impl PartialEq for Leaf {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Leaf {}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf")
            .field("id", &self.id)
            .field("event_type", &self.event_type())
            .field("entry_hash", &self.entry_hash)
            .finish_non_exhaustive()
    }
}

/// The name of a kind of event: a lifecycle name or a namespaced one like `x-acme:deployed`.
///
/// Names of the lifecycle grammar that this version does not know are readable too, so that the
/// entries of a newer leader can be mirrored.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventType(Box<str>);

/// Why a text is not the name of a kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an event type is `[a-z][a-z0-9_]{{0,63}}` or, namespaced, \
     `x-[a-z0-9][a-z0-9-]{{0,31}}:[a-z0-9][a-z0-9._-]{{0,63}}`"
)]
pub struct NotAnEventType;

impl EventType {
    /// The log's own types.
    pub const OWN: [&str; 21] = [
        "anchor",
        "attestation",
        "claim_reveal",
        "composite_document",
        "encrypted_claim",
        "endorsement_acceptance",
        "endorsement_acceptance_revocation",
        "endorsement_offer",
        "endorsement_revocation_alert",
        "endorsement_withdrawal",
        "key_registration",
        "key_revocation",
        "key_succession",
        "leader_epoch",
        "log_genesis",
        "operator_endorsement",
        "operator_endorsement_revocation",
        "operator_profile",
        "trust_config",
        "trust_config_revocation",
        "witness_proof",
    ];

    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the name belongs to an application and not to the log itself.
    pub fn is_namespaced(&self) -> bool {
        self.namespace().is_some()
    }

    /// Whether an entry of this version can have that type.
    pub fn is_known(&self) -> bool {
        self.is_namespaced() || Self::OWN.contains(&self.as_str())
    }

    /// What stands before the colon of a namespaced name, for instance `x-acme`.
    pub fn namespace(&self) -> Option<&str> {
        self.0.split_once(':').map(|(namespace, _)| namespace)
    }
}

impl FromStr for EventType {
    type Err = NotAnEventType;

    fn from_str(text: &str) -> Result<Self, NotAnEventType> {
        event_type_is_valid(text)?;
        Ok(Self(text.into()))
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Serialize for EventType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for EventType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

const EVENT_TYPE: &str = "{\"event_type\":\"";
const ID: &str = "\",\"id\":";
const PAYLOAD: &str = ",\"payload\":";
const PREVIOUS_HASH: &str = ",\"previous_hash\":";
const TIMESTAMP: &str = ",\"timestamp\":\"";

/// A place in the text of a leaf; the parts between the fixed ones hold no delimiter themselves.
struct Scan<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scan<'a> {
    fn skip(&mut self, fixed: &'static str) -> Result<(), LeafError> {
        if !self.rest().starts_with(fixed) {
            return Err(LeafError::Shape { missing: fixed, offset: self.at });
        }
        self.at += fixed.len();
        Ok(())
    }

    fn until(&mut self, delimiter: char, missing: &'static str) -> Result<&'a str, LeafError> {
        let offset = self.at;
        let length = self.rest().find(delimiter).ok_or(LeafError::Shape { missing, offset })?;
        self.at += length;
        Ok(&self.text[offset..self.at])
    }

    fn payload(&mut self) -> Result<Range<usize>, LeafError> {
        let rest = self.rest();
        let length =
            canonical::check_prefix(rest, MAX_PAYLOAD_DEPTH).map_err(LeafError::Payload)?;
        if !rest.starts_with('{') {
            return Err(LeafError::PayloadNotAnObject);
        }
        let start = self.at;
        self.at += length;
        Ok(start..self.at)
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }
}

fn parse_id(text: &str) -> Result<u64, LeafError> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    match text.parse() {
        Ok(id @ 1..=MAX_SAFE_INTEGER) if plain => Ok(id),
        _ => Err(LeafError::Id),
    }
}

fn parse_previous(text: &str) -> Result<Option<Hash>, LeafError> {
    if text == "null" {
        return Ok(None);
    }
    let hash = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    hash.and_then(|text| text.parse().ok()).map(Some).ok_or(LeafError::PreviousHash)
}

fn event_type_is_valid(text: &str) -> Result<(), NotAnEventType> {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let name = |text: &str, most: usize, more: &[u8]| {
        (1..=most).contains(&text.len())
            && text.bytes().next().is_some_and(alphanumeric)
            && text.bytes().all(|byte| alphanumeric(byte) || more.contains(&byte))
    };
    let valid = match text.split_once(':') {
        None => text.starts_with(|first: char| first.is_ascii_lowercase()) && name(text, 64, b"_"),
        Some((namespace, local)) => {
            namespace.strip_prefix("x-").is_some_and(|namespace| name(namespace, 32, b"-"))
                && name(local, 64, b"._-")
        }
    };
    if valid { Ok(()) } else { Err(NotAnEventType) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const FIRST: &str = r#"{"event_type":"x-acme:deployed","id":1,"payload":{"a":[1,"ü"]},"previous_hash":null,"timestamp":"2026-01-15T10:30:00.000Z"}"#;

    fn second() -> String {
        let hash = Hash::of(FIRST.as_bytes());
        FIRST
            .replace("\"id\":1", "\"id\":2")
            .replace("\"previous_hash\":null", &format!("\"previous_hash\":\"{hash}\""))
    }

    fn parse(text: &str) -> Result<Leaf, LeafError> {
        Leaf::parse(text.as_bytes())
    }

    #[test]
    fn a_leaf_shows_its_parts_and_hashes_its_bytes() {
        let leaf = parse(&second()).unwrap();

        assert_eq!(leaf.id(), 2);
        assert_eq!(leaf.event_type(), "x-acme:deployed");
        assert_eq!(leaf.payload(), r#"{"a":[1,"ü"]}"#.as_bytes());
        assert_eq!(leaf.previous_hash(), Some(parse(FIRST).unwrap().entry_hash()));
        assert_eq!(leaf.timestamp().to_string(), "2026-01-15T10:30:00.000Z");
        assert_eq!(leaf.entry_hash(), Hash::of(second().as_bytes()));
        assert_eq!(leaf.leaf_hash(), Hash::of_leaf(second().as_bytes()));
        assert_eq!(leaf.bytes(), second().as_bytes());
    }

    #[test]
    fn what_is_built_from_the_parts_of_a_leaf_is_that_leaf() {
        for text in [FIRST.to_owned(), second()] {
            let leaf = parse(&text).unwrap();
            let event_type: EventType = leaf.event_type().parse().unwrap();

            let again = Leaf::build(
                leaf.id(),
                leaf.previous_hash(),
                leaf.timestamp(),
                &event_type,
                leaf.payload(),
            );

            assert_eq!(again, Ok(leaf));
        }
    }

    #[test]
    fn the_json_view_is_the_five_members_and_the_entry_hash() {
        let leaf = parse(&second()).unwrap();

        let view: serde_json::Value = serde_json::from_str(&leaf.to_json()).unwrap();

        let expected = json!({
            "entry_hash": leaf.entry_hash(),
            "event_type": "x-acme:deployed",
            "id": 2,
            "payload": {"a": [1, "ü"]},
            "previous_hash": leaf.previous_hash(),
            "timestamp": "2026-01-15T10:30:00.000Z",
        });
        assert_eq!(view, expected);
    }

    #[test]
    fn a_leaf_is_the_canonical_form_of_its_view() {
        let leaf = parse(&second()).unwrap();
        assert_eq!(canonical::check(leaf.bytes(), MAX_PAYLOAD_DEPTH + 1), Ok(()));
    }

    #[test]
    fn each_broken_rule_has_its_name() {
        let not_canonical = |offset| LeafError::Payload(JsonError::NotCanonical { offset });
        let change = |from: &str, to: &str| {
            assert!(FIRST.contains(from), "{from}");
            parse(&FIRST.replacen(from, to, 1)).unwrap_err()
        };

        assert_eq!(change("x-acme:deployed", "X"), LeafError::EventType(NotAnEventType));
        assert_eq!(change("x-acme:deployed", "a\\n"), LeafError::EventType(NotAnEventType));
        for id in ["0", "-1", "01", "1.0", "1e0", "9007199254740992", "\"1\"", "null", "", "+1"] {
            assert_eq!(change("\"id\":1", &format!("\"id\":{id}")), LeafError::Id, "{id}");
        }
        assert_eq!(change("\"id\":1", "\"id\":2"), LeafError::PreviousHashOfFirst);
        assert_eq!(change("{\"a\":[1,\"ü\"]}", "[]"), LeafError::PayloadNotAnObject);
        assert_eq!(change("{\"a\"", "{ \"a\""), not_canonical(1));
        assert_eq!(change("[1,", "[1.0,"), not_canonical(6));
        assert_eq!(change("ü", "\\u0000"), LeafError::Payload(JsonError::NulCharacter));
        assert_eq!(change("null", "nul"), LeafError::PreviousHash);
        assert_eq!(change("null", "\"sha256:00\""), LeafError::PreviousHash);
        let hash = format!("\"{}\"", Hash::EMPTY_TREE);
        assert_eq!(change("null", &hash), LeafError::PreviousHashOfFirst);
        assert_eq!(change(".000Z", "Z"), LeafError::Timestamp);
        assert_eq!(change("01-15", "02-30"), LeafError::Timestamp);
        assert_eq!(Leaf::parse(&b"\xff"[..]), Err(LeafError::NotUtf8));
        for (from, to) in [
            ("{\"event", " {\"event"),
            ("event_type", "eventtype"),
            (",\"id\"", ",\"extra\":1,\"id\""),
            ("000Z\"}", "000Z\"} "),
            ("000Z\"}", "000Z\",\"x\":1}"),
            ("000Z\"}", "000Z\""),
            (",\"payload\":{\"a\":[1,\"ü\"]}", ""),
        ] {
            assert!(matches!(change(from, to), LeafError::Shape { .. }), "{from} {to}");
        }
        for length in 0..FIRST.len() {
            assert!(Leaf::parse(&FIRST.as_bytes()[..length]).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn size_and_depth_end_exactly_at_their_limits() {
        let nested = |depth: usize| {
            let inner = "[".repeat(depth - 1) + &"]".repeat(depth - 1);
            FIRST.replace("[1,\"ü\"]", &inner)
        };
        assert!(parse(&nested(MAX_PAYLOAD_DEPTH)).is_ok());
        assert_eq!(
            parse(&nested(MAX_PAYLOAD_DEPTH + 1)),
            Err(LeafError::Payload(JsonError::TooDeep))
        );

        let room = MAX_LEAF_BYTES - FIRST.len();
        let filled = |more: usize| FIRST.replace("ü", &format!("ü{}", "x".repeat(more)));
        assert!(parse(&filled(room)).is_ok());
        let length = MAX_LEAF_BYTES + 1;
        assert_eq!(parse(&filled(room + 1)), Err(LeafError::TooLarge { length }));
    }

    #[test]
    fn the_last_id_is_the_last_safe_integer() {
        let last = second().replace("\"id\":2", "\"id\":9007199254740991");
        assert_eq!(parse(&last).map(|leaf| leaf.id()), Ok(MAX_SAFE_INTEGER));
    }

    #[test]
    fn event_types_are_lifecycle_names_or_namespaced_or_of_a_newer_version() {
        for name in ["log_genesis", "witness_proof", "anchor", "quantum_key_registration"] {
            let event_type: EventType = name.parse().unwrap();
            assert!(!event_type.is_namespaced(), "{name}");
        }
        let longest = format!("x-{}:{}", "a".repeat(32), "b".repeat(64));
        for name in ["x-diogenes:witness", "x-0:0", "x-a-b-:c.d_e-", &longest] {
            let event_type: EventType = name.parse().unwrap();
            assert!(event_type.is_namespaced(), "{name}");
        }
        for name in [
            "",
            "x-",
            "x-:a",
            "x-a:",
            "x-a",
            "x--:a",
            "x-a:.b",
            "x-A:b",
            "y-a:b",
            "a:b",
            "x-a:b:c",
            "_a",
            "0a",
            "A",
            "a-b",
            "a b",
            "ä",
            "x-a:ä",
            &longest.replace("x-a", "x-aa"),
            &format!("{longest}b"),
            &"a".repeat(65),
        ] {
            assert_eq!(name.parse::<EventType>(), Err(NotAnEventType), "{name}");
        }
        let split = "x-acme:deployed".parse::<EventType>().unwrap();
        assert_eq!(split.namespace(), Some("x-acme"));
    }
}
