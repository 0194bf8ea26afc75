//! A log that a test appends to, on either database.

use std::sync::Arc;

use diogenes_common::clock::Timestamp;
use diogenes_common::leaf::Leaf;
use diogenes_common::merkle::{Edge, Hash, TileId, TileNodes};
use diogenes_common::store::{
    Commit, CommitError, DatabaseUrl, Guard, HeadRow, LocalWrite, NewState, OpenOptions, Store,
};
use diogenes_common::view::Changes;
use diogenes_tests::postgres;
use sqlx::{AssertSqlSafe, Connection as _};
use tempfile::TempDir;

/// Makes two tests of each promise: one on SQLite and, where there is one, one on PostgreSQL.
macro_rules! on_both {
    ($($promise:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                super::$promise($crate::store::harness::Database::sqlite()).await;
            })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                if let Some(database) = $crate::store::harness::Database::postgres().await {
                    super::$promise(database).await;
                }
            })+
        }
    };
}
pub(super) use on_both;

/// An empty database of the test's own.
pub(super) struct Database {
    pub(super) url: DatabaseUrl,
    /// Kept until the test ends.
    _directory: Option<TempDir>,
}

impl Database {
    pub(super) fn sqlite() -> Self {
        let directory = TempDir::new().unwrap();
        let url = DatabaseUrl::sqlite(directory.path().join("log.db"));
        Self { url, _directory: Some(directory) }
    }

    pub(super) async fn postgres() -> Option<Self> {
        Some(Self { url: postgres::database().await?, _directory: None })
    }

    pub(super) async fn open(&self) -> Store {
        let options = OpenOptions { require_durable: false, ..OpenOptions::default() };
        Store::open(&self.url, options).await.unwrap()
    }

    /// Runs SQL behind the store's back.
    pub(super) async fn tamper(&self, sql: &str) {
        if let Some(path) = self.url.sqlite_path() {
            let address = format!("sqlite://{}", path.display());
            let mut connection = sqlx::SqliteConnection::connect(&address).await.unwrap();
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        } else {
            let (cluster, name) = (postgres::cluster().unwrap(), self.name());
            let sql = sql.to_owned();
            tokio::task::spawn_blocking(move || cluster.sql(&name, &sql)).await.unwrap().unwrap();
        }
    }

    pub(super) fn is_postgres(&self) -> bool {
        self.url.sqlite_path().is_none()
    }

    /// The name of a PostgreSQL database.
    pub(super) fn name(&self) -> String {
        self.url.to_string().rsplit('/').next().unwrap().to_owned()
    }
}

/// A writer with its own idea of where the log is.
#[derive(Clone)]
pub(super) struct Log {
    pub(super) store: Store,
    pub(super) guard: Guard,
    pub(super) edge: Edge,
    pub(super) chain_head: Option<Hash>,
    /// The time of the next head.
    pub(super) now: Timestamp,
}

/// What one commit writes.
#[derive(Clone)]
pub(super) struct Batch {
    pub(super) guard: Guard,
    pub(super) entries: Vec<Leaf>,
    pub(super) tiles: Vec<(TileId, Arc<TileNodes>)>,
    pub(super) state: NewState,
    pub(super) heads: Vec<HeadRow>,
    pub(super) sign_previous: Option<(i64, diogenes_common::merkle::TreeSize, String)>,
    pub(super) views: Changes,
    pub(super) local: Vec<LocalWrite>,
}

/// 2026-01-15T10:30:00.000Z.
pub(super) const START: i64 = 1_768_473_000_000;

pub(super) fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis).unwrap()
}

impl Log {
    /// The empty log in a fresh database.
    pub(super) async fn start(database: &Database) -> Self {
        let store = database.open().await;
        store.initialise().await.unwrap();
        let writer = store.raise_writer().await.unwrap();
        let edge = Edge::empty();
        let guard = Guard { tree: edge.root(), timestamp: at(0), writer };
        Self { store, guard, edge, chain_head: None, now: at(START) }
    }

    /// Makes the next batch without committing it; the same one for an equal log.
    pub(super) fn batch(&self, count: u64, event_type: &str) -> Batch {
        let (mut edge, mut chain_head) = (self.edge.clone(), self.chain_head);
        let (mut entries, mut tiles) = (Vec::new(), Vec::new());
        let kind = event_type.parse().unwrap();
        for _ in 0..count {
            let id = edge.size().get() + 1;
            let payload = format!(r#"{{"n":{id}}}"#);
            let leaf = Leaf::build(id, chain_head, self.now, &kind, payload.as_bytes()).unwrap();
            chain_head = Some(leaf.entry_hash());
            edge.push(leaf.leaf_hash(), &mut tiles);
            entries.push(leaf);
        }
        let (tree, timestamp) = (edge.root(), self.now);
        let head = HeadRow { tree, chain_head, epoch: 1, timestamp, head_json: None };
        let mut views = Changes { last_event_id: tree.size.get(), ..Changes::default() };
        if count > 0 {
            views.counts.insert(event_type.to_owned(), count);
        }
        Batch {
            guard: self.guard,
            entries,
            tiles,
            state: NewState { tree, chain_head, timestamp, epoch: 1 },
            heads: vec![head],
            sign_previous: None,
            views,
            local: Vec::new(),
        }
    }

    pub(super) async fn commit(&mut self, batch: &Batch) -> Result<(), CommitError> {
        let signed = batch.sign_previous.as_ref();
        let commit = Commit {
            guard: batch.guard,
            entries: &batch.entries,
            tiles: &batch.tiles,
            state: batch.state,
            heads: &batch.heads,
            sign_previous: signed.map(|(second, size, json)| (*second, *size, json.as_str())),
            views: &batch.views,
            local: &batch.local,
        };
        self.store.commit(&commit).await?;
        for leaf in &batch.entries {
            self.edge.push(leaf.leaf_hash(), &mut Vec::new());
        }
        self.chain_head = batch.state.chain_head;
        self.guard.tree = batch.state.tree;
        self.guard.timestamp = batch.state.timestamp;
        self.now = self.now.plus_millis(10);
        Ok(())
    }

    /// Commits `count` entries of one type.
    pub(super) async fn append(&mut self, count: u64, event_type: &str) -> Vec<Leaf> {
        let batch = self.batch(count, event_type);
        self.commit(&batch).await.unwrap();
        batch.entries
    }
}
