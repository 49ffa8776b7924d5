-- The guards of a single row, repeated where they protect: under the locks, right before it is written. Whether its plan
-- may be written at all is in admission.sql, the batch in apply_batch.sql. Every function is pinned to its own search_path.
-- Each returns an outcome and its sentence; no outcome means go.

-- What will be written is what was bound: the text whose hash the approval names, the whole correction (`content`), and the
-- columns that are carried out say the same. A row that somebody put in or changed by hand does not get past this.
CREATE OR REPLACE FUNCTION credit_pipeline.bound_guard(
    c credit_pipeline.correction, OUT outcome text, OUT failure text)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    said record;
BEGIN
    outcome := 'blocked_by_guard';
    failure := CASE
        WHEN c.bound IS NULL THEN 'the row was saved without the text that its digest binds'
        WHEN left(encode(sha256(convert_to(c.bound, 'UTF8')), 'hex'), 32) IS DISTINCT FROM c.digest
            THEN 'the digest is not that of the text which it binds'
        WHEN c.bound::jsonb IS DISTINCT FROM jsonb_build_array(c.account, c.lane, (
                SELECT coalesce(jsonb_agg(code ORDER BY code COLLATE "C"), '[]')
                FROM jsonb_array_elements_text(c.content -> 'codes') AS s (code)), c.content -> 'steps')
            OR c.content ->> 'account_id' IS DISTINCT FROM c.account OR c.content ->> 'lane' IS DISTINCT FROM c.lane
            THEN 'the row holds another correction than the text which its digest binds'
        END;
    IF failure IS NULL THEN
        SELECT count(*) FILTER (WHERE kind = 'GrantCredits') AS grants,
               count(*) FILTER (WHERE kind = 'SetPlan') AS labels,
               min(step ->> 'label') FILTER (WHERE kind = 'SetPlan') AS set_label,
               min(step ->> 'plan') FILTER (WHERE kind = 'GrantCredits') AS grant_plan,
               min((step ->> 'period_start')::timestamptz) FILTER (WHERE kind = 'GrantCredits') AS grant_start,
               min((step ->> 'period_end')::timestamptz) FILTER (WHERE kind = 'GrantCredits') AS grant_end,
               min((step ->> 'delta')::bigint) FILTER (WHERE kind = 'GrantCredits') AS grant_credits,
               coalesce(bool_or((step ->> 'reset_used')::boolean) FILTER (WHERE kind = 'GrantCredits'), false) AS reset_used,
               min(step ->> 'grant_key') FILTER (WHERE kind = 'GrantCredits') AS grant_key,
               coalesce(array_agg(step ->> 'correction_key' ORDER BY n) FILTER (WHERE kind = 'AdjustCredits'), '{}') AS adjusted,
               coalesce(sum((step ->> 'delta')::bigint)
                   FILTER (WHERE kind = 'AdjustCredits' AND NOT (step ->> 'lower_used')::boolean), 0) AS total_delta,
               coalesce(-sum((step ->> 'delta')::bigint)
                   FILTER (WHERE kind = 'AdjustCredits' AND (step ->> 'lower_used')::boolean), 0) AS used_delta
            INTO said
            FROM jsonb_array_elements(c.content -> 'steps') WITH ORDINALITY AS s (step, n),
                 LATERAL (SELECT step ->> 'step' AS kind) AS k;
        IF said.grants > 1 OR said.labels > 1
            OR (said.set_label, said.grant_plan, said.grant_start, said.grant_end, said.grant_credits, said.reset_used,
                said.total_delta, said.used_delta)
               IS DISTINCT FROM (c.set_label, c.grant_plan, c.grant_start, c.grant_end, c.grant_credits, c.reset_used,
                c.total_delta::numeric, c.used_delta::numeric)
            OR said.grant_key IS DISTINCT FROM
               format('%s/%s/%s', c.account, c.grant_plan, floor(extract(epoch FROM c.grant_start))::bigint) AND said.grants = 1
            OR (CASE WHEN said.grants = 1 THEN said.grant_key || said.adjusted ELSE said.adjusted END) IS DISTINCT FROM c.keys
            OR nullif(array_to_string(c.keys, '|'), '') IS DISTINCT FROM c.key
            OR (c.content #>> '{seen,label}', (c.content #>> '{seen,total}')::bigint, (c.content #>> '{seen,used}')::bigint)
               IS DISTINCT FROM (c.seen_label, c.seen_total, c.seen_used) THEN
            failure := 'the columns that would be written say something else than the steps';
        END IF;
    END IF;
    IF failure IS NULL THEN
        outcome := NULL;
    ELSE
        failure := format('%s: it was not saved by this program as it stands: make a new plan with `credit-pipeline fix %s --save`',
                          failure, c.system);
    END IF;
EXCEPTION WHEN data_exception THEN
    failure := format('the row cannot be read: it was not saved by this program as it stands: '
                      'make a new plan with `credit-pipeline fix %s --save`', c.system);
END $$;

-- Whether this correction was made already, or is not released. No outcome means go. It leans on taken_key_pkey and grant_pkey;
-- seq scans are off here and below, because a session's plan made while these tables were small is kept as they grow.
CREATE OR REPLACE FUNCTION credit_pipeline.key_guard(
    c credit_pipeline.correction, approver text, OUT outcome text, OUT failure text)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
    taken int;
BEGIN
    SELECT count(*) INTO taken FROM credit_pipeline.taken_key AS t WHERE t.system = c.system AND t.key = ANY (c.keys);
    IF taken > 0 AND taken = cardinality(c.keys) OR c.grant_plan IS NOT NULL AND EXISTS (
        SELECT FROM credit_pipeline."grant" AS g WHERE g.system = c.system AND g.account = c.account
            AND g.plan = c.grant_plan AND date_trunc('second', g.period_start) = date_trunc('second', c.grant_start)) THEN
        outcome := 'noop_already_applied';
    ELSIF taken > 0 THEN
        outcome := 'stale_skipped';
        failure := 'a part of this correction was made already: the next plan holds the rest';
    ELSIF c.lane = 'approve' AND approver IS NULL THEN
        outcome := 'needs_approval';
        failure := format('its approval is older than 24 hours or was withdrawn: approve it again in a new plan of %s', c.system);
    END IF;
END $$;

-- Plan and total as they must still stand, and whether there is a balance at all: as seen, or as this plan's other
-- correction of the account left them. It leans on audit_account.
DROP FUNCTION IF EXISTS credit_pipeline.expected(credit_pipeline.correction); -- an older version returns less
CREATE FUNCTION credit_pipeline.expected(c credit_pipeline.correction, OUT label text, OUT total bigint, OUT balanced boolean)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
BEGIN
    SELECT a.after_label, a.after_total, a.after_used IS NOT NULL INTO label, total, balanced FROM credit_pipeline.audit AS a
        WHERE a.system = c.system AND a.account = c.account AND a.plan_id = c.plan_id ORDER BY a.seq DESC LIMIT 1;
    IF NOT FOUND THEN
        label := c.seen_label;
        total := c.seen_total;
        balanced := c.seen_used IS NOT NULL;
    END IF;
END $$;

-- How often a month's credits a grant may hold: a plan that is granted a year at once has them twelvefold.
CREATE OR REPLACE FUNCTION credit_pipeline.months(period_start timestamptz, period_end timestamptz) RETURNS int
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN period_end - period_start > interval '300 days' THEN 12 ELSE 1 END
$$;

-- What a plan's periods are worth that start then: the amount pinned, or the one that stood when the period started, where
-- a person accepted another since (`init --accept-catalogue`). It leans on act_subject.
CREATE OR REPLACE FUNCTION credit_pipeline.allowance_of(system text, plan text, period_start timestamptz) RETURNS bigint
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(
        (SELECT (a.detail #>> ARRAY['plans', allowance_of.plan, 'was'])::bigint FROM credit_pipeline.act AS a
             WHERE a.system = allowance_of.system AND a.subject IS NULL AND a.what = 'accept_catalogue'
               AND a.at > period_start AND a.detail #>> ARRAY['plans', allowance_of.plan, 'was'] IS NOT NULL
             ORDER BY a.id LIMIT 1),
        (SELECT k.credits FROM credit_pipeline.catalogue AS k
             WHERE k.system = allowance_of.system AND k.plan = allowance_of.plan))
$$;

-- What must hold before credits are granted, whatever the row looks like now: the amount is the catalogue's, and an
-- automatic grant is not near another grant or mark of the same plan. No outcome means go.
CREATE OR REPLACE FUNCTION credit_pipeline.grant_guard(
    c credit_pipeline.correction, OUT outcome text, OUT failure text)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
    near interval := 0.9 * (c.grant_end - c.grant_start);
    sold timestamptz := (SELECT min((step ->> 'sold_at')::timestamptz) FROM jsonb_array_elements(c.content -> 'steps') AS s (step)
                         WHERE step ->> 'step' = 'GrantCredits');
    allowance bigint;
    granted bigint;
    allowed bigint;
BEGIN
    IF c.grant_plan IS NULL THEN
        RETURN;
    END IF;
    outcome := 'blocked_by_guard';
    IF sold < c.grant_start OR sold >= c.grant_end THEN
        failure := format('an upgrade to %s is said to be of a time that is not in its period: make a new plan', c.grant_plan);
        RETURN;
    END IF;
    allowance := credit_pipeline.allowance_of(c.system, c.grant_plan, coalesce(sold, c.grant_start))
        * credit_pipeline.months(c.grant_start, c.grant_end);
    IF allowance IS NULL OR c.grant_credits > allowance THEN
        failure := format('a grant of %s credits is above the %s pinned for plan %s', c.grant_credits, coalesce(allowance, 0), c.grant_plan)
            || CASE WHEN c.grant_credits <= credit_pipeline.allowance_of(c.system, c.grant_plan, 'infinity')
                        * credit_pipeline.months(c.grant_start, c.grant_end)
                    THEN ' when this period started: what was accepted since counts from the next one'
                    ELSE format(': run `credit-pipeline init %s`', c.system) END;
        RETURN;
    END IF;
    -- An upgrade may have been granted with what its plan gave at the period's end.
    SELECT coalesce(sum(g.credits), 0), coalesce(sum(
               greatest(credit_pipeline.allowance_of(g.system, g.plan, g.period_start),
                        credit_pipeline.allowance_of(g.system, g.plan, g.period_end))
                   * credit_pipeline.months(g.period_start, g.period_end)), 0)
        INTO granted, allowed FROM credit_pipeline."grant" AS g
        WHERE g.system = c.system AND g.account = c.account AND g.period_start = c.grant_start;
    IF granted + c.grant_credits > allowed + allowance THEN
        failure := format('this period has %s credits already: %s more are above the allowances of its plans', granted, c.grant_credits);
        RETURN;
    END IF;
    IF c.lane = 'auto' AND EXISTS (
        SELECT FROM credit_pipeline."grant" AS g
            WHERE g.system = c.system AND g.account = c.account AND g.plan = c.grant_plan
              AND g.period_start > c.grant_start - near AND g.period_start < c.grant_start + near) THEN
        failure := format('%s was granted for a period less than 0.9 of a cycle away: a person must decide', c.grant_plan);
        RETURN;
    END IF;
    IF c.lane = 'auto' AND EXISTS (
        SELECT FROM (SELECT o.mark, o.billed_period_start FROM credit_pipeline.observation AS o
                         WHERE o.system = c.system AND o.account = c.account AND o.billed_plan = c.grant_plan
                     UNION ALL
                     SELECT l.mark, l.billed_period_start FROM credit_pipeline.observation_log AS l
                         WHERE l.system = c.system AND l.account = c.account AND l.billed_plan = c.grant_plan) AS seen
            WHERE seen.mark IS NOT NULL
              AND seen.billed_period_start > c.grant_start - near AND seen.billed_period_start < c.grant_start + near) THEN
        failure := format('the product granted %s itself less than 0.9 of a cycle away: a person must decide', c.grant_plan);
        RETURN;
    END IF;
    outcome := NULL;
END $$;

-- What must hold before a user is linked: the same id in both worlds is a guess, and only a person may act on one.
CREATE OR REPLACE FUNCTION credit_pipeline.link_guard(
    c credit_pipeline.correction, OUT outcome text, OUT failure text)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF c.lane = 'auto' AND EXISTS (
        SELECT FROM jsonb_array_elements(c.content -> 'steps') AS s (step)
            WHERE step ->> 'step' = 'LinkIdentity' AND (step ->> 'layer')::int <> 2) THEN
        outcome := 'blocked_by_guard';
        failure := 'only a user whose metadata name the account is linked automatically: a person must decide';
    END IF;
END $$;

-- What must hold before credits are adjusted: a person released the row, and a restore gives back no more than what its
-- findings recorded as lost. Where none of them is recorded, the amount that the person saw is the bound.
CREATE OR REPLACE FUNCTION credit_pipeline.adjust_guard(
    c credit_pipeline.correction, approver text, OUT outcome text, OUT failure text)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
    adjusted jsonb;
    recorded bigint;
BEGIN
    IF NOT c.content -> 'steps' @> '[{"step": "AdjustCredits"}]' THEN
        RETURN;
    ELSIF c.lane <> 'approve' OR approver IS NULL THEN
        outcome := 'blocked_by_guard';
        failure := 'credits are adjusted only where a person approved it: make a new plan';
        RETURN;
    END IF;
    FOR adjusted IN SELECT s.step FROM jsonb_array_elements(c.content -> 'steps') AS s (step)
        WHERE s.step ->> 'step' = 'AdjustCredits' AND s.step ->> 'correction_key' LIKE 'restore:%'
    LOOP
        SELECT greatest(sum((m.evidence ->> 'loss')::bigint), max(coalesce(m.evidence ->> 'allowance', m.evidence ->> 'delta')::bigint)) INTO recorded
            FROM credit_pipeline.mismatch AS m
            WHERE m.system = c.system AND m.account = c.account
              AND m.fingerprint = ANY (string_to_array(substr(adjusted ->> 'correction_key', 9), ','));
        IF (adjusted ->> 'delta')::bigint > recorded THEN
            outcome := 'blocked_by_guard';
            failure := format('would restore %s credits, but %s are recorded as lost: make a new plan',
                              credit_pipeline.grouped((adjusted ->> 'delta')::bigint), credit_pipeline.grouped(recorded));
            RETURN;
        END IF;
    END LOOP;
END $$;
