//! A leader with the real key that lies to a follower and a witness, and a network that harms what
//! passes: what is stored, what is refused, what is proven, and that everything else heals.

use diogenes_common::clock::Clock as _;
use diogenes_common::clock_system::SystemClock;
use diogenes_common::event::Authorization;
use diogenes_common::keys::SigningKey;
use diogenes_common::statement::FollowerStatus;
use diogenes_common::wire::status::{ErrorClass, MirrorStatus};
use diogenes_tests::audience::{Audience, follow, status};
use diogenes_tests::book::Book;
use diogenes_tests::liar::Liar;
use diogenes_tests::lies::{LEVEL, LIES, Outcome, forged, longer, registration, revocation};
use diogenes_tests::process::{Machine, eventually};
use diogenes_tests::proxy::{Fault, Proxy};
use serde_json::{Value, json};

const NODE: &str = env!("CARGO_BIN_EXE_diogenes-node");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_lie_is_stored_or_refused_or_proven_as_the_rules_say() {
    let only = std::env::var_os("LIE");
    for lie in LIES.iter().filter(|lie| only.as_ref().is_none_or(|only| *only == *lie.name)) {
        println!("{}", lie.name);
        let site = Audience::start(NODE).await;
        let before = site.status().await;
        let honest = site.liar.story().book.clone();
        (lie.tell)(&site.liar);

        let (reason, class) = match lie.follower {
            Outcome::Stored => {
                let told = site.liar.story().book.size();
                site.synced_at(told).await;
                assert_eq!(site.witness_submits().code, Some(0));
                continue;
            }
            Outcome::Behind(reason) => (reason, None),
            Outcome::Transient(reason) => (reason, Some(ErrorClass::Transient)),
            Outcome::Latched(reason) => (reason, Some(ErrorClass::Latched)),
        };
        let noticed =
            |now: &MirrorStatus| (now.reason.as_deref(), now.class) == (Some(reason), class);
        let now = site.seen(90, noticed).await;
        assert!(noticed(&now), "{}: {now:?}", lie.name);
        let stands = class.map_or(FollowerStatus::Behind, |_| FollowerStatus::Error);
        assert_eq!(now.status, stands);
        assert_eq!((now.tree_size, now.root_hash), (before.tree_size, before.root_hash));
        assert_eq!(site.mirror.size().await.unwrap(), LEVEL, "what was verified is served on");

        let signed = site.witness_submits();
        assert_eq!(signed.code != Some(0), lie.witness_refuses, "{}: {signed:?}", lie.name);

        let kept = site.kept(reason).await;
        let log_id = honest.log_id().to_string();
        let judged = site.judged(&kept.file, &log_id);

        if class == Some(ErrorClass::Latched) {
            assert_eq!(kept.incident["class"], "latched");
            let id = &kept.incident["evidence_id"];
            assert_eq!(now.evidence, Some(format!("/api/v1/evidence/{id}")));
            let file = site.machine.data("follower").join(format!("evidence/{id}.json"));
            assert_eq!(std::fs::read(file).unwrap(), kept.file);
            let verified = judged.succeeded();
            assert!(verified.contains(&log_id), "{verified}");
        } else {
            assert_eq!(kept.incident["class"], "transient");
            // It is no evidence at all, rather than evidence that proves nothing (1).
            assert_eq!(judged.code, Some(2), "{judged:?}");
            let mut truth = honest;
            // A lie may show the honest head of up to ten entries more.
            truth.grow(12);
            site.liar.repent(truth);
            site.synced_at(LEVEL + 12).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_liar_logs_about_a_key_changes_no_answer_of_a_follower() {
    let site = Audience::start(NODE).await;
    let alice = SigningKey::from_seed([8; 32]);
    let path = format!("/api/v1/keys/{}/status", alice.fingerprint());
    let status = async || {
        let answer: Value = site.mirror.read(&path).await.unwrap();
        answer["status"].clone()
    };
    let mut book = site.liar.story().book.clone();
    book.say(&registration(&alice));
    // A key that proved more is not believed to have signed a bare nonce.
    book.say(&revocation(&alice, Authorization::Legacy {}));
    site.liar.tell(book.clone());
    site.synced_at(LEVEL + 2).await;
    assert_eq!(status().await, "active");
    let entry: Value = site.mirror.read(&format!("/api/v1/log/{}", LEVEL + 2)).await.unwrap();
    assert_eq!(
        (&entry["effect"], &entry["effect_reason"]),
        (&json!("none"), &json!("legacy_refused"))
    );

    book.say(&revocation(&alice, forged(&alice)));
    site.liar.tell(book);

    eventually("the lie is proven", async || {
        site.status().await.reason.as_deref() == Some("bad_entry")
    })
    .await;
    assert_eq!(status().await, "active");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_harms_what_passes_never_latches_and_all_heals_when_it_stops() {
    let mut book = Book::new(SystemClock.now().plus_millis(-1_000));
    book.grow(LEVEL);
    let liar = Liar::start(book).await;
    // Its heads keep the time of the start.
    liar.story().heartbeat_seconds = 600;
    let proxy = Proxy::start(liar.node().address()).await;
    let machine = Machine::new(NODE);
    let (mut follower, mirror) = follow(&machine, &liar, &proxy.node()).await;
    let level = async |size: u64| {
        eventually("the follower is SYNCED", async || {
            let now = status(&mirror).await;
            now.status == FollowerStatus::Synced && now.tree_size.get() == size
        })
        .await;
    };
    level(LEVEL + 1).await;

    let faults = [
        Fault::Refuse,
        Fault::Cut(0),
        Fault::Cut(700),
        Fault::Flip(0),
        Fault::Flip(300),
        Fault::Flip(1_500),
        Fault::Flip(2_500),
        Fault::Delay(std::time::Duration::from_millis(100)),
        Fault::Silence,
    ];
    for fault in faults {
        println!("{fault:?}");
        proxy.set(fault);
        liar.tell(longer(&liar, 5));
        let size = liar.story().book.size();
        tokio::time::sleep(std::time::Duration::from_millis(400)).await;
        assert_ne!(status(&mirror).await.class, Some(ErrorClass::Latched), "{fault:?}");
        if fault == Fault::Silence {
            // A connection that fell silent is given up after half a minute; the others at once.
            break;
        }
        proxy.set(Fault::None);
        level(size).await;
    }

    assert!(follower.is_running());
}
