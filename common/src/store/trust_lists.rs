//! Endorsements, alerts and trust policies in pages, in the order of the log.

use super::Store;
use super::commit::number;
use super::error::StoreError;
use super::pool::on_pool;
use super::trust::{
    ALERTS, ENDORSEMENTS, StoredAlert, StoredEndorsement, StoredTrustConfig, TRUST_CONFIGS,
    alert_row, endorsement_column_names, endorsement_row, trust_config_row,
};
use super::views::read_rows;
use crate::clock::Timestamp;
use crate::keys::Fingerprint;
use crate::view::{AlertRow, EndorsementRow, EndorsementState, TrustConfigRow};

/// On which side of an endorsement a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndorsementSide {
    /// It is endorsed.
    Received,
    /// It endorses.
    Issued,
}

/// Rows of a list: at most `limit` after the first `offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// How many rows come before.
    pub offset: u64,
    /// How many there may be.
    pub limit: u64,
}

/// The states of a key's endorsements. What was offered to a key that is no more is void: nobody
/// can accept it.
macro_rules! states {
    () => {
        "SELECT state, COUNT(*) FROM (
            SELECT CASE
                WHEN given.ended_at <= $3 THEN given.ended_how
                WHEN given.valid_until <= $3 THEN 'expired'
                WHEN given.accept_id IS NOT NULL AND given.active_from <= $3 THEN 'active'
                WHEN given.accept_id IS NOT NULL THEN 'accepted'
                WHEN offered.ended_by IS NOT NULL THEN 'void'
                ELSE 'offered' END AS state
            FROM view_endorsements AS given
            LEFT JOIN view_keys AS offered ON offered.fingerprint = given.endorsed"
    };
}

impl Store {
    /// What a key received or gave, oldest first, of the first `upto` entries.
    pub async fn endorsements_of(
        &self,
        key: &Fingerprint,
        side: EndorsementSide,
        upto: u64,
        window: Window,
    ) -> Result<Vec<EndorsementRow>, StoreError> {
        let sql = match side {
            EndorsementSide::Received => concat!(
                "SELECT ",
                endorsement_column_names!(),
                " FROM view_endorsements WHERE endorsed = $1 AND offer_id <= $2
                  ORDER BY offer_id LIMIT $3 OFFSET $4"
            ),
            EndorsementSide::Issued => concat!(
                "SELECT ",
                endorsement_column_names!(),
                " FROM view_endorsements WHERE endorser = $1 AND offer_id <= $2
                  ORDER BY offer_id LIMIT $3 OFFSET $4"
            ),
        };
        let rows: Vec<StoredEndorsement> = on_pool!(&self.0.readers, db => sqlx::query_as(sql)
            .bind(key.to_string())
            .bind(number(upto))
            .bind(number(window.limit))
            .bind(number(window.offset))
            .fetch_all(db))?;
        read_rows(rows, endorsement_row, ENDORSEMENTS)
    }

    /// How many endorsements a key received or gave, of the first `upto` entries.
    pub async fn count_endorsements_of(
        &self,
        key: &Fingerprint,
        side: EndorsementSide,
        upto: u64,
    ) -> Result<u64, StoreError> {
        let sql = match side {
            EndorsementSide::Received => {
                "SELECT COUNT(*) FROM view_endorsements WHERE endorsed = $1 AND offer_id <= $2"
            }
            EndorsementSide::Issued => {
                "SELECT COUNT(*) FROM view_endorsements WHERE endorser = $1 AND offer_id <= $2"
            }
        };
        let count: i64 = on_pool!(&self.0.readers, db => sqlx::query_scalar(sql)
            .bind(key.to_string())
            .bind(number(upto))
            .fetch_one(db))?;
        Ok(count.cast_unsigned())
    }

    /// How many endorsements that a key received or gave are in each state.
    pub async fn endorsement_states(
        &self,
        key: &Fingerprint,
        side: EndorsementSide,
        upto: u64,
        at: Timestamp,
    ) -> Result<Vec<(EndorsementState, u64)>, StoreError> {
        let sql = match side {
            EndorsementSide::Received => concat!(
                states!(),
                " WHERE given.endorsed = $1 AND given.offer_id <= $2) AS states GROUP BY state"
            ),
            EndorsementSide::Issued => concat!(
                states!(),
                " WHERE given.endorser = $1 AND given.offer_id <= $2) AS states GROUP BY state"
            ),
        };
        let rows: Vec<(String, i64)> = on_pool!(&self.0.readers, db => sqlx::query_as(sql)
            .bind(key.to_string())
            .bind(number(upto))
            .bind(at.millis())
            .fetch_all(db))?;
        let state = |(name, count): (String, i64)| {
            let mut all = EndorsementState::ALL.into_iter();
            Some((all.find(|state| state.as_str() == name)?, count.cast_unsigned()))
        };
        read_rows(rows, state, ENDORSEMENTS)
    }

    /// The alerts of a key that stand, oldest first, and how many there are.
    pub async fn alerts_of(
        &self,
        compromised: &Fingerprint,
        window: Window,
    ) -> Result<(Vec<AlertRow>, u64), StoreError> {
        const SQL: &str = "SELECT endorser, compromised, entry_id, at, withdrawn_by
            FROM view_alerts WHERE compromised = $1 AND withdrawn_by IS NULL
            ORDER BY entry_id LIMIT $2 OFFSET $3";
        const COUNT: &str = "SELECT COUNT(*) FROM view_alerts
            WHERE compromised = $1 AND withdrawn_by IS NULL";
        let name = compromised.to_string();
        let rows: Vec<StoredAlert> = on_pool!(&self.0.readers, db => sqlx::query_as(SQL)
            .bind(&name)
            .bind(number(window.limit))
            .bind(number(window.offset))
            .fetch_all(db))?;
        let count: i64 = on_pool!(&self.0.readers, db => {
            sqlx::query_scalar(COUNT).bind(&name).fetch_one(db)
        })?;
        Ok((read_rows(rows, alert_row, ALERTS)?, count.cast_unsigned()))
    }

    /// The trust policies that stand, oldest first, and how many there are.
    pub async fn trust_configs(
        &self,
        window: Window,
    ) -> Result<(Vec<TrustConfigRow>, u64), StoreError> {
        const SQL: &str = "SELECT fingerprint, entry_id, at, revoked_by FROM view_trust_configs
            WHERE revoked_by IS NULL ORDER BY entry_id LIMIT $1 OFFSET $2";
        const COUNT: &str = "SELECT COUNT(*) FROM view_trust_configs WHERE revoked_by IS NULL";
        let rows: Vec<StoredTrustConfig> = on_pool!(&self.0.readers, db => sqlx::query_as(SQL)
            .bind(number(window.limit))
            .bind(number(window.offset))
            .fetch_all(db))?;
        let count: i64 = on_pool!(&self.0.readers, db => sqlx::query_scalar(COUNT).fetch_one(db))?;
        Ok((read_rows(rows, trust_config_row, TRUST_CONFIGS)?, count.cast_unsigned()))
    }
}
