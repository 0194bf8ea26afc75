//! What differs between the dialects when many rows are written or named at once.
//!
//! `sqlx` pays about 45 us for each statement on SQLite, so rows travel together:
//! - rows with binary columns as one multi-row statement ([`Insert`]): on SQLite `VALUES` padded
//!   to the next power of two with rows of NULL, which are filtered out again, so that thirteen
//!   prepared statements cover every width; on PostgreSQL `UNNEST` of one array a column;
//! - all others as one JSON array of arrays ([`rows!`]), which both databases take apart.

use std::future::Future;
use std::sync::{Arc, LazyLock};

use sqlx::{AssertSqlSafe, PgConnection, SqliteConnection};

use super::error::StoreError;

/// One statement in both dialects.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sql {
    pub(super) sqlite: &'static str,
    pub(super) postgres: &'static str,
}

impl Sql {
    /// A statement that both dialects read.
    pub(super) const fn same(text: &'static str) -> Self {
        Self { sqlite: text, postgres: text }
    }
}

/// A statement that takes rows as one JSON array of arrays, its first parameter: `value` is one
/// row, `value->>0` its first column as text.
macro_rules! rows {
    ($head:literal, $tail:literal) => {
        $crate::store::bulk::rows!([$head], $tail)
    };
    ([$($head:tt)+], $tail:literal) => {
        $crate::store::bulk::Sql {
            sqlite: concat!($($head)+, " json_each($1) ", $tail),
            postgres: concat!($($head)+, " json_array_elements($1::json) ", $tail),
        }
    };
}
pub(super) use rows;

/// A statement that answers with all its rows as one JSON text, these columns of each, in the order
/// of the SELECT: a row that is handed over by itself costs `sqlx` about 1 us for each column on
/// SQLite, which is more than reading it.
macro_rules! packed {
    ($columns:literal, [$($sqlite:expr),+ $(,)?], [$($postgres:expr),+ $(,)?]) => {
        $crate::store::bulk::Sql {
            sqlite: concat!(
                "SELECT json_group_array(json_array(", $columns, ")) FROM (", $($sqlite),+, ")"
            ),
            postgres: concat!(
                "SELECT COALESCE(json_agg(json_build_array(", $columns, ")), '[]')::text FROM (",
                $($postgres),+,
                ") AS found"
            ),
        }
    };
}
pub(super) use packed;

/// The rows of the answer to a [`packed!`] statement.
pub(super) fn unpacked<'a, R: serde::Deserialize<'a>>(
    answer: &'a str,
    table: &'static str,
) -> Result<Vec<R>, StoreError> {
    serde_json::from_str(answer).map_err(|_| StoreError::Malformed { table })
}

/// The rows of a [`rows!`] statement as its parameter.
pub(super) fn json<R: serde::Serialize>(rows: &[R]) -> Value {
    Value::Text(Some(serde_json::to_string(rows).expect("tuples of text and numbers serialise")))
}

/// One parameter.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Int(Option<i64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(Some(number))
    }
}

impl From<Option<i64>> for Value {
    fn from(number: Option<i64>) -> Self {
        Self::Int(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

impl From<Option<&str>> for Value {
    fn from(text: Option<&str>) -> Self {
        Self::Text(text.map(str::to_owned))
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(Some(bytes.to_owned()))
    }
}

/// The parameters of a statement.
macro_rules! values {
    ($($value:expr),* $(,)?) => { vec![$($crate::store::bulk::Value::from($value)),*] };
}
pub(super) use values;

/// One column of the rows of an [`Insert`].
#[derive(Debug)]
pub(super) enum Column {
    Int(Vec<i64>),
    Text(Vec<Option<String>>),
    Bytes(Vec<Option<Vec<u8>>>),
}

impl Column {
    fn len(&self) -> usize {
        match self {
            Self::Int(rows) => rows.len(),
            Self::Text(rows) => rows.len(),
            Self::Bytes(rows) => rows.len(),
        }
    }

    /// Takes the rows from `at` on away.
    fn split_off(&mut self, at: usize) -> Self {
        match self {
            Self::Int(rows) => Self::Int(rows.split_off(at)),
            Self::Text(rows) => Self::Text(rows.split_off(at)),
            Self::Bytes(rows) => Self::Bytes(rows.split_off(at)),
        }
    }

    fn take(&mut self, row: usize) -> Value {
        match self {
            Self::Int(rows) => Value::Int(rows.get(row).copied()),
            Self::Text(rows) => Value::Text(rows.get_mut(row).and_then(Option::take)),
            Self::Bytes(rows) => Value::Bytes(rows.get_mut(row).and_then(Option::take)),
        }
    }
}

/// The most rows of one statement: with seven columns still below SQLite's 32,766 parameters.
const MAX_ROWS: usize = 4096;

/// A multi-row insert into one table; the first column is never NULL.
#[derive(Debug)]
pub(super) struct Insert {
    postgres: String,
    /// By the binary logarithm of the number of rows.
    sqlite: Vec<Arc<str>>,
}

impl Insert {
    /// Prepares the statements; `columns` are names with PostgreSQL's element types.
    pub(super) fn new(table: &str, columns: &[(&str, &str)], suffix: &str) -> Self {
        let names = columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        let arrays = columns.iter().enumerate().map(|(n, (_, of))| format!("${}::{of}[]", n + 1));
        let arrays = arrays.collect::<Vec<_>>().join(", ");
        let row = format!("({})", vec!["?"; columns.len()].join(","));
        let sqlite = (0..=MAX_ROWS.ilog2()).map(|power| {
            let rows = vec![row.as_str(); 1 << power].join(",");
            format!(
                "INSERT INTO {table} ({names}) SELECT * FROM (VALUES {rows}) \
                 WHERE column1 IS NOT NULL {suffix}"
            )
            .into()
        });
        Self {
            postgres: format!(
                "INSERT INTO {table} ({names}) SELECT * FROM UNNEST({arrays}) {suffix}"
            ),
            sqlite: sqlite.collect(),
        }
    }
}

pub(super) static ENTRIES: LazyLock<Insert> = LazyLock::new(|| {
    Insert::new(
        "log_entries",
        &[
            ("id", "int8"),
            ("leaf", "bytea"),
            ("entry_hash", "bytea"),
            ("event_type", "text"),
            ("timestamp", "int8"),
        ],
        "",
    )
});

pub(super) static TILES: LazyLock<Insert> = LazyLock::new(|| {
    Insert::new("log_tiles", &[("level", "int8"), ("idx", "int8"), ("hashes", "bytea")], "")
});

pub(super) static HEADS: LazyLock<Insert> = LazyLock::new(|| {
    Insert::new(
        "log_heads",
        &[
            ("second", "int8"),
            ("tree_size", "int8"),
            ("root_hash", "bytea"),
            ("chain_head", "bytea"),
            ("epoch", "int8"),
            ("timestamp", "int8"),
            ("head_json", "text"),
        ],
        "ON CONFLICT (second) DO UPDATE SET tree_size = excluded.tree_size, \
         root_hash = excluded.root_hash, chain_head = excluded.chain_head, \
         epoch = excluded.epoch, timestamp = excluded.timestamp, head_json = excluded.head_json",
    )
});

pub(super) static PINNED_HEADS: LazyLock<Insert> = LazyLock::new(|| {
    Insert::new(
        "log_pinned_heads",
        &[
            ("tree_size", "int8"),
            ("timestamp", "int8"),
            ("root_hash", "bytea"),
            ("chain_head", "bytea"),
            ("epoch", "int8"),
            ("head_json", "text"),
        ],
        "ON CONFLICT (tree_size, timestamp) DO NOTHING",
    )
});

/// A connection of either database.
pub(super) trait Session: Send {
    /// The statement in this connection's dialect.
    fn text(&self, sql: Sql) -> &'static str;

    /// Runs a statement; answers how many rows it touched.
    fn run(
        &mut self,
        sql: Sql,
        values: Vec<Value>,
    ) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;

    /// Runs a statement that answers at most one number.
    fn number(
        &mut self,
        sql: Sql,
        values: Vec<Value>,
    ) -> impl Future<Output = Result<Option<i64>, sqlx::Error>> + Send;

    /// Inserts rows, given column by column; answers how many statements that took.
    fn insert(
        &mut self,
        into: &Insert,
        columns: Vec<Column>,
    ) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;
}

macro_rules! bound {
    ($query:expr, $values:expr) => {
        $values.into_iter().fold($query, |query, value| match value {
            Value::Int(value) => query.bind(value),
            Value::Text(value) => query.bind(value),
            Value::Bytes(value) => query.bind(value),
        })
    };
}

impl Session for SqliteConnection {
    fn text(&self, sql: Sql) -> &'static str {
        sql.sqlite
    }

    async fn run(&mut self, sql: Sql, values: Vec<Value>) -> Result<u64, sqlx::Error> {
        Ok(bound!(sqlx::query(sql.sqlite), values).execute(self).await?.rows_affected())
    }

    async fn number(&mut self, sql: Sql, values: Vec<Value>) -> Result<Option<i64>, sqlx::Error> {
        bound!(sqlx::query_scalar(sql.sqlite), values).fetch_optional(self).await
    }

    async fn insert(
        &mut self,
        into: &Insert,
        mut columns: Vec<Column>,
    ) -> Result<u64, sqlx::Error> {
        let mut statements = 0;
        while let Some(rows) = columns.first().map(Column::len).filter(|rows| *rows > 0) {
            let rows = rows.min(MAX_ROWS);
            let rest = columns.iter_mut().map(|column| column.split_off(rows)).collect();
            let width = rows.next_power_of_two();
            let sql = into.sqlite[width.ilog2() as usize].clone();
            let mut query = sqlx::query(AssertSqlSafe(sql));
            // What is not bound is NULL: the padding.
            for row in 0..rows {
                query = bound!(query, columns.iter_mut().map(|column| column.take(row)));
            }
            query.execute(&mut *self).await?;
            statements += 1;
            columns = rest;
        }
        Ok(statements)
    }
}

impl Session for PgConnection {
    fn text(&self, sql: Sql) -> &'static str {
        sql.postgres
    }

    async fn run(&mut self, sql: Sql, values: Vec<Value>) -> Result<u64, sqlx::Error> {
        Ok(bound!(sqlx::query(sql.postgres), values).execute(self).await?.rows_affected())
    }

    async fn number(&mut self, sql: Sql, values: Vec<Value>) -> Result<Option<i64>, sqlx::Error> {
        bound!(sqlx::query_scalar(sql.postgres), values).fetch_optional(self).await
    }

    async fn insert(&mut self, into: &Insert, columns: Vec<Column>) -> Result<u64, sqlx::Error> {
        if columns.first().is_none_or(|column| column.len() == 0) {
            return Ok(0);
        }
        let mut query = sqlx::query(AssertSqlSafe(into.postgres.clone()));
        for column in columns {
            query = match column {
                Column::Int(rows) => query.bind(rows),
                Column::Text(rows) => query.bind(rows),
                Column::Bytes(rows) => query.bind(rows),
            };
        }
        query.execute(self).await?;
        Ok(1)
    }
}
