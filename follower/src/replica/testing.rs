//! Heads of a log that is only as real as the state machine's tests need.

use std::sync::Arc;

use diogenes_common::clock::Timestamp;
use diogenes_common::head::TreeHead;
use diogenes_common::keys::SigningKey;
use diogenes_common::merkle::{Hash, TreeRoot, TreeSize};

use super::{Accepted, Now};

/// A moment so many seconds after an arbitrary one.
pub(crate) fn at(second: u64) -> Timestamp {
    let millis = i64::try_from(second).unwrap_or(0) * 1000;
    Timestamp::from_millis(1_800_000_000_000 + millis).expect("a time of this century")
}

/// The same moment on both clocks.
pub(crate) fn now(second: u64) -> Now {
    Now { wall: at(second), steady: i64::try_from(second).unwrap_or(0) * 1000 }
}

/// The honest tree of that size.
pub(crate) fn tree(size: u64) -> TreeRoot {
    let hash = if size == 0 { Hash::EMPTY_TREE } else { Hash::of(&size.to_be_bytes()) };
    TreeRoot { size: TreeSize::ZERO.plus(size), hash }
}

/// The honest head of that size, signed at that second.
pub(crate) fn head(size: u64, second: u64) -> Arc<Accepted> {
    head_of(tree(size), second)
}

/// A head over any tree.
pub(crate) fn head_of(tree: TreeRoot, second: u64) -> Arc<Accepted> {
    let signed = TreeHead {
        chain_head: (tree.size > TreeSize::ZERO).then(|| Hash::of(b"entry")),
        epoch: 1,
        origin: "log.example/log-1".parse().expect("an origin"),
        root_hash: tree.hash,
        timestamp: at(second),
        tree_size: tree.size,
    }
    .sign(&SigningKey::from_seed([7; 32]));
    let json = signed.to_json(String::new(), tree.size.get());
    Arc::new(Accepted { signed, json })
}
