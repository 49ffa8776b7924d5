-- What people decide outside of plans: about findings, exemptions, and the kill switch.

-- One row a decision and subject, written in the same transaction as what it changed. `what` is ack, accept, exempt,
-- exempt_end, stop or resume; `subject` is the finding's fingerprint or the account, NULL for the whole system.
CREATE TABLE credit_pipeline.act (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    system  text NOT NULL REFERENCES credit_pipeline.control,
    at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    what    text NOT NULL,
    subject text,
    who     text NOT NULL CHECK (btrim(who) <> ''),
    login   text NOT NULL DEFAULT session_user,
    reason  text NOT NULL CHECK (btrim(reason) <> ''),
    detail  jsonb NOT NULL DEFAULT '{}'    -- what else was said, and what stood there before
);
CREATE INDEX act_subject ON credit_pipeline.act (system, subject, id);

CREATE FUNCTION credit_pipeline.act_is_append_only() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'credit_pipeline.act is append-only: % refused', TG_OP USING ERRCODE = 'insufficient_privilege';
END $$;
REVOKE ALL ON FUNCTION credit_pipeline.act_is_append_only() FROM PUBLIC;
CREATE TRIGGER append_only_rows BEFORE UPDATE OR DELETE ON credit_pipeline.act
    FOR EACH ROW EXECUTE FUNCTION credit_pipeline.act_is_append_only();
CREATE TRIGGER append_only_table BEFORE TRUNCATE ON credit_pipeline.act
    FOR EACH STATEMENT EXECUTE FUNCTION credit_pipeline.act_is_append_only();

-- Findings that are accepted for a time come back by themselves, so their accounts are watched.
CREATE INDEX mismatch_until ON credit_pipeline.mismatch (system, account)
    WHERE state = 'accepted' AND accepted_until IS NOT NULL;
