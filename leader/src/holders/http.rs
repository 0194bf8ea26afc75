//! The one handler of all requests that carry `auth`.

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use diogenes_common::event::Event;
use diogenes_common::leaf::Leaf;
use diogenes_common::server::Caller;
use diogenes_common::server::body::{self, RawBody};
use diogenes_common::server::problem::Problem;
use http::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{AskError, Asking, Request, ask_problem, authorised, read};
use crate::app::App;
use crate::auth::AuthProof;
use crate::idempotency::{Recalled, key_of, recall};
use crate::sequencer::{Lifecycle, NewEntry, Outcome};

/// The entry that a request appended, now or when it first came.
pub(crate) struct Posted {
    pub(crate) leaf: Leaf,
    is_new: bool,
}

/// Appends what the holder of a key asks for. `limit` is asked only of what is not a repeat.
pub(crate) async fn post<R: Request>(
    app: &App,
    caller: &Caller,
    headers: &HeaderMap,
    bytes: &RawBody,
    limit: impl FnOnce() -> Result<(), Problem>,
) -> Result<Posted, Problem> {
    body::require_type(headers, &["application/json"])?;
    let mut body: Map<String, Value> = body::strict(bytes)?;
    let auth = body.remove("auth").filter(|auth| !auth.is_null());
    let auth: Option<AuthProof> =
        auth.as_ref().map(|auth| body::part("#/auth", auth)).transpose()?;
    let request = Value::Object(body);
    let told = |error: AskError| ask_problem(error, "", "#", "#/auth");
    let asked: R = read(&request).map_err(told)?;
    let idempotency = match key_of(headers)? {
        None => None,
        Some(key) => {
            let principal = format!("key {}", asked.signer());
            match recall(app, principal, key, bytes).await? {
                Recalled::First(idempotency) => Some(idempotency),
                Recalled::Before { leaves, .. } => return Posted::of(leaves, false),
            }
        }
    };
    limit()?;
    let asking = Asking { request: &request, auth: auth.as_ref(), caller, headers };
    let event = authorised(app, asked, asking).await.map_err(told)?;
    let entry = NewEntry::checked(&event, &app.origin);
    let event: Event = event.into();
    let command = Lifecycle::new(entry, &event).remembered(idempotency);
    match app.sequencer.submit(command).await? {
        Outcome::Appended(appended) => Posted::of(appended.leaves, true),
        Outcome::Found { .. } => Err(Problem::internal()),
    }
}

impl Posted {
    fn of(leaves: Vec<Leaf>, is_new: bool) -> Result<Self, Problem> {
        let leaf = leaves.into_iter().next_back().ok_or_else(Problem::internal)?;
        Ok(Self { leaf, is_new })
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

    /// 201 with the entry's place, or 200 for a repeat.
    fn placed(&self, mut response: Response) -> Result<Response, Problem> {
        if self.is_new {
            *response.status_mut() = StatusCode::CREATED;
            let location = format!("/api/v1/log/{}", self.leaf.id());
            let location = HeaderValue::try_from(location).map_err(|_| Problem::internal())?;
            response.headers_mut().insert(LOCATION, location);
        }
        Ok(response)
    }
}
