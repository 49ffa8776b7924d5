"""`sandbox up`, `down`, `truth`, `call`: two broken products and their billing providers, left running."""

from __future__ import annotations

import json
import shlex
from typing import Any

import click

from credit_pipeline.cli.exit_codes import NOTHING
from credit_pipeline.cli.options import SHARED, Command
from credit_pipeline.cli.session import Session


@click.group(params=[option() for option in SHARED])
def sandbox() -> None:
    """Two broken products to try things on."""


def population_options(command: Any) -> Any:
    """`--accounts` and `--seed`."""
    accounts = click.option(
        "--accounts", type=click.IntRange(min=1), default=2000, show_default=True, help="Size of each population."
    )
    seed = click.option(
        "--seed", type=int, default=1, show_default=True, help="The same seed plants the same accounts."
    )
    return accounts(seed(command))


@sandbox.command(cls=Command)
@population_options
@click.option("--fresh", is_flag=True, help="Plant again, also where the same population is there already.")
@click.pass_obj
def up(session: Session, accounts: int, seed: int, fresh: bool) -> int:
    """Start and plant; print the environment to export.

    What is planted already is kept as it is now, corrections included.
    """
    from credit_pipeline.cli.managed_servers import keep_running
    from credit_pipeline.sandbox import lifecycle

    with session.progress("planting") as progress:
        variables = lifecycle.up(session.home, accounts=accounts, seed=seed, fresh=fresh, progress=progress)
    keep_running(session.home)
    if session.format == "json":
        session.show({"accounts": accounts, "seed": seed, "environment": variables}, list)
    else:
        session.write("".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items()))
    return NOTHING


@sandbox.command(cls=Command)
@click.pass_obj
def down(session: Session) -> int:
    """Stop the servers; the data stays for the next `up`."""
    from credit_pipeline.sandbox import lifecycle

    stopped = lifecycle.down(session.home)
    session.show({"stopped": stopped}, lambda: ["stopped" if stopped else "nothing was running"])
    return NOTHING


@sandbox.command(cls=Command)
@click.pass_obj
def truth(session: Session) -> int:
    """Print what was planted, as JSON: a truth per system.

    The right answer for every broken account, and which healthy ones look broken.
    """
    from credit_pipeline.sandbox import lifecycle

    planted = {"systems": {name: lifecycle.truth(session.home, name) for name in lifecycle.planted(session.home)}}
    if session.format == "json":
        session.show(planted, list)
    else:
        session.write(json.dumps(planted, indent=2) + "\n")
    return NOTHING


@sandbox.command(cls=Command)
@click.argument("system")
@click.argument("caller", type=click.Choice(["provisioned", "opened", "button", "webhook"]))
@click.argument("account", metavar="ID")
@click.pass_obj
def call(session: Session, system: str, caller: str, account: str) -> int:
    """Call a door as the product's own code does.

    `provisioned` makes an account of that id and asks for a look at it, `opened` and `button` ask for one, `webhook`
    hands over an event about ID that the handler could not handle. All under a login that may do nothing else.
    """
    from credit_pipeline.sandbox import lifecycle
    from credit_pipeline.sandbox.callers import CALLERS, Callers

    with lifecycle.running(session.home) as variables:
        url_env = lifecycle.sandbox_system(system).store.url_env
        with Callers(variables[url_env], system) as callers:
            said = CALLERS[caller](callers, account)
    door = "record_webhook" if caller == "webhook" else "request_sync"
    shown = {"system": system, "caller": caller, "account_id": account, "door": door, "said": said}
    command = f"webhooks {system} list" if caller == "webhook" else f"sync {system} {shlex.quote(account)}"

    def text() -> list[Any]:
        from credit_pipeline.cli.cells import unbroken

        return [f"{system}: {door} said {said}", unbroken(f"the sensor goes on; by hand: credit-pipeline {command}")]

    session.show(shown, text)
    return NOTHING
