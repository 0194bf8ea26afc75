//! A leader that has the real key lies to a follower and a witness that believed it until now.

use diogenes_common::merkle::Hash;
use diogenes_tests::audience::Audience;
use diogenes_tests::lies::{LEVEL, Lie, Outcome, longer};
use diogenes_tests::process::Programs;

use crate::drill::Watch;
use crate::evidence;
use crate::stage::{state_of, within};
use crate::verdict::{Expected, Leaves, Observed, Standing, State, Who};

/// How many seconds a follower may take to notice.
const SOON: u64 = 10;
/// How many it may take to forget: it asks a source that lied ever more rarely, once a minute at
/// least.
const HEALED: u64 = 75;

/// What must become of a lie; `None` if it is none.
pub(crate) fn expected(lie: &Lie) -> Option<Expected> {
    let (standing, reason, leaves) = match lie.follower {
        Outcome::Stored => return None,
        Outcome::Behind(reason) => (Standing::Behind, reason, Leaves::Observation),
        Outcome::Transient(reason) => (Standing::Transient, reason, Leaves::Observation),
        Outcome::Latched(reason) => (Standing::Latched, reason, Leaves::Proof),
    };
    Some(Expected { who: Who::Follower, state: State::of(standing, reason), leaves })
}

/// Everybody is level; the leader lies; the follower stores nothing of it and keeps what it was
/// sent; a witness that can see the lie does not sign it. Unless it is proven, all is forgotten
/// once the leader is honest again.
pub(crate) async fn play(programs: &Programs, lie: &Lie) -> anyhow::Result<Observed> {
    let scene = Audience::start(programs.clone()).await;
    let before = scene.status().await;
    let (log_id, watch) = (scene.liar.story().book.log_id(), Watch::start());

    (lie.tell)(&scene.liar);

    let wanted = expected(lie).map(|expected| expected.state);
    let now = scene.seen(SOON, |status| Some(state_of(status)) == wanted).await;
    let after = watch.elapsed();
    let state = state_of(&now);
    let kept = (now.tree_size, now.root_hash) == (before.tree_size, before.root_hash);
    let served = scene.mirror.size().await? == LEVEL;
    let refused = scene.witness_submits().code != Some(0);
    let checks = vec![
        ("nothing of it is stored", kept),
        ("what was verified is served on", served),
        ("the witness refuses what it can see, and only that", refused == lie.witness_refuses),
    ];
    let file = scene.kept(&state.reason).await.file;
    let (left, healed) = if state.standing == Standing::Latched {
        (evidence::proof(&scene.machine, &file, log_id), None)
    } else {
        let left = evidence::observation(&scene.machine, &file, log_id);
        (left, Some(heals(&scene, &before.root_hash).await))
    };
    Ok(Observed { who: Who::Follower, after, state, left, healed, checks })
}

/// The leader tells the truth again, on the history that everybody knows.
async fn heals(scene: &Audience, known: &Hash) -> bool {
    let mut truth = longer(&scene.liar, 0).cut(LEVEL);
    if truth.tree(LEVEL).hash != *known {
        return false;
    }
    // A lie may show the honest head of up to ten entries more.
    truth.grow(12);
    let size = truth.size();
    scene.liar.repent(truth);
    within(HEALED, async || {
        let status = scene.status().await;
        state_of(&status).standing == Standing::Unmoved && status.tree_size.get() == size
    })
    .await
}
