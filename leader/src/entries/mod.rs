//! Submitting events: `POST /log/entries` and `POST /add`.

mod add;
mod append;
mod http;
mod parse;
mod shapes;

use std::convert::Infallible;
use std::sync::Arc;

use ::http::HeaderMap;
use diogenes_common::config::AppendPolicy;
use diogenes_common::event::{
    AcceptRequest, AlertRequest, Attestation, ClaimRequest, ClaimReveal, CompositeDocument,
    EncryptedClaim, EndorsementAcceptance, EndorsementAcceptanceRevocation, EndorsementOffer,
    EndorsementRevocationAlert, EndorsementWithdrawal, KeyRegistration, KeyRevocation,
    KeySuccession, OfferRequest, Payload as _, RevokeAcceptanceRequest, TrustConfig,
    TrustConfigRequest, TrustConfigRevocation, TrustConfigRevocationRequest, WithdrawRequest,
};
use diogenes_common::keys::Fingerprint;
use diogenes_common::leaf::{Leaf, MAX_LEAF_BYTES};
use diogenes_common::read::Snapshot;
use diogenes_common::server::Caller;
use diogenes_common::shape::{self, Misfit};
use diogenes_common::store::StoreError;
use diogenes_common::view::NoEffect;
use diogenes_common::wire::composite::CompileRequest;
use serde::Deserialize;
use serde_json::{Map, Value};

use append::{Append, Prepared};
use parse::{ParseError, Submission, Submitted};

use crate::app::App;
use crate::attestations::{self, AttestError, AttestationRequest};
use crate::auth::AuthProof;
use crate::claims::{self, RevealError};
use crate::holders::{self, AskError, Asking};
use crate::idempotency::{Idempotency, RecallError, covering};
use crate::keys::{
    BadRegistration, EndRequest, KeyError, RegistrationRequest, revocation, succession,
};
use crate::sequencer::{AppendError, Appended, Outcome};

pub(crate) use http::router;

/// Who sends an event, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sender {
    Operator,
    /// The holder of this key, which is active.
    Key(Fingerprint),
    Anyone,
}

/// A request, read and not yet judged.
struct Request<'a> {
    submission: Submission,
    from: Origin<'a>,
    idempotency: Option<Idempotency>,
}

/// Where a request comes from.
#[derive(Clone, Copy)]
struct Origin<'a> {
    sender: Sender,
    caller: &'a Caller,
    headers: &'a HeaderMap,
}

/// What a request came to.
enum Submittal {
    Appended(Appended),
    /// The log says it already.
    Found {
        leaves: Vec<Leaf>,
        snapshot: Arc<Snapshot>,
    },
}

impl<'a> Origin<'a> {
    /// The event as a request to its own endpoint.
    fn to_end(self, event: &Submitted, auth: Option<&'a AuthProof>) -> EndRequest<'a> {
        let payload = serde_json::from_slice(&event.payload).unwrap_or_default();
        EndRequest { payload, auth, caller: self.caller, headers: self.headers }
    }
}

/// How many events of a request are checked before others have their turn on this thread: a
/// signature takes about 40 microseconds, and so an array would hold up every other request.
const TURN: usize = 16;

/// Why events were not appended.
#[derive(Debug, thiserror::Error)]
enum SubmitError {
    #[error(transparent)]
    Parse(#[from] ParseError),
    #[error("{error}")]
    Event { index: Option<usize>, error: EventError },
    #[error(transparent)]
    Recall(#[from] RecallError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Append(#[from] AppendError<Infallible>),
    #[error("the log does not allow this as it stands: {reason}")]
    NoEffect { index: Option<usize>, reason: NoEffect },
}

/// Why one event can't be appended.
#[derive(Debug, thiserror::Error)]
enum EventError {
    #[error("events of the type {0} can't be posted")]
    Reserved(String),
    #[error("{0}")]
    Registration(BadRegistration),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Attestation(#[from] AttestError),
    #[error(transparent)]
    Asked(#[from] AskError),
    #[error(transparent)]
    Reveal(#[from] RevealError),
    #[error("this is not the plaintext that the claimant committed to")]
    OtherPlaintext,
    #[error(transparent)]
    Auth(Misfit),
    #[error("this version takes no events of the type {0}")]
    NotYet(String),
    #[error("events of your own types need a session here, see /auth/login (APPEND_POLICY)")]
    SessionNeeded,
    #[error("events of your own types need the operator token here (APPEND_POLICY)")]
    TokenNeeded,
    #[error("events of your own types are the operator's alone here (APPEND_POLICY)")]
    OperatorOnly,
    #[error("an entry has at most 65,535 bytes; send less")]
    TooLarge,
}

/// Appends what was submitted.
async fn submit(app: &App, request: Request<'_>) -> Result<Submittal, SubmitError> {
    let Request { submission, from, idempotency } = request;
    let (events, many) = match submission {
        Submission::One(event) => (vec![event], false),
        Submission::Many(events) => (events, true),
    };
    let mut prepared = Vec::with_capacity(events.len());
    for (index, event) in events.into_iter().enumerate() {
        let index = many.then_some(index);
        let event = prepare(app, event, from).await;
        prepared.push(event.map_err(|error| SubmitError::Event { index, error })?);
        if prepared.len() % TURN == 0 {
            tokio::task::yield_now().await;
        }
    }
    match app.sequencer.submit(Append::new(prepared, idempotency)).await {
        Ok(Outcome::Appended(appended)) => Ok(Submittal::Appended(appended)),
        Ok(Outcome::Found { id }) => {
            let snapshot = covering(app, id).await.ok_or(RecallError::NotShown)?;
            Ok(Submittal::Found {
                leaves: app.store.entries(id - 1, id, u64::MAX).await?,
                snapshot,
            })
        }
        Err(AppendError::NoEffect { index, reason }) => {
            Err(SubmitError::NoEffect { index: many.then_some(index), reason })
        }
        Err(error) => Err(error.into()),
    }
}

/// Appends an event of a namespace that is the log's own.
async fn append_generic(
    app: &App,
    event: Submitted,
    sender: Sender,
) -> Result<Appended, SubmitError> {
    let prepared = generic(app.append_policy, event, sender)
        .map_err(|error| SubmitError::Event { index: None, error })?;
    match app.sequencer.submit(Append::new(vec![prepared], None)).await? {
        Outcome::Appended(appended) => Ok(appended),
        Outcome::Found { .. } => Err(AppendError::Internal.into()),
    }
}

/// Says whether this sender may append events of its own types.
fn may_post(policy: AppendPolicy, sender: Sender) -> Result<(), EventError> {
    match (policy, sender) {
        (AppendPolicy::Open, _)
        | (_, Sender::Operator)
        | (AppendPolicy::Authenticated, Sender::Key(_)) => Ok(()),
        (AppendPolicy::Authenticated, Sender::Anyone) => Err(EventError::SessionNeeded),
        (AppendPolicy::Operator, Sender::Anyone) => Err(EventError::TokenNeeded),
        (AppendPolicy::Operator, Sender::Key(_)) => Err(EventError::OperatorOnly),
    }
}

fn generic(policy: AppendPolicy, event: Submitted, sender: Sender) -> Result<Prepared, EventError> {
    may_post(policy, sender)?;
    if event.payload.len() > MAX_LEAF_BYTES {
        return Err(EventError::TooLarge);
    }
    Ok(Prepared::Generic(event))
}

/// Brings an event through the rules of its own endpoint, as far as they need no view.
async fn prepare(app: &App, event: Submitted, from: Origin<'_>) -> Result<Prepared, EventError> {
    if event.event_type.is_namespaced() {
        if matches!(event.event_type.namespace(), Some("x-diogenes" | "x-tlog" | "x-oversight")) {
            return Err(EventError::Reserved(event.event_type.to_string()));
        }
        return generic(app.append_policy, event, from.sender);
    }
    match event.event_type.as_str() {
        KeyRegistration::EVENT_TYPE => {
            let registration = RegistrationRequest::read(&event.payload)
                .and_then(|of| of.check(&app.origin, app.clock.now(), app.require_key_proof))
                .map_err(EventError::Registration)?;
            Ok(Prepared::checked(registration))
        }
        KeySuccession::EVENT_TYPE => {
            let auth = auth_of(&event)?;
            let event = succession(app, from.to_end(&event, auth.as_ref())).await?;
            Ok(Prepared::lifecycle(event, &app.origin))
        }
        KeyRevocation::EVENT_TYPE => {
            let auth = auth_of(&event)?;
            let event = revocation(app, from.to_end(&event, auth.as_ref())).await?;
            Ok(Prepared::lifecycle(event, &app.origin))
        }
        Attestation::EVENT_TYPE => {
            let request = AttestationRequest::read(&event.payload).map_err(AttestError::from)?;
            let signed = request.check().map_err(AttestError::from)?;
            let attest = attestations::prepare(app, from.headers, signed).await?;
            Ok(Prepared::Attestation(Box::new(attest)))
        }
        EndorsementOffer::EVENT_TYPE => asked::<OfferRequest>(app, &event, from).await,
        EndorsementAcceptance::EVENT_TYPE => asked::<AcceptRequest>(app, &event, from).await,
        EndorsementWithdrawal::EVENT_TYPE => asked::<WithdrawRequest>(app, &event, from).await,
        EndorsementAcceptanceRevocation::EVENT_TYPE => {
            asked::<RevokeAcceptanceRequest>(app, &event, from).await
        }
        EndorsementRevocationAlert::EVENT_TYPE => asked::<AlertRequest>(app, &event, from).await,
        TrustConfig::EVENT_TYPE => asked::<TrustConfigRequest>(app, &event, from).await,
        TrustConfigRevocation::EVENT_TYPE => {
            asked::<TrustConfigRevocationRequest>(app, &event, from).await
        }
        EncryptedClaim::EVENT_TYPE => asked::<ClaimRequest>(app, &event, from).await,
        CompositeDocument::EVENT_TYPE => asked::<CompileRequest>(app, &event, from).await,
        ClaimReveal::EVENT_TYPE => revealed(app, &event).await,
        "log_genesis"
        | "leader_epoch"
        | "witness_proof"
        | "anchor"
        | "operator_endorsement"
        | "operator_endorsement_revocation"
        | "operator_profile" => Err(EventError::Reserved(event.event_type.to_string())),
        other => Err(EventError::NotYet(other.to_owned())),
    }
}

/// An event that the holder of a key asks for; its payload is the request of its own endpoint.
async fn asked<R: holders::Request>(
    app: &App,
    event: &Submitted,
    from: Origin<'_>,
) -> Result<Prepared, EventError> {
    let auth = auth_of(event)?;
    let request: Value = serde_json::from_slice(&event.payload).unwrap_or_default();
    let asked: R = holders::read(&request)?;
    let Origin { caller, headers, .. } = from;
    let asking = Asking { request: &request, auth: auth.as_ref(), caller, headers };
    let event = holders::authorised(app, asked, asking).await?;
    Ok(Prepared::lifecycle(event, &app.origin))
}

/// The payload of a reveal, as it is posted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reveal {
    claim_entry_id: u64,
    plaintext: Map<String, Value>,
}

async fn revealed(app: &App, event: &Submitted) -> Result<Prepared, EventError> {
    let payload: Value = serde_json::from_slice(&event.payload).unwrap_or_default();
    let asked: Reveal = shape::read(&payload).map_err(AskError::Shape)?;
    let reveal = claims::reveal(app, asked.claim_entry_id, asked.plaintext).await?;
    Ok(Prepared::lifecycle(reveal.ok_or(EventError::OtherPlaintext)?, &app.origin))
}

/// The `auth` object of an event.
fn auth_of(event: &Submitted) -> Result<Option<AuthProof>, EventError> {
    event.auth.as_ref().map(shape::read).transpose().map_err(EventError::Auth)
}

#[cfg(test)]
mod tests {
    use diogenes_common::merkle::Hash;

    use super::*;

    #[test]
    fn who_may_append_own_types_follows_from_the_policy() {
        let key = Sender::Key(Fingerprint::new(Hash::of(b"key")));
        let code = |policy, sender| may_post(policy, sender).err().map(|error| error.to_string());
        let refused = |policy, sender, word: &str| {
            code(policy, sender).is_some_and(|text| text.contains(word))
        };

        for policy in [AppendPolicy::Authenticated, AppendPolicy::Operator, AppendPolicy::Open] {
            assert_eq!(code(policy, Sender::Operator), None);
        }
        assert_eq!(code(AppendPolicy::Authenticated, key), None);
        assert_eq!(code(AppendPolicy::Open, Sender::Anyone), None);
        assert!(refused(AppendPolicy::Authenticated, Sender::Anyone, "session"));
        assert!(refused(AppendPolicy::Operator, Sender::Anyone, "operator token"));
        assert!(refused(AppendPolicy::Operator, key, "alone"));
    }
}
