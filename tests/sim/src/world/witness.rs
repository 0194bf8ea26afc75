//! A witness: the production state, judge and amnesia check, on a disk that may lose power at any
//! operation.
//!
//! What stands here in place of `witness/src/agent/` takes the same steps in the same order: check
//! the own memory, sign what a crash left unsigned, fetch, judge, prove, advance, sign, submit.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::book;
use super::truth::{Broken, Held, broken};
use crate::clock::Timestamp;
use crate::disk;
use crate::head::HeadJson;
use crate::judge::{Answer, Memory, Seen, Verdict, judge, remember};
use crate::log::{LogIdentity, LogName};
use crate::merkle::{Hash, TreeRoot, TreeSize, verify_consistency};
use crate::rng::Rng;
use crate::state::{Home, LogState, OriginLock, StateError, Uninterrupted, known, root_at};
use crate::statement::WitnessProof;

/// One witness.
pub(crate) struct Witness {
    path: PathBuf,
    seed: [u8; 32],
    home: Option<Arc<Home>>,
    remembers: bool,
    /// What it signed and let out, ever; it knows nothing of this.
    pub(crate) signed: Vec<(TreeRoot, Timestamp)>,
    /// What the log holds of it.
    pub(crate) recorded: Vec<TreeRoot>,
    backup: Option<BTreeMap<PathBuf, Option<Vec<u8>>>>,
}

/// What a log shows to a witness.
pub(crate) struct Shown<'a> {
    pub(crate) genesis: &'a [u8],
    pub(crate) head: HeadJson,
    /// The proof between two sizes.
    pub(crate) consistency: &'a dyn Fn(u64, u64) -> Option<Vec<Hash>>,
    /// Whether it says what it holds of this witness; an answer may be lost.
    pub(crate) answers: bool,
}

/// Why a round ended early.
enum Ended {
    State(StateError),
    /// Nothing to do, or nothing that may be done.
    Quietly,
    Broken(Broken),
}

impl From<StateError> for Ended {
    fn from(error: StateError) -> Self {
        Self::State(error)
    }
}

impl Witness {
    pub(crate) fn new(number: u8) -> Self {
        Self {
            path: PathBuf::from(format!("/sim/witness-{number}")),
            seed: [100 + number; 32],
            home: None,
            remembers: false,
            signed: Vec::new(),
            recorded: Vec::new(),
            backup: None,
        }
    }

    /// One round; the proof that was made, if one left the machine.
    pub(crate) fn round(
        &mut self,
        shown: &Shown<'_>,
        now: Timestamp,
        rng: &mut Rng,
        cuts: u64,
    ) -> Result<Option<WitnessProof>, Broken> {
        if rng.percent(cuts) {
            disk::cut_after(&self.path, rng.below(30));
        }
        let ended = self.try_round(shown, now);
        if disk::is_dead(&self.path) {
            self.die(rng);
            return match ended {
                Err(Ended::Broken(broken)) => Err(broken),
                _ => Ok(None),
            };
        }
        disk::kill(&self.path);
        match ended {
            Ok(proof) => Ok(proof),
            Err(Ended::Quietly) => Ok(None),
            Err(Ended::Broken(broken)) => Err(broken),
            Err(Ended::State(StateError::Forgotten { .. } | StateError::Stale { .. })) => Ok(None),
            Err(Ended::State(error)) => {
                broken!("a_power_cut_stops_no_witness", "{}: {error}", self.path.display())
            }
        }
    }

    /// The process dies: its machine with it, or it alone.
    fn die(&mut self, rng: &mut Rng) {
        self.home = None;
        self.remembers = false;
        if rng.percent(70) {
            disk::power_cut(&self.path, rng);
        } else {
            disk::kill(&self.path);
        }
    }

    pub(crate) fn crash(&mut self, rng: &mut Rng) {
        self.die(rng);
    }

    pub(crate) fn take_backup(&mut self) {
        if self.home.is_some() {
            self.backup = Some(disk::copy(&self.path));
        }
    }

    /// Puts an old copy of the directory back, if somebody else knows what was signed since.
    pub(crate) fn roll_back(&mut self) {
        let is_known = self.signed.last().is_none_or(|(tree, _)| self.recorded.contains(tree));
        if let Some(backup) = self.backup.as_ref().filter(|_| is_known) {
            disk::restore(&self.path, backup);
            self.home = None;
            self.remembers = false;
        }
    }

    fn open(&mut self, now: Timestamp) -> Result<Arc<Home>, StateError> {
        if let Some(home) = &self.home {
            return Ok(home.clone());
        }
        let seed = self.seed;
        let home = Home::open(&self.path, None, || Ok(seed), now, Arc::new(Uninterrupted))?;
        let home = Arc::new(home);
        self.home = Some(home.clone());
        Ok(home)
    }

    /// The key, once there is one.
    pub(crate) fn home(&self) -> Option<&Arc<Home>> {
        self.home.as_ref()
    }

    fn try_round(
        &mut self,
        shown: &Shown<'_>,
        now: Timestamp,
    ) -> Result<Option<WitnessProof>, Ended> {
        let home = self.open(now)?;
        let log = LogIdentity::of_genesis(shown.genesis).map_err(|_| Ended::Quietly)?;
        let lock = OriginLock::acquire(&home, &LogName::from(log.origin()), Duration::ZERO)?;
        if !self.remembers {
            self.check_memory(&home, &lock, shown, now)?;
            self.remembers = true;
        }
        let state = lock.state()?;
        if let Some(state) = &state {
            state.check_signing(lock.origin())?;
        }
        if state.is_none_or(|state| state.genesis().is_none()) {
            lock.begin(&log, now)?;
        }
        if let Some(unsigned) = lock.unsigned()? {
            let proof = lock.sign(unsigned)?;
            self.let_out(&proof).map_err(Ended::Broken)?;
            return Ok(Some(proof));
        }
        let state = lock.state()?.ok_or(Ended::Quietly)?;
        let head = lock.head(&state)?;
        let standing = known(state.tree(), head.as_ref(), &log);
        let seen = Seen::recognise(shown.head.clone(), log.operator(), log.origin());
        let seen = seen.map_err(|_| Ended::Quietly)?;
        let Ok(Verdict::Larger(candidate)) = judge(&standing, seen, now) else {
            return Ok(None);
        };
        let (base, new) = (candidate.base(), candidate.seen().tree());
        let hashes = if base.size == new.size {
            Vec::new()
        } else {
            (shown.consistency)(base.size.get(), new.size.get()).ok_or(Ended::Quietly)?
        };
        let extension = candidate.prove(&hashes).map_err(|_| Ended::Quietly)?;
        let proof = lock.sign(lock.advance(&extension, now)?)?;
        self.let_out(&proof).map_err(Ended::Broken)?;
        Ok(Some(proof))
    }

    fn check_memory(
        &mut self,
        home: &Home,
        lock: &OriginLock,
        shown: &Shown<'_>,
        now: Timestamp,
    ) -> Result<(), Ended> {
        let state = lock.state()?;
        let tree = state.as_ref().map_or(TreeRoot::EMPTY, LogState::tree);
        let stood = home.stood_at(lock.origin().as_str())?;
        let told = if shown.answers {
            Answer::Signed(self.recorded.last().copied().into_iter().collect())
        } else {
            Answer::Missing
        };
        match remember(tree, |size| root_at(&stood, size), &told, &[]) {
            Memory::Confirmed => Ok(()),
            Memory::Incomplete => Err(Ended::Quietly),
            Memory::RolledBack { signed } => {
                lock.forget(signed, now)?;
                self.recover(lock, tree, signed, shown, now)?;
                Err(Ended::Quietly)
            }
            Memory::Equivocated { signed, .. } => Err(Ended::Broken(Broken {
                invariant: "a_witness_signs_one_history",
                detail: format!("it stood elsewhere at size {}", signed.size),
            })),
        }
    }

    /// `recover --forward`: moves up to what the own key has signed, if that extends the state.
    fn recover(
        &self,
        lock: &OriginLock,
        tree: TreeRoot,
        signed: TreeRoot,
        shown: &Shown<'_>,
        now: Timestamp,
    ) -> Result<(), Ended> {
        if lock.state()?.is_none_or(|state| state.genesis().is_none()) {
            let log = LogIdentity::of_genesis(shown.genesis).map_err(|_| Ended::Quietly)?;
            lock.begin(&log, now)?;
        }
        let extends = tree.size == TreeSize::ZERO
            || (shown.consistency)(tree.size.get(), signed.size.get())
                .is_some_and(|hashes| verify_consistency(&tree, &signed, &hashes).is_ok());
        if extends {
            if let Some((_, time)) = self.signed.iter().find(|(tree, _)| *tree == signed) {
                lock.keep_time(*time)?;
            }
            lock.recover(signed, None, now)?;
        }
        Ok(())
    }

    /// A signature leaves the machine: what must hold of it.
    fn let_out(&mut self, proof: &WitnessProof) -> Held {
        let tree = TreeRoot { size: proof.new_tree_size, hash: proof.new_root };
        self.signed_only_what_is_durable(&tree)?;
        for (before, time) in &self.signed {
            if before.size == tree.size && before.hash != tree.hash {
                return broken!("a_witness_signs_one_root_for_each_size", "size {}", tree.size);
            }
            if before.size > tree.size || *time > proof.timestamp {
                return broken!(
                    "a_witness_never_goes_back",
                    "size {} at {time}, then {} at {}",
                    before.size,
                    tree.size,
                    proof.timestamp
                );
            }
        }
        self.signed.push((tree, proof.timestamp));
        Ok(())
    }

    /// Invariant 4: the new state is durable before any signature is there.
    fn signed_only_what_is_durable(&self, tree: &TreeRoot) -> Held {
        let index = disk::durable(&self.path.join("index.jsonl")).unwrap_or_default();
        let key = disk::durable(&self.path.join("witness.pem")).is_some();
        let line = format!("\"{}\"", tree.hash);
        if key && String::from_utf8_lossy(&index).contains(&line) {
            return Ok(());
        }
        broken!("a_witness_signs_only_what_is_durable", "size {}", tree.size)
    }

    /// Invariant 4: every tree that it signed lies on one history. `are_one` says whether two trees
    /// do.
    pub(crate) fn signs_one_history(&self, are_one: impl Fn(&TreeRoot, &TreeRoot) -> bool) -> Held {
        let pairs = self.signed.iter().zip(self.signed.iter().skip(1));
        for ((old, _), (new, _)) in pairs.rev().take(1) {
            if !are_one(old, new) {
                return broken!("a_witness_signs_one_history", "{} and {}", old.size, new.size);
            }
        }
        Ok(())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Begins a witness whose process is killed at its operation `killed`; the next one goes on until
/// the power fails at its operation `cut`, after which chance says what the disk kept. Says what
/// keeps the third one from going on, if anything does.
pub fn killed_then_cut_off(killed: u64, cut: u64, chance: u64) -> Result<(), String> {
    let home = Path::new("/sim/witness");
    let now = Timestamp::from_millis(0).expect("1970 is a time");
    let keep = |lines: std::ops::Range<u64>| -> Result<(), StateError> {
        let home = Arc::new(Home::open(home, None, || Ok([7; 32]), now, Arc::new(Uninterrupted))?);
        let origin = LogName::from(&"log.example/sim".parse().expect("a name"));
        let lock = OriginLock::acquire(&home, &origin, Duration::ZERO)?;
        for size in lines {
            lock.forget(TreeRoot { size: book::size(size), hash: Hash::of(b"a tree") }, now)?;
        }
        Ok(())
    };
    disk::reset();
    disk::cut_after(home, killed);
    let _killed = keep(1..3);
    disk::kill(home);
    disk::cut_after(home, cut);
    match keep(3..5) {
        Err(error) if !disk::is_dead(home) => return Err(format!("after the kill: {error}")),
        _ => disk::power_cut(home, &mut Rng::new(chance)),
    }
    keep(5..6).map_err(|error| format!("after the power cut: {error}"))
}
