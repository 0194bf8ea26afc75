//! What the store keeps of webhooks, row by row.

use std::fmt;

use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::keys::Fingerprint;
use crate::leaf::EventType;
use crate::merkle::Hash;
use crate::wire::webhooks::{DeliveryFault, WebhookId};

/// A webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookRow {
    /// Its name.
    pub id: WebhookId,
    /// The key whose holder made it.
    pub owner: Fingerprint,
    /// Where messages go.
    pub url: String,
    /// Which entries are told.
    pub events: Vec<String>,
    /// What its messages are signed with.
    pub keys: WebhookKeys,
    /// When it was made.
    pub created_at: Timestamp,
    /// Whether it is told.
    pub state: WebhookState,
    /// The first entry that was not looked at yet.
    pub next_id: u64,
    /// Raised by each replay: what was decided before that does not count any more.
    pub generation: i64,
    /// Since when nothing was delivered although something was tried.
    pub failing_since: Option<Timestamp>,
}

/// The secrets of a webhook; never printed, wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookKeys {
    /// The key of `v1` signatures.
    pub secret: Zeroizing<Vec<u8>>,
    /// The private key of `v1a` signatures.
    pub seed: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for WebhookKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Whether a webhook is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookState {
    /// It is.
    Active,
    /// Not since its receiver answered 410.
    Gone,
    /// Not since nothing was delivered for too long.
    Failing,
}

impl WebhookState {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Gone => "gone",
            Self::Failing => "failing",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        [Self::Active, Self::Gone, Self::Failing].into_iter().find(|state| state.as_str() == name)
    }
}

/// What became of a new webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookPut {
    /// It is kept.
    Kept,
    /// Its owner has as many as one may have.
    OwnerFull,
    /// There are as many as a leader serves.
    Full,
}

/// An active webhook as the planner sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Its name.
    pub id: WebhookId,
    /// Which entries are told.
    pub events: Vec<String>,
    /// The first entry that was not looked at yet.
    pub next_id: u64,
    /// What [`WebhookRow::generation`] was.
    pub generation: i64,
    /// How many messages wait for it.
    pub pending: u64,
}

/// What a message says of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The entry.
    pub id: u64,
    /// Its type.
    pub event_type: EventType,
    /// Its hash.
    pub entry_hash: Hash,
    /// When it was appended.
    pub timestamp: Timestamp,
}

/// A place that a webhook moves on to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advance {
    /// Which webhook.
    pub id: WebhookId,
    /// In which generation that was decided.
    pub generation: i64,
    /// The first entry that was not looked at.
    pub next_id: u64,
    /// The entries before it that are to be told.
    pub told: Vec<u64>,
}

/// A message that is to be tried now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueMessage {
    /// What it says.
    pub entry: Announcement,
    /// How often it was tried.
    pub attempts: u64,
    /// When it was tried first.
    pub first_at: Option<Timestamp>,
}

/// What became of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Which message.
    pub entry_id: u64,
    /// How often it had been tried before.
    pub attempts: u64,
    /// When.
    pub at: Timestamp,
    /// What the receiver answered.
    pub response_status: Option<u16>,
    /// Why that was no delivery; `None` if it was one.
    pub fault: Option<DeliveryFault>,
    /// When to try again; `None` if it is settled.
    pub due_at: Option<Timestamp>,
}

/// What became of some messages of a webhook, and how it stands after them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnRecord {
    /// Which webhook.
    pub id: WebhookId,
    /// In which generation they were taken up.
    pub generation: i64,
    /// One for each message.
    pub attempts: Vec<Attempt>,
    /// Whether it is told from now on.
    pub state: WebhookState,
    /// Since when nothing was delivered.
    pub failing_since: Option<Timestamp>,
    /// Until when it is left alone.
    pub paused_until: Timestamp,
}

/// One message of the delivery log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliveryRow {
    /// Of which entry.
    pub entry_id: u64,
    /// How often it was tried.
    pub attempts: u64,
    /// When it is tried next; `None` if it is settled.
    pub due_at: Option<Timestamp>,
    /// When it was tried last.
    pub last_at: Option<Timestamp>,
    /// What the receiver answered then.
    pub response_status: Option<u16>,
    /// Why that was no delivery.
    pub fault: Option<DeliveryFault>,
}
