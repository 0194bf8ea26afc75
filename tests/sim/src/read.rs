//! What readers of the leader see.

#[path = "../../../common/src/read/snapshot.rs"]
mod snapshot;

pub use snapshot::{Published, Snapshot};
