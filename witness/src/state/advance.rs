//! The only way to a signature: a durable step, taken under the lock of its log.

use std::sync::Arc;
use std::time::Duration;

use diogenes_common::checkpoint::Checkpoint;
use diogenes_common::clock::Timestamp;
use diogenes_common::cosignature::cosign;
use diogenes_common::evidence::Bytes;
use diogenes_common::files::{FileLock, private_dir};
use diogenes_common::head::{HeadJson, SignedHead};
use diogenes_common::merkle::{Hash, TreeRoot};
use diogenes_common::statement::{
    Profile, ProfileClaim, Reason, Refusal, RefusalClaim, WitnessClaim, WitnessProof,
};

use super::line::{Fact, Step};
use super::standing::{LogState, Submission};
use super::{Home, Moment, StateError};
use crate::judge::Extension;
use crate::log::{LogIdentity, LogName};

/// A step that is durable and may be signed; only [`OriginLock`] makes one.
///
/// What is signed follows from it alone, so that signing it again after a crash makes the same
/// bytes.
#[derive(Debug, PartialEq)]
pub struct Advanced {
    head: HeadJson,
    step: Step,
    time: Timestamp,
}

/// Excludes every other process from advancing one log, until it is dropped.
pub struct OriginLock {
    pub(super) home: Arc<Home>,
    pub(super) origin: LogName,
    _lock: FileLock,
}

impl OriginLock {
    /// Takes the lock of a log; waits up to `patience` for another process to finish its round.
    pub fn acquire(
        home: &Arc<Home>,
        origin: &LogName,
        patience: Duration,
    ) -> Result<Self, StateError> {
        let directory = home.path().join("locks");
        private_dir(&directory)?;
        let file = directory.join(origin.hash().to_hex());
        let lock = FileLock::acquire(&file, patience)?;
        Ok(Self { home: Arc::clone(home), origin: origin.clone(), _lock: lock })
    }

    /// Which log.
    pub fn origin(&self) -> &LogName {
        &self.origin
    }

    /// Where the witness stands with it; `None` if it never watched it.
    pub fn state(&self) -> Result<Option<LogState>, StateError> {
        self.home.log(self.origin.as_str())
    }

    /// The head of the largest tree that it vouches for, verified again.
    pub fn head(&self, state: &LogState) -> Result<Option<SignedHead>, StateError> {
        let Some(head) = state.head() else { return Ok(None) };
        let is_ours = head.origin.as_str() == self.origin.as_str();
        let verified = state.operator_key().filter(|_| is_ours);
        let verified = verified.and_then(|key| head.verify(key, &head.origin).ok());
        match verified {
            Some(head) => Ok(Some(head)),
            None => Err(StateError::KeptHead { origin: self.origin.clone() }),
        }
    }

    /// Begins to watch the log: from size 0, or from where it was cosigned as a log of a list.
    ///
    /// Of a log of a list, the listed key must be the operator's. Lists are taken up without the
    /// lock of the log, so that is decided in the same step that writes the line.
    pub fn begin(&self, log: &LogIdentity, now: Timestamp) -> Result<(), StateError> {
        let fact = Fact::Log {
            genesis: Bytes(log.genesis().bytes().to_vec()),
            log_id: log.log_id(),
            origin: log.origin().clone(),
        };
        let mut is_taken = false;
        self.home.append_if(now, |logs| {
            is_taken =
                logs.get(&self.origin).is_some_and(|state| state.is_taken_from(log.operator()));
            (!is_taken).then_some(fact)
        })?;
        if is_taken {
            return Err(StateError::OtherKeyListed { origin: self.origin.clone() });
        }
        Ok(())
    }

    /// Moves the log from the tree that it stands at to the proven one, durably.
    ///
    /// This is the only way to an [`Advanced`] that was not durable before.
    pub fn advance(&self, extension: &Extension, now: Timestamp) -> Result<Advanced, StateError> {
        let state = self.standing()?;
        let head = extension.seen().json();
        let is_of_this_log = head.origin.as_str() == self.origin.as_str()
            && state.operator_key().is_some_and(|key| key.fingerprint() == head.key_fingerprint);
        if !is_of_this_log {
            return Err(StateError::Stale { known: state.tree().size });
        }
        let (head, origin) = (head.clone(), head.origin.clone());
        let kept = Box::new(head.clone());
        let new = extension.seen().tree();
        let (step, time) = self.step(&state, [extension.old(), new], now, |step| {
            Fact::Advance { head: kept, step, origin }
        })?;
        Ok(Advanced { head, step, time })
    }

    /// Makes a step of the log durable, and says with which time it may be signed.
    ///
    /// Whoever signs a tree that was not signed before has come this way: through the lock, from
    /// the tree that the log stands at, and to the disk.
    pub(super) fn step(
        &self,
        state: &LogState,
        [old, new]: [TreeRoot; 2],
        now: Timestamp,
        fact: impl FnOnce(Step) -> Fact,
    ) -> Result<(Step, Timestamp), StateError> {
        if old != state.tree() {
            return Err(StateError::Stale { known: state.tree().size });
        }
        let step = Step::new(old, new);
        let time = self.time(state, now);
        self.home.append(fact(step), time)?;
        Ok((step, time))
    }

    /// Emitted times never run back, whatever the clock does.
    #[expect(clippy::unused_self, reason = "only who holds the lock knows the newest time")]
    pub(super) fn time(&self, state: &LogState, now: Timestamp) -> Timestamp {
        now.max(state.last_emitted_at().unwrap_or(now))
    }

    /// The newest step, if a crash kept it from being signed.
    pub fn unsigned(&self) -> Result<Option<Advanced>, StateError> {
        let state = self.standing()?;
        let Some(signed) = state.last_signed() else { return Ok(None) };
        match state.head() {
            Some(head)
                if signed.step.new_tree() == state.tree() && state.submission().is_none() =>
            {
                Ok(Some(Advanced { head: head.clone(), step: signed.step, time: signed.time }))
            }
            _ => Ok(None),
        }
    }

    /// Signs a durable step, and keeps the body to submit before anybody sees it.
    pub fn sign(&self, advanced: Advanced) -> Result<WitnessProof, StateError> {
        let Advanced { head, step, time } = advanced;
        let key = &self.home.key;
        let origin = head.origin.clone();
        let checkpoint = Checkpoint::new(origin.as_str(), step.new_tree()).ok();
        let cosignature = checkpoint
            .map(|checkpoint| cosign(&checkpoint, time, &self.home.cosigner, key).to_string());
        let (old, new) = (step.old(), step.new_tree());
        let claim = WitnessClaim {
            new_root: new.hash,
            new_tree_size: new.size,
            old_root: old.hash,
            old_tree_size: old.size,
            origin,
            timestamp: time,
            witness: key.fingerprint(),
        };
        let body = claim.into_proof(key, head, cosignature);
        self.home.interrupt.after(Moment::Signed)?;
        self.keep(Submission { answered: false, body: body.clone() })?;
        self.home.interrupt.after(Moment::BodyKept)?;
        Ok(body)
    }

    /// Notes that the last body was answered, so that it is not sent again.
    pub fn answered(&self, body: WitnessProof) -> Result<(), StateError> {
        self.home.interrupt.after(Moment::Submitted)?;
        self.keep(Submission { answered: true, body })?;
        Ok(self.home.interrupt.after(Moment::AnswerKept)?)
    }

    /// Signs why a head was not signed. Says nothing about any tree but the own one.
    pub fn refuse(
        &self,
        head: &SignedHead,
        reason: Reason,
        now: Timestamp,
    ) -> Result<Refusal, StateError> {
        let state = self.state()?;
        let old = state.as_ref().map_or(TreeRoot::EMPTY, LogState::tree);
        let time = state.as_ref().map_or(now, |state| self.time(state, now));
        if state.is_some() {
            self.keep_time(time)?;
        }
        let claim = RefusalClaim {
            head_sha256: Hash::of(&head.head().signed_bytes()),
            old_root: old.hash,
            old_tree_size: old.size,
            origin: head.head().origin.clone(),
            reason,
            timestamp: time,
            witness: self.home.key.fingerprint(),
        };
        Ok(claim.into_refusal(&self.home.key))
    }

    /// Keeps a time that this key has emitted or is about to, durably: no later one runs back.
    pub fn keep_time(&self, time: Timestamp) -> Result<(), StateError> {
        self.home.amend(&self.origin, |log| log.emit(time))
    }

    /// Never signs this log again with this key.
    pub fn halt(&self, reason: Reason, now: Timestamp) -> Result<(), StateError> {
        let fact = Fact::Halt { origin: self.origin.clone(), reason };
        self.home.append(fact, now)
    }

    /// Signs nothing for this log until a recovery reaches this tree, which the key has signed and
    /// the state has lost: it must outlive the process that learned of it.
    pub fn forget(&self, signed: TreeRoot, now: Timestamp) -> Result<(), StateError> {
        self.home.append_if(now, |logs| {
            let state = logs.get(&self.origin);
            let reached = state
                .map_or(TreeRoot::EMPTY, |state| state.forgotten().unwrap_or_else(|| state.tree()));
            let fact = Fact::Forgotten { origin: self.origin.clone(), tree: signed.into() };
            (signed.size > reached.size).then_some(fact)
        })
    }

    /// Moves a lost state up to a tree that this key has signed already. Signs nothing.
    pub fn recover(
        &self,
        signed: TreeRoot,
        head: Option<HeadJson>,
        now: Timestamp,
    ) -> Result<(), StateError> {
        let state = self.state()?.ok_or(StateError::Stale { known: TreeRoot::EMPTY.size })?;
        if let (origin, Some(reason)) = (self.origin.clone(), state.halted().cloned()) {
            return Err(StateError::Halted { origin, reason });
        }
        let step = Step::new(state.tree(), signed);
        let fact = Fact::Recovery { head: head.map(Box::new), step, origin: self.origin.clone() };
        self.home.append(fact, now)
    }

    pub(super) fn standing(&self) -> Result<LogState, StateError> {
        let state = self.state()?.ok_or(StateError::Stale { known: TreeRoot::EMPTY.size })?;
        state.check_signing(&self.origin)?;
        Ok(state)
    }

    fn keep(&self, submission: Submission) -> Result<(), StateError> {
        self.home.amend(&self.origin, |log| log.keep(submission))
    }
}

impl Home {
    /// Signs how this witness wants to be shown; nothing about any tree.
    pub fn sign_profile(&self, claim: ProfileClaim) -> Profile {
        claim.into_profile(&self.key)
    }
}
