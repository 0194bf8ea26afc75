//! The newest entries, or those that a search found.

use super::text::excerpt;
use crate::keys::Fingerprint;
use crate::leaf::Leaf;
use crate::read::entries::in_order;
use crate::read::reads::Reads;
use crate::read::snapshot::Snapshot;
use crate::read::turns::Kind;
use crate::store::{Filter, Order, Span, StoreError};

/// How many entries the page shows.
const ROWS: usize = 20;

/// The longest beginning of a payload that a table shows.
const EXCERPT: usize = 160;

/// The longest text that is searched for.
const LONGEST: usize = 100;

/// What the page shows of the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Recent {
    /// What was searched for; empty if nothing was.
    pub(super) search: String,
    /// The key that was searched for by its fingerprint.
    pub(super) key: Option<String>,
    /// `None` if the database did not answer, or has enough to search for already.
    pub(super) rows: Option<Vec<EntryRow>>,
    pub(super) has_more: bool,
}

/// A row of a table of entries.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct EntryRow {
    pub(super) id: u64,
    pub(super) timestamp: String,
    pub(super) spoken: String,
    pub(super) event_type: String,
    pub(super) entry_hash: String,
    pub(super) excerpt: String,
}

impl EntryRow {
    /// The row of an entry.
    pub(super) fn of(leaf: &Leaf) -> Self {
        Self {
            id: leaf.id(),
            timestamp: leaf.timestamp().to_string(),
            spoken: super::text::spoken(leaf.timestamp()),
            event_type: leaf.event_type().to_owned(),
            entry_hash: leaf.entry_hash().to_string(),
            excerpt: excerpt(&String::from_utf8_lossy(leaf.payload()), EXCERPT),
        }
    }
}

/// A text as it is searched for.
pub(super) fn asked(text: &str) -> String {
    text.trim().chars().take(LONGEST).collect()
}

/// The newest entries of a snapshot, or the newest of those that match.
pub(super) async fn recent(reads: &Reads, snapshot: Option<&Snapshot>, search: String) -> Recent {
    let key = search.parse().ok().map(|key: Fingerprint| key.to_string());
    let found = match snapshot {
        None => Ok(Some((Vec::new(), false))),
        Some(snapshot) => found(reads, snapshot.size().get(), &search).await,
    };
    let found = found.unwrap_or_else(|error| {
        tracing::warn!(%error, "the status page shows no entries");
        None
    });
    let (rows, has_more) = found.map_or((None, false), |(rows, more)| (Some(rows), more));
    Recent { search, key, rows, has_more }
}

async fn found(
    reads: &Reads,
    size: u64,
    search: &str,
) -> Result<Option<(Vec<EntryRow>, bool)>, StoreError> {
    let store = reads.store();
    if search.is_empty() {
        let filter = Filter { limit: ROWS as u64, order: Order::Descending, ..Filter::default() };
        let entries = store.list(filter, size).await?;
        let has_more = size > entries.len() as u64;
        return Ok(Some((entries.iter().map(EntryRow::of).collect(), has_more)));
    }
    // The page is not limited by address: so its searches are, all together.
    let Ok(_slot) = reads.turns().turn_now(Kind::Search) else { return Ok(None) };
    let newest = Span { after: 0, upto: size, order: Order::Descending };
    let mut matches = store.search(search, newest).await?;
    let has_more = matches.has_more || matches.ids.len() > ROWS;
    matches.ids.truncate(ROWS);
    let entries = in_order(store, &matches.ids).await?;
    Ok(Some((entries.iter().map(EntryRow::of).collect(), has_more)))
}
