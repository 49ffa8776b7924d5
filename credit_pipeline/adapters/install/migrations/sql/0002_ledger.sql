-- A second kind of store: a ledger, whose balance may be missing, and may differ from what its transactions explain.

ALTER TABLE credit_pipeline.observation ADD COLUMN gap bigint; -- balance less the sum of all transactions; NULL for a counter
ALTER TABLE credit_pipeline.observation_log ADD COLUMN gap bigint;

-- NULL: the account had no balance row when the plan was made.
ALTER TABLE credit_pipeline.correction ALTER COLUMN seen_used DROP NOT NULL;
