//! What the roles of a Diogenes log share: the formats, the tree, the verifier and the shell
//! around them.
//!
//! Modules above the line are pure: no runtime, no database, no network. The `shell` feature adds
//! the rest.

pub mod batch;
pub mod bundle;
pub mod canonical;
pub mod checkpoint;
pub mod clock;
pub mod composite;
pub mod cosignature;
pub mod event;
pub mod evidence;
pub mod export;
pub mod head;
pub mod identifiers;
pub mod keys;
pub mod leaf;
pub mod manifest;
pub mod merkle;
pub mod note;
pub mod policy;
pub mod proof;
pub mod shape;
pub mod statement;
pub mod trust;
pub mod verdict;
pub mod view;
pub mod wire;

#[cfg(feature = "shell")]
pub mod client;
#[cfg(feature = "shell")]
pub mod clock_system;
#[cfg(feature = "shell")]
pub mod config;
#[cfg(feature = "shell")]
pub mod describe;
#[cfg(feature = "shell")]
pub mod exit;
#[cfg(feature = "shell")]
pub mod files;
#[cfg(feature = "shell")]
pub mod read;
#[cfg(feature = "shell")]
pub mod retry;
#[cfg(feature = "shell")]
pub mod server;
#[cfg(feature = "shell")]
pub mod shutdown;
#[cfg(feature = "shell")]
pub mod store;
#[cfg(feature = "shell")]
pub mod telemetry;
