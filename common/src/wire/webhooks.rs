//! Webhooks: who is told of new entries, and what became of it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock::Timestamp;
use crate::head::Origin;
use crate::leaf::EventType;
use crate::merkle::Hash;

/// What every id of a webhook begins with.
const PREFIX: &str = "wh_";

/// The name of a webhook: `wh_` and 32 hex digits, chosen at random.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WebhookId([u8; 16]);

/// Why a text is not the name of a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the id of a webhook is wh_ and 32 hex digits")]
pub struct NotAWebhookId;

impl WebhookId {
    /// The name made of these random bytes.
    pub const fn new(random: [u8; 16]) -> Self {
        Self(random)
    }
}

impl fmt::Display for WebhookId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", hex::encode(self.0))
    }
}

impl fmt::Debug for WebhookId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for WebhookId {
    type Err = NotAWebhookId;

    fn from_str(text: &str) -> Result<Self, NotAWebhookId> {
        let digits = text.strip_prefix(PREFIX).ok_or(NotAWebhookId)?;
        let lower = digits.bytes().all(|byte| !byte.is_ascii_uppercase());
        let mut bytes = [0; 16];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| NotAWebhookId)?;
        if lower { Ok(Self(bytes)) } else { Err(NotAWebhookId) }
    }
}

impl Serialize for WebhookId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for WebhookId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The name of one message: `<webhook id>_<entry id>`, the same for each attempt at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MessageId {
    /// Who is told.
    pub webhook: WebhookId,
    /// Of which entry.
    pub entry_id: u64,
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.webhook, self.entry_id)
    }
}

impl FromStr for MessageId {
    type Err = NotAWebhookId;

    fn from_str(text: &str) -> Result<Self, NotAWebhookId> {
        let (webhook, entry) = text.rsplit_once('_').ok_or(NotAWebhookId)?;
        let message =
            Self { webhook: webhook.parse()?, entry_id: entry.parse().map_err(|_| NotAWebhookId)? };
        // Nothing but the one text that it is shown as.
        if message.to_string() == text { Ok(message) } else { Err(NotAWebhookId) }
    }
}

/// `POST /api/v1/webhooks`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct WebhookRequest {
    /// Where messages go: https on port 443 or 8443, to a public address.
    pub url: String,
    /// Which entries are told: event types of the log, `x-<namespace>:*`, or `*` for all.
    #[cfg_attr(feature = "shell", schema(example = json!(["attestation", "x-acme:*"])))]
    pub events: Vec<String>,
    /// `whsec_` and 24 to 64 bytes in base64; made when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// Whether a webhook is told of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum WebhookStatus {
    /// It is.
    Active,
    /// It was turned off; a replay turns it on again.
    Disabled,
}

/// Why a webhook was turned off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum DisabledReason {
    /// The receiver answered 410.
    Gone,
    /// Nothing was delivered for five days.
    Failing,
}

/// `GET /api/v1/webhooks/{id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct Webhook {
    /// Its name.
    #[cfg_attr(feature = "shell", schema(value_type = String, example = "wh_9f86d081884c7d659a2feaa0c55ad015"))]
    pub id: WebhookId,
    /// Where messages go.
    pub url: String,
    /// Which entries are told.
    pub events: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Whether it is told.
    pub status: WebhookStatus,
    /// Why not.
    pub disabled_reason: Option<DisabledReason>,
    /// Since when nothing was delivered although something was tried.
    pub failing_since: Option<Timestamp>,
    /// The first entry that was not looked at yet, as far as that was written down.
    pub next_id: u64,
    /// `whpk_` and the Ed25519 key that verifies `v1a` signatures, in base64.
    pub public_key: String,
}

/// What `POST /api/v1/webhooks` answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct WebhookCreated {
    /// The webhook.
    #[serde(flatten)]
    pub webhook: Webhook,
    /// `whsec_` and the key of `v1` signatures in base64. It is not shown again.
    pub secret: String,
}

/// `GET /api/v1/webhooks`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct WebhookList {
    /// The webhooks of this page, oldest first.
    pub webhooks: Vec<Webhook>,
    /// Which page this is, from 1.
    pub page: u64,
    /// How many fit on a page.
    pub per_page: u64,
    /// How many there are.
    pub total: u64,
}

/// How a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// It will be tried, or tried again.
    Pending,
    /// The receiver answered 2xx.
    Delivered,
    /// It was tried for five days.
    Failed,
}

/// Why the last attempt did not get a 2xx.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum DeliveryFault {
    /// The receiver answered another status.
    Status,
    /// The URL leads to where this node does not go.
    AddressRefused,
    /// No connection: name, address or TLS.
    Connect,
    /// It took more than 15 seconds.
    Timeout,
    /// The connection broke.
    Broken,
}

impl DeliveryFault {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Status, Self::AddressRefused, Self::Connect, Self::Timeout, Self::Broken];

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::AddressRefused => "address_refused",
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Broken => "broken",
        }
    }
}

/// One message in the delivery log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct DeliveryRecord {
    /// Its name, in the header `webhook-id`.
    pub message_id: String,
    /// The entry that it tells of.
    pub entry_id: u64,
    /// How it stands.
    pub status: DeliveryStatus,
    /// How often it was tried.
    pub attempts: u64,
    /// When it was tried last.
    pub last_attempt_at: Option<Timestamp>,
    /// What the receiver answered then.
    pub response_status: Option<u16>,
    /// Why that was no delivery.
    pub error: Option<DeliveryFault>,
    /// When it is tried next, if the webhook is on.
    pub next_attempt_at: Option<Timestamp>,
}

/// `GET /api/v1/webhooks/{id}/deliveries`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct DeliveryList {
    /// The messages of this page, those of the newest entries first.
    pub deliveries: Vec<DeliveryRecord>,
    /// Which page this is, from 1.
    pub page: u64,
    /// How many fit on a page.
    pub per_page: u64,
    /// How many are kept: what was settled a week ago is forgotten.
    pub total: u64,
}

/// What `POST /api/v1/webhooks/{id}/test` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct TestOutcome {
    /// The name of the message that was sent.
    pub message_id: String,
    /// Whether the receiver answered 2xx.
    pub delivered: bool,
    /// What it answered.
    pub response_status: Option<u16>,
    /// Why that was no delivery.
    pub error: Option<DeliveryFault>,
}

/// `POST /api/v1/webhooks/{id}/replay`: one of the two members.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ReplayRequest {
    /// Tell of everything from this entry on again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// Try this message of the delivery log again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
}

/// The body of a message about an entry: what happened, and where to read it. Not the payload: who
/// is told reads it from the log and can verify it there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct EntryMessage {
    /// `log.entry.appended`.
    #[serde(rename = "type")]
    pub kind: String,
    /// When it happened.
    pub timestamp: Timestamp,
    /// The entry.
    pub data: EntryData,
}

/// Which entry a message is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "shell", derive(utoipa::ToSchema))]
pub struct EntryData {
    /// The log.
    pub origin: Origin,
    /// The entry's place in it.
    pub id: u64,
    /// The entry's event type.
    #[cfg_attr(feature = "shell", schema(value_type = String))]
    pub event_type: EventType,
    /// The entry's hash.
    pub entry_hash: Hash,
    /// When it was appended.
    pub timestamp: Timestamp,
    /// Where the leader and its followers answer it.
    pub location: String,
}

impl EntryMessage {
    /// What messages about entries are.
    pub const KIND: &'static str = "log.entry.appended";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_message_has_one_text_without_dots() {
        let webhook = WebhookId::new([0xab; 16]);
        let message = MessageId { webhook, entry_id: 42 };
        let text = format!("wh_{}_42", "ab".repeat(16));

        assert_eq!(message.to_string(), text);
        assert_eq!(text.parse(), Ok(message));
        for other in [
            "",
            "wh_",
            &webhook.to_string(),
            &text.replace("_42", "_042"),
            &text.replace("_42", "_+42"),
            &text.replace("ab", "AB"),
            &text.replace("wh_", "xx_"),
            &format!("{text}.5"),
        ] {
            assert_eq!(other.parse::<MessageId>(), Err(NotAWebhookId), "{other}");
        }
    }

    #[test]
    fn words_are_those_of_the_json() {
        for fault in DeliveryFault::ALL {
            assert_eq!(serde_json::to_value(fault).unwrap(), fault.as_str());
        }
    }
}
