-- The doors by which the product reaches us: webhooks that it could not handle, and accounts that it wants looked at now.
-- The functions by which it knocks are in adapters/sql/doors.sql, which every `init` renews.

-- Who bills the system, in the provider's own word: by it a webhook finds its system.
ALTER TABLE credit_pipeline.control ADD COLUMN provider text;

-- One row a webhook that failed at the product's. The body is kept as the bytes that came: jsonb and text refuse some of
-- what comes. It is a hint at most. `attempts` counts claims, so a worker that dies counts too.
CREATE TABLE credit_pipeline.webhook_event (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    system          text NOT NULL REFERENCES credit_pipeline.control,
    provider        text NOT NULL,
    event_id        text NOT NULL,
    own_id          text,                  -- the row of the product's own table, where it came from there
    type            text,
    account         text,                  -- whose it is, where the product says so
    raw             bytea,                 -- NULL: there was none, or it was too large to be kept
    verified_at     timestamptz,           -- when the product found the signature good; NULL: it did not say
    error           text,                  -- why the product failed, in its words
    received_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    state           text NOT NULL DEFAULT 'failed' CHECK (state IN ('failed', 'claimed', 'repaired', 'dead', 'superseded',
                                                                    'discarded')),
    attempts        int NOT NULL DEFAULT 0,
    forgiven        int NOT NULL DEFAULT 0, -- attempts before a person sent it round again: their numbers never come back
    next_attempt_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    claimed_at      timestamptz,
    claimed_by      text,
    last_error      text,                  -- what came of the last attempt, as a sentence
    finished_at     timestamptz,
    CONSTRAINT webhook_event_once UNIQUE (system, provider, event_id)
);
-- A tick reads these and nothing else, however many rows are done.
CREATE INDEX webhook_event_due ON credit_pipeline.webhook_event (system, next_attempt_at, id) WHERE state = 'failed';
CREATE INDEX webhook_event_claimed ON credit_pipeline.webhook_event (system, claimed_at) WHERE state = 'claimed';
CREATE INDEX webhook_event_dead ON credit_pipeline.webhook_event (system, finished_at) WHERE state = 'dead';

-- One row a wish of the product's that an account be looked at. `outcome` is what came of it.
CREATE TABLE credit_pipeline.sync_request (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    system          text NOT NULL REFERENCES credit_pipeline.control,
    account         text NOT NULL,
    reason          text NOT NULL DEFAULT '',
    requested_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    requested_by    text NOT NULL DEFAULT session_user,
    state           text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'claimed', 'done', 'failed')),
    attempts        int NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    claimed_at      timestamptz,
    claimed_by      text,
    outcome         text,
    last_error      text,
    finished_at     timestamptz
);
CREATE INDEX sync_request_due ON credit_pipeline.sync_request (system, next_attempt_at, id) WHERE state = 'waiting';
CREATE INDEX sync_request_claimed ON credit_pipeline.sync_request (system, claimed_at) WHERE state = 'claimed';
-- The rate limits look at an account's newest requests.
CREATE INDEX sync_request_account ON credit_pipeline.sync_request (system, account, requested_at);

-- Numbers do not start again where a database is made anew: Dagster starts no run under a key (record:attempt) that it has
-- seen, so a record that got an old number would never be repaired.
DO $$ BEGIN
    EXECUTE format('ALTER TABLE credit_pipeline.webhook_event ALTER COLUMN id RESTART WITH %s',
                   10 * floor(extract(epoch FROM clock_timestamp()) - 1700000000)::bigint);
    EXECUTE format('ALTER TABLE credit_pipeline.sync_request ALTER COLUMN id RESTART WITH %s',
                   10 * floor(extract(epoch FROM clock_timestamp()) - 1700000000)::bigint);
END $$;
