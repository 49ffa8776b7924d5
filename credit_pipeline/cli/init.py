"""`init`: install our schema and functions in a system's database, or print the SQL for its DBA."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from credit_pipeline.cli.exit_codes import NOTHING
from credit_pipeline.cli.options import Command, decision_options
from credit_pipeline.cli.session import Session

if TYPE_CHECKING:
    from rich.console import RenderableType

    from credit_pipeline.adapters.install.install import Wanted
    from credit_pipeline.config.system import CreditSystem

_NOTHING_TO_HARDEN = """\
-- {system}: nothing to harden. A counter has no transactions that a key could tell apart. Its handler must first read
-- the plan in the row, which every correction writes, and grant nothing if that is the billed plan already.
"""
SHOWN = 10


@click.command(cls=Command)
@click.argument("system")
@click.option("--print-sql", is_flag=True, help="Print the SQL instead of running it; needs no database.")
@click.option(
    "--print-hardening", is_flag=True, help="Print SQL that keeps the product from granting twice; nothing is run."
)
@click.option(
    "--walled", is_flag=True, help="Create four roles, so that planning, writing and approving need different ones."
)
@click.option(
    "--repin", is_flag=True, help="Pin this database, environment and billing account in place of the pinned ones."
)
@click.option(
    "--accept-catalogue",
    is_flag=True,
    help="Pin the plans' credits as the YAML has them now, for periods that start later.",
)
@click.option(
    "--witness/--no-witness",
    default=None,
    help="Record in the database who lowers a balance outside our functions, or stop recording.",
)
@decision_options(required=False)
@click.pass_obj
def init(
    session: Session,
    system: str,
    *,
    print_sql: bool,
    print_hardening: bool,
    walled: bool,
    repin: bool,
    accept_catalogue: bool,
    witness: bool | None,
    who: str | None,
    reason: str | None,
) -> int:
    """Prepare a system's database; safe to repeat.

    Installs our schema and functions, and pins the environment, the billing account and the plans' credits. The
    product's own tables are not changed. Pins stay until --repin or --accept-catalogue, which need --as and --reason
    and are kept on record. A walled install stays walled.
    """
    if print_sql and print_hardening:
        raise click.UsageError("--print-sql and --print-hardening each print a script: give only one of them")
    asked = {"--repin": repin, "--accept-catalogue": accept_catalogue, "--witness": witness is not None}
    if (print_sql or print_hardening) and any(asked.values()):
        given = next(word for word, is_given in asked.items() if is_given)
        raise click.UsageError(f"{given} changes an install and prints nothing: leave out --print-sql")
    found = session.system(system)
    if print_sql:
        import os

        from credit_pipeline.adapters.connect import billing_identity
        from credit_pipeline.adapters.install.install import print_sql as sql_of

        return _print(session, found, sql_of(found, walled=walled, billing=billing_identity(found, os.environ)))
    if print_hardening:
        from credit_pipeline.adapters.install.hardening import hardening_sql

        return _print(session, found, hardening_sql(found))
    from credit_pipeline.adapters.install.install import Wanted
    from credit_pipeline.services.findings.decisions import decided_by

    by = None
    if repin or accept_catalogue or who is not None or reason is not None:
        by = decided_by(found.name, who or "", reason or "")
    wanted = Wanted(
        walled=walled,
        repin=by if repin else None,
        accept_catalogue=by if accept_catalogue else None,
        witness=witness,
        by=by,
    )
    shown = _installed(session, found, wanted)
    session.show(shown, lambda: _text(shown))
    return NOTHING


def _print(session: Session, system: CreditSystem, text: str | None) -> int:
    """Prints a script for psql, or a comment that says why there is none."""
    text = text if text is not None else _NOTHING_TO_HARDEN.format(system=system.name)
    if session.format == "json":
        session.show({"system": system.name, "sql": text}, list)
    else:
        session.write(text)
    return NOTHING


def _installed(session: Session, system: CreditSystem, wanted: Wanted) -> dict[str, Any]:
    import os
    from dataclasses import asdict

    from credit_pipeline.adapters.connect import billing_identity
    from credit_pipeline.adapters.install.install import install
    from credit_pipeline.cli.managed_servers import sandbox_for
    from credit_pipeline.domain.errors import ConfigurationError

    with sandbox_for(session, system), session.waiting("installing"):
        url = os.environ.get(system.store.url_env)
        if not url:
            raise ConfigurationError(f"{system.name}: set {system.store.url_env} to the credit store's Postgres URL")
        billing = billing_identity(system, os.environ)
        notes = tuple(_history_left_at_home(session, system, url))
        shown = asdict(install(url, system, billing, wanted))
        if shown["first"]:
            shown["notes"] = (*shown["notes"], *notes)
    return shown | {"billing": dict(billing) if billing else None}


def _history_left_at_home(session: Session, system: CreditSystem, product: str) -> Iterator[str]:
    """Notes about decisions in the working folder that no longer count, so that no correction comes as a surprise."""
    import os

    from credit_pipeline.adapters.database_only import open_left_behind
    from credit_pipeline.adapters.history.home import DAGSTER_URL
    from credit_pipeline.cli.managed_servers import history_server
    from credit_pipeline.services.findings.decisions import WAITING
    from credit_pipeline.services.findings.ports import Chosen

    if not os.environ.get(DAGSTER_URL) and not (session.home / "postgres").is_dir():
        return
    with history_server(session) as server, open_left_behind(system, product, os.environ, server) as lifecycle:
        if lifecycle is None:
            return
        events = [one for one in lifecycle.mismatches(WAITING, Chosen()) if one.is_event]
        exempt = [one.account_id for one in lifecycle.exemptions()]
        accepted = lifecycle.counts(Chosen()).get("accepted", 0)
    yield "history: it begins anew in this database; the history in the working folder is not carried over"
    if events:
        yield f"open there, and not found again here: {_first(f'{one.code} of {one.account_id}' for one in events)}"
    if exempt:
        command = f"credit-pipeline exempt {system.name} ID --as YOU --reason WHY"
        yield f"exempt there, and not here until `{command}`: {_first(exempt)}"
    if accepted:
        yield f"accepted there, and open again here if they persist: {accepted:,} findings"


def _first(named: Iterable[str]) -> str:
    ordered = sorted(named)
    more = len(ordered) - SHOWN
    return ", ".join(ordered[:SHOWN]) + (f" and {more:,} more" if more > 0 else "")


def _text(shown: dict[str, Any]) -> list[RenderableType]:
    done = "installed" if shown["first"] else "installed again" if shown["renewed"] else "already installed, unchanged"
    plans = ", ".join(f"{plan} {credits:,}" for plan, credits in shown["pinned"].items())
    eyes = "two people approve" if shown["four_eyes"] else "one person approves (four_eyes: false)"
    lines = [
        f"{shown['system']}: {done} (schema {shown['schema_version']}, Postgres {shown['server_version']})",
        f"install {shown['install']}, {eyes}",
        f"environment {shown['environment']}, credits pinned: {plans}",
        *(f"note: {difference}" for difference in shown["differences"]),
        *(f"note: {note}" for note in shown["notes"]),
    ]
    if shown["billing"] is None:
        lines.append("note: billing is not pinned by this run: its variables are not set")
    if shown["logins"]:
        lines += ["", "the DBA decides which login has which role:", *(f"  {line}" for line in shown["logins"])]
    return [*lines, "", f"next: credit-pipeline fix {shown['system']}"]
