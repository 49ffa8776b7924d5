-- The write path, the same for every system: what a batch may do, in which order, under which locks. Whether its plan may
-- be written at all is in admission.sql, what a row is held to in guards.sql, whether all is well afterwards in
-- invariants.sql. The statements that touch product tables are in write_counter.sql and write_ledger.sql. Run by every
-- `init`, so it always matches the code. Every function is pinned to its own search_path and closed to PUBLIC, and
-- apply_batch runs with its owner's rights. SQLSTATEs of class CP are sentences for a person.
--
-- A layout answers for its tables with four functions of the system: lock_… (what stands there, under locks), check_…
-- (whether the reasons of the steps still hold), touched_… (what stands beside the credits, and what is wanted there) and
-- write_… (the statements). They raise CP100 where a row must fail, CP101 where it is stale,
-- CP102 where it is blocked.

-- What a ledger's transaction carries for the grant, and for the adjustments, of a correction.
CREATE OR REPLACE FUNCTION credit_pipeline.grant_words(
    c credit_pipeline.correction, OUT reference text, OUT description text)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(step ->> 'reference', c.keys[1]),
           format('%s: credits of the period from %s', c.grant_plan, to_char(c.grant_start AT TIME ZONE 'UTC', 'YYYY-MM-DD'))
        FROM jsonb_array_elements(c.content -> 'steps') AS s (step) WHERE step ->> 'step' = 'GrantCredits'
$$;
CREATE OR REPLACE FUNCTION credit_pipeline.adjustment_words(
    c credit_pipeline.correction, OUT reference text, OUT description text)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT string_agg(step ->> 'correction_key', '|' ORDER BY n), 'correction: ' || string_agg(step ->> 'cause', ', ' ORDER BY n)
        FROM jsonb_array_elements(c.content -> 'steps') WITH ORDINALITY AS s (step, n)
        WHERE step ->> 'step' = 'AdjustCredits' AND NOT (step ->> 'lower_used')::boolean
$$;

-- The object that a column of metadata holds: some products write it as JSON text inside JSON. Null where it is none.
CREATE OR REPLACE FUNCTION credit_pipeline.content(metadata jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    held jsonb := coalesce(nullif(metadata, 'null'), '{}');
BEGIN
    IF jsonb_typeof(held) = 'string' THEN
        held := (held #>> '{}')::jsonb;
    END IF;
    RETURN CASE WHEN jsonb_typeof(held) = 'object' THEN held END;
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END $$;

-- The metadata with one more key, in the form in which the product writes them.
CREATE OR REPLACE FUNCTION credit_pipeline.with_key(metadata jsonb, key text, value text) RETURNS jsonb
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN jsonb_typeof(metadata) = 'string' THEN to_jsonb(more::text) ELSE more END
        FROM (SELECT jsonb_set(credit_pipeline.content(metadata), ARRAY[key], to_jsonb(value)) AS more) AS one
$$;

-- An id as ids are compared: products write one uuid in several ways.
CREATE OR REPLACE FUNCTION credit_pipeline.bare_id(id text) RETURNS text
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$ SELECT translate(lower(id), '{}- ', '') $$;

-- A row as reports and the audit show it. Without a balance row nothing is used and nothing available, not even zero.
CREATE OR REPLACE FUNCTION credit_pipeline.balance(label text, total bigint, used bigint) RETURNS jsonb
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT jsonb_build_object('plan', label, 'total', total, 'used', used, 'available', total - used)
$$;

-- The chain's head while a batch is under way: a setting that ends with the transaction, and that a row which fails takes
-- back with itself. apply_batch sets it from `control`, whose row is locked, and writes it back once: a version of that
-- wide row for each change made the next one slower (measured: 0.9 instead of 0.4 ms at 30,000).
CREATE OR REPLACE FUNCTION credit_pipeline.head_moved(seq bigint, hash text) RETURNS void
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT set_config('credit_pipeline.head', seq || ' ' || hash, true);
$$;
CREATE OR REPLACE FUNCTION credit_pipeline.head_now(OUT seq bigint, OUT hash text)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT split_part(h, ' ', 1)::bigint, split_part(h, ' ', 2) FROM current_setting('credit_pipeline.head') AS h
$$;

-- Takes the keys, writes the audit row and moves the chain's head; returns the audit row's number.
CREATE OR REPLACE FUNCTION credit_pipeline.record_change(
    c credit_pipeline.correction, run_id text, approver text, before jsonb, after jsonb) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    install credit_pipeline.control;
    head record;
    payload text;
    chained text;
BEGIN
    IF c.grant_plan IS NOT NULL THEN
        INSERT INTO credit_pipeline."grant" (system, account, plan, period_start, period_end, credits, plan_id)
            VALUES (c.system, c.account, c.grant_plan, c.grant_start, c.grant_end, c.grant_credits, c.plan_id);
    END IF;
    SELECT k.* INTO install FROM credit_pipeline.control AS k WHERE k.system = c.system;
    SELECT h.seq, h.hash INTO head FROM credit_pipeline.head_now() AS h;
    payload := json_build_object(
        'system', c.system, 'seq', head.seq + 1,
        'at', to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'plan_id', c.plan_id, 'correction', c.seq, 'run_id', run_id,
        'account', c.account, 'billing_id', c.content -> 'billing_id',
        'codes', c.content -> 'codes', 'lane', c.lane, 'reasons', c.content -> 'reasons', 'key', c.key, 'keys', c.keys,
        'steps', (SELECT coalesce(jsonb_agg(step ORDER BY n), '[]')
                  FROM jsonb_array_elements(c.content -> 'steps') WITH ORDINALITY AS s (step, n)
                  WHERE step ->> 'step' NOT IN ('GrantCredits', 'AdjustCredits')),
        'delta', coalesce((after ->> 'available')::bigint, 0) - coalesce((before ->> 'available')::bigint, 0),
        'before', before, 'after', after,
        'approver', approver, 'four_eyes', install.four_eyes, 'install', install.install, 'session_user', session_user, 'application_name', current_setting('application_name'))::text;
    chained := encode(sha256(convert_to(head.hash || payload, 'UTF8')), 'hex');
    INSERT INTO credit_pipeline.audit (system, seq, payload, prev_hash, hash)
        VALUES (c.system, head.seq + 1, payload, head.hash, chained);
    INSERT INTO credit_pipeline.taken_key (system, key, audit_seq)
        SELECT c.system, k.key, head.seq + 1 FROM unnest(c.keys) AS k (key);
    PERFORM credit_pipeline.head_moved(head.seq + 1, chained);
    PERFORM credit_pipeline.record_undo(c, head.seq + 1, approver);
    RETURN head.seq + 1;
END $$;

-- Why a row that was written is not as it was meant: what the product's functions and triggers made of the statement.
CREATE OR REPLACE FUNCTION credit_pipeline.disagreement(before jsonb, wanted jsonb, after jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE
        WHEN after -> 'total' = wanted -> 'total' AND after -> 'used' = wanted -> 'used' THEN
            format('the product changed the row while it was written: %s is not what was written', (
                SELECT string_agg(w.key, ', ' ORDER BY w.key) FROM jsonb_each(wanted) AS w
                    WHERE after -> w.key IS DISTINCT FROM w.value))
        WHEN after -> 'total' = before -> 'total' AND after ->> 'available' = coalesce(before ->> 'available', '0') THEN
            format('the product wrote nothing and raised no error: wanted total %s, used %s, found total %s, used %s as before',
                   wanted ->> 'total', wanted ->> 'used', coalesce(after ->> 'total', 'none'), coalesce(after ->> 'used', 'none'))
        ELSE
            format('the product changed the row while it was written: wanted total %s, used %s, found total %s, used %s',
                   wanted ->> 'total', wanted ->> 'used', coalesce(after ->> 'total', 'none'), coalesce(after ->> 'used', 'none'))
        END
$$;

-- One correction, from lock to audit. Whatever goes wrong in it undoes this row alone; only what concerns the whole
-- transaction (deadlock, serialization, shutdown, no space) is passed on.
CREATE OR REPLACE FUNCTION credit_pipeline.apply_correction(
    c credit_pipeline.correction, run_id text, approver text,
    OUT outcome text, OUT failure text, OUT before jsonb, OUT after jsonb, OUT audit_seq bigint)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    held record;
    seen record;
    beside record;
    wanted jsonb;
    delta bigint := coalesce(c.grant_credits, 0) + c.total_delta - c.used_delta;
    moves boolean := c.grant_plan IS NOT NULL OR c.total_delta <> 0 OR c.used_delta <> 0;
    creates boolean := c.content -> 'steps' @> '[{"step": "CreateBalance"}]';
    used bigint; -- as it will stand before credits are written
    broken text;
BEGIN
    SELECT g.outcome, g.failure INTO outcome, failure FROM credit_pipeline.bound_guard(c) AS g;
    IF outcome IS NULL THEN
        SELECT g.outcome, g.failure INTO outcome, failure FROM credit_pipeline.key_guard(c, approver) AS g;
    END IF;
    IF outcome IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE format('SELECT * FROM credit_pipeline.%I($1)', 'lock_' || c.system) INTO held USING c.account;
    IF held.state = 'busy' THEN
        outcome := 'busy';
        failure := 'the product holds this row: the next run tries again';
        RETURN;
    ELSIF held.state = 'absent' THEN
        outcome := 'stale_skipped';
        failure := 'the account is gone from the store since the plan was made';
        RETURN;
    END IF;
    EXECUTE format('SELECT * FROM credit_pipeline.%I($1)', 'touched_' || c.system) INTO beside USING c;
    before := credit_pipeline.balance(held.label, held.total, held.used) || beside.stands;

    SELECT e.label, e.total, e.balanced INTO seen FROM credit_pipeline.expected(c) AS e;
    IF (held.state = 'no_balance') = seen.balanced THEN
        outcome := 'stale_skipped';
        failure := format('the balance row was %s since the plan was made', CASE WHEN seen.balanced THEN 'removed' ELSE 'made' END);
        RETURN;
    ELSIF held.label IS DISTINCT FROM seen.label OR held.total IS DISTINCT FROM seen.total
        OR held.used IS NULL AND held.state <> 'no_balance' THEN
        outcome := 'stale_skipped';
        failure := format('the row moved since the plan was made: plan %s -> %s, total %s -> %s',
                          coalesce(seen.label, 'none'), coalesce(held.label, 'none'), seen.total, coalesce(held.total::text, 'none'));
        RETURN;
    ELSIF held.state = 'no_balance' AND moves AND NOT creates THEN
        outcome := 'blocked_by_guard';
        failure := 'the account has no balance row, and this correction makes none: make a new plan';
        RETURN;
    END IF;

    SELECT g.outcome, g.failure INTO outcome, failure FROM credit_pipeline.grant_guard(c) AS g;
    IF outcome IS NULL THEN
        SELECT g.outcome, g.failure INTO outcome, failure FROM credit_pipeline.link_guard(c) AS g;
    END IF;
    IF outcome IS NOT NULL THEN
        RETURN;
    END IF;
    used := CASE WHEN creates THEN held.total ELSE held.used END;
    wanted := CASE WHEN c.reset_used
        THEN credit_pipeline.balance(coalesce(c.set_label, held.label), held.total - used + delta, 0)
        ELSE credit_pipeline.balance(coalesce(c.set_label, held.label), held.total + delta + c.used_delta, used + c.used_delta) END
        || beside.wanted;
    IF delta < 0 AND NOT (c.lane = 'approve' AND approver IS NOT NULL AND c.total_delta - c.used_delta = delta) THEN
        outcome := 'blocked_by_guard';
        failure := format('credit loss prevented: would fall %s -> %s', before ->> 'available', wanted ->> 'available');
        RETURN;
    ELSIF (wanted ->> 'used')::bigint < least(used, 0) OR delta < 0 AND (wanted ->> 'available')::bigint < 0 THEN
        outcome := 'blocked_by_guard';
        failure := format('would leave used %s and available %s: neither may fall below zero', wanted ->> 'used', wanted ->> 'available');
        RETURN;
    END IF;
    SELECT g.outcome, g.failure INTO outcome, failure FROM credit_pipeline.adjust_guard(c, approver) AS g;
    IF outcome IS NOT NULL THEN
        RETURN;
    END IF;

    EXECUTE format('SELECT credit_pipeline.%I($1)', 'check_' || c.system) USING c;
    EXECUTE format('SELECT credit_pipeline.%I($1)', 'write_' || c.system) USING c;
    -- Read again, not RETURNING: a trigger or function of the product may have changed the rows, or done nothing.
    EXECUTE format('SELECT * FROM credit_pipeline.%I($1)', 'lock_' || c.system) INTO held USING c.account;
    EXECUTE format('SELECT * FROM credit_pipeline.%I($1)', 'touched_' || c.system) INTO beside USING c;
    after := credit_pipeline.balance(held.label, held.total, held.used) || beside.stands;
    IF after IS DISTINCT FROM wanted THEN
        RAISE EXCEPTION USING ERRCODE = 'CP100', MESSAGE = credit_pipeline.disagreement(before, wanted, after);
    END IF;
    audit_seq := credit_pipeline.record_change(c, run_id, approver, before, after);
    outcome := 'changed';
EXCEPTION WHEN OTHERS THEN
    IF left(SQLSTATE, 2) IN ('25', '40', '53', '57', '58', 'XX') THEN
        RAISE;
    END IF;
    after := NULL;
    audit_seq := NULL;
    IF SQLSTATE = '55P03' THEN
        outcome := 'busy';
        failure := 'the product holds a row that this change needs: the next run tries again';
        RETURN;
    END IF;
    IF SQLSTATE IN ('CP101', 'CP102') THEN
        outcome := CASE SQLSTATE WHEN 'CP101' THEN 'stale_skipped' ELSE 'blocked_by_guard' END;
        failure := SQLERRM;
        RETURN;
    END IF;
    -- Never the message or DETAIL of a product's error: they hold users' data.
    GET STACKED DIAGNOSTICS broken = CONSTRAINT_NAME;
    outcome := 'failed';
    failure := CASE WHEN SQLSTATE = 'CP100' THEN SQLERRM
        ELSE format('the database refused the change with SQLSTATE %s%s', SQLSTATE, CASE WHEN broken = '' THEN '' ELSE ', constraint ' || broken END) END;
END $$;

-- The next rows in account order: the index's, so that a large plan is not sorted for each batch, and within the batch by
-- bytes, so that locks are taken alike whatever the database's collation. Rows of lane approve that nobody released are left
-- alone; one whose column `approved` says otherwise comes along, to be told that it is not. It leans on correction_waiting.
CREATE OR REPLACE FUNCTION credit_pipeline.next_rows(plan credit_pipeline.correction_plan, size int)
    RETURNS credit_pipeline.correction[]
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
BEGIN
    RETURN (SELECT array_agg(w.correction ORDER BY w.account COLLATE "C", w.seq) FROM (
        SELECT c AS correction, c.account, c.seq FROM credit_pipeline.correction AS c
            WHERE c.plan_id = plan.plan_id AND c.outcome IS NULL AND (c.lane = 'auto' OR c.approved
                OR c.digest IN (SELECT r.digest FROM credit_pipeline.released(plan.system, 'approve') AS r))
            ORDER BY c.account, c.seq LIMIT size) AS w);
END $$;

-- One transaction over at most `size` waiting rows, in account order; no rows come back when none is left.
CREATE OR REPLACE FUNCTION credit_pipeline.apply_batch(plan_id text, size int)
    RETURNS TABLE (seq int, account text, outcome text, failure text, before jsonb, after jsonb)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    plan credit_pipeline.correction_plan := credit_pipeline.admit(apply_batch.plan_id);
    batch credit_pipeline.correction[];
    auto_digests text[];
    named_digests text[];
    strange boolean;
    waiting record;
    result record;
BEGIN
    IF apply_batch.size IS NULL OR apply_batch.size NOT BETWEEN 1 AND 200 THEN
        RAISE EXCEPTION USING ERRCODE = 'CP007', MESSAGE = format('a batch is 1 to 200 rows, not %s: ask for fewer', apply_batch.size);
    END IF;
    IF plan.state <> 'applying' THEN -- it came to its end meanwhile
        RETURN;
    END IF;
    batch := credit_pipeline.next_rows(plan, apply_batch.size);
    SELECT coalesce(array_agg(b.digest) FILTER (WHERE b.lane = 'auto'), '{}'),
           coalesce(array_agg(b.digest) FILTER (WHERE b.lane <> 'auto'), '{}'), bool_or(b.system <> plan.system)
        INTO auto_digests, named_digests, strange FROM unnest(batch) AS b;
    IF strange THEN
        RAISE EXCEPTION USING ERRCODE = 'CP009', MESSAGE = format(
            '%s: a row names another system than its plan: make a new one with `credit-pipeline fix %s --save`',
            plan.plan_id, plan.system);
    END IF;
    PERFORM credit_pipeline.cap_guard(plan, auto_digests);
    PERFORM credit_pipeline.head_moved(k.audit_seq, k.audit_hash) FROM credit_pipeline.control AS k WHERE k.system = plan.system;
    FOR waiting IN
        SELECT b AS correction, r.approver FROM unnest(batch) AS b
            LEFT JOIN (SELECT 'auto' AS lane, a.* FROM credit_pipeline.released(plan.system, 'auto', auto_digests) AS a
                       UNION ALL SELECT 'approve', a.* FROM credit_pipeline.released(plan.system, 'approve', named_digests) AS a) AS r
                ON r.lane = b.lane AND r.digest = b.digest
            ORDER BY b.account COLLATE "C", b.seq
    LOOP
        SELECT * INTO result FROM credit_pipeline.apply_correction(waiting.correction, plan.run_id, waiting.approver);
        UPDATE credit_pipeline.correction AS c SET outcome = result.outcome, failure = result.failure, audit_seq = result.audit_seq
            WHERE c.plan_id = apply_batch.plan_id AND c.seq = (waiting.correction).seq;
        seq := (waiting.correction).seq;
        account := (waiting.correction).account;
        outcome := result.outcome;
        failure := result.failure;
        before := result.before;
        after := result.after;
        RETURN NEXT;
    END LOOP;
    UPDATE credit_pipeline.control AS k
        SET audit_seq = h.seq, audit_hash = h.hash, first_applied = coalesce(k.first_applied, now())
        FROM credit_pipeline.head_now() AS h WHERE k.system = plan.system AND k.audit_seq <> h.seq;
END $$;
