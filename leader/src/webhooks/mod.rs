//! Webhooks: who is told of new entries, over HTTP, by messages that verify.
//!
//! A webhook is a place in the log and a table of messages that are still to be delivered. Nothing
//! of it is written when an entry is appended; a task of its own follows the published head. See
//! `docs/webhooks.md` for what receivers see.

mod decision;
mod http;
mod metrics;
mod pattern;
mod plan;
mod signing;
mod turn;
mod worker;

use std::sync::Arc;

use diogenes_common::client::{Courier, Rules, Target, TargetError};
use diogenes_common::clock::{Clock, Timestamp};
use diogenes_common::config::{LISTEN, Settings, WEBHOOK_ALLOW, WEBHOOK_ALLOW_PRIVATE};
use diogenes_common::exit::Failure;
use diogenes_common::files::{self, FileError};
use diogenes_common::head::Origin;
use diogenes_common::keys::Fingerprint;
use diogenes_common::store::{StoreError, WebhookKeys, WebhookPut, WebhookRow, WebhookState};
use diogenes_common::view::KeyState;
use diogenes_common::wire::webhooks::{
    MessageId, ReplayRequest, TestOutcome, WebhookId, WebhookRequest,
};
use tokio::sync::{Notify, Semaphore};
use zeroize::Zeroizing;

use crate::app::App;
use pattern::{MAX_PATTERNS, NotAPattern, Pattern};
use signing::{NotASecret, Signer};
use turn::Sender;

pub(crate) use http::router;
pub(crate) use metrics::WebhookMetrics;
pub(crate) use worker::tell;

/// The most webhooks of one key.
const MAX_OF_OWNER: u64 = 20;

/// The most webhooks of one leader: their places are kept in memory.
const MAX_WEBHOOKS: u64 = 10_000;

/// How many tests run at once: each waits for somebody else's server.
const MAX_TESTS: usize = 4;

/// How long a secret is that is made here.
const SECRET_BYTES: usize = 32;

/// What webhooks know beside the database.
pub(crate) struct Webhooks {
    sender: Sender,
    /// A webhook was made, deleted or replayed.
    changed: Notify,
    tests: Semaphore,
}

/// Why a webhook is not what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum WebhookError {
    /// The URL may not be dialled (422).
    #[error(transparent)]
    Url(#[from] TargetError),
    /// No event is named, or too many (422).
    #[error("name from 1 to {MAX_PATTERNS} events, each once")]
    Events,
    /// One of them is none (422).
    #[error("{1}")]
    Event(usize, NotAPattern),
    /// The secret is none (422).
    #[error(transparent)]
    Secret(#[from] NotASecret),
    /// Neither or both members of a replay (422).
    #[error("send either `from` or `message_id`")]
    Replay,
    /// A replay of what is not in the log (422).
    #[error("`from` is the id of an entry: from 1 to {0}")]
    From(u64),
    /// A replay of what is not in the delivery log (422).
    #[error("the delivery log of this webhook has no such message")]
    Message,
    /// No such webhook, or somebody else's: the two look alike (404).
    #[error("you have no webhook of this id")]
    Unknown,
    /// The key has as many as one may have (409).
    #[error("a key has at most {MAX_OF_OWNER} webhooks; delete one first")]
    OwnerFull,
    /// The leader has as many as it serves (503).
    #[error("this leader serves as many webhooks as it can")]
    Full,
    /// Enough tests are running (503).
    #[error("several tests wait for their receivers already; try again soon")]
    Busy,
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The operating system gave no random bytes.
    #[error(transparent)]
    Random(#[from] FileError),
}

impl Webhooks {
    pub(crate) fn from_settings(
        settings: &Settings,
        clock: Arc<dyn Clock>,
        origin: Origin,
    ) -> Result<Self, Failure> {
        let own = settings.value(&LISTEN).ip();
        let rules = Rules {
            listed: settings.value(&WEBHOOK_ALLOW),
            allow_private: settings.value(&WEBHOOK_ALLOW_PRIVATE),
            own: (!own.is_unspecified()).then_some(own),
        };
        let courier = Courier::new("leader", env!("CARGO_PKG_VERSION"), rules.clone())?;
        let sender = Sender { courier, rules: Arc::new(rules), clock, origin };
        Ok(Self { sender, changed: Notify::new(), tests: Semaphore::new(MAX_TESTS) })
    }
}

/// Makes a webhook that is told of what is appended from now on: after entry `last`.
async fn create(
    app: &App,
    owner: Fingerprint,
    request: &WebhookRequest,
    last: u64,
) -> Result<WebhookRow, WebhookError> {
    let target = Target::parse(&request.url, &app.webhooks.sender.rules)?;
    check_events(&request.events)?;
    let secret = match &request.secret {
        Some(text) => signing::read_secret(text)?,
        None => Zeroizing::new(files::random::<SECRET_BYTES>()?.to_vec()),
    };
    let webhook = WebhookRow {
        id: WebhookId::new(files::random()?),
        owner,
        url: target.to_string(),
        events: request.events.clone(),
        keys: WebhookKeys { secret, seed: Zeroizing::new(files::random()?) },
        created_at: app.clock.now(),
        state: WebhookState::Active,
        next_id: last + 1,
        generation: 0,
        failing_since: None,
    };
    match app.store.put_webhook(&webhook, MAX_OF_OWNER, MAX_WEBHOOKS).await? {
        WebhookPut::Kept => {
            app.webhooks.changed.notify_one();
            Ok(webhook)
        }
        WebhookPut::OwnerFull => Err(WebhookError::OwnerFull),
        WebhookPut::Full => Err(WebhookError::Full),
    }
}

fn check_events(events: &[String]) -> Result<(), WebhookError> {
    for (place, text) in events.iter().enumerate().take(MAX_PATTERNS) {
        if let Err(error) = text.parse::<Pattern>() {
            return Err(WebhookError::Event(place, error));
        }
        if events[..place].contains(text) {
            return Err(WebhookError::Events);
        }
    }
    let is_some = (1..=MAX_PATTERNS).contains(&events.len());
    if is_some { Ok(()) } else { Err(WebhookError::Events) }
}

/// The webhook of this id, if it is this key's.
async fn owned(app: &App, owner: Fingerprint, id: &str) -> Result<WebhookRow, WebhookError> {
    let id: WebhookId = id.parse().map_err(|_| WebhookError::Unknown)?;
    let webhook = app.store.webhook(id).await?;
    webhook.filter(|webhook| webhook.owner == owner).ok_or(WebhookError::Unknown)
}

async fn delete(app: &App, owner: Fingerprint, id: &str) -> Result<(), WebhookError> {
    let webhook = owned(app, owner, id).await?;
    if !app.store.delete_webhook(webhook.id).await? {
        return Err(WebhookError::Unknown);
    }
    app.webhooks.changed.notify_one();
    Ok(())
}

/// Sends one message that is about no entry, now, and says what came of it. A test leaves no trace:
/// it neither turns a webhook off nor counts as a delivery.
async fn test(app: &App, owner: Fingerprint, id: &str) -> Result<TestOutcome, WebhookError> {
    let webhook = owned(app, owner, id).await?;
    let _turn = app.webhooks.tests.try_acquire().map_err(|_| WebhookError::Busy)?;
    let now = app.clock.now();
    let message_id = format!("{}_test{}", webhook.id, now.millis());
    let body = serde_json::json!({
        "type": "webhook.test",
        "timestamp": now,
        "data": { "origin": app.origin, "webhook_id": webhook.id },
    });
    let (sender, signer) = (&app.webhooks.sender, Signer::new(&webhook.keys));
    let body = body.to_string().into_bytes();
    let outcome = turn::post(sender, &webhook.url, &signer, &message_id, body).await;
    Ok(TestOutcome {
        message_id,
        delivered: decision::is_delivered(&outcome),
        response_status: decision::status(&outcome),
        error: decision::fault(&outcome),
    })
}

/// Tells again, and turns the webhook on if it was off; the log has `last` entries.
async fn replay(
    app: &App,
    owner: Fingerprint,
    id: &str,
    request: &ReplayRequest,
    last: u64,
) -> Result<WebhookRow, WebhookError> {
    let webhook = owned(app, owner, id).await?;
    let now = app.clock.now();
    let is_replayed = match (request.from, &request.message_id) {
        (Some(from), None) => {
            if !(1..=last).contains(&from) {
                return Err(WebhookError::From(last));
            }
            app.store.replay_from(webhook.id, from, now).await?
        }
        (None, Some(message)) => {
            let message = message.parse().ok().filter(|of: &MessageId| of.webhook == webhook.id);
            let entry_id = message.ok_or(WebhookError::Message)?.entry_id;
            if !app.store.replay_message(webhook.id, entry_id, now).await? {
                return Err(WebhookError::Message);
            }
            true
        }
        _ => return Err(WebhookError::Replay),
    };
    if !is_replayed {
        return Err(WebhookError::Unknown);
    }
    app.webhooks.changed.notify_one();
    owned(app, owner, id).await
}

/// Forgets old deliveries, and the webhooks of keys that have ended: nobody can log in as their
/// owner any more to delete them.
pub(crate) async fn tidy(app: &App, now: Timestamp) -> Result<(), StoreError> {
    app.store.thin_deliveries(now).await?;
    for owner in app.store.webhook_owners().await? {
        let key = app.store.key(&owner).await?;
        if key.is_some_and(|key| key.state_at(now) == KeyState::Active) {
            continue;
        }
        for webhook in app.store.webhooks_of(&owner).await? {
            app.store.delete_webhook(webhook.id).await?;
            tracing::info!(webhook.id = %webhook.id, "a webhook ended with its key");
        }
        app.webhooks.changed.notify_one();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_named_once_and_there_are_some() {
        let check = |events: &[&str]| {
            check_events(&events.iter().map(|event| (*event).to_owned()).collect::<Vec<_>>())
        };
        let many: Vec<String> = (0..=MAX_PATTERNS).map(|n| format!("x-a:e{n}")).collect();

        assert_eq!(check(&["attestation", "x-acme:*"]), Ok(()));
        assert_eq!(check(&[]), Err(WebhookError::Events));
        assert_eq!(check(&["*", "*"]), Err(WebhookError::Events));
        assert_eq!(check(&["*", "nothing"]), Err(WebhookError::Event(1, NotAPattern)));
        assert_eq!(check_events(&many[1..]), Ok(()));
        assert_eq!(check_events(&many), Err(WebhookError::Events));
    }
}
