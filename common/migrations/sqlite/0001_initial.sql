-- The log itself. `leaf` is exactly what was hashed; rows are only ever added.
CREATE TABLE log_entries (
    id          INTEGER PRIMARY KEY,
    leaf        BLOB    NOT NULL,
    entry_hash  BLOB    NOT NULL,
    event_type  TEXT    NOT NULL,
    timestamp   BIGINT  NOT NULL
);
CREATE INDEX log_entries_by_type ON log_entries (event_type, id);

-- Complete tiles only, 256 hashes each; the right edge is recomputed at start.
CREATE TABLE log_tiles (
    level   BIGINT NOT NULL,
    idx     BIGINT NOT NULL,
    hashes  BLOB   NOT NULL,
    PRIMARY KEY (level, idx)
);

-- The newest head of each second; `head_json` is the signed head verbatim, NULL while unsigned.
CREATE TABLE log_heads (
    second      INTEGER PRIMARY KEY,
    tree_size   BIGINT  NOT NULL,
    root_hash   BLOB    NOT NULL,
    chain_head  BLOB,
    epoch       BIGINT  NOT NULL,
    timestamp   BIGINT  NOT NULL,
    head_json   TEXT
);
CREATE INDEX log_heads_by_size ON log_heads (tree_size, second);

-- Heads that a proof, report, anchor or evidence names: never thinned.
CREATE TABLE log_pinned_heads (
    tree_size   BIGINT NOT NULL,
    timestamp   BIGINT NOT NULL,
    root_hash   BLOB   NOT NULL,
    chain_head  BLOB,
    epoch       BIGINT NOT NULL,
    head_json   TEXT,
    PRIMARY KEY (tree_size, timestamp)
);

-- One row: what every commit compares with before it writes anything.
CREATE TABLE log_state (
    id              INTEGER PRIMARY KEY CHECK (id = 1),
    writer          BIGINT  NOT NULL,
    tree_size       BIGINT  NOT NULL,
    root_hash       BLOB    NOT NULL,
    chain_head      BLOB,
    head_timestamp  BIGINT  NOT NULL,
    epoch           BIGINT  NOT NULL,
    last_event_id   BIGINT  NOT NULL
);

-- Views: a pure function of the log, dropped and rebuilt at will.
CREATE TABLE view_meta (
    name     TEXT   PRIMARY KEY,
    version  BIGINT NOT NULL
) WITHOUT ROWID;

CREATE TABLE view_event_counts (
    event_type  TEXT   PRIMARY KEY,
    count       BIGINT NOT NULL
) WITHOUT ROWID;

-- Clustered by run of 4,096 entries and written a whole run at a time, sorted: an append never
-- touches a random page. The entries after the last whole run are searched in log_entries.
CREATE TABLE view_entry_hashes (
    run     BIGINT NOT NULL,
    prefix  BLOB   NOT NULL,
    id      BIGINT NOT NULL,
    PRIMARY KEY (run, prefix, id)
) WITHOUT ROWID;

CREATE TABLE view_refs (
    kind   TEXT   NOT NULL,
    value  TEXT   NOT NULL,
    id     BIGINT NOT NULL,
    PRIMARY KEY (kind, value, id)
) WITHOUT ROWID;

CREATE TABLE view_no_effect (
    id      INTEGER PRIMARY KEY,
    reason  TEXT    NOT NULL
);

CREATE TABLE view_keys (
    fingerprint       TEXT   PRIMARY KEY,
    public_key        TEXT   NOT NULL,
    algorithm         TEXT   NOT NULL,
    pseudonym         TEXT   NOT NULL,
    pseudonym_folded  TEXT   NOT NULL,
    registered_at     BIGINT NOT NULL,
    expires_at        BIGINT,
    entry_id          BIGINT NOT NULL,
    proven            BIGINT NOT NULL
) WITHOUT ROWID;

CREATE TABLE view_endorsed (
    fingerprint  TEXT   NOT NULL,
    category     TEXT   NOT NULL,
    public_key   TEXT   NOT NULL,
    name         TEXT,
    entry_id     BIGINT NOT NULL,
    since        BIGINT NOT NULL,
    revoked_by   BIGINT,
    after_size   BIGINT NOT NULL,
    PRIMARY KEY (fingerprint, category)
) WITHOUT ROWID;
CREATE INDEX view_endorsed_by_category ON view_endorsed (category, entry_id);

CREATE TABLE view_profiles (
    fingerprint   TEXT   PRIMARY KEY,
    kind          TEXT   NOT NULL,
    display_name  TEXT   NOT NULL,
    server        TEXT,
    timestamp     BIGINT NOT NULL,
    entry_id      BIGINT NOT NULL
) WITHOUT ROWID;

CREATE TABLE view_witnesses (
    fingerprint  TEXT   PRIMARY KEY,
    proof_id     BIGINT NOT NULL,
    tree_size    BIGINT NOT NULL,
    root_hash    TEXT   NOT NULL,
    signed_at    BIGINT NOT NULL,
    recorded_at  BIGINT NOT NULL,
    cosigner     TEXT
) WITHOUT ROWID;

-- What this node knows and the log must not: never replicated, never rebuilt.
CREATE TABLE local_meta (
    name   TEXT PRIMARY KEY,
    value  TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE local_idempotency (
    principal   TEXT   NOT NULL,
    key         TEXT   NOT NULL,
    body_hash   TEXT   NOT NULL,
    first_id    BIGINT NOT NULL,
    count       BIGINT NOT NULL,
    created_at  BIGINT NOT NULL,
    PRIMARY KEY (principal, key)
) WITHOUT ROWID;
CREATE INDEX local_idempotency_by_age ON local_idempotency (created_at);

CREATE TABLE local_pending_keys (
    fingerprint  TEXT   PRIMARY KEY,
    public_key   TEXT   NOT NULL,
    network      TEXT   NOT NULL,
    first_seen   BIGINT NOT NULL,
    body         TEXT   NOT NULL
) WITHOUT ROWID;

CREATE TABLE local_reserved_keys (
    key         TEXT   PRIMARY KEY,
    name        TEXT,
    category    TEXT   NOT NULL,
    expires_at  BIGINT NOT NULL
) WITHOUT ROWID;

CREATE TABLE local_evidence (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    kind        TEXT    NOT NULL,
    created_at  BIGINT  NOT NULL,
    bytes       BLOB    NOT NULL
);

CREATE TABLE local_incidents (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    kind         TEXT    NOT NULL,
    subject      TEXT    NOT NULL,
    class        TEXT    NOT NULL,
    reason       TEXT    NOT NULL,
    detail       TEXT    NOT NULL,
    opened_at    BIGINT  NOT NULL,
    acked_at     BIGINT,
    evidence_id  BIGINT
);
CREATE INDEX local_incidents_open ON local_incidents (acked_at, kind, subject);

CREATE TABLE local_cosignatures (
    tree_size    BIGINT NOT NULL,
    fingerprint  TEXT   NOT NULL,
    name         TEXT   NOT NULL,
    line         TEXT   NOT NULL,
    timestamp    BIGINT NOT NULL,
    PRIMARY KEY (tree_size, fingerprint)
) WITHOUT ROWID;
CREATE INDEX local_cosignatures_by_key ON local_cosignatures (fingerprint, tree_size);

CREATE TABLE local_reports (
    follower     TEXT   PRIMARY KEY,
    body         TEXT   NOT NULL,
    received_at  BIGINT NOT NULL,
    timestamp    BIGINT NOT NULL
) WITHOUT ROWID;

CREATE TABLE local_kept_heads (
    tree_size  BIGINT NOT NULL,
    timestamp  BIGINT NOT NULL,
    head_json  TEXT   NOT NULL,
    PRIMARY KEY (tree_size, timestamp)
) WITHOUT ROWID;
