//! How often a log may grow: each step is a line of the index, which is kept for ever.
//!
//! A refresh of the same tree costs no line and is not counted.

use std::time::{Duration, Instant};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The fewest steps a day of a log of a list: one a minute, whatever the list grants.
const LEAST: u32 = 24 * 60;

/// The steps a day of a log that the operator named without a number: one in five seconds, twice
/// as often as a log of this kind has rounds.
const UNSAID: u32 = 24 * 60 * 12;

/// When a log has used up what it took, as if it had waited its interval before each step.
#[derive(Debug, Default)]
pub(super) struct Pace(Option<Instant>);

impl Pace {
    /// How long the log must wait before it may grow again; `None` if it may now.
    pub(super) fn wait(&self, quota: Option<u32>, now: Instant) -> Option<Duration> {
        let wait = self.after(quota, now).saturating_duration_since(now + DAY);
        (!wait.is_zero()).then_some(wait)
    }

    /// The log grew.
    pub(super) fn step(&mut self, quota: Option<u32>, now: Instant) {
        self.0 = Some(self.after(quota, now));
    }

    fn after(&self, quota: Option<u32>, now: Instant) -> Instant {
        let a_day = quota.map_or(UNSAID, |quota| quota.max(LEAST));
        self.0.map_or(now, |used_up| used_up.max(now)) + DAY / a_day
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(pace: &mut Pace, quota: Option<u32>, now: Instant) -> u32 {
        (0..100_000)
            .take_while(|_| {
                let may = pace.wait(quota, now).is_none();
                if may {
                    pace.step(quota, now);
                }
                may
            })
            .count()
            .try_into()
            .unwrap()
    }

    #[test]
    fn a_log_grows_as_often_as_its_list_says_and_never_less_than_once_a_minute() {
        for (quota, a_day) in [(Some(1), 1440), (Some(8640), 8640), (None, 17_280)] {
            let (mut pace, start) = (Pace::default(), Instant::now());

            assert_eq!(steps(&mut pace, quota, start), a_day, "{quota:?}");
            let half = start + DAY / 2;
            assert_eq!(steps(&mut pace, quota, half), a_day / 2, "{quota:?}");
            assert!(pace.wait(quota, half).is_some_and(|wait| wait <= DAY / a_day));
        }
    }
}
