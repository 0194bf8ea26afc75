//! `POST /add`: a raw body becomes one entry, as load tools of other tile logs expect.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use diogenes_common::server::body::RawBody;
use diogenes_common::server::problem::Problem;
use http::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use http::{HeaderMap, StatusCode};

use super::http::sender;
use super::parse::Submitted;
use super::{EventError, SubmitError, append_generic};
use crate::app::App;
use crate::posted::location;
use crate::sequencer::AppendError;

/// The type of such entries; nothing else may append it.
const RAW: &str = "x-tlog:raw";

/// More never fits into an entry of 65,535 bytes.
const MAX_BODY: usize = 64 * 1024;

/// Appends a body of any bytes as one entry, `x-tlog:raw` with the payload `{"data": base64}`.
///
/// About 48,900 bytes fit. Answers when the entry is durable and under a signed head.
#[utoipa::path(
    post,
    path = "/add",
    tag = "tiles",
    security((), ("key" = []), ("operator" = [])),
    extensions(("x-problems" = json!([
        "clock_step", "entry_too_large", "event_type_reserved", "forbidden", "validation_failed",
    ]))),
    request_body(description = "The bytes", content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 200, description = "The entry's index in the tree, in decimal: its id less one", body = String, content_type = "text/plain"),
    ),
)]
pub(super) async fn add(
    State(app): State<App>,
    headers: HeaderMap,
    bytes: RawBody<MAX_BODY>,
) -> Result<Response, Problem> {
    let sender = sender(&app, &headers).await?;
    if bytes.is_empty() {
        return Err(Problem::invalid("#", "the body is empty; send the bytes of the entry"));
    }
    let event = raw_event(&bytes).ok_or_else(Problem::internal)?;
    let appended = append_generic(&app, event, sender).await.map_err(too_large)?;
    let entry = appended.leaves.first().ok_or_else(Problem::internal)?;
    let mut response = (StatusCode::OK, (entry.id() - 1).to_string()).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(LOCATION, location(entry.id())?);
    Ok(response)
}

/// The event of raw bytes; base64 needs no escapes in JSON, so this is canonical.
fn raw_event(bytes: &[u8]) -> Option<Submitted> {
    let payload = format!("{{\"data\":\"{}\"}}", BASE64.encode(bytes)).into_bytes();
    Some(Submitted { event_type: RAW.parse().ok()?, payload, auth: None })
}

/// The rule of a leaf's size in terms of what was sent.
fn too_large(error: SubmitError) -> Problem {
    match error {
        SubmitError::Append(AppendError::Entry(_))
        | SubmitError::Event { error: EventError::TooLarge, .. } => Problem::new(
            diogenes_common::server::problem::Code::EntryTooLarge,
            "an entry has at most 65,535 bytes, into which about 48,900 bytes of data fit; send less",
        ),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use diogenes_common::canonical;

    use super::*;

    #[test]
    fn the_payload_of_raw_bytes_is_canonical_and_gives_them_back() {
        for bytes in [&b"x"[..], b"\0\xff\"\\", &[0xfb, 0xef, 0xbe]] {
            let event = raw_event(bytes).unwrap();

            assert_eq!(event.event_type.as_str(), RAW);
            assert!(canonical::check(&event.payload, 32).is_ok());
            let value: serde_json::Value = serde_json::from_slice(&event.payload).unwrap();
            assert_eq!(BASE64.decode(value["data"].as_str().unwrap()).unwrap(), bytes);
        }
    }
}
