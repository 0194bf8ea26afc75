//! Endorsements, alerts, trust policies and claims as the views hold them.

use std::collections::BTreeSet;

use super::Store;
use super::bulk::{Session as _, Sql, json, rows};
use super::commit::number;
use super::error::StoreError;
use super::pool::on_pool;
use super::read::text;
use super::trust_lists::Window;
use super::views::{asked, read_rows};
use crate::clock::Timestamp;
use crate::keys::Fingerprint;
use crate::merkle::Hash;
use crate::statement::Category;
use crate::trust::Level;
use crate::view::{
    Acceptance, AlertRow, ClaimRow, EndorsementEnd, EndorsementEnding, EndorsementRow, Needs,
    TrustConfigRow,
};

pub(super) const ENDORSEMENTS: &str = "view_endorsements";
pub(super) const ALERTS: &str = "view_alerts";
pub(super) const TRUST_CONFIGS: &str = "view_trust_configs";
pub(super) const CLAIMS: &str = "view_claims";

/// The columns of a [`StoredEndorsement`].
macro_rules! endorsement_column_names {
    () => {
        "offer_id, endorser, endorsed, category, institution, offered_at, valid_until, asserted,
         accept_id, accepted_at, active_from, level, ended_how, ended_by, ended_at"
    };
}

pub(super) use endorsement_column_names;

/// The endorsements of keys that are asked for as `$1`, as far as the condition holds.
macro_rules! of_keys {
    ($column:literal, $condition:literal) => {
        rows!(
            [
                "SELECT ",
                endorsement_column_names!(),
                " FROM view_endorsements WHERE ",
                $condition,
                " AND ",
                $column,
                " IN (SELECT value->>0 FROM"
            ],
            ")"
        )
    };
}

impl Store {
    /// The endorsement of an offer.
    pub async fn endorsement(&self, offer_id: u64) -> Result<Option<EndorsementRow>, StoreError> {
        let needs = Needs { offers: BTreeSet::from([offer_id]), ..Needs::default() };
        Ok(self.needed_endorsements(&needs).await?.pop())
    }

    /// The claim of an entry.
    pub async fn claim(&self, entry_id: u64) -> Result<Option<ClaimRow>, StoreError> {
        const SQL: &str = "SELECT commitment, entry_id, claimant, at, revealed_by FROM view_claims
                           WHERE entry_id = $1";
        // Ids beyond what a database counts name nothing.
        let Ok(entry_id) = i64::try_from(entry_id) else { return Ok(None) };
        let rows: Vec<StoredClaim> = on_pool!(&self.0.readers, db => {
            sqlx::query_as(SQL).bind(entry_id).fetch_all(db)
        })?;
        Ok(read_rows(rows, claim_row, CLAIMS)?.pop())
    }

    /// The claims of a key, or of all, oldest first, and how many there are.
    pub async fn claims(
        &self,
        claimant: Option<&Fingerprint>,
        window: Window,
    ) -> Result<(Vec<ClaimRow>, u64), StoreError> {
        const ALL: [&str; 2] = [
            "SELECT commitment, entry_id, claimant, at, revealed_by FROM view_claims
             WHERE claimant <> $1 ORDER BY entry_id LIMIT $2 OFFSET $3",
            "SELECT COUNT(*) FROM view_claims WHERE claimant <> $1",
        ];
        const OF: [&str; 2] = [
            "SELECT commitment, entry_id, claimant, at, revealed_by FROM view_claims
             WHERE claimant = $1 ORDER BY entry_id LIMIT $2 OFFSET $3",
            "SELECT COUNT(*) FROM view_claims WHERE claimant = $1",
        ];
        // No claimant has an empty name.
        let name = claimant.map(ToString::to_string).unwrap_or_default();
        let [page, count] = if claimant.is_some() { OF } else { ALL };
        let rows: Vec<StoredClaim> = on_pool!(&self.0.readers, db => sqlx::query_as(page)
            .bind(&name)
            .bind(number(window.limit))
            .bind(number(window.offset))
            .fetch_all(db))?;
        let count: i64 = on_pool!(&self.0.readers, db => {
            sqlx::query_scalar(count).bind(&name).fetch_one(db)
        })?;
        Ok((read_rows(rows, claim_row, CLAIMS)?, count.cast_unsigned()))
    }

    /// The endorsements that a batch needs.
    pub(super) async fn needed_endorsements(
        &self,
        needs: &Needs,
    ) -> Result<Vec<EndorsementRow>, StoreError> {
        const BY_ID: Sql = rows!(
            [
                "SELECT ",
                endorsement_column_names!(),
                " FROM view_endorsements WHERE offer_id IN (SELECT CAST(value->>0 AS BIGINT) FROM"
            ],
            ")"
        );
        const GIVEN: Sql = of_keys!("endorser", "ended_by IS NULL");
        const ACCEPTED: Sql = of_keys!("endorsed", "ended_by IS NULL AND accept_id IS NOT NULL");
        let mut found = Vec::new();
        if !needs.offers.is_empty() {
            let ids: Vec<_> = needs.offers.iter().map(|id| [number(*id)]).collect();
            found.extend(self.endorsement_rows(BY_ID, text(json(&ids))).await?);
        }
        if let Some(keys) = asked(&needs.circles) {
            found.extend(self.endorsement_rows(GIVEN, keys.clone()).await?);
            found.extend(self.endorsement_rows(ACCEPTED, keys).await?);
        }
        if !needs.pairs.is_empty() {
            found.extend(self.newest_of_pairs(&needs.pairs).await?);
        }
        Ok(found)
    }

    async fn newest_of_pairs(
        &self,
        pairs: &BTreeSet<(Fingerprint, Fingerprint)>,
    ) -> Result<Vec<EndorsementRow>, StoreError> {
        // 64 is `view::NEWEST_OF_PAIR`.
        const SQL: Sql = rows!(
            [
                "SELECT ",
                endorsement_column_names!(),
                " FROM (SELECT *, row_number() OVER (PARTITION BY endorser, endorsed,
                                                                  ended_by IS NULL
                                                     ORDER BY offer_id DESC) AS place
                        FROM view_endorsements
                        WHERE (endorser, endorsed) IN (SELECT value->>0, value->>1 FROM"
            ],
            ")) AS of_pairs WHERE place <= 64 OR ended_by IS NULL"
        );
        let pairs: Vec<_> =
            pairs.iter().map(|(from, to)| (from.to_string(), to.to_string())).collect();
        self.endorsement_rows(SQL, text(json(&pairs))).await
    }

    pub(super) async fn endorsement_rows(
        &self,
        sql: Sql,
        asked: String,
    ) -> Result<Vec<EndorsementRow>, StoreError> {
        let rows: Vec<StoredEndorsement> = on_pool!(&self.0.readers, db => {
            sqlx::query_as(db.text(sql)).bind(&asked).fetch_all(db)
        })?;
        read_rows(rows, endorsement_row, ENDORSEMENTS)
    }

    /// The alerts that a batch needs.
    pub(super) async fn needed_alerts(&self, needs: &Needs) -> Result<Vec<AlertRow>, StoreError> {
        const OF_PAIRS: Sql = rows!(
            "SELECT endorser, compromised, entry_id, at, withdrawn_by FROM view_alerts
             WHERE (endorser, compromised) IN (SELECT value->>0, value->>1 FROM",
            ")"
        );
        const BY: Sql = rows!(
            "SELECT endorser, compromised, entry_id, at, withdrawn_by FROM view_alerts
             WHERE withdrawn_by IS NULL AND endorser IN (SELECT value->>0 FROM",
            ")"
        );
        const OF: Sql = rows!(
            "SELECT endorser, compromised, entry_id, at, withdrawn_by FROM view_alerts
             WHERE withdrawn_by IS NULL AND compromised IN (SELECT value->>0 FROM",
            ")"
        );
        let mut found = Vec::new();
        if !needs.alerts.is_empty() {
            let pairs: Vec<_> =
                needs.alerts.iter().map(|(by, of)| (by.to_string(), of.to_string())).collect();
            found.extend(self.alert_rows(OF_PAIRS, text(json(&pairs))).await?);
        }
        if let Some(keys) = asked(&needs.alerts_of) {
            found.extend(self.alert_rows(BY, keys.clone()).await?);
            found.extend(self.alert_rows(OF, keys).await?);
        }
        Ok(found)
    }

    pub(super) async fn alert_rows(
        &self,
        sql: Sql,
        asked: String,
    ) -> Result<Vec<AlertRow>, StoreError> {
        let rows: Vec<StoredAlert> = on_pool!(&self.0.readers, db => {
            sqlx::query_as(db.text(sql)).bind(&asked).fetch_all(db)
        })?;
        read_rows(rows, alert_row, ALERTS)
    }

    /// The trust policies of these keys, those that ended included.
    pub async fn trust_configs_of<'a>(
        &self,
        keys: impl IntoIterator<Item = &'a Fingerprint>,
    ) -> Result<Vec<TrustConfigRow>, StoreError> {
        const SQL: Sql = rows!(
            "SELECT fingerprint, entry_id, at, revoked_by FROM view_trust_configs
             WHERE fingerprint IN (SELECT value->>0 FROM",
            ")"
        );
        let Some(asked) = asked(keys) else { return Ok(Vec::new()) };
        let rows: Vec<StoredTrustConfig> = on_pool!(&self.0.readers, db => {
            sqlx::query_as(db.text(SQL)).bind(&asked).fetch_all(db)
        })?;
        read_rows(rows, trust_config_row, TRUST_CONFIGS)
    }

    /// The claims of these commitments.
    pub async fn claims_of(
        &self,
        commitments: &BTreeSet<Hash>,
    ) -> Result<Vec<ClaimRow>, StoreError> {
        const SQL: Sql = rows!(
            "SELECT commitment, entry_id, claimant, at, revealed_by FROM view_claims
             WHERE commitment IN (SELECT value->>0 FROM",
            ")"
        );
        if commitments.is_empty() {
            return Ok(Vec::new());
        }
        let asked = text(json(&commitments.iter().map(|of| [of.to_string()]).collect::<Vec<_>>()));
        let rows: Vec<StoredClaim> = on_pool!(&self.0.readers, db => {
            sqlx::query_as(db.text(SQL)).bind(&asked).fetch_all(db)
        })?;
        read_rows(rows, claim_row, CLAIMS)
    }
}

pub(super) const PUT_ENDORSEMENTS: Sql = rows!(
    "INSERT INTO view_endorsements (offer_id, endorser, endorsed, category, institution,
                                    offered_at, valid_until, asserted, accept_id, accepted_at,
                                    active_from, level, ended_how, ended_by, ended_at)
     SELECT CAST(value->>0 AS BIGINT), value->>1, value->>2, value->>3, value->>4,
            CAST(value->>5 AS BIGINT), CAST(value->>6 AS BIGINT), CAST(value->>7 AS BIGINT),
            CAST(value->>8 AS BIGINT), CAST(value->>9 AS BIGINT), CAST(value->>10 AS BIGINT),
            CAST(value->>11 AS BIGINT), value->>12, CAST(value->>13 AS BIGINT),
            CAST(value->>14 AS BIGINT) FROM",
    "WHERE true ON CONFLICT (offer_id) DO UPDATE SET
        endorser = excluded.endorser, endorsed = excluded.endorsed, asserted = excluded.asserted,
        accept_id = excluded.accept_id, accepted_at = excluded.accepted_at,
        active_from = excluded.active_from, level = excluded.level,
        ended_how = excluded.ended_how, ended_by = excluded.ended_by, ended_at = excluded.ended_at"
);

pub(super) const PUT_ALERTS: Sql = rows!(
    "INSERT INTO view_alerts (endorser, compromised, entry_id, at, withdrawn_by)
     SELECT value->>0, value->>1, CAST(value->>2 AS BIGINT), CAST(value->>3 AS BIGINT),
            CAST(value->>4 AS BIGINT) FROM",
    "WHERE true ON CONFLICT (endorser, compromised) DO UPDATE SET
        entry_id = excluded.entry_id, at = excluded.at, withdrawn_by = excluded.withdrawn_by"
);

pub(super) const PUT_TRUST_CONFIGS: Sql = rows!(
    "INSERT INTO view_trust_configs (fingerprint, entry_id, at, revoked_by)
     SELECT value->>0, CAST(value->>1 AS BIGINT), CAST(value->>2 AS BIGINT),
            CAST(value->>3 AS BIGINT) FROM",
    "WHERE true ON CONFLICT (fingerprint) DO UPDATE SET
        entry_id = excluded.entry_id, at = excluded.at, revoked_by = excluded.revoked_by"
);

pub(super) const PUT_CLAIMS: Sql = rows!(
    "INSERT INTO view_claims (commitment, entry_id, claimant, at, revealed_by)
     SELECT value->>0, CAST(value->>1 AS BIGINT), value->>2, CAST(value->>3 AS BIGINT),
            CAST(value->>4 AS BIGINT) FROM",
    "WHERE true ON CONFLICT (commitment) DO UPDATE SET revealed_by = excluded.revealed_by"
);

/// A row of `view_endorsements` as it is stored.
#[derive(sqlx::FromRow)]
pub(super) struct StoredEndorsement {
    offer_id: i64,
    endorser: String,
    endorsed: String,
    category: String,
    institution: Option<String>,
    offered_at: i64,
    valid_until: Option<i64>,
    asserted: i64,
    accept_id: Option<i64>,
    accepted_at: Option<i64>,
    active_from: Option<i64>,
    level: Option<i64>,
    ended_how: Option<String>,
    ended_by: Option<i64>,
    ended_at: Option<i64>,
}

pub(super) type StoredAlert = (String, String, i64, i64, Option<i64>);
pub(super) type StoredTrustConfig = (String, i64, i64, Option<i64>);
pub(super) type StoredClaim = (String, i64, String, i64, Option<i64>);

pub(super) fn endorsement_columns(row: &EndorsementRow) -> impl serde::Serialize {
    serde_json::json!([
        number(row.offer_id),
        row.endorser.to_string(),
        row.endorsed.to_string(),
        row.category.as_str(),
        row.institution,
        row.offered_at.millis(),
        row.valid_until.map(Timestamp::millis),
        i64::from(row.leader_asserted),
        row.accepted.map(|of| number(of.entry_id)),
        row.accepted.map(|of| of.at.millis()),
        row.accepted.map(|of| of.active_from.millis()),
        row.accepted.and_then(|of| of.level).map(Level::get),
        row.ended.map(|end| end.how.as_str()),
        row.ended.map(|end| number(end.entry_id)),
        row.ended.map(|end| end.at.millis()),
    ])
}

pub(super) fn endorsement_row(row: StoredEndorsement) -> Option<EndorsementRow> {
    let accepted = match (row.accept_id, row.accepted_at, row.active_from) {
        (None, None, None) => None,
        (Some(entry_id), Some(at), Some(active_from)) => Some(Acceptance {
            entry_id: entry_id.cast_unsigned(),
            at: Timestamp::from_millis(at)?,
            active_from: Timestamp::from_millis(active_from)?,
            level: match row.level {
                None => None,
                Some(level) => Some(u8::try_from(level).ok()?.try_into().ok()?),
            },
        }),
        _ => return None,
    };
    let ended = match (row.ended_how, row.ended_by, row.ended_at) {
        (None, None, None) => None,
        (Some(how), Some(entry_id), Some(at)) => Some(EndorsementEnd {
            how: EndorsementEnding::from_name(&how)?,
            entry_id: entry_id.cast_unsigned(),
            at: Timestamp::from_millis(at)?,
        }),
        _ => return None,
    };
    let valid_until = match row.valid_until {
        None => None,
        Some(millis) => Some(Timestamp::from_millis(millis)?),
    };
    Some(EndorsementRow {
        offer_id: row.offer_id.cast_unsigned(),
        endorser: row.endorser.parse().ok()?,
        endorsed: row.endorsed.parse().ok()?,
        category: Category::of_trust(&row.category)?,
        institution: row.institution,
        offered_at: Timestamp::from_millis(row.offered_at)?,
        valid_until,
        leader_asserted: row.asserted != 0,
        accepted,
        ended,
    })
}

pub(super) fn alert_columns(row: &AlertRow) -> impl serde::Serialize {
    (
        row.endorser.to_string(),
        row.compromised.to_string(),
        number(row.entry_id),
        row.at.millis(),
        row.withdrawn_by.map(number),
    )
}

pub(super) fn alert_row(
    (endorser, compromised, entry_id, at, withdrawn): StoredAlert,
) -> Option<AlertRow> {
    Some(AlertRow {
        endorser: endorser.parse().ok()?,
        compromised: compromised.parse().ok()?,
        entry_id: entry_id.cast_unsigned(),
        at: Timestamp::from_millis(at)?,
        withdrawn_by: withdrawn.map(i64::cast_unsigned),
    })
}

pub(super) fn trust_config_columns(row: &TrustConfigRow) -> impl serde::Serialize {
    (row.fingerprint.to_string(), number(row.entry_id), row.at.millis(), row.revoked_by.map(number))
}

pub(super) fn trust_config_row(
    (fingerprint, id, at, revoked): StoredTrustConfig,
) -> Option<TrustConfigRow> {
    Some(TrustConfigRow {
        fingerprint: fingerprint.parse().ok()?,
        entry_id: id.cast_unsigned(),
        at: Timestamp::from_millis(at)?,
        revoked_by: revoked.map(i64::cast_unsigned),
    })
}

pub(super) fn claim_columns(row: &ClaimRow) -> impl serde::Serialize {
    (
        row.commitment.to_string(),
        number(row.entry_id),
        row.claimant.to_string(),
        row.at.millis(),
        row.revealed_by.map(number),
    )
}

pub(super) fn claim_row(
    (commitment, entry_id, claimant, at, revealed): StoredClaim,
) -> Option<ClaimRow> {
    Some(ClaimRow {
        commitment: commitment.parse().ok()?,
        entry_id: entry_id.cast_unsigned(),
        claimant: claimant.parse().ok()?,
        at: Timestamp::from_millis(at)?,
        revealed_by: revealed.map(i64::cast_unsigned),
    })
}
