-- Every text is compared bytewise (COLLATE "C"), as SQLite does.

-- The log itself. `leaf` is exactly what was hashed; rows are only ever added.
CREATE TABLE log_entries (
    id          BIGINT  PRIMARY KEY,
    leaf        BYTEA   NOT NULL,
    entry_hash  BYTEA   NOT NULL,
    event_type  TEXT COLLATE "C"    NOT NULL,
    timestamp   BIGINT  NOT NULL
);
CREATE INDEX log_entries_by_type ON log_entries (event_type, id);

-- Complete tiles only, 256 hashes each; the right edge is recomputed at start.
CREATE TABLE log_tiles (
    level   BIGINT NOT NULL,
    idx     BIGINT NOT NULL,
    hashes  BYTEA  NOT NULL,
    PRIMARY KEY (level, idx)
);

-- Hashes do not compress.
ALTER TABLE log_tiles ALTER COLUMN hashes SET STORAGE EXTERNAL;

-- The newest head of each second; `head_json` is the signed head verbatim, NULL while unsigned.
CREATE TABLE log_heads (
    second      BIGINT  PRIMARY KEY,
    tree_size   BIGINT  NOT NULL,
    root_hash   BYTEA   NOT NULL,
    chain_head  BYTEA,
    epoch       BIGINT  NOT NULL,
    timestamp   BIGINT  NOT NULL,
    head_json   TEXT COLLATE "C"
);
CREATE INDEX log_heads_by_size ON log_heads (tree_size, second);

-- Heads that a proof, report, anchor or evidence names: never thinned.
CREATE TABLE log_pinned_heads (
    tree_size   BIGINT NOT NULL,
    timestamp   BIGINT NOT NULL,
    root_hash   BYTEA  NOT NULL,
    chain_head  BYTEA,
    epoch       BIGINT NOT NULL,
    head_json   TEXT COLLATE "C",
    PRIMARY KEY (tree_size, timestamp)
);

-- One row: what every commit compares with before it writes anything.
CREATE TABLE log_state (
    id              BIGINT  PRIMARY KEY CHECK (id = 1),
    writer          BIGINT  NOT NULL,
    tree_size       BIGINT  NOT NULL,
    root_hash       BYTEA   NOT NULL,
    chain_head      BYTEA,
    head_timestamp  BIGINT  NOT NULL,
    epoch           BIGINT  NOT NULL,
    last_event_id   BIGINT  NOT NULL
);

-- Views: a pure function of the log, dropped and rebuilt at will.
CREATE TABLE view_meta (
    name     TEXT COLLATE "C"   PRIMARY KEY,
    version  BIGINT NOT NULL
);

CREATE TABLE view_event_counts (
    event_type  TEXT COLLATE "C"   PRIMARY KEY,
    count       BIGINT NOT NULL
);

-- Clustered by run of 4,096 entries and written a whole run at a time, sorted: an append never
-- touches a random page. The entries after the last whole run are searched in log_entries.
CREATE TABLE view_entry_hashes (
    run     BIGINT NOT NULL,
    prefix  BYTEA  NOT NULL,
    id      BIGINT NOT NULL,
    PRIMARY KEY (run, prefix, id)
);

CREATE TABLE view_refs (
    kind   TEXT COLLATE "C"   NOT NULL,
    value  TEXT COLLATE "C"   NOT NULL,
    id     BIGINT NOT NULL,
    PRIMARY KEY (kind, value, id)
);

CREATE TABLE view_no_effect (
    id      BIGINT  PRIMARY KEY,
    reason  TEXT COLLATE "C"    NOT NULL
);

CREATE TABLE view_keys (
    fingerprint       TEXT COLLATE "C"   PRIMARY KEY,
    public_key        TEXT COLLATE "C"   NOT NULL,
    algorithm         TEXT COLLATE "C"   NOT NULL,
    pseudonym         TEXT COLLATE "C"   NOT NULL,
    pseudonym_folded  TEXT COLLATE "C"   NOT NULL,
    registered_at     BIGINT NOT NULL,
    expires_at        BIGINT,
    entry_id          BIGINT NOT NULL,
    proven            BIGINT NOT NULL
);

CREATE TABLE view_endorsed (
    fingerprint  TEXT COLLATE "C"   NOT NULL,
    category     TEXT COLLATE "C"   NOT NULL,
    public_key   TEXT COLLATE "C"   NOT NULL,
    name         TEXT COLLATE "C",
    entry_id     BIGINT NOT NULL,
    since        BIGINT NOT NULL,
    revoked_by   BIGINT,
    after_size   BIGINT NOT NULL,
    PRIMARY KEY (fingerprint, category)
);
CREATE INDEX view_endorsed_by_category ON view_endorsed (category, entry_id);

CREATE TABLE view_profiles (
    fingerprint   TEXT COLLATE "C"   PRIMARY KEY,
    kind          TEXT COLLATE "C"   NOT NULL,
    display_name  TEXT COLLATE "C"   NOT NULL,
    server        TEXT COLLATE "C",
    timestamp     BIGINT NOT NULL,
    entry_id      BIGINT NOT NULL
);

CREATE TABLE view_witnesses (
    fingerprint  TEXT COLLATE "C"   PRIMARY KEY,
    proof_id     BIGINT NOT NULL,
    tree_size    BIGINT NOT NULL,
    root_hash    TEXT COLLATE "C"   NOT NULL,
    signed_at    BIGINT NOT NULL,
    recorded_at  BIGINT NOT NULL,
    cosigner     TEXT COLLATE "C"
);

-- What this node knows and the log must not: never replicated, never rebuilt.
CREATE TABLE local_meta (
    name   TEXT COLLATE "C" PRIMARY KEY,
    value  TEXT COLLATE "C" NOT NULL
);

CREATE TABLE local_idempotency (
    principal   TEXT COLLATE "C"   NOT NULL,
    key         TEXT COLLATE "C"   NOT NULL,
    body_hash   TEXT COLLATE "C"   NOT NULL,
    first_id    BIGINT NOT NULL,
    count       BIGINT NOT NULL,
    created_at  BIGINT NOT NULL,
    PRIMARY KEY (principal, key)
);
CREATE INDEX local_idempotency_by_age ON local_idempotency (created_at);

CREATE TABLE local_pending_keys (
    fingerprint  TEXT COLLATE "C"   PRIMARY KEY,
    public_key   TEXT COLLATE "C"   NOT NULL,
    network      TEXT COLLATE "C"   NOT NULL,
    first_seen   BIGINT NOT NULL,
    body         TEXT COLLATE "C"   NOT NULL
);

CREATE TABLE local_reserved_keys (
    key         TEXT COLLATE "C"   PRIMARY KEY,
    name        TEXT COLLATE "C",
    category    TEXT COLLATE "C"   NOT NULL,
    expires_at  BIGINT NOT NULL
);

CREATE TABLE local_evidence (
    id          BIGINT  GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    kind        TEXT COLLATE "C"    NOT NULL,
    created_at  BIGINT  NOT NULL,
    bytes       BYTEA   NOT NULL
);

CREATE TABLE local_incidents (
    id           BIGINT  GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    kind         TEXT COLLATE "C"    NOT NULL,
    subject      TEXT COLLATE "C"    NOT NULL,
    class        TEXT COLLATE "C"    NOT NULL,
    reason       TEXT COLLATE "C"    NOT NULL,
    detail       TEXT COLLATE "C"    NOT NULL,
    opened_at    BIGINT  NOT NULL,
    acked_at     BIGINT,
    evidence_id  BIGINT
);
CREATE INDEX local_incidents_open ON local_incidents (acked_at, kind, subject);

CREATE TABLE local_cosignatures (
    tree_size    BIGINT NOT NULL,
    fingerprint  TEXT COLLATE "C"   NOT NULL,
    name         TEXT COLLATE "C"   NOT NULL,
    line         TEXT COLLATE "C"   NOT NULL,
    timestamp    BIGINT NOT NULL,
    PRIMARY KEY (tree_size, fingerprint)
);
CREATE INDEX local_cosignatures_by_key ON local_cosignatures (fingerprint, tree_size);

CREATE TABLE local_reports (
    follower     TEXT COLLATE "C"   PRIMARY KEY,
    body         TEXT COLLATE "C"   NOT NULL,
    received_at  BIGINT NOT NULL,
    timestamp    BIGINT NOT NULL
);

CREATE TABLE local_kept_heads (
    tree_size  BIGINT NOT NULL,
    timestamp  BIGINT NOT NULL,
    head_json  TEXT COLLATE "C"   NOT NULL,
    PRIMARY KEY (tree_size, timestamp)
);
