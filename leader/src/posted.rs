//! Requests that append one entry, and their repeats: what they have in common, and their answers.

use axum::Json;
use axum::response::{IntoResponse, Response};
use diogenes_common::leaf::Leaf;
use diogenes_common::server::Caller;
use diogenes_common::server::body::RawBody;
use diogenes_common::server::problem::Problem;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, LOCATION};
use http::{HeaderMap, StatusCode};
use serde::Serialize;

use crate::app::App;
use crate::idempotency::{Idempotency, Recalled, key_of, recall};
use crate::witnessing::network;

/// The entry that a request appended, now or when it first came.
pub(crate) struct Posted {
    pub(crate) leaf: Leaf,
    is_new: bool,
}

/// Whether a request came before.
pub(crate) enum Once {
    /// It did, and appended this.
    Before(Posted),
    /// It did not, or nobody can tell.
    First(Option<Idempotency>),
}

/// Finds what an earlier request with the same `Idempotency-Key` appended.
pub(crate) async fn once<const MAX: usize>(
    app: &App,
    headers: &HeaderMap,
    principal: String,
    bytes: &RawBody<MAX>,
) -> Result<Once, Problem> {
    let Some(key) = key_of(headers)? else { return Ok(Once::First(None)) };
    match recall(app, principal, key, bytes).await? {
        Recalled::First(idempotency) => Ok(Once::First(Some(idempotency))),
        Recalled::Before { leaves, .. } => {
            // What one request asks for is its last entry.
            let leaf = leaves.into_iter().next_back().ok_or_else(Problem::internal)?;
            Ok(Once::Before(Posted::found(leaf)))
        }
    }
}

/// Whose idempotency keys a request uses that nobody authorised. Strangers share nothing: a key that
/// one of them guesses is not another's.
pub(crate) fn stranger(caller: &Caller) -> String {
    format!("anyone at {}", network(caller.ip()))
}

/// Where an entry is, for the header `Location`.
pub(crate) fn location(id: u64) -> Result<HeaderValue, Problem> {
    HeaderValue::try_from(format!("/api/v1/log/{id}")).map_err(|_| Problem::internal())
}

/// An answer that nobody may keep.
pub(crate) fn private(answer: impl IntoResponse) -> Response {
    let mut response = answer.into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl Posted {
    /// An entry that was just appended.
    pub(crate) fn new(leaf: Leaf) -> Self {
        Self { leaf, is_new: true }
    }

    /// An entry that was in the log.
    pub(crate) fn found(leaf: Leaf) -> Self {
        Self { leaf, is_new: false }
    }

    /// The entry itself as the answer.
    pub(crate) fn entry(self) -> Result<Response, Problem> {
        let mut response = self.leaf.to_json().into_response();
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        self.placed(response)
    }

    /// Another answer about the entry.
    pub(crate) fn answer(self, body: impl Serialize) -> Result<Response, Problem> {
        let response = Json(body).into_response();
        self.placed(response)
    }

    /// 201 with the entry's place, or 200 for what was there before.
    fn placed(&self, mut response: Response) -> Result<Response, Problem> {
        if self.is_new {
            *response.status_mut() = StatusCode::CREATED;
            response.headers_mut().insert(LOCATION, location(self.leaf.id())?);
        }
        Ok(response)
    }
}
