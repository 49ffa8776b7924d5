"""A counter product with a walled install in a database of its own, and real logins that are in one role each.

No assertions. Roles belong to the server and not to a database, so each login's name carries its database's.
"""

from contextlib import closing
from dataclasses import replace

import psycopg
from psycopg import sql

from credit_pipeline.adapters.findings.lifecycle import PostgresLifecycle
from credit_pipeline.adapters.history.memory import PostgresMemory
from credit_pipeline.adapters.install.install import InstallReport, Wanted, install
from credit_pipeline.adapters.plans.store import PostgresPlans
from credit_pipeline.config.system import CreditSystem
from credit_pipeline_tests.adapters.products.counter_product import PUBLIC, Product

FOUR_EYES = replace(PUBLIC, policy=replace(PUBLIC.policy, four_eyes=True))


class Walled:
    """The product, its roles, and logins. `product` acts as the superuser."""

    def __init__(self, url: str, system: CreditSystem = PUBLIC) -> None:
        self.system = system
        self.product = Product(url, system).build()
        # The product's own trigger writes a table of its own, which our owner may not.
        self.product.run("ALTER FUNCTION note_change() SECURITY DEFINER SET search_path = public, pg_temp")
        self.report: InstallReport = install(url, system, None, Wanted(walled=True))
        self.database = psycopg.conninfo.conninfo_to_dict(url)["dbname"]

    def role(self, word: str) -> str:
        """The role's name as the database has it."""
        [row] = self.product.run("SELECT credit_pipeline.role_of(%s) AS name", word)
        return str(row["name"])

    def login(self, name: str, *words: str) -> str:
        """The URL of a new login that is in these roles."""
        login = f"{name}_{self.database}"
        make_login(self.product, login, *(self.role(word) for word in words))
        return as_login(self.product.url, login)

    def plans(self, url: str) -> "closing[PostgresPlans]":
        return closing(PostgresPlans(url, self.system))

    def memory(self, url: str) -> "closing[PostgresMemory]":
        return closing(PostgresMemory(self.system, url))

    def lifecycle(self, url: str) -> "closing[PostgresLifecycle]":
        return closing(PostgresLifecycle(url, self.system))


def make_login(product: Product, login: str, *roles: str, options: str = "") -> None:
    """A role that can log in; `options` are words of CREATE ROLE."""
    with psycopg.connect(product.url) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN {}").format(sql.Identifier(login), sql.SQL(options)))  # type: ignore[arg-type]
        for role in roles:
            connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(role), sql.Identifier(login)))


def as_login(url: str, login: str) -> str:
    """The same database as another login; the test server trusts them all."""
    return url.replace("postgres@", f"{login}@", 1)


def refused(url: str, statement: str) -> str | None:
    """The SQLSTATE with which the database refuses it; None where it was done."""
    with psycopg.connect(url) as connection:
        try:
            connection.execute(statement.encode())
        except psycopg.Error as error:
            return error.sqlstate
    return None
