//! The rows that the log does not give back, read and written without a word of either dialect:
//! what a backup holds beside the entries.
//!
//! Views and tiles follow from the entries. Challenges are left out on purpose: they live for
//! minutes, and one that was used must not become fresh again in an older copy.

use sqlx::{
    AssertSqlSafe, PgConnection, Postgres, Row as _, Sqlite, SqliteConnection, Transaction,
};

use super::Store;
use super::bulk::{Session as _, Sql, values};
use super::commit::{HeadRow, LogState, StoredState, insert_heads};
use super::error::{CommitError, StoreError};
use super::pool::{POSTGRES_PATIENCE, Pool, SQLITE_PATIENCE, patiently};
use super::read::{HEAD_AT_MOST, StoredHead, head};
use crate::merkle::TreeSize;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A whole number.
    Int,
    /// Text.
    Text,
    /// Bytes.
    Bytes,
}

/// One field of a row; absent is NULL.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cell {
    /// Of a column of [`Kind::Int`].
    Int(Option<i64>),
    /// Of a column of [`Kind::Text`].
    Text(Option<String>),
    /// Of a column of [`Kind::Bytes`].
    Bytes(Option<Vec<u8>>),
}

/// A table whose rows are kept.
#[derive(Debug)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// Its columns, those of the primary key first.
    pub columns: &'static [(&'static str, Kind)],
    key: usize,
    /// Which rows belong to a log of `$1` entries.
    within: &'static str,
    /// How many rows are read at once.
    page: i64,
}

const ALL: &str = "CAST($1 AS BIGINT) >= 0";
const UP_TO_SIZE: &str = "tree_size <= $1";

macro_rules! tables {
    ($(#[doc = $doc:literal])+ $all:ident: $($name:literal, $key:literal, $within:expr, $page:literal:
       $($column:ident $kind:ident),+;)+) => {
        $(#[doc = $doc])+
        pub const $all: &[Table] = &[$(Table {
            name: $name,
            columns: &[$((stringify!($column), Kind::$kind)),+],
            key: $key,
            within: $within,
            page: $page,
        }),+];
    };
}

tables! {
    /// Every table whose rows are kept, in the order in which they are.
    TABLES:
    "log_heads", 1, UP_TO_SIZE, 500:
        second Int, tree_size Int, root_hash Bytes, chain_head Bytes, epoch Int, timestamp Int,
        head_json Text;
    "log_pinned_heads", 2, UP_TO_SIZE, 500:
        tree_size Int, timestamp Int, root_hash Bytes, chain_head Bytes, epoch Int, head_json Text;
    "local_meta", 1, ALL, 100: name Text, value Text;
    "local_idempotency", 2, "first_id + count <= $1 + 1", 500:
        principal Text, key Text, body_hash Text, first_id Int, count Int, created_at Int;
    "local_pending_keys", 1, ALL, 20:
        fingerprint Text, public_key Text, network Text, first_seen Int, body Text;
    "local_reserved_keys", 1, ALL, 500: key Text, name Text, category Text, expires_at Int;
    "local_evidence", 1, ALL, 4: id Int, kind Text, created_at Int, bytes Bytes;
    "local_incidents", 1, ALL, 500:
        id Int, kind Text, subject Text, class Text, reason Text, detail Text, opened_at Int,
        acked_at Int, evidence_id Int;
    "local_cosignatures", 2, UP_TO_SIZE, 500:
        tree_size Int, fingerprint Text, name Text, line Text, timestamp Int;
    "local_reports", 1, ALL, 100: follower Text, body Text, received_at Int, timestamp Int;
    "local_kept_heads", 2, ALL, 100: tree_size Int, timestamp Int, head_json Text;
    "local_passwords", 1, ALL, 500: fingerprint Text, hash Text, set_at Int;
    "local_v1_keys", 1, ALL, 500: fingerprint Text;
    "local_webhooks", 1, ALL, 100:
        id Text, owner Text, url Text, events Text, secret Bytes, signing_seed Bytes,
        created_at Int, state Text, next_id Int, generation Int, due_at Int, paused_until Int,
        failing_since Int;
    "local_webhook_messages", 2, ALL, 500:
        webhook_id Text, entry_id Int, attempts Int, due_at Int, first_at Int, last_at Int,
        response_status Int, fault Text;
}

tables! {
    /// The views that a fold over the entries gives, but for the hashes of entries, which are
    /// looked at beside these.
    VIEWS:
    "view_meta", 1, ALL, 100: name Text, version Int;
    "view_event_counts", 1, ALL, 500: event_type Text, count Int;
    "view_totals", 1, ALL, 100: name Text, count Int;
    "view_refs", 3, ALL, 1_000: kind Text, value Text, id Int;
    "view_no_effect", 1, ALL, 500: id Int, reason Text;
    "view_keys", 1, ALL, 200:
        fingerprint Text, public_key Text, algorithm Text, pseudonym Text, pseudonym_folded Text,
        registered_at Int, expires_at Int, entry_id Int, proven Int, first_entry_id Int,
        used_v1 Int, succeeds Text, ended_by Int, ended_at Int, ended_asserted Int,
        succeeded_by Text;
    "view_endorsed", 2, ALL, 200:
        fingerprint Text, category Text, public_key Text, name Text, entry_id Int, since Int,
        revoked_by Int, after_size Int;
    "view_profiles", 1, ALL, 200:
        fingerprint Text, kind Text, display_name Text, server Text, timestamp Int, entry_id Int;
    "view_witnesses", 1, ALL, 200:
        fingerprint Text, proof_id Int, tree_size Int, root_hash Text, signed_at Int,
        recorded_at Int, cosigner Text;
    "view_attestations", 1, ALL, 500:
        id Text, attestation_id Text, manifest_hash Text, content_hash Text, signer Text,
        type Text, binds Text, canonicalization Text, entry_id Int, at Int, asserted Int;
    "view_attested_types", 3, ALL, 500:
        manifest_hash Text, signer Text, binds Text, type Text;
    "view_endorsements", 1, ALL, 500:
        offer_id Int, endorser Text, endorsed Text, category Text, institution Text,
        offered_at Int, valid_until Int, asserted Int, accept_id Int, accepted_at Int,
        active_from Int, level Int, ended_how Text, ended_by Int, ended_at Int;
    "view_alerts", 2, ALL, 500:
        endorser Text, compromised Text, entry_id Int, at Int, withdrawn_by Int;
    "view_trust_configs", 1, ALL, 500: fingerprint Text, entry_id Int, at Int, revoked_by Int;
    "view_claims", 1, ALL, 500:
        commitment Text, entry_id Int, claimant Text, at Int, revealed_by Int;
}

impl Table {
    /// The table of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        TABLES.iter().find(|table| table.name == name)
    }

    fn names(&self) -> String {
        self.columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }

    /// Reads one page: `$1` is the log's size, what follows the key of the row before.
    fn select(&self, after: bool) -> String {
        let keys: Vec<&str> = self.columns[..self.key].iter().map(|(name, _)| *name).collect();
        let order = keys.join(", ");
        let marks: Vec<String> = (2..self.key + 2).map(|n| format!("${n}")).collect();
        let beyond =
            if after { format!(" AND ({order}) > ({})", marks.join(", ")) } else { String::new() };
        format!(
            "SELECT {} FROM {} WHERE {}{beyond} ORDER BY {order} LIMIT {}",
            self.names(),
            self.name,
            self.within,
            self.page
        )
    }

    fn insert(&self) -> String {
        let marks: Vec<String> = (1..=self.columns.len()).map(|n| format!("${n}")).collect();
        format!("INSERT INTO {} ({}) VALUES ({})", self.name, self.names(), marks.join(", "))
    }

    /// The columns of a row by which it is found.
    pub fn key<'a>(&self, row: &'a [Cell]) -> &'a [Cell] {
        &row[..self.key.min(row.len())]
    }

    /// Deletes a row if it still is what it was.
    pub(super) fn delete_exactly(&self) -> String {
        let columns = (1..).zip(self.columns);
        let same: Vec<String> =
            columns.map(|(n, (name, _))| format!("{name} IS NOT DISTINCT FROM ${n}")).collect();
        format!("DELETE FROM {} WHERE {}", self.name, same.join(" AND "))
    }

    /// Inserts a row unless another one has its place.
    pub(super) fn insert_if_absent(&self) -> String {
        format!("{} ON CONFLICT DO NOTHING", self.insert())
    }
}

/// A moment of the database that later commits do not change.
///
/// It holds a connection; on SQLite the write-ahead log can't shrink below it meanwhile, so it is
/// for what is soon read.
#[derive(Debug)]
pub struct Frozen(Held);

#[derive(Debug)]
enum Held {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

/// A transaction that puts kept rows back.
#[derive(Debug)]
pub struct Refill(Held);

macro_rules! on_held {
    ($held:expr, $db:ident => $work:expr) => {
        match $held {
            Held::Sqlite(transaction) => {
                let $db = &mut **transaction;
                patiently(SQLITE_PATIENCE, async { Ok::<_, StoreError>($work.await?) }).await
            }
            Held::Postgres(transaction) => {
                let $db = &mut **transaction;
                patiently(POSTGRES_PATIENCE, async { Ok::<_, StoreError>($work.await?) }).await
            }
        }
    };
}

impl Store {
    /// Stops at this moment: everything read from the answer belongs together.
    pub async fn freeze(&self) -> Result<Frozen, StoreError> {
        const ISOLATION: &str = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY";
        const NO_HURRY: &str = "SET LOCAL idle_in_transaction_session_timeout = 0";
        Ok(Frozen(match &self.0.readers {
            Pool::Sqlite(pool) => Held::Sqlite(pool.begin().await?),
            Pool::Postgres(pool) => {
                let mut transaction = pool.begin().await?;
                sqlx::query(ISOLATION).execute(&mut *transaction).await?;
                sqlx::query(NO_HURRY).execute(&mut *transaction).await?;
                Held::Postgres(transaction)
            }
        }))
    }

    /// Begins to put kept rows back: what the tables hold is deleted.
    pub async fn refill(&self) -> Result<Refill, StoreError> {
        let mut held = match &self.0.writers {
            Pool::Sqlite(pool) => Held::Sqlite(pool.begin_with("BEGIN IMMEDIATE").await?),
            Pool::Postgres(pool) => Held::Postgres(pool.begin().await?),
        };
        for table in TABLES {
            let sql = format!("DELETE FROM {}", table.name);
            on_held!(&mut held, db => db.put(sql, &[]))?;
        }
        Ok(Refill(held))
    }
}

impl Frozen {
    /// Where the log was; `None` if it was never initialised.
    pub async fn state(&mut self) -> Result<Option<LogState>, StoreError> {
        let row: Option<StoredState> = on_held!(&mut self.0, db => {
            sqlx::query_as(LogState::SELECT).fetch_optional(db)
        })?;
        row.map(|row| LogState::from_row(&row)).transpose()
    }

    /// The newest head that had its signature, of at most this size.
    pub async fn head_at_most(&mut self, size: TreeSize) -> Result<Option<HeadRow>, StoreError> {
        let row: Option<StoredHead> = on_held!(&mut self.0, db => {
            sqlx::query_as(HEAD_AT_MOST).bind(size.to_sql()).fetch_optional(db)
        })?;
        row.map(head).transpose()
    }

    /// The rows of a table that belong to a log of this size, in the order of their keys, after
    /// the row that was read last; none after the last one.
    pub async fn rows(
        &mut self,
        table: &Table,
        size: TreeSize,
        after: Option<&[Cell]>,
    ) -> Result<Vec<Vec<Cell>>, StoreError> {
        let sql = table.select(after.is_some());
        let key = after.map_or(&[][..], |row| &row[..table.key]);
        on_held!(&mut self.0, db => db.page(sql, size, key, table.columns))
    }
}

impl Refill {
    /// Puts one row back.
    pub async fn put(&mut self, table: &Table, row: &[Cell]) -> Result<(), StoreError> {
        let sql = table.insert();
        on_held!(&mut self.0, db => db.put(sql, row))
    }

    /// Makes everything durable, with the head that the log ends with: its row may have been
    /// written before it was signed.
    pub async fn commit(mut self, last: &HeadRow) -> Result<(), StoreError> {
        on_held!(&mut self.0, db => async {
            insert_heads(db, std::slice::from_ref(last)).await?;
            for sql in NUMBERS {
                db.number(sql, values![]).await?;
            }
            Ok::<_, CommitError>(())
        })?;
        match self.0 {
            Held::Sqlite(transaction) => transaction.commit().await?,
            Held::Postgres(transaction) => transaction.commit().await?,
        }
        Ok(())
    }
}

/// PostgreSQL counts on where rows with given numbers end; SQLite does so by itself.
const NUMBERS: [Sql; 2] = [
    Sql {
        sqlite: "SELECT 1",
        postgres: "SELECT setval(pg_get_serial_sequence('local_evidence', 'id'),
                    COALESCE((SELECT MAX(id) FROM local_evidence), 0) + 1, false)",
    },
    Sql {
        sqlite: "SELECT 1",
        postgres: "SELECT setval(pg_get_serial_sequence('local_incidents', 'id'),
                    COALESCE((SELECT MAX(id) FROM local_incidents), 0) + 1, false)",
    },
];

/// Rows whose columns are known when the program runs.
pub(super) trait Rows {
    async fn page(
        &mut self,
        sql: String,
        size: TreeSize,
        after: &[Cell],
        columns: &[(&str, Kind)],
    ) -> Result<Vec<Vec<Cell>>, sqlx::Error>;

    async fn put(&mut self, sql: String, row: &[Cell]) -> Result<(), sqlx::Error>;
}

macro_rules! rows_of {
    ($connection:ty, $database:ty) => {
        impl Rows for $connection {
            async fn page(
                &mut self,
                sql: String,
                size: TreeSize,
                after: &[Cell],
                columns: &[(&str, Kind)],
            ) -> Result<Vec<Vec<Cell>>, sqlx::Error> {
                let query = sqlx::query::<$database>(AssertSqlSafe(sql)).bind(size.to_sql());
                let query = after.iter().cloned().fold(query, |query, cell| match cell {
                    Cell::Int(value) => query.bind(value),
                    Cell::Text(value) => query.bind(value),
                    Cell::Bytes(value) => query.bind(value),
                });
                let rows = query.fetch_all(self).await?;
                let cell = |row: &<$database as sqlx::Database>::Row, at: usize, kind: Kind| {
                    Ok::<_, sqlx::Error>(match kind {
                        Kind::Int => Cell::Int(row.try_get(at)?),
                        Kind::Text => Cell::Text(row.try_get(at)?),
                        Kind::Bytes => Cell::Bytes(row.try_get(at)?),
                    })
                };
                rows.iter()
                    .map(|row| {
                        let kinds = columns.iter().enumerate();
                        kinds.map(|(at, (_, kind))| cell(row, at, *kind)).collect()
                    })
                    .collect()
            }

            async fn put(&mut self, sql: String, row: &[Cell]) -> Result<(), sqlx::Error> {
                let query = sqlx::query::<$database>(AssertSqlSafe(sql));
                let query = row.iter().cloned().fold(query, |query, cell| match cell {
                    Cell::Int(value) => query.bind(value),
                    Cell::Text(value) => query.bind(value),
                    Cell::Bytes(value) => query.bind(value),
                });
                query.execute(self).await.map(drop)
            }
        }
    };
}

rows_of!(SqliteConnection, Sqlite);
rows_of!(PgConnection, Postgres);
