//! The witness's judge under a script of heads, proofs, old copies of its state and memories.

use diogenes_common::evidence::{self, Accused, Evidence, Observed, Proof};
use diogenes_common::head::Contradiction;
use diogenes_common::leaf::Leaf;
use diogenes_common::merkle::{Hash, TreeRoot, TreeSize};

use super::history::{
    ENTRIES, OPERATOR, STORIES, Said, Signer, at, consistency, origin, story, tree,
};
use super::{MAX_STEPS, Script};
use crate::judge::{
    Answer, Candidate, Comparison, Known, Memory, Refusal, Seen, Verdict, compare, judge as decide,
    remember,
};

/// A witness goes only from a tree to one that extends it, of two heads that exclude each other it
/// makes proof, and a memory that lost a signature is noticed.
pub fn judge(data: &[u8]) {
    let mut script = Script(data);
    let mut run = Run::default();
    for _ in 0..MAX_STEPS {
        if run.step(&mut script).is_none() {
            break;
        }
    }
}

// What a step begins with, modulo 12; the numbers between repeat the smaller one.
const SHOW: u8 = 0;
const NEXT: u8 = 3;
const REMEMBER: u8 = 6;
const ROLL_BACK: u8 = 7;
const CLOCK: u8 = 9;
const COMPARE: u8 = 10;
const DROP_HEAD: u8 = 11;

/// Scripts to begin with.
pub(super) const SEEDS: &[&[&[u8]]] = &[
    // A log that only grows.
    &[&[NEXT, 1, 0, 0], &[NEXT, 4, 0, 0], &[NEXT, 3, 3, 0], &[NEXT, 4, 0, 0]],
    // The same with wrong proofs, and with heads of a stranger, from the future and of old.
    &[
        &[NEXT, 5, 0, 0],
        &[SHOW, 0, 9, 100, 0, 3, 0],
        &[SHOW, 0, 9, 100, 0, 4, 77],
        &[SHOW, 0, 9, 100, 0, 5, 4],
        &[SHOW, 0, 9, 100, 5, 0, 0],
        &[CLOCK, 10],
        &[SHOW, 0, 9, 100, 0, 0, 0],
        &[CLOCK, 250],
        &[SHOW, 0, 9, 100, 0, 0, 0],
        &[CLOCK, 150],
        &[SHOW, 0, 9, 100, 0, 0, 0],
    ],
    // Forks: at the kept size, further on, smaller and later, larger and earlier.
    &[
        &[NEXT, 7, 0, 0],
        &[SHOW, 3, 7, 90, 0, 0, 0],
        &[SHOW, 3, 9, 120, 0, 0, 0],
        &[SHOW, 3, 9, 120, 0, 6, 0],
        &[SHOW, 0, 4, 120, 0, 0, 0],
        &[SHOW, 0, 9, 20, 0, 0, 0],
        &[SHOW, 0, 7, 90, 4, 0, 0],
        &[DROP_HEAD],
        &[SHOW, 3, 7, 90, 0, 0, 0],
        &[COMPARE, 0, 6, 50, 0, 3, 6, 60, 0],
        &[COMPARE, 0, 6, 50, 0, 0, 9, 60, 0],
    ],
    // An old copy of the state is put back; somebody remembers, or nobody.
    &[
        &[NEXT, 3, 0, 0],
        &[NEXT, 3, 0, 0],
        &[NEXT, 3, 0, 0],
        &[ROLL_BACK, 1],
        &[REMEMBER, 1, 0, 0, 0, 0, 0, 0, 0],
        &[REMEMBER, 2, 0, 1, 0, 0, 0, 0, 0],
        &[NEXT, 1, 0, 0],
        &[REMEMBER, 0, 1, 2, 0, 0, 0, 0, 0],
        &[REMEMBER, 5, 2, 3, 3, 3, 4, 1, 0],
    ],
];

/// What a witness keeps of one log.
#[derive(Clone, Default)]
struct State {
    /// The head that it stands at.
    at: Option<Said>,
    /// Whether the head is kept, or its tree alone.
    keeps_head: bool,
    /// Every tree that it has stood at.
    stood: Vec<TreeRoot>,
}

impl State {
    fn tree(&self) -> TreeRoot {
        self.at.map_or(TreeRoot::EMPTY, Said::tree)
    }

    fn root_at(&self, size: TreeSize) -> Option<Hash> {
        self.stood.iter().find(|tree| tree.size == size).map(|tree| tree.hash)
    }

    fn head(&self) -> Option<Said> {
        self.at.filter(|_| self.keeps_head)
    }
}

struct Run {
    state: State,
    /// Every state that it was in; the last one is that of its newest signature.
    past: Vec<State>,
    /// Every head whose tree it signed.
    signed: Vec<Said>,
    /// Whether it knows that it has not forgotten anything.
    remembers: bool,
    clock: i64,
}

impl Default for Run {
    fn default() -> Self {
        let past = vec![State::default()];
        Self { state: State::default(), past, signed: Vec::new(), remembers: true, clock: 300 }
    }
}

impl Run {
    fn step(&mut self, script: &mut Script<'_>) -> Option<()> {
        match script.below(12)? as u8 {
            SHOW..NEXT => {
                let said = said(script)?;
                let proof = [script.byte()?, script.byte()?];
                self.show(said, proof);
            }
            NEXT..REMEMBER => {
                let (more, late) = (script.below(6)?, script.below(10)?);
                let size = self.state.at.map_or(0, |at| at.size) + more;
                let proof = [script.byte()?, 0];
                self.show(Said::truly(size.min(ENTRIES), late), proof);
            }
            REMEMBER => self.remember(script)?,
            ROLL_BACK..CLOCK => {
                // Also to where it is: then it was only started again.
                let to = script.below(self.past.len())?;
                self.state = self.past[to].clone();
                self.remembers = false;
            }
            CLOCK => {
                let seconds = i64::from(script.byte()?);
                let passed = if seconds < 240 { 2 * seconds } else { 7_200 + 30 * (seconds - 240) };
                self.clock = passed;
            }
            COMPARE => Self::compare(said(script)?, said(script)?),
            DROP_HEAD.. => self.state.keeps_head = false,
        }
        Some(())
    }

    fn show(&mut self, said: Said, proof: [u8; 2]) {
        let Some(seen) = recognise(said) else { return };
        let now = at(0).plus_millis(1000 * self.clock);
        let head = self.state.head();
        let kept = head.map(|head| recognise(head).expect("a head that was kept"));
        let signed = kept.as_ref().map(Seen::signed);
        let known = Known { tree: self.state.tree(), head: signed, genesis: genesis() };
        let verdict = decide(&known, seen.clone(), now);
        let reason = verdict.as_ref().map_err(Refusal::reason);
        let larger = reason.map(|verdict| matches!(verdict, Verdict::Larger(_)));
        assert_eq!(larger, self.expected(said), "{said:?} at {:?}", self.state.at);
        match verdict {
            Ok(Verdict::Larger(candidate)) => self.prove(said, *candidate, proof),
            Ok(Verdict::Unchanged) => assert_eq!(said.tree(), self.state.tree()),
            Err(Refusal::Contradicted(found)) => {
                convicts(found, kept.as_ref().expect("it contradicts a head"), &seen);
            }
            Err(_) => {}
        }
    }

    /// What the rules say, from what was said and the clock alone.
    fn expected(&self, said: Said) -> Result<bool, &'static str> {
        if let Some(found) = self.state.head().and_then(|head| said.after(head)) {
            return Err(found.as_str());
        }
        let size = self.state.at.map_or(0, |at| at.size);
        let age = self.clock - 2 * i64::from(said.slot);
        match said.size.cmp(&size) {
            std::cmp::Ordering::Equal if said.tree() == self.state.tree() => Ok(false),
            std::cmp::Ordering::Equal => Err("other_root"),
            std::cmp::Ordering::Less => Err("backwards"),
            std::cmp::Ordering::Greater if age < -120 => Err("head_in_future"),
            std::cmp::Ordering::Greater if age > 7_200 => Err("leader_stale"),
            std::cmp::Ordering::Greater => Ok(true),
        }
    }

    fn prove(&mut self, said: Said, candidate: Candidate, [which, what]: [u8; 2]) {
        let base = self.state.at.map_or(1, |at| at.size.max(1));
        let known = if self.state.tree() == TreeRoot::EMPTY {
            TreeRoot { hash: genesis(), ..tree(0, 1) }
        } else {
            self.state.tree()
        };
        assert_eq!(candidate.base(), known);
        let right = consistency(said.story, base, said.size);
        let offered = offer(said, base, right.clone(), which, usize::from(what));
        let extends = tree(said.story, base) == known;
        match candidate.prove(&offered) {
            Ok(extension) => {
                assert!(extends, "{said:?} does not extend {:?}", self.state.at);
                assert_eq!(offered, right, "another proof than the one there is");
                assert_eq!(extension.old(), self.state.tree());
                assert_eq!(extension.seen().tree(), said.tree());
                self.advance(said);
            }
            Err(refusal) => {
                assert_eq!(refusal.reason(), "inconsistent_unproven");
                assert!(!extends || offered != right, "the true proof is refused");
                self.expose(said, extends);
            }
        }
    }

    /// A fork that has no proof of its own is proven by the true one of the other history.
    fn expose(&self, said: Said, extends: bool) {
        let Some(head) = self.state.head().filter(|_| !extends) else { return };
        let (other, steps) =
            (tree(said.story, head.size), consistency(said.story, head.size, said.size));
        let [small, large] = [head, said].map(|head| recognise(head).expect("signed heads"));
        let heads = [small.signed().into(), large.signed().into()];
        let steps = vec![Proof::consistency(other, said.tree(), steps)];
        holds(&evidence::fork_prefix(accused(), heads, steps, &observed()));
    }

    /// Signs, as far as this process knows that it has not forgotten anything.
    fn advance(&mut self, said: Said) {
        if !self.remembers {
            return;
        }
        for before in &self.signed {
            assert!(before.size < said.size, "signed {before:?}, then {said:?}");
            assert_eq!(tree(said.story, before.size), before.tree(), "two histories are signed");
        }
        self.signed.push(said);
        self.state.at = Some(said);
        self.state.keeps_head = true;
        self.state.stood.push(said.tree());
        self.past.push(self.state.clone());
    }

    fn remember(&mut self, script: &mut Script<'_>) -> Option<()> {
        let leader = self.answer(script)?;
        let count = script.below(3)?;
        let vantages: Option<Vec<Answer>> = (0..count).map(|_| self.answer(script)).collect();
        let (vantages, known) = (vantages?, self.state.tree());
        let memory = remember(known, |size| self.state.root_at(size), &leader, &vantages);
        let all: Vec<TreeRoot> = std::iter::once(&leader).chain(&vantages).flat_map(told).collect();
        let contradicts =
            |tree: &&TreeRoot| self.state.root_at(tree.size).is_some_and(|own| own != tree.hash);
        let largest = all.iter().map(|tree| tree.size).max().unwrap_or(TreeSize::ZERO);
        let answered = leader != Answer::Missing
            && (count == 0 || vantages.iter().any(|answer| *answer != Answer::Missing));
        match memory {
            Memory::Equivocated { signed, ours } => {
                assert!(all.contains(&signed) && signed.hash != ours);
                assert_eq!(self.state.root_at(signed.size), Some(ours));
            }
            Memory::RolledBack { signed } => {
                assert!(all.contains(&signed) && signed.size > known.size);
                assert_eq!(signed.size, largest);
                if self.signed.last().is_some_and(|last| last.tree() == signed) {
                    // The operator recovers what was signed.
                    self.state = self.past.last().cloned().unwrap_or_default();
                    self.remembers = true;
                }
            }
            Memory::Confirmed | Memory::Incomplete => {
                assert_eq!(all.iter().find(contradicts), None, "signed two roots of one size");
                assert!(largest <= known.size, "a signature ahead of the state is overlooked");
                assert_eq!(memory == Memory::Confirmed, answered);
                // Where everybody is silent about it, nothing can be known.
                let newest = self.signed.last().map(|last| last.tree());
                let is_told = newest.is_none_or(|newest| all.contains(&newest));
                self.remembers |= memory == Memory::Confirmed && is_told;
            }
        }
        Some(())
    }

    /// What a source says of this witness's signatures.
    fn answer(&self, script: &mut Script<'_>) -> Option<Answer> {
        let signed: Vec<TreeRoot> = self.signed.iter().map(|said| said.tree()).collect();
        Some(match script.byte()? % 6 {
            0 => Answer::Missing,
            1 => Answer::Signed(Vec::new()),
            2 => Answer::Signed(signed.last().copied().into_iter().collect()),
            3 => Answer::Signed(signed),
            4 => {
                let place = script.below(signed.len().max(1))?;
                Answer::Signed(signed.get(place).copied().into_iter().collect())
            }
            _ => {
                let (told, size) = (script.below(STORIES)?, script.below(ENTRIES + 1)?);
                Answer::Signed(signed.into_iter().chain([tree(told, size)]).collect())
            }
        })
    }

    fn compare(one: Said, two: Said) {
        let (Some(here), Some(there)) = (recognise(one), recognise(two)) else { return };
        match compare(&here, &there) {
            Comparison::Same => {
                assert_eq!((one.tree(), two.after(one)), (two.tree(), None));
            }
            Comparison::NeedsProof { old, new } => {
                assert_eq!(two.after(one), None);
                assert!(old.size < new.size);
                let both = [one.tree(), two.tree()];
                assert!(both == [old, new] || both == [new, old]);
            }
            Comparison::Contradicted(found) => {
                assert_eq!(two.after(one), Some(found.into()));
                convicts(found, &here, &there);
            }
        }
    }
}

/// A head as the script has it.
fn said(script: &mut Script<'_>) -> Option<Said> {
    Some(Said {
        story: script.below(STORIES)?,
        size: script.below(ENTRIES + 1)?,
        slot: script.byte()?,
        signer: Signer::ALL[script.below(Signer::ALL.len())?],
    })
}

/// The head if the log's key signed it for this log, which is not for the head to say.
fn recognise(said: Said) -> Option<Seen> {
    let seen = Seen::recognise(said.json(), OPERATOR.public(), &origin());
    assert_eq!(seen.is_ok(), said.is_signed(), "{said:?}");
    seen.ok()
}

/// The proof that is asked for, or what a source sends instead.
fn offer(said: Said, base: usize, mut right: Vec<Hash>, which: u8, what: usize) -> Vec<Hash> {
    match which % 8 {
        3 => drop(right.pop()),
        4 if !right.is_empty() => {
            let place = what / 8 % right.len();
            let mut bytes = *right[place].as_bytes();
            bytes[what % bytes.len()] ^= 1 << (what % 8);
            right[place] = Hash::from_slice(&bytes).expect("32 bytes");
        }
        5 => right = consistency(said.story, what % (said.size + 1), said.size),
        6 => right = consistency(what % STORIES, base, said.size),
        7 => right.push(Hash::of(b"one more")),
        _ => {}
    }
    right
}

fn told(answer: &Answer) -> Vec<TreeRoot> {
    match answer {
        Answer::Signed(trees) => trees.clone(),
        Answer::Missing => Vec::new(),
    }
}

fn genesis() -> Hash {
    Hash::of_leaf(&story(0).leaves[0])
}

fn accused() -> Accused {
    let genesis = Leaf::parse(story(0).leaves[0].as_slice()).expect("a genesis");
    Accused::log(OPERATOR.public(), &genesis)
}

fn observed() -> Observed {
    Observed { at: at(200), by: "a witness".to_owned() }
}

fn convicts(found: Contradiction, earlier: &Seen, later: &Seen) {
    let heads = [earlier.signed(), later.signed()];
    holds(&evidence::contradiction(found, accused(), heads, &observed()));
}

/// Whoever has the file alone sees what it proves.
fn holds(file: &Evidence) {
    let bytes = file.to_bytes();
    let proven = evidence::verify(&bytes, None, Some(OPERATOR.fingerprint()));
    let text = String::from_utf8_lossy(&bytes);
    assert_eq!(proven.map(|proven| proven.kind), Ok(file.kind()), "no proof: {text}");
}
