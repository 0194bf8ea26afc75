//! The witness of a Diogenes log: it checks that the log only grew, and signs that it did.
//!
//! What may be signed is decided by pure functions ([`judge`]); what was decided becomes durable
//! before it is signed ([`state`]); an [`agent`] carries both to the servers of a log.

pub mod add_checkpoint;
pub mod agent;
mod commands;
pub mod findings;
mod http;
pub mod judge;
pub mod log;
pub mod log_list;
mod serve;
mod share;
pub mod source;
pub mod state;
#[cfg(test)]
mod testing;

pub use commands::main;
