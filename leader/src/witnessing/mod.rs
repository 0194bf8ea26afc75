//! Witness proofs: checked cheapest first, recorded by the rules of rounds.

mod http;
mod record;
mod rounds;

use std::net::{IpAddr, Ipv6Addr};

use diogenes_common::checkpoint::Checkpoint;
use diogenes_common::clock::Timestamp;
use diogenes_common::cosignature::verify_cosignature;
use diogenes_common::event::text::Name;
use diogenes_common::head::{HeadError, SignedHead, TreeHead};
use diogenes_common::keys::{Fingerprint, PublicKey};
use diogenes_common::merkle::TreeSize;
use diogenes_common::note::{KeyKind, Note, SignatureLine, Vkey};
use diogenes_common::read::Snapshot;
use diogenes_common::statement::{Category, StatementError, Verified, WitnessProof};
use diogenes_common::store::{
    Cosignature, Filter, HeadRow, LocalWrite, Order, PendingKey, PendingOutcome, ReservedKey,
    StoreError,
};
use diogenes_common::view::WitnessRow;

pub(crate) use http::router;
pub(crate) use rounds::run as rounds;

use crate::app::App;
use crate::federation::{lies_on_our_history, peer_disagrees};
use crate::operator::no_longer_waiting;
use crate::sequencer::{AppendError, Outcome};
use record::{Record, RecordRefusal, Reserved};

/// How far ahead of our clock a witness's may be.
const MAX_AHEAD_MILLIS: i64 = 120_000;

/// A proof as it arrived.
struct Arrived {
    /// What the body says.
    proof: WitnessProof,
    /// The body itself.
    body: String,
    /// The client that sent it.
    client: IpAddr,
}

/// What became of a valid proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Submitted {
    /// It is this entry now.
    Recorded(u64),
    /// It was this entry already.
    Repeated(u64),
    /// The round rules do not record it; its cosignature is kept.
    Kept,
}

/// Why a proof is refused.
#[derive(Debug, thiserror::Error)]
enum WitnessError {
    /// It is about another log.
    #[error("the proof is about another log; this one's origin is in /.well-known/diogenes")]
    OtherLog,
    /// A root that is not ours, or a size that we never had.
    #[error("size {size} with that root is not on this log's history; keep the proof and the head")]
    Disagrees {
        /// The size.
        size: TreeSize,
    },
    /// Our own key signed the head, and we don't hold it.
    #[error("this log's own key signed that head, but it is not on the history that is held here")]
    SelfRolledBack,
    /// A proof that reaches further is recorded.
    #[error("a proof of this witness up to size {newest} is recorded already")]
    Stale {
        /// The size that it reaches.
        newest: TreeSize,
    },
    /// Nobody authorised this witness.
    #[error("the operator has not authorised this witness; {}", listed(*.outcome))]
    NotAuthorized {
        /// The witness.
        witness: Fingerprint,
        /// Whether the operator sees it.
        outcome: PendingOutcome,
    },
    /// Two keys begin with the digits that the operator reserved.
    #[error(
        "several keys claim the short fingerprint that the operator reserved: none is authorised"
    )]
    SeveralClaim {
        /// The keys.
        keys: Vec<Fingerprint>,
    },
    /// A signature or a member does not hold.
    #[error("{0}")]
    Statement(StatementError),
    /// The head is not one of this log's key.
    #[error("{0}")]
    Head(HeadError),
    /// The cosignature is not one of this key over the checkpoint of that size.
    #[error("the cosignature is not one of this key over the checkpoint of the new size")]
    Cosignature,
    /// A time beyond what clocks may differ.
    #[error("the proof was signed more than 120 s in the future; check the witness's clock")]
    FromFuture,
    /// The rules of the log, or the log itself.
    #[error(transparent)]
    Append(#[from] AppendError<RecordRefusal>),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Checks a proof, cheapest first, and records it if the round rules say so.
async fn submit(
    app: &App,
    snapshot: &Snapshot,
    arrived: Arrived,
) -> Result<Submitted, WitnessError> {
    let witness = arrived.proof.witness;
    let authorized = is_authorized(app, witness).await?;
    let result = judge(app, snapshot, arrived, authorized).await;
    // Only keys that the operator knows become labels.
    if authorized || matches!(result, Ok(Submitted::Recorded(_))) {
        let label = witness.short().to_string();
        app.metrics.witness_proofs.with_label_values(&[label.as_str(), outcome(&result)]).inc();
    }
    result
}

async fn judge(
    app: &App,
    snapshot: &Snapshot,
    arrived: Arrived,
    authorized: bool,
) -> Result<Submitted, WitnessError> {
    let Arrived { proof, body, client } = arrived;
    if proof.origin != app.origin {
        return Err(WitnessError::OtherLog);
    }
    if proof.old_tree_size >= proof.new_tree_size {
        return Err(WitnessError::Statement(StatementError::SizesReversed));
    }
    if let Some(size) = off_our_history(app, snapshot, &proof).await? {
        return Err(disagreement(app, snapshot, &proof, size, authorized).await?);
    }
    let last = app.store.witnesses([&proof.witness]).await?.pop();
    if let Some(last) = last.as_ref().filter(|_| authorized) {
        if proof.new_tree_size == last.tree_size {
            return Ok(Submitted::Repeated(last.proof_id));
        }
        if proof.new_tree_size < last.tree_size {
            return Err(WitnessError::Stale { newest: last.tree_size });
        }
    }
    let checked = check(app, proof, last.as_ref())?;
    if !lies_on_our_history(app, snapshot, &checked.head).await? {
        return Err(WitnessError::SelfRolledBack);
    }
    if authorized {
        return record(app, snapshot, checked, None).await;
    }
    let waiting = PendingKey {
        fingerprint: checked.proof.witness,
        public_key: checked.proof.public_key.to_pem(),
        network: network(client),
        first_seen: app.clock.now(),
        body,
    };
    claim_or_wait(app, snapshot, checked, waiting).await
}

/// A proof of which everything verified.
struct Checked {
    proof: Verified<WitnessProof>,
    head: SignedHead,
    /// Its cosignature, if it has one under the witness's own name.
    cosignature: Option<Cosignature>,
}

/// The signatures and the time, in this order: the proof's, the head's, the cosignature's.
fn check(
    app: &App,
    proof: WitnessProof,
    last: Option<&WitnessRow>,
) -> Result<Checked, WitnessError> {
    let proof = proof.verify().map_err(WitnessError::Statement)?;
    let head = proof.head.verify(&app.operator, &app.origin).map_err(WitnessError::Head)?;
    let latest = app.clock.now().plus_millis(MAX_AHEAD_MILLIS);
    let cosignature = match &proof.cosignature {
        None => None,
        Some(line) => Some(cosignature(&proof, line).ok_or(WitnessError::Cosignature)?),
    };
    let cosigned = cosignature.as_ref().map(|cosignature| cosignature.timestamp);
    if proof.timestamp > latest || cosigned.is_some_and(|time| time > latest) {
        return Err(WitnessError::FromFuture);
    }
    // A witness has one name for ever; lines under another are not kept.
    let known = last.and_then(|last| last.cosigner.as_ref());
    let cosignature = cosignature.filter(|line| known.is_none_or(|known| *known == line.name));
    Ok(Checked { proof, head, cosignature })
}

/// The cosignature as it is kept, if it is one by the witness over the checkpoint of its size.
fn cosignature(proof: &WitnessProof, text: &str) -> Option<Cosignature> {
    let line: SignatureLine = text.strip_suffix('\n').unwrap_or(text).parse().ok()?;
    let checkpoint = Checkpoint::new(proof.origin.as_str(), proof.new_tree()).ok()?;
    let seconds = verify_cosignature(&line, &checkpoint, &proof.public_key).ok()?;
    let millis = i64::try_from(seconds).ok()?.checked_mul(1_000)?;
    Some(Cosignature {
        tree_size: proof.new_tree_size,
        fingerprint: proof.witness,
        name: line.name().to_string(),
        line: line.to_string(),
        timestamp: Timestamp::from_millis(millis)?,
    })
}

/// The size at which the proof names a root that is not ours, if there is one.
async fn off_our_history(
    app: &App,
    snapshot: &Snapshot,
    proof: &WitnessProof,
) -> Result<Option<TreeSize>, StoreError> {
    let claim = proof.claim();
    for tree in [claim.new_tree(), claim.old_tree()] {
        let held = tree.size <= snapshot.edge.size();
        if !held || app.root_at(snapshot, tree.size).await? != tree.hash {
            return Ok(Some(tree.size));
        }
    }
    Ok(None)
}

/// What a proof off our history means: only a head signed by our own key counts against us.
async fn disagreement(
    app: &App,
    snapshot: &Snapshot,
    proof: &WitnessProof,
    size: TreeSize,
    authorized: bool,
) -> Result<WitnessError, StoreError> {
    let own_head = proof.head.verify(&app.operator, &app.origin);
    if let Ok(head) = own_head
        && !lies_on_our_history(app, snapshot, &head).await?
    {
        return Ok(WitnessError::SelfRolledBack);
    }
    if authorized && proof.check().is_ok() {
        let said = serde_json::to_vec(proof).unwrap_or_default();
        peer_disagrees(app, proof.witness, size, &said).await?;
        app.reads.judge_witness(proof, &format!("leader {}", app.operator_fingerprint())).await?;
    }
    Ok(WitnessError::Disagrees { size })
}

/// Records a checked proof, or keeps its cosignature alone.
async fn record(
    app: &App,
    snapshot: &Snapshot,
    checked: Checked,
    reserved: Option<Reserved>,
) -> Result<Submitted, WitnessError> {
    let newest_event = newest_event(app, snapshot, checked.proof.new_tree_size).await?;
    let head = head_row(app, &checked, newest_event);
    let pinned = head.clone().map(LocalWrite::PinHead);
    let cosigned = checked.cosignature.clone().map(LocalWrite::Cosign);
    let record = Record {
        proof: checked.proof,
        newest_event,
        max_quiet_ms: i64::try_from(app.max_quiet.as_millis()).unwrap_or(i64::MAX),
        reserved,
        kept: pinned.into_iter().chain(cosigned).collect(),
    };
    match app.sequencer.submit(record).await {
        Ok(Outcome::Appended(appended)) => {
            let entry = appended.leaves.last().ok_or(AppendError::Internal)?;
            Ok(Submitted::Recorded(entry.id()))
        }
        Ok(Outcome::Found { id }) => Ok(Submitted::Repeated(id)),
        Err(AppendError::Refused(RecordRefusal::Stale { newest })) => {
            Err(WitnessError::Stale { newest })
        }
        Err(AppendError::Refused(RecordRefusal::Quiet)) => {
            if let Some(cosignature) = checked.cosignature {
                app.store.put_cosignatures(&[cosignature]).await?;
                if let Some(head) = head {
                    app.store.pin_head(&head).await?;
                }
            }
            Ok(Submitted::Kept)
        }
        Err(error) => Err(error.into()),
    }
}

/// The head that a proof names, as this leader served it: it stays, with the checkpoint that the
/// cosignature is over.
///
/// It is put together from what verified; whatever else the witness sent along is left out.
fn head_row(app: &App, checked: &Checked, newest_event: u64) -> Option<HeadRow> {
    let signed = &checked.head;
    let note = own_checkpoint(&checked.proof.head.checkpoint, signed.head(), &app.operator)?;
    let json = serde_json::to_string(&signed.to_json(note, newest_event)).ok()?;
    let head = signed.head();
    Some(HeadRow {
        tree: head.tree(),
        chain_head: head.chain_head,
        epoch: head.epoch,
        timestamp: head.timestamp,
        head_json: Some(json),
    })
}

/// The checkpoint of a head with the log's own signature alone.
fn own_checkpoint(text: &str, head: &TreeHead, operator: &PublicKey) -> Option<String> {
    let note = Note::parse(text.as_bytes()).ok()?;
    let key = Vkey::new(head.origin.as_str().parse().ok()?, KeyKind::Ed25519, operator.clone());
    let line = note.verify(std::slice::from_ref(&key)).ok()?.first()?.line.clone();
    let expected = Checkpoint::new(head.origin.as_str(), head.tree()).ok()?.to_string();
    let own = (note.text() == expected).then(|| Note::new(expected, line))?;
    own.ok().map(|note| note.to_string())
}

/// The newest event at or below `size`.
async fn newest_event(app: &App, snapshot: &Snapshot, size: TreeSize) -> Result<u64, StoreError> {
    const STEP: u64 = 64;
    if snapshot.last_event_id <= size.get() {
        return Ok(snapshot.last_event_id);
    }
    let mut upto = size.get();
    while upto > 0 {
        let filter = Filter { limit: STEP, order: Order::Descending, ..Filter::default() };
        let entries = app.store.list(filter, upto).await?;
        let event = entries.iter().find(|leaf| !is_bookkeeping(leaf.event_type()));
        if let Some(event) = event {
            return Ok(event.id());
        }
        upto = upto.saturating_sub(STEP);
    }
    Ok(0)
}

fn is_bookkeeping(event_type: &str) -> bool {
    matches!(event_type, "witness_proof" | "anchor")
}

/// A valid proof of a key that is not authorised: it claims what the operator reserved for it, or
/// waits on the list.
async fn claim_or_wait(
    app: &App,
    snapshot: &Snapshot,
    checked: Checked,
    waiting: PendingKey,
) -> Result<Submitted, WitnessError> {
    let witness = waiting.fingerprint;
    // One claim at a time, and the reservation is looked up within it: the first takes it.
    let claim = app.claim("reservation", &witness.short().to_string());
    let now = waiting.first_seen;
    let reservation = reservation_for(witness, app.store.reserved(now).await?);
    let Some(reservation) = reservation else { return Err(wait(app, waiting).await?) };
    let keys = claimants(witness, &app.store.pending(now).await?);
    if claim.is_none() || keys.len() > 1 {
        app.store.add_pending(&waiting).await?;
        return Err(WitnessError::SeveralClaim { keys });
    }
    let reserved = Reserved {
        name: reservation.name.and_then(|name| Name::try_from(name).ok()),
        used: no_longer_waiting(witness),
    };
    tracing::info!(witness.key = %witness, "a witness claims what was reserved for it");
    record(app, snapshot, checked, Some(reserved)).await
}

async fn wait(app: &App, waiting: PendingKey) -> Result<WitnessError, StoreError> {
    let outcome = app.store.add_pending(&waiting).await?;
    let witness = waiting.fingerprint;
    if outcome == PendingOutcome::Listed {
        tracing::info!(witness.key = %witness, "a witness waits to be authorised");
    }
    Ok(WitnessError::NotAuthorized { witness, outcome })
}

/// The reservation that a key may claim: one for its full fingerprint before one for its first
/// digits.
fn reservation_for(witness: Fingerprint, reserved: Vec<ReservedKey>) -> Option<ReservedKey> {
    reserved
        .into_iter()
        .filter(|row| row.category == Category::Witness.as_str() && row.key.names(&witness))
        .min_by_key(|row| row.key)
}

/// Every key that is known to begin with the same digits as this one, itself included.
fn claimants(witness: Fingerprint, pending: &[PendingKey]) -> Vec<Fingerprint> {
    let others = pending.iter().map(|key| key.fingerprint);
    let same = others.filter(|key| *key != witness && key.short() == witness.short());
    std::iter::once(witness).chain(same).collect()
}

async fn is_authorized(app: &App, witness: Fingerprint) -> Result<bool, StoreError> {
    let said = app.store.endorsements([&witness]).await?;
    Ok(said
        .iter()
        .any(|row| row.category == Category::Witness.as_str() && row.revoked_by.is_none()))
}

/// The network of a client: an IPv4 address, or the /64 of an IPv6 one.
pub(crate) fn network(client: IpAddr) -> String {
    match client.to_canonical() {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("{}/64", Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
    }
}

/// The `result` label of a proof.
fn outcome(result: &Result<Submitted, WitnessError>) -> &'static str {
    match result {
        Ok(Submitted::Recorded(_)) => "recorded",
        Ok(Submitted::Repeated(_)) => "repeated",
        Ok(Submitted::Kept) => "kept",
        Err(WitnessError::Stale { .. }) => "stale",
        Err(WitnessError::Disagrees { .. } | WitnessError::SelfRolledBack) => "disagrees",
        Err(WitnessError::Append(_) | WitnessError::Store(_)) => "failed",
        Err(_) => "refused",
    }
}

fn listed(outcome: PendingOutcome) -> &'static str {
    match outcome {
        PendingOutcome::Listed | PendingOutcome::Known => "it is on the list of those that wait",
        PendingOutcome::TooSoon => {
            "it is not on the list: its network brought another key within the last minute"
        }
        PendingOutcome::Full => "it is not on the list, which is full: give the operator the key",
    }
}

#[cfg(test)]
mod tests {
    use diogenes_common::checkpoint::sign_checkpoint;
    use diogenes_common::head::HeadJson;
    use diogenes_common::keys::{AnyFingerprint, SigningKey};
    use diogenes_common::merkle::{Hash, TreeRoot};
    use diogenes_common::note::KeyName;
    use diogenes_common::statement::WitnessClaim;

    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis).expect("a time")
    }

    fn proof(cosign_as: &SigningKey) -> WitnessProof {
        let origin: diogenes_common::head::Origin = "log.example/1".parse().expect("an origin");
        let witness = SigningKey::from_seed([2; 32]);
        let head = TreeHead {
            chain_head: Some(Hash::of(b"leaf")),
            epoch: 1,
            origin: origin.clone(),
            root_hash: Hash::of(b"root"),
            timestamp: at(1_000),
            tree_size: TreeSize::ZERO.plus(7),
        };
        let claim = WitnessClaim {
            new_root: head.root_hash,
            new_tree_size: head.tree_size,
            old_root: Hash::EMPTY_TREE,
            old_tree_size: TreeSize::ZERO,
            origin: origin.clone(),
            timestamp: at(1_000),
            witness: witness.fingerprint(),
        };
        let checkpoint = Checkpoint::new(origin.as_str(), head.tree()).expect("a checkpoint");
        let name: KeyName = "w.example".parse().expect("a name");
        let line = diogenes_common::cosignature::cosign(&checkpoint, at(5_000), &name, cosign_as);
        let json: HeadJson = head.sign(&SigningKey::from_seed([1; 32])).to_json(String::new(), 7);
        claim.into_proof(&witness, json, Some(line.to_string()))
    }

    fn pending(n: u8) -> PendingKey {
        PendingKey {
            fingerprint: SigningKey::from_seed([n; 32]).fingerprint(),
            public_key: String::new(),
            network: String::new(),
            first_seen: at(0),
            body: String::new(),
        }
    }

    #[test]
    fn a_cosignature_is_kept_with_its_name_size_and_time() {
        let proof = proof(&SigningKey::from_seed([2; 32]));
        let line = proof.cosignature.clone().expect("a line");

        let kept = cosignature(&proof, &format!("{line}\n")).expect("it verifies");

        assert_eq!((kept.name.as_str(), kept.tree_size), ("w.example", proof.new_tree_size));
        assert_eq!((kept.timestamp, kept.line), (at(5_000), line));
    }

    #[test]
    fn a_cosignature_by_another_key_or_over_another_tree_is_none() {
        let stranger = proof(&SigningKey::from_seed([3; 32]));
        let own = proof(&SigningKey::from_seed([2; 32]));
        let line = own.cosignature.clone().expect("a line");
        let other_tree = WitnessProof { new_root: Hash::of(b"other"), ..own.clone() };

        assert_eq!(cosignature(&stranger, stranger.cosignature.as_deref().unwrap()), None);
        assert_eq!(cosignature(&other_tree, &line), None);
        assert_eq!(cosignature(&own, "not a line"), None);
    }

    #[test]
    fn of_a_checkpoint_only_the_logs_own_signature_over_this_head_is_kept() {
        let operator = SigningKey::from_seed([1; 32]);
        let proof = proof(&SigningKey::from_seed([2; 32]));
        let head = proof.head.claim();
        let name: KeyName = head.origin.as_str().parse().expect("a name");
        let signed = |tree| {
            let checkpoint = Checkpoint::new(head.origin.as_str(), tree).expect("a checkpoint");
            sign_checkpoint(&checkpoint, &name, &operator)
        };
        let own = signed(head.tree());
        let cosigned = format!("{own}{}\n", proof.cosignature.as_deref().expect("a line"));
        let keep = |text: &str| own_checkpoint(text, &head, operator.public());

        assert_eq!(keep(&own), Some(own.clone()));
        assert_eq!(keep(&cosigned), Some(own.clone()));
        let other = signed(TreeRoot { size: head.tree_size, hash: Hash::EMPTY_TREE });
        assert_eq!(keep(&other), None);
        assert_eq!(own_checkpoint(&own, &head, SigningKey::from_seed([3; 32]).public()), None);
        assert_eq!(keep(""), None);
    }

    #[test]
    fn a_reservation_by_the_full_fingerprint_comes_first() {
        let witness = pending(1).fingerprint;
        let row = |key| ReservedKey {
            key,
            name: None,
            category: Category::Witness.as_str().to_owned(),
            expires_at: at(0),
        };
        let short = row(AnyFingerprint::Short(witness.short()));
        let full = row(AnyFingerprint::Full(witness));
        let other = row(AnyFingerprint::Full(pending(2).fingerprint));

        let found = reservation_for(witness, vec![other.clone(), short.clone(), full.clone()]);

        assert_eq!(found, Some(full));
        assert_eq!(reservation_for(witness, vec![other.clone(), short.clone()]), Some(short));
        assert_eq!(reservation_for(witness, vec![other]), None);
    }

    #[test]
    fn keys_with_other_digits_claim_nothing() {
        let witness = pending(1).fingerprint;

        assert_eq!(claimants(witness, &[pending(1), pending(2)]), vec![witness]);
    }

    #[test]
    fn a_network_is_an_address_or_the_64_of_one() {
        let network = |text: &str| network(text.parse().expect("an address"));

        assert_eq!(network("192.0.2.7"), "192.0.2.7");
        assert_eq!(network("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
    }
}
