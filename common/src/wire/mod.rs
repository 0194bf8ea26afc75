//! The JSON of the REST API, one file per area: what handlers answer, clients read and the
//! OpenAPI document describes.
//!
//! Pure. With the `shell` feature every shape also has an OpenAPI schema.

pub mod attestations;
pub mod composite;
pub mod endorsements;
pub mod evidence;
pub mod export;
pub mod graph;
pub mod identifiers;
pub mod keys;
pub mod log;
pub mod node;
pub mod problem;
#[cfg(feature = "shell")]
mod schema;
pub mod status;
pub mod trust;
pub mod verify;
pub mod webhooks;
pub mod witnesses;

#[cfg(feature = "shell")]
pub use schema::{Base64, ManifestShape};
