//! The checkpoint that the leader published, cosignatures included: shown here as soon as the own
//! tree holds it, and cosigned by the mirror itself where that is switched on.

use std::sync::Arc;
use std::time::Duration;

use diogenes_common::batch::Log;
use diogenes_common::checkpoint::{self, Checkpoint};
use diogenes_common::evidence::{self, Evidence, Kind, Proof as Step, Statement};
use diogenes_common::exit::Failure;
use diogenes_common::merkle::{TreeRoot, TreeSize};
use diogenes_common::note::Note;
use diogenes_common::read::{
    self, CheckpointBoard, CheckpointChoice, CosignedCheckpoint, Snapshot,
};
use diogenes_common::store::StoreError;

use crate::mirror::Mirror;
use crate::sync::source::Source;
use crate::sync::{Shared, prove, store_failure};

/// The row in which the shown checkpoint is kept over a restart.
const META: &str = "published_checkpoint";

/// The longest checkpoint, as in heads: nobody signs it as a whole.
const MAX_BYTES: usize = 16 * 1024;

/// How long the own tree may take to reach a published checkpoint before a newer one is looked at.
const REACHED_WITHIN: Duration = Duration::from_secs(10);

/// Follows the published checkpoint.
pub(crate) struct Follow {
    pub(crate) shared: Arc<Shared>,
    pub(crate) sources: Vec<Arc<Source>>,
    pub(crate) board: CheckpointBoard,
    pub(crate) mirror: Option<Mirror>,
    pub(crate) poll: Duration,
}

/// What became of a published checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    /// It is what is shown now.
    Shown,
    /// It is right, and what is shown goes further; or it is wrong, and that is proven.
    Judged,
    /// The own tree does not hold it yet.
    Later,
}

/// Why a checkpoint could not be taken.
#[derive(Debug)]
enum Trouble {
    /// The database does not answer.
    Store(StoreError),
    /// The node must not go on.
    Fatal(Failure),
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Fatal(failure)
    }
}

/// A published checkpoint whose log signature was verified.
struct Opened {
    text: String,
    checkpoint: Checkpoint,
    signatures: usize,
}

impl Opened {
    fn read(text: String, log: &Log) -> Option<Self> {
        let note = Note::parse(text.as_bytes()).ok().filter(|_| text.len() <= MAX_BYTES)?;
        let checkpoint = checkpoint::open(&text, log.origin().as_str(), log.operator()).ok()?;
        Some(Self { text, checkpoint, signatures: note.signatures().len() })
    }

    fn tree(&self) -> TreeRoot {
        self.checkpoint.tree()
    }

    fn place(&self) -> (TreeSize, usize) {
        (self.tree().size, self.signatures)
    }
}

impl Follow {
    /// Asks the sources with every poll until the node stops.
    pub(crate) async fn run(mut self) -> Result<(), Failure> {
        let tasks = self.shared.tasks.clone();
        let mut shown = self.restore().await?;
        let mut fault = None;
        let mut judged = String::new();
        loop {
            let asked = tokio::select! {
                () = tasks.stopping() => return Ok(()),
                asked = self.ask() => asked,
            };
            match asked {
                Ok(None) => {}
                Ok(Some((_, opened))) if opened.text == judged => {}
                Ok(Some((url, opened))) => match self.take(&url, &opened, shown).await {
                    Ok(Taken::Later) => {}
                    Ok(taken) => {
                        fault = None;
                        if taken == Taken::Shown {
                            shown = opened.place();
                        }
                        judged = opened.text;
                    }
                    Err(Trouble::Fatal(failure)) => return Err(failure),
                    // It is asked for again, and the other tasks say so.
                    Err(Trouble::Store(error)) => tracing::debug!(%error, "the tree is not read"),
                },
                // The same trouble again is no news.
                Err(what) if fault.as_ref() == Some(&what) => {}
                Err(what) => {
                    tracing::warn!("{what}; what was shown before is shown on");
                    fault = Some(what);
                }
            }
            tokio::select! {
                () = tasks.stopping() => return Ok(()),
                () = tokio::time::sleep(self.poll) => {}
            }
        }
    }

    /// Shows again what was shown before the restart.
    async fn restore(&self) -> Result<(TreeSize, usize), Failure> {
        match self.restored().await {
            Ok(place) => Ok(place.unwrap_or_default()),
            Err(Trouble::Fatal(failure)) => Err(failure),
            Err(Trouble::Store(error)) => Err(store_failure(error)),
        }
    }

    async fn restored(&self) -> Result<Option<(TreeSize, usize)>, Trouble> {
        let kept = self.shared.store.meta(META).await?;
        let (Some(text), Some(log)) = (kept, self.shared.log()) else { return Ok(None) };
        let Some(opened) = Opened::read(text, &log) else { return Ok(None) };
        let Some(snapshot) = self.holding(opened.tree().size) else { return Ok(None) };
        if self.own_root(&snapshot, opened.tree().size).await? != opened.tree() {
            return Ok(None);
        }
        self.show(&opened, &snapshot).await?;
        Ok(Some(opened.place()))
    }

    /// The checkpoint of the first source that answers; none before the log is known.
    async fn ask(&self) -> Result<Option<(String, Opened)>, String> {
        let Some(log) = self.shared.log() else { return Ok(None) };
        for source in &self.sources {
            // Who is silent, or is older than this route, publishes nothing.
            let Ok(text) = source.checkpoint(MAX_BYTES).await else { continue };
            let url = source.url();
            return match Opened::read(text, &log) {
                Some(opened) => Ok(Some((url.to_owned(), opened))),
                None => Err(format!("{url}/checkpoint is not signed by this log")),
            };
        }
        Ok(None)
    }

    /// Holds a published checkpoint against the own tree, as soon as that reaches it, and shows it
    /// if it goes further than what is shown, or carries more signatures.
    async fn take(
        &mut self,
        url: &str,
        opened: &Opened,
        shown: (TreeSize, usize),
    ) -> Result<Taken, Trouble> {
        let size = opened.tree().size;
        let mut stored = self.shared.stored.subscribe();
        let reached = stored.wait_for(|tree| tree.size >= size);
        tokio::select! {
            () = self.shared.tasks.stopping() => return Ok(Taken::Later),
            _ = tokio::time::timeout(REACHED_WITHIN, reached) => {}
        }
        let Some(snapshot) = self.holding(size) else { return Ok(Taken::Later) };
        let own = self.own_root(&snapshot, size).await?;
        if own == opened.tree() {
            if opened.place() <= shown {
                return Ok(Taken::Judged);
            }
            self.show(opened, &snapshot).await?;
            return Ok(Taken::Shown);
        }
        let Some(evidence) = self.evidence(&snapshot, own, opened).await? else {
            return Ok(Taken::Later);
        };
        prove::latch(&self.shared, url, None, prove::file(evidence)).await?;
        Ok(Taken::Judged)
    }

    /// The log as it is shown, if its tree has that size.
    fn holding(&self, size: TreeSize) -> Option<Arc<Snapshot>> {
        let snapshot = self.shared.published.snapshot()?;
        (snapshot.edge.size() >= size).then_some(snapshot)
    }

    async fn own_root(&self, snapshot: &Snapshot, size: TreeSize) -> Result<TreeRoot, StoreError> {
        let hash = read::root_at(&self.shared.store, snapshot, size).await?;
        Ok(TreeRoot { size, hash })
    }

    async fn show(&self, opened: &Opened, snapshot: &Snapshot) -> Result<(), Trouble> {
        let text = match &self.mirror {
            None => opened.text.clone(),
            Some(mirror) => {
                let own = self.own_root(snapshot, mirror.last_size().min(opened.tree().size));
                mirror.cosigned(&opened.text, &opened.checkpoint, self.now(), own.await?)?
            }
        };
        if let Err(error) = self.shared.store.put_meta(META, &opened.text).await {
            tracing::warn!(%error, "the published checkpoint is not kept for a restart");
        }
        let tree = opened.tree();
        let shown = CosignedCheckpoint { tree, text: text.into() };
        self.board.set(CheckpointChoice::Cosigned(Arc::new(shown)));
        Ok(())
    }

    fn now(&self) -> diogenes_common::clock::Timestamp {
        self.shared.clock.now()
    }

    /// Two statements under the log's key that do not belong to one history: the checkpoint, and
    /// the head that is served here.
    async fn evidence(
        &self,
        snapshot: &Snapshot,
        own: TreeRoot,
        opened: &Opened,
    ) -> Result<Option<Evidence>, StoreError> {
        let Some(log) = self.shared.log() else { return Ok(None) };
        let head = snapshot.head.head().tree();
        let observed = self.shared.observed(self.now());
        let note = Statement::Checkpoint { note: opened.text.clone() };
        let statements = [note, Statement::from(&snapshot.head)];
        if head.size < own.size {
            return Ok(None);
        }
        if head.size == own.size {
            let explanation = "the log signed two trees of one size".to_owned();
            let kind = Kind::ForkSameSize;
            let accused = (&log).into();
            let statements = statements.into();
            return Ok(Some(Evidence::new(
                kind,
                accused,
                statements,
                Vec::new(),
                explanation,
                &observed,
            )));
        }
        let (store, to) = (&self.shared.store, head.size);
        let hashes = read::consistency_proof(store, snapshot, own.size, to).await;
        let steps = vec![Step::consistency(own, head, hashes?)];
        Ok(Some(evidence::fork_prefix((&log).into(), statements, steps, &observed)))
    }
}
