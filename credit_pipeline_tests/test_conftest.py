"""The databases handed to tests are theirs alone."""

import psycopg

from credit_pipeline_tests.conftest import Databases


def _fill(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE filled (by text)")
        connection.execute("INSERT INTO filled VALUES ('the template')")


def _rows(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return [row[0] for row in connection.execute("SELECT by FROM filled ORDER BY by")]


def test_a_copy_of_a_template_is_full_and_its_changes_reach_no_other_copy(databases: Databases) -> None:
    first = databases.new(databases.template("filled", _fill))
    with psycopg.connect(first) as connection:
        connection.execute("INSERT INTO filled VALUES ('a test')")
    second = databases.new(databases.template("filled", _fill))
    assert _rows(first) == ["a test", "the template"]
    assert _rows(second) == ["the template"]


def test_a_database_is_empty(database: str) -> None:
    with psycopg.connect(database) as connection:
        found = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
    assert found == (0,)
