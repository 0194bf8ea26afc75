//! Keys: registering them on the log, replacing and revoking them. Reading them is the same on
//! every node (`common::read`).

mod end;
mod http;
mod register;

use diogenes_common::event::{BadRequest, Event, Payload};
use diogenes_common::leaf::Leaf;
use diogenes_common::server::body::misfit_problem;
use diogenes_common::server::problem::{Code, Problem};

pub(crate) use end::{EndRequest, revocation, succession};
pub(crate) use http::router;
pub(crate) use register::{BadRegistration, RegistrationRequest};

use crate::app::{App, place_of};
use crate::auth::{AuthError, auth_problem};
use crate::idempotency::Idempotency;
use crate::sequencer::{AppendError, Lifecycle, NewEntry, Outcome};

/// Why a key can't be succeeded or revoked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    /// The request itself.
    #[error(transparent)]
    Request(#[from] BadRequest),
    /// Its holder did not say so.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The log.
    #[error(transparent)]
    Append(#[from] AppendError<std::convert::Infallible>),
}

/// Appends one event; repeats of the request will find it.
pub(crate) async fn append<P: Payload + Into<Event>>(
    app: &App,
    payload: P,
    idempotency: Option<Idempotency>,
) -> Result<Leaf, AppendError<std::convert::Infallible>> {
    let entry = NewEntry::checked(&payload, &app.origin);
    append_entry(app, entry, &payload.into(), idempotency).await
}

/// Appends one entry, which says what the event says.
async fn append_entry(
    app: &App,
    entry: NewEntry,
    event: &Event,
    idempotency: Option<Idempotency>,
) -> Result<Leaf, AppendError<std::convert::Infallible>> {
    match app.sequencer.submit(Lifecycle::new(entry, event).remembered(idempotency)).await? {
        Outcome::Appended(appended) => {
            appended.leaves.into_iter().next().ok_or(AppendError::Internal)
        }
        Outcome::Found { .. } => Err(AppendError::Internal),
    }
}

/// What a client is told about a registration that can't be taken.
pub(crate) fn registration_problem(error: &BadRegistration, index: Option<usize>) -> Problem {
    let (place, pointer) = place_of(index);
    let text = format!("{place}{error}");
    match error {
        BadRegistration::Shape(misfit) => {
            misfit_problem(misfit, &place, &format!("{pointer}/payload"))
        }
        BadRegistration::Member { member, detail } => {
            let code = match *member {
                "public_key" => Code::InvalidPublicKey,
                _ => Code::ValidationFailed,
            };
            Problem::new(code, format!("{place}{member}: {detail}"))
                .error(format!("{pointer}/payload/{member}"), detail.clone())
        }
        BadRegistration::PrivateKey => Problem::new(Code::PrivateKeyInRequest, text),
        BadRegistration::Proof => Problem::new(Code::InvalidSignature, text.clone())
            .error(format!("{pointer}/payload/proof"), text),
        BadRegistration::ProofNeeded => Problem::new(Code::ValidationFailed, text.clone())
            .error(format!("{pointer}/payload/proof"), text),
    }
}

/// What a client is told about a request that can't become an entry.
pub(crate) fn request_problem(error: &BadRequest, index: Option<usize>) -> Problem {
    let (place, pointer) = place_of(index);
    let text = format!("{place}{error}");
    match error {
        BadRequest::Shape(misfit) => misfit_problem(misfit, &place, &format!("{pointer}/payload")),
        BadRequest::Member { member, detail } => {
            let code = match *member {
                "new_public_key" => Code::InvalidPublicKey,
                _ => Code::ValidationFailed,
            };
            Problem::new(code, text).error(format!("{pointer}/payload/{member}"), detail.clone())
        }
        BadRequest::Proof { member } => Problem::new(Code::InvalidSignature, text.clone())
            .error(format!("{pointer}/payload/{member}"), text),
    }
}

impl From<KeyError> for Problem {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Request(error) => request_problem(&error, None),
            KeyError::Auth(error) => auth_problem(error, "#/auth"),
            KeyError::Append(error) => error.into(),
        }
    }
}
