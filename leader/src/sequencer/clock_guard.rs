//! When the leader's own clock may be stamped into the log.

use diogenes_common::clock::{Clock, Timestamp};

/// How far wall clock and boot-time clock may part after the start.
const MAX_PARTED_MS: i64 = 60_000;
/// How far the wall clock may be below the last head.
const MAX_BEHIND_MS: i64 = 120_000;
/// How far the wall clock may be above the last head when the leader starts.
const MAX_AHEAD_AT_START_MS: i64 = 400 * 24 * 3_600_000;

/// What the clocks showed when the leader started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClockGuard {
    wall: Timestamp,
    steady_ms: i64,
    last_head: Option<Timestamp>,
    accepted: bool,
    stamped: bool,
}

/// Why the clock is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ClockStep {
    /// The wall clock was set since the start.
    #[error("the wall clock and the boot-time clock parted by {by_ms} ms since the start")]
    Parted { by_ms: i64 },
    /// The wall clock is below what was signed.
    #[error("the wall clock is {by_ms} ms below the last signed head")]
    Behind { by_ms: i64 },
    /// The wall clock is far above what was signed when the leader started.
    #[error("the wall clock was {by_ms} ms above the last signed head at the start")]
    FarAhead { by_ms: i64 },
}

impl ClockGuard {
    /// Notes the clocks at the start; `accepted` is the operator's `--accept-clock`.
    pub(crate) fn start(clock: &dyn Clock, last_head: Option<Timestamp>, accepted: bool) -> Self {
        Self {
            wall: clock.now(),
            steady_ms: clock.steady_millis(),
            last_head,
            accepted,
            stamped: false,
        }
    }

    /// The time to stamp, judged anew at every batch, so that a corrected clock heals by itself.
    pub(crate) fn stamp(
        &mut self,
        clock: &dyn Clock,
        newest: Timestamp,
    ) -> Result<Timestamp, ClockStep> {
        let wall = clock.now();
        if !self.accepted {
            // A clock that was wrong when the leader started is measured from when it is right.
            if !self.stamped && self.far_off(self.wall, newest).is_some() {
                (self.wall, self.steady_ms) = (wall, clock.steady_millis());
            }
            let elapsed = clock.steady_millis() - self.steady_ms;
            let parted = wall.millis_since(self.wall) - elapsed;
            if parted.abs() > MAX_PARTED_MS {
                return Err(ClockStep::Parted { by_ms: parted });
            }
            if let Some(step) = self.far_off(wall, newest) {
                return Err(step);
            }
        }
        self.stamped = true;
        Ok(wall.max(newest))
    }

    /// How a wall clock is too far from the last head; far above it counts until a head is made.
    fn far_off(&self, wall: Timestamp, newest: Timestamp) -> Option<ClockStep> {
        let behind = newest.millis_since(wall);
        if behind > MAX_BEHIND_MS {
            return Some(ClockStep::Behind { by_ms: behind });
        }
        let ahead = self.last_head.map_or(0, |head| wall.millis_since(head));
        (!self.stamped && ahead > MAX_AHEAD_AT_START_MS)
            .then_some(ClockStep::FarAhead { by_ms: ahead })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    struct Fake(Mutex<(i64, i64)>);

    impl Fake {
        fn at(wall: i64) -> Self {
            Self(Mutex::new((wall, 0)))
        }

        fn set(&self, wall: i64, steady: i64) {
            *self.0.lock().unwrap() = (wall, steady);
        }
    }

    impl Clock for Fake {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis(self.0.lock().unwrap().0).unwrap()
        }

        fn steady_millis(&self) -> i64 {
            self.0.lock().unwrap().1
        }
    }

    fn ms(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis).unwrap()
    }

    const T: i64 = 1_800_000_000_000;

    #[test]
    fn a_steady_clock_is_stamped_and_never_goes_below_the_last_head() {
        let clock = Fake::at(T);
        let mut guard = ClockGuard::start(&clock, Some(ms(T - 5)), false);

        clock.set(T + 1_000, 1_000);

        assert_eq!(guard.stamp(&clock, ms(T)), Ok(ms(T + 1_000)));
        assert_eq!(guard.stamp(&clock, ms(T + 1_500)), Ok(ms(T + 1_500)));
    }

    #[test]
    fn a_step_is_refused_until_the_clock_is_set_back() {
        let clock = Fake::at(T);
        let mut guard = ClockGuard::start(&clock, None, false);

        clock.set(T + 61_001, 1_000);
        assert_eq!(guard.stamp(&clock, ms(T)), Err(ClockStep::Parted { by_ms: 60_001 }));

        clock.set(T + 2_000, 2_000);
        assert_eq!(guard.stamp(&clock, ms(T)), Ok(ms(T + 2_000)));
    }

    #[test]
    fn a_clock_below_the_last_head_or_far_above_it_is_refused_unless_accepted() {
        let clock = Fake::at(T);
        let mut behind = ClockGuard::start(&clock, Some(ms(T + 120_001)), false);
        assert_eq!(
            behind.stamp(&clock, ms(T + 120_001)),
            Err(ClockStep::Behind { by_ms: 120_001 })
        );

        let mut ahead = ClockGuard::start(&clock, Some(ms(T - MAX_AHEAD_AT_START_MS - 1)), false);
        assert!(matches!(ahead.stamp(&clock, ms(1)), Err(ClockStep::FarAhead { .. })));

        let mut accepted = ClockGuard::start(&clock, Some(ms(T + 120_001)), true);
        assert_eq!(accepted.stamp(&clock, ms(T + 120_001)), Ok(ms(T + 120_001)));
    }

    #[test]
    fn a_clock_that_was_wrong_at_the_start_is_believed_once_it_is_right() {
        let clock = Fake::at(T - 3_600_000);
        let mut behind = ClockGuard::start(&clock, Some(ms(T)), false);
        assert!(matches!(behind.stamp(&clock, ms(T)), Err(ClockStep::Behind { .. })));
        clock.set(T + 5_000, 5_000);
        assert_eq!(behind.stamp(&clock, ms(T)), Ok(ms(T + 5_000)));
        clock.set(T + 105_000, 6_000);
        assert!(matches!(behind.stamp(&clock, ms(T)), Err(ClockStep::Parted { .. })));

        let clock = Fake::at(T + 2 * MAX_AHEAD_AT_START_MS);
        let mut ahead = ClockGuard::start(&clock, Some(ms(T)), false);
        assert!(matches!(ahead.stamp(&clock, ms(T)), Err(ClockStep::FarAhead { .. })));
        clock.set(T + 5_000, 5_000);
        assert_eq!(ahead.stamp(&clock, ms(T)), Ok(ms(T + 5_000)));
    }
}
