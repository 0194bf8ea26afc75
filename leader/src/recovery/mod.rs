//! `recover --from`: bringing back entries that this leader signed and lost, from a follower.
//!
//! ```text
//! ask       the source and every peer: what did our own key sign?
//! note      the incident `self_rolled_back`: a start in between signs nothing
//! pull      batches through the follower's verifier, one transaction for each
//! compare   everything that our own key is known to have signed lies on the history now
//! guard     `signed-guard`, durably; then the incident is closed
//! ```
//!
//! Nothing is signed on the way. A run that was cut short is gone on with by the next one.

mod error;
mod goal;
mod pull;

use std::time::Duration;

use diogenes_common::backup::{self, Progress};
use diogenes_common::batch::{Chain, Trust};
use diogenes_common::client::{BaseUrl, Client};
use diogenes_common::clock::Clock;
use diogenes_common::config::{DATA_DIR, Settings};
use diogenes_common::evidence::Observation;
use diogenes_common::exit::Failure;
use diogenes_common::files::{DataDir, FileLock, Role};
use diogenes_common::keys::SigningKey;
use diogenes_common::merkle::{Hash, TreeRoot, TreeSize};
use diogenes_common::store::{ExclusiveLock, OpenOptions, Schema, Store, StoreError};

use crate::boot::{self, chain_failure, store_failure};
use crate::federation::{Notes, SELF_ROLLED_BACK};
use crate::peers::{self, Answer, Identity, OwnSigned, Peers};
use crate::sequencer::SignedGuard;
use crate::start::{self, Plan, Unsafe};
pub(crate) use error::RecoverError;
use goal::{Goal, Known};
use pull::Puller;

/// How long locks are waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// What a recovery did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recovered {
    /// How many entries the database held.
    pub(crate) from: TreeSize,
    /// What it holds now.
    pub(crate) to: TreeRoot,
    /// Who gave entries.
    pub(crate) sources: Vec<String>,
}

/// A leader's data, locked: no leader runs on it meanwhile.
struct Bench {
    data: DataDir,
    store: Store,
    operator: SigningKey,
    guard: Option<SignedGuard>,
    _database_lock: ExclusiveLock,
    _directory_lock: FileLock,
}

/// Brings the database of these settings up to the newest head that our own key signed, as far as
/// the source, every peer and the own guard know.
pub(crate) async fn recover(
    settings: &Settings,
    source: BaseUrl,
    clock: &dyn Clock,
    progress: &dyn Progress,
) -> Result<Recovered, RecoverError> {
    let bench = Bench::open(settings).await?;
    let client = peers::client(settings)?;
    let done = bench.recover(settings, (&client, source), clock, progress).await;
    bench.store.close().await;
    done
}

impl Bench {
    async fn open(settings: &Settings) -> Result<Self, RecoverError> {
        let data =
            DataDir::existing(&settings.value(&DATA_DIR), Role::Leader).map_err(Failure::from)?;
        let directory_lock = data.lock(LOCK_PATIENCE).map_err(Failure::from)?;
        backup::refuse_unfinished(&data).map_err(Failure::from)?;
        let unprepared = OpenOptions { schema: Schema::Ignore, ..OpenOptions::default() };
        let store = boot::open_store_with(settings, unprepared).await?;
        let database_lock = store.lock_exclusive(LOCK_PATIENCE).await.map_err(store_failure)?;
        store.prepare(Schema::of(settings)).await.map_err(store_failure)?;
        let found = boot::find(&data, &store, None).await?;
        match start::plan(&found) {
            Ok(Plan::Initialise) => return Err(RecoverError::NothingSigned),
            // What is missing is what this is for.
            Ok(Plan::Go | Plan::ReadOnly(_))
            | Err(Unsafe::Shorter { .. } | Unsafe::DatabaseMissing) => {}
            Err(other) => return Err(Failure::from(other).into()),
        }
        let operator = boot::read_key(&data)?;
        Ok(Self {
            data,
            store,
            operator,
            guard: found.guard,
            _database_lock: database_lock,
            _directory_lock: directory_lock,
        })
    }

    async fn recover(
        &self,
        settings: &Settings,
        (client, source): (&Client, BaseUrl),
        clock: &dyn Clock,
        progress: &dyn Progress,
    ) -> Result<Recovered, RecoverError> {
        let chain = self.chain().await?;
        let from = chain.size();
        let mut puller = Puller::new(&self.store, chain, client, clock, &self.operator).await?;
        let log = puller.log(&source).await?;
        if self.guard.as_ref().is_some_and(|guard| guard.log_id != log.id()) {
            return Err(Failure::from(Unsafe::OtherLog).into());
        }
        let key = self.operator.public().clone();
        let identity = Identity { key, origin: log.origin().clone() };
        let (known, sources) = self.ask(settings, (client, &source), &identity).await?;
        let goal = Goal::of(known, self.guard.as_ref().map(SignedGuard::tree))?;
        let notes =
            Notes { store: &self.store, now: clock.now(), operator: self.operator.fingerprint() };
        if let Some(own) = goal.furthest().filter(|own| own.tree().size > from) {
            notes.self_rolled_back(own, from).await?;
        }
        progress.begin("recovering", goal.size().get());
        let mut gave = Vec::new();
        for url in sources {
            let before = puller.size();
            puller.pull(&url, &goal, progress).await?;
            if puller.size() > before {
                gave.push(url.to_string());
            }
            if puller.size() >= goal.size() {
                break;
            }
        }
        let chain = puller.into_chain();
        goal.check(&self.store, chain.edge()).await?;
        self.vouch(&chain, log.id(), &identity, &goal).await?;
        notes.recovered().await?;
        Ok(Recovered { from, to: chain.tree(), sources: gave })
    }

    /// The verifier's state at the end of what is stored.
    async fn chain(&self) -> Result<Chain, RecoverError> {
        let trust = Trust { operator: self.operator.fingerprint() };
        self.store.initialise().await?;
        self.store.refresh_views(trust, false).await.map_err(chain_failure)?;
        let chain = self.store.resume_chain(trust).await.map_err(chain_failure)?;
        let chain = chain.unwrap_or_else(|| Chain::new(trust));
        let state =
            self.store.state().await?.ok_or(StoreError::Malformed { table: "log_state" })?;
        if chain.tree() != state.tree || chain.chain_head() != state.chain_head {
            return Err(StoreError::Malformed { table: "log_entries" }.into());
        }
        Ok(chain)
    }

    /// Everything that our own key is known to have signed, and who has entries, the best first.
    async fn ask(
        &self,
        settings: &Settings,
        (client, source): (&Client, &BaseUrl),
        identity: &Identity,
    ) -> Result<(Vec<Known>, Vec<BaseUrl>), RecoverError> {
        let mut known = self.accusations(identity).await?;
        let own = match peers::ask(client, source, identity).await {
            Answer::Own(own) => own,
            Answer::NoneYet => return Err(RecoverError::SourceEmpty { url: source.to_string() }),
            Answer::Unusable { what, .. } => {
                return Err(RecoverError::BadSource { url: source.to_string(), what });
            }
            Answer::Silent(why) => {
                return Err(RecoverError::SourceSilent { url: source.to_string(), why });
            }
        };
        known.push(Known { by: source.to_string(), own: *own });
        let peers = Peers::from_settings(settings)?;
        let everybody: Vec<usize> = (0..peers.urls().len()).collect();
        let mut others = Vec::new();
        for (index, answer) in peers.ask(&everybody, identity).await {
            let url = &peers.urls()[index];
            match answer {
                Answer::NoneYet => {}
                Answer::Own(own) => {
                    // A checkpoint is a witness's: it has no entries.
                    if own.signed_head().is_some() && url != source {
                        others.push((own.tree().size, url.clone()));
                    }
                    known.push(Known { by: url.to_string(), own: *own });
                }
                Answer::Unusable { what: why, .. } | Answer::Silent(why) => {
                    return Err(RecoverError::PeerSilent { url: url.to_string(), why });
                }
            }
        }
        others.sort_by_key(|(size, _)| std::cmp::Reverse(*size));
        let others = others.into_iter().map(|(_, url)| url);
        Ok((known, std::iter::once(source.clone()).chain(others).collect()))
    }

    /// What others showed earlier: the observations of the open incidents.
    async fn accusations(&self, identity: &Identity) -> Result<Vec<Known>, StoreError> {
        let mut known = Vec::new();
        let open = self.store.incidents(true).await?;
        for incident in open.iter().filter(|incident| incident.kind == SELF_ROLLED_BACK) {
            let Some(id) = incident.evidence_id else { continue };
            let Some(evidence) = self.store.evidence(id).await? else { continue };
            let observation = serde_json::from_slice::<Observation>(&evidence.bytes);
            let Ok(observation) = observation else { continue };
            let body = observation.body();
            let own = OwnSigned::read_head(body, identity)
                .or_else(|_| OwnSigned::read_checkpoint(body, identity));
            known
                .extend(own.ok().map(|own| Known { by: format!("incident {}", incident.id), own }));
        }
        Ok(known)
    }

    /// Makes it durable how far this key signed.
    async fn vouch(
        &self,
        chain: &Chain,
        log_id: Hash,
        identity: &Identity,
        goal: &Goal,
    ) -> Result<(), RecoverError> {
        let state =
            self.store.state().await?.ok_or(StoreError::Malformed { table: "log_state" })?;
        let before = self.guard.as_ref().map(|guard| guard.timestamp);
        let times = [Some(state.timestamp), goal.newest(), before];
        let guard = SignedGuard {
            origin: identity.origin.clone(),
            log_id,
            tree_size: chain.size(),
            root: chain.tree().hash,
            timestamp: times.into_iter().flatten().max().unwrap_or(state.timestamp),
        };
        Ok(guard.write(self.data.path()).map_err(Failure::from)?)
    }
}
