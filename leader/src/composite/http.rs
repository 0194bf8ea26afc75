//! `POST /api/v1/composite/assemble` and `POST /api/v1/composite/compile`.

use axum::response::Response;
use diogenes_common::canonical;
use diogenes_common::manifest::MAX_DEPTH;
use diogenes_common::server::body::{self, RawBody};
use diogenes_common::server::problem::Problem;
use diogenes_common::wire::composite::{
    AssembleRequest, CompileRequest, CompiledManifest, CompositeView, GivenPart, PartView,
};
use diogenes_common::wire::problem::ProblemBody;
use http::HeaderMap;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{compile, composite_problem};
use crate::app::App;

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
    request_body = AssembleRequest,
    responses(
        (status = 200, description = "The parts in their order, each with its proof", body = CompositeView),
        (status = 422, description = "A part, the title or the whole can't be used", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Error", body = ProblemBody, content_type = "application/problem+json"),
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
/// any other; `document.parts` has the parts. Nothing is stored.
#[utoipa::path(
    post,
    path = "/api/v1/composite/compile",
    tag = "composite",
    request_body = CompileRequest,
    responses(
        (status = 200, description = "The manifest", body = CompiledManifest),
        (status = 422, description = "The composite contradicts itself, or an attestation doesn't fit", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "Error", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
async fn post_compile(headers: HeaderMap, bytes: RawBody) -> Result<Response, Problem> {
    body::require_type(&headers, &["application/json"])?;
    // As above, one deeper: inside `composite`.
    let value = body::value_within(&bytes, MAX_DEPTH + 4)?;
    each_part::<PartView>("#/composite", &value["composite"])?;
    if value["composite"].is_object() {
        body::part::<CompositeView>("#/composite", &value["composite"])?;
    }
    let request: CompileRequest = body::from_value(&value)?;
    canonical_json(&compile(request)?)
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
