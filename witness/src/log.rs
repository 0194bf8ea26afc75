//! Which log is watched: its name and keys, and of a log of this kind the genesis entry, which names
//! everything that is pinned for ever.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use diogenes_common::event::{Event, Genesis, Payload as _};
use diogenes_common::evidence::Accused;
use diogenes_common::head::Origin;
use diogenes_common::keys::{Fingerprint, PublicKey};
use diogenes_common::leaf::Leaf;
use diogenes_common::merkle::Hash;
use diogenes_common::note::{KeyKind, Vkey, VkeyError};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest name of a log, in bytes.
pub const MAX_NAME_BYTES: usize = 255;

/// The name of any log, as the first line of its checkpoints has it: one line of 1 to 255 bytes.
///
/// Wider than [`Origin`], which is what logs of this kind may be called: others have spaces.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct LogName(String);

/// Why a text cannot be the name of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name of a log has 1 to 255 bytes and no control character")]
pub struct NotALogName;

impl LogName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its SHA-256, under which others ask for the log.
    pub fn hash(&self) -> Hash {
        Hash::of(self.0.as_bytes())
    }
}

impl FromStr for LogName {
    type Err = NotALogName;

    fn from_str(text: &str) -> Result<Self, NotALogName> {
        let fits =
            (1..=MAX_NAME_BYTES).contains(&text.len()) && !text.chars().any(char::is_control);
        if fits { Ok(Self(text.to_owned())) } else { Err(NotALogName) }
    }
}

impl From<&Origin> for LogName {
    fn from(origin: &Origin) -> Self {
        Self(origin.as_str().to_owned())
    }
}

impl Borrow<str> for LogName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LogName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for LogName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A key under which a log of a list signs its checkpoints: plain Ed25519, with the name that its
/// signature lines have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogKey(Vkey);

/// Why a text is not the key of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogKeyError {
    /// It is no vkey of a kind that is known here.
    #[error(transparent)]
    Vkey(#[from] VkeyError),
    /// It is the key of a witness.
    #[error("the key is a witness's (type 0x04), not a log's (type 0x01)")]
    NotALogs,
}

impl LogKey {
    /// The key of a log of this kind, which bears the log's own name.
    pub fn of_operator(origin: &Origin, key: &PublicKey) -> Option<Self> {
        let name = origin.as_str().parse().ok()?;
        Some(Self(Vkey::new(name, KeyKind::Ed25519, key.clone())))
    }

    /// The key as notes name it.
    pub fn vkey(&self) -> &Vkey {
        &self.0
    }
}

impl FromStr for LogKey {
    type Err = LogKeyError;

    fn from_str(text: &str) -> Result<Self, LogKeyError> {
        let vkey: Vkey = text.trim().parse()?;
        match vkey.kind() {
            KeyKind::Ed25519 => Ok(Self(vkey)),
            KeyKind::Cosignature => Err(LogKeyError::NotALogs),
        }
    }
}

impl fmt::Display for LogKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for LogKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for LogKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The identity of a log, as its entry 1 gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogIdentity {
    genesis: Leaf,
    origin: Origin,
    operator: PublicKey,
}

/// The bytes are not the first entry of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("entry 1 is not the genesis of a log")]
pub struct NotAGenesis;

impl LogIdentity {
    /// Reads the identity from the leaf of entry 1.
    pub fn of_genesis(leaf: &[u8]) -> Result<Self, NotAGenesis> {
        let genesis = Leaf::parse(leaf).map_err(|_| NotAGenesis)?;
        if genesis.id() != 1 || genesis.event_type() != Genesis::EVENT_TYPE {
            return Err(NotAGenesis);
        }
        let Ok(Event::Genesis(named)) = Event::parse(genesis.event_type(), genesis.payload())
        else {
            return Err(NotAGenesis);
        };
        Ok(Self { genesis, origin: named.origin, operator: named.operator_public_key })
    }

    /// The log's id: the entry hash of its genesis.
    pub fn log_id(&self) -> Hash {
        self.genesis.entry_hash()
    }

    /// The log's name.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The key that signs the log's heads for ever.
    pub fn operator(&self) -> &PublicKey {
        &self.operator
    }

    /// That key's fingerprint, which people pin.
    pub fn operator_fingerprint(&self) -> Fingerprint {
        self.operator.fingerprint()
    }

    /// Entry 1.
    pub fn genesis(&self) -> &Leaf {
        &self.genesis
    }

    /// The log's key as evidence names it.
    pub fn accused(&self) -> Accused {
        Accused::log(&self.operator, &self.genesis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::History;

    #[test]
    fn a_genesis_names_origin_and_key_and_nothing_else_does() {
        let history = History::honest();

        let log = LogIdentity::of_genesis(history.leaf_bytes(0)).expect("a genesis");

        assert_eq!(log.origin(), &history.origin());
        assert_eq!(log.operator(), history.operator().public());
        assert_eq!(log.log_id(), Hash::of(history.leaf_bytes(0)));
        assert_eq!(LogIdentity::of_genesis(history.leaf_bytes(1)), Err(NotAGenesis));
        assert_eq!(LogIdentity::of_genesis(b"{}"), Err(NotAGenesis));
    }

    #[test]
    fn the_name_of_a_foreign_log_may_have_spaces_and_is_one_short_line() {
        assert_eq!(History::honest().name().as_str(), History::honest().origin().as_str());
        for good in ["go.sum database tree", "rekor.sigstore.dev - 3904496407287907110", "ü"] {
            assert_eq!(good.parse::<LogName>().map(|name| name.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", "a\nb", "a\tb", "a\u{85}b", &"x".repeat(256)] {
            assert_eq!(bad.parse::<LogName>(), Err(NotALogName), "{bad:?}");
        }
    }

    #[test]
    fn the_key_of_a_witness_is_not_the_key_of_a_log() {
        let history = History::honest();
        let name = || "w.example".parse().unwrap();
        let vkey = |kind| Vkey::new(name(), kind, history.operator().public().clone()).to_string();

        assert!(vkey(KeyKind::Ed25519).parse::<LogKey>().is_ok());
        assert_eq!(vkey(KeyKind::Cosignature).parse::<LogKey>(), Err(LogKeyError::NotALogs));
    }
}
