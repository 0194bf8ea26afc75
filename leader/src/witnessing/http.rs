//! `POST /api/v1/log/witness`.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use diogenes_common::server::Caller;
use diogenes_common::server::body::{self, RawBody, from_value, value};
use diogenes_common::server::problem::{Code, Problem};
use diogenes_common::statement::{StatementError, WitnessProof};
use diogenes_common::store::PendingOutcome;
use diogenes_common::wire::witnesses::WitnessAnswer;
use http::header::{HeaderValue, LOCATION};
use http::{HeaderMap, StatusCode};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::record::RecordRefusal;
use super::{Arrived, Submitted, WitnessError, submit};
use crate::app::{App, SIGNING_PAUSED};

/// The most that a proof needs.
const MAX_BODY: usize = 64 * 1024;

/// The routes of this feature.
pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(post_witness))
}

/// Submits a witness proof: a signed statement that one head of this log extends another.
#[utoipa::path(
    post,
    path = "/api/v1/log/witness",
    tag = "log",
    extensions(("x-problems" = json!([
        "conflict", "invalid_signature", "key_has_other_role", "leader_unreachable",
        "proof_disagrees", "statement_from_future", "witness_not_authorized",
        "witness_reservation_conflict", "witness_stale",
    ]))),
    request_body(
        description = "The signed members, `public_key`, `signature`, `head` verbatim, `cosignature`",
        content = WitnessProof,
    ),
    responses(
        (status = 201, description = "Recorded; `Location` names the entry", body = WitnessAnswer),
        (status = 200, description = "Recorded before, or valid and not recorded", body = WitnessAnswer),
        (status = 403, description = "The operator has not authorised this witness"),
        (status = 409, description = "`witness_stale` or `proof_disagrees`"),
    ),
)]
async fn post_witness(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    bytes: RawBody<MAX_BODY>,
) -> Result<Response, Problem> {
    body::require_type(&headers, &["application/json"])?;
    let proof = read(&bytes)?;
    let snapshot = app.snapshot()?;
    let body = String::from_utf8_lossy(&bytes).into_owned();
    let submitted = submit(&app, &snapshot, Arrived { proof, body, client: caller.ip() }).await?;
    let (status, answer) = match submitted {
        Submitted::Recorded(id) => {
            (StatusCode::CREATED, WitnessAnswer { proof_id: Some(id), recorded: true })
        }
        Submitted::Repeated(id) => {
            (StatusCode::OK, WitnessAnswer { proof_id: Some(id), recorded: true })
        }
        Submitted::Kept => (StatusCode::OK, WitnessAnswer { proof_id: None, recorded: false }),
    };
    let location = answer.proof_id.map(|id| format!("/api/v1/log/{id}"));
    let mut response = (status, Json(answer)).into_response();
    if let Some(location) = location.filter(|_| status == StatusCode::CREATED) {
        let location = HeaderValue::try_from(location).map_err(|_| Problem::internal())?;
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

/// Reads a proof strictly: also its head must have no member that is not known.
fn read(bytes: &[u8]) -> Result<WitnessProof, Problem> {
    let value = value(bytes)?;
    let head = value.get("head").cloned();
    let proof: WitnessProof = from_value(&value)?;
    if serde_json::to_value(&proof.head).ok() != head {
        let detail = "the head goes back exactly as it was served";
        return Err(Problem::new(Code::UnknownField, detail).error("#/head", detail));
    }
    Ok(proof)
}

impl From<WitnessError> for Problem {
    fn from(error: WitnessError) -> Self {
        let text = error.to_string();
        match error {
            WitnessError::OtherLog => Self::invalid("#/origin", text),
            WitnessError::Disagrees { size } => {
                Self::new(Code::ProofDisagrees, text).member("tree_size", size.get())
            }
            WitnessError::SelfRolledBack => {
                Self::new(Code::SigningPaused, text).retry_after(SIGNING_PAUSED)
            }
            WitnessError::Stale { newest } => {
                Self::new(Code::WitnessStale, text).member("newest_tree_size", newest.get())
            }
            WitnessError::NotAuthorized { witness, outcome } => {
                let listed = matches!(outcome, PendingOutcome::Listed | PendingOutcome::Known);
                Self::new(Code::WitnessNotAuthorized, text)
                    .member("fingerprint", witness.to_string())
                    .member("pending", listed)
            }
            WitnessError::SeveralClaim { keys } => {
                let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
                Self::new(Code::WitnessReservationConflict, text).member("fingerprints", keys)
            }
            WitnessError::Statement(error) => {
                let (code, pointer) = match error {
                    StatementError::BadSignature => (Code::InvalidSignature, "#/signature"),
                    StatementError::OtherKey => (Code::ValidationFailed, "#/witness"),
                    StatementError::OtherHead => (Code::ValidationFailed, "#/head"),
                    StatementError::SizesReversed => (Code::ValidationFailed, "#/new_tree_size"),
                    StatementError::EmptyTreeRoot => (Code::ValidationFailed, "#/old_root"),
                };
                Self::new(code, text.clone()).error(pointer, text)
            }
            WitnessError::Head(_) => {
                Self::new(Code::InvalidSignature, text.clone()).error("#/head", text)
            }
            WitnessError::Cosignature => {
                Self::new(Code::InvalidSignature, text.clone()).error("#/cosignature", text)
            }
            WitnessError::FromFuture => {
                Self::new(Code::StatementFromFuture, text.clone()).error("#/timestamp", text)
            }
            WitnessError::Append(error) => error.into(),
            WitnessError::Store(error) => error.into(),
        }
    }
}

impl From<RecordRefusal> for Problem {
    fn from(refusal: RecordRefusal) -> Self {
        let code = match refusal {
            RecordRefusal::NotAuthorized => Code::WitnessNotAuthorized,
            RecordRefusal::Stale { .. } => Code::WitnessStale,
            RecordRefusal::Quiet => Code::Conflict,
            RecordRefusal::KeyHasOtherRole => Code::KeyHasOtherRole,
        };
        Self::new(code, refusal.to_string())
    }
}

#[cfg(test)]
mod tests {
    use diogenes_common::keys::Fingerprint;
    use diogenes_common::merkle::Hash;

    use super::*;

    #[test]
    fn who_shares_the_reserved_digits_with_others_is_told_the_keys() {
        let keys = vec![Fingerprint::new(Hash::of(b"a")), Fingerprint::new(Hash::of(b"b"))];

        let problem = Problem::from(WitnessError::SeveralClaim { keys: keys.clone() });

        assert_eq!(problem.code(), Code::WitnessReservationConflict);
        let shown = &problem.to_json("i")["fingerprints"];
        assert_eq!(shown, &serde_json::json!(keys));
    }
}
