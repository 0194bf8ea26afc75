//! Instants in queries, and which entries of the log lie between them.
//!
//! Times never decrease with ids, so a period is a range of ids, found in O(log n) steps.

use super::query::Params;
use super::reads::Reads;
use crate::clock::Timestamp;
use crate::server::problem::Problem;
use crate::store::{Span, Store, StoreError};

/// A time from one instant to another, both included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Period {
    start: Option<Timestamp>,
    end: Option<Timestamp>,
}

/// The milliseconds of a day after its first.
const REST_OF_DAY: i64 = 86_399_999;

impl Period {
    /// `start_date` and `end_date`.
    pub(super) fn of(params: &Params) -> Result<Self, Problem> {
        Self::named(params, "start_date", "end_date")
    }

    /// From one parameter to another: a day begins with its first instant and ends with its last.
    pub(super) fn named(
        params: &Params,
        start_name: &'static str,
        end_name: &'static str,
    ) -> Result<Self, Problem> {
        let read = |name| -> Result<Option<(Timestamp, Timestamp)>, Problem> {
            let Some(text) = params.text(name)? else { return Ok(None) };
            meant(text).map(Some).ok_or_else(|| {
                Problem::invalid(
                    name,
                    format!("`{name}` is a day such as 2026-01-15, or a time of RFC 3339"),
                )
            })
        };
        let start = read(start_name)?.map(|(first, _)| first);
        let end = read(end_name)?.map(|(_, last)| last);
        match (start, end) {
            (Some(start), Some(end)) if start > end => {
                let detail = format!("`{start_name}` lies after `{end_name}`");
                Err(Problem::invalid(start_name, detail))
            }
            _ => Ok(Self { start, end }),
        }
    }

    /// Its first and its last instant.
    pub(super) const fn bounds(self) -> (Option<Timestamp>, Option<Timestamp>) {
        (self.start, self.end)
    }

    pub(super) fn is_bounded(self) -> bool {
        self.start.is_some() || self.end.is_some()
    }

    /// The part of a span that lies within the period.
    pub(super) async fn within(self, store: &Store, span: Span) -> Result<Span, StoreError> {
        let mut within = span;
        if let Some(start) = self.start {
            within.after = span.after.max(newest_before(store, start, span.upto).await?);
        }
        if let Some(end) = self.end {
            within.upto = newest_at(store, end, span.upto).await?;
        }
        Ok(within)
    }
}

/// An instant that an answer is about, and what was in the log then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AsOf {
    pub(super) at: Timestamp,
    /// The newest entry at that instant.
    pub(super) upto: u64,
    /// The newest entry that is shown at all.
    pub(super) size: u64,
}

impl AsOf {
    /// The time of the served head.
    pub(super) fn newest(reads: &Reads) -> Result<Self, Problem> {
        let snapshot = reads.snapshot()?;
        let (size, at) = (snapshot.size().get(), snapshot.head.head().timestamp);
        Ok(Self { at, upto: size, size })
    }

    /// `as_of`, which is not later than the served head, or else the time of that.
    pub(super) async fn of(reads: &Reads, params: &Params) -> Result<Self, Problem> {
        let snapshot = reads.snapshot()?;
        let (size, newest) = (snapshot.size().get(), snapshot.head.head().timestamp);
        let Some(text) = params.text("as_of")? else {
            return Ok(Self { at: newest, upto: size, size });
        };
        let at = instant(text).filter(|at| *at <= newest).ok_or_else(|| {
            let detail =
                format!("`as_of` is a time of RFC 3339, at most {newest}: the newest signed head");
            Problem::invalid("as_of", detail)
        })?;
        Ok(Self { at, upto: newest_at(reads.store(), at, size).await?, size })
    }
}

/// The newest of the first `size` entries that is older than an instant; 0 if there is none.
pub(super) async fn newest_before(
    store: &Store,
    instant: Timestamp,
    size: u64,
) -> Result<u64, StoreError> {
    let (mut older, mut recent) = (0, size + 1);
    while older + 1 < recent {
        let middle = older + (recent - older) / 2;
        let time = store.time_of(middle).await?.ok_or(StoreError::Corrupt { id: middle })?;
        if time < instant { older = middle } else { recent = middle }
    }
    Ok(older)
}

/// The newest of the first `size` entries that was there at an instant; 0 if there was none.
pub(super) async fn newest_at(
    store: &Store,
    instant: Timestamp,
    size: u64,
) -> Result<u64, StoreError> {
    let next = instant.plus_millis(1);
    // After the last instant of all there is no other, and no entry.
    if next == instant { Ok(size) } else { newest_before(store, next, size).await }
}

/// Reads a time of RFC 3339. A `+` that was not escaped arrives as a space.
pub(super) fn instant(text: &str) -> Option<Timestamp> {
    Timestamp::from_rfc3339(&text.replace(' ', "+")).ok()
}

/// The first and the last instant that a text means: those of a day, or one alone.
fn meant(text: &str) -> Option<(Timestamp, Timestamp)> {
    if let Some(time) = instant(text) {
        return Some((time, time));
    }
    let first: Timestamp = format!("{text}T00:00:00.000Z").parse().ok()?;
    Some((first, first.plus_millis(REST_OF_DAY)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::testing::{TestNode, noon};

    #[test]
    fn a_day_is_all_of_its_instants() {
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        assert_eq!(
            meant("2026-01-15"),
            Some((time("2026-01-15T00:00:00.000Z"), time("2026-01-15T23:59:59.999Z")))
        );
        let noon = time("2026-01-15T12:00:00.000Z");
        for text in [
            "2026-01-15T12:00:00Z",
            "2026-01-15T14:00:00+02:00",
            "2026-01-15T14:00:00 02:00",
            "2026-01-15T12:00:00.0004Z",
        ] {
            assert_eq!(meant(text), Some((noon, noon)), "{text}");
        }
        for text in ["", "2026", "2026-1-5", "2026-02-30", "yesterday", "1969-12-31"] {
            assert_eq!(meant(text), None, "{text}");
        }
    }

    #[tokio::test]
    async fn the_newest_entry_before_and_at_an_instant_is_found() {
        let node = TestNode::with_entries(9).await;
        let store = node.reads().store();
        assert_eq!(newest_before(store, noon(), 9).await, Ok(0));
        assert_eq!(newest_before(store, noon().plus_millis(1), 9).await, Ok(9));
        assert_eq!(newest_before(store, noon().plus_millis(1), 0).await, Ok(0));
        assert_eq!(newest_at(store, noon(), 9).await, Ok(9));
        assert_eq!(newest_at(store, noon().plus_millis(-1), 9).await, Ok(0));
        let last = "9999-12-31T23:59:59.999Z".parse().unwrap();
        assert_eq!(newest_at(store, last, 9).await, Ok(9));
    }
}
