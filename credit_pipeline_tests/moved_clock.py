"""A plan store in whose database the clock of a test stands: lives of months are lived in seconds.

What the database counts by its own clock (corrections of late, how far ours is off) is counted here by the test's.
Everything else is the real store.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

import psycopg

from credit_pipeline.adapters.plans.store import PostgresPlans
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.subjects.ids import AccountId
from credit_pipeline.services.plans.ports import RowOutcome


class MovedPlans(PostgresPlans):
    """`now` is the test's clock. `written` remembers when each audit row was written, also over a restart."""

    def __init__(
        self, url: str, system: CreditSystem, now: Callable[[], datetime], written: dict[int, datetime] | None = None
    ) -> None:
        super().__init__(url, system)
        self._now = now
        self._written = {} if written is None else written

    def clock(self) -> datetime:
        return self._now()

    def automatic_changes(self, accounts: Sequence[AccountId], within: timedelta) -> Mapping[AccountId, int]:
        since = self._now() - within
        return {account: sum(at >= since for at in self._automatic(account)) for account in accounts}

    def apply_batch(self, plan_id: str, size: int) -> Sequence[RowOutcome]:
        first, _ = self.audit_head()
        outcomes = super().apply_batch(plan_id, size)
        last, _ = self.audit_head()
        self._written |= dict.fromkeys(range(first + 1, last + 1), self._now())
        return outcomes

    def _automatic(self, account: AccountId) -> list[datetime]:
        rows = self.audit(account=account)
        return [self._written[row["seq"]] for row in rows if row["lane"] == "auto" and row["seq"] in self._written]


def pin_billing(url: str, identity: Mapping[str, str]) -> None:
    """What `init` does where billing can be asked: this account is the one that answers for the database."""
    with psycopg.connect(url) as connection:
        connection.execute(
            "UPDATE credit_pipeline.control SET pins = pins || jsonb_build_object('billing', %s::jsonb)",
            (json.dumps(dict(identity)),),
        )
