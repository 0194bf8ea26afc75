//! Opening a log: what to do with the key, the guard and the database that are found, and reading
//! the log's newest state (docs/reliability.md, "When state goes missing or back").
//!
//! What is decided here keeps the first invariant: no leader ever signs two histories. So nothing
//! is created where something is missing, and nothing is signed below what was signed before.

use std::sync::Arc;

use diogenes_common::batch::{Chain, Trust};
use diogenes_common::exit::Failure;
use diogenes_common::head::{HeadJson, TreeHead};
use diogenes_common::keys::{Fingerprint, SigningKey};
use diogenes_common::merkle::{Edge, Hash, ProofPlan, TreeSize};
use diogenes_common::read::Snapshot;
use diogenes_common::store::{ChainError, CommitError, Store, StoreError};

use crate::sequencer::{NotSigning, SignedGuard};

/// What a start finds before it does anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// The operator key of the data directory.
    pub(crate) key: Option<Fingerprint>,
    /// Whether a first start was interrupted.
    pub(crate) initialising: bool,
    /// The newest head that was signed, as the data directory remembers it.
    pub(crate) guard: Option<SignedGuard>,
    /// What the database holds.
    pub(crate) log: Option<FoundLog>,
    /// The size that the operator vouches for (`--accept-size`).
    pub(crate) accept_size: Option<u64>,
}

/// A log in a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundLog {
    /// The operator named by its genesis.
    pub(crate) operator: Fingerprint,
    /// The genesis entry's hash.
    pub(crate) log_id: Hash,
    /// How many entries it has.
    pub(crate) size: TreeSize,
    /// Its root at the guard's size, if it is that long.
    pub(crate) root_at_guard: Option<Hash>,
}

/// What a start does with what it found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Nothing is there: make a key and a genesis, or finish making them.
    Initialise,
    /// Serve and sign.
    Go,
    /// Serve reads, sign nothing.
    ReadOnly(NotSigning),
}

/// Why a start must not go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unsafe {
    /// A log, and nothing to sign it with.
    #[error("the database holds a log, but the data directory has no operator key")]
    KeyMissing,
    /// A key that signed a log which is not there.
    #[error("this key or its signed-guard belongs to a log, but the database is empty")]
    DatabaseMissing,
    /// The log of another operator.
    #[error("the database holds the log of another operator key ({0})")]
    OtherOperator(Fingerprint),
    /// Another log of the same operator.
    #[error("the database holds another log than the one that this directory signed")]
    OtherLog,
    /// An older copy.
    #[error("the database has {held} entries, but a head of {signed} was signed already")]
    Shorter { held: TreeSize, signed: TreeSize },
    /// Another history.
    #[error("the database has another root at size {at} than the one that was signed")]
    OtherHistory { at: TreeSize },
    /// The operator vouches for another size.
    #[error("--accept-size {accepted} was given, but the database has {held} entries")]
    OtherSize { accepted: u64, held: TreeSize },
}

impl From<Unsafe> for Failure {
    fn from(error: Unsafe) -> Self {
        let what_to_do = match &error {
            Unsafe::KeyMissing => {
                "restore operator.pem into the data directory; a new key would be a new log"
            }
            Unsafe::OtherSize { .. } => "give the size that the database really has, or none",
            Unsafe::Shorter { .. } | Unsafe::DatabaseMissing => {
                "bring back the newest copy of the database, or fetch what is missing from a \
                 follower: diogenes-leader recover --from URL; nothing was signed"
            }
            _ => {
                "point DATABASE_URL and the data directory at one log, or bring back the newest \
                 copy of the database; nothing was signed"
            }
        };
        Self::unsafe_state("self_rolled_back", &error, what_to_do)
    }
}

/// Decides what a start does. Pure.
pub(crate) fn plan(found: &Found) -> Result<Plan, Unsafe> {
    let Some(log) = &found.log else {
        let untouched = found.key.is_none() && found.guard.is_none();
        let resumable = found.initialising && found.guard.is_none();
        return if untouched || resumable {
            Ok(Plan::Initialise)
        } else {
            Err(Unsafe::DatabaseMissing)
        };
    };
    let key = found.key.ok_or(Unsafe::KeyMissing)?;
    if log.operator != key {
        return Err(Unsafe::OtherOperator(log.operator));
    }
    if found.initialising && log.size.get() <= 1 {
        return Ok(Plan::Initialise);
    }
    if let Some(accepted) = found.accept_size
        && accepted != log.size.get()
    {
        return Err(Unsafe::OtherSize { accepted, held: log.size });
    }
    let Some(guard) = &found.guard else {
        return Ok(match found.accept_size {
            Some(_) => Plan::Go,
            None => Plan::ReadOnly(NotSigning::Unconfirmed),
        });
    };
    if guard.log_id != log.log_id {
        return Err(Unsafe::OtherLog);
    }
    match log.root_at_guard {
        None => Err(Unsafe::Shorter { held: log.size, signed: guard.tree_size }),
        Some(root) if root != guard.root => Err(Unsafe::OtherHistory { at: guard.tree_size }),
        Some(_) => Ok(Plan::Go),
    }
}

/// An open log, read from the database and checked against itself.
pub(crate) struct Opened {
    /// The genesis entry's hash, the log's id.
    pub(crate) log_id: Hash,
    /// The verifier's state at the newest entry.
    pub(crate) chain: Chain,
    /// The fields of the newest committed head.
    pub(crate) head: TreeHead,
    /// The fence against older processes.
    pub(crate) writer: i64,
    /// The newest entry that is neither a witness proof nor an anchor.
    pub(crate) last_event_id: u64,
    /// What a leader that may not sign shows: the newest head with a signature.
    pub(crate) newest_signed: Option<Arc<Snapshot>>,
}

/// Why a log can't be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// The database failed, or what it holds is no chain of this operator.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The rows contradict each other.
    #[error("the database contradicts itself: {0}")]
    Inconsistent(&'static str),
}

impl From<StoreError> for OpenError {
    fn from(error: StoreError) -> Self {
        Self::Chain(error.into())
    }
}

impl From<OpenError> for CommitError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Chain(ChainError::Store(error)) => error.into(),
            // The database holds something else than what this process wrote to it.
            OpenError::Chain(ChainError::Resume(_)) | OpenError::Inconsistent(_) => Self::NotLeader,
        }
    }
}

/// Reads the log's newest state and raises `writer`, which fences every older process.
///
/// The right edge is recomputed from the entries; it must give the stored root and chain head, and
/// the newest stored signature must be the operator's.
pub(crate) async fn reopen(store: &Store, operator: &SigningKey) -> Result<Opened, OpenError> {
    let writer = store.raise_writer().await?;
    let state = store.state().await?.ok_or(OpenError::Inconsistent("it is empty"))?;
    let trust = Trust { operator: operator.fingerprint() };
    let chain = store.resume_chain(trust).await?.ok_or(OpenError::Inconsistent("it is empty"))?;
    if chain.tree() != state.tree {
        return Err(OpenError::Inconsistent("its entries do not give the stored root"));
    }
    if chain.chain_head() != state.chain_head {
        return Err(OpenError::Inconsistent("its last entry is not the stored chain head"));
    }
    let log = chain.log().ok_or(OpenError::Inconsistent("it has no genesis"))?;
    let log_id = log.id();
    let signed = store.newest_signed_head().await?.and_then(|row| row.head_json);
    let is_ours = signed.is_none_or(|text| {
        let json = serde_json::from_str::<HeadJson>(&text);
        json.is_ok_and(|json| json.verify(operator.public(), log.origin()).is_ok())
    });
    if !is_ours {
        return Err(OpenError::Inconsistent("its newest signed head does not verify"));
    }
    let head = TreeHead {
        chain_head: state.chain_head,
        epoch: state.epoch,
        origin: log.origin().clone(),
        root_hash: state.tree.hash,
        timestamp: state.timestamp,
        tree_size: state.tree.size,
    };
    Ok(Opened {
        log_id,
        chain,
        head,
        writer,
        last_event_id: state.last_event_id,
        newest_signed: None,
    })
}

/// The root that the log had at `size`, which must not be above the edge's.
pub(crate) async fn root_at(
    store: &Store,
    edge: &Edge,
    size: TreeSize,
) -> Result<Hash, StoreError> {
    let plan = ProofPlan::root(size);
    let hashes = store.nodes(plan.nodes(), edge).await?;
    Ok(plan.assemble(&hashes).first().copied().unwrap_or(Hash::EMPTY_TREE))
}

#[cfg(test)]
mod tests {
    use diogenes_common::clock::Timestamp;

    use super::*;

    fn key(n: u8) -> Fingerprint {
        SigningKey::from_seed([n; 32]).fingerprint()
    }

    fn size(n: u64) -> TreeSize {
        TreeSize::ZERO.plus(n)
    }

    fn guard(n: u64) -> SignedGuard {
        SignedGuard {
            origin: "log.example".parse().expect("an origin"),
            log_id: Hash::of(b"genesis"),
            tree_size: size(n),
            root: Hash::of(b"root"),
            timestamp: Timestamp::from_millis(0).expect("a time"),
        }
    }

    fn log(n: u64) -> FoundLog {
        FoundLog {
            operator: key(1),
            log_id: Hash::of(b"genesis"),
            size: size(n),
            root_at_guard: Some(Hash::of(b"root")),
        }
    }

    fn found() -> Found {
        Found {
            key: Some(key(1)),
            initialising: false,
            guard: Some(guard(5)),
            log: Some(log(9)),
            accept_size: None,
        }
    }

    #[test]
    fn a_key_a_guard_and_their_log_go_together() {
        assert_eq!(plan(&found()), Ok(Plan::Go));
        let other = Found { log: Some(FoundLog { operator: key(2), ..log(9) }), ..found() };
        assert_eq!(plan(&other), Err(Unsafe::OtherOperator(key(2))));
        let log_id = Hash::of(b"other");
        let other = Found { log: Some(FoundLog { log_id, ..log(9) }), ..found() };
        assert_eq!(plan(&other), Err(Unsafe::OtherLog));
    }

    #[test]
    fn nothing_at_all_is_a_new_log_and_an_interrupted_start_goes_on() {
        let nothing = Found { key: None, guard: None, log: None, ..found() };
        assert_eq!(plan(&nothing), Ok(Plan::Initialise));
        let with_key =
            Found { key: Some(key(1)), initialising: true, guard: None, log: None, ..found() };
        assert_eq!(plan(&with_key), Ok(Plan::Initialise));
        let with_genesis = Found { initialising: true, log: Some(log(1)), ..found() };
        assert_eq!(plan(&with_genesis), Ok(Plan::Initialise));
    }

    #[test]
    fn a_missing_half_is_never_made_anew() {
        let no_database = Found { log: None, ..found() };
        assert_eq!(plan(&no_database), Err(Unsafe::DatabaseMissing));
        let only_key = Found { guard: None, log: None, ..found() };
        assert_eq!(plan(&only_key), Err(Unsafe::DatabaseMissing));
        let only_guard = Found { key: None, log: None, ..found() };
        assert_eq!(plan(&only_guard), Err(Unsafe::DatabaseMissing));
        let no_key = Found { key: None, ..found() };
        assert_eq!(plan(&no_key), Err(Unsafe::KeyMissing));
    }

    #[test]
    fn an_older_or_other_history_is_refused() {
        let shorter = Found { log: Some(FoundLog { root_at_guard: None, ..log(4) }), ..found() };
        assert_eq!(plan(&shorter), Err(Unsafe::Shorter { held: size(4), signed: size(5) }));
        let root_at_guard = Some(Hash::of(b"fork"));
        let forked = Found { log: Some(FoundLog { root_at_guard, ..log(9) }), ..found() };
        assert_eq!(plan(&forked), Err(Unsafe::OtherHistory { at: size(5) }));
    }

    #[test]
    fn without_a_guard_only_the_operators_word_allows_signing() {
        let unguarded = Found { guard: None, ..found() };
        assert_eq!(plan(&unguarded), Ok(Plan::ReadOnly(NotSigning::Unconfirmed)));
        let accepted = Found { accept_size: Some(9), ..unguarded.clone() };
        assert_eq!(plan(&accepted), Ok(Plan::Go));
        let wrong = Found { accept_size: Some(8), ..unguarded };
        assert_eq!(plan(&wrong), Err(Unsafe::OtherSize { accepted: 8, held: size(9) }));
    }
}
