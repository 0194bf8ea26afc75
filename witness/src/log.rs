//! Which log is watched: the genesis entry, which names everything that is pinned for ever.

use diogenes_common::event::{Event, Genesis, Payload as _};
use diogenes_common::evidence::Accused;
use diogenes_common::head::Origin;
use diogenes_common::keys::{Fingerprint, PublicKey};
use diogenes_common::leaf::Leaf;
use diogenes_common::merkle::Hash;

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
}
