"""The screen and the judgement held together: what the screen drops, classify would call healthy and mark the same."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from credit_pipeline.domain.classify import classify
from credit_pipeline.domain.plans.catalogue import Amount, Catalogue, Plan, YearlyMode
from credit_pipeline.domain.plans.periods import period_at
from credit_pipeline.domain.policy import Policy, Renewal, Trial
from credit_pipeline.domain.rules import Rules
from credit_pipeline.domain.subjects.account import Mark, Memory, ObservedState
from credit_pipeline.domain.subjects.ids import AccountId
from credit_pipeline.services.collect.tables import COUNTER_BALANCES, OBSERVATIONS, SUBSCRIPTIONS
from credit_pipeline.services.reconcile.accounts import accounts_of
from credit_pipeline.services.reconcile.screen import Screened, screen

NOW = datetime(2026, 3, 31, 12, 0, tzinfo=UTC)
LAST = NOW - timedelta(hours=6)
CATALOGUE = Catalogue(
    plans=(
        Plan(name="free", credits=100, rank=0, label="free", free=True),
        Plan(
            name="starter",
            credits=1_000,
            rank=1,
            label="starter",
            yearly=YearlyMode.DRIP,
            former=(Amount(until=NOW - timedelta(hours=1), credits=999),),
        ),
        Plan(name="pro", credits=5_000, rank=2, label="pro", aliases=("Professional",)),
    )
)


class Remembered:
    """A memory that holds one observation per account, as the last complete run left it."""

    def __init__(self, observations: Sequence[Mapping[str, object]]) -> None:
        self.rows = {row["account"]: row for row in observations}

    def remembered(self, accounts: Sequence[AccountId], now: datetime) -> dict[AccountId, Memory]:
        return {account: self._memory(account) for account in accounts}

    def _memory(self, account: AccountId) -> Memory:
        row = self.rows.get(account)
        if row is None:
            return Memory(complete_runs=(LAST,) if self.rows else ())
        observed_state = ObservedState(
            as_of=row["as_of"],
            seen_until=row["unanswered_since"] or LAST,
            label=row["label"],
            total=row["total"],
            used=row["used"],
            billed_plan=row["billed_plan"],
            billed_period_start=row["billed_period_start"],
            billed_status=row["billed_status"],
            mark=Mark(row["mark"]) if row["mark"] else None,
        )
        return Memory(states=(observed_state,), complete_runs=(LAST,))


anchors = st.sampled_from(
    [
        None,
        NOW - timedelta(minutes=30),
        NOW - timedelta(hours=2),
        datetime(2026, 1, 31, 12, 0, tzinfo=UTC),
        datetime(2026, 2, 28, 12, 0, tzinfo=UTC),
        datetime(2025, 12, 31, 11, 30, tzinfo=UTC),
        datetime(2025, 12, 31, 12, 0, 1, tzinfo=UTC),
        datetime(2025, 3, 31, 6, 30, tzinfo=UTC),
        datetime(2025, 12, 31, 8, 0, tzinfo=UTC),
        datetime(2026, 1, 31, 10, 0, tzinfo=UTC),
        NOW + timedelta(days=1),
    ]
)
numbers = st.sampled_from([None, -1, 0, 40, 99, 100, 999, 1_000, 1_200, 4_999, 5_000, 6_000])
labels = st.sampled_from([None, "free", "starter", "pro", "Professional", "Pro+"])


def _starts(anchor: datetime | None) -> list[datetime | None]:
    """The present period's start, mostly; the former period's; another."""
    if anchor is None:
        return [None, NOW]
    period = period_at(anchor, 1, NOW)
    return [period.start] * 3 + [period_at(anchor, 1, period.start - timedelta(seconds=1)).start, None]


RENEWALS = st.sampled_from([Renewal.RESET_USED, Renewal.NONE])


@st.composite
def account(draw: st.DrawFn) -> tuple[dict, dict | None, dict | None]:
    """(balance, subscription, observation), mostly consistent so that healthy accounts are common."""
    plan = draw(st.sampled_from(["free", "starter", "pro"]))
    healthy = draw(st.booleans())
    total = draw(st.sampled_from([100, 1_000, 1_200, 5_000, 6_000])) if healthy else draw(numbers)
    used = draw(st.sampled_from([0, 40, 100])) if healthy else draw(numbers)
    lookup = draw(st.sampled_from(["answered"] * 8 + ["error", "gone", "missing"]))
    status = "free" if plan == "free" else draw(st.sampled_from(["active"] * 5 + ["trialing", "dunning", "ended"]))
    answered = lookup == "answered"
    anchor = draw(anchors) if status != "free" else None
    subscription = {
        "lookup": lookup,
        "status": status if answered else None,
        "raw_plan": draw(st.sampled_from([plan] * 6 + ["Professional", "Pro+", None]))
        if answered and status != "free"
        else None,
        "cycle": draw(st.sampled_from(["monthly"] * 6 + ["yearly", "one_time", None])) if status != "free" else None,
        "anchor": anchor,
    }
    balance = {"label": plan if healthy else draw(labels), "total": total, "used": used}
    if draw(st.sampled_from([True, True, True, False])):
        observation = {
            "label": draw(st.sampled_from([balance["label"], plan, "free"])),
            "total": draw(st.sampled_from([total or 0] * 4 + [1_000, 5_000])),
            "used": draw(st.sampled_from([used or 0, used or 0, 0, 100])),
            "billed_plan": draw(st.sampled_from([plan] * 4 + ["free", "starter", None])),
            "billed_period_start": None if plan == "free" else draw(st.sampled_from(_starts(anchor))),
            "billed_status": status,
            "mark": None if plan == "free" else draw(st.sampled_from([None, "adopted", "assumed"])),
            "as_of": LAST - draw(st.sampled_from([timedelta(0), timedelta(days=3), timedelta(days=40)])),
            "unanswered_since": draw(st.sampled_from([None] * 6 + [LAST - timedelta(hours=6)])),
        }
    else:
        observation = None
    return balance, subscription, observation


def _screened(people: list, policy: Policy) -> tuple[Screened, list[dict], list[dict]]:
    names = [f"a{i}" for i in range(len(people))]
    balances = [{"account_id": n, **p[0]} for n, p in zip(names, people, strict=True)]
    subscriptions = [{"billing_id": n, **p[1]} for n, p in zip(names, people, strict=True)]
    observations = [{"account": n, **p[2]} for n, p in zip(names, people, strict=True) if p[2]]
    screened = screen(
        pa.Table.from_pylist(balances, schema=COUNTER_BALANCES),
        pa.Table.from_pylist([dict.fromkeys(SUBSCRIPTIONS.names) | s for s in subscriptions], schema=SUBSCRIPTIONS),
        pa.Table.from_pylist(observations, schema=OBSERVATIONS),
        catalogue=CATALOGUE,
        policy=policy,
        now=NOW,
        first_run=not observations,
        watched=(),
        exempt=(),
        keep_all=True,
    )
    return screened, balances, observations


@pytest.mark.slow
@given(
    st.lists(account(), min_size=20, max_size=40),
    st.sampled_from([Renewal.RESET_USED, Renewal.NONE]),
    st.sampled_from(Trial),
)
@settings(max_examples=200, phases=[Phase.explicit, Phase.generate])
def test_the_screen_drops_only_what_classify_finds_healthy(people: list, renewal: Renewal, trial: Trial) -> None:
    policy = Policy(renewal=renewal, trial=trial)
    screened, balances, observations = _screened(people, policy)
    suspects = {row["account_id"] for row in screened.suspects}
    assert screened.healthy == len(people) - len(suspects)
    subscriptions = {f"a{i}": p[1] for i, p in enumerate(people)}
    nothing = dict.fromkeys(SUBSCRIPTIONS.names)
    rows = [
        nothing | subscriptions[b["account_id"]] | b | {"billing_id": b["account_id"]}
        for b in balances
        if b["account_id"] not in suspects
    ]
    for row in rows:
        row["anchor"] = row["anchor"].replace(tzinfo=None) if row["anchor"] else None
    rules = Rules(catalogue=CATALOGUE, policy=policy, now=NOW, first_run=not observations)
    marks = {row["account"]: row for row in screened.changed.to_pylist()}
    kept = {row["account"]: row for row in observations}
    for found in accounts_of(rows, CATALOGUE, Remembered(observations), NOW):  # type: ignore[arg-type]
        judged = classify(found, rules)
        assert not judged.findings, (found, judged.findings)
        remembered = marks.get(found.account_id) or kept[found.account_id]
        period = found.billing.period
        free = found.billing.plan is not None and found.billing.plan.free
        assert remembered["mark"] == (judged.mark.value if judged.mark else None), found
        assert remembered["billed_period_start"] == (period.start if period and not free else None), found


def test_most_healthy_accounts_are_dropped() -> None:
    """A screen that suspects everybody would pass the test above."""
    start = datetime(2026, 2, 28, 12, 0, tzinfo=UTC)
    person = (
        {"label": "pro", "total": 5_000, "used": 4_990},
        {"lookup": "answered", "status": "active", "raw_plan": "pro", "cycle": "monthly", "anchor": start},
        {
            "label": "pro",
            "total": 5_000,
            "used": 10,
            "billed_plan": "pro",
            "billed_period_start": datetime(2026, 3, 28, 12, 0, tzinfo=UTC),
            "billed_status": "active",
            "mark": "adopted",
            "as_of": LAST,
            "unanswered_since": None,
        },
    )
    screened, _, _ = _screened([person], Policy(renewal=Renewal.RESET_USED))
    assert (screened.healthy, screened.suspects, screened.changed.num_rows) == (1, (), 1)
