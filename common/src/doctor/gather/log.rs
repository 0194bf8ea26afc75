//! What is in the database.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use super::super::chain::{Chain, Found, SignedHead};
use super::super::checklist::DatabaseAccess;
use super::super::database::{self as judge, Database};
use super::super::{Check, Finding};
use super::{DATABASE, too_slow};
use crate::config::{DATA_DIR, Settings};
use crate::event::{Event, Genesis};
use crate::files::Role;
use crate::head::HeadJson;
use crate::merkle::{Edge, Hash, ProofPlan, TreeSize};
use crate::store::{DatabaseUrl, HeadRow, Store, StoreError};

/// A database that was looked at.
#[derive(Debug)]
pub struct Opened {
    /// What was found.
    pub findings: Vec<Finding>,
    /// How it is reached.
    pub access: Option<DatabaseAccess>,
    /// Itself, for reading, if its schema is this version's.
    pub store: Option<Store>,
}

/// Looks at the database of these settings.
pub async fn database(settings: &Settings) -> Opened {
    let closed = |findings| Opened { findings, access: None, store: None };
    let url = match DatabaseUrl::of(settings) {
        Ok(url) => url,
        Err(failure) => {
            let (what, advice) = (failure.what(), failure.what_to_do());
            return closed(vec![Finding::fail(Check::Database, what, advice)]);
        }
    };
    let Ok((found, store)) = tokio::time::timeout(DATABASE, look(settings, &url)).await else {
        return closed(vec![too_slow(Check::Database, DATABASE)]);
    };
    let binary = format!("diogenes-{}", settings.role().name());
    let is_current = matches!(&found, Database::Open { schema: Ok(()), .. });
    Opened {
        findings: judge::database(&found, &binary),
        access: found.access(),
        store: store.filter(|_| is_current),
    }
}

async fn look(settings: &Settings, url: &DatabaseUrl) -> (Database, Option<Store>) {
    let place = url.to_string();
    let (url, mine) = (url.clone(), settings.clone());
    let file = tokio::task::spawn_blocking({
        let url = url.clone();
        move || file(&mine, &url)
    });
    let is_private = match file.await.unwrap_or(SqliteFile::None) {
        SqliteFile::Missing { is_lost } => return (Database::NoFile { place, is_lost }, None),
        SqliteFile::There { is_private } => is_private,
        SqliteFile::None => true,
    };
    let opened: Result<_, StoreError> = async {
        let store = Store::look(&url).await?;
        let schema = match store.migrations().await {
            Ok(status) => status.check(),
            Err(altered @ StoreError::Altered { .. }) => Err(altered),
            Err(error) => return Err(error),
        };
        Ok((schema, store.server().await?, store))
    }
    .await;
    match opened {
        Err(error) => (Database::Closed { place, error }, None),
        Ok((schema, server, store)) => {
            (Database::Open { place, schema, server, is_private }, Some(store))
        }
    }
}

/// The file of an SQLite database.
enum SqliteFile {
    /// The database is a server.
    None,
    Missing {
        is_lost: bool,
    },
    There {
        is_private: bool,
    },
}

fn file(settings: &Settings, url: &DatabaseUrl) -> SqliteFile {
    let Some(path) = url.sqlite_path() else { return SqliteFile::None };
    if !path.exists() {
        let key = settings.value(&DATA_DIR).join(settings.role().key_file());
        // A follower mirrors anew; a leader never begins a second history.
        return SqliteFile::Missing { is_lost: settings.role() == Role::Leader && key.exists() };
    }
    let is_open = fs::metadata(path).is_ok_and(|file| file.mode() & 0o077 != 0);
    SqliteFile::There { is_private: !is_open }
}

/// Reads the newest state of a log and what stands beside it.
pub async fn stored_chain(store: &Store) -> Chain {
    match tokio::time::timeout(DATABASE, read(store)).await {
        Err(_) => Chain::Unreadable(format!("no answer within {} s", DATABASE.as_secs())),
        Ok(Err(error @ StoreError::Unreachable(_))) => Chain::Unreadable(error.to_string()),
        Ok(Err(error)) => Chain::Damaged(error.to_string()),
        Ok(Ok(None)) => Chain::Empty,
        Ok(Ok(Some(found))) => Chain::Read(Box::new(found)),
    }
}

async fn read(store: &Store) -> Result<Option<Found>, StoreError> {
    let Some(state) = store.state().await?.filter(|state| state.tree.size > TreeSize::ZERO) else {
        return Ok(None);
    };
    let size = state.tree.size;
    let first = store.entry(1).await?.ok_or(StoreError::Corrupt { id: 1 })?;
    let last = store.entry(size.get()).await?.ok_or(StoreError::Corrupt { id: size.get() })?;
    let Ok(Event::Genesis(genesis)) = Event::parse(first.event_type(), first.payload()) else {
        return Err(StoreError::Corrupt { id: 1 });
    };
    let edge = store.load_edge(size).await?;
    let head = match store.head_at_most(size).await? {
        Some(row) => signed_head(store, &edge, &genesis, row).await?,
        None => None,
    };
    Ok(Some(Found {
        origin: genesis.origin,
        log_id: first.entry_hash(),
        operator: genesis.operator_fingerprint,
        stored: state.tree,
        chain_head: state.chain_head,
        recomputed: edge.root().hash,
        last_entry: last.entry_hash(),
        head,
    }))
}

async fn signed_head(
    store: &Store,
    edge: &Edge,
    genesis: &Genesis,
    row: HeadRow,
) -> Result<Option<SignedHead>, StoreError> {
    let Some(text) = row.head_json else { return Ok(None) };
    let size = row.tree.size;
    let json = serde_json::from_str::<HeadJson>(&text).ok();
    let refused = match json {
        None => Some("it cannot be read".to_owned()),
        Some(json) if json.tree_size != size || json.root_hash != row.tree.hash => {
            Some("it is of another tree than its row".to_owned())
        }
        Some(json) => json
            .verify(&genesis.operator_public_key, &genesis.origin)
            .err()
            .map(|error| error.to_string()),
    };
    let own_root = Some(root_at(store, edge, size).await?);
    Ok(Some(SignedHead { size, root: row.tree.hash, timestamp: row.timestamp, own_root, refused }))
}

/// The root that the log had at a size which is not above the edge's.
async fn root_at(store: &Store, edge: &Edge, size: TreeSize) -> Result<Hash, StoreError> {
    let plan = ProofPlan::root(size);
    let hashes = store.nodes(plan.nodes(), edge).await?;
    Ok(plan.assemble(&hashes).first().copied().unwrap_or(Hash::EMPTY_TREE))
}
