-- Who is told of entries, and how far: a place in the log. Nothing here is written when an entry is
-- appended. Secrets are kept as they are: an HMAC can't be made of a hash.
CREATE TABLE local_webhooks (
    id             TEXT   PRIMARY KEY,
    owner          TEXT   NOT NULL,
    url            TEXT   NOT NULL,
    events         TEXT   NOT NULL,
    secret         BLOB   NOT NULL,
    signing_seed   BLOB   NOT NULL,
    created_at     BIGINT NOT NULL,
    state          TEXT   NOT NULL,
    next_id        BIGINT NOT NULL,
    generation     BIGINT NOT NULL,
    due_at         BIGINT,
    paused_until   BIGINT NOT NULL,
    failing_since  BIGINT
) WITHOUT ROWID;
CREATE INDEX local_webhooks_by_owner ON local_webhooks (owner, created_at);
CREATE INDEX local_webhooks_by_due ON local_webhooks (due_at) WHERE due_at IS NOT NULL;

-- What they are told of: pending while there is a time at which it is due.
CREATE TABLE local_webhook_messages (
    webhook_id       TEXT   NOT NULL,
    entry_id         BIGINT NOT NULL,
    attempts         BIGINT NOT NULL,
    due_at           BIGINT,
    first_at         BIGINT,
    last_at          BIGINT,
    response_status  BIGINT,
    fault            TEXT,
    PRIMARY KEY (webhook_id, entry_id)
) WITHOUT ROWID;
CREATE INDEX local_webhook_messages_by_due ON local_webhook_messages (webhook_id, due_at)
    WHERE due_at IS NOT NULL;
