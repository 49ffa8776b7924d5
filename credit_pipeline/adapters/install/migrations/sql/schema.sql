-- Where everything of ours lives. IF NOT EXISTS would ask for the right to create it even where a DBA already has.
DO $$ BEGIN
    IF to_regnamespace('credit_pipeline') IS NULL THEN
        CREATE SCHEMA credit_pipeline;
        REVOKE ALL ON SCHEMA credit_pipeline FROM PUBLIC;
    END IF;
END $$;
