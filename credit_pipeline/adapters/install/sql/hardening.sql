-- For the owner of {system}'s tables, printed by `credit-pipeline init {system} --print-hardening`. Nothing of it was
-- executed. Read it, then run it as the owner of {transactions_shown}; running it again changes nothing.
--
-- Why: {add_shown} grants as often as it is called.
-- A webhook that arrives late, twice, or at the moment at which credit_pipeline repairs the account would grant a period's
-- credits a second time. With what follows, whoever comes second finds the first one's transaction by its reference and
-- grants nothing.
--
-- Both must write the same reference. credit_pipeline's is the one of `policy.reference`:
--
--     {template}
--
{fields}
--
-- In the handler of your webhook, replace the call that grants a period's credits by
--
--     {example}
--
-- It returns whether it granted. Do not let your own code write another reference for the same period.

BEGIN;

-- One grant a reference. Where this fails, the ledger holds such transactions already; they are shown by
--     SELECT {account}, {reference}, count(*), sum({amount}) FROM {transactions}
--         WHERE {reference} IS NOT NULL AND {type} = {grant_type} GROUP BY 1, 2 HAVING count(*) > 1;
-- On a large table that is in use, run this statement alone, before the rest, with CREATE UNIQUE INDEX CONCURRENTLY.
CREATE UNIQUE INDEX IF NOT EXISTS {index} ON {transactions} ({account}, {type}, {reference})
    WHERE {reference} IS NOT NULL AND {type} = {grant_type};

-- Grants once a reference. The order of locks is credit_pipeline's, the balance first, so that neither waits for the
-- other in a circle; where there is no balance yet, the index decides.
CREATE OR REPLACE FUNCTION {once}({parameters}) RETURNS boolean
    LANGUAGE plpgsql AS $once$
#variable_conflict use_variable
DECLARE
    of_balance {balances}.{balance_account}%TYPE := {p_account};
BEGIN
    IF {p_reference} IS NULL THEN
        RAISE EXCEPTION 'a grant without a reference cannot be told from another one: pass the reference';
    END IF;
    PERFORM FROM {balances} AS b WHERE b.{balance_account} = of_balance FOR NO KEY UPDATE;
    IF EXISTS (SELECT FROM {transactions} AS t
               WHERE t.{account} = {p_account} AND t.{type} = {grant_type} AND t.{reference} = {p_reference}) THEN
        RETURN false;
    END IF;
    BEGIN
        EXECUTE pg_catalog.format({call}, {p_account}, {p_amount}, {grant_type}, {p_reference}, {p_description});
    EXCEPTION WHEN unique_violation THEN
        IF EXISTS (SELECT FROM {transactions} AS t
                   WHERE t.{account} = {p_account} AND t.{type} = {grant_type} AND t.{reference} = {p_reference}) THEN
            RETURN false;
        END IF;
        RAISE;
    END;
    RETURN true;
END $once$;

-- A new function may be called by everyone, over your host's API too. Grant it to your handler's role alone:
--     GRANT EXECUTE ON FUNCTION {once} TO ...;
REVOKE ALL ON FUNCTION {once} FROM PUBLIC;

COMMIT;
