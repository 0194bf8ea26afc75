//! What the log says about keys and peers: rows, the overlay that a batch works on, and the one
//! function that changes them.
//!
//! Views are a pure function of the log: [`apply`] is the only way a row changes, on the leader
//! and on a follower alike. It never fails; an entry that breaks a rule of state is stored
//! without effect and the reason is kept.

mod apply;
mod identity;
mod lifecycle;
mod overlay;
mod rows;
#[cfg(test)]
mod testing;

pub use apply::{Effect, NoEffect, apply, category_of, has_role, is_endorsed, needs};
pub use identity::{may_attest, may_register, may_revoke, may_succeed};
pub use lifecycle::{Ended, Ending, KeyState};
pub use overlay::{Changes, LoadedRows, Needs, Overlay, Savepoint, Table};
pub use rows::{
    AttestationRow, AttestedTypeRow, EndorsedRow, KeyRow, ProfileRow, Reference, Role, Row,
    WitnessRow,
};

/// The version of the views; another one in a database rebuilds them at start.
pub const VERSION: i64 = 2;
