//! Deterministic simulation: one seed is one run of a leader, followers and witnesses, with virtual
//! time, a network that loses and reorders, disks that forget and a log that may lie.
//!
//! What decides is production code, compiled here file by file. What it imports from
//! `diogenes_common` and `tokio` is this crate: the pure modules as they are, and in place of time,
//! tasks, files and the database the simulated ones of the same names (see the README).

#![allow(dead_code, unused_imports)]

extern crate self as diogenes_common;
extern crate self as tokio;

pub use pure::*;
pub use real_tokio::{select, sync};

pub mod disk;
pub mod read;
pub mod rng;
pub mod store;
pub mod task;
pub mod time;

#[path = "../../../common/src/exit.rs"]
pub mod exit;
#[path = "../../../common/src/files.rs"]
pub mod files;

/// Nobody measures here.
pub mod telemetry {
    /// No metrics.
    #[derive(Clone, Debug, Default)]
    pub struct Metrics;

    impl Metrics {
        pub(crate) fn fsync_took(&self, _: std::time::Duration) {}
    }
}

#[path = "../../../leader/src"]
mod leader {
    pub(crate) mod sequencer;
    pub(crate) mod start;
}
#[path = "../../../follower/src"]
mod follower {
    pub(crate) mod replica;
}

#[path = "../../../witness/src"]
mod witness {
    pub mod add_checkpoint;
    pub mod judge;
    pub mod log;
    pub mod log_list;
    pub mod state;
}

pub(crate) use follower::replica;
pub(crate) use leader::{sequencer, start};
pub(crate) use witness::{add_checkpoint, judge, log, log_list, state};

mod idempotency;
mod metrics;

pub mod world;

pub use world::{Outcome, Violation, killed_then_cut_off, run};
