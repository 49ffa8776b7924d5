-- The two functions that the product calls, run by every `init`. They run with their owner's rights and write nothing but
-- our own tables; each is closed to PUBLIC. Let the product's role in with
--   GRANT USAGE ON SCHEMA credit_pipeline TO app;
--   GRANT EXECUTE ON FUNCTION credit_pipeline.request_sync, credit_pipeline.record_webhook TO app;
-- Neither says anything of an account: what comes back is the same whether or not there is one.

-- The system that is meant: the one that is named, else the only one there is, or the only one of that provider.
CREATE OR REPLACE FUNCTION credit_pipeline.system_meant(named text, provider text) RETURNS text
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    fitting text[];
BEGIN
    SELECT array_agg(k.system ORDER BY k.system) INTO fitting FROM credit_pipeline.control AS k
        WHERE (named IS NULL OR k.system = named)
          AND (system_meant.provider IS NULL OR k.provider IS NULL OR k.provider = lower(btrim(system_meant.provider)));
    IF cardinality(fitting) = 1 THEN
        RETURN fitting[1];
    ELSIF fitting IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'CP301', MESSAGE = format(
            'no system%s%s is installed in this database: run `credit-pipeline init SYSTEM`, or correct the call',
            ' `' || named || '`', ' billed by `' || left(provider, 40) || '`');
    END IF;
    RAISE EXCEPTION USING ERRCODE = 'CP302', MESSAGE = format(
        'several systems are installed in this database (%s): name one as the argument `system`',
        array_to_string(fitting, ', '));
END $$;

-- Asks that an account be compared with billing now. Returns `accepted`, `waiting` (a request for it is not done yet) or
-- `limited` (one was made within a minute, or five within 24 hours). Never an error for what a user does: a Sync button
-- may be pressed often.
CREATE OR REPLACE FUNCTION credit_pipeline.request_sync(account text, reason text DEFAULT '', system text DEFAULT NULL)
    RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    meant text := credit_pipeline.system_meant(request_sync.system, NULL);
    made int;
    newest timestamptz;
BEGIN
    IF coalesce(btrim(request_sync.account), '') = '' OR length(request_sync.account) > 200 THEN
        RAISE EXCEPTION USING ERRCODE = 'CP303', MESSAGE = 'request_sync needs the id of an account, of 200 characters at most';
    END IF;
    -- Two calls for one account take turns, so that both count.
    PERFORM pg_advisory_xact_lock(hashtextextended('credit_pipeline.request_sync ' || meant || ' ' || request_sync.account, 0));
    IF EXISTS (SELECT FROM credit_pipeline.sync_request AS r
               WHERE r.system = meant AND r.account = request_sync.account AND r.state = 'waiting') THEN
        RETURN 'waiting';
    END IF;
    SELECT count(*), max(r.requested_at) INTO made, newest FROM credit_pipeline.sync_request AS r
        WHERE r.system = meant AND r.account = request_sync.account
          AND r.requested_at > clock_timestamp() - interval '24 hours';
    IF made >= 5 OR newest > clock_timestamp() - interval '1 minute' THEN
        RETURN 'limited';
    END IF;
    INSERT INTO credit_pipeline.sync_request (system, account, reason)
        VALUES (meant, request_sync.account, left(coalesce(request_sync.reason, ''), 200));
    RETURN 'accepted';
END $$;

-- Keeps a webhook that the product could not handle, for repair. Returns `recorded` or, for an event that is known
-- already, `known`. An event without an id goes by the hash of its body. A body over 256 kB is not kept, and its record
-- is dead at once: nobody reads it, and nothing is lost in silence.
CREATE OR REPLACE FUNCTION credit_pipeline.record_webhook(
    provider text, event_id text, raw bytea, verified_at timestamptz, error text,
    account text DEFAULT NULL, system text DEFAULT NULL) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    meant text := credit_pipeline.system_meant(record_webhook.system, coalesce(record_webhook.provider, ''));
    bytes int := coalesce(octet_length(record_webhook.raw), 0);
    known_as text := nullif(btrim(record_webhook.event_id), '');
BEGIN
    IF known_as IS NULL THEN
        known_as := 'sha256:' || encode(sha256(coalesce(record_webhook.raw, '')), 'hex');
    ELSIF length(known_as) > 200 THEN
        known_as := 'sha256:' || encode(sha256(convert_to(known_as, 'UTF8')), 'hex');
    END IF;
    INSERT INTO credit_pipeline.webhook_event
        (system, provider, event_id, raw, verified_at, error, account, state, last_error, finished_at)
        VALUES (meant, lower(btrim(record_webhook.provider)), known_as,
                CASE WHEN bytes <= 262144 THEN record_webhook.raw END, record_webhook.verified_at,
                left(record_webhook.error, 2000), left(nullif(btrim(record_webhook.account), ''), 200),
                CASE WHEN bytes <= 262144 THEN 'failed' ELSE 'dead' END,
                CASE WHEN bytes > 262144 THEN format('the body has %s bytes, more than 262,144, and was not kept: look the '
                    'event up at the provider', to_char(bytes, 'FM999,999,999')) END,
                CASE WHEN bytes > 262144 THEN clock_timestamp() END)
        ON CONFLICT (system, provider, event_id) DO NOTHING;
    RETURN CASE WHEN FOUND THEN 'recorded' ELSE 'known' END;
END $$;
