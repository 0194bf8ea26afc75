//! `/api/v1/operator/*`: for the bearer of the operator token alone, never cached.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use diogenes_common::keys::{AnyFingerprint, HolderKey};
use diogenes_common::leaf::Leaf;
use diogenes_common::server::body::{self, Path, Query, RawBody, strict};
use diogenes_common::server::headers::{NO_STORE, json_bytes};
use diogenes_common::server::problem::{Code, Problem};
use diogenes_common::statement::{Category, ProfileType};
use diogenes_common::wire::log::EntryView;
use http::header::{CACHE_CONTROL, LOCATION};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::shapes::category_named;
use super::{
    AcknowledgedAnswer, EndorseBody, Endorsed, GivenKey, IncidentItem, IncidentList, OperatorError,
    PendingList, ProfileBody, ReleasedAnswer, ReservedAnswer, Revoked, StatementRefusal,
    acknowledge, describe, endorse, incidents, revoke, waiting,
};
use crate::app::App;
use crate::auth::Operator;
use crate::posted::{location, private};

/// The routes of this feature.
pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(post_federation))
        .routes(routes!(post_witnesses))
        .routes(routes!(post_endorsements))
        .routes(routes!(delete_federation))
        .routes(routes!(delete_witnesses))
        .routes(routes!(delete_endorsements))
        .routes(routes!(put_profile))
        .routes(routes!(get_pending))
        .routes(routes!(get_incidents))
        .routes(routes!(post_ack))
}

/// Authorises a follower, whose key must be registered on the log.
#[utoipa::path(
    post,
    path = "/api/v1/operator/federation",
    tag = "operator",
    extensions(("x-problems" = json!([
        "conflict", "invalid_public_key", "key_has_other_role", "not_found",
    ]))),
    security(("operator" = [])),
    request_body = EndorseBody,
    responses(
        (status = 201, description = "Authorised; the entry that says so", body = EntryView),
        (status = 200, description = "Authorised already; the entry that says so", body = EntryView),
    ),
)]
async fn post_federation(
    State(app): State<App>,
    _: Operator,
    headers: HeaderMap,
    body: RawBody,
) -> Result<Response, Problem> {
    post(&app, &headers, &body, Some(Category::FederationOperator)).await
}

/// Authorises a witness, or reserves that for one that was only named and sent nothing yet.
#[utoipa::path(
    post,
    path = "/api/v1/operator/witnesses",
    tag = "operator",
    extensions(("x-problems" = json!([
        "conflict", "invalid_public_key", "key_has_other_role", "not_found",
    ]))),
    security(("operator" = [])),
    request_body = EndorseBody,
    responses(
        (status = 201, description = "Authorised; the entry that says so", body = EntryView),
        (status = 200, description = "Authorised already; the entry that says so", body = EntryView),
        (status = 202, description = "Reserved for 7 days: the first key that matches and sends a valid proof is authorised by it", body = ReservedAnswer),
    ),
)]
async fn post_witnesses(
    State(app): State<App>,
    _: Operator,
    headers: HeaderMap,
    body: RawBody,
) -> Result<Response, Problem> {
    post(&app, &headers, &body, Some(Category::Witness)).await
}

/// Endorses a registered key as that of a human being or an institution.
#[utoipa::path(
    post,
    path = "/api/v1/operator/endorsements",
    tag = "operator",
    extensions(("x-problems" = json!([
        "conflict", "invalid_public_key", "key_has_other_role", "not_found",
    ]))),
    security(("operator" = [])),
    request_body = EndorseBody,
    responses(
        (status = 201, description = "Endorsed; the entry that says so", body = EntryView),
        (status = 200, description = "Endorsed already; the entry that says so", body = EntryView),
    ),
)]
async fn post_endorsements(
    State(app): State<App>,
    _: Operator,
    headers: HeaderMap,
    body: RawBody,
) -> Result<Response, Problem> {
    post(&app, &headers, &body, None).await
}

/// Ends the authorisation of a follower.
#[utoipa::path(
    delete,
    path = "/api/v1/operator/federation/{fingerprint}",
    tag = "operator",
    extensions(("x-problems" = json!(["conflict"]))),
    security(("operator" = [])),
    params(("fingerprint" = String, Path, description = "Full, or its first 16 hex digits")),
    responses(
        (status = 201, description = "Ended; the entry that says so", body = EntryView),
    ),
)]
async fn delete_federation(
    State(app): State<App>,
    _: Operator,
    Path(named): Path<AnyFingerprint>,
) -> Result<Response, Problem> {
    delete(&app, named, &[Category::FederationOperator]).await
}

/// Ends the authorisation of a witness, or gives up what was reserved for it.
#[utoipa::path(
    delete,
    path = "/api/v1/operator/witnesses/{fingerprint}",
    tag = "operator",
    extensions(("x-problems" = json!(["conflict"]))),
    security(("operator" = [])),
    params(("fingerprint" = String, Path, description = "Full, or its first 16 hex digits")),
    responses(
        (status = 201, description = "Ended; the entry that says so", body = EntryView),
        (status = 200, description = "A reservation was given up", body = ReleasedAnswer),
    ),
)]
async fn delete_witnesses(
    State(app): State<App>,
    _: Operator,
    Path(named): Path<AnyFingerprint>,
) -> Result<Response, Problem> {
    delete(&app, named, &[Category::Witness]).await
}

/// Ends the operator's endorsements of a person or institution.
#[utoipa::path(
    delete,
    path = "/api/v1/operator/endorsements/{fingerprint}",
    tag = "operator",
    extensions(("x-problems" = json!(["conflict"]))),
    security(("operator" = [])),
    params(("fingerprint" = String, Path, description = "Full, or its first 16 hex digits")),
    responses(
        (status = 201, description = "Ended; the first entry that says so", body = EntryView),
    ),
)]
async fn delete_endorsements(
    State(app): State<App>,
    _: Operator,
    Path(named): Path<AnyFingerprint>,
) -> Result<Response, Problem> {
    let categories = &[Category::HumanAttestation, Category::InstitutionalEndorsement];
    delete(&app, named, categories).await
}

/// Sets the profile of an authorised follower or witness.
#[utoipa::path(
    put,
    path = "/api/v1/operator/profile",
    tag = "operator",
    extensions(("x-problems" = json!([
        "conflict", "follower_not_authorized", "not_found", "witness_not_authorized",
    ]))),
    security(("operator" = [])),
    request_body = ProfileBody,
    responses(
        (status = 201, description = "Set; the entry that says so", body = EntryView),
    ),
)]
async fn put_profile(
    State(app): State<App>,
    _: Operator,
    headers: HeaderMap,
    body: RawBody,
) -> Result<Response, Problem> {
    body::require_type(&headers, &["application/json"])?;
    let ProfileBody { fingerprint, kind, display_name, server } = strict(&body)?;
    let leaf = describe(&app, fingerprint, kind, display_name, server).await?;
    entry_answer(StatusCode::CREATED, &leaf)
}

/// Lists the keys that wait for the operator, and the authorisations that wait for keys.
#[utoipa::path(
    get,
    path = "/api/v1/operator/pending",
    tag = "operator",
    security(("operator" = [])),
    responses((status = 200, description = "Who waits", body = PendingList)),
)]
async fn get_pending(State(app): State<App>, _: Operator) -> Result<Response, Problem> {
    let (pending, reserved) = waiting(&app).await?;
    Ok(private(Json(PendingList {
        pending: pending.into_iter().map(Into::into).collect(),
        reserved: reserved.into_iter().map(Into::into).collect(),
    })))
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct IncidentQuery {
    /// `true` shows acknowledged ones too.
    #[serde(default)]
    all: bool,
}

/// Lists the incidents, newest first; the open ones, or all.
#[utoipa::path(
    get,
    path = "/api/v1/operator/incidents",
    tag = "operator",
    security(("operator" = [])),
    params(IncidentQuery),
    responses((status = 200, description = "The incidents", body = IncidentList)),
)]
async fn get_incidents(
    State(app): State<App>,
    _: Operator,
    Query(query): Query<IncidentQuery>,
) -> Result<Response, Problem> {
    let found = incidents(&app, !query.all).await?;
    let incidents: Vec<IncidentItem> = found.into_iter().map(Into::into).collect();
    Ok(private(Json(IncidentList { incidents })))
}

/// Acknowledges an incident.
#[utoipa::path(
    post,
    path = "/api/v1/operator/incidents/{id}/ack",
    tag = "operator",
    security(("operator" = [])),
    params(("id" = i64, Path, description = "The incident's number")),
    responses(
        (status = 200, description = "Acknowledged", body = AcknowledgedAnswer),
        (status = 404, description = "No such incident is open"),
    ),
)]
async fn post_ack(
    State(app): State<App>,
    _: Operator,
    Path(id): Path<i64>,
) -> Result<Response, Problem> {
    acknowledge(&app, id).await?;
    Ok(private(Json(AcknowledgedAnswer { id })))
}

/// One of the three ways to endorse; without `role`, the body names one of the categories that
/// give standing.
async fn post(
    app: &App,
    headers: &HeaderMap,
    bytes: &[u8],
    role: Option<Category>,
) -> Result<Response, Problem> {
    body::require_type(headers, &["application/json"])?;
    let body: EndorseBody = strict(bytes)?;
    let category = category(role, body.category.as_deref())?;
    let given = given_key(body.fingerprint, body.public_key)?;
    match endorse(app, given, category, body.name).await? {
        Endorsed::Logged(leaf) => entry_answer(StatusCode::CREATED, &leaf),
        Endorsed::Stands(leaf) => entry_answer(StatusCode::OK, &leaf),
        Endorsed::Reserved(reserved) => {
            Ok(private((StatusCode::ACCEPTED, Json(ReservedAnswer { reserved }))))
        }
    }
}

async fn delete(
    app: &App,
    named: AnyFingerprint,
    categories: &'static [Category],
) -> Result<Response, Problem> {
    match revoke(app, named, categories).await? {
        Revoked::Logged(leaf) => entry_answer(StatusCode::CREATED, &leaf),
        Revoked::Released(named) => Ok(private(Json(ReleasedAnswer { released: named }))),
    }
}

fn category(role: Option<Category>, named: Option<&str>) -> Result<Category, Problem> {
    let found = match (role, named) {
        (Some(role), None) => return Ok(role),
        (Some(role), Some(named)) => category_named(named).filter(|category| *category == role),
        (None, Some(named)) => category_named(named).filter(|category| !category.gives_role()),
        (None, None) => None,
    };
    found.ok_or_else(|| {
        let detail = match role {
            Some(_) => "this path gives one role only: leave `category` out",
            None => "give human_attestation or institutional_endorsement",
        };
        Problem::invalid("#/category", detail)
    })
}

fn given_key(
    fingerprint: Option<AnyFingerprint>,
    public_key: Option<String>,
) -> Result<GivenKey, Problem> {
    match (fingerprint, public_key) {
        (Some(named), None) => Ok(GivenKey::Fingerprint(named)),
        (None, Some(pem)) => HolderKey::from_pem(&pem).map(GivenKey::Key).map_err(|error| {
            let detail = error.to_string();
            Problem::new(Code::InvalidPublicKey, detail.clone()).error("#/public_key", detail)
        }),
        _ => Err(Problem::invalid("#/fingerprint", "give either `fingerprint` or `public_key`")),
    }
}

fn entry_answer(status: StatusCode, leaf: &Leaf) -> Result<Response, Problem> {
    let mut response = json_bytes(leaf.to_json());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, NO_STORE);
    if status == StatusCode::CREATED {
        headers.insert(LOCATION, location(leaf.id())?);
    }
    Ok(response)
}

impl From<OperatorError> for Problem {
    fn from(error: OperatorError) -> Self {
        let text = error.to_string();
        match error {
            OperatorError::Ambiguous(ambiguous) => {
                let keys: Vec<String> = ambiguous.keys.iter().map(ToString::to_string).collect();
                Self::new(Code::Conflict, text).member("fingerprints", keys)
            }
            OperatorError::NotRegistered(_) => Self::invalid("#/fingerprint", text),
            OperatorError::NotEd25519(_) => {
                Self::new(Code::InvalidPublicKey, text.clone()).error("#/public_key", text)
            }
            OperatorError::NotEndorsed(_) | OperatorError::NoIncident(_) => {
                Self::new(Code::NotFound, text)
            }
            OperatorError::Append(error) => error.into(),
            OperatorError::Store(error) => error.into(),
        }
    }
}

impl From<StatementRefusal> for Problem {
    fn from(refusal: StatementRefusal) -> Self {
        let code = match refusal {
            StatementRefusal::KeyHasOtherRole => Code::KeyHasOtherRole,
            StatementRefusal::NotEndorsed => Code::NotFound,
            StatementRefusal::NotAuthorized(ProfileType::Federation) => Code::FollowerNotAuthorized,
            StatementRefusal::NotAuthorized(ProfileType::Witness) => Code::WitnessNotAuthorized,
            StatementRefusal::UnknownSigner => Code::Forbidden,
            StatementRefusal::StaleProfile => Code::Conflict,
        };
        Self::new(code, refusal.to_string())
    }
}
