//! The follower's replica under a script of honest batches, lies, garbage, restarts and time.

use diogenes_common::batch::{Batch, Encoding, encode};
use diogenes_common::evidence::Kind;
use diogenes_common::head::SignedHead;
use diogenes_common::statement::FollowerStatus;

use super::follower::{Follower, SOURCES};
use super::history::{
    ENTRIES, STORIES, Said, Signer, at, batch, consistency, is_one_history, place, size, story,
    tree,
};
use super::{MAX_STEPS, Script};
use crate::follower::replica::{Class, Event, Fault, Hold, Next, Now};

/// Whatever a follower is shown: what it stores is the beginning of one history that the log
/// signed, it stops for proof alone, and a log that is true is followed to its end.
pub fn replica(data: &[u8]) {
    let mut script = Script(data);
    let Some(mode) = script.byte() else { return };
    let mut run = Run::new(mode % 4 == HONEST);
    for _ in 0..MAX_STEPS {
        let before = (run.follower.size(), run.follower.rows.latch.is_some());
        if run.step(&mut script).is_none() {
            break;
        }
        run.check(before);
    }
    run.finish();
}

// The first byte of a script, modulo 4; any other than `HONEST` is `EVIL`.
const HONEST: u8 = 0;
const EVIL: u8 = 1;

// What a step begins with, modulo 16; the numbers between repeat the smaller one.
const TRUE: u8 = 0;
const FLIPPED: u8 = 5;
const TOLD: u8 = 7;
const HEAD: u8 = 10;
const RESTART: u8 = 12;
const ACKNOWLEDGE: u8 = 13;
const CLOCK: u8 = 14;
const TROUBLE: u8 = 15;

/// Scripts to begin with.
pub(super) const SEEDS: &[&[&[u8]]] = &[
    // A true log to its end, in both encodings, over a restart.
    &[&[HONEST], &[TRUE, 0, 1, 0, 0], &[TRUE, 1, 4, 2, 1], &[RESTART], &[TRUE, 0, 6, 9, 0]],
    // The same with garbage between: a flipped byte, a head of a stranger, a gap, silence.
    &[
        &[HONEST],
        &[TRUE, 0, 3, 0, 0],
        &[FLIPPED, 1, 2, 5, 1, 3, 99, 4],
        &[HEAD, 2, 2, 9, 90, 5],
        &[TOLD, 0, 0, 0, 8, 90, 0, 2, 3, 0],
        &[TROUBLE, 1, 1],
        &[CLOCK, 160, 20],
        &[TRUE, 1, 6, 0, 1],
    ],
    // Two heads of one size; the operator lets it go on.
    &[
        &[EVIL],
        &[TRUE, 0, 3, 0, 0],
        &[HEAD, 1, 0, 9, 100, 0],
        &[HEAD, 2, 3, 9, 101, 0],
        &[RESTART],
        &[TRUE, 0, 3, 3, 0],
        &[ACKNOWLEDGE],
        &[TRUE, 0, 3, 3, 0],
    ],
    // A head is believed, and then the log grows into another tree of that size.
    &[&[EVIL], &[TRUE, 0, 3, 0, 0], &[HEAD, 1, 3, 7, 80, 0], &[TOLD, 0, 0, 0, 10, 110, 0, 6, 0, 0]],
    // An entry that breaks a rule; a head that names another last entry.
    &[&[EVIL], &[TRUE, 0, 5, 0, 0], &[TOLD, 1, 5, 5, 9, 99, 0, 4, 0, 5]],
    &[&[EVIL], &[TRUE, 0, 5, 0, 0], &[HEAD, 1, 0, 4, 30, 4], &[TRUE, 0, 2, 0, 0]],
    // Entries of one history under the head of another, with the proof of either.
    &[
        &[EVIL],
        &[TRUE, 0, 4, 0, 0],
        &[TOLD, 0, 3, 0, 9, 99, 0, 3, 0, 3],
        &[TOLD, 0, 3, 0, 9, 99, 0, 3, 10, 3],
        &[TROUBLE, 3, 0],
        &[TRUE, 0, 6, 0, 1],
    ],
];

/// A follower, and what it was shown so far.
struct Run {
    follower: Follower,
    is_honest: bool,
    /// What the log's key said within its hearing.
    shown: Vec<Said>,
}

impl Run {
    fn new(is_honest: bool) -> Self {
        let now = Now { wall: at(150), steady: 0 };
        Self { follower: Follower::new(now), is_honest, shown: Vec::new() }
    }

    fn step(&mut self, script: &mut Script<'_>) -> Option<()> {
        match script.below(16)? as u8 {
            TRUE..FLIPPED => {
                let (source, batch) = self.true_batch(script)?;
                let encoding = encoding(script.byte()?);
                self.show(source, &batch, encoding, None, Some(0));
            }
            FLIPPED..TOLD => {
                let (source, batch) = self.true_batch(script)?;
                let encoding = encoding(script.byte()?);
                let flip = [script.byte()?, script.byte()?, script.byte()?];
                self.show(source, &batch, encoding, Some(flip), Some(0));
            }
            TOLD..HEAD => self.told(script)?,
            HEAD..RESTART => {
                let source = script.below(SOURCES)?;
                let head = self.said(script)?;
                self.head(source, head);
            }
            RESTART => self.restart(),
            ACKNOWLEDGE => self.follower.acknowledge(),
            CLOCK => {
                let wall = at(script.byte()?);
                let steady = self.follower.now.steady + 1_000 * i64::from(script.byte()?);
                self.follower.now = Now { wall, steady };
                self.follower.on(Event::Tick);
            }
            TROUBLE.. => self.trouble(script)?,
        }
        Some(())
    }

    /// The next entries of the true log under one of its heads.
    fn true_batch(&mut self, script: &mut Script<'_>) -> Option<(usize, Batch)> {
        let (source, count, ahead) = (script.below(SOURCES)?, script.below(8)?, script.byte()?);
        let next = (self.follower.size() + count).min(ENTRIES);
        let size = (next + usize::from(ahead >> 4)).min(ENTRIES);
        let head = self.hear(Said::truly(size, usize::from(ahead)));
        Some((source, batch(head, self.follower.size(), count)))
    }

    /// Any entries under any head.
    fn told(&mut self, script: &mut Script<'_>) -> Option<()> {
        let (source, entries) = (script.below(SOURCES)?, script.below(STORIES)?);
        let head = self.said(script)?;
        let count = script.byte()?;
        let after = self.follower.size();
        let mut told = batch(head, after, usize::from(count % 16));
        let next = after + told.leaves.len();
        let leaves = &story(entries).leaves;
        told.leaves = leaves[after.min(next)..next].to_vec();
        let header = &mut told.header;
        match script.byte()? % 16 {
            3 => told = batch(head, after + 1, usize::from(count % 16)),
            4 => told = batch(head, after.saturating_sub(1), usize::from(count % 16)),
            5 if told.leaves.len() > 1 => told.leaves.swap(0, 1),
            6 => drop(told.leaves.pop()),
            7 if told.leaves.pop().is_some() => header.next_after -= 1,
            8 => drop(header.consistency_proof.pop()),
            9 => header.consistency_proof.reverse(),
            10 => header.consistency_proof = consistency(entries, next, head.size.max(next)),
            11 => header.has_more = !header.has_more,
            12 => told.leaves.extend(leaves.get(next).cloned()),
            13 => told.leaves.clear(),
            14 => {
                header.tree_head.tree_size = size(head.size.saturating_sub(1));
            }
            _ => {}
        }
        let teller = script.below(STORIES + 1)?;
        let teller = (teller < STORIES).then_some(teller);
        self.show(source, &told, encoding(count), None, teller);
        Some(())
    }

    fn show(
        &mut self,
        source: usize,
        batch: &Batch,
        encoding: Encoding,
        flip: Option<[u8; 3]>,
        teller: Option<usize>,
    ) {
        let mut bytes = encode(&batch.header, &batch.leaves, encoding);
        if let Some([high, low, bit]) = flip {
            let place = usize::from(u16::from_be_bytes([high, low])) % bytes.len();
            bytes[place] ^= 1 << (bit % 8);
        }
        self.follower.batch(source, &bytes, encoding, teller);
    }

    /// A head as the script has it; where the log is honest, what its key did not say is left to
    /// strangers.
    fn said(&mut self, script: &mut Script<'_>) -> Option<Said> {
        let (story, size) = (script.below(STORIES)?, script.below(ENTRIES + 1)?);
        let (slot, signer) = (script.byte()?, Signer::ALL[script.below(Signer::ALL.len())?]);
        let said = match signer {
            Signer::Log | Signer::LogOfAnotherEntry if self.is_honest => {
                Said::truly(size, usize::from(slot))
            }
            _ => Said { story, size, slot, signer },
        };
        Some(self.hear(said))
    }

    fn hear(&mut self, said: Said) -> Said {
        if said.is_signed() {
            self.shown.push(said);
        }
        said
    }

    /// A head by itself: where it and one that is remembered exclude each other, it stops.
    fn head(&mut self, source: usize, said: Said) {
        let follower = &mut self.follower;
        let seen = follower.replica.seen();
        let is_remembered = |known: &&Said| {
            let claim = known.json().claim();
            seen.iter().any(|seen| *seen.head() == claim)
        };
        let mut known = self.shown.iter().filter(is_remembered);
        let proves = known.any(|known| said.after(*known).is_some());
        let ahead = at(said.slot).millis_since(follower.now.wall);
        let is_heard = follower.size() > 0 && said.is_signed() && ahead <= 120_000;
        follower.head(source, said.json());
        let latched = follower.rows.latch.is_some();
        assert!(latched || !is_heard || !proves, "a contradiction is overlooked: {said:?}");
    }

    fn restart(&mut self) {
        let served = |follower: &Follower| follower.replica.served().cloned();
        let before = served(&self.follower);
        self.follower.restart();
        assert_eq!(served(&self.follower), before, "another head is served after a restart");
    }

    /// What befalls a follower beside what it is told.
    fn trouble(&mut self, script: &mut Script<'_>) -> Option<()> {
        let (what, source) = (script.byte()? % 8, script.below(SOURCES)?);
        let follower = &mut self.follower;
        match what {
            0 => follower.fail(source, Fault::RateLimited),
            1 => follower.fail(source, Fault::Unreachable),
            2 => drop(follower.on(Event::Held(Some(Hold::DiskFull)))),
            3 => {
                // What looked like proof is none; while that is found out, nothing is stored.
                let kind = Kind::ForkPrefix;
                let retry_at = follower.later(1_000);
                follower.on(Event::Proven(kind));
                let (after, head) = (follower.size(), Said::truly(ENTRIES, 9));
                self.hear(head);
                self.show(source, &batch(head, after, 1), Encoding::Binary, None, None);
                let latched = self.follower.rows.latch.is_some();
                assert_eq!(self.follower.size(), after, "stored while proof was at hand");
                self.follower.on(Event::Unproven { source, retry_at });
                assert_eq!(self.follower.replica.is_latched(), latched);
            }
            4 => follower.replica.forgive(),
            5 => follower.replica.set_heartbeat(1 << source),
            _ => drop(follower.on(Event::Held(Some(Hold::StoreUnreachable)))),
        }
        Some(())
    }

    /// What must hold after every step.
    fn check(&self, (size, was_latched): (usize, bool)) {
        let follower = &self.follower;
        let (rows, latch) = (&follower.rows, follower.rows.latch);
        assert!(follower.size() >= size, "it had {size} entries");
        assert!(!was_latched || follower.size() == size, "stored after it latched");
        assert_eq!(follower.replica.is_latched(), latch.is_some());
        let is_accused = latch.is_some() && !was_latched;
        assert!(!is_accused || !is_one_history(&self.shown), "a true log was accused");
        self.stores_what_was_signed();
        let own = |head: &SignedHead| follower.own(head.head().tree_size);
        let said = |head: &SignedHead| (head.head().tree(), head.head().chain_head);
        let own_size = rows.tree.size;
        assert_eq!(follower.own(own_size).0, rows.tree, "the state row has another root");
        if let Some(served) = follower.replica.served() {
            assert!(served.size() <= own_size, "a head is served that is not stored");
            assert_eq!(said(&served.signed), own(&served.signed), "it serves another tree");
        }
        let reached = follower.believed.iter().filter(|head| head.head().tree_size <= own_size);
        for head in reached.filter(|_| latch.is_none()) {
            assert_eq!(said(head), own(head), "it believed a head and stored another tree");
        }
        self.status_agrees();
    }

    /// What is stored is the beginning of a history, without the flaw in it, and the log signed a
    /// head over all of it.
    fn stores_what_was_signed(&self) {
        let (stored, size) = (&self.follower.rows.leaves, self.follower.size());
        let is_sound = |told: usize| story(told).flaw.is_none_or(|flaw| size <= flaw);
        let is_told = |told: usize| story(told).leaves.starts_with(stored);
        assert!((0..STORIES).any(|told| is_told(told) && is_sound(told)), "it stores a flaw");
        let mut signed = self.shown.iter().filter(|said| said.size >= size);
        assert!(
            size == 0 || signed.any(|said| is_told(said.story)),
            "nobody signed what it stores"
        );
    }

    fn status_agrees(&self) {
        let (follower, rows) = (&self.follower, &self.follower.rows);
        let status = follower.replica.status(follower.now);
        let is_latched = status.verdict.class == Some(Class::Latched);
        assert_eq!(is_latched, rows.latch.is_some());
        assert_eq!(status.evidence, rows.latch.map(|_| 1));
        assert_eq!(status.tree, rows.tree);
        let next = follower.replica.next(follower.now);
        assert_eq!(next == Next::Halted, is_latched);
        assert!(!is_latched || status.verdict.status == FollowerStatus::Error);
    }

    /// Whatever was before, the rest of the history that it is in is taken, unless it latched.
    fn finish(mut self) {
        let follower = &mut self.follower;
        follower.now = Now { wall: at(254), steady: follower.later(3_600_000).steady };
        let before = (follower.size(), follower.rows.latch.is_some());
        let fits = |told: &usize| {
            let agrees = |seen: SignedHead| {
                let size = place(seen.head().tree_size.get());
                let head = Said { story: *told, size, slot: 0, signer: Signer::Log };
                let own = head.json().claim();
                own.tree() == seen.head().tree() && own.chain_head == seen.head().chain_head
            };
            story(*told).flaw.is_none()
                && story(*told).leaves.starts_with(&follower.rows.leaves)
                && follower.replica.seen().into_iter().all(agrees)
        };
        let Some(told) = (0..STORIES).find(fits) else {
            return assert!(!is_one_history(&self.shown), "no history fits a true log");
        };
        let source = match follower.replica.next(follower.now) {
            Next::Ask(source) => source,
            Next::Halted => 0,
            Next::Wait(millis) => panic!("it waits for {millis} ms more after an hour"),
        };
        let head = Said { story: told, size: ENTRIES, slot: 255, signer: Signer::Log };
        self.hear(head);
        let rest = batch(head, before.0, ENTRIES);
        self.show(source, &rest, Encoding::Json, None, None);
        self.check(before);
        let follower = &self.follower;
        assert!(!(self.is_honest && before.1), "an honest log was accused");
        if !before.1 {
            assert_eq!(follower.rows.tree, tree(told, ENTRIES), "the honest batch was not taken");
            let verdict = follower.replica.status(follower.now).verdict;
            assert_eq!(verdict.status, FollowerStatus::Synced, "{:?}", verdict.reason);
        }
    }
}

fn encoding(byte: u8) -> Encoding {
    if byte & 16 == 0 { Encoding::Binary } else { Encoding::Json }
}
