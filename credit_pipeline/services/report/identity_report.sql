-- The ID-mapping report: every user of the authentication system, paid or not, and what each layer says of them; and
-- the accounts and customers that no user explains. Run after `subjects.sql`, whose claims and namings these are.
CREATE OR REPLACE TEMP TABLE mapped_user AS
WITH shared AS (
    SELECT account FROM claim WHERE layer < 3 GROUP BY account HAVING count(DISTINCT auth_id) > 1
), per_user AS (
    SELECT auth_id, min(layer) AS layer, count(DISTINCT account) AS targets,
           arg_min(account, layer) AS account, bool_or(account IN (SELECT account FROM shared)) AS shared
    FROM claim GROUP BY auth_id
), paying AS (
    SELECT DISTINCT n.auth_id FROM user_customer AS n JOIN subscriptions AS s ON s.billing_id = n.billing_id
    WHERE s.status IN ('active', 'trialing')
)
SELECT i.auth_id, CASE WHEN p.targets = 1 THEN p.account END AS account_id, p.layer,
       CASE WHEN p.targets > 1 THEN 'conflict'
            WHEN p.shared THEN 'shared'
            WHEN p.layer = 1 AND i.local AND len(i.metadata) = 0 THEN 'metadata_missing'
            WHEN p.layer = 1 THEN 'mapped'
            WHEN p.layer = 2 AND p.account IN (SELECT account_id FROM balances) THEN 'link_missing'
            WHEN p.layer = 2 THEN 'unknown_account'
            WHEN p.layer = 3 THEN 'guess'
            ELSE 'unmapped' END AS state,
       i.auth_id IN (SELECT auth_id FROM paying) AS paying,
       (SELECT list(DISTINCT c.account ORDER BY c.account) FROM claim AS c WHERE c.auth_id = i.auth_id) AS claimed
FROM identities AS i LEFT JOIN per_user AS p USING (auth_id);

CREATE OR REPLACE TEMP TABLE orphan AS
SELECT 'account' AS what, b.account_id AS id, NULL::VARCHAR AS suggestion FROM balances AS b
WHERE b.account_id NOT IN (SELECT account FROM claim)
UNION ALL
SELECT 'customer', s.billing_id, min(i.auth_id) FROM subscriptions AS s
LEFT JOIN identities AS i ON i.email_hash = s.email_hash
WHERE s.status IN ('active', 'trialing', 'dunning') AND s.billing_id NOT IN (SELECT billing_id FROM user_customer)
GROUP BY s.billing_id;
