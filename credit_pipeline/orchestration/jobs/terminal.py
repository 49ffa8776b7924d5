"""A command at a terminal that runs a job in its own process, as against a run of the web server or a schedule.

It is an argument of the definitions and not run config, because whoever reaches the web server can write run config.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dagster as dg

from credit_pipeline.services.collect.ports import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminal:
    """`attended`: a person typed `--live`, which stands for the approval that a schedule or the UI would need."""

    attended: bool = False
    progress: Progress | None = None
    """Told how many accounts billing was asked about, besides the run's log."""


def _nobody(_context: dg.InitLoggerContext) -> logging.Logger:
    logger = logging.Logger("nobody")  # not registered: nobody else is to be silenced by it
    logger.addHandler(logging.NullHandler())
    return logger


SILENT = dg.LoggerDefinition(
    _nobody, description="The command line has its own words, and the events are on the instance."
)

SILENCE: dict[str, Any] = {"loggers": {"silent": {"config": {}}}}
"""Run config without which Dagster would print every event."""


@contextmanager
def heard_by_dagster(system: str) -> Iterator[None]:
    """The system's decision log reaches Dagster's handler, also where the command line keeps it to its own file."""
    logger = logging.getLogger(f"credit_pipeline.{system}")
    level, propagate = logger.level, logger.propagate
    logger.propagate = True
    if logger.getEffectiveLevel() > logging.INFO:
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.propagate = propagate
        logger.setLevel(level)
