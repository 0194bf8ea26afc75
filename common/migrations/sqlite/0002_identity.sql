-- Keys have lives and sign attestations. Views are made anew from the log at the next start.
DROP TABLE view_keys;
CREATE TABLE view_keys (
    fingerprint       TEXT   PRIMARY KEY,
    public_key        TEXT   NOT NULL,
    algorithm         TEXT   NOT NULL,
    pseudonym         TEXT   NOT NULL,
    pseudonym_folded  TEXT   NOT NULL,
    registered_at     BIGINT NOT NULL,
    expires_at        BIGINT,
    entry_id          BIGINT NOT NULL,
    proven            BIGINT NOT NULL,
    first_entry_id    BIGINT NOT NULL,
    used_v1           BIGINT NOT NULL,
    succeeds          TEXT,
    ended_by          BIGINT,
    ended_at          BIGINT,
    ended_asserted    BIGINT,
    succeeded_by      TEXT
) WITHOUT ROWID;
-- Lists keys in the order of the log, and is all that a search for a pseudonym reads.
CREATE INDEX view_keys_by_entry ON view_keys (first_entry_id, pseudonym_folded, entry_id);

CREATE TABLE view_attestations (
    id                TEXT   PRIMARY KEY,
    attestation_id    TEXT   NOT NULL,
    manifest_hash     TEXT   NOT NULL,
    content_hash      TEXT   NOT NULL,
    signer            TEXT   NOT NULL,
    type              TEXT   NOT NULL,
    binds             TEXT   NOT NULL,
    canonicalization  TEXT   NOT NULL,
    entry_id          BIGINT NOT NULL,
    at                BIGINT NOT NULL,
    asserted          BIGINT NOT NULL
) WITHOUT ROWID;

-- The type that stands for attestations whose signature does not cover it.
CREATE TABLE view_attested_types (
    manifest_hash  TEXT   NOT NULL,
    signer         TEXT   NOT NULL,
    binds          TEXT   NOT NULL,
    type           TEXT   NOT NULL,
    PRIMARY KEY (manifest_hash, signer, binds)
) WITHOUT ROWID;

CREATE TABLE view_totals (
    name   TEXT   PRIMARY KEY,
    count  BIGINT NOT NULL
) WITHOUT ROWID;
