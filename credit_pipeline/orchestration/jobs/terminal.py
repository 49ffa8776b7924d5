"""What differs when a command at a terminal runs a job in its own process, not the web server or a schedule.

It is an argument of the definitions, not run config, because everyone who reaches the web server can write run config.
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
    """`attended`: a person typed `--live`, which replaces the approval that a schedule or the UI needs."""

    attended: bool = False
    progress: Progress | None = None
    """Gets the numbers of accounts read from billing, in addition to the run's log."""


def _silent_logger(_context: dg.InitLoggerContext) -> logging.Logger:
    logger = logging.Logger("silent")  # not registered, so that no other logger is silenced
    logger.addHandler(logging.NullHandler())
    return logger


SILENT = dg.LoggerDefinition(
    _silent_logger, description="Prints nothing: the command line has its own output, and the instance has the events."
)

SILENCE: dict[str, Any] = {"loggers": {"silent": {"config": {}}}}
"""Run config that stops Dagster from printing every event."""


@contextmanager
def heard_by_dagster(system: str) -> Iterator[None]:
    """Passes the system's decision log to Dagster's handler, even if the command line only writes it to a file."""
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
