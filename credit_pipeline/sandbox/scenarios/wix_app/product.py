"""The sandbox's product: its tables in the embedded server, and what its app and its broken jobs write there.

It writes product tables as the product does.
"""

from collections.abc import Iterable, Iterator, Mapping
from importlib.resources import files

import psycopg
from psycopg import sql

from credit_pipeline.domain.plans.catalogue import Catalogue
from credit_pipeline.sandbox.scenarios.wix_app.life import Row, State

NAME = "wix_app"
UNSOLD = {"beta": 2_000}
"""Plans that only the product knows: no catalogue maps their labels."""

_STAGE = """
CREATE TEMP TABLE IF NOT EXISTS moved (instance_id uuid PRIMARY KEY, plan_id text, credits_total integer,
    credits_used_month integer, at timestamptz) ON COMMIT DELETE ROWS
"""
_MOVE = """
UPDATE app_instances AS a SET plan_id = m.plan_id, credits_total = m.credits_total,
    credits_used_month = m.credits_used_month, updated_at = m.at
FROM moved AS m WHERE m.instance_id = a.instance_id
"""
# Every decrease of available credits, whatever its cause.
_LOST = """
SELECT coalesce(sum(greatest(0, (old_total - old_used) - (new_total - new_used))), 0)::bigint
FROM instance_changes WHERE id > %s
"""
_STATES = "SELECT instance_id::text, plan_id, credits_total, credits_used_month FROM app_instances"


class WixApp:
    """The product's database, on one connection. A context manager that closes it."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True, application_name=NAME)

    def __enter__(self) -> "WixApp":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def create(self, catalogue: Catalogue) -> None:
        """Tables and price list, in an empty database."""
        schema = files("credit_pipeline.sandbox.scenarios.wix_app").joinpath("product.sql").read_text(encoding="utf-8")
        prices = {plan.label: plan.credits for plan in catalogue.plans} | UNSOLD
        database = sql.Identifier(self._connection.info.dbname)
        with self._connection.transaction():
            self._connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
            self._connection.execute(schema.encode())
            self._connection.cursor().executemany("INSERT INTO plans VALUES (%s, %s)", list(prices.items()))

    def install(self, rows: Iterable[Row]) -> None:
        """Writes new sites with COPY."""
        target = "COPY app_instances (instance_id, plan_id, credits_total, credits_used_month, created_at, updated_at)"
        with self._connection.transaction(), self._connection.cursor().copy(f"{target} FROM STDIN".encode()) as copy:
            for account, state, at in rows:
                copy.write_row((account, *state, at, at))

    def move(self, rows: Iterable[Row]) -> None:
        """Writes changed sites, after spending, renewals, purchases and accidents, in one statement."""
        with self._connection.transaction():
            self._connection.execute(_STAGE)
            with self._connection.cursor().copy("COPY moved FROM STDIN") as copy:
                for account, state, at in rows:
                    copy.write_row((account, *state, at))
            self._connection.execute(_MOVE)

    def refresh_statistics(self) -> None:
        """Updates statistics after a bulk load; without them the planner expects an empty table."""
        self._connection.execute("VACUUM ANALYZE app_instances")

    def states(self) -> Mapping[str, State]:
        """The state of every site."""
        return dict(self._states())

    def last_change(self) -> int:
        """The number of the newest row of the product's audit; 0 before the first."""
        return self._number("SELECT coalesce(max(id), 0) FROM instance_changes", ())

    def credits_lost(self, since: int) -> int:
        """Sum of the decreases of available after that row of the product's audit."""
        return self._number(_LOST, (since,))

    def _states(self) -> Iterator[tuple[str, State]]:
        for account, label, total, used in self._connection.execute(_STATES):
            yield account, State(label, total, used)

    def _number(self, query: str, parameters: tuple[int, ...]) -> int:
        row = self._connection.execute(query.encode(), parameters).fetchone()
        assert row is not None
        return int(row[0])
