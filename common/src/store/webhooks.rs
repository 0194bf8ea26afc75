//! Who is told of entries: each webhook's place in the log, and the messages that it was not told yet.
//!
//! A message is first written down, then the place moves on, then the message is sent, then what
//! became of it is written down. Whatever is cut off in between is done again, under the same name.

mod rows;

use zeroize::Zeroizing;

use super::Store;
use super::bulk::{Session as _, Sql, json, rows, values};
use super::commit::number;
use super::error::{CommitError, StoreError};
use super::pool::{in_transaction, on_pool};
use super::read::text;
use super::views::read_rows;
use crate::clock::Timestamp;
use crate::keys::Fingerprint;
use crate::merkle::Hash;
use crate::wire::webhooks::{DeliveryFault, WebhookId};

pub use rows::{
    Advance, Announcement, Attempt, DeliveryRow, DueMessage, Subscription, TurnRecord, WebhookKeys,
    WebhookPut, WebhookRow, WebhookState,
};

/// How many settled messages of one webhook are kept.
const KEPT_MESSAGES: i64 = 1_000;

/// How long settled messages are kept.
const KEPT_MILLIS: i64 = 7 * 86_400_000;

const COLUMNS: &str = "id, owner, url, events, secret, signing_seed, created_at, state, next_id,
    generation, failing_since";

type StoredWebhook =
    (String, String, String, String, Vec<u8>, Vec<u8>, i64, String, i64, i64, Option<i64>);
type StoredEntry = (i64, String, Vec<u8>, i64);

/// Has everybody else wait who wants to change this webhook or its messages. Whoever changes both
/// begins with the webhook, by this or by changing it: in two orders they would wait for each other
/// on PostgreSQL, which ends one.
const HOLD: Sql = Sql {
    sqlite: "SELECT 1 FROM local_webhooks WHERE id = $1",
    postgres: "SELECT 1 FROM local_webhooks WHERE id = $1 FOR UPDATE",
};

/// The same for those that rows begin with.
const HOLD_EACH: Sql = Sql {
    sqlite: "SELECT 1 FROM json_each($1)",
    postgres: "SELECT 1 FROM local_webhooks WHERE id IN
                 (SELECT named.value->>0 FROM json_array_elements($1::json) AS named)
               ORDER BY id FOR UPDATE",
};

impl Store {
    /// Keeps a new webhook, unless its owner or the leader has as many as there may be.
    pub async fn put_webhook(
        &self,
        webhook: &WebhookRow,
        most_of_owner: u64,
        most: u64,
    ) -> Result<WebhookPut, StoreError> {
        const LOCK: Sql = Sql {
            sqlite: "SELECT 1",
            postgres: "LOCK TABLE local_webhooks IN SHARE ROW EXCLUSIVE MODE",
        };
        const OF_OWNER: Sql = Sql::same("SELECT COUNT(*) FROM local_webhooks WHERE owner = $1");
        const ALL: Sql = Sql::same("SELECT COUNT(*) FROM local_webhooks");
        const PUT: Sql = Sql::same(
            "INSERT INTO local_webhooks (id, owner, url, events, secret, signing_seed, created_at,
                state, next_id, generation, due_at, paused_until, failing_since)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, NULL, 0, $11)",
        );
        let (id, owner) = (webhook.id.to_string(), webhook.owner.to_string());
        let events = text(json(&webhook.events));
        let row = values![
            &*id,
            &*owner,
            &*webhook.url,
            &*events,
            &webhook.keys.secret[..],
            &webhook.keys.seed[..],
            webhook.created_at.millis(),
            webhook.state.as_str(),
            number(webhook.next_id),
            webhook.generation,
            webhook.failing_since.map(Timestamp::millis),
        ];
        let pool = &self.0.writers;
        let put = in_transaction!(pool, pool.patience(), db => async {
            db.run(LOCK, values![]).await?;
            if db.number(OF_OWNER, values![&*owner]).await? >= Some(number(most_of_owner)) {
                return Ok(WebhookPut::OwnerFull);
            }
            if db.number(ALL, values![]).await? >= Some(number(most)) {
                return Ok(WebhookPut::Full);
            }
            db.run(PUT, row).await?;
            Ok::<_, CommitError>(WebhookPut::Kept)
        });
        Ok(put?)
    }

    /// A webhook.
    pub async fn webhook(&self, id: WebhookId) -> Result<Option<WebhookRow>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM local_webhooks WHERE id = $1");
        let (sql, id) = (sqlx::AssertSqlSafe(sql), id.to_string());
        let rows: Vec<StoredWebhook> = on_pool!(&self.0.readers, db => {
            sqlx::query_as(sql).bind(&id).fetch_all(db)
        })?;
        Ok(read_rows(rows, webhook, "local_webhooks")?.pop())
    }

    /// The webhooks of a key, oldest first. There are few.
    pub async fn webhooks_of(&self, owner: &Fingerprint) -> Result<Vec<WebhookRow>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM local_webhooks WHERE owner = $1 ORDER BY created_at, id"
        );
        let (sql, owner) = (sqlx::AssertSqlSafe(sql), owner.to_string());
        let rows: Vec<StoredWebhook> = on_pool!(&self.0.readers, db => {
            sqlx::query_as(sql).bind(&owner).fetch_all(db)
        })?;
        read_rows(rows, webhook, "local_webhooks")
    }

    /// Deletes a webhook and its messages; false if there is none.
    pub async fn delete_webhook(&self, id: WebhookId) -> Result<bool, StoreError> {
        const WEBHOOK: Sql = Sql::same("DELETE FROM local_webhooks WHERE id = $1");
        const MESSAGES: Sql = Sql::same("DELETE FROM local_webhook_messages WHERE webhook_id = $1");
        let (pool, id) = (&self.0.writers, id.to_string());
        let deleted = in_transaction!(pool, pool.patience(), db => async {
            let deleted = db.run(WEBHOOK, values![&*id]).await?;
            db.run(MESSAGES, values![&*id]).await?;
            Ok::<_, CommitError>(deleted > 0)
        });
        Ok(deleted?)
    }

    /// The keys that own webhooks.
    pub async fn webhook_owners(&self) -> Result<Vec<Fingerprint>, StoreError> {
        const SQL: &str = "SELECT DISTINCT owner FROM local_webhooks ORDER BY owner";
        let owners: Vec<(String,)> =
            on_pool!(&self.0.readers, db => sqlx::query_as(SQL).fetch_all(db))?;
        read_rows(owners, |(owner,)| owner.parse().ok(), "local_webhooks")
    }

    /// The active webhooks, and how many there are of those that were turned off.
    pub async fn subscriptions(&self) -> Result<(Vec<Subscription>, u64), StoreError> {
        const SQL: &str = "SELECT w.id, w.events, w.next_id, w.generation,
                (SELECT COUNT(*) FROM local_webhook_messages m
                 WHERE m.webhook_id = w.id AND m.due_at IS NOT NULL)
            FROM local_webhooks w WHERE w.state = 'active' ORDER BY w.id";
        const OFF: &str = "SELECT COUNT(*) FROM local_webhooks WHERE state <> 'active'";
        type Stored = (String, String, i64, i64, i64);
        let (rows, off): (Vec<Stored>, i64) = on_pool!(&self.0.readers, db => async {
            let rows = sqlx::query_as(SQL).fetch_all(&mut *db).await?;
            Ok::<_, sqlx::Error>((rows, sqlx::query_scalar(OFF).fetch_one(db).await?))
        })?;
        let read = |(id, events, next_id, generation, pending): Stored| {
            Some(Subscription {
                id: id.parse().ok()?,
                events: serde_json::from_str(&events).ok()?,
                next_id: next_id.cast_unsigned(),
                generation,
                pending: pending.cast_unsigned(),
            })
        };
        Ok((read_rows(rows, read, "local_webhooks")?, off.cast_unsigned()))
    }

    /// What messages say of the entries `after + 1 ..= upto`.
    pub async fn announcements(
        &self,
        after: u64,
        upto: u64,
    ) -> Result<Vec<Announcement>, StoreError> {
        const SQL: &str = "SELECT id, event_type, entry_hash, timestamp FROM log_entries
            WHERE id > $1 AND id <= $2 ORDER BY id";
        let rows: Vec<StoredEntry> = on_pool!(&self.0.readers, db => {
            sqlx::query_as(SQL).bind(number(after)).bind(number(upto)).fetch_all(db)
        })?;
        read_rows(rows, announcement, "log_entries")
    }

    /// Writes down what is to be told, and only then moves the places on. Of a webhook that was
    /// deleted, turned off or replayed meanwhile nothing is written.
    pub async fn advance_webhooks(
        &self,
        advances: &[Advance],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        const TELL: Sql = rows!(
            "INSERT INTO local_webhook_messages (webhook_id, entry_id, attempts, due_at)
             SELECT w.id, CAST(told.value->>2 AS BIGINT), 0, CAST(told.value->>3 AS BIGINT) FROM",
            "AS told JOIN local_webhooks w ON w.id = told.value->>0
                AND w.generation = CAST(told.value->>1 AS BIGINT) AND w.state = 'active'
             WHERE true ON CONFLICT (webhook_id, entry_id) DO NOTHING"
        );
        const MOVE: Sql = rows!(
            "UPDATE local_webhooks SET next_id = CAST(place.value->>2 AS BIGINT),
                due_at = CASE WHEN CAST(place.value->>3 AS BIGINT) IS NULL THEN due_at
                    WHEN due_at < CAST(place.value->>3 AS BIGINT) THEN due_at
                    ELSE CAST(place.value->>3 AS BIGINT) END
             FROM",
            "AS place WHERE local_webhooks.id = place.value->>0
                AND generation = CAST(place.value->>1 AS BIGINT)
                AND next_id < CAST(place.value->>2 AS BIGINT)"
        );
        let (mut told, mut places) = (Vec::new(), Vec::new());
        for Advance { id, generation, next_id, told: entries } in advances {
            let due_at = (!entries.is_empty()).then_some(now.millis());
            places.push((id, generation, next_id, due_at));
            told.extend(entries.iter().map(|entry| (id, generation, entry, now.millis())));
        }
        let pool = &self.0.writers;
        let done = in_transaction!(pool, pool.patience(), db => async {
            db.run(HOLD_EACH, vec![json(&places)]).await?;
            if !told.is_empty() {
                db.run(TELL, vec![json(&told)]).await?;
            }
            db.run(MOVE, vec![json(&places)]).await?;
            Ok::<_, CommitError>(())
        });
        Ok(done?)
    }

    /// The active webhooks that something is due for, longest due first.
    pub async fn due_webhooks(
        &self,
        now: Timestamp,
        limit: u64,
    ) -> Result<Vec<WebhookRow>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM local_webhooks WHERE due_at <= $1 AND paused_until <= $1
                AND state = 'active' ORDER BY due_at, id LIMIT $2"
        );
        let sql = sqlx::AssertSqlSafe(sql);
        let rows: Vec<StoredWebhook> = on_pool!(&self.0.readers, db => {
            sqlx::query_as(sql).bind(now.millis()).bind(number(limit)).fetch_all(db)
        })?;
        read_rows(rows, webhook, "local_webhooks")
    }

    /// When something is due next for any active webhook.
    pub async fn next_webhook_due(&self) -> Result<Option<Timestamp>, StoreError> {
        const SQL: &str = "SELECT MIN(CASE WHEN due_at > paused_until THEN due_at
                ELSE paused_until END)
            FROM local_webhooks WHERE due_at IS NOT NULL AND state = 'active'";
        let due: Option<i64> =
            on_pool!(&self.0.readers, db => sqlx::query_scalar(SQL).fetch_one(db))?;
        Ok(due.and_then(Timestamp::from_millis))
    }

    /// The messages of a webhook that are due, longest due first.
    pub async fn due_messages(
        &self,
        id: WebhookId,
        now: Timestamp,
        limit: u64,
    ) -> Result<Vec<DueMessage>, StoreError> {
        const SQL: &str = "SELECT e.id, e.event_type, e.entry_hash, e.timestamp, m.attempts,
                m.first_at
            FROM local_webhook_messages m JOIN log_entries e ON e.id = m.entry_id
            WHERE m.webhook_id = $1 AND m.due_at <= $2 ORDER BY m.due_at, m.entry_id LIMIT $3";
        type Stored = (i64, String, Vec<u8>, i64, i64, Option<i64>);
        let id = id.to_string();
        let rows: Vec<Stored> = on_pool!(&self.0.readers, db => sqlx::query_as(SQL)
            .bind(&id)
            .bind(now.millis())
            .bind(number(limit))
            .fetch_all(db))?;
        let read = |(id, event_type, hash, timestamp, attempts, first_at): Stored| {
            Some(DueMessage {
                entry: announcement((id, event_type, hash, timestamp))?,
                attempts: attempts.cast_unsigned(),
                first_at: time(first_at),
            })
        };
        read_rows(rows, read, "local_webhook_messages")
    }

    /// Writes down what became of messages.
    ///
    /// A message that was replayed since it was taken up has another number of attempts, and a
    /// webhook another generation: both stay as the replay left them.
    pub async fn record_deliveries(&self, turns: &[TurnRecord]) -> Result<(), StoreError> {
        const ATTEMPTS: Sql = rows!(
            "UPDATE local_webhook_messages SET attempts = attempts + 1,
                due_at = CAST(done.value->>3 AS BIGINT),
                first_at = COALESCE(first_at, CAST(done.value->>4 AS BIGINT)),
                last_at = CAST(done.value->>4 AS BIGINT),
                response_status = CAST(done.value->>5 AS BIGINT), fault = done.value->>6
             FROM",
            "AS done WHERE webhook_id = done.value->>0
                AND entry_id = CAST(done.value->>1 AS BIGINT)
                AND attempts = CAST(done.value->>2 AS BIGINT) AND due_at IS NOT NULL"
        );
        const WEBHOOKS: Sql = rows!(
            "UPDATE local_webhooks SET state = turn.value->>2,
                failing_since = CAST(turn.value->>3 AS BIGINT),
                paused_until = CAST(turn.value->>4 AS BIGINT),
                due_at = (SELECT MIN(m.due_at) FROM local_webhook_messages m
                          WHERE m.webhook_id = local_webhooks.id)
             FROM",
            "AS turn WHERE local_webhooks.id = turn.value->>0
                AND generation = CAST(turn.value->>1 AS BIGINT) AND state = 'active'"
        );
        let attempts: Vec<_> = turns
            .iter()
            .flat_map(|turn| turn.attempts.iter().map(|attempt| (turn.id, attempt)))
            .map(|(id, attempt)| {
                let due_at = attempt.due_at.map(Timestamp::millis);
                let (status, fault) = (attempt.response_status, attempt.fault);
                let (before, at) = (attempt.attempts, attempt.at.millis());
                (id, attempt.entry_id, before, due_at, at, status, fault)
            })
            .collect();
        let webhooks: Vec<_> = turns
            .iter()
            .map(|turn| {
                let failing_since = turn.failing_since.map(Timestamp::millis);
                let paused_until = turn.paused_until.millis();
                (turn.id, turn.generation, turn.state.as_str(), failing_since, paused_until)
            })
            .collect();
        let pool = &self.0.writers;
        let done = in_transaction!(pool, pool.patience(), db => async {
            db.run(HOLD_EACH, vec![json(&webhooks)]).await?;
            db.run(ATTEMPTS, vec![json(&attempts)]).await?;
            db.run(WEBHOOKS, vec![json(&webhooks)]).await?;
            Ok::<_, CommitError>(())
        });
        Ok(done?)
    }

    /// Has a webhook told of everything from this entry on again; false if there is none.
    pub async fn replay_from(
        &self,
        id: WebhookId,
        from: u64,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        const FORGET: Sql = Sql::same(
            "DELETE FROM local_webhook_messages WHERE webhook_id = $1 AND entry_id >= $2",
        );
        const MOVE: Sql = Sql::same(
            "UPDATE local_webhooks SET next_id = $2, generation = generation + 1,
                state = 'active', failing_since = NULL, paused_until = 0, due_at = $3
             WHERE id = $1",
        );
        let (pool, id) = (&self.0.writers, id.to_string());
        let moved = in_transaction!(pool, pool.patience(), db => async {
            let moved = db.run(MOVE, values![&*id, number(from), now.millis()]).await?;
            db.run(FORGET, values![&*id, number(from)]).await?;
            Ok::<_, CommitError>(moved > 0)
        });
        Ok(moved?)
    }

    /// Has one message of the delivery log tried again; false if it is not there.
    pub async fn replay_message(
        &self,
        id: WebhookId,
        entry_id: u64,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        const MESSAGE: Sql = Sql::same(
            "UPDATE local_webhook_messages SET due_at = $3, first_at = NULL, attempts = 0
             WHERE webhook_id = $1 AND entry_id = $2",
        );
        const WEBHOOK: Sql = Sql::same(
            "UPDATE local_webhooks SET generation = generation + 1, state = 'active',
                failing_since = NULL, paused_until = 0, due_at = $2
             WHERE id = $1",
        );
        let (pool, id) = (&self.0.writers, id.to_string());
        let found = in_transaction!(pool, pool.patience(), db => async {
            db.run(HOLD, values![&*id]).await?;
            let row = values![&*id, number(entry_id), now.millis()];
            let found = db.run(MESSAGE, row).await? > 0;
            if found {
                db.run(WEBHOOK, values![&*id, now.millis()]).await?;
            }
            Ok::<_, CommitError>(found)
        });
        Ok(found?)
    }

    /// A page of the delivery log, newest entries first, and how many messages it has.
    pub async fn deliveries(
        &self,
        id: WebhookId,
        offset: u64,
        limit: u64,
    ) -> Result<(Vec<DeliveryRow>, u64), StoreError> {
        const SQL: &str = "SELECT entry_id, attempts, due_at, last_at, response_status, fault
            FROM local_webhook_messages WHERE webhook_id = $1
            ORDER BY entry_id DESC LIMIT $2 OFFSET $3";
        const ALL: &str = "SELECT COUNT(*) FROM local_webhook_messages WHERE webhook_id = $1";
        type Stored = (i64, i64, Option<i64>, Option<i64>, Option<i64>, Option<String>);
        let id = id.to_string();
        let (rows, all): (Vec<Stored>, i64) = on_pool!(&self.0.readers, db => async {
            let page = sqlx::query_as(SQL).bind(&id).bind(number(limit)).bind(number(offset));
            let rows = page.fetch_all(&mut *db).await?;
            let all = sqlx::query_scalar(ALL).bind(&id).fetch_one(db).await?;
            Ok::<_, sqlx::Error>((rows, all))
        })?;
        let read = |(entry_id, attempts, due_at, last_at, status, named): Stored| {
            Some(DeliveryRow {
                entry_id: entry_id.cast_unsigned(),
                attempts: attempts.cast_unsigned(),
                due_at: time(due_at),
                last_at: time(last_at),
                response_status: status.map(u16::try_from).transpose().ok()?,
                fault: match named {
                    None => None,
                    Some(named) => Some(fault(&named)?),
                },
            })
        };
        Ok((read_rows(rows, read, "local_webhook_messages")?, all.cast_unsigned()))
    }

    /// Forgets what was settled a week ago, of each webhook all but the newest thousand, and what
    /// is left of deleted ones.
    pub async fn thin_deliveries(&self, now: Timestamp) -> Result<u64, StoreError> {
        const OLD: Sql = Sql::same(
            "DELETE FROM local_webhook_messages WHERE (due_at IS NULL AND last_at < $1)
                OR webhook_id NOT IN (SELECT id FROM local_webhooks)",
        );
        const MANY: Sql = Sql::same(
            "DELETE FROM local_webhook_messages WHERE due_at IS NULL AND (webhook_id, entry_id) IN
               (SELECT webhook_id, entry_id FROM
                  (SELECT webhook_id, entry_id, ROW_NUMBER() OVER
                     (PARTITION BY webhook_id ORDER BY entry_id DESC) AS place
                   FROM local_webhook_messages WHERE due_at IS NULL) AS placed
                WHERE place > $1)",
        );
        let old = self.write(OLD, values![now.millis() - KEPT_MILLIS]).await?;
        Ok(old + self.write(MANY, values![KEPT_MESSAGES]).await?)
    }
}

fn webhook(row: StoredWebhook) -> Option<WebhookRow> {
    let (id, owner, url, events, secret, seed, created_at, state, next_id, generation, since) = row;
    let seed = Zeroizing::new(seed);
    Some(WebhookRow {
        id: id.parse().ok()?,
        owner: owner.parse().ok()?,
        url,
        events: serde_json::from_str(&events).ok()?,
        keys: WebhookKeys {
            secret: Zeroizing::new(secret),
            seed: Zeroizing::new(seed[..].try_into().ok()?),
        },
        created_at: Timestamp::from_millis(created_at)?,
        state: WebhookState::from_name(&state)?,
        next_id: next_id.cast_unsigned(),
        generation,
        failing_since: time(since),
    })
}

fn announcement((id, event_type, hash, timestamp): StoredEntry) -> Option<Announcement> {
    Some(Announcement {
        id: id.cast_unsigned(),
        event_type: event_type.parse().ok()?,
        entry_hash: Hash::from_slice(&hash)?,
        timestamp: Timestamp::from_millis(timestamp)?,
    })
}

fn fault(name: &str) -> Option<DeliveryFault> {
    DeliveryFault::ALL.into_iter().find(|fault| fault.as_str() == name)
}

/// A time that may be missing.
fn time(millis: Option<i64>) -> Option<Timestamp> {
    millis.and_then(Timestamp::from_millis)
}
