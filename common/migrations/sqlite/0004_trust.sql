-- Keys stand for each other. Views are made anew from the log at the next start.
CREATE TABLE view_endorsements (
    offer_id     INTEGER PRIMARY KEY,
    endorser     TEXT   NOT NULL,
    endorsed     TEXT   NOT NULL,
    category     TEXT   NOT NULL,
    institution  TEXT,
    offered_at   BIGINT NOT NULL,
    valid_until  BIGINT,
    asserted     BIGINT NOT NULL,
    accept_id    BIGINT,
    accepted_at  BIGINT,
    active_from  BIGINT,
    level        BIGINT,
    ended_how    TEXT,
    ended_by     BIGINT,
    ended_at     BIGINT
);
-- What counts of a key: rules bound how many of these there are.
CREATE INDEX view_endorsements_given ON view_endorsements (endorser, offer_id)
    WHERE ended_by IS NULL;
CREATE INDEX view_endorsements_accepted ON view_endorsements (endorsed, offer_id)
    WHERE ended_by IS NULL AND accept_id IS NOT NULL;
-- What there ever was, with all that a walk from key to key asks for: it never reads the table.
CREATE INDEX view_endorsements_issued ON view_endorsements
    (endorser, endorsed, offer_id, category, valid_until, accept_id, active_from, ended_how, ended_by);
CREATE INDEX view_endorsements_received ON view_endorsements
    (endorsed, offer_id, endorser, category, valid_until, accept_id, active_from, ended_how, ended_by);

CREATE TABLE view_alerts (
    endorser      TEXT   NOT NULL,
    compromised   TEXT   NOT NULL,
    entry_id      BIGINT NOT NULL,
    at            BIGINT NOT NULL,
    withdrawn_by  BIGINT,
    PRIMARY KEY (endorser, compromised)
) WITHOUT ROWID;
CREATE INDEX view_alerts_of ON view_alerts (compromised, entry_id) WHERE withdrawn_by IS NULL;

CREATE TABLE view_trust_configs (
    fingerprint  TEXT   PRIMARY KEY,
    entry_id     BIGINT NOT NULL,
    at           BIGINT NOT NULL,
    revoked_by   BIGINT
) WITHOUT ROWID;
CREATE INDEX view_trust_configs_by_entry ON view_trust_configs (entry_id)
    WHERE revoked_by IS NULL;

CREATE TABLE view_claims (
    commitment   TEXT   PRIMARY KEY,
    entry_id     BIGINT NOT NULL,
    claimant     TEXT   NOT NULL,
    at           BIGINT NOT NULL,
    revealed_by  BIGINT
) WITHOUT ROWID;
CREATE UNIQUE INDEX view_claims_by_entry ON view_claims (entry_id);
CREATE INDEX view_claims_by_claimant ON view_claims (claimant, entry_id);
