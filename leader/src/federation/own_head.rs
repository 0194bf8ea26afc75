//! Heads signed by our own key that others show us: each must lie on the history that we hold.
//!
//! Only such a head can stop this leader from signing; what peers say under their own keys can't
//! (docs/reliability.md, "When somebody lies").

use diogenes_common::clock::Timestamp;
use diogenes_common::evidence::{Observation, Observed};
use diogenes_common::head::SignedHead;
use diogenes_common::keys::Fingerprint;
use diogenes_common::merkle::TreeSize;
use diogenes_common::read::Snapshot;
use diogenes_common::statement::Reason;
use diogenes_common::store::{NewEvidence, NewIncident, Store, StoreError};

use crate::app::App;
use crate::peers::OwnSigned;
use crate::sequencer::NotSigning;

/// The incident of a database that lacks what our own key signed.
pub(crate) const SELF_ROLLED_BACK: &str = "self_rolled_back";
/// The incident of a peer whose word is not ours.
pub(crate) const PEER_DISAGREES: &str = "peer_disagrees";
/// The incident of a start that signs though no peer answered.
pub(crate) const START_UNCONFIRMED: &str = "start_unconfirmed";

/// Whether a head that our own key signed lies on the history that we hold. If it does not,
/// nothing is signed any more and the operator hears of it.
pub(crate) async fn lies_on_our_history(
    app: &App,
    snapshot: &Snapshot,
    head: &SignedHead,
) -> Result<bool, StoreError> {
    if head == &snapshot.head {
        return Ok(true);
    }
    let own = OwnSigned::head(head);
    if own.is_held(&app.store, &snapshot.edge).await? {
        app.sequencer.raise_floor(head.head().timestamp);
        return Ok(true);
    }
    app.sequencer.stop_signing(NotSigning::SelfRolledBack);
    Notes::of(app).self_rolled_back(&own, snapshot.edge.size()).await?;
    Ok(false)
}

/// Notes that a peer's root is not ours, with what it said: shown, one open for each peer, stops
/// nothing.
pub(crate) async fn peer_disagrees(
    app: &App,
    peer: Fingerprint,
    size: TreeSize,
    said: &[u8],
) -> Result<(), StoreError> {
    tracing::warn!(peer.key = %peer.short(), peer.size = %size, "a peer names another root");
    let detail = format!("it names a root at size {size} that is not on this log's history");
    let notes = Notes::of(app);
    let peer = peer.to_string();
    let shown = Some((said, peer.as_str()));
    notes.open(PEER_DISAGREES, "transient", peer.clone(), detail, shown).await
}

/// What the operator is told of, before and while the leader serves.
pub(crate) struct Notes<'a> {
    pub(crate) store: &'a Store,
    pub(crate) now: Timestamp,
    /// Whose log it is.
    pub(crate) operator: Fingerprint,
}

impl<'a> Notes<'a> {
    /// Those of a leader that serves.
    pub(crate) fn of(app: &'a App) -> Self {
        Self { store: &app.store, now: app.clock.now(), operator: app.operator_fingerprint() }
    }

    /// Our own key signed what the `held` entries do not contain.
    pub(crate) async fn self_rolled_back(
        &self,
        own: &OwnSigned,
        held: TreeSize,
    ) -> Result<(), StoreError> {
        let tree = own.tree();
        tracing::error!(
            head.size = %tree.size,
            head.root = %tree.hash,
            log.size = %held,
            "a head signed by our own key is not on the history that we hold: nothing is signed; \
             stop this leader, then: diogenes-leader recover --from URL"
        );
        let at = own.timestamp().map(|at| format!(" at {at}")).unwrap_or_default();
        let detail = format!(
            "a head of size {} signed by this leader's key{at} is not on the history that it \
             holds (size {held}): stop it, then run `diogenes-leader recover --from URL`",
            tree.size
        );
        let evidence = Some((own.text(), "a peer"));
        let subject = self.operator.to_string();
        self.open(SELF_ROLLED_BACK, "latched", subject, detail, evidence).await
    }

    /// A peer shows something that our key did not sign, which changes nothing.
    pub(crate) async fn peer_shows_something_else(
        &self,
        url: &str,
        what: &str,
        body: &[u8],
    ) -> Result<(), StoreError> {
        let detail = format!("it shows no head that this log's key signed: {what}");
        self.open(PEER_DISAGREES, "transient", url.to_owned(), detail, Some((body, url))).await
    }

    /// A peer answers as it should.
    pub(crate) async fn peer_agrees(&self, url: &str) -> Result<(), StoreError> {
        self.store.close_incidents(PEER_DISAGREES, url, self.now).await.map(|_| ())
    }

    /// This start signs on the word of its own guard.
    pub(crate) async fn start_unconfirmed(&self) -> Result<(), StoreError> {
        let detail = "no node of DIOGENES_PEERS answered at start: that nothing newer was signed \
                      is known from signed-guard alone"
            .to_owned();
        let subject = self.operator.to_string();
        self.open(START_UNCONFIRMED, "transient", subject, detail, None).await
    }

    /// A peer answered since.
    pub(crate) async fn start_confirmed(&self) -> Result<(), StoreError> {
        let subject = self.operator.to_string();
        self.store.close_incidents(START_UNCONFIRMED, &subject, self.now).await.map(|_| ())
    }

    /// The database holds what our own key signed again.
    pub(crate) async fn recovered(&self) -> Result<(), StoreError> {
        let subject = self.operator.to_string();
        self.store.close_incidents(SELF_ROLLED_BACK, &subject, self.now).await.map(|_| ())
    }

    /// Opens an incident; `shown` is what was observed, and who showed it.
    async fn open(
        &self,
        kind: &'static str,
        class: &str,
        subject: String,
        detail: String,
        shown: Option<(&[u8], &str)>,
    ) -> Result<(), StoreError> {
        let evidence = shown.map(|(body, source)| {
            let reason = Reason::try_from(kind).expect("a kind is a reason");
            let observed = Observed { at: self.now, by: self.operator.to_string() };
            let bytes = Observation::new(reason, detail.clone(), source.to_owned(), &observed)
                .with_answer(200, [], body)
                .to_bytes();
            NewEvidence { kind: "observation".to_owned(), created_at: self.now, bytes }
        });
        let incident = NewIncident {
            kind: kind.to_owned(),
            subject,
            class: class.to_owned(),
            reason: kind.to_owned(),
            detail,
            opened_at: self.now,
            evidence,
        };
        self.store.open_incident(&incident).await.map(|_| ())
    }
}
