//! Putting a backup back where nothing is.
//!
//! ```text
//! restoring       the first file of the data directory; while it is there, no node starts
//! entries         in batches, as a follower stores them: checked, with tiles and views
//! rows            all or none
//! keys
//! restoring       removed: the node is whole
//! ```
//!
//! A run that was cut short is gone on with by the next one: the entries that are there must be
//! the beginning of the same log, rows are replaced, keys are equal.
//!
//! Restored as a follower, a backup gives a mirror of its log: no key, no secret, and of the rows
//! only those that are about the log and not about the node.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::error::BackupError;
use super::manifest::Manifest;
use super::progress::Progress;
use super::verify::{EntryFile, Keys, RowFile, Verified, read_secret};
use super::{KEYS, secrets};
use crate::batch::{Entry, Trust};
use crate::config::{DATA_DIR, Settings};
use crate::files::{self, DataDir, FileError, Role, sync_parent};
use crate::merkle::{Hash, TileId, TileNodes, TreeRoot, TreeSize};
use crate::store::{
    Cell, DatabaseUrl, ExclusiveLock, Extension, HeadRow, NewState, OpenOptions, Schema, Store,
    StoreError, Table, Tip,
};

/// There while a restore is under way.
const MARKER: &str = "restoring";

/// What a data directory holds before anything is put into it.
const FURNITURE: [&str; 3] = ["role", "lock", MARKER];

/// How many entries are committed at once, and how many bytes of them.
const STEP: usize = 2048;
const STEP_BYTES: usize = 4 * 1024 * 1024;

/// How long locks are waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// What was put back.
#[derive(Debug)]
pub struct Restored {
    /// How many entries.
    pub tree: TreeRoot,
    /// How many rows of this node's own, heads included.
    pub rows: u64,
    /// How many keys and secrets.
    pub keys: usize,
}

/// What becomes of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreAs {
    /// The node that was backed up, with its keys.
    Itself(Role),
    /// A follower of the log, which makes keys of its own.
    Follower,
}

impl RestoreAs {
    /// The role of the node that starts on what was restored.
    pub const fn role(self) -> Role {
        match self {
            Self::Itself(role) => role,
            Self::Follower => Role::Follower,
        }
    }

    /// Whether a row of a backup of this role is put back.
    fn keeps(self, from: Role, table: &Table, row: &[Cell]) -> bool {
        if self != Self::Follower {
            return true;
        }
        // What a mirror proved against its log must outlive it; what a leader noted is the leader's.
        let about_the_log = ["log_heads", "log_pinned_heads"].contains(&table.name)
            || from == Role::Follower
                && ["local_evidence", "local_incidents", "local_kept_heads"].contains(&table.name);
        let json = table.columns.iter().position(|(name, _)| *name == "head_json");
        // A leader stores a head before it is signed; a follower shows signed ones alone.
        let is_unsigned = json.is_some_and(|at| row[at] == Cell::Text(None));
        about_the_log && !is_unsigned
    }
}

/// What a data directory has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vacancy {
    /// Nothing is there.
    Empty,
    /// A restore was interrupted there.
    Unfinished,
}

impl Vacancy {
    /// Looks at a data directory; one that holds anything is refused.
    pub fn of(path: &Path) -> Result<Self, BackupError> {
        let entries = match fs::read_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::Empty),
            entries => entries.map_err(FileError::io("list", path))?,
        };
        if path.join(MARKER).exists() {
            return Ok(Self::Unfinished);
        }
        for entry in entries {
            let name = entry.map_err(FileError::io("list", path))?.file_name();
            if !FURNITURE.iter().any(|known| name == *known) {
                return Err(BackupError::DirectoryNotEmpty(path.to_owned()));
            }
        }
        Ok(Self::Empty)
    }
}

/// Refuses a data directory in which a restore was interrupted. Every start asks.
pub fn refuse_unfinished(data: &DataDir) -> Result<(), BackupError> {
    if data.file(MARKER).exists() {
        return Err(BackupError::Unfinished(data.path().to_owned()));
    }
    Ok(())
}

/// Puts a verified backup into the empty data directory and the empty database of these settings.
pub async fn restore(
    verified: &Verified,
    purpose: RestoreAs,
    settings: &Settings,
    progress: &dyn Progress,
) -> Result<Restored, crate::exit::Failure> {
    let keys = keys_for(verified, purpose)?;
    let path = settings.value(&DATA_DIR);
    let vacancy = Vacancy::of(&path)?;
    let data = DataDir::open(&path, purpose.role())?;
    let _directory_lock = data.lock(PATIENCE)?;
    let url = DatabaseUrl::of(settings)?;
    let marker = data.file(MARKER);
    files::replace(&marker, format!("{}\n", verified.path.display()).as_bytes())?;
    let opened = open(&url, vacancy).await;
    if vacancy == Vacancy::Empty && opened.is_err() {
        // Nothing was put anywhere yet: what is wrong can be put right, and all begins anew.
        remove(&marker)?;
    }
    let (store, _database_lock) = opened?;
    let work = Work { verified, purpose, store: &store, progress };
    let restored = work.run(&data, keys).await;
    store.close().await;
    let restored = restored?;
    remove(&marker)?;
    Ok(restored)
}

/// Where the keys are that are put back; `None` if none are.
fn keys_for(verified: &Verified, purpose: RestoreAs) -> Result<Option<&Path>, BackupError> {
    let RestoreAs::Itself(expected) = purpose else { return Ok(None) };
    let found = verified.manifest.role;
    if found != expected {
        return Err(BackupError::OtherRole { expected, found });
    }
    match &verified.keys {
        Keys::In(keys) => Ok(Some(keys)),
        Keys::Elsewhere => Err(BackupError::KeysElsewhere(verified.path.clone())),
    }
}

/// Opens and locks a database that is empty, or holds what an interrupted run put there.
async fn open(url: &DatabaseUrl, vacancy: Vacancy) -> Result<(Store, ExclusiveLock), BackupError> {
    let unprepared = OpenOptions { schema: Schema::Ignore, ..OpenOptions::default() };
    let store = Store::open(url, unprepared).await?;
    let lock = store.lock_exclusive(PATIENCE).await?;
    store.prepare(Schema::Migrate).await?;
    if vacancy == Vacancy::Empty && store.state().await?.is_some() {
        store.close().await;
        return Err(BackupError::DatabaseNotEmpty);
    }
    Ok((store, lock))
}

/// A restore under way.
struct Work<'a> {
    verified: &'a Verified,
    purpose: RestoreAs,
    store: &'a Store,
    progress: &'a dyn Progress,
}

/// What one transaction stores.
#[derive(Default)]
struct Batch {
    entries: Vec<Entry>,
    tiles: Vec<(TileId, std::sync::Arc<TileNodes>)>,
    bytes: usize,
}

impl Batch {
    fn is_full(&self) -> bool {
        self.entries.len() == STEP || self.bytes >= STEP_BYTES
    }
}

impl Work<'_> {
    async fn run(&self, data: &DataDir, keys: Option<&Path>) -> Result<Restored, BackupError> {
        self.store.initialise().await?;
        let tree = self.entries().await?;
        let rows = self.rows().await?;
        let keys = keys.map_or(Ok(0), |keys| self.keys(data, keys))?;
        self.check().await?;
        Ok(Restored { tree, rows, keys })
    }

    fn manifest(&self) -> &Manifest {
        &self.verified.manifest
    }

    /// Stores the entries that are not there yet, each checked again, and the head that covers
    /// them all with the last.
    async fn entries(&self) -> Result<TreeRoot, BackupError> {
        let mut tip = self.store.claim_tip().await?;
        let held = tip.guard.tree;
        if held.size > self.manifest().tree_size() {
            return Err(BackupError::OtherBeginning { held: held.size });
        }
        let mut file = EntryFile::open(&self.verified.path, self.manifest())?;
        self.progress.begin("restoring", self.manifest().tree_size().get());
        skip(&mut file, held)?;
        let mut batch = Batch::default();
        while let Some(entry) = file.next(&mut batch.tiles)? {
            batch.bytes += entry.leaf.bytes().len();
            batch.entries.push(entry);
            if batch.is_full() {
                let full = std::mem::take(&mut batch);
                let timestamp = file.chain.last_timestamp().max(Some(tip.guard.timestamp));
                let state = NewState {
                    tree: file.chain.tree(),
                    chain_head: file.chain.chain_head(),
                    timestamp: timestamp.unwrap_or(tip.guard.timestamp),
                    epoch: self.manifest().head.epoch,
                };
                tip = self.commit(tip, full, state, &[]).await?;
                self.progress.at(file.chain.size().get());
            }
        }
        let (tree, chain_head) = (file.chain.tree(), file.chain.chain_head());
        // Nothing says what the log ends with before all of it is known to be what was signed.
        file.finish()?;
        let head = self.head_row();
        let state = NewState { tree, chain_head, timestamp: head.timestamp, epoch: head.epoch };
        self.commit(tip, batch, state, &[head]).await?;
        Ok(tree)
    }

    async fn commit(
        &self,
        tip: Tip,
        batch: Batch,
        state: NewState,
        heads: &[HeadRow],
    ) -> Result<Tip, BackupError> {
        let extension = Extension { entries: batch.entries, tiles: &batch.tiles, state, heads };
        Ok(self.store.extend(tip, extension).await.map_err(StoreError::from)?)
    }

    async fn rows(&self) -> Result<u64, BackupError> {
        let mut file = RowFile::open(&self.verified.path, self.manifest())?;
        let mut refill = self.store.refill().await?;
        let mut rows = 0;
        while let Some((table, row)) = file.next()? {
            if self.purpose.keeps(self.manifest().role, table, &row) {
                refill.put(table, &row).await?;
                rows += 1;
            }
        }
        file.finish()?;
        refill.commit(&self.head_row()).await?;
        Ok(rows)
    }

    fn keys(&self, data: &DataDir, from: &Path) -> Result<usize, BackupError> {
        let mut restored = 0;
        for name in secrets(self.manifest().role) {
            let Some(listed) = self.manifest().file(&format!("{KEYS}/{name}")) else { continue };
            let bytes = read_secret(&from.join(name), listed, self.manifest())?;
            let to = data.file(name);
            match files::read_private(&to) {
                Ok(there) if *there == *bytes => {}
                Ok(_) => return Err(BackupError::DirectoryNotEmpty(data.path().to_owned())),
                Err(error) if error.is_missing() => files::create_private(&to, &bytes)?,
                Err(error) => return Err(error.into()),
            }
            restored += 1;
        }
        Ok(restored)
    }

    /// Reads back what a start will read.
    async fn check(&self) -> Result<(), BackupError> {
        let trust = Trust { operator: self.manifest().operator };
        let chain = self.store.resume_chain(trust).await?;
        let tree = chain.map(|chain| chain.tree());
        match tree {
            Some(tree) if tree == self.verified.head.head().tree() => Ok(()),
            _ => Err(StoreError::Malformed { table: "log_entries" }.into()),
        }
    }

    fn head_row(&self) -> HeadRow {
        let json = serde_json::to_string(&self.manifest().head);
        HeadRow {
            head_json: Some(json.expect("a head serialises")),
            ..HeadRow::unsigned(self.verified.head.head())
        }
    }
}

/// Passes over the entries that an interrupted run stored: they must be these.
fn skip(file: &mut EntryFile<'_>, held: TreeRoot) -> Result<(), BackupError> {
    let mut tiles = Vec::new();
    while file.chain.size() < held.size && file.next(&mut tiles)?.is_some() {
        tiles.clear();
    }
    let same = if held.size == TreeSize::ZERO { Hash::EMPTY_TREE } else { file.chain.tree().hash };
    if file.chain.size() == held.size && same == held.hash {
        Ok(())
    } else {
        Err(BackupError::OtherBeginning { held: held.size })
    }
}

fn remove(path: &Path) -> Result<(), FileError> {
    fs::remove_file(path).map_err(FileError::io("remove", path))?;
    sync_parent(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_with_anything_in_it_is_not_restored_into() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("leader");
        assert_eq!(Vacancy::of(&path).unwrap(), Vacancy::Empty);
        let data = DataDir::open(&path, Role::Leader).unwrap();
        assert_eq!(Vacancy::of(&path).unwrap(), Vacancy::Empty);

        files::create_private(&data.file("operator.pem"), b"key").unwrap();

        assert!(matches!(Vacancy::of(&path), Err(BackupError::DirectoryNotEmpty(_))));
    }

    #[test]
    fn an_unfinished_restore_is_seen_by_the_next_one_and_by_every_start() {
        let root = tempfile::tempdir().unwrap();
        let data = DataDir::open(&root.path().join("leader"), Role::Leader).unwrap();
        assert!(refuse_unfinished(&data).is_ok());

        files::create_private(&data.file(MARKER), b"").unwrap();
        files::create_private(&data.file("log.db"), b"half").unwrap();

        assert_eq!(Vacancy::of(data.path()).unwrap(), Vacancy::Unfinished);
        assert!(matches!(refuse_unfinished(&data), Err(BackupError::Unfinished(_))));
    }

    #[test]
    fn of_a_leaders_rows_a_follower_gets_signed_heads_and_nothing_private() {
        let keeps = |purpose: RestoreAs, from, name, signed: bool| {
            let table = Table::named(name).unwrap();
            let json = signed.then(|| "{}".to_owned());
            let cell = |(name, _): &(&str, _)| match *name {
                "head_json" => Cell::Text(json.clone()),
                _ => Cell::Int(Some(1)),
            };
            let row: Vec<Cell> = table.columns.iter().map(cell).collect();
            purpose.keeps(from, table, &row)
        };
        for (name, of_leader, of_follower) in [
            ("log_heads", true, true),
            ("log_pinned_heads", true, true),
            ("local_evidence", false, true),
            ("local_incidents", false, true),
            ("local_kept_heads", false, true),
            ("local_meta", false, false),
            ("local_webhooks", false, false),
            ("local_passwords", false, false),
            ("local_idempotency", false, false),
            ("local_reports", false, false),
        ] {
            let follower = RestoreAs::Follower;
            assert_eq!(keeps(follower, Role::Leader, name, true), of_leader, "{name}");
            assert_eq!(keeps(follower, Role::Follower, name, true), of_follower, "{name}");
            assert!(keeps(RestoreAs::Itself(Role::Leader), Role::Leader, name, false), "{name}");
        }
        assert!(!keeps(RestoreAs::Follower, Role::Leader, "log_heads", false));
    }
}
