"""Health between two comparisons: the sentences are the report's own, and what was never compared is not in order."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest

from credit_pipeline.domain.mismatch import Mismatch
from credit_pipeline.domain.subjects.ids import AccountId, BillingId
from credit_pipeline.services.health.between_comparisons import between_comparisons, compared_lately
from credit_pipeline.services.health.statement import Health
from credit_pipeline.services.reconcile.ports import CollectionRecord
from credit_pipeline_tests.domain.builders import NOW
from credit_pipeline_tests.services.health.test_health import COUNTER, LEDGER, NAMES, counts

HOUR = timedelta(hours=1)
HEALTHY = dict.fromkeys(NAMES, 0)


def a_finding(code: str, number: int = 1, **overrides: object) -> Mismatch:
    healthy = Mismatch(
        fingerprint=f"{code}-{number}",
        account_id=AccountId(f"account-{number}"),
        billing_id=BillingId(f"cus_{number}"),
        code=code,
        severity="error",
        lane="auto",
        expected={"plan": "pro"},
        actual={"plan": "free"},
        opened_at=NOW - 2 * HOUR,
        first_seen=NOW - 2 * HOUR,
    )
    return replace(healthy, **overrides)  # type: ignore[arg-type]


@dataclass
class Waiting:
    """A memory of findings that wait, after as many comparisons."""

    found: Sequence[Mismatch] = ()
    looks: Sequence[datetime] = (NOW - 8 * HOUR, NOW - 2 * HOUR)
    asked: list[datetime] = field(default_factory=list)

    def installed(self) -> bool:
        return True

    def last_collection(self) -> CollectionRecord | None:
        raise NotImplementedError

    def collections(self, since: datetime, most: int) -> Sequence[datetime]:
        return self.looks[-most:]

    def waiting(self, now: datetime) -> Sequence[Mismatch]:
        self.asked.append(now)
        return self.found


def told(memory: Waiting, system=LEDGER) -> Health:  # type: ignore[no-untyped-def]
    return between_comparisons(system, memory, (), NOW)  # type: ignore[arg-type]


def test_nothing_waiting_is_healthy() -> None:
    memory = Waiting()
    assert counts(told(memory)) == HEALTHY
    assert memory.asked == [NOW]


def test_an_account_counts_once_in_each_sentence_whatever_its_findings() -> None:
    both = [a_finding("plan_mismatch"), a_finding("grant_missing"), a_finding("grant_missing", 2)]
    found = counts(told(Waiting(both)))
    assert found == HEALTHY | {NAMES[0]: 2, NAMES[1]: 1}


@pytest.mark.parametrize(
    ("billed", "stored", "count"), [("pro", "free", 1), ("free", "pro", 0), ("pro", "business", 0)]
)
def test_what_was_billed_and_stored_decides_about_free_limits(billed: str, stored: str, count: int) -> None:
    found = a_finding("plan_mismatch", expected={"plan": billed}, actual={"plan": stored})
    assert counts(told(Waiting([found])))[NAMES[1]] == count


def test_after_a_single_comparison_a_loss_cannot_be_told() -> None:
    assert counts(told(Waiting(looks=[NOW]))) == HEALTHY | {"no_credits_lost": None}


def test_before_the_first_comparison_nothing_but_the_present_can_be_told() -> None:
    found = told(Waiting(looks=[]))
    assert counts(found) == dict.fromkeys(NAMES) | {"no_recent_failed_deductions": 0}
    assert {one.sample for one in found.statements} == {()}


@pytest.mark.parametrize(
    ("last", "count", "sample"),
    [
        (NOW, 0, ()),
        (NOW - 24 * HOUR, 0, ()),
        (NOW - 24 * HOUR - timedelta(seconds=1), 1, (f"{NOW - 24 * HOUR - timedelta(seconds=1):%Y-%m-%d %H:%M} UTC",)),
        (None, 1, ("never",)),
        (NOW + timedelta(minutes=59), 0, ()),
        (NOW + 2 * HOUR, 1, (f"{NOW + 2 * HOUR:%Y-%m-%d %H:%M} UTC",)),
    ],
)
def test_silence_of_the_comparisons_is_not_health(last: datetime | None, count: int, sample: tuple[str, ...]) -> None:
    found = compared_lately(COUNTER, last, NOW)
    assert (found.count, found.sample, found.severity) == (count, sample, "error")
    assert "credit-pipeline check wix_app" in found.recovery
