"""`demo`: the whole story on the sandbox, through the real jobs: dry run, quarantine, approval, apply, second run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from credit_pipeline.cli.exit_codes import ACT, NOTHING
from credit_pipeline.cli.options import Command
from credit_pipeline.cli.sandbox import population_options
from credit_pipeline.cli.session import Session

if TYPE_CHECKING:
    from rich.console import RenderableType


@click.command(cls=Command)
@population_options
@click.pass_obj
def demo(session: Session, accounts: int, seed: int) -> int:
    """Plant broken balances in two products, then repair them.

    The real jobs on real servers, product by product: a dry run, a live run that is quarantined, its approval, the
    apply, and a second live run with nothing left to do. The servers stop at the end; the data and the run history stay
    for `ui`.
    """
    from credit_pipeline.sandbox.demo import run_demo
    from credit_pipeline.sandbox.scenarios.worlds import PRODUCTS

    for name in PRODUCTS:
        session.follow(name)
    with session.progress("planting") as progress:
        result = run_demo(session.home, accounts=accounts, seed=seed, say=session.say, progress=progress)
    session.show(result, lambda: _text(result))
    return NOTHING if all(_as_promised(came) for came in result["systems"].values()) else ACT


def _as_promised(came: Mapping[str, Any]) -> bool:
    wrong = came["missed"] or came["healthy_reported"] or came["second_run_changed"] or came["credits_lost"]
    return came["planted"] == came["found"] and not wrong


def _text(result: Mapping[str, Any]) -> list[RenderableType]:
    from credit_pipeline.cli.render_demo import render_demo

    return render_demo(result)
