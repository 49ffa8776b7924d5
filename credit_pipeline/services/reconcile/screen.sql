-- The screen for counter stores: joins what billing says, what the store holds and what we remember, and decides which
-- accounts are provably healthy. Everything else is a suspect for domain.classify. Times are naive UTC.
-- Inputs: balances, subscriptions, observations, plan_map (status, raw_plan, cycle → plan), label_map (label → plan),
-- watched (account), exempt (account). Parameters: $now, $settle (how long after a period's start a renewal is judged),
-- $first_run, $renewal, $resets (the product zeroes used), $trials (a trial is granted like the plan).
-- The property test test_screen.py holds this query and classify() together: it never drops what classify would flag.
CREATE OR REPLACE TEMP TABLE screened AS
WITH billed AS (
    SELECT s.billing_id, s.lookup, s.status, s.anchor, m.plan, m.credits, m.months, m.former, m.free, m.step,
           CASE WHEN m.step > 0 THEN
               greatest(0, ((year($now::TIMESTAMP) - year(s.anchor)) * 12 + month($now::TIMESTAMP) - month(s.anchor)) // m.step)
           END AS steps
    FROM subscriptions s
    LEFT JOIN plan_map m
      ON m.status IS NOT DISTINCT FROM s.status AND m.raw_plan IS NOT DISTINCT FROM s.raw_plan
     AND m.cycle IS NOT DISTINCT FROM s.cycle
),
-- The anchor's day is kept through short months: each period is counted from the anchor, never from the one before.
dated AS (
    SELECT *, CASE
        WHEN free OR anchor IS NULL OR step IS NULL THEN NULL
        WHEN step = 0 THEN anchor
        WHEN steps > 0 AND anchor + to_months(CAST(steps * step AS INTEGER)) > $now::TIMESTAMP
            THEN anchor + to_months(CAST((steps - 1) * step AS INTEGER))
        ELSE anchor + to_months(CAST(steps * step AS INTEGER))
    END AS period_start
    FROM billed
),
-- What the plan gave when it was bought or when the period started, whichever is less: a renewal owes nothing.
priced AS (
    SELECT * REPLACE (least(coalesce(list_filter(former, lambda f: anchor < f.until)[1].credits, credits),
                            coalesce(list_filter(former, lambda f: period_start < f.until)[1].credits, credits)) AS credits)
    FROM dated
),
joined AS (
    SELECT b.account_id, b.label, b.total, b.used, coalesce(d.lookup, 'error') AS lookup, d.status,
           d.plan, d.credits, d.months, d.free, d.period_start, o.account IS NOT NULL AS known, o.mark AS old_mark,
           o.label IS NOT DISTINCT FROM b.label AND o.total = b.total AND o.used = b.used
               AND o.billed_plan IS NOT DISTINCT FROM d.plan AND o.billed_status IS NOT DISTINCT FROM d.status
               AND o.billed_period_start IS NOT DISTINCT FROM d.period_start
               AND o.unanswered_since IS NULL AS same,
           o.billed_period_start IS NOT DISTINCT FROM d.period_start AS same_period,
           o.billed_plan = d.plan AND o.total = b.total AND o.unanswered_since IS NULL
               AND (b.used >= o.used OR $resets) AS same_course,
           $now::TIMESTAMP >= d.period_start + $settle::INTERVAL AS settled,
           b.used < o.used OR 10 * CASE $renewal
               WHEN 'reset_used' THEN o.used
               WHEN 'set_to_allowance' THEN greatest(0, d.credits - (o.total - o.used))
               WHEN 'add_allowance' THEN d.credits ELSE 0 END < d.credits AS renewed_well,
           coalesce(d.lookup = 'answered' AND (d.status IN ('free', 'active') OR (d.status = 'trialing' AND $trials))
               AND l.plan = d.plan
               AND b.total >= d.credits AND b.used BETWEEN 0 AND b.total
               AND (d.free OR d.period_start IS NOT NULL), false) AS in_order
    FROM balances b
    LEFT JOIN priced d ON d.billing_id = b.account_id
    LEFT JOIN label_map l ON l.label IS NOT DISTINCT FROM b.label
    LEFT JOIN observations o ON o.account = b.account_id
)
SELECT account_id, label, total, used, lookup, status, plan, credits, months, free, period_start, old_mark, same, same_period,
       CASE
           WHEN coalesce(free, true) THEN NULL
           WHEN NOT known THEN CASE WHEN $first_run THEN 'assumed' END
           WHEN same_period THEN old_mark
           WHEN settled AND renewed_well THEN 'adopted'
       END AS new_mark,
       account_id IN (SELECT account FROM exempt) AS is_exempt,
       NOT coalesce(
           in_order AND (
               NOT known
               OR (same_course AND same_period AND (free OR old_mark IS NOT NULL))
               OR (same_course AND NOT same_period AND (NOT settled OR renewed_well))
           )
           AND account_id NOT IN (SELECT account FROM watched), false) AS suspect
FROM joined;
