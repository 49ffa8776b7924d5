-- The roles of a walled install and what each may do, run by `init --walled` and by every later `init` of such a database.
-- Run by who made the roles or by a superuser; nothing is taken from a role of another name. None of the four can log in:
-- a DBA puts logins into them.
--
--   owner      owns all of ours, and is what our functions run as: the one that may write the product's columns
--   reader     reads; writes nothing at all
--   corrector  reads, remembers, saves plans, calls apply_batch, delivers alerts; what decides a plan is not its to write
--   approver   reads ours, decides about plans, findings and exemptions, stops and resumes

-- The name of a role of this database's. Names are 63 bytes at most, so a long database's is shortened and told apart.
CREATE OR REPLACE FUNCTION credit_pipeline.role_of(word text) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'credit_pipeline_' || CASE WHEN octet_length(d.name) <= 37 THEN d.name
        ELSE left(regexp_replace(d.name, '[^a-zA-Z0-9_]', '_', 'g'), 28) || '_' || left(md5(d.name), 8) END || '_' || word
    FROM (SELECT current_database()::text AS name) AS d
$$;

-- The roles, and everything of ours handed over to the owner. Who runs this is a member of it until the transaction's end.
DO $$
DECLARE
    word text;
    role text;
    owner text := credit_pipeline.role_of('owner');
    thing record;
BEGIN
    FOREACH word IN ARRAY ARRAY['owner', 'reader', 'corrector', 'approver'] LOOP
        role := credit_pipeline.role_of(word);
        IF to_regrole(quote_ident(role)) IS NULL THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role);
        END IF;
    END LOOP;
    IF NOT pg_has_role(current_user, owner, 'USAGE') THEN
        EXECUTE format('GRANT %I TO CURRENT_USER', owner);
        PERFORM set_config('credit_pipeline.borrowed', 'yes', true);
    END IF;
    IF (SELECT n.nspowner <> to_regrole(quote_ident(owner)) FROM pg_namespace AS n WHERE n.nspname = 'credit_pipeline') THEN
        EXECUTE format('ALTER SCHEMA credit_pipeline OWNER TO %I', owner);
    END IF;
    FOR thing IN SELECT c.oid::regclass::text AS name FROM pg_class AS c
        WHERE c.relnamespace = 'credit_pipeline'::regnamespace AND c.relkind = 'r' AND c.relowner <> to_regrole(quote_ident(owner))
    LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO %I', thing.name, owner);
    END LOOP;
    FOR thing IN SELECT p.oid::regprocedure::text AS name FROM pg_proc AS p
        WHERE p.pronamespace = 'credit_pipeline'::regnamespace AND p.proowner <> to_regrole(quote_ident(owner))
    LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO %I', thing.name, owner);
    END LOOP;
END $$;

-- The exact rights, given by the owner. What is not named here was taken away before.
DO $$
DECLARE
    reader text := quote_ident(credit_pipeline.role_of('reader'));
    corrector text := quote_ident(credit_pipeline.role_of('corrector'));
    approver text := quote_ident(credit_pipeline.role_of('approver'));
    everyone text := concat_ws(', ', reader, corrector, approver);
    given record;
BEGIN
    EXECUTE 'REVOKE ALL ON ALL TABLES IN SCHEMA credit_pipeline FROM PUBLIC, ' || everyone;
    EXECUTE 'REVOKE ALL ON ALL FUNCTIONS IN SCHEMA credit_pipeline FROM PUBLIC, ' || everyone;
    EXECUTE 'GRANT USAGE ON SCHEMA credit_pipeline TO ' || everyone;
    EXECUTE 'GRANT SELECT ON ALL TABLES IN SCHEMA credit_pipeline TO ' || everyone;
    FOR given IN SELECT * FROM (VALUES
        (corrector, 'snapshot', 'INSERT'),
        (corrector, 'observation', 'INSERT, UPDATE'),
        (corrector, 'observation_log', 'INSERT'),
        (corrector, 'mismatch', 'INSERT, UPDATE'),
        (corrector, 'correction_plan', 'INSERT (plan_id, system, digest, state, as_of, run_id, population, entitlements, '
            'facts, failures, undoes), UPDATE (state, failures, finished_at)'),
        (corrector, 'correction', 'INSERT (plan_id, seq, system, account, lane, digest, bound, key, keys, set_label, grant_plan, '
            'grant_start, grant_end, grant_credits, reset_used, total_delta, used_delta, seen_label, seen_total, seen_used, '
            'content), UPDATE (outcome, failure)'),
        (corrector, 'webhook_event', 'UPDATE (state, attempts, forgiven, next_attempt_at, claimed_at, claimed_by, account, type, '
            'last_error, finished_at)'),
        (corrector, 'sync_request', 'UPDATE (state, attempts, next_attempt_at, claimed_at, claimed_by, outcome, last_error, '
            'finished_at)'),
        (corrector, 'outbox', 'INSERT (system, kind, subject, content), UPDATE (delivered, attempts, next_attempt_at, claimed_at, '
            'claimed_by, last_error, done_at)'),
        (approver, 'webhook_event', 'UPDATE (state, last_error, finished_at)'),
        (approver, 'mismatch', 'UPDATE (state, opened_at, accepted_until, closed_at, closed_why)'),
        (approver, 'exemption', 'INSERT, UPDATE, DELETE'),
        (approver, 'act', 'INSERT (system, what, subject, who, reason, detail)'),
        (approver, 'control', 'UPDATE (stopped_at, stop_reason, failed_applies)')
    ) AS g (role, tab, rights)
    LOOP
        EXECUTE format('GRANT %s ON credit_pipeline.%I TO %s', given.rights, given.tab, given.role);
    END LOOP;
    IF current_setting('server_version_num')::int >= 170000 THEN -- the planner's statistics after a large collection
        EXECUTE 'GRANT MAINTAIN ON credit_pipeline.observation TO ' || corrector;
    END IF;
    FOR given IN
        SELECT p.oid::regprocedure::text AS name, CASE p.proname WHEN 'decide' THEN approver ELSE corrector END AS role
        FROM pg_proc AS p WHERE p.pronamespace = 'credit_pipeline'::regnamespace
            AND (p.proname IN ('decide', 'apply_batch', 'inherit', 'invariants', 'note_apply', 'released', 'record_webhook')
                OR p.proname LIKE 'take\_webhooks\_%' OR p.proname LIKE 'tell\_webhook\_%')
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', given.name, given.role);
    END LOOP;
    UPDATE credit_pipeline.control SET install = 'walled' WHERE install <> 'walled';
END $$;
