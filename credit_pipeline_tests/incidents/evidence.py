"""What our own schema holds after an incident: grants, audit rows, open findings. Read with SQL alone."""

from contextlib import closing

import psycopg

from credit_pipeline.adapters.plans.store import PostgresPlans
from credit_pipeline.domain.plans.catalogue import Plan
from credit_pipeline.services.plans.ports import SavedPlan
from credit_pipeline_tests.adapters.products.counter_product import chain_faults
from credit_pipeline_tests.incidents.world import SYSTEM

_GRANTS = 'SELECT plan, credits FROM credit_pipeline."grant" WHERE account = %s ORDER BY granted_at'
_AUDIT = """
SELECT account, before_label, before_total, before_used, after_label, after_total, after_used
FROM credit_pipeline.audit ORDER BY seq
"""
_CHANGES = """
SELECT instance_id::text, old_plan, old_total, old_used, new_plan, new_total, new_used
FROM instance_changes WHERE changed_by LIKE 'credit_pipeline%' ORDER BY id
"""
_MARKED = "SELECT count(*) FROM credit_pipeline.correction WHERE outcome = 'changed'"
_STATES = "SELECT state FROM credit_pipeline.mismatch WHERE account = %s AND code = %s ORDER BY opened_at"


def granted(url: str, account: str) -> list[tuple[str, int]]:
    """(plan, credits) of every grant we made to an account, in order."""
    return _rows(url, _GRANTS, account)


def states(url: str, account: str, code: str) -> list[str]:
    """The states of an account's findings of one code, oldest first."""
    return [state for (state,) in _rows(url, _STATES, account, code)]


def outcomes(plan: SavedPlan) -> list[tuple[str, str | None]]:
    """(lane, outcome) of every row of a plan, in order."""
    return [(row.correction.lane.value, row.outcome) for row in plan.rows]


def credits_of(name: str) -> int:
    """The allowance of a plan."""
    plan = SYSTEM.catalogue.named(name)
    assert isinstance(plan, Plan)
    return plan.credits


def assert_audited(url: str, *, changes: int) -> None:
    """One true audit row for each change that the product's own trigger saw us make, and a chain that verifies."""
    audited = _rows(url, _AUDIT)
    assert audited == _rows(url, _CHANGES)
    assert len(audited) == changes
    assert _rows(url, _MARKED) == [(changes,)]
    with closing(PostgresPlans(url, SYSTEM)) as plans:
        assert chain_faults(plans) == []


def _rows(url: str, query: str, *parameters: str) -> list[tuple]:  # type: ignore[type-arg]
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode(), parameters or None).fetchall()
