-- What a leader knows of those who prove that they hold a key: never in the log.
CREATE TABLE local_challenges (
    challenge_id  TEXT   PRIMARY KEY,
    nonce         TEXT   NOT NULL,
    fingerprint   TEXT   NOT NULL,
    purpose       TEXT   NOT NULL,
    recovery      BIGINT NOT NULL,
    expires_at    BIGINT NOT NULL,
    used_at       BIGINT
) WITHOUT ROWID;
CREATE INDEX local_challenges_by_expiry ON local_challenges (expires_at);

CREATE TABLE local_passwords (
    fingerprint  TEXT   PRIMARY KEY,
    hash         TEXT   NOT NULL,
    set_at       BIGINT NOT NULL
) WITHOUT ROWID;

-- Keys that answered a challenge in its first signed form where the log does not show it.
CREATE TABLE local_v1_keys (
    fingerprint  TEXT   PRIMARY KEY
) WITHOUT ROWID;
