//! How fast a follower goes, from what it reports.

use diogenes_common::clock::Timestamp;
use diogenes_common::merkle::TreeSize;

/// What the newest two reports of a follower say together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pace {
    at: Timestamp,
    size: TreeSize,
    per_second: Option<f64>,
}

impl Pace {
    /// The pace after a report; the same report again changes nothing.
    pub(super) fn after(before: Option<Self>, at: Timestamp, size: TreeSize) -> Self {
        let Some(before) = before else { return Self { at, size, per_second: None } };
        let millis = at.millis_since(before.at);
        if millis <= 0 {
            return before;
        }
        let grown = size.get().saturating_sub(before.size.get());
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let per_second = grown as f64 * 1000.0 / millis as f64;
        Self { at, size, per_second: Some(per_second) }
    }

    /// Entries a second; `None` after the first report.
    pub(super) const fn per_second(self) -> Option<f64> {
        self.per_second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_reports_give_a_rate_and_the_same_one_again_changes_nothing() {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000).unwrap();
        let size = |entries| TreeSize::ZERO.plus(entries);

        let first = Pace::after(None, at(10), size(100));
        let second = Pace::after(Some(first), at(20), size(150));

        assert_eq!((first.per_second(), second.per_second()), (None, Some(5.0)));
        assert_eq!(Pace::after(Some(second), at(20), size(150)), second);
        assert_eq!(Pace::after(Some(second), at(30), size(150)).per_second(), Some(0.0));
    }
}
