//! What the log says about keys and peers: rows, the overlay that a batch works on, and the one
//! function that changes them.
//!
//! Views are a pure function of the log: [`apply`] is the only way a row changes, on the leader
//! and on a follower alike. It never fails; an entry that breaks a rule of state is stored
//! without effect and the reason is kept.

mod apply;
mod circle;
mod endorsements;
mod identity;
mod lifecycle;
mod overlay;
mod policies;
mod rows;
#[cfg(test)]
mod testing;
mod trust_rows;

pub use apply::{Effect, NoEffect, apply, category_of, has_role, is_endorsed, needs};
pub use circle::{Circle, MAX_RECEIVED};
pub use endorsements::{may_accept, may_alert, may_offer, may_revoke_acceptance, may_withdraw};
pub use identity::{may_attest, may_register, may_revoke, may_succeed};
pub use lifecycle::{Ended, Ending, KeyState};
pub use overlay::{
    Changes, Endorsements, LoadedRows, NEWEST_OF_PAIR, Needs, Overlay, Savepoint, Table,
};
pub use policies::{may_claim, may_reveal, may_revoke_config};
pub use rows::{
    AttestationRow, AttestedTypeRow, EndorsedRow, KeyRow, ProfileRow, Reference, Role, Row,
    WitnessRow,
};
pub use trust_rows::{
    Acceptance, AlertRow, ClaimRow, EndorsementEnd, EndorsementEnding, EndorsementRow,
    EndorsementState, TrustConfigRow,
};

/// The version of the views; another one in a database rebuilds them at start.
pub const VERSION: i64 = 3;
