"""What somebody with a superuser's rights does to an audit, on a real Postgres. No assertions."""

from collections.abc import Mapping

import psycopg
from psycopg.rows import dict_row

from credit_pipeline_tests.services.audit.audit_rows import hashed

UNSEEN = "SET LOCAL session_replication_role = replica;"  # triggers and foreign keys look away


def tamper(url: str, statements: str) -> None:
    """One transaction behind the triggers."""
    with psycopg.connect(url) as connection:
        connection.execute(f"{UNSEEN} {statements}".encode())


def rechain(url: str, edits: Mapping[int, tuple[str, str]]) -> None:
    """Replaces words in the texts (seq → old, new) and makes every later hash anew, the head's too."""
    with psycopg.connect(url, row_factory=dict_row) as connection:
        connection.execute(UNSEEN)
        prev = "0" * 64
        rows = connection.execute("SELECT seq, payload FROM credit_pipeline.audit ORDER BY seq").fetchall()
        for row in rows:
            payload = row["payload"].replace(*edits.get(row["seq"], ("", "")))
            now = hashed(prev, payload)
            connection.execute(
                "UPDATE credit_pipeline.audit SET payload = %s, prev_hash = %s, hash = %s WHERE seq = %s",
                (payload, prev, now, row["seq"]),
            )
            prev = now
        connection.execute("UPDATE credit_pipeline.control SET audit_hash = %s", (prev,))


EDITED_PAYLOAD = "UPDATE credit_pipeline.audit SET payload = replace(payload, 'upgrade', 'gift') WHERE seq = 2"
EDITED_COLUMN = (
    "ALTER TABLE credit_pipeline.audit ALTER COLUMN after_available DROP EXPRESSION;"
    "UPDATE credit_pipeline.audit SET after_available = 9000 WHERE seq = 2"
)
DELETED_ROW = "DELETE FROM credit_pipeline.audit WHERE seq = 2"
SWAPPED_ROWS = (
    "UPDATE credit_pipeline.audit SET seq = seq + 10 WHERE seq IN (1, 2);"
    "UPDATE credit_pipeline.audit SET seq = 13 - seq WHERE seq > 10"
)
TRUNCATED = "TRUNCATE credit_pipeline.audit"
CUT_AND_REWOUND = (
    "DELETE FROM credit_pipeline.taken_key WHERE audit_seq = 3;"
    """DELETE FROM credit_pipeline."grant" WHERE account = 'c';"""
    "UPDATE credit_pipeline.correction SET outcome = 'failed', audit_seq = NULL WHERE audit_seq = 3;"
    "UPDATE credit_pipeline.control SET audit_seq = 2,"
    " audit_hash = (SELECT prev_hash FROM credit_pipeline.audit WHERE seq = 3);"
    "DELETE FROM credit_pipeline.audit WHERE seq = 3"
)
