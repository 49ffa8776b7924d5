-- The groups by name, their members, and each subject's key. Run after `subjects.sql` and `subjects_join.sql`.
CREATE OR REPLACE TEMP TABLE group_user AS
SELECT i.auth_id, 'u' || coalesce(j.head, i.auth_id) AS grp FROM identities AS i LEFT JOIN joined AS j USING (auth_id);

CREATE OR REPLACE TEMP TABLE group_account AS
SELECT a.account, coalesce(any_value(g.grp), 'a' || a.account) AS grp, coalesce(min(e.layer), 9) AS layer
FROM account AS a LEFT JOIN user_account AS e ON e.account = a.account LEFT JOIN group_user AS g ON g.auth_id = e.auth_id
GROUP BY a.account;

CREATE OR REPLACE TEMP TABLE group_customer AS
SELECT s.billing_id, coalesce(any_value(g.grp), 'c' || s.billing_id) AS grp,
       bool_or(coalesce(s.status IN ('active', 'trialing'), false)) AS live,
       bool_or(s.lookup = 'error') AS unanswered
FROM listed AS s
LEFT JOIN user_customer AS e ON e.billing_id = s.billing_id LEFT JOIN group_user AS g ON g.auth_id = e.auth_id
GROUP BY s.billing_id;

-- The population: groups with a store account or a live subscription. Several accounts in one (conflicting) group: the
-- one claimed best gives the subject its key; the subject counts once.
CREATE OR REPLACE TEMP TABLE subject AS
SELECT grp, coalesce(a.account, 'user:' || u.auth_id, 'customer:' || c.billing_id) AS account_id,
       a.account, u.auth_id, c.billing_id, coalesce(a.members, 0) AS accounts, coalesce(u.members, 0) AS users,
       coalesce(c.members, 0) AS customers, coalesce(c.live, false) AS live, coalesce(c.unanswered, false) AS unanswered
FROM (SELECT grp, count(*) AS members, min({'layer': layer, 'account': account}).account AS account
      FROM group_account GROUP BY grp) AS a
FULL JOIN (SELECT grp, count(*) AS members, min(billing_id) AS billing_id, bool_or(live) AS live,
                  bool_or(unanswered) AS unanswered
           FROM group_customer GROUP BY grp) AS c USING (grp)
LEFT JOIN (SELECT grp, count(*) AS members, min(auth_id) AS auth_id FROM group_user GROUP BY grp) AS u USING (grp)
WHERE a.grp IS NOT NULL OR (c.live AND NOT (SELECT partial FROM run));
