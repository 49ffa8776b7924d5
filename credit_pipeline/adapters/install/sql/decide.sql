-- A person's decision about a saved plan: the only writer of `approval` and of what displays it (correction.approved,
-- correction_plan.limits_approved, states approved and rejected). Run by every `init`, after apply_batch.sql.
-- What an approval allows is read from `approval` by the write path, never from the columns.

-- Records the decision about these rows and returns how many there were; NULL where the plan was too old and is expired now.
-- Lane auto is approved as a whole, which lifts the limits; lane approve releases the rows named. A rejection names no
-- lane: it ends the plan, and earlier approvals of its rows with it. The plan's lock keeps its state still.
CREATE OR REPLACE FUNCTION credit_pipeline.decide(
    plan_id text, lane text, seqs int[], decision text, who text, reason text) RETURNS int
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    plan credit_pipeline.correction_plan;
    head credit_pipeline.control;
    decided timestamptz;
    named int := 0;
    whole boolean;
BEGIN
    IF coalesce(btrim(who), '') = '' OR coalesce(btrim(reason), '') = '' THEN
        RAISE EXCEPTION USING ERRCODE = 'CP201', MESSAGE =
            'a decision needs a name and a reason: give both --as WHO and --reason TEXT';
    ELSIF decision = 'approve' AND (decide.lane IN ('auto', 'approve')) IS NOT TRUE OR decision = 'reject' AND decide.lane IS NOT NULL
        OR (decision IN ('approve', 'reject')) IS NOT TRUE THEN
        RAISE EXCEPTION USING ERRCODE = 'CP201', MESSAGE = format(
            '%s: a decision is approve, with lane auto or approve, or reject, without a lane', decide.plan_id);
    END IF;
    SELECT p.* INTO plan FROM credit_pipeline.correction_plan AS p WHERE p.plan_id = decide.plan_id FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'CP002', MESSAGE = format(
            '%s: there is no such plan: `credit-pipeline plans SYSTEM` lists them', decide.plan_id);
    ELSIF plan.state NOT IN ('proposed', 'quarantined', 'approved') THEN
        RAISE EXCEPTION USING ERRCODE = 'CP202', MESSAGE = CASE decision
            WHEN 'approve' THEN format(
                '%s: the plan is %s and cannot be approved: make a new one with `credit-pipeline fix %s --save`',
                plan.plan_id, plan.state, plan.system)
            ELSE format('%s: the plan is %s: only a waiting plan can be rejected', plan.plan_id, plan.state) END;
    END IF;
    SELECT k.* INTO head FROM credit_pipeline.control AS k WHERE k.system = plan.system;

    IF decision = 'reject' THEN
        INSERT INTO credit_pipeline.approval
            (system, plan_id, plan_digest, lane, row_digests, decision, approver, login, reason, four_eyes)
            SELECT plan.system, plan.plan_id, plan.digest, l.lane, ARRAY(
                       SELECT c.digest FROM credit_pipeline.correction AS c
                       WHERE c.plan_id = plan.plan_id AND c.lane = l.lane AND c.outcome IS NULL ORDER BY c.seq),
                   decision, who, session_user, reason, head.four_eyes
            FROM (VALUES ('auto'), ('approve')) AS l (lane);
        UPDATE credit_pipeline.correction_plan AS p SET state = 'rejected', finished_at = now()
            WHERE p.plan_id = plan.plan_id;
        RETURN 0;
    END IF;

    SELECT max(a.decided_at) INTO decided FROM credit_pipeline.approval AS a
        WHERE a.plan_id = plan.plan_id AND a.decision = 'approve';
    IF now() > (CASE WHEN plan.state = 'approved' AND decided IS NOT NULL THEN decided + interval '24 hours'
                     ELSE plan.created_at + interval '60 minutes' END) THEN
        UPDATE credit_pipeline.correction_plan AS p SET state = 'expired', finished_at = now()
            WHERE p.plan_id = plan.plan_id;
        RETURN NULL;
    ELSIF head.four_eyes AND plan.created_by = session_user THEN
        RAISE EXCEPTION USING ERRCODE = 'CP203', MESSAGE = format(
            '%s: four eyes: the database user that made this plan cannot approve it: approve as another one, '
            'named by store.approver_url_env in defs.yaml', plan.plan_id);
    END IF;
    SELECT count(*), count(*) FILTER (WHERE c.seq = ANY (decide.seqs)) = count(*) INTO named, whole
        FROM credit_pipeline.correction AS c
        WHERE c.plan_id = plan.plan_id AND c.lane = decide.lane AND c.outcome IS NULL
          AND (decide.lane = 'auto' OR c.seq = ANY (decide.seqs));
    IF NOT whole OR named < (SELECT count(DISTINCT s.seq) FROM unnest(decide.seqs) AS s (seq)) THEN
        RAISE EXCEPTION USING ERRCODE = 'CP204', MESSAGE = format(
            '%s: the rows named are not all the waiting rows of lane auto, or not waiting in lane %s: ask for the plan again',
            plan.plan_id, decide.lane);
    ELSIF named = 0 THEN
        RETURN 0;
    END IF;
    INSERT INTO credit_pipeline.approval
        (system, plan_id, plan_digest, lane, row_digests, decision, approver, login, reason, four_eyes)
        SELECT plan.system, plan.plan_id, plan.digest, decide.lane, array_agg(c.digest ORDER BY c.seq),
               decision, who, session_user, reason, head.four_eyes
        FROM credit_pipeline.correction AS c WHERE c.plan_id = plan.plan_id AND c.seq = ANY (decide.seqs);
    IF decide.lane = 'approve' THEN
        UPDATE credit_pipeline.correction AS c SET approved = true
            WHERE c.plan_id = plan.plan_id AND c.seq = ANY (decide.seqs);
    END IF;
    -- A plan held back by its limits stays held back: releasing a claw-back does not lift them for automatic rows.
    -- Where there are none, the rows just named are the whole plan; without this a first plan of such rows never starts.
    whole := decide.lane = 'auto' OR NOT EXISTS (
        SELECT FROM credit_pipeline.correction AS c
        WHERE c.plan_id = plan.plan_id AND c.lane = 'auto' AND c.outcome IS NULL);
    UPDATE credit_pipeline.correction_plan AS p
        SET state = CASE WHEN p.state = 'proposed' OR whole THEN 'approved' ELSE p.state END,
            limits_approved = p.limits_approved OR whole
        WHERE p.plan_id = plan.plan_id;
    RETURN named;
END $$;

-- Gives a new plan what earlier approvals of identical rows allow. Called by who saves it; it can only copy what
-- released() and lifted() tell.
CREATE OR REPLACE FUNCTION credit_pipeline.inherit(plan_id text) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE credit_pipeline.correction AS c SET approved = true
        FROM credit_pipeline.correction_plan AS p
            CROSS JOIN LATERAL credit_pipeline.released(p.system, 'approve') AS r
        WHERE p.plan_id = inherit.plan_id AND p.state IN ('proposed', 'quarantined')
          AND c.plan_id = p.plan_id AND c.lane = 'approve' AND c.digest = r.digest;
    UPDATE credit_pipeline.correction_plan AS p SET limits_approved = true
        FROM (SELECT array_agg(c.digest) AS digests FROM credit_pipeline.correction AS c
              WHERE c.plan_id = inherit.plan_id AND c.lane = 'auto') AS own
        WHERE p.plan_id = inherit.plan_id AND p.state IN ('proposed', 'quarantined')
          AND own.digests IS NOT NULL AND credit_pipeline.lifted(p.system, own.digests)
$$;

-- What only the functions above and apply_batch write, whatever columns a role may update. They run as the tables' owner.
CREATE OR REPLACE FUNCTION credit_pipeline.is_decided_elsewhere() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    refused boolean;
BEGIN
    IF TG_TABLE_NAME = 'correction' THEN
        refused := OLD.outcome IS NOT NULL OR (NEW.outcome IN ('blocked_by_guard', 'stale_skipped', 'needs_approval')) IS NOT TRUE;
    ELSIF TG_OP = 'INSERT' THEN
        refused := NEW.state <> 'proposed';
    ELSE
        refused := NEW.state <> OLD.state AND (NEW.state IN ('approved', 'rejected', 'proposed')
            OR OLD.state IN ('rejected', 'applied', 'expired', 'superseded')
            OR NEW.state = 'applying' AND OLD.state NOT IN ('proposed', 'approved'));
    END IF;
    IF refused AND NOT pg_has_role(current_user, (SELECT c.relowner FROM pg_class AS c WHERE c.oid = TG_RELID), 'USAGE') THEN
        RAISE EXCEPTION USING ERRCODE = 'CP205', MESSAGE = format(
            'this database user may not decide what becomes of a plan or a row (%s): `credit-pipeline approve`, `reject` '
            'and `apply` do', TG_TABLE_NAME);
    END IF;
    RETURN NEW;
END $$;
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger AS t
                   WHERE t.tgrelid = 'credit_pipeline.correction'::regclass AND t.tgname = 'decided_elsewhere') THEN
        CREATE TRIGGER decided_elsewhere BEFORE UPDATE OF outcome ON credit_pipeline.correction
            FOR EACH ROW EXECUTE FUNCTION credit_pipeline.is_decided_elsewhere();
        CREATE TRIGGER decided_elsewhere BEFORE INSERT OR UPDATE OF state ON credit_pipeline.correction_plan
            FOR EACH ROW EXECUTE FUNCTION credit_pipeline.is_decided_elsewhere();
    END IF;
END $$;
