//! What a graph of endorsements tells of its keys, and how new it can be.

use std::collections::HashMap;

use super::Store;
use super::bulk::{Session as _, Sql, packed, unpacked};
use super::commit::number;
use super::edges::Moment;
use super::endorsement_edges::texts;
use super::error::StoreError;
use super::identity::KEYS;
use super::pool::on_pool;
use super::trust::ALERTS;
use super::views::read_rows;
use crate::keys::Fingerprint;
use crate::view::KeyState;

/// What a graph tells of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRow {
    /// The key.
    pub fingerprint: Fingerprint,
    /// The name that its holder chose.
    pub pseudonym: String,
    /// Its state.
    pub state: KeyState,
}

/// The events that change what a graph says.
const EVENTS: &str = r#"["log_genesis", "key_registration", "key_succession", "key_revocation",
    "endorsement_offer", "endorsement_acceptance", "endorsement_withdrawal",
    "endorsement_acceptance_revocation", "endorsement_revocation_alert",
    "operator_endorsement", "operator_endorsement_revocation"]"#;

/// The columns of a node: the state is what `KeyRow::state_at` says.
macro_rules! node_columns {
    () => {
        "SELECT k.fingerprint, k.pseudonym, CASE
             WHEN k.ended_by <= $2 AND k.succeeded_by IS NULL THEN 'revoked'
             WHEN k.ended_by <= $2 THEN 'succeeded'
             WHEN k.expires_at <= $3 THEN 'expired'
             ELSE 'active'
         END AS state"
    };
}

impl Store {
    /// The newest entry, of the first `size`, that can change what is told of keys and their
    /// endorsements: while it is the same, only time changes that.
    pub async fn newest_graph_entry(&self, size: u64) -> Result<u64, StoreError> {
        const SQL: Sql = Sql {
            sqlite: "SELECT MAX((SELECT MAX(e.id) FROM log_entries AS e
                                 WHERE e.event_type = asked.value AND e.id <= $2))
                     FROM json_each($1) AS asked",
            postgres: "SELECT MAX((SELECT MAX(e.id) FROM log_entries AS e
                                   WHERE e.event_type = asked.value AND e.id <= $2))
                       FROM json_array_elements_text($1::json) AS asked(value)",
        };
        let newest: Option<i64> = on_pool!(&self.0.readers, db => {
            sqlx::query_scalar(db.text(SQL)).bind(EVENTS).bind(number(size)).fetch_one(db)
        })?;
        Ok(newest.unwrap_or(0).cast_unsigned())
    }

    /// What is told of those of these keys that are registered, in no order.
    pub async fn graph_nodes(
        &self,
        keys: &[Fingerprint],
        moment: Moment,
    ) -> Result<Vec<NodeRow>, StoreError> {
        const SQL: Sql = packed!(
            "fingerprint, pseudonym, state",
            [
                node_columns!(),
                " FROM json_each($1) AS asked
                  CROSS JOIN view_keys AS k ON k.fingerprint = asked.value
                  WHERE k.first_entry_id <= $2"
            ],
            [
                node_columns!(),
                " FROM json_array_elements_text($1::json) AS asked(value)
                  JOIN view_keys AS k ON k.fingerprint = asked.value
                  WHERE k.first_entry_id <= $2"
            ]
        );
        let rows: String = on_pool!(&self.0.readers, db => {
            sqlx::query_scalar(db.text(SQL))
                .bind(texts(keys))
                .bind(number(moment.size))
                .bind(moment.at.millis())
                .fetch_one(db)
        })?;
        let node = |(fingerprint, pseudonym, state): (&str, String, &str)| {
            Some(NodeRow {
                fingerprint: fingerprint.parse().ok()?,
                pseudonym,
                state: KeyState::from_name(state)?,
            })
        };
        read_rows(unpacked(&rows, KEYS)?, node, KEYS)
    }

    /// How many keys warn of each of these keys; those of which none does are left out.
    pub async fn alert_counts(
        &self,
        keys: &[Fingerprint],
        moment: Moment,
    ) -> Result<HashMap<Fingerprint, u64>, StoreError> {
        const SQL: Sql = Sql {
            sqlite: "SELECT compromised, COUNT(*)
                     FROM json_each($1) AS asked CROSS JOIN view_alerts ON compromised = asked.value
                     WHERE withdrawn_by IS NULL AND entry_id <= $2 GROUP BY compromised",
            postgres: "SELECT compromised, COUNT(*) FROM view_alerts
                       WHERE withdrawn_by IS NULL AND entry_id <= $2
                         AND compromised IN (SELECT json_array_elements_text($1::json))
                       GROUP BY compromised",
        };
        let rows: Vec<(String, i64)> = on_pool!(&self.0.readers, db => {
            sqlx::query_as(db.text(SQL))
                .bind(texts(keys))
                .bind(number(moment.size))
                .fetch_all(db)
        })?;
        let count = |(key, count): (String, i64)| Some((key.parse().ok()?, count.cast_unsigned()));
        Ok(read_rows(rows, count, ALERTS)?.into_iter().collect())
    }
}
