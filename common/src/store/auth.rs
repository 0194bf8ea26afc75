//! What a leader keeps of those who prove that they hold a key: challenges, passwords, and which
//! keys know the signed form of an answer.

use super::Store;
use super::bulk::{Sql, values};
use super::error::StoreError;
use super::pool::on_pool;
use super::views::read_rows;
use crate::clock::Timestamp;
use crate::event::authorization::{ChallengeText, Purpose};
use crate::keys::Fingerprint;

/// A challenge that was given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChallengeRow {
    /// Its name.
    pub challenge_id: ChallengeText,
    /// What is to be signed.
    pub nonce: ChallengeText,
    /// The key that is to sign, whether the log knows it or not.
    pub fingerprint: Fingerprint,
    /// What the answer will be for.
    pub purpose: Purpose,
    /// Whether it was asked for to succeed an expired key.
    pub recovery: bool,
    /// From when on no answer counts.
    pub expires_at: Timestamp,
    /// When it was answered.
    pub used_at: Option<Timestamp>,
}

/// How long a challenge is known beyond its time, so that who comes late is told why.
const KNOWN_MILLIS: i64 = 600_000;

type StoredChallenge = (String, String, String, String, i64, i64, Option<i64>);

impl Store {
    /// Keeps a new challenge.
    pub async fn put_challenge(&self, challenge: &ChallengeRow) -> Result<(), StoreError> {
        const SQL: Sql = Sql::same(
            "INSERT INTO local_challenges
                (challenge_id, nonce, fingerprint, purpose, recovery, expires_at, used_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        );
        let fingerprint = challenge.fingerprint.to_string();
        let row = values![
            challenge.challenge_id.as_str(),
            challenge.nonce.as_str(),
            &*fingerprint,
            challenge.purpose.as_str(),
            i64::from(challenge.recovery),
            challenge.expires_at.millis(),
            challenge.used_at.map(Timestamp::millis),
        ];
        self.write(SQL, row).await.map(|_| ())
    }

    /// The challenge of that name, also a used or an expired one.
    pub async fn challenge(
        &self,
        challenge_id: &ChallengeText,
    ) -> Result<Option<ChallengeRow>, StoreError> {
        const SQL: &str = "SELECT challenge_id, nonce, fingerprint, purpose, recovery, expires_at,
                used_at
            FROM local_challenges WHERE challenge_id = $1";
        let rows: Vec<StoredChallenge> = on_pool!(&self.0.readers, db => {
            sqlx::query_as(SQL).bind(challenge_id.as_str()).fetch_all(db)
        })?;
        Ok(read_rows(rows, challenge, "local_challenges")?.pop())
    }

    /// Uses a challenge up; false if it is used, expired or unknown.
    ///
    /// The `WHERE` clause is what lets an answer count once: of requests that race with the same
    /// answer, one changes the row. Whatever else was decided may rest on older data.
    pub async fn use_challenge(
        &self,
        challenge_id: &ChallengeText,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        const SQL: Sql = Sql::same(
            "UPDATE local_challenges SET used_at = $2
             WHERE challenge_id = $1 AND used_at IS NULL AND expires_at > $2",
        );
        Ok(self.write(SQL, values![challenge_id.as_str(), now.millis()]).await? == 1)
    }

    /// Deletes the challenges that expired more than ten minutes ago; answers how many.
    pub async fn expire_challenges(&self, now: Timestamp) -> Result<u64, StoreError> {
        const SQL: Sql = Sql::same("DELETE FROM local_challenges WHERE expires_at <= $1");
        self.write(SQL, values![now.millis() - KNOWN_MILLIS]).await
    }

    /// How many challenges are kept.
    pub async fn challenges(&self) -> Result<u64, StoreError> {
        const SQL: &str = "SELECT COUNT(*) FROM local_challenges";
        let count: i64 = on_pool!(&self.0.readers, db => sqlx::query_scalar(SQL).fetch_one(db))?;
        Ok(count.cast_unsigned())
    }

    /// The hash of a key's password, if it has one.
    pub async fn password_hash(
        &self,
        fingerprint: &Fingerprint,
    ) -> Result<Option<String>, StoreError> {
        const SQL: &str = "SELECT hash FROM local_passwords WHERE fingerprint = $1";
        let fingerprint = fingerprint.to_string();
        on_pool!(&self.0.readers, db => {
            sqlx::query_scalar(SQL).bind(&fingerprint).fetch_optional(db)
        })
    }

    /// When a key's password was set, if it has one.
    pub async fn password_set_at(
        &self,
        fingerprint: &Fingerprint,
    ) -> Result<Option<Timestamp>, StoreError> {
        const SQL: &str = "SELECT set_at FROM local_passwords WHERE fingerprint = $1";
        let fingerprint = fingerprint.to_string();
        let set_at: Option<i64> = on_pool!(&self.0.readers, db => {
            sqlx::query_scalar(SQL).bind(&fingerprint).fetch_optional(db)
        })?;
        let read = |millis| {
            Timestamp::from_millis(millis).ok_or(StoreError::Malformed { table: "local_passwords" })
        };
        set_at.map(read).transpose()
    }

    /// Sets a key's first password, or replaces the one whose hash is `current`; false if the key
    /// has another one by now.
    pub async fn set_password(
        &self,
        fingerprint: &Fingerprint,
        hash: &str,
        current: Option<&str>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        const FIRST: Sql = Sql::same(
            "INSERT INTO local_passwords (fingerprint, hash, set_at) VALUES ($1, $2, $3)
             ON CONFLICT (fingerprint) DO NOTHING",
        );
        const NEXT: Sql = Sql::same(
            "UPDATE local_passwords SET hash = $2, set_at = $3
             WHERE fingerprint = $1 AND hash = $4",
        );
        let (key, now) = (fingerprint.to_string(), now.millis());
        let changed = match current {
            None => self.write(FIRST, values![&*key, hash, now]).await?,
            Some(current) => self.write(NEXT, values![&*key, hash, now, current]).await?,
        };
        Ok(changed == 1)
    }

    /// Notes that a key answers in the signed form.
    pub async fn note_v1_key(&self, fingerprint: &Fingerprint) -> Result<(), StoreError> {
        const SQL: Sql = Sql::same(
            "INSERT INTO local_v1_keys (fingerprint) VALUES ($1)
             ON CONFLICT (fingerprint) DO NOTHING",
        );
        self.write(SQL, values![&*fingerprint.to_string()]).await.map(|_| ())
    }

    /// Whether it was noted that a key answers in the signed form.
    pub async fn is_v1_key(&self, fingerprint: &Fingerprint) -> Result<bool, StoreError> {
        const SQL: &str = "SELECT COUNT(*) FROM local_v1_keys WHERE fingerprint = $1";
        let fingerprint = fingerprint.to_string();
        let count: i64 = on_pool!(&self.0.readers, db => {
            sqlx::query_scalar(SQL).bind(&fingerprint).fetch_one(db)
        })?;
        Ok(count > 0)
    }
}

fn challenge(row: StoredChallenge) -> Option<ChallengeRow> {
    let (challenge_id, nonce, fingerprint, purpose, recovery, expires_at, used_at) = row;
    Some(ChallengeRow {
        challenge_id: challenge_id.try_into().ok()?,
        nonce: nonce.try_into().ok()?,
        fingerprint: fingerprint.parse().ok()?,
        purpose: [Purpose::General, Purpose::Login]
            .into_iter()
            .find(|of| of.as_str() == purpose)?,
        recovery: recovery != 0,
        expires_at: Timestamp::from_millis(expires_at)?,
        used_at: match used_at {
            None => None,
            Some(millis) => Some(Timestamp::from_millis(millis)?),
        },
    })
}
