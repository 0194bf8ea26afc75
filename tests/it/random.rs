//! Chance that is the same for the same seed; tests add what they draw.

use std::ops::{Deref, DerefMut};

use diogenes_tests::random;

/// Draws from a seed.
pub(crate) struct Random(random::Random);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(random::Random::new(seed))
    }
}

impl Deref for Random {
    type Target = random::Random;

    fn deref(&self) -> &random::Random {
        &self.0
    }
}

impl DerefMut for Random {
    fn deref_mut(&mut self) -> &mut random::Random {
        &mut self.0
    }
}
