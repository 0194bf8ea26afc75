//! Those who lie: a relay that has no key, and an operator who has it.

use super::book::{self, place};
use super::follower::{Answer, Ask};
use crate::batch::Batch;
use crate::clock::Timestamp;
use crate::head::HeadJson;
use crate::leaf::Leaf;
use crate::merkle::Hash;
use crate::rng::Rng;
use crate::store::Database;

/// Changes what an honest server would answer, without the key of the log.
pub(crate) fn harm(answer: Answer, honest: &Database, seen: &[HeadJson], rng: &mut Rng) -> Answer {
    match answer {
        Answer::Batch(mut batch) => {
            harm_batch(&mut batch, honest, seen, rng);
            Answer::Batch(batch)
        }
        Answer::Head(mut head) => {
            match rng.below(3) {
                0 if !seen.is_empty() => *head = rng.pick(seen).clone(),
                1 => head.root_hash = Hash::of(b"another tree"),
                _ => head.timestamp = head.timestamp.plus_millis(1_000),
            }
            Answer::Head(head)
        }
        Answer::Nothing => Answer::Nothing,
    }
}

fn harm_batch(batch: &mut Batch, honest: &Database, seen: &[HeadJson], rng: &mut Rng) {
    match rng.below(9) {
        0 => rewrite(batch, honest, false, rng),
        1 => rewrite(batch, honest, true, rng),
        2 => {
            batch.leaves.pop();
        }
        3 => {
            batch.leaves.pop();
            batch.header.next_after = batch.header.after + batch.leaves.len() as u64;
        }
        4 if batch.leaves.len() > 1 => batch.leaves.swap(0, 1),
        5 if !seen.is_empty() => batch.header.tree_head = rng.pick(seen).clone(),
        6 => batch.header.tree_head.root_hash = Hash::of(b"another tree"),
        7 => {
            batch.header.consistency_proof.pop();
        }
        _ => {
            let garbled = rng.place(batch.leaves.len().max(1));
            if let Some(byte) = batch.leaves.get_mut(garbled).and_then(|leaf| leaf.last_mut()) {
                *byte ^= 1;
            }
        }
    }
}

/// Puts other entries in the place of the true ones, whose chain holds; `proves` computes the proof
/// for them too, though the head is the log's own.
fn rewrite(batch: &mut Batch, honest: &Database, proves: bool, rng: &mut Rng) {
    let header = &mut batch.header;
    let Some(first) = batch.leaves.len().checked_sub(1) else { return };
    let from = header.after + rng.below(first as u64 + 1);
    let mut forged = cut(honest, from);
    while forged.size() < header.tree_head.tree_size.get() {
        let now = header.tree_head.timestamp;
        book::append(&mut forged, "x-sim:note", b"{\"text\":\"forged\"}", now);
    }
    let range = place(header.after)..place(header.next_after);
    let Some(leaves) = forged.leaves.get(range) else { return };
    batch.leaves = leaves.iter().map(|leaf| leaf.bytes().to_vec()).collect();
    let covered = header.tree_head.tree_size.get();
    if proves
        && header.next_after < covered
        && let Some((_, proof)) = book::consistency(&forged, header.next_after, covered)
    {
        header.consistency_proof = proof;
    }
}

/// The same history up to a size.
pub(crate) fn cut(of: &Database, entries: u64) -> Database {
    let mut cut = Database::empty();
    of.leaves[..place(entries.min(of.size()))].iter().cloned().for_each(|leaf| cut.push(leaf));
    let now = of.state.timestamp;
    book::settle(&mut cut, now);
    cut
}

/// An operator who tells different people different things.
pub(crate) struct Evil {
    /// The histories that it tells; those after the first part from it somewhere.
    pub(crate) branches: Vec<Database>,
    /// Every head that it signed, with the branch that it is about.
    pub(crate) signed: Vec<(HeadJson, usize)>,
    told: Vec<usize>,
    rng: Rng,
}

impl Evil {
    pub(crate) fn new(listeners: usize, now: Timestamp, mut rng: Rng) -> Self {
        let branches = vec![book::genesis(now)];
        let told = vec![0; listeners];
        let rng = rng.fork();
        Self { branches, signed: Vec::new(), told, rng }
    }

    /// The log grows, and perhaps parts once more.
    pub(crate) fn grow(&mut self, now: Timestamp) {
        let branch = self.rng.place(self.branches.len());
        if self.branches.len() < 4 && self.rng.percent(12) {
            let of = &self.branches[branch];
            let from = self.rng.between(1, of.size());
            let forked = cut(of, from);
            self.branches.push(forked);
        }
        let branch = self.rng.place(self.branches.len());
        for _ in 0..self.rng.between(1, 5) {
            let payload = format!("{{\"text\":\"branch {branch}, {}\"}}", self.rng.next());
            let book = &mut self.branches[branch];
            if branch > 0 && self.rng.percent(4) {
                bad_entry(book, &payload, now, self.rng.percent(50));
            } else {
                book::append(book, "x-sim:note", payload.as_bytes(), now);
            }
        }
    }

    /// What this listener is told.
    pub(crate) fn answer(&mut self, listener: usize, ask: &Ask, now: Timestamp) -> Answer {
        if self.rng.percent(10) {
            self.told[listener] = self.rng.place(self.branches.len());
        }
        let branch = self.told[listener];
        let head = self.head(branch, now);
        match ask {
            Ask::Head => Answer::Head(Box::new(head)),
            Ask::Batch { after, limit } => {
                let of =
                    if self.rng.percent(5) { self.rng.place(self.branches.len()) } else { branch };
                let book = &self.branches[of];
                if *after > book.size() {
                    return Answer::Nothing;
                }
                let batch = book::batch(book, &head, *after, *limit);
                batch.map_or(Answer::Nothing, |batch| Answer::Batch(Box::new(batch)))
            }
        }
    }

    /// A head of a branch, true to it or not.
    pub(crate) fn head(&mut self, branch: usize, now: Timestamp) -> HeadJson {
        let book = &self.branches[branch];
        if self.rng.percent(25)
            && let Some((old, _)) = self.signed.iter().rev().find(|(_, of)| *of == branch)
        {
            return old.clone();
        }
        let all = book.size();
        let mut head = book::head_at(book, all, now);
        match self.rng.below(40) {
            0 => head = book::head_at(book, self.rng.between(1, all), now),
            1 => {
                head.timestamp = now
                    .plus_millis(-30_000)
                    .max(Timestamp::from_millis(book::START).expect("a time"))
            }
            2 => head.chain_head = Some(Hash::of(b"another entry")),
            3 => head.root_hash = Hash::of(b"another tree"),
            4 => head.timestamp = now.plus_millis(200_000),
            _ => {}
        }
        let json = book::sign(head, &book::operator());
        self.signed.push((json.clone(), branch));
        json
    }

    /// What it says when it is asked for the proof between two sizes.
    pub(crate) fn proof(
        &mut self,
        listener: usize,
        first: u64,
        second: u64,
    ) -> Option<(Hash, Vec<Hash>)> {
        let branch = self.told[listener];
        book::consistency(&self.branches[branch], first, second)
    }
}

/// An entry that breaks a rule of leaves.
fn bad_entry(book: &mut Database, payload: &str, now: Timestamp, chained: bool) {
    let previous = book.leaves.last().map(Leaf::entry_hash);
    let (previous, time) = if chained {
        (previous, Timestamp::from_millis(book::START - 1_000).expect("a time"))
    } else {
        (Some(Hash::of(b"no entry")), now)
    };
    let event_type = "x-sim:note".parse().expect("a type");
    let leaf = Leaf::build(book.size() + 1, previous, time, &event_type, payload.as_bytes());
    book.push(leaf.expect("a leaf"));
    book::settle(book, now);
}
