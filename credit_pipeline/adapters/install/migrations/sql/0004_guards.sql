-- What live writes are held to by the database itself: the pins, the limits, two people, and the roles' own rights.

-- `pins` says what this installation belongs to: system_identifier, database, install (a random id), and billing (the
-- provider's identity, as init found it). `limits` are the thresholds of the YAML at the time of init.
ALTER TABLE credit_pipeline.control
    ADD COLUMN pins jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN limits jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN install text NOT NULL DEFAULT 'single-role' CHECK (install IN ('single-role', 'walled')),
    ADD COLUMN four_eyes boolean NOT NULL DEFAULT false,
    ADD COLUMN failed_applies int NOT NULL DEFAULT 0; -- in a row; three of them stop the system

-- The plan whose changes this one takes back.
ALTER TABLE credit_pipeline.correction_plan ADD COLUMN undoes text REFERENCES credit_pipeline.correction_plan;

-- The exact text whose hash is the digest, so that an approval binds to what is written and not to a number beside it.
ALTER TABLE credit_pipeline.correction ADD COLUMN bound text;

-- Who lowered a balance, in whose words: written by the trigger of `init --witness`, read by people.
CREATE TABLE credit_pipeline.witness (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    system           text NOT NULL,
    at               timestamptz NOT NULL DEFAULT clock_timestamp(),
    account          text NOT NULL,
    role             text NOT NULL,
    application_name text NOT NULL,
    query            text NOT NULL,
    before           jsonb NOT NULL,
    after            jsonb
);
CREATE INDEX witness_account ON credit_pipeline.witness (system, account, id);
