-- The product `bestauth`: an auth system and a points store whose users have another id each. Its functions use
-- unqualified names, as the product's own migrations wrote them; row level security is on, as its hosting sets it.
-- Nothing of credit_pipeline is in it. Run once, in an empty database.

REVOKE ALL ON SCHEMA public FROM PUBLIC;

CREATE TABLE bestauth_users (
    id         uuid PRIMARY KEY,
    email      text NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE user_id_mapping (
    bestauth_user_id uuid PRIMARY KEY,
    supabase_user_id uuid NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX user_id_mapping_account ON user_id_mapping (supabase_user_id);

-- By the auth user's id.
CREATE TABLE bestauth_subscriptions (
    user_id                uuid PRIMARY KEY REFERENCES bestauth_users,
    stripe_customer_id     text,
    stripe_subscription_id text,
    metadata               jsonb NOT NULL DEFAULT '{}',
    updated_at             timestamptz NOT NULL DEFAULT now()
);

-- By the store's id: the tier the front end reads.
CREATE TABLE subscriptions_consolidated (
    user_id              uuid PRIMARY KEY,
    tier                 text NOT NULL DEFAULT 'free',
    status               text NOT NULL DEFAULT 'free',
    current_period_start timestamptz,
    current_period_end   timestamptz,
    updated_at           timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE points_balances (
    user_id    uuid PRIMARY KEY,
    balance    integer NOT NULL DEFAULT 0,
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- Amounts are signed: spending is negative.
CREATE TABLE points_transactions (
    id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id     uuid NOT NULL,
    amount      integer NOT NULL CHECK (amount <> 0),
    type        text NOT NULL,
    reference   text,
    description text,
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX points_transactions_user ON points_transactions (user_id, created_at);

CREATE TABLE points_deduction_failures (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id    uuid NOT NULL,
    amount     integer NOT NULL,
    reason     text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX points_deduction_failures_recent ON points_deduction_failures (created_at);

-- Unkeyed: called twice, it grants twice.
CREATE FUNCTION add_points(
    p_user_id uuid, p_amount integer, p_type text, p_description text DEFAULT NULL, p_reference text DEFAULT NULL)
    RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    result integer;
BEGIN
    INSERT INTO points_transactions (user_id, amount, type, description, reference)
        VALUES (p_user_id, p_amount, p_type, p_description, p_reference);
    INSERT INTO points_balances AS b (user_id, balance) VALUES (p_user_id, p_amount)
        ON CONFLICT (user_id) DO UPDATE SET balance = b.balance + EXCLUDED.balance, updated_at = now()
        RETURNING b.balance INTO result;
    RETURN result;
END $$;

CREATE FUNCTION deduct_points(p_user_id uuid, p_amount integer, p_description text DEFAULT NULL)
    RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    UPDATE points_balances SET balance = balance - p_amount, updated_at = now()
        WHERE user_id = p_user_id AND balance >= p_amount;
    IF NOT FOUND THEN
        INSERT INTO points_deduction_failures (user_id, amount, reason) VALUES (p_user_id, p_amount, 'not enough points');
        RETURN false;
    END IF;
    INSERT INTO points_transactions (user_id, amount, type, description)
        VALUES (p_user_id, -p_amount, 'usage', p_description);
    RETURN true;
END $$;

-- The product's own audit of what could be spent: every balance that was changed or removed, by whomever.
CREATE TABLE balance_changes (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id     uuid NOT NULL,
    changed_at  timestamptz NOT NULL DEFAULT now(),
    changed_by  text NOT NULL,
    old_balance integer NOT NULL,
    new_balance integer
);

CREATE FUNCTION note_balance() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO balance_changes (user_id, changed_by, old_balance, new_balance)
        VALUES (OLD.user_id, current_setting('application_name'), OLD.balance,
                CASE TG_OP WHEN 'UPDATE' THEN NEW.balance END);
    RETURN NULL;
END $$;
CREATE TRIGGER points_balances_audit AFTER UPDATE OR DELETE ON points_balances
    FOR EACH ROW EXECUTE FUNCTION note_balance();

-- What a browser may read: the pipeline connects as the tables' owner and is not subject to it.
ALTER TABLE bestauth_users ENABLE ROW LEVEL SECURITY;
ALTER TABLE user_id_mapping ENABLE ROW LEVEL SECURITY;
ALTER TABLE bestauth_subscriptions ENABLE ROW LEVEL SECURITY;
ALTER TABLE subscriptions_consolidated ENABLE ROW LEVEL SECURITY;
ALTER TABLE points_balances ENABLE ROW LEVEL SECURITY;
ALTER TABLE points_transactions ENABLE ROW LEVEL SECURITY;
ALTER TABLE points_deduction_failures ENABLE ROW LEVEL SECURITY;
ALTER TABLE balance_changes ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_tier ON subscriptions_consolidated FOR SELECT
    USING (user_id::text = current_setting('request.jwt.claim.sub', true));
CREATE POLICY own_balance ON points_balances FOR SELECT
    USING (user_id::text = current_setting('request.jwt.claim.sub', true));

REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC;
