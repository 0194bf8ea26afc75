//! Pulling entries from a follower: verified as a follower verifies them, stored as it stores them.

use std::time::Duration;

use diogenes_common::backup::Progress;
use diogenes_common::batch::{Batch, BatchFault, Chain, Log, VerifiedBatch, verify_batch};
use diogenes_common::client::{BaseUrl, Client, FetchError};
use diogenes_common::clock::Clock;
use diogenes_common::keys::SigningKey;
use diogenes_common::merkle::TreeSize;
use diogenes_common::retry::Retry;
use diogenes_common::store::{Extension, HeadRow, NewState, Store, StoreError, Tip};

use super::RecoverError;
use super::goal::Goal;
use crate::sequencer::own_checkpoint;

/// How many entries are asked for at once.
const LIMIT: u64 = 4_096;
/// How often a source that breaks off is asked again.
const ATTEMPTS: u32 = 5;
/// The first wait in between.
const FIRST_RETRY: Duration = Duration::from_millis(200);

/// A database whose log grows by what sources have.
pub(super) struct Puller<'a> {
    store: &'a Store,
    chain: Chain,
    tip: Tip,
    client: &'a Client,
    clock: &'a dyn Clock,
    operator: &'a SigningKey,
}

impl<'a> Puller<'a> {
    /// Goes on from `chain`, which is all that the store holds.
    pub(super) async fn new(
        store: &'a Store,
        chain: Chain,
        client: &'a Client,
        clock: &'a dyn Clock,
        operator: &'a SigningKey,
    ) -> Result<Self, StoreError> {
        let tip = store.claim_tip().await?;
        Ok(Self { store, chain, tip, client, clock, operator })
    }

    /// How many entries are stored.
    pub(super) fn size(&self) -> TreeSize {
        self.chain.size()
    }

    /// The verifier's state at the end.
    pub(super) fn into_chain(self) -> Chain {
        self.chain
    }

    /// Which log it is; of an empty database what the source's first entry says, which must name our
    /// own key.
    pub(super) async fn log(&self, source: &BaseUrl) -> Result<Log, RecoverError> {
        if let Some(log) = self.chain.log() {
            return Ok(log.clone());
        }
        let batch = self.fetch(source, 1).await?;
        let verified = self.verified(source, batch, None)?;
        let empty = || RecoverError::SourceEmpty { url: source.to_string() };
        verified.chain.log().cloned().ok_or_else(empty)
    }

    /// Pulls everything that a source has.
    pub(super) async fn pull(
        &mut self,
        source: &BaseUrl,
        goal: &Goal,
        progress: &dyn Progress,
    ) -> Result<(), RecoverError> {
        loop {
            let batch = self.fetch(source, LIMIT).await?;
            // A source that has less than is held has nothing to give.
            if batch.header.tree_head.tree_size <= self.size() {
                return Ok(());
            }
            let verified = self.verified(source, batch, Some(goal))?;
            if verified.entries.is_empty() {
                let what = "it has a head over more entries than it gives".to_owned();
                return Err(RecoverError::BadSource { url: source.to_string(), what });
            }
            self.store(verified).await?;
            progress.at(self.size().get());
        }
    }

    async fn fetch(&self, source: &BaseUrl, limit: u64) -> Result<Batch, RecoverError> {
        let mut retry = Retry::new(FIRST_RETRY);
        loop {
            let asking = self.client.entries(source, self.size().get(), limit, false);
            match asking.send().await {
                Ok(answer) => {
                    let url = source.to_string();
                    let bad = |what: String| RecoverError::BadSource { url, what };
                    return answer.batch().await.map_err(|error| bad(error.to_string()));
                }
                Err(FetchError::Network { .. }) if retry.failures() < ATTEMPTS => {
                    tokio::time::sleep(retry.next_delay()).await;
                }
                Err(error) => return Err(RecoverError::of_source(source.as_str(), &error)),
            }
        }
    }

    fn verified(
        &self,
        source: &BaseUrl,
        batch: Batch,
        goal: Option<&Goal>,
    ) -> Result<VerifiedBatch, RecoverError> {
        let kept = goal.map(|goal| goal.heads_above(self.size())).unwrap_or_default();
        verify_batch(&self.chain, batch, &kept, self.clock.now())
            .map_err(|fault| refused(source, &fault))
    }

    /// One transaction: entries, tiles, views, and the head once all that it covers is there.
    async fn store(&mut self, verified: VerifiedBatch) -> Result<(), RecoverError> {
        let VerifiedBatch { chain, entries, completed, head, .. } = verified;
        let signed = head.head();
        let is_reached = signed.tree_size == chain.size();
        // Until then the time is that of the newest entry: the head's is of more than is stored.
        let reached = is_reached.then_some(signed.timestamp);
        let times = [Some(self.tip.guard.timestamp), chain.last_timestamp(), reached];
        let timestamp = times.into_iter().flatten().max().unwrap_or(self.tip.guard.timestamp);
        let state = NewState {
            tree: chain.tree(),
            chain_head: chain.chain_head(),
            timestamp,
            epoch: signed.epoch,
        };
        // The checkpoint beside the head is the source's word: our own is put in its place.
        let json = head.to_json(own_checkpoint(&head, self.operator), chain.size().get());
        let row =
            HeadRow { head_json: serde_json::to_string(&json).ok(), ..HeadRow::unsigned(signed) };
        let heads: &[HeadRow] = if is_reached { &[row] } else { &[] };
        let extension = Extension { entries, tiles: &completed, state, heads };
        self.tip = self.store.extend(self.tip, extension).await?;
        self.chain = chain;
        Ok(())
    }
}

/// What it means that a batch does not verify. That the log's own key signed two histories is known
/// for certain only where its signatures prove it.
fn refused(source: &BaseUrl, fault: &BatchFault) -> RecoverError {
    let (url, what) = (source.to_string(), fault.to_string());
    match fault {
        BatchFault::Proven(_) => RecoverError::TwoHistories { what: format!("{url}: {what}") },
        BatchFault::Inconsistent(_) | BatchFault::WrongChainHead | BatchFault::Entry(_) => {
            RecoverError::SourceForks { url, what }
        }
        BatchFault::WrongStart { .. }
        | BatchFault::WrongCount
        | BatchFault::NoGenesis
        | BatchFault::Head(_)
        | BatchFault::HeadInFuture { .. }
        | BatchFault::HeadBehind { .. }
        | BatchFault::HeadBeforeEntry => RecoverError::BadSource { url, what },
    }
}
