//! Self-healing: everything that is stored is read again, and what is damaged is made anew.
//!
//! ```text
//! signed head -> right edge -> tiles, from the top -> entries -> heads, state, views
//! ```
//!
//! Each thing is held against the one before it in that line, so that damage has one place: a tile
//! is what the tile above it says, an entry is what its tile says. What is damaged is made from what
//! was verified, or fetched from another node and taken only if it hashes to what the signed head
//! covers. Nothing else is ever written.
//!
//! `judge`, `heads` and `rows` decide; the rest reads, fetches and writes.

mod edge;
mod heads;
mod judge;
mod metrics;
mod pace;
mod peers;
mod rest;
mod rows;
mod scrubber;
mod tail;
mod task;
mod tree;
mod views;

use std::fmt;

pub use metrics::ScrubMetrics;
pub use pace::Pace;
pub use peers::Peers;
pub use rest::{AtRest, Line, Mended, RestError};
pub use scrubber::{Reference, Scrubber};
pub use task::{DAMAGED, Parts, ScrubTask};

/// What kind of thing is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Entries below the last complete tile.
    Entry,
    /// Entries after the last complete tile: what the next head is computed from.
    Edge,
    /// A complete tile of this level.
    Tile(u8),
    /// A stored head, by its size.
    Head,
    /// The row that every commit compares with.
    LogState,
    /// A view.
    View(&'static str),
}

impl Place {
    /// Every name of a place.
    pub const NAMES: [&'static str; 6] = ["entry", "edge", "tile", "head", "log_state", "view"];

    /// The name that metrics and incidents give it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Entry => "entry",
            Self::Edge => "edge",
            Self::Tile(_) => "tile",
            Self::Head => "head",
            Self::LogState => "log_state",
            Self::View(_) => "view",
        }
    }

    /// Whether the next head rests on it.
    pub const fn is_edge(self) -> bool {
        matches!(self, Self::Edge | Self::LogState)
    }
}

/// Damage: what kind of thing, and which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Damage {
    /// The kind of thing.
    pub place: Place,
    /// The first that is damaged.
    pub first: u64,
    /// The last that is damaged.
    pub last: u64,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, first, last } = self;
        match place {
            Place::Tile(level) => write!(f, "tile {level}/{first}"),
            Place::View(table) => write!(f, "view {table}"),
            Place::LogState => f.write_str("log_state"),
            _ if first == last => write!(f, "{} {first}", place.name()),
            _ => write!(f, "{} {first}-{last}", place.name()),
        }
    }
}

/// Damage that was found, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What is damaged.
    pub damage: Damage,
    /// What is wrong with it.
    pub reason: &'static str,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of damage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was made anew: from what, in words.
    Repaired(String),
    /// It was left as it is: why, in words.
    Left(String),
}

impl Finding {
    /// Whether it was made anew.
    pub fn is_repaired(&self) -> bool {
        matches!(self.outcome, Outcome::Repaired(_))
    }

    /// What became of it, in words.
    pub fn detail(&self) -> &str {
        match &self.outcome {
            Outcome::Repaired(detail) | Outcome::Left(detail) => detail,
        }
    }
}
