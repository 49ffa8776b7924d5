-- The sandbox's product: a Wix app that counts credits per installed site. This is the product's own schema; nothing of
-- credit_pipeline is in it. Run once, in an empty database.

REVOKE ALL ON SCHEMA public FROM PUBLIC;

CREATE TABLE plans (
    id              text PRIMARY KEY,
    monthly_credits integer NOT NULL CHECK (monthly_credits >= 0)
);

-- credits_total holds all credits ever granted, credits_used_month what was spent since the last renewal. As in many
-- such tables, neither is NOT NULL, and nothing keeps a deduction from going past the total.
CREATE TABLE app_instances (
    instance_id        uuid PRIMARY KEY,
    plan_id            text DEFAULT 'free' REFERENCES plans,
    credits_total      integer DEFAULT 100 CHECK (credits_total >= 0),
    credits_used_month integer DEFAULT 0 CHECK (credits_used_month >= 0),
    created_at         timestamptz NOT NULL DEFAULT now(),
    updated_at         timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX app_instances_plan ON app_instances (plan_id);

-- The product's own audit: who changed what. Unqualified names, as products write them, so the one statement of
-- credit_pipeline that touches app_instances must run under this schema's search_path.
CREATE TABLE instance_changes (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    instance_id uuid NOT NULL,
    changed_at  timestamptz NOT NULL,
    changed_by  text NOT NULL,
    old_plan    text,
    new_plan    text,
    old_total   integer,
    new_total   integer,
    old_used    integer,
    new_used    integer
);

CREATE FUNCTION note_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO instance_changes
        (instance_id, changed_at, changed_by, old_plan, new_plan, old_total, new_total, old_used, new_used)
    VALUES (NEW.instance_id, NEW.updated_at, current_setting('application_name'), OLD.plan_id, NEW.plan_id,
            OLD.credits_total, NEW.credits_total, OLD.credits_used_month, NEW.credits_used_month);
    RETURN NEW;
END $$;
CREATE TRIGGER app_instances_audit AFTER UPDATE ON app_instances FOR EACH ROW EXECUTE FUNCTION note_change();

REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC;
