-- What people are to be told. Each alert is written in the transaction of its cause, so that neither is there without the
-- other, and delivered afterwards, at least once to each sink of the YAML.

-- One row an alert. `subject` is what it is about: the run, the plan, the record and its attempt. `content` holds counts and
-- our own words, never an account, an address or a URL. `attempts` counts claims, so a worker that dies counts too.
CREATE TABLE credit_pipeline.outbox (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    system          text NOT NULL REFERENCES credit_pipeline.control,
    kind            text NOT NULL CHECK (kind IN ('findings', 'aged', 'plan_quarantined', 'webhook_dead', 'run_failed')),
    subject         text NOT NULL,
    content         jsonb NOT NULL DEFAULT '{}',
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    delivered       text[] NOT NULL DEFAULT '{}',     -- the sinks that have it
    attempts        int NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    claimed_at      timestamptz,
    claimed_by      text,
    last_error      text,                             -- why a sink does not have it, as a sentence
    done_at         timestamptz,                      -- when every sink had it
    CONSTRAINT outbox_once UNIQUE (system, kind, subject)
);
-- A tick reads these and nothing else, however many rows are done.
CREATE INDEX outbox_due ON credit_pipeline.outbox (system, next_attempt_at, id) WHERE done_at IS NULL;

-- `told`: severity, lane, expected and delta as they were when people were last told, in the current opening, which was at
-- `told_at`; NULL: they were not. `aged_at`: when they were told that it waits too long.
ALTER TABLE credit_pipeline.mismatch
    ADD COLUMN told jsonb, ADD COLUMN told_at timestamptz, ADD COLUMN aged_at timestamptz;
CREATE INDEX mismatch_to_age ON credit_pipeline.mismatch (system, opened_at)
    WHERE state = 'open' AND lane <> 'none' AND aged_at IS NULL;

-- A webhook dies in several places: its attempts are used up, its worker died in the last one, its body is too large.
CREATE FUNCTION credit_pipeline.tell_of_dead_webhook() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO credit_pipeline.outbox (system, kind, subject)
        VALUES (NEW.system, 'webhook_dead', NEW.id || ':' || NEW.attempts)
        ON CONFLICT (system, kind, subject) DO NOTHING;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION credit_pipeline.tell_of_dead_webhook() FROM PUBLIC;
CREATE TRIGGER told_when_dead AFTER INSERT ON credit_pipeline.webhook_event
    FOR EACH ROW WHEN (NEW.state = 'dead') EXECUTE FUNCTION credit_pipeline.tell_of_dead_webhook();
CREATE TRIGGER told_when_dying AFTER UPDATE OF state ON credit_pipeline.webhook_event
    FOR EACH ROW WHEN (NEW.state = 'dead' AND OLD.state <> 'dead')
    EXECUTE FUNCTION credit_pipeline.tell_of_dead_webhook();
