//! What every handler of the leader works with.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use diogenes_common::clock::Clock;
use diogenes_common::config::AppendPolicy;
use diogenes_common::head::Origin;
use diogenes_common::keys::{Fingerprint, PublicKey};
use diogenes_common::merkle::{Hash, TreeSize};
use diogenes_common::read::{Facts, Latching, Node, Published, Reads, ReadyAsk, Snapshot};
use diogenes_common::server::limits::Limiter;
use diogenes_common::server::problem::{Code, Problem};
use diogenes_common::store::{Store, StoreError};
use diogenes_common::telemetry;
use diogenes_common::view::NoEffect;
use diogenes_common::wire::node::Check;
use http::HeaderMap;
use tokio::sync::watch;

use crate::auth::{Auth, OperatorToken};
use crate::cosigning::Cosigning;
use crate::federation::accused;
use crate::metrics::Metrics;
use crate::sequencer::{AppendError, Handle, NotSigning};
use crate::start;
use crate::webhooks::Webhooks;

/// The leader as its handlers see it. Clones share one state.
#[derive(Clone)]
pub(crate) struct App(Arc<Parts>);

/// What an [`App`] is made of.
pub(crate) struct Parts {
    pub(crate) store: Store,
    pub(crate) sequencer: Handle,
    pub(crate) reads: Reads,
    pub(crate) published: Arc<Published>,
    /// The head of the current witness round.
    pub(crate) round: watch::Sender<Option<Arc<str>>>,
    /// How checkpoints get their cosignatures.
    pub(crate) cosigning: Cosigning,
    /// Who is told of entries.
    pub(crate) webhooks: Webhooks,
    pub(crate) operator: PublicKey,
    pub(crate) origin: Origin,
    pub(crate) token: OperatorToken,
    pub(crate) auth: Auth,
    pub(crate) append_policy: AppendPolicy,
    /// How long after its acceptance an endorsement begins to count.
    pub(crate) activation_delay_millis: i64,
    /// Whether a key is registered with a proof of possession only.
    pub(crate) require_key_proof: bool,
    pub(crate) heartbeat: Duration,
    pub(crate) max_quiet: Duration,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) node_metrics: telemetry::Metrics,
    /// Idempotency keys whose first request still runs.
    pub(crate) running: Mutex<HashSet<(String, String)>>,
    pub(crate) limiter: Limiter,
    /// What `/.well-known/diogenes` says.
    pub(crate) facts: watch::Sender<Arc<Facts>>,
}

impl std::ops::Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl App {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// The operator's fingerprint.
    pub(crate) fn operator_fingerprint(&self) -> Fingerprint {
        self.operator.fingerprint()
    }

    /// The log as readers see it now.
    pub(crate) fn snapshot(&self) -> Result<Arc<Snapshot>, Problem> {
        self.reads.snapshot()
    }

    /// Our own root at a size that the snapshot covers.
    pub(crate) async fn root_at(
        &self,
        snapshot: &Snapshot,
        size: TreeSize,
    ) -> Result<Hash, StoreError> {
        start::root_at(&self.store, &snapshot.edge, size).await
    }

    /// Claims an idempotency key for the time of one request; `None` if its first request runs.
    pub(crate) fn claim(&self, principal: &str, key: &str) -> Option<Claim> {
        let name = (principal.to_owned(), key.to_owned());
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.insert(name.clone()).then(|| Claim { app: self.clone(), name })
    }
}

impl Node for App {
    fn reads(&self) -> &Reads {
        &self.reads
    }

    fn metrics(&self) -> &telemetry::Metrics {
        &self.node_metrics
    }

    async fn refresh_metrics(&self) {
        let waiting = i64::try_from(self.sequencer.waiting()).unwrap_or(i64::MAX);
        self.metrics.queue_entries.set(waiting);
        if let Some(verification) = self.reads.last_verification() {
            self.metrics.show_verification(&verification);
        }
        let shown = self.reads.checkpoint().map_or(0, |(tree, _)| tree.size.to_sql());
        self.metrics.checkpoint_tree_size.set(shown);
    }

    async fn checks(&self, _: ReadyAsk) -> Vec<Check> {
        let refusal = self.sequencer.not_signing();
        vec![Check {
            name: "signing".to_owned(),
            ok: refusal.is_none(),
            detail: refusal.map(|reason| reason.to_string()),
        }]
    }

    fn is_operator(&self, headers: &HeaderMap) -> bool {
        self.token.is_in(headers)
    }

    async fn latch(&self, proof: Latching) -> Result<(), Problem> {
        accused(self, proof).await
    }
}

/// A claimed idempotency key; given up when dropped.
pub(crate) struct Claim {
    app: App,
    name: (String, String),
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.app.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}

impl<R: Into<Problem>> From<AppendError<R>> for Problem {
    fn from(error: AppendError<R>) -> Self {
        use diogenes_common::batch::BrokenRule;
        use diogenes_common::leaf::LeafError;
        match error {
            AppendError::Refused(refusal) => refusal.into(),
            AppendError::Entry(fault) => match fault.rule {
                BrokenRule::Leaf(LeafError::TooLarge { .. }) => {
                    Self::new(Code::EntryTooLarge, "an entry has at most 65,535 bytes; send less")
                }
                rule => Self::invalid("#/payload", rule.to_string()),
            },
            AppendError::NoEffect { reason, .. } => no_effect(reason, ""),
            AppendError::Overloaded => {
                Self::overloaded("too many events wait to be appended; try again soon")
            }
            AppendError::Unreachable => Self::log_unreachable(),
            AppendError::ClockStep => Self::new(
                Code::ClockStep,
                "the leader's clock stepped, and nothing is stamped until it is right; reads go on",
            )
            .retry_after(Duration::from_secs(10)),
            AppendError::NotSigning(reason) => not_signing(reason),
            AppendError::Closing => Self::overloaded("the leader is shutting down"),
            AppendError::Internal => Self::internal(),
        }
    }
}

/// What a client is told about a rule of state that its event breaks; `place` names the event if
/// it is one of several.
pub(crate) fn no_effect(reason: NoEffect, place: &str) -> Problem {
    let (code, text) = match reason {
        NoEffect::KeyAlreadyRegistered => {
            (Code::KeyAlreadyRegistered, "this key is registered already")
        }
        NoEffect::UnknownKey => (
            Code::KeyNotActive,
            "a key that is named here is not registered; register it first (an attestation may bring a \
             `pseudonym` instead)",
        ),
        NoEffect::KeyNotActive => (
            Code::KeyNotActive,
            "a key that is named here is expired, succeeded or revoked: it signs nothing new, and \
             nothing new is said of it",
        ),
        NoEffect::KeyNotExpired => {
            (Code::ValidationFailed, "the key is not expired: leave `recovery` out")
        }
        NoEffect::ChallengeExpired => {
            (Code::ChallengeExpired, "the challenge expired meanwhile; ask for another one")
        }
        NoEffect::LegacyRefused => (
            Code::ChallengeFailed,
            "this key signs whole challenges, or has a role: sign `signing_input` with `action` and \
             `payload_hash` filled in, not the nonce",
        ),
        NoEffect::AlreadyAttested => {
            (Code::Conflict, "one of these events is an attestation that the log holds already")
        }
        NoEffect::UnknownParent => (
            Code::InvalidManifest,
            "the manifest lists an attestation that the log does not hold for this manifest",
        ),
        NoEffect::TypeNotSigned => (
            Code::TypeNotSigned,
            "this signer attested the manifest with another type, and the signature covers \
             neither: sign the form that binds all",
        ),
        NoEffect::KeyHasOtherRole => {
            (Code::KeyHasOtherRole, "the operator's key signs the log; this is not for it")
        }
        NoEffect::AlreadyEndorsed => (
            Code::EndorsementConflict,
            "an endorsement of this key in this category stands or is on offer; withdraw it first",
        ),
        NoEffect::AlreadyExpired => {
            (Code::ValidationFailed, "`valid_until` has passed; give an instant in the future")
        }
        NoEffect::CapacityExceeded => (
            Code::EndorsementCapacityExceeded,
            "this key gives as many endorsements as it may: withdraw one, or be endorsed by more \
             keys of standing",
        ),
        NoEffect::EndorsementLimit => (
            Code::EndorsementConflict,
            "this key accepted as many endorsements as it may: revoke the acceptance of one",
        ),
        NoEffect::UnknownOffer => (
            Code::NotFound,
            "there is no such offer between these keys; see GET /endorsements/{fingerprint}",
        ),
        NoEffect::OfferNotOpen => {
            (Code::EndorsementConflict, "the offer was answered or withdrawn, or it is expired")
        }
        NoEffect::NotAccepted => {
            (Code::EndorsementConflict, "the offer was not accepted: there is nothing to revoke")
        }
        NoEffect::EndorsementOver => (Code::EndorsementConflict, "the endorsement is over already"),
        NoEffect::AlreadyAlerted => {
            (Code::EndorsementConflict, "this key warns of that one already")
        }
        NoEffect::NotItsEndorser => (
            Code::Forbidden,
            "only who endorses a key, or did within the last 30 days, warns of it",
        ),
        NoEffect::NoTrustConfig => (Code::NotFound, "the key has no trust configuration"),
        NoEffect::CommitmentExists => {
            (Code::Conflict, "a claim with this commitment is in the log; salt the plaintext")
        }
        NoEffect::UnknownClaim => (Code::NotFound, "there is no such claim"),
        NoEffect::AlreadyRevealed => (Code::Conflict, "the claim is revealed already"),
        NoEffect::UnknownType
        | NoEffect::NotEndorsed
        | NoEffect::StaleStatement
        | NoEffect::UnknownSigner
        | NoEffect::NotAuthorized
        | NoEffect::StaleProfile
        | NoEffect::WitnessNotAuthorized
        | NoEffect::WitnessStale => {
            // The commands of those events decide by the same rules before they get here.
            tracing::error!(%reason, "a decided entry had no effect; refused");
            return Problem::internal();
        }
    };
    Problem::new(code, format!("{place}{text}"))
}

/// How a problem names one event of several: in its text, and as the beginning of JSON pointers.
pub(crate) fn place_of(index: Option<usize>) -> (String, String) {
    match index {
        None => (String::new(), "#".to_owned()),
        Some(index) => (format!("event {index}: "), format!("#/{index}")),
    }
}

fn not_signing(reason: NotSigning) -> Problem {
    Problem::new(Code::SigningPaused, format!("nothing is appended at the moment: {reason}"))
        .retry_after(SIGNING_PAUSED)
}

/// When it is worth asking again whether the leader signs: an operator has to act first.
pub(crate) const SIGNING_PAUSED: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn whoever_appends_while_the_clock_is_wrong_is_told_to_come_back() {
        let problem = Problem::from(AppendError::<Infallible>::ClockStep);

        assert_eq!(problem.code(), Code::ClockStep);
        assert!(problem.respond("i").headers().contains_key(http::header::RETRY_AFTER));
    }
}
