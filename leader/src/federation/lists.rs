//! The authorised nodes as the operator sees them: what the log says about each, and how it stands.

use diogenes_common::clock::Timestamp;
use diogenes_common::read::Snapshot;
use diogenes_common::statement::Category;
use diogenes_common::store::StoreError;
use diogenes_common::view::EndorsedRow;
use diogenes_common::wire::status::{
    FollowerInput, FollowerRow, LeaderStatus, ReplicationStatus, WitnessInput, WitnessRow,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::App;

/// `GET /operator/followers`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct FollowerList {
    /// In the order of their authorisation.
    pub(crate) followers: Vec<FollowerItem>,
}

/// An authorised follower.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct FollowerItem {
    /// The name that the operator gave.
    pub(crate) name: Option<String>,
    /// When it was authorised.
    pub(crate) authorized_at: Timestamp,
    /// The entry that says so.
    pub(crate) endorsement_id: u64,
    /// How it stands.
    #[serde(flatten)]
    pub(crate) row: FollowerRow,
}

/// `GET /operator/witnesses`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct WitnessList {
    /// In the order of their authorisation.
    pub(crate) witnesses: Vec<WitnessItem>,
}

/// An authorised witness.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct WitnessItem {
    /// The name that the operator gave.
    pub(crate) name: Option<String>,
    /// When it was authorised.
    pub(crate) authorized_at: Timestamp,
    /// The entry that says so.
    pub(crate) endorsement_id: u64,
    /// How it stands.
    #[serde(flatten)]
    pub(crate) row: WitnessRow,
}

/// The authorised followers.
pub(super) async fn followers(
    app: &App,
    snapshot: &Snapshot,
) -> Result<Vec<FollowerItem>, StoreError> {
    let now = app.clock.now();
    let shown = shown(app).map(|status| status.followers).unwrap_or_default();
    let item = |endorsed: EndorsedRow| {
        let known = shown.iter().find(|row| row.fingerprint == endorsed.fingerprint).cloned();
        // One that was authorised within the last second is not on the board yet.
        let row = known.unwrap_or_else(|| {
            let input = FollowerInput {
                fingerprint: endorsed.fingerprint,
                display_name: endorsed.name.clone(),
                server: None,
                report: None,
            };
            FollowerRow::new(input, snapshot.head.head(), now)
        });
        FollowerItem {
            name: endorsed.name,
            authorized_at: endorsed.since,
            endorsement_id: endorsed.entry_id,
            row,
        }
    };
    Ok(authorized(app, Category::FederationOperator).await?.into_iter().map(item).collect())
}

/// The authorised witnesses.
pub(super) async fn witnesses(
    app: &App,
    snapshot: &Snapshot,
) -> Result<Vec<WitnessItem>, StoreError> {
    let now = app.clock.now();
    let shown = shown(app).map(|status| status.witnesses).unwrap_or_default();
    let item = |endorsed: EndorsedRow| {
        let known = shown.iter().find(|row| row.fingerprint == endorsed.fingerprint).cloned();
        let row = known.unwrap_or_else(|| {
            let input = WitnessInput {
                fingerprint: endorsed.fingerprint,
                display_name: endorsed.name.clone(),
                server: None,
                last_proof: None,
                cosigned: None,
                proofs_24h: None,
            };
            WitnessRow::new(input, snapshot.last_event_id, now)
        });
        WitnessItem {
            name: endorsed.name,
            authorized_at: endorsed.since,
            endorsement_id: endorsed.entry_id,
            row,
        }
    };
    Ok(authorized(app, Category::Witness).await?.into_iter().map(item).collect())
}

/// The keys whose authorisation in this category stands, oldest first.
pub(super) async fn authorized(
    app: &App,
    category: Category,
) -> Result<Vec<EndorsedRow>, StoreError> {
    let mut rows = app.store.endorsed(category.as_str()).await?;
    rows.retain(|row| row.revoked_by.is_none());
    Ok(rows)
}

fn shown(app: &App) -> Option<LeaderStatus> {
    match app.reads.board().shown()?.status() {
        ReplicationStatus::Leader(status) => Some(LeaderStatus::clone(status)),
        ReplicationStatus::Follower(_) => None,
    }
}
