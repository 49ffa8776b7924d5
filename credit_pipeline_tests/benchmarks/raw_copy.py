"""The raw limit: COPY of every relation a check must read, and one hash join of them in Postgres."""

import json
import sys
import time

import psycopg

from credit_pipeline_tests.benchmarks.peak import peak_mb

COPIES = (
    "COPY (SELECT instance_id, plan_id, credits_total, credits_used_month FROM app_instances) TO STDOUT"
    " (FORMAT binary)",
    "COPY (SELECT account, label, total, used, billed_plan, billed_period_start, billed_status, mark, as_of,"
    " unanswered_since FROM credit_pipeline.observation WHERE system = 'wix_app') TO STDOUT (FORMAT binary)",
)
JOIN = (
    "SELECT count(*) FROM app_instances AS a LEFT JOIN credit_pipeline.observation AS o ON o.account = a.instance_id"
    " AND o.system = 'wix_app' WHERE o.total IS DISTINCT FROM a.credits_total"
)


def main(url: str) -> None:
    """Print seconds and peak memory as JSON."""
    began = time.perf_counter()
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        for statement in COPIES:
            with cursor.copy(statement) as copy:
                for _ in copy:
                    pass
        cursor.execute(JOIN)
        cursor.fetchone()
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "peak_mb": peak_mb()}))


if __name__ == "__main__":
    main(sys.argv[1])
