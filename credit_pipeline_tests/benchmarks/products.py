"""Large products of both layouts, filled in SQL, a given share of them wrong, and billing's answers as a table."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

import psycopg
import pyarrow as pa

from credit_pipeline.services.collect.tables import LISTED_SUBSCRIPTIONS, SUBSCRIPTIONS

START = datetime(2026, 3, 10, tzinfo=UTC)
"""When the first check is; every further one is six hours later."""

# Half of all accounts pay. Of a thousand of those, `wrong` were given too little.
_COUNTER = """
INSERT INTO plans VALUES ('free', 100), ('starter', 1000), ('pro', 5000), ('pro_plus', 15000);
CREATE TABLE bought AS
    SELECT md5('a' || n)::uuid AS account, (ARRAY['free', 'free', 'starter', 'pro'])[1 + n %% 4] AS plan,
           %(start)s::timestamptz - make_interval(mins => (7 * n) %% 43000) AS at,
           n %% 4 > 1 AND (n / 4 * 7919::bigint) %% 1000 < %(wrong)s AS wrong, n
    FROM generate_series(1, %(accounts)s) AS n;
INSERT INTO app_instances (instance_id, plan_id, credits_total, credits_used_month)
    SELECT account, b.plan, t.total, (n * 7919::bigint) %% (t.total + 1)
    FROM bought AS b JOIN plans AS p ON p.id = b.plan,
         LATERAL (SELECT p.monthly_credits - CASE WHEN wrong THEN 60 ELSE 0 END AS total) AS t
"""
_COUNTER_LIVES = """
UPDATE app_instances SET credits_used_month = credits_used_month + 1
    WHERE hashtext(instance_id::text) %% 50 = %(number)s AND credits_used_month < credits_total;
UPDATE app_instances AS a SET credits_used_month = 0 FROM bought AS b WHERE b.account = a.instance_id
    AND b.at + interval '1 month' BETWEEN %(now)s::timestamptz - interval '6 hours' AND %(now)s
"""
_LEDGER = """
CREATE TABLE bought AS
    SELECT md5('u' || n)::uuid AS person, md5('a' || n)::uuid AS account, n %% 2 = 0 AS pays,
           date_trunc('second', %(start)s::timestamptz - make_interval(mins => 60 + (7 * n) %% 38000)) AS at,
           n %% 2 = 0 AND (n / 2 * 7919::bigint) %% 1000 < %(wrong)s AS wrong, n
    FROM generate_series(1, %(accounts)s) AS n;
INSERT INTO bestauth_users (id, email) SELECT person, 'person' || n || '@example.com' FROM bought;
INSERT INTO user_id_mapping SELECT person, account FROM bought;
INSERT INTO bestauth_subscriptions (user_id, stripe_customer_id, stripe_subscription_id, metadata)
    SELECT person, 'cus_' || n, 'sub_' || n, jsonb_build_object('resolved_supabase_user_id', account)
    FROM bought WHERE pays;
INSERT INTO subscriptions_consolidated
    SELECT account, CASE WHEN pays THEN 'pro' ELSE 'free' END, CASE WHEN pays THEN 'active' ELSE 'free' END,
           CASE WHEN pays THEN at END, CASE WHEN pays THEN at + interval '1 month' END FROM bought;
INSERT INTO points_transactions (user_id, amount, type, reference, created_at)
    SELECT account, 100, 'bonus', NULL, at - interval '40 days' FROM bought
    UNION ALL SELECT account, 800, 'subscription_grant', account || '/pro/' || extract(epoch FROM at)::bigint,
                     at + interval '1 minute' FROM bought WHERE pays AND NOT wrong
    UNION ALL SELECT account, -(1 + n %% 60), 'usage', NULL, at + interval '20 minutes' FROM bought;
INSERT INTO points_balances SELECT user_id, sum(amount) FROM points_transactions GROUP BY user_id
"""
_LEDGER_LIVES = """
WITH spending AS (SELECT user_id FROM points_balances WHERE hashtext(user_id::text) %% 50 = %(number)s AND balance > 1),
     spent AS (INSERT INTO points_transactions (user_id, amount, type, created_at)
               SELECT user_id, -1, 'usage', %(now)s::timestamptz - interval '1 hour' FROM spending)
UPDATE points_balances AS b SET balance = balance - 1 FROM spending AS s WHERE s.user_id = b.user_id
"""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One layout: its packaged system, its tables, what a raw reader must copy and join, and billing's answers."""

    system: str
    schema: str
    fill: str
    lives: str
    copies: tuple[str, ...]
    join: str
    billing: Callable[[list[tuple[Any, ...]]], pa.Table]
    bought: str


def _answers(rows: list[tuple[Any, ...]]) -> pa.Table:
    """Wix's answers: one row an account."""
    paid = [row[1] != "free" for row in rows]
    ids = pa.array([row[0] for row in rows])
    columns = {
        "billing_id": ids,
        "lookup": pa.array(["answered"] * len(rows)),
        "status": pa.array(["active" if pays else "free" for pays in paid]),
        "raw_plan": pa.array([row[1] if pays else None for row, pays in zip(rows, paid, strict=True)]),
        "subscription_id": ids,
        "cycle": pa.array(["monthly" if pays else None for pays in paid]),
        "anchor": pa.array([row[2] if pays else None for row, pays in zip(rows, paid, strict=True)]),
    }
    return _table(SUBSCRIPTIONS, columns, len(rows))


def _subscriptions(rows: list[tuple[Any, ...]]) -> pa.Table:
    """Stripe's list: one row a subscription, with the paid line of its period."""
    starts, ends = [row[2] for row in rows], [row[3] for row in rows]
    price = "price_bestauth_pro_monthly"
    lines = [
        [
            {
                "invoice_id": f"in_{row[0]}",
                "line_id": f"il_{row[0]}",
                "status": "paid",
                "raw_plan": price,
                "period_start": row[2],
                "period_end": row[3],
                "paid_at": row[2],
                "change": False,
            }
        ]
        for row in rows
    ]
    columns = {
        "billing_id": pa.array([f"cus_{row[0]}" for row in rows]),
        "lookup": pa.array(["answered"] * len(rows)),
        "status": pa.array(["active"] * len(rows)),
        "raw_plan": pa.array([price] * len(rows)),
        "subscription_id": pa.array([f"sub_{row[0]}" for row in rows]),
        "cycle": pa.array(["monthly"] * len(rows)),
        "anchor": pa.array(starts),
        "period_start": pa.array(starts),
        "period_end": pa.array(ends),
        "started_at": pa.array(starts),
        "quantity": pa.array([1] * len(rows)),
        "items": pa.array([1] * len(rows)),
        "subjects": pa.array([[{"source": "metadata.user_id", "id": row[1]}] for row in rows]),
        "invoices": pa.array(lines, LISTED_SUBSCRIPTIONS.field("invoices").type),
    }
    return _table(LISTED_SUBSCRIPTIONS, columns, len(rows))


def _table(schema: pa.Schema, columns: dict[str, pa.Array], rows: int) -> pa.Table:
    return pa.table([columns.get(field.name, pa.nulls(rows)).cast(field.type) for field in schema], schema=schema)


_OBSERVED = (
    "COPY (SELECT account, label, total, used, billed_plan, billed_period_start, billed_status, mark, as_of,"
    " unanswered_since FROM credit_pipeline.observation) TO STDOUT (FORMAT binary)"
)
LAYOUTS = {
    "counter": Layout(
        system="wix_app",
        schema="wix_app",
        fill=_COUNTER,
        lives=_COUNTER_LIVES,
        copies=(
            "COPY (SELECT instance_id, plan_id, credits_total, credits_used_month FROM app_instances) TO STDOUT"
            " (FORMAT binary)",
            _OBSERVED,
        ),
        join="SELECT count(*) FROM app_instances AS a LEFT JOIN credit_pipeline.observation AS o"
        " ON o.account = a.instance_id::text WHERE o.total IS DISTINCT FROM a.credits_total",
        billing=_answers,
        bought="SELECT account::text, plan, at FROM bought",
    ),
    "ledger": Layout(
        system="bestauth",
        schema="bestauth",
        fill=_LEDGER,
        lives=_LEDGER_LIVES,
        copies=(
            "COPY (SELECT user_id, amount, type, reference, created_at FROM points_transactions) TO STDOUT"
            " (FORMAT binary)",
            "COPY points_balances TO STDOUT (FORMAT binary)",
            "COPY subscriptions_consolidated TO STDOUT (FORMAT binary)",
            "COPY (SELECT u.id, m.supabase_user_id, s.metadata FROM bestauth_users AS u"
            " LEFT JOIN user_id_mapping AS m ON m.bestauth_user_id = u.id"
            " LEFT JOIN bestauth_subscriptions AS s ON s.user_id = u.id) TO STDOUT (FORMAT binary)",
            _OBSERVED,
        ),
        join="SELECT count(*) FROM points_balances AS b JOIN (SELECT user_id, sum(amount) AS held"
        " FROM points_transactions GROUP BY user_id) AS t USING (user_id)"
        " LEFT JOIN credit_pipeline.observation AS o ON o.account = b.user_id::text WHERE b.balance <> t.held",
        billing=_subscriptions,
        bought="SELECT n, person::text, at, at + interval '1 month' FROM bought WHERE pays",
    ),
}


def fill(url: str, layout: Layout, accounts: int, percent: float) -> pa.Table:
    """Create and fill the product, with that share of all accounts wrong; billing's view of it."""
    schema = files(f"credit_pipeline.sandbox.scenarios.{layout.schema}").joinpath("product.sql").read_bytes()
    with psycopg.connect(url) as connection:
        connection.execute(schema)
        connection.execute("SET session_replication_role = replica")  # the product's own audit is of no interest
        for statement in layout.fill.split(";"):
            given = {"accounts": accounts, "start": START, "wrong": round(percent * 20)}
            connection.execute(statement.encode(), given if "%(" in statement or "%%" in statement else None)
    _settle(url)
    with psycopg.connect(url) as connection:
        return layout.billing(connection.execute(layout.bought.encode()).fetchall())


def live(url: str, layout: Layout, number: int, now: datetime) -> None:
    """Six hours pass: two accounts in a hundred spend."""
    with psycopg.connect(url) as connection:
        connection.execute("SET session_replication_role = replica")
        for statement in layout.lives.split(";"):
            connection.execute(statement.encode(), {"number": number % 50, "now": now})
    _settle(url)


def _settle(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
