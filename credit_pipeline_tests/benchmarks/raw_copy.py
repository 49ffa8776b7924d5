"""The raw limit: COPY of every relation a check must read, and one hash join of them in Postgres."""

import json
import sys
import time

import psycopg

from credit_pipeline_tests.benchmarks.peak import peak_mb
from credit_pipeline_tests.benchmarks.products import LAYOUTS


def main(name: str, url: str) -> None:
    """Print seconds and peak memory as JSON."""
    layout = LAYOUTS[name]
    began = time.perf_counter()
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        for statement in layout.copies:
            with cursor.copy(statement.encode()) as copy:
                for _ in copy:
                    pass
        cursor.execute(layout.join.encode())
        cursor.fetchone()
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "peak_mb": peak_mb()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
