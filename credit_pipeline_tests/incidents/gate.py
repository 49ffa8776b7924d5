"""Stops the pipeline in the middle of a batch, at the row of one account, until a test has done what it came for.

The gate is an advisory lock that a trigger of the product takes for every row that is updated.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

_TRIGGER = """
CREATE FUNCTION wait_at_gate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(4242, hashtext(NEW.instance_id::text));
    RETURN NEW;
END $$;
CREATE TRIGGER gated BEFORE UPDATE ON app_instances FOR EACH ROW EXECUTE FUNCTION wait_at_gate()
"""
_WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND application_name LIKE 'credit_pipeline %'
"""
_WRITING = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND backend_xid IS NOT NULL AND application_name LIKE 'credit_pipeline %'
"""


class Gate:
    """Built once into the product; closed for one account at a time."""

    def __init__(self, url: str) -> None:
        self._url = url
        with psycopg.connect(url) as connection:
            connection.execute(_TRIGGER)

    @contextmanager
    def closed(self, account: str) -> Iterator[None]:
        """Whoever updates this row waits until the block ends, or until its patience does."""
        with psycopg.connect(self._url, autocommit=True) as holder:
            holder.execute("SELECT pg_advisory_lock(4242, hashtext(%s))", (account,))
            yield

    def waiting(self) -> int:
        """How many of the pipeline's sessions wait for a lock."""
        return self._count(_WAITING)

    def writing(self) -> int:
        """How many of the pipeline's sessions have an open transaction that wrote."""
        return self._count(_WRITING)

    def _count(self, query: str) -> int:
        with psycopg.connect(self._url) as connection:
            found = connection.execute(query.encode()).fetchone()
        assert found is not None
        return int(found[0])


def until(happened: Callable[[], Any], seconds: float = 60) -> None:
    """Waits for a condition; fails when it does not come in time."""
    tick, left = threading.Event(), seconds
    while not happened():
        assert left > 0, "the condition never came true"
        tick.wait(0.02)
        left -= 0.02
