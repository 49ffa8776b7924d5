"""`sandbox up`, `down`, `truth` and `call`, and `demo`: two products with broken balances, and their billing."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from credit_pipeline.cli.cells import bold, grid, number, unbroken
from credit_pipeline.cli.exit_codes import ACT, NOTHING
from credit_pipeline.cli.options import SHARED, Command
from credit_pipeline.cli.session import Session

if TYPE_CHECKING:
    from rich.console import RenderableType

COUNTS = ("planted", "found", "corrected", "held_by_code")


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
@click.option("--fresh", is_flag=True, help="Plant again, even if the same population is already planted.")
@click.pass_obj
def up(session: Session, accounts: int, seed: int, fresh: bool) -> int:
    """Start, plant, and print the environment to export.

    A population that is already planted is kept with its corrections.
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
    """Print what was planted in each system, as JSON.

    For each broken account the right answer, and the healthy accounts that look broken.
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
    """Call our SQL functions as the product's code does.

    `provisioned` creates the account ID and requests its sync, `opened` and `button` request a sync, `webhook` records
    an event about ID that the product's handler failed on. All use a login that can do nothing else.
    """
    from credit_pipeline.sandbox import lifecycle
    from credit_pipeline.sandbox.callers import CALLERS, Callers

    with lifecycle.running(session.home) as variables:
        url_env = lifecycle.sandbox_system(system).store.url_env
        with Callers(variables[url_env], system) as callers:
            result = CALLERS[caller](callers, account)
    door = "record_webhook" if caller == "webhook" else "request_sync"
    shown = {"system": system, "caller": caller, "account_id": account, "door": door, "said": result}
    command = f"webhooks {system} list" if caller == "webhook" else f"sync {system} {shlex.quote(account)}"
    by_hand = unbroken(f"the sensor takes it from here; by hand: credit-pipeline {command}")
    session.show(shown, lambda: [f"{system}: {door} returned {result}", by_hand])
    return NOTHING


@click.command(cls=Command)
@population_options
@click.pass_obj
def demo(session: Session, accounts: int, seed: int) -> int:
    """Plant broken balances in two products, then repair them.

    Runs the real jobs on real servers, for each product: a dry run, a live run that is quarantined, its approval, the
    apply, and a second live run with nothing left to do. The servers stop at the end; the data and the run history stay
    for `ui`.
    """
    from credit_pipeline.sandbox.demo import run_demo
    from credit_pipeline.sandbox.scenarios.worlds import PRODUCTS

    for name in PRODUCTS:
        session.follow(name)
    with session.progress("planting") as progress:
        result = run_demo(session.home, accounts=accounts, seed=seed, say=session.say, progress=progress)
    session.show(result, lambda: demo_text(result))
    return NOTHING if all(as_promised(outcome) for outcome in result["systems"].values()) else ACT


def as_promised(outcome: Mapping[str, Any]) -> bool:
    """Whether the demo found exactly what was planted and lost no credits."""
    wrong = (outcome[name] for name in ("missed", "healthy_reported", "second_run_changed", "credits_lost"))
    return outcome["planted"] == outcome["found"] and not any(wrong)


def demo_text(result: Mapping[str, Any]) -> list[RenderableType]:
    """For each system what was planted, found, corrected and held; then what to open next."""
    parts: list[RenderableType] = []
    for name, outcome in result["systems"].items():
        parts += [bold(_totals(name, outcome)), "", _codes(outcome), ""]
        for what in ("missed", "healthy_reported"):
            if outcome.get(what):
                parts.append(f"{what}: {', '.join(outcome[what][:10])}")
    return [
        *parts,
        unbroken("next: credit-pipeline ui opens the lineage, the checks and the audit trail of these runs"),
        *(
            unbroken(f"      credit-pipeline check {name} shows what is left for a person")
            for name in result["systems"]
        ),
    ]


def _codes(outcome: Mapping[str, Any]) -> RenderableType:
    headings = ("planted", "found", "corrected", "held")
    table = grid("code", *headings, numbers=headings)
    for code in sorted({*outcome["planted"], *outcome["found"]}):
        counts = [number(outcome.get(name, {}).get(code, 0)) for name in COUNTS]
        table.add_row(code if counts[0] == counts[1] else f"{code} (differs)", *counts)
    return table


def _totals(name: str, outcome: Mapping[str, Any]) -> str:
    return (
        f"{name}: {outcome['population']:,} accounts, {outcome['changed']:,} corrected, {outcome['held']:,} held for a "
        f"person, {outcome['second_run_changed']:,} changed by the second run, {outcome['credits_lost']:,} credits lost"
    )
