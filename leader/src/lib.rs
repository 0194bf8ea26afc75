//! The leader of a Diogenes log: the only writer.
//!
//! A request becomes a typed command; the sequencer decides the commands of a batch in order,
//! commits them, signs what is durable and answers. See `docs/architecture.md`.

mod alive;
mod anchor;
mod app;
mod attestations;
mod auth;
mod boot;
mod claims;
mod commands;
mod composite;
mod cosigning;
mod endorsements;
mod entries;
mod federation;
mod holders;
mod idempotency;
mod keys;
mod metrics;
mod operator;
mod peers;
mod posted;
mod recovery;
mod scrub;
mod sequencer;
mod serve;
mod start;
mod trust;
mod webhooks;
mod witnessing;

pub use commands::main;
pub use serve::{Leader, Options};
