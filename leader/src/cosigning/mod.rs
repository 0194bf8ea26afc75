//! The leader as a client of witnesses that speak C2SP: the head of each round is sent to the
//! witnesses of the operator's policy, and its checkpoint published once a quorum cosigned it.

mod answer;
mod ask;
mod asker;
mod http;
mod publication;
mod publisher;
mod settings;

use std::sync::Arc;
use std::time::Duration;

use answer::names;
use diogenes_common::merkle::TreeSize;
use diogenes_common::note::Vkey;
use diogenes_common::policy::Policy;
use diogenes_common::read::Snapshot;
use diogenes_common::store::{Cosignature, Store, StoreError};
use diogenes_common::trace::{Trace, Tracer};
use publication::Round;
use tokio::sync::{Notify, watch};

pub(crate) use answer::INCIDENTS;
pub(crate) use ask::run as ask;
pub(crate) use publisher::Publisher;
pub(crate) use settings::{Asked, Decided};

/// The head of a round, as witnesses are asked to cosign it.
#[derive(Clone)]
struct Named {
    round: Arc<Round>,
    /// From which the proofs up to it come.
    snapshot: Arc<Snapshot>,
    /// Everybody who is asked for it is asked as part of this.
    trace: Trace,
}

/// A witness of the policy and what it did.
pub(crate) struct Standing<'a> {
    /// Its name in the policy.
    pub(crate) name: &'a str,
    /// Its largest cosignature.
    pub(crate) last: Option<Cosignature>,
}

/// What the tasks that ask, count and publish share.
pub(crate) struct Cosigning {
    policy: Option<Arc<Policy>>,
    /// How far apart rounds are at least.
    spacing: Duration,
    tracer: Tracer,
    /// The round whose checkpoint is to be cosigned.
    round: watch::Sender<Option<Named>>,
    /// The largest size that a quorum of the policy cosigned.
    quorum_size: watch::Sender<TreeSize>,
    /// The largest size of this log at which a witness stands.
    witnessed: watch::Sender<TreeSize>,
    /// A cosignature was stored.
    arrived: Notify,
}

impl Cosigning {
    pub(crate) fn new(decided: &Decided) -> Self {
        Self {
            policy: decided.policy.clone(),
            spacing: decided.spacing,
            tracer: decided.tracer.clone(),
            round: watch::Sender::new(None),
            quorum_size: watch::Sender::default(),
            witnessed: watch::Sender::default(),
            arrived: Notify::new(),
        }
    }

    /// The policy under which checkpoints are published; `None` if they need no cosignature.
    pub(crate) fn policy(&self) -> Option<&Policy> {
        self.policy.as_deref().filter(|policy| !policy.quorum_is_none())
    }

    /// How far apart rounds are at least.
    pub(crate) fn spacing(&self) -> Duration {
        self.spacing
    }

    /// What each witness of the policy cosigned last, in its order.
    pub(crate) async fn standings(&self, store: &Store) -> Result<Vec<Standing<'_>>, StoreError> {
        let listed = self.policy.as_ref().map_or(&[][..], |policy| policy.witnesses());
        let mut standings = Vec::with_capacity(listed.len());
        for witness in listed {
            let last = last_cosignature(store, witness.vkey()).await?;
            standings.push(Standing { name: witness.name(), last });
        }
        Ok(standings)
    }

    /// The largest size that a quorum of the policy cosigned.
    pub(crate) fn quorum_size(&self) -> TreeSize {
        *self.quorum_size.borrow()
    }

    /// The largest size at which a witness stands: somebody else may have brought it a checkpoint
    /// beyond the current round.
    pub(crate) fn witnessed(&self) -> TreeSize {
        *self.witnessed.borrow()
    }

    /// Waits until a witness that was asked has cosigned.
    pub(crate) async fn arrival(&self) {
        self.arrived.notified().await;
    }

    /// Has witnesses asked for this round from now on.
    pub(crate) fn ask_for(&self, round: Arc<Round>, snapshot: Arc<Snapshot>) {
        self.round.send_replace(Some(Named { round, snapshot, trace: self.tracer.root() }));
    }

    /// Notes the largest size that a quorum cosigned.
    pub(crate) fn reached(&self, size: TreeSize) {
        self.quorum_size.send_replace(size);
    }

    fn saw_witness_at(&self, size: TreeSize) {
        self.witnessed.send_if_modified(|known| {
            let is_larger = size > *known;
            *known = size.max(*known);
            is_larger
        });
    }
}

/// The largest stored cosignature under the name of this key. A witness that came by itself may
/// have chosen another, and that line is none that a policy would count.
async fn last_cosignature(store: &Store, by: &Vkey) -> Result<Option<Cosignature>, StoreError> {
    let row = store.last_cosignature(&by.key().fingerprint()).await?;
    let names_it = |row: &Cosignature| row.line.parse().is_ok_and(|line| names(by, &line));
    Ok(row.filter(names_it))
}
