//! What a document's attestations are worth, judged from this node's own data.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;

use super::answer::{Freshness, json};
use super::proofs::root_at;
use super::reads::Reads;
use super::snapshot::Snapshot;
use super::trust_layer::TrustQuestion;
use crate::event::{Attestation, Payload as _};
use crate::keys::Fingerprint;
use crate::manifest::{self, Binds, Intent, Manifest, ManifestError, ShortId};
use crate::merkle::{Hash, TreeSize};
use crate::server::body::{self, RawBody};
use crate::server::problem::{Code, Problem};
use crate::statement::Category;
use crate::store::{Moment, Store, StoreError};
use crate::verdict::{self, Judgement, LogEvidence, MAX_SUCCESSORS};
use crate::view::{AttestationRow, Row as _};
use crate::wire::node::NodeRole;
use crate::wire::status::ReplicationStatus;
use crate::wire::verify::{DocumentQuestion, DocumentVerdict, LogBasis, WitnessedSize};

/// The most witnesses that can be required.
const MAX_WITNESSES: u64 = 100;

/// Verifies a document by its manifest and its hash; the document itself is never sent.
///
/// Layer 1: the signatures cover the manifest, and the manifest is about the document. Layer 2:
/// the log holds the attestations, and their keys were registered and active before the entries
/// that hold them. Layer 3, if a verifier or a trust policy is named: whether endorsements lead
/// from whom the verifier trusts to the signers. Answered from what this node has verified itself.
#[utoipa::path(
    post,
    path = "/api/v1/verify",
    tag = "verification",
    extensions(("x-problems" = json!(["invalid_manifest", "overloaded"]))),
    request_body = DocumentQuestion,
    responses(
        (status = 200, description = "The verdict, whichever it is", body = DocumentVerdict),
        (status = 422, description = "Invalid manifest"),
    )
)]
pub(super) async fn verify_document(
    State(reads): State<Reads>,
    headers: HeaderMap,
    bytes: RawBody,
) -> Result<Response, Problem> {
    body::require_type(&headers, &["application/json"])?;
    let mut question = Question::read(&bytes)?;
    let snapshot = reads.snapshot()?;
    let witnesses = reads.witnessed_sizes(&snapshot).await?;
    let sizes = witnesses.iter().map(|witness| witness.tree_size);
    let witnessed_size = verdict::witnessed_size(sizes, question.witnesses_required);
    let log = evidence(reads.store(), &snapshot, &question, witnessed_size).await?;
    let (manifest_hash, content_hash) =
        (question.manifest.hash(), question.manifest.content_hash());
    let (trust, manifest) = (question.trust.take(), question.manifest.clone());
    let judgement = reads.judged(question, log).await?;
    let moment = Moment { size: snapshot.size().get(), at: snapshot.head.head().timestamp };
    let layer3 = match trust {
        Some(asked) => Some(reads.trust(&asked, &manifest, &judgement.layer1, moment).await?),
        None => None,
    };
    let verdict = DocumentVerdict {
        layer1: judgement.layer1,
        layer2: judgement.layer2,
        layer3,
        overall_status: judgement.overall,
        attestation_graph: judgement.graph,
        manifest_hash,
        content_hash,
        log: LogBasis {
            tree_head: serde_json::from_str(&snapshot.head_text).unwrap_or_default(),
            witnessed_tree_size: witnessed_size,
            witnesses,
            replicated: reads.replicated(&snapshot),
        },
    };
    Ok(json(&verdict, Freshness::Never, &headers))
}

/// A question whose every part could be read.
struct Question {
    manifest: Manifest,
    source: Hash,
    witnesses_required: u64,
    trust: Option<TrustQuestion>,
}

impl Question {
    fn read(bytes: &[u8]) -> Result<Self, Problem> {
        // The manifest has its own depth, below that of the body.
        let value = body::value_within(bytes, manifest::MAX_DEPTH + 1)?;
        let asked: DocumentQuestion = body::from_value(&value)?;
        let trust = TrustQuestion::of(asked.verifier_fingerprint, asked.trust_config.as_ref())?;
        let required = asked.require.unwrap_or_default().witnesses;
        if required > MAX_WITNESSES {
            let detail = format!("at most {MAX_WITNESSES} witnesses can be required");
            return Err(Problem::invalid("#/require/witnesses", detail));
        }
        let source = source_hash(&asked.source_hash).ok_or_else(|| {
            let detail = "source_hash is a SHA-256 digest: 64 hex digits, with or without sha256:";
            Problem::invalid("#/source_hash", detail)
        })?;
        let manifest = Manifest::from_value(asked.manifest)?;
        Ok(Self { manifest, source, witnesses_required: required, trust })
    }
}

/// Reads a digest as tools print it.
fn source_hash(text: &str) -> Option<Hash> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text).to_ascii_lowercase();
    format!("sha256:{digits}").parse().ok()
}

impl From<ManifestError> for Problem {
    fn from(error: ManifestError) -> Self {
        let code = match &error {
            ManifestError::UnknownMember { .. } => Code::UnknownField,
            ManifestError::TooDeep => Code::JsonTooDeep,
            ManifestError::Json(_)
            | ManifestError::NotAnObject
            | ManifestError::Document
            | ManifestError::ContentHash
            | ManifestError::Title
            | ManifestError::Attestations
            | ManifestError::TooMany
            | ManifestError::Listed { .. }
            | ManifestError::Twice { .. }
            | ManifestError::TooLarge => Code::InvalidManifest,
        };
        let pointer = format!("#/manifest{}", error.pointer());
        Self::new(code, error.to_string()).error(pointer, error.to_string())
    }
}

impl Reads {
    /// Judges away from the tasks that answer others: a hundred signatures take a while.
    async fn judged(&self, question: Question, log: LogEvidence) -> Result<Judgement, Problem> {
        let judge = move || verdict::judge(&question.manifest, question.source, &log);
        self.beside(usize::MAX, judge).await
    }

    /// What each authorised witness signed of this log, as it records it, the largest size first.
    ///
    /// A proof may be about another history, which a lying leader showed to the witness: its root
    /// tells.
    async fn witnessed_sizes(&self, snapshot: &Snapshot) -> Result<Vec<WitnessedSize>, StoreError> {
        let rows = self.store().endorsed(Category::Witness.as_str()).await?;
        let authorised = rows.iter().filter(|row| row.revoked_by.is_none());
        let keys: Vec<Fingerprint> = authorised.map(|row| row.fingerprint).collect();
        let proofs = self.store().witnesses(&keys).await?;
        let mut roots = BTreeMap::new();
        let mut sizes = Vec::with_capacity(proofs.len());
        for proof in proofs {
            // What it is about comes before the entry that records it.
            if proof.tree_size.get() >= proof.proof_id {
                continue;
            }
            let root = match roots.get(&proof.tree_size) {
                Some(root) => *root,
                None => self.stored_root(snapshot, proof.tree_size).await?,
            };
            roots.insert(proof.tree_size, root);
            if root == proof.root_hash {
                // A proof may be newer than the head that the answer rests on.
                let tree_size = proof.tree_size.min(snapshot.size());
                sizes.push(WitnessedSize { fingerprint: proof.fingerprint, tree_size });
            }
        }
        sizes.sort_unstable_by(|a, b| {
            b.tree_size.cmp(&a.tree_size).then(a.fingerprint.cmp(&b.fingerprint))
        });
        Ok(sizes)
    }

    /// The root of the stored log at a size that it has reached.
    async fn stored_root(&self, snapshot: &Snapshot, size: TreeSize) -> Result<Hash, StoreError> {
        if size <= snapshot.size() {
            root_at(self.store(), snapshot, size).await
        } else {
            Ok(self.store().load_edge(size).await?.root().hash)
        }
    }

    /// How much of the log two machines are known to hold.
    fn replicated(&self, snapshot: &Snapshot) -> Option<TreeSize> {
        if self.facts().role == NodeRole::Follower {
            return Some(snapshot.edge.size());
        }
        let shown = self.board().shown()?;
        let ReplicationStatus::Leader(status) = shown.status() else { return None };
        let agreeing = status.followers.iter().filter(|of| of.root_matches == Some(true));
        agreeing.filter_map(|of| of.tree_size).max()
    }
}

/// What the log says about the attestations that a manifest lists: a few statements, however many
/// there are.
async fn evidence(
    store: &Store,
    snapshot: &Snapshot,
    question: &Question,
    witnessed_size: Option<TreeSize>,
) -> Result<LogEvidence, StoreError> {
    let listed = question.manifest.listed();
    let ids: BTreeSet<ShortId> = listed.iter().map(|of| of.id).collect();
    let signers: BTreeSet<Fingerprint> = listed.iter().map(|of| of.signer).collect();
    let rows = store.attestations(&ids).await?;
    let mut log = LogEvidence {
        size: snapshot.size(),
        as_of: snapshot.head.head().timestamp,
        keys: BTreeMap::new(),
        intents: intents(store, &question.manifest, &rows).await?,
        attestations: rows.into_iter().map(|row| (row.key(), row)).collect(),
        witnesses_required: question.witnesses_required,
        witnessed_size,
    };
    let mut wanted = signers;
    for _ in 0..=MAX_SUCCESSORS {
        if wanted.is_empty() {
            break;
        }
        let keys = store.keys(&wanted).await?;
        log.keys.extend(keys.into_iter().map(|key| (key.fingerprint, key)));
        // A successor that is not there is not asked for again.
        let missing = log.missing_successors();
        wanted = missing.difference(&wanted).copied().collect();
    }
    Ok(log)
}

/// The statements of intent that signatures cover and old clients do not keep.
async fn intents(
    store: &Store,
    manifest: &Manifest,
    rows: &[AttestationRow],
) -> Result<BTreeMap<ShortId, String>, StoreError> {
    let without: BTreeSet<ShortId> = manifest
        .listed()
        .iter()
        .filter(|of| of.intent_statement == Intent::NotKept)
        .map(|of| of.id)
        .collect();
    let ids: Vec<u64> = rows
        .iter()
        .filter(|row| row.binds == Binds::All && without.contains(&row.key()))
        .map(|row| row.entry_id)
        .collect();
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let entries = store.entries_of(&ids).await?;
    let payloads = entries.iter().filter_map(|leaf| Attestation::from_payload(leaf.payload()).ok());
    Ok(payloads.filter_map(|of| Some((of.attestation_id.short(), of.intent_statement?))).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::event::{Authorization, KeyRegistration, KeyRevocation, OperatorEndorsement};
    use crate::head::TreeHead;
    use crate::keys::{HolderKey, SigningKey};
    use crate::manifest::Terms;
    use crate::merkle::TreeRoot;
    use crate::read::testing::{TestNode, noon};
    use crate::statement::{OperatorStatement, Verb, WitnessClaim, WitnessProof};
    use crate::view::KeyState;
    use crate::wire::verify::VerifyStatus;

    const URL: &str = "/api/v1/verify";

    type Events = Vec<(&'static str, Vec<u8>)>;

    fn vector() -> Value {
        serde_json::from_str(include_str!("../../../tests/vectors/manifest.json")).unwrap()
    }

    fn question() -> Value {
        let document = Hash::of(b"the document");
        json!({ "manifest": vector()["manifest"], "source_hash": document })
    }

    fn keys() -> Vec<HolderKey> {
        let vector = vector();
        let keys = vector["attestations"].as_array().unwrap()[..3].iter();
        keys.map(|of| HolderKey::from_pem(of["public_key"].as_str().unwrap()).unwrap()).collect()
    }

    fn registration(key: &HolderKey) -> KeyRegistration {
        KeyRegistration {
            expiration_date: None,
            fingerprint: key.fingerprint(),
            key_algorithm: key.algorithm(),
            proof: None,
            pseudonym: "Somebody".to_owned().try_into().unwrap(),
            public_key: key.clone(),
        }
    }

    /// A listed attestation as the log holds it.
    fn attestation(manifest: &Manifest, position: usize) -> Attestation {
        let listed = &manifest.listed()[position];
        let signer = keys().into_iter().find(|key| key.fingerprint() == listed.signer).unwrap();
        let intent = match &listed.intent_statement {
            Intent::Kept(intent) => intent.clone(),
            Intent::NotKept => None,
        };
        let terms = Terms {
            position,
            attestation_type: &listed.attestation_type,
            intent_statement: intent.as_deref(),
            parents: None,
        };
        let bound = manifest.bind(&signer, &listed.signature, &terms).unwrap();
        Attestation {
            attestation_id: bound.id,
            authorization: None,
            binds: bound.binds,
            canonicalization: bound.canonicalization,
            content_hash: manifest.content_hash(),
            intent_statement: intent,
            manifest_hash: manifest.hash(),
            parents: bound.parents,
            signature_algorithm: signer.algorithm(),
            signer: signer.fingerprint(),
            public_key: signer,
            signature: bound.signature,
            submitter_claims: None,
            title: manifest.title().map(str::to_owned),
            attestation_type: listed.attestation_type.clone(),
        }
    }

    /// Three keys (entries 2 to 4) and all attestations of the manifest (entries 5 to 10).
    fn events() -> Events {
        let manifest = Manifest::parse(vector()["manifest"].to_string().as_bytes()).unwrap();
        let keys = keys();
        let registered = keys.iter().map(|key| registration(key).to_payload());
        let attested = (0..6).map(|position| attestation(&manifest, position).to_payload());
        let registered = registered.map(|payload| (KeyRegistration::EVENT_TYPE, payload));
        registered.chain(attested.map(|payload| (Attestation::EVENT_TYPE, payload))).collect()
    }

    async fn node() -> TestNode {
        TestNode::of_events(NodeRole::Leader, &events()).await
    }

    async fn ask(node: &TestNode, question: &Value) -> DocumentVerdict {
        node.post(URL, &question.to_string(), &[]).await
    }

    #[tokio::test]
    async fn leader_and_follower_judge_a_document_alike() {
        let leader = node().await;
        let follower = TestNode::of_events(NodeRole::Follower, &events()).await;

        let (of_leader, mut of_follower) =
            (ask(&leader, &question()).await, ask(&follower, &question()).await);

        assert_eq!(of_leader.overall_status, VerifyStatus::Valid, "{of_leader:#?}");
        assert_eq!(of_leader.layer2.attestations[5].log_entry_id, Some(10));
        assert_eq!(of_leader.log.tree_head["tree_size"], 10);
        assert_eq!((of_leader.log.replicated, of_leader.log.witnessed_tree_size), (None, None));
        assert_eq!(of_follower.log.replicated.map(TreeSize::get), Some(10));
        of_follower.log.replicated = None;
        assert_eq!(of_follower, of_leader);
    }

    #[tokio::test]
    async fn an_intent_that_an_old_client_did_not_keep_is_read_from_its_entry() {
        let node = node().await;
        let mut question = question();
        let listed = question["manifest"]["attestations"][3].as_object_mut().unwrap();
        assert!(listed.remove("intent_statement").is_some());

        assert_eq!(ask(&node, &question).await.overall_status, VerifyStatus::Valid);
    }

    #[tokio::test]
    async fn what_was_signed_before_a_revocation_stays_valid() {
        let mut events = events();
        let key = keys().remove(0);
        let revocation = KeyRevocation {
            authorization: Authorization::Session {},
            fingerprint: key.fingerprint(),
            public_key: key,
        };
        events.push((KeyRevocation::EVENT_TYPE, revocation.to_payload()));
        let node = TestNode::of_events(NodeRole::Leader, &events).await;

        let verdict = ask(&node, &question()).await;

        assert_eq!(verdict.overall_status, VerifyStatus::Valid);
        let finding = &verdict.layer2.attestations[0];
        assert_eq!(finding.key_status_at_entry, Some(KeyState::Active));
        assert_eq!(finding.key_status_now, Some(KeyState::Revoked));
    }

    #[tokio::test]
    async fn what_the_log_does_not_hold_is_not_valid() {
        let fewer = &events()[..8];
        let node = TestNode::of_events(NodeRole::Leader, fewer).await;
        assert_eq!(ask(&node, &question()).await.overall_status, VerifyStatus::NotLogged);

        let node = TestNode::of_events(NodeRole::Leader, &events()[3..]).await;
        let verdict = ask(&node, &question()).await;
        assert_eq!(verdict.layer1.status, VerifyStatus::UnknownKey);
        assert_eq!(verdict.layer2.status, VerifyStatus::UnknownKey);
    }

    #[tokio::test]
    async fn a_digest_is_taken_as_tools_print_it() {
        let node = node().await;
        let digits = Hash::of(b"the document").to_hex();
        for (text, status) in [
            (digits.clone(), VerifyStatus::Valid),
            (digits.to_uppercase(), VerifyStatus::Valid),
            (Hash::of(b"another").to_string(), VerifyStatus::Invalid),
        ] {
            let mut question = question();
            question["source_hash"] = json!(text);
            assert_eq!(ask(&node, &question).await.overall_status, status, "{text}");
        }
    }

    #[tokio::test]
    async fn witnesses_can_be_required() {
        let node = node().await;
        let mut question = question();
        question["require"] = json!({ "witnesses": 1 });
        assert_eq!(ask(&node, &question).await.overall_status, VerifyStatus::Unwitnessed);
        question["require"] = json!({});
        assert_eq!(ask(&node, &question).await.overall_status, VerifyStatus::Valid);
    }

    /// What makes the key of a seed a witness.
    fn endorsement(witness: &SigningKey) -> Vec<u8> {
        let statement = OperatorStatement {
            after: TreeSize::ZERO.plus(1),
            category: Category::Witness,
            display_name: (),
            fingerprint: witness.fingerprint(),
            name: None,
            origin: "log.example/test".parse().unwrap(),
            server: (),
            timestamp: noon(),
            verb: Verb::Endorse,
        };
        let operator = SigningKey::from_seed([7; 32]);
        OperatorEndorsement::sign(statement, witness.public().into(), &operator).to_payload()
    }

    /// A witness's proof of a tree under a head of the operator's.
    fn witness_proof(witness: &SigningKey, tree: TreeRoot) -> Vec<u8> {
        let head = TreeHead {
            chain_head: Some(Hash::of(b"leaf")),
            epoch: 1,
            origin: "log.example/test".parse().unwrap(),
            root_hash: tree.hash,
            timestamp: noon(),
            tree_size: tree.size,
        };
        let claim = WitnessClaim {
            new_root: tree.hash,
            new_tree_size: tree.size,
            old_root: Hash::EMPTY_TREE,
            old_tree_size: TreeSize::ZERO,
            origin: head.origin.clone(),
            timestamp: noon(),
            witness: witness.fingerprint(),
        };
        let head = head.sign(&SigningKey::from_seed([7; 32])).to_json(String::new(), 1);
        claim.into_proof(witness, head, None).to_payload()
    }

    #[tokio::test]
    async fn a_witness_of_another_history_than_this_nodes_does_not_count() {
        let [honest, misled, early] = [21, 22, 23].map(|seed| SigningKey::from_seed([seed; 32]));
        let mut events = events();
        for witness in [&honest, &misled, &early] {
            events.push((OperatorEndorsement::EVENT_TYPE, endorsement(witness)));
        }
        let size = TreeSize::ZERO.plus(events.len() as u64 + 1);
        let root = TestNode::of_events(NodeRole::Leader, &events).await.tree_at(size.get());
        let fork = TreeRoot { size, hash: Hash::of(b"shown to one witness alone") };
        let beyond = TreeRoot { size: size.plus(100), ..fork };
        for (witness, tree) in [(&honest, root), (&misled, fork), (&early, beyond)] {
            events.push((WitnessProof::EVENT_TYPE, witness_proof(witness, tree)));
        }
        let node = TestNode::of_events(NodeRole::Follower, &events).await;
        let mut question = question();
        question["require"] = json!({ "witnesses": 1 });

        let verdict = ask(&node, &question).await;

        assert_eq!(verdict.overall_status, VerifyStatus::Valid);
        let counted = WitnessedSize { fingerprint: honest.fingerprint(), tree_size: size };
        assert_eq!(verdict.log.witnesses, [counted]);
        question["require"] = json!({ "witnesses": 2 });
        assert_eq!(ask(&node, &question).await.overall_status, VerifyStatus::Unwitnessed);
    }

    #[tokio::test]
    async fn what_cannot_be_judged_is_refused_with_its_place() {
        let node = node().await;
        let deep = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!([inner]));
        for (pointer, value, code) in [
            ("/source_hash", json!("abc"), Code::ValidationFailed),
            ("/source", json!("abc"), Code::UnknownField),
            ("/verifier_fingerprint", json!("abc"), Code::ValidationFailed),
            ("/trust_config", json!({}), Code::ValidationFailed),
            ("/require", json!({ "witnesses": 101 }), Code::ValidationFailed),
            ("/manifest", json!([]), Code::InvalidManifest),
            ("/manifest/extra", json!(1), Code::UnknownField),
            ("/manifest/document/content_hash", json!(1), Code::InvalidManifest),
            ("/manifest/document/title", json!("a\0b"), Code::NulCharacter),
            ("/manifest/document/notes", deep(31), Code::JsonTooDeep),
        ] {
            let mut question = question();
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            let parent = question.pointer_mut(parent).unwrap().as_object_mut().unwrap();
            parent.insert(name.to_owned(), value);
            assert_eq!(node.post_refusal(URL, &question.to_string()).await, code, "{pointer}");
        }
        let mut question = question();
        question["manifest"]["document"]["notes"] = deep(30);
        assert_eq!(ask(&node, &question).await.layer1.status, VerifyStatus::Invalid);
        assert_eq!(node.post_refusal(URL, "[]").await, Code::ValidationFailed);
        assert_eq!(node.post_refusal(URL, "{").await, Code::InvalidJson);
    }

    #[test]
    fn the_place_of_a_fault_is_counted_from_the_body() {
        let problem = Problem::from(ManifestError::Twice { position: 3 });
        assert_eq!(problem.errors()[0].pointer, "#/manifest/attestations/3/id");
    }

    #[tokio::test]
    async fn a_node_without_a_head_judges_nothing() {
        let node = TestNode::new(NodeRole::Follower, 0, |_| String::new()).await;
        assert_eq!(node.post_refusal(URL, &question().to_string()).await, Code::CatchingUp);
    }
}
