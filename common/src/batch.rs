//! Replication batches: the rules of the log as one running state, the two encodings of a batch,
//! and the check of a whole batch before anything of it is stored.
//!
//! The leader passes what it is about to commit through the same [`Chain::extend`] that a follower
//! runs, so nothing that a leader commits is refused by a follower.

mod chain;
mod encoding;
#[cfg(test)]
pub(crate) mod testlog;
#[cfg(test)]
mod tests;
mod verify;

pub use chain::{BrokenRule, Chain, Entry, EntryFault, Log, ResumeError, Stored, Trust};
pub(crate) use encoding::base64_hashes;
pub use encoding::{
    Batch, BatchHeader, DecodeError, ENTRY_BUDGET, Encoding, MAX_BODY_BYTES, MAX_ENTRIES, decode,
    encode, recover_leaf,
};
pub use verify::{BatchFault, FaultClass, Missing, ProvenFault, VerifiedBatch, verify_batch};
