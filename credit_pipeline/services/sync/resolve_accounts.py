"""Resolves identifiers from outside to accounts: a webhook's customer or instance, a user, or an account itself.

Identifiers come from hints, so an unknown one returns an empty tuple.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from uuid import UUID

import pyarrow as pa

from credit_pipeline.domain.subjects.ids import AccountId, BillingId
from credit_pipeline.services import table_sql
from credit_pipeline.services.collect.ports import IdentityStore
from credit_pipeline.services.gateways import Gateways

Accounts = Mapping[str, tuple[AccountId, ...]]
"""Name → the store's accounts that go by it; a name nobody goes by has none."""

CLAIMED = """
-- Set-based, for the identities are always those of all users. Layer 3, the same id on both sides, is enough to look.
WITH claim AS (
    SELECT auth_id, billing_id, unnest(list_concat(mapped, list_transform(metadata, lambda m: m.value),
           CASE WHEN same_id THEN [auth_id] ELSE [] END)) AS account
    FROM identities
), known AS (
    SELECT account AS name, account FROM claim
    UNION SELECT auth_id, account FROM claim UNION SELECT billing_id, account FROM claim
)
SELECT DISTINCT w.name, k.account FROM wanted AS w JOIN known AS k USING (name) ORDER BY 1, 2
"""


def accounts_meant(gateways: Gateways, names: Iterable[str], now: datetime) -> Accounts:
    """Every identifier with the store accounts that it means. Raises if store or billing cannot be asked."""
    given = list(dict.fromkeys(names))
    wanted = list(dict.fromkeys(_canonical(name) for name in given))
    store, found = gateways.store, dict[str, list[str]]()
    if isinstance(store, IdentityStore):
        identities = store.identities()
        found = _claimed(identities, wanted)
        found |= _by_subscription(gateways, identities, [name for name in wanted if name not in found], now)
    meant = {name: list(dict.fromkeys([name, *found.get(name, ())])) for name in wanted}
    asked = [AccountId(one) for one in dict.fromkeys(account for accounts in meant.values() for account in accounts)]
    present = frozenset(store.read(asked)["account_id"].to_pylist()) if asked else frozenset[str]()
    return {
        name: tuple(AccountId(account) for account in meant[_canonical(name)] if account in present) for name in given
    }


def _canonical(name: str) -> str:
    """A uuid in the stores' spelling; products and providers spell uuids in several ways."""
    try:
        return str(UUID(name)) if len(name) in {32, 36, 38} else name
    except ValueError:
        return name


def _claimed(identities: pa.Table, wanted: list[str]) -> dict[str, list[str]]:
    names = pa.table({"name": pa.array(wanted, pa.string())})
    with table_sql.over({"identities": identities, "wanted": names}) as db:
        found: dict[str, list[str]] = {}
        for name, account in db.execute(CLAIMED).fetchall():
            found.setdefault(name, []).append(account)
    return found


def _by_subscription(
    gateways: Gateways, identities: pa.Table, customers: list[str], now: datetime
) -> dict[str, list[str]]:
    """Ask billing about customers that the product does not know yet: the subscription names the user."""
    if not customers:
        return {}
    rows = gateways.billing.pull([BillingId(customer) for customer in customers], now).table.to_pylist()
    users = {row["billing_id"]: [subject["id"] for subject in row["subjects"]] for row in rows}
    accounts = _claimed(identities, [user for named in users.values() for user in named])
    return {
        customer: [account for user in named for account in accounts.get(user, [])]
        for customer, named in users.items()
        if any(user in accounts for user in named)
    }
