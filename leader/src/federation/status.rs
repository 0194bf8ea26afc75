//! The leader's status, computed once a second from the store and the published head, and the
//! metrics that follow from it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use diogenes_common::clock::Timestamp;
use diogenes_common::evidence::Kind;
use diogenes_common::exit::Failure;
use diogenes_common::keys::Fingerprint;
use diogenes_common::merkle::{Hash, TreeSize};
use diogenes_common::read::{DAMAGE, Facts, Snapshot};
use diogenes_common::scrub::DAMAGED;
use diogenes_common::statement::{Category, FollowerStatus, ReplicationReport};
use diogenes_common::store::{ReportRow, StoreError};
use diogenes_common::view::ProfileRow;
use diogenes_common::wire::node::QuorumRule;
use diogenes_common::wire::status::{
    FollowerInput, LastProof, LeaderInput, LeaderStatus, QuorumState, ReplicationStatus,
    ReportInput, WitnessFreshness, WitnessInput, majority, seconds_since, witnessed_size,
};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::lists::authorized;
use super::own_head::{PEER_DISAGREES, SELF_ROLLED_BACK, START_UNCONFIRMED};
use super::pace::Pace;
use crate::app::App;
use crate::cosigning::{INCIDENTS, Standing};

/// How long the proofs of the last 24 hours are counted only once.
const RECOUNT_MILLIS: i64 = 60_000;
const DAY_MILLIS: i64 = 86_400_000;

/// Every state that a follower can be in.
const STATES: [FollowerStatus; 4] = [
    FollowerStatus::Synced,
    FollowerStatus::Syncing,
    FollowerStatus::Behind,
    FollowerStatus::Error,
];

/// Keeps the board and the metrics current until `stop` is cancelled.
pub(crate) async fn run(app: App, stop: CancellationToken) -> Result<(), Failure> {
    let proven = Kind::ALL.map(Kind::as_str);
    let others = [SELF_ROLLED_BACK, PEER_DISAGREES, START_UNCONFIRMED, DAMAGE, DAMAGED];
    for kind in others.into_iter().chain(proven).chain(INCIDENTS) {
        app.node_metrics.incidents_open(kind).set(0);
    }
    let memory = Arc::new(Mutex::new(Memory::default()));
    let board = app.reads.board().clone();
    board
        .keep(stop, || {
            let (app, memory) = (app.clone(), memory.clone());
            async move {
                let snapshot = app.published.snapshot()?;
                match gather(&app, &snapshot, &mut *memory.lock().await).await {
                    Ok(status) => Some(ReplicationStatus::Leader(Box::new(status))),
                    Err(error) => {
                        tracing::debug!(%error, "the status could not be computed");
                        None
                    }
                }
            }
        })
        .await;
    Ok(())
}

/// What one second's work leaves for the next: answers that never change, or only slowly.
#[derive(Default)]
struct Memory {
    /// Of each follower the last size and root that were compared, and the outcome.
    compared: BTreeMap<Fingerprint, (TreeSize, Hash, bool)>,
    /// How fast each follower goes.
    paces: BTreeMap<Fingerprint, Pace>,
    /// Events above a witnessed size, counted up to a size.
    events: Option<EventCount>,
    /// The proofs of the last 24 hours, and when they were counted.
    proofs: BTreeMap<Fingerprint, u64>,
    proofs_counted: Option<Timestamp>,
    /// Each witness's newest proof when they were counted.
    newest_proofs: BTreeMap<Fingerprint, u64>,
    /// Labels that the metrics have.
    followers: BTreeSet<String>,
    witnesses: BTreeSet<String>,
    kinds: BTreeSet<String>,
}

/// How many events lie in `above + 1 ..= upto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct EventCount {
    above: u64,
    upto: u64,
    events: u64,
}

async fn gather(
    app: &App,
    snapshot: &Snapshot,
    memory: &mut Memory,
) -> Result<LeaderStatus, StoreError> {
    let now = app.clock.now();
    let followers = followers(app, snapshot, memory).await?;
    let witnesses = witnesses(app, snapshot, memory, now).await?;
    let cosigners = app.cosigning.standings(&app.store).await?;
    let policy = policy_quorum(app, &cosigners, snapshot.last_event_id, now);
    let quorum_size = match policy {
        Some(_) => app.cosigning.quorum_size(),
        None => witnessed_size(&witnesses, majority(witnesses.len() as u64)).unwrap_or_default(),
    };
    let unwitnessed = count_events(app, snapshot, memory, quorum_size).await?;
    let incidents_open = count_incidents(app, memory).await?;
    match app.cosigning.policy() {
        Some(policy) => show_quorum(app, policy.required() as u64, policy.witnesses().len()),
        None => show_quorum(app, majority(witnesses.len() as u64), witnesses.len()),
    }
    show_cosigners(app, &cosigners);
    let status = LeaderStatus::new(LeaderInput {
        now,
        head: snapshot.head.head(),
        last_event_id: snapshot.last_event_id,
        heartbeat_seconds: app.heartbeat.as_secs().max(1),
        not_signing: app.sequencer.not_signing().map(|reason| reason.to_string()),
        followers,
        witnesses,
        policy,
        events_unwitnessed: Some(unwitnessed),
        incidents_open,
    });
    app.metrics.last_event.set(gauge(snapshot.last_event_id));
    app.metrics.witnessed_tree_size.set(quorum_size.to_sql());
    app.metrics.unwitnessed.set(gauge(unwitnessed));
    show(app, &status, memory);
    Ok(status)
}

async fn followers(
    app: &App,
    snapshot: &Snapshot,
    memory: &mut Memory,
) -> Result<Vec<FollowerInput>, StoreError> {
    let rows = authorized(app, Category::FederationOperator).await?;
    let profiles = app.store.profiles(rows.iter().map(|row| &row.fingerprint)).await?;
    let mut reports: BTreeMap<Fingerprint, ReportRow> =
        app.store.reports().await?.into_iter().map(|row| (row.follower, row)).collect();
    let mut inputs = Vec::with_capacity(rows.len());
    for row in rows {
        let report = match reports.remove(&row.fingerprint) {
            Some(report) => report_input(app, snapshot, memory, &report).await?,
            None => None,
        };
        let (display_name, server) = shown_as(&profiles, row.fingerprint, row.name);
        inputs.push(FollowerInput { fingerprint: row.fingerprint, display_name, server, report });
    }
    Ok(inputs)
}

async fn report_input(
    app: &App,
    snapshot: &Snapshot,
    memory: &mut Memory,
    row: &ReportRow,
) -> Result<Option<ReportInput>, StoreError> {
    // It was parsed when it arrived; a row of another version says nothing.
    let Ok(report) = serde_json::from_str::<ReplicationReport>(&row.body) else { return Ok(None) };
    let (size, root) = (report.tree_size, report.root_hash);
    let held = size <= snapshot.edge.size();
    let known =
        memory.compared.get(&row.follower).filter(|known| (known.0, known.1) == (size, root));
    let matches = match known {
        Some((_, _, matches)) => *matches,
        None if !held => false,
        None => {
            let matches = app.root_at(snapshot, size).await? == root;
            memory.compared.insert(row.follower, (size, root, matches));
            matches
        }
    };
    let lacks_since = if size < snapshot.size() {
        app.store.entry(size.get() + 1).await?.map(|leaf| leaf.timestamp())
    } else {
        None
    };
    let pace = Pace::after(memory.paces.get(&row.follower).copied(), row.received_at, size);
    memory.paces.insert(row.follower, pace);
    Ok(Some(ReportInput {
        status: report.status,
        reason: report.reason.map(|reason| reason.to_string()),
        tree_size: size,
        root_hash: root,
        root_matches: Some(matches),
        lacks_since,
        entries_per_second: pace.per_second(),
        received_at: row.received_at,
    }))
}

async fn witnesses(
    app: &App,
    snapshot: &Snapshot,
    memory: &mut Memory,
    now: Timestamp,
) -> Result<Vec<WitnessInput>, StoreError> {
    let rows = authorized(app, Category::Witness).await?;
    let fingerprints: Vec<Fingerprint> = rows.iter().map(|row| row.fingerprint).collect();
    let profiles = app.store.profiles(&fingerprints).await?;
    let proofs = app.store.witnesses(&fingerprints).await?;
    let newest = proofs.iter().map(|proof| (proof.fingerprint, proof.proof_id)).collect();
    recount_proofs(app, snapshot, memory, &fingerprints, newest, now).await?;
    let mut inputs = Vec::with_capacity(rows.len());
    for row in rows {
        let fingerprint = row.fingerprint;
        let cosigned = app.store.last_cosignature(&fingerprint).await?.map(|row| row.tree_size);
        let last_proof = proofs.iter().find(|proof| proof.fingerprint == fingerprint);
        let (display_name, server) = shown_as(&profiles, fingerprint, row.name);
        inputs.push(WitnessInput {
            fingerprint,
            display_name,
            server,
            last_proof: last_proof.map(|proof| LastProof {
                proof_id: proof.proof_id,
                tree_size: proof.tree_size,
                root_hash: proof.root_hash,
                recorded_at: proof.recorded_at,
            }),
            cosigned,
            proofs_24h: memory.proofs.get(&fingerprint).copied(),
        });
    }
    Ok(inputs)
}

/// Counts each witness's proofs of the last 24 hours: when there is a new one, else once a minute.
async fn recount_proofs(
    app: &App,
    snapshot: &Snapshot,
    memory: &mut Memory,
    witnesses: &[Fingerprint],
    newest: BTreeMap<Fingerprint, u64>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let fresh = memory
        .proofs_counted
        .is_some_and(|counted| (0..RECOUNT_MILLIS).contains(&now.millis_since(counted)))
        && memory.newest_proofs == newest;
    if fresh && witnesses.iter().all(|witness| memory.proofs.contains_key(witness)) {
        return Ok(());
    }
    // A proof that came after the snapshot was taken counts too, or it would be missed until the
    // next count.
    let size = newest.values().copied().fold(snapshot.size().get(), u64::max);
    let after = last_before(app, now.plus_millis(-DAY_MILLIS), size).await?;
    memory.proofs.clear();
    for witness in witnesses {
        let count = app.store.count_refs("witness", &witness.to_string(), after, size).await?;
        memory.proofs.insert(*witness, count);
    }
    memory.proofs_counted = Some(now);
    memory.newest_proofs = newest;
    Ok(())
}

/// The newest entry up to `size` that is older than `time`; 0 if there is none. Timestamps never
/// decrease, so this is a binary search.
async fn last_before(app: &App, time: Timestamp, size: u64) -> Result<u64, StoreError> {
    let (mut older, mut newer) = (0, size + 1);
    while newer - older > 1 {
        let middle = older + (newer - older) / 2;
        match app.store.entry(middle).await? {
            Some(leaf) if leaf.timestamp() < time => older = middle,
            _ => newer = middle,
        }
    }
    Ok(older)
}

/// Counts the events above a size: all entries but witness proofs. What was counted for the same
/// size before is not counted again.
async fn count_events(
    app: &App,
    snapshot: &Snapshot,
    memory: &mut Memory,
    above: TreeSize,
) -> Result<u64, StoreError> {
    let (above, upto) = (above.get(), snapshot.size().get());
    let known = memory.events.filter(|known| known.above == above && known.upto <= upto);
    let from = known.map_or(above, |known| known.upto);
    let mut proofs = 0;
    if upto > from {
        for witness in app.store.all_witnesses().await? {
            let name = witness.fingerprint.to_string();
            proofs += app.store.count_refs("witness", &name, from, upto).await?;
        }
    }
    let before = known.map_or(0, |known| known.events);
    let events = before + upto.saturating_sub(from).saturating_sub(proofs);
    memory.events = Some(EventCount { above, upto, events });
    Ok(events)
}

async fn count_incidents(app: &App, memory: &mut Memory) -> Result<u64, StoreError> {
    let mut counts: BTreeMap<String, i64> =
        memory.kinds.iter().map(|kind| (kind.clone(), 0)).collect();
    let open = app.store.incidents(true).await?;
    for incident in &open {
        *counts.entry(incident.kind.clone()).or_default() += 1;
    }
    for (kind, count) in &counts {
        app.node_metrics.incidents_open(kind).set(*count);
    }
    memory.kinds = counts.into_keys().collect();
    Ok(open.len() as u64)
}

/// The name and URL to show: the profile's, else the name that the operator gave.
fn shown_as(
    profiles: &[ProfileRow],
    node: Fingerprint,
    name: Option<String>,
) -> (Option<String>, Option<String>) {
    match profiles.iter().find(|profile| profile.fingerprint == node) {
        Some(profile) => (Some(profile.display_name.clone()), profile.server.clone()),
        None => (name, None),
    }
}

/// How many witnesses of the policy are needed, and how many are current.
fn policy_quorum(
    app: &App,
    cosigners: &[Standing<'_>],
    last_event_id: u64,
    now: Timestamp,
) -> Option<QuorumState> {
    let policy = app.cosigning.policy()?;
    let is_current = |cosigner: &&Standing<'_>| {
        let last = cosigner.last.as_ref();
        let age = last.map(|row| seconds_since(now, row.timestamp));
        let size = last.map(|row| row.tree_size);
        WitnessFreshness::new(size, age, last_event_id) == WitnessFreshness::Current
    };
    let current = cosigners.iter().filter(is_current).count() as u64;
    Some(QuorumState { required: policy.required() as u64, current })
}

fn show_cosigners(app: &App, cosigners: &[Standing<'_>]) {
    for Standing { name, last } in cosigners {
        let size = last.as_ref().map_or(0, |row| row.tree_size.to_sql());
        app.metrics.cosigner_tree_size.with_label_values(&[*name]).set(size);
    }
}

/// Says in `/.well-known/diogenes` how many witnesses are needed.
fn show_quorum(app: &App, required: u64, of: usize) {
    let rule = QuorumRule {
        required: u32::try_from(required).unwrap_or(u32::MAX),
        of: u32::try_from(of).unwrap_or(u32::MAX),
    };
    app.facts.send_if_modified(|facts| {
        let news = facts.witness_quorum != rule;
        if news {
            *facts = Arc::new(Facts { witness_quorum: rule, ..Facts::clone(facts) });
        }
        news
    });
}

fn show(app: &App, status: &LeaderStatus, memory: &mut Memory) {
    let metrics = &app.metrics;
    metrics.quorum_required.set(gauge(status.witness_quorum.required));
    metrics.quorum_current.set(gauge(status.witness_quorum.current));
    // Without followers, nothing that this log holds is anywhere else.
    metrics.unreplicated.set(gauge(status.entries_at_risk.unwrap_or(status.tree_size.get())));
    let mut followers = BTreeSet::new();
    for row in &status.followers {
        let label = row.fingerprint.short().to_string();
        let size = row.tree_size.unwrap_or_default().to_sql();
        metrics.follower_tree_size.with_label_values(&[&label]).set(size);
        let seen = row.last_report.map_or(0, Timestamp::seconds);
        metrics.follower_last_seen.with_label_values(&[&label]).set(seen);
        for state in STATES {
            let value = i64::from(state == row.status);
            metrics.follower_state.with_label_values(&[label.as_str(), state.as_str()]).set(value);
        }
        followers.insert(label);
    }
    let mut witnesses = BTreeSet::new();
    for row in &status.witnesses {
        let label = row.short_fingerprint.to_string();
        let size = row.tree_size.unwrap_or_default().to_sql();
        metrics.witness_tree_size.with_label_values(&[&label]).set(size);
        let last = row.last_proof_at.map_or(0, Timestamp::seconds);
        metrics.witness_last_proof.with_label_values(&[&label]).set(last);
        witnesses.insert(label);
    }
    forget(app, memory, &followers, &witnesses);
    (memory.followers, memory.witnesses) = (followers, witnesses);
}

/// Drops the series of keys that are no longer authorised. A vanished peer keeps its own.
fn forget(app: &App, memory: &Memory, followers: &BTreeSet<String>, witnesses: &BTreeSet<String>) {
    let metrics = &app.metrics;
    for label in memory.followers.difference(followers) {
        // A series that is gone already needs no removing.
        let _ = metrics.follower_tree_size.remove_label_values(&[label]);
        let _ = metrics.follower_last_seen.remove_label_values(&[label]);
        for state in STATES {
            let labels = [label.as_str(), state.as_str()];
            let _ = metrics.follower_state.remove_label_values(&labels);
        }
    }
    for label in memory.witnesses.difference(witnesses) {
        let _ = metrics.witness_tree_size.remove_label_values(&[label]);
        let _ = metrics.witness_last_proof.remove_label_values(&[label]);
    }
}

fn gauge(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
