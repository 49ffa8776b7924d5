"""What stands in the database itself against a second grant: uniqueness, read from the catalogue of an installation."""

from credit_pipeline_tests.adapters.products.counter_product import an_installed_product

UNIQUE = """
SELECT c.relname AS of, array_agg(a.attname ORDER BY k.place) AS columns, pg_get_expr(i.indpred, i.indrelid) AS only
FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indrelid
    CROSS JOIN LATERAL unnest(i.indkey::int[]) WITH ORDINALITY AS k (number, place)
    JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.number
WHERE c.relnamespace = 'credit_pipeline'::regnamespace AND i.indisunique AND i.indisvalid AND i.indimmediate
GROUP BY i.indexrelid, c.relname, i.indpred, i.indrelid
"""
PROTECTING = {
    ("grant", ("system", "account", "plan", "period_start"), None),
    ("audit", ("system", "seq"), None),
    ("audit", ("system", "key"), "(key IS NOT NULL)"),
    ("taken_key", ("system", "key"), None),
    ("correction", ("plan_id", "seq"), None),
    ("correction_plan", ("plan_id",), None),
    ("mismatch", ("system", "fingerprint"), None),
    ("webhook_event", ("system", "provider", "event_id"), None),
    ("outbox", ("system", "kind", "subject"), None),
}
"""(table, columns, condition): without one of them a grant, a key or a record could be there twice."""


def test_what_may_be_there_once_is_unique_in_the_database(database: str) -> None:
    product = an_installed_product(database)
    found = {(row["of"], tuple(row["columns"]), row["only"]) for row in product.run(UNIQUE)}
    assert PROTECTING - found == set()
