"""Whose state a name asks for, and what a look at one account of a ledger comes to; the counter is in test_repair."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from credit_pipeline.domain.subjects.ids import AccountId
from credit_pipeline.services.gateways import Gateways
from credit_pipeline.services.sync.resolve_accounts import accounts_meant
from credit_pipeline.services.sync.sync import Sync, SyncOutcome, sync_report
from credit_pipeline_tests.services.reconcile.ledger_gateways import SYSTEM, Product
from credit_pipeline_tests.services.reconcile.ledger_snapshots import NOW, a_free_person, a_paying_person, auth, store
from credit_pipeline_tests.services.reconcile.test_reconcile_ledger import a_product

NEW = datetime(2026, 3, 20, 9, tzinfo=UTC)


def sync(gateways: Gateways, **words: bool) -> Sync:
    given = {"live": False, "person": False} | words
    return Sync(system=SYSTEM, gateways=gateways, run_id="run-1", clock=lambda: NOW, **given)


@pytest.fixture
def gateways(tmp_path: Path) -> Gateways:
    return a_product().gateways(tmp_path)


def test_an_account_a_user_and_a_customer_are_the_same_one(gateways: Gateways) -> None:
    names = [store(2), auth(2), "cus_2", "nobody"]
    assert accounts_meant(gateways, names, NOW) == {
        store(2): (store(2),),
        auth(2): (store(2),),
        "cus_2": (store(2),),
        "nobody": (),
    }


def test_a_uuid_may_be_written_in_any_way(gateways: Gateways) -> None:
    for written in (store(2).upper(), store(2).replace("-", ""), "{" + store(2) + "}"):
        assert accounts_meant(gateways, [written], NOW) == {written: (store(2),)}


def test_a_customer_the_product_does_not_know_is_found_by_what_its_subscription_names(tmp_path: Path) -> None:
    """The webhook that would have made the local row is the one that failed."""
    person = a_paying_person(7, anchor=NEW)
    assert person.identity
    person.identity |= {"billing_id": None, "subscription_id": None, "local": False}
    product = Product(people=[a_free_person(1), person])
    assert accounts_meant(product.gateways(tmp_path), ["cus_7"], NOW) == {"cus_7": (store(7),)}
    assert product.asked == [["cus_7"]]


def test_no_name_asks_nothing(tmp_path: Path) -> None:
    product = a_product()
    assert accounts_meant(product.gateways(tmp_path), [], NOW) == {}
    assert product.asked == []


def test_accounts_looked_at_together_come_to_what_each_comes_to_alone(tmp_path: Path) -> None:
    accounts = [AccountId(store(number)) for number in (1, 2, 3, 4)]
    together = sync(a_product().gateways(tmp_path / "one")).of(accounts)
    alone = [
        sync(a_product().gateways(tmp_path / str(number))).of([account])[0] for number, account in enumerate(accounts)
    ]
    assert [one.outcome for one in together] == [
        SyncOutcome.IN_ORDER,
        SyncOutcome.IN_ORDER,
        SyncOutcome.WOULD_CHANGE,
        SyncOutcome.WOULD_CHANGE,
    ]
    assert together == alone
    assert together[2].delta == 800
    shown = sync_report(SYSTEM, together, live=False)
    assert shown["outcomes"] == {"in_order": 2, "would_change": 2}
    assert shown["totals"] == {"accounts": 4, "credits": 800}


def test_two_accounts_of_one_subject_are_each_told_its_fault(tmp_path: Path) -> None:
    """Layers that disagree join both accounts into one subject, whose report names one of them."""
    one, other = a_paying_person(2, anchor=NEW), a_free_person(3)
    assert one.identity
    one.identity["metadata"] = [{"key": "resolved_supabase_user_id", "value": store(3)}]
    product = Product(people=[one, other])
    done = sync(product.gateways(tmp_path)).of([AccountId(store(2)), AccountId(store(3))])
    assert [found.outcome for found in done] == [SyncOutcome.WAITING] * 2
    assert {code for found in done for code in found.codes} == {"id_conflict"}


def test_an_account_that_is_not_there_is_absent(gateways: Gateways) -> None:
    done = sync(gateways).of([AccountId(store(2)), AccountId(store(99))])
    assert [found.outcome for found in done] == [SyncOutcome.IN_ORDER, SyncOutcome.ABSENT]


def test_without_an_installation_nothing_is_written(tmp_path: Path) -> None:
    product = a_product()
    product.installed = False
    [done] = sync(product.gateways(tmp_path), live=True, person=True).of([AccountId(store(3))])
    assert done.outcome is SyncOutcome.REFUSED
    assert "run credit-pipeline init bestauth" in done.sentence
