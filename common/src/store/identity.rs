//! Keys and attestations as the views hold them.

use std::collections::BTreeSet;

use super::Store;
use super::bulk::{Session as _, Sql, json, rows};
use super::commit::number;
use super::error::StoreError;
use super::pool::on_pool;
use super::read::text;
use super::views::{asked, beginning_with, read_rows};
use crate::clock::Timestamp;
use crate::keys::{Fingerprint, ShortFingerprint};
use crate::manifest::{Binds, Canonicalization, ShortId};
use crate::view::{AttestationRow, AttestedTypeRow, Ended, Ending, KeyRow, Row as _};

pub(super) const KEYS: &str = "view_keys";
const ATTESTATIONS: &str = "view_attestations";
const ATTESTED_TYPES: &str = "view_attested_types";

/// The columns of a [`StoredKey`].
macro_rules! key_column_names {
    () => {
        "fingerprint, public_key, algorithm, pseudonym, pseudonym_folded, registered_at,
         expires_at, entry_id, proven, first_entry_id, used_v1, succeeds, ended_by, ended_at,
         ended_asserted, succeeded_by"
    };
}
pub(super) use key_column_names;

impl Store {
    /// A registered key.
    pub async fn key(&self, fingerprint: &Fingerprint) -> Result<Option<KeyRow>, StoreError> {
        Ok(self.keys([fingerprint]).await?.pop())
    }

    /// The registered keys of these fingerprints.
    pub async fn keys<'a>(
        &self,
        fingerprints: impl IntoIterator<Item = &'a Fingerprint>,
    ) -> Result<Vec<KeyRow>, StoreError> {
        const SQL: Sql = Sql {
            sqlite: concat!(
                "SELECT ",
                key_column_names!(),
                " FROM view_keys
                 WHERE fingerprint IN (SELECT value->>0 FROM json_each($1))"
            ),
            postgres: concat!(
                "SELECT ",
                key_column_names!(),
                " FROM view_keys
                 WHERE fingerprint IN (SELECT value->>0 FROM json_array_elements($1::json))"
            ),
        };
        let Some(asked) = asked(fingerprints) else { return Ok(Vec::new()) };
        let rows: Vec<StoredKey> = on_pool!(&self.0.readers, db => {
            sqlx::query_as(db.text(SQL)).bind(&asked).fetch_all(db)
        })?;
        read_rows(rows, key_row, KEYS)
    }

    /// The registered keys that begin with these digits: more than one is possible.
    pub async fn keys_of_short(&self, short: ShortFingerprint) -> Result<Vec<KeyRow>, StoreError> {
        const SQL: &str = concat!(
            "SELECT ",
            key_column_names!(),
            " FROM view_keys
             WHERE fingerprint >= $1 AND fingerprint < $2 ORDER BY fingerprint LIMIT 100"
        );
        let (low, high) = beginning_with(short);
        let rows: Vec<StoredKey> = on_pool!(&self.0.readers, db => {
            sqlx::query_as(SQL).bind(&low).bind(&high).fetch_all(db)
        })?;
        read_rows(rows, key_row, KEYS)
    }

    /// The attestations of these ids.
    pub async fn attestations(
        &self,
        ids: &BTreeSet<ShortId>,
    ) -> Result<Vec<AttestationRow>, StoreError> {
        const SQL: Sql = rows!(
            "SELECT attestation_id, manifest_hash, content_hash, signer, type, binds,
                    canonicalization, entry_id, at, asserted
             FROM view_attestations WHERE id IN (SELECT value->>0 FROM",
            ")"
        );
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let asked = text(json(&ids.iter().map(|id| [id.to_string()]).collect::<Vec<_>>()));
        let rows: Vec<StoredAttestation> = on_pool!(&self.0.readers, db => {
            sqlx::query_as(db.text(SQL)).bind(&asked).fetch_all(db)
        })?;
        read_rows(rows, attestation_row, ATTESTATIONS)
    }

    /// The types that stand for these manifests, signers and forms.
    pub(super) async fn attested_types(
        &self,
        keys: &BTreeSet<<AttestedTypeRow as crate::view::Row>::Key>,
    ) -> Result<Vec<AttestedTypeRow>, StoreError> {
        const SQL: Sql = rows!(
            "SELECT manifest_hash, signer, binds, type FROM view_attested_types
             WHERE (manifest_hash, signer, binds)
                IN (SELECT value->>0, value->>1, value->>2 FROM",
            ")"
        );
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let asked: Vec<_> = keys
            .iter()
            .map(|(manifest, signer, binds)| {
                (manifest.to_string(), signer.to_string(), binds.as_str())
            })
            .collect();
        let asked = text(json(&asked));
        let rows: Vec<(String, String, String, String)> = on_pool!(&self.0.readers, db => {
            sqlx::query_as(db.text(SQL)).bind(&asked).fetch_all(db)
        })?;
        read_rows(rows, attested_type_row, ATTESTED_TYPES)
    }

    /// How many keys are registered.
    pub async fn count_keys(&self) -> Result<u64, StoreError> {
        const SQL: &str = "SELECT count FROM view_totals WHERE name = 'keys'";
        let count: Option<i64> =
            on_pool!(&self.0.readers, db => sqlx::query_scalar(SQL).fetch_optional(db))?;
        Ok(count.unwrap_or(0).cast_unsigned())
    }
}

pub(super) const PUT_KEYS: Sql = rows!(
    "INSERT INTO view_keys (fingerprint, public_key, algorithm, pseudonym, pseudonym_folded,
                            registered_at, expires_at, entry_id, proven, first_entry_id, used_v1,
                            succeeds, ended_by, ended_at, ended_asserted, succeeded_by)
     SELECT value->>0, value->>1, value->>2, value->>3, value->>4, CAST(value->>5 AS BIGINT),
            CAST(value->>6 AS BIGINT), CAST(value->>7 AS BIGINT), CAST(value->>8 AS BIGINT),
            CAST(value->>9 AS BIGINT), CAST(value->>10 AS BIGINT), value->>11,
            CAST(value->>12 AS BIGINT), CAST(value->>13 AS BIGINT), CAST(value->>14 AS BIGINT),
            value->>15 FROM",
    "WHERE true ON CONFLICT (fingerprint) DO UPDATE SET
        public_key = excluded.public_key, algorithm = excluded.algorithm,
        pseudonym = excluded.pseudonym, pseudonym_folded = excluded.pseudonym_folded,
        registered_at = excluded.registered_at, expires_at = excluded.expires_at,
        entry_id = excluded.entry_id, proven = excluded.proven,
        first_entry_id = excluded.first_entry_id, used_v1 = excluded.used_v1,
        succeeds = excluded.succeeds, ended_by = excluded.ended_by,
        ended_at = excluded.ended_at, ended_asserted = excluded.ended_asserted,
        succeeded_by = excluded.succeeded_by"
);

pub(super) const PUT_ATTESTATIONS: Sql = rows!(
    "INSERT INTO view_attestations (id, attestation_id, manifest_hash, content_hash, signer, type,
                                    binds, canonicalization, entry_id, at, asserted)
     SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6,
            value->>7, CAST(value->>8 AS BIGINT), CAST(value->>9 AS BIGINT),
            CAST(value->>10 AS BIGINT) FROM",
    "WHERE true ON CONFLICT (id) DO NOTHING"
);

pub(super) const PUT_ATTESTED_TYPES: Sql = rows!(
    "INSERT INTO view_attested_types (manifest_hash, signer, binds, type)
     SELECT value->>0, value->>1, value->>2, value->>3 FROM",
    "WHERE true ON CONFLICT (manifest_hash, signer, binds) DO UPDATE SET type = excluded.type"
);

/// A row of `view_keys` as it is stored.
#[derive(sqlx::FromRow)]
pub(super) struct StoredKey {
    fingerprint: String,
    public_key: String,
    algorithm: String,
    pseudonym: String,
    pseudonym_folded: String,
    registered_at: i64,
    expires_at: Option<i64>,
    entry_id: i64,
    proven: i64,
    first_entry_id: i64,
    used_v1: i64,
    succeeds: Option<String>,
    ended_by: Option<i64>,
    ended_at: Option<i64>,
    ended_asserted: Option<i64>,
    succeeded_by: Option<String>,
}

type StoredAttestation = (String, String, String, String, String, String, String, i64, i64, i64);

/// The columns of a key in the order of [`PUT_KEYS`].
pub(super) fn key_columns(row: &KeyRow) -> serde_json::Value {
    let succeeded_by = row.ended.and_then(|ended| match ended.how {
        Ending::Succeeded { by } => Some(by.to_string()),
        Ending::Revoked => None,
    });
    serde_json::json!([
        row.fingerprint.to_string(),
        row.public_key,
        row.algorithm,
        row.pseudonym,
        row.pseudonym_folded,
        row.registered_at.millis(),
        row.expires_at.map(Timestamp::millis),
        number(row.entry_id),
        i64::from(row.proven),
        number(row.first_entry_id),
        i64::from(row.used_v1),
        row.succeeds.map(|key| key.to_string()),
        row.ended.map(|ended| number(ended.entry_id)),
        row.ended.map(|ended| ended.at.millis()),
        row.ended.map(|ended| i64::from(ended.leader_asserted)),
        succeeded_by,
    ])
}

pub(super) fn key_row(row: StoredKey) -> Option<KeyRow> {
    let ended = match (row.ended_by, row.ended_at, row.ended_asserted) {
        (None, None, None) => None,
        (Some(entry_id), Some(at), Some(asserted)) => Some(Ended {
            how: match row.succeeded_by {
                None => Ending::Revoked,
                Some(by) => Ending::Succeeded { by: by.parse().ok()? },
            },
            entry_id: entry_id.cast_unsigned(),
            at: Timestamp::from_millis(at)?,
            leader_asserted: asserted != 0,
        }),
        _ => return None,
    };
    Some(KeyRow {
        fingerprint: row.fingerprint.parse().ok()?,
        public_key: row.public_key,
        algorithm: row.algorithm,
        pseudonym: row.pseudonym,
        pseudonym_folded: row.pseudonym_folded,
        registered_at: Timestamp::from_millis(row.registered_at)?,
        expires_at: row
            .expires_at
            .map(|at| Timestamp::from_millis(at).ok_or(()))
            .transpose()
            .ok()?,
        entry_id: row.entry_id.cast_unsigned(),
        proven: row.proven != 0,
        first_entry_id: row.first_entry_id.cast_unsigned(),
        used_v1: row.used_v1 != 0,
        succeeds: row.succeeds.map(|key| key.parse()).transpose().ok()?,
        ended,
    })
}

pub(super) fn attestation_columns(row: &AttestationRow) -> impl serde::Serialize {
    (
        row.key().to_string(),
        row.attestation_id.to_string(),
        row.manifest_hash.to_string(),
        row.content_hash.to_string(),
        row.signer.to_string(),
        &row.attestation_type,
        row.binds.as_str(),
        row.canonicalization.as_str(),
        number(row.entry_id),
        row.at.millis(),
        i64::from(row.leader_asserted),
    )
}

fn attestation_row(row: StoredAttestation) -> Option<AttestationRow> {
    let (id, manifest, content, signer, kind, binds, spelling, entry_id, at, asserted) = row;
    Some(AttestationRow {
        attestation_id: id.parse().ok()?,
        manifest_hash: manifest.parse().ok()?,
        content_hash: content.parse().ok()?,
        signer: signer.parse().ok()?,
        attestation_type: kind,
        binds: Binds::from_name(&binds)?,
        canonicalization: Canonicalization::from_name(&spelling)?,
        entry_id: entry_id.cast_unsigned(),
        at: Timestamp::from_millis(at)?,
        leader_asserted: asserted != 0,
    })
}

pub(super) fn attested_type_columns(row: &AttestedTypeRow) -> impl serde::Serialize {
    (
        row.manifest_hash.to_string(),
        row.signer.to_string(),
        row.binds.as_str(),
        &row.attestation_type,
    )
}

fn attested_type_row(row: (String, String, String, String)) -> Option<AttestedTypeRow> {
    let (manifest, signer, binds, attestation_type) = row;
    Some(AttestedTypeRow {
        manifest_hash: manifest.parse().ok()?,
        signer: signer.parse().ok()?,
        binds: Binds::from_name(&binds)?,
        attestation_type,
    })
}
