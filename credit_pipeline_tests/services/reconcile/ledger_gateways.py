"""The ports of a small ledger product, onto people in memory. Hand-written; the real adapters have their own tests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from credit_pipeline.adapters.artifacts.snapshots import ParquetSnapshots
from credit_pipeline.config.billing import StripeConfig
from credit_pipeline.config.store import AddFunction, LedgerStoreConfig, TransactionTable
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.domain.balance_history import BalancePoint
from credit_pipeline.domain.grants.ledger import EntryKind
from credit_pipeline.domain.mismatch import Mismatch
from credit_pipeline.domain.plans.catalogue import Amount
from credit_pipeline.domain.policy import Policy
from credit_pipeline.domain.subjects.account import Memory
from credit_pipeline.domain.subjects.ids import AccountId, AuthId, BillingId
from credit_pipeline.services.collect.ports import FailedSpend, Progress, Pull
from credit_pipeline.services.collect.tables import LISTED_SUBSCRIPTIONS, OBSERVATIONS
from credit_pipeline.services.gateways import Gateways
from credit_pipeline.services.plans.ports import SavedPlan
from credit_pipeline.services.reconcile.ports import CollectionRecord
from credit_pipeline_tests.services.reconcile.ledger_snapshots import CATALOGUE, Person, tables

SYSTEM = CreditSystem(
    name="bestauth",
    environment="test",
    catalogue=CATALOGUE,
    policy=Policy(),
    store=LedgerStoreConfig(
        layout="ledger",
        url_env="BESTAUTH_DATABASE_URL",
        transactions=TransactionTable.model_construct(
            types={"subscription_grant": EntryKind.GRANT, "usage": EntryKind.SPEND},
            grant_type="subscription_grant",
            adjustment_type="adjustment",
        ),
        add=AddFunction.model_construct(
            function="add_points", arguments={"p_user_id": "account", "p_amount": "amount"}
        ),
    ),
    billing=StripeConfig(provider="stripe", key_env="BESTAUTH_STRIPE_KEY"),
)


@dataclass
class Product:
    """People, and what was asked about them and remembered of them."""

    people: list[Person]
    enumerated: bool = True
    installed: bool = True
    last: CollectionRecord | None = None
    plan: SavedPlan | None = None
    held: dict[int, tuple[str, str]] = field(default_factory=dict)
    asked: list[Sequence[BillingId] | None] = field(default_factory=list)
    recorded: list[Mismatch] = field(default_factory=list)
    remembered: list[Mapping[str, Any]] = field(default_factory=list)

    def gateways(self, folder: Path) -> Gateways:
        """The ports onto it."""
        plans: Any = Plans(self)
        return Gateways(
            billing=Listing(self),
            store=Store(self),
            memory=Remembering(self),
            plans=plans,
            snapshots=ParquetSnapshots("bestauth", folder),
        )


@dataclass
class Listing:
    """A provider with a list: all there is, or all of some customers, with a row for each that has nothing."""

    product: Product
    provider = "stripe"
    lists = True

    def pull(self, ids: Sequence[BillingId] | None, now: datetime, progress: Progress | None = None) -> Pull:
        self.product.asked.append(ids)
        table = tables(self.product.people).subscriptions
        if ids is not None:
            table = table.filter(pc.is_in(table["billing_id"], pa.array(ids, pa.string())))
            known = set(table["billing_id"].to_pylist())
            blank: dict[str, Any] = dict.fromkeys(LISTED_SUBSCRIPTIONS.names)
            blank |= {"lookup": "missing", "quantity": 1, "items": 1, "subjects": [], "invoices": []}
            missing = [blank | {"billing_id": one} for one in ids if one not in known]
            table = pa.concat_tables([table, pa.Table.from_pylist(missing, schema=LISTED_SUBSCRIPTIONS)])
        asked = len(set(table["billing_id"].to_pylist()))
        return Pull(table=table, level="L2", enumerated=self.product.enumerated, asked=asked, unanswered=0)


@dataclass
class Store:
    """The product's tables."""

    product: Product

    def read(self, accounts: Sequence[AccountId] | None = None) -> pa.Table:
        table = tables(self.product.people).balances
        wanted = None if accounts is None else pa.array(accounts, pa.string())
        return table if wanted is None else table.filter(pc.is_in(table["account_id"], wanted))

    def catalogue(self) -> Mapping[str, int]:
        return {}

    def identities(self) -> pa.Table:
        return tables(self.product.people).identities

    def user_of(self, email_or_id: str) -> AuthId | None:
        return None

    def failed_spends(self, since: datetime) -> Sequence[FailedSpend] | None:
        return None

    def can_deduct(self, account: AccountId, *, probe: bool) -> bool | None:
        return None


@dataclass
class Remembering:
    """A memory that knows of nobody yet, and keeps what it is given."""

    product: Product

    def installed(self) -> bool:
        return self.product.installed

    def observations(self) -> pa.Table:
        return OBSERVATIONS.empty_table()

    def last_collection(self) -> CollectionRecord | None:
        return self.product.last

    def remembered(self, accounts: Sequence[AccountId], now: datetime) -> Mapping[AccountId, Memory]:
        return {account: Memory() for account in accounts}

    def watched(self) -> frozenset[AccountId]:
        return frozenset()

    def exempt(self, now: datetime) -> frozenset[AccountId]:
        return frozenset()

    def waiting(self, now: datetime) -> Sequence[Mismatch]:
        return ()

    def collections(self, since: datetime, most: int) -> Sequence[datetime]:
        return ()

    def balances_at(self, times: Sequence[datetime]) -> Sequence[BalancePoint]:
        return ()

    def record(
        self,
        collection: CollectionRecord,
        *,
        changed: pa.Table,
        mismatches: Sequence[Mismatch],
        closed: Sequence[tuple[str, str]],
    ) -> None:
        self.product.last = collection
        self.product.recorded = list(mismatches)
        self.product.remembered = changed.to_pylist()


@dataclass
class Plans:
    """One saved plan."""

    product: Product

    def audit_head(self) -> tuple[int, str]:
        return 0, ""

    def save(self, plan: SavedPlan) -> SavedPlan:
        self.product.plan = replace(plan, plan_id="plan-1", digest="d" * 32)
        return self.product.plan

    def load(self, plan_id: str) -> SavedPlan:
        assert self.product.plan
        return self.product.plan

    def former(self) -> Mapping[str, Sequence[Amount]]:
        return {plan.name: plan.former for plan in CATALOGUE.plans}

    def pinned(self) -> Mapping[str, int]:
        return {plan.name: plan.credits for plan in CATALOGUE.plans}

    def hold(self, plan_id: str, held: Mapping[int, tuple[str, str]]) -> None:
        self.product.held |= held
