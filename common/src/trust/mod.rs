//! Trust as one verifier sees it.
#![allow(dead_code)]
mod capacity;
mod graph;
mod millionths;
mod policy;
pub use capacity::*;
pub use graph::*;
pub use millionths::*;
pub use policy::*;
