//! Files that show what went wrong: listed, downloaded, and taken from whoever has a proof.
//!
//! ```text
//! read -> weigh (pure) -> known already? -> kept durably -> the node stops what must stop
//! ```
//!
//! What a stranger sends changes nothing before it is proven from its own bytes, and what is known
//! already changes nothing again: so nodes that tell each other come to rest. While an incident is
//! open, one file of each kind is kept against the log, and one of each witness that the log ever
//! authorised, however many others prove the same.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_DISPOSITION, HeaderMap, HeaderValue};

use super::answer::{Freshness, json, text_json};
use super::query::Params;
use super::reads::{LogFacts, Reads, Role};
use crate::clock::Timestamp;
use crate::evidence::{
    Against, Identity, Kind, MAX_EVIDENCE_BYTES, Rejected, Watched, Weighed, weigh,
};
use crate::keys::Fingerprint;
use crate::merkle::Hash;
use crate::server::body::{self, Path, RawBody};
use crate::server::problem::{Code, Problem};
use crate::statement::Category;
use crate::store::{EvidenceRow, Kept, NewEvidence, NewIncident, Store, StoreError};
use crate::wire::evidence::{EvidenceFile, EvidenceItem, EvidenceList};

/// How many files a page lists at most.
const PAGE: u64 = 100;

/// How many files a node remembers the hashes of.
const REMEMBERED: usize = 4096;

/// Where proofs are sent, and the files are listed.
pub const EVIDENCE: &str = "/api/v1/evidence";

/// Where a file is served.
pub fn href(id: i64) -> String {
    format!("{EVIDENCE}/{id}")
}

/// A proof against the key of a node's own log, verified and not known before.
#[derive(Clone, Debug)]
pub struct Latching {
    /// What it proves.
    pub kind: Kind,
    /// The file.
    pub file: Bytes,
    /// When it came.
    pub at: Timestamp,
}

impl Latching {
    /// The incident that keeps the file: latched until the operator acknowledges it.
    pub fn incident(&self, log: &str) -> NewIncident {
        let kind = self.kind.as_str();
        NewIncident {
            kind: kind.to_owned(),
            subject: log.to_owned(),
            class: "latched".to_owned(),
            reason: kind.to_owned(),
            detail: format!("the log's own signatures prove {kind}; another node sent the proof"),
            opened_at: self.at,
            evidence: Some(NewEvidence {
                kind: kind.to_owned(),
                created_at: self.at,
                bytes: self.file.to_vec(),
            }),
        }
    }
}

/// What a node remembers of the files that it keeps: they never change.
#[derive(Default)]
pub(super) struct Shelf {
    filed: Mutex<BTreeMap<i64, Filed>>,
    /// Held while a proof is taken, so that the same one sent twice is kept once.
    taking: tokio::sync::Mutex<()>,
}

#[derive(Clone, Copy)]
struct Filed {
    sha256: Hash,
    /// What it proves; `None` of an observation.
    identity: Option<Identity>,
}

impl Shelf {
    /// Hashes a file at first sight; `None` if it is gone.
    async fn filed(&self, store: &Store, row: &EvidenceRow) -> Result<Option<Filed>, StoreError> {
        if let Some(filed) = self.memory().get(&row.id) {
            return Ok(Some(*filed));
        }
        let Some(file) = store.evidence(row.id).await? else { return Ok(None) };
        let identity = row.is_proof().then(|| Identity::of(&file.bytes)).flatten();
        let filed = Filed { sha256: Hash::of(&file.bytes), identity };
        let mut memory = self.memory();
        if memory.len() < REMEMBERED {
            memory.insert(row.id, filed);
        }
        Ok(Some(filed))
    }

    /// Whether a kept file proves the same.
    async fn knows(&self, store: &Store, proof: Identity) -> Result<bool, StoreError> {
        let mut after = 0;
        loop {
            let rows = store.evidence_after(Kept::Proofs, after, PAGE).await?;
            let Some(last) = rows.last() else { return Ok(false) };
            after = last.id;
            for row in &rows {
                let filed = self.filed(store, row).await?;
                if filed.and_then(|filed| filed.identity) == Some(proof) {
                    return Ok(true);
                }
            }
        }
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, BTreeMap<i64, Filed>> {
        self.filed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The evidence and observation files that this node keeps, the newest last.
#[utoipa::path(
    get,
    path = "/api/v1/evidence",
    tag = "log",
    params(
        ("limit" = Option<u64>, Query, maximum = 100, description = "From 1 to 100, by default 100"),
        ("after" = Option<u64>, Query, description = "The number after which the page begins"),
    ),
    responses((status = 200, description = "The files of this page", body = EvidenceList)),
)]
pub(super) async fn list(
    State(reads): State<Reads>,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let limit = params.number("limit", 1..=PAGE)?.unwrap_or(PAGE);
    let after = params.number("after", 0..=super::LARGEST)?.unwrap_or(0);
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let mut rows = reads.store().evidence_after(Kept::All, after, limit + 1).await?;
    let page = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = rows.len() > page;
    rows.truncate(page);
    let mut evidence = Vec::with_capacity(rows.len());
    for row in rows {
        if let Some(filed) = reads.shelf().filed(reads.store(), &row).await? {
            evidence.push(item(row, filed.sha256));
        }
    }
    Ok(json(&EvidenceList { evidence, has_more }, Freshness::Brief, &headers))
}

fn item(row: EvidenceRow, sha256: Hash) -> EvidenceItem {
    EvidenceItem {
        id: row.id,
        proof: row.is_proof(),
        kind: row.kind,
        created_at: row.created_at,
        bytes: row.bytes,
        sha256,
        href: href(row.id),
    }
}

/// One evidence or observation file, byte for byte as it was kept.
#[utoipa::path(
    get,
    path = "/api/v1/evidence/{id}",
    tag = "log",
    params(("id" = i64, Path, description = "The file's number")),
    responses(
        (status = 200, description = "The file; it never changes", body = EvidenceFile, headers(("ETag"))),
    ),
)]
pub(super) async fn file(
    State(reads): State<Reads>,
    Path(id): Path<i64>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let absent = || Problem::new(Code::NotFound, "no evidence file has this number");
    let evidence = reads.store().evidence(id).await?.ok_or_else(absent)?;
    let tag = Hash::of(&evidence.bytes).to_hex();
    let mut response = text_json(evidence.bytes, Freshness::Immutable(tag), &headers);
    let name = format!("attachment; filename=\"evidence-{id}.json\"");
    if let Ok(name) = HeaderValue::try_from(name) {
        response.headers_mut().insert(CONTENT_DISPOSITION, name);
    }
    Ok(response)
}

/// Takes a proof that somebody signed two histories, checks it, keeps it and acts on it.
///
/// The sender is not asked who it is: the file proves what it says, or nothing changes.
#[utoipa::path(
    post,
    path = "/api/v1/evidence",
    tag = "log",
    extensions(("x-problems" = json!([
        "catching_up", "evidence_foreign", "evidence_unproven", "evidence_unreadable",
        "log_unreachable", "overloaded", "private_key_in_request",
    ]))),
    request_body(description = "The file as it was downloaded, at most 1 MiB", content = EvidenceFile),
    responses((status = 204, description = "Proven and kept, or known already")),
)]
pub(super) async fn receive(
    State(reads): State<Reads>,
    State(role): State<Role>,
    headers: HeaderMap,
    sent: RawBody<MAX_EVIDENCE_BYTES>,
) -> Result<StatusCode, Problem> {
    body::require_type(&headers, &["application/json"])?;
    let facts = reads.facts();
    let log = facts.log.clone().ok_or_else(|| reads.nothing_yet())?;
    let file = Bytes::clone(&sent);
    let weighed = reads.weighed(file.clone(), log).await??;
    if let Against::Witness(witness) = weighed.against
        && !is_witness(reads.store(), witness).await?
    {
        return Err(Rejected::Foreign.into());
    }
    let proof = Latching { kind: weighed.kind, file, at: reads.now() };
    match weighed.against {
        Against::Log => {
            let _one_at_a_time = reads.shelf().taking.lock().await;
            if !reads.shelf().knows(reads.store(), weighed.identity).await? {
                role.latch(proof).await?;
            }
        }
        Against::Witness(witness) => {
            reads.keep_equivocation(witness, weighed.identity, &proof).await?;
        }
    }
    Ok(StatusCode::NO_CONTENT)
}

impl Reads {
    /// Keeps the proof that a witness signed two histories, once, and says so. It stops nothing.
    pub(super) async fn keep_equivocation(
        &self,
        witness: Fingerprint,
        identity: Identity,
        proof: &Latching,
    ) -> Result<(), StoreError> {
        let _one_at_a_time = self.shelf().taking.lock().await;
        if self.shelf().knows(self.store(), identity).await? {
            return Ok(());
        }
        self.store().open_incident(&equivocation(witness, proof)).await?;
        tracing::error!(witness.key = %witness, "proven: a witness signed two histories");
        Ok(())
    }

    /// Weighs a file away from the tasks that answer others.
    async fn weighed(
        &self,
        file: Bytes,
        log: LogFacts,
    ) -> Result<Result<Weighed, Rejected>, Problem> {
        let weigh = move || {
            let operator = log.operator.fingerprint();
            weigh(&file, &Watched { id: log.log_id, origin: &log.origin, operator })
        };
        self.beside(usize::MAX, weigh).await
    }
}

/// The incident of a witness that signed two histories. It stops nothing.
fn equivocation(witness: Fingerprint, proof: &Latching) -> NewIncident {
    NewIncident {
        class: "transient".to_owned(),
        detail: "the witness signed two histories of this log: its signatures are worth nothing"
            .to_owned(),
        ..proof.incident(&witness.to_string())
    }
}

/// Whether the operator ever authorised this key as a witness. The keys of others are nobody's
/// witnesses, and their contradictions nobody's concern.
pub(super) async fn is_witness(store: &Store, key: Fingerprint) -> Result<bool, StoreError> {
    let said = store.endorsements([&key]).await?;
    Ok(said.iter().any(|row| row.category == Category::Witness.as_str()))
}

impl From<Rejected> for Problem {
    fn from(rejected: Rejected) -> Self {
        let code = match rejected {
            Rejected::Unreadable => Code::EvidenceUnreadable,
            Rejected::Unproven(_) => Code::EvidenceUnproven,
            Rejected::Foreign => Code::EvidenceForeign,
        };
        Self::new(code, rejected.to_string())
    }
}

#[cfg(test)]
mod tests {
    use http::header::ETAG;
    use serde_json::Value;

    use super::*;
    use crate::evidence::{Accused, Observed, contradiction};
    use crate::head::{Contradiction, SignedHead, TreeHead};
    use crate::keys::SigningKey;
    use crate::read::testing::{TestNode, noon};
    use crate::store::OBSERVATION;

    /// Two heads of the test's log that one key signed; each `n` makes another pair.
    fn fork(node: &TestNode, key: &SigningKey, n: u8) -> Vec<u8> {
        let head = |root: &[u8]| -> SignedHead {
            let claim = TreeHead {
                chain_head: Some(Hash::of(root)),
                epoch: 1,
                origin: "log.example/test".parse().unwrap(),
                root_hash: Hash::of(root),
                timestamp: noon(),
                tree_size: node.tree_at(1).size,
            };
            claim.sign(key)
        };
        let observed = Observed { at: noon(), by: "a test".to_owned() };
        let accused = Accused::log(key.public(), node.leaf(1));
        let heads = [&head(b"one"), &head(&[n])];
        contradiction(Contradiction::ForkSameSize, accused, heads, &observed).to_bytes()
    }

    fn operator() -> SigningKey {
        SigningKey::from_seed([7; 32])
    }

    async fn send(node: &TestNode, file: &[u8]) -> StatusCode {
        let file = String::from_utf8(file.to_vec()).unwrap();
        node.send("POST", "/api/v1/evidence", &file, &[]).await.status()
    }

    async fn listed(node: &TestNode) -> Vec<EvidenceItem> {
        node.get::<EvidenceList>("/api/v1/evidence").await.evidence
    }

    #[tokio::test]
    async fn a_proof_is_kept_once_however_often_and_in_whatever_words_it_is_sent() {
        let node = TestNode::with_entries(3).await;
        let file = fork(&node, &operator(), 2);

        assert_eq!(send(&node, &file).await, StatusCode::NO_CONTENT);
        assert_eq!(send(&node, &file).await, StatusCode::NO_CONTENT);
        let mut told: Value = serde_json::from_slice(&file).unwrap();
        told["observer"] = "somebody else".into();
        assert_eq!(send(&node, told.to_string().as_bytes()).await, StatusCode::NO_CONTENT);
        // Other heads prove the same kind again: the incident that is open says it already.
        for n in 3..9 {
            let other = fork(&node, &operator(), n);
            assert_eq!(send(&node, &other).await, StatusCode::NO_CONTENT);
        }

        let list = listed(&node).await;
        assert_eq!(list.len(), 1);
        let EvidenceItem { id, kind, proof, bytes, sha256, href, .. } = &list[0];
        assert_eq!((kind.as_str(), *proof), ("fork_same_size", true));
        assert_eq!((*bytes, *sha256), (file.len() as u64, Hash::of(&file)));
        assert_eq!(*href, format!("/api/v1/evidence/{id}"));
        let answer = node.request(href, &[]).await;
        assert_eq!(answer.headers()[ETAG], format!("\"{}\"", sha256.to_hex()));
        assert_eq!(node.body(answer).await, file);
        assert_eq!(node.reads().store().incidents(true).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn what_proves_nothing_here_changes_nothing_and_says_why() {
        let node = TestNode::with_entries(3).await;
        let other = TestNode::with_events(vec![crate::read::testing::TestEvent::registration(
            9, "Alice", None,
        )])
        .await;
        let honest = String::from_utf8(fork(&node, &operator(), 2)).unwrap();
        let unproven = honest.replace("fork_same_size", "truncated");
        let stranger = fork(&node, &SigningKey::from_seed([8; 32]), 2);
        let foreign = {
            let mut file: Value = serde_json::from_str(&honest).unwrap();
            let genesis = String::from_utf8(other.leaf(1).bytes().to_vec()).unwrap();
            let genesis = genesis.replace("2026-01-15", "2026-01-16");
            file["accused"]["genesis"] =
                serde_json::to_value(crate::evidence::Bytes(genesis.into_bytes())).unwrap();
            file.to_string()
        };
        let refusal = async |body: &str| node.post_refusal("/api/v1/evidence", body).await;

        assert_eq!(refusal("").await, Code::EvidenceUnreadable);
        assert_eq!(refusal("{}").await, Code::EvidenceUnreadable);
        assert_eq!(refusal(&unproven).await, Code::EvidenceUnproven);
        assert_eq!(refusal(&foreign).await, Code::EvidenceForeign);
        let stranger = String::from_utf8(stranger).unwrap();
        assert_eq!(refusal(&stranger).await, Code::EvidenceUnproven, "its genesis names another");
        let long = " ".repeat(MAX_EVIDENCE_BYTES + 1);
        assert_eq!(refusal(&long).await, Code::PayloadTooLarge);
        assert_eq!(listed(&node).await, []);
        assert_eq!(node.reads().store().incidents(false).await.unwrap(), []);
    }

    #[tokio::test]
    async fn files_are_listed_in_pages_the_newest_last() {
        let node = TestNode::with_entries(2).await;
        for n in 0..5_u8 {
            let evidence = NewEvidence {
                kind: OBSERVATION.to_owned(),
                created_at: noon(),
                bytes: vec![b'0' + n],
            };
            let incident = NewIncident {
                kind: "source_fault".to_owned(),
                subject: n.to_string(),
                class: "transient".to_owned(),
                reason: "bad_batch".to_owned(),
                detail: String::new(),
                opened_at: noon(),
                evidence: Some(evidence),
            };
            node.reads().store().open_incident(&incident).await.unwrap();
        }
        let page = async |query: &str| {
            let page: EvidenceList = node.get(&format!("/api/v1/evidence?{query}")).await;
            let ids: Vec<i64> = page.evidence.iter().map(|item| item.id).collect();
            assert!(page.evidence.iter().all(|item| !item.proof && item.bytes == 1));
            (ids, page.has_more)
        };

        assert_eq!(page("limit=2").await, (vec![1, 2], true));
        assert_eq!(page("limit=2&after=2").await, (vec![3, 4], true));
        assert_eq!(page("limit=2&after=4").await, (vec![5], false));
        for query in ["limit=0", "limit=101", "after=-1"] {
            let url = format!("/api/v1/evidence?{query}");
            assert_eq!(node.refusal(&url).await, Code::ValidationFailed, "{query}");
        }
    }
}
