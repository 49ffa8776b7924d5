-- Who belongs together: users, store accounts and customers joined by verified evidence into subjects (semantics §2, §4).
-- Inputs: run (partial), identities, balances, subscriptions. Users that share an account or a customer are joined by
-- `subjects_join.sql`, which is run until nothing moves any more; `subjects_group.sql` then names the groups.

-- A customer without any subscription is in no list; the answer about one that was asked for is left out likewise.
CREATE OR REPLACE TEMP VIEW listed AS
SELECT * FROM subscriptions WHERE lookup = 'error' OR (lookup = 'answered' AND subscription_id IS NOT NULL);

-- What the two better layers say. A mapping's target exists by being one; with named accounts the store was not asked
-- about the others.
CREATE OR REPLACE TEMP TABLE said AS
SELECT s.*, s.layer = 1 OR s.account IN (SELECT account_id FROM balances) AS known
FROM (
    SELECT auth_id, 1 AS layer, unnest(mapped) AS account, 'mapping' AS source FROM identities
    UNION ALL
    SELECT auth_id, 2, m.value, m.key FROM (SELECT auth_id, unnest(metadata) AS m FROM identities)
) AS s;

-- The same id is a guess: it says nothing about an account that the better layers give to somebody else.
CREATE OR REPLACE TEMP TABLE claim AS
SELECT * FROM said
UNION ALL
SELECT i.auth_id, 3, i.auth_id, 'same id', true FROM identities AS i
WHERE i.same_id AND NOT EXISTS (SELECT 1 FROM said AS c WHERE c.account = i.auth_id AND c.auth_id <> i.auth_id);

-- An id as one spelling: providers and people write uuids in capitals, in braces, without hyphens.
CREATE OR REPLACE TEMP MACRO canonical(id) AS coalesce(CAST(TRY_CAST(id AS UUID) AS VARCHAR), id);

-- Every way in which a subscription names its user: the paths of its metadata, and the product's own row.
CREATE OR REPLACE TEMP TABLE naming AS
SELECT s.billing_id, s.subscription_id, s.subject.id AS named, i.auth_id, s.subject.source AS source
FROM (SELECT billing_id, subscription_id, unnest(subjects) AS subject FROM listed) AS s
LEFT JOIN identities AS i ON canonical(i.auth_id) = canonical(s.subject.id)
UNION ALL
SELECT s.billing_id, s.subscription_id, i.auth_id, i.auth_id, 'local row'
FROM listed AS s JOIN identities AS i ON i.billing_id = s.billing_id
UNION ALL
SELECT s.billing_id, s.subscription_id, i.auth_id, i.auth_id, 'local row'
FROM listed AS s JOIN identities AS i ON i.subscription_id = s.subscription_id
WHERE i.billing_id IS DISTINCT FROM s.billing_id;

-- With named accounts only those are subjects; a mapping's target without any row is an account as well.
CREATE OR REPLACE TEMP TABLE account AS
SELECT account_id AS account FROM balances
UNION
SELECT account FROM claim WHERE layer = 1 AND NOT (SELECT partial FROM run);

CREATE OR REPLACE TEMP TABLE user_account AS
SELECT c.auth_id, c.account, min(c.layer) AS layer
FROM claim AS c SEMI JOIN account AS a ON a.account = c.account GROUP BY c.auth_id, c.account;

CREATE OR REPLACE TEMP TABLE user_customer AS
SELECT DISTINCT auth_id, billing_id FROM naming WHERE auth_id IS NOT NULL;

-- What users share; most share nothing and are a group of their own.
CREATE OR REPLACE TEMP TABLE shared AS
SELECT auth_id, 'account ' || account AS thing FROM user_account
WHERE account IN (SELECT account FROM user_account GROUP BY account HAVING count(*) > 1)
UNION ALL
SELECT auth_id, 'customer ' || billing_id FROM user_customer
WHERE billing_id IN (SELECT billing_id FROM user_customer GROUP BY billing_id HAVING count(*) > 1);

CREATE OR REPLACE TEMP TABLE joined AS SELECT DISTINCT auth_id, auth_id AS head FROM shared;
