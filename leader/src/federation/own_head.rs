//! Heads signed by our own key that others show us: each must lie on the history that we hold.
//!
//! Only such a head can stop this leader from signing; what peers say under their own keys can't
//! (docs/reliability.md, "When somebody lies").

use diogenes_common::evidence::{Observation, Observed};
use diogenes_common::head::SignedHead;
use diogenes_common::keys::Fingerprint;
use diogenes_common::merkle::TreeSize;
use diogenes_common::read::Snapshot;
use diogenes_common::statement::Reason;
use diogenes_common::store::{NewEvidence, NewIncident, StoreError};

use crate::app::App;
use crate::sequencer::NotSigning;
use crate::start;

/// Whether a head that our own key signed lies on the history that we hold. If it does not,
/// nothing is signed any more and the operator hears of it.
pub(crate) async fn lies_on_our_history(
    app: &App,
    snapshot: &Snapshot,
    head: &SignedHead,
) -> Result<bool, StoreError> {
    if head == &snapshot.head || holds(app, snapshot, head).await? {
        return Ok(true);
    }
    let claim = head.head();
    tracing::error!(
        head.size = %claim.tree_size,
        head.root = %claim.root_hash,
        log.size = %snapshot.edge.size(),
        "a head signed by our own key is not on the history that we hold: nothing is signed"
    );
    app.sequencer.stop_signing(NotSigning::SelfRolledBack);
    let detail = format!(
        "a head of size {} signed by this leader's key at {} is not on the history that it holds \
         (size {})",
        claim.tree_size,
        claim.timestamp,
        snapshot.edge.size()
    );
    let subject = head.key_fingerprint();
    open_incident(app, "self_rolled_back", "latched", subject, detail, Some(head)).await?;
    Ok(false)
}

/// Notes that a peer's root is not ours: shown, one open for each peer, stops nothing.
pub(crate) async fn peer_disagrees(
    app: &App,
    peer: Fingerprint,
    size: TreeSize,
) -> Result<(), StoreError> {
    tracing::warn!(peer.key = %peer.short(), peer.size = %size, "a peer names another root");
    let detail = format!("it names a root at size {size} that is not on this log's history");
    open_incident(app, "peer_disagrees", "transient", peer, detail, None).await
}

/// Compares size, root and chain head with what we hold, committed entries above the newest
/// signed head included.
async fn holds(app: &App, snapshot: &Snapshot, head: &SignedHead) -> Result<bool, StoreError> {
    let head = head.head();
    if head.tree_size > snapshot.edge.size() {
        return Ok(false);
    }
    let root = start::root_at(&app.store, &snapshot.edge, head.tree_size).await?;
    if root != head.root_hash {
        return Ok(false);
    }
    let chain_head = match head.tree_size {
        TreeSize::ZERO => None,
        size => app.store.entry(size.get()).await?.map(|leaf| leaf.entry_hash()),
    };
    Ok(chain_head == head.chain_head)
}

async fn open_incident(
    app: &App,
    kind: &'static str,
    class: &str,
    subject: Fingerprint,
    detail: String,
    head: Option<&SignedHead>,
) -> Result<(), StoreError> {
    let now = app.clock.now();
    let evidence = head.map(|head| {
        let reason = Reason::try_from(kind).expect("a kind is a reason");
        let observed = Observed { at: now, by: app.operator_fingerprint().to_string() };
        let json = serde_json::to_vec(&head.to_json(String::new(), 0)).unwrap_or_default();
        let bytes = Observation::new(reason, detail.clone(), "a peer".to_owned(), &observed)
            .with_answer(200, [], &json)
            .to_bytes();
        NewEvidence { kind: "observation".to_owned(), created_at: now, bytes }
    });
    let incident = NewIncident {
        kind: kind.to_owned(),
        subject: subject.to_string(),
        class: class.to_owned(),
        reason: kind.to_owned(),
        detail,
        opened_at: now,
        evidence,
    };
    app.store.open_incident(&incident).await.map(|_| ())
}
