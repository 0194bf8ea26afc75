//! Endorsements that a key received and gave, and the alerts about it.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;

use super::answer::{Freshness, json, linked};
use super::query::{Paging, Params};
use super::reads::Reads;
use super::when::AsOf;
use crate::event::Event;
use crate::keys::Fingerprint;
use crate::server::body::Path;
use crate::server::problem::{Code, Problem};
use crate::statement::Category;
use crate::store::{EndorsementSide, Standing, Store, StoreError, Window};
use crate::trust::Millionths;
use crate::view::{Circle, EndorsedRow, EndorsementRow, KeyRow, Needs, Overlay};
use crate::wire::endorsements::{
    AlertList, AlertView, EndorsementCounts, EndorsementList, EndorsementState, EndorsementStatus,
    EndorsementView,
};

/// The endorsements that a key received.
#[utoipa::path(
    get,
    path = "/api/v1/endorsements/{fingerprint}",
    tag = "endorsements",
    params(
        ("fingerprint" = String, Path, description = "The full fingerprint, `sha256:` and 64 hex digits"),
        ("page" = Option<u64>, Query, description = "From 1"),
        ("per_page" = Option<u64>, Query, maximum = 1000, description = "From 1 to 1000, which is the default"),
    ),
    responses(
        (status = 200, description = "The page; `Link` names the next one", body = EndorsementList),
        (status = 404, description = "No such key"),
    )
)]
pub(super) async fn received(
    State(reads): State<Reads>,
    Path(fingerprint): Path<String>,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    list(&reads, &fingerprint, &params, &headers, EndorsementSide::Received).await
}

/// The endorsements that a key gave.
#[utoipa::path(
    get,
    path = "/api/v1/endorsements/{fingerprint}/issued",
    tag = "endorsements",
    params(
        ("fingerprint" = String, Path, description = "The full fingerprint, `sha256:` and 64 hex digits"),
        ("page" = Option<u64>, Query, description = "From 1"),
        ("per_page" = Option<u64>, Query, maximum = 1000, description = "From 1 to 1000, which is the default"),
    ),
    responses(
        (status = 200, description = "The page; `Link` names the next one", body = EndorsementList),
        (status = 404, description = "No such key"),
    )
)]
pub(super) async fn issued(
    State(reads): State<Reads>,
    Path(fingerprint): Path<String>,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    list(&reads, &fingerprint, &params, &headers, EndorsementSide::Issued).await
}

async fn list(
    reads: &Reads,
    fingerprint: &str,
    params: &Params,
    headers: &HeaderMap,
    side: EndorsementSide,
) -> Result<Response, Problem> {
    let paging = params.long_paging()?;
    paging.list_not_too_deep()?;
    let as_of = AsOf::newest(reads)?;
    let key = known_key(reads.store(), fingerprint, as_of).await?;
    let list = page(reads.store(), &key, side, paging, as_of).await?;
    let place = match side {
        EndorsementSide::Received => "",
        EndorsementSide::Issued => "/issued",
    };
    let path = format!("/api/v1/endorsements/{}{place}", key.fingerprint);
    let next = paging.next(list.total, true);
    let next = next.map(|page| format!("{path}?{}", params.with_page(page)));
    Ok(linked(json(&list, Freshness::Brief, headers), next))
}

/// What the operator says of the key or by it, then what other keys do.
pub(super) async fn page(
    store: &Store,
    key: &KeyRow,
    side: EndorsementSide,
    paging: Paging,
    as_of: AsOf,
) -> Result<EndorsementList, StoreError> {
    let by_operator = match (side, key.is_operator()) {
        (EndorsementSide::Received, _) => store.endorsements([&key.fingerprint]).await?,
        (EndorsementSide::Issued, true) => of_the_operator(store).await?,
        (EndorsementSide::Issued, false) => Vec::new(),
    };
    let operator = store.keys_of_entries(&[1]).await?.pop().map(|key| key.fingerprint);
    let by_operator: Vec<_> =
        by_operator.into_iter().filter(|row| row.entry_id <= as_of.size).collect();
    let first = by_operator.len() as u64;
    let mut endorsements: Vec<_> =
        paging.rows(&by_operator).iter().filter_map(|row| operators(row, operator?)).collect();
    let window = Window {
        offset: paging.offset().saturating_sub(first),
        limit: paging.per_page - endorsements.len() as u64,
    };
    let rows = store.endorsements_of(&key.fingerprint, side, as_of.size, window).await?;
    endorsements.extend(views(store, rows, as_of).await?);
    let others = store.count_endorsements_of(&key.fingerprint, side, as_of.size).await?;
    Ok(EndorsementList {
        endorsements,
        page: paging.page,
        per_page: paging.per_page,
        total: first + others,
        as_of: as_of.at,
    })
}

async fn of_the_operator(store: &Store) -> Result<Vec<EndorsedRow>, StoreError> {
    let mut rows = Vec::new();
    for category in Category::ALL {
        rows.extend(store.endorsed(category.as_str()).await?);
    }
    rows.sort_by_key(|row| row.entry_id);
    Ok(rows)
}

/// An endorsement by the operator, which nobody has to accept.
fn operators(row: &EndorsedRow, operator: Fingerprint) -> Option<EndorsementView> {
    let is_active = row.revoked_by.is_none();
    Some(EndorsementView {
        offer_entry_id: row.entry_id,
        endorser_fingerprint: operator,
        endorsed_fingerprint: row.fingerprint,
        category: Category::ALL.into_iter().find(|of| of.as_str() == row.category)?,
        status: if is_active { EndorsementState::Active } else { EndorsementState::Withdrawn },
        offered_at: row.since,
        accepted_at: None,
        active_at: Some(row.since),
        valid_until: None,
        ended_at: None,
        institutional_metadata: None,
        external_identifiers: Vec::new(),
        weight: is_active.then_some(Millionths::ONE),
        level: Some(crate::trust::Level::OPERATOR),
        leader_asserted: false,
    })
}

/// The endorsements of rows, with what their offers say.
async fn views(
    store: &Store,
    rows: Vec<EndorsementRow>,
    as_of: AsOf,
) -> Result<Vec<EndorsementView>, StoreError> {
    let rows: Vec<_> = rows.into_iter().map(|row| seen(row, as_of)).collect();
    let ids: Vec<u64> = rows.iter().map(|row| row.offer_id).collect();
    let offers = store.entries_of(&ids).await?;
    let endorsers: BTreeSet<_> = rows.iter().map(|row| row.endorser).collect();
    let standings = store.standings(&endorsers, as_of.at).await?;
    let open = rows.iter().filter(|row| row.accepted.is_none()).map(|row| row.endorsed);
    let open: BTreeSet<_> = open.collect();
    let ended: BTreeSet<_> = store
        .keys(&open)
        .await?
        .into_iter()
        .filter(|key| key.ended.is_some_and(|end| end.entry_id <= as_of.size))
        .map(|key| key.fingerprint)
        .collect();
    let offers: BTreeMap<u64, _> = offers.into_iter().map(|leaf| (leaf.id(), leaf)).collect();
    let view = |row: EndorsementRow| {
        let leaf = offers.get(&row.offer_id).ok_or(StoreError::Corrupt { id: row.offer_id })?;
        let Ok(Event::EndorsementOffer(offer)) = Event::parse(leaf.event_type(), leaf.payload())
        else {
            return Err(StoreError::Corrupt { id: row.offer_id });
        };
        let status = match row.state_at(as_of.at) {
            EndorsementState::Offered if ended.contains(&row.endorsed) => EndorsementState::Void,
            state => state,
        };
        let weight = (status == EndorsementState::Active)
            .then(|| standings.get(&row.endorser).map_or(Millionths::ONE, Standing::weight));
        Ok(EndorsementView {
            offer_entry_id: row.offer_id,
            endorser_fingerprint: row.endorser,
            endorsed_fingerprint: row.endorsed,
            category: row.category,
            status,
            offered_at: row.offered_at,
            accepted_at: row.accepted.map(|of| of.at),
            active_at: row.accepted.map(|of| of.active_from),
            valid_until: row.valid_until,
            ended_at: row.ended.map(|end| end.at),
            institutional_metadata: offer.institutional_metadata.map(Into::into),
            external_identifiers: offer.external_identifiers,
            weight,
            level: row.accepted.and_then(|of| of.level),
            leader_asserted: row.leader_asserted,
        })
    };
    rows.into_iter().map(view).collect()
}

/// An endorsement without what entries above the served head did to it.
fn seen(row: EndorsementRow, as_of: AsOf) -> EndorsementRow {
    EndorsementRow {
        accepted: row.accepted.filter(|of| of.entry_id <= as_of.size),
        ended: row.ended.filter(|end| end.entry_id <= as_of.size),
        ..row
    }
}

/// How many endorsements a key received and gave, and what it may give.
#[utoipa::path(
    get,
    path = "/api/v1/endorsements/{fingerprint}/status",
    tag = "endorsements",
    params(
        ("fingerprint" = String, Path, description = "The full fingerprint, `sha256:` and 64 hex digits"),
    ),
    responses(
        (status = 200, description = "The summary", body = EndorsementStatus),
        (status = 404, description = "No such key"),
    )
)]
pub(super) async fn status(
    State(reads): State<Reads>,
    Path(fingerprint): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let as_of = AsOf::newest(&reads)?;
    let store = reads.store();
    let key = known_key(store, &fingerprint, as_of).await?.fingerprint;
    let (mut needs, mut overlay) = (Needs::default(), Overlay::new(0));
    needs.circle(key);
    store.load_overlay(&needs, &mut overlay).await?;
    let circle = Circle::of(&overlay, key, as_of.at);
    let (capacity, used) = (circle.capacity(), circle.given().count());
    let active = circle.given().filter(|row| row.state_at(as_of.at) == EndorsementState::Active);
    let active = u32::try_from(active.count()).unwrap_or(u32::MAX);
    let (_, alerts) = store.alerts_of(&key, Window { offset: 0, limit: 0 }).await?;
    let status = EndorsementStatus {
        fingerprint: key,
        received: counts(store, &key, EndorsementSide::Received, as_of).await?,
        issued: counts(store, &key, EndorsementSide::Issued, as_of).await?,
        capacity,
        used: u32::try_from(used).unwrap_or(u32::MAX),
        discount: crate::trust::weight(capacity, active),
        level: circle.level(),
        alerts,
        as_of: as_of.at,
    };
    Ok(json(&status, Freshness::Brief, &headers))
}

/// How many endorsements a key received or gave, by state.
pub(super) async fn counts(
    store: &Store,
    key: &Fingerprint,
    side: EndorsementSide,
    as_of: AsOf,
) -> Result<EndorsementCounts, StoreError> {
    let mut counts = EndorsementCounts::default();
    for (state, count) in store.endorsement_states(key, side, as_of.size, as_of.at).await? {
        counts.add(state, count);
    }
    if side == EndorsementSide::Received {
        for row in store.endorsements([key]).await? {
            let is_active = row.revoked_by.is_none();
            let state =
                if is_active { EndorsementState::Active } else { EndorsementState::Withdrawn };
            counts.add(state, 1);
        }
    }
    Ok(counts)
}

/// The alerts of a key that stand.
#[utoipa::path(
    get,
    path = "/api/v1/endorsements/revocation-alerts/{fingerprint}",
    tag = "endorsements",
    params(
        ("fingerprint" = String, Path, description = "The full fingerprint, `sha256:` and 64 hex digits"),
        ("page" = Option<u64>, Query, description = "From 1"),
        ("per_page" = Option<u64>, Query, maximum = 1000, description = "From 1 to 1000, which is the default"),
    ),
    responses(
        (status = 200, description = "The page; `Link` names the next one", body = AlertList),
        (status = 404, description = "No such key"),
    )
)]
pub(super) async fn alerts(
    State(reads): State<Reads>,
    Path(fingerprint): Path<String>,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let paging = params.long_paging()?;
    paging.list_not_too_deep()?;
    let as_of = AsOf::newest(&reads)?;
    let store = reads.store();
    let key = known_key(store, &fingerprint, as_of).await?.fingerprint;
    let window = Window { offset: paging.offset(), limit: paging.per_page };
    let (rows, total) = store.alerts_of(&key, window).await?;
    let ids: Vec<u64> = rows.iter().map(|row| row.entry_id).collect();
    let leaves = store.entries_of(&ids).await?;
    let alert = |(row, leaf): (crate::view::AlertRow, crate::leaf::Leaf)| {
        let event = Event::parse(leaf.event_type(), leaf.payload());
        let Ok(Event::EndorsementRevocationAlert(event)) = event else {
            return Err(StoreError::Corrupt { id: row.entry_id });
        };
        Ok(AlertView {
            entry_id: row.entry_id,
            endorser_fingerprint: row.endorser,
            reason: event.reason.as_str().to_owned(),
            evidence: event.evidence.map(|text| text.as_str().to_owned()),
            timestamp: row.at,
        })
    };
    let alerts = rows.into_iter().zip(leaves).map(alert).collect::<Result<_, _>>()?;
    let list = AlertList { alerts, page: paging.page, per_page: paging.per_page, total };
    let path = format!("/api/v1/endorsements/revocation-alerts/{key}");
    let next = paging.next(total, true).map(|page| format!("{path}?{}", params.with_page(page)));
    Ok(linked(json(&list, Freshness::Brief, &headers), next))
}

/// The registered key of a fingerprint.
pub(super) async fn known_key(
    store: &Store,
    fingerprint: &str,
    as_of: AsOf,
) -> Result<KeyRow, Problem> {
    let fingerprint: Fingerprint = fingerprint.parse().map_err(|_| {
        Problem::new(Code::NotFound, "a key is named by `sha256:` and 64 lower-case hex digits")
    })?;
    let key = store.key(&fingerprint).await?;
    key.filter(|key| key.first_entry_id <= as_of.size)
        .ok_or_else(|| Problem::new(Code::NotFound, "no key with this fingerprint is registered"))
}
