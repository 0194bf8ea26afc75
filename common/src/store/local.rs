//! What this node knows and the log must not: one table each, written beside the log or within a
//! commit.

use super::Store;
use super::bulk::{Session, Sql, Value, json, rows, values};
use super::commit::{HeadRow, insert_pinned, number};
use super::error::{CommitError, StoreError};
use super::pool::{in_transaction, on_pool};
use super::read::text;
use super::views::read_rows;
use crate::clock::Timestamp;
use crate::keys::{AnyFingerprint, Fingerprint};
use crate::merkle::{Hash, TreeSize};

/// A row of this node's own that belongs to a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalWrite {
    /// Remembers the answer to a request with an idempotency key.
    Remember(Remembered),
    /// A pending key was authorised.
    DeletePending(Fingerprint),
    /// A reservation was used.
    DeleteReserved(AnyFingerprint),
    /// Keeps a head until the own tree passes it.
    KeepHead(KeptHead),
    /// Forgets the kept heads of at most this size.
    ForgetHeads(TreeSize),
    /// Keeps a head for good, because something in the batch names it.
    PinHead(HeadRow),
    /// Keeps a cosignature.
    Cosign(Cosignature),
    /// Opens an incident, with its evidence.
    OpenIncident(NewIncident),
    /// Writes a named value.
    PutMeta(String, String),
}

/// The answer to a request that named an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// Who asked.
    pub principal: String,
    /// The key that the client chose.
    pub key: String,
    /// What was asked.
    pub body_hash: Hash,
    /// The first entry that it made.
    pub first_id: u64,
    /// How many entries it made.
    pub count: u64,
    /// When.
    pub created_at: Timestamp,
}

/// For how long an idempotency key is remembered.
const REMEMBERED_MILLIS: i64 = 86_400_000;

/// A key whose proof was valid and that nobody authorised yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingKey {
    /// The key.
    pub fingerprint: Fingerprint,
    /// The key in PEM.
    pub public_key: String,
    /// The network of the client that brought it.
    pub network: String,
    /// When it came.
    pub first_seen: Timestamp,
    /// The request, verbatim.
    pub body: String,
}

/// What became of a key that asked to be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PendingOutcome {
    /// It is on the list now.
    Listed,
    /// It was on the list already.
    Known,
    /// Its network brought another key within the last minute.
    TooSoon,
    /// The list is full: the newest is refused.
    Full,
}

/// The most keys that wait at once.
const MAX_PENDING: i64 = 64;
/// For how long a key waits.
const PENDING_MILLIS: i64 = 86_400_000;
/// How far apart the keys of one network must be.
const PENDING_SPACING_MILLIS: i64 = 60_000;

/// An authorisation that waits for a key which was only named so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReservedKey {
    /// What the operator named it by.
    pub key: AnyFingerprint,
    /// The name to give.
    pub name: Option<String>,
    /// The category to endorse.
    pub category: String,
    /// Until when it waits.
    pub expires_at: Timestamp,
}

/// An incident to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewIncident {
    /// What kind of trouble.
    pub kind: String,
    /// Whom it is about.
    pub subject: String,
    /// `latched` or `transient`.
    pub class: String,
    /// The reason's code.
    pub reason: String,
    /// The reason in words.
    pub detail: String,
    /// When.
    pub opened_at: Timestamp,
    /// The file that shows it.
    pub evidence: Option<NewEvidence>,
}

/// An incident, open until it is acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incident {
    /// Its number.
    pub id: i64,
    /// What kind of trouble.
    pub kind: String,
    /// Whom it is about.
    pub subject: String,
    /// `latched` or `transient`.
    pub class: String,
    /// The reason's code.
    pub reason: String,
    /// The reason in words.
    pub detail: String,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it was acknowledged.
    pub acked_at: Option<Timestamp>,
    /// The file that shows it.
    pub evidence_id: Option<i64>,
}

/// An evidence or observation file to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvidence {
    /// What it shows.
    pub kind: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// The file.
    pub bytes: Vec<u8>,
}

/// An evidence or observation file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Its number.
    pub id: i64,
    /// What it shows.
    pub kind: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// The file.
    pub bytes: Vec<u8>,
}

/// A cosignature that a witness gave to a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosignature {
    /// The checkpoint's size.
    pub tree_size: TreeSize,
    /// The witness's key.
    pub fingerprint: Fingerprint,
    /// The name in the line.
    pub name: String,
    /// The signature line.
    pub line: String,
    /// When the witness signed.
    pub timestamp: Timestamp,
}

/// The newest report of a follower.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportRow {
    /// The follower's key.
    pub follower: Fingerprint,
    /// The report, verbatim.
    pub body: String,
    /// When it arrived.
    pub received_at: Timestamp,
    /// When it was signed.
    pub timestamp: Timestamp,
}

/// A head that a follower accepted above its own size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptHead {
    /// Its size.
    pub tree_size: TreeSize,
    /// Its time.
    pub timestamp: Timestamp,
    /// The signed head, verbatim.
    pub head_json: String,
}

const PUT_META: Sql = rows!(
    "INSERT INTO local_meta (name, value) SELECT value->>0, value->>1 FROM",
    "WHERE true ON CONFLICT (name) DO UPDATE SET value = excluded.value"
);
/// An expired row makes way; one that is still remembered does not, and is missed in the count.
const REMEMBER: Sql = rows!(
    "INSERT INTO local_idempotency (principal, key, body_hash, first_id, count, created_at)
     SELECT value->>0, value->>1, value->>2, CAST(value->>3 AS BIGINT),
            CAST(value->>4 AS BIGINT), CAST(value->>5 AS BIGINT) FROM",
    "WHERE true ON CONFLICT (principal, key) DO UPDATE SET
        body_hash = excluded.body_hash, first_id = excluded.first_id, count = excluded.count,
        created_at = excluded.created_at
     WHERE local_idempotency.created_at <= excluded.created_at - 86400000"
);
const DELETE_PENDING: Sql =
    rows!("DELETE FROM local_pending_keys WHERE fingerprint IN (SELECT value->>0 FROM", ")");
const DELETE_RESERVED: Sql =
    rows!("DELETE FROM local_reserved_keys WHERE key IN (SELECT value->>0 FROM", ")");
const KEEP_HEADS: Sql = rows!(
    "INSERT INTO local_kept_heads (tree_size, timestamp, head_json)
     SELECT CAST(value->>0 AS BIGINT), CAST(value->>1 AS BIGINT), value->>2 FROM",
    "WHERE true ON CONFLICT (tree_size, timestamp) DO NOTHING"
);
const FORGET_HEADS: Sql = Sql::same("DELETE FROM local_kept_heads WHERE tree_size <= $1");
/// A line under another name does not take the place of one that a policy may count.
const COSIGN: Sql = rows!(
    "INSERT INTO local_cosignatures (tree_size, fingerprint, name, line, timestamp)
     SELECT CAST(value->>0 AS BIGINT), value->>1, value->>2, value->>3,
            CAST(value->>4 AS BIGINT) FROM",
    "WHERE true ON CONFLICT (tree_size, fingerprint) DO UPDATE SET
        name = excluded.name, line = excluded.line, timestamp = excluded.timestamp
     WHERE excluded.timestamp > local_cosignatures.timestamp
       AND excluded.name = local_cosignatures.name"
);

/// Reads the columns of an [`Incident`].
macro_rules! incidents {
    ($which:literal) => {
        concat!(
            "SELECT id, kind, subject, class, reason, detail, opened_at, acked_at, evidence_id
             FROM local_incidents ",
            $which
        )
    };
}

impl Store {
    /// A named value of this node.
    pub async fn meta(&self, name: &str) -> Result<Option<String>, StoreError> {
        const SQL: &str = "SELECT value FROM local_meta WHERE name = $1";
        on_pool!(&self.0.readers, db => sqlx::query_scalar(SQL).bind(name).fetch_optional(db))
    }

    /// Writes a named value of this node.
    pub async fn put_meta(&self, name: &str, value: &str) -> Result<(), StoreError> {
        self.write(PUT_META, vec![json(&[(name, value)])]).await.map(|_| ())
    }

    /// What is remembered of these requests (principal and key); what is older than 24 hours is
    /// forgotten.
    pub async fn remembered(
        &self,
        requests: &[(String, String)],
        now: Timestamp,
    ) -> Result<Vec<Remembered>, StoreError> {
        const SQL: Sql = rows!(
            "SELECT known.principal, known.key, known.body_hash, known.first_id, known.count,
                    known.created_at FROM",
            "AS asked CROSS JOIN local_idempotency AS known
             WHERE known.principal = asked.value->>0 AND known.key = asked.value->>1
               AND known.created_at > $2"
        );
        type Stored = (String, String, String, i64, i64, i64);
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        let asked = text(json(requests));
        let rows: Vec<Stored> = on_pool!(&self.0.readers, db => sqlx::query_as(db.text(SQL))
            .bind(&asked)
            .bind(now.millis() - REMEMBERED_MILLIS)
            .fetch_all(db))?;
        let read = |(principal, key, body_hash, first_id, count, created_at): Stored| {
            Some(Remembered {
                principal,
                key,
                body_hash: body_hash.parse().ok()?,
                first_id: first_id.cast_unsigned(),
                count: count.cast_unsigned(),
                created_at: Timestamp::from_millis(created_at)?,
            })
        };
        read_rows(rows, read, "local_idempotency")
    }

    /// Deletes what is remembered for longer than 24 hours; answers how many rows.
    pub async fn expire_remembered(&self, now: Timestamp) -> Result<u64, StoreError> {
        const SQL: Sql = Sql::same("DELETE FROM local_idempotency WHERE created_at <= $1");
        self.write(SQL, values![now.millis() - REMEMBERED_MILLIS]).await
    }

    /// Puts a key on the list of those that wait for the operator, within the list's limits.
    pub async fn add_pending(&self, key: &PendingKey) -> Result<PendingOutcome, StoreError> {
        const LOCK: Sql = Sql {
            sqlite: "SELECT 1",
            postgres: "LOCK TABLE local_pending_keys IN SHARE ROW EXCLUSIVE MODE",
        };
        const EXPIRE: Sql = Sql::same("DELETE FROM local_pending_keys WHERE first_seen <= $1");
        const KNOWN: Sql =
            Sql::same("SELECT COUNT(*) FROM local_pending_keys WHERE fingerprint = $1");
        const SOON: Sql = Sql::same(
            "SELECT COUNT(*) FROM local_pending_keys WHERE network = $1 AND first_seen > $2",
        );
        const ALL: Sql = Sql::same("SELECT COUNT(*) FROM local_pending_keys");
        const PUT: Sql = Sql::same(
            "INSERT INTO local_pending_keys (fingerprint, public_key, network, first_seen, body)
             VALUES ($1, $2, $3, $4, $5)",
        );
        let (fingerprint, now) = (key.fingerprint.to_string(), key.first_seen.millis());
        let pool = &self.0.writers;
        let outcome = in_transaction!(pool, pool.patience(), db => async {
            db.run(LOCK, values![]).await?;
            db.run(EXPIRE, values![now - PENDING_MILLIS]).await?;
            if db.number(KNOWN, values![&*fingerprint]).await? > Some(0) {
                return Ok(PendingOutcome::Known);
            }
            let since = now - PENDING_SPACING_MILLIS;
            if db.number(SOON, values![&*key.network, since]).await? > Some(0) {
                return Ok(PendingOutcome::TooSoon);
            }
            if db.number(ALL, values![]).await? >= Some(MAX_PENDING) {
                return Ok(PendingOutcome::Full);
            }
            let row = values![&*fingerprint, &*key.public_key, &*key.network, now, &*key.body];
            db.run(PUT, row).await?;
            Ok::<_, CommitError>(PendingOutcome::Listed)
        });
        Ok(outcome?)
    }

    /// The keys that wait, oldest first.
    pub async fn pending(&self, now: Timestamp) -> Result<Vec<PendingKey>, StoreError> {
        const SQL: &str = "SELECT fingerprint, public_key, network, first_seen, body
            FROM local_pending_keys WHERE first_seen > $1 ORDER BY first_seen, fingerprint";
        type Stored = (String, String, String, i64, String);
        let rows: Vec<Stored> = on_pool!(&self.0.readers, db => sqlx::query_as(SQL)
            .bind(now.millis() - PENDING_MILLIS)
            .fetch_all(db))?;
        let read = |(fingerprint, public_key, network, first_seen, body): Stored| {
            Some(PendingKey {
                fingerprint: fingerprint.parse().ok()?,
                public_key,
                network,
                first_seen: Timestamp::from_millis(first_seen)?,
                body,
            })
        };
        read_rows(rows, read, "local_pending_keys")
    }

    /// Reserves an authorisation for the key of this name; a later reservation replaces it.
    pub async fn reserve(&self, key: &ReservedKey) -> Result<(), StoreError> {
        const SQL: Sql = Sql::same(
            "INSERT INTO local_reserved_keys (key, name, category, expires_at)
             VALUES ($1, $2, $3, $4) ON CONFLICT (key) DO UPDATE SET
                name = excluded.name, category = excluded.category,
                expires_at = excluded.expires_at",
        );
        let name = key.key.to_string();
        let row = values![&*name, key.name.as_deref(), &*key.category, key.expires_at.millis()];
        self.write(SQL, row).await.map(|_| ())
    }

    /// The reservations that are still waiting.
    pub async fn reserved(&self, now: Timestamp) -> Result<Vec<ReservedKey>, StoreError> {
        const SQL: &str = "SELECT key, name, category, expires_at FROM local_reserved_keys
            WHERE expires_at > $1 ORDER BY key LIMIT 10000";
        type Stored = (String, Option<String>, String, i64);
        let rows: Vec<Stored> = on_pool!(&self.0.readers, db => {
            sqlx::query_as(SQL).bind(now.millis()).fetch_all(db)
        })?;
        let read = |(key, name, category, expires_at): Stored| {
            Some(ReservedKey {
                key: key.parse().ok()?,
                name,
                category,
                expires_at: Timestamp::from_millis(expires_at)?,
            })
        };
        read_rows(rows, read, "local_reserved_keys")
    }

    /// Gives a reservation up; false if there was none.
    pub async fn unreserve(&self, key: &AnyFingerprint) -> Result<bool, StoreError> {
        Ok(self.write(DELETE_RESERVED, vec![json(&[[key.to_string()]])]).await? > 0)
    }

    /// Opens an incident with its evidence and answers its number; while one of the same kind,
    /// subject and reason is open, that one's.
    pub async fn open_incident(&self, incident: &NewIncident) -> Result<i64, StoreError> {
        let pool = &self.0.writers;
        Ok(in_transaction!(pool, pool.patience(), db => insert_incident(db, incident))?)
    }

    /// Acknowledges an incident; false if there is no such open one.
    pub async fn ack_incident(&self, id: i64, now: Timestamp) -> Result<bool, StoreError> {
        const SQL: Sql = Sql::same(
            "UPDATE local_incidents SET acked_at = $2 WHERE id = $1 AND acked_at IS NULL",
        );
        Ok(self.write(SQL, values![id, now.millis()]).await? > 0)
    }

    /// Acknowledges every open incident of this kind and subject, because the trouble is over;
    /// answers how many.
    pub async fn close_incidents(
        &self,
        kind: &str,
        subject: &str,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        const SQL: Sql = Sql::same(
            "UPDATE local_incidents SET acked_at = $3
             WHERE kind = $1 AND subject = $2 AND acked_at IS NULL",
        );
        self.write(SQL, values![kind, subject, now.millis()]).await
    }

    /// The incidents, the newest first, at most 1,000; only open ones if asked so.
    pub async fn incidents(&self, only_open: bool) -> Result<Vec<Incident>, StoreError> {
        const SQL: &str =
            incidents!("WHERE $1 = 0 OR acked_at IS NULL ORDER BY id DESC LIMIT 1000");
        let rows = on_pool!(&self.0.readers, db => {
            sqlx::query_as(SQL).bind(i64::from(only_open)).fetch_all(db)
        })?;
        read_rows(rows, incident, "local_incidents")
    }

    /// One incident, open or not, however many newer ones there are.
    pub async fn incident(&self, id: i64) -> Result<Option<Incident>, StoreError> {
        const SQL: &str = incidents!("WHERE id = $1");
        let rows = on_pool!(&self.0.readers, db => sqlx::query_as(SQL).bind(id).fetch_all(db))?;
        Ok(read_rows(rows, incident, "local_incidents")?.pop())
    }

    /// The newest open incident of a class, however many others are newer.
    pub async fn open_incident_of(&self, class: &str) -> Result<Option<Incident>, StoreError> {
        const SQL: &str =
            incidents!("WHERE acked_at IS NULL AND class = $1 ORDER BY id DESC LIMIT 1");
        let rows = on_pool!(&self.0.readers, db => sqlx::query_as(SQL).bind(class).fetch_all(db))?;
        Ok(read_rows(rows, incident, "local_incidents")?.pop())
    }

    /// An evidence or observation file.
    pub async fn evidence(&self, id: i64) -> Result<Option<Evidence>, StoreError> {
        const SQL: &str = "SELECT kind, created_at, bytes FROM local_evidence WHERE id = $1";
        let row: Option<(String, i64, Vec<u8>)> = on_pool!(&self.0.readers, db => {
            sqlx::query_as(SQL).bind(id).fetch_optional(db)
        })?;
        let read = |(kind, created_at, bytes)| {
            Timestamp::from_millis(created_at)
                .map(|created_at| Evidence { id, kind, created_at, bytes })
                .ok_or(StoreError::Malformed { table: "local_evidence" })
        };
        row.map(read).transpose()
    }

    /// Keeps cosignatures; of two by one key at one size the newer stays, unless it is under
    /// another name.
    pub async fn put_cosignatures(&self, rows: &[Cosignature]) -> Result<(), StoreError> {
        self.write(COSIGN, vec![json(&cosignature_rows(rows.iter()))]).await.map(|_| ())
    }

    /// The cosignatures at sizes `from` and above, the largest first, at most `limit`.
    pub async fn cosignatures(
        &self,
        from: TreeSize,
        limit: u64,
    ) -> Result<Vec<Cosignature>, StoreError> {
        const SQL: &str = "SELECT tree_size, fingerprint, name, line, timestamp
            FROM local_cosignatures WHERE tree_size >= $1
            ORDER BY tree_size DESC, fingerprint LIMIT $2";
        let rows = on_pool!(&self.0.readers, db => sqlx::query_as(SQL)
            .bind(from.to_sql())
            .bind(number(limit))
            .fetch_all(db))?;
        read_rows(rows, cosignature, "local_cosignatures")
    }

    /// The cosignatures of these keys at these sizes, the largest first.
    pub async fn cosignatures_at(
        &self,
        sizes: &[TreeSize],
        keys: &[Fingerprint],
    ) -> Result<Vec<Cosignature>, StoreError> {
        const SQL: Sql = rows!(
            "SELECT known.tree_size, known.fingerprint, known.name, known.line, known.timestamp
             FROM",
            "AS asked CROSS JOIN local_cosignatures AS known
             WHERE known.tree_size = CAST(asked.value->>0 AS BIGINT)
               AND known.fingerprint = asked.value->>1
             ORDER BY known.tree_size DESC, known.fingerprint"
        );
        let of = |size: &TreeSize| {
            let size = size.to_sql();
            keys.iter().map(move |key| (size, key.to_string()))
        };
        let asked: Vec<_> = sizes.iter().flat_map(of).collect();
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        let asked = text(json(&asked));
        let rows = on_pool!(&self.0.readers, db => {
            sqlx::query_as(db.text(SQL)).bind(&asked).fetch_all(db)
        })?;
        read_rows(rows, cosignature, "local_cosignatures")
    }

    /// The largest cosignature of a key.
    pub async fn last_cosignature(
        &self,
        fingerprint: &Fingerprint,
    ) -> Result<Option<Cosignature>, StoreError> {
        const SQL: &str = "SELECT tree_size, fingerprint, name, line, timestamp
            FROM local_cosignatures WHERE fingerprint = $1 ORDER BY tree_size DESC LIMIT 1";
        let fingerprint = fingerprint.to_string();
        let rows = on_pool!(&self.0.readers, db => {
            sqlx::query_as(SQL).bind(&fingerprint).fetch_all(db)
        })?;
        Ok(read_rows(rows, cosignature, "local_cosignatures")?.pop())
    }

    /// Forgets the cosignatures below a size, but for each key's largest and the one at the size of
    /// its newest recorded proof; answers how many.
    pub async fn thin_cosignatures(&self, below: TreeSize) -> Result<u64, StoreError> {
        const SQL: Sql = Sql::same(
            "DELETE FROM local_cosignatures WHERE tree_size < $1
               AND EXISTS (SELECT 1 FROM local_cosignatures AS larger
                           WHERE larger.fingerprint = local_cosignatures.fingerprint
                             AND larger.tree_size > local_cosignatures.tree_size)
               AND NOT EXISTS (SELECT 1 FROM view_witnesses AS proven
                               WHERE proven.fingerprint = local_cosignatures.fingerprint
                                 AND proven.tree_size = local_cosignatures.tree_size)",
        );
        self.write(SQL, values![below.to_sql()]).await
    }

    /// Takes a follower's report; false if it is not newer than the last one.
    pub async fn put_report(&self, report: &ReportRow) -> Result<bool, StoreError> {
        const SQL: Sql = Sql::same(
            "INSERT INTO local_reports (follower, body, received_at, timestamp)
             VALUES ($1, $2, $3, $4) ON CONFLICT (follower) DO UPDATE SET
                body = excluded.body, received_at = excluded.received_at,
                timestamp = excluded.timestamp
             WHERE excluded.timestamp > local_reports.timestamp",
        );
        let follower = report.follower.to_string();
        let (received_at, timestamp) = (report.received_at.millis(), report.timestamp.millis());
        let row = values![&*follower, &*report.body, received_at, timestamp];
        Ok(self.write(SQL, row).await? == 1)
    }

    /// The newest report of every follower.
    pub async fn reports(&self) -> Result<Vec<ReportRow>, StoreError> {
        const SQL: &str = "SELECT follower, body, received_at, timestamp FROM local_reports
            ORDER BY follower LIMIT 10000";
        type Stored = (String, String, i64, i64);
        let rows: Vec<Stored> = on_pool!(&self.0.readers, db => sqlx::query_as(SQL).fetch_all(db))?;
        let read = |(follower, body, received_at, timestamp): Stored| {
            Some(ReportRow {
                follower: follower.parse().ok()?,
                body,
                received_at: Timestamp::from_millis(received_at)?,
                timestamp: Timestamp::from_millis(timestamp)?,
            })
        };
        read_rows(rows, read, "local_reports")
    }

    /// Keeps heads until the own tree passes them.
    pub async fn keep_heads(&self, heads: &[KeptHead]) -> Result<(), StoreError> {
        self.write(KEEP_HEADS, vec![json(&kept_rows(heads.iter()))]).await.map(|_| ())
    }

    /// The kept heads, smallest first, at most 1,000.
    pub async fn kept_heads(&self) -> Result<Vec<KeptHead>, StoreError> {
        const SQL: &str = "SELECT tree_size, timestamp, head_json FROM local_kept_heads
            ORDER BY tree_size, timestamp LIMIT 1000";
        type Stored = (i64, i64, String);
        let rows: Vec<Stored> = on_pool!(&self.0.readers, db => sqlx::query_as(SQL).fetch_all(db))?;
        let read = |(tree_size, timestamp, head_json): Stored| {
            Some(KeptHead {
                tree_size: TreeSize::from_sql(tree_size)?,
                timestamp: Timestamp::from_millis(timestamp)?,
                head_json,
            })
        };
        read_rows(rows, read, "local_kept_heads")
    }

    /// Forgets one kept head, to thin them.
    pub async fn forget_head(
        &self,
        tree_size: TreeSize,
        timestamp: Timestamp,
    ) -> Result<bool, StoreError> {
        const SQL: Sql =
            Sql::same("DELETE FROM local_kept_heads WHERE tree_size = $1 AND timestamp = $2");
        Ok(self.write(SQL, values![tree_size.to_sql(), timestamp.millis()]).await? > 0)
    }
}

/// The rows of this node's own that a commit writes, sorted by table.
#[derive(Debug, Default)]
pub(super) struct LocalWrites<'a> {
    remembered: Vec<&'a Remembered>,
    no_longer_pending: Vec<[String; 1]>,
    no_longer_reserved: Vec<[String; 1]>,
    kept: Vec<&'a KeptHead>,
    passed: Option<TreeSize>,
    pinned: Vec<&'a HeadRow>,
    cosignatures: Vec<&'a Cosignature>,
    incidents: Vec<&'a NewIncident>,
    meta: Vec<(&'a str, &'a str)>,
}

impl<'a> LocalWrites<'a> {
    pub(super) fn of(writes: &'a [LocalWrite]) -> Self {
        let mut sorted = Self::default();
        for write in writes {
            match write {
                LocalWrite::Remember(row) => sorted.remembered.push(row),
                LocalWrite::DeletePending(key) => sorted.no_longer_pending.push([key.to_string()]),
                LocalWrite::DeleteReserved(key) => {
                    sorted.no_longer_reserved.push([key.to_string()]);
                }
                LocalWrite::KeepHead(head) => sorted.kept.push(head),
                LocalWrite::ForgetHeads(size) => sorted.passed = sorted.passed.max(Some(*size)),
                LocalWrite::PinHead(head) => sorted.pinned.push(head),
                LocalWrite::Cosign(row) => sorted.cosignatures.push(row),
                LocalWrite::OpenIncident(incident) => sorted.incidents.push(incident),
                LocalWrite::PutMeta(name, value) => {
                    // One statement may not touch a row twice: the last value counts.
                    sorted.meta.retain(|(known, _)| known != name);
                    sorted.meta.push((name, value));
                }
            }
        }
        sorted
    }

    /// Answers how many statements it took.
    pub(super) async fn write<S: Session>(&self, db: &mut S) -> Result<u64, CommitError> {
        let mut statements = 0;
        if !self.remembered.is_empty() {
            let rows = remembered_rows(&self.remembered);
            if db.run(REMEMBER, vec![json(&rows)]).await? != rows.len() as u64 {
                return Err(CommitError::Conflict("an idempotency key is in use".to_owned()));
            }
            statements += 1;
        }
        for (sql, rows) in [
            (DELETE_PENDING, some_json(&self.no_longer_pending)),
            (DELETE_RESERVED, some_json(&self.no_longer_reserved)),
            (COSIGN, some_json(&cosignature_rows(self.cosignatures.iter().copied()))),
            (KEEP_HEADS, some_json(&kept_rows(self.kept.iter().copied()))),
            (FORGET_HEADS, self.passed.map(|size| size.to_sql().into())),
            (PUT_META, some_json(&self.meta)),
        ] {
            if let Some(rows) = rows {
                db.run(sql, vec![rows]).await?;
                statements += 1;
            }
        }
        statements += insert_pinned(db, &self.pinned).await?;
        for incident in &self.incidents {
            insert_incident(db, incident).await?;
            statements += 3;
        }
        Ok(statements)
    }
}

fn some_json<R: serde::Serialize>(rows: &[R]) -> Option<Value> {
    if rows.is_empty() { None } else { Some(json(rows)) }
}

async fn insert_incident<S: Session>(
    db: &mut S,
    incident: &NewIncident,
) -> Result<i64, CommitError> {
    const OPEN: Sql = Sql::same(
        "SELECT id FROM local_incidents
         WHERE acked_at IS NULL AND kind = $1 AND subject = $2 AND reason = $3",
    );
    const SQL: Sql = Sql::same(
        "INSERT INTO local_incidents (kind, subject, class, reason, detail, opened_at, evidence_id)
         VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id",
    );
    let (kind, subject, reason) = (&*incident.kind, &*incident.subject, &*incident.reason);
    if let Some(id) = db.number(OPEN, values![kind, subject, reason]).await? {
        return Ok(id);
    }
    let evidence = match &incident.evidence {
        Some(evidence) => Some(insert_evidence(db, evidence).await?),
        None => None,
    };
    let (class, detail) = (&*incident.class, &*incident.detail);
    let opened_at = incident.opened_at.millis();
    let row = values![kind, subject, class, reason, detail, opened_at, evidence];
    returned(db.number(SQL, row).await?)
}

async fn insert_evidence<S: Session>(
    db: &mut S,
    evidence: &NewEvidence,
) -> Result<i64, CommitError> {
    const SQL: Sql = Sql::same(
        "INSERT INTO local_evidence (kind, created_at, bytes) VALUES ($1, $2, $3) RETURNING id",
    );
    let row = values![&*evidence.kind, evidence.created_at.millis(), &evidence.bytes[..]];
    returned(db.number(SQL, row).await?)
}

fn returned(id: Option<i64>) -> Result<i64, CommitError> {
    id.ok_or_else(|| CommitError::Refused("an insert returned no number".to_owned()))
}

type StoredIncident = (i64, String, String, String, String, String, i64, Option<i64>, Option<i64>);

fn incident(row: StoredIncident) -> Option<Incident> {
    let (id, kind, subject, class, reason, detail, opened_at, acked_at, evidence_id) = row;
    Some(Incident {
        id,
        kind,
        subject,
        class,
        reason,
        detail,
        opened_at: Timestamp::from_millis(opened_at)?,
        acked_at: match acked_at {
            None => None,
            Some(millis) => Some(Timestamp::from_millis(millis)?),
        },
        evidence_id,
    })
}

type StoredCosignature = (i64, String, String, String, i64);

fn cosignature(row: StoredCosignature) -> Option<Cosignature> {
    let (tree_size, fingerprint, name, line, timestamp) = row;
    Some(Cosignature {
        tree_size: TreeSize::from_sql(tree_size)?,
        fingerprint: fingerprint.parse().ok()?,
        name,
        line,
        timestamp: Timestamp::from_millis(timestamp)?,
    })
}

/// One row for each key and size, the newest: one statement may not touch a row twice.
fn cosignature_rows<'a>(
    rows: impl Iterator<Item = &'a Cosignature>,
) -> Vec<(i64, String, &'a str, &'a str, i64)> {
    let mut rows: Vec<&Cosignature> = rows.collect();
    rows.sort_by_key(|row| (row.tree_size, row.fingerprint, std::cmp::Reverse(row.timestamp)));
    rows.dedup_by_key(|row| (row.tree_size, row.fingerprint));
    let columns = |row: &'a Cosignature| {
        let fingerprint = row.fingerprint.to_string();
        (row.tree_size.to_sql(), fingerprint, &*row.name, &*row.line, row.timestamp.millis())
    };
    rows.into_iter().map(columns).collect()
}

fn kept_rows<'a>(heads: impl Iterator<Item = &'a KeptHead>) -> Vec<(i64, i64, &'a str)> {
    heads.map(|head| (head.tree_size.to_sql(), head.timestamp.millis(), &*head.head_json)).collect()
}

fn remembered_rows<'a>(rows: &[&'a Remembered]) -> Vec<(&'a str, &'a str, String, i64, i64, i64)> {
    let columns = |row: &&'a Remembered| {
        let (first_id, count) = (number(row.first_id), number(row.count));
        let created_at = row.created_at.millis();
        (&*row.principal, &*row.key, row.body_hash.to_string(), first_id, count, created_at)
    };
    rows.iter().map(columns).collect()
}
