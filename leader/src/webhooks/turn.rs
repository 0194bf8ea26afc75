//! The turn of one webhook: some of the messages that are due for it are sent, a few at a time.

use std::sync::Arc;

use bytes::Bytes;
use diogenes_common::client::{Courier, Refused, Rules, Target, Undelivered};
use diogenes_common::clock::{Clock, Timestamp};
use diogenes_common::files::{self, FileError};
use diogenes_common::head::Origin;
use diogenes_common::store::{
    Announcement, Attempt, DueMessage, TurnRecord, WebhookRow, WebhookState,
};
use diogenes_common::wire::webhooks::{EntryData, EntryMessage, MessageId};
use tokio::task::JoinSet;

use super::decision::{self, Outcome, Standing, Verdict};
use super::signing::Signer;

/// How many messages of one webhook are under way at once.
const WIDTH: usize = 8;

/// What a turn needs of the leader.
#[derive(Clone)]
pub(super) struct Sender {
    pub(super) courier: Courier,
    pub(super) rules: Arc<Rules>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) origin: Origin,
}

/// Sends until nothing is left, or the webhook is to be left alone.
pub(super) async fn run(
    sender: Sender,
    webhook: WebhookRow,
    due: Vec<DueMessage>,
) -> Result<TurnRecord, FileError> {
    let signer = Arc::new(Signer::new(&webhook.keys));
    let mut standing = Standing {
        state: WebhookState::Active,
        failing_since: webhook.failing_since,
        paused_until: sender.clock.now(),
    };
    let mut attempts = Vec::with_capacity(due.len());
    let mut due = due.into_iter();
    loop {
        // Who did not answer last is asked with one message whether it is back.
        let width = if standing.failing_since.is_some() { 1 } else { WIDTH };
        let some: Vec<DueMessage> = due.by_ref().take(width).collect();
        if some.is_empty() {
            break;
        }
        let outcomes = post_all(&sender, &webhook, &signer, &some).await;
        let now = sender.clock.now();
        for (message, outcome) in some.iter().zip(&outcomes) {
            attempts.push(attempt(message, outcome, now, files::random()?));
        }
        standing = decision::stand(standing.failing_since, &outcomes, now);
        if standing.state != WebhookState::Active || standing.paused_until > now {
            break;
        }
    }
    let Standing { state, failing_since, paused_until } = standing;
    let (id, generation) = (webhook.id, webhook.generation);
    Ok(TurnRecord { id, generation, attempts, state, failing_since, paused_until })
}

/// Posts one message; what its URL must not be counts as a refused address.
pub(super) async fn post(
    sender: &Sender,
    url: &str,
    signer: &Signer,
    message_id: &str,
    body: Vec<u8>,
) -> Outcome {
    let target = Target::parse(url, &sender.rules);
    let target = target.map_err(|_| Undelivered::Refused(Refused::NotListed))?;
    let headers = signer.headers(message_id, sender.clock.now(), &body);
    sender.courier.post(&target, headers, Bytes::from(body)).await
}

/// The body of the message about an entry: the same for each attempt.
pub(super) fn body(origin: &Origin, entry: &Announcement) -> Vec<u8> {
    let message = EntryMessage {
        kind: EntryMessage::KIND.to_owned(),
        timestamp: entry.timestamp,
        data: EntryData {
            origin: origin.clone(),
            id: entry.id,
            event_type: entry.event_type.clone(),
            entry_hash: entry.entry_hash,
            timestamp: entry.timestamp,
            location: format!("/api/v1/log/{}", entry.id),
        },
    };
    serde_json::to_vec(&message).expect("a message is plain data")
}

/// The outcomes of all, in their order.
async fn post_all(
    sender: &Sender,
    webhook: &WebhookRow,
    signer: &Arc<Signer>,
    messages: &[DueMessage],
) -> Vec<Outcome> {
    let mut posts = JoinSet::new();
    for (place, message) in messages.iter().enumerate() {
        let (sender, signer, url) = (sender.clone(), signer.clone(), webhook.url.clone());
        let id = MessageId { webhook: webhook.id, entry_id: message.entry.id }.to_string();
        let body = body(&sender.origin, &message.entry);
        posts.spawn(async move { (place, post(&sender, &url, &signer, &id, body).await) });
    }
    let mut outcomes = posts.join_all().await;
    outcomes.sort_unstable_by_key(|(place, _)| *place);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

fn attempt(message: &DueMessage, outcome: &Outcome, now: Timestamp, chance: [u8; 2]) -> Attempt {
    let (attempts, first_at) = (message.attempts, message.first_at.unwrap_or(now));
    let chance = u16::from_be_bytes(chance);
    let due_at = match decision::decide(outcome, attempts, first_at, now, chance) {
        Verdict::Again(at) => Some(at),
        Verdict::Delivered | Verdict::GivenUp => None,
    };
    Attempt {
        entry_id: message.entry.id,
        attempts,
        at: now,
        response_status: decision::status(outcome),
        fault: decision::fault(outcome),
        due_at,
    }
}

#[cfg(test)]
mod tests {
    use diogenes_common::merkle::Hash;

    use super::*;

    #[test]
    fn a_message_says_which_entry_and_where_but_not_what_is_in_it() {
        let timestamp = "2026-01-15T10:30:00.000Z".parse().expect("a time");
        let entry = Announcement {
            id: 42,
            event_type: "attestation".parse().expect("a type"),
            entry_hash: Hash::of(b"leaf"),
            timestamp,
        };

        let body = body(&"log.example/it".parse().expect("an origin"), &entry);

        let expected = format!(
            r#"{{"type":"log.entry.appended","timestamp":"2026-01-15T10:30:00.000Z","data":{{"origin":"log.example/it","id":42,"event_type":"attestation","entry_hash":"{}","timestamp":"2026-01-15T10:30:00.000Z","location":"/api/v1/log/42"}}}}"#,
            Hash::of(b"leaf")
        );
        assert_eq!(String::from_utf8(body).expect("text"), expected);
    }
}
