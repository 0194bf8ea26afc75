//! Witnesses: what they signed and what the operator decided about them.

use std::collections::HashMap;

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;

use super::answer::{Freshness, json, linked};
use super::entries::{Found, in_order, list_of_type};
use super::query::{DEEPEST_ROW, ORDERS, Params};
use super::reads::Reads;
use super::snapshot::Snapshot;
use super::when::newest_before;
use crate::clock::Timestamp;
use crate::event::Payload as _;
use crate::head::HeadJson;
use crate::keys::{AnyFingerprint, Fingerprint, PublicKey};
use crate::leaf::Leaf;
use crate::merkle::TreeSize;
use crate::note::{KeyKind, Vkey};
use crate::server::body::Path;
use crate::server::problem::{Code, Problem};
use crate::statement::{Category, WitnessProof};
use crate::store::{Cosignature, Filter, Order, Store, StoreError};
use crate::view::{EndorsedRow, ProfileRow};
use crate::wire::status::{LastProof, WitnessInput};
use crate::wire::witnesses::{
    LastCosignature, ProofPage, ProofRecord, WitnessRecord, WitnessState,
};

/// How many milliseconds a day has.
const DAY: i64 = 86_400_000;

/// The recorded witness proofs.
#[utoipa::path(
    get,
    path = "/api/v1/log/witnesses",
    tag = "witnesses",
    params(
        ("page" = Option<u64>, Query, description = "From 1"),
        ("per_page" = Option<u64>, Query, description = "From 1 to 200, by default 50"),
        ("witness" = Option<String>, Query, description = "Only those of this witness: a full fingerprint or its first 16 hex digits"),
        ("order" = Option<String>, Query, description = "`asc` (default) or `desc`"),
    ),
    responses(
        (status = 200, description = "The page; `Link` names the next one", body = ProofPage),
    )
)]
pub(super) async fn list(
    State(reads): State<Reads>,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let size = reads.snapshot()?.size().get();
    let paging = params.paging()?;
    paging.not_too_deep()?;
    let order = params.choice("order", &ORDERS)?.unwrap_or_default();
    let store = reads.store();
    let filter = Filter {
        event_type: Some(WitnessProof::EVENT_TYPE),
        after: 0,
        offset: paging.offset(),
        limit: paging.per_page,
        order,
    };
    let found = match params.text("witness")? {
        None => list_of_type(store, filter, size).await?,
        Some(text) => match resolve(store, text).await.map_err(at_parameter)? {
            Some(witness) => of_witness(store, witness, filter, size).await?,
            None => Found { entries: Vec::new(), total: 0, is_capped: false },
        },
    };
    let page = ProofPage {
        proofs: records(store, &found.entries).await?,
        page: paging.page,
        per_page: paging.per_page,
        total: found.total,
        total_capped: found.is_capped,
    };
    let next = paging.next(found.total, true);
    let next = next.map(|page| format!("/api/v1/log/witnesses?{}", params.with_page(page)));
    Ok(linked(json(&page, Freshness::Brief, &headers), next))
}

/// What is known about one witness.
#[utoipa::path(
    get,
    path = "/api/v1/log/witnesses/{fingerprint}",
    tag = "witnesses",
    extensions(("x-problems" = json!(["validation_failed"]))),
    params(("fingerprint" = String, Path, description = "A full fingerprint or its first 16 hex digits")),
    responses(
        (status = 200, description = "The witness; `state` is `unknown` if nothing is known", body = WitnessRecord),
    )
)]
pub(super) async fn one(
    State(reads): State<Reads>,
    Path(text): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let snapshot = reads.snapshot()?;
    let store = reads.store();
    let record = match resolve(store, &text).await? {
        Some(witness) => known(&reads, &snapshot, witness, &text).await?,
        None => undecided(&reads, &text, None).await?,
    };
    Ok(json(&record, Freshness::Brief, &headers))
}

impl Reads {
    /// What the log up to this size says of every authorised witness: the input of its status.
    pub async fn witness_inputs(&self, size: TreeSize) -> Result<Vec<WitnessInput>, StoreError> {
        let (store, size) = (self.store(), size.get());
        let rows = store.endorsed(Category::Witness.as_str()).await?;
        let rows: Vec<EndorsedRow> =
            rows.into_iter().filter(|row| row.revoked_by.is_none()).collect();
        let keys: Vec<Fingerprint> = rows.iter().map(|row| row.fingerprint).collect();
        let profiles = by_key(store.profiles(&keys).await?, |row| row.fingerprint);
        let proofs = by_key(store.witnesses(&keys).await?, |row| row.fingerprint);
        let yesterday = match rows.len() {
            0 => 0,
            _ => newest_before(store, self.now().plus_millis(-DAY), size).await?,
        };
        let mut inputs = Vec::with_capacity(rows.len());
        for row in rows {
            let key = row.fingerprint;
            let profile = profiles.get(&key);
            inputs.push(WitnessInput {
                fingerprint: key,
                display_name: display_name(profile, Some(&row)),
                server: profile.and_then(|profile| profile.server.clone()),
                last_proof: proofs.get(&key).map(|proof| LastProof {
                    proof_id: proof.proof_id,
                    tree_size: proof.tree_size,
                    root_hash: proof.root_hash,
                    recorded_at: proof.recorded_at,
                }),
                cosigned: store.last_cosignature(&key).await?.map(|line| line.tree_size),
                proofs_24h: Some(
                    store.count_refs("witness", &key.to_string(), yesterday, size).await?,
                ),
            });
        }
        Ok(inputs)
    }
}

/// The full fingerprint that a full or short one means; `None` if no endorsement names it.
async fn resolve(store: &Store, text: &str) -> Result<Option<Fingerprint>, Problem> {
    let named: AnyFingerprint = text.parse().map_err(|_| {
        Problem::new(
            Code::ValidationFailed,
            "a witness is named by its full fingerprint or the first 16 hex digits of it",
        )
    })?;
    let short = match named {
        AnyFingerprint::Full(fingerprint) => return Ok(Some(fingerprint)),
        AnyFingerprint::Short(short) => short,
    };
    let mut keys: Vec<Fingerprint> =
        store.endorsements_of_short(short).await?.iter().map(|row| row.fingerprint).collect();
    keys.sort_unstable();
    keys.dedup();
    match keys.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(*one)),
        _ => Err(Problem::new(
            Code::ValidationFailed,
            "several keys begin with these 16 digits: give the full fingerprint",
        )),
    }
}

/// Says which parameter named no key.
fn at_parameter(problem: Problem) -> Problem {
    match problem.code() {
        Code::ValidationFailed => Problem::invalid("witness", problem.detail().to_owned()),
        _ => problem,
    }
}

/// The proofs of one witness. The references are read newest first, so an ascending page is
/// counted from the other end.
async fn of_witness(
    store: &Store,
    witness: Fingerprint,
    filter: Filter<'_>,
    size: u64,
) -> Result<Found, StoreError> {
    let name = witness.to_string();
    let total = store.count_refs("witness", &name, 0, size).await?;
    let (offset, limit) = match filter.order {
        Order::Descending => (filter.offset, filter.limit),
        Order::Ascending => {
            let rest = total.saturating_sub(filter.offset);
            (rest.saturating_sub(filter.limit), filter.limit.min(rest))
        }
    };
    let mut ids = store.refs("witness", &name, size, offset, limit).await?;
    if filter.order == Order::Ascending {
        ids.reverse();
    }
    let entries = in_order(store, &ids).await?;
    Ok(Found { entries, total: total.min(DEEPEST_ROW), is_capped: total > DEEPEST_ROW })
}

async fn records(store: &Store, entries: &[Leaf]) -> Result<Vec<ProofRecord>, StoreError> {
    let read = |leaf: &Leaf| {
        let proof = WitnessProof::from_payload(leaf.payload()).ok()?;
        Some((leaf.id(), leaf.timestamp(), proof))
    };
    let proofs: Vec<(u64, Timestamp, WitnessProof)> = entries.iter().filter_map(read).collect();
    let mut keys: Vec<Fingerprint> = proofs.iter().map(|(_, _, proof)| proof.witness).collect();
    keys.sort_unstable();
    keys.dedup();
    let profiles = by_key(store.profiles(&keys).await?, |row| row.fingerprint);
    let endorsed = store.endorsements(&keys).await?;
    let endorsed = by_key(endorsed.into_iter().filter(is_witness).collect(), |row| row.fingerprint);
    let record = |(id, recorded_at, proof): (u64, Timestamp, WitnessProof)| {
        let row = endorsed.get(&proof.witness);
        let name = display_name(profiles.get(&proof.witness), row);
        let authorized = row.is_some_and(|row| row.revoked_by.is_none());
        ProofRecord::new(id, recorded_at, proof, name, authorized)
    };
    Ok(proofs.into_iter().map(record).collect())
}

async fn known(
    reads: &Reads,
    snapshot: &Snapshot,
    witness: Fingerprint,
    text: &str,
) -> Result<WitnessRecord, Problem> {
    let store = reads.store();
    let row = store.endorsements([&witness]).await?.into_iter().find(is_witness);
    let Some(row) = row else { return undecided(reads, text, Some(witness)).await };
    let since = match row.revoked_by {
        None => Some(row.since),
        Some(id) => store.entry(id).await?.map(|entry| entry.timestamp()),
    };
    let profile = store.profiles([&witness]).await?.pop();
    let newest = store.witnesses([&witness]).await?.pop();
    let size = snapshot.size().get();
    let proof = match newest.as_ref().filter(|proof| proof.proof_id <= size) {
        Some(proof) => records(store, &store.entries_of(&[proof.proof_id]).await?).await?.pop(),
        None => None,
    };
    let cosigner = newest.as_ref().and_then(|proof| proof.cosigner.as_deref());
    Ok(WitnessRecord {
        fingerprint: witness.to_string(),
        state: if row.revoked_by.is_none() {
            WitnessState::Authorized
        } else {
            WitnessState::Revoked
        },
        since,
        display_name: display_name(profile.as_ref(), Some(&row)),
        server: profile.and_then(|profile| profile.server),
        vkey: cosigner.and_then(|name| vkey(name, &row.public_key)),
        last_proof: proof,
        last_cosignature: last_cosignature(store, &witness).await?,
    })
}

/// A witness about which the log says nothing.
async fn undecided(
    reads: &Reads,
    text: &str,
    witness: Option<Fingerprint>,
) -> Result<WitnessRecord, Problem> {
    let (store, now) = (reads.store(), reads.now());
    let named: Option<AnyFingerprint> = text.parse().ok();
    let is_meant = |key: &AnyFingerprint| match (named, key) {
        (Some(named), AnyFingerprint::Full(full)) => named.names(full),
        (Some(AnyFingerprint::Full(full)), short) => short.names(&full),
        (named, short) => named == Some(*short),
    };
    let mut pending = store.pending(now).await?.into_iter();
    let pending = pending.find(|row| is_meant(&AnyFingerprint::Full(row.fingerprint)));
    let mut reserved = store.reserved(now).await?.into_iter();
    let reserved =
        reserved.find(|row| row.category == Category::Witness.as_str() && is_meant(&row.key));
    let fingerprint = pending
        .as_ref()
        .map(|key| key.fingerprint.to_string())
        .or_else(|| witness.map(|key| key.to_string()))
        .unwrap_or_else(|| text.to_owned());
    let (state, since, name) = match (reserved, pending) {
        (Some(row), _) => (WitnessState::Reserved, None, row.name),
        (None, Some(key)) => (WitnessState::Pending, Some(key.first_seen), None),
        (None, None) => (WitnessState::Unknown, None, None),
    };
    Ok(WitnessRecord {
        fingerprint,
        state,
        since,
        display_name: name,
        server: None,
        vkey: None,
        last_proof: None,
        last_cosignature: match witness {
            Some(witness) => last_cosignature(store, &witness).await?,
            None => None,
        },
    })
}

async fn last_cosignature(
    store: &Store,
    witness: &Fingerprint,
) -> Result<Option<LastCosignature>, StoreError> {
    let Some(line) = store.last_cosignature(witness).await? else { return Ok(None) };
    let heads = store.heads_of(line.tree_size).await?;
    let checkpoint = heads
        .iter()
        .filter_map(|head| head.head_json.as_deref())
        .find_map(|json| serde_json::from_str::<HeadJson>(json).ok())
        .map(|head| cosigned(&head.checkpoint, &line));
    Ok(Some(LastCosignature { tree_size: line.tree_size, checkpoint }))
}

/// A checkpoint with one more signature line.
fn cosigned(checkpoint: &str, cosignature: &Cosignature) -> String {
    format!("{checkpoint}{}\n", cosignature.line.trim_end())
}

fn vkey(name: &str, public_key: &str) -> Option<String> {
    let key = PublicKey::from_pem(public_key).ok()?;
    Some(Vkey::new(name.parse().ok()?, KeyKind::Cosignature, key).to_string())
}

fn is_witness(row: &EndorsedRow) -> bool {
    row.category == Category::Witness.as_str()
}

fn display_name(profile: Option<&ProfileRow>, endorsed: Option<&EndorsedRow>) -> Option<String> {
    let chosen = profile.map(|profile| profile.display_name.clone());
    chosen.or_else(|| endorsed.and_then(|row| row.name.clone()))
}

fn by_key<R>(rows: Vec<R>, key: impl Fn(&R) -> Fingerprint) -> HashMap<Fingerprint, R> {
    rows.into_iter().map(|row| (key(&row), row)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::testing::TestNode;

    #[tokio::test]
    async fn an_empty_list_is_a_list() {
        let node = TestNode::with_entries(2).await;
        let page: ProofPage = node.get("/api/v1/log/witnesses").await;
        assert_eq!((page.proofs.len(), page.page, page.per_page, page.total), (0, 1, 50, 0));
    }

    #[tokio::test]
    async fn a_witness_that_nobody_knows_is_unknown_and_not_an_error() {
        let node = TestNode::with_entries(2).await;
        for name in ["a1b2c3d4e5f60718", &format!("sha256:{}", "ab".repeat(32))] {
            let record: WitnessRecord = node.get(&format!("/api/v1/log/witnesses/{name}")).await;
            assert_eq!(record.state, WitnessState::Unknown);
            assert_eq!(record.fingerprint, name);
        }
    }

    #[tokio::test]
    async fn what_names_no_key_is_refused() {
        let node = TestNode::with_entries(2).await;
        for url in ["/api/v1/log/witnesses/abc", "/api/v1/log/witnesses?witness=abc"] {
            assert_eq!(node.refusal(url).await, Code::ValidationFailed, "{url}");
        }
    }
}
