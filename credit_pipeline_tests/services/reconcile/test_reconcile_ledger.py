"""A ledger from collecting to confirming: one report, what is remembered of it, and what is asked again of a plan."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from credit_pipeline.domain.corrections.correction import GrantCredits, Lane, LinkIdentity, SetPlan
from credit_pipeline.domain.subjects.ids import AccountId
from credit_pipeline.services.collect.collect import collect_identities, collect_subscriptions, customers_of
from credit_pipeline.services.gateways import Gateways
from credit_pipeline.services.plans.confirm import hold_unconfirmed
from credit_pipeline.services.plans.guard import released
from credit_pipeline.services.plans.propose import propose
from credit_pipeline.services.plans.report import PlanReport
from credit_pipeline.services.plans.verify import still_broken
from credit_pipeline.services.reconcile.check import check
from credit_pipeline.services.report.report import Report, facts_from
from credit_pipeline_tests.services.reconcile.ledger_gateways import SYSTEM, Product
from credit_pipeline_tests.services.reconcile.ledger_snapshots import (
    NOW,
    Person,
    a_free_person,
    a_paying_person,
    store,
    tables,
)

NEW = datetime(2026, 3, 20, 9, tzinfo=UTC)


def a_product() -> Product:
    """Two people in order; one whose grant never came; one whom only the metadata maps; a customer nobody knows."""
    short, unlinked, nobody = (a_paying_person(n, anchor=NEW) for n in (3, 4, 5))
    _without_grant(short)
    assert unlinked.identity
    unlinked.identity["mapped"] = []
    nobody.identity = nobody.balance = None
    return Product(people=[a_free_person(1), a_paying_person(2), short, unlinked, nobody])


def _without_grant(person: Person) -> None:
    assert person.balance
    person.balance["total"] -= 800
    person.balance["rows"] -= 1
    person.balance |= {"used": 40, "spent": 40}
    person.entries.clear()


@pytest.fixture
def look(tmp_path: Path) -> Callable[..., tuple[Report, Gateways]]:
    def run(
        product: Product, *, at: datetime = NOW, accounts: list[AccountId] | None = None
    ) -> tuple[Report, Gateways]:
        gateways = product.gateways(tmp_path)
        return check(SYSTEM, gateways, run_id="run-1", now=at, accounts=accounts), gateways

    return run


Look = Callable[..., tuple[Report, Gateways]]


def test_both_sides_are_compared_and_the_counts_add_up(look: Look) -> None:
    product = a_product()
    report, _ = look(product)
    assert (report.population, report.in_sync, report.exempt, report.direction) == (5, 2, 0, "both")
    assert report.classes == {"grant_missing": 1, "id_unmapped": 2}
    found = {(m.code, m.account_id, m.billing_id, m.lane) for m in report.mismatches}
    assert found == {
        ("grant_missing", store(3), "cus_3", "auto"),
        ("id_unmapped", store(4), "cus_4", "auto"),
        ("id_unmapped", None, "cus_5", "review"),
    }
    assert product.asked == [None]
    assert set(report.snapshots) == {"balances", "identities", "subscriptions"}
    assert not report.refusals
    assert not [notice for notice in report.notices if "renewal" in notice]


def test_users_are_counted_by_their_best_layer(look: Look) -> None:
    report, _ = look(a_product())
    assert report.identities["by_layer"] == {"mapping": 3, "metadata": 1, "same_id": 0, "none": 0}
    assert (report.identities["unmapped"], report.identities["conflicts"], report.identities["shared"]) == (0, 0, 0)
    assert report.identities["ended_without_account"] == 0


def test_a_report_survives_its_record(look: Look) -> None:
    report, _ = look(a_product())
    assert Report.from_record(report.to_record()).to_record() == report.to_record()


def test_the_facts_count_subscriptions(look: Look) -> None:
    facts = facts_from(look(a_product())[0].facts)
    assert (facts.population, facts.asked, facts.answered, facts.store_rows) == (5, 4, 4, 4)
    assert (facts.enumerated, facts.entitlements, facts.unknown) == (True, 4 * 800, 0)


def test_a_finding_is_remembered_by_the_subjects_key(look: Look) -> None:
    product = a_product()
    look(product)
    keys = {(row.code, row.account_id, row.billing_id) for row in product.recorded}
    assert ("id_unmapped", "customer:cus_5", "cus_5") in keys
    remembered = {row["account"]: (row["gap"], row["mark"]) for row in product.remembered}
    assert remembered == {
        store(1): (0, None),
        store(2): (0, "assumed"),
        store(3): (0, None),
        store(4): (0, None),
    }, "nothing of somebody without an account; no mark while something is wrong"


def test_an_incomplete_list_is_reported_and_corrects_nothing(look: Look) -> None:
    product = a_product()
    product.enumerated = False
    report, _ = look(product)
    assert report.classes["grant_missing"] == 1
    assert report.refusals
    assert not report.source.complete
    assert product.last is None, "nothing is remembered of it"


def test_named_accounts_are_asked_for_by_their_customers(look: Look) -> None:
    product = a_product()
    report, _ = look(product, accounts=[AccountId(store(3))])
    assert (report.population, dict(report.classes)) == (1, {"grant_missing": 1})
    assert product.asked == [["cus_3"]]
    assert product.last is None
    assert report.identities["by_layer"]["mapping"] == 3, "identities are always those of all users"


def test_an_account_without_a_known_customer_asks_for_the_whole_list() -> None:
    identities = tables(a_product().people).identities
    assert customers_of(identities, [AccountId(store(3)), AccountId(store(4))]) in (
        ["cus_3", "cus_4"],
        ["cus_4", "cus_3"],
    )
    assert customers_of(identities, [AccountId(store(1))]) is None
    assert customers_of(identities, [AccountId(store(77))]) is None


def test_a_store_without_identities_has_no_such_snapshot(tmp_path: Path) -> None:
    gateways = a_product().gateways(tmp_path)

    class Plain:
        def read(self, accounts: object = None) -> None: ...

        def catalogue(self) -> None: ...

    assert collect_identities(replace(gateways, store=Plain()), run_id="r", now=NOW) is None  # type: ignore[arg-type]
    assert collect_identities(gateways, run_id="r", now=NOW)


def test_a_plan_shows_every_step_and_what_it_leaves(look: Look) -> None:
    product = a_product()
    assert product.people[2].balance
    product.people[2].balance |= {"used": None, "spent": 0, "total": 0, "rows": 0}
    report, gateways = look(product)
    plan = propose(SYSTEM, gateways, report)
    rows = PlanReport(plan=plan, mode="dry_run", failures=()).as_json()["rows"]
    steps = {row["account_id"]: [step["step"] for step in row["steps"]] for row in rows}
    assert steps == {store(3): ["CreateBalance", "GrantCredits"], store(4): ["LinkIdentity"]}
    made = next(row for row in rows if row["account_id"] == store(3))
    assert (made["before"]["available"], made["before"]["used"]) == (None, None)
    assert (made["after"]["available"], made["delta"]) == (800, 800)


def _changed(product: Product, **change: object) -> None:
    product.people[2].subscription.update(change)


def _returned(product: Product, **money: object) -> None:
    product.people[2].subscription["invoices"][0].update(status="refunded", **money)


def _returned_and_paid_again(product: Product) -> None:
    invoices = product.people[2].subscription["invoices"]
    invoices.append(invoices[0] | {"invoice_id": "in_again", "line_id": "il_again"})
    _returned(product, paid=100, refunded=100)


def _upgrade_returned(product: Product) -> None:
    """The old plan's invoice of the period is still paid."""
    (own,) = invoices = product.people[2].subscription["invoices"]
    invoices.append(own | {"invoice_id": "in_old", "line_id": "il_old", "raw_plan": "price_business"})
    own |= {"change": True, "period_start": own["period_start"] + timedelta(hours=2)}
    _returned(product, paid=100, refunded=100)


CONFIRMS: list[tuple[str, Callable[[Product], None], str | None]] = [
    ("nothing changed", lambda product: None, None),
    ("another plan", lambda product: _changed(product, raw_plan="price_business"), "billing now says business"),
    ("overdue", lambda product: _changed(product, status="dunning"), "is dunning, the plan was made for a paid one"),
    ("ended", lambda product: _changed(product, status="ended"), "is ended, the plan was made for a paid one"),
    ("no answer", lambda product: _changed(product, lookup="error", status=None), "did not confirm"),
    ("gone", lambda product: product.people[2].subscriptions.clear(), "billing now says free"),
    (
        "refunded",
        lambda product: product.people[2].subscription["invoices"][0].update(status="refunded"),
        "payment is refunded",
    ),
    ("void", lambda product: product.people[2].subscription["invoices"][0].update(status="void"), "no longer"),
    ("refunded in part", lambda product: _returned(product, paid=100, refunded=50), "payment is refunded 50 of 100"),
    ("disputed", lambda product: _returned(product, paid=100, disputed="lost"), "payment is disputed: lost"),
    ("an upgrade's own invoice", _upgrade_returned, "payment is refunded in full"),
    ("another invoice paid for it", _returned_and_paid_again, None),
    (
        "the next period",
        lambda product: _changed(product, period_start=NOW - timedelta(hours=1), period_end=NOW + timedelta(days=30)),
        "rolled over",
    ),
    ("incomplete", lambda product: setattr(product, "enumerated", False), "did not confirm"),
]


@pytest.mark.parametrize(("change", "why"), [c[1:] for c in CONFIRMS], ids=[c[0] for c in CONFIRMS])
def test_a_grant_is_confirmed_with_billing(look: Look, change: Callable[[Product], None], why: str | None) -> None:
    product = a_product()
    report, gateways = look(product)
    plan = propose(SYSTEM, gateways, report)
    product.asked.clear()
    change(product)
    hold_unconfirmed(SYSTEM, gateways, plan, released(plan), now=NOW + timedelta(minutes=2))
    assert product.asked == [["cus_3", "cus_4"]]
    (seq,) = (row.seq for row in plan.rows if row.correction.grant)
    held = product.held.get(seq)
    assert (held is None) == (why is None), held
    assert why is None or (held and why in held[1])


def test_a_link_does_not_hang_on_the_subscription_being_live(look: Look) -> None:
    product = a_product()
    report, gateways = look(product)
    plan = propose(SYSTEM, gateways, report)
    product.people[3].subscription["status"] = "dunning"
    hold_unconfirmed(SYSTEM, gateways, plan, released(plan), now=NOW + timedelta(minutes=2))
    (seq,) = (row.seq for row in plan.rows if isinstance(row.correction.steps[0], LinkIdentity))
    assert seq not in product.held


def test_an_end_is_confirmed_as_one(look: Look) -> None:
    """A label that was to become free, and the customer has come back meanwhile."""
    product = a_product()
    report, gateways = look(product)
    grant = next(correction for correction in report.corrections if correction.grant)
    end = replace(grant, lane=Lane.APPROVE, steps=(SetPlan(plan="free", label="free"),))
    plan = propose(SYSTEM, gateways, replace(report, corrections=(end,)))
    plan = product.plan = replace(plan, rows=tuple(replace(row, approved=True) for row in plan.rows))
    product.people[2].subscription["status"] = "ended"
    hold_unconfirmed(SYSTEM, gateways, plan, released(plan), now=NOW)
    assert product.held == {}
    product.people[2].subscription["status"] = "active"
    hold_unconfirmed(SYSTEM, gateways, plan, released(plan), now=NOW)
    assert "the plan was made for its end" in product.held[1][1]


def test_after_an_apply_the_touched_accounts_are_judged_again(look: Look) -> None:
    product = a_product()
    report, gateways = look(product)
    plan = propose(SYSTEM, gateways, report)
    product.plan = replace(plan, rows=tuple(replace(row, outcome="changed") for row in plan.rows))
    broken = still_broken(SYSTEM, gateways, "plan-1", now=NOW, run_id="run-1")
    assert sorted(broken) == [store(3), store(4)], "a write that said changed and changed nothing"
    (grant,) = (step for row in plan.rows for step in row.correction.steps if isinstance(step, GrantCredits))
    product.people[2].grant(NOW, grant.delta, reference=grant.reference)
    assert product.people[3].identity
    product.people[3].identity["mapped"] = [store(4)]
    assert still_broken(SYSTEM, gateways, "plan-1", now=NOW, run_id="run-2") == ()


def test_a_provider_that_lists_is_asked_once_for_everything(tmp_path: Path) -> None:
    product = a_product()
    gateways = product.gateways(tmp_path)
    identities = collect_identities(gateways, run_id="r", now=NOW)
    assert identities
    pulled = collect_subscriptions(gateways, identities, identities, run_id="r", now=NOW)
    assert (pulled.rows, pulled.asked, pulled.enumerated) == (4, 4, True)
