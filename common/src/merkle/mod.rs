//! The RFC 6962 Merkle tree: hashes, sizes, the appending frontier, tiles and proofs.
//!
//! Everything here is pure. Leaf hashes are `SHA-256(0x00 || leaf)`, nodes are
//! `SHA-256(0x01 || left || right)`, an odd node is promoted and the empty tree hashes to
//! `SHA-256("")` (RFC 6962 section 2.1).

mod proof;
mod tile;
mod tile_path;
mod tile_reader;
mod tree;

pub use proof::{
    MAX_PROOF_LEN, Nodes, ProofError, ProofPlan, Subtree, verify_consistency, verify_inclusion,
    verify_subtree_consistency, verify_subtree_inclusion,
};
pub use tile::{NodeId, TileId, TileNodes};
pub use tile_path::{BundlePath, TilePath, TilePathError};
pub use tile_reader::{AuthenticTiles, TilePlan, TileReadError};
pub use tree::{Edge, TreeRoot};

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// A SHA-256 digest: a root, a leaf hash, a node or an entry hash.
///
/// Its text form, `sha256:` and 64 lower-case hex digits, is what JSON holds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hash([u8; 32]);

/// Why a text is not a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a hash is `sha256:` followed by 64 lower-case hex digits")]
pub struct NotAHash;

impl Hash {
    /// The root of the empty tree, `SHA-256("")`.
    pub const EMPTY_TREE: Self = Self([
        0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9,
        0x24, 0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52,
        0xb8, 0x55,
    ]);

    /// Wraps the 32 bytes of a digest.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Hashes plain bytes, without a domain prefix.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Hashes a leaf: `SHA-256(0x00 || leaf)`.
    pub fn of_leaf(leaf: &[u8]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update([0]);
        hasher.update(leaf);
        Self(hasher.finalize().into())
    }

    /// Hashes an inner node: `SHA-256(0x01 || left || right)`.
    pub fn of_node(left: &Self, right: &Self) -> Self {
        let mut input = [1; 65];
        input[1..33].copy_from_slice(&left.0);
        input[33..].copy_from_slice(&right.0);
        Self(Sha256::digest(input).into())
    }

    /// The digest itself.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Takes exactly 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The 64 hex digits without the prefix.
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }

    /// Standard padded base64, as proofs and checkpoints show hashes.
    pub fn to_base64(&self) -> String {
        BASE64.encode(self.0)
    }

    /// Reads what [`Hash::to_base64`] wrote.
    pub fn from_base64(text: &str) -> Option<Self> {
        if text.len() != 44 {
            return None;
        }
        Self::from_slice(&BASE64.decode(text).ok()?)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 64];
        hex::encode_to_slice(self.0, &mut text).map_err(|_| fmt::Error)?;
        f.write_str("sha256:")?;
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Hash {
    type Err = NotAHash;

    fn from_str(text: &str) -> Result<Self, NotAHash> {
        let digits = text.strip_prefix("sha256:").ok_or(NotAHash)?;
        if digits.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(NotAHash);
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| NotAHash)?;
        Ok(Self(bytes))
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// How many leaves a tree has; at most `i64::MAX`, so that SQL's signed integers hold it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TreeSize(u64);

impl TreeSize {
    /// The empty tree.
    pub const ZERO: Self = Self(0);
    /// The largest size that a signed 64-bit integer holds.
    pub const MAX: Self = Self(i64::MAX as u64);

    /// A size, if it is not beyond [`TreeSize::MAX`].
    pub const fn new(size: u64) -> Option<Self> {
        if size <= Self::MAX.0 { Some(Self(size)) } else { None }
    }

    /// The number of leaves.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number of leaves as SQL stores it.
    pub const fn to_sql(self) -> i64 {
        self.0.cast_signed()
    }

    /// Reads what [`TreeSize::to_sql`] wrote.
    pub fn from_sql(size: i64) -> Option<Self> {
        u64::try_from(size).ok().map(Self)
    }

    /// The size after `count` more leaves.
    ///
    /// # Panics
    /// When the tree would outgrow [`TreeSize::MAX`], which no log reaches.
    #[must_use]
    pub fn plus(self, count: u64) -> Self {
        self.0.checked_add(count).and_then(Self::new).expect("a log outgrows no 63-bit size")
    }
}

impl fmt::Display for TreeSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for TreeSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<'de> Deserialize<'de> for TreeSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let size = u64::deserialize(deserializer)?;
        Self::new(size).ok_or_else(|| serde::de::Error::custom("a tree size is below 2^63"))
    }
}
