//! The shapes of `POST /log/entries` for the document of the API; [`super::parse`] reads the bytes.

use utoipa::ToSchema;

use crate::auth::AuthProof;

/// What is submitted: one event, or several that are appended all or none.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "the shape of what is read without it")]
pub(super) enum SubmittedEvents {
    /// One event.
    One(SubmittedEvent),
    /// From 1 to 1,000 events.
    Many(Vec<SubmittedEvent>),
}

/// An event to append.
#[derive(ToSchema)]
#[schema(example = json!({
    "event_type": "x-acme:deployed",
    "payload": { "service": "billing", "version": "1.4.2" },
}))]
#[expect(dead_code, reason = "the shape of what is read without it")]
pub(super) struct SubmittedEvent {
    /// A lifecycle type, or one of your own.
    #[schema(
        pattern = "^([a-z][a-z0-9_]{0,63}|x-[a-z0-9][a-z0-9-]{0,31}:[a-z0-9][a-z0-9._-]{0,63})$"
    )]
    event_type: String,
    /// The event: of a lifecycle type the `payload` or body of its own route, otherwise any object.
    #[schema(value_type = Object)]
    payload: serde_json::Value,
    /// The holder's answer to a challenge, of lifecycle types that need one.
    auth: Option<AuthProof>,
}
