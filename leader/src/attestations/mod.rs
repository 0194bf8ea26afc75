//! Attestations: somebody signed a document's manifest, and the log keeps that. The private key
//! never comes here; the document does not either.

mod command;
mod http;
mod request;

use ::http::HeaderMap;
use diogenes_common::server::body::misfit_problem;
use diogenes_common::server::problem::{Code, Problem};
use diogenes_common::store::StoreError;

pub(crate) use command::Attest;
pub(crate) use http::router;
pub(crate) use request::AttestationRequest;
use request::{BadAttestation, Signed};

use crate::app::App;
use crate::auth::{self, AuthError, auth_problem};
use crate::idempotency::Idempotency;
use crate::posted::Posted;
use crate::sequencer::{AppendError, Outcome};

/// Why an attestation was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttestError {
    /// The request itself.
    #[error(transparent)]
    Request(#[from] BadAttestation),
    /// The key is unknown, and nobody said under which name to register it.
    #[error("this key is not registered: send a `pseudonym` to register it, or register it first")]
    PseudonymNeeded,
    /// This log takes no registration without proof.
    #[error("this log registers keys with a proof of possession only: register the key first")]
    ProofNeeded,
    /// The password, or a session token.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The log.
    #[error(transparent)]
    Append(#[from] AppendError<std::convert::Infallible>),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Checks who sends an attestation and whether its key may be registered with it.
pub(crate) async fn prepare(
    app: &App,
    headers: &HeaderMap,
    mut attested: Signed,
) -> Result<Attest, AttestError> {
    let session = auth::session(app, headers).await?;
    let signer = attested.event.signer;
    if session == Some(signer) {
        attested = attested.in_session();
    } else {
        let given = attested.password.as_ref();
        auth::check_password(app, signer, auth::Shown::Openly, given).await?;
    }
    if app.store.key(&signer).await?.is_none() {
        if attested.registration.is_none() {
            return Err(AttestError::PseudonymNeeded);
        }
        if app.require_key_proof {
            return Err(AttestError::ProofNeeded);
        }
    }
    Ok(Attest::new(attested.event, attested.registration.as_ref(), &app.origin))
}

/// Appends an attestation, or finds the entry that holds it already.
async fn attest(
    app: &App,
    headers: &HeaderMap,
    request: AttestationRequest,
    idempotency: Option<Idempotency>,
) -> Result<Posted, AttestError> {
    let command = prepare(app, headers, request.check()?).await?.remembered(idempotency);
    match app.sequencer.submit(command).await? {
        Outcome::Appended(appended) => {
            let leaf = appended.leaves.into_iter().next_back();
            Ok(Posted::new(leaf.ok_or(AppendError::Internal)?))
        }
        Outcome::Found { id } => {
            Ok(Posted::found(app.store.entry(id).await?.ok_or(AppendError::Internal)?))
        }
    }
}

/// What a client is told about an attestation that can't be taken; `place` names it where it is one
/// of several events, `base` is the pointer of its members.
pub(crate) fn attest_problem(error: AttestError, place: &str, base: &str) -> Problem {
    let text = format!("{place}{error}");
    let at = |code, member: &str| {
        Problem::new(code, text.clone()).error(format!("{base}{member}"), text.clone())
    };
    match error {
        AttestError::Request(BadAttestation::Shape(misfit)) => misfit_problem(&misfit, place, base),
        AttestError::Request(BadAttestation::Manifest(fault)) => {
            at(Code::InvalidManifest, &format!("/manifest{}", fault.pointer()))
        }
        AttestError::Request(BadAttestation::Key(_)) => {
            at(Code::InvalidPublicKey, "/public_key_pem")
        }
        AttestError::Request(BadAttestation::Type(_)) => {
            at(Code::ValidationFailed, "/attestation_type")
        }
        AttestError::Request(BadAttestation::Member { member, .. }) => {
            at(Code::ValidationFailed, &format!("/{member}"))
        }
        AttestError::Request(BadAttestation::NotBound(_)) => {
            at(Code::InvalidSignature, "/signature")
        }
        AttestError::PseudonymNeeded | AttestError::ProofNeeded => {
            at(Code::ValidationFailed, "/pseudonym")
        }
        AttestError::Auth(error) => auth_problem(error, base).within(place),
        AttestError::Append(error) => error.into(),
        AttestError::Store(error) => error.into(),
    }
}
