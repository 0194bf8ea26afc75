//! The JSON and the binary form of a batch.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::canonical;
use crate::head::HeadJson;
use crate::merkle::{Hash, MAX_PROOF_LEN};

/// The longest body, decompressed.
pub const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;

/// How many entries a batch has at most.
pub const MAX_ENTRIES: usize = 10_000;

/// How many bytes of [`MAX_BODY_BYTES`] entries may take up, as [`Encoding::entry_len`] counts
/// them; the rest is for the header.
pub const ENTRY_BUDGET: usize = MAX_BODY_BYTES - 256 * 1024;

/// Everything of a batch but its entries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchHeader {
    /// The id after which the batch begins.
    pub after: u64,
    /// The proof from size `next_after` to the head's; empty if they are equal or the former is 0.
    #[serde(with = "base64_hashes")]
    pub consistency_proof: Vec<Hash>,
    /// Whether there are more entries than the batch holds.
    pub has_more: bool,
    /// The id of the batch's last entry, or `after` if it has none.
    pub next_after: u64,
    /// The head that covers the batch.
    pub tree_head: HeadJson,
}

/// A batch as it arrived: nothing in it is checked but its shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Everything but the entries.
    pub header: BatchHeader,
    /// The entries' leaves, in order.
    pub leaves: Vec<Vec<u8>>,
}

/// How a batch is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// One JSON object.
    Json,
    /// The header and the leaves, each after its length in four bytes.
    Binary,
}

impl Encoding {
    /// The media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Binary => "application/vnd.diogenes.batch",
        }
    }

    /// The encoding that a `Content-Type` names; parameters are ignored.
    pub fn from_media_type(value: &str) -> Option<Self> {
        let name = value.split(';').next().unwrap_or_default().trim();
        [Self::Json, Self::Binary].into_iter().find(|e| name.eq_ignore_ascii_case(e.media_type()))
    }

    /// How many bytes a leaf of this length takes up.
    pub const fn entry_len(self, leaf: usize) -> usize {
        match self {
            Self::Json => leaf + ENTRY_HASH_LEN,
            Self::Binary => leaf + 4,
        }
    }
}

/// Why bytes are no batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// More than [`MAX_BODY_BYTES`].
    #[error("the batch is longer than 8 MiB")]
    TooLong,
    /// More than [`MAX_ENTRIES`].
    #[error("the batch has more than 10,000 entries")]
    TooManyEntries,
    /// A length points beyond the end.
    #[error("the batch ends in the middle")]
    Truncated,
    /// The JSON is none, or not that of a batch.
    #[error("the batch is not the JSON of a batch")]
    Json,
    /// An entry of the JSON form has other bytes than its `entry_hash` says.
    #[error("an entry of the batch does not have the entry_hash that it shows")]
    EntryHash,
}

/// Writes a batch. The caller keeps entries within [`ENTRY_BUDGET`] and [`MAX_ENTRIES`].
///
/// # Panics
/// Never: a header is texts, integers and hashes.
pub fn encode<L: AsRef<[u8]>>(
    header: &BatchHeader,
    leaves: impl IntoIterator<Item = L>,
    encoding: Encoding,
) -> Vec<u8> {
    let head = serde_json::to_vec(header).expect("a batch header is a JSON object");
    match encoding {
        Encoding::Json => encode_json(&head, leaves),
        Encoding::Binary => encode_binary(&head, leaves),
    }
}

/// Reads a batch.
pub fn decode(bytes: &[u8], encoding: Encoding) -> Result<Batch, DecodeError> {
    if bytes.len() > MAX_BODY_BYTES {
        return Err(DecodeError::TooLong);
    }
    match encoding {
        Encoding::Json => decode_json(bytes),
        Encoding::Binary => decode_binary(bytes),
    }
}

/// What stands before the hash in an entry's JSON view, whose members are sorted.
const ENTRY_HASH: &[u8] = b"{\"entry_hash\":\"";
/// The length of a hash's text.
const HASH_LEN: usize = 71;
/// How much longer the JSON view is than the leaf, the comma after it included.
const ENTRY_HASH_LEN: usize = ENTRY_HASH.len() + HASH_LEN + 2;

fn encode_json<L: AsRef<[u8]>>(header: &[u8], leaves: impl IntoIterator<Item = L>) -> Vec<u8> {
    let mut out = b"{\"entries\":[".to_vec();
    for (place, leaf) in leaves.into_iter().enumerate() {
        let leaf = leaf.as_ref();
        if place > 0 {
            out.push(b',');
        }
        out.extend_from_slice(ENTRY_HASH);
        out.extend_from_slice(Hash::of(leaf).to_string().as_bytes());
        out.extend_from_slice(b"\",");
        out.extend_from_slice(leaf.strip_prefix(b"{").unwrap_or(leaf));
    }
    out.extend_from_slice(b"],");
    out.extend_from_slice(header.strip_prefix(b"{").unwrap_or(header));
    out
}

fn encode_binary<L: AsRef<[u8]>>(header: &[u8], leaves: impl IntoIterator<Item = L>) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, header);
    for leaf in leaves {
        put(&mut out, leaf.as_ref());
    }
    out
}

fn put(out: &mut Vec<u8>, part: &[u8]) {
    let length = u32::try_from(part.len()).expect("headers and leaves are far below 4 GiB");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(part);
}

fn decode_binary(bytes: &[u8]) -> Result<Batch, DecodeError> {
    let (header, mut rest) = take(bytes)?;
    let header = serde_json::from_slice(header).map_err(|_| DecodeError::Json)?;
    let mut leaves = Vec::new();
    while !rest.is_empty() {
        if leaves.len() == MAX_ENTRIES {
            return Err(DecodeError::TooManyEntries);
        }
        let (leaf, after) = take(rest)?;
        leaves.push(leaf.to_vec());
        rest = after;
    }
    Ok(Batch { header, leaves })
}

fn take(bytes: &[u8]) -> Result<(&[u8], &[u8]), DecodeError> {
    let (length, rest) = bytes.split_first_chunk().ok_or(DecodeError::Truncated)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    rest.split_at_checked(length).ok_or(DecodeError::Truncated)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonBatch<'a> {
    after: u64,
    #[serde(with = "base64_hashes")]
    consistency_proof: Vec<Hash>,
    #[serde(borrow, deserialize_with = "entries")]
    entries: Vec<&'a RawValue>,
    has_more: bool,
    next_after: u64,
    tree_head: HeadJson,
}

fn decode_json(bytes: &[u8]) -> Result<Batch, DecodeError> {
    let batch: JsonBatch<'_> = serde_json::from_slice(bytes).map_err(|_| DecodeError::Json)?;
    if batch.entries.len() > MAX_ENTRIES {
        return Err(DecodeError::TooManyEntries);
    }
    let leaves =
        batch.entries.iter().map(|entry| recover_leaf(entry.get())).collect::<Result<_, _>>()?;
    let header = BatchHeader {
        after: batch.after,
        consistency_proof: batch.consistency_proof,
        has_more: batch.has_more,
        next_after: batch.next_after,
        tree_head: batch.tree_head,
    };
    Ok(Batch { header, leaves })
}

/// Takes the leaf out of an entry's JSON view, so that it has the hash that the view shows.
pub fn recover_leaf(view: &str) -> Result<Vec<u8>, DecodeError> {
    // Leaders write the leaf's own bytes after the hash.
    if let Some((shown, rest)) = split_view(view.as_bytes()) {
        let leaf = [b"{", rest].concat();
        if Hash::of(&leaf) == shown {
            return Ok(leaf);
        }
    }
    // Anybody between may have written the same JSON in another way.
    let mut value =
        canonical::parse(view.as_bytes(), canonical::MAX_DEPTH).map_err(|_| DecodeError::Json)?;
    let members = value.as_object_mut().ok_or(DecodeError::Json)?;
    let shown = members.remove("entry_hash");
    members.remove("ots_proof");
    let leaf = canonical::to_vec(&value);
    let shown: Option<Hash> = shown.as_ref().and_then(|s| s.as_str()).and_then(|s| s.parse().ok());
    if shown == Some(Hash::of(&leaf)) { Ok(leaf) } else { Err(DecodeError::EntryHash) }
}

fn split_view(view: &[u8]) -> Option<(Hash, &[u8])> {
    let (hash, rest) = view.strip_prefix(ENTRY_HASH)?.split_at_checked(HASH_LEN)?;
    let hash = std::str::from_utf8(hash).ok()?.parse().ok()?;
    Some((hash, rest.strip_prefix(b"\",")?))
}

/// Reads at most one entry more than is allowed, however many there are.
fn entries<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<&'a RawValue>, D::Error> {
    deserializer.deserialize_seq(Bounded::<&'a RawValue>::new(MAX_ENTRIES + 1))
}

struct Bounded<T> {
    most: usize,
    items: PhantomData<T>,
}

impl<T> Bounded<T> {
    const fn new(most: usize) -> Self {
        Self { most, items: PhantomData }
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Bounded<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an array of at most {} items", self.most)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Vec<T>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element()? {
            if items.len() == self.most {
                return Err(serde::de::Error::invalid_length(self.most + 1, &self));
            }
            items.push(item);
        }
        Ok(items)
    }
}

/// A proof in JSON: an array of at most [`MAX_PROOF_LEN`] hashes in base64.
pub(crate) mod base64_hashes {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::{Bounded, Hash, MAX_PROOF_LEN};

    struct Base64Hash(Hash);

    impl<'de> Deserialize<'de> for Base64Hash {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
            Hash::from_base64(&text)
                .map(Self)
                .ok_or_else(|| serde::de::Error::custom("a proof's hash is base64 of 32 bytes"))
        }
    }

    pub(crate) fn serialize<S: Serializer>(hashes: &[Hash], out: S) -> Result<S::Ok, S::Error> {
        out.collect_seq(hashes.iter().map(Hash::to_base64))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<Hash>, D::Error> {
        let hashes = input.deserialize_seq(Bounded::<Base64Hash>::new(MAX_PROOF_LEN))?;
        Ok(hashes.into_iter().map(|hash| hash.0).collect())
    }
}
