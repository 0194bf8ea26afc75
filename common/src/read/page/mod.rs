//! Pages for people: the status, entries and keys. Complete without a script, live with one.
//!
//! Every page is made of plain structures that a function computes from the node's state, and a
//! template that shows them. What strangers wrote is only ever text: templates escape it, and
//! [`text`] makes characters visible that would hide or turn it around.

mod asset;
mod commands;
mod entry;
mod followers;
mod frame;
mod growth;
mod home;
mod incidents;
mod key;
mod numbers;
mod recent;
mod ruler;
#[cfg(test)]
mod tests;
mod text;
mod witnesses;

use axum::routing::get;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) use growth::Memory as GrowthMemory;

use super::reads::Node;

/// The pages and what they are made of. The document describes the first one alone: the others
/// show what its routes answer, and belong to it.
pub(super) fn router<N: Node>() -> OpenApiRouter<N> {
    OpenApiRouter::new()
        .routes(routes!(home::page))
        .route("/entries/{id}", get(entry::page))
        .route("/keys/{fingerprint}", get(key::page))
        .merge(OpenApiRouter::from(asset::files()))
}
