//! The machine's own clocks.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::clock::{Clock, Timestamp};

/// The wall clock, beside a clock that is never set back and counts sleep.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        // A wall clock before 1970 or after 9999 is shown as the nearest end; the leader's clock
        // rules refuse to stamp with either.
        let start = Timestamp::from_millis(0).expect("zero is within the range of timestamps");
        start.plus_millis(wall_millis())
    }

    fn steady_millis(&self) -> i64 {
        millis(clock_gettime(STEADY))
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
const STEADY: ClockId = ClockId::Boottime;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const STEADY: ClockId = ClockId::Monotonic;

/// Microseconds on the clock that supervisors compare times of processes with.
pub fn monotonic_micros() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let micros = time.tv_sec.saturating_mul(1_000_000).saturating_add(time.tv_nsec / 1_000);
    u64::try_from(micros).unwrap_or(0)
}

/// Read through the C library, where a test can put another clock in its place.
fn wall_millis() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "this is the clock that others are passed")]
    let now = SystemTime::now();
    match now.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
    }
}

fn millis(time: Timespec) -> i64 {
    time.tv_sec.saturating_mul(1000).saturating_add(time.tv_nsec / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clocks_tell_a_plausible_time_and_do_not_run_back() {
        let (wall, steady) = (SystemClock.now(), SystemClock.steady_millis());

        assert!(wall > "2024-01-01T00:00:00.000Z".parse().unwrap());
        assert!(SystemClock.steady_millis() >= steady);
        assert!(steady > 0);
    }
}
