//! The operator's peers (`DIOGENES_PEERS`): who can tell this leader that it signed more than its
//! database holds (docs/reliability.md, "When state goes missing or back").
//!
//! They are asked before a start signs anything, and in the background until each has answered.

mod ask;
mod own_signed;
mod verdict;
mod watch;

pub(crate) use ask::{Answer, Peers, ask, client, reach};
pub(crate) use own_signed::{Identity, OwnSigned};
pub(crate) use watch::{Confirmation, confirm, watch};
