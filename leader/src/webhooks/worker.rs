//! The task that tells: it writes down what is to be told as the log grows, sends what is due, and
//! writes down what became of it. It reads the log and appends nothing, so it holds nobody up.

use std::collections::BTreeSet;
use std::time::Duration;

use diogenes_common::exit::Failure;
use diogenes_common::files::FileError;
use diogenes_common::retry::Retry;
use diogenes_common::store::{StoreError, TurnRecord, WebhookState};
use diogenes_common::wire::webhooks::WebhookId;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::plan::Plan;
use super::turn;
use crate::app::App;

/// How many webhooks have their turn at once.
const MAX_TURNS: usize = 16;

/// The most messages of one turn.
const TURN_MESSAGES: u64 = 32;

/// The most chunks of the log that are planned before anything is sent.
const MAX_CHUNKS: usize = 8;

/// What is appended within such a time is planned at once.
const GATHER: Duration = Duration::from_millis(20);

/// The longest sleep: a clock may be set, and a deadline missed by that much is none.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// Whose turn it was, and what came of it.
type Turn = (WebhookId, Result<TurnRecord, FileError>);

struct Worker {
    app: App,
    plan: Plan,
    turns: JoinSet<Turn>,
    /// Whose turn it is.
    busy: BTreeSet<WebhookId>,
    /// What ended and is not written down yet.
    ended: Vec<TurnRecord>,
    /// The webhooks in the database are others than those of the plan.
    is_stale: bool,
}

/// Tells whoever asked to be told, until the leader stops.
///
/// What is under way then is given up: it is told again after the next start, under the same name.
pub(crate) async fn tell(app: App, stop: CancellationToken) -> Result<(), Failure> {
    let mut heads = app.published.subscribe();
    let mut retry = Retry::new(Duration::from_secs(1));
    let mut worker = Worker {
        app: app.clone(),
        plan: Plan::default(),
        turns: JoinSet::new(),
        busy: BTreeSet::new(),
        ended: Vec::new(),
        is_stale: true,
    };
    loop {
        let sleep = match worker.step().await {
            Ok(sleep) => {
                retry.reset();
                sleep
            }
            Err(error) => {
                tracing::warn!(%error, "webhooks wait for the database");
                tokio::select! {
                    () = tokio::time::sleep(retry.next_delay()) => continue,
                    () = stop.cancelled() => return Ok(()),
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = heads.changed() => tokio::time::sleep(GATHER).await,
            () = app.webhooks.changed.notified() => worker.is_stale = true,
            Some(ended) = worker.turns.join_next() => worker.end(ended),
            () = tokio::time::sleep(sleep) => {}
        }
    }
}

impl Worker {
    /// Does what can be done now; answers for how long nothing more will be due by itself.
    async fn step(&mut self) -> Result<Duration, StoreError> {
        self.write_ended().await?;
        if self.is_stale {
            let (subscriptions, off) = self.app.store.subscriptions().await?;
            self.plan.load(subscriptions);
            self.is_stale = false;
            self.app.metrics.webhooks.show_webhooks(self.plan.len(), off);
        }
        let is_behind = self.plan().await?;
        self.send().await?;
        self.show();
        if is_behind { Ok(Duration::ZERO) } else { self.sleep().await }
    }

    /// Writes down what is to be told; answers whether the log has more.
    async fn plan(&mut self) -> Result<bool, StoreError> {
        let size = self.size();
        for _ in 0..MAX_CHUNKS {
            let Some(chunk) = self.plan.chunk(size) else { return Ok(false) };
            let entries = self.app.store.announcements(chunk.after, chunk.upto).await?;
            let advances = self.plan.advances(chunk, &entries);
            let to_write = self.plan.to_write(&advances);
            if !to_write.is_empty() {
                self.app.store.advance_webhooks(&to_write, self.app.clock.now()).await?;
            }
            self.plan.advance(&advances, &to_write);
        }
        Ok(self.plan.chunk(size).is_some())
    }

    /// Starts the turns of those that something is due for.
    async fn send(&mut self) -> Result<(), StoreError> {
        let room = MAX_TURNS.saturating_sub(self.busy.len());
        if room == 0 || self.plan.len() == 0 {
            return Ok(());
        }
        let now = self.app.clock.now();
        // Those whose turn it is may still stand in the list.
        let due = self.app.store.due_webhooks(now, (room + self.busy.len()) as u64).await?;
        let free = due.into_iter().filter(|due| !self.busy.contains(&due.id)).take(room);
        for webhook in free.collect::<Vec<_>>() {
            let messages = self.app.store.due_messages(webhook.id, now, TURN_MESSAGES).await?;
            let (id, sender) = (webhook.id, self.app.webhooks.sender.clone());
            self.busy.insert(id);
            self.turns.spawn(async move { (id, turn::run(sender, webhook, messages).await) });
        }
        Ok(())
    }

    fn end(&mut self, ended: Result<Turn, JoinError>) {
        match ended {
            Ok((_, Ok(record))) => self.ended.push(record),
            Ok((id, Err(error))) => {
                tracing::error!(webhook.id = %id, %error, "a webhook's turn was given up");
                self.busy.remove(&id);
            }
            Err(error) => tracing::error!(%error, "a webhook's turn was cut off"),
        }
    }

    /// Writes down what became of the turns that ended; those whose record was lost are told again.
    async fn write_ended(&mut self) -> Result<(), StoreError> {
        while let Some(ended) = self.turns.try_join_next() {
            self.end(ended);
        }
        if !self.ended.is_empty() {
            self.app.store.record_deliveries(&self.ended).await?;
        }
        for record in std::mem::take(&mut self.ended) {
            self.busy.remove(&record.id);
            self.count(&record);
        }
        if self.turns.is_empty() {
            // One that was cut off has left its name here.
            self.busy.clear();
        }
        Ok(())
    }

    fn count(&mut self, record: &TurnRecord) {
        let settled = record.attempts.iter().filter(|attempt| attempt.due_at.is_none()).count();
        self.plan.settled(record.id, settled as u64);
        for attempt in &record.attempts {
            self.app.metrics.webhooks.count_delivery(attempt.fault);
        }
        if record.state != WebhookState::Active {
            let (id, state) = (record.id, record.state);
            tracing::info!(webhook.id = %id, ?state, "a webhook was turned off");
            self.plan.forget(id);
            self.is_stale = true;
        }
    }

    /// How long nothing is due.
    async fn sleep(&self) -> Result<Duration, StoreError> {
        if self.busy.len() >= MAX_TURNS || self.plan.len() == 0 {
            return Ok(LONGEST_SLEEP);
        }
        let Some(due) = self.app.store.next_webhook_due().await? else { return Ok(LONGEST_SLEEP) };
        let millis = due.millis_since(self.app.clock.now());
        let wait = Duration::from_millis(u64::try_from(millis).unwrap_or(0));
        // What is due already belongs to those whose turn it is.
        let shortest = if self.busy.is_empty() { Duration::ZERO } else { GATHER * 50 };
        Ok(wait.clamp(shortest, LONGEST_SLEEP))
    }

    fn show(&self) {
        self.app.metrics.webhooks.show_waiting(self.plan.pending(), self.plan.lag(self.size()));
    }

    fn size(&self) -> u64 {
        self.app.published.snapshot().map_or(0, |snapshot| snapshot.size().get())
    }
}
