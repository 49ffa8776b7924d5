-- People are told when no comparison comes any more: what does not look finds nothing, and so had nothing to tell.
ALTER TABLE credit_pipeline.outbox DROP CONSTRAINT outbox_kind_check;
ALTER TABLE credit_pipeline.outbox ADD CONSTRAINT outbox_kind_check CHECK (kind IN (
    'findings', 'aged', 'plan_quarantined', 'webhook_dead', 'run_failed', 'not_compared'));

-- When people were last told of that kind: what comes soon after waits, and comes with the next message.
CREATE INDEX outbox_told ON credit_pipeline.outbox (system, kind, done_at) WHERE done_at IS NOT NULL;
