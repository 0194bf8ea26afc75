//! Finding entries: by what they are called and by what they refer to.
//!
//! Each question is asked about one span of the log and answered with at most [`MAX_FOUND`] ids,
//! those nearest to the end from which the span is read. Who wants more asks again for what lies
//! beyond the last of them.

use std::collections::{BTreeSet, HashSet};

use unicode_normalization::UnicodeNormalization as _;

use super::Store;
use super::bulk::{Session as _, Sql, json, rows};
use super::commit::{RUN_BITS, number};
use super::error::StoreError;
use super::pool::on_pool;
use super::read::{Order, text};
use crate::event::text::folded;
use crate::keys::Fingerprint;
use crate::merkle::Hash;

/// A part of the log, and the end from which it is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Entries after this id,
    pub after: u64,
    /// and up to this one.
    pub upto: u64,
    /// In which direction.
    pub order: Order,
}

/// The entries that match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matches {
    /// Their ids, in the direction that was asked for.
    pub ids: Vec<u64>,
    /// Whether more match than these.
    pub has_more: bool,
}

/// Something that entries refer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Referent {
    kind: &'static str,
    value: String,
}

/// The most entries that a search answers.
pub const MAX_FOUND: usize = 10_000;

/// One more than [`MAX_FOUND`]: its presence says that more match.
pub(super) const LIMIT: i64 = 10_001;

/// A statement in the direction of a span: the first part ends with the column of the order.
macro_rules! directed {
    ($order:expr, $head:literal, $tail:literal) => {
        match $order {
            Order::Ascending => concat!($head, " ASC ", $tail),
            Order::Descending => concat!($head, " DESC ", $tail),
        }
    };
}
pub(super) use directed;

impl Span {
    /// Whether an entry lies within it.
    pub const fn contains(self, id: u64) -> bool {
        self.after < id && id <= self.upto
    }
}

impl Matches {
    /// The first of these ids, each of which is named once.
    fn of(ids: BTreeSet<u64>, order: Order) -> Self {
        let has_more = ids.len() > MAX_FOUND;
        let ids = match order {
            Order::Ascending => ids.into_iter().take(MAX_FOUND).collect(),
            Order::Descending => ids.into_iter().rev().take(MAX_FOUND).collect(),
        };
        Self { ids, has_more }
    }

    pub(super) fn of_rows(mut rows: Vec<i64>) -> Self {
        let has_more = rows.len() > MAX_FOUND;
        rows.truncate(MAX_FOUND);
        Self { ids: rows.into_iter().map(i64::cast_unsigned).collect(), has_more }
    }
}

impl Referent {
    /// A key: as signer, as subject, as predecessor or as successor.
    pub fn key(fingerprint: &Fingerprint) -> Self {
        Self { kind: "fingerprint", value: fingerprint.to_string() }
    }

    /// A document, by the hash of its content or of its manifest.
    pub fn document(hash: &Hash) -> Self {
        Self { kind: "document", value: hash.to_string() }
    }
}

impl Store {
    /// The entries of a span that a text means: an id, at least 4 hex digits of an entry hash,
    /// fingerprint or document hash (with or without `sha256:`), or a part of a pseudonym.
    pub async fn search(&self, text: &str, span: Span) -> Result<Matches, StoreError> {
        let mut found = BTreeSet::new();
        found.extend(text.parse().ok().filter(|id| span.contains(*id)));
        if let Some(range) = HashRange::of(text) {
            found.extend(self.search_hashes(&range, span).await?);
            found.extend(self.search_refs(&range, span).await?);
        }
        found.extend(self.search_pseudonyms(text, span).await?);
        Ok(Matches::of(found, span.order))
    }

    /// The lifecycle entries of a span that refer to something.
    pub async fn referring(&self, to: &Referent, span: Span) -> Result<Matches, StoreError> {
        let sql = directed!(
            span.order,
            "SELECT id FROM view_refs WHERE kind = $1 AND value = $2 AND id > $3 AND id <= $4
             ORDER BY id",
            "LIMIT $5"
        );
        let rows = on_pool!(&self.0.readers, db => sqlx::query_scalar(sql)
            .bind(to.kind)
            .bind(&to.value)
            .bind(number(span.after))
            .bind(number(span.upto))
            .bind(LIMIT)
            .fetch_all(db))?;
        Ok(Matches::of_rows(rows))
    }

    /// Those that refer to two things; the rarer one is best given first.
    pub async fn referring_to_both(
        &self,
        one: &Referent,
        other: &Referent,
        span: Span,
    ) -> Result<Matches, StoreError> {
        // SQLite takes a cross join in the order in which it is written.
        let sql = directed!(
            span.order,
            "SELECT one.id FROM view_refs AS one CROSS JOIN view_refs AS other
             WHERE one.kind = $1 AND one.value = $2 AND one.id > $3 AND one.id <= $4
               AND other.kind = $5 AND other.value = $6 AND other.id = one.id
             ORDER BY one.id",
            "LIMIT $7"
        );
        let rows = on_pool!(&self.0.readers, db => sqlx::query_scalar(sql)
            .bind(one.kind)
            .bind(&one.value)
            .bind(number(span.after))
            .bind(number(span.upto))
            .bind(other.kind)
            .bind(&other.value)
            .bind(LIMIT)
            .fetch_all(db))?;
        Ok(Matches::of_rows(rows))
    }

    /// The entries of a span that are of one of some types: one range of the index for each.
    pub async fn of_types(&self, types: &[&str], span: Span) -> Result<Matches, StoreError> {
        let sql = directed!(
            span.order,
            "SELECT id FROM log_entries WHERE event_type = $1 AND id > $2 AND id <= $3 ORDER BY id",
            "LIMIT $4"
        );
        let mut found = BTreeSet::new();
        for event_type in types {
            let rows: Vec<i64> = on_pool!(&self.0.readers, db => sqlx::query_scalar(sql)
                .bind(event_type)
                .bind(number(span.after))
                .bind(number(span.upto))
                .bind(LIMIT)
                .fetch_all(db))?;
            found.extend(rows.into_iter().map(i64::cast_unsigned));
        }
        Ok(Matches::of(found, span.order))
    }

    /// Those of some entries that are of one of some types, in the order of the ids as given.
    pub async fn of_those(&self, ids: &[u64], types: &[&str]) -> Result<Vec<u64>, StoreError> {
        const SQL: Sql = rows!(
            "SELECT id, event_type FROM log_entries
             WHERE id IN (SELECT CAST(value->>0 AS BIGINT) FROM",
            ")"
        );
        let asked = text(json(&ids.iter().map(|id| [number(*id)]).collect::<Vec<_>>()));
        let rows: Vec<(i64, String)> = on_pool!(&self.0.readers, db => {
            sqlx::query_as(db.text(SQL)).bind(&asked).fetch_all(db)
        })?;
        let is_wanted = |row: &(i64, String)| types.contains(&row.1.as_str());
        let wanted: HashSet<u64> =
            rows.into_iter().filter(is_wanted).map(|(id, _)| id.cast_unsigned()).collect();
        Ok(ids.iter().copied().filter(|id| wanted.contains(id)).collect())
    }

    /// Entries whose hash is in the range: one probe for each run, then the entries after the
    /// last whole run.
    async fn search_hashes(&self, range: &HashRange, span: Span) -> Result<Vec<u64>, StoreError> {
        let runs = directed!(
            span.order,
            "WITH RECURSIVE runs(run) AS (
                SELECT CAST($1 AS BIGINT) UNION ALL SELECT run + 1 FROM runs WHERE run + 1 < $2
            ),
            found AS MATERIALIZED (
                SELECT entry.id FROM runs
                CROSS JOIN view_entry_hashes AS prefixes
                CROSS JOIN log_entries AS entry
                WHERE prefixes.run = runs.run AND prefixes.prefix BETWEEN $3 AND $4
                  AND entry.id = prefixes.id AND entry.entry_hash BETWEEN $5 AND $6
            )
            SELECT id FROM found WHERE id > $7 ORDER BY id",
            "LIMIT $8"
        );
        let tail = directed!(
            span.order,
            "SELECT id FROM log_entries
             WHERE id > $1 AND id <= $2 AND entry_hash BETWEEN $3 AND $4 ORDER BY id",
            "LIMIT $5"
        );
        let (first, whole) = (number(span.after >> RUN_BITS), number(span.upto >> RUN_BITS));
        let (low, high) = (&range.low[..], &range.high[..]);
        let mut found: Vec<i64> = Vec::new();
        if first < whole {
            found = on_pool!(&self.0.readers, db => sqlx::query_scalar(runs)
                .bind(first)
                .bind(whole)
                .bind(&low[..8])
                .bind(&high[..8])
                .bind(low)
                .bind(high)
                .bind(number(span.after))
                .bind(LIMIT)
                .fetch_all(db))?;
        }
        let rest: Vec<i64> = on_pool!(&self.0.readers, db => sqlx::query_scalar(tail)
            .bind(number(span.after).max(whole << RUN_BITS))
            .bind(number(span.upto))
            .bind(low)
            .bind(high)
            .bind(LIMIT)
            .fetch_all(db))?;
        found.extend(rest);
        Ok(found.into_iter().map(i64::cast_unsigned).collect())
    }

    /// Lifecycle entries that refer to a key or document whose hash is in the range.
    async fn search_refs(&self, range: &HashRange, span: Span) -> Result<Vec<u64>, StoreError> {
        let sql = directed!(
            span.order,
            "SELECT DISTINCT id FROM view_refs
             WHERE kind IN ('document', 'fingerprint', 'witness') AND value >= $1 AND value <= $2
               AND id > $3 AND id <= $4 ORDER BY id",
            "LIMIT $5"
        );
        let [low, high] = [&range.low, &range.high].map(|bytes| Hash::new(*bytes).to_string());
        let found: Vec<i64> = on_pool!(&self.0.readers, db => sqlx::query_scalar(sql)
            .bind(&low)
            .bind(&high)
            .bind(number(span.after))
            .bind(number(span.upto))
            .bind(LIMIT)
            .fetch_all(db))?;
        Ok(found.into_iter().map(i64::cast_unsigned).collect())
    }

    /// The registrations of keys whose pseudonym contains the text, whatever its case.
    async fn search_pseudonyms(&self, part: &str, span: Span) -> Result<Vec<u64>, StoreError> {
        let sql = directed!(
            span.order,
            r"SELECT entry_id FROM view_keys
              WHERE pseudonym_folded LIKE $1 ESCAPE '\' AND entry_id > $2 AND entry_id <= $3
              ORDER BY entry_id",
            "LIMIT $4"
        );
        let found: Vec<i64> = on_pool!(&self.0.readers, db => sqlx::query_scalar(sql)
            .bind(containing(part))
            .bind(number(span.after))
            .bind(number(span.upto))
            .bind(LIMIT)
            .fetch_all(db))?;
        Ok(found.into_iter().map(i64::cast_unsigned).collect())
    }
}

/// The `LIKE` pattern for texts that contain `part` literally, with `\` as the escape.
pub(super) fn containing(part: &str) -> String {
    let mut pattern = String::from("%");
    for letter in folded(&part.nfc().collect::<String>()).chars() {
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
        assert_eq!(containing("A\u{308}"), "%ä%", "however it was typed");
    }

    #[test]
    fn what_is_answered_lies_nearest_to_the_end_that_was_asked_for() {
        let all: BTreeSet<u64> = (1..=10_001).collect();
        let first = Matches::of(all.clone(), Order::Ascending);
        assert_eq!((first.ids.len(), first.ids[0], first.has_more), (MAX_FOUND, 1, true));
        let last = Matches::of(all, Order::Descending);
        assert_eq!((last.ids[0], last.ids[9_999], last.has_more), (10_001, 2, true));
        let whole = Matches::of((1..=10_000).collect(), Order::Ascending);
        assert_eq!((whole.ids.len(), whole.has_more), (MAX_FOUND, false));
    }
}
