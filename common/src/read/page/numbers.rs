//! The three big numbers.

use super::text::{grouped, lasting, or_unknown};
use crate::clock::Timestamp;
use crate::wire::status::{ReplicationStatus, seconds_since, spell};

/// A number that sums up a part of the status.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Number {
    pub(super) value: String,
    pub(super) label: &'static str,
    pub(super) note: &'static str,
}

/// What a leader's operator, or a mirror's, looks at first; nothing before the first status.
pub(super) fn numbers(status: Option<&ReplicationStatus>, now: Timestamp) -> Vec<Number> {
    match status {
        Some(ReplicationStatus::Leader(status)) => vec![
            Number {
                value: or_unknown(status.entries_at_risk),
                label: "entries at risk",
                note: "held by no follower yet",
            },
            Number {
                value: or_unknown(status.unwitnessed_entries),
                label: "unwitnessed events",
                note: "not signed by a quorum of witnesses yet",
            },
            Number {
                value: spell(status.head_age_seconds),
                label: "head age",
                note: "since the newest signed tree head",
            },
        ],
        Some(ReplicationStatus::Follower(status)) => vec![
            Number {
                value: grouped(status.tree_size.get()),
                label: "entries verified",
                note: "recomputed here, and stored",
            },
            Number {
                value: or_unknown(status.lag_entries),
                label: "entries behind",
                note: "known of, and not verified yet",
            },
            Number {
                value: lasting(status.head_timestamp.map(|head| seconds_since(now, head))),
                label: "head age",
                note: "since the newest verified tree head",
            },
        ],
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::status::testing::some_status;

    #[test]
    fn a_mirror_that_knows_nothing_says_so() {
        let now = Timestamp::from_millis(0).unwrap();
        let values: Vec<_> =
            numbers(Some(&some_status(1234)), now).into_iter().map(|of| of.value).collect();
        assert_eq!(values, ["1,234", "unknown", "unknown"]);
        assert_eq!(numbers(None, now), []);
    }
}
