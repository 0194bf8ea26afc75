//! The one transaction in which the log grows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::Store;
use super::bulk::{self, Column, Session, Sql, values};
use super::error::{CommitError, StoreError};
use super::local::{LocalWrite, LocalWrites};
use super::pool::{in_transaction, on_pool};
use super::views::ViewWrites;
use crate::clock::Timestamp;
use crate::head::TreeHead;
use crate::leaf::Leaf;
use crate::merkle::{Hash, TileId, TileNodes, TreeRoot, TreeSize};
use crate::view;

/// Where the writer believes the log is. The commit happens there or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard {
    /// The tree before this batch.
    pub tree: TreeRoot,
    /// The time of the head before this batch.
    pub timestamp: Timestamp,
    /// What [`Store::raise_writer`] gave to this process.
    pub writer: i64,
}

/// Where the log is after a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewState {
    /// The tree with this batch.
    pub tree: TreeRoot,
    /// The entry hash of its last entry.
    pub chain_head: Option<Hash>,
    /// The new head's time.
    pub timestamp: Timestamp,
    /// The log's epoch.
    pub epoch: u64,
}

/// A tree head as `log_heads` holds it: the fields that a signature covers, and the signed head
/// verbatim once it was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadRow {
    /// Size and root.
    pub tree: TreeRoot,
    /// The entry hash of the last entry.
    pub chain_head: Option<Hash>,
    /// The log's epoch.
    pub epoch: u64,
    /// The head's time.
    pub timestamp: Timestamp,
    /// The signed head as JSON.
    pub head_json: Option<String>,
}

/// The row that every commit compares with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogState {
    /// The newest process that claimed the log.
    pub writer: i64,
    /// Size and root.
    pub tree: TreeRoot,
    /// The entry hash of the last entry.
    pub chain_head: Option<Hash>,
    /// The time of the newest head.
    pub timestamp: Timestamp,
    /// The log's epoch.
    pub epoch: u64,
    /// The newest entry that is neither a witness proof nor an anchor.
    pub last_event_id: u64,
}

/// Everything that one batch writes.
#[derive(Clone, Copy, Debug)]
pub struct Commit<'a> {
    /// Where the log must be.
    pub guard: Guard,
    /// The new entries, in order.
    pub entries: &'a [Leaf],
    /// The tiles that they complete.
    pub tiles: &'a [(TileId, Arc<TileNodes>)],
    /// Where the log is afterwards.
    pub state: NewState,
    /// Heads to store; of several in one second the last is kept.
    pub heads: &'a [HeadRow],
    /// The second, size and signed form of the head before this batch, which was stored unsigned.
    pub sign_previous: Option<(i64, TreeSize, &'a str)>,
    /// What the entries change in the views.
    pub views: &'a view::Changes,
    /// Rows of this node's own that belong to the batch.
    pub local: &'a [LocalWrite],
}

/// Entries of one run of `view_entry_hashes`, as a power of two.
pub(super) const RUN_BITS: u32 = 12;

/// How long a starting leader waits for the transaction of the one before it.
const RAISE_PATIENCE: Duration = Duration::from_secs(10);

impl Store {
    /// Makes the batch durable: all of it or nothing, and only if the log is where the guard
    /// says.
    ///
    /// The guard is the `WHERE` clause of the first statement. It is what keeps two leaders on
    /// one database from ever writing two histories: everything else about a batch may have been
    /// decided on stale data.
    pub async fn commit(&self, commit: &Commit<'_>) -> Result<(), CommitError> {
        if !commit.continues_log() {
            return Err(CommitError::Gap);
        }
        let batch = Batch { commit: *commit, views: ViewWrites::of(commit.views) };
        let pool = &self.0.writers;
        let statements = in_transaction!(pool, pool.patience(), db => batch.write(db))?;
        self.count_statements(statements + 2);
        self.0.tiles.extend(commit.tiles.iter().cloned());
        Ok(())
    }

    /// Claims the log for this process: from now on no commit of an earlier one succeeds. Waits
    /// for a transaction that is still under way.
    pub async fn raise_writer(&self) -> Result<i64, StoreError> {
        const SQL: Sql =
            Sql::same("UPDATE log_state SET writer = writer + 1 WHERE id = 1 RETURNING writer");
        let pool = &self.0.writers;
        let raised = in_transaction!(pool, RAISE_PATIENCE, db => async {
            Ok::<_, CommitError>(db.number(SQL, values![]).await?)
        })?;
        raised.ok_or(StoreError::Malformed { table: "log_state" })
    }

    /// Where the log is; `None` if it was never initialised.
    pub async fn state(&self) -> Result<Option<LogState>, StoreError> {
        // Read where commits are written: a reader's snapshot may be older than the last commit.
        let row: Option<StoredState> = on_pool!(&self.0.writers, db => {
            sqlx::query_as(LogState::SELECT).fetch_optional(db)
        })?;
        row.map(|row| LogState::from_row(&row)).transpose()
    }

    /// Makes the empty log: the state that the commit of the first entry compares with. Does
    /// nothing where a log is already.
    pub async fn initialise(&self) -> Result<(), StoreError> {
        const STATE: Sql = Sql::same(
            "INSERT INTO log_state (id, writer, tree_size, root_hash, chain_head, head_timestamp,
                                    epoch, last_event_id)
             VALUES (1, 0, 0, $1, NULL, 0, 1, 0) ON CONFLICT (id) DO NOTHING",
        );
        const VIEWS: Sql = Sql::same(
            "INSERT INTO view_meta (name, version) VALUES ('views', $1) ON CONFLICT DO NOTHING",
        );
        let pool = &self.0.writers;
        let done = in_transaction!(pool, pool.patience(), db => async {
            if db.run(STATE, values![&Hash::EMPTY_TREE.as_bytes()[..]]).await? == 1 {
                db.run(VIEWS, values![view::VERSION]).await?;
            }
            Ok::<_, CommitError>(())
        });
        Ok(done?)
    }

    /// Keeps a head for good, because something names it.
    pub async fn pin_head(&self, head: &HeadRow) -> Result<(), StoreError> {
        on_pool!(&self.0.writers, db => insert_pinned(db, &[head]))?;
        Ok(())
    }

    /// Forgets heads older than 24 hours, but for the newest signed one of each hour; answers how
    /// many.
    pub async fn thin_heads(&self, now: Timestamp) -> Result<u64, StoreError> {
        const DAY: i64 = 86_400;
        const SQL: Sql = Sql::same(
            "DELETE FROM log_heads WHERE second < $1 AND second NOT IN
               (SELECT MAX(second) FROM log_heads WHERE second < $1 AND head_json IS NOT NULL
                GROUP BY second / 3600)",
        );
        self.write(SQL, values![now.seconds() - DAY]).await
    }
}

impl Commit<'_> {
    /// Whether the entries follow the guard's tree without a gap and end where the new state
    /// says.
    fn continues_log(&self) -> bool {
        let size = self.guard.tree.size.get();
        let ids = (size + 1..).zip(self.entries);
        size.checked_add(self.entries.len() as u64) == Some(self.state.tree.size.get())
            && ids.into_iter().all(|(id, leaf)| leaf.id() == id)
    }
}

struct Batch<'a> {
    commit: Commit<'a>,
    views: ViewWrites,
}

impl Batch<'_> {
    /// Writes everything; answers how many statements that took.
    async fn write<S: Session>(&self, db: &mut S) -> Result<u64, CommitError> {
        let commit = &self.commit;
        self.advance(db).await?;
        let mut statements = 1;
        statements += insert_entries(db, commit.entries).await?;
        statements += insert_tiles(db, commit.tiles).await?;
        statements += self.sign_previous(db).await?;
        statements += insert_heads(db, commit.heads).await?;
        statements += insert_runs(db, commit.guard.tree.size, commit.state.tree.size).await?;
        statements += self.views.write(db).await?;
        statements += LocalWrites::of(commit.local).write(db).await?;
        Ok(statements)
    }

    async fn advance<S: Session>(&self, db: &mut S) -> Result<(), CommitError> {
        const SQL: Sql = Sql::same(
            "UPDATE log_state
             SET tree_size = $1, root_hash = $2, chain_head = $3, head_timestamp = $4, epoch = $5,
                 last_event_id = $6
             WHERE id = 1 AND tree_size = $7 AND root_hash = $8 AND head_timestamp <= $9
               AND head_timestamp <= $4 AND writer = $10",
        );
        let (guard, state) = (&self.commit.guard, &self.commit.state);
        let parameters = values![
            state.tree.size.to_sql(),
            &state.tree.hash.as_bytes()[..],
            bulk::Value::Bytes(state.chain_head.map(bytes)),
            state.timestamp.millis(),
            number(state.epoch),
            number(self.commit.views.last_event_id),
            guard.tree.size.to_sql(),
            &guard.tree.hash.as_bytes()[..],
            guard.timestamp.millis(),
            guard.writer,
        ];
        if db.run(SQL, parameters).await? == 1 { Ok(()) } else { Err(CommitError::NotLeader) }
    }

    /// Adds the signature of the head before this batch, unless this batch replaces that head.
    async fn sign_previous<S: Session>(&self, db: &mut S) -> Result<u64, CommitError> {
        const SQL: Sql = Sql::same(
            "UPDATE log_heads SET head_json = $1
             WHERE second = $2 AND tree_size = $3 AND head_json IS NULL",
        );
        let Some((second, size, json)) = self.commit.sign_previous else { return Ok(0) };
        if self.commit.heads.iter().any(|head| head.timestamp.seconds() == second) {
            return Ok(0);
        }
        db.run(SQL, values![json, second, size.to_sql()]).await?;
        Ok(1)
    }
}

pub(super) async fn insert_entries<S: Session>(
    db: &mut S,
    entries: &[Leaf],
) -> Result<u64, CommitError> {
    let columns = vec![
        Column::Int(entries.iter().map(|leaf| number(leaf.id())).collect()),
        Column::Bytes(entries.iter().map(|leaf| Some(leaf.bytes().to_vec())).collect()),
        Column::Bytes(entries.iter().map(|leaf| Some(bytes(leaf.entry_hash()))).collect()),
        Column::Text(entries.iter().map(|leaf| Some(leaf.event_type().to_owned())).collect()),
        Column::Int(entries.iter().map(|leaf| leaf.timestamp().millis()).collect()),
    ];
    Ok(db.insert(&bulk::ENTRIES, columns).await?)
}

pub(super) async fn insert_tiles<S: Session>(
    db: &mut S,
    tiles: &[(TileId, Arc<TileNodes>)],
) -> Result<u64, CommitError> {
    let columns = vec![
        Column::Int(tiles.iter().map(|(id, _)| id.level.into()).collect()),
        Column::Int(tiles.iter().map(|(id, _)| number(id.index)).collect()),
        Column::Bytes(tiles.iter().map(|(_, tile)| Some(tile.to_bytes())).collect()),
    ];
    Ok(db.insert(&bulk::TILES, columns).await?)
}

pub(super) async fn insert_heads<S: Session>(
    db: &mut S,
    heads: &[HeadRow],
) -> Result<u64, CommitError> {
    // One statement may not touch a row twice.
    let seconds: BTreeMap<i64, &HeadRow> =
        heads.iter().map(|head| (head.timestamp.seconds(), head)).collect();
    let heads: Vec<&HeadRow> = seconds.values().copied().collect();
    let columns = vec![
        Column::Int(seconds.into_keys().collect()),
        Column::Int(heads.iter().map(|head| head.tree.size.to_sql()).collect()),
        Column::Bytes(heads.iter().map(|head| Some(bytes(head.tree.hash))).collect()),
        Column::Bytes(heads.iter().map(|head| head.chain_head.map(bytes)).collect()),
        Column::Int(heads.iter().map(|head| number(head.epoch)).collect()),
        Column::Int(heads.iter().map(|head| head.timestamp.millis()).collect()),
        Column::Text(heads.iter().map(|head| head.head_json.clone()).collect()),
    ];
    Ok(db.insert(&bulk::HEADS, columns).await?)
}

pub(super) async fn insert_pinned<S: Session>(
    db: &mut S,
    heads: &[&HeadRow],
) -> Result<u64, sqlx::Error> {
    let columns = vec![
        Column::Int(heads.iter().map(|head| head.tree.size.to_sql()).collect()),
        Column::Int(heads.iter().map(|head| head.timestamp.millis()).collect()),
        Column::Bytes(heads.iter().map(|head| Some(bytes(head.tree.hash))).collect()),
        Column::Bytes(heads.iter().map(|head| head.chain_head.map(bytes)).collect()),
        Column::Int(heads.iter().map(|head| number(head.epoch)).collect()),
        Column::Text(heads.iter().map(|head| head.head_json.clone()).collect()),
    ];
    db.insert(&bulk::PINNED_HEADS, columns).await
}

/// Sorts the hash prefixes of every run that the tree completed on its way into place.
pub(super) async fn insert_runs<S: Session>(
    db: &mut S,
    from: TreeSize,
    to: TreeSize,
) -> Result<u64, CommitError> {
    const SQL: Sql = Sql::same(
        "INSERT INTO view_entry_hashes (run, prefix, id)
         SELECT (id - 1) >> 12, substr(entry_hash, 1, 8), id FROM log_entries
         WHERE id BETWEEN $1 AND $2 ORDER BY 1, 2, 3",
    );
    let first = (from.get() >> RUN_BITS) << RUN_BITS;
    let last = (to.get() >> RUN_BITS) << RUN_BITS;
    if first == last {
        return Ok(0);
    }
    db.run(SQL, values![number(first + 1), number(last)]).await?;
    Ok(1)
}

pub(super) type StoredState = (i64, i64, Vec<u8>, Option<Vec<u8>>, i64, i64, i64);

impl LogState {
    /// Reads the columns of [`StoredState`].
    pub(super) const SELECT: &str = "SELECT writer, tree_size, root_hash, chain_head,
        head_timestamp, epoch, last_event_id FROM log_state WHERE id = 1";

    pub(super) fn from_row(row: &StoredState) -> Result<Self, StoreError> {
        let (writer, size, root, chain_head, timestamp, epoch, last_event_id) = row;
        let head = HeadRow::from_columns(*size, root, chain_head.as_deref(), *epoch, *timestamp)
            .ok_or(StoreError::Malformed { table: "log_state" })?;
        Ok(Self {
            writer: *writer,
            tree: head.tree,
            chain_head: head.chain_head,
            timestamp: head.timestamp,
            epoch: head.epoch,
            last_event_id: last_event_id.cast_unsigned(),
        })
    }
}

impl HeadRow {
    /// The fields of a head before it is signed.
    pub fn unsigned(head: &TreeHead) -> Self {
        Self {
            tree: head.tree(),
            chain_head: head.chain_head,
            epoch: head.epoch,
            timestamp: head.timestamp,
            head_json: None,
        }
    }

    pub(super) fn from_columns(
        size: i64,
        root: &[u8],
        chain_head: Option<&[u8]>,
        epoch: i64,
        timestamp: i64,
    ) -> Option<Self> {
        let chain_head = match chain_head {
            None => None,
            Some(hash) => Some(Hash::from_slice(hash)?),
        };
        Some(Self {
            tree: TreeRoot { size: TreeSize::from_sql(size)?, hash: Hash::from_slice(root)? },
            chain_head,
            epoch: u64::try_from(epoch).ok()?,
            timestamp: Timestamp::from_millis(timestamp)?,
            head_json: None,
        })
    }
}

/// An id, a size or a count as SQL stores it; none of ours reaches 2^63.
pub(super) fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn bytes(hash: Hash) -> Vec<u8> {
    hash.as_bytes().to_vec()
}
