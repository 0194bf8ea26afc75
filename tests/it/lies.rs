//! A leader with the real key that lies to a follower and a witness, and a network that harms what
//! passes: what is stored, what is refused, what is proven, and that everything else heals.

use std::cell::RefCell;

use diogenes_common::clock::Clock as _;
use diogenes_common::clock_system::SystemClock;
use diogenes_common::event::authorization::{Action, Purpose, SignedAuthorization};
use diogenes_common::event::{
    Authorization, EndorsementOffer, KeyRegistration, KeyRevocation, OfferRequest, Payload as _,
};
use diogenes_common::keys::{KeyAlgorithm, SigningKey};
use diogenes_common::statement::{Category, Claim as _, FollowerStatus};
use diogenes_common::store::{DatabaseUrl, Evidence, Incident, OpenOptions, Schema, Store};
use diogenes_common::wire::status::{ErrorClass, MirrorStatus, ReplicationStatus};
use diogenes_tests::book::Book;
use diogenes_tests::http::Node;
use diogenes_tests::liar::Liar;
use diogenes_tests::process::{Ended, Machine, Process, eventually, free_address};
use diogenes_tests::proxy::{Fault, Proxy};
use serde_json::{Value, json};

const NODE: &str = env!("CARGO_BIN_EXE_diogenes-node");
/// The size at which everybody is level before the lie.
const LEVEL: u64 = 20;

/// What becomes of a lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It is no lie: stored.
    Stored,
    /// Refused, and forgotten once the truth is told.
    Transient(&'static str),
    /// Proven; what was verified before is served on.
    Latched(&'static str),
}

struct Lie {
    name: &'static str,
    tell: fn(&Liar),
    follower: Outcome,
    witness_refuses: bool,
}

/// The honest book, `more` entries further.
fn longer(liar: &Liar, more: u64) -> Book {
    let mut book = liar.story().book.clone();
    book.grow(more);
    book
}

/// The history from before `size`, and another one from there to `until`.
fn other_history(liar: &Liar, size: u64, until: u64) -> Book {
    let mut book = liar.story().book.cut(size);
    while book.size() < until {
        book.push("x-test:event", br#"{"told":"otherwise"}"#);
    }
    book
}

/// Every lie that a follower and a witness must survive (docs/reliability.md).
const LIES: [Lie; 15] = [
    Lie {
        name: "a checkpoint of another history",
        tell: |liar| {
            let other = other_history(liar, LEVEL / 2, LEVEL - 3);
            liar.story().published = Some(other.head(LEVEL - 3).checkpoint);
        },
        follower: Outcome::Latched("fork_prefix"),
        witness_refuses: false,
    },
    Lie {
        name: "a checkpoint of the same size and another root",
        tell: |liar| {
            let size = liar.story().book.size();
            let other = other_history(liar, LEVEL / 2, size);
            liar.story().published = Some(other.head(size).checkpoint);
        },
        follower: Outcome::Latched("fork_same_size"),
        witness_refuses: false,
    },
    Lie {
        name: "flipped byte",
        tell: |liar| {
            liar.tell(longer(liar, 5));
            liar.story().garble = Some(|batch| {
                if let Some(byte) = batch.leaves.first_mut().and_then(|leaf| leaf.last_mut()) {
                    *byte ^= 1;
                }
            });
        },
        follower: Outcome::Transient("bad_batch"),
        witness_refuses: false,
    },
    Lie {
        name: "skipped id",
        tell: |liar| {
            liar.tell(longer(liar, 5));
            liar.story().garble = Some(|batch| {
                if batch.leaves.len() > 1 {
                    batch.leaves.remove(0);
                }
            });
        },
        follower: Outcome::Transient("bad_batch"),
        witness_refuses: false,
    },
    Lie {
        name: "reordered",
        tell: |liar| {
            liar.tell(longer(liar, 5));
            liar.story().garble = Some(|batch| batch.leaves.reverse());
        },
        follower: Outcome::Transient("bad_batch"),
        witness_refuses: false,
    },
    Lie {
        name: "swapped signature",
        tell: |liar| {
            let signature = liar.story().head.signature;
            liar.tell(longer(liar, 5));
            liar.story().head.signature = signature;
        },
        follower: Outcome::Transient("bad_batch"),
        witness_refuses: true,
    },
    Lie {
        name: "shrunk",
        tell: |liar| {
            let mut story = liar.story();
            let mut claim = story.book.claim(LEVEL - 5);
            claim.timestamp = story.head.timestamp.plus_millis(50);
            story.head = story.book.sign(claim);
        },
        follower: Outcome::Latched("truncated"),
        witness_refuses: true,
    },
    Lie {
        name: "forked at the same size",
        tell: |liar| liar.tell(other_history(liar, LEVEL - 1, LEVEL)),
        follower: Outcome::Latched("fork_same_size"),
        witness_refuses: true,
    },
    Lie {
        name: "forked at another size",
        tell: |liar| liar.tell(other_history(liar, LEVEL / 2, LEVEL + 10)),
        follower: Outcome::Latched("fork_prefix"),
        witness_refuses: true,
    },
    Lie {
        name: "time running back",
        tell: |liar| {
            let book = longer(liar, 5);
            let mut claim = book.claim(LEVEL + 5);
            claim.timestamp = book.time(LEVEL).plus_millis(-5);
            let head = book.sign(claim);
            let mut story = liar.story();
            (story.book, story.head) = (book, head);
        },
        follower: Outcome::Latched("timestamp_regressed"),
        witness_refuses: true,
    },
    Lie {
        name: "tree and chain apart",
        tell: |liar| {
            let book = longer(liar, 5);
            let mut claim = book.claim(LEVEL + 5);
            claim.chain_head = book.claim(LEVEL).chain_head;
            let head = book.sign(claim);
            let mut story = liar.story();
            (story.book, story.head) = (book, head);
        },
        follower: Outcome::Latched("chain_merkle_mismatch"),
        witness_refuses: false,
    },
    Lie {
        name: "entry of a newer type",
        tell: |liar| {
            let mut book = liar.story().book.clone();
            book.push("quantum_attestation", br#"{"of":"tomorrow"}"#);
            liar.tell(book);
        },
        follower: Outcome::Stored,
        witness_refuses: false,
    },
    Lie {
        name: "entry with an invalid carried signature",
        tell: |liar| {
            let mut book = liar.story().book.clone();
            let key = SigningKey::from_seed([7; 32]);
            let honest = book.endorsement(key.public(), Category::FederationOperator);
            let mut payload: Value = serde_json::from_slice(&honest.to_payload()).unwrap();
            payload["signature"] = json!(key.sign(b"something else"));
            let payload = diogenes_common::canonical::to_vec(&payload);
            book.push("operator_endorsement", &payload);
            liar.tell(book);
        },
        follower: Outcome::Latched("bad_entry"),
        witness_refuses: false,
    },
    Lie {
        name: "revocation that its holder did not sign",
        tell: |liar| {
            let mut book = liar.story().book.clone();
            let alice = SigningKey::from_seed([8; 32]);
            book.say(&revocation(&alice, forged(&alice)));
            liar.tell(book);
        },
        follower: Outcome::Latched("bad_entry"),
        witness_refuses: false,
    },
    Lie {
        name: "offer that its endorser did not sign",
        tell: |liar| {
            let mut book = liar.story().book.clone();
            let [alice, bob] = [8, 7].map(|n| SigningKey::from_seed([n; 32]));
            book.say(&offer(&alice, &bob));
            liar.tell(book);
        },
        follower: Outcome::Latched("bad_entry"),
        witness_refuses: false,
    },
];

/// An offer that says everything right and was signed by whom it endorses.
fn offer(endorser: &SigningKey, to: &SigningKey) -> EndorsementOffer {
    let text = |text: &str| text.to_owned().try_into().unwrap();
    let request = json!({
        "category": "human_attestation",
        "endorsed_fingerprint": to.fingerprint(),
        "endorser_fingerprint": endorser.fingerprint(),
    });
    let mut signed = SignedAuthorization {
        action: Action::Offer,
        challenge_id: text("id"),
        expires_at: SystemClock.now().plus_millis(300_000),
        nonce: text("nonce"),
        purpose: Purpose::General,
        recovery: false,
        request: request.clone(),
        signature: to.sign(b"").into(),
    };
    let claim = signed.claim(&Book::origin(), endorser.fingerprint());
    signed.signature = claim.sign(to).into();
    let asked: OfferRequest = serde_json::from_value(request).unwrap();
    asked.event(endorser.public().into(), Authorization::Signed(Box::new(signed)))
}

/// A key's registration, with proof.
fn registration(holder: &SigningKey) -> KeyRegistration {
    let event = KeyRegistration {
        expiration_date: None,
        fingerprint: holder.fingerprint(),
        key_algorithm: KeyAlgorithm::Ed25519,
        proof: None,
        pseudonym: "Alice".to_owned().try_into().unwrap(),
        public_key: holder.public().into(),
    };
    event.proven(&Book::origin(), holder)
}

fn revocation(holder: &SigningKey, authorization: Authorization) -> KeyRevocation {
    KeyRevocation {
        authorization,
        fingerprint: holder.fingerprint(),
        public_key: holder.public().into(),
    }
}

/// An authorization that says everything right and was signed by somebody else.
fn forged(holder: &SigningKey) -> Authorization {
    let text = |text: &str| text.to_owned().try_into().unwrap();
    let stranger = SigningKey::from_seed([9; 32]);
    Authorization::Signed(Box::new(SignedAuthorization {
        action: Action::Revoke,
        challenge_id: text("id"),
        expires_at: SystemClock.now().plus_millis(300_000),
        nonce: text("nonce"),
        purpose: Purpose::General,
        recovery: false,
        request: json!({ "payload": { "fingerprint": holder.fingerprint() } }),
        signature: stranger.sign(b"whatever").into(),
    }))
}

/// A follower and a witness that trusted the liar until now.
struct Site {
    machine: Machine,
    liar: Liar,
    mirror: Node,
    _follower: Process,
}

impl Site {
    async fn start() -> Self {
        let mut book = Book::new(SystemClock.now().plus_millis(-1_000));
        book.grow(LEVEL - 1);
        let liar = Liar::start(book).await;
        let machine = Machine::new(NODE);
        let (follower, mirror) = follow(&machine, &liar, &liar.node()).await;
        let site = Self { machine, liar, mirror, _follower: follower };
        site.synced_at(LEVEL).await;
        assert_eq!(site.witness_submits(), Some(0), "the truth is signed");
        site
    }

    async fn status(&self) -> MirrorStatus {
        status(&self.mirror).await
    }

    async fn synced_at(&self, size: u64) {
        eventually("the follower is SYNCED", async || {
            let status = self.status().await;
            status.status == FollowerStatus::Synced && status.tree_size.get() == size
        })
        .await;
    }

    fn witness_submits(&self) -> Option<i32> {
        let server = self.liar.node().to_string();
        self.machine.run("witness", "witness", &["submit", "--server", &server], &[]).code
    }

    /// Waits until an incident is open for this reason; answers the one whose file the follower
    /// keeps, with that.
    async fn kept(&self, reason: &str) -> (Incident, Evidence) {
        let url = DatabaseUrl::sqlite(self.machine.data("follower").join("log.db"));
        let open = OpenOptions { schema: Schema::Ignore, readers: 1, require_durable: false };
        let store = Store::open(&url, open).await.unwrap();
        let found = RefCell::new(None);
        eventually("an incident is open and has a file", async || {
            let mut incidents = store.incidents(false).await.unwrap();
            incidents.retain(|incident| incident.reason == reason);
            let is_open = incidents.iter().any(|incident| incident.acked_at.is_none());
            // A source whose heads hold errs and recovers in turn: not each time is a file kept.
            let shown = incidents.into_iter().find(|incident| incident.evidence_id.is_some());
            let Some(incident) = shown.filter(|_| is_open) else { return false };
            let Some(id) = incident.evidence_id else { return false };
            let evidence = store.evidence(id).await.unwrap().expect("the file of an incident");
            *found.borrow_mut() = Some((incident, evidence));
            true
        })
        .await;
        store.close().await;
        found.into_inner().unwrap()
    }

    /// What the follower's operator is shown of its incidents.
    fn incidents(&self) -> Value {
        let words = ["incident", "list", "--all", "--json"];
        let listed = self.machine.run("follower", "follower", &words, &[]).succeeded();
        serde_json::from_str(&listed).unwrap()
    }

    /// What a stranger with no network is told of a file.
    fn judged(&self, file: &[u8], log_id: &str) -> Ended {
        let path = self.machine.home().join("kept.json");
        std::fs::write(&path, file).unwrap();
        let words = ["evidence", "verify", path.to_str().unwrap(), "--log-id", log_id];
        self.machine.run("stranger", "witness", &words, &[])
    }
}

/// Starts a follower of the liar's log that reads from `source`.
async fn follow(machine: &Machine, liar: &Liar, source: &Node) -> (Process, Node) {
    let operator = liar.story().book.operator().fingerprint();
    let sources = json!([{ "url": source.to_string(), "fingerprint": operator }]).to_string();
    let variables =
        [("DIOGENES_FEDERATION_OPERATORS", sources.as_str()), ("DIOGENES_POLL", "50ms")];
    let address = free_address();
    let listen = address.to_string();
    let args = ["serve", "--listen", listen.as_str()];
    let mut follower = machine.start("follower", "follower", &args, &variables);
    let mirror = Node::local(address);
    follower.ready(&mirror).await;
    (follower, mirror)
}

async fn status(mirror: &Node) -> MirrorStatus {
    match mirror.read("/api/v1/log/replication-status").await.unwrap() {
        ReplicationStatus::Follower(status) => *status,
        ReplicationStatus::Leader(status) => panic!("not a follower: {status:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_lie_is_stored_or_refused_or_proven_as_the_rules_say() {
    for lie in LIES {
        println!("{}", lie.name);
        let site = Site::start().await;
        let before = site.status().await;
        let honest = site.liar.story().book.clone();
        (lie.tell)(&site.liar);

        let (reason, class) = match lie.follower {
            Outcome::Stored => {
                let told = site.liar.story().book.size();
                site.synced_at(told).await;
                assert_eq!(site.witness_submits(), Some(0));
                continue;
            }
            Outcome::Transient(reason) => (reason, ErrorClass::Transient),
            Outcome::Latched(reason) => (reason, ErrorClass::Latched),
        };
        eventually(reason, async || {
            let now = site.status().await;
            (now.reason.as_deref(), now.class) == (Some(reason), Some(class))
        })
        .await;
        let now = site.status().await;
        assert_eq!(now.status, FollowerStatus::Error);
        assert_eq!((now.tree_size, now.root_hash), (before.tree_size, before.root_hash));
        assert_eq!(site.mirror.size().await.unwrap(), LEVEL, "what was verified is served on");

        let signed = site.witness_submits();
        assert_eq!(signed != Some(0), lie.witness_refuses, "{}: {signed:?}", lie.name);

        let (incident, kept) = site.kept(reason).await;
        let listed = site.incidents();
        let is_listed = listed.as_array().unwrap().iter().any(|row| {
            row["id"] == incident.id && row["evidence_id"] == kept.id && row["reason"] == reason
        });
        assert!(is_listed, "{incident:?} is not in {listed}");
        let log_id = honest.log_id().to_string();
        let judged = site.judged(&kept.bytes, &log_id);

        if class == ErrorClass::Latched {
            assert_eq!((incident.class.as_str(), kept.kind.as_str()), ("latched", reason));
            let file = site.machine.data("follower").join(now.evidence.unwrap());
            assert_eq!(std::fs::read(file).unwrap(), kept.bytes);
            let verified = judged.succeeded();
            assert!(verified.contains(&log_id), "{verified}");
        } else {
            assert_eq!((incident.class.as_str(), kept.kind.as_str()), ("transient", "observation"));
            // It is no evidence at all, rather than evidence that proves nothing (1).
            assert_eq!(judged.code, Some(2), "{judged:?}");
            let mut truth = honest;
            truth.grow(7);
            site.liar.story().garble = None;
            site.liar.tell(truth);
            site.synced_at(LEVEL + 7).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_liar_logs_about_a_key_changes_no_answer_of_a_follower() {
    let site = Site::start().await;
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
