"""A product with our schema whose collections are recorded by number, its outbox, and sinks that only remember.

No assertions.
"""

from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from credit_pipeline.adapters.alerts.outbox import PostgresOutbox
from credit_pipeline.adapters.findings.lifecycle import PostgresLifecycle
from credit_pipeline.adapters.history.memory import PostgresMemory
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.mismatch import Mismatch
from credit_pipeline.domain.subjects.ids import AccountId, BillingId
from credit_pipeline.services.alerts.ports import DeliveryFailed, Message
from credit_pipeline.services.collect.tables import OBSERVATIONS
from credit_pipeline.services.findings.ports import Decided
from credit_pipeline.services.reconcile.ports import CollectionRecord
from credit_pipeline_tests.adapters.products.counter_product import Product, a_copied_product
from credit_pipeline_tests.conftest import Databases

HOUR = timedelta(hours=1)
START = datetime(2026, 1, 1, tzinfo=UTC)
EVA = Decided(who="eva", reason="I looked at it")


def a_finding(fingerprint: str = "f", **overrides: Any) -> Mismatch:
    """A paid account without its credits, proven."""
    facts: dict[str, Any] = {
        "fingerprint": fingerprint,
        "account_id": AccountId(f"site-{fingerprint}"),
        "billing_id": BillingId(f"site-{fingerprint}"),
        "code": "grant_missing",
        "severity": "critical",
        "lane": "auto",
        "is_event": False,
        "expected": {"plan": "pro", "credits": 5000},
        "actual": {"plan": "pro", "total": 100, "used": 0},
        "evidence": {},
        "delta": 4900,
        "first_seen": START,
        "opened_at": START,
    }
    return Mismatch(**(facts | overrides))


class Alerting:
    """Our schema in the product's database; collections are six hours apart, and `now` is when the last one was."""

    def __init__(self, product: Product) -> None:
        self.product = product
        self.start = datetime.now(UTC) - timedelta(days=30)
        self.number = 0
        self.memory = PostgresMemory(product.system, product.url)
        self.outbox = PostgresOutbox(product.url, product.system)

    @property
    def now(self) -> datetime:
        return self.start + 6 * self.number * HOUR

    def close(self) -> None:
        self.memory.close()
        self.outbox.close()

    def empty(self) -> None:
        """Nothing was ever collected or told."""
        names = ("outbox", "mismatch", "snapshot", "exemption", "webhook_event")
        self.product.run("TRUNCATE " + ", ".join(f"credit_pipeline.{name}" for name in names))

    def collect(self, *found: Mismatch, closed: tuple[tuple[str, str], ...] = ()) -> None:
        """The next complete collection."""
        self.number += 1
        facts = {"as_of": self.now, "answered": 9, "population": 9, "audit_seq": 0}
        collection = CollectionRecord(run_id=f"run-{self.number}", **facts)  # type: ignore[arg-type]
        self.memory.record(collection, changed=OBSERVATIONS.empty_table(), mismatches=found, closed=closed)

    def lifecycle(self) -> "closing[PostgresLifecycle]":
        return closing(PostgresLifecycle(self.product.url, self.product.system))

    def rows(self, kind: str | None = None) -> list[dict[str, Any]]:
        """The outbox, oldest first."""
        rows = self.product.run("SELECT * FROM credit_pipeline.outbox ORDER BY id")
        return [row for row in rows if kind in {None, row["kind"]}]

    def told(self) -> list[dict[str, int]]:
        """How many findings were new, reopened or changed, an alert each."""
        return [row["content"]["how"] for row in self.rows("findings")]


def an_alerting(databases: Databases, system: CreditSystem | None = None) -> Alerting:
    return Alerting(a_copied_product(databases) if system is None else a_copied_product(databases, system))


@dataclass
class Listener:
    """A sink that remembers; while `down` says something it takes nothing."""

    name: str = "webhook"
    down: str | None = None
    heard: list[Message] = field(default_factory=list)
    asked: int = 0

    def send(self, message: Message) -> None:
        self.asked += 1
        if self.down is not None:
            raise DeliveryFailed(self.down, down=True)
        self.heard.append(message)

    @property
    def titles(self) -> list[str]:
        return [message.title for message in self.heard]
