//! The follower of a Diogenes log: a read-only mirror.
//!
//! It pulls batches, verifies every rule of the log again, stores only what held, and answers every
//! read that the leader answers. What it may believe is decided by the pure `replica`; `sync` does
//! the work. See `docs/operating/follower.md`.

mod boot;
mod commands;
mod http;
mod metrics;
mod mirror;
mod moved;
mod published;
mod replica;
mod report;
mod serve;
mod share;
mod sync;

pub use commands::main;
pub use serve::{Follower, serve};
