"""The printed hardening, executed: the product's own handler and ours at once, in either order, grant once."""

import threading
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest

from credit_pipeline.adapters.install.hardening import hardening_sql
from credit_pipeline.config.store import AddFunction
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.errors import ConfigurationError
from credit_pipeline.domain.policy import Policy
from credit_pipeline_tests.adapters.plans.test_write_path_races import WAITING, at_once, until
from credit_pipeline_tests.adapters.products.counter_product import PUBLIC, START, apply_all, names_of
from credit_pipeline_tests.adapters.products.ledger_product import ADD, NAMES, LedgerProduct, a_system, ledger_config
from credit_pipeline_tests.adapters.products.ledger_writes import (
    BALANCE,
    A,
    a_change,
    a_copied_ledger,
    a_grant,
    an_adjustment,
    an_installed_ledger,
    approved,
    plans_of,
    result,
    started,
)
from credit_pipeline_tests.conftest import Databases

REFERENCE = f"{A}/pro/{int(START.timestamp())}"
ONCE = "SELECT add_points_once(p_user_id => %s, p_amount => 800, p_reference => %s) AS granted"
BLOCKED = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
GRANT = a_change(a_grant(reference=REFERENCE), seen=(None, 100, 0))


def harden(product: LedgerProduct, system: CreditSystem | None = None) -> None:
    """As a DBA would: the printed script, from a connection of their own."""
    script = hardening_sql(system or a_system())
    assert script is not None
    with psycopg.connect(product.url, autocommit=True) as connection:
        connection.execute(script.encode())


@pytest.fixture
def product(databases: Databases) -> LedgerProduct:
    """Account A with 100 credits bought, in a hardened product."""
    product = a_copied_ledger(databases)
    product.add_points(A, 100, "purchase")
    harden(product)
    return product


def handler(product: LedgerProduct, reference: str = REFERENCE) -> bool:
    """The product's webhook handler grants the period's credits."""
    [row] = product.run(ONCE, A, reference)
    return bool(row["granted"])


def granted(product: LedgerProduct) -> list[str | None]:
    return [reference for _, kind, reference in product.transactions(A) if kind == "subscription_grant"]


def test_it_may_be_run_again_and_changes_nothing_then(product: LedgerProduct) -> None:
    query = (
        "SELECT p.oid::regprocedure::text AS name, p.prosrc FROM pg_proc AS p WHERE p.proname LIKE '%once'"
        " UNION ALL SELECT i.indexname, i.indexdef FROM pg_indexes AS i"
        " WHERE i.indexname LIKE '%once' AND i.schemaname = 'public'"
    )
    before = product.run(query)
    assert len(before) == 2
    harden(product)
    assert product.run(query) == before


def test_the_handler_grants_once_a_reference(product: LedgerProduct) -> None:
    assert [handler(product), handler(product), handler(product, "another")] == [True, False, True]
    assert (granted(product), product.balance(A)) == ([REFERENCE, "another"], 1700)


def test_a_handler_that_comes_after_us_grants_nothing(product: LedgerProduct) -> None:
    with plans_of(product) as plans:
        assert result(plans, GRANT) == ("changed", None)
    assert handler(product) is False
    assert (granted(product), product.balance(A)) == ([REFERENCE], 900)


def test_we_grant_nothing_after_the_handler(product: LedgerProduct) -> None:
    assert handler(product) is True
    with plans_of(product) as plans:
        assert result(plans, GRANT)[0] == "stale_skipped"
    assert (granted(product), product.balance(A)) == ([REFERENCE], 900)


@pytest.mark.parametrize("missing", [False, True], ids=["balance", "no balance yet"])
def test_both_at_once_grant_once(databases: Databases, missing: bool) -> None:
    """Many rounds, each another period: whoever is first, there is one grant, and nobody dies of it."""
    product = a_copied_ledger(databases)
    harden(product)
    rounds = 15
    ours, theirs, total = Counter[str](), Counter[bool](), 0
    if not missing:
        product.set_balance(A, 0)
    product.set_tier(A, "pro")
    with plans_of(product) as plans, psycopg.connect(product.url, autocommit=True) as webhook:
        for n in range(rounds):
            if missing:
                product.run("DELETE FROM points_balances; DELETE FROM points_transactions")
                total = 0
            start = START + timedelta(days=60 * n)
            reference = f"{A}/pro/{int(start.timestamp())}"
            grant = a_grant(reference=reference, start=start, end=start + timedelta(days=31))
            steps = (BALANCE, grant) if missing else (grant,)
            plan_id = started(plans, a_change(*steps, seen=("pro", total, None if missing else 0)))
            at_once(
                lambda plan_id=plan_id: ours.update(names_of(apply_all(plans, plan_id))),  # type: ignore[misc]
                lambda reference=reference: theirs.update(  # type: ignore[misc]
                    bool(row[0]) for row in webhook.execute(ONCE, (A, reference)).fetchall()
                ),
            )
            total += 800
            assert granted(product).count(reference) == 1, (n, ours, theirs)
            assert product.balance(A) == total
    assert ours["changed"] + theirs[True] == rounds
    assert set(ours) <= {"changed", "stale_skipped", "busy"}, ours


def test_eight_handlers_at_once_grant_once(product: LedgerProduct) -> None:
    """Stripe delivers again before the first answer: without a balance row only the index can tell them apart."""
    product.run("DELETE FROM points_balances; DELETE FROM points_transactions")
    answers: Counter[bool] = Counter()
    at_once(*[lambda: answers.update([handler(product)])] * 8)
    assert answers == {True: 1, False: 7}
    assert (granted(product), product.balance(A)) == ([REFERENCE], 800)


def test_we_give_way_to_a_handler_that_writes_its_transaction_first(product: LedgerProduct) -> None:
    """It waits for the balance, which we hold, and we for its key: the server would end one of us, after a second."""
    outcomes: list[tuple[str, str | None]] = []
    with (
        psycopg.connect(product.url) as webhook,
        psycopg.connect(product.url, autocommit=True) as watcher,
        plans_of(product) as plans,
    ):
        webhook.execute(
            "INSERT INTO points_transactions (user_id, amount, type, reference)"
            " VALUES (%s, 800, 'subscription_grant', %s)",
            (A, REFERENCE),
        )
        applying = threading.Thread(target=lambda: outcomes.append(result(plans, GRANT)))
        applying.start()
        until(lambda: watcher.execute(WAITING).fetchone())
        webhook.execute("UPDATE points_balances SET balance = balance + 800 WHERE user_id = %s", (A,))
        webhook.commit()
        applying.join()
        assert outcomes == [("busy", "the product holds a row that this change needs: the next run tries again")]
        assert result(plans, GRANT)[0] == "stale_skipped"
    assert (granted(product), product.balance(A)) == ([REFERENCE], 900)


def test_a_handler_that_commits_while_we_wait_for_its_key_makes_our_row_stale(product: LedgerProduct) -> None:
    outcomes: list[tuple[str, str | None]] = []
    with (
        psycopg.connect(product.url) as webhook,
        psycopg.connect(product.url, autocommit=True) as watcher,
        plans_of(product) as plans,
    ):
        webhook.execute(
            "INSERT INTO points_transactions (user_id, amount, type, reference)"
            " VALUES (%s, 800, 'subscription_grant', %s)",
            (A, REFERENCE),
        )
        applying = threading.Thread(target=lambda: outcomes.append(result(plans, GRANT)))
        applying.start()
        until(lambda: watcher.execute(WAITING).fetchone())
        webhook.commit()
        applying.join()
    assert outcomes == [("stale_skipped", "the product made the same grant at this moment: the next plan matches it")]
    assert granted(product) == [REFERENCE]


def test_the_wrapper_waits_for_the_balance_before_it_takes_the_key(product: LedgerProduct) -> None:
    """As we do; in the other order each would hold what the other waits for."""
    answers: list[bool] = []
    with psycopg.connect(product.url) as other, psycopg.connect(product.url, autocommit=True) as watcher:
        other.execute("SELECT FROM points_balances WHERE user_id = %s FOR NO KEY UPDATE", (A,))
        waiting = threading.Thread(target=lambda: answers.append(handler(product)))
        waiting.start()
        until(lambda: watcher.execute(BLOCKED).fetchone())
        other.execute("SELECT add_points(%s, 800, 'subscription_grant', NULL, %s)", (A, REFERENCE))
        other.commit()
        waiting.join()
    assert (answers, granted(product), product.balance(A)) == ([False], [REFERENCE], 900)


def test_a_grant_without_a_reference_is_refused_by_the_wrapper(product: LedgerProduct) -> None:
    with pytest.raises(psycopg.errors.RaiseException, match="pass the reference"):
        product.run(ONCE, A, None)


def test_other_transactions_and_the_product_s_own_function_are_as_they_were(product: LedgerProduct) -> None:
    for _ in range(2):
        product.add_points(A, 5, "bonus", reference="r")
        product.add_points(A, 5, "subscription_grant")
    assert product.balance(A) == 120
    with plans_of(product) as plans:
        assert result(plans, approved(an_adjustment(10), seen=(None, 120, 0))) == ("changed", None)


def test_only_those_who_are_granted_it_may_call_the_wrapper(product: LedgerProduct) -> None:
    [row] = product.run(
        "SELECT EXISTS (SELECT FROM pg_proc AS p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS x"
        " WHERE p.proname = 'add_points_once' AND x.grantee = 0) AS everyone"
    )
    assert row["everyone"] is False


def test_other_names_are_quoted(databases: Databases) -> None:
    names = {word: name for word, name in NAMES.items() if name != "E Mail"}
    product, system = an_installed_ledger(databases.new(), names, "Other")
    harden(product, system)
    once = 'SELECT "Add_once"("Who" => %s, p_amount => 800, p_reference => %s) AS granted'
    assert [product.run(once, A, REFERENCE)[0]["granted"] for _ in range(2)] == [True, False]
    assert product.balance(A) == 800


def test_the_script_shows_the_reference_that_both_must_write() -> None:
    policy = Policy(reference="{subscription}:{plan}:{period_start}")
    script = hardening_sql(replace(a_system(), policy=policy))
    assert script is not None
    assert "--     {subscription}:{plan}:{period_start}\n" in script
    assert "-- {subscription}: the subscription's id at billing\n" in script
    assert "{invoice}" not in script


def test_a_template_of_two_lines_stays_within_its_comment() -> None:
    script = hardening_sql(replace(a_system(), policy=Policy(reference="{plan}\nDROP TABLE x;{period_start}")))
    assert script is not None
    assert "--     {plan} DROP TABLE x;{period_start}\n" in script


@pytest.mark.parametrize(
    ("system", "sentence"),
    [
        (
            replace(a_system(), policy=Policy(reference="{subscription}")),
            "bestauth: one grant would keep another from being made, because `policy.reference` is the same for both: "
            "add `{plan}` and `{period_start}` to it in defs.yaml, and to the product's handler",
        ),
        (
            a_system(transactions=ledger_config().transactions.model_copy(update={"reference": None})),
            "bestauth: a grant can only be told from another by its reference, and `store.transactions.reference` "
            "names none: add a column and a parameter for one to the product, then name them in defs.yaml",
        ),
        (
            a_system(
                add=AddFunction.model_construct(
                    function="add_points", arguments={k: v for k, v in ADD.arguments.items() if v != "reference"}
                )
            ),
            "bestauth: a grant can only be told from another by its reference, and `store.add.arguments` "
            "names none: add a column and a parameter for one to the product, then name them in defs.yaml",
        ),
    ],
    ids=["template", "column", "parameter"],
)
def test_a_product_that_cannot_be_hardened_is_a_sentence(system: CreditSystem, sentence: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        hardening_sql(system)
    assert str(refusal.value) == sentence


def test_a_counter_has_nothing_to_harden() -> None:
    assert hardening_sql(PUBLIC) is None
