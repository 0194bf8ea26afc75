//! A sequencer that stores nothing, to measure what the database costs: it orders, hashes, signs
//! and answers as ever. Only builds that measure have it.

use std::sync::Arc;

use diogenes_common::exit::Failure;
use diogenes_common::head::TreeHead;
use diogenes_common::view::Overlay;
use tokio_util::sync::CancellationToken;

use super::command::Job;
use super::{Sequencer, batch, finish, snapshot};

impl Sequencer {
    /// Answers until `stop` is cancelled; whatever it says is gone with the process.
    pub(crate) async fn run_storing_nothing(
        mut self,
        stop: CancellationToken,
    ) -> Result<(), Failure> {
        let mut fresh = Vec::with_capacity(batch::MAX_COMMANDS);
        loop {
            tokio::select! {
                received = self.jobs.recv_many(&mut fresh, batch::MAX_COMMANDS) => {
                    if received == 0 {
                        return Ok(());
                    }
                }
                () = stop.cancelled(), if !self.jobs.is_closed() => self.jobs.close(),
            }
            self.queue.extend(fresh.drain(..));
            while !self.queue.is_empty() {
                let jobs = batch::take(&mut self.queue);
                self.answer_unstored(jobs);
            }
        }
    }

    fn answer_unstored(&mut self, jobs: Vec<Box<dyn Job>>) {
        let now = self.parts.clock.now().max(self.committed.timestamp);
        let overlay = Overlay::new(self.last_event_id);
        let batch = self.setting(now).decide(self.chain.clone(), overlay, jobs);
        let tree = batch.chain.tree();
        self.committed = TreeHead {
            chain_head: batch.chain.chain_head(),
            root_hash: tree.hash,
            timestamp: now,
            tree_size: tree.size,
            ..self.committed.clone()
        };
        self.chain = batch.chain;
        self.last_event_id = batch.overlay.changes().last_event_id;
        let signed = self.committed.clone().sign(&self.parts.operator);
        let operator = &self.parts.operator;
        let snapshot = snapshot(signed, operator, self.last_event_id, &self.chain, batch.tiles);
        let snapshot = Arc::new(snapshot);
        self.parts.published.set(snapshot.clone());
        finish(batch.settled, &batch.leaves, Some(&snapshot));
    }
}
