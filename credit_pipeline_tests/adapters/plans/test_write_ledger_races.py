"""The ledger's door under others: users who spend, appliers at the same time, and links that somebody else makes."""

import threading
from collections import Counter
from collections.abc import Callable

import psycopg
import pytest

from credit_pipeline_tests.adapters.plans.test_write_path_races import WAITING, at_once, until
from credit_pipeline_tests.adapters.products.counter_product import apply_all, chain_faults, names_of
from credit_pipeline_tests.adapters.products.ledger_product import LedgerProduct
from credit_pipeline_tests.adapters.products.ledger_writes import (
    BALANCE,
    A,
    U,
    V,
    a_change,
    a_copied_ledger,
    a_grant,
    a_link,
    plans_of,
    result,
    started,
)
from credit_pipeline_tests.conftest import Databases

ACCOUNTS = [f"{n}0000000-0000-4000-8000-000000000001" for n in range(5)]
LEFT = "SELECT sum(balance) AS balance, (SELECT sum(amount) FROM points_transactions) AS explained FROM points_balances"


@pytest.fixture
def product(databases: Databases) -> LedgerProduct:
    return a_copied_ledger(databases)


def grants(product: LedgerProduct) -> int:
    [row] = product.run("SELECT count(*) AS n FROM points_transactions WHERE type = 'subscription_grant'")
    return int(row["n"])


def test_spending_during_an_apply_loses_nothing(product: LedgerProduct) -> None:
    for account in ACCOUNTS:
        product.add_points(account, 10_000, "purchase")
    stop = threading.Event()
    spent: Counter[int] = Counter()

    def spend(n: int) -> None:
        with psycopg.connect(product.url, autocommit=True) as connection:
            while not stop.is_set():
                for account in ACCOUNTS:
                    [done] = connection.execute("SELECT deduct_points(%s, 1)", (account,)).fetchone() or [False]
                    spent[n] += done

    spenders = [threading.Thread(target=spend, args=(n,)) for n in range(4)]
    for spender in spenders:
        spender.start()
    try:
        until(lambda: spent.total() > 50)
        before = spent.total()
        changed: set[str] = set()
        with plans_of(product) as plans:
            while len(changed) < 5:  # a row a spender holds is busy; the next pass has it
                waiting = [
                    a_change(a_grant(account), account=account, seen=(None, 10_000, 0))
                    for account in ACCOUNTS
                    if account not in changed
                ]
                for one in apply_all(plans, started(plans, *waiting), size=1):
                    assert one.outcome in {"changed", "busy"}, one
                    if one.outcome == "changed":
                        assert one.before is not None
                        assert one.after is not None
                        assert one.after["available"] == one.before["available"] + 800
                        changed.add(one.account_id)
        during = spent.total() - before
        until(lambda: spent.total() > before + during + 50)
    finally:
        stop.set()
        for spender in spenders:
            spender.join()
    assert during > 0
    total = 5 * 10_800 - spent.total()
    assert product.run(LEFT) == [{"balance": total, "explained": total}]
    with plans_of(product) as plans:
        assert chain_faults(plans, "bestauth") == []


def test_eight_appliers_grant_each_key_once_also_where_the_balance_is_missing(product: LedgerProduct) -> None:
    for account in ACCOUNTS:
        product.set_tier(account, "pro")
    outcomes: Counter[str] = Counter()
    steps = [a_change(BALANCE, a_grant(account), account=account, seen=("pro", 0, None)) for account in ACCOUNTS]
    with plans_of(product) as plans:
        plan_ids = [started(plans, *steps) for _ in range(8)]

    def apply(plan_id: str) -> Callable[[], None]:
        def run() -> None:
            with plans_of(product) as own:
                outcomes.update(names_of(apply_all(own, plan_id, size=2)))

        return run

    at_once(*(apply(plan_id) for plan_id in plan_ids))
    assert outcomes == {"changed": 5, "noop_already_applied": 35}
    assert (product.run(LEFT), grants(product)) == ([{"balance": 4000, "explained": 4000}], 5)


def test_a_balance_that_the_product_makes_at_the_same_moment_is_not_made_twice(product: LedgerProduct) -> None:
    product.set_tier(A, "pro")
    with psycopg.connect(product.url) as handler, plans_of(product) as plans:
        handler.execute("INSERT INTO points_balances (user_id, balance) VALUES (%s, 800)", (A,))
        correction = a_change(BALANCE, a_grant(), seen=("pro", 0, None))
        assert result(plans, correction)[0] == "busy"
        handler.commit()
        assert result(plans, correction) == ("stale_skipped", "the balance row was made since the plan was made")
    assert (product.balance(A), grants(product)) == (800, 0)


@pytest.mark.parametrize("committed", [True, False], ids=["committed", "rolled back"])
def test_a_user_whom_the_product_links_at_the_same_moment_is_linked_once(
    product: LedgerProduct, committed: bool
) -> None:
    """The product's row is not to be seen yet when ours is checked; the key of the mapping table decides."""
    product.add_user(U, account=A, mapped=False, balance=100)
    product.subscribe(U, metadata={"supabase_user_id": A})
    other = "cccccccc-0000-4000-8000-000000000001"
    correction = a_change(a_link(), a_grant(), seen=(None, 100, 0))
    outcomes: list[tuple[str, str | None]] = []
    with (
        psycopg.connect(product.url) as handler,
        psycopg.connect(product.url, autocommit=True) as watcher,
        plans_of(product) as plans,
    ):
        handler.execute("INSERT INTO user_id_mapping VALUES (%s, %s)", (U, other))
        assert result(plans, correction)[0] == "busy"  # and no longer than half a second
        applying = threading.Thread(target=lambda: outcomes.append(result(plans, correction)))
        applying.start()
        until(lambda: watcher.execute(WAITING).fetchone())
        if committed:
            handler.commit()
        else:
            handler.rollback()
        applying.join()
    if committed:
        assert outcomes == [("stale_skipped", "the user was linked since the plan was made")]
        assert (product.mapping(), product.balance(A)) == ({U: other}, 100)
    else:
        assert outcomes == [("changed", None)]
        assert (product.mapping(), product.balance(A)) == ({U: A}, 900)


def test_two_plans_that_link_two_users_to_one_account_link_one(product: LedgerProduct) -> None:
    product.add_user(U, account=A, mapped=False, balance=100)
    product.add_user(V)
    for user in (U, V):
        product.subscribe(user, metadata={"supabase_user_id": A})
    outcomes: Counter[str] = Counter()
    with plans_of(product) as plans:
        plan_ids = [started(plans, a_change(a_link(user), seen=(None, 100, 0))) for user in (U, V)]

    def apply(plan_id: str) -> Callable[[], None]:
        def run() -> None:
            with plans_of(product) as own:
                outcomes.update(names_of(apply_all(own, plan_id)))

        return run

    at_once(*(apply(plan_id) for plan_id in plan_ids))
    assert outcomes == {"changed": 1, "stale_skipped": 1}
    assert list(product.mapping().values()) == [A]
