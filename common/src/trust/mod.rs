//! Trust as one verifier sees it: policies, the capacity of endorsers, and scores. Pure.
//!
//! `docs/trust.md` explains every formula with an example; the examples are tests here.

mod capacity;
mod disjoint;
mod graph;
mod matching;
mod millionths;
mod network;
mod policy;
mod score;
mod walk;

pub use capacity::{
    CAPACITY_OF_INSTITUTION, COUNTED_ENDORSERS, Level, MAX_CAPACITY, MIN_CAPACITY, NotALevel,
    capacity, has_room, level, weight,
};
pub use graph::{Alert, Edge, Graph, MAX_EDGES, MAX_NODES};
pub use millionths::{Millionths, NotMillionths};
pub use policy::{
    MAX_ANCHORS, MAX_DEPTH, MAX_DEPTH_OF_DISJOINT, MAX_INSTITUTION_CHARS, MAX_INSTITUTIONS,
    MAX_PATHS, Policy, PolicyError,
};
pub use score::{Assessment, Reason, Step, assess};
pub use walk::{Round, Side, Walk};
