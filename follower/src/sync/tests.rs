//! A follower against leaders that are honest and leaders that are not.

use std::path::Path;

use diogenes_common::client::{BaseUrl, Client, Reach};
use diogenes_common::event::Payload as _;
use diogenes_common::event::text::{Name, ServerUrl};
use diogenes_common::evidence::{self, Kind};
use diogenes_common::keys::{Fingerprint, SigningKey};
use diogenes_common::statement::{FollowerStatus, ProfileClaim, ProfileType};
use diogenes_common::store::OpenOptions;
use tempfile::TempDir;

use super::testing::{FakeLeader, Garble, TestClock, TestLog, Twist, at, eventually};
use super::*;
use crate::replica::{Class, Status};

/// A follower without its HTTP side.
struct Mirror {
    shared: Arc<Shared>,
    tasks: Tasks,
}

impl Mirror {
    async fn start(directory: &Path, leaders: &[&FakeLeader], clock: &TestClock) -> Self {
        let operator = leaders[0].script().log.key.fingerprint();
        Self::try_start(directory, leaders, operator, clock, false).await.expect("it starts")
    }

    async fn try_start(
        directory: &Path,
        leaders: &[&FakeLeader],
        operator: Fingerprint,
        clock: &TestClock,
        json_only: bool,
    ) -> Result<Self, Failure> {
        let client = Client::new("follower", "0", Reach::Configured).expect("a client");
        let source = |leader: &&FakeLeader| {
            let url = BaseUrl::parse(&leader.url(), Reach::Configured).expect("a URL");
            Arc::new(Source::new(url, client.clone()))
        };
        let url = format!("sqlite://{}/log.db", directory.display());
        let store = Store::open(&url.parse().expect("a URL"), OpenOptions::default())
            .await
            .map_err(store_failure)?;
        let tasks = Tasks::new();
        let (shared, stages) = open(Setup {
            store,
            trust: Trust { operator },
            sources: leaders.iter().map(source).collect(),
            poll: Duration::from_millis(50),
            clock: Arc::new(clock.clone()),
            tasks: tasks.clone(),
            metrics: Metrics::new(),
            data_dir: directory.to_owned(),
            min_free: None,
            first_retry: Duration::from_millis(20),
            name: "a test".to_owned(),
            json_only,
        })
        .await?;
        stages.start();
        Ok(Self { shared, tasks })
    }

    fn status(&self) -> Status {
        self.shared.on(Event::Tick);
        self.shared.replica().status(Now::of(&*self.shared.clock))
    }

    async fn becomes(&self, status: FollowerStatus, reason: Option<&str>) {
        let what = format!("{status:?} {reason:?}");
        eventually(&what, || {
            let verdict = self.status().verdict;
            verdict.status == status && verdict.reason == reason
        })
        .await;
    }

    async fn synced_with(&self, log: &TestLog) {
        let tree = log.tree();
        eventually("synced", || {
            let status = self.status();
            status.verdict.status == FollowerStatus::Synced && status.tree == tree
        })
        .await;
    }

    /// Waits for the latch, and checks its evidence as a stranger would.
    async fn latched(&self, kind: Kind, log: &TestLog) {
        eventually(kind.as_str(), || self.shared.replica().is_latched()).await;
        let status = self.status();
        assert_eq!(status.verdict.reason, Some(kind.as_str()));
        assert_eq!(status.verdict.class, Some(Class::Latched));
        let id = status.evidence.expect("a latch has evidence");
        let row = self.shared.store.evidence(id).await.expect("it reads").expect("it is there");
        let proven = evidence::verify(&row.bytes, None, None).expect("it proves");
        assert_eq!((proven.kind, proven.fingerprint), (kind, log.key.fingerprint()));
        let file = self.shared.data_dir.join(format!("evidence/{id}.json"));
        assert_eq!(std::fs::read(file).expect("the file is there"), row.bytes);
    }

    async fn stop(self) {
        self.tasks.stop();
        self.tasks.finish(Duration::from_secs(5)).await.expect("it ends well");
        self.shared.store.close().await;
    }
}

struct Scene {
    directory: TempDir,
    clock: TestClock,
}

impl Scene {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        Self { directory, clock: TestClock::new(at(10)) }
    }

    async fn mirror(&self, leaders: &[&FakeLeader]) -> Mirror {
        Mirror::start(self.directory.path(), leaders, &self.clock).await
    }

    /// A mirror whose leader sends its first thousand entries and no more, under its newest head.
    async fn mirror_of_a_thousand(&self, leader: &FakeLeader) -> Mirror {
        leader.script().most = 100;
        leader.script().twist = Some(|batch| {
            if batch.header.after >= 1_000 {
                batch.leaves.clear();
            }
        });
        let mirror = self.mirror(&[leader]).await;
        eventually("the first thousand", || mirror.status().tree.size.get() == 1_000).await;
        mirror
    }
}

fn log(size: u64) -> TestLog {
    let mut log = TestLog::new(1);
    log.grow(size, "honest");
    log
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_mirrored_entry_by_entry_and_goes_on_after_a_restart() {
    let (scene, mut log) = (Scene::new(), log(4_321));
    let leader = FakeLeader::start(log.clone(), 1).await;
    let mirror = scene.mirror(&[&leader]).await;

    mirror.synced_with(&log).await;
    let served = mirror.shared.published.snapshot().expect("a snapshot");
    assert_eq!(served.head.head().tree(), log.tree());
    mirror.stop().await;
    assert!(leader.script().binary_batches >= 5);

    log.grow(5_000, "later");
    leader.show(log.clone(), 5);
    let mirror = scene.mirror(&[&leader]).await;
    mirror.synced_with(&log).await;
    let leaf = mirror.shared.store.entry(4_999).await.expect("it reads").expect("it is there");
    assert_eq!(leaf.id(), 4_999);
    mirror.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_is_used_where_it_is_all_there_is_or_all_that_is_wanted() {
    for json_only in [false, true] {
        let (scene, log) = (Scene::new(), log(300));
        let leader = FakeLeader::start(log.clone(), 1).await;
        leader.script().json_only = !json_only;
        let directory = scene.directory.path();
        let operator = log.key.fingerprint();
        let mirror =
            Mirror::try_start(directory, &[&leader], operator, &scene.clock, json_only).await;
        let mirror = mirror.expect("it starts");

        mirror.synced_with(&log).await;

        assert_eq!(leader.script().binary_batches, 0);
        mirror.stop().await;
    }
}

/// What a source may send instead of the truth, and what it is called.
fn lies() -> Vec<(&'static str, Option<Twist>, Option<Garble>)> {
    fn twisted(
        reason: &'static str,
        twist: Twist,
    ) -> (&'static str, Option<Twist>, Option<Garble>) {
        (reason, Some(twist), None)
    }
    fn garbled(
        reason: &'static str,
        garble: Garble,
    ) -> (&'static str, Option<Twist>, Option<Garble>) {
        (reason, None, Some(garble))
    }
    vec![
        twisted("bad_batch", |batch| {
            if let Some(leaf) = batch.leaves.get_mut(3) {
                let place = leaf.len() - 5;
                leaf[place] ^= 1;
            }
        }),
        twisted("bad_batch", |batch| {
            batch.leaves.remove(3);
        }),
        twisted("bad_batch", |batch| batch.leaves.swap(3, 4)),
        twisted("bad_batch", |batch| batch.leaves.insert(3, batch.leaves[3].clone())),
        twisted("bad_batch", |batch| batch.header.after += 1),
        twisted("bad_batch", |batch| {
            batch.leaves.clear();
            batch.header.next_after = 0;
        }),
        twisted("bad_batch", |batch| batch.header.tree_head.checkpoint.clear()),
        twisted("unauthorized_key", |batch| {
            let stranger = SigningKey::from_seed([99; 32]);
            batch.header.tree_head.key_fingerprint = stranger.fingerprint();
        }),
        twisted("bad_batch", |batch| {
            let stranger = SigningKey::from_seed([99; 32]);
            batch.header.tree_head.signature = stranger.sign(b"something else");
        }),
        twisted("wrong_origin", |batch| {
            batch.header.tree_head.origin = "other.example".parse().expect("an origin");
        }),
        twisted("wrong_epoch", |batch| batch.header.tree_head.epoch = 2),
        garbled("bad_batch", |bytes| bytes.truncate(bytes.len() - 9)),
        garbled("bad_batch", |bytes| bytes.fill(b'x')),
        garbled("bad_batch", |bytes| bytes.resize(9 * 1024 * 1024, 0)),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lie_is_refused_whole_stays_transient_and_the_truth_is_taken_afterwards() {
    for (case, (reason, twist, garble)) in lies().into_iter().enumerate() {
        let (scene, log) = (Scene::new(), log(30));
        let leader = FakeLeader::start(log.clone(), 1).await;
        leader.script().twist = twist;
        leader.script().garble = garble;
        let mirror = scene.mirror(&[&leader]).await;

        eventually(&format!("case {case}: {reason}"), || mirror.status().retry_at.is_some()).await;
        let status = mirror.status();
        let verdict = status.verdict;
        assert_eq!(verdict.status, FollowerStatus::Error, "case {case}");
        assert_eq!(verdict.reason, Some(reason), "case {case}");
        assert_eq!(verdict.class, Some(Class::Transient), "case {case}");
        assert_eq!(status.tree.size, TreeSize::ZERO, "case {case}: nothing may be stored");
        assert!(mirror.shared.published.snapshot().is_none(), "case {case}");
        let open = mirror.shared.store.incidents(true).await.expect("it reads");
        assert!(open.iter().all(|incident| incident.class == "transient"), "case {case}");

        leader.script().twist = None;
        leader.script().garble = None;
        mirror.synced_with(&log).await;
        mirror.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_source_of_the_same_log_is_used_while_one_lies() {
    let (scene, log) = (Scene::new(), log(30));
    let liar = FakeLeader::start(log.clone(), 1).await;
    liar.script().twist = Some(|batch| batch.leaves.reverse());
    let honest = FakeLeader::start(log.clone(), 1).await;
    let mirror = scene.mirror(&[&liar, &honest]).await;

    mirror.synced_with(&log).await;

    let errors: Vec<_> = mirror.status().upstreams.iter().map(|up| up.error).collect();
    assert_eq!(errors, [Some("bad_batch"), None]);
    mirror.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_and_refusal_are_behind_and_pass() {
    let (scene, log) = (Scene::new(), log(30));
    let leader = FakeLeader::start(log.clone(), 1).await;
    leader.script().refuse = Some(http::StatusCode::TOO_MANY_REQUESTS);
    let mirror = scene.mirror(&[&leader]).await;
    mirror.becomes(FollowerStatus::Behind, Some("rate_limited")).await;
    leader.script().refuse = Some(http::StatusCode::BAD_GATEWAY);
    mirror.becomes(FollowerStatus::Behind, Some("unreachable")).await;

    leader.script().refuse = None;

    mirror.synced_with(&log).await;
    mirror.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_from_the_future_is_used_when_its_time_has_come() {
    let (scene, log) = (Scene::new(), log(30));
    let leader = FakeLeader::start(log.clone(), 10 + 121).await;
    let mirror = scene.mirror(&[&leader]).await;
    mirror.becomes(FollowerStatus::Behind, Some("head_in_future")).await;
    assert_eq!(mirror.status().tree.size, TreeSize::ZERO);

    scene.clock.set(at(11));

    mirror.synced_with(&log).await;
    mirror.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_type_of_a_newer_version_is_stored_without_effect() {
    let (scene, mut log) = (Scene::new(), log(5));
    log.append("key_transfer", br#"{"anything":[1,2]}"#, at(0));
    let leader = FakeLeader::start(log.clone(), 1).await;
    let mirror = scene.mirror(&[&leader]).await;

    mirror.synced_with(&log).await;

    let without = mirror.shared.store.without_effect(&[6]).await.expect("it reads");
    assert_eq!(without, [(6, "unknown_type".to_owned())]);
    mirror.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_head_that_is_replayed_changes_nothing() {
    let (scene, log) = (Scene::new(), log(40));
    let leader = FakeLeader::start(log.clone(), 5).await;
    let mirror = scene.mirror(&[&leader]).await;
    mirror.synced_with(&log).await;

    leader.show(log.cut(20), 1);

    eventually("noticed", || mirror.status().upstreams[0].error == Some("leader_stale")).await;
    assert_eq!(mirror.status().tree, log.tree());
    let counted = "diogenes_verification_failures_total{check=\"bad_batch\"} 0";
    assert!(mirror.shared.metrics.node().render().contains(counted), "to lag is no fault");
    assert!(mirror.status().verdict.class.is_none());
    leader.show(log.clone(), 6);
    mirror.synced_with(&log).await;
    mirror.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_trees_of_one_size_latch_survive_a_restart_and_end_with_an_acknowledgement() {
    let (scene, log) = (Scene::new(), log(40));
    let leader = FakeLeader::start(log.clone(), 1).await;
    let mirror = scene.mirror(&[&leader]).await;
    mirror.synced_with(&log).await;
    let mut fork = log.cut(39);
    fork.grow(40, "fork");

    leader.show(fork.clone(), 2);

    mirror.latched(Kind::ForkSameSize, &log).await;
    assert_eq!(mirror.status().tree, log.tree(), "what was verified stays");
    assert!(mirror.shared.published.snapshot().is_some(), "and is served on");
    mirror.stop().await;

    let mut more = log.clone();
    more.grow(60, "honest");
    leader.show(more.clone(), 3);
    let mirror = scene.mirror(&[&leader]).await;
    mirror.latched(Kind::ForkSameSize, &log).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(mirror.status().tree, log.tree(), "nothing newer is stored");

    let open = mirror.shared.store.incidents(true).await.expect("it reads");
    let latch = open.iter().find(|incident| incident.class == "latched").expect("it is open");
    assert!(mirror.shared.store.ack_incident(latch.id, at(11)).await.expect("it writes"));
    mirror.synced_with(&more).await;
    mirror.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_got_shorter_latches() {
    let (scene, log) = (Scene::new(), log(40));
    let leader = FakeLeader::start(log.clone(), 1).await;
    let mirror = scene.mirror(&[&leader]).await;
    mirror.synced_with(&log).await;

    leader.show(log.cut(20), 2);

    mirror.latched(Kind::Truncated, &log).await;
    mirror.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_whose_time_runs_back_latches() {
    let (scene, mut log) = (Scene::new(), log(40));
    let leader = FakeLeader::start(log.clone(), 5).await;
    let mirror = scene.mirror(&[&leader]).await;
    mirror.synced_with(&log).await;

    log.grow(50, "honest");
    leader.show(log.clone(), 3);

    mirror.latched(Kind::TimestampRegressed, &log).await;
    mirror.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_behind_a_head_that_was_reached_is_proven_by_asking_for_the_proof() {
    let (scene, log) = (Scene::new(), log(40));
    let leader = FakeLeader::start(log.clone(), 1).await;
    let mirror = scene.mirror(&[&leader]).await;
    mirror.synced_with(&log).await;
    let mut fork = log.cut(20);
    fork.grow(70, "fork");

    leader.show(fork, 2);

    mirror.latched(Kind::ForkPrefix, &log).await;
    assert_eq!(mirror.status().tree, log.tree());
    mirror.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_ahead_is_proven_when_the_own_tree_passes_the_head_that_was_kept() {
    let (scene, promised) = (Scene::new(), log(3_000));
    let mut fork = promised.cut(1_500);
    fork.grow(4_000, "fork");
    let leader = FakeLeader::start(promised.clone(), 1).await;
    // The larger head is shown with a first batch, then the log goes another way.
    let mirror = scene.mirror_of_a_thousand(&leader).await;

    leader.show(fork.clone(), 2);
    leader.script().twist = None;

    mirror.latched(Kind::ForkPrefix, &fork).await;
    let size = mirror.status().tree.size.get();
    assert!((1_000..3_000).contains(&size), "the batch that passes 3,000 is not stored: {size}");
    mirror.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_ahead_that_was_acknowledged_is_kept_again_when_it_is_shown_again() {
    let (scene, promised) = (Scene::new(), log(3_000));
    let mut fork = promised.cut(500);
    fork.grow(1_000, "fork");
    let leader = FakeLeader::start(promised.clone(), 1).await;
    let mirror = scene.mirror_of_a_thousand(&leader).await;
    let store = &mirror.shared.store;
    let before = store.kept_heads().await.expect("they read");
    assert_eq!(before.len(), 1);
    leader.show(fork.clone(), 2);
    mirror.latched(Kind::Truncated, &fork).await;

    leader.show(promised.clone(), 1);
    leader.script().twist = Some(|batch| {
        if batch.header.after >= 1_100 {
            batch.leaves.clear();
        }
    });
    let open = store.incidents(true).await.expect("it reads");
    let latch = open.iter().find(|incident| incident.class == "latched").expect("it is open");
    store.forget_head(before[0].tree_size, before[0].timestamp).await.expect("it writes");
    assert!(store.ack_incident(latch.id, at(11)).await.expect("it writes"));
    eventually("a hundred more", || mirror.status().tree.size.get() == 1_100).await;

    assert_eq!(store.kept_heads().await.expect("they read"), before);
    mirror.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_no_proof_explains_is_only_suspicious() {
    let (scene, log) = (Scene::new(), log(40));
    let leader = FakeLeader::start(log.clone(), 1).await;
    let mirror = scene.mirror(&[&leader]).await;
    mirror.synced_with(&log).await;
    let mut more = log.clone();
    more.grow(60, "honest");
    leader.script().twist = Some(|batch| {
        batch.header.consistency_proof.iter_mut().for_each(|hash| *hash = Hash::of(b"?"));
    });
    leader.script().most = 10;

    leader.show(more.clone(), 2);

    mirror.becomes(FollowerStatus::Error, Some("inconsistent_unproven")).await;
    assert!(!mirror.shared.replica().is_latched());
    leader.script().twist = None;
    mirror.synced_with(&more).await;
    mirror.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_whose_carried_signature_does_not_verify_latches() {
    let (scene, mut log) = (Scene::new(), log(10));
    let forged = ProfileClaim {
        display_name: Name::try_from("Forged".to_owned()).expect("a name"),
        fingerprint: log.key.fingerprint(),
        origin: "log.example/test".parse().expect("an origin"),
        server: Some(ServerUrl::try_from("https://a.example".to_owned()).expect("a URL")),
        timestamp: at(0),
        kind: ProfileType::Federation,
    }
    .into_profile(&log.key);
    let other = Name::try_from("Altered".to_owned()).expect("a name");
    let forged = diogenes_common::statement::Profile { display_name: other, ..forged };
    log.append("operator_profile", &forged.to_payload(), at(0));
    let leader = FakeLeader::start(log.clone(), 1).await;
    let mirror = scene.mirror(&[&leader]).await;

    mirror.latched(Kind::BadEntry, &log).await;
    assert_eq!(mirror.status().tree.size, TreeSize::ZERO);
    mirror.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_that_only_another_source_shows_is_proven_too() {
    let (scene, log) = (Scene::new(), log(40));
    let mut fork = log.cut(20);
    fork.grow(40, "fork");
    let first = FakeLeader::start(log.clone(), 1).await;
    let second = FakeLeader::start(fork, 1).await;
    let mirror = scene.mirror(&[&first, &second]).await;

    mirror.latched(Kind::ForkSameSize, &log).await;
    mirror.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_of_the_own_tree_that_names_another_last_entry_latches() {
    let (scene, log) = (Scene::new(), log(40));
    let mut fork = log.cut(29);
    fork.grow(30, "fork");
    let leader = FakeLeader::start(log.clone(), 5).await;
    let mirror = scene.mirror(&[&leader]).await;
    mirror.synced_with(&log).await;

    leader.script().round = Some(fork.head_of(log.cut(30).tree(), 3));

    mirror.latched(Kind::ChainMerkleMismatch, &log).await;
    mirror.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_round_of_the_witnesses_is_shown_when_the_own_tree_holds_it() {
    let (scene, log) = (Scene::new(), log(40));
    let leader = FakeLeader::start(log.clone(), 5).await;
    let round = log.head(30, 3);
    leader.script().round = Some(round.clone());
    let mirror = scene.mirror(&[&leader]).await;

    let shown = |mirror: &Mirror| mirror.shared.round.borrow().as_ref().map(|r| r.json.clone());
    eventually("the round", || shown(&mirror) == Some(round.clone())).await;
    mirror.stop().await;

    leader.script().refuse = Some(http::StatusCode::BAD_GATEWAY);
    let mirror = scene.mirror(&[&leader]).await;
    assert_eq!(shown(&mirror), Some(round), "it is known after a restart, the leader away");
    mirror.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_directory_mirrors_the_log_of_one_operator_for_ever() {
    let (scene, log) = (Scene::new(), log(10));
    let leader = FakeLeader::start(log.clone(), 1).await;
    let mirror = scene.mirror(&[&leader]).await;
    mirror.synced_with(&log).await;
    mirror.stop().await;

    let stranger = SigningKey::from_seed([9; 32]).fingerprint();
    let directory = scene.directory.path();
    let started = Mirror::try_start(directory, &[&leader], stranger, &scene.clock, false).await;

    assert_eq!(started.err().map(|failure| failure.reason()), Some("other_log"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_of_another_operator_is_not_taken() {
    let (scene, log) = (Scene::new(), log(10));
    let leader = FakeLeader::start(log.clone(), 1).await;
    let stranger = SigningKey::from_seed([9; 32]).fingerprint();
    let directory = scene.directory.path();
    let mirror = Mirror::try_start(directory, &[&leader], stranger, &scene.clock, false).await;
    let mirror = mirror.expect("it starts");

    mirror.becomes(FollowerStatus::Error, Some("unauthorized_key")).await;
    assert_eq!(mirror.status().tree.size, TreeSize::ZERO);
    mirror.stop().await;
}
