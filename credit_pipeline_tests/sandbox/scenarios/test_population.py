"""The planted population before anything judges it: deterministic, complete, and true to the rules it is planted by."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from credit_pipeline.config.loader import PACKAGED, load_system
from credit_pipeline.domain.codes import UNKNOWN, Code
from credit_pipeline.domain.errors import ConfigurationError
from credit_pipeline.domain.plans.periods import period_at
from credit_pipeline.sandbox.scenarios.seeded_values import WATCH, bought_before
from credit_pipeline.sandbox.scenarios.stories import SMALLEST
from credit_pipeline.sandbox.scenarios.truth import truth_of
from credit_pipeline.sandbox.scenarios.wix_app.healthy import HEALTHY
from credit_pipeline.sandbox.scenarios.wix_app.life import Life, Script, State
from credit_pipeline.sandbox.scenarios.wix_app.population import BROKEN, outcome, scripts
from credit_pipeline.sandbox.scenarios.wix_app.scenario_builder import ScenarioBuilder
from credit_pipeline.sandbox.wix.book import BillingBook

CATALOGUE = load_system("wix_app", PACKAGED).catalogue
PRESENT = datetime(2026, 3, 31, 13, 17, tzinfo=UTC)
PLANTED = {
    Code.SOURCE_LOOKUP_ERROR,
    Code.SOURCE_GONE,
    Code.PLAN_MISMATCH,
    Code.PLAN_UNMAPPED,
    Code.SUBSCRIPTION_MISSING_AT_SOURCE,
    Code.SUBSCRIPTION_ENDED,
    Code.GRANT_MISSING,
    Code.GRANT_LOST,
    Code.GRANT_DUPLICATE,
    Code.RENEWAL_MISSING,
    Code.BALANCE_MISSING,
    Code.BALANCE_NEGATIVE,
    Code.UNEXPLAINED_DECREASE,
    Code.UNEXPLAINED_INCREASE,
}
"""Every code a counter can show as a class of its own: the others are about ledgers and identities, only a run that
settles finds a pending one, and Wix has no word for dunning, since an overdue site is still paid."""


def _written(accounts: int = 300, seed: int = 1, present: datetime = PRESENT) -> list[Script]:
    return list(scripts(CATALOGUE, accounts=accounts, seed=seed, present=present))


def _facts(written: list[Script]) -> list[Any]:
    return [(s.account_id, s.kind, *outcome(s), s.daily, s.installed) for s in written]


def _truth(written: list[Script]) -> dict[str, Any]:
    states = {script.account_id: outcome(script)[0] for script in written}
    return truth_of(written, states, system="wix_app", seed=1, present=PRESENT)


def _one(kind: str) -> dict[str, Any]:
    return next(account for account in _truth(_written())["accounts"] if account["kind"] == kind)


def test_the_same_seed_plants_the_same_sites() -> None:
    assert _facts(_written(seed=7)) == _facts(_written(seed=7))


def test_another_seed_plants_others() -> None:
    assert not {s.account_id for s in _written(seed=7)} & {s.account_id for s in _written(seed=8)}


@pytest.mark.parametrize("accounts", [SMALLEST, 200, 2_000])
def test_every_story_is_told_and_every_code_is_planted(accounts: int) -> None:
    written = _written(accounts)
    assert len({script.account_id for script in written}) == accounts
    assert {kind.name for kind in BROKEN} <= {script.kind for script in written}
    planted = Counter(Code(script.planted.code) for script in written if script.planted)
    assert set(planted) == PLANTED
    assert sum(planted[code] for code in UNKNOWN) <= max(3, accounts // 100)
    assert planted.total() < accounts / 2


def test_from_200_sites_on_every_look_alike_is_there() -> None:
    assert {kind.name for kind in HEALTHY} <= {script.kind for script in _written(200)}


def test_too_small_a_population_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="10 accounts are too few"):
        _written(10)


def test_the_truth_counts_every_site_once() -> None:
    truth = _truth(_written())
    healthy = [account for kind in truth["healthy"].values() for account in kind]
    broken = [account["account_id"] for account in truth["accounts"]]
    assert len({*healthy, *broken}) == len(healthy) + len(broken) == truth["population"] == 300
    assert truth["in_sync"] == len(healthy)
    assert truth["planted"] == Counter(account["code"] for account in truth["accounts"])


def test_an_unused_starter_upgraded_to_pro_is_to_have_6000() -> None:
    planted = _one("upgrade_missed_unused")
    assert planted["now"] == {"plan": "starter", "total": 1_000, "used": 0, "available": 1_000}
    after = {"plan": "pro", "total": 6_000, "used": 0, "available": 6_000}
    assert planted["auto"] == {"set_plan": "pro", "delta": 5_000, "after": after}


def test_what_was_spent_of_100_stays_spent() -> None:
    planted = _one("paid_at_100")
    after, now = planted["auto"]["after"], planted["now"]
    assert (now["total"], after["used"]) == (100, now["used"])
    assert after["total"] in {1_000, 5_000}
    assert planted["auto"]["set_plan"] is None


def test_unproven_credits_wait_for_a_person() -> None:
    planted = _one("unproven")
    assert planted["now"] == {"plan": "free", "total": 5_000, "used": 3_000, "available": 2_000}
    assert planted["auto"]["delta"] == 0
    assert planted["approve"]["after"]["available"] == 7_000


def test_what_the_repair_job_took_is_given_back_by_approval_only() -> None:
    planted = _one("reset_to_allowance")
    assert (planted["code"], planted["auto"]) == ("unexplained_decrease", None)
    assert planted["approve"]["delta"] > 0


def test_nothing_automatic_lowers_what_can_be_spent() -> None:
    assert all(account["auto"]["delta"] >= 0 for account in _truth(_written())["accounts"] if account["auto"])


def test_a_purchase_is_dated_so_that_its_period_starts_where_it_should() -> None:
    for day in range(366):
        start = datetime(2028, 1, 1, 12, tzinfo=UTC) + timedelta(days=day)
        assert period_at(bought_before(start, months=1 + day % 11), 1, start + timedelta(days=3)).start == start


@pytest.mark.parametrize("present", [PRESENT, datetime(2028, 2, 29, 23, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)])
def test_no_renewal_falls_due_on_the_day_after_the_present(present: datetime) -> None:
    """Or a sandbox would fill with missed renewals while somebody looks at it, since its product lives no further."""
    for script in _written(present=present):
        stamp = outcome(script)[1].time_stamp
        if stamp is not None:
            assert period_at(datetime.fromisoformat(stamp), 1, present).end > present + timedelta(days=1), script.kind


def test_a_life_ends_where_its_script_says() -> None:
    written = [script for script in _written() if not script.daily]
    life = Life(written, seed=1, start=PRESENT - WATCH)
    book = BillingBook({script.account_id: script.instance for script in written})
    for hours in range(0, 36 * 24, 9):
        for account, values in life.until(PRESENT - WATCH + timedelta(hours=hours)).billed:
            book.patch(account, **values)
    assert life.states == {script.account_id: outcome(script)[0] for script in written}
    assert all(book.get(script.account_id) == outcome(script)[1] for script in written)


def test_nobody_spends_what_is_not_there_and_renewals_zero_what_was_used() -> None:
    """Of the sites in order: (script, states at each look) over the whole watch."""
    written = [script for script in _written() if script.planted is None]
    life, spent = Life(written, seed=1, start=PRESENT - WATCH), 0
    for day in range(36):
        before = dict(life.states)
        step = life.until(PRESENT - WATCH + timedelta(days=day))
        spent += sum(1 for account, state, _ in step.moved.values() if state.used > (before[account].used or 0))
        assert all(state.available >= 0 for state in life.states.values())
    assert spent > 300
    renewed = [s for s in written if s.kind == "renewed_lately"]
    assert renewed
    assert all(life.states[script.account_id].used == 0 for script in renewed)


def test_a_site_installed_later_is_not_there_before() -> None:
    builder = ScenarioBuilder(CATALOGUE, seed=1, present=PRESENT)
    late = builder.script("late", State("free", 100, 0), outcome(_written()[0])[1], installed=PRESENT)
    life = Life([late], seed=1, start=PRESENT - WATCH)
    assert not life.until(PRESENT - timedelta(seconds=1)).installed
    assert list(life.until(PRESENT).installed) == [late.account_id]
