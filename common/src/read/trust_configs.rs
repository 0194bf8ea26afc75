//! Trust configurations that stand.

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;

use super::answer::{Freshness, json, linked};
use super::endorsements::known_key;
use super::query::Params;
use super::reads::Reads;
use super::when::AsOf;
use crate::event::{Asked as _, Event};
use crate::server::body::Path;
use crate::server::problem::{Code, Problem};
use crate::store::{Store, StoreError, Window};
use crate::view::TrustConfigRow;
use crate::wire::trust::{TrustConfigList, TrustConfigView};

/// The trust configurations that stand.
#[utoipa::path(
    get,
    path = "/api/v1/trust-configs",
    tag = "trust",
    params(
        ("page" = Option<u64>, Query, description = "From 1"),
        ("per_page" = Option<u64>, Query, maximum = 1000, description = "From 1 to 1000, which is the default"),
    ),
    responses(
        (status = 200, description = "The page; `Link` names the next one", body = TrustConfigList),
    )
)]
pub(super) async fn list(
    State(reads): State<Reads>,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let paging = params.long_paging()?;
    paging.list_not_too_deep()?;
    reads.snapshot()?;
    let window = Window { offset: paging.offset(), limit: paging.per_page };
    let (rows, total) = reads.store().trust_configs(window).await?;
    let trust_configs = views(reads.store(), rows).await?;
    let list =
        TrustConfigList { trust_configs, page: paging.page, per_page: paging.per_page, total };
    let next = paging.next(total, true);
    let next = next.map(|page| format!("/api/v1/trust-configs?{}", params.with_page(page)));
    Ok(linked(json(&list, Freshness::Brief, &headers), next))
}

/// The trust configuration of a key.
#[utoipa::path(
    get,
    path = "/api/v1/trust-configs/{fingerprint}",
    tag = "trust",
    params(
        ("fingerprint" = String, Path, description = "The full fingerprint, `sha256:` and 64 hex digits"),
    ),
    responses(
        (status = 200, description = "The configuration", body = TrustConfigView),
        (status = 404, description = "No such key, or it has none"),
    )
)]
pub(super) async fn one(
    State(reads): State<Reads>,
    Path(fingerprint): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let key = known_key(reads.store(), &fingerprint, AsOf::newest(&reads)?).await?.fingerprint;
    let rows = reads.store().trust_configs_of([&key]).await?;
    let rows = rows.into_iter().filter(|row| row.revoked_by.is_none()).collect();
    let view = views(reads.store(), rows).await?.pop();
    let view = view.ok_or_else(|| {
        Problem::new(Code::NotFound, "this key has no trust configuration; POST /trust-configs")
    })?;
    Ok(json(&view, Freshness::Brief, &headers))
}

/// What the entries of rows say.
pub(super) async fn views(
    store: &Store,
    rows: Vec<TrustConfigRow>,
) -> Result<Vec<TrustConfigView>, StoreError> {
    let ids: Vec<u64> = rows.iter().map(|row| row.entry_id).collect();
    let leaves = store.entries_of(&ids).await?;
    let view = |(row, leaf): (TrustConfigRow, crate::leaf::Leaf)| {
        let event = Event::parse(leaf.event_type(), leaf.payload());
        let Ok(Event::TrustConfig(event)) = event else {
            return Err(StoreError::Corrupt { id: row.entry_id });
        };
        Ok(TrustConfigView {
            fingerprint: row.fingerprint,
            leader_asserted: event.authorization().is_leader_asserted(),
            config: event.config,
            log_entry_id: row.entry_id,
            timestamp: row.at,
        })
    };
    rows.into_iter().zip(leaves).map(view).collect()
}
