//! How fast is read: so many bytes a second, whatever else the node has to do.

use std::time::Duration;

use tokio::time::Instant;

/// A budget of bytes.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    bytes_per_second: Option<u64>,
    due: Instant,
}

/// What one statement costs at least, however little it answers.
const STATEMENT: u64 = 4 * 1024;

impl Pace {
    /// At most so many bytes a second.
    pub fn of(bytes_per_second: u64) -> Self {
        Self { bytes_per_second: Some(bytes_per_second.max(1)), due: Instant::now() }
    }

    /// As fast as the disk is.
    pub fn unbounded() -> Self {
        Self { bytes_per_second: None, due: Instant::now() }
    }

    /// Says that so many bytes were read.
    pub(super) fn spend(&mut self, bytes: u64) {
        self.spend_at(bytes, Instant::now());
    }

    fn spend_at(&mut self, bytes: u64, now: Instant) {
        let Some(rate) = self.bytes_per_second else { return };
        let millis = bytes.max(STATEMENT).saturating_mul(1_000) / rate;
        // What was not used while nothing was read is not used later.
        self.due = self.due.max(now) + Duration::from_millis(millis.min(86_400_000));
    }

    /// When the next thing may be read.
    pub(super) fn due(&self) -> Instant {
        self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_bytes_take_their_time_and_idleness_is_not_saved() {
        let mut pace = Pace::of(1024 * 1024);
        let begin = pace.due();
        pace.spend_at(512 * 1024, begin);
        pace.spend_at(1024 * 1024, begin);
        assert_eq!(pace.due() - begin, Duration::from_millis(1_500));
        pace.spend_at(256 * 1024, begin + Duration::from_secs(60));
        assert_eq!(pace.due() - begin, Duration::from_millis(60_250));
        pace.spend_at(0, begin);
        assert!(pace.due() - begin > Duration::from_millis(60_250), "a statement costs something");

        let mut free = Pace::unbounded();
        let begin = free.due();
        free.spend_at(u64::MAX, begin);
        assert_eq!(free.due(), begin);
    }
}
