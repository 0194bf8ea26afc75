//! A round: fetch a head, prove that it extends the known one, make that durable, sign, submit.

mod error;
mod remember;
mod tell;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use diogenes_common::clock::{Clock, Timestamp};
use diogenes_common::evidence::{self, Evidence, Observed, Proof};
use diogenes_common::head::{HeadJson, SignedHead};
use diogenes_common::keys::Fingerprint;
use diogenes_common::merkle::{TreeRoot, verify_consistency};
use diogenes_common::statement::{Reason, WitnessProof};
use diogenes_common::wire::node::WellKnown;

pub use error::RoundError;
pub use remember::OwnSigned;
use tell::Patience;

use crate::findings::{keep_evidence, keep_refusal};
use crate::judge::{Candidate, Comparison, Extension, Refusal, Seen, Verdict, compare, judge};
use crate::log::{LogIdentity, LogName};
use crate::source::{LogServer, Submitted, Transport};
use crate::state::{Home, LogState, OriginLock, StateError, known};

/// How long a round waits for another process's round on the same log.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a round is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// Somebody typed `submit`: anything larger than the known tree is signed.
    Typed,
    /// The time has come: the head of the log's round is signed.
    Scheduled,
}

/// What a round did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// Whether the log was seen for the first time, and is trusted from here on.
    pub first_contact: bool,
    /// What became of a proof that an earlier round could not deliver.
    pub resent: Option<Delivery>,
    /// The tree that the witness stands at now.
    pub tree: TreeRoot,
    /// What became of this round's proof; `None` if the log has not grown.
    pub signed: Option<Delivery>,
    /// True if vantage points are configured and none of them could be compared with.
    pub single_vantage: bool,
}

/// A proof that was sent, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The tree that the witness knew.
    pub old: TreeRoot,
    /// The tree that it signed.
    pub new: TreeRoot,
    /// The server's answer.
    pub answer: Submitted,
}

/// Watches one log through one server.
pub struct Agent<T> {
    home: Arc<Home>,
    clock: Arc<dyn Clock>,
    server: LogServer<T>,
    vantages: Arc<[LogServer<T>]>,
    pin: Option<Fingerprint>,
    /// Which log the server shows, once that is known; it must stay the same.
    log: Option<LogIdentity>,
    /// Whether this process knows that it has not forgotten anything.
    remembers: bool,
    /// Who did not answer when it was told what is proven.
    patience: Patience,
}

impl<T: Transport> Agent<T> {
    /// Watches the log of a server, and compares it with what vantage points show.
    ///
    /// `pin` is the operator key that the log must have.
    pub fn new(
        home: Arc<Home>,
        clock: Arc<dyn Clock>,
        server: LogServer<T>,
        vantages: Arc<[LogServer<T>]>,
        pin: Option<Fingerprint>,
    ) -> Self {
        Self {
            home,
            clock,
            server,
            vantages,
            pin,
            log: None,
            remembers: false,
            patience: Patience::default(),
        }
    }

    /// The server that is watched.
    pub fn server(&self) -> &LogServer<T> {
        &self.server
    }

    /// The log that is watched, once it was seen.
    pub fn log(&self) -> Option<&LogIdentity> {
        self.log.as_ref()
    }

    /// Checks that nothing was forgotten of the server's log, and signs nothing; says which log.
    pub async fn confirm(&mut self) -> Result<LogName, RoundError> {
        let log = self.identify().await?;
        let lock = self.lock(&log).await?;
        self.check_memory(&log, &lock).await?;
        Ok(lock.origin().clone())
    }

    /// Makes one round, and tells what is proven. Whatever interrupts it, the next one goes on from
    /// there.
    pub async fn round(&mut self, occasion: Occasion) -> Result<Round, RoundError> {
        let outcome = self.make_round(occasion).await;
        self.tell().await;
        outcome
    }

    async fn make_round(&mut self, occasion: Occasion) -> Result<Round, RoundError> {
        let log = self.identify().await?;
        let lock = self.lock(&log).await?;
        let first_contact = self.take_up(&log, &lock).await?;
        let resent = self.finish_earlier(&lock).await?;
        let (tree, head) = standing(&lock).await?;
        let now = self.clock.now();
        let verdict = self.look(&log, &lock, (tree, head.as_ref()), occasion, now).await?;
        let Verdict::Larger(candidate) = verdict else {
            return Ok(Round { first_contact, resent, tree, signed: None, single_vantage: false });
        };
        let extension = self.prove(&log, &lock, head.as_ref(), *candidate, now).await?;
        let single_vantage = !self.ask_vantages(&log, &lock, extension.seen(), now).await?;
        let new = extension.seen().tree();
        let body = {
            let lock = Arc::clone(&lock);
            blocking(move || lock.sign(lock.advance(&extension, now)?)).await?
        };
        let signed = Some(self.deliver(&lock, body).await?);
        Ok(Round { first_contact, resent, tree: new, signed, single_vantage })
    }

    /// Finds out which log the server shows, and checks that it is the one that is trusted.
    pub async fn identify(&mut self) -> Result<LogIdentity, RoundError> {
        if let Some(log) = &self.log {
            return Ok(log.clone());
        }
        let told = self.server.well_known().await?;
        let (home, origin) = (Arc::clone(&self.home), told.origin.clone());
        let state = blocking(move || home.log(origin.as_str())).await?;
        let log = match state.as_ref().and_then(LogState::genesis) {
            Some(genesis) => LogIdentity::of_genesis(genesis).map_err(|_| {
                RoundError::State(StateError::KeptHead { origin: LogName::from(&told.origin) })
            })?,
            None => introduce(&self.server, told).await?,
        };
        check_pin(self.pin, &log)?;
        self.log = Some(log.clone());
        Ok(log)
    }

    /// Checks the own memory, and begins to watch a log that was never seen before.
    async fn take_up(
        &mut self,
        log: &LogIdentity,
        lock: &Arc<OriginLock>,
    ) -> Result<bool, RoundError> {
        if !self.remembers {
            self.check_memory(log, lock).await?;
            self.remembers = true;
        }
        let held = Arc::clone(lock);
        let state = blocking(move || held.state()).await?;
        if let Some(state) = &state {
            state.check_signing(lock.origin())?;
        }
        if state.as_ref().is_some_and(|state| state.genesis().is_some()) {
            return Ok(false);
        }
        if let Some(tree) = state.map(|state| state.tree()).filter(|tree| *tree != TreeRoot::EMPTY)
        {
            // It was cosigned before as a log of a list: what was cosigned must have this genesis.
            self.extends(log, TreeRoot::EMPTY, tree).await?;
        }
        let (held, watched, now) = (Arc::clone(lock), log.clone(), self.clock.now());
        blocking(move || held.begin(&watched, now)).await?;
        tracing::info!(
            log.origin = %log.origin(),
            log.id = %log.log_id(),
            operator.fingerprint = %log.operator_fingerprint(),
            "first contact: this log and its operator key are trusted from here on"
        );
        Ok(true)
    }

    /// Signs what a crash kept from being signed, and sends what was not answered.
    async fn finish_earlier(&self, lock: &Arc<OriginLock>) -> Result<Option<Delivery>, RoundError> {
        let held = Arc::clone(lock);
        let unsent = blocking(move || {
            if let Some(advanced) = held.unsigned()? {
                return held.sign(advanced).map(Some);
            }
            let state = held.state()?;
            let last = state.and_then(|state| state.submission().cloned());
            Ok(last.filter(|last| !last.answered).map(|last| last.body))
        })
        .await?;
        match unsent {
            None => Ok(None),
            Some(body) => self.deliver(lock, body).await.map(Some),
        }
    }

    /// Fetches the head that this occasion asks for, and judges it.
    async fn look(
        &self,
        log: &LogIdentity,
        lock: &Arc<OriginLock>,
        (tree, head): (TreeRoot, Option<&SignedHead>),
        occasion: Occasion,
        now: Timestamp,
    ) -> Result<Verdict, RoundError> {
        let known = known(tree, head, log);
        let round = self.recognise(log, self.server.round_head().await?)?;
        let seen = if occasion == Occasion::Typed && round.tree().size <= tree.size {
            // The round's head is judged too: it may be the proof of something.
            match judge(&known, round.clone(), now) {
                Ok(_) | Err(Refusal::Backwards) => {}
                Err(refusal) => {
                    let heads = head.map(|head| [head, round.signed()]);
                    return Err(self.refuse(log, lock, &round, heads, refusal, now).await);
                }
            }
            self.recognise(log, self.server.newest_head().await?)?
        } else {
            round
        };
        match judge(&known, seen.clone(), now) {
            Ok(verdict) => Ok(verdict),
            // The round's head is that of an earlier round: the next one will be larger.
            Err(Refusal::Backwards) if occasion == Occasion::Scheduled => Ok(Verdict::Unchanged),
            Err(refusal) => {
                let heads = head.map(|head| [head, seen.signed()]);
                Err(self.refuse(log, lock, &seen, heads, refusal, now).await)
            }
        }
    }

    /// Fetches and checks the consistency proof; where it fails, looks for proof of a fork.
    async fn prove(
        &self,
        log: &LogIdentity,
        lock: &Arc<OriginLock>,
        head: Option<&SignedHead>,
        candidate: Candidate,
        now: Timestamp,
    ) -> Result<Extension, RoundError> {
        let (base, new) = (candidate.base(), candidate.seen().tree());
        let hashes = if base.size == new.size {
            Vec::new()
        } else {
            self.server.consistency(base.size, new.size).await?.hashes
        };
        let seen = candidate.seen().clone();
        match candidate.prove(&hashes) {
            Ok(extension) => Ok(extension),
            Err(refusal) => {
                let evidence = match head {
                    Some(head) => self.expose(log, head, seen.signed(), now).await,
                    None => None,
                };
                Err(self.refuse_with(lock, &seen, refusal, evidence, now).await)
            }
        }
    }

    /// Compares the head with what every vantage point of this log shows; false if there are some
    /// and none could be compared.
    async fn ask_vantages(
        &self,
        log: &LogIdentity,
        lock: &Arc<OriginLock>,
        here: &Seen,
        now: Timestamp,
    ) -> Result<bool, RoundError> {
        let (mut asked, mut compared) = (false, false);
        for vantage in &*self.vantages {
            let there = match vantage.newest_head().await {
                Ok(json) => json,
                Err(error) => {
                    asked = true;
                    tracing::warn!(vantage = vantage.name(), "{error}");
                    continue;
                }
            };
            if there.origin != *log.origin() {
                continue;
            }
            asked = true;
            let Ok(there) = Seen::recognise(there, log.operator(), log.origin()) else {
                tracing::warn!(vantage = vantage.name(), "shows a head that is not this log's");
                continue;
            };
            match compare(here, &there) {
                Comparison::Same => compared = true,
                Comparison::Contradicted(found) => {
                    let refusal = Refusal::Contradicted(found);
                    return Err(self
                        .refuse(
                            log,
                            lock,
                            here,
                            Some([here.signed(), there.signed()]),
                            refusal,
                            now,
                        )
                        .await);
                }
                Comparison::NeedsProof { old, new } => {
                    match self.prove_between(vantage, old, new).await {
                        None => {
                            tracing::warn!(vantage = vantage.name(), "gave no proof to compare");
                        }
                        Some(Ok(())) => compared = true,
                        Some(Err(refusal)) => {
                            let (smaller, larger) = if there.tree().size <= here.tree().size {
                                (&there, here)
                            } else {
                                (here, &there)
                            };
                            let evidence =
                                self.expose(log, smaller.signed(), larger.signed(), now).await;
                            return Err(self.refuse_with(lock, here, refusal, evidence, now).await);
                        }
                    }
                }
            }
        }
        Ok(compared || !asked)
    }

    /// Whether one tree extends another, by the server's proof or the vantage point's; `None` if
    /// neither gives one.
    async fn prove_between(
        &self,
        vantage: &LogServer<T>,
        old: TreeRoot,
        new: TreeRoot,
    ) -> Option<Result<(), Refusal>> {
        let mut verdict = None;
        for source in [&self.server, vantage] {
            let Ok(proof) = source.consistency(old.size, new.size).await else { continue };
            match verify_consistency(&old, &new, &proof.hashes) {
                Ok(()) => return Some(Ok(())),
                Err(error) => verdict = Some(Err(Refusal::Inconsistent(error))),
            }
        }
        verdict
    }

    /// Looks for a source whose consistency proof leads from another root of the smaller size to
    /// the larger head: that is what proves a fork.
    async fn expose(
        &self,
        log: &LogIdentity,
        smaller: &SignedHead,
        larger: &SignedHead,
        now: Timestamp,
    ) -> Option<Evidence> {
        let (old, new) = (smaller.head().tree(), larger.head().tree());
        for source in std::iter::once(&self.server).chain(&*self.vantages) {
            let Ok(proof) = source.consistency(old.size, new.size).await else { continue };
            let other = TreeRoot { size: old.size, hash: proof.first_root };
            let proven = other != old && verify_consistency(&other, &new, &proof.hashes).is_ok();
            if proven {
                let heads = [smaller.into(), larger.into()];
                let proofs = vec![Proof::consistency(other, new, proof.hashes)];
                return Some(evidence::fork_prefix(
                    log.accused(),
                    heads,
                    proofs,
                    &self.observed(now),
                ));
            }
        }
        None
    }

    /// Refuses a head; two heads that contradict each other are evidence by themselves.
    async fn refuse(
        &self,
        log: &LogIdentity,
        lock: &Arc<OriginLock>,
        seen: &Seen,
        compared: Option<[&SignedHead; 2]>,
        refusal: Refusal,
        now: Timestamp,
    ) -> RoundError {
        let evidence = match (refusal, compared) {
            (Refusal::Contradicted(found), Some(heads)) => {
                Some(evidence::contradiction(found, log.accused(), heads, &self.observed(now)))
            }
            _ => None,
        };
        self.refuse_with(lock, seen, refusal, evidence, now).await
    }

    /// Keeps the evidence, then the signed refusal, durably.
    async fn refuse_with(
        &self,
        lock: &Arc<OriginLock>,
        seen: &Seen,
        refusal: Refusal,
        evidence: Option<Evidence>,
        now: Timestamp,
    ) -> RoundError {
        let (home, lock) = (Arc::clone(&self.home), Arc::clone(lock));
        let seen = seen.clone();
        let kept = blocking(move || {
            let signed = seen.signed();
            let file = match evidence {
                None => None,
                Some(evidence) => {
                    let identity = signed.head().signed_bytes();
                    keep_evidence(home.path(), &evidence, &identity)?.map(|file| (file, evidence))
                }
            };
            let reason = match &file {
                Some((_, evidence)) => evidence.kind().as_str(),
                None => refusal.reason(),
            };
            if let (true, Ok(reason)) = (refusal.is_kept(), Reason::try_from(reason)) {
                let statement = lock.refuse(signed, reason, now)?;
                keep_refusal(home.path(), &statement)?;
            }
            Ok(file.map(|(file, _)| file))
        })
        .await;
        match kept {
            Ok(evidence) => RoundError::Refused { refusal, evidence },
            Err(error) => error.into(),
        }
    }

    /// Sends a body, and notes that it was answered.
    async fn deliver(
        &self,
        lock: &Arc<OriginLock>,
        body: WitnessProof,
    ) -> Result<Delivery, RoundError> {
        let answer = self.server.submit(&body).await?;
        let (old, new) = (body.claim().old_tree(), body.claim().new_tree());
        if answer == Submitted::NotAuthorized {
            // Not an answer to the proof: the operator may authorise this key at any time.
            let witness = self.home.key().fingerprint().short();
            return Err(RoundError::NotAuthorized { witness, old: old.size, new: new.size });
        }
        let held = Arc::clone(lock);
        blocking(move || held.answered(body)).await?;
        match answer {
            Submitted::Rejected { code, detail } => Err(RoundError::Rejected { code, detail }),
            answer => Ok(Delivery { old, new, answer }),
        }
    }

    async fn lock(&self, log: &LogIdentity) -> Result<Arc<OriginLock>, RoundError> {
        let (home, origin) = (Arc::clone(&self.home), LogName::from(log.origin()));
        let lock = blocking(move || OriginLock::acquire(&home, &origin, PATIENCE)).await?;
        Ok(Arc::new(lock))
    }

    fn recognise(&self, log: &LogIdentity, json: HeadJson) -> Result<Seen, RoundError> {
        Seen::recognise(json, log.operator(), log.origin())
            .map_err(|error| RoundError::NotItsHead { server: self.name(), error })
    }

    fn observed(&self, now: Timestamp) -> Observed {
        Observed { at: now, by: format!("witness {}", self.home.key().fingerprint()) }
    }

    fn name(&self) -> String {
        self.server.name().to_owned()
    }
}

/// The log that a server describes, as its own first entry bears it out.
pub(crate) async fn introduce<T: Transport>(
    server: &LogServer<T>,
    told: WellKnown,
) -> Result<LogIdentity, RoundError> {
    let genesis = server.genesis().await?;
    match LogIdentity::of_genesis(genesis.bytes()) {
        Ok(log)
            if *log.origin() == told.origin
                && *log.operator() == told.operator_public_key
                && log.log_id() == told.log_id =>
        {
            Ok(log)
        }
        _ => Err(RoundError::NotThatLog { server: server.name().to_owned() }),
    }
}

/// Refuses a log that has another operator than the pinned one.
pub(crate) fn check_pin(pin: Option<Fingerprint>, log: &LogIdentity) -> Result<(), RoundError> {
    let found = log.operator_fingerprint();
    match pin {
        Some(pinned) if pinned != found => Err(RoundError::OtherOperator { pinned, found }),
        _ => Ok(()),
    }
}

/// Where the witness stands, with the verified head of that tree.
async fn standing(lock: &Arc<OriginLock>) -> Result<(TreeRoot, Option<SignedHead>), StateError> {
    let lock = Arc::clone(lock);
    blocking(move || match lock.state()? {
        None => Ok((TreeRoot::EMPTY, None)),
        Some(state) => Ok((state.tree(), lock.head(&state)?)),
    })
    .await
}

/// Runs what waits for a disk or a lock on a thread that may wait.
///
/// # Panics
/// When the work panicked.
pub(crate) async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> Result<R, StateError> + Send + 'static,
) -> Result<R, StateError> {
    tokio::task::spawn_blocking(work).await.expect("blocking work does not panic")
}
