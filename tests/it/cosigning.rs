//! A leader whose checkpoints need the cosignatures of C2SP witnesses, and what readers see of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use diogenes_common::clock::{Clock, Timestamp};
use diogenes_common::clock_system::SystemClock;
use diogenes_common::head::HeadJson;
use diogenes_common::keys::{Fingerprint, SigningKey};
use diogenes_common::merkle::{Hash, TreeRoot, TreeSize};
use diogenes_common::note::{KeyKind, Note, Vkey};
use diogenes_common::policy::Policy;
use diogenes_common::store::{Cosignature, NewIncident};
use diogenes_tests::cosigner::{Cosigner, Mood};
use serde_json::{Value, json};

use crate::api_federation::{Peer, authorize, operator, submit};
use crate::site::{Place, Site, eventually, on_both};

on_both!(
    a_checkpoint_is_published_once_two_of_three_witnesses_cosigned_it,
    a_restart_publishes_the_same_cosigned_checkpoint,
);

/// The machine's clock, moved ahead by a test.
#[derive(Default)]
struct Ahead(AtomicI64);

impl Ahead {
    fn pass(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1_000, Ordering::SeqCst);
    }
}

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        SystemClock.now().plus_millis(self.0.load(Ordering::SeqCst))
    }

    fn steady_millis(&self) -> i64 {
        SystemClock.steady_millis() + self.0.load(Ordering::SeqCst)
    }
}

/// The policy of so many of these witnesses, without a log.
fn policy(required: usize, witnesses: &[&Cosigner]) -> String {
    let (lines, names): (Vec<_>, Vec<_>) = witnesses.iter().map(|one| one.line()).unzip();
    format!("{}group g {required} {}\nquorum g\n", lines.concat(), names.join(" "))
}

/// What a stranger who was given the policy and the log's key thinks of what is published: its
/// size, and how many signed it beside the log.
fn opened(site: &Site, policy: &str, text: &str) -> Option<(u64, usize)> {
    let name = site.origin().as_str().parse().unwrap();
    let log = Vkey::new(name, KeyKind::Ed25519, site.operator().clone());
    let policy: Policy = format!("log {log}\n{policy}").parse().unwrap();
    let note = Note::parse(text.as_bytes()).unwrap();
    let checkpoint = policy.open(&note).ok()?;
    Some((checkpoint.tree().size.get(), note.signatures().len() - 1))
}

/// What is published; `None` if nothing is.
async fn published(site: &Site) -> Option<String> {
    let answer = site.leader.get("/checkpoint").await;
    if answer.status == 503 {
        assert_eq!(answer.problem(), "signing_paused");
        assert_ne!(answer.header("retry-after"), "");
        return None;
    }
    assert_eq!(answer.status, 200, "{answer}");
    Some(String::from_utf8(answer.body).unwrap())
}

async fn cosigned(site: &Site, policy: &str) -> Option<(u64, usize)> {
    opened(site, policy, &published(site).await?)
}

fn size_of(text: &str) -> u64 {
    text.lines().nth(1).unwrap().parse().unwrap()
}

async fn incidents(site: &Site) -> Vec<Value> {
    let list = operator(&site.leader, "GET", "incidents", None).await.json();
    list["incidents"].as_array().unwrap().clone()
}

async fn a_checkpoint_is_published_once_two_of_three_witnesses_cosigned_it(place: Place) {
    let one = Cosigner::start(70, Mood::Honest).await;
    let two = Cosigner::start(71, Mood::Garbage).await;
    let three = Cosigner::start(72, Mood::Busy).await;
    let policy = policy(2, &[&one, &two, &three]);
    let path = place.write("policy.txt", &policy);
    let settings = [("WITNESS_POLICY", path.as_str()), ("WITNESS_MODE", "fail_closed")];
    let site = place.start_with(&settings).await;
    site.grow(300).await;
    eventually("one cosigns", async || one.size() > 300).await;
    eventually("all are asked", async || two.asked() > 0 && three.asked() > 0).await;
    assert_eq!(published(&site).await, None);

    two.turn(Mood::Honest);

    eventually("a quorum is there", async || {
        cosigned(&site, &policy).await.is_some_and(|(size, signers)| size > 300 && signers == 2)
    })
    .await;
    let inclusion = site.leader.get("/.well-known/diogenes").await.json();
    assert_eq!(inclusion["witness_quorum"], json!({ "required": 2, "of": 3 }));
    three.turn(Mood::Honest);
    site.grow(1).await;
    eventually("all three sign", async || {
        cosigned(&site, &policy).await.is_some_and(|(size, signers)| size > 301 && signers == 3)
    })
    .await;
    for witness in [&one, &two, &three] {
        assert_eq!(witness.complaints(), Vec::<String>::new());
    }
    assert_eq!(incidents(&site).await, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_uncosigned_checkpoint_is_published_when_the_quorum_is_60_s_late() {
    let (clock, place) = (Arc::new(Ahead::default()), Place::sqlite());
    let witness = Cosigner::start(73, Mood::Honest).await;
    let policy = policy(1, &[&witness]);
    let path = place.write("policy.txt", &policy);
    let site = place.start_at(&[("WITNESS_POLICY", &path)], clock.clone()).await;
    site.grow(5).await;
    eventually("it is cosigned", async || {
        cosigned(&site, &policy).await.is_some_and(|(size, _)| size == 6)
    })
    .await;

    witness.turn(Mood::Busy);
    site.grow(5).await;
    let asked = witness.asked();
    eventually("the next round is open", async || witness.asked() > asked).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(cosigned(&site, &policy).await, Some((6, 1)), "nobody is late yet");
    clock.pass(61);

    eventually("it is published without", async || {
        let text = published(&site).await.unwrap();
        size_of(&text) == 11 && opened(&site, &policy, &text).is_none()
    })
    .await;
    witness.turn(Mood::Honest);
    eventually("it is cosigned again", async || {
        cosigned(&site, &policy).await.is_some_and(|(size, _)| size == 11)
    })
    .await;
}

async fn a_restart_publishes_the_same_cosigned_checkpoint(place: Place) {
    let one = Cosigner::start(74, Mood::Honest).await;
    let two = Cosigner::start(75, Mood::Honest).await;
    let policy = policy(2, &[&one, &two]);
    let path = place.write("policy.txt", &policy);
    let settings = [("WITNESS_POLICY", path.as_str()), ("WITNESS_MODE", "fail_closed")];
    let site = place.start_with(&settings).await;
    site.grow(5).await;
    eventually("it is cosigned", async || {
        cosigned(&site, &policy).await.is_some_and(|(size, _)| size == 6)
    })
    .await;
    let before = published(&site).await;
    one.turn(Mood::Busy);
    two.turn(Mood::Busy);
    site.grow(5).await;

    let site = site.stop().start_with(&settings).await;

    assert_eq!(published(&site).await, before);
    let open = [settings[0], ("WITNESS_MODE", "fail_open")];
    let site = site.stop().start_with(&open).await;
    assert_eq!(published(&site).await, before, "nobody is late yet");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_many_others_cosign_the_last_quorum_stays_published() {
    let place = Place::sqlite();
    let witness = Cosigner::start(87, Mood::Honest).await;
    let policy = policy(1, &[&witness]);
    let path = place.write("policy.txt", &policy);
    let settings = [("WITNESS_POLICY", path.as_str()), ("WITNESS_MODE", "fail_closed")];
    let site = place.start_with(&settings).await;
    eventually("it is cosigned", async || cosigned(&site, &policy).await.is_some()).await;
    witness.turn(Mood::Busy);
    let before = published(&site).await;
    site.grow(5).await;
    let others: Vec<_> = (0..5_000_u32).map(|n| by_another(n, 6)).collect();

    let store = site.store().await;
    store.put_cosignatures(&others).await.unwrap();
    store.close().await;

    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(published(&site).await, before);
    let site = site.stop().start_with(&settings).await;
    assert_eq!(published(&site).await, before, "after a restart");
}

/// A line by a key that no policy names.
fn by_another(n: u32, tree_size: u64) -> Cosignature {
    Cosignature {
        tree_size: TreeSize::new(tree_size).unwrap(),
        fingerprint: Fingerprint::new(Hash::of(&n.to_be_bytes())),
        name: "other.example".to_owned(),
        line: String::new(),
        timestamp: SystemClock.now(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_published_without_a_quorum_binds_the_next_start() {
    let (clock, place) = (Arc::new(Ahead::default()), Place::sqlite());
    let witness = Cosigner::start(76, Mood::Honest).await;
    let policy = policy(1, &[&witness]);
    let path = place.write("policy.txt", &policy);
    let open = [("WITNESS_POLICY", path.as_str())];
    let site = place.start_at(&open, clock.clone()).await;
    eventually("it is cosigned", async || cosigned(&site, &policy).await.is_some()).await;
    witness.turn(Mood::Busy);
    site.grow(5).await;
    let asked = witness.asked();
    eventually("the next round is open", async || witness.asked() > asked).await;
    clock.pass(61);
    eventually("it is published without", async || size_of(&published(&site).await.unwrap()) == 6)
        .await;

    let site = site.stop().start_at(&open, clock.clone()).await;
    assert_eq!(size_of(&published(&site).await.unwrap()), 6, "it is there from the start");
    let closed = [open[0], ("WITNESS_MODE", "fail_closed")];
    let site = site.stop().start_at(&closed, clock).await;

    assert_eq!(published(&site).await, None, "size 1 has its quorum, but 6 was seen");
    witness.turn(Mood::Honest);
    eventually("6 is cosigned", async || {
        cosigned(&site, &policy).await.is_some_and(|(size, _)| size >= 6)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_witness_that_comes_by_itself_completes_the_quorum() {
    let (place, native) = (Place::sqlite(), Peer::new(77));
    let asked = Cosigner::start(78, Mood::Honest).await;
    let (line, name) = asked.line();
    let key = SigningKey::from_seed([77; 32]);
    let own = format!("witness-{}", key.fingerprint().short());
    let vkey = Vkey::new(own.parse().unwrap(), KeyKind::Cosignature, key.public().clone());
    let policy = format!("{line}witness own {vkey}\ngroup g all {name} own\nquorum g\n");
    let path = place.write("policy.txt", &policy);
    let settings = [("WITNESS_POLICY", path.as_str()), ("WITNESS_MODE", "fail_closed")];
    let site = place.start_with(&settings).await;
    authorize(&site, "witnesses", json!({ "public_key": native.public_key() })).await;
    eventually("the other one cosigns", async || asked.size() == 2).await;
    assert_eq!(published(&site).await, None);

    let round: HeadJson = site.leader.json("/api/v1/log/sth?for=witness").await;
    let proof = native.prove(TreeRoot::EMPTY, &round);
    assert_eq!(submit(&site.leader, &proof).await.status, 201);

    eventually("both cosigned one head", async || {
        cosigned(&site, &policy).await == Some((round.tree_size.get(), 2))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_witness_that_names_a_larger_size_is_asked_no_more_until_somebody_has_looked() {
    let place = Place::sqlite();
    let witness = Cosigner::start(79, Mood::At(1_000_000)).await;
    let policy = policy(1, &[&witness]);
    let path = place.write("policy.txt", &policy);
    let settings = [("WITNESS_POLICY", path.as_str()), ("WITNESS_MODE", "fail_closed")];
    let site = place.start_with(&settings).await;
    eventually("an incident is open", async || incidents(&site).await.len() == 1).await;
    site.grow(5).await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;

    let open = incidents(&site).await;

    let (_, name) = witness.line();
    assert_eq!((witness.asked(), open.len()), (1, 1), "{open:?}");
    assert_eq!(open[0]["kind"], "witness_ahead");
    let detail = open[0]["detail"].as_str().unwrap();
    assert!(detail.contains(&name) && detail.contains("1000000"), "{detail}");
    assert_eq!(published(&site).await, None);
    let site = site.stop().start_with(&settings).await;
    eventually("a start asks again", async || witness.asked() == 2).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(incidents(&site).await.len(), 1, "it is the same");
    witness.turn(Mood::Honest);
    let path = format!("incidents/{}/ack", open[0]["id"]);
    let acknowledged = operator(&site.leader, "POST", &path, None).await;
    assert!((200..300).contains(&acknowledged.status), "{acknowledged}");
    eventually("it cosigns", async || cosigned(&site, &policy).await.is_some()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_newer_incidents_do_not_have_it_asked_again() {
    let place = Place::sqlite();
    let witness = Cosigner::start(88, Mood::At(1_000_000)).await;
    let path = place.write("policy.txt", &policy(1, &[&witness]));
    let site = place.start_with(&[("WITNESS_POLICY", path.as_str())]).await;
    eventually("an incident is open", async || incidents(&site).await.len() == 1).await;
    let store = site.store().await;
    let of = store.incidents(true).await.unwrap().remove(0);

    for n in 0..1_001 {
        let other = NewIncident {
            kind: of.kind.clone(),
            subject: format!("another {n}"),
            class: of.class.clone(),
            reason: of.reason.clone(),
            detail: String::new(),
            opened_at: of.opened_at,
            evidence: None,
        };
        store.open_incident(&other).await.unwrap();
    }
    store.close().await;

    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(witness.asked(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn witnesses_are_asked_no_more_often_than_the_operator_promised() {
    let (clock, place) = (Arc::new(Ahead::default()), Place::sqlite());
    let witness = Cosigner::start(89, Mood::Honest).await;
    let policy = policy(1, &[&witness]);
    let path = place.write("policy.txt", &policy);
    let settings = [("WITNESS_POLICY", path.as_str()), ("WITNESS_ROUND_SPACING", "30m")];
    let site = place.start_at(&settings, clock.clone()).await;
    eventually("it is cosigned", async || cosigned(&site, &policy).await.is_some()).await;
    site.grow(5).await;

    tokio::time::sleep(Duration::from_millis(6_500)).await;

    assert_eq!(witness.asked(), 1);
    clock.pass(1_800);
    eventually("the next round is cosigned", async || witness.asked() == 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cosignature_with_one_flipped_byte_does_not_count() {
    let place = Place::sqlite();
    let bad = Cosigner::start(80, Mood::Flipped).await;
    let good = Cosigner::start(81, Mood::Honest).await;
    let policy = policy(2, &[&bad, &good]);
    let path = place.write("policy.txt", &policy);
    let settings = [("WITNESS_POLICY", path.as_str()), ("WITNESS_MODE", "fail_closed")];
    let site = place.start_with(&settings).await;
    eventually("the good one cosigns", async || good.size() > 0).await;

    eventually("an incident is open", async || {
        let open = incidents(&site).await;
        open.len() == 1 && open[0]["reason"] == "witness_bad_cosignature"
    })
    .await;

    assert_eq!((published(&site).await, bad.asked()), (None, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn witnesses_that_do_not_answer_or_do_not_know_the_log_hold_nobody_up() {
    let place = Place::sqlite();
    let good = Cosigner::start(82, Mood::Honest).await;
    let silent = Cosigner::start(83, Mood::Silent).await;
    let stranger = Cosigner::start(84, Mood::Stranger).await;
    let conflict = Cosigner::start(85, Mood::Conflict).await;
    let policy = policy(1, &[&good, &silent, &stranger, &conflict]);
    let path = place.write("policy.txt", &policy);
    let site = place.start_with(&[("WITNESS_POLICY", &path)]).await;
    site.grow(5).await;

    eventually("the good one is enough", async || cosigned(&site, &policy).await == Some((6, 1)))
        .await;
    eventually("the conflict is told", async || incidents(&site).await.len() == 1).await;
    eventually("the stranger was asked", async || stranger.asked() > 0).await;

    assert_eq!(incidents(&site).await[0]["reason"], "witness_conflict");
    assert_eq!((stranger.asked(), conflict.asked()), (1, 1));
    let metrics = String::from_utf8(site.leader.get("/metrics").await.body).unwrap();
    let (_, name) = stranger.line();
    let refused =
        format!("diogenes_cosign_requests_total{{cosigner=\"{name}\",result=\"refused\"}} 1");
    for line in [refused.as_str(), "diogenes_checkpoint_tree_size_entries 6"] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_cannot_be_used_is_told_with_its_file_and_line() {
    let place = Place::sqlite();
    let other = Vkey::new(
        "log.example/other".parse().unwrap(),
        KeyKind::Ed25519,
        SigningKey::from_seed([86; 32]).public().clone(),
    );
    let log = format!("log {other}\nquorum none\n");
    for (text, told) in [
        (Some("# a comment\nquorum nobody\n"), "line 2"),
        (Some(log.as_str()), "none of its `log` lines is for this log"),
        (Some(""), "no quorum line"),
        (None, "No such file"),
    ] {
        let path = match text {
            Some(text) => place.write("policy.txt", text),
            None => "/nowhere/policy.txt".to_owned(),
        };

        let failure = place.refusal(&[("WITNESS_POLICY", &path)]).await;

        assert_eq!(failure.reason(), "bad_policy", "{failure}");
        assert!(failure.what().contains(&path) && failure.what().contains(told), "{failure}");
        assert_eq!(failure.exit(), diogenes_common::exit::Exit::Unsafe);
    }
}
