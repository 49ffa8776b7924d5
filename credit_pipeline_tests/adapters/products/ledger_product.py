"""A small product with a points ledger and users of another id, in a test database: the sandbox's own tables.

`create(url)` makes it and returns it; the methods write what the product's own code would. Names, types and the schema
can be changed word by word, to show that nothing of them is fixed. No assertions.
"""

import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from credit_pipeline.config.billing import StripeConfig
from credit_pipeline.config.store import (
    AddFunction,
    BalanceTable,
    DeductFunction,
    FailureTable,
    LedgerStoreConfig,
    LocalSubscriptionTable,
    MappingTable,
    TierTable,
    TransactionTable,
    UserTable,
)
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.grants.ledger import EntryKind
from credit_pipeline.domain.plans.catalogue import Catalogue, Plan, YearlyMode
from credit_pipeline.domain.policy import Policy

CATALOGUE = Catalogue(
    plans=(
        Plan(name="free", credits=100, rank=0, label="free", free=True),
        Plan(name="pro", credits=800, rank=1, label="pro", yearly=YearlyMode.DRIP),
        Plan(name="business", credits=3000, rank=2, label="business"),
        Plan(name="annual", credits=1500, rank=3, label="annual", yearly=YearlyMode.UPFRONT),
    )
)
TYPES = {
    "subscription_grant": EntryKind.GRANT,
    "purchase": EntryKind.PURCHASE,
    "bonus": EntryKind.ADJUSTMENT,
    "adjustment": EntryKind.ADJUSTMENT,
    "usage": EntryKind.SPEND,
}
ADD = AddFunction(
    function="add_points",
    arguments={
        "p_user_id": "account",
        "p_amount": "amount",
        "p_type": "type",
        "p_description": "description",
        "p_reference": "reference",
    },
)
DEDUCT = DeductFunction(function="deduct_points", arguments={"p_user_id": "account", "p_amount": "amount"})

NAMES = {
    "bestauth_users": "Users",
    "email": "E Mail",
    "user_id_mapping": "select",
    "bestauth_user_id": "from",
    "supabase_user_id": "To",
    "bestauth_subscriptions": "Subs",
    "metadata": "MetaData",
    "stripe_customer_id": "Customer",
    "stripe_subscription_id": "Subscription",
    "subscriptions_consolidated": "order",
    "tier": "Tier",
    "points_balances": "Balances",
    "balance": "Left",
    "points_transactions": "Movements",
    "amount": "Amount",
    "reference": "Reference",
    "points_deduction_failures": "Failures",
    "add_points": "Add",
    "p_user_id": "Who",
    "deduct_points": "Deduct",
    "user_id": "Account",
    "created_at": "At",
}
"""Other names for all that matters: reserved words, capitals, a blank."""


def a_system(names: Mapping[str, str] | None = None, schema: str = "public", **store: Any) -> CreditSystem:
    """The system `bestauth`, with every name of the product that `names` changes; `store` overrides whole parts."""
    config = ledger_config(names, schema, **store)
    return CreditSystem(
        name="bestauth",
        environment="test",
        catalogue=CATALOGUE,
        policy=Policy(),
        store=config,
        billing=StripeConfig(provider="stripe", key_env="STRIPE_KEY"),
    )


def ledger_config(names: Mapping[str, str] | None = None, schema: str = "public", **store: Any) -> LedgerStoreConfig:
    """Where everything of the product stands."""

    def of(word: str) -> str:
        return (names or {}).get(word, word)

    def call(function: Any) -> Any:
        return type(function).model_construct(
            function=of(function.function), arguments={of(word): value for word, value in function.arguments.items()}
        )

    parts: dict[str, Any] = {
        "balances": BalanceTable.model_construct(
            table=of("points_balances"), account=of("user_id"), balance=of("balance"), updated_at=of("updated_at")
        ),
        "transactions": TransactionTable.model_construct(
            types=TYPES,
            grant_type="subscription_grant",
            adjustment_type="adjustment",
            table=of("points_transactions"),
            id=of("id"),
            account=of("user_id"),
            amount=of("amount"),
            type=of("type"),
            at=of("created_at"),
            reference=of("reference"),
        ),
        "tiers": TierTable.model_construct(
            table=of("subscriptions_consolidated"),
            account=of("user_id"),
            label=of("tier"),
            status=of("status"),
            period_start=of("current_period_start"),
            period_end=of("current_period_end"),
            updated_at=of("updated_at"),
        ),
        "users": UserTable.model_construct(table=of("bestauth_users"), id=of("id"), email=of("email")),
        "mapping": MappingTable.model_construct(
            table=of("user_id_mapping"), user=of("bestauth_user_id"), account=of("supabase_user_id")
        ),
        "subscriptions": LocalSubscriptionTable.model_construct(
            table=of("bestauth_subscriptions"),
            user=of("user_id"),
            metadata=of("metadata"),
            billing=of("stripe_customer_id"),
            subscription=of("stripe_subscription_id"),
            updated_at=of("updated_at"),
        ),
        "add": call(ADD),
        "deduct": call(DEDUCT),
        "failures": FailureTable.model_construct(
            table=of("points_deduction_failures"),
            account=of("user_id"),
            at=of("created_at"),
            amount=of("amount"),
            reason=of("reason"),
        ),
    }
    return LedgerStoreConfig.model_construct(layout="ledger", url_env="PRODUCT_URL", schema_=schema, **(parts | store))


class LedgerProduct:
    """The product's database and what its own code does there. Ids are text; the database makes uuids of them."""

    def __init__(self, url: str, names: Mapping[str, str] | None = None, schema: str = "public") -> None:
        self.url = url
        self.schema = schema
        self._names = dict(names or {})

    def run(self, statement: str, *parameters: Any) -> list[dict[str, Any]]:
        """One transaction of the product, written with the original names."""
        with psycopg.connect(self.url, row_factory=dict_row) as connection:
            connection.execute(sql.SQL("SET LOCAL search_path = {}").format(sql.Identifier(self.schema)))
            cursor = connection.execute(self.renamed(statement).encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []

    def renamed(self, statement: str) -> str:
        """The statement with this product's own names."""
        words = "|".join(re.escape(word) for word in self._names)
        return re.sub(rf"\b(?:{words})\b", lambda word: f'"{self._names[word[0]]}"', statement) if words else statement

    def add_user(
        self,
        user: str | None = None,
        *,
        account: str | None = None,
        mapped: bool = True,
        email: str | None = None,
        balance: int | None = None,
    ) -> str:
        """A user of the authentication system; returns the id.

        `account` is the store's id, which the mapping table tells unless `mapped` is False. `balance` makes the balance
        row through the product's own grant of that many credits, or an empty one for 0.
        """
        user = user or str(uuid.uuid4())
        address = email or f"{user}@example.com"
        self.run("INSERT INTO bestauth_users (id, email) VALUES (%s, %s)", user, address)
        if account is not None and mapped:
            self.map(user, account)
        if account is not None and balance == 0:
            self.set_balance(account, 0)
        elif account is not None and balance is not None:
            self.add_points(account, balance)
        return user

    def map(self, user: str, account: str) -> None:
        """Layer 1: the mapping table says so."""
        self.run("INSERT INTO user_id_mapping (bestauth_user_id, supabase_user_id) VALUES (%s, %s)", user, account)

    def subscribe(
        self, user: str, *, customer: str | None = None, subscription: str | None = None, metadata: Any = None
    ) -> None:
        """The user's local subscription row; `metadata` is a mapping or whatever stands in the column."""
        self.run(
            "INSERT INTO bestauth_subscriptions (user_id, stripe_customer_id, stripe_subscription_id, metadata)"
            " VALUES (%s, %s, %s, %s)",
            user, customer, subscription, Jsonb({} if metadata is None else metadata),
        )  # fmt: skip

    def set_tier(
        self,
        account: str,
        tier: str,
        status: str = "active",
        *,
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> None:
        """The row that the front end reads."""
        self.run(
            "INSERT INTO subscriptions_consolidated (user_id, tier, status, current_period_start, current_period_end)"
            " VALUES (%s, %s, %s, %s, %s) ON CONFLICT (user_id) DO UPDATE SET tier = EXCLUDED.tier,"
            " status = EXCLUDED.status, current_period_start = EXCLUDED.current_period_start,"
            " current_period_end = EXCLUDED.current_period_end",
            account, tier, status, start, end,
        )  # fmt: skip

    def set_balance(self, account: str, balance: int) -> None:
        """Somebody's UPDATE: the balance without a transaction."""
        self.run(
            "INSERT INTO points_balances (user_id, balance) VALUES (%s, %s)"
            " ON CONFLICT (user_id) DO UPDATE SET balance = EXCLUDED.balance",
            account, balance,
        )  # fmt: skip

    def add_points(
        self,
        account: str,
        amount: int,
        kind: str = "subscription_grant",
        *,
        reference: str | None = None,
        at: datetime | None = None,
    ) -> None:
        """The product's own function: a transaction and the balance with it; `at` moves the transaction in time."""
        self.run("SELECT add_points(%s, %s, %s, NULL, %s)", account, amount, kind, reference)
        if at is not None:
            self.run(
                "UPDATE points_transactions SET created_at = %s WHERE user_id = %s AND created_at ="
                " (SELECT max(created_at) FROM points_transactions WHERE user_id = %s)",
                at, account, account,
            )  # fmt: skip

    def transaction(
        self, account: str, amount: int, kind: str, *, at: datetime | None = None, reference: str | None = None
    ) -> None:
        """A transaction that does not move the balance."""
        self.run(
            "INSERT INTO points_transactions (user_id, amount, type, reference, created_at)"
            " VALUES (%s, %s, %s, %s, %s)",
            account, amount, kind, reference, at or datetime.now(UTC),
        )  # fmt: skip

    def deduct(self, account: str, amount: int) -> bool:
        """The product's own spending; False, and a failure on record, where there is not enough."""
        [row] = self.run("SELECT deduct_points(%s, %s) AS done", account, amount)
        return bool(row["done"])

    def balance(self, account: str) -> int | None:
        """Credits as the balance row has them; None without one."""
        rows = self.run("SELECT balance AS left_over FROM points_balances WHERE user_id = %s", account)
        return rows[0]["left_over"] if rows else None

    def transactions(self, account: str) -> list[tuple[int, str, str | None]]:
        """(amount, type, reference) of every transaction, oldest first."""
        rows = self.run(
            "SELECT amount AS a, type AS t, reference AS r FROM points_transactions WHERE user_id = %s"
            " ORDER BY created_at",
            account,
        )
        return [(row["a"], row["t"], row["r"]) for row in rows]

    def tier(self, account: str) -> tuple[str, str] | None:
        """(tier, status) as the front end reads them; None without a row."""
        rows = self.run("SELECT tier AS t, status AS s FROM subscriptions_consolidated WHERE user_id = %s", account)
        return (rows[0]["t"], rows[0]["s"]) if rows else None

    def mapping(self) -> dict[str, str]:
        """User → store account, of the mapping table."""
        rows = self.run("SELECT bestauth_user_id::text AS u, supabase_user_id::text AS a FROM user_id_mapping")
        return {row["u"]: row["a"] for row in rows}

    def metadata(self, user: str) -> Any:
        """The metadata of the user's local subscription row; None without a row."""
        rows = self.run("SELECT metadata AS m FROM bestauth_subscriptions WHERE user_id = %s", user)
        return rows[0]["m"] if rows else None


def create(url: str, names: Mapping[str, str] | None = None, schema: str = "public") -> LedgerProduct:
    """The product's tables and functions in that database.

    `names` replaces words of its SQL: tables, columns, parameters, or types (`{"uuid": "text"}`).
    """
    product = LedgerProduct(url, names, schema)
    if schema != "public":
        with psycopg.connect(url) as connection:
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
    product.run(files("credit_pipeline.sandbox.scenarios.bestauth").joinpath("product.sql").read_text(encoding="utf-8"))
    return product
