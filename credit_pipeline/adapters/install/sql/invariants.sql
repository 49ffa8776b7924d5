-- What must hold between two batches: asked by the apply itself, which stops where one is broken. The write path keeps them
-- all; this finds what it did not think of, and what somebody else did to our own tables meanwhile.

-- True sentences about the plan's changes after audit row `since`, and in how many rows each is untrue. An apply asks with 0
-- first, which also looks for grants that no change made, and then from where it asked last: a plan of thousands is not
-- read whole for each batch. It leans on the primary keys.
CREATE OR REPLACE FUNCTION credit_pipeline.invariants(plan_id text, since bigint DEFAULT 0)
    RETURNS TABLE (name text, broken bigint)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    plan_system text := (SELECT p.system FROM credit_pipeline.correction_plan AS p WHERE p.plan_id = invariants.plan_id);
BEGIN
    RETURN QUERY
    WITH changes AS MATERIALIZED (
        SELECT a.seq, a.delta, coalesce(a.before_available, 0) AS had, coalesce(a.after_available, 0) AS has,
               coalesce(a.before_used, 0) AS had_used, coalesce(a.after_used, 0) AS has_used,
               c.outcome = 'changed' AND c.audit_seq = a.seq AS marked, c.lane, c.digest,
               c.account, c.grant_plan, c.grant_start, c.grant_credits, c.total_delta - c.used_delta AS adjusted
        FROM credit_pipeline.audit AS a
        LEFT JOIN credit_pipeline.correction AS c
            ON c.plan_id = invariants.plan_id AND c.seq = (a.payload::jsonb ->> 'correction')::int AND c.account = a.account
        WHERE a.system = plan_system AND a.plan_id = invariants.plan_id AND a.seq > since)
    SELECT 'no_credits_were_lost', count(*) FROM changes AS a
        WHERE (a.has < a.had OR a.delta < 0) AND (a.lane = 'approve' AND a.adjusted = a.delta AND EXISTS (
            SELECT FROM credit_pipeline.approval AS p
            WHERE p.system = plan_system AND p.lane = 'approve' AND p.decision = 'approve' AND a.digest = ANY (p.row_digests))
            ) IS NOT TRUE
    UNION ALL
    SELECT 'every_change_is_audited_once', count(*) FROM changes AS a WHERE a.marked IS NOT TRUE
    UNION ALL
    SELECT 'every_grant_has_its_change', (
        -- A subquery and no join: without statistics a join reads all grants for each change (measured: 190 ms a batch).
        SELECT count(*) FROM changes AS a WHERE a.grant_plan IS NOT NULL AND a.grant_credits IS DISTINCT FROM (
            SELECT g.credits FROM credit_pipeline."grant" AS g
                WHERE g.system = plan_system AND g.account = a.account AND g.plan = a.grant_plan
                  AND g.period_start = a.grant_start AND g.plan_id = invariants.plan_id)) + CASE WHEN since = 0 THEN (
        SELECT count(*) FROM (
            SELECT g.account, g.plan, g.period_start FROM credit_pipeline."grant" AS g
                WHERE g.system = plan_system AND g.plan_id = invariants.plan_id
            EXCEPT SELECT a.account, a.grant_plan, a.grant_start FROM changes AS a) AS unmade) ELSE 0 END
    UNION ALL
    SELECT 'every_change_is_what_was_planned', count(*) FROM changes AS a
        WHERE a.has - a.had <> a.delta OR a.delta IS DISTINCT FROM coalesce(a.grant_credits, 0) + a.adjusted
    UNION ALL
    SELECT 'nothing_fell_below_zero', count(*) FROM changes AS a
        WHERE a.has_used < least(a.had_used, 0) OR a.has < least(a.had, 0)
    UNION ALL
    SELECT 'the_chain_ends_at_its_head', count(*) FROM credit_pipeline.control AS k
        LEFT JOIN LATERAL (
            SELECT a.seq, a.hash FROM credit_pipeline.audit AS a WHERE a.system = k.system ORDER BY a.seq DESC LIMIT 1) AS last
            ON true
        WHERE k.system = plan_system
          AND (k.audit_seq <> coalesce(last.seq, 0) OR k.audit_seq > 0 AND k.audit_hash IS DISTINCT FROM last.hash);
END $$;
