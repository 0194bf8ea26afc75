//! The endorsements that count, as trust is computed from them.

use std::collections::{BTreeMap, BTreeSet};

use super::Store;
use super::bulk::{Session as _, Sql, rows};
use super::commit::number;
use super::error::StoreError;
use super::pool::on_pool;
use super::standing::Standing;
use super::trust::{ALERTS, ENDORSEMENTS};
use super::views::{asked, read_rows};
use crate::clock::Timestamp;
use crate::event::text::folded;
use crate::keys::Fingerprint;
use crate::statement::Category;
use crate::trust::{Alert, Edge, Millionths, Round, Side};

/// The part of the log and the instant that endorsements are judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The newest entry that counts.
    pub size: u64,
    /// The instant, not before that entry.
    pub at: Timestamp,
}

/// The active endorsements of keys that are in force and what they seem: an unproven successor
/// holds nothing.
macro_rules! active {
    ($column:literal) => {
        rows!(
            [
                "SELECT offer_id, endorser, endorsed, category, institution
                 FROM view_endorsements AS active
                 WHERE ended_by IS NULL AND accept_id IS NOT NULL AND accept_id <= $3
                   AND active_from <= $2 AND (valid_until IS NULL OR valid_until > $2)
                   AND NOT EXISTS (SELECT 1 FROM view_keys
                                   WHERE fingerprint IN (active.endorser, active.endorsed)
                                     AND (expires_at <= $2 OR succeeds IS NOT NULL
                                          AND proven = 0 AND used_v1 = 0))
                   AND ",
                $column,
                " IN (SELECT value->>0 FROM"
            ],
            ") ORDER BY offer_id LIMIT $4"
        )
    };
}

type StoredStatement = (i64, String, String, Option<String>);
type StoredEdge = (i64, String, String, String, Option<String>);

impl Store {
    /// The active endorsements that these keys gave or received, oldest first; one more than there
    /// is room for, if there are so many.
    pub async fn active_edges(
        &self,
        round: &Round,
        moment: Moment,
    ) -> Result<Vec<Edge>, StoreError> {
        const GIVEN: Sql = active!("endorser");
        const RECEIVED: Sql = active!("endorsed");
        let Some(keys) = asked(&round.keys) else { return Ok(Vec::new()) };
        let sql = match round.side {
            Side::Given => GIVEN,
            Side::Received => RECEIVED,
        };
        let limit = round.room as u64 + 1;
        let rows: Vec<StoredEdge> = on_pool!(&self.0.readers, db => {
            sqlx::query_as(db.text(sql))
                .bind(&keys)
                .bind(moment.at.millis())
                .bind(number(moment.size))
                .bind(number(limit))
                .fetch_all(db)
        })?;
        let mut edges = read_rows(rows, edge, ENDORSEMENTS)?;
        let endorsers: BTreeSet<_> = edges.iter().map(|edge| edge.endorser).collect();
        let standings: BTreeMap<_, Standing> = self.standings(&endorsers, moment.at).await?;
        for edge in &mut edges {
            edge.weight = standings.get(&edge.endorser).map_or(Millionths::ONE, Standing::weight);
        }
        edges.extend(self.operator_edges(round, moment, limit).await?);
        edges.sort_unstable();
        Ok(edges)
    }

    /// The endorsements by the operator of keys that did not end, which weigh 1. A successor has to
    /// be endorsed again: the operator stands for a person, not for whom that person names.
    async fn operator_edges(
        &self,
        round: &Round,
        moment: Moment,
        limit: u64,
    ) -> Result<Vec<Edge>, StoreError> {
        const GIVEN: &str = "SELECT entry_id, fingerprint, category, name FROM view_endorsed
            WHERE revoked_by IS NULL AND entry_id <= $2 AND $1 <> ''
              AND NOT EXISTS (SELECT 1 FROM view_keys AS named
                              WHERE named.fingerprint = view_endorsed.fingerprint
                                AND named.ended_by IS NOT NULL)
              AND category IN ('x-diogenes:human_attestation',
                               'x-diogenes:institutional_endorsement')
            ORDER BY entry_id LIMIT $3";
        const RECEIVED: Sql = rows!(
            "SELECT entry_id, fingerprint, category, name FROM view_endorsed
             WHERE revoked_by IS NULL AND entry_id <= $2
               AND NOT EXISTS (SELECT 1 FROM view_keys AS named
                               WHERE named.fingerprint = view_endorsed.fingerprint
                                 AND named.ended_by IS NOT NULL)
               AND category IN ('x-diogenes:human_attestation',
                                'x-diogenes:institutional_endorsement')
               AND fingerprint IN (SELECT value->>0 FROM",
            ") ORDER BY entry_id LIMIT $3"
        );
        let Some(operator) = self.keys_of_entries(&[1]).await?.pop() else {
            return Ok(Vec::new());
        };
        let operator = operator.fingerprint;
        if round.side == Side::Given && !round.keys.contains(&operator) {
            return Ok(Vec::new());
        }
        let keys = asked(&round.keys).unwrap_or_default();
        let rows: Vec<StoredStatement> = on_pool!(&self.0.readers, db => {
            let sql = match round.side {
                Side::Given => GIVEN,
                Side::Received => db.text(RECEIVED),
            };
            sqlx::query_as(sql)
                .bind(&keys)
                .bind(number(moment.size))
                .bind(number(limit))
                .fetch_all(db)
        })?;
        let edge = |(id, endorsed, category, name): StoredStatement| {
            Some(Edge {
                offer_entry_id: id.cast_unsigned(),
                endorser: operator,
                endorsed: endorsed.parse().ok()?,
                category: Category::of_trust(&category)?,
                institution: name.as_deref().map(folded),
                weight: Millionths::ONE,
            })
        };
        read_rows(rows, edge, "view_endorsed")
    }

    /// The alerts of these keys that stand.
    pub async fn standing_alerts(
        &self,
        of: &BTreeSet<Fingerprint>,
        size: u64,
    ) -> Result<Vec<Alert>, StoreError> {
        const SQL: Sql = rows!(
            "SELECT endorser, compromised, entry_id FROM view_alerts
             WHERE withdrawn_by IS NULL AND entry_id <= $2
               AND compromised IN (SELECT value->>0 FROM",
            ") ORDER BY entry_id"
        );
        let Some(keys) = asked(of) else { return Ok(Vec::new()) };
        let rows: Vec<(String, String, i64)> = on_pool!(&self.0.readers, db => {
            sqlx::query_as(db.text(SQL)).bind(&keys).bind(number(size)).fetch_all(db)
        })?;
        let alert = |(alerter, compromised, id): (String, String, i64)| {
            Some(Alert {
                compromised: compromised.parse().ok()?,
                entry_id: id.cast_unsigned(),
                alerter: alerter.parse().ok()?,
            })
        };
        read_rows(rows, alert, ALERTS)
    }
}

/// An endorsement whose weight is still to be found.
fn edge((id, endorser, endorsed, category, institution): StoredEdge) -> Option<Edge> {
    Some(Edge {
        offer_entry_id: id.cast_unsigned(),
        endorser: endorser.parse().ok()?,
        endorsed: endorsed.parse().ok()?,
        category: Category::of_trust(&category)?,
        institution,
        weight: Millionths::ONE,
    })
}
