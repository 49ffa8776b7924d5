"""The callers of the doors as the sandbox's products make them: provisioning route, account opened, button, handler.

Each is two lines of a product's own code. They run under a login that may make accounts, call the two functions, and do
nothing else, as `docs/doors.md` tells a product to have one.
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
    """What the product's own code does at the provisioning route, and the tables its login may write there."""

    new_account: str
    written: tuple[str, ...]
    options: LiteralString = ""
    """Words of CREATE ROLE: bestauth's hosting lets its own code pass row level security."""
    body: Callable[[str], tuple[str | None, bytes]]
    """Whose webhook → the event's id, where the provider sends one, and its body."""
    provider: str


class Callers:
    """One product's code at the doors, on a connection of its own login. A context manager that closes it.

    `url` is a superuser's, which makes the login where there is none. Raises StoreError where the product's own
    statement or a door refuses.
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
        """The provisioning route: the account is made and asked about in one transaction, so neither is alone."""
        return self._said((self._own.new_account, (account,)), (ASK, (account, "provisioned")))

    def opened(self, account: str) -> str:
        """The app is opened: what is shown a moment later is right."""
        return self._said((ASK, (account, "opened")))

    def button(self, account: str) -> str:
        """The Sync button. It may be pressed often: the door answers `limited` then."""
        return self._said((ASK, (account, "sync button")))

    def webhook(self, account: str) -> str:
        """The handler fails, hands the body over as it came, and answers its provider with 200."""
        known_as, body = self._own.body(account)
        words = (self._own.provider, known_as, body, datetime.now(UTC), "the handler failed: no connection")
        return self._said((RECORD, words))

    def _said(self, *statements: tuple[str, tuple[object, ...]]) -> str:
        """What the last of them answers, in one transaction."""
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
"""Word → the caller. Each takes an account's id and returns what the door answered."""


def make_login(url: str, own: OwnTables) -> str:
    """The product's login, named after the database since roles are the server's. All its rights are granted here."""
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
    """A token that nobody signed. Wix sends no event id: the body's hash stands for it."""
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    bought = json.dumps({"operationTimeStamp": at, "vendorProductId": "pro", "cycle": "MONTHLY"})
    event = json.dumps({"eventType": "PaidPlanPurchased", "instanceId": instance, "data": bought})
    return None, b".".join(map(_encoded, ({"alg": "RS256"}, {"data": event}, {})))


def _encoded(part: object) -> bytes:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")


def _stripe_body(customer: str) -> tuple[str | None, bytes]:
    kind, at = "customer.subscription.updated", datetime.now(UTC)
    known_as = event_id(kind, customer, at)
    event = Event(id=known_as, type=kind, created=at, object={"object": "subscription", "customer": customer})
    return known_as, json.dumps(event_body(event)).encode()


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
"""System → its own part of the calls."""
