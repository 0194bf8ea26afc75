//! One small log, the other histories that its key could tell, and Merkle trees done the slow way.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::LazyLock;

use diogenes_common::batch::{Batch, BatchHeader};
use diogenes_common::clock::Timestamp;
use diogenes_common::event::{Genesis, Payload as _};
use diogenes_common::evidence::Kind;
use diogenes_common::head::{EPOCH, HeadJson, Origin, TreeHead};
use diogenes_common::keys::SigningKey;
use diogenes_common::leaf::Leaf;
use diogenes_common::merkle::{Hash, TreeRoot, TreeSize};

/// How many entries a history has.
pub(super) const ENTRIES: usize = 12;

/// How many histories there are; number 0 is the true one.
pub(super) const STORIES: usize = 8;

/// The key of the log.
pub(super) static OPERATOR: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::from_seed([7; 32]));

static STRANGER: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::from_seed([8; 32]));

static HISTORIES: LazyLock<Vec<Story>> = LazyLock::new(|| (0..STORIES).map(Story::tell).collect());

/// One history.
pub(super) struct Story {
    /// Its entries.
    pub(super) leaves: Vec<Vec<u8>>,
    /// Where it breaks a rule of logs.
    pub(super) flaw: Option<usize>,
}

#[derive(Clone, Copy)]
enum Flaw {
    Previous,
    Time,
    Bytes,
}

/// The history of that number.
pub(super) fn story(number: usize) -> &'static Story {
    &HISTORIES[number]
}

impl Story {
    fn tell(number: usize) -> Self {
        let (parts, flaw) = match number {
            0 => (ENTRIES, None),
            1 => (0, None),
            2 => (1, None),
            3 => (5, None),
            4 => (8, None),
            5 => (6, Some(Flaw::Previous)),
            6 => (4, Some(Flaw::Time)),
            _ => (9, Some(Flaw::Bytes)),
        };
        let mut leaves: Vec<Vec<u8>> = Vec::new();
        for index in 0..ENTRIES {
            let told = if index < parts { 0 } else { number };
            let flaw = flaw.filter(|_| index == parts);
            let previous = match flaw {
                Some(Flaw::Previous) => Some(Hash::of(b"no entry")),
                _ => leaves.last().map(|leaf| Hash::of(leaf)),
            };
            let millis = match flaw {
                Some(Flaw::Time) => -1000,
                _ if index == 0 => i64::from(told == 1),
                _ => 1000 * i64::try_from(index).expect("a small number"),
            };
            leaves.push(match flaw {
                Some(Flaw::Bytes) => b"{}".to_vec(),
                _ => entry(index, told, previous, at(0).plus_millis(millis)),
            });
        }
        Self { leaves, flaw: flaw.map(|_| parts) }
    }
}

fn entry(index: usize, told: usize, previous: Option<Hash>, time: Timestamp) -> Vec<u8> {
    let (kind, payload) = if index == 0 {
        ("log_genesis", Genesis::new(OPERATOR.public(), origin()).to_payload())
    } else {
        ("x-fuzz:note", format!("{{\"story\":{told}}}").into_bytes())
    };
    let (id, kind) = (size(index + 1).get(), kind.parse().expect("an event type"));
    Leaf::build(id, previous, time, &kind, &payload).expect("a leaf").bytes().to_vec()
}

/// The name of the log.
pub(super) fn origin() -> Origin {
    "log.example/fuzz".parse().expect("an origin")
}

/// A moment of two seconds' grain; entries are made in the first six of them.
pub(super) fn at(slot: u8) -> Timestamp {
    let millis = 1_800_000_000_000 + 2_000 * i64::from(slot);
    Timestamp::from_millis(millis).expect("a time of this century")
}

pub(super) fn size(entries: usize) -> TreeSize {
    TreeSize::new(entries as u64).expect("a small number")
}

/// A number that is below a hundred.
pub(super) fn place(number: u64) -> usize {
    usize::try_from(number).expect("a small number")
}

/// Who signs a head, and what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Signer {
    /// The log.
    Log,
    /// The log, and the head names another last entry.
    LogOfAnotherEntry,
    /// Somebody who says that it was the log.
    Stranger,
    /// The log, as another one of the same key.
    Elsewhere,
    /// The log, in an epoch of which nothing is known.
    Later,
}

impl Signer {
    pub(super) const ALL: [Self; 8] = [
        Self::Log,
        Self::Log,
        Self::Log,
        Self::Log,
        Self::LogOfAnotherEntry,
        Self::Stranger,
        Self::Elsewhere,
        Self::Later,
    ];
}

/// A head that somebody shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Said {
    pub(super) story: usize,
    pub(super) size: usize,
    pub(super) slot: u8,
    pub(super) signer: Signer,
}

thread_local! {
    /// Heads that were signed already: signing is what takes long.
    static SIGNED: RefCell<HashMap<Said, HeadJson>> = RefCell::default();
}

impl Said {
    /// What the honest log says of a size; larger ones are said later.
    pub(super) fn truly(size: usize, late: usize) -> Self {
        let slot = u8::try_from(10 * size + 6 + late % 10).expect("a small number");
        Self { story: 0, size, slot, signer: Signer::Log }
    }

    /// The head.
    pub(super) fn json(self) -> HeadJson {
        SIGNED.with_borrow_mut(|signed| signed.entry(self).or_insert_with(|| self.sign()).clone())
    }

    fn sign(self) -> HeadJson {
        let head = TreeHead {
            chain_head: self.chain_head(),
            epoch: if self.signer == Signer::Later { EPOCH + 1 } else { EPOCH },
            origin: match self.signer {
                Signer::Elsewhere => "log.example/other".parse().expect("an origin"),
                _ => origin(),
            },
            root_hash: self.tree().hash,
            timestamp: at(self.slot),
            tree_size: size(self.size),
        };
        let key = if self.signer == Signer::Stranger { &STRANGER } else { &OPERATOR };
        let last = head.tree_size.get();
        let json = head.sign(key).to_json(String::new(), last);
        HeadJson { key_fingerprint: OPERATOR.fingerprint(), ..json }
    }

    /// Its size and root.
    pub(super) fn tree(self) -> TreeRoot {
        tree(self.story, self.size)
    }

    fn chain_head(self) -> Option<Hash> {
        if self.signer == Signer::LogOfAnotherEntry {
            return Some(Hash::of(b"another entry"));
        }
        let last = self.size.checked_sub(1)?;
        Some(Hash::of(&story(self.story).leaves[last]))
    }

    /// Whether it is a statement of the log's key about this log that anybody has to heed.
    pub(super) fn is_signed(self) -> bool {
        self.signer == Signer::Log || self.signer == Signer::LogOfAnotherEntry && self.size > 0
    }

    /// What it proves together with one that was said before, by sizes, times, roots alone.
    pub(super) fn after(self, before: Self) -> Option<Kind> {
        let differs = self.tree() != before.tree() || self.chain_head() != before.chain_head();
        match self.size.cmp(&before.size) {
            std::cmp::Ordering::Equal => differs.then_some(Kind::ForkSameSize),
            std::cmp::Ordering::Less => (self.slot > before.slot).then_some(Kind::Truncated),
            std::cmp::Ordering::Greater => {
                (self.slot < before.slot).then_some(Kind::TimestampRegressed)
            }
        }
    }

    /// Whether the log is bad if its key said this.
    fn is_bad_alone(self) -> bool {
        self.signer == Signer::LogOfAnotherEntry
            || story(self.story).flaw.is_some_and(|flaw| flaw < self.size)
    }
}

/// Whether one log could have said all of it.
pub(super) fn is_one_history(said: &[Said]) -> bool {
    let pairs = || said.iter().flat_map(|a| said.iter().map(move |b| (*a, *b)));
    let parts = |(a, b): (Said, Said)| a.size < b.size && a.tree() != tree(b.story, a.size);
    let contradicts = |(a, b): (Said, Said)| a.after(b).is_some();
    !said.iter().any(|said| said.is_bad_alone()) && !pairs().any(|p| parts(p) || contradicts(p))
}

/// The honest batch of some entries under a head of the same history.
pub(super) fn batch(head: Said, after: usize, count: usize) -> Batch {
    let leaves = &story(head.story).leaves;
    let next = (after + count).min(head.size).max(after);
    Batch {
        header: BatchHeader {
            after: after as u64,
            consistency_proof: consistency(head.story, next, head.size),
            has_more: next < head.size,
            next_after: next as u64,
            tree_head: head.json(),
        },
        leaves: leaves.get(after..next).unwrap_or_default().to_vec(),
    }
}

/// The tree over the first entries of a history.
pub(super) fn tree(number: usize, entries: usize) -> TreeRoot {
    TreeRoot { size: size(entries), hash: root(&hashes(number, entries)) }
}

/// The proof between two trees of a history; empty where none is needed.
pub(super) fn consistency(number: usize, first: usize, second: usize) -> Vec<Hash> {
    if first == 0 || first >= second {
        return Vec::new();
    }
    subproof(first, &hashes(number, second), true)
}

fn hashes(number: usize, entries: usize) -> Vec<Hash> {
    leaf_hashes(&story(number).leaves[..entries])
}

/// The hashes of leaves.
pub(super) fn leaf_hashes(leaves: &[Vec<u8>]) -> Vec<Hash> {
    leaves.iter().map(|leaf| Hash::of_leaf(leaf)).collect()
}

/// `MTH` of RFC 6962 section 2.1.
pub(super) fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash::EMPTY_TREE,
        [leaf] => *leaf,
        _ => {
            let (left, right) = halves(leaves);
            Hash::of_node(&root(left), &root(right))
        }
    }
}

/// `PATH` of RFC 6962 section 2.1.1.
pub(super) fn path(index: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() < 2 {
        return Vec::new();
    }
    let (left, right) = halves(leaves);
    let (mut path, sibling) = if index < left.len() {
        (path(index, left), right)
    } else {
        (path(index - left.len(), right), left)
    };
    path.push(root(sibling));
    path
}

/// `SUBPROOF` of RFC 6962 section 2.1.2.
fn subproof(old: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
    if old == leaves.len() {
        return if whole { Vec::new() } else { vec![root(leaves)] };
    }
    let (left, right) = halves(leaves);
    let (mut proof, sibling) = if old <= left.len() {
        (subproof(old, left, whole), right)
    } else {
        (subproof(old - left.len(), right, false), left)
    };
    proof.push(root(sibling));
    proof
}

fn halves(leaves: &[Hash]) -> (&[Hash], &[Hash]) {
    leaves.split_at(leaves.len().next_power_of_two() / 2)
}
