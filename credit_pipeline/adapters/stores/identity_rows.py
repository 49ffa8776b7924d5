"""Reads the users of an authentication system as Arrow, with every layer's evidence for the user's store account.

All layers are read and none is preferred. E-mail addresses are returned only as keyed digests.
"""

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql

from credit_pipeline.adapters.postgres.connections import ArrowCursor
from credit_pipeline.adapters.postgres.table_columns import Column, TableColumns, look_up
from credit_pipeline.adapters.stores.arrow_lists import aligned, distinct, nested
from credit_pipeline.adapters.stores.column_values import check_one_row_each, fetch, id_text, instant, text
from credit_pipeline.config.store import LedgerStoreConfig
from credit_pipeline.domain.subjects.email_digest import email_digest
from credit_pipeline.services.collect.tables import IDENTITIES

_USERS = "SELECT {id} AS id, {email} AS email FROM {table}"
_MAPPING = """
SELECT DISTINCT {user} AS id, {account} AS account FROM {table} WHERE {user} IS NOT NULL AND {account} <> ''
"""
# The newest row of a user comes first; its billing ids count.
_LOCAL = """
SELECT {user} AS id, {billing} AS billing_id, {subscription} AS subscription_id, {metadata} AS metadata
FROM {table} WHERE {user} IS NOT NULL ORDER BY {updated_at} DESC NULLS LAST
"""
_METADATA_FIELD = IDENTITIES.field("metadata").type.value_type
_DEPTH = 2
"""Some products store their metadata as JSON text inside a JSON string."""


class IdentityRows:
    """Reads the tables of the authentication system in the cursor's transaction."""

    def __init__(self, cursor: ArrowCursor, system: str, store: LedgerStoreConfig, *, uuids: bool) -> None:
        self._cursor = cursor
        self._system = system
        self._store = store
        self._store_uuids = uuids
        self._users = self._table("users", store.users.table)
        self._id = self._users.column("store.users.id", store.users.id)
        self._user_uuids = self._id.type == "uuid"

    def read(self, accounts: pa.Array) -> pa.Table:
        """Every user in schema IDENTITIES, by id. `accounts`: all accounts of the store.

        Raises StoreError if two users have the same id.
        """
        users, mapping, local = self._all_users(), self._mapping(), self._local()
        ids = distinct([users["id"]])
        mapping, local = (table.filter(pc.is_in(table["id"], value_set=ids)) for table in (mapping, local))
        newest = local.group_by("id", use_threads=False).aggregate(
            [("billing_id", "first"), ("subscription_id", "first")]
        )
        owners, claims = self._claims(local)
        digests = pa.chunked_array(
            [[email_digest(self._system, one) for one in users["email"].to_pylist()]], pa.string()
        )
        same = pc.utf8_lower(ids) if self._store_uuids else ids
        columns = {
            "auth_id": ids,
            "mapped": nested(ids, mapping["id"], mapping["account"].combine_chunks()),
            "metadata": nested(ids, owners, claims),
            "local": pc.is_in(ids, value_set=newest["id"]),
            "same_id": pc.is_in(same, value_set=accounts),
            "billing_id": aligned(ids, newest["id"], newest["billing_id_first"]),
            "subscription_id": aligned(ids, newest["id"], newest["subscription_id_first"]),
            "email_hash": aligned(ids, users["id"], digests),
        }
        return pa.table(columns).cast(IDENTITIES)

    def _table(self, section: str, name: str) -> TableColumns:
        return look_up(self._cursor, self._system, self._store.schema, f"store.{section}.table", name)

    def _user(self, column: Column) -> sql.Composable:
        return id_text(column, uuids=self._user_uuids)

    def _all_users(self) -> pa.Table:
        name = self._store.users.email
        email = sql.SQL("NULL::text") if name is None else text(self._users.column("store.users.email", name))
        query = sql.SQL(_USERS).format(id=self._user(self._id), email=email, table=self._users.identifier)
        found = fetch(self._cursor, query)
        check_one_row_each(self._users, self._id, found["id"])
        return found

    def _mapping(self) -> pa.Table:
        names = self._store.mapping
        table = self._table("mapping", names.table)
        account = table.column("store.mapping.account", names.account)
        query = sql.SQL(_MAPPING).format(
            user=self._user(table.column("store.mapping.user", names.user)),
            account=id_text(account, uuids=self._store_uuids),
            table=table.identifier,
        )
        return fetch(self._cursor, query).sort_by([("id", "ascending"), ("account", "ascending")])

    def _local(self) -> pa.Table:
        names = self._store.subscriptions
        table = self._table("subscriptions", names.table)

        def optional(key: str, name: str | None) -> sql.Composable:
            return sql.SQL("NULL::text") if name is None else text(table.column(f"store.subscriptions.{key}", name))

        updated = names.updated_at
        query = sql.SQL(_LOCAL).format(
            user=self._user(table.column("store.subscriptions.user", names.user)),
            billing=optional("billing", names.billing),
            subscription=optional("subscription", names.subscription),
            metadata=text(table.column("store.subscriptions.metadata", names.metadata)),
            updated_at=sql.SQL("NULL::timestamptz")
            if updated is None
            else instant(table.time("store.subscriptions.updated_at", updated)),
            table=table.identifier,
        )
        return fetch(self._cursor, query).sort_by("id")  # a stable sort by bytes, as nested() needs

    def _claims(self, local: pa.Table) -> tuple[pa.ChunkedArray, pa.StructArray]:
        """Layer 2: per user, the configured metadata keys that hold an account id, in configured order."""
        owners: list[str] = []
        claims: list[dict[str, str]] = []
        for user, rows in _by_user(local).items():
            named = [_content(row) for row in rows]
            for key in self._store.subscriptions.keys:
                values = dict.fromkeys(self._account_id(content.get(key)) for content in named)
                for value in values:
                    if value is not None:
                        owners.append(user)
                        claims.append({"key": key, "value": value})
        return pa.chunked_array([owners], pa.string()), pa.array(claims, _METADATA_FIELD)

    def _account_id(self, value: Any) -> str | None:
        """A metadata value as a normalised account id; None if it cannot be one."""
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str) or not value.strip():
            return None
        return _uuid(value.strip()) if self._store_uuids else value.strip()


def _by_user(local: pa.Table) -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = {}
    stated = local.filter(pc.greater(pc.utf8_length(local["metadata"]), len("{}")))
    for user, metadata in zip(stated["id"].to_pylist(), stated["metadata"].to_pylist(), strict=True):
        found.setdefault(user, []).append(metadata)
    return found


def _content(metadata: str) -> Mapping[str, Any]:
    """The JSON object in a column's text; empty for invalid JSON or another type."""
    value: Any = metadata
    for _ in range(_DEPTH):
        if not isinstance(value, str):
            break
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return {}
    return value if isinstance(value, dict) else {}


def _uuid(value: str) -> str | None:
    try:
        return str(UUID(value)) if len(value) in {32, 36} else None  # no braces, no URN
    except ValueError:
        return None
