//! How long to wait before trying again: ever longer, with jitter, for ever.
//!
//! The only user of the `backoff` crate, so that it can be exchanged in one file.

use std::time::Duration;

use backoff::backoff::Backoff;
use backoff::exponential::{ExponentialBackoff, ExponentialBackoffBuilder};

/// The longest wait that [`Retry::next_delay`] answers.
pub const LONGEST: Duration = Duration::from_secs(60);

/// The longest wait that a peer's `Retry-After` is granted.
const LONGEST_ASKED: Duration = Duration::from_secs(300);

/// The state of something that is tried until it works.
///
/// Each failure asks for [`next_delay`](Self::next_delay); a success calls
/// [`reset`](Self::reset). It never gives up.
#[derive(Debug)]
pub struct Retry {
    first: Duration,
    failures: u32,
    backoff: ExponentialBackoff<backoff::SystemClock>,
}

impl Retry {
    /// Starts with about `first`, and doubles it with each failure up to [`LONGEST`].
    pub fn new(first: Duration) -> Self {
        let first = first.clamp(Duration::from_millis(1), LONGEST);
        let backoff = ExponentialBackoffBuilder::new()
            .with_initial_interval(first)
            .with_multiplier(2.0)
            .with_randomization_factor(0.5)
            .with_max_interval(LONGEST)
            .with_max_elapsed_time(None)
            .build();
        Self { first, failures: 0, backoff }
    }

    /// Counts a failure and says how long to wait before the next attempt.
    pub fn next_delay(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.backoff.next_backoff().unwrap_or(LONGEST).min(LONGEST)
    }

    /// The same, but not less than what the peer asked for in `Retry-After` (at most 5 minutes).
    pub fn next_delay_at_least(&mut self, asked: Option<Duration>) -> Duration {
        self.next_delay().max(asked.unwrap_or_default().min(LONGEST_ASKED))
    }

    /// Forgets the failures, after a success.
    pub fn reset(&mut self) {
        *self = Self::new(self.first);
    }

    /// Failures since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

/// The wait after so many failures before the last one, from a table whose last step is repeated,
/// lengthened by up to a tenth so that those who failed together do not come back together.
pub fn stepped(steps: &[Duration], failures: usize, chance: u16) -> Duration {
    let step = steps.get(failures).or(steps.last()).copied().unwrap_or(LONGEST);
    step + step.mul_f64(f64::from(chance) / f64::from(u16::MAX) / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_walked_to_its_end_with_a_tenth_of_jitter() {
        let table = [Duration::from_secs(1), Duration::from_secs(10)];
        let waits = [0, 1, 2, 9].map(|failures| stepped(&table, failures, 0).as_secs());

        assert_eq!(waits, [1, 10, 10, 10]);
        assert_eq!(stepped(&table, 1, u16::MAX), Duration::from_secs(11));
    }

    #[test]
    fn waits_grow_with_jitter_and_stay_below_a_minute() {
        let mut retry = Retry::new(Duration::from_secs(1));

        for doubled in [1, 2, 4, 8, 16, 32, 64, 128] {
            let delay = retry.next_delay();
            let expected = Duration::from_secs(doubled).min(LONGEST);
            assert!(delay >= expected / 2, "{delay:?} after {doubled}");
            assert!(delay <= (expected * 3 / 2).min(LONGEST), "{delay:?} after {doubled}");
        }
        assert_eq!(retry.failures(), 8);
    }

    #[test]
    fn a_success_starts_over() {
        let mut retry = Retry::new(Duration::from_secs(1));
        for _ in 0..10 {
            retry.next_delay();
        }

        retry.reset();

        assert_eq!(retry.failures(), 0);
        assert!(retry.next_delay() <= Duration::from_millis(1500));
    }

    #[test]
    fn a_peer_may_ask_for_more_patience_within_reason() {
        let mut retry = Retry::new(Duration::from_millis(10));

        assert_eq!(
            retry.next_delay_at_least(Some(Duration::from_secs(90))),
            Duration::from_secs(90)
        );
        assert_eq!(retry.next_delay_at_least(Some(Duration::from_secs(1 << 40))), LONGEST_ASKED);
    }
}
