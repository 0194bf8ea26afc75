//! Bringing a follower up: what its operator configured, its directory, its key, its database.

use std::sync::Arc;
use std::time::Duration;

use diogenes_common::backup;
use diogenes_common::batch::Trust;
use diogenes_common::client::{BaseUrl, Client, Reach};
use diogenes_common::config::{
    ALLOW_HTTP, DATA_DIR, FEDERATION_OPERATORS, SECRET_KEY, Secret, Settings,
};
use diogenes_common::exit::Failure;
use diogenes_common::files::{self, DataDir, FileLock, Role};
use diogenes_common::keys::{Fingerprint, SigningKey};
use diogenes_common::store::{DatabaseUrl, ExclusiveLock, OpenOptions, Schema, Store};

use crate::sync::source::Source;
use crate::sync::store_failure;

/// How long locks are waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// The log that is mirrored, and who is asked for it.
pub(crate) struct Upstream {
    /// The operator key that the log must have.
    pub(crate) operator: Fingerprint,
    /// Who is asked, in order.
    pub(crate) sources: Vec<Arc<Source>>,
}

/// A follower that holds its locks.
pub(crate) struct Booted {
    pub(crate) data: DataDir,
    pub(crate) key: Arc<SigningKey>,
    pub(crate) store: Store,
    pub(crate) upstream: Upstream,
    pub(crate) database_lock: ExclusiveLock,
    pub(crate) directory_lock: FileLock,
}

impl Upstream {
    /// What the follower pins.
    pub(crate) fn trust(&self) -> Trust {
        Trust { operator: self.operator }
    }

    /// The first source: where what would write is sent to.
    pub(crate) fn leader(&self) -> &Arc<Source> {
        &self.sources[0]
    }
}

/// Opens everything that `serve` needs; what is missing in the data directory is made.
pub(crate) async fn boot(settings: &Settings) -> Result<Booted, Failure> {
    let upstream = upstream(settings)?;
    let data = DataDir::open(&settings.value(&DATA_DIR), Role::Follower)?;
    let directory_lock = data.lock(LOCK_PATIENCE)?;
    backup::refuse_unfinished(&data)?;
    let key = Arc::new(key(&data)?);
    data.session_key(settings.value(&SECRET_KEY).as_ref().map(Secret::expose))?;
    let unprepared = OpenOptions { schema: Schema::Ignore, ..OpenOptions::default() };
    let store = open_store_with(settings, unprepared).await?;
    let database_lock = store.lock_exclusive(LOCK_PATIENCE).await.map_err(store_failure)?;
    store.prepare(Schema::of(settings)).await.map_err(store_failure)?;
    Ok(Booted { data, key, store, upstream, database_lock, directory_lock })
}

/// The sources of the configuration.
pub(crate) fn upstream(settings: &Settings) -> Result<Upstream, Failure> {
    let configured = settings.value(&FEDERATION_OPERATORS);
    let Some(first) = configured.first() else {
        return Err(Failure::unsafe_state(
            "no_upstream",
            "DIOGENES_FEDERATION_OPERATORS is not set: a follower must know whose log it mirrors",
            r#"set it to [{"url":"https://leader.example","fingerprint":"sha256:<64 hex digits>"}]; `diogenes-leader key fingerprint` prints the fingerprint"#,
        ));
    };
    let operator = first.fingerprint.parse().map_err(|error| {
        Failure::unsafe_state(
            "config_invalid",
            format!("DIOGENES_FEDERATION_OPERATORS: {error}"),
            "give the full fingerprint, as `diogenes-leader key fingerprint` prints it",
        )
    })?;
    let client = client(settings)?;
    let sources = configured
        .iter()
        .map(|source| {
            let url = BaseUrl::parse(source.url.as_str(), reach(settings))?;
            Ok(Arc::new(Source::new(url, client.clone())))
        })
        .collect::<Result<_, Failure>>()?;
    Ok(Upstream { operator, sources })
}

/// A client for URLs that this node's operator chose.
pub(crate) fn client(settings: &Settings) -> Result<Client, Failure> {
    Client::new(Role::Follower.name(), env!("CARGO_PKG_VERSION"), reach(settings))
}

/// Where those URLs may lead.
pub(crate) fn reach(settings: &Settings) -> Reach {
    if settings.value(&ALLOW_HTTP) { Reach::ConfiguredHttp } else { Reach::Configured }
}

/// The follower's own key, made at first use.
pub(crate) fn key(data: &DataDir) -> Result<SigningKey, Failure> {
    let path = data.file(Role::Follower.key_file());
    if !path.exists() {
        let key = SigningKey::from_seed(files::random::<32>()?);
        files::create_private(&path, key.to_pem().as_bytes())?;
        tracing::info!(key.fingerprint = %key.fingerprint(), "made this follower's own key");
        return Ok(key);
    }
    let pem = files::read_private(&path)?;
    let parsed = std::str::from_utf8(&pem).ok().map(SigningKey::from_pem);
    match parsed {
        Some(Ok(key)) => Ok(key),
        _ => Err(Failure::unsafe_state(
            "key_unreadable",
            format!("{} does not hold an Ed25519 key", path.display()),
            "restore it from a backup; a new key has to be authorised anew",
        )),
    }
}

/// The database of these settings.
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
