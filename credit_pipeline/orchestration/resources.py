"""What a run borrows from outside: the connections of a system, opened at the first question and closed at its end."""

import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import dagster as dg
from pydantic import PrivateAttr

from credit_pipeline.adapters.connect import open_gateways
from credit_pipeline.config.system import CreditSystem
from credit_pipeline.services.gateways import Gateways

HOME = "CREDIT_PIPELINE_HOME"


def working_folder(environ: Mapping[str, str] | None = None) -> Path:
    """$CREDIT_PIPELINE_HOME, else `.credit_pipeline` here."""
    return Path((os.environ if environ is None else environ).get(HOME) or ".credit_pipeline").expanduser().resolve()


class CreditGateways(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Billing, store, memory and plans of each system. A missing variable fails the run that needs it, and no other."""

    _open: dict[str, Gateways] = PrivateAttr(default_factory=dict)
    _closing: ExitStack = PrivateAttr(default_factory=ExitStack)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002 (the base class's signature)
        """Nothing is opened yet: a run that asks no question needs no connection."""
        self._open, self._closing = {}, ExitStack()

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002
        """Close what was opened."""
        self._closing.close()

    def of(self, system: CreditSystem) -> Gateways:
        """The system's connections, one set a run. Raises ConfigurationError naming a variable that is not set."""
        if system.name not in self._open:
            opening = open_gateways(system, working_folder(), os.environ)
            self._open[system.name] = self._closing.enter_context(opening)
        return self._open[system.name]
