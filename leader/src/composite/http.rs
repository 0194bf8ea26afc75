//! `POST /api/v1/composite/assemble` and `POST /api/v1/composite/compile`.

use axum::extract::State;
use axum::response::Response;
use diogenes_common::canonical;
use diogenes_common::manifest::MAX_DEPTH;
use diogenes_common::server::Caller;
use diogenes_common::server::body::{self, RawBody};
use diogenes_common::server::problem::Problem;
use diogenes_common::wire::composite::{
    AssembleRequest, CompileRequest, CompiledManifest, CompositeView, GivenPart, PartView,
};
use http::HeaderMap;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{compile, composite_problem};
use crate::app::App;
use crate::holders::{self, with_auth};

/// The routes of this feature.
pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(post_assemble)).routes(routes!(post_compile))
}

/// Puts documents together, in order, under one hash, and proves of each that it belongs there.
///
/// Nothing is stored: the same request always has the same answer.
#[utoipa::path(
    post,
    path = "/api/v1/composite/assemble",
    tag = "composite",
    extensions(("x-problems" = json!(["invalid_manifest"]))),
    request_body = AssembleRequest,
    responses(
        (status = 200, description = "The parts in their order, each with its proof", body = CompositeView),
        (status = 422, description = "A part, the title or the whole can't be used"),
    ),
)]
async fn post_assemble(headers: HeaderMap, bytes: RawBody) -> Result<Response, Problem> {
    body::require_type(&headers, &["application/json"])?;
    // body, parts, part: then a manifest with its own depth.
    let value = body::value_within(&bytes, MAX_DEPTH + 3)?;
    each_part::<GivenPart>("#", &value)?;
    let request: AssembleRequest = body::from_value(&value)?;
    let assembled = request.assemble().map_err(|error| composite_problem(&error, "#"))?;
    canonical_json(&assembled)
}

/// Compiles an assembled document, and what was attested about it, into one manifest.
///
/// Everything that the composite states is checked again. The manifest is attested and verified as
/// any other; `document.parts` has the parts. Nothing is stored, unless `record` is true: then the
/// log records that the holder of `fingerprint` put the document together.
#[utoipa::path(
    post,
    path = "/api/v1/composite/compile",
    tag = "composite",
    security((), ("key" = [])),
    extensions(("x-problems" = json!(["invalid_manifest"]))),
    params(
        ("Idempotency-Key" = Option<String>, Header,
            description = "Repeats with this key and body find what the first one appended, for 24 h")
    ),
    request_body = CompileBody,
    responses(
        (status = 200, description = "The manifest", body = CompiledManifest),
        (status = 201, description = "The manifest, which is recorded; `Location` names the entry", body = CompiledManifest),
        (status = 422, description = "The composite contradicts itself, or an attestation doesn't fit"),
    ),
)]
async fn post_compile(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    bytes: RawBody,
) -> Result<Response, Problem> {
    body::require_type(&headers, &["application/json"])?;
    // As above, one deeper: inside `composite`.
    let mut value = body::value_within(&bytes, DEPTH)?;
    each_part::<PartView>("#/composite", &value["composite"])?;
    if value["composite"].is_object() {
        body::part::<CompositeView>("#/composite", &value["composite"])?;
    }
    let is_recorded = value["record"] == true;
    if let Some(members) = value.as_object_mut().filter(|_| is_recorded) {
        members.remove("auth");
    }
    let request: CompileRequest = body::from_value(&value)?;
    let mut compiled = compile(request)?;
    if !is_recorded {
        return canonical_json(&compiled);
    }
    let posted =
        holders::post_within::<CompileRequest>(&app, &caller, &headers, &bytes, DEPTH, || Ok(()));
    let posted = posted.await?;
    compiled.log_entry_id = Some(posted.leaf.id());
    compiled.entry_hash = Some(posted.leaf.entry_hash());
    posted.answer(compiled)
}

/// How deep a body may nest.
const DEPTH: usize = MAX_DEPTH + 4;

with_auth! {
    CompileBody: CompileRequest;
}

/// Reads every part by itself, so that a refusal names the one that does not fit.
fn each_part<T: DeserializeOwned>(base: &str, value: &Value) -> Result<(), Problem> {
    let parts = value["parts"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut parts = parts.iter().enumerate();
    parts.try_for_each(|(index, part)| {
        body::part::<T>(&format!("{base}/parts/{index}"), part).map(|_| ())
    })
}

/// The canonical bytes, so that manifests in it can be hashed and signed as they stand.
fn canonical_json(answer: &impl Serialize) -> Result<Response, Problem> {
    let value = serde_json::to_value(answer).map_err(|_| Problem::internal())?;
    let mut response = Response::new(canonical::to_vec(&value).into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
