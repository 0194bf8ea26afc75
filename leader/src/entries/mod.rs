//! Submitting events: `POST /log/entries`.

mod append;
mod http;
mod parse;

use diogenes_common::batch::{BrokenRule, EntryFault};
use diogenes_common::clock::Timestamp;
use diogenes_common::event::{KeyRegistration, Payload as _};
use diogenes_common::leaf::{Leaf, LeafError, MAX_LEAF_BYTES};
use diogenes_common::merkle::Hash;
use diogenes_common::store::StoreError;

use append::{Append, Idempotency, Prepared, Refused};
use parse::{ParseError, Submission, Submitted};

use crate::app::App;
use crate::keys::{BadRegistration, RegistrationRequest};
use crate::sequencer::{AppendError, Appended, Outcome};

pub(crate) use http::router;

/// Who sends an event, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sender {
    Operator,
    Anyone,
}

/// A request, read and not yet judged.
struct Request {
    submission: Submission,
    sender: Sender,
    /// The key that repeats carry, with whose it is and the hash of the body.
    idempotency: Option<(String, String, Hash)>,
}

/// What became of a request.
enum Done {
    /// Entries that this request appended.
    Appended { appended: Appended, many: bool },
    /// Entries that an earlier request with the same key and body appended.
    Replayed { leaves: Vec<Leaf>, many: bool },
}

/// Why events were not appended.
#[derive(Debug, thiserror::Error)]
enum SubmitError {
    #[error(transparent)]
    Parse(#[from] ParseError),
    #[error("events of the type {0} can't be posted")]
    Reserved(String),
    #[error("{place}{error}")]
    Registration { place: String, error: BadRegistration },
    #[error("{0} is an event type of the log that this version does not take")]
    NotYet(String),
    #[error("sending events needs the operator token")]
    TokenNeeded,
    #[error("the request with this Idempotency-Key is still running")]
    StillRunning,
    #[error("this Idempotency-Key was used for another body")]
    OtherBody,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Append(#[from] AppendError<Refused>),
}

/// Appends what was submitted, or finds that it was appended before.
async fn submit(app: &App, request: Request) -> Result<Done, SubmitError> {
    let Request { submission, sender, idempotency } = request;
    let (events, many) = match submission {
        Submission::One(event) => (vec![event], false),
        Submission::Many(events) => (events, true),
    };
    let now = app.clock.now();
    let may_post_generic = match app.append_policy {
        diogenes_common::config::AppendPolicy::Open => true,
        _ => sender == Sender::Operator,
    };
    let prepared = events
        .into_iter()
        .enumerate()
        .map(|(index, event)| {
            let place = if many { format!("event {index}: ") } else { String::new() };
            prepare(app, event, now, may_post_generic, place)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let Some((principal, key, body_hash)) = idempotency else {
        return append(app, prepared, None, many).await;
    };
    let _claim = app.claim(&principal, &key).ok_or(SubmitError::StillRunning)?;
    let name = [(principal.clone(), key.clone())];
    if let Some(known) = app.store.remembered(&name, now).await?.pop() {
        if known.body_hash != body_hash {
            return Err(SubmitError::OtherBody);
        }
        let after = known.first_id - 1;
        let leaves = app.store.entries(after, after + known.count, u64::MAX).await?;
        return Ok(Done::Replayed { leaves, many });
    }
    let idempotency = Idempotency { principal, key, body_hash };
    append(app, prepared, Some(idempotency), many).await
}

async fn append(
    app: &App,
    prepared: Vec<Prepared>,
    idempotency: Option<Idempotency>,
    many: bool,
) -> Result<Done, SubmitError> {
    match app.sequencer.submit(Append::new(prepared, idempotency)).await? {
        Outcome::Appended(appended) => Ok(Done::Appended { appended, many }),
        Outcome::Found { .. } => Err(AppendError::Internal.into()),
    }
}

fn prepare(
    app: &App,
    event: Submitted,
    now: Timestamp,
    may_post_generic: bool,
    place: String,
) -> Result<Prepared, SubmitError> {
    let event_type = event.event_type.as_str();
    if event.event_type.is_namespaced() {
        if matches!(event.event_type.namespace(), Some("x-diogenes" | "x-tlog" | "x-oversight")) {
            return Err(SubmitError::Reserved(event_type.to_owned()));
        }
        if !may_post_generic {
            return Err(SubmitError::TokenNeeded);
        }
        if event.payload.len() > MAX_LEAF_BYTES {
            let rule = BrokenRule::Leaf(LeafError::TooLarge { length: event.payload.len() });
            return Err(AppendError::Entry(EntryFault { id: 0, rule }).into());
        }
        return Ok(Prepared::Generic(event));
    }
    match event_type {
        KeyRegistration::EVENT_TYPE => {
            let registration = RegistrationRequest::read(&event.payload)
                .and_then(|request| request.check(&app.origin, now))
                .map_err(|error| SubmitError::Registration { place, error })?;
            Ok(Prepared::Registration(Box::new(registration)))
        }
        "log_genesis"
        | "leader_epoch"
        | "witness_proof"
        | "anchor"
        | "operator_endorsement"
        | "operator_endorsement_revocation"
        | "operator_profile" => Err(SubmitError::Reserved(event_type.to_owned())),
        other => Err(SubmitError::NotYet(other.to_owned())),
    }
}
