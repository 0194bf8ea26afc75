//! Webhooks: their places in the log, and the messages that wait.

use diogenes_common::keys::Fingerprint;
use diogenes_common::merkle::Hash;
use diogenes_common::store::{
    Advance, Attempt, Store, TurnRecord, WebhookKeys, WebhookPut, WebhookRow, WebhookState,
};
use diogenes_common::wire::webhooks::{DeliveryFault, WebhookId};

use super::harness::{Database, Log, START, at, on_both};

on_both!(
    a_key_has_so_many_webhooks_and_a_leader_too,
    what_is_to_be_told_is_written_down_once_and_the_place_moves_on,
    an_attempt_is_written_down_and_says_what_is_due_next,
    what_was_decided_before_a_replay_does_not_count,
    what_was_settled_is_forgotten_in_time,
    whoever_changes_a_webhook_waits_for_what_is_being_written_down,
);

const DAY: i64 = 86_400_000;

fn key(n: u8) -> Fingerprint {
    Fingerprint::new(Hash::of(&[n]))
}

fn webhook(n: u8, owner: u8) -> WebhookRow {
    WebhookRow {
        id: WebhookId::new([n; 16]),
        owner: key(owner),
        url: format!("https://receiver.example/{n}"),
        events: vec!["*".to_owned(), "x-it:*".to_owned()],
        keys: WebhookKeys { secret: vec![n; 24].into(), seed: [n; 32].into() },
        created_at: at(START + i64::from(n)),
        state: WebhookState::Active,
        next_id: 1,
        generation: 0,
        failing_since: None,
    }
}

async fn put(store: &Store, webhook: &WebhookRow) {
    assert_eq!(store.put_webhook(webhook, 10, 10).await, Ok(WebhookPut::Kept));
}

fn advance(webhook: &WebhookRow, next_id: u64, told: &[u64]) -> Advance {
    let (id, generation) = (webhook.id, webhook.generation);
    Advance { id, generation, next_id, told: told.to_vec() }
}

fn attempt(entry_id: u64, attempts: u64, due_at: Option<i64>) -> Attempt {
    Attempt {
        entry_id,
        attempts,
        at: at(START),
        response_status: Some(if due_at.is_some() { 500 } else { 200 }),
        fault: due_at.map(|_| DeliveryFault::Status),
        due_at: due_at.map(at),
    }
}

fn turn(webhook: &WebhookRow, attempts: Vec<Attempt>, paused_until: i64) -> TurnRecord {
    TurnRecord {
        id: webhook.id,
        generation: webhook.generation,
        attempts,
        state: WebhookState::Active,
        failing_since: Some(at(START)),
        paused_until: at(paused_until),
    }
}

/// The ids of the messages that are due.
async fn due(store: &Store, webhook: &WebhookRow, now: i64) -> Vec<u64> {
    let due = store.due_messages(webhook.id, at(now), 100).await.unwrap();
    due.iter().map(|message| message.entry.id).collect()
}

/// A store with five entries and a webhook that is to be told of three of them.
async fn telling(database: &Database) -> (Store, WebhookRow) {
    let mut log = Log::start(database).await;
    log.append(5, "x-it:event").await;
    let (store, webhook) = (log.store, webhook(1, 1));
    put(&store, &webhook).await;
    let advances = [advance(&webhook, 6, &[2, 3, 5])];
    store.advance_webhooks(&advances, at(START)).await.unwrap();
    (store, webhook)
}

async fn a_key_has_so_many_webhooks_and_a_leader_too(database: Database) {
    let store = database.open().await;
    let (first, second, third) = (webhook(1, 1), webhook(2, 1), webhook(3, 2));

    assert_eq!(store.put_webhook(&first, 2, 3).await, Ok(WebhookPut::Kept));
    assert_eq!(store.put_webhook(&second, 2, 3).await, Ok(WebhookPut::Kept));
    assert_eq!(store.put_webhook(&webhook(4, 1), 2, 3).await, Ok(WebhookPut::OwnerFull));
    assert_eq!(store.put_webhook(&third, 2, 3).await, Ok(WebhookPut::Kept));
    assert_eq!(store.put_webhook(&webhook(5, 2), 2, 3).await, Ok(WebhookPut::Full));

    assert_eq!(store.webhook(first.id).await, Ok(Some(first.clone())));
    assert_eq!(store.webhooks_of(&key(1)).await, Ok(vec![first.clone(), second.clone()]));
    let mut owners = vec![key(1), key(2)];
    owners.sort_by_key(ToString::to_string);
    assert_eq!(store.webhook_owners().await, Ok(owners));
    assert_eq!(store.delete_webhook(first.id).await, Ok(true));
    assert_eq!(store.delete_webhook(first.id).await, Ok(false));
    assert_eq!(store.webhook(first.id).await, Ok(None));
    assert_eq!(store.webhooks_of(&key(1)).await, Ok(vec![second]));
}

async fn what_is_to_be_told_is_written_down_once_and_the_place_moves_on(database: Database) {
    let (store, webhook) = telling(&database).await;
    let again = [advance(&webhook, 6, &[2, 3, 5])];

    store.advance_webhooks(&again, at(START + 1)).await.unwrap();

    assert_eq!(due(&store, &webhook, START).await, [2, 3, 5]);
    assert!(due(&store, &webhook, START - 1).await.is_empty());
    let (subscriptions, off) = store.subscriptions().await.unwrap();
    let shown: Vec<_> = subscriptions.iter().map(|one| (one.next_id, one.pending)).collect();
    assert_eq!((shown, off), (vec![(6, 3)], 0));
    assert_eq!(subscriptions[0].events, webhook.events);
    assert_eq!(store.next_webhook_due().await, Ok(Some(at(START))));
    let told = store.announcements(1, 3).await.unwrap();
    assert_eq!(told.iter().map(|entry| entry.id).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(told[0].event_type.as_str(), "x-it:event");
    let leaf = store.entry(2).await.unwrap().unwrap();
    assert_eq!((told[0].entry_hash, told[0].timestamp), (leaf.entry_hash(), leaf.timestamp()));
    assert_eq!(store.due_webhooks(at(START), 10).await.unwrap().len(), 1);
    assert_eq!(store.due_webhooks(at(START - 1), 10).await, Ok(Vec::new()));
}

async fn an_attempt_is_written_down_and_says_what_is_due_next(database: Database) {
    let (store, webhook) = telling(&database).await;
    let attempts = vec![attempt(2, 0, None), attempt(3, 0, Some(START + 5_000))];

    store.record_deliveries(&[turn(&webhook, attempts, START + 7_000)]).await.unwrap();

    assert_eq!(due(&store, &webhook, START).await, [5]);
    assert_eq!(due(&store, &webhook, START + 5_000).await, [5, 3]);
    assert_eq!(store.next_webhook_due().await, Ok(Some(at(START + 7_000))), "it is left alone");
    assert_eq!(store.due_webhooks(at(START + 6_999), 10).await, Ok(Vec::new()));
    assert_eq!(store.due_webhooks(at(START + 7_000), 10).await.unwrap().len(), 1);
    let (log, total) = store.deliveries(webhook.id, 1, 10).await.unwrap();
    assert_eq!((log.len(), total), (2, 3));
    let (tried, done) = (log[0], log[1]);
    assert_eq!((tried.entry_id, tried.attempts, tried.response_status), (3, 1, Some(500)));
    assert_eq!((tried.fault, tried.due_at), (Some(DeliveryFault::Status), Some(at(START + 5_000))));
    assert_eq!((done.entry_id, done.due_at, done.fault), (2, None, None));
    let row = store.webhook(webhook.id).await.unwrap().unwrap();
    assert_eq!(row.failing_since, Some(at(START)));

    let gone = TurnRecord { state: WebhookState::Gone, ..turn(&webhook, Vec::new(), START) };
    store.record_deliveries(&[gone]).await.unwrap();
    assert_eq!(store.next_webhook_due().await, Ok(None));
    assert_eq!(store.subscriptions().await.map(|(on, off)| (on.len(), off)), Ok((0, 1)));
    store.advance_webhooks(&[advance(&webhook, 9, &[4])], at(START)).await.unwrap();
    assert_eq!(store.deliveries(webhook.id, 0, 9).await.unwrap().1, 3, "nothing is told any more");
}

async fn what_was_decided_before_a_replay_does_not_count(database: Database) {
    let (store, webhook) = telling(&database).await;
    let attempts = || vec![attempt(2, 0, None), attempt(3, 0, None), attempt(5, 0, None)];
    store.record_deliveries(&[turn(&webhook, attempts(), START)]).await.unwrap();

    assert_eq!(store.replay_from(webhook.id, 3, at(START)).await, Ok(true));
    // What was planned, and what was sent, before it.
    store.advance_webhooks(&[advance(&webhook, 9, &[4])], at(START)).await.unwrap();
    store.record_deliveries(&[turn(&webhook, attempts(), START + DAY)]).await.unwrap();

    let row = store.webhook(webhook.id).await.unwrap().unwrap();
    assert_eq!((row.next_id, row.generation, row.failing_since), (3, 1, None));
    assert_eq!(store.deliveries(webhook.id, 0, 9).await.unwrap().1, 1);
    assert_eq!(store.next_webhook_due().await, Ok(Some(at(START))));
    store.advance_webhooks(&[advance(&row, 6, &[3, 5])], at(START)).await.unwrap();
    assert_eq!(due(&store, &webhook, START).await, [3, 5]);

    assert_eq!(store.replay_message(webhook.id, 4, at(START)).await, Ok(false));
    assert_eq!(store.replay_message(webhook.id, 2, at(START)).await, Ok(true));
    assert_eq!(due(&store, &webhook, START).await, [2, 3, 5]);
    assert_eq!(store.replay_from(WebhookId::new([9; 16]), 1, at(START)).await, Ok(false));
}

async fn what_was_settled_is_forgotten_in_time(database: Database) {
    let (store, first) = telling(&database).await;
    store.record_deliveries(&[turn(&first, vec![attempt(2, 0, None)], START)]).await.unwrap();
    let second = webhook(2, 1);
    put(&store, &second).await;
    let told: Vec<u64> = (1..=1_003).collect();
    store.advance_webhooks(&[advance(&second, 1_004, &told)], at(START)).await.unwrap();
    let attempts = told[..1_002].iter().map(|entry| attempt(*entry, 0, None)).collect();
    store.record_deliveries(&[turn(&second, attempts, START)]).await.unwrap();

    assert_eq!(store.thin_deliveries(at(START + 7 * DAY)).await, Ok(2), "the newest thousand stay");
    assert_eq!(store.deliveries(first.id, 0, 9).await.unwrap().1, 3);
    assert_eq!(store.thin_deliveries(at(START + 7 * DAY + 1)).await, Ok(1_001));
    assert_eq!(store.deliveries(first.id, 0, 9).await.unwrap().1, 2, "what waits stays");
}

async fn whoever_changes_a_webhook_waits_for_what_is_being_written_down(database: Database) {
    let (store, first) = telling(&database).await;
    if database.is_postgres() {
        database
            .tamper(
                "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
                   $$ BEGIN PERFORM pg_sleep(0.5); RETURN NULL; END $$;
                 CREATE TRIGGER slow AFTER UPDATE ON local_webhook_messages
                   FOR EACH STATEMENT EXECUTE FUNCTION wait()",
            )
            .await;
    }
    let later = async |change: &'static str| {
        tokio::time::sleep(std::time::Duration::from_millis(150)).await;
        match change {
            "message" => store.replay_message(first.id, 3, at(START)).await,
            "all" => store.replay_from(first.id, 1, at(START)).await,
            _ => store.delete_webhook(first.id).await,
        }
    };
    for change in ["message", "all", "deletion"] {
        let known = store.webhook(first.id).await.unwrap().unwrap();
        let turns = [turn(&known, vec![attempt(3, 0, None)], START)];

        let (written, changed) = tokio::join!(store.record_deliveries(&turns), later(change));

        assert_eq!((written, changed), (Ok(()), Ok(true)), "{change}");
        store.advance_webhooks(&[advance(&known, 9, &[3])], at(START)).await.unwrap();
    }
    assert_eq!(store.webhook(first.id).await, Ok(None));
}
