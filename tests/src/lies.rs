//! The lies of a leader that has the real key, and what must become of each
//! (docs/reliability.md, "When somebody lies"; docs/operating/drill.md).

use diogenes_common::batch::MAX_BODY_BYTES;
use diogenes_common::clock::Clock as _;
use diogenes_common::clock_system::SystemClock;
use diogenes_common::event::authorization::{Action, Purpose, SignedAuthorization};
use diogenes_common::event::{
    Authorization, EndorsementOffer, Genesis, KeyRegistration, KeyRevocation, OfferRequest,
    Payload as _,
};
use diogenes_common::head::TreeHead;
use diogenes_common::keys::{KeyAlgorithm, SigningKey};
use diogenes_common::merkle::Hash;
use diogenes_common::statement::{Category, Claim as _};
use serde_json::{Value, json};

use crate::book::Book;
use crate::liar::{Instead, Liar};

/// The size at which everybody is level before the lie.
pub const LEVEL: u64 = 20;

/// What becomes of a lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is no lie: stored.
    Stored,
    /// Not used, and forgotten once the truth is told.
    Behind(&'static str),
    /// Refused, and forgotten once the truth is told.
    Transient(&'static str),
    /// Proven; what was verified before is served on.
    Latched(&'static str),
}

/// A lie.
#[derive(Debug)]
pub struct Lie {
    /// What it is called; no two lies have one name.
    pub name: &'static str,
    /// The rule that it breaks.
    pub rule: &'static str,
    /// Tells it, to those who were told the truth up to [`LEVEL`]; nobody sees the new entries before
    /// the lie.
    pub tell: fn(&Liar),
    /// What a follower makes of it.
    pub follower: Outcome,
    /// Whether a witness does not sign it.
    pub witness_refuses: bool,
}

/// The honest book, `more` entries further.
pub fn longer(liar: &Liar, more: u64) -> Book {
    let mut book = liar.story().book.clone();
    book.grow(more);
    book
}

/// The history from before `size`, and another one from there to `until`.
pub fn other_history(liar: &Liar, size: u64, until: u64) -> Book {
    let mut book = liar.story().book.cut(size);
    while book.size() < until {
        book.push("x-test:event", br#"{"told":"otherwise"}"#);
    }
    book
}

/// Every lie that a follower and a witness must survive.
pub static LIES: [Lie; 29] = [
    Lie {
        name: "checkpoint-of-another-history",
        rule: "consistency",
        tell: |liar| {
            let other = other_history(liar, LEVEL / 2, LEVEL - 3);
            liar.story().published = Some(other.head(LEVEL - 3).checkpoint);
        },
        follower: Outcome::Latched("fork_prefix"),
        witness_refuses: false,
    },
    Lie {
        name: "checkpoint-of-the-same-size",
        rule: "one size, one root",
        tell: |liar| {
            let size = liar.story().book.size();
            let other = other_history(liar, LEVEL / 2, size);
            liar.story().published = Some(other.head(size).checkpoint);
        },
        follower: Outcome::Latched("fork_same_size"),
        witness_refuses: false,
    },
    Lie {
        name: "batch-corrupt",
        rule: "verify before store",
        tell: |liar| {
            liar.story().garble = Some(|batch| {
                if let Some(byte) = batch.leaves.first_mut().and_then(|leaf| leaf.last_mut()) {
                    *byte ^= 1;
                }
            });
            liar.tell(longer(liar, 5));
        },
        follower: Outcome::Transient("bad_batch"),
        witness_refuses: false,
    },
    Lie {
        name: "batch-gapped",
        rule: "verify before store",
        tell: |liar| {
            liar.story().garble = Some(|batch| {
                if batch.leaves.len() > 1 {
                    batch.leaves.remove(0);
                }
            });
            liar.tell(longer(liar, 5));
        },
        follower: Outcome::Transient("bad_batch"),
        witness_refuses: false,
    },
    Lie {
        name: "batch-reordered",
        rule: "verify before store",
        tell: |liar| {
            liar.story().garble = Some(|batch| batch.leaves.reverse());
            liar.tell(longer(liar, 5));
        },
        follower: Outcome::Transient("bad_batch"),
        witness_refuses: false,
    },
    Lie {
        name: "head-signature-swapped",
        rule: "verify before store",
        tell: |liar| {
            let book = longer(liar, 5);
            let mut head = book.head(book.size());
            let mut story = liar.story();
            head.signature = story.head.signature;
            (story.book, story.head) = (book, head);
        },
        follower: Outcome::Transient("bad_batch"),
        witness_refuses: true,
    },
    Lie {
        name: "truncated",
        rule: "a size never goes back",
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
        name: "fork-same-size",
        rule: "one size, one root",
        tell: |liar| liar.tell(other_history(liar, LEVEL - 1, LEVEL)),
        follower: Outcome::Latched("fork_same_size"),
        witness_refuses: true,
    },
    Lie {
        name: "fork-prefix",
        rule: "consistency",
        tell: |liar| liar.tell(other_history(liar, LEVEL / 2, LEVEL + 10)),
        follower: Outcome::Latched("fork_prefix"),
        witness_refuses: true,
    },
    Lie {
        name: "time-runs-back",
        rule: "time never goes back",
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
        name: "tree-and-chain-apart",
        rule: "head, leaf, inclusion proof",
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
        name: "entry-of-a-newer-type",
        rule: "no lie: stored without effect",
        tell: |liar| {
            let mut book = liar.story().book.clone();
            book.push("quantum_attestation", br#"{"of":"tomorrow"}"#);
            liar.tell(book);
        },
        follower: Outcome::Stored,
        witness_refuses: false,
    },
    Lie {
        name: "bad-entry-signature",
        rule: "head, leaf, inclusion proof",
        tell: |liar| {
            let mut book = liar.story().book.clone();
            let key = SigningKey::from_seed([7; 32]);
            let honest = book.endorsement(key.public(), Category::FederationOperator);
            let mut payload: Value =
                serde_json::from_slice(&honest.to_payload()).unwrap_or_default();
            payload["signature"] = json!(key.sign(b"something else"));
            let payload = diogenes_common::canonical::to_vec(&payload);
            book.push("operator_endorsement", &payload);
            liar.tell(book);
        },
        follower: Outcome::Latched("bad_entry"),
        witness_refuses: false,
    },
    Lie {
        name: "bad-entry-revocation",
        rule: "head, leaf, inclusion proof",
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
        name: "bad-entry-offer",
        rule: "head, leaf, inclusion proof",
        tell: |liar| {
            let mut book = liar.story().book.clone();
            let [alice, bob] = [8, 7].map(|n| SigningKey::from_seed([n; 32]));
            book.say(&offer(&alice, &bob));
            liar.tell(book);
        },
        follower: Outcome::Latched("bad_entry"),
        witness_refuses: false,
    },
    Lie {
        name: "fork-chain-heads",
        rule: "one size, one chain head",
        tell: |liar| {
            let mut story = liar.story();
            let mut claim = story.book.claim(LEVEL);
            claim.chain_head = story.book.claim(LEVEL - 1).chain_head;
            story.head = story.book.sign(claim);
        },
        follower: Outcome::Latched("fork_same_size"),
        witness_refuses: true,
    },
    Lie {
        name: "inconsistent-unproven",
        rule: "no source gives a proof that verifies",
        tell: |liar| {
            {
                let mut story = liar.story();
                (story.most, story.proves) = (Some(LEVEL + 3), false);
                story.garble = Some(|batch| {
                    batch.header.consistency_proof.fill(Hash::of(b"?"));
                });
            }
            liar.tell(longer(liar, 10));
        },
        follower: Outcome::Transient("inconsistent_unproven"),
        witness_refuses: true,
    },
    Lie {
        name: "bad-entry-link",
        rule: "head, leaf, inclusion proof",
        tell: |liar| {
            let mut book = liar.story().book.clone();
            let time = book.time(LEVEL + 1);
            book.push_linked(Some(Hash::of(b"another entry")), time, "x-test:event", b"{}");
            liar.tell(book);
        },
        follower: Outcome::Latched("bad_entry"),
        witness_refuses: false,
    },
    Lie {
        name: "bad-entry-time",
        rule: "head, leaf, inclusion proof",
        tell: |liar| {
            let mut book = liar.story().book.clone();
            let previous = Some(Hash::of(book.leaf(LEVEL)));
            book.push_linked(previous, book.time(LEVEL - 5), "x-test:event", b"{}");
            liar.tell(book);
        },
        follower: Outcome::Latched("bad_entry"),
        witness_refuses: false,
    },
    Lie {
        name: "bad-entry-second-genesis",
        rule: "head, leaf, inclusion proof",
        tell: |liar| {
            let mut book = liar.story().book.clone();
            book.say(&Genesis::new(book.operator().public(), Book::origin()));
            liar.tell(book);
        },
        follower: Outcome::Latched("bad_entry"),
        witness_refuses: false,
    },
    Lie {
        name: "bad-entry-not-canonical",
        rule: "head, leaf, inclusion proof",
        tell: |liar| {
            let mut book = longer(liar, 1);
            let mut leaf = book.leaf(LEVEL + 1).to_vec();
            leaf.insert(1, b' ');
            book = book.cut(LEVEL);
            book.push_raw(leaf);
            liar.tell(book);
        },
        follower: Outcome::Latched("bad_entry"),
        witness_refuses: false,
    },
    Lie {
        name: "batch-duplicated",
        rule: "verify before store",
        tell: |liar| {
            liar.story().garble = Some(|batch| {
                if let Some(first) = batch.leaves.first().cloned() {
                    batch.leaves.insert(0, first);
                    batch.leaves.pop();
                }
            });
            liar.tell(longer(liar, 5));
        },
        follower: Outcome::Transient("bad_batch"),
        witness_refuses: false,
    },
    Lie {
        name: "batch-oversized",
        rule: "8 MiB and a byte",
        tell: |liar| {
            let body = || vec![b' '; MAX_BODY_BYTES + 1];
            liar.story().instead = Some(Instead { content_encoding: None, body });
            liar.tell(longer(liar, 5));
        },
        follower: Outcome::Transient("bad_batch"),
        witness_refuses: false,
    },
    Lie {
        name: "batch-deep",
        rule: "a bounded depth",
        tell: |liar| {
            let body = || [b"{\"entries\":", "[".repeat(1 << 20).as_bytes()].concat();
            liar.story().instead = Some(Instead { content_encoding: None, body });
            liar.tell(longer(liar, 5));
        },
        follower: Outcome::Transient("bad_batch"),
        witness_refuses: false,
    },
    Lie {
        name: "batch-bomb",
        rule: "caps while decompressing",
        tell: |liar| {
            let content_encoding = Some("zstd");
            liar.story().instead = Some(Instead { content_encoding, body: bomb });
            liar.tell(longer(liar, 5));
        },
        follower: Outcome::Transient("bad_batch"),
        witness_refuses: false,
    },
    Lie {
        name: "wrong-origin",
        rule: "the pinned log alone",
        tell: |liar| {
            shown(liar, |claim| claim.origin = "log.example/another".parse().expect("an origin"));
        },
        follower: Outcome::Transient("wrong_origin"),
        witness_refuses: true,
    },
    Lie {
        name: "wrong-epoch",
        rule: "the one epoch",
        tell: |liar| shown(liar, |claim| claim.epoch += 1),
        follower: Outcome::Transient("wrong_epoch"),
        witness_refuses: true,
    },
    Lie {
        name: "wrong-key",
        rule: "the pinned key alone",
        tell: |liar| {
            let book = longer(liar, 5);
            let head = book.sign_with(book.claim(LEVEL + 5), &SigningKey::from_seed([66; 32]));
            let mut story = liar.story();
            (story.book, story.head) = (book, head);
        },
        follower: Outcome::Transient("unauthorized_key"),
        witness_refuses: true,
    },
    Lie {
        name: "head-from-the-future",
        rule: "at most 120 s ahead",
        tell: |liar| {
            let ahead = SystemClock.now().plus_millis(10 * 60_000);
            shown(liar, |claim| claim.timestamp = ahead);
        },
        follower: Outcome::Behind("head_in_future"),
        witness_refuses: true,
    },
];

/// Shows five more entries, honest ones, under a head of which one thing is not true.
fn shown(liar: &Liar, twist: impl FnOnce(&mut TreeHead)) {
    let book = longer(liar, 5);
    let mut claim = book.claim(LEVEL + 5);
    twist(&mut claim);
    let head = book.sign(claim);
    let mut story = liar.story();
    (story.book, story.head) = (book, head);
}

/// A zstd frame of a few hundred bytes that stands for 32 MiB of spaces.
///
/// ```text
/// 28 b5 2f fd | 00 78 | blocks of 3 bytes header (length << 3 | run << 1 | last) and the byte
/// ```
fn bomb() -> Vec<u8> {
    const RUN: u32 = 0b010;
    const BLOCK: u32 = 128 * 1024;
    const BLOCKS: u32 = 256;
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x78];
    for block in 1..=BLOCKS {
        let header = (BLOCK << 3) | RUN | u32::from(block == BLOCKS);
        frame.extend_from_slice(&header.to_le_bytes()[..3]);
        frame.push(b' ');
    }
    frame
}

/// An offer that says everything right and was signed by whom it endorses.
fn offer(endorser: &SigningKey, to: &SigningKey) -> EndorsementOffer {
    let text = |text: &str| text.to_owned().try_into().expect("a short text");
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
    let asked: OfferRequest = serde_json::from_value(request).expect("a request");
    asked.event(endorser.public().into(), Authorization::Signed(Box::new(signed)))
}

/// A key's registration, with proof.
pub fn registration(holder: &SigningKey) -> KeyRegistration {
    let event = KeyRegistration {
        expiration_date: None,
        fingerprint: holder.fingerprint(),
        key_algorithm: KeyAlgorithm::Ed25519,
        proof: None,
        pseudonym: "Alice".to_owned().try_into().expect("a short text"),
        public_key: holder.public().into(),
    };
    event.proven(&Book::origin(), holder)
}

/// A key's end, with whatever is to allow it.
pub fn revocation(holder: &SigningKey, authorization: Authorization) -> KeyRevocation {
    KeyRevocation {
        authorization,
        fingerprint: holder.fingerprint(),
        public_key: holder.public().into(),
    }
}

/// An authorization that says everything right and was signed by somebody else.
pub fn forged(holder: &SigningKey) -> Authorization {
    let text = |text: &str| text.to_owned().try_into().expect("a short text");
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
