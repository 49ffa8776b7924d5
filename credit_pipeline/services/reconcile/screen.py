"""Screen, then judge: one DuckDB query drops every account that is provably healthy (architecture §3).

The plan words are resolved in Python, once per distinct word, and joined; a million accounts stay in Arrow throughout.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from credit_pipeline.domain.grants.events import renewal_wait
from credit_pipeline.domain.plans.catalogue import Catalogue, Plan, Resolution, Resolved, Rule, Unmapped
from credit_pipeline.domain.plans.periods import Cycle, months_of, step_months
from credit_pipeline.domain.policy import Policy, Renewal, Trial
from credit_pipeline.domain.subjects.billing_status import BillingStatus
from credit_pipeline.domain.subjects.ids import AccountId
from credit_pipeline.services import table_sql
from credit_pipeline.services.collect.tables import OBSERVATIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class Screened:
    """What the screen found: the suspects as rows, what of the rest is to be remembered, and the counts."""

    suspects: tuple[Mapping[str, Any], ...]
    changed: pa.Table
    """Observations (schema OBSERVATIONS) of healthy and exempt accounts that differ from what is remembered."""
    population: int
    healthy: int
    exempt: int
    answered: int
    entitlements: int
    everything: pa.Table | None = None
    """Every account with its billed plan, where that was asked for."""
    apart: int = 0
    """Customers who pay nothing and have no store account: no subjects, and counted apart."""


def billed_resolution(
    catalogue: Catalogue,
    status: str | None,
    raw_plan: str | None,
    *,
    lookup_key: str | None = None,
    metadata: str | None = None,
) -> Resolution | None:
    """What billing's words mean: free is the free plan, a missing word on a paid subscription is unknown."""
    if status == BillingStatus.FREE:
        return Resolved(plan=catalogue.free, rule=Rule.FREE)
    if status is None:
        return None
    if raw_plan is None and lookup_key is None and metadata is None:
        return Unmapped(raw=None, reason="billing calls the account paid but names no plan")
    return catalogue.resolve(raw_plan, lookup_key=lookup_key, metadata=metadata)


def screen(
    balances: pa.Table,
    subscriptions: pa.Table,
    observations: pa.Table,
    *,
    catalogue: Catalogue,
    policy: Policy,
    now: datetime,
    first_run: bool,
    watched: Iterable[AccountId],
    exempt: Iterable[AccountId],
    keep_all: bool = False,
) -> Screened:
    """Join the three sources and separate the suspects from the provably healthy."""
    tables = {
        "balances": balances,
        "subscriptions": _naive(subscriptions),
        "observations": _naive(observations),
        "plan_map": _plan_map(subscriptions, catalogue),
        "label_map": _label_map(balances, catalogue),
        "watched": pa.table({"account": pa.array(list(watched), pa.string())}),
        "exempt": pa.table({"account": pa.array(list(exempt), pa.string())}),
    }
    with table_sql.over(tables, ordered=False) as db:
        parameters = {
            "now": now.astimezone(UTC).replace(tzinfo=None),
            "settle": renewal_wait(policy),
            "renewal": policy.renewal.value if policy.renewal else "none",
            "first_run": first_run,
            "trials": policy.trial is Trial.GRANT,
            "resets": policy.renewal in {Renewal.RESET_USED, Renewal.SET_TO_ALLOWANCE},
        }
        db.execute(
            files("credit_pipeline.services.reconcile").joinpath("screen.sql").read_text(), parameters
        ).fetchall()
        ((population, healthy, exempt_count, answered, entitlements),) = db.execute(COUNTS).fetchall()
        changed = db.sql(CHANGED, params={"now": parameters["now"]}).to_arrow_table()
        suspects = db.sql(SUSPECTS).to_arrow_table().to_pylist()
        everything = db.sql(EVERYTHING).to_arrow_table() if keep_all else None
        return Screened(
            suspects=tuple(suspects),
            changed=_aware(changed),
            population=population,
            healthy=healthy,
            exempt=exempt_count,
            answered=answered,
            entitlements=entitlements or 0,
            everything=everything,
        )


COUNTS = """
SELECT count(*), count(*) FILTER (NOT suspect AND NOT is_exempt), count(*) FILTER (is_exempt),
       count(*) FILTER (lookup <> 'error'),
       CAST(sum(credits // months) FILTER (NOT free AND status IN ('active', 'trialing')) AS BIGINT)
FROM screened
"""

CHANGED = """
-- Exempt accounts are remembered like the others, without a new mark; unknown numbers cannot be remembered.
SELECT account_id AS account, label, total, used, plan AS billed_plan, period_start AS billed_period_start,
       coalesce(status, lookup) AS billed_status,
       CASE WHEN is_exempt THEN CASE WHEN same_period THEN old_mark END ELSE new_mark END AS mark,
       $now::TIMESTAMP AS as_of, NULL::TIMESTAMP AS unanswered_since,
       NULL::BIGINT AS gap
FROM screened
WHERE (is_exempt OR NOT suspect) AND lookup <> 'error' AND total IS NOT NULL AND used IS NOT NULL
  AND NOT coalesce(same AND (is_exempt OR new_mark IS NOT DISTINCT FROM old_mark), false)
"""

EVERYTHING = "SELECT account_id, label, total, used, plan AS billed_plan FROM screened ORDER BY account_id"

SUSPECTS = """
-- All that billing said about them; the screened table is kept narrow for the million that are healthy.
SELECT w.account_id, w.label, w.total, w.used, s.* REPLACE (w.lookup AS lookup)
FROM screened AS w LEFT JOIN subscriptions AS s ON s.billing_id = w.account_id
WHERE w.suspect AND NOT w.is_exempt ORDER BY w.account_id
"""


def _plan_map(subscriptions: pa.Table, catalogue: Catalogue) -> pa.Table:
    words = (
        subscriptions.select(["status", "raw_plan", "cycle"]).group_by(["status", "raw_plan", "cycle"]).aggregate([])
    )
    rows = []
    for word in words.to_pylist():
        resolution = billed_resolution(catalogue, word["status"], word["raw_plan"])
        if isinstance(resolution, Resolved):
            step = billed_step(resolution.plan, word["cycle"])
            rows.append({**word, **_plan_columns(resolution.plan, word["cycle"]), "step": step})
    return pa.Table.from_pylist(rows, schema=PLAN_MAP)


FORMER = pa.list_(pa.struct([("until", pa.timestamp("us")), ("credits", pa.int64())]))
"""What a plan's periods gave that started before; naive UTC."""

PLAN_MAP = pa.schema(
    [
        ("status", pa.string()),
        ("raw_plan", pa.string()),
        ("cycle", pa.string()),
        ("plan", pa.string()),
        ("credits", pa.int64()),
        ("months", pa.int64()),
        ("former", FORMER),
        ("free", pa.bool_()),
        ("step", pa.int32()),
    ]
)


def billed_step(plan: Plan, cycle: str | None) -> int | None:
    """Months between two periods of a billed plan, None where none can be told."""
    return None if plan.free or cycle is None else step_months(plan, Cycle(cycle))


def _plan_columns(plan: Plan, cycle: str | None) -> dict[str, Any]:
    """Of a year that is granted up front the amounts are twelve months'."""
    times, amounts = months_of(plan, Cycle(cycle) if cycle else None), amounts_of(plan)
    former = [{**amount, "credits": amount["credits"] * times} for amount in amounts["former"]]
    return {
        "plan": plan.name,
        "credits": amounts["credits"] * times,
        "months": times,
        "former": former,
        "free": plan.free,
    }


def amounts_of(plan: Plan) -> dict[str, Any]:
    """The columns `credits` and `former`. The free plan has no periods, so nobody's start is known."""
    if plan.free:
        return {"credits": plan.credits_from(None), "former": []}
    former = [{"until": a.until.astimezone(UTC).replace(tzinfo=None), "credits": a.credits} for a in plan.former]
    return {"credits": plan.credits, "former": former}


def _label_map(balances: pa.Table, catalogue: Catalogue) -> pa.Table:
    words: list[str | None] = pc.unique(balances["label"]).to_pylist()
    resolved = ((word, catalogue.resolve_label(word)) for word in words)
    rows = [{"label": word, "plan": found.plan.name} for word, found in resolved if isinstance(found, Resolved)]
    return pa.Table.from_pylist(rows, schema=pa.schema([("label", pa.string()), ("plan", pa.string())]))


def _naive(table: pa.Table) -> pa.Table:
    """Times without a zone (all are UTC): DuckDB's zoned arithmetic would need an extension."""
    fields = [f.with_type(pa.timestamp("us")) if pa.types.is_timestamp(f.type) else f for f in table.schema]
    return table.cast(pa.schema(fields))


def _aware(table: pa.Table) -> pa.Table:
    return table.cast(pa.schema([f.with_nullable(True) for f in OBSERVATIONS]))
