"""bestauth's planted users before anything judges them: deterministic, complete, true to their rules."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from credit_pipeline.config.loader import PACKAGED, load_system
from credit_pipeline.domain.codes import UNKNOWN, Code
from credit_pipeline.domain.errors import ConfigurationError
from credit_pipeline.domain.plans.periods import add_months
from credit_pipeline.sandbox.scenarios.bestauth.life import BestauthLife, Script, bill
from credit_pipeline.sandbox.scenarios.bestauth.population import BROKEN, HEALTHY, scripts
from credit_pipeline.sandbox.scenarios.bestauth.tables import GRANT, Transaction
from credit_pipeline.sandbox.scenarios.seeded_values import WATCH
from credit_pipeline.sandbox.scenarios.stories import SMALLEST
from credit_pipeline.sandbox.scenarios.truth import truth_of
from credit_pipeline.sandbox.scenarios.wix_app import population
from credit_pipeline.sandbox.scenarios.wix_app.life import State
from credit_pipeline.sandbox.stripe.book import StripeBook
from credit_pipeline.sandbox.stripe.rows import Subscription

CATALOGUE = load_system("bestauth", PACKAGED).catalogue
PRESENT = datetime(2026, 5, 20, 13, 17, tzinfo=UTC)
"""A day on which several users may have an anchor of the 31st whose next renewal is days away."""
NOT_PLANTED = {Code.SOURCE_LOOKUP_ERROR, Code.SOURCE_GONE, Code.RENEWAL_MISSING}
"""A provider with a list leaves nobody unanswered and knows no uninstalled app; a ledger has no counter to zero."""


class Lived:
    """A population at the present, without a database."""

    def __init__(self, accounts: int = 300, seed: int = 1, present: datetime = PRESENT) -> None:
        self.scripts = list(scripts(CATALOGUE, accounts=accounts, seed=seed, present=present))
        self.life = BestauthLife(self.scripts, seed=seed, start=present - WATCH)
        self.book = StripeBook()
        for days in range(WATCH.days + 1):
            bill(self.book, self.life.until(present - WATCH + timedelta(days=days)).billed)

    @property
    def counted(self) -> list[Script]:
        return [script for script in self.scripts if script.counted]

    def of(self, kind: str) -> list[Script]:
        return [script for script in self.scripts if script.kind == kind]

    def subscription_of(self, script: Script) -> Subscription:
        """The only subscription of that story."""
        (found,) = [row.id for move in script.moves for row in move.billed if isinstance(row, Subscription)]
        row = self.book.subscriptions.get(found)
        assert row is not None
        return row

    def entries(self, script: Script) -> list[Transaction]:
        return self.life.product.entries(script.account_id)

    def truth(self) -> dict[str, Any]:
        return truth_of(self.counted, self.life.states, system="bestauth", seed=1, present=PRESENT)

    def planted(self, kind: str) -> dict[str, Any]:
        found: dict[str, Any] = next(account for account in self.truth()["accounts"] if account["kind"] == kind)
        return found


@pytest.fixture(scope="module")
def lived() -> Lived:
    return Lived()


def _told(accounts: int, seed: int, present: datetime = PRESENT) -> list[tuple[Any, ...]]:
    written = scripts(CATALOGUE, accounts=accounts, seed=seed, present=present)
    return [(s.account_id, s.kind, len(s.moves), s.daily, [m.at for m in s.moves]) for s in written]


def test_the_same_seed_plants_the_same_users() -> None:
    assert _told(200, 7) == _told(200, 7)


def test_another_seed_plants_others() -> None:
    assert not {told[0] for told in _told(200, 7)} & {told[0] for told in _told(200, 8)}


@pytest.mark.parametrize("accounts", [SMALLEST, 200, 2_000])
def test_every_story_is_told_and_every_code_of_a_ledger_is_planted(accounts: int) -> None:
    written = [s for s in scripts(CATALOGUE, accounts=accounts, seed=1, present=PRESENT) if s.counted]
    assert len({script.account_id for script in written}) == len(written) == accounts
    assert {story.name for story in BROKEN} <= {script.kind for script in written}
    planted = Counter(Code(script.planted.code) for script in written if script.planted)
    assert set(Code) - set(planted) == NOT_PLANTED
    assert sum(planted[code] for code in UNKNOWN) <= max(3, accounts // 100)


def test_between_the_two_systems_every_code_is_planted() -> None:
    wix = population.scripts(load_system("wix_app", PACKAGED).catalogue, accounts=SMALLEST, seed=1, present=PRESENT)
    bestauth = scripts(CATALOGUE, accounts=SMALLEST, seed=1, present=PRESENT)
    assert {s.planted.code for s in [*wix, *bestauth] if s.planted} == set(Code)


def test_most_users_are_in_order() -> None:
    written = [s for s in scripts(CATALOGUE, accounts=2_000, seed=1, present=PRESENT) if s.counted]
    assert sum(1 for script in written if script.planted is None) >= 0.85 * len(written)


def test_from_120_users_on_every_look_alike_is_there() -> None:
    written = scripts(CATALOGUE, accounts=2 * SMALLEST, seed=1, present=PRESENT)
    assert {story.name for story in HEALTHY} <= {script.kind for script in written}


def test_too_small_a_population_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="10 accounts are too few"):
        list(scripts(CATALOGUE, accounts=10, seed=1, present=PRESENT))


def test_the_truth_counts_every_subject_once_and_nobody_outside(lived: Lived) -> None:
    truth = lived.truth()
    healthy = [account for kind in truth["healthy"].values() for account in kind]
    broken = [account["account_id"] for account in truth["accounts"]]
    assert len({*healthy, *broken}) == len(healthy) + len(broken) == truth["population"] == 300
    assert "registered" in {script.kind for script in lived.scripts} - truth["healthy"].keys()


def test_the_ledger_of_everybody_in_order_explains_the_balance(lived: Lived) -> None:
    product = lived.life.product
    for script in lived.counted:
        if script.planted is None:
            balance = product.balance(script.account_id)
            assert balance == sum(entry.amount for entry in lived.entries(script)), script.kind
            assert balance is not None
            assert balance >= script.floor, script.kind


def test_nothing_is_dated_after_the_present(lived: Lived) -> None:
    accounts = list(lived.life.product.accounts())
    assert len(accounts) > 250
    assert all(e.created_at <= PRESENT for account in accounts for e in lived.life.product.entries(account))
    assert all(invoice.created <= PRESENT for invoice in lived.book.invoices)


def test_every_paid_month_was_granted_once(lived: Lived) -> None:
    for script in [*lived.of("paid"), *lived.of("named_by_customer"), *lived.of("overdue_and_paid")]:
        bills = lived.book.invoices.of("subscription", lived.subscription_of(script).id)
        grants = [entry for entry in lived.entries(script) if entry.type == GRANT]
        assert len(bills) == len(grants) > 2
        paid = sorted(invoice.paid_at for invoice in bills if invoice.paid_at)
        late = [grant.created_at - at for grant, at in zip(grants, paid, strict=True)]
        assert all(timedelta(0) < one < timedelta(days=3) for one in late)


def test_a_payment_of_the_fifth_day_is_granted_on_the_fifth_day(lived: Lived) -> None:
    for script in lived.of("overdue_and_paid"):
        start = lived.subscription_of(script).items[0].period_start
        last = [entry for entry in lived.entries(script) if entry.type == GRANT][-1]
        assert timedelta(days=5) < last.created_at - start < timedelta(days=5, hours=1)


def test_a_mapping_of_two_users_to_one_account_is_one_subject(lived: Lived) -> None:
    (script, *_) = lived.of("shared")
    assert sum(1 for other in lived.counted if other.account_id == script.account_id) == 1


@pytest.mark.parametrize("present", [PRESENT, datetime(2028, 2, 29, 23, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)])
def test_no_grant_falls_due_on_the_day_after_the_present(present: datetime) -> None:
    """Or a sandbox would fill with missed renewals while somebody looks at it, since its product lives no further."""
    lived = Lived(present=present)
    for row in lived.book.subscriptions:
        if row.status in {"active", "trialing"}:
            item = row.items[0]
            assert item.period_end > present + timedelta(days=1)
            if item.interval == "year":
                drips = [add_months(item.period_start, number) for number in range(1, 12)]
                assert not any(present < drip < present + timedelta(days=1) for drip in drips)


def test_an_anchor_of_the_31st_renews_on_the_last_day_of_short_months(lived: Lived) -> None:
    (script, *_) = lived.of("anchored_on_the_31st")
    bills = lived.book.invoices.of("subscription", lived.subscription_of(script).id)
    days = {(invoice.lines[0].period_start.month, invoice.lines[0].period_start.day) for invoice in bills}
    assert len(days) > 3
    assert {day for month, day in days if month in {4, 6, 9, 11}} == {30}
    assert {day for month, day in days if month in {1, 3, 5, 7, 8, 10, 12}} == {31}


def test_what_is_proven_is_given_and_the_rest_waits(lived: Lived) -> None:
    bought = lived.planted("purchase_missed")
    assert bought["auto"]["delta"] in {800, 3_000}
    assert bought["auto"]["set_plan"] in {"pro", "business"}
    assert lived.planted("year_missed")["auto"]["delta"] == 18_000
    guess = lived.planted("same_id_only")
    assert (guess["lane"], guess["auto"], guess["approve"]) == ("review", None, None)
    assert lived.planted("on_another_day")["approve"]["delta"] == 800


def test_a_restore_raises_the_balance_and_leaves_the_ledger(lived: Lived) -> None:
    taken = lived.planted("balance_set")
    after, now = taken["approve"]["after"], taken["now"]
    assert after["total"] == now["total"]
    assert after["available"] - now["available"] == taken["approve"]["delta"] > 0
    assert after["available"] == sum(e.amount for e in lived.life.product.entries(taken["account_id"]))


def test_nothing_automatic_lowers_what_can_be_spent(lived: Lived) -> None:
    assert all(account["auto"]["delta"] >= 0 for account in lived.truth()["accounts"] if account["auto"])


def test_a_subject_without_an_account_has_no_numbers(lived: Lived) -> None:
    assert lived.planted("nobody")["account_id"].startswith("customer:cus_")
    assert lived.planted("account_unknown")["account_id"].startswith("user:")
    assert lived.life.states[lived.planted("nobody")["account_id"]] == State(None, None, None)
