"""`init`: install our schema and functions in a system's database, or print the SQL for its DBA."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from credit_pipeline.cli.decision_options import decided_options
from credit_pipeline.cli.exit_codes import NOTHING
from credit_pipeline.cli.options import Command
from credit_pipeline.cli.session import Session

if TYPE_CHECKING:
    from rich.console import RenderableType

    from credit_pipeline.adapters.install.install import Wanted
    from credit_pipeline.config.system import CreditSystem

_NOTHING_TO_HARDEN = """\
-- {system}: nothing to harden. A counter has no transactions that a key could tell apart; its handler must look at the
-- plan in the row first, which every correction writes, and grant nothing where it is the billed one already.
"""
_SHOWN = 10


@click.command(cls=Command)
@click.argument("system")
@click.option("--print-sql", is_flag=True, help="Print the SQL instead of running it; needs no database.")
@click.option(
    "--print-hardening", is_flag=True, help="Print SQL that keeps the product from granting twice; nothing is run."
)
@click.option("--walled", is_flag=True, help="Make four roles, so that who plans, writes and approves differ.")
@click.option("--repin", is_flag=True, help="Pin this database, environment and billing account instead of others.")
@click.option("--accept-catalogue", is_flag=True, help="Pin the YAML's credits anew, for periods that start later.")
@click.option(
    "--witness/--no-witness", default=None, help="Note in the database who lowers a balance past us, or end that."
)
@decided_options(required=False)
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

    Installs our schema and functions, and pins the environment, the billing account and the plans' credits. Nothing of
    the product's own is changed. What is pinned stays until --repin or --accept-catalogue, which need --as and --reason
    and are kept on record; an install that is walled stays so.
    """
    if print_sql and print_hardening:
        raise click.UsageError("--print-sql and --print-hardening print two scripts: ask for one at a time")
    asked = {"--repin": repin, "--accept-catalogue": accept_catalogue, "--witness": witness is not None}
    if (print_sql or print_hardening) and any(asked.values()):
        given = next(word for word, is_given in asked.items() if is_given)
        raise click.UsageError(f"{given} changes an install and has no script: leave out --print-sql")
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
    """A script on stdout, ready for psql; without one, a comment says why."""
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
        left = tuple(_left_at_home(session, system, url))
        shown = asdict(install(url, system, billing, wanted))
        if shown["first"]:
            shown["notes"] = (*shown["notes"], *left)
    return shown | {"billing": dict(billing) if billing else None}


def _left_at_home(session: Session, system: CreditSystem, product: str) -> Iterator[str]:
    """What people said before about this database counts no more; nobody may find that out from a correction."""
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
    yield "history: it begins anew in this database; that of the working folder counts no more and is not taken along"
    if events:
        yield f"open there, and not found again here: {_some(f'{one.code} of {one.account_id}' for one in events)}"
    if exempt:
        again = f"credit-pipeline exempt {system.name} ID --as YOU --reason WHY"
        yield f"exempt there, and not exempt here before `{again}`: {_some(exempt)}"
    if accepted:
        yield f"accepted there, and open again here if still true: {accepted:,} findings"


def _some(named: Iterable[str]) -> str:
    everyone = sorted(named)
    more = len(everyone) - _SHOWN
    return ", ".join(everyone[:_SHOWN]) + (f" and {more:,} more" if more > 0 else "")


def _text(shown: dict[str, Any]) -> list[RenderableType]:
    done = "installed" if shown["first"] else "installed again" if shown["renewed"] else "already installed, unchanged"
    plans = ", ".join(f"{plan} {credits:,}" for plan, credits in shown["pinned"].items())
    eyes = "two people approve" if shown["four_eyes"] else "one person approves (four_eyes: false)"
    words = [
        f"{shown['system']}: {done} (schema {shown['schema_version']}, Postgres {shown['server_version']})",
        f"install {shown['install']}, {eyes}",
        f"environment {shown['environment']}, credits pinned: {plans}",
        *(f"note: {difference}" for difference in shown["differences"]),
        *(f"note: {note}" for note in shown["notes"]),
    ]
    if shown["billing"] is None:
        words.append("note: billing is not pinned by this run: its variables are not set")
    if shown["logins"]:
        words += ["", "who may log in as what is the DBA's to say:", *(f"  {line}" for line in shown["logins"])]
    return [*words, "", f"next: credit-pipeline fix {shown['system']}"]
