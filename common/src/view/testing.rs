//! A log for the tests of views, written by a leader that obeys no rule of state.

use super::rows::KeyRow;
use super::{Effect, KeyState, LoadedRows, Needs, Overlay, apply, needs};
use crate::batch::{BrokenRule, Chain, Trust};
use crate::clock::Timestamp;
use crate::event::authorization::{Action, Purpose, SignedAuthorization};
use crate::event::text::Name;
use crate::event::{
    Authorization, EndorsementAcceptance, EndorsementAcceptanceRevocation, EndorsementOffer,
    EndorsementRevocationAlert, EndorsementWithdrawal, Genesis, KeyRegistration, KeyRevocation,
    KeySuccession, OperatorEndorsement, OperatorEndorsementRevocation, Payload, SuccessorKey,
};
use crate::head::{Origin, TreeHead};
use crate::keys::{HolderSignature, KeyAlgorithm, SigningKey};
use crate::leaf::Leaf;
use crate::merkle::{Hash, TreeSize};
use crate::statement::{
    Category, Claim as _, OperatorStatement, ProfileClaim, ProfileType, Verb, WitnessClaim,
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

/// Keys that live, succeed each other and end.
impl Log {
    pub(super) fn state(&self, of: &SigningKey) -> KeyState {
        self.row(of).state_at(self.time(self.chain.size().get()))
    }

    pub(super) fn row(&self, of: &SigningKey) -> &KeyRow {
        self.overlay.keys.find(&of.fingerprint()).expect("a registered key")
    }

    pub(super) fn signed(
        &self,
        by: &SigningKey,
        action: Action,
        request: serde_json::Value,
    ) -> Authorization {
        let text = |text: &str| text.to_owned().try_into().expect("a challenge");
        let mut signed = SignedAuthorization {
            action,
            challenge_id: text("id"),
            expires_at: self.time(0).plus_millis(5 * 60_000),
            nonce: text("nonce"),
            purpose: Purpose::General,
            recovery: self.state(by) == KeyState::Expired,
            request,
            signature: HolderSignature::try_from(vec![0]).expect("a signature"),
        };
        let claim = signed.claim(&origin(), by.fingerprint());
        signed.signature = claim.sign(by).into();
        Authorization::Signed(Box::new(signed))
    }

    pub(super) fn succession(
        &self,
        old: &SigningKey,
        new: &SigningKey,
        proven: bool,
    ) -> KeySuccession {
        let mut successor = SuccessorKey {
            old_fingerprint: old.fingerprint(),
            public_key: new.public().into(),
            expiration_date: None,
            proof: None,
        };
        let mut payload = serde_json::json!({
            "old_fingerprint": old.fingerprint(),
            "new_public_key": new.public().to_pem(),
            "new_algorithm": "ed25519",
        });
        if proven {
            let proof: HolderSignature = new.sign(&successor.proof_bytes(&origin())).into();
            payload["new_key_proof"] = proof.to_string().into();
            successor.proof = Some(proof);
        }
        let request = serde_json::json!({ "payload": payload });
        let by = self.signed(old, Action::Succeed, request);
        successor.succeed(old.public().into(), self.state(old) == KeyState::Expired, by)
    }

    pub(super) fn revocation(&self, of: &SigningKey) -> KeyRevocation {
        let request = serde_json::json!({ "payload": { "fingerprint": of.fingerprint() } });
        let authorization = self.signed(of, Action::Revoke, request);
        KeyRevocation {
            authorization,
            fingerprint: of.fingerprint(),
            public_key: of.public().into(),
        }
    }

    pub(super) fn expiring(&self, key: &SigningKey, after: u64) -> KeyRegistration {
        KeyRegistration {
            expiration_date: Some(self.time(0).plus_millis(after.cast_signed())),
            fingerprint: key.fingerprint(),
            key_algorithm: KeyAlgorithm::Ed25519,
            proof: None,
            pseudonym: "Alice".to_owned().try_into().expect("a name"),
            public_key: key.public().into(),
        }
    }
}

/// Endorsements, asked for in sessions.
impl Log {
    /// Holders of this many registered keys, the first of them with the key of this number.
    pub(super) fn holders<const N: usize>(&mut self, first: u8) -> [SigningKey; N] {
        let mut next = first;
        std::array::from_fn(|_| {
            let holder = key(next);
            next += 1;
            assert_eq!(self.register(&holder, false), Effect::Applied);
            holder
        })
    }

    /// The newest entry.
    pub(super) fn newest(&self) -> u64 {
        self.chain.size().get()
    }

    /// When the newest entry was logged.
    pub(super) fn now(&self) -> Timestamp {
        self.time(self.newest())
    }

    /// Lets time pass until the next entry will be logged at this very instant.
    pub(super) fn wait_for(&mut self, instant: Timestamp) {
        let wait = instant.millis_since(self.time(self.newest() + 1));
        self.passed += u64::try_from(wait).expect("an instant that has not passed");
    }

    /// An offer that has an effect; answers its entry.
    pub(super) fn offered(&mut self, endorser: &SigningKey, endorsed: &SigningKey) -> u64 {
        assert_eq!(self.write(&offer_by(endorser, endorsed)), Effect::Applied);
        self.newest()
    }

    /// An endorsement that is active at once; answers the entry of its offer.
    pub(super) fn endorsed(&mut self, endorser: &SigningKey, endorsed: &SigningKey) -> u64 {
        let offer = self.offered(endorser, endorsed);
        let acceptance = acceptance_of(offer, endorser, endorsed);
        assert_eq!(self.write(&acceptance), Effect::Applied);
        offer
    }
}

pub(super) fn offer_by(endorser: &SigningKey, of: &SigningKey) -> EndorsementOffer {
    EndorsementOffer {
        authorization: Authorization::Session {},
        category: Category::HumanAttestation,
        endorsed_fingerprint: of.fingerprint(),
        endorser_fingerprint: endorser.fingerprint(),
        external_identifiers: Vec::new(),
        institutional_metadata: None,
        public_key: endorser.public().into(),
        valid_until: None,
    }
}

pub(super) fn acceptance_of(
    offer_entry_id: u64,
    endorser: &SigningKey,
    endorsed: &SigningKey,
) -> EndorsementAcceptance {
    EndorsementAcceptance {
        active_from: time(0),
        authorization: Authorization::Session {},
        endorsed_fingerprint: endorsed.fingerprint(),
        endorser_fingerprint: endorser.fingerprint(),
        offer_entry_id,
        public_key: endorsed.public().into(),
    }
}

pub(super) fn withdrawal_of(
    offer: u64,
    endorser: &SigningKey,
    endorsed: &SigningKey,
) -> EndorsementWithdrawal {
    EndorsementWithdrawal {
        authorization: Authorization::Session {},
        endorsed_fingerprint: endorsed.fingerprint(),
        endorser_fingerprint: endorser.fingerprint(),
        note: "we parted".to_owned().try_into().expect("a note"),
        original_offer_entry_id: offer,
        public_key: endorser.public().into(),
    }
}

pub(super) fn rejection_of(offer: u64, endorsed: &SigningKey) -> EndorsementAcceptanceRevocation {
    EndorsementAcceptanceRevocation {
        authorization: Authorization::Session {},
        endorsed_fingerprint: endorsed.fingerprint(),
        note: "a mistake".to_owned().try_into().expect("a note"),
        original_offer_entry_id: offer,
        public_key: endorsed.public().into(),
    }
}

pub(super) fn alert_by(
    endorser: &SigningKey,
    compromised: &SigningKey,
) -> EndorsementRevocationAlert {
    EndorsementRevocationAlert {
        authorization: Authorization::Session {},
        compromised_fingerprint: compromised.fingerprint(),
        endorser_fingerprint: endorser.fingerprint(),
        evidence: None,
        public_key: endorser.public().into(),
        reason: "its key was stolen".to_owned().try_into().expect("a reason"),
    }
}
