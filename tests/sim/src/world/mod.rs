//! One run: what happens, in which order, and what must hold after each step.

mod book;
mod follower;
mod leader;
mod liar;
mod quorum;
mod truth;
mod witness;

pub use witness::killed_then_cut_off;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::clock::Clock as _;
use crate::head::{HeadJson, SignedHead};
use crate::merkle::{Hash, TreeRoot};
use crate::replica::{Fault, Now};
use crate::rng::Rng;
use crate::sequencer::SignedGuard;
use crate::statement::WitnessProof;
use crate::store::{Database, Faults, Store};
use crate::{disk, time};
use follower::{Answer, Ask, Dies, Follower, Wish};
use leader::{Answers, HOME, MachineClock, Process};
use liar::Evil;
use quorum::Tally;
use truth::{Broken, Held, Truth};
use witness::{Shown, Witness};

/// How long a run is, in virtual milliseconds, before everything that is broken is mended.
const STORM: u64 = 60_000;
/// How long all must be well afterwards.
const CALM: u64 = 120_000;

/// A run in which every invariant held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Which one.
    pub seed: u64,
    /// How many steps it had.
    pub steps: u64,
    /// A digest of everything that happened: two runs of one seed have the same.
    pub trace: u64,
}

/// A run in which one did not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which one; it is all that is needed to see it again.
    pub seed: u64,
    /// At which step.
    pub step: u64,
    /// At which virtual millisecond.
    pub at: u64,
    /// What happened last.
    pub event: String,
    /// Which invariant.
    pub invariant: &'static str,
    /// What was the case instead.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, step, at, event, invariant, detail } = self;
        write!(f, "seed {seed}: {invariant}: {detail} (step {step}, {at} ms: {event})")
    }
}

/// Runs one seed.
pub fn run(seed: u64) -> Result<Outcome, Violation> {
    time::reset();
    disk::reset();
    let mut world = World::new(seed);
    let result = world.live();
    world.process.kill();
    result.map_err(|(event, Broken { invariant, detail })| Violation {
        seed,
        step: world.steps,
        at: time::elapsed(),
        event,
        invariant,
        detail,
    })?;
    Ok(Outcome { seed, steps: world.steps, trace: world.trace })
}

/// Where a follower gets its batches from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// The leader, or who signs in its name.
    Leader,
    /// A server that changes what the leader says.
    Relay,
    /// Another follower.
    Follower(usize),
}

/// Something that happens at a moment.
#[derive(Clone, Debug)]
enum Event {
    /// Somebody has something to append.
    Append,
    /// A follower looks whether there is more.
    Poll(usize),
    /// A request arrives.
    Asked { follower: usize, serial: u64, source: usize, ask: Ask },
    /// An answer arrives.
    Answered { follower: usize, serial: u64, source: usize, answer: Box<Answer> },
    /// A witness makes a round.
    Round(usize),
    /// A proof arrives.
    Submitted { witness: usize, proof: Box<WitnessProof> },
    /// Something goes wrong.
    Trouble,
    /// The process of the leader is started.
    Start { accept_size: bool },
    /// Another database is put in the place of the newest one.
    Replace { by: Other },
    /// The newest one is put back.
    BringBack { forget_guard: bool },
    /// A process that should have been gone ends.
    EndZombie,
    /// The database is well again.
    Mend,
    /// The clock of the leader's machine is right again.
    SetClock,
    /// From here on nothing goes wrong any more.
    Calm,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered { follower, source, answer, .. } => {
                let what = match &**answer {
                    Answer::Batch(batch) => format!("{} entries", batch.leaves.len()),
                    Answer::Head(head) => format!("a head of {}", head.tree_size),
                    Answer::Nothing => "an error".to_owned(),
                };
                write!(f, "follower {follower} hears {what} from its source {source}")
            }
            Self::Submitted { witness, proof } => {
                write!(f, "witness {witness} submits size {}", proof.new_tree_size)
            }
            other => write!(f, "{other:?}"),
        }
    }
}

/// A database that is not the one that it should be.
#[derive(Clone, Copy, Debug)]
enum Other {
    /// An old copy, put back while the leader is down.
    Older,
    /// The same, with a data directory that has no guard.
    OlderWithoutGuard,
    /// The same entries at an earlier time, as of a copy that lacks heartbeats alone, while the leader
    /// is down and its clock is set back.
    Earlier,
    /// A history that parts from the signed one, while the leader is down.
    Forked,
    /// Another last entry, under the running leader.
    OtherLast,
    /// A later time, under the running leader.
    Later,
}

struct World {
    rng: Rng,
    queue: BTreeMap<(u64, u64), Event>,
    made: u64,
    steps: u64,
    trace: u64,
    is_calm: bool,
    clock: Arc<MachineClock>,
    store: Store,
    process: Process,
    zombie: Option<Process>,
    answers: Answers,
    /// Copies of the database, as backups take them.
    backups: Vec<Database>,
    /// The newest database while an old one is in its place.
    put_away: Option<(Database, Other)>,
    /// The size and the time that the database had.
    floor: (u64, i64),
    shown: Vec<HeadJson>,
    followers: Vec<(Follower, Vec<Source>)>,
    witnesses: Vec<Witness>,
    truth: Truth,
    evil: Option<Evil>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let clock = Arc::new(MachineClock::default());
        let store = Store::new(Database::empty(), rng.fork());
        leader::initialise(&store, &*clock);
        let is_evil = rng.percent(40);
        let count = usize::try_from(rng.between(1, 3)).unwrap_or(1);
        let evil = is_evil.then(|| Evil::new(count + 3, clock.now(), rng.fork()));
        let now = Now::of(&*clock);
        let followers = (0..count).map(|index| {
            let mut sources = vec![Source::Leader];
            if rng.percent(50) {
                sources.push(Source::Relay);
            }
            if index > 0 && rng.percent(50) {
                sources.push(Source::Follower(rng.place(index)));
            }
            if rng.percent(30) {
                sources.reverse();
            }
            (Follower::new(sources.len(), now), sources)
        });
        let followers = followers.collect();
        let witnesses =
            (0..u8::try_from(rng.between(1, 3)).unwrap_or(1)).map(Witness::new).collect();
        let process = Process::start(&store, &clock, None);
        let mut world = Self {
            rng,
            queue: BTreeMap::new(),
            made: 0,
            steps: 0,
            trace: seed,
            is_calm: false,
            clock,
            store,
            process,
            zombie: None,
            answers: Answers::default(),
            backups: Vec::new(),
            put_away: None,
            floor: (0, 0),
            shown: Vec::new(),
            followers,
            witnesses,
            truth: Truth::default(),
            evil,
        };
        world.plan();
        world
    }

    fn plan(&mut self) {
        self.after(100, Event::Append);
        for follower in 0..self.followers.len() {
            self.after(200, Event::Poll(follower));
        }
        for witness in 0..self.witnesses.len() {
            self.after(300, Event::Round(witness));
        }
        let first = self.rng.between(1_000, 10_000);
        self.after(first, Event::Trouble);
        self.after(STORM, Event::Calm);
    }

    fn after(&mut self, delay: u64, event: Event) {
        self.made += 1;
        self.queue.insert((time::elapsed() + delay, self.made), event);
    }

    fn soon(&mut self, least: u64, most: u64, event: Event) {
        let delay = self.rng.between(least, most);
        self.after(delay, event);
    }

    fn now(&self) -> Now {
        Now::of(&*self.clock)
    }

    fn live(&mut self) -> Result<(), (String, Broken)> {
        loop {
            let next = self.queue.keys().next().map_or(u64::MAX, |(due, _)| *due);
            let due = time::next_due().unwrap_or(u64::MAX).min(next);
            if due > STORM + CALM {
                break;
            }
            time::advance_to(due);
            self.turn().map_err(|broken| ("the leader works".to_owned(), broken))?;
            while let Some(entry) = self.queue.first_entry() {
                if entry.key().0 > time::elapsed() {
                    break;
                }
                let event = entry.remove();
                self.steps += 1;
                let name = event.to_string();
                let named = |broken| (name.clone(), broken);
                self.note(&name);
                self.happen(event).map_err(named)?;
                self.turn().and_then(|()| self.hold()).map_err(named)?;
            }
        }
        self.settled().map_err(|broken| ("the end".to_owned(), broken))
    }

    fn note(&mut self, name: &str) {
        let at = time::elapsed().to_be_bytes();
        for byte in name.bytes().chain(at) {
            self.trace = (self.trace ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// Lets the leader's tasks go on until all wait, and looks at what they show after each.
    fn turn(&mut self) -> Held {
        loop {
            let mut moved = self.process.tasks.step();
            self.look()?;
            if let Some(zombie) = &self.zombie {
                moved |= zombie.tasks.step();
                self.look()?;
            }
            if !moved {
                return Ok(());
            }
        }
    }

    /// Looks at what the leader shows and what it told its callers.
    fn look(&mut self) -> Held {
        let processes = std::iter::once(&self.process).chain(&self.zombie);
        let shown: Vec<_> = processes.filter_map(Process::snapshot).collect();
        for snapshot in shown {
            let signature = *snapshot.head.signature();
            // Two processes may show something in turn.
            if self.shown.iter().rev().take(4).all(|shown| shown.signature != signature) {
                let json: HeadJson = serde_json::from_str(&snapshot.head_text).expect("a head");
                self.note(&snapshot.head_text);
                self.shown.push(json);
                let server = self.store.server();
                let database = had(self.put_away.as_ref(), &snapshot.head);
                self.truth.signed(&snapshot.head, database.unwrap_or(&server.database))?;
            }
        }
        for appended in self.answers.take() {
            let server = self.store.server();
            let database = had(self.put_away.as_ref(), &appended.snapshot.head);
            self.truth.answered(&appended, database.unwrap_or(&server.database))?;
        }
        Ok(())
    }

    /// Every invariant.
    fn hold(&mut self) -> Held {
        let server = self.store.server();
        if self.put_away.is_none() {
            self.truth.receipts_are_durable(&server.database)?;
        }
        Truth::the_database_agrees_with_itself(&server.database)?;
        let state = server.database.state;
        let reached = (state.tree.size.get(), state.timestamp.millis());
        if reached.0 < self.floor.0 || reached.1 < self.floor.1 {
            return truth::broken!(
                "the_database_never_goes_back",
                "{:?} to {reached:?}",
                self.floor
            );
        }
        self.floor = reached;
        drop(server);
        for (follower, _) in &mut self.followers {
            truth::what_is_stored_holds(follower)?;
            truth::what_is_served_is_stored(follower)?;
            truth::a_believed_head_is_held_to(follower)?;
            truth::what_latches_is_proof(follower)?;
            truth::a_latched_follower_stands_still(follower)?;
            if self.evil.is_none() {
                self.truth.a_follower_holds_the_history(follower)?;
                Truth::an_honest_log_is_never_accused(follower)?;
            }
        }
        Ok(())
    }

    /// What must be the case when nothing went wrong for a while.
    fn settled(&self) -> Held {
        if self.evil.is_some() {
            return Ok(());
        }
        let largest = self.truth.largest();
        if self.process.has_ended() || self.process.snapshot().is_none() {
            let why = self.process.exit.borrow().as_ref().map(ToString::to_string);
            return truth::broken!("an_honest_leader_goes_on", "{why:?}");
        }
        for (index, (follower, _)) in self.followers.iter().enumerate() {
            if follower.size() != largest {
                return truth::broken!(
                    "a_follower_of_an_honest_log_catches_up",
                    "follower {index} is at {} of {largest}",
                    follower.size()
                );
            }
        }
        Ok(())
    }

    fn happen(&mut self, event: Event) -> Held {
        match event {
            Event::Append => self.append(),
            Event::Poll(follower) => self.poll(follower),
            Event::Asked { follower, serial, source, ask } => {
                self.asked(follower, serial, source, &ask);
            }
            Event::Answered { follower, serial, source, answer } => {
                self.answered(follower, serial, source, *answer);
            }
            Event::Round(witness) => self.round(witness)?,
            Event::Submitted { witness, proof } => self.submitted(witness, &proof)?,
            Event::Trouble => self.trouble(),
            Event::Start { accept_size } => self.start(accept_size),
            Event::Replace { by } => self.replace(by),
            Event::BringBack { forget_guard } => self.bring_back(forget_guard),
            Event::EndZombie => {
                if let Some(zombie) = self.zombie.take() {
                    zombie.kill();
                }
            }
            Event::Mend => {
                let mut server = self.store.server();
                server.faults = Faults::default();
                server.settle();
            }
            Event::SetClock => self.clock.offset.store(0, Ordering::Relaxed),
            Event::Calm => self.calm(),
        }
        Ok(())
    }

    fn append(&mut self) {
        if let Some(evil) = &mut self.evil {
            evil.grow(self.clock.now());
        }
        if !self.is_calm {
            let count = self.rng.between(1, 4);
            let texts = (0..count).map(|_| format!("{:x}", self.rng.next())).collect();
            self.process.append(texts, &self.answers);
            if let Some(zombie) = &self.zombie {
                zombie.append(vec![format!("{:x}", self.rng.next())], &self.answers);
            }
            self.soon(50, 3_000, Event::Append);
        }
        // Whoever watches the leader starts it again.
        if self.process.has_ended() && self.put_away.is_none() {
            self.process.kill();
            self.soon(10, 500, Event::Start { accept_size: false });
        }
        if self.rng.percent(20) && self.put_away.is_none() {
            let copy = self.store.server().database.clone();
            self.backups.push(copy);
        }
    }

    fn poll(&mut self, index: usize) {
        let now = self.now();
        let limit = self.rng.between(1, 12);
        let (follower, _) = &mut self.followers[index];
        let is_waiting = follower.waiting.is_some_and(|(.., until)| time::elapsed() < until);
        if !is_waiting {
            if let Some((_, source, _)) = follower.waiting.take() {
                follower.unreachable(source, now);
            }
            for (source, ask) in follower.poll(limit, now) {
                self.made += 1;
                let serial = self.made;
                if matches!(ask, Ask::Batch { .. }) {
                    self.followers[index].0.waiting =
                        Some((serial, source, time::elapsed() + 4_000));
                }
                self.send(10, Event::Asked { follower: index, serial, source, ask });
            }
        }
        self.soon(300, 1_200, Event::Poll(index));
    }

    /// Sends a message: it may be lost, come late, and come twice.
    fn send(&mut self, lost: u64, event: Event) {
        let (lost, twice) = if self.is_calm { (0, 0) } else { (lost, 5) };
        if self.rng.percent(lost) {
            return;
        }
        if self.rng.percent(twice) {
            self.soon(1, 6_000, event.clone());
        }
        let slow = if self.is_calm { 50 } else { *self.rng.pick(&[20, 20, 200, 3_000]) };
        self.soon(1, slow, event);
    }

    fn asked(&mut self, follower: usize, serial: u64, source: usize, ask: &Ask) {
        let now = self.clock.now();
        let answer = match self.followers[follower].1[source] {
            Source::Follower(other) => {
                let (other, _) = &self.followers[other];
                other.replica.served().map_or(Answer::Nothing, |served| {
                    respond(&other.durable.book, &served.json, ask)
                })
            }
            of => match &mut self.evil {
                Some(evil) => evil.answer(follower, ask, now),
                None => {
                    let honest = self.leader_answers(ask);
                    let harms = of == Source::Relay && !self.is_calm && self.rng.percent(70);
                    let server = self.store.server();
                    if harms {
                        liar::harm(honest, &server.database, &self.shown, &mut self.rng)
                    } else {
                        honest
                    }
                }
            },
        };
        let answer = Box::new(answer);
        self.send(10, Event::Answered { follower, serial, source, answer });
    }

    fn leader_answers(&self, ask: &Ask) -> Answer {
        let Some(snapshot) = self.process.snapshot() else { return Answer::Nothing };
        if self.process.has_ended() {
            return Answer::Nothing;
        }
        let json: HeadJson = serde_json::from_str(&snapshot.head_text).expect("a head");
        respond(&self.store.server().database, &json, ask)
    }

    fn answered(&mut self, index: usize, serial: u64, source: usize, answer: Answer) {
        let now = self.now();
        let dies = if self.is_calm || !self.rng.percent(2) {
            None
        } else if self.rng.percent(50) {
            Some(Dies::BeforeCommit)
        } else {
            Some(Dies::AfterCommit)
        };
        let follower = &mut self.followers[index].0;
        if matches!(answer, Answer::Batch(_)) {
            // Who asks for a batch hears one answer, and none that is too late.
            if follower.waiting.is_none_or(|(waiting, ..)| waiting != serial) {
                return;
            }
            follower.waiting = None;
        }
        match follower.take(source, answer, dies, now) {
            Ok(Wish::Nothing) => {}
            Ok(Wish::Proof { source, known, head, fault }) => {
                let answers = self.proofs(index, &known, &head);
                let follower = &mut self.followers[index].0;
                follower.proof(source, [&known, &head], &answers, fault, now);
            }
            Err(_) => self.followers[index].0.restart(now),
        }
        self.note(&format!("{}", self.followers[index].0.size()));
        let follower = &mut self.followers[index].0;
        if follower.durable.latched.is_some() && self.rng.percent(10) {
            follower.acknowledge(now);
        }
    }

    /// What every source says about the way from one head to another.
    fn proofs(
        &mut self,
        follower: usize,
        known: &SignedHead,
        head: &SignedHead,
    ) -> Vec<(Hash, Vec<Hash>)> {
        let (first, second) = (known.head().tree_size.get(), head.head().tree_size.get());
        let server = self.store.server();
        let honest = book::consistency(&server.database, first, second);
        let given = match &mut self.evil {
            Some(evil) => evil.proof(follower, first, second),
            None => honest,
        };
        given.into_iter().collect()
    }

    fn round(&mut self, number: usize) -> Held {
        self.soon(500, 4_000, Event::Round(number));
        let now = self.clock.now();
        let server = self.store.server();
        let head = match &mut self.evil {
            Some(evil) => match evil.answer(self.followers.len() + number, &Ask::Head, now) {
                Answer::Head(head) => Some(*head),
                _ => None,
            },
            None => self
                .process
                .snapshot()
                .map(|snapshot| serde_json::from_str(&snapshot.head_text).expect("a head")),
        };
        let (Some(head), Some(genesis)) = (head, server.database.leaves.first()) else {
            return Ok(());
        };
        let genesis = match &self.evil {
            Some(evil) => evil.branches[0].leaves[0].bytes(),
            None => genesis.bytes(),
        };
        let books: Vec<&Database> = match &self.evil {
            Some(evil) => evil.branches.iter().collect(),
            None => vec![self.put_away.as_ref().map_or(&server.database, |(newest, _)| newest)],
        };
        // Whoever serves a head has the proof that leads to it.
        let root = head.root_hash;
        let consistency = |first: u64, second: u64| {
            let leads = |book: &&&Database| {
                second != head.tree_size.get()
                    || book.tree(book::size(second)).is_some_and(|tree| tree.hash == root)
            };
            let book = books.iter().find(leads)?;
            (first <= second && second <= book.size())
                .then(|| book::consistency(book, first, second).map(|(_, proof)| proof))
                .flatten()
        };
        let answers = self.is_calm || self.rng.percent(80);
        let shown = Shown { genesis, head: head.clone(), consistency: &consistency, answers };
        let cuts = if self.is_calm { 0 } else { 15 };
        let witness = &mut self.witnesses[number];
        let proof = witness.round(&shown, now, &mut self.rng, cuts)?;
        let has = |book: &&&Database, tree: &TreeRoot| book.tree(tree.size).as_ref() == Some(tree);
        let are_one = |old: &TreeRoot, new: &TreeRoot| {
            books.iter().any(|book| has(&book, old) && has(&book, new))
        };
        witness.signs_one_history(are_one)?;
        drop(server);
        if let Some(proof) = proof {
            self.note(&format!("{number} {}", proof.new_root));
            self.send(15, Event::Submitted { witness: number, proof: Box::new(proof) });
        }
        Ok(())
    }

    fn submitted(&mut self, number: usize, proof: &WitnessProof) -> Held {
        let tree = TreeRoot { size: proof.new_tree_size, hash: proof.new_root };
        let recorded = &mut self.witnesses[number].recorded;
        if recorded.last().is_none_or(|last| last.size < tree.size) {
            recorded.push(tree);
        }
        let Some(mut tally) = Tally::new(&proof.head.checkpoint, tree) else { return Ok(()) };
        tally.add(proof);
        let named = self.rng.place(self.witnesses.len());
        if let Some(home) = self.witnesses[named].home()
            && self.rng.percent(50)
        {
            tally.forge(&home.vkey(), &mut self.rng);
        }
        tally.only_real_signatures_count(&self.witnesses)
    }

    fn trouble(&mut self) {
        if self.is_calm {
            return;
        }
        let witness = self.rng.place(self.witnesses.len());
        match self.rng.below(4) {
            0 => self.witnesses[witness].crash(&mut self.rng),
            1 => self.witnesses[witness].roll_back(),
            _ => self.witnesses[witness].take_backup(),
        }
        if self.evil.is_none() {
            match self.rng.below(7) {
                0 => self.crash(false),
                1 => self.crash(true),
                2 => {
                    self.store.server().faults.is_down = true;
                    self.soon(100, 9_000, Event::Mend);
                }
                3 => {
                    let (lost_answer, limbo) = (self.rng.below(60), self.rng.below(60));
                    let disk = self.rng.below(10);
                    self.store.server().faults =
                        Faults { is_down: false, lost_answer, limbo, disk };
                    self.soon(500, 5_000, Event::Mend);
                }
                4 => self.set_clock(-200_000, 200_000),
                5 if self.zombie.is_none() && self.put_away.is_none() => {
                    let next = Process::start(&self.store, &self.clock, None);
                    self.zombie = Some(std::mem::replace(&mut self.process, next));
                    self.soon(500, 6_000, Event::EndZombie);
                }
                _ => {
                    let by = *self.rng.pick(&[
                        Other::Older,
                        Other::OlderWithoutGuard,
                        Other::Earlier,
                        Other::Forked,
                        Other::OtherLast,
                        Other::Later,
                    ]);
                    self.after(0, Event::Replace { by });
                }
            }
        }
        if self.rng.percent(40) {
            let index = self.rng.place(self.followers.len());
            let now = self.now();
            self.followers[index].0.restart(now);
        }
        self.soon(500, 8_000, Event::Trouble);
    }

    fn crash(&mut self, loses_power: bool) {
        self.process.kill();
        if let Some(zombie) = self.zombie.take() {
            zombie.kill();
        }
        if loses_power {
            disk::power_cut(Path::new(HOME), &mut self.rng);
        } else {
            disk::kill(Path::new(HOME));
        }
        self.soon(10, 3_000, Event::Start { accept_size: false });
    }

    fn start(&mut self, accept_size: bool) {
        // A database that is swapped under a running leader is put back before the next start.
        if matches!(self.put_away, Some((_, Other::OtherLast | Other::Later))) {
            return;
        }
        self.process.kill();
        let size = self.store.server().database.size();
        // Nobody vouches for a copy that they know to be old.
        let accepted = accept_size && self.put_away.is_none();
        self.process = Process::start(&self.store, &self.clock, accepted.then_some(size));
    }

    /// Sets the leader's clock wrong by so many milliseconds, for a while.
    fn set_clock(&mut self, least: i64, most: i64) {
        let by = self.rng.between(0, most.abs_diff(least));
        self.clock.offset.store(least.saturating_add_unsigned(by), Ordering::Relaxed);
        self.soon(500, 9_000, Event::SetClock);
    }

    /// Puts another database in the place of the newest one, which is kept.
    fn replace(&mut self, by: Other) {
        if self.put_away.is_some() || self.evil.is_some() {
            return;
        }
        self.store.server().settle();
        let newest = self.store.server().database.clone();
        let Some(other) = self.other(by, &newest) else { return };
        if !matches!(by, Other::OtherLast | Other::Later) {
            self.crash(false);
        }
        self.store.server().database = other;
        self.floor = (0, 0);
        self.put_away = Some((newest, by));
        let forget_guard = matches!(by, Other::OlderWithoutGuard);
        if forget_guard {
            disk::remove_file(Path::new(HOME).join("signed-guard")).ok();
        }
        if matches!(by, Other::Earlier) {
            self.set_clock(-50_000, 0);
        }
        self.soon(4_000, 12_000, Event::BringBack { forget_guard });
    }

    fn other(&mut self, by: Other, newest: &Database) -> Option<Database> {
        let guard = SignedGuard::read(Path::new(HOME)).ok().flatten();
        let signed = guard.as_ref().map_or(u64::MAX, |guard| guard.tree_size.get());
        match by {
            // What is older than the guard, the guard tells; it may trail by a second.
            Other::Older | Other::OlderWithoutGuard => {
                let mut older = self.backups.iter().rev().filter(|old| old.size() < signed);
                older.next().cloned()
            }
            Other::Earlier => {
                // What the guard did not see yet, it cannot tell.
                guard.filter(|guard| guard.timestamp == newest.state.timestamp)?;
                let mut earlier = newest.clone();
                earlier.state.timestamp = newest.leaves.last()?.timestamp();
                Some(earlier)
            }
            Other::Forked => {
                let from = self.rng.between(1, newest.size().min(signed).checked_sub(1)?.max(1));
                let mut forked = liar::cut(newest, from);
                while forked.size() < newest.size() + 2 {
                    let now = newest.state.timestamp;
                    book::append(&mut forked, "x-sim:note", b"{\"text\":\"another\"}", now);
                }
                (from < signed && signed < u64::MAX).then_some(forked)
            }
            Other::OtherLast => {
                let mut other = liar::cut(newest, newest.size().checked_sub(1).filter(|n| *n > 0)?);
                let now = newest.state.timestamp;
                book::append(&mut other, "x-sim:note", b"{\"text\":\"another\"}", now);
                other.state.writer = newest.state.writer;
                Some(other)
            }
            Other::Later => {
                let mut later = newest.clone();
                later.state.timestamp = later.state.timestamp.plus_millis(50_000);
                Some(later)
            }
        }
    }

    fn bring_back(&mut self, forget_guard: bool) {
        let Some((newest, _)) = self.put_away.take() else { return };
        let signed = self.process.snapshot().map(|snapshot| snapshot.head.head().timestamp);
        self.process.kill();
        let mut server = self.store.server();
        server.settle();
        // A leader may have gone on with the same entries at a later time: nothing is wrong then.
        let is_used = server.database.size() > newest.size()
            || signed.is_some_and(|signed| signed > newest.state.timestamp);
        let goes_on = is_used && server.database.leaves.starts_with(&newest.leaves);
        // It may have gone on from another last entry, too, if the one that was put away was never
        // signed. Nobody puts a database back that lacks what was signed since.
        if !goes_on && self.truth.is_in(&newest) {
            server.database = newest;
        }
        drop(server);
        self.floor = (0, 0);
        self.soon(10, 500, Event::Start { accept_size: forget_guard });
    }

    fn calm(&mut self) {
        self.is_calm = true;
        if self.put_away.is_some() {
            self.bring_back(true);
        }
        if let Some(zombie) = self.zombie.take() {
            zombie.kill();
        }
        let mut server = self.store.server();
        server.faults = Faults::default();
        server.settle();
        drop(server);
        self.clock.offset.store(0, Ordering::Relaxed);
        self.soon(1_000, 2_000, Event::Start { accept_size: true });
    }
}

/// The database that was put away, if it has what a head is about: it may have been swapped between
/// the commit and the signature.
fn had<'a>(put_away: Option<&'a (Database, Other)>, head: &SignedHead) -> Option<&'a Database> {
    put_away.map(|(newest, _)| newest).filter(|newest| truth::has(newest, head.head()))
}

/// What an honest server answers from its history.
fn respond(book: &Database, head: &HeadJson, ask: &Ask) -> Answer {
    match ask {
        Ask::Head => Answer::Head(Box::new(head.clone())),
        Ask::Batch { after, limit } => {
            if *after > head.tree_size.get() || head.tree_size.get() > book.size() {
                return Answer::Nothing;
            }
            let batch = book::batch(book, head, *after, *limit);
            batch.map_or(Answer::Nothing, |batch| Answer::Batch(Box::new(batch)))
        }
    }
}
