"""Writes the decision log of one command to `<home>/logs/<system>.log`, rotated, and with --verbose to stderr."""

from __future__ import annotations

import logging
import sys
from logging.handlers import RotatingFileHandler
from pathlib import Path

MAX_BYTES, BACKUPS = 10_000_000, 5
_FORMAT = "%(asctime)sZ %(levelname)s %(name)s %(message)s"


class LogFiles:
    """The log handlers of one command. `close` removes them."""

    def __init__(self) -> None:
        self._added: dict[str, list[logging.Handler]] = {}

    def follow(self, system: str, folder: Path, *, verbose: bool) -> None:
        """Write this system's lines to a file in `folder`; if `verbose`, also to stderr."""
        if system in self._added:
            return
        file = RotatingFileHandler(
            folder / f"{system}.log", maxBytes=MAX_BYTES, backupCount=BACKUPS, encoding="utf-8", delay=True
        )
        handlers: list[logging.Handler] = [file]
        if verbose:
            handlers.append(logging.StreamHandler(sys.stderr))
        logger = logging.getLogger(f"credit_pipeline.{system}")
        logger.setLevel(logging.INFO)
        for handler in handlers:
            handler.setFormatter(_utc())
            logger.addHandler(handler)
        self._added[system] = handlers

    def close(self) -> None:
        """Remove the handlers and close their files."""
        for system, handlers in self._added.items():
            logger = logging.getLogger(f"credit_pipeline.{system}")
            for handler in handlers:
                logger.removeHandler(handler)
                handler.close()
        self._added.clear()


def _utc() -> logging.Formatter:
    import time

    formatter = logging.Formatter(_FORMAT, datefmt="%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    return formatter
