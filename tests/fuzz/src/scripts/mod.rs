//! Targets whose input is a script: bytes that say, step by step, what happens to a state machine.
//!
//! The machine is production code, the world around it is made here: a log of twelve entries, what
//! its key could say instead, those who lie without that key. After each step everything that must
//! hold is checked against what was really said, computed the slow way.

mod follower;
mod history;
mod judge;
mod replica;

pub use judge::judge;
pub use replica::replica;

/// How many steps a script has at most.
const MAX_STEPS: usize = 48;

/// What is left of a script; where it ends, the run does.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn below(&mut self, bound: usize) -> Option<usize> {
        Some(usize::from(self.byte()?) % bound)
    }
}

pub(crate) fn seeds(target: &str) -> Option<Vec<Vec<u8>>> {
    let scripts: &[&[&[u8]]] = match target {
        "replica" => replica::SEEDS,
        "judge" => judge::SEEDS,
        _ => return None,
    };
    Some(scripts.iter().map(|steps| steps.concat()).collect())
}
