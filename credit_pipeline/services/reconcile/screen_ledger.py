"""Screen, then judge, for ledgers: joins users, accounts and customers into subjects and drops the provably healthy.

Files of statements do it set by set over the snapshots, for millions; what a word for a plan means is resolved here,
once per distinct word. Decides nothing else.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.resources import files
from itertools import product
from typing import Any

import duckdb
import pyarrow as pa

from credit_pipeline.domain.plans.catalogue import Catalogue, Resolved
from credit_pipeline.domain.policy import Policy, Trial
from credit_pipeline.domain.subjects.billing_status import BillingStatus
from credit_pipeline.domain.subjects.ids import AccountId
from credit_pipeline.services import table_sql
from credit_pipeline.services.collect.tables import OBSERVATIONS
from credit_pipeline.services.reconcile.plan_words import PlanWords, Word
from credit_pipeline.services.reconcile.screen import FORMER, Screened, amounts_of, billed_step


def screen_ledger(
    balances: pa.Table,
    identities: pa.Table,
    subscriptions: pa.Table,
    observations: pa.Table,
    *,
    catalogue: Catalogue,
    policy: Policy,
    now: datetime,
    first_run: bool,
    watched: Iterable[AccountId] = (),
    exempt: Iterable[AccountId] = (),
    complete: bool = True,
    partial: bool = False,
    keep_all: bool = False,
) -> Screened:
    """Join the sources and separate the suspects from the provably healthy.

    `complete`: billing's list ended by itself, so that who is not in it pays nothing. `partial`: only the accounts in
    `balances` are subjects. A suspect's row is what `subjects.subjects_of` takes.
    """
    words = PlanWords.spoken_in(catalogue, subscriptions)
    present = _naive_time(now)
    run = {
        "now": present,
        "horizon": present - policy.lookback,
        "first_run": first_run,
        "trials": policy.trial is Trial.GRANT,
        "complete": complete,
        "partial": partial,
        "reference": policy.reference,
        "free_plan": catalogue.free.name,
        "free_credits": sorted(catalogue.free.amounts),
    }
    tables = {
        "run": pa.Table.from_pylist([run], schema=RUN),
        "balances": _naive(balances),
        "identities": identities,
        "subscriptions": _naive(subscriptions),
        "observations": _naive(observations),
        "plan_map": _plan_map(words),
        "label_map": _label_map(balances, catalogue),
        "status_fit": _status_fit(policy),
        "watched": pa.table({"account": pa.array(list(watched), pa.string())}),
        "exempt": pa.table({"account": pa.array(list(exempt), pa.string())}),
    }
    with table_sql.over(tables, ordered=False) as db:
        db.register("price_map", _price_map(db, words))
        join_subjects(db)
        db.execute(_statements("screen_ledger.sql"))
        ((population, healthy, exempt_count, entitlements),) = db.execute(COUNTS).fetchall()
        ((answered, apart),) = db.execute(READ).fetchall()
        return Screened(
            suspects=tuple(db.sql(SUSPECTS).to_arrow_table().to_pylist()),
            changed=db.sql(CHANGED).to_arrow_table().cast(REMEMBERED),
            population=population,
            healthy=healthy,
            exempt=exempt_count,
            answered=answered,
            entitlements=entitlements or 0,
            apart=apart,
            everything=db.sql(EVERYTHING).to_arrow_table() if keep_all else None,
        )


def join_subjects(db: duckdb.DuckDBPyConnection) -> None:
    """The connected groups of the registered snapshots, as tables `subject`, `group_user`, `group_account`, ….

    The joining step is repeated while a head moves: at most once per user that shares something, mostly two or three
    times.
    """
    db.execute(_statements("subjects.sql"))
    step, heads = _statements("subjects_join.sql"), "SELECT count(DISTINCT head), sum(hash(head)) FROM joined"
    before, after = [(0, 0)], db.execute(heads).fetchall()
    while before != after:
        db.execute(step)
        before, after = after, db.execute(heads).fetchall()
    db.execute(_statements("subjects_group.sql"))


RUN = pa.schema(
    [
        ("now", pa.timestamp("us")),
        ("horizon", pa.timestamp("us")),
        ("first_run", pa.bool_()),
        ("trials", pa.bool_()),
        ("complete", pa.bool_()),
        ("partial", pa.bool_()),
        ("reference", pa.string()),
        ("free_plan", pa.string()),
        ("free_credits", pa.list_(pa.int64())),
    ]
)

COUNTS = """
SELECT count(*), count(*) FILTER (healthy AND NOT is_exempt), count(*) FILTER (is_exempt),
       CAST(sum(credits) AS BIGINT)
FROM screened
"""

READ = """
SELECT (SELECT count(*) FROM listed WHERE lookup <> 'error'),
       (SELECT count(*) FROM group_customer WHERE grp NOT IN (SELECT grp FROM subject))
"""

CHANGED = """
-- Of the exempt who are no simple subjects nothing is remembered: what billing says about them is not one thing.
SELECT account_id AS account, label, total, used, plan AS billed_plan, period_start AS billed_period_start,
       status AS billed_status, new_mark AS mark, (SELECT now FROM run) AS as_of, NULL::TIMESTAMP AS unanswered_since,
       gap
FROM screened
WHERE account IS NOT NULL AND total IS NOT NULL AND used IS NOT NULL AND status IS NOT NULL AND (healthy OR is_exempt)
  AND NOT coalesce(same AND same_key AND new_mark IS NOT DISTINCT FROM old_mark, false)
"""

EVERYTHING = "SELECT account_id, label, total, used, plan AS billed_plan FROM screened ORDER BY account_id"

SUSPECTS = """
-- Everything that was read about the suspects, a row a subject, its parts as lists.
WITH suspect AS (SELECT grp, account_id, account FROM screened WHERE NOT healthy AND NOT is_exempt),
users AS (
    SELECT g.grp, list(g.auth_id) AS auth_ids, min(i.billing_id) AS customer,
           list(g.auth_id) FILTER (i.local AND len(i.metadata) = 0) AS without_metadata
    FROM group_user AS g SEMI JOIN suspect USING (grp) JOIN identities AS i USING (auth_id) GROUP BY g.grp
), accounts AS (
    SELECT grp, list(account) AS store_ids FROM group_account SEMI JOIN suspect USING (grp) GROUP BY grp
), said AS (
    SELECT g.grp, list(struct_pack(layer := c.layer, auth_id := c.auth_id, account := c.account, source := c.source,
                                   known := c.known)) AS claims
    FROM claim AS c JOIN group_user AS g USING (auth_id) SEMI JOIN suspect USING (grp) GROUP BY g.grp
), customers AS (
    SELECT g.grp, list(DISTINCT g.billing_id) AS billing_ids, list(s) AS subscriptions
    FROM group_customer AS g SEMI JOIN suspect USING (grp) JOIN listed AS s USING (billing_id) GROUP BY g.grp
), named AS (
    SELECT g.grp, list(struct_pack(billing_id := n.billing_id, subscription_id := n.subscription_id, named := n.named,
                                   auth_id := n.auth_id, source := n.source)) AS namings
    FROM naming AS n JOIN group_customer AS g USING (billing_id) SEMI JOIN suspect USING (grp) GROUP BY g.grp
), mail AS (
    SELECT g.grp, list(DISTINCT i.auth_id) AS same_email
    FROM group_customer AS g SEMI JOIN suspect USING (grp) JOIN listed AS s USING (billing_id)
    JOIN identities AS i ON i.email_hash = s.email_hash
    WHERE g.grp LIKE 'c%' GROUP BY g.grp
)
SELECT s.account_id, s.account, u.auth_ids, u.customer, u.without_metadata, a.store_ids, d.claims, c.billing_ids,
       c.subscriptions, n.namings, m.same_email,
       CASE WHEN b.account_id IS NOT NULL THEN b END AS balance
FROM suspect AS s LEFT JOIN users AS u USING (grp) LEFT JOIN accounts AS a USING (grp) LEFT JOIN said AS d USING (grp)
LEFT JOIN customers AS c USING (grp) LEFT JOIN named AS n USING (grp) LEFT JOIN mail AS m USING (grp)
LEFT JOIN balances AS b ON b.account_id = s.account
ORDER BY s.account_id
"""

REMEMBERED = pa.schema([field.with_nullable(True) for field in OBSERVATIONS])

PLAN_MAP = pa.schema(
    [(name, pa.string()) for name in Word._fields]
    + [
        ("plan", pa.string()),
        ("credits", pa.int64()),
        ("former", FORMER),
        ("free", pa.bool_()),
        ("step", pa.int32()),
        ("yearly", pa.string()),
    ]
)


def _plan_map(words: PlanWords) -> pa.Table:
    rows = [
        {
            **word._asdict(),
            "plan": plan.name,
            **amounts_of(plan),
            "free": plan.free,
            "step": billed_step(plan, word.cycle),
            "yearly": plan.yearly.value if plan.yearly else None,
        }
        for word, plan in words.plans()
    ]
    return pa.Table.from_pylist(rows, schema=PLAN_MAP)


def _price_map(db: duckdb.DuckDBPyConnection, words: PlanWords) -> pa.Table:
    query = "SELECT DISTINCT line.raw_plan FROM (SELECT unnest(invoices) AS line FROM subscriptions)"
    prices: Iterable[str | None] = (row[0] for row in db.execute(query).fetchall())
    rows = [{"raw_plan": raw, "plan": plan.name} for raw in prices if (plan := words.billed(raw)) and raw is not None]
    return pa.Table.from_pylist(rows, schema=pa.schema([("raw_plan", pa.string()), ("plan", pa.string())]))


def _label_map(balances: pa.Table, catalogue: Catalogue) -> pa.Table:
    labels: list[str | None] = balances["label"].unique().to_pylist()
    resolved = ((label, catalogue.resolve_label(label)) for label in labels)
    rows = [
        {"label": label, "plan": found.plan.name, "free": found.plan.free}
        for label, found in resolved
        if isinstance(found, Resolved)
    ]
    return pa.Table.from_pylist(
        rows, schema=pa.schema([("label", pa.string()), ("plan", pa.string()), ("free", pa.bool_())])
    )


def _status_fit(policy: Policy) -> pa.Table:
    """Every word of the product's own row that fits a live state of billing, as the judgement reads it."""
    known = set(policy.statuses.values())
    told = {status: status if status in known else BillingStatus.ACTIVE for status in BillingStatus if status.live}
    rows = [
        {"status": status.value, "word": word}
        for (status, state), (word, means) in product(told.items(), policy.statuses.items())
        if means is state
    ]
    return pa.Table.from_pylist(rows, schema=pa.schema([("status", pa.string()), ("word", pa.string())]))


def _statements(name: str) -> str:
    return files("credit_pipeline.services.reconcile").joinpath(name).read_text()


def _naive_time(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)


def _naive(table: pa.Table) -> pa.Table:
    """Times without a zone, those inside lists as well (all are UTC): DuckDB's zoned arithmetic needs an extension."""
    return table.cast(pa.schema([field.with_type(_without_zone(field.type)) for field in table.schema]))


def _without_zone(kind: Any) -> Any:
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us")
    if pa.types.is_list(kind):
        return pa.list_(_without_zone(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_without_zone(field.type)) for field in kind])
    return kind
