"""Where the decision log goes: `<home>/logs/<system>.log`, rotated, and with --verbose to stderr.

The lines themselves are `services/decision_log.py`'s.
"""

from __future__ import annotations

import logging
import sys
from logging.handlers import RotatingFileHandler
from pathlib import Path

LARGEST, KEPT = 10_000_000, 5
_SHAPE = "%(asctime)sZ %(levelname)s %(name)s %(message)s"


class Logs:
    """The handlers of one command, taken off again at its end."""

    def __init__(self) -> None:
        self._added: dict[str, list[logging.Handler]] = {}

    def follow(self, system: str, folder: Path, *, verbose: bool) -> None:
        """Keep this system's lines in the folder, and show them where the person asked for it."""
        if system in self._added:
            return
        file = RotatingFileHandler(
            folder / f"{system}.log", maxBytes=LARGEST, backupCount=KEPT, encoding="utf-8", delay=True
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
        """Take the handlers off and close their files."""
        for system, handlers in self._added.items():
            logger = logging.getLogger(f"credit_pipeline.{system}")
            for handler in handlers:
                logger.removeHandler(handler)
                handler.close()
        self._added.clear()


def _utc() -> logging.Formatter:
    import time

    formatter = logging.Formatter(_SHAPE, datefmt="%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    return formatter
