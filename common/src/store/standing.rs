//! What endorsers may give and do give: enough to say what each of their endorsements weighs.

use std::collections::BTreeMap;

use super::Store;
use super::bulk::{Session as _, Sql, rows};
use super::error::StoreError;
use super::pool::on_pool;
use super::trust::ENDORSEMENTS;
use super::views::{asked, read_rows};
use crate::clock::Timestamp;
use crate::keys::Fingerprint;
use crate::trust::{self, Millionths};

/// What counts of the endorsements of a key at an instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// How many keys of standing endorse it, active, that it does not itself endorse; the operator
    /// is one of them.
    pub endorsers: u32,
    /// Whether the operator endorses it as an institution.
    pub is_institution: bool,
    /// How many endorsements it gives: offered, accepted and active ones.
    pub used: u32,
    /// How many of them are active.
    pub active_given: u32,
}

impl Standing {
    /// How many endorsements it may give.
    pub fn capacity(&self) -> u32 {
        trust::capacity(self.endorsers, self.is_institution)
    }

    /// What each of its endorsements weighs.
    pub fn weight(&self) -> Millionths {
        trust::weight(self.capacity(), self.active_given)
    }
}

impl Store {
    /// The standing of these keys at an instant that is not before the newest entry. Keys that give
    /// and receive nothing may be missing.
    pub async fn standings<'a>(
        &self,
        keys: impl IntoIterator<Item = &'a Fingerprint>,
        at: Timestamp,
    ) -> Result<BTreeMap<Fingerprint, Standing>, StoreError> {
        let mut standings = BTreeMap::new();
        let Some(names) = asked(keys) else { return Ok(standings) };
        for (key, used, active) in self.given_counts(&names, at).await? {
            let standing: &mut Standing = standings.entry(key).or_default();
            (standing.used, standing.active_given) = (used, active);
        }
        for (key, endorsers) in self.endorser_counts(&names, at).await? {
            standings.entry(key).or_default().endorsers = endorsers;
        }
        for (key, is_institution) in self.of_the_operators(&names).await? {
            let standing = standings.entry(key).or_default();
            standing.endorsers += 1;
            standing.is_institution = is_institution;
        }
        let known: Vec<Fingerprint> = standings.keys().copied().collect();
        for key in self.keys(&known).await? {
            if !key.holds_what_it_was_given()
                && let Some(standing) = standings.get_mut(&key.fingerprint)
            {
                (standing.endorsers, standing.is_institution) = (0, false);
            }
        }
        Ok(standings)
    }

    async fn given_counts(
        &self,
        names: &str,
        at: Timestamp,
    ) -> Result<Vec<(Fingerprint, u32, u32)>, StoreError> {
        const SQL: Sql = rows!(
            "SELECT endorser, COUNT(*),
                    COUNT(CASE WHEN accept_id IS NOT NULL AND active_from <= $2 THEN 1 END)
             FROM view_endorsements
             WHERE ended_by IS NULL AND (valid_until IS NULL OR valid_until > $2)
               AND endorser IN (SELECT value->>0 FROM",
            ") GROUP BY endorser"
        );
        let rows: Vec<(String, i64, i64)> = on_pool!(&self.0.readers, db => {
            sqlx::query_as(db.text(SQL)).bind(names).bind(at.millis()).fetch_all(db)
        })?;
        read_rows(
            rows,
            |(key, used, active)| Some((key.parse().ok()?, count(used), count(active))),
            ENDORSEMENTS,
        )
    }

    /// The keys for whose holders the operator stands, and whether as institutions.
    async fn of_the_operators(&self, names: &str) -> Result<Vec<(Fingerprint, bool)>, StoreError> {
        const SQL: Sql = rows!(
            "SELECT fingerprint,
                    MAX(CASE WHEN category = 'x-diogenes:institutional_endorsement' THEN 1 ELSE 0 END)
             FROM view_endorsed
             WHERE revoked_by IS NULL AND category IN ('x-diogenes:human_attestation',
                                                       'x-diogenes:institutional_endorsement')
               AND fingerprint IN (SELECT value->>0 FROM",
            ") GROUP BY fingerprint"
        );
        let rows: Vec<(String, i32)> = on_pool!(&self.0.readers, db => {
            sqlx::query_as(db.text(SQL)).bind(names).fetch_all(db)
        })?;
        read_rows(rows, |(key, is_one)| Some((key.parse().ok()?, is_one != 0)), "view_endorsed")
    }

    async fn endorser_counts(
        &self,
        names: &str,
        at: Timestamp,
    ) -> Result<Vec<(Fingerprint, u32)>, StoreError> {
        const SQL: Sql = rows!(
            "SELECT got.endorsed, COUNT(DISTINCT got.endorser)
             FROM view_endorsements AS got
             WHERE got.ended_by IS NULL AND got.accept_id IS NOT NULL AND got.level IS NOT NULL
               AND got.active_from <= $2 AND (got.valid_until IS NULL OR got.valid_until > $2)
               AND NOT EXISTS (SELECT 1 FROM view_endorsements AS gave
                               WHERE gave.ended_by IS NULL AND gave.endorser = got.endorsed
                                 AND gave.endorsed = got.endorser
                                 AND (gave.valid_until IS NULL OR gave.valid_until > $2))
               AND got.endorsed IN (SELECT value->>0 FROM",
            ") GROUP BY got.endorsed"
        );
        let rows: Vec<(String, i64)> = on_pool!(&self.0.readers, db => {
            sqlx::query_as(db.text(SQL)).bind(names).bind(at.millis()).fetch_all(db)
        })?;
        read_rows(
            rows,
            |(key, endorsers)| Some((key.parse().ok()?, count(endorsers))),
            ENDORSEMENTS,
        )
    }
}

fn count(rows: i64) -> u32 {
    u32::try_from(rows).unwrap_or(u32::MAX)
}
