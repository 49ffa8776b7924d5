"""The sandbox's past: five weeks in which the real collector looked, the product lived, and then things went wrong.

Every observation, mark and open event of the sandbox comes from the services themselves, run under an injected clock;
only billing is read without HTTP. Nothing is written to our schema by hand.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from credit_pipeline.config.system import CreditSystem
from credit_pipeline.sandbox.scenarios.wix_app.author import LAST_LOOK, WATCH
from credit_pipeline.sandbox.scenarios.worlds import World
from credit_pipeline.services.collect.collect import collect_balances, collect_identities, collect_subscriptions
from credit_pipeline.services.collect.ports import Progress
from credit_pipeline.services.gateways import Gateways
from credit_pipeline.services.reconcile.reconcile import reconcile
from credit_pipeline.services.report.report import Report


def looks(present: datetime, spacing: timedelta) -> list[datetime]:
    """When the collector looked, oldest first."""
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
    """Lives through the watch and on to the present, and looks at it by the world's own gateways (`as_seen`)."""
    world.begin()
    world.settle_down()
    moments = looks(present, world.spacing)
    with _silent(system):
        for number, now in enumerate(moments, 1):
            world.live(now)
            report = look(system, gateways, now)
            assert not report.refusals, report.refusals
            if progress is not None:
                progress(number, len(moments))
    world.live(present)
    world.settle_down()


def look(system: CreditSystem, gateways: Gateways, now: datetime, *, settle: bool = True) -> Report:
    """One run at another time, scheduled unless it does not settle: collect, judge, remember."""
    run_id = f"past-{now:%Y%m%dT%H%M%S}"
    balances = collect_balances(gateways, run_id=run_id, now=now)
    identities = collect_identities(gateways, run_id=run_id, now=now)
    subscriptions = collect_subscriptions(gateways, balances, identities, run_id=run_id, now=now)
    return reconcile(system, gateways, balances, subscriptions, identities=identities, now=now, settle=settle)


@contextmanager
def _silent(system: CreditSystem) -> Iterator[None]:
    """The past's decisions are not news to anybody."""
    logger = logging.getLogger(f"credit_pipeline.{system.name}")
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before
