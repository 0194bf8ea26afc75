//! Asks others what they hold under the own key, before anything new is signed.

use std::sync::Arc;

use diogenes_common::checkpoint;
use diogenes_common::clock::Timestamp;
use diogenes_common::cosignature::verify_cosignature;
use diogenes_common::head::HeadJson;
use diogenes_common::merkle::{TreeRoot, TreeSize, verify_consistency};
use diogenes_common::note::Note;
use diogenes_common::statement::{Claim as _, Reason, WitnessClaim};
use diogenes_common::wire::witnesses::{ProofRecord, WitnessRecord};

use super::{Agent, RoundError, blocking};
use crate::judge::{Answer, Memory, Seen, remember};
use crate::log::LogIdentity;
use crate::source::{LogServer, SourceError, Transport};
use crate::state::{Home, LogState, OriginLock, StateError, root_at};

/// A tree that the own key signed, as somebody else holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnSigned {
    /// The tree.
    pub tree: TreeRoot,
    /// The time in the signature, where it is known.
    pub time: Option<Timestamp>,
    /// Its head, if it came with one that the log's key signed.
    pub head: Option<HeadJson>,
}

impl<T: Transport> Agent<T> {
    /// Refuses to go on where the own state may have forgotten a signature.
    pub(super) async fn check_memory(
        &self,
        log: &LogIdentity,
        lock: &Arc<OriginLock>,
    ) -> Result<(), RoundError> {
        let (known, stood) = self.own_past(lock).await?;
        let mut missing = None;
        let leader = note_missing(&mut missing, self.own_signatures(log, &self.server).await);
        let mut vantages = Vec::new();
        for vantage in &*self.vantages {
            let told = match vantage.newest_head().await {
                // A vantage point of another log has nothing to say about this one.
                Ok(head) if head.origin != *log.origin() => continue,
                Ok(_) => self.own_signatures(log, vantage).await,
                Err(error) => Err(error),
            };
            vantages.push(note_missing(&mut missing, told));
        }
        match remember(known, |size| root_at(&stood, size), &leader, &vantages) {
            Memory::Confirmed => Ok(()),
            Memory::Incomplete => {
                Err(RoundError::MemoryUnconfirmed { reason: missing.unwrap_or_default() })
            }
            Memory::RolledBack { signed } => {
                let (lock, now) = (Arc::clone(lock), self.clock.now());
                blocking(move || lock.forget(signed, now)).await?;
                Err(RoundError::RolledBack { known: known.size, signed })
            }
            Memory::Equivocated { signed, .. } => {
                self.halt(lock).await?;
                Err(RoundError::Equivocated { signed })
            }
        }
    }

    /// Moves a lost state up to the largest tree that the own key has signed and that extends it.
    ///
    /// Every configured source must answer. Answers the trees before and after.
    pub async fn recover(&mut self) -> Result<(TreeRoot, TreeRoot), RoundError> {
        let log = self.identify().await?;
        let lock = self.lock(&log).await?;
        let mut held = Vec::new();
        let silent =
            |error: SourceError| RoundError::MemoryUnconfirmed { reason: error.to_string() };
        held.extend(self.own_signatures(&log, &self.server).await.map_err(silent)?);
        for vantage in &*self.vantages {
            // A vantage point of another log has nothing to say about this one.
            if vantage.newest_head().await.map_err(silent)?.origin == *log.origin() {
                held.extend(self.own_signatures(&log, vantage).await.map_err(silent)?);
            }
        }
        let (known, stood) = self.own_past(&lock).await?;
        let contradicts = |signed: &&OwnSigned| {
            root_at(&stood, signed.tree.size).is_some_and(|ours| ours != signed.tree.hash)
        };
        if let Some(signed) = held.iter().find(contradicts) {
            self.halt(&lock).await?;
            return Err(RoundError::Equivocated { signed: signed.tree });
        }
        // What was shown before counts, whether or not its holder shows it again.
        let forgotten = stood.last().copied().filter(|tree| tree.size > known.size);
        held.extend(forgotten.map(|tree| OwnSigned { tree, time: None, head: None }));
        // Of one tree, the answer that brings its head.
        held.sort_by_key(|signed| (signed.tree.size, signed.head.is_some()));
        let Some(furthest) = held.pop().filter(|signed| signed.tree.size > known.size) else {
            return Ok((known, known));
        };
        for reached in std::iter::once(known).chain(forgotten) {
            self.extends(&log, reached, furthest.tree).await?;
        }
        let times = held.iter().chain([&furthest]).filter_map(|signed| signed.time);
        let (now, new, last) = (self.clock.now(), furthest.tree, times.max());
        blocking(move || {
            if lock.state()?.is_none_or(|state| state.genesis().is_none()) {
                lock.begin(&log, now)?;
            }
            if let Some(last) = last {
                lock.keep_time(last)?;
            }
            lock.recover(new, furthest.head, now)
        })
        .await?;
        Ok((known, new))
    }

    /// What a source holds under the own key. One signature that does not verify spoils all.
    pub async fn own_signatures(
        &self,
        log: &LogIdentity,
        source: &LogServer<T>,
    ) -> Result<Vec<OwnSigned>, SourceError> {
        let record = source.witness(self.home.key().fingerprint()).await?;
        own_signed(&self.home, log, &record).ok_or_else(|| SourceError::Malformed {
            server: source.name().to_owned(),
            expected: "signatures of this witness that verify",
        })
    }

    pub(super) async fn extends(
        &self,
        log: &LogIdentity,
        known: TreeRoot,
        new: TreeRoot,
    ) -> Result<(), RoundError> {
        let base = crate::state::known(known, None, log).base();
        let hashes = if base.size == new.size {
            Vec::new()
        } else {
            self.server.consistency(base.size, new.size).await?.hashes
        };
        match verify_consistency(&base, &new, &hashes) {
            Ok(()) => Ok(()),
            Err(error) => {
                let refusal = crate::judge::Refusal::Inconsistent(error);
                Err(RoundError::Refused { refusal, evidence: None })
            }
        }
    }

    /// Where the state stands, and every tree that this key is known to have signed, by size: those
    /// that it stood at, and one that it has forgotten.
    async fn own_past(
        &self,
        lock: &Arc<OriginLock>,
    ) -> Result<(TreeRoot, Vec<TreeRoot>), StateError> {
        let (home, lock) = (Arc::clone(&self.home), Arc::clone(lock));
        blocking(move || {
            let state = lock.state()?;
            let known = state.as_ref().map_or(TreeRoot::EMPTY, LogState::tree);
            let mut stood = home.stood_at(lock.origin().as_str())?;
            stood.extend(state.and_then(|state| state.forgotten()));
            Ok((known, stood))
        })
        .await
    }

    async fn halt(&self, lock: &Arc<OriginLock>) -> Result<(), StateError> {
        let (lock, now) = (Arc::clone(lock), self.clock.now());
        blocking(move || match (lock.state()?, Reason::try_from("self_equivocated")) {
            (Some(state), Ok(reason)) if state.halted().is_none() => lock.halt(reason, now),
            _ => Ok(()),
        })
        .await
    }
}

fn note_missing(missing: &mut Option<String>, told: Result<Vec<OwnSigned>, SourceError>) -> Answer {
    match told {
        Ok(held) => Answer::Signed(held.into_iter().map(|signed| signed.tree).collect()),
        Err(error) => {
            *missing = Some(error.to_string());
            Answer::Missing
        }
    }
}

/// The signatures in a record, or `None` if one of them is not ours.
fn own_signed(home: &Home, log: &LogIdentity, record: &WitnessRecord) -> Option<Vec<OwnSigned>> {
    let mut held = Vec::new();
    if let Some(proof) = &record.last_proof {
        held.push(own_proof(home, log, proof)?);
    }
    if let Some(note) = record.last_cosignature.as_ref().and_then(|last| last.checkpoint.as_ref()) {
        held.push(own_cosigned(home, log, note)?);
    }
    held.retain(|signed| signed.tree.size > TreeSize::ZERO);
    Some(held)
}

fn own_proof(home: &Home, log: &LogIdentity, proof: &ProofRecord) -> Option<OwnSigned> {
    let claim = WitnessClaim {
        new_root: proof.new_root,
        new_tree_size: proof.new_tree_size,
        old_root: proof.old_root,
        old_tree_size: proof.old_tree_size,
        origin: proof.origin.clone(),
        timestamp: proof.timestamp,
        witness: proof.witness,
    };
    let ours = proof.witness == home.key().fingerprint() && proof.origin == *log.origin();
    if !ours || claim.check(home.key().public(), &proof.signature).is_err() {
        return None;
    }
    let tree = claim.new_tree();
    let head = serde_json::from_value(proof.head.clone()).ok();
    let head = head.and_then(|json| Seen::recognise(json, log.operator(), log.origin()).ok());
    let head = head.filter(|seen| seen.tree() == tree).map(|seen| seen.json().clone());
    Some(OwnSigned { tree, time: Some(proof.timestamp), head })
}

/// The tree of a checkpoint of this log that the own key cosigned.
fn own_cosigned(home: &Home, log: &LogIdentity, note: &str) -> Option<OwnSigned> {
    let (note, known) = (Note::parse(note.as_bytes()).ok()?, [home.vkey()]);
    let said = checkpoint::open_known(&note, log.origin().as_str(), &known).ok()?;
    let verified = note.verify(&known).ok()?;
    let times = verified.iter().filter_map(|ours| {
        let seconds = verify_cosignature(ours.line, &said, home.key().public()).ok()?;
        Timestamp::from_millis(i64::try_from(seconds).ok()?.checked_mul(1000)?)
    });
    Some(OwnSigned { tree: said.tree(), time: times.max(), head: None })
}
