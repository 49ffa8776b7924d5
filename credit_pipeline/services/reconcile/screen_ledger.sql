-- The screen for ledgers: what billing says, what the ledger holds, who is who and what we remember, joined by subject;
-- it decides which subjects are provably healthy. Everything else is a suspect for domain.classify_ledger. Times are naive
-- UTC. Run after `subjects_group.sql`, on its tables and: balances, subscriptions, observations; run (now, horizon: before
-- it the ledger is not judged, first_run, trials: a trial is granted like the plan, complete: billing's list ended,
-- reference, free_plan, free_credits: the free plan's own amounts, which come when the product likes); plan_map (a
-- subscription's words → plan, credits, former: what periods had that started before, free, step, yearly), price_map (an
-- invoice's price → plan), label_map (label → plan, free), status_fit (status, the product's word), watched (account), exempt (account).
-- The property test test_screen_ledger.py holds this and classify() together: it never drops what classify would flag.

-- Every subscription with its plan and the period of one grant, the anchor's day kept. One that ended before the horizon,
-- and was billed for nothing since, is over.
CREATE OR REPLACE TEMP TABLE billed AS
WITH dated AS (
    SELECT s.*, m.plan, m.credits, m.former, m.free, m.step, m.yearly, r.horizon,
           date_diff('month', s.period_start, least(r.now, s.period_end - INTERVAL 1 MICROSECOND)) AS months,
           least(r.now, s.period_end - INTERVAL 1 MICROSECOND) AS instant
    FROM listed AS s CROSS JOIN run AS r
    LEFT JOIN plan_map AS m
      ON m.status IS NOT DISTINCT FROM s.status AND m.raw_plan IS NOT DISTINCT FROM s.raw_plan
     AND m.lookup_key IS NOT DISTINCT FROM s.lookup_key AND m.metadata IS NOT DISTINCT FROM s.metadata
     AND m.cycle IS NOT DISTINCT FROM s.cycle
)
SELECT billing_id, lookup, subscription_id, status, started_at, quantity, items, invoices, plan, credits, former, free, yearly,
       period_start AS term_start, period_end AS term_end,
       CASE WHEN free OR step IS NULL OR period_start IS NULL OR period_end IS NULL THEN NULL
            WHEN cycle <> 'yearly' OR step <> 1 OR months <= 0 THEN period_start
            WHEN period_start + to_months(CAST(months AS INTEGER)) > instant
                THEN period_start + to_months(CAST(months - 1 AS INTEGER))
            ELSE period_start + to_months(CAST(months AS INTEGER)) END AS period_start,
       coalesce(lookup = 'answered' AND status = 'ended' AND greatest(period_end, ends_at) <= horizon
                AND len(list_filter(invoices, lambda l: greatest(l.period_end, l.paid_at + INTERVAL 3 DAY) >= horizon)) = 0,
                false) AS over
FROM dated;

CREATE OR REPLACE TEMP TABLE running AS
SELECT *, count(*) OVER (PARTITION BY billing_id) AS several FROM billed WHERE NOT over;

-- The newest of those that are over: what a subject without any other is judged on.
CREATE OR REPLACE TEMP TABLE past AS
SELECT billing_id, max({'age': coalesce(started_at, TIMESTAMP '0001-01-01'), 'id': subscription_id, 'plan': plan,
                        'period_start': period_start}) AS newest
FROM billed WHERE over GROUP BY billing_id;

-- What each user is said to have, over all layers.
CREATE OR REPLACE TEMP TABLE claimed AS
SELECT auth_id, min(layer) AS layer, min(account) AS account, min(account) = max(account) AS agreed
FROM claim GROUP BY auth_id;

-- One user, one account, at most one customer: in order in everything but the grants.
CREATE OR REPLACE TEMP TABLE simple AS
SELECT s.grp, s.account, b.label, b.total, b.used, b.spent - b.used AS gap, b.entries,
       r.billing_id IS NOT NULL AS paid, r.subscription_id, r.credits, r.former, r.yearly, r.started_at, r.term_start, r.term_end,
       r.invoices,
       CASE WHEN r.billing_id IS NOT NULL THEN r.status WHEN p.billing_id IS NOT NULL THEN 'ended' ELSE 'free' END
           AS status,
       CASE WHEN r.billing_id IS NOT NULL THEN r.plan WHEN p.billing_id IS NOT NULL THEN p.newest.plan
            ELSE u.free_plan END AS plan,
       CASE WHEN r.billing_id IS NOT NULL THEN r.period_start ELSE p.newest.period_start END AS period_start,
       coalesce(
           (s.billing_id IS NULL OR s.billing_id NOT IN (SELECT billing_id FROM naming WHERE auth_id IS NULL)) AND
           c.layer = 1 AND c.agreed AND c.account = s.account AND (NOT i.local OR len(i.metadata) > 0)
           AND b.total >= b.used AND b.spent = b.used AND len(b.unknown_types) = 0
           AND CASE
               WHEN r.billing_id IS NOT NULL THEN
                   r.several = 1 AND r.lookup = 'answered'
                   AND (u.trials OR (r.status = 'active' AND o.billed_status IS DISTINCT FROM 'trialing'))
                   AND r.status IN ('active', 'trialing')
                   AND NOT r.free AND r.credits > 0 AND r.period_start IS NOT NULL AND r.quantity = 1 AND r.items = 1
                   AND r.term_start <= u.now AND u.now < r.term_end
                   AND b.local AND l.plan = r.plan AND f.word IS NOT NULL AND b.total > b.used
               ELSE
                   len(list_filter(b.entries, lambda e: e.kind = 'grant' AND e.at >= u.horizon
                                                           AND NOT list_contains(u.free_credits, e.amount))) = 0
                   AND CASE WHEN b.local THEN l.free ELSE b.label IS NULL END
                   AND (u.complete OR s.billing_id IS NOT NULL OR i.billing_id IS NULL)
               END, false) AS in_order
FROM subject AS s CROSS JOIN run AS u
JOIN balances AS b ON b.account_id = s.account
JOIN identities AS i ON i.auth_id = s.auth_id
JOIN claimed AS c ON c.auth_id = s.auth_id
LEFT JOIN running AS r ON r.billing_id = s.billing_id
LEFT JOIN past AS p ON p.billing_id = s.billing_id
LEFT JOIN label_map AS l ON l.label = b.label
LEFT JOIN status_fit AS f ON f.status = r.status AND f.word = b.status
LEFT JOIN observations AS o ON o.account = s.account
WHERE s.users = 1 AND s.accounts = 1 AND s.customers <= 1 AND NOT s.unanswered
  AND (r.billing_id IS NULL OR r.several = 1);

-- The invoices that touch the time judged. Plain: paid, for this plan, not a change in mid-period.
CREATE OR REPLACE TEMP TABLE line AS
SELECT s.grp, l.period_start, l.period_end, l.paid_at, l.invoice_id,
       l.period_end - l.period_start > INTERVAL 300 DAY AND l.period_end - l.period_start < INTERVAL 400 DAY AS yearly,
       lag(l.period_end) OVER (PARTITION BY s.grp ORDER BY l.period_start, l.period_end) AS before,
       coalesce(l.status = 'paid' AND l.paid_at IS NOT NULL AND NOT l.change AND m.plan = s.plan, false) AS plain
FROM (SELECT grp, plan, unnest(invoices) AS l FROM simple WHERE in_order AND paid) AS s CROSS JOIN run AS u
LEFT JOIN price_map AS m ON m.raw_plan = l.raw_plan
WHERE greatest(l.period_end, l.paid_at + INTERVAL 3 DAY) >= u.horizon;

-- Whether they follow each other without a gap or an overlap up to the current term, and none is missing before them: the
-- subscription is no older, or the period before theirs (a month less its shorter neighbours' days) began too long ago.
CREATE OR REPLACE TEMP TABLE unbroken AS
SELECT s.grp
FROM simple AS s CROSS JOIN run AS u JOIN line AS l USING (grp)
GROUP BY s.grp, s.term_start, s.term_end, s.started_at, u.horizon, u.trials
HAVING bool_and(l.plain AND (l.before IS NULL OR l.before = l.period_start))
   AND max(l.period_start) = s.term_start AND max(l.period_end) = s.term_end
   AND (u.trials OR s.started_at < min(l.period_start))
   AND (min(l.period_start) <= s.started_at
        OR min(l.period_start) - to_months(1) - INTERVAL 1 DAY
           + CASE WHEN day(min(l.period_start)) >= 28 THEN INTERVAL 3 DAY ELSE INTERVAL 0 DAY END < u.horizon);

-- The periods they pay for, each with the span in which an unnamed grant is taken for its own, and its two names. One whose
-- span began before the horizon may have been granted out of sight.
CREATE OR REPLACE TEMP TABLE owed AS
WITH piece AS (
    SELECT l.*, n.nth, l.period_start + to_months(CAST(n.nth AS INTEGER)) AS start
    FROM line AS l SEMI JOIN unbroken USING (grp) JOIN (SELECT unnest(range(14)) AS nth) AS n ON n.nth = 0 OR l.yearly
)
SELECT s.grp, p.start, greatest(p.start, p.paid_at) - INTERVAL 1 DAY AS opens,
       greatest(p.start, p.paid_at) + INTERVAL 3 DAY AS closes, greatest(p.start, p.paid_at) - INTERVAL 1 DAY >= u.horizon AS visible,
       coalesce(list_filter(s.former, lambda f: p.start < f.until)[1].credits, s.credits)
           * CASE WHEN p.yearly AND s.yearly = 'upfront' THEN 12 ELSE 1 END AS allowance,
       concat_ws('/', s.account, s.plan, CAST(epoch(p.start) AS BIGINT)) AS our_key,
       replace(replace(replace(replace(replace(u.reference,
           '{account}', s.account), '{plan}', s.plan), '{period_start}', CAST(CAST(epoch(p.start) AS BIGINT) AS VARCHAR)),
           '{subscription}', s.subscription_id), '{invoice}', p.invoice_id) AS reference
FROM piece AS p JOIN simple AS s USING (grp) CROSS JOIN run AS u
WHERE (p.nth = 0 OR s.yearly = 'drip') AND p.start < p.period_end AND p.start <= u.now;

-- A reference may be missing, a period's own, or no name of ours at all; one that names another period is not taken for
-- this one, and what looks like a grant key that no period has is somebody's to look at.
CREATE OR REPLACE TEMP TABLE granted AS
WITH entry AS (
    SELECT grp, unnest(entries) AS e FROM simple SEMI JOIN unbroken USING (grp)
), named AS (
    SELECT grp, our_key AS name FROM owed UNION SELECT grp, reference FROM owed
)
SELECT g.grp, g.e.at AS at, g.e.amount AS amount, g.e.reference AS reference, g.e.at >= u.horizon AS judged,
       g.e.reference IS NULL OR (n.name IS NULL AND g.e.reference NOT LIKE '%/%/%') AS nameless
FROM entry AS g CROSS JOIN run AS u LEFT JOIN named AS n ON n.grp = g.grp AND n.name = g.e.reference
WHERE g.e.kind = 'grant';

-- Every visible period has exactly one grant of the exact amount in its span, no other period has more, and no grant that is
-- judged is left over.
CREATE OR REPLACE TEMP TABLE matched AS
WITH found AS (
    SELECT o.grp, o.start, o.visible, count(g.at) AS grants, count(g.at) FILTER (g.judged) AS judged
    FROM owed AS o LEFT JOIN granted AS g
      ON g.grp = o.grp AND g.at BETWEEN o.opens AND o.closes AND g.amount = o.allowance
     AND (g.nameless OR g.reference = o.our_key OR g.reference = o.reference)
    GROUP BY o.grp, o.start, o.visible
), counted AS (
    SELECT grp, sum(judged) AS judged, bool_and(grants = 1 OR (grants = 0 AND NOT visible)) AS once,
           max_by(grants, start) AS present
    FROM found GROUP BY grp
)
SELECT c.grp, c.present = 1 AS present
FROM counted AS c LEFT JOIN (SELECT grp, count(*) AS judged FROM granted WHERE judged GROUP BY grp) AS g USING (grp)
WHERE c.once AND c.judged = coalesce(g.judged, 0);

-- The month's credits of whoever pays, by the highest plan; a subject that is no simple one is no healthy one.
CREATE OR REPLACE TEMP TABLE screened AS
WITH paying AS (
    SELECT g.grp, max(b.credits) AS credits
    FROM billed AS b JOIN group_customer AS g USING (billing_id)
    WHERE b.status IN ('active', 'trialing') AND NOT b.free GROUP BY g.grp
), judged AS (
    SELECT s.grp, s.account_id, s.account, b.label, b.total, b.used, m.status, m.plan, m.period_start, m.gap, y.credits,
           s.account_id IN (SELECT account FROM exempt) AS is_exempt,
           o.account IS NOT NULL AS known, o.mark AS old_mark,
           o.billed_plan IS NOT DISTINCT FROM m.plan AND o.billed_period_start IS NOT DISTINCT FROM m.period_start AS same_key,
           o.label IS NOT DISTINCT FROM b.label AND o.total = b.total AND o.used = b.used
               AND o.gap IS NOT DISTINCT FROM m.gap AND o.billed_status IS NOT DISTINCT FROM m.status
               AND o.unanswered_since IS NULL AS same,
           coalesce(g.present, false) AS granted,
           coalesce(m.in_order AND coalesce(o.gap, 0) = 0 AND s.account_id NOT IN (SELECT account FROM watched)
                    -- A grant in sight that was not held as the product's at the last look is one of ours.
                    AND (NOT m.paid OR (g.grp IS NOT NULL AND NOT coalesce(
                            g.present AND o.mark IS NULL AND o.billed_plan = m.plan
                            AND o.billed_period_start = m.period_start, false))),
                    false) AS healthy
    FROM subject AS s
    LEFT JOIN balances AS b ON b.account_id = s.account
    LEFT JOIN simple AS m ON m.grp = s.grp
    LEFT JOIN matched AS g ON g.grp = s.grp
    LEFT JOIN paying AS y ON y.grp = s.grp
    LEFT JOIN observations AS o ON o.account = s.account
)
SELECT *, CASE WHEN same_key AND period_start IS NOT NULL AND old_mark IS NOT NULL THEN old_mark
               WHEN is_exempt OR NOT granted THEN NULL
               WHEN known OR NOT (SELECT first_run FROM run) THEN 'adopted'
               ELSE 'assumed' END AS new_mark
FROM judged;
