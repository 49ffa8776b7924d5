"""`init`: install our schema and functions in a system's database, or print the SQL for its DBA."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from credit_pipeline.cli.endings import NOTHING
from credit_pipeline.cli.options import Command
from credit_pipeline.cli.session import Session

if TYPE_CHECKING:
    from rich.console import RenderableType

    from credit_pipeline.services.system import CreditSystem

_NOTHING_TO_HARDEN = """\
-- {system}: nothing to harden. A counter has no transactions that a key could tell apart; its handler must look at the
-- plan in the row first, which every correction writes, and grant nothing where it is the billed one already.
"""


@click.command(cls=Command)
@click.argument("system")
@click.option("--print-sql", is_flag=True, help="Print the SQL instead of running it; needs no database.")
@click.option(
    "--print-hardening", is_flag=True, help="Print SQL that keeps the product from granting twice; nothing is run."
)
@click.pass_obj
def init(session: Session, system: str, print_sql: bool, print_hardening: bool) -> int:
    """Prepare a system's database; safe to repeat.

    Installs our schema and functions, and pins the environment and the plans' credits. Nothing of the
    product's own is changed.
    """
    if print_sql and print_hardening:
        raise click.UsageError("--print-sql and --print-hardening print two scripts: ask for one at a time")
    found = session.system(system)
    if print_sql:
        from credit_pipeline.adapters.install import print_sql as sql_of

        return _print(session, found, sql_of(found))
    if print_hardening:
        from credit_pipeline.adapters.hardening import hardening_sql

        return _print(session, found, hardening_sql(found))
    shown = _installed(session, found)
    session.show(shown, lambda: _text(shown))
    return NOTHING


def _print(session: Session, system: CreditSystem, text: str | None) -> int:
    """A script on stdout, ready for psql; without one, a comment says why."""
    text = text if text is not None else _NOTHING_TO_HARDEN.format(system=system.name)
    if session.format == "json":
        session.show({"system": system.name, "sql": text}, list)
    else:
        session.write(text)
    return NOTHING


def _installed(session: Session, system: CreditSystem) -> dict[str, Any]:
    import os
    from dataclasses import asdict

    from credit_pipeline.adapters.install import install
    from credit_pipeline.cli.borrowed import sandbox_for
    from credit_pipeline.domain.errors import ConfigurationError

    with sandbox_for(session, system), session.waiting("installing"):
        url = os.environ.get(system.store.url_env)
        if not url:
            raise ConfigurationError(f"{system.name}: set {system.store.url_env} to the credit store's Postgres URL")
        return asdict(install(url, system))


def _text(shown: dict[str, Any]) -> list[RenderableType]:
    done = "installed" if shown["first"] else "installed again" if shown["renewed"] else "already installed, unchanged"
    plans = ", ".join(f"{plan} {credits:,}" for plan, credits in shown["pinned"].items())
    return [
        f"{shown['system']}: {done} (schema {shown['schema_version']}, Postgres {shown['server_version']})",
        f"environment {shown['environment']}, credits pinned: {plans}",
        *(f"note: {difference}" for difference in shown["differences"]),
        "",
        f"next: credit-pipeline fix {shown['system']}",
    ]
