-- What a leader knows of those who prove that they hold a key: never in the log.
CREATE TABLE local_challenges (
    challenge_id  TEXT COLLATE "C"   PRIMARY KEY,
    nonce         TEXT COLLATE "C"   NOT NULL,
    fingerprint   TEXT COLLATE "C"   NOT NULL,
    purpose       TEXT COLLATE "C"   NOT NULL,
    recovery      BIGINT NOT NULL,
    expires_at    BIGINT NOT NULL,
    used_at       BIGINT
);
CREATE INDEX local_challenges_by_expiry ON local_challenges (expires_at);

CREATE TABLE local_passwords (
    fingerprint  TEXT COLLATE "C"   PRIMARY KEY,
    hash         TEXT COLLATE "C"   NOT NULL,
    set_at       BIGINT NOT NULL
);

-- Keys that answered a challenge in its first signed form where the log does not show it.
CREATE TABLE local_v1_keys (
    fingerprint  TEXT COLLATE "C"   PRIMARY KEY
);
