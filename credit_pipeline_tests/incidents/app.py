"""The product's own side of an incident: its app, its webhook handlers, its users, and the repair job that began it.

Everything here is what the product does, in its own words and on its own connection. Nothing here knows what is right.
"""

import threading
from collections import Counter
from typing import Any, NamedTuple, Self

import psycopg

NAME = "wix_app"

_ROWS = "SELECT instance_id::text, plan_id, credits_total, credits_used_month FROM app_instances"
_SPEND = """
UPDATE app_instances SET credits_used_month = credits_used_month + 1, updated_at = now()
WHERE instance_id = %s AND credits_total - credits_used_month >= 1
"""
# What is left of the old plan is kept: 200 + 1,000 = 1,200.
_FOLD = """
UPDATE app_instances AS a SET plan_id = p.id, credits_used_month = 0, updated_at = now(),
    credits_total = a.credits_total - a.credits_used_month + p.monthly_credits
FROM plans AS p WHERE a.instance_id = %s AND p.id = %s
"""
_ADD = """
UPDATE app_instances AS a SET plan_id = p.id, credits_total = a.credits_total + p.monthly_credits, updated_at = now()
FROM plans AS p WHERE a.instance_id = %s AND p.id = %s
"""
# The statement that made 1,000 of 1,200 at every restart.
_REPAIR_JOB = """
UPDATE app_instances AS a SET credits_total = p.monthly_credits, updated_at = now()
FROM plans AS p WHERE p.id = a.plan_id AND a.credits_total IS DISTINCT FROM p.monthly_credits
"""
# Where a row version stands and which transaction wrote it: an UPDATE to the same values shows here too.
_VERSIONS = """
SELECT 'app_instances' AS of, xmin::text, ctid::text, a::text FROM app_instances AS a
UNION ALL SELECT 'plans', xmin::text, ctid::text, p::text FROM plans AS p
UNION ALL SELECT 'instance_changes', xmin::text, ctid::text, c::text FROM instance_changes AS c ORDER BY 1, 3
"""
_CHANGES = """
SELECT count(*) FROM instance_changes
WHERE changed_by LIKE %(by)s AND (%(account)s::uuid IS NULL OR instance_id = %(account)s::uuid)
"""


class Row(NamedTuple):
    """One site as the product's table holds it."""

    label: str | None
    total: int
    used: int

    @property
    def available(self) -> int:
        """What the user can still spend."""
        return self.total - self.used


class App:
    """The product on one connection. A context manager that closes it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._connection = psycopg.connect(url, autocommit=True, application_name=NAME)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def run(self, statement: str, *parameters: Any) -> int:
        """One statement of the product; the number of rows it hit."""
        return self._connection.execute(statement.encode(), parameters or None).rowcount

    def install(self, account: str, label: str | None, total: int, used: int) -> None:
        self.run(
            "INSERT INTO app_instances (instance_id, plan_id, credits_total, credits_used_month)"
            " VALUES (%s, %s, %s, %s)",
            account, label, total, used,
        )  # fmt: skip

    def rows(self) -> dict[str, Row]:
        """Every site as it stands."""
        return {account: Row(*state) for account, *state in self._connection.execute(_ROWS)}

    def row(self, account: str) -> Row:
        return self.rows()[account]

    def versions(self) -> list[tuple[Any, ...]]:
        """Every row version of the product's tables: what no write at all leaves as it was."""
        return self._connection.execute(_VERSIONS).fetchall()

    def changes_by(self, by: str, account: str | None = None) -> int:
        """How many changes the product's audit trigger noted of an application, by the beginning of its name."""
        found = self._connection.execute(_CHANGES, {"by": f"{by}%", "account": account}).fetchone()
        assert found is not None
        return int(found[0])

    def relabel(self, account: str, label: str | None) -> None:
        """Only the label: a webhook that died half way, or a label lost."""
        self.run("UPDATE app_instances SET plan_id = %s, updated_at = now() WHERE instance_id = %s", label, account)

    def use(self, account: str, amount: int) -> None:
        """The user spends this much at once."""
        self.run(
            "UPDATE app_instances SET credits_used_month = credits_used_month + %s WHERE instance_id = %s",
            amount, account,
        )  # fmt: skip

    def fold(self, account: str, plan: str) -> None:
        """The purchase as the app carries it out."""
        self.run(_FOLD, account, plan)

    def webhook(self, account: str, plan: str) -> bool:
        """The handler of a purchase: the same label is a no-op. Returns whether it did anything."""
        if self.row(account).label == plan:
            return False
        self.fold(account, plan)
        return True

    def unkeyed_webhook(self, account: str, plan: str) -> None:
        """A handler that looks at nothing and adds."""
        self.run(_ADD, account, plan)

    def repair_job(self) -> int:
        """SET credits_total = monthly_credits; the number of sites it hit."""
        return self.run(_REPAIR_JOB)


class Spenders:
    """Users who spend one credit at a time, each on a connection of its own, for as long as the block lasts."""

    def __init__(self, url: str, accounts: list[str], *, users: int = 3) -> None:
        self._url, self._accounts = url, accounts
        self._spent = [Counter[str]() for _ in range(users)]
        self._stop = threading.Event()
        self._errors: list[BaseException] = []
        self._threads = [threading.Thread(target=self._spend, args=(n,)) for n in range(users)]

    @property
    def spent(self) -> Counter[str]:
        """Credits spent so far, by account."""
        return sum(self._spent, Counter[str]())

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        assert not self._errors, self._errors

    def _spend(self, user: int) -> None:
        try:
            with psycopg.connect(self._url, autocommit=True, application_name=NAME) as connection:
                while not self._stop.is_set():
                    for account in self._accounts:
                        self._spent[user][account] += connection.execute(_SPEND, (account,)).rowcount
        except BaseException as error:
            self._errors.append(error)
