//! The checkpoint that the leader published, cosignatures included: shown here as soon as the own
//! tree holds it, and cosigned by the mirror itself where that is switched on.

use std::sync::Arc;
use std::time::Duration;

use diogenes_common::batch::Log;
use diogenes_common::checkpoint::{self, Checkpoint};
use diogenes_common::clock::Timestamp;
use diogenes_common::evidence::{self, Evidence, Kind, Proof as Step, Statement};
use diogenes_common::exit::Failure;
use diogenes_common::keys::PublicKey;
use diogenes_common::merkle::{TreeRoot, TreeSize};
use diogenes_common::note::{KeyKind, Note, SignatureLine, Vkey};
use diogenes_common::read::{
    self, CheckpointBoard, CheckpointChoice, CosignedCheckpoint, Snapshot,
};
use diogenes_common::retry::Retry;
use diogenes_common::statement::Category;
use diogenes_common::store::StoreError;
use diogenes_common::view::EndorsedRow;
use tokio::time::Instant;

use crate::mirror::Mirror;
use crate::sync::source::Source;
use crate::sync::{Shared, prove};

/// The row in which the shown checkpoint is kept over a restart.
const META: &str = "published_checkpoint";

/// The longest checkpoint, as in heads: nobody signs it as a whole.
const MAX_BYTES: usize = 16 * 1024;

/// How long the own tree may take to reach a published checkpoint before a newer one is looked at.
const REACHED_WITHIN: Duration = Duration::from_secs(10);

/// The most signature lines that are shown on, the log's own first.
const MAX_LINES: usize = 32;

/// Follows the published checkpoint.
pub(crate) struct Follow {
    shared: Arc<Shared>,
    sources: Vec<Followed>,
    board: CheckpointBoard,
    mirror: Option<Arc<Mirror>>,
    poll: Duration,
    shown: Shown,
}

/// A source with what became of its last answer.
struct Followed {
    source: Arc<Source>,
    retry: Retry,
    due: Instant,
    /// What it published last, once that is judged.
    judged: String,
}

/// What is shown: how large it is, and which source it came from, the first being 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Shown {
    size: TreeSize,
    rank: usize,
}

impl Shown {
    /// Whether something else takes its place: sizes never go back, and of one size the source
    /// that is listed earlier has the last word about the signatures.
    fn gives_way_to(self, other: Self) -> bool {
        other.size > self.size || other.size == self.size && other.rank <= self.rank
    }
}

/// A published checkpoint whose log signature was verified.
#[derive(Debug)]
struct Opened {
    note: Note,
    checkpoint: Checkpoint,
}

impl Opened {
    fn read(text: &str, log: &Log) -> Option<Self> {
        let note = Note::parse(text.as_bytes()).ok().filter(|_| text.len() <= MAX_BYTES)?;
        let checkpoint = checkpoint::open(text, log.origin().as_str(), log.operator()).ok()?;
        Some(Self { note, checkpoint })
    }

    fn tree(&self) -> TreeRoot {
        self.checkpoint.tree()
    }
}

/// The note as it is shown on: without repeats, without more lines than anybody needs, and without
/// lines that claim a key which did not make them. Lines of keys that nobody here knows stay: who
/// reads the checkpoint knows whom to believe.
fn sound(note: &Note, known: &[Vkey]) -> String {
    let mut kept: Vec<&SignatureLine> = Vec::new();
    for line in note.signatures() {
        let is_repeat =
            kept.iter().any(|kept| kept.name() == line.name() && kept.id() == line.id());
        let is_false = known.iter().any(|key| {
            let alone = Note::new(note.text().to_owned(), line.clone());
            let claims = key.name() == line.name() && key.id() == line.id();
            claims && alone.is_ok_and(|alone| alone.verify(std::slice::from_ref(key)).is_err())
        });
        if !is_repeat && !is_false && kept.len() < MAX_LINES {
            kept.push(line);
        }
    }
    let lines: Vec<String> = kept.iter().map(ToString::to_string).collect();
    format!("{}\n{}\n", note.text(), lines.join("\n"))
}

impl Follow {
    /// Shows what was shown before a restart, and nothing where nothing was: a head that the leader
    /// did not publish is no published checkpoint.
    pub(crate) async fn start(
        shared: Arc<Shared>,
        sources: &[Arc<Source>],
        board: CheckpointBoard,
        mirror: Option<Mirror>,
        poll: Duration,
    ) -> Self {
        board.set(CheckpointChoice::Withheld);
        let followed = |source: &Arc<Source>| Followed {
            source: source.clone(),
            retry: Retry::new(poll),
            due: Instant::now(),
            judged: String::new(),
        };
        let sources = sources.iter().map(followed).collect();
        let mirror = mirror.map(Arc::new);
        let mut follow = Self { shared, sources, board, mirror, poll, shown: Shown::default() };
        if let Err(error) = follow.restore().await {
            tracing::warn!(%error, "the checkpoint shown before is not shown until it is fetched");
        }
        follow
    }

    /// Asks the sources with every poll until the node stops.
    pub(crate) async fn run(mut self) -> Result<(), Failure> {
        let tasks = self.shared.tasks.clone();
        loop {
            tokio::select! {
                () = tasks.stopping() => return Ok(()),
                () = self.round() => {}
            }
            tokio::select! {
                () = tasks.stopping() => return Ok(()),
                () = tokio::time::sleep(self.poll) => {}
            }
        }
    }

    async fn restore(&mut self) -> Result<(), StoreError> {
        let Some(text) = self.shared.store.meta(META).await? else { return Ok(()) };
        let Some(log) = self.shared.log() else { return Ok(()) };
        let Some(opened) = Opened::read(&text, &log) else { return Ok(()) };
        let Some(snapshot) = self.serving(opened.tree().size) else { return Ok(()) };
        if self.own_root(&snapshot, opened.tree().size).await? == opened.tree() {
            self.show(&opened, usize::MAX, &snapshot).await?;
        }
        Ok(())
    }

    /// Asks each source once whose time has come, and judges what is new.
    async fn round(&mut self) {
        let Some(log) = self.shared.log() else { return };
        for rank in 0..self.sources.len() {
            let followed = &mut self.sources[rank];
            if Instant::now() < followed.due {
                continue;
            }
            let text = match followed.source.checkpoint(MAX_BYTES).await {
                Ok(text) => text,
                Err(error) => {
                    let pause = followed.retry.next_delay_at_least(error.retry_after());
                    followed.due = Instant::now() + pause;
                    continue;
                }
            };
            followed.retry.reset();
            if followed.judged == text {
                continue;
            }
            let url = followed.source.url();
            let is_judged = match Opened::read(&text, &log) {
                None => {
                    tracing::warn!("{url}/checkpoint is not signed by this log, and is not shown");
                    true
                }
                // What the database does not answer is asked again.
                Some(opened) => self.judge(&url, rank, &opened).await.unwrap_or_else(|error| {
                    tracing::debug!(%error, "a published checkpoint waits for the database");
                    false
                }),
            };
            if is_judged {
                self.sources[rank].judged = text;
            }
        }
    }

    /// Holds a published checkpoint against the own tree, as soon as that is served so far, and
    /// shows it if it may take the place of what is shown. False if it has to be judged later.
    async fn judge(&mut self, url: &str, rank: usize, opened: &Opened) -> Result<bool, StoreError> {
        let size = opened.tree().size;
        let mut published = self.shared.published.subscribe();
        let reached = published
            .wait_for(|snapshot| snapshot.as_ref().is_some_and(|snapshot| snapshot.size() >= size));
        // A newer one is there by then.
        if tokio::time::timeout(REACHED_WITHIN, reached).await.is_err() {
            return Ok(false);
        }
        let Some(snapshot) = self.serving(size) else { return Ok(false) };
        let own = self.own_root(&snapshot, size).await?;
        if own == opened.tree() {
            if self.shown.gives_way_to(Shown { size, rank }) {
                self.show(opened, rank, &snapshot).await?;
            }
            return Ok(true);
        }
        let Some(evidence) = self.evidence(&snapshot, own, opened).await? else {
            return Ok(false);
        };
        match prove::latch(&self.shared, url, None, prove::file(evidence)).await {
            Ok(_) => Ok(true),
            Err(failure) => {
                self.shared.tasks.fail(failure);
                Ok(false)
            }
        }
    }

    /// The log as it is served, if that goes so far: what a checkpoint covers is readable first.
    fn serving(&self, size: TreeSize) -> Option<Arc<Snapshot>> {
        let snapshot = self.shared.published.snapshot()?;
        (snapshot.size() >= size).then_some(snapshot)
    }

    async fn own_root(&self, snapshot: &Snapshot, size: TreeSize) -> Result<TreeRoot, StoreError> {
        let hash = read::root_at(&self.shared.store, snapshot, size).await?;
        Ok(TreeRoot { size, hash })
    }

    async fn show(
        &mut self,
        opened: &Opened,
        rank: usize,
        snapshot: &Snapshot,
    ) -> Result<(), StoreError> {
        let text = sound(&opened.note, &self.known_witnesses().await?);
        let tree = opened.tree();
        let shown = self.cosigned(&text, opened, snapshot).await?.unwrap_or_else(|| text.clone());
        // Shown again after a restart: sizes don't go back.
        self.shared.store.put_meta(META, &text).await?;
        let shown = CosignedCheckpoint { tree, text: shown.into() };
        self.board.set(CheckpointChoice::Cosigned(Arc::new(shown)));
        self.shown = Shown { size: tree.size, rank };
        Ok(())
    }

    /// The note with the mirror's line, if there is a mirror and it may sign.
    async fn cosigned(
        &self,
        text: &str,
        opened: &Opened,
        snapshot: &Snapshot,
    ) -> Result<Option<String>, StoreError> {
        let Some(mirror) = self.mirror.clone() else { return Ok(None) };
        let own = self.own_root(snapshot, mirror.last_size().min(opened.tree().size)).await?;
        let (text, checkpoint) = (text.to_owned(), opened.checkpoint.clone());
        let now = self.now();
        let signing =
            tokio::task::spawn_blocking(move || mirror.cosigned(&text, &checkpoint, now, own));
        match signing.await {
            Ok(Ok(text)) => Ok(Some(text)),
            Ok(Err(failure)) => {
                tracing::error!(help = failure.what_to_do(), "not cosigned: {}", failure.what());
                Ok(None)
            }
            Err(_) => Ok(None),
        }
    }

    /// The keys of authorised witnesses under the names that they cosign with.
    async fn known_witnesses(&self) -> Result<Vec<Vkey>, StoreError> {
        let endorsed = self.shared.store.endorsed(Category::Witness.as_str()).await?;
        let fingerprints: Vec<_> = endorsed.iter().map(|row| row.fingerprint).collect();
        let witnesses = self.shared.store.witnesses(&fingerprints).await?;
        let vkey = |row: &EndorsedRow| {
            let named = witnesses.iter().find(|known| known.fingerprint == row.fingerprint)?;
            let name = named.cosigner.as_deref()?.parse().ok()?;
            let key = PublicKey::from_pem(&row.public_key).ok()?;
            Some(Vkey::new(name, KeyKind::Cosignature, key))
        };
        Ok(endorsed.iter().filter_map(vkey).collect())
    }

    fn now(&self) -> Timestamp {
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
        let note = Statement::Checkpoint { note: opened.note.to_string() };
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

#[cfg(test)]
mod tests {
    use diogenes_common::checkpoint::sign_checkpoint;
    use diogenes_common::cosignature::cosign;
    use diogenes_common::keys::SigningKey;
    use diogenes_common::merkle::Hash;

    use super::*;

    #[test]
    fn what_is_shown_never_goes_back_and_the_first_source_has_the_last_word() {
        let shown = |size, rank| Shown { size: TreeSize::ZERO.plus(size), rank };
        for (now, next, gives_way) in [
            (shown(0, 0), shown(5, 1), true),
            (shown(5, 1), shown(4, 0), false),
            (shown(5, 1), shown(5, 0), true),
            (shown(5, 1), shown(5, 1), true),
            (shown(5, 0), shown(5, 1), false),
            (shown(5, 0), shown(6, 1), true),
        ] {
            assert_eq!(now.gives_way_to(next), gives_way, "{now:?} {next:?}");
        }
    }

    #[test]
    fn lines_that_claim_a_key_which_did_not_make_them_are_not_shown_on() {
        let origin = "log.example/1";
        let tree = TreeRoot { size: TreeSize::ZERO.plus(3), hash: Hash::of(b"root") };
        let checkpoint = Checkpoint::new(origin, tree).unwrap();
        let log = SigningKey::from_seed([1; 32]);
        let [good, bad, unknown] = [2, 3, 4].map(|seed| SigningKey::from_seed([seed; 32]));
        let own = sign_checkpoint(&checkpoint, &origin.parse().unwrap(), &log);
        let line = |key: &SigningKey, name: &str, checkpoint: &Checkpoint| {
            cosign(checkpoint, Timestamp::from_millis(5_000).unwrap(), &name.parse().unwrap(), key)
                .to_string()
        };
        let other = Checkpoint::new("log.example/2", tree).unwrap();
        let honest = format!(
            "{own}{}\n{}\n",
            line(&good, "good", &checkpoint),
            line(&unknown, "unknown", &other)
        );
        let repeated = line(&good, "good", &other);
        let text = format!("{honest}{}\n{repeated}\n", line(&bad, "bad", &other));
        let vkey = |key: &SigningKey, name: &str| {
            Vkey::new(name.parse().unwrap(), KeyKind::Cosignature, key.public().clone())
        };
        let known = [vkey(&good, "good"), vkey(&bad, "bad")];

        let shown = sound(&Note::parse(text.as_bytes()).unwrap(), &known);

        assert_eq!(shown, honest);
        assert!(Note::parse(shown.as_bytes()).unwrap().verify(&known).is_ok());
    }
}
