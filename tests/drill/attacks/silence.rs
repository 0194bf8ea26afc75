//! Leaders that stop, repeat themselves, or promise one history and tell another.

use diogenes_common::clock::Clock as _;
use diogenes_common::clock_system::SystemClock;
use diogenes_common::statement::FollowerStatus;
use diogenes_common::wire::status::MirrorStatus;
use diogenes_tests::audience::{Audience, follow_any, stands, status};
use diogenes_tests::book::Book;
use diogenes_tests::liar::Liar;
use diogenes_tests::lies::{LEVEL, longer};
use diogenes_tests::process::{Machine, Programs};
use tokio::task::block_in_place;

use crate::drill::{Playing, Watch};
use crate::evidence;
use crate::stage::{ending, state_of, tell_now, within};
use crate::verdict::{Left, Observed, Standing, State, Who};

/// A leader signs no new head for three of its heartbeats.
pub(crate) fn frozen_leader(programs: &Programs) -> Playing<'_> {
    Box::pin(async move {
        let book = Book::new(SystemClock.now().plus_millis(3_000));
        let prepare = |liar: &Liar| liar.story().heartbeat_seconds = 2;
        let scene = Audience::of(programs.clone(), book, prepare).await;
        let watch = Watch::start();

        let now = scene.seen(15, |status| status.reason.as_deref() == Some("leader_stale")).await;
        let after = watch.elapsed();

        tell_now(&scene.liar, longer(&scene.liar, 3));
        let healed = within(5, async || {
            let status = scene.status().await;
            status.status == FollowerStatus::Synced && status.tree_size.get() == LEVEL + 3
        })
        .await;
        Ok(Observed {
            who: Who::Follower,
            after,
            state: state_of(&now),
            left: Left::Nothing,
            healed: Some(healed),
            checks: vec![("what was verified is served on", now.tree_size.get() == LEVEL)],
        })
    })
}

/// The newest head that a leader shows is three hours old.
pub(crate) fn frozen_leader_witness(programs: &Programs) -> Playing<'_> {
    Box::pin(async move {
        let mut book = Book::new(SystemClock.now().plus_millis(-3 * 3_600_000));
        book.grow(LEVEL);
        let log_id = book.log_id();
        let (liar, machine) = (Liar::start(book).await, Machine::new(programs.clone()));
        let server = liar.node().to_string();
        let submit = || {
            let words = ["submit", "--server", server.as_str()];
            block_in_place(|| machine.run("witness", "witness", &words, &[]))
        };
        let watch = Watch::start();

        let refused = submit();
        let after = watch.elapsed();

        let refusal = std::fs::read(machine.data("witness").join("refusals.jsonl"))?;
        let signed = String::from_utf8_lossy(&refusal).contains("\"signature\"");
        let left = evidence::observation(&machine, &refusal, log_id);
        tell_now(&liar, longer(&liar, 1));
        Ok(Observed {
            who: Who::Witness,
            after,
            state: ending(&refused),
            left,
            healed: Some(submit().code == Some(0)),
            checks: vec![("the refusal is signed", signed)],
        })
    })
}

/// An old head of the log, signed long ago, is shown again.
pub(crate) fn replayed_head(programs: &Programs) -> Playing<'_> {
    Box::pin(async move {
        let scene = Audience::start(programs.clone()).await;
        let honest = longer(&scene.liar, 0);
        let before = scene.status().await;
        let watch = Watch::start();

        scene.liar.story().head = honest.head(LEVEL / 2);

        let is_noted = |status: &MirrorStatus| {
            status.upstreams.iter().any(|source| source.error.as_deref() == Some("leader_stale"))
        };
        let now = scene.seen(10, is_noted).await;
        let after = watch.elapsed();
        let same = (now.tree_size, now.root_hash) == (before.tree_size, before.root_hash);
        let is_no_error = now.class.is_none();
        let mut more = honest;
        more.grow(2);
        scene.liar.tell(more);
        let healed = within(10, async || scene.status().await.tree_size.get() == LEVEL + 2).await;
        // Depending on the moment the state is still SYNCED or already BEHIND: both are "ignored".
        let reason = if is_noted(&now) { "leader_stale" } else { "" };
        let standing = if is_no_error { Standing::Unmoved } else { state_of(&now).standing };
        Ok(Observed {
            who: Who::Follower,
            after,
            state: State::named(standing, reason),
            left: Left::Nothing,
            healed: Some(healed),
            checks: vec![("nothing that was verified changed", same)],
        })
    })
}

/// A large head is promised with the first entries, then the log goes another way below it: the
/// follower proves it by itself when its own tree passes the head that it kept.
pub(crate) fn promised_and_forked(programs: &Programs) -> Playing<'_> {
    Box::pin(async move {
        let scene = Audience::start(programs.clone()).await;
        let promised = longer(&scene.liar, 2 * LEVEL);
        let log_id = promised.log_id();
        scene.liar.story().most = Some(LEVEL + 5);
        scene.liar.tell(promised.clone());
        let is_part_way = async || scene.status().await.tree_size.get() == LEVEL + 5;
        anyhow::ensure!(within(10, is_part_way).await, "the first entries are not taken");
        let watch = Watch::start();

        let mut fork = promised.cut(LEVEL + 10);
        fork.push("x-test:event", br#"{"told":"otherwise"}"#);
        fork.grow(3 * LEVEL);
        scene.liar.tell(fork);
        scene.liar.story().most = None;

        let has_latched = |status: &MirrorStatus| state_of(status).standing == Standing::Latched;
        let now = scene.seen(10, has_latched).await;
        let (after, state) = (watch.elapsed(), state_of(&now));
        let size = now.tree_size.get();
        let file = scene.kept(&state.reason).await.file;
        let left = evidence::proof(&scene.machine, &file, log_id);
        let checks = vec![("nothing past the promised size is stored", size < 3 * LEVEL)];
        Ok(Observed { who: Who::Follower, after, state, left, healed: None, checks })
    })
}

/// Of two sources of one log the first sends what does not hold: it is left alone, and the log is
/// read from the other.
pub(crate) fn bad_source_beside_a_good_one(programs: &Programs) -> Playing<'_> {
    Box::pin(async move {
        let mut book = Book::new(SystemClock.now().plus_millis(-1_000));
        book.grow(LEVEL);
        let (bad, good) = (Liar::start(book.clone()).await, Liar::start(book.clone()).await);
        bad.story().garble = Some(|batch| batch.leaves.reverse());
        let watch = Watch::start();

        let machine = Machine::new(programs.clone());
        let sources = [&bad.node(), &good.node()];
        let (_follower, mirror) = follow_any(&machine, &bad, &sources).await;

        let size = book.size();
        let has_all = within(15, async || {
            stands(&mirror).await.is_some_and(|status| status.tree_size.get() == size)
        })
        .await;
        let quarantined = within(5, async || {
            let upstreams = stands(&mirror).await.map(|status| status.upstreams);
            let faults = upstreams.unwrap_or_default().into_iter().filter_map(|one| one.error);
            faults.into_iter().any(|fault| fault == "bad_batch")
        })
        .await;
        let after = watch.elapsed();
        let standing = state_of(&status(&mirror).await).standing;
        Ok(Observed {
            who: Who::Follower,
            after,
            state: State::named(standing, if quarantined { "bad_batch" } else { "" }),
            left: Left::Nothing,
            healed: Some(has_all),
            checks: vec![],
        })
    })
}
