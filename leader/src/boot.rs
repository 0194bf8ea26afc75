//! Bringing a leader up: locks, the database, the key, the genesis, the checks of `start`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use diogenes_common::backup;
use diogenes_common::batch::{Chain, Trust};
use diogenes_common::clock::{Clock, Timestamp};
use diogenes_common::config::{DATA_DIR, ORIGIN, SECRET_KEY, Secret, Settings};
use diogenes_common::event::{Event, Genesis, Payload as _};
use diogenes_common::exit::Failure;
use diogenes_common::files::{self, DataDir, FileLock, Role};
use diogenes_common::head::{EPOCH, HeadJson, Origin, TreeHead};
use diogenes_common::keys::SigningKey;
use diogenes_common::leaf::Leaf;
use diogenes_common::merkle::{Edge, TreeRoot, TreeSize};
use diogenes_common::read::Snapshot;
use diogenes_common::store::{
    ChainError, Commit, DatabaseUrl, ExclusiveLock, Guard, HeadRow, NewState, OpenOptions, Schema,
    Store, StoreError,
};
use diogenes_common::view::{self, LoadedRows, Needs, Overlay};
use zeroize::Zeroizing;

use crate::sequencer::{NotSigning, SignedGuard};
use crate::start::{self, Found, FoundLog, OpenError, Opened, Plan};

/// How long locks are waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
/// There while the first start is under way.
const INITIALISING: &str = "initialising";

/// A leader that holds its locks and knows its log.
pub(crate) struct Booted {
    pub(crate) data: DataDir,
    /// What session tokens are signed with.
    pub(crate) session_key: Zeroizing<String>,
    pub(crate) store: Store,
    pub(crate) operator: Arc<SigningKey>,
    pub(crate) opened: Opened,
    pub(crate) not_signing: Option<NotSigning>,
    /// Whether this start made the log.
    pub(crate) is_new: bool,
    /// The time of the newest head that the guard knows: no head is ever signed below it.
    pub(crate) floor: Option<Timestamp>,
    pub(crate) database_lock: ExclusiveLock,
    pub(crate) directory_lock: FileLock,
}

impl Booted {
    /// Takes up what else forbids or allows to sign.
    pub(crate) async fn decided(&mut self, not_signing: Option<NotSigning>) -> Result<(), Failure> {
        self.not_signing = not_signing;
        if not_signing.is_some() && self.opened.newest_signed.is_none() {
            let edge = self.opened.chain.edge();
            self.opened.newest_signed = newest_signed(&self.store, &self.operator, edge).await?;
        }
        Ok(())
    }
}

/// Opens the log of these settings, or makes it where nothing is.
pub(crate) async fn boot(
    settings: &Settings,
    accept_size: Option<u64>,
    clock: &dyn Clock,
) -> Result<Booted, Failure> {
    let data = DataDir::open(&settings.value(&DATA_DIR), Role::Leader)?;
    let directory_lock = data.lock(LOCK_PATIENCE)?;
    backup::refuse_unfinished(&data)?;
    let given = settings.value(&SECRET_KEY);
    let session_key = data.session_key(given.as_ref().map(Secret::expose))?;
    let unprepared = OpenOptions { schema: Schema::Ignore, ..OpenOptions::default() };
    let store = open_store_with(settings, unprepared).await?;
    let database_lock = store.lock_exclusive(LOCK_PATIENCE).await.map_err(store_failure)?;
    store.prepare(Schema::of(settings)).await.map_err(store_failure)?;
    let found = find(&data, &store, accept_size).await?;
    let floor = found.guard.as_ref().map(|guard| guard.timestamp);
    let plan = start::plan(&found)?;
    let is_new = plan == Plan::Initialise;
    if is_new {
        initialise(settings, &data, &store, clock).await?;
    }
    let operator = Arc::new(read_key(&data)?);
    let trust = Trust { operator: operator.fingerprint() };
    if store.refresh_views(trust, false).await.map_err(chain_failure)? {
        tracing::info!("the views were made anew from the log");
    }
    let opened = start::reopen(&store, &operator).await.map_err(open_failure)?;
    let not_signing = match plan {
        Plan::ReadOnly(reason) => Some(reason),
        Plan::Go | Plan::Initialise => accused_of(&store).await?,
    };
    let mut booted = Booted {
        data,
        session_key,
        store,
        operator,
        opened,
        not_signing: None,
        is_new,
        floor,
        database_lock,
        directory_lock,
    };
    booted.decided(not_signing).await?;
    Ok(booted)
}

/// The operator's key, if this leader may sign what its database holds: a start with the same
/// files would.
pub(crate) async fn signer(data: &DataDir, store: &Store) -> Result<Option<SigningKey>, Failure> {
    backup::refuse_unfinished(data)?;
    let found = find(data, store, None).await?;
    match start::plan(&found)? {
        Plan::Go if accused_of(store).await?.is_none() => Ok(Some(read_key(data)?)),
        _ => Ok(None),
    }
}

/// What was seen of our own signatures that forbids another one, and that nobody has dealt with: a
/// restart alone makes it no safer to sign.
async fn accused_of(store: &Store) -> Result<Option<NotSigning>, Failure> {
    let open = store.open_incident_of("latched").await.map_err(store_failure)?;
    Ok(open.map(|incident| match incident.kind.parse() {
        Ok(kind) => NotSigning::Latched(kind),
        Err(_) => NotSigning::SelfRolledBack,
    }))
}

/// Opens the database of these settings.
pub(crate) async fn open_store(settings: &Settings) -> Result<Store, Failure> {
    let schema = Schema::of(settings);
    open_store_with(settings, OpenOptions { schema, ..OpenOptions::default() }).await
}

/// The same, opened in another way.
pub(crate) async fn open_store_with(
    settings: &Settings,
    options: OpenOptions,
) -> Result<Store, Failure> {
    Store::open(&DatabaseUrl::of(settings)?, options).await.map_err(store_failure)
}

/// The operator's key of a data directory.
pub(crate) fn read_key(data: &DataDir) -> Result<SigningKey, Failure> {
    let path = data.file(Role::Leader.key_file());
    let text = files::read_private(&path)?;
    let text = std::str::from_utf8(&text).unwrap_or_default();
    SigningKey::from_pem(text).map_err(|error| {
        Failure::unsafe_state(
            "bad_key",
            format!("{} is not usable: {error}", path.display()),
            "restore the operator's key from its backup; a new key would be a new log",
        )
    })
}

/// The name of the stored log; `None` if there is none.
pub(crate) async fn stored_origin(store: &Store) -> Result<Option<Origin>, Failure> {
    let first = store.entry(1).await.map_err(store_failure)?;
    let event = first.map(|leaf| Event::parse(leaf.event_type(), leaf.payload()));
    Ok(match event {
        Some(Ok(Event::Genesis(genesis))) => Some(genesis.origin),
        _ => None,
    })
}

/// What a store's error means for a start or a command.
#[expect(clippy::needless_pass_by_value, reason = "it is passed to map_err by name")]
pub(crate) fn store_failure(error: StoreError) -> Failure {
    match &error {
        StoreError::Disk(_) => Failure::disk("disk", &error, "check the disk, then start again"),
        StoreError::Locked => Failure::unsafe_state(
            "not_leader",
            &error,
            "run one leader per log; stop the other one, then start this one again",
        ),
        StoreError::Unreachable(_) => {
            Failure::refused("log_unreachable", &error, "start the database, check DATABASE_URL")
        }
        StoreError::Outdated { .. } => {
            Failure::unsafe_state("schema_outdated", &error, "run `diogenes-leader db migrate`")
        }
        StoreError::Newer { .. } => {
            Failure::unsafe_state("schema_newer", &error, "upgrade diogenes-leader")
        }
        StoreError::Malformed { .. } => Failure::unsafe_state(
            "database_damaged",
            &error,
            "nothing was signed; restore the database from a backup or a follower",
        ),
        StoreError::Corrupt { .. } | StoreError::CorruptTile { .. } => Failure::unsafe_state(
            "entry_corrupt",
            &error,
            "nothing was signed; restore the database from a backup or a follower",
        ),
        _ => Failure::unsafe_state("database", &error, "check DATABASE_URL and the database"),
    }
}

pub(crate) fn chain_failure(error: ChainError) -> Failure {
    match error {
        ChainError::Store(error) => store_failure(error),
        ChainError::Resume(error) => Failure::unsafe_state(
            "self_rolled_back",
            error,
            "point DATABASE_URL and the data directory at one log; nothing was signed",
        ),
    }
}

fn open_failure(error: OpenError) -> Failure {
    match error {
        OpenError::Chain(error) => chain_failure(error),
        OpenError::Inconsistent(_) => Failure::unsafe_state(
            "database_inconsistent",
            error,
            "nothing was signed; restore the database from a backup or a follower",
        ),
    }
}

/// What a start finds; nothing is changed.
pub(crate) async fn find(
    data: &DataDir,
    store: &Store,
    accept_size: Option<u64>,
) -> Result<Found, Failure> {
    let key_file = data.file(Role::Leader.key_file());
    let key = if key_file.exists() { Some(read_key(data)?.fingerprint()) } else { None };
    let guard = SignedGuard::read(data.path()).map_err(|error| {
        Failure::unsafe_state(
            "bad_guard",
            format!("signed-guard can't be read: {error}"),
            "look at the file; if it is lost, remove it and start with --accept-size",
        )
    })?;
    let log = find_log(store, guard.as_ref()).await?;
    let initialising = data.file(INITIALISING).exists();
    Ok(Found { key, initialising, guard, log, accept_size })
}

async fn find_log(store: &Store, guard: Option<&SignedGuard>) -> Result<Option<FoundLog>, Failure> {
    let Some(state) = store.state().await.map_err(store_failure)? else { return Ok(None) };
    let Some(first) = store.entry(1).await.map_err(store_failure)? else { return Ok(None) };
    let Ok(Event::Genesis(genesis)) = Event::parse(first.event_type(), first.payload()) else {
        return Err(open_failure(OpenError::Inconsistent("its first entry is no genesis")));
    };
    let size = state.tree.size;
    let root_at_guard = match guard.map(|guard| guard.tree_size) {
        Some(signed) if signed <= size => {
            let edge = store.load_edge(size).await.map_err(store_failure)?;
            Some(start::root_at(store, &edge, signed).await.map_err(store_failure)?)
        }
        _ => None,
    };
    Ok(Some(FoundLog {
        operator: genesis.operator_fingerprint,
        log_id: first.entry_hash(),
        size,
        root_at_guard,
    }))
}

/// Makes key and genesis; a start that was cut short goes on where it stopped.
async fn initialise(
    settings: &Settings,
    data: &DataDir,
    store: &Store,
    clock: &dyn Clock,
) -> Result<(), Failure> {
    files::replace(&data.file(INITIALISING), b"the first start is under way\n")?;
    let key_file = data.file(Role::Leader.key_file());
    if !key_file.exists() {
        let key = SigningKey::from_seed(files::random::<32>()?);
        files::create_private(&key_file, key.to_pem().as_bytes())?;
    }
    let operator = read_key(data)?;
    store.initialise().await.map_err(store_failure)?;
    let state = store.state().await.map_err(store_failure)?;
    let empty = state.is_none_or(|state| state.tree.size == TreeSize::ZERO);
    if empty {
        let origin = origin(settings, &operator)?;
        write_genesis(store, &operator, origin, clock.now()).await?;
    }
    let opened = start::reopen(store, &operator).await.map_err(open_failure)?;
    let guard = SignedGuard {
        origin: opened.head.origin.clone(),
        log_id: opened.log_id,
        tree_size: opened.head.tree_size,
        root: opened.head.root_hash,
        timestamp: opened.head.timestamp,
    };
    guard.write(data.path())?;
    remove(&data.file(INITIALISING))
}

fn origin(settings: &Settings, operator: &SigningKey) -> Result<Origin, Failure> {
    let Some(name) = settings.value(&ORIGIN) else {
        let named = Origin::of_host(&hostname(), &operator.fingerprint())
            .or_else(|_| Origin::of_host("localhost", &operator.fingerprint()));
        return named.map_err(|error| {
            Failure::unsafe_state("bad_origin", error, "give the log a name with --origin")
        });
    };
    name.parse().map_err(|error| {
        Failure::unsafe_state(
            "bad_origin",
            format!("the origin `{name}` is not usable: {error}"),
            "choose a name like log.example.org/2026; it is fixed for ever",
        )
    })
}

fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String = name
        .trim()
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'))
        .take(100)
        .collect();
    if name.is_empty() { "localhost".to_owned() } else { name }
}

async fn write_genesis(
    store: &Store,
    operator: &SigningKey,
    origin: Origin,
    now: Timestamp,
) -> Result<(), Failure> {
    let genesis = Genesis::new(operator.public(), origin.clone());
    let event_type = Genesis::EVENT_TYPE.parse().expect("a known event type");
    let leaf =
        Leaf::build(1, None, now, &event_type, &genesis.to_payload()).expect("a genesis is a leaf");
    let mut chain = Chain::new(Trust { operator: operator.fingerprint() });
    let mut tiles = Vec::new();
    let entry = chain.append(leaf, &mut tiles).expect("a genesis is the first entry of its log");
    let mut overlay = Overlay::new(0);
    let mut needs = Needs::default();
    view::needs(&entry.event, &mut needs);
    overlay.load(&needs, LoadedRows::default());
    view::apply(&mut overlay, &entry);
    let writer = store.raise_writer().await.map_err(store_failure)?;
    let tree = chain.tree();
    let head = TreeHead {
        chain_head: chain.chain_head(),
        epoch: EPOCH,
        origin,
        root_hash: tree.hash,
        timestamp: now,
        tree_size: tree.size,
    };
    let start = Timestamp::from_millis(0).expect("1970 is a time");
    store
        .commit(&Commit {
            guard: Guard { tree: TreeRoot::EMPTY, timestamp: start, writer },
            entries: &[entry.leaf],
            tiles: &tiles,
            state: NewState { tree, chain_head: head.chain_head, timestamp: now, epoch: EPOCH },
            heads: &[HeadRow::unsigned(&head)],
            sign_previous: None,
            views: &overlay.changes(),
            local: &[],
        })
        .await
        .map_err(|error| store_failure(error.into()))
}

/// The newest head that was signed, for a leader that may not sign another, over all that is stored:
/// what peers show is compared with entries above it too.
async fn newest_signed(
    store: &Store,
    operator: &SigningKey,
    edge: &Edge,
) -> Result<Option<Arc<Snapshot>>, Failure> {
    let Some(row) = store.newest_signed_head().await.map_err(store_failure)? else {
        return Ok(None);
    };
    let parsed = row.head_json.as_deref().map(serde_json::from_str::<HeadJson>);
    let damaged = || open_failure(OpenError::Inconsistent("a stored head is damaged"));
    let json = parsed.and_then(Result::ok).ok_or_else(damaged)?;
    let signed = json.verify(operator.public(), &json.origin).map_err(|_| damaged())?;
    Ok(Some(Arc::new(Snapshot::new(signed, &json, edge.clone(), Vec::new()))))
}

fn remove(path: &Path) -> Result<(), Failure> {
    std::fs::remove_file(path).map_err(|error| {
        Failure::disk("disk", format!("can't remove {}: {error}", path.display()), "check the disk")
    })?;
    files::sync_parent(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_is_newer_or_damaged_is_told_from_one_that_is_not_ours() {
        for (error, reason) in [
            (StoreError::Newer { version: 99 }, "schema_newer"),
            (StoreError::Outdated { pending: 1 }, "schema_outdated"),
            (StoreError::Malformed { table: "state" }, "database_damaged"),
            (StoreError::Corrupt { id: 7 }, "entry_corrupt"),
            (StoreError::Refused("what?".to_owned()), "database"),
        ] {
            let failure = store_failure(error);

            assert_eq!(failure.reason(), reason, "{failure}");
        }
    }
}
