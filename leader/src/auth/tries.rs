//! How often somebody may fail, or ask: counted per key and per network, within bounded memory.
//! Pure; the time is passed in.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

/// How many tries may fail within one window.
const MAX_FAILED: u32 = 10;
/// How long a window is, from its first failed try on.
const WINDOW_MILLIS: i64 = 15 * 60 * 1000;
/// The most that are counted at once; beyond that the oldest window makes way.
const MAX_COUNTED: usize = 100_000;

/// The tries that failed lately, by who made them.
#[derive(Debug)]
pub(super) struct Tries<W> {
    windows: HashMap<W, Window>,
    /// In the order in which the windows began, which is that in which they end.
    begun: VecDeque<W>,
    room: usize,
    /// How many tries may fail within one window.
    most: u32,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    since: i64,
    failed: u32,
}

/// Too many tries failed: when the next one is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "too many challenges, wrong answers or wrong passwords; wait {} seconds",
    .0.as_millis().div_ceil(1000)
)]
pub(crate) struct Wait(pub(super) Duration);

impl<W> Default for Tries<W> {
    fn default() -> Self {
        Self::up_to(MAX_FAILED)
    }
}

impl<W> Tries<W> {
    /// So many may fail within one window.
    pub(super) fn up_to(most: u32) -> Self {
        Self { windows: HashMap::new(), begun: VecDeque::new(), room: MAX_COUNTED, most }
    }
}

impl<W: Clone + Eq + Hash> Tries<W> {
    /// Refuses whoever failed too often; `now` is in milliseconds of a clock that never goes back.
    pub(super) fn may_try(&self, who: &W, now: i64) -> Result<(), Wait> {
        let Some(window) = self.windows.get(who) else { return Ok(()) };
        let left = window.since.saturating_add(WINDOW_MILLIS).saturating_sub(now);
        match u64::try_from(left) {
            Ok(left) if left > 0 && window.failed >= self.most => {
                Err(Wait(Duration::from_millis(left)))
            }
            _ => Ok(()),
        }
    }

    /// Counts a try that failed.
    pub(super) fn failed(&mut self, who: &W, now: i64) {
        self.forget_ended(now);
        if let Some(window) = self.windows.get_mut(who) {
            window.failed = window.failed.saturating_add(1);
            return;
        }
        while self.windows.len() >= self.room {
            self.forget_oldest();
        }
        self.windows.insert(who.clone(), Window { since: now, failed: 1 });
        self.begun.push_back(who.clone());
    }

    fn forget_ended(&mut self, now: i64) {
        let has_ended = |who: &W| {
            self.windows.get(who).is_none_or(|window| now - window.since >= WINDOW_MILLIS)
        };
        let ended = self.begun.iter().take_while(|who| has_ended(who)).count();
        for _ in 0..ended {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.begun.pop_front() {
            self.windows.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failing(tries: &mut Tries<u32>, who: u32, times: u32, now: i64) {
        for _ in 0..times {
            tries.failed(&who, now);
        }
    }

    #[test]
    fn after_ten_failed_tries_one_waits_for_the_rest_of_the_window() {
        let mut tries = Tries::default();
        failing(&mut tries, 1, 9, 0);
        assert_eq!(tries.may_try(&1, 1), Ok(()));
        failing(&mut tries, 1, 1, 1_000);

        let wait = |millis| Err(Wait(Duration::from_millis(millis)));
        assert_eq!(tries.may_try(&1, 1_000), wait(899_000));
        assert_eq!(tries.may_try(&1, 899_999), wait(1));
        assert_eq!(tries.may_try(&1, 900_000), Ok(()));
        assert_eq!(tries.may_try(&2, 1_000), Ok(()), "others are not concerned");
    }

    #[test]
    fn a_new_window_counts_from_one() {
        let mut tries = Tries::default();
        failing(&mut tries, 1, 10, 0);

        failing(&mut tries, 1, 9, WINDOW_MILLIS);

        assert_eq!(tries.may_try(&1, WINDOW_MILLIS), Ok(()));
        failing(&mut tries, 1, 1, WINDOW_MILLIS + 1);
        assert!(tries.may_try(&1, WINDOW_MILLIS + 1).is_err());
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_makes_way() {
        let mut tries = Tries { room: 3, ..Tries::default() };
        failing(&mut tries, 0, 10, 0);
        for who in 1..4 {
            failing(&mut tries, who, 10, 1);
        }

        assert_eq!(tries.may_try(&0, 2), Ok(()));
        assert!((1..4).all(|who| tries.may_try(&who, 2).is_err()));
        assert_eq!((tries.windows.len(), tries.begun.len()), (3, 3));
        failing(&mut tries, 9, 1, WINDOW_MILLIS + 1);
        assert_eq!((tries.windows.len(), tries.begun.len()), (1, 1));
    }
}
