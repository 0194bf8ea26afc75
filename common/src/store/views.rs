//! The views: loaded into a batch's overlay, written in its transaction, rebuilt from the log.

use super::Store;
use super::bulk::{self, Session, Sql, Value, json, rows, values};
use super::commit::{self, number};
use super::error::{CommitError, StoreError};
use super::pool::{in_transaction, on_pool};
use super::read::text;
use super::{identity, trust};
use crate::clock::Timestamp;
use crate::keys::{Fingerprint, ShortFingerprint};
use crate::merkle::{Hash, TreeSize};
use crate::view::{Changes, EndorsedRow, LoadedRows, Needs, Overlay, ProfileRow, WitnessRow};

pub(super) const ENDORSED: &str = "view_endorsed";
const PROFILES: &str = "view_profiles";
const WITNESSES: &str = "view_witnesses";

impl Store {
    /// Loads the rows that a batch needs: one SELECT for each table.
    pub async fn load_overlay(
        &self,
        needs: &Needs,
        overlay: &mut Overlay,
    ) -> Result<(), StoreError> {
        let rows = LoadedRows {
            keys: self.keys(&needs.keys).await?,
            endorsed: self.endorsements(&needs.endorsed).await?,
            profiles: self.profiles(&needs.profiles).await?,
            witnesses: self.witnesses(&needs.witnesses).await?,
            attestations: self.attestations(&needs.attestations).await?,
            attested_types: self.attested_types(&needs.attested_types).await?,
            endorsements: self.needed_endorsements(needs).await?,
            alerts: self.needed_alerts(needs).await?,
            trust_configs: self.trust_configs_of(&needs.trust_configs).await?,
            claims: self.claims_of(&needs.claims).await?,
        };
        overlay.load(needs, rows);
        Ok(())
    }

    /// Everything that the operator ever said about these keys, whatever the category.
    pub async fn endorsements<'a>(
        &self,
        fingerprints: impl IntoIterator<Item = &'a Fingerprint>,
    ) -> Result<Vec<EndorsedRow>, StoreError> {
        const SQL: Sql = rows!(
            "SELECT fingerprint, category, public_key, name, entry_id, since, revoked_by, after_size
             FROM view_endorsed WHERE fingerprint IN (SELECT value->>0 FROM",
            ") ORDER BY entry_id"
        );
        let Some(asked) = asked(fingerprints) else { return Ok(Vec::new()) };
        let rows: Vec<StoredEndorsed> = on_pool!(&self.0.readers, db => {
            sqlx::query_as(db.text(SQL)).bind(&asked).fetch_all(db)
        })?;
        read_rows(rows, endorsed_row, ENDORSED)
    }

    /// The keys endorsed in a category, those included whose endorsement ended, oldest first.
    pub async fn endorsed(&self, category: &str) -> Result<Vec<EndorsedRow>, StoreError> {
        const SQL: &str = "SELECT fingerprint, category, public_key, name, entry_id, since,
                revoked_by, after_size
            FROM view_endorsed WHERE category = $1 ORDER BY entry_id LIMIT 10000";
        let rows: Vec<StoredEndorsed> = on_pool!(&self.0.readers, db => {
            sqlx::query_as(SQL).bind(category).fetch_all(db)
        })?;
        read_rows(rows, endorsed_row, ENDORSED)
    }

    /// The endorsements of all keys that begin with these digits: more than one key is possible.
    pub async fn endorsements_of_short(
        &self,
        short: ShortFingerprint,
    ) -> Result<Vec<EndorsedRow>, StoreError> {
        const SQL: &str = "SELECT fingerprint, category, public_key, name, entry_id, since,
                revoked_by, after_size
            FROM view_endorsed WHERE fingerprint >= $1 AND fingerprint < $2
            ORDER BY entry_id LIMIT 1000";
        let (low, high) = beginning_with(short);
        let rows: Vec<StoredEndorsed> = on_pool!(&self.0.readers, db => {
            sqlx::query_as(SQL).bind(&low).bind(&high).fetch_all(db)
        })?;
        read_rows(rows, endorsed_row, ENDORSED)
    }

    /// The profiles of these keys.
    pub async fn profiles<'a>(
        &self,
        fingerprints: impl IntoIterator<Item = &'a Fingerprint>,
    ) -> Result<Vec<ProfileRow>, StoreError> {
        const SQL: Sql = rows!(
            "SELECT fingerprint, kind, display_name, server, timestamp, entry_id
             FROM view_profiles WHERE fingerprint IN (SELECT value->>0 FROM",
            ")"
        );
        let Some(asked) = asked(fingerprints) else { return Ok(Vec::new()) };
        let rows: Vec<StoredProfile> = on_pool!(&self.0.readers, db => {
            sqlx::query_as(db.text(SQL)).bind(&asked).fetch_all(db)
        })?;
        read_rows(rows, profile_row, PROFILES)
    }

    /// The newest recorded proofs of these witnesses.
    pub async fn witnesses<'a>(
        &self,
        fingerprints: impl IntoIterator<Item = &'a Fingerprint>,
    ) -> Result<Vec<WitnessRow>, StoreError> {
        const SQL: Sql = rows!(
            "SELECT fingerprint, proof_id, tree_size, root_hash, signed_at, recorded_at, cosigner
             FROM view_witnesses WHERE fingerprint IN (SELECT value->>0 FROM",
            ")"
        );
        let Some(asked) = asked(fingerprints) else { return Ok(Vec::new()) };
        let rows: Vec<StoredWitness> = on_pool!(&self.0.readers, db => {
            sqlx::query_as(db.text(SQL)).bind(&asked).fetch_all(db)
        })?;
        read_rows(rows, witness_row, WITNESSES)
    }

    /// The newest recorded proof of every witness.
    pub async fn all_witnesses(&self) -> Result<Vec<WitnessRow>, StoreError> {
        const SQL: &str = "SELECT fingerprint, proof_id, tree_size, root_hash, signed_at,
                recorded_at, cosigner
            FROM view_witnesses ORDER BY proof_id LIMIT 10000";
        let rows: Vec<StoredWitness> =
            on_pool!(&self.0.readers, db => sqlx::query_as(SQL).fetch_all(db))?;
        read_rows(rows, witness_row, WITNESSES)
    }

    /// The ids of entries up to a size that refer to something, newest first: with the kind
    /// `witness` and a fingerprint, a witness's proofs.
    pub async fn refs(
        &self,
        kind: &str,
        value: &str,
        upto: u64,
        offset: u64,
        limit: u64,
    ) -> Result<Vec<u64>, StoreError> {
        const SQL: &str = "SELECT id FROM view_refs WHERE kind = $1 AND value = $2 AND id <= $3
            ORDER BY id DESC LIMIT $4 OFFSET $5";
        let ids: Vec<i64> = on_pool!(&self.0.readers, db => sqlx::query_scalar(SQL)
            .bind(kind)
            .bind(value)
            .bind(number(upto))
            .bind(number(limit))
            .bind(number(offset))
            .fetch_all(db))?;
        Ok(ids.into_iter().map(i64::cast_unsigned).collect())
    }

    /// How many entries up to a size, and after another one, refer to something.
    pub async fn count_refs(
        &self,
        kind: &str,
        value: &str,
        after: u64,
        upto: u64,
    ) -> Result<u64, StoreError> {
        const SQL: &str = "SELECT COUNT(*) FROM view_refs
            WHERE kind = $1 AND value = $2 AND id > $3 AND id <= $4";
        let count: i64 = on_pool!(&self.0.readers, db => sqlx::query_scalar(SQL)
            .bind(kind)
            .bind(value)
            .bind(number(after))
            .bind(number(upto))
            .fetch_one(db))?;
        Ok(count.cast_unsigned())
    }

    /// Which of these entries have no effect, and why not.
    pub async fn without_effect(&self, ids: &[u64]) -> Result<Vec<(u64, String)>, StoreError> {
        const SQL: Sql = rows!(
            "SELECT id, reason FROM view_no_effect
             WHERE id IN (SELECT CAST(value->>0 AS BIGINT) FROM",
            ") ORDER BY id"
        );
        let ids = text(json(&ids.iter().map(|id| [number(*id)]).collect::<Vec<_>>()));
        let rows: Vec<(i64, String)> = on_pool!(&self.0.readers, db => {
            sqlx::query_as(db.text(SQL)).bind(&ids).fetch_all(db)
        })?;
        Ok(rows.into_iter().map(|(id, reason)| (id.cast_unsigned(), reason)).collect())
    }

    /// The version that the stored views were made by; `None` while they are being rebuilt.
    pub async fn view_version(&self) -> Result<Option<i64>, StoreError> {
        const SQL: &str = "SELECT version FROM view_meta WHERE name = 'views'";
        on_pool!(&self.0.readers, db => sqlx::query_scalar(SQL).fetch_optional(db))
    }

    /// Drops every view. Until [`Store::views_rebuilt`] they have no version, so that a rebuild
    /// that was cut short begins again.
    pub async fn wipe_views(&self) -> Result<(), StoreError> {
        const TABLES: [&str; 16] = [
            "DELETE FROM view_meta",
            "DELETE FROM view_event_counts",
            "DELETE FROM view_entry_hashes",
            "DELETE FROM view_refs",
            "DELETE FROM view_no_effect",
            "DELETE FROM view_keys",
            "DELETE FROM view_endorsed",
            "DELETE FROM view_profiles",
            "DELETE FROM view_witnesses",
            "DELETE FROM view_attestations",
            "DELETE FROM view_attested_types",
            "DELETE FROM view_totals",
            "DELETE FROM view_endorsements",
            "DELETE FROM view_alerts",
            "DELETE FROM view_trust_configs",
            "DELETE FROM view_claims",
        ];
        let done = in_transaction!(&self.0.writers, REBUILD_PATIENCE, db => async {
            for table in TABLES {
                db.run(Sql::same(table), values![]).await?;
            }
            Ok::<_, CommitError>(())
        });
        Ok(done?)
    }

    /// Writes what the entries `after + 1 ..= upto` change in the views, outside of a commit: one
    /// step of a rebuild.
    pub async fn rebuild_views(
        &self,
        changes: &Changes,
        after: TreeSize,
        upto: TreeSize,
    ) -> Result<(), StoreError> {
        const LAST: Sql = Sql::same("UPDATE log_state SET last_event_id = $1 WHERE id = 1");
        let writes = ViewWrites::of(changes);
        let last = number(changes.last_event_id);
        let done = in_transaction!(&self.0.writers, REBUILD_PATIENCE, db => async {
            commit::insert_runs(db, after, upto).await?;
            writes.write(db).await?;
            db.run(LAST, values![last]).await?;
            Ok::<_, CommitError>(())
        });
        Ok(done?)
    }

    /// Says that the views hold the whole log again.
    pub async fn views_rebuilt(&self, version: i64) -> Result<(), StoreError> {
        const SQL: Sql = Sql::same(
            "INSERT INTO view_meta (name, version) VALUES ('views', $1)
             ON CONFLICT (name) DO UPDATE SET version = excluded.version",
        );
        self.write(SQL, values![version]).await.map(|_| ())
    }
}

/// How long one step of a rebuild may take.
const REBUILD_PATIENCE: std::time::Duration = std::time::Duration::from_secs(600);

/// The rows that a batch changed, ready to be written: one statement for each touched table.
#[derive(Debug)]
pub(super) struct ViewWrites(Vec<(Sql, Value)>);

impl ViewWrites {
    pub(super) fn of(changes: &Changes) -> Self {
        let mut writes = Self(Vec::new());
        writes.add(identity::PUT_KEYS, changes.keys.iter().map(identity::key_columns));
        writes.add(PUT_ENDORSED, changes.endorsed.iter().map(endorsed_columns));
        writes.add(PUT_PROFILES, changes.profiles.iter().map(profile_columns));
        writes.add(PUT_WITNESSES, changes.witnesses.iter().map(witness_columns));
        let attestations = changes.attestations.iter().map(identity::attestation_columns);
        writes.add(identity::PUT_ATTESTATIONS, attestations);
        let types = changes.attested_types.iter().map(identity::attested_type_columns);
        writes.add(identity::PUT_ATTESTED_TYPES, types);
        let endorsements = changes.endorsements.iter().map(trust::endorsement_columns);
        writes.add(trust::PUT_ENDORSEMENTS, endorsements);
        writes.add(trust::PUT_ALERTS, changes.alerts.iter().map(trust::alert_columns));
        let configs = changes.trust_configs.iter().map(trust::trust_config_columns);
        writes.add(trust::PUT_TRUST_CONFIGS, configs);
        writes.add(trust::PUT_CLAIMS, changes.claims.iter().map(trust::claim_columns));
        let keys = (changes.new_keys > 0).then_some(("keys", number(changes.new_keys)));
        writes.add(ADD_TOTALS, keys.into_iter());
        writes.add(ADD_COUNTS, changes.counts.iter());
        let references = changes.references.iter();
        writes.add(ADD_REFS, references.map(|row| (row.kind, &row.value, number(row.id))));
        writes.add(ADD_NO_EFFECT, changes.without_effect.iter());
        writes
    }

    fn add<R: serde::Serialize>(&mut self, sql: Sql, rows: impl Iterator<Item = R>) {
        let rows: Vec<R> = rows.collect();
        if !rows.is_empty() {
            self.0.push((sql, json(&rows)));
        }
    }

    /// Answers how many statements it took.
    pub(super) async fn write<S: Session>(&self, db: &mut S) -> Result<u64, CommitError> {
        for (sql, rows) in &self.0 {
            db.run(*sql, vec![rows.clone()]).await?;
        }
        Ok(self.0.len() as u64)
    }
}

const PUT_ENDORSED: Sql = bulk::rows!(
    "INSERT INTO view_endorsed (fingerprint, category, public_key, name, entry_id, since,
                                revoked_by, after_size)
     SELECT value->>0, value->>1, value->>2, value->>3, CAST(value->>4 AS BIGINT),
            CAST(value->>5 AS BIGINT), CAST(value->>6 AS BIGINT), CAST(value->>7 AS BIGINT) FROM",
    "WHERE true ON CONFLICT (fingerprint, category) DO UPDATE SET
        public_key = excluded.public_key, name = excluded.name, entry_id = excluded.entry_id,
        since = excluded.since, revoked_by = excluded.revoked_by,
        after_size = excluded.after_size"
);

const PUT_PROFILES: Sql = bulk::rows!(
    "INSERT INTO view_profiles (fingerprint, kind, display_name, server, timestamp, entry_id)
     SELECT value->>0, value->>1, value->>2, value->>3, CAST(value->>4 AS BIGINT),
            CAST(value->>5 AS BIGINT) FROM",
    "WHERE true ON CONFLICT (fingerprint) DO UPDATE SET
        kind = excluded.kind, display_name = excluded.display_name, server = excluded.server,
        timestamp = excluded.timestamp, entry_id = excluded.entry_id"
);

const PUT_WITNESSES: Sql = bulk::rows!(
    "INSERT INTO view_witnesses (fingerprint, proof_id, tree_size, root_hash, signed_at,
                                 recorded_at, cosigner)
     SELECT value->>0, CAST(value->>1 AS BIGINT), CAST(value->>2 AS BIGINT), value->>3,
            CAST(value->>4 AS BIGINT), CAST(value->>5 AS BIGINT), value->>6 FROM",
    "WHERE true ON CONFLICT (fingerprint) DO UPDATE SET
        proof_id = excluded.proof_id, tree_size = excluded.tree_size,
        root_hash = excluded.root_hash, signed_at = excluded.signed_at,
        recorded_at = excluded.recorded_at, cosigner = excluded.cosigner"
);

const ADD_COUNTS: Sql = bulk::rows!(
    "INSERT INTO view_event_counts (event_type, count)
     SELECT value->>0, CAST(value->>1 AS BIGINT) FROM",
    "WHERE true ON CONFLICT (event_type) DO UPDATE SET
        count = view_event_counts.count + excluded.count"
);

const ADD_TOTALS: Sql = bulk::rows!(
    "INSERT INTO view_totals (name, count)
     SELECT value->>0, CAST(value->>1 AS BIGINT) FROM",
    "WHERE true ON CONFLICT (name) DO UPDATE SET count = view_totals.count + excluded.count"
);

const ADD_REFS: Sql = bulk::rows!(
    "INSERT INTO view_refs (kind, value, id)
     SELECT value->>0, value->>1, CAST(value->>2 AS BIGINT) FROM",
    "WHERE true ON CONFLICT DO NOTHING"
);

const ADD_NO_EFFECT: Sql = bulk::rows!(
    "INSERT INTO view_no_effect (id, reason) SELECT CAST(value->>0 AS BIGINT), value->>1 FROM",
    "WHERE true ON CONFLICT DO NOTHING"
);

type StoredEndorsed = (String, String, String, Option<String>, i64, i64, Option<i64>, i64);
type StoredProfile = (String, String, String, Option<String>, i64, i64);
type StoredWitness = (String, i64, i64, String, i64, i64, Option<String>);

fn endorsed_columns(row: &EndorsedRow) -> impl serde::Serialize {
    (
        row.fingerprint.to_string(),
        &row.category,
        &row.public_key,
        &row.name,
        number(row.entry_id),
        row.since.millis(),
        row.revoked_by.map(number),
        row.after.to_sql(),
    )
}

fn endorsed_row(row: StoredEndorsed) -> Option<EndorsedRow> {
    let (fingerprint, category, public_key, name, entry_id, since, revoked_by, after) = row;
    Some(EndorsedRow {
        fingerprint: fingerprint.parse().ok()?,
        category,
        public_key,
        name,
        entry_id: entry_id.cast_unsigned(),
        since: Timestamp::from_millis(since)?,
        revoked_by: revoked_by.map(i64::cast_unsigned),
        after: TreeSize::from_sql(after)?,
    })
}

fn profile_columns(row: &ProfileRow) -> impl serde::Serialize {
    (
        row.fingerprint.to_string(),
        &row.kind,
        &row.display_name,
        &row.server,
        row.timestamp.millis(),
        number(row.entry_id),
    )
}

fn profile_row(row: StoredProfile) -> Option<ProfileRow> {
    let (fingerprint, kind, display_name, server, timestamp, entry_id) = row;
    Some(ProfileRow {
        fingerprint: fingerprint.parse().ok()?,
        kind,
        display_name,
        server,
        timestamp: Timestamp::from_millis(timestamp)?,
        entry_id: entry_id.cast_unsigned(),
    })
}

fn witness_columns(row: &WitnessRow) -> impl serde::Serialize {
    (
        row.fingerprint.to_string(),
        number(row.proof_id),
        row.tree_size.to_sql(),
        row.root_hash.to_string(),
        row.signed_at.millis(),
        row.recorded_at.millis(),
        &row.cosigner,
    )
}

fn witness_row(row: StoredWitness) -> Option<WitnessRow> {
    let (fingerprint, proof_id, size, root, signed_at, recorded_at, cosigner) = row;
    Some(WitnessRow {
        fingerprint: fingerprint.parse().ok()?,
        proof_id: proof_id.cast_unsigned(),
        tree_size: TreeSize::from_sql(size)?,
        root_hash: root.parse::<Hash>().ok()?,
        signed_at: Timestamp::from_millis(signed_at)?,
        recorded_at: Timestamp::from_millis(recorded_at)?,
        cosigner,
    })
}

/// Turns stored rows into ours; one that no version of the program writes is an error.
pub(super) fn read_rows<S, R>(
    rows: Vec<S>,
    read: impl Fn(S) -> Option<R>,
    table: &'static str,
) -> Result<Vec<R>, StoreError> {
    rows.into_iter().map(|row| read(row).ok_or(StoreError::Malformed { table })).collect()
}

/// The fingerprints as a JSON parameter; `None` if there are none.
pub(super) fn asked<'a>(fingerprints: impl IntoIterator<Item = &'a Fingerprint>) -> Option<String> {
    let rows: Vec<_> = fingerprints.into_iter().map(|of| [of.to_string()]).collect();
    if rows.is_empty() { None } else { Some(text(json(&rows))) }
}

/// The bounds of the hash texts that begin with the short fingerprint; `g` follows the last hex
/// digit.
pub(super) fn beginning_with(short: ShortFingerprint) -> (String, String) {
    (format!("sha256:{short}"), format!("sha256:{short}g"))
}
