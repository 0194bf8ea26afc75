//! A log for the tests of views, written by a leader that obeys no rule of state.

use super::{Effect, LoadedRows, Needs, Overlay, apply, needs};
use crate::batch::{BrokenRule, Chain, Trust};
use crate::clock::Timestamp;
use crate::event::text::Name;
use crate::event::{
    Genesis, KeyRegistration, OperatorEndorsement, OperatorEndorsementRevocation, Payload,
};
use crate::head::{Origin, TreeHead};
use crate::keys::{KeyAlgorithm, SigningKey};
use crate::leaf::Leaf;
use crate::merkle::{Hash, TreeSize};
use crate::statement::{
    Category, OperatorStatement, ProfileClaim, ProfileType, Verb, WitnessClaim,
};

pub(super) fn origin() -> Origin {
    "log.example/log-1".parse().expect("an origin")
}

/// A log and its views.
pub(super) struct Log {
    pub(super) operator: SigningKey,
    pub(super) chain: Chain,
    pub(super) overlay: Overlay,
    /// How many milliseconds have passed beside one for each entry.
    pub(super) passed: u64,
}

pub(super) fn key(n: u8) -> SigningKey {
    SigningKey::from_seed([n; 32])
}

pub(super) fn time(n: u64) -> Timestamp {
    Timestamp::from_millis(1_768_473_000_000 + n.cast_signed()).expect("a time")
}

impl Log {
    pub(super) fn new() -> Self {
        let operator = key(1);
        let chain = Chain::new(Trust { operator: operator.fingerprint() });
        let mut log = Self { operator, chain, overlay: Overlay::new(0), passed: 0 };
        let genesis = Genesis::new(log.operator.public(), origin());
        assert_eq!(log.write(&genesis), Effect::Applied);
        log
    }

    pub(super) fn write<P: Payload>(&mut self, payload: &P) -> Effect {
        self.write_raw(P::EVENT_TYPE, &payload.to_payload())
    }

    /// Why no node takes the entry, whatever the views say.
    pub(super) fn refusal<P: Payload>(&self, payload: &P) -> BrokenRule {
        let leaf = self.leaf(P::EVENT_TYPE, &payload.to_payload());
        self.chain.clone().append(leaf, &mut Vec::new()).expect_err("a refusal").rule
    }

    fn leaf(&self, event_type: &str, payload: &[u8]) -> Leaf {
        let id = self.chain.size().get() + 1;
        let event_type = event_type.parse().expect("a type");
        Leaf::build(id, self.chain.chain_head(), self.time(id), &event_type, payload)
            .expect("a leaf")
    }

    pub(super) fn write_raw(&mut self, event_type: &str, payload: &[u8]) -> Effect {
        let leaf = self.leaf(event_type, payload);
        let entry = self.chain.append(leaf, &mut Vec::new()).expect("an entry");
        let mut needed = Needs::default();
        needs(&entry.event, &mut needed);
        let missing = self.overlay.missing(&needed);
        self.overlay.load(&missing, LoadedRows::default());
        apply(&mut self.overlay, &entry)
    }

    /// The time of the entry of that id, if it is written now.
    pub(super) fn time(&self, id: u64) -> Timestamp {
        time(id + self.passed)
    }

    pub(super) fn statement(
        &self,
        subject: &SigningKey,
        category: Category,
        verb: Verb,
    ) -> OperatorStatement {
        OperatorStatement {
            after: self.chain.size(),
            category,
            display_name: (),
            fingerprint: subject.fingerprint(),
            name: None,
            origin: origin(),
            server: (),
            timestamp: time(0),
            verb,
        }
    }

    pub(super) fn endorse(&mut self, subject: &SigningKey, category: Category) -> Effect {
        let statement = self.statement(subject, category, Verb::Endorse);
        let event = OperatorEndorsement::sign(statement, subject.public().into(), &self.operator);
        self.write(&event)
    }

    pub(super) fn revoke(&mut self, subject: &SigningKey, category: Category, id: u64) -> Effect {
        let statement = self.statement(subject, category, Verb::Revoke);
        let event = OperatorEndorsementRevocation::sign(
            statement,
            subject.public().into(),
            id,
            &self.operator,
        );
        self.write(&event)
    }

    pub(super) fn register(&mut self, subject: &SigningKey, proven: bool) -> Effect {
        let event = KeyRegistration {
            expiration_date: None,
            fingerprint: subject.fingerprint(),
            key_algorithm: KeyAlgorithm::Ed25519,
            proof: None,
            pseudonym: Name::try_from("Alice".to_owned()).expect("a name"),
            public_key: subject.public().into(),
        };
        self.write(&if proven { event.proven(&origin(), subject) } else { event })
    }

    pub(super) fn describe(
        &mut self,
        subject: &SigningKey,
        signer: &SigningKey,
        at: u64,
    ) -> Effect {
        let claim = ProfileClaim {
            display_name: Name::try_from("EU Mirror".to_owned()).expect("a name"),
            fingerprint: subject.fingerprint(),
            origin: origin(),
            server: None,
            timestamp: time(at),
            kind: ProfileType::Federation,
        };
        self.write(&claim.into_profile(signer))
    }

    pub(super) fn witness(&mut self, witness: &SigningKey, size: u64) -> Effect {
        let head = TreeHead {
            chain_head: Some(Hash::of(b"leaf")),
            epoch: 1,
            origin: origin(),
            root_hash: Hash::of(&size.to_be_bytes()),
            timestamp: time(size),
            tree_size: TreeSize::ZERO.plus(size),
        };
        let claim = WitnessClaim {
            new_root: head.root_hash,
            new_tree_size: head.tree_size,
            old_root: Hash::EMPTY_TREE,
            old_tree_size: TreeSize::ZERO,
            origin: origin(),
            timestamp: time(size),
            witness: witness.fingerprint(),
        };
        let head = head.sign(&self.operator).to_json(String::new(), size);
        self.write(&claim.into_proof(witness, head, None))
    }
}
