use serde_json::{Value, json};

use super::*;
use crate::canonical;
use crate::event::AttestationClaim;
use crate::keys::SigningKey;
use crate::manifest::{AttestationType, Binds, Canonicalization, Identity};
use crate::statement::Claim as _;
use crate::view::{KeyState, Row as _};
use crate::wire::verify::GraphEdge;

const INTENT: &str = "I wrote it";

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed([seed; 32])
}

fn content() -> Hash {
    Hash::of(b"the document")
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(second * 1000).unwrap()
}

/// A document that people attest to, and the log that holds what they sign: entry `n` at second
/// `n`.
struct Case {
    attestations: Vec<Value>,
    log: LogEvidence,
}

impl Case {
    fn new() -> Self {
        let log = LogEvidence {
            size: TreeSize::new(100).unwrap(),
            as_of: at(100),
            keys: BTreeMap::new(),
            attestations: BTreeMap::new(),
            intents: BTreeMap::new(),
            witnesses_required: 0,
            witnessed_size: None,
        };
        Self { attestations: Vec::new(), log }
    }

    fn manifest(&self) -> Manifest {
        let document = json!({ "title": "A title", "content_hash": content() });
        let value = json!({ "document": document, "attestations": self.attestations });
        Manifest::parse(&canonical::to_vec(&value)).unwrap()
    }

    /// Registers a key with an entry.
    fn register(&mut self, seed: u8, entry_id: u64) -> &mut KeyRow {
        let key = key(seed);
        let row = KeyRow {
            fingerprint: key.fingerprint(),
            public_key: key.public().to_pem(),
            algorithm: "ed25519".to_owned(),
            pseudonym: "Somebody".to_owned(),
            pseudonym_folded: "somebody".to_owned(),
            registered_at: at(i64::try_from(entry_id).unwrap()),
            expires_at: None,
            entry_id,
            proven: false,
            first_entry_id: entry_id,
            used_v1: false,
            succeeds: None,
            ended: None,
        };
        self.log.keys.entry(key.fingerprint()).or_insert(row)
    }

    fn key_mut(&mut self, seed: u8) -> &mut KeyRow {
        self.log.keys.get_mut(&key(seed).fingerprint()).unwrap()
    }

    fn end(&mut self, seed: u8, how: Ending, entry_id: u64) {
        let at = at(i64::try_from(entry_id).unwrap());
        self.key_mut(seed).ended = Some(Ended { how, entry_id, at, leader_asserted: false });
    }

    /// Signs in one form, logs it with an entry and lists it. Answers its id.
    fn attest(&mut self, seed: u8, binds: Binds, entry_id: u64) -> ShortId {
        let (key, manifest) = (key(seed), self.manifest());
        let before: Vec<ShortId> = manifest.listed().iter().map(|of| of.id).collect();
        let attestation_type = AttestationType::Authorship;
        let signature = match binds {
            Binds::Manifest => key.sign(&manifest.signed_bytes(0, Canonicalization::Jcs)),
            Binds::ManifestAndParents => {
                key.sign(&manifest.signed_bytes(before.len(), Canonicalization::Legacy))
            }
            Binds::All => {
                let claim = AttestationClaim {
                    content_hash: content(),
                    intent_statement: Some(INTENT.to_owned()),
                    manifest_hash: manifest.hash(),
                    parents: before.clone(),
                    attestation_type: attestation_type.clone(),
                };
                key.sign(&claim.signed_bytes())
            }
        };
        let identity = Identity {
            form: binds,
            manifest_hash: manifest.hash(),
            parents: if binds == Binds::Manifest { &[] } else { &before },
            signer: key.fingerprint(),
            attestation_type: &attestation_type,
        };
        let row = AttestationRow {
            attestation_id: identity.id(),
            manifest_hash: manifest.hash(),
            content_hash: content(),
            signer: key.fingerprint(),
            attestation_type: attestation_type.to_string(),
            binds,
            canonicalization: Canonicalization::Jcs,
            entry_id,
            at: at(i64::try_from(entry_id).unwrap()),
            leader_asserted: false,
        };
        let id = row.key();
        self.log.attestations.insert(id, row);
        self.attestations.push(json!({
            "id": id,
            "type": "authorship",
            "scope": { "content_hash": content() },
            "signer_key_fingerprint": key.fingerprint(),
            "signature_algorithm": "ed25519",
            "signature": signature,
            "timestamp": at(i64::try_from(entry_id).unwrap()),
            "intent_statement": INTENT,
        }));
        id
    }

    fn judge(&self) -> Judgement {
        judge(&self.manifest(), content(), &self.log)
    }

    /// The statuses of both layers for the only attestation.
    fn statuses(&self) -> (VerifyStatus, VerifyStatus) {
        let judgement = self.judge();
        assert_eq!(judgement.overall, judgement.layer1.status.max(judgement.layer2.status));
        (judgement.layer1.attestations[0].status, judgement.layer2.attestations[0].status)
    }
}

/// One attestation, with its key registered by entry 2 and itself logged by entry 5.
fn attested(binds: Binds) -> Case {
    let mut case = Case::new();
    case.register(1, 2);
    case.attest(1, binds, 5);
    case
}

#[test]
fn what_is_signed_and_logged_is_valid_whatever_it_binds() {
    let mut case = Case::new();
    for (seed, binds) in [(1, Binds::Manifest), (2, Binds::ManifestAndParents), (3, Binds::All)] {
        case.register(seed, 2);
        case.attest(seed, binds, 5 + u64::from(seed));
    }

    let judgement = case.judge();

    assert_eq!(judgement.overall, VerifyStatus::Valid, "{judgement:#?}");
    let binds: Vec<_> = judgement.layer1.attestations.iter().map(|of| of.binds).collect();
    assert_eq!(binds, [Binds::Manifest, Binds::ManifestAndParents, Binds::All].map(Some));
    assert_eq!(judgement.layer2.attestations[2].log_entry_id, Some(8));
    assert!(judgement.layer1.content_hash_matches);
}

#[test]
fn another_document_is_invalid_though_its_signatures_verify() {
    let case = attested(Binds::All);

    let judgement = judge(&case.manifest(), Hash::of(b"another"), &case.log);

    assert_eq!(judgement.overall, VerifyStatus::Invalid);
    assert!(!judgement.layer1.content_hash_matches);
    assert_eq!(judgement.layer1.attestations[0].status, VerifyStatus::Valid);
    assert_eq!(judgement.layer2.status, VerifyStatus::Valid);
}

#[test]
fn a_manifest_without_attestations_says_nothing_for_its_document() {
    let case = Case::new();
    assert_eq!(case.judge().overall, VerifyStatus::NoAttestations);
    let other = judge(&case.manifest(), Hash::of(b"another"), &case.log);
    assert_eq!(other.overall, VerifyStatus::Invalid);
}

#[test]
fn what_is_changed_afterwards_is_invalid() {
    for binds in [Binds::Manifest, Binds::ManifestAndParents, Binds::All] {
        for (member, value) in [
            ("type", json!("publication")),
            ("id", json!("a".repeat(32))),
            ("signature", json!("AAAA")),
            ("scope", json!({ "content_hash": Hash::of(b"another") })),
        ] {
            let mut case = attested(binds);
            case.attestations[0][member] = value;
            assert_eq!(case.statuses().0, VerifyStatus::Invalid, "{binds} {member}");
        }
    }
    let mut case = attested(Binds::All);
    case.attestations[0]["intent_statement"] = json!("I never saw it");
    assert_eq!(case.statuses().0, VerifyStatus::Invalid);
}

#[test]
fn a_type_that_is_not_signed_must_be_the_logged_one() {
    let mut case = attested(Binds::Manifest);
    let id = case.judge().layer1.attestations[0].attestation_id;
    let manifest_hash = case.manifest().hash();
    let attestation_type = AttestationType::Publication;
    let identity = Identity {
        form: Binds::Manifest,
        manifest_hash,
        parents: &[],
        signer: key(1).fingerprint(),
        attestation_type: &attestation_type,
    };
    assert!(case.log.attestations.contains_key(&id));
    case.attestations[0]["type"] = json!("publication");
    case.attestations[0]["id"] = json!(identity.id().short());

    assert_eq!(case.statuses(), (VerifyStatus::Valid, VerifyStatus::NotLogged));
}

#[test]
fn an_intent_that_a_client_did_not_keep_is_taken_from_the_log() {
    let mut case = attested(Binds::All);
    let id = case.judge().layer1.attestations[0].attestation_id;
    case.attestations[0].as_object_mut().unwrap().remove("intent_statement");
    assert_eq!(case.statuses().0, VerifyStatus::Invalid);

    case.log.intents.insert(id, INTENT.to_owned());

    assert_eq!(case.statuses(), (VerifyStatus::Valid, VerifyStatus::Valid));
}

#[test]
fn a_key_that_nobody_registered_is_unknown_in_both_layers() {
    let mut case = attested(Binds::All);
    case.log.keys.clear();
    assert_eq!(case.statuses(), (VerifyStatus::UnknownKey, VerifyStatus::UnknownKey));

    let mut case = attested(Binds::All);
    case.key_mut(1).first_entry_id = 101;
    assert_eq!(case.statuses(), (VerifyStatus::UnknownKey, VerifyStatus::UnknownKey));
}

#[test]
fn a_key_must_be_registered_before_the_entry() {
    let mut case = attested(Binds::All);
    case.key_mut(1).first_entry_id = 6;
    assert_eq!(case.statuses(), (VerifyStatus::Valid, VerifyStatus::UnknownKey));
}

#[test]
fn what_the_log_does_not_hold_under_the_head_is_not_logged() {
    let mut case = attested(Binds::All);
    case.log.size = TreeSize::new(4).unwrap();
    assert_eq!(case.statuses(), (VerifyStatus::Valid, VerifyStatus::NotLogged));

    let mut case = attested(Binds::All);
    case.log.attestations.values_mut().for_each(|row| row.signer = key(9).fingerprint());
    assert_eq!(case.statuses().1, VerifyStatus::NotLogged);

    let mut case = attested(Binds::Manifest);
    let another = Hash::of(b"another");
    case.log.attestations.values_mut().for_each(|row| row.content_hash = another);
    assert_eq!(case.statuses().1, VerifyStatus::NotLogged, "logged about another document");
}

#[test]
fn a_key_counts_by_the_order_of_entries() {
    for how in [Ending::Revoked, Ending::Succeeded { by: key(2).fingerprint() }] {
        let mut case = attested(Binds::All);
        case.end(1, how, 4);
        assert_eq!(case.statuses(), (VerifyStatus::Valid, VerifyStatus::KeyNotActive));
        case.end(1, how, 6);
        assert_eq!(case.statuses(), (VerifyStatus::Valid, VerifyStatus::Valid));
        let finding = &case.judge().layer2.attestations[0];
        assert_eq!(finding.key_status_at_entry, Some(KeyState::Active));
        assert_ne!(finding.key_status_now, Some(KeyState::Active));
        case.end(1, how, 101);
        let finding = &case.judge().layer2.attestations[0];
        assert_eq!(finding.key_status_now, Some(KeyState::Active), "not under this head");
    }
}

#[test]
fn a_key_is_expired_from_its_expiry_on() {
    let mut case = attested(Binds::All);
    case.key_mut(1).expires_at = Some(at(5));
    assert_eq!(case.statuses().1, VerifyStatus::KeyNotActive);
    case.key_mut(1).expires_at = Some(at(6));
    assert_eq!(case.statuses().1, VerifyStatus::Valid);
    let finding = &case.judge().layer2.attestations[0];
    assert_eq!(finding.key_status_now, Some(KeyState::Expired));
}

#[test]
fn successors_are_followed_to_the_last() {
    let mut case = attested(Binds::All);
    for (seed, entry) in [(2, 10), (3, 20)] {
        case.register(seed, entry).succeeds = Some(key(seed - 1).fingerprint());
        case.key_mut(seed).proven = true;
        case.end(seed - 1, Ending::Succeeded { by: key(seed).fingerprint() }, entry);
    }
    let found = |case: &Case| {
        let finding = case.judge().layer2.attestations.remove(0);
        assert_eq!(finding.status, VerifyStatus::Valid);
        (finding.succeeded_by, finding.successors.len(), finding.successors_confirmed)
    };

    let second = Some(key(2).fingerprint());
    assert_eq!(found(&case), (second, 2, Some(true)));
    assert_eq!(case.log.missing_successors(), BTreeSet::new());

    case.key_mut(3).proven = false;
    assert_eq!(found(&case), (second, 2, Some(false)), "anybody may have named it");
    case.key_mut(2).succeeds = None;
    assert_eq!(found(&case), (second, 1, Some(false)), "it does not say so itself");

    case.log.keys.remove(&key(3).fingerprint());
    assert_eq!(case.log.missing_successors(), BTreeSet::from([key(3).fingerprint()]));
}

#[test]
fn successors_that_lead_round_or_on_and_on_are_left() {
    let mut case = attested(Binds::All);
    case.register(2, 10).succeeds = Some(key(1).fingerprint());
    case.key_mut(2).proven = true;
    case.end(1, Ending::Succeeded { by: key(2).fingerprint() }, 10);
    case.end(2, Ending::Succeeded { by: key(1).fingerprint() }, 11);
    let finding = &case.judge().layer2.attestations[0];
    assert_eq!((finding.successors.len(), finding.successors_confirmed), (1, Some(false)));

    let mut case = attested(Binds::All);
    for seed in 2..60 {
        case.register(seed, 10).succeeds = Some(key(seed - 1).fingerprint());
        case.key_mut(seed).proven = true;
        case.end(seed - 1, Ending::Succeeded { by: key(seed).fingerprint() }, 10);
    }
    let finding = &case.judge().layer2.attestations[0];
    assert_eq!(finding.successors.len(), MAX_SUCCESSORS);
    assert_eq!(finding.successors_confirmed, Some(false));
}

#[test]
fn witnesses_that_are_required_must_have_signed_beyond_the_entry() {
    let mut case = attested(Binds::All);
    for (required, size, status) in [
        (0, None, VerifyStatus::Valid),
        (1, None, VerifyStatus::Unwitnessed),
        (1, Some(4), VerifyStatus::Unwitnessed),
        (1, Some(5), VerifyStatus::Valid),
    ] {
        case.log.witnesses_required = required;
        case.log.witnessed_size = size.map(|size| TreeSize::new(size).unwrap());
        assert_eq!(case.statuses(), (VerifyStatus::Valid, status));
    }
}

#[test]
fn a_size_counts_once_so_many_witnesses_signed_it_or_a_larger_one() {
    let sizes = |of: &[u64]| of.iter().map(|size| TreeSize::new(*size).unwrap()).collect();
    let of = |all: &[u64], required| {
        let sizes: Vec<TreeSize> = sizes(all);
        witnessed_size(sizes, required).map(TreeSize::get)
    };
    assert_eq!(of(&[3, 9, 5], 0), Some(9));
    assert_eq!(of(&[3, 9, 5], 1), Some(9));
    assert_eq!(of(&[3, 9, 5], 2), Some(5));
    assert_eq!(of(&[3, 9, 5], 3), Some(3));
    assert_eq!(of(&[3, 9, 5], 4), None);
    assert_eq!(of(&[], 0), None);
    assert_eq!(of(&[3], u64::MAX), None);
}

#[test]
fn the_worst_of_all_attestations_speaks_for_the_document() {
    let mut case = attested(Binds::All);
    case.register(2, 3);
    let second = case.attest(2, Binds::All, 7);
    case.end(2, Ending::Revoked, 6);

    let judgement = case.judge();

    assert_eq!(judgement.overall, VerifyStatus::KeyNotActive);
    assert!(judgement.layer2.details.starts_with(&format!("Attestation {second}: ")));
    assert_eq!(judgement.layer1.status, VerifyStatus::Valid);
    let statuses: Vec<_> = judgement.graph.nodes.iter().map(|node| node.status).collect();
    assert_eq!(statuses, [Some(VerifyStatus::Valid), Some(VerifyStatus::KeyNotActive)]);
}

#[test]
fn the_graph_has_the_edges_that_signatures_cover() {
    let mut case = Case::new();
    for seed in 1..=3 {
        case.register(seed, 2);
    }
    let first = case.attest(1, Binds::Manifest, 5);
    let second = case.attest(2, Binds::ManifestAndParents, 6);
    let third = case.attest(3, Binds::All, 7);
    let edges = [(first, second), (first, third), (second, third)];
    let edges: Vec<GraphEdge> =
        edges.into_iter().map(|(from, to)| GraphEdge { from, to }).collect();
    assert_eq!(case.judge().graph.edges, edges);

    case.attestations[2]["signature"] = json!("AAAA");
    assert_eq!(case.judge().graph.edges, edges[..1], "what is not signed is no edge");
}

#[test]
fn parents_that_are_not_listed_are_shown_as_such() {
    let mut case = Case::new();
    case.register(1, 2);
    case.register(2, 2);
    let parent = case.attest(1, Binds::Manifest, 5);
    case.attest(2, Binds::All, 6);
    case.attestations[1]["parents"] = json!([parent]);
    case.attestations.remove(0);

    let judgement = case.judge();

    assert_eq!(judgement.overall, VerifyStatus::Valid);
    assert_eq!(judgement.graph.nodes.len(), 2);
    let unlisted = &judgement.graph.nodes[1];
    assert_eq!((unlisted.id, unlisted.listed, unlisted.status), (parent, false, None));
}

#[test]
fn attestations_that_another_document_lists_do_not_count_here() {
    let case = attested(Binds::Manifest);
    let text = String::from_utf8(canonical::to_vec(&json!({
        "document": { "title": "Another title", "content_hash": content() },
        "attestations": case.attestations,
    })))
    .unwrap();
    let other = Manifest::parse(text.as_bytes()).unwrap();

    let judgement = judge(&other, content(), &case.log);

    assert_eq!(judgement.layer1.status, VerifyStatus::Invalid);
    assert_eq!(judgement.layer2.status, VerifyStatus::NotLogged);
}
