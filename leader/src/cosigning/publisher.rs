//! Publishing: cosignatures are read from the database, where they are durable, and what is chosen
//! is shown.

use std::sync::Arc;

use diogenes_common::clock::Clock;
use diogenes_common::exit::Failure;
use diogenes_common::head::HeadJson;
use diogenes_common::keys::Fingerprint;
use diogenes_common::merkle::TreeSize;
use diogenes_common::note::Vkey;
use diogenes_common::policy::{Policy, PolicyWitness};
use diogenes_common::read::{CheckpointBoard, Snapshot};
use diogenes_common::statement::Category;
use diogenes_common::store::{Cosignature, Store, StoreError};

use super::publication::{Publication, Round};
use super::settings::Decided;
use crate::boot::store_failure;
use crate::start::{self, Opened};

/// The name under which the database keeps the largest size that was published, or [`NEWEST`].
const PUBLISHED: &str = "checkpoint_published";

/// What is kept there while the checkpoint of every head is published.
const NEWEST: &str = "newest";

/// The name under which the database keeps the largest size that a quorum cosigned.
const COSIGNED: &str = "checkpoint_cosigned";

/// The most cosignatures that a start reads in its search for the newest quorum.
const MAX_ROWS: u64 = 4_096;

/// The most sizes that a start looks at for the newest that has a quorum.
const MAX_SIZES: usize = 256;

/// The one that chooses what is published.
pub(crate) struct Publisher {
    /// `None` where nothing needs a cosignature.
    publication: Option<Publication>,
    log: Vkey,
    store: Store,
    board: CheckpointBoard,
    /// What the database keeps under [`PUBLISHED`].
    kept: TreeSize,
    /// What was put there under [`COSIGNED`].
    kept_cosigned: TreeSize,
}

impl Publisher {
    /// Shows what was published last, before anybody can ask.
    pub(crate) async fn start(
        decided: &Decided,
        log: Vkey,
        store: &Store,
        opened: &Opened,
        clock: &dyn Clock,
    ) -> Result<Self, Failure> {
        let now_millis = clock.steady_millis();
        let policy = decided.policy.clone().filter(|policy| !policy.quorum_is_none());
        let board = CheckpointBoard::default();
        let mut publisher = Self {
            publication: None,
            log,
            store: store.clone(),
            board,
            kept: TreeSize::ZERO,
            kept_cosigned: TreeSize::ZERO,
        };
        let Some(policy) = policy else {
            store.put_meta(PUBLISHED, NEWEST).await.map_err(store_failure)?;
            return Ok(publisher);
        };
        warn_of_too_few(&policy, store).await.map_err(store_failure)?;
        let floor = floor(store, opened.head.tree_size).await.map_err(store_failure)?;
        publisher.kept = floor;
        let mut publication = Publication::new(policy, decided.mode, floor);
        publisher.resume(&mut publication, opened, now_millis).await.map_err(store_failure)?;
        publisher.publication = Some(publication);
        publisher.show(now_millis).await.map_err(store_failure)?;
        Ok(publisher)
    }

    /// Where readers see what is published.
    pub(crate) fn board(&self) -> &CheckpointBoard {
        &self.board
    }

    /// The round of a head, to be cosigned from now on.
    pub(crate) fn open(&mut self, snapshot: &Snapshot, now_millis: i64) -> Option<Arc<Round>> {
        let round = Arc::new(Round::of(&snapshot.checkpoint, &self.log, now_millis)?);
        if let Some(publication) = &mut self.publication {
            publication.open(round.clone());
        }
        Some(round)
    }

    /// Whether the round of this size has the policy's quorum; `None` where none is needed.
    pub(crate) fn has_quorum(&self, size: TreeSize) -> Option<bool> {
        self.publication.as_ref().map(|publication| publication.has_quorum(size))
    }

    /// Counts the cosignatures that are stored by now and shows what follows from them; answers
    /// the largest size that has a quorum.
    pub(crate) async fn publish(&mut self, now_millis: i64) -> Result<TreeSize, StoreError> {
        let Some(publication) = &mut self.publication else { return Ok(TreeSize::ZERO) };
        let (sizes, keys) = (publication.sizes(), publication.keys());
        publication.count(&self.store.cosignatures_at(&sizes, &keys).await?);
        let quorum_size = publication.quorum_size().unwrap_or_default();
        self.show(now_millis).await?;
        Ok(quorum_size)
    }

    /// Shows what is chosen, once it is durable that nothing smaller may be shown any more.
    async fn show(&mut self, now_millis: i64) -> Result<(), StoreError> {
        let Some(publication) = &mut self.publication else { return Ok(()) };
        let choice = publication.choose(now_millis);
        let floor = publication.floor();
        if self.kept < floor {
            self.store.put_meta(PUBLISHED, &floor.to_string()).await?;
            self.kept = floor;
        }
        let cosigned = publication.quorum_size().filter(|size| *size != self.kept_cosigned);
        if let Some(cosigned) = cosigned {
            self.store.put_meta(COSIGNED, &cosigned.to_string()).await?;
            self.kept_cosigned = cosigned;
        }
        self.board.set(choice);
        Ok(())
    }

    /// Goes on from the newest stored checkpoint that a quorum cosigned and that lies on the
    /// history which is held, and from the last that was published if that is larger.
    async fn resume(
        &self,
        publication: &mut Publication,
        opened: &Opened,
        now_millis: i64,
    ) -> Result<(), StoreError> {
        let rows = self.store.cosignatures(TreeSize::ZERO, MAX_ROWS).await?;
        let edge = opened.chain.edge().size();
        let newest = rows.chunk_by(|a, b| a.tree_size == b.tree_size);
        let newest = newest.filter(|rows| rows[0].tree_size <= edge).take(MAX_SIZES);
        // Others' rows may have left no room for those of the last quorum.
        let kept = self.last_cosigned(publication).await?;
        for rows in newest.chain(kept.first().map(|_| &*kept)) {
            let round = self.stored_round(rows[0].tree_size, opened, now_millis).await?;
            if round.is_some_and(|round| publication.resume(round, rows)) {
                break;
            }
        }
        if let Some(round) = self.stored_round(publication.floor(), opened, now_millis).await? {
            publication.open(round);
        }
        Ok(())
    }

    /// The policy's cosignatures at the largest size that a quorum cosigned.
    async fn last_cosigned(
        &self,
        publication: &Publication,
    ) -> Result<Vec<Cosignature>, StoreError> {
        let Some(size) = self.store.meta(COSIGNED).await? else { return Ok(Vec::new()) };
        self.store.cosignatures_at(&[size_of(&size)?], &publication.keys()).await
    }

    /// The round that a stored head was opened with, if it lies on the history which is held.
    async fn stored_round(
        &self,
        size: TreeSize,
        opened: &Opened,
        now_millis: i64,
    ) -> Result<Option<Arc<Round>>, StoreError> {
        let edge = opened.chain.edge();
        if size == TreeSize::ZERO || size > edge.size() {
            return Ok(None);
        }
        let heads = self.store.heads_of(size).await?;
        let texts = heads.iter().filter_map(|head| head.head_json.as_deref());
        let mut heads = texts.filter_map(|text| serde_json::from_str::<HeadJson>(text).ok());
        let round = heads.find_map(|head| Round::of(&head.checkpoint, &self.log, now_millis));
        let Some(round) = round else { return Ok(None) };
        let held = start::root_at(&self.store, edge, size).await?;
        Ok((held == round.checkpoint().tree().hash).then(|| Arc::new(round)))
    }
}

/// Below which size nothing is published; `newest` is the size of the newest head.
async fn floor(store: &Store, newest: TreeSize) -> Result<TreeSize, StoreError> {
    match store.meta(PUBLISHED).await?.as_deref() {
        None => Ok(TreeSize::ZERO),
        Some(NEWEST) => {
            store.put_meta(PUBLISHED, &newest.to_string()).await?;
            Ok(newest)
        }
        Some(size) => size_of(size),
    }
}

/// A size as the database keeps it under a name.
fn size_of(text: &str) -> Result<TreeSize, StoreError> {
    let size = text.parse().ok().and_then(TreeSize::new);
    size.ok_or(StoreError::Malformed { table: "local_meta" })
}

/// Why a policy's quorum does not come together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum TooFew {
    #[error(
        "the quorum of WITNESS_POLICY needs witnesses that have neither a URL there nor the \
         operator's authorisation: nothing reaches it"
    )]
    Unknown,
    #[error(
        "the quorum of WITNESS_POLICY needs several witnesses without a URL there to sign the very \
         same head: they do only if each runs with an --interval no longer than \
         WITNESS_ROUND_SPACING"
    )]
    Apart,
}

/// Tells the operator of a quorum that can't come together.
async fn warn_of_too_few(policy: &Policy, store: &Store) -> Result<(), StoreError> {
    let rows = store.endorsed(Category::Witness.as_str()).await?;
    let authorized: Vec<_> =
        rows.iter().filter(|row| row.revoked_by.is_none()).map(|row| row.fingerprint).collect();
    if let Some(why) = too_few(policy, &authorized) {
        tracing::warn!("{why}");
    }
    Ok(())
}

/// Whether the quorum is out of reach: a witness with a URL is asked for each round, and one that
/// comes by itself completes a round, but two of them seldom meet on one.
fn too_few(policy: &Policy, authorized: &[Fingerprint]) -> Option<TooFew> {
    let comes = |witness: &PolicyWitness| {
        witness.url().is_none() && authorized.contains(&witness.vkey().key().fingerprint())
    };
    let reached = |by: &dyn Fn(&PolicyWitness) -> bool| {
        policy.has_quorum(|witness| witness.url().is_some() || by(witness))
    };
    if !reached(&comes) {
        return Some(TooFew::Unknown);
    }
    let mut coming = policy.witnesses().iter().filter(|witness| comes(witness));
    let is_enough = reached(&|_| false) || coming.any(|one| reached(&|witness| witness == one));
    (!is_enough).then_some(TooFew::Apart)
}

#[cfg(test)]
mod tests {
    use diogenes_common::keys::SigningKey;
    use diogenes_common::note::KeyKind;

    use super::*;

    fn key(n: u8) -> SigningKey {
        SigningKey::from_seed([n; 32])
    }

    /// The policy of so many of these witnesses, each with a URL or without.
    fn policy(required: usize, witnesses: &[(u8, bool)]) -> Policy {
        let line = |(n, has_url): &(u8, bool)| {
            let name = format!("w{n}.example").parse().expect("a name");
            let vkey = Vkey::new(name, KeyKind::Cosignature, key(*n).public().clone());
            let url = if *has_url { " https://w.example/" } else { "" };
            format!("witness w{n} {vkey}{url}\n")
        };
        let lines: Vec<_> = witnesses.iter().map(line).collect();
        let names: Vec<_> = witnesses.iter().map(|(n, _)| format!("w{n}")).collect();
        let (lines, names) = (lines.concat(), names.join(" "));
        format!("{lines}group g {required} {names}\nquorum g\n").parse().expect("a policy")
    }

    #[test]
    fn a_quorum_may_need_one_witness_that_comes_by_itself_and_no_more() {
        let authorized = [key(3).fingerprint(), key(4).fingerprint()];
        for (required, witnesses, expected) in [
            (2, &[(2, true), (5, true), (6, false)][..], None),
            (2, &[(2, true), (3, false)], None),
            (2, &[(2, true), (3, false), (4, false)], None),
            (3, &[(2, true), (3, false), (4, false)], Some(TooFew::Apart)),
            (2, &[(3, false), (4, false)], Some(TooFew::Apart)),
            (2, &[(2, true), (6, false)], Some(TooFew::Unknown)),
            (2, &[(3, false), (6, false)], Some(TooFew::Unknown)),
        ] {
            let policy = policy(required, witnesses);
            assert_eq!(too_few(&policy, &authorized), expected, "{required} {witnesses:?}");
        }
    }
}
