-- One step of joining: every user takes the least head among those it shares something with, and that head's own head
-- (so that a chain of n users is one group after about log n steps). Stable when no head changes.
CREATE OR REPLACE TEMP TABLE joined AS
WITH least_head AS (
    SELECT s.thing, min(j.head) AS head FROM shared AS s JOIN joined AS j USING (auth_id) GROUP BY s.thing
), reached AS (
    SELECT s.auth_id, min(l.head) AS head FROM shared AS s JOIN least_head AS l USING (thing) GROUP BY s.auth_id
)
SELECT r.auth_id, least(r.head, j.head) AS head FROM reached AS r JOIN joined AS j ON j.auth_id = r.head;
