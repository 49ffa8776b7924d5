"""Calls our SQL functions as the sandbox's products do: provisioning route, opened app, Sync button, webhook handler.

Each caller is two lines of a product's own code. They use a login that can create accounts and call the two functions,
as `docs/doors.md` recommends.
"""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import LiteralString

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from credit_pipeline.domain.errors import ConfigurationError, StoreError
from credit_pipeline.sandbox.scenarios.bestauth import product as bestauth
from credit_pipeline.sandbox.scenarios.wix_app import product as wix_app
from credit_pipeline.sandbox.stripe.events import event_body, event_id
from credit_pipeline.sandbox.stripe.rows import Event

ASK = "SELECT credit_pipeline.request_sync(%s, %s)"
RECORD = "SELECT credit_pipeline.record_webhook(%s, %s, %s, %s, %s)"
DOORS = ("request_sync", "record_webhook")

_CONNECT = """
GRANT CONNECT ON DATABASE {database} TO {login};
GRANT USAGE ON SCHEMA credit_pipeline, public TO {login};
GRANT EXECUTE ON FUNCTION credit_pipeline.request_sync, credit_pipeline.record_webhook TO {login}
"""
_NEW_SITE = "INSERT INTO app_instances (instance_id) VALUES (%s) ON CONFLICT DO NOTHING"
_NEW_USER = """
WITH opened AS (INSERT INTO points_balances (user_id) VALUES (%s) ON CONFLICT DO NOTHING RETURNING user_id),
    registered AS (INSERT INTO bestauth_users (id, email)
        SELECT gen_random_uuid(), 'user-' || user_id || '@example.com' FROM opened RETURNING id)
INSERT INTO user_id_mapping (bestauth_user_id, supabase_user_id)
    SELECT r.id, o.user_id FROM registered AS r, opened AS o
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnTables:
    """How one product creates an account and receives webhooks, and the tables that its login may write."""

    new_account: str
    written: tuple[str, ...]
    options: LiteralString = ""
    """Options of CREATE ROLE: bestauth's host lets the product's code bypass row level security."""
    body: Callable[[str], tuple[str | None, bytes]]
    """Account → the event's id, if the provider sends one, and the webhook's body."""
    provider: str


class Callers:
    """The calls of one product, on a connection of its own login. A context manager that closes it.

    `url` is a superuser's and creates the login if it is missing. Raises StoreError if the product's statement or one
    of our functions refuses.
    """

    def __init__(self, url: str, name: str) -> None:
        if name not in PRODUCTS:
            raise ConfigurationError(f"sandbox: `{name}` is no product of its own: name one of {', '.join(PRODUCTS)}")
        self._name, self._own = name, PRODUCTS[name]
        login = make_login(url, self._own)
        self._connection = psycopg.connect(make_conninfo(url, user=login), autocommit=True, application_name=name)

    def __enter__(self) -> "Callers":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def provisioned(self, account: str) -> str:
        """The provisioning route: creates the account and requests its sync, in one transaction."""
        return self._execute((self._own.new_account, (account,)), (ASK, (account, "provisioned")))

    def opened(self, account: str) -> str:
        """The app is opened, and requests a sync."""
        return self._execute((ASK, (account, "opened")))

    def button(self, account: str) -> str:
        """The Sync button. If it is pressed too often, the function returns `limited`."""
        return self._execute((ASK, (account, "sync button")))

    def webhook(self, account: str) -> str:
        """The webhook handler fails, records the unchanged body, and answers its provider with 200."""
        event, body = self._own.body(account)
        words = (self._own.provider, event, body, datetime.now(UTC), "the handler failed: no connection")
        return self._execute((RECORD, words))

    def _execute(self, *statements: tuple[str, tuple[object, ...]]) -> str:
        """Executes statements in one transaction and returns the answer of the last one."""
        try:
            with self._connection.transaction():
                for statement, words in statements:
                    answer = self._connection.execute(statement.encode(), words)
                row = answer.fetchone()
        except psycopg.Error as error:
            raise StoreError(
                f"{self._name}: the product's own call was refused ({error.sqlstate or type(error).__name__}): give an "
                "account's id as the product writes it, and plant the sandbox with this version"
            ) from None
        assert row is not None
        return str(row[0])


CALLERS: Mapping[str, Callable[[Callers, str], str]] = {
    "provisioned": Callers.provisioned,
    "opened": Callers.opened,
    "button": Callers.button,
    "webhook": Callers.webhook,
}
"""Name → the caller. Each takes an account's id and returns the function's answer."""


def make_login(url: str, own: OwnTables) -> str:
    """Creates the product's login and grants all its rights. It is named after the database: roles are per server."""
    with psycopg.connect(url, autocommit=True) as connection, connection.transaction():
        database = connection.info.dbname
        login = f"{database[:50]}_app"
        names = {"login": sql.Identifier(login), "database": sql.Identifier(database)}
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (login,))
        if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (login,)).fetchone() is None:
            options = sql.SQL(own.options)
            connection.execute(sql.SQL("CREATE ROLE {login} LOGIN {options}").format(options=options, **names))
        connection.execute(sql.SQL(_CONNECT).format(**names))
        for table in own.written:
            query = sql.SQL("GRANT SELECT, INSERT ON public.{table} TO {login}")
            connection.execute(query.format(table=sql.Identifier(table), **names))
    return login


def _wix_body(instance: str) -> tuple[str | None, bytes]:
    """An unsigned token. Wix sends no event id, so the body's hash is used."""
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    bought = json.dumps({"operationTimeStamp": at, "vendorProductId": "pro", "cycle": "MONTHLY"})
    event = json.dumps({"eventType": "PaidPlanPurchased", "instanceId": instance, "data": bought})
    return None, b".".join(map(_encoded, ({"alg": "RS256"}, {"data": event}, {})))


def _encoded(part: object) -> bytes:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")


def _stripe_body(customer: str) -> tuple[str | None, bytes]:
    kind, at = "customer.subscription.updated", datetime.now(UTC)
    known_id = event_id(kind, customer, at)
    event = Event(id=known_id, type=kind, created=at, object={"object": "subscription", "customer": customer})
    return known_id, json.dumps(event_body(event)).encode()


PRODUCTS: Mapping[str, OwnTables] = {
    wix_app.NAME: OwnTables(new_account=_NEW_SITE, written=("app_instances",), body=_wix_body, provider="wix"),
    bestauth.NAME: OwnTables(
        new_account=_NEW_USER,
        written=("points_balances", "bestauth_users", "user_id_mapping"),
        options="BYPASSRLS",
        body=_stripe_body,
        provider="stripe",
    ),
}
"""System → its product's part of the calls."""
