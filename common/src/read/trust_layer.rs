//! Layer 3 of a verdict: what one verifier thinks of the signers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::reads::Reads;
use super::turns::Kind;
use crate::event::{Event, Payload as _, TrustConfig};
use crate::keys::Fingerprint;
use crate::manifest::Manifest;
use crate::server::problem::{Code, Problem};
use crate::store::{Moment, Store, StoreError};
use crate::trust::{self, Assessment, Graph, Policy, Walk};
use crate::verdict::MAX_SUCCESSORS;
use crate::view::{Ending, KeyRow};
use crate::wire::verify::{
    SignatureFinding, SignatureLayer, TrustFinding, TrustLayer, TrustStatus, TrustStep,
};

/// How long all walks of one question may take together. There is no answer by halves: the same
/// question has the same answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a question says of trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TrustQuestion {
    /// To go by this policy; whose it is, is only repeated.
    Policy {
        /// The policy.
        policy: Policy,
        /// Whose it is said to be.
        verifier: Option<Fingerprint>,
    },
    /// To go by the policy that this key has set, or by trusting it alone.
    Verifier(Fingerprint),
}

impl TrustQuestion {
    /// Reads what a question says of trust; nothing if it says nothing.
    pub(super) fn of(
        verifier: Option<Fingerprint>,
        config: Option<&Value>,
    ) -> Result<Option<Self>, Problem> {
        let policy = config.map(Policy::read).transpose().map_err(|error| {
            let (pointer, detail) = (error.pointer("#/trust_config"), error.to_string());
            Problem::new(Code::ValidationFailed, detail.clone()).error(pointer, detail)
        })?;
        Ok(match (policy, verifier) {
            (Some(policy), verifier) => Some(Self::Policy { policy, verifier }),
            (None, Some(verifier)) => Some(Self::Verifier(verifier)),
            (None, None) => None,
        })
    }

    const fn verifier(&self) -> Option<Fingerprint> {
        match self {
            Self::Policy { verifier, .. } => *verifier,
            Self::Verifier(verifier) => Some(*verifier),
        }
    }

    async fn policy(&self, store: &Store, size: u64) -> Result<Policy, StoreError> {
        match self {
            Self::Policy { policy, .. } => Ok(policy.clone()),
            Self::Verifier(key) => {
                // A policy passes to the successor: who asks by the old name is not given less.
                let heirs = heirs(store, BTreeSet::from([*key]), size).await?;
                let holder = heirs.get(key).unwrap_or(key);
                Ok(configured(store, holder).await?.unwrap_or_else(|| Policy::of_anchor(*key)))
            }
        }
    }
}

/// The policy that a key has set.
async fn configured(store: &Store, key: &Fingerprint) -> Result<Option<Policy>, StoreError> {
    let row = store.trust_configs_of([key]).await?.pop();
    let Some(row) = row.filter(|row| row.revoked_by.is_none()) else { return Ok(None) };
    let entry = store.entry(row.entry_id).await?;
    let event = entry.and_then(|leaf| Event::parse(TrustConfig::EVENT_TYPE, leaf.payload()).ok());
    match event {
        // What a predecessor set binds nobody who never showed to be the successor.
        Some(Event::TrustConfig(event)) if event.fingerprint != *key => {
            let holder = store.key(key).await?;
            let holds = holder.is_some_and(|holder| holder.holds_what_it_was_given());
            Ok(holds.then_some(event.config))
        }
        Some(Event::TrustConfig(event)) => Ok(Some(event.config)),
        _ => Err(StoreError::Corrupt { id: row.entry_id }),
    }
}

impl Reads {
    /// Assesses the signers of a manifest, whose signatures layer 1 looked at.
    pub(super) async fn trust(
        &self,
        question: &TrustQuestion,
        manifest: &Manifest,
        signatures: &SignatureLayer,
        moment: Moment,
    ) -> Result<TrustLayer, Problem> {
        let store = self.store();
        let policy = question.policy(store, moment.size).await?;
        let signers: BTreeSet<_> = manifest.listed().iter().map(|of| of.signer).collect();
        let _turn = self.turn(Kind::Walk).await?;
        let assessing = assessments(store, &policy, &signers, moment);
        let assessed = tokio::time::timeout(PATIENCE, assessing).await.map_err(|_| {
            Problem::overloaded(
                "the endorsements of the signers take too long to follow; try again",
            )
        })??;
        let attestations: Vec<TrustFinding> = signatures
            .attestations
            .iter()
            .filter_map(|found| {
                Some(finding(found, assessed.get(&found.signer_key_fingerprint)?, &policy))
            })
            .collect();
        let worst = attestations.iter().map(|of| of.status).max();
        let status = worst.unwrap_or(TrustStatus::NoAttestations);
        Ok(TrustLayer {
            status,
            details: details(status).to_owned(),
            attestations,
            verifier_fingerprint: question.verifier(),
            policy,
            as_of: moment.at,
        })
    }
}

const fn details(status: TrustStatus) -> &'static str {
    match status {
        TrustStatus::Trusted => "Every signer meets the policy.",
        TrustStatus::NoAttestations => "The manifest lists no attestation.",
        TrustStatus::Untrusted => "At least one signer does not meet the policy.",
    }
}

/// A signer as it was assessed.
struct Assessed {
    key: Fingerprint,
    assessment: Assessment,
}

/// Assesses each signer by the key that holds its endorsements now.
async fn assessments(
    store: &Store,
    policy: &Policy,
    signers: &BTreeSet<Fingerprint>,
    moment: Moment,
) -> Result<BTreeMap<Fingerprint, Assessed>, StoreError> {
    let named: BTreeSet<_> = signers.iter().chain(policy.anchors()).copied().collect();
    let heirs = heirs(store, named, moment.size).await?;
    let heir = |key: &Fingerprint| heirs.get(key).copied().unwrap_or(*key);
    let anchors: BTreeSet<_> = policy.anchors().iter().flat_map(|key| [*key, heir(key)]).collect();
    let policy = policy.with_anchors(anchors.into_iter().collect());
    let mut assessed = BTreeMap::new();
    for signer in signers {
        let key = heir(signer);
        let graph = graph(store, &policy, key, moment).await?;
        let assessment = trust::assess(&policy, &key, &graph);
        assessed.insert(*signer, Assessed { key, assessment });
        tokio::task::yield_now().await;
    }
    Ok(assessed)
}

/// What is between the anchors and a signer.
async fn graph(
    store: &Store,
    policy: &Policy,
    signer: Fingerprint,
    moment: Moment,
) -> Result<Graph, StoreError> {
    let mut walk = Walk::new(policy, signer);
    load(store, &mut walk, moment).await?;
    walk.hear(store.standing_alerts(&walk.endorsers(), moment.size).await?);
    load(store, &mut walk, moment).await?;
    Ok(walk.finish())
}

async fn load(store: &Store, walk: &mut Walk<'_>, moment: Moment) -> Result<(), StoreError> {
    while let Some(round) = walk.next_round() {
        let edges = store.active_edges(&round, moment).await?;
        walk.take(round, edges);
    }
    Ok(())
}

/// The keys that took the place of others, for those that somebody did: the last of each chain
/// whose every key showed that it is one.
async fn heirs(
    store: &Store,
    keys: BTreeSet<Fingerprint>,
    size: u64,
) -> Result<BTreeMap<Fingerprint, Fingerprint>, StoreError> {
    let mut heirs: BTreeMap<_, _> = keys.iter().map(|key| (*key, *key)).collect();
    let mut rows: BTreeMap<Fingerprint, KeyRow> = BTreeMap::new();
    for _ in 0..=MAX_SUCCESSORS {
        let unknown: BTreeSet<_> =
            heirs.values().filter(|key| !rows.contains_key(key)).copied().collect();
        if unknown.is_empty() {
            break;
        }
        let found = store.keys(&unknown).await?;
        rows.extend(found.into_iter().map(|row| (row.fingerprint, row)));
        let next: BTreeSet<_> =
            heirs.values().filter_map(|key| successor(rows.get(key)?, size)).collect();
        let found = store.keys(next.iter().filter(|key| !rows.contains_key(key))).await?;
        rows.extend(found.into_iter().map(|row| (row.fingerprint, row)));
        for heir in heirs.values_mut() {
            let by = rows.get(heir).and_then(|row| successor(row, size));
            let row = by.and_then(|by| rows.get(&by));
            if let Some(row) = row.filter(|row| row.succeeds == Some(*heir))
                && row.holds_what_it_was_given()
            {
                *heir = row.fingerprint;
            }
        }
    }
    Ok(heirs)
}

fn successor(key: &KeyRow, size: u64) -> Option<Fingerprint> {
    match key.ended?.how {
        Ending::Succeeded { by } if key.ended?.entry_id <= size => Some(by),
        _ => None,
    }
}

fn finding(found: &SignatureFinding, assessed: &Assessed, policy: &Policy) -> TrustFinding {
    let Assessed { key, assessment } = assessed;
    let has_form = policy
        .require_binds()
        .is_none_or(|forms| found.binds.is_some_and(|binds| forms.contains(&binds)));
    let is_trusted = assessment.meets() && has_form;
    let details = if has_form {
        format!("{}.", assessment.reason)
    } else {
        "the signature covers less than the policy requires.".to_owned()
    };
    TrustFinding {
        attestation_id: found.attestation_id,
        signer_key_fingerprint: found.signer_key_fingerprint,
        assessed_fingerprint: *key,
        status: if is_trusted { TrustStatus::Trusted } else { TrustStatus::Untrusted },
        details,
        score: assessment.score,
        best_path: assessment.best_path.iter().map(TrustStep::from).collect(),
        disjoint_paths: assessment.disjoint_paths.len() as u64,
        truncated: assessment.is_truncated,
    }
}

impl From<&trust::Step> for TrustStep {
    fn from(step: &trust::Step) -> Self {
        Self {
            offer_entry_id: step.offer_entry_id,
            endorser_fingerprint: step.endorser,
            endorsed_fingerprint: step.endorsed,
            halved: step.is_halved,
            score: step.score,
        }
    }
}
