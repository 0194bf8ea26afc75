//! The reads that leader and follower both answer, from verified data alone.
//!
//! A role builds one [`Reads`] at start, implements [`Node`] for its own state and merges
//! [`router`] into its routes. Every request takes one [`Snapshot`] and answers from it: what is
//! appended meanwhile is not seen.
//!
//! ```ignore
//! let reads = Reads::new(Setup { store, published, round, checkpoints, facts, board, clock, graph,
//!     tasks });
//! let (router, document) = OpenApiRouter::new()
//!     .merge(read::router::<App>(&limiter))
//!     .merge(own_routes())
//!     .split_for_parts();
//! let router = router.merge(read::openapi(&document)).with_state(app);
//! ```

mod answer;
mod checkpoint;
mod coding;
mod document;
mod endorsements;
mod entries;
mod equivocation;
mod events;
mod evidence;
mod export;
mod graph;
mod heads;
mod health;
mod identifiers;
mod kept;
mod keys;
mod page;
mod proof_file;
mod proofs;
mod query;
mod reads;
mod reference;
mod replicate;
mod snapshot;
mod status;
#[cfg(test)]
mod testing;
mod tiles;
mod trail;
mod trust_configs;
mod trust_layer;
mod turns;
mod verify;
mod verify_schedule;
mod walk;
mod when;
mod witnesses;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use checkpoint::{CheckpointBoard, CheckpointChoice, CosignedCheckpoint};
pub use evidence::{EVIDENCE, Latching, href};
pub use graph::GraphSetup;
pub use proofs::{consistency_proof, inclusion_proof, root_at};
pub(crate) use query::{LARGEST, SWITCH};
pub use query::{Paging, Params};
pub use reads::{Facts, LogFacts, Node, Reads, ReadyAsk, Role, Setup, verified_headers};
pub use reference::openapi;
pub use snapshot::{Published, Snapshot};
pub use status::{Shown, StatusBoard};
pub use verify::{ChainMetrics, DAMAGE, Verification};
pub use verify_schedule::verify_schedule;

use crate::describe::limited;
use crate::server::limits::{Class, Limiter};

/// The routes, with the limits of their classes. Paths are complete: merge, do not nest.
pub fn router<N: Node>(limiter: &Limiter) -> OpenApiRouter<N> {
    let log = OpenApiRouter::new()
        .routes(routes!(entries::head))
        .routes(routes!(entries::entry))
        .routes(routes!(heads::sth))
        .routes(routes!(heads::tree_head))
        .routes(routes!(proofs::inclusion))
        .routes(routes!(proofs::consistency))
        .routes(routes!(replicate::replicate))
        .routes(routes!(witnesses::list))
        .routes(routes!(witnesses::one))
        .routes(routes!(status::replication_status))
        .routes(routes!(health::well_known))
        .merge(tiles::router());
    let federation = OpenApiRouter::new()
        .routes(routes!(evidence::list, evidence::receive))
        .routes(routes!(evidence::file));
    let query = OpenApiRouter::new()
        .routes(routes!(entries::list))
        .routes(routes!(trail::by_fingerprint))
        .routes(routes!(trail::audit_trail))
        .routes(routes!(export::export))
        .routes(routes!(keys::list))
        .routes(routes!(keys::search))
        .routes(routes!(keys::record))
        .routes(routes!(keys::status))
        .routes(routes!(endorsements::received))
        .routes(routes!(endorsements::issued))
        .routes(routes!(endorsements::status))
        .routes(routes!(endorsements::alerts))
        .routes(routes!(trust_configs::list))
        .routes(routes!(trust_configs::one))
        .routes(routes!(verify::verify))
        .routes(routes!(document::verify_document))
        .routes(routes!(identifiers::types))
        .routes(routes!(graph::graph));
    let unlimited = OpenApiRouter::new()
        .routes(routes!(health::health))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
        .routes(routes!(events::events))
        .merge(page::router());
    limited(limiter, Class::Log, log)
        .merge(limited(limiter, Class::Federation, federation))
        .merge(limited(limiter, Class::Query, query))
        .merge(unlimited)
}
