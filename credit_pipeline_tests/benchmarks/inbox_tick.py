"""What a sensor's tick costs over a million webhooks of which 200 failed: `python -m …benchmarks.inbox_tick`.

Counted is all that a tick does in the database: taking over stale claims, claiming fifty, counting. The second table is
the product's own, of as many rows, with an index on its status.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg

from credit_pipeline.adapters.inbox.webhooks import PostgresInbox
from credit_pipeline.adapters.install.install import install
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.sandbox.postgres.server import EmbeddedPostgres
from credit_pipeline_tests.adapters.products.counter_product import PUBLIC, Product
from credit_pipeline_tests.adapters.products.inbox_product import MAPPED, OWN_TABLE

OURS = """
INSERT INTO credit_pipeline.webhook_event (system, provider, event_id, raw, state)
SELECT 'wix_app', 'wix', 'evt_' || n, convert_to('{"instanceId": "site-' || n || '"}', 'UTF8'),
       CASE WHEN n % (%(rows)s / 200) = 0 THEN 'failed' ELSE 'repaired' END
FROM generate_series(1, %(rows)s) AS n
"""
OWN = """
INSERT INTO failed_webhooks (kind, instance, payload, status)
SELECT 'PaidPlanPurchased', 'site-' || n, '{}', (CASE WHEN n % (%(rows)s / 200) = 0 THEN 'failed' ELSE 'processed' END)
       ::webhook_status
FROM generate_series(1, %(rows)s) AS n
"""


def main() -> None:
    """Fill both tables and print the milliseconds of four ticks over each."""
    parser = argparse.ArgumentParser(prog="inbox_tick")
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory(prefix="credit_pipeline_bench-") as home:
        Path(home).chmod(0o755)
        server = EmbeddedPostgres(Path(home) / "server")
        server.start()
        try:
            for name, system, fill in (("ours", PUBLIC, _ours), ("the product's own", MAPPED, _own)):
                database = name.split()[0]
                server.create_database(database)
                _show(name, rows, _ticks(server.url(database), system, fill, rows))
        finally:
            server.remove()


def _ours(url: str, rows: int) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(OURS.replace("% (", "%% ("), {"rows": rows})


def _own(url: str, rows: int) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(OWN.replace("% (", "%% ("), {"rows": rows})
        connection.execute("CREATE INDEX ON failed_webhooks (status, received_at)")


def _ticks(url: str, system: CreditSystem, fill: Callable[[str, int], None], rows: int) -> list[float]:
    product = Product(url, system).build()
    if system.webhooks is not None:
        product.run(OWN_TABLE)
    install(url, system)
    fill(url, rows)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
    took = []
    with closing(PostgresInbox(url, system)) as inbox:
        inbox.installed()
        for _ in range(4):
            began = time.perf_counter()
            claims = inbox.claim("benchmark")
            inbox.counts()
            took.append((time.perf_counter() - began) * 1000)
            assert len(claims) == 50
    return took


def _show(name: str, rows: int, took: list[float]) -> None:
    print(f"{name}: {rows:,} rows, 200 failed: ticks of {', '.join(f'{one:.0f}' for one in took)} ms")


if __name__ == "__main__":
    main()
