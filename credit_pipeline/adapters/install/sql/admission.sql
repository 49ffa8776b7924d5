-- Whether a plan may be written at all: the kill switch, the pins, the plan's age and digest, the caps and who lifted
-- them. The guards of a single row are in guards.sql, the batch itself in apply_batch.sql. Every function is pinned to its
-- own search_path. SQLSTATEs of class CP are sentences for a person.
--
-- Approval is read from the table `approval` alone. The columns `approved` and `limits_approved` are for display.

-- The newest decision about each of these row digests (NULL: about any) within 24 hours, where it is an approval.
CREATE OR REPLACE FUNCTION credit_pipeline.released(system text, lane text, digests text[])
    RETURNS TABLE (digest text, approver text)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT newest.digest, a.approver FROM (
        SELECT d.digest, max(a.id) AS id
        FROM credit_pipeline.approval AS a CROSS JOIN LATERAL unnest(a.row_digests) AS d (digest)
        WHERE a.system = released.system AND a.lane = released.lane AND a.decided_at > now() - interval '24 hours'
          AND (digests IS NULL OR d.digest IN (SELECT unnest(digests)))
        GROUP BY d.digest) AS newest
    JOIN credit_pipeline.approval AS a ON a.id = newest.id
    WHERE a.decision = 'approve'
$$;
CREATE OR REPLACE FUNCTION credit_pipeline.released(system text, lane text)
    RETURNS TABLE (digest text, approver text)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT r.digest, r.approver FROM credit_pipeline.released(system, lane, NULL) AS r
$$;

-- Whether one approval of lane auto within 24 hours names all of these digests, none of which was rejected after it. One:
-- two small approvals never add up to a large one that nobody saw. Set operations, since the arrays hold thousands.
CREATE OR REPLACE FUNCTION credit_pipeline.lifted(system text, digests text[]) RETURNS boolean
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    candidate record;
BEGIN
    FOR candidate IN
        SELECT a.id, a.row_digests FROM credit_pipeline.approval AS a
            WHERE a.system = lifted.system AND a.lane = 'auto' AND a.decision = 'approve'
              AND a.decided_at > now() - interval '24 hours'
            ORDER BY a.id DESC
    LOOP
        IF NOT EXISTS (SELECT unnest(digests) EXCEPT SELECT unnest(candidate.row_digests)) THEN
            RETURN NOT EXISTS (
                SELECT unnest(digests)
                INTERSECT
                SELECT d.digest FROM credit_pipeline.approval AS a CROSS JOIN LATERAL unnest(a.row_digests) AS d (digest)
                    WHERE a.system = lifted.system AND a.lane = 'auto' AND a.decision = 'reject' AND a.id > candidate.id);
        END IF;
    END LOOP;
    RETURN false;
END $$;

-- Numbers as sentences have them: 1,500, and 3/40 (7.5%).
CREATE OR REPLACE FUNCTION credit_pipeline.grouped(number bigint) RETURNS text
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$ SELECT to_char(number, 'FM9,999,999,999,999,999,990') $$;
CREATE OR REPLACE FUNCTION credit_pipeline.share(part bigint, whole bigint) RETURNS text
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT format('%s/%s', credit_pipeline.grouped(part), credit_pipeline.grouped(whole))
        || CASE WHEN whole <> 0 THEN to_char(100.0 * part / whole, '" ("FM9999999990.0"%)"') ELSE '' END
$$;

-- This server and database are those that `init` pinned: a copy, a restored backup or another server is not.
CREATE OR REPLACE FUNCTION credit_pipeline.environment_guard(head credit_pipeline.control) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    server text := (SELECT s.system_identifier::text FROM pg_control_system() AS s);
BEGIN
    IF head.pins ->> 'system_identifier' IS NULL OR head.pins ->> 'database' IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'CP008', MESSAGE = format(
            '%s: this database was installed by an older version, without pins: run `credit-pipeline init %1$s`', head.system);
    ELSIF head.pins ->> 'system_identifier' <> server OR head.pins ->> 'database' <> current_database() THEN
        RAISE EXCEPTION USING ERRCODE = 'CP008', MESSAGE = format(
            '%s: this is database `%s` of server %s, but `%s` of server %s is pinned: use that one, or, where this one is meant, '
            'run `credit-pipeline init %1$s --repin --as YOU --reason WHY`',
            head.system, current_database(), server, head.pins ->> 'database', head.pins ->> 'system_identifier');
    END IF;
END $$;

-- The plan is young enough: 60 minutes without an approval, until its first change; 24 hours after the newest approval.
CREATE OR REPLACE FUNCTION credit_pipeline.age_guard(plan credit_pipeline.correction_plan, began boolean) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    decided timestamptz;
    allowed interval;
    age interval;
BEGIN
    SELECT max(a.decided_at) INTO decided FROM credit_pipeline.approval AS a
        WHERE a.system = plan.system AND a.plan_id = plan.plan_id AND a.decision = 'approve';
    allowed := CASE WHEN decided IS NULL AND NOT began THEN interval '60 minutes' ELSE interval '24 hours' END;
    age := now() - coalesce(decided, plan.created_at);
    IF age > allowed THEN
        RAISE EXCEPTION USING ERRCODE = 'CP005', MESSAGE = format(
            '%s: the plan is %s min old, limit %s: make a new one with `credit-pipeline fix %s --save`', plan.plan_id,
            credit_pipeline.grouped(floor(extract(epoch FROM age) / 60)::bigint),
            credit_pipeline.grouped((extract(epoch FROM allowed) / 60)::bigint), plan.system);
    END IF;
END $$;

-- The rows are those that were saved: the digest that an approver typed is of the system and all row digests.
CREATE OR REPLACE FUNCTION credit_pipeline.digest_guard(plan credit_pipeline.correction_plan) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    hashed text;
BEGIN
    SELECT encode(sha256(convert_to(format('[%s, [%s]]', to_json(plan.system),
               coalesce(string_agg('"' || c.digest || '"', ', ' ORDER BY c.digest COLLATE "C"), '')), 'UTF8')), 'hex')
        INTO hashed FROM credit_pipeline.correction AS c WHERE c.plan_id = plan.plan_id;
    IF hashed IS DISTINCT FROM plan.digest THEN
        RAISE EXCEPTION USING ERRCODE = 'CP009', MESSAGE = format(
            '%s: rows were added or removed after it was saved: make a new one with `credit-pipeline fix %s --save`',
            plan.plan_id, plan.system);
    END IF;
END $$;

-- Whether a row of this plan was changed already. It leans on audit_plan.
CREATE OR REPLACE FUNCTION credit_pipeline.began(plan_id text) RETURNS boolean
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
BEGIN
    RETURN EXISTS (SELECT FROM credit_pipeline.audit AS a WHERE a.plan_id = began.plan_id);
END $$;

-- Whether this plan may be written now; raises where not. Holds the system's control row until the transaction ends:
-- appliers of one system come one after the other, and the head of the audit chain is theirs alone. NO KEY UPDATE, so
-- that saving a new plan, which refers to the row, need not wait.
-- The plan's digest is of all its rows (0.1 s for 30,000), so it is asked until the first change only; what is written
-- afterwards is held to its own digest, row by row, in bound_guard.
-- A plan that came to its end is no error: of two applies at once, one is the last to ask.
CREATE OR REPLACE FUNCTION credit_pipeline.admit(plan_id text) RETURNS credit_pipeline.correction_plan
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    plan credit_pipeline.correction_plan;
    head credit_pipeline.control;
    generated_for text;
    began boolean;
BEGIN
    IF pg_is_in_recovery() THEN
        RAISE EXCEPTION USING ERRCODE = 'CP006', MESSAGE =
            'this server is a read-only standby: use the URL of the primary';
    END IF;
    -- `stop` waits here for the batch under way, and this queue is in order; that for a row lets the next batch past it.
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('credit_pipeline.stop ' || p.system, 0))
        FROM credit_pipeline.correction_plan AS p WHERE p.plan_id = admit.plan_id;
    SELECT k.* INTO head FROM credit_pipeline.control AS k
        JOIN credit_pipeline.correction_plan AS p ON p.system = k.system
        WHERE p.plan_id = admit.plan_id FOR NO KEY UPDATE OF k;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'CP002', MESSAGE = format(
            '%s: there is no such plan: `credit-pipeline plans SYSTEM` lists them', plan_id);
    END IF;
    SELECT p.* INTO plan FROM credit_pipeline.correction_plan AS p WHERE p.plan_id = admit.plan_id FOR UPDATE;
    IF head.stopped_at IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'CP001', MESSAGE = format(
            '%s: stopped since %s (%s): `credit-pipeline resume %1$s` lets it write again', head.system,
            to_char(head.stopped_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI "UTC"'), coalesce(head.stop_reason, 'no reason given'));
    END IF;
    IF plan.state IN ('applied', 'partly_applied') THEN
        RETURN plan;
    ELSIF plan.state <> 'applying' THEN
        RAISE EXCEPTION USING ERRCODE = 'CP003', MESSAGE = format(
            '%s: the plan is %s, not applying: `credit-pipeline apply %1$s --live` starts it', plan_id, plan.state);
    END IF;
    PERFORM credit_pipeline.environment_guard(head);
    IF to_regprocedure(format('credit_pipeline.%I()', 'config_hash_' || head.system)) IS NOT NULL THEN
        EXECUTE format('SELECT credit_pipeline.%I()', 'config_hash_' || head.system) INTO generated_for;
    END IF;
    IF generated_for IS DISTINCT FROM head.config_hash THEN
        RAISE EXCEPTION USING ERRCODE = 'CP004', MESSAGE = format(
            '%s: the write functions were generated for another table or columns: run `credit-pipeline init %1$s`', head.system);
    END IF;
    began := credit_pipeline.began(plan_id);
    PERFORM credit_pipeline.age_guard(plan, began);
    IF NOT began THEN
        PERFORM credit_pipeline.digest_guard(plan);
    END IF;
    RETURN plan;
END $$;

-- The caps on what is automatic, with the formulas of domain/guards.py, and the first plan of a system: lifted by one
-- approval of lane auto alone. Counted are the automatic rows that the plan changed, by the audit, and those that wait.
-- Before the first change the approval must name all that wait; later every batch's own rows (`digests`), so that a plan
-- of thousands is not read whole for each batch.
CREATE OR REPLACE FUNCTION credit_pipeline.cap_guard(plan credit_pipeline.correction_plan, digests text[]) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
    head credit_pipeline.control;
    began boolean := credit_pipeline.began(plan.plan_id);
    row_limit bigint;
    credit_limit bigint;
    changed bigint := 0;
    changed_credits bigint := 0;
    waiting bigint;
    waiting_credits bigint;
    of_first boolean;
    release text := format('review, then credit-pipeline approve %s --lane auto --as YOU --reason WHY', plan.plan_id);
BEGIN
    IF began AND digests = '{}' THEN
        RETURN;
    END IF;
    SELECT k.* INTO head FROM credit_pipeline.control AS k WHERE k.system = plan.system;
    -- Binary fractions, as Python has them: the same share of the same number is the same limit.
    row_limit := least((head.limits ->> 'rows_ceiling')::bigint, greatest((head.limits ->> 'rows_floor')::bigint,
        floor((head.limits ->> 'rows_share')::float8 * plan.population)::bigint));
    credit_limit := greatest((head.limits ->> 'credits_allowances')::bigint
        * (SELECT max(k.credits) FROM credit_pipeline.catalogue AS k WHERE k.system = plan.system),
        floor((head.limits ->> 'credits_share')::float8 * plan.entitlements)::bigint);
    IF EXISTS (SELECT FROM unnest(ARRAY['rows_floor', 'rows_share', 'rows_ceiling', 'credits_allowances', 'credits_share']) AS n (name)
               WHERE jsonb_typeof(head.limits -> n.name) IS DISTINCT FROM 'number') THEN
        RAISE EXCEPTION USING ERRCODE = 'CP010', MESSAGE = format(
            '%s: this database was installed by an older version, without limits: run `credit-pipeline init %1$s`', plan.system);
    END IF;
    -- One row more than allowed tells enough, however many there are.
    SELECT count(*), coalesce(sum(abs(w.delta)), 0) INTO waiting, waiting_credits FROM (
        SELECT coalesce(c.grant_credits, 0) + c.total_delta - c.used_delta AS delta FROM credit_pipeline.correction AS c
            WHERE c.plan_id = plan.plan_id AND c.outcome IS NULL AND c.lane = 'auto' LIMIT row_limit + 1) AS w;
    IF waiting = 0 THEN
        RETURN;
    END IF;
    of_first := head.first_applied IS NULL OR plan.plan_id = (
        SELECT a.plan_id FROM credit_pipeline.audit AS a WHERE a.system = plan.system AND a.seq = 1);
    IF began AND waiting <= row_limit AND waiting_credits <= credit_limit THEN
        SELECT count(*), coalesce(sum(abs(a.delta)), 0) INTO changed, changed_credits FROM credit_pipeline.audit AS a
            WHERE a.plan_id = plan.plan_id AND a.payload::jsonb ->> 'lane' = 'auto';
    END IF;
    IF NOT of_first AND waiting + changed <= row_limit AND waiting_credits + changed_credits <= credit_limit THEN
        RETURN;
    END IF;
    IF NOT began THEN
        SELECT array_agg(c.digest) INTO digests FROM credit_pipeline.correction AS c
            WHERE c.plan_id = plan.plan_id AND c.outcome IS NULL AND c.lane = 'auto';
    END IF;
    IF credit_pipeline.lifted(plan.system, digests) THEN
        RETURN;
    END IF;
    SELECT waits.n + made.n, waits.credits + made.credits INTO waiting, waiting_credits FROM (
        SELECT count(*) AS n, coalesce(sum(abs(coalesce(c.grant_credits, 0) + c.total_delta - c.used_delta)), 0) AS credits
            FROM credit_pipeline.correction AS c
            WHERE c.plan_id = plan.plan_id AND c.outcome IS NULL AND c.lane = 'auto') AS waits, (
        SELECT count(*) AS n, coalesce(sum(abs(a.delta)), 0) AS credits FROM credit_pipeline.audit AS a
            WHERE a.plan_id = plan.plan_id AND a.payload::jsonb ->> 'lane' = 'auto') AS made;
    IF waiting > row_limit THEN
        RAISE EXCEPTION USING ERRCODE = 'CP011', MESSAGE = format('%s: would change %s accounts, limit %s: %s',
            plan.plan_id, credit_pipeline.share(waiting, plan.population), credit_pipeline.grouped(row_limit), release);
    ELSIF waiting_credits > credit_limit THEN
        RAISE EXCEPTION USING ERRCODE = 'CP011', MESSAGE = format('%s: would move %s credits of a month, limit %s: %s',
            plan.plan_id, credit_pipeline.share(waiting_credits, plan.entitlements), credit_pipeline.grouped(credit_limit), release);
    END IF;
    RAISE EXCEPTION USING ERRCODE = 'CP011', MESSAGE = format(
        '%s: the first applied plan of a system needs approval: %s', plan.plan_id, release);
END $$;

-- Notes how an apply ended; NULL is well. So many failures in a row (limits: breaker) stop the system, and true says that
-- this one did.
CREATE OR REPLACE FUNCTION credit_pipeline.note_apply(plan_id text, failure text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    head credit_pipeline.control;
    why text;
BEGIN
    UPDATE credit_pipeline.control AS k
        SET failed_applies = CASE WHEN failure IS NULL THEN 0 ELSE k.failed_applies + 1 END
        FROM credit_pipeline.correction_plan AS p WHERE p.plan_id = note_apply.plan_id AND k.system = p.system
        RETURNING k.* INTO head;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'CP002', MESSAGE = format(
            '%s: there is no such plan: `credit-pipeline plans SYSTEM` lists them', plan_id);
    ELSIF head.failed_applies < coalesce((head.limits ->> 'breaker')::int, 3) OR head.stopped_at IS NOT NULL THEN
        RETURN false;
    END IF;
    why := format('circuit breaker: %s applies in a row failed, the last one of %s: %s', head.failed_applies, plan_id,
                  left(failure, 500));
    UPDATE credit_pipeline.control AS k SET stopped_at = clock_timestamp(), stop_reason = why WHERE k.system = head.system;
    INSERT INTO credit_pipeline.act (system, what, who, reason, detail)
        VALUES (head.system, 'stop', 'circuit breaker', why, jsonb_build_object('plan_id', plan_id));
    RETURN true;
END $$;
