"""Reads the product's own table of plans, for comparison with the configured ones."""

from collections.abc import Mapping

from psycopg import sql

from credit_pipeline.adapters.postgres.connections import ArrowCursor
from credit_pipeline.adapters.postgres.table_columns import look_up
from credit_pipeline.adapters.stores.column_values import fetch, text, whole
from credit_pipeline.config.store import PlanTable
from credit_pipeline.domain.errors import StoreError


def price_list(cursor: ArrowCursor, system: str, schema: str, plans: PlanTable) -> Mapping[str, int]:
    """Label → credits; incomplete rows are skipped. Raises StoreError if a label has two amounts."""
    table = look_up(cursor, system, schema, "store.plans.table", plans.table)
    label = table.column("store.plans.label", plans.label)
    credits = table.number("store.plans.credits", plans.credits)
    query = sql.SQL("SELECT {} AS label, {} AS credits FROM {}").format(
        text(label), whole(cursor, table, credits), table.identifier
    )
    rows = [row for row in fetch(cursor, query).to_pylist() if None not in row.values()]
    known: dict[str, int] = {row["label"]: row["credits"] for row in rows}
    if any(known[row["label"]] != row["credits"] for row in rows):
        raise StoreError(
            f"{system}: table `{table.name}` gives one plan two amounts of credits: "
            "leave one row a plan, or correct `store.plans` in defs.yaml"
        )
    return known
