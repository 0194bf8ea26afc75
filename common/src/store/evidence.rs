//! The evidence and observation files that this node keeps.

use super::Store;
use super::commit::number;
use super::error::StoreError;
use super::pool::on_pool;
use super::views::read_rows;
use crate::clock::Timestamp;

/// The kind of the files that prove nothing.
pub const OBSERVATION: &str = "observation";

/// A kept file, without its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvidenceRow {
    /// Its number.
    pub id: i64,
    /// What it shows.
    pub kind: String,
    /// When it was kept.
    pub created_at: Timestamp,
    /// How many bytes it has.
    pub bytes: u64,
}

impl EvidenceRow {
    /// Whether it proves something, rather than only showing it.
    pub fn is_proof(&self) -> bool {
        self.kind != OBSERVATION
    }
}

/// Which files are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// All of them.
    All,
    /// Those that prove something.
    Proofs,
}

impl Store {
    /// The kept files with numbers above `after`, ascending, at most `limit`.
    pub async fn evidence_after(
        &self,
        which: Kept,
        after: i64,
        limit: u64,
    ) -> Result<Vec<EvidenceRow>, StoreError> {
        const SQL: &str = "SELECT id, kind, created_at, CAST(LENGTH(bytes) AS BIGINT)
            FROM local_evidence WHERE id > $1 AND ($2 = 0 OR kind <> $3) ORDER BY id LIMIT $4";
        type Stored = (i64, String, i64, i64);
        let rows: Vec<Stored> = on_pool!(&self.0.readers, db => sqlx::query_as(SQL)
            .bind(after)
            .bind(i64::from(which == Kept::Proofs))
            .bind(OBSERVATION)
            .bind(number(limit))
            .fetch_all(db))?;
        let read = |(id, kind, created_at, bytes): Stored| {
            let created_at = Timestamp::from_millis(created_at)?;
            Some(EvidenceRow { id, kind, created_at, bytes: u64::try_from(bytes).ok()? })
        };
        read_rows(rows, read, "local_evidence")
    }
}
