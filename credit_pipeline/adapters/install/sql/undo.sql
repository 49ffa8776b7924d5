-- What an undo leaves behind beside the balance: reversed grants and accepted findings. The same for every system; called
-- by record_change, in the transaction of the change.

-- Marks what the undo in audit row `seq` took back: the grants are reversed (their keys stay taken) and the findings that
-- had been corrected are accepted, so that nothing is corrected again by itself. An undo of an undo brings both back to
-- life. A key is believed only where it names an audit row of this account and of the plan that this plan undoes.
-- It leans on audit_pkey, taken_key_pkey and mismatch_pkey.
CREATE OR REPLACE FUNCTION credit_pipeline.record_undo(c credit_pipeline.correction, seq bigint, approver text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    undo_key CONSTANT text := '^undo:[0-9]{1,18}(:used)?$';
    undoes text := (SELECT p.undoes FROM credit_pipeline.correction_plan AS p WHERE p.plan_id = c.plan_id);
    named bigint[] := (SELECT array_agg(DISTINCT split_part(k.key, ':', 2)::bigint) FROM unnest(c.keys) AS k (key)
                       WHERE k.key ~ undo_key);
    known int;
    alive boolean;
    origins bigint[]; -- the changes that are no undo themselves, at the end of each chain of undos
BEGIN
    IF named IS NULL AND undoes IS NULL THEN
        RETURN;
    END IF;
    SELECT count(*) INTO known FROM credit_pipeline.audit AS a
        WHERE a.system = c.system AND a.seq = ANY (named) AND a.account = c.account AND a.plan_id = undoes;
    IF known IS DISTINCT FROM cardinality(named) OR c.lane <> 'approve' THEN
        RAISE EXCEPTION USING ERRCODE = 'CP102', MESSAGE =
            'this correction takes back a change that its plan does not undo: make a new plan with `credit-pipeline undo`';
    END IF;
    FOR alive, origins IN
        WITH RECURSIVE chain (seq, depth) AS (
            SELECT n.seq, 1 FROM unnest(named) AS n (seq)
            UNION
            SELECT split_part(t.key, ':', 2)::bigint, h.depth + 1 FROM chain AS h
                JOIN credit_pipeline.taken_key AS t ON t.system = c.system AND t.audit_seq = h.seq AND t.key ~ undo_key)
        SELECT h.depth % 2 = 0, array_agg(h.seq) FROM chain AS h
            WHERE NOT EXISTS (SELECT FROM credit_pipeline.taken_key AS t
                              WHERE t.system = c.system AND t.audit_seq = h.seq AND t.key ~ undo_key)
            GROUP BY 1
    LOOP
        UPDATE credit_pipeline."grant" AS g SET reversed_at = CASE WHEN alive THEN NULL ELSE now() END
            FROM credit_pipeline.audit AS a
            CROSS JOIN LATERAL jsonb_array_elements_text(a.payload::jsonb -> 'keys') AS k (key)
            WHERE a.system = c.system AND a.seq = ANY (origins) AND g.system = c.system AND g.account = c.account
              AND k.key = format('%s/%s/%s', g.account, g.plan, trunc(extract(epoch FROM g.period_start))::bigint);
        -- One finding a code: the one that the correction named, else the newest there was then. What an undo leaves as it
        -- is, links and rows that were made, is not undone.
        WITH found AS (
            SELECT DISTINCT ON (m.code) m.fingerprint, m.state
                FROM credit_pipeline.audit AS a JOIN credit_pipeline.mismatch AS m
                    ON m.system = a.system AND m.account = a.account AND a.payload::jsonb -> 'codes' ? m.code
                WHERE a.system = c.system AND a.seq = ANY (origins)
                  AND m.first_seen <= a.at::timestamptz + interval '1 minute' -- the clocks are two
                  AND m.code NOT IN ('id_unmapped', 'id_metadata_missing', 'balance_missing', 'subscription_missing_locally')
                  AND CASE WHEN alive THEN m.state = 'accepted' AND m.closed_why = 'undone' ELSE m.state <> 'accepted' END
                ORDER BY m.code, coalesce(strpos(a.payload::jsonb ->> 'key', m.fingerprint), 0) > 0 DESC, m.last_seen DESC
        ), changed AS (
            UPDATE credit_pipeline.mismatch AS m
                SET state = CASE WHEN alive THEN 'resolved' ELSE 'accepted' END, closed_at = now(), accepted_until = NULL,
                    closed_why = CASE WHEN alive THEN 'the undo was undone' ELSE 'undone' END
                FROM found AS f WHERE m.system = c.system AND m.fingerprint = f.fingerprint
                RETURNING m.fingerprint, m.account, m.code, f.state AS was
        )
        INSERT INTO credit_pipeline.act (system, what, subject, who, reason, detail)
            SELECT c.system, 'accept', n.fingerprint, coalesce(record_undo.approver, session_user), 'undone',
                   jsonb_build_object('account', n.account, 'code', n.code, 'was', n.was, 'until', NULL,
                                      'plan_id', c.plan_id, 'undoes', undoes, 'audit_seq', record_undo.seq)
                FROM changed AS n WHERE NOT alive;
    END LOOP;
END $$;
