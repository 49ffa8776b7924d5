"""A large product in Postgres, nearly all of it in order, and billing's answers as a snapshot file."""

from datetime import UTC, datetime, timedelta

import psycopg
import pyarrow as pa

from credit_pipeline.adapters.artifacts.snapshots import ParquetSnapshots
from credit_pipeline.config.system import CounterStoreConfig, CreditSystem, WixConfig
from credit_pipeline.domain.plans.catalogue import Catalogue, Plan
from credit_pipeline.domain.policy import Policy, Renewal
from credit_pipeline.services.collect.ports import Pull, Snapshot
from credit_pipeline.services.collect.tables import SUBSCRIPTIONS

START = datetime(2026, 3, 10, 0, 0, tzinfo=UTC)
ALLOWANCES = {"free": 100, "starter": 1_000, "pro": 5_000}

SYSTEM = CreditSystem(
    name="wix_app",
    environment="benchmark",
    catalogue=Catalogue(
        plans=tuple(
            Plan(name=name, credits=credits, rank=rank, label=name, free=name == "free")
            for rank, (name, credits) in enumerate(ALLOWANCES.items())
        )
    ),
    policy=Policy(renewal=Renewal.RESET_USED),
    store=CounterStoreConfig(
        url_env="WIX_DATABASE_URL",
        schema="public",
        table="app_instances",
        account="instance_id",
        label="plan_id",
        total="credits_total",
        used="credits_used_month",
        updated_at="updated_at",
    ),
    billing=WixConfig(app_id_env="WIX_APP_ID", app_secret_env="WIX_APP_SECRET"),
)

FILL = """
CREATE TABLE app_instances (
    instance_id text PRIMARY KEY, plan_id text NOT NULL, credits_total bigint NOT NULL,
    credits_used_month bigint NOT NULL, bought_at timestamptz, updated_at timestamptz NOT NULL DEFAULT now());
INSERT INTO app_instances (instance_id, plan_id, credits_total, credits_used_month, bought_at)
    SELECT md5(n::text)::uuid::text, plan, total, (n * 7919::bigint) %% (total + 1),
           CASE WHEN plan <> 'free' THEN %(start)s - make_interval(mins => (7 * n) %% 43000) END
    FROM generate_series(1, %(accounts)s) AS n,
         LATERAL (SELECT (ARRAY['free', 'free', 'starter', 'pro'])[1 + n %% 4] AS plan) AS p,
         LATERAL (SELECT CASE plan WHEN 'free' THEN 100 WHEN 'starter' THEN 1000 + n %% 300 ELSE 5000 END
                         - CASE WHEN n %% 1000 = 7 THEN 60 ELSE 0 END AS total) AS t
"""


def fill(url: str, accounts: int, archive: ParquetSnapshots) -> Snapshot:
    """Create and fill the product; one account in a thousand is short. Billing's view goes to the archive."""
    with psycopg.connect(url) as connection:
        for statement in FILL.split(";"):
            facts = {"accounts": accounts, "start": START}
            connection.execute(statement, facts if "%(accounts)s" in statement else None)
        rows = connection.execute("SELECT instance_id, plan_id, bought_at FROM app_instances").fetchall()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE app_instances")
    paid = [row[1] != "free" for row in rows]
    ids = pa.array([row[0] for row in rows])
    nothing = pa.nulls(len(rows))
    columns = {
        "billing_id": ids,
        "lookup": pa.array(["answered"] * len(rows)),
        "status": pa.array(["active" if p else "free" for p in paid]),
        "raw_plan": pa.array([row[1] if row[1] != "free" else None for row in rows]),
        "subscription_id": ids,
        "cycle": pa.array(["monthly" if p else None for p in paid]),
        "anchor": pa.array([row[2] for row in rows], pa.timestamp("us", "UTC")),
    }
    table = pa.table([columns.get(f.name, nothing).cast(f.type) for f in SUBSCRIPTIONS], schema=SUBSCRIPTIONS)
    pull = Pull(table=table, level="L3", enumerated=True, asked=len(rows), unanswered=0)
    return archive.write(table, noun="subscriptions", run_id="bench", as_of=START, finished_at=START, pull=pull)


def live(url: str, number: int) -> None:
    """Six hours pass: two accounts in a hundred spend, and whose month is over starts again with used at zero."""
    now = START + timedelta(hours=6 * number)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "UPDATE app_instances SET credits_used_month = credits_used_month + 1"
            " WHERE hashtext(instance_id) %% 50 = %s AND credits_used_month < credits_total",
            (number % 50,),
        )
        connection.execute(
            "UPDATE app_instances SET credits_used_month = 0 WHERE bought_at + interval '1 month' BETWEEN %s AND %s",
            (now - timedelta(hours=6), now),
        )
        connection.execute("VACUUM ANALYZE app_instances")
