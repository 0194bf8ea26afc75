//! What is kept when something is wrong: evidence of what is proven, observations of the rest.

use std::collections::BTreeMap;
use std::time::Duration;

use diogenes_common::clock::Timestamp;
use diogenes_common::evidence::{self, Evidence, Kind, Observation, Proof as Step, Statement};
use diogenes_common::exit::Failure;
use diogenes_common::files;
use diogenes_common::head::SignedHead;
use diogenes_common::merkle::{Hash, NodeId, Nodes, TreeRoot, TreeSize, verify_consistency};
use diogenes_common::read::Latching;
use diogenes_common::retry::Retry;
use diogenes_common::server::problem::Problem;
use diogenes_common::statement::Reason;
use diogenes_common::store::{Incident, NewEvidence, NewIncident, Store, StoreError};

use super::Shared;
use super::check::Proof;
use super::source::{Consistency, Exhibit};
use crate::replica::{Event, Fault};

/// The incidents of what is proven against the log.
pub(crate) const LATCHED: &str = "latched";
/// The incidents of sources that sent what does not hold.
pub(crate) const SOURCE_FAULT: &str = "source_fault";

/// The open incident that keeps this follower latched.
pub(crate) async fn open_latch(store: &Store) -> Result<Option<Incident>, StoreError> {
    store.open_incident_of(LATCHED).await
}

/// The kind of evidence that a stored incident names.
pub(crate) fn kind_of(reason: &str) -> Kind {
    let quoted = serde_json::Value::from(reason);
    // A reason that this version does not know was written by a newer one: latched all the same.
    serde_json::from_value(quoted).unwrap_or(Kind::BadEntry)
}

/// Evidence that the larger head extends another tree of the smaller one's size, if the answer
/// shows that.
pub(super) fn fork_prefix(
    shared: &Shared,
    known: &SignedHead,
    head: &SignedHead,
    answer: &Consistency,
) -> Option<Evidence> {
    let log = shared.log()?;
    let (small, large) = (known.head().tree(), head.head().tree());
    let other = TreeRoot { hash: answer.first_root, ..small };
    verify_consistency(&other, &large, &answer.hashes).ok()?;
    (other != small).then(|| {
        evidence::fork_prefix(
            (&log).into(),
            [Statement::from(known), Statement::from(head)],
            vec![Step::consistency(other, large, answer.hashes.clone())],
            &shared.observed(shared.clock.now()),
        )
    })
}

/// A proof that is complete already.
pub(crate) fn file(evidence: Evidence) -> Proof {
    Proof::File(Box::new(evidence))
}

/// Writes the evidence durably, to the database and to a file, and latches. `None` if the evidence
/// does not convince the verifier that strangers use.
pub(crate) async fn latch(
    shared: &Shared,
    url: &str,
    upto: Option<TreeSize>,
    proof: Proof,
) -> Result<Option<()>, Failure> {
    let mut retry = Retry::new(Duration::from_millis(200));
    let now = shared.clock.now();
    let evidence = loop {
        match complete(shared, upto, &proof, now).await {
            Ok(evidence) => break evidence,
            Err(error) if shared.tasks.is_stopping() => {
                return Err(super::store_failure(error));
            }
            Err(error) => wait(shared, error, &mut retry).await?,
        }
    };
    let Some(evidence) = evidence else { return Ok(None) };
    // What one task proves another may prove at the same moment: the first file stays.
    let _one_at_a_time = shared.latching.lock().await;
    if let Ok(Some(incident)) = open_latch(&shared.store).await
        && let Some(evidence) = incident.evidence_id
    {
        shared.on(Event::EvidenceStored { kind: kind_of(&incident.reason), evidence });
        return Ok(Some(()));
    }
    let (kind, bytes) = (evidence.kind(), evidence.to_bytes());
    if let Err(error) = evidence::verify(&bytes, None, None) {
        tracing::error!(%error, kind = kind.as_str(), "evidence that proves nothing");
        return Ok(None);
    }
    let id = loop {
        match keep(shared, url, kind, &bytes, now).await {
            Ok(id) => break id,
            Err(error) => wait(shared, error, &mut retry).await?,
        }
    };
    write_file(shared, id, &bytes)?;
    tracing::error!(evidence.id = id, kind = kind.as_str(), "proven: the log is bad; latched");
    shared.on(Event::EvidenceStored { kind, evidence: id });
    Ok(Some(()))
}

/// Keeps a proof that another node sent, which was verified and is new, and latches as if this node
/// had found it itself.
pub(crate) async fn received(shared: &Shared, proof: Latching) -> Result<(), Problem> {
    let log = shared.log().map(|log| log.origin().to_string()).unwrap_or_default();
    let _one_at_a_time = shared.latching.lock().await;
    let incident = shared.store.open_incident(&proof.incident(&log)).await?;
    let kept = shared.store.incident(incident).await?.and_then(|incident| incident.evidence_id);
    let Some(evidence) = kept else { return Err(Problem::internal()) };
    // Of an incident that was open already it is the file from which it was opened.
    let file = shared.store.evidence(evidence).await?.map(|kept| kept.bytes);
    if let Err(failure) = write_file(shared, evidence, &file.unwrap_or_default()) {
        // The database has it, and that is what is served.
        tracing::warn!(evidence.id = evidence, "no copy of the evidence: {}", failure.what());
    }
    let kind = proof.kind;
    tracing::error!(
        evidence.id = evidence,
        kind = kind.as_str(),
        "another node proved it: latched"
    );
    shared.on(Event::EvidenceStored { kind, evidence });
    Ok(())
}

/// Keeps what a source sent, once for each source and reason until it recovers.
pub(super) async fn observe(
    shared: &Shared,
    url: &str,
    fault: Fault,
    detail: &str,
    exhibit: &Exhibit,
) {
    let now = shared.clock.now();
    if !shared.first_of(url, fault.reason()) {
        return;
    }
    let Ok(reason) = Reason::try_from(fault.reason()) else { return };
    let observation =
        Observation::new(reason, detail.to_owned(), url.to_owned(), &shared.observed(now))
            .with_answer(
                exhibit.status,
                exhibit.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())),
                &exhibit.body,
            );
    let incident = NewIncident {
        kind: SOURCE_FAULT.to_owned(),
        subject: url.to_owned(),
        class: "transient".to_owned(),
        reason: fault.reason().to_owned(),
        detail: detail.to_owned(),
        opened_at: now,
        evidence: shared.may_exhibit(url, fault.reason(), now).then(|| NewEvidence {
            kind: "observation".to_owned(),
            created_at: now,
            bytes: observation.to_bytes(),
        }),
    };
    if let Err(error) = shared.store.open_incident(&incident).await {
        tracing::warn!(%error, "an observation could not be kept");
    }
}

/// A source sends what holds again.
pub(super) async fn recovered(shared: &Shared, url: &str) {
    if !shared.forget_firsts(url) {
        return;
    }
    tracing::info!(source.url = %url, "a source recovered");
    if let Err(error) = shared.store.close_incidents(SOURCE_FAULT, url, shared.clock.now()).await {
        tracing::warn!(%error, "incidents could not be closed");
    }
}

/// Adds what only the store has to a proof.
async fn complete(
    shared: &Shared,
    upto: Option<TreeSize>,
    proof: &Proof,
    now: Timestamp,
) -> Result<Option<Evidence>, StoreError> {
    let observed = shared.observed(now);
    let mut fault = match proof {
        Proof::File(evidence) => return Ok(Some((**evidence).clone())),
        Proof::Batch(fault) => fault.clone(),
    };
    if let Some(missing) = fault.missing() {
        // What was verified before the fault is on its way to the store.
        let size = upto.unwrap_or(TreeSize::ZERO);
        let mut stored = shared.stored.subscribe();
        let reached = stored.wait_for(|tree| tree.size >= size);
        tokio::time::timeout(Duration::from_secs(30), reached)
            .await
            .map_err(|_| StoreError::Unreachable("the batch before is not stored".to_owned()))?
            .map_err(|_| StoreError::Unreachable("the node ends".to_owned()))?;
        let index = missing.index;
        let asked: Vec<NodeId> =
            missing.nodes.iter().filter(|(_, hash)| hash.is_none()).map(|(id, _)| *id).collect();
        let edge = shared.store.load_edge(size).await?;
        let hashes = shared.store.nodes(&asked, &edge).await?;
        let known = Known(asked.into_iter().zip(hashes).collect());
        let leaf = shared.store.leaves(index, index + 1, u64::MAX).await?.pop();
        let Some(leaf) = leaf else { return Ok(None) };
        if !fault.supply(leaf, &known) {
            return Ok(None);
        }
    }
    Ok(fault.evidence(&observed))
}

struct Known(BTreeMap<NodeId, Hash>);

impl Nodes for Known {
    fn node(&self, id: NodeId) -> Option<Hash> {
        self.0.get(&id).copied()
    }
}

async fn keep(
    shared: &Shared,
    url: &str,
    kind: Kind,
    bytes: &[u8],
    now: Timestamp,
) -> Result<i64, StoreError> {
    let incident = NewIncident {
        kind: kind.as_str().to_owned(),
        subject: shared.log().map_or_else(|| url.to_owned(), |log| log.origin().to_string()),
        class: LATCHED.to_owned(),
        reason: kind.as_str().to_owned(),
        detail: format!("the log's own signatures prove {}; seen at {url}", kind.as_str()),
        opened_at: now,
        evidence: Some(NewEvidence {
            kind: kind.as_str().to_owned(),
            created_at: now,
            bytes: bytes.to_vec(),
        }),
    };
    let id = shared.store.open_incident(&incident).await?;
    let opened = shared.store.incident(id).await?;
    Ok(opened.and_then(|incident| incident.evidence_id).unwrap_or(id))
}

/// The file is for the operator to copy; the database's row is what is served.
fn write_file(shared: &Shared, id: i64, bytes: &[u8]) -> Result<(), Failure> {
    let folder = shared.data_dir.join("evidence");
    files::private_dir(&folder)?;
    files::replace(&folder.join(format!("{id}.json")), bytes)?;
    Ok(())
}

async fn wait(shared: &Shared, error: StoreError, retry: &mut Retry) -> Result<(), Failure> {
    if !matches!(error, StoreError::Unreachable(_)) || shared.tasks.is_stopping() {
        return Err(super::store_failure(error));
    }
    tracing::warn!(%error, "evidence waits for the database");
    tokio::select! {
        () = tokio::time::sleep(retry.next_delay().min(Duration::from_secs(2))) => {}
        () = shared.tasks.stopping() => {}
    }
    Ok(())
}
