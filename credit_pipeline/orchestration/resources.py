"""The Dagster resource for a system's connections, opened on first use and closed at the end of the run."""

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
    """The working folder: $CREDIT_PIPELINE_HOME, else `.credit_pipeline` in the current folder."""
    return Path((os.environ if environ is None else environ).get(HOME) or ".credit_pipeline").expanduser().resolve()


class CreditGateways(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Billing, store, memory and plans of each system. A missing variable only fails runs that need it."""

    _open: dict[str, Gateways] = PrivateAttr(default_factory=dict)
    _closing: ExitStack = PrivateAttr(default_factory=ExitStack)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002 (the base class's signature)
        """Opens nothing yet: connections are opened on first use."""
        self._open, self._closing = {}, ExitStack()

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002
        """Closes all connections."""
        self._closing.close()

    def of(self, system: CreditSystem) -> Gateways:
        """The system's gateways, one set per run. Raises ConfigurationError if a variable is not set."""
        if system.name not in self._open:
            opening = open_gateways(system, working_folder(), os.environ)
            self._open[system.name] = self._closing.enter_context(opening)
        return self._open[system.name]
