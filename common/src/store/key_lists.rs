//! Registered keys in the order of the log, and those whose pseudonym holds a text.
//!
//! A key has its place by the first entry that registered it, which never changes: who reads on
//! after the last key seen misses none. Lists and searches read one narrow index; the rows
//! themselves are read for one page.

use super::Store;
use super::bulk::{Session as _, Sql, json};
use super::commit::number;
use super::error::StoreError;
use super::identity::{KEYS, StoredKey, key_column_names, key_row};
use super::pool::on_pool;
use super::read::{Order, text};
use super::search::{LIMIT, Matches, Span, containing, directed};
use super::views::read_rows;
use crate::view::KeyRow;

impl Store {
    /// The first entries of a page of the keys that a span registered.
    pub async fn key_entries(
        &self,
        span: Span,
        offset: u64,
        limit: u64,
    ) -> Result<Vec<u64>, StoreError> {
        let sql = directed!(
            span.order,
            "SELECT first_entry_id FROM view_keys
             WHERE first_entry_id > $1 AND first_entry_id <= $2 ORDER BY first_entry_id",
            "LIMIT $3 OFFSET $4"
        );
        let ids: Vec<i64> = on_pool!(&self.0.readers, db => sqlx::query_scalar(sql)
            .bind(number(span.after))
            .bind(number(span.upto))
            .bind(number(limit))
            .bind(number(offset))
            .fetch_all(db))?;
        Ok(ids.into_iter().map(i64::cast_unsigned).collect())
    }

    /// The first entries of the keys of a span whose pseudonym contains the text, whatever its
    /// case.
    pub async fn search_keys(&self, part: &str, span: Span) -> Result<Matches, StoreError> {
        let sql = directed!(
            span.order,
            r"SELECT first_entry_id FROM view_keys
              WHERE pseudonym_folded LIKE $1 ESCAPE '\'
                AND first_entry_id > $2 AND first_entry_id <= $3
              ORDER BY first_entry_id",
            "LIMIT $4"
        );
        let ids = on_pool!(&self.0.readers, db => sqlx::query_scalar(sql)
            .bind(containing(part))
            .bind(number(span.after))
            .bind(number(span.upto))
            .bind(LIMIT)
            .fetch_all(db))?;
        Ok(Matches::of_rows(ids))
    }

    /// The keys that these entries were the first to register, in the order of the entries.
    pub async fn keys_of_entries(&self, ids: &[u64]) -> Result<Vec<KeyRow>, StoreError> {
        const SQL: Sql = Sql {
            sqlite: concat!(
                "SELECT ",
                key_column_names!(),
                " FROM view_keys WHERE first_entry_id
                  IN (SELECT CAST(value->>0 AS BIGINT) FROM json_each($1))
                  ORDER BY first_entry_id"
            ),
            postgres: concat!(
                "SELECT ",
                key_column_names!(),
                " FROM view_keys WHERE first_entry_id
                  IN (SELECT CAST(value->>0 AS BIGINT) FROM json_array_elements($1::json))
                  ORDER BY first_entry_id"
            ),
        };
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let ids = text(json(&ids.iter().map(|id| [number(*id)]).collect::<Vec<_>>()));
        let rows: Vec<StoredKey> = on_pool!(&self.0.readers, db => {
            sqlx::query_as(db.text(SQL)).bind(&ids).fetch_all(db)
        })?;
        read_rows(rows, key_row, KEYS)
    }

    /// How many keys a span registered; counting ends at 10,001.
    pub async fn count_keys_within(&self, span: Span) -> Result<u64, StoreError> {
        const SQL: &str = "SELECT COUNT(*) FROM (
            SELECT 1 FROM view_keys WHERE first_entry_id > $1 AND first_entry_id <= $2 LIMIT $3
        ) AS counted";
        let count: i64 = on_pool!(&self.0.readers, db => sqlx::query_scalar(SQL)
            .bind(number(span.after))
            .bind(number(span.upto))
            .bind(LIMIT)
            .fetch_one(db))?;
        Ok(count.cast_unsigned())
    }
}
