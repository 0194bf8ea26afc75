//! Deciding one batch: pure, from jobs and views to leaves, tiles and changed rows.

use std::collections::VecDeque;
use std::sync::Arc;

use diogenes_common::batch::{BrokenRule, Chain, EntryFault};
use diogenes_common::clock::Timestamp;
use diogenes_common::head::Origin;
use diogenes_common::keys::SigningKey;
use diogenes_common::leaf::Leaf;
use diogenes_common::merkle::{TileId, TileNodes};
use diogenes_common::store::LocalWrite;
use diogenes_common::view::{self, Effect, Needs, Overlay};

use super::command::{Content, Context, Decision, Failed, Job, NewEntry};

/// The most commands that one transaction takes.
pub(super) const MAX_COMMANDS: usize = 1_024;
/// The most entries that one transaction takes.
pub(super) const MAX_ENTRIES: usize = 4_096;
/// The most bytes of leaves that one transaction takes.
pub(super) const MAX_BYTES: usize = 8 << 20;

/// Tiles that a batch completed.
pub(super) type Tiles = Vec<(TileId, Arc<TileNodes>)>;

/// What a batch does to the log, and what each of its jobs came to.
pub(super) struct Batch {
    pub(super) chain: Chain,
    pub(super) leaves: Vec<Leaf>,
    pub(super) tiles: Tiles,
    pub(super) overlay: Overlay,
    pub(super) local: Vec<LocalWrite>,
    pub(super) settled: Vec<(Box<dyn Job>, Settled)>,
}

/// What a job came to, once the batch is durable.
pub(super) enum Settled {
    /// The leaves of the batch from the first index up to the second.
    Appended(usize, usize),
    Found(u64),
    Failed(Failed),
}

/// Takes as many jobs from the front of the queue as one transaction holds, at least one.
pub(super) fn take(queue: &mut VecDeque<Box<dyn Job>>) -> Vec<Box<dyn Job>> {
    let (mut entries, mut bytes) = (0, 0);
    let fitting = queue
        .iter()
        .take(MAX_COMMANDS)
        .take_while(|job| {
            entries += job.entries();
            bytes += job.bytes();
            entries <= MAX_ENTRIES && bytes <= MAX_BYTES
        })
        .count();
    queue.drain(..fitting.max(1).min(queue.len())).collect()
}

/// The rows that the jobs read.
pub(super) fn needs(jobs: &[Box<dyn Job>]) -> Needs {
    let mut needs = Needs::default();
    for job in jobs {
        job.needs(&mut needs);
    }
    needs
}

/// What every decision of a batch shares.
pub(super) struct Setting {
    pub(super) now: Timestamp,
    pub(super) origin: Origin,
    pub(super) operator: Arc<SigningKey>,
}

impl Setting {
    /// Decides the jobs in their order, each on the views as those before it left them.
    ///
    /// Every leaf goes through the follower's own verifier before it counts, so that no follower
    /// can refuse what is committed here.
    pub(super) fn decide(&self, chain: Chain, overlay: Overlay, jobs: Vec<Box<dyn Job>>) -> Batch {
        let mut batch = Batch {
            chain,
            leaves: Vec::with_capacity(jobs.len()),
            tiles: Vec::new(),
            overlay,
            local: Vec::new(),
            settled: Vec::with_capacity(jobs.len()),
        };
        for mut job in jobs {
            let settled = batch.take(self, &mut *job);
            batch.settled.push((job, settled));
        }
        batch
    }
}

impl Batch {
    fn take(&mut self, setting: &Setting, job: &mut dyn Job) -> Settled {
        let context = Context {
            now: setting.now,
            size: self.chain.size(),
            origin: &setting.origin,
            operator: &setting.operator,
        };
        // Asked first: a decision may use the command up.
        let generic = job.is_generic();
        match job.decide(&context, &self.overlay) {
            None => Settled::Failed(Failed::Refused),
            Some(Decision::Found { id }) => Settled::Found(id),
            Some(Decision::Append { entries, local }) => {
                let first = self.leaves.len();
                // One generic event changes nothing until its leaf is accepted; anything else
                // may have to be taken back.
                let undo = (entries.len() > 1 || !generic)
                    .then(|| (self.chain.clone(), self.overlay.savepoint(), self.tiles.len()));
                for entry in entries {
                    if let Err(failed) = self.append(setting.now, entry) {
                        if let Some((chain, savepoint, tiles)) = undo {
                            self.chain = chain;
                            self.overlay.roll_back(savepoint);
                            self.tiles.truncate(tiles);
                        }
                        self.leaves.truncate(first);
                        return Settled::Failed(failed);
                    }
                }
                self.local.extend(local);
                Settled::Appended(first, self.leaves.len())
            }
        }
    }

    fn append(&mut self, now: Timestamp, entry: NewEntry) -> Result<(), Failed> {
        let (id, previous) = (self.chain.size().get() + 1, self.chain.chain_head());
        let leaf = Leaf::build(id, previous, now, entry.event_type(), entry.payload())
            .map_err(|error| Failed::Entry(EntryFault { id, rule: BrokenRule::Leaf(error) }))?;
        let NewEntry { content, index } = entry;
        let entry = match content {
            Content::Plain { .. } => self.chain.append(leaf, &mut self.tiles),
            Content::Checked(checked) => self.chain.append_checked(leaf, checked, &mut self.tiles),
        };
        let entry = entry.map_err(Failed::Entry)?;
        match view::apply(&mut self.overlay, &entry) {
            Effect::Applied => {}
            Effect::None(reason) => return Err(Failed::NoEffect { index, reason }),
        }
        self.leaves.push(entry.leaf);
        Ok(())
    }
}
