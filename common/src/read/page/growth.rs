//! How the log grew in the last 24 hours: a line through its size at every half hour.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use super::text::grouped;
use crate::clock::Timestamp;
use crate::read::reads::Reads;
use crate::read::snapshot::Snapshot;
use crate::read::when::newest_before;
use crate::store::StoreError;

/// How far apart the points of the line are.
const SLOT_SECONDS: i64 = 1800;

/// How many whole slots the line goes back.
const SLOTS: i64 = 48;

/// The sizes at times that are over: they never change, so each is looked up once.
#[derive(Debug, Default)]
pub(in crate::read) struct Memory(Mutex<BTreeMap<i64, u64>>);

/// The line, and what it says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Growth {
    /// `x,y` of every point, in a box of 1000 by 100.
    pub(super) line: String,
    pub(super) since: String,
    pub(super) first: String,
    pub(super) last: String,
    pub(super) added: String,
}

/// The growth up to a snapshot.
pub(super) async fn growth(
    reads: &Reads,
    snapshot: &Snapshot,
    now: Timestamp,
) -> Result<Growth, StoreError> {
    let newest = now.seconds().div_euclid(SLOT_SECONDS);
    let head = snapshot.head.head().timestamp;
    let mut known = reads.growth().0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut sizes = vec![snapshot.size().get()];
    // From the newest on: sizes only shrink, which narrows every search.
    for slot in (newest - SLOTS..=newest).rev() {
        let most = sizes.last().copied().unwrap_or_default();
        let size = if let Some(size) = known.get(&slot) {
            *size
        } else {
            let Some(time) = Timestamp::from_millis(slot * SLOT_SECONDS * 1000) else { break };
            let size = newest_before(reads.store(), time, most).await?;
            if time <= head {
                known.insert(slot, size);
            }
            size
        };
        sizes.push(size);
    }
    known.retain(|slot, _| (newest - SLOTS..=newest).contains(slot));
    *reads.growth().0.lock().unwrap_or_else(PoisonError::into_inner) = known;
    sizes.reverse();
    Ok(drawn(&sizes))
}

/// The line through sizes that are a slot apart, the oldest first; the last is that of now.
fn drawn(sizes: &[u64]) -> Growth {
    let (first, last) = match sizes {
        [first, .., last] => (*first, *last),
        _ => (0, 0),
    };
    let steps = u128::try_from(sizes.len().max(2) - 1).unwrap_or(1);
    let added = last.saturating_sub(first);
    let mut line = String::new();
    for (step, size) in (0_u128..).zip(sizes) {
        let above = u128::from(size.saturating_sub(first));
        let y = 100 - (above * 100).checked_div(u128::from(added)).unwrap_or(0);
        // Writing to a string never fails.
        let _ = write!(line, "{}{},{y}", if step == 0 { "" } else { " " }, step * 1000 / steps);
    }
    Growth {
        line,
        since: "24 h ago".to_owned(),
        first: grouped(first),
        last: grouped(last),
        added: grouped(added),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::testing::{TestEvent, TestNode, noon};

    #[test]
    fn the_line_goes_from_the_first_size_to_the_last() {
        let growth = drawn(&[10, 10, 15, 30]);
        assert_eq!(growth.line, "0,100 333,100 666,75 1000,0");
        assert_eq!((&*growth.first, &*growth.last, &*growth.added), ("10", "30", "20"));
        assert_eq!(drawn(&[5, 5]).line, "0,100 1000,100", "nothing was added");
    }

    #[tokio::test]
    async fn sizes_come_from_the_times_of_entries() {
        let event = |hours: i64| {
            TestEvent::new("x-test:event", b"{}".to_vec()).after_noon(hours * 3_600_000)
        };
        let node = TestNode::with_events(vec![event(1), event(1), event(20)]).await;
        let snapshot = node.reads().snapshot().unwrap();
        let now = noon().plus_millis(24 * 3_600_000);

        for _ in 0..2 {
            let growth = growth(node.reads(), &snapshot, now).await.unwrap();
            assert_eq!((&*growth.first, &*growth.last, &*growth.added), ("0", "4", "4"));
            assert!(growth.line.starts_with("0,100 20,75 40,75 61,25 "), "{}", growth.line);
        }
    }
}
