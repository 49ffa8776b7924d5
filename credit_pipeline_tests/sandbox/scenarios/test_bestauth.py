"""bestauth's database: its own functions, what the simulation writes there, and what counts as lost."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from credit_pipeline.config.loader import PACKAGED, load_system
from credit_pipeline.sandbox.scenarios.bestauth.life import BestauthLife
from credit_pipeline.sandbox.scenarios.bestauth.population import scripts
from credit_pipeline.sandbox.scenarios.bestauth.product import Bestauth
from credit_pipeline.sandbox.scenarios.bestauth.tables import (
    BONUS,
    GRANT,
    Failure,
    Points,
    Product,
    Tier,
    Transaction,
    loses,
    shifts,
)
from credit_pipeline.sandbox.scenarios.seeded_values import WATCH
from credit_pipeline.sandbox.scenarios.wix_app.life import State

NOW = datetime(2026, 5, 20, 13, 17, tzinfo=UTC)
ANNA, BERT = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"


@pytest.fixture
def app(database: str) -> Iterator[Bestauth]:
    """The product in a fresh database."""
    with Bestauth(database) as opened:
        opened.create()
        yield opened


def _run(url: str, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        cursor = connection.execute(query.encode(), parameters)
        return cursor.fetchall() if cursor.description else []


def test_add_points_writes_transaction_and_balance_and_answers_the_balance(app: Bestauth, database: str) -> None:
    for amount in (100, 800):
        answered = _run(database, "SELECT add_points(%s, %s, 'bonus', 'welcome', 'ref')", ANNA, amount)
    assert answered == [(900,)]
    assert app.states() == {ANNA: State(None, 900, 0)}


def test_deduct_points_notes_what_it_could_not_do(app: Bestauth, database: str) -> None:
    _run(database, "SELECT add_points(%s, 10, 'bonus')", ANNA)
    assert _run(database, "SELECT deduct_points(%s, 4), deduct_points(%s, 7)", ANNA, ANNA) == [(True, False)]
    assert app.states() == {ANNA: State(None, 10, 4)}
    failed = _run(database, "SELECT user_id::text, amount, reason FROM points_deduction_failures")
    assert failed == [(ANNA, 7, "not enough points")]


def test_only_what_fell_counts_as_lost(app: Bestauth, database: str) -> None:
    for account in (ANNA, BERT):
        _run(database, "SELECT add_points(%s, 100, 'bonus')", account)
    before = app.last_change()
    _run(database, "SELECT add_points(%s, 50, 'bonus')", ANNA)
    assert app.credits_lost(before) == 0
    _run(database, "UPDATE points_balances SET balance = balance - 30 WHERE user_id = %s", ANNA)
    _run(database, "DELETE FROM points_balances WHERE user_id = %s", BERT)
    assert app.credits_lost(before) == 130
    assert app.credits_lost(app.last_change()) == 0


def test_row_level_security_is_on_everywhere_and_nobody_else_may_read(app: Bestauth, database: str) -> None:
    tables = "SELECT count(*) FILTER (WHERE NOT relrowsecurity), count(*) FROM pg_class WHERE relkind = 'r' "
    tables += "AND relnamespace = 'public'::regnamespace"
    assert _run(database, tables) == [(0, 8)]
    granted = "SELECT count(*) FROM information_schema.table_privileges "
    granted += "WHERE grantee = 'PUBLIC' AND table_schema = 'public'"
    assert _run(database, granted) == [(0,)]


def test_changes_are_written_once_and_removals_too(app: Bestauth) -> None:
    product = Product()
    product.add_points(ANNA, 100, BONUS, NOW)
    product.add_points(ANNA, 800, GRANT, NOW, reference="x")
    product.put(Tier(ANNA, "pro", "active", NOW, NOW + timedelta(days=30), NOW))
    product.put(Failure(ANNA, 5, "why", NOW))
    app.write(product.taken())
    assert app.states() == {ANNA: State("pro", 900, 0)} == {ANNA: product.state(ANNA)}
    assert not product.taken()
    loses(ANNA, lambda entry: entry.type == GRANT)(product, NOW)
    shifts(ANNA, -30)(product, NOW)
    product.drop(Tier, ANNA)
    app.write(product.taken())
    assert app.states() == {ANNA: State(None, 100, 30)}
    product.drop(Points, ANNA)
    app.write(product.taken())
    assert app.states() == {ANNA: State(None, 100, None)}


def test_a_row_made_and_removed_between_two_looks_leaves_nothing(app: Bestauth, database: str) -> None:
    product = Product()
    product.enter(ANNA, 5, BONUS, NOW)
    (entry,) = product.entries(ANNA)
    product.drop(Transaction, entry.id)
    app.write(product.taken())
    assert _run(database, "SELECT count(*) FROM points_transactions") == [(0,)]


def test_the_database_stands_as_the_story_ends(app: Bestauth, database: str) -> None:
    catalogue = load_system("bestauth", PACKAGED).catalogue
    written = list(scripts(catalogue, accounts=120, seed=2, present=NOW))
    life = BestauthLife(written, seed=2, start=NOW - WATCH)
    for days in range(0, WATCH.days + 1, 5):
        app.write(life.until(NOW - WATCH + timedelta(days=days)).product)
    told = {account: life.product.state(account) for account in life.product.accounts()}
    assert app.states() == told
    users = _run(database, "SELECT count(*) FROM bestauth_users")[0][0]
    assert users > 115
    assert _run(database, "SELECT count(*) FROM points_deduction_failures")[0][0] > 0
