"""The write path under others: users who spend, appliers at the same time, and deaths in the middle of a batch."""

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from credit_pipeline.domain.errors import StoreError
from credit_pipeline_tests.adapters.products.counter_product import (
    Product,
    a_copied_product,
    a_plan,
    an_upgrade,
    apply_all,
    chain_faults,
    names_of,
    started,
)
from credit_pipeline_tests.conftest import Databases

SPEND = """
UPDATE app_instances SET credits_used_month = credits_used_month + 1
WHERE instance_id = %s AND credits_total - credits_used_month >= 1
"""
GATE = 4242
# The middle row of a batch waits here while a test holds the advisory lock.
GATED_TRIGGER = f"""
CREATE FUNCTION wait_at_gate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.instance_id = 'a2' THEN PERFORM pg_advisory_xact_lock({GATE}); END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER gated BEFORE UPDATE ON app_instances FOR EACH ROW EXECUTE FUNCTION wait_at_gate()
"""
WAITING = """
SELECT pid, xact_start FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND application_name LIKE 'credit_pipeline %'
"""
CLIENT = """
import sys
from credit_pipeline.adapters.plans.store import PostgresPlans
from credit_pipeline_tests.adapters.products.counter_product import PUBLIC, apply_all
apply_all(PostgresPlans(sys.argv[1], PUBLIC), sys.argv[2], size=int(sys.argv[3]))
"""


@pytest.fixture
def product(databases: Databases) -> Product:
    product = a_copied_product(databases)
    for n in range(5):
        product.add(f"a{n}", "starter", 1000)
    return product


def until(happened: Callable[[], Any], seconds: float = 20) -> Any:
    """The first true answer of a condition; fails when it does not come in time."""
    tick, left = threading.Event(), seconds
    while not (answer := happened()):
        assert left > 0, "the condition never came true"
        tick.wait(0.01)
        left -= 0.01
    return answer


def at_once(*jobs: Callable[[], None]) -> None:
    """Runs all jobs at the same time and raises what any of them raised."""
    errors: list[BaseException] = []
    start = threading.Barrier(len(jobs))

    def run(job: Callable[[], None]) -> None:
        try:
            start.wait()
            job()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


@contextmanager
def closed_gate(product: Product) -> Iterator[psycopg.Connection[Any]]:
    product.run(GATED_TRIGGER)
    with psycopg.connect(product.url, autocommit=True) as holder:
        holder.execute("SELECT pg_advisory_lock(%s)", (GATE,))
        yield holder


def assert_consistent(product: Product, changed: int) -> None:
    """Conservation, one grant and one audit row per change, and a chain that verifies."""
    [row] = product.run(
        "SELECT sum(credits_total - credits_used_month) AS available,"
        ' (SELECT count(*) FROM credit_pipeline."grant") AS grants,'
        " (SELECT count(*) FROM credit_pipeline.audit) AS audited,"
        " (SELECT count(*) FROM credit_pipeline.correction WHERE outcome = 'changed') AS marked FROM app_instances"
    )
    assert row == {
        "available": 5 * 1000 + 5000 * changed,
        "grants": changed,
        "audited": changed,
        "marked": changed,
    }
    with product.plans() as plans:
        assert chain_faults(plans) == []


def test_spending_during_an_apply_loses_nothing(product: Product) -> None:
    stop = threading.Event()
    spent: Counter[int] = Counter()

    def spend(n: int) -> None:
        with psycopg.connect(product.url, autocommit=True) as connection:
            while not stop.is_set():
                for account in range(5):
                    spent[n] += connection.execute(SPEND, (f"a{account}",)).rowcount

    spenders = [threading.Thread(target=spend, args=(n,)) for n in range(4)]
    for spender in spenders:
        spender.start()
    try:
        until(lambda: spent.total() > 50)
        before = spent.total()
        changed: set[str] = set()
        with product.plans() as plans:
            while len(changed) < 5:  # a row a spender holds is busy; the next pass has it
                waiting = [an_upgrade(f"a{n}") for n in range(5) if f"a{n}" not in changed]
                for one in apply_all(plans, started(plans, *waiting), size=1):
                    assert one.outcome in {"changed", "busy"}, one
                    if one.outcome == "changed":
                        assert one.before is not None
                        assert one.after is not None
                        assert one.after["available"] == one.before["available"] + 5000
                        changed.add(one.account_id)
            during = spent.total() - before
            until(lambda: spent.total() > before + during + 50)
    finally:
        stop.set()
        for spender in spenders:
            spender.join()
    assert during > 0
    [row] = product.run("SELECT sum(credits_total - credits_used_month) AS available FROM app_instances")
    assert row["available"] == 5 * (1000 + 5000) - spent.total()
    with product.plans() as plans:
        assert chain_faults(plans) == []


def test_eight_appliers_of_different_plans_grant_each_key_once(product: Product) -> None:
    outcomes: Counter[str] = Counter()
    with product.plans() as plans:
        plan_ids = [started(plans, *(an_upgrade(f"a{n}") for n in range(5))) for _ in range(8)]

    def apply(plan_id: str) -> Callable[[], None]:
        def run() -> None:
            with product.plans() as own:
                outcomes.update(names_of(apply_all(own, plan_id, size=2)))

        return run

    at_once(*(apply(plan_id) for plan_id in plan_ids))
    assert outcomes == {"changed": 5, "noop_already_applied": 35}
    assert_consistent(product, changed=5)


def test_two_appliers_of_one_plan_change_each_row_once(product: Product) -> None:
    with product.plans() as plans:
        plan_id = started(plans, *(an_upgrade(f"a{n}") for n in range(5)))
    accounts: list[str] = []

    def apply() -> None:
        with product.plans() as own:
            accounts.extend(one.account_id for one in apply_all(own, plan_id, size=1))

    at_once(apply, apply)
    assert sorted(accounts) == ["a0", "a1", "a2", "a3", "a4"]
    assert_consistent(product, changed=5)


def test_a_plan_can_be_saved_while_another_is_applied(product: Product) -> None:
    with product.plans() as plans, product.plans() as planner, closed_gate(product) as gate:
        plan_id = started(plans, an_upgrade("a2"))
        applying = threading.Thread(target=apply_all, args=(plans, plan_id))
        applying.start()
        until(lambda: gate.execute(WAITING).fetchone())
        assert planner.save(a_plan(an_upgrade("a1"))).state == "proposed"
        assert gate.execute(WAITING).fetchone() is not None  # it was saved beside the batch, not after it
        gate.execute("SELECT pg_advisory_unlock(%s)", (GATE,))
        applying.join()
        assert plans.load(plan_id).rows[0].outcome == "changed"


def test_a_lock_that_is_held_too_long_makes_its_row_busy(product: Product) -> None:
    with product.plans() as plans, closed_gate(product):
        plan_id = started(plans, an_upgrade("a1"), an_upgrade("a2"), an_upgrade("a3"))
        assert names_of(apply_all(plans, plan_id)) == ["changed", "busy", "changed"]
    assert_consistent(product, changed=2)


def test_a_batch_that_had_to_wait_for_another_applier_is_tried_again(product: Product) -> None:
    outcomes: list[str] = []
    with (
        product.plans() as plans,
        psycopg.connect(product.url) as holder,
        psycopg.connect(product.url, autocommit=True) as watcher,
    ):
        plan_id = started(plans, an_upgrade("a1"))
        holder.execute("SELECT FROM credit_pipeline.control FOR UPDATE")
        applying = threading.Thread(target=lambda: outcomes.extend(names_of(apply_all(plans, plan_id))))
        applying.start()
        first = until(lambda: watcher.execute(WAITING).fetchone())
        until(lambda: (now := watcher.execute(WAITING).fetchone()) and now != first)
        holder.rollback()
        applying.join()
    assert outcomes == ["changed"]


def test_a_deadlock_with_the_product_undoes_the_batch_and_it_is_tried_again(product: Product) -> None:
    outcomes: list[str] = []
    with product.plans() as plans, closed_gate(product) as gate:
        plan_id = started(plans, an_upgrade("a1"), an_upgrade("a2"))
        applying = threading.Thread(target=lambda: outcomes.extend(names_of(apply_all(plans, plan_id))))
        applying.start()
        until(lambda: gate.execute(WAITING).fetchone())  # a1 is written, a2 waits for the gate
        gate.execute(SPEND, ("a1",))  # and the gate waits for a1 until the server breaks the circle
        gate.execute("SELECT pg_advisory_unlock(%s)", (GATE,))
        applying.join()
        assert outcomes == ["changed", "changed"]
        assert product.balance("a1") == ("pro", 5999, 0)
        assert chain_faults(plans) == []


def test_a_killed_backend_leaves_the_batch_fully_absent_and_a_second_run_converges(product: Product) -> None:
    lost: list[Exception] = []

    def apply() -> None:
        try:
            apply_all(plans, plan_id)
        except StoreError as error:
            lost.append(error)

    with product.plans() as plans:
        plan_id = started(plans, *(an_upgrade(f"a{n}") for n in range(5)))
        with closed_gate(product) as gate:
            applying = threading.Thread(target=apply)
            applying.start()
            pid, _ = until(lambda: gate.execute(WAITING).fetchone())
            gate.execute("SELECT pg_terminate_backend(%s)", (pid,))
            applying.join()
            assert "the database of PRODUCT_URL ended the connection" in str(lost[0])
            assert_consistent(product, changed=0)
        assert names_of(apply_all(plans, plan_id)) == ["changed"] * 5  # the same store, on a new connection
    assert_consistent(product, changed=5)


@pytest.mark.parametrize(("size", "kept"), [(5, 0), (1, 2)], ids=["in the first batch", "between batches"])
def test_a_client_killed_with_9_loses_only_its_open_batch(product: Product, size: int, kept: int) -> None:
    with product.plans() as plans:
        plan_id = started(plans, *(an_upgrade(f"a{n}") for n in range(5)))
        with closed_gate(product) as gate:
            client = subprocess.Popen([sys.executable, "-c", CLIENT, product.url, plan_id, str(size)])
            try:
                until(lambda: gate.execute(WAITING).fetchone())
            finally:
                client.kill()
                client.wait()
            gate.execute("SELECT pg_advisory_unlock(%s)", (GATE,))
            until(lambda: not gate.execute(
                "SELECT FROM pg_stat_activity WHERE datname = current_database() AND backend_xid IS NOT NULL"
            ).fetchone())  # fmt: skip
            assert_consistent(product, changed=kept)
        assert names_of(apply_all(plans, plan_id)) == ["changed"] * (5 - kept)
    assert_consistent(product, changed=5)
