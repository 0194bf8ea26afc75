//! The one function that changes views, and which rows it reads.

use std::fmt;

use super::identity;
use super::overlay::{Needs, Overlay};
use super::rows::{EndorsedRow, KeyRow, ProfileRow, Reference, Row as _, WitnessRow};
use crate::batch::Entry;
use crate::checkpoint::Checkpoint;
use crate::cosignature::verify_cosignature;
use crate::event::{Event, OperatorEndorsement, OperatorEndorsementRevocation, SignerKnown};
use crate::keys::Fingerprint;
use crate::merkle::{Hash, TreeSize};
use crate::note::SignatureLine;
use crate::statement::{Category, Profile, ProfileType, WitnessProof};

/// What an entry did to the views.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// What its type says.
    Applied,
    /// Nothing, since it breaks a rule of state. A leader never writes such an entry; on a
    /// follower it is stored, shown with its reason and raises an incident.
    None(NoEffect),
}

/// Which rule of state an entry breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoEffect {
    /// The type is not known to this version.
    UnknownType,
    /// The key is registered already, and not for want of proof.
    KeyAlreadyRegistered,
    /// No such key is registered.
    UnknownKey,
    /// The key is expired, succeeded or revoked.
    KeyNotActive,
    /// The key is not expired, so there is nothing to recover.
    KeyNotExpired,
    /// The challenge had expired when the entry was logged.
    ChallengeExpired,
    /// An answer to a bare nonce, of a key that is held to better ones.
    LegacyRefused,
    /// The attestation is in the log already.
    AlreadyAttested,
    /// An attestation that this one stands on is not in the log, or is about another manifest.
    UnknownParent,
    /// The signer attested this manifest with another type, and the signature covers neither.
    TypeNotSigned,
    /// The key has another role in this log.
    KeyHasOtherRole,
    /// The key is endorsed in this category already.
    AlreadyEndorsed,
    /// The endorsement to be ended is not one that stands.
    NotEndorsed,
    /// A later statement about this key is in the log.
    StaleStatement,
    /// The signer is neither the operator nor an authorised node.
    UnknownSigner,
    /// The profile's key has no such role.
    NotAuthorized,
    /// A profile as new or newer is in the log.
    StaleProfile,
    /// The witness is not authorised.
    WitnessNotAuthorized,
    /// A proof of this witness that reaches as far is in the log.
    WitnessStale,
}

impl NoEffect {
    /// The reason as it is stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownType => "unknown_type",
            Self::KeyAlreadyRegistered => "key_already_registered",
            Self::UnknownKey => "unknown_key",
            Self::KeyNotActive => "key_not_active",
            Self::KeyNotExpired => "key_not_expired",
            Self::ChallengeExpired => "challenge_expired",
            Self::LegacyRefused => "legacy_refused",
            Self::AlreadyAttested => "already_attested",
            Self::UnknownParent => "unknown_parent",
            Self::TypeNotSigned => "type_not_signed",
            Self::KeyHasOtherRole => "key_has_other_role",
            Self::AlreadyEndorsed => "already_endorsed",
            Self::NotEndorsed => "not_endorsed",
            Self::StaleStatement => "stale_statement",
            Self::UnknownSigner => "unknown_signer",
            Self::NotAuthorized => "not_authorized",
            Self::StaleProfile => "stale_profile",
            Self::WitnessNotAuthorized => "witness_not_authorized",
            Self::WitnessStale => "witness_stale",
        }
    }
}

impl fmt::Display for NoEffect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Adds the rows that [`apply`] reads for this event.
pub fn needs(event: &Event, needs: &mut Needs) {
    match event {
        Event::Namespaced | Event::Unknown => {}
        Event::Genesis(genesis) => needs.key(genesis.operator_fingerprint),
        Event::KeyRegistration(registration) => needs.key(registration.fingerprint),
        Event::KeySuccession(succession) => {
            needs.key(succession.old_fingerprint);
            needs.key(succession.new_fingerprint);
        }
        Event::KeyRevocation(revocation) => needs.key(revocation.fingerprint),
        Event::Attestation(attestation) => identity::needs_of_attestation(attestation, needs),
        Event::OperatorEndorsement(endorsement) => needs.key(endorsement.fingerprint),
        Event::OperatorEndorsementRevocation(revocation) => needs.key(revocation.fingerprint),
        Event::OperatorProfile(profile) => {
            needs.key(profile.fingerprint);
            needs.keys.insert(profile.signer);
            needs.profiles.insert(profile.fingerprint);
        }
        Event::WitnessProof(proof) => {
            needs.key(proof.witness);
            needs.witnesses.insert(proof.witness);
        }
    }
}

/// Brings the views from before an entry to after it. Pure; the rows named by [`needs`] must be
/// loaded.
pub fn apply(overlay: &mut Overlay, entry: &Entry) -> Effect {
    let id = entry.leaf.id();
    let event_type = entry.leaf.event_type();
    match overlay.counts.get_mut(event_type) {
        Some(count) => *count += 1,
        None => {
            overlay.counts.insert(event_type.to_owned(), 1);
        }
    }
    if !matches!(event_type, "witness_proof" | "anchor") {
        overlay.last_event_id = id;
    }
    let broken = match &entry.event {
        Event::Namespaced => return Effect::Applied,
        Event::Unknown => Err(NoEffect::UnknownType),
        Event::Genesis(event) => {
            identity::genesis(overlay, entry, event);
            Ok(())
        }
        Event::KeyRegistration(event) => identity::key_registration(overlay, entry, event),
        Event::KeySuccession(event) => identity::key_succession(overlay, entry, event),
        Event::KeyRevocation(event) => identity::key_revocation(overlay, entry, event),
        Event::Attestation(event) => identity::attestation(overlay, entry, event),
        Event::OperatorEndorsement(event) => endorsement(overlay, entry, event),
        Event::OperatorEndorsementRevocation(event) => revocation(overlay, entry, event),
        Event::OperatorProfile(event) => profile(overlay, entry, event),
        Event::WitnessProof(event) => witness_proof(overlay, entry, event),
    };
    match broken {
        Ok(()) => Effect::Applied,
        Err(reason) => {
            overlay.without_effect.push((id, reason.as_str()));
            Effect::None(reason)
        }
    }
}

fn endorsement(
    overlay: &mut Overlay,
    entry: &Entry,
    event: &OperatorEndorsement,
) -> Result<(), NoEffect> {
    let role = event.category.gives_role();
    if role && event.fingerprint == event.operator {
        return Err(NoEffect::KeyHasOtherRole);
    }
    for other in of_key(overlay, event.fingerprint) {
        if other.after >= event.after {
            return Err(NoEffect::StaleStatement);
        }
        if other.category == event.category.as_str() {
            if other.revoked_by.is_none() {
                return Err(NoEffect::AlreadyEndorsed);
            }
        } else if role && gives_role(&other.category) {
            return Err(NoEffect::KeyHasOtherRole);
        }
    }
    overlay.endorsed.put(EndorsedRow {
        fingerprint: event.fingerprint,
        category: event.category.as_str().to_owned(),
        public_key: event.public_key.to_pem(),
        name: event.name.as_ref().map(ToString::to_string),
        entry_id: entry.leaf.id(),
        since: entry.leaf.timestamp(),
        revoked_by: None,
        after: event.after,
    });
    refer(overlay, entry, event.fingerprint);
    Ok(())
}

fn revocation(
    overlay: &mut Overlay,
    entry: &Entry,
    event: &OperatorEndorsementRevocation,
) -> Result<(), NoEffect> {
    let newest = of_key(overlay, event.fingerprint).map(|row| row.after).max();
    if newest.unwrap_or(TreeSize::ZERO) >= event.after {
        return Err(NoEffect::StaleStatement);
    }
    let key = (event.fingerprint, event.category.as_str().to_owned());
    match overlay.endorsed.find(&key) {
        Some(row) if row.revoked_by.is_none() && row.entry_id == event.endorsement_id => {
            let ended = EndorsedRow {
                revoked_by: Some(entry.leaf.id()),
                after: event.after,
                ..row.clone()
            };
            overlay.endorsed.put(ended);
            refer(overlay, entry, event.fingerprint);
            Ok(())
        }
        _ => Err(NoEffect::NotEndorsed),
    }
}

fn profile(overlay: &mut Overlay, entry: &Entry, event: &Profile) -> Result<(), NoEffect> {
    if entry.signer == SignerKnown::No {
        return Err(NoEffect::UnknownSigner);
    }
    let category = category_of(event.kind);
    if !is_endorsed(overlay, event.fingerprint, category) {
        return Err(NoEffect::NotAuthorized);
    }
    // The genesis registers the operator's key, and nothing else is entry 1.
    let by_operator = overlay.keys.find(&event.signer).is_some_and(KeyRow::is_operator);
    if event.signer != event.fingerprint && !by_operator {
        return Err(NoEffect::UnknownSigner);
    }
    let known = overlay.profiles.find(&event.fingerprint);
    if known.is_some_and(|known| known.timestamp >= event.timestamp) {
        return Err(NoEffect::StaleProfile);
    }
    overlay.profiles.put(ProfileRow {
        fingerprint: event.fingerprint,
        kind: event.kind.as_str().to_owned(),
        display_name: event.display_name.to_string(),
        server: event.server.as_ref().map(ToString::to_string),
        timestamp: event.timestamp,
        entry_id: entry.leaf.id(),
    });
    refer(overlay, entry, event.fingerprint);
    Ok(())
}

fn witness_proof(
    overlay: &mut Overlay,
    entry: &Entry,
    event: &WitnessProof,
) -> Result<(), NoEffect> {
    if !is_endorsed(overlay, event.witness, Category::Witness) {
        return Err(NoEffect::WitnessNotAuthorized);
    }
    let known = overlay.witnesses.find(&event.witness);
    if known.is_some_and(|known| known.tree_size >= event.new_tree_size) {
        return Err(NoEffect::WitnessStale);
    }
    let cosigner = known.and_then(|known| known.cosigner.clone());
    overlay.witnesses.put(WitnessRow {
        fingerprint: event.witness,
        proof_id: entry.leaf.id(),
        tree_size: event.new_tree_size,
        root_hash: event.new_root,
        signed_at: event.timestamp,
        recorded_at: entry.leaf.timestamp(),
        cosigner: cosigner.or_else(|| cosigner_name(event)),
    });
    refer(overlay, entry, event.witness);
    overlay.references.push(Reference {
        kind: "witness",
        value: event.witness.to_string(),
        id: entry.leaf.id(),
    });
    Ok(())
}

/// The name under which the witness cosigned, if its cosignature verifies.
fn cosigner_name(event: &WitnessProof) -> Option<String> {
    let line: SignatureLine = event.cosignature.as_deref()?.trim_end_matches('\n').parse().ok()?;
    let checkpoint = Checkpoint::new(event.origin.to_string(), event.claim().new_tree()).ok()?;
    verify_cosignature(&line, &checkpoint, &event.public_key).ok()?;
    Some(line.name().to_string())
}

/// The category that makes a profile of this type a known node's.
pub const fn category_of(kind: ProfileType) -> Category {
    match kind {
        ProfileType::Federation => Category::FederationOperator,
        ProfileType::Witness => Category::Witness,
    }
}

/// Whether the operator's endorsement of a key in this category stands.
pub fn is_endorsed(overlay: &Overlay, key: Fingerprint, category: Category) -> bool {
    overlay
        .endorsed
        .find(&(key, category.as_str().to_owned()))
        .is_some_and(|row| row.revoked_by.is_none())
}

/// Whether the operator gave a key a role that stands, or the key is the operator's.
pub fn has_role(overlay: &Overlay, key: Fingerprint) -> bool {
    overlay.keys.find(&key).is_some_and(KeyRow::is_operator)
        || of_key(overlay, key).any(|row| row.revoked_by.is_none() && gives_role(&row.category))
}

fn of_key(overlay: &Overlay, key: Fingerprint) -> impl Iterator<Item = &EndorsedRow> {
    overlay.endorsed.rows().filter(move |row| row.key().0 == key)
}

fn gives_role(category: &str) -> bool {
    [Category::FederationOperator, Category::Witness].iter().any(|role| role.as_str() == category)
}

pub(super) fn refer(overlay: &mut Overlay, entry: &Entry, key: Fingerprint) {
    let (value, id) = (key.to_string(), entry.leaf.id());
    overlay.references.push(Reference { kind: "fingerprint", value, id });
}

pub(super) fn refer_to_document(overlay: &mut Overlay, entry: &Entry, hash: Hash) {
    let (value, id) = (hash.to_string(), entry.leaf.id());
    overlay.references.push(Reference { kind: "document", value, id });
}

#[cfg(test)]
mod tests {
    use super::super::LoadedRows;
    use super::*;
    use crate::batch::{Chain, Trust};
    use crate::clock::Timestamp;
    use crate::event::text::Name;
    use crate::event::{Genesis, KeyRegistration, Payload};
    use crate::head::{Origin, TreeHead};
    use crate::keys::SigningKey;
    use crate::leaf::Leaf;
    use crate::statement::{OperatorStatement, ProfileClaim, Verb, WitnessClaim};

    fn origin() -> Origin {
        "log.example/log-1".parse().expect("an origin")
    }

    /// A log and its views, written by a leader that obeys no rule of state.
    struct Log {
        operator: SigningKey,
        chain: Chain,
        overlay: Overlay,
    }

    fn key(n: u8) -> SigningKey {
        SigningKey::from_seed([n; 32])
    }

    fn time(n: u64) -> Timestamp {
        Timestamp::from_millis(1_768_473_000_000 + n.cast_signed()).expect("a time")
    }

    impl Log {
        fn new() -> Self {
            let operator = key(1);
            let chain = Chain::new(Trust { operator: operator.fingerprint() });
            let mut log = Self { operator, chain, overlay: Overlay::new(0) };
            let genesis = Genesis::new(log.operator.public(), origin());
            assert_eq!(log.write(&genesis), Effect::Applied);
            log
        }

        fn write<P: Payload>(&mut self, payload: &P) -> Effect {
            self.write_raw(P::EVENT_TYPE, &payload.to_payload())
        }

        fn write_raw(&mut self, event_type: &str, payload: &[u8]) -> Effect {
            let id = self.chain.size().get() + 1;
            let event_type = event_type.parse().expect("a type");
            let leaf = Leaf::build(id, self.chain.chain_head(), time(id), &event_type, payload)
                .expect("a leaf");
            let entry = self.chain.append(leaf, &mut Vec::new()).expect("an entry");
            let mut needed = Needs::default();
            needs(&entry.event, &mut needed);
            let missing = self.overlay.missing(&needed);
            self.overlay.load(&missing, LoadedRows::default());
            apply(&mut self.overlay, &entry)
        }

        fn statement(
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

        fn endorse(&mut self, subject: &SigningKey, category: Category) -> Effect {
            let statement = self.statement(subject, category, Verb::Endorse);
            let event =
                OperatorEndorsement::sign(statement, subject.public().into(), &self.operator);
            self.write(&event)
        }

        fn revoke(&mut self, subject: &SigningKey, category: Category, id: u64) -> Effect {
            let statement = self.statement(subject, category, Verb::Revoke);
            let event = OperatorEndorsementRevocation::sign(
                statement,
                subject.public().into(),
                id,
                &self.operator,
            );
            self.write(&event)
        }

        fn register(&mut self, subject: &SigningKey, proven: bool) -> Effect {
            let event = KeyRegistration {
                expiration_date: None,
                fingerprint: subject.fingerprint(),
                key_algorithm: crate::keys::KeyAlgorithm::Ed25519,
                proof: None,
                pseudonym: Name::try_from("Alice".to_owned()).expect("a name"),
                public_key: subject.public().into(),
            };
            self.write(&if proven { event.proven(&origin(), subject) } else { event })
        }

        fn describe(&mut self, subject: &SigningKey, signer: &SigningKey, at: u64) -> Effect {
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

        fn witness(&mut self, witness: &SigningKey, size: u64) -> Effect {
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

    #[test]
    fn a_registration_is_replaced_only_by_one_that_proves_more() {
        let (mut log, alice) = (Log::new(), key(2));

        assert_eq!(log.register(&alice, false), Effect::Applied);
        assert_eq!(log.register(&alice, false), Effect::None(NoEffect::KeyAlreadyRegistered));
        assert_eq!(log.register(&alice, true), Effect::Applied);
        assert_eq!(log.register(&alice, true), Effect::None(NoEffect::KeyAlreadyRegistered));

        let row = log.overlay.keys.find(&alice.fingerprint()).expect("a key");
        assert_eq!((row.entry_id, row.proven), (4, true));
        assert_eq!(log.overlay.without_effect.len(), 2);
    }

    #[test]
    fn a_key_has_one_role_for_ever() {
        let (mut log, node) = (Log::new(), key(2));
        let other_role = Effect::None(NoEffect::KeyHasOtherRole);

        assert_eq!(log.endorse(&node, Category::Witness), Effect::Applied);
        assert_eq!(log.endorse(&node, Category::FederationOperator), other_role);
        assert_eq!(log.revoke(&node, Category::Witness, 2), Effect::Applied);
        assert_eq!(log.endorse(&node, Category::FederationOperator), other_role);
        assert_eq!(log.endorse(&node, Category::HumanAttestation), Effect::Applied);
        assert_eq!(log.endorse(&key(1), Category::Witness), other_role);
    }

    #[test]
    fn an_endorsement_ends_once_and_may_begin_again() {
        let (mut log, node) = (Log::new(), key(2));

        assert_eq!(log.endorse(&node, Category::Witness), Effect::Applied);
        let again = log.endorse(&node, Category::Witness);
        assert_eq!(again, Effect::None(NoEffect::AlreadyEndorsed));
        let wrong_id = log.revoke(&node, Category::Witness, 3);
        assert_eq!(wrong_id, Effect::None(NoEffect::NotEndorsed));
        assert_eq!(log.revoke(&node, Category::Witness, 2), Effect::Applied);
        let twice = log.revoke(&node, Category::Witness, 2);
        assert_eq!(twice, Effect::None(NoEffect::NotEndorsed));
        assert_eq!(log.endorse(&node, Category::Witness), Effect::Applied);
        assert!(is_endorsed(&log.overlay, node.fingerprint(), Category::Witness));
    }

    #[test]
    fn an_old_statement_of_the_operator_can_not_be_played_again() {
        let (mut log, node) = (Log::new(), key(2));
        let statement = log.statement(&node, Category::Witness, Verb::Endorse);
        let first = OperatorEndorsement::sign(statement, node.public().into(), &log.operator);

        assert_eq!(log.write(&first), Effect::Applied);
        assert_eq!(log.revoke(&node, Category::Witness, 2), Effect::Applied);

        assert_eq!(log.write(&first), Effect::None(NoEffect::StaleStatement));
    }

    #[test]
    fn a_profile_needs_a_role_and_a_signer_that_may_speak_for_it() {
        let (mut log, node, other) = (Log::new(), key(2), key(3));
        let operator = key(1);

        let unknown = log.describe(&node, &node, 5);
        assert_eq!(unknown, Effect::None(NoEffect::UnknownSigner));
        let without_role = log.describe(&node, &operator, 5);
        assert_eq!(without_role, Effect::None(NoEffect::NotAuthorized));
        log.endorse(&node, Category::FederationOperator);
        log.endorse(&other, Category::FederationOperator);
        assert_eq!(log.describe(&node, &node, 5), Effect::Applied);
        let same_time = log.describe(&node, &operator, 5);
        assert_eq!(same_time, Effect::None(NoEffect::StaleProfile));
        let of_another = log.describe(&node, &other, 9);
        assert_eq!(of_another, Effect::None(NoEffect::UnknownSigner));
        assert_eq!(log.describe(&node, &operator, 9), Effect::Applied);
    }

    #[test]
    fn a_witness_moves_forward_only_and_only_while_it_is_authorised() {
        let (mut log, witness) = (Log::new(), key(2));

        let stranger = log.witness(&witness, 1);
        assert_eq!(stranger, Effect::None(NoEffect::WitnessNotAuthorized));
        log.endorse(&witness, Category::Witness);
        assert_eq!(log.witness(&witness, 2), Effect::Applied);
        assert_eq!(log.witness(&witness, 2), Effect::None(NoEffect::WitnessStale));
        assert_eq!(log.witness(&witness, 3), Effect::Applied);
        log.revoke(&witness, Category::Witness, 3);
        let revoked = log.witness(&witness, 4);
        assert_eq!(revoked, Effect::None(NoEffect::WitnessNotAuthorized));

        let row = log.overlay.witnesses.find(&witness.fingerprint()).expect("a row");
        assert_eq!((row.tree_size.get(), row.proof_id), (3, 6));
    }

    #[test]
    fn generic_entries_are_counted_and_unknown_ones_have_no_effect() {
        let mut log = Log::new();

        assert_eq!(log.write_raw("x-a:b", b"{}"), Effect::Applied);
        assert_eq!(log.write_raw("x-a:b", b"{}"), Effect::Applied);
        let newer = log.write_raw("something_newer", b"{}");

        assert_eq!(newer, Effect::None(NoEffect::UnknownType));
        assert_eq!(log.overlay.counts.get("x-a:b"), Some(&2));
        assert_eq!(log.overlay.last_event_id, 4);
    }
}
