//! What the log holds: entries, heads, counts and the search over them.
//!
//! Entries are re-hashed whenever they are read: bytes that do not match are never handed out.
//! The log only grows, so everything up to a size is one snapshot without a transaction.

use std::collections::BTreeSet;

use futures_util::TryStreamExt as _;

use super::Store;
use super::bulk::{Session as _, Sql, Value, json, rows};
use super::commit::{HeadRow, RUN_BITS, number};
use super::error::StoreError;
use super::pool::on_pool;
use crate::leaf::Leaf;
use crate::merkle::{Hash, TreeSize};

/// The direction of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// By id, oldest first.
    #[default]
    Ascending,
    /// By id, newest first.
    Descending,
}

/// Which entries a list shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter<'a> {
    /// Only entries of this type.
    pub event_type: Option<&'a str>,
    /// Only entries after this id.
    pub after: u64,
    /// How many of them to pass over.
    pub offset: u64,
    /// How many to show.
    pub limit: u64,
    /// In which direction.
    pub order: Order,
}

/// What is searched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Search<'a> {
    /// An id, at least 4 hex digits of an entry hash, fingerprint or document hash (with or
    /// without `sha256:`), or a part of a pseudonym.
    pub text: &'a str,
    /// The size of the log that is searched.
    pub upto: u64,
}

/// The most entries that a search answers.
pub const MAX_FOUND: usize = 10_000;

impl Store {
    /// The entries `after + 1 ..= upto`, at most `max_bytes` of leaves but at least one, each
    /// parsed and compared with the hash that was stored beside it.
    pub async fn entries(
        &self,
        after: u64,
        upto: u64,
        max_bytes: u64,
    ) -> Result<Vec<Leaf>, StoreError> {
        const SQL: &str = "SELECT id, leaf, entry_hash FROM log_entries
                           WHERE id > $1 AND id <= $2 ORDER BY id";
        let entries = on_pool!(&self.0.readers, db => async {
            let mut rows = sqlx::query_as(SQL).bind(number(after)).bind(number(upto)).fetch(db);
            let mut entries: Vec<StoredEntry> = Vec::new();
            let mut room = max_bytes;
            while let Some(entry) = rows.try_next().await? {
                let entry: StoredEntry = entry;
                match room.checked_sub(entry.1.len() as u64) {
                    Some(rest) => room = rest,
                    None if entries.is_empty() => room = 0,
                    None => break,
                }
                entries.push(entry);
            }
            Ok::<_, sqlx::Error>(entries)
        })?;
        checked(entries)
    }

    /// The leaves of `after + 1 ..= upto`, at most `max_bytes` but at least one: the bytes as
    /// stored, re-hashed but not parsed. This is what followers pull.
    pub async fn leaves(
        &self,
        after: u64,
        upto: u64,
        max_bytes: u64,
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        const SQL: &str = "SELECT leaf, entry_hash FROM log_entries
                           WHERE id > $1 AND id <= $2 ORDER BY id";
        let leaves: Vec<(Vec<u8>, Vec<u8>)> = on_pool!(&self.0.readers, db => async {
            let mut rows = sqlx::query_as(SQL).bind(number(after)).bind(number(upto)).fetch(db);
            let mut leaves: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
            let mut room = max_bytes;
            while let Some(row) = rows.try_next().await? {
                let row: (Vec<u8>, Vec<u8>) = row;
                match room.checked_sub(row.0.len() as u64) {
                    Some(rest) => room = rest,
                    None if leaves.is_empty() => room = 0,
                    None => break,
                }
                leaves.push(row);
            }
            Ok::<_, sqlx::Error>(leaves)
        })?;
        (after + 1..)
            .zip(leaves)
            .map(|(id, (leaf, hash))| {
                let intact = Hash::of(&leaf).as_bytes()[..] == hash[..];
                if intact { Ok(leaf) } else { Err(StoreError::Corrupt { id }) }
            })
            .collect()
    }

    /// One entry.
    pub async fn entry(&self, id: u64) -> Result<Option<Leaf>, StoreError> {
        Ok(self.entries_of(&[id]).await?.pop())
    }

    /// The entries with these ids, ascending; what is not there is left out.
    pub async fn entries_of(&self, ids: &[u64]) -> Result<Vec<Leaf>, StoreError> {
        const SQL: Sql = rows!(
            "SELECT id, leaf, entry_hash FROM log_entries
             WHERE id IN (SELECT CAST(value->>0 AS BIGINT) FROM",
            ") ORDER BY id"
        );
        let ids = text(json(&ids.iter().map(|id| [number(*id)]).collect::<Vec<_>>()));
        checked(on_pool!(&self.0.readers, db => {
            sqlx::query_as(db.text(SQL)).bind(&ids).fetch_all(db)
        })?)
    }

    /// A page of the log up to a size.
    pub async fn list(&self, filter: Filter<'_>, upto: u64) -> Result<Vec<Leaf>, StoreError> {
        match filter.event_type {
            None => self.list_all(filter, upto).await,
            Some(event_type) => self.list_of_type(event_type, filter, upto).await,
        }
    }

    /// Ids have no gaps, so a page is arithmetic however deep it lies.
    async fn list_all(&self, filter: Filter<'_>, upto: u64) -> Result<Vec<Leaf>, StoreError> {
        if filter.order == Order::Ascending {
            let after = filter.after.saturating_add(filter.offset);
            return self
                .entries(after, upto.min(after.saturating_add(filter.limit)), u64::MAX)
                .await;
        }
        let last = upto.saturating_sub(filter.offset);
        let after = filter.after.max(last.saturating_sub(filter.limit));
        let mut entries = self.entries(after, last, u64::MAX).await?;
        entries.reverse();
        Ok(entries)
    }

    async fn list_of_type(
        &self,
        event_type: &str,
        filter: Filter<'_>,
        upto: u64,
    ) -> Result<Vec<Leaf>, StoreError> {
        const ASCENDING: &str = "SELECT id, leaf, entry_hash FROM log_entries
            WHERE event_type = $1 AND id > $2 AND id <= $3 ORDER BY id LIMIT $4 OFFSET $5";
        const DESCENDING: &str = "SELECT id, leaf, entry_hash FROM log_entries
            WHERE event_type = $1 AND id > $2 AND id <= $3 ORDER BY id DESC LIMIT $4 OFFSET $5";
        let sql = match filter.order {
            Order::Ascending => ASCENDING,
            Order::Descending => DESCENDING,
        };
        checked(on_pool!(&self.0.readers, db => sqlx::query_as(sql)
            .bind(event_type)
            .bind(number(filter.after))
            .bind(number(upto))
            .bind(number(filter.limit))
            .bind(number(filter.offset))
            .fetch_all(db))?)
    }

    /// How many entries of a type the log has.
    pub async fn count(&self, event_type: &str) -> Result<u64, StoreError> {
        const SQL: &str = "SELECT count FROM view_event_counts WHERE event_type = $1";
        let count: Option<i64> = on_pool!(&self.0.readers, db => {
            sqlx::query_scalar(SQL).bind(event_type).fetch_optional(db)
        })?;
        Ok(count.unwrap_or(0).cast_unsigned())
    }

    /// How many entries of each type the log has.
    pub async fn counts(&self) -> Result<Vec<(String, u64)>, StoreError> {
        const SQL: &str = "SELECT event_type, count FROM view_event_counts ORDER BY event_type";
        let counts: Vec<(String, i64)> =
            on_pool!(&self.0.readers, db => sqlx::query_as(SQL).fetch_all(db))?;
        Ok(counts.into_iter().map(|(name, count)| (name, count.cast_unsigned())).collect())
    }

    /// The ids of the entries that match, ascending, at most [`MAX_FOUND`].
    pub async fn search(&self, search: Search<'_>) -> Result<Vec<u64>, StoreError> {
        let mut found = BTreeSet::new();
        if let Some(id) = search.text.parse().ok().filter(|id| (1..=search.upto).contains(id)) {
            found.insert(id);
        }
        if let Some(range) = HashRange::of(search.text) {
            found.extend(self.search_hashes(&range, search.upto).await?);
            found.extend(self.search_refs(&range, search.upto).await?);
        }
        found.extend(self.search_pseudonyms(search.text, search.upto).await?);
        Ok(found.into_iter().take(MAX_FOUND).collect())
    }

    /// Entries whose hash is in the range: one probe for each run, then the entries after the
    /// last whole run.
    async fn search_hashes(&self, range: &HashRange, upto: u64) -> Result<Vec<u64>, StoreError> {
        const RUNS: &str = "WITH RECURSIVE runs(run) AS (
                SELECT CAST(0 AS BIGINT) UNION ALL SELECT run + 1 FROM runs WHERE run < $1
            )
            SELECT entry.id FROM runs
            CROSS JOIN view_entry_hashes AS prefixes
            CROSS JOIN log_entries AS entry
            WHERE prefixes.run = runs.run AND prefixes.prefix BETWEEN $2 AND $3
              AND entry.id = prefixes.id AND entry.entry_hash BETWEEN $4 AND $5
            LIMIT $6";
        const TAIL: &str = "SELECT id FROM log_entries
            WHERE id > $1 AND id <= $2 AND entry_hash BETWEEN $3 AND $4";
        let runs = number(upto >> RUN_BITS);
        let (low, high) = (&range.low[..], &range.high[..]);
        let mut found: Vec<i64> = Vec::new();
        if runs > 0 {
            found = on_pool!(&self.0.readers, db => sqlx::query_scalar(RUNS)
                .bind(runs - 1)
                .bind(&low[..8])
                .bind(&high[..8])
                .bind(low)
                .bind(high)
                .bind(number(MAX_FOUND as u64))
                .fetch_all(db))?;
        }
        let tail: Vec<i64> = on_pool!(&self.0.readers, db => sqlx::query_scalar(TAIL)
            .bind(runs << RUN_BITS)
            .bind(number(upto))
            .bind(low)
            .bind(high)
            .fetch_all(db))?;
        found.extend(tail);
        Ok(found.into_iter().map(i64::cast_unsigned).collect())
    }

    /// Lifecycle entries that refer to a key or document whose hash is in the range.
    async fn search_refs(&self, range: &HashRange, upto: u64) -> Result<Vec<u64>, StoreError> {
        const SQL: &str = "SELECT DISTINCT id FROM view_refs
            WHERE kind IN ('document', 'fingerprint', 'witness') AND value >= $1 AND value <= $2
              AND id <= $3 ORDER BY id LIMIT $4";
        let [low, high] = [&range.low, &range.high].map(|bytes| Hash::new(*bytes).to_string());
        let found: Vec<i64> = on_pool!(&self.0.readers, db => sqlx::query_scalar(SQL)
            .bind(&low)
            .bind(&high)
            .bind(number(upto))
            .bind(number(MAX_FOUND as u64))
            .fetch_all(db))?;
        Ok(found.into_iter().map(i64::cast_unsigned).collect())
    }

    /// The registrations of keys whose pseudonym contains the text, whatever its case.
    async fn search_pseudonyms(&self, part: &str, upto: u64) -> Result<Vec<u64>, StoreError> {
        const SQL: &str = r"SELECT entry_id FROM view_keys
            WHERE pseudonym_folded LIKE $1 ESCAPE '\' AND entry_id <= $2
            ORDER BY entry_id LIMIT $3";
        let pattern = containing(part);
        let found: Vec<i64> = on_pool!(&self.0.readers, db => sqlx::query_scalar(SQL)
            .bind(&pattern)
            .bind(number(upto))
            .bind(number(MAX_FOUND as u64))
            .fetch_all(db))?;
        Ok(found.into_iter().map(i64::cast_unsigned).collect())
    }

    /// The newest signed head of at most this size.
    pub async fn head_at_most(&self, size: TreeSize) -> Result<Option<HeadRow>, StoreError> {
        const SQL: &str = "SELECT * FROM (
                SELECT tree_size, root_hash, chain_head, epoch, timestamp, head_json FROM log_heads
                WHERE tree_size <= $1 AND head_json IS NOT NULL
                ORDER BY tree_size DESC, second DESC LIMIT 1) AS recent
            UNION ALL SELECT * FROM (
                SELECT tree_size, root_hash, chain_head, epoch, timestamp, head_json
                FROM log_pinned_heads WHERE tree_size <= $1 AND head_json IS NOT NULL
                ORDER BY tree_size DESC, timestamp DESC LIMIT 1) AS pinned
            ORDER BY tree_size DESC, timestamp DESC LIMIT 1";
        let row: Option<StoredHead> = on_pool!(&self.0.readers, db => {
            sqlx::query_as(SQL).bind(size.to_sql()).fetch_optional(db)
        })?;
        row.map(head).transpose()
    }

    /// The newest head that has its signature.
    pub async fn newest_signed_head(&self) -> Result<Option<HeadRow>, StoreError> {
        self.head_at_most(TreeSize::MAX).await
    }

    /// The heads that are stored for one size, oldest first; a proof's root is looked up here.
    pub async fn heads_of(&self, size: TreeSize) -> Result<Vec<HeadRow>, StoreError> {
        const SQL: &str = "SELECT tree_size, root_hash, chain_head, epoch, timestamp, head_json
                FROM log_heads WHERE tree_size = $1
            UNION SELECT tree_size, root_hash, chain_head, epoch, timestamp, head_json
                FROM log_pinned_heads WHERE tree_size = $1
            ORDER BY timestamp LIMIT 1000";
        let rows: Vec<StoredHead> = on_pool!(&self.0.readers, db => {
            sqlx::query_as(SQL).bind(size.to_sql()).fetch_all(db)
        })?;
        rows.into_iter().map(head).collect()
    }
}

type StoredEntry = (i64, Vec<u8>, Vec<u8>);
type StoredHead = (i64, Vec<u8>, Option<Vec<u8>>, i64, i64, Option<String>);

/// Parses entries and compares each with the hash stored beside it.
fn checked(entries: Vec<StoredEntry>) -> Result<Vec<Leaf>, StoreError> {
    let check = |(id, leaf, hash): StoredEntry| {
        let id = id.cast_unsigned();
        Leaf::parse(leaf)
            .ok()
            .filter(|leaf| leaf.id() == id && leaf.entry_hash().as_bytes()[..] == hash[..])
            .ok_or(StoreError::Corrupt { id })
    };
    entries.into_iter().map(check).collect()
}

fn head(row: StoredHead) -> Result<HeadRow, StoreError> {
    let (size, root, chain_head, epoch, timestamp, head_json) = row;
    HeadRow::from_columns(size, &root, chain_head.as_deref(), epoch, timestamp)
        .map(|head| HeadRow { head_json, ..head })
        .ok_or(StoreError::Malformed { table: "log_heads" })
}

/// The text of a JSON parameter.
pub(super) fn text(value: Value) -> String {
    match value {
        Value::Text(Some(text)) => text,
        Value::Text(None) | Value::Int(_) | Value::Bytes(_) => String::new(),
    }
}

/// The `LIKE` pattern for texts that contain `part` literally, with `\` as the escape.
pub(super) fn containing(part: &str) -> String {
    let mut pattern = String::from("%");
    for letter in part.to_lowercase().chars() {
        if matches!(letter, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern.push('%');
    pattern
}

/// The hashes that begin with the given hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct HashRange {
    low: [u8; 32],
    high: [u8; 32],
}

impl HashRange {
    /// Takes 4 to 64 hex digits, with or without `sha256:`.
    fn of(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text).to_ascii_lowercase();
        if !(4..=64).contains(&digits.len()) {
            return None;
        }
        let mut range = Self { low: [0; 32], high: [0; 32] };
        hex::decode_to_slice(format!("{digits:0<64}"), &mut range.low).ok()?;
        hex::decode_to_slice(format!("{digits:f<64}"), &mut range.high).ok()?;
        Some(range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_the_range_of_hashes_that_begin_with_it() {
        let range = HashRange::of("sha256:ABc12").unwrap();

        assert_eq!(range.low[..4], [0xab, 0xc1, 0x20, 0]);
        assert_eq!(range.high[..4], [0xab, 0xc1, 0x2f, 0xff]);
        assert_eq!(HashRange::of("abc"), None);
        assert_eq!(HashRange::of("hello"), None);
        assert_eq!(HashRange::of(&"a".repeat(65)), None);
    }

    #[test]
    fn wildcards_in_a_search_are_letters() {
        assert_eq!(containing(r"50%_\Ä"), r"%50\%\_\\ä%");
    }
}
