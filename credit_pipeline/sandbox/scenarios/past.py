"""Writes the sandbox's past: five weeks of the product's life, with runs of the real collector at regular times.

The services themselves, run with an injected clock, write every observation, mark and open event; only billing is read
without HTTP. Nothing is written to our schema directly.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from credit_pipeline.config.system import CreditSystem
from credit_pipeline.sandbox.scenarios.seeded_values import LAST_LOOK, WATCH
from credit_pipeline.sandbox.scenarios.worlds import World
from credit_pipeline.services.collect.collect import collect_balances, collect_identities, collect_subscriptions
from credit_pipeline.services.collect.ports import Progress
from credit_pipeline.services.gateways import Gateways
from credit_pipeline.services.reconcile.reconcile import reconcile
from credit_pipeline.services.report.report import Report


def run_times(present: datetime, spacing: timedelta) -> list[datetime]:
    """The times of the past's runs, oldest first."""
    last = present - LAST_LOOK
    return [last - spacing * number for number in reversed(range((WATCH - LAST_LOOK) // spacing + 1))]


def write_past(
    system: CreditSystem,
    gateways: Gateways,
    world: World,
    *,
    present: datetime,
    progress: Progress | None = None,
) -> None:
    """Plays the world up to the present, with a pipeline run at each run time. `gateways` are the world's own."""
    world.begin()
    world.refresh_statistics()
    moments = run_times(present, world.spacing)
    with _silent(system):
        for number, now in enumerate(moments, 1):
            world.live(now)
            report = run_at(system, gateways, now)
            assert not report.refusals, report.refusals
            if progress is not None:
                progress(number, len(moments))
    world.live(present)
    world.refresh_statistics()


def run_at(system: CreditSystem, gateways: Gateways, now: datetime, *, settle: bool = True) -> Report:
    """One run of the pipeline at `now`: collect, judge, remember. `settle` as in a scheduled run."""
    run_id = f"past-{now:%Y%m%dT%H%M%S}"
    balances = collect_balances(gateways, run_id=run_id, now=now)
    identities = collect_identities(gateways, run_id=run_id, now=now)
    subscriptions = collect_subscriptions(gateways, balances, identities, run_id=run_id, now=now)
    return reconcile(system, gateways, balances, subscriptions, identities=identities, now=now, settle=settle)


@contextmanager
def _silent(system: CreditSystem) -> Iterator[None]:
    """Drops the decision log's lines of this thread: the past's decisions are not news, those of others are."""
    logger, thread = logging.getLogger(f"credit_pipeline.{system.name}"), threading.get_ident()

    def of_others(record: logging.LogRecord) -> bool:
        return record.thread != thread

    logger.addFilter(of_others)
    try:
        yield
    finally:
        logger.removeFilter(of_others)
