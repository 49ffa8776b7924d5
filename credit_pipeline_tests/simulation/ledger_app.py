"""The simulated product's own code on its own tables: sign-up, checkout, webhook handler, spending. In a real Postgres.

Its clock is the simulation's: a transaction is stamped with the simulated instant, whoever makes it.
"""

import random
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.resources import files

import psycopg
from psycopg.types.json import Jsonb

from credit_pipeline.domain.plans.periods import Period

_CLOCK = """
CREATE TABLE simulated_clock (instant timestamptz NOT NULL);
INSERT INTO simulated_clock VALUES ('-infinity');
CREATE FUNCTION simulated_now() RETURNS timestamptz LANGUAGE sql STABLE
    AS $$ SELECT instant FROM public.simulated_clock $$;
ALTER TABLE points_transactions ALTER created_at SET DEFAULT simulated_now();
"""
_SPEND = """
SELECT deduct_points(b.user_id, floor(b.balance * s.share)::int)
FROM unnest(%s::uuid[], %s::float[]) AS s (account, share) JOIN points_balances AS b ON b.user_id = s.account
WHERE floor(b.balance * s.share) > 0
"""
_TIER = """
INSERT INTO subscriptions_consolidated (user_id, tier, status, current_period_start, current_period_end)
VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (user_id) DO UPDATE SET tier = EXCLUDED.tier, status = EXCLUDED.status,
    current_period_start = EXCLUDED.current_period_start, current_period_end = EXCLUDED.current_period_end
"""
_CHECKOUT = """
INSERT INTO bestauth_subscriptions (user_id, stripe_customer_id, stripe_subscription_id, metadata)
VALUES (%s, %s, %s, %s)
ON CONFLICT (user_id) DO UPDATE SET stripe_customer_id = EXCLUDED.stripe_customer_id,
    stripe_subscription_id = EXCLUDED.stripe_subscription_id
"""


def create_tables(url: str) -> None:
    """The sandbox's tables and functions, with the simulation's clock."""
    with psycopg.connect(url) as connection:
        connection.execute(files("credit_pipeline.sandbox.scenarios.bestauth").joinpath("product.sql").read_bytes())
        connection.execute(_CLOCK.encode())


class LedgerApp:
    """The product's code. `once` calls the keyed function of `init --print-hardening` instead of the unkeyed one."""

    def __init__(self, url: str, *, once: bool) -> None:
        self._database = psycopg.connect(url, autocommit=True)
        self._once = once

    def close(self) -> None:
        self._database.close()

    def set_clock(self, instant: datetime) -> None:
        self._database.execute("UPDATE simulated_clock SET instant = %s", (instant,))

    def sign_up(self, user: str, account: str) -> None:
        """A user, their account under another id, and the free plan's own credits."""
        self._database.execute("INSERT INTO bestauth_users (id, email) VALUES (%s, %s)", (user, f"{user}@example.com"))
        self._database.execute("INSERT INTO user_id_mapping VALUES (%s, %s)", (user, account))
        self.add(account, 100, "subscription_grant", None)
        self.set_tier(account, "free", "free", None)

    def check_out(self, user: str, account: str, customer: str, subscription: str) -> None:
        """The user comes back from Stripe's page."""
        metadata = Jsonb({"resolved_supabase_user_id": account})
        self._database.execute(_CHECKOUT, (user, customer, subscription, metadata))

    def set_tier(self, account: str, tier: str, status: str, term: Period | None) -> None:
        """The row that the front end reads."""
        times = (term.start, term.end) if term else (None, None)
        self._database.execute(_TIER, (account, tier, status, *times))

    def grant(self, account: str, amount: int, reference: str | None) -> bool:
        """The handler's grant; False where the keyed function found that it was made already."""
        if not self._once:
            self.add(account, amount, "subscription_grant", reference)
            return True
        query = "SELECT add_points_once(p_user_id => %s, p_amount => %s, p_reference => %s)"
        row = self._database.execute(query, (account, amount, reference)).fetchone()
        return row is not None and bool(row[0])

    def add(self, account: str, amount: int, kind: str, reference: str | None) -> None:
        """The product's own function: a grant, a purchase, support's adjustment."""
        self._database.execute("SELECT add_points(%s, %s, %s, NULL, %s)", (account, amount, kind, reference))

    def spend(self, accounts: Sequence[str], chance: random.Random) -> None:
        """Users spend shares of what they have, through the product's function."""
        shares = [chance.choice([0.0, 0.0, 0.0, 0.05, 0.2, 0.9, 1.0]) for _ in accounts]
        self._database.execute(_SPEND, (list(accounts), shares))

    def tiers(self) -> Mapping[str, tuple[str, str]]:
        """Account → (tier, status)."""
        rows = self._database.execute("SELECT user_id::text, tier, status FROM subscriptions_consolidated")
        return {account: (tier, status) for account, tier, status in rows}

    def unexplained(self) -> list[str]:
        """Accounts whose balance is not the sum of their transactions."""
        rows = self._database.execute(
            "SELECT b.user_id::text FROM points_balances AS b"
            " LEFT JOIN (SELECT user_id, sum(amount) AS sum FROM points_transactions GROUP BY user_id) AS t"
            " USING (user_id)"
            " WHERE b.balance IS DISTINCT FROM t.sum"
        )
        return [account for (account,) in rows]

    def grants(self) -> list[tuple[str, int, datetime, str | None]]:
        """(account, amount, instant, reference) of every grant, oldest first."""
        rows = self._database.execute(
            "SELECT user_id::text, amount, created_at, reference FROM points_transactions"
            " WHERE type = 'subscription_grant' ORDER BY created_at"
        )
        return [(account, amount, at, reference) for account, amount, at, reference in rows]
