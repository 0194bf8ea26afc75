//! The state of whoever checks a log entry by entry.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::event::{
    CarriedFault, CheckedPayload, Event, EventError, Genesis, RoleKey, RoleKeys, SignerKnown,
    Signers,
};
use crate::head::Origin;
use crate::keys::{Fingerprint, PublicKey};
use crate::leaf::{Leaf, LeafError};
use crate::merkle::{Edge, Hash, TileId, TileNodes, TreeRoot, TreeSize};

/// What the configuration pins: the key whose log this must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trust {
    /// The fingerprint of the operator's key.
    pub operator: Fingerprint,
}

/// What entry 1 pins for ever.
#[derive(Clone, Debug)]
pub struct Log {
    genesis: Leaf,
    origin: Origin,
    operator: PublicKey,
}

impl Log {
    /// The log's id: the hash of entry 1.
    pub fn id(&self) -> Hash {
        self.genesis.entry_hash()
    }

    /// The log's name.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The key that signs the log's heads.
    pub fn operator(&self) -> &PublicKey {
        &self.operator
    }

    /// Entry 1.
    pub fn genesis(&self) -> &Leaf {
        &self.genesis
    }

    fn new(leaf: &Leaf, genesis: &Genesis) -> Self {
        Self {
            genesis: leaf.clone(),
            origin: genesis.origin.clone(),
            operator: genesis.operator_public_key.clone(),
        }
    }
}

/// Everything that the next entry is checked against: the tree's edge, the last entry's hash and
/// time, what entry 1 pinned and the keys that have a role.
///
/// A clone is a snapshot and costs a few reference counts.
#[derive(Clone, Debug)]
pub struct Chain {
    trust: Trust,
    edge: Edge,
    last: Option<Last>,
    log: Option<Arc<Log>>,
    roles: Arc<RoleKeys>,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    entry_hash: Hash,
    timestamp: Timestamp,
}

/// What a node stored of a chain, from which it goes on.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Entry 1.
    pub genesis: Leaf,
    /// The newest entry.
    pub last: Leaf,
    /// The right edge of the tree over all entries.
    pub edge: Edge,
    /// The keys that have a role after the newest entry.
    pub roles: RoleKeys,
}

/// Why a stored chain cannot be gone on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResumeError {
    /// The first stored entry is no genesis.
    #[error("the first stored entry is not the genesis of a log")]
    NotAGenesis,
    /// The stored log is another operator's.
    #[error("the stored log is not that of the configured operator key")]
    OtherOperator,
    /// The newest entry is not the one that the edge ends with.
    #[error("the newest stored entry and the stored tree have different sizes")]
    OtherSize,
}

/// An entry that kept every rule.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What was hashed.
    pub leaf: Leaf,
    /// What it says.
    pub event: Event,
    /// Whether the log knows the key that signed what the entry carries.
    pub signer: SignerKnown,
}

/// An entry that breaks a rule of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("entry {id}: {rule}")]
pub struct EntryFault {
    /// The id that the entry must have at its place.
    pub id: u64,
    /// The rule that it breaks.
    pub rule: BrokenRule,
}

/// A rule that an entry breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokenRule {
    /// The bytes are no leaf.
    #[error("not a leaf: {0}")]
    Leaf(#[source] LeafError),
    /// The id is not the next one.
    #[error("its id is not the one of its place")]
    WrongId,
    /// `previous_hash` is not the hash of the entry before.
    #[error("its previous_hash is not the hash of the entry before it")]
    WrongPrevious,
    /// The time is below that of the entry before.
    #[error("its time is before that of the entry before it")]
    TimeRunsBack,
    /// Entry 1 is something else.
    #[error("the first entry must be the genesis")]
    FirstNotGenesis,
    /// A genesis that is not entry 1.
    #[error("only the first entry may be a genesis")]
    SecondGenesis,
    /// The genesis names another key than the configuration.
    #[error("the log is not that of the configured operator key")]
    OtherOperator,
    /// The payload is not one of its event type.
    #[error("{0}")]
    Event(#[source] EventError),
    /// What the entry carries does not hold.
    #[error("{0}")]
    Carried(#[source] CarriedFault),
}

impl BrokenRule {
    /// Whether an entry that breaks this rule under a signed head proves that the log is bad.
    ///
    /// The others may also come from a newer version of the leader, and prove nothing.
    pub const fn proves_bad_entry(self) -> bool {
        match self {
            Self::Leaf(_)
            | Self::WrongId
            | Self::WrongPrevious
            | Self::TimeRunsBack
            | Self::SecondGenesis
            | Self::Carried(CarriedFault::BadSignature) => true,
            Self::FirstNotGenesis
            | Self::OtherOperator
            | Self::Event(_)
            | Self::Carried(
                CarriedFault::OtherOrigin
                | CarriedFault::OtherKey
                | CarriedFault::OtherRequest
                | CarriedFault::OtherCommitment
                | CarriedFault::Statement(_)
                | CarriedFault::Head(_),
            ) => false,
        }
    }
}

impl Chain {
    /// The chain of a log of which nothing is known but its operator.
    pub fn new(trust: Trust) -> Self {
        Self { trust, edge: Edge::empty(), last: None, log: None, roles: Arc::default() }
    }

    /// Goes on with a stored chain. The edge is believed: compare [`Chain::tree`] with a head.
    pub fn resume(trust: Trust, stored: Stored) -> Result<Self, ResumeError> {
        let Stored { genesis, last, edge, roles } = stored;
        let Ok(Event::Genesis(event)) = Event::parse(genesis.event_type(), genesis.payload())
        else {
            return Err(ResumeError::NotAGenesis);
        };
        if genesis.id() != 1 {
            return Err(ResumeError::NotAGenesis);
        }
        if event.operator_fingerprint != trust.operator {
            return Err(ResumeError::OtherOperator);
        }
        if last.id() != edge.size().get() {
            return Err(ResumeError::OtherSize);
        }
        Ok(Self {
            trust,
            edge,
            last: Some(Last { entry_hash: last.entry_hash(), timestamp: last.timestamp() }),
            log: Some(Arc::new(Log::new(&genesis, &event))),
            roles: Arc::new(roles),
        })
    }

    /// Checks the next entry by every rule and appends it; tiles that it completes are added to
    /// `completed`. An entry that breaks a rule changes nothing.
    pub fn extend(
        &mut self,
        leaf: impl Into<Arc<[u8]>>,
        completed: &mut Vec<(TileId, Arc<TileNodes>)>,
    ) -> Result<Entry, EntryFault> {
        let id = self.size().get() + 1;
        let leaf =
            Leaf::parse(leaf).map_err(|error| EntryFault { id, rule: BrokenRule::Leaf(error) })?;
        self.append(leaf, completed)
    }

    /// [`Chain::extend`] by a leaf that was parsed already, or built, which parses it.
    pub fn append(
        &mut self,
        leaf: Leaf,
        completed: &mut Vec<(TileId, Arc<TileNodes>)>,
    ) -> Result<Entry, EntryFault> {
        self.append_judged(leaf, None, completed)
    }

    /// [`Chain::append`] of a leaf around a payload that was checked before: its place is checked
    /// here, and all of it if the leaf holds anything else or the payload is of another log.
    pub fn append_checked(
        &mut self,
        leaf: Leaf,
        checked: CheckedPayload,
        completed: &mut Vec<(TileId, Arc<TileNodes>)>,
    ) -> Result<Entry, EntryFault> {
        self.append_judged(leaf, Some(checked), completed)
    }

    fn append_judged(
        &mut self,
        leaf: Leaf,
        checked: Option<CheckedPayload>,
        completed: &mut Vec<(TileId, Arc<TileNodes>)>,
    ) -> Result<Entry, EntryFault> {
        let id = self.size().get() + 1;
        let entry = self.check(id, leaf, checked).map_err(|rule| EntryFault { id, rule })?;
        self.note(&entry);
        self.edge.push(entry.leaf.leaf_hash(), completed);
        Ok(entry)
    }

    /// The number of entries.
    pub fn size(&self) -> TreeSize {
        self.edge.size()
    }

    /// The size and root of the tree; hashes O(log n) nodes.
    pub fn tree(&self) -> TreeRoot {
        self.edge.root()
    }

    /// The hash of the newest entry.
    pub fn chain_head(&self) -> Option<Hash> {
        self.last.map(|last| last.entry_hash)
    }

    /// The time of the newest entry.
    pub fn last_timestamp(&self) -> Option<Timestamp> {
        self.last.map(|last| last.timestamp)
    }

    /// What entry 1 pinned; `None` before it.
    pub fn log(&self) -> Option<&Log> {
        self.log.as_deref()
    }

    /// What the configuration pinned.
    pub fn trust(&self) -> Trust {
        self.trust
    }

    /// The keys that have a role now.
    pub fn roles(&self) -> &RoleKeys {
        &self.roles
    }

    /// The right edge of the tree.
    pub fn edge(&self) -> &Edge {
        &self.edge
    }

    fn check(
        &self,
        id: u64,
        leaf: Leaf,
        checked: Option<CheckedPayload>,
    ) -> Result<Entry, BrokenRule> {
        if leaf.id() != id {
            return Err(BrokenRule::WrongId);
        }
        if leaf.previous_hash() != self.chain_head() {
            return Err(BrokenRule::WrongPrevious);
        }
        if self.last.is_some_and(|last| leaf.timestamp() < last.timestamp) {
            return Err(BrokenRule::TimeRunsBack);
        }
        let vouched = self
            .log
            .as_deref()
            .zip(checked)
            .and_then(|(log, checked)| checked.vouch_for(&leaf, &log.origin));
        if let Some(event) = vouched {
            return Ok(Entry { leaf, event, signer: SignerKnown::Yes });
        }
        let event = Event::parse(leaf.event_type(), leaf.payload()).map_err(BrokenRule::Event)?;
        let signer = self.check_event(&event)?;
        Ok(Entry { leaf, event, signer })
    }

    fn check_event(&self, event: &Event) -> Result<SignerKnown, BrokenRule> {
        match (&self.log, event) {
            (None, Event::Genesis(genesis)) => {
                if genesis.operator_fingerprint == self.trust.operator {
                    Ok(SignerKnown::Yes)
                } else {
                    Err(BrokenRule::OtherOperator)
                }
            }
            (None, _) => Err(BrokenRule::FirstNotGenesis),
            (Some(_), Event::Genesis(_)) => Err(BrokenRule::SecondGenesis),
            (Some(log), event) => {
                let signers =
                    Signers { origin: &log.origin, operator: &log.operator, roles: &self.roles };
                event.check_signatures(&signers).map_err(BrokenRule::Carried)
            }
        }
    }

    /// Takes over what the following entries are checked against.
    fn note(&mut self, entry: &Entry) {
        let Entry { leaf, event, .. } = entry;
        match event {
            Event::Genesis(genesis) => self.log = Some(Arc::new(Log::new(leaf, genesis))),
            Event::OperatorEndorsement(event) if event.category.gives_role() => {
                // Parsing made sure that keys with a role are Ed25519 keys.
                if let Some(key) = event.public_key.ed25519() {
                    let role = RoleKey { key: key.clone(), entry_id: leaf.id() };
                    Arc::make_mut(&mut self.roles).insert(event.fingerprint, role);
                }
            }
            Event::OperatorEndorsementRevocation(event) => {
                let ended = self.roles.get(&event.fingerprint).map(|role| role.entry_id);
                if ended == Some(event.endorsement_id) {
                    Arc::make_mut(&mut self.roles).remove(&event.fingerprint);
                }
            }
            _ => {}
        }
        self.last = Some(Last { entry_hash: leaf.entry_hash(), timestamp: leaf.timestamp() });
    }

    /// Appends bytes to the tree alone, to learn the root that a batch with a bad entry has.
    pub(super) fn push_unchecked(
        &mut self,
        leaf: &[u8],
        completed: &mut Vec<(TileId, Arc<TileNodes>)>,
    ) {
        self.edge.push(Hash::of_leaf(leaf), completed);
    }
}
