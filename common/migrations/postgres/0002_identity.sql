-- Keys have lives and sign attestations. Views are made anew from the log at the next start.
DROP TABLE view_keys;
CREATE TABLE view_keys (
    fingerprint       TEXT COLLATE "C"   PRIMARY KEY,
    public_key        TEXT COLLATE "C"   NOT NULL,
    algorithm         TEXT COLLATE "C"   NOT NULL,
    pseudonym         TEXT COLLATE "C"   NOT NULL,
    pseudonym_folded  TEXT COLLATE "C"   NOT NULL,
    registered_at     BIGINT NOT NULL,
    expires_at        BIGINT,
    entry_id          BIGINT NOT NULL,
    proven            BIGINT NOT NULL,
    first_entry_id    BIGINT NOT NULL,
    used_v1           BIGINT NOT NULL,
    succeeds          TEXT COLLATE "C",
    ended_by          BIGINT,
    ended_at          BIGINT,
    ended_asserted    BIGINT,
    succeeded_by      TEXT COLLATE "C"
);
-- Lists keys in the order of the log, and is all that a search for a pseudonym reads.
CREATE INDEX view_keys_by_entry ON view_keys (first_entry_id, pseudonym_folded, entry_id);

CREATE TABLE view_attestations (
    id                TEXT COLLATE "C"   PRIMARY KEY,
    attestation_id    TEXT COLLATE "C"   NOT NULL,
    manifest_hash     TEXT COLLATE "C"   NOT NULL,
    content_hash      TEXT COLLATE "C"   NOT NULL,
    signer            TEXT COLLATE "C"   NOT NULL,
    type              TEXT COLLATE "C"   NOT NULL,
    binds             TEXT COLLATE "C"   NOT NULL,
    canonicalization  TEXT COLLATE "C"   NOT NULL,
    entry_id          BIGINT NOT NULL,
    at                BIGINT NOT NULL,
    asserted          BIGINT NOT NULL
);

-- The type that stands for attestations whose signature does not cover it.
CREATE TABLE view_attested_types (
    manifest_hash  TEXT COLLATE "C"   NOT NULL,
    signer         TEXT COLLATE "C"   NOT NULL,
    binds          TEXT COLLATE "C"   NOT NULL,
    type           TEXT COLLATE "C"   NOT NULL,
    PRIMARY KEY (manifest_hash, signer, binds)
);

CREATE TABLE view_totals (
    name   TEXT COLLATE "C"   PRIMARY KEY,
    count  BIGINT NOT NULL
);
